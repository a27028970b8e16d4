"""The passes between the matrix products of networks by zones, each over its data once.

PyTorch goes over a layer's output about ten times between two products of this size, forth and back, which takes longer
than the products. `policies.networks.hidden` says what is computed; arrays are float32 and in C order, with N networks
side by side, R rows, Z tokens of a row, H features of a token.
"""

from __future__ import annotations

import math

import numpy as np

from soc_env.engine.jit import fast_entry_point

Array = np.ndarray


@fast_entry_point
def rectify(x: Array, more: Array, bias: Array, mean: Array) -> None:
    """x = relu(x + more + bias), and its mean over tokens.

    Args:
        x: (N, R, Z, H), is replaced.
        more: (N, R, H), of all tokens of the row.
        bias: (N, H).
        mean: (N, R, H), is filled.
    """
    num, rows, tokens, size = x.shape
    for n in range(num):
        for r in range(rows):
            for j in range(size):
                mean[n, r, j] = 0.0
                more[n, r, j] += bias[n, j]
            for z in range(tokens):
                for j in range(size):
                    value = max(x[n, r, z, j] + more[n, r, j], np.float32(0.0))
                    x[n, r, z, j] = value
                    mean[n, r, j] += value
            for j in range(size):
                mean[n, r, j] /= np.float32(tokens)


@fast_entry_point
def rectify_back(tokens: Array, g_x: Array, g_mean: Array, g_more: Array, g_bias: Array) -> None:
    """Gradients of `rectify` by those of what came out, `tokens`, and of its mean.

    `g_x` (N, R, Z, H) comes as that of `tokens` and becomes that of x; `g_mean` (N, R, H) is lost; `g_more` (N, R, H)
    and `g_bias` (N, H) are filled.
    """
    num, rows, num_tokens, size = tokens.shape
    for n in range(num):
        for j in range(size):
            g_bias[n, j] = 0.0
        for r in range(rows):
            for j in range(size):
                g_more[n, r, j] = 0.0
                g_mean[n, r, j] /= np.float32(num_tokens)
            for z in range(num_tokens):
                for j in range(size):
                    gradient = g_x[n, r, z, j] + g_mean[n, r, j]
                    gradient = gradient if tokens[n, r, z, j] > 0.0 else np.float32(0.0)
                    g_x[n, r, z, j] = gradient
                    g_more[n, r, j] += gradient
            for j in range(size):
                g_bias[n, j] += g_more[n, r, j]


@fast_entry_point
def normalise(
    x: Array,
    more: Array,
    bias: Array,
    mean: Array,
    weight: Array,
    shift: Array,
    tokens: Array,
    scales: Array,
    eps: float,
) -> None:
    """tokens = relu(normal * weight + shift), where normal is x + more + bias with mean 0 and variance 1 over features.

    As `rectify`; weight and shift (N, H) and the smallest variance `eps` are the layer normalisation's. x is replaced
    by normal; tokens (N, R, Z, H) and scales (N, R, Z), inverse standard deviations, are filled.
    """
    num, rows, num_tokens, size = x.shape
    for n in range(num):
        for r in range(rows):
            for j in range(size):
                mean[n, r, j] = 0.0
                more[n, r, j] += bias[n, j]
            for z in range(num_tokens):
                total = np.float32(0.0)
                for j in range(size):
                    value = x[n, r, z, j] + more[n, r, j]
                    x[n, r, z, j] = value
                    total += value
                middle = total / np.float32(size)
                total = np.float32(0.0)
                for j in range(size):
                    value = x[n, r, z, j] - middle
                    x[n, r, z, j] = value
                    total += value * value
                scale = np.float32(1.0 / math.sqrt(total / np.float32(size) + eps))
                scales[n, r, z] = scale
                for j in range(size):
                    normal = x[n, r, z, j] * scale
                    x[n, r, z, j] = normal
                    value = max(normal * weight[n, j] + shift[n, j], np.float32(0.0))
                    tokens[n, r, z, j] = value
                    mean[n, r, j] += value
            for j in range(size):
                mean[n, r, j] /= np.float32(num_tokens)


@fast_entry_point
def normalise_back(
    normal: Array,
    weight: Array,
    tokens: Array,
    scales: Array,
    g_x: Array,
    g_mean: Array,
    g_more: Array,
    g_bias: Array,
    g_weight: Array,
    g_shift: Array,
) -> None:
    """Gradients of `normalise`, as `rectify_back`; those of the normalisation, (N, H), are filled too."""
    num, rows, num_tokens, size = tokens.shape
    for n in range(num):
        for j in range(size):
            g_bias[n, j] = 0.0
            g_weight[n, j] = 0.0
            g_shift[n, j] = 0.0
        for r in range(rows):
            for j in range(size):
                g_more[n, r, j] = 0.0
                g_mean[n, r, j] /= np.float32(num_tokens)
            for z in range(num_tokens):
                level, slope = np.float32(0.0), np.float32(0.0)
                for j in range(size):
                    gradient = g_x[n, r, z, j] + g_mean[n, r, j]
                    gradient = gradient if tokens[n, r, z, j] > 0.0 else np.float32(0.0)
                    g_shift[n, j] += gradient
                    g_weight[n, j] += gradient * normal[n, r, z, j]
                    gradient *= weight[n, j]
                    g_x[n, r, z, j] = gradient
                    level += gradient
                    slope += gradient * normal[n, r, z, j]
                level /= np.float32(size)
                slope /= np.float32(size)
                scale = scales[n, r, z]
                for j in range(size):
                    gradient = scale * (g_x[n, r, z, j] - level - normal[n, r, z, j] * slope)
                    g_x[n, r, z, j] = gradient
                    g_more[n, r, j] += gradient
            for j in range(size):
                g_bias[n, j] += g_more[n, r, j]


@fast_entry_point
def mean_of_cases(x: Array, bias: Array, mean: Array) -> None:
    """Fills mean, (N, R, H), with that of relu(x + bias) over the cases of x, (N, R, C, H); bias (N, H)."""
    num, rows, cases, size = x.shape
    for n in range(num):
        for r in range(rows):
            for j in range(size):
                mean[n, r, j] = 0.0
            for c in range(cases):
                for j in range(size):
                    mean[n, r, j] += max(x[n, r, c, j] + bias[n, j], np.float32(0.0))
            for j in range(size):
                mean[n, r, j] /= np.float32(cases)


@fast_entry_point
def mean_of_cases_back(x: Array, bias: Array, g_mean: Array, g_x: Array, g_bias: Array) -> None:
    """Fills g_x (N, R, C, H) and g_bias (N, H), gradients of `mean_of_cases`, by that of the mean, which is lost."""
    num, rows, cases, size = x.shape
    for n in range(num):
        for j in range(size):
            g_bias[n, j] = 0.0
        for r in range(rows):
            for j in range(size):
                g_mean[n, r, j] /= np.float32(cases)
            for c in range(cases):
                for j in range(size):
                    gradient = g_mean[n, r, j] if x[n, r, c, j] + bias[n, j] > 0.0 else np.float32(0.0)
                    g_x[n, r, c, j] = gradient
                    g_bias[n, j] += gradient


@fast_entry_point
def hats(actions: Array, centres: Array, per_width: float, out: Array) -> None:
    """Fills out, (M * points,), with the hat functions around `centres` (points,) at actions (M,); see
    `blocks.HatBasis`."""
    points, slope = len(centres), np.float32(per_width)
    for k in range(len(actions)):
        for p in range(points):
            distance = abs(actions[k] - centres[p]) * slope
            out[k * points + p] = max(np.float32(1.0) - distance, np.float32(0.0))
