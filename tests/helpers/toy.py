"""Tiny batched environments with known optima, in the interface of `soc_env.Simulator`."""

from __future__ import annotations

from types import SimpleNamespace

import gymnasium as gym
import numpy as np

EPISODE = np.dtype([("reward", "f8"), ("length", "i4")])
BOX2, FOUR = gym.spaces.Box(-1, 1, (2,), np.float32), gym.spaces.Discrete(4)
ROLES = {
    "alert_triage_0": FOUR,
    "threat_hunter_0": BOX2,
    "response_orchestrator_0": BOX2,
    "strategic_coordinator_0": BOX2,
}


class Matching:
    """Every agent sees a point (x, y) of its own and should name it: a Box agent earns 1 - |a - (x, y)| (mean over the
    two, at most 1), a Discrete one 1 for the point's quadrant. The reward is the mean over agents, so 1 a step is the
    optimum; doing nothing earns about 0.5.

    The points are drawn anew each time an agent decides; episodes of `length` steps are truncated, or terminated if
    `terminates`.
    """

    def __init__(
        self, num_envs=16, seed=0, agents=tuple(ROLES), spaces=None, period=1, slow=(), length=10, terminates=False
    ):
        self.num_envs, self.agents, self.length, self.terminates = num_envs, tuple(agents), length, terminates
        self.action_spaces = dict(spaces or {a: ROLES[a] for a in self.agents})
        self.observation_spaces = {a: gym.spaces.Box(-1, 1, (3,), np.float32) for a in self.agents}
        self.decision_periods = {a: period if a in slow else 1 for a in self.agents}
        self.scenario = SimpleNamespace(name="matching")
        self.actions = {
            a: np.zeros(num_envs, np.int32)
            if isinstance(s, gym.spaces.Discrete)
            else np.zeros((num_envs, *s.shape), np.float32)
            for a, s in self.action_spaces.items()
        }
        self.observations = {a: np.zeros((num_envs, 3), np.float32) for a in self.agents}
        self.final_observations = {a: np.zeros((num_envs, 3), np.float32) for a in self.agents}
        self.rewards, self.terminated, self.truncated = (
            np.zeros(num_envs),
            np.zeros(num_envs, bool),
            np.zeros(num_envs, bool),
        )
        self.episode_metrics, self._running = np.zeros(num_envs, EPISODE), np.zeros(num_envs, EPISODE)
        self._period, self._rng = period, np.random.default_rng(seed)

    def reset(self, seed=None):
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._running[:] = 0
        for a in self.agents:
            self._draw(a, np.ones(self.num_envs, bool))
        return self.observations

    @property
    def decides(self):
        return self._running["length"] % self._period == 0

    def running_metrics(self):
        return self._running.copy()

    def _draw(self, agent, where):
        fresh = self._rng.uniform(-1, 1, (self.num_envs, 3)).astype(np.float32)
        self.observations[agent][where] = fresh[where]

    def score(self, agent):
        """(num_envs,) what the agent's current action earns."""
        point, action = self.observations[agent][:, :2], self.actions[agent]
        if isinstance(self.action_spaces[agent], gym.spaces.Discrete):
            return (action == (point[:, 0] > 0) + 2 * (point[:, 1] > 0)).astype(float)
        return 1 - np.abs(action - point).mean(1)

    def step(self):
        self.rewards[:] = np.mean([self.score(a) for a in self.agents], 0)
        self._running["length"] += 1
        self._running["reward"] += self.rewards
        done = self._running["length"] >= self.length
        self.terminated[:], self.truncated[:] = done & self.terminates, done & (not self.terminates)
        for a in self.agents:
            self._draw(a, self._running["length"] % self.decision_periods[a] == 0)
            self.final_observations[a][:] = self.observations[a]
            self._draw(a, done)
        self.episode_metrics[done] = self._running[done]
        self._running[done] = 0
