"""Attention between tokens, and the hidden layers of networks by it with gradients by hand.

Hidden layers compute what `policies.networks.zones.ZoneMLP` says, with `Attention`. For learners on CPUs here are the
matrix products, and `policies.networks.attention_kernels` does what is between them; whoever acts, traces, exports or
explains a network goes by `ZoneMLP` itself.

    x_0      = zones Wz + bz + numbers + (context Wx + bx), context Wx + bx, cases Wc + bc
    tokens_k = relu(norm_k(x_k))
    share_k  = softmax over tokens of (tokens_k Wq tokens_k' / sqrt(size) + belongs where they are linked)
    x_(k+1)  = (share_k tokens_k) Wo + tokens_k Wd + bd; in the last layer of the zones and the context alone

Shapes: N networks side by side (1 of one that is not stacked), B rows, T tokens of a row (Z zones, the context, C
cases), Q of which attend, M = Q * heads, and D and H features of a token.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn

from policies.networks import attention_kernels as kernels
from policies.networks.blocks import affine
from policies.networks.hidden import lifted


class Attention(nn.Module):
    """Attention of tokens to all tokens, by `heads` heads: (B, T, in_dim) -> (B, queries, out_dim).

    Keys and values are the tokens themselves, so d_k is their size: with projections to as many dimensions, those of
    queries and keys would only be multiplied with each other, and those of values and the output too. `belongs` is the
    weight, by head, of the bias between a case and its zone; there is none without `has_cases`.
    """

    def __init__(self, in_dim: int, out_dim: int, heads: int, has_cases: bool = True):
        super().__init__()
        self.heads, self.scale = heads, 1.0 / math.sqrt(in_dim)
        self.query = nn.Linear(in_dim, heads * in_dim, bias=False)
        self.write = nn.Linear(heads * in_dim, out_dim, bias=False)
        self.belongs = nn.Parameter(torch.ones(heads)) if has_cases else None

    def forward(
        self, tokens: torch.Tensor, relations: Sequence[torch.Tensor] = (), queries: slice = slice(None)
    ) -> torch.Tensor:
        """What the tokens at `queries` read from all tokens; `relations` as in `weights`."""
        attended = self.weights(tokens, relations, queries).flatten(-3, -2) @ tokens
        return affine(self.write, attended.unflatten(-2, (-1, self.heads)).flatten(-2))

    def weights(
        self, tokens: torch.Tensor, relations: Sequence[torch.Tensor] = (), queries: slice = slice(None)
    ) -> torch.Tensor:
        """(B, queries, heads, T): the attention of a token to each token; the last axis sums to 1.

        Args:
            tokens: (B, T, in_dim).
            relations: with cases, links, (B, T, T), 1 between a case and its zone, else 0, symmetric; and absent,
                (B, T), whether a token is left out.
            queries: which tokens attend.
        """
        query = affine(self.query, tokens[..., queries, :]).unflatten(-1, (self.heads, -1)).flatten(-3, -2) * self.scale
        score = (tokens @ query.transpose(-2, -1)).unflatten(-1, (-1, self.heads))  # torch is slow on short rows
        if self.belongs is not None:
            links, absent = relations
            bias = self.belongs if self.belongs.dim() == 1 else self.belongs[:, None, None, None]
            score = score + bias * links[:, :, queries].unsqueeze(-1)
            score = score.masked_fill(absent[:, :, None, None], -torch.inf)
        return torch.softmax(score, -3).movedim(-3, -1)


class Entry:
    """The first layer: x (N, B, T, H).

    Args:
        weights: of zones Wz, bz and numbers (N, Z, H) or []; of the context Wx, bx; of cases Wc, bc or [].
        rows: B.
        num_cases: C.
    """

    def __init__(self, weights: Sequence[Sequence[torch.Tensor]], rows: int, num_cases: int):
        self.of_zones, self.of_context, self.of_cases = weights
        num, size = self.of_context[1].shape
        none = torch.empty(num, 0, size)
        self.numbers = self.of_zones[2] if self.of_zones else none
        self.num_zones = self.numbers.shape[1]
        self.shapes = (num, rows, self.num_zones, size), (num, rows, size), (num, rows, num_cases, size)
        self.parts = [torch.empty(shape) for shape in self.shapes]
        self.x = torch.empty(num, rows, self.num_zones + 1 + num_cases, size)
        self.arrays = [part.numpy() for part in (*self.parts, self.numbers, self.x)]

    def forward(self, read: Any) -> None:
        num = len(self.x)
        rows = [None if part is None else part.flatten(0, -2) for part in (read.zones, read.context, read.cases)]
        self.read = [None if part is None else part.expand(num, -1, -1) for part in rows]
        for part, weights, out in zip(self.read, self._weights(), self.parts, strict=True):
            if part is not None:
                weight, bias = weights[:2]
                torch.baddbmm(bias.unsqueeze(1), part, weight.transpose(1, 2), out=out.view(num, -1, out.shape[-1]))
        kernels.join(*self.arrays)

    def _weights(self) -> tuple[Sequence[torch.Tensor], ...]:
        return self.of_zones, self.of_context, self.of_cases

    def make_gradients(self) -> None:
        self.g_parts = [torch.empty(shape) for shape in self.shapes]
        self.gradients = [torch.empty(weight.shape) for weights in self._weights() for weight in weights]

    def backward(self, g_x: torch.Tensor) -> None:
        """Fills `gradients` by that of x."""
        kernels.join_back(g_x.numpy(), self.num_zones, *(part.numpy() for part in self.g_parts))
        left = list(self.gradients)
        for part, weights, found in zip(self.read, self._weights(), self.g_parts, strict=True):
            if part is None:
                continue
            (g_weight, g_bias, *g_numbers), left = left[: len(weights)], left[len(weights) :]
            flat = found.view(len(found), -1, found.shape[-1])
            torch.bmm(flat.transpose(1, 2), part, out=g_weight)
            torch.sum(flat, 1, out=g_bias)
            if g_numbers:
                torch.sum(found, 1, out=g_numbers[0])


class Activation:
    """relu(norm(x)) of x (N, B, T, H), which is replaced by what is normalised.

    Args:
        x: see above.
        norm: weight and bias (N, H), or [].
        eps: the norm's smallest variance; None without.
        split: how many tokens are in `tokens` (N, B, split, H); those after them are in `last`.
    """

    def __init__(self, x: torch.Tensor, norm: Sequence[torch.Tensor], eps: float | None, split: int):
        num, rows, tokens, size = x.shape
        self.x, self.has_norm = x, eps is not None
        self.scales = torch.empty(num, rows, tokens)
        self.tokens, self.last = torch.empty(num, rows, split, size), torch.empty(num, rows, tokens - split, size)
        self.weight, bias = (part.numpy() for part in norm or (torch.zeros(num, size),) * 2)
        self.filled = [part.numpy() for part in (self.scales, self.tokens, self.last)]
        self.arguments = (x.numpy(), self.weight, bias, eps or 0.0, self.has_norm, *self.filled)

    def forward(self) -> None:
        kernels.activate(*self.arguments)

    def make_gradients(self) -> None:
        num, size = len(self.x), self.x.shape[-1]
        self.g_tokens, self.g_last = torch.empty_like(self.tokens), torch.empty_like(self.last)
        self.g_x, self.g_norm = torch.empty_like(self.x), [torch.empty(num, size) for _ in range(2)]
        self.g_arrays = [part.numpy() for part in (self.g_tokens, self.g_last, self.g_x, *self.g_norm)]

    @property
    def gradients(self) -> list[torch.Tensor]:
        return self.g_norm if self.has_norm else []

    def backward(self) -> None:
        """Fills `g_x` and `gradients` by `g_tokens` and `g_last`."""
        for gradient in self.g_norm:
            gradient.zero_()
        kernels.activate_back(self.x.numpy(), self.weight, self.has_norm, *self.filled, *self.g_arrays)


class Reading:
    """What tokens read of each other, and of themselves: x (N, B, Q, H).

    Args:
        tokens: (N, B, T, D).
        weights: Wd, bd, Wq, Wo, and with cases the bias `belongs` (N, heads).
        heads: of attention.
        queries: which tokens attend.
    """

    def __init__(self, tokens: torch.Tensor, weights: Sequence[torch.Tensor], heads: int, queries: slice):
        num, rows, num_tokens, size = tokens.shape
        self.tokens, self.weights, self.start = tokens, weights, queries.start
        self.attending = tokens[:, :, queries]
        num_queries = queries.stop - queries.start
        self.columns = (num * rows, num_queries * heads, size)
        self.asking, self.query = torch.empty_like(self.attending), torch.empty(num, rows * num_queries, heads * size)
        self.shares, self.read = torch.empty(num, rows, num_tokens, num_queries * heads), torch.empty_like(self.query)
        self.x = torch.empty(num, rows, num_queries, weights[0].shape[1])
        self.scale = 1.0 / math.sqrt(size)
        self.scratch = torch.empty(2, num_queries * heads).numpy()
        self.belongs = weights[4] if len(weights) > 4 else torch.zeros(num, heads)

    def forward(self, relations: Sequence[torch.Tensor]) -> None:
        """By what `ZoneMLP.relations` says of the rows."""
        self.links, is_absent = (part.numpy() for part in relations)
        wd, bd, wq, wo = self.weights[:4]
        keys, asking, x = self.tokens.flatten(0, 1), self.asking.flatten(1, 2), self.x.flatten(1, 2)
        self.asking.copy_(self.attending)
        torch.bmm(asking, wq.transpose(1, 2), out=self.query)
        shares = self.shares.flatten(0, 1)
        torch.bmm(keys, self.query.view(self.columns).transpose(1, 2), out=shares)
        links = (self.belongs.numpy(), self.links, is_absent)
        kernels.share(self.shares.numpy(), self.scale, *links, self.start, self.scratch)
        torch.bmm(shares.transpose(1, 2), keys, out=self.read.view(self.columns))
        torch.baddbmm(bd.unsqueeze(1), asking, wd.transpose(1, 2), out=x)
        x.baddbmm_(self.read, wo.transpose(1, 2))

    def make_gradients(self) -> None:
        self.g_read, self.g_query = torch.empty_like(self.read), torch.empty_like(self.query)
        self.g_shares, self.g_asking = torch.empty_like(self.shares), torch.empty_like(self.asking)
        self.g_belongs = torch.empty_like(self.belongs)
        self.g_weights = [torch.empty(weight.shape) for weight in self.weights[:4]]

    @property
    def gradients(self) -> list[torch.Tensor]:
        return [*self.g_weights, self.g_belongs][: len(self.weights)]

    def backward(self, g_x: torch.Tensor, g_tokens: torch.Tensor) -> None:
        """Fills `gradients`, and that of the tokens (N, B, T, D), by that of x."""
        (wd, _, wq, wo), (g_wd, g_bd, g_wq, g_wo) = self.weights[:4], self.g_weights
        keys, asking, g_x = self.tokens.flatten(0, 1), self.asking.flatten(1, 2), g_x.flatten(1, 2)
        turned, g_asking = g_x.transpose(1, 2), self.g_asking.flatten(1, 2)
        torch.bmm(turned, asking, out=g_wd)
        torch.sum(g_x, 1, out=g_bd)
        torch.bmm(turned, self.read, out=g_wo)
        torch.bmm(g_x, wo, out=self.g_read)
        read, shares, g_shares = self.g_read.view(self.columns), self.shares.flatten(0, 1), self.g_shares.flatten(0, 1)
        torch.bmm(keys, read.transpose(1, 2), out=g_shares)
        self.g_belongs.zero_()
        found = (self.g_shares.numpy(), self.g_belongs.numpy())
        kernels.share_back(self.shares.numpy(), self.scale, self.links, self.start, self.scratch, *found)
        torch.bmm(g_shares.transpose(1, 2), keys, out=self.g_query.view(self.columns))
        torch.bmm(self.g_query.transpose(1, 2), asking, out=g_wq)
        of_keys = g_tokens.flatten(0, 1)
        torch.bmm(g_shares, self.query.view(self.columns), out=of_keys)
        of_keys.baddbmm_(shares, read)
        torch.bmm(self.g_query, wq, out=g_asking)
        g_asking.baddbmm_(g_x, wd)
        g_tokens[:, :, self.start : self.start + self.asking.shape[2]] += self.g_asking


class HiddenAttention:
    """The hidden layers of a `ZoneMLP` by attention, or of N of them side by side, in memory that is kept; as
    `policies.networks.hidden.Hidden`.

    Args:
        body: which `fits_kernels`.
        rows: B.
        is_trained: whether gradients will be asked for.

    Attributes:
        tokens, mean: what comes out, of zones (N, B * Z, H), and of the context (N, B, H).
        g_tokens, g_mean: their gradients; filled by whoever calls `backward`.
    """

    times = 0  # evaluated by `hidden.Evaluation`

    def __init__(self, body: Any, rows: int, is_trained: bool):
        self.weights = body.weights_in_order()
        self.is_stacked, self.has_numbers = self.weights[0].dim() == 3, body.embedding.numbers is not None
        zones, num_cases, has_norm = body.num_zones, len(body.tokens.cases), body.eps is not None
        weights = [lifted(weight, self.is_stacked) for weight in self.weights]
        first, deeper, norms = _apart(weights, zones > 0, num_cases > 0, has_norm)
        self.num, self.rows, self.num_zones = len(first[1][0]), rows, zones
        self.entry = Entry(first, rows, num_cases)
        x = self.entry.x
        self.layers = [Activation(x, norms[:2], body.eps, x.shape[2])]
        self.readings: list[Reading] = []
        for k, weights in enumerate(deeper, 1):
            is_last, tokens = k == len(deeper), self.layers[-1].tokens
            queries = slice(0 if body.keeps_zones else zones, zones + 1) if is_last else slice(0, tokens.shape[2])
            self.readings.append(Reading(tokens, weights, body.mixing[0].heads, queries))
            x = self.readings[-1].x
            split = x.shape[2] - 1 if is_last else x.shape[2]
            self.layers.append(Activation(x, norms[2 * k : 2 * k + 2], body.eps, split))
        self.tokens, self.mean = self.layers[-1].tokens.flatten(1, 2), self.layers[-1].last.flatten(1, 2)
        if is_trained:
            self.make_gradients()

    def make_gradients(self) -> None:
        parts: tuple[Entry | Reading | Activation, ...] = (self.entry, *self.readings, *self.layers)
        for part in parts:
            part.make_gradients()
        last = self.layers[-1]
        self.g_tokens, self.g_mean = last.g_tokens.flatten(1, 2), last.g_last.flatten(1, 2)
        self.gradients = [gradient for part in parts for gradient in part.gradients]

    def pairs(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """(weight, its gradient), the gradient with the axis of networks."""
        for k, pair in enumerate(zip(self.weights, self.gradients, strict=True)):
            if k != 2 or self.has_numbers or not self.num_zones:  # without numbers, zeros stand in their place
                yield pair

    def forward(self, read: Any) -> None:
        """Fills `tokens` and `mean` by what `ZoneMLP.prepare` made of B rows."""
        relations = read.relations or _no_relations(self.rows, self.entry.x.shape[2])
        self.entry.forward(read)
        self.zones: Any = self.entry.read[0]
        self.layers[0].forward()
        for reading, layer in zip(self.readings, self.layers[1:], strict=True):
            reading.forward(relations)
            layer.forward()

    def for_all(self, x: torch.Tensor) -> torch.Tensor:
        """What all networks read, with their axis in front."""
        return x.expand(self.num, -1, -1)

    def backward(self) -> None:
        """Fills `gradients` by those of what came out."""
        for reading, layer, before in zip(self.readings[::-1], self.layers[:0:-1], self.layers[-2::-1], strict=True):
            layer.backward()
            reading.backward(layer.g_x, before.g_tokens)
        self.layers[0].backward()
        self.entry.backward(self.layers[0].g_x)


def _apart(weights: Sequence[torch.Tensor], has_zones: bool, has_cases: bool, has_norm: bool) -> tuple[Any, ...]:
    """Weights of the first layer (of zones, of the context, of cases), of each further one, and of norms."""
    left, first = list(weights), []
    for is_there, number in ((has_zones, 3), (True, 2), (has_cases, 2)):
        first.append(left[: number * is_there])
        left = left[number * is_there :]
    per_layer = 4 + has_cases
    num_deeper = (len(left) - 2) // (per_layer + 2) if has_norm else len(left) // per_layer
    return first, [left[per_layer * k : per_layer * (k + 1)] for k in range(num_deeper)], left[per_layer * num_deeper :]


def _no_relations(rows: int, num_tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """What stands for `ZoneMLP.relations` where there are no cases: nothing is linked, nothing is absent."""
    return torch.zeros(rows, num_tokens, num_tokens), torch.zeros(rows, num_tokens, dtype=torch.bool)
