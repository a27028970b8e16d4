"""Where the tokens of an observation lie: zones, cases, and the context, which is all else.

Both families of scenarios say so in the same form, from which `policies.networks.zones` builds its networks:

* soc-v1 and its like (`soc_env.soc.tables.TokenLayout`): any number of zones, all treated alike; where findings have
  levels, zones have more features. The size of an observation says how many zones, and which features.
* paper-v0 (`soc_env.paper.tables.FEATURES`, by the names of entries): five segments, whose hosts differ in ways that no
  entry tells, so they are numbered; an alert is a case. Triage is shown no segments.
"""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from soc_env.engine.tables import AGENTS, TRIAGE
from soc_env.errors import ConfigError
from soc_env.paper.scenario import NUM_SEGMENTS
from soc_env.paper.tables import ACTIONS, FEATURES, STATE
from soc_env.soc.networks import MAX_ZONES
from soc_env.soc.tables import (
    CASE_FEATURES,
    CHOICES_READ,
    ZONE_TRUTH,
    TokenLayout,
    actions,
    features,
    layout,
    layout_of,
    possible_choices,
    state_features,
    zone_features,
)

Entries = Mapping[str, tuple[int, int]]


def _entries(agent: str) -> tuple[int, int]:
    one, two = (len(actions(agent, num_zones)) for num_zones in (1, 2))
    return two - one, 2 * one - two


def _paper_entries(agent: str) -> tuple[int, int]:
    by_segment = [row for row in ACTIONS[agent] if row.effect != "none" and re.search(r"_\d+$", row.name)]
    return len(by_segment) // NUM_SEGMENTS, len(ACTIONS[agent]) - len(by_segment)


ENTRIES: Entries = {agent: _entries(agent) for agent in AGENTS}
"""agent -> (entries per zone, entries for the whole network) of its action: zones first, group by group."""
PAPER_ENTRIES: Entries = {agent: _paper_entries(agent) for agent in AGENTS}
PRESENT, CASE_ZONE = ([f.name for f in CASE_FEATURES].index(name) for name in ("present", "zone"))
ZONE_SCALE = 16  # the case feature "zone" is zone / 16


@dataclass(frozen=True, eq=False)
class Tokens:
    """Indices of an observation's entries, by token; entries that are in none are not read.

    Attributes:
        zones: (Z, F) int64, the same features of every zone.
        cases: (C, F) int64, the same features of every case.
        context: (F,) int64.
        num_seen: how many of a zone's features, the first ones, are its state; the rest is noise, or what others want
            of it.
        present: which feature of a case is above 0 if there is such a case, and only then.
        case_zone: which feature of a case is the number of its zone, divided by `zone_scale`.
        zone_scale: see `case_zone`.
        entries: agent -> (entries per zone, entries for the whole network) of its action, as `ENTRIES`.
        kinds: what a zone and a case are called.
        is_numbered: whether a zone's number says more than its features do.
    """

    zones: np.ndarray
    cases: np.ndarray
    context: np.ndarray
    num_seen: int
    present: int
    case_zone: int
    zone_scale: int
    entries: Entries
    kinds: tuple[str, str] = ("zone", "case")
    is_numbered: bool = False

    @property
    def names(self) -> list[str]:
        """What the tokens of "attention" are, in their order: zones, the context, cases."""
        zone, case = self.kinds
        zones, cases = [f"{zone} {z}" for z in range(len(self.zones))], [f"{case} {k}" for k in range(len(self.cases))]
        return [*zones, "context", *cases]

    def decisions(self, agent: str) -> list[str]:
        """Names of the tokens whose features the agent's actions come from."""
        zones = self.names[: len(self.zones)] if self.entries[agent][0] else []
        return [*zones, "context"]

    @property
    def read(self) -> np.ndarray:
        """Indices of all entries that are read, in their order."""
        return np.sort(np.concatenate([self.zones.ravel(), self.cases.ravel(), self.context]))

    @property
    def statistics(self) -> np.ndarray:
        """(entries read,) int64: the number of the statistic that each is normalised with. A feature has one for all
        zones and one for all cases; they are numbered as they come first."""
        feature = np.empty(self.read[-1] + 1, np.int64)
        first = 0
        for places in (self.zones, self.cases, self.context):
            feature[places] = first + np.arange(places.shape[-1])
            first += places.shape[-1]
        _, appears, number = np.unique(feature[self.read], return_index=True, return_inverse=True)
        return np.argsort(np.argsort(appears))[number]


def agent_of(role: str | None) -> str:
    """The agent with that role (the name of its tier) in both families; ConfigError if there is none."""
    agent = f"{role}_0"
    if agent not in AGENTS:
        known = ", ".join(name.removesuffix("_0") for name in AGENTS)
        raise ConfigError(
            f"tier {role!r}: its network reads observations of paper-v0 or of the soc-v1 family; allowed tiers: {known}"
        )
    return agent


def own_tokens(agent: str, obs_dim: int, has_state: bool = False) -> Tokens:
    """Those of the agent's observation of that size, with `has_state` of the state behind it too; ConfigError if
    neither family has one."""
    return _tokens((agent,), obs_dim, f"{agent}: its network", has_state)


def joint_tokens(obs_dim: int, has_state: bool = False) -> Tokens:
    """Those of the observations of all agents, one after another in the order of `AGENTS`, each fact once; ConfigError
    if neither family has one of that size."""
    return _tokens(AGENTS, obs_dim, "a joint critic by tokens", has_state)


def impossible_choices(observation: torch.Tensor) -> torch.Tensor:
    """(B, size) of triage's observation -> (B, choices), whether a choice is impossible; ConfigError if it is not of
    the soc-v1 family."""
    shape = layout_of(TRIAGE, observation.shape[1])
    if shape is None:
        size = observation.shape[1]
        raise ConfigError(
            f"action_masking reads triage's observation in the soc-v1 family; there is none of size {size}"
        )
    names = _triage_names(shape.num_zones, shape.has_levels)
    can, can_enrich = possible_choices(*(observation[:, names.index(name)] for name in CHOICES_READ))
    others = can.unsqueeze(1).expand(-1, ENTRIES[TRIAGE][1] - 1)
    return ~torch.cat([others, can_enrich.unsqueeze(1)], 1)


@functools.cache
def _triage_names(num_zones: int, has_levels: bool) -> list[str]:
    return [feature.name for feature in features(TRIAGE, num_zones, has_levels)]


def entry_names(agent: str, obs_dim: int) -> list[str] | None:
    """What the entries of the agent's observation of that size are called, where one of the families has it."""
    if agent not in AGENTS:
        return None
    if obs_dim == len(FEATURES[agent]):
        return [feature.name for feature in FEATURES[agent]]
    shape = layout_of(agent, obs_dim)
    if shape is None:
        return None
    return [feature.name for feature in features(agent, shape.num_zones, shape.has_levels)]


def action_names(agent: str, obs_dim: int) -> list[str] | None:
    """As `entry_names`, of the entries of its action, or of its choices."""
    if agent not in AGENTS:
        return None
    if obs_dim == len(FEATURES[agent]):
        return [action.name for action in ACTIONS[agent]]
    shape = layout_of(agent, obs_dim)
    return None if shape is None else [action.name for action in actions(agent, shape.num_zones)]


def _tokens(agents: tuple[str, ...], obs_dim: int, reader: str, has_state: bool) -> Tokens:
    if obs_dim == sum(len(FEATURES[agent]) for agent in agents) + len(STATE) * has_state:
        return _paper_tokens(agents, has_state)
    shape = _shape(agents, obs_dim, has_state)
    if shape is None:
        with_state = " with the state" if has_state else ""
        raise ConfigError(
            f"{reader} reads observations of paper-v0 or of the soc-v1 family{with_state}; there is none of size "
            f"{obs_dim}"
        )
    # of all agents the first is shown most, and all that the others are
    return _with_truth(agents, shape) if has_state else _soc_tokens(shape)


@functools.cache
def _shape(agents: tuple[str, ...], obs_dim: int, has_state: bool = False) -> TokenLayout | None:
    """The layout of the first agent's observation, with which those of the agents have that size together in the soc-v1
    family."""
    for zones in range(1, MAX_ZONES + 1):
        for levels in (False, True):
            size = sum(layout(agent, zones, levels).size for agent in agents)
            if obs_dim == size + len(state_features(zones, levels)) * has_state:
                return layout(agents[0], zones, levels)
    return None


@functools.cache
def _soc_tokens(shape: TokenLayout) -> Tokens:
    num_zones, place = shape.num_zones, np.arange(shape.size)
    zones, cases, directive, clock = np.split(place, [shape.case_start, shape.directive_start, shape.clock_start])
    priorities, postures = np.split(directive, [num_zones])
    return Tokens(
        zones=np.column_stack([zones.reshape(num_zones, -1), priorities]),
        cases=cases.reshape(shape.num_cases, -1),
        context=np.concatenate([clock, postures]),
        num_seen=len(zone_features(shape.has_levels)),
        present=PRESENT,
        case_zone=CASE_ZONE,
        zone_scale=ZONE_SCALE,
        entries=ENTRIES,
    )


@functools.cache
def _with_truth(agents: tuple[str, ...], shape: TokenLayout) -> Tokens:
    """Those of the agents' observations with the state behind them: the truth about zones beside what is seen of them,
    that about cases and campaigns in the context. What the state repeats of observations is not read."""
    own, size = _soc_tokens(shape), (num_zones := shape.num_zones, shape.has_levels)
    observed = sum(layout(agent, *size).size for agent in agents)
    truth = np.arange(layout(TRIAGE, *size).size, len(state_features(*size))) + observed
    of_zones, rest = np.split(truth, [num_zones * len(ZONE_TRUTH)])
    zones = np.column_stack([own.zones, of_zones.reshape(num_zones, -1)])
    return dataclasses.replace(own, zones=zones, context=np.concatenate([own.context, rest]))


@functools.cache
def _paper_tokens(agents: tuple[str, ...], has_state: bool) -> Tokens:
    place: dict[str, int] = {}  # of every name, where it comes first: agents that show the same fact call it the same
    observed = [feature for agent in agents for feature in FEATURES[agent]]
    for index, feature in enumerate([*observed, *(STATE if has_state else ())]):
        if feature.low < feature.high:  # padding is constant
            place.setdefault(feature.name, index)
    zones, cases = _numbered(place, "segment|flow|plan"), _numbered(place, "alert")
    taken = {*zones.ravel().tolist(), *cases.ravel().tolist()}
    of_alert = [name.removeprefix("alert0_") for name in place if name.startswith("alert0_")]
    return Tokens(
        zones=zones,
        cases=cases,
        context=np.array([index for index in place.values() if index not in taken], np.int64),
        num_seen=sum(name.startswith("segment0_") and index < len(observed) for name, index in place.items()),
        present=of_alert.index("severity") if of_alert else 0,  # raised alerts have one, and the rest is filled with 0
        case_zone=of_alert.index("segment") if of_alert else 0,
        zone_scale=NUM_SEGMENTS,
        entries=PAPER_ENTRIES,
        kinds=("segment", "alert"),
        is_numbered=True,
    )


def _numbered(place: Mapping[str, int], kinds: str) -> np.ndarray:
    """(N, F) places of the names that begin with one of `kinds` and a number, by number; (0, 0) if there are none."""
    rows: dict[int, list[int]] = {}
    for name, index in place.items():
        if match := re.match(rf"(?:{kinds})(\d+)_", name):
            rows.setdefault(int(match[1]), []).append(index)
    return np.array([rows[number] for number in sorted(rows)], np.int64).reshape(len(rows), -1 if rows else 0)
