"""Networks of soc-v1: what the generators promise, the graph and the file, and one clear line for what is broken."""

from __future__ import annotations

import copy
import dataclasses
import os
import pickle
import random
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from soc_env.errors import ConfigError
from soc_env.soc import networks
from soc_env.soc.networks import ROLES, Network, cage4, enterprise, host_zone
from soc_env.soc.networks.enterprise import ARCHETYPES, SERVICE_PLANS, SITES
from soc_env.soc.networks.network import ARRAYS
from soc_env.soc.networks.rules import ATTRIBUTES, CLOUD, DOMAIN_CONTROLLER, EDGES, SERVER, WORKSTATION

ROOT = Path(__file__).parents[3]
# (num_hosts, num_zones, seed): the sizes with five zones, and each number of zones small and middling.
CASES = [(n, 5, seed) for n in (20, 21, 50, 200, 2000) for seed in range(10)]
CASES += [(100_000, z, z) for z in (1, 5, 16)]
CASES += [(max(20, 2 * z), z, seed) for z in range(1, 17) for seed in range(10)]
CASES += [(400, z, seed) for z in range(1, 17) for seed in range(5)]
CASES = list(dict.fromkeys(CASES))


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


def reached(network: Network, sources: np.ndarray) -> np.ndarray:
    """(S,) segments an intruder gets to from `sources`, in any number of moves."""
    while (more := sources | network.reach[sources].any(axis=0)).sum() > sources.sum():
        sources = more
    return sources


def hosts_of_service(network: Network) -> np.ndarray:
    return np.bincount(network.host_service[network.host_service >= 0], minlength=network.num_services)


# --- what both generators promise -------------------------------------------------------------------------------------


def assert_sound(network: Network) -> None:
    """Shapes, types and ranges as documented, whoever made it."""
    num_zones, num_segments, num_hosts, num_services = (
        network.num_zones, network.num_segments, network.num_hosts, network.num_services,
    )  # fmt: skip
    assert 1 <= num_zones <= 16
    assert num_zones <= num_segments <= 32
    assert 1 <= num_services <= 16
    shapes = {
        "zone_value": (num_zones,), "segment_zone": (num_segments,), "start": (num_segments + 1,),
        "reach": (num_segments, num_segments), "is_entry": (num_segments,), "service_value": (num_services,),
        "service_zone": (num_services,), "service_depends": (num_services, num_services),
    }  # fmt: skip
    types = {
        "zone_value": "f8", "segment_zone": "i8", "start": "i8", "reach": "?", "is_entry": "?", "host_role": "u1",
        "host_value": "f4", "host_vulnerability": "f4", "host_service": "i2", "host_users": "f4", "service_value": "f8",
        "service_zone": "i8", "service_depends": "?",
    }  # fmt: skip
    for field, dtype in types.items():
        array = getattr(network, field)
        assert array.dtype == np.dtype(dtype), field
        assert array.shape == shapes.get(field, (num_hosts,)), field
        assert not array.flags.writeable, field
    assert len(set(network.zone_names)) == num_zones
    assert len(set(network.segment_names)) == num_segments
    assert len(set(network.service_names)) == num_services
    assert ((network.zone_value >= 0) & (network.zone_value <= 1)).all()
    assert (np.diff(network.segment_zone) >= 0).all()
    assert set(network.segment_zone.tolist()) == set(range(num_zones))
    assert network.start[0] == 0
    assert network.start[-1] == num_hosts
    assert (np.diff(network.start) >= 1).all()
    assert network.reach.diagonal().all()
    assert network.is_entry.any()
    assert (network.host_role < len(ROLES)).all()
    assert ((network.host_value > 0) & (network.host_value <= 1)).all()
    lowest, highest = np.float32(0.05), np.float32(0.95)
    assert ((network.host_vulnerability >= lowest) & (network.host_vulnerability <= highest)).all()
    assert (network.host_users >= 0).all()
    assert ((network.host_service >= -1) & (network.host_service < num_services)).all()
    assert abs(network.service_value.sum() - 1) < 1e-9
    assert (network.service_value > 0).all()
    assert not np.triu(network.service_depends).any()
    assert (hosts_of_service(network) >= 1).all()


@pytest.mark.parametrize(("num_hosts", "num_zones", "seed"), CASES)
def test_enterprise_is_as_promised(num_hosts: int, num_zones: int, seed: int) -> None:
    network = enterprise(num_hosts, seed, num_zones)
    assert_sound(network)
    assert (network.num_hosts, network.num_zones) == (num_hosts, num_zones)
    archetypes = ("dmz", "corporate", "development", "datacenter", "cloud")
    assert network.zone_names == (*archetypes, *(f"site_{z}" for z in range(6, 17)))[:num_zones]
    segments_in_zone = np.bincount(network.segment_zone)
    assert segments_in_zone.min() >= 1
    assert segments_in_zone.max() <= 3
    assert reached(network, network.is_entry).all()
    assert network.is_entry[network.segment_zone == 0].all()

    zone = host_zone(network)
    controllers = network.host_role == DOMAIN_CONTROLLER
    home = network.zone_names.index("datacenter") if num_zones >= 4 else num_zones - 1
    assert controllers.any()
    assert (zone[controllers] == home).all()
    workstations = network.host_role == WORKSTATION
    assert (network.host_service[workstations] == -1).all()
    assert (network.host_service[~workstations] >= 0).all()
    assert (network.host_users[workstations] == 1).all()
    assert (network.host_users >= 1).all()
    assert not workstations[zone == 0].any()
    if num_zones >= 5:
        assert (network.host_role[zone == 4] == CLOUD).all()
        assert network.zone_value.argmax() == 3

    for k, service_zone in enumerate(network.service_zone):
        hosts_by_zone = np.bincount(zone[network.host_service == k], minlength=num_zones)
        assert hosts_by_zone[service_zone] == hosts_by_zone.max(), "a service is at home where most of its hosts are"
    identity = network.service_names.index("identity")
    assert identity == 0
    assert (network.host_service[controllers] == identity).all()
    assert network.service_depends[1:, identity].all()
    assert set(network.service_names) <= {plan.name for plan in SERVICE_PLANS}
    assert network.num_services <= 12
    if num_zones == 1 or num_zones >= 4 or num_hosts >= 50:
        assert network.num_services >= 6
        shop = network.service_names.index("web_shop")
        needed = {network.service_names[j] for j in np.flatnonzero(network.service_depends[shop])}
        assert {"identity", "database", "payments"} <= needed


@pytest.mark.parametrize("seed", range(5))
def test_zones_reach_each_other_as_in_a_company(seed: int) -> None:
    network = enterprise(300, seed)
    of = {name: network.segment_zone == z for z, name in enumerate(network.zone_names)}

    def reaches(source: str, target: str) -> np.ndarray:
        return network.reach[np.ix_(of[source], of[target])]

    for source, target in [
        ("dmz", "corporate"), ("corporate", "development"), ("corporate", "datacenter"), ("development", "datacenter"),
        ("development", "cloud"), ("datacenter", "cloud"), ("cloud", "datacenter"),
    ]:  # fmt: skip
        assert reaches(source, target).any(), (source, target)
    assert reaches("dmz", "datacenter")[:, 0].all(), "the web tier"
    assert not network.reach.all()
    for name, segments in of.items():
        assert reached(network, segments & (np.cumsum(segments) == 1))[segments].all(), f"{name} hangs together"
    assert network.is_entry[of["corporate"]].all(), "mail"
    assert network.is_entry[of["cloud"]].sum() == 1, "stolen credentials"
    assert not network.is_entry[of["development"] | of["datacenter"]].any()


def test_seeds_differ_in_everything_and_sizes_vary_around_the_archetype() -> None:
    many = [enterprise(200, seed) for seed in range(60)]
    assert len({network.hash() for network in many}) == len(many)
    for field in ("start", "zone_value", "host_value", "host_vulnerability", "service_value"):
        assert len({getattr(network, field).tobytes() for network in many}) == len(many), field
    assert len({network.service_names for network in many}) > 5
    assert len({network.reach.tobytes() for network in many}) > 30
    assert {n for network in many for n in np.bincount(network.segment_zone)} == {1, 2, 3}
    shares = np.array([np.bincount(host_zone(network)) / 200 for network in many])
    expected = np.array([archetype.share for archetype in ARCHETYPES])
    assert np.abs(shares.mean(axis=0) - expected).max() < 0.02
    assert (shares.std(axis=0) > 0.01).all()


def test_forgotten_rules_add_links_by_seed() -> None:
    """Links from the cloud into the offices are in no table."""
    odd = []
    for seed in range(60):
        network = enterprise(200, seed)
        odd.append(network.reach[np.ix_(network.segment_zone == 4, network.segment_zone == 1)].any())
    assert 2 <= sum(odd) <= 40


def test_values_and_vulnerabilities_follow_role_and_zone() -> None:
    network = enterprise(5000, 3)
    zone = host_zone(network)
    role = network.host_role
    mean = [network.host_vulnerability[role == r].mean() for r in range(4)]
    assert mean[DOMAIN_CONTROLLER] < mean[SERVER] < mean[WORKSTATION]
    assert mean[DOMAIN_CONTROLLER] < mean[CLOUD] < mean[WORKSTATION]
    assert all(0.02 < network.host_vulnerability[role == r].std() < 0.15 for r in range(4))
    servers = [network.host_value[(role == SERVER) & (zone == z)].mean() for z in (0, 1, 3)]
    assert servers[2] > servers[0] > servers[1], "datacenter above dmz above offices"
    assert network.host_value[role == DOMAIN_CONTROLLER].mean() > network.host_value[role == SERVER].mean()
    assert network.host_value[(role == SERVER) & (zone == 0)].std() > 0.03
    identity_users = network.host_users[role == DOMAIN_CONTROLLER].min()
    assert identity_users > 1
    assert (role == WORKSTATION)[zone == 1].mean() > 0.85


def test_sites_are_of_varied_archetypes() -> None:
    suffixes = {archetype.segments[0] for archetype in SITES}
    seen = {
        name.removeprefix("site_6_")
        for seed in range(30)
        for name in enterprise(200, seed, 6).segment_names
        if name.startswith("site_6")
    }
    assert suffixes <= seen


def test_a_seed_gives_the_same_network_and_touches_no_global_random_state() -> None:
    legacy = np.random.get_state()  # noqa: NPY002
    python = random.getstate()
    assert enterprise(200, 7) == enterprise(200, 7)
    assert enterprise(np.int64(200), np.int64(7), np.int64(5)).hash() == enterprise(200, 7).hash()
    assert cage4(7) == cage4(7)
    after = np.random.get_state()  # noqa: NPY002
    assert all(np.array_equal(a, b) for a, b in zip(legacy, after, strict=True))
    assert random.getstate() == python


def test_a_seed_gives_the_same_network_in_every_process() -> None:
    code = "from soc_env.soc.networks import *; print(enterprise(200, 3, 7).hash(), cage4(3).hash())"
    outputs = set()
    for hash_seed in ("1", "2"):
        env = os.environ | {"PYTHONHASHSEED": hash_seed}
        outputs.add(
            subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True).stdout
        )
    assert outputs == {f"{enterprise(200, 3, 7).hash()} {cage4(3).hash()}\n"}


def test_cost_grows_less_than_linearly_with_hosts() -> None:
    """500 times the hosts; measured about 10 times the time."""

    def seconds(num_hosts: int) -> float:
        times = []
        for _ in range(5):
            start = time.process_time()
            enterprise(num_hosts)
            times.append(time.process_time() - start)
        return min(times)

    assert seconds(100_000) < 100 * seconds(200)


@pytest.mark.parametrize(
    ("arguments", "field", "value", "allowed"),
    [
        ({"num_hosts": 19}, "num_hosts", "19", "20 to 100000"),
        ({"num_hosts": 100_001}, "num_hosts", "100001", "20 to 100000"),
        ({"num_hosts": 25, "num_zones": 13}, "num_hosts", "25", "26 to 100000"),
        ({"num_hosts": 200.0}, "num_hosts", "200.0", "whole number"),
        ({"num_hosts": "many"}, "num_hosts", "'many'", "whole number"),
        ({"num_zones": True}, "num_zones", "True", "whole number"),
        ({"seed": True}, "seed", "True", "whole number"),
        ({"num_zones": 0}, "num_zones", "0", "1 to 16"),
        ({"num_zones": 17}, "num_zones", "17", "1 to 16"),
        ({"num_zones": None}, "num_zones", "None", "whole number"),
        ({"seed": -1}, "seed", "-1", "0 to 18446744073709551615"),
        ({"seed": 2**64}, "seed", "18446744073709551616", "0 to 18446744073709551615"),
        ({"seed": 0.5}, "seed", "0.5", "whole number"),
        ({"seed": None}, "seed", "None", "whole number"),
    ],
)
def test_a_bad_argument_is_named(arguments: dict[str, Any], field: str, value: str, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        enterprise(**arguments)
    assert_one_line(str(caught.value), f"{field} is {value}; allowed: ", allowed)
    if "seed" in arguments:
        with pytest.raises(ConfigError, match=f"seed is {value}"):
            cage4(**arguments)


def test_the_largest_seed_works() -> None:
    assert enterprise(20, 2**64 - 1, 16 // 2) != enterprise(20, 2**64 - 2, 8)
    assert cage4(2**64 - 1) != cage4(0)


# --- CAGE-4 -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(30))
def test_cage4_has_the_shape_of_cage4(seed: int) -> None:
    network = cage4(seed)
    assert_sound(network)
    assert network.zone_names == (
        "restricted_a", "operational_a", "restricted_b", "operational_b", "admin", "office", "public", "contractor",
    )  # fmt: skip
    assert network.segment_names == (*network.zone_names, "internet")
    assert network.segment_zone.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7]
    assert 67 <= network.num_hosts <= 109
    for s in range(8):
        role = network.host_role[network.start[s] : network.start[s + 1]]
        users = role == WORKSTATION
        num_servers = int(np.argmax(users))
        assert 1 <= num_servers <= 6
        assert 3 <= users.sum() <= 10
        assert users[num_servers:-1].all()  # servers, users, router
        assert role[-1] == SERVER
        service = network.host_service[network.start[s] : network.start[s + 1]]
        assert service.tolist() == [s] * num_servers + [-1] * (users.sum() + 1)
    outside = [*(network.start[1:9] - 1), network.num_hosts - 1]  # routers and the internet
    assert (network.host_vulnerability[outside] == np.float32(0.05)).all()
    assert (network.host_value[outside] == network.host_value.min()).all()
    assert network.start[9] - network.start[8] == 1
    assert network.is_entry.tolist() == [name == "contractor" for name in network.segment_names]
    assert reached(network, network.is_entry).tolist() == [True] * 8 + [False], "the internet is only outside"
    assert ((network.zone_value >= 0.2) & (network.zone_value <= 0.6)).all()


def test_cage4_reach_is_cyborgs() -> None:
    network = cage4(0)
    reach = {
        name: {other for t, other in enumerate(network.segment_names) if network.reach[s, t] and s != t}
        for s, name in enumerate(network.segment_names)
    }
    assert reach == {
        "restricted_a": {"operational_a", "contractor", "public"},
        "operational_a": {"restricted_a"},
        "restricted_b": {"operational_b", "contractor", "public"},
        "operational_b": {"restricted_b"},
        "admin": {"office", "public"},
        "office": {"admin", "public"},
        "public": {"admin", "office", "contractor", "restricted_a", "restricted_b"},
        "contractor": {"restricted_a", "restricted_b", "public"},
        "internet": {"restricted_a", "restricted_b", "public", "contractor"},
    }


def test_cage4_sizes_vary_as_there() -> None:
    """CybORG: 67, 89, 109 hosts (least, mean, most)."""
    sizes = np.array([cage4(seed).num_hosts for seed in range(300)])
    assert abs(sizes.mean() - 89) < 1.5
    assert sizes.min() < 75
    assert sizes.max() > 103
    assert len({cage4(seed).hash() for seed in range(50)}) == 50


# --- the class --------------------------------------------------------------------------------------------------------


def test_host_zone() -> None:
    assert host_zone(tiny()).tolist() == [0, 1, 1, 1, 1]
    network = enterprise(200, 1, 9)
    zone = host_zone(network)
    for s in range(network.num_segments):
        assert (zone[network.start[s] : network.start[s + 1]] == network.segment_zone[s]).all()
    assert (np.diff(zone) >= 0).all()


@pytest.mark.parametrize("copied", [lambda n: n, copy.deepcopy, copy.copy, lambda n: pickle.loads(pickle.dumps(n))])
def test_nothing_can_be_written(copied: Callable[[Network], Network]) -> None:
    network = copied(tiny())
    assert network == tiny()
    for field in ARRAYS:
        with pytest.raises(ValueError, match="read-only"):
            getattr(network, field)[0] = 0
    with pytest.raises(dataclasses.FrozenInstanceError):
        network.name = "other"  # type: ignore[misc]


def test_the_arrays_given_are_copied() -> None:
    users = np.ones(5, np.float32)
    network = dataclasses.replace(tiny(), host_users=users)
    users[0] = 7
    assert network.host_users[0] == 1
    assert users.flags.writeable


CHANGES: dict[str, Any] = {
    "name": "other",
    "zone_names": ("a", "inside"),
    "zone_value": [0.25, 0.5],
    "segment_names": ("web", "desks", "c"),
    "segment_zone": [0, 0, 1],
    "start": [0, 2, 3, 5],
    "reach": np.ones((3, 3), bool),
    "is_entry": [True, False, False],
    "host_role": [0, 0, 0, 0, 0],
    "host_value": [0.3, 0.1, 0.12, 1.0, np.nextafter(np.float32(0.7), np.float32(1))],
    "host_vulnerability": [0.4, 0.95, 0.5, 0.05, 0.31],
    "host_service": [2, -1, 1, 0, 1],
    "host_users": [50, 1, 1, 52, 21],
    "service_names": ("identity", "database", "s"),
    "service_value": [0.3, 0.2, 0.5],
    "service_zone": [1, 0, 0],
    "service_depends": np.zeros((3, 3), bool),
}


@pytest.mark.parametrize("field", [field.name for field in dataclasses.fields(Network)])
def test_equality_and_hash_see_every_field(field: str) -> None:
    network, changed = tiny(), dataclasses.replace(tiny(), **{field: CHANGES[field]})
    assert network == tiny()
    assert network.hash() == tiny().hash()
    assert hash(network) == hash(tiny())
    assert network != changed
    assert network.hash() != changed.hash()
    assert network != "tiny"


def test_hash_is_short_hexadecimal_and_shown() -> None:
    assert len(tiny().hash()) == 16
    assert int(tiny().hash(), 16) > 0
    assert repr(tiny()) == f"Network('tiny', 5 hosts, 2 zones, 3 segments, 3 services, hash {tiny().hash()})"


def test_hash_is_the_same_on_every_machine_and_version() -> None:
    """A change of this digest is a change of every kept result's network: on purpose only."""
    assert tiny().hash() == "0f3860e15ee6e845"


def test_minus_zero_is_zero() -> None:
    zero, minus = (dataclasses.replace(tiny(), zone_value=[value, 1.0]) for value in (0.0, -0.0))
    assert zero == minus
    assert zero.hash() == minus.hash()


def assert_one_line(message: str, *parts: str) -> None:
    assert "\n" not in message
    for part in parts:
        assert part in message, f"{part!r} is not in {message!r}"


@pytest.mark.parametrize(
    ("field", "value", "parts"),
    [
        ("name", "", ("name is ''", "1 to 64 printable")),
        ("name", "two\nlines", (r"name is 'two\nlines'",)),
        ("name", 5, ("name is 5",)),
        ("zone_names", ("a", "a"), ("zone_names[1] is 'a'", "each name once")),
        ("zone_names", ("a", " b"), ("zone_names[1] is ' b'",)),
        ("zone_names", "ab", ("zone_names is 'ab'", "tuple")),
        ("zone_names", None, ("zone_names is None", "tuple")),
        ("zone_names", (), ("number of zones is 0", "1 to 16")),
        ("segment_names", tuple(map(str, range(33))), ("number of segments is 33", "1 to 32")),
        ("service_names", tuple(map(str, range(17))), ("number of services is 17", "1 to 16")),
        ("service_names", (), ("number of services is 0", "1 to 16")),
        ("zone_value", [0.5, 1.5], ("zone_value[1] is 1.5", "0 to 1")),
        ("zone_value", [0.5, np.nan], ("zone_value[1] is nan", "0 to 1")),
        ("zone_value", [0.5], ("shape of zone_value is (1,)", "(2,)")),
        ("zone_value", ["a", "b"], ("type of zone_value", "numbers")),
        ("zone_value", [[0.5], [0.5, 1.0]], ("zone_value is [[0.5], [0.5, 1.0]]", "shape")),
        ("zone_names", ("outside", "inside", "empty"), ("shape of zone_value is (2,)", "(3,)")),
        ("segment_zone", [0, 1, 2], ("segment_zone[2] is 2", "0 to 1")),
        ("segment_zone", [0, 1, 0], ("segment_zone is [0, 1, 0]", "ascending")),
        ("segment_zone", [0, 0, 0], ("segments of zone 'inside' is 0", "at least one")),
        ("segment_zone", [0, 1.0, 1], ("type of segment_zone is 'float64'", "whole numbers")),
        ("start", [1, 2, 3, 5], ("start is [1, 2, 3, 5]", "0 in front")),
        ("start", [0, 0, 3, 5], ("start is [0, 0, 3, 5]", "at least one host")),
        ("start", [0, 1, 3, 4], ("start is 4", "5 (hosts) at the end")),
        ("start", [0, 1, 3, 6], ("start[3] is 6", "0 to 5")),
        ("reach", np.zeros((3, 3), bool), ("reach is False", "diagonal")),
        ("reach", np.ones((3, 3)), ("type of reach is 'float64'", "booleans")),
        ("is_entry", [False] * 3, ("is_entry is False", "at least one entry")),
        ("host_role", [0, 0, 0, 0, 4], ("host_role[4] is 4", "0 to 3")),
        ("host_role", [0, 0, 0, 0, 256], ("host_role[4] is 256", "0 to 3")),
        ("host_role", [], ("number of hosts is 0", "1 to 100000")),
        ("host_role", 0, ("number of hosts is 0", "1 to 100000")),
        ("host_role", np.zeros(100_001, int), ("number of hosts is 100001", "1 to 100000")),
        ("host_value", [0.5, 0.5, 0.5, 0.5, 0.0], ("host_value[4] is 0.0", "more than 0, at most 1")),
        ("host_value", [0.5, 0.5, 0.5, 0.5, 1e-60], ("host_value[4] is 1e-60", "more than 0, at most 1")),
        ("host_value", [0.5, 0.5, 0.5, 0.5, 1e300], ("host_value[4] is 1e+300",)),
        ("host_value", [0.5, 0.5, 0.5, 0.5, -np.inf], ("host_value[4] is -inf",)),
        ("host_vulnerability", [0.5, 0.04, 0.5, 0.5, 0.5], ("host_vulnerability[1] is 0.04", "0.05 to 0.95")),
        ("host_vulnerability", [0.5, 0.96, 0.5, 0.5, 0.5], ("host_vulnerability[1] is 0.96", "0.05 to 0.95")),
        ("host_service", [2, -1, -1, 0, 3], ("host_service[4] is 3", "-1 to 2")),
        ("host_service", [2, -2, -1, 0, 1], ("host_service[1] is -2", "-1 to 2")),
        ("host_users", [1, 1, 1, 1, -1], ("host_users[4] is -1", "0 to 1e+09")),
        ("host_users", [1, 1, 1, 1, np.inf], ("host_users[4] is inf", "0 to 1e+09")),
        ("service_value", [0.5, 0.5, 0.5], ("service_value is 1.5", "a sum of 1")),
        ("service_value", [-0.5, 0.5, 1.0], ("service_value[0] is -0.5", "0 to 1")),
        ("service_zone", [0, 0, 2], ("service_zone[2] is 2", "0 to 1")),
        ("service_depends", np.eye(3, dtype=bool), ("service_depends is True", "no cycle")),
        ("service_depends", np.ones((3, 3), bool), ("service_depends is True", "no cycle")),
    ],
)
def test_a_broken_field_is_named(field: str, value: Any, parts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError) as caught:
        dataclasses.replace(tiny(), **{field: value})
    assert_one_line(str(caught.value), *parts, *([] if field == "name" else ["network 'tiny': "]))


# --- graph and file ---------------------------------------------------------------------------------------------------

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


def more(kind: str, count: int, holder: str, **attributes: Any) -> Callable[[nx.DiGraph], None]:
    def add(graph: nx.DiGraph) -> None:
        for i in range(count):
            graph.add_node(f"{kind}{i}", kind=kind, name=f"{kind}{i}", **attributes)
            if holder:
                graph.add_edge(holder, f"{kind}{i}", kind="contains")

    return add


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
