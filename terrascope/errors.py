"""The exceptions of TerraScope.

* TerrascopeError
    * ConfigError       a monitor file, profile or argument cannot be used
        * QuestionError     a question is not understood
    * CatalogError      a catalog could not be searched, or answered nonsense
    * PlanError         what was asked for cannot be planned
    * ReadError         one asset of one scene could not be read
    * RadiometryError   a scene's numbers contradict what its metadata state
    * StoreError        the cube could not be opened, written or committed
    * ModelError        a model could not be loaded or run
    * WorkerError       the machines that do the work are gone, or die of it
    * ProductError      a map, a table or a report could not be written
    * IncompleteError   the run ended below `minimum_completeness`

Every error says what was found, what was expected and what to do next, and
carries the facts as attributes. `transient` decides whether a retry can help.
Bad arguments of a Python call stay `ValueError`.
"""

from __future__ import annotations

from terrascope.redact import redact_url

__all__ = [
    "CatalogError",
    "ConfigError",
    "IncompleteError",
    "ModelError",
    "PlanError",
    "ProductError",
    "QuestionError",
    "RadiometryError",
    "ReadError",
    "StoreError",
    "TerrascopeError",
    "WorkerError",
]


class TerrascopeError(Exception):
    """Base of all errors raised on purpose by TerraScope.

    Parameters
    ----------
    message : str
        What was found, what was expected, what to do.
    transient : bool
        True where the same call may succeed later (a time-out, a 503).
    """

    def __init__(self, message: str, *, transient: bool = False) -> None:
        super().__init__(message)
        self.transient = transient


class ConfigError(TerrascopeError):
    """A monitor file, a catalog profile or a command line argument is wrong.

    Parameters
    ----------
    message : str
        The complaint, without file and key.
    file : str or None
        The file that holds the value.
    key : str or None
        Dotted key, for instance ``time.target``.
    """

    def __init__(self, message: str, *, file: str | None = None, key: str | None = None) -> None:
        place = ": ".join(part for part in (file, key) if part)
        super().__init__(f"{place}: {message}" if place else message)
        self.file = file
        self.key = key


class QuestionError(ConfigError):
    """A question is not understood; the message lists what can be asked."""


class CatalogError(TerrascopeError):
    """A catalog could not be searched, or its answer cannot be used.

    Parameters
    ----------
    message : str
        The complaint.
    url : str or None
        The service; user, query string and fragment are taken off (they may hold secrets).
    transient : bool
        True where a retry can help.
    """

    def __init__(self, message: str, *, url: str | None = None, transient: bool = False) -> None:
        super().__init__(message, transient=transient)
        self.url = None if url is None else redact_url(url)


class PlanError(TerrascopeError):
    """What was asked for cannot be planned, for instance an AOI beyond 84 N."""


class ReadError(TerrascopeError):
    """One asset of one scene could not be read.

    Parameters
    ----------
    message : str
        The complaint.
    item : str
        Id of the STAC item.
    band : str
        Canonical band name, or ``"*"`` where the whole scene is meant.
    url : str or None
        The asset's address; user, query string and fragment are taken off.
    transient : bool
        True where a retry can help.
    """

    def __init__(
        self,
        message: str,
        *,
        item: str,
        band: str = "*",
        url: str | None = None,
        transient: bool = False,
    ) -> None:
        super().__init__(f"{item} [{band}]: {message}", transient=transient)
        self.message = message
        self.item = item
        self.band = band
        self.url = None if url is None else redact_url(url)

    def __reduce__(self) -> tuple[object, ...]:
        """Travel between processes: keyword-only facts are lost by the default."""
        return _rebuild_read_error, (
            type(self),
            self.message,
            self.item,
            self.band,
            self.url,
            self.transient,
        )


def _rebuild_read_error(
    kind: type[ReadError], message: str, item: str, band: str, url: str | None, transient: bool
) -> ReadError:
    return kind(message, item=item, band=band, url=url, transient=transient)


class RadiometryError(ReadError):
    """The numbers of a scene contradict what its metadata state."""


class StoreError(TerrascopeError):
    """The cube could not be opened, written or committed."""


class ModelError(TerrascopeError):
    """A model could not be loaded or run."""


class WorkerError(TerrascopeError):
    """The scheduler or the workers are gone, or the work at hand ends them."""


class ProductError(TerrascopeError):
    """A map, a table or a report could not be written."""


class IncompleteError(TerrascopeError):
    """The run finished, but below the completeness that was asked for.

    Parameters
    ----------
    message : str
        The complaint.
    completeness : float
        Work items committed / work items planned that have a scene.
    """

    def __init__(self, message: str, *, completeness: float) -> None:
        super().__init__(message)
        self.completeness = completeness
