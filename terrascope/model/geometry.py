"""The ground under a window's pixels: areas and distances, planar or geographic.

Measured figures are as true as the pixel geometry they are taken with, so it
travels with every window: square metres of each pixel, and the metres between
any two. Numpy only.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Geometry"]

_A_M = 6_378_137.0
"""Semi-major axis of WGS 84."""
_E2 = 0.0066943799901413165
"""Its first eccentricity, squared."""
_E = _E2**0.5
_SMALLEST_M = 0.01
"""No picture of the Earth from above has smaller pixels; steps in degrees are smaller."""


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """Areas of the pixels of a window and distances between them.

    Build it with `planar` or `geographic`.

    Parameters
    ----------
    shape_yx : tuple of int
        Rows and columns.
    pixel_size_yx_m : tuple of float
        Ground metres from one pixel to the next, at the window's centre.
    area_m2 : ndarray of float64, shape (H, W) or (H, 1)
        Ground area of each pixel, or of each row's pixels.
    north_deg : float or None
        Latitude of the upper edge where rows and columns are degrees; None
        where they are metres.
    step_yx_deg : tuple of float or None
        Degrees per pixel, both positive; rows go south.
    inside_yx : tuple of int or None
        Rows and columns of the real window where the rest is padding; None where
        all is real.
    """

    shape_yx: tuple[int, int]
    pixel_size_yx_m: tuple[float, float]
    area_m2: NDArray[np.float64]
    north_deg: float | None = None
    step_yx_deg: tuple[float, float] | None = None
    inside_yx: tuple[int, int] | None = None

    @classmethod
    def planar(
        cls,
        shape_yx: tuple[int, int],
        pixel_size_yx_m: tuple[float, float] | float,
        area_m2: ArrayLike | None = None,
    ) -> Geometry:
        """Describe a window on a map grid in metres.

        Parameters
        ----------
        shape_yx : tuple of int
            Rows and columns.
        pixel_size_yx_m : tuple of float, or float
            Height and width of a pixel in metres; need not be equal.
        area_m2 : array_like of float or None
            True ground area of the pixels, broadcast to (H, W): a map projection
            stretches. None for height times width.

        Returns
        -------
        geometry : Geometry
            Distances are Euclidean on the grid.

        Raises
        ------
        ValueError
            If a size or an area is not finite and above zero, or a size looks like
            degrees.
        """
        size = pixel_size_yx_m
        height, width = size if isinstance(size, tuple) else (size, size)
        if not (np.isfinite([height, width]).all() and height > 0 and width > 0):
            raise ValueError(f"pixel size {size} m: expected finite numbers above zero")
        if min(height, width) < _SMALLEST_M:
            raise ValueError(
                f"pixel size {size} m: this looks like degrees; use Geometry.geographic for a "
                "grid of longitudes and latitudes"
            )
        area = np.full((shape_yx[0], 1), float(height) * float(width))
        if area_m2 is not None:
            area = np.array(np.broadcast_to(np.asarray(area_m2, np.float64), shape_yx))
        if not (np.isfinite(area).all() and (area > 0).all()):
            raise ValueError("pixel areas: expected finite square metres above zero")
        return cls(shape_yx, (float(height), float(width)), area)

    @classmethod
    def geographic(
        cls, shape_yx: tuple[int, int], north_deg: float, step_yx_deg: tuple[float, float]
    ) -> Geometry:
        """Describe a window on a grid of longitudes and latitudes.

        Parameters
        ----------
        shape_yx : tuple of int
            Rows and columns.
        north_deg : float
            Latitude of the upper edge of the first row.
        step_yx_deg : tuple of float
            Height and width of a pixel in degrees.

        Returns
        -------
        geometry : Geometry
            Areas and distances on the WGS 84 ellipsoid.

        Raises
        ------
        ValueError
            If the rows leave the globe or a step is not above zero.
        """
        height, width = step_yx_deg
        south = north_deg - height * shape_yx[0]
        if not (height > 0 and width > 0 and -90 <= south < north_deg <= 90):
            raise ValueError(
                f"latitudes {south} to {north_deg} in steps of {step_yx_deg} degrees: "
                "expected positive steps within -90 to 90"
            )
        edges = np.radians(north_deg - height * np.arange(shape_yx[0] + 1))
        belt = _belt_area_m2(edges)
        area = (belt[:-1] - belt[1:])[:, None] * np.radians(width)
        made = cls(shape_yx, (1.0, 1.0), area, float(north_deg), (float(height), float(width)))
        middle = (shape_yx[0] - 1) / 2
        down = made.distance_m(middle - 0.5, middle + 0.5, 0)
        across = made.distance_m(middle, middle, 1)
        return dataclasses.replace(made, pixel_size_yx_m=(float(down), float(across)))

    @property
    def area_map_m2(self) -> NDArray[np.float64]:
        """Ground area of every pixel, shape (H, W); read-only."""
        return np.broadcast_to(self.area_m2, self.shape_yx)

    @property
    def inside(self) -> tuple[slice, slice]:
        """Where the real window lies in the padded one: rows and columns."""
        rows, columns = self.inside_yx or self.shape_yx
        return slice(0, rows), slice(0, columns)

    def padded(self, shape_yx: tuple[int, int]) -> Geometry:
        """Extend the window downward and to the right.

        Parameters
        ----------
        shape_yx : tuple of int
            At least the present rows and columns.

        Returns
        -------
        geometry : Geometry
            The old pixels keep their place and area; a new one takes the area of
            the nearest old one (padding is never observed, so never measured).

        Raises
        ------
        ValueError
            If a side would shrink.
        """
        more = [new - old for new, old in zip(shape_yx, self.shape_yx, strict=True)]
        if min(more) < 0:
            raise ValueError(f"shape {shape_yx}: expected at least {self.shape_yx}")
        wide = (0, more[1] if self.area_m2.shape[1] > 1 else 0)
        area = np.pad(self.area_m2, ((0, more[0]), wide), mode="edge")
        real = self.inside_yx or self.shape_yx
        return dataclasses.replace(self, shape_yx=shape_yx, area_m2=area, inside_yx=real)

    def distance_m(self, row_a: ArrayLike, row_b: ArrayLike, columns: ArrayLike) -> NDArray[Any]:
        """Return the distance between pixel centres.

        Parameters
        ----------
        row_a, row_b : array_like of float
            Rows of the two pixels, counted from 0 at the top.
        columns : array_like of float
            How many columns lie between them.

        Returns
        -------
        distance : ndarray of float64
            Metres: Euclidean on a map grid; on a geographic grid along the
            ellipsoid, better than 1e-6 of it within 200 km.
        """
        a, b, n = (np.asarray(value, np.float64) for value in (row_a, row_b, columns))
        if self.north_deg is None or self.step_yx_deg is None:
            height, width = self.pixel_size_yx_m
            return np.asarray(np.hypot((a - b) * height, n * width))
        down, across = self.step_yx_deg
        phi_a = np.radians(self.north_deg - (a + 0.5) * down)
        phi_b = np.radians(self.north_deg - (b + 0.5) * down)
        return _geodesic_m(phi_a, phi_b, np.radians(n * across))


def _belt_area_m2(phi: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the ellipsoid's area from the equator to a latitude, per radian of longitude."""
    sine = np.sin(phi)
    term = sine / (1 - _E2 * sine**2) + np.arctanh(_E * sine) / _E
    area: NDArray[np.float64] = _A_M**2 * (1 - _E2) / 2 * term
    return area


def _geodesic_m(
    phi_a: NDArray[np.float64], phi_b: NDArray[np.float64], longitude: NDArray[np.float64]
) -> NDArray[Any]:
    """Return the chord between two points of the ellipsoid, bent to its mean curvature."""
    normal_a = _A_M / np.sqrt(1 - _E2 * np.sin(phi_a) ** 2)
    normal_b = _A_M / np.sqrt(1 - _E2 * np.sin(phi_b) ** 2)
    axis_a, axis_b = normal_a * np.cos(phi_a), normal_b * np.cos(phi_b)
    # Squared chord within the parallels, without the cancellation of cos(longitude) near 1.
    flat = (axis_a - axis_b) ** 2 + 4 * axis_a * axis_b * np.sin(longitude / 2) ** 2
    rise = (1 - _E2) * (normal_a * np.sin(phi_a) - normal_b * np.sin(phi_b))
    chord = np.sqrt(flat + rise**2)
    middle = np.sin((phi_a + phi_b) / 2) ** 2
    radius = _A_M * np.sqrt(1 - _E2) / (1 - _E2 * middle)
    return np.asarray(2 * radius * np.arcsin(np.minimum(chord / (2 * radius), 1.0)))
