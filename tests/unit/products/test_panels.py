"""Close-ups of events from a cube: whatever bands it has, on the event's own pixels."""

from __future__ import annotations

import io
import re
from pathlib import Path

import geopandas
import numpy as np
import pytest
import shapely
from PIL import Image

from terrascope.geo.aoi import Aoi
from terrascope.geo.cover import tiles_covering
from terrascope.geo.projection import unproject_from_zone
from terrascope.geo.tiles import Tile, Zone
from terrascope.monitor.footprint import aoi_mask
from terrascope.monitor.screen.plan import ScreenPlan
from terrascope.periods import Cadence
from terrascope.products.palette import KIND_COLOURS
from terrascope.products.panels import draw_panels
from terrascope.store import Store, cube_schema, result_schema, write_tile
from terrascope.types import ChangeKind, Status

MONTH = Cadence.parse("P1M")
TILE = Tile(Zone(33, "N"), 30, 360)
ROWS, COLUMNS = slice(60, 70), slice(50, 70)  # of the change, at 120 m, amid the tile


def event() -> geopandas.GeoDataFrame:
    west, _, _, north = TILE.bounds
    ground = shapely.box(
        west + 120 * COLUMNS.start,
        north - 120 * ROWS.stop,
        west + 120 * COLUMNS.stop,
        north - 120 * ROWS.start,
    )
    geometry = unproject_from_zone(ground, TILE.zone)
    return geopandas.GeoDataFrame(
        {"event_id": ["e"], "tiles": [[TILE.id]]}, geometry=[geometry], crs="EPSG:4326"
    )


@pytest.mark.parametrize(
    ("sensor", "bands", "grey"),
    [
        ("sentinel-2", ("red", "nir"), True),
        ("sentinel-2", ("red", "rededge1", "nir", "swir22"), True),
        ("sentinel-2", ("green", "red", "nir"), False),
        ("sentinel-1", ("vv", "vh"), False),
    ],
)
def test_any_bands_make_a_picture(
    tmp_path: Path, sensor: str, bands: tuple[str, ...], grey: bool
) -> None:
    orbit = 44 if sensor == "sentinel-1" else None
    schema = cube_schema(sensor, TILE.zone, 120, MONTH, bands, orbit=orbit)
    store = Store.open(str(tmp_path))
    store.ensure_group(schema)
    result = store.ensure_group(result_schema(TILE.zone, 120, "x"))
    changed = np.zeros((128, 128), bool)
    changed[ROWS, COLUMNS] = True
    rng = np.random.default_rng(4)
    before = rng.integers(500, 3000, (len(bands), 128, 128)).astype(np.int16)
    after = np.where(changed, before + 2000, before).astype(np.int16)
    variable = schema.layers[0].name
    with store.begin() as batch:
        fork = batch.fork()
        write_tile(fork, schema.path, TILE, 68, {variable: before})
        write_tile(fork, schema.path, TILE, 80, {variable: after})
        status = np.where(changed, Status.PROVISIONAL, Status.NO_CHANGE).astype(np.uint8)
        kind = np.where(changed, ChangeKind.BARE, ChangeKind.NONE).astype(np.uint8)
        write_tile(fork, result, TILE, 0, {"status": status, "change_kind": kind})
        batch.commit([fork], {schema.path: [], result: []})
    plan = ScreenPlan(
        resolution_m=120,
        target=(MONTH.period(80),),
        baseline=(MONTH.period(68),),
        groups={sensor: (schema.path,)},
        bands={sensor: schema.bands},
        batches=((TILE,),),
        aoi=Aoi.from_geometry(event().geometry[0]),
        threshold=0.5,
        run_id="x",
    )
    (figure,) = draw_panels(plan, store, event(), ["e"])
    assert sorted(re.findall(r"[hv]\d+", figure.outline)) == ["h20", "h20", "v10", "v10"]
    assert figure.before.png != figure.after.png
    pixels = np.asarray(Image.open(io.BytesIO(figure.after.png)).convert("RGBA"))[..., :3]
    assert (pixels == pixels[..., :1]).all() == grey
    assert figure.change.alt.startswith("Event e change found")


def test_an_event_on_a_zone_border_is_shown_whole(tmp_path: Path) -> None:
    """Either zone has results for the ground it owns only; the picture shows both."""
    aoi = Aoi.from_bbox((17.95, 49.90, 18.05, 49.94))
    tiles = tiles_covering(aoi)
    assert len({tile.zone for tile in tiles}) == 2
    store = Store.open(str(tmp_path))
    groups = {}
    for zone in sorted({tile.zone for tile in tiles}):
        cube = cube_schema("sentinel-2", zone, 60, MONTH, ("red", "nir"))
        store.ensure_group(cube)
        groups[zone] = store.ensure_group(result_schema(zone, 60, "x"))
        mine = [tile for tile in tiles if tile.zone == zone]
        with store.begin() as batch:
            fork = batch.fork()
            for tile in mine:
                pixels = np.full((2, 256, 256), 900, np.int16)
                write_tile(fork, cube.path, tile, 68, {"reflectance": pixels})
                write_tile(fork, cube.path, tile, 80, {"reflectance": 2 * pixels})
                asked = aoi_mask(aoi, tile, 60)
                status = np.where(asked, Status.PROVISIONAL, Status.OUTSIDE).astype(np.uint8)
                kind = np.where(asked, ChangeKind.BARE, ChangeKind.OUTSIDE).astype(np.uint8)
                write_tile(fork, groups[zone], tile, 0, {"status": status, "change_kind": kind})
            batch.commit([fork], {cube.path: [], groups[zone]: []})
    table = geopandas.GeoDataFrame(
        {"event_id": ["e"], "tiles": [[tile.id for tile in tiles]]},
        geometry=[aoi.geometry],
        crs="EPSG:4326",
    )
    paths = tuple(f"sentinel-2/{zone.id}/r60/P1M" for zone in groups)
    plan = ScreenPlan(
        resolution_m=60,
        target=(MONTH.period(80),),
        baseline=(MONTH.period(68),),
        groups={"sentinel-2": paths},
        bands={"sentinel-2": ("red", "nir")},
        batches=(tuple(tiles),),
        aoi=aoi,
        threshold=0.5,
        run_id="x",
    )
    (figure,) = draw_panels(plan, store, table, ["e"])
    shown = np.asarray(Image.open(io.BytesIO(figure.change.png)).convert("RGBA"))
    coloured = (shown[..., :3] == KIND_COLOURS[ChangeKind.BARE]).all(axis=-1)
    assert coloured.sum() * 60**2 / 1e6 == pytest.approx(aoi.area_km2, rel=0.03)
