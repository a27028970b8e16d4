"""Past observations of a replay's rows, without storing them: which rows are consecutive steps of one episode.

A row with `STREAM` and `AGE` (`policies.runner.rows`) knows the number of the row one step before it and that of the
one after it, as soon as there are such. What a network with memory reads in a row, and in its next observation some
steps later, are the rows before these: the very observations that the runner acted on, since rows hold each of them
once. A row is complete when all of them are in the ring. It is not while the steps up to its next observation are
still to come (with returns over n steps, the newest n - 1 steps of each environment), nor when one of its past has
been overwritten. Only complete rows are drawn.

Numbers count rows from the first one on; the place of a row in the ring is its number modulo the capacity.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from policies.runner.rows import AGE, STREAM

NONE = -1


class Chains:
    """Which rows of a ring follow each other.

    Args:
        capacity: of the ring.
        minutes: the most past observations that a network reads.

    Attributes:
        reach: (capacity,) number of the oldest row that the past of a row needs; `NONE` if it is not there.
    """

    def __init__(self, capacity: int, minutes: int):
        self.capacity, self.minutes = capacity, minutes
        self.clear()

    def clear(self) -> None:
        """Forgets all rows."""
        self._before, self._after, self.reach = (np.full(self.capacity, NONE) for _ in range(3))
        self._newest, self._newest_age = np.zeros(0, np.int64), np.zeros(0, np.int64)  # by stream
        self._span = 0  # the most rows from one to the oldest that it needs

    @property
    def nbytes(self) -> int:
        return self._before.nbytes + self._after.nbytes + self.reach.nbytes

    def add(self, first: int, rows: Mapping[str, np.ndarray], oldest: int) -> None:
        """Takes in rows that the ring has got, in the order of time.

        Args:
            first: number of the first one; the others follow.
            rows: their `STREAM` and `AGE`, (n,).
            oldest: number of the oldest row that the ring still has.
        """
        stream, age, numbers = rows[STREAM], rows[AGE], first + np.arange(len(rows[AGE]))
        self._after[numbers % self.capacity] = NONE
        missing = max(0, int(stream.max()) + 1 - len(self._newest))
        self._newest = np.concatenate([self._newest, np.full(missing, NONE)])
        self._newest_age = np.concatenate([self._newest_age, np.full(missing, NONE)])
        order = np.argsort(stream, kind="stable")
        of, ages, own = stream[order], age[order], numbers[order]
        is_first = np.r_[True, of[1:] != of[:-1]]
        before = np.where(is_first, self._newest[of], np.r_[NONE, own[:-1]])
        age_before = np.where(is_first, self._newest_age[of], np.r_[NONE, ages[:-1]])
        follows = (ages > 0) & (age_before == ages - 1) & (before >= oldest)
        self._before[own % self.capacity] = np.where(follows, before, NONE)
        self._after[before[follows] % self.capacity] = own[follows]
        is_last = np.r_[is_first[1:], True]
        self._newest[of[is_last]], self._newest_age[of[is_last]] = own[is_last], ages[is_last]
        self._note_reach(numbers, age, oldest)

    def _note_reach(self, numbers: np.ndarray, age: np.ndarray, oldest: int) -> None:
        reach = numbers
        for step in range(self.minutes):
            further = (age > step) & (reach >= 0)
            reach = np.where(further, self.before(reach, oldest), reach)
        self.reach[numbers % self.capacity] = reach
        self._span = max(self._span, int((numbers - reach)[reach >= 0].max(initial=0)))

    def before(self, numbers: np.ndarray, oldest: int) -> np.ndarray:
        """Numbers of the rows one step before those, of the same episode; `NONE` where there is none in the ring."""
        found = np.where(numbers >= 0, self._before[numbers % self.capacity], NONE)
        return np.where(found >= oldest, found, NONE)

    def after(self, numbers: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Numbers of the rows so many steps (n,) after those, of the same episode; `NONE` where they have not come."""
        found = numbers
        for step in range(int(steps.max(initial=0))):
            further = (steps > step) & (found >= 0)
            found = np.where(further, self._after[found % self.capacity], found)
        return found

    def past(self, numbers: np.ndarray, minutes: int, oldest: int) -> np.ndarray:
        """Numbers of the rows up to `minutes` steps before those, oldest first: (n, minutes), `NONE` where none are."""
        found = np.full((len(numbers), minutes), NONE)
        for step in range(minutes):
            numbers = found[:, minutes - 1 - step] = self.before(numbers, oldest)
        return found

    def cut_off(self, oldest: int, end: int) -> np.ndarray:
        """Numbers of the rows, of those from `oldest` to `end`, whose past was once whole in the ring and is not."""
        numbers = np.arange(oldest, min(end, oldest + self._span))
        return numbers[self.reach[numbers % self.capacity] < oldest]


class Complete:
    """The rows of a store that may be drawn: holds back the priorities of the others.

    Args:
        chains: of its rows.
        tiers: who draws.
    """

    def __init__(self, chains: Chains, tiers: Any):
        self.chains, self.tiers = chains, tuple(tiers)
        self.clear()

    def clear(self) -> None:
        """Forgets all rows."""
        self.waiting = np.zeros(0, np.int64)  # numbers of rows whose next observation lacks steps that are to come
        self.held = {tier: np.zeros(0) for tier in self.tiers}  # their priorities

    def settle(
        self, new: np.ndarray, priorities: Mapping[str, np.ndarray], n_step: np.ndarray, oldest: int, end: int
    ) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray]:
        """Rows have come.

        Args:
            new: their numbers.
            priorities: tier -> theirs.
            n_step: (capacity,) steps from an observation to the next one, by place.
            oldest, end: numbers of the oldest row in the ring and of the next one to come.

        Returns:
            numbers of rows that may be drawn from now on, tier -> their priorities, and numbers of rows that may not.
        """
        waiting = np.concatenate([self.waiting, new])
        held = {tier: np.concatenate([self.held[tier], priorities[tier]]) for tier in self.tiers}
        steps = n_step[waiting % self.chains.capacity].astype(np.int64) - 1
        is_whole = self.chains.reach[waiting % self.chains.capacity] >= oldest
        has_come = self.chains.after(waiting, steps) >= 0
        is_ready, stays = is_whole & has_come, is_whole & ~has_come
        self.waiting, self.held = waiting[stays], {tier: own[stays] for tier, own in held.items()}
        never = np.concatenate([waiting[~is_ready], self.chains.cut_off(oldest, end)])
        return waiting[is_ready], {tier: own[is_ready] for tier, own in held.items()}, never

    def get_state(self) -> dict[str, Any]:
        """Plain data: copies."""
        return {"numbers": self.waiting.copy(), "priorities": {tier: own.copy() for tier, own in self.held.items()}}

    def set_state(self, state: Mapping[str, Any], oldest: int) -> None:
        """Goes on from `get_state`, of those rows that the ring still has."""
        stays = state["numbers"] >= oldest
        self.waiting = state["numbers"][stays]
        self.held = {tier: state["priorities"][tier][stays] for tier in self.tiers}
