"""The fold of alerts, against one pixel's story told with plain lists."""

from __future__ import annotations

import dataclasses
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from terrascope.kernels.alerts import (
    NO_DAY,
    AlertRules,
    AlertState,
    Observation,
    alert_layers,
    fold,
)
from terrascope.types import Status

SEASON, YEAR = 60, 365.2425


def day_by_day(looks, rules, as_of):
    """Tell one pixel's story. `looks`: (day, sensor, probability or None), in order."""
    status, event, closed = Status.NOT_OBSERVED, None, None
    events = seen = 0
    for day, sensor, probability in looks:
        if probability is None:
            continue
        if status is Status.CONFIRMED and day > event["last"] + rules.close_after_days:
            status, closed = Status.CLOSED, (*event["days"], event["last"] + rules.close_after_days)
        if status is Status.PROVISIONAL and day > event["days"][0] + rules.confirm_within_days:
            status = Status.CLOSED if closed else Status.NO_CHANGE
        seen += 1
        anomaly = probability >= rules.threshold
        if anomaly and status not in (Status.PROVISIONAL, Status.CONFIRMED):
            status, event = Status.PROVISIONAL, {"days": [day, NO_DAY], "looks": []}
        if status is Status.NOT_OBSERVED:
            status = Status.NO_CHANGE
        if event is None or status in (Status.NO_CHANGE, Status.CLOSED):
            continue
        last = event.get("last", day)
        off = (day - last) % YEAR
        event["looks"].append((sensor, anomaly, min(off, YEAR - off) <= SEASON))
        event["last"] = day if anomaly else last
        witnesses = {s for s, hit, _ in event["looks"] if hit}

        def of(witness, looks=event["looks"]):
            return [(hit, near) for s, hit, near in looks if s == witness]

        if anomaly and status is Status.PROVISIONAL:
            votes = {s: sum(hit for hit, _ in of(s)[-rules.window :]) for s in ("optical", "sar")}
            both = all(votes.values()) and sum(votes.values()) >= rules.needed
            if max(votes.values()) >= rules.needed or both:
                status, events = Status.CONFIRMED, events + 1
                event["days"][1] = day
        if anomaly:
            continue
        runs, in_season = {}, {}
        for witness in witnesses:
            own = of(witness)
            after = own[max(i for i, (hit, _) in enumerate(own) if hit) + 1 :]
            runs[witness], in_season[witness] = len(after), sum(near for _, near in after)
        if status is Status.PROVISIONAL and min(runs.values()) >= rules.retracts_after:
            status = Status.CLOSED if closed else Status.NO_CHANGE
        elif status is Status.CONFIRMED and min(in_season.values()) >= rules.recovers_after:
            status, closed = Status.CLOSED, (*event["days"], day)
    if status is Status.CONFIRMED and as_of > event["last"] + rules.close_after_days:
        status, closed = Status.CLOSED, (*event["days"], event["last"] + rules.close_after_days)
    if status is Status.PROVISIONAL and as_of > event["days"][0] + rules.confirm_within_days:
        status = Status.CLOSED if closed else Status.NO_CHANGE
    if status in (Status.PROVISIONAL, Status.CONFIRMED):
        days = (*event["days"], NO_DAY)
    else:
        days = closed or (NO_DAY,) * 3
    return int(status), *days, seen, events


@st.composite
def series(draw, pixels=6):
    """Days, sensors and probabilities of a row of pixels, and rules."""
    window = draw(st.integers(1, 5))
    rules = AlertRules(
        needed=draw(st.integers(1, window)),
        window=window,
        close_after_days=draw(st.sampled_from([20, 90, 400])),
        contrary=draw(st.sampled_from([None, 1, 3])),
        recovery=draw(st.sampled_from([None, 2])),
        confirm_within_days=draw(st.sampled_from([30, 90, 400])),
    )
    steps = draw(st.lists(st.sampled_from([0, 5, 12, 40, 170]), min_size=1, max_size=24))
    looks, last = [], (0, "optical")
    for step in steps:
        day = last[0] + step
        sensor = draw(st.sampled_from(["optical", "sar"])) if step else "sar"
        values = draw(
            st.lists(st.sampled_from([None, 0.1, 0.49, 0.5, 0.9]), min_size=pixels, max_size=pixels)
        )
        looks.append((day, sensor, values))
        last = (day, sensor)
    return rules, looks


def observations(looks):
    """Arrays of shape (1, pixels)."""
    return [
        Observation(
            day,
            sensor,
            np.array([[math.nan if v is None else v for v in values]], np.float32),
            np.full((1, len(values)), 1 + i % 7, np.uint8),
        )
        for i, (day, sensor, values) in enumerate(looks)
    ]


NAMES = ("status", "detected_on", "confirmed_on", "closed_on", "observations", "events")


@settings(max_examples=60, deadline=None)
@given(series(), st.sampled_from([0, 15, 100, 500]))
def test_tells_the_story_of_each_pixel(case, later):
    rules, looks = case
    as_of = looks[-1][0] + later
    state = fold(AlertState.empty((1, 6)), observations(looks), rules)
    layers = alert_layers(state, rules, as_of)
    for pixel in range(6):
        story = day_by_day([(d, s, v[pixel]) for d, s, v in looks], rules, as_of)
        assert tuple(int(layers[name][0, pixel]) for name in NAMES) == story


@settings(max_examples=25, deadline=None)
@given(series(), st.lists(st.integers(0, 24), max_size=4), st.integers(0, 6))
def test_parts_of_time_and_ground_change_nothing(case, cuts, column):
    rules, looks = case
    observed = observations(looks)
    whole = fold(AlertState.empty((1, 6)), observed, rules)
    state = AlertState.empty((1, 6))
    edges = [0, *sorted(min(cut, len(observed)) for cut in cuts), len(observed)]
    for first, last in itertools.pairwise(edges):
        alert_layers(state, rules, looks[-1][0] + 999)  # looking changes nothing
        state = fold(state, observed[first:last], rules)
    halves = [
        fold(
            AlertState.empty(observed[0].probability[:, part].shape),
            [
                Observation(o.day, o.sensor, o.probability[:, part], o.kind[:, part])
                for o in observed
            ],
            rules,
        )
        for part in (slice(0, column), slice(column, 6))
    ]
    for field in dataclasses.fields(AlertState):
        expected = getattr(whole, field.name)
        np.testing.assert_array_equal(getattr(state, field.name), expected)
        joined = np.concatenate([getattr(half, field.name) for half in halves], axis=-1)
        np.testing.assert_array_equal(joined, expected)


def _one(looks, rules=AlertRules(), as_of=None):  # noqa: B008
    state = fold(AlertState.empty((1, 1)), observations([(d, s, [v]) for d, s, v in looks]), rules)
    layers = alert_layers(state, rules, looks[-1][0] if as_of is None else as_of)
    return {name: layer[0, 0].item() for name, layer in layers.items()}


def test_three_of_four_confirm():
    hits = [(10, "optical", 0.9), (15, "optical", 0.1), (20, "optical", 0.9)]
    assert _one(hits)["status"] == Status.PROVISIONAL
    confirmed = _one([*hits, (30, "optical", 0.8)])
    assert (confirmed["status"], confirmed["detected_on"], confirmed["confirmed_on"]) == (3, 10, 30)
    assert confirmed["confidence"] == pytest.approx((3 + 1) / (4 + 2))


def test_two_sensors_share_the_burden_of_proof_and_a_blind_one_does_not_deny():
    hits = [(10, "optical", 0.9), (10, "sar", 0.9), (15, "optical", 0.9)]
    assert _one(hits)["status"] == Status.CONFIRMED
    blind = [(10, "optical", 0.9), (11, "sar", 0.1), (17, "sar", 0.1), (23, "sar", 0.1)]
    assert _one(blind)["status"] == Status.PROVISIONAL
    denied = [(10, "optical", 0.9), (11, "optical", 0.1), (17, "optical", 0.1)]
    assert (_one(denied)["status"], _one(denied)["detected_on"]) == (Status.NO_CHANGE, NO_DAY)


def test_recovery_is_sought_in_season_and_a_new_anomaly_begins_a_new_event():
    felled = [(200 + i, "optical", 0.9) for i in range(3)]
    winter = [(300 + i, "optical", 0.1) for i in range(6)]
    rules = AlertRules(close_after_days=2000)
    assert _one([*felled, *winter], rules)["status"] == Status.CONFIRMED
    summer = [(565 + i, "optical", 0.1) for i in range(4)]
    closed = _one([*felled, *winter, *summer], rules)
    assert (closed["status"], closed["closed_on"], closed["events"]) == (Status.CLOSED, 568, 1)
    again = _one([*felled, *summer, (600, "optical", 0.9)], rules)
    assert (again["status"], again["detected_on"]) == (Status.PROVISIONAL, 600)


def test_what_waits_too_long_is_taken_back():
    hits = [(10, "optical", 0.9), (60, "optical", 0.9)]
    assert _one([*hits, (100, "optical", 0.9)])["status"] == Status.CONFIRMED
    late = _one([*hits, (101, "optical", 0.9)])
    assert (late["status"], late["detected_on"]) == (Status.PROVISIONAL, 101)
    assert _one(hits, as_of=101)["status"] == Status.NO_CHANGE


def test_silence_closes_on_its_day():
    felled = [(200 + i, "optical", 0.9) for i in range(3)]
    assert _one(felled, as_of=382)["status"] == Status.CONFIRMED
    assert _one(felled, as_of=383)["closed_on"] == 382


def test_order_and_rules_are_checked():
    looks = observations([(10, "optical", [0.9]), (9, "optical", [0.9])])
    with pytest.raises(ValueError, match="date order"):
        fold(AlertState.empty((1, 1)), looks, AlertRules())
    with pytest.raises(ValueError, match="expected for instance '3 of 4'"):
        AlertRules.parse("3/4")
    with pytest.raises(ValueError, match="1 <= n <= m <= 8"):
        AlertRules.parse("5 of 4")
    assert (AlertRules.parse("2 of 3").needed, AlertRules.parse("2 of 3").retracts_after) == (2, 2)
