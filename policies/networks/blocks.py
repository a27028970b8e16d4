"""The parts that all networks are made of; nothing here knows an environment.

A network is a body, which makes features of an observation (and of actions, if it is a critic's), and an output layer
on it. `Body` says what output layers ask of a body; `policies.networks.build` makes bodies from settings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import gymnasium as gym
import numpy as np
import torch
from torch import nn

from policies.networks.between import Worth
from policies.networks.kernels import hats
from soc_env.engine.jit import IS_COMPILED
from soc_env.errors import ConfigError

OBSERVATION_CLIP = 10.0  # [standard deviations]
OBS, ACTIONS, FEATURES = "obs", "actions", "encoder_out"  # columns as RLlib calls them
CONSTANTS = "cpu"  # made here whatever the default device is: on "meta" some operations import all of torch's compiler
VARIANCE_FLOOR = 1e-6  # features that hardly move are not blown up to noise of unit size


def flat_dim(space: gym.Space) -> int:
    """Number of reals that stand for one element of `space` (a Discrete is one-hot)."""
    return int(space.n) if isinstance(space, gym.spaces.Discrete) else int(np.prod(space.shape or ()))


def value_at(schedule: float | Sequence[Sequence[float]], env_steps: int) -> float:
    """A setting that is a number, or a schedule of RLlib's form [[0, number], [steps, number], ...], at that time."""
    if not isinstance(schedule, Sequence):
        return schedule
    steps, numbers = zip(*schedule, strict=True)
    return float(np.interp(env_steps, steps, numbers))


def encode_actions(space: gym.Space, actions: np.ndarray) -> np.ndarray:
    """(B,) or (B, dim) actions as (B, flat_dim) float32, Discrete ones one-hot."""
    if isinstance(space, gym.spaces.Discrete):
        return np.eye(int(space.n), dtype=np.float32)[np.asarray(actions, np.int64)]
    return np.asarray(actions, np.float32)


class Body(Protocol):
    """The hidden part of a network: (B, size) observation and actions -> (B, out_dim) features, or such as its own
    output layer for actions reads.

    Attributes:
        out_dim: number of features.
        width: number of those that stand for all that is observed; the others are of single zones.
        reads_actions: whether actions are read beside the observation.
        has_action_value: whether the last feature is the value of the action itself.
    """

    out_dim: int
    width: int
    reads_actions: bool
    has_action_value: bool

    def __call__(self, observation: torch.Tensor, *actions: torch.Tensor) -> torch.Tensor: ...

    def group_sizes(self) -> list[int]:
        """Sizes of the leading runs of an action's entries that mean the same in several places; [] if none do."""
        ...

    def action_layer(self, action_dim: int, num_parts: int, sharing: float | None = None) -> Any:
        """An output layer for actions, near zero at the start: (B, out_dim) -> (B, num_parts * action_dim).

        Entries of a group share an output and differ by `sharing` of their own one; None for outputs of their own.
        """
        ...


# ---- layers of one network, or of several of one form side by side (`policies.networks.stacked`)
def affine(layer: Any, x: torch.Tensor) -> torch.Tensor:
    """A linear layer on (..., in): (..., out). Stacked weights (N, out, in) read (N or 1, ..., in)."""
    if layer.weight.dim() == 2:
        return nn.functional.linear(x, layer.weight, layer.bias)
    rows, weight = x.flatten(1, -2).expand(len(layer.weight), -1, -1), layer.weight.transpose(1, 2)
    out = torch.bmm(rows, weight) if layer.bias is None else torch.baddbmm(layer.bias.unsqueeze(1), rows, weight)
    return out.unflatten(1, x.shape[1:-1])


def affine_of_two(layer: nn.Linear, x: torch.Tensor, more: torch.Tensor) -> torch.Tensor:
    """A linear layer on [x, more] without joining them: (..., a) and (..., b) to (..., out). Stacked weights (N, out,
    a + b) read (N, ..., a) and (..., b)."""
    first, second = layer.weight.split([x.shape[-1], more.shape[-1]], -1)
    if layer.weight.dim() == 2:
        out = torch.addmm(layer.bias, x.flatten(0, -2), first.t())
        return torch.addmm(out, more.flatten(0, -2), second.t()).unflatten(0, x.shape[:-1])
    out = torch.baddbmm(layer.bias.unsqueeze(1), x.flatten(1, -2), first.transpose(1, 2))
    more = more.flatten(0, -2).expand(len(out), -1, -1)
    return torch.baddbmm(out, more, second.transpose(1, 2)).unflatten(1, x.shape[1:-1])


def activated(norm: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Normalised, by a `LayerNorm` or not at all, then ReLU; stacked weights (N, size) read (N, ..., size)."""
    if isinstance(norm, nn.LayerNorm):
        if norm.weight.dim() == 1:
            x = norm(x)
        else:
            places = (len(norm.weight), *[1] * (x.dim() - 2), -1)
            x = nn.functional.layer_norm(x, norm.normalized_shape, eps=norm.eps)
            x = torch.addcmul(norm.bias.view(places), x, norm.weight.view(places))
    return torch.relu(x)


class RunningNorm(nn.Module):
    """(x - mean) / std with given statistics; identity until they are set."""

    mean: torch.Tensor
    inv_std: torch.Tensor

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("inv_std", torch.ones(dim))

    def set(self, mean: np.ndarray, var: np.ndarray) -> None:
        self.mean.copy_(torch.as_tensor(mean))
        self.inv_std.copy_(torch.as_tensor(1.0 / np.sqrt(var + VARIANCE_FLOOR)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x - self.mean) * self.inv_std).clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)


class HatBasis(nn.Module):
    """Actions in [-1, 1] in the basis of hat functions (linear B-splines): (B, dim) -> (B, dim * bins).

    Entry k of an action is 1 at the k-th of `bins` evenly spaced points and falls to 0 at its neighbours, so a linear
    layer can express any piecewise linear function of each action, thresholds included. A critic that reads raw actions
    smears a threshold over its neighbourhood, and the actor climbs down that slope.
    """

    centres: torch.Tensor
    uses_kernels = False  # set by learners, as that of `zones.ZoneMLP`

    def __init__(self, bins: int):
        super().__init__()
        self.register_buffer("centres", torch.linspace(-1.0, 1.0, bins, device=CONSTANTS))
        self.per_width = (bins - 1) / 2.0

    def forward(self, actions: torch.Tensor) -> torch.Tensor:
        return self.hats(actions).flatten(-2)

    @property
    def fits_kernels(self) -> bool:
        """Whether the kernel of it can be used where it is."""
        return IS_COMPILED and self.centres.device.type == "cpu"

    def hats(self, actions: torch.Tensor) -> torch.Tensor:
        """Each action by its points: (..., dim) -> (..., dim, bins)."""
        if self.uses_kernels and not actions.requires_grad:
            out = actions.new_empty(*actions.shape, len(self.centres))
            hats(actions.contiguous().numpy().reshape(-1), self.centres.numpy(), self.per_width, out.view(-1).numpy())
            return out
        distance = (actions.unsqueeze(-1) - self.centres).abs() * self.per_width
        return (1.0 - distance).clamp_min(0.0)


def taken(part: Any, rows: Any) -> Any:
    """Some rows of what was prepared: of tensors, and of all in tuples; the rest as it is."""
    if isinstance(part, tuple):
        return tuple(taken(one, rows) for one in part)
    return part[rows] if isinstance(part, torch.Tensor) else part


@dataclass
class PreparedMLP:
    """What an `MLP` reads of B rows, as far as no weight changes it (`MLP.prepare`): made once for the rows of many
    gradient steps. `[rows]` takes some of them; it stands for an observation and its actions.

    Attributes:
        observation: (B, size), as it came.
        inputs: normalised (B, obs_dim), and actions behind them if those are read as they are.
        acted: actions that are read in the `HatBasis`, (B, entries).
        past: as `memory.Memory.prepare`; () without memory.
    """

    observation: torch.Tensor
    inputs: torch.Tensor
    acted: torch.Tensor
    past: tuple[Any, ...]

    def __getitem__(self, rows: Any) -> PreparedMLP:
        return PreparedMLP(*(taken(part, rows) for part in (self.observation, self.inputs, self.acted, self.past)))

    def __len__(self) -> int:
        return len(self.observation)


class MLP(nn.Module):
    """Normalised observation, and actions (in the `HatBasis` if `bins`) -> ReLU layers -> (B, hiddens[-1]).

    `groups` are the sizes of the leading runs of its own action's entries that mean the same in several places. With
    `memory` (`policies.networks.memory.Memory`) it reads past minutes behind the observation.
    """

    has_action_value = False
    uses_kernels = False  # set by learners, as that of `zones.ZoneMLP`

    def __init__(
        self,
        obs_dim: int,
        hiddens: Sequence[int],
        action_dim: int = 0,
        layer_norm: bool = False,
        bins: int = 0,
        groups: Sequence[int] = (),
        memory: Any = None,
    ):
        super().__init__()
        self.obs_dim, self.memory = obs_dim, memory
        self.basis = HatBasis(bins) if bins else None
        action_dim *= max(1, bins)
        self.norm = RunningNorm(obs_dim)
        self.reads_actions, self.groups = action_dim > 0, tuple(groups)
        layers: list[nn.Module] = []
        dim = obs_dim + action_dim
        for hidden in hiddens:
            layers += [nn.Linear(dim, hidden), *([nn.LayerNorm(hidden)] if layer_norm else []), nn.ReLU()]
            dim = hidden
        self.layers = nn.Sequential(*layers)
        self.out_dim = self.width = dim

    def prepare(self, observation: torch.Tensor, *actions: torch.Tensor) -> PreparedMLP:
        """What no weight changes of what it reads: as long as its statistics are the same, it stands for these rows."""
        inputs, acted = self.norm(observation[:, : self.obs_dim]), observation[:, :0]
        if actions and self.basis is None:
            inputs = torch.cat([inputs, *actions], -1)
        elif actions:
            acted = actions[0] if len(actions) == 1 else torch.cat(actions, -1)
        past = () if self.memory is None else self.memory.prepare(observation)
        return PreparedMLP(observation, inputs, acted, past)

    def forward(self, observation: torch.Tensor | PreparedMLP, *actions: torch.Tensor) -> torch.Tensor:
        read = observation if isinstance(observation, PreparedMLP) else self.prepare(observation, *actions)
        x = read.inputs if self.basis is None else torch.cat([read.inputs, self.basis(read.acted)], -1)
        x, layers = for_all(self, x), list(self.layers)
        for k in range(0, len(layers), 2 if self.eps is None else 3):
            x = affine(layers[k], x)
            if k == 0 and self.memory is not None:
                x = x + self.memory(read.past)[0]
            x = activated(layers[k + 1], x)
        return x

    @property
    def eps(self) -> float | None:
        """Of its layer normalisations, if it has any."""
        return self.layers[1].eps if isinstance(self.layers[1], nn.LayerNorm) else None

    @property
    def fits_kernels(self) -> bool:
        """Whether `policies.networks.plain` computes what it computes, where its weights are."""
        acts_by_hats = self.basis is not None or not self.reads_actions
        return acts_by_hats and self.memory is None and IS_COMPILED and self.norm.mean.device.type == "cpu"

    def group_sizes(self) -> list[int]:
        return list(self.groups)

    def action_layer(self, action_dim: int, num_parts: int, sharing: float | None = None) -> nn.Module:
        if sharing is None:
            return small_linear(self.out_dim, num_parts * action_dim)
        return GroupedLinear(self.out_dim, action_dim, num_parts, self.groups, sharing)


class ActionValues(nn.Module):
    """A critic's body that is additive in its own action: features, and after them the action's value, (B, width + 1).

    Every entry of the action has a piecewise linear value (`HatBasis`) whose values at the points come from the
    features, minus their mean (a branch an entry: Tavakoli et al. 2018, "Action Branching Architectures for Deep
    Reinforcement Learning", there with discrete actions). What an action is worth in which state is then linear in the
    features, where a critic that reads both in its first layer has to find the product of the two, which takes long
    where the effects of actions are small beside the value of the state. `body` reads the observation and the other
    actions.
    """

    reads_actions = has_action_value = True

    def __init__(self, body: Any, action_dim: int, bins: int):
        super().__init__()
        self.body, self.basis, self.action_dim = body, HatBasis(bins), action_dim
        self.values = body.action_layer(action_dim, bins)
        self.width = body.width
        self.out_dim = self.width + 1

    def forward(self, observation: torch.Tensor, *actions: torch.Tensor) -> torch.Tensor:
        return self.at(self.read(observation, *actions[:-1]), actions[-1])

    def read(self, observation: Any, *others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """What no action of its own changes: features (B, width), and values at the points, by the parts that the
        output layer has: (B, points, entries), or of each zone (B, Z, points, entries) and of the network."""
        features = self.body(observation, *others)
        if isinstance(features, torch.Tensor):
            return features, affine(self.values, features).unflatten(-1, (-1, self.action_dim))
        return features.of_network(), *self.values.parts(features)

    def at(self, read: Sequence[torch.Tensor], action: torch.Tensor) -> torch.Tensor:
        """As `forward`, from what `read` returned: (B, width + 1)."""
        features, *values = read
        value: Any = 0.0
        for part, entries in zip(values, self.entries(action), strict=True):
            if self.basis.uses_kernels:
                worth = Worth.apply(part, entries, self.basis.centres, self.basis.per_width)
                value = value + worth.reshape(*features.shape[:-1], -1).sum(-1, keepdim=True)
                continue
            weights = self.basis.hats(entries)
            # Values count from their mean: sum(w * (v - mean(v))) = sum(v * (w - mean(w))), and weights are fewer.
            weights = (weights - weights.mean(-1, keepdim=True)).transpose(-2, -1)  # (B, ..., points, entries)
            value = value + (part * weights).flatten(features.dim() - 1).sum(-1, keepdim=True)
        return torch.cat([features, value], -1)

    def entries(self, action: torch.Tensor) -> list[torch.Tensor]:
        """The action's entries by the parts of the values: (B, entries), or of each zone (B, Z, entries) and of the
        network."""
        if isinstance(self.values, nn.Linear):
            return [action]
        return self.values.entries(action)


class BatchEncoder(nn.Module):
    """A body in the interface of RLlib's encoders: batches in, features under a key out."""

    def __init__(self, body: Any):
        super().__init__()
        self.body = body

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        actions = (batch[ACTIONS],) if self.body.reads_actions else ()
        return {FEATURES: self.body(batch[OBS], *actions)}


# ---- output layers
def is_stacked(network: nn.Module) -> bool:
    """Whether its weights are those of several networks side by side."""
    return getattr(network, "num_stacked", 0) > 0


def for_all(network: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """What a network reads; of stacked ones, which all read it, with their axis in front."""
    return x.unsqueeze(0) if is_stacked(network) else x


def value_layer(body: Body, num_values: int = 1) -> nn.Linear:
    """The output layer of a critic on `body`; takes the action's value as it is where the body has one."""
    layer = nn.Linear(body.out_dim, num_values)
    if body.has_action_value:
        nn.init.ones_(layer.weight[:, -1:])
    return layer


def soft_bound(x: torch.Tensor, bound: float) -> torch.Tensor:
    """Nearly the identity around 0, never beyond +-`bound`."""
    return bound * torch.tanh(x / bound)


def small_linear(in_dim: int, out_dim: int) -> nn.Linear:
    """Output layer that starts near zero: actors begin in the middle of their range."""
    layer = nn.Linear(in_dim, out_dim)
    nn.init.orthogonal_(layer.weight, 0.01)
    nn.init.zeros_(layer.bias)
    return layer


class GroupedLinear(nn.Module):
    """Output layer for actions that mean the same in several places: (B, in_dim) -> (B, num_parts * action_dim).

    The first `groups[0]` actions share an output, the next `groups[1]` another, and so on; each adds an output of its
    own at the scale `deviation`. What is learned where much happens then also holds where little does, instead of
    drifting there. Actions beyond the groups have only their own output. The bias is not trained.
    """

    bias: torch.Tensor
    place: torch.Tensor
    scale: torch.Tensor

    def __init__(self, in_dim: int, action_dim: int, num_parts: int, groups: Sequence[int], deviation: float):
        super().__init__()
        self.out_features = num_parts * action_dim
        own = [-1] * (action_dim - sum(groups))
        group = [k for k, size in enumerate(groups) for _ in range(size)] + own
        place = [part * (len(groups) + 1) + (k if k >= 0 else len(groups)) for part in range(num_parts) for k in group]
        self.register_buffer("place", torch.tensor(place), persistent=False)
        scale = [1.0 if k < 0 else deviation for k in group] * num_parts
        self.register_buffer("scale", torch.tensor(scale), persistent=False)
        self.register_buffer("bias", torch.zeros(self.out_features))
        self.num_parts = num_parts
        self.own = small_linear(in_dim, self.out_features)
        self.shared = small_linear(in_dim, num_parts * len(groups))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        shared = self.shared(features).unflatten(-1, (self.num_parts, -1))
        shared = nn.functional.pad(shared, (0, 1)).flatten(-2)  # a zero for actions without a group
        return self.scale * self.own(features) + shared[..., self.place] + self.bias


def shared_entries(body: Body, action_dim: int) -> list[int]:
    """Numbers of the values that an action's entries share, `action_dim` of them from 0: one for each group of entries
    of the body (`Body.group_sizes`), and for each entry beyond."""
    sizes = body.group_sizes()
    sizes += [1] * (action_dim - sum(sizes))
    return [number for number, size in enumerate(sizes) for _ in range(size)]


def resting_action(body: Body, action_dim: int, values: Sequence[float]) -> torch.Tensor:
    """The setting `rest.action` before the tanh, spread over the entries of the action: (action_dim,).

    Raises:
        ConfigError: not one value for each group and each entry beside.
    """
    if not values:
        return torch.zeros(action_dim, device=CONSTANTS)
    places = shared_entries(body, action_dim)
    number = places[-1] + 1
    if len(values) != number:
        raise ConfigError(f"rest.action={list(values)!r} must be {number} numbers, or [] for the middle of the range")
    return torch.atanh(torch.tensor(list(values), device=CONSTANTS))[places]
