"""What acts: a tier's network as a PyTorch module, without a learning library.

`TierNetwork` is mixed into two kinds of modules, which so have one definition, the same names of weights and the same
actions: the policies here, which have what acting needs and nothing else, and RLlib's modules in `policies.learners`,
which add critics and losses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import gymnasium as gym
import torch
from torch import nn
from torch.distributions import Categorical, Distribution, Normal

from policies.networks.blocks import RunningNorm


class Parts(NamedTuple):
    """What `TierNetwork.inputs` is made of, for whoever computes the products in another way.

    Attributes:
        body: a `policies.networks.blocks.Body`.
        layers: its output layer; or two, as `policies.networks.acting.ActingMLP` has them.
        finish: what comes out (B, outputs), and observations (B, size), to what `inputs` gives.
    """

    body: Any
    layers: Sequence[Any]
    finish: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class Draw:
    """What a network does in B situations.

    Attributes:
        actions: as the policy drew them, (B, dim), or (B,) where they are discrete.
        inputs: parameters of the distribution that they are from, (B, P); None where there is no such thing.
        distribution: that one, over single entries of the action.
    """

    actions: torch.Tensor
    inputs: torch.Tensor | None = None
    distribution: Distribution | None = None

    def log_prob(self) -> torch.Tensor:
        """Of the actions: (B,)."""
        assert self.distribution is not None
        found = self.distribution.log_prob(self.actions)
        return found if found.dim() == 1 else found.sum(-1)


class TierNetwork:
    """Mixed into an `nn.Module`: what the networks of all algorithms have in common.

    Attributes:
        settings: the tier's.
        role: the tier's name, which says whose observation it reads.
        observation_space, action_space: of one agent of the tier.
        return_scale: unit of what values are learned in [reward].
    """

    settings: Any
    role: str
    observation_space: Any
    action_space: Any
    return_scale: torch.Tensor

    def build_actor(self) -> None:
        """Makes what acts."""
        raise NotImplementedError

    def inputs(self, observation: torch.Tensor) -> torch.Tensor:
        """All of `draw` that depends on weights, without chance: (B, size) -> (B, P)."""
        raise NotImplementedError

    def parts(self) -> Parts:
        """Those of `inputs`."""
        raise NotImplementedError

    def value_parts(self) -> Parts:
        """Those of the values by an on-policy tier that learns, (B, 1)."""
        raise NotImplementedError

    def draw(self, observation: torch.Tensor, *, explore: bool, t: int = 0, inputs: torch.Tensor | None = None) -> Draw:
        """Actions for observations (B, size).

        Args:
            observation: (B, size).
            explore: draw as in training; otherwise the best that it knows.
            t: environment steps of training so far, for schedules.
            inputs: what `inputs` gives, where whoever asks has it already.
        """
        raise NotImplementedError

    def outputs(self, observation: torch.Tensor) -> torch.Tensor:
        """What greedy actions are read from, with gradients: the mean action (B, dim), squashed where draws are, or a
        logit of each choice (B, choices)."""
        raise NotImplementedError

    def present(self, rows: Any) -> Any:
        """The present observations (B, size) of what it reads: rows (B, .), or what was prepared of them. Without past
        minutes, if it has memory."""
        return getattr(rows, "observation", rows)[:, : self.observation_space.shape[0]]

    def action_heads(self) -> Iterable[tuple[Any, int]]:
        """(output layer of an actor, number of equal parts of its outputs, the first of which are actions); none for
        value-based algorithms.
        """
        return ()

    @property
    def is_discrete(self) -> bool:
        """Whether an action is one of some choices."""
        return isinstance(self.action_space, gym.spaces.Discrete)

    def init_statistics(self) -> None:
        self.register_buffer("return_scale", torch.ones(()))  # type: ignore[attr-defined]

    def input_norms(self) -> Iterable[tuple[RunningNorm, bool]]:
        """(normaliser, whether it reads the joint observation)."""
        for name, module in self.named_modules():  # type: ignore[attr-defined]
            if isinstance(module, RunningNorm):
                yield module, self.reads_all(name) and ".memory." not in name  # which reads the own past

    def reads_all(self, name: str) -> bool:
        """Whether the part of that name reads the observations of all agents."""
        return False


class TierPolicy(TierNetwork, nn.Module):
    """A network with what acting needs alone: no critics, no target networks.

    Args:
        settings: of its algorithm.
        role: the tier's name.
        observation_space, action_space: of one agent of the tier.
    """

    def __init__(self, settings: Any, role: str, observation_space: gym.Space, action_space: gym.Space):
        super().__init__()
        self.settings, self.role = settings, role
        self.observation_space, self.action_space = observation_space, action_space
        self.build_actor()
        self.init_statistics()

    def load_from(self, state: Mapping[str, torch.Tensor]) -> None:
        """Takes its weights from a state that may have critics too.

        Raises:
            ValueError: a weight is missing, or has another shape; one line that names it.
        """
        for name, own in self.state_dict().items():
            if name not in state:
                raise ValueError(f"weight {name!r} is missing")
            if state[name].shape != own.shape:
                raise ValueError(f"weight {name!r} has shape {tuple(state[name].shape)}, wanted: {tuple(own.shape)}")
        self.load_state_dict({name: state[name] for name in self.state_dict()})


# ---- distributions, as RLlib's learners have them
def categorical(logits: torch.Tensor, explore: bool) -> Draw:
    """A choice by its logits (B, choices); without `explore` the likeliest."""
    distribution = choices(logits)
    return Draw(distribution.sample() if explore else logits.argmax(-1), logits, distribution)


def gaussian(inputs: torch.Tensor, explore: bool) -> Draw:
    """Independent Gaussians by means and log standard deviations (B, 2 dim); without `explore` the means."""
    distribution = normal(inputs)
    return Draw(distribution.sample() if explore else distribution.mean, inputs, distribution)


def choices(logits: torch.Tensor) -> Categorical:
    """The distribution of `categorical`."""
    return Categorical(logits=logits, validate_args=False)


def normal(inputs: torch.Tensor) -> Normal:
    """The distribution of `gaussian`."""
    mean, log_std = inputs.chunk(2, -1)
    return Normal(mean, log_std.exp(), validate_args=False)
