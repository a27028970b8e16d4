"""One forward pass of one policy: observations in, actions out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from ray.rllib.core.columns import Columns


@dataclass
class PolicyOutput:
    """One agent's forward pass over B environments."""

    executed: np.ndarray  # as the environment takes it: clipped
    raw: np.ndarray  # as the policy drew it: log-probabilities belong to this
    inputs: np.ndarray | None = None  # parameters of the distribution (B, P)
    logp: np.ndarray | None = None
    value: np.ndarray | None = None  # in reward units


def act(
    module: Any,
    observation: np.ndarray,
    *,
    explore: bool,
    t: int = 0,
    with_value: bool = False,
    noise: torch.Tensor | None = None,
) -> PolicyOutput:
    """Actions of one module for a batch of observations (B, dim); without `explore` the distribution's mode.

    `noise` (B, action dim) is standard normal noise for modules that draw Gaussian actions, in place of fresh one.
    """
    batch = {Columns.OBS: torch.from_numpy(np.ascontiguousarray(observation))}
    with_noise = {} if noise is None else {"noise": noise}
    out = module.forward_exploration(batch, t=t, **with_noise) if explore else module.forward_inference(batch)
    space = module.action_space
    if Columns.ACTIONS in out:
        raw = out[Columns.ACTIONS].numpy()
        return PolicyOutput(_executed(space, raw), raw)
    inputs = out[Columns.ACTION_DIST_INPUTS]
    distribution = module.get_exploration_action_dist_cls().from_logits(inputs)
    drawn = (distribution if explore else distribution.to_deterministic()).sample()
    result = PolicyOutput(_executed(space, drawn.numpy()), drawn.numpy(), inputs.numpy())
    if with_value:
        result.logp = distribution.logp(drawn).numpy()
        result.value = module.compute_values(batch).numpy() * float(module.return_scale)
    return result


def _executed(space: Any, raw: np.ndarray) -> np.ndarray:
    return raw if isinstance(space, gym.spaces.Discrete) else np.clip(raw, space.low, space.high)
