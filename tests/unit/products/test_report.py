"""The report: says what the figures say, shows nothing untrusted raw, asks for nothing."""

from __future__ import annotations

import base64
import dataclasses
import datetime as dt
import html.parser
import io
import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from terrascope.products import summary as values
from terrascope.products.figures import ReportFigures
from terrascope.products.report import render_report, write_report
from terrascope.products.wording import cautions, format_area, format_share, headline
from terrascope.types import ChangeKind, Quarantine, Status

NASTY = "<script>alert(1)</script>"
CLIMB = "../../etc/passwd"


class Page(html.parser.HTMLParser):
    """Collects tags, addresses and text, as a browser would see them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.events: list[str] = []
        self.words: list[str] = []
        self.ids: list[str] = []
        self.unlabelled = 0
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        found = dict(attrs)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]
        self.events += [k for k, _ in attrs if k.startswith("on")]
        self.ids += [found["id"]] if "id" in found else []
        self.unlabelled += found.get("role") == "img" and not found.get("aria-label")

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split()).replace("\u202f", " ")


@pytest.fixture(scope="module")
def page_text(run_summary, report_figures) -> str:
    return render_report(run_summary, report_figures)


def test_page_is_self_contained_and_accessible(page_text: str) -> None:
    page = Page(page_text)
    assert "script" not in page.tags
    assert not page.events
    assert all(a.startswith(("data:image/png;base64,", "#")) for a in page.addresses)
    assert {a[1:] for a in page.addresses if a.startswith("#")} <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    assert "default-src 'none'; img-src data:; style-src 'unsafe-inline'" in page_text
    assert not re.search(r"url\(|@import", page_text)
    assert page.unlabelled == 0
    assert page.tags.count("h1") == 1
    assert page.tags.count("image") == 3 + 3 * 7
    pixels = base64.b64decode(page.addresses[0].partition(",")[2])
    assert Image.open(io.BytesIO(pixels)).format == "PNG"


def test_page_states_the_figures(page_text: str, run_summary) -> None:
    text = Page(page_text).text
    changed = sum(row.area_m2 for row in run_summary.events.largest) / 1e4
    assert f"{changed:.0f} ha of change in 7 events; 92 % of the area was observed." in text
    assert "2 work items of 120 could not be completed (completeness 98 %)" in text
    assert "S2A_33UVQ_20200817_0_L2A" in text
    assert "Contains modified Copernicus Sentinel data [2019, 2020]" in text
    assert "South bank unknown 0 %" in text
    row = run_summary.events.largest[0]
    assert f"{row.lat:.5f}, {row.lon:.5f}" in text
    for secret in ("QUJD", "pw@", "u:pw"):
        assert secret not in page_text


def test_same_result_gives_same_bytes(tmp_path: Path, run_summary, report_figures) -> None:
    shuffled = dataclasses.replace(
        run_summary,
        totals=run_summary.totals[::-1],
        scenes=run_summary.scenes[::-1],
        events=dataclasses.replace(run_summary.events, largest=run_summary.events.largest[::-1]),
    )
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = write_report(tmp_path / "a", run_summary, report_figures)
    second = write_report(tmp_path / "b", shuffled, report_figures)
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]


def test_untrusted_strings_stay_text(run_summary, report_figures) -> None:
    quotes = "\"'><img src=x onerror=alert(1)>\u202egnp.exe\x07"
    scenes = (
        *run_summary.scenes,
        values.SceneCount("sentinel-2", "2020-09", "target", (NASTY, CLIMB, quotes)),
    )
    row = dataclasses.replace(
        run_summary.events.largest[0], id=NASTY, area_m2=1e9, tiles=(NASTY, quotes)
    )
    run = dataclasses.replace(
        run_summary,
        monitor=quotes,
        scenes=scenes,
        sensors=(values.SensorUse("sentinel-1", NASTY, used=False, reason=quotes),),
        settings={NASTY: {quotes: NASTY}},
        attribution=(NASTY,),
        regions=(values.RegionTotal(NASTY, 1.0, 1.0, 0.0, 0),),
        events=dataclasses.replace(run_summary.events, largest=(row,)),
        quality=values.DataQuality(
            quarantined=(Quarantine(NASTY, quotes, f"{NASTY} {quotes}", "javascript:alert(1)"),),
            radiometry=(NASTY,),
            catalog=(quotes,),
            masks={NASTY: 0.5},
        ),
    )
    text = render_report(run, report_figures)
    page = Page(text)
    assert "script" not in page.tags
    assert "img" not in page.tags
    assert not page.events
    assert "<script" not in text
    assert "\u202e" not in text
    assert "\x07" not in text
    assert NASTY in page.text  # shown as what it is
    assert CLIMB in page.text
    assert json.loads(run.to_json())["settings"] == {NASTY: {quotes: NASTY}}


def test_no_observation_is_said_plainly(run_summary) -> None:
    run = dataclasses.replace(
        run_summary,
        observed_m2=0.0,
        totals=(),
        regions=(),
        events=values.EventTotals(0, 0.0, 0.5),
    )
    page = Page(render_report(run, ReportFigures()))
    assert "Nothing can be said: none of the area was observed" in page.text
    assert "Largest events" not in page.text
    assert "No change of" not in page.text
    assert "Change, all patches unknown" in page.text
    assert "of the observed ground" not in page.text
    empty = dataclasses.replace(run, scenes=(), completeness=values.Completeness(0, 0))
    page = Page(render_report(empty, ReportFigures()))
    assert "The catalog has no usable scene from 2020-08-01 to 2020-09-30" in page.text
    assert "No scene was found." in page.text


def test_no_event_is_said_plainly(run_summary) -> None:
    none = values.EventTotals(0, 0.0, 0.5)
    run = dataclasses.replace(run_summary, totals=(), regions=(), events=none)
    page = Page(render_report(run, ReportFigures()))
    assert "No change of 0.5 ha or more was found; 92 % of the area was observed." in page.text
    assert "Totals" not in page.text
    specks = (values.Total(Status.PROVISIONAL, ChangeKind.BARE, 3000.0, 0.9),)
    said = headline(dataclasses.replace(run, totals=specks))
    assert said.detail.replace("\u202f", " ").startswith("0.30 ha of change is scattered")
    assert said.tone == "calm"


def test_cautions_name_what_limits_the_result(run_summary) -> None:
    run = dataclasses.replace(
        run_summary,
        observed_m2=0.2 * run_summary.area.area_m2,
        sensors=(values.SensorUse("sentinel-1", "s1-rtc", used=False, reason="not offered"),),
        quality=values.DataQuality(masks={"none": 0.25}),
    )
    said = " ".join(cautions(run)).replace("\u202f", " ")
    assert "Only 20 % of the area was observed" in said
    assert "Sentinel-1 (s1-rtc) was not used: not offered." in said
    assert "25 % of the observed ground had no cloud mask" in said


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (1, "100 %"), (0.0004, "< 0.1 %"), (0.99999, "> 99.9 %"), (0.995, "99.5 %"),
     (0.42, "42 %"), (0.042, "4.2 %"), (float("nan"), "\u2013")],
)  # fmt: skip
def test_shares_are_whole_only_where_exact(share: float, text: str) -> None:
    assert format_share(share).replace("\u202f", " ") == text


@pytest.mark.parametrize(
    ("area_m2", "text"),
    [(0, "0 ha"), (5, "< 0.01 ha"), (1234, "0.12 ha"), (123_400, "12.3 ha"),
     (12_345_678, "1 235 ha"), (4.2e9, "4 200 km²")],
)  # fmt: skip
def test_areas_never_vanish(area_m2: float, text: str) -> None:
    assert format_area(area_m2).replace("\u202f", " ") == text


def test_chart_shows_every_scene_and_the_gap(page_text: str, run_summary) -> None:
    chart = page_text[page_text.index('class="chart"') : page_text.index("bold: target")]
    tall = [float(v) for v in re.findall(r'<rect class="s2"[^>]* height="([\d.]+)"', chart)]
    counts = [s.count for s in run_summary.scenes if s.sensor == "sentinel-2"]
    np.testing.assert_allclose(np.array(tall) / tall[0], np.array(counts) / counts[0], rtol=1e-3)
    starts = [float(v) for v in re.findall(r'<rect class="s2" x="([\d.]+)"', chart)]
    assert np.diff(starts).tolist() == [26, 38, 26]  # eleven months lie between


def test_thousands_of_scenes_do_not_make_a_huge_page(run_summary) -> None:
    scenes = tuple(
        values.SceneCount(
            "sentinel-2",
            (dt.date(2015, 1, 1) + dt.timedelta(days=5 * i)).isoformat(),
            "baseline",
            tuple(f"item-{i}-{k}" for k in range(10)),
        )
        for i in range(730)
    )
    text = render_report(dataclasses.replace(run_summary, scenes=scenes), ReportFigures())
    assert "6900 more in report.json" in text
    assert text.count('class="s2"') == 10  # years
    assert len(text) < 400_000
