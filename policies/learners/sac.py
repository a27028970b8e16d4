"""SAC (Haarnoja et al. 2018) with the losses of RLlib's learner, on networks of ours.

Deliberate differences: a critic is one network over [observation, action] instead of RLlib's three stacked encoders
(0.5 M against 2.9 M parameters, a quarter of the time an update); optionally critics that are additive in the action,
and a pull of the actor's mean to a resting action.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from ray.rllib.algorithms.sac import SACConfig
from ray.rllib.algorithms.sac.sac_learner import LOGPS_KEY, TD_ERROR_MEAN_KEY
from ray.rllib.algorithms.sac.torch.default_sac_torch_rl_module import DefaultSACTorchRLModule
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.columns import Columns
from torch import nn
from torch.nn import functional as F

from policies.algorithms.sac import LOG_STD_DRAWN, SACNetwork
from policies.learners.columns import read_by_critics
from policies.learners.critics import Critics, linked, value_losses
from policies.learners.shared import (
    ActionPenaltyMixin,
    OffPolicyLearnerMixin,
    StatisticsMixin,
    discount,
    existing,
    spread_of,
    take_settings,
)
from policies.learners.straight import Gaussian, Step, Steps, critics_fit, log_density
from policies.learners.update import ACTOR_READS, CRITICS_READ, NEXT_ACTOR_READS, TARGETS_READ, Batch, Losses, read_by
from policies.networks.blocks import BatchEncoder, flat_dim, value_at, value_layer
from policies.networks.build import make_body
from policies.networks.passes import fits


class SACModule(StatisticsMixin, SACNetwork, DefaultSACTorchRLModule):
    """RLlib's SAC forward passes on our networks; model_config: role, settings, state_dim of critics that read it."""

    def setup(self) -> None:
        take_settings(self)
        self.twin_q = self.settings.critic.twin  # RLlib's name, which its forward passes read
        self.build_actor()
        if not self.inference_only:
            obs_dim, num_actions = self.observation_space.shape[0], flat_dim(self.action_space)
            for critic in self.critics():
                acted = () if self.is_discrete else (num_actions,)
                told = self.model_config.get("state_dim", 0)
                body = make_body(self.settings.critic_body(self.role), obs_dim + told, acted, own_dim=obs_dim)
                setattr(self, f"{critic}_encoder", BatchEncoder(body))
                setattr(self, critic, value_layer(body, num_actions if self.is_discrete else 1))
        self.init_statistics()

    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        if self.is_discrete:
            return self._forward_exploration(batch, **kwargs)
        with torch.no_grad():  # RLlib's greedy action is the mean before the tanh
            return {Columns.ACTIONS: self.draw(batch[Columns.OBS], explore=False).actions}

    def _forward_exploration(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        found: dict[str, Any] = super()._forward_inference(batch)
        return found

    def critics(self) -> list[str]:
        return ["qf", "qf_twin"] if self.twin_q else ["qf"]

    def side_by_side(self, prefix: str = "") -> Critics:
        """The critics, or with the prefix "target_" their target networks."""
        names = [f"{prefix}{critic}" for critic in self.critics()]
        return linked(self, prefix, [(getattr(self, f"{n}_encoder").body, getattr(self, n)) for n in names])

    def values_of(self, columns: Mapping[str, torch.Tensor], *actions: torch.Tensor) -> list[torch.Tensor]:
        """By every critic the values (N, B) of each of the actions in the situations of `columns`."""
        critics, observation = self.side_by_side(), columns[read_by_critics(columns)]
        if not self.is_discrete:
            read = critics.read(observation)
            return [critics.at(read, action) for action in actions]
        values = critics.values(observation)
        chosen = [action.long().expand(len(values), -1).unsqueeze(-1) for action in actions]
        return [values.gather(-1, index).squeeze(-1) for index in chosen]

    def value_heads(self) -> Iterable[nn.Linear]:
        return existing(self, "qf", "qf_twin", "target_qf", "target_qf_twin")

    def reads_all(self, name: str) -> bool:
        return self.settings.reads_state and "qf" in name


def squashed(inputs: torch.Tensor, generator: torch.Generator | None) -> tuple[torch.Tensor, torch.Tensor]:
    """Actions drawn by means and log standard deviations before the tanh, (B, 2 dim): (B, dim), with gradients, and
    the logarithms of their densities, (B,)."""
    mean, log_std = inputs.chunk(2, -1)
    log_std = log_std.clamp(*LOG_STD_DRAWN)
    noise = torch.randn(mean.shape, generator=generator, device=mean.device)
    x = mean + log_std.exp() * noise
    return torch.tanh(x), log_density(noise, log_std, x)


class SACLearner(ActionPenaltyMixin, OffPolicyLearnerMixin, SACTorchLearner):
    """RLlib's SAC losses, and a pull of the actor's mean."""

    steps: Steps | None = None

    def stacked(self, module: Any) -> tuple[Any, Sequence[str]]:
        module.side_by_side("target_").stacked.link()
        return module.side_by_side().stacked, ("qf", "qf_twin")

    def readers(self, module: Any, batch: Batch) -> Mapping[str, tuple[Any, Sequence[str]]]:
        actor, now, following = module.pi_encoder.body, (Columns.OBS,), (Columns.NEXT_OBS,)
        return {
            ACTOR_READS: (actor, now),
            NEXT_ACTOR_READS: (actor, following),
            CRITICS_READ: (module.side_by_side().body, (read_by_critics(batch),)),
            TARGETS_READ: (module.side_by_side("target_").body, (read_by_critics(batch, is_next=True),)),
        }

    def losses(self, module: Any, batch: Batch) -> Losses:
        (tier,) = self.module.keys()
        log_alpha = self.curr_log_alpha[tier]
        found = self._of_choices if module.is_discrete else self._of_gaussian
        log_alpha_now = log_alpha.detach().clone()  # which the step changes
        q, logp, next_value, policy_loss, logs = found(module, batch, log_alpha_now.exp())
        target = batch[Columns.REWARDS] + discount(self.config, batch) * next_value
        critic_losses = value_losses(q, target, batch["weights"])
        alpha_loss = -(log_alpha * (logp.detach() + self.target_entropy[tier])).mean()
        td_error = (q.detach() - target).abs().mean(0)
        losses = {"qf": critic_losses[0], "policy": policy_loss, "alpha": alpha_loss}
        if len(q) > 1:
            losses["qf_twin"] = critic_losses[1]

        def all_logs() -> dict[str, torch.Tensor]:
            return {**self._logs(losses, log_alpha_now, td_error), **logs()}

        return Losses(losses, all_logs, td_error)

    def _logs(
        self, losses: Mapping[str, torch.Tensor], log_alpha: torch.Tensor, td_error: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        (tier,) = self.module.keys()
        measured = {f"{name}_loss": loss for name, loss in losses.items()}
        alphas = {"alpha_value": log_alpha.exp()[0], "log_alpha_value": log_alpha[0]}
        return {**measured, **alphas, "target_entropy": self.target_entropy[tier], TD_ERROR_MEAN_KEY: td_error.mean()}

    def straight(self, module: Any) -> Callable[[Batch], Losses] | None:
        critics = module.side_by_side()
        if module.is_discrete or not (critics_fit(critics) and fits(module.pi_encoder.body, module.pi.linear)):
            return None
        if self.steps is None:
            actor = module.pi_encoder.body, module.pi.linear
            self.steps = Steps(functools.partial(Step, critics, module.side_by_side("target_"), (actor, actor), 2))
        return functools.partial(self._in_a_straight_line, module, self.steps)

    def _in_a_straight_line(self, module: Any, steps: Steps, batch: Batch) -> Losses:
        """As `losses`, of a Gaussian, with gradients set."""
        (tier,) = self.module.keys()
        rows, log_alpha, step = len(batch[Columns.REWARDS]), self.curr_log_alpha[tier], steps.of(len(batch["weights"]))
        log_alpha_now = log_alpha.detach().clone()
        alpha, drawn = log_alpha_now.exp(), functools.partial(Gaussian.drawn, module.pi, self.generator)
        q = step.rate_taken(batch)
        now, logp = drawn(step.actor.forward(batch[ACTOR_READS]))
        following, next_logp = drawn(step.next_actor.forward(batch[NEXT_ACTOR_READS]))
        next_value = step.rate_next(batch, following.action) - alpha * next_logp
        target = batch[Columns.REWARDS] + discount(self.config, batch) * next_value
        q_now = step.rate_own(now.action)
        q_current = q_now.amin(0)
        lowest = (q_now == q_current).float()
        slope = step.slope(lowest / lowest.sum(0))
        step.learn_values(q, target, batch["weights"])
        g_x = (2.0 * alpha * now.action - slope * (1.0 - now.action.square())) / rows
        rest = module.settings.rest.weight
        away = now.mean - module.pi.initial
        g_mean = 2.0 * value_at(rest, self.env_steps) * away / away.numel() if rest else 0.0
        step.actor.backward(*now.back(g_x, g_mean, -alpha / rows))
        step.finish()
        gap = logp.mean() + self.target_entropy[tier]
        log_alpha.grad = -gap.expand_as(log_alpha).contiguous()
        td_error = (q - target).abs().mean(0)

        def losses() -> dict[str, torch.Tensor]:
            of_policy = (alpha * logp - q_current).mean()
            of_policy = of_policy + self.pull(rest, now.mean, module.pi.initial) if rest else of_policy
            of_critics = zip(("qf", "qf_twin"), value_losses(q, target, batch["weights"]), strict=False)
            return {"policy": of_policy, "alpha": -(log_alpha_now * gap).mean(), **dict(of_critics)}

        def logs() -> dict[str, torch.Tensor]:
            measured = {LOGPS_KEY: logp.mean(), **spread_of(q_current)}
            return {**self._logs(losses(), log_alpha_now, td_error), **measured}

        return Losses(losses, logs, td_error)

    def _of_gaussian(self, module: Any, batch: Batch, alpha: torch.Tensor) -> tuple[Any, ...]:
        """Values of what was done (N, B), log density of what would be done, its value in the next state, the policy's
        loss, and what is measured."""
        critics, targets = module.side_by_side(), module.side_by_side("target_")
        read = critics.read(*read_by(batch, CRITICS_READ, read_by_critics(batch)))
        q = critics.at(read, batch[Columns.ACTIONS])
        inputs = module.pi(module.pi_encoder.body(*read_by(batch, ACTOR_READS, Columns.OBS)))
        action, logp = squashed(inputs, self.generator)
        with torch.no_grad():
            following = module.pi(module.pi_encoder.body(*read_by(batch, NEXT_ACTOR_READS, Columns.NEXT_OBS)))
            next_action, next_logp = squashed(following, self.generator)
            read_next = targets.read(*read_by(batch, TARGETS_READ, read_by_critics(batch, is_next=True)))
            next_value = targets.at(read_next, next_action).amin(0) - alpha * next_logp
        q_current = critics.at(read, action).amin(0)
        policy_loss = (alpha * logp - q_current).mean()
        if module.settings.rest.weight:
            mean = inputs.chunk(2, -1)[0]
            policy_loss = policy_loss + self.pull(module.settings.rest.weight, mean, module.pi.initial)
        return q, logp, next_value, policy_loss, lambda: {LOGPS_KEY: logp.mean(), **spread_of(q_current.detach())}

    def _of_choices(self, module: Any, batch: Batch, alpha: torch.Tensor) -> tuple[Any, ...]:
        """As `_of_gaussian`; the log density is its mean over the choices, minus the entropy."""
        values = module.side_by_side().values(*read_by(batch, CRITICS_READ, read_by_critics(batch)))
        chosen = batch[Columns.ACTIONS].long().expand(len(values), -1).unsqueeze(-1)
        q = values.gather(-1, chosen).squeeze(-1)
        logp = F.log_softmax(module.pi(module.pi_encoder.body(*read_by(batch, ACTOR_READS, Columns.OBS))), -1)
        with torch.no_grad():
            following = module.pi_encoder.body(*read_by(batch, NEXT_ACTOR_READS, Columns.NEXT_OBS))
            next_logp = F.log_softmax(module.pi(following), -1)
            targets = module.side_by_side("target_")
            next_q = targets.values(*read_by(batch, TARGETS_READ, read_by_critics(batch, is_next=True))).amin(0)
            next_value = (next_logp.exp() * (next_q - alpha * next_logp)).sum(-1)
        lowest = values.detach().amin(0)
        policy_loss = (logp.exp() * (alpha * logp - lowest)).sum(-1).mean()
        mean = (logp.exp() * logp).sum(-1)
        return q, mean, next_value, policy_loss, lambda: {LOGPS_KEY: logp.mean(), **spread_of(values[0].detach())}


RLLIB = (SACConfig, SACModule, SACLearner)
