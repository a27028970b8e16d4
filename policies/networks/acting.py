"""Networks "mlp" (`policies.networks.blocks.MLP`) as they act in a runner: a kernel a layer.

Rows are few and networks small, so PyTorch spends more on finding its way to a product, and to each of the small
operations beside, than on computing: what it does in a step of the environments leaves the processor's caches until
the next. Kernels here are as fast as its products. They read copies of the weights, turned round, and values are those
of `MLP.forward` up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from policies.networks.blocks import MLP, OBSERVATION_CLIP
from policies.networks.plain import Outputs
from soc_env.engine.jit import IS_COMPILED, fast_entry_point, part

Array = np.ndarray


@fast_entry_point
def standardise(x: Array, mean: Array, inv_std: Array, clip: float, out: Array) -> None:
    """Fills out (R, D) with the first D entries of x (R, at least D), normalised and within +-clip.

    What `reading.normalised` does for entries that lie apart, which takes three to five times as long.
    """
    most = np.float32(clip)
    for r in range(len(x)):
        for j in range(out.shape[1]):
            out[r, j] = min(max((x[r, j] - mean[j]) * inv_std[j], -most), most)


@part
def _finish(bias: Array, is_last: bool, out: Array) -> None:
    least = np.float32(-np.inf) if is_last else np.float32(0.0)
    for j in range(len(out)):
        out[j] = max(out[j] + bias[j], least)


@fast_entry_point
def dense(x: Array, weight: Array, bias: Array, is_last: bool, out: Array) -> None:
    """Fills out (R, H) with x weight + bias, cut off below 0 unless it is the last layer; x (R, I), weight (I, H).

    Four rows and four inputs at once: what is added up stays in registers.
    """
    rows, inputs, size = len(x), x.shape[1], out.shape[1]
    whole, fours = rows - rows % 4, inputs - inputs % 4
    for r in range(rows):
        for j in range(size):
            out[r, j] = 0.0
    for r in range(0, whole, 4):
        for k in range(0, fours, 4):
            a, b, c, d = x[r, k : k + 4], x[r + 1, k : k + 4], x[r + 2, k : k + 4], x[r + 3, k : k + 4]
            a0, a1, a2, a3 = a[0], a[1], a[2], a[3]
            b0, b1, b2, b3 = b[0], b[1], b[2], b[3]
            c0, c1, c2, c3 = c[0], c[1], c[2], c[3]
            d0, d1, d2, d3 = d[0], d[1], d[2], d[3]
            for j in range(size):
                w0, w1, w2, w3 = weight[k, j], weight[k + 1, j], weight[k + 2, j], weight[k + 3, j]
                out[r, j] += a0 * w0 + a1 * w1 + a2 * w2 + a3 * w3
                out[r + 1, j] += b0 * w0 + b1 * w1 + b2 * w2 + b3 * w3
                out[r + 2, j] += c0 * w0 + c1 * w1 + c2 * w2 + c3 * w3
                out[r + 3, j] += d0 * w0 + d1 * w1 + d2 * w2 + d3 * w3
    for r in range(rows):
        for k in range(fours if r < whole else 0, inputs):
            for j in range(size):
                out[r, j] += x[r, k] * weight[k, j]
        _finish(bias, is_last, out[r])


def fits(body: Any, layers: Sequence[Any]) -> bool:
    """Whether `ActingMLP` computes what that body does, and the output layers on it."""
    is_plain = isinstance(body, MLP) and body.memory is None and not body.reads_actions and body.eps is None
    return is_plain and IS_COMPILED and body.norm.mean.device.type == "cpu" and all(map(Outputs.has_form, layers))


class ActingMLP:
    """An `MLP` and its output layer, on up to so many rows.

    Args:
        body: which `fits`.
        layers: its output layer; or two, of which the second is added to the first minus its mean (a dueling network).
        num_rows: the most rows.
    """

    def __init__(self, body: MLP, layers: Sequence[Any], num_rows: int):
        self.body, self.outputs = body, [Outputs(layer, 0, is_trained=False) for layer in layers]
        self.linear = [layer for layer in body.layers if isinstance(layer, nn.Linear)]
        sizes = [body.obs_dim, *(len(layer.weight) for layer in self.linear)]
        self.memory = [np.zeros((num_rows, size), np.float32) for size in sizes]
        self.refresh()

    def refresh(self) -> None:
        """Takes over the weights as they are."""
        with torch.no_grad():
            products = [(layer.weight, layer.bias) for layer in self.linear]
            (weight, bias), *more = (outputs.composed() for outputs in self.outputs)
            for of_value, value in more:
                weight, bias = weight - weight.mean(0) + of_value, bias - bias.mean() + value
            self.norm = [part.numpy().copy() for part in (self.body.norm.mean, self.body.norm.inv_std)]
            self.products = [(w.t().contiguous().numpy(), b.numpy().copy()) for w, b in (*products, (weight, bias))]

    def __call__(self, seen: Array) -> Array:
        """What the output layer says of observations (R, size): (R, outputs)."""
        x, *hidden = (part[: len(seen)] for part in self.memory)
        standardise(seen, *self.norm, OBSERVATION_CLIP, x)
        out = np.empty((len(seen), len(self.products[-1][1])), np.float32)
        for (weight, bias), y in zip(self.products, (*hidden, out), strict=True):
            dense(x, weight, bias, y is out, y)
            x = y
        return out
