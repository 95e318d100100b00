"""Take secrets out of what is shown or written: addresses, messages, settings.

Part of the vocabulary: every room meets signed links, and every error may end in a report.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

__all__ = ["HIDDEN", "redact_settings", "redact_text", "redact_url", "without_secrets"]

HIDDEN = "(hidden)"
"""What stands in place of a secret value."""

_URL = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s\"'<>`|\\^{}]+")
_QUERY = re.compile(r"(?<=[\w/])\?[^\s\"',)\]>]+")
"""Of a link without its scheme, as GDAL and urllib3 shorten it in their messages."""
_USER_INFO = re.compile(r"(?<=://)[^/]*@")
_SENSITIVE = (
    r"pass(?:word|wd|phrase)?|secret|token|api[_-]?key|access[_-]?key|account[_-]?key"
    r"|subscription[_-]?key|private[_-]?key|credentials?|authorization|signature|sig|sas|cookie"
)
_SECRET_KEY = re.compile(rf"(?:^|[_.-])(?:{_SENSITIVE})(?:$|[_.-])", re.IGNORECASE)
_SECRET_PARAMETER = re.compile(rf"(?:{_SENSITIVE})$|{_SECRET_KEY.pattern}", re.IGNORECASE)
"""Of an address, where words run together: ``accesstoken``."""
_CONTAINER = re.compile(r"(?:abfs|wasb)s?://[^/:@]+@", re.IGNORECASE)
"""Azure's addresses state the container where others state the user."""
_ASSIGNMENT = re.compile(
    rf"\b((?:[\w-]*[_-])?(?:{_SENSITIVE})(?:[_-]\w+)?[\"']?\s*(?:=|%3D|:)\s*)"
    r"(?:(?:bearer|basic)\s+)?[\"']?[^\s&,;\"'<>()]+",
    re.IGNORECASE,
)
_BEARER = re.compile(r"\b(bearer|basic)\s+[\w.~+/=-]{8,}", re.IGNORECASE)


def redact_url(url: str) -> str:
    """Return an address without user, password, query string and fragment.

    Parameters
    ----------
    url : str
        A URL or a plain path. Malformed addresses are cut all the same.

    Returns
    -------
    shown : str
        The address, fit for logs, reports and error messages.
    """
    address = url.partition("?")[0]
    if "://" in address:  # the name of a file may hold a #
        address = address.partition("#")[0]
    return _USER_INFO.sub("", address)


def without_secrets(url: str) -> str:
    """Return an address that still leads to its file, without what somebody signed it with.

    Parameters
    ----------
    url : str
        A URL or a plain path, for instance of a raster.

    Returns
    -------
    kept : str
        Without user and password; without its query if any parameter of that may be
        secret. A harmless query, such as a version, is part of the address and stays.
    """
    _, *parameters = re.split("[?&;#]", url)
    names = (unquote(parameter.partition("=")[0]) for parameter in parameters)
    if any(_SECRET_PARAMETER.search(name) for name in names):
        url = url.partition("?")[0]
        url = url.partition("#")[0] if "://" in url else url
    address, mark, query = url.partition("?")
    return (address if _CONTAINER.match(address) else _USER_INFO.sub("", address)) + mark + query


def redact_text(text: str) -> str:
    """Return a message with every address in it redacted and ``name=secret`` pairs hidden.

    Parameters
    ----------
    text : str
        Free text, for instance an exception's message.

    Returns
    -------
    shown : str
        The text without secrets that follow a known pattern.
    """
    shown = _URL.sub(_shown, text)
    shown = _QUERY.sub("", shown)
    shown = _ASSIGNMENT.sub(lambda match: match[1] + HIDDEN, shown)
    return _BEARER.sub(lambda match: f"{match[1]} {HIDDEN}", shown)


def _shown(match: re.Match[str]) -> str:
    """Redact an address in a sentence; the punctuation after it is the sentence's."""
    address = match[0].rstrip(".,:;)]")
    return redact_url(address) + match[0][len(address) :]


def redact_settings(value: Any) -> Any:
    """Return JSON-like settings with secrets hidden, by key name and by content.

    Parameters
    ----------
    value : object
        Mappings, sequences and scalars, for instance a resolved monitor file.

    Returns
    -------
    shown : object
        The same tree of dicts, lists and scalars; nothing in `value` is modified.
    """
    if isinstance(value, Mapping):
        return {
            str(key): HIDDEN
            if _SECRET_KEY.search(str(key)) and not isinstance(item, Mapping)
            else redact_settings(item)
            for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_settings(item) for item in value]
    return redact_text(value) if isinstance(value, str) else value
