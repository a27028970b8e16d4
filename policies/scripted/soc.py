"""Scripted policies of the `soc-v1` family, listed in `policies.scripted`.

They read observations only, and of those only what the tables of `soc_env.soc.tables` name; what plays on the truth is
in `policies.scripted.oracle`.
"""

from __future__ import annotations

import numpy as np

from policies.scripted.base import Actions, Builder, ConstantPolicy, Observations, Spaces
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.soc.tables import (
    CASE_FEATURES,
    CLOCK_FEATURES,
    CORRELATE,
    ENRICH,
    ESCALATE,
    SUPPRESS,
    ZONE_FEATURES,
    layout,
)

ZONE = {feature.name: k for k, feature in enumerate(ZONE_FEATURES)}
CASE = {feature.name: k for k, feature in enumerate(CASE_FEATURES)}
CLOCK = {feature.name: k for k, feature in enumerate(CLOCK_FEATURES)}
OFF, NEUTRAL = 0.0, 0.5  # levels
RELEASE, ISOLATE, KILL, REIMAGE = 0.1, 0.85, 0.65, 0.95


class ObservationView:
    """An observation by the names of its tables: `zone("top_risk")` is (N, zones), `case("age")` (N, cases)."""

    def __init__(self, agent: str, observation: np.ndarray, num_zones: int):
        shape = layout(agent, num_zones)
        zones, cases = observation[:, : shape.case_start], observation[:, shape.case_start : shape.directive_start]
        self._zones = zones.reshape(len(observation), num_zones, len(ZONE_FEATURES))
        self._cases = cases.reshape(len(observation), shape.num_cases, len(CASE_FEATURES))
        self._clock = observation[:, shape.clock_start :]

    def zone(self, name: str) -> np.ndarray:
        return self._zones[:, :, ZONE[name]]

    def case(self, name: str) -> np.ndarray:
        return self._cases[:, :, CASE[name]]

    def clock(self, name: str) -> np.ndarray:
        return self._clock[:, CLOCK[name]]


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


class RuleSoarPlaybook(Playbook):
    """Thresholds on severity, confidence and risk; a routine hunt everywhere; isolate, then reimage.

    The thresholds are an assumption, in the range of vendors' default playbooks; they are not fitted to the simulator.
    """

    ESCALATE_RISK, ESCALATE_SCORE, SUPPRESS_SCORE = 0.6, 0.6, 0.35
    ISOLATE_RISK, REIMAGE_RISK, RELEASE_RISK = 0.75, 0.7, 0.3
    HUNT, DEPTH = 0.4, 0.6

    def __call__(self, observations: Observations, decides: np.ndarray) -> Actions:
        seen = self.view(observations, TRIAGE)
        n, zones = len(decides), self.num_zones
        mean = 0.5 * (seen.case("severity")[:, 0] + seen.case("confidence")[:, 0])
        risk = np.maximum(seen.case("host_risk")[:, 0], seen.case("source_risk")[:, 0])
        is_read = seen.case("enriched")[:, 0] > 0
        reading = seen.case("reading")[:, 0]
        is_bad = (mean >= self.ESCALATE_SCORE) | (risk >= self.ESCALATE_RISK)
        triage = np.select(
            [is_read & (reading >= 0.5), is_read, is_bad, mean < self.SUPPRESS_SCORE],
            [ESCALATE, SUPPRESS, ESCALATE, SUPPRESS],
            ENRICH,
        )
        every = np.ones((n, zones))
        contain = choose(
            (seen.zone("top_risk") >= self.ISOLATE_RISK, ISOLATE),
            (seen.zone("isolated_least") <= self.RELEASE_RISK, RELEASE),
            default=NEUTRAL,
        )
        remediate = choose((seen.zone("isolated_risk") >= self.REIMAGE_RISK, REIMAGE), default=OFF)
        return {
            TRIAGE: triage.astype(np.int32),
            HUNTER: box(self.HUNT * every, self.DEPTH * every, OFF * every, np.zeros(n)),
            ORCHESTRATOR: box(contain, remediate, np.zeros(n), np.zeros(n)),
            COORDINATOR: np.zeros((n, zones + 3), np.float32),
        }


class ExpertPlaybook(Playbook):
    """Reads all the evidence. Its numbers were fitted on the train split: the log-odds of a case by logistic regression
    on cases whose truth was known afterwards, the thresholds by search; see `experiments.calibrate`.
    """

    NUMBERS = {
        "escalate": 0.3,  # log-odds
        "suppress": -3.04,
        "suppress_busy": -1.66,
        "accept": -0.21,  # log-odds from which a fully read case is escalated
        "hunt_low": 0.15,  # risk
        "hunt_high": 0.88,
        "hunt_base": 0.24,  # effort
        "hunt_gain": 1.93,
        "deep_risk": 0.25,
        "depth": 0.71,
        "depth_base": 0.71,
        "isolate": 0.83,  # risk
        "isolate_value": 0.08,  # how much more certain it must be for a host of value 1
        "reimage": 0.69,
        "reimage_live": 0.79,  # risk from which a host is rebuilt without being cut off first
        "release": 0.45,
        "hunt_posture": 0.18,
        "triage_posture": -0.25,
        "priority": 0.01,
        "decoy_zones": 5.2,
        "perimeter": 0.97,  # second-highest risk from which the perimeter is blocked
    }

    def __init__(self, action_spaces: Spaces, seed: int = 0, **numbers: float):
        super().__init__(action_spaces, seed)
        self.numbers = {**self.NUMBERS, **numbers}

    def __call__(self, observations: Observations, decides: np.ndarray) -> Actions:
        seen, x = self.view(observations, TRIAGE), self.numbers
        n, zones = len(decides), self.num_zones
        top, value = seen.zone("top_risk"), seen.zone("value")
        # hunting: where the most suspect host is worth a look and not yet certain; deeply where it is likely
        doubt = np.where((top > x["hunt_low"]) & (top < x["hunt_high"]), top, 0.0)
        effort = np.clip(x["hunt_base"] + x["hunt_gain"] * doubt, 0.0, 1.0)
        depth = np.where(top > x["deep_risk"], x["depth"], x["depth_base"])
        order = np.argsort(np.argsort(-value, 1), 1)
        decoy = np.where(order < x["decoy_zones"], 1.0, OFF)  # in the most valuable zones
        intel = np.where(seen.clock("indicators") > 0, 1.0, OFF)
        # response: cut off what is nearly certain, rebuild it, put back what turned out to be clean
        limit = x["isolate"] + x["isolate_value"] * (seen.zone("top_value") - 0.5)
        is_certain = top >= x["reimage_live"]
        contain = choose(
            (is_certain, NEUTRAL),
            (top >= limit, ISOLATE),
            (seen.zone("isolated_least") <= x["release"], RELEASE),
            default=NEUTRAL,
        )
        remediate = choose((is_certain | (seen.zone("isolated_risk") >= x["reimage"]), REIMAGE), default=OFF)
        is_spread = np.sum(top >= x["perimeter"], 1) >= 1
        directive = np.zeros((n, zones + 3), np.float32)
        directive[:, :zones] = np.clip(x["priority"] * (2.0 * value - 1.0) + np.where(top > 0.5, 0.5, 0.0), -1, 1)
        directive[:, zones] = x["hunt_posture"]
        directive[:, zones + 1] = x["triage_posture"]
        return {
            TRIAGE: self._triage(seen),
            HUNTER: box(effort, depth, decoy, intel),
            ORCHESTRATOR: box(contain, remediate, np.where(is_spread, 1.0, OFF), np.zeros(n)),
            COORDINATOR: directive,
        }

    def _triage(self, seen: ObservationView) -> np.ndarray:
        """By the log-odds that the first case is malicious: act when sure enough, else buy information."""
        x = self.numbers

        def first(name: str) -> np.ndarray:
            return seen.case(name)[:, 0]

        odds = (
            0.5
            + 10.8 * (first("confidence") - 0.5)
            + 3.7 * (first("host_risk") - 0.3)
            + 2.9 * (first("source_risk") - 0.3)
            - 5.3 * first("alerts")
            + 9.2 * (first("reading") - 0.5)
            + 18.9 * (first("second_reading") - 0.5)
            - 1.9 * first("related")
        )
        enriched = first("enriched")
        is_busy = seen.clock("queue") > 0.6
        triage = np.select(
            [
                odds > x["escalate"],
                odds < x["suppress"],
                is_busy & (odds < x["suppress_busy"]),
                first("related") > 0.3,
                enriched < 1.0,
                odds > x["accept"],
            ],
            [ESCALATE, SUPPRESS, SUPPRESS, CORRELATE, ENRICH, ESCALATE],
            SUPPRESS,
        )
        return triage.astype(np.int32)


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
