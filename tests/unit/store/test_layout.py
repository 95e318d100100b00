from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.geo.tiles import Tile, Zone
from terrascope.periods import Cadence
from terrascope.store import layout

RESOLUTIONS = (10, 20, 30, 60, 120)
tiles = st.builds(
    Tile,
    st.builds(Zone, st.integers(1, 60), st.sampled_from("NS")),
    st.integers(0, layout.ZONE_COLUMNS - 1),
    st.integers(0, layout.ZONE_ROWS - 1),
)


@given(tile=tiles, resolution_m=st.sampled_from(RESOLUTIONS))
def test_slices_cover_the_ground_of_the_tile(tile: Tile, resolution_m: int) -> None:
    rows, columns = layout.tile_slices(tile, resolution_m)
    affine = layout.zone_geobox(tile.zone, resolution_m).affine
    west, north = affine.c + columns.start * affine.a, affine.f + rows.start * affine.e
    east, south = affine.c + columns.stop * affine.a, affine.f + rows.stop * affine.e
    assert (west, south, east, north) == tile.bounds
    height, width = layout.zone_shape(resolution_m)
    assert 0 <= rows.start < rows.stop <= height
    assert 0 <= columns.start < columns.stop <= width
    # a shard exactly
    size = layout.tile_pixels(resolution_m)
    assert layout.shard_index(tile) == (rows.start // size, columns.start // size)
    assert rows.start % size == columns.start % size == 0


@given(tile=tiles)
def test_squares_of_the_ledger_are_aligned_on_the_global_grid(tile: Tile) -> None:
    row, column = layout.batch_index(tile)
    rows = {t for t in range(layout.ZONE_ROWS) if _square(tile, t)[0] == row}
    assert len(rows) == layout.BATCH_TILES
    assert min(rows) % layout.BATCH_TILES == 0
    assert column == tile.column // layout.BATCH_TILES


def _square(tile: Tile, row: int) -> tuple[int, int]:
    return layout.batch_index(Tile(tile.zone, tile.column, row))


@pytest.mark.parametrize(
    ("resolution_m", "chunk"),
    [(10, 512), (20, 256), (30, 256), (60, 256), (120, 128), (12, 320), (5, 512), (40, 192)],
)
def test_chunks_divide_the_tile(resolution_m: int, chunk: int) -> None:
    assert layout.chunk_pixels(resolution_m) == chunk
    assert layout.tile_pixels(resolution_m) % chunk == 0


def test_tiles_outside_the_arrays_are_refused() -> None:
    for column, row in ((67, 0), (0, 652), (-1, 0), (0, -1)):
        with pytest.raises(ValueError, match="outside the arrays"):
            layout.tile_slices(Tile(Zone(1, "N"), column, row), 10)
    with pytest.raises(ValueError, match="must divide"):
        layout.tile_slices(Tile(Zone(1, "N"), 0, 0), 7)


def test_paths_and_back() -> None:
    zone, month = Zone(33, "N"), Cadence.parse("P1M")
    expected = {
        layout.cube_path("sentinel-2", zone, 10, month): "sentinel-2/33N/r10/P1M",
        layout.cube_path(
            "sentinel-1", zone, 20, Cadence.parse("P12D"), 44
        ): "sentinel-1/33N/r20/P12D/orbit-044",
        layout.cube_path(
            "sentinel-1", Zone(5, "S"), 10, month, -1
        ): "sentinel-1/05S/r10/P1M/orbit-unknown",
        layout.result_path(
            zone, 10, "2020-09-01_2020-09-30"
        ): "result/33N/r10/2020-09-01_2020-09-30",
    }
    for path, text in expected.items():
        assert path == text
        assert str(layout.parse_group(path)) == path
    assert layout.parse_group("sentinel-1/33N/r20/P12D/orbit-044").orbit == 44


@pytest.mark.parametrize(
    "path",
    [
        "",
        "..",
        "sentinel-2/33N/r10",
        "sentinel-2/33N/r10/P1M/../../secret",
        "sentinel-2/33N/r10/P1M/orbit-044",
        "sentinel-1/33N/r10/P1M",
        "sentinel-1/33N/r10/P1M/orbit-44",
        "sentinel-1/33N/r10/P1M/orbit-x",
        "sentinel-3/33N/r10/P1M",
        "sentinel-2/61N/r10/P1M",
        "sentinel-2/33N/r7/P1M",
        "sentinel-2/33N/r010/P1M",
        "sentinel-2/33N/r10/monthly",
        "result/33N/r10/a/b",
        "result/33N/r10/-x",
        "result/33N/r10/..",
        "result/33N/r10/\u0661",
        "/result/33N/r10/x",
        "result/33N/r10/x\n",
    ],
)
def test_foreign_paths_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match=r"expected|must divide|only Sentinel-1"):
        layout.parse_group(path)
