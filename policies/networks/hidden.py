"""The hidden layers of networks by zones ("zones", see `policies.networks.zones`), with gradients by hand.

What is computed is what `ZoneMLP` says:

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

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable

from policies.networks import kernels

Pairs = Iterator[tuple[torch.Tensor, torch.Tensor]]


def lifted(weight: torch.Tensor, is_stacked: bool) -> torch.Tensor:
    """Without gradients, with an axis of networks in front."""
    return weight.detach() if is_stacked else weight.detach().unsqueeze(0)


class Layer:
    """One hidden layer's memory: what was made of x (N, T, H) and of what is added to all tokens, `more` (N, B, H), and
    gradients. Where a layer has no norm, `tokens` takes the place of x; else x becomes what is normalised.

    Args:
        shape: N, B, Z, H.
        norm: weight and bias, (N, H), and the smallest variance; None without.
    """

    def __init__(self, shape: tuple[int, int, int, int], norm: tuple[Any, Any, float] | None):
        self.shape = num, rows, zones, size = shape
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

    def make_gradients(self) -> None:
        num, rows, _, size = self.shape
        self.g_x = torch.zeros(self.shape)
        self.g_mean, self.g_more = torch.zeros(num, rows, size), torch.zeros(num, rows, size)
        self.g_bias = torch.zeros(num, size)
        self.g_norm = [torch.zeros(num, size) for _ in range(0 if self.norm is None else 2)]
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
    """The hidden layers of a `ZoneMLP` without attention, or of N of them side by side.

    Args:
        body: which `fits_kernels`.
        rows: B.
        is_trained: whether gradients will be asked for; `make_gradients` can make memory for them later.

    Attributes:
        tokens, mean: what comes out, (N, T, H) and (N, B, H).
        g_tokens, g_mean: their gradients; filled by whoever calls `backward`.
    """

    times = 0  # evaluated by `Evaluation`

    def __init__(self, body: Any, rows: int, is_trained: bool):
        self.weights = body.weights_in_order()
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
            Layer((num, rows, zones, size), (*norms[2 * k : 2 * k + 2], body.eps) if has_norm else None)  # type: ignore[arg-type]
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
            self.make_gradients()

    def make_gradients(self) -> None:
        """Those of first layers are got the other way round, which is faster for few inputs, and then copied."""
        for layer in self.layers:
            layer.make_gradients()
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
        if self.of_cases:
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

    def forward(self, read: Any) -> None:
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


class Evaluation(torch.autograd.Function):
    """(`Hidden` or `attending.HiddenAttention`, what was prepared of B rows, its weights in order) -> (zones' tokens
    (N, B, Z, H), and what is of the whole network (N, B, H)).

    What comes out lies in the layers' memory, so it is overwritten by the next evaluation in the same.
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, read: Any, *weights: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        hidden.forward(read)
        hidden.times += 1
        ctx.hidden, ctx.times = hidden, hidden.times
        ctx.set_materialize_grads(False)
        tokens, mean = hidden.tokens, hidden.mean
        shape = (len(tokens), hidden.rows, tokens.shape[1] // hidden.rows, tokens.shape[2])
        return tokens.view(shape), mean.view(mean.shape)  # views: what comes out must not hold what holds it

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_tokens: torch.Tensor | None, g_mean: torch.Tensor | None) -> tuple[Any, ...]:
        hidden = ctx.hidden
        if hidden.times != ctx.times:
            raise RuntimeError("a body was evaluated again before its gradients were taken: its memory is overwritten")
        if not hasattr(hidden, "g_tokens"):
            hidden.make_gradients()
        for own, given in ((hidden.g_tokens, g_tokens), (hidden.g_mean, g_mean)):
            if given is None:
                own.zero_()
            else:
                own.copy_(given.view(own.shape))
        hidden.backward()
        return (None, None, *(g if hidden.is_stacked else g[0] for g in hidden.gradients))
