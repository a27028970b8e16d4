"""CC4 as a PettingZoo ParallelEnv of our four roles, five times over: `soc_parallel_env`.

| | |
|---|---|
| Agents | `alert_triage_k`, `threat_hunter_k`, `response_orchestrator_k`, `strategic_coordinator_k`, k = 0-4: 20 |
| Of whom | team k is the SOC of `blue_agent_k`: one zone for k = 0-3, three for k = 4 |
| Actions, observations | of the `soc-v1` family for 1 and 3 zones, see `cyborg_bridge.soc_view` |
| Reward | CC4's team reward of the step, the same number for every agent |
| Length | `steps` - 1: 499; truncated, never terminated |

`infos[agent]`: "decides", as in `soc_env`: whether the next action counts (the coordinator's does every 5th step);
"score", as in `cage4_parallel_env`; triage's "action_mask". A missing action, or None, means hold: the last one of the
role, at first the neutral one (nothing is asked for; triage enriches).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Space
from pettingzoo import ParallelEnv

from cyborg_bridge.cage4 import OFFICIAL_STEPS, Cage4Env, cage4_parallel_env, check_mapping
from cyborg_bridge.soc_siem import SCENARIO, spaces_of, view_scenario
from cyborg_bridge.soc_view import SOCView, check_level
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.engine.tables import COORDINATOR, TRIAGE
from soc_env.parallel import ResetNeeded

Observations = dict[str, np.ndarray]
Infos = dict[str, dict[str, Any]]


class SOCTeamsEnv(ParallelEnv[str, np.ndarray, Any]):
    """One CC4 episode at a time; the module's docstring is its documentation.

    Attributes:
        view: the `SOCView` that does the work; `view.env` is the native environment.
        possible_agents: the 20 agents, team by team.
        agents: those that act in the next step; empty before `reset` and after the end.
        observation_spaces, action_spaces: agent -> its space.
        places: agent -> (blue agent, role).
    """

    metadata: dict[str, Any] = {"name": "cyborg_cage4_soc_v0", "render_modes": [], "is_parallelizable": True}
    render_mode = None

    def __init__(self, env: Cage4Env, level: str = "flat", scenario: str = SCENARIO.name) -> None:
        """Arguments and errors as of `SOCView`."""
        self.view = SOCView(env, level, scenario)
        self.places = {
            f"{role.rsplit('_', 1)[0]}_{k}": (blue, role)
            for k, blue in enumerate(env.possible_agents)
            for role in ROLES
        }
        self.possible_agents = list(self.places)
        self.agents: list[str] = []
        self.observation_spaces: dict[str, Space] = {}
        self.action_spaces: dict[str, Space] = {}
        for agent, (blue, role) in self.places.items():
            zones = len(env.zone(blue).subnets)
            self.observation_spaces[agent], self.action_spaces[agent] = spaces_of(role, zones, scenario)

    def observation_space(self, agent: str) -> Space:
        """The agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
        """The agent's action space, always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observations, Infos]:
        """Starts an episode.

        Args:
            seed: as `Cage4Env.reset`.
            options: ignored; none are defined.
        """
        self.view.reset(seed)
        self.agents = list(self.possible_agents)
        return self._observations(), self._infos({"score": 0.0, "rest": 0.0, "charges": ()})

    def step(
        self, actions: Mapping[str, Any]
    ) -> tuple[Observations, dict[str, float], dict[str, bool], dict[str, bool], Infos]:
        """One step of all teams.

        Args:
            actions: agent -> action. A missing agent, or None, holds; other keys are ignored.

        Raises:
            ActionError: no mapping, a wrong shape or type, NaN, or a choice out of range; nothing has changed then.
            ResetNeeded: before `reset`, or after the end of the episode.
        """
        if not self.agents:
            raise ResetNeeded("step() needs a running episode: call reset() first")
        check_mapping(actions)
        by_blue: dict[str, dict[str, Any]] = {}
        for agent, (blue, role) in self.places.items():
            if actions.get(agent) is not None:
                by_blue.setdefault(blue, {})[role] = actions[agent]
        _, rewards, _, truncations, infos = self.view.step(by_blue)
        blue = next(iter(rewards))
        if truncations[blue]:
            self.agents = []
        every = self.possible_agents
        return (
            self._observations(),
            dict.fromkeys(every, rewards[blue]),
            dict.fromkeys(every, False),
            dict.fromkeys(every, truncations[blue]),
            self._infos({name: infos[blue][name] for name in ("score", "rest", "charges")}),
        )

    def _observations(self) -> Observations:
        seen = self.view.observations()
        return {agent: seen[blue][role] for agent, (blue, role) in self.places.items()}

    def _infos(self, scored: Mapping[str, Any]) -> Infos:
        infos: Infos = {}
        masks = {zones: siem.action_masks()[TRIAGE] for zones, siem in self.view.siems.items()}
        for agent, (blue, role) in self.places.items():
            team = self.view.teams[blue]
            decides = bool(self.agents) and (role != COORDINATOR or bool(team.siem.decides[team.row]))
            infos[agent] = {"decides": int(decides), **scored}
            if role == TRIAGE:
                infos[agent]["action_mask"] = masks[len(team.names)][team.row]
        return infos

    def close(self) -> None:
        """As `Cage4Env.close`."""
        self.view.env.close()

    def __str__(self) -> str:
        return self.metadata["name"]


def soc_parallel_env(
    path: str | os.PathLike[str] | None = None,
    steps: int = OFFICIAL_STEPS,
    seed: int | None = None,
    patch: bool = False,
    level: str = "flat",
    scenario: str = SCENARIO.name,
) -> SOCTeamsEnv:
    """CC4 played by five SOCs of four roles each.

    Args:
        path, steps, seed, patch: as `cage4_parallel_env`.
        level: "flat" or "raw", what the roles may see: `cyborg_bridge.soc_view`.
        scenario: "soc-cage4-v0" or "soc-cage4-v1", whose tables they speak: there too.

    Raises:
        CyborgNotFoundError, CyborgCheckoutError, CyborgDependencyError: see `import_cyborg`.
        ConfigError: an option that does not exist or is out of range.
    """
    check_level(level)
    view_scenario(scenario)
    return SOCTeamsEnv(cage4_parallel_env(path, steps, seed, patch, level), level, scenario)
