"""What reads CC4 (labels, zones, controls), on an episode recorded from the real one; CybORG is not needed here."""

import numpy as np
import pytest
from cage4_stage import Scene
from cage4_trace import RANDOM, STEPS, Replay, load

from cyborg_bridge.controls import BLOCKED_PORT, CONTROLS, ZONE_WINDOW, make_control
from cyborg_bridge.zones import ABSENT, BLOCK_SIZE, SLEEP, LabelError, Order, Zone, parse_label
from soc_env.errors import ConfigError

TRACE = load()
AGENTS = [f"blue_agent_{number}" for number in range(5)]
ZONES = {agent: Zone.of(TRACE["labels"][agent]) for agent in AGENTS}
FRAMES = TRACE["frames"]
DURATION = {"Analyse": 2, "Remove": 3, "Restore": 5, "DeployDecoy": 2}  # [steps], the others 1


def flags(agent: str, frame: dict, field: str, subnet: str) -> np.ndarray:
    return np.array(frame["observations"][agent])[ZONES[agent].fields[subnet][field]]


# --- labels


@pytest.mark.parametrize(
    ("label", "order"),
    [
        ("Sleep", Order("Sleep")),
        ("Monitor", Order("Monitor")),
        ("Restore a_b_subnet_user_host_9", Order("Restore", "a_b_subnet_user_host_9", "a_b_subnet")),
        ("[Invalid] Analyse x_subnet_server_host_0", Order("Analyse", "x_subnet_server_host_0", "x_subnet")),
        ("BlockTrafficZone to (10.0.1.0/24) <- from_a (10.0.2.0/24)", Order("BlockTrafficZone", None, "to", "from_a")),
    ],
)
def test_a_label_is_read(label: str, order: Order) -> None:
    assert parse_label(label) == order


@pytest.mark.parametrize(
    "label", ["", "Restore router", "Restore x_user_host_1 twice", "Block to <- from", "Sleep well"]
)
def test_a_label_that_is_not_one_is_an_error_that_names_it(label: str) -> None:
    with pytest.raises(LabelError, match="cannot be read") as caught:
        parse_label(label)
    assert repr(label) in str(caught.value)


def test_labels_that_do_not_fit_together_are_refused() -> None:
    labels = TRACE["labels"]["blue_agent_0"]
    without_a_host = [label for label in labels if not label.endswith("_user_host_3")]
    without_a_subnet = [label for label in labels if "<- internet" not in label]
    for broken in ([], labels[:49], labels[50:], without_a_host, without_a_subnet):
        with pytest.raises(LabelError, match="host slots in each"):
            Zone.of(broken)


def test_zones_are_those_of_the_challenge() -> None:
    guarded = {agent: zone.subnets for agent, zone in ZONES.items()}
    assert guarded == {
        "blue_agent_0": ("restricted_zone_a_subnet",),
        "blue_agent_1": ("operational_zone_a_subnet",),
        "blue_agent_2": ("restricted_zone_b_subnet",),
        "blue_agent_3": ("operational_zone_b_subnet",),
        "blue_agent_4": ("admin_network_subnet", "office_network_subnet", "public_access_zone_subnet"),
    }
    for zone in ZONES.values():
        assert len(zone.orders) == {1: 82, 3: 242}[len(zone.subnets)]
        assert zone.orders[zone.sleep] == SLEEP
        assert len(zone.index) == len(zone.orders)
        assert all(zone.index[order] == index for index, order in enumerate(zone.orders))
        assert zone.all_subnets == ZONES["blue_agent_0"].all_subnets
        for subnet, slots in zone.hosts.items():
            assert [slot.removeprefix(f"{subnet}_") for slot in slots] == [
                *(f"server_host_{number}" for number in range(6)),
                *(f"user_host_{number}" for number in range(10)),
            ]
            assert {zone.subnet_of[slot] for slot in slots} == {subnet}
            assert zone.on_host("Restore", slots[3]) in zone.index
            traffic = {
                order.source for order in zone.orders if order.verb == "BlockTrafficZone" and order.subnet == subnet
            }
            assert traffic == set(zone.all_subnets) - {subnet}


def test_masks_are_what_the_labels_say() -> None:
    for agent, labels in TRACE["labels"].items():
        assert TRACE["masks"][agent] == [int(not label.startswith(ABSENT)) for label in labels]
        assert 0 in TRACE["masks"][agent]


# --- observations


def test_fields_cover_the_observation() -> None:
    for agent, zone in ZONES.items():
        covered = [0]
        for subnet in zone.subnets:
            for place in zone.fields[subnet].values():
                covered += range(place.start, place.stop)
        covered += range(zone.messages.start, zone.messages.stop)
        assert covered == list(range(len(FRAMES[0]["observations"][agent])))
        assert len(covered) == 33 + BLOCK_SIZE * len(zone.subnets)


def test_fields_mean_what_they_are_called() -> None:
    phases = [frame["observations"]["blue_agent_0"][0] for frame in FRAMES]
    assert phases == sorted(phases)
    assert set(phases) == {0, 1, 2}
    for agent, zone in ZONES.items():
        for frame in FRAMES:
            for subnet in zone.subnets:
                own = flags(agent, frame, "own", subnet)
                assert own.sum() == 1
                assert zone.all_subnets[int(own.argmax())] == subnet
            assert not np.array(frame["observations"][agent])[zone.messages].any()  # all messages are sent empty


def test_blocked_sources_are_those_that_were_blocked() -> None:
    """The random agent's own traffic orders, played through, give the `blocked` flags."""
    zone, subnet = ZONES[RANDOM], ZONES[RANDOM].subnets[0]
    blocked: set[str] = set()
    seen = []
    for before, after in zip(FRAMES, FRAMES[1:], strict=False):
        order = zone.orders[before["actions"][RANDOM]]
        if not before["busy"][RANDOM] and order.verb == "BlockTrafficZone":
            blocked.add(order.source or "")
        if not before["busy"][RANDOM] and order.verb == "AllowTrafficZone":
            blocked.discard(order.source or "")
        shown = flags(RANDOM, after, "blocked", subnet)
        assert {name for name, is_set in zip(zone.all_subnets, shown, strict=True) if is_set} == blocked
        seen.append(len(blocked))
    assert len(set(seen)) > 2


def has_far_end(process: dict) -> bool:
    return any("remote_address" in connection for connection in process.get("Connections", []))


@pytest.mark.parametrize("field", ["processes", "connections"])
def test_alert_flags_are_those_of_the_raw_observation(field: str) -> None:
    """What Monitor saw in the step is in both: as a flag, and as a process of that host, one with a far end or not."""
    alerts = 0
    for frame in FRAMES[1:]:
        for agent, zone in ZONES.items():
            shown = {
                host
                for subnet, slots in zone.hosts.items()
                for host, is_set in zip(slots, flags(agent, frame, field, subnet), strict=True)
                if is_set
            }
            raw = {
                host
                for host, entry in frame["raw"][agent].items()
                if isinstance(entry, dict) and "router" not in host
                for process in entry.get("Processes", [])
                if "service_name" not in process and has_far_end(process) == (field == "connections")
            }
            assert raw == shown
            assert all(TRACE["masks"][agent][zone.index[zone.on_host("Restore", host)]] for host in shown)
            alerts += len(shown)
    assert alerts > 5


# --- time and score


def test_busy_counts_down_from_the_duration() -> None:
    begun = 0
    for before, after in zip(FRAMES, FRAMES[1:], strict=False):
        for agent, zone in ZONES.items():
            order = zone.orders[before["actions"][agent]]
            if before["busy"][agent]:
                assert after["busy"][agent] == before["busy"][agent] - 1
            else:
                assert after["busy"][agent] == DURATION.get(order.verb, 1) - 1, order
                begun += order.verb in DURATION
    assert begun > 50


def test_score_is_the_reward_but_for_the_last_step() -> None:
    assert len(FRAMES) == STEPS
    assert FRAMES[0]["score"] == 0
    assert all(frame["score"] == frame["reward"] for frame in FRAMES[1:-1])
    assert FRAMES[-1]["score"] == 0
    assert sum(frame["score"] for frame in FRAMES) < 0


# --- controls


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_play_valid_actions_and_sleep_while_busy(name: str) -> None:
    env, policy = Replay(TRACE), make_control(name, seed=0)
    chosen = []
    for _ in range(2):
        policy.reset()
        observations, infos = env.reset()
        while env.agents:
            actions = policy.act(observations, infos, env)
            assert list(actions) == AGENTS
            for agent, action in actions.items():
                assert infos[agent]["action_mask"][action] == 1
                if infos[agent]["busy"]:
                    assert action == ZONES[agent].sleep
            chosen.append(tuple(actions.values()))
            observations, _, _, _, infos = env.step(actions)
    if not name.startswith("random"):
        assert chosen[: STEPS - 1] == chosen[STEPS - 1 :]  # nothing is left of the first episode
    else:
        assert chosen[: STEPS - 1] != chosen[STEPS - 1 :]
    verbs = {ZONES[agent].orders[action].verb for row in chosen for agent, action in zip(AGENTS, row, strict=True)}
    assert bool(verbs & {"Restore", "Remove"}) == (name != "sleep")


def test_random_draws_follow_the_seed() -> None:
    def first(seed: int) -> dict[str, int]:
        env, policy = Replay(TRACE), make_control("random-valid", seed)
        return policy.act(*env.reset(), env)

    assert first(1) == first(1)
    assert first(1) != first(2)


def test_the_raw_rule_does_what_it_did_when_it_was_recorded() -> None:
    env, policy = Replay(TRACE), make_control("raw-rule")
    observations, infos = env.reset()
    for frame in FRAMES[:-1]:
        actions = policy.act(observations, infos, env)
        for agent in set(AGENTS) - {RANDOM}:
            assert actions[agent] == frame["actions"][agent]
        observations, _, _, _, infos = env.step(actions)


def test_unknown_control_is_an_error_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="control 'flat-rul' does not exist; did you mean 'flat-rule'"):
        make_control("flat-rul")


def test_flat_rule_restores_on_a_process_or_on_two_connections_in_a_window() -> None:
    scene = Scene("flat-rule")
    first, second, third = scene.hosts[:3]
    assert scene.act() == SLEEP
    assert scene.act(connections=(first,)) == SLEEP
    for _ in range(25):
        assert scene.act() == SLEEP
    assert scene.act(connections=(first,)) == SLEEP  # the other one was too long ago
    assert scene.act(connections=(first,), processes=(second,)) == scene.zone.on_host("Restore", second)
    assert scene.act(processes=(third,)) == scene.zone.on_host("Restore", third)
    assert scene.act() == scene.zone.on_host("Restore", first)
    assert scene.act(connections=(first,)) == SLEEP  # what came before the Restore is forgotten
    assert scene.act(connections=(first,)) == scene.zone.on_host("Restore", first)


def test_round_robin_restores_only_subnets_with_alerts_each_host_once() -> None:
    scene = Scene("round-robin")
    alerted = scene.hosts[0]
    own = [host for host in scene.hosts if scene.zone.subnet_of[host] == scene.zone.subnet_of[alerted]]
    assert len(own) < ZONE_WINDOW
    assert scene.act() == SLEEP
    restored = [scene.act(connections=(alerted,)).host for _ in own]
    assert sorted(restored, key=str) == own
    assert scene.act(connections=(alerted,)) == SLEEP  # all are fresh
    for _ in range(ZONE_WINDOW):
        scene.act()
    assert scene.act() == SLEEP  # no longer fresh, but the last alert is old
    assert scene.act(connections=(alerted,)).host in own


def test_raw_rule_restores_sources_before_pids_and_ignores_benign_alerts() -> None:
    scene = Scene("raw-rule")
    target, source, owned, clean = scene.hosts[:4]

    def connection(port: int, **ends: str) -> dict:
        return {"Processes": [{"Connections": [{"remote_port": port, **ends}]}]}

    here, there = scene.inventory[target], scene.inventory[source]
    alerts = {target: connection(22, local_address=here, remote_address=there), owned: {"Processes": [{"PID": 7}]}}
    assert scene.act(raw=alerts).verb == "DeployDecoy"
    benign = {
        target: connection(BLOCKED_PORT, local_address=here, remote_address=there),
        clean: connection(22, local_address=here, remote_address=there),  # seen by a router: not its own end
        owned: {"Processes": [{"PID": 8, "service_name": "apache2"}]},  # the decoy that was just deployed
    }
    assert scene.act(raw=benign) == scene.zone.on_host("Restore", source)
    assert scene.act() == scene.zone.on_host("Restore", owned)
    assert scene.act(raw={clean: {"Files": [{"File Name": "cmd.sh"}]}}).verb == "DeployDecoy"
    assert scene.act() == scene.zone.on_host("Restore", clean)
    while (order := scene.act()).verb == "DeployDecoy":
        assert order.host not in (target, source)
    looked = [order.host] + [scene.act().host for _ in scene.hosts[1:]]
    assert order.verb == "Analyse"
    assert sorted(looked, key=str) == sorted(scene.hosts)
