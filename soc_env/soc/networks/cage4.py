"""The generator of networks shaped like CybORG's CAGE Challenge 4."""

from __future__ import annotations

from typing import NamedTuple

import networkx as nx
import numpy as np

from soc_env.soc.networks.enterprise import CAGE4_DRAWS, VULNERABILITY_MEAN, VULNERABILITY_SPREAD, generator
from soc_env.soc.networks.network import Network
from soc_env.soc.networks.rules import SERVER, VULNERABILITY, WORKSTATION, whole


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
INTERNET = "internet"
CAGE4_SERVERS, CAGE4_USERS = (1, 6), (3, 10)  # hosts a subnet, uniform, both ends included
CAGE4_USER_SHARE = 0.6  # value of a user's host beside a server's
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
    rng = generator(seed, CAGE4_DRAWS)
    zones = [zone.name for zone in CAGE4_ZONES]
    segments = [*zones, INTERNET]
    servers, users = _sizes(rng)
    start = np.concatenate(([0], np.cumsum(servers + users + 1)))
    of_segment = np.repeat(np.arange(len(segments)), np.diff(start))
    slot = np.arange(start[-1]) - start[of_segment]
    is_user = (slot >= servers[of_segment]) & (slot < (servers + users)[of_segment])
    is_server = slot < servers[of_segment]
    segment_zone = np.append(np.arange(len(zones)), zones.index("contractor"))
    value, vulnerability = _levels(rng, segment_zone[of_segment], is_server, is_user)
    topology, services = _graphs(segments)
    return Network(
        name=f"cage4-{whole('seed', seed, 0, 2**64 - 1)}",
        zone_names=tuple(zones),
        zone_value=np.array([zone.value for zone in CAGE4_ZONES]),
        segment_names=tuple(segments),
        segment_zone=segment_zone,
        start=start,
        reach=nx.to_numpy_array(topology) > 0,
        is_entry=np.array([segment == "contractor" for segment in segments]),
        host_role=np.where(is_user, WORKSTATION, SERVER),
        host_value=value,
        host_vulnerability=vulnerability,
        host_service=np.where(is_server, of_segment, -1),
        host_users=np.where(is_user, 1, users[of_segment]),
        service_names=tuple(services),
        service_value=np.array([zone.service_value for zone in CAGE4_ZONES]),
        service_zone=np.arange(len(zones)),
        service_depends=nx.to_numpy_array(services) > 0,
    )


def _sizes(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(9,) servers and users of each subnet, the internet last; each has one host besides."""
    while True:
        ends, count = (CAGE4_SERVERS, CAGE4_USERS), len(CAGE4_ZONES)
        servers, users = (np.append(rng.integers(*end, size=count, endpoint=True), 0) for end in ends)
        if CAGE4_HOSTS[0] <= (servers + users + 1).sum() <= CAGE4_HOSTS[1]:
            return servers, users


def _levels(
    rng: np.random.Generator, zone: np.ndarray, is_server: np.ndarray, is_user: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(H,) values and vulnerabilities; the lowest for what cannot be attacked."""
    role = np.where(is_user, WORKSTATION, SERVER)
    noise = rng.standard_normal((2, len(role)))
    value = np.array([zone.value for zone in CAGE4_ZONES])[zone]
    value = value * np.where(is_server, 1.0, CAGE4_USER_SHARE) * (1.0 + 0.15 * noise[0])
    vulnerability = VULNERABILITY_MEAN[role] + VULNERABILITY_SPREAD[role] * noise[1]
    is_target = is_server | is_user
    shown = np.round(np.clip(vulnerability, VULNERABILITY.low, VULNERABILITY.high), 3)
    return (
        np.where(is_target, np.round(np.clip(value, 0.02, 1.0), 3), 0.01),
        np.where(is_target, shown, VULNERABILITY.low),
    )


def _graphs(segments: list[str]) -> tuple[nx.DiGraph, nx.DiGraph]:
    """Which subnet reaches which, and which service needs which."""
    topology: nx.DiGraph = nx.DiGraph((segment, segment) for segment in segments)
    services: nx.DiGraph = nx.DiGraph()
    for zone in CAGE4_ZONES:
        topology.add_edges_from((zone.name, other) for other in zone.reaches)
        services.add_node(zone.service)
        services.add_edges_from((zone.service, other) for other in zone.needs)
    topology.add_edges_from((INTERNET, other) for other in CAGE4_INTERNET_REACHES)
    return topology, services
