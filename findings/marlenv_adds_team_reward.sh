#!/usr/bin/env bash
# marlenv: a PettingZoo environment with one reward for the team is played with n times that reward.
#
# One would guess: where every agent gets the same reward (a cooperative task), the team's reward is that number.
# What happens: marlenv's PettingZoo adapter adds the agents' rewards up: three agents that get 1 each are a team that
#     gets 3 a step. Returns in logs and value targets are n times those of other libraries.
# What helps: divide by the number of agents in a wrapper, or compare returns after it.
# Version: multi-agent-rlenv 4.4.0, pettingzoo 1.27.0. Date: 2026-11-30. Source: own measurement.
set -euo pipefail
source "$(dirname "$0")/environment.sh" multi-agent-rlenv==4.4.0 pettingzoo==1.27.0
"$python" - <<'PYTHON'
import sys
from importlib.metadata import version

import gymnasium
import numpy as np
from marlenv.adapters import PettingZoo
from pettingzoo import ParallelEnv


class Team(ParallelEnv):
    """Three agents, five steps, reward 1 a step for all of them together."""

    metadata = {"name": "team_v0"}
    possible_agents = ["a", "b", "c"]
    state_space = gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def observation_space(self, agent):
        return gymnasium.spaces.Box(-1.0, 1.0, (2,), np.float32)

    def action_space(self, agent):
        return gymnasium.spaces.Discrete(2)

    def state(self):
        return np.zeros(2, np.float32)

    def reset(self, seed=None, options=None):
        self.agents, self.steps = list(self.possible_agents), 0
        return {agent: self.state() for agent in self.agents}, {agent: {} for agent in self.agents}

    def step(self, actions):
        self.steps += 1
        everyone, over = self.agents, self.steps == 5
        self.agents = [] if over else everyone
        return (
            {agent: self.state() for agent in everyone},
            dict.fromkeys(everyone, 1.0),
            dict.fromkeys(everyone, False),
            dict.fromkeys(everyone, over),
            {agent: {} for agent in everyone},
        )


print("multi-agent-rlenv", version("multi-agent-rlenv"), "pettingzoo", version("pettingzoo"))
env = PettingZoo(Team())
env.reset()
reward = env.step(np.zeros(3, int)).reward
print("each agent's reward 1, the team's in marlenv", reward.tolist())
sys.exit(0 if reward.tolist() == [3.0] else "the behaviour has changed")
PYTHON
