#!/usr/bin/env bash
# PettingZoo: parallel_seed_test compares one step; parallel_api_test never looks into an observation.
#
# One would guess: an environment that passes both gives the same episode for the same seed, and observations of its
#     space.
# What happens: the seed test ends on `any(terminations)`, which asks the agents' names and not their flags, so it
#     ends after the first step; what reset returns is not compared at all. The api test compares no observation
#     with its space.
# What helps: an own test that steps through whole episodes and asks observation_space(agent).contains.
# Version: pettingzoo 1.27.0. Date: 2026-11-30. Source: own measurement;
#     https://github.com/Farama-Foundation/PettingZoo/pull/1437 (mends the seed test after 1.27.0)
set -euo pipefail
source "$(dirname "$0")/environment.sh" pettingzoo==1.27.0 gymnasium==1.2.2
"$python" - <<'PYTHON'
import sys
import warnings

import numpy as np
import pettingzoo
from gymnasium.spaces import Box, Discrete
from pettingzoo.test import parallel_api_test, parallel_seed_test

print("pettingzoo", pettingzoo.__version__)


class Wrong(pettingzoo.ParallelEnv):
    """Draws from a generator that no seed reaches, in reset and from step 2 on; observations are too large."""

    metadata = {"name": "wrong"}
    possible_agents = ["a", "b"]
    render_mode = None
    num_steps = 0  # of all environments, for the report

    def __init__(self):
        self.unseeded = np.random.default_rng()
        self.spaces = {agent: (Box(0.0, 1.0, (2,), np.float32), Discrete(2)) for agent in self.possible_agents}

    def observation_space(self, agent):
        return self.spaces[agent][0]

    def action_space(self, agent):
        return self.spaces[agent][1]

    def observe(self, value):
        return {agent: np.array([value, 1e6], np.float32) for agent in self.possible_agents}

    def reset(self, seed=None, options=None):
        self.agents, self.clock = list(self.possible_agents), 0
        return self.observe(self.unseeded.normal()), {agent: {} for agent in self.agents}

    def step(self, actions):
        Wrong.num_steps += 1
        self.clock += 1
        value = 1e6 if self.clock == 1 else self.unseeded.normal()
        is_over = self.clock == 50
        every, self.agents = list(self.agents), [] if is_over else self.agents
        ends = dict.fromkeys(every, is_over)
        observations = {agent: o for agent, o in self.observe(value).items() if agent in every}
        return observations, dict.fromkeys(every, 0.0), dict.fromkeys(every, False), ends, {a: {} for a in every}


warnings.simplefilter("error")
env = Wrong()
observations, _ = env.reset(seed=0)
print("reset, twice with seed 0:", observations["a"], env.reset(seed=0)[0]["a"], "of", env.observation_space("a"))
is_inside = env.observation_space("a").contains(observations["a"])
parallel_api_test(env, num_cycles=100)
Wrong.num_steps = 0
parallel_seed_test(Wrong, num_cycles=500)
print("parallel_seed_test passed, after", Wrong.num_steps, "steps of two environments together")
if is_inside or Wrong.num_steps != 2:
    sys.exit("the behaviour has changed")
PYTHON
