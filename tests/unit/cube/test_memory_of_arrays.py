"""Freed arrays: given back to the system, or kept for the next ones."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import resource, sys
import numpy as np
from terrascope.cube import memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        np.ones(2**23, np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

for name in sys.argv[1:]:
    getattr(memory, name)()
    faults()
    print(faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="a setting of glibc")
def test_pages_of_freed_arrays_are_cleared_again_only_where_they_were_released() -> None:
    names = ["release_large_arrays", "keep_large_arrays", "release_large_arrays"]
    said = subprocess.run(
        [sys.executable, "-c", PROGRAM, *names], capture_output=True, text=True, check=True
    )
    released, kept, again = (int(count) for count in said.stdout.split())
    pages = 20 * 2**23 // 4096
    assert released >= pages // 2**9  # at the least, were they huge pages
    assert kept * 10 < released
    assert again * 2 > released
