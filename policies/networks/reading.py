"""What is prepared for a network by zones (`zones.Prepared`), by kernels: each entry is read and written once.

The same numbers as `ZoneMLP.prepare`, which says what they are, to the last bit but one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from policies.networks.blocks import OBSERVATION_CLIP, HatBasis
from policies.networks.zones import Prepared, ZoneMLP
from soc_env.engine.jit import fast_entry_point

Array = np.ndarray


@fast_entry_point
def normalised(x: Array, places: Array, mean: Array, inv_std: Array, clip: float, out: Array) -> None:
    """Fills the first features of `out` with entries of `x`, normalised and within +-clip.

    Args:
        x: (R, size).
        places: (K, F), of the entries.
        mean, inv_std: (K, F).
        clip: largest value.
        out: (R, K, at least F).
    """
    most = np.float32(clip)
    for r in range(len(x)):
        for k in range(len(places)):
            for f in range(places.shape[1]):
                value = (x[r, places[k, f]] - mean[k, f]) * inv_std[k, f]
                out[r, k, f] = min(max(value, -most), most)


@fast_entry_point
def coded(actions: Array, first: int, of_place: int, centres: Array, per_width: float, out: Array, start: int) -> None:
    """Fills features of `out`, from `start` on, with the hat functions of actions, see `blocks.HatBasis`.

    Args:
        actions: (R, entries), `of_place` times as many of them as places, entry by entry, from `first` on.
        of_place: entries of a place.
        centres: (P,) points.
        per_width: inverse distance between them.
        out: (R, K, features).
    """
    slope = np.float32(per_width)
    rows, places, points = len(out), out.shape[1], len(centres)
    for r in range(rows):
        for k in range(places):
            for e in range(of_place):
                action = actions[r, first + e * places + k]
                for p in range(points):
                    hat = np.float32(1.0) - abs(action - centres[p]) * slope
                    out[r, k, start + e * points + p] = max(hat, np.float32(0.0))


@fast_entry_point
def mean_over_places(x: Array, out: Array) -> None:
    """Fills `out`, (R, F), with the mean of the first F features of `x`, (R, K, at least F), over K."""
    for r in range(len(x)):
        for f in range(out.shape[1]):
            out[r, f] = 0.0
        for k in range(x.shape[1]):
            for f in range(out.shape[1]):
                out[r, f] += x[r, k, f]
        for f in range(out.shape[1]):
            out[r, f] /= np.float32(x.shape[1])


def prepare(body: ZoneMLP, observation: torch.Tensor, *actions: torch.Tensor) -> Prepared:
    """As `ZoneMLP.prepare`, of a body that `passes.fits`."""
    embedding, tokens, rows = body.embedding, body.tokens, len(observation)
    if observation.dtype != torch.float32 or (embedding.groups and not isinstance(embedding.basis, HatBasis)):
        return body.prepare(observation, *actions)
    assert embedding.zone is not None
    has_cases, (hidden, width) = embedding.case is not None, embedding.context.weight.shape[-2:]
    zones = torch.empty(rows, len(tokens.zones), embedding.zone.weight.shape[-1])
    context = torch.empty(rows, 1, width - hidden * has_cases)
    cases = torch.empty(rows, *tokens.cases.shape) if has_cases else None
    _normalise(embedding, observation, ((tokens.zones, zones), (tokens.context[None], context), (tokens.cases, cases)))
    if embedding.groups:
        _add_actions(embedding, torch.cat(actions, -1).float(), zones, context)
    if cases is not None:
        context[:, 0, -cases.shape[2] :] = cases[:, 0]
    seen_mean = torch.empty(rows, tokens.num_seen)
    mean_over_places(zones.numpy(), seen_mean.numpy())
    return Prepared(observation, zones, context[:, 0], cases, seen_mean, tokens.num_seen, (), ())


def _normalise(embedding: Any, observation: torch.Tensor, parts: Any) -> None:
    tokens, norm, x = embedding.tokens, embedding.norm, observation.contiguous().numpy()
    number = np.zeros(int(tokens.read[-1]) + 1, np.int64)
    number[tokens.read] = tokens.statistics
    mean, inv_std = norm.mean.numpy(), norm.inv_std.numpy()
    for places, out in parts:
        if out is not None and places.size:
            which = number[places]
            normalised(x, places, mean[which], inv_std[which], OBSERVATION_CLIP, out.numpy())


def _add_actions(embedding: Any, acted: torch.Tensor, zones: torch.Tensor, context: torch.Tensor) -> None:
    """Codes actions behind what is observed of zones and of the context."""
    basis, first = embedding.basis, 0
    starts = [embedding.tokens.zones.shape[1], len(embedding.tokens.context)]
    for group in embedding.groups:
        for k, (out, of_place) in enumerate(zip((zones, context), group, strict=True)):
            coded(acted.numpy(), first, of_place, basis.centres.numpy(), basis.per_width, out.numpy(), starts[k])
            first += of_place * out.shape[1]
            starts[k] += of_place * len(basis.centres)
