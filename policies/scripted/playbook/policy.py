"""A playbook's rules as a policy: evaluated for a batch of environments at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from policies.scripted.base import Actions, Observations
from policies.scripted.playbook.expressions import ZONE, Expression, constant
from policies.scripted.playbook.terms import OUTPUTS, Frame, Output, Rule
from policies.scripted.soc import NEEDS_LEVELS
from soc_env.engine.tables import TRIAGE
from soc_env.errors import ConfigError
from soc_env.soc.tables import layout


@dataclass(frozen=True)
class _Slot:
    """Entries of an action that rules set.

    Attributes:
        output: What they are.
        entries: Where they are.
        rules: (condition, level), the first that holds counts; numbers of the action where `is_encoded`, else levels.
        otherwise: Likewise.
    """

    output: Output
    entries: slice
    rules: tuple[tuple[Expression | None, Expression], ...]
    otherwise: float
    is_encoded: bool

    @classmethod
    def of(cls, output: Output, entries: slice, rules: tuple[Rule, ...]) -> _Slot:
        is_constant = all(rule.level.is_constant for rule in rules)

        def prepared(level: Expression) -> Expression:
            return constant(float(output.encode(level.compute(None)))) if is_constant else level

        own = tuple((rule.condition, prepared(rule.level)) for rule in rules)
        return cls(output, entries, own, output.encode(output.rest) if is_constant else output.rest, is_constant)

    def fill(self, frame: Frame, action: np.ndarray) -> None:
        """Writes what the rules say into an agent's action (N, entries)."""
        level: Any = self.otherwise
        for condition, expression in reversed(self.rules):
            own = expression.compute(frame)
            if not self.is_encoded:
                own = np.asarray(own, np.float64)
            level = own if condition is None else np.where(condition.compute(frame), own, level)
        action[:, self.entries] = level if self.is_encoded else self.output.encode(level)


class PlaybookPolicy:
    """Plays the rules of a file: every agent by what triage sees, which is what all of them see and more cases.

    Args:
        rules: table -> key -> rules.
        num_zones: of the environments.
        levels_at: where they first read what is only seen where findings have levels; "" if nowhere.
    """

    def __init__(self, rules: Mapping[str, Mapping[str, tuple[Rule, ...]]], num_zones: int, levels_at: str = ""):
        self.num_zones, self._levels_at = num_zones, levels_at
        self._sizes = [layout(TRIAGE, num_zones, has_levels).size for has_levels in (False, True)]
        self._slots: dict[str, list[_Slot]] = {}
        for table, keys in OUTPUTS.items():
            start, slots = 0, []
            for key, output in keys.items():
                stop = start + (num_zones if output.scope == ZONE else 1)
                slots.append(_Slot.of(output, slice(start, stop), rules.get(table, {}).get(key, ())))
                start = stop
            self._slots[slots[0].output.agent] = slots

    def reset(self, seed: int) -> None:
        """Nothing to forget."""

    def __call__(self, observations: Observations, decides: np.ndarray) -> Actions:
        found, size = {}, observations[TRIAGE].shape[1]
        if size not in self._sizes:
            allowed = " or ".join(map(str, self._sizes))
            raise ConfigError(f"playbook: {TRIAGE} observes {size} numbers, allowed: {allowed}, as on soc-v1 or soc-v2")
        if self._levels_at and size == self._sizes[0]:
            raise ConfigError(f"{self._levels_at} {NEEDS_LEVELS}")
        frame = Frame(observations[TRIAGE], self.num_zones)
        with np.errstate(all="ignore"):  # of what `quotient` divides and does not take
            for agent, slots in self._slots.items():
                action = np.empty((len(decides), slots[-1].entries.stop), np.int32 if agent == TRIAGE else np.float32)
                for slot in slots:
                    slot.fill(frame, action)
                found[agent] = action[:, 0].copy() if agent == TRIAGE else action
        return found
