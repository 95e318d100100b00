"""Two tables in Parquet: images, by seed or by their bands, and the samples that ask about them.

Shards are written whole or not at all. A conversation stands in the published layout of such data,
so that other tools read it: turns ``{from, value}``, ``<image>`` where an image goes, masks as COCO
run lengths.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from terrascope.data.closings import response_text
from terrascope.data.rle import Rle
from terrascope.data.samples import Sample, Step, indicator_of
from terrascope.data.scenes import LabelledScene
from terrascope.data.views import View, label_scene
from terrascope.model.answers import format_answer
from terrascope.model.forms import Form, parse_answer
from terrascope.model.measure import Measurement
from terrascope.sim.alterations import Alter
from terrascope.sim.samples import SceneSample, sample_scene
from terrascope.types import NODATA_INT16, FloatArray
from terrascope.vocabulary import AnswerKind, QuestionKind, Token, Unit

__all__ = [
    "IMAGES",
    "PLAN_FILE",
    "SAMPLES",
    "ImageRow",
    "image_at",
    "image_row",
    "read_shard",
    "read_tables",
    "sample_of",
    "sample_row",
    "scene_of",
    "shard_files",
    "write_shard",
]

PLAN_FILE = "plan.json"
"""Beside the shards: the settings they were built with."""

_REFLECTANCE, _DECIBEL = 1e-4, 0.01
"""Units of the stored numbers."""

IMAGES = pa.schema(
    [
        ("image_id", pa.string()),
        ("seed", pa.int64()),
        ("split", pa.string()),
        ("size", pa.int32()),
        ("date_count", pa.int32()),
        ("happening", pa.int32()),
        ("view_seed", pa.int64()),
        ("view", pa.string()),
        ("pixel_m", pa.float64()),
        ("optical_dates", pa.list_(pa.date32())),
        ("radar_dates", pa.list_(pa.date32())),
        ("optical", pa.binary()),
        ("radar", pa.binary()),
        ("cloudy", pa.binary()),
        ("cover", pa.binary()),
        ("disturbance", pa.binary()),
        ("damage", pa.binary()),
    ]
)
"""Bands are int16, (date, band, y, x), reflectance in 1e-4 and dB in 0.01, `NODATA_INT16` where
missing; null where the seed stands for them. `cloudy` is packed bits, `damage` in 1 / 255."""

_TURN = pa.struct([("from", pa.string()), ("value", pa.string())])
_MASK = pa.struct(
    [
        ("name", pa.string()),
        ("before", pa.int32()),
        ("date", pa.int32()),
        ("size", pa.list_(pa.int32())),
        ("counts", pa.string()),
    ]
)
SAMPLES = pa.schema(
    [
        ("image_id", pa.string()),
        ("sample", pa.int32()),
        ("kind", pa.string()),
        ("task", pa.string()),
        ("conversations", pa.list_(_TURN)),
        ("question", pa.string()),
        ("options", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("form", pa.string()),
        ("masks", pa.list_(_MASK)),
        ("closing", pa.string()),
        ("stated", pa.string()),
        ("fields", pa.list_(pa.string())),
        ("area_unit", pa.string()),
    ]
)
"""Of the masks, `before` is -1 where a mask is of one date; dates count from 0."""


@dataclasses.dataclass(frozen=True)
class ImageRow:
    """One image of the table.

    Parameters
    ----------
    image_id : str
        Name.
    seed : int
        Of the simulator.
    split : str
        Of the simulator.
    size : int
        Rows and columns.
    date_count : int
        Dates wished for; 0: drawn.
    happening : int
        `terrascope.sim.alterations.Alter`; 0: drawn.
    view_seed : int
        Of what is shown.
    view : View
        What is shown.
    bands : SceneSample or None
        Stored pixels and labels; None where they are simulated anew.
    """

    image_id: str
    seed: int
    split: str
    size: int
    date_count: int
    happening: int
    view_seed: int
    view: View
    bands: SceneSample | None = None

    def sample(self) -> SceneSample:
        """Return pixels and labels, read or simulated.

        Returns
        -------
        sample : SceneSample
            Rounded to the stored units, where they are stored.
        """
        if self.bands is not None:
            return self.bands
        return sample_scene(
            self.seed,
            split=self.split,
            size=self.size,
            dates=self.date_count or None,
            happening=Alter(self.happening) if self.happening else None,
        )


def scene_of(row: ImageRow) -> LabelledScene:
    """Return the scene that an image's samples ask about.

    Parameters
    ----------
    row : ImageRow
        Of the table.

    Returns
    -------
    scene : LabelledScene
        The same as when the samples were made.
    """
    rng = np.random.default_rng((row.view_seed, 77))
    return label_scene(row.sample(), view=row.view, rng=rng, image_id=row.image_id)


def image_row(row: ImageRow) -> dict[str, Any]:
    """Write an image as a row.

    Parameters
    ----------
    row : ImageRow
        With its bands or without.

    Returns
    -------
    values : dict
        By the names of `IMAGES`.
    """
    said = {name: getattr(row, name) for name in ("image_id", "seed", "split", "size")}
    said |= {name: getattr(row, name) for name in ("date_count", "happening", "view_seed")}
    said["view"] = json.dumps(dataclasses.asdict(row.view), sort_keys=True)
    raw = row.bands
    if raw is not None:
        said |= {
            "pixel_m": raw.pixel_m,
            "optical_dates": list(raw.optical_dates),
            "radar_dates": list(raw.radar_dates),
            "optical": _packed(raw.optical, _REFLECTANCE),
            "radar": _packed(raw.radar, _DECIBEL),
            "cloudy": np.packbits(raw.cloudy).tobytes(),
            "cover": raw.cover.tobytes(),
            "disturbance": raw.disturbance.tobytes(),
            "damage": np.round(raw.damage * 255).astype(np.uint8).tobytes(),
        }
    return said


def sample_row(
    sample: Sample, number: int, images: int, figures: Sequence[Measurement]
) -> dict[str, Any]:
    """Write a sample as a row.

    Parameters
    ----------
    sample : Sample
        Of an image.
    number : int
        Among the samples of the image.
    images : int
        Pictures of the window: one per date and sensor.
    figures : sequence of Measurement
        Of its true masks, for the text of the conversation.

    Returns
    -------
    values : dict
        By the names of `SAMPLES`.
    """
    asked = f"{Token.IMAGE.value}\n" * images + sample.asked
    said = response_text(sample, figures).removesuffix(Token.EOS.value)
    form = {
        "kind": sample.form.kind.value,
        "options": sample.form.options,
        "names": list(sample.form.names),
        "units": [unit.value for unit in sample.form.units],
        "dates": [date.isoformat() for date in sample.form.dates],
    }
    return {
        "image_id": sample.image_id,
        "sample": number,
        "kind": sample.kind.value,
        "task": sample.task,
        "conversations": [{"from": "human", "value": asked}, {"from": "gpt", "value": said}],
        "question": sample.question,
        "options": list(sample.options),
        "answer": format_answer(sample.answer),
        "form": json.dumps(form, sort_keys=True),
        "masks": [
            {"name": step.name, "before": step.dates[0], "date": step.dates[1]}
            | step.mask.to_coco()
            for step in sample.steps
        ],
        "closing": sample.closing,
        "stated": sample.stated,
        "fields": list(sample.fields),
        "area_unit": sample.area_unit.value,
    }


def sample_of(row: Mapping[str, Any]) -> Sample:
    """Read a sample.

    Parameters
    ----------
    row : mapping
        By the names of `SAMPLES`.

    Returns
    -------
    sample : Sample
        Equal to the one that was written.
    """
    said = json.loads(row["form"])
    form = Form(
        AnswerKind(said["kind"]),
        options=said["options"],
        names=tuple(said["names"]),
        units=tuple(Unit(unit) for unit in said["units"]),
        dates=tuple(dt.date.fromisoformat(date) for date in said["dates"]),
    )
    return Sample(
        image_id=row["image_id"],
        kind=QuestionKind(row["kind"]),
        task=row["task"],
        question=row["question"],
        form=form,
        options=tuple(row["options"]),
        steps=tuple(_step(mask) for mask in row["masks"]),
        closing=row["closing"],
        answer=parse_answer(row["answer"], form),
        fields=tuple(row["fields"]),
        area_unit=Unit(row["area_unit"]),
        stated=row["stated"],
    )


def shard_files(folder: Path, number: int) -> tuple[Path, Path]:
    """Return the files of a shard.

    Parameters
    ----------
    folder : Path
        Of the tables.
    number : int
        Of the shard.

    Returns
    -------
    images, samples : Path
        They need not exist; the second is written last.
    """
    return folder / f"images-{number:05d}.parquet", folder / f"samples-{number:05d}.parquet"


def write_shard(
    folder: Path,
    number: int,
    images: Sequence[Mapping[str, Any]],
    samples: Sequence[Mapping[str, Any]],
) -> None:
    """Write a shard: a file appears under its name when it is whole.

    Parameters
    ----------
    folder : Path
        Exists.
    number : int
        Of the shard.
    images, samples : sequence of mapping
        Rows.
    """
    for file, rows, schema in zip(
        shard_files(folder, number), (images, samples), (IMAGES, SAMPLES), strict=True
    ):
        part = file.with_suffix(f".{os.getpid()}.part")
        pq.write_table(pa.Table.from_pylist(list(rows), schema), part, compression="zstd")
        part.replace(file)


def read_shard(folder: Path, number: int) -> list[tuple[ImageRow, list[Sample]]]:
    """Read a shard.

    Parameters
    ----------
    folder : Path
        Of the tables.
    number : int
        Of the shard.

    Returns
    -------
    rows : list of tuple
        Images in order, each with its samples.
    """
    images, samples = (pq.read_table(file).to_pylist() for file in shard_files(folder, number))
    asked: dict[str, list[Sample]] = {}
    for row in samples:
        asked.setdefault(row["image_id"], []).append(sample_of(row))
    return [(_image(row), asked.get(row["image_id"], [])) for row in images]


def read_tables(folder: Path) -> Iterator[tuple[ImageRow, list[Sample]]]:
    """Stream all shards, one in memory at a time.

    Parameters
    ----------
    folder : Path
        Of the tables.

    Yields
    ------
    image, samples : tuple
        `scene_of` gives the pixels.
    """
    for number in range(len(sorted(folder.glob("samples-*.parquet")))):
        yield from read_shard(folder, number)


def image_at(folder: Path, place: int, *, seed: int) -> ImageRow:
    """Return an image of an endless, shuffled reading of the tables.

    Parameters
    ----------
    folder : Path
        Of the tables.
    place : int
        In the reading, from 0; every image comes once in each round.
    seed : int
        Of the order, which differs from round to round: shards, then images within a shard, so
        that neighbours in the reading lie in one file.

    Returns
    -------
    image : ImageRow
        Its pixels are read, or simulated, by `ImageRow.sample`.
    """
    images, per_shard = _sizes(folder)
    turn, place = divmod(place, images)
    rng = np.random.default_rng((seed, turn, 13))
    for shard in rng.permutation(-(-images // per_shard)).tolist():
        size = min(per_shard, images - shard * per_shard)
        if place < size:
            order = np.random.default_rng((seed, turn, shard, 17)).permutation(size)
            return _images(folder, shard)[int(order[place])]
        place -= size
    raise ValueError(f"{folder}: no image at this place of the tables")


@lru_cache(maxsize=4)
def _sizes(folder: Path) -> tuple[int, int]:
    plan = json.loads((folder / PLAN_FILE).read_text(encoding="utf-8"))
    return int(plan["images"]), int(plan["per_shard"])


@lru_cache(maxsize=2)
def _images(folder: Path, shard: int) -> list[ImageRow]:
    return [_image(row) for row in pq.read_table(shard_files(folder, shard)[0]).to_pylist()]


def _image(row: Mapping[str, Any]) -> ImageRow:
    view = json.loads(row["view"])
    view["sensors"] = tuple(view["sensors"])
    names = ("image_id", "seed", "split", "size", "date_count", "happening", "view_seed")
    values = {name: row[name] for name in names}
    return ImageRow(**values, view=View(**view), bands=_bands(row))


def _bands(row: Mapping[str, Any]) -> SceneSample | None:
    if row["optical"] is None:
        return None
    dates, size = len(row["optical_dates"]), row["size"]
    shape = (dates, size, size)
    cloudy = np.unpackbits(np.frombuffer(row["cloudy"], np.uint8), count=dates * size * size)
    codes = {
        name: np.frombuffer(row[name], np.uint8).reshape(shape)
        for name in ("cover", "disturbance", "damage")
    }
    return SceneSample(
        seed=row["seed"],
        split=row["split"],
        pixel_m=row["pixel_m"],
        optical=_unpacked(row["optical"], _REFLECTANCE, (dates, 12, size, size)),
        radar=_unpacked(row["radar"], _DECIBEL, (dates, 2, size, size)),
        optical_dates=tuple(row["optical_dates"]),
        radar_dates=tuple(row["radar_dates"]),
        cloudy=cloudy.astype(np.bool_).reshape(shape),
        cover=codes["cover"],
        disturbance=codes["disturbance"],
        damage=np.asarray(codes["damage"] / 255, np.float32),
    )


def _step(mask: Mapping[str, Any]) -> Step:
    dates = (int(mask["before"]), int(mask["date"]))
    return Step(f"{mask['name']} {indicator_of(dates)}", mask["name"], dates, Rle.from_coco(mask))


def _packed(values: FloatArray, unit: float) -> bytes:
    whole = np.round(values / np.float32(unit))
    stored: NDArray[np.int16] = np.full(values.shape, NODATA_INT16, np.int16)
    seen = np.isfinite(whole)
    stored[seen] = np.clip(whole[seen], NODATA_INT16 + 1, 32767).astype(np.int16)
    return stored.tobytes()


def _unpacked(raw: bytes, unit: float, shape: tuple[int, ...]) -> FloatArray:
    stored = np.frombuffer(raw, np.int16).reshape(shape)
    values = stored.astype(np.float32) * np.float32(unit)
    values[stored == NODATA_INT16] = np.nan
    return values
