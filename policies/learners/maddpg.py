"""MADDPG as an RLlib RLModule, Learner and configuration.

Lowe et al. 2017, "Multi-Agent Actor-Critic for Mixed Cooperative-Competitive Environments", equations 4 to 6: a
deterministic actor that reads the tier's own observation, a critic that reads every agent's observation and action.
Deliberate differences: twin critics (Fujimoto et al. 2018; `critic={"twin": False}` gives the paper's single one),
Huber loss with importance weights (prioritised replay), the other agents' next actions by their newest greedy policies
instead of target copies (they may learn with any algorithm, or be scripted), an L2 penalty on the actor's output before
the tanh (`rest`: without it the actor saturates and its gradient dies), and optional noise on the action that the actor
is improved at (`smoothing`: the policy gradient of the policy that explores, Nachum et al. 2018, "Smoothed Action Value
Functions"): a tool that starts at a threshold has no gradient below it.

The columns in `JOINT_COLUMNS` ride inside the tier's own SampleBatch, so a MADDPG tier needs nothing but its batch to
learn. A tier with several agents shares one actor and one critic among them; in a row that stands for one of them, it
takes the first of the tier's places in the joint columns (`policies.hmarl.tier_batches`).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import POLICY_LOSS_KEY
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.core.rl_module.torch import TorchRLModule
from ray.rllib.utils.metrics import ALL_MODULES, TD_ERROR_KEY
from torch import nn
from torch.nn import functional as F

from policies.algorithms.maddpg import MADDPGNetwork, MADDPGSettings
from policies.learners.shared import (
    JOINT_NEXT_OBS,
    JOINT_OBS,
    OTHER_ACTIONS,
    OTHER_NEXT_ACTIONS,
    ActionPenaltyMixin,
    FusedUpdateMixin,
    StatisticsMixin,
    existing,
    take_settings,
)
from policies.learners.terms import TermsMixin
from policies.networks.blocks import value_at, value_layer
from policies.networks.build import make_body


class CentralCritic(nn.Module):
    """Q(joint observation, every agent's action): (B,). Without others it reads the own observation and action."""

    def __init__(self, settings: MADDPGSettings, role: str, joint_obs_dim: int, other_dim: int, action_dim: int):
        super().__init__()
        dims = (other_dim, action_dim) if other_dim else (action_dim,)
        self.body = make_body(settings.critic_body(role), joint_obs_dim, dims, is_joint=bool(other_dim))
        self.head = value_layer(self.body)

    def forward(self, joint_obs: torch.Tensor, others: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        actions = (others, own) if others.shape[1] else (own,)
        return self.head(self.body(joint_obs, *actions)).squeeze(-1)


class MADDPGModule(StatisticsMixin, MADDPGNetwork, TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """model_config: role, settings, joint_obs_dim, other_action_dim."""

    def setup(self) -> None:
        take_settings(self)
        self.build_actor()
        if not self.inference_only:
            config, num_actions = self.model_config, self.action_space.shape[0]
            sizes = (config["joint_obs_dim"], config["other_action_dim"], num_actions)
            for name in self.critics():
                setattr(self, name, CentralCritic(self.settings, self.role, *sizes))
        self.set_time(0)
        self.init_statistics()

    def set_time(self, env_steps: int) -> None:
        """Sets what training reads from schedules to its value at that time."""
        self.smoothing = [value_at(scale, env_steps) for scale in self.settings.actor.smoothing]

    def value_heads(self) -> Iterable[nn.Linear]:
        return [c.head for c in existing(self, "critic", "twin_critic", "target_critic", "target_twin_critic")]

    # ---- target networks
    def make_target_networks(self) -> None:
        for name in self._trained():
            setattr(self, f"target_{name}", make_target_network(getattr(self, name)))

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(getattr(self, name), getattr(self, f"target_{name}")) for name in self._trained()]

    def forward_target(self, batch: dict[str, Any]) -> torch.Tensor:
        """Target Q of the next joint state, with the target actor's own action: (B,)."""
        own = torch.tanh(self.target_actor(batch[Columns.NEXT_OBS]))
        inputs = (batch[JOINT_NEXT_OBS], batch[OTHER_NEXT_ACTIONS], own)
        values = [getattr(self, f"target_{name}")(*inputs) for name in self.critics()]
        return torch.stack(values).amin(0)

    def values_of(self, columns: Mapping[str, torch.Tensor], actions: torch.Tensor) -> dict[str, torch.Tensor]:
        """Critic -> its values (B,) of actions in the situations of `columns`."""
        return {n: getattr(self, n)(columns[JOINT_OBS], columns[OTHER_ACTIONS], actions) for n in self.critics()}

    def critics(self) -> list[str]:
        return ["critic", "twin_critic"] if self.settings.critic.twin else ["critic"]

    def _trained(self) -> list[str]:
        return ["actor", *self.critics()]

    def get_non_inference_attributes(self) -> list[str]:
        return [*self.critics(), *(f"target_{name}" for name in self._trained())]

    # ---- forward passes
    def _forward_inference(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        with torch.no_grad():
            return {Columns.ACTIONS: self.draw(batch[Columns.OBS], explore=False).actions}

    def _forward_exploration(
        self, batch: dict[str, Any], t: int = 0, noise: torch.Tensor | None = None, **kwargs: Any
    ) -> dict[str, Any]:
        with torch.no_grad():
            return {Columns.ACTIONS: self.draw(batch[Columns.OBS], explore=True, t=t, noise=noise).actions}

    def _forward_train(self, batch: dict[str, Any], **kwargs: Any) -> dict[str, Any]:
        joint_obs, others = batch[JOINT_OBS], batch[OTHER_ACTIONS]
        out = {name: getattr(self, name)(joint_obs, others, batch[Columns.ACTIONS]) for name in self.critics()}
        with torch.no_grad():
            out["next_value"] = self.forward_target(batch)
        out["pre_tanh"] = self.actor(batch[Columns.OBS])
        # The actor's gradient flows through the critic's input, not into its weights.
        self.critic.requires_grad_(False)
        own = torch.tanh(out["pre_tanh"])
        if self.smoothing:
            low, high = map(math.log, self.smoothing)
            scale = torch.exp(low + (high - low) * torch.rand(len(own), 1, device=own.device))
            own = (own + scale * torch.randn_like(own)).clamp(-1, 1)
        out["actor_value"] = self.critic(joint_obs, others, own)
        self.critic.requires_grad_(True)
        return out


class MADDPGTorchLearner(ActionPenaltyMixin, DQNTorchLearner):
    """MADDPG's two losses; target networks are kept by RLlib's DQN learner."""

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        return [TargetNetworkAPI]

    def build(self) -> None:
        super().build()
        self._losses: dict[tuple[str, str], torch.Tensor] = {}

    def before_gradient_based_update(self, *, timesteps: dict[str, Any]) -> None:
        super().before_gradient_based_update(timesteps=timesteps)
        for module in self.module.values():
            module.unwrapped().set_time(self.env_steps)

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        module = self._module[module_id].unwrapped()
        critics = [p for name in module.critics() for p in self.get_parameters(getattr(module, name))]
        actor = self.get_parameters(module.actor)
        for name, params, lr in (("policy", actor, config.actor_lr), ("qf", critics, config.critic_lr)):
            self.register_optimizer(
                module_id=module_id,
                optimizer_name=name,
                optimizer=torch.optim.Adam(params),
                params=params,
                lr_or_lr_schedule=lr,
            )

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Any, fwd_out: Any) -> torch.Tensor:
        discount = config.gamma ** batch["n_step"] * (1.0 - batch[Columns.TERMINATEDS].float())
        target = batch[Columns.REWARDS] + discount * fwd_out["next_value"]
        module = self.module[module_id].unwrapped()
        values = [fwd_out[name] for name in module.critics()]
        critic_loss = sum((batch["weights"] * F.huber_loss(q, target, reduction="none")).mean() for q in values)
        saturation = self.pull(module.settings.rest.weight, fwd_out["pre_tanh"], module.actor.initial)
        actor_loss = -fwd_out["actor_value"].mean() + saturation
        td_error = torch.stack([(q - target).abs() for q in values]).mean(0).detach()
        self.metrics.log_value((module_id, TD_ERROR_KEY), td_error, reduce="item_series")
        self.metrics.log_dict(
            {
                POLICY_LOSS_KEY: actor_loss.detach(),
                "qf_loss": critic_loss.detach(),
                "qf_mean": values[0].detach().mean(),
                "rest_loss": saturation.detach(),
            },
            key=module_id,
            window=1,
        )
        self._losses[module_id, "policy"], self._losses[module_id, "qf"] = actor_loss, critic_loss
        return actor_loss.detach() + critic_loss.detach()

    def compute_gradients(self, loss_per_module: dict[str, Any], **kwargs: Any) -> dict[Any, torch.Tensor]:
        gradients: dict[Any, torch.Tensor] = {}
        for module_id in set(loss_per_module) - {ALL_MODULES}:
            for name, optimizer in self.get_optimizers_for_module(module_id):
                optimizer.zero_grad(set_to_none=True)
                self._losses.pop((module_id, name)).backward()
                params = self.filter_param_dict_for_optimizer(self._params, optimizer)
                gradients.update({ref: p.grad for ref, p in params.items()})
        return gradients


class MADDPGLearner(TermsMixin, FusedUpdateMixin, MADDPGTorchLearner):
    """The MADDPG learner with its whole state in checkpoints."""

    def add_loss(self, module_id: str, optimizer: str, loss: torch.Tensor) -> None:
        self._losses[module_id, optimizer] = self._losses[module_id, optimizer] + loss


class MADDPGConfig(AlgorithmConfig):
    """What RLlib's learner reads of a MADDPG tier. It has no Algorithm of its own: `HMARL` runs it."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class=algo_class)
        self.lr = None  # the actor and the critics have their own
        self.actor_lr = self.critic_lr = self.tau = 0.0
        self.target_network_update_freq = 0

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=MADDPGModule)

    def get_default_learner_class(self) -> type:
        return MADDPGLearner


RLLIB = (MADDPGConfig, MADDPGModule, MADDPGLearner)
