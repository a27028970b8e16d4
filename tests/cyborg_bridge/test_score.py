"""What CC4's score is made of: by hand, on recorded episodes, and on the real CybORG (`CYBORG_HOME`)."""

import collections
import json
from typing import Any

import pytest
from cage4_charges import POLICIES, Scene, load, record
from cage4_trace import load as load_trace
from cage4_trace import needs_cyborg

from cyborg_bridge import cage4_parallel_env
from cyborg_bridge.controls import make_control
from cyborg_bridge.score import KINDS, PHASES, PRICES, ZONES, Charge, ScoreError, ScoreWatch, is_stressed, rest_of
from cyborg_bridge.zones import ZONE_OF_SUBNET

RECORD = load()
PUBLIC, OPERATIONAL = "public_access_zone_subnet_server_host_0", "operational_zone_a_subnet_user_host_1"
CONTRACTOR, INTERNET = "contractor_network_subnet_user_host_2", "root_internet_host_0"
WORK, ACCESS, IMPACT = "GreenLocalWork", "GreenAccessService", "Impact"

ROWS: list[tuple[str, str, str, str, bool, tuple[float, ...], str]] = [
    # agent, action, success, host, whether it has an active session, points in the phases, kind
    ("green_agent_1", WORK, "FALSE", PUBLIC, True, (-1, -1, -1), "LWF"),
    ("green_agent_1", WORK, "FALSE", OPERATIONAL, True, (-1, -10, -1), "LWF"),
    ("green_agent_1", WORK, "TRUE", OPERATIONAL, True, (0, 0, 0), ""),
    ("green_agent_1", WORK, "UNKNOWN", OPERATIONAL, True, (0, 0, 0), ""),
    ("green_agent_1", WORK, "FALSE", OPERATIONAL, False, (0, 0, 0), ""),
    ("green_agent_1", ACCESS, "FALSE", CONTRACTOR, True, (-5, 0, 0), "ASF"),
    ("red_agent_0", IMPACT, "TRUE", OPERATIONAL, True, (-1, -10, -1), "RIA"),
    ("red_agent_0", IMPACT, "FALSE", OPERATIONAL, True, (-1, -10, -1), "RIA failed"),
    ("red_agent_0", IMPACT, "IN_PROGRESS", PUBLIC, True, (-3, -3, -3), "RIA failed"),
    ("red_agent_0", IMPACT, "TRUE", CONTRACTOR, True, (-5, 0, 0), "RIA"),
    ("red_agent_0", IMPACT, "FALSE", INTERNET, True, (-1, 0, 0), "RIA failed"),
    ("red_agent_0", IMPACT, "TRUE", OPERATIONAL, False, (0, 0, 0), ""),
    ("red_agent_0", WORK, "FALSE", OPERATIONAL, True, (0, 0, 0), ""),
    ("green_agent_1", IMPACT, "TRUE", OPERATIONAL, True, (0, 0, 0), ""),
    ("green_agent_1", "Sleep", "FALSE", OPERATIONAL, True, (0, 0, 0), ""),
]


@pytest.mark.parametrize(("agent", "action", "success", "host", "active", "points", "kind"), ROWS)
def test_what_an_action_costs(
    agent: str, action: str, success: str, host: str, active: bool, points: tuple[float, ...], kind: str
) -> None:
    scene = Scene(RECORD["table"])
    zone = next((name for subnet, name in ZONES.items() if subnet in host), "internet")
    for phase, expected in enumerate(points):
        found = scene.step(phase, [[agent, action, success, host, active]], expected, [], expected)
        assert found == ((Charge(kind, zone, phase, expected),) if expected else ())


def test_the_prices_that_policies_go_by_are_those_of_the_recorded_table() -> None:
    guarded = {subnet for subnet in RECORD["table"]["0"] if subnet in PRICES}
    assert guarded == set(PRICES) == set(ZONE_OF_SUBNET)
    for phase in range(PHASES):
        rows = RECORD["table"][str(phase)]
        for subnet in guarded:
            assert PRICES[subnet][phase] == (-rows[subnet]["LWF"], -rows[subnet]["RIA"])
    stressed = [(phase, subnet) for phase in range(PHASES) for subnet in PRICES if is_stressed(subnet, phase)]
    assert stressed == [(1, "operational_zone_a_subnet"), (2, "operational_zone_b_subnet")]


def test_who_has_lost_all_sessions_costs_nothing_and_is_not_asked_what_it_saw() -> None:
    scene = Scene(RECORD["table"])
    lost = [[f"red_agent_{k}", IMPACT, "TRUE", PUBLIC, False] for k in (1, 2)]
    found = scene.step(2, [lost[0], ["green_agent_4", WORK, "FALSE", PUBLIC, True], lost[1]], -1.0, [], -1.0)
    assert found == (Charge("LWF", "public", 2, -1.0),)


def test_an_action_of_a_class_made_from_a_charged_one_is_charged() -> None:
    import cage4_charges

    class Heavy(cage4_charges.ACTIONS[IMPACT]):  # type: ignore[name-defined, misc]
        pass

    scene = Scene(RECORD["table"])
    cage4_charges.ACTIONS["Heavy"] = Heavy
    try:
        found = scene.step(0, [["red_agent_1", "Heavy", "TRUE", PUBLIC, True]], -3.0, [], -3.0)
    finally:
        del cage4_charges.ACTIONS["Heavy"]
    assert found == (Charge("RIA", "public", 0, -3.0),)


def test_charges_that_do_not_add_up_are_an_error_with_both_numbers() -> None:
    scene = Scene(RECORD["table"])
    rows = [["green_agent_1", WORK, "FALSE", OPERATIONAL, True]]
    with pytest.raises(ScoreError, match="step 7: the charges add up to -10, CybORG's score is -11"):
        scene.step(1, rows, -10.0, [], -11.0)
    with pytest.raises(ScoreError, match="the charges add up to 0, CybORG's score is -1"):
        scene.step(1, [], 0.0, [], -1.0)  # nothing is left of the step before
    with pytest.raises(ScoreError, match="charged subnet 'moon_subnet' does not exist"):
        scene.step(1, [], 0.0, [["moon_subnet", -1.0]], -1.0)


def test_the_rest_is_without_impacts_where_nobody_guards() -> None:
    kept = [
        Charge("ASF", "contractor", 0, -5.0),
        Charge("RIA", "office", 0, -3.0),
        Charge("action cost", "admin", 2, -1),
    ]
    gone = [Charge("RIA failed", "contractor", 0, -5.0), Charge("RIA", "internet", 0, -1.0)]
    assert rest_of([*kept, *gone]) == -9.0
    assert rest_of(()) == 0.0


@pytest.mark.parametrize("policy", POLICIES)
def test_charges_add_up_on_every_recorded_step(policy: str) -> None:
    """The watch raises where they do not; what it is given is what CybORG's own calculator was given."""
    scene, kinds, rests = Scene(RECORD["table"]), collections.Counter[str](), 0.0
    for step in RECORD["episodes"][policy]:
        charges = scene.step(*step)
        assert sum(charge.points for charge in charges) == step[-1]
        assert {charge.phase for charge in charges} <= {step[0]}
        rests += rest_of(charges)
        kinds.update(charge.kind for charge in charges)
    assert len(RECORD["episodes"][policy]) == 149
    assert {step[0] for step in RECORD["episodes"][policy]} == {0, 1, 2}
    assert set(kinds) >= {"sleep": set(KINDS[:1] + KINDS[2:4]), "raw-rule": {"RIA failed", "action cost"}}.get(
        policy, set(KINDS)
    )
    assert sum(step[-1] for step in RECORD["episodes"][policy]) < rests < 0.0


def test_the_recorded_trace_has_the_same_in_its_infos() -> None:
    total = 0.0
    for frame in load_trace()["frames"]:
        charges = [Charge(*charge) for charge in frame["charges"]]
        assert sum(charge.points for charge in charges) == frame["score"]
        assert rest_of(charges) == frame["rest"]
        assert all(charge.kind in KINDS and charge.zone in ZONES.values() for charge in charges)
        total += frame["score"]
    assert total < -10.0
    assert load_trace()["frames"][0]["charges"] == load_trace()["frames"][-1]["charges"] == []


# --- live


@needs_cyborg
def test_the_record_is_still_what_cyborg_does() -> None:
    assert json.loads(json.dumps(record())) == RECORD


def played(env: Any, name: str, seed: int) -> list[Any]:
    """(score, rest, charges) of every step; the environment raises where they do not add up."""
    policy = make_control(name, seed)
    observations, infos = env.reset(seed=seed)
    steps = [infos["blue_agent_2"]]
    while env.agents:
        observations, rewards, _, _, infos = env.step(policy.act(observations, infos, env))
        steps.append(infos["blue_agent_2"])
        if env.agents:
            own = env.wrapper.env.environment_controller.reward["Blue"]
            assert (
                sum(own.values()) == rewards["blue_agent_2"] == sum(c.points for c in infos["blue_agent_2"]["charges"])
            )
    assert steps[0]["charges"] == steps[-1]["charges"] == ()
    assert steps[0]["rest"] == steps[-1]["rest"] == 0.0
    return [(step["score"], step["rest"], step["charges"]) for step in steps]


@needs_cyborg
def test_charges_are_the_same_with_shortcuts_without_and_after_close() -> None:
    patched, plain = (cage4_parallel_env(steps=60, observation="raw", patch=patch) for patch in (True, False))
    for name in POLICIES:
        first = played(patched, name, 3)
        assert first == played(plain, name, 3)
    patched.close()
    assert played(patched, POLICIES[-1], 3) == first
    assert any(charge.kind == "action cost" for _, _, charges in first for charge in charges)


@needs_cyborg
def test_the_watch_is_of_one_object() -> None:
    env, other = (cage4_parallel_env(steps=10, patch=True) for _ in range(2))
    machines = [
        e.wrapper.env.environment_controller.team_reward_calculators["Blue"]["BlueRewardMachine"] for e in (env, other)
    ]
    kind = type(machines[0])
    assert kind.calculate_reward.__module__ == "CybORG.Shared.BlueRewardMachine"
    watches = [machine.calculate_reward.__self__ for machine in machines]
    assert all(isinstance(watch, ScoreWatch) for watch in watches)
    assert watches[0] is not watches[1]


@needs_cyborg
def test_a_charge_that_is_not_known_stops_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    env = cage4_parallel_env(steps=10, patch=True)
    env.reset(seed=1)
    machine = env.wrapper.env.environment_controller.team_reward_calculators["Blue"]["BlueRewardMachine"]
    kind = type(machine)
    monkeypatch.setattr(kind, "calculate_reward", lambda *_: -7)
    with pytest.raises(ScoreError, match="the charges add up to 0, CybORG's score is -7"):
        env.step({})


@pytest.mark.slow
@needs_cyborg
@pytest.mark.parametrize("name", POLICIES)
def test_charges_add_up_over_twenty_episodes(name: str) -> None:
    env = cage4_parallel_env(patch=True, observation="raw")
    for seed in range(20):
        steps = played(env, name, 1_000 + seed)
        assert len(steps) == 500
        assert sum(score for score, _, _ in steps) < sum(rest for _, rest, _ in steps) < 0.0
