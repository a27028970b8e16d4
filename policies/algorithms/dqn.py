"""DQN (Mnih et al. 2015), double and dueling: its settings, and the network that acts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import gymnasium as gym
import torch
from torch import nn

from policies.algorithms.network import Draw, Parts, TierNetwork, TierPolicy
from policies.algorithms.settings import OURS, Algorithm, ChoiceCounterfactual, OffPolicyGradients, TierSettings
from policies.networks.blocks import BatchEncoder, value_at
from policies.networks.build import make_body, masked
from soc_env.settings import Schedule, choice, flag, part, schedule, setting

# Of values as logits. In units of the mean absolute return choices differ by hundredths; one that is imitated then gets
# ahead by tenths, which temporal differences can take back, and not by whole units.
TEMPERATURE = 0.1


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
    counterfactual: ChoiceCounterfactual = part(ChoiceCounterfactual)
    rllib: DQNInRLlib = part(DQNInRLlib)

    def to_rllib(self) -> dict[str, Any]:
        names = ("lr", "tau", "epsilon", "double_q", "dueling")
        return {**super().to_rllib(), **{name: getattr(self, name) for name in names}, **vars(self.rllib)}


class DQNNetwork(TierNetwork):
    """A value for each choice; explores by a random choice now and then."""

    settings: DQNSettings

    def build_actor(self) -> None:
        body = make_body(self.settings.body(self.role), self.observation_space.shape[0])
        self.encoder = BatchEncoder(body)
        self.af = nn.Linear(body.out_dim, int(self.action_space.n))
        if self.settings.dueling:
            self.vf = nn.Linear(body.out_dim, 1)

    def values(self, observation: torch.Tensor) -> torch.Tensor:
        """(B, size) -> (B, choices); those of impossible choices are minus infinity."""
        return self.values_by(self.encoder, self.af, getattr(self, "vf", None), observation)

    def values_by(self, encoder: Any, af: Any, vf: Any, observation: torch.Tensor) -> torch.Tensor:
        """As `values`, by these layers: those of the target network have the same form."""
        features = encoder.body(observation)
        values = af(features)
        if vf is not None:
            values = values - values.mean(-1, keepdim=True) + vf(features)
        return self.possible(values, observation)

    def possible(self, values: torch.Tensor, observation: torch.Tensor) -> torch.Tensor:
        """Values, of impossible choices minus infinity: exploration and loss leave those out."""
        return masked(self.settings.action_masking, values, self.present(observation), -torch.inf)

    def parts(self) -> Parts:
        layers = [self.af, self.vf] if self.settings.dueling else [self.af]
        return Parts(self.encoder.body, layers, self.possible)

    def inputs(self, observation: torch.Tensor) -> torch.Tensor:
        """As `values`."""
        return self.values(observation)

    def outputs(self, observation: torch.Tensor) -> torch.Tensor:
        return self.values(observation) / TEMPERATURE

    def draw(self, observation: torch.Tensor, *, explore: bool, t: int = 0, inputs: torch.Tensor | None = None) -> Draw:
        values = self.values(observation) if inputs is None else inputs
        best = values.argmax(-1)
        if not explore:
            return Draw(best)
        is_possible = (values > -torch.inf).float()
        random = torch.multinomial(is_possible, num_samples=1).squeeze(1)
        return Draw(torch.where(torch.rand(len(best)) < value_at(self.settings.epsilon, t), random, best))


class DQNPolicy(DQNNetwork, TierPolicy):
    """A DQN tier as it acts."""


DQN = Algorithm(DQNSettings, DQNPolicy, (gym.spaces.Discrete,))
