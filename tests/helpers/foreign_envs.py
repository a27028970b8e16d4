"""Tiny environments that are not ours, for tests of `policies.runner.batched_env` and of tiers on any environment."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from pettingzoo import ParallelEnv
from ray.rllib.env.multi_agent_env import MultiAgentEnv

BOX1, FROM_3 = gym.spaces.Box(0.0, 2.0, (1,), np.float32), gym.spaces.Discrete(4, start=3)


class Relay(ParallelEnv):
    """`a_0`, `a_1` act in Box(0, 2), `b_0` in {3, 4, 5, 6}. All earn what they do and observe (step, own number).

    Args:
        leaves: agent -> step at which it terminates; the others go on to `length`.
        ends: how that ends for them, "truncated" or "terminated".
        cut: whether leaving is a truncation (which HMARL refuses).
        hides: agent that is not observed from step 1 on.
        late: agent that is not there at the start.
    """

    metadata = {"name": "relay_v0"}

    def __init__(self, length=4, leaves=None, ends="truncated", cut=False, hides=None, late=None, spaces=None):
        self.length, self.leaves, self.ends, self.cut = length, leaves or {}, ends, cut
        self.hides, self.late = hides, late
        self.possible_agents = ["a_0", "a_1", "b_0"]
        self.action_spaces = {"a_0": BOX1, "a_1": BOX1, "b_0": FROM_3, **(spaces or {})}
        self.observation_spaces = {a: gym.spaces.Box(0, 100, (2,), np.float64) for a in self.possible_agents}

    def observation_space(self, agent):
        return self.observation_spaces[agent]

    def action_space(self, agent):
        return self.action_spaces[agent]

    def _observe(self, agents):
        return {a: np.array([self.steps, self.possible_agents.index(a)], float) for a in agents}

    def reset(self, seed=None, options=None):
        self.agents, self.steps = [a for a in self.possible_agents if a != self.late], 0
        return self._observe(self.agents), {a: {} for a in self.agents}

    def step(self, actions):
        assert set(actions) == set(self.agents)
        assert all(self.action_spaces[a].contains(action) for a, action in actions.items()), actions
        self.steps += 1
        acting, is_over = self.agents, self.steps >= self.length
        gone = {a for a in acting if self.steps >= self.leaves.get(a, self.length + 1)}
        rewards = {a: float(np.sum(action)) for a, action in actions.items()}
        over = dict.fromkeys(acting, is_over)
        left = {a: a in gone for a in acting}
        both = ({a: left[a] or over[a] for a in acting}, dict.fromkeys(acting, False))
        if self.cut:
            terminations, truncations = both[1], both[0]
        else:
            terminations, truncations = both if self.ends == "terminated" else (left, over)
        self.agents = [a for a in acting if not (left[a] or over[a])]
        seen = [a for a in acting if a != self.hides]
        return self._observe(seen), rewards, terminations, truncations, {a: {} for a in acting}


class Duel(ParallelEnv):
    """Both agents see a point of their own in [-1, 1] and name it. The first earns its score 1 - |error|; the second
    its own score minus twice the first's: what is good for one is bad for both together."""

    metadata = {"name": "duel_v0"}
    possible_agents = ["first", "second"]
    length = 8

    def observation_space(self, agent):
        return gym.spaces.Box(-1, 1, (2,), np.float32)

    def action_space(self, agent):
        return gym.spaces.Box(-1, 1, (1,), np.float32)

    def _draw(self):
        self.points = {a: self.rng.uniform(-1, 1, 2).astype(np.float32) for a in self.possible_agents}
        return dict(self.points)

    def reset(self, seed=None, options=None):
        if seed is not None or not hasattr(self, "rng"):
            self.rng = np.random.default_rng(seed)
        self.agents, self.steps = list(self.possible_agents), 0
        return self._draw(), {a: {} for a in self.agents}

    def step(self, actions):
        score = {a: 1 - abs(float(action[0] - self.points[a][0])) for a, action in actions.items()}
        self.steps += 1
        is_over = self.steps >= self.length
        rewards = {"first": score["first"], "second": score["second"] - 2 * score["first"]}
        acting, self.agents = self.agents, [] if is_over else self.agents
        return (
            self._draw(),
            rewards,
            dict.fromkeys(acting, False),
            dict.fromkeys(acting, is_over),
            {a: {} for a in acting},
        )


class Counter(MultiAgentEnv):
    """RLlib's interface: two agents observe where they run and what they were configured with, one-hot among others."""

    def __init__(self, config):
        super().__init__()
        self.place = (config.worker_index, config.vector_index, config["offset"])
        self.possible_agents = self.agents = ["x", "y"]
        one = gym.spaces.Dict({"place": gym.spaces.Box(-1, 99, (3,), np.float32), "kind": gym.spaces.Discrete(2)})
        self.observation_spaces = dict.fromkeys(self.agents, one)
        self.action_spaces = dict.fromkeys(self.agents, gym.spaces.Discrete(2))

    def _observe(self):
        place = np.array(self.place, np.float32)
        return {a: {"place": place, "kind": i} for i, a in enumerate(self.agents)}

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self._observe(), {}

    def step(self, action_dict):
        self.steps += 1
        rewards = {a: float(action) for a, action in action_dict.items()}
        return self._observe(), rewards, {"__all__": self.steps >= 3}, {"__all__": False}, {}


def follower(action_spaces, seed):
    """Builder of a scripted policy: every Box agent does what it sees, every Discrete one takes its last choice."""
    return _Follower(action_spaces)


class _Follower:
    def __init__(self, action_spaces):
        self.action_spaces = action_spaces

    def reset(self, seed):
        """Nothing to forget."""

    def __call__(self, observations, decides):
        return {
            a: np.full(len(decides), s.n - 1) if hasattr(s, "n") else observations[a][:, : s.shape[0]]
            for a, s in self.action_spaces.items()
        }
