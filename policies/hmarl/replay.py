"""Joint prioritised replay: one ring of aligned joint transitions, one priority tree a tier.

Observations are stored once: columns "next_obs/<agent>" beside "obs/<agent>" are places of other rows
(`policies.hmarl.following`).

Proportional prioritisation with importance weights (Schaul et al. 2016, "Prioritized Experience Replay"). All tiers
share the rows (paper, shared replay of tier 3); each draws by its own TD errors, or all by the paper's priority.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from policies.hmarl.chains import NONE, Chains, Complete
from policies.hmarl.following import NEXT_OBS, OBS, Following
from policies.hmarl.kernels import find_leaves, set_leaves
from policies.past import row_size
from soc_env import SCENARIOS, features
from soc_env.engine.tables import TRIAGE
from soc_env.errors import CheckpointError, ConfigError

REPLAYS, REPLAY_PRIORITIES = ("shared", "separate", "uniform"), ("td_error", "paper")
PRIORITY_FLOOR = 1e-6
Columns = Mapping[str, np.ndarray]
SIMULATOR_OPTIONS = ("num_threads", "autoreset")  # in env_config, but no fields of the scenario
DETECTION_FLOOR = 0.02  # priority of a row in which triage sees nothing, against at most 1


class SumTree:
    """Binary tree of sums over `capacity` leaves, with set and search for many leaves at once."""

    def __init__(self, capacity: int):
        self.num_leaves = 1 << max(1, int(capacity - 1).bit_length())
        self.sums = np.zeros(2 * self.num_leaves)

    def set(self, leaves: np.ndarray, values: np.ndarray) -> None:
        """Sets leaves; of one that is named twice the last value counts."""
        set_leaves(self.sums, leaves, values)

    def fill(self, leaves: np.ndarray, values: np.ndarray) -> None:
        """Sets these leaves, and all others to 0."""
        self.sums[:] = 0.0
        self.sums[self.num_leaves + leaves] = values
        size = self.num_leaves // 2
        while size:
            children = self.sums[2 * size : 4 * size]
            self.sums[size : 2 * size] = children[::2] + children[1::2]
            size //= 2

    @property
    def total(self) -> float:
        return float(self.sums[1])

    def before(self, leaf: int) -> float:
        """The sum of all leaves before this one."""
        node, total = leaf + self.num_leaves, 0.0
        if leaf >= self.num_leaves:
            return self.total
        while node > 1:
            total += self.sums[node - 1] if node & 1 else 0.0
            node >>= 1
        return float(total)

    def find(self, prefix: np.ndarray) -> np.ndarray:
        """Leaves at which the running sum passes `prefix` (B,)."""
        found = np.empty(len(prefix), np.int64)
        find_leaves(self.sums, prefix, found)
        return found


class JointReplay:
    """Ring buffer of rows (one joint transition each) with a priority tree for every tier.

    Args:
        capacity: rows kept; older ones are overwritten.
        columns: name -> (shape of one entry, dtype).
        tiers: who draws from it.
        alpha: exponent of the priorities; 0 draws uniformly.
        seed: of the draws.
        minutes: past observations that `read` gives beside others; where there are any, rows have `STREAM` and `AGE`.

    Attributes:
        shapes: name -> (shape of one entry, dtype) of all columns.
        columns: name -> (capacity, ...) of the columns that are stored as they are; `take` and `rows` give all.
        old_end: rows with lower numbers than that are old, see `mark_old`.
        num_added: rows so far; a row's number is that before it was added.
        history: changes when the store goes back, and other rows may come under the same numbers.
    """

    def __init__(
        self,
        capacity: int,
        columns: Mapping[str, tuple[tuple[int, ...], Any]],
        tiers: Iterable[str],
        alpha: float = 0.6,
        seed: int | Sequence[int] = 0,
        minutes: int = 0,
    ):
        self.capacity, self.alpha = capacity, alpha
        self.shapes = dict(columns)
        agents = [n.removeprefix(OBS) for n in columns if n.startswith(OBS) and n.replace(OBS, NEXT_OBS, 1) in columns]
        stored = {name: of for name, of in columns.items() if name not in {NEXT_OBS + agent for agent in agents}}
        self.columns = {name: np.zeros((capacity, *shape), dtype) for name, (shape, dtype) in stored.items()}
        self._following = Following({a: self.columns[OBS + a] for a in agents}) if agents else None
        self.trees = {tier: SumTree(capacity) for tier in tiers}
        self._chains = Chains(capacity, minutes) if minutes else None
        self._complete = None if self._chains is None else Complete(self._chains, self.trees)
        self.max_priority = dict.fromkeys(self.trees, 1.0)
        self.position = self.size = self.num_added = self.old_end = 0
        self.history: object = object()  # another one where rows change under their numbers
        self._rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return self.size

    def add(self, rows: Mapping[str, np.ndarray], scale: Mapping[str, np.ndarray] | None = None) -> None:
        """Adds rows {column: (n, ...)}; new rows get each tier's highest priority so far, times its `scale` (n,) if it
        has one. Rows of priority 0 are never drawn."""
        n, scale = len(next(iter(rows.values()))), scale or {}
        if n == 0:
            return
        if n > self.capacity:
            rows, scale = ({k: values[-self.capacity :] for k, values in part.items()} for part in (rows, scale))
            n = self.capacity
        index = (self.position + np.arange(n)) % self.capacity
        number = self.num_added
        self.position = int((self.position + n) % self.capacity)
        self.size = min(self.capacity, self.size + n)
        self.num_added += n
        self._write(index, rows, number)
        new = {}
        for tier, tree in self.trees.items():
            priority = self.max_priority[tier] * scale.get(tier, np.ones(n))
            new[tier] = np.where(priority > 0, priority**self.alpha, 0.0)
            tree.set(index, new[tier])
        if self._complete is not None:
            self._hold_back(number + np.arange(n), new)

    def _hold_back(self, numbers: np.ndarray, priorities: Mapping[str, np.ndarray]) -> None:
        """Rows that have come are drawn when their past is whole, and others no more when theirs is not."""
        assert self._complete is not None
        settled = self._complete.settle(numbers, priorities, self.columns["n_step"], self.first, self.num_added)
        ready, own, never = settled
        for tier, tree in self.trees.items():
            leaves = never % self.capacity
            leaves = leaves[tree.sums[tree.num_leaves + leaves] > 0]
            for changed, values in ((leaves, np.zeros(len(leaves))), (ready % self.capacity, own[tier])):
                if len(changed):
                    tree.set(changed, values)

    def _write(self, index: np.ndarray, rows: Columns, number: int) -> None:
        """Puts rows at these places, in the order of their numbers, the first of which is given."""
        is_block = index[-1] - index[0] == len(index) - 1  # which is written faster
        place: Any = slice(index[0], index[-1] + 1) if is_block else index
        for name, column in self.columns.items():
            column[place] = rows[name]
        if self._following is not None:
            of = ({a: np.asarray(rows[kind + a], np.float32) for a in self._following.seen} for kind in (OBS, NEXT_OBS))
            self._following.add(index, *of)
        if self._chains is not None:
            self._chains.add(number, rows, self.first)

    def take(self, name: str, index: np.ndarray) -> np.ndarray:
        """Entries of a column in the rows at these places of the ring, (len(index), ...): a copy."""
        if name in self.columns:
            return self.columns[name][index]
        assert self._following is not None
        return self._following.take(name.removeprefix(NEXT_OBS), index)

    def read(self, agent: str, index: np.ndarray, minutes: int, *, is_next: bool = False) -> np.ndarray:
        """What the agent's network reads in the rows at these places, or in their next observations: the observation,
        and where it has memory that many before it, a row of `policies.past`."""
        now = self.take(f"next_{OBS}{agent}" if is_next else f"{OBS}{agent}", index)
        if minutes == 0:
            return now
        assert self._chains is not None
        numbers = self.num_added - 1 - (self.position - 1 - index) % self.capacity
        if is_next:  # the last step before it, and those before that one
            numbers = self._chains.after(numbers, self.columns["n_step"][index].astype(np.int64) - 1)
            earlier = self._chains.past(numbers, minutes - 1, self.first)
            past = np.concatenate([earlier, numbers[:, None]], 1)
        else:
            past = self._chains.past(numbers, minutes, self.first)
        seen, dim = past != NONE, now.shape[1]
        observed = self.columns[OBS + agent][past % self.capacity]  # (B, K, D)
        observed[~seen] = 0.0
        rows = np.empty((len(index), row_size(dim, minutes)), np.float32)
        rows[:, :dim], rows[:, -minutes:] = now, seen
        rows[:, dim:-minutes] = observed.reshape(len(index), minutes * dim)
        return rows

    @property
    def nbytes(self) -> int:
        """What the rows take, a full ring's."""
        stored = sum(column.nbytes for column in self.columns.values())
        stored += 0 if self._chains is None else self._chains.nbytes
        return stored + (0 if self._following is None else self._following.nbytes)

    def sample(
        self, tier: str, num_rows: int, beta: float = 0.4, old_share: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draws row numbers by the tier's priorities, stratified.

        Args:
            tier: who draws.
            num_rows: how many.
            beta: exponent of importance weights.
            old_share: share of the draws from the rows that `mark_old` has marked, as long as there are such rows, and
                others. None: they are drawn like any other.

        Returns:
            Indices (num_rows,) and importance weights (num_rows,), above 0 and at most 1.
        """
        tree = self.trees[tier]
        start, weight = (0.0, 0.0) if old_share is None else self._old(tree)
        share = old_share if old_share is not None and weight else 0.0
        num_old = round(share * num_rows)
        prefix = self._strata(num_rows - num_old, tree.total - weight)
        if weight:
            prefix = np.where(prefix >= start, prefix + weight, prefix)
            prefix = np.concatenate([start + self._strata(num_old, weight), prefix])
        index = np.minimum(tree.find(prefix), self.size - 1)
        probability = tree.sums[index + tree.num_leaves] / tree.total
        if weight:
            factors = share * tree.total / weight, (1 - share) * tree.total / (tree.total - weight)
            probability = probability * np.repeat(factors, (num_old, num_rows - num_old))
        weights = (self.size * np.maximum(probability, 1e-12)) ** -beta
        return index, (weights / weights.max()).astype(np.float32)

    def _strata(self, num_rows: int, total: float) -> np.ndarray:
        """A draw from each of so many equal parts of the range from 0 to `total`."""
        return (np.arange(num_rows) + self._rng.random(num_rows)) * (total / max(1, num_rows))

    def mark_old(self) -> None:
        """Tells all rows that are there from those that will come."""
        self.old_end = self.num_added

    def _old(self, tree: SumTree) -> tuple[float, float]:
        """The sum of the priorities before the rows that are marked as old, and of theirs; zeros where there are none,
        or no others."""
        first, end = self.first, self.old_end
        if not first < end < self.num_added or end > self.capacity:
            return 0.0, 0.0
        start = tree.before(first)  # numbers below the capacity are places in the ring too
        weight = tree.before(end) - start
        return (start, weight) if 0.0 < weight < tree.total else (0.0, 0.0)

    def update_priorities(
        self, tier: str, index: np.ndarray, td_error: np.ndarray, drawn_at: int | None = None
    ) -> None:
        """Sets the tier's priorities of the rows to their absolute TD errors (where a row is named twice, the last
        counts). `drawn_at` is how many rows had been added when they were drawn: those that are gone, or are drawn no
        more, keep their priorities.
        """
        if drawn_at is not None and drawn_at < self.num_added:
            tree = self.trees[tier]
            is_there = (index - drawn_at) % self.capacity >= self.num_added - drawn_at
            is_there &= tree.sums[tree.num_leaves + index] > 0
            index, td_error = index[is_there], td_error[is_there]
        if len(index) == 0:
            return
        priority = np.abs(td_error) + PRIORITY_FLOOR
        self.max_priority[tier] = max(self.max_priority[tier], float(priority.max()))
        self.trees[tier].set(index, priority**self.alpha)

    def clear(self) -> None:
        """Forgets all rows."""
        self.position = self.size = 0
        self.num_added, self.old_end, self.history = 0, 0, object()
        for tree in self.trees.values():
            tree.fill(np.zeros(0, int), np.zeros(0))
        if self._following is not None:
            self._following.clear()
        if self._complete is not None:
            self._complete.chains.clear()
            self._complete.clear()
        self.max_priority = dict.fromkeys(self.trees, 1.0)

    # ---- state: rows by their numbers, the count of rows before them
    @property
    def first(self) -> int:
        """The number of the oldest row."""
        return self.num_added - self.size

    def rows(self, first: int, end: int) -> dict[str, np.ndarray]:
        """The columns of the rows `first` to `end`, by their numbers; not to be kept, they may be the store's own."""
        start, stop = first % self.capacity, end % self.capacity or self.capacity
        index = np.arange(first, end) % self.capacity
        part: Any = slice(start, stop) if end - first == stop - start else index
        stored = {name: column[part] for name, column in self.columns.items()}
        return {name: stored[name] if name in stored else self.take(name, index) for name in self.shapes}

    def get_state(self, *, with_rows: bool = True) -> dict[str, Any]:
        """Plain data, for `set_state`."""
        index = np.arange(self.first, self.num_added) % self.capacity
        return {
            "leaves": {tier: tree.sums[tree.num_leaves + index] for tier, tree in self.trees.items()},
            "max_priority": dict(self.max_priority),
            "num_added": self.num_added,
            "old_end": self.old_end,
            "rng": copy.deepcopy(self._rng.bit_generator.state),
            **({} if self._complete is None else {"waiting": self._complete.get_state()}),
            **({"columns": copy.deepcopy(self.rows(self.first, self.num_added))} if with_rows else {}),
        }

    def set_state(self, state: Mapping[str, Any], rows: Iterable[tuple[int, Columns]] | None = None) -> None:
        """Goes on from `get_state`; of a larger store the newest rows are kept.

        Args:
            state: of this or of another store.
            rows: (number of the first, columns), blocks in order; None takes those of the state.

        Raises:
            CheckpointError: it is the state of a store with other columns or tiers.
        """
        for tier in self.trees:
            if tier not in state["leaves"]:
                raise CheckpointError(f"the checkpoint's replay has no priorities of tier {tier!r}")
        num_saved = len(next(iter(state["leaves"].values())))
        self.num_added, self.history = state["num_added"], object()
        self.old_end = state.get("old_end", 0)
        self.size = min(self.capacity, num_saved)
        self.position = self.num_added % self.capacity
        if self._following is not None:
            self._following.clear()
        if self._complete is not None:
            self._complete.chains.clear()
        for number, block in rows if rows is not None else [(self.num_added - num_saved, state["columns"])]:
            self._put(number, block)
        index = np.arange(self.first, self.num_added) % self.capacity
        for tier, tree in self.trees.items():
            tree.fill(index, state["leaves"][tier][num_saved - self.size :])
        if self._complete is not None:
            self._complete.set_state(state["waiting"], self.first)
            lost = index[self._complete.chains.reach[index] < self.first]  # in a smaller store
            for tree in self.trees.values() if len(lost) else ():
                tree.set(lost, np.zeros(len(lost)))
        self.max_priority = {tier: state["max_priority"][tier] for tier in self.trees}
        self._rng.bit_generator.state = state["rng"]

    def _put(self, number: int, block: Columns) -> None:
        """Writes rows under their numbers, those that the store still has."""
        for name in self.shapes:
            if name not in block:
                raise CheckpointError(
                    f"the checkpoint's replay has other columns ({name!r} is missing): another version or setting"
                )
        skipped, n = max(0, self.first - number), len(block[next(iter(self.shapes))])
        if skipped < n:
            index = np.arange(number + skipped, number + n) % self.capacity
            self._write(index, {name: block[name][skipped:] for name in self.shapes}, number + skipped)


class DetectionPriority:
    """The paper's priority of a transition: detection confidence x response urgency, when it is stored.

    Both are read from what triage sees before the action: of every alert (`paper-v0`) or case (`soc-v1`) its
    confidence, times its urgency, which is its severity and in `soc-v1` also the business value of its zone; the
    highest of these products counts. Assumption: these formulas of the two factors are ours. All are shares, so it
    lies between `DETECTION_FLOOR` and 1.

    Args:
        env, env_config: as `HMARLConfig.environment` has them.

    Raises:
        ConfigError: an environment without a triage of ours.
    """

    def __init__(self, env: Any, env_config: Mapping[str, Any]):
        if not isinstance(env, str) or env not in SCENARIOS:
            raise ConfigError(
                f"replay_priority 'paper' reads our triage's observation; environment {env!r} has none, allowed: "
                f"{', '.join(SCENARIOS)}"
            )
        names = features(TRIAGE, env, **{k: v for k, v in env_config.items() if k not in SIMULATOR_OPTIONS})
        self._columns = [
            np.array([k for k, name in enumerate(names) if name.endswith(f"_{factor}")], int)
            for factor in ("confidence", "severity", "zone_value")
        ]

    def __call__(self, rows: Mapping[str, np.ndarray]) -> np.ndarray:
        """`rows` with the column `obs/alert_triage_0` (n, dim) -> priorities (n,)."""
        seen = rows[f"obs/{TRIAGE}"]
        confidence, severity, value = (seen[:, columns] for columns in self._columns)
        urgency = severity * value if value.shape[1] else severity
        return np.maximum((confidence * urgency).max(1), DETECTION_FLOOR)
