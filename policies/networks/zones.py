"""Networks that read an observation token by token with shared weights.

`policies.networks.tokens` says where tokens lie.

What an agent sees of a zone and what it does there mean the same in every zone, and what happens in a zone mostly
stays there. So one small network reads every zone's token (in soc-v1 with the priority that the directive gives it,
and in a critic with the actions in that zone) and the same context for all (clock, postures, the first case). From the
second layer on tokens attend to each other, as a tier's setting `encoder` says:

* "zones": by the mean over zones (Zaheer et al. 2017, "Deep Sets", equivariant layers); a summary of all cases is part
  of the context. Values come from the mean of the zones' features, so that a critic is a sum over zones.
* "attention": by multi-head attention over zones, context and cases (Vaswani et al. 2017, "Attention is all you
  need", equation 1). Absent cases are left out, and a learned bias ties a case to its zone (in soc-v1 in place of the
  zone's number), or to the other cases of its zone where no zones are shown. Values come from the context's token.

Actions in a zone come from that zone's features, actions for the network from the same as values. In soc-v1 no weight,
statistic or bias belongs to a zone, so the state of a module fits any number of zones, and zones in another order give
outputs in that order. paper-v0's segments have identities: to each token a learned embedding of its number is added.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import nn

from policies.networks.attending import Attention, HiddenAttention
from policies.networks.blocks import (
    OBSERVATION_CLIP,
    HatBasis,
    RunningNorm,
    activated,
    affine,
    affine_of_two,
    for_all,
    is_stacked,
    small_linear,
    taken,
)
from policies.networks.hidden import Evaluation, Hidden
from policies.networks.tokens import Tokens
from soc_env.engine.jit import IS_COMPILED

ENCODERS = ("zones", "attention")  # the settings `encoder` for which networks read by tokens


class ZoneNorm(RunningNorm):
    """A `RunningNorm` with one statistic for a feature in all zones, in all cases; gives the entries that are read.

    Its state, (features,), does not depend on the number of zones and cases, see `Tokens.statistics`.
    """

    places: torch.Tensor
    read: torch.Tensor

    def __init__(self, tokens: Tokens):
        super().__init__(int(tokens.statistics.max()) + 1)
        self.register_buffer("places", torch.from_numpy(tokens.statistics), persistent=False)
        self.register_buffer("read", torch.from_numpy(tokens.read), persistent=False)
        self.reads_head = len(self.read) == int(self.read[-1]) + 1  # then no copy is needed

    def set(self, mean: np.ndarray, var: np.ndarray) -> None:
        """New statistics: of an observation's entries, or those of another `ZoneNorm` as they are."""
        if len(mean) == len(self.mean) < len(self.places):
            super().set(mean, var)
            return
        places, read = self.places.cpu().numpy(), self.read.cpu().numpy()
        mean, var = np.asarray(mean, np.float64)[read], np.asarray(var, np.float64)[read]
        count = np.bincount(places)
        shared = np.bincount(places, mean) / count
        spread = np.bincount(places, var + (mean - shared[places]) ** 2) / count
        super().set(shared, spread)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, : len(self.places)] if self.reads_head else x.index_select(1, self.read)
        x = (x - self.mean[self.places]) * self.inv_std[self.places]
        return x.clamp(-OBSERVATION_CLIP, OBSERVATION_CLIP)


class Windows:
    """Views, without a copy, on the entries of tokens: (B, size) -> parts (B, N, .), whose features are side by side.

    Args:
        places: (N, F) indices, in evenly spaced rows.
        read: sorted indices of the entries of x, if that has not all of an observation.
    """

    def __init__(self, places: np.ndarray, read: np.ndarray | None = None):
        self.parts: list[tuple[slice, int, int]] = []  # from the first to the last row, width, step from row to row
        if not places.size:
            return
        if read is not None:
            places = np.array(np.searchsorted(read, places))
        breaks = np.flatnonzero((np.diff(places, axis=1) != 1).any(0)) + 1
        for run in np.split(places, breaks, axis=1):
            steps = np.unique(np.diff(run[:, 0]))
            assert len(steps) <= 1, "rows are not evenly spaced"
            span = slice(int(run[0, 0]), int(run[-1, -1]) + 1)
            self.parts.append((span, run.shape[1], int(steps[0]) if len(steps) else 1))

    def __call__(self, x: torch.Tensor) -> list[torch.Tensor]:
        return [x[:, span].unfold(1, width, step) for span, width, step in self.parts]


class TokenEmbedding(nn.Module):
    """The first layer of a network by tokens: (B, size) observation and actions -> tokens (B, T, dim), before the ReLU.

    Args:
        tokens: of the observation.
        dim: size of an embedded token.
        acting: agents whose actions are read too, in that order.
        attends: whether cases are tokens; otherwise their mean is part of the context, where there are zones.
        bins: resolution at which actions are read, see `blocks.HatBasis`; 0 for raw.
        memory: reads past minutes behind the observation (`policies.networks.memory.Memory`).
    """

    read_of_cases: torch.Tensor | None

    def __init__(self, tokens: Tokens, dim: int, acting: Sequence[str], attends: bool, bins: int, memory: Any = None):
        super().__init__()
        self.memory = memory
        self.tokens, self.attends, self.num_zones = tokens, attends, len(tokens.zones)
        self.norm = ZoneNorm(tokens)
        self.zone_windows, self.case_windows = Windows(tokens.zones, tokens.read), Windows(tokens.cases, tokens.read)
        self.context_windows = Windows(tokens.context[None], tokens.read)
        self.basis = HatBasis(bins) if bins else nn.Identity()
        self.groups = [tokens.entries[name] for name in acting]
        has_cases, case_dim, coded = len(tokens.cases) > 0, tokens.cases.shape[1], max(1, bins)
        zone_dim = tokens.zones.shape[1] + coded * sum(per_zone for per_zone, _ in self.groups)
        context_dim = len(tokens.context) + case_dim + coded * sum(whole for _, whole in self.groups)
        context_dim += dim * (has_cases and not attends)
        # The number of a case's zone would tie outputs to the order of zones: attention has its links instead.
        hides_number = attends and not tokens.is_numbered
        read_of_cases = torch.tensor([float(k != tokens.case_zone) for k in range(case_dim)]) if hides_number else None
        self.register_buffer("read_of_cases", read_of_cases, persistent=False)
        self.case = nn.Linear(case_dim, dim) if has_cases else None
        self.zone = nn.Linear(zone_dim, dim) if self.num_zones else None
        self.context = nn.Linear(context_dim, dim)
        has_numbers = tokens.is_numbered and self.num_zones > 0
        self.numbers = nn.Parameter(torch.zeros(self.num_zones, dim)) if has_numbers else None

    def forward(self, read: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens (B, T, dim), and what is seen of the zones, normalised (B, Z, features)."""
        zone, context, cases, seen = read.zones, read.context, read.cases, read.seen
        case = None if self.case is None else affine(self.case, for_all(self, cases))
        network = self.read_context(for_all(self, context), case)
        recalled, of_zones = (None, None) if self.memory is None else self.memory(read.past)
        if recalled is not None:
            network = network + recalled.unsqueeze(-2)
        tokens = [network] if self.attends or self.zone is None else []
        if self.zone is not None:
            zones = affine(self.zone, for_all(self, zone)) + network  # (B, Z, h)
            zones = zones if of_zones is None else zones + of_zones
            tokens.insert(0, zones if self.numbers is None else zones + self.numbers.unsqueeze(-3))
        if self.attends and case is not None:
            tokens.append(case)
        return torch.cat(tokens, -2) if len(tokens) > 1 else tokens[0], seen

    def inputs(self, observation: torch.Tensor, *actions: torch.Tensor) -> tuple[Any, torch.Tensor, Any]:
        """What the first layer reads, normalised and with actions: of zones (B, Z, F), of the context (B, F), of cases
        (B, C, F), each of the two None where there are none. What is seen of zones comes first."""
        x = self.norm(observation)
        zone = self.zone_windows(x)
        context = [part.squeeze(1) for part in self.context_windows(x)]
        self.add_actions(torch.cat(actions, -1) if actions else None, zone, context)
        cases = None
        if self.case is not None:
            cases = self.case_windows(x)[0].contiguous()
            if self.read_of_cases is not None:
                cases = cases * self.read_of_cases
            context.append(cases[:, 0])
        return torch.cat(zone, -1) if zone else None, torch.cat(context, -1), cases

    def read_context(self, context: torch.Tensor, case: torch.Tensor | None) -> torch.Tensor:
        """The context's token, (B, 1, dim): it reads the mean of embedded cases where those are no tokens."""
        if case is None or self.attends:
            return affine(self.context, context).unsqueeze(-2)
        mean = torch.relu(case).mean(-2)
        return affine(self.context, torch.cat([context.expand(*mean.shape[:-1], -1), mean], -1)).unsqueeze(-2)

    def add_actions(self, acted: torch.Tensor | None, zone: list[torch.Tensor], context: list[torch.Tensor]) -> None:
        """Appends the actions that are read, coded: those in a zone to `zone`, the others to `context`."""
        first = 0
        for per_zone, whole in self.groups:
            assert acted is not None
            last = first + per_zone * self.num_zones
            if per_zone:
                zone.append(self.basis(acted[:, first:last].unflatten(1, (per_zone, self.num_zones)).transpose(1, 2)))
            context.append(self.basis(acted[:, last : last + whole]))
            first = last + whole


@dataclass
class Prepared:
    """What a `ZoneMLP` reads of B rows, as far as no weight changes it (`ZoneMLP.prepare`): made once for the rows of
    many gradient steps. `[rows]` takes some of them; it stands for an observation and its actions.

    Attributes:
        observation: (B, size), as it came.
        zones, context, cases: as `TokenEmbedding.inputs` has them.
        seen_mean: of what is seen of zones, (B, features).
        num_seen: how many of a zone's features, the first ones, those are.
        relations: as `ZoneMLP.relations`.
        past: as `memory.Memory.prepare`; () without memory.
        workspace: a `policies.networks.passes.Workspace` in which the layers are to be evaluated, or None.
    """

    observation: torch.Tensor
    zones: Any
    context: torch.Tensor
    cases: Any
    seen_mean: torch.Tensor
    num_seen: int
    relations: tuple[torch.Tensor, ...]
    past: tuple[Any, ...]
    workspace: Any = None

    def __getitem__(self, rows: Any) -> Prepared:
        tensors = (self.observation, self.zones, self.context, self.cases, self.seen_mean)
        parts = (*tensors, self.num_seen, self.relations, self.past, self.workspace)
        return Prepared(*(taken(part, rows) for part in parts))

    def __len__(self) -> int:
        return len(self.observation)

    @property
    def seen(self) -> torch.Tensor:
        """What is seen of the zones, normalised (B, Z, features)."""
        return self.context[:, None, :0] if self.zones is None else self.zones[..., : self.num_seen]


class ZoneFeatures(NamedTuple):
    """Features of every zone and of the network, of those that act on zones.

    What the layers make of them stands beside what is observed of the zones themselves, (the risk score of a zone says
    most about what to do there), unjoined: an output layer reads both as they are.

    Attributes:
        zones: (B, Z, h).
        network: (B, h).
        seen: of the zones, (B, Z, features).
        seen_mean: over zones, (B, features).
    """

    zones: torch.Tensor
    network: torch.Tensor
    seen: torch.Tensor
    seen_mean: torch.Tensor

    def of_network(self) -> torch.Tensor:
        """What stands for all that is observed, joined: (B, width)."""
        return torch.cat([self.network, self.seen_mean.expand(*self.network.shape[:-1], -1)], -1)


class ZoneMLP(nn.Module):
    """(B, size) observation and actions -> features; a `blocks.Body`.

    Args:
        agent: whose network it is.
        tokens: of the observation that it reads.
        hiddens: layer sizes; the first is that of tokens.
        acting: agents whose actions are read too, in that order.
        heads: of attention between tokens; 0 for the mean, see the module's text.
        layer_norm: whether layers are normalised.
        bins: resolution at which actions are read, see `blocks.HatBasis`; 0 for raw.
        keeps_zones: if the agent acts on zones, `ZoneFeatures`, `zones + 1` times `width` of them; else the features of
            the network alone, (B, hiddens[-1]).
        memory: as `TokenEmbedding` takes it.
    """

    has_action_value = False
    uses_kernels = False  # set by learners; others trace and export networks

    def __init__(
        self,
        agent: str,
        tokens: Tokens,
        hiddens: Sequence[int],
        acting: Sequence[str] = (),
        *,
        heads: int = 0,
        layer_norm: bool = False,
        bins: int = 0,
        keeps_zones: bool = False,
        memory: Any = None,
    ):
        super().__init__()
        self.agent, self.tokens, self.attends = agent, tokens, heads > 0
        self.num_zones, self.has_cases = len(tokens.zones), len(tokens.cases) > 0
        self.keeps_zones = keeps_zones and tokens.entries[agent][0] > 0
        self.width = hiddens[-1] + tokens.num_seen * self.keeps_zones
        self.out_dim = self.width * (self.num_zones + 1 if self.keeps_zones else 1)
        self.reads_actions, self.raw_cases = bool(acting), Windows(tokens.cases)
        self.embedding = TokenEmbedding(tokens, hiddens[0], acting, self.attends, bins, memory)
        sizes = list(zip(hiddens, hiddens[1:], strict=False))
        self.deeper = nn.ModuleList(nn.Linear(a, b) for a, b in sizes)
        self.mixing = nn.ModuleList(
            Attention(a, b, heads, self.has_cases) if self.attends else nn.Linear(a, b, bias=False) for a, b in sizes
        )
        self.norms = nn.ModuleList(nn.LayerNorm(size) if layer_norm else nn.Identity() for size in hiddens)

    def prepare(self, observation: torch.Tensor, *actions: torch.Tensor) -> Prepared:
        """What no weight changes of what it reads: as long as its statistics are the same, it stands for these rows."""
        zones, context, cases = self.embedding.inputs(observation, *actions)
        relations = self.relations(observation) if self.attends else ()
        past = () if self.embedding.memory is None else self.embedding.memory.prepare(observation)
        num_seen = self.tokens.num_seen
        seen_mean = context[:, :0] if zones is None else zones[..., :num_seen].mean(1)
        return Prepared(observation, zones, context, cases, seen_mean, num_seen, relations, past)

    def forward(self, observation: torch.Tensor | Prepared, *actions: torch.Tensor) -> torch.Tensor | ZoneFeatures:
        read = observation if isinstance(observation, Prepared) else self.prepare(observation, *actions)
        if self.uses_kernels and not any(action.requires_grad for action in actions):
            return self.by_kernels(read)
        tokens, seen = self.embedding(read)
        tokens, relations = activated(self.norms[0], tokens), read.relations
        zones, every = self.num_zones, slice(None)
        for k, (layer, mix, norm) in enumerate(zip(self.deeper, self.mixing, list(self.norms)[1:], strict=True), 1):
            if self.attends:  # the last layer is wanted of the zones and the context alone
                which = every if k < len(self.deeper) else slice(0 if self.keeps_zones else zones, zones + 1)
                attended = mix(tokens, relations, which)
            else:
                which, attended = every, affine(mix, tokens.mean(-2, keepdim=True))
            tokens = activated(norm, affine(layer, tokens[..., which, :]) + attended)
        if not self.attends:
            network = tokens.mean(-2)
        elif self.keeps_zones:
            tokens, network = tokens.split([zones, 1], -2)
            network = network.squeeze(-2)
        else:
            network = tokens.squeeze(-2)
        return ZoneFeatures(tokens, network, seen, read.seen_mean) if self.keeps_zones else network

    def by_kernels(self, read: Prepared) -> torch.Tensor | ZoneFeatures:
        """As `forward`, up to rounding, of a network that `fits_kernels`."""
        if read.workspace is not None:
            hidden = read.workspace.hidden(self, len(read))
        else:
            hidden = self.hidden(len(read), is_trained=False)
        tokens, network = Evaluation.apply(hidden, read, *hidden.weights)
        if not is_stacked(self):
            tokens, network = tokens.squeeze(0), network.squeeze(0)
        return ZoneFeatures(tokens, network, read.seen, read.seen_mean) if self.keeps_zones else network

    def hidden(self, rows: int, *, is_trained: bool) -> Hidden | HiddenAttention:
        """Its hidden layers on so many rows, in memory of their own; see `fits_kernels`."""
        return (HiddenAttention if self.attends else Hidden)(self, rows, is_trained)

    @property
    def fits_kernels(self) -> bool:
        """Whether `Hidden` or `HiddenAttention` computes what it computes, where its weights are."""
        has_form = len(self.deeper) > 0 if self.attends else self.num_zones > 0 and self.embedding.numbers is None
        is_plain = has_form and self.embedding.memory is None
        return is_plain and IS_COMPILED and self.embedding.context.weight.device.type == "cpu"

    @property
    def eps(self) -> float | None:
        """Of its layer normalisations, if it has any."""
        return self.norms[0].eps if isinstance(self.norms[0], nn.LayerNorm) else None

    def weights_in_order(self) -> list[torch.Tensor]:
        """Its weights, in the order in which `Hidden` or `HiddenAttention` takes them."""
        weights = self._attention_weights() if self.attends else self._zone_weights()
        return [*weights, *(weight for norm in self.norms for weight in norm.parameters())]

    def _zone_weights(self) -> list[torch.Tensor]:
        first = [self.embedding.case, self.embedding.context, self.embedding.zone]
        weights: list[Any] = [part for layer in first if layer is not None for part in (layer.weight, layer.bias)]
        for layer, mix in zip(self.deeper, self.mixing, strict=True):
            weights += [layer.weight, layer.bias, mix.weight]
        return weights

    def _attention_weights(self) -> list[torch.Tensor]:
        zone, numbers = self.embedding.zone, self.embedding.numbers
        weights: list[Any] = []
        if zone is not None:
            places = (*zone.bias.shape[:-1], self.num_zones, zone.bias.shape[-1])
            weights += [zone.weight, zone.bias, zone.bias.new_zeros(places) if numbers is None else numbers]
        others = (self.embedding.context, self.embedding.case)
        weights += [part for layer in others if layer is not None for part in (layer.weight, layer.bias)]
        for layer, mix in zip(self.deeper, cast(Any, self.mixing), strict=True):
            weights += [layer.weight, layer.bias, mix.query.weight, mix.write.weight]
            weights += [] if mix.belongs is None else [mix.belongs]
        return weights

    def attention(self, observation: torch.Tensor) -> torch.Tensor:
        """(B, size) -> (B, heads, T, T): the first layer's attention weights, tokens as in `Tokens.names`."""
        read = self.prepare(observation)
        tokens = activated(self.norms[0], self.embedding(read)[0])
        return cast(Attention, self.mixing[0]).weights(tokens, read.relations).transpose(1, 2)

    def relations(self, observation: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Links between cases and their zones (B, T, T), and which tokens are absent cases (B, T); () without cases.

        Where no zones are shown, cases of the same zone are linked with each other, and with the context if it is that
        of the first case: the context is what attends to most of them, and it reads the first case.
        """
        if not self.has_cases:
            return ()
        zones = self.num_zones
        (cases,) = self.raw_cases(observation)
        is_absent = cases[..., self.tokens.present] <= 0
        number = (cases[..., self.tokens.case_zone] * self.tokens.zone_scale).round()
        num_tokens = zones + 1 + len(self.tokens.cases)
        if zones:
            links = observation.new_zeros(observation.shape[0], num_tokens, num_tokens)
            of_zone = (number.unsqueeze(-1) == torch.arange(zones, device=number.device)) & ~is_absent.unsqueeze(
                -1
            )  # (B, C, Z)
            links[:, zones + 1 :, :zones] = of_zone.to(links.dtype)
            links[:, :zones, zones + 1 :] = of_zone.transpose(1, 2).to(links.dtype)
        else:
            number = torch.cat([number[:, :1], number], 1)
            links = (number.unsqueeze(-1) == number.unsqueeze(-2)).to(observation.dtype)
        return links, nn.functional.pad(is_absent, (zones + 1, 0))

    def group_sizes(self) -> list[int]:
        return [self.num_zones] * self.tokens.entries[self.agent][0]

    def action_layer(self, action_dim: int, num_parts: int, sharing: float | None = None) -> nn.Module:
        per_zone, whole = self.tokens.entries[self.agent]
        if not self.keeps_zones:
            return small_linear(self.width, num_parts * whole)
        return ZoneLinear(self.width, num_parts, per_zone, whole, 1.0 if sharing is None else sharing)


class ZoneLinear(nn.Module):
    """Outputs for every zone from that zone's features with shared weights, and for the network from its own.

    `ZoneFeatures` -> (B, parts * (per_zone * zones + whole)); starts near zero. `bias`,
    (parts * (per_zone + whole),), is not trained. Zones differ from their mean by `deviation` of what their features
    say, see `blocks.GroupedLinear`.
    """

    bias: torch.Tensor

    def __init__(self, width: int, num_parts: int, per_zone: int, whole: int, deviation: float = 1.0):
        super().__init__()
        self.num_parts, self.per_zone, self.num_whole, self.deviation = num_parts, per_zone, whole, deviation
        self.zone = small_linear(width, num_parts * per_zone)
        self.whole = small_linear(width, num_parts * whole)
        self.register_buffer("bias", torch.zeros(num_parts * (per_zone + whole)))

    def forward(self, features: ZoneFeatures) -> torch.Tensor:
        zone, whole = self.parts(features)
        zone = zone.movedim(-3, -1).flatten(-2)  # (B, parts, per zone * Z)
        return torch.cat([zone, whole], -1).flatten(-2)

    def parts(self, features: ZoneFeatures) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs of each zone (B, Z, parts, per zone), and of the network (B, parts, whole)."""
        bias = self.bias.unflatten(0, (self.num_parts, -1))
        zone = affine_of_two(self.zone, features.zones, features.seen)
        if self.deviation != 1.0:
            zone = torch.lerp(zone.mean(-2, keepdim=True), zone, self.deviation)
        zone = zone.unflatten(-1, (self.num_parts, self.per_zone)) + bias[:, : self.per_zone]
        whole = affine_of_two(self.whole, features.network, features.seen_mean)
        return zone, whole.unflatten(-1, (self.num_parts, -1)) + bias[:, self.per_zone :]

    def entries(self, action: torch.Tensor) -> list[torch.Tensor]:
        """An action's entries (B, per zone * Z + whole) as `parts` has them: (B, Z, per zone) and (B, whole)."""
        of_zones = action.shape[1] - self.num_whole
        zone, whole = action.split([of_zones, self.num_whole], 1)
        return [zone.unflatten(1, (self.per_zone, -1)).transpose(1, 2), whole]
