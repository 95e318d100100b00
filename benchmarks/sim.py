"""How many labelled windows does the simulator render in a second? Three ways of asking.

A set is what training asks for: 2 dates, both sensors, 128 x 128 pixels, labels and changes.
The goal is 25 sets/s on two cores. Rounds of one process, of two processes and of labels
alone take turns, so that other work on the machine meets all of them alike; CPU time per set
is stated beside the wall clock.

    python benchmarks/sim.py [--sets 60] [--rounds 3]
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable

# One thread per process: the matrices are small, and the processes share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

from terrascope.sim.samples import sample_scene

GOAL = 25.0
WARM = 12  # sets that a fresh process makes before its textures are there


def cpu_seconds(seed: int, *, render: bool = True) -> float:
    """Make one set; return the processor time that it took."""
    start = time.process_time()
    sample_scene(seed, dates=2, render=render)
    return time.process_time() - start


def timed(work: Callable[[], list[float]]) -> tuple[float, float]:
    """Return wall seconds of a round and mean CPU milliseconds per set."""
    start = time.perf_counter()
    spent = work()
    return time.perf_counter() - start, 1e3 * statistics.fmean(spent)


def main() -> None:
    """Measure, and print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    labels = functools.partial(cpu_seconds, render=False)
    context = multiprocessing.get_context("spawn")
    with context.Pool(2) as pool:
        pool.map(cpu_seconds, range(WARM * 2), chunksize=WARM)
        for seed in range(WARM):
            cpu_seconds(seed)
        ways: dict[str, Callable[[range], list[float]]] = {
            "1 process": lambda seeds: [cpu_seconds(seed) for seed in seeds],
            "2 processes": lambda seeds: pool.map(cpu_seconds, seeds, chunksize=5),
            "1 process, labels only": lambda seeds: [labels(seed) for seed in seeds],
        }
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for number in range(given.rounds):
            seeds = range(1000 + number * given.sets, 1000 + (number + 1) * given.sets)
            for name, work in ways.items():
                found[name].append(timed(functools.partial(work, seeds)))
    print(f"{given.rounds} rounds of {given.sets} sets, load {os.getloadavg()[0]:.1f}")
    print(f"{'':24}{'sets/s':>8}{'best':>8}{'CPU ms/set':>12}")
    for name, rounds in found.items():
        rates = [given.sets / wall for wall, _ in rounds]
        spent = statistics.median(cpu for _, cpu in rounds)
        print(f"{name:24}{statistics.median(rates):8.1f}{max(rates):8.1f}{spent:12.1f}")
    spent = statistics.median(cpu for _, cpu in found["2 processes"])
    print(f"two free cores: {2e3 / spent:.0f} sets/s by CPU time, goal {GOAL:.0f}")


if __name__ == "__main__":
    main()
