"""The cube's repository: opened, extended by groups, written in batches, read at a commit."""

from __future__ import annotations

import dataclasses
import datetime as dt
import logging
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import icechunk
import numpy as np
import xarray as xr
import zarr
from numpy.typing import NDArray
from zarr.errors import GroupNotFoundError

from terrascope.errors import StoreError
from terrascope.geo.tiles import Tile
from terrascope.store.batch import WriteBatch
from terrascope.store.ledger import Record, create_ledger, ledger_path, read_ledger
from terrascope.store.lock import committer_lock
from terrascope.store.reading import open_region, read_tile
from terrascope.store.schema import GroupSchema
from terrascope.store.storage import complaint, local_root, open_storage, repository_config
from terrascope.store.template import create_group, group_conflicts

__all__ = ["Expired", "Store"]

_log = logging.getLogger(__name__)
_BRANCH = "main"


@dataclasses.dataclass(frozen=True)
class Expired:
    """What `Store.expire` removed.

    Parameters
    ----------
    snapshots : int
        Commits no longer reachable.
    bytes : int
        Of deleted objects.
    """

    snapshots: int
    bytes: int


class Store:
    """One icechunk repository holding the cubes and results of a run.

    Made by `Store.open`. Readers always see a whole commit. The object is
    small and travels between processes.

    Parameters
    ----------
    url : str
        Path or ``s3://`` URL.
    repository : icechunk.Repository
        Opened.
    snapshot : str or None
        Read at this commit only; None follows the newest.
    """

    def __init__(
        self, url: str, repository: icechunk.Repository, *, snapshot: str | None = None
    ) -> None:
        self.url = url
        self._repository = repository
        self._pinned = snapshot
        self._guard = threading.Lock()
        self._session: icechunk.Session | None = None

    @classmethod
    def open(cls, url: str, *, create: bool = True) -> Store:
        """Open a repository.

        Parameters
        ----------
        url : str
            A path, ``file:`` or ``s3://bucket/prefix``. Credentials and endpoint
            come from the environment only.
        create : bool
            Make it where it does not exist.

        Returns
        -------
        store : Store
            Following the newest commit.

        Raises
        ------
        StoreError
            If it cannot be opened, or does not exist and `create` is false.
        """
        try:
            storage = open_storage(str(url))
            if icechunk.Repository.exists(storage):
                return cls(str(url), icechunk.Repository.open(storage, repository_config()))
            if create:
                repository = icechunk.Repository.open_or_create(storage, repository_config())
                repository.save_config()
                return cls(str(url), repository)
        except (icechunk.IcechunkError, OSError, ValueError) as error:
            raise StoreError(f"{url}: the cube cannot be opened ({complaint(error)})") from error
        raise StoreError(f"{url}: found no cube there")

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self.url, self._pinned)

    def at(self, snapshot: str) -> Store:
        """Return the same store as of one commit.

        Parameters
        ----------
        snapshot : str
            Id of a commit, for instance from `snapshot`.

        Returns
        -------
        store : Store
            For reading only.
        """
        return Store(self.url, self._repository, snapshot=snapshot)

    def snapshot(self) -> str:
        """Return the id of the commit that is read now.

        Returns
        -------
        snapshot : str
            Of the newest commit, or the one this store is held at.

        Raises
        ------
        StoreError
            If the repository does not answer.
        """
        if self._pinned:
            return self._pinned
        with _as_store_error(self.url):
            return self._repository.lookup_branch(_BRANCH)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Stay the only committing process for a while, for instance for a whole run.

        Every batch takes the same lock by itself. On an object store there is
        no lock: a stale commit is refused or rebased there.

        Yields
        ------
        None
            While the lock is held.

        Raises
        ------
        StoreError
            If another process holds it, or this store is held at a commit.
        """
        if self._pinned:
            raise StoreError(f"{self.url}: opened at commit {self._pinned}, which is read only")
        folder = local_root(self.url)
        with committer_lock(folder / "writer.lock") if folder else nullcontext():
            yield

    def ensure_group(self, schema: GroupSchema) -> str:
        """Create a group with its empty arrays and its ledger, or check the one that is there.

        Parameters
        ----------
        schema : GroupSchema
            What it should be. Arrays it has more than the stored group are added.

        Returns
        -------
        group : str
            Its path.

        Raises
        ------
        StoreError
            If a stored array differs in type, shape, chunks or bands.
        """
        with self.writing(), _as_store_error(self.url):
            for attempt in range(3):
                session = self._repository.writable_session(_BRANCH)
                root = zarr.open_group(session.store, mode="a")
                conflicts = group_conflicts(root, schema)
                if conflicts:
                    raise StoreError(
                        f"{self.url}, group {schema.path}: {'; '.join(conflicts)}. "
                        "Use the former settings, or another output"
                    )
                create_group(root, schema)
                create_ledger(root, schema.path, time_length=schema.time_length)
                if not session.has_uncommitted_changes:
                    break
                try:
                    session.commit(f"declare {schema.path}")
                    break
                except icechunk.ConflictError:
                    if attempt == 2:
                        raise
        return schema.path

    def begin(self) -> WriteBatch:
        """Begin a batch: writes of many workers, then one commit.

        Returns
        -------
        batch : WriteBatch
            To be committed or abandoned; use it in a ``with`` statement.

        Raises
        ------
        StoreError
            If another process is writing on a local file system, or the
            repository does not answer.
        """
        return WriteBatch(self.url, self._repository, _BRANCH, self.writing())

    def groups(self) -> tuple[str, ...]:
        """List the groups.

        Returns
        -------
        groups : tuple of str
            Paths, sorted.
        """
        with _as_store_error(self.url):
            root = _committed(self._reader())
            if root is None or "ledger" not in root:
                return ()
            members = root.require_group("ledger").members(max_depth=None)
            return tuple(sorted(path for path, node in members if isinstance(node, zarr.Array)))

    def bands(self, group: str) -> tuple[str, ...]:
        """Return the bands of a cube's group.

        Parameters
        ----------
        group : str
            Its path.

        Returns
        -------
        bands : tuple of str
            Canonical names in the order of the arrays; empty for a group without bands.
        """
        with _as_store_error(self.url):
            node = self.root().get(f"{group}/band")
            if not isinstance(node, zarr.Array):
                return ()
            return tuple(str(band) for band in np.asarray(node[:]))

    def root(self) -> zarr.Group:
        """Return the repository's root for reading.

        Returns
        -------
        root : zarr.Group
            At the commit that is read now.
        """
        with _as_store_error(self.url):
            return zarr.open_group(self._reader().store, mode="r")

    def records(self, group: str) -> dict[tuple[str, int], Record]:
        """Read the ledger of a group.

        Parameters
        ----------
        group : str
            Its path.

        Returns
        -------
        records : dict
            By (tile id, time index); empty where there is no such group.
        """
        with _as_store_error(self.url):
            session = self._reader()
            root = _committed(session)
            if root is None or ledger_path(group) not in root:
                return {}
            return read_ledger(session, group)

    def dataset(
        self,
        group: str,
        *,
        tiles: Iterable[Tile] | None = None,
        bounds: tuple[float, float, float, float] | None = None,
        times: tuple[dt.date, dt.date] | None = None,
        chunks: Mapping[str, Any] | str | None = "tile",
        decode: bool = True,
    ) -> xr.Dataset:
        """Open a region of a group lazily.

        Parameters
        ----------
        group : str
            Its path.
        tiles : iterable of Tile or None
            Crop to the rectangle around these tiles.
        bounds : tuple of float or None
            Crop to west, south, east, north in metres of the zone's CRS,
            outward to whole pixels. Exactly one of `tiles` and `bounds`.
        times : tuple of datetime.date or None
            Crop to the periods that touch these days, first and last; None for all.
        chunks : mapping, "tile" or None
            Dask chunks after the crop: those given, one per tile and period, or
            none (plain lazy arrays).
        decode : bool
            Physical values, NaN where missing; false for the stored numbers.

        Returns
        -------
        dataset : xarray.Dataset
            Dimensions (time, band, y, x) as far as the group has them, with
            coordinates and `spatial_ref`.

        Raises
        ------
        StoreError
            If there is no such group.
        ValueError
            If not exactly one of `tiles` and `bounds` is given, or they lie outside.
        """
        with _as_store_error(self.url):
            return open_region(
                self._reader().store,
                group,
                tiles=tiles,
                bounds=bounds,
                times=times,
                chunks=chunks,
                decode=decode,
            )

    def read_tile(
        self,
        group: str,
        variable: str,
        tile: Tile,
        time_index: int | slice | None = None,
        *,
        halo_px: int = 0,
        bands: Sequence[str] | None = None,
    ) -> NDArray[Any]:
        """Read the stored numbers of one tile, with a margin of its neighbours.

        Parameters
        ----------
        group : str
            Path of the group.
        variable : str
            Name of the array.
        tile : Tile
            The tile.
        time_index : int, slice or None
            One period, a range of them (adds a leading axis), or None for
            groups without a time axis.
        halo_px : int
            Margin on all sides in pixels.
        bands : sequence of str or None
            Some bands, in this order; None for all.

        Returns
        -------
        pixels : ndarray, shape ([time,] [band,] y, x)
            Stored type; the fill value where nothing was written, and beyond
            the zone's arrays.

        Raises
        ------
        StoreError
            If there is no such array or band.
        """
        with _as_store_error(self.url):
            return read_tile(
                self.root(), group, variable, tile, time_index, halo_px=halo_px, bands=bands
            )

    def expire(self, *, keep: dt.timedelta = dt.timedelta(days=1)) -> Expired:
        """Forget old commits and delete what only they needed.

        Parameters
        ----------
        keep : datetime.timedelta
            Commits and objects younger than this stay; longer than the longest
            batch and the longest reader, both of which need theirs.

        Returns
        -------
        expired : Expired
            What was removed. The newest commit always stays.
        """
        limit = dt.datetime.now(dt.UTC) - keep
        with self.writing(), _as_store_error(self.url):
            snapshots = self._repository.expire_snapshots(older_than=limit)
            summary = self._repository.garbage_collect(limit)
        _log.info(
            "%s: %d commits expired, %d bytes", self.url, len(snapshots), summary.bytes_deleted
        )
        return Expired(len(snapshots), summary.bytes_deleted)

    def _reader(self) -> icechunk.Session:
        """Return a read-only session of the present commit; kept until the next commit."""
        snapshot = self.snapshot()
        with self._guard:
            if self._session is None or self._session.snapshot_id != snapshot:
                self._session = self._repository.readonly_session(snapshot_id=snapshot)
            return self._session


def _reopen(url: str, snapshot: str | None) -> Store:
    store = Store.open(url, create=False)
    return store.at(snapshot) if snapshot else store


def _committed(session: icechunk.Session) -> zarr.Group | None:
    """Return the root as committed; None where nothing ever was."""
    try:
        return zarr.open_group(session.store, mode="r")
    except GroupNotFoundError:
        return None


@contextmanager
def _as_store_error(url: str) -> Iterator[None]:
    """Name the repository in what icechunk and the file system complain about."""
    try:
        yield
    except (icechunk.IcechunkError, OSError) as error:
        raise StoreError(f"{url}: {complaint(error)}") from error
