"""PPO for one agent that plays the whole team: what HMARL's curve is set beside.

Schulman et al. 2017, "Proximal Policy Optimization Algorithms", equations 7 and 9 (clipped surrogate, entropy) and 11
(generalised advantages), in the form of CleanRL's `ppo.py` and `ppo_continuous_action.py`: two separate networks,
orthogonal weights, advantages normalised in each minibatch, gradients cut off at a norm. Deliberate differences:

* A time limit is not an end. The value of the last observation is what would have come after it; soc-v1 ends in no
  other way, and CleanRL's scripts take such an end for nothing to come.
* Actions are choices of a preset for each agent (MultiDiscrete), or all entries in a row (Box).
* Losses of values are not clipped (Andrychowicz et al. 2021, "What Matters for On-Policy Deep Actor-Critic Methods?",
  found clipping to hurt), and rates do not fall, because the budget is one of CPU time.

Metrics: none; `experiments.curves` validates the greedy policy.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Space
from torch import Tensor, nn
from torch.distributions import Categorical, Normal

from soc_env.engine.tables import AGENTS, TRIAGE
from soc_env.registry import preset_tables
from soc_env.wrappers import SOCVectorEnv


@dataclasses.dataclass(frozen=True)
class PPOSettings:
    """Numbers of both PPOs of a comparison, CleanRL's own but for what batches of 64 environments ask for.

    Attributes:
        num_envs, num_steps: of a rollout.
        num_epochs, minibatch_size: of an update.
        gamma, gae_lambda: of advantages. A shift has 200 minutes; what is done pays over tens of them.
        clip, entropy_weight, value_weight, max_grad_norm: of the loss.
        lr: Adam's rate.
        hiddens: widths of either network.
    """

    num_envs: int = 64
    num_steps: int = 64
    num_epochs: int = 4
    minibatch_size: int = 512
    gamma: float = 0.99
    gae_lambda: float = 0.95
    clip: float = 0.2
    entropy_weight: float = 0.003
    value_weight: float = 0.5
    max_grad_norm: float = 0.5
    lr: float = 3e-4
    hiddens: tuple[int, ...] = (64, 64)


class PPO:
    """One learner and its batch of environments.

    Attributes:
        num_env_steps: environment steps so far.
    """

    def __init__(self, scenario: str, actions: str, seed: int, settings: PPOSettings, **overrides: Any) -> None:
        """Args: the scenario, "discrete" or "continuous", and fields of the scenario to change."""
        self.settings, self.num_env_steps, self._scenario = settings, 0, scenario
        self.env = SOCVectorEnv(scenario, settings.num_envs, actions=actions, seed=seed, **overrides)
        torch.manual_seed(seed)
        self._random = np.random.default_rng(seed)
        self.actor = Actor(self.env, settings.hiddens)
        self.critic = network(size_of(self.env.single_observation_space), settings.hiddens, 1, 1.0)
        self._parameters = [*self.actor.parameters(), *self.critic.parameters()]
        self._optimizer = torch.optim.Adam(self._parameters, settings.lr, eps=1e-5)
        self._scale = ReturnScale(settings.num_envs, settings.gamma)
        self._seen, _ = self.env.reset()

    def iterate(self) -> None:
        """One rollout and one update."""
        batch = self._rollout()
        self._update(batch)

    def _rollout(self) -> dict[str, Tensor]:
        s = self.settings
        rows: dict[str, list[Any]] = {name: [] for name in ("seen", "actions", "log_probs", "rewards", "ends", "cut")}
        with torch.no_grad():
            for _ in range(s.num_steps):
                seen = torch.from_numpy(self._seen)
                actions, log_probs = self.actor.sample(seen)
                after, rewards, terminated, truncated, infos = self.env.step(actions.numpy())
                ends = terminated | truncated
                cut = np.zeros(s.num_envs, np.float32)
                for i in np.flatnonzero(truncated & ~terminated):  # what would have come after the time limit
                    cut[i] = self.critic(torch.from_numpy(infos["final_obs"][i])).item()
                scaled = self._scale(rewards, ends).astype(np.float32)
                values = (seen, actions, log_probs, torch.from_numpy(scaled), torch.from_numpy(ends), cut)
                for name, value in zip(rows, values, strict=True):
                    rows[name].append(torch.as_tensor(value))
                self._seen = after
            batch = {name: torch.stack(values) for name, values in rows.items()}
            values = self.critic(torch.cat([batch["seen"], torch.from_numpy(self._seen)[None]])).squeeze(-1)
        self.num_env_steps += s.num_steps * s.num_envs
        upcoming = torch.where(batch["ends"], batch.pop("cut"), values[1:])
        batch["advantages"] = advantages(
            batch.pop("rewards"), values[:-1], upcoming, batch.pop("ends"), s.gamma, s.gae_lambda
        )
        batch["returns"] = batch["advantages"] + values[:-1]
        return {name: value.flatten(0, 1) for name, value in batch.items()}

    def _update(self, batch: dict[str, Tensor]) -> None:
        s = self.settings
        for _ in range(s.num_epochs):
            order = torch.from_numpy(self._random.permutation(len(batch["returns"])))
            for rows in order.split(s.minibatch_size):
                part = {name: value[rows] for name, value in batch.items()}
                log_probs, entropy = self.actor.judge(part["seen"], part["actions"])
                policy_loss = surrogate_loss(log_probs - part["log_probs"], part["advantages"], s.clip)
                value_loss = 0.5 * (self.critic(part["seen"]).squeeze(-1) - part["returns"]).square().mean()
                loss = policy_loss - s.entropy_weight * entropy.mean() + s.value_weight * value_loss
                self._optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(self._parameters, s.max_grad_norm)
                self._optimizer.step()

    def policy(self) -> CentralPolicy:
        """The greedy policy of this moment; it changes with the next `iterate`."""
        return CentralPolicy(self.env, self._greedy)

    def _greedy(self, seen: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self.actor.greedy(torch.from_numpy(seen)).numpy()


class Actor(nn.Module):
    """A distribution over central actions: of each agent's choices, or normal with spreads that are parameters."""

    def __init__(self, env: SOCVectorEnv, hiddens: tuple[int, ...]) -> None:
        super().__init__()
        space = env.single_action_space
        self._sizes: list[int] = space.nvec.tolist() if env.is_discrete else []  # type: ignore[attr-defined]
        width = sum(self._sizes) or size_of(space)
        self.body = network(size_of(env.single_observation_space), hiddens, width, 0.01)
        if not self._sizes:
            self.log_std = nn.Parameter(torch.full((width,), -0.5))  # half of the range at first

    def _choices(self, seen: Tensor) -> list[Categorical]:
        return [Categorical(logits=logits) for logits in self.body(seen).split(self._sizes, -1)]

    def _normal(self, seen: Tensor) -> Normal:
        return Normal(self.body(seen), self.log_std.exp())

    def sample(self, seen: Tensor) -> tuple[Tensor, Tensor]:
        """(actions, log probabilities (n,)) of observations (n, size)."""
        if not self._sizes:
            normal = self._normal(seen)
            actions = normal.sample()
            return actions, normal.log_prob(actions).sum(-1)
        choices = self._choices(seen)
        drawn = torch.stack([one.sample() for one in choices], -1)
        return drawn, self._log_probs(choices, drawn)

    def judge(self, seen: Tensor, actions: Tensor) -> tuple[Tensor, Tensor]:
        """(log probabilities, entropies), each (n,), of actions that were taken."""
        if not self._sizes:
            normal = self._normal(seen)
            return normal.log_prob(actions).sum(-1), normal.entropy().sum(-1)
        choices = self._choices(seen)
        return self._log_probs(choices, actions), torch.stack([one.entropy() for one in choices]).sum(0)

    def greedy(self, seen: Tensor) -> Tensor:
        """The most probable actions."""
        outputs = self.body(seen)
        if not self._sizes:
            return outputs
        return torch.stack([logits.argmax(-1) for logits in outputs.split(self._sizes, -1)], -1)

    @staticmethod
    def _log_probs(choices: list[Categorical], taken: Tensor) -> Tensor:
        return torch.stack([one.log_prob(taken[..., k]) for k, one in enumerate(choices)]).sum(0)


class CentralPolicy:
    """A central policy as evaluation plays one: observations of the team in, actions of the team out."""

    def __init__(self, env: SOCVectorEnv, act: Any) -> None:
        """Args: whose actions they are, and (n, size) observations -> (n, size) central actions."""
        scenario = env.simulator.scenario
        self._tables = preset_tables(scenario) if env.is_discrete else {}
        self._widths = {agent: len(rows) for agent, rows in env.simulator.action_tables.items()}
        self._act = act

    def reset(self, seed: int) -> None:
        """Nothing is remembered and nothing drawn."""

    def __call__(self, observations: Any, decides: np.ndarray) -> dict[str, np.ndarray]:
        """Actions of all agents for a batch of environments."""
        central = self._act(np.concatenate([observations[agent] for agent in AGENTS], axis=1))
        if self._tables:
            choices = dict(zip(AGENTS, central.T, strict=True))
            return {a: own if a == TRIAGE else self._tables[a][own] for a, own in choices.items()}
        cuts = np.cumsum([self._widths[agent] for agent in AGENTS])[:-1]
        parts = dict(zip(AGENTS, np.split(np.clip(central, -1, 1), cuts, axis=1), strict=True))
        return {agent: part.argmax(axis=1) if agent == TRIAGE else part for agent, part in parts.items()}


class ReturnScale:
    """Divides rewards by the standard deviation of discounted returns so far (Engstrom et al. 2020)."""

    def __init__(self, num_envs: int, gamma: float) -> None:
        self._returns, self._gamma = np.zeros(num_envs), gamma
        self._count, self._mean, self._squares = 0, 0.0, 0.0  # of returns, as Chan et al. 1979 merge them

    def __call__(self, rewards: np.ndarray, ends: np.ndarray) -> np.ndarray:
        """(num_envs,) scaled rewards of a step."""
        self._returns = self._gamma * self._returns + rewards
        num, mean = len(rewards), float(self._returns.mean())
        total, difference = self._count + num, mean - self._mean
        self._squares += float(((self._returns - mean) ** 2).sum()) + difference**2 * self._count * num / total
        self._mean += difference * num / total
        self._count = total
        self._returns[ends] = 0.0
        return rewards / math.sqrt(self._squares / total + 1e-8)


def size_of(space: Space[Any]) -> int:
    """Entries of a flat Box."""
    assert space.shape is not None
    return space.shape[0]


def network(size: int, hiddens: tuple[int, ...], width: int, gain: float) -> nn.Sequential:
    """Tanh layers with orthogonal weights; `gain`: of the last."""
    layers: list[nn.Module] = []
    for hidden in hiddens:
        layers += [_orthogonal(nn.Linear(size, hidden), math.sqrt(2.0)), nn.Tanh()]
        size = hidden
    return nn.Sequential(*layers, _orthogonal(nn.Linear(size, width), gain))


def _orthogonal(layer: nn.Linear, gain: float) -> nn.Linear:
    nn.init.orthogonal_(layer.weight, gain)
    nn.init.zeros_(layer.bias)
    return layer


def advantages(
    rewards: Tensor, values: Tensor, upcoming: Tensor, ends: Tensor, gamma: float, gae_lambda: float
) -> Tensor:
    """Generalised advantages (Schulman et al. 2017, equation 11).

    Args:
        rewards: (steps, envs).
        values: (steps, envs), of what was seen.
        upcoming: (steps, envs), of what came after; where an episode ended, of its last observation, or 0 if nothing
            comes after it.
        ends: (steps, envs) bool, whether an episode ended with the step.
        gamma: discount.
        gae_lambda: share of the estimate that looks a step further.

    Returns:
        (steps, envs).
    """
    errors = rewards + gamma * upcoming - values
    found, later = torch.empty_like(errors), torch.zeros_like(errors[0])
    for t in range(len(errors) - 1, -1, -1):
        later = errors[t] + gamma * gae_lambda * torch.where(ends[t], torch.zeros_like(later), later)
        found[t] = later
    return found


def surrogate_loss(log_ratios: Tensor, gains: Tensor, clip: float) -> Tensor:
    """The clipped surrogate (equation 7) of normalised advantages, to be minimised; all (rows,)."""
    gains = (gains - gains.mean()) / (gains.std() + 1e-8)
    ratios = log_ratios.exp()
    return -torch.minimum(ratios * gains, ratios.clamp(1 - clip, 1 + clip) * gains).mean()
