"""Token sequences with images in them: what is asked, and how it is laid out for the model.

A prompt holds one ``<image>`` per image that exists (dates in order, optical before radar);
here each becomes the N visual tokens of that image. After every ``[SEG]`` of the response come
the visual tokens of its mask. A sequence is then two rows of numbers: the id of each position,
and the visual token that replaces its embedding, or -1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional

from terrascope.vocabulary import last_indicator

__all__ = [
    "DatePair",
    "Layout",
    "Query",
    "by_length",
    "date_of",
    "expand",
    "lay_out",
    "read_dates",
    "taught_tokens",
]

ROWS_TOGETHER = 4
"""Rows of about one length that are run together: padding costs as much as text."""

DatePair = tuple[int, int]
"""Earlier date (-1 where a mask is of one date) and date, counted from 0."""


@dataclasses.dataclass(frozen=True)
class Query:
    """One question about one window, and, to teach or to force it, the response.

    Parameters
    ----------
    window : int
        Index into the batch of windows.
    prompt : sequence of int
        Token ids; one ``<image>`` per image of the window that exists. Questions of one window
        that begin alike up to the last image share that part of the computation.
    question : tuple of int
        Start and end in `prompt` of the words of the question: they choose the sensor.
    response : sequence of int
        Token ids that follow the prompt. Measured figures may stand in it, right after their
        ``[SEG]``; visual tokens never do.
    taught : sequence of bool or None
        Which tokens of the response the language loss counts; None for all outside of
        ``<measure>`` ... ``</measure>``.
    dates : sequence of DatePair
        Of each ``[SEG]`` in the response, as `read_dates` reads them; not used in generation.

    Raises
    ------
    ValueError
        If the question lies outside of the prompt, or `taught` has another length.
    """

    window: int
    prompt: Sequence[int]
    question: tuple[int, int]
    response: Sequence[int] = ()
    taught: Sequence[bool] | None = None
    dates: Sequence[DatePair] = ()

    def __post_init__(self) -> None:
        start, end = self.question
        if not 0 <= start <= end <= len(self.prompt):
            raise ValueError(f"question {self.question} of a prompt of {len(self.prompt)} tokens")
        if self.taught is not None and len(self.taught) != len(self.response):
            raise ValueError(
                f"{len(self.taught)} taught flags for {len(self.response)} tokens of the response"
            )


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sequences as tensors, padded on the right: a causal mask is all that they need.

    Parameters
    ----------
    ids : Tensor of int64, shape (R, L)
        Of text; padding where a visual token stands and behind the end.
    source : Tensor of int64, shape (R, L)
        Place of the visual token in ``tokens.flatten(0, 3)``, -1 where there is text.
    taught : Tensor of bool, shape (R, L)
        Positions whose id the language loss asks for.
    lengths : Tensor of int64, shape (R,)
        Real positions.
    seg_row, seg_position : Tensor of int64, shape (K,)
        Every ``[SEG]`` of a response, row by row.
    """

    ids: Tensor
    source: Tensor
    taught: Tensor
    lengths: Tensor
    seg_row: Tensor
    seg_position: Tensor


def read_dates(
    response: Sequence[int], seg: int, dates: int, text: Callable[[list[int]], str]
) -> list[DatePair]:
    """Read which date each mask of a response is of.

    Parameters
    ----------
    response : sequence of int
        Token ids.
    seg : int
        Id of ``[SEG]``.
    dates : int
        Of the window.
    text : callable
        Token ids to text.

    Returns
    -------
    pairs : list of DatePair
        One per ``[SEG]``: what the indicator written last since the previous ``[SEG]`` says;
        where there is none, or it names no date of the window, the number of earlier masks
        modulo `dates`.
    """
    pairs: list[DatePair] = []
    part: list[int] = []
    for number in response:
        if number != seg:
            part.append(number)
            continue
        pairs.append(date_of(text(part), len(pairs), dates))
        part = []
    return pairs


def date_of(written: str, earlier: int, dates: int) -> DatePair:
    """Read one indicator; see `read_dates`.

    Parameters
    ----------
    written : str
        What was said since the previous ``[SEG]``.
    earlier : int
        Masks before.
    dates : int
        Of the window.

    Returns
    -------
    pair : DatePair
        Of this mask.
    """
    named = last_indicator(written)
    fall_back = (-1, earlier % max(dates, 1))
    if named is None:
        return fall_back
    first, last = named
    if last is None:
        return (-1, first - 1) if 1 <= first <= dates else fall_back
    return (first - 1, last - 1) if 1 <= first < last <= dates else fall_back


def expand(
    ids: Sequence[int], image: int, pad: int, images: Sequence[int], tokens: int
) -> tuple[list[int], list[int]]:
    """Put visual tokens in the place of ``<image>``.

    Parameters
    ----------
    ids : sequence of int
        A prompt.
    image, pad : int
        Ids of ``<image>`` and of padding.
    images : sequence of int
        First visual token of every image that exists; a prompt may also be without any image.
    tokens : int
        Visual tokens per image, N.

    Returns
    -------
    ids, source : list of int
        As in `Layout`.

    Raises
    ------
    ValueError
        If there are not as many ``<image>`` as images.
    """
    wanted = sum(number == image for number in ids)
    if wanted not in (0, len(images)):
        raise ValueError(
            f"{wanted} <image> in the prompt, but {len(images)} images: expected one per date "
            "and sensor that was observed"
        )
    out: list[int] = []
    source: list[int] = []
    following = iter(images)
    for number in ids:
        if number == image:
            first = next(following)
            out += [pad] * tokens
            source += range(first, first + tokens)
        else:
            out.append(number)
            source.append(-1)
    return out, source


def lay_out(
    queries: Sequence[Query],
    images: Sequence[Sequence[int]],
    injected: Sequence[Sequence[int]],
    *,
    tokens: int,
    seg: int,
    image: int,
    pad: int,
    measure: tuple[int, int] | None,
    device: torch.device,
) -> Layout:
    """Lay out prompts and responses for one pass with the response given.

    Parameters
    ----------
    queries : sequence of Query
        R of them.
    images : sequence of sequence of int
        First visual token of every existing image, by window.
    injected : sequence of sequence of int
        Visual tokens after each ``[SEG]`` of the responses, query by query.
    tokens : int
        Visual tokens per image.
    seg, image, pad : int
        Ids.
    measure : tuple of int or None
        Ids of ``<measure>`` and ``</measure>``.
    device : torch.device
        Of the tensors.

    Returns
    -------
    layout : Layout
        Of all of them.
    """
    rows: list[tuple[list[int], list[int], list[bool]]] = []
    places: list[tuple[int, int]] = []
    following = iter(injected)
    for row, query in enumerate(queries):
        ids, source = expand(query.prompt, image, pad, images[query.window], tokens)
        taught = [False] * len(ids)
        for number, counts in zip(query.response, taught_tokens(query, measure), strict=True):
            ids.append(number)
            source.append(-1)
            taught.append(counts)
            if number == seg:
                places.append((row, len(ids) - 1))
                chosen = next(following)
                ids += [pad] * len(chosen)
                source += chosen
                taught += [False] * len(chosen)
        rows.append((ids, source, taught))
    longest = max(len(ids) for ids, _, _ in rows)
    filled = [
        (
            ids + [pad] * (longest - len(ids)),
            source + [-1] * (longest - len(ids)),
            taught + [False] * (longest - len(ids)),
        )
        for ids, source, taught in rows
    ]
    where = torch.tensor(places, dtype=torch.int64, device=device).reshape(-1, 2)
    return Layout(
        ids=torch.tensor([row[0] for row in filled], device=device),
        source=torch.tensor([row[1] for row in filled], device=device),
        taught=torch.tensor([row[2] for row in filled], device=device),
        lengths=torch.tensor([len(ids) for ids, _, _ in rows], device=device),
        seg_row=where[:, 0],
        seg_position=where[:, 1],
    )


def by_length(run: Callable[[Tensor, int], Tensor], lengths: Tensor) -> Tensor:
    """Run rows a few at a time, those of about one length together.

    Parameters
    ----------
    run : callable
        Takes rows, int64, shape (r,), and a width w; gives their states, shape (r, w, D).
    lengths : Tensor of int64, shape (R,)
        Real positions of every row.

    Returns
    -------
    states : Tensor of float, shape (R, L, D)
        In the order of the rows, L the greatest length; zero behind the width a row was run at.
    """
    order = lengths.argsort(stable=True)
    longest = int(lengths.max())
    parts = []
    for rows in torch.split(order, ROWS_TOGETHER):
        width = int(lengths[rows].max())
        parts.append(functional.pad(run(rows, width), (0, 0, 0, longest - width)))
    return torch.cat(parts)[order.argsort()]


def taught_tokens(query: Query, measure: tuple[int, int] | None) -> list[bool]:
    """Tell which tokens of a response the language loss counts.

    Parameters
    ----------
    query : Query
        With its response.
    measure : tuple of int or None
        Ids of ``<measure>`` and ``</measure>``: what stands between is given, not said.

    Returns
    -------
    flags : list of bool
        One per token of the response.
    """
    if query.taught is not None:
        return list(query.taught)
    if measure is None:
        return [True] * len(query.response)
    flags: list[bool] = []
    inside = False
    for number in query.response:
        inside = inside or number == measure[0]
        flags.append(not inside)
        inside = inside and number != measure[1]
    return flags
