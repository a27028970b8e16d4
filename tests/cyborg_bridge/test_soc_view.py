"""The SOC view of CC4: what the roles' actions do there, on hand-made steps and on a recorded episode."""

from typing import Any

import numpy as np
import pytest
from cage4_stage import (
    ALERT_DECAY,
    BLUE,
    CORRELATE,
    ENRICH,
    ESCALATE,
    HEADQUARTERS,
    HOSTS,
    OPERATIONAL,
    OTHER,
    RESTRICTED,
    SERVER,
    SUPPRESS,
    TRACE,
    USER,
    ZONES,
    Play,
    Recorded,
    Stage,
    connection,
    exploit,
    record,
)

from cyborg_bridge.soc_alerts import ALERTS
from cyborg_bridge.soc_siem import READING_BENIGN, READING_SPAN
from cyborg_bridge.soc_view import SOCPolicy, SOCView
from policies.scripted import SCRIPTED
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ActionError, ConfigError
from soc_env.parallel import ResetNeeded
from soc_env.soc.tables import layout

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


def test_verdicts_are_the_siems_own() -> None:
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
