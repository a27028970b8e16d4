"""Copying whole environments from one simulator into another, or within one, see `Simulator.branch`."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from numbers import Integral
from typing import Any, Protocol

import numpy as np

from soc_env.engine.draws import EPISODE_STEP, GOLDEN, U20, mix
from soc_env.engine.seeds import episode_keys
from soc_env.errors import ConfigError, shown

Envs = int | Sequence[int] | np.ndarray
Plan = tuple[np.ndarray, np.ndarray, int | None]  # sources, targets, and whose draws: None for the sources'
MAY_DIFFER = ("num_envs", "autoreset")

_mixed = getattr(mix, "py_func", mix)  # the compiled one is for kernels alone; NumPy runs this one on whole arrays


class Batch(Protocol):
    """What is needed of a `Simulator`, which documents it."""

    num_envs: int
    num_shared: int
    autoreset: bool
    seed: Any
    lists: dict[str, str]

    def made_for(self) -> dict[str, Any]:
        """What it simulates, in plain values."""

    def per_env(self) -> dict[str, np.ndarray]:
        """All that belongs to single envs."""

    def records(self) -> Any:
        """What its kernels work on."""


class Branches:
    """The envs of a simulator as rows of bytes: who copies a row of each array copies an env.

    Records are copied as they lie in memory, which is many times faster than field by field. Of lists only the part
    that one of the copied envs uses is copied: what lies behind it is never read. Two simulators are compared when one
    branches into the other for the first time.
    """

    def __init__(self, batch: Batch) -> None:
        """Args: the simulator, which holds this in turn."""
        self._batch: Batch = weakref.proxy(batch)
        self._alike: weakref.WeakSet[Branches] = weakref.WeakSet()  # those of simulators found to be of the same
        self._keys: tuple[Any, np.ndarray] | None = None
        self._rows: list[np.ndarray] | None = None

    def plan(self, other: Branches, source: Envs, target: Envs, keep_draws: bool, stream: int) -> Plan:
        """The checked arguments of `Simulator.branch`, which documents them; raises as it does."""
        if not isinstance(keep_draws, (bool, np.bool_)):
            raise ConfigError(f"keep_draws={shown(keep_draws)} must be True or False")
        if isinstance(stream, bool) or not isinstance(stream, Integral) or not 0 <= stream < 2**63:
            raise ConfigError(f"stream={shown(stream)} must be an integer from 0 to 2**63 - 1")
        if keep_draws and stream:
            raise ConfigError(f"stream={stream} needs keep_draws=False; allowed with the source's draws: 0")
        self._check_alike(other)
        of, to = _pairs(source, target, self._batch.num_envs, other._batch.num_envs)
        if other._batch.autoreset and not self._batch.autoreset:
            ended = of[self._env["is_over"][of] != 0]
            if ended.size:
                raise ConfigError(
                    f"source env {ended[0]} has ended and waits for reset, but into has autoreset=True; "
                    "allowed: an episode under way"
                )
        return of, to, None if keep_draws else int(stream)

    def _check_alike(self, other: Branches) -> None:
        if other is self or other in self._alike:
            return
        own, theirs = self._batch.made_for(), other._batch.made_for()
        for name in [*own, *theirs]:
            if name not in MAY_DIFFER and repr(own.get(name)) != repr(theirs.get(name)):
                raise ConfigError(
                    f"into has {name}={shown(theirs.get(name))}, this simulator {shown(own.get(name))}; "
                    "allowed: the same scenario and networks"
                )
        shared = self._batch.records()._asdict()
        for name in [*shared][: self._batch.num_shared]:
            if not _is_same(shared[name], getattr(other._batch.records(), name)):
                raise ConfigError(f"into has another {name} (see records()); allowed: the same scenario and networks")
        self._alike.add(other)

    def copy(self, other: Branches, source: np.ndarray, target: np.ndarray, stream: int | None) -> None:
        """Does what was planned. Every row is read before any is written, so sources and targets may overlap."""
        own, theirs = self._arrays(), other._arrays()
        for name, count in self._batch.lists.items():
            used = min(self._env[count][source].max(initial=0), theirs[name].shape[1])
            if used:
                _rows(theirs[name], used)[target] = _rows(own[name], used)[source]
        for mine, their in zip(self._whole(), other._whole(), strict=True):
            their[target] = mine[source]
        for name, count in self._batch.lists.items():
            if theirs[name].shape[1] < own[name].shape[1]:  # a shorter log
                other._env[count][target] = np.minimum(other._env[count][target], theirs[name].shape[1])
        if stream is not None:
            other._env["seed_key"][target] = _fresh_keys(other._env[target], other.own_keys()[target], stream)

    @property
    def _env(self) -> np.ndarray:
        return self._batch.records().env

    def _arrays(self) -> dict[str, np.ndarray]:
        return self._batch.records()._asdict()

    def _whole(self) -> list[np.ndarray]:
        """Rows of everything but the lists."""
        if self._rows is None:
            arrays, lists = self._batch.per_env(), self._batch.lists
            self._rows = [_rows(array) for name, array in arrays.items() if name not in lists]
        return self._rows

    def own_keys(self) -> np.ndarray:
        """(num_envs,) uint64: what tells the draws of one target from those of another."""
        seed = self._batch.seed
        if self._keys is None or self._keys[0] is not seed:
            self._keys = seed, episode_keys("branches", seed, self._batch.num_envs)
        return self._keys[1]


def _rows(array: np.ndarray, length: int | None = None) -> np.ndarray:
    """(num_envs,) view of an array (num_envs, ...): all of each row, or its first entries, as they lie in memory."""
    shape = array.shape[1:] if length is None else (length, *array.shape[2:])
    num_bytes = array.dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    return np.ndarray(len(array), f"V{num_bytes}", array, strides=array.strides[:1])


def _is_same(own: np.ndarray, other: np.ndarray) -> bool:
    """Whether two arrays hold the same. What lies between the fields of records does not count."""
    if own.dtype.names is None:
        return np.array_equal(own, other)
    return own.dtype == other.dtype and all(_is_same(own[name], other[name]) for name in own.dtype.names)


def _fresh_keys(env: np.ndarray, own: np.ndarray, stream: int) -> np.ndarray:
    """(k,) uint64: the keys of other draws for copied envs.

    Args:
        env: (k,) their records, with the seed_key, episode and step of the source.
        own: (k,) uint64, of the targets.
        stream: Which of the independent continuations.
    """
    moment = (env["episode"].astype(np.uint64) << U20) + env["step"].astype(np.uint64)
    copied = _mixed(env["seed_key"] + moment * EPISODE_STEP)
    return _mixed(_mixed(copied ^ own) + np.full(1, stream, np.uint64) * GOLDEN)


def _pairs(source: Envs, target: Envs, num_sources: int, num_targets: int) -> tuple[np.ndarray, np.ndarray]:
    """(k,) each: which env goes to which."""
    of, to = _indices("source", source, num_sources), _indices("target", target, num_targets)
    if isinstance(source, Integral):
        of = np.repeat(of, len(to))
    if len(of) != len(to):
        raise ConfigError(f"source has {len(of)} envs and target {len(to)}; allowed: as many, or a single source")
    twice = np.flatnonzero(np.bincount(to, minlength=1) > 1)
    if twice.size:
        raise ConfigError(f"target has env {twice[0]} more than once; allowed: each env once")
    return of, to


def _indices(name: str, given: Any, num_envs: int) -> np.ndarray:
    is_one = isinstance(given, Integral) and not isinstance(given, bool)
    try:
        indices = np.array([int(given)] if is_one else given)
    except (TypeError, ValueError, OverflowError):
        indices = np.empty((1, 1))
    if not indices.size and indices.ndim == 1:
        return np.zeros(0, np.int64)
    if indices.ndim != 1 or indices.dtype.kind not in "iu":
        raise ConfigError(f"{name}={shown(given)} must be the number of an env, or a sequence of such")
    wrong = indices[(indices < 0) | (indices >= num_envs)]
    if wrong.size:
        raise ConfigError(f"{name} has env {wrong[0]}; allowed: 0 to {num_envs - 1}")
    return indices.astype(np.int64)
