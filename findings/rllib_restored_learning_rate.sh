#!/usr/bin/env bash
# RLlib: the first iteration after a restore uses the checkpoint's learning rate, whatever the configuration says.
#
# One would guess: a changed lr holds from the first gradient step on; population based training rests on it.
# What happens: the optimiser's state carries the rate, and the learner sets its own only after its update. With
#     many gradient steps an iteration, all of them have the old rate. The results name the new one.
# What helps: setting the rate of every optimiser after a restore.
# Version: ray 2.60.0. Date: 2026-11-30.
# Source: own measurement; https://github.com/ray-project/ray/issues/62173
set -euo pipefail
source "$(dirname "$0")/environment.sh" torch==2.13.0 "ray[rllib]==2.60.0"
"$python" - <<'PYTHON'
import logging
import os
import sys

import ray
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner

logging.disable(logging.WARNING)
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
used = []


class Watched(PPOTorchLearner):
    """Keeps the rate of every gradient step."""

    def apply_gradients(self, gradients_dict):
        used.append(self.get_optimizer("default_policy").param_groups[0]["lr"])
        super().apply_gradients(gradients_dict)


def build(lr):
    config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0)
    config.training(learner_class=Watched, train_batch_size=100, minibatch_size=50, num_epochs=4, lr=lr)
    return config.build_algo()


def rates(algo):
    used.clear()
    result = algo.train()
    reported = result["learners"]["default_policy"]["default_optimizer_learning_rate"]
    return sorted(set(used)), len(used), reported


print("ray", ray.__version__)
first = build(0.1)
first.train()
path = first.save_to_path(os.path.abspath("donor"))
first.stop()
second = build(0.001)
second.restore_from_path(path)
found = [rates(second) for _ in range(2)]
print("the checkpoint's rate is 0.1, the configuration's 0.001")
for number, (of_steps, num_steps, reported) in enumerate(found, 1):
    print(f"iteration {number} after the restore: {num_steps} gradient steps at {of_steps}; reported: {reported}")
if [of_steps for of_steps, *_ in found] != [[0.1], [0.001]]:
    sys.exit("the behaviour has changed")
PYTHON
