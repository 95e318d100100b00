"""Thresholds on spectral indices, as the literature gives them: nothing is trained or tuned."""

from __future__ import annotations

import torch
from torch import Tensor

from terrascope.evaluation.baselines.protocol import CHANGE_KINDS, CLASSES
from terrascope.model.windows import Windows
from terrascope.sensors import S2_BANDS
from terrascope.types import ChangeKind
from terrascope.vocabulary import CLASS_CODES

__all__ = ["IndexPredictor"]

_BAND = {name: place for place, name in enumerate(S2_BANDS)}
_SURE = 0.9
"""Probability that a rule gives its class: it has no other."""


class IndexPredictor:
    """Rules on optical indices, first match wins.

    Notes
    -----
    Water: MNDWI above 0 [1]_. Bare or built: NDVI below 0.2 [2]_, built where NDBI is above 0 and
    the soil is dull. Trees: NDVI above 0.6 and dark in the short-wave infrared; crop: NDVI above
    0.6 and bright; grass, shrub and wetland between. Change: dNBR above 0.27, moderate severity
    [3]_, is vegetation loss; below -0.25 regrowth; a step across MNDWI 0 is water gained or lost.

    References
    ----------
    .. [1] Xu, Modification of normalised difference water index, IJRS 27 (2006).
    .. [2] Sobrino et al., Land surface temperature retrieval from LANDSAT TM 5, RSE 90 (2004).
    .. [3] Key and Benson, Landscape Assessment, USDA RMRS-GTR-164-CD (2006).
    """

    def cover(self, windows: Windows) -> Tensor:
        """Map land cover; see `terrascope.evaluation.baselines.protocol.Predictor`.

        Parameters
        ----------
        windows : Windows
            B windows of T dates.

        Returns
        -------
        probability : Tensor of float32, shape (B, T, 8, H, W)
            Of each class.
        """
        bands = self._bands(windows)
        ndvi, mndwi = _index(bands, "nir", "red"), _index(bands, "green", "swir16")
        ndbi = _index(bands, "swir16", "nir")
        short, red = bands[:, :, _BAND["swir16"]], bands[:, :, _BAND["red"]]
        rules = (
            ("water", mndwi > 0.0),
            ("developed area", (ndvi < 0.3) & (ndbi > -0.1) & (short < 0.28) & (red < 0.2)),
            ("bare land", ndvi < 0.2),
            ("tree", (ndvi > 0.6) & (short < 0.16)),
            ("crop", ndvi > 0.6),
            ("wetland", (ndvi < 0.6) & (mndwi > -0.2)),
            ("shrub", (ndvi < 0.6) & (short < 0.2)),
        )
        found = torch.full(ndvi.shape, CLASS_CODES["grass"], dtype=torch.int64)
        for name, rule in reversed(rules):
            found[rule] = CLASS_CODES[name]
        return _one_hot(found - 1, CLASSES).movedim(-1, 2)

    def change(self, windows: Windows, before: int, date: int) -> Tensor:
        """Map change; see `terrascope.evaluation.baselines.protocol.Predictor`.

        Parameters
        ----------
        windows : Windows
            B windows.
        before, date : int
            Earlier and later date, from 0.

        Returns
        -------
        probability : Tensor of float32, shape (B, 8, H, W)
            Of each kind.
        """
        bands = self._bands(windows)
        then, now = bands[:, before : before + 1], bands[:, date : date + 1]
        drop = (_index(then, "nir", "swir22") - _index(now, "nir", "swir22"))[:, 0]
        wet_then, wet_now = (_index(one, "green", "swir16")[:, 0] > 0 for one in (then, now))
        found = torch.zeros(drop.shape, dtype=torch.int64)
        found[drop < -0.25] = ChangeKind.REGROWTH
        found[drop > 0.27] = ChangeKind.VEGETATION_LOSS
        found[wet_now & ~wet_then] = ChangeKind.WATER_GAIN
        found[wet_then & ~wet_now] = ChangeKind.WATER_LOSS
        return _one_hot(found, CHANGE_KINDS).movedim(-1, 1)

    def _bands(self, windows: Windows) -> Tensor:
        return torch.where(windows.optical_valid, windows.optical, torch.nan)


def _index(bands: Tensor, one: str, other: str) -> Tensor:
    """Return a normalised difference, (B, T, H, W); NaN, which no rule matches, where missing."""
    a, b = bands[:, :, _BAND[one]], bands[:, :, _BAND[other]]
    return (a - b) / (a + b).clamp(min=1e-4)


def _one_hot(codes: Tensor, count: int) -> Tensor:
    rest = (1 - _SURE) / (count - 1)
    hot = torch.nn.functional.one_hot(codes, count).float()
    return hot * (_SURE - rest) + rest
