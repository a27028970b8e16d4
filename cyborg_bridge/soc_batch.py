"""CC4 as a batch of SOCs to train on: `SOCBatch`, what `policies.runner.batched_env.make_batched_env` steps.

Every row is one SOC with the four roles of the `soc-v1` family, so tiers learn on CC4 with the networks, joint critics
and replay that they have at home. A CC4 episode is five rows: those of blue agents 0-3, which guard one zone, and that
of agent 4, which guards three. All five share the reward of the step, and none sees what another one sees.

Rows have to be alike, so the SOC of one zone appears as one of three zones that look the same, and what is done in its
zone is the mean of what is asked for in the three. A network that pools zones by their mean (setting `encoder` "zones")
cannot tell: greedy, it does exactly what it does on the zone alone. Exploration noise of such a row shrinks by sqrt(3).
"""

from __future__ import annotations

import os
import re

import numpy as np
from gymnasium.spaces import Space

from cyborg_bridge.cage4 import OFFICIAL_STEPS, cage4_parallel_env, checked_seed
from cyborg_bridge.soc_siem import SCENARIO, spaces_of, view_scenario
from cyborg_bridge.soc_view import SOCView
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.engine.tables import COORDINATOR, TRIAGE
from soc_env.errors import ConfigError, shown, unknown_name
from soc_env.soc.tables import actions, features

TEAMS, ZONES = 5, 3  # rows of a CC4 episode; zones that every row shows
REWARDS = ("score", "rest")


def spread_places(role: str, has_levels: bool = False) -> np.ndarray:
    """(size for three zones,) of which entry for one zone each entry is a copy; has_levels: as `features`."""
    of = {feature.name: place for place, feature in enumerate(features(role, 1, has_levels))}
    names = (re.sub(r"^(zone|directive_priority_)\d+", r"\g<1>0", f.name) for f in features(role, ZONES, has_levels))
    return np.array([of[name] for name in names])


def gather_matrix(role: str) -> np.ndarray:
    """(entries for one zone, entries for three): the mean over zones of an action, float32."""
    of = {action.name: place for place, action in enumerate(actions(role, 1))}
    places = [of[re.sub(r"_\d+$", "_0", action.name)] for action in actions(role, ZONES)]
    matrix = np.zeros((len(of), len(places)), np.float32)
    matrix[places, np.arange(len(places))] = 1.0
    return matrix / matrix.sum(1, keepdims=True)


GATHER = {role: gather_matrix(role) for role in ROLES if role != TRIAGE}


def check_num_envs(num_envs: int) -> None:
    """Raises ConfigError unless the rows are those of whole CC4 episodes."""
    if not isinstance(num_envs, int | np.integer) or num_envs < TEAMS or num_envs % TEAMS:
        raise ConfigError(f"num_envs is {shown(num_envs)}, allowed: a multiple of {TEAMS}, the rows of a CC4 episode")


def check_reward(reward: str) -> None:
    """Raises ConfigError unless rows can learn from it."""
    if reward not in REWARDS:
        raise ConfigError(unknown_name("reward", reward, REWARDS))


class SOCBatch:
    """Rows 5i to 5i + 4 are the blue agents of CC4 episode i; episodes start again by themselves.

    Attributes (N = num_envs), as of `soc_env.Simulator`: agents, observation_spaces, action_spaces, decision_periods;
    observations, final_observations, actions (agent -> (N, ...)); rewards (N,), as `reward` says; decides,
    terminated, truncated (N,) bool; episode_metrics (N,) with `reward` (their sum), `length`, `score` and `rest` (of
    the CC4 episode: the official one, and its part that blue can change) and `compromised` (hosts of the row that red
    holds, the true state: for training alone, no observation shows it).
    """

    def __init__(
        self,
        num_envs: int,
        seed: int | None = None,
        level: str = "raw",
        steps: int = OFFICIAL_STEPS,
        patch: bool = True,
        path: str | os.PathLike[str] | None = None,
        reward: str = "score",
        scenario: str = SCENARIO.name,
    ) -> None:
        """Args:
            num_envs: rows, a multiple of 5.
            seed: of the CC4 episodes.
            level, steps, patch, path, scenario: as `soc_parallel_env`.
            reward: what rows learn from: "score", CC4's team reward of every step, or "rest", the part of the official
                score that blue can change (`cyborg_bridge.score`), which is most of what tells policies apart.

        Raises:
            ConfigError: an option that does not exist or is out of range.
            CyborgNotFoundError, CyborgCheckoutError, CyborgDependencyError: see `import_cyborg`.
        """
        check_num_envs(num_envs)
        check_reward(reward)
        self.reward = reward
        self.num_envs, self._seed = int(num_envs), checked_seed(seed)
        self._spread = {role: spread_places(role, view_scenario(scenario).finding_levels) for role in ROLES}
        self.views = [
            SOCView(cage4_parallel_env(path, steps, None, patch, level), level, scenario)
            for _ in range(0, num_envs, TEAMS)
        ]
        self.agents = tuple(ROLES)
        self.decision_periods = {role: SCENARIO.coordinator_period if role == COORDINATOR else 1 for role in ROLES}
        self.observation_spaces: dict[str, Space] = {role: spaces_of(role, ZONES, scenario)[0] for role in ROLES}
        self.action_spaces: dict[str, Space] = {role: spaces_of(role, ZONES)[1] for role in ROLES}
        self.observations = {r: np.zeros((num_envs, len(self._spread[r])), np.float32) for r in ROLES}
        self.final_observations = {role: array.copy() for role, array in self.observations.items()}
        self.actions = {
            role: np.zeros((num_envs, *s.shape), np.int64 if role == TRIAGE else np.float32)  # type: ignore[misc]
            for role, s in self.action_spaces.items()
        }
        self.rewards = np.zeros(num_envs)
        self.decides, self.terminated, self.truncated = (np.zeros(num_envs, bool) for _ in range(3))
        fields = [("reward", "f8"), ("length", "i8"), ("score", "f8"), ("rest", "f8"), ("compromised", "f8")]
        self.episode_metrics, self._running = np.zeros(num_envs, fields), np.zeros(num_envs, fields)

    def running_metrics(self) -> np.ndarray:
        """`episode_metrics` of the episodes under way."""
        return self._running.copy()

    def reset(self, seed: int | None = None) -> dict[str, np.ndarray]:
        """Starts all episodes anew; without a seed their own streams go on (the first time: from the batch's seed).

        Raises:
            ConfigError: a bad seed.
        """
        seed = checked_seed(seed)
        seed, self._seed = (self._seed if seed is None else seed), None
        seeds = [None] * len(self.views)
        if seed is not None:
            seeds = np.random.SeedSequence(seed).generate_state(len(self.views)).tolist()
        for index, one in enumerate(seeds):
            self._start(index, one)
        return self.observations

    def step(self) -> None:
        """One step of every episode with `actions`."""
        for index, view in enumerate(self.views):
            first = TEAMS * index
            rows = slice(first, first + TEAMS)
            _, rewards, _, truncations, infos = view.step(
                {blue: self._actions_of(blue, view, row) for row, blue in enumerate(view.teams, first)}
            )
            blue = next(iter(rewards))
            reward = rewards[blue] if self.reward == "score" else infos[blue]["rest"]
            self.rewards[rows] = reward
            self.truncated[rows] = truncations[blue]
            running = self._running[rows]
            running["reward"] += reward
            running["length"] += 1
            running["score"] += infos[blue]["score"]
            running["rest"] += infos[blue]["rest"]
            self._look(index)
            if truncations[blue]:
                self.episode_metrics[rows] = running
                for role, seen in self.observations.items():
                    self.final_observations[role][rows] = seen[rows]
                self._start(index)

    def _actions_of(self, blue: str, view: SOCView, row: int) -> dict[str, np.ndarray]:
        asked = {role: array[row] for role, array in self.actions.items()}
        if len(view.teams[blue].names) == ZONES:
            return asked
        return {role: GATHER[role] @ action if role in GATHER else action for role, action in asked.items()}

    def _start(self, index: int, seed: int | None = None) -> None:
        self.views[index].reset(seed)
        self._running[TEAMS * index : TEAMS * (index + 1)] = 0
        self._look(index)

    def _look(self, index: int) -> None:
        view = self.views[index]
        held = view.env.red_hosts()
        for row, (blue, seen) in enumerate(view.observations().items(), TEAMS * index):
            team = view.teams[blue]
            is_whole = len(team.names) == ZONES
            for role, observation in seen.items():
                self.observations[role][row] = observation if is_whole else observation[self._spread[role]]
            self.decides[row] = team.siem.decides[team.row]
            self._running["compromised"][row] = len(held.intersection(team.hosts))

    def close(self) -> None:
        """Closes the episodes."""
        for view in self.views:
            view.env.close()
