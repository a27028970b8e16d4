"""Learning from differences between alternatives: one adapter for each algorithm.

A row says that in some situation an alternative was worth so much more, or less, than the tier's own choice
(`policies.hmarl.counterfactual` measures it). What is learned from it is a difference alone, never a level:

* PPO: the difference is the advantage of the alternative, both choices being drawn by the policy; half of it counts for
  the one and minus half for the other, each clipped as PPO clips (Schulman et al. 2017, equation 7).
* SAC, MADDPG: Huber loss of Q(s, alternative) - Q(s, choice), in each of the twins; the actor climbs what they learn.
* DQN: the same of its values of the two choices.

Differences are small beside returns, so they are in units of their own root mean square, r. The loss of a critic is
r times the Huber loss of its errors in that unit: its slope by what the critic puts out is 1 at an error of r, as that
of a temporal difference is 1 at an error of a return. Beyond 10 r it grows no more: most alternatives change little and
a few change much, and a loss that counts those less would learn the median.

Rows have a weight each; those of weight 0 only fill the batch, as do all beyond the first `Adapter.one_in`-th.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from policies.learners.columns import CRITIC_OBS, JOINT_OBS, OTHER_ACTIONS, read_by_critics
from policies.networks.blocks import ACTIONS, OBS

OBSERVED = "cf_obs"  # (B, size) the tier's own
JOINT, OTHERS = "cf_joint_obs", "cf_other_actions"  # as `JOINT_OBS` and `OTHER_ACTIONS`, for central critics
TOLD = "cf_critic_obs"  # as `CRITIC_OBS`, for critics that read the state
CHOICE, ALTERNATIVE = "cf_base_actions", "cf_actions"  # (B, dim), or (B,) whole numbers
CHOICE_LOGP, ALTERNATIVE_LOGP = "cf_base_logp", "cf_logp"  # (B,) when they were drawn; PPO alone
DIFFERENCE = "cf_difference"  # (B,) alternative minus choice, in units of their root mean square
UNIT = "cf_unit"  # (B,) that unit, in units of the return scale
WEIGHT = "cf_weight"  # (B,)
COLUMNS = (
    *(OBSERVED, TOLD, JOINT, OTHERS, CHOICE, ALTERNATIVE, CHOICE_LOGP, ALTERNATIVE_LOGP),
    *(DIFFERENCE, UNIT, WEIGHT),
)
READ = {OBS: OBSERVED, JOINT_OBS: JOINT, OTHER_ACTIONS: OTHERS, CRITIC_OBS: TOLD}  # critics read -> rows have

LARGEST = 10.0  # error of a critic, and advantage, that counts in full

Batch = Mapping[str, torch.Tensor]
Losses = dict[str, torch.Tensor]
ZERO = torch.zeros(())
POLICY, QF = "policy", "qf"  # optimisers


class Adapter(NamedTuple):
    """How an algorithm learns from differences.

    Attributes:
        loss: (module, batch) -> loss by optimiser.
        value: (module, columns of B situations) -> (B,) their values, in units of the module's return scale. Columns
            are `OBS`, `ACTIONS` (what the policy does there), for central critics `JOINT_OBS` and `OTHER_ACTIONS`, for
            others that read the state `CRITIC_OBS`.
        draws_choice: whether the tier's own choice is a draw of its policy too; otherwise the best that it knows.
        one_in: a gradient step takes one difference for so many rows of its batch, in the first rows of it. Differences
            are few and say much: more of them a step cost as much as the algorithm's own loss and only repeat.
    """

    loss: Callable[[Any, Batch], Losses]
    value: Callable[[Any, Batch], torch.Tensor]
    draws_choice: bool = False
    one_in: int = 1


def _policy_loss(module: Any, batch: Batch) -> Losses:
    distribution = module.draw(batch[OBSERVED], explore=False).distribution
    half = batch[DIFFERENCE].clamp(-LARGEST, LARGEST) / 2
    clip, gain = module.settings.rllib.clip_param, torch.zeros_like(batch[DIFFERENCE])
    for actions, logp, advantage in (
        (batch[ALTERNATIVE], batch[ALTERNATIVE_LOGP], half),
        (batch[CHOICE], batch[CHOICE_LOGP], -half),
    ):
        now = distribution.log_prob(actions)
        ratio = torch.exp((now if now.dim() == 1 else now.sum(-1)) - logp)
        gain = gain + torch.min(advantage * ratio, advantage * ratio.clamp(1 - clip, 1 + clip))
    return {POLICY: -(batch[WEIGHT] * gain).mean()}


def _difference_loss(batch: Batch, choice: torch.Tensor, alternative: torch.Tensor) -> torch.Tensor:
    found = (alternative - choice) / batch[UNIT]
    error = F.huber_loss(found, batch[DIFFERENCE], reduction="none", delta=LARGEST)
    return (batch[WEIGHT] * batch[UNIT] * error).mean()


def _critics_loss(module: Any, batch: Batch) -> Losses:
    """By critic, of those that are asked for the values of actions: `module.values_of`."""
    columns = {name: batch[own] for name, own in READ.items() if own in batch}
    choices, alternatives = module.values_of(columns, batch[CHOICE], batch[ALTERNATIVE])
    return {
        name: _difference_loss(batch, choice, alternative)
        for name, choice, alternative in zip(module.critics(), choices, alternatives, strict=True)
    }


def _choices_loss(module: Any, batch: Batch) -> Losses:
    """Of a network that puts out the values of all choices."""
    values = module.values(batch[OBSERVED])
    choice, alternative = (values.gather(-1, batch[name].long()[:, None]).squeeze(-1) for name in (CHOICE, ALTERNATIVE))
    return {POLICY: _difference_loss(batch, choice, alternative)}


def _value(module: Any, columns: Batch) -> torch.Tensor:
    found: torch.Tensor = module.compute_values({OBS: columns[read_by_critics(columns)]})
    return found


def _lowest(module: Any, columns: Batch) -> torch.Tensor:
    module.side_by_side().stacked.link()  # weights may have been loaded since the last update
    return module.values_of(columns, columns[ACTIONS])[0].amin(0)


ADAPTERS: dict[str, Adapter] = {
    "PPO": Adapter(_policy_loss, _value, draws_choice=True),
    "SAC": Adapter(_critics_loss, _lowest, one_in=4),
    # one optimiser has both critics
    "MADDPG": Adapter(lambda module, batch: {QF: sum(_critics_loss(module, batch).values(), ZERO)}, _lowest, one_in=4),
    "DQN": Adapter(_choices_loss, lambda module, columns: module.values(columns[OBS]).amax(-1), one_in=4),
}
"""By the names of `policies.algorithms.ALGORITHMS`."""


def counterfactual(module: Any, batch: Batch) -> Losses:
    """The term of `policies.learners.terms`, by `DIFFERENCE`."""
    adapter = ADAPTERS[module.settings.algorithm]
    rows = -(-len(batch[DIFFERENCE]) // adapter.one_in)
    return adapter.loss(module, {name: batch[name][:rows] for name in COLUMNS if name in batch})


def values(module: Any, columns: Mapping[str, np.ndarray]) -> np.ndarray:
    """(B,) values of situations [reward]."""
    with torch.no_grad():
        seen = {name: torch.as_tensor(column) for name, column in columns.items()}
        found = ADAPTERS[module.settings.algorithm].value(module, seen)
    return found.numpy().astype(np.float64) * float(module.return_scale)
