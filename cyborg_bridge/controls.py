"""Scripted policies of CC4 to compare with: what is reached without learning, from nothing to the level of the winner.

A control is two functions: `watch` reads every step's alerts into an agent's memory, `choose` says what to begin when
the agent is free. Every agent does so for itself; nothing is passed between them, firewalls are left alone.

>>> policy = make_control("flat-rule", seed=0)      # doctest: +SKIP
>>> policy.reset()                                  # doctest: +SKIP
>>> actions = policy.act(observations, infos, env)  # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cyborg_bridge.zones import SLEEP, Order, Zone
from soc_env.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from cyborg_bridge.cage4 import Cage4Env

ALERT_WINDOW = 20  # [steps] in which two connection alerts of a host count as a sign
ZONE_WINDOW = 10  # [steps] for which a subnet with an alert is worked through
BLOCKED_PORT = 8800  # remote port of the alerts that benign users raise at a blocked firewall
DECOYS_PER_HOST = 1


class Policy(Protocol):
    """What `hmarl-soc transfer` plays."""

    def reset(self) -> None:
        """Forgets the episode; called before each one."""

    def act(self, observations: Mapping[str, np.ndarray], infos: Mapping[str, Any], env: Any) -> dict[str, int]:
        """Agent -> action index, from what `env.reset` or `env.step` returned last."""


def same_episode(known: str, env: Any) -> str:
    """The name of the environment's episode.

    Args:
        known: that of the episode that a policy remembers, "" if it has forgotten.

    Raises:
        ConfigError: it is another one.
    """
    if known not in ("", env.episode):
        raise ConfigError("act() was given another episode than the one that is remembered; call reset() before each")
    return env.episode


@dataclasses.dataclass
class Memory:
    """What one agent remembers of an episode. Hosts are names of slots; only those that exist are ever in it."""

    zone: Zone
    generator: np.random.Generator
    step: int = -1
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
        self.raw = raw
        if self.step == 0:
            self.valid = np.flatnonzero(info["action_mask"])
            orders = [self.zone.orders[index] for index in self.valid]
            self.hosts = tuple(order.host for order in orders if order.host is not None and order.verb == "Restore")
        self.processes, self.connections = (self.zone.flagged(k, observation) for k in ("processes", "connections"))
        if not info["busy"] and self.running.host is not None:
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


# --- what is read


def watch_nothing(memory: Memory) -> None:
    """Blind."""


def watch_subnets(memory: Memory) -> None:
    """Only in which subnets there were alerts."""
    for host in memory.processes + memory.connections:
        memory.alerted[memory.zone.subnet_of[host]] = memory.step


def watch_flags(memory: Memory) -> None:
    """A process alert, or two connection alerts of a host in a window."""
    for host in memory.processes:
        memory.urgency[host] = 2
    for host in memory.connections:
        recent = [step for step in memory.signs.get(host, []) if memory.step - step <= ALERT_WINDOW]
        memory.signs[host] = [*recent, memory.step]
        if recent:
            memory.urgency.setdefault(host, 1)


def watch_sources(memory: Memory) -> None:
    """Processes with a PID, hosts of the zone from which alerting connections came, and files that Analyse found."""
    found = {host: entry for host, entry in memory.raw.items() if isinstance(entry, Mapping)}
    if memory.step == 0:  # the inventory, no alerts
        for host, entry in found.items():
            memory.address_of.update({interface["ip_address"]: host for interface in entry["Interface"]})
        return
    for host, entry in found.items():
        for process in entry.get("Processes", []):
            if "PID" in process and "service_name" not in process:  # one with a service is a decoy just deployed
                memory.urgency[host] = 2
            for connection in process.get("Connections", []):
                source = memory.address_of.get(connection.get("remote_address"), host)
                is_own_end = memory.address_of.get(connection.get("local_address")) == host
                is_benign = connection.get("remote_port") == BLOCKED_PORT
                if source in memory.hosts and source != host and is_own_end and not is_benign:
                    memory.urgency[source] = 3
        if entry.get("Files"):
            memory.urgency[host] = 2


# --- what is begun


def sleep(memory: Memory) -> Order:
    """Never anything."""
    return SLEEP


def random_valid(memory: Memory) -> Order:
    """Any action whose host exists."""
    return memory.zone.orders[memory.generator.choice(memory.valid)]


def random_restore(memory: Memory) -> Order:
    """Restores a random host."""
    return restore(memory, memory.hosts[memory.generator.integers(len(memory.hosts))])


def round_robin(memory: Memory) -> Order:
    """Restores the hosts of subnets with recent alerts in turn."""
    active = [
        host
        for subnet, step in memory.alerted.items()
        if memory.step - step <= ZONE_WINDOW
        for host in memory.zone.hosts[subnet]
        if host in memory.hosts and memory.since("Restore", host) > ZONE_WINDOW
    ]
    return restore(memory, memory.longest_ago("Restore", active)) if active else SLEEP


def most_urgent(memory: Memory) -> Order:
    """Restores the most urgent host."""
    hosts = [host for host in memory.urgency if host in memory.hosts]
    return restore(memory, max(hosts, key=lambda host: memory.urgency[host])) if hosts else SLEEP


def most_urgent_or_look(memory: Memory) -> Order:
    """Restores the most urgent host; when there is none, gives every host decoys, then analyses them in turn."""
    order = most_urgent(memory)
    if order != SLEEP:
        return order
    bare = [host for host in memory.hosts if memory.decoys.get(host, 0) < DECOYS_PER_HOST]
    if bare:
        memory.decoys[bare[0]] = memory.decoys.get(bare[0], 0) + 1
        return memory.zone.on_host("DeployDecoy", bare[0])
    return memory.zone.on_host("Analyse", memory.longest_ago("Analyse", memory.hosts))


def restore(memory: Memory, host: str) -> Order:
    """The order to restore that host."""
    return memory.zone.on_host("Restore", host)


# --- the table


@dataclasses.dataclass(frozen=True)
class Control:
    """A control: see the module's docstring. `observation` is the least level it needs."""

    watch: Callable[[Memory], None]
    choose: Callable[[Memory], Order]
    observation: str = "flat"


CONTROLS: dict[str, Control] = {
    "sleep": Control(watch_nothing, sleep),
    "random-valid": Control(watch_nothing, random_valid),
    "random-restore": Control(watch_nothing, random_restore),
    "round-robin": Control(watch_subnets, round_robin),
    "flat-rule": Control(watch_flags, most_urgent),
    "raw-rule": Control(watch_sources, most_urgent_or_look, observation="raw"),
}


class ControlPolicy:
    """A control as a policy: one memory an agent, Sleep while an agent is busy."""

    def __init__(self, control: Control, seed: int = 0) -> None:
        self.control = control
        self._generator = np.random.default_rng(seed)
        self.reset()

    def reset(self) -> None:
        """Forgets the episode; random draws go on."""
        self._memories: dict[str, Memory] = {}
        self._episode = ""

    def act(self, observations: Mapping[str, np.ndarray], infos: Mapping[str, Any], env: Cage4Env) -> dict[str, int]:
        """Agent -> action index.

        Raises:
            ConfigError: the control reads raw observations and `env` has none; or it is another episode than that of
                the last call, without `reset` between.
        """
        self._episode = same_episode(self._episode, env)
        actions = {}
        for agent, observation in observations.items():
            memory = self._memories.setdefault(agent, Memory(env.zone(agent), self._generator))
            memory.note(
                observation, infos[agent], env.raw_observation(agent) if self.control.observation == "raw" else {}
            )
            self.control.watch(memory)
            if not infos[agent]["busy"]:
                memory.running = self.control.choose(memory)
            actions[agent] = memory.zone.sleep if infos[agent]["busy"] else memory.zone.index[memory.running]
        return actions


def make_control(name: str, seed: int = 0) -> ControlPolicy:
    """A control by name, with a seed for its own draws.

    Raises:
        ConfigError: there is no such control.
    """
    if name not in CONTROLS:
        raise ConfigError(unknown_name("control", name, CONTROLS))
    return ControlPolicy(CONTROLS[name], seed)
