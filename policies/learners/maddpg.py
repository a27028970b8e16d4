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

import functools
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from torch import nn

from policies.algorithms.maddpg import MADDPGNetwork, MADDPGSettings
from policies.learners.columns import JOINT_NEXT_OBS, JOINT_OBS, OTHER_ACTIONS, OTHER_NEXT_ACTIONS
from policies.learners.critics import Critics, linked, value_losses
from policies.learners.shared import (
    ActionPenaltyMixin,
    OffPolicyLearnerMixin,
    StatisticsMixin,
    discount,
    existing,
    take_settings,
)
from policies.learners.straight import Step, Steps, critics_fit
from policies.learners.update import ACTOR_READS, CRITICS_READ, NEXT_ACTOR_READS, TARGETS_READ, Batch, Losses, read_by
from policies.networks.blocks import soft_bound, value_at, value_layer
from policies.networks.build import make_body
from policies.networks.passes import fits


class CentralCritic(nn.Module):
    """Q(joint observation, every agent's action): (B,). Without others it reads the own observation and action."""

    def __init__(
        self, settings: MADDPGSettings, role: str, own_dim: int, joint_obs_dim: int, other_dim: int, action_dim: int
    ):
        super().__init__()
        dims = (other_dim, action_dim) if other_dim else (action_dim,)
        spec = settings.critic_body(role)
        self.body = make_body(spec, joint_obs_dim, dims, is_joint=bool(other_dim), own_dim=own_dim)
        self.head = value_layer(self.body)

    def forward(self, joint_obs: torch.Tensor, others: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
        actions = (others, own) if others.shape[1] else (own,)
        return self.head(self.body(joint_obs, *actions)).squeeze(-1)


class MADDPGModule(StatisticsMixin, MADDPGNetwork, TorchRLModule, InferenceOnlyAPI, TargetNetworkAPI):
    """model_config: role, settings, joint_obs_dim, other_action_dim, state_dim of critics that read it."""

    def setup(self) -> None:
        take_settings(self)
        self.build_actor()
        if not self.inference_only:
            config, num_actions = self.model_config, self.action_space.shape[0]
            own_dim = self.observation_space.shape[0]
            joint_dim = config["joint_obs_dim"] + config.get("state_dim", 0)
            sizes = (own_dim, joint_dim, config["other_action_dim"], num_actions)
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

    def side_by_side(self, prefix: str = "") -> Critics:
        """The critics, or with the prefix "target_" their target networks."""
        found = [getattr(self, f"{prefix}{name}") for name in self.critics()]
        return linked(self, prefix, [(critic.body, critic.head) for critic in found])

    @torch.no_grad()
    def forward_target(self, batch: Batch) -> torch.Tensor:
        """The lowest target Q of the next joint state, with the target actor's own action: (B,)."""
        own = torch.tanh(self.target_actor(*read_by(batch, NEXT_ACTOR_READS, Columns.NEXT_OBS)))
        critics, columns = self.side_by_side("target_"), given(batch, JOINT_NEXT_OBS, OTHER_NEXT_ACTIONS)
        return critics.at(critics.read(*read_by(batch, TARGETS_READ, *columns)), own).amin(0)

    def values_of(self, columns: Mapping[str, torch.Tensor], *actions: torch.Tensor) -> list[torch.Tensor]:
        """By every critic the values (N, B) of each of the actions in the situations of `columns`."""
        critics = self.side_by_side()
        read = critics.read(*(columns[name] for name in given(columns, JOINT_OBS, OTHER_ACTIONS)))
        return [critics.at(read, action) for action in actions]

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

    def improved_at(self, pre_tanh: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
        """The action at which the actor is improved: its own, with noise where it is smoothed."""
        own = torch.tanh(pre_tanh)
        if not self.smoothing:
            return own
        drawn: dict[str, Any] = {"generator": generator, "device": own.device}
        low, high = map(math.log, self.smoothing)
        scale = torch.exp(low + (high - low) * torch.rand(len(own), 1, **drawn))
        return (own + scale * torch.randn(own.shape, **drawn)).clamp(-1, 1)


def given(batch: Batch, observation: str, others: str) -> tuple[str, ...]:
    """The columns that a critic reads beside the own action; without others only the observation."""
    return (observation, others) if batch[others].shape[1] else (observation,)


class MADDPGLearner(ActionPenaltyMixin, OffPolicyLearnerMixin, DQNTorchLearner):
    """MADDPG's two losses; RLlib's DQN learner keeps the target networks."""

    steps: Steps | None = None

    @classmethod
    def rl_module_required_apis(cls) -> list[type]:
        return [TargetNetworkAPI]

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

    def stacked(self, module: Any) -> tuple[Any, Sequence[str]]:
        module.side_by_side("target_").stacked.link()
        return module.side_by_side().stacked, ("qf",)

    def readers(self, module: Any, batch: Batch) -> Mapping[str, tuple[Any, Sequence[str]]]:
        targets = module.side_by_side("target_")
        return {
            ACTOR_READS: (module.actor.body, (Columns.OBS,)),
            NEXT_ACTOR_READS: (module.target_actor.body, (Columns.NEXT_OBS,)),
            CRITICS_READ: (module.side_by_side().body, given(batch, JOINT_OBS, OTHER_ACTIONS)),
            TARGETS_READ: (targets.body, given(batch, JOINT_NEXT_OBS, OTHER_NEXT_ACTIONS)),
        }

    def losses(self, module: Any, batch: Batch) -> Losses:
        target = batch[Columns.REWARDS] + discount(self.config, batch) * module.forward_target(batch)
        critics = module.side_by_side()
        read = critics.read(*read_by(batch, CRITICS_READ, *given(batch, JOINT_OBS, OTHER_ACTIONS)))
        q = critics.at(read, batch[Columns.ACTIONS])
        critic_loss = value_losses(q, target, batch["weights"]).sum()
        pre_tanh = module.actor(*read_by(batch, ACTOR_READS, Columns.OBS))
        saturation = self.pull(module.settings.rest.weight, pre_tanh, module.actor.initial)
        # The actor's gradient flows through the critic's input, not into its weights.
        value = critics.first_at(read, module.improved_at(pre_tanh, self.generator))
        actor_loss = saturation - value.mean()

        losses = {"policy": actor_loss, "qf": critic_loss}
        logs = functools.partial(self._logs, losses, q, saturation)
        return Losses(losses, logs, (q.detach() - target).abs().mean(0))

    def _logs(
        self, losses: Mapping[str, torch.Tensor], q: torch.Tensor, saturation: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        found = {POLICY_LOSS_KEY: losses["policy"], "qf_loss": losses["qf"], "qf_mean": q[0].mean()}
        return {**found, "rest_loss": saturation}

    def straight(self, module: Any) -> Callable[[Batch], Losses] | None:
        critics, actors = module.side_by_side(), (module.actor, module.target_actor)
        if not (critics_fit(critics) and all(fits(actor.body, actor.head) for actor in actors)):
            return None
        if self.steps is None:
            layers = tuple((actor.body, actor.head) for actor in actors)
            self.steps = Steps(functools.partial(Step, critics, module.side_by_side("target_"), layers, 1))
        return functools.partial(self._in_a_straight_line, module, self.steps)

    def _in_a_straight_line(self, module: Any, steps: Steps, batch: Batch) -> Losses:
        """As `losses`, with gradients set."""
        actor, weight, step = module.actor, module.settings.rest.weight, steps.of(len(batch["weights"]))
        (following,) = step.next_actor.forward(batch[NEXT_ACTOR_READS])
        own = torch.tanh(soft_bound(following + module.target_actor.initial, actor.bound))
        target = batch[Columns.REWARDS] + discount(self.config, batch) * step.rate_next(batch, own)
        q = step.rate_taken(batch)
        (raw,) = step.actor.forward(batch[ACTOR_READS])
        pre_tanh = soft_bound(raw + actor.initial, actor.bound)
        action = module.improved_at(pre_tanh, self.generator)
        value = step.rate_own(action)[0]
        first = torch.zeros_like(q)
        first[0] = 1.0
        slope = step.slope(first) * (1.0 - torch.tanh(pre_tanh).square())
        if module.smoothing:
            slope *= action.abs() < 1.0  # beyond it was cut off
        step.learn_values(q, target, batch["weights"])
        away = pre_tanh - actor.initial
        g_pre = 2.0 * value_at(weight, self.env_steps) * away / away.numel() - slope / len(action)
        step.actor.backward(g_pre * (1.0 - (pre_tanh / actor.bound).square()))
        step.finish()

        def losses() -> dict[str, torch.Tensor]:
            of_actor = self.pull(weight, pre_tanh, actor.initial) - value.mean()
            return {"policy": of_actor, "qf": value_losses(q, target, batch["weights"]).sum()}

        def logs() -> dict[str, torch.Tensor]:
            return self._logs(losses(), q, self.pull(weight, pre_tanh, actor.initial))

        return Losses(losses, logs, (q - target).abs().mean(0))


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
