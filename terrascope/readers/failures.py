"""Turn what GDAL says into a `ReadError` that names the scene and keeps secrets."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from tenacity import (
    Retrying,
    retry_if_exception,
    stop_after_attempt,
    wait_exponential,
    wait_random,
)

from terrascope.errors import ReadError
from terrascope.redact import redact_text

__all__ = ["read_error", "retrying"]

_T = TypeVar("_T")

_TRANSIENT = re.compile(
    r"timed? ?out|timeout|too slow|HTTP (?:response code|error)[^\d]{0,6}(?:408|425|429|5\d\d)"
    r"|response_code=(?:0|408|425|429|5\d\d)\b|response code on [^ ]+: ?(?:0|408|429|5\d\d)\b"
    r"|could ?n.?t (?:resolve|connect)|connection (?:reset|refused|aborted)|failed to connect"
    r"|empty reply|transfer closed|recv failure|curl error|temporarily unavailable"
    r"|partial file|range (?:downloading|request)",
    re.IGNORECASE,
)
_REFUSED = re.compile(
    r"(?:response code|response_code|error)[^\d]{0,6}(?:401|403)\b", re.IGNORECASE
)


def read_error(
    cause: BaseException,
    *,
    item: str,
    band: str,
    href: str,
    signed: bool = False,
    stalled: bool = False,
) -> ReadError:
    """Describe a failure of GDAL.

    Parameters
    ----------
    cause : BaseException
        What was raised; the whole chain of causes is read.
    item : str
        Id of the scene.
    band : str
        Canonical band.
    href : str
        Unsigned address of the raster.
    signed : bool
        True where links are signed: a 403 then may be a signature that ran out.
    stalled : bool
        True where it took as long as the time-out: GDAL does not say so of a read.

    Returns
    -------
    error : ReadError
        With redacted message; `transient` where a retry can help.
    """
    chain: list[str] = []
    link: BaseException | None = cause
    while link is not None and len(chain) < 4:
        text = " ".join(redact_text(str(link)).split())
        if text and text not in chain:
            chain.append(text)
        link = link.__cause__ or link.__context__
    message = "; ".join(chain) or type(cause).__name__
    if stalled:
        message = f"{message}; the transfer stalled"
    transient = (
        stalled or bool(_TRANSIENT.search(message)) or (signed and bool(_REFUSED.search(message)))
    )
    return ReadError(
        f"cannot be read: {message}",
        item=item,
        band=band,
        url=href,
        transient=transient,
    )


def retrying(call: Callable[[], _T], *, attempts: int, wait_s: float) -> _T:
    """Call again while the failure is transient.

    Parameters
    ----------
    call : callable
        Without arguments; raises `ReadError`.
    attempts : int
        In all, at least 1.
    wait_s : float
        Before the second attempt; doubles, at most 10 s.

    Returns
    -------
    result : object
        Whatever `call` returns.

    Raises
    ------
    ReadError
        The last one.
    """
    policy = Retrying(
        stop=stop_after_attempt(attempts),
        wait=wait_exponential(multiplier=wait_s, max=10.0) + wait_random(0.0, wait_s),
        retry=retry_if_exception(lambda error: isinstance(error, ReadError) and error.transient),
        reraise=True,
    )
    return policy(call)
