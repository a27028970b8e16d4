"""Words that every family of scenarios shares: the four agents, and the rows that its tables are made of.

Spaces, kernel offsets, documentation and tests are generated from such rows, so nothing is listed twice.
"""

from __future__ import annotations

from dataclasses import dataclass

AGENTS = ("alert_triage_0", "threat_hunter_0", "response_orchestrator_0", "strategic_coordinator_0")
TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = AGENTS


@dataclass(frozen=True)
class Feature:
    """One entry of an observation or of the state.

    Attributes:
        name: Unique within its agent.
        low: Lowest possible value.
        high: Highest possible value.
        unit: What one unit is.
        source: The sensor it stands for; "truth" marks what no sensor could know.
    """

    name: str
    low: float
    high: float
    unit: str
    source: str


@dataclass(frozen=True)
class ActionEntry:
    """One entry of a Box action, or one choice of a Discrete one.

    Attributes:
        name: Unique within its agent.
        tool: The platform it drives: SIEM, EDR, SOAR or directive.
        effect: What it does; "none" where the simulator ignores it.
    """

    name: str
    tool: str
    effect: str


@dataclass(frozen=True)
class RewardTerm:
    """A term of the reward.

    Attributes:
        name: Column of `Simulator.reward_terms`.
        formula: How a step's value comes about.
        weight: The field of `Scenario` that multiplies it.
    """

    name: str
    formula: str
    weight: str


@dataclass(frozen=True)
class Metric:
    """A field of `Simulator.episode_metrics`.

    Attributes:
        name: Of the field.
        unit: What one unit is.
        meaning: How it comes about.
        is_count: Whether it is a whole number in every episode.
    """

    name: str
    unit: str
    meaning: str
    is_count: bool = False


@dataclass(frozen=True)
class Column:
    """How a metric is shown and averaged.

    Attributes:
        name: The metric's.
        label: Over a column of a table.
        unit: As shown; empty for none.
        scale: Shown value = scale * value.
        decimals: Digits shown of values below 100.
        better: "higher", "lower", or "" for neither.
        is_proportion: Whether an episode's value is 0 or 1.
        given: A count without which the metric says nothing: episodes where it is 0 are left out of its mean.
        bounds: What its interval is cut to.
        published: The published system's shown value, if there is one.
    """

    name: str
    label: str
    unit: str = ""
    scale: float = 1.0
    decimals: int = 2
    better: str = ""
    is_proportion: bool = False
    given: str = ""
    bounds: tuple[float, float] | None = None
    published: float | None = None

    @property
    def title(self) -> str:
        """Label and unit, as over a column of a table."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label

    def format(self, value: float) -> str:
        """The value as shown, without the unit."""
        shown = self.scale * value
        return f"{shown:.{0 if abs(round(shown, self.decimals)) >= 100 else self.decimals}f}"


def index_of(rows: tuple[Feature, ...], name: str) -> int:
    """Position of a feature in its table."""
    return [feature.name for feature in rows].index(name)
