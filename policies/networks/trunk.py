"""The hidden layers of a network by zones ("zones", see `policies.networks.zones`), with gradients by hand.

What is computed is what `ZoneMLP` says; here are the matrix products, and `policies.networks.kernels` does what is
between them. Learners use it on CPUs; whoever acts, traces or exports a network goes by `ZoneMLP` itself.

    case     = mean over cases of relu(cases Wc + bc)
    more_0   = [context, case] Wx + bx,        x_0 = zones Wz + bz
    more_k   = mean_(k-1) Wm_k,                x_k = tokens_(k-1) Wd_k + bd_k
    tokens_k = relu(norm_k(x_k + more_k)),     mean_k = mean over zones of tokens_k
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from policies.networks import kernels


class Layer(NamedTuple):
    """One layer's passes, kept for its gradients."""

    x: torch.Tensor
    more: torch.Tensor
    tokens: torch.Tensor
    mean: torch.Tensor
    stats: torch.Tensor


def product(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """x W^T + b of N networks: (N or 1, R, in), (N, out, in) and (N, out) to (N, R, out)."""
    x, weight = x.expand(len(weight), -1, -1), weight.transpose(1, 2)
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias.unsqueeze(1), x, weight)


def of_weight(gradient: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """The gradient of W in `product` by that of its result."""
    return torch.bmm(gradient.transpose(1, 2), x.expand(len(gradient), -1, -1))


class Trunk(torch.autograd.Function):
    """(zones (B, Z, F), context (B, F), cases (B, C, F) or None, eps of norms or None, weights...) -> (tokens
    (N, B, Z, H), their mean (N, B, H)).

    Weights have an axis of networks in front, in this order: Wc, bc if there are cases; Wx, bx, Wz, bz; Wd, bd, Wm of
    each further layer; weight and bias of each norm, of which there are as many as layers.
    """

    @staticmethod
    def forward(
        ctx: Any,
        zones: torch.Tensor,
        context: torch.Tensor,
        cases: torch.Tensor | None,
        eps: float | None,
        *weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        of_cases, (wx, bx, wz, bz), deeper, norms = _apart(weights, cases is not None, eps is not None)
        rows, num_zones, num = len(zones), zones.shape[1], len(wz)
        case_x = case = None
        more = product(context.unsqueeze(0), wx[..., : context.shape[1]], bx)
        if cases is not None:
            case_x = product(cases.flatten(0, 1).unsqueeze(0), *of_cases).view(num, rows, cases.shape[1], -1)
            case = case_x.new_empty(num, rows, case_x.shape[-1])
            kernels.mean_of_relu(case_x.numpy(), case.numpy())
            more = torch.baddbmm(more, case, wx[..., context.shape[1] :].transpose(1, 2))
        x = product(zones.flatten(0, 1).unsqueeze(0), wz, bz)
        layers: list[Layer] = []
        for k in range(len(deeper) + 1):
            if k:
                wd, bd, wm = deeper[k - 1]
                x, more = product(layers[-1].tokens.flatten(1, 2), wd, bd), product(layers[-1].mean, wm)
            layers.append(_activated(x.view(num, rows, num_zones, -1), more, norms[2 * k : 2 * k + 2], eps))
        # What is put out must not hang on to what holds it: PyTorch keeps such tensors apart.
        kept = [zones, context, cases, case_x, case, wx, *norms, *(w for layer in deeper for w in layer)]
        ctx.save_for_backward(*kept, *(part for layer in layers for part in layer))
        ctx.sizes, ctx.eps = (len(norms), len(deeper)), eps
        ctx.set_materialize_grads(False)
        return layers[-1].tokens, layers[-1].mean

    @staticmethod
    def backward(ctx: Any, g_tokens: torch.Tensor | None, g_mean: torch.Tensor | None) -> tuple[Any, ...]:
        saved = _Saved(ctx)
        zones, context, cases = saved.inputs
        of_deeper: list[torch.Tensor] = []
        of_norms: list[torch.Tensor] = []
        for k in range(len(saved.layers) - 1, -1, -1):
            g_x, g_more, of_norm = _back(saved, k, g_tokens, g_mean)
            of_norms = [*of_norm, *of_norms]
            g_bias = g_more.sum(1)
            if k:
                (wd, _, wm), before = saved.deeper[k - 1], saved.layers[k - 1]
                own = [of_weight(g_x, before.tokens.flatten(1, 2)), g_bias, of_weight(g_more, before.mean)]
                of_deeper = [*own, *of_deeper]
                g_tokens = torch.bmm(g_x, wd).view(before.tokens.shape)
                g_mean = torch.bmm(g_more, wm)
        of_context = of_weight(g_more, context.unsqueeze(0))
        found: list[torch.Tensor] = []
        if cases is not None:
            case_x, case = saved.of_cases
            g_case = torch.bmm(g_more, saved.first[..., context.shape[1] :])
            g_case_x = torch.empty_like(case_x)
            kernels.mean_of_relu_back(case_x.numpy(), g_case.numpy(), g_case_x.numpy())
            g_case_x = g_case_x.flatten(1, 2)
            found = [of_weight(g_case_x, cases.flatten(0, 1).unsqueeze(0)), g_case_x.sum(1)]
            of_context = torch.cat([of_context, of_weight(g_more, case)], -1)
        found += [of_context, g_bias, of_weight(g_x, zones.flatten(0, 1).unsqueeze(0)), g_bias.clone()]
        return (None, None, None, None, *found, *of_deeper, *of_norms)


def _apart(weights: Sequence[torch.Tensor], has_cases: bool, has_norm: bool) -> tuple[Any, ...]:
    """Weights of cases, of the first layer, of each further one, and of norms."""
    left = [weight.detach() for weight in weights]
    of_cases, left = (left[:2], left[2:]) if has_cases else ([], left)
    first, left = left[:4], left[4:]
    num_deeper = (len(left) - 2) // 5 if has_norm else len(left) // 3
    return of_cases, first, [left[3 * k : 3 * k + 3] for k in range(num_deeper)], left[3 * num_deeper :]


def _activated(x: torch.Tensor, more: torch.Tensor, norm: Sequence[torch.Tensor], eps: float | None) -> Layer:
    """The layer of x (N, B, Z, H), and what is added to all tokens (N, B, H); `norm` [] and `eps` None without one."""
    layer = Layer(x, more, torch.empty_like(x), torch.empty_like(more), x.new_empty(*x.shape[:3], 2))
    weight, bias = (part.numpy() for part in norm or (more[:, 0].contiguous(),) * 2)
    filled = (part.numpy() for part in layer[2:])
    kernels.activate(x.numpy(), more.numpy(), weight, bias, eps or 0.0, eps is not None, *filled)
    return layer


class _Saved:
    """What `Trunk.forward` kept, by its parts."""

    def __init__(self, ctx: Any):
        (num_norms, num_deeper), self.eps = ctx.sizes, ctx.eps
        left = list(ctx.saved_tensors)
        self.inputs, self.of_cases, self.first, left = left[:3], left[3:5], left[5], left[6:]
        self.norms, left = left[:num_norms], left[num_norms:]
        self.deeper = [left[3 * k : 3 * k + 3] for k in range(num_deeper)]
        left = left[3 * num_deeper :]
        self.layers = [Layer(*left[5 * k : 5 * k + 5]) for k in range(num_deeper + 1)]


def _back(saved: _Saved, k: int, g_tokens: torch.Tensor | None, g_mean: torch.Tensor | None) -> tuple[Any, ...]:
    """Gradients of layer k: of x (N, B * Z, H), of what is added to all tokens (N, B, H), and of its norm."""
    layer, eps = saved.layers[k], saved.eps
    g_x = torch.zeros_like(layer.x) if g_tokens is None else g_tokens.contiguous()
    if g_tokens is not None and g_x.data_ptr() == g_tokens.data_ptr() and k == len(saved.layers) - 1:
        g_x = g_x.clone()  # what came in belongs to whoever gave it
    g_mean = torch.zeros_like(layer.mean) if g_mean is None else g_mean.contiguous()
    weight = saved.norms[2 * k] if eps is not None else layer.more[:, 0]
    of_norm = [torch.zeros_like(weight), torch.zeros_like(weight)] if eps is not None else []
    g_more = torch.empty_like(layer.more)
    unused = weight.new_zeros(1, 1)
    kernels.activate_back(
        layer.x.numpy(),
        layer.more.numpy(),
        weight.contiguous().numpy(),
        eps is not None,
        layer.tokens.numpy(),
        layer.stats.numpy(),
        g_mean.numpy(),
        g_x.numpy(),
        g_more.numpy(),
        *(part.numpy() for part in (of_norm or (unused, unused))),
    )
    return g_x.flatten(1, 2), g_more, of_norm
