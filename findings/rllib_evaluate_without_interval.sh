#!/usr/bin/env bash
# RLlib: algo.evaluate() without evaluation_interval explores, on the training environment, and says nothing.
#
# One would guess: evaluate() uses evaluation_config; evaluation_interval only says how often training calls it by
#     itself.
# What happens: without an interval (and without evaluation runners) no evaluation runner is built. evaluate() then
#     plays with the training runner: evaluation_config (explore, env_config) is ignored.
# What helps: an evaluation_interval, however large.
# Version: ray 2.60.0. Date: 2026-11-30. Source: own measurement.
set -euo pipefail
source "$(dirname "$0")/environment.sh" torch==2.13.0 "ray[rllib]==2.60.0"
"$python" - <<'PYTHON'
import logging
import sys
from collections import defaultdict

import gymnasium
import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPOConfig

logging.disable(logging.WARNING)
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
actions = defaultdict(set)  # of each environment


class Bandit(gymnasium.Env):
    """The same observation always: a greedy policy repeats one action."""

    observation_space, action_space = gymnasium.spaces.Box(0.0, 1.0, (1,), np.float32), gymnasium.spaces.Discrete(4)

    def __init__(self, config):
        self.name, self.steps = config["name"], 0

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return np.ones(1, np.float32), {}

    def step(self, action):
        self.steps += 1
        actions[self.name].add(int(action))
        return np.ones(1, np.float32), float(action == 0), self.steps == 20, False, {}


print("ray", ray.__version__)
found = {}
for interval in (None, 1_000_000):
    config = PPOConfig().environment(Bandit, env_config={"name": "training"}).env_runners(num_env_runners=0)
    config.training(train_batch_size=40, minibatch_size=20, num_epochs=1).debugging(seed=0)
    evaluation = {"explore": False, "env_config": {"name": "evaluation"}}
    config.evaluation(evaluation_interval=interval, evaluation_duration=5, evaluation_config=evaluation)
    algo = config.build_algo()
    actions.clear()
    algo.evaluate()
    algo.stop()
    found[interval] = {name: len(chosen) for name, chosen in actions.items()}
    for name, number in found[interval].items():
        print(f"evaluation_interval={interval}: environment of {name}, {number} different actions")
explores = found[None].get("training", 0) > 1 and "evaluation" not in found[None]
if not (explores and found[1_000_000] == {"evaluation": 1}):
    sys.exit("the behaviour has changed")
PYTHON
