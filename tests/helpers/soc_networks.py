"""Networks by hand, and what must hold of any, for the tests of `soc_env.soc.networks`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import networkx as nx
import numpy as np

from soc_env.soc.networks import Network
from soc_env.soc.networks.rules import CLOUD, DOMAIN_CONTROLLER, SERVER, WORKSTATION


def tiny() -> Network:
    """Two zones, three segments, five hosts, three services, by hand."""
    return Network(
        name="tiny",
        zone_names=("outside", "inside"),
        zone_value=np.array([0.25, 1.0]),
        segment_names=("web", "desks", "core"),
        segment_zone=np.array([0, 1, 1]),
        start=np.array([0, 1, 3, 5]),
        reach=np.array([[1, 0, 1], [1, 1, 1], [0, 0, 1]], bool),
        is_entry=np.array([True, True, False]),
        host_role=np.array([SERVER, WORKSTATION, WORKSTATION, DOMAIN_CONTROLLER, CLOUD]),
        host_value=np.array([0.3, 0.1, 0.12, 1.0, 0.7], np.float32),
        host_vulnerability=np.array([0.4, 0.95, 0.5, 0.05, 0.3], np.float32),
        host_service=np.array([2, -1, -1, 0, 1]),
        host_users=np.array([50, 1, 1, 52, 20.5], np.float32),
        service_names=("identity", "database", "shop"),
        service_value=np.array([0.2, 0.3, 0.5]),
        service_zone=np.array([1, 1, 0]),
        service_depends=np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0]], bool),
    )


def assert_one_line(message: str, *parts: str) -> None:
    assert "\n" not in message
    for part in parts:
        assert part in message, f"{part!r} is not in {message!r}"


def more(kind: str, count: int, holder: str, **attributes: Any) -> Callable[[nx.DiGraph], None]:
    def add(graph: nx.DiGraph) -> None:
        for i in range(count):
            graph.add_node(f"{kind}{i}", kind=kind, name=f"{kind}{i}", **attributes)
            if holder:
                graph.add_edge(holder, f"{kind}{i}", kind="contains")

    return add
