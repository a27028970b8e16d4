"""Networks by zones on the rows of one gradient step, forth and back, in memory that is kept from step to step.

What is computed is what `policies.networks.zones` says, with gradients by hand:

    case     = mean over cases of relu(cases Wc + bc)
    more_0   = [context, case] Wx + bx + bz,   x_0 = zones Wz
    more_k   = mean_(k-1) Wm_k + bd_k,         x_k = tokens_(k-1) Wd_k
    tokens_k = relu(norm_k(x_k + more_k)),     mean_k = mean over zones of tokens_k

A step of this size is a hundred small matrix products: results in new memory, autograd's records of them and views made
on the way cost as much as the products. Here products write where the last step's results were, and
`policies.networks.kernels` does all between two of them. Learners use it on CPUs; whoever acts, traces or exports a
network goes by `ZoneMLP`. Shapes: N networks side by side (1 of one that is not stacked), B rows, Z zones, T = B * Z
tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch

from policies.networks import action_kernels, kernels
from policies.networks.attending import HiddenAttention
from policies.networks.zones import Prepared, ZoneLinear, ZoneMLP

MOST_KEPT = 16  # bodies, by numbers of rows: those of a learner are few
Pairs = Iterator[tuple[torch.Tensor, torch.Tensor]]


def fits(body: Any, layer: Any = None) -> bool:
    """Whether the passes compute what that body does, and the output layer on it."""
    is_of_zones = layer is None or (isinstance(layer, ZoneLinear) and layer.deviation == 1.0)
    return isinstance(body, ZoneMLP) and body.uses_kernels and is_of_zones


def read_alike(one: Any, other: Any) -> bool:
    """Whether what is prepared for one body holds for the other too."""
    if not (isinstance(one, ZoneMLP) and isinstance(other, ZoneMLP)) or one.uses_kernels != other.uses_kernels:
        return False
    a, b = one.embedding, other.embedding
    if a.memory is not None or b.memory is not None or a.groups or b.groups:
        return False
    are_same = a.tokens is b.tokens and a.attends == b.attends
    return are_same and torch.equal(a.norm.mean, b.norm.mean) and torch.equal(a.norm.inv_std, b.norm.inv_std)


def lifted(weight: torch.Tensor, is_stacked: bool) -> torch.Tensor:
    """Without gradients, with an axis of networks in front."""
    return weight.detach() if is_stacked else weight.detach().unsqueeze(0)


class Layer:
    """One hidden layer's memory: what was made of x (N, T, H) and of what is added to all tokens, `more` (N, B, H), and
    gradients. Where a layer has no norm, `tokens` takes the place of x; else x becomes what is normalised.

    Args:
        shape: N, B, Z, H.
        norm: weight and bias, (N, H), and the smallest variance; None without.
        is_trained: whether gradients will be asked for.
    """

    def __init__(self, shape: tuple[int, int, int, int], norm: tuple[Any, Any, float] | None, is_trained: bool):
        num, rows, zones, size = shape
        every, of_row = torch.zeros(shape), torch.zeros(num, rows, size)
        self.x, self.more, self.mean = every, of_row, torch.zeros_like(of_row)
        self.tokens = self.x if norm is None else torch.zeros_like(every)
        self.bias = torch.zeros(num, size)
        arrays = [part.numpy() for part in (self.x, self.more, self.bias, self.mean)]
        self.norm = norm
        if norm is not None:
            self.scales = torch.zeros(num, rows, zones)
            arrays += [part.numpy() for part in (norm[0], norm[1], self.tokens, self.scales)]
        self.arrays = arrays
        self.x, self.tokens = self.x.flatten(1, 2), self.tokens.flatten(1, 2)
        if is_trained:
            self.g_x, self.g_mean, self.g_more = torch.zeros(shape), torch.zeros_like(of_row), torch.zeros_like(of_row)
            self.g_bias = torch.zeros(num, size)
            self.g_norm = [torch.zeros(num, size) for _ in range(0 if norm is None else 2)]
            parts = (self.g_x, self.g_mean, self.g_more, self.g_bias, *self.g_norm)
            self.g_arrays = [part.numpy() for part in parts]
            self.g_x = self.g_x.flatten(1, 2)
            self.g_x_t, self.g_more_t = self.g_x.transpose(1, 2), self.g_more.transpose(1, 2)

    def activate(self) -> None:
        if self.norm is None:
            kernels.rectify(*self.arrays)
        else:
            kernels.normalise(*self.arrays, self.norm[2])

    def activate_back(self) -> None:
        """Makes the gradients of tokens, in `g_x`, those of x; fills the others by them and `g_mean`."""
        if self.norm is None:
            kernels.rectify_back(self.arrays[0], *self.g_arrays)
        else:
            x, weight, tokens, scales = (self.arrays[k] for k in (0, 4, 6, 7))
            kernels.normalise_back(x, weight, tokens, scales, *self.g_arrays)


class Hidden:
    """The hidden layers of a `ZoneMLP`, or of N of them side by side.

    Args:
        body: which `fits`.
        rows: B.
        is_trained: whether gradients will be asked for.

    Attributes:
        tokens, mean: what comes out, (N, T, H) and (N, B, H).
        g_tokens, g_mean: their gradients; filled by whoever calls `backward`.
    """

    def __init__(self, body: ZoneMLP, rows: int, is_trained: bool):
        self.weights = body.weights_in_order()
        self.times = 0  # evaluated by autograd
        self.where = [weight.data_ptr() for weight in self.weights]
        self.is_stacked = self.weights[0].dim() == 3
        weights, has_norm = [lifted(weight, self.is_stacked) for weight in self.weights], body.eps is not None
        self.of_cases, weights = (weights[:2], weights[2:]) if body.has_cases else ([], weights)
        self.first, weights = weights[:4], weights[4:]
        num_deeper = (len(weights) - 2) // 5 if has_norm else len(weights) // 3
        self.deeper = [weights[3 * k : 3 * k + 3] for k in range(num_deeper)]
        norms = weights[3 * num_deeper :]
        num, zones = len(self.first[0]), body.num_zones
        self.num, self.rows = num, rows
        sizes = [self.first[2].shape[1], *(wd.shape[1] for wd, _, _ in self.deeper)]
        self.layers = [
            Layer((num, rows, zones, size), (*norms[2 * k : 2 * k + 2], body.eps) if has_norm else None, is_trained)  # type: ignore[arg-type]
            for k, size in enumerate(sizes)
        ]
        for layer, (_, bd, _) in zip(self.layers[1:], self.deeper, strict=True):
            layer.arrays[2] = bd.numpy()
        self.tokens, self.mean = self.layers[-1].tokens, self.layers[-1].mean
        wx, wz = self.first[0], self.first[2]
        self.split = wx.shape[2] - sizes[0] * body.has_cases
        self.w_case = wx[..., self.split :]
        self.turned = [w.transpose(1, 2) for w in (wx[..., : self.split], wz, self.w_case, *self.of_cases[:1])]
        self.turned_deeper = [(wd.transpose(1, 2), wm.transpose(1, 2)) for wd, _, wm in self.deeper]
        if body.has_cases:
            num_cases = len(body.tokens.cases)
            self.case_x, self.case = torch.zeros(num, rows, num_cases, sizes[0]), torch.zeros(num, rows, sizes[0])
            self.case_arrays = [part.numpy() for part in (self.case_x, self.of_cases[1], self.case)]
            self.case_x, self.case_t = self.case_x.flatten(1, 2), self.case.transpose(1, 2)
        if is_trained:
            self._make_gradients(body.has_cases)

    def _make_gradients(self, has_cases: bool) -> None:
        """Those of first layers are got the other way round, which is faster for few inputs, and then copied."""
        self.g_tokens, self.g_mean = self.layers[-1].g_x, self.layers[-1].g_mean
        wx, _, wz, _ = self.first
        self.g_first = [torch.zeros(w.shape[0], w.shape[2], w.shape[1]) for w in (wx, wz, *self.of_cases[:1])]
        self.g_first_weights = [torch.zeros(w.shape) for w in (wx, wz, *self.of_cases[:1])]
        self.g_first_turned = [w.transpose(1, 2) for w in self.g_first]
        self.g_split = self.g_first[0][:, : self.split], self.g_first[0][:, self.split :]
        self.g_deeper = [(torch.zeros(wd.shape), torch.zeros(wm.shape)) for wd, _, wm in self.deeper]
        self.g_zone_bias = torch.zeros_like(self.layers[0].g_bias)  # the same numbers, but clipped on their own
        of_context, of_zones = self.g_first_weights[:2]
        self.gradients = [of_context, self.layers[0].g_bias, of_zones, self.g_zone_bias]
        if has_cases:
            self.g_case_x, self.g_case = torch.zeros_like(self.case_x), torch.zeros_like(self.case)
            self.g_case_bias = torch.zeros(self.of_cases[1].shape)
            g_case_x = self.g_case_x.unflatten(1, (self.rows, -1))
            self.g_case_arrays = [part.numpy() for part in (self.g_case, g_case_x, self.g_case_bias)]
            self.gradients = [self.g_first_weights[2], self.g_case_bias, *self.gradients]
        for layer, (g_wd, g_wm) in zip(self.layers[1:], self.g_deeper, strict=True):
            self.gradients += [g_wd, layer.g_bias, g_wm]
        for layer in self.layers:
            self.gradients += layer.g_norm

    def pairs(self) -> Pairs:
        """(weight, its gradient), the gradient with the axis of networks."""
        return zip(self.weights, self.gradients, strict=True)

    def forward(self, read: Prepared) -> None:
        """Fills `tokens` and `mean` by what was prepared of B rows."""
        self.zones, self.context = self.for_all(read.zones.flatten(0, 1)), self.for_all(read.context)
        layer, (of_context, of_zones, of_case, *of_cases) = self.layers[0], self.turned
        torch.bmm(self.context, of_context, out=layer.more)
        if of_cases:
            self.cases = self.for_all(read.cases.flatten(0, 1))
            torch.bmm(self.cases, of_cases[0], out=self.case_x)
            kernels.mean_of_cases(*self.case_arrays)
            layer.more.baddbmm_(self.case, of_case)
        torch.bmm(self.zones, of_zones, out=layer.x)
        torch.add(self.first[1], self.first[3], out=layer.bias)
        layer.activate()
        for (wd, wm), layer, before in zip(self.turned_deeper, self.layers[1:], self.layers, strict=False):
            torch.bmm(before.tokens, wd, out=layer.x)
            torch.bmm(before.mean, wm, out=layer.more)
            layer.activate()

    def for_all(self, x: torch.Tensor) -> torch.Tensor:
        """What all networks read, with their axis in front."""
        return x.expand(self.num, -1, -1)

    def backward(self) -> None:
        """Fills `gradients` by those of what came out; these are lost."""
        for k in range(len(self.deeper), 0, -1):
            layer, before, (wd, _, wm), (g_wd, g_wm) = self.layers[k], self.layers[k - 1], *self._deeper(k)
            layer.activate_back()
            torch.bmm(layer.g_x_t, before.tokens, out=g_wd)
            torch.bmm(layer.g_more_t, before.mean, out=g_wm)
            torch.bmm(layer.g_x, wd, out=before.g_x)
            torch.bmm(layer.g_more, wm, out=before.g_mean)
        layer = self.layers[0]
        layer.activate_back()
        torch.bmm(self.context.transpose(1, 2), layer.g_more, out=self.g_split[0])
        torch.bmm(self.zones.transpose(1, 2), layer.g_x, out=self.g_first[1])
        if self.of_cases:
            torch.bmm(self.case_t, layer.g_more, out=self.g_split[1])
            torch.bmm(layer.g_more, self.w_case, out=self.g_case)
            kernels.mean_of_cases_back(*self.case_arrays[:2], *self.g_case_arrays)
            torch.bmm(self.cases.transpose(1, 2), self.g_case_x, out=self.g_first[2])
        self.g_zone_bias.copy_(layer.g_bias)
        for gradient, turned in zip(self.g_first_weights, self.g_first_turned, strict=True):
            gradient.copy_(turned)

    def _deeper(self, k: int) -> tuple[Any, Any]:
        return self.deeper[k - 1], self.g_deeper[k - 1]


class Workspace:
    """Memory of bodies that are evaluated once a gradient step by the general way, autograd.

    What a body gives is overwritten by its next evaluation, and so are gradients. Evaluations with gradients and those
    without have memory of their own.
    """

    def __init__(self) -> None:
        self.kept: dict[tuple[int, int, bool], Hidden] = {}

    def evaluate(self, body: ZoneMLP, read: Prepared) -> tuple[torch.Tensor, torch.Tensor]:
        """Tokens of the last layer (N, B, Z, H) and their mean (N, B, H)."""
        weights, rows = body.weights_in_order(), len(read)
        is_trained = torch.is_grad_enabled() and weights[0].requires_grad
        hidden = self.kept.get((id(body), rows, is_trained))
        if hidden is None or hidden.where != [weight.data_ptr() for weight in weights]:
            if len(self.kept) > MOST_KEPT:
                self.kept.clear()
            hidden = self.kept[id(body), rows, is_trained] = Hidden(body, rows, is_trained)
        found: tuple[torch.Tensor, torch.Tensor] = _Kept.apply(hidden, read, *weights)
        return found


class _Kept(torch.autograd.Function):
    """(hidden layers, what they read, weights...) -> as `Workspace.evaluate`."""

    @staticmethod
    def forward(ctx: Any, hidden: Hidden, read: Prepared, *weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden.forward(read)
        hidden.times += 1
        ctx.hidden, ctx.times = hidden, hidden.times
        ctx.set_materialize_grads(False)
        return hidden.tokens.unflatten(1, (hidden.rows, -1)), hidden.mean.view(hidden.mean.shape)

    @staticmethod
    def backward(ctx: Any, g_tokens: torch.Tensor | None, g_mean: torch.Tensor | None) -> tuple[Any, ...]:
        hidden = ctx.hidden
        if hidden.times != ctx.times:
            raise RuntimeError("a body was evaluated again before its gradients were taken: its memory is overwritten")
        for own, given in ((hidden.g_tokens, g_tokens), (hidden.g_mean, g_mean)):
            if given is None:
                own.zero_()
            else:
                own.copy_(given.view(own.shape))
        hidden.backward()
        return (None, None, *(g if hidden.is_stacked else g[0] for g in hidden.gradients))


def hidden_of(body: ZoneMLP, rows: int, is_trained: bool) -> Hidden | HiddenAttention:
    """The hidden layers of a body that `fits`, as its encoder has them."""
    return (HiddenAttention if body.attends else Hidden)(body, rows, is_trained)


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
        self.hidden = hidden_of(body, rows, is_trained)
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
        self.hidden = hidden_of(body.body, rows, is_trained)
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
