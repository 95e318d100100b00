"""The cube's storage: Zarr schema, layout, commits, and the ledger of done work."""

from __future__ import annotations

from terrascope.store.batch import WriteBatch
from terrascope.store.layout import cube_path, parse_group, result_path, tile_slices
from terrascope.store.ledger import Record, work_key
from terrascope.store.repository import Expired, Store
from terrascope.store.schema import GroupSchema, Layer, cube_schema, result_schema
from terrascope.store.writing import Fork, SparseTile, TileWriter, write_tile

__all__ = [
    "Expired",
    "Fork",
    "GroupSchema",
    "Layer",
    "Record",
    "SparseTile",
    "Store",
    "TileWriter",
    "WriteBatch",
    "cube_path",
    "cube_schema",
    "parse_group",
    "result_path",
    "result_schema",
    "tile_slices",
    "work_key",
    "write_tile",
]
