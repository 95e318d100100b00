"""What questions mean, and what is refused."""

from __future__ import annotations

import pytest

from terrascope.errors import ConfigError, QuestionError
from terrascope.monitor.answers.questions import EXAMPLES, Form, read_question
from terrascope.types import ChangeKind
from terrascope.vocabulary import ANSWER_OF, Unit

REGIONS = ("Decin", "Decin North", "Usti")


@pytest.mark.parametrize("question", EXAMPLES)
def test_every_example_can_be_asked(question: str) -> None:
    asks = read_question(question, REGIONS)
    assert asks
    assert all(ask.form.kind in ANSWER_OF for ask in asks)


@pytest.mark.parametrize(
    ("question", "form", "name", "cover"),
    [
        ("How much forest was lost?", Form.AMOUNT, "forest loss", "tree"),
        ("how much vegetation has been lost", Form.AMOUNT, "vegetation loss", None),
        ("How many hectares of crops were lost?", Form.AMOUNT, "crop loss", "crop"),
        ("What is the area of new water?", Form.AMOUNT, "water gain", None),
        ("How much ground was flooded?", Form.AMOUNT, "water gain", None),
        ("Which share of the area was lost?", Form.SHARE, "vegetation loss", None),
        ("Where is the largest forest loss?", Form.LARGEST, "forest loss", "tree"),
        ("Where was forest lost?", Form.LARGEST, "forest loss", "tree"),
        ("How many places changed?", Form.COUNT, "change", None),
        ("Is there any new built-up land?", Form.EXISTS, "new built-up land", None),
        ("Did flooding occur?", Form.EXISTS, "water gain", None),
        ("What has changed?", Form.KINDS, "change", None),
        ("Which region lost most forest?", Form.RANK, "forest loss", "tree"),
    ],
)
def test_forms_and_subjects(question: str, form: Form, name: str, cover: str | None) -> None:
    (ask,) = read_question(question, REGIONS)
    assert (ask.form, ask.subject.name, ask.subject.cover) == (form, name, cover)


def test_clauses_share_a_noun() -> None:
    first, second = read_question("How much forest was lost, and where is the largest loss?")
    assert (first.form, second.form) == (Form.AMOUNT, Form.LARGEST)
    assert first.subject == second.subject
    assert second.subject.kinds == {ChangeKind.VEGETATION_LOSS}


def test_units_regions_and_each() -> None:
    (ask,) = read_question(
        "How much forest was lost in the district of Decin North in km2?", REGIONS
    )
    assert (ask.region, ask.unit) == ("Decin North", Unit.SQUARE_KILOMETRE)
    (ask,) = read_question("How much was lost in each district?", REGIONS)
    assert ask.each
    (ask,) = read_question("Which district lost least?", REGIONS)
    assert (ask.form, ask.least) == (Form.RANK, True)
    (ask,) = read_question("How many percent of the ground changed?", REGIONS)
    assert (ask.form, ask.of_cover) == (Form.SHARE, False)
    (ask,) = read_question("Which share of the forest was lost?", REGIONS)
    assert ask.of_cover


def test_touching() -> None:
    (ask,) = read_question("Does new built-up land touch the river?")
    assert ask.other is not None
    assert (ask.form, ask.subject.name, ask.other.cover) == (
        Form.TOUCH,
        "new built-up land",
        "water",
    )
    (ask,) = read_question("Does vegetation loss touch water gain in Usti?", REGIONS)
    assert ask.other is not None
    assert (ask.other.name, ask.region) == ("water gain", "Usti")


@pytest.mark.parametrize(
    "question",
    [
        "",
        "Hello",
        "How much forest was not lost?",
        "How much forest was lost in 2019?",
        "How much forest was lost in Prague?",
        "How many bears were lost?",
        "How much forest will be lost?",
        "How much built-up land was lost?",
        "How much gained?",
        "Does happiness touch the river?",
        "How much forest was lost and gained?",
        "Why was forest lost?",
        "Where?",
    ],
)
def test_what_is_not_understood_is_refused(question: str) -> None:
    with pytest.raises(QuestionError, match=r"How much forest was lost\?") as error:
        read_question(question, REGIONS)
    assert isinstance(error.value, ConfigError)
