"""PPO as RLlib's learner has it, on networks of ours.

Rows are decisions: of a tier that decides every K steps, its rewards are summed with the step discount (a semi-Markov
decision process), and advantages are estimated where the rows are collected (`policies.runner`).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.ppo import (
    LEARNER_RESULTS_KL_KEY,
    LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY,
    LEARNER_RESULTS_VF_LOSS_UNCLIPPED_KEY,
)
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import DEFAULT_OPTIMIZER, ENTROPY_KEY, POLICY_LOSS_KEY, VF_LOSS_KEY
from ray.rllib.core.models.base import ACTOR, CRITIC, ENCODER_OUT
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.torch_utils import explained_variance
from torch import nn

from policies.algorithms.network import Parts
from policies.algorithms.ppo import ActorEncoder, PPONetwork
from policies.learners.columns import read_by_critics
from policies.learners.shared import CheckpointStateMixin, StatisticsMixin, existing, take_settings
from policies.learners.straight import GaussianStep, Steps
from policies.learners.update import ACTOR_READS, CRITICS_READ, Batch, Losses, read_by
from policies.networks.blocks import BatchEncoder
from policies.networks.build import make_body
from policies.networks.passes import fits


class ActorCriticEncoder(ActorEncoder):
    """Separate encoders for the policy and the value function, which may read a state of `state_dim` numbers too."""

    def __init__(self, spec: Any, obs_dim: int, keeps_zones: bool = False, state_dim: int = 0):
        super().__init__(spec, obs_dim, keeps_zones)
        self.reads_state = state_dim > 0
        own = dataclasses.replace(spec, reads_state=self.reads_state)
        self.critic_encoder = BatchEncoder(make_body(own, obs_dim + state_dim, own_dim=obs_dim))

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        out = {ACTOR: self.actor_encoder(batch)[ENCODER_OUT]}
        # The critic's is taken away from inference-only copies; who asks RLlib's forward passes tells no state.
        if hasattr(self, "critic_encoder") and not self.reads_state:
            out[CRITIC] = self.critic_encoder(batch)[ENCODER_OUT]
        return {ENCODER_OUT: out}


class PPOModule(StatisticsMixin, PPONetwork, DefaultPPOTorchRLModule):
    """RLlib's PPO forward passes on our networks; model_config: role, settings, state_dim of critics that read it."""

    def setup(self) -> None:
        take_settings(self)
        self.encoder_type = functools.partial(ActorCriticEncoder, state_dim=self.model_config.get("state_dim", 0))
        self.build_actor()
        self.vf = nn.Linear(self.settings.hiddens[-1], 1)
        self.init_statistics()

    def state_values(self, observation: torch.Tensor) -> torch.Tensor:
        """(B, size) of what the value function reads -> (B,)."""
        encoder: Any = self.encoder
        return self.vf(encoder.critic_encoder.body(observation)).squeeze(-1)

    def value_parts(self) -> Parts:
        encoder: Any = self.encoder
        return Parts(encoder.critic_encoder.body, [self.vf], lambda raw, seen: raw)

    def _forward(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(batch, super()._forward(batch, **kwargs))

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        return self._masked(batch, super()._forward_train(batch, **kwargs))

    def _masked(self, batch: dict[str, Any], out: dict[str, Any]) -> dict[str, Any]:
        inputs = out[Columns.ACTION_DIST_INPUTS]
        out[Columns.ACTION_DIST_INPUTS] = self.masked_inputs(inputs, batch[Columns.OBS])
        return out

    def value_heads(self) -> Iterable[nn.Linear]:
        return existing(self, "vf")

    def reads_all(self, name: str) -> bool:
        return self.settings.reads_state and "critic_encoder" in name


class PPOLearner(CheckpointStateMixin, PPOTorchLearner):
    """RLlib's PPO losses."""

    steps: Steps | None = None

    def readers(self, module: Any, batch: Batch) -> Mapping[str, tuple[Any, Sequence[str]]]:
        encoder = module.encoder
        return {
            ACTOR_READS: (encoder.actor_encoder.body, (Columns.OBS,)),
            CRITICS_READ: (encoder.critic_encoder.body, (read_by_critics(batch),)),
        }

    def losses(self, module: Any, batch: Batch) -> Losses:
        (tier,) = self.module.keys()
        config, advantages = self.config, batch[Postprocessing.ADVANTAGES]
        distribution = module.get_train_action_dist_cls().from_logits
        now = distribution(module.inputs(*read_by(batch, ACTOR_READS, Columns.OBS)))
        ratio = torch.exp(now.logp(batch[Columns.ACTIONS]) - batch[Columns.ACTION_LOGP])
        clipped = ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        surrogate = torch.min(advantages * ratio, advantages * clipped).mean()
        values = module.state_values(*read_by(batch, CRITICS_READ, read_by_critics(batch)))
        targets = batch[Postprocessing.VALUE_TARGETS]
        errors = (values - targets).pow(2)
        value_loss = errors.clamp(0, config.vf_clip_param).mean()
        loss = config.vf_loss_coeff * value_loss - surrogate
        entropy_coeff = self.entropy_coeff_schedulers_per_module[tier].get_current_value()
        if entropy_coeff:
            loss = loss - entropy_coeff * now.entropy().mean()
        kl = torch.zeros(())
        if config.use_kl_loss:
            kl = distribution(batch[Columns.ACTION_DIST_INPUTS]).kl(now).mean()
            loss = loss + self.curr_kl_coeffs_per_module[tier] * kl

        def logs() -> dict[str, torch.Tensor]:
            return _logs(surrogate, value_loss, errors, targets, values) | {
                ENTROPY_KEY: now.entropy().mean(),
                LEARNER_RESULTS_KL_KEY: kl,
            }

        return Losses({DEFAULT_OPTIMIZER: loss}, logs)

    def straight(self, module: Any) -> Callable[[Batch], Losses] | None:
        bodies = [getattr(module.encoder, name).body for name in ("actor_encoder", "critic_encoder")]
        if module.is_discrete or self.config.use_kl_loss:
            return None
        actor, critic = (bodies[0], module.pi.mean), (bodies[1], module.vf)
        if not (fits(*actor) and fits(*critic)):
            return None
        if self.steps is None:
            self.steps = Steps(functools.partial(GaussianStep, actor, critic, module.pi.log_std, module.pi.places))
        return functools.partial(self._in_a_straight_line, self.steps)

    def _in_a_straight_line(self, steps: Steps, batch: Batch) -> Losses:
        """As `losses`, of a Gaussian, with gradients set."""
        (tier,) = self.module.keys()
        config, advantages, targets = self.config, batch[Postprocessing.ADVANTAGES], batch[Postprocessing.VALUE_TARGETS]
        rows = len(advantages)
        step: GaussianStep = steps.of(rows)
        logp = step.log_density(batch[ACTOR_READS], batch[Columns.ACTIONS])
        ratio = torch.exp(logp - batch[Columns.ACTION_LOGP])
        gain, clipped = advantages * ratio, advantages * ratio.clamp(1 - config.clip_param, 1 + config.clip_param)
        entropy_coeff = self.entropy_coeff_schedulers_per_module[tier].get_current_value()
        step.learn_policy(-gain * (gain <= clipped) / rows, entropy_coeff)
        values = step.critic.forward(batch[CRITICS_READ])[0].squeeze(1).clone()
        away = values - targets
        errors = away.square()
        slope = 2.0 * config.vf_loss_coeff / rows * away * (errors <= config.vf_clip_param)
        step.critic.backward(slope.unsqueeze(1))
        step.finish()
        entropy = step.entropy

        def parts() -> tuple[torch.Tensor, torch.Tensor]:
            return torch.min(gain, clipped).mean(), errors.clamp(0, config.vf_clip_param).mean()

        def losses() -> dict[str, torch.Tensor]:
            surrogate, value_loss = parts()
            return {DEFAULT_OPTIMIZER: config.vf_loss_coeff * value_loss - surrogate - entropy_coeff * entropy}

        def logs() -> dict[str, torch.Tensor]:
            found = _logs(*parts(), errors, targets, values)
            return found | {ENTROPY_KEY: entropy, LEARNER_RESULTS_KL_KEY: torch.zeros(())}

        return Losses(losses, logs)


def _logs(
    surrogate: torch.Tensor, value_loss: torch.Tensor, errors: torch.Tensor, targets: torch.Tensor, values: torch.Tensor
) -> dict[str, torch.Tensor]:
    """What is measured, but for entropy and divergence."""
    return {
        POLICY_LOSS_KEY: -surrogate,
        VF_LOSS_KEY: value_loss,
        LEARNER_RESULTS_VF_LOSS_UNCLIPPED_KEY: errors.mean(),
        LEARNER_RESULTS_VF_EXPLAINED_VAR_KEY: explained_variance(targets, values),
    }


RLLIB = (PPOConfig, PPOModule, PPOLearner)
