"""The engine's form of a network."""

from __future__ import annotations

import dataclasses
import hashlib
import math
import os
import pathlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from soc_env.errors import ConfigError
from soc_env.soc.networks import graphml
from soc_env.soc.networks.rules import (
    COUNT,
    HOST_VALUE,
    ROLES,
    SHARE,
    VULNERABILITY,
    Range,
    check_count,
    is_name,
    show,
    wrong,
)

# Arrays of a Network: field -> (dtype, shape, numbers allowed; None: depends on other fields).
ARRAYS: dict[str, tuple[Any, str, Range | None]] = {
    "zone_value": (np.float64, "Z", SHARE),
    "segment_zone": (np.int64, "S", None),
    "start": (np.int64, "S+1", None),
    "reach": (np.bool_, "SS", None),
    "is_entry": (np.bool_, "S", None),
    "host_role": (np.uint8, "H", Range(0, len(ROLES) - 1)),
    "host_value": (np.float32, "H", HOST_VALUE),
    "host_vulnerability": (np.float32, "H", VULNERABILITY),
    "host_service": (np.int16, "H", None),
    "host_users": (np.float32, "H", COUNT),
    "service_value": (np.float64, "K", SHARE),
    "service_zone": (np.int64, "K", None),
    "service_depends": (np.bool_, "KK", None),
}


@dataclass(frozen=True, eq=False, repr=False)
class Network:
    """The engine's form of a network: Z zones, S segments, H hosts, K services. Arrays cannot be written.

    Hosts are numbered segment by segment and segments zone by zone, so the hosts of a zone are contiguous too.

    Attributes:
        name: What the network is called.
        zone_names: (Z,), 1 to 16.
        zone_value: (Z,) float64 relative business value, 0 to 1.
        segment_names: (S,), 1 to 32.
        segment_zone: (S,) int64 zone of each segment, ascending.
        start: (S + 1,) int64 first host of each segment; the last entry is H.
        reach: (S, S) bool, [s, t]: an intruder or administrator in s reaches t. The diagonal is True.
        is_entry: (S,) bool, an intruder can start there.
        host_role: (H,) uint8 index into `ROLES`.
        host_value: (H,) float32 business value, in (0, 1].
        host_vulnerability: (H,) float32 probability that an exploit works, 0.05 to 0.95.
        host_service: (H,) int16 service that the host runs, -1 for none.
        host_users: (H,) float32 users that feel an outage of this host.
        service_names: (K,), 1 to 16.
        service_value: (K,) float64 value lost per minute of full outage; they sum to 1.
        service_zone: (K,) int64 zone where the service is at home.
        service_depends: (K, K) bool, [k, j]: k needs j. Only j < k.

    Raises:
        ConfigError: A field has the wrong shape or type, a value is out of range, or fields contradict each other.
    """

    name: str
    zone_names: tuple[str, ...]
    zone_value: np.ndarray
    segment_names: tuple[str, ...]
    segment_zone: np.ndarray
    start: np.ndarray
    reach: np.ndarray
    is_entry: np.ndarray
    host_role: np.ndarray
    host_value: np.ndarray
    host_vulnerability: np.ndarray
    host_service: np.ndarray
    host_users: np.ndarray
    service_names: tuple[str, ...]
    service_value: np.ndarray
    service_zone: np.ndarray
    service_depends: np.ndarray

    def __post_init__(self) -> None:
        if not is_name(self.name):
            raise wrong("network", "name", self.name, "1 to 64 printable characters")
        for kind in ("zone", "segment", "service"):
            object.__setattr__(self, f"{kind}_names", _checked_names(self._label, kind, getattr(self, f"{kind}_names")))
        num_hosts = len(self.host_role) if np.iterable(self.host_role) else 0
        check_count(self._label, "host", num_hosts)
        sizes = {"Z": self.num_zones, "S": self.num_segments, "K": self.num_services, "H": num_hosts}
        sizes["S+1"] = sizes["S"] + 1
        limits: dict[str, Range] = {
            "segment_zone": Range(0, sizes["Z"] - 1),
            "start": Range(0, num_hosts),
            "host_service": Range(-1, sizes["K"] - 1),
            "service_zone": Range(0, sizes["Z"] - 1),
        }
        for field, (dtype, axes, allowed) in ARRAYS.items():
            shape = (sizes[axes],) if axes in sizes else tuple(sizes[axis] for axis in axes)
            array = _checked_array(self._label, field, getattr(self, field), dtype, shape, limits.get(field, allowed))
            object.__setattr__(self, field, array)
        self._check_structure()

    def _check_structure(self) -> None:
        """What one field alone does not show."""
        total = math.fsum(self.service_value)
        backward = np.triu(self.service_depends)
        rules: list[tuple[str, Any, Any, str]] = [
            ("segment_zone", np.diff(self.segment_zone) < 0, self.segment_zone, "ascending"),
            ("start", self.start[:1] != 0, self.start, "0 in front"),
            ("start", np.diff(self.start) < 1, self.start, "ascending, at least one host a segment"),
            ("start", self.start[-1] != self.num_hosts, self.start[-1], f"{self.num_hosts} (hosts) at the end"),
            ("reach", ~np.diagonal(self.reach), False, "True on the diagonal"),
            ("is_entry", not self.is_entry.any(), False, "at least one entry segment"),
            ("service_value", abs(total - 1.0) > 1e-9, total, "a sum of 1"),
            ("service_depends", backward.any(axis=1), True, "only services of lower number, so that there is no cycle"),
        ]
        for field, is_broken, value, allowed in rules:
            if np.any(is_broken):
                raise wrong(self._label, field, value, allowed)
        empty = set(range(self.num_zones)) - set(self.segment_zone.tolist())
        if empty:
            raise wrong(self._label, f"segments of zone {self.zone_names[min(empty)]!r}", 0, "at least one")

    @property
    def _label(self) -> str:
        return f"network {show(self.name)}"

    @property
    def num_zones(self) -> int:
        return len(self.zone_names)

    @property
    def num_segments(self) -> int:
        return len(self.segment_names)

    @property
    def num_services(self) -> int:
        return len(self.service_names)

    @property
    def num_hosts(self) -> int:
        return len(self.host_role)

    def content(self) -> tuple[Any, ...]:
        """All fields as comparable values: names as they are, arrays as little-endian bytes."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(v.astype(v.dtype.newbyteorder("<")).tobytes() if isinstance(v, np.ndarray) else v for v in values)

    def hash(self) -> str:
        """Digest of all content, 16 hexadecimal digits, the same on every machine."""
        return hashlib.sha256(repr(self.content()).encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return self.content() == other.content() if isinstance(other, Network) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.content())

    def __repr__(self) -> str:
        return (
            f"Network({self.name!r}, {self.num_hosts} hosts, {self.num_zones} zones, {self.num_segments} segments, "
            f"{self.num_services} services, hash {self.hash()})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are built anew: NumPy would hand out arrays that can be written."""
        return Network, tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def to_graph(self) -> nx.DiGraph:
        """The network as a graph, laid out as the package's docstring says; `from_graph` inverts it."""
        graph = nx.DiGraph(name=self.name)
        zones = [f"zone:{name}" for name in self.zone_names]
        segments = [f"segment:{name}" for name in self.segment_names]
        services = [f"service:{name}" for name in self.service_names]
        hosts = [f"host:{host}" for host in range(self.num_hosts)]
        for z, node in enumerate(zones):
            graph.add_node(node, kind="zone", name=self.zone_names[z], value=float(self.zone_value[z]))
        for s, node in enumerate(segments):
            graph.add_node(node, kind="segment", name=self.segment_names[s], is_entry=bool(self.is_entry[s]))
            graph.add_edge(zones[self.segment_zone[s]], node, kind="contains")
        for k, node in enumerate(services):
            graph.add_node(node, kind="service", name=self.service_names[k], value=float(self.service_value[k]))
            graph.add_edge(zones[self.service_zone[k]], node, kind="contains")
        columns = (_short_floats(a) for a in (self.host_value, self.host_vulnerability, self.host_users))
        for node, role, value, vulnerability, users in zip(hosts, self.host_role, *columns, strict=True):
            graph.add_node(
                node, kind="host", role=ROLES[role], value=value, vulnerability=vulnerability, users=users
            )  # fmt: skip
        of_segment = np.repeat(np.arange(self.num_segments), np.diff(self.start)).tolist()
        graph.add_edges_from(((segments[s], hosts[h]) for h, s in enumerate(of_segment)), kind="contains")
        others = self.reach & ~np.eye(self.num_segments, dtype=bool)
        graph.add_edges_from(((segments[s], segments[t]) for s, t in np.argwhere(others)), kind="reaches")
        running = ((hosts[h], services[k]) for h, k in enumerate(self.host_service.tolist()) if k >= 0)
        graph.add_edges_from(running, kind="runs")
        needed = ((services[k], services[j]) for k, j in np.argwhere(self.service_depends))
        graph.add_edges_from(needed, kind="depends")
        return graph

    @classmethod
    def from_graph(cls, graph: nx.DiGraph) -> Network:
        """A network from a graph laid out as the package's docstring says. The graph is not changed.

        Raises:
            ConfigError: The graph breaks a rule of the layout; names the element, the field, the value and what is
                allowed.
        """
        return cls(**graphml.fields_of(graph))

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Writes a GraphML file so that a reader sees the old or the new content, never a part. Makes missing folders.

        Raises:
            ConfigError: The suffix is not `.graphml`, or the file cannot be written.
        """
        return graphml.write(self.to_graph(), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Reads a GraphML file.

        Raises:
            ConfigError: The file is missing, not GraphML, or breaks a rule of the layout.
        """
        fields = graphml.read(path)
        try:
            return cls(**fields)
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


def host_zone(network: Network) -> np.ndarray:
    """(H,) int64 zone of each host."""
    return np.repeat(network.segment_zone, np.diff(network.start))


# --- checking


def _checked_names(label: str, kind: str, names: Iterable[str]) -> tuple[str, ...]:
    field = f"{kind}_names"
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise wrong(label, field, names, "a tuple of names")
    checked = tuple(names)
    check_count(label, kind, len(checked))
    for i, name in enumerate(checked):
        if not is_name(name):
            raise wrong(label, f"{field}[{i}]", name, "1 to 64 printable characters")
        if name in checked[:i]:
            raise wrong(label, f"{field}[{i}]", name, f"each name once (it is number {checked.index(name)} too)")
    return checked


def _checked_array(
    label: str, field: str, values: Any, dtype: Any, shape: tuple[int, ...], allowed: Range | None
) -> np.ndarray:
    """A copy of `values` that cannot be written, once its type, shape and numbers are right."""
    try:
        raw = np.asarray(values)
    except ValueError:  # ragged
        raise wrong(label, field, values, f"an array of shape {shape}") from None
    kinds, kind_name = {"b": ("b", "booleans"), "f": ("iuf", "numbers")}.get(
        np.dtype(dtype).kind, ("iu", "whole numbers")
    )
    if raw.dtype.kind not in kinds:
        raise wrong(label, f"type of {field}", str(raw.dtype), kind_name)
    if raw.shape != shape:
        raise wrong(label, f"shape of {field}", raw.shape, str(shape))
    with np.errstate(over="ignore", under="ignore"):  # what overflows is found to be out of range
        array = np.array(raw, dtype=dtype, order="C")
    if allowed is not None:
        outside = ~(allowed.holds(raw) & allowed.holds(array))
        if outside.any():
            first = int(np.argmax(outside))
            raise wrong(label, f"{field}[{first}]", raw[first], allowed)
    if array.dtype.kind == "f":
        array += 0.0  # -0.0 becomes 0.0: equal values are equal bytes
    array.setflags(write=False)
    return array


def _short_floats(values: np.ndarray) -> list[float]:
    """float32 as the shortest float64 that comes back as the same float32: 0.43, not 0.4300000071525574."""
    short = values.astype(str).astype(np.float64)
    return np.where(short.astype(np.float32) == values, short, values.astype(np.float64)).tolist()
