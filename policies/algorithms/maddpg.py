"""MADDPG (Lowe et al. 2017): its settings, and the deterministic actor. `policies.learners.maddpg` has what learns."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import nn

from policies.algorithms.network import Draw, Parts, TierNetwork, TierPolicy
from policies.algorithms.settings import OURS, ActorCriticSettings, Algorithm, Exploration, Part, Rest
from policies.networks.blocks import resting_action, soft_bound, value_at
from policies.networks.build import make_body
from soc_env.settings import Schedule, choice, numbers, part, schedule, setting


@dataclass(frozen=True)
class MADDPGActor(Part):
    """The deterministic policy."""

    mean_bound: float = setting(3.0, 1e-3, 1e3, "its output before the tanh stays within plus and minus this", OURS)
    smoothing: tuple[Schedule, ...] = numbers(
        (), 1e-9, 10.0, "[lowest, highest] standard deviation of the noise on the action that the actor is improved "
        "at, log-uniform for each row; [] for none", "Nachum et al. 2018", sizes=(0, 2), is_timed=True,
    )  # fmt: skip


@dataclass(frozen=True)
class MADDPGExploration(Exploration):
    """Gaussian noise on actions."""

    std: Schedule = schedule(0.15, 0.0, 10.0, "standard deviation; actions are within -1 and 1", OURS)


@dataclass(frozen=True)
class MADDPGRest(Rest):
    """Where an actor starts, and how strongly it is pulled back there."""

    weight: Schedule = schedule(1e-2, 0.0, 1e6, "weight of the pull", OURS)


@dataclass(frozen=True)
class MADDPGSettings(ActorCriticSettings):
    """Settings of a MADDPG tier."""

    algorithm: str = choice("MADDPG", ("MADDPG",), "the algorithm", "Lowe et al. 2017")
    actor_lr: Schedule = schedule(1e-4, 0.0, 10.0, "learning rate of the actor", OURS)
    critic_lr: Schedule = schedule(6e-4, 0.0, 10.0, "learning rate of the critics", OURS)
    actor: MADDPGActor = part(MADDPGActor)
    exploration: MADDPGExploration = part(MADDPGExploration)
    rest: MADDPGRest = part(MADDPGRest)

    def to_rllib(self) -> dict[str, Any]:
        return {**super().to_rllib(), "actor_lr": self.actor_lr, "critic_lr": self.critic_lr}


class Actor(nn.Module):
    """Deterministic policy; returns the action before the tanh, within +-`bound`: (B, dim)."""

    initial: torch.Tensor

    def __init__(self, settings: MADDPGSettings, role: str, obs_dim: int, action_dim: int):
        super().__init__()
        self.bound = settings.actor.mean_bound
        self.body = make_body(settings.body(role), obs_dim, keeps_zones=True)
        self.head: Any = self.body.action_layer(action_dim, 1, settings.segment_sharing)
        self.register_buffer("initial", resting_action(self.body, action_dim, settings.rest.action), persistent=False)

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return self.bounded(self.head(self.body(obs)))

    def bounded(self, raw: torch.Tensor) -> torch.Tensor:
        """Of what the output layer says."""
        return soft_bound(raw + self.initial, self.bound)


class MADDPGNetwork(TierNetwork):
    """A deterministic actor; explores by Gaussian noise on its action."""

    settings: MADDPGSettings

    def build_actor(self) -> None:
        self.actor = Actor(self.settings, self.role, self.observation_space.shape[0], self.action_space.shape[0])

    def inputs(self, observation: torch.Tensor) -> torch.Tensor:
        """As `outputs`."""
        return self.outputs(observation)

    def parts(self) -> Parts:
        return Parts(self.actor.body, [self.actor.head], lambda raw, seen: torch.tanh(self.actor.bounded(raw)))

    def outputs(self, observation: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.actor(observation))

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
        action = self.inputs(observation) if inputs is None else inputs
        if not explore:
            return Draw(action)
        drawn = torch.randn_like(action) if noise is None else noise
        return Draw((action + value_at(self.settings.exploration.std, t) * drawn).clamp(-1, 1))

    def action_heads(self) -> list[tuple[Any, int]]:
        return [(self.actor.head, 1)]

    def reads_all(self, name: str) -> bool:
        return "critic" in name


class MADDPGPolicy(MADDPGNetwork, TierPolicy):
    """A MADDPG tier as it acts."""


MADDPG = Algorithm(MADDPGSettings, MADDPGPolicy, (gym.spaces.Box,), has_central_critic=True)
