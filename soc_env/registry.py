"""The families of scenarios, and the only place that knows them both.

`FAMILIES` has one `Family` record for each. `family_of(x)` is that of a scenario, of its name or of a simulator, so
nothing else has to ask which family something belongs to.

>>> family = family_of("soc-cage4-v0")
>>> family.name, family.headline, family.default_scenario
('soc', 'score', 'soc-v1')
>>> family_of(Simulator("paper-v0")).columns["mttd"].title
'MTTD [steps]'
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from soc_env.engine.pen import Canvas, Pen
from soc_env.engine.scenario import Scenario
from soc_env.engine.simulator import Simulator as BaseSimulator
from soc_env.engine.tables import AGENTS, ActionEntry, Column, Feature, Metric, RewardTerm
from soc_env.errors import ConfigError, ScenarioError, unknown_name
from soc_env.paper import picture as paper_picture
from soc_env.paper import presets as paper_presets
from soc_env.paper import tables as paper_tables
from soc_env.paper.scenario import SCENARIOS as PAPER_SCENARIOS
from soc_env.paper.scenario import PaperScenario
from soc_env.paper.simulator import PaperSimulator
from soc_env.paper.text import as_text as paper_text
from soc_env.soc import picture as soc_picture
from soc_env.soc import presets as soc_presets
from soc_env.soc import tables as soc_tables
from soc_env.soc.console import Console
from soc_env.soc.risk_model import kept
from soc_env.soc.scenario import SCENARIOS as SOC_SCENARIOS
from soc_env.soc.scenario import SOCScenario
from soc_env.soc.simulator import SOCSimulator
from soc_env.soc.tables import Tool
from soc_env.soc.text import as_text as soc_text
from soc_env.soc.trace import trace_of

Vectors = dict[str, np.ndarray]


@dataclass(frozen=True)
class Family:
    """Everything that differs from one family of scenarios to another.

    Attributes:
        name: Key of `FAMILIES`.
        default_scenario: Name of the scenario that stands for the family.
        scenarios: Name -> scenario, those of the family.
        scenario_class: What its scenarios are.
        simulator_class: What plays them.
        features: (agent, scenario) -> rows of the agent's observation.
        actions: (agent, scenario) -> rows of the agent's action.
        state: (scenario) -> rows of the global state.
        reward_terms: Rows of the reward.
        metrics: Rows of an episode's metrics.
        tools: What the action vectors are decoded into; empty where they drive the simulator directly.
        columns: Metric name -> how it is shown, for every metric.
        headline: The metric that results, claims and the choice of the best checkpoint go by; more of it is better.
        presets: (scenario) -> Box agent -> name -> vector, in the order of the Discrete choices. Shared: not to be
            written into.
        idle_actions: (scenario) -> Box agent -> what it does if it never sends an action. Fresh arrays.
        as_text: (simulator, index) -> an env as a page of text, the truth included, for people.
        draw_background: (pen, simulator, index) draws what never changes.
        draw: (pen, simulator, index) draws the present moment.
        console: Builds the tools of an env as a Python API; None where there is none.
        trace_of: Writes down an episode as plain data; None where it cannot be.
    """

    name: str
    default_scenario: str
    scenarios: Mapping[str, Scenario]
    scenario_class: type[Scenario]
    simulator_class: type[BaseSimulator]
    features: Callable[[str, Any], tuple[Feature, ...]]
    actions: Callable[[str, Any], tuple[ActionEntry, ...]]
    state: Callable[[Any], tuple[Feature, ...]]
    reward_terms: tuple[RewardTerm, ...]
    metrics: tuple[Metric, ...]
    tools: tuple[Tool, ...]
    columns: Mapping[str, Column]
    headline: str
    presets: Callable[[Any], dict[str, Vectors]]
    idle_actions: Callable[[Any], Vectors]
    as_text: Callable[[Any, int], str]
    draw_background: Callable[[Pen, Any, int], None]
    draw: Callable[[Pen, Any, int], None]
    console: type[Console] | None = None
    trace_of: Callable[..., Any] | None = None

    def canvas(self, simulator: BaseSimulator, index: int = 0) -> Canvas:
        """What draws env `index` of a simulator of this family; ImportError without matplotlib, naming the extra."""
        return Canvas(
            lambda pen: self.draw_background(pen, simulator, index), lambda pen: self.draw(pen, simulator, index)
        )


FAMILIES: dict[str, Family] = {
    family.name: family
    for family in (
        Family(
            name="soc",
            default_scenario="soc-v1",
            scenarios=SOC_SCENARIOS,
            scenario_class=SOCScenario,
            simulator_class=SOCSimulator,
            features=lambda agent, scenario: soc_tables.features(agent, scenario.num_zones, scenario.finding_levels),
            actions=lambda agent, scenario: soc_tables.actions(agent, scenario.num_zones),
            state=lambda scenario: soc_tables.state_features(scenario.num_zones, scenario.finding_levels),
            reward_terms=soc_tables.REWARD_TERMS,
            metrics=soc_tables.METRICS,
            tools=soc_tables.TOOLS,
            columns={column.name: column for column in soc_tables.COLUMNS},
            headline="score",
            presets=lambda scenario: soc_presets.presets(scenario.num_zones),
            idle_actions=lambda scenario: soc_presets.idle_actions(scenario.num_zones),
            as_text=soc_text,
            draw_background=soc_picture.draw_background,
            draw=soc_picture.draw,
            console=Console,
            trace_of=trace_of,
        ),
        Family(
            name="paper",
            default_scenario="paper-v0",
            scenarios=PAPER_SCENARIOS,
            scenario_class=PaperScenario,
            simulator_class=PaperSimulator,
            features=lambda agent, scenario: paper_tables.FEATURES[agent],
            actions=lambda agent, scenario: paper_tables.ACTIONS[agent],
            state=lambda scenario: paper_tables.STATE,
            reward_terms=paper_tables.REWARD_TERMS,
            metrics=paper_tables.METRICS,
            tools=(),
            columns={column.name: column for column in paper_tables.COLUMNS},
            headline="reward",
            presets=lambda scenario: paper_presets.PRESETS,
            idle_actions=lambda scenario: paper_presets.idle_actions(),
            as_text=paper_text,
            draw_background=paper_picture.draw_background,
            draw=paper_picture.draw,
        ),
    )
}

SCENARIOS: dict[str, Scenario] = {
    name: scenario for family in FAMILIES.values() for name, scenario in family.scenarios.items()
}
"""All named scenarios."""


def make_scenario(name: str = "soc-v1", **overrides: Any) -> Scenario:
    """A named scenario with some fields changed.

    Args:
        name: A key of `SCENARIOS`.
        **overrides: Fields of the scenario to change, e.g. `num_hosts=1000`.

    Returns:
        The scenario; equal arguments give equal scenarios.

    Raises:
        ScenarioError: Unknown scenario, unknown field, wrong type, or out of range.
    """
    if not isinstance(name, str) or name not in SCENARIOS:
        raise ScenarioError(unknown_name("scenario", name, SCENARIOS))
    return SCENARIOS[name].replace(**overrides)


def as_scenario(scenario: str | Scenario, **overrides: Any) -> Scenario:
    """A scenario from itself or from its name, with some fields changed; raises as `make_scenario`."""
    return scenario.replace(**overrides) if isinstance(scenario, Scenario) else make_scenario(scenario, **overrides)


def family_of(subject: str | Scenario | BaseSimulator) -> Family:
    """The family of a scenario, of the scenario of that name, or of a simulator.

    Raises:
        ScenarioError: There is no scenario of that name, or its class is of no family.
    """
    scenario = subject.scenario if isinstance(subject, BaseSimulator) else as_scenario(subject)
    for family in FAMILIES.values():
        if isinstance(scenario, family.scenario_class):
            return family
    raise ScenarioError(unknown_name("class of scenario", type(scenario).__name__, _class_names()))


def _class_names() -> list[str]:
    return [family.scenario_class.__name__ for family in FAMILIES.values()]


class Simulator(BaseSimulator):
    """The simulator of a scenario, whichever family it is of: `Simulator("soc-v1", num_envs=4)`.

    Takes what `soc_env.engine.simulator.Simulator` takes, whose page is the one to read, and names of scenarios too.
    Builds the `simulator_class` of the scenario's family; `isinstance(x, Simulator)` holds for all of them.
    """

    def __new__(cls, scenario: str | Scenario = "soc-v1", *args: Any, **kwargs: Any) -> Simulator:
        """Raises as the built class does, and ScenarioError for an unknown scenario."""
        chosen = as_scenario(scenario)
        build: Any = family_of(chosen).simulator_class
        return build(chosen, *args, **kwargs)

    def __init__(self, scenario: str | Scenario = "soc-v1", *args: Any, **kwargs: Any) -> None:
        """Never called: `__new__` returns an object of another class. Here for type checkers."""
        raise NotImplementedError


for _family in FAMILIES.values():
    Simulator.register(_family.simulator_class)


def features(agent: str, scenario: str | Scenario = "soc-v1", **overrides: Any) -> list[str]:
    """Names of the entries of an agent's observation, by index.

    Args:
        agent: One of `AGENTS`.
        scenario: A key of `SCENARIOS`, or a scenario.
        **overrides: Fields of the scenario; the names of `soc-v1` depend on `num_zones`.

    Raises:
        ConfigError: Unknown agent.
        ScenarioError: Unknown scenario or override, or a value out of range.
    """
    if agent not in AGENTS:
        raise ConfigError(unknown_name("agent", agent, AGENTS))
    chosen = as_scenario(scenario, **overrides)
    return [row.name for row in family_of(chosen).features(agent, chosen)]


def presets_of(scenario: str | Scenario) -> dict[str, Vectors]:
    """Box agent -> name -> vector, in the order of the choices. Shared: do not write into it."""
    chosen = as_scenario(scenario)
    return family_of(chosen).presets(chosen)


def preset_tables(scenario: str | Scenario) -> Vectors:
    """Box agent -> (choices, action size) float32, fresh arrays."""
    return {agent: np.array(list(rows.values()), np.float32) for agent, rows in presets_of(scenario).items()}


def idle_actions(scenario: str | Scenario) -> Vectors:
    """Box agent -> what it does if it never sends an action, float32, fresh arrays."""
    chosen = as_scenario(scenario)
    return family_of(chosen).idle_actions(chosen)


def kept_overrides(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a scenario as run folders and checkpoints keep them: a risk model's file as its text, so that the file
    may change or go.

    Raises:
        ConfigError: There is no such file, or it is none.
    """
    found, path = dict(overrides), overrides.get("risk_model")
    return {**found, "risk_model": kept(path)} if isinstance(path, str) else found
