"""Items without a server: a static STAC tree, or a file of items.

Addresses inside come out absolute, so that what follows need not know where an
item lay.
"""

from __future__ import annotations

import contextlib
import json
import posixpath
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

from terrascope.errors import CatalogError

__all__ = ["is_static", "iter_static_items", "read_collections", "resolve_href", "walk_tree"]

_TREE_FILES = ("catalog.json", "collection.json")
_LINE_FILES = (".ndjson", ".jsonl", ".geojsonl")
_MAX_DOCUMENTS = 1_000_000

Fetch = Callable[[str], Any]
"""Reads one JSON document from an absolute address."""


def is_static(source: str) -> bool:
    """Tell whether a source is a path (or a ``file:`` URL), not a service.

    Parameters
    ----------
    source : str
        URL or path.

    Returns
    -------
    static : bool
        True for anything on a file system.
    """
    return urlsplit(source).scheme in ("", "file")


def iter_static_items(source: str) -> Iterator[dict[str, Any]]:
    """Yield the items of a tree or a file.

    Parameters
    ----------
    source : str
        A folder that holds ``items.ndjson`` or ``catalog.json``; one of these files;
        another file of items: one item per line, an item collection, a list of
        items, a single item, or GeoParquet as written by stac-geoparquet.

    Yields
    ------
    item : dict
        A STAC item, addresses absolute. Not validated.

    Raises
    ------
    CatalogError
        If there is nothing to read, or it is no STAC.
    """
    path = _find(Path(source.removeprefix("file://")).expanduser().resolve())
    if path.suffix == ".parquet":
        items = _items_of_parquet(path)
    elif path.suffix in _LINE_FILES:
        items = _items_of_lines(path)
    else:
        document = _load(str(path))
        if isinstance(document, dict) and document.get("type") in ("Catalog", "Collection"):
            yield from walk_tree(str(path), _load)
            return
        items = _items_of_document(document, path)
    for item in items:
        yield _absolute(item, str(path))


def read_collections(folder: Path) -> list[dict[str, Any]]:
    """Return the collections of a static tree.

    Parameters
    ----------
    folder : pathlib.Path
        Holds ``collections.json`` (as ``GET /collections`` answers) or ``catalog.json``.

    Returns
    -------
    collections : list of dict
        STAC collections without links.

    Raises
    ------
    CatalogError
        If there are none.
    """
    listing = folder / "collections.json"
    if listing.is_file():
        document = _load(str(listing))
        found = document.get("collections") if isinstance(document, dict) else None
        documents = found if isinstance(found, list) else []
    else:
        documents = [_load(str(path)) for path in sorted(folder.rglob("collection.json"))]
    collections = [
        {**document, "links": []}
        for document in documents
        if isinstance(document, dict) and document.get("type") == "Collection"
    ]
    if not collections:
        raise CatalogError(f"{folder} holds no STAC collection", url=str(folder))
    return collections


def resolve_href(base: str, href: str) -> str:
    """Join addresses.

    Parameters
    ----------
    base : str
        URL or path of the document.
    href : str
        An address in it. GDAL's virtual paths stay as they are.

    Returns
    -------
    href : str
        Absolute.

    Raises
    ------
    ValueError
        If it is no address.
    """
    if urlsplit(href).scheme or href.startswith("/"):
        return href
    if urlsplit(base).scheme in ("http", "https", "file"):
        return urljoin(base, href)
    # `urljoin` knows neither s3: nor plain paths.
    scheme, mark, path = base.rpartition("://")
    return f"{scheme}{mark}{posixpath.normpath(posixpath.join(posixpath.dirname(path), href))}"


def walk_tree(root: str, fetch: Fetch) -> Iterator[dict[str, Any]]:
    """Follow the child and item links of a static catalog, each document once.

    Parameters
    ----------
    root : str
        Path or URL of a catalog or collection.
    fetch : callable
        Reads one JSON document.

    Yields
    ------
    item : dict
        A STAC item, addresses absolute.

    Raises
    ------
    CatalogError
        If a document cannot be read, or the tree does not end.
    """
    pending, seen = [root], {root}
    while pending:
        href = pending.pop()
        document = fetch(href)
        if not isinstance(document, dict):
            raise CatalogError("found no JSON object, expected a STAC document", url=href)
        if document.get("type") == "Feature":
            yield _absolute(document, href)
            continue
        children = [
            _absolute_href(href, link["href"])
            for link in _links(document)
            if link.get("rel") in ("child", "item") and isinstance(link.get("href"), str)
        ]
        fresh = [child for child in dict.fromkeys(children) if child not in seen]
        seen.update(fresh)
        pending += reversed(fresh)
        if len(seen) > _MAX_DOCUMENTS:
            raise CatalogError(f"more than {_MAX_DOCUMENTS} documents in one tree", url=root)


def _find(path: Path) -> Path:
    if path.is_file():
        return path
    for name in ("items.ndjson", *_TREE_FILES):
        if (path / name).is_file():
            return path / name
    raise CatalogError(
        f"{path}: found nothing to read, expected a STAC API's URL, a folder with catalog.json or "
        "items.ndjson, or a file of items",
        url=str(path),
    )


def _load(href: str) -> Any:
    try:
        return json.loads(Path(href).read_bytes())
    except OSError as error:
        raise CatalogError(f"{href} cannot be read: {error.strerror}", url=href) from error
    except ValueError as error:
        raise CatalogError(f"{href} is not JSON: {error}", url=href) from error


def _items_of_lines(path: Path) -> Iterator[dict[str, Any]]:
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                item = json.loads(line)
            except ValueError as error:
                raise CatalogError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(item, dict):
                raise CatalogError(f"{path}, line {number}: expected a STAC item")
            yield item


def _items_of_document(document: Any, path: Path) -> Iterator[dict[str, Any]]:
    kind = document.get("type") if isinstance(document, dict) else None
    items = document
    if kind == "FeatureCollection":
        items = document.get("features")
    elif kind == "Feature":
        items = [document]
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise CatalogError(f"{path}: expected a STAC catalog, an item collection or items")
    yield from items


def _items_of_parquet(path: Path) -> Iterator[dict[str, Any]]:
    import pyarrow.parquet
    import stac_geoparquet.arrow

    try:
        table = pyarrow.parquet.read_table(path)
        yield from stac_geoparquet.arrow.stac_table_to_items(table)
    except (OSError, ValueError, KeyError) as error:
        raise CatalogError(f"{path} is no stac-geoparquet: {error}", url=str(path)) from error


def _links(document: dict[str, Any]) -> list[dict[str, Any]]:
    links = document.get("links")
    return [link for link in links if isinstance(link, dict)] if isinstance(links, list) else []


def _absolute(item: dict[str, Any], base: str) -> dict[str, Any]:
    """Copy an item with absolute asset addresses and a self link to where it lay."""
    assets = item.get("assets")
    resolved = {
        key: {**asset, "href": _absolute_href(base, asset["href"])}
        if isinstance(asset, dict) and isinstance(asset.get("href"), str)
        else asset
        for key, asset in (assets.items() if isinstance(assets, dict) else ())
    }
    links = [link for link in _links(item) if link.get("rel") != "self"]
    return {**item, "assets": resolved, "links": [*links, {"rel": "self", "href": base}]}


def _absolute_href(base: str, href: str) -> str:
    """Leave what is no address as it is: whoever opens it says so."""
    with contextlib.suppress(ValueError):
        return resolve_href(base, href)
    return href
