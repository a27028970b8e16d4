"""How long a run trains, and at which points of it something is due.

With a budget in steps, points depend on steps alone: a run that was killed and resumed passes the same ones as one that
was not. They are multiples of an interval, so a budget that is changed leaves those passed where they are. With a
budget in minutes they go by the clock of training: `Run.seconds`, which counts iterations only and never goes back.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from soc_env.errors import ConfigError, shown

DEFAULT_MINUTES = 10.0


@dataclass(frozen=True)
class Budget:
    """A whole run's budget, resumptions included: minutes of training, or environment steps. One of them is set.

    Raises:
        ConfigError: none or both are set, or it is not a number above 0.
    """

    minutes: float | None = None
    steps: int | None = None

    def __post_init__(self) -> None:
        if (self.minutes is None) == (self.steps is None):
            raise ConfigError(f"budget: minutes={self.minutes}, steps={self.steps}: one of them is allowed")
        value, kinds = (self.steps, int) if self.minutes is None else (self.minutes, (int, float))
        is_number = isinstance(value, kinds) and not isinstance(value, bool)  # type: ignore[arg-type]
        if not (is_number and 0 < value < math.inf):  # type: ignore[operator]
            name, allowed = ("steps", "a whole") if self.minutes is None else ("minutes", "a")
            raise ConfigError(f"{name}={shown(value)} is not allowed: {allowed} number above 0 is")

    @classmethod
    def asked(cls, minutes: float | None, steps: int | None) -> Budget | None:
        """What a caller asked for; None if for nothing."""
        return None if minutes is None and steps is None else cls(minutes, steps)

    @classmethod
    def of(cls, plain: Any) -> Budget:
        """From what `to_plain` gave; ConfigError for anything else."""
        if not isinstance(plain, Mapping) or not set(plain) <= {"minutes", "steps"}:
            raise ConfigError(f"budget is {shown(plain)}, allowed: minutes or steps, and a number")
        return cls(**plain)

    def to_plain(self) -> dict[str, Any]:
        return {"minutes": self.minutes} if self.steps is None else {"steps": self.steps}

    def share_done(self, seconds: float, steps: int) -> float:
        """From 0 to 1, which is the end."""
        done = seconds / (self.minutes * 60) if self.minutes is not None else steps / (self.steps or 1)
        return min(1.0, done)

    def doubled(self) -> Budget:
        return Budget(
            None if self.minutes is None else 2 * self.minutes, None if self.steps is None else 2 * self.steps
        )

    def option(self) -> str:
        """As the command line takes it."""
        return f"--minutes {self.minutes:g}" if self.minutes is not None else f"--steps {self.steps}"

    def __str__(self) -> str:
        return f"{self.minutes:g} minutes" if self.minutes is not None else f"{self.steps:,} steps"


@dataclass(frozen=True)
class Rhythm:
    """How often something is due.

    Attributes:
        seconds: of training between two points, with a budget in minutes.
        share: of a budget in steps between two points.
        least_steps, most_steps: between two points, however small or large a budget in steps is.
    """

    seconds: float
    share: float
    least_steps: int
    most_steps: int

    def interval(self, steps: int) -> int:
        """Steps between two points with a budget of `steps`."""
        return min(max(round(self.share * steps), self.least_steps), self.most_steps)


class Points:
    """Says when the points of a rhythm are passed.

    Args:
        rhythm, budget: what they follow from.
        seconds, steps: where the run is; points up to there are passed.
    """

    def __init__(self, rhythm: Rhythm, budget: Budget, seconds: float, steps: int) -> None:
        self._seconds = rhythm.seconds
        self._interval = None if budget.steps is None else rhythm.interval(budget.steps)
        self._passed = self._number(seconds, steps)

    def _number(self, seconds: float, steps: int) -> float:
        return seconds if self._interval is None else steps // self._interval

    def is_due(self, seconds: float, steps: int) -> bool:
        """Whether one has been passed since this last said so."""
        number = self._number(seconds, steps)
        is_due = number - self._passed >= (self._seconds if self._interval is None else 1)
        if is_due:
            self._passed = number
        return is_due
