"""Networks as graphs and as GraphML files."""

from __future__ import annotations

import copy
import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soc_networks import assert_one_line, more, tiny

from soc_env.errors import ConfigError
from soc_env.soc import networks
from soc_env.soc.networks import ROLES, Network, cage4, enterprise
from soc_env.soc.networks.rules import ATTRIBUTES, EDGES, SERVER, WORKSTATION

SAMPLES = [tiny, lambda: enterprise(20, 1), lambda: enterprise(300, 2, 16), lambda: enterprise(50, 3, 1), cage4]


@pytest.mark.parametrize("make", SAMPLES)
def test_round_trip_through_the_graph_is_exact(make: Callable[[], Network]) -> None:
    network = make()
    graph = network.to_graph()
    before = copy.deepcopy((graph.graph, dict(graph.nodes), dict(graph.edges)))
    assert Network.from_graph(graph) == network
    assert (graph.graph, dict(graph.nodes), dict(graph.edges)) == before
    assert Network.from_graph(graph).to_graph().nodes(data=True) == graph.nodes(data=True)


@pytest.mark.parametrize("make", SAMPLES)
def test_round_trip_through_a_file_is_exact(make: Callable[[], Network], tmp_path: Path) -> None:
    network = make()
    path = network.save(tmp_path / "new folder" / "network.graphml")
    assert Network.load(path) == network
    assert Network.load(str(path)).hash() == network.hash()
    assert os.listdir(path.parent) == ["network.graphml"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def test_networkx_alone_reads_and_writes_the_file(tmp_path: Path) -> None:
    path = tmp_path / "network.graphml"
    enterprise(60, 4).save(path)
    assert Network.from_graph(nx.read_graphml(path)) == enterprise(60, 4)
    nx.write_graphml_xml(enterprise(60, 5).to_graph(), path)
    assert Network.load(path) == enterprise(60, 5)
    assert Network.load(path).to_graph().graph["name"] == "enterprise-60-5-5"


def test_service_values_that_sum_to_one_are_kept_to_the_last_bit() -> None:
    network = dataclasses.replace(tiny(), service_value=[0.1, 0.2, 0.7 + 5e-10])
    assert Network.from_graph(network.to_graph()) == network


def test_the_largest_network_goes_through_the_graph() -> None:
    network = enterprise(100_000, 1)
    assert Network.from_graph(network.to_graph()) == network


def floats(width: int, low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, width=width)


@settings(max_examples=60, deadline=None)
@given(
    value=st.lists(floats(32, 1.401298464324817e-45, 1.0), min_size=5, max_size=5),
    vulnerability=st.lists(floats(32, float(np.float32(0.06)), float(np.float32(0.94))), min_size=5, max_size=5),
    users=st.lists(floats(32, 0.0, 1e9), min_size=5, max_size=5),
    zone_value=st.lists(floats(64, 0.0, 1.0), min_size=2, max_size=2),
    weight=st.floats(0.0, 1.0),
    name=st.text(min_size=1, max_size=64).filter(lambda text: text.isprintable() and text == text.strip()),
)
def test_every_float_and_name_survives_the_file(
    tmp_path_factory: pytest.TempPathFactory, value: Any, vulnerability: Any, users: Any, zone_value: Any,
    weight: float, name: str,
) -> None:  # fmt: skip
    network = dataclasses.replace(
        tiny(), name=name, zone_names=(name, name + "2" if len(name) < 64 else "b"), zone_value=zone_value,
        host_value=np.array(value, np.float32), host_vulnerability=np.array(vulnerability, np.float32),
        host_users=np.array(users, np.float32), service_value=[weight, 1.0 - weight, 0.0],
    )  # fmt: skip
    path = network.save(tmp_path_factory.mktemp("floats") / "network.graphml")
    assert Network.load(path) == network


def test_the_graph_is_laid_out_as_documented() -> None:
    network = enterprise(80, 2)
    graph = network.to_graph()
    assert isinstance(graph, nx.DiGraph)
    kinds = [data["kind"] for _, data in graph.nodes(data=True)]
    counts = {kind: kinds.count(kind) for kind in ATTRIBUTES}
    assert counts == {
        "zone": network.num_zones, "segment": network.num_segments, "service": network.num_services, "host": 80,
    }  # fmt: skip
    for _, data in graph.nodes(data=True):
        assert set(data) == {"kind", *ATTRIBUTES[data["kind"]]}
    ends = {(d["kind"], graph.nodes[u]["kind"], graph.nodes[v]["kind"]) for u, v, d in graph.edges(data=True)}
    assert ends == {(kind, *pair) for kind, pairs in EDGES.items() for pair in pairs}
    assert graph.nodes["host:3"]["value"] == round(graph.nodes["host:3"]["value"], 3), "short enough to edit"
    runs = sum(d["kind"] == "runs" for *_, d in graph.edges(data=True))
    assert runs == (network.host_service >= 0).sum()


def test_the_docstring_has_the_tables() -> None:
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in (networks.__doc__ or "").splitlines()]
    attributes = {(row[0], row[1]): row[2] for row in rows if len(row) == 4 and row[0] in ATTRIBUTES}
    expected = {
        (kind, field): ", ".join(allowed) if allowed is ROLES else str(allowed)
        for kind, fields in ATTRIBUTES.items()
        for field, allowed in fields.items()
    }
    assert attributes == expected
    edges = [(row[0], row[1], row[2]) for row in rows if row and row[0] in EDGES]
    assert edges == [(kind, *pair) for kind, pairs in EDGES.items() for pair in pairs]
    for limit in (networks.MAX_ZONES, networks.MAX_SEGMENTS, networks.MAX_SERVICES):
        assert str(limit) in (networks.__doc__ or "")
    assert f"{networks.MAX_HOSTS:,} hosts" in (networks.__doc__ or "")


BY_HAND = """<graphml>
  <key id="n" for="graph" attr.name="name" attr.type="string"/>
  <key id="kind" for="node" attr.name="kind" attr.type="string"><default>host</default></key>
  <key id="name" for="node" attr.name="name" attr.type="string"/>
  <key id="value" for="node" attr.name="value" attr.type="float"><default>0.5</default></key>
  <key id="vul" for="node" attr.name="vulnerability" attr.type="double"><default>0.3</default></key>
  <key id="users" for="node" attr.name="users" attr.type="int"><default>1</default></key>
  <key id="role" for="node" attr.name="role" attr.type="string"><default>workstation</default></key>
  <key id="entry" for="node" attr.name="is_entry" attr.type="boolean"><default>true</default></key>
  <key id="x" for="node" attr.name="colour" attr.type="string"/>
  <key id="ek" for="edge" attr.name="kind" attr.type="string"><default>contains</default></key>
  <graph edgedefault="directed">
    <data key="n">by hand</data>
    <node id="shop"><data key="kind"> service </data><data key="name">shop</data><data key="value">3</data></node>
    <node id="h2"/>
    <node id="h1"><data key="role">server</data><data key="users">40</data><data key="x">red</data></node>
    <node id="id"><data key="kind">service</data><data key="name">identity</data><data key="value">1</data></node>
    <node id="lan"><data key="kind">segment</data><data key="name">lan</data></node>
    <node id="site"><data key="kind">zone</data><data key="name">Büro Wien</data></node>
    <edge source="site" target="lan"/>
    <edge source="lan" target="h1"/>
    <edge source="lan" target="h2"/>
    <edge source="site" target="shop"/>
    <edge source="site" target="id"/>
    <edge source="h1" target="shop"><data key="ek">runs</data></edge>
    <edge source="shop" target="id"><data key="ek">depends</data></edge>
  </graph>
</graphml>
"""


def test_a_file_written_by_hand(tmp_path: Path) -> None:
    """No namespace, GraphML's defaults, nodes in any order, weights that do not sum to 1, attributes of others."""
    path = tmp_path / "hand.graphml"
    path.write_text(BY_HAND, encoding="utf-8")
    network = Network.load(path)
    assert (network.name, network.zone_names, network.segment_names) == ("by hand", ("Büro Wien",), ("lan",))
    assert network.service_names == ("identity", "shop"), "identity is needed, so it comes first"
    assert network.service_value.tolist() == [0.25, 0.75]
    assert network.service_depends.tolist() == [[False, False], [True, False]]
    assert network.host_role.tolist() == [WORKSTATION, SERVER], "in the order of the file"
    assert network.host_users.tolist() == [1, 40]
    assert network.host_service.tolist() == [-1, 1]
    assert network.is_entry.tolist() == [True]


def test_order_in_the_graph_is_the_order_of_the_network() -> None:
    """Hosts after segments after zones, whatever the order between kinds: a shuffle within a kind renumbers."""
    graph = tiny().to_graph()
    shuffled: nx.DiGraph = nx.DiGraph(name="tiny")
    shuffled.add_nodes_from(list(graph.nodes(data=True))[::-1])
    shuffled.add_edges_from(list(graph.edges(data=True))[::-1])
    network = Network.from_graph(shuffled)
    assert network.zone_names == ("inside", "outside")
    assert network.segment_names == ("core", "desks", "web")
    assert network.start.tolist() == [0, 2, 4, 5]
    assert network.host_users.tolist() == [20.5, 52, 1, 1, 50]
    assert network.service_names == ("identity", "database", "shop")
    assert network.host_service.tolist() == [1, 0, -1, -1, 2]
    assert network.reach.tolist() == tiny().reach[::-1, ::-1].tolist()


def change(node: Any, **attributes: Any) -> Callable[[nx.DiGraph], None]:
    return lambda graph: graph.nodes[node].update(attributes)


def drop(node: Any, field: str) -> Callable[[nx.DiGraph], Any]:
    return lambda graph: graph.nodes[node].pop(field)


def edge(source: Any, target: Any, **attributes: Any) -> Callable[[nx.DiGraph], None]:
    return lambda graph: graph.add_edge(source, target, **attributes)


def cut(source: Any, target: Any) -> Callable[[nx.DiGraph], None]:
    return lambda graph: graph.remove_edge(source, target)


def no_hosts(graph: nx.DiGraph) -> None:
    graph.remove_nodes_from([f"host:{h}" for h in range(5)])


def all_services_worthless(graph: nx.DiGraph) -> None:
    for name in ("identity", "database", "shop"):
        graph.nodes[f"service:{name}"]["value"] = 0.0


def no_entry(graph: nx.DiGraph) -> None:
    for name in ("web", "desks", "core"):
        graph.nodes[f"segment:{name}"]["is_entry"] = False


def empty_segment(graph: nx.DiGraph) -> None:
    graph.add_node("new", kind="segment", name="new", is_entry=False)
    graph.add_edge("zone:inside", "new", kind="contains")


# What is done to the graph of `tiny`, and what the message says: element, field, value, allowed.
BROKEN_GRAPHS: dict[str, tuple[Callable[[nx.DiGraph], Any], tuple[str, ...]]] = {
    "network without name": (lambda g: g.graph.pop("name"), ("graph: name is missing", "1 to 64 printable")),
    "bad network name": (lambda g: g.graph.update(name="a\tb"), (r"graph: name is 'a\tb'", "1 to 64 printable")),
    "node without kind": (drop("host:1", "kind"), ("node 'host:1': kind is missing", "zone, segment, service, host")),
    "unknown kind": (change("host:1", kind="hosts"), ("node 'host:1': kind 'hosts'", "did you mean 'host'?")),
    "zone without name": (drop("zone:inside", "name"), ("zone 'zone:inside': name is missing", "text")),
    "zone without value": (drop("zone:inside", "value"), ("zone 'zone:inside': value is missing", "0 to 1")),
    "segment without name": (drop("segment:web", "name"), ("segment 'segment:web': name is missing",)),
    "segment without is_entry": (
        drop("segment:web", "is_entry"), ("segment 'segment:web': is_entry is missing", "true or false"),
    ),
    "service without value": (drop("service:shop", "value"), ("service 'service:shop': value is missing",)),
    "host without role": (drop("host:4", "role"), ("host 'host:4': role is missing", "workstation, server, domain")),
    "host without value": (drop("host:4", "value"), ("host 'host:4': value is missing", "more than 0, at most 1")),
    "host without vulnerability": (
        drop("host:4", "vulnerability"), ("host 'host:4': vulnerability is missing", "0.05 to 0.95"),
    ),
    "host without users": (drop("host:4", "users"), ("host 'host:4': users is missing", "0 to 1e+09")),
    "unknown role": (change("host:2", role="sever"), ("host 'host:2': role 'sever'", "did you mean 'server'?")),
    "role of wrong type": (change("host:2", role=1), ("host 'host:2': role is 1", "workstation, server")),
    "nan": (change("host:0", value=float("nan")), ("host 'host:0': value is nan", "more than 0, at most 1")),
    "host value 0": (change("host:0", value=0.0), ("host 'host:0': value is 0.0", "more than 0")),
    "vulnerability too low": (change("host:0", vulnerability=0.049), ("vulnerability is 0.049", "0.05 to 0.95")),
    "vulnerability too high": (change("host:0", vulnerability=1.0), ("vulnerability is 1.0", "0.05 to 0.95")),
    "infinite users": (change("host:0", users=float("inf")), ("host 'host:0': users is inf", "0 to 1e+09")),
    "zone value too high": (change("zone:inside", value=1.01), ("zone 'zone:inside': value is 1.01", "0 to 1")),
    "negative service value": (change("service:shop", value=-1.0), ("service 'service:shop': value is -1.0",)),
    "services all worth nothing": (all_services_worthless, ("sum of value over services is 0.0", "more than 0")),
    "number as text": (change("host:0", value="0.5"), ("host 'host:0': value is '0.5'", "more than 0")),
    "number as boolean": (change("host:0", value=True), ("host 'host:0': value is True", "more than 0")),
    "boolean as number": (change("segment:web", is_entry=1), ("segment 'segment:web': is_entry is 1", "true or false")),
    "empty name": (change("zone:inside", name=""), ("zone 'zone:inside': name is ''", "text")),
    "duplicate zone name": (change("zone:inside", name="outside"), ("zone 'zone:inside': name is 'outside'", "once")),
    "duplicate segment name": (change("segment:core", name="web"), ("segment 'segment:core': name is 'web'", "once")),
    "duplicate service name": (change("service:shop", name="identity"), ("name is 'identity'", "'service:identity'")),
    "host without segment": (cut("segment:web", "host:0"), ("host 'host:0': segment is missing", "one segment")),
    "segment without zone": (cut("zone:outside", "segment:web"), ("segment 'segment:web': zone is missing",)),
    "service without zone": (cut("zone:outside", "service:shop"), ("service 'service:shop': zone is missing",)),
    "host in two segments": (
        edge("segment:core", "host:0", kind="contains"),
        ("host 'host:0': contained in 'segment:web' and 'segment:core'", "one segment"),
    ),
    "segment in two zones": (
        edge("zone:inside", "segment:web", kind="contains"), ("segment 'segment:web': contained in", "one zone"),
    ),
    "host with two services": (
        edge("host:0", "service:identity", kind="runs"), ("host 'host:0': runs 'service:shop' and", "at most one"),
    ),
    "edge without kind": (edge("host:1", "service:shop"), ("edge 'host:1' -> 'service:shop': kind is missing", "runs")),
    "unknown kind of edge": (
        edge("host:1", "service:shop", kind="run"), ("edge 'host:1' -> 'service:shop': kind 'run'", "mean 'runs'"),
    ),
    "edge between wrong kinds": (
        edge("host:1", "host:2", kind="reaches"),
        ("edge 'host:1' -> 'host:2': kind 'reaches' leads from host to host", "segment to segment"),
    ),
    "contains backwards": (
        edge("host:1", "segment:desks", kind="contains"), ("from host to segment", "zone to segment or "),
    ),
    "dependency cycle": (
        edge("service:identity", "service:shop", kind="depends"), ("depends on itself: 'service:", " -> ", "no cycles"),
    ),
    "dependency on itself": (
        edge("service:shop", "service:shop", kind="depends"),
        ("service 'service:shop': depends on itself: 'service:shop' -> 'service:shop'", "no cycles"),
    ),
    "no entry segment": (no_entry, ("is_entry is False", "at least one entry segment")),
    "no hosts": (no_hosts, ("number of hosts is 0", "1 to 100000")),
    "empty zone": (more("zone", 1, "", value=0.5), ("zone 'zone0': number of segments is 0", "at least 1")),
    "empty segment": (empty_segment, ("segment 'new': number of hosts is 0", "at least 1")),
    "17 zones": (more("zone", 15, "", value=0.5), ("number of zones is 17", "1 to 16")),
    "33 segments": (more("segment", 30, "zone:inside", is_entry=True), ("number of segments is 33", "1 to 32")),
    "17 services": (more("service", 14, "zone:inside", value=0.1), ("number of services is 17", "1 to 16")),
    "empty graph": (lambda g: g.remove_nodes_from(list(g)), ("number of zones is 0", "1 to 16")),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_GRAPHS)
def test_a_broken_graph_is_named(case: str) -> None:
    spoil, parts = BROKEN_GRAPHS[case]
    graph = tiny().to_graph()
    spoil(graph)
    with pytest.raises(ConfigError) as caught:
        Network.from_graph(graph)
    assert_one_line(str(caught.value), *parts, "allowed: ")


@pytest.mark.parametrize("case", BROKEN_GRAPHS)
def test_a_broken_graph_in_a_file_is_named_with_the_file(case: str, tmp_path: Path) -> None:
    spoil, parts = BROKEN_GRAPHS[case]
    graph = tiny().to_graph()
    spoil(graph)
    path = tmp_path / "broken.graphml"
    nx.write_graphml_xml(graph, path)
    with pytest.raises(ConfigError) as caught:
        Network.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert_one_line(str(caught.value), *parts, "allowed: ")


@pytest.mark.parametrize("graph", [nx.Graph(name="x"), nx.MultiDiGraph(name="x"), "x", None])
def test_another_type_of_graph_is_named(graph: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        Network.from_graph(graph)
    assert_one_line(str(caught.value), f"graph: type is {type(graph).__name__!r}", "networkx.DiGraph")


def replace(old: str, new: str) -> Callable[[str], str]:
    def spoil(text: str) -> str:
        assert old in text
        return text.replace(old, new, 1)

    return spoil


HOST_0 = '<node id="host:0">'

EDGE_0 = '<edge source="zone:outside" target="segment:web">'

BROKEN_FILES: dict[str, tuple[Callable[[str], str | bytes], tuple[str, ...]]] = {
    "empty": (lambda text: "", ("not GraphML", "one directed <graph>")),
    "not XML": (lambda text: "hosts: 200\n", ("not GraphML", "line 1")),
    "binary": (lambda text: bytes(range(256)), ("not GraphML",)),
    "bad encoding": (lambda text: text.encode().replace(b"tiny", b"t\xff\xfe"), ("not GraphML",)),
    "unknown encoding": (replace("encoding='utf-8'", "encoding='klingon'"), ("not GraphML",)),
    "encoding that the parser does not do": (replace("encoding='utf-8'", "encoding='shift_jis'"), ("not GraphML",)),
    "truncated in front": (lambda text: text[:40], ("not GraphML",)),
    "truncated in the middle": (lambda text: text[: len(text) // 2], ("not GraphML", "line")),
    "truncated at the end": (lambda text: text.rstrip()[:-1], ("not GraphML",)),
    "another kind of XML": (lambda text: "<html><body/></html>", ("number of graphs is 0", "one directed <graph>")),
    "no graph": (lambda text: "<graphml></graphml>", ("number of graphs is 0",)),
    "two graphs": (replace("</graph>", '</graph><graph edgedefault="directed"/>'), ("number of graphs is 2",)),
    "undirected": (replace('edgedefault="directed"', 'edgedefault="undirected"'), ("edgedefault is 'undirected'",)),
    "undirected edge": (
        replace(EDGE_0, EDGE_0[:-1] + ' directed="false">'),
        ("edge 'zone:outside' -> 'segment:web': directed is 'false'", "true"),
    ),
    "hyperedge": (replace("<edge", "<hyperedge/><edge"), ("not GraphML", "hyperedges")),
    "not a number": (replace(">0.25<", ">a quarter<"), ("node 'zone:outside': value is 'a quarter'", "numbers")),
    "empty number": (replace(">0.25<", "><"), ("node 'zone:outside': value is ''", "numbers")),
    "not a boolean": (replace(">True<", ">maybe<"), ("node 'segment:web': is_entry is 'maybe'", "true or false")),
    "unknown key": (
        replace('<data key="node_value">', '<data key="valeu">'),
        ("node 'zone:outside': key of data is 'valeu'", "node_value"),
    ),
    "unknown type": (replace('attr.type="double"', 'attr.type="decimal"'), ("attr.type is 'decimal'", "double")),
    "key without name": (replace('attr.name="role"', ""), ("key 'node_role': attr.name is missing", "text")),
    "bad default": (
        replace('"value" attr.type="double" />', '"value" attr.type="double"><default>x</default></key>'),
        ("key 'node_value': default is 'x'", "numbers"),
    ),
    "empty default": (
        replace('"is_entry" attr.type="boolean" />', '"is_entry" attr.type="boolean"><default/></key>'),
        ("key 'node_is_entry': default is ''", "true or false"),
    ),
    "node twice": (replace(HOST_0, f'{HOST_0[:-1]}/>{HOST_0}'), ("node 'host:0': id is 'host:0'", "each id once")),
    "node without id": (replace(HOST_0, "<node>"), ("node number 8: id is missing", "text")),
    "edge twice": (
        replace(EDGE_0, f'{EDGE_0[:-1]}/>{EDGE_0}'), ("edge 'zone:outside' -> 'segment:web': number is 2", "one edge"),
    ),
    "edge to nowhere": (
        replace('target="host:0"', 'target="host:99"'), ("edge 'segment:web' -> 'host:99': target is 'host:99'",),
    ),
    "edge from nowhere": (
        replace('source="segment:web"', 'source="segment:wep"'), ("source is 'segment:wep'", "the id of a node"),
    ),
    "edge without source": (replace(' source="segment:web"', ""), ("edge missing -> ", "source is missing")),
}  # fmt: skip


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_a_broken_file_is_named(case: str, tmp_path: Path) -> None:
    spoil, parts = BROKEN_FILES[case]
    path = tiny().save(tmp_path / "broken.graphml")
    content = spoil(path.read_text(encoding="utf-8"))
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as caught:
        Network.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert_one_line(str(caught.value), *parts, "allowed: ")


def test_every_truncation_is_a_config_error(tmp_path: Path) -> None:
    path = tiny().save(tmp_path / "network.graphml")
    content = path.read_bytes().rstrip()
    for length in range(0, len(content), 37):
        path.write_bytes(content[:length])
        with pytest.raises(ConfigError, match="not GraphML"):
            Network.load(path)


@pytest.mark.parametrize("name", ["network.xml", "network", "network.graphml.gz", "network.GRAPHML"])
def test_the_suffix_is_graphml(name: str, tmp_path: Path) -> None:
    for use in (tiny().save, Network.load):
        with pytest.raises(ConfigError) as caught:
            use(tmp_path / name)
        assert_one_line(str(caught.value), str(tmp_path / name), "suffix is ", "allowed: .graphml")
    assert not os.listdir(tmp_path)


def test_a_path_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "missing.graphml"
    with pytest.raises(ConfigError) as caught:
        Network.load(missing)
    assert_one_line(str(caught.value), f"{missing}: cannot be read: No such file", "allowed: ")
    folder = tmp_path / "folder.graphml"
    folder.mkdir()
    with pytest.raises(ConfigError) as caught:
        Network.load(folder)
    assert_one_line(str(caught.value), f"{folder}: cannot be read: Is a directory")
    with pytest.raises(ConfigError) as caught:
        tiny().save(folder)
    assert_one_line(str(caught.value), f"{folder}: cannot be written: Is a directory", "allowed: ")
    assert os.listdir(tmp_path) == ["folder.graphml"], "no half-written file is left"
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be written"):
        tiny().save(tmp_path / "file" / "network.graphml")


def test_a_save_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny().save(tmp_path / "network.graphml")

    def fail(self: Any, stream: Any) -> None:
        stream.write(b"<graphml>")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("soc_env.soc.networks.graphml.GraphMLWriter.dump", fail)
    with pytest.raises(ConfigError, match="No space left"):
        enterprise(50).save(path)
    monkeypatch.undo()
    assert Network.load(path) == tiny()
    assert os.listdir(tmp_path) == ["network.graphml"]
