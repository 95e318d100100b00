"""The time axis: every day belongs to one period, and a period knows its days."""

from __future__ import annotations

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from terrascope.periods import EPOCH, Cadence

CADENCES = st.builds(Cadence, st.integers(1, 400), st.sampled_from("DM"))
DAYS = st.dates(EPOCH, dt.date(2059, 12, 31))


@given(cadence=CADENCES)
def test_text_round_trip(cadence: Cadence) -> None:
    assert Cadence.parse(str(cadence)) == cadence


@given(cadence=CADENCES, day=DAYS)
def test_a_day_lies_in_its_period_and_in_no_other(cadence: Cadence, day: dt.date) -> None:
    period = cadence.period(cadence.index(day))
    assert period.start <= day <= period.end
    assert cadence.index(period.start) == cadence.index(period.end) == period.index
    following = cadence.period(period.index + 1)
    assert following.start == period.end + dt.timedelta(days=1)
    assert 0 <= period.index <= cadence.length


@given(cadence=CADENCES, days=st.tuples(DAYS, DAYS))
def test_periods_of_a_span(cadence: Cadence, days: tuple[dt.date, dt.date]) -> None:
    start, end = sorted(days)
    periods = cadence.periods(start, end)
    assert periods[0].start <= start
    assert periods[-1].end >= end
    assert [p.index for p in periods] == list(range(periods[0].index, periods[-1].index + 1))
    assert all(p.start <= end and p.end >= start for p in periods)


def test_names() -> None:
    monthly, daily, quarters = (Cadence.parse(text) for text in ("P1M", "P1D", "P3M"))
    leap = dt.date(2020, 2, 29)
    assert monthly.period(monthly.index(leap)).id == "2020-02"
    assert daily.period(daily.index(leap)).id == "2020-02-29"
    assert str(quarters.period(quarters.index(leap))) == "2020-01-01_2020-03-31"
    assert monthly.length == 46 * 12


@pytest.mark.parametrize("text", ["", "P0D", "1M", "P1Y", "P1W", "p1m", "P-1D", "P1M "])
def test_what_is_no_cadence(text: str) -> None:
    with pytest.raises(ValueError, match="expected P<n>D or P<n>M"):
        Cadence.parse(text)


def test_nothing_before_the_epoch_or_backwards() -> None:
    with pytest.raises(ValueError, match="before 2014-01-01"):
        Cadence(1, "D").index(dt.date(2013, 12, 31))
    with pytest.raises(ValueError, match="the end lies before the start"):
        Cadence(1, "M").periods(dt.date(2020, 2, 1), dt.date(2020, 1, 1))
