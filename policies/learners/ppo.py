"""PPO as RLlib's learner has it, on networks of ours.

Rows are decisions: of a tier that decides every K steps, its rewards are summed with the step discount (a semi-Markov
decision process), and advantages are estimated where the rows are collected (`policies.runner`).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.algorithms.ppo.torch.default_ppo_torch_rl_module import DefaultPPOTorchRLModule
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.models.base import ACTOR, CRITIC, ENCODER_OUT
from torch import nn

from policies.algorithms.ppo import ActorEncoder, PPONetwork
from policies.learners.shared import CheckpointStateMixin, StatisticsMixin, existing, take_settings
from policies.learners.terms import TermsMixin
from policies.networks.blocks import BatchEncoder
from policies.networks.build import make_body


class ActorCriticEncoder(ActorEncoder):
    """Separate encoders for the policy and the value function."""

    def __init__(self, spec: Any, obs_dim: int, keeps_zones: bool = False):
        super().__init__(spec, obs_dim, keeps_zones)
        self.critic_encoder = BatchEncoder(make_body(spec, obs_dim))

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        out = {ACTOR: self.actor_encoder(batch)[ENCODER_OUT]}
        if hasattr(self, "critic_encoder"):  # taken away from inference-only copies
            out[CRITIC] = self.critic_encoder(batch)[ENCODER_OUT]
        return {ENCODER_OUT: out}


class PPOModule(StatisticsMixin, PPONetwork, DefaultPPOTorchRLModule):
    """RLlib's PPO forward passes on our networks; model_config: role, settings."""

    encoder_type = ActorCriticEncoder

    def setup(self) -> None:
        take_settings(self)
        self.build_actor()
        self.vf = nn.Linear(self.settings.hiddens[-1], 1)
        self.init_statistics()

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


class PPOLearner(TermsMixin, CheckpointStateMixin, PPOTorchLearner):
    """RLlib's PPO learner with its whole state in checkpoints."""


RLLIB = (PPOConfig, PPOModule, PPOLearner)
