"""`belief-rule`, a control of level flat: it believes of every host how likely red holds it as root.

The belief is a logistic regression on the flags of the official vector and on what the agent itself has done, one row
of `FEATURES` a column. A Restore costs a point, so it pays where

    P(root) x points that root costs a step, in that zone and phase x steps that it would last x `CAUTION`

is more than that; the steps are `HORIZON`, or what is left of the official episode. Otherwise Restore where an exploit
was seen, then decoys, then Sleep. At this level nobody sees what Analyse found, so it looks at nothing.

The weights were fitted on 92 episodes of the real CC4, drawn from the seeds 910001 to 910005
(`experiments.evaluate.episode_seeds`), which earlier versions of this rule played; their labels are the simulator's
true state. In play the rule reads the vector alone. Its settings were searched on a few episodes drawn from the seeds
900001 and following. Evaluation plays others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cyborg_bridge.cage4 import OFFICIAL_STEPS
from cyborg_bridge.memory import Memory
from cyborg_bridge.score import PRICES, RESTORE_PRICE
from cyborg_bridge.soc_alerts import is_server
from cyborg_bridge.zones import SLEEP, Order

HORIZON = 60  # [steps] that root would last without the Restore, assumption
WORK_RATE, IMPACT_RATE = 0.15, 0.06  # failed works and Impacts a step of a host that is root, assumption
CAUTION = 0.8  # what of an expected gain counts; searched on few episodes, 1 does about as well
DECOYS_PER_HOST = 2
NEVER = -1000.0  # step of what has not happened
HOST_MEMORY, SUBNET_MEMORY = 0.98, 0.97  # what is left of a count after a step


@dataclasses.dataclass
class BeliefMemory(Memory):
    """Arrays with one entry a host, in the order of `hosts`, or a subnet, in the order of the zone's. Made at the first
    step. What is about a host is forgotten with its Restore, but for `exploits_ever`."""

    subnet: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    """(hosts,) index of the host's subnet."""
    server: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, bool))
    """(hosts,) whether it is one."""
    of_host: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """(hosts,) counts of alerts by kind, and steps of the last Restore and the last exploit."""
    of_subnet: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    """(subnets,) fading counts of alerts by kind."""

    def begin(self) -> None:
        """Nothing has been seen yet."""
        subnets = self.zone.subnets
        self.subnet = np.array([subnets.index(self.zone.subnet_of[host]) for host in self.hosts])
        self.server = np.array([is_server(host) for host in self.hosts])
        counts = ("restored", "exploits", "exploits_ever", "odd_processes", "connections")
        self.of_host = {name: np.zeros(len(self.hosts)) for name in counts}
        self.of_host["exploited"] = np.full(len(self.hosts), NEVER)
        kinds = ("exploits", "odd_processes", "user_connections", "server_connections")
        self.of_subnet = {name: np.zeros(len(subnets)) for name in kinds}

    def age(self) -> np.ndarray:
        """(hosts,) hundreds of steps since the last Restore, or since the beginning, at most 3."""
        return np.minimum(self.step - self.of_host["restored"], 300) / 100

    def exploit_age(self) -> np.ndarray:
        """(hosts,) steps since the last exploit."""
        return self.step - self.of_host["exploited"]

    def around(self, kind: str) -> np.ndarray:
        """(hosts,) how much of a kind of alert the host's subnet has had lately."""
        return self.of_subnet[kind][self.subnet]


class Feature(NamedTuple):
    """A column of the regression."""

    name: str
    weight: float
    meaning: str
    value: Callable[[BeliefMemory], np.ndarray | float]
    """(hosts,) or one for all."""


def probes(memory: BeliefMemory) -> np.ndarray:
    """(hosts,) log(1 + connection alerts of the users' hosts of their subnet)."""
    return np.log1p(np.minimum(memory.around("user_connections"), 6))


FEATURES = (
    Feature("bias", -2.727716, "1",
            lambda m: 1.0),
    Feature("age", 1.418559, "hundreds of steps since the last Restore, at most 3",
            BeliefMemory.age),
    Feature("exploits", 3.034178, "exploits seen since then, at most 3",
            lambda m: np.minimum(m.of_host["exploits"], 3)),
    Feature("exploit_age", 1.201942, "fifties of steps since the last of them, at most 3",
            lambda m: np.where(m.of_host["exploits"] > 0, np.minimum(m.exploit_age(), 150) / 50, 0)),
    Feature("exploit_is_new", -2.903204, "the last one at most 4 steps ago: seldom root yet",
            lambda m: (m.exploit_age() <= 4) * 1.0),
    Feature("odd_processes", 1.038059, "log(1 + process alerts alone), fading",
            lambda m: np.log1p(m.of_host["odd_processes"])),
    Feature("connections", 1.141861, "log(1 + connection alerts alone), fading",
            lambda m: np.log1p(m.of_host["connections"])),
    Feature("subnet_probes", 0.363071, "the subnet's log(1 + connection alerts of users' hosts), fading",
            probes),
    Feature("subnet_exploits", 1.022222, "the subnet's log(1 + exploits), fading",
            lambda m: np.log1p(m.around("exploits"))),
    Feature("server", -3.69307, "whether it is one: those are seldom root without an alert",
            lambda m: m.server * 1.0),
    Feature("subnet_server_alerts", 0.368027, "the subnet's log(1 + connection alerts of servers), fading",
            lambda m: np.log1p(m.around("server_connections"))),
    Feature("subnet_size", -1.19653, "tens of hosts in the subnet",
            lambda m: np.bincount(m.subnet)[m.subnet] / 10),
    Feature("time", -2.154529, "hundreds of steps since the beginning, at most 1",
            lambda m: min(m.step, 100) / 100),
    Feature("age_x_subnet_probes", 0.48153, "the product of those two",
            lambda m: m.age() * probes(m)),
    Feature("subnet_odd_processes", -0.124286, "the subnet's log(1 + process alerts alone), fading",
            lambda m: np.log1p(m.around("odd_processes"))),
    Feature("later_phase", -1.22782, "whether the mission is in phase 1 or 2",
            lambda m: float(m.phase > 0)),
    Feature("exploits_ever", -0.107028, "exploits seen in the episode, at most 3",
            lambda m: np.minimum(m.of_host["exploits_ever"], 3)),
)  # fmt: skip


def believe(memory: BeliefMemory) -> None:
    """Counts the step's alerts. An exploit is a process alert on a server, or together with a connection alert; a
    process alert alone on a user's host is green's, or a quiet exploit.
    """
    if memory.step == 0:
        memory.begin()
    of_host, of_subnet = memory.of_host, memory.of_subnet
    if memory.finished.verb == "Restore" and memory.finished.host is not None:
        restored = memory.hosts.index(memory.finished.host)
        for name in ("exploits", "odd_processes", "connections"):
            of_host[name][restored] = 0
        of_host["exploited"][restored] = NEVER
        of_host["restored"][restored] = memory.step
    for name in ("odd_processes", "connections"):
        of_host[name] *= HOST_MEMORY
    for counts in of_subnet.values():
        counts *= SUBNET_MEMORY
    processes, connections = set(memory.processes), set(memory.connections)
    for k, host in enumerate(memory.hosts):
        subnet = memory.subnet[k]
        if host in processes and (host in connections or memory.server[k]):
            of_host["exploits"][k] += 1
            of_host["exploits_ever"][k] += 1
            of_host["exploited"][k] = memory.step
            of_subnet["exploits"][subnet] += 1
        elif host in processes:
            of_host["odd_processes"][k] += 1
            of_subnet["odd_processes"][subnet] += 1
        elif host in connections:
            of_host["connections"][k] += 1
            of_subnet["server_connections" if memory.server[k] else "user_connections"][subnet] += 1


def chance_of_root(memory: BeliefMemory) -> np.ndarray:
    """(hosts,) in [0, 1]: how likely red holds them as root."""
    logits = np.zeros(len(memory.hosts))
    for feature in FEATURES:  # one by one, so that hosts with the same history have the same chance to the last bit
        logits += feature.weight * feature.value(memory)
    return 1 / (1 + np.exp(-logits))


def restore_what_pays(memory: BeliefMemory) -> Order:
    """See the module's docstring."""
    prices = np.array([PRICES[subnet][memory.phase] for subnet in memory.zone.subnets])[memory.subnet]
    a_step = prices[:, 0] * WORK_RATE + prices[:, 1] * IMPACT_RATE
    lasts = min(HORIZON, max(0, OFFICIAL_STEPS - 2 - memory.step))
    gain = chance_of_root(memory) * a_step * lasts * CAUTION
    if gain.max() > RESTORE_PRICE:
        return memory.zone.on_host("Restore", memory.hosts[gain.argmax()])
    exploited = np.flatnonzero(memory.of_host["exploits"])
    if len(exploited):
        return memory.zone.on_host("Restore", memory.hosts[exploited[a_step[exploited].argmax()]])
    decoys = {host: memory.decoys.get(host, 0) for host in memory.hosts}
    bare = [host for host in memory.hosts if decoys[host] < DECOYS_PER_HOST]
    # In turn, users' hosts before servers: most alerts of exploits on those are seen anyway.
    return memory.deploy_decoy(min(bare, key=lambda host: decoys[host] + is_server(host) / 2)) if bare else SLEEP
