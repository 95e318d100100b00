"""One batch of writes: forks for the workers, then one commit with its records."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, ExitStack
from types import TracebackType
from typing import Self

import icechunk
import zarr

from terrascope.errors import StoreError
from terrascope.store.ledger import Record, write_records
from terrascope.store.storage import complaint
from terrascope.store.writing import Fork

__all__ = ["WriteBatch"]

_log = logging.getLogger(__name__)
_commit_guard = threading.Lock()


class WriteBatch:
    """A transaction under way; made by `Store.begin`.

    Several batches of one process may be under way at once, as long as they
    write different tiles or periods.

    Parameters
    ----------
    url : str
        Of the repository, for messages.
    repository : icechunk.Repository
        Opened.
    branch : str
        Committed to.
    lock : context manager
        Keeps other committing processes out until the batch ends.
    """

    def __init__(
        self,
        url: str,
        repository: icechunk.Repository,
        branch: str,
        lock: AbstractContextManager[None],
    ) -> None:
        self._url = url
        self._stack = ExitStack()
        self._stack.enter_context(lock)
        try:
            self._session = repository.writable_session(branch)
        except (icechunk.IcechunkError, OSError) as error:
            self._stack.close()
            raise StoreError(f"{url}: {complaint(error)}", transient=True) from error
        self._open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.abandon()

    def fork(self) -> Fork:
        """Return a handle for one worker.

        Returns
        -------
        fork : Fork
            Picklable; take as many as there are workers.

        Raises
        ------
        StoreError
            If the batch has ended.
        """
        self._check_open()
        return Fork(self._session.fork())

    def commit(
        self,
        forks: Iterable[Fork],
        records: Mapping[str, Iterable[Record]],
        *,
        message: str = "write tiles",
    ) -> str:
        """Merge the workers' writes, add the records, and make all of it visible at once.

        Parameters
        ----------
        forks : iterable of Fork
            As they came back from the workers; a handle may appear twice, and
            in copies taken at different moments.
        records : mapping of str to iterable of Record
            By group.
        message : str
            Of the commit.

        Returns
        -------
        snapshot : str
            Id of the commit; that of the base where nothing was written.

        Raises
        ------
        StoreError
            If two workers wrote the same tile and period, another writer
            committed the same ones meanwhile, or the storage refuses. Nothing
            is visible then, and the batch has ended.
        """
        self._check_open()
        try:
            merged = list({id(fork): fork for fork in forks}.values())
            _check_disjoint(self._url, merged)
            with _commit_guard:
                return self._commit(merged, records, message)
        except icechunk.ConflictError as error:
            raise self._conflict(error) from error
        except icechunk.RebaseFailedError as error:
            raise self._conflict(error) from error
        except (icechunk.IcechunkError, OSError) as error:
            raise StoreError(
                f"{self._url}: the commit failed ({complaint(error)})", transient=True
            ) from error
        finally:
            self.abandon()

    def abandon(self) -> None:
        """End the batch; what was not committed is never seen, and is collected later."""
        self._open = False
        self._stack.close()

    def _commit(
        self, forks: list[Fork], records: Mapping[str, Iterable[Record]], message: str
    ) -> str:
        """Merge and move on to the newest commit first, so that the ledger is read from there."""
        session = self._session
        session.merge(*(fork.session for fork in forks))
        session.rebase(icechunk.ConflictDetector())
        root = zarr.open_group(session.store, mode="r+")
        count = 0
        for group, entries in records.items():
            count += write_records(root, group, entries)
        if not session.has_uncommitted_changes:
            return str(session.snapshot_id)
        snapshot = session.commit(
            message, metadata={"records": count}, rebase_with=icechunk.ConflictDetector()
        )
        _log.debug("%s: commit %s, %d records", self._url, snapshot, count)
        return str(snapshot)

    def _check_open(self) -> None:
        if not self._open:
            raise StoreError(f"{self._url}: this batch has ended; begin another")

    def _conflict(self, error: Exception) -> StoreError:
        return StoreError(
            f"{self._url}: another writer committed the same tiles since this batch began "
            f"({complaint(error)}); nothing was changed, run the batch again",
            transient=True,
        )


def _check_disjoint(url: str, forks: Iterable[Fork]) -> None:
    """Two workers in one shard would silently lose data: the last merge wins (zarr #3682)."""
    writes = {write for fork in forks for write in fork.written.items()}
    counts = Counter(place for place, _ in writes)
    twice = sorted(place for place, count in counts.items() if count > 1)
    if twice:
        group, tile, period = twice[0]
        raise StoreError(
            f"{url}, {group}, tile {tile}, period {period}: written by two workers "
            f"({len(twice)} such); a shard has one writer"
        )
