"""What generation takes and what it yields: masks on the way, their measurer, grammars, results."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol

from torch import Tensor

from terrascope.model.injection import Injection

__all__ = ["Generation", "Grammar", "MaskEvent", "Measurer", "Sampling"]


@dataclasses.dataclass(frozen=True, eq=False)
class MaskEvent:
    """One mask that was decoded on the way.

    Parameters
    ----------
    row : int
        Query it belongs to.
    window : int
        Index into the batch of windows.
    order : int
        Masks of this row before it.
    before, date : int
        Earlier date of a change mask, else -1; the (later) date. From 0.
    logits : Tensor of float, shape (H, W)
        Before the temperature.
    probability : Tensor of float32, shape (H, W)
        After it.
    injection : Injection
        Visual tokens that followed, and which sensor they are of.
    """

    row: int
    window: int
    order: int
    before: int
    date: int
    logits: Tensor
    probability: Tensor
    injection: Injection


class Measurer(Protocol):
    """Measures masks and writes the figures as tokens."""

    def __call__(
        self, events: Sequence[MaskEvent], earlier: Sequence[Sequence[MaskEvent]]
    ) -> Sequence[Sequence[int]]:
        """Measure masks of several rows.

        Parameters
        ----------
        events : sequence of MaskEvent
            Just decoded.
        earlier : sequence of sequence of MaskEvent
            Masks of the same row before each of them.

        Returns
        -------
        figures : sequence of sequence of int
            Token ids to inject after the visual tokens of each mask; empty for none.
        """


class Grammar(Protocol):
    """What a row may say next; see `terrascope.model.grammar`."""

    def allowed(self, state: Any) -> Any:
        """Return the tokens that may follow.

        Parameters
        ----------
        state : object
            Of this row.

        Returns
        -------
        allowed : array or Tensor of bool, shape (V,)
            Nothing allowed ends the row.
        """

    def advance(self, state: Any, token: int) -> Any:
        """Return the state after a token.

        Parameters
        ----------
        state : object
            Of this row.
        token : int
            What was said; visual tokens and figures are not.

        Returns
        -------
        state : object
            Of this row.
        """


@dataclasses.dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Parameters
    ----------
    temperature : float
        0 takes the likeliest token.
    seed : int
        Of the draws. A row draws by the seed and its own prompt: rows differ from each other,
        and none from itself, whatever else is in the batch.
    """

    temperature: float = 0.0
    seed: int = 0


@dataclasses.dataclass(frozen=True, eq=False)
class Generation:
    """What one query came to.

    Parameters
    ----------
    ids : tuple of int
        What was said: the forced trace and the free tokens, without visual tokens and figures.
    free : int
        How many of them, at the end, were not forced.
    log_probabilities : tuple of float
        Of the free tokens, under the grammar.
    events : tuple of MaskEvent
        The masks.
    sequence : tuple of int
        Everything after the prompt: also the figures, and padding where visual tokens stand.
    stopped : str
        ``"end"`` (of text), ``"length"``, ``"grammar"`` (nothing more was allowed).
    """

    ids: tuple[int, ...]
    free: int
    log_probabilities: tuple[float, ...]
    events: tuple[MaskEvent, ...]
    sequence: tuple[int, ...]
    stopped: str
