"""Budgets, and the points of a run at which something is due."""

import math
from typing import Any

import pytest

from experiments.budget import Budget, Points, Rhythm
from experiments.families import protocol_of
from soc_env.errors import ConfigError

RHYTHM = Rhythm(seconds=20.0, share=1 / 4, least_steps=10, most_steps=1000)


@pytest.mark.parametrize("plain", [{"minutes": 10.0}, {"steps": 3000}, {"minutes": 1}])
def test_a_budget_is_plain_data_and_back(plain: dict[str, Any]) -> None:
    assert Budget.of(plain).to_plain() == plain


@pytest.mark.parametrize(
    ("plain", "says"),
    [
        ({}, "one of them is allowed"),
        ({"minutes": 1, "steps": 1}, "one of them is allowed"),
        ({"steps": 1.5}, "steps=1.5 is not allowed: a whole number above 0 is"),
        ({"steps": 0}, "steps=0 is not allowed"),
        ({"steps": True}, "steps=True is not allowed"),
        ({"minutes": math.nan}, "minutes=nan is not allowed: a number above 0 is"),
        ({"minutes": math.inf}, "minutes=inf is not allowed"),
        ({"minutes": "10"}, "minutes='10' is not allowed"),
        ({"hours": 1}, "allowed: minutes or steps"),
        ([1], "allowed: minutes or steps"),
    ],
)
def test_no_budget(plain: Any, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        Budget.of(plain)


def test_how_much_is_done() -> None:
    minutes, steps = Budget(minutes=2.0), Budget(steps=100)
    assert minutes.share_done(60.0, 10**9) == 0.5
    assert steps.share_done(1e9, 25) == 0.25
    assert minutes.share_done(121.0, 0) == steps.share_done(0.0, 101) == 1.0
    assert (str(minutes), minutes.option(), str(minutes.doubled())) == ("2 minutes", "--minutes 2", "4 minutes")
    assert (str(Budget(steps=3000)), steps.option(), steps.doubled()) == (
        "3,000 steps",
        "--steps 100",
        Budget(None, 200),
    )


def due(budget: Budget, begins: int, steps: range) -> list[int]:
    points = Points(RHYTHM, budget, 0.0, begins)
    return [now for now in steps if points.is_due(0.0, now)]


def test_points_in_steps_are_the_same_wherever_a_run_is_resumed() -> None:
    budget = Budget(steps=400)
    whole = due(budget, 0, range(7, 400, 7))
    assert whole == [105, 203, 301]  # the first iterations at or after 100, 200 and 300
    for stopped in range(7, 400, 7):
        assert due(budget, stopped, range(stopped + 7, 400, 7)) == [point for point in whole if point > stopped]


def test_points_in_steps_do_not_wander_when_a_budget_changes() -> None:
    assert due(Budget(steps=800), 203, range(210, 800, 7)) == [406, 602]  # multiples of 200
    assert RHYTHM.interval(8) == 10
    assert RHYTHM.interval(10**9) == 1000


def test_points_in_minutes_go_by_the_clock_of_training() -> None:
    points = Points(RHYTHM, Budget(minutes=10.0), 100.0, 5000)
    found = [seconds for seconds in range(100, 200, 9) if points.is_due(float(seconds), 10**9)]
    assert found == [127, 154, 181]


@pytest.mark.parametrize(
    ("scenario", "steps", "interval"),
    [
        ("soc-v1", 800_000, 40_000),
        ("soc-v1", 50_000, 10_000),
        ("paper-v0", 800_000, 80_000),
        ("paper-v0", 4_000_000, 200_000),
    ],
)
def test_validations_cost_a_small_share_of_a_run(scenario: str, steps: int, interval: int) -> None:
    protocol = protocol_of(scenario)
    assert protocol.validation.interval(steps) == interval
    assert protocol.checkpoint.interval(steps) >= interval
