"""The audit of a screen on windows whose truth is known: and what its interval is worth.

    python benchmarks/audit_recall.py [DRAWS]

Drawn are areas of 3,000 windows of which 2, 5 or 15 % hold a change, and screens without skill
(AUC 0.50), with some (0.76, 0.92) and with much (0.98), whose probabilities are right for
that skill or claim too much; the model looks at the 5, 20 or 50 % with the highest scores, and
at 200 of the others. Strata, allocation and estimate are those of a run. Printed are, per
screen: the true recall, coverage of the 90 % interval, its half-width (median), the floor of
sampling theory for that half-width (`terrascope.kernels.audit.least_half_width`), the mean error,
and the size of audit that the median estimate asks for.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys

import numpy as np
from numpy.typing import NDArray
from scipy import special

from terrascope.kernels.audit import Stratum, allocate, estimate_recall, least_half_width
from terrascope.monitor.reason.plan import STRATA, strata_of

WINDOWS = 3000
AUDIT = 200
PREVALENCES = (0.02, 0.05, 0.15)
SHARES = (0.05, 0.2, 0.5)
WANTED = 0.10


@dataclasses.dataclass(frozen=True)
class Screen:
    """How a screen scores windows.

    Parameters
    ----------
    name : str
        For the table.
    skill : float
        Distance of the scores of windows with and without a change, in standard deviations.
    claimed : float
        The distance that its probabilities are made for.
    """

    name: str
    skill: float
    claimed: float


SCREENS = (
    Screen("no skill, and says so", 0.0, 0.0),
    Screen("no skill, claims some", 0.0, 1.5),
    Screen("AUC 0.76", 1.0, 1.0),
    Screen("AUC 0.76, claims 0.92", 1.0, 2.0),
    Screen("AUC 0.92", 2.0, 2.0),
    Screen("AUC 0.98", 3.0, 3.0),
)


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What audits of one screen said; medians over draws, but for `covered` and `error`."""

    recall: float
    covered: float
    half_width: float
    floor: float
    error: float
    wanted: float


def examine(
    screen: Screen, prevalence: float, share: float, draws: int, *, seed: int = 5
) -> Outcome:
    """Audit a screen again and again, on ever new ground.

    Parameters
    ----------
    screen : Screen
        Which.
    prevalence : float
        Share of windows that hold a change.
    share : float
        Share of windows that the model looks at for the map.
    draws : int
        Areas.
    seed : int
        Of the generator.

    Returns
    -------
    outcome : Outcome
        Over all areas.
    """
    rng = np.random.default_rng([seed, int(1000 * prevalence), int(1000 * share)])
    found = []
    odds = np.log(prevalence / (1 - prevalence))
    for _ in range(draws):
        changed = rng.random(WINDOWS) < prevalence
        seen = rng.standard_normal(WINDOWS) + screen.skill * changed
        score = _stated(seen, screen.claimed, odds).astype(np.float32)
        order = np.lexsort((rng.random(WINDOWS), -score))
        asked, left = np.split(order, [round(share * WINDOWS)])
        stratum = strata_of(score[left])
        groups = [left[stratum == h] for h in range(len(STRATA))]
        means = [float(score[g].mean()) if len(g) else 0.0 for g in groups]
        sizes = [len(g) for g in groups]
        strata = [
            Stratum(len(g), n, int(changed[rng.permutation(g)[:n]].sum()))
            for g, n in zip(groups, allocate(sizes, means, AUDIT), strict=True)
        ]
        hits = int(changed[asked].sum())
        said = estimate_recall(hits, strata)
        truth = hits / max(int(changed.sum()), 1)
        floor = least_half_width(hits, _stated(seen[left], screen.skill, odds).tolist(), AUDIT)
        held = said.low <= truth <= said.high
        half = (said.high - said.low) / 2
        found.append((truth, held, half, floor, said.recall - truth, said.wanted))
    table = np.asarray(found, np.float64)
    recall, _, half_width, floor, _, wanted = np.nanmedian(table, 0).tolist()
    _, covered, _, _, error, _ = np.nanmean(table, 0).tolist()
    return Outcome(recall, covered, half_width, floor, error, wanted)


def _stated(seen: NDArray[np.float64], gap: float, odds: float) -> NDArray[np.float64]:
    """Probability of a change where those with and without one are a gap apart."""
    stated: NDArray[np.float64] = special.expit(gap * seen - gap * gap / 2 + odds)
    return stated


def main(draws: int) -> None:
    """Print the table."""
    print(
        f"{draws} areas each; {AUDIT} of the windows left out are looked at; * above {WANTED:.2f}"
    )
    print("screen                  changed asked  recall  covered  half-width  floor  error  audit")
    ratios = []
    for screen, prevalence, share in itertools.product(SCREENS, PREVALENCES, SHARES):
        o = examine(screen, prevalence, share, draws)
        ratios.append(o.half_width / o.floor if o.floor else np.nan)
        print(
            f"{screen.name:23s} {prevalence:6.0%} {share:6.0%} {o.recall:7.2f} {o.covered:8.1%} "
            f"{o.half_width:10.3f}{'*' if o.half_width > WANTED else ' '} {o.floor:6.3f} "
            f"{o.error:+6.3f} {o.wanted:6.0f}"
        )
    print(f"half-width / floor: median {np.nanmedian(ratios):.2f}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:] or ["400"]))
