"""The worth of an action that is piecewise linear in every entry, from values as a network's output layer has them.

`policies.networks.action_kernels` has it for values that lie the other way round, point by point; here they are as
`policies.networks.blocks.ActionValues` gets them of any network, (N, R, P * E): N critics, R rows, P points, E entries.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.autograd.function import once_differentiable

from soc_env.engine.jit import fast_entry_point, part

Array = np.ndarray


@part
def _weights(action: Array, centres: Array, slope: float, weights: Array) -> None:
    """Fills weights (P * E,): of each point the hat at the action's entry, minus the mean of hats."""
    points, entries = len(centres), len(action)
    share = np.float32(1.0) / np.float32(points)
    for e in range(entries):
        total = np.float32(0.0)
        for p in range(points):
            hat = max(np.float32(1.0) - abs(action[e] - centres[p]) * slope, np.float32(0.0))
            weights[p * entries + e] = hat
            total += hat
        for p in range(points):
            weights[p * entries + e] -= total * share


@fast_entry_point
def worth(values: Array, actions: Array, centres: Array, per_width: float, scratch: Array, out: Array) -> None:
    """Fills out (N, R) with what N critics make of actions (R, E); scratch is (P * E,)."""
    num, rows, size = values.shape
    slope = np.float32(per_width)
    for r in range(rows):
        _weights(actions[r], centres, slope, scratch)
        for n in range(num):
            total = np.float32(0.0)
            for k in range(size):
                total += values[n, r, k] * scratch[k]
            out[n, r] = total


@fast_entry_point
def worth_back(actions: Array, centres: Array, per_width: float, scratch: Array, g_out: Array, g_values: Array) -> None:
    """Fills g_values (N, R, P * E) by the gradient (N, R) of what `worth` found."""
    num, rows, size = g_values.shape
    slope = np.float32(per_width)
    for r in range(rows):
        _weights(actions[r], centres, slope, scratch)
        for n in range(num):
            for k in range(size):
                g_values[n, r, k] = g_out[n, r] * scratch[k]


@fast_entry_point
def slopes(values: Array, actions: Array, centres: Array, per_width: float, g_out: Array, g_actions: Array) -> None:
    """Fills g_actions (R, E) by the gradient (N, R) of what `worth` found. At a point an action's slope is that of its
    neighbours' hats, as PyTorch has it."""
    num, rows, points, entries = len(values), len(actions), len(centres), actions.shape[1]
    slope, share = np.float32(per_width), np.float32(1.0) / np.float32(points)
    for r in range(rows):
        for e in range(entries):
            g_actions[r, e] = 0.0
        for n in range(num):
            for e in range(entries):
                total, level, falls = np.float32(0.0), np.float32(0.0), np.float32(0.0)
                for p in range(points):
                    away = actions[r, e] - centres[p]
                    level += values[n, r, p * entries + e]
                    if np.float32(1.0) - abs(away) * slope >= 0.0 and away != 0.0:
                        fall = -slope if away > 0.0 else slope
                        falls += fall
                        total += fall * values[n, r, p * entries + e]
                g_actions[r, e] += g_out[n, r] * (total - falls * share * level)


class Worth(torch.autograd.Function):
    """(values (..., P, E), actions (..., E) without the axis of networks, centres (P,), inverse distance between them)
    -> (...): sum over points and entries of values, each counted from its mean over points, by hats."""

    @staticmethod
    def forward(
        ctx: Any, values: torch.Tensor, actions: torch.Tensor, centres: torch.Tensor, per_width: float
    ) -> torch.Tensor:
        points, entries = values.shape[-2:]
        rows = actions.detach().contiguous().view(-1, entries)
        flat = values.detach().contiguous().view(-1, len(rows), points * entries)
        out = torch.empty(flat.shape[:2])
        scratch = torch.empty(points * entries).numpy()
        worth(flat.numpy(), rows.numpy(), centres.numpy(), per_width, scratch, out.numpy())
        ctx.save_for_backward(values, actions, centres)
        ctx.per_width = per_width
        return out.view(values.shape[:-2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g_out: torch.Tensor) -> tuple[Any, ...]:
        values, actions, centres = ctx.saved_tensors
        points, entries = values.shape[-2:]
        rows = actions.detach().contiguous().view(-1, entries)
        gradient = g_out.contiguous().view(-1, len(rows)).numpy()
        g_values = g_actions = None
        if ctx.needs_input_grad[0]:
            g_values = torch.empty(values.shape)
            filled = g_values.view(-1, len(rows), points * entries).numpy()
            scratch = torch.empty(points * entries).numpy()
            worth_back(rows.numpy(), centres.numpy(), ctx.per_width, scratch, gradient, filled)
        if ctx.needs_input_grad[1]:
            g_actions = torch.empty(actions.shape)
            flat = values.detach().contiguous().view(-1, len(rows), points * entries).numpy()
            filled = g_actions.view(-1, entries).numpy()
            slopes(flat, rows.numpy(), centres.numpy(), ctx.per_width, gradient, filled)
        return g_values, g_actions, None, None
