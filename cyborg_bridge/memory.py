"""What one agent remembers of an episode of CC4, for the scripted policies of `cyborg_bridge.controls`.

Everything that such a policy knows went through `Memory.note`; level "raw" is read by `raw_signs`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from cyborg_bridge.zones import SLEEP, Order, Zone

BLOCKED_PORT = 8800  # remote port of the alerts that benign users raise at a blocked firewall
EXPLOIT, SOURCE, FILE = "exploit", "source", "file"
"""Kinds of raw signs: a process with a PID, where an alerting connection came from, a file that Analyse found."""


@dataclasses.dataclass
class Memory:
    """What one agent remembers of an episode. Hosts are names of slots; only those that exist are ever in it."""

    zone: Zone
    generator: np.random.Generator
    step: int = -1
    phase: int = 0
    """Of the mission."""
    hosts: tuple[str, ...] = ()
    """Those that exist."""
    valid: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    """Indices of the actions that do something."""
    processes: list[str] = dataclasses.field(default_factory=list)
    connections: list[str] = dataclasses.field(default_factory=list)
    """Hosts with an alert of that kind in this step."""
    raw: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """The raw observation, for controls that read it."""
    running: Order = SLEEP
    finished: Order = SLEEP
    """What came to its end in this step."""
    urgency: dict[str, int] = dataclasses.field(default_factory=dict)
    """Hosts to restore."""
    signs: dict[str, list[int]] = dataclasses.field(default_factory=dict)
    """Host -> steps of its recent connection alerts."""
    alerted: dict[str, int] = dataclasses.field(default_factory=dict)
    """Subnet -> step of its last alert."""
    done: dict[tuple[str, str], int] = dataclasses.field(default_factory=dict)
    """(verb, host) -> step in which that was last finished."""
    decoys: dict[str, int] = dataclasses.field(default_factory=dict)
    address_of: dict[Any, str] = dataclasses.field(default_factory=dict)
    """Address -> host of the zone."""

    def note(self, observation: np.ndarray, info: Mapping[str, Any], raw: Mapping[str, Any]) -> None:
        """Takes in a step."""
        self.step += 1
        self.phase = int(observation[0])
        self.raw = raw
        if self.step == 0:
            self.valid = np.flatnonzero(info["action_mask"])
            orders = [self.zone.orders[index] for index in self.valid]
            self.hosts = tuple(order.host for order in orders if order.host is not None and order.verb == "Restore")
        self.processes, self.connections = (self.zone.flagged(k, observation) for k in ("processes", "connections"))
        self.finished = SLEEP
        if not info["busy"] and self.running.host is not None:
            self.finished = self.running
            self.done[self.running.verb, self.running.host] = self.step
            if self.running.verb == "Restore":
                self.urgency.pop(self.running.host, None)
                self.signs.pop(self.running.host, None)
                self.decoys.pop(self.running.host, None)
            self.running = SLEEP

    def since(self, verb: str, host: str) -> int:
        """Steps since that was last finished, large if never."""
        return self.step - self.done.get((verb, host), -1_000_000)

    def longest_ago(self, verb: str, hosts: tuple[str, ...] | list[str]) -> str:
        """The host on which that was done longest ago."""
        return max(hosts, key=lambda host: self.since(verb, host))

    def deploy_decoy(self, host: str) -> Order:
        """The order to give that host a decoy, which is counted."""
        self.decoys[host] = self.decoys.get(host, 0) + 1
        return self.zone.on_host("DeployDecoy", host)


def raw_signs(memory: Memory) -> Iterator[tuple[str, str, str]]:
    """What the step's raw observation says of hosts: (kind, host, name of the file or ""), in its own order.

    The first observation of an episode is the inventory: it has no signs, the addresses in it are remembered.
    """
    found = {host: entry for host, entry in memory.raw.items() if isinstance(entry, Mapping)}
    if memory.step == 0:
        for host, entry in found.items():
            memory.address_of.update({interface["ip_address"]: host for interface in entry["Interface"]})
        return
    for host, entry in found.items():
        for process in entry.get("Processes", []):
            if "PID" in process and "service_name" not in process:  # one with a service is a decoy just deployed
                yield EXPLOIT, host, ""
            for connection in process.get("Connections", []):
                source = memory.address_of.get(connection.get("remote_address"), host)
                is_own_end = memory.address_of.get(connection.get("local_address")) == host
                is_benign = connection.get("remote_port") == BLOCKED_PORT
                if source in memory.hosts and source != host and is_own_end and not is_benign:
                    yield SOURCE, source, ""
        for file in entry.get("Files", []):
            yield FILE, host, str(file.get("File Name", ""))
