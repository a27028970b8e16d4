"""The passes between the matrix products of networks by attention; `policies.networks.attending` says what is computed.

Arrays are float32 and in C order, with N networks side by side, R rows, T tokens of a row, H features of a token. Of
M = queries x heads columns, `heads` in turn belong to one query. They are compiled where a network by attention learns.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from soc_env.engine.jit import fast_entry_point, part

Array = np.ndarray
LOG2_E, LN2_HIGH, LN2_LOW = np.float32(1.44269504), np.float32(0.693359375), np.float32(-2.12194440e-4)
LEAST = np.float32(-87.0)  # of exponents: e^-87 is the smallest normal number


@part
def _exp(x: Any) -> Any:
    """e^x to 1e-7, of x <= 0, without a call, so that several are computed at once (Cephes' `expf`, S. Moshier)."""
    x = max(x, LEAST)
    power = np.floor(x * LOG2_E + np.float32(0.5))
    x = x - power * LN2_HIGH - power * LN2_LOW
    found = np.float32(1.9875691500e-4)
    found = found * x + np.float32(1.3981999507e-3)
    found = found * x + np.float32(8.3334519073e-3)
    found = found * x + np.float32(4.1665795894e-2)
    found = found * x + np.float32(1.6666665459e-1)
    found = found * x + np.float32(5.0000001201e-1)
    found = found * x * x + x + np.float32(1.0)
    return found * np.int32((np.int32(power) + 127) << 23).view(np.float32)  # by the bits of a power of two


@fast_entry_point
def join(zones: Array, context: Array, cases: Array, numbers: Array, out: Array) -> None:
    """Fills out (N, R, Z + 1 + C, H): zones (N, R, Z, H), to which the context (N, R, H) and what belongs to their
    number (N, Z, H) are added; the context; cases (N, R, C, H)."""
    num, rows, num_zones, size = zones.shape
    for n in range(num):
        for r in range(rows):
            for z in range(num_zones):
                for j in range(size):
                    out[n, r, z, j] = zones[n, r, z, j] + context[n, r, j] + numbers[n, z, j]
            for j in range(size):
                out[n, r, num_zones, j] = context[n, r, j]
            for c in range(cases.shape[2]):
                for j in range(size):
                    out[n, r, num_zones + 1 + c, j] = cases[n, r, c, j]


@fast_entry_point
def join_back(g_out: Array, num_zones: int, g_zones: Array, g_context: Array, g_cases: Array) -> None:
    """Fills the gradients of what `join` joins, by that of the result."""
    num, rows, tokens, size = g_out.shape
    for n in range(num):
        for r in range(rows):
            for j in range(size):
                g_context[n, r, j] = g_out[n, r, num_zones, j]
            for z in range(num_zones):
                for j in range(size):
                    g_zones[n, r, z, j] = g_out[n, r, z, j]
                    g_context[n, r, j] += g_out[n, r, z, j]
            for c in range(tokens - num_zones - 1):
                for j in range(size):
                    g_cases[n, r, c, j] = g_out[n, r, num_zones + 1 + c, j]


@fast_entry_point
def activate(
    x: Array, weight: Array, bias: Array, eps: float, has_norm: bool, scales: Array, first: Array, last: Array
) -> None:
    """relu(norm(x)) of all tokens.

    Args:
        x: (N, R, T, H), is replaced by what is normalised, before weight and bias.
        weight, bias: (N, H), of the layer normalisation; not read without.
        eps: its smallest variance.
        has_norm: whether there is one.
        scales: (N, R, T), is filled with inverse standard deviations.
        first, last: (N, R, ., H), are filled: the first tokens, and those after them.
    """
    num, rows, tokens, size = x.shape
    split = first.shape[2]
    for n in range(num):
        for r in range(rows):
            for t in range(tokens):
                out = first[n, r, t] if t < split else last[n, r, t - split]
                if has_norm:
                    total = np.float32(0.0)
                    for j in range(size):
                        total += x[n, r, t, j]
                    middle = total / np.float32(size)
                    total = np.float32(0.0)
                    for j in range(size):
                        value = x[n, r, t, j] - middle
                        total += value * value
                    scale = np.float32(1.0 / math.sqrt(total / np.float32(size) + eps))
                    scales[n, r, t] = scale
                    for j in range(size):
                        value = (x[n, r, t, j] - middle) * scale
                        x[n, r, t, j] = value
                        out[j] = max(value * weight[n, j] + bias[n, j], np.float32(0.0))
                else:
                    for j in range(size):
                        out[j] = max(x[n, r, t, j], np.float32(0.0))


@fast_entry_point
def activate_back(
    x: Array,
    weight: Array,
    has_norm: bool,
    scales: Array,
    first: Array,
    last: Array,
    g_first: Array,
    g_last: Array,
    g_x: Array,
    g_weight: Array,
    g_bias: Array,
) -> None:
    """Gradients of `activate`: fills g_x (N, R, T, H), adds to g_weight and g_bias (N, H); others are as there."""
    num, rows, tokens, size = x.shape
    split = first.shape[2]
    for n in range(num):
        for r in range(rows):
            for t in range(tokens):
                out = first[n, r, t] if t < split else last[n, r, t - split]
                g_out = g_first[n, r, t] if t < split else g_last[n, r, t - split]
                for j in range(size):
                    g_x[n, r, t, j] = g_out[j] if out[j] > 0.0 else np.float32(0.0)
                if has_norm:
                    level, slope = np.float32(0.0), np.float32(0.0)
                    for j in range(size):
                        gradient = g_x[n, r, t, j]
                        g_bias[n, j] += gradient
                        g_weight[n, j] += gradient * x[n, r, t, j]
                        gradient *= weight[n, j]
                        g_x[n, r, t, j] = gradient
                        level += gradient
                        slope += gradient * x[n, r, t, j]
                    level, slope = level / np.float32(size), slope / np.float32(size)
                    for j in range(size):
                        g_x[n, r, t, j] = scales[n, r, t] * (g_x[n, r, t, j] - level - x[n, r, t, j] * slope)


@part
def _softmax(scores: Array, is_absent: Array, scratch: Array) -> None:
    """Over the first axis of scores (T, M), in place, where tokens are not absent."""
    tokens, columns = scores.shape
    for m in range(columns):
        scratch[0, m], scratch[1, m] = np.float32(-np.inf), np.float32(0.0)
    for t in range(tokens):
        if not is_absent[t]:
            for m in range(columns):
                scratch[0, m] = max(scratch[0, m], scores[t, m])
    for t in range(tokens):
        if is_absent[t]:
            for m in range(columns):
                scores[t, m] = 0.0
        else:
            for m in range(columns):
                value = _exp(scores[t, m] - scratch[0, m])
                scores[t, m] = value
                scratch[1, m] += value
    for m in range(columns):
        scratch[1, m] = np.float32(1.0) / scratch[1, m]
    for t in range(tokens):
        for m in range(columns):
            scores[t, m] *= scratch[1, m]


@fast_entry_point
def share(
    scores: Array, scale: float, belongs: Array, links: Array, is_absent: Array, start: int, scratch: Array
) -> None:
    """Replaces scores (N, R, T, M) by a softmax over tokens of scale * score, and of its bias where tokens are linked.

    Args:
        scores: see above.
        scale: of scores.
        belongs: (N, heads), the bias.
        links: (R, T, T), above 0 between tokens that are linked.
        is_absent: (R, T), whether a token has no share.
        start: the token of the first query.
        scratch: (2, M).
    """
    num, rows, tokens, columns = scores.shape
    heads = belongs.shape[1]
    factor = np.float32(scale)
    for n in range(num):
        for r in range(rows):
            for t in range(tokens):
                for m in range(columns):
                    scores[n, r, t, m] *= factor
                for query in range(columns // heads):
                    if links[r, t, start + query] > 0.0:
                        for head in range(heads):
                            scores[n, r, t, query * heads + head] += belongs[n, head]
            _softmax(scores[n, r], is_absent[r], scratch)


@fast_entry_point
def share_back(
    shares: Array,
    scale: float,
    links: Array,
    start: int,
    scratch: Array,
    g_shares: Array,
    g_belongs: Array,
) -> None:
    """Gradients of `share`: replaces g_shares (N, R, T, M) by that of scores, adds to g_belongs (N, heads); others are
    as there."""
    num, rows, tokens, columns = shares.shape
    heads = g_belongs.shape[1]
    factor = np.float32(scale)
    for n in range(num):
        for r in range(rows):
            for m in range(columns):
                scratch[0, m] = 0.0
            for t in range(tokens):
                for m in range(columns):
                    scratch[0, m] += shares[n, r, t, m] * g_shares[n, r, t, m]
            for t in range(tokens):
                for m in range(columns):
                    g_shares[n, r, t, m] = shares[n, r, t, m] * (g_shares[n, r, t, m] - scratch[0, m])
                for query in range(columns // heads):
                    if links[r, t, start + query] > 0.0:
                        for head in range(heads):
                            g_belongs[n, head] += g_shares[n, r, t, query * heads + head]
                for m in range(columns):
                    g_shares[n, r, t, m] *= factor
