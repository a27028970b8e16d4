#!/usr/bin/env bash
# RLlib: going back to an older checkpoint in place leaves the newest weights in the runners.
#
# One would guess: after algo.restore_from_path(older) the algorithm evaluates, samples and hands out the restored
#     policy.
# What happens: runners take weights only with a number higher than their own. The learner has the older weights,
#     with the older number, so get_module(), evaluate() and the next sampling use the newest ones.
#     algo.set_state(older) does not even change the learner.
# What helps: a new algorithm, by Algorithm.from_checkpoint.
# Version: ray 2.60.0. Date: 2026-11-30. Source: own measurement.
set -euo pipefail
source "$(dirname "$0")/environment.sh" torch==2.13.0 "ray[rllib]==2.60.0"
"$python" - <<'PYTHON'
import logging
import os
import sys

import numpy as np
import ray
from ray.rllib.algorithms.ppo import PPOConfig

logging.disable(logging.WARNING)
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)


def build():
    config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=0)
    return config.training(train_batch_size=100, minibatch_size=50, num_epochs=2).debugging(seed=0).build_algo()


def learner(algo):
    return algo.learner_group.get_weights()["default_policy"]


def runner(algo):
    return algo.get_module().get_state(inference_only=True)


def are_equal(some, others):
    shared = some.keys() & others.keys()
    return bool(shared) and all(np.array_equal(np.asarray(some[k]), np.asarray(others[k])) for k in shared)


print("ray", ray.__version__)
algo = build()
algo.train()
path, state = algo.save_to_path(os.path.abspath("older")), algo.get_state()
old = {name: np.array(value) for name, value in learner(algo).items()}
for _ in range(2):
    algo.train()
new = {name: np.array(value) for name, value in learner(algo).items()}


def shown(weights):
    return "older" if are_equal(weights, old) else "newest" if are_equal(weights, new) else "neither"


algo.set_state(state)
found = {"set_state": (shown(learner(algo)), shown(runner(algo)))}
algo.restore_from_path(path)
found["restore_from_path"] = (shown(learner(algo)), shown(runner(algo)))
fresh = build()
fresh.restore_from_path(path)
found["restore_from_path of a new algorithm"] = (shown(learner(fresh)), shown(runner(fresh)))
for name, (of_learner, of_runner) in found.items():
    print(f"after {name}: the learner has the {of_learner} weights, the runner the {of_runner}")
if list(found.values()) != [("newest", "newest"), ("older", "newest"), ("older", "older")]:
    sys.exit("the behaviour has changed")
PYTHON
