"""A network as a graph, and the GraphML file that holds one; the package's docstring says how both are laid out.

NetworkX reads and writes the file. What it would merge, drop or guess is an error here.
"""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple
from xml.etree import ElementTree

import networkx as nx
import numpy as np
from networkx.readwrite.graphml import GraphMLReader, GraphMLWriter

from soc_env.errors import ConfigError, unknown_name
from soc_env.files import new_file
from soc_env.soc.networks.rules import (
    ATTRIBUTES,
    BOOLEAN,
    EDGES,
    MISSING,
    ROLES,
    TEXT,
    check_count,
    is_allowed,
    is_name,
    show,
    wrong,
)

# --- from a graph


class _Nodes(NamedTuple):
    """The nodes of one kind in their final order."""

    ids: list[Any]
    columns: dict[str, list[Any]]  # attribute -> value of each node

    def numbers(self) -> dict[Any, int]:
        return {node: i for i, node in enumerate(self.ids)}


def fields_of(graph: Any) -> dict[str, Any]:
    """The fields of the `Network` that a graph describes, by name.

    Raises:
        ConfigError: The graph breaks a rule of the layout; names the element, the field, the value and what is allowed.
    """
    if not isinstance(graph, nx.DiGraph) or graph.is_multigraph():
        raise wrong("graph", "type", type(graph).__name__, "a directed networkx.DiGraph without parallel edges")
    if not is_name(graph.graph.get("name")):
        raise wrong("graph", "name", graph.graph.get("name", MISSING), "1 to 64 printable characters")
    kinds = _node_kinds(graph)
    for kind in ATTRIBUTES:
        check_count("graph", kind, sum(k == kind for k in kinds.values()))
    parents, runs, reaches, depends = _edges_by_kind(graph, kinds)
    zones, segments, hosts, services = _sorted_nodes(graph, kinds, parents, depends)
    zone_of, segment_of, service_of = zones.numbers(), segments.numbers(), services.numbers()
    sizes = np.bincount([segment_of[parents[node]] for node in hosts.ids], minlength=len(segments.ids))
    return {
        "name": graph.graph["name"],
        "zone_names": tuple(zones.columns["name"]),
        "zone_value": np.array(zones.columns["value"], np.float64),
        "segment_names": tuple(segments.columns["name"]),
        "segment_zone": np.array([zone_of[parents[node]] for node in segments.ids]),
        "start": np.concatenate(([0], np.cumsum(sizes))),
        "reach": _adjacency(reaches, segment_of) | np.eye(len(segments.ids), dtype=bool),
        "is_entry": np.array(segments.columns["is_entry"], bool),
        "host_role": np.array([ROLES.index(role) for role in hosts.columns["role"]]),
        "host_value": np.array(hosts.columns["value"], np.float64),
        "host_vulnerability": np.array(hosts.columns["vulnerability"], np.float64),
        "host_service": np.array([service_of[runs[node]] if node in runs else -1 for node in hosts.ids]),
        "host_users": np.array(hosts.columns["users"], np.float64),
        "service_names": tuple(services.columns["name"]),
        "service_value": _weights_to_shares(services.columns["value"]),
        "service_zone": np.array([zone_of[parents[node]] for node in services.ids]),
        "service_depends": _adjacency(depends, service_of),
    }


def _sorted_nodes(
    graph: nx.DiGraph, kinds: Mapping[Any, str], parents: Mapping[Any, Any], depends: Sequence[tuple[Any, Any]]
) -> tuple[_Nodes, _Nodes, _Nodes, _Nodes]:
    """Zones, segments, hosts and services, checked and in the order in which they are numbered."""
    zones = _nodes(graph, kinds, "zone")
    zone_of = zones.numbers()
    segments = _nodes(graph, kinds, "segment", lambda node: zone_of[parents[node]])
    segment_of = segments.numbers()
    hosts = _nodes(graph, kinds, "host", lambda node: segment_of[parents[node]])
    rank = _dependency_order(depends, [node for node, kind in kinds.items() if kind == "service"])
    services = _nodes(graph, kinds, "service", rank.__getitem__)
    for kind, nodes in (("zone", zones), ("segment", segments), ("service", services)):
        _check_unique(kind, nodes)
    for kind, held, nodes in (("zone", segments, zones), ("segment", hosts, segments)):
        _check_filled(kind, nodes, {parents[node] for node in held.ids})
    return zones, segments, hosts, services


def _adjacency(edges: Sequence[tuple[Any, Any]], numbers: Mapping[Any, int]) -> np.ndarray:
    """(nodes, nodes) bool, [i, j]: there is an edge from node number i to node number j."""
    matrix = np.zeros((len(numbers), len(numbers)), bool)
    for source, target in edges:
        matrix[numbers[source], numbers[target]] = True
    return matrix


def _node_kinds(graph: nx.DiGraph) -> dict[Any, str]:
    kinds = {}
    for node, kind in graph.nodes(data="kind", default=MISSING):
        if kind is MISSING:
            raise wrong(f"node {show(node)}", "kind", MISSING, tuple(ATTRIBUTES))
        if kind not in tuple(ATTRIBUTES):
            raise ConfigError(f"node {show(node)}: " + unknown_name("kind", kind, ATTRIBUTES))
        kinds[node] = kind
    return kinds


def _edges_by_kind(graph: nx.DiGraph, kinds: Mapping[Any, str]) -> tuple[dict, dict, list, list]:
    """Checked edges: what contains each node, the service of each host, (segment, segment) and (service, service)."""
    parents: dict[Any, Any] = {}
    runs: dict[Any, Any] = {}
    pairs: dict[str, list[tuple[Any, Any]]] = {"reaches": [], "depends": []}
    for source, target, kind in graph.edges(data="kind", default=MISSING):
        ends = (kinds[source], kinds[target])
        if kind not in tuple(EDGES) or ends not in EDGES[kind]:
            raise _wrong_edge(source, target, kind, ends)
        if kind == "contains" and parents.setdefault(target, source) != source:
            both = f"{show(parents[target])} and {show(source)}"
            raise ConfigError(f"{kinds[target]} {show(target)}: contained in {both}; allowed: one {kinds[source]}")
        if kind == "runs" and runs.setdefault(source, target) != target:
            both = f"{show(runs[source])} and {show(target)}"
            raise ConfigError(f"host {show(source)}: runs {both}; allowed: at most one service")
        if kind in pairs:
            pairs[kind].append((source, target))
    for node, kind in kinds.items():
        if kind != "zone" and node not in parents:
            holder = "segment" if kind == "host" else "zone"
            raise wrong(f"{kind} {show(node)}", holder, MISSING, f"one {holder} with an edge 'contains' to it")
    return parents, runs, pairs["reaches"], pairs["depends"]


def _wrong_edge(source: Any, target: Any, kind: object, ends: tuple[str, str]) -> ConfigError:
    edge = f"edge {show(source)} -> {show(target)}"
    if kind is MISSING:
        return wrong(edge, "kind", MISSING, tuple(EDGES))
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
        columns[field] = [graph.nodes[node].get(field, MISSING) for node in ids]
        for node, value in zip(ids, columns[field], strict=True):
            if not is_allowed(value, allowed):
                if allowed is ROLES and isinstance(value, str):
                    raise ConfigError(f"{kind} {show(node)}: " + unknown_name("role", value, ROLES))
                raise wrong(f"{kind} {show(node)}", field, value, allowed)
    return _Nodes(ids, columns)


def _check_unique(kind: str, nodes: _Nodes) -> None:
    first: dict[str, Any] = {}
    for node, name in zip(nodes.ids, nodes.columns["name"], strict=True):
        if first.setdefault(name, node) != node:
            raise wrong(f"{kind} {show(node)}", "name", name, f"each name once ({show(first[name])} has it)")


def _check_filled(kind: str, nodes: _Nodes, filled: set[Any]) -> None:
    held = "segment" if kind == "zone" else "host"
    for node in nodes.ids:
        if node not in filled:
            raise wrong(f"{kind} {show(node)}", f"number of {held}s", 0, "at least 1")


def _dependency_order(depends: Sequence[tuple[Any, Any]], services: Sequence[Any]) -> dict[Any, int]:
    """Rank of each service: after all it depends on, else as they come."""
    given = {node: i for i, node in enumerate(services)}
    needed_by: nx.DiGraph = nx.DiGraph()
    needed_by.add_nodes_from(services)
    needed_by.add_edges_from((target, source) for source, target in depends)
    if not nx.is_directed_acyclic_graph(needed_by):
        cycle = [target for _, target in nx.find_cycle(needed_by)][::-1]
        chain = " -> ".join(show(node) for node in [*cycle, cycle[0]])
        raise ConfigError(f"service {show(cycle[0])}: depends on itself: {chain}; allowed: no cycles")
    order = nx.lexicographical_topological_sort(needed_by, key=given.__getitem__)
    return {node: rank for rank, node in enumerate(order)}


def _weights_to_shares(weights: Sequence[float]) -> np.ndarray:
    """Service values that sum to 1. Values that do already are kept to the last bit."""
    values = np.array(weights, np.float64)
    total = math.fsum(values)
    if not total > 0.0:
        raise wrong("graph", "sum of value over services", total, "more than 0")
    return values if abs(total - 1.0) <= 1e-9 else values / total


# --- GraphML


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
                raise wrong(_xml_label(xml), "attr.name", MISSING, TEXT)
            if kind not in self.python_type:
                raise wrong(_xml_label(xml), "attr.type", kind, "boolean, int, long, float, double, string")
            keys[key] = {"name": name, "type": self.python_type[kind], "for": xml.get("for")}
            default = xml.find(f"{{{self.NS_GRAPHML}}}default")
            if default is not None:
                defaults[key] = self._convert(xml, "default", keys[key]["type"], default.text)
        return keys, defaults

    def add_node(self, G: nx.MultiDiGraph, node_xml: Any, graphml_keys: Any, defaults: Any) -> None:
        node = node_xml.get("id")
        if node is None:
            raise wrong(f"node number {len(G)}", "id", MISSING, TEXT)
        if node in G:
            raise wrong(f"node {show(node)}", "id", node, "each id once")
        super().add_node(G, node_xml, graphml_keys, defaults)

    def add_edge(self, G: nx.MultiDiGraph, edge_element: Any, graphml_keys: Any) -> None:
        for end in ("source", "target"):
            if edge_element.get(end) not in G:
                unknown = edge_element.get(end, MISSING)
                raise wrong(_xml_label(edge_element), end, unknown, "the id of a node of this file")
        if edge_element.get("directed") == "false":
            raise wrong(_xml_label(edge_element), "directed", "false", "true")
        if G.has_edge(edge_element.get("source"), edge_element.get("target")):
            raise wrong(_xml_label(edge_element), "number", 2, "one edge from a node to another")
        super().add_edge(G, edge_element, graphml_keys)

    def decode_data_elements(self, graphml_keys: Any, obj_xml: Any) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for item in obj_xml.findall(f"{{{self.NS_GRAPHML}}}data"):
            if len(item):  # how a graph editor draws it
                continue
            key = graphml_keys.get(item.get("key"))
            if key is None:
                raise wrong(_xml_label(obj_xml), "key of data", item.get("key"), tuple(map(str, graphml_keys)))
            data[key["name"]] = self._convert(obj_xml, key["name"], key["type"], item.text)
        return data

    def _convert(self, xml: Any, field: str, to_type: Any, text: str | None) -> Any:
        text = (text or "").strip()
        try:
            return self.convert_bool[text.lower()] if to_type is bool else to_type(text)
        except (KeyError, ValueError):
            allowed = {bool: BOOLEAN, int: "whole numbers"}.get(to_type, "numbers")
            raise wrong(_xml_label(xml), field, text, allowed) from None


def _xml_label(xml: Any) -> str:
    """What an XML element is called in an error line."""
    tag = xml.tag.rpartition("}")[2]
    if tag == "edge":
        return f"edge {show(xml.get('source', MISSING))} -> {show(xml.get('target', MISSING))}"
    return tag if tag == "graph" else f"{tag} {show(xml.get('id', MISSING))}"


def write(graph: nx.DiGraph, path: str | os.PathLike[str]) -> pathlib.Path:
    """Writes a GraphML file so that a reader sees the old or the new content, never a part. Makes missing folders.

    Raises:
        ConfigError: The suffix is not `.graphml`, or the file cannot be written.
    """
    path = _checked_path(path)
    writer = _Writer()
    writer.add_graph_element(graph)
    try:
        with new_file(path) as file:
            writer.dump(file)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be written: {error.strerror}; allowed: a file in a folder") from error
    return path


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The fields of the `Network` in a GraphML file, see `fields_of`.

    Raises:
        ConfigError: The file is missing, not GraphML, or breaks a rule of the layout; the message names the file.
    """
    path = _checked_path(path)
    try:
        return fields_of(_read_graph(path.read_bytes()))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}; allowed: a GraphML file") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _checked_path(path: str | os.PathLike[str]) -> pathlib.Path:
    path = pathlib.Path(path)
    if path.suffix != ".graphml":
        raise wrong(str(path), "suffix", path.suffix, ".graphml")
    return path


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
        raise wrong("graphml", "number of graphs", len(graphs), allowed)
    (graph,) = graphs
    if not graph.is_directed():
        raise wrong("graph", "edgedefault", "undirected", "directed")
    for data in graph.nodes.values():
        data.update({**graph.graph["node_default"], **data})
    for data in graph.edges.values():
        data.update({**graph.graph["edge_default"], **data})
    return graph
