"""Networks by zones on the rows of one gradient step, forth and back, in memory that is kept from step to step.

Hidden layers are those of `policies.networks.hidden` and `policies.networks.attending`; here are whole actors and
critics on them, and what chooses between these and those of `policies.networks.plain`. Shapes: N networks side by side
(1 of one that is not stacked), B rows, Z zones, T = B * Z tokens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from policies.networks import action_kernels, plain
from policies.networks.attending import HiddenAttention
from policies.networks.blocks import MLP, RunningNorm
from policies.networks.hidden import Hidden, Pairs, lifted
from policies.networks.zones import Prepared, ZoneLinear, ZoneMLP

MOST_KEPT = 16  # bodies, by numbers of rows: those of a learner are few


def fits(body: Any, layer: Any = None) -> bool:
    """Whether the passes compute what that body does, and the output layer on it."""
    if isinstance(body, MLP):
        return plain.fits(body, layer)
    is_of_zones = layer is None or (isinstance(layer, ZoneLinear) and layer.deviation == 1.0)
    return isinstance(body, ZoneMLP) and body.uses_kernels and is_of_zones


def read_alike(one: Any, other: Any) -> bool:
    """Whether what is prepared for one body holds for the other too."""
    if isinstance(one, MLP) and isinstance(other, MLP):
        has_more = one.memory is not None or other.memory is not None or one.reads_actions or other.reads_actions
        return not has_more and one.obs_dim == other.obs_dim and _same_norm(one.norm, other.norm)
    if not (isinstance(one, ZoneMLP) and isinstance(other, ZoneMLP)) or one.uses_kernels != other.uses_kernels:
        return False
    a, b = one.embedding, other.embedding
    if a.memory is not None or b.memory is not None or a.groups or b.groups:
        return False
    are_same = a.tokens is b.tokens and a.attends == b.attends
    return are_same and _same_norm(a.norm, b.norm)


def _same_norm(one: RunningNorm, other: RunningNorm) -> bool:
    return torch.equal(one.mean, other.mean) and torch.equal(one.inv_std, other.inv_std)


def actor(body: Any, layer: Any, rows: int, is_trained: bool, num_parts: int) -> Any:
    """An `Actor`, or a `plain.PlainActor`: a body and its output layer, which fit; `num_parts` of its outputs."""
    if isinstance(body, MLP):
        return plain.PlainActor(body, layer, rows, is_trained, num_parts)
    return Actor(body, layer, rows, is_trained)


def critics(body: Any, head: Any, rows: int, is_trained: bool) -> Any:
    """`AdditiveCritics`, or `plain.PlainCritics`: critics that fit."""
    return (plain.PlainCritics if isinstance(body.body, MLP) else AdditiveCritics)(body, head, rows, is_trained)


class Workspace:
    """Memory of bodies that are evaluated once a gradient step by the general way, autograd.

    What a body gives is overwritten by its next evaluation, and so are gradients. Evaluations with gradients and those
    without have memory of their own.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int, bool], Hidden] = {}

    def hidden(self, body: ZoneMLP, rows: int) -> Hidden:
        """A body's layers on so many rows."""
        weights = body.weights_in_order()
        is_trained = torch.is_grad_enabled() and weights[0].requires_grad
        hidden = self.kept.get((id(body), rows, is_trained))
        if hidden is None or hidden.where != [weight.data_ptr() for weight in weights]:
            if len(self.kept) > MOST_KEPT:
                self.kept.clear()
            hidden = self.kept[id(body), rows, is_trained] = Hidden(body, rows, is_trained)
        return hidden


class ZoneOutputs:
    """A `ZoneLinear` on hidden layers.

    Attributes:
        zone, whole: what comes out, (N, parts * per_zone, T) and (N, parts * whole, B), before biases.
        zone_bias, whole_bias: (N, outputs).
        g_zone, g_whole: gradients of what comes out; filled by whoever calls `backward`.
    """

    def __init__(self, layer: ZoneLinear, hidden: Hidden | HiddenAttention, is_trained: bool):
        self.hidden, self.tokens_t, self.mean_t = hidden, hidden.tokens.transpose(1, 2), hidden.mean.transpose(1, 2)
        self.weights = [layer.zone.weight, layer.zone.bias, layer.whole.weight, layer.whole.bias]
        self.wz, self.bz, self.ww, self.bw = (lifted(weight, hidden.is_stacked) for weight in self.weights)
        num, size = hidden.num, hidden.tokens.shape[2]
        self.size, self.num_seen = size, self.wz.shape[2] - size
        self.zone = torch.zeros(num, self.wz.shape[1], hidden.tokens.shape[1])
        self.whole = torch.zeros(num, self.ww.shape[1], hidden.rows)
        self.zone_bias, self.whole_bias = torch.zeros_like(self.bz), torch.zeros_like(self.bw)
        fixed = layer.bias.view(layer.num_parts, -1).split([layer.per_zone, layer.num_whole], 1)
        of_parts = ((self.bz, self.zone_bias), (self.bw, self.whole_bias))
        self.biases = [
            (*(part.view(num, layer.num_parts, -1) for part in parts), more)
            for parts, more in zip(of_parts, fixed, strict=True)
        ]
        self.split = [(w[..., :size], w[..., size:]) for w in (self.wz, self.ww)]
        if is_trained:
            self.g_zone, self.g_whole = torch.zeros_like(self.zone), torch.zeros_like(self.whole)
            self.gradients = [torch.zeros_like(w) for w in (self.wz, self.bz, self.ww, self.bw)]
            self.g_split = [(w[..., :size], w[..., size:]) for w in (self.gradients[0], self.gradients[2])]
            self.g_turned = self.g_zone.transpose(1, 2), self.g_whole.transpose(1, 2)

    def pairs(self) -> Pairs:
        """As `Hidden.pairs`."""
        return zip(self.weights, self.gradients, strict=True)

    def forward(self, read: Prepared) -> None:
        """Fills `zone` and `whole` by what the hidden layers hold."""
        hidden = self.hidden
        self.seen = hidden.zones[..., : self.num_seen]  # a zone's first features
        self.seen_mean = hidden.for_all(read.seen_mean)
        (wz, wz_seen), (ww, ww_seen) = self.split
        torch.bmm(wz, self.tokens_t, out=self.zone)
        self.zone.baddbmm_(wz_seen, self.seen.transpose(1, 2))
        torch.bmm(ww, self.mean_t, out=self.whole)
        self.whole.baddbmm_(ww_seen, self.seen_mean.transpose(1, 2))
        for bias, out, fixed in self.biases:
            torch.add(bias, fixed, out=out)

    def backward(self) -> None:
        """Fills `gradients`, and those of the hidden layers' outputs."""
        hidden, (g_zone, g_whole), (g_wz, g_ww) = self.hidden, self.g_turned, self.g_split
        torch.bmm(g_zone, self.split[0][0], out=hidden.g_tokens)
        torch.bmm(g_whole, self.split[1][0], out=hidden.g_mean)
        torch.bmm(self.g_zone, hidden.tokens, out=g_wz[0])
        torch.bmm(self.g_zone, self.seen, out=g_wz[1])
        torch.bmm(self.g_whole, hidden.mean, out=g_ww[0])
        torch.bmm(self.g_whole, self.seen_mean, out=g_ww[1])
        torch.sum(self.g_zone, -1, out=self.gradients[1])
        torch.sum(self.g_whole, -1, out=self.gradients[3])


class Spread:
    """An action's entries as `ZoneOutputs` has them: of zones (per_zone, T) and of the network (whole, B).

    `worth`, (N, B), is what N critics make of them.
    """

    def __init__(self, layer: ZoneLinear, num: int, rows: int, num_zones: int):
        self.worth = torch.zeros(num, rows)
        per_zone, whole = layer.per_zone, layer.num_whole
        self.zone, self.whole = torch.zeros(per_zone, rows * num_zones), torch.zeros(whole, rows)
        self.arrays = self.zone.numpy(), self.whole.numpy()
        self.of_zones = per_zone * num_zones
        self.shape = (rows, per_zone, num_zones)
        self.places = self.zone.view(per_zone, rows, num_zones).transpose(0, 1), self.whole.t()

    def take(self, action: torch.Tensor) -> None:
        """Takes over actions (B, per zone * Z + whole)."""
        self.places[0].copy_(action[:, : self.of_zones].view(self.shape))
        self.places[1].copy_(action[:, self.of_zones :])

    def joined(self) -> torch.Tensor:
        """(B, per zone * Z + whole)."""
        return torch.cat([self.places[0].flatten(1), self.places[1]], 1)


class Actor:
    """An actor: a body and its `ZoneLinear`, whose outputs are in units before any squashing.

    Args:
        body, layer: which `fits`.
        rows: B.
        is_trained: whether gradients will be asked for.
    """

    def __init__(self, body: ZoneMLP, layer: ZoneLinear, rows: int, is_trained: bool):
        self.hidden = body.hidden(rows, is_trained=is_trained)
        self.outputs = ZoneOutputs(layer, self.hidden, is_trained)
        parts, per_zone, zones = layer.num_parts, layer.per_zone, body.num_zones
        self.num_parts, of_zones = parts, per_zone * zones
        self.raw = torch.zeros(rows, parts, of_zones + layer.num_whole)
        shape = (parts, per_zone, rows, zones)

        def by_row(zone: torch.Tensor, whole: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return zone.view(shape).permute(2, 0, 1, 3), whole.view(parts, -1, rows).permute(2, 0, 1)

        self.places = self.raw[..., :of_zones].unflatten(2, (per_zone, zones)), self.raw[..., of_zones:]
        self.come = by_row(self.outputs.zone, self.outputs.whole)
        self.biases = (
            self.outputs.zone_bias.view(1, parts, per_zone, 1),
            self.outputs.whole_bias.view(1, parts, -1),
        )
        if is_trained:
            self.g_raw = torch.zeros_like(self.raw)
            self.g_places = self.g_raw[..., :of_zones].unflatten(2, (per_zone, zones)), self.g_raw[..., of_zones:]
            self.g_come = by_row(self.outputs.g_zone, self.outputs.g_whole)

    def pairs(self) -> Pairs:
        """As `Hidden.pairs`."""
        yield from self.hidden.pairs()
        yield from self.outputs.pairs()

    def forward(self, read: Prepared) -> Sequence[torch.Tensor]:
        """The outputs, part by part: (B, entries) each; they are overwritten by the next call."""
        self.hidden.forward(read)
        self.outputs.forward(read)
        for come, bias, place in zip(self.come, self.biases, self.places, strict=True):
            torch.add(come, bias, out=place)
        return self.raw.unbind(1)

    def backward(self, *gradients: torch.Tensor) -> None:
        """Fills gradients by those of the outputs, part by part."""
        for k, gradient in enumerate(gradients):
            self.g_raw[:, k].copy_(gradient)
        for come, place in zip(self.g_come, self.g_places, strict=True):
            come.copy_(place)
        self.outputs.backward()
        self.hidden.backward()


class AdditiveCritics:
    """N critics side by side whose values are additive in their own action (`blocks.ActionValues`).

    Args:
        body: `ActionValues` of N critics, whose own body and output layer fit.
        head: their output layer, (N, 1, width + 1).
        rows: B.
        is_trained: whether gradients will be asked for.
    """

    def __init__(self, body: Any, head: Any, rows: int, is_trained: bool):
        self.hidden = body.body.hidden(rows, is_trained=is_trained)
        self.outputs = ZoneOutputs(body.values, self.hidden, is_trained)
        self.weights = [head.weight, head.bias]
        self.w, self.b = head.weight.detach(), head.bias.detach()
        num, zones = self.hidden.num, body.body.num_zones
        self.own = self.w[:, 0, -1:]  # (N, 1), of the action's value
        self.state = torch.zeros(num, rows, 1)
        self.basis = body.basis.centres.numpy(), body.basis.per_width
        self.taken, self.other, self.slopes = (Spread(body.values, num, rows, zones) for _ in range(3))
        outputs = self.outputs
        of_zone, of_whole = (outputs.zone, outputs.zone_bias), (outputs.whole, outputs.whole_bias)
        self.arrays = [[part.numpy() for part in parts] for parts in (of_zone, of_whole)]
        self.scratch = torch.zeros(3, rows * zones).numpy()
        if is_trained:
            self.g_arrays = outputs.g_zone.numpy(), outputs.g_whole.numpy()
            self.g_w, self.g_b = torch.zeros_like(self.w), torch.zeros_like(self.b)

    def pairs(self) -> Pairs:
        """As `Hidden.pairs`."""
        yield from self.hidden.pairs()
        yield from self.outputs.pairs()
        yield from zip(self.weights, (self.g_w, self.g_b), strict=True)

    def forward(self, read: Prepared) -> None:
        """What no action of their own changes."""
        self.hidden.forward(read)
        self.outputs.forward(read)
        size = self.outputs.size
        torch.baddbmm(self.b.unsqueeze(1), self.hidden.mean, self.w[..., :size].transpose(1, 2), out=self.state)
        self.state.baddbmm_(self.outputs.seen_mean, self.w[..., size:-1].transpose(1, 2))

    def rate(self, action: Spread) -> torch.Tensor:
        """Values of actions: (N, B)."""
        action.worth.zero_()
        for (values, bias), entries in zip(self.arrays, action.arrays, strict=True):
            action_kernels.worth(values, bias, entries, *self.basis, self.scratch, action.worth.numpy())
        return torch.addcmul(self.state.squeeze(2), self.own, action.worth)

    def slope(self, action: Spread, weight: torch.Tensor) -> torch.Tensor:
        """The slope of the critics' values by the action, summed over critics with weights (N, B): (B, entries)."""
        scale = (weight * self.own).numpy()
        for (values, bias), entries, out in zip(self.arrays, action.arrays, self.slopes.arrays, strict=True):
            action_kernels.slopes(values, bias, entries, *self.basis, scale, self.scratch, out)
        return self.slopes.joined()

    def backward(self, action: Spread, gradient: torch.Tensor) -> None:
        """Fills gradients by those of the values of actions (N, B) that were rated."""
        scale = (gradient * self.own).numpy()
        for entries, out in zip(action.arrays, self.g_arrays, strict=True):
            action_kernels.worth_back(entries, *self.basis, scale, self.scratch, out)
        self.outputs.backward()
        size, of_row = self.outputs.size, gradient.unsqueeze(1)
        self.hidden.g_mean.baddbmm_(gradient.unsqueeze(2), self.w[..., :size])
        torch.bmm(of_row, self.hidden.mean, out=self.g_w[..., :size])
        torch.bmm(of_row, self.outputs.seen_mean, out=self.g_w[..., size:-1])
        self.g_w[:, 0, -1] = (gradient * action.worth).sum(1)
        torch.sum(gradient, 1, keepdim=True, out=self.g_b)
        self.hidden.backward()
