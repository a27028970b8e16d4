"""The batched simulator: arrays in, arrays out. What the simulators of all families share."""

from __future__ import annotations

import abc
import copy
import math
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any

import networkx as nx
import numpy as np
from gymnasium.spaces import Box, Discrete, Space

from soc_env.engine.actions import ActionBuffers
from soc_env.engine.branch import Branches, Envs
from soc_env.engine.outputs import NUM_TERMS
from soc_env.engine.scenario import Scenario
from soc_env.engine.seeds import Seed, episode_keys
from soc_env.engine.state import Limits, Tree, check_fit, check_limits, check_names, check_same, packed, unpack
from soc_env.engine.tables import AGENTS, COORDINATOR, TRIAGE, ActionEntry, Feature, Metric, RewardTerm
from soc_env.errors import ActionError, CheckpointError, ConfigError, HMARLSOCError, ScenarioError, shown
from soc_env.memory import check_memory

MAX_THREADS = 1024


class Simulator(abc.ABC):
    """Many independent episodes of one scenario, stepped together.

    Every env is a pure function of its seed and the actions it got: env i under seed s gives the same trajectory in any
    batch, on any number of threads, in any process.

    This is the base of the families' simulators, which say what they add; `soc_env.Simulator(...)` builds the one that
    a scenario needs.

    Use: write into `actions`, call `step()`, read `observations`, `rewards`, `terminated`, `truncated`.

    Attributes:
        scenario: What is simulated.
        feature_tables: dict agent -> its `Feature` rows, one an entry of the observation.
        action_tables: dict agent -> its `ActionEntry` rows.
        state_table: `Feature` rows of `state()`.
        metric_table: `Metric` rows of `episode_metrics`.
        reward_table: `RewardTerm` rows.
        tool_table: Rows of the tools that can be called one by one; empty if there are none.
        num_envs: Envs in the batch.
        agents: Names, in the order used everywhere.
        observation_spaces: dict agent -> Box(-1, 1).
        action_spaces: dict agent -> Box(-1, 1) or Discrete(4).
        state_space: Box(-1, 1) of `state()`.
        decision_periods: dict agent -> steps between two of its actions that count.
        actions: Mapping agent -> (num_envs, size) float32, or (num_envs,) int32 for triage. Write in place, or assign;
            assignment copies.
        observations: dict agent -> (num_envs, size) float32, overwritten by the next step.
        final_observations: The same; rows are valid where an episode has just ended (only with `autoreset`).
        final_states: (num_envs, len(state_table)) float32, as `state()` there; no part of `get_state` and `branch`.
        rewards: (num_envs,) float64, the team's reward.
        reward_terms: (num_envs, 4) float64: detection, response, cost, false_positive, before weighting.
        terminated: (num_envs,) bool, contained or exfiltrated.
        truncated: (num_envs,) bool, max_steps reached; may be set together with `terminated`, as published.
        decides: (num_envs,) bool, whether the coordinator's next action counts; else the directive stays in force.
        episode_metrics: (num_envs,) structured, the last finished episode of each env, see `tables.METRICS`; zeros
            before the first, and again after `reset` with a seed.
        is_started: Whether `reset` has been called.
        autoreset: As given.
    """

    agents = AGENTS
    kernels: Any  # module of the family's compiled step: run, STEP, STEP_AND_RESET, RESET, METRICS_ONLY, STATE_ONLY
    num_shared: int  # arrays at the head of the engine's that all envs share
    constants: tuple[str, ...] = ("scenario", "feature_tables", "action_tables", "state_table")
    lists: dict[str, str]  # records of which an env uses only the first ones -> field of `env` that says how many
    metric_table: tuple[Metric, ...]
    reward_table: tuple[RewardTerm, ...]
    feature_tables: dict[str, tuple[Feature, ...]]
    action_tables: dict[str, tuple[ActionEntry, ...]]
    state_table: tuple[Feature, ...]
    tool_table: tuple[Any, ...] = ()

    def __init__(
        self,
        scenario: Scenario,
        num_envs: int = 1,
        seed: Seed = None,
        autoreset: bool = True,
        num_threads: int = 1,
        **overrides: Any,
    ) -> None:
        """Builds the batch; call `reset` before `step`.

        Args:
            scenario: What is simulated, of the class's own family.
            num_envs: At least 1.
            seed: An int >= 0 of any size (env i is keyed by seed and i), or one int per env (each behaves as env 0 of
                its seed), or None for a fresh one.
            autoreset: If True, an env whose episode ends starts the next one in the same step: `observations` is the
                new episode's first, `final_observations` the ended one's last. If False, a finished env waits for
                `reset`: it keeps its observation and flags and earns nothing.
            num_threads: Threads that share the envs of a step, at most `MAX_THREADS`.
            **overrides: Fields of the scenario.

        Raises:
            ScenarioError: No scenario, an unknown override, or a value out of range.
            ConfigError: A bad number of envs or threads, more envs than memory holds, or a bad seed.
        """
        if not isinstance(scenario, Scenario):
            raise ScenarioError(f"scenario={scenario!r} must be a Scenario; soc_env.Simulator takes names too")
        self.scenario = scenario.replace(**overrides)
        self.num_envs = _positive("num_envs", num_envs)
        self._num_threads = _positive("num_threads", num_threads, MAX_THREADS)
        if not isinstance(autoreset, (bool, np.bool_)):
            raise ConfigError(f"autoreset={shown(autoreset)} must be True or False")
        self.autoreset = bool(autoreset)
        self._step_mode = self.kernels.STEP_AND_RESET if autoreset else self.kernels.STEP
        self.is_started = False
        self._engine = self._make_engine()
        self._build_spaces()
        self._make_buffers()
        self._bind()
        self._seed(secrets.randbits(64) if seed is None else seed)
        self._settle_network()

    # ------------------------------------------------------------------ what a family says
    def _make_engine(self) -> Any:
        """Sets the tables and makes the family's `Records`, which its kernels take first.

        They have a field `env`, (num_envs,) with seed_key, episode and step, and a method `of(index)`.
        """
        raise NotImplementedError

    def _check_memory(self, record_bytes: int, also: str = "") -> None:
        """ConfigError if the batch does not fit into memory; `record_bytes`: of an env, `also`: their cause."""
        seen, told = sum(self._observation_sizes().values()), len(self.state_table)
        buffers = 8 * (seen + told + sum(self._box_sizes().values()) + 100)
        check_memory(f"num_envs={shown(self.num_envs)}{also}", self.num_envs * (record_bytes + buffers))

    def _settle_network(self) -> None:  # noqa: B027 (nothing to do is a good answer)
        """Called once, after the first seed is known."""

    def made_for(self) -> dict[str, Any]:
        """What a state has to be of to be taken back here, in plain values."""
        return {**self.scenario.to_dict(), "num_envs": self.num_envs, "autoreset": bool(self.autoreset)}

    def _state_limits(self) -> Limits:
        """Ranges of all that counts or points at something in the records of an env."""
        raise NotImplementedError

    def _check_records(self, arrays: Tree) -> None:
        """Raises CheckpointError where records within their limits contradict each other."""
        raise NotImplementedError

    def records(self, index: int | None = None) -> Any:
        """The truth, writable, for tests and tools: what the kernels work on, by name.

        Whoever writes into it keeps together what hangs together; nothing is checked. Observations are of the moment
        when they were made.

        Args:
            index: An env, to have its own records; None for the arrays of the whole batch.

        Returns:
            The family's `Records`, whose fields and shapes it documents. No copies.
        """
        return self._engine if index is None else self._engine.of(index)

    def network(self, index: int = 0) -> nx.DiGraph:
        """The network of an env's current episode as a graph."""
        raise NotImplementedError

    def hosts(self, index: int = 0) -> np.ndarray:
        """(num_hosts,) structured: the truth about every host, with what the SOC knows of it. A copy."""
        raise NotImplementedError

    def action_masks(self) -> dict[str, np.ndarray]:
        """agent -> (num_envs, choices) int8 of the Discrete agents: 1 where a choice does something. Fresh arrays.

        A function of what the agent observes.
        """
        raise NotImplementedError

    def mask_reader(self, index: int = 0) -> Callable[[], np.ndarray]:
        """A function that returns `action_masks` of triage in env `index`, (choices,), faster; do not write into it."""
        raise NotImplementedError

    @property
    def episodes(self) -> np.ndarray:
        """(num_envs,) int64: the place of each env's episode in the stream of its seed, from 0; -1 before `reset`."""
        return self._engine.env["episode"].astype(np.int64)

    def _observation_sizes(self) -> dict[str, int]:
        return {agent: len(self.feature_tables[agent]) for agent in AGENTS}

    def _box_sizes(self) -> dict[str, int]:
        return {agent: len(self.action_tables[agent]) for agent in AGENTS if agent != TRIAGE}

    def _build_spaces(self) -> None:
        sizes = self._observation_sizes()
        self.observation_spaces: dict[str, Space] = {agent: unit_box(sizes[agent]) for agent in AGENTS}
        self.action_spaces: dict[str, Space] = {
            agent: Discrete(len(rows)) if agent == TRIAGE else unit_box(len(rows))
            for agent, rows in self.action_tables.items()
        }
        self.state_space = unit_box(len(self.state_table))
        self.decision_periods = {
            agent: self.scenario.coordinator_period if agent == COORDINATOR else 1 for agent in AGENTS
        }

    def features(self, agent: str) -> list[str]:
        """Names of the entries of an agent's observation, by index."""
        return [feature.name for feature in self.feature_tables[agent]]

    def split_actions(self, raw: np.ndarray) -> dict[str, np.ndarray]:
        """Views of `raw_actions`, or of a copy of it, by agent: triage's choices (num_envs,) int32, which come first,
        and (num_envs, size) float32."""
        n = self.num_envs
        blocks = _blocks(raw[n:], self._box_sizes(), n) | {TRIAGE: raw[:n].view(np.int32)}
        return {agent: blocks[agent] for agent in AGENTS}

    def _make_buffers(self) -> None:
        """Makes the flat buffers of what goes in and comes out."""
        n = self.num_envs
        boxes, seen = self._box_sizes(), self._observation_sizes()
        self.raw_actions = np.zeros(n * (1 + sum(boxes.values())), np.float32)
        self._observations = np.zeros(n * sum(seen.values()), np.float32)
        self._finals = np.zeros(n * (sum(seen.values()) + len(self.state_table)), np.float32)
        self._rewards = np.zeros(n * (1 + NUM_TERMS))
        self._flags = np.zeros(n * 3, np.bool_)
        self.episode_metrics = np.zeros(n, [(metric.name, "f8") for metric in self.metric_table])

    def _bind(self) -> None:
        """Makes the public views of the flat buffers."""
        n = self.num_envs
        self.num_choices = len(self.action_tables[TRIAGE])
        self.actions = ActionBuffers(self.split_actions(self.raw_actions), self.num_choices)
        self.observations = _blocks(self._observations, self._observation_sizes(), n)
        self.final_observations = _blocks(self._finals, self._observation_sizes(), n)
        self.final_states = self._finals[len(self._observations) :].reshape(n, len(self.state_table))
        self.rewards = self._rewards[:n]
        self.reward_terms = self._rewards[n:].reshape(n, NUM_TERMS)
        self.terminated, self.truncated, self.decides = self._flags.reshape(3, n)
        self._arguments: tuple[Any, ...] = (
            *self._engine, self.raw_actions[n:], self.raw_actions[:n].view(np.int32), self._observations, self._finals,
            self._rewards, self._flags, self._metric_rows(self.episode_metrics),
        )  # fmt: skip
        cuts = [n * t // self._num_threads for t in range(self._num_threads + 1)]
        self._slices = [(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if a < b]
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = -1
        self._branches = Branches(self)

    # ------------------------------------------------------------------ stepping
    def reset(self, seed: Seed = None) -> dict[str, np.ndarray]:
        """Starts an episode in every env.

        Args:
            seed: As in the constructor: starts at that seed's first episode, with nothing left of what was before. None
                goes on with the next episode of the current seed. Where vulnerabilities are not redrawn they stay those
                of construction.

        Returns:
            `observations`, the simulator's own buffers.

        Raises:
            ConfigError: A bad seed.
        """
        if seed is not None:
            self._seed(seed)
            self.episode_metrics[...] = 0
            self._finals[...] = 0
        self._run_all(self.kernels.RESET, False)
        self.is_started = True
        return self.observations

    def step(self) -> None:
        """One step of every env with the actions in `actions`. Box actions are clipped to [-1, 1].

        Raises:
            ActionError: An action is NaN, or not a choice of a Discrete space. Nothing has changed then.
            HMARLSOCError: `reset` was never called.
        """
        if not self.is_started:
            raise HMARLSOCError("step() before reset(): call reset() first")
        if len(self._slices) == 1:
            if not self.kernels.run(*self._arguments, 0, self.num_envs, self._step_mode, True):
                self._raise_bad_action()
            return
        if not self.kernels.run(*self._arguments, 0, 0, self._step_mode, True):
            self._raise_bad_action()
        self._run_all(self._step_mode, False)

    def _run_all(self, mode: int, is_checked: bool) -> None:
        """Runs every slice, the first in this thread."""
        if len(self._slices) == 1:
            self.kernels.run(*self._arguments, 0, self.num_envs, mode, is_checked)
            return
        pool = self._threads()
        run: Callable[..., Any] = self.kernels.run
        waiting = [pool.submit(run, *self._arguments, a, b, mode, is_checked) for a, b in self._slices[1:]]
        self.kernels.run(*self._arguments, *self._slices[0], mode, is_checked)
        for future in waiting:
            future.result()

    def _threads(self) -> ThreadPoolExecutor:
        """The pool; a forked process does not inherit its parent's threads and gets its own."""
        if self._pool is None or self._pool_process != os.getpid():
            self._pool = ThreadPoolExecutor(len(self._slices) - 1)
            self._pool_process = os.getpid()
        return self._pool

    def _raise_bad_action(self) -> None:
        for agent, action in self.actions.items():
            if agent == TRIAGE:
                bad = np.flatnonzero((action < 0) | (action >= self.num_choices))
                allowed = f"an integer from 0 to {self.num_choices - 1}"
            else:
                bad = np.flatnonzero(np.isnan(action).any(axis=1))
                allowed = "numbers (they are clipped to [-1, 1])"
            if bad.size:
                value = action[bad[0]].tolist()
                raise ActionError(f"action of {agent} in env {bad[0]} is {value}; allowed: {allowed}")

    # ------------------------------------------------------------------ reading
    def state(self) -> np.ndarray:
        """(num_envs, len(state_table)) float32: the truth, for central critics. A fresh array."""
        out = np.zeros(self.num_envs * len(self.state_table), np.float32)
        arguments = (*self._arguments[:-4], out, *self._arguments[-3:])
        self.kernels.run(*arguments, 0, self.num_envs, self.kernels.STATE_ONLY, False)
        return out.reshape(self.num_envs, len(self.state_table))

    def running_metrics(self) -> np.ndarray:
        """(num_envs,) structured as `episode_metrics`: the episodes in progress. A fresh array."""
        out = np.zeros_like(self.episode_metrics)
        arguments = (*self._arguments[:-1], self._metric_rows(out))
        self.kernels.run(*arguments, 0, self.num_envs, self.kernels.METRICS_ONLY, False)
        return out

    def _metric_rows(self, metrics: np.ndarray) -> np.ndarray:
        """Metrics in the form the family's kernels write."""
        return metrics

    def nbytes(self) -> int:
        """Bytes held per env, buffers included."""
        return sum(array.nbytes for array in self._arguments[self.num_shared :]) // self.num_envs

    # ------------------------------------------------------------------ state
    def per_env(self) -> dict[str, np.ndarray]:
        """All that belongs to single envs, by name: arrays whose first axis is the env. No copies.

        Copying row i of every array to row j makes env j go on as env i would.
        """
        records = list(self._engine._asdict().items())[self.num_shared :]
        blocks = {"actions": self.actions, "observations": self.observations, "finals": self.final_observations}
        by_agent = {f"{kind}/{agent}": array for kind, own in blocks.items() for agent, array in own.items()}
        flags = {name: getattr(self, name) for name in ("terminated", "truncated", "decides")}
        earned = {name: getattr(self, name) for name in ("rewards", "reward_terms", "episode_metrics")}
        return {**dict(records), **by_agent, **earned, **flags}

    def _saved(self, env: Any) -> dict[str, np.ndarray]:
        """`per_env` without the ends of lists that no env uses, by the numbers in `env`."""
        arrays = self.per_env()
        for name, count in self.lists.items():
            longest = np.clip(env[count].max(), 0, arrays[name].shape[1])
            arrays[name] = arrays[name][:, :longest]
        return arrays

    def get_state(self) -> Tree:
        """The whole batch at this moment, as plain data: dicts of NumPy arrays, numbers and strings. Copies.

        Another simulator of the same scenario, number of envs and `autoreset` that takes it with `set_state` goes on
        exactly as this one; `num_threads` may differ.
        """
        seed = [int(one) for one in self.seed] if isinstance(self.seed, Sequence | np.ndarray) else int(self.seed)
        saved = self._saved(self._engine.env)
        for name, count in self.lists.items():  # what an earlier episode left behind a list's end is no state
            is_unused = np.arange(saved[name].shape[1]) >= self._engine.env[count][:, None]
            saved[name] = saved[name].copy()
            saved[name][is_unused] = np.zeros((), saved[name].dtype)
        arrays = {name: packed(array) for name, array in saved.items()}
        return {"made_for": self.made_for(), "seed": seed, "is_started": self.is_started, "arrays": arrays}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on where `get_state` was called, whatever was played here before.

        Args:
            state: What `get_state` returned. It is copied.

        Raises:
            CheckpointError: It is of another scenario, number of envs or `autoreset`, or damaged; names what differs.
                Nothing has changed then.
        """
        check_names(state, ("made_for", "seed", "is_started", "arrays"), "simulator")
        check_same(state["made_for"], self.made_for())
        arrays = state["arrays"]
        check_names(arrays, self.per_env(), "arrays")
        check_fit(arrays["env"], self._engine.env, "env")
        own = self._saved(arrays["env"])
        for name, array in own.items():
            check_fit(arrays[name], array, name, not name.startswith("actions/"))  # each step checks those
        check_limits(arrays, self._state_limits())
        self._check_records(arrays)
        if not isinstance(state["is_started"], bool):
            raise CheckpointError(f"state: is_started is {shown(state['is_started'])}; allowed: True, False")
        try:
            episode_keys("episodes", state["seed"], self.num_envs)
        except ConfigError as error:
            raise CheckpointError(f"state: {error}") from None
        for name, array in own.items():
            unpack(arrays[name], array)
        self.seed, self.is_started = state["seed"], state["is_started"]

    def branch(
        self,
        source: Envs,
        target: Envs,
        into: Simulator | None = None,
        keep_draws: bool = True,
        stream: int = 0,
    ) -> None:
        """Copies whole envs to other places: env `target[k]` goes on from where env `source[k]` is.

        All of an env is copied: its truth, clock and draws, observations, actions, rewards, flags and the metrics of
        its last episode. Under the same actions the copy then shows the same bytes as the original, also after the end
        of the episode and after `reset()`. The source is not touched; every env is read before any is written, so envs
        may be swapped.

        Args:
            source: An env, for all targets, or as many envs as targets; the same one may come several times.
            target: An env or several, each once.
            into: The simulator of the targets, this one by default; same scenario and networks, while num_envs,
                num_threads and `log_capacity` may differ (a shorter log keeps the entries that fit). One that was never
                reset is reset first.
            keep_draws: If False the targets go on from the same state with draws of their own: a function of `into`'s
                seed, the target, the source's draws and moment, and `stream`. The same call gives the same draws.
            stream: Number of the targets' own draws, for several independent ones of one state.

        Raises:
            ConfigError: No such env, a target named twice, an `into` of something else (says what differs), or one with
                `autoreset` for an episode that has ended and waits for `reset`. Nothing has changed then.
            HMARLSOCError: `reset` was never called.
        """
        if not self.is_started:
            raise HMARLSOCError("branch() before reset(): call reset() first")
        other = self if into is None else into
        if not isinstance(other, Simulator):
            raise ConfigError(f"into={shown(other)} must be a simulator of the same scenario")
        copies = self._branches.plan(other._branches, source, target, keep_draws, stream)
        if not other.is_started:
            other.reset()
        self._branches.copy(other._branches, *copies)

    # ------------------------------------------------------------------ seeds, copies
    def _seed(self, seed: int | Sequence[int] | np.ndarray) -> None:
        self._engine.env["seed_key"] = episode_keys("episodes", seed, self.num_envs)
        self._engine.env["episode"] = -1
        self.seed = seed

    def __getstate__(self) -> dict[str, Any]:
        """Buffers without their views and threads; the copy goes on exactly where this one stands."""
        derived = {"actions", "observations", "final_observations", "final_states", "rewards", "reward_terms",
                   "terminated", "truncated", "decides", "_arguments", "_pool", "_pool_process", "_slices",
                   "_branches"}  # fmt: skip
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()

    def __deepcopy__(self, memo: dict[int, Any]) -> Simulator:
        """Only what never changes is shared with the copy; that is most of the work of copying."""
        memo |= {id(constant): constant for constant in map(self.__dict__.get, self.constants)}
        twin = memo[id(self)] = object.__new__(type(self))
        twin.__setstate__(copy.deepcopy(self.__getstate__(), memo))
        return twin


def _blocks(flat: np.ndarray, sizes: dict[str, int], num_envs: int) -> dict[str, np.ndarray]:
    """Views (num_envs, size) of a flat buffer, one contiguous block per agent."""
    blocks, first = {}, 0
    for agent, size in sizes.items():
        blocks[agent] = flat[first : first + num_envs * size].reshape(num_envs, size)
        first += num_envs * size
    return blocks


def unit_box(size: int) -> Box:
    """Box(-1, 1) of float32."""
    return Box(-1.0, 1.0, (size,), np.float32)


def _positive(name: str, value: Any, most: float = math.inf) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or not 1 <= int(value) <= most:
        at_most = "" if most == math.inf else f" and at most {most}"
        raise ConfigError(f"{name}={shown(value)} must be an integer of at least 1{at_most}")
    return int(value)
