"""Networks "mlp" (`policies.networks.blocks.MLP`) on the rows of one gradient step, forth and back, in memory that is
kept from step to step: what `policies.networks.passes` has for networks by zones.

Layers are those of `policies.networks.hidden`, with one token a row. Actions in the basis of hat functions are read by
`policies.networks.hat_kernels`. Shapes: N networks side by side (1 of one that is not stacked), B rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from policies.networks import hat_kernels
from policies.networks.blocks import MLP, GroupedLinear, PreparedMLP
from policies.networks.hidden import Layer, Pairs, lifted


def fits(body: Any, layer: Any = None) -> bool:
    """Whether the passes compute what that body does, and the output layer on it."""
    return isinstance(body, MLP) and body.uses_kernels and (layer is None or Outputs.has_form(layer))


class HiddenMLP:
    """The hidden layers of an `MLP` without memory, or of N of them side by side.

    Args:
        body: which `fits`.
        rows: B.
        is_trained: whether gradients will be asked for.

    Attributes:
        features: what comes out, (N, B, H).
        g_features: its gradient; filled by whoever calls `backward`.
    """

    def __init__(self, body: MLP, rows: int, is_trained: bool):
        linear = [layer for layer in body.layers if isinstance(layer, nn.Linear)]
        norms = [layer for layer in body.layers if isinstance(layer, nn.LayerNorm)]
        self.weights: list[torch.Tensor] = [part for layer in (*linear, *norms) for part in layer.parameters()]
        self.is_stacked, self.rows = linear[0].weight.dim() == 3, rows
        of = [[lifted(part, self.is_stacked) for part in (layer.weight, layer.bias)] for layer in linear]
        eps, (self.w, self.b) = body.eps, zip(*of, strict=True)
        scales = [(lifted(norm.weight, self.is_stacked), lifted(norm.bias, self.is_stacked)) for norm in norms]
        self.num, self.size = len(self.w[0]), self.w[-1].shape[1]
        self.layers = [
            Layer((self.num, rows, 1, w.shape[1]), None if eps is None else (*scales[k], eps))
            for k, w in enumerate(self.w)
        ]
        for layer, b in zip(self.layers, self.b, strict=True):
            layer.arrays[2] = b.numpy()
        self.features = self.layers[-1].tokens
        self.split = body.obs_dim
        self.turned = [w.transpose(1, 2) for w in (self.w[0][..., : self.split], *self.w[1:])]
        self.has_hats = self.split < self.w[0].shape[2]
        if self.has_hats:
            assert body.basis is not None
            points = len(body.basis.centres)
            self.of_hats = torch.zeros(self.num, self.w[0].shape[2] - self.split, self.w[0].shape[1])
            self.basis = (0, points, 1, body.basis.centres.numpy(), body.basis.per_width)
        if is_trained:
            self._make_gradients()

    def _make_gradients(self) -> None:
        for layer in self.layers:
            layer.make_gradients()
        self.g_features = self.layers[-1].g_x
        self.g_w = [torch.zeros_like(w) for w in self.w]
        of = zip(self.g_w, self.layers, strict=True)
        self.gradients = [part for g_w, layer in of for part in (g_w, layer.g_bias)]
        for layer in self.layers:
            self.gradients += layer.g_norm
        if self.has_hats:
            self.g_of_hats = torch.zeros_like(self.of_hats)

    def pairs(self) -> Pairs:
        """(weight, its gradient), the gradient with the axis of networks."""
        return zip(self.weights, self.gradients, strict=True)

    def forward(self, read: PreparedMLP) -> None:
        """Fills `features` by what was prepared of B rows."""
        x = self.seen = read.inputs.expand(self.num, -1, -1)
        for k, layer in enumerate(self.layers):
            if k == 0 and self.has_hats:
                self.of_hats.copy_(self.w[0][..., self.split :].transpose(1, 2))
                self.acted = read.acted.numpy()
                hat_kernels.read(self.acted, self.of_hats.numpy(), *self.basis, layer.arrays[1])
            else:
                layer.more.zero_()
            torch.bmm(x, self.turned[k], out=layer.x)
            layer.activate()
            x = layer.tokens

    def backward(self) -> None:
        """Fills `gradients` by that of `features`, which is lost."""
        for k in range(len(self.layers) - 1, 0, -1):
            layer, before = self.layers[k], self.layers[k - 1]
            layer.activate_back()
            torch.bmm(layer.g_x_t, before.tokens, out=self.g_w[k])
            torch.bmm(layer.g_x, self.w[k], out=before.g_x)
        layer, g_w = self.layers[0], self.g_w[0]
        layer.activate_back()
        g_w[..., : self.split] = torch.bmm(layer.g_x_t, self.seen)
        if self.has_hats:
            self.g_of_hats.zero_()
            hat_kernels.read_back(self.acted, layer.g_x.numpy(), *self.basis, self.g_of_hats.numpy())
            g_w[..., self.split :] = self.g_of_hats.transpose(1, 2)


class Outputs:
    """A `Linear` or a `GroupedLinear` on one network's features, as one product.

    Attributes:
        raw, g_raw: what comes out and its gradient, (B, outputs).
    """

    def __init__(self, layer: Any, rows: int, is_trained: bool):
        self.layer, self.is_grouped = layer, isinstance(layer, GroupedLinear)
        parts = (layer.own, layer.shared) if self.is_grouped else (layer,)
        self.weights = [weight for part in parts for weight in (part.weight, part.bias)]
        own, bias, *shared = (weight.detach() for weight in self.weights)
        self.w = torch.zeros_like(own) if self.is_grouped else own
        self.b = torch.zeros_like(bias) if self.is_grouped else bias
        self.raw = torch.zeros(rows, len(own))
        if self.is_grouped:
            # The number of the shared output of each of those that share one.
            groups, num_shared = layer.place, len(shared[1]) // layer.num_parts
            part_of, self.own, self.shared = groups // (num_shared + 1), (own, bias), shared
            (self.sharing,) = torch.nonzero(groups % (num_shared + 1) < num_shared, as_tuple=True)
            self.place = (groups - part_of)[self.sharing]
        if is_trained:
            self.g_raw = torch.zeros_like(self.raw)
            self.g_w, self.g_b = torch.zeros_like(self.w), torch.zeros_like(self.b)
            of = [torch.zeros_like(weight) for weight in self.weights]
            self.gradients = of if self.is_grouped else [self.g_w, self.g_b]

    @staticmethod
    def has_form(layer: Any) -> bool:
        """Whether it is such a layer."""
        return isinstance(layer, nn.Linear | GroupedLinear)

    def pairs(self) -> Pairs:
        """As `HiddenMLP.pairs`, without the axis."""
        return zip(self.weights, self.gradients, strict=True)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Of (B, H): `raw`, which the next call overwrites."""
        weight, bias = self.composed()
        return torch.addmm(bias, features, weight.t(), out=self.raw)

    def composed(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The product's weight and bias, by the weights as they are; the next call overwrites them."""
        if self.is_grouped:
            torch.mul(self.own[0], self.layer.scale.unsqueeze(1), out=self.w)
            torch.addcmul(self.layer.bias, self.own[1], self.layer.scale, out=self.b)
            self.w.index_add_(0, self.sharing, self.shared[0][self.place])
            self.b.index_add_(0, self.sharing, self.shared[1][self.place])
        return self.w, self.b

    def backward(self, features: torch.Tensor, g_features: torch.Tensor) -> None:
        """Fills `gradients` by `g_raw`, and that of the features."""
        torch.mm(self.g_raw, self.w, out=g_features)
        torch.mm(self.g_raw.t(), features, out=self.g_w)
        torch.sum(self.g_raw, 0, out=self.g_b)
        if not self.is_grouped:
            return
        (g_own, g_bias, *g_shared), scale = self.gradients, self.layer.scale
        torch.mul(self.g_w, scale.unsqueeze(1), out=g_own)
        torch.mul(self.g_b, scale, out=g_bias)
        for g, of_all in zip(g_shared, (self.g_w, self.g_b), strict=True):
            g.zero_().index_add_(0, self.place, of_all[self.sharing])


class PlainActor:
    """An actor whose body and output layer fit: as `policies.networks.passes.Actor`."""

    def __init__(self, body: MLP, layer: Any, rows: int, is_trained: bool, num_parts: int):
        self.hidden, self.num_parts = HiddenMLP(body, rows, is_trained), num_parts
        self.outputs = Outputs(layer, rows, is_trained)

    def pairs(self) -> Pairs:
        yield from self.hidden.pairs()
        yield from ((weight, gradient.unsqueeze(0)) for weight, gradient in self.outputs.pairs())

    def forward(self, read: PreparedMLP) -> Sequence[torch.Tensor]:
        self.hidden.forward(read)
        return self.outputs.forward(self.hidden.features[0]).chunk(self.num_parts, 1)

    def backward(self, *gradients: torch.Tensor) -> None:
        torch.cat(gradients, 1, out=self.outputs.g_raw)
        self.outputs.backward(self.hidden.features[0], self.hidden.g_features[0])
        self.hidden.backward()


class Rated:
    """Actions (B, E) that N critics rate, and what they make of them."""

    def __init__(self, num: int, rows: int, size: int):
        self.mixed, self.mixed_bias = torch.zeros(num, rows, size), torch.zeros(num, rows, 1)
        self.worth = torch.zeros(num, rows)

    def take(self, action: torch.Tensor) -> None:
        self.action = action.contiguous().numpy()


class PlainCritics:
    """N critics side by side whose values are additive in their own action: as `passes.AdditiveCritics`.

    Values count from their mean over points: weights are counted from theirs, then, and so are their gradients.
    """

    def __init__(self, body: Any, head: Any, rows: int, is_trained: bool):
        self.hidden = HiddenMLP(body.body, rows, is_trained)
        self.weights = [body.values.weight, body.values.bias, head.weight, head.bias]
        values, bias, self.w, self.b = (weight.detach() for weight in self.weights)
        num, size, entries = self.hidden.num, self.hidden.size, body.action_dim
        by_point = (num, len(body.basis.centres), entries, -1)
        self.values, self.bias = values.view(by_point), bias.view(by_point)
        self.centred, self.centred_bias = torch.zeros_like(values), torch.zeros(num, bias.shape[1], 1)
        self.basis = (1, entries, body.basis.centres.numpy(), body.basis.per_width)
        self.own = self.w[:, 0, -1:]  # (N, 1), of the action's value
        self.state, self.slopes = torch.zeros(num, rows, 1), torch.zeros(rows, entries)
        self.taken, self.other = (Rated(num, rows, size) for _ in range(2))
        if is_trained:
            self.gradients = [torch.zeros_like(weight) for weight in self.weights]
            self.g_values, self.g_bias = (g.view(by_point) for g in self.gradients[:2])
            self.g_mixed = torch.zeros(num, rows, size)

    def pairs(self) -> Pairs:
        yield from self.hidden.pairs()
        yield from zip(self.weights, self.gradients, strict=True)

    def forward(self, read: PreparedMLP) -> None:
        """What no action of their own changes."""
        self.hidden.forward(read)
        torch.baddbmm(self.b.unsqueeze(1), self.hidden.features, self.w[..., :-1].transpose(1, 2), out=self.state)
        for values, centred in ((self.values, self.centred), (self.bias, self.centred_bias)):
            torch.sub(values, values.mean(1, keepdim=True), out=centred.view(values.shape))

    def rate(self, rated: Rated) -> torch.Tensor:
        """Values of actions: (N, B)."""
        for weight, mixed in ((self.centred, rated.mixed), (self.centred_bias, rated.mixed_bias)):
            hat_kernels.read(rated.action, weight.numpy(), 0, *self.basis, mixed.numpy())
        parts = (self.hidden.features, rated.mixed, rated.mixed_bias, rated.worth)
        hat_kernels.worth(*(part.numpy() for part in parts))
        return torch.addcmul(self.state.squeeze(2), self.own, rated.worth)

    def slope(self, rated: Rated, weight: torch.Tensor) -> torch.Tensor:
        """The slope of the critics' values by the action, summed over critics with weights (N, B): (B, entries)."""
        of = (self.centred.numpy(), self.centred_bias.numpy(), *self.basis, (weight * self.own).numpy())
        hat_kernels.slopes(self.hidden.features.numpy(), rated.action, *of, self.slopes.numpy())
        return self.slopes

    def backward(self, rated: Rated, gradient: torch.Tensor) -> None:
        """Fills gradients by those of the values of actions (N, B) that were rated."""
        features, g_features = self.hidden.features, self.hidden.g_features
        of_worth = (gradient * self.own).unsqueeze(2)
        torch.mul(features, of_worth, out=self.g_mixed)
        for g, by_point, of_mixed in zip(
            self.gradients, (self.g_values, self.g_bias), (self.g_mixed, of_worth), strict=False
        ):
            g.zero_()
            rows = g.view(len(g), g.shape[1], -1).numpy()
            hat_kernels.read_back(rated.action, of_mixed.numpy(), 0, *self.basis, rows)
            by_point -= by_point.mean(1, keepdim=True)
        torch.mul(rated.mixed, of_worth, out=g_features)
        g_features.baddbmm_(gradient.unsqueeze(2), self.w[..., :-1])
        g_w, g_b = self.gradients[2:]
        g_w[..., :-1] = torch.bmm(gradient.unsqueeze(1), features)
        g_w[:, 0, -1] = (gradient * rated.worth).sum(1)
        torch.sum(gradient, 1, keepdim=True, out=g_b)
        self.hidden.backward()
