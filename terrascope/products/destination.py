"""Where exports go: a folder or an object store, behind one small face.

Credentials come from the environment as each store's own tools read it (``AWS_*``, ``GOOGLE_*``,
``AZURE_*``), or from the caller; they never appear in a message or a file.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import mimetypes
import re
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import obstore
from obstore import exceptions
from obstore.store import AzureStore, GCSStore, LocalStore, ObjectStore, S3Store

from terrascope.errors import ConfigError, ProductError
from terrascope.redact import redact_text, redact_url
from terrascope.store.storage import s3_endpoint

if TYPE_CHECKING:
    from obstore.store import RetryConfig

__all__ = ["Destination"]

_TYPES = {".geojson": "application/geo+json", ".parquet": "application/vnd.apache.parquet"}
_STORES: dict[str, Any] = {"s3": S3Store, "gs": GCSStore, "az": AzureStore}
_RETRY: RetryConfig = {"max_retries": 5, "retry_timeout": dt.timedelta(seconds=60)}
_PART = re.compile(r"(?P<name>.+)#\d+")
"""What a killed process leaves of a file that it was writing into a folder."""
_REFUSED = re.compile(r"\b(401|403)\b|AccessDenied|Forbidden|Permission denied", re.IGNORECASE)

_ABSENT = re.compile(r"\b404\b|NoSuchBucket|ContainerNotFound")
_METADATA = "169.254.169.254"


class Destination:
    """A place that holds exported files, by name.

    Parameters
    ----------
    store : obstore.store.ObjectStore
        Rooted at the place.
    shown : str
        The place as messages may name it.
    folder : Path or None
        The place, where it is a folder.
    """

    def __init__(self, store: ObjectStore, shown: str, folder: Path | None = None) -> None:
        self._store = store
        self._shown = shown
        self._folder = folder

    @classmethod
    def open(
        cls, url: str, *, source: Path, credentials: Mapping[str, str] | None = None
    ) -> Destination:
        """Open an address. Nothing is read or written yet.

        Parameters
        ----------
        url : str
            A path, ``file:///path``, ``s3://bucket/prefix``, ``gs://bucket/prefix`` or
            ``az://container/prefix``.
        source : Path
            What is going to be exported.
        credentials : mapping of str to str, optional
            Settings of the store besides the environment's.

        Returns
        -------
        destination : Destination
            Of that address.

        Raises
        ------
        ConfigError
            If the address has another scheme, holds credentials, or lies in `source`
            or around it.
        """
        shown = redact_url(url)
        parts = urlsplit(url)
        if "://" not in url or parts.scheme == "file":
            path = unquote(parts.path) if "://" in url else url
            return cls._open_folder(Path(path).expanduser().resolve(), source, shown)
        if parts.scheme not in _STORES or not parts.netloc:
            raise ConfigError(
                f"found {shown!r}; expected a folder, s3://bucket/prefix, gs://bucket/prefix or "
                "az://container/prefix",
                key="destination",
            )
        if parts.query or parts.fragment or "@" in parts.netloc:
            raise ConfigError(
                f"found credentials or parameters in the address {shown!r}; expected them in the "
                "environment",
                key="destination",
            )
        config: dict[str, Any] = dict(credentials or {})
        options = {}
        if parts.scheme == "s3":
            config["checksum_algorithm"] = "SHA256"
            if endpoint := s3_endpoint():
                config |= {"endpoint": endpoint, "virtual_hosted_style_request": False}
                options["allow_http"] = endpoint.startswith("http://")
        try:
            store = _STORES[parts.scheme].from_url(
                url,
                config=config,
                client_options=options,
                retry_config=_RETRY,
            )
        except (exceptions.BaseError, ValueError, TypeError) as error:
            raise ConfigError(
                f"cannot be opened ({_first_line(error)}); see the store's environment variables",
                key=shown,
            ) from None
        return cls(store, shown)

    @classmethod
    def _open_folder(cls, folder: Path, source: Path, shown: str) -> Destination:
        inside = source.resolve()
        if folder.is_relative_to(inside) or inside.is_relative_to(folder):
            raise ConfigError(
                f"found {shown!r}, which holds the products or lies among them; expected another "
                "folder",
                key="destination",
            )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigError(
                f"found {shown!r}, which cannot be made ({error.strerror}); expected a folder to "
                "write into",
                key="destination",
            ) from error
        return cls(LocalStore(folder), shown, folder)

    def __str__(self) -> str:
        return self._shown

    def sizes(self) -> dict[str, int]:
        """List everything there.

        Returns
        -------
        sizes : dict of str to int
            Bytes by name.
        """
        with self._complaining("listed"):
            return {
                meta["path"]: int(meta["size"])
                for page in obstore.list(self._store)
                for meta in page
            }

    def size(self, name: str) -> int:
        """Return the size of one file.

        Parameters
        ----------
        name : str
            Below the place.

        Returns
        -------
        size : int
            Bytes; -1 where there is no such file.
        """
        with self._complaining("read"):
            try:
                return int(obstore.head(self._store, name)["size"])
            except (FileNotFoundError, exceptions.NotFoundError):
                return -1

    def chunks(self, name: str, size: int) -> Generator[bytes, None, None]:
        """Read one file piece by piece.

        Parameters
        ----------
        name : str
            Below the place.
        size : int
            Bytes of a piece, at least.

        Yields
        ------
        chunk : bytes
            In order; none where there is no such file.
        """
        with self._complaining("read"):
            try:
                for chunk in obstore.get(self._store, name).stream(size):
                    yield bytes(chunk)
            except (FileNotFoundError, exceptions.NotFoundError):
                return

    def read(self, name: str) -> str:
        """Read one small file.

        Parameters
        ----------
        name : str
            Below the place.

        Returns
        -------
        text : str
            Empty where there is no such file.
        """
        return b"".join(self.chunks(name, 2**20)).decode("utf-8", "replace")

    def put(self, name: str, file: Path) -> None:
        """Write one file; it appears whole or not at all.

        Parameters
        ----------
        name : str
            Below the place.
        file : Path
            What to write, never wholly in memory.
        """
        self._put(name, file)

    def write(self, name: str, content: bytes) -> None:
        """Write one small file.

        Parameters
        ----------
        name : str
            Below the place.
        content : bytes
            What it holds.
        """
        self._put(name, content)

    def remove(self, name: str) -> None:
        """Remove one file, if it is there.

        Parameters
        ----------
        name : str
            Below the place.
        """
        with self._complaining("written"):
            try:
                obstore.delete(self._store, name)
            except (FileNotFoundError, exceptions.NotFoundError):
                return

    def tidy(self, names: frozenset[str]) -> None:
        """Remove the parts of files that killed exports left in a folder.

        Parameters
        ----------
        names : frozenset of str
            Files whose parts may go.
        """
        if self._folder is None:
            return
        for path in sorted(self._folder.rglob("*#*")):
            part = _PART.fullmatch(path.relative_to(self._folder).as_posix())
            if part is not None and part["name"] in names:
                path.unlink(missing_ok=True)

    def _put(self, name: str, content: bytes | Path) -> None:
        kind = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
        attributes = {"Content-Type": kind or "application/octet-stream"}
        with self._complaining("written"):
            if self._folder is None:
                obstore.put(self._store, name, content, attributes=attributes)
            else:  # a file has no such attributes
                obstore.put(self._store, name, content)

    @contextlib.contextmanager
    def _complaining(self, verb: str) -> Iterator[None]:
        """Turn what the client raises into one line that says what to do."""
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            said = _first_line(error)
            absent = isinstance(error, FileNotFoundError | exceptions.NotFoundError)
            if absent or _ABSENT.search(said):
                advice, transient = "there is no such bucket or container; make it first", False
            elif isinstance(
                error,
                PermissionError
                | exceptions.PermissionDeniedError
                | exceptions.UnauthenticatedError,
            ) or _REFUSED.search(said):
                advice = f"may not be {verb}; check the rights of the credentials in use"
                transient = False
            elif _METADATA in said:  # the last place where a client looks for credentials
                advice, transient = "found no credentials in the environment; set them", False
            else:
                advice, transient = f"could not be {verb} ({said})", True
            raise ProductError(f"{self._shown}: {advice}", transient=transient) from None


def _first_line(error: Exception) -> str:
    """Return what an error says: obstore adds a dump of its parts below."""
    return redact_text(next(iter(str(error).strip().splitlines()), type(error).__name__))
