"""Tables: what is written comes back, a stopped build goes on, streams are the same anywhere."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from terrascope.data.build import BuildSettings, Built, build_tables
from terrascope.data.facts import Facts
from terrascope.data.rle import decode_mask
from terrascope.data.stream import Renderings, StreamSettings, batch_at, stream
from terrascope.data.tables import image_at, read_tables, scene_of, shard_files
from terrascope.errors import ConfigError
from terrascope.sim.samples import SceneSample, sample_scene

from .ground import TOKENIZER

SETTINGS = BuildSettings(images=7, seed=3, samples=5, size=48, bands=True, per_shard=3)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Built]:
    folder = tmp_path_factory.mktemp("tables")
    done: list[tuple[int, int]] = []
    built = build_tables(folder, SETTINGS, progress=lambda *counts: done.append(counts))
    assert done == [(0, 7), (3, 7), (6, 7), (7, 7)]
    return folder, built


def content(folder: Path) -> list[object]:
    return [pq.read_table(file).to_pylist() for file in sorted(folder.glob("*.parquet"))]


def test_samples_come_back_and_fit_their_pixels(tables: tuple[Path, Built]) -> None:
    folder, built = tables
    rows = list(read_tables(folder))
    assert len(rows) == built.images == 7
    assert sum(len(samples) for _, samples in rows) == built.samples >= 4 * 5
    assert built.bytes_per_sample > 0
    for image, samples in rows:
        if not samples:
            continue
        scene = scene_of(image)
        facts = Facts(scene)
        for sample in samples:
            assert sample.image_id == scene.image_id
            for step in sample.steps:
                np.testing.assert_array_equal(
                    decode_mask(step.mask), facts.mask((step.name, step.dates))
                )


def test_the_seed_stands_for_the_pixels(tables: tuple[Path, Built], tmp_path: Path) -> None:
    settings = dataclasses.replace(SETTINGS, images=2, bands=False)
    build_tables(tmp_path, settings)
    for (one, asked), (other, same) in zip(
        read_tables(tmp_path), read_tables(tables[0]), strict=False
    ):
        assert one.bands is None
        assert other.bands is not None
        assert asked == same
        simulated, stored = one.sample(), other.sample()
        np.testing.assert_array_equal(simulated.cover, stored.cover)
        np.testing.assert_array_equal(simulated.cloudy, stored.cloudy)
        np.testing.assert_allclose(simulated.optical, stored.optical, atol=6e-5)
        np.testing.assert_allclose(simulated.radar, stored.radar, atol=6e-3)
        np.testing.assert_array_equal(np.isnan(simulated.optical), np.isnan(stored.optical))
        assert simulated.optical_dates == stored.optical_dates


def test_conversations_are_in_the_published_layout(tables: tuple[Path, Built]) -> None:
    for row in pq.read_table(shard_files(tables[0], 0)[1]).to_pylist():
        human, model = row["conversations"]
        assert (human["from"], model["from"]) == ("human", "gpt")
        assert human["value"].startswith("<image>\n")
        assert row["question"] in human["value"]
        assert model["value"].count("[SEG]") == len(row["masks"])
        assert model["value"].endswith("</answer>")
        assert all(mask["size"] == [48, 48] for mask in row["masks"])


def test_a_folder_of_other_tables_is_refused(tables: tuple[Path, Built]) -> None:
    with pytest.raises(ConfigError, match="other settings"):
        build_tables(tables[0], dataclasses.replace(SETTINGS, seed=4))


def test_a_killed_build_goes_on_and_ends_the_same(
    tables: tuple[Path, Built], tmp_path: Path
) -> None:
    said = json.dumps({k: getattr(SETTINGS, k) for k in ("images", "seed", "samples", "size")})
    code = (
        "import json, sys\nfrom pathlib import Path\n"
        "from terrascope.data.build import BuildSettings, build_tables\n"
        "settings = BuildSettings(**json.loads(sys.argv[2]), bands=True, per_shard=3)\n"
        "build_tables(Path(sys.argv[1]), settings)\n"
    )
    first = shard_files(tmp_path, 0)[1]
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path), said]) as process:
        while not first.exists() and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
    assert not shard_files(tmp_path, 2)[1].exists()
    written = first.stat().st_mtime_ns
    build_tables(tmp_path, SETTINGS)
    assert first.stat().st_mtime_ns == written
    assert content(tmp_path) == content(tables[0])
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.slow
def test_processes_change_nothing(tables: tuple[Path, Built], tmp_path: Path) -> None:
    build_tables(tmp_path, SETTINGS, workers=2)
    assert content(tmp_path) == content(tables[0])


def test_every_image_comes_once_in_a_round(tables: tuple[Path, Built]) -> None:
    folder, _ = tables
    rounds = [[image_at(folder, 7 * r + n, seed=2).image_id for n in range(7)] for r in range(2)]
    assert all(len(set(one)) == 7 for one in rounds)
    assert rounds[0] != rounds[1]


@pytest.mark.parametrize("source", ["segmentation", "cot", "language"])
def test_a_batch_depends_on_its_number_alone(tables: tuple[Path, Built], source: str) -> None:
    settings = StreamSettings(
        source=source, windows=3, samples=2, window_px=24, render_px=48, tables=tables[0]
    )
    first = stream(settings, TOKENIZER, seed=5, position=1, workers=1)
    later = stream(settings, TOKENIZER, seed=5, position=2)
    next(first)
    ahead, here = next(first), next(later)
    alone = batch_at(settings, TOKENIZER, seed=5, number=2)
    other = batch_at(settings, TOKENIZER, seed=6, number=2)
    for batch in (ahead, here):
        assert [q.response for q in batch.queries] == [q.response for q in alone.queries]
        assert torch.equal(batch.truth, alone.truth)
        assert torch.equal(batch.injected, alone.injected)
        assert torch.equal(batch.windows.optical, alone.windows.optical)
    assert [q.response for q in other.queries] != [q.response for q in alone.queries]


def test_scenes_are_simulated_on_the_way() -> None:
    settings = StreamSettings(windows=2, samples=3, window_px=48, render_px=48, dates=2)
    batch = batch_at(settings, TOKENIZER, seed=1, number=0)
    assert len(batch.windows) == 2
    assert len(batch.samples) >= 4
    assert batch.windows.shape_yx == (48, 48)


def test_a_round_shows_the_same_scenes_again_in_other_views() -> None:
    settings = StreamSettings(
        source="segmentation", windows=2, window_px=32, render_px=32, rounds=3, block=2
    )
    kept = Renderings()
    made = [batch_at(settings, TOKENIZER, seed=4, number=n, renderings=kept) for n in range(8)]
    scenes = [{sample.image_id.partition("@")[0] for sample in one.samples} for one in made]
    assert scenes[0] == scenes[2] == scenes[4]
    assert scenes[1] == scenes[3] == scenes[5]
    assert len(set.union(*scenes)) == 8  # numbers 6 and 7 begin a new block
    assert not torch.equal(made[0].windows.optical, made[2].windows.optical)
    for number in (4, 7):
        alone = batch_at(settings, TOKENIZER, seed=4, number=number)
        assert torch.equal(alone.windows.optical, made[number].windows.optical)
        assert torch.equal(alone.truth, made[number].truth)


def test_what_is_kept_is_rendered_once_per_block(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[int] = []

    def counted(seed: int, **settings: Any) -> SceneSample:
        rendered.append(seed)
        return sample_scene(seed, **settings)

    monkeypatch.setattr("terrascope.data.stream.sample_scene", counted)
    settings = StreamSettings(
        source="segmentation", windows=1, window_px=32, render_px=32, rounds=3, block=2, dates=1
    )
    kept = Renderings()
    for number in range(12):
        batch_at(settings, TOKENIZER, seed=4, number=number, renderings=kept)
    assert len(rendered) == len(set(rendered)) >= 4
    assert len(rendered) < 12


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="source"):
        StreamSettings(source="pictures")
    with pytest.raises(ValueError, match="windows that fit"):
        StreamSettings(window_px=256)
    with pytest.raises(ValueError, match="at least one of each"):
        StreamSettings(rounds=0)
    with pytest.raises(ValueError, match="4 samples"):
        BuildSettings(images=3, samples=2)
