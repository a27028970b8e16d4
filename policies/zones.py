"""Networks that read soc-v1's observations token by token with shared weights.

What an agent sees of a zone and what it does there mean the same in every zone, and what happens in a zone mostly
stays there. So one small network reads every zone's token (with the priority that the directive gives it, and in a
critic with the actions in that zone) and the same context for all (clock, postures, the first case). From the second
layer on tokens hear of each other, as a tier's setting `network` says:

* "zones": by the mean over zones (Zaheer et al. 2017, "Deep Sets", equivariant layers); a summary of all cases is part
  of the context. Values come from the mean of the zones' features, so that a critic is a sum over zones.
* "attention": by multi-head attention over zones, context and cases (Vaswani et al. 2017, "Attention is all you
  need", equation 1). Absent cases are left out, and a learned bias ties a case to its zone, in place of the zone's
  number. Values come from the context's token.

Actions in a zone come from that zone's features, actions for the network from the same as values. No weight, statistic
or bias belongs to a zone, so the state of a module fits any number of zones, and zones in another order give outputs
in that order.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import nn

from policies.modules import OBSERVATION_CLIP, ActionCode, ReadsBatch, RunningNorm, small_linear
from soc_env.errors import ConfigError
from soc_env.soc.networks import MAX_ZONES
from soc_env.soc.tables import (
    CASE_FEATURES,
    CHOICES_READ,
    CLOCK_FEATURES,
    ZONE_FEATURES,
    Layout,
    actions,
    features,
    layout,
    possible_choices,
)
from soc_env.tables import AGENTS, COORDINATOR, TRIAGE

MIXINGS = {"zones": "mean", "attention": "attention"}  # setting `network` -> how tokens hear of each other


def _entries(agent: str) -> tuple[int, int]:
    one, two = (len(actions(agent, num_zones)) for num_zones in (1, 2))
    return two - one, 2 * one - two


ENTRIES = {agent: _entries(agent) for agent in AGENTS}
"""agent -> (entries per zone, entries for the whole network) of its action: zones first, group by group."""
NUM_POSTURES = ENTRIES[COORDINATOR][1]
PRESENT, CASE_ZONE = ([f.name for f in CASE_FEATURES].index(name) for name in ("present", "zone"))
ZONE_SCALE = 16  # the case feature "zone" is zone / 16


def agent_of(role: str | None) -> str:
    """The agent of the soc-v1 family with that role (the name of its tier); ConfigError if there is none."""
    agent = f"{role}_0"
    if agent not in AGENTS:
        known = ", ".join(name.removesuffix("_0") for name in AGENTS)
        raise ConfigError(f"tier {role!r}: its network reads observations of the soc-v1 family; allowed tiers: {known}")
    return agent


def own_layout(agent: str, obs_dim: int) -> Layout:
    """The layout of the agent's observation of that size; ConfigError if there is none."""
    for num_zones in range(1, MAX_ZONES + 1):
        if layout(agent, num_zones).size == obs_dim:
            return layout(agent, num_zones)
    raise ConfigError(f"{agent}: its network reads observations of the soc-v1 family; there is none of size {obs_dim}")


def joint_layout(joint_obs_dim: int) -> Layout:
    """The layout of triage's observation, the first of all agents' and the one that shows most, in the joint one."""
    for num_zones in range(1, MAX_ZONES + 1):
        if sum(layout(agent, num_zones).size for agent in AGENTS) == joint_obs_dim:
            return layout(TRIAGE, num_zones)
    raise ConfigError(f"a joint critic by zones reads observations of the soc-v1 family; none has size {joint_obs_dim}")


def token_names(agent: str, num_zones: int) -> list[str]:
    """What the tokens of "attention" are, in their order: zones, the context, cases."""
    cases = [f"case {k}" for k in range(layout(agent, num_zones).num_cases)]
    return [*(f"zone {z}" for z in range(num_zones)), "context", *cases]


def impossible_choices(observation: torch.Tensor) -> torch.Tensor:
    """(B, size) of triage's observation -> (B, choices), whether a choice is impossible."""
    names = _names(own_layout(TRIAGE, observation.shape[1]).num_zones)
    can, can_enrich = possible_choices(*(observation[:, names.index(name)] for name in CHOICES_READ))
    others = can.unsqueeze(1).expand(-1, ENTRIES[TRIAGE][1] - 1)
    return ~torch.cat([others, can_enrich.unsqueeze(1)], 1)


@functools.cache
def _names(num_zones: int) -> list[str]:
    return [feature.name for feature in features(TRIAGE, num_zones)]


class ZoneNorm(RunningNorm):
    """A `RunningNorm` with one statistic for a feature in all zones, in all cases; reads the head of a longer vector.

    Its state is (zone features + case features + priority + postures + clock,), whatever the number of zones.
    """

    places: torch.Tensor

    def __init__(self, shape: Layout):
        widths = (len(ZONE_FEATURES), len(CASE_FEATURES), 1, NUM_POSTURES + len(CLOCK_FEATURES))
        repeats = (shape.num_zones, shape.num_cases, shape.num_zones, 1)
        starts = np.cumsum([0, *widths])
        places = [
            np.tile(first + np.arange(width), n) for first, width, n in zip(starts, widths, repeats, strict=False)
        ]
        super().__init__(int(starts[-1]))
        self.register_buffer("places", torch.from_numpy(np.concatenate(places)), persistent=False)

    def set(self, mean: np.ndarray, var: np.ndarray) -> None:
        """New statistics: of an observation's entries, or those of another `ZoneNorm` as they are."""
        if len(mean) == len(self.mean) < len(self.places):
            super().set(mean, var)
            return
        places = self.places.numpy()
        mean, var = np.asarray(mean, np.float64)[: len(places)], np.asarray(var, np.float64)[: len(places)]
        count = np.bincount(places)
        shared = np.bincount(places, mean) / count
        spread = np.bincount(places, var + (mean - shared[places]) ** 2) / count
        super().set(shared, spread)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = (x[:, : len(self.places)] - self.mean[self.places]) * self.inv_std[self.places]
        return x.clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)


class Attention(nn.Module):
    """What tokens hear of all tokens, by `heads` heads: (B, T, in_dim) -> (B, queries, out_dim).

    Keys and values are the tokens themselves, so d_k is their size: with projections to as many dimensions, those of
    queries and keys would only be multiplied with each other, and those of values and the output too. `belongs` is the
    weight, by head, of the bias between a case and its zone.
    """

    def __init__(self, in_dim: int, out_dim: int, heads: int):
        super().__init__()
        self.heads, self.scale = heads, 1.0 / math.sqrt(in_dim)
        self.query = nn.Linear(in_dim, heads * in_dim, bias=False)
        self.write = nn.Linear(heads * in_dim, out_dim, bias=False)
        self.belongs = nn.Parameter(torch.ones(heads))

    def forward(
        self, tokens: torch.Tensor, links: torch.Tensor, absent: torch.Tensor, queries: slice = slice(None)
    ) -> torch.Tensor:
        """What the tokens at `queries` hear; `links`, `absent` as in `weights`."""
        heard = self.weights(tokens, links, absent, queries).flatten(1, 2) @ tokens
        return self.write(heard.unflatten(1, (-1, self.heads)).flatten(2))

    def weights(
        self, tokens: torch.Tensor, links: torch.Tensor, absent: torch.Tensor, queries: slice = slice(None)
    ) -> torch.Tensor:
        """(B, queries, heads, T): the share of each token in what a token hears; the last axis sums to 1.

        Args:
            tokens: (B, T, in_dim).
            links: (B, T, T), 1 between a case and its zone, else 0; symmetric.
            absent: (B, T), whether a token is left out.
            queries: which tokens hear.
        """
        query = self.query(tokens[:, queries]).unflatten(-1, (self.heads, -1)).flatten(1, 2) * self.scale
        score = (tokens @ query.transpose(1, 2)).unflatten(2, (-1, self.heads))  # torch's softmax is slow on short rows
        score = score + self.belongs * links[:, :, queries].unsqueeze(-1)
        return torch.softmax(score.masked_fill(absent[:, :, None, None], -torch.inf), 1).movedim(1, -1)


class ZoneMLP(nn.Module):
    """(B, size) observation and actions -> features.

    Args:
        agent: whose network it is.
        shape: of the observation, or of its head.
        hiddens: layer sizes; the first is that of tokens.
        acting: agents whose actions are read too, in that order.
        mixing: "mean" or "attention", see the module's text.
        heads: of "attention".
        layer_norm: whether layers are normalised.
        action_bins: resolution at which actions are read, see `modules.ActionCode`; 0 for raw.
        keeps_zones: features of every zone, with what is observed of it itself beside what the layers make of it (the
            risk score of a zone says most about what to do there), and those of the network,
            (B, (zones + 1) * width); else those of the network alone, (B, hiddens[-1]).
    """

    read_of_cases: torch.Tensor

    def __init__(
        self,
        agent: str,
        shape: Layout,
        hiddens: Sequence[int],
        acting: Sequence[str] = (),
        *,
        mixing: str = "mean",
        heads: int = 4,
        layer_norm: bool = False,
        action_bins: int = 0,
        keeps_zones: bool = False,
    ):
        super().__init__()
        self.agent, self.shape, self.keeps_zones = agent, shape, keeps_zones
        self.attends = mixing == "attention"
        self.out_dim = self.width = hiddens[-1] + len(ZONE_FEATURES) * keeps_zones
        self.norm = ZoneNorm(shape)
        self.code = ActionCode(action_bins) if action_bins else nn.Identity()
        coded = max(1, action_bins)
        self.reads_actions = bool(acting)
        self.groups = [ENTRIES[name] for name in acting]
        zone_dim = len(ZONE_FEATURES) + 1 + coded * sum(per_zone for per_zone, _ in self.groups)
        context_dim = len(CLOCK_FEATURES) + NUM_POSTURES + len(CASE_FEATURES)
        context_dim += hiddens[0] * (not self.attends) + coded * sum(whole for _, whole in self.groups)
        # The number of a case's zone would tie outputs to the order of zones: attention has its links instead.
        read_of_cases = torch.tensor([float(k != CASE_ZONE) for k in range(len(CASE_FEATURES))])
        self.register_buffer("read_of_cases", read_of_cases, persistent=False)
        self.case = nn.Linear(len(CASE_FEATURES), hiddens[0])
        self.zone = nn.Linear(zone_dim, hiddens[0])
        self.context = nn.Linear(context_dim, hiddens[0])
        sizes = list(zip(hiddens, hiddens[1:], strict=False))
        self.deeper = nn.ModuleList(nn.Linear(a, b) for a, b in sizes)
        self.mixing = nn.ModuleList(
            Attention(a, b, heads) if self.attends else nn.Linear(a, b, bias=False) for a, b in sizes
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) if layer_norm else nn.Identity() for size in hiddens)

    def forward(self, observation: torch.Tensor, *extra: torch.Tensor) -> torch.Tensor:
        tokens, seen = self._embedded(observation, *extra)
        links, absent = self._relations(observation) if self.attends else (None, None)
        zones, every = self.shape.num_zones, slice(None)
        for k, (layer, mix, norm) in enumerate(zip(self.deeper, self.mixing, list(self.norms)[1:], strict=True), 1):
            if self.attends:  # the last layer is wanted of the zones and the context alone
                which = every if k < len(self.deeper) else slice(0 if self.keeps_zones else zones, zones + 1)
                heard = mix(tokens, links, absent, which)
            else:
                which, heard = every, mix(tokens.mean(1, keepdim=True))
            tokens = torch.relu(norm(layer(tokens[:, which]) + heard))
        network = tokens[:, -1:] if self.attends else tokens.mean(1, keepdim=True)
        if not self.keeps_zones:
            return network.squeeze(1)
        network = torch.cat([network, seen.mean(1, keepdim=True)], -1)
        return torch.cat([torch.cat([tokens[:, :zones], seen], -1), network], 1).flatten(1)

    def attention(self, observation: torch.Tensor) -> torch.Tensor:
        """(B, size) -> (B, heads, T, T): the first layer's attention weights, tokens as in `token_names`."""
        tokens, _ = self._embedded(observation)
        return cast(Attention, self.mixing[0]).weights(tokens, *self._relations(observation)).transpose(1, 2)

    def _embedded(self, observation: torch.Tensor, *extra: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens after the first layer (B, T, hiddens[0]), and what is seen of the zones (B, Z, features)."""
        zone, context, cases = self._tokens(self.norm(observation), torch.cat(extra, -1) if extra else None)
        if self.attends:
            cases = cases * self.read_of_cases
        case = self.case(cases)
        context = [*context, cases[:, 0], *([] if self.attends else [torch.relu(case).mean(1)])]
        network = self.context(torch.cat(context, -1)).unsqueeze(1)
        tokens = self.zone(zone) + network  # (B, Z, h)
        if self.attends:
            tokens = torch.cat([tokens, network, case], 1)
        return torch.relu(self.norms[0](tokens)), zone[..., : len(ZONE_FEATURES)]

    def _tokens(
        self, x: torch.Tensor, acted: torch.Tensor | None
    ) -> tuple[torch.Tensor, list[torch.Tensor], torch.Tensor]:
        """Features of the zones (B, Z, .), of the context (B, .) in parts, and of the cases (B, C, .)."""
        shape, zones = self.shape, self.shape.num_zones
        seen = x[:, : shape.case_start].unflatten(1, (zones, len(ZONE_FEATURES)))
        cases = x[:, shape.case_start : shape.directive_start].unflatten(1, (shape.num_cases, len(CASE_FEATURES)))
        directive = x[:, shape.directive_start : shape.clock_start]
        zone = [seen, directive[:, :zones].unsqueeze(-1)]
        context = [x[:, shape.clock_start :], directive[:, zones:]]
        first = 0
        for per_zone, whole in self.groups:
            assert acted is not None
            last = first + per_zone * zones
            if per_zone:
                zone.append(self.code(acted[:, first:last].unflatten(1, (per_zone, zones)).transpose(1, 2)))
            context.append(self.code(acted[:, last : last + whole]))
            first = last + whole
        return torch.cat(zone, -1), context, cases

    def _relations(self, observation: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Links between cases and their zones (B, T, T), and which tokens are absent cases (B, T)."""
        shape, zones = self.shape, self.shape.num_zones
        cases = observation[:, shape.case_start : shape.directive_start]
        cases = cases.unflatten(1, (shape.num_cases, len(CASE_FEATURES)))
        is_absent = cases[..., PRESENT] <= 0
        number = (cases[..., CASE_ZONE] * ZONE_SCALE).round()
        of_zone = (number.unsqueeze(-1) == torch.arange(zones)) & ~is_absent.unsqueeze(-1)  # (B, C, Z)
        num_tokens = zones + 1 + shape.num_cases
        links = observation.new_zeros(len(observation), num_tokens, num_tokens)
        links[:, zones + 1 :, :zones] = of_zone.to(links.dtype)
        links[:, :zones, zones + 1 :] = of_zone.transpose(1, 2).to(links.dtype)
        return links, nn.functional.pad(is_absent, (zones + 1, 0))

    def group_sizes(self) -> list[int]:
        """Sizes of the runs of the agent's action's entries that say the same for every zone."""
        return [self.shape.num_zones] * ENTRIES[self.agent][0]

    def action_layer(self, num_parts: int) -> ZoneLinear:
        """An output layer for `num_parts` numbers an action."""
        return ZoneLinear(self.width, num_parts, *ENTRIES[self.agent])


class ZoneLinear(nn.Module):
    """Outputs for every zone from that zone's features with shared weights, and for the network from its own.

    (B, (zones + 1) * width) -> (B, parts * (per_zone * zones + whole)); starts near zero. `bias`,
    (parts * (per_zone + whole),), is not trained.
    """

    bias: torch.Tensor

    def __init__(self, width: int, num_parts: int, per_zone: int, whole: int):
        super().__init__()
        self.width, self.num_parts, self.per_zone = width, num_parts, per_zone
        self.zone = small_linear(width, num_parts * per_zone)
        self.whole = small_linear(width, num_parts * whole)
        self.register_buffer("bias", torch.zeros(num_parts * (per_zone + whole)))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        tokens = features.unflatten(1, (-1, self.width))
        bias = self.bias.unflatten(0, (self.num_parts, -1))
        zone = self.zone(tokens[:, :-1]).unflatten(-1, (self.num_parts, self.per_zone)) + bias[:, : self.per_zone]
        zone = zone.permute(0, 2, 3, 1).flatten(2)  # (B, parts, per zone * Z)
        whole = self.whole(tokens[:, -1]).unflatten(-1, (self.num_parts, -1)) + bias[:, self.per_zone :]
        return torch.cat([zone, whole], -1).flatten(1)


class ZoneEncoder(ReadsBatch, ZoneMLP):  # type: ignore[misc]
    """`ZoneMLP` in RLlib's encoder interface."""
