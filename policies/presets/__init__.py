"""Settings that each scenario is trained with: data alone, each number with its reason.

"Search" in these files is the search of November 2026: the number is the one that was found in it, and no better reason
is known. A preset is what `HMARLConfig.training(...)` takes; what it leaves out has its default.
"""

from __future__ import annotations

import copy
from typing import Any

from policies.presets.cage4 import CAGE4_FROM_SCRATCH, CAGE4_RUN, CAGE4_TUNED
from policies.presets.paper_v0 import PAPER_V0
from policies.presets.soc_v1 import SOC_V1

__all__ = ["CAGE4_FROM_SCRATCH", "CAGE4_RUN", "CAGE4_TUNED", "DEFAULT_NUM_ENVS", "NUM_ENVS", "PRESETS", "preset_of"]

PRESETS: dict[str, dict[str, Any]] = {"paper-v0": PAPER_V0, "soc-v1": SOC_V1}
PRESET_OF = {"soc-cage4-v0": "soc-v1"}  # scenarios that use another's preset
DEFAULT_NUM_ENVS = 64  # environments of an env runner
NUM_ENVS = {"paper-v0": 256}  # the same, where it differs: simulation of paper-v0 is nearly free


def preset_of(scenario: str) -> dict[str, Any]:
    """A copy of the preset that a scenario is trained with; {} if it has none."""
    return copy.deepcopy(PRESETS.get(PRESET_OF.get(scenario, scenario), {}))
