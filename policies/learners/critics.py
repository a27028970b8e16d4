"""The critics of an off-policy tier, one or twins, evaluated side by side.

What does not depend on the agent's own action is read once (`Critics.read`) and used at every action that is to be
rated (`Critics.at`): the one that was taken, and the one that the actor is improved at.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from policies.networks.blocks import affine
from policies.networks.stacked import Stacked


class Critics:
    """N critics side by side.

    Args:
        critics: (body, output layer) of each.
    """

    def __init__(self, critics: Sequence[tuple[Any, nn.Linear]]):
        self.critics = list(critics)
        self.stacked = Stacked([nn.ModuleList(critic) for critic in critics])
        network: Any = self.stacked.network
        self.body, self.head = network
        self.is_additive = self.body.has_action_value

    def read(self, observation: Any, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What they make of all but the own action."""
        return self.body.read(observation, *others) if self.is_additive else (observation, *others)

    def at(self, read: tuple[torch.Tensor, ...], action: torch.Tensor) -> torch.Tensor:
        """Values of the own action: (N, B)."""
        features = self.body.at(read, action) if self.is_additive else self.body(*read, action)
        return affine(self.head, features).squeeze(-1)

    def first_at(self, read: tuple[torch.Tensor, ...], action: torch.Tensor) -> torch.Tensor:
        """Values by the first critic alone, whose weights get no gradient: (B,)."""
        body, head = self.critics[0]
        if not self.is_additive:
            weights = [*body.parameters(), *head.parameters()]
            for weight in weights:
                weight.requires_grad_(False)
            value = head(body(*read, action)).squeeze(-1)
            for weight in weights:
                weight.requires_grad_(True)
            return value
        features = self.body.at([part[0].detach() for part in read], action)
        return nn.functional.linear(features, head.weight.detach(), head.bias.detach()).squeeze(-1)

    def values(self, observation: Any) -> torch.Tensor:
        """Values of all choices, of critics that read no action: (N, B, choices)."""
        return affine(self.head, self.body(observation))


def value_losses(q: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Losses of critics by values (N, B), targets and weights (B,): (N,)."""
    return (weights * nn.functional.huber_loss(q, target.expand_as(q), reduction="none")).mean(-1)


def linked(module: Any, name: str, critics: Sequence[tuple[Any, nn.Linear]]) -> Critics:
    """The `Critics` of the RLModule under that name, made once; the networks' weights are theirs.

    They are no part of the module's state, which has the networks themselves.
    """
    kept: dict[str, Critics] = module.__dict__.setdefault("linked_critics", {})
    if name not in kept:
        kept[name] = Critics(critics)
    return kept[name]
