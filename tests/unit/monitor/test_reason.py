"""The model inside the monitor: which windows it sees, what comes back, and how it fails."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from terrascope.cube.executor import Executor, ThreadExecutor
from terrascope.errors import StoreError
from terrascope.geo.aoi import Aoi
from terrascope.geo.projection import unproject_from_zone
from terrascope.geo.tiles import Tile
from terrascope.kernels.pooling import EVEN
from terrascope.model.stacks import Window
from terrascope.monitor.reason.dispatch import audit_of, reason_batch
from terrascope.monitor.reason.fold import ANY, CHANNELS
from terrascope.monitor.reason.inference import ahead
from terrascope.monitor.reason.plan import (
    Chosen,
    ReasonSettings,
    choose_windows,
    model_plan,
    pending_reason,
    reason_keys,
)
from terrascope.monitor.screen.batch import screen_batch
from terrascope.monitor.screen.plan import ScreenPlan, screen_keys
from terrascope.store import Store
from terrascope.store.layout import tile_slices
from terrascope.types import FloatArray

from .conftest import BASELINE, TARGET, ZONE, SmallCube

SIDE, STRIDE = 32, 24
THREADS = ThreadExecutor(1)
SETTINGS = ReasonSettings(
    folder="", weights="stub", name="stub", window_px=SIDE, stride_px=STRIDE, audit=20
)


@dataclasses.dataclass(frozen=True)
class Screened:
    """A screened area, its keys, and a way to reason about it."""

    plan: ScreenPlan
    store: Store
    keys: dict[Tile, str]

    def reason(
        self, settings: ReasonSettings, loader: Any, executor: Executor = THREADS
    ) -> dict[Tile, str]:
        chosen = choose_windows(self.plan, settings, self.store, executor)
        keys = reason_keys(self.plan, settings, self.keys, chosen)
        fused = model_plan(self.plan)
        for tiles in pending_reason(fused, self.store, keys).values():
            reason_batch(
                self.plan,
                settings,
                tiles,
                self.store,
                executor,
                keys=keys,
                chosen=chosen,
                loader=loader,
            )
        return keys

    def layer(self, name: str, tile: Tile, *, fused: bool = True) -> np.ndarray:
        plan = model_plan(self.plan) if fused else self.plan
        return self.store.read_tile(plan.result_group(ZONE), name, tile)

    def records(self) -> dict[str, Any]:
        group = model_plan(self.plan).result_group(ZONE)
        return {tile: record for (tile, _), record in self.store.records(group).items()}


@pytest.fixture(scope="module")
def base(small_cube: SmallCube) -> Screened:
    """Screen the cube once."""
    return screened(small_cube)


def area_of(cube: SmallCube) -> Aoi:
    """Return the tiles' ground without a margin."""
    outline = shapely.union_all([shapely.box(*t.bounds) for t in cube.tiles]).buffer(-2000)
    return Aoi.from_geometry(unproject_from_zone(outline, ZONE))


def screened(cube: SmallCube) -> Screened:
    plan = ScreenPlan(
        resolution_m=120,
        target=TARGET,
        baseline=BASELINE,
        groups={"sentinel-2": (cube.group,)},
        bands={"sentinel-2": cube.bands},
        batches=(cube.tiles[:6], cube.tiles[6:]),
        aoi=area_of(cube),
        threshold=0.5,
        run_id="reasoned",
    )
    keys = screen_keys(plan, cube.store)
    for index in range(len(plan.batches)):
        screen_batch(plan, index, cube.store, THREADS, keys=keys, memory=2**30)
    return Screened(plan, cube.store, keys)


def darkening(windows: Sequence[Window]) -> FloatArray:
    """Answer from the pixels: change where the near infrared fell, per pixel and nothing else."""
    found = np.full((len(windows), CHANNELS, SIDE, SIDE), -4.0, np.float32)
    for one, window in zip(found, windows, strict=True):
        assert window.optical is not None
        values = window.optical.observed_values()
        nir = list(window.optical.bands).index("nir")
        fall = np.nan_to_num(values[0, nir] - values[1, nir])
        one[ANY] = one[ANY + 1] = 60 * fall - 3
        one[5] = one[8 + 2] = 3.0  # trees, then bare land
    return found


def load_darkening(settings: ReasonSettings) -> Callable[[Sequence[Window]], FloatArray]:
    return darkening


def test_masks_of_single_pixels_come_back_on_their_pixels(
    base: Screened, small_cube: SmallCube
) -> None:
    """Blending, halo and borders of tiles: an answer per pixel must survive them unchanged."""
    settings = dataclasses.replace(SETTINGS, budget="all")
    base.reason(settings, load_darkening)
    for tile in small_cube.tiles:
        stored = small_cube.store.read_tile(small_cube.group, "reflectance", tile, slice(0, 100))
        nir = small_cube.bands.index("nir")
        pixels = np.ma.masked_equal(stored[:, nir], -32768) * 1e-4
        before = pixels[[p.index for p in BASELINE]].mean(0).filled(np.nan)
        after = pixels[[p.index for p in TARGET]].mean(0).filled(np.nan)
        wanted = 1 / (1 + np.exp(-(60 * (before - after) - 3)))
        found = base.layer("model_probability", tile)
        seen = np.isfinite(base.layer("screen_probability", tile)) & np.isfinite(wanted)
        assert np.isfinite(found[seen]).all()
        np.testing.assert_allclose(found[seen], wanted[seen], atol=2e-5)
    changed = base.layer("change_kind", small_cube.changed)
    assert (changed[62:88, 52:98] == 1).mean() > 0.95
    assert (base.layer("class_from", small_cube.changed)[62:88, 52:98] == 6).all()
    assert (base.layer("class_to", small_cube.changed)[62:88, 52:98] == 3).all()
    outside = base.layer("status", small_cube.tiles[0]) == 255
    assert outside.any()
    for name in ("class_from", "class_to", "change_kind"):
        assert (base.layer(name, small_cube.tiles[0])[outside] == 255).all()


def test_the_fused_probability_is_the_pool_of_both(base: Screened, small_cube: SmallCube) -> None:
    base.reason(dataclasses.replace(SETTINGS, budget="all"), load_darkening)
    screen, model, fused = (
        base.layer(name, small_cube.changed).astype(np.float64)
        for name in ("screen_probability", "model_probability", "change_probability")
    )
    both = np.isfinite(model)

    def odds(p: np.ndarray) -> np.ndarray:
        return np.clip(np.log(p / (1 - p)), -10, 10)

    with np.errstate(divide="ignore"):
        mean = (odds(screen[both]) + odds(model[both])) / 2
    np.testing.assert_allclose(fused[both], 1 / (1 + np.exp(-mean)), atol=1e-5)
    status = base.layer("status", small_cube.changed)
    assert ((status == 2) == (np.nan_to_num(fused) >= 0.5)).all()
    assert EVEN.screen == EVEN.model == 0.5


def test_only_windows_that_the_screen_asks_for_are_looked_at(
    base: Screened, small_cube: SmallCube
) -> None:
    looked: list[int] = []

    def loader(settings: ReasonSettings) -> Callable[[Sequence[Window]], FloatArray]:
        def count(windows: Sequence[Window]) -> FloatArray:
            looked.append(len(windows))
            return darkening(windows)

        return count

    base.reason(SETTINGS, loader)
    chosen = choose_windows(base.plan, SETTINGS, base.store, THREADS)
    windows = sum(int(c.own.sum()) for c in chosen.values())
    asked = sum(int((c.own & c.ask).sum()) for c in chosen.values())
    assert 0 < asked < windows / 4
    assert max(looked) == SETTINGS.micro_batch
    assert sum(looked) == sum(int(r.facts["looked"]) for r in base.records().values())
    changed = base.layer("model_probability", small_cube.changed)
    assert np.isfinite(changed[60:90, 50:100]).all()
    far = base.layer("model_probability", small_cube.tiles[-1])
    same = base.layer("screen_probability", small_cube.tiles[-1], fused=False)
    assert np.isnan(far).all()
    np.testing.assert_array_equal(base.layer("change_probability", small_cube.tiles[-1]), same)
    audit = audit_of(list(base.records().values()))
    assert (audit.windows, audit.asked, audit.audited) == (windows, asked, SETTINGS.audit)
    assert audit.recall.low <= audit.recall.recall <= audit.recall.high


def test_every_window_belongs_to_one_tile(base: Screened) -> None:
    """Counted by hand: all windows of the lattice with a pixel that the screen saw."""
    chosen = choose_windows(base.plan, SETTINGS, base.store, THREADS)
    owned = [
        (c.first[0] + i, c.first[1] + j)
        for c in chosen.values()
        for i, j in np.argwhere(c.own).tolist()
    ]
    by_hand = set()
    for tile in base.plan.tiles:
        rows, columns = tile_slices(tile, 120)
        for y, x in np.argwhere(np.isfinite(base.layer("screen_probability", tile, fused=False))):
            row, column = rows.start + int(y), columns.start + int(x)
            by_hand |= {
                (i, j)
                for i in range((row - SIDE) // STRIDE + 1, row // STRIDE + 1)
                for j in range((column - SIDE) // STRIDE + 1, column // STRIDE + 1)
                if i * STRIDE <= row < i * STRIDE + SIDE
                and j * STRIDE <= column < j * STRIDE + SIDE
            }
    assert len(owned) == len(set(owned))
    assert set(owned) == by_hand


@pytest.mark.parametrize("share", [0.01, 0.1, 1.0])
def test_a_share_takes_the_highest_scores(base: Screened, share: float) -> None:
    settings = dataclasses.replace(SETTINGS, budget=share, audit=0)
    chosen = choose_windows(base.plan, settings, base.store, THREADS)
    scores = np.concatenate([c.score[c.own] for c in chosen.values()])
    taken = np.concatenate([c.ask[c.own] for c in chosen.values()])
    assert taken.sum() == int(np.ceil(share * len(scores)))
    assert taken.all() or scores[taken].min() >= scores[~taken].max()
    same: dict[tuple[int, int], bool] = {}
    for c in chosen.values():
        for i, j in np.argwhere(np.isfinite(c.score)).tolist():
            place = c.first[0] + i, c.first[1] + j
            assert same.setdefault(place, bool(c.ask[i, j])) == bool(c.ask[i, j])


def test_done_tiles_are_not_done_again_and_failed_ones_are(
    base: Screened, small_cube: SmallCube
) -> None:
    settings = dataclasses.replace(SETTINGS, audit=0, weights="resumed")
    calls: list[int] = []

    def broken(_: ReasonSettings) -> Callable[[Sequence[Window]], FloatArray]:
        def fail(windows: Sequence[Window]) -> FloatArray:
            calls.append(len(windows))
            raise ValueError("no such thing")

        return fail

    base.reason(settings, broken)
    records = base.records()
    failed = {tile for tile, record in records.items() if not record.done}
    chosen = choose_windows(base.plan, settings, base.store, THREADS)
    assert failed == {tile.id for tile, c in chosen.items() if c.ask.any()}
    assert small_cube.changed.id in failed
    assert "no such thing" in records[small_cube.changed.id].quarantines[0].cause
    assert set(records) == {tile.id for tile in base.plan.tiles}
    np.testing.assert_array_equal(
        base.layer("status", small_cube.changed),
        base.layer("status", small_cube.changed, fused=False),
    )
    keys = base.reason(settings, load_darkening)
    assert all(record.done for record in base.records().values())
    assert pending_reason(model_plan(base.plan), base.store, keys) == {}
    again = reason_keys(
        base.plan, dataclasses.replace(settings, weights="other"), base.keys, chosen
    )
    assert not set(again.values()) & set(keys.values())


@pytest.mark.parametrize(
    ("at_least", "sizes"), [(1, [3] * 4), (4, [6, 6]), (7, [9, 3]), (99, [12])]
)
def test_batches_are_joined_in_order(
    base: Screened, small_cube: SmallCube, at_least: int, sizes: list[int]
) -> None:
    tiles = small_cube.tiles[:12]
    batches = tuple(tiles[n : n + 3] for n in range(0, 12, 3))
    plan = dataclasses.replace(model_plan(base.plan), batches=batches)
    keys = {tile: f"never-{tile}" for tile in tiles}
    left = pending_reason(plan, base.store, keys, at_least=at_least)
    assert [len(some) for some in left.values()] == sizes
    assert tuple(tile for some in left.values() for tile in some) == tiles
    assert max(left) == len(batches) - 1
    for index, some in left.items():
        assert some[-1] in batches[index]


def test_out_of_memory_goes_on_with_smaller_batches(base: Screened, small_cube: SmallCube) -> None:
    sizes: list[int] = []

    def loader(_: ReasonSettings) -> Callable[[Sequence[Window]], FloatArray]:
        def hungry(windows: Sequence[Window]) -> FloatArray:
            sizes.append(len(windows))
            if len(windows) > 1:
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            return darkening(windows)

        return hungry

    base.reason(dataclasses.replace(SETTINGS, audit=0, weights="plenty"), load_darkening)
    wanted = base.layer("model_probability", small_cube.changed)
    base.reason(dataclasses.replace(SETTINGS, audit=0, weights="hungry"), loader)
    assert sizes[:3] == [4, 2, 1]
    np.testing.assert_array_equal(base.layer("model_probability", small_cube.changed), wanted)
    assert base.records()[small_cube.changed.id].facts["micro_batch"] == 1


def test_what_may_pass_is_tried_again(
    base: Screened, small_cube: SmallCube, monkeypatch: pytest.MonkeyPatch
) -> None:
    from terrascope.monitor.reason import tile as module

    real, failures = module.read_strip, [True, True]

    def flaky(*arguments: Any) -> Any:
        if failures:
            failures.pop()
            raise StoreError("a time-out", transient=True)
        return real(*arguments)

    monkeypatch.setattr(module, "read_strip", flaky)
    monkeypatch.setattr(module.time, "sleep", lambda _: None)
    base.reason(dataclasses.replace(SETTINGS, audit=0, weights="flaky"), load_darkening)
    assert not failures
    assert all(record.done for record in base.records().values())


def test_reading_ahead_keeps_order_errors_and_distance() -> None:
    drawn: list[int] = []

    def source() -> Iterator[int]:
        for number in range(20):
            drawn.append(number)
            yield number
        raise StoreError("the end")

    found, items = [], ahead(source(), depth=2)
    for number in itertools.islice(items, 20):
        assert len(drawn) <= number + 5
        found.append(number)
    assert found == list(range(20))
    with pytest.raises(StoreError, match="the end"):
        next(items)


def test_a_chosen_window_is_part_of_the_key() -> None:
    shape = (1, 2)
    one = Chosen(
        (0, 0),
        np.zeros(shape, np.float32),
        np.ones(shape, bool),
        np.array([[True, False]]),
        np.full(shape, -1, np.int8),
    )
    other = dataclasses.replace(one, ask=np.array([[False, True]]))
    assert one.facts() != other.facts()


def test_folder_of_nothing_is_refused(tmp_path: Path) -> None:
    from terrascope.errors import ModelError
    from terrascope.registry import find_model

    with pytest.raises(ModelError, match="no model lies in"):
        find_model("nothing", tmp_path)
    with pytest.raises(ModelError, match="NAME@promoted"):
        find_model("nano@latest", tmp_path)
