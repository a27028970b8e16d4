"""Says of a name that is no setting of a tier's algorithm where it belongs."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

from policies.algorithms import ALGORITHMS
from policies.algorithms.settings import Part
from soc_env.errors import unknown_name
from soc_env.settings import field_names

RENAMED = {
    "network": "'encoder'",
    "use_mask": "'action_masking'",
    "noise_std": "'exploration': {'std': ...}",
    "noise_steps": "'exploration': {'hold_steps': ...}",
    "noise_ladder": "'exploration': {'scale_range': [lowest, highest]}",
    "noise_by_draw": "gone: where 'exploration': {'scale_range': ...} has two numbers, it is by draw",
    "action_bins": "'critic': {'bins': ...}",
    "critic_layer_norm": "'critic': {'layer_norm': ...}",
    "twin_q": "'critic': {'twin': ...}",
    "action_groups": "'segment_sharing': share of each output of its own",
    "group_deviation": "'segment_sharing'",
    "initial_action": "'rest': {'action': ...}",
    "pre_tanh_l2": "'rest': {'weight': ...}",
    "actor_noise": "'actor': {'smoothing': [lowest, highest]}",
    "metric_rewards": "'reward_shaping': {'metrics': ...}",
    "average_rate": "'ema_tau', which holds for all tiers: HMARLConfig.training(ema_tau=...)",
}
"""Names of older versions -> what takes their place."""


def parts_of(settings: type) -> dict[str, type[Part]]:
    """The parts of a settings dataclass by name."""
    specs = dataclasses.fields(settings)
    return {spec.name: spec.metadata["part"] for spec in specs if "part" in spec.metadata}


def _all_names(settings: type) -> list[str]:
    return field_names(settings) + [name for kind in parts_of(settings).values() for name in field_names(kind)]


def explain(algorithm: str, name: str, of_all: Collection[str] = (), of_rllib: Collection[str] = ()) -> str:
    """One line about a name that is no setting of that algorithm.

    Args:
        algorithm: a key of `ALGORITHMS`.
        name: what was given.
        of_all: names of the settings that hold for all tiers.
        of_rllib: names of RLlib's own settings of the algorithm.
    """
    own = ALGORITHMS[algorithm].settings
    within = [part for part, kind in parts_of(own).items() if name in field_names(kind)]
    others = [other for other, entry in ALGORITHMS.items() if name in _all_names(entry.settings)]
    no_effect = f"{algorithm} has no setting {name!r}"
    if name == "critic":
        return f"{no_effect}: its values are its policy; {' and '.join(others)} have critics apart from theirs"
    if name in RENAMED:
        return f"{name!r} of older versions is now {RENAMED[name]}"
    if name in of_all:
        return f"{no_effect}: it holds for all tiers, HMARLConfig.training({name}=...)"
    if within:
        return f"{no_effect}, it is one of {within[0]!r}: {{{within[0]!r}: {{{name!r}: ...}}}}"
    if others:
        return f"{no_effect}, {' and '.join(others)} {'has' if len(others) == 1 else 'have'}"
    if name in of_rllib:
        allowed = ", ".join(field_names(parts_of(own)["rllib"]))
        return f"{no_effect}: RLlib's would have no effect on a tier; of RLlib's, 'rllib' takes {allowed}"
    return unknown_name(f"setting of {algorithm}", name, field_names(own))
