"""The generators of networks: what both promise, and CAGE-4."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from soc_networks import assert_one_line

from soc_env.errors import ConfigError
from soc_env.soc.networks import ROLES, Network, cage4, enterprise, host_zone
from soc_env.soc.networks.enterprise import ARCHETYPES, SERVICE_PLANS, SITES
from soc_env.soc.networks.rules import CLOUD, DOMAIN_CONTROLLER, SERVER, WORKSTATION

ROOT = Path(__file__).parents[3]

# (num_hosts, num_zones, seed): the sizes with five zones, and each number of zones small and middling.
CASES = list(dict.fromkeys([
    *((n, 5, seed) for n in (20, 21, 50, 200, 2000) for seed in range(10)),
    *((100_000, z, z) for z in (1, 5, 16)),
    *((max(20, 2 * z), z, seed) for z in range(1, 17) for seed in range(10)),
    *((400, z, seed) for z in range(1, 17) for seed in range(5)),
]))  # fmt: skip


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
