"""What a blue agent's actions and observation entries mean, read from the action labels that CybORG gives at run time.

The labels say everything: which subnets an agent guards, which host slots there are, and which index is which action.
Nothing of CybORG is imported here, so recorded labels do as well.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from soc_env.errors import HMARLSOCError

# Sizes of an observation (source: CC4's BlueFlatWrapper): [mission phase], a block per guarded subnet, messages.
FIELDS = {"own": 9, "blocked": 9, "policy": 9, "processes": 16, "connections": 16}
BLOCK_SIZE = sum(FIELDS.values())
NUM_MESSAGES, MESSAGE_BITS = 4, 8

ZONE_OF_SUBNET = {  # those that blue guards
    "restricted_zone_a_subnet": "restricted_a",
    "operational_zone_a_subnet": "operational_a",
    "restricted_zone_b_subnet": "restricted_b",
    "operational_zone_b_subnet": "operational_b",
    "admin_network_subnet": "admin",
    "office_network_subnet": "office",
    "public_access_zone_subnet": "public",
}

ABSENT = "[Invalid] "  # in front of a label whose host does not exist in the episode
ON_HOST = re.compile(r"(?P<verb>\w+) (?P<host>(?P<subnet>\w+)_(?:server|user)_host_\d+)")
TRAFFIC = re.compile(r"(?P<verb>\w+) (?P<subnet>\w+) \(\S+\) <- (?P<source>\w+) \(\S+\)")


class LabelError(HMARLSOCError, ValueError):
    """An action label, or a set of them, that the bridge cannot read: not those of CybORG 4's flat wrapper."""


class Order(NamedTuple):
    """What one action index does. It means the same in every episode, whether or not its host exists there."""

    verb: str
    """Analyse, Remove, Restore, DeployDecoy (of a host); BlockTrafficZone, AllowTrafficZone (of a subnet); Sleep,
    Monitor."""
    host: str | None = None
    subnet: str | None = None
    """The host's, or the one whose incoming traffic is blocked or allowed."""
    source: str | None = None
    """Where that traffic comes from."""


SLEEP = Order("Sleep")


def parse_label(label: str) -> Order:
    """The order that an action label describes, for example "Restore office_network_subnet_user_host_3".

    Raises:
        LabelError: not a label of CC4.
    """
    text = label.removeprefix(ABSENT)
    if traffic := TRAFFIC.fullmatch(text):
        return Order(traffic["verb"], subnet=traffic["subnet"], source=traffic["source"])
    if on_host := ON_HOST.fullmatch(text):
        return Order(on_host["verb"], on_host["host"], on_host["subnet"])
    if re.fullmatch(r"\w+", text):
        return Order(text)
    raise LabelError(f"action label {label!r} cannot be read; allowed: those of CybORG 4's BlueFlatWrapper")


@dataclasses.dataclass(frozen=True)
class Zone:
    """What one blue agent guards and can do; the same in every episode.

    Attributes:
        subnets: the guarded subnets, in the order of the observation's blocks.
        hosts: subnet -> its 16 host slots (6 servers, 10 users), in the order of the flags in its block. Which of them
            exist in an episode is in the action mask.
        subnet_of: host slot -> its subnet.
        orders: what each action index does.
        index: the inverse of `orders`.
        all_subnets: the network's nine subnets, in the order of the three one-hot or flag fields of a block.
        fields: subnet -> name of a field of its block -> where it is in the observation. "own": one-hot of the subnet;
            "blocked": sources whose traffic the firewall drops; "policy": sources that the mission's policy says should
            be blocked; "processes" and "connections": alerts of the last step per host slot.
        messages: where the other agents' messages are, 4 x 8 bits.
    """

    subnets: tuple[str, ...]
    hosts: dict[str, tuple[str, ...]]
    subnet_of: dict[str, str]
    orders: tuple[Order, ...]
    index: dict[Order, int]
    all_subnets: tuple[str, ...]
    fields: dict[str, dict[str, slice]]
    messages: slice

    @classmethod
    def of(cls, labels: Sequence[str]) -> Zone:
        """From an agent's action labels, in order.

        Raises:
            LabelError: a label that cannot be read, or labels that do not fit together.
        """
        orders = tuple(map(parse_label, labels))
        hosts: dict[str, tuple[str, ...]] = {}
        for order in orders:
            if order.host is not None and order.subnet is not None and order.host not in hosts.get(order.subnet, ()):
                hosts[order.subnet] = (*hosts.get(order.subnet, ()), order.host)
        sources = {order.source for order in orders if order.source is not None}
        all_subnets = tuple(sorted(sources | set(hosts)))
        if (
            SLEEP not in orders
            or len(all_subnets) != FIELDS["own"]
            or any(len(slots) != FIELDS["processes"] for slots in hosts.values())
        ):
            raise LabelError(
                f"action labels of {len(all_subnets)} subnets with {[len(slots) for slots in hosts.values()]} hosts;"
                f" allowed: Sleep, {FIELDS['own']} subnets, {FIELDS['processes']} host slots in each guarded one"
            )
        fields = {subnet: block_fields(1 + BLOCK_SIZE * place) for place, subnet in enumerate(hosts)}
        end = 1 + BLOCK_SIZE * len(hosts)
        return cls(
            subnets=tuple(hosts),
            hosts=hosts,
            subnet_of={host: subnet for subnet, slots in hosts.items() for host in slots},
            orders=orders,
            index={order: index for index, order in enumerate(orders)},
            all_subnets=all_subnets,
            fields=fields,
            messages=slice(end, end + NUM_MESSAGES * MESSAGE_BITS),
        )

    def on_host(self, verb: str, host: str) -> Order:
        """The order that does that to that host."""
        return Order(verb, host, self.subnet_of[host])

    def flagged(self, kind: str, vector: np.ndarray) -> list[str]:
        """Host slots with an alert of the last step.

        Args:
            kind: "processes" or "connections".
            vector: (entries,) the agent's observation.
        """
        return [
            host
            for subnet, slots in self.hosts.items()
            for host, is_set in zip(slots, vector[self.fields[subnet][kind]], strict=True)
            if is_set
        ]

    @property
    def sizes(self) -> list[int]:
        """Number of values of each entry of the observation: three mission phases, all else bits."""
        return [3] + [2] * (self.messages.stop - 1)

    @property
    def sleep(self) -> int:
        """The action index that does nothing."""
        return self.index[SLEEP]


def block_fields(start: int) -> dict[str, slice]:
    """Where the fields of the block that begins at `start` are."""
    found = {}
    for name, size in FIELDS.items():
        found[name] = slice(start, start + size)
        start += size
    return found
