"""Staged publishing: products appear complete, set by set, and the manifest last.

Products are written to ``OUT/.staging-<id>/``. `publish` hashes them, then makes
them visible: a folder (``maps``, ``stac``) as a whole, by exchanging it with the
old one in a single system call, a file by renaming it over the old one, the
report after all else and ``manifest.json`` at the very end. A reader sees the
old file or the new one, never half of it. A run that is killed leaves a staging
folder, which the next `open_staging` removes; publishing what is there already
touches nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from obstore.exceptions import BaseError

from terrascope.errors import ProductError
from terrascope.products.manifest import (
    MANIFEST,
    STAGING_PREFIX,
    Entry,
    Manifest,
    digest,
    inventory,
)
from terrascope.products.objects import ObjectFolder
from terrascope.redact import redact_text, redact_url
from terrascope.store.storage import local_root

__all__ = ["check_published", "open_staging", "publish", "read_text", "write_text"]

_SAFE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_ASIDE = ".old-"
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2


def open_staging(output: str | Path, run_id: str) -> Path:
    """Make an empty staging folder, and remove what killed runs left behind.

    Parameters
    ----------
    output : str or Path
        The output folder, or the address of an object store: then the staging
        folder is a local temporary one.
    run_id : str
        Letters, digits, dot, dash and underscore.

    Returns
    -------
    staging : Path
        Write products here, under the names that they have in the output.

    Raises
    ------
    ValueError
        If `run_id` has other characters.
    """
    if _SAFE_ID.fullmatch(run_id) is None:
        raise ValueError(f"run id {run_id!r}: expected letters, digits, dot, dash, underscore")
    root = local_root(str(output))
    if root is None:
        return Path(tempfile.mkdtemp(prefix=f"terrascope{STAGING_PREFIX}{run_id}-"))
    root.mkdir(parents=True, exist_ok=True)
    pending = _pending(root)
    for aside in sorted(root.glob(f"{STAGING_PREFIX}*/{_ASIDE}*")):
        if not (place := root / aside.name.removeprefix(_ASIDE)).exists():
            _rename(aside, place)  # killed between two renames
    _remove(root.glob(f"{STAGING_PREFIX}*"))
    staging = root / f"{STAGING_PREFIX}{run_id}"
    staging.mkdir()
    if pending.entries:  # what a killed run may have made visible is ours to clean up
        (staging / MANIFEST).write_text(pending.to_json(), encoding="utf-8")
    return staging


def publish(staging: Path, output: str | Path) -> Manifest:
    """Make the staged products the output's products.

    Files that an earlier manifest lists and this one does not are removed; files
    that no manifest lists are kept. The staging folder is gone afterwards.

    Parameters
    ----------
    staging : Path
        From `open_staging`.
    output : str or Path
        The folder, or the address of an object store.

    Returns
    -------
    manifest : Manifest
        What is published now.

    Raises
    ------
    ProductError
        If the staging folder holds nothing or something that is no product, a
        file is not in its place afterwards, or the object store refuses.
    """
    manifest = inventory(staging)
    root = local_root(str(output))
    if root is None:
        try:
            ObjectFolder.open(str(output)).publish(staging, manifest)
        except BaseError as error:
            place = redact_url(str(output))
            raise ProductError(f"{place}: {redact_text(str(error))}", transient=True) from error
        shutil.rmtree(staging)
        return manifest
    if staging.resolve().parent != root.resolve():
        raise ProductError(f"{staging.name}: expected a staging folder inside the output")
    known = (*_read(root).entries, *_pending(root).entries)
    _replace_text(staging / MANIFEST, Manifest((*manifest.entries, *known)).to_json())
    stale = {entry.path for entry in known} - manifest.paths
    for name in sorted({path.split("/")[0] for path in manifest.paths if "/" in path}):
        inside = [entry for entry in manifest.entries if entry.path.startswith(f"{name}/")]
        if not all(_same(root, entry) for entry in inside) or _any_below(root, name, stale):
            _show_folder(staging, root, name, {e.path: e for e in inside}, stale)
    for entry in manifest.in_order():
        if "/" not in entry.path and not _same(root, entry):
            _rename(staging / entry.path, root / entry.path)
    for name in sorted(stale):
        _forget(root, name)
    problems = [e.path for e in manifest.entries if _size(root / e.path) != e.size]
    if problems:
        raise ProductError(f"{problems[0]}: not in its place after publishing", transient=True)
    if read_text(root, MANIFEST) != manifest.to_json():
        _replace_text(root / MANIFEST, manifest.to_json())
    _remove([staging])
    return manifest


def check_published(output: str | Path) -> tuple[str, ...]:
    """Compare a local output folder with its manifest.

    Parameters
    ----------
    output : str or Path
        The folder.

    Returns
    -------
    problems : tuple of str
        One sentence per missing or changed file; empty where all is well.

    Raises
    ------
    ProductError
        If the folder has no manifest, or is an object store.
    """
    root = local_root(str(output))
    if root is None or not (root / MANIFEST).is_file():
        raise ProductError(f"{redact_url(str(output))}: expected a local folder with {MANIFEST}")
    return tuple(
        f"{entry.path}: {'changed' if (root / entry.path).is_file() else 'missing'}"
        for entry in _read(root).entries
        if not _same(root, entry)
    )


def write_text(output: str | Path, name: str, text: str) -> None:
    """Write one small file beside the products in one step, for instance ``run.json``.

    Parameters
    ----------
    output : str or Path
        The folder, or the address of an object store.
    name : str
        A file name without folders.
    text : str
        Its content.

    Raises
    ------
    ValueError
        If `name` is not a plain file name.
    """
    if _SAFE_ID.fullmatch(name) is None:
        raise ValueError(f"file name {name!r}: expected a plain name")
    root = local_root(str(output))
    if root is None:
        ObjectFolder.open(str(output)).write(name, text.encode())
        return
    root.mkdir(parents=True, exist_ok=True)
    _replace_text(root / name, text)


def read_text(output: str | Path, name: str) -> str:
    """Read one small file beside the products.

    Parameters
    ----------
    output : str or Path
        The folder, or the address of an object store.
    name : str
        A file name.

    Returns
    -------
    text : str
        Empty where the file does not exist.
    """
    root = local_root(str(output))
    if root is None:
        return ObjectFolder.open(str(output)).read(name).decode("utf-8", "replace")
    try:
        return (root / name).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return ""


def _show_folder(
    staging: Path, root: Path, name: str, wanted: Mapping[str, Entry], stale: set[str]
) -> None:
    """Put a staged folder in the place of the old one; equal and foreign files stay the same."""
    new, old = staging / name, root / name
    if not old.is_dir():
        _rename(new, old)
        return
    for path in sorted(old.rglob("*")):
        inside = path.relative_to(root).as_posix()
        if (path.is_dir() and not path.is_symlink()) or inside in stale:
            continue
        if inside in wanted and not _same(root, wanted[inside]):
            continue
        staged = staging / inside
        staged.unlink(missing_ok=True)
        staged.parent.mkdir(parents=True, exist_ok=True)
        _link(path, staged)
    _exchange(new, old)


def _exchange(new: Path, old: Path) -> None:
    """Swap two folders in one step where the system can, else in two renames."""
    libc = ctypes.CDLL(None, use_errno=True)
    with contextlib.suppress(AttributeError):  # no renameat2 outside Linux
        pair = (_AT_FDCWD, os.fsencode(new), _AT_FDCWD, os.fsencode(old))
        if libc.renameat2(*pair, _RENAME_EXCHANGE) == 0:
            return
    aside = new.with_name(f"{_ASIDE}{new.name}")
    _rename(old, aside)
    _rename(new, old)


def _link(source: Path, target: Path) -> None:
    """Give a file a second name, or copy it where the file system has no links."""
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copy2(source, target, follow_symlinks=False)


def _any_below(root: Path, name: str, stale: set[str]) -> bool:
    return any(path.startswith(f"{name}/") and (root / path).exists() for path in stale)


def _same(root: Path, entry: Entry) -> bool:
    path = root / entry.path
    return _size(path) == entry.size and digest(path) == entry.sha256


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else -1


def _forget(root: Path, name: str) -> None:
    """Remove a file of an earlier run, and its folder where that is empty then."""
    path = root / name
    if not path.parent.resolve().is_relative_to(root.resolve()):
        return  # a link leads out of the output
    path.unlink(missing_ok=True)
    for parent in path.parents:
        if parent == root or not parent.is_dir() or any(parent.iterdir()):
            return
        parent.rmdir()


def _read(root: Path) -> Manifest:
    return Manifest.from_json(read_text(root, MANIFEST))


def _pending(root: Path) -> Manifest:
    """Everything that unfinished runs may have made visible."""
    found = [Manifest.from_json(read_text(path, MANIFEST)) for path in _leftovers(root)]
    return Manifest(tuple({entry for manifest in found for entry in manifest.entries}))


def _leftovers(root: Path) -> list[Path]:
    return [path for path in sorted(root.glob(f"{STAGING_PREFIX}*")) if path.is_dir()]


def _remove(paths: Iterable[Path]) -> None:
    for path in sorted(paths):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _replace_text(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8", newline="\n")
    _rename(part, path)


def _rename(source: Path, target: Path) -> None:
    os.replace(source, target)  # noqa: PTH105
