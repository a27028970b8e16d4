"""Any environment as a batch: what `ColumnarEnvRunner` steps.

`make_batched_env` takes what `HMARLConfig.environment` was given and makes a batch of it:

| given | what is made |
|---|---|
| a scenario's name | `soc_env.Simulator` |
| a callable with a parameter `num_envs` | what it returns, called with num_envs, seed and `env_config` |
| "package.module:name", or any other callable | `SyncVectorEnv` of environments made by calling it with `env_config` |
| a subclass of RLlib's MultiAgentEnv, or a name registered with Tune | the same, called with an `EnvContext` |

A `SyncVectorEnv` has the attributes of `soc_env.Simulator` that the runner reads and, because agents of other
environments have rewards and lives of their own, `agent_rewards`, `alive`, `ended` and `agent_terminated` beside.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces.utils import flatten, flatten_space
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.wrappers import BaseParallelWrapper
from ray.rllib.env.env_context import EnvContext
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.tune.registry import ENV_CREATOR, _global_registry

import soc_env
from policies.scripted.base import import_path, imported
from soc_env.engine.state import check_names, packed, take
from soc_env.errors import CheckpointError, ConfigError, unknown_name


def with_paths(value: Any) -> Any:
    """Plain data as JSON holds it: lists for tuples, and `import_path` of what is no plain data."""
    return json.loads(json.dumps(value, default=import_path))


def names_scenario(env: Any) -> bool:
    """Whether what `HMARLConfig.environment` was given is the name of a scenario: neither registered with Tune nor to
    be imported."""
    return isinstance(env, str) and ":" not in env and not _is_registered(env)


def _is_registered(env: Any) -> bool:
    return isinstance(env, str) and _global_registry.contains(ENV_CREATOR, env)


def make_batched_env(
    env: Any, num_envs: int, seed: int | None, env_config: Mapping[str, Any], worker_index: int = 0
) -> Any:
    """A batch of `num_envs` environments (see the module's docstring).

    Raises:
        ScenarioError: a name that is neither a scenario's, nor registered, nor to import.
        ConfigError: spaces that no tier can learn with.
    """
    if isinstance(env, str) and ":" in env:
        env = imported(env)
    is_registered = _is_registered(env)
    if names_scenario(env):
        return soc_env.Simulator(env, num_envs=num_envs, seed=seed, **env_config)
    if not is_registered and "num_envs" in inspect.signature(env).parameters:
        return env(num_envs=num_envs, seed=seed, **env_config)
    takes_context = is_registered or (isinstance(env, type) and issubclass(env, MultiAgentEnv))
    maker = _global_registry.get(ENV_CREATOR, env) if is_registered else env

    def make(index: int) -> Any:
        if not takes_context:
            return maker(**env_config)
        return maker(EnvContext(dict(env_config), worker_index=worker_index, vector_index=index))

    return SyncVectorEnv(make, num_envs, seed, name=import_path(env))


def batched_action_space(agent: str, space: Any) -> tuple[Any, Callable[[Any], Any]]:
    """The space a tier acts in, Box(-1, 1) or Discrete from 0, and the way from there to an action of `space`.

    Raises:
        ConfigError: neither Discrete nor a bounded Box of one dimension.
    """
    if isinstance(space, gym.spaces.Discrete):
        first = int(space.start)
        return gym.spaces.Discrete(int(space.n)), lambda action: first + int(action)
    if isinstance(space, gym.spaces.Box) and len(space.shape) == 1 and space.is_bounded():
        middle, half = (space.high + space.low) / 2, (space.high - space.low) / 2
        low, high = space.low, space.high
        unit = gym.spaces.Box(-1.0, 1.0, space.shape, np.float32)
        return unit, lambda action: np.clip(middle + half * action, low, high).astype(space.dtype)
    raise ConfigError(f"agent {agent!r} has action space {space}; allowed: Discrete, or a bounded Box of one dimension")


class SyncVectorEnv:
    """N copies of a PettingZoo ParallelEnv or RLlib MultiAgentEnv, stepped one after the other.

    Observations of any space that Gymnasium flattens come as vectors; a Box action goes from [-1, 1] to its range.
    Environments that end start again by themselves. An agent that terminates before the others is no longer `alive`:
    its observation stays the last one, its action and reward are 0, until the episode ends.

    Where the environment itself has `get_state()`, which returns plain data with all that it goes on from (generators
    too), and `set_state(state)`, a run that is resumed goes on where it stood; else it starts new episodes then.

    Args:
        make: index of the copy -> environment.
        num_envs: copies.
        seed: of the first reset; copies get seeds of their own.
        name: of the environment, for messages and records.

    Attributes (N = num_envs):
        agents: `possible_agents`.
        observation_spaces, action_spaces: agent -> space as tiers see it.
        observations, final_observations: agent -> (N, dim) float32, of the running episode and at its end.
        actions: agent -> (N, dim) float32 or (N,) int64, to be written before `step`.
        agent_rewards: agent -> (N,); `rewards` (N,) their sum.
        alive: agent -> (N,) bool, whether it takes part in the next step.
        ended: agent -> (N,) bool, whether the step was its last.
        agent_terminated: agent -> (N,) bool, whether it has terminated in this step or before.
        terminated, truncated: (N,) bool, how an episode ended that ended in this step.
        state_space: Box of `state()`, or None where the environments have no such thing.
        final_states: (N, size) float32, `state()` at the end of episodes, once that was called.
        episode_metrics: (N,) `reward` (sum over agents), `length`, `reward/<agent>` of episodes that ended.

    Raises:
        ConfigError: an environment or agent that does not fit (on construction), or an agent that is there but not
            observed, joins late, or is truncated while others go on (on `reset` and `step`); the message names it.
    """

    def __init__(self, make: Callable[[int], Any], num_envs: int, seed: int | None = None, name: str = "environment"):
        self.name, self.num_envs = name, num_envs
        self.envs = [make(index) for index in range(num_envs)]
        first = self.envs[0]
        if isinstance(first, AECEnv):
            raise ConfigError(f"{name} is an AECEnv; allowed: a ParallelEnv (pettingzoo.utils.aec_to_parallel)")
        if not getattr(first, "possible_agents", None) or not hasattr(first, "step"):
            raise ConfigError(f"{name} makes a {type(first).__name__}; allowed: a ParallelEnv or MultiAgentEnv")
        self.agents: tuple[str, ...] = tuple(first.possible_agents)
        self.decision_periods = dict.fromkeys(self.agents, 1)
        self.decides = np.ones(num_envs, bool)
        self._seen_spaces = {a: _space(first, "observation", a) for a in self.agents}
        self.observation_spaces = {a: self._flat(a) for a in self.agents}
        acted = {a: batched_action_space(a, _space(first, "action", a)) for a in self.agents}
        self.action_spaces = {a: space for a, (space, _) in acted.items()}
        self._to_action = {a: convert for a, (_, convert) in acted.items()}
        self.actions = {
            a: np.zeros((num_envs, *s.shape), np.int64 if isinstance(s, gym.spaces.Discrete) else np.float32)
            for a, s in self.action_spaces.items()
        }
        self.observations = {a: np.zeros((num_envs, *s.shape), np.float32) for a, s in self.observation_spaces.items()}
        self.final_observations = {a: array.copy() for a, array in self.observations.items()}
        self.agent_rewards = {a: np.zeros(num_envs) for a in self.agents}
        self.alive = {a: np.zeros(num_envs, bool) for a in self.agents}
        self.ended = {a: np.zeros(num_envs, bool) for a in self.agents}
        self.agent_terminated = {a: np.zeros(num_envs, bool) for a in self.agents}
        self.terminated, self.truncated = np.zeros(num_envs, bool), np.zeros(num_envs, bool)
        fields = [("reward", "f8"), ("length", "i8"), *((f"reward/{a}", "f8") for a in self.agents)]
        self.episode_metrics, self._running = np.zeros(num_envs, fields), np.zeros(num_envs, fields)
        self._seed, self._is_told = seed, False
        self._told_space: Any = getattr(first, "state_space", None)
        self.state_space = _flat_box(self._told_space)
        self.final_states = np.zeros((num_envs, self.state_space.shape[0] if self.state_space else 0), np.float32)

    def state(self) -> np.ndarray:
        """(N, size) float32: the truth about every copy, where environments have `state()` and `state_space`."""
        self._is_told = True
        return np.stack([self._read_state(index) for index in range(self.num_envs)])

    def _read_state(self, index: int) -> np.ndarray:
        try:
            return np.asarray(flatten(self._told_space, self.envs[index].state()), np.float32)
        except NotImplementedError:
            raise ConfigError(f"{self.name}: it has a state_space, but no state() that critics could read") from None

    def _flat(self, agent: str) -> gym.spaces.Box:
        space = _flat_box(self._seen_spaces[agent])
        if space is None:
            raise ConfigError(
                f"agent {agent!r} has observation space {self._seen_spaces[agent]}; allowed: one that flattens to a Box"
            )
        return space

    @property
    def rewards(self) -> np.ndarray:
        return np.sum(list(self.agent_rewards.values()), 0)

    def running_metrics(self) -> np.ndarray:
        """`episode_metrics` of the episodes under way."""
        return self._running.copy()

    def reset(self, seed: int | None = None) -> dict[str, np.ndarray]:
        """Starts all copies anew; without a seed their own streams go on (the first time: from the batch's seed)."""
        seed, self._seed = (self._seed if seed is None else seed), None
        seeds = [None] * self.num_envs if seed is None else np.random.SeedSequence(seed).generate_state(self.num_envs)
        for index, one in enumerate(seeds):
            self._start(index, None if one is None else int(one))
        return self.observations

    def _start(self, index: int, seed: int | None = None) -> None:
        observations, _ = self.envs[index].reset(seed=seed)
        for agent in self.agents:
            if agent not in observations:
                raise ConfigError(
                    f"{self.name}: agent {agent!r} is not there at the start; allowed: all from the start"
                )
            self._observe(agent, index, observations[agent])
            self.alive[agent][index] = True
        self._running[index] = 0

    def _observe(self, agent: str, index: int, observation: Any) -> None:
        self.observations[agent][index] = np.asarray(flatten(self._seen_spaces[agent], observation))

    def step(self) -> None:
        """One step of every copy with `actions`."""
        for index in range(self.num_envs):
            self._step(index)
        self._running["length"] += 1
        for agent, reward in self.agent_rewards.items():
            self._running[f"reward/{agent}"] += reward
            self._running["reward"] += reward
        for index in np.nonzero(self.terminated | self.truncated)[0].tolist():
            self.episode_metrics[index] = self._running[index]
            for agent in self.agents:
                self.final_observations[agent][index] = self.observations[agent][index]
            if self._is_told:
                self.final_states[index] = self._read_state(index)
            self._start(index)

    def _step(self, index: int) -> None:
        present = [a for a in self.agents if self.alive[a][index]]
        actions = {a: self._to_action[a](self.actions[a][index]) for a in present}
        observations, rewards, *flags, _ = self.envs[index].step(actions)
        is_terminated, is_truncated = ({a: bool(f.get(a) or f.get("__all__")) for a in present} for f in flags)
        staying = [a for a in present if not (is_terminated[a] or is_truncated[a])]
        for agent in self.agents:
            self.agent_rewards[agent][index] = rewards.get(agent, 0.0) if agent in present else 0.0
            self.ended[agent][index] = agent in present and agent not in staying
        for agent in present:
            if agent in observations:
                self._observe(agent, index, observations[agent])
            elif not is_terminated[agent]:
                raise ConfigError(
                    f"{self.name}: agent {agent!r} is there but not observed; allowed: all observed at every step (no "
                    "turns) and when they are truncated"
                )
            if staying and is_truncated[agent] and not is_terminated[agent]:
                raise ConfigError(
                    f"{self.name}: agent {agent!r} is truncated while {', '.join(staying)} go on; allowed: agents that "
                    "terminate, or a truncation of all"
                )
            self.agent_terminated[agent][index] = is_terminated[agent]
            if agent not in staying:
                self.alive[agent][index] = False
                self.actions[agent][index] = 0
        self.terminated[index] = not staying and all(is_terminated.values())
        self.truncated[index] = not staying and not self.terminated[index]

    def _arrays(self) -> dict[str, np.ndarray]:
        """All that is remembered of the copies, by name."""
        by_agent = (
            "observations", "final_observations", "actions", "agent_rewards", "alive", "ended", "agent_terminated"
        )  # fmt: skip
        arrays = {f"{name}/{agent}": array for name in by_agent for agent, array in getattr(self, name).items()}
        alone = ("terminated", "truncated", "episode_metrics", "_running")
        return arrays | {name.strip("_"): getattr(self, name) for name in alone}

    def get_state(self) -> dict[str, Any] | None:
        """The copies and what is remembered of them, as plain data, if every copy has `get_state` and `set_state`;
        else None. What a copy returns has to be plain data too, see `policies.state_files`."""
        if not all(hasattr(env, name) for env in self.envs for name in ("get_state", "set_state")):
            return None
        arrays = {name: packed(array) for name, array in self._arrays().items()}
        return {"envs": [env.get_state() for env in self.envs], "arrays": arrays}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where `get_state` was called, as far as the copies do so.

        Raises:
            CheckpointError: it is of another number of copies, or of other agents or spaces.
        """
        check_names(state, ("envs", "arrays"), self.name)
        check_names(state["arrays"], self._arrays(), "arrays")
        if len(state["envs"]) != self.num_envs:
            raise CheckpointError(f"state is of {len(state['envs'])} environments; allowed: {self.num_envs}")
        for name, array in self._arrays().items():
            take(state["arrays"][name], array, name)
        for env, own in zip(self.envs, state["envs"], strict=True):
            env.set_state(own)
        self._seed = None

    def close(self) -> None:
        """Closes the copies."""
        for env in self.envs:
            env.close()


class DiscretizeActions(BaseParallelWrapper):
    """A ParallelEnv in which some agents choose from a list of actions, for algorithms that need Discrete ones.

        DiscretizeActions(env, {"agent_0": np.eye(5)})  # one of five, each entry full

    Args:
        env: wrapped.
        choices: agent -> its actions, (number, dim) or a list of anything its action space has.

    Raises:
        ConfigError: an unknown agent, or an action that is not in its space.
    """

    def __init__(self, env: ParallelEnv, choices: Mapping[str, Any]):
        super().__init__(env)
        self.choices: dict[str, list[Any]] = {}
        for agent, actions in choices.items():
            if agent not in env.possible_agents:
                raise ConfigError(unknown_name("agent", agent, env.possible_agents))
            space = env.action_space(agent)
            own = [np.asarray(action, space.dtype) for action in actions]
            for action in own:
                if not space.contains(action):
                    raise ConfigError(f"agent {agent!r} has no action {action.tolist()!r}; allowed: those of {space}")
            self.choices[agent] = own

    def action_space(self, agent: str) -> Any:
        own = self.choices.get(agent)
        return self.env.action_space(agent) if own is None else gym.spaces.Discrete(len(own))

    def step(self, actions: dict[str, Any]) -> Any:
        """As the wrapped environment, with choices by number."""
        chosen = {a: self.choices[a][int(action)] if a in self.choices else action for a, action in actions.items()}
        return self.env.step(chosen)


def _flat_box(space: Any) -> gym.spaces.Box | None:
    """The Box of vectors to which elements of the space are flattened, or None where that is none."""
    try:
        flat: Any = flatten_space(space)
    except NotImplementedError:
        return None
    if not isinstance(flat, gym.spaces.Box):
        return None
    return gym.spaces.Box(flat.low.astype(np.float32), flat.high.astype(np.float32), dtype=np.float32)


def _space(env: Any, kind: str, agent: str) -> Any:
    """An agent's observation or action space: PettingZoo asks a method, RLlib keeps a dict."""
    method = getattr(env, f"{kind}_space" if not isinstance(env, MultiAgentEnv) else f"get_{kind}_space")
    return method(agent)
