"""What a blue agent sees of CC4 as alerts, and the risk that they add up to; steps are made by hand."""

from typing import Any

import numpy as np
import pytest
from cage4_stage import (
    ALERT_DECAY,
    BLUE,
    CASE,
    CLOCK,
    ESCALATE,
    FINDING_DECAY,
    HEADQUARTERS,
    HOSTS,
    LEVELS,
    OTHER,
    RESTRICTED,
    SERVER,
    TRACE,
    USER,
    ZONE,
    ZONES,
    Play,
    connection,
    exploit,
)

from cyborg_bridge.soc_alerts import ALERTS, Alert, flat_alerts, own_addresses, raw_alerts
from cyborg_bridge.soc_siem import FEATURES
from cyborg_bridge.soc_verbs import HOST_TOOLS, SIEM_TOOLS, VERBS
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.engine.tables import ORCHESTRATOR, TRIAGE
from soc_env.soc import risk
from soc_env.soc.attack import CHANNELS, technique
from soc_env.soc.tables import TOOL_NAMES


def test_every_feature_and_every_tool_has_its_row() -> None:
    assert FEATURES.keys() == ZONE.keys() | LEVELS.keys() | CASE.keys() | CLOCK.keys()
    assert VERBS.keys() == set(TOOL_NAMES)
    verbs = {order.verb for order in ZONES[RESTRICTED].orders}
    assert {verb for verb, _ in VERBS.values()} <= verbs | {""}
    assert set(TOOL_NAMES) > SIEM_TOOLS | HOST_TOOLS
    assert not SIEM_TOOLS & HOST_TOOLS


def test_rules_have_the_channel_of_the_alert() -> None:
    channels = {name: technique(kind.technique).channel for name, kind in ALERTS.items()}
    assert channels == {
        name: "process" if name in ("exploit", "process", "odd_process") else "network" for name in ALERTS
    }
    assert set(channels.values()) <= set(CHANNELS)
    assert len({kind.technique for kind in ALERTS.values()}) == len(ALERTS)  # each has its own precision


# --- alerts


@pytest.mark.parametrize(
    ("host", "flags", "kind"),
    [
        (SERVER, ("processes",), "exploit"),
        (SERVER, ("connections",), "server_probe"),
        (SERVER, ("processes", "connections"), "exploit"),
        (USER, ("processes",), "odd_process"),
        (USER, ("connections",), "unknown_probe"),
        (USER, ("processes", "connections"), "exploit"),
    ],
)
def test_flags_are_read(host: str, flags: tuple[str, ...], kind: str) -> None:
    zone, vector = ZONES[RESTRICTED], np.zeros(92, np.int64)
    subnet = zone.subnets[0]
    for flag in flags:
        vector[zone.fields[subnet][flag]][zone.hosts[subnet].index(host)] = 1
    assert flat_alerts(zone, [SERVER, USER], vector) == [Alert(kind, host)]
    assert flat_alerts(zone, [OTHER], vector) == []


def test_flags_of_the_third_subnet_are_read() -> None:
    zone, vector = ZONES[HEADQUARTERS], np.zeros(210, np.int64)
    host = zone.hosts[zone.subnets[2]][6]
    vector[119 + 43 + 6] = 1  # BlueFlatWrapper's vector: block of public, connection alerts, first user
    assert flat_alerts(zone, [host], vector) == [Alert("unknown_probe", host)]


@pytest.mark.parametrize(
    ("seen", "alerts"),
    [
        (exploit(USER), [Alert("exploit", USER)]),
        ({USER: {"Processes": [{"PID": 1, "PPID": 1, "service_name": "decoy"}]}}, []),
        ({USER: {"Processes": [{"Connections": [{"local_address": "x", "local_port": 5}]}]}}, [Alert("process", USER)]),
        (connection(USER, SERVER, local_port=22, remote_port=40_000), [Alert("probe", USER, SERVER)]),
        (connection(USER, None, local_port=22, remote_port=40_000), [Alert("probe", USER)]),
        (connection(USER, SERVER, remote_port=22), [Alert("probe", USER, SERVER)]),
        (connection(SERVER, SERVER, remote_port=40_000), [Alert("access", SERVER)]),
        (connection("restricted_zone_a_subnet_router", USER, remote_port=22), [Alert("probe", USER, USER)]),
        (connection("restricted_zone_a_subnet_router", None, remote_port=22), []),
        ({"success": "TRUE", "message": [], "action": "Sleep"}, []),
    ],
)
def test_raw_observations_are_read(seen: dict[str, Any], alerts: list[Alert]) -> None:
    addresses = own_addresses(TRACE["frames"][0]["raw"][RESTRICTED], HOSTS[RESTRICTED])
    assert raw_alerts(seen, addresses) == alerts


def test_a_scan_of_many_ports_is_one_alert() -> None:
    seen = connection(USER, SERVER, local_port=22)
    seen[USER]["Processes"] += connection(USER, SERVER, local_port=80)[USER]["Processes"]
    addresses = own_addresses(TRACE["frames"][0]["raw"][RESTRICTED], HOSTS[RESTRICTED])
    assert raw_alerts(seen, addresses) == [Alert("probe", USER, SERVER)]


def test_addresses_are_those_of_the_hosts_that_exist() -> None:
    addresses = own_addresses(TRACE["frames"][0]["raw"][RESTRICTED], HOSTS[RESTRICTED])
    assert sorted(addresses.values()) == sorted(HOSTS[RESTRICTED])
    assert own_addresses({}, HOSTS[RESTRICTED]) == {}


# --- risk


def test_an_exploit_makes_its_host_nearly_certain_until_it_is_restored() -> None:
    play = Play()
    play.step(exploit(USER))
    kind = ALERTS["exploit"]
    process = ALERT_DECAY * risk.alert_weight(kind.severity, kind.confidence)
    expected = risk.risk_score(risk.evidence(process, 0.0, 0.0, FINDING_DECAY * risk.CONFIRMATION, 0.0))
    assert play.risk(USER) == pytest.approx(expected, rel=1e-12)
    assert expected > 0.85
    assert play.zone("top_risk") == pytest.approx(expected)
    for _ in range(30):
        play.step()
    assert play.risk(USER) > 0.8
    play.ask(ORCHESTRATOR, remediate_0=0.95)
    assert play.step(busy=4) == f"Restore {USER}"
    assert play.zone("offline") > 0
    for left in (3, 2, 1):
        assert play.step(busy=left) == "Sleep"
        assert play.risk(USER) > 0.8
    assert play.step() == "Sleep"
    assert play.risk(USER) == 0.0
    assert play.zone("offline") == 0


def test_a_probe_accuses_its_source_not_its_target() -> None:
    play = Play()
    play.step(connection(SERVER, USER, local_port=22))
    assert play.risk(USER) > 0.85
    assert 0.0 < play.risk(SERVER) < 0.25
    play.step(connection(OTHER, None, local_port=22))  # from out of the zone: nobody to accuse
    assert play.risk(OTHER) < 0.25


@pytest.mark.parametrize(
    "seen", [connection(SERVER, SERVER, remote_port=5), {USER: {"Processes": [{"Connections": [{}]}]}}]
)
def test_false_alerts_of_benign_users_stay_low(seen: dict[str, Any]) -> None:
    play = Play()
    for _ in range(3):
        play.step(seen)
    assert 0.0 < play.zone("top_risk") < 0.5


def test_flat_guesses_the_source_of_a_probe_and_needs_a_verdict() -> None:
    play = Play("flat")
    subnet = ZONES[RESTRICTED].subnets[0]
    flag = ZONES[RESTRICTED].hosts[subnet].index(USER)
    play.team.restored[:] = 5
    play.team.restored[play.team.number[OTHER]] = 3  # longest ago of the users beside the probed one
    play.team.restored[play.team.number[USER]] = play.team.restored[play.team.number[SERVER]] = 1
    play.triage(ESCALATE)
    play.stage.field(RESTRICTED, subnet, "connections")[flag] = 1
    play.step()
    assert 0.6 < play.zone("top_risk") == np.float32(play.risk(OTHER)) < 0.75
    play.stage.field(RESTRICTED, subnet, "connections")[flag] = 0
    play.step()  # the case is escalated
    assert play.zone("incidents") >= 0.2
    assert play.risk(OTHER) > 0.78
    assert play.risk(USER) < 0.7


def test_nothing_leaks_from_one_agent_to_another() -> None:
    play = Play()
    before = play.view.observations()
    play.step()
    idle = play.view.observations()
    other = Play()
    other.step(exploit(USER))
    seen = other.view.observations()
    for agent in BLUE:
        for role in ROLES:
            is_same = np.array_equal(idle[agent][role], seen[agent][role])
            assert is_same == (agent != RESTRICTED)
    assert not np.array_equal(before[RESTRICTED][TRIAGE], idle[RESTRICTED][TRIAGE])  # the clock runs
