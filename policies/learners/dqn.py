"""DQN (Mnih et al. 2015), double and dueling, with RLlib's loss, on networks of ours."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from ray.rllib.algorithms.dqn import DQNConfig
from ray.rllib.algorithms.dqn.dqn_learner import QF_LOSS_KEY, QF_PREDS, TD_ERROR_MEAN_KEY
from ray.rllib.algorithms.dqn.torch.default_dqn_torch_rl_module import DefaultDQNTorchRLModule
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import DEFAULT_OPTIMIZER
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import nn
from torch.nn import functional as F

from policies.algorithms.dqn import DQNNetwork
from policies.learners.shared import (
    OffPolicyLearnerMixin,
    StatisticsMixin,
    discount,
    existing,
    spread_of,
    take_settings,
)
from policies.learners.update import ACTOR_READS, NEXT_ACTOR_READS, TARGETS_READ, Batch, Losses, read_by


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

    def target_values(self, observation: torch.Tensor) -> torch.Tensor:
        """As `values`, by the target network."""
        return self.values_by(self._target_encoder, self._target_af, getattr(self, "_target_vf", None), observation)

    @property
    def target_body(self) -> Any:
        """The body of the target network."""
        return self._target_encoder.body

    def value_heads(self) -> Iterable[nn.Linear]:
        return existing(self, "af", "vf", "_target_af", "_target_vf")


class DQNLearner(OffPolicyLearnerMixin, DQNTorchLearner):
    """RLlib's DQN learner: the loss of a choice's value against the best next one by the target network."""

    def readers(self, module: Any, batch: Batch) -> Mapping[str, tuple[Any, Sequence[str]]]:
        values, targets = module.encoder.body, module.target_body
        return {
            ACTOR_READS: (values, (Columns.OBS,)),
            NEXT_ACTOR_READS: (values, (Columns.NEXT_OBS,)),
            TARGETS_READ: (targets, (Columns.NEXT_OBS,)),
        }

    def losses(self, module: Any, batch: Batch) -> Losses:
        config = self.config
        q = module.values(*read_by(batch, ACTOR_READS, Columns.OBS))
        with torch.no_grad():
            rated = module.target_values(*read_by(batch, TARGETS_READ, Columns.NEXT_OBS))
            by = module.values(*read_by(batch, NEXT_ACTOR_READS, Columns.NEXT_OBS)) if config.double_q else rated
            best = by.argmax(-1, keepdim=True)
            following = torch.nan_to_num(rated.gather(-1, best), neginf=0.0).squeeze(-1)  # all may be impossible
            target = batch[Columns.REWARDS] + discount(config, batch) * following
        chosen = torch.nan_to_num(q.gather(-1, batch[Columns.ACTIONS].long()[:, None]), neginf=0.0).squeeze(-1)
        loss_of = F.huber_loss if config.td_error_loss_fn == "huber" else F.mse_loss
        loss = (batch["weights"] * loss_of(chosen, target, reduction="none")).mean()
        error = (chosen.detach() - target).abs()

        def logs() -> dict[str, torch.Tensor]:
            return {QF_LOSS_KEY: loss, **spread_of(chosen.detach()), TD_ERROR_MEAN_KEY: error.mean()}

        return Losses({DEFAULT_OPTIMIZER: loss}, logs, error)


RLLIB = (DQNConfig, DQNModule, DQNLearner)
