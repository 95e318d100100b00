"""What truths look like in general: so that wrong options look the same, and no answer is likelier.

Who reads only the question knows its key (the kind of question and the classes in it). For every
key this table holds the figures that were true in other scenes, or how often each answer was.
Wrong options are drawn from the same figures, and likelier answers are asked about less often: the
text alone then says nothing about the answer.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

__all__ = ["Priors", "shipped_priors"]

_FILE = Path(__file__).with_name("priors.json")
_FEW = 3
"""Truths from which on it counts that only one answer was seen."""
_POOL = 400
"""Figures kept per key: evenly spaced order statistics of all that were seen."""


@dataclasses.dataclass(frozen=True, eq=False)
class Priors:
    """Figures and frequencies of truths by key.

    Parameters
    ----------
    figures : mapping of str to ndarray of float64
        True figures, ascending: shares of the ground, lengths in pixels, counts.
    outcomes : mapping of str to mapping of str to int
        How often each answer was the true one.
    """

    figures: Mapping[str, NDArray[np.float64]] = dataclasses.field(default_factory=dict)
    outcomes: Mapping[str, Mapping[str, int]] = dataclasses.field(default_factory=dict)

    @classmethod
    def gather(cls, truths: Iterable[tuple[str, float | str | bool]]) -> Priors:
        """Collect truths.

        Parameters
        ----------
        truths : iterable of tuple
            Key and true answer, of many scenes.

        Returns
        -------
        priors : Priors
            Of them all.
        """
        figures: dict[str, list[float]] = {}
        outcomes: dict[str, dict[str, int]] = {}
        for key, truth in truths:
            if isinstance(truth, bool | str):
                name = truth if isinstance(truth, str) else ("yes" if truth else "no")
                counts = outcomes.setdefault(key, {})
                counts[name] = counts.get(name, 0) + 1
            else:
                figures.setdefault(key, []).append(float(truth))
        return cls({key: _thinned(values) for key, values in figures.items()}, outcomes)

    @classmethod
    def load(cls, file: Path) -> Priors:
        """Read a table.

        Parameters
        ----------
        file : Path
            As `save` wrote it.

        Returns
        -------
        priors : Priors
            The same table.
        """
        said = json.loads(file.read_text(encoding="utf-8"))
        figures = {key: np.array(values, np.float64) for key, values in said["figures"].items()}
        return cls(figures, said["outcomes"])

    def save(self, file: Path) -> None:
        """Write the table as JSON.

        Parameters
        ----------
        file : Path
            Overwritten.
        """
        figures = {key: [float(f"{v:.4g}") for v in self.figures[key]] for key in self.figures}
        said = {"figures": figures, "outcomes": self.outcomes}
        file.write_text(json.dumps(said, sort_keys=True, separators=(",", ":")), encoding="utf-8")

    def draw_figures(self, key: str, rng: np.random.Generator, count: int) -> NDArray[np.float64]:
        """Draw figures that were true elsewhere.

        Parameters
        ----------
        key : str
            What a reader of the question knows.
        rng : numpy.random.Generator
            Of the draws.
        count : int
            How many.

        Returns
        -------
        figures : ndarray of float64, shape (count,)
            Empty where the table knows no such key.
        """
        pool = self.figures.get(key)
        if pool is None or not pool.size:
            return np.empty(0)
        return rng.choice(pool, count)

    def draw_names(self, key: str, rng: np.random.Generator, count: int) -> list[str]:
        """Draw answers that were true elsewhere, as often as they were.

        Parameters
        ----------
        key : str
            What a reader of the question knows.
        rng : numpy.random.Generator
            Of the draws.
        count : int
            How many; some may be the same.

        Returns
        -------
        names : list of str
            Empty where the table knows no such key.
        """
        counts = self.outcomes.get(key)
        if not counts:
            return []
        names = sorted(counts)
        weights = np.array([counts[name] for name in names], np.float64)
        return [str(name) for name in rng.choice(names, count, p=weights / weights.sum())]

    def accepts(self, key: str, outcome: str, rng: np.random.Generator) -> bool:
        """Decide whether a question is asked, so that every answer is as likely as the others.

        Parameters
        ----------
        key : str
            What a reader of the question knows.
        outcome : str
            The true answer.
        rng : numpy.random.Generator
            Of the draw.

        Returns
        -------
        asked : bool
            True with the probability of the rarest answer over that of this one. A key with
            only one answer so far is no question; one that the table does not know is.
        """
        counts = self.outcomes.get(key)
        if not counts:
            return True
        if len(counts) < 2 or outcome not in counts:
            return len(counts) < 2 and sum(counts.values()) < _FEW
        return bool(rng.random() * counts[outcome] < min(counts.values()))


@cache
def shipped_priors() -> Priors:
    """Return the table of the simulator's training scenes, part of the package.

    Returns
    -------
    priors : Priors
        Empty where there is no such file.
    """
    return Priors.load(_FILE) if _FILE.exists() else Priors()


def _thinned(values: list[float]) -> NDArray[np.float64]:
    ranked = np.sort(np.array(values, np.float64))
    if ranked.size <= _POOL:
        return ranked
    return ranked[np.round(np.linspace(0, ranked.size - 1, _POOL)).astype(np.int64)]
