#!/usr/bin/env bash
# RLlib: most settings that are overridden for one module are neither used nor refused.
#
# One would guess: algorithm_config_overrides_per_module gives a module its own gamma, number of epochs and
#     minibatch size.
# What happens: the configuration of the module shows the overridden values; but the value targets of both modules
#     have the gamma of all, and minibatches and epochs are those of all. The module with few rows is repeated until
#     the one with many has had its epochs.
# What helps: one learner group for each kind of agent.
# Version: ray 2.60.0. Date: 2026-11-30. Source: own measurement.
set -euo pipefail
source "$(dirname "$0")/environment.sh" torch==2.13.0 "ray[rllib]==2.60.0"
"$python" - <<'PYTHON'
import logging
import sys
from collections import defaultdict

import numpy as np
import ray
from gymnasium.spaces import Box, Discrete
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.env.multi_agent_env import MultiAgentEnv

logging.disable(logging.WARNING)
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
rows, targets = defaultdict(list), defaultdict(float)


class TwoPaces(MultiAgentEnv):
    """"often" acts at each of 20 steps, "seldom" at every fifth; reward 1 a step, then the task ends."""

    def __init__(self, config=None):
        super().__init__()
        self.agents = self.possible_agents = ["often", "seldom"]
        self.observation_spaces = dict.fromkeys(self.agents, Box(-1.0, 1.0, (2,), np.float32))
        self.action_spaces = dict.fromkeys(self.agents, Discrete(2))

    def observe(self):
        acting = [agent for agent in self.agents if agent == "often" or self.steps % 5 == 0]
        return {agent: np.zeros(2, np.float32) for agent in acting}

    def reset(self, *, seed=None, options=None):
        self.steps = 0
        return self.observe(), {}

    def step(self, actions):
        self.steps += 1
        is_over = self.steps == 20
        return self.observe(), dict.fromkeys(self.agents, 1.0), {"__all__": is_over}, {"__all__": False}, {}


class Watched(PPOTorchLearner):
    """Keeps the rows of every minibatch and the largest value target."""

    def compute_loss_for_module(self, *, module_id, config, batch, fwd_out):
        rows[module_id].append(len(batch["obs"]))
        targets[module_id] = max(targets[module_id], float(batch["value_targets"].max()))
        return super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)


own = {"gamma": 0.0, "lambda_": 1.0, "num_epochs": 1, "minibatch_size": 10}
config = PPOConfig().environment(TwoPaces).env_runners(num_env_runners=0, batch_mode="complete_episodes")
config.training(
    learner_class=Watched, train_batch_size=200, minibatch_size=40, num_epochs=2, gamma=1.0, lambda_=1.0
).debugging(seed=0)
config.multi_agent(
    policies={"often", "seldom"},
    policy_mapping_fn=lambda agent, episode, **_: agent,
    algorithm_config_overrides_per_module={"seldom": PPOConfig.overrides(**own)},
)
algo = config.build_algo()
seen = algo.learner_group.foreach_learner(lambda learner: learner.config.get_config_for_module("seldom"))
seen = list(seen)[0].get()
print("ray", ray.__version__)
print("for all: gamma 1.0, 2 epochs, minibatches of 40 rows; for 'seldom':", own)
print("its configuration says", {name: getattr(seen, name) for name in own})
algo.train()
collected = {"often": 200, "seldom": 40}
passes = {module: sum(sizes) / collected[module] for module, sizes in rows.items()}
for module in collected:
    print(
        f"{module}: {len(rows[module])} gradient steps of {max(rows[module])} rows, {passes[module]:.1f} passes over "
        f"its {collected[module]} rows; largest value target {targets[module]:.1f}"
    )
algo.stop()
has_own = {name: getattr(seen, name) for name in own} == own
# With gamma 0 no target of "seldom" would be above 5, the reward between two of its turns.
if not (has_own and targets["seldom"] > 15 and max(rows["seldom"]) == 40 and passes["seldom"] > 5):
    sys.exit("the behaviour has changed")
PYTHON
