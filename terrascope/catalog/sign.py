"""Signing: the step between an address in the item table and one that can be read.

A signer is a callable from address to address. It travels to Dask workers, so it
pickles; tokens do not travel with it, are never logged and never stored.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import threading
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from terrascope.catalog.api import retry_policy
from terrascope.catalog.provider import Server
from terrascope.errors import CatalogError, ConfigError

__all__ = ["EnvironmentSigner", "PlanetaryComputerSigner", "Signer", "open_signer", "sign_nothing"]

Signer = Callable[[str], str]
"""From an address of the item table to one that can be opened."""

_TOKEN_URL = "https://planetarycomputer.microsoft.com/api/sas/v1/token"  # noqa: S105
_BLOB_HOST = ".blob.core.windows.net"
_MARGIN = dt.timedelta(minutes=5)
_TIMEOUT_S = 30.0


def open_signer(name: str, *, environment: Sequence[str] = ()) -> Signer:
    """Return the signing step of that name.

    Parameters
    ----------
    name : str
        ``"none"``, ``"environment"`` or ``"planetary-computer"`` (``signing.step``
        of a profile).
    environment : sequence of str
        Variables the step needs (``signing.environment`` of a profile).

    Returns
    -------
    signer : callable
        Picklable.

    Raises
    ------
    ConfigError
        If there is no such step.
    """
    if name == "none":
        return sign_nothing
    if name == "environment":
        return EnvironmentSigner(tuple(environment))
    if name == "planetary-computer":
        return PlanetaryComputerSigner()
    raise ConfigError(
        f"found {name!r}, expected none, environment or planetary-computer", key="signing.step"
    )


def sign_nothing(href: str) -> str:
    """Return the address as it is.

    Parameters
    ----------
    href : str
        Any address.

    Returns
    -------
    href : str
        The same.
    """
    return href


@dataclasses.dataclass(frozen=True)
class EnvironmentSigner:
    """Leave addresses alone, but insist on the variables that the reader will need.

    Parameters
    ----------
    names : tuple of str
        Environment variables; only their presence is looked at, on the machine that reads.
    """

    names: tuple[str, ...]

    def __call__(self, href: str) -> str:
        """Return the address as it is.

        Parameters
        ----------
        href : str
            Any address.

        Returns
        -------
        href : str
            The same.

        Raises
        ------
        ConfigError
            If a variable is missing.
        """
        if missing := [name for name in self.names if not os.environ.get(name)]:
            raise ConfigError(
                f"the environment lacks {', '.join(missing)}, which reading needs",
                key="signing.environment",
            )
        return href


class PlanetaryComputerSigner:
    """Append a shared access signature to addresses in Azure blob storage.

    One token serves a whole container for about an hour; it is fetched once and
    kept in memory until five minutes before it expires. ``PC_SDK_SUBSCRIPTION_KEY``
    in the environment, if set, raises the service's rate limit.

    Parameters
    ----------
    endpoint : str, optional
        Token service; default ``PC_SDK_SAS_URL`` of the environment, else the public one.
    server : Server, optional
        Retry policy.
    """

    def __init__(self, endpoint: str | None = None, server: Server | None = None) -> None:
        self._endpoint = endpoint or os.environ.get("PC_SDK_SAS_URL") or _TOKEN_URL
        self._server = server or Server()
        self._start()

    def _start(self) -> None:
        self._tokens: dict[tuple[str, str], tuple[str, dt.datetime]] = {}
        self._lock = threading.Lock()

    def __getstate__(self) -> dict[str, Any]:
        """Travel without lock and tokens."""
        return {"_endpoint": self._endpoint, "_server": self._server}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._start()

    def __eq__(self, other: object) -> bool:
        """Signers of one service are one: a worker keeps the first, with its tokens."""
        if not isinstance(other, PlanetaryComputerSigner):
            return NotImplemented
        return self.__getstate__() == other.__getstate__()

    def __hash__(self) -> int:
        return hash((self._endpoint, self._server))

    def __call__(self, href: str) -> str:
        """Sign one address.

        Parameters
        ----------
        href : str
            Signed if it lies in Azure blob storage and is not signed yet.

        Returns
        -------
        signed : str
            Holds a secret: open it, do not log it.

        Raises
        ------
        CatalogError
            If no token can be had.
        """
        parts = urlsplit(href)
        host = (parts.hostname or "").lower()
        if not host.endswith(_BLOB_HOST) or "sig=" in parts.query:
            return href
        container = parts.path.lstrip("/").partition("/")[0]
        token = self._token(host.removesuffix(_BLOB_HOST), container)
        return f"{href}{'&' if parts.query else '?'}{token}"

    def _token(self, account: str, container: str) -> str:
        with self._lock:
            known = self._tokens.get((account, container))
            if known is None or known[1] - _MARGIN <= dt.datetime.now(dt.UTC):
                known = self._fetch(f"{self._endpoint}/{account}/{container}")
                self._tokens[account, container] = known
            return known[0]

    def _fetch(self, url: str) -> tuple[str, dt.datetime]:
        key = os.environ.get("PC_SDK_SUBSCRIPTION_KEY")
        headers = {"Ocp-Apim-Subscription-Key": key} if key else {}
        try:
            with requests.Session() as session:
                adapter = HTTPAdapter(max_retries=retry_policy(self._server))
                session.mount("http://", adapter)
                session.mount("https://", adapter)
                answer = session.get(url, headers=headers, timeout=_TIMEOUT_S)
        except requests.RequestException as error:
            message = f"the token service does not answer: {type(error).__name__}"
            raise CatalogError(message, url=url, transient=True) from error
        if answer.status_code != requests.codes.ok:
            raise CatalogError(
                f"the token service answered {answer.status_code}",
                url=url,
                transient=answer.status_code == 429 or answer.status_code >= 500,
            )
        try:
            body = answer.json()
            return str(body["token"]), dt.datetime.fromisoformat(body["msft:expiry"])
        except (ValueError, KeyError, TypeError):
            raise CatalogError(
                "the token service answered without token and msft:expiry", url=url
            ) from None
