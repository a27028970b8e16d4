"""What agents may send: checks of single actions, and the presets behind `actions="discrete"`.

`PRESETS[agent]` is an ordered dict name -> vector of the agent's Box; the Discrete space has one choice per entry. A
level of 0 is "off" and 1 is "full"; vectors hold 2 * level - 1, as the tools read (x + 1) / 2.

The coordinator's eight directives are those of the published training set-up.
The hunter's and the orchestrator's rows are an assumption: levels on either side of the simulator's thresholds (0.3 and
0.7 for hunting, 0.5 and 0.9 for isolation, 0.5 for remediation), in all segments or in one. The best constant action
known for `paper-v0` is among them: `directive_0`, `thorough`, `isolate`.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from .errors import ActionError
from .tables import ACTIONS, COORDINATOR, DIRECTIVE_SIZE, HUNTER, NUM_SEGMENTS, ORCHESTRATOR


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


def preset_table(agent: str) -> np.ndarray:
    """The vectors of an agent's choices, shape (choices, action size), float32; a fresh array."""
    return np.array(list(PRESETS[agent].values()), np.float32)
