"""The registry: one record answers which family something is of, and nobody else asks."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest

import soc_env
from soc_env import FAMILIES, SCENARIOS, ScenarioError, family_of, make_scenario, registry
from soc_env.engine.scenario import Scenario
from soc_env.engine.simulator import Simulator as BaseSimulator
from soc_env.engine.tables import AGENTS

ROOT = Path(__file__).parents[2]
BY_FAMILY = pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)


def test_every_scenario_is_of_one_family():
    assert list(SCENARIOS)[0] == "soc-v1"
    assert {name: family_of(name).name for name in SCENARIOS} == {
        **dict.fromkeys(("soc-v1", "soc-v2", "soc-cage4-v0", "soc-cage4-v1"), "soc"), "paper-v0": "paper",
    }  # fmt: skip
    for name, scenario in SCENARIOS.items():
        assert scenario.name == name
        assert family_of(scenario) is family_of(scenario.replace(max_steps=40)) is family_of(name)


@BY_FAMILY
def test_a_record_says_what_its_simulator_has(family):
    scenario = make_scenario(family.default_scenario)
    sim = soc_env.Simulator(scenario, num_envs=2, seed=0)
    assert type(sim) is family.simulator_class
    assert family_of(sim) is family
    assert type(scenario) is family.scenario_class
    for agent in AGENTS:
        assert family.features(agent, scenario) == sim.feature_tables[agent]
        assert family.actions(agent, scenario) == sim.action_tables[agent]
    assert family.state(scenario) == sim.state_table
    assert (family.metrics, family.reward_terms, family.tools) == (sim.metric_table, sim.reward_table, sim.tool_table)


@BY_FAMILY
def test_every_metric_has_a_column_and_the_headline_is_one(family):
    assert list(family.columns)[:3]
    assert set(family.columns) == {metric.name for metric in family.metrics}
    assert family.columns[family.headline].better == "higher"  # the best checkpoint is the one with the largest
    for name, column in family.columns.items():
        assert column.name == name
        assert column.better in ("", "higher", "lower")
        assert not column.given or column.given in family.columns


@BY_FAMILY
def test_presets_fit_the_actions_and_idling_is_fresh(family):
    scenario = make_scenario(family.default_scenario)
    for agent, rows in registry.presets_of(scenario).items():
        assert all(vector.shape == (len(family.actions(agent, scenario)),) for vector in rows.values())
    first, second = registry.idle_actions(scenario), registry.idle_actions(scenario)
    assert set(first) == set(AGENTS[1:])
    for agent, vector in first.items():
        vector += 1.0
        assert not np.array_equal(vector, second[agent])


def test_what_a_family_cannot_do_is_none():
    assert (FAMILIES["paper"].console, FAMILIES["paper"].trace_of, FAMILIES["paper"].tools) == (None, None, ())
    assert FAMILIES["soc"].console is soc_env.Console


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_simulator_of_a_name_is_that_of_its_family(name):
    sim = soc_env.Simulator(name, num_envs=2, seed=0)
    assert isinstance(sim, soc_env.Simulator)
    assert isinstance(sim, BaseSimulator)
    assert issubclass(type(sim), soc_env.Simulator)
    assert not isinstance(SCENARIOS[name], soc_env.Simulator)
    with pytest.raises(ScenarioError, match=r"^scenario='paper-v0' must be a Scenario; soc_env\.Simulator takes names"):
        type(sim)("paper-v0")


def test_a_stranger_is_refused_in_one_line():
    class Stranger(Scenario):
        pass

    stranger = Stranger("mine", 10, 10, 5, 1.0, 1.0, 1.0, 1.0)
    for subject in ("soc-v3", stranger, None):
        with pytest.raises(ScenarioError) as error:
            family_of(subject)
        assert "\n" not in str(error.value)
    with pytest.raises(ScenarioError, match="Stranger.*PaperScenario, SOCScenario"):
        family_of(stranger)


ASKS = re.compile(r"isinstance\([^)]*\b(SOC|Paper)(Scenario|Simulator)\b|\bis_soc\(")


def test_nobody_but_the_registry_asks_for_a_family():
    files = [file for package in ("soc_env", "policies", "cyborg_bridge") for file in (ROOT / package).rglob("*.py")]
    assert len(files) > 80
    assert not [str(file) for file in files if ASKS.search(file.read_text())]
    assert ASKS.search("if isinstance(scenario, (str, SOCScenario)):")
    assert ASKS.search("if is_soc(name):")


def test_the_example_works():
    assert doctest.testmod(registry) == (0, 3)
