"""Pictures and overviews: honest about what is missing, small changes kept in sight."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from terrascope.products.figures import draw_event, draw_overview, event_window, scale_bar
from terrascope.products.overview import Overview, OverviewMaps
from terrascope.products.palette import KIND_COLOURS, STATUS_COLOURS, probability_colours
from terrascope.products.pictures import (
    common_stretch,
    encode,
    outline_path,
    radar_composite,
    render_change,
    render_colour,
    render_observations,
    render_probability,
)
from terrascope.types import ChangeKind, Status

HATCH = {(206, 210, 214, 255), (160, 166, 173, 255)}


def colours(rgba: np.ndarray, where: np.ndarray) -> set[tuple[int, ...]]:
    return {tuple(int(v) for v in pixel) for pixel in rgba[where].reshape(-1, 4)}


def test_missing_is_hatched_and_dark_is_data() -> None:
    rng = np.random.default_rng(1)
    image = rng.uniform(0.0, 0.3, (3, 20, 31)).astype(np.float32)
    image[:, :5, :5] = 0.0  # dark water
    image[1, 10:, 20:] = np.nan
    rgba = render_colour(image, common_stretch([image]))
    missing = np.isnan(image).any(axis=0)
    assert colours(rgba, missing) == HATCH
    assert colours(rgba, ~missing).isdisjoint(HATCH)
    assert (rgba[:5, :5, :3] < 40).all()
    assert (rgba[..., 3] == 255).all()


def test_stretch_is_common_and_robust() -> None:
    rng = np.random.default_rng(2)
    before = rng.uniform(0.02, 0.10, (3, 40, 50)).astype(np.float32)
    after = before + np.float32(0.10)
    after[:, 0, 0] = 30.0  # a glint
    stretch = common_stretch([before, after])
    shown = (
        render_colour(after, stretch)[1:, :, :3].mean()
        - render_colour(before, stretch)[1:, :, :3].mean()
    )
    assert shown > 60  # a brighter date looks brighter
    assert max(stretch.high) < 0.3
    spans = np.subtract(stretch.high, stretch.low)
    np.testing.assert_allclose(spans, spans[0])
    radar = radar_composite(before[0] * 100 - 15, before[1] * 300 - 30)
    own = common_stretch([radar], balanced=False)
    assert own.high[1] - own.low[1] > 2 * (own.high[0] - own.low[0])
    nothing = np.full((1, 4, 6), np.nan, np.float32)
    assert (
        colours(render_colour(nothing, common_stretch([nothing])), np.ones((4, 6), bool)) <= HATCH
    )
    with pytest.raises(ValueError, match="bands"):
        common_stretch([before, before[:1]])
    with pytest.raises(ValueError, match="2 bands"):
        render_colour(before[:2], stretch)


def test_change_map_tells_three_values_and_outside_apart() -> None:
    status = np.full((24, 40), Status.NO_CHANGE, np.uint8)
    kind = np.zeros_like(status)
    status[:6] = Status.NOT_OBSERVED
    status[6:9] = Status.OUTSIDE
    kind[6:9] = ChangeKind.OUTSIDE
    for column, code in enumerate(list(KIND_COLOURS)[1:]):
        status[12:15, column], kind[12:15, column] = Status.CONFIRMED, code
    rgba = render_change(status, kind)
    assert colours(rgba, status == Status.NOT_OBSERVED) == HATCH
    assert colours(rgba, status == Status.OUTSIDE) == {(0, 0, 0, 0)}
    for code, rgb in KIND_COLOURS.items():
        where = (kind == code) & (status == Status.CONFIRMED)
        if where.any():
            assert colours(rgba, where) == {(*rgb, 255)}
    probability = np.linspace(0, 1, status.size, dtype=np.float32).reshape(status.shape)
    probability[status == Status.NOT_OBSERVED] = np.nan
    assert colours(render_probability(probability, status), status == 0) == HATCH
    seen = render_observations((status > 0).astype(np.uint16), status)
    assert colours(seen, status == Status.NOT_OBSERVED) == HATCH


def luminance(rgb: np.ndarray) -> np.ndarray:
    linear = (np.asarray(rgb) / 255) ** 2.2
    return linear @ (0.2126, 0.7152, 0.0722)


def test_palettes_are_ordered_and_distinct() -> None:
    ramp = luminance(probability_colours(np.linspace(0, 1, 101)))
    assert (np.diff(ramp) > 0).all()
    assert len(set(KIND_COLOURS.values())) == len(KIND_COLOURS)
    assert len(set(STATUS_COLOURS.values())) == len(STATUS_COLOURS)


@pytest.mark.parametrize("many", [False, True], ids=["palette", "full-colour"])
def test_png_round_trip(many: bool) -> None:
    rng = np.random.default_rng(3)
    rgba = rng.integers(0, 255 if many else 3, (17, 29, 4)).astype(np.uint8) * (1 if many else 80)
    picture = encode(rgba, "noise")
    assert picture.png == encode(rgba.copy(), "noise").png
    back = np.asarray(Image.open(io.BytesIO(picture.png)).convert("RGBA"))
    np.testing.assert_array_equal(back, rgba)


def test_outline_follows_the_pixels() -> None:
    mask = np.zeros((5, 7), bool)
    mask[1:3, 2:5] = True
    mask[2, 3] = False
    drawn = np.zeros((6, 8), int)
    path = outline_path(mask)
    steps = [p for p in path.replace("M", "\n").split("\n") if p]
    length = 0
    for step in steps:
        kind = "h" if "h" in step else "v"
        start, _, run = step.partition(kind)
        x, y = map(int, start.split())
        length += int(run)
        drawn[y, x] += 1
    expected = sum(
        bool(mask[y, x]) != bool(0 <= v < 5 and 0 <= u < 7 and mask[v, u])
        for y in range(5)
        for x in range(7)
        if mask[y, x]
        for v, u in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1))
    )
    assert length == expected
    assert outline_path(np.zeros((3, 3), bool)) == ""


@settings(max_examples=30, deadline=None)
@given(
    shape=st.tuples(st.integers(3, 60), st.integers(3, 60)),
    block=st.integers(1, 23),
    max_px=st.integers(3, 40),
    seed=st.integers(0, 99),
)
def test_overview_does_not_depend_on_blocks_and_keeps_changes(shape, block, max_px, seed) -> None:
    rng = np.random.default_rng(seed)
    status = rng.choice(np.array([0, 1, 1, 1, 2, 3, 255], np.uint8), shape)
    kind = np.where(status == 255, 255, np.where(status >= 2, rng.integers(1, 8, shape), 0))
    kind = kind.astype(np.uint8)
    probability = rng.random(shape).astype(np.float32)
    probability[(status == 0) | (status == 255)] = np.nan
    count = rng.integers(1, 9, shape)

    def gather(step: int):
        overview = Overview(shape, max_px=max_px)
        for row in range(0, shape[0], step):
            for column in range(0, shape[1], step):
                cut = np.s_[row : row + step, column : column + step]
                overview.add(
                    row, column, status[cut], kind[cut],
                    probability=probability[cut], observations=count[cut],
                )  # fmt: skip
        return overview.maps()

    whole, parts = gather(1000), gather(block)
    for name in ("status", "kind", "probability", "observations"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(parts, name))
    f = whole.factor
    assert max(whole.status.shape) <= max_px
    for y, x in np.ndindex(whole.status.shape):  # a slow loop is the truth
        cell = status[y * f : (y + 1) * f, x * f : (x + 1) * f]
        kinds = kind[y * f : (y + 1) * f, x * f : (x + 1) * f]
        inside, seen = (cell != 255).sum(), ((cell != 255) & (cell != 0)).sum()
        changed = (cell >= 2) & (cell != 255)
        if inside == 0:
            assert whole.status[y, x] == whole.kind[y, x] == 255
        elif changed.any():
            assert whole.status[y, x] == cell[changed].max()
            assert whole.kind[y, x] == np.bincount(kinds[changed], minlength=8)[1:].argmax() + 1
        else:
            assert whole.status[y, x] == (2 * seen >= inside and seen > 0)


@given(gsd=st.floats(0.5, 5000), width=st.integers(30, 2000))
def test_scale_bar_is_round_and_fits(gsd: float, width: int) -> None:
    bar = scale_bar(gsd, width)
    number, unit = bar.label.replace(",", "").split()
    metres = float(number) * (1000 if unit == "km" else 1)
    assert bar.length_px * gsd == pytest.approx(metres)
    assert f"{metres:.0f}".rstrip("0") in ("1", "2", "5")
    if gsd * width >= 3:
        assert width * 0.13 < bar.length_px <= width / 3 * 1.001


@given(
    top=st.integers(0, 90),
    left=st.integers(0, 190),
    high=st.integers(1, 100),
    wide=st.integers(1, 100),
)
def test_event_window_holds_the_event(top: int, left: int, high: int, wide: int) -> None:
    bottom, right = min(top + high, 100), min(left + wide, 200)
    rows, columns = event_window((top, left, bottom, right), (100, 200))
    assert 0 <= rows.start <= top
    assert bottom <= rows.stop <= 100
    assert 0 <= columns.start <= left
    assert right <= columns.stop <= 200


def test_large_event_is_reduced_with_its_missing_pixels() -> None:
    rng = np.random.default_rng(5)
    before = rng.uniform(0.02, 0.2, (3, 500, 630)).astype(np.float32)
    after = before.copy()
    after[:, 100:150, :200] = np.nan
    status = np.full((500, 630), Status.NO_CHANGE, np.uint8)
    kind = np.zeros_like(status)
    mask = np.zeros(status.shape, bool)
    mask[200:400, 300:500] = True
    status[mask], kind[mask] = Status.PROVISIONAL, ChangeKind.VEGETATION_LOSS
    status[100:150, :200] = Status.NOT_OBSERVED
    figure = draw_event(
        "e", before=before, after=after, status=status, kind=kind, mask=mask, gsd_m=10.0,
        labels=("2019", "2020"), max_px=320,
    )  # fmt: skip
    assert (figure.after.width, figure.after.height) == (315, 250)
    pixels = np.asarray(Image.open(io.BytesIO(figure.after.png)).convert("RGBA"))
    assert colours(pixels, np.s_[50:75, :100]) == HATCH
    assert colours(pixels, np.s_[:50, :]).isdisjoint(HATCH)
    change = np.asarray(Image.open(io.BytesIO(figure.change.png)).convert("RGBA"))
    loss = (*KIND_COLOURS[ChangeKind.VEGETATION_LOSS], 255)
    assert colours(change, np.s_[100:200, 150:250]) == {loss}
    assert set(figure.outline) <= set("Mhv 0123456789")
    assert figure.outline == "M150 100h100M150 200h100M150 100v100M250 100v100"
    number, unit = figure.bar.label.split()
    assert figure.bar.length_px * 20 == float(number) * (1000 if unit == "km" else 1)


def test_overview_says_only_what_it_shows() -> None:
    overview = Overview((40, 60))
    blind = np.zeros((40, 60), np.uint8)
    overview.add(0, 0, blind, blind, observations=blind)
    (only,) = draw_overview(overview.maps(), gsd_m=(10.0, 20.0))
    assert "no change" not in only.picture.alt
    assert only.aspect == 0.5


def test_the_map_of_counts_says_what_it_counts() -> None:
    counts = np.array([[0, 3, 7]], np.uint16)
    status = np.array([[Status.NOT_OBSERVED, Status.NO_CHANGE, Status.NO_CHANGE]], np.uint8)
    kind, unknown = np.zeros((1, 3), np.uint8), np.full((1, 3), np.nan, np.float32)
    maps = OverviewMaps(status, kind, unknown, counts, 1)
    *_, drawn = draw_overview(maps, gsd_m=(10.0, 10.0))
    assert drawn.title == "Periods with a clear view"
    assert "Target periods" in drawn.caption
    assert "from 3 (light) to 7 (dark)" in drawn.caption
