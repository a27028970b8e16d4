"""The batched simulator: arrays in, arrays out."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from numbers import Integral
from typing import Any

import networkx as nx
import numpy as np
from gymnasium.spaces import Box, Discrete, Space

from .errors import ActionError, ConfigError, HMARLSOCError, unknown_name
from .kernels import step as kernels
from .kernels.state import COMPROMISED, EPISODE, FOOTHOLD, ISOLATED, METRIC, NUM_MARKS, make_world
from .networks import host_vulnerabilities, network_graph, segment_starts
from .scenario import Scenario, make_scenario
from .tables import ACTIONS, AGENTS, COORDINATOR, FEATURES, PHASES, STATE, TRIAGE

Seed = int | Sequence[int] | np.ndarray | None


class Simulator:
    """Many independent episodes of one scenario, stepped together.

    Every env is a pure function of its seed and the actions it got: env i under seed s gives the same trajectory in any
    batch, on any number of threads, in any process.

    Use: write into `actions`, call `step()`, read `observations`, `rewards`, `terminated`, `truncated`.

    Attributes:
        scenario: What is simulated.
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
        rewards: (num_envs,) float64, the team's reward.
        reward_terms: (num_envs, 4) float64: detection, response, cost, false_positive, before weighting.
        terminated: (num_envs,) bool, contained or exfiltrated.
        truncated: (num_envs,) bool, max_steps reached; may be set together with `terminated`, as published.
        decides: (num_envs,) bool, whether the coordinator's next action counts; else the directive stays in force.
        episode_metrics: (num_envs,) structured, the last finished episode of each env, see `tables.METRICS`; zeros
            before the first, and again after `reset` with a seed.
        is_started: Whether `reset` has been called.
    """

    agents = AGENTS

    def __init__(
        self,
        scenario: str | Scenario = "paper-v0",
        num_envs: int = 1,
        seed: Seed = None,
        autoreset: bool = True,
        num_threads: int = 1,
        **overrides: Any,
    ) -> None:
        """Builds the batch; call `reset` before `step`.

        Args:
            scenario: A name of `SCENARIOS`, or a scenario.
            num_envs: At least 1.
            seed: An int >= 0 of any size (env i is keyed by seed and i), or one int per env (each behaves as env 0 of
                its seed), or None for a fresh one.
            autoreset: If True, an env whose episode ends starts the next one in the same step: `observations` is the
                new episode's first, `final_observations` the ended one's last. If False, a finished env waits for
                `reset`: it keeps its observation and flags and earns nothing.
            num_threads: Threads that share the envs of a step.
            **overrides: Fields of `Scenario`.

        Raises:
            ScenarioError: Unknown scenario or override, or a value out of range.
            ConfigError: A bad number of envs or threads, or a bad seed.
        """
        chosen = scenario if isinstance(scenario, Scenario) else make_scenario(scenario)
        self.scenario = chosen.replace(**overrides)
        self.num_envs = _positive("num_envs", num_envs)
        self._num_threads = _positive("num_threads", num_threads)
        self._step_mode = kernels.STEP_AND_RESET if autoreset else kernels.STEP
        self.is_started = False
        self._build_spaces()
        self._starts = segment_starts(self.scenario.num_hosts)
        self._world = make_world(self.scenario, self._starts)
        n, num_hosts = self.num_envs, self.scenario.num_hosts
        self._envs = np.zeros(n, EPISODE)
        self._footholds = np.zeros((n, num_hosts), FOOTHOLD)
        self._marks = np.zeros((n, NUM_MARKS, (num_hosts + 63) // 64), np.uint64)
        self._box_actions = np.zeros(n * sum(kernels.BOX_SIZES.values()), np.float32)
        self._choices = np.zeros(n, np.int32)
        self._observations = np.zeros(n * sum(kernels.OBSERVATION_SIZES.values()), np.float32)
        self._finals = np.zeros_like(self._observations)
        self._rewards = np.zeros(n * (1 + kernels.NUM_TERMS))
        self._flags = np.zeros(n * 3, np.bool_)
        self.episode_metrics = np.zeros(n, METRIC)
        self._bind()
        self._seed(secrets.randbits(64) if seed is None else seed)
        self._envs["network_key"] = _keys("network", self.seed, n)

    def _build_spaces(self) -> None:
        self.observation_spaces: dict[str, Space] = {agent: _unit_box(len(FEATURES[agent])) for agent in AGENTS}
        self.action_spaces: dict[str, Space] = {
            agent: Discrete(len(ACTIONS[agent])) if agent == TRIAGE else _unit_box(len(ACTIONS[agent]))
            for agent in AGENTS
        }
        self.state_space = _unit_box(len(STATE))
        self.decision_periods = {
            agent: self.scenario.coordinator_period if agent == COORDINATOR else 1 for agent in AGENTS
        }

    def _bind(self) -> None:
        """Makes the public views of the flat buffers."""
        n = self.num_envs
        blocks = _blocks(self._box_actions, kernels.BOX_SIZES, n) | {TRIAGE: self._choices}
        self.actions = ActionBuffers({agent: blocks[agent] for agent in AGENTS})
        self.observations = _blocks(self._observations, kernels.OBSERVATION_SIZES, n)
        self.final_observations = _blocks(self._finals, kernels.OBSERVATION_SIZES, n)
        self.rewards = self._rewards[:n]
        self.reward_terms = self._rewards[n:].reshape(n, kernels.NUM_TERMS)
        self.terminated, self.truncated, self.decides = self._flags.reshape(3, n)
        self._arguments = (
            self._world, self._envs, self._footholds, self._marks, self._box_actions, self._choices,
            self._observations, self._finals, self._rewards, self._flags, self.episode_metrics,
        )  # fmt: skip
        cuts = [n * t // self._num_threads for t in range(self._num_threads + 1)]
        self._slices = [(a, b) for a, b in zip(cuts, cuts[1:], strict=False) if a < b]
        self._pool: ThreadPoolExecutor | None = None
        self._pool_process = -1

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
        self._run_all(kernels.RESET, False)
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
            if not kernels.run(*self._arguments, 0, self.num_envs, self._step_mode, True):
                self._raise_bad_action()
            return
        if not kernels.run(*self._arguments, 0, 0, self._step_mode, True):
            self._raise_bad_action()
        self._run_all(self._step_mode, False)

    def _run_all(self, mode: int, is_checked: bool) -> None:
        """Runs every slice, the first in this thread."""
        if len(self._slices) == 1:
            kernels.run(*self._arguments, 0, self.num_envs, mode, is_checked)
            return
        pool = self._threads()
        waiting = [pool.submit(kernels.run, *self._arguments, a, b, mode, is_checked) for a, b in self._slices[1:]]
        kernels.run(*self._arguments, *self._slices[0], mode, is_checked)
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
                bad = np.flatnonzero((action < 0) | (action >= kernels.NUM_CHOICES))
                allowed = f"an integer from 0 to {kernels.NUM_CHOICES - 1}"
            else:
                bad = np.flatnonzero(np.isnan(action).any(axis=1))
                allowed = "numbers (they are clipped to [-1, 1])"
            if bad.size:
                value = action[bad[0]].tolist()
                raise ActionError(f"action of {agent} in env {bad[0]} is {value}; allowed: {allowed}")

    # ------------------------------------------------------------------ reading
    def state(self) -> np.ndarray:
        """(num_envs, len(tables.STATE)) float32: the truth, for central critics. A fresh array."""
        out = np.zeros(self.num_envs * len(STATE), np.float32)
        arguments = (*self._arguments[:7], out, *self._arguments[8:])
        kernels.run(*arguments, 0, self.num_envs, kernels.STATE_ONLY, False)
        return out.reshape(self.num_envs, len(STATE))

    def running_metrics(self) -> np.ndarray:
        """(num_envs,) structured as `episode_metrics`: the episodes in progress. A fresh array."""
        out = np.zeros(self.num_envs, METRIC)
        kernels.run(*self._arguments[:-1], out, 0, self.num_envs, kernels.METRICS_ONLY, False)
        return out

    def network(self, index: int = 0) -> nx.DiGraph:
        """The network of an env's current episode, see `networks.network_graph`."""
        return network_graph(self.scenario, self._starts, self._vulnerabilities(index))

    def hosts(self, index: int = 0) -> np.ndarray:
        """(num_hosts,) structured: segment, vulnerability, is_compromised, stage, is_detected, is_isolated. A copy."""
        fields = [("segment", "i4"), ("vulnerability", "f8"), ("is_compromised", "?"), ("stage", "i4"),
                  ("is_detected", "?"), ("is_isolated", "?")]  # fmt: skip
        out = np.zeros(self.scenario.num_hosts, fields)
        footholds = self._footholds[index, : self._envs["num_footholds"][index]]
        for name in ("stage", "is_detected"):
            out[name][footholds["host"]] = footholds[name]
        out["is_compromised"] = _unpacked(self._marks[index, COMPROMISED], len(out))
        out["is_isolated"] = _unpacked(self._marks[index, ISOLATED], len(out))
        out["segment"] = np.repeat(np.arange(len(self._starts) - 1), np.diff(self._starts))
        out["vulnerability"] = self._vulnerabilities(index)
        return out

    def alerts(self, index: int = 0) -> np.ndarray:
        """(queue length,) structured, oldest first: severity, confidence, noise, step, segment, is_true. A copy."""
        env = self._envs[index]
        ring = env["alerts"]
        return ring[(env["queue_head"] + np.arange(env["queue_length"])) % len(ring)]

    def campaign(self, index: int = 0) -> dict[str, Any]:
        """The attack on an env, in plain Python values.

        Returns:
            episode, step, phase (0..4), phase_name, steps_in_phase, visible_noise, targets (hosts), footholds (hosts
            ever compromised, in order), is_contained, is_exfiltrated, detection_step and containment_step (None if
            not yet), directive (8 floats in force).
        """
        env = self._envs[index]
        plain = {name: env[name].item() for name in ("episode", "step", "phase", "steps_in_phase")}
        return plain | {
            "phase_name": PHASES[env["phase"]],
            "visible_noise": float(self._world["visible_noise"][0, env["phase"]]),
            "targets": env["targets"][: env["num_targets"]].tolist(),
            "footholds": self._footholds[index, : env["num_footholds"]]["host"].tolist(),
            "is_contained": bool(env["is_contained"]),
            "is_exfiltrated": bool(env["is_exfiltrated"]),
            "detection_step": env["detection_step"].item() if env["detection_step"] >= 0 else None,
            "containment_step": env["containment_step"].item() if env["containment_step"] >= 0 else None,
            "directive": env["directive"].tolist(),
        }

    def nbytes(self) -> int:
        """Bytes held per env, buffers included."""
        return sum(array.nbytes for array in self._arguments[1:]) // self.num_envs

    def _vulnerabilities(self, index: int) -> np.ndarray:
        return host_vulnerabilities(self._world, self._envs["network_key"][index])

    # ------------------------------------------------------------------ seeds, copies
    def _seed(self, seed: int | Sequence[int] | np.ndarray) -> None:
        self._envs["seed_key"] = _keys("episodes", seed, self.num_envs)
        self._envs["episode"] = -1
        self.seed = seed

    def __getstate__(self) -> dict[str, Any]:
        """Buffers without their views and threads; the copy goes on exactly where this one stands."""
        derived = {"actions", "observations", "final_observations", "rewards", "reward_terms", "terminated",
                   "truncated", "decides", "_arguments", "_pool", "_pool_process", "_slices"}  # fmt: skip
        return {name: value for name, value in self.__dict__.items() if name not in derived}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()


class ActionBuffers(Mapping[str, np.ndarray]):
    """The simulator's action arrays by agent. Assigning copies into them: they are never replaced."""

    def __init__(self, arrays: dict[str, np.ndarray]) -> None:
        self._arrays = arrays

    def __getitem__(self, agent: str) -> np.ndarray:
        return self._arrays[agent]

    def __setitem__(self, agent: str, value: Any) -> None:
        if agent not in self._arrays:
            raise ActionError(unknown_name("agent", agent, self._arrays))
        buffer, given = self._arrays[agent], np.asarray(value)
        if given.shape != buffer.shape:
            raise ActionError(f"actions of {agent} have shape {given.shape}; allowed: {buffer.shape}")
        kinds = "iu" if buffer.dtype.kind == "i" else "iuf"
        if given.dtype.kind not in kinds:
            raise ActionError(f"actions of {agent} have type {given.dtype}; allowed: {buffer.dtype}")
        if kinds == "iu" and ((given < 0) | (given >= kernels.NUM_CHOICES)).any():  # a cast could hide it
            raise ActionError(f"actions of {agent} are {given.tolist()}; allowed: 0 to {kernels.NUM_CHOICES - 1}")
        buffer[...] = given

    def __iter__(self) -> Iterator[str]:
        return iter(self._arrays)

    def __len__(self) -> int:
        return len(self._arrays)


def _blocks(flat: np.ndarray, sizes: dict[str, int], num_envs: int) -> dict[str, np.ndarray]:
    """Views (num_envs, size) of a flat buffer, one contiguous block per agent."""
    blocks, first = {}, 0
    for agent, size in sizes.items():
        blocks[agent] = flat[first : first + num_envs * size].reshape(num_envs, size)
        first += num_envs * size
    return blocks


def _unit_box(size: int) -> Box:
    return Box(-1.0, 1.0, (size,), np.float32)


def _unpacked(words: np.ndarray, count: int) -> np.ndarray:
    """(count,) bool from 64 bits a word, lowest first."""
    bits = words[:, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    return bits.ravel()[:count].astype(bool)


def _positive(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ConfigError(f"{name}={value!r} must be an integer of at least 1")
    return int(value)


def _keys(purpose: str, seed: int | Sequence[int] | np.ndarray, num_envs: int) -> np.ndarray:
    """(num_envs,) uint64: the key of each env's draws."""
    if isinstance(seed, (list, tuple, np.ndarray)) and np.ndim(seed) == 1:
        if len(seed) != num_envs:
            raise ConfigError(f"seed has {len(seed)} entries; allowed: one integer, or one per env ({num_envs})")
        pairs = [(_checked_seed(one), 0) for one in seed]
    else:
        pairs = [(_checked_seed(seed), i) for i in range(num_envs)]
    digests = [hashlib.blake2b(f"{purpose}:{s}:{i}".encode(), digest_size=8).digest() for s, i in pairs]
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)


def _checked_seed(seed: Any) -> int:
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise ConfigError(f"seed={seed!r} must be an integer of at least 0, or one per env")
    return int(seed)
