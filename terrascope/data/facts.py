"""What is true of a scene, computed from its masks and kept: areas, parts, neighbours, ways."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from terrascope.data.rle import Rle, encode_mask
from terrascope.data.scenes import LabelledScene
from terrascope.model.measure import position_words
from terrascope.model.sequences import DatePair
from terrascope.model.shapes import count_parts, distance_m, grown, opened
from terrascope.types import BoolArray
from terrascope.vocabulary import CLASS_CODES

__all__ = ["Facts", "Named"]

Named = tuple[str, DatePair]
"""A mask by name and dates, as `LabelledScene.mask` takes them."""

SMALL = " in a small window"
_SMALL_PX = 96


class Facts:
    """Exact figures of the true masks of one scene; each is computed when first asked for.

    Parameters
    ----------
    scene : LabelledScene
        Not modified.
    """

    def __init__(self, scene: LabelledScene) -> None:
        self.scene = scene
        self._area = scene.window.geometry.area_map_m2
        self._masks: dict[Named, BoolArray] = {}
        self._rles: dict[Named, Rle] = {}
        self._areas: dict[Named, float] = {}
        self._parts: dict[Named, int] = {}
        self._seen: dict[Named, float] = {}
        self._shapes: dict[tuple[str, Named], BoolArray] = {}

    @property
    def date_count(self) -> int:
        """Dates of the window."""
        return len(self.scene.dates)

    @cached_property
    def window_m2(self) -> float:
        """Ground of the window, observed or not, in square metres."""
        return float(self._area.sum())

    @property
    def stratum(self) -> str:
        """Part of every key of `terrascope.data.priors`: small windows are a world of their own."""
        return SMALL if max(self.scene.window.geometry.shape_yx) < _SMALL_PX else ""

    def mask(self, named: Named) -> BoolArray:
        """Return a true mask; see `LabelledScene.mask`.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        mask : ndarray of bool, shape (H, W)
            Do not write to it.
        """
        if named not in self._masks:
            self._masks[named] = self.scene.mask(*named)
        return self._masks[named]

    def rle(self, named: Named) -> Rle:
        """Return a true mask as run lengths.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        rle : Rle
            Of the mask.
        """
        if named not in self._rles:
            self._rles[named] = encode_mask(self.mask(named))
        return self._rles[named]

    def pixels(self, named: Named) -> int:
        """Return the number of pixels of a mask.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        pixels : int
            True ones.
        """
        return int(np.count_nonzero(self.mask(named)))

    def area_m2(self, named: Named) -> float:
        """Return the ground area of a mask.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        area : float
            Square metres.
        """
        if named not in self._areas:
            self._areas[named] = float(self._area[self.mask(named)].sum())
        return self._areas[named]

    def known_m2(self, named: Named) -> float:
        """Return the ground on which a mask is known: observed, with a label.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        area : float
            Square metres.
        """
        if named not in self._seen:
            self._seen[named] = float(self._area[self.scene.known(*named)].sum())
        return self._seen[named]

    def share(self, named: Named) -> float:
        """Return the share of the known ground that lies in a mask.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        share : float
            0 to 1; 0 where nothing is known.
        """
        known = self.known_m2(named)
        return self.area_m2(named) / known if known else 0.0

    def parts(self, named: Named) -> int:
        """Return the number of 8-connected components of a mask.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        parts : int
            Specks of one pixel count.
        """
        if named not in self._parts:
            self._parts[named] = count_parts(self.mask(named))[0]
        return self._parts[named]

    def position(self, named: Named) -> str | None:
        """Return where the centroid of a mask lies.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        position : str or None
            One of `terrascope.vocabulary.POSITIONS`; None where it is empty.
        """
        rows, columns = np.nonzero(self.mask(named))
        if not rows.size:
            return None
        height, width = self.scene.window.geometry.shape_yx
        return position_words((rows.mean() + 0.5) / height, (columns.mean() + 0.5) / width)

    def spread(self, named: Named) -> float:
        """Return how far a mask is spread out.

        Parameters
        ----------
        named : Named
            Which.

        Returns
        -------
        spread : float
            Root mean square distance of its pixels from their centroid, as a share of the
            window's longer side; about 0.4 for the whole window; 0 where it is empty.
        """
        rows, columns = np.nonzero(self.mask(named))
        if not rows.size:
            return 0.0
        side = max(self.scene.window.geometry.shape_yx)
        return float(np.sqrt(rows.var() + columns.var()) / side)

    def touches(self, one: Named, other: Named) -> bool:
        """Tell whether a mask, grown by a pixel all round, meets another.

        Parameters
        ----------
        one, other : Named
            Which.

        Returns
        -------
        touches : bool
            The same in both orders.
        """
        return bool((self._shape("grown", one) & self.mask(other)).any())

    def bodies_touch(self, one: Named, other: Named) -> bool:
        """Tell whether two masks without their specks touch, as masks are measured.

        Parameters
        ----------
        one, other : Named
            Which.

        Returns
        -------
        touch : bool
            Where `touches` says otherwise, a few pixels decide.
        """
        return bool((grown(self._shape("opened", one)) & self._shape("opened", other)).any())

    def distance_m(self, one: Named, other: Named) -> float | None:
        """Return the shortest way between two masks without their specks.

        Parameters
        ----------
        one, other : Named
            Which.

        Returns
        -------
        distance : float or None
            Metres between the centres of the nearest pixels; None where a mask is empty.
        """
        bodies = (self._shape("opened", one), self._shape("opened", other))
        return distance_m(*bodies, self.scene.window.geometry)

    def inside(self, one: Named, other: Named) -> float:
        """Return which share of a mask's area lies in another.

        Parameters
        ----------
        one, other : Named
            Which; the share is of the first one.

        Returns
        -------
        share : float
            0 to 1; 0 where the first one is empty.
        """
        area = self.area_m2(one)
        both = float(self._area[self.mask(one) & self.mask(other)].sum())
        return both / area if area else 0.0

    def classes(self, date: int, at_least: float = 0.0) -> list[str]:
        """Return the classes that are there on a date.

        Parameters
        ----------
        date : int
            From 0.
        at_least : float
            Share of the known ground, 0 to 1.

        Returns
        -------
        classes : list of str
            In the order of their codes.
        """
        shares = {name: self.share((name, (-1, date))) for name in CLASS_CODES}
        return [name for name, share in shares.items() if share > 0 and share >= at_least]

    def largest(self, names: Sequence[str], date: int) -> list[str]:
        """Sort classes by area, the largest first.

        Parameters
        ----------
        names : sequence of str
            Classes.
        date : int
            From 0.

        Returns
        -------
        names : list of str
            All of them.
        """
        return sorted(names, key=lambda name: -self.area_m2((name, (-1, date))))

    def _shape(self, what: str, named: Named) -> BoolArray:
        if (what, named) not in self._shapes:
            work = grown if what == "grown" else opened
            self._shapes[what, named] = work(self.mask(named))
        return self._shapes[what, named]
