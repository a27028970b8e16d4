"""Networks: which hosts are in which segment, and the public graph form.

A host's vulnerability is a pure function of (network key, host), see `kernels/hosts.py`: nothing is stored per host, so
a million hosts cost no more than two hundred until somebody asks for the graph.
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from soc_env.paper.kernels.step import read_vulnerabilities
from soc_env.paper.scenario import NUM_SEGMENTS, PaperScenario


def segment_starts(num_hosts: int) -> np.ndarray:
    """(NUM_SEGMENTS + 1,) first host of each segment: equal parts, what is left over goes to the first segments."""
    share, left = divmod(num_hosts, NUM_SEGMENTS)
    return np.cumsum([0, *(share + (s < left) for s in range(NUM_SEGMENTS))])


def host_vulnerabilities(world: np.ndarray, network_key: np.uint64) -> np.ndarray:
    """(num_hosts,) float64 vulnerabilities of a network, probabilities."""
    vulnerabilities = np.empty(int(world["num_hosts"][0]))
    read_vulnerabilities(world, np.array([network_key], np.uint64), vulnerabilities)
    return vulnerabilities


def network_graph(scenario: PaperScenario, starts: np.ndarray, vulnerabilities: np.ndarray) -> nx.DiGraph:
    """The network as a graph.

    Args:
        scenario: Gives the segments.
        starts: (NUM_SEGMENTS + 1,) first host of each segment.
        vulnerabilities: (num_hosts,) probabilities.

    Returns:
        Segment nodes are their names, with `kind="segment"`, `index`, `value`; edges between them say what an intruder
        can reach (`kind="reaches"`). Host nodes are their numbers, with `kind="host"`, `segment` (its number),
        `vulnerability`; an edge leads from the segment to each of its hosts (`kind="contains"`).
    """
    graph = nx.DiGraph(scenario=scenario.name, num_hosts=scenario.num_hosts)
    names = [segment.name for segment in scenario.segments]
    for s, segment in enumerate(scenario.segments):
        graph.add_node(segment.name, kind="segment", index=s, value=segment.value)
    for segment in scenario.segments:
        graph.add_edges_from(((segment.name, names[t]) for t in segment.reachable), kind="reaches")
    for s, name in enumerate(names):
        hosts = range(int(starts[s]), int(starts[s + 1]))
        graph.add_nodes_from((host, {"vulnerability": float(vulnerabilities[host])}) for host in hosts)
        for host in hosts:
            graph.nodes[host].update(kind="host", segment=s)
        graph.add_edges_from(((name, host) for host in hosts), kind="contains")
    return graph
