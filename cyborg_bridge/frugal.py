"""`frugal-rule`, a control of level raw: a Restore costs a point, so it is for hosts that were shown to be root.

A session at user level can be ended by Remove, which costs nothing, and does little harm before it becomes root. So,
first rule that applies:

1. Restore the dearest host on which Analyse found `escalate.*`, which only root leaves behind. In the operational zone
   that the mission phase stresses, where all is ten times as dear, Restore every suspect: hosts with an exploit's PID
   now or since their last Restore, and sources of alerting connections.
2. Remove on the dearest host with an exploit's PID.
3. Analyse after every Remove: within 2 steps an exploit may be root, before Remove has worked.
4. Analyse sources of alerting connections that nobody looked at for `SOURCE_AGE` steps. Remove does not end a session
   that came by phishing, and such a session shows itself by what it sends.
5. Decoys on all hosts, unless a look at some host is overdue.
6. Analyse where a look is most overdue: steps since the last one x weight of a suspect x square root of the price.

Searched by hand on the real CC4, among about a dozen variants and settings, on episodes drawn from the seeds 900001 and
900002 (`experiments.evaluate.episode_seeds`). Evaluation plays others.
"""

from __future__ import annotations

import dataclasses

from cyborg_bridge.memory import EXPLOIT, FILE, SOURCE, Memory, raw_signs
from cyborg_bridge.score import PRICES, is_stressed
from cyborg_bridge.zones import Order

ROOT_FILE = "escalate"  # how the names of files begin that only root leaves behind
SOURCE_AGE = 12  # [steps]
DECOYS_PER_HOST = 2
SUSPECT_WEIGHT = 6.0  # of a look at a host with an exploit or a connection of its own since its last Restore
OVERDUE = 80.0  # a look worth that much comes before decoys


@dataclasses.dataclass
class FrugalMemory(Memory):
    """All of it is forgotten with the host's Restore."""

    root: set[str] = dataclasses.field(default_factory=set)
    """Hosts that Analyse has shown to be root."""
    pids: dict[str, int] = dataclasses.field(default_factory=dict)
    """Host -> step of its last exploit, until a Remove."""
    exploited: set[str] = dataclasses.field(default_factory=set)
    """Hosts with an exploit, whether or not it was removed."""
    sources: set[str] = dataclasses.field(default_factory=set)
    """Hosts from which alerting connections came."""
    unverified: dict[str, int] = dataclasses.field(default_factory=dict)
    """Host -> step of its last Remove, until an Analyse."""

    def price(self, host: str) -> float:
        """Points that root on that host costs, up to a factor: its users' work more often than Impacts (assumption)."""
        work, impact = PRICES[self.zone.subnet_of[host]][self.phase]
        return work * 2 / 3 + impact / 3

    def dearest(self, hosts: set[str] | dict[str, int]) -> str:
        """Of several as dear, the one that was known first."""
        known = hosts if isinstance(hosts, dict) else {}
        return max(sorted(hosts), key=lambda host: (self.price(host), -known.get(host, 0), host in self.root))

    def look(self, host: str) -> float:
        """What a look at that host is worth."""
        age = min(self.since("Analyse", host), self.step + 1)
        weight = SUSPECT_WEIGHT if host in self.exploited or host in self.sources else 1.0
        return age * weight * self.price(host) ** 0.5


def watch_what_was_shown(memory: FrugalMemory) -> None:
    """What the last order has settled, then the step's signs."""
    verb, host = memory.finished.verb, memory.finished.host or ""
    if verb == "Restore":
        for hosts in (memory.root, memory.exploited, memory.sources):
            hosts.discard(host)
        for steps in (memory.pids, memory.unverified):
            steps.pop(host, None)
    elif verb == "Remove":
        memory.pids.pop(host, None)
        memory.unverified[host] = memory.step
    elif verb == "Analyse":
        memory.unverified.pop(host, None)
    for kind, host, name in raw_signs(memory):
        if host not in memory.hosts:
            continue
        if kind == EXPLOIT:
            memory.pids[host] = memory.step
            memory.exploited.add(host)
        elif kind == SOURCE:
            memory.sources.add(host)
        elif kind == FILE and name.startswith(ROOT_FILE):
            memory.root.add(host)


def restore_root_alone(memory: FrugalMemory) -> Order:
    """The first rule that applies, see the module's docstring."""
    on_host = memory.zone.on_host
    suspects = memory.exploited | memory.sources  # those with a PID are among them
    stressed = {host for host in suspects if is_stressed(memory.zone.subnet_of[host], memory.phase)}
    if memory.root | stressed:
        return on_host("Restore", memory.dearest(memory.root | stressed))
    if memory.pids:
        return on_host("Remove", memory.dearest(memory.pids))
    if memory.unverified:
        return on_host("Analyse", memory.dearest(memory.unverified))
    unseen = [host for host in sorted(memory.sources) if memory.since("Analyse", host) > SOURCE_AGE]
    if unseen:
        return on_host("Analyse", memory.longest_ago("Analyse", unseen))
    bare = [host for host in memory.hosts if memory.decoys.get(host, 0) < DECOYS_PER_HOST]
    overdue = max(memory.hosts, key=memory.look)
    if bare and memory.look(overdue) < OVERDUE:
        return memory.deploy_decoy(bare[0])
    return on_host("Analyse", overdue)
