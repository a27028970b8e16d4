"""DQN as RLlib's learner has it, on networks of ours."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.dqn.dqn_learner import QF_PREDS
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import nn

from policies.algorithms.dqn import DQNNetwork
from policies.learners.shared import FusedUpdateMixin, StatisticsMixin, existing, take_settings
from policies.learners.terms import TermsMixin


class DQNModule(StatisticsMixin, DQNNetwork, DefaultDQNTorchRLModule):
    """RLlib's DQN forward passes on our networks; model_config: role, settings."""

    def setup(self) -> None:
        take_settings(self)
        self.uses_dueling, self.uses_double_q = self.settings.dueling, self.settings.double_q
        self.num_atoms = 1
        self.epsilon_schedule = Scheduler(fixed_value_or_schedule=self.settings.epsilon, framework=self.framework)
        self.build_actor()
        self.init_statistics()

    def _qf_forward_helper(self, batch: dict[str, Any], encoder: Any, head: Any) -> dict[str, Any]:
        af, vf = (head["af"], head["vf"]) if self.uses_dueling else (head, None)
        return {QF_PREDS: self.values_by(encoder, af, vf, batch[Columns.OBS])}

    def value_heads(self) -> Iterable[nn.Linear]:
        return existing(self, "af", "vf", "_target_af", "_target_vf")


class DQNLearner(TermsMixin, FusedUpdateMixin, DQNTorchLearner):
    """RLlib's DQN learner with its whole state in checkpoints."""


RLLIB = (DQNConfig, DQNModule, DQNLearner)
