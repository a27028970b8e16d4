"""Search spaces: settings of HMARLConfig in which some values are distributions.

    replay_beta = 1.0                                              # a fixed setting
    n_step = { choice = [3, 6, 12] }
    [tiers.threat_hunter]
    actor_lr = { loguniform = [1e-5, 1e-3] }

A distribution is a mapping with one entry, whose name is one of `KINDS`. It may stand wherever a value may, also in a
list (a point of a schedule). "grid" takes all of its values, the others are drawn.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from soc_env.errors import ConfigError, shown


@dataclass(frozen=True)
class Kind:
    """A kind of distribution: which parameters it takes, and how a value is drawn.

    Attributes:
        allowed: its parameters, in words.
        is_allowed: whether these parameters are.
        draw: a value, from parameters and a generator.
        is_range: whether the parameters are two ends, and not a list of values.
    """

    allowed: str
    is_allowed: Callable[[Any], bool]
    draw: Callable[[Any, np.random.Generator], Any]
    is_range: bool


def _is_list(values: Any) -> bool:
    return isinstance(values, list) and len(values) > 0


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)


def _are_ends(ends: Any) -> bool:
    return isinstance(ends, list) and len(ends) == 2 and all(map(_is_number, ends)) and ends[0] < ends[1]


def _one_of(values: Sequence[Any], rng: np.random.Generator) -> Any:
    return values[int(rng.integers(len(values)))]


KINDS: dict[str, Kind] = {
    "grid": Kind("a list of values, each of which is taken", _is_list, _one_of, False),
    "choice": Kind("a list of values", _is_list, _one_of, False),
    "uniform": Kind(
        "[lowest, highest], two numbers in this order", _are_ends, lambda ends, rng: float(rng.uniform(*ends)), True
    ),
    "loguniform": Kind(
        "[lowest, highest], two numbers above 0 in this order",
        lambda ends: _are_ends(ends) and ends[0] > 0,
        lambda ends, rng: min(max(math.exp(rng.uniform(math.log(ends[0]), math.log(ends[1]))), ends[0]), ends[1]),
        True,
    ),
    "randint": Kind(
        "[lowest, highest], two whole numbers in this order, both of which can be drawn",
        lambda ends: _are_ends(ends) and all(isinstance(end, Integral) for end in ends),
        lambda ends, rng: int(rng.integers(ends[0], ends[1], endpoint=True)),
        True,
    ),
}


@dataclass(frozen=True)
class Distribution:
    """What a setting is drawn from: the name of its kind, and that kind's parameters."""

    kind: str
    parameters: list[Any]

    @property
    def is_range(self) -> bool:
        return KINDS[self.kind].is_range

    def extremes(self) -> list[Any]:
        """Both ends, or all values."""
        return list(self.parameters)

    def draw(self, rng: np.random.Generator) -> Any:
        return KINDS[self.kind].draw(self.parameters, rng)

    def clipped(self, value: Any) -> Any:
        """A value that was changed, back in the range."""
        return min(max(value, self.parameters[0]), self.parameters[1]) if self.is_range else value


@dataclass(frozen=True)
class Space:
    """A search space; `plain` is as the file has it, `distributions` are those in it by their place."""

    plain: Mapping[str, Any]
    distributions: Mapping[str, Distribution]

    @classmethod
    def of(cls, plain: Mapping[str, Any], subject: str = "space") -> Space:
        """From plain data.

        Raises:
            ConfigError: a distribution with parameters that it does not take, or none at all.
        """
        found = dict(_find(plain, "", subject))
        if not found:
            kinds = ", ".join(KINDS)
            raise ConfigError(f'{subject}: holds nothing to search, allowed: {{"{kinds}": [...]}} in place of a value')
        return cls(plain, found)

    def settings(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The settings with a value for each distribution, by its place."""
        return _filled(self.plain, "", values)

    def draw(self, samples: int, seed: int) -> list[dict[str, Any]]:
        """Values of every trial: `samples` times each point of the grid; all others are drawn anew for each."""
        grids = {place: d.parameters for place, d in self.distributions.items() if d.kind == "grid"}
        points = [dict(zip(grids, point, strict=True)) for point in itertools.product(*grids.values())]
        drawn = []
        for number, (_, point) in enumerate(itertools.product(range(samples), points)):
            rng = np.random.default_rng([0x7E0E, seed, number])
            drawn.append({place: point.get(place, d.draw(rng)) for place, d in self.distributions.items()})
        return drawn

    @property
    def is_all_grid(self) -> bool:
        return all(d.kind == "grid" for d in self.distributions.values())

    def extremes(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Values at both ends of every distribution, one after the other, the rest at their first: where, and all."""
        first = {place: d.extremes()[0] for place, d in self.distributions.items()}
        for place, distribution in self.distributions.items():
            for value in distribution.extremes():
                yield f"{place}={shown(value)}", {**first, place: value}


def _find(value: Any, place: str, subject: str) -> Iterator[tuple[str, Distribution]]:
    if _is_distribution(value):
        ((kind, parameters),) = value.items()
        if not KINDS[kind].is_allowed(parameters):
            allowed = KINDS[kind].allowed
            raise ConfigError(f"{subject}: {place}: {kind}={shown(parameters)} is not allowed: {allowed}")
        yield place, Distribution(kind, parameters)
    elif isinstance(value, Mapping):
        for name, inner in value.items():
            yield from _find(inner, f"{place}.{name}" if place else name, subject)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from _find(inner, f"{place}[{number}]", subject)


def _filled(value: Any, place: str, values: Mapping[str, Any]) -> Any:
    if place in values:
        return values[place]
    if isinstance(value, Mapping):
        return {name: _filled(inner, f"{place}.{name}" if place else name, values) for name, inner in value.items()}
    if isinstance(value, list):
        return [_filled(inner, f"{place}[{number}]", values) for number, inner in enumerate(value)]
    return value


def _is_distribution(value: Any) -> bool:
    return isinstance(value, Mapping) and len(value) == 1 and next(iter(value)) in KINDS
