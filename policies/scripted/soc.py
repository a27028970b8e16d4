"""Scripted policies of the `soc-v1` family that are constants, and what playbooks in Python are made of.

They read observations only, and of those only what the tables of `soc_env.soc.tables` name. `rule-soar` and `expert`
are files, see `policies.scripted.playbook`; what plays on the truth is in `policies.scripted.oracle`.
"""

from __future__ import annotations

import numpy as np

from policies.scripted.base import Builder, ConstantPolicy, Observations, Spaces
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ConfigError
from soc_env.soc.tables import (
    CASE_FEATURES,
    CLOCK_FEATURES,
    ENRICH,
    ESCALATE,
    LEVEL_FEATURES,
    SUPPRESS,
    ZONE_FEATURES,
    layout,
)

ZONE = {feature.name: k for k, feature in enumerate(ZONE_FEATURES + LEVEL_FEATURES)}
CASE = {feature.name: k for k, feature in enumerate(CASE_FEATURES)}
CLOCK = {feature.name: k for k, feature in enumerate(CLOCK_FEATURES)}
NEEDS_LEVELS = "needs a scenario whose findings have levels (finding_levels=True); allowed: soc-v2, soc-cage4-v1"
OFF, NEUTRAL = 0.0, 0.5  # levels
RELEASE, ISOLATE, KILL, REIMAGE = 0.1, 0.85, 0.65, 0.95


class ObservationView:
    """An observation by the names of its tables: `zone("top_risk")` is (N, zones), `case("age")` (N, cases).

    Where findings have levels there are the features of `LEVEL_FEATURES` too, else ConfigError.
    """

    def __init__(self, agent: str, observation: np.ndarray, num_zones: int):
        shape = layout(agent, num_zones)
        if observation.shape[1] != shape.size:
            shape = layout(agent, num_zones, has_levels=True)
        zones, cases = observation[:, : shape.case_start], observation[:, shape.case_start : shape.directive_start]
        self._zones = zones.reshape(len(observation), num_zones, shape.zone_size)
        self._cases = cases.reshape(len(observation), shape.num_cases, len(CASE_FEATURES))
        self._directive = observation[:, shape.directive_start : shape.clock_start]
        self._clock = observation[:, shape.clock_start :]

    def zone(self, name: str) -> np.ndarray:
        place = ZONE[name]
        if place >= self._zones.shape[2]:
            raise ConfigError(f"zone feature {name!r} {NEEDS_LEVELS}")
        return self._zones[:, :, place]

    def case(self, name: str) -> np.ndarray:
        return self._cases[:, :, CASE[name]]

    def clock(self, name: str) -> np.ndarray:
        return self._clock[:, CLOCK[name]]

    def priorities(self) -> np.ndarray:
        """Of the directive in force: (N, zones)."""
        return self._directive[:, : self._zones.shape[1]]

    def posture(self, k: int) -> np.ndarray:
        """Of the directive in force: (N,), k as in `soc_env.soc.tables`."""
        return self._directive[:, self._zones.shape[1] + k]


def num_zones_of(action_spaces: Spaces) -> int:
    """Zones that the spaces were made for."""
    return int(action_spaces[COORDINATOR].shape[0]) - 3


def box(*levels: np.ndarray) -> np.ndarray:
    """(N, sum of widths) action from levels in [0, 1], each (N, width) or (N,)."""
    columns = [level if level.ndim == 2 else level[:, None] for level in levels]
    return (2.0 * np.concatenate(columns, 1) - 1.0).astype(np.float32)


def choose(*rules: tuple[np.ndarray, float], default: float) -> np.ndarray:
    """Level of the first rule that holds, zone by zone."""
    return np.select([rule for rule, _ in rules], [level for _, level in rules], default)


class Playbook:
    """What the playbooks share: the number of zones, and views of the agents' observations."""

    def __init__(self, action_spaces: Spaces, seed: int = 0):
        self.num_zones = num_zones_of(action_spaces)

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def view(self, observations: Observations, agent: str) -> ObservationView:
        return ObservationView(agent, observations[agent], self.num_zones)


def constant(triage: int, hunt: float, depth: float, contain: float, remediate: float, **rest: float) -> Builder:
    """Builder of a policy that sends the same levels for every zone at every step.

    Args:
        triage: The choice.
        hunt, depth, contain, remediate: Levels in [0, 1], the same in every zone.
        rest: decoy, intel, perimeter, reset (levels, 0 by default), and directive entries in [-1, 1] (0 by default):
            priority, hunt_posture, triage_posture, response_posture.
    """

    def build(action_spaces: Spaces, seed: int = 0) -> ConstantPolicy:
        zones = num_zones_of(action_spaces)
        every = np.ones((1, zones))
        one = np.ones(1)
        hunter = box(hunt * every, depth * every, rest.get("decoy", 0.0) * every, rest.get("intel", 0.0) * one)[0]
        response = box(
            contain * every, remediate * every, rest.get("perimeter", 0.0) * one, rest.get("reset", 0.0) * one
        )[0]
        postures = [rest.get(name, 0.0) for name in ("hunt_posture", "triage_posture", "response_posture")]
        directive = np.array([rest.get("priority", 0.0)] * zones + postures, np.float32)
        return ConstantPolicy(
            action_spaces, {TRIAGE: triage, HUNTER: hunter, ORCHESTRATOR: response, COORDINATOR: directive}
        )

    return build


null = constant(ENRICH, OFF, OFF, NEUTRAL, OFF)
isolate_all = constant(ENRICH, OFF, OFF, 1.0, OFF)
escalate_all = constant(ESCALATE, OFF, OFF, ISOLATE, REIMAGE)
suppress_all = constant(SUPPRESS, OFF, OFF, NEUTRAL, OFF)

# The best of 3,200 constants (`hmarl-soc compare --search 2000`): loss 65.6 [62.6, 68.7] on 512 fresh episodes of the
# train split, where doing nothing loses 96. Kills the most suspect process of every zone, whatever it is.
best_constant = constant(
    SUPPRESS,
    hunt=0.0,
    depth=0.478,
    decoy=0.575,
    intel=0.925,
    contain=0.48,
    remediate=0.728,
    priority=0.934,
    hunt_posture=-0.53,
    triage_posture=0.585,
    response_posture=1.0,
)
