"""PPO (Schulman et al. 2017): its settings, and the network that acts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import nn

from policies.algorithms.network import Draw, Parts, TierNetwork, TierPolicy, categorical, choices, gaussian, normal
from policies.algorithms.settings import OURS, Algorithm, Gradients, Part, StateCritic, TierSettings
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
    critic: StateCritic = part(StateCritic)
    rllib: PPOInRLlib = part(PPOInRLlib)

    @property
    def reads_state(self) -> bool:
        return self.critic.reads_state

    def to_rllib(self) -> dict[str, Any]:
        own = {"lr": self.lr, "entropy_coeff": self.entropy_coeff, "lambda_": self.lambda_}
        return {**super().to_rllib(), **own, **vars(self.rllib)}


class ActorEncoder(nn.Module):
    """The encoder of the policy; those that learn have a second one, for values, beside it."""

    def __init__(self, spec: Any, obs_dim: int, keeps_zones: bool = False):
        super().__init__()
        self.actor_encoder = BatchEncoder(make_body(spec, obs_dim, keeps_zones=keeps_zones))


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
        return self.of_means(self.mean(features))

    def of_means(self, raw: torch.Tensor) -> torch.Tensor:
        """Of what the output layer says, (B, dim)."""
        mean = torch.tanh(raw)
        return torch.cat([mean, self.log_std[self.places].expand_as(mean)], -1)


class PPONetwork(TierNetwork):
    """A Gaussian, or logits of choices."""

    settings: PPOSettings
    encoder_type: Callable[..., ActorEncoder] = ActorEncoder

    def build_actor(self) -> None:
        spec, obs_dim = self.settings.body(self.role), self.observation_space.shape[0]
        self.encoder = self.encoder_type(spec, obs_dim, keeps_zones=not self.is_discrete)
        if self.is_discrete:
            self.pi: Any = small_linear(spec.hiddens[-1], int(self.action_space.n))
        else:
            num_actions, log_std = self.action_space.shape[0], self.settings.actor.initial_log_std
            self.pi = GaussianHead(self.encoder.actor_encoder.body, num_actions, log_std)

    def outputs(self, observation: torch.Tensor) -> torch.Tensor:
        inputs = self.inputs(observation)
        return inputs if self.is_discrete else inputs.chunk(2, -1)[0]

    def inputs(self, observation: torch.Tensor) -> torch.Tensor:
        """Parameters of the distribution that actions are drawn from: (B, P)."""
        return self.masked_inputs(self.pi(self.encoder.actor_encoder.body(observation)), observation)

    def parts(self) -> Parts:
        def finish(raw: torch.Tensor, observation: torch.Tensor) -> torch.Tensor:
            return self.masked_inputs(raw if self.is_discrete else self.pi.of_means(raw), observation)

        layer = self.pi if self.is_discrete else self.pi.mean
        return Parts(self.encoder.actor_encoder.body, [layer], finish)

    def draw(self, observation: torch.Tensor, *, explore: bool, t: int = 0, inputs: torch.Tensor | None = None) -> Draw:
        inputs = self.inputs(observation) if inputs is None else inputs
        return categorical(inputs, explore) if self.is_discrete else gaussian(inputs, explore)

    def log_prob(self, actions: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """Of actions (B, dim), or (B,) choices, by the parameters of the distributions they were drawn from: (B,)."""
        return Draw(actions, inputs, choices(inputs) if self.is_discrete else normal(inputs)).log_prob()

    def masked_inputs(self, inputs: torch.Tensor, observation: torch.Tensor) -> torch.Tensor:
        """Parameters of the distribution, in which impossible choices are as unlikely as can be."""
        return masked(self.settings.action_masking, inputs, self.present(observation), torch.finfo(torch.float32).min)

    def action_heads(self) -> list[tuple[Any, int]]:
        return [(self.pi.mean, 1)] if isinstance(self.pi, GaussianHead) else []


class PPOPolicy(PPONetwork, TierPolicy):
    """A PPO tier as it acts."""


PPO = Algorithm(PPOSettings, PPOPolicy, (gym.spaces.Box, gym.spaces.Discrete), is_on_policy=True)
