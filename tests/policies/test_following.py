"""Observations are stored once: every next observation that is read is the one that was added, bit for bit."""

from collections.abc import Iterator

import numpy as np
import pytest

from policies.hmarl import following
from policies.hmarl.following import Following
from policies.hmarl.replay import JointReplay

SIZES = {"a": 3, "b": 2}


class Runner:
    """Rows as a runner hands them over: in time order, over `n_step` steps, never across the end of an episode."""

    def __init__(self, rng: np.random.Generator, num_envs: int, n_step: int, length: int, num_values: int = 0):
        self.rng, self.num_envs, self.n_step, self.length = rng, num_envs, n_step, length
        self.num_values = num_values  # that observations have; few, so that they come again and again
        self.clock = rng.integers(length, size=num_envs)  # environments are out of step
        self.now = self.draw(num_envs)
        self.steps: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def draw(self, n: int) -> np.ndarray:
        shape = (n, sum(SIZES.values()))
        if self.num_values:
            return self.rng.integers(self.num_values, size=shape).astype(np.float32)
        return self.rng.normal(size=shape).astype(np.float32)

    def rollout(self, num_steps: int) -> dict[str, np.ndarray]:
        for _ in range(num_steps):
            after, self.clock = self.draw(self.num_envs), self.clock + 1
            done = self.clock >= self.length
            self.steps.append((self.now, after, done))
            self.clock[done] = 0
            self.now = np.where(done[:, None], self.draw(self.num_envs), after)
        ready = len(self.steps) - self.n_step + 1
        rows = [self._rows(t) for t in range(max(0, ready))]
        self.steps = self.steps[max(0, ready) :]
        seen, after = (np.concatenate(part) for part in zip(*rows, strict=True)) if rows else (self.now[:0],) * 2
        columns = {"id": self.rng.random(len(seen))}
        for agent, part in {"a": slice(0, 3), "b": slice(3, 5)}.items():
            columns |= {f"obs/{agent}": seen[:, part], f"next_obs/{agent}": after[:, part]}
        return columns

    def _rows(self, t: int) -> tuple[np.ndarray, np.ndarray]:
        following, is_over = self.steps[t][1].copy(), self.steps[t][2].copy()
        for k in range(1, self.n_step):
            following[~is_over] = self.steps[t + k][1][~is_over]
            is_over |= self.steps[t + k][2]
        return self.steps[t][0], following


def shapes() -> dict[str, tuple[tuple[int, ...], type]]:
    of = {"id": ((), np.float64)}
    for agent, size in SIZES.items():
        of |= {f"obs/{agent}": ((size,), np.float32), f"next_obs/{agent}": ((size,), np.float32)}
    return of


class Plain:
    """A ring that stores everything twice, as it was."""

    def __init__(self, capacity: int):
        self.columns = {name: np.zeros((capacity, *shape), dtype) for name, (shape, dtype) in shapes().items()}
        self.added, self.capacity = 0, capacity

    def add(self, rows: dict[str, np.ndarray]) -> None:
        n = len(rows["id"])
        index = (self.added + np.arange(n)) % self.capacity
        for name, values in rows.items():
            for k in range(n):
                self.columns[name][index[k]] = values[k]
        self.added += n


def assert_same(replay: JointReplay, plain: Plain) -> None:
    index = np.arange(len(replay))
    for name, values in plain.columns.items():
        assert replay.take(name, index).tobytes() == values[: len(replay)].tobytes(), name


def rollouts(seed: int, num_runners: int, n_step: int, num_values: int = 0) -> Iterator[dict[str, np.ndarray]]:
    rng = np.random.default_rng(seed)
    runners = [Runner(rng, 4, n_step, length=9, num_values=num_values) for _ in range(num_runners)]
    for _ in range(20):
        for number in rng.permutation(num_runners):  # in whatever order they answer
            yield runners[number].rollout(int(rng.integers(1, 8)))


@pytest.mark.parametrize("num_values", [0, 2])
@pytest.mark.parametrize(("num_runners", "n_step"), [(1, 1), (1, 4), (3, 3)])
@pytest.mark.parametrize("capacity", [50, 120, 5_000])
def test_next_observations_are_those_that_were_added(
    num_runners: int, n_step: int, capacity: int, num_values: int
) -> None:
    replay, plain = JointReplay(capacity, shapes(), ("t",)), Plain(capacity)
    for rows in rollouts(capacity + n_step, num_runners, n_step, num_values):
        replay.add(rows)
        plain.add(rows)
        assert_same(replay, plain)
    assert plain.added > 150  # the smaller rings have gone round
    part = replay.rows(replay.first, replay.num_added)
    assert part["next_obs/a"].tobytes() == plain_rows(plain, replay, "next_obs/a").tobytes()


def plain_rows(plain: Plain, replay: JointReplay, name: str) -> np.ndarray:
    return plain.columns[name][np.arange(replay.first, replay.num_added) % replay.capacity]


@pytest.mark.parametrize("capacity", [50, 120])
def test_a_restored_store_goes_on_with_the_same_observations(capacity: int) -> None:
    replay, plain = JointReplay(capacity, shapes(), ("t",)), Plain(capacity)
    for number, rows in enumerate(rollouts(3, 2, 3)):
        replay.add(rows)
        plain.add(rows)
        if number % 5 == 4:
            twin = JointReplay(capacity, shapes(), ("t",), seed=number)
            twin.set_state(replay.get_state())
            replay = twin
            assert_same(replay, plain)
    smaller = JointReplay(20, shapes(), ("t",))
    smaller.set_state(replay.get_state())
    newest = np.arange(smaller.first, smaller.num_added)
    for name in shapes():
        assert smaller.take(name, newest % 20).tobytes() == replay.take(name, newest % capacity).tobytes(), name
    replay.clear()
    fresh = next(rollouts(4, 1, 1))
    replay.add(fresh)
    assert replay.take("next_obs/a", np.arange(len(fresh["id"]))).tobytes() == fresh["next_obs/a"].tobytes()


def test_only_ends_and_what_is_still_to_come_are_kept_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(following, "FIRST_ROOM", 8)
    num_envs, n_step, length, capacity = 4, 3, 10, 400
    runner = Runner(np.random.default_rng(0), num_envs, n_step, length)
    replay = JointReplay(capacity, shapes(), ("t",))
    empty = replay.nbytes
    for _ in range(60):
        replay.add(runner.rollout(8))
    ends = capacity / length  # each once, though `n_step` rows have it
    waiting = n_step * num_envs
    room = (replay.nbytes - empty) / (4 * sum(SIZES.values()))
    assert ends <= room <= 2 * (ends + waiting)  # it grows by half


def test_a_place_is_never_that_of_an_earlier_row() -> None:
    """It is overwritten first: an observation that only an earlier row has is kept aside."""
    seen = {"a": np.zeros((4, 1), np.float32)}
    places = Following(seen)

    def add(place: int, now: float, after: float) -> None:
        seen["a"][place] = now
        places.add(np.array([place]), {"a": np.float32([[now]])}, {"a": np.float32([[after]])})

    add(0, 7.0, 1.0)
    add(1, 2.0, 7.0)  # what row 0 began with
    add(2, 7.0, 7.0)  # row 1's has come, later than it; its own is none
    assert places.place.tolist()[1] == 2
    assert places.place[0] < 0
    assert places.place[2] < 0
    add(3, 3.0, 3.0)
    add(0, 9.0, 9.0)
    assert places.take("a", np.arange(4))[:, 0].tolist() == [9.0, 7.0, 7.0, 3.0]


def test_negative_zero_is_not_zero() -> None:
    replay, plain = JointReplay(8, shapes(), ("t",)), Plain(8)
    rows = {name: np.zeros((2, *shape), dtype) for name, (shape, dtype) in shapes().items()}
    rows["next_obs/a"][0] = -0.0
    for _ in range(3):
        replay.add(rows)
        plain.add(rows)
    assert_same(replay, plain)
