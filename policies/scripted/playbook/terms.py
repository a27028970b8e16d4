"""What the rules of a playbook file can name: features by group, and the entries of actions with their levels.

All of it is made of the tables of `soc_env.soc.tables`; here are only the words for levels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.scripted.playbook.expressions import CASES, ENVIRONMENT, FUNCTIONS, ZONE, Expression
from policies.scripted.soc import ISOLATE, KILL, NEUTRAL, OFF, REIMAGE, RELEASE, ObservationView
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.soc.networks import MAX_ZONES
from soc_env.soc.tables import CASE_FEATURES, CLOCK_FEATURES, ENRICH_CHOICE, LEVEL_FEATURES, actions, zone_features

ARROW = "->"
SWITCH = {"off": OFF, "on": 1.0}
WORDS: dict[str, dict[str, float]] = {  # levels that have names, by entry of an action
    "contain": {"release": RELEASE, "nothing": NEUTRAL, "isolate": ISOLATE},
    "remediate": {"nothing": OFF, "kill_process": KILL, "reimage": REIMAGE},
    **dict.fromkeys(("decoy", "intel_sweep", "block_perimeter", "reset_credentials"), SWITCH),
}
RESTS = {"contain": NEUTRAL}  # levels that ask for nothing, where that is not 0


@dataclass(frozen=True)
class Output:
    """What a rule can set: an entry of an agent's action, in every zone or once.

    Attributes:
        agent, key: Where it stands in a file.
        scope: ZONE or ENVIRONMENT.
        low, high: Range of its level.
        words: Names of levels; of a choice the choices, by their index.
        rest: Where no rule says anything.
        effect: What it does.
    """

    agent: str
    key: str
    scope: str
    low: float
    high: float
    words: Mapping[str, float]
    rest: float
    effect: str

    @property
    def is_choice(self) -> bool:
        """Whether it is one of some choices, and no level."""
        return self.agent == TRIAGE

    def encode(self, level: Any) -> Any:
        """The numbers of the action that set levels, cut off at their range; 64-bit."""
        if self.is_choice:
            return level
        level = np.minimum(np.maximum(level, self.low), self.high)
        return level if self.low < 0 else 2.0 * level - 1.0


def section(agent: str) -> str:
    """An agent's table in a file: `threat_hunter` of `threat_hunter_0`."""
    return agent.rpartition("_")[0]


def _outputs() -> dict[str, dict[str, Output]]:
    """Table of a file -> its keys, in the order of the action's entries, from the tables of the family."""
    choices = {entry.name: float(k) for k, entry in enumerate(actions(TRIAGE, 1))}
    effect = "what is done with the first case"
    found = {section(TRIAGE): {"choice": Output(TRIAGE, "choice", ENVIRONMENT, 0, 3, choices, ENRICH_CHOICE, effect)}}
    for agent in (HUNTER, ORCHESTRATOR, COORDINATOR):
        rows = found[section(agent)] = {}
        for entry in actions(agent, 1):
            key = entry.name.removesuffix("_0")
            scope = ZONE if key != entry.name else ENVIRONMENT
            low = -1.0 if agent == COORDINATOR else 0.0
            effect = entry.effect.replace(" in zone 0", "").replace(" of zone 0", " of the zone")
            rows[key] = Output(agent, key, scope, low, 1.0, WORDS.get(key, {}), RESTS.get(key, 0.0), effect)
    return found


OUTPUTS = _outputs()
POSTURES = tuple(key for key, output in OUTPUTS[section(COORDINATOR)].items() if output.scope == ENVIRONMENT)


class Frame(ObservationView):
    """What the expressions of one call are calculated on: an observation, and the named values found so far."""

    def __init__(self, observation: np.ndarray, num_zones: int):
        super().__init__(TRIAGE, observation, num_zones)
        self._found: dict[str, Any] = {}

    def once(self, name: str, compute: Callable[[Frame], Any]) -> Any:
        """What `compute` makes of this, calculated at the first call only."""
        if name not in self._found:
            self._found[name] = compute(self)
        return self._found[name]

    def case_zone(self, name: str) -> np.ndarray:
        """A feature of the zone that the first case is about: (N,); without a case, of the first zone."""
        values = self.zone(name)
        zones = np.rint(self.case("zone")[:, 0] * MAX_ZONES).astype(int)
        return values[np.arange(len(values)), np.minimum(zones, values.shape[1] - 1)]


def _groups() -> dict[str, dict[str, Expression]]:
    """Group -> feature -> its column: `zone.top_risk`, `case.severity` of the first case, `cases.severity` of all,
    `case_zone.top_risk` of the zone that the first case is about."""

    def of(group: str, rows: Any, scope: str, read: Callable[[Frame, str], Any]) -> dict[str, Expression]:
        def column(name: str) -> Callable[[Frame], Any]:
            def copied(frame: Frame) -> np.ndarray:  # what lies together is read faster, the second time
                return np.ascontiguousarray(read(frame, name))

            key = f"{group}.{name}"
            return lambda frame: frame.once(key, copied)

        return {row.name: Expression(column(row.name), scope, size=max(abs(row.low), abs(row.high))) for row in rows}

    def posture(k: int) -> Callable[[Frame], Any]:
        return lambda frame: frame.posture(k)[:, None]

    def case_zone(frame: Frame, name: str) -> np.ndarray:
        return frame.case_zone(name)[:, None]

    directive = {"priority": Expression(lambda frame: frame.priorities(), ZONE)}
    directive |= {name: Expression(posture(k), ENVIRONMENT) for k, name in enumerate(POSTURES)}
    return {
        "zone": of("zone", zone_features(has_levels=True), ZONE, lambda frame, name: frame.zone(name)),
        "case": of("case", CASE_FEATURES, ENVIRONMENT, lambda frame, name: frame.case(name)[:, :1]),
        "case_zone": of("case_zone", zone_features(has_levels=True), ENVIRONMENT, case_zone),
        "cases": of("cases", CASE_FEATURES, CASES, lambda frame, name: frame.case(name)),
        "clock": of("clock", CLOCK_FEATURES, ENVIRONMENT, lambda frame, name: frame.clock(name)[:, None]),
        "directive": directive,
    }


GROUPS = _groups()
OF_LEVELS = {f"{group}.{feature.name}" for group in ("zone", "case_zone") for feature in LEVEL_FEATURES}
"""Features that there are only where findings have levels."""
_ALL = [output for keys in OUTPUTS.values() for output in keys.values()]
RESERVED = {*GROUPS, *FUNCTIONS, *(word for output in _ALL for word in output.words)}
"""Names that no number and no value of a file may have."""


@dataclass(frozen=True)
class Rule:
    """`condition -> level`; without a condition it always holds.

    Attributes:
        text: As the file has it.
        condition: None: always.
        level: A number; of a choice, its index.
    """

    text: str
    condition: Expression | None
    level: Expression
