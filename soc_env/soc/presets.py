"""The named actions of the `soc-v1` family behind `actions="discrete"`.

`presets(num_zones)[agent]` is an ordered dict name -> vector of the agent's Box; the Discrete space has one choice per
entry, and choice 0 of each agent does nothing. A level of 0 is "off" and 1 is "full"; vectors hold 2 * level - 1, as
the tools read (x + 1) / 2.

Levels are an assumption, well inside the bands that the tools tell apart (`soc_env.soc.tables.actions`); the routine
hunt is that of the rule-based playbook.
"""

from __future__ import annotations

import functools

import numpy as np

from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR

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
def presets(num_zones: int) -> dict[str, dict[str, np.ndarray]]:
    """Box agent -> name -> vector for a number of zones. Shared: do not write into it."""
    return {
        HUNTER: _hunter_presets(num_zones),
        ORCHESTRATOR: _response_presets(num_zones),
        COORDINATOR: _directive_presets(num_zones),
    }


def idle_actions(num_zones: int) -> dict[str, np.ndarray]:
    """Box agent -> what it does if it never sends an action: nothing, which is choice 0. Fresh arrays."""
    return {agent: next(iter(rows.values())).copy() for agent, rows in presets(num_zones).items()}
