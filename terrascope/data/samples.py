"""One question with its trace, its masks and its answer, as values."""

from __future__ import annotations

import dataclasses

from terrascope.data.rle import Rle
from terrascope.model.answers import Answer
from terrascope.model.forms import Form
from terrascope.model.readings import MEASURED_FIELDS
from terrascope.model.sequences import DatePair
from terrascope.vocabulary import OPTION_LETTERS, QuestionKind, Unit, image_indicator

__all__ = ["TASKS", "Sample", "Step", "indicator_of"]

TASKS = ("CA", "AQ", "CR", "BRD", "DM", "BCE", "L1", "L2", "CAP", "SEG")
"""The six tasks of the benchmark, and the other parts of Terra-CoT."""


@dataclasses.dataclass(frozen=True)
class Step:
    """One mask of a trace.

    Parameters
    ----------
    text : str
        What is written before ``[SEG]``, indicator included.
    name : str
        Of the class or the change, as `terrascope.data.scenes.LabelledScene.mask` takes it.
    dates : DatePair
        Earlier date or -1, and date, from 0.
    mask : Rle
        The true mask.
    """

    text: str
    name: str
    dates: DatePair
    mask: Rle


@dataclasses.dataclass(frozen=True)
class Sample:
    """A question about a scene, and how it is answered.

    Parameters
    ----------
    image_id : str
        Of the scene.
    kind : QuestionKind
        What is asked.
    task : str
        One of `TASKS`.
    question : str
        Without the options.
    form : Form
        Of the answer.
    options : tuple of str
        Offered, in the order of their letters; empty where the answer is open.
    steps : tuple of Step
        Masks of the trace, in order; may be none.
    closing : str
        What the trace says after the last mask. Figures stand in it as fields such as
        ``{share:1}``, which `terrascope.data.closings` fills from the masks at hand.
    answer : Answer
        The true one.
    fields : tuple of str
        Of `terrascope.model.readings.MEASURED_FIELDS`: what is shown of a measured mask.
    area_unit : Unit
        Of areas that are shown.
    stated : str
        What the trace says that the answer hangs on: a figure as ``share:1``, whether two masks
        touch as ``touches:2/1``, the largest class as ``most``; empty where it is none of these.
    """

    image_id: str
    kind: QuestionKind
    task: str
    question: str
    form: Form
    options: tuple[str, ...]
    steps: tuple[Step, ...]
    closing: str
    answer: Answer
    fields: tuple[str, ...] = MEASURED_FIELDS
    area_unit: Unit = Unit.HECTARE
    stated: str = ""

    @property
    def asked(self) -> str:
        """The question as the model reads it, with its options."""
        if not self.options:
            return self.question
        said = " ".join(f"{a} {b}" for a, b in zip(OPTION_LETTERS, self.options, strict=False))
        return f"{self.question}\nOptions: {said}"


def indicator_of(dates: DatePair) -> str:
    """Return the indicator of a mask's dates.

    Parameters
    ----------
    dates : DatePair
        Earlier date or -1, and date, from 0.

    Returns
    -------
    text : str
        ``"Image: t_2"`` or ``"Image: t_1 to t_2"``.
    """
    before, date = dates
    return image_indicator(date + 1) if before < 0 else image_indicator(before + 1, date + 1)
