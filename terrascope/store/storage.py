"""Where the repository lives: addresses, credentials, and how icechunk is configured."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import icechunk

__all__ = ["complaint", "local_root", "open_storage", "repository_config", "s3_endpoint"]

_SPLIT_SPACE = {"y": 32, "x": 67, "batch_y": 16, "batch_x": 17}
_SPLIT_MONTHS = 12
_SPLIT_DAYS = 128
"""Shards per manifest along each dimension. A commit rewrites the manifests it touches and a
snapshot lists them all, so both want a middle size; and a worker's fork carries one entry per
possible manifest of each array it wrote, which forbids many small ones (`test_store.py` bounds
the pickled fork)."""


def local_root(url: str) -> Path | None:
    """Return the folder behind an address.

    Parameters
    ----------
    url : str
        A path, a ``file:`` or an ``s3:`` URL.

    Returns
    -------
    folder : Path or None
        None for an object store.

    Raises
    ------
    ValueError
        If the scheme is another.
    """
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]+://", url) is None:
        return Path(url).expanduser().absolute()
    parts = urlsplit(url)
    if parts.scheme == "file":
        return Path(unquote(parts.path))
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError(
            f"{parts.scheme}://...: expected a path, file:///path or s3://bucket/prefix"
        )
    return None


def open_storage(url: str) -> icechunk.Storage:
    """Return the storage behind an address.

    Parameters
    ----------
    url : str
        A path, a ``file:`` or an ``s3:`` URL. Credentials, region and endpoint
        come from the environment only (``AWS_ACCESS_KEY_ID``,
        ``AWS_SECRET_ACCESS_KEY``, ``AWS_REGION``, ``AWS_ENDPOINT_URL``).

    Returns
    -------
    storage : icechunk.Storage
        Of the repository.
    """
    if "ICECHUNK_LOG" not in os.environ:
        # icechunk warns that local commits are not safe side by side; `committer_lock` sees to it
        icechunk.set_logs_filter("error")
    folder = local_root(url)
    if folder is not None:
        return icechunk.local_filesystem_storage(str(folder))
    parts = urlsplit(url)
    endpoint = s3_endpoint()
    return icechunk.s3_storage(
        bucket=parts.netloc,
        prefix=parts.path.strip("/") or None,
        region=os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or "us-east-1",
        endpoint_url=endpoint,
        allow_http=bool(endpoint and endpoint.startswith("http://")),
        force_path_style=endpoint is not None,
        from_env=True,
    )


def s3_endpoint() -> str | None:
    """Return the address of an S3 service other than Amazon's, from the environment.

    Returns
    -------
    endpoint : str or None
        ``AWS_ENDPOINT_URL_S3``, else ``AWS_ENDPOINT_URL``; None where neither is set.
    """
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")


def repository_config() -> icechunk.RepositoryConfig:
    """Return how icechunk keeps manifests and memory.

    Returns
    -------
    config : icechunk.RepositoryConfig
        Manifests split by dimension name, no chunk inlined that is a shard.
    """
    split: dict[icechunk.ManifestSplitCondition, dict[Any, int]] = {
        icechunk.ManifestSplitCondition.path_matches(r"/P\d+D/"): _split(_SPLIT_DAYS),
        icechunk.ManifestSplitCondition.AnyArray(): _split(_SPLIT_MONTHS),
    }
    return icechunk.RepositoryConfig(
        inline_chunk_threshold_bytes=128,
        manifest=icechunk.ManifestConfig(
            splitting=icechunk.ManifestSplittingConfig.from_dict(split)
        ),
        caching=icechunk.CachingConfig(num_bytes_chunks=0),
    )


def complaint(error: Exception) -> str:
    """Return what an error says in one line: icechunk adds its Rust call stack below.

    Parameters
    ----------
    error : Exception
        Of icechunk, the file system or zarr.

    Returns
    -------
    text : str
        Its first line, without ornaments.
    """
    lines = [line.strip(" x\u00d7|") for line in str(error).splitlines()]
    return next(filter(None, lines), type(error).__name__)


def _split(steps: int) -> dict[Any, int]:
    sizes = {"time": steps, **_SPLIT_SPACE}
    return {icechunk.ManifestSplitDimCondition.DimensionName(name): n for name, n in sizes.items()}
