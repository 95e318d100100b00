"""Run every benchmark that needs nothing but this repository: ``python -m benchmarks``."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

HERE = Path(__file__).parent

if __name__ == "__main__":
    for path in sorted(HERE.glob("[a-z]*.py")):
        if path.name.startswith("bench_"):  # half an hour and more: make bench-model, ...
            continue
        print(f"\n== {path.stem}", flush=True)
        try:
            runpy.run_path(str(path), run_name="__main__")
        except SystemExit as stop:
            if stop.code:
                sys.exit(f"{path.name}: {stop.code}")
