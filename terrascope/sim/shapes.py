"""Shapes of changes: fellings with straight sides, ragged burns, creeping outbreaks, shores."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from terrascope.sim.canvas import WATERS
from terrascope.sim.land import Land
from terrascope.types import BoolArray, FloatArray

__all__ = ["Ground", "blob", "boxes", "line", "mosaic", "outbreak", "shore", "stands", "valley"]


@dataclasses.dataclass(frozen=True, eq=False)
class Ground:
    """A window in which shapes are drawn.

    Parameters
    ----------
    land : Land
        The window.
    rng : numpy.random.Generator
        Source of the shapes.
    """

    land: Land
    rng: np.random.Generator

    def texture(self, *, fine: bool = False) -> FloatArray:
        """Return a fresh texture of unit variance.

        Parameters
        ----------
        fine : bool
            Of 20 to 160 m; otherwise of 80 to 1500 m.

        Returns
        -------
        field : ndarray of float32, shape (y, x)
            Another one at every call.
        """
        terrain = self.land.terrain
        source = terrain.fine if fine else terrain.coarse
        shift = self.rng.uniform(0.0, 20000.0, 2)
        return source.sample(self.land.x_m, self.land.y_m, shift=(float(shift[0]), float(shift[1])))

    def centre(self, allowed: BoolArray) -> tuple[float, float]:
        """Draw an allowed pixel.

        Parameters
        ----------
        allowed : ndarray of bool, shape (y, x)
            At least one is True.

        Returns
        -------
        row, column : float
            Of the pixel.
        """
        flat = np.flatnonzero(allowed)
        row, column = np.divmod(flat[int(self.rng.integers(flat.size))], allowed.shape[1])
        return float(row), float(column)

    def turned(
        self, allowed: BoolArray, angle: float | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return pixel coordinates about an allowed pixel, turned by an angle.

        Parameters
        ----------
        allowed : ndarray of bool, shape (y, x)
            At least one is True.
        angle : float or None
            In radians; None for any.

        Returns
        -------
        along, across : ndarray of float32, shape (y, x)
            In pixels.
        """
        row, column = self.centre(allowed)
        turn = float(self.rng.random() * np.pi) if angle is None else angle
        down = (np.arange(allowed.shape[0], dtype=np.float32) - np.float32(row))[:, None]
        right = (np.arange(allowed.shape[1], dtype=np.float32) - np.float32(column))[None, :]
        cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
        return right * cos + down * sin, down * cos - right * sin


def _largest(score: FloatArray, allowed: BoolArray, pixels: float) -> float:
    """Return the score that about `pixels` of the allowed pixels exceed."""
    values = score[allowed]
    count = int(np.clip(pixels, 1, values.size - 1)) if values.size > 1 else 0
    return float(np.partition(values, values.size - 1 - count)[values.size - 1 - count])


def _feather(score: FloatArray, level: float, width: float) -> FloatArray:
    """Return 1 above a level, 0 below it, with a soft edge."""
    soft: FloatArray = np.clip((score - level) / width + 0.5, 0.0, 1.0)
    return soft


def boxes(ground: Ground, allowed: BoolArray, pixels: float) -> FloatArray:
    """Cut one or several blocks with nearly straight sides.

    Parameters
    ----------
    ground : Ground
        The window.
    allowed : ndarray of bool, shape (y, x)
        Where it may lie.
    pixels : float
        About how large it is.

    Returns
    -------
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    """
    rng = ground.rng
    count = 1 if pixels < 60 else int(rng.integers(1, 5))
    share = np.zeros(allowed.shape, np.float32)
    wobble = 0.08 * ground.texture() + 0.03 * ground.texture(fine=True)
    angle = float(rng.random() * np.pi)
    for _ in range(count):
        aspect = float(np.exp(rng.uniform(-0.8, 0.8)))
        half = 0.5 * np.sqrt(pixels / count)
        u, v = ground.turned(allowed, angle)
        power = float(rng.choice((2.5, 4.0, 8.0)))
        reach = (np.abs(u) / (half * aspect)) ** power + (np.abs(v) / (half / aspect)) ** power
        depth = half * (1.0 - reach ** (1.0 / power) * (1.0 + wobble))
        np.maximum(share, np.clip(depth + 0.5, 0.0, 1.0), out=share)
    return np.minimum(share, np.float32(0.97))


def stands(ground: Ground, allowed: BoolArray, pixels: float) -> FloatArray:
    """Take whole parcels, as they are managed.

    Parameters
    ----------
    ground : Ground
        The window.
    allowed : ndarray of bool, shape (y, x)
        Where it may lie.
    pixels : float
        About how large it is.

    Returns
    -------
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    """
    land = ground.land
    row, column = ground.centre(allowed)
    here = land.unit == land.unit[int(row), int(column)]
    near = np.hypot(
        np.arange(allowed.shape[0])[:, None] - row, np.arange(allowed.shape[1])[None, :] - column
    )
    score = -near.astype(np.float32) - np.where(here, 0.0, 1e6)
    part = here & allowed
    level = _largest(score, part, pixels) if part.any() else 0.0
    kept = ground.texture(fine=True) < 2.2
    return np.where(part & (score >= level) & kept, 0.97, 0.0).astype(np.float32)


def blob(ground: Ground, allowed: BoolArray, pixels: float) -> FloatArray:
    """Draw a roundish, lobed patch.

    Parameters
    ----------
    ground : Ground
        The window.
    allowed : ndarray of bool, shape (y, x)
        Where it may lie.
    pixels : float
        About how large it is.

    Returns
    -------
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    """
    rng = ground.rng
    radius, aspect = np.sqrt(pixels / np.pi), float(np.exp(rng.uniform(0.0, 0.7)))
    u, v = ground.turned(allowed)
    far = np.hypot(u / aspect, v * aspect) / radius
    far += 0.25 * rng.random() * ground.texture() + 0.05 * ground.texture(fine=True)
    return np.asarray(0.97 * np.clip((1.0 - far) * radius + 0.5, 0.0, 1.0), np.float32)


def outbreak(ground: Ground, allowed: BoolArray, pixels: float) -> FloatArray:
    """Let single trees, nests and whole stands die around some centres.

    Parameters
    ----------
    ground : Ground
        The window.
    allowed : ndarray of bool, shape (y, x)
        Where it may lie.
    pixels : float
        About how many pixels lose half their trees or more.

    Returns
    -------
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    """
    rng = ground.rng
    nests = int(rng.integers(1, 7))
    near = np.full(allowed.shape, np.inf, np.float32)
    for _ in range(nests):
        u, v = ground.turned(allowed)
        np.minimum(near, np.hypot(u, v), out=near)
    spread = np.float32(np.sqrt(pixels / nests) * rng.uniform(0.7, 2.0) + 1.5)
    trees = rng.standard_normal(allowed.shape, dtype=np.float32)
    risk = -near / spread + rng.uniform(0.2, 0.9) * ground.texture()
    risk += rng.uniform(0.1, 0.5) * ground.texture(fine=True) + rng.uniform(0.0, 0.25) * trees
    level = _largest(risk, allowed, pixels)
    return (0.95 * _feather(risk, level, float(rng.uniform(0.1, 0.8)))).astype(np.float32)


def mosaic(ground: Ground, allowed: BoolArray, pixels: float) -> FloatArray:
    """Burn an elongated area in uneven depth, with islands that the fire spared.

    Parameters
    ----------
    ground : Ground
        The window.
    allowed : ndarray of bool, shape (y, x)
        Where it may lie.
    pixels : float
        About how large it is.

    Returns
    -------
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    """
    rng = ground.rng
    aspect = float(np.exp(rng.uniform(0.1, 0.8)))
    u, v = ground.turned(allowed)
    radius = np.sqrt(pixels / np.pi)
    score = 1.0 - np.hypot(u / aspect, v * aspect) / radius
    score -= rng.uniform(0.1, 0.45) * ground.texture() + 0.06 * ground.texture(fine=True)
    level = _largest(score, allowed, pixels)
    depth = np.clip((score - level) * radius + 0.5, 0.0, 1.0)
    mean = float(rng.uniform(0.55, 1.1))
    uneven = mean + 0.2 * ground.texture() + 0.12 * ground.texture(fine=True)
    island = ground.texture() + 0.5 * ground.texture(fine=True) > rng.uniform(1.3, 2.6)
    return np.asarray(depth * np.where(island, 0.05, np.clip(uneven, 0.0, 0.97)), np.float32)


def line(ground: Ground, allowed: BoolArray, pixels: float) -> FloatArray:
    """Draw a long, gently bent band.

    Parameters
    ----------
    ground : Ground
        The window.
    allowed : ndarray of bool, shape (y, x)
        Where it may lie.
    pixels : float
        About how large it is.

    Returns
    -------
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    """
    width = float(ground.rng.uniform(1.6, 4.0))
    length = max(pixels / width, 8.0)
    u, v = ground.turned(allowed)
    bend = v + (2.0 + 0.05 * length) * np.sin(u / (0.35 * length) + 6.0 * ground.rng.random())
    side = np.clip((width / 2 - np.abs(bend)) + 0.5, 0.0, 1.0)
    ends = np.clip(length / 2 - np.abs(u) + 0.5, 0.0, 1.0)
    return np.asarray(0.97 * side * ends, np.float32)


def _way_to(where: BoolArray) -> FloatArray:
    """Return the distance to the nearest True pixel; 0 everywhere if there is none."""
    if not where.any():
        return np.zeros(where.shape, np.float32)
    distance = ndimage.distance_transform_edt(~where)
    return np.asarray(distance, np.float32)


def valley(ground: Ground, allowed: BoolArray, pixels: float) -> FloatArray:
    """Fill low ground near water from below.

    Parameters
    ----------
    ground : Ground
        The window.
    allowed : ndarray of bool, shape (y, x)
        Where it may lie.
    pixels : float
        About how large it is.

    Returns
    -------
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    """
    land = ground.land
    water = _way_to(land.is_cover(*WATERS))
    low = land.above_m - land.above_m.min()
    scale = max(float(low.std()), 0.5)
    score = -(low / scale) - 0.04 * water - 0.25 * ground.texture()
    score -= 0.06 * ground.texture(fine=True)
    if not land.is_cover(*WATERS).any():
        u, v = ground.turned(allowed)
        score -= 1.5 * np.hypot(u, v) / np.sqrt(pixels)
    level = _largest(score, allowed, pixels)
    return _feather(score.astype(np.float32), level, 0.12)


def shore(ground: Ground, allowed: BoolArray, pixels: float) -> FloatArray:
    """Lay water dry from its shores inwards.

    Parameters
    ----------
    ground : Ground
        The window.
    allowed : ndarray of bool, shape (y, x)
        The water.
    pixels : float
        About how large it is.

    Returns
    -------
    share : ndarray of float32, shape (y, x)
        Of each pixel that is replaced.
    """
    wet = ground.land.is_cover(*WATERS)
    score = -_way_to(~wet) + 2.0 * ground.texture() + 0.3 * ground.texture(fine=True)
    level = _largest(score.astype(np.float32), allowed, pixels)
    return (0.96 * _feather(score.astype(np.float32), level, 0.8)).astype(np.float32)
