"""The batched simulator as a gymnasium VectorEnv."""

from __future__ import annotations

import copy
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import MultiDiscrete, Space
from gymnasium.vector.utils import batch_space

from soc_env.engine.scenario import Scenario
from soc_env.engine.seeds import Seed
from soc_env.engine.simulator import unit_box
from soc_env.engine.tables import AGENTS, COORDINATOR, TRIAGE
from soc_env.errors import ActionError, ConfigError, unknown_name
from soc_env.registry import Simulator, preset_tables

try:
    from gymnasium.vector import AutoresetMode
except ImportError:  # gymnasium before 1.1
    AutoresetMode = None  # type: ignore[assignment,misc]


class SOCVectorEnv(gym.vector.VectorEnv):
    """`CentralGym` for a whole batch, straight over `Simulator`: gymnasium's vector API without a Python loop.

    An episode that ends starts anew in the same step (`AutoresetMode.SAME_STEP`): `infos["final_obs"]` and
    `infos["final_info"]` (the fields of `episode_metrics`) belong to it, `infos["_final_obs"]` says where.

    Attributes:
        simulator: The batch underneath.
        num_envs: Environments in the batch.
        single_observation_space: Box of all observations in a row.
        single_action_space: Box of all actions in a row (triage takes the largest of 4), or MultiDiscrete of presets.
        observation_space: The former, batched.
        action_space: The former, batched.
    """

    def __init__(
        self,
        scenario: str | Scenario = "soc-v1",
        num_envs: int = 1,
        *,
        actions: str = "continuous",
        seed: Seed = None,
        num_threads: int = 1,
        **overrides: Any,
    ) -> None:
        """Args as in `Simulator`, and actions: "continuous" or "discrete".

        Raises:
            ScenarioError: Unknown scenario or override, or a value out of range.
            ConfigError: An unknown option, or gymnasium older than 1.1.
        """
        if AutoresetMode is None:
            raise ConfigError(f"SOCVectorEnv needs gymnasium 1.1 or newer; this is {gym.__version__}")
        if actions not in ("continuous", "discrete"):
            raise ConfigError(unknown_name("actions", actions, ("continuous", "discrete")))
        self.metadata = {"render_modes": [], "autoreset_mode": AutoresetMode.SAME_STEP}
        self.simulator = Simulator(scenario, num_envs, seed, autoreset=True, num_threads=num_threads, **overrides)
        self.num_envs = self.simulator.num_envs
        self._tables = preset_tables(self.simulator.scenario) if actions == "discrete" else {}
        entries = {agent: len(rows) for agent, rows in self.simulator.action_tables.items()}
        sizes = [len(self._tables[agent]) if agent in self._tables else entries[agent] for agent in AGENTS]
        self._sizes = np.array(sizes)
        self.single_observation_space: Space = unit_box(sum(map(len, self.simulator.feature_tables.values())))
        self.single_action_space: Space = MultiDiscrete(sizes) if self._tables else unit_box(sum(sizes))
        self.observation_space = batch_space(self.single_observation_space, self.num_envs)
        self.action_space = batch_space(self.single_action_space, self.num_envs)

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Starts an episode in every env; `seed` as in `Simulator.reset`, no options are defined."""
        self.simulator.reset(seed)
        return self._observations(), {}

    def step(self, actions: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One step of every env; all arrays are fresh.

        Raises:
            ActionError: A wrong shape or type, NaN, or a choice out of range; nothing has changed then.
        """
        sim = self.simulator
        batch = np.asarray(actions)
        if self._tables:
            self._choose(batch)
        else:
            self._act(batch)
        sim.step()
        is_over = sim.terminated | sim.truncated
        infos = self._final_infos(is_over) if is_over.any() else {}
        return self._observations(), sim.rewards.copy(), sim.terminated.copy(), sim.truncated.copy(), infos

    @property
    def is_discrete(self) -> bool:
        """Whether actions are choices among presets."""
        return bool(self._tables)

    def action_masks(self) -> np.ndarray:
        """(num_envs, sum of choices) bool, the agents' masks in a row: True where a choice does something.

        Triage's are those of `Simulator.action_masks`; between its decisions the coordinator may only choose 0.

        Raises:
            ConfigError: Actions are no choices.
        """
        if not self.is_discrete:
            raise ConfigError("action_masks() needs choices; allowed: actions='discrete'")
        masks = np.ones((self.num_envs, int(self._sizes.sum())), bool)
        first = dict(zip(AGENTS, np.cumsum([0, *self._sizes[:-1]]).tolist(), strict=True))
        masks[:, first[TRIAGE] : first[TRIAGE] + self._sizes[0]] = self.simulator.action_masks()[TRIAGE]
        masks[~self.simulator.decides, first[COORDINATOR] + 1 :] = False
        return masks

    def clone(self) -> SOCVectorEnv:
        """Another one that goes on exactly as this one would; `simulator.branch` copies single environments."""
        return copy.deepcopy(self)

    def _act(self, batch: np.ndarray) -> None:
        shape = (self.num_envs, int(self._sizes.sum()))
        if batch.shape != shape or batch.dtype.kind not in "fiu":
            raise ActionError(f"actions have shape {batch.shape} and type {batch.dtype}; allowed: {shape} numbers")
        if np.isnan(batch).any():
            raise ActionError(f"actions of env {int(np.isnan(batch).any(axis=1).argmax())} have NaN; allowed: numbers")
        for agent, part in zip(AGENTS, np.split(batch, np.cumsum(self._sizes)[:-1], axis=1), strict=True):
            self.simulator.actions[agent][...] = part.argmax(axis=1) if agent == TRIAGE else part

    def _choose(self, batch: np.ndarray) -> None:
        shape = (self.num_envs, len(AGENTS))
        if batch.shape != shape or batch.dtype.kind not in "iu":
            raise ActionError(f"actions have shape {batch.shape} and type {batch.dtype}; allowed: {shape} integers")
        if ((batch < 0) | (batch >= self._sizes)).any():
            raise ActionError(f"actions are out of range; allowed: 0 to {(self._sizes - 1).tolist()}")
        for agent, choices in zip(AGENTS, batch.T, strict=True):
            self.simulator.actions[agent][...] = choices if agent == TRIAGE else self._tables[agent][choices]

    def _observations(self) -> np.ndarray:
        """(num_envs, size) float32, fresh."""
        return np.concatenate([self.simulator.observations[agent] for agent in AGENTS], axis=1)

    def _final_infos(self, is_over: np.ndarray) -> dict[str, Any]:
        final_obs = np.full(self.num_envs, None, object)
        finals = self.simulator.final_observations
        for i in np.flatnonzero(is_over):
            final_obs[i] = np.concatenate([finals[agent][i] for agent in AGENTS])
        metrics = self.simulator.episode_metrics
        final_info = {name: np.where(is_over, metrics[name], 0.0) for name in metrics.dtype.names or ()}
        return {"final_obs": final_obs, "_final_obs": is_over, "final_info": final_info, "_final_info": is_over.copy()}
