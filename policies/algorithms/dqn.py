"""DQN (Mnih et al. 2015), double and dueling, as RLlib's learner has it, on networks of ours."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.dqn.dqn_learner import QF_PREDS
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import nn

from policies.algorithms.learner import FusedUpdateMixin, StatisticsMixin, existing
from policies.algorithms.settings import OURS, Algorithm, OffPolicyGradients, TierSettings
from policies.networks.blocks import BatchEncoder
from policies.networks.build import make_body, masked
from soc_env.settings import Schedule, choice, flag, part, schedule, setting


@dataclass(frozen=True)
class DQNInRLlib(OffPolicyGradients):
    """RLlib's own settings that its DQN learner reads."""

    grad_clip: float | None = setting(
        40.0, 1e-9, 1e9, "largest gradient, in the measure of grad_clip_by; None for any", "RLlib", is_optional=True
    )
    td_error_loss_fn: str = choice("huber", ("huber", "mse"), "loss of a temporal difference", "Mnih et al. 2015")


@dataclass(frozen=True)
class DQNSettings(TierSettings):
    """Settings of a DQN tier."""

    algorithm: str = choice("DQN", ("DQN",), "the algorithm", "Mnih et al. 2015")
    lr: Schedule = schedule(3e-4, 0.0, 10.0, "learning rate", OURS)
    tau: float = setting(0.01, 1e-9, 1.0, "share by which target networks follow at an update", OURS)
    epsilon: Schedule = schedule(
        ((0, 1.0), (50_000, 0.05)), 0.0, 1.0, "probability of a random action", "Mnih et al. 2015"
    )
    double_q: bool = flag(
        True, "the newest network chooses the next action, the target network rates it", "van Hasselt et al. 2016"
    )
    dueling: bool = flag(True, "value and advantages by outputs of their own", "Wang et al. 2016")
    action_masking: bool = flag(
        False, "soc-v1's triage: impossible choices are neither taken nor part of a target's maximum", OURS
    )
    rllib: DQNInRLlib = part(DQNInRLlib)

    def to_rllib(self) -> dict[str, Any]:
        names = ("lr", "tau", "epsilon", "double_q", "dueling")
        return {**super().to_rllib(), **{name: getattr(self, name) for name in names}, **vars(self.rllib)}


class DQNModule(StatisticsMixin, DefaultDQNTorchRLModule):
    """RLlib's DQN forward passes on our networks; model_config: role, settings."""

    def setup(self) -> None:
        self.settings: DQNSettings = DQN.settings_of(self)
        self.uses_dueling, self.uses_double_q = self.settings.dueling, self.settings.double_q
        self.num_atoms = 1
        self.epsilon_schedule = Scheduler(fixed_value_or_schedule=self.settings.epsilon, framework=self.framework)
        body = make_body(self.settings.body(self.model_config["role"]), self.observation_space.shape[0])
        self.encoder = BatchEncoder(body)
        self.af = nn.Linear(body.out_dim, int(self.action_space.n))
        if self.uses_dueling:
            self.vf = nn.Linear(body.out_dim, 1)
        self.init_statistics()

    def _qf_forward_helper(self, batch: dict[str, Any], encoder: Any, head: Any) -> dict[str, Any]:
        out = super()._qf_forward_helper(batch, encoder, head)
        # RLlib's exploration and loss leave values of minus infinity out
        out[QF_PREDS] = masked(self.settings.action_masking, out[QF_PREDS], batch[Columns.OBS], -torch.inf)
        return out

    def value_heads(self) -> Iterable[nn.Linear]:
        return existing(self, "af", "vf", "_target_af", "_target_vf")


class DQNLearner(FusedUpdateMixin, DQNTorchLearner):
    """RLlib's DQN learner with its whole state in checkpoints."""


DQN = Algorithm(DQNSettings, DQNConfig, DQNModule, DQNLearner, (gym.spaces.Discrete,))
