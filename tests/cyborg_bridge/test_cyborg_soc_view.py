"""The SOC view of CC4: on hand-made steps, on a recorded episode, and on the real CybORG where `CYBORG_HOME` is set."""

import os
from typing import Any

import numpy as np
import pytest
from cage4_trace import Replay, load
from pettingzoo.test import parallel_api_test

from cyborg_bridge import cage4_parallel_env
from cyborg_bridge.soc_alerts import ALERTS, Alert, flat_alerts, own_addresses, raw_alerts
from cyborg_bridge.soc_parallel import SOCTeamsEnv, soc_parallel_env
from cyborg_bridge.soc_siem import FEATURES, READING_BENIGN, READING_SPAN, SCENARIO
from cyborg_bridge.soc_view import HOST_TOOLS, SIEM_TOOLS, VERBS, SOCPolicy, SOCView
from cyborg_bridge.zones import Zone
from policies.scripted import SCRIPTED
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ActionError, ConfigError
from soc_env.parallel import ResetNeeded
from soc_env.soc import risk
from soc_env.soc.attack import CHANNELS, technique
from soc_env.soc.tables import CASE_FEATURES, CLOCK_FEATURES, TOOL_NAMES, ZONE_FEATURES, layout

needs_cyborg = pytest.mark.skipif(
    not os.environ.get("CYBORG_HOME"), reason="CYBORG_HOME names no CybORG checkout: NOT tested against the real one"
)
TRACE = load()
BLUE = [f"blue_agent_{k}" for k in range(5)]
ZONES = {agent: Zone.of(TRACE["labels"][agent]) for agent in BLUE}
HOSTS = {
    agent: [
        o.host for o, m in zip(ZONES[agent].orders, TRACE["masks"][agent], strict=True) if m and o.verb == "Restore"
    ]
    for agent in BLUE
}
RESTRICTED, OPERATIONAL, HEADQUARTERS = BLUE[0], BLUE[1], BLUE[4]
SERVER, USER, OTHER = (
    "restricted_zone_a_subnet_server_host_0",
    "restricted_zone_a_subnet_user_host_0",
    "restricted_zone_a_subnet_user_host_1",
)
ZONE, CASE, CLOCK = (
    {feature.name: k for k, feature in enumerate(rows)} for rows in (ZONE_FEATURES, CASE_FEATURES, CLOCK_FEATURES)
)
ESCALATE, SUPPRESS, CORRELATE, ENRICH = range(4)
ALERT_DECAY, FINDING_DECAY = (risk.decay(t) for t in (SCENARIO.risk_half_life, SCENARIO.finding_half_life))


class Stage:
    """A native environment whose steps are written by hand: set `vectors`, `raw` and `busy`."""

    def __init__(self, observation: str = "raw", steps: int = 500):
        self.observation, self.steps = observation, steps
        self.possible_agents = BLUE
        self.orders: list[dict[str, Any]] = []

    def reset(self, seed: int | None = None) -> Any:
        self.agents = list(BLUE)
        self.vectors = {a: np.array(v) for a, v in TRACE["frames"][0]["observations"].items()}
        for agent, vector in self.vectors.items():
            vector[0] = 0
            for subnet in ZONES[agent].subnets:
                for name in ("blocked", "policy", "processes", "connections"):
                    self.field(agent, subnet, name)[:] = 0
        self.raw: dict[str, dict[str, Any]] = {a: TRACE["frames"][0]["raw"][a] for a in BLUE}
        self.busy = dict.fromkeys(BLUE, 0)
        return self.vectors, self.infos()

    def infos(self) -> dict[str, dict[str, Any]]:
        return {a: {"action_mask": np.array(TRACE["masks"][a]), "busy": self.busy[a], "score": 0.0} for a in BLUE}

    def zone(self, agent: str) -> Zone:
        return ZONES[agent]

    def raw_observation(self, agent: str) -> dict[str, Any]:
        return self.raw[agent]

    def field(self, agent: str, subnet: str, name: str) -> np.ndarray:
        return self.vectors[agent][ZONES[agent].fields[subnet][name]]

    def step(self, actions: dict[str, int]) -> Any:
        self.orders.append({agent: ZONES[agent].orders[index] for agent, index in actions.items()})
        none = dict.fromkeys(BLUE, False)
        return self.vectors, dict.fromkeys(BLUE, 0.0), none, none, self.infos()


class Play:
    """A view on a `Stage`, driven by levels of the roles' actions."""

    def __init__(self, level: str = "raw", agent: str = RESTRICTED):
        self.stage = Stage()
        self.view = SOCView(self.stage, level)  # type: ignore[arg-type]
        self.view.reset()
        self.stage.raw = {a: {} for a in BLUE}
        self.agent, self.team = agent, self.view.teams[agent]

    def ask(self, role: str, **levels: float) -> None:
        """Levels in [0, 1] of entries of the role's action; the rest stays."""
        siem, row = self.team.siem, self.team.row
        names = [action.name for action in siem.action_tables[role]]
        for name, value in levels.items():
            siem.actions[role][row, names.index(name)] = 2.0 * value - 1.0

    def triage(self, choice: int) -> None:
        self.team.siem.actions[TRIAGE][self.team.row] = choice

    def step(self, raw: dict[str, Any] | None = None, busy: int = 0) -> str:
        """A step after which the agent sees `raw`; returns what it did, as "Verb host" or "Verb source"."""
        self.stage.raw[self.agent] = raw or {}
        self.stage.busy[self.agent] = busy
        self.view.step()
        order = self.stage.orders[-1][self.agent]
        return " ".join(part for part in (order.verb, order.host or order.source) if part)

    def risk(self, host: str) -> float:
        return float(self.team.siem.risks(self.team.row)[self.team.number[host]])

    def zone(self, name: str, z: int = 0) -> float:
        return self.view.observations()[self.agent][TRIAGE][len(ZONE) * z + ZONE[name]]

    def case(self, name: str) -> float:
        shape = layout(TRIAGE, len(self.team.names))
        return self.view.observations()[self.agent][TRIAGE][shape.case_start + CASE[name]]

    def clock(self, name: str) -> float:
        shape = layout(TRIAGE, len(self.team.names))
        return self.view.observations()[self.agent][TRIAGE][shape.clock_start + CLOCK[name]]


def address(agent: str, host: str) -> str:
    return TRACE["frames"][0]["raw"][agent][host]["Interface"][0]["ip_address"]


def connection(host: str, source: str | None, **fields: Any) -> dict[str, Any]:
    """A host's raw entry: a connection from a host of blue_agent_0's, or from an address of nobody's."""
    remote = "10.9.9.9" if source is None else address(RESTRICTED, source)
    return {host: {"Processes": [{"Connections": [{"local_address": "x", "remote_address": remote, **fields}]}]}}


def exploit(host: str) -> dict[str, Any]:
    return {host: {"Processes": [{"PID": 4711}]}}


# --- the tables


def test_every_feature_and_every_tool_has_its_row() -> None:
    assert FEATURES.keys() == ZONE.keys() | CASE.keys() | CLOCK.keys()
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
    vector[119 + 43 + 6] = 1  # CAGE4_NOTES.md: block of public, connection alerts, first user
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


# --- actions


def test_kill_is_remove_of_the_riskiest_host() -> None:
    play = Play()
    play.step(exploit(OTHER))
    play.ask(ORCHESTRATOR, remediate_0=0.65)
    assert play.step(busy=2) == f"Remove {OTHER}"


def test_nobody_is_restored_without_a_suspect() -> None:
    play = Play()
    play.ask(ORCHESTRATOR, remediate_0=0.95)
    assert play.step() == "Sleep"


def test_isolation_marks_the_host_and_sets_what_policy_lists() -> None:
    play = Play()
    subnet, names = ZONES[RESTRICTED].subnets[0], ZONES[RESTRICTED].all_subnets
    listed, own = names.index("contractor_network_subnet"), names.index(subnet)
    play.stage.field(RESTRICTED, subnet, "policy")[[listed, own]] = 1
    play.step(exploit(USER))
    assert play.zone("isolated_least") == 1.0
    play.ask(ORCHESTRATOR, contain_0=0.85)
    assert play.step() == "BlockTrafficZone contractor_network_subnet"
    assert play.zone("top_risk") == 0.0
    assert play.zone("isolated_risk") > 0.8
    play.stage.field(RESTRICTED, subnet, "blocked")[listed] = 1
    play.step()
    play.ask(ORCHESTRATOR, contain_0=0.1)
    assert play.step() == "Sleep"  # released; that it is, the firewall learns in the next step
    play.ask(ORCHESTRATOR, contain_0=0.5)
    assert play.step() == "AllowTrafficZone contractor_network_subnet"
    assert play.zone("top_risk") > 0.8


def test_an_isolated_host_is_restored() -> None:
    play = Play()
    play.step(exploit(USER))
    play.ask(ORCHESTRATOR, contain_0=0.85, remediate_0=0.95)
    assert play.step() == "Sleep"  # policy lists nothing
    assert play.step(busy=4) == f"Restore {USER}"


def test_a_block_against_policy_is_taken_back_before_anything_else() -> None:
    play = Play()
    subnet, names = ZONES[RESTRICTED].subnets[0], ZONES[RESTRICTED].all_subnets
    play.stage.field(RESTRICTED, subnet, "blocked")[names.index("internet_subnet")] = 1
    play.step(exploit(USER))
    play.ask(ORCHESTRATOR, remediate_0=0.95)
    assert play.step() == "AllowTrafficZone internet_subnet"


def test_the_perimeter_is_what_policy_lists_in_all_zones() -> None:
    play = Play(agent=HEADQUARTERS)
    for subnet in ZONES[HEADQUARTERS].subnets[1:]:
        play.stage.field(HEADQUARTERS, subnet, "policy")[1] = 1
    play.step()
    play.ask(ORCHESTRATOR, block_perimeter=1.0)
    play.step()
    assert play.clock("perimeter") == 0.5
    assert play.step() == "BlockTrafficZone contractor_network_subnet"
    assert play.clock("perimeter") == 1.0
    order = play.stage.orders[-1][HEADQUARTERS]
    assert order.subnet == ZONES[HEADQUARTERS].subnets[1]


def first_hosts(agent: str) -> list[str]:
    """The first host of each of the agent's zones."""
    return [next(host for host in HOSTS[agent] if host.startswith(subnet)) for subnet in ZONES[agent].subnets]


def test_of_several_zones_the_one_with_most_value_at_risk_is_first() -> None:
    play = Play(agent=HEADQUARTERS)
    _, office, public = first_hosts(HEADQUARTERS)
    play.step(exploit(office) | exploit(public))
    play.ask(ORCHESTRATOR, remediate_1=0.95, remediate_2=0.95)
    assert play.step(busy=4) == f"Restore {public}"  # of value 0.4, the office is 0.3
    assert [play.zone("executor", z) for z in range(3)] == pytest.approx([4 / 15] * 3)
    assert [play.zone("offline", z) > 0 for z in range(3)] == [False, False, True]


def test_a_release_waits_for_the_response_in_other_zones() -> None:
    play = Play(agent=HEADQUARTERS)
    admin, office, _ = first_hosts(HEADQUARTERS)
    play.step(exploit(admin) | exploit(office))
    play.ask(ORCHESTRATOR, contain_0=0.85)
    play.step()
    play.ask(ORCHESTRATOR, contain_0=0.1, remediate_1=0.95)
    assert play.step(busy=4) == f"Restore {office}"
    assert play.zone("isolated_risk") > 0.8


def test_what_cc4_does_not_fail_at_does_not_fail_here() -> None:
    play = Play()
    number = play.team.number[USER]
    play.ask(ORCHESTRATOR, remediate_0=0.65)
    for _ in range(10):
        play.step(exploit(USER), busy=2)
        play.step()
        before = play.team.siem.hosts(play.team.row)["process"][number]
        for busy in (2, 1, 0):
            play.step(busy=busy)
        after = play.team.siem.hosts(play.team.row)["process"][number]
        assert after == pytest.approx(0.5 * before * ALERT_DECAY**3)


def test_decoys_go_to_users_first_and_stop_at_two_a_host() -> None:
    play = Play()
    play.ask(HUNTER, decoy_0=1.0)
    done = []
    for _ in range(3 * len(HOSTS[RESTRICTED])):
        done.append(play.step(busy=1))
        play.step()
    users = [host for host in HOSTS[RESTRICTED] if "_user_" in host]
    assert done[: len(users)] == [f"DeployDecoy {host}" for host in users]
    assert [order for order in done if order != "Sleep"] == done[: 2 * len(HOSTS[RESTRICTED])]
    assert play.zone("decoys") == 1.0


def test_restoring_a_host_takes_its_decoys() -> None:
    play = Play()
    play.team.decoys[:] = 2
    play.step(exploit(USER))
    assert play.zone("decoys") == 1.0
    play.ask(ORCHESTRATOR, remediate_0=0.95)
    play.step(busy=4)
    play.step()
    assert play.zone("decoys") == 0.0
    assert play.team.decoys[play.team.number[USER]] == 0


@pytest.mark.parametrize(("level", "verb"), [("raw", "Analyse"), ("flat", "Sleep")])
def test_hunting_is_analyse_where_its_result_is_seen(level: str, verb: str) -> None:
    play = Play(level)
    play.ask(HUNTER, hunt_0=0.5)
    assert play.step(busy=1).split()[0] == verb


def test_a_hunt_takes_the_riskiest_host_and_its_files_are_a_finding() -> None:
    play = Play()
    play.triage(CORRELATE)  # which asks for no Analyse
    play.step({OTHER: {"Processes": [{"Connections": [{}]}]}})
    play.ask(HUNTER, hunt_0=0.5)
    assert play.step(busy=1) == f"Analyse {OTHER}"
    assert play.zone("last_hunt") == pytest.approx(0.0)
    play.step({OTHER: {"Files": [{"File Name": "x"}]}})
    assert play.zone("findings") == pytest.approx(0.2)
    assert play.risk(OTHER) > 0.85
    looked = {play.step().split()[1] for _ in range(60)}  # each lasts one step here
    assert looked == set(HOSTS[RESTRICTED])


@pytest.mark.parametrize(("files", "probability"), [([], ALERTS["probe"].precision), ([{}], 1.0)])
def test_enrichment_is_analyse_of_the_source(files: list[Any], probability: float) -> None:
    play = Play()
    play.step(connection(SERVER, USER, local_port=22))
    assert play.case("precision") == pytest.approx(ALERTS["probe"].precision)
    assert play.case("is_network") == 1.0
    play.triage(ENRICH)
    assert play.step(busy=1) == f"Analyse {USER}"
    assert play.case("enriched") == 0.0
    play.step({USER: {"Files": files}})
    assert play.case("enriched") == 0.5
    assert play.case("reading") == pytest.approx(READING_BENIGN + READING_SPAN * probability)
    assert play.step() == "Sleep"  # a query asks nobody
    assert play.case("enriched") == 1.0
    assert play.case("second_reading") == play.case("reading")


def test_flat_enrichment_says_at_once_what_is_known_of_the_rule() -> None:
    play = Play("flat")
    subnet = ZONES[RESTRICTED].subnets[0]
    play.stage.field(RESTRICTED, subnet, "processes")[ZONES[RESTRICTED].hosts[subnet].index(USER)] = 1
    play.step()
    play.triage(ENRICH)
    assert play.step() == "Sleep"
    assert play.case("enriched") == 0.5
    assert play.case("reading") == pytest.approx(READING_BENIGN + READING_SPAN * ALERTS["odd_process"].precision)
    income = 2.0  # analyst minutes a minute at a neutral posture, of which enrichment takes 2
    assert play.clock("analyst_time") == pytest.approx((2 * income - 2.0) / 8.0)


def test_verdicts_are_the_desks_own() -> None:
    play = Play()
    play.step(connection(SERVER, None, local_port=22))
    before = play.risk(SERVER)
    play.triage(ESCALATE)
    assert play.step() == "Sleep"
    assert play.risk(SERVER) > before + 0.4
    assert play.case("present") == 0.0
    play = Play()
    play.step(connection(SERVER, None, local_port=22))
    play.triage(SUPPRESS)
    assert play.step() == "Sleep"
    assert play.risk(SERVER) < 0.4 * before


def test_response_comes_before_looking_and_looking_before_nothing() -> None:
    play = Play()
    play.step(exploit(USER))
    play.ask(HUNTER, hunt_0=1.0, decoy_0=1.0)
    play.ask(ORCHESTRATOR, remediate_0=0.95)
    play.triage(ENRICH)
    assert play.step(busy=4) == f"Restore {USER}"
    play.ask(ORCHESTRATOR, remediate_0=0.0)
    play.step()
    assert play.step(busy=1) == f"Analyse {USER}"  # enrichment
    play.triage(SUPPRESS)
    play.step()
    assert play.step(busy=1).split()[0] == "DeployDecoy"


def test_credentials_are_nobodys_and_nothing_is_asked_for_in_the_beginning() -> None:
    play = Play()
    play.ask(ORCHESTRATOR, reset_credentials=1.0)
    for _ in range(20):
        assert play.step() == "Sleep"
        assert play.zone("events") == 0.0
    assert play.clock("reset") == play.clock("reset_wait") == 0.0


def test_value_and_phase_follow_the_mission() -> None:
    play = Play(agent=OPERATIONAL)
    assert play.zone("value") == pytest.approx(0.1)
    for phase, value in ((0, 0.1), (1, 1.0), (2, 0.1)):
        for agent in BLUE:
            play.stage.vectors[agent][0] = phase
        play.step()
        assert play.zone("value") == pytest.approx(value)
        assert [play.clock(f"phase_{k}") for k in range(3)] == [k == phase for k in range(3)]


def test_size_counts_the_hosts_that_exist() -> None:
    for agent in BLUE:
        play = Play(agent=agent)
        for z, subnet in enumerate(ZONES[agent].subnets):
            number = sum(host.startswith(subnet) for host in HOSTS[agent])
            assert play.zone("size", z) == pytest.approx(np.log10(number) / 5)


def test_the_directive_holds_between_decisions() -> None:
    play = Play()
    siem, row = play.team.siem, play.team.row
    first = layout(TRIAGE, 1).directive_start
    shown = []
    for step in range(7):
        assert bool(siem.decides[row]) == (step % 5 == 0)
        siem.actions[COORDINATOR][row] = step / 10
        play.step()
        shown.append(play.view.observations()[RESTRICTED][TRIAGE][first])
    assert shown == pytest.approx([0.0] * 5 + [0.5] * 2)


# --- the recorded episode


class Recorded(Replay):
    """The trace as an environment of the view."""

    observation = "raw"

    def __init__(self) -> None:
        super().__init__(TRACE)
        self.steps = TRACE["steps"]

    def reset(self, seed: int | None = None) -> Any:
        return super().reset()


def record(level: str, seed: int) -> tuple[list[dict[str, int]], list[Any]]:
    """Random roles on the recorded episode."""
    env = Recorded()
    view = SOCView(env, level)  # type: ignore[arg-type]
    seen, chosen = [view.reset()], []
    policies = {zones: SCRIPTED["soc"]["random"](siem.action_spaces, seed) for zones, siem in view.siems.items()}
    while env.agents:
        for zones, siem in view.siems.items():
            for role, action in policies[zones](siem.observations, siem.decides).items():
                siem.actions[role] = action
        rows = {agent: team.busy for agent, team in view.teams.items()}
        chosen.append(view.actions())
        for agent, index in chosen[-1].items():
            zone, team = env.zone(agent), view.teams[agent]
            order = zone.orders[index]
            assert TRACE["masks"][agent][index]
            assert rows[agent] == 0 or order.verb == "Sleep"
            assert level == "raw" or order.verb != "Analyse"
            if order.verb in ("BlockTrafficZone", "AllowTrafficZone"):
                z, source = zone.subnets.index(order.subnet), zone.all_subnets.index(order.source)
                assert team.blocked[z, source] == (order.verb == "AllowTrafficZone")
                assert order.verb == "AllowTrafficZone" or team.policy[z, source]
        observations, _, _, _, infos = env.step(chosen[-1])
        seen.append(view.observe(observations, infos))
    return chosen, seen


@pytest.mark.parametrize("level", ["flat", "raw"])
def test_random_roles_give_valid_actions_and_observations_in_their_space(level: str) -> None:
    chosen, seen = record(level, 0)
    assert len(chosen) == TRACE["steps"] - 1
    verbs = {ZONES[agent].orders[index].verb for row in chosen for agent, index in row.items()}
    assert verbs >= {"Restore", "Remove", "DeployDecoy", "Sleep", "BlockTrafficZone"}
    for observations in seen:
        for agent in BLUE:
            zones = len(ZONES[agent].subnets)
            for role in ROLES:
                observation = observations[agent][role]
                assert observation.dtype == np.float32
                assert observation.shape == (layout(role, zones).size,)
                assert np.isfinite(observation).all()
                assert np.abs(observation).max() <= 1.0
    again, same = record(level, 0)
    assert chosen == again
    for one, other in zip(seen, same, strict=True):
        for agent in BLUE:
            for role in ROLES:
                assert np.array_equal(one[agent][role], other[agent][role])
    assert record(level, 1)[0] != chosen


def test_a_policy_of_the_native_environment_does_as_the_view() -> None:
    env = Recorded()
    chosen, _ = record("raw", 3)
    policy = SOCPolicy(lambda siem: SCRIPTED["soc"]["random"](siem.action_spaces, 3), "raw")
    for _ in range(2):  # nothing is left of the first episode
        policy.reset()
        observations, infos = env.reset()
        played = []
        while env.agents:
            played.append(policy.act(observations, infos, env))  # type: ignore[arg-type]
            observations, _, _, _, infos = env.step(played[-1])
        assert played == chosen


def test_two_levels_see_different_things() -> None:
    flat, raw = (record(level, 0)[1][-1] for level in ("flat", "raw"))
    assert any(not np.array_equal(flat[agent][TRIAGE], raw[agent][TRIAGE]) for agent in BLUE)


# --- errors


def test_wrong_levels_are_refused() -> None:
    with pytest.raises(ConfigError, match="level 'rwa' does not exist; did you mean 'raw'"):
        SOCView(Stage(), "rwa")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="level='raw' needs .* observation='raw', not 'flat'"):
        SOCView(Stage("flat"), "raw")  # type: ignore[arg-type]
    SOCView(Stage("flat"), "flat")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("actions", "message"),
    [
        ({"blue_agent_9": {}}, "agent 'blue_agent_9' does not exist"),
        ({RESTRICTED: {"hunter": 0}}, "role 'hunter' does not exist"),
        ({RESTRICTED: {HUNTER: np.zeros(3)}}, r"has shape \(3,\); allowed: \(4,\)"),
        ({RESTRICTED: {TRIAGE: 4}}, "allowed: 0 to 3"),
        ({RESTRICTED: {TRIAGE: 0.5}}, "type float64; allowed: int32"),
        ({HEADQUARTERS: {HUNTER: np.full(10, np.nan)}}, "nan.*allowed: numbers"),
    ],
)
def test_wrong_actions_are_refused(actions: dict[str, Any], message: str) -> None:
    view = SOCView(Stage(), "raw")  # type: ignore[arg-type]
    with pytest.raises(ResetNeeded, match="reset"):
        view.actions()
    view.reset()
    with pytest.raises(ActionError, match=message):
        view.actions(actions)


# --- the PettingZoo environment


def test_twenty_agents_play_as_the_view_does() -> None:
    env = SOCTeamsEnv(Recorded(), "raw")  # type: ignore[arg-type]
    observations, infos = env.reset()
    assert len(env.possible_agents) == 20
    assert env.possible_agents[:4] == list(ROLES)
    rewards = 0.0
    for index, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(index)
    steps = 0
    while env.agents:
        assert infos["strategic_coordinator_3"]["decides"] == (steps % 5 == 0)
        assert infos["threat_hunter_4"]["decides"] == 1
        for agent in env.agents:
            assert env.observation_space(agent).contains(observations[agent])
        assert infos["alert_triage_2"]["action_mask"].shape == (4,)
        actions = {agent: env.action_space(agent).sample() for agent in env.agents if agent[-1] != "4"}
        observations, reward, terminations, truncations, infos = env.step(actions)
        assert len(set(reward.values())) == 1
        rewards += reward[ROLES[0]]
        steps += 1
    assert steps == TRACE["steps"] - 1
    assert not any(terminations.values())
    assert all(truncations.values())
    assert rewards == pytest.approx(sum(frame["reward"] or 0.0 for frame in TRACE["frames"]))
    with pytest.raises(ResetNeeded):
        env.step({})


@needs_cyborg
def test_the_real_one_keeps_pettingzoos_contract() -> None:
    env = soc_parallel_env(steps=30, patch=True, level="raw")
    parallel_api_test(env, num_cycles=60)
    env.close()


def score_of(name: str, level: str, seed: int) -> float:
    env = cage4_parallel_env(patch=True, observation=level)
    policy = SOCPolicy(lambda siem: SCRIPTED["soc"][name](siem.action_spaces, seed), level)
    observations, infos = env.reset(seed)
    score = 0.0
    while env.agents:
        observations, _, _, _, infos = env.step(policy.act(observations, infos, env))
        score += infos[RESTRICTED]["score"]
    env.close()
    return score


@needs_cyborg
@pytest.mark.parametrize(("name", "level", "least"), [("expert", "raw", -300.0), ("rule-soar", "flat", -500.0)])
def test_playbooks_of_soc_v1_defend_the_real_one(name: str, level: str, least: float) -> None:
    """Measured over 6 to 8 episodes: -141 +- 35 and -253 +- 61; doing nothing loses about 6,800."""
    assert score_of(name, level, 1) > least


@needs_cyborg
def test_doing_nothing_loses_the_real_one() -> None:
    assert score_of("null", "flat", 1) < -2000.0
