"""Gradient steps of SAC and MADDPG on additive critics, and of PPO, in a straight line: no autograd, no new memory.

What is learned is said by `losses` of `policies.learners.sac`, `.maddpg` and `.ppo`, by which all other networks go.
Here are the gradients of the same losses by hand, on `policies.networks.passes`; tests hold both equal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch.nn import functional as F

from policies.algorithms.sac import LOG_STD_DRAWN
from policies.learners.critics import Critics
from policies.learners.update import CRITICS_READ, TARGETS_READ, Batch
from policies.networks import passes
from policies.networks.blocks import soft_bound
from policies.networks.passes import fits

Gradients = list[tuple[torch.Tensor, torch.Tensor]]  # (parameter, its gradient)


def critics_fit(critics: Critics) -> bool:
    """Whether the critics can be evaluated by `passes.critics`."""
    return critics.is_additive and fits(critics.body.body, critics.body.values)


class KeptStep:
    """Networks on the rows of one gradient step.

    Args:
        networks: those that memory was made for.

    Attributes:
        gradients: (parameter, its gradient).
    """

    gradients: Gradients

    def __init__(self, networks: Iterable[Any]):
        self.watched = [part for one in networks for part in (*one.parameters(), *one.buffers())]
        self.where = [weight.data_ptr() for weight in self.watched]

    @property
    def is_current(self) -> bool:
        """Whether weights are where they were."""
        return self.where == [weight.data_ptr() for weight in self.watched]

    def finish(self) -> None:
        """Hands gradients over to the parameters."""
        for parameter, gradient in self.gradients:
            parameter.grad = gradient


class Step(KeptStep):
    """The networks of an actor-critic tier on the rows of one gradient step.

    Args:
        critics, targets: which fit.
        actors: (body, output layer) of the actor, and of the one that acts in next states.
        num_parts: of the actor's outputs.
        rows: B.
    """

    def __init__(
        self, critics: Critics, targets: Critics, actors: Iterable[tuple[Any, Any]], num_parts: int, rows: int
    ):
        own, following = actors
        self.actor = passes.actor(*own, rows, True, num_parts)
        self.next_actor = passes.actor(*following, rows, False, num_parts)
        self.critics = passes.critics(critics.body, critics.head, rows, True)
        self.targets = passes.critics(targets.body, targets.head, rows, False)
        stacked = critics.stacked
        place = {id(weight): k for k, weight in enumerate(stacked.weights)}
        self.gradients: Gradients = [(weight, gradient[0]) for weight, gradient in self.actor.pairs()]
        for weight, gradient in self.critics.pairs():
            owners = [owned[place[id(weight)]] for owned in stacked.owners]
            self.gradients += zip(owners, gradient.unbind(0), strict=True)
        super().__init__((critics.stacked.network, targets.stacked.network, *own, *following))

    def rate_next(self, batch: Batch, action: torch.Tensor) -> torch.Tensor:
        """The lowest target value of actions in next states: (B,)."""
        self.targets.forward(batch[TARGETS_READ])
        self.targets.other.take(action)
        return self.targets.rate(self.targets.other).amin(0)

    def rate_taken(self, batch: Batch) -> torch.Tensor:
        """Values of what was done: (N, B)."""
        self.critics.forward(batch[CRITICS_READ])
        self.critics.taken.take(batch[Columns.ACTIONS])
        return self.critics.rate(self.critics.taken)

    def rate_own(self, action: torch.Tensor) -> torch.Tensor:
        """Values of the actor's actions: (N, B)."""
        self.critics.other.take(action)
        return self.critics.rate(self.critics.other)

    def slope(self, weight: torch.Tensor) -> torch.Tensor:
        """Of the values in `rate_own` by the action, weighted (N, B): (B, entries)."""
        return self.critics.slope(self.critics.other, weight)

    def learn_values(self, q: torch.Tensor, target: torch.Tensor, weights: torch.Tensor) -> None:
        """Sets gradients of `critics.value_losses`, with q from `rate_taken`."""
        self.critics.backward(self.critics.taken, weights * (q - target).clamp(-1.0, 1.0) / len(target))


class GaussianStep(KeptStep):
    """The policy and the value function of an on-policy tier on the rows of one gradient step.

    Args:
        actor, critic: (body, output layer), which fit.
        log_std: logarithms of the standard deviations, (P,).
        places: of each entry of the action the number of its one.
        rows: B.
    """

    def __init__(self, actor: tuple[Any, Any], critic: tuple[Any, Any], log_std: Any, places: torch.Tensor, rows: int):
        super().__init__((*actor, *critic))
        self.actor, self.critic = (passes.actor(*network, rows, True, 1) for network in (actor, critic))
        self.log_std, self.places, self.g_log_std = log_std, places, torch.zeros_like(log_std)
        pairs = (*self.actor.pairs(), *self.critic.pairs())
        self.gradients = [*((weight, gradient[0]) for weight, gradient in pairs), (log_std, self.g_log_std)]

    def log_density(self, read: Any, actions: torch.Tensor) -> torch.Tensor:
        """Of actions (B, dim): (B,)."""
        self.mean = torch.tanh(self.actor.forward(read)[0])
        self.entries = self.log_std.detach()[self.places]
        away = actions - self.mean
        self.pull = away * torch.exp(-2.0 * self.entries)  # slope of the density by the mean
        self.square = away * self.pull
        return -(0.5 * self.square + self.entries + 0.5 * math.log(2.0 * math.pi)).sum(-1)

    def learn_policy(self, g_logp: torch.Tensor, entropy_coeff: float) -> None:
        """Sets gradients by that of the density (B,), and of the weighted mean entropy, which is gained."""
        of_rows = g_logp.unsqueeze(1)
        self.actor.backward(of_rows * self.pull * (1.0 - self.mean.square()))
        g_entries = (of_rows * (self.square - 1.0)).sum(0) - entropy_coeff
        self.g_log_std.zero_().index_add_(0, self.places, g_entries)

    @property
    def entropy(self) -> torch.Tensor:
        """The same for all rows."""
        return (self.entries + 0.5 * (1.0 + math.log(2.0 * math.pi))).sum()


class Steps:
    """Steps by number of rows, made when they are first needed and when weights have moved."""

    def __init__(self, build: Callable[[int], Any]):
        self.build = build
        self.kept: dict[int, Any] = {}

    def of(self, rows: int) -> Any:
        step = self.kept.get(rows)
        if step is None or not step.is_current:
            if len(self.kept) > 1:
                self.kept.clear()  # sizes are one or two; others come from whoever changes them
            step = self.kept[rows] = self.build(rows)
        return step


class Gaussian:
    """A Gaussian before the tanh, as `BoundedMeanHead` and `squashed` make it of raw outputs, with slopes by hand.

    Args:
        head: `policies.algorithms.sac.BoundedMeanHead`.
        raw: means and log standard deviations before bounds, (B, dim) each.
        noise: (B, dim), standard normal.
    """

    def __init__(self, head: Any, raw: Iterable[torch.Tensor], noise: torch.Tensor):
        mean, log_std = raw
        self.head, self.bounds = head, head.settings.log_std_range
        self.mean = soft_bound(mean + head.initial, head.settings.mean_bound)
        if self.bounds is not None:
            self.middle, self.half = sum(self.bounds) / 2, (self.bounds[1] - self.bounds[0]) / 2
            log_std = self.middle + soft_bound(log_std - self.middle, self.half)
        self.log_std, self.log_std_drawn = log_std, log_std.clamp(*LOG_STD_DRAWN)
        self.away = self.log_std_drawn.exp() * noise
        self.noise, self.x = noise, self.mean + self.away
        self.action = torch.tanh(self.x)

    @classmethod
    def drawn(
        cls, head: Any, generator: torch.Generator | None, raw: Sequence[torch.Tensor]
    ) -> tuple[Gaussian, torch.Tensor]:
        """With fresh noise, and the logarithms of the actions' densities, (B,)."""
        found = cls(head, raw, torch.randn(raw[0].shape, generator=generator))
        return found, log_density(found.noise, found.log_std_drawn, found.x)

    def back(
        self, g_x: torch.Tensor, g_mean: torch.Tensor | float, g_log_std: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradients of raw outputs, by those of x, and more of the mean and, the same for all, of the log standard
        deviation."""
        g_mean = (g_x + g_mean) * (1.0 - torch.square(self.mean / self.head.settings.mean_bound))
        g_log_std = (g_x * self.away + g_log_std) * (self.log_std == self.log_std_drawn)
        if self.bounds is not None:
            g_log_std = g_log_std * (1.0 - ((self.log_std - self.middle) / self.half).square())
        return g_mean, g_log_std


def log_density(noise: torch.Tensor, log_std: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Of tanh(x), where x = mean + exp(log_std) * noise: (B,).

    log(1 - tanh(x)^2) = 2 (log 2 - x - softplus(-2 x)): Haarnoja et al. 2018, equation 21, stable as in
    OpenAI's Spinning Up.
    """
    logp = -0.5 * noise.pow(2) - log_std - 2.0 * (math.log(2.0) - x - F.softplus(-2.0 * x))
    return logp.sum(-1) - 0.5 * math.log(2.0 * math.pi) * noise.shape[-1]
