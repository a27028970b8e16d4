"""Settings that each scenario is trained with: data alone, each number with its reason.

"Search" in these files is the search of November 2026: the number is the one that was found in it, and no better reason
is known. What groups of settings buy was measured one by one (docs/learning/presets.md); what bought nothing is no
longer here. A preset is what `HMARLConfig.training(...)` takes; what it leaves out has its default.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from policies.presets.cage4 import CAGE4_FROM_SCRATCH, CAGE4_RUN, CAGE4_TAUGHT, CAGE4_TUNED
from policies.presets.paper_v0 import PAPER_V0, PAPER_V0_TAUGHT
from policies.presets.soc_v1 import SOC_V1, SOC_V1_CREDIT, SOC_V1_CREDIT_SCRATCH, SOC_V1_TAUGHT
from soc_env.settings import merged

__all__ = [
    "CAGE4_FROM_SCRATCH",
    "CAGE4_RUN",
    "CAGE4_TAUGHT",
    "CAGE4_TUNED",
    "DEFAULT_NUM_ENVS",
    "NUM_ENVS",
    "PRESETS",
    "TAUGHT",
    "credit_of",
    "preset_of",
    "with_changes",
]

PRESETS: dict[str, dict[str, Any]] = {"paper-v0": PAPER_V0, "soc-v1": SOC_V1}
TAUGHT: dict[str, dict[str, Any]] = {
    "paper-v0": PAPER_V0_TAUGHT,
    "soc-v1": SOC_V1_TAUGHT,
}  # what differs where a teacher begins
CREDIT: dict[str, dict[str, Any]] = {"soc-v1": SOC_V1_CREDIT}  # what differs with counterfactual credit
CREDIT_SCRATCH: dict[str, dict[str, Any]] = {"soc-v1": SOC_V1_CREDIT_SCRATCH}  # the same, where no teacher begins
PRESET_OF = dict.fromkeys(("soc-v2", "soc-cage4-v0", "soc-cage4-v1"), "soc-v1")  # scenarios that use another's preset
DEFAULT_NUM_ENVS = 64  # environments of an env runner
NUM_ENVS = {"paper-v0": 256}  # the same, where it differs: simulation of paper-v0 is nearly free


def preset_of(scenario: str, *, is_taught: bool = False) -> dict[str, Any]:
    """A copy of the preset that a scenario is trained with, `is_taught` of one that a teacher begins; {} if it has
    none."""
    name = PRESET_OF.get(scenario, scenario)
    return with_changes(PRESETS.get(name, {}), TAUGHT.get(name, {}) if is_taught else {})


def credit_of(scenario: str, *, is_taught: bool = False) -> dict[str, Any]:
    """A copy of what goes on top of a scenario's preset for counterfactual credit; {} if there is nothing."""
    name = PRESET_OF.get(scenario, scenario)
    return with_changes(CREDIT.get(name, {}), {} if is_taught else CREDIT_SCRATCH.get(name, {}))


def with_changes(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A copy of settings by name, "tiers" among them, with some changed; those of a tier one by one."""
    before, own = settings.get("tiers", {}), changes.get("tiers", {})
    tiers = {tier: merged(before.get(tier, {}), own.get(tier, {})) for tier in {**before, **own}}
    return copy.deepcopy({**settings, **changes, **({"tiers": tiers} if tiers else {})})
