"""What agents may send: checks of single actions, and the presets behind `actions="discrete"`.

`presets_of(scenario)[agent]` is an ordered dict name -> vector of the agent's Box; the Discrete space has one choice
per entry. A level of 0 is "off" and 1 is "full"; vectors hold 2 * level - 1, as the tools read (x + 1) / 2.

**soc-v1**: `soc_presets(num_zones)`. Choice 0 of each agent does nothing. Levels are an assumption, well inside the
bands that the tools tell apart (`soc_env.soc.tables.actions`); the routine hunt is that of the rule-based playbook.

**paper-v0**: `PRESETS`. The coordinator's eight directives are those of the published training set-up.
The hunter's and the orchestrator's rows are an assumption: levels on either side of the simulator's thresholds (0.3 and
0.7 for hunting, 0.5 and 0.9 for isolation, 0.5 for remediation), in all segments or in one. The best constant action
known for `paper-v0` is among them: `directive_0`, `thorough`, `isolate`.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import numpy as np

from soc_env.errors import ActionError
from soc_env.paper.tables import ACTIONS, COORDINATOR, DIRECTIVE_SIZE, HUNTER, NUM_SEGMENTS, ORCHESTRATOR
from soc_env.settings import Scenario
from soc_env.soc.scenario import SOCScenario


def box_action(agent: str, action: Any, size: int) -> np.ndarray:
    """One agent's Box action as a float32 vector clipped to [-1, 1].

    Args:
        agent: Named in the error.
        action: Anything NumPy reads as `size` real numbers.
        size: Entries of the agent's Box.

    Returns:
        Shape (size,).

    Raises:
        ActionError: Wrong shape or type, or NaN.
    """
    try:
        vector = np.asarray(action)
    except (TypeError, ValueError, RuntimeError):
        vector = np.empty((), object)
    if vector.dtype.kind not in "fiub":
        raise ActionError(f"{agent}: action {_short(action)} is not numeric; allowed: {size} numbers in [-1, 1]")
    if vector.shape != (size,):
        raise ActionError(f"{agent}: action has shape {vector.shape}; allowed: ({size},)")
    if np.isnan(vector).any():
        raise ActionError(f"{agent}: action[{int(np.isnan(vector).argmax())}] is NaN; allowed: numbers in [-1, 1]")
    return np.clip(vector, -1, 1).astype(np.float32)


def discrete_action(agent: str, action: Any, choices: int) -> int:
    """One agent's Discrete action as a Python int.

    Args:
        agent: Named in the error.
        action: An int, a NumPy integer, or an integer array with one entry.
        choices: Size of the agent's Discrete.

    Raises:
        ActionError: Not one integer, or not in 0 .. choices - 1.
    """
    try:
        choice = operator.index(action)
    except TypeError:
        array = np.asarray(action) if hasattr(action, "__array__") or isinstance(action, (list, tuple)) else None
        if array is None or array.size != 1 or array.dtype.kind not in "iu":
            message = f"{agent}: action {_short(action)} is not one integer; allowed: 0 to {choices - 1}"
            raise ActionError(message) from None
        choice = int(array.reshape(()))
    if not 0 <= choice < choices:
        raise ActionError(f"{agent}: action {choice} is out of range; allowed: 0 to {choices - 1}")
    return choice


def _short(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


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


# ---------------------------------------------------------------------- soc-v1
OFF, FULL = 0.0, 1.0
RELEASE, NEUTRAL, ISOLATE = 0.1, 0.5, 0.85  # containment: releases, does nothing, isolates
KILL, REIMAGE = 0.65, 0.95  # remediation
ROUTINE_HUNT, ROUTINE_DEPTH, DEEP = 0.4, 0.6, 0.9


def _levels(*parts: list[float] | float) -> np.ndarray:
    """A Box action from levels in [0, 1]."""
    return (2.0 * np.concatenate([np.atleast_1d(part) for part in parts]) - 1.0).astype(np.float32)


def _hunter_presets(num_zones: int) -> dict[str, np.ndarray]:
    def preset(
        hunt: float, depth: float, decoy: float = OFF, intel: float = OFF, only: int | None = None
    ) -> np.ndarray:
        return _levels(*(_in_zones(level, OFF, num_zones, only) for level in (hunt, depth, decoy)), intel)

    return {
        "rest": preset(OFF, OFF),
        "routine": preset(ROUTINE_HUNT, ROUTINE_DEPTH),
        "wide": preset(FULL, OFF),
        "deep": preset(FULL, DEEP),
        "routine_with_decoys": preset(ROUTINE_HUNT, ROUTINE_DEPTH, decoy=FULL),
        "routine_with_intel": preset(ROUTINE_HUNT, ROUTINE_DEPTH, intel=FULL),
        "all_out": preset(FULL, FULL, FULL, FULL),
        **{f"only_zone_{z}": preset(FULL, DEEP, only=z) for z in range(num_zones)},
    }


def _response_presets(num_zones: int) -> dict[str, np.ndarray]:
    def preset(
        contain: float = NEUTRAL,
        remediate: float = OFF,
        block: float = OFF,
        reset: float = OFF,
        only: int | None = None,
    ) -> np.ndarray:
        return _levels(
            _in_zones(contain, NEUTRAL, num_zones, only), _in_zones(remediate, OFF, num_zones, only), block, reset
        )

    return {
        "rest": preset(),
        "release": preset(RELEASE),
        "isolate": preset(ISOLATE),
        "kill": preset(remediate=KILL),
        "reimage": preset(remediate=REIMAGE),
        "isolate_and_reimage": preset(ISOLATE, REIMAGE),
        "block_perimeter": preset(block=FULL),
        "reset_credentials": preset(reset=FULL),
        **{f"only_zone_{z}": preset(ISOLATE, REIMAGE, only=z) for z in range(num_zones)},
    }


def _directive_presets(num_zones: int) -> dict[str, np.ndarray]:
    def preset(hunt: float = 0.0, triage: float = 0.0, response: float = 0.0, first: int | None = None) -> np.ndarray:
        priorities = [float(z == first) for z in range(num_zones)]
        return np.array([*priorities, hunt, triage, response], np.float32)

    return {
        "balanced": preset(),
        "time_for_hunting": preset(hunt=1.0),
        "time_for_triage": preset(hunt=-1.0),
        "close_more_cases": preset(triage=1.0),
        "close_no_cases": preset(triage=-1.0),
        "approve_sooner": preset(response=1.0),
        "approve_later": preset(response=-1.0),
        **{f"zone_{z}_first": preset(first=z) for z in range(num_zones)},
    }


def _in_zones(level: float, otherwise: float, num_zones: int, only: int | None) -> list[float]:
    return [level if only in (None, z) else otherwise for z in range(num_zones)]


@functools.cache
def soc_presets(num_zones: int) -> dict[str, dict[str, np.ndarray]]:
    """The presets of `soc-v1` for a number of zones."""
    return {
        HUNTER: _hunter_presets(num_zones),
        ORCHESTRATOR: _response_presets(num_zones),
        COORDINATOR: _directive_presets(num_zones),
    }


# ---------------------------------------------------------------------- either family
def presets_of(scenario: Scenario) -> dict[str, dict[str, np.ndarray]]:
    """Box agent -> name -> vector, in the order of the choices. Shared: do not write into it."""
    return soc_presets(scenario.num_zones) if isinstance(scenario, SOCScenario) else PRESETS


def preset_tables(scenario: Scenario) -> dict[str, np.ndarray]:
    """Box agent -> (choices, action size) float32, fresh arrays."""
    return {agent: np.array(list(rows.values()), np.float32) for agent, rows in presets_of(scenario).items()}


def idle_actions(scenario: Scenario) -> dict[str, np.ndarray]:
    """Box agent -> what it does if it never sends an action, float32, fresh arrays.

    In `soc-v1` that is nothing: choice 0 of its presets. In `paper-v0` zeros, as published.
    """
    if isinstance(scenario, SOCScenario):
        return {agent: table[0] for agent, table in preset_tables(scenario).items()}
    return {agent: np.zeros(len(ACTIONS[agent]), np.float32) for agent in PRESETS}
