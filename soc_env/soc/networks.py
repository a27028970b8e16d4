"""Networks of soc-v1: what is defended. Generated, built as a graph, or read from a file a person can edit.

>>> from soc_env.soc.networks import Network, enterprise
>>> network = enterprise(num_hosts=200, seed=0)
>>> network.save("mine.graphml")  # edit it, then:
>>> network = Network.load("mine.graphml")

## The file, and the graph of `to_graph` and `from_graph`
GraphML, one directed `<graph>` whose attribute `name` names the network. Node ids are free (`host:17`); every node has
a `kind` and these attributes:

| kind | attribute | allowed | meaning |
|---|---|---|---|
| zone | name | text | what the agents see and act on |
| zone | value | 0 to 1 | relative business value |
| segment | name | text | a subnet |
| segment | is_entry | true or false | faces the internet or receives mail: an intruder can start here |
| service | name | text | a business service |
| service | value | 0 to 1e+09 | value lost per minute of full outage; a weight, divided by the sum over services |
| host | role | workstation, server, domain_controller, cloud | |
| host | value | more than 0, at most 1 | business value |
| host | vulnerability | 0.05 to 0.95 | probability that an exploit works |
| host | users | 0 to 1e+09 | users that feel an outage of this host |

Every edge has a `kind` too:

| kind | from | to | meaning |
|---|---|---|---|
| contains | zone | segment | each segment is in one zone |
| contains | zone | service | each service is at home in one zone |
| contains | segment | host | each host is in one segment |
| reaches | segment | segment | an intruder or administrator gets from here to there; a segment reaches itself anyway |
| runs | host | service | at most one service a host |
| depends | service | service | the first needs the second; no cycles |

Order matters only within a kind: zones, segments, services and hosts are numbered as they come in the file, segments
after their zones, hosts after their segments, services after what they depend on. 1 to 16 zones, 32 segments, 16
services, 100,000 hosts, no zone without segments and no segment without hosts; names are unique within a kind, of 1 to
64 printable characters. GraphML's own `<default>` works, other attributes (colours, coordinates) are ignored. A file
that is broken raises `ConfigError`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import math
import operator
import os
import pathlib
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, NamedTuple
from xml.etree import ElementTree

import networkx as nx
import numpy as np
from networkx.readwrite.graphml import GraphMLReader, GraphMLWriter

from soc_env.errors import ConfigError, unknown_name
from soc_env.files import new_file

ROLES = ("workstation", "server", "domain_controller", "cloud")
WORKSTATION, SERVER, DOMAIN_CONTROLLER, CLOUD = range(4)
MAX_ZONES, MAX_SEGMENTS, MAX_SERVICES, MAX_HOSTS = 16, 32, 16, 100_000
MIN_ENTERPRISE_HOSTS = 20


class Range(NamedTuple):
    """Allowed numbers."""

    low: float
    high: float
    is_low_open: bool = False

    def holds(self, values: Any) -> Any:
        """Whether the numbers (scalar or array) are inside; NaN is not."""
        above = values > self.low if self.is_low_open else values >= self.low
        return above & (values <= self.high)

    def __str__(self) -> str:
        low, high = f"{self.low:g}", f"{self.high:g}"
        return f"more than {low}, at most {high}" if self.is_low_open else f"{low} to {high}"


TEXT = "text"  # 1 to 64 printable characters
BOOLEAN = "true or false"
SHARE = Range(0.0, 1.0)
HOST_VALUE = Range(0.0, 1.0, is_low_open=True)
VULNERABILITY = Range(0.05, 0.95)
COUNT = Range(0.0, 1e9)

# What a node of each kind has to have: attribute -> what is allowed.
ATTRIBUTES: dict[str, dict[str, Any]] = {
    "zone": {"name": TEXT, "value": SHARE},
    "segment": {"name": TEXT, "is_entry": BOOLEAN},
    "service": {"name": TEXT, "value": COUNT},
    "host": {"role": ROLES, "value": HOST_VALUE, "vulnerability": VULNERABILITY, "users": COUNT},
}
LIMITS = {"zone": MAX_ZONES, "segment": MAX_SEGMENTS, "service": MAX_SERVICES, "host": MAX_HOSTS}
# Kinds of edges: kind -> kinds of nodes it may connect.
EDGES: dict[str, tuple[tuple[str, str], ...]] = {
    "contains": (("zone", "segment"), ("zone", "service"), ("segment", "host")),
    "reaches": (("segment", "segment"),),
    "runs": (("host", "service"),),
    "depends": (("service", "service"),),
}
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
_MISSING = object()


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
        if not _is_name(self.name):
            raise _wrong("network", "name", self.name, "1 to 64 printable characters")
        for kind in ("zone", "segment", "service"):
            object.__setattr__(self, f"{kind}_names", _checked_names(self._label, kind, getattr(self, f"{kind}_names")))
        num_hosts = len(self.host_role) if np.iterable(self.host_role) else 0
        _check_count(self._label, "host", num_hosts)
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
                raise _wrong(self._label, field, value, allowed)
        empty = set(range(self.num_zones)) - set(self.segment_zone.tolist())
        if empty:
            raise _wrong(self._label, f"segments of zone {self.zone_names[min(empty)]!r}", 0, "at least one")

    @property
    def _label(self) -> str:
        return f"network {_show(self.name)}"

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

    def _content(self) -> tuple[Any, ...]:
        """All fields as comparable values: names as they are, arrays as little-endian bytes."""
        values = (getattr(self, field.name) for field in dataclasses.fields(self))
        return tuple(v.astype(v.dtype.newbyteorder("<")).tobytes() if isinstance(v, np.ndarray) else v for v in values)

    def hash(self) -> str:
        """Digest of all content, 16 hexadecimal digits, the same on every machine."""
        return hashlib.sha256(repr(self._content()).encode()).hexdigest()[:16]

    def __eq__(self, other: object) -> bool:
        return self._content() == other._content() if isinstance(other, Network) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._content())

    def __repr__(self) -> str:
        return (
            f"Network({self.name!r}, {self.num_hosts} hosts, {self.num_zones} zones, {self.num_segments} segments, "
            f"{self.num_services} services, hash {self.hash()})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Copies and pickles are built anew: NumPy would hand out arrays that can be written."""
        return Network, tuple(getattr(self, field.name) for field in dataclasses.fields(self))

    def to_graph(self) -> nx.DiGraph:
        """The network as a graph, laid out as the module's docstring says; `from_graph` gives the same network back."""
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
        """A network from a graph laid out as the module's docstring says. The graph is not changed.

        Raises:
            ConfigError: The graph breaks a rule of the layout; names the element, the field, the value and what is
                allowed.
        """
        return _from_graph(graph)

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Write a GraphML file so that a reader sees the old or the new content, never a part. Makes missing folders.

        Raises:
            ConfigError: The suffix is not `.graphml`, or the file cannot be written.
        """
        path = _graphml_path(path)
        writer = _Writer()
        writer.add_graph_element(self.to_graph())
        try:
            with new_file(path) as file:
                writer.dump(file)
        except OSError as error:
            raise ConfigError(f"{path}: cannot be written: {error.strerror}; allowed: a file in a folder") from error
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Network:
        """Read a GraphML file.

        Raises:
            ConfigError: The file is missing, not GraphML, or breaks a rule of the layout.
        """
        path = _graphml_path(path)
        try:
            return _from_graph(_read_graph(path.read_bytes()))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror}; allowed: a GraphML file") from error
        except ConfigError as error:
            raise ConfigError(f"{path}: {error}") from error


def host_zone(network: Network) -> np.ndarray:
    """(H,) int64 zone of each host."""
    return np.repeat(network.segment_zone, np.diff(network.start))


# --- checking ---------------------------------------------------------------------------------------------------------


def _show(value: object) -> str:
    """A value in one short line."""
    if value is _MISSING:
        return "missing"
    if isinstance(value, np.ndarray):
        value = value.tolist()
    if isinstance(value, np.generic):
        value = value.item()
    return reprlib.repr(value)


def _wrong(element: str, field: str, value: object, allowed: object) -> ConfigError:
    allowed = ", ".join(allowed) if isinstance(allowed, tuple) and not isinstance(allowed, Range) else allowed
    return ConfigError(f"{element}: {field} is {_show(value)}; allowed: {allowed}")


def _is_name(value: object) -> bool:
    return isinstance(value, str) and 0 < len(value) <= 64 and value.isprintable() and value == value.strip()


def _is_allowed(value: object, allowed: Any) -> bool:
    """Whether an attribute of a node is what `ATTRIBUTES` says."""
    if isinstance(allowed, Range):
        return isinstance(value, Real) and not isinstance(value, bool) and bool(allowed.holds(value))
    if allowed is BOOLEAN:
        return isinstance(value, (bool, np.bool_))
    if allowed is TEXT:
        return _is_name(value)
    return isinstance(value, str) and value in allowed


def _check_count(label: str, kind: str, count: int) -> None:
    if not 1 <= count <= LIMITS[kind]:
        raise _wrong(label, f"number of {kind}s", count, f"1 to {LIMITS[kind]}")


def _checked_names(label: str, kind: str, names: Iterable[str]) -> tuple[str, ...]:
    field = f"{kind}_names"
    if isinstance(names, str) or not isinstance(names, Iterable):
        raise _wrong(label, field, names, "a tuple of names")
    checked = tuple(names)
    _check_count(label, kind, len(checked))
    for i, name in enumerate(checked):
        if not _is_name(name):
            raise _wrong(label, f"{field}[{i}]", name, "1 to 64 printable characters")
        if name in checked[:i]:
            raise _wrong(label, f"{field}[{i}]", name, f"each name once (it is number {checked.index(name)} too)")
    return checked


def _checked_array(
    label: str, field: str, values: Any, dtype: Any, shape: tuple[int, ...], allowed: Range | None
) -> np.ndarray:
    """A copy of `values` that cannot be written, once its type, shape and numbers are right."""
    try:
        raw = np.asarray(values)
    except ValueError:  # ragged
        raise _wrong(label, field, values, f"an array of shape {shape}") from None
    kinds, kind_name = {"b": ("b", "booleans"), "f": ("iuf", "numbers")}.get(
        np.dtype(dtype).kind, ("iu", "whole numbers")
    )
    if raw.dtype.kind not in kinds:
        raise _wrong(label, f"type of {field}", str(raw.dtype), kind_name)
    if raw.shape != shape:
        raise _wrong(label, f"shape of {field}", raw.shape, str(shape))
    with np.errstate(over="ignore", under="ignore"):  # what overflows is found to be out of range
        array = np.array(raw, dtype=dtype, order="C")
    if allowed is not None:
        outside = ~(allowed.holds(raw) & allowed.holds(array))
        if outside.any():
            first = int(np.argmax(outside))
            raise _wrong(label, f"{field}[{first}]", raw[first], allowed)
    if array.dtype.kind == "f":
        array += 0.0  # -0.0 becomes 0.0: equal values are equal bytes
    array.setflags(write=False)
    return array


# --- from a graph -----------------------------------------------------------------------------------------------------


class _Nodes(NamedTuple):
    """The nodes of one kind in their final order."""

    ids: list[Any]
    columns: dict[str, list[Any]]  # attribute -> value of each node

    def numbers(self) -> dict[Any, int]:
        return {node: i for i, node in enumerate(self.ids)}


def _from_graph(graph: Any) -> Network:
    if not isinstance(graph, nx.DiGraph) or graph.is_multigraph():
        raise _wrong("graph", "type", type(graph).__name__, "a directed networkx.DiGraph without parallel edges")
    if not _is_name(graph.graph.get("name")):
        raise _wrong("graph", "name", graph.graph.get("name", _MISSING), "1 to 64 printable characters")
    kinds = _node_kinds(graph)
    for kind in ATTRIBUTES:
        _check_count("graph", kind, sum(k == kind for k in kinds.values()))
    parents, runs, reaches, depends = _edges_by_kind(graph, kinds)

    zones = _nodes(graph, kinds, "zone")
    zone_of = zones.numbers()
    segments = _nodes(graph, kinds, "segment", lambda node: zone_of[parents[node]])
    segment_of = segments.numbers()
    hosts = _nodes(graph, kinds, "host", lambda node: segment_of[parents[node]])
    rank = _dependency_order(depends, [node for node, kind in kinds.items() if kind == "service"])
    services = _nodes(graph, kinds, "service", rank.__getitem__)
    service_of = services.numbers()
    for kind, nodes in (("zone", zones), ("segment", segments), ("service", services)):
        _check_unique(kind, nodes)
    for kind, held, nodes in (("zone", segments, zones), ("segment", hosts, segments)):
        _check_filled(kind, nodes, {parents[node] for node in held.ids})

    sizes = np.bincount([segment_of[parents[node]] for node in hosts.ids], minlength=len(segments.ids))
    reach = np.eye(len(segments.ids), dtype=bool)
    for source, target in reaches:
        reach[segment_of[source], segment_of[target]] = True
    service_depends = np.zeros((len(services.ids),) * 2, dtype=bool)
    for source, target in depends:
        service_depends[service_of[source], service_of[target]] = True
    return Network(
        name=graph.graph["name"],
        zone_names=tuple(zones.columns["name"]),
        zone_value=np.array(zones.columns["value"], np.float64),
        segment_names=tuple(segments.columns["name"]),
        segment_zone=np.array([zone_of[parents[node]] for node in segments.ids]),
        start=np.concatenate(([0], np.cumsum(sizes))),
        reach=reach,
        is_entry=np.array(segments.columns["is_entry"], bool),
        host_role=np.array([ROLES.index(role) for role in hosts.columns["role"]]),
        host_value=np.array(hosts.columns["value"], np.float64),
        host_vulnerability=np.array(hosts.columns["vulnerability"], np.float64),
        host_service=np.array([service_of[runs[node]] if node in runs else -1 for node in hosts.ids]),
        host_users=np.array(hosts.columns["users"], np.float64),
        service_names=tuple(services.columns["name"]),
        service_value=_weights_to_shares(services.columns["value"]),
        service_zone=np.array([zone_of[parents[node]] for node in services.ids]),
        service_depends=service_depends,
    )


def _node_kinds(graph: nx.DiGraph) -> dict[Any, str]:
    kinds = {}
    for node, kind in graph.nodes(data="kind", default=_MISSING):
        if kind is _MISSING:
            raise _wrong(f"node {_show(node)}", "kind", _MISSING, tuple(ATTRIBUTES))
        if kind not in tuple(ATTRIBUTES):
            raise ConfigError(f"node {_show(node)}: " + unknown_name("kind", kind, ATTRIBUTES))
        kinds[node] = kind
    return kinds


def _edges_by_kind(graph: nx.DiGraph, kinds: Mapping[Any, str]) -> tuple[dict, dict, list, list]:
    """Checked edges: what contains each node, the service of each host, (segment, segment) and (service, service)."""
    parents: dict[Any, Any] = {}
    runs: dict[Any, Any] = {}
    pairs: dict[str, list[tuple[Any, Any]]] = {"reaches": [], "depends": []}
    for source, target, kind in graph.edges(data="kind", default=_MISSING):
        ends = (kinds[source], kinds[target])
        if kind not in tuple(EDGES) or ends not in EDGES[kind]:
            raise _wrong_edge(source, target, kind, ends)
        if kind == "contains" and parents.setdefault(target, source) != source:
            both = f"{_show(parents[target])} and {_show(source)}"
            raise ConfigError(f"{kinds[target]} {_show(target)}: contained in {both}; allowed: one {kinds[source]}")
        if kind == "runs" and runs.setdefault(source, target) != target:
            both = f"{_show(runs[source])} and {_show(target)}"
            raise ConfigError(f"host {_show(source)}: runs {both}; allowed: at most one service")
        if kind in pairs:
            pairs[kind].append((source, target))
    for node, kind in kinds.items():
        if kind != "zone" and node not in parents:
            holder = "segment" if kind == "host" else "zone"
            raise _wrong(f"{kind} {_show(node)}", holder, _MISSING, f"one {holder} with an edge 'contains' to it")
    return parents, runs, pairs["reaches"], pairs["depends"]


def _wrong_edge(source: Any, target: Any, kind: object, ends: tuple[str, str]) -> ConfigError:
    edge = f"edge {_show(source)} -> {_show(target)}"
    if kind is _MISSING:
        return _wrong(edge, "kind", _MISSING, tuple(EDGES))
    if not isinstance(kind, str) or kind not in EDGES:
        return ConfigError(f"{edge}: " + unknown_name("kind", kind, EDGES))
    allowed = " or ".join(f"{a} to {b}" for a, b in EDGES[kind])
    return ConfigError(f"{edge}: kind {kind!r} leads from {ends[0]} to {ends[1]}; allowed: {allowed}")


def _nodes(graph: nx.DiGraph, kinds: Mapping[Any, str], kind: str, key: Any = None) -> _Nodes:
    """The nodes of a kind, sorted by `key` (stable), and their checked attributes."""
    ids = [node for node, k in kinds.items() if k == kind]
    if key is not None:
        ids.sort(key=key)
    columns: dict[str, list[Any]] = {}
    for field, allowed in ATTRIBUTES[kind].items():
        columns[field] = [graph.nodes[node].get(field, _MISSING) for node in ids]
        for node, value in zip(ids, columns[field], strict=True):
            if not _is_allowed(value, allowed):
                if allowed is ROLES and isinstance(value, str):
                    raise ConfigError(f"{kind} {_show(node)}: " + unknown_name("role", value, ROLES))
                raise _wrong(f"{kind} {_show(node)}", field, value, allowed)
    return _Nodes(ids, columns)


def _check_unique(kind: str, nodes: _Nodes) -> None:
    first: dict[str, Any] = {}
    for node, name in zip(nodes.ids, nodes.columns["name"], strict=True):
        if first.setdefault(name, node) != node:
            raise _wrong(f"{kind} {_show(node)}", "name", name, f"each name once ({_show(first[name])} has it)")


def _check_filled(kind: str, nodes: _Nodes, filled: set[Any]) -> None:
    held = "segment" if kind == "zone" else "host"
    for node in nodes.ids:
        if node not in filled:
            raise _wrong(f"{kind} {_show(node)}", f"number of {held}s", 0, "at least 1")


def _dependency_order(depends: Sequence[tuple[Any, Any]], services: Sequence[Any]) -> dict[Any, int]:
    """Rank of each service: after all it depends on, else as they come."""
    given = {node: i for i, node in enumerate(services)}
    needed_by: nx.DiGraph = nx.DiGraph()
    needed_by.add_nodes_from(services)
    needed_by.add_edges_from((target, source) for source, target in depends)
    if not nx.is_directed_acyclic_graph(needed_by):
        cycle = [target for _, target in nx.find_cycle(needed_by)][::-1]
        chain = " -> ".join(_show(node) for node in [*cycle, cycle[0]])
        raise ConfigError(f"service {_show(cycle[0])}: depends on itself: {chain}; allowed: no cycles")
    order = nx.lexicographical_topological_sort(needed_by, key=given.__getitem__)
    return {node: rank for rank, node in enumerate(order)}


def _weights_to_shares(weights: Sequence[float]) -> np.ndarray:
    """Service values that sum to 1. Values that do already are kept to the last bit."""
    values = np.array(weights, np.float64)
    total = math.fsum(values)
    if not total > 0.0:
        raise _wrong("graph", "sum of value over services", total, "more than 0")
    return values if abs(total - 1.0) <= 1e-9 else values / total


# --- GraphML ----------------------------------------------------------------------------------------------------------


def _short_floats(values: np.ndarray) -> list[float]:
    """float32 as the shortest float64 that comes back as the same float32: 0.43, not 0.4300000071525574."""
    short = values.astype(str).astype(np.float64)
    return np.where(short.astype(np.float32) == values, short, values.astype(np.float64)).tolist()


def _graphml_path(path: str | os.PathLike[str]) -> pathlib.Path:
    path = pathlib.Path(path)
    if path.suffix != ".graphml":
        raise _wrong(str(path), "suffix", path.suffix, ".graphml")
    return path


class _Writer(GraphMLWriter):
    """NetworkX's writer with keys a person can read: `host_value` would be `d7`."""

    def get_key(self, name: str, attr_type: str, scope: str, default: Any) -> str:
        key = f"{scope}_{name}"
        if key not in self.keys:
            self.keys[key] = key
            attributes = {"id": key, "for": scope, "attr.name": name, "attr.type": attr_type}
            self.xml.append(self.myElement("key", attributes))
        return key


class _Reader(GraphMLReader):
    """NetworkX's reader, which merges duplicates and drops what it does not know, made strict and given error lines."""

    def find_graphml_keys(self, graph_element: Any) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        keys, defaults = {}, {}
        for xml in graph_element.findall(f"{{{self.NS_GRAPHML}}}key"):
            key, kind = xml.get("id"), xml.get("attr.type", "string")
            name = xml.get("attr.name", xml.get("yfiles.type"))
            if name is None:
                raise _wrong(_xml_label(xml), "attr.name", _MISSING, TEXT)
            if kind not in self.python_type:
                raise _wrong(_xml_label(xml), "attr.type", kind, "boolean, int, long, float, double, string")
            keys[key] = {"name": name, "type": self.python_type[kind], "for": xml.get("for")}
            default = xml.find(f"{{{self.NS_GRAPHML}}}default")
            if default is not None:
                defaults[key] = self._convert(xml, "default", keys[key]["type"], default.text)
        return keys, defaults

    def add_node(self, G: nx.MultiDiGraph, node_xml: Any, graphml_keys: Any, defaults: Any) -> None:
        node = node_xml.get("id")
        if node is None:
            raise _wrong(f"node number {len(G)}", "id", _MISSING, TEXT)
        if node in G:
            raise _wrong(f"node {_show(node)}", "id", node, "each id once")
        super().add_node(G, node_xml, graphml_keys, defaults)

    def add_edge(self, G: nx.MultiDiGraph, edge_element: Any, graphml_keys: Any) -> None:
        for end in ("source", "target"):
            if edge_element.get(end) not in G:
                unknown = edge_element.get(end, _MISSING)
                raise _wrong(_xml_label(edge_element), end, unknown, "the id of a node of this file")
        if edge_element.get("directed") == "false":
            raise _wrong(_xml_label(edge_element), "directed", "false", "true")
        if G.has_edge(edge_element.get("source"), edge_element.get("target")):
            raise _wrong(_xml_label(edge_element), "number", 2, "one edge from a node to another")
        super().add_edge(G, edge_element, graphml_keys)

    def decode_data_elements(self, graphml_keys: Any, obj_xml: Any) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for item in obj_xml.findall(f"{{{self.NS_GRAPHML}}}data"):
            if len(item):  # how a graph editor draws it
                continue
            key = graphml_keys.get(item.get("key"))
            if key is None:
                raise _wrong(_xml_label(obj_xml), "key of data", item.get("key"), tuple(map(str, graphml_keys)))
            data[key["name"]] = self._convert(obj_xml, key["name"], key["type"], item.text)
        return data

    def _convert(self, xml: Any, field: str, to_type: Any, text: str | None) -> Any:
        text = (text or "").strip()
        try:
            return self.convert_bool[text.lower()] if to_type is bool else to_type(text)
        except (KeyError, ValueError):
            allowed = {bool: BOOLEAN, int: "whole numbers"}.get(to_type, "numbers")
            raise _wrong(_xml_label(xml), field, text, allowed) from None


def _xml_label(xml: Any) -> str:
    """What an XML element is called in an error line."""
    tag = xml.tag.rpartition("}")[2]
    if tag == "edge":
        return f"edge {_show(xml.get('source', _MISSING))} -> {_show(xml.get('target', _MISSING))}"
    return tag if tag == "graph" else f"{tag} {_show(xml.get('id', _MISSING))}"


def _read_graph(content: bytes) -> nx.DiGraph:
    """The one graph of a GraphML file, GraphML's defaults filled in."""
    allowed = "one directed <graph> in <graphml>"
    try:
        graphs = list(_Reader()(string=content))
        if not graphs:  # written by hand, without the namespace
            root = f'<graphml xmlns="{GraphMLReader.NS_GRAPHML}">'.encode()
            graphs = list(_Reader()(string=content.replace(b"<graphml>", root, 1)))
    except ConfigError:
        raise
    except (ElementTree.ParseError, LookupError, ValueError, nx.NetworkXError) as error:
        raise ConfigError(f"not GraphML: {' '.join(str(error).split())}; allowed: {allowed}") from None
    if len(graphs) != 1:
        raise _wrong("graphml", "number of graphs", len(graphs), allowed)
    (graph,) = graphs
    if not graph.is_directed():
        raise _wrong("graph", "edgedefault", "undirected", "directed")
    for data in graph.nodes.values():
        data.update({**graph.graph["node_default"], **data})
    for data in graph.edges.values():
        data.update({**graph.graph["edge_default"], **data})
    return graph


# --- generators -------------------------------------------------------------------------------------------------------


class Archetype(NamedTuple):
    """What a kind of zone looks like. All numbers are assumptions, chosen to look like a mid-sized enterprise."""

    name: str
    share: float  # of all hosts, relative to the other zones
    value: float  # business value, 0 to 1
    segments: tuple[str, ...]  # suffixes of its segments; the first is the front: what other zones reach
    workstations: tuple[float, ...]  # share of workstations in each segment, the others are `role`
    role: int
    entries: int  # how many of its segments an intruder can start in, from the front
    vulnerability: float  # added to the mean of the role
    services: dict[str, float]  # what its servers run, relative frequencies


# In this order: the first `num_zones` of them make a network of up to five zones.
ARCHETYPES = (
    Archetype(
        "dmz", 0.08, 0.60, ("web", "mail", "remote"), (0.0, 0.0, 0.0), SERVER, 3, 0.05,
        {"web_shop": 4, "email": 2, "remote_access": 2, "customer_api": 1},
    ),
    Archetype(
        "corporate", 0.45, 0.50, ("office", "finance", "support"), (0.95, 0.90, 0.93), SERVER, 3, 0.0,
        {"file_share": 3, "email": 2, "erp": 1},
    ),
    Archetype(
        "development", 0.17, 0.65, ("developers", "build", "test"), (0.85, 0.30, 0.50), SERVER, 0, 0.03,
        {"ci_cd": 5, "file_share": 1},
    ),
    Archetype(
        "datacenter", 0.18, 1.00, ("apps", "data", "core"), (0.0, 0.0, 0.0), SERVER, 0, -0.05,
        {"database": 4, "payments": 3, "erp": 2, "email": 2, "file_share": 1, "backup": 1, "identity": 1},
    ),
    Archetype(
        "cloud", 0.12, 0.85, ("workloads", "containers", "storage"), (0.0, 0.0, 0.0), CLOUD, 1, 0.0,
        {"customer_api": 3, "analytics": 3, "web_shop": 2, "backup": 1, "database": 1},
    ),
)  # fmt: skip
# What zones from the sixth on are.
SITES = (
    Archetype(
        "branch", 0.07, 0.40, ("office", "annex", "guest"), (0.95, 0.95, 1.0), SERVER, 1, 0.05,
        {"file_share": 3, "email": 1},
    ),
    Archetype(
        "plant", 0.06, 0.80, ("supervision", "control", "field"), (0.60, 0.30, 0.10), SERVER, 0, 0.10,
        {"erp": 2, "file_share": 1, "database": 1},
    ),
    Archetype(
        "partner", 0.04, 0.30, ("office", "support", "lab"), (0.80, 0.80, 0.60), SERVER, 1, 0.08,
        {"file_share": 2, "ci_cd": 1},
    ),
)  # fmt: skip
# Which zones reach which: (from, its whole zone or its front only, to, its whole zone or its front only, probability).
LINKS = (
    ("dmz", "whole", "datacenter", "front", 1.0),
    ("dmz", "front", "corporate", "front", 1.0),
    ("corporate", "whole", "dmz", "whole", 1.0),
    ("corporate", "whole", "development", "front", 1.0),
    ("corporate", "whole", "datacenter", "front", 1.0),
    ("corporate", "front", "branch", "front", 1.0),
    ("corporate", "front", "plant", "front", 1.0),
    ("corporate", "front", "cloud", "front", 0.5),
    ("development", "whole", "datacenter", "front", 1.0),
    ("development", "whole", "cloud", "front", 1.0),
    ("development", "front", "dmz", "front", 0.5),
    ("datacenter", "front", "dmz", "whole", 1.0),
    ("datacenter", "front", "corporate", "front", 1.0),
    ("datacenter", "front", "development", "front", 0.5),
    ("datacenter", "whole", "cloud", "front", 1.0),
    ("cloud", "whole", "datacenter", "front", 1.0),
    ("branch", "whole", "corporate", "front", 1.0),
    ("branch", "whole", "datacenter", "front", 0.7),
    ("plant", "front", "datacenter", "front", 1.0),
    ("partner", "whole", "dmz", "front", 1.0),
    ("partner", "front", "corporate", "front", 0.5),
    ("partner", "front", "development", "front", 0.3),
)
LINK_WITHIN_ZONE = 0.7  # probability of a link between two segments of a zone that are not its front
LINK_EXTRA = 0.03  # probability of a link that the table does not have: every network has its forgotten rules


class ServicePlan(NamedTuple):
    """A business service of a generated network. All numbers are assumptions."""

    name: str
    homes: tuple[str, ...]  # zones where it is at home, the first that exists
    value: float  # relative
    users: float  # per workstation of the network: above 1 for customers
    needs: tuple[str, ...]  # besides identity


# The first MIN_SERVICES are in every network, the others by chance.
SERVICE_PLANS = (
    ServicePlan("identity", ("datacenter",), 12, 1.0, ()),
    ServicePlan("database", ("datacenter", "cloud"), 12, 0.8, ()),
    ServicePlan("web_shop", ("dmz", "cloud"), 14, 5.0, ("database", "payments")),
    ServicePlan("email", ("datacenter", "dmz"), 9, 0.95, ()),
    ServicePlan("payments", ("datacenter", "dmz"), 12, 3.0, ("database",)),
    ServicePlan("ci_cd", ("development", "datacenter"), 5, 0.2, ("file_share",)),
    ServicePlan("file_share", ("datacenter", "corporate"), 6, 0.7, ()),
    ServicePlan("erp", ("datacenter",), 10, 0.5, ("database",)),
    ServicePlan("backup", ("datacenter", "cloud"), 3, 0.05, ("file_share",)),
    ServicePlan("analytics", ("cloud", "datacenter"), 5, 0.15, ("database",)),
    ServicePlan("customer_api", ("cloud", "dmz"), 8, 4.0, ("database",)),
    ServicePlan("remote_access", ("dmz",), 6, 0.4, ("email",)),
)
MIN_SERVICES = 6
NEED_EXTRA = 0.05  # probability that a service needs an earlier one besides those of its plan

# By role, see ROLES. Assumption: domain controllers are patched best, workstations worst.
VULNERABILITY_MEAN = np.array([0.45, 0.30, 0.15, 0.28])
VULNERABILITY_SPREAD = np.array([0.12, 0.10, 0.04, 0.10])
ROLE_VALUE = np.array([0.35, 0.75, 1.0, 0.7])  # of the value of the zone
HOSTS_PER_DOMAIN_CONTROLLER, MAX_DOMAIN_CONTROLLERS = 120, 64
_ENTERPRISE_DRAWS, _CAGE4_DRAWS = 1, 2  # the same seed is not the same draws


def enterprise(num_hosts: int = 200, seed: int = 0, num_zones: int = 5) -> Network:
    """A company network: internet-facing zone, offices, development, datacenter, cloud, and further sites.

    Args:
        num_hosts: 20 (or 2 * `num_zones`) to 100,000.
        seed: At least 0. Gives sizes, topology, values, vulnerabilities and services.
        num_zones: 1 to 16: as many of `ARCHETYPES`, then "site_6" and so on, each one of `SITES`.

    Raises:
        ConfigError: An argument is no whole number or out of range.
    """
    num_zones = _whole("num_zones", num_zones, 1, MAX_ZONES)
    num_hosts = _whole("num_hosts", num_hosts, max(MIN_ENTERPRISE_HOSTS, 2 * num_zones), MAX_HOSTS)
    rng = _generator(seed, _ENTERPRISE_DRAWS)
    sites = rng.integers(len(SITES), size=max(0, num_zones - len(ARCHETYPES)))
    archetypes = [*ARCHETYPES[:num_zones], *(SITES[i] for i in sites)]
    names = [a.name if z < len(ARCHETYPES) else f"site_{z + 1}" for z, a in enumerate(archetypes)]
    zone_sizes = _split(rng, num_hosts, [a.share for a in archetypes], minimum=2, concentration=120)
    zone_value = np.round(np.clip([a.value for a in archetypes] + rng.normal(0, 0.04, num_zones), 0.05, 0.95), 3)
    zone_value[[z for z, a in enumerate(archetypes) if a.value == 1.0]] = 1.0

    topology = _segment_graph(rng, archetypes, names, zone_sizes)
    segments = list(topology.nodes.values())
    start = np.concatenate(([0], np.cumsum([segment["num_hosts"] for segment in segments])))
    segment_zone = np.array([segment["zone"] for segment in segments])
    of_segment = np.repeat(np.arange(len(segments)), np.diff(start))
    zone = segment_zone[of_segment]
    role = _roles(rng, archetypes, segments, of_segment)
    role[_domain_controllers(archetypes, segment_zone, start)] = DOMAIN_CONTROLLER
    noise = rng.standard_normal((2, num_hosts))
    vulnerability = VULNERABILITY_MEAN[role] + np.array([a.vulnerability for a in archetypes])[zone]
    vulnerability += VULNERABILITY_SPREAD[role] * noise[0]
    value = zone_value[zone] * ROLE_VALUE[role] * (1.0 + 0.15 * noise[1])

    num_services = int(rng.integers(MIN_SERVICES, len(SERVICE_PLANS), endpoint=True))
    num_free = np.count_nonzero((role == SERVER) | (role == CLOUD))
    catalogue = _service_graph(rng, min(num_services, int(num_free) + 1))
    plans = [plan for _, plan in catalogue.nodes(data="plan")]
    service = _assign_services(rng, archetypes, plans, role, zone)
    return Network(
        name=f"enterprise-{num_hosts}-{num_zones}-{seed}",
        zone_names=tuple(names),
        zone_value=zone_value,
        segment_names=tuple(topology),
        segment_zone=segment_zone,
        start=start,
        reach=nx.to_numpy_array(topology) > 0,
        is_entry=np.array([segment["is_entry"] for segment in segments]),
        host_role=role,
        host_value=np.round(np.clip(value, 0.01, 1.0), 3),
        host_vulnerability=np.round(np.clip(vulnerability, VULNERABILITY.low, VULNERABILITY.high), 3),
        host_service=service,
        host_users=_users(rng, plans, service),
        service_names=tuple(catalogue),
        service_value=_service_values(rng, plans),
        service_zone=_service_homes(service, zone, len(plans)),
        service_depends=nx.to_numpy_array(catalogue) > 0,
    )


def _whole(field: str, value: Any, low: int, high: int) -> int:
    try:
        number = operator.index(value)
    except TypeError:
        number = -1
    if isinstance(value, (bool, np.bool_)) or not low <= number <= high:
        raise ConfigError(f"{field} is {_show(value)}; allowed: a whole number, {low} to {high}")
    return number


def _generator(seed: Any, draws: int) -> np.random.Generator:
    entropy = _whole("seed", seed, 0, 2**64 - 1)
    return np.random.default_rng(np.random.SeedSequence(entropy, spawn_key=(draws,)))


def _split(
    rng: np.random.Generator, total: int, shares: Sequence[float], minimum: int, concentration: float
) -> np.ndarray:
    """`total` hosts in as many parts as there are shares, Dirichlet around them, at least `minimum` in each."""
    parts = len(shares)
    exact = rng.dirichlet(concentration * np.asarray(shares) / sum(shares)) * (total - minimum * parts)
    counts = np.floor(exact).astype(np.int64)
    left = total - minimum * parts - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1  # largest remainders
    return counts + minimum


def _segment_graph(
    rng: np.random.Generator, archetypes: Sequence[Archetype], names: Sequence[str], zone_sizes: np.ndarray
) -> nx.DiGraph:
    """Segments with zone, num_hosts, workstations, is_entry; an edge where one reaches another, or itself."""
    graph: nx.DiGraph = nx.DiGraph()
    of_zone: list[list[str]] = []
    for z, (archetype, name, size) in enumerate(zip(archetypes, names, zone_sizes.tolist(), strict=True)):
        most = max(1, min(len(archetype.segments), MAX_SEGMENTS // len(names), size // 4))
        num_segments = int(rng.integers(min(most, 1 if size < 100 else 2), most, endpoint=True))
        sizes = _split(rng, size, [1.0] * num_segments, minimum=1, concentration=8 * num_segments)
        of_zone.append([f"{name}_{suffix}" for suffix in archetype.segments[:num_segments]])
        for i, segment in enumerate(of_zone[z]):
            graph.add_node(
                segment, zone=z, num_hosts=int(sizes[i]), workstations=archetype.workstations[i],
                is_entry=i < archetype.entries,
            )  # fmt: skip
            graph.add_edge(segment, segment)
    for front, *others in of_zone:
        graph.add_edges_from([(front, s) for s in others] + [(s, front) for s in others])
        pairs = [(s, t) for s in others for t in others if s != t]
        graph.add_edges_from(pair for pair in pairs if rng.random() < LINK_WITHIN_ZONE)
    zones_of: dict[str, list[int]] = {}
    for z, archetype in enumerate(archetypes):
        zones_of.setdefault(archetype.name, []).append(z)
    for source, from_which, target, to_which, probability in LINKS:
        for a in zones_of.get(source, []):
            for b in zones_of.get(target, []):
                if rng.random() < probability:
                    sources = of_zone[a] if from_which == "whole" else of_zone[a][:1]
                    targets = of_zone[b] if to_which == "whole" else of_zone[b][:1]
                    graph.add_edges_from((s, t) for s in sources for t in targets)
    extra = rng.random((len(graph), len(graph))) < LINK_EXTRA
    order = list(graph)
    graph.add_edges_from((order[s], order[t]) for s, t in np.argwhere(extra))
    return graph


def _roles(
    rng: np.random.Generator, archetypes: Sequence[Archetype], segments: Sequence[dict], of_segment: np.ndarray
) -> np.ndarray:
    """(H,) roles, without domain controllers."""
    workstations = np.array([segment["workstations"] for segment in segments])
    other = [archetypes[segment["zone"]].role for segment in segments]
    return np.where(rng.random(len(of_segment)) < workstations[of_segment], WORKSTATION, np.array(other)[of_segment])


def _domain_controllers(archetypes: Sequence[Archetype], segment_zone: np.ndarray, start: np.ndarray) -> slice:
    """The hosts that are domain controllers: in the innermost segment of the datacenter, else of the last zone."""
    home = next((z for z, a in enumerate(archetypes) if a.name == "datacenter"), len(archetypes) - 1)
    segment = int(np.flatnonzero(segment_zone == home)[-1])
    size = int(start[segment + 1] - start[segment])
    wanted = min(round(int(start[-1]) / HOSTS_PER_DOMAIN_CONTROLLER), size // 2, MAX_DOMAIN_CONTROLLERS)
    return slice(int(start[segment]), int(start[segment]) + max(1, wanted))


def _service_graph(rng: np.random.Generator, count: int) -> nx.DiGraph:
    """`count` services with their plan, what is needed first; an edge from a service to each one it needs."""
    core = list(SERVICE_PLANS[: min(count, MIN_SERVICES)])
    chosen = rng.permutation(np.arange(MIN_SERVICES, len(SERVICE_PLANS)))[: count - len(core)]
    plans = {plan.name: plan for plan in [*core, *(SERVICE_PLANS[i] for i in sorted(chosen))]}
    needs: nx.DiGraph = nx.DiGraph()
    for name, plan in plans.items():
        needs.add_node(name, plan=plan)
        wanted = plan.needs if name == "identity" else ("identity", *plan.needs)
        needs.add_edges_from((name, other) for other in wanted if other in plans)
    order = list(nx.lexicographical_topological_sort(needs.reverse(), key=list(plans).index))
    graph: nx.DiGraph = nx.DiGraph()
    graph.add_nodes_from((name, needs.nodes[name]) for name in order)
    graph.add_edges_from(needs.edges)
    extra = np.tril(rng.random((len(order), len(order))) < NEED_EXTRA, -1)
    graph.add_edges_from((order[k], order[j]) for k, j in np.argwhere(extra))
    return graph


def _assign_services(
    rng: np.random.Generator,
    archetypes: Sequence[Archetype],
    plans: Sequence[ServicePlan],
    role: np.ndarray,
    zone: np.ndarray,
) -> np.ndarray:
    """(H,) service of each host: every service gets a host, at home where one is left, then by the zone's habits."""
    names = [plan.name for plan in plans]
    service = np.full(len(role), -1, np.int64)
    service[role == DOMAIN_CONTROLLER] = names.index("identity")
    for k, plan in enumerate(plans):
        if plan.name == "identity":
            continue
        free = np.flatnonzero((role != WORKSTATION) & (service < 0))
        homes = [z for home in plan.homes for z, archetype in enumerate(archetypes) if archetype.name == home]
        at_home = next((there for z in homes if len(there := free[zone[free] == z])), free)
        service[rng.choice(at_home)] = k
    for z, archetype in enumerate(archetypes):
        free = np.flatnonzero((role != WORKSTATION) & (service < 0) & (zone == z))
        weights = np.array([archetype.services.get(name, 0.0) for name in names])
        weights = weights if weights.any() else np.ones(len(names))
        service[free] = rng.choice(len(names), size=len(free), p=weights / weights.sum())
    return service


def _users(rng: np.random.Generator, plans: Sequence[ServicePlan], service: np.ndarray) -> np.ndarray:
    """(H,) users of each host: one a workstation, those of a service shared by its hosts. Whole numbers."""
    workforce = max(np.count_nonzero(service < 0), len(service) // 2)
    of_service = workforce * np.array([plan.users for plan in plans]) * rng.lognormal(0.0, 0.2, len(plans))
    of_host = np.maximum(1.0, np.round(of_service / np.bincount(service[service >= 0], minlength=len(plans))))
    return np.where(service < 0, 1.0, of_host[service])


def _service_values(rng: np.random.Generator, plans: Sequence[ServicePlan]) -> np.ndarray:
    """(K,) values that sum to 1, of four decimals."""
    values = np.array([plan.value for plan in plans]) * rng.lognormal(0.0, 0.25, len(plans))
    values = np.round(values / values.sum(), 4)
    values[np.argmax(values)] += 1.0 - values.sum()
    return np.round(values, 4)


def _service_homes(service: np.ndarray, zone: np.ndarray, num_services: int) -> np.ndarray:
    """(K,) zone with most hosts of each service."""
    counts = np.zeros((num_services, int(zone.max()) + 1), np.int64)
    runs = service >= 0
    np.add.at(counts, (service[runs], zone[runs]), 1)
    return counts.argmax(axis=1)


class Cage4Zone(NamedTuple):
    """A zone of CAGE-4, which is one subnet. Values and services are ours, see `cage4`."""

    name: str
    value: float  # before mission phases, 0 to 1
    reaches: tuple[str, ...]
    service: str
    service_value: float  # share of all services
    needs: tuple[str, ...]


# Zones in the order of the blue agents that guard them. Reach: CybORG's EnterpriseScenarioGenerator, what red learns of
# other subnets (`_between_subnet_links`) and the subnets' access lists. Services in order of dependency.
CAGE4_ZONES = (
    Cage4Zone("restricted_a", 0.5, ("operational_a", "contractor", "public"), "support_a", 0.13, ()),
    Cage4Zone("operational_a", 0.6, ("restricted_a",), "mission_a", 0.20, ("support_a",)),
    Cage4Zone("restricted_b", 0.5, ("operational_b", "contractor", "public"), "support_b", 0.13, ()),
    Cage4Zone("operational_b", 0.6, ("restricted_b",), "mission_b", 0.20, ("support_b",)),
    Cage4Zone("admin", 0.4, ("office", "public"), "administration", 0.10, ()),
    Cage4Zone("office", 0.3, ("admin", "public"), "office_work", 0.10, ("administration",)),
    Cage4Zone(
        "public", 0.4, ("admin", "office", "contractor", "restricted_a", "restricted_b"), "public_portal", 0.10,
        ("administration",),
    ),
    Cage4Zone("contractor", 0.2, ("restricted_a", "restricted_b", "public"), "contractor_work", 0.04, ()),
)  # fmt: skip
CAGE4_INTERNET_REACHES = ("restricted_a", "restricted_b", "public", "contractor")  # next to CybORG's root host
CAGE4_SERVERS, CAGE4_USERS = (1, 6), (3, 10)  # hosts a subnet, uniform, both ends included
CAGE4_HOSTS = (67, 109)  # least and most seen in CybORG; its ranges would allow 41 to 137


def cage4(seed: int = 0) -> Network:
    """A network shaped like CybORG's CAGE Challenge 4: 9 subnets in 8 zones, 67 to 109 hosts.

    Each of the eight zones is a subnet: servers, then user hosts (workstations), then its router, as many as there. The
    ninth subnet is the internet: one host, the last one, in the contractor's zone as both are undefended. It reaches
    others, nothing reaches it and nobody starts there: the intruder starts at the contractor. Routers and the internet
    host run nothing in CybORG and cannot be attacked; here they have the lowest vulnerability and value.

    Args:
        seed: At least 0. Gives hosts a subnet, values and vulnerabilities.

    Raises:
        ConfigError: The seed is no whole number or out of range.
    """
    rng = _generator(seed, _CAGE4_DRAWS)
    zones = [zone.name for zone in CAGE4_ZONES]
    while True:
        servers, users = (rng.integers(*ends, size=len(zones), endpoint=True) for ends in (CAGE4_SERVERS, CAGE4_USERS))
        sizes = np.append(servers + users + 1, 1)
        if CAGE4_HOSTS[0] <= sizes.sum() <= CAGE4_HOSTS[1]:
            break
    segments = [*zones, "internet"]
    of_segment = np.repeat(np.arange(len(segments)), sizes)
    start = np.concatenate(([0], np.cumsum(sizes)))
    slot = np.arange(start[-1]) - start[of_segment]
    servers, users = np.append(servers, 0), np.append(users, 0)
    is_user = (slot >= servers[of_segment]) & (slot < (servers + users)[of_segment])
    is_server = slot < servers[of_segment]
    role = np.where(is_user, WORKSTATION, SERVER)
    noise = rng.standard_normal((2, len(role)))
    segment_zone = np.append(np.arange(len(zones)), zones.index("contractor"))
    value = np.array([zone.value for zone in CAGE4_ZONES])[segment_zone[of_segment]]
    value = value * np.where(is_server, 1.0, 0.6) * (1.0 + 0.15 * noise[0])
    vulnerability = VULNERABILITY_MEAN[role] + VULNERABILITY_SPREAD[role] * noise[1]
    is_target = is_server | is_user
    topology: nx.DiGraph = nx.DiGraph((segment, segment) for segment in segments)
    services: nx.DiGraph = nx.DiGraph()
    for zone in CAGE4_ZONES:
        topology.add_edges_from((zone.name, other) for other in zone.reaches)
        services.add_node(zone.service)
        services.add_edges_from((zone.service, other) for other in zone.needs)
    topology.add_edges_from(("internet", other) for other in CAGE4_INTERNET_REACHES)
    return Network(
        name=f"cage4-{_whole('seed', seed, 0, 2**64 - 1)}",
        zone_names=tuple(zones),
        zone_value=np.array([zone.value for zone in CAGE4_ZONES]),
        segment_names=tuple(segments),
        segment_zone=segment_zone,
        start=start,
        reach=nx.to_numpy_array(topology) > 0,
        is_entry=np.array([segment == "contractor" for segment in segments]),
        host_role=role,
        host_value=np.where(is_target, np.round(np.clip(value, 0.02, 1.0), 3), 0.01),
        host_vulnerability=np.where(
            is_target, np.round(np.clip(vulnerability, VULNERABILITY.low, VULNERABILITY.high), 3), VULNERABILITY.low
        ),
        host_service=np.where(is_server, of_segment, -1),
        host_users=np.where(is_user, 1, users[of_segment]),
        service_names=tuple(services),
        service_value=np.array([zone.service_value for zone in CAGE4_ZONES]),
        service_zone=np.arange(len(zones)),
        service_depends=nx.to_numpy_array(services) > 0,
    )
