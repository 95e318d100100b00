"""Serve a static STAC tree through a real STAC API on this machine (`rustac serve`)."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import requests

from terrascope.catalog.static import iter_static_items, read_collections
from terrascope.errors import CatalogError

__all__ = ["CatalogServer", "serve_catalog", "serve_until_stopped"]

_log = logging.getLogger(__name__)

_START_S = 60.0
_STOP_S = 10.0
_TRIES = 5


class CatalogServer:
    """A running server; leaving the context stops it and removes its files.

    Parameters
    ----------
    url : str
        Landing page.
    process : subprocess.Popen
        The server.
    folder : pathlib.Path
        Its temporary files.
    items : int
        Number of items served.
    """

    def __init__(
        self, url: str, process: subprocess.Popen[bytes], folder: Path, items: int
    ) -> None:
        self.url = url
        self.items = items
        self._process = process
        self._folder = folder

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def running(self) -> bool:
        """Whether the server still lives."""
        return self._process.poll() is None

    def close(self) -> None:
        """Stop the server; a second call does nothing."""
        if self.running:
            self._process.terminate()
            try:
                self._process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def serve_catalog(
    directory: str | Path, *, host: str = "127.0.0.1", port: int = 0
) -> CatalogServer:
    """Start a STAC API over a static tree.

    Parameters
    ----------
    directory : str or pathlib.Path
        Holds ``catalog.json``, or ``collections.json`` and ``items.ndjson``. Rasters
        are not copied: their addresses become absolute paths.
    host : str
        Address to listen on.
    port : int
        0 takes a free one.

    Returns
    -------
    server : CatalogServer
        Answering; use it as a context manager.

    Raises
    ------
    CatalogError
        If the tree cannot be read or the server does not start.
    """
    if not Path(directory).is_dir():
        raise CatalogError(
            f"found no folder {directory}; expected the folder of a static STAC catalog"
        )
    if port:
        _require_free(host, port)
    folder = Path(tempfile.mkdtemp(prefix="terrascope-catalog-"))
    try:
        files, count = _write_documents(Path(directory).resolve(), folder)
        for attempt in range(_TRIES):
            # Another process may take the free port before the server does.
            chosen = port or _free_port(host)
            process = _start(host, chosen, files, folder)
            if _answers(f"http://{host}:{chosen}", process):
                _log.info("serving %d items of %s on port %d", count, directory, chosen)
                return CatalogServer(f"http://{host}:{chosen}", process, folder, count)
            if port or attempt == _TRIES - 1:
                break
        said = (folder / "server.log").read_text(errors="replace")[-500:].strip()
        raise CatalogError(
            f"the server on {host}:{chosen} did not start: {said or 'no answer'}",
            url=f"http://{host}:{chosen}",
        )
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def serve_until_stopped(
    directory: str | Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    on_start: Callable[[CatalogServer], None] | None = None,
) -> None:
    """Serve until Ctrl-C or SIGTERM.

    Parameters
    ----------
    directory : str or pathlib.Path
        As for `serve_catalog`.
    host : str
        Address to listen on.
    port : int
        0 takes a free one.
    on_start : callable, optional
        Called once with the running server, for instance to print its address.

    Raises
    ------
    CatalogError
        If the server does not start, or ends by itself.
    """
    with serve_catalog(directory, host=host, port=port) as server, _sigterm_as_interrupt():
        if on_start is not None:
            on_start(server)
        with contextlib.suppress(KeyboardInterrupt):
            while server.running:
                time.sleep(0.2)
            raise CatalogError("the server ended by itself", url=server.url)


def _write_documents(directory: Path, folder: Path) -> tuple[list[str], int]:
    """Write one file per collection and one of all items, which is what the server loads."""
    files = []
    for i, collection in enumerate(read_collections(directory)):
        files.append(_write_json(folder / f"collection-{i}.json", collection))
    items = [{**item, "links": []} for item in iter_static_items(str(directory))]
    collection = {"type": "FeatureCollection", "features": items}
    files.append(_write_json(folder / "items.json", collection))
    return files, len(items)


def _write_json(path: Path, document: dict[str, Any]) -> str:
    path.write_text(json.dumps(document), encoding="utf-8")
    return str(path)


def _start(host: str, port: int, files: list[str], folder: Path) -> subprocess.Popen[bytes]:
    beside = Path(sys.prefix) / "bin" / "rustac"
    program = str(beside) if beside.exists() else shutil.which("rustac")
    if program is None:
        raise CatalogError("rustac is not installed beside this Python, expected bin/rustac")
    with (folder / "server.log").open("wb") as log:
        return subprocess.Popen(
            [program, "serve", "--addr", f"{host}:{port}", *files],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            # Its own group: Ctrl-C reaches this process, which then stops the server in order.
            start_new_session=True,
        )


def _answers(url: str, process: subprocess.Popen[bytes]) -> bool:
    """Wait for the landing page; False if the process ends or never answers."""
    deadline = time.monotonic() + _START_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            return False
        try:
            if requests.get(url, timeout=5.0).status_code == requests.codes.ok:
                return process.poll() is None
        except requests.RequestException:
            time.sleep(0.05)
    process.kill()
    process.wait()
    return False


def _require_free(host: str, port: int) -> None:
    """Say plainly that a port cannot be had; the server's own words are a stack trace."""
    try:
        with socket.create_server((host, port)):
            pass
    except OSError as error:
        raise CatalogError(
            f"cannot listen on {host}:{port} ({error.strerror or error}); "
            "give another port, or 0 for a free one",
            url=f"http://{host}:{port}",
        ) from error


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    def interrupt(_number: int, _frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
