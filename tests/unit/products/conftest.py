"""A plausible run, made of arrays: a forest landscape with clear-cuts, a reservoir and clouds."""

from __future__ import annotations

import dataclasses
import datetime as dt

import numpy as np
import pytest
from scipy import ndimage

from terrascope.products import figures, summary
from terrascope.products.overview import Overview
from terrascope.types import ChangeKind, Quarantine, Status


@dataclasses.dataclass(frozen=True)
class Landscape:
    """Arrays of one ground at 10 m: two dates of red, green, blue and the map layers."""

    before: np.ndarray
    after: np.ndarray
    status: np.ndarray
    kind: np.ndarray
    probability: np.ndarray
    observations: np.ndarray
    events: list[tuple[ChangeKind, np.ndarray]]


def build_landscape(shape: tuple[int, int] = (900, 1300), seed: int = 7) -> Landscape:
    rng = np.random.default_rng(seed)

    def smooth(sigma: float) -> np.ndarray:
        field = ndimage.gaussian_filter(rng.standard_normal(shape), sigma)
        return (field - field.mean()) / field.std()

    forest = smooth(45) + 0.35 * smooth(8) > -0.35
    y, x = np.indices(shape)
    river = np.abs(y - 430 - 90 * np.sin(x / 210) - 30 * np.sin(x / 67)) < 7
    parcels = rng.random((shape[0] // 24 + 1, shape[1] // 34 + 1))
    field = parcels[y // 24, x // 34]
    red = np.where(forest, 0.022, 0.05 + 0.09 * field)
    green = np.where(forest, 0.038, 0.07 + 0.05 * field)
    blue = np.where(forest, 0.024, 0.04 + 0.045 * field)
    for band, value in ((red, 0.03), (green, 0.045), (blue, 0.05)):
        band[river] = value
    before = np.stack([red, green, blue])
    texture = 1 + 0.10 * smooth(1.2) + 0.05 * smooth(12)
    before = (before * texture + 0.002 * rng.standard_normal((3, *shape))).clip(0.003)
    after = before * 1.04 + 0.002 * rng.standard_normal((3, *shape))
    looks = {
        ChangeKind.VEGETATION_LOSS: (0.13, 0.10, 0.075),
        ChangeKind.WATER_GAIN: (0.025, 0.04, 0.05),
        ChangeKind.BUILT_UP_GAIN: (0.19, 0.18, 0.175),
        ChangeKind.BARE: (0.17, 0.13, 0.09),
    }
    plan = [
        (ChangeKind.VEGETATION_LOSS, 190, 340, 52, 31),
        (ChangeKind.WATER_GAIN, 640, 930, 41, 55),
        (ChangeKind.VEGETATION_LOSS, 330, 1050, 26, 38),
        (ChangeKind.BUILT_UP_GAIN, 760, 330, 24, 25),
        (ChangeKind.VEGETATION_LOSS, 560, 180, 19, 22),
        (ChangeKind.BARE, 120, 820, 18, 15),
        (ChangeKind.VEGETATION_LOSS, 270, 620, 8, 9),
    ]
    status = np.full(shape, Status.NO_CHANGE, np.uint8)
    kind = np.zeros(shape, np.uint8)
    edge = 0.22 * smooth(5)
    events = []
    for code, row, column, high, wide in plan:
        mask = ((y - row) / high) ** 2 + ((x - column) / wide) ** 2 + edge < 1
        mask &= ndimage.label(mask)[0] == (ndimage.label(mask)[0][row, column])
        for band, value in enumerate(looks[code]):
            after[band][mask] = value * (1 + 0.08 * rng.standard_normal(mask.sum()))
        status[mask], kind[mask] = Status.PROVISIONAL, code
        events.append((code, mask))
    cloud = smooth(38) > 1.35
    events = [(code, mask & ~cloud) for code, mask in events]
    status[cloud], kind[cloud] = Status.NOT_OBSERVED, ChangeKind.NONE
    after[:, cloud] = np.nan
    outside = (y - 430) ** 2 / 1.25 + (x - 640) ** 2 / 2.6 > 410**2
    status[outside], kind[outside] = Status.OUTSIDE, ChangeKind.OUTSIDE
    changed = status == Status.PROVISIONAL
    probability = np.where(changed, 0.82, 0.12) + 0.09 * smooth(3)
    probability[(status == Status.NOT_OBSERVED) | outside] = np.nan
    observations = (2 + (smooth(60) > 0) + (x > 700)).astype(np.uint16)
    return Landscape(
        before.astype(np.float32),
        after.astype(np.float32),
        status,
        kind,
        probability.clip(0.01, 0.99).astype(np.float32),
        observations,
        events,
    )


def build_summary(land: Landscape | None = None) -> summary.RunSummary:
    rows = []
    for number, (code, mask) in enumerate(land.events if land else ()):
        seen = mask & (land.kind == code)
        row, column = ndimage.center_of_mass(mask)
        rows.append(
            summary.EventRow(
                id=f"event-{number}",
                kind=code,
                status=Status.PROVISIONAL,
                area_m2=float(seen.sum()) * 100,
                detected_on=dt.date(2020, 9, 3 + 2 * number) if number != 3 else None,
                probability=0.91 - 0.04 * number,
                lon=15.1 + column * 1.4e-4,
                lat=49.6 - row * 9e-5,
                tiles=("33N-0031-0357", "33N-0032-0357")[: 1 + number % 2],
            )
        )
    inside = int((land.status != Status.OUTSIDE).sum()) * 100.0 if land else 5e7
    observed = (
        int(((land.status > 0) & (land.status != Status.OUTSIDE)).sum()) * 100.0 if land else 0.0
    )
    share = observed / inside
    totals = (
        [
            summary.Total(
                Status.PROVISIONAL, code, float((land.kind == code).sum()) * 100 + 700, share
            )
            for code in sorted({code for code, _ in land.events})
        ]
        if land
        else []
    )
    months = ["2019-08", "2019-09", "2020-08", "2020-09"]
    scenes = [
        summary.SceneCount(
            "sentinel-2",
            month,
            "target" if month > "2020" else "baseline",
            tuple(f"S2B_33UVQ_{month.replace('-', '')}{2 + 5 * i:02d}_0_L2A" for i in range(3 + n)),
            18.0 + 9 * n,
        )
        for n, month in enumerate(months)
    ] + [
        summary.SceneCount(
            "sentinel-1",
            month,
            "target" if month > "2020" else "baseline",
            tuple(f"S1A_IW_{month.replace('-', '')}{4 + 12 * i:02d}_044_rtc" for i in range(2)),
        )
        for month in months
    ]
    return summary.RunSummary(
        monitor="highlands-forest",
        version="0.1.0",
        commit="e9392f8",
        settings={
            "area": {"aoi": "aoi.geojson", "resolution_m": 10},
            "catalog": {"profile": "local", "url": "https://u:pw@stac.example.org/v1?sig=QUJD"},
            "screen": {"threshold": 0.5},
        },
        area=summary.Area(
            "Highlands",
            inside,
            (15.1, 49.5, 15.3, 49.6),
            ("33N-0031-0357", "33N-0032-0357"),
            ("33N",),
            10,
        ),
        catalog=summary.CatalogUse("local", "https://u:pw@stac.example.org/v1?sig=QUJD"),
        target=summary.DateRange(dt.date(2020, 8, 1), dt.date(2020, 9, 30)),
        baseline=summary.DateRange(dt.date(2019, 8, 1), dt.date(2019, 9, 30)),
        cadence="P1M",
        sensors=(
            summary.SensorUse("sentinel-2", "sentinel-2-l2a", used=True),
            summary.SensorUse("sentinel-1", "sentinel-1-rtc", used=True),
        ),
        scenes=tuple(scenes),
        completeness=summary.Completeness(118, 120),
        observed_m2=observed,
        totals=tuple(totals),
        events=summary.EventTotals(len(rows), sum(row.area_m2 for row in rows), 0.5, tuple(rows)),
        quality=summary.DataQuality(
            quarantined=(
                Quarantine(
                    "S2A_33UVQ_20200817_0_L2A",
                    "nir",
                    "not a TIFF: https://u:pw@host/a/B08.tif?sig=QUJD answered 404",
                    "https://host/a/B08.tif?sig=QUJD",
                ),
            ),
            radiometry=("Offset -0.1 taken from the product metadata for 9 of 18 scenes.",),
            catalog=("2 scenes were published twice; the newest processing was kept.",),
            masks={"scl": 0.94, "spectral": 0.06},
        ),
        regions=(
            summary.RegionTotal("North bank", inside * 0.6, 0.93, observed * 0.01, 4),
            summary.RegionTotal("South bank", inside * 0.4, 0.0, 0.0, 0),
        )
        if land
        else (),
    )


def build_figures(land: Landscape, run: summary.RunSummary) -> figures.ReportFigures:
    overview = Overview(land.status.shape, max_px=650)
    for row in range(0, land.status.shape[0], 256):
        for column in range(0, land.status.shape[1], 256):
            part = np.s_[row : row + 256, column : column + 256]
            overview.add(
                row,
                column,
                land.status[part],
                land.kind[part],
                probability=land.probability[part],
                observations=land.observations[part],
            )
    maps = overview.maps()
    numbers = {row.id: str(n) for n, row in enumerate(run.events.largest, start=1)}
    markers, closeups = [], []
    for index, (_, mask) in enumerate(land.events):
        rows, columns = np.nonzero(mask)
        bounds = (rows.min(), columns.min(), rows.max() + 1, columns.max() + 1)
        window = figures.event_window(bounds, mask.shape)
        markers.append(
            figures.Marker(
                columns.mean() / maps.factor, rows.mean() / maps.factor, numbers[f"event-{index}"]
            )
        )
        closeups.append(
            figures.draw_event(
                f"event-{index}",
                before=land.before[(slice(None), *window)],
                after=land.after[(slice(None), *window)],
                status=land.status[window],
                kind=land.kind[window],
                mask=mask[window],
                gsd_m=10,
                labels=("Aug to Sep 2019", "Aug to Sep 2020"),
                place=f"Event {index}",
            )
        )
    drawn = figures.draw_overview(maps, gsd_m=(10, 10), markers=markers)
    return figures.ReportFigures(drawn, tuple(closeups))


@pytest.fixture(scope="session")
def landscape() -> Landscape:
    return build_landscape()


@pytest.fixture(scope="session")
def run_summary(landscape: Landscape) -> summary.RunSummary:
    return build_summary(landscape)


@pytest.fixture(scope="session")
def report_figures(landscape, run_summary) -> figures.ReportFigures:
    return build_figures(landscape, run_summary)
