"""Loss terms beside an algorithm's own, by columns of the batch, in the same gradient step as the algorithm's loss.

`TERMS` has a function for each marker column. Where a batch has the column, its terms are added to the losses of the
optimisers that they are for; without such a column a learner does what it did without this module. In the same step,
because an optimiser of Adam's kind scales every step of its own to unit size: a term alone would have no weight.

Imitation (Schmitt et al. 2018, "Kickstarting Deep Reinforcement Learning"; for values Hester et al. 2018): squared
error of the mean action, or cross-entropy of the choice, weighted row by row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from ray.rllib.core.columns import Columns
from torch.nn import functional as F

from policies.learners.counterfactual import DIFFERENCE, counterfactual

TEACHER_ACTIONS = "teacher_actions"  # (B, flat size), or (B,) whole numbers of a choice: what a teacher did there
TEACHER_WEIGHT = "teacher_weight"  # (B,) of the row in the imitation term; 0 leaves it out
MOST = 0.995  # of an action that is imitated: a squashed mean never gets to the end, and would grow without end
POLICY, QF = "policy", "qf"  # optimisers
RESTS = "policy_rests"  # among the timesteps of an update: the optimiser of the policy makes no step

Batch = Mapping[str, torch.Tensor]
Losses = dict[str, torch.Tensor]


def imitation_errors(module: Any, observation: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
    """How far a tier's network is from what a teacher does, row by row: (B,).

    A choice that masking makes impossible cannot be imitated: its error is 0.

    Args:
        module: a `policies.algorithms.network.TierNetwork`.
        observation: (B, size).
        taught: (B, flat size), or (B,) choices.
    """
    outputs = module.outputs(observation)
    if not module.is_discrete:
        return (outputs - taught.clamp(-MOST, MOST)).pow(2).mean(-1)
    chosen = taught.long()
    is_possible = outputs.gather(-1, chosen[:, None]).squeeze(-1) > torch.finfo(outputs.dtype).min
    # The zeros of impossible rows take part in no gradient.
    logits = torch.where(is_possible[:, None], outputs, torch.zeros_like(outputs))
    return F.cross_entropy(logits, chosen, reduction="none") * is_possible


def imitation(module: Any, batch: Batch) -> Losses:
    """The imitation term, by `TEACHER_ACTIONS` and `TEACHER_WEIGHT`."""
    errors = imitation_errors(module, batch[Columns.OBS], batch[TEACHER_ACTIONS])
    return {POLICY: (batch[TEACHER_WEIGHT] * errors).mean()}


TERMS: dict[str, Callable[[Any, Batch], Losses]] = {TEACHER_ACTIONS: imitation, DIFFERENCE: counterfactual}
"""Marker column -> function (module, batch) -> {optimiser: loss}."""


def terms_of(module: Any, batch: Batch) -> dict[str, Losses]:
    """Name of a term -> its losses by optimiser, of the terms that the batch has columns for."""
    return {term.__name__: term(module, batch) for marker, term in TERMS.items() if marker in batch}
