"""Networks that read soc-v1's observations zone by zone with shared weights.

What an agent sees of a zone and what it does there mean the same in every zone, and what happens in a zone mostly
stays there. So one small network reads every zone's token (with the priority that the directive gives it, and in a
critic with the actions in that zone), the same context for all (clock, postures, the first case, a summary of all
cases) and, from the second layer on, the mean over zones (Zaheer et al. 2017, "Deep Sets", equivariant layers). Actions
in a zone come from that zone's features; values from their mean, so that a critic is a sum over zones.

Chosen by a tier's setting `network="zones"`. The number of zones is read off the sizes; weights are the same for any.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from policies.modules import ActionCode, ReadsBatch, RunningNorm, small_linear
from soc_env.errors import ConfigError
from soc_env.soc.networks import MAX_ZONES
from soc_env.soc.tables import CASE_FEATURES, CLOCK_FEATURES, ZONE_FEATURES, Layout, actions, layout
from soc_env.tables import AGENTS, COORDINATOR, TRIAGE

NUM_CHOICES = len(actions(TRIAGE, 1))


def _entries(agent: str) -> tuple[int, int]:
    """(entries per zone, entries for the whole network) of an agent's action."""
    one, two = (len(actions(agent, num_zones)) for num_zones in (1, 2))
    return two - one, 2 * one - two


GROUPS = tuple(_entries(agent) for agent in AGENTS if agent != TRIAGE)
NUM_POSTURES = _entries(COORDINATOR)[1]


def own_layout(obs_dim: int) -> Layout:
    """The layout of an agent's observation of that size; ConfigError if there is none."""
    for num_zones in range(1, MAX_ZONES + 1):
        for agent in (TRIAGE, COORDINATOR):
            if layout(agent, num_zones).size == obs_dim:
                return layout(agent, num_zones)
    raise ConfigError(f"network 'zones' reads observations of the soc-v1 family; there is none of size {obs_dim}")


def joint_layout(joint_obs_dim: int) -> Layout:
    """The layout of triage's observation, the first of all agents' and the one that shows most, in the joint one."""
    for num_zones in range(1, MAX_ZONES + 1):
        if sum(layout(agent, num_zones).size for agent in AGENTS) == joint_obs_dim:
            return layout(TRIAGE, num_zones)
    raise ConfigError(f"network 'zones' reads joint observations of the soc-v1 family; none has size {joint_obs_dim}")


def groups_of(action_dim: int, num_zones: int) -> tuple[int, int]:
    """(entries per zone, entries for the whole network) of an action of that size: zones first, group by group."""
    for per_zone, whole in GROUPS:
        if action_dim == per_zone * num_zones + whole != NUM_CHOICES:
            return per_zone, whole
    return 0, action_dim


class ZoneNorm(RunningNorm):
    """A `RunningNorm` with the same statistics for every zone and for every case; reads the head of a longer vector."""

    def __init__(self, shape: Layout):
        super().__init__(shape.size)
        self.shape = shape

    def set(self, mean: np.ndarray, var: np.ndarray) -> None:
        mean, var = np.array(mean[: self.shape.size]), np.array(var[: self.shape.size])
        blocks = (
            (0, self.shape.case_start, len(ZONE_FEATURES)),
            (self.shape.case_start, self.shape.directive_start, len(CASE_FEATURES)),
        )
        for first, last, width in blocks:
            means, variances = mean[first:last].reshape(-1, width), var[first:last].reshape(-1, width)
            shared = means.mean(0)
            spread = variances.mean(0) + means.var(0)
            mean[first:last], var[first:last] = np.tile(shared, len(means)), np.tile(spread, len(means))
        super().set(mean, var)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x[:, : self.shape.size])


class ZoneMLP(nn.Module):
    """(B, size) observation and actions -> features.

    Args:
        shape: of the observation, or of its head.
        hiddens: layer sizes; the first also summarises the cases.
        action_dims: sizes of the actions that are read too, in their order.
        layer_norm: whether layers are normalised.
        action_bins: resolution at which actions are read, see `modules.ActionCode`; 0 for raw.
        keeps_zones: features of every zone, with what is observed of it itself beside what the layers make of it (the
            risk score of a zone says most about what to do there), and their mean, (B, (zones + 1) * width); else the
            mean of what the layers make, (B, hiddens[-1]).
    """

    def __init__(
        self,
        shape: Layout,
        hiddens: Sequence[int],
        action_dims: Sequence[int] = (),
        layer_norm: bool = False,
        action_bins: int = 0,
        keeps_zones: bool = False,
    ):
        super().__init__()
        self.shape, self.keeps_zones = shape, keeps_zones
        self.width = hiddens[-1] + len(ZONE_FEATURES) * keeps_zones
        self.norm = ZoneNorm(shape)
        self.code = ActionCode(action_bins) if action_bins else nn.Identity()
        coded = max(1, action_bins)
        self.reads_actions = bool(action_dims)
        self.groups = [groups_of(dim, shape.num_zones) for dim in action_dims]
        zone_dim = len(ZONE_FEATURES) + 1 + coded * sum(per_zone for per_zone, _ in self.groups)
        context_dim = (
            len(CLOCK_FEATURES)
            + NUM_POSTURES
            + len(CASE_FEATURES)
            + hiddens[0]
            + coded * sum(w for _, w in self.groups)
        )
        self.case = nn.Linear(len(CASE_FEATURES), hiddens[0])
        self.zone = nn.Linear(zone_dim, hiddens[0])
        self.context = nn.Linear(context_dim, hiddens[0])
        self.deeper = nn.ModuleList(nn.Linear(a, b) for a, b in zip(hiddens, hiddens[1:], strict=False))
        self.mixing = nn.ModuleList(nn.Linear(a, b, bias=False) for a, b in zip(hiddens, hiddens[1:], strict=False))
        self.norms = nn.ModuleList(nn.LayerNorm(size) if layer_norm else nn.Identity() for size in hiddens)
        self.out_dim = self.width * (shape.num_zones + 1 if keeps_zones else 1)

    def forward(self, observation: torch.Tensor, *extra: torch.Tensor) -> torch.Tensor:
        zone, context = self._tokens(self.norm(observation), torch.cat(extra, -1) if extra else None)
        hidden = torch.relu(self.norms[0](self.zone(zone) + self.context(context).unsqueeze(1)))  # (B, Z, h)
        for layer, mix, norm in zip(self.deeper, self.mixing, list(self.norms)[1:], strict=True):
            hidden = torch.relu(norm(layer(hidden) + mix(hidden.mean(1, keepdim=True))))
        if not self.keeps_zones:
            return hidden.mean(1)
        hidden = torch.cat([hidden, zone[..., : len(ZONE_FEATURES)]], -1)
        return torch.cat([hidden, hidden.mean(1, keepdim=True)], 1).flatten(1)

    def _tokens(self, x: torch.Tensor, acted: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, Z, features of a zone) and (B, features of the context)."""
        shape, zones = self.shape, self.shape.num_zones
        seen = x[:, : shape.case_start].unflatten(1, (zones, len(ZONE_FEATURES)))
        cases = x[:, shape.case_start : shape.directive_start].unflatten(1, (shape.num_cases, len(CASE_FEATURES)))
        directive = x[:, shape.directive_start : shape.clock_start]
        zone = [seen, directive[:, :zones].unsqueeze(-1)]
        context = [x[:, shape.clock_start :], directive[:, zones:], cases[:, 0], torch.relu(self.case(cases)).mean(1)]
        first = 0
        for per_zone, whole in self.groups:
            assert acted is not None
            last = first + per_zone * zones
            if per_zone:
                zone.append(self.code(acted[:, first:last].unflatten(1, (per_zone, zones)).transpose(1, 2)))
            context.append(self.code(acted[:, last : last + whole]))
            first = last + whole
        return torch.cat(zone, -1), torch.cat(context, -1)

    def group_sizes(self, action_dim: int) -> list[int]:
        """Sizes of the runs of an action's entries that say the same for every zone."""
        return [self.shape.num_zones] * groups_of(action_dim, self.shape.num_zones)[0]

    def action_layer(self, num_parts: int, action_dim: int) -> ZoneLinear:
        """An output layer for `num_parts` numbers an action."""
        return ZoneLinear(self.width, self.shape.num_zones, num_parts, *groups_of(action_dim, self.shape.num_zones))


class ZoneLinear(nn.Module):
    """Outputs for every zone from that zone's features with shared weights, and for the network from their mean.

    (B, (zones + 1) * width) -> (B, parts * (per_zone * zones + whole)); starts near zero. `bias` is not trained.
    """

    bias: torch.Tensor

    def __init__(self, width: int, num_zones: int, num_parts: int, per_zone: int, whole: int):
        super().__init__()
        self.num_zones, self.num_parts, self.per_zone = num_zones, num_parts, per_zone
        self.zone = small_linear(width, num_parts * per_zone)
        self.whole = small_linear(width, num_parts * whole)
        self.out_features = num_parts * (per_zone * num_zones + whole)
        self.register_buffer("bias", torch.zeros(self.out_features))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        tokens = features.unflatten(1, (self.num_zones + 1, -1))
        zone = self.zone(tokens[:, :-1]).unflatten(-1, (self.num_parts, self.per_zone))  # (B, Z, parts, per zone)
        zone = zone.permute(0, 2, 3, 1).flatten(2)  # (B, parts, per zone * Z)
        whole = self.whole(tokens[:, -1]).unflatten(-1, (self.num_parts, -1))
        return torch.cat([zone, whole], -1).flatten(1) + self.bias


class ZoneEncoder(ReadsBatch, ZoneMLP):  # type: ignore[misc]
    """`ZoneMLP` in RLlib's encoder interface."""


def joint_action_dims(num_zones: int, other_dim: int, own_dim: int = 0) -> list[int]:
    """Sizes of the other agents' actions in the joint order, and of the own one if it is read: what `other_dim` and
    `own_dim` together consist of."""
    dims = [len(actions(agent, num_zones)) for agent in AGENTS]
    dims.remove(sum(dims) - other_dim)
    return [*dims, own_dim] if own_dim else dims
