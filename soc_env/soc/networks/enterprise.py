"""The generator of company networks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import networkx as nx
import numpy as np

from soc_env.soc.networks.network import Network
from soc_env.soc.networks.rules import (
    CLOUD,
    DOMAIN_CONTROLLER,
    MAX_HOSTS,
    MAX_SEGMENTS,
    MAX_ZONES,
    SERVER,
    VULNERABILITY,
    WORKSTATION,
    whole,
)

MIN_ENTERPRISE_HOSTS = 20


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
ENTERPRISE_DRAWS, CAGE4_DRAWS = 1, 2  # the same seed is not the same draws


def enterprise(num_hosts: int = 200, seed: int = 0, num_zones: int = 5) -> Network:
    """A company network: internet-facing zone, offices, development, datacenter, cloud, and further sites.

    Args:
        num_hosts: 20 (or 2 * `num_zones`) to 100,000.
        seed: At least 0. Gives sizes, topology, values, vulnerabilities and services.
        num_zones: 1 to 16: as many of `ARCHETYPES`, then "site_6" and so on, each one of `SITES`.

    Raises:
        ConfigError: An argument is no whole number or out of range.
    """
    num_zones = whole("num_zones", num_zones, 1, MAX_ZONES)
    num_hosts = whole("num_hosts", num_hosts, max(MIN_ENTERPRISE_HOSTS, 2 * num_zones), MAX_HOSTS)
    rng = generator(seed, ENTERPRISE_DRAWS)
    archetypes, names = _zones(rng, num_zones)
    zone_sizes = _split(rng, num_hosts, [a.share for a in archetypes], minimum=2, concentration=120)
    zone_value = np.round(np.clip([a.value for a in archetypes] + rng.normal(0, 0.04, num_zones), 0.05, 0.95), 3)
    zone_value[[z for z, a in enumerate(archetypes) if a.value == 1.0]] = 1.0
    topology = _segment_graph(rng, archetypes, names, zone_sizes)
    hosts = _hosts(rng, archetypes, zone_value, list(topology.nodes.values()))
    num_services = int(rng.integers(MIN_SERVICES, len(SERVICE_PLANS), endpoint=True))
    num_free = np.count_nonzero((hosts.role == SERVER) | (hosts.role == CLOUD))
    catalogue = _service_graph(rng, min(num_services, int(num_free) + 1))
    plans = [plan for _, plan in catalogue.nodes(data="plan")]
    service = _assign_services(rng, archetypes, plans, hosts.role, hosts.zone)
    return Network(
        name=f"enterprise-{num_hosts}-{num_zones}-{seed}",
        zone_names=tuple(names),
        zone_value=zone_value,
        segment_names=tuple(topology),
        segment_zone=hosts.segment_zone,
        start=hosts.start,
        reach=nx.to_numpy_array(topology) > 0,
        is_entry=np.array([is_entry for _, is_entry in topology.nodes(data="is_entry")]),
        host_role=hosts.role,
        host_value=hosts.value,
        host_vulnerability=hosts.vulnerability,
        host_service=service,
        host_users=_users(rng, plans, service),
        service_names=tuple(catalogue),
        service_value=_service_values(rng, plans),
        service_zone=_service_homes(service, hosts.zone, len(plans)),
        service_depends=nx.to_numpy_array(catalogue) > 0,
    )


def _zones(rng: np.random.Generator, num_zones: int) -> tuple[list[Archetype], list[str]]:
    """What each zone is, and its name: further sites are drawn."""
    sites = rng.integers(len(SITES), size=max(0, num_zones - len(ARCHETYPES)))
    archetypes = [*ARCHETYPES[:num_zones], *(SITES[i] for i in sites)]
    return archetypes, [a.name if z < len(ARCHETYPES) else f"site_{z + 1}" for z, a in enumerate(archetypes)]


class _Hosts(NamedTuple):
    """What the hosts are, as `Network` has it, and `zone`: (H,) of each."""

    segment_zone: np.ndarray
    start: np.ndarray
    zone: np.ndarray
    role: np.ndarray
    value: np.ndarray
    vulnerability: np.ndarray


def _hosts(
    rng: np.random.Generator, archetypes: Sequence[Archetype], zone_value: np.ndarray, segments: Sequence[dict]
) -> _Hosts:
    """The hosts of each segment: their roles, and values and vulnerabilities around those of zone and role."""
    start = np.concatenate(([0], np.cumsum([segment["num_hosts"] for segment in segments])))
    segment_zone = np.array([segment["zone"] for segment in segments])
    of_segment = np.repeat(np.arange(len(segments)), np.diff(start))
    zone = segment_zone[of_segment]
    role = _roles(rng, archetypes, segments, of_segment)
    role[_domain_controllers(archetypes, segment_zone, start)] = DOMAIN_CONTROLLER
    noise = rng.standard_normal((2, len(role)))
    vulnerability = VULNERABILITY_MEAN[role] + np.array([a.vulnerability for a in archetypes])[zone]
    vulnerability += VULNERABILITY_SPREAD[role] * noise[0]
    value = zone_value[zone] * ROLE_VALUE[role] * (1.0 + 0.15 * noise[1])
    return _Hosts(
        segment_zone, start, zone, role,
        value=np.round(np.clip(value, 0.01, 1.0), 3),
        vulnerability=np.round(np.clip(vulnerability, VULNERABILITY.low, VULNERABILITY.high), 3),
    )  # fmt: skip


def generator(seed: Any, draws: int) -> np.random.Generator:
    """The draws of one kind of network for a seed; ConfigError if it is no whole number from 0."""
    entropy = whole("seed", seed, 0, 2**64 - 1)
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
