"""The passes over values of actions that are piecewise linear in every entry (`policies.networks.blocks.ActionValues`).

An entry has a value at each of P points; between them it is in proportion, and it counts from the mean over the points.
Arrays are float32: N critics side by side, E entries of an action, T places where such an action is taken (the zones of
all rows, or the rows), `T // R` of them in a row. Values (N, P * E, T) are in the order of points.
"""

from __future__ import annotations

import numpy as np

from soc_env.engine.jit import fast_entry_point

Array = np.ndarray


@fast_entry_point
def worth(
    values: Array, bias: Array, action: Array, centres: Array, per_width: float, scratch: Array, out: Array
) -> None:
    """Adds the value of actions to `out`, (N, R).

    Args:
        values: (N, P * E, T).
        bias: (N, P * E), is added to them.
        action: (E, T).
        centres: (P,) points.
        per_width: inverse distance between them.
        scratch: (3, at least T).
        out: (N, R).
    """
    num, entries, places, points, rows = len(values), len(action), action.shape[1], len(centres), out.shape[1]
    slope, share, in_row = np.float32(per_width), np.float32(1.0) / np.float32(points), action.shape[1] // out.shape[1]
    for n in range(num):
        for e in range(entries):
            for t in range(places):
                scratch[0, t] = 0.0
                scratch[1, t] = 0.0
                scratch[2, t] = 0.0
            for p in range(points):
                add, centre = bias[n, p * entries + e], centres[p]
                for t in range(places):
                    hat = max(np.float32(1.0) - abs(action[e, t] - centre) * slope, np.float32(0.0))
                    value = values[n, p * entries + e, t] + add
                    scratch[0, t] += hat * value
                    scratch[1, t] += hat
                    scratch[2, t] += value
            for t in range(places):
                scratch[0, t] -= scratch[1, t] * scratch[2, t] * share
            for r in range(rows):
                for z in range(in_row):
                    out[n, r] += scratch[0, r * in_row + z]


@fast_entry_point
def slopes(
    values: Array,
    bias: Array,
    action: Array,
    centres: Array,
    per_width: float,
    scale: Array,
    scratch: Array,
    out: Array,
) -> None:
    """Fills `out`, (E, T), with the slopes of `worth` by the action, weighted by `scale` (N, R) and summed over N."""
    num, entries, places, points, rows = len(values), len(action), action.shape[1], len(centres), scale.shape[1]
    slope, share, in_row = (
        np.float32(per_width),
        np.float32(1.0) / np.float32(points),
        action.shape[1] // scale.shape[1],
    )
    for e in range(entries):
        for t in range(places):
            out[e, t] = 0.0
        for n in range(num):
            for t in range(places):
                scratch[0, t] = 0.0
                scratch[1, t] = 0.0
                scratch[2, t] = 0.0
            for p in range(points):
                add, centre = bias[n, p * entries + e], centres[p]
                for t in range(places):
                    away = (action[e, t] - centre) * slope
                    rise = -slope if away > 0.0 else slope
                    rise = rise if abs(away) <= 1.0 and away != 0.0 else np.float32(0.0)
                    value = values[n, p * entries + e, t] + add
                    scratch[0, t] += rise * value
                    scratch[1, t] += rise
                    scratch[2, t] += value
            for r in range(rows):
                for z in range(in_row):
                    t = r * in_row + z
                    out[e, t] += scale[n, r] * (scratch[0, t] - scratch[1, t] * scratch[2, t] * share)


@fast_entry_point
def worth_back(action: Array, centres: Array, per_width: float, scale: Array, scratch: Array, g_values: Array) -> None:
    """Fills `g_values`, (N, P * E, T), with the gradient of the values in `worth` by that of what it adds, (N, R)."""
    num, entries, places, points, rows = len(g_values), len(action), action.shape[1], len(centres), scale.shape[1]
    slope, share, in_row = (
        np.float32(per_width),
        np.float32(1.0) / np.float32(points),
        action.shape[1] // scale.shape[1],
    )
    for e in range(entries):
        for t in range(places):
            scratch[0, t] = 0.0
        for p in range(points):
            for t in range(places):
                scratch[0, t] += max(np.float32(1.0) - abs(action[e, t] - centres[p]) * slope, np.float32(0.0))
        for t in range(places):
            scratch[0, t] *= share
        for n in range(num):
            for r in range(rows):
                for z in range(in_row):
                    scratch[1, r * in_row + z] = scale[n, r]
            for p in range(points):
                for t in range(places):
                    hat = max(np.float32(1.0) - abs(action[e, t] - centres[p]) * slope, np.float32(0.0))
                    g_values[n, p * entries + e, t] = scratch[1, t] * (hat - scratch[0, t])
