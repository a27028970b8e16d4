"""The environment in the shapes that other libraries want.

| class | what it gives | for |
|---|---|---|
| `Homogenize` | the same spaces for all agents: padding, agent id, mask | shared parameters, QMIX |
| `Discretize` | Discrete actions from tables of presets | value-based learners |
| `CentralGym` | one gymnasium.Env over all agents, with `action_masks()` | Stable-Baselines3, sb3-contrib |
| `SOCVectorEnv` | a gymnasium VectorEnv straight over the batched simulator | CleanRL-style scripts, PufferLib |
| `PyMARLEnv` | PyMARL's MultiAgentEnv | PyMARL, EPyMARL, pymarlzooplus |

`Homogenize`, `Discretize` and `CentralGym` take any PettingZoo ParallelEnv; for `SOCEnv` itself its constructor options
(`homogenize`, `actions`, `masks`) do the same faster. The team's reward is taken once, never summed over agents.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete, Space
from gymnasium.vector.utils import batch_space
from pettingzoo import ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper

from soc_env.engine.scenario import Scenario
from soc_env.engine.simulator import Seed
from soc_env.engine.tables import AGENTS, TRIAGE
from soc_env.errors import ActionError, ConfigError, unknown_name
from soc_env.options import box_action, discrete_action, unit_box
from soc_env.parallel import parallel_env
from soc_env.registry import Simulator, preset_tables

try:
    from gymnasium.vector import AutoresetMode
except ImportError:  # gymnasium before 1.1
    AutoresetMode = None  # type: ignore[assignment,misc]

OBSERVED = ("concat", "state")


def _box_of(space: Space) -> Box:
    """The array part of an observation space, with or without a mask."""
    box = space["observation"] if isinstance(space, Dict) else space
    if not isinstance(box, Box) or len(box.shape) != 1:
        raise ConfigError(f"observation space {space} is not supported; allowed: a flat Box, with or without a mask")
    return box


def _array_of(observation: Any) -> np.ndarray:
    return observation["observation"] if isinstance(observation, Mapping) else observation


def _mask_of(observation: Any, info: Mapping[str, Any], num_choices: int) -> np.ndarray:
    """(num_choices,) int8, from the observation, else the info, else all ones."""
    mask = observation.get("action_mask") if isinstance(observation, Mapping) else info.get("action_mask")
    return np.ones(num_choices, np.int8) if mask is None else np.asarray(mask, np.int8)


def _num_choices(env: ParallelEnv) -> dict[str, int] | None:
    """Choices by agent if all agents are Discrete, else None."""
    spaces = {agent: env.action_space(agent) for agent in env.possible_agents}
    return (
        {agent: int(s.n) for agent, s in spaces.items() if isinstance(s, Discrete)} if _are_discrete(spaces) else None
    )


def _are_discrete(spaces: Mapping[str, Space]) -> bool:
    return all(isinstance(space, Discrete) for space in spaces.values())


class Homogenize(BaseParallelWrapper):
    """The same spaces for all agents of an environment whose actions are all Discrete, or all Box.

    Observations are padded with zeros to the longest and end with a one-hot agent id. Discrete actions are padded to
    the most choices, with an int8 mask; a padded choice counts as 0. Box actions are padded to the longest; extra
    entries are ignored.

    Attributes:
        observation_spaces: dict agent -> its space.
        action_spaces: dict agent -> its space.
    """

    def __init__(self, env: ParallelEnv, masks: str = "obs") -> None:
        """Args: env, and where the masks of Discrete actions go ("none", "obs", "info").

        Raises:
            ConfigError: Mixed action spaces, observations that are no flat Box, or an unknown `masks`.
        """
        super().__init__(env)
        if masks not in ("none", "obs", "info"):
            raise ConfigError(unknown_name("masks", masks, ("none", "obs", "info")))
        agents = list(env.possible_agents)
        spaces = [env.action_space(agent) for agent in agents]
        self._choices = _num_choices(env)
        if self._choices is None and not all(isinstance(space, Box) for space in spaces):
            raise ConfigError("Homogenize needs actions of one kind; wrap the environment in Discretize first")
        self._masks = masks if self._choices else "none"
        boxes = [_box_of(env.observation_space(agent)) for agent in agents]
        self._ids = dict(zip(agents, np.eye(len(agents), dtype=np.float32), strict=True))
        self._longest = max(box.shape[0] for box in boxes)
        low, high = min(float(box.low.min()) for box in boxes), max(float(box.high.max()) for box in boxes)
        size = self._longest + len(agents)
        widest = max(int(s.n) if isinstance(s, Discrete) else s.shape[0] for s in spaces)  # type: ignore[index]
        self._widest = widest
        self.observation_spaces: dict[str, Space] = {}
        self.action_spaces: dict[str, Space] = {}
        for agent in agents:
            box = Box(min(low, 0.0), max(high, 1.0), (size,), np.float32)
            is_masked = self._masks == "obs"
            mask = Box(0, 1, (widest,), np.int8)
            self.observation_spaces[agent] = Dict({"observation": box, "action_mask": mask}) if is_masked else box
            self.action_spaces[agent] = Discrete(widest) if self._choices else unit_box(widest)

    def observation_space(self, agent: str) -> Space:
        """The agent's space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
        """The agent's space, always the same object."""
        return self.action_spaces[agent]

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict, dict]:
        """As the wrapped environment's, with padded observations."""
        return self._padded(*super().reset(seed=seed, options=options))

    def step(self, actions: Mapping[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """As the wrapped environment's, with padded actions and observations."""
        own = {agent: self._own(agent, action) for agent, action in actions.items() if agent in self._ids}
        observations, rewards, terminations, truncations, infos = super().step(own)
        observations, infos = self._padded(observations, infos)
        return observations, rewards, terminations, truncations, infos

    def _own(self, agent: str, action: Any) -> Any:
        if action is None:
            return None
        if self._choices:
            choice = discrete_action(agent, action, self._widest)
            return choice if choice < self._choices[agent] else 0
        return box_action(agent, action, self._widest)[: self.env.action_space(agent).shape[0]]

    def _padded(self, observations: dict, infos: dict) -> tuple[dict, dict]:
        padded: dict[str, Any] = {}
        for agent, observation in observations.items():
            values = np.zeros(self._longest + len(self._ids), np.float32)
            array = _array_of(observation)
            values[: array.size] = array
            values[self._longest :] = self._ids[agent]
            padded[agent] = values
            if self._choices is None or self._masks == "none":
                continue
            mask = np.zeros(self._widest, np.int8)
            own = self._choices[agent]
            mask[:own] = _mask_of(observation, infos[agent], own)
            if self._masks == "obs":
                padded[agent] = {"observation": values, "action_mask": mask}
            else:
                infos[agent]["action_mask"] = mask
        return padded, infos


class Discretize(BaseParallelWrapper):
    """Discrete actions for Box agents: choice k sends row k of the agent's table.

    Attributes:
        observation_spaces: dict agent -> its space, unchanged.
        action_spaces: dict agent -> Discrete.
    """

    def __init__(self, env: ParallelEnv, tables: Mapping[str, np.ndarray] | None = None) -> None:
        """Args: env, and tables agent -> (choices, size); by default `soc_env.registry.presets_of(env.scenario)`.

        Raises:
            ConfigError: A Box agent without a table, or a table of another size; or observations that carry masks,
                which would then exist for some Discrete agents only.
        """
        super().__init__(env)
        agents = list(env.possible_agents)
        scenario = getattr(env.unwrapped, "scenario", None)
        given = tables or {}
        if tables is None and isinstance(scenario, Scenario):
            given = preset_tables(scenario)
        self._tables: dict[str, np.ndarray] = {}
        for agent in agents:
            space = env.action_space(agent)
            if isinstance(space, Discrete):
                continue
            if isinstance(env.observation_space(agents[0]), Dict):
                raise ConfigError("Discretize needs an environment without masks; allowed: masks='none'")
            table = np.array(given[agent], np.float32) if agent in given else np.empty(())
            if table.ndim != 2 or table.shape[1:] != space.shape:
                raise ConfigError(f"table of {agent} has shape {table.shape}; allowed: (choices, {space.shape[0]})")
            self._tables[agent] = table
        self.observation_spaces = {agent: env.observation_space(agent) for agent in agents}
        self.action_spaces = {
            agent: Discrete(len(self._tables[agent])) if agent in self._tables else env.action_space(agent)
            for agent in agents
        }

    def action_space(self, agent: str) -> Space:
        """The agent's Discrete, always the same object."""
        return self.action_spaces[agent]

    def step(self, actions: Mapping[str, Any]) -> tuple[dict, dict, dict, dict, dict]:
        """As the wrapped environment's, with choices for actions."""
        own = dict(actions)
        for agent, table in self._tables.items():
            if own.get(agent) is not None:
                own[agent] = table[discrete_action(agent, own[agent], len(table))].copy()
        return super().step(own)


class CentralGym(gym.Env):
    """One agent that plays all: a gymnasium.Env over a ParallelEnv.

    The action is a MultiDiscrete if all agents are Discrete; else one flat Box in the order of `possible_agents`, in
    which each Discrete agent has an entry per choice and takes the largest. The reward is that of the first agent: the
    team's.

    Attributes:
        env: The wrapped ParallelEnv.
    """

    def __init__(self, env: ParallelEnv, observation: str = "concat") -> None:
        """Args: env, and what is observed: "concat" (all observations in a row, without masks) or "state".

        Raises:
            ConfigError: An unknown `observation`, or observations that are no flat Box.
        """
        if observation not in OBSERVED:
            raise ConfigError(unknown_name("observation", observation, OBSERVED))
        self.env, self._observed = env, observation
        self.metadata = dict(getattr(env, "metadata", {}))
        self.render_mode = getattr(env, "render_mode", None)
        self._agents = list(env.possible_agents)
        spaces = {agent: env.action_space(agent) for agent in self._agents}
        self._sizes = [int(s.n) if isinstance(s, Discrete) else s.shape[0] for s in spaces.values()]  # type: ignore[index]
        self._is_multi_discrete = _are_discrete(spaces)
        self.action_space: Space = MultiDiscrete(self._sizes) if self._is_multi_discrete else unit_box(sum(self._sizes))
        if observation == "state":
            self.observation_space: Space = env.state_space  # type: ignore[attr-defined]
        else:
            boxes = [_box_of(env.observation_space(agent)) for agent in self._agents]
            low, high = (np.concatenate([getattr(box, side) for box in boxes]) for side in ("low", "high"))
            self.observation_space = Box(low, high, dtype=np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict]:
        """As gymnasium.Env.reset; the info is empty."""
        super().reset(seed=seed)
        self._last, self._infos = self.env.reset(seed=seed, options=options)
        return self._central(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        """As gymnasium.Env.step; the last info of an episode has the environment's `metrics()` if it knows them.

        Raises:
            ActionError: A wrong shape or type, NaN, or a choice out of range; nothing has changed then.
        """
        self._last, rewards, terminations, truncations, self._infos = self.env.step(self._split(action))
        first = self._agents[0]
        is_over = terminations[first] or truncations[first]
        info = {"metrics": self.env.metrics()} if is_over and hasattr(self.env, "metrics") else {}
        return self._central(), rewards[first], terminations[first], truncations[first], info

    def action_masks(self) -> np.ndarray:
        """(sum of choices,) bool, the agents' masks in a row, as sb3-contrib's MaskablePPO asks for them.

        The environment gives them with `masks="obs"` or "info"; otherwise everything is allowed.
        """
        if not self._is_multi_discrete:
            raise ConfigError("action_masks() needs Discrete agents only; allowed: actions='discrete'")
        masks = [
            _mask_of(self._last[agent], self._infos[agent], size)
            for agent, size in zip(self._agents, self._sizes, strict=True)
        ]
        return np.concatenate(masks).astype(bool)

    def render(self) -> Any:
        """The wrapped environment's frame."""
        return self.env.render()

    def close(self) -> None:
        """Closes the wrapped environment."""
        self.env.close()

    def _central(self) -> np.ndarray:
        if self._observed == "state":
            return self.env.state()
        return np.concatenate([_array_of(self._last[agent]) for agent in self._agents])

    def _split(self, action: Any) -> dict[str, Any]:
        if self._is_multi_discrete:
            choices = np.asarray(action)
            if choices.shape != (len(self._agents),):
                raise ActionError(f"central action has shape {choices.shape}; allowed: ({len(self._agents)},)")
            return dict(zip(self._agents, choices, strict=True))
        parts = np.split(box_action("central", action, sum(self._sizes)), np.cumsum(self._sizes)[:-1])
        return {
            agent: int(part.argmax()) if isinstance(self.env.action_space(agent), Discrete) else part
            for agent, part in zip(self._agents, parts, strict=True)
        }


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


class PyMARLEnv:
    """PyMARL's MultiAgentEnv: homogenised Discrete actions with masks, lists in the order of the agents.

    Attributes:
        n_agents: 4.
        episode_limit: Steps after which an episode is truncated.
    """

    def __init__(self, scenario: str | Scenario = "soc-v1", seed: int | None = None, **overrides: Any) -> None:
        """Args: as `parallel_env`. PyMARL passes its `env_args` here."""
        self.env = parallel_env(scenario, actions="discrete", masks="obs", homogenize=True, seed=seed, **overrides)
        self._agents = list(self.env.possible_agents)
        self.n_agents = len(self._agents)
        self.episode_limit = self.env.max_cycles
        self._next_seed: int | None = None

    def reset(self) -> tuple[list[np.ndarray], np.ndarray]:
        """Starts the next episode; observations and state."""
        self._last, _ = self.env.reset(self._next_seed)
        self._next_seed = None
        return self.get_obs(), self.get_state()

    def step(self, actions: Sequence[Any]) -> tuple[float, bool, dict[str, Any]]:
        """One step.

        Args:
            actions: A choice per agent.

        Returns:
            The team's reward, whether the episode is over, and an info whose `episode_limit` is True if it was cut off
            (the learner then bootstraps); the last one of an episode also has the metrics.
        """
        if len(actions) != self.n_agents:
            raise ActionError(f"actions have {len(actions)} entries; allowed: {self.n_agents}, one per agent")
        joint = dict(zip(self._agents, actions, strict=True))
        self._last, rewards, terminations, truncations, _ = self.env.step(joint)
        first = self._agents[0]
        is_over = terminations[first] or truncations[first]
        info: dict[str, Any] = dict(self.env.metrics()) if is_over else {}
        info["episode_limit"] = truncations[first] and not terminations[first]
        return rewards[first], is_over, info

    def get_obs(self) -> list[np.ndarray]:
        """An observation per agent."""
        return [self.get_obs_agent(index) for index in range(self.n_agents)]

    def get_obs_agent(self, agent_id: int) -> np.ndarray:
        """(get_obs_size(),) float32."""
        return self._last[self._agents[agent_id]]["observation"]

    def get_obs_size(self) -> int:
        """Entries of an observation."""
        return self.env.layout.observation_size(self._agents[0])

    def get_state(self) -> np.ndarray:
        """(get_state_size(),) float32, the global state."""
        return self.env.state()

    def get_state_size(self) -> int:
        """Entries of the state."""
        return self.env.state_space.shape[0]  # type: ignore[index]

    def get_avail_actions(self) -> list[list[int]]:
        """A 0/1 mask per agent."""
        return [self.get_avail_agent_actions(index) for index in range(self.n_agents)]

    def get_avail_agent_actions(self, agent_id: int) -> list[int]:
        """One agent's 0/1 mask."""
        return self._last[self._agents[agent_id]]["action_mask"].tolist()

    def get_total_actions(self) -> int:
        """Choices of every agent, padding included."""
        return self.env.layout.action_size(self._agents[0])

    def get_env_info(self) -> dict[str, int]:
        """What PyMARL sizes its networks and buffers by."""
        return {
            "state_shape": self.get_state_size(),
            "obs_shape": self.get_obs_size(),
            "n_actions": self.get_total_actions(),
            "n_agents": self.n_agents,
            "episode_limit": self.episode_limit,
        }

    def get_stats(self) -> dict[str, float]:
        """Nothing beyond the infos."""
        return {}

    def seed(self, seed: int | None = None) -> None:
        """The next `reset` starts the stream of episodes of this seed."""
        self._next_seed = seed

    def render(self) -> Any:
        """The environment's frame, if it was given a render_mode."""
        return self.env.render()

    def save_replay(self) -> None:
        """PyMARL asks for it; there are no replay files."""

    def close(self) -> None:
        """Closes the environment."""
        self.env.close()
