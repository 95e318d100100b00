"""The list of what a run published: names, sizes and checksums."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path, PurePosixPath

from terrascope.errors import ProductError
from terrascope.products.summary import dump_json

__all__ = ["MANIFEST", "STAGING_PREFIX", "Entry", "Manifest", "digest", "inventory", "is_product"]

MANIFEST = "manifest.json"
"""Written last: what it lists is complete."""

STAGING_PREFIX = ".staging-"

_RESERVED = frozenset({"cube", MANIFEST, "run.json"})
_LAST = ("report.json", "report.html")
_SCHEMA = "terrascope-manifest/1"


@dataclasses.dataclass(frozen=True, order=True)
class Entry:
    """One published file.

    Parameters
    ----------
    path : str
        Relative to the output, with forward slashes.
    size : int
        Bytes.
    sha256 : str
        Hexadecimal.
    """

    path: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """All published files.

    Parameters
    ----------
    entries : tuple of Entry
        Sorted by path.
    """

    entries: tuple[Entry, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "entries", tuple(sorted(self.entries)))

    @property
    def paths(self) -> frozenset[str]:
        """Names of all files."""
        return frozenset(entry.path for entry in self.entries)

    def in_order(self) -> tuple[Entry, ...]:
        """Return the entries in the order of publishing.

        Returns
        -------
        entries : tuple of Entry
            The report, which speaks about all others, comes last.
        """
        return tuple(
            sorted(self.entries, key=lambda e: _LAST.index(e.path) + 1 if e.path in _LAST else 0)
        )

    def to_json(self) -> str:
        """Return ``manifest.json``.

        Returns
        -------
        text : str
            ``{"schema": ..., "files": [{"path", "size", "sha256"}, ...]}``.
        """
        return dump_json({"schema": _SCHEMA, "files": self.entries})

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest; names that no product can have are dropped.

        Parameters
        ----------
        text : str
            Content of a ``manifest.json``.

        Returns
        -------
        manifest : Manifest
            Empty where `text` is none.
        """
        try:
            document = json.loads(text)
            if document["schema"] != _SCHEMA:
                return cls()
            rows = (
                Entry(str(f["path"]), int(f["size"]), str(f["sha256"])) for f in document["files"]
            )
            return cls(tuple(entry for entry in rows if is_product(entry.path)))
        except (ValueError, KeyError, TypeError):
            return cls()


def is_product(path: str) -> bool:
    """Return whether `path` may name a product.

    Parameters
    ----------
    path : str
        Relative, with forward slashes.

    Returns
    -------
    allowed : bool
        False for absolute names, ``..``, hidden names, the cube, the run log and
        the manifest itself.
    """
    parts = PurePosixPath(path).parts
    return (
        bool(parts)
        and "/".join(parts) == path
        and "\\" not in path
        and parts[0] not in _RESERVED
        and not any(part.startswith(".") for part in parts)
    )


def inventory(folder: Path) -> Manifest:
    """List and hash the files of a staging folder.

    Parameters
    ----------
    folder : Path
        The folder; its own manifest is not listed.

    Returns
    -------
    manifest : Manifest
        Of all files below it.

    Raises
    ------
    ProductError
        If there is nothing, a link, or a name that no product can have.
    """
    entries = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_dir() or path.is_file()):
            raise ProductError(f"{name}: expected a plain file among the products")
        if path.is_dir() or name == MANIFEST:
            continue
        if not is_product(name):
            raise ProductError(f"{name}: a reserved or hidden name, expected that of a product")
        entries.append(Entry(name, path.stat().st_size, digest(path)))
    if not entries:
        raise ProductError(f"{folder.name}: no product in the staging folder")
    return Manifest(tuple(entries))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    checksum : str
        Hexadecimal.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
