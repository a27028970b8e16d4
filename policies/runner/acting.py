"""One forward pass of one policy: observations in, actions out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from policies.learners.columns import STATE
from policies.networks.blocks import OBS
from policies.runner.traces import Traces


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
    state: np.ndarray | None = None,
    noise: torch.Tensor | None = None,
    traces: Traces | None = None,
) -> PolicyOutput:
    """Actions of one `policies.algorithms.network.TierNetwork` for a batch of observations (B, dim); without `explore`
    the distribution's mode.

    `noise` (B, action dim) is standard normal noise for networks that draw Gaussian actions, in place of fresh one.
    `traces` are asked first for what the network makes of observations.
    With `with_value` the network is that of an on-policy tier that learns, and what it learns from is there too; its
    value function alone reads the environments' `state`, (B, size), if that is given.
    """
    seen = torch.from_numpy(np.ascontiguousarray(observation))
    with_noise = {} if noise is None or not explore else {"noise": noise}
    with torch.no_grad():
        inputs = None if traces is None else traces.inputs(module, seen)
        drawn = module.draw(seen, explore=explore, t=t, inputs=inputs, **with_noise)
        raw = drawn.actions.numpy()
        result = PolicyOutput(_executed(module.action_space, raw), raw)
        if with_value:
            result.inputs, result.logp = drawn.inputs.numpy(), drawn.log_prob().numpy()
            result.value = value_of(module, observation, state)
    return result


def value_of(module: Any, observation: np.ndarray, state: np.ndarray | None) -> np.ndarray:
    """(B,) values by an on-policy tier that learns [reward]; `state` as its value function reads it, or None."""
    columns = {OBS: observation} if state is None else {OBS: observation, STATE: state}
    batch = {name: torch.from_numpy(np.ascontiguousarray(column)) for name, column in columns.items()}
    found: np.ndarray = module.compute_values(batch).numpy() * float(module.return_scale)
    return found


def _executed(space: Any, raw: np.ndarray) -> np.ndarray:
    return raw if isinstance(space, gym.spaces.Discrete) else np.clip(raw, space.low, space.high)
