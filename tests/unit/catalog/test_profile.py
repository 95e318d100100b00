"""Profiles: the four that ship are sound, and every mistake is named."""

from __future__ import annotations

import pickle
import re
from pathlib import Path

import pytest

from terrascope.catalog.profile import list_profiles, load_profile, require_sensors
from terrascope.catalog.sign import open_signer
from terrascope.errors import ConfigError
from terrascope.sensors import S1_BANDS, S2_BANDS

CATALOGS = Path(__file__).resolve().parents[3] / "catalogs"

MINIMAL = """
name = "mine"
title = "Mine"
url = "https://example.com"
checked = 2025-01-01
[[collections]]
id = "s2"
sensor = "sentinel-2"
dtype = "uint16"
nodata = 0
scale = 0.0001
unit = "reflectance"
offset = ["stated"]
[collections.assets]
red = ["B04_10m", "B04"]
"""


@pytest.mark.parametrize("name", ["cdse", "earth-search", "local", "planetary-computer"])
def test_shipped_profiles(name: str) -> None:
    profile = load_profile(name)
    assert profile.name == name
    assert repr(pickle.loads(pickle.dumps(profile))) == repr(profile)  # nan != nan
    open_signer(profile.signing.step, environment=profile.signing.environment)
    for collection in profile.collections:
        bands = set(S2_BANDS) | {"scl"} if collection.sensor == "sentinel-2" else set(S1_BANDS)
        assert set(collection.assets) == bands
    with pytest.raises(ConfigError, match=r"sentinel-1-grd .*map grid.* Use ") as caught:
        profile.collection("sentinel-1-grd")
    assert f"{name}.toml" in str(caught.value)


def test_every_file_of_the_source_tree_is_found_by_name() -> None:
    assert list(list_profiles()) == sorted(path.stem for path in CATALOGS.glob("*.toml"))


def test_the_schema_page_names_every_key() -> None:
    page = (CATALOGS / "README.md").read_text()
    for path in CATALOGS.glob("*.toml"):
        for key in re.findall(r"^(\w+) =", path.read_text(), re.MULTILINE):
            if key not in (*S2_BANDS, *S1_BANDS, "scl"):
                assert f"`{key}`" in page, f"{path.name}: {key}"


def test_a_profile_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    profile = load_profile(path)
    collection = profile.collection("s2")
    assert collection is not None
    assert collection.assets == {"red": ("B04_10m", "B04")}
    assert profile.collection("other") is None
    assert profile.storage.schemes == ("https",)


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('name = "mine"', 'nome = "mine"', "name: is missing"),
        ('title = "Mine"', 'title = "Mine"\ncolour = 1', "colour: unknown key; expected one of"),
        ('title = "Mine"', "title = 3", "title: found 3, expected str"),
        ("2025-01-01", '"yesterday"', "checked: found 'yesterday', expected date"),
        ('unit = "reflectance"', 'unit = "dB"', r"collections\[0\].unit: found 'dB'"),
        ("scale = 0.0001", "scale = 0", r"collections\[0\].scale: found 0.0, expected a positive"),
        ('"uint16"', '"unit16"', r"collections\[0\].dtype: found 'unit16', expected a numpy"),
        ('["stated"]', '["guess"]', r"collections\[0\].offset: .*expected a list of some of flag"),
        ('["stated"]', "[]", r"collections\[0\].offset: found \[\]"),
        ("red =", "rot =", r"collections\[0\].assets.rot: unknown band; expected one of coastal"),
        ('["B04_10m", "B04"]', "4", r"collections\[0\].assets.red: found 4, expected an asset key"),
        ("[[collections]]", "[server]\nfilter = 'sql'\n[[collections]]", "server.filter: found"),
        ("[[collections]]", "[server]\npage_limit = 0\n[[collections]]", "expected 1 or more"),
        ("[[collections]]", "[storage]\nschemes = ['ftp']\n[[collections]]", "storage.schemes"),
        ("[[collections]]", "[[refused]]\nid = 'x'\n[[collections]]", r"refused\[0\].reason: is"),
        ('name = "mine"', "name = ", "is not TOML"),
    ],
)
def test_mistakes_name_file_key_found_and_expected(
    tmp_path: Path, old: str, new: str, complaint: str
) -> None:
    assert old in MINIMAL
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL.replace(old, new, 1))
    with pytest.raises(ConfigError, match=complaint) as caught:
        load_profile(path)
    assert str(path) in str(caught.value)


def test_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match="'esa' is unknown: expected cdse, earth-search, local"):
        load_profile("esa")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_profile("no/such/file.toml")


def test_a_collection_belongs_under_its_own_sensor() -> None:
    profile = load_profile("local")
    require_sensors(profile, optical="sentinel-2-l2a", sar="sentinel-1-rtc")
    require_sensors(profile, optical="unknown", sar=None)
    with pytest.raises(ConfigError, match=r"m.toml.*sensors.optical.*sentinel-1-rtc.*-2-l2a.*sar"):
        require_sensors(profile, optical="sentinel-1-rtc", sar=None, file="m.toml")
    with pytest.raises(ConfigError, match=r"sensors.sar: found 'sentinel-2-l2a'"):
        require_sensors(profile, optical=None, sar="sentinel-2-l2a")
