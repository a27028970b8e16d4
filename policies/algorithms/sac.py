"""SAC (Haarnoja et al. 2018): its settings, and the network that acts.

The Gaussian's mean stays within bounds before the tanh; zones can share their outputs. `policies.learners.sac` has what
learns. Deliberate difference from RLlib: the greedy action is the tanh of the mean, which critics have judged, not the
mean itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import nn

from policies.algorithms.network import Draw, Parts, TierNetwork, TierPolicy, categorical, gaussian
from policies.algorithms.settings import OURS, ActorCriticSettings, Algorithm, Part
from policies.networks.blocks import BatchEncoder, flat_dim, resting_action, small_linear, soft_bound
from policies.networks.build import make_body
from soc_env.settings import Schedule, choice, numbers, part, schedule, setting

LOG_STD_DRAWN = (-5.0, 2.0)  # RLlib's bounds of log standard deviations that are drawn with
HAARNOJA = "Haarnoja et al. 2018"


@dataclass(frozen=True)
class SACActor(Part):
    """The Gaussian before the tanh."""

    mean_bound: float = setting(3.0, 1e-3, 1e3, "its mean stays within plus and minus this", OURS)
    initial_log_std: float = setting(-2.0, -20.0, 2.0, "its log standard deviation at the start", OURS)
    log_std_range: tuple[float, float] | None = numbers(
        None, -20.0, 2.0, "lowest and highest log standard deviation; None for any", OURS,
        sizes=(2,), is_range=True, is_optional=True,
    )  # fmt: skip


@dataclass(frozen=True)
class SACSettings(ActorCriticSettings):
    """Settings of a SAC tier."""

    algorithm: str = choice("SAC", ("SAC",), "the algorithm", HAARNOJA)
    actor_lr: Schedule = schedule(3e-4, 0.0, 10.0, "learning rate of the actor", HAARNOJA)
    critic_lr: Schedule = schedule(6e-4, 0.0, 10.0, "learning rate of the critics", OURS)
    alpha_lr: Schedule = schedule(6e-4, 0.0, 10.0, "learning rate of the temperature", OURS)
    initial_alpha: float = setting(0.01, 1e-9, 1e6, "temperature at the start", OURS)
    target_entropy: float | str = setting(
        "auto", -1e6, 1e6, "entropy that the temperature is adapted to; auto: minus the action's size", HAARNOJA,
        words=("auto",),
    )  # fmt: skip
    actor: SACActor = part(SACActor, space="Box")

    def to_rllib(self) -> dict[str, Any]:
        names = ("actor_lr", "critic_lr", "alpha_lr", "initial_alpha", "target_entropy")
        own = {name: getattr(self, name) for name in names}
        return {**super().to_rllib(), **own, "twin_q": self.critic.twin, "lr": None}


class BoundedMeanHead(nn.Module):
    """Mean and log standard deviation of a tanh-squashed Gaussian: (B, 2 dim). The mean before the tanh stays within
    +-`mean_bound`, away from the flat ends where gradients and exploration die."""

    linear: Any
    initial: torch.Tensor

    def __init__(self, body: Any, action_dim: int, settings: SACSettings):
        super().__init__()
        self.linear = body.action_layer(action_dim, 2, settings.segment_sharing)
        self.register_buffer("initial", resting_action(body, action_dim, settings.rest.action), persistent=False)
        self.settings = settings.actor
        nn.init.constant_(self.linear.bias.chunk(2)[1], self.settings.initial_log_std)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.bounded(self.linear(features))

    def bounded(self, raw: torch.Tensor) -> torch.Tensor:
        """Of what the output layer says, (B, 2 dim)."""
        mean, log_std = raw.chunk(2, -1)
        mean = mean + self.initial
        if self.settings.log_std_range is not None:
            low, high = self.settings.log_std_range
            middle, half = (low + high) / 2, (high - low) / 2
            log_std = middle + soft_bound(log_std - middle, half)
        return torch.cat([soft_bound(mean, self.settings.mean_bound), log_std], -1)


class SACNetwork(TierNetwork):
    """A Gaussian before the tanh, or logits of choices."""

    settings: SACSettings

    def build_actor(self) -> None:
        num_actions = flat_dim(self.action_space)
        body = make_body(
            self.settings.body(self.role), self.observation_space.shape[0], keeps_zones=not self.is_discrete
        )
        self.pi_encoder = BatchEncoder(body)
        if self.is_discrete:
            self.pi: Any = small_linear(body.out_dim, num_actions)
        else:
            self.pi = BoundedMeanHead(body, num_actions, self.settings)

    def inputs(self, observation: torch.Tensor) -> torch.Tensor:
        """Mean and log standard deviation before the tanh, or logits: (B, P)."""
        found: torch.Tensor = self.pi(self.pi_encoder.body(observation))
        return found

    def parts(self) -> Parts:
        layer = self.pi if self.is_discrete else self.pi.linear
        return Parts(self.pi_encoder.body, [layer], lambda raw, seen: raw if self.is_discrete else self.pi.bounded(raw))

    def outputs(self, observation: torch.Tensor) -> torch.Tensor:
        inputs = self.inputs(observation)
        return inputs if self.is_discrete else torch.tanh(inputs.chunk(2, -1)[0])

    def draw(
        self,
        observation: torch.Tensor,
        *,
        explore: bool,
        t: int = 0,
        inputs: torch.Tensor | None = None,
        noise: torch.Tensor | None = None,
    ) -> Draw:
        """See `TierNetwork.draw`; `noise` (B, dim), standard normal, takes the place of fresh draws."""
        inputs = self.inputs(observation) if inputs is None else inputs
        if self.is_discrete:
            return categorical(inputs, explore)
        mean, log_std = inputs.chunk(2, -1)
        if not explore:
            return Draw(torch.tanh(mean))  # which draws lie around; RLlib's is the mean as it is, clipped
        if noise is not None:
            return Draw(torch.tanh(mean + log_std.exp() * noise))
        drawn = gaussian(torch.cat([mean, log_std.clamp(*LOG_STD_DRAWN)], -1), explore)
        return Draw((torch.tanh(drawn.actions) + 1.0) / 2.0 * 2.0 - 1.0)

    def action_heads(self) -> list[tuple[Any, int]]:
        return [(self.pi.linear, 2)] if isinstance(self.pi, BoundedMeanHead) else []


class SACPolicy(SACNetwork, TierPolicy):
    """A SAC tier as it acts."""


SAC = Algorithm(SACSettings, SACPolicy, (gym.spaces.Box, gym.spaces.Discrete))
