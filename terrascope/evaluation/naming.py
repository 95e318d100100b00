"""Which mask of a response is a mask of what: read from the words before it."""

from __future__ import annotations

import re
from collections.abc import Callable

from terrascope.data.scenes import ANY_CHANGE, DESTROYED
from terrascope.model.generation_terrascope import Generation, MaskEvent
from terrascope.model.sequences import DatePair
from terrascope.types import ChangeKind
from terrascope.vocabulary import CHANGE_NAMES, LAND_COVER

__all__ = ["name_masks", "named_last"]

_CHANGES = tuple(name for kind, name in CHANGE_NAMES.items() if kind is not ChangeKind.NONE)
_NO_LETTERS = re.compile(r"[^A-Za-z]+")
_NAMES = (*LAND_COVER, *_CHANGES, ANY_CHANGE, DESTROYED)


def name_masks(
    said: Generation, text: Callable[[list[int]], str], seg: int
) -> dict[tuple[str, DatePair], MaskEvent]:
    """Name the masks of a response.

    Parameters
    ----------
    said : Generation
        With its masks.
    text : callable
        Token ids to text.
    seg : int
        Id of ``[SEG]``.

    Returns
    -------
    masks : dict
        By name and dates; the first of several of the same. A mask before which nothing is
        named that has a name, is of nothing.
    """
    found: dict[tuple[str, DatePair], MaskEvent] = {}
    part: list[int] = []
    events = iter(said.events)
    for token in said.ids:
        if token != seg:
            part.append(token)
            continue
        event = next(events, None)
        if event is None:
            break
        name = named_last(text(part))
        if name is not None:
            found.setdefault((name, (event.before, event.date)), event)
        part = []
    return found


def named_last(words: str) -> str | None:
    """Return the class or change that was named last.

    Parameters
    ----------
    words : str
        Of a trace.

    Returns
    -------
    name : str or None
        The longest of those that end last: ``"destroyed developed area"`` is not
        ``"developed area"``.
    """
    padded = f" {_NO_LETTERS.sub(' ', words)} "
    places = [
        (at + len(name), len(name), name)
        for name in _NAMES
        if (at := padded.rfind(f" {name} ")) >= 0
    ]
    return max(places)[2] if places else None
