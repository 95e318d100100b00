"""The Sentinel-2 offset: every combination of honest and lying metadata has one answer."""

from __future__ import annotations

import datetime as dt
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.catalog.offset import find_applied_flag, find_baseline, resolve_offset
from terrascope.catalog.profile import load_profile
from terrascope.catalog.raster import find_offsets

OLD, NEW = dt.date(2020, 7, 1), dt.date(2023, 7, 1)
EVIDENCE = {
    (profile, collection.id): collection.offset
    for profile in ("earth-search", "planetary-computer", "cdse", "local")
    for collection in load_profile(profile).collections
    if collection.sensor == "sentinel-2"
}
EARTH = EVIDENCE["earth-search", "sentinel-2-l2a"]
PLANETARY = EVIDENCE["planetary-computer", "sentinel-2-l2a"]
CDSE = EVIDENCE["cdse", "sentinel-2-l2a"]


@pytest.mark.parametrize(
    ("evidence", "applied", "stated", "baseline", "acquired", "value", "contradicted"),
    [
        # The trap: stated and already applied. Subtracting again would darken everything by 0.1.
        (EARTH, True, -0.1, "05.09", NEW, 0.0, True),
        (EARTH, True, 0.0, "05.09", NEW, 0.0, False),
        (EARTH, True, None, "05.09", NEW, 0.0, False),
        # 33TWN of February 2022: baseline 04.00 that Earth Search has not harmonised.
        (EARTH, False, -0.1, "04.00", NEW, -0.1, False),
        (EARTH, False, 0.0, "02.14", OLD, 0.0, False),
        (EARTH, False, 0.0, "", OLD, 0.0, False),
        # Lies.
        (EARTH, True, 0.0, "02.14", OLD, 0.0, True),
        (EARTH, False, 0.0, "05.09", NEW, 0.0, True),
        (EARTH, None, -0.1, "02.14", OLD, -0.1, True),
        # Planetary Computer states nothing; what it might state does not change the pixels.
        (PLANETARY, None, None, "04.00", NEW, -0.1, False),
        (PLANETARY, None, None, "03.01", dt.date(2022, 1, 24), 0.0, False),
        (PLANETARY, None, 0.0, "05.11", NEW, -0.1, True),
        (PLANETARY, None, None, "", NEW, -0.1, True),
        # Collection 1 of an old scene: reprocessed, so with offset.
        (CDSE, None, -0.1, "05.00", OLD, -0.1, False),
        (CDSE, None, None, "05.00", OLD, -0.1, False),
        (CDSE, None, 0.0, "02.14", OLD, 0.0, False),
        # In units of stored numbers, or from another planet: not believed.
        (CDSE, None, -1000.0, "05.00", OLD, -0.1, True),
    ],
)
def test_precedence(
    evidence: tuple[str, ...],
    applied: bool | None,
    stated: float | None,
    baseline: str,
    acquired: dt.date,
    value: float,
    contradicted: bool,
) -> None:
    offset = resolve_offset(
        evidence=evidence,
        applied=applied,
        stated=[] if stated is None else [("raster:offset", stated)],
        baseline=baseline,
        acquired=acquired,
    )
    assert offset.value == value
    assert offset.source
    assert bool(offset.notes) is contradicted, offset.notes


def test_stated_twice() -> None:
    offset = resolve_offset(
        evidence=CDSE,
        applied=None,
        stated=[("raster:bands.offset", -0.1), ("raster:offset", 0.0)],
        baseline="05.00",
        acquired=NEW,
    )
    assert offset.value == -0.1
    assert "stated twice: raster:bands.offset = -0.1, raster:offset = 0" in offset.notes[0]


def test_a_guess_says_so() -> None:
    offset = resolve_offset(evidence=EARTH, applied=None, stated=[], baseline="", acquired=NEW)
    assert offset.value == -0.1
    assert "from the date of acquisition alone" in offset.notes[0]


@given(
    evidence=st.permutations(["flag", "stated", "baseline", "date"]).map(tuple),
    applied=st.sampled_from([True, False, None]),
    stated=st.lists(
        st.tuples(st.just("raster:offset"), st.floats(allow_nan=False, allow_infinity=False)),
        max_size=2,
    ),
    baseline=st.sampled_from(["", "nonsense", "02.14", "04.00", "05.11"]),
    acquired=st.dates(dt.date(2015, 1, 1), dt.date(2030, 1, 1)),
)
def test_always_an_answer_and_never_a_large_one(**facts: object) -> None:
    offset = resolve_offset(**facts)  # type: ignore[arg-type]
    assert abs(offset.value) <= 0.2
    assert offset.source


def test_offsets_are_found_where_the_versions_of_stac_put_them() -> None:
    assert find_offsets({"raster:bands": [{"offset": -0.1}]}) == [("raster:bands.offset", -0.1)]
    assert find_offsets({"raster:offset": -0.1}) == [("raster:offset", -0.1)]
    assert find_offsets({"bands": [{"raster:offset": 0}]}) == [("bands.raster:offset", 0.0)]
    for nonsense in ("-0.1", None, True, float("nan"), [], {}):
        for bands in (nonsense, [nonsense], [{"offset": nonsense}]):
            assert find_offsets({"raster:bands": bands, "raster:offset": nonsense}) == []


def test_flag_and_baseline_names() -> None:
    assert find_applied_flag({"earthsearch:boa_offset_applied": False}) is False
    assert find_applied_flag({"sentinel:boa_offset_applied": True}) is True
    assert find_applied_flag({"earthsearch:boa_offset_applied": "true"}) is None
    names = ["s2", "sentinel2", "sentinel"]
    assert {find_baseline({f"{n}:processing_baseline": "05.09"}, "x") for n in names} == {"05.09"}
    assert find_baseline({"processing:version": "05.11"}, "x") == "05.11"
    name = "S2A_MSIL2A_20200301T090901_N0500_R050_T35UPU_20230630T033416"
    assert find_baseline({}, name) == "05.00"
    assert find_baseline({"s2:product_uri": f"{name}.SAFE"}, "x") == "05.00"
    assert find_baseline({"s2:processing_baseline": 5}, "x") == ""


def test_every_shipped_collection_survives_every_mix() -> None:
    mixes = itertools.product(
        EVIDENCE.values(), (True, False, None), ([], [("o", -0.1)]), ("", "02.14", "05.09")
    )
    for evidence, applied, stated, baseline in mixes:
        offset = resolve_offset(
            evidence=evidence, applied=applied, stated=stated, baseline=baseline, acquired=NEW
        )
        if applied and evidence[0] == "flag":
            assert offset.value == 0.0
        assert offset.value in (0.0, -0.1)
