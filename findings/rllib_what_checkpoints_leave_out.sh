#!/usr/bin/env bash
# RLlib: adaptive coefficients and replay are not in a checkpoint, and a restored DQN learns from its first few
#     steps.
#
# One would guess: an algorithm from a checkpoint goes on where it was.
# What happens: PPO's adapted KL coefficient is the configuration's again. SAC's temperature is 1 again. DQN's
#     replay buffer is empty, but the warm-up (num_steps_sampled_before_learning_starts) counts the steps of the
#     whole life, so it is over: the networks are trained on the few steps of the first iteration.
# What helps: keeping these beside the checkpoint; a second warm-up by hand.
# Version: ray 2.60.0. Date: 2026-11-30.
# Source: own measurement; in older versions: https://github.com/ray-project/ray/issues/8151 (replay) and
#     https://github.com/ray-project/ray/issues/22444 (KL coefficient)
set -euo pipefail
source "$(dirname "$0")/environment.sh" torch==2.13.0 "ray[rllib]==2.60.0"
"$python" - <<'PYTHON'
import logging
import math
import os
import sys

import ray
from ray.rllib.algorithms import Algorithm
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.sac import SACConfig

logging.disable(logging.WARNING)
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
WARM_UP = 300


def restored(algo, name):
    path = algo.save_to_path(os.path.abspath(name))
    algo.stop()
    return Algorithm.from_checkpoint(path)


def of_learner(algo, read):
    return list(algo.learner_group.foreach_learner(read))[0].get()


def kl(algo):
    return of_learner(algo, lambda learner: float(learner.curr_kl_coeffs_per_module["default_policy"]))


def temperature(algo):
    return of_learner(algo, lambda learner: math.exp(float(learner.curr_log_alpha["default_policy"])))


def steps_trained(result):
    return int(result.get("learners", {}).get("__all_modules__", {}).get("num_module_steps_trained", 0))


print("ray", ray.__version__)
found = {}

config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0)
algo = config.training(train_batch_size=200, minibatch_size=50, num_epochs=2, lr=1e-5).build_algo()
for _ in range(3):
    algo.train()
before = kl(algo)
algo = restored(algo, "ppo")
found["PPO's KL coefficient"] = before, kl(algo), algo.config.kl_coeff
algo.stop()

config = SACConfig().environment("Pendulum-v1").env_runners(num_env_runners=0, rollout_fragment_length=100)
config.training(num_steps_sampled_before_learning_starts=100, train_batch_size_per_learner=32, alpha_lr=0.05)
algo = config.build_algo()
for _ in range(3):
    algo.train()
before = temperature(algo)
algo = restored(algo, "sac")
found["SAC's temperature"] = before, temperature(algo), 1.0
algo.stop()

config = DQNConfig().environment("CartPole-v1").env_runners(num_env_runners=0, rollout_fragment_length=4)
config.training(num_steps_sampled_before_learning_starts=WARM_UP, train_batch_size_per_learner=32)
config.reporting(min_sample_timesteps_per_iteration=100)
algo = config.build_algo()
warm_up = [steps_trained(algo.train()) for _ in range(2)]
for _ in range(2):
    algo.train()
before = algo.local_replay_buffer.get_num_timesteps()
algo = restored(algo, "dqn")
found["DQN's replay, in steps"] = before, algo.local_replay_buffer.get_num_timesteps(), 0
after = steps_trained(algo.train())
algo.stop()

for name, (before, after_restore, fresh) in found.items():
    print(f"{name}: {before:.4g} before, {after_restore:.4g} restored, {fresh:.4g} in a new algorithm")
print(f"DQN, rows trained on in the first 2 iterations of its life: {sum(warm_up)} (warm-up of {WARM_UP} steps);")
print(f"    in the first iteration after the restore: {after}")
is_lost = all(
    math.isclose(after_restore, fresh, rel_tol=1e-6) and not math.isclose(before, fresh, rel_tol=0.01)
    for before, after_restore, fresh in found.values()
)
if not (is_lost and sum(warm_up) == 0 and after > 0):
    sys.exit("the behaviour has changed")
PYTHON
