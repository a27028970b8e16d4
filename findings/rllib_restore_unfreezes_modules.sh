#!/usr/bin/env bash
# RLlib: which modules train after a restore is the checkpoint's choice, not the configuration's.
#
# One would guess: a checkpoint brings weights and optimisers; policies_to_train of the new configuration says what
#     trains.
# What happens: the learner's state carries policies_to_train, and restoring puts it in place of the
#     configuration's. A module that is to be frozen goes on training, silently, and one that was frozen stays so.
# What helps: loading the modules alone (component "learner_group/learner/rl_module").
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
from ray.rllib.examples.envs.classes.multi_agent import MultiAgentCartPole

logging.disable(logging.WARNING)
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)


def build(policies_to_train):
    config = PPOConfig().environment(MultiAgentCartPole, env_config={"num_agents": 2}).env_runners(num_env_runners=0)
    config.training(train_batch_size=100, minibatch_size=50, num_epochs=1).debugging(seed=0)
    config.multi_agent(
        policies={"p0", "p1"},
        policy_mapping_fn=lambda agent, episode, **_: f"p{agent}",
        policies_to_train=policies_to_train,
    )
    return config.build_algo()


def trained(algo):
    """Modules that one iteration changes."""
    before = {m: {k: np.array(v) for k, v in w.items()} for m, w in algo.learner_group.get_weights().items()}
    algo.train()
    after = algo.learner_group.get_weights()
    return sorted(m for m in before if any(not np.array_equal(before[m][k], after[m][k]) for k in before[m]))


print("ray", ray.__version__)
found = []
for of_checkpoint, of_config in ((["p0", "p1"], ["p0"]), (["p0"], ["p0", "p1"])):
    saved = build(of_checkpoint)
    path = saved.save_to_path(os.path.abspath(f"saved-{len(of_checkpoint)}"))
    saved.stop()
    new = build(of_config)
    without = trained(new)
    new.restore_from_path(path)
    found.append((without, trained(new)))
    new.stop()
    print(
        f"checkpoint trained {of_checkpoint}, configuration trains {of_config}: "
        f"before the restore {found[-1][0]} train, after it {found[-1][1]}"
    )
if found != [(["p0"], ["p0", "p1"]), (["p0", "p1"], ["p0"])]:
    sys.exit("the behaviour has changed")
PYTHON
