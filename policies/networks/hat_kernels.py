"""Linear layers on actions in the basis of hat functions (`policies.networks.blocks.HatBasis`), without making those.

Between two points all hats but theirs are 0. Of the P outputs or inputs that a layer has for an entry of an action two
count, then: they are added up as they are found, which is a tenth of the products of the whole layer at 21 points.

Arrays are float32: R rows, E entries, N networks side by side, H features. The weights of entry e at point p lie in
row `first + e * entry_step + p * point_step` of (N, rows, H).
"""

from __future__ import annotations

import numpy as np

from soc_env.engine.jit import fast_entry_point, part

Array = np.ndarray


@part
def _below(action: float, centres: Array, per_width: float) -> int:
    """The number of the point below an action, from 0 to P - 2."""
    return min(max(int((action - centres[0]) * per_width), 0), len(centres) - 2)


@part
def _hat(action: float, centre: float, per_width: float) -> np.float32:
    return max(np.float32(1.0) - abs(action - centre) * np.float32(per_width), np.float32(0.0))


@part
def _beside(action: float, centres: Array, per_width: float) -> tuple[int, np.float32, np.float32]:
    """The number of the point below an action, and the hats of that one and of the next."""
    k = _below(action, centres, per_width)
    return k, _hat(action, centres[k], per_width), _hat(action, centres[k + 1], per_width)


@fast_entry_point
def read(
    actions: Array,
    weight: Array,
    first: int,
    entry_step: int,
    point_step: int,
    centres: Array,
    per_width: float,
    out: Array,
) -> None:
    """Fills out (N, R, H): the sum over entries of the weights at both points beside, by their hats."""
    num, rows, size = out.shape
    for n in range(num):
        for r in range(rows):
            for j in range(size):
                out[n, r, j] = 0.0
            for e in range(actions.shape[1]):
                k, low, high = _beside(actions[r, e], centres, per_width)
                place = first + e * entry_step + k * point_step
                for j in range(size):
                    out[n, r, j] += low * weight[n, place, j] + high * weight[n, place + point_step, j]


@fast_entry_point
def read_back(
    actions: Array,
    g_out: Array,
    first: int,
    entry_step: int,
    point_step: int,
    centres: Array,
    per_width: float,
    g_weight: Array,
) -> None:
    """Adds to `g_weight` the gradient of the weights of `read` by that of what it filled."""
    num, rows, size = g_out.shape
    for n in range(num):
        for r in range(rows):
            for e in range(actions.shape[1]):
                k, low, high = _beside(actions[r, e], centres, per_width)
                place = first + e * entry_step + k * point_step
                for j in range(size):
                    g_weight[n, place, j] += low * g_out[n, r, j]
                    g_weight[n, place + point_step, j] += high * g_out[n, r, j]


@fast_entry_point
def worth(features: Array, mixed: Array, mixed_bias: Array, out: Array) -> None:
    """Fills out (N, R) with the products of features and what `read` made of weights, both (N, R, H), plus biases."""
    num, rows, size = features.shape
    for n in range(num):
        for r in range(rows):
            total = np.float32(0.0)
            for j in range(size):
                total += features[n, r, j] * mixed[n, r, j]
            out[n, r] = total + mixed_bias[n, r, 0]


@fast_entry_point
def slopes(
    features: Array,
    actions: Array,
    weight: Array,
    bias: Array,
    entry_step: int,
    point_step: int,
    centres: Array,
    per_width: float,
    scale: Array,
    out: Array,
) -> None:
    """Fills out (R, E) with the slopes by the action of what `worth` finds, weighted by `scale` (N, R), summed over N.

    At a point an action's slope is that of its neighbours' hats, as PyTorch has it. bias is (N, rows, 1).
    """
    num, rows, size = features.shape
    slope, last = np.float32(per_width), len(centres) - 1
    for r in range(rows):
        for e in range(actions.shape[1]):
            out[r, e] = 0.0
            action = actions[r, e]
            high = _below(action, centres, per_width)
            while high <= last and centres[high] <= action:
                high += 1
            low = high - 1 - (high > 0 and centres[high - 1] == action)
            has_low = low >= 0 and abs(action - centres[low]) * slope <= 1.0
            has_high = high <= last and abs(action - centres[high]) * slope <= 1.0
            of_low, of_high = e * entry_step + low * point_step, e * entry_step + high * point_step
            for n in range(num):
                if scale[n, r] == 0.0:
                    continue
                total = np.float32(0.0)
                if has_high:
                    for j in range(size):
                        total += features[n, r, j] * weight[n, of_high, j]
                    total += bias[n, of_high, 0]
                if has_low:
                    level = bias[n, of_low, 0]
                    for j in range(size):
                        level += features[n, r, j] * weight[n, of_low, j]
                    total -= level
                out[r, e] += scale[n, r] * slope * total
