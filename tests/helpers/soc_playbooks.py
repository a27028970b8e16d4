"""`rule-soar` and `expert` written by hand in NumPy: what the files that ship have to do, action for action."""

from __future__ import annotations

import numpy as np

from policies.scripted.base import Actions, Observations, Spaces
from policies.scripted.soc import ISOLATE, NEUTRAL, OFF, REIMAGE, RELEASE, ObservationView, Playbook, box, choose
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.soc.tables import CORRELATE, ENRICH, ESCALATE, SUPPRESS


class RuleSoar(Playbook):
    """Thresholds on severity, confidence and risk."""

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


class Expert(Playbook):
    """Reads all the evidence."""

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
        order = np.argsort(np.argsort(-value, 1, kind="stable"), 1, kind="stable")
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


BY_HAND = {"rule-soar": RuleSoar, "expert": Expert}
