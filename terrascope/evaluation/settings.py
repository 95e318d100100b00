"""How thorough an examination is."""

from __future__ import annotations

import dataclasses

__all__ = ["BenchSettings"]


@dataclasses.dataclass(frozen=True)
class BenchSettings:
    """How thorough an examination is.

    Parameters
    ----------
    items : int
        Of the main split, over six tasks.
    blind_items : int
        Of these, asked without their images.
    published_items : int
        Of the split with published distractors.
    condition_items : int
        Of the main split, for each of `SENSORS`; the same each time, so that all differences
        are paired.
    mechanism_items : int
        The same for each of `MECHANISM`.
    seed : int
        Of the first scene of the test split.
    baselines : bool
        Whether baselines are trained and examined.
    baseline_items : int
        Of the main split, for each baseline.
    baseline_scenes : int
        Simulated scenes that the U-Net learns from, of the training split; boosting, which is
        slow to read maps from and gains little from more, takes a third.
    baseline_seconds : float
        Longest training of the U-Net.
    size : int
        Rows and columns of a scene.
    workers : int
        Processes that simulate, and that answer; below 2 this one answers.
    """

    items: int = 1200
    blind_items: int = 480
    published_items: int = 120
    condition_items: int = 144
    mechanism_items: int = 48
    seed: int = 0
    baselines: bool = True
    baseline_items: int = 144
    baseline_scenes: int = 1200
    baseline_seconds: float = 210.0
    size: int = 128
    workers: int = 2

    @classmethod
    def of(cls, items: int, *, baselines: bool = True) -> BenchSettings:
        """Scale an examination to another number of items, all runs alike.

        Parameters
        ----------
        items : int
            Of the main split.
        baselines : bool
            Whether baselines are trained and examined.

        Returns
        -------
        settings : BenchSettings
            At least six items in every run.
        """
        share = items / cls.items
        return cls(
            items=items,
            blind_items=max(round(share * cls.blind_items), 6),
            published_items=max(round(share * cls.published_items), 6),
            condition_items=max(round(share * cls.condition_items), 6),
            mechanism_items=max(round(share * cls.mechanism_items), 6),
            baseline_items=max(round(share * cls.baseline_items), 6),
            baselines=baselines,
        )
