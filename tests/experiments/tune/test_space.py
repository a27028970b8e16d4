"""Search spaces: what may stand for a value, what is drawn, and that settings come out whole."""

from __future__ import annotations

import math

import numpy as np
import pytest

from experiments.tune.space import KINDS, Space
from soc_env.errors import ConfigError

PLAIN = {
    "n_step": {"choice": [1, 3]},
    "replay_beta": 1.0,
    "tiers": {
        "threat_hunter": {
            "actor_lr": [[0, 0.0], [1000, {"loguniform": [1e-5, 1e-3]}]],
            "gamma": {"grid": [0.9, 0.95, 0.99]},
            "critic": {"bins": {"randint": [2, 4]}},
        },
        "alert_triage": {"gamma": {"uniform": [0.0, 0.5]}},
    },
}
PLACES = {
    "n_step",
    "tiers.threat_hunter.actor_lr[1][1]",
    "tiers.threat_hunter.gamma",
    "tiers.threat_hunter.critic.bins",
    "tiers.alert_triage.gamma",
}


def test_distributions_are_found_at_any_depth_and_filled_in():
    space = Space.of(PLAIN)
    assert set(space.distributions) == PLACES
    assert not space.is_all_grid
    values = dict(zip(sorted(PLACES), (3, 0.25, 1e-4, 2, 0.9), strict=True))
    filled = space.settings(values)
    assert filled["replay_beta"] == 1.0
    assert filled["n_step"] == 3
    assert filled["tiers"]["threat_hunter"]["actor_lr"] == [[0, 0.0], [1000, 1e-4]]
    assert filled["tiers"]["threat_hunter"]["critic"] == {"bins": 2}
    assert PLAIN["n_step"] == {"choice": [1, 3]}


def test_every_point_of_the_grid_is_taken_for_every_sample():
    drawn = Space.of(PLAIN).draw(samples=4, seed=0)
    assert [values["tiers.threat_hunter.gamma"] for values in drawn] == [0.9, 0.95, 0.99] * 4
    assert len({values["tiers.threat_hunter.actor_lr[1][1]"] for values in drawn}) == 12


def test_draws_lie_in_their_ranges_and_depend_on_the_seed_alone():
    space = Space.of(PLAIN)
    drawn = space.draw(samples=200, seed=1)
    rates = np.array([values["tiers.threat_hunter.actor_lr[1][1]"] for values in drawn])
    assert ((rates >= 1e-5) & (rates <= 1e-3)).all()
    assert abs(np.log(rates).mean() - math.log(1e-4)) < 0.2
    gammas = np.array([values["tiers.alert_triage.gamma"] for values in drawn])
    assert 0.0 <= gammas.min() < 0.01
    assert 0.49 < gammas.max() <= 0.5
    assert {values["tiers.threat_hunter.critic.bins"] for values in drawn} == {2, 3, 4}
    assert drawn == space.draw(samples=200, seed=1)
    assert drawn[:30] == space.draw(samples=10, seed=1)
    assert drawn != space.draw(samples=200, seed=2)


def test_both_ends_of_every_distribution_are_visited():
    space = Space.of(PLAIN)
    visited = [values for _, values in space.extremes()]
    for place, distribution in space.distributions.items():
        assert {values[place] for values in visited} >= set(distribution.parameters), place
    assert "n_step=3" in dict(space.extremes())


@pytest.mark.parametrize(
    ("kind", "parameters"),
    [
        ("grid", []),
        ("choice", 3),
        ("uniform", [0.5]),
        ("uniform", [2, 1]),
        ("uniform", [1, 1]),
        ("uniform", [0, float("inf")]),
        ("uniform", [float("nan"), 1]),
        ("uniform", [False, True]),
        ("loguniform", [0, 1]),
        ("loguniform", ["1", 2]),
        ("randint", [1, 2.5]),
    ],
)
def test_parameters_that_a_kind_does_not_take_are_refused_by_place(kind, parameters):
    with pytest.raises(ConfigError) as error:
        Space.of({"tiers": {"a": {"lr": {kind: parameters}}}})
    assert str(error.value).startswith(f"space: tiers.a.lr: {kind}=")
    assert str(error.value).endswith(KINDS[kind].allowed)


def test_a_file_without_distributions_is_refused():
    with pytest.raises(ConfigError, match="holds nothing to search"):
        Space.of({"n_step": 3, "tiers": {"threat_hunter": {"lognormal": [0, 1]}}})


def test_a_changed_value_goes_back_into_its_range():
    space = Space.of(PLAIN)
    assert space.distributions["tiers.alert_triage.gamma"].clipped(0.6) == 0.5
    assert space.distributions["tiers.threat_hunter.actor_lr[1][1]"].clipped(1e-6) == 1e-5
    assert space.distributions["n_step"].clipped(3) == 3
