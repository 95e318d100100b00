"""What differs by provider, as frozen values; `terrascope.catalog.profile` reads them from TOML."""

from __future__ import annotations

import dataclasses
import datetime as dt
from collections.abc import Mapping

from terrascope.errors import ConfigError

__all__ = [
    "CollectionProfile",
    "Profile",
    "RefusedCollection",
    "Server",
    "Signing",
    "Storage",
]


@dataclasses.dataclass(frozen=True)
class Server:
    """How to talk to the search service.

    Parameters
    ----------
    filter : {"none", "cql2-json"}
        Property filter that the service understands; not used, the client filters.
    page_limit : int
        Items asked for per page.
    retries : int
        Repetitions after 429, 5xx and broken connections.
    backoff_s : float
        First pause in seconds; doubles each time, with jitter.
    timeout_s : float
        Longest silence of the server.
    """

    filter: str = "none"
    page_limit: int = 100
    retries: int = 6
    backoff_s: float = 0.5
    timeout_s: float = 60.0


@dataclasses.dataclass(frozen=True)
class Signing:
    """How an asset's address becomes readable.

    Parameters
    ----------
    step : str
        Name of a signing step (`terrascope.catalog.sign.open_signer`).
    environment : tuple of str
        Environment variables that must be set. Their values are never stored.
    """

    step: str = "none"
    environment: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Storage:
    """Where the rasters lie.

    Parameters
    ----------
    schemes : tuple of str
        Kinds of address that may be opened; ``"file"`` includes plain paths.
        Items come from outside: an address of another kind is not touched.
    gdal : mapping of str to str
        GDAL options that reading from there wants.
    """

    schemes: tuple[str, ...] = ("https",)
    gdal: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CollectionProfile:
    """One usable product.

    Parameters
    ----------
    id : str
        Collection id at the provider.
    sensor : str
        Key of `terrascope.sensors.SENSORS`.
    assets : mapping of str to tuple of str
        Canonical band -> asset keys, the preferred one first.
    dtype : str
        Stored type where the item does not say.
    nodata : float or None
        Stored number for "no data" where the item does not say.
    scale : float
        Physical value per stored number where the item does not say.
    unit : str
        ``"reflectance"``, ``"linear"``, ``"dB"``, or ``"metadata"``: the item says.
    coefficient : str
        ``"gamma0"``, ``"sigma0"``, ``"metadata"``; empty for optical data.
    offset : tuple of str
        Evidence on the Sentinel-2 offset, the strongest first
        (`terrascope.catalog.offset.resolve_offset`).
    """

    id: str
    sensor: str
    assets: Mapping[str, tuple[str, ...]]
    dtype: str
    nodata: float | None
    scale: float
    unit: str
    coefficient: str = ""
    offset: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class RefusedCollection:
    """A product that exists at the provider and must not be used.

    Parameters
    ----------
    id : str
        Collection id.
    reason, alternative : str
        Why not, and what to take instead.
    """

    id: str
    reason: str
    alternative: str


@dataclasses.dataclass(frozen=True)
class Profile:
    """One provider.

    Parameters
    ----------
    name, title : str
        Short and long name.
    url : str
        STAC API, static tree or item file; a monitor file may override it.
    checked : datetime.date
        Day of the provider's answers these facts were last compared with.
    collections : tuple of CollectionProfile
        The usable products.
    refused : tuple of RefusedCollection
        The others.
    server : Server
        Search service.
    signing : Signing
        Access step.
    storage : Storage
        Rasters.
    attribution : str
        Notice for whatever is derived; ``{year}`` is filled in per scene.
    attribution_property : str
        Item property that holds a more exact notice, empty if there is none.
    file : str
        Where the profile was read from.
    """

    name: str
    title: str
    url: str
    checked: dt.date
    collections: tuple[CollectionProfile, ...]
    refused: tuple[RefusedCollection, ...] = ()
    server: Server = dataclasses.field(default_factory=Server)
    signing: Signing = dataclasses.field(default_factory=Signing)
    storage: Storage = dataclasses.field(default_factory=Storage)
    attribution: str = ""
    attribution_property: str = ""
    file: str = ""

    def collection(self, collection_id: str) -> CollectionProfile | None:
        """Return the product of that id.

        Parameters
        ----------
        collection_id : str
            Id at the provider.

        Returns
        -------
        collection : CollectionProfile or None
            None where the profile does not know it.

        Raises
        ------
        ConfigError
            If the profile refuses the product; says why and what to take instead.
        """
        for refused in self.refused:
            if refused.id == collection_id:
                raise ConfigError(
                    f"{collection_id} of {self.name} cannot be used: {refused.reason}. "
                    f"Use {refused.alternative}.",
                    file=self.file or None,
                    key="refused",
                )
        return next((c for c in self.collections if c.id == collection_id), None)
