#!/usr/bin/env bash
# RLlib: a time limit that is given agent by agent is recorded as the end of the task.
#
# One would guess: where every agent is truncated, the value of the last observation is added to the target.
# What happens: once all agents are done, by whatever flag, the episode and every agent of it are terminated as
#     well. The targets of PPO lose the rest of the return, and replay stores a terminal step. Every PettingZoo
#     environment through ParallelPettingZooEnv is treated so. Only truncateds={"__all__": True}, without the
#     agents, is kept apart.
# What helps: flags for "__all__" alone, where a time limit ends the episode for all.
# Version: ray 2.60.0, pettingzoo 1.27.0. Date: 2026-11-30. Source: own measurement.
set -euo pipefail
source "$(dirname "$0")/environment.sh" torch==2.13.0 "ray[rllib]==2.60.0" pettingzoo==1.27.0
"$python" - <<'PYTHON'
import logging
import sys

import numpy as np
import pettingzoo
import ray
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.env.multi_agent_env import MultiAgentEnv
from ray.rllib.env.multi_agent_env_runner import MultiAgentEnvRunner
from ray.rllib.env.wrappers.pettingzoo_env import ParallelPettingZooEnv
from ray.rllib.utils.postprocessing.value_predictions import compute_value_targets

logging.disable(logging.WARNING)
HORIZON, AGENTS = 10, ["a", "b"]
SPACES = Box(-1.0, 1.0, (2,), np.float32), Discrete(2)


class TimeLimited(pettingzoo.ParallelEnv):
    """Reward 1 a step for both agents; truncated after `HORIZON` steps, nothing ever terminates."""

    metadata = {"name": "time_limited"}
    render_mode = None
    possible_agents = AGENTS

    def observation_space(self, agent):
        return SPACES[0]

    def action_space(self, agent):
        return SPACES[1]

    def reset(self, seed=None, options=None):
        self.agents, self.steps = list(AGENTS), 0
        return {agent: np.zeros(2, np.float32) for agent in AGENTS}, {agent: {} for agent in AGENTS}

    def step(self, actions):
        self.steps += 1
        is_over = self.steps == HORIZON
        self.agents = [] if is_over else list(AGENTS)
        every = {agent: 0 for agent in AGENTS}
        observations = {agent: np.zeros(2, np.float32) for agent in every}
        return observations, dict.fromkeys(every, 1.0), dict.fromkeys(every, False), dict.fromkeys(every, is_over), {
            agent: {} for agent in every
        }


class OnlyAll(MultiAgentEnv):
    """The same, as an environment of RLlib's own that flags "__all__" alone."""

    def __init__(self, config=None):
        super().__init__()
        self.inner = TimeLimited()
        self.agents = self.possible_agents = AGENTS
        self.observation_spaces = dict.fromkeys(AGENTS, SPACES[0])
        self.action_spaces = dict.fromkeys(AGENTS, SPACES[1])

    def reset(self, *, seed=None, options=None):
        return self.inner.reset()

    def step(self, actions):
        observations, rewards, _, truncations, infos = self.inner.step(actions)
        return observations, rewards, {"__all__": False}, {"__all__": all(truncations.values())}, infos


def episode_of(env):
    config = PPOConfig().environment(env).env_runners(num_env_runners=0, batch_mode="complete_episodes")
    config.multi_agent(policies={"shared"}, policy_mapping_fn=lambda agent, episode, **_: "shared")
    runner = MultiAgentEnvRunner(config=config)
    (episode,) = runner.sample(num_episodes=1)
    runner.stop()
    return episode


def targets(episode):
    """PPO's value targets with gamma = lambda = 1, if the critic says 100 everywhere."""
    one = episode.agent_episodes["a"]
    ends = np.zeros(HORIZON + 1, bool), np.zeros(HORIZON + 1, bool)
    ends[0][-2], ends[1][-2] = one.is_terminated, one.is_truncated
    rewards, values = np.append(one.get_rewards(), 0.0), np.full(HORIZON + 1, 100.0)
    return compute_value_targets(
        values=values, rewards=rewards, terminateds=ends[0], truncateds=ends[1], gamma=1.0, lambda_=1.0
    )[:HORIZON]


print("ray", ray.__version__, "pettingzoo", pettingzoo.__version__)
found = {}
ray.tune.register_env("time-limited", lambda _: ParallelPettingZooEnv(TimeLimited()))
for name, env in (("truncations of the agents", "time-limited"), ('truncateds={"__all__": True}', OnlyAll)):
    episode = episode_of(env)
    agents = {agent: bool(one.is_terminated) for agent, one in episode.agent_episodes.items()}
    found[name] = (bool(episode.is_terminated), all(agents.values()))
    print(f"{name}: episode terminated {found[name][0]}, agents terminated {agents}, targets {targets(episode)}")
if list(found.values()) != [(True, True), (False, False)]:
    sys.exit("the behaviour has changed")
PYTHON
