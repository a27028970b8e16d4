"""One forward pass of one policy: observations in, actions out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from policies.algorithms.network import Draw
from policies.networks.blocks import OBS
from policies.runner.traces import Traces


@dataclass
class PolicyOutput:
    """One agent's forward pass over B environments."""

    executed: np.ndarray  # as the environment takes it: clipped
    raw: np.ndarray  # as the policy drew it: log-probabilities belong to this
    inputs: np.ndarray | None = None  # parameters of the distribution (B, P)
    value: np.ndarray | None = None  # in reward units
    read_by_value: np.ndarray | None = None  # what that was read from, if not the observation
    drawn: Draw | None = None  # where there is a value

    @property
    def logp(self) -> np.ndarray | None:
        """Logarithms of the densities of what was drawn, (B,), where there is a value."""
        return None if self.drawn is None else self.drawn.log_prob().numpy()


def act(
    module: Any,
    observation: np.ndarray,
    *,
    explore: bool,
    t: int = 0,
    with_value: bool = False,
    read_by_value: np.ndarray | None = None,
    noise: torch.Tensor | None = None,
    traces: Traces | None = None,
) -> PolicyOutput:
    """Actions of one `policies.algorithms.network.TierNetwork` for a batch of observations (B, dim); without `explore`
    the distribution's mode.

    `noise` (B, action dim) is standard normal noise for networks that draw Gaussian actions, in place of fresh one.
    `traces` are asked first for what the network makes of observations.
    With `with_value` the network is that of an on-policy tier that learns, and what it learns from is there too; its
    value function reads `read_by_value`, (B, size), where that is no observation.
    """
    seen = torch.from_numpy(np.ascontiguousarray(observation))
    with_noise = {} if noise is None or not explore else {"noise": noise}
    with torch.no_grad():
        inputs = None if traces is None else traces.inputs(module, seen)
        drawn = module.draw(seen, explore=explore, t=t, inputs=inputs, **with_noise)
        raw = drawn.actions.numpy()
        result = PolicyOutput(_executed(module.action_space, raw), raw)
        if with_value:
            result.inputs, result.drawn = drawn.inputs.numpy(), drawn
            result.value = value_of(module, observation if read_by_value is None else read_by_value, traces)
            result.read_by_value = read_by_value
    return result


def value_of(module: Any, seen: np.ndarray, traces: Traces | None = None) -> np.ndarray:
    """(B,) values by an on-policy tier that learns [reward], of what its value function reads."""
    rows = torch.from_numpy(np.ascontiguousarray(seen))
    values = None if traces is None else traces.values(module, rows)
    if values is None:
        values = module.compute_values({OBS: rows})
    found: np.ndarray = values.numpy() * float(module.return_scale)
    return found


def _executed(space: Any, raw: np.ndarray) -> np.ndarray:
    return raw if isinstance(space, gym.spaces.Discrete) else np.clip(raw, space.low, space.high)
