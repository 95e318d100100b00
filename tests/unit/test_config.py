"""The monitor file: what is sound comes out resolved, and every complaint can be acted on."""

from __future__ import annotations

import copy
import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from terrascope.config import load_monitor_file, parse_memory, parse_monitor
from terrascope.errors import ConfigError

TODAY = dt.date(2024, 3, 15)
SOUND: dict[str, dict[str, Any]] = {
    "monitor": {"name": "forest"},
    "area": {"bbox": [15.0, 49.0, 15.5, 49.5]},
    "catalog": {"profile": "local"},
    "time": {"target": "2020-09-01/2020-09-30", "baseline": "2019-09-01/2019-09-30"},
    "sensors": {"optical": "sentinel-2-l2a"},
    "output": {"path": "out"},
}


def changed(**tables: dict[str, Any] | None) -> dict[str, Any]:
    """Return the sound file with some keys replaced; None removes a key or a table."""
    document: dict[str, Any] = copy.deepcopy(SOUND)
    for table, keys in tables.items():
        if keys is None:
            del document[table]
            continue
        merged = document.setdefault(table, {}) | keys
        document[table] = {k: v for k, v in merged.items() if v is not None}
    return document


def parse(**tables: dict[str, Any] | None) -> Any:
    return parse_monitor(changed(**tables), file="m.toml", base=Path(__file__).parent, today=TODAY)


def test_defaults_and_paths_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "folder" / "m.toml"
    file.parent.mkdir()
    file.write_text(
        """
        [monitor]
        name = "forest"
        [area]
        aoi = "aoi.geojson"
        regions = "../districts.gpkg"
        [catalog]
        profile = "profiles/own.toml"
        url = "stac/catalog.json"
        [time]
        target = "2020-09-01/2020-09-30"
        baseline = "2019-09-01/2019-09-30"
        [sensors]
        sar = "sentinel-1-rtc"
        [output]
        path = "out"
        """,
        encoding="utf-8",
    )
    found = load_monitor_file(file)
    assert found.aoi == str(file.parent / "aoi.geojson")
    assert found.regions == str(file.parent / "../districts.gpkg")
    assert found.profile == str(file.parent / "profiles/own.toml")
    assert found.url == str(file.parent / "stac/catalog.json")
    assert found.output == str(file.parent / "out")
    assert (found.resolution_m, str(found.cadence), found.memory) == (10, "P1M", 2 * 2**30)
    assert (found.threshold, found.minimum_completeness, found.optical) == (0.5, 0.95, None)
    assert found.run_id == "2020-09-01_2020-09-30"
    assert found.to_json()["target"]["spans"] == ["2020-09-01/2020-09-30"]
    assert not (file.parent / "out").exists()


def test_names_and_addresses_stay_what_they_are() -> None:
    found = parse(
        catalog={"profile": "earth-search", "url": "https://x.org/v1"},
        output={"path": "s3://bucket/out"},
        cube={"bands": ["nir", "red"]},
    )
    assert (found.profile, found.url, found.output) == (
        "earth-search",
        "https://x.org/v1",
        "s3://bucket/out",
    )
    assert found.bands == ("red", "nir")


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("last P1M", "2024-02-01", "2024-02-29"),
        ("last P3M", "2023-12-01", "2024-02-29"),
        ("last P1D", "2024-03-14", "2024-03-14"),
        ("last P30D", "2024-02-14", "2024-03-14"),
    ],
)
def test_last(text: str, first: str, last: str) -> None:
    (span,) = parse(time={"target": text}).target.spans
    assert [str(day) for day in span] == [first, last]


def test_same_season_meets_short_februaries() -> None:
    found = parse(time={"target": "2024-02-10/2024-02-29", "baseline": "same-season P4Y"})
    assert [f"{a}/{b}" for a, b in found.baseline.spans] == [
        "2020-02-10/2020-02-29",
        "2021-02-10/2021-02-28",
        "2022-02-10/2022-02-28",
        "2023-02-10/2023-02-28",
    ]
    periods = found.baseline.periods(found.cadence)
    assert [p.id for p in periods] == ["2020-02", "2021-02", "2022-02", "2023-02"]


def test_same_season_of_the_last_month() -> None:
    found = parse(time={"target": "last P1M", "baseline": "same-season P1Y"})
    assert [f"{a}/{b}" for a, b in found.baseline.spans] == ["2023-02-01/2023-02-28"]


@pytest.mark.parametrize(
    ("tables", "key", "says"),
    [
        ({"monitor": None}, "monitor", "missing"),
        ({"monitor": {"name": "a/b"}}, "monitor.name", "found 'a/b'; expected"),
        ({"monitor": {"nmae": "x"}}, "monitor.nmae", "unknown key .*expected one of: name"),
        ({"cubes": {"memory": "2 GiB"}}, "cubes", "unknown key .*expected one of: monitor, area"),
        ({"cube": {"memroy": "2 GiB"}}, "cube.memroy", "expected one of: composite, memory"),
        ({"area": {"resolution_m": 15}}, "area.resolution_m", "found 15; expected: .*10, 20"),
        ({"area": {"resolution_m": "10"}}, "area.resolution_m", "found '10'; expected"),
        ({"area": {"aoi": "a.geojson"}}, "area", "found both aoi and bbox; expected one"),
        ({"area": {"bbox": None}}, "area", "found neither aoi nor bbox; expected one"),
        ({"area": {"bbox": [1.0, 2.0, 3.0]}}, "area.bbox", "found .*; expected: .*4 items"),
        ({"area": {"bbox": [15.0, 49.0, 15.5, 91.0]}}, "area.bbox", "inside the world"),
        ({"area": {"bbox": [float("nan"), 49.0, 15.5, 49.5]}}, "area.bbox", "inside the world"),
        ({"area": {"bbox": [15.0, 49.5, 15.5, 49.0]}}, "area.bbox", "south 49.5 not below"),
        ({"area": {"crs": "6933"}}, "area.crs", "found '6933'; expected for instance 'EPSG:6933'"),
        ({"time": {"target": "2020-09"}}, "time.target", "found '2020-09'; expected 'YYYY-MM-DD/"),
        (
            {"time": {"target": "2020-09-30/2020-09-01"}},
            "time.target",
            r"found .*ends before it starts; expected the earlier day first",
        ),
        ({"time": {"target": "2010-01-01/2010-02-01"}}, "time.target", "expected days between"),
        ({"time": {"target": "2031-01-01/2031-02-01"}}, "time.target", "expected days between"),
        ({"time": {"target": "last P900M"}}, "time.target", "1949-03-01 .*expected days between"),
        ({"time": {"target": "last P1Y"}}, "time.target", "found 'last P1Y'; expected"),
        (
            {"time": {"baseline": "2019-09-01/2020-09-02"}},
            "time.baseline",
            "share the period 2020-09; expected two windows without",
        ),
        ({"time": {"baseline": "same-season P0Y"}}, "time.baseline", "found .*; expected"),
        ({"time": {"baseline": "same-season P9Y"}}, "time.baseline", "found .*; expected"),
        ({"time": {"cadence": "P1W"}}, "time.cadence", "found 'P1W'; expected P<n>D or P<n>M"),
        ({"sensors": {"optical": None}}, "sensors", "found neither optical nor sar; expected"),
        ({"cube": {"memory": "2 gigs"}}, "cube.memory", "found '2 gigs'; expected for instance"),
        ({"cube": {"memory": "100 MiB"}}, "cube.memory", "expected at least 256 MiB"),
        ({"cube": {"bands": ["red", "B04"]}}, "cube.bands", r"found \['B04'\]; expected some of"),
        ({"cube": {"bands": []}}, "cube.bands", r"found \[\]; expected some of"),
        ({"cube": {"composite": "max"}}, "cube.composite", "found 'max'; expected"),
        ({"screen": {"threshold": 50.0}}, "screen.threshold", "found 50.0; expected"),
        ({"run": {"minimum_completeness": 95.0}}, "run.minimum_completeness", "found 95.0"),
        ({"output": {"min_area_ha": -1.0}}, "output.min_area_ha", "found -1.0; expected"),
        ({"model": {"name": "nano@promoted", "budget": "half"}}, "model.budget", "found 'half'"),
        ({"model": {"name": "nano@promoted", "budget": 0.0}}, "model.budget", "a share above 0"),
        ({"model": {"name": "nano@promoted", "budget": True}}, "model.budget", "found True"),
        ({"model": {"name": "nano@promoted", "audit": -1}}, "model.audit", "found -1; expected"),
        ({"model": {"nome": "x"}}, "model.name", "is missing; .*found the unknown 'nome'"),
        ({"alerts": {"confirm": "3 of 4"}}, "time.cadence", "expected 'P1D'"),
        (
            {"time": {"cadence": "P1D"}, "alerts": {"confirm": "5 of 4"}},
            "alerts.confirm",
            "found '5 of 4'; expected for instance '3 of 4'",
        ),
        (
            {"time": {"cadence": "P1D"}, "alerts": {"close_after": "P6M"}},
            "alerts.close_after",
            "found 'P6M'; expected for instance 'P180D'",
        ),
    ],
)
def test_complaints_name_file_key_found_and_expected(
    tables: dict[str, dict[str, Any] | None], key: str, says: str
) -> None:
    with pytest.raises(ConfigError, match=says) as caught:
        parse(**tables)
    assert (caught.value.file, caught.value.key) == ("m.toml", key)
    assert str(caught.value).startswith(f"m.toml: {key}: ")
    assert "\n" not in str(caught.value)


def test_a_model_is_named_by_folder_or_version(tmp_path: Path) -> None:
    assert parse().model is None
    assert "model" not in parse().to_json()
    shipped = parse(model={"name": "nano@promoted"}).model
    assert shipped is not None
    assert (shipped.name, shipped.budget) == ("nano@promoted", "screened")
    own = parse(model={"name": "models/mine", "budget": 1}).model
    assert own is not None
    assert Path(own.name).is_absolute()
    assert own.name.endswith("models/mine")
    assert own.budget == 1.0


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read.*give a monitor file"):
        load_monitor_file(tmp_path / "absent.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("[monitor\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"broken.toml: is not TOML: .*line 1"):
        load_monitor_file(broken)


@pytest.mark.parametrize(
    ("text", "size"),
    [("2 GiB", 2**31), ("512MB", 512 * 10**6), ("1.5GiB", 3 * 2**29), ("268435456", 2**28)],
)
def test_memory(text: str, size: int) -> None:
    assert parse_memory(text) == size


def test_an_output_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.write_text("x", encoding="utf-8")
    for path in (taken, taken / "deeper"):
        with pytest.raises(ConfigError, match=r"output.path: found .*taken is no folder"):
            parse(output={"path": str(path)})
    assert parse(output={"path": str(tmp_path / "new" / "out")}).output.endswith("new/out")
    assert not (tmp_path / "new").exists()


def test_a_misspelt_key_is_named_beside_the_missing_one() -> None:
    with pytest.raises(ConfigError, match=r"catalog.profile: is missing.*unknown 'profil'"):
        parse(catalog={"profile": None, "profil": "local"})


@pytest.mark.parametrize(
    ("table", "key", "value", "expected"),
    [
        ("run", "minimum_completeness", 1.5, "expected a number between 0 and 1$"),
        ("screen", "threshold", 1.0, "expected a number between 0 and 1 .ends excluded"),
        ("cube", "mask_dilation_m", "x", "expected a whole number between 0 and 1000"),
        ("output", "min_area_ha", -1.0, "expected a number of at least 0"),
    ],
)
def test_ranges_in_our_own_words(table: str, key: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected):
        parse(**{table: {key: value}})


def test_questions_about_the_region() -> None:
    document = changed() | {"questions": [{"text": "How much was lost?"}, {"text": "What else?"}]}
    settings = parse_monitor(document)
    assert settings.questions == ("How much was lost?", "What else?")
    assert settings.to_json()["questions"] == settings.questions
    assert "questions" not in parse_monitor(changed()).to_json()
    with pytest.raises(ConfigError, match=r"questions\.0\.txt: unknown key.*one of: text"):
        parse_monitor(changed() | {"questions": [{"text": "Why?", "txt": "Why?"}]})
    with pytest.raises(ConfigError, match=r"questions\.0\.text"):
        parse_monitor(changed() | {"questions": [{"text": ""}]})
