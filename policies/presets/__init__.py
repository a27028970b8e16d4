"""Settings that each scenario is trained with: data alone, each number with its reason.

"Search" in these files is the search of November 2026: the number is the one that was found in it, and no better reason
is known. A preset is what `HMARLConfig.training(...)` takes; what it leaves out has its default.
"""

from __future__ import annotations

import copy
from typing import Any

from policies.presets.cage4 import CAGE4_FROM_SCRATCH, CAGE4_RUN, CAGE4_TUNED
from policies.presets.paper_v0 import PAPER_V0, PAPER_V0_TAUGHT
from policies.presets.soc_v1 import SOC_V1, SOC_V1_TAUGHT
from soc_env.settings import merged

__all__ = [
    "CAGE4_FROM_SCRATCH",
    "CAGE4_RUN",
    "CAGE4_TUNED",
    "DEFAULT_NUM_ENVS",
    "NUM_ENVS",
    "PRESETS",
    "TAUGHT",
    "preset_of",
]

PRESETS: dict[str, dict[str, Any]] = {"paper-v0": PAPER_V0, "soc-v1": SOC_V1}
TAUGHT: dict[str, dict[str, Any]] = {
    "paper-v0": PAPER_V0_TAUGHT,
    "soc-v1": SOC_V1_TAUGHT,
}  # what differs where a teacher begins
PRESET_OF = {"soc-cage4-v0": "soc-v1"}  # scenarios that use another's preset
DEFAULT_NUM_ENVS = 64  # environments of an env runner
NUM_ENVS = {"paper-v0": 256}  # the same, where it differs: simulation of paper-v0 is nearly free


def preset_of(scenario: str, *, is_taught: bool = False) -> dict[str, Any]:
    """A copy of the preset that a scenario is trained with, `is_taught` of one that a teacher begins; {} if it has
    none."""
    name = PRESET_OF.get(scenario, scenario)
    changes = TAUGHT.get(name, {}) if is_taught else {}
    preset = copy.deepcopy({**PRESETS.get(name, {}), **changes, "tiers": PRESETS.get(name, {}).get("tiers", {})})
    for tier, own in changes.get("tiers", {}).items():
        preset["tiers"][tier] = merged(preset["tiers"][tier], copy.deepcopy(own))
    return preset if name in PRESETS else {}
