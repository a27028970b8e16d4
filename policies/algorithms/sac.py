"""SAC (Haarnoja et al. 2018) as RLlib's learner has it, on networks of ours.

Deliberate differences: a critic is one network over [observation, action] instead of RLlib's three stacked encoders
(0.5 M against 2.9 M parameters, a quarter of the time an update); the Gaussian's mean stays within bounds before the
tanh; optionally critics that are additive in the action, outputs that zones share, and a pull of the actor's mean to a
resting action.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import POLICY_LOSS_KEY
from torch import nn

from policies.algorithms.learner import ActionPenaltyMixin, FusedUpdateMixin, StatisticsMixin, existing
from policies.algorithms.settings import OURS, ActorCriticSettings, Algorithm, Part
from policies.networks.blocks import BatchEncoder, flat_dim, resting_action, small_linear, soft_bound, value_layer
from policies.networks.build import make_body
from soc_env.settings import Schedule, choice, numbers, part, schedule, setting

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
        mean, log_std = self.linear(features).chunk(2, -1)
        mean = mean + self.initial
        if self.settings.log_std_range is not None:
            low, high = self.settings.log_std_range
            middle, half = (low + high) / 2, (high - low) / 2
            log_std = middle + soft_bound(log_std - middle, half)
        return torch.cat([soft_bound(mean, self.settings.mean_bound), log_std], -1)


class SACModule(StatisticsMixin, DefaultSACTorchRLModule):
    """RLlib's SAC forward passes on our networks; model_config: role, settings."""

    def setup(self) -> None:
        self.settings: SACSettings = SAC.settings_of(self)
        role, self.twin_q = self.model_config["role"], self.settings.critic.twin
        obs_dim, num_actions = self.observation_space.shape[0], flat_dim(self.action_space)
        is_discrete = isinstance(self.action_space, gym.spaces.Discrete)
        body = make_body(self.settings.body(role), obs_dim, keeps_zones=not is_discrete)
        self.pi_encoder = BatchEncoder(body)
        if is_discrete:
            self.pi: nn.Module = small_linear(body.out_dim, num_actions)
        else:
            self.pi = BoundedMeanHead(body, num_actions, self.settings)
        if not self.inference_only:
            for critic in ("qf", "qf_twin") if self.twin_q else ("qf",):
                acted = () if is_discrete else (num_actions,)
                body = make_body(self.settings.critic_body(role), obs_dim, acted)
                setattr(self, f"{critic}_encoder", BatchEncoder(body))
                setattr(self, critic, value_layer(body, num_actions if is_discrete else 1))
        self.init_statistics()

    def _forward_exploration(
        self, batch: dict[str, Any], noise: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        out = self._forward_inference(batch)
        if noise is not None:
            mean, log_std = out[Columns.ACTION_DIST_INPUTS].chunk(2, -1)
            out[Columns.ACTIONS] = torch.tanh(mean + log_std.exp() * noise)
        return out

    def value_heads(self) -> Iterable[nn.Linear]:
        return existing(self, "qf", "qf_twin", "target_qf", "target_qf_twin")

    def action_heads(self) -> Iterable[tuple[Any, int]]:
        return [(self.pi.linear, 2)] if isinstance(self.pi, BoundedMeanHead) else []


class SACLearner(ActionPenaltyMixin, FusedUpdateMixin, SACTorchLearner):
    """RLlib's SAC learner with its whole state in checkpoints, and a pull of the actor's mean."""

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> Any:
        total = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        module = self.module[module_id].unwrapped()
        weight = module.settings.rest.weight
        if weight and isinstance(module.pi, BoundedMeanHead):
            mean = fwd_out[Columns.ACTION_DIST_INPUTS].chunk(2, -1)[0]
            pull = self.pull(weight, mean, module.pi.initial)
            self._temp_losses[module_id, POLICY_LOSS_KEY] = self._temp_losses[module_id, POLICY_LOSS_KEY] + pull
            total = total + pull
        return total


SAC = Algorithm(SACSettings, SACConfig, SACModule, SACLearner, (gym.spaces.Box, gym.spaces.Discrete))
