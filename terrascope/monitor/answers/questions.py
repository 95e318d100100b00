"""A small grammar of questions about a region: deterministic, and strict.

A question is cut into clauses; each clause has one form ("how much", "where is the
largest", "does ... touch ..."), one subject or two, and perhaps a region. A word that the
grammar does not know makes the whole question refused: an answer to something that was
not asked is worse than none.
"""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Sequence

from terrascope.errors import QuestionError
from terrascope.monitor.answers.subjects import (
    NOUNS,
    VERBS,
    Subject,
    change_of,
    ground_of,
    strip,
)
from terrascope.vocabulary import QuestionKind, Unit

__all__ = ["EXAMPLES", "Ask", "Form", "read_question"]

EXAMPLES = (
    "How much forest was lost?",
    "How much was lost, and where is the largest loss?",
    "Which share of the ground changed?",
    "Where is the largest vegetation loss?",
    "How many places were lost?",
    "Which district lost most?",
    "How much was lost in each district?",
    "Is there any new built-up land?",
    "What has changed?",
    "Does new built-up land touch the river?",
)
"""What can be asked, one of each form."""


class Form(enum.StrEnum):
    """What a clause asks for."""

    AMOUNT = "amount"
    SHARE = "share"
    LARGEST = "largest"
    COUNT = "count"
    EXISTS = "exists"
    KINDS = "kinds"
    RANK = "rank"
    """Which region has most."""
    TOUCH = "touch"

    @property
    def kind(self) -> QuestionKind:
        """The kind of window question that this is, over a region."""
        return {
            Form.AMOUNT: QuestionKind.CHANGE_AREA,
            Form.SHARE: QuestionKind.CHANGE_SHARE,
            Form.LARGEST: QuestionKind.LOCATION,
            Form.COUNT: QuestionKind.CHANGE_COUNT,
            Form.EXISTS: QuestionKind.CHANGE_EXISTENCE,
            Form.KINDS: QuestionKind.CHANGE_KIND,
            Form.RANK: QuestionKind.COMPARE,
            Form.TOUCH: QuestionKind.BOUNDARY,
        }[self]


@dataclasses.dataclass(frozen=True)
class Ask:
    """One clause, understood.

    Parameters
    ----------
    text : str
        The clause.
    form : Form
        What is asked for.
    subject : Subject
        Of what.
    other : Subject or None
        What it may touch.
    region : str or None
        Name of a region; None for the whole area.
    each : bool
        Whether every region is asked about.
    unit : Unit
        Of areas.
    least : bool
        Of a ranking: the region with the least.
    of_cover : bool
        Of a share: whether it is that of a class of land, not of the ground.
    """

    text: str
    form: Form
    subject: Subject
    other: Subject | None = None
    region: str | None = None
    each: bool = False
    unit: Unit = Unit.HECTARE
    least: bool = False
    of_cover: bool = False


_REGION = r"(?:districts?|regions?|count(?:y|ies)|municipalit(?:y|ies)|provinces?|parishes|parish)"
_FORMS = (
    (Form.RANK, rf"(?:which|what|in which) {_REGION}"),
    (Form.SHARE, r"(?:which|what|how large a|how many) (?:share|percent|percentage|part|fraction)"),
    (Form.COUNT, r"(?:how many|count the) (?:separate )?(?:places|patches|events|spots|sites)"),
    (Form.KINDS, r"(?:what|which) (?:kinds?|types?) of changes?|what (?:has |was |is )?changed"),
    (Form.LARGEST, r"where|what is the (?:largest|biggest)|locate"),
    (
        Form.AMOUNT,
        r"how much|how many|how (?:large|big)|what is the (?:total )?area|estimate|what area",
    ),
    (Form.EXISTS, r"(?:is|are|was|were|has|have|did|does|do)"),
)
_TOUCH = r"(?:touch(?:es|ed|ing)?|border(?:s|ed)?|meets?|met|reach(?:es|ed)?|lie next to|next to)"
_UNITS = (
    (Unit.SQUARE_KILOMETRE, r"(?:km2|km²|square kilomet(?:re|er)s?)"),
    (Unit.HECTARE, r"(?:ha|hectares?)"),
    (Unit.SQUARE_METRE, r"(?:m2|m²|square met(?:re|er)s?)"),
    (Unit.PERCENT, r"(?:%|percent)"),
)
_EACH = rf"(?:in|for|of|per|by) (?:each|every|all)?(?: of the)? ?{_REGION}|(?:per|by) {_REGION}"
_WHOLE = r"(?:in|over|of|on) (?:the )?(?:whole |entire |total )?(?:area|region|ground|land|map)"
_IDLE = frozenset(
    {
        *("a", "an", "any", "the", "this", "that", "it", "there", "here"),
        *("of", "in", "on", "over", "by", "with", "and", "or", "so", "far", "now"),
        *("is", "are", "was", "were", "be", "been", "has", "have", "had", "did", "do", "does"),
        *("what", "which", "where", "how", "much", "many", "amount", "total", "all", "whole"),
        *("most", "largest", "biggest", "greatest", "area", "ground", "land"),
        *("place", "places", "patch", "patches", "event", "events", "answer"),
        *("occur", "occurs", "occurred", "happen", "happened", "cover", "covers", "covered"),
    }
)
_BEGINNING = "where|how|what|which|in which|does|do|did|is|are|was|were|has|have"
_CLAUSE = re.compile(rf"[?;.!]+|,?\s+and\s+(?=(?:{_BEGINNING})\b)|,\s*(?=(?:{_BEGINNING})\b)")


def read_question(question: str, regions: Sequence[str] = ()) -> tuple[Ask, ...]:
    """Understand a question.

    Parameters
    ----------
    question : str
        In English.
    regions : sequence of str
        Names that may be asked about.

    Returns
    -------
    asks : tuple of Ask
        One per clause; a later clause may leave out the noun of an earlier one.

    Raises
    ------
    QuestionError
        If a clause is not understood; the message lists what can be asked.
    """
    text = re.sub(r"\s+", " ", question.strip())
    clauses = [part.strip(" ,.") for part in _CLAUSE.split(text) if part and part.strip(" ,.")]
    if not clauses:
        raise QuestionError(_refusal(question, "it is empty"))
    asks: list[Ask] = []
    noun: str | None = None
    for clause in clauses:
        ask, noun = _read_clause(clause, question, regions, noun)
        asks.append(ask)
    return tuple(asks)


def _read_clause(
    clause: str, question: str, regions: Sequence[str], inherited: str | None
) -> tuple[Ask, str | None]:
    """Read one clause; return it and the noun that a later clause may leave out."""
    rest = clause.lower()
    region, rest = _region_in(rest, regions)
    if re.search(_TOUCH, rest) and (found := _read_touch(clause, rest, region, question)):
        return found, inherited
    form, rest = _form_of(rest, question)
    unit, rest = _unit_in(rest)
    each_words, rest = strip(_EACH, rest) if form is not Form.RANK else (None, rest)
    whole, rest = strip(_WHOLE, rest)
    least, rest = strip("(?:least|smallest)", rest)
    if form is Form.KINDS:
        _check_words(rest, question)
        return Ask(clause, form, _change(None, "change", question), region=region), None
    noun, verb, rest = _words_in(rest)
    if verb is None and form in (Form.LARGEST, Form.COUNT, Form.EXISTS) and noun is None:
        raise QuestionError(_refusal(question, f"{clause!r} names no change"))
    if verb is None:
        raise QuestionError(_refusal(question, f"{clause!r} does not say lost, gained or changed"))
    _check_words(rest, question)
    if noun is None and verb in ("loss", "gain", "change") and inherited is not None:
        noun = inherited
    subject = _change(noun, verb, question)
    ask = Ask(
        clause,
        Form.SHARE if form is Form.AMOUNT and unit is Unit.PERCENT else form,
        subject,
        region=region,
        each=each_words is not None,
        unit=unit or Unit.HECTARE,
        least=least is not None,
        of_cover=whole is None and noun is not None,
    )
    return ask, noun


def _read_touch(clause: str, rest: str, region: str | None, question: str) -> Ask | None:
    """Read "does A touch B"; None where the words stand for something else."""
    match = re.match(rf"(?:does|do|did|is|are|has|have) (.+?) ({_TOUCH}) (.+)$", rest)
    if match is None:
        return None
    subjects = []
    for side in (match[1], match[3]):
        _, words = strip(_WHOLE, side)
        noun, verb, left = _words_in(words)
        _check_words(left, question)
        land = ground_of(noun) if verb is None and noun is not None else None
        if verb is not None:
            land = _change(noun, verb, question)
        if land is None:
            raise QuestionError(_refusal(question, f"{side!r} is neither land nor a change"))
        subjects.append(land)
    return Ask(clause, Form.TOUCH, subjects[0], subjects[1], region)


def _form_of(rest: str, question: str) -> tuple[Form, str]:
    rest = re.sub(r"^(?:and|so|please) ", "", rest)
    for form, pattern in _FORMS:
        match = re.match(rf"(?:{pattern})(?![\w-])", rest)
        if match is not None:
            return form, rest[match.end() :]
    raise QuestionError(_refusal(question, f"{rest!r} begins like no question it knows"))


def _words_in(rest: str) -> tuple[str | None, str | None, str]:
    """Return the noun, the verb and what is left."""
    noun = verb = None
    for pattern, meaning in VERBS.items():
        word, left = strip(pattern, rest)
        if word is not None:
            # "new ... lost" would be two changes: the second stays behind and is refused
            verb, rest = meaning, left
            break
    for pattern, meaning in NOUNS.items():
        word, left = strip(pattern, rest)
        if word is not None:
            noun, rest = meaning, left
            break
    return noun, verb, rest


def _unit_in(rest: str) -> tuple[Unit | None, str]:
    for unit, pattern in _UNITS:
        word, left = strip(rf"(?:in |answer in )?{pattern}", rest)
        if word is not None:
            return unit, left
    return None, rest


def _region_in(rest: str, regions: Sequence[str]) -> tuple[str | None, str]:
    """Take the name of a region out of a clause, the longest that fits."""
    for name in sorted(regions, key=len, reverse=True):
        prefix = rf"(?:(?:in|over|of) )?(?:the )?(?:{_REGION} (?:of )?)?"
        word, left = strip(prefix + re.escape(name.lower()), rest)
        if word is not None:
            return name, left
    return None, rest


def _change(noun: str | None, verb: str, question: str) -> Subject:
    subject = change_of(noun, verb)
    if subject is None:
        raise QuestionError(_refusal(question, f"no map shows {verb} of {noun or 'something'}"))
    return subject


def _check_words(rest: str, question: str) -> None:
    unknown = [word for word in re.findall(r"[\w'%²-]+", rest) if word not in _IDLE]
    if unknown:
        raise QuestionError(_refusal(question, f"it does not know {unknown[0]!r} there"))


def _refusal(question: str, why: str) -> str:
    listed = "".join(f"\n  {example}" for example in EXAMPLES)
    return f"cannot answer {question!r}: {why}. What can be asked, for instance:{listed}"
