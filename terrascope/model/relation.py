"""How two masks of one window lie to each other: distance, touching, overlap."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from terrascope.model.geometry import Geometry
from terrascope.model.shapes import distance_m, grown, opened
from terrascope.model.uncertainty import sample_masks

__all__ = ["Relation", "distance_ladder", "relate"]

_TOUCH_SAMPLES = 49
"""Masks sampled to learn how likely two masks touch."""
_RUNGS = tuple(tenth / 10 for tenth in range(1, 10))
"""Thresholds of a ladder of distances."""


@dataclasses.dataclass(frozen=True)
class Relation:
    """How a mask lies to an earlier mask of the same window.

    Parameters
    ----------
    mask : int
        Number of the earlier mask in the answer, from 1.
    distance_m : float or None
        Between the centres of their nearest pixels; 0 where they overlap; None
        where either is empty.
    body_distance_m : float or None
        The same without specks, which a 3x3 opening of each mask removes.
    touches : bool
        Whether one of them, grown by a pixel all round, meets the other; specks apart, for a
        single wrong pixel between two masks would join them.
    touch_probability : float
        Share of sampled pairs of masks that touch in this way.
    overlap : float
        Share of this mask's area that lies in the earlier one; 0 where it is empty.
    ladder_m : tuple of float
        The distance without specks where both masks are drawn at thresholds of 0.1 to 0.9, those
        left out at which one of them is empty; empty where it was not asked for. One wrong body
        between two masks decides their distance as drawn; it is seldom as sure as the right ones.
    """

    mask: int
    distance_m: float | None
    body_distance_m: float | None
    touches: bool
    touch_probability: float
    overlap: float
    ladder_m: tuple[float, ...] = ()


def relate(
    probability: Tensor,
    earlier: Tensor,
    geometry: Geometry,
    *,
    fields: Tensor,
    threshold: float = 0.5,
    number: int = 1,
    touching: bool = True,
    ladder: bool = False,
) -> Relation:
    """Tell how a mask lies to an earlier one.

    Parameters
    ----------
    probability, earlier : Tensor of float, shape (H, W)
        Of the two masks; 0 where nothing was observed.
    geometry : Geometry
        Of the window.
    fields : Tensor of int16, shape (n, H, W)
        From `mask_thresholds`.
    threshold : float
        A pixel is in a mask where its probability is above this.
    number : int
        Of the earlier mask, for the record.
    touching : bool
        Whether masks are sampled to learn how likely the two touch; without, `touch_probability`
        is that of the masks as drawn: 0 or 1.
    ladder : bool
        Whether the distance is measured at other thresholds, too.

    Returns
    -------
    relation : Relation
        Distance in metres.
    """
    a, b = ((p > threshold).cpu().numpy() for p in (probability, earlier))
    area = geometry.area_map_m2
    own = float(area[a].sum())
    bodies = opened(a), opened(b)
    touches = bool((grown(bodies[0]) & bodies[1]).any())
    return Relation(
        mask=number,
        distance_m=distance_m(a, b, geometry),
        body_distance_m=distance_m(*bodies, geometry),
        touches=touches,
        touch_probability=(
            _touch_probability(probability, earlier, fields) if touching else float(touches)
        ),
        overlap=float(area[a & b].sum()) / own if own else 0.0,
        ladder_m=distance_ladder(probability, earlier, geometry) if ladder else (),
    )


def distance_ladder(probability: Tensor, earlier: Tensor, geometry: Geometry) -> tuple[float, ...]:
    """Measure the distance of two masks at many thresholds.

    Parameters
    ----------
    probability, earlier : Tensor of float, shape (H, W)
        Of the two masks; 0 where nothing was observed.
    geometry : Geometry
        Of the window.

    Returns
    -------
    ladder_m : tuple of float
        As of `Relation`.
    """
    one, other = probability.cpu().numpy(), earlier.cpu().numpy()
    found = (distance_m(opened(one > t), opened(other > t), geometry) for t in _RUNGS)
    return tuple(metres for metres in found if metres is not None)


def _touch_probability(p: Tensor, earlier: Tensor, fields: Tensor) -> float:
    """Return the share of sampled pairs that touch; the two masks' errors are independent."""
    chosen = fields[:: max(fields.shape[0] // _TOUCH_SAMPLES, 1)]
    one = _opened(sample_masks(p, chosen))
    other = _opened(sample_masks(earlier, _unpaired(chosen)))
    return float((_grown(one) & other).flatten(1).any(1).float().mean())


def _grown(masks: Tensor) -> Tensor:
    """Grow boolean masks by one pixel all round; many times faster than pooling floats."""
    tall = masks.clone()
    tall[:, 1:] |= masks[:, :-1]
    tall[:, :-1] |= masks[:, 1:]
    full = tall.clone()
    full[..., 1:] |= tall[..., :-1]
    full[..., :-1] |= tall[..., 1:]
    return full


def _opened(masks: Tensor) -> Tensor:
    """Take specks away, as `terrascope.model.shapes.opened` does of one mask."""
    eroded = ~_grown(~masks)
    bodies = _grown(eroded) & masks
    return torch.where(eroded.flatten(1).any(1)[:, None, None], bodies, masks)


def _unpaired(fields: Tensor) -> Tensor:
    """Give a second mask other fields than the first has: their errors are independent."""
    return fields.roll(fields.shape[0] // 2, 0)
