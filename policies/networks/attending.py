"""The hidden layers of a network by attention ("attention", see `policies.networks.zones`), with gradients by hand.

What is computed is what `ZoneMLP` and `Attention` say; here are the matrix products, and
`policies.networks.attention_kernels` does what is between them. Learners use it on CPUs; whoever acts, traces, exports
or explains a network goes by `ZoneMLP` itself.

    x_0      = zones Wz + bz + (context Wx + bx) + numbers, context Wx + bx, cases Wc + bc
    tokens_k = relu(norm_k(x_k))
    share_k  = softmax over tokens of (tokens_k Wq tokens_k' / sqrt(size) + belongs where they are linked)
    x_(k+1)  = (share_k tokens_k) Wo + tokens_k Wd + bd; in the last layer of the zones and the context alone
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from policies.networks import attention_kernels as kernels
from policies.networks.trunk import of_weight, product

PER_LAYER = 4  # weights of a further layer, beside `belongs`: Wd, bd, Wq, Wo


class Form(NamedTuple):
    """What `AttentionTrunk` needs to know beside weights.

    Attributes:
        heads: of attention.
        num_zones: number of zones' tokens, the first ones.
        keeps_zones: whether the last layer is wanted of zones too.
        eps: of layer normalisations; None without.
    """

    heads: int
    num_zones: int
    keeps_zones: bool
    eps: float | None


class Layer(NamedTuple):
    """One activated layer's passes: normalised x (N, B, T, H), inverse standard deviations (N, B, T), and the tokens,
    the last of which can stand apart."""

    x: torch.Tensor
    scales: torch.Tensor
    tokens: torch.Tensor
    last: torch.Tensor


class Attended(NamedTuple):
    """One attention's passes: tokens that attend (N, B * Q, D), queries and what they read (N, B * Q, heads * D),
    shares (N, B, T, Q * heads)."""

    asking: torch.Tensor
    query: torch.Tensor
    read: torch.Tensor
    shares: torch.Tensor


def no_relations(rows: int, num_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What stands for `ZoneMLP.relations` where there are no cases: nothing is linked, nothing is absent."""
    return torch.zeros(rows, num_tokens, num_tokens), torch.zeros(rows, num_tokens, dtype=torch.bool)


class AttentionTrunk(torch.autograd.Function):
    """(zones (B, Z, F) or None, context (B, F), cases (B, C, F) or None, links (B, T, T) and is_absent (B, T) as
    `ZoneMLP.relations` has them, form, weights...) -> (zones' tokens (N, B, Z or 0, H), the context's (N, B, 1, H)).

    Weights have an axis of networks in front, in this order: Wz, bz if there are zones, their numbers' (N, Z, H), zeros
    without; Wx, bx; Wc, bc if there are cases; Wd, bd, Wq, Wo and with cases `belongs` of each further layer, of which
    there is at least one; weight and bias of each norm, of which there are as many as layers.
    """

    @staticmethod
    def forward(
        ctx: Any,
        zones: torch.Tensor | None,
        context: torch.Tensor,
        cases: torch.Tensor | None,
        links: torch.Tensor,
        is_absent: torch.Tensor,
        form: Form,
        *weights: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        first, deeper, norms = _apart(weights, zones is not None, cases is not None, form.eps is not None)
        layers = [_activated(_embedded(zones, context, cases, first), norms[:2], form, -1)]
        passes: list[Attended] = []
        for k, layer in enumerate(deeper, 1):
            is_last = k == len(deeper)
            queries = _queries(form, layers[-1].tokens.shape[2], is_last)
            found = _attended(layers[-1].tokens, layer, (links, is_absent), form, queries)
            x = product(found.read, layer[3])
            torch.baddbmm(x.add_(layer[1].unsqueeze(1)), found.asking, layer[0].transpose(1, 2), out=x)
            x = x.view(len(x), len(context), queries.stop - queries.start, -1)
            split = x.shape[2] - 1 if is_last else -1
            passes.append(found)
            layers.append(_activated(x, norms[2 * k : 2 * k + 2], form, split))
        # What is put out must not hang on to what holds it: PyTorch keeps such tensors apart.
        inputs = [zones, context, cases, links]
        kept = [part for group in (*layers, *passes) for part in group]
        ctx.save_for_backward(*inputs, *(w for layer in deeper for w in layer), *norms, *kept)
        ctx.form, ctx.sizes = form, (len(deeper), len(deeper[0]), len(norms))
        return layers[-1].tokens, layers[-1].last

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[Any, ...]:
        saved, form = _Saved(ctx), ctx.form
        zones, context, cases, links = saved.inputs
        of_deeper: list[torch.Tensor] = []
        g_x, of_norms = _activated_back(saved, len(saved.layers) - 1, form, gradients)
        for k in range(len(saved.deeper) - 1, -1, -1):
            queries = _queries(form, saved.layers[k].tokens.shape[2], k == len(saved.deeper) - 1)
            found, g_tokens = _attended_back(saved, k, links, form, queries, g_x.flatten(1, 2))
            of_deeper = [*found, *of_deeper]
            g_x, of_norm = _activated_back(saved, k, form, (g_tokens, saved.layers[k].last))
            of_norms = [*of_norm, *of_norms]
        parts = _parts(g_x, 0 if zones is None else zones.shape[1], 0 if cases is None else cases.shape[1])
        kernels.join_back(g_x.numpy(), parts[0].shape[2], *(part.numpy() for part in parts))
        g_zones, g_context, g_cases = parts
        found = []
        if zones is not None:
            flat = g_zones.flatten(1, 2)
            found = [of_weight(flat, zones.flatten(0, 1).unsqueeze(0)), flat.sum(1), g_zones.sum(1)]
        found += [of_weight(g_context, context.unsqueeze(0)), g_context.sum(1)]
        if cases is not None:
            flat = g_cases.flatten(1, 2)
            found += [of_weight(flat, cases.flatten(0, 1).unsqueeze(0)), flat.sum(1)]
        return (None,) * 6 + (*found, *of_deeper, *of_norms)


class _Saved:
    """What `AttentionTrunk.forward` kept, by its parts."""

    def __init__(self, ctx: Any):
        (num_deeper, per_layer, num_norms), left = ctx.sizes, list(ctx.saved_tensors)
        self.inputs, left = left[:4], left[4:]
        self.deeper = [left[per_layer * k : per_layer * (k + 1)] for k in range(num_deeper)]
        left = left[per_layer * num_deeper :]
        self.norms, left = left[:num_norms], left[num_norms:]
        self.layers = [Layer(*left[4 * k : 4 * k + 4]) for k in range(num_deeper + 1)]
        left = left[4 * (num_deeper + 1) :]
        self.passes = [Attended(*left[4 * k : 4 * k + 4]) for k in range(num_deeper)]


def _apart(weights: Sequence[torch.Tensor], has_zones: bool, has_cases: bool, has_norm: bool) -> tuple[Any, ...]:
    """Weights of the first layer (of zones, of the context, of cases), of each further one, and of norms."""
    left = [weight.detach() for weight in weights]
    first = []
    for is_there, number in ((has_zones, 3), (True, 2), (has_cases, 2)):
        first.append(left[: number * is_there])
        left = left[number * is_there :]
    per_layer = PER_LAYER + has_cases
    num_deeper = (len(left) - 2) // (per_layer + 2) if has_norm else len(left) // per_layer
    return first, [left[per_layer * k : per_layer * (k + 1)] for k in range(num_deeper)], left[per_layer * num_deeper :]


def _queries(form: Form, num_tokens: int, is_last: bool) -> slice:
    """The tokens that attend: in the last layer those that are put out."""
    if not is_last:
        return slice(0, num_tokens)
    return slice(0 if form.keeps_zones else form.num_zones, form.num_zones + 1)


def _parts(joined: torch.Tensor, num_zones: int, num_cases: int) -> list[torch.Tensor]:
    """Empty: of zones, of the context, of cases, of what is (N, B, T, H) joined."""
    num, rows, _, size = joined.shape
    shapes = ((num, rows, num_zones, size), (num, rows, size), (num, rows, num_cases, size))
    return [joined.new_empty(shape) for shape in shapes]


def _embedded(
    zones: torch.Tensor | None, context: torch.Tensor, cases: torch.Tensor | None, first: list[list[torch.Tensor]]
) -> torch.Tensor:
    """All tokens before they are normalised: (N, B, T, H)."""
    of_context = product(context.unsqueeze(0), *first[1])
    num, rows, size = of_context.shape
    none = of_context.new_empty(num, rows, 0, size)
    of_zones, of_cases, numbers = none, none, none[:, 0].contiguous()
    if zones is not None:
        of_zones = product(zones.flatten(0, 1).unsqueeze(0), *first[0][:2]).view(num, rows, -1, size)
        numbers = first[0][2]
    if cases is not None:
        of_cases = product(cases.flatten(0, 1).unsqueeze(0), *first[2]).view(num, rows, -1, size)
    out = context.new_empty(num, rows, of_zones.shape[2] + 1 + of_cases.shape[2], size)
    kernels.join(*(part.numpy() for part in (of_zones, of_context, of_cases, numbers.contiguous(), out)))
    return out


def _activated(x: torch.Tensor, norm: Sequence[torch.Tensor], form: Form, split: int) -> Layer:
    """The layer of x (N, B, T, H), which is changed; from token `split` on, if not negative, they stand apart."""
    num, rows, tokens, size = x.shape
    split = tokens if split < 0 else split
    shapes = ((num, rows, tokens), (num, rows, split, size), (num, rows, tokens - split, size))
    layer = Layer(x, *(x.new_empty(shape) for shape in shapes))
    weight, bias = (part.contiguous().numpy() for part in norm or (x[:, 0, 0],) * 2)
    kernels.activate(
        x.numpy(), weight, bias, form.eps or 0.0, form.eps is not None, *(part.numpy() for part in layer[1:])
    )
    return layer


def _activated_back(saved: _Saved, k: int, form: Form, gradients: Sequence[torch.Tensor]) -> tuple[Any, ...]:
    """Gradients of layer k: of x (N, B, T, H), and of its norm, by those of its tokens."""
    layer, has_norm = saved.layers[k], form.eps is not None
    weight = saved.norms[2 * k] if has_norm else layer.x[:, 0, 0]
    of_norm = [weight.new_zeros(weight.shape), weight.new_zeros(weight.shape)]
    g_x = torch.empty_like(layer.x)
    arrays = [part.contiguous().numpy() for part in (*layer[1:], *gradients)]
    kernels.activate_back(
        layer.x.numpy(), weight.contiguous().numpy(), has_norm, *arrays, g_x.numpy(), *(g.numpy() for g in of_norm)
    )
    return g_x, of_norm if has_norm else []


def _attended(
    tokens: torch.Tensor, layer: Sequence[torch.Tensor], relations: Sequence[torch.Tensor], form: Form, queries: slice
) -> Attended:
    """What tokens read of tokens (N, B, T, D)."""
    num, rows, num_tokens, size = tokens.shape
    asking = tokens[:, :, queries].flatten(1, 2)
    query = product(asking, layer[2])
    keys, columns = tokens.flatten(0, 1), query.view(num * rows, -1, size)
    shares = torch.bmm(keys, columns.transpose(1, 2)).view(num, rows, num_tokens, -1)
    belongs = layer[4] if len(layer) > PER_LAYER else tokens.new_zeros(num, form.heads)
    scratch = tokens.new_empty(2, shares.shape[-1])
    links = [part.numpy() for part in (belongs.contiguous(), *relations)]
    kernels.share(shares.numpy(), 1.0 / math.sqrt(size), *links, queries.start, scratch.numpy())
    read = torch.bmm(shares.flatten(0, 1).transpose(1, 2), keys)
    return Attended(asking, query, read.view_as(query), shares)


def _attended_back(
    saved: _Saved, k: int, links: torch.Tensor, form: Form, queries: slice, g_x: torch.Tensor
) -> tuple[list[torch.Tensor], torch.Tensor]:
    """Gradients of the weights of the layer after layer k, and of layer k's tokens, by that of x (N, B * Q, H)."""
    layer, passed, tokens = saved.deeper[k], saved.passes[k], saved.layers[k].tokens
    num, rows, num_tokens, size = tokens.shape
    keys, shares = tokens.flatten(0, 1), passed.shares
    g_read = torch.bmm(g_x, layer[3]).view(num * rows, -1, size)
    g_shares = torch.bmm(keys, g_read.transpose(1, 2)).view(shares.shape)
    g_belongs = tokens.new_zeros(num, form.heads)
    scratch = tokens.new_empty(2, shares.shape[-1])
    places = (queries.start, scratch.numpy(), g_shares.numpy(), g_belongs.numpy())
    kernels.share_back(shares.numpy(), 1.0 / math.sqrt(size), links.numpy(), *places)
    g_scores = g_shares.flatten(0, 1)
    g_query = torch.bmm(g_scores.transpose(1, 2), keys).view_as(passed.query)
    g_tokens = torch.bmm(g_scores, passed.query.view(num * rows, -1, size))
    torch.baddbmm(g_tokens, shares.flatten(0, 1), g_read, out=g_tokens)
    g_asking = torch.baddbmm(torch.bmm(g_query, layer[2]), g_x, layer[0])
    g_tokens = g_tokens.view(tokens.shape)
    g_tokens[:, :, queries] += g_asking.view(num, rows, -1, size)
    found = [of_weight(g_x, passed.asking), g_x.sum(1), of_weight(g_query, passed.asking), of_weight(g_x, passed.read)]
    return found + [g_belongs] * (len(layer) > PER_LAYER), g_tokens
