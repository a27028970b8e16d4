"""The toy `Matching` with luck in its rewards and copies of environments, see `soc_env.Simulator.branch`."""

from __future__ import annotations

import numpy as np
from toy import Matching

GOLDEN, FIRST, SECOND = (np.uint64(n) for n in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB))


def mixed(x):
    """(n,) uint64 -> the same, hashed (SplitMix64)."""
    x = (x ^ (x >> np.uint64(30))) * FIRST
    x = (x ^ (x >> np.uint64(27))) * SECOND
    return x ^ (x >> np.uint64(31))


class Lucky(Matching):
    """`Matching` whose reward is what actions earned one step before, and luck: normal, with standard deviation `luck`.

    What an action earns is a function of what its agent sees. So an alternative to one action is worth exactly
    gamma times what it earns more, divided by the number of agents, whatever the luck is; in an episode's last step
    nothing. All draws are functions of an environment's key and clock.
    """

    def __init__(self, num_envs=16, seed=0, luck=1.0, **options):
        self.luck, self.seed = luck, seed
        self.key, self.clock = np.zeros(num_envs, np.uint64), np.zeros(num_envs, np.uint64)
        self.earned = np.zeros(num_envs)
        super().__init__(num_envs, seed, **options)
        self._count = 0

    def reset(self, seed=None):
        self.seed = self.seed if seed is None else seed
        self.key[:] = mixed((np.arange(self.num_envs) + 1000 * self.seed + 1).astype(np.uint64) * GOLDEN)
        self.clock[:], self.earned[:] = 0, 0
        return super().reset()

    def _unit(self, stream):
        """(num_envs,) uniform draws of this moment."""
        return (
            mixed(self.key + self.clock * GOLDEN + np.full(1, stream, np.uint64) * FIRST) >> np.uint64(11)
        ) * 2.0**-53

    def _draw(self, agent, where):
        first = 10 * self.agents.index(agent) + 10
        fresh = np.stack([2 * self._unit(first + k) - 1 for k in range(3)], 1).astype(np.float32)
        self.observations[agent][where] = fresh[where]

    def step(self):
        before = self.earned.copy()
        self.clock += np.uint64(1)
        super().step()
        lucky = np.sqrt(-2 * np.log(1 - self._unit(1))) * np.cos(2 * np.pi * self._unit(2))
        self.earned[:] = np.where(self.terminated | self.truncated, 0.0, self.rewards)
        self.rewards[:] = before + self.luck * lucky

    def branch(self, source, target, into=None, keep_draws=True):
        other = self if into is None else into
        arrays = [(getattr(self, name), getattr(other, name)) for name in (
            "key", "clock", "earned", "rewards", "terminated", "truncated", "episode_metrics", "_running"
        )]  # fmt: skip
        for name in ("actions", "observations", "final_observations"):
            arrays += [(getattr(self, name)[a], getattr(other, name)[a]) for a in self.agents]
        for own, theirs in arrays:
            theirs[np.asarray(target)] = own[np.asarray(source)]
        if not keep_draws:
            other.key[target] = mixed(other.key[target] + np.asarray(target, np.uint64) * SECOND)
