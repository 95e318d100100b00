"""One committing process per repository, where the file system cannot see to it.

An object store refuses a stale commit by itself. On a local file system two
committers could overwrite each other's branch, so the committing process holds
an advisory lock. The kernel drops it when the process ends, however it ends: a
lock file left behind by a killed process is free, and is taken over.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from terrascope.errors import StoreError

__all__ = ["committer_lock"]

_guard = threading.Lock()
_held: dict[tuple[int, str], tuple[IO[str], int]] = {}
"""(process id, path) -> open file, number of holders. A forked child holds nothing."""


@contextmanager
def committer_lock(path: Path) -> Iterator[None]:
    """Hold a repository for this process; its threads share the lock.

    Parameters
    ----------
    path : Path
        The lock file; stays behind, empty of meaning, when the lock is free.

    Yields
    ------
    None
        While the lock is held.

    Raises
    ------
    StoreError
        If another process holds it, or the file system knows no locks.
    """
    key = (os.getpid(), str(path.resolve()))
    with _guard:
        file, holders = _held.get(key, (None, 0))
        _held[key] = (file or _acquire(path), holders + 1)
    try:
        yield
    finally:
        with _guard:
            file, holders = _held.pop(key)
            if holders > 1:
                _held[key] = (file, holders - 1)
            else:
                fcntl.flock(file, fcntl.LOCK_UN)  # also for copies in forked children
                file.close()


def _acquire(path: Path) -> IO[str]:
    """Lock the file and write down who we are."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        owner = file.read(300)
        file.close()
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise StoreError(
                f"{path.parent}: another process is writing there ({owner or 'unknown'}); "
                "wait for it, end it, or use another output",
                transient=True,
            ) from error
        raise StoreError(f"{path}: the file system knows no locks ({error})") from error
    file.seek(0)
    file.truncate()
    file.write(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))
    file.flush()
    return file
