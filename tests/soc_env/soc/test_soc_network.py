"""The class of a network and its checks."""

from __future__ import annotations

import copy
import dataclasses
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from soc_networks import assert_one_line, tiny

from soc_env.errors import ConfigError
from soc_env.soc.networks import Network, enterprise, host_zone
from soc_env.soc.networks.network import ARRAYS


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
