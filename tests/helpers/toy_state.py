"""The toy `Lucky` with something that no agent sees, and a `state()` that tells it."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
from toy_branch import Lucky

WORTH = 2.0  # of what is hidden, a step


class Hidden(Lucky):
    """Each episode has a sign, -1 or 1: `WORTH` times it is earned in every step. `state()` is (sign, share of the
    episode that is over, 1 if the episode has just ended).

    With `lies` it tells the opposite of the truth.
    """

    def __init__(self, num_envs=16, seed=0, lies=False, **options):
        self.lies, self.sign = lies, np.ones(num_envs)
        self.state_space = gym.spaces.Box(-1, 1, (3,), np.float32)
        self.final_states = np.zeros((num_envs, 3), np.float32)
        super().__init__(num_envs, seed, **{"luck": 0.0, **options})

    def reset(self, seed=None):
        found = super().reset(seed)
        self._hide(np.ones(self.num_envs, bool))
        return found

    def _hide(self, where):
        self.sign[where] = np.where(self._unit(3) < 0.5, -1.0, 1.0)[where]

    def state(self):
        over = self._running["length"] / self.length
        return self._told(self.sign, over, np.zeros(self.num_envs))

    def _told(self, *columns):
        state = np.stack(columns, 1).astype(np.float32)
        return -state if self.lies else state

    def step(self):
        super().step()
        done = self.terminated | self.truncated
        self.rewards += WORTH * self.sign
        self.final_states[:] = self._told(self.sign, np.ones(self.num_envs), np.ones(self.num_envs))
        self._hide(done)

    def branch(self, source, target, into=None, keep_draws=True):
        other = self if into is None else into
        other.sign[np.asarray(target)] = self.sign[np.asarray(source)]
        super().branch(source, target, into, keep_draws)
