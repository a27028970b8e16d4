"""PPO (Schulman et al. 2017) as RLlib's learner has it, on networks of ours.

Rows are decisions: of a tier that decides every K steps, its rewards are summed with the step discount (a semi-Markov
decision process), and advantages are estimated where the rows are collected (`policies.runner`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ACTOR, CRITIC, ENCODER_OUT
from torch import nn

from policies.algorithms.learner import CheckpointStateMixin, StatisticsMixin, existing
from policies.algorithms.settings import OURS, Algorithm, Gradients, Part, TierSettings
from policies.networks.blocks import BatchEncoder, shared_entries, small_linear
from policies.networks.build import make_body, masked
from soc_env.settings import Schedule, choice, flag, part, schedule, setting

SCHULMAN = "Schulman et al. 2017"


@dataclass(frozen=True)
class PPOActor(Part):
    """The Gaussian that actions are drawn from."""

    initial_log_std: float = setting(-0.7, -20.0, 2.0, "log standard deviation at the start", OURS)


@dataclass(frozen=True)
class PPOInRLlib(Gradients):
    """RLlib's own settings that its PPO learner reads."""

    grad_clip: float | None = setting(
        0.5, 1e-9, 1e9, "largest gradient, in the measure of grad_clip_by; None for any", OURS, is_optional=True
    )
    clip_param: float = setting(0.2, 1e-6, 1e6, "how far the ratio of probabilities counts", SCHULMAN)
    vf_clip_param: float = setting(1e6, 1e-9, 1e12, "largest value loss of a row that counts", OURS)
    vf_loss_coeff: float = setting(1.0, 0.0, 1e6, "weight of the value loss", "RLlib")
    use_kl_loss: bool = flag(False, "add the divergence from the policy that acted", SCHULMAN)
    kl_coeff: float = setting(0.2, 0.0, 1e6, "first weight of that divergence", "RLlib", only=("use_kl_loss", True))
    kl_target: float = setting(
        0.01, 1e-12, 1e6, "divergence that the weight is adapted to", "RLlib", only=("use_kl_loss", True)
    )


@dataclass(frozen=True)
class PPOSettings(TierSettings):
    """Settings of a PPO tier."""

    algorithm: str = choice("PPO", ("PPO",), "the algorithm", SCHULMAN)
    lr: Schedule = schedule(3e-4, 0.0, 10.0, "learning rate", OURS)
    lambda_: float = setting(0.95, 0.0, 1.0, "decay of generalised advantages", "Schulman et al. 2016")
    train_batch_size: int = setting(1024, 1, 10**9, "decisions collected before an update", OURS)
    num_epochs: int = setting(4, 1, 1000, "passes over them", OURS)
    minibatch_size: int = setting(256, 1, 10**9, "decisions of a gradient step", OURS)
    entropy_coeff: Schedule = schedule(0.003, 0.0, 1e3, "weight of the entropy bonus", OURS)
    action_masking: bool = flag(
        False, "soc-v1's triage: choices that are impossible are never drawn", "Huang & Ontanon 2022", space="Discrete"
    )
    actor: PPOActor = part(PPOActor, space="Box")
    rllib: PPOInRLlib = part(PPOInRLlib)

    def to_rllib(self) -> dict[str, Any]:
        own = {"lr": self.lr, "entropy_coeff": self.entropy_coeff, "lambda_": self.lambda_}
        return {**super().to_rllib(), **own, **vars(self.rllib)}


class ActorCriticEncoder(nn.Module):
    """Separate encoders for the policy and the value function."""

    def __init__(self, spec: Any, obs_dim: int, keeps_zones: bool = False):
        super().__init__()
        self.actor_encoder = BatchEncoder(make_body(spec, obs_dim, keeps_zones=keeps_zones))
        self.critic_encoder = BatchEncoder(make_body(spec, obs_dim))

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        out = {ACTOR: self.actor_encoder(batch)[ENCODER_OUT]}
        if hasattr(self, "critic_encoder"):  # taken away from inference-only copies
            out[CRITIC] = self.critic_encoder(batch)[ENCODER_OUT]
        return {ENCODER_OUT: out}


class GaussianHead(nn.Module):
    """Mean by a small linear layer and a tanh (a mean beyond the clipping range would get no gradient from clipped
    actions), and a log standard deviation that does not depend on the state, nor on the zone: (B, 2 dim)."""

    places: torch.Tensor

    def __init__(self, body: Any, action_dim: int, initial_log_std: float):
        super().__init__()
        self.mean: Any = body.action_layer(action_dim, 1)
        places = shared_entries(body, action_dim)
        self.register_buffer("places", torch.tensor(places), persistent=False)
        self.log_std = nn.Parameter(torch.full((places[-1] + 1,), float(initial_log_std)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        mean = torch.tanh(self.mean(features))
        return torch.cat([mean, self.log_std[self.places].expand_as(mean)], -1)


class PPOModule(StatisticsMixin, DefaultPPOTorchRLModule):
    """RLlib's PPO forward passes on our networks; model_config: role, settings."""

    def setup(self) -> None:
        self.settings: PPOSettings = PPO.settings_of(self)
        spec = self.settings.body(self.model_config["role"])
        is_discrete = isinstance(self.action_space, gym.spaces.Discrete)
        self.encoder = ActorCriticEncoder(spec, self.observation_space.shape[0], keeps_zones=not is_discrete)
        if is_discrete:
            self.pi: nn.Module = small_linear(spec.hiddens[-1], int(self.action_space.n))
        else:
            num_actions, log_std = self.action_space.shape[0], self.settings.actor.initial_log_std
            self.pi = GaussianHead(self.encoder.actor_encoder.body, num_actions, log_std)
        self.vf = nn.Linear(spec.hiddens[-1], 1)
        self.init_statistics()

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(batch, super()._forward(batch, **kwargs))

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(batch, super()._forward_train(batch, **kwargs))

    def _masked(self, batch: dict[str, Any], out: dict[str, Any]) -> dict[str, Any]:
        logits, lowest = out[Columns.ACTION_DIST_INPUTS], torch.finfo(torch.float32).min
        is_on = self.settings.action_masking
        out[Columns.ACTION_DIST_INPUTS] = masked(is_on, logits, batch[Columns.OBS], lowest)
        return out

    def value_heads(self) -> Iterable[nn.Linear]:
        return existing(self, "vf")

    def action_heads(self) -> Iterable[tuple[Any, int]]:
        return [(self.pi.mean, 1)] if isinstance(self.pi, GaussianHead) else []


class PPOLearner(CheckpointStateMixin, PPOTorchLearner):
    """RLlib's PPO learner with its whole state in checkpoints."""


PPO = Algorithm(PPOSettings, PPOConfig, PPOModule, PPOLearner, (gym.spaces.Box, gym.spaces.Discrete), is_on_policy=True)
