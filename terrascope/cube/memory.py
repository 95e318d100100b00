"""How workers keep to the memory they were given."""

from __future__ import annotations

import ctypes

__all__ = ["block_budget", "block_cache_mb", "keep_large_arrays", "release_large_arrays"]

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
"""Of mallopt(3)."""
_LARGE_BYTES = 4 * 2**20
_TRIM_BYTES = 128 * 2**10
"""glibc's own default."""
_KEPT_BYTES = 2**30


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


def release_large_arrays() -> None:
    """Give the memory of large arrays back to the system as soon as they are freed.

    glibc raises the size from which it maps memory up to 32 MiB as it sees large blocks
    freed: then the arrays of a block come from heaps that hardly ever shrink, and a worker
    grows with the ground it has seen. Fixing the size ends that, for this process, until
    `keep_large_arrays` is called. Other C libraries have no such setting: nothing happens.
    """
    _set_malloc(_LARGE_BYTES, _TRIM_BYTES)


def keep_large_arrays() -> None:
    """Keep the memory of freed arrays for the next ones of this process.

    For a model, whose activations come and go in the same sizes batch after batch: mapping
    them anew makes the system clear their pages each time. Until `release_large_arrays` is
    called. With other C libraries nothing happens.
    """
    _set_malloc(_KEPT_BYTES, _KEPT_BYTES)


def _set_malloc(mapped_from: int, trimmed_from: int) -> None:
    """Set from which size memory is mapped, and how much of a heap's end is kept, in bytes."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return
    mallopt(_M_MMAP_THRESHOLD, mapped_from)
    mallopt(_M_TRIM_THRESHOLD, trimmed_from)
