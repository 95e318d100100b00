"""Export: the products of an output folder, copied to another folder or an object store.

What is copied is what ``manifest.json`` lists: maps, events, report, STAC items. Every object is
read back, and its size and SHA-256 compared with the manifest, which is written last. So a
destination with a manifest is whole, and one that a killed export left has none: the next export
keeps what it finds right there and uploads the rest. While an export is under way,
``exporting.json`` lists all that it and earlier ones may have written, so that what is stale in
the end can be removed.

All addresses in the STAC files and the report are relative: the copy opens where it lies.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path

from terrascope.errors import ProductError
from terrascope.products.destination import Destination
from terrascope.products.manifest import MANIFEST, Entry, Manifest
from terrascope.products.publish import check_published, read_text

__all__ = ["Export", "ExportResult", "export_products"]

JOURNAL = "exporting.json"
_BATCH_BYTES = 2 * 2**30
_BATCH_FILES = 256
_CHUNK = 4 * 2**20
_ATTEMPTS = 2
"""Uploads of one file until a wrong checksum is given up on."""


@dataclasses.dataclass(frozen=True)
class ExportResult:
    """What an export did.

    Parameters
    ----------
    destination : str
        Where to, without credentials.
    files, size : int
        Of the export, and bytes.
    uploaded : tuple of str
        Files that were written by this export; the others were there already.
    removed : tuple of str
        Files of earlier exports that are no longer among the products.
    """

    destination: str
    files: int
    size: int
    uploaded: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()

    def __str__(self) -> str:
        done = f"{len(self.uploaded):,} uploaded, {self.files - len(self.uploaded):,} there already"
        removed = f", {len(self.removed):,} stale removed" if self.removed else ""
        return (
            f"{self.destination}: {self.files:,} files, {self.size / 1e6:,.1f} MB verified "
            f"({done}{removed})"
        )


class Export:
    """One export, as the steps that a flow calls: `pending`, `upload`, `finish`.

    Parameters
    ----------
    source : str or Path
        The output folder of a run.
    destination : str or Path
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
    credentials : mapping of str to str, optional
        Settings of the object store that are not in the environment. They are handed
        to the client and to nothing else.
    workers : int
        Files on their way at a time.
    progress : callable, optional
        Told how many files of how many are verified.

    Raises
    ------
    ConfigError
        If the destination's address cannot be used.
    ProductError
        If `source` has no manifest, or its files are not those that it lists.
    """

    def __init__(
        self,
        source: str | Path,
        destination: str | Path,
        *,
        credentials: Mapping[str, str] | None = None,
        workers: int = 4,
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"{workers} workers: expected at least one")
        self.source = Path(source)
        self.destination = Destination.open(
            str(destination), source=self.source, credentials=credentials
        )
        self._workers = workers
        self._progress = progress
        if problems := check_published(self.source):
            raise ProductError(
                f"{self.source.name}: {problems[0]}; expected what {MANIFEST} lists, run the "
                "monitor again"
            )
        self._uploaded: list[str] = []
        self._seen = 0

    @cached_property
    def manifest(self) -> Manifest:
        """What is exported."""
        return Manifest.from_json(read_text(self.source, MANIFEST))

    def pending(self) -> list[tuple[Entry, ...]]:
        """Return the batches of files that have to be verified, and uploaded where they are not.

        Returns
        -------
        batches : list of tuple of Entry
            Empty where this version has been exported already. Otherwise the
            destination has no manifest afterwards.

        Raises
        ------
        ProductError
            If the destination does not exist or may not be read or written.
        """
        wanted = self.manifest
        sizes = self.destination.sizes()
        whole = all(sizes.get(entry.path) == entry.size for entry in wanted.entries)
        if whole and self._exported == wanted and JOURNAL not in sizes:
            return []
        known = {*wanted.entries, *self._exported.entries, *self._torn.entries}
        self.destination.write(JOURNAL, Manifest(tuple(known)).to_json().encode())
        self.destination.remove(MANIFEST)
        return list(_batches(wanted.in_order()))

    def upload(self, entries: Sequence[Entry]) -> None:
        """Bring files to the destination and verify them there; what is right is left alone.

        Parameters
        ----------
        entries : sequence of Entry
            From `pending`.

        Raises
        ------
        ProductError
            If a file does not arrive as it is listed (transient), or the destination
            refuses.
        """
        pool = concurrent.futures.ThreadPoolExecutor(self._workers)
        try:
            jobs = [pool.submit(self._bring, entry) for entry in entries]
            for job in concurrent.futures.as_completed(jobs):
                self._uploaded += job.result()
                self._seen += 1
                self._progress(self._seen, len(self.manifest.entries))
        finally:
            pool.shutdown(cancel_futures=True)

    def finish(self) -> ExportResult:
        """Remove what is stale and write the manifest, if there was anything to do.

        Returns
        -------
        result : ExportResult
            What was done.

        Raises
        ------
        ProductError
            If a file is not in its place, or the destination refuses.
        """
        wanted = self.manifest
        sizes = self.destination.sizes()
        absent = [e.path for e in wanted.entries if sizes.get(e.path) != e.size]
        if absent:
            raise ProductError(f"{absent[0]}: not at {self.destination} as it should be")
        removed: tuple[str, ...] = ()
        if JOURNAL in sizes:
            earlier = Manifest.from_json(self.destination.read(JOURNAL))
            removed = tuple(sorted((earlier.paths - wanted.paths) & sizes.keys()))
            for name in removed:
                self.destination.remove(name)
            self.destination.tidy(wanted.paths)
            self.destination.write(MANIFEST, wanted.to_json().encode())
            self.destination.remove(JOURNAL)
        total = sum(entry.size for entry in wanted.entries)
        uploaded = tuple(sorted(self._uploaded))
        return ExportResult(str(self.destination), len(wanted.entries), total, uploaded, removed)

    @cached_property
    def _exported(self) -> Manifest:
        """What the destination holds, as it says."""
        return Manifest.from_json(self.destination.read(MANIFEST))

    @cached_property
    def _torn(self) -> Manifest:
        """What exports that did not end may have left."""
        return Manifest.from_json(self.destination.read(JOURNAL))

    def _bring(self, entry: Entry) -> list[str]:
        """Return the name of the file if it had to be uploaded."""
        uploads = 0
        while not self._verified(entry):
            if uploads == _ATTEMPTS:
                raise ProductError(
                    f"{entry.path}: arrives at {self.destination} with another checksum than "
                    f"{MANIFEST} lists; export again when no run is writing",
                    transient=True,
                )
            self.destination.put(entry.path, self.source / entry.path)
            uploads += 1
        return [entry.path] if uploads else []

    def _verified(self, entry: Entry) -> bool:
        if self.destination.size(entry.path) != entry.size:
            return False
        checksum = hashlib.sha256()
        with contextlib.closing(self.destination.chunks(entry.path, _CHUNK)) as chunks:
            for chunk in chunks:
                checksum.update(chunk)
        return checksum.hexdigest() == entry.sha256


def export_products(
    source: str | Path,
    destination: str | Path,
    *,
    credentials: Mapping[str, str] | None = None,
    workers: int = 4,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> ExportResult:
    """Export the products of a run, or complete an export that was stopped.

    Parameters
    ----------
    source : str or Path
        The output folder of a run.
    destination : str or Path
        A folder, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.
        Credentials of an object store come from the environment.
    credentials : mapping of str to str, optional
        Instead of the environment.
    workers : int
        Files on their way at a time.
    progress : callable, optional
        Told how many files of how many are verified.

    Returns
    -------
    result : ExportResult
        Without uploads where this version had been exported.

    Raises
    ------
    ConfigError
        If the destination's address cannot be used.
    ProductError
        If the source is no finished output, or the destination does not exist, refuses
        or does not hold in the end what was sent.
    """
    export = Export(
        source, destination, credentials=credentials, workers=workers, progress=progress
    )
    for batch in export.pending():
        export.upload(batch)
    return export.finish()


def _batches(entries: Sequence[Entry]) -> Iterator[tuple[Entry, ...]]:
    """Cut the files into batches of a bounded number of files and bytes."""
    batch: list[Entry] = []
    for entry in entries:
        full = sum(e.size for e in batch) + entry.size > _BATCH_BYTES or len(batch) >= _BATCH_FILES
        if batch and full:
            yield tuple(batch)
            batch = []
        batch.append(entry)
    if batch:
        yield tuple(batch)
