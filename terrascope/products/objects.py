"""Publishing to an object store: products first, the manifest last.

An object appears whole or not at all, so no staging is needed there. While an
upload runs, ``publishing.json`` lists everything that may be in the store; the
next run finds it, uploads all again and removes what is stale.
"""

from __future__ import annotations

import mimetypes
from pathlib import Path
from typing import TYPE_CHECKING

import obstore
from obstore.store import ObjectStore, S3Store

from terrascope.errors import ProductError
from terrascope.products.manifest import MANIFEST, Manifest
from terrascope.store.storage import s3_endpoint

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

__all__ = ["ObjectFolder"]

_JOURNAL = "publishing.json"
_TYPES = {".geojson": "application/geo+json", ".parquet": "application/vnd.apache.parquet"}


class ObjectFolder:
    """A prefix of an object store.

    Parameters
    ----------
    store : obstore.store.ObjectStore
        Rooted at the prefix.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str) -> ObjectFolder:
        """Open an address; credentials and region come from the environment.

        Parameters
        ----------
        url : str
            ``s3://bucket/prefix``.

        Returns
        -------
        folder : ObjectFolder
            At that prefix. The service verifies the checksum of each upload.
        """
        endpoint = s3_endpoint()
        config: S3Config = {"checksum_algorithm": "SHA256"}
        options: ClientConfig = {}
        if endpoint:
            config["endpoint"] = endpoint
            config["virtual_hosted_style_request"] = False
            options["allow_http"] = endpoint.startswith("http://")
        return cls(S3Store.from_url(url, config=config, client_options=options))

    def publish(self, staging: Path, manifest: Manifest) -> None:
        """Upload what has changed, remove what is stale, then write the manifest.

        Parameters
        ----------
        staging : Path
            Folder of the products.
        manifest : Manifest
            What it holds.

        Raises
        ------
        ProductError
            If an object has another size than its file afterwards (transient).
        """
        old = Manifest.from_json(self.read(MANIFEST).decode("utf-8", "replace"))
        torn = Manifest.from_json(self.read(_JOURNAL).decode("utf-8", "replace"))
        certain = set() if torn.entries else set(old.entries)
        changed = [
            entry
            for entry in manifest.in_order()
            if entry not in certain or self._size(entry.path) != entry.size
        ]
        stale = (old.paths | torn.paths) - manifest.paths
        if not changed and not stale and old == manifest:
            return
        journal = Manifest((*manifest.entries, *old.entries, *torn.entries))
        self.write(_JOURNAL, journal.to_json().encode())
        for entry in changed:
            self._put(entry.path, staging / entry.path)
            if self._size(entry.path) != entry.size:
                raise ProductError(f"{entry.path}: uploaded in part", transient=True)
        for name in sorted(stale):
            obstore.delete(self._store, name)
        self.write(MANIFEST, manifest.to_json().encode())
        obstore.delete(self._store, _JOURNAL)

    def write(self, name: str, content: bytes) -> None:
        """Write one object.

        Parameters
        ----------
        name : str
            Below the prefix.
        content : bytes
            What it holds.
        """
        self._put(name, content)

    def read(self, name: str) -> bytes:
        """Read one object.

        Parameters
        ----------
        name : str
            Below the prefix.

        Returns
        -------
        content : bytes
            Empty where there is none.
        """
        try:
            return bytes(obstore.get(self._store, name).bytes())
        except FileNotFoundError:
            return b""

    def _put(self, name: str, content: bytes | Path) -> None:
        kind = _TYPES.get(Path(name).suffix) or mimetypes.guess_type(name)[0]
        attributes = {"Content-Type": kind or "application/octet-stream"}
        obstore.put(self._store, name, content, attributes=attributes)

    def _size(self, name: str) -> int:
        try:
            return int(obstore.head(self._store, name)["size"])
        except FileNotFoundError:
            return -1
