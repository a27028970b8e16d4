"""The rules of `frugal-rule` and `belief-rule`, one at a time, by hand; CybORG is not needed here."""

import math
from typing import Any

import numpy as np
import pytest
from cage4_stage import HEADQUARTERS, OPERATIONAL, Scene

from cyborg_bridge.belief import FEATURES, HORIZON, BeliefMemory, believe, chance_of_root
from cyborg_bridge.cage4 import OFFICIAL_STEPS
from cyborg_bridge.frugal import SOURCE_AGE
from cyborg_bridge.memory import BLOCKED_PORT
from cyborg_bridge.soc_alerts import is_server
from cyborg_bridge.zones import SLEEP, Order

PID = {"Processes": [{"PID": 4711}]}
ROOT, USER = ({"Files": [{"File Name": name}]} for name in ("escalate.sh", "cmd.sh"))


# --- frugal-rule


class Frugal(Scene):
    """`frugal-rule` after its inventory."""

    def __init__(self, agent: str = HEADQUARTERS) -> None:
        super().__init__("frugal-rule", agent)
        assert self.act().verb == "DeployDecoy"

    def answer(self, raw: dict[str, Any] | None = None, phase: int = 0) -> tuple[str, str | None]:
        """What is begun after a step that shows `raw`."""
        self.raw = raw or {}
        order = self.act(phase=phase)
        return order.verb, order.host

    def came_from(self, source: str, target: str, port: int = 22) -> dict[str, Any]:
        ends = {"local_address": self.inventory[target], "remote_address": self.inventory[source]}
        return {target: {"Processes": [{"Connections": [{"remote_port": port, **ends}]}]}}


def test_root_is_restored_and_then_forgotten() -> None:
    scene = Frugal()
    first, second, third = scene.hosts[:3]
    assert scene.answer({first: USER})[0] == "DeployDecoy"  # a session of a user is worth no point
    assert scene.answer({second: ROOT, third: PID}) == ("Restore", second)  # root before an exploit
    assert scene.answer() == ("Remove", third)
    assert scene.answer({third: ROOT}) == ("Restore", third)  # it became root before Remove worked
    assert scene.answer()[0] == "DeployDecoy"  # nothing of it is left


def test_an_exploit_is_removed_and_then_looked_at() -> None:
    scene = Frugal()
    first, second = scene.hosts[:2]
    assert scene.answer({second: PID}) == ("Remove", second)
    assert scene.answer({first: PID}) == ("Remove", first)  # Removes come first
    assert scene.answer() == ("Analyse", second)  # the one that was removed first
    assert scene.answer() == ("Analyse", first)
    decoy = {first: {"Processes": [{"PID": 8, "service_name": "apache2"}]}}
    assert scene.answer(decoy)[0] == "DeployDecoy"


def test_the_older_of_two_exploits_is_removed_first() -> None:
    scene = Frugal()
    first, second, root = scene.hosts[:3]
    assert scene.answer({second: PID, root: ROOT}) == ("Restore", root)
    assert scene.answer({first: PID}) == ("Remove", second)
    assert scene.answer() == ("Remove", first)


def test_a_source_is_looked_at_once_in_a_while() -> None:
    scene = Frugal()
    source, target = scene.hosts[:2]
    assert scene.answer(scene.came_from(source, target, BLOCKED_PORT))[0] == "DeployDecoy"
    assert scene.answer(scene.came_from(source, target)) == ("Analyse", source)
    for _ in range(10):
        assert scene.answer(scene.came_from(source, target))[0] == "DeployDecoy"
    for _ in range(SOURCE_AGE + 1 - 10):  # a look at a suspect is overdue before that, see below
        scene.answer()
    assert scene.answer({target: PID}) == ("Remove", target)
    assert scene.answer() == ("Analyse", target)


@pytest.mark.parametrize(("phase", "verbs"), [(0, ("Remove", "Analyse")), (1, ("Restore",) * 2), (2, ("Remove",) * 2)])
def test_in_the_stressed_zone_every_suspect_is_restored(phase: int, verbs: tuple[str, str]) -> None:
    exploited, source, target = Frugal(OPERATIONAL).hosts[:3]
    scene = Frugal(OPERATIONAL)
    assert scene.answer({exploited: PID}, phase) == (verbs[0], exploited)
    scene = Frugal(OPERATIONAL)
    expected = "Restore" if phase == 1 else "Analyse"
    assert scene.answer(scene.came_from(source, target), phase) == (expected, source)
    scene = Frugal(HEADQUARTERS)  # which no phase stresses
    assert scene.answer({scene.hosts[0]: PID}, phase) == ("Remove", scene.hosts[0])


def test_what_was_removed_is_a_suspect_when_its_zone_becomes_stressed() -> None:
    scene = Frugal(OPERATIONAL)
    host = scene.hosts[0]
    assert scene.answer({host: PID}) == ("Remove", host)
    assert scene.answer() == ("Analyse", host)
    assert scene.answer(phase=1) == ("Restore", host)
    assert scene.answer(phase=1)[0] == "DeployDecoy"


def test_a_busy_agent_sleeps_and_goes_on_reading() -> None:
    scene = Frugal()
    scene.busy = 1
    assert scene.answer({scene.hosts[0]: ROOT}) == ("Sleep", None)
    assert scene.answer() == ("Sleep", None)
    scene.busy = 0
    assert scene.answer() == ("Restore", scene.hosts[0])


def test_an_overdue_look_at_a_suspect_comes_before_decoys() -> None:
    scene = Frugal()
    host = scene.hosts[0]
    assert scene.answer({host: PID}) == ("Remove", host)
    assert scene.answer() == ("Analyse", host)
    begun = [scene.answer() for _ in range(12)]
    # Finished a step later; 6 x sqrt(5 / 3) x age is above 80 from age 11 on.
    assert [verb for verb, _ in begun] == ["DeployDecoy"] * 11 + ["Analyse"]
    assert begun[-1][1] == host


def test_two_decoys_for_every_host_then_looks_at_all() -> None:
    scene = Frugal(OPERATIONAL)
    begun = [scene.answer() for _ in range(2 * len(scene.hosts) - 1 + len(scene.hosts))]
    decoys = [host for verb, host in begun if verb == "DeployDecoy"]
    assert {host: decoys.count(host) for host in scene.hosts} == {**dict.fromkeys(scene.hosts, 2), scene.hosts[0]: 1}
    assert sorted(host or "" for verb, host in begun if verb == "Analyse") == sorted(scene.hosts)


# --- belief-rule


class Belief:
    """The memory of `belief-rule`, step by step."""

    def __init__(self, agent: str = OPERATIONAL) -> None:
        scene = Scene("belief-rule", agent)
        self.scene, self.memory = scene, BeliefMemory(scene.zone, np.random.default_rng(0))

    def see(self, processes: tuple[str, ...] = (), connections: tuple[str, ...] = (), phase: int = 0) -> None:
        row = np.zeros_like(self.scene.observations[self.scene.agent])
        row[0] = phase
        for field, hosts in (("processes", processes), ("connections", connections)):
            for host in hosts:
                subnet = self.scene.zone.subnet_of[host]
                row[self.scene.zone.fields[subnet][field].start + self.scene.zone.hosts[subnet].index(host)] = 1
        self.memory.note(row, self.scene.infos[self.scene.agent], {})
        believe(self.memory)

    def chance(self, host: str) -> float:
        return float(chance_of_root(self.memory)[self.memory.hosts.index(host)])


def users_and_servers(scene: Scene) -> tuple[list[str], list[str]]:
    return [h for h in scene.hosts if not is_server(h)], [h for h in scene.hosts if is_server(h)]


def test_the_chance_is_that_of_the_table() -> None:
    belief = Belief()
    belief.see()
    (user, *_), (server, *_) = users_and_servers(belief.scene)
    weights = {feature.name: feature.weight for feature in FEATURES}
    logit = weights["bias"] + weights["subnet_size"] * len(belief.scene.hosts) / 10
    assert belief.chance(user) == pytest.approx(1 / (1 + math.exp(-logit)))
    assert belief.chance(server) == pytest.approx(1 / (1 + math.exp(-logit - weights["server"])))


def test_the_belief_rises_with_the_flags_that_say_so() -> None:
    belief, quiet = Belief(), Belief()
    (clean, odd, probed, exploited, *_), (server, *_) = users_and_servers(belief.scene)
    belief.see((odd, exploited), (probed, exploited))
    quiet.see()
    assert belief.chance(clean) > quiet.chance(clean)  # what happens around it counts
    assert belief.chance(clean) < min(belief.chance(odd), belief.chance(probed))
    for _ in range(5):
        belief.see()
    chances = {host: belief.chance(host) for host in (clean, odd, probed, exploited)}
    assert max(chances, key=lambda host: chances[host]) == exploited
    before = belief.chance(exploited)
    belief.memory.running = belief.scene.zone.on_host("Restore", exploited)
    belief.see()
    assert belief.chance(exploited) < belief.chance(clean) < before
    assert belief.chance(server) < belief.chance(clean)


def test_the_belief_rises_with_the_time_since_a_restore() -> None:
    belief = Belief()
    clean, other = users_and_servers(belief.scene)[0][:2]
    for _ in range(120):
        belief.see()
    before = belief.chance(clean)
    belief.memory.running = belief.scene.zone.on_host("Restore", other)
    for _ in range(50):
        belief.see()
    assert belief.chance(clean) > before > belief.chance(other)


def test_every_feature_is_at_work() -> None:
    """Under random alerts in all phases, no column is always the same."""
    belief, generator = Belief(HEADQUARTERS), np.random.default_rng(0)
    hosts = belief.scene.hosts
    columns: dict[str, set[float]] = {feature.name: set() for feature in FEATURES}
    for step in range(60):
        processes, connections = (
            tuple(host for host in hosts if generator.random() < 0.05) for _ in ("processes", "connections")
        )
        belief.see(processes, connections, phase=step // 20)
        for feature in FEATURES:
            columns[feature.name].update(np.ravel(feature.value(belief.memory)).tolist())
    assert [name for name, seen in columns.items() if len(seen) == 1] == ["bias"]


def test_an_exploit_is_restored_at_once_and_a_lone_process_alert_is_not() -> None:
    (user, other, *_), (server, *_) = users_and_servers(Scene("belief-rule", OPERATIONAL))
    for processes, connections, phase, restored in (
        ((user,), (), 0, None),
        ((), (server,), 0, None),
        ((), (other,), 0, None),
        ((), (other,), 1, other),  # not an exploit, but a chance that is worth a point where all is dear
        ((server,), (), 0, server),
        ((other,), (other,), 0, other),
    ):
        scene = Scene("belief-rule", OPERATIONAL)
        order = scene.act(processes, connections, phase=phase)
        assert order == scene.zone.on_host("Restore", restored) if restored else order.verb == "DeployDecoy"


def test_what_is_dear_is_restored_sooner() -> None:
    """Without an alert; phases 0 and 2 are as cheap there, and the belief is lower in the later one."""
    begun = {}
    for phase in range(3):
        scene = Scene("belief-rule", OPERATIONAL)
        verbs = [scene.act(phase=phase).verb for _ in range(OFFICIAL_STEPS - 1)]
        begun[phase] = verbs.index("Restore") if "Restore" in verbs else OFFICIAL_STEPS
    assert begun[1] < begun[0] < begun[2]


def test_near_the_end_a_chance_is_not_worth_a_point() -> None:
    scene = Scene("belief-rule", OPERATIONAL)
    (user, other, *_), _ = users_and_servers(scene)
    orders: list[Order] = [scene.act(connections=(user,), phase=1) for _ in range(OFFICIAL_STEPS - 1)]
    restores = [step for step, order in enumerate(orders) if order.verb == "Restore"]
    assert restores
    assert OFFICIAL_STEPS - HORIZON < max(restores) < OFFICIAL_STEPS - 3
    assert scene.act(processes=(other,), connections=(other,), phase=1) == scene.zone.on_host("Restore", other)


def test_two_decoys_for_every_host_users_first_then_sleep() -> None:
    scene = Scene("belief-rule", OPERATIONAL)
    users, servers = users_and_servers(scene)
    begun = [scene.act() for _ in range(2 * len(scene.hosts) + 1)]
    assert [order.host for order in begun[:-1]] == [*users, *servers] * 2
    assert {order.verb for order in begun[:-1]} == {"DeployDecoy"}
    assert begun[-1] == SLEEP


def test_a_busy_agent_of_the_belief_rule_sleeps_and_goes_on_counting() -> None:
    scene = Scene("belief-rule", OPERATIONAL)
    scene.act()
    scene.busy = 1
    (user, *_), _ = users_and_servers(scene)
    assert scene.act(processes=(user,), connections=(user,)) == SLEEP
    scene.busy = 0
    assert scene.act() == scene.zone.on_host("Restore", user)
