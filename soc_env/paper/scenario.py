"""The scenario `paper-v0`: every number the published simulator uses, with its unit, range and source."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from numbers import Integral, Real
from typing import Any

from soc_env.engine.scenario import MAX_HOSTS, MAX_STEPS, Scenario
from soc_env.errors import ScenarioError, shown
from soc_env.settings import setting

NUM_SEGMENTS = 5  # fixes the sizes of observations and actions

SIMULATOR = "published simulator"
PAPER = "paper, reward definition"


def _setting(default: Any, low: float, high: float, unit: str, source: str = SIMULATOR) -> Any:
    return setting(default, low, high, unit, source)


@dataclass(frozen=True)
class Segment:
    """A network segment.

    Attributes:
        name: What the segment is called.
        value: Business value, in [0, 1].
        vulnerability: Mean vulnerability of its hosts, a probability.
        reachable: Segments an intruder reaches from here (directed), ascending.
    """

    name: str
    value: float
    vulnerability: float
    reachable: tuple[int, ...]


PUBLISHED_SEGMENTS = (
    Segment("DMZ", 0.6, 0.40, (1, 2)),
    Segment("Corporate", 0.8, 0.30, (0, 2, 3)),
    Segment("Development", 0.7, 0.35, (1, 3, 4)),
    Segment("DataCenter", 1.0, 0.20, (1, 2, 4)),
    Segment("Cloud", 0.9, 0.25, (2, 3)),
)


@dataclass(frozen=True)
class PaperScenario(Scenario):
    """The network, the attacker, the tools and the reward of `paper-v0`; defaults are the published simulator's."""

    name: str = "paper-v0"
    # size and clock
    num_hosts: int = _setting(200, 1, MAX_HOSTS, "hosts, split over the segments in order")
    max_steps: int = _setting(200, 1, MAX_STEPS, "steps")
    coordinator_period: int = _setting(5, 1, MAX_STEPS, "steps between two decisions of the coordinator", "paper, K")
    redraw_vulnerabilities: bool = field(
        default=True,
        metadata={
            "unit": "draw host vulnerabilities each episode (published: once, at construction)",
            "source": "assumption: seeding an episode must seed all of it",
        },
    )
    # reward weights
    weight_detection: float = _setting(1.0, -1e6, 1e6, "alpha", PAPER)
    weight_response: float = _setting(1.5, -1e6, 1e6, "beta", PAPER)
    weight_cost: float = _setting(-0.3, -1e6, 1e6, "delta", PAPER)
    weight_false_positive: float = _setting(-2.0, -1e6, 1e6, "lambda", PAPER)
    # network
    segments: tuple[Segment, ...] = field(
        default=PUBLISHED_SEGMENTS,
        metadata={"unit": f"{NUM_SEGMENTS} segments; intruders enter through the first", "source": SIMULATOR},
    )
    vulnerability_spread: float = _setting(0.1, 0.0, 1.0, "standard deviation of a host's vulnerability")
    vulnerability_low: float = _setting(0.05, 0.0, 1.0, "probability, lowest vulnerability of a host")
    vulnerability_high: float = _setting(0.95, 0.0, 1.0, "probability, highest vulnerability of a host")
    # attacker
    stealth: float = _setting(0.7, 0.0, 1.0, "share of the attacker's noise that is hidden")
    phase_noise: tuple[float, ...] = _setting((0.1, 0.3, 0.5, 0.4, 0.6), 0.0, 1.0, "noise of each phase before stealth")
    min_phase_steps: int = _setting(3, 1, MAX_STEPS, "steps before a phase can end")
    access_rate: float = _setting(0.5, 0.0, 1.0, "probability per target and step, times its vulnerability")
    execution_rate: float = _setting(0.6, 0.0, 1.0, "probability per foothold and step")
    lateral_rate: float = _setting(0.4, 0.0, 1.0, "probability per edge and step, times the target's vulnerability")
    exfiltration_rate: float = _setting(0.3, 0.0, 1.0, "probability per step with a staged host")
    exfiltration_value: float = _setting(0.9, 0.0, 1.0, "lowest value of a segment worth exfiltrating from")
    # alerts
    true_alert_gain: float = _setting(2.0, 0.0, 10.0, "probability of a true alert per unit of visible noise and step")
    false_alert_rate: float = _setting(0.3, 0.0, 1.0, "probability of a false alert per step")
    # tools
    hunt_threshold: float = _setting(0.3, 0.0, 1.0, "intensity above which a segment is scanned")
    false_scan_threshold: float = _setting(0.7, 0.0, 1.0, "intensity above which scans raise false findings")
    false_scan_rate: float = _setting(0.05, 0.0, 0.5, "probability per clean host and step")
    stealth_against_hunt: float = _setting(0.5, 0.0, 1.0, "share of stealth that works against a hunt")
    hunt_boost: float = _setting(0.3, 0.0, 1.0, "intensity added by the full directive 0")
    scope_boost: float = _setting(0.2, 0.0, 1.0, "scope added by the full directive 1")
    isolation_boost: float = _setting(0.2, 0.0, 1.0, "isolation added by the full directive 4")
    isolation_threshold: float = _setting(0.5, 0.0, 1.0, "isolation level above which detected hosts are isolated")
    over_isolation_threshold: float = _setting(0.9, 0.0, 1.0, "isolation level above which clean hosts suffer too")
    over_isolation_rate: float = _setting(0.02, 0.0, 1.0, "probability per clean host and step")
    remediation_threshold: float = _setting(0.5, 0.0, 1.0, "remediation level above which isolated hosts are cleaned")
    # sizes of reward events
    isolation_cost: float = _setting(0.1, 0.0, 1e6, "cost per isolated compromised host, times the segment's value")
    over_isolation_cost: float = _setting(0.2, 0.0, 1e6, "cost per isolated clean host, times the segment's value")
    containment_bonus: float = _setting(5.0, 0.0, 1e6, "response reward of containment")
    exfiltration_penalty: float = _setting(10.0, 0.0, 1e6, "detection reward lost by exfiltration")

    def __post_init__(self) -> None:
        super().__post_init__()
        object.__setattr__(self, "segments", _checked_segments(self.segments))
        if self.vulnerability_low > self.vulnerability_high:
            raise ScenarioError(
                f"vulnerability_low={self.vulnerability_low} must not exceed "
                f"vulnerability_high={self.vulnerability_high}"
            )


def _checked_segments(given: Any) -> tuple[Segment, ...]:
    """Segments, also from the plain data of `Scenario.to_dict`."""
    try:
        segments = tuple(row if isinstance(row, Segment) else Segment(**row) for row in given)
        segments = tuple(dataclasses.replace(row, reachable=tuple(row.reachable)) for row in segments)
    except TypeError:
        raise ScenarioError(f"segments={shown(given)} must be {NUM_SEGMENTS} Segment") from None
    if len(segments) != NUM_SEGMENTS:
        raise ScenarioError(f"segments has {len(segments)} entries; allowed: {NUM_SEGMENTS}")
    for index, segment in enumerate(segments):
        if not isinstance(segment.name, str):
            raise ScenarioError(f"segments[{index}].name={shown(segment.name)} must be text")
        if not all(_is_number(x, Real) and 0 <= x <= 1 for x in (segment.value, segment.vulnerability)):
            raise ScenarioError(f"segments[{index}]: value and vulnerability must be numbers from 0 to 1")
        reached = segment.reachable
        are_segments = all(_is_number(x, Integral) and 0 <= x < NUM_SEGMENTS for x in reached)
        if not are_segments or list(reached) != sorted(set(reached)):
            raise ScenarioError(f"segments[{index}].reachable={shown(reached)} must be ascending segment numbers")
    return tuple(
        Segment(str(row.name), float(row.value), float(row.vulnerability), tuple(map(int, row.reachable)))
        for row in segments
    )


def _is_number(value: Any, kind: type) -> bool:
    return isinstance(value, kind) and not isinstance(value, bool)


SCENARIOS: dict[str, PaperScenario] = {"paper-v0": PaperScenario()}
