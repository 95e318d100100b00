"""A STAC API over HTTP, through pystac-client: retries, paging that ends, plain dicts out."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote

import pystac
import requests
from pystac_client import Client, ConformanceClasses
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO
from tenacity import retry, retry_if_exception, stop_after_attempt
from urllib3 import Retry

from terrascope.catalog.provider import Server
from terrascope.errors import CatalogError
from terrascope.redact import redact_text, redact_url

__all__ = ["ApiSource", "retry_policy"]

_log = logging.getLogger(__name__)

_RETRY_STATUS = frozenset({429, 500, 502, 503, 504})
_RETRY_AFTER_MAX_S = 120
_MAX_ITEMS = 1_000_000
_BODY_TRIES = 3


class _Retry(Retry):
    # urllib3 also obeys Retry-After on 413, which no repetition can cure.
    RETRY_AFTER_STATUS_CODES = frozenset({429, 503})


def retry_policy(server: Server) -> Retry:
    """Return when and how often a request is repeated.

    Parameters
    ----------
    server : Server
        Of the profile.

    Returns
    -------
    retry : urllib3.Retry
        For 429, 5xx and connection errors only, any method (searching by POST
        changes nothing), exponential pauses with jitter; Retry-After is obeyed up
        to two minutes.
    """
    return _Retry(
        total=server.retries,
        backoff_factor=server.backoff_s,
        backoff_jitter=server.backoff_s,
        backoff_max=60.0,
        status_forcelist=_RETRY_STATUS,
        allowed_methods=None,
        raise_on_status=False,
        respect_retry_after_header=True,
        retry_after_max=_RETRY_AFTER_MAX_S,
    )


class ApiSource:
    """One STAC API, opened.

    Parameters
    ----------
    url : str
        Landing page.
    server : Server
        How to talk to it.

    Raises
    ------
    CatalogError
        If the landing page cannot be read or is no STAC.
    """

    def __init__(self, url: str, server: Server) -> None:
        self.url = redact_url(url)
        self._server = server
        self._io = _Io(timeout=(10.0, server.timeout_s), max_retries=retry_policy(server))
        with self._guard():
            self._client = Client.open(url, stac_io=self._io)
        self.is_api = any(link.rel == "search" for link in self._client.links)

    def close(self) -> None:
        """Close the connections."""
        self._io.session.close()

    def declares(self, conformance: str) -> bool:
        """Tell whether the landing page declares a conformance class.

        Parameters
        ----------
        conformance : str
            Such as ``"FILTER"``: a name in `pystac_client.ConformanceClasses`.

        Returns
        -------
        declared : bool
            As the service says.
        """
        with self._guard():
            return bool(self._client.conforms_to(ConformanceClasses[conformance]))

    def lacks(self, collection: str) -> bool:
        """Tell whether the service says that it has no such collection.

        Parameters
        ----------
        collection : str
            Id.

        Returns
        -------
        lacks : bool
            True only for a clear "not found".

        Raises
        ------
        CatalogError
            If the service cannot be reached.
        """
        listing = next((link.href for link in self._client.links if link.rel == "data"), None)
        if listing is None:
            return False
        try:
            with self._guard():
                self._io.request(f"{listing.rstrip('/')}/{quote(collection)}")
        except CatalogError as error:
            if error.transient:
                raise
            return _status(error) == 404
        return False

    def items(self, *, collections: Sequence[str], **search: Any) -> Iterator[dict[str, Any]]:
        """Yield the items of one search, page by page, each once.

        Parameters
        ----------
        collections : sequence of str
            Ids.
        **search
            As `pystac_client.Client.search` takes them.

        Yields
        ------
        item : dict
            As the service answered. Not validated.

        Raises
        ------
        CatalogError
            If the service refuses the request, fails, or answers nonsense.
        """
        with self._guard():
            # Landing pages forget to declare what their search link shows.
            self._client.add_conforms_to("ITEM_SEARCH")
            pages = self._client.search(
                method=self._method(),
                collections=list(collections),
                limit=self._server.page_limit,
                **search,
            ).pages_as_dicts()
        seen: set[tuple[str, str]] = set()
        while True:
            with self._guard():
                page = next(pages, None)
            if page is None:
                return
            known, features = len(seen), _features(page, self.url)
            for item in features:
                if (key := _key(item)) not in seen:
                    seen.add(key)
                    yield item
            if len(seen) == known:
                if features:
                    _log.warning("%s repeats its last page; paging ends there", self.url)
                return
            if len(seen) > _MAX_ITEMS:
                raise CatalogError(f"more than {_MAX_ITEMS} items; narrow the search", url=self.url)

    def read_json(self, href: str) -> Any:
        """Read one document.

        Parameters
        ----------
        href : str
            Absolute URL.

        Returns
        -------
        document : object
            Decoded JSON.

        Raises
        ------
        CatalogError
            If it cannot be read.
        """
        with self._guard():
            return self._io.read_json(href)

    def _method(self) -> str:
        """POST unless only GET is offered: polygons outgrow a query string."""
        links = [link for link in self._client.links if link.rel == "search"]
        stated = {str(link.extra_fields.get("method", "POST")).upper() for link in links}
        return "POST" if "POST" in stated or not stated else "GET"

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """Turn whatever the client raises on bad answers into one error; silence its advice."""
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                yield
        except APIError as error:
            status = getattr(error, "status_code", None)
            broken = isinstance(error.__context__, requests.RequestException)
            text = redact_text(" ".join(str(error).split()))[:300]
            raise CatalogError(
                f"the catalog answered status {status}: {text}" if status else f"no answer: {text}",
                url=self.url,
                transient=broken or status in _RETRY_STATUS,
            ) from error
        except (
            AttributeError,
            KeyError,
            NotImplementedError,
            TypeError,
            ValueError,
            pystac.STACError,
        ) as error:
            raise CatalogError(
                f"{self.url} does not answer like a STAC API: {type(error).__name__}: "
                f"{redact_text(str(error))}",
                url=self.url,
            ) from error


def _broke_off(error: BaseException) -> bool:
    return isinstance(error, APIError) and isinstance(
        error.__context__, requests.exceptions.ChunkedEncodingError
    )


class _Io(StacApiIO):
    """Repeats a request whose answer broke off in the middle, which urllib3 does not."""

    @retry(retry=retry_if_exception(_broke_off), stop=stop_after_attempt(_BODY_TRIES), reraise=True)
    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        return str(super().request(href, method, headers, parameters))


def _status(error: CatalogError) -> int | None:
    return getattr(error.__cause__, "status_code", None)


def _features(page: Any, url: str) -> list[dict[str, Any]]:
    features = page.get("features") if isinstance(page, dict) else None
    if not isinstance(features, list):
        raise CatalogError("found no features, expected an item collection", url=url)
    return [feature for feature in features if isinstance(feature, dict)]


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return str(item.get("collection")), str(item.get("id"))
