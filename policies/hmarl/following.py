"""Next observations of a replay's rows, without storing them twice.

What is observed after a row is nearly always what a later row begins with: `n_step` steps later in the same
environment, or a decision later. So a row has a place instead: that of the later row with these very bits. The others
(the last observations of episodes, and those whose rows are still to come) are kept aside, once for all rows that have
them, and go when their rows do or when a row comes that has them.

A place is only ever that of a later row, which the ring overwrites later too. Rows are found by content, so it does
not matter in which order runners hand them over, and a row that is not found costs memory, not correctness.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from policies.hmarl.row_keys import row_keys

OBS, NEXT_OBS = "obs/", "next_obs/"  # columns of agents
FIRST_ROOM = 1024  # rows kept aside
BLOCK = 256  # rows compared at once: they stay in the processor's cache


class Following:
    """Where the next observations of the rows of a ring are.

    Args:
        seen: agent -> the ring's own column of observations (capacity, size).
    """

    def __init__(self, seen: Mapping[str, np.ndarray]):
        self.seen = dict(seen)
        self.capacity = len(next(iter(self.seen.values())))
        self.clear()

    def clear(self) -> None:
        """Forgets all rows."""
        self.place = np.zeros(self.capacity, np.int64)  # of a row: that of the one that has them, or -1 - one aside
        self.aside = {agent: np.zeros((0, of.shape[1]), of.dtype) for agent, of in self.seen.items()}
        self._key, self._uses = np.zeros(0, np.uint64), np.zeros(0, np.int64)  # of those aside; 0 uses: free

    @property
    def nbytes(self) -> int:
        return self.place.nbytes + sum(of.nbytes for of in self.aside.values())

    def take(self, agent: str, index: np.ndarray) -> np.ndarray:
        """The next observations of the agent in the rows at these places of the ring, (len(index), size)."""
        place = self.place[index]
        found = self.seen[agent][np.maximum(place, 0)]
        is_aside = place < 0
        found[is_aside] = self.aside[agent][-1 - place[is_aside]]
        return found

    def add(self, index: np.ndarray, seen: Mapping[str, np.ndarray], following: Mapping[str, np.ndarray]) -> None:
        """Takes in the next observations of rows that the ring gets at `index`, in their order.

        Args:
            index: (n,) places of the rows, each once.
            seen, following: agent -> observations and next observations (n, size).
        """
        self._release(self.place[index])
        self.place[index] = 0
        key, wanted = self._keys(seen), self._keys(following)
        order = np.argsort(key, kind="stable")
        self._arrive(index, seen, key[order], order)
        later = self._same(wanted, following, key[order], order, seen)
        is_later = later > np.arange(len(index))
        self.place[index[is_later]] = index[later[is_later]]
        rest = np.nonzero(~is_later)[0]
        if len(rest):
            self.place[index[rest]] = -1 - self._kept(wanted[rest], {a: of[rest] for a, of in following.items()})

    def _keys(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        return row_keys(rows[agent] for agent in self.seen)

    def _same(
        self,
        wanted: np.ndarray,
        rows: Mapping[str, np.ndarray],
        key: np.ndarray,
        order: np.ndarray,
        others: Mapping[str, np.ndarray],
    ) -> np.ndarray:
        """For each row the last of the others with the same bits, or -1: (n,).

        Args:
            wanted, rows: keys and content of the rows.
            key, order: keys of the others, sorted, and their numbers.
            others: content of the others.
        """
        if not len(key):
            return np.full(len(wanted), -1)
        near = np.maximum(np.searchsorted(key, wanted, "right") - 1, 0)
        found = np.where(key[near] == wanted, order[near], -1)
        for part in np.array_split(np.nonzero(found >= 0)[0], 1 + len(found) // BLOCK):
            same = np.ones(len(part), bool)
            for agent, of in rows.items():
                same &= (of.view(np.uint32)[part] == others[agent].view(np.uint32)[found[part]]).all(1)
            found[part[~same]] = -1
        return found

    # --- what is kept aside
    def _release(self, places: np.ndarray) -> None:
        """The rows that have these places are overwritten."""
        np.subtract.at(self._uses, -1 - places[places < 0], 1)

    def _arrive(self, index: np.ndarray, seen: Mapping[str, np.ndarray], key: np.ndarray, order: np.ndarray) -> None:
        """Of what is aside, the new rows at `index` have some: rows that were waiting get their places."""
        used = np.nonzero(self._uses)[0]
        if not len(used):
            return
        found = self._same(self._key[used], {a: of[used] for a, of in self.aside.items()}, key, order, seen)
        came = np.full(len(self._uses), -1, np.int64)
        came[used] = found
        waiting = np.nonzero(self.place < 0)[0]
        new = came[-1 - self.place[waiting]]
        self.place[waiting[new >= 0]] = index[new[new >= 0]]
        self._uses[came >= 0] = 0

    def _kept(self, keys: np.ndarray, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """Keeps rows aside, equal ones once: their numbers there, (n,)."""
        order = np.argsort(keys, kind="stable")
        first = self._same(keys, rows, keys[order], order, rows)  # of each row the last one like it
        lone = first < 0  # one that differs has its key
        first[lone] = np.nonzero(lone)[0]
        used = np.nonzero(self._uses)[0]
        sorted_ = used[np.argsort(self._key[used], kind="stable")]
        there = self._same(keys, rows, self._key[sorted_], sorted_, self.aside)
        new = np.unique(first[there[first] < 0])
        number = there.copy()
        number[new] = self._room(len(new))
        for agent, of in self.aside.items():
            of[number[new]] = rows[agent][new]
        self._key[number[new]] = keys[new]
        number = number[first]
        np.add.at(self._uses, number, 1)
        return number

    def _room(self, n: int) -> np.ndarray:
        """Numbers of n free rows aside."""
        free = np.nonzero(self._uses == 0)[0]
        if len(free) < n:
            before = len(self._uses)
            size = max(FIRST_ROOM, before * 3 // 2, before + n - len(free))
            for agent, of in self.aside.items():
                self.aside[agent] = np.concatenate([of, np.zeros((size - before, of.shape[1]), of.dtype)])
            self._key = np.concatenate([self._key, np.zeros(size - before, np.uint64)])
            self._uses = np.concatenate([self._uses, np.zeros(size - before, np.int64)])
            free = np.nonzero(self._uses == 0)[0]
        return free[:n]
