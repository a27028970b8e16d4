"""The SOC view of CC4 where findings have levels: root, user, a free Remove, and what Analyse says of nothing."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cage4_stage import (
    BLUE,
    FINDING_DECAY,
    HEADQUARTERS,
    HOSTS,
    OTHER,
    RESTRICTED,
    SERVER,
    USER,
    ZONES,
    Play,
    connection,
    exploit,
    needs_cyborg,
    record,
)

from cyborg_bridge.soc_batch import SOCBatch
from cyborg_bridge.soc_parallel import soc_parallel_env
from cyborg_bridge.soc_siem import VIEWS, spaces_of
from cyborg_bridge.soc_verbs import COSTS, VERBS
from cyborg_bridge.soc_view import SOCView
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.engine.tables import HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ConfigError
from soc_env.soc import risk
from soc_env.soc.tables import layout

LEVELS_VIEW = "soc-cage4-v1"
KILL, REIMAGE = 0.65, 0.95


def play_levels(level: str = "raw", agent: str = RESTRICTED) -> Play:
    return Play(level, agent, LEVELS_VIEW)


def files(host: str, *names: str) -> dict[str, Any]:
    return {host: {"Files": [{"File Name": name} for name in names]}}


def analyse(play: Play, host: str, *names: str) -> None:
    """The agent analyses that host, the riskiest one, and finds these files."""
    play.ask(HUNTER, hunt_0=0.5)
    assert play.step(busy=1) == f"Analyse {host}"
    play.ask(HUNTER, hunt_0=0.0)
    play.step(files(host, *names) if names else {})


def test_a_root_file_is_an_admin_finding_that_comes_first() -> None:
    play = play_levels()
    play.triage(2)  # correlate, which asks for no Analyse
    play.step(exploit(OTHER))
    analyse(play, OTHER, "cmd.sh", "escalate.sh")
    for _ in range(3):
        play.step(exploit(USER) | connection(SERVER, USER, local_port=22))  # the other one looks ever worse
    assert play.zone("admin_findings") == pytest.approx(0.2)
    assert play.zone("user_findings") == pytest.approx(0.2)
    assert play.zone("findings") == pytest.approx(0.4)
    assert play.zone("top_level") == 1.0
    assert play.risk(USER) > 0.8
    play.ask(ORCHESTRATOR, remediate_0=REIMAGE)
    assert play.step(busy=4) == f"Restore {OTHER}"
    for left in (3, 2, 1, 0):
        play.step(busy=left)
    assert play.zone("admin_findings") == 0.0
    assert play.zone("top_level") == 0.5


@pytest.mark.parametrize(("names", "level"), [(("cmd.exe",), 0.5), (("escalate.exe",), 1.0), ((), 0.0)])
def test_files_say_the_level(names: tuple[str, ...], level: float) -> None:
    play = play_levels()
    play.triage(2)
    play.step({OTHER: {"Processes": [{"Connections": [{}]}]}})  # a weak alert, so that it is looked at
    before = play.risk(OTHER)
    analyse(play, OTHER, *names)
    assert play.zone("top_level") == level
    assert play.zone("top_look") == pytest.approx(1 / 60)
    weight = {0.5: risk.USER_FINDING, 1.0: risk.ADMIN_FINDING}.get(level)
    if weight is None:
        assert 0.0 < play.risk(OTHER) < 0.5 * before
    else:
        finding = play.team.siem.hosts(play.team.row)["finding"][play.team.number[OTHER]]
        assert finding == pytest.approx(FINDING_DECAY * weight)


def test_remove_needs_an_alert_with_a_pid_and_no_root() -> None:
    play = play_levels()
    play.triage(2)
    play.ask(ORCHESTRATOR, remediate_0=KILL)
    play.step(connection(SERVER, USER, local_port=22) | {OTHER: {"Processes": [{"Connections": [{}]}]}})
    assert play.zone("top_risk") > 0.7  # the source of a probe, without a PID; and green's false alert
    assert play.zone("killable") == play.zone("kill_risk") == 0.0
    assert play.step() == "Sleep"
    play.step(exploit(OTHER))
    assert play.zone("killable") == pytest.approx(0.2)
    assert play.zone("kill_risk") == pytest.approx(play.risk(OTHER))
    assert play.step(busy=2) == f"Remove {OTHER}"
    before = play.risk(OTHER)
    for left in (1, 0):
        assert play.step(busy=left) == "Sleep"
    assert play.zone("killable") == 0.0
    assert play.risk(OTHER) < before - 0.2
    assert play.step() == "Sleep"  # nothing is left to kill
    play.ask(ORCHESTRATOR, remediate_0=0.0)
    play.step(exploit(OTHER))
    analyse(play, OTHER, "escalate.sh")
    play.ask(ORCHESTRATOR, remediate_0=KILL)
    assert play.zone("killable") == 0.0
    assert play.step() == "Sleep"


def test_a_users_file_is_stale_after_remove_until_the_next_pid() -> None:
    play = play_levels()
    play.triage(2)
    play.step(exploit(OTHER))
    play.ask(ORCHESTRATOR, remediate_0=KILL)
    assert play.step(busy=2) == f"Remove {OTHER}"
    play.ask(ORCHESTRATOR, remediate_0=0.0)
    play.step(busy=1)
    play.step()
    left = play.risk(OTHER)
    analyse(play, OTHER, "cmd.sh")
    assert play.risk(OTHER) < left  # the file is that of the session that Remove ended
    assert play.zone("user_findings") == 0.0
    play.step(exploit(OTHER))
    analyse(play, OTHER, "cmd.sh")
    assert play.zone("user_findings") == pytest.approx(0.2)
    assert play.zone("top_level") == 0.5
    for level, ticks in ((KILL, 3), (REIMAGE, 5)):
        play.ask(ORCHESTRATOR, remediate_0=level)
        for left_steps in reversed(range(ticks)):
            play.step(busy=left_steps)
    play.ask(ORCHESTRATOR, remediate_0=0.0)
    play.step({OTHER: {"Processes": [{"Connections": [{}]}]}})
    analyse(play, OTHER, "cmd.sh")  # a new one, of an exploit that raised no alert
    assert play.zone("user_findings") == pytest.approx(0.2)


def test_hunts_pass_over_hosts_that_are_known_as_root() -> None:
    play = play_levels()
    play.triage(2)
    play.step(exploit(OTHER))
    analyse(play, OTHER, "escalate.sh")
    play.ask(HUNTER, hunt_0=0.5)
    looked = {play.step().split()[1] for _ in range(40)}
    assert looked == set(HOSTS[RESTRICTED]) - {OTHER}


def test_root_in_a_poor_zone_is_before_a_kill_in_a_rich_one() -> None:
    play = play_levels(agent=HEADQUARTERS)
    play.triage(2)
    _, office, public = (
        next(host for host in HOSTS[HEADQUARTERS] if host.startswith(subnet)) for subnet in ZONES[HEADQUARTERS].subnets
    )
    play.step(exploit(office))
    play.ask(HUNTER, hunt_1=0.5)
    assert play.step(busy=1) == f"Analyse {office}"
    play.step(files(office, "escalate.sh") | exploit(public))
    play.ask(ORCHESTRATOR, remediate_1=REIMAGE, remediate_2=KILL)
    assert play.step(busy=4) == f"Restore {office}"


def test_flat_alerts_weigh_as_they_did_and_flags_of_processes_are_killable() -> None:
    plays = [Play("flat", RESTRICTED, view) for view in VIEWS]
    subnet = ZONES[RESTRICTED].subnets[0]
    hosts = ZONES[RESTRICTED].hosts[subnet]
    for play in plays:
        fields = {name: play.stage.field(RESTRICTED, subnet, name) for name in ("processes", "connections")}
        fields["processes"][[hosts.index(USER), hosts.index(OTHER)]] = 1
        fields["connections"][[hosts.index(USER), hosts.index(SERVER)]] = 1
        play.step()
        for field in fields.values():
            field[:] = 0
    old, new = plays
    for host in (USER, OTHER, SERVER):
        assert new.risk(host) == old.risk(host)
    assert new.zone("killable") == pytest.approx(0.4)
    assert new.zone("kill_risk") == pytest.approx(new.risk(USER))
    assert new.zone("top_level") == 0.5
    new.ask(ORCHESTRATOR, remediate_0=KILL)
    assert new.step(busy=2) == f"Remove {USER}"


def test_the_old_view_has_neither_levels_nor_preconditions() -> None:
    play = Play()
    play.triage(2)
    play.step(connection(SERVER, USER, local_port=22))
    play.ask(ORCHESTRATOR, remediate_0=KILL)
    assert play.step() == f"Remove {USER}"
    assert not play.team.siem.has_levels
    assert not play.team.siem.admin_hosts(play.team.row).any()


def test_calls_have_the_price_of_cc4() -> None:
    play = play_levels()
    play.triage(2)
    play.step(exploit(OTHER))
    for level, tool, price in ((KILL, "kill_process", 0.0), (REIMAGE, "reimage", 1.0)):
        play.ask(ORCHESTRATOR, remediate_0=level)
        play.team.siem.decode()
        prices = {call["tool"]: call["price"] for call in play.team.siem.calls(play.team.row)}
        assert prices[tool] == VERBS[tool].price == price
    assert (VERBS["kill_process"].ticks, VERBS["reimage"].ticks, VERBS["escalate"].ticks) == (3, 5, 0)
    assert {verb for verb, _ in VERBS.values()} == COSTS.keys()


@pytest.mark.parametrize("level", ["flat", "raw"])
def test_a_recorded_episode_gives_observations_in_their_spaces_and_repeats(level: str) -> None:
    chosen, seen = record(level, 3, LEVELS_VIEW)
    for observations in seen:
        for agent in BLUE:
            zones = len(ZONES[agent].subnets)
            for role in ROLES:
                space = spaces_of(role, zones, LEVELS_VIEW)[0]
                assert observations[agent][role].shape == (layout(role, zones, True).size,) == space.shape
                assert space.contains(observations[agent][role])
    again, _ = record(level, 3, LEVELS_VIEW)
    assert again == chosen


def test_there_is_no_view_by_other_tables() -> None:
    with pytest.raises(ConfigError, match="scenario of a SOC view 'soc-v1' does not exist"):
        Play("raw", RESTRICTED, "soc-v1")


@needs_cyborg
def test_findings_of_the_real_one_are_the_truth() -> None:
    """Analyse says root of hosts that red holds as root, and Remove is asked for where an alert had a PID."""
    from cyborg_bridge import cage4_parallel_env

    env = cage4_parallel_env(steps=150, patch=True, observation="raw")
    view = SOCView(env, "raw", LEVELS_VIEW)
    view.reset(seed=900_011)
    for siem in view.siems.values():
        zones = siem.scenario.num_zones  # type: ignore[attr-defined]
        siem.actions[HUNTER][:, : 2 * zones] = 1.0
        siem.actions[ORCHESTRATOR][:, zones : 2 * zones] = 2 * KILL - 1
    roots, kills = 0, 0
    while env.agents:
        view.step()
        held = env.red_hosts()
        for team in view.teams.values():
            known = np.flatnonzero(team.siem.admin_hosts(team.row))
            assert {team.hosts[host] for host in known} <= held  # nobody is restored, and root is not removed
            roots += len(known)
            if team.task is not None and team.task.verb == "Remove":
                assert team.alerted[team.task.host] >= 0
                kills += 1
    assert roots > 0
    assert kills > 0
    assert view.teams[HEADQUARTERS].siem.observations[TRIAGE].shape[1] == layout(TRIAGE, 3, True).size


def test_a_bad_scenario_is_refused_before_cyborg_is_looked_for(tmp_path: Path) -> None:
    for make in (soc_parallel_env, lambda **options: SOCBatch(5, **options)):
        with pytest.raises(ConfigError, match="scenario of a SOC view 'soc-cage4-v2' does not exist; did you mean"):
            make(path=tmp_path, scenario="soc-cage4-v2")
