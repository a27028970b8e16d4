"""The named actions of `paper-v0` behind `actions="discrete"`, and what an agent does that never sends one.

`PRESETS[agent]` is an ordered dict name -> vector of the agent's Box; the Discrete space has one choice per entry. A
level of 0 is "off" and 1 is "full"; vectors hold 2 * level - 1, as the tools read (x + 1) / 2.

The coordinator's eight directives are those of the published training set-up. The hunter's and the orchestrator's rows
are an assumption: levels on either side of the simulator's thresholds (0.3 and 0.7 for hunting, 0.5 and 0.9 for
isolation, 0.5 for remediation), in all segments or in one. The best constant action known for `paper-v0` is among them:
`directive_0`, `thorough`, `isolate`.
"""

from __future__ import annotations

import numpy as np

from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR
from soc_env.paper.scenario import NUM_SEGMENTS
from soc_env.paper.tables import ACTIONS, DIRECTIVE_SIZE


def _vector(agent: str, first: list[float], second: list[float]) -> np.ndarray:
    """A Box action of two levels per segment; the unused entries are 0."""
    vector = np.zeros(len(ACTIONS[agent]), np.float32)
    levels = np.array(first + second, np.float32)
    vector[: levels.size] = 2 * levels - 1
    return vector


def _everywhere(agent: str, first: float, second: float) -> np.ndarray:
    return _vector(agent, [first] * NUM_SEGMENTS, [second] * NUM_SEGMENTS)


def _only_in(agent: str, segment: int, first: float, second: float) -> np.ndarray:
    here = [float(s == segment) for s in range(NUM_SEGMENTS)]
    return _vector(agent, [first * h for h in here], [second * h for h in here])


def _directive(choice: int) -> np.ndarray:
    """Directive `choice` of the published training set-up: four priorities, each with a switch on entries 3 and 7."""
    level, switch = choice % 4, choice // 4
    p = -1 + 2 * level / 3
    directive = np.zeros(DIRECTIVE_SIZE, np.float32)
    directive[[0, 2, 4]] = p
    directive[[1, 5, 6]] = 0.8 * p, 0.6 * p, 0.5 * p
    directive[[3, 7]] = switch, 0.5 * switch
    return directive


# Just under a threshold, never on it: 2 * level - 1 is rounded to float32 on its way to the tools.
QUIET_HUNT, THOROUGH_HUNT = 0.39, 0.69  # no false scans with the coordinator's full boost of 0.3, or with none
CAREFUL_ISOLATION, FIRM_ISOLATION = 0.69, 0.89  # no clean host isolated with the full boost of 0.2, or with none

PRESETS: dict[str, dict[str, np.ndarray]] = {
    HUNTER: {  # intensity, scope
        "rest": _everywhere(HUNTER, 0.0, 0.0),
        "neutral": _everywhere(HUNTER, 0.5, 0.5),
        "quiet": _everywhere(HUNTER, QUIET_HUNT, 1.0),
        "thorough": _everywhere(HUNTER, THOROUGH_HUNT, 1.0),
        "all_out": _everywhere(HUNTER, 1.0, 1.0),
        **{f"only_segment_{s}": _only_in(HUNTER, s, THOROUGH_HUNT, 1.0) for s in range(NUM_SEGMENTS)},
    },
    ORCHESTRATOR: {  # isolation, remediation
        "rest": _everywhere(ORCHESTRATOR, 0.0, 0.0),
        "neutral": _everywhere(ORCHESTRATOR, 0.5, 0.5),
        "contain": _everywhere(ORCHESTRATOR, CAREFUL_ISOLATION, 0.0),
        "isolate": _everywhere(ORCHESTRATOR, FIRM_ISOLATION, 0.0),
        "isolate_and_remediate": _everywhere(ORCHESTRATOR, FIRM_ISOLATION, 0.9),
        "all_out": _everywhere(ORCHESTRATOR, 1.0, 1.0),
        **{f"only_segment_{s}": _only_in(ORCHESTRATOR, s, FIRM_ISOLATION, 0.0) for s in range(NUM_SEGMENTS)},
    },
    COORDINATOR: {f"directive_{choice}": _directive(choice) for choice in range(8)},
}


def idle_actions() -> dict[str, np.ndarray]:
    """Box agent -> what it does if it never sends an action: zeros, as published. Fresh arrays."""
    return {agent: np.zeros(len(ACTIONS[agent]), np.float32) for agent in PRESETS}
