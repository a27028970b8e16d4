"""No agent acts on what another one sees: fed with its own episode and the others' of another, it does the same.

On the recorded episode, with the others' steps shuffled; on the real CC4 (`CYBORG_HOME`) with another episode of it.
"""

import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from cage4_trace import Replay, load, needs_cyborg

from cyborg_bridge import cage4_parallel_env
from cyborg_bridge.controls import make_control
from cyborg_bridge.soc_siem import VIEWS
from cyborg_bridge.soc_view import SOCPolicy
from cyborg_bridge.zones import Zone
from policies.scripted import builder_of

AGENTS = [f"blue_agent_{number}" for number in range(5)]
STEPS = 160
TEAM = Path(__file__).parents[2] / "policies/teams/soc-v1"


class Seen(NamedTuple):
    """What one agent gets in a step."""

    vector: np.ndarray
    info: dict[str, Any]
    raw: Any


Episode = list[dict[str, Seen]]


class Spliced:
    """As an environment that is read: every agent's steps come from an episode of its own."""

    observation = "raw"

    def __init__(self, zones: Mapping[str, Zone], episodes: Mapping[str, Episode], steps: int) -> None:
        self.zones, self.episodes, self.steps = zones, episodes, steps
        self.possible_agents, self.episode, self.time = AGENTS, uuid.uuid4().hex, 0

    def zone(self, agent: str) -> Zone:
        return self.zones[agent]

    def seen(self, agent: str) -> Seen:
        return self.episodes[agent][self.time][agent]

    def raw_observation(self, agent: str) -> Any:
        return self.seen(agent).raw


def actions_of(policy: Any, env: Spliced) -> dict[str, list[int]]:
    """What the policy does with what it is shown, step by step."""
    policy.reset()
    chosen: dict[str, list[int]] = {agent: [] for agent in AGENTS}
    for time in range(min(map(len, env.episodes.values()))):
        env.time = time
        seen = {agent: env.seen(agent) for agent in AGENTS}
        actions = policy.act({a: s.vector for a, s in seen.items()}, {a: s.info for a, s in seen.items()}, env)
        for agent, action in actions.items():
            chosen[agent].append(action)
    return chosen


def leaks(policy: Any, zones: Mapping[str, Zone], own: Episode, other: Episode, steps: int) -> dict[str, int]:
    """Agent -> first step at which it acts otherwise because of what the others see, after checking that in `other` it
    would."""
    expected = actions_of(policy, Spliced(zones, dict.fromkeys(AGENTS, own), steps))
    elsewhere = actions_of(policy, Spliced(zones, dict.fromkeys(AGENTS, other), steps))
    assert all(expected[agent] != elsewhere[agent] for agent in AGENTS)
    found = {}
    for agent in AGENTS:
        mixed = {one: own if one == agent else other for one in AGENTS}
        actions = actions_of(policy, Spliced(zones, mixed, steps))[agent]
        assert len(actions) == len(own)
        differs = np.array(actions) != expected[agent]
        if differs.any():
            found[agent] = int(differs.argmax())
    return found


class Leaky:
    """As another policy, but an agent sleeps where an odd number of the others' flags is set."""

    def __init__(self, policy: Any) -> None:
        self.policy = policy

    def reset(self) -> None:
        self.policy.reset()

    def act(self, observations: Mapping[str, np.ndarray], infos: Any, env: Any) -> dict[str, int]:
        actions = self.policy.act(observations, infos, env)
        total = sum(int(vector.sum()) for vector in observations.values())
        odd = {agent: (total - int(observations[agent].sum())) % 2 for agent in actions}
        return {agent: env.zone(agent).sleep if odd[agent] else action for agent, action in actions.items()}


def scripted(name: str, level: str, scenario: str) -> SOCPolicy:
    return SOCPolicy(lambda siem: builder_of(name, scenario, "playbook")(siem.action_spaces, 0), level, scenario)


def trained(level: str) -> Any:
    """The team that comes with the package."""
    torch = pytest.importorskip("torch")
    from experiments.transfer.entries import team_policy
    from policies.loading import load_policy

    assert torch
    team = load_policy(TEAM)
    return team_policy(team.for_zones, level, 0)


POLICIES: dict[str, Callable[[], Any]] = {
    "raw-rule": lambda: make_control("raw-rule"),
    "flat-rule": lambda: make_control("flat-rule"),
    "frugal-rule": lambda: make_control("frugal-rule"),
    "belief-rule": lambda: make_control("belief-rule"),
    "expert, raw": lambda: scripted("expert", "raw", VIEWS[0]),
    "expert, flat": lambda: scripted("expert", "flat", VIEWS[0]),
    "expert, raw, finding levels": lambda: scripted("expert", "raw", VIEWS[1]),
    "expert, flat, finding levels": lambda: scripted("expert", "flat", VIEWS[1]),
    "trained team, raw": lambda: trained("raw"),
    "trained team, flat": lambda: trained("flat"),
}


# --- on the recorded episode


def recorded() -> tuple[dict[str, Zone], Episode, Episode]:
    replay = Replay(load())
    observations, infos = replay.reset()
    own: Episode = []
    while True:
        raw = {agent: replay.raw_observation(agent) for agent in AGENTS}
        own.append({agent: Seen(observations[agent], infos[agent], raw[agent]) for agent in AGENTS})
        if not replay.agents:
            break
        observations, _, _, _, infos = replay.step({})
    order = 1 + np.random.default_rng(0).permutation(len(own) - 1)  # the inventory comes first
    return {agent: replay.zone(agent) for agent in AGENTS}, own, [own[0], *(own[step] for step in order)]


@pytest.mark.parametrize("name", POLICIES)
def test_agents_act_on_their_own_record_alone(name: str) -> None:
    assert leaks(POLICIES[name](), *recorded(), 60) == {}


@pytest.mark.parametrize("name", ["raw-rule", "expert, raw"])
def test_a_leak_would_be_seen(name: str) -> None:
    assert leaks(Leaky(POLICIES[name]()), *recorded(), 60).keys() == set(AGENTS)


# --- on the real one


def played(policy: Any, seed: int) -> tuple[dict[str, Zone], Episode]:
    """What the agents see in an episode that a policy plays."""
    env = cage4_parallel_env(observation="raw", patch=True)
    observations, infos = env.reset(seed=seed)
    policy.reset()
    episode: Episode = []
    for _ in range(STEPS):
        raw = {agent: env.raw_observation(agent) for agent in AGENTS}
        episode.append({agent: Seen(observations[agent], infos[agent], raw[agent]) for agent in AGENTS})
        observations, _, _, _, infos = env.step(policy.act(observations, infos, env))
    return {agent: env.zone(agent) for agent in AGENTS}, episode


@needs_cyborg
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * name.startswith("trained")) for name in POLICIES]
)
def test_agents_act_on_their_own_episode_alone(name: str) -> None:
    policy = POLICIES[name]()
    zones, own = played(policy, 71)
    _, other = played(policy, 72)
    assert leaks(policy, zones, own, other, 500) == {}
    assert leaks(Leaky(policy), zones, own, other, 500).keys() == set(AGENTS)
