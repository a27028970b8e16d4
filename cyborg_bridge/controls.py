"""Scripted policies of CC4 to compare with: what is reached without learning, from nothing to the level of the winner.

A control is two functions: `watch` reads every step's alerts into an agent's memory, `choose` says what to begin when
the agent is free. Every agent does so for itself; nothing is passed between them, firewalls are left alone.

The simple ones are here. `cyborg_bridge.frugal` (level raw) and `cyborg_bridge.belief` (level flat) are two that were
searched on CC4: what each does, and on which episodes it was searched, is written there.

>>> policy = make_control("flat-rule", seed=0)      # doctest: +SKIP
>>> policy.reset()                                  # doctest: +SKIP
>>> actions = policy.act(observations, infos, env)  # doctest: +SKIP
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from cyborg_bridge.belief import BeliefMemory, believe, restore_what_pays
from cyborg_bridge.frugal import FrugalMemory, restore_root_alone, watch_what_was_shown
from cyborg_bridge.memory import BLOCKED_PORT, SOURCE, Memory, raw_signs
from cyborg_bridge.zones import SLEEP, Order
from soc_env.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from cyborg_bridge.cage4 import Cage4Env

__all__ = ["BLOCKED_PORT", "CONTROLS", "Control", "ControlPolicy", "Memory", "Policy", "make_control", "same_episode"]

ALERT_WINDOW = 20  # [steps] in which two connection alerts of a host count as a sign
ZONE_WINDOW = 10  # [steps] for which a subnet with an alert is worked through
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
    for kind, host, _ in raw_signs(memory):
        memory.urgency[host] = 3 if kind == SOURCE else 2


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
        return memory.deploy_decoy(bare[0])
    return memory.zone.on_host("Analyse", memory.longest_ago("Analyse", memory.hosts))


def restore(memory: Memory, host: str) -> Order:
    """The order to restore that host."""
    return memory.zone.on_host("Restore", host)


# --- the table


@dataclasses.dataclass(frozen=True)
class Control:
    """A control: see the module's docstring."""

    watch: Callable[[Any], None]
    choose: Callable[[Any], Order]
    observation: str = "flat"
    """The least level it needs."""
    memory: type[Memory] = Memory
    """What `watch` and `choose` are given."""


CONTROLS: dict[str, Control] = {
    "sleep": Control(watch_nothing, sleep),
    "random-valid": Control(watch_nothing, random_valid),
    "random-restore": Control(watch_nothing, random_restore),
    "round-robin": Control(watch_subnets, round_robin),
    "flat-rule": Control(watch_flags, most_urgent),
    "raw-rule": Control(watch_sources, most_urgent_or_look, observation="raw"),
    "frugal-rule": Control(watch_what_was_shown, restore_root_alone, observation="raw", memory=FrugalMemory),
    "belief-rule": Control(believe, restore_what_pays, memory=BeliefMemory),
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
            memory = self._memories.setdefault(agent, self.control.memory(env.zone(agent), self._generator))
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
