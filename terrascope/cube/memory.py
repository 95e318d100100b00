"""How workers keep to the memory they were given."""

from __future__ import annotations

import ctypes
import functools

__all__ = ["block_budget", "block_cache_mb", "release_large_arrays"]

_M_MMAP_THRESHOLD = -3
"""Of mallopt(3)."""
_LARGE_BYTES = 4 * 2**20


def block_budget(memory: int, threads: int) -> int:
    """Return what one thread may use for the arrays of a block.

    Parameters
    ----------
    memory : int
        Bytes that the worker may use.
    threads : int
        That share them.

    Returns
    -------
    budget : int
        Bytes; half of the memory is left to caches, encoded chunks and the libraries.
    """
    return memory // (2 * threads)


def block_cache_mb(memory: int) -> int:
    """Return the size of GDAL's block cache.

    Parameters
    ----------
    memory : int
        Bytes that the worker may use.

    Returns
    -------
    megabytes : int
        A sixteenth of the memory, 16 to 256: it serves file blocks that straddle two windows.
    """
    return min(max(memory // 16 // 2**20, 16), 256)


@functools.lru_cache(maxsize=1)
def release_large_arrays() -> None:
    """Give the memory of large arrays back to the system as soon as they are freed.

    glibc raises the size from which it maps memory up to 32 MiB as it sees large blocks
    freed: then the arrays of a block come from heaps that hardly ever shrink, and a worker
    grows with the ground it has seen. Fixing the size ends that, for this process. Other
    C libraries have no such setting: nothing happens.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES)
