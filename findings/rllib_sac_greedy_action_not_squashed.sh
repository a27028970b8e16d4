#!/usr/bin/env bash
# RLlib: SAC's greedy action is the mean before the tanh, not the squashed one.
#
# One would guess: with explore=False SAC plays tanh(mean), which its sampled actions lie around.
# What happens: TorchSquashedGaussian.to_deterministic() leaves the tanh out. A mean of 1 becomes the end of the action
#     space where samples lie around 0.76, so an evaluation without exploration plays another policy than the one that
#     was trained, the more so the further actions are from the middle.
# What helps: tanh of the mean, in the module's _forward_inference under Columns.ACTIONS.
# Version: ray 2.60.0. Date: 2026-11-30. Source: own measurement.
set -euo pipefail
source "$(dirname "$0")/environment.sh" torch==2.13.0 "ray[rllib]==2.60.0"
"$python" - <<'PYTHON'
import logging
import sys

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.core.columns import Columns

logging.disable(logging.WARNING)
torch.manual_seed(0)
box = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
spaces = {"__env__": (box, box), "__env_single__": (box, box), "default_policy": (box, box)}
module = SACConfig().environment(observation_space=box, action_space=box).get_rl_module_spec(spaces=spaces).build()
inputs = module.forward_inference({Columns.OBS: torch.full((1, 1), 0.5)})[Columns.ACTION_DIST_INPUTS]
kinds = module.get_inference_action_dist_cls(), module.get_exploration_action_dist_cls()
print("ray", ray.__version__, "distributions of SAC:", *(kind.__name__ for kind in kinds))
logits = torch.tensor([[1.0, -4.0]]).expand(10_000, 2)  # mean 1, standard deviation exp(-4)
assert inputs.shape[1] == logits.shape[1]
sampled = kinds[1].from_logits(logits).sample().mean().item()
greedy = kinds[0].from_logits(logits).to_deterministic().sample()[0, 0].item()
print(f"mean 1 before the tanh: sampled actions around {sampled:.3f}, greedy action {greedy:.3f}, tanh {np.tanh(1):.3f}")
if not (abs(sampled - np.tanh(1)) < 0.01 and greedy == 1.0):
    sys.exit("the behaviour has changed")
PYTHON
