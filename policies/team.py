"""A team's policy: observations of its agents in, their actions out, whatever computes them. NumPy alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from policies.past import Past
from soc_env.engine.state import take
from soc_env.errors import CheckpointError, ConfigError, shown, unknown_name

CLOCK = "clock"  # the entry of an observation, in our scenarios, that says how far the episode is
SCRIPTED = "scripted"  # the algorithm of a tier without networks
Actions = dict[str, Any]


class TeamPolicy(ABC):
    """Tiers that act for their agents, nothing learned: checks of what comes in, held actions, scripted tiers beside.

    A subclass says what a network is; `policies.scripted.Policy` is what a scripted tier is.

    Tiers with memory read the observations of past calls too: a call is a step of the environments. Their past begins
    with an episode, which a clock that goes back tells in our scenarios; elsewhere whoever calls tells it.

    Args:
        modules: tier -> its network.
        slow_agents: agents that act on decision steps only and hold their action between them.
        manifest: of the checkpoint that it is from.
        members: tier -> its agents.
        scripted: tier -> policy of the tiers without a network.
    """

    _advice = ""  # what to do about observations of another size

    def __init__(
        self,
        modules: Mapping[str, Any],
        slow_agents: tuple[str, ...] = (),
        *,
        seed: int = 0,
        manifest: Mapping[str, Any] | None = None,
        members: Mapping[str, Sequence[str]] | None = None,
        scripted: Mapping[str, Any] | None = None,
    ):
        self._tier = {agent: tier for tier, agents in (members or {}).items() for agent in agents}
        self._scripted = dict(scripted or {})
        self.modules, self.slow_agents = dict(modules), slow_agents
        self.manifest, self.seed = dict(manifest or {}), seed
        self.reset(seed)

    @abstractmethod
    def _size(self, tier: str) -> int:
        """The number of entries of the observations that a tier's network reads."""

    @abstractmethod
    def _forward(self, module: Any, rows: np.ndarray) -> np.ndarray:
        """A network's actions on observations (N, size), as the environment takes them: (N, dim), or (N,) choices."""

    @abstractmethod
    def _entry_names(self, agent: str, size: int) -> Sequence[str] | None:
        """What the entries of an agent's observation are called, if that is known."""

    def minutes(self, tier: str) -> int:
        """Past observations that a tier's network reads beside the present one; 0 without memory."""
        memory = self.manifest.get("tiers", {}).get(tier, {}).get("memory", {})
        return int(memory.get("minutes", 0))

    def reset(self, seed: int | None = None) -> None:
        """Forgets held actions and the past; a seed starts all draws anew."""
        for policy in self._scripted.values() if seed is not None else ():
            policy.reset(seed)
        self._held: dict[str, np.ndarray] = {}
        self._past: dict[str, Past] = {}
        self._clock = np.zeros(0, np.float32)  # what it last said, (N,)

    def get_state(self) -> dict[str, Any]:
        """What it remembers of the environments that it acts in, as plain data: held actions and the past."""
        return {
            "held": {agent: held.copy() for agent, held in self._held.items()},
            "past": {agent: past.rows.copy() for agent, past in self._past.items()},
            "clock": self._clock.copy(),
        }

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on acting in those environments.

        Raises:
            CheckpointError: it is not what `get_state` of such a policy returned.
        """
        try:
            self._held = {agent: np.array(held) for agent, held in state["held"].items()}
            self._clock, self._past = np.array(state["clock"], np.float32), {}
            for agent, rows in state["past"].items():
                tier = self.tier_of(agent)
                self._past[agent] = Past(len(rows), self._size(tier), self.minutes(tier))
                take(rows, self._past[agent].rows, f"past/{agent}")
        except (LookupError, TypeError, ValueError, AttributeError) as error:
            raise CheckpointError(f"state of the policy is damaged ({type(error).__name__}: {error})") from error

    def tier_of(self, agent: str) -> str:
        """The tier that acts for an agent; ConfigError if none does."""
        tier = self._named(agent)
        if tier not in self.modules and tier not in self._scripted:
            known = self._tier or [f"{tier}_0" for tier in (*self.modules, *self._scripted)]
            raise ConfigError(unknown_name("agent", agent, known))
        return tier

    def _named(self, agent: str) -> str:
        """The tier that would act for an agent of that name; "" if there is none."""
        return self._tier.get(agent, "")

    def __call__(
        self, observations: Mapping[str, Any], decides: Any = None, begins: Any = None, acts: Any = None
    ) -> Actions:
        """The agents' actions.

        Args:
            observations: of one situation, {agent: (size,)}, or of N, {agent: (N, size)}; all finite. A scripted tier
                wants those of all agents.
            decides: whether agents that act on decision steps decide now, a bool or (N,) bool; None: all do. Where
                they do not, they hold their action. A batch of another size than the last one starts anew.
            begins: where an episode begins, a bool or (N,) bool, for tiers with memory. None: where the clock that our
                scenarios show goes back; in other environments nowhere but after `reset()`.
            acts: where networks are to act, a bool or (N,) bool; elsewhere, where episodes are over, an action is the
                one that is held, or 0. None: everywhere.

        Returns:
            {agent: (dim,) float32, or int for a choice} of one situation, {agent: (N, dim) or (N,)} of N.

        Raises:
            ConfigError: an agent that no tier acts for; an observation of the wrong size, or with an entry that is not
                finite; batches of unequal size.
        """
        batch, decided, is_single = self._batch(observations, decides)
        self._begin(batch, begins)
        wanted = _of_each("acts", True if acts is None else acts, len(decided))
        played = {tier: policy(batch, decided) for tier, policy in self._scripted.items()}
        acted: Actions = {}
        for agent, seen in batch.items():
            tier = self.tier_of(agent)
            acted[agent] = played[tier][agent] if tier in played else self._act(agent, tier, seen, decided, wanted)
            if agent in self._past:
                self._past[agent].push(seen)
        if not is_single:
            return acted
        return {agent: action[0] if action.ndim > 1 else int(action[0]) for agent, action in acted.items()}

    def _batch(self, observations: Mapping[str, Any], decides: Any) -> tuple[dict[str, np.ndarray], np.ndarray, bool]:
        """The observations as (N, size) float32, who decides as (N,) bool, and whether it is one situation."""
        arrays = {agent: _as_array(agent, seen) for agent, seen in observations.items()}
        for agent in self._tier if self._scripted else ():
            if agent not in arrays:
                raise ConfigError(f"the observation of {agent} is missing; scripted tiers read those of all agents")
        sizes = {agent: array.shape[:-1] for agent, array in arrays.items()}
        first = next(iter(sizes), "")
        for agent, size in sizes.items():
            if size != sizes[first]:
                raise ConfigError(f"observations of {first} are a batch {sizes[first]}, those of {agent} {size}")
        is_single = sizes.get(first) == ()
        batch = {agent: array[None] if is_single else array for agent, array in arrays.items()}
        num_rows = len(batch[first]) if batch else 0
        for agent, array in batch.items():
            self._check(agent, array)
        return batch, _of_each("decides", True if decides is None else decides, num_rows), is_single

    def _begin(self, batch: Mapping[str, np.ndarray], begins: Any) -> None:
        """Makes room for the past, and forgets it where episodes begin."""
        minutes = {agent: self.minutes(self.tier_of(agent)) for agent in batch}
        remembering = [agent for agent in batch if minutes[agent] and self.tier_of(agent) in self.modules]
        if not remembering:
            return
        num_rows = len(batch[remembering[0]])
        for agent in remembering:
            if len(self._past.get(agent, ())) != num_rows:
                self._past[agent] = Past(num_rows, batch[agent].shape[1], minutes[agent])
        if begins is None:
            clock = self._clock_of(batch)
            where = clock < self._clock if clock.shape == self._clock.shape else np.zeros(num_rows, bool)
            self._clock = clock
        else:
            where = _of_each("begins", begins, num_rows)
        for agent in remembering if where.any() else ():
            self._past[agent].forget(where)

    def _clock_of(self, batch: Mapping[str, np.ndarray]) -> np.ndarray:
        """What a clock shows that some agent sees, (N,); an empty array if none sees one."""
        for agent, seen in batch.items():
            names = self._entry_names(agent, seen.shape[1])
            if names is not None and CLOCK in names:
                return seen[:, list(names).index(CLOCK)].copy()
        return np.zeros(0, np.float32)

    def _check(self, agent: str, rows: np.ndarray) -> None:
        """ConfigError unless a tier acts on observations like these."""
        module = self.modules.get(self.tier_of(agent))
        expected = rows.shape[1] if module is None else self._size(self.tier_of(agent))
        if rows.shape[1] != expected:
            raise ConfigError(
                f"{agent}: the policy reads observations of size {expected}, got {rows.shape[1]}{self._advice}"
            )
        if not (is_finite := np.isfinite(rows)).all():
            row, entry = np.argwhere(~is_finite)[0].tolist()
            names = self._entry_names(agent, expected)
            name = f"entry {entry}" if names is None else f"{names[entry]!r} (entry {entry})"
            place = f" of row {row}" if len(rows) > 1 else ""
            raise ConfigError(f"{agent}: observation {name}{place} is {rows[row, entry]}, allowed: finite numbers")

    def _act(self, agent: str, tier: str, seen: np.ndarray, decides: np.ndarray, wanted: np.ndarray) -> np.ndarray:
        is_slow, held = agent in self.slow_agents, self._held.get(agent)
        holds = is_slow and held is not None and len(held) == len(seen)
        envs = np.nonzero(wanted & decides if holds else wanted)[0]
        if holds and len(envs) == 0:
            assert held is not None
            return held.copy()
        rows = seen if len(envs) == len(seen) else seen[envs]
        if agent in self._past:
            rows = self._past[agent].beside(rows, envs)
        acted = self._forward(self.modules[tier], rows)
        if len(rows) == len(seen) and not is_slow:
            return acted
        if not holds:
            held = np.zeros((len(seen), *acted.shape[1:]), acted.dtype)
        assert held is not None
        held[envs] = acted
        if not is_slow:
            return held
        self._held[agent] = held
        return held.copy()


def _of_each(name: str, value: Any, num_rows: int) -> np.ndarray:
    """A bool for all situations or one for each, as (N,) bool."""
    found = np.asarray(value, bool)
    if found.ndim == 0:
        found = np.full(num_rows, found)
    if found.shape != (num_rows,):
        raise ConfigError(f"{name} has shape {found.shape}, allowed: ({num_rows},)")
    return found


def _as_array(agent: str, seen: Any) -> np.ndarray:
    """One observation (size,) or a batch (N, size), float32."""
    try:
        array = np.asarray(seen, np.float32)
    except (TypeError, ValueError):
        raise ConfigError(f"{agent}: observation is {shown(seen)}, allowed: numbers") from None
    if array.ndim not in (1, 2):
        raise ConfigError(f"{agent}: observation has shape {array.shape}, allowed: (size,), or (N, size) of a batch")
    return array
