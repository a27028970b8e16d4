"""How off-policy tiers explore beside what their modules draw: noise that is held, and uniform first actions."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch

from soc_env.errors import CheckpointError


class HeldNoise:
    """Standard normal noise that lasts for some steps, times a scale.

    With one scale for all, the whole action of an environment is renewed at once. With a range of scales every entry
    of the action draws a scale of its own, log-uniform, and renews it with its noise: then an unusual action does not
    tell how noisy the next steps will be, for which returns over several steps would blame it.

    Args:
        shape: (environments, action dim).
        hold_steps: mean number of steps for which it lasts.
        scale_range: lowest and highest scale.
    """

    def __init__(self, shape: tuple[int, ...], hold_steps: float, scale_range: Sequence[float]):
        self.rate = 1.0 / hold_steps
        self.low, self.high = (math.log(scale) for scale in scale_range)
        self.has_range = self.low != self.high
        self.unit = torch.randn(shape)
        self.scale = self._scales() if self.has_range else torch.full((shape[0], 1), float(scale_range[0]))

    def renew(self) -> None:
        """Draws anew where the time is over."""
        is_over = torch.rand(self.scale.shape) < self.rate
        self.unit = torch.where(is_over, torch.randn(self.unit.shape), self.unit)
        if self.has_range:
            self.scale = torch.where(is_over, self._scales(), self.scale)

    def scaled(self) -> torch.Tensor:
        """The noise times its scale: (environments, action dim)."""
        return self.unit * self.scale

    def get_state(self) -> dict[str, torch.Tensor]:
        """The noise in force. Copies."""
        return {"unit": self.unit.clone(), "scale": self.scale.clone()}

    def set_state(self, state: Mapping[str, torch.Tensor]) -> None:
        """Holds the noise that another one held; CheckpointError if it is of another shape."""
        for name, own in self.get_state().items():
            if state[name].shape != own.shape or state[name].dtype != own.dtype:
                raise CheckpointError(f"state: noise/{name} does not fit; allowed: {own.dtype}, {tuple(own.shape)}")
        self.unit, self.scale = state["unit"].clone(), state["scale"].clone()

    def _scales(self) -> torch.Tensor:
        return torch.exp(self.low + (self.high - self.low) * torch.rand(self.unit.shape))


def uniform(space: Any, n: int, noise: torch.Tensor | None = None) -> np.ndarray:
    """`n` uniform draws from a Box or Discrete space, by torch's generator (the one that is seeded here).

    `noise` (n, dim), standard normal, takes the place of fresh draws from a Box.
    """
    if isinstance(space, gym.spaces.Discrete):
        return torch.randint(int(space.n), (n,)).numpy()
    unit = (torch.rand(n, *space.shape) if noise is None else torch.special.ndtr(noise)).numpy()
    return (space.low + unit * (space.high - space.low)).astype(np.float32)
