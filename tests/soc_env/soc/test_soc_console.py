"""The tools as a Python API: the same step as by action vectors, nothing but what the SOC knows, clear errors."""

import copy
import doctest

import numpy as np
import pytest

import soc_env
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ConfigError, HMARLSOCError
from soc_env.soc.console import READERS, Console
from soc_env.soc.kernels.state import CASE_TRUTH, HOST_TRUTH
from soc_env.soc.tables import OUTCOMES, TOOL_NAMES, TOOLS


def simulator(seed=0, minutes=0, scenario="soc-v1", **options):
    """A started simulator of one env, played with everything hunting and nothing else."""
    sim = soc_env.Simulator(scenario, seed=seed, autoreset=False, **options)
    sim.reset()
    sim.actions[TRIAGE][...] = 3
    for _ in range(minutes):
        sim.step()
    return sim


def console(minutes=30, seed=0, **options):
    return Console(simulator(seed, minutes, **options))


def act_at_random(rng, sim, agent):
    """Random actions with all of the tools in them: half of the entries at the ends of their range."""
    if agent == TRIAGE:
        return rng.integers(4)
    size = sim.actions[agent].shape[1]
    return np.where(rng.random(size) < 0.5, rng.choice([-1.0, 1.0], size), rng.uniform(-1, 1, size)).astype(np.float32)


def test_the_example_works():
    from soc_env.soc import console as module

    results = doctest.testmod(module)
    assert results.attempted >= 7
    assert results.failed == 0


# ---------------------------------------------------------------------- the same step both ways
@pytest.mark.parametrize(("scenario", "seed"), [("soc-v1", 0), ("soc-v1", 1), ("soc-cage4-v0", 2)])
def test_calls_and_action_vectors_give_the_same_step(scenario, seed):
    by_vector, by_call = (simulator(seed, scenario=scenario, max_steps=200) for _ in range(2))
    soc, rng, used = Console(by_call), np.random.default_rng(seed), set()
    platforms = {"SIEM": soc.siem, "EDR": soc.edr, "SOAR": soc.soar}
    while not by_vector.truncated[0]:
        for agent in AGENTS:
            by_vector.actions[agent][0] = act_at_random(rng, by_vector, agent)
        by_vector.decode()
        decoded = by_vector.calls()
        assert not by_vector.records().env["has_calls"][0]
        handles = []
        for call in decoded:
            method = getattr(platforms[call["platform"]], call["tool"])
            if call["tool"] in ("hunt", "deep_scan"):
                handles.append(method(call["target"], intensity=call["level"], depth=call["depth"]))
            else:
                handles.append(method(*([call["target"]] if method.__code__.co_argcount > 1 else [])))
        by_vector.step()
        directive = by_vector.records().env["directive"][0][: by_call.scenario.num_zones + 3]
        names = ("hunt_posture", "triage_posture", "response_posture")
        soc.directive(dict(enumerate(directive[:-3])), **dict(zip(names, directive[-3:], strict=True)))
        soc.advance()
        assert [handle.outcome for handle in handles] == [call["outcome"] for call in by_vector.calls()]
        used |= {(call["tool"], call["outcome"]) for call in by_vector.calls()}
        for agent in AGENTS:
            assert by_vector.observations[agent].tobytes() == by_call.observations[agent].tobytes()
        assert by_vector.state().tobytes() == by_call.state().tobytes()
        assert by_vector.rewards.tobytes() == by_call.rewards.tobytes()
        assert by_vector.reward_terms.tobytes() == by_call.reward_terms.tobytes()
    assert by_vector.running_metrics().tobytes() == by_call.running_metrics().tobytes()
    assert len({tool for tool, _ in used}) >= 13
    assert {outcome for _, outcome in used} >= {"done", "started", "refused"}


def test_decode_changes_nothing():
    sim = simulator(minutes=20)
    sim.actions[ORCHESTRATOR][...] = 1.0  # isolates whatever there is
    before = sim.records().env.copy()
    sim.decode()
    first = sim.calls()
    sim.decode()
    assert sim.calls() == first
    assert first
    before["calls"], before["num_calls"] = sim.records().env["calls"], sim.records().env["num_calls"]
    assert sim.records().env.tobytes() == before.tobytes()


def test_env_and_simulator_give_the_same():
    env = soc_env.parallel_env("soc-v1", seed=0)
    env.reset(seed=4)
    soc, other = env.console, Console(simulator(4))
    for both in (soc, other):
        both.directive({"dmz": 1.0}, hunt_posture=0.5)
        both.edr.hunt("DMZ", intensity=0.8)
        both.soar.isolate(3)
    observations, rewards, terminations, truncations, infos = soc.advance()
    assert other.advance() is None
    sim = other.simulator
    assert all(np.array_equal(observations[agent], sim.observations[agent][0]) for agent in AGENTS)
    assert rewards == dict.fromkeys(AGENTS, sim.rewards[0])
    assert terminations == truncations == dict.fromkeys(AGENTS, False)
    assert infos[COORDINATOR] == {"decides": 0}
    assert soc.minute == other.minute == 1


def test_advance_ends_with_the_episode():
    env = soc_env.parallel_env("soc-v1", max_steps=7)
    env.reset(seed=0)
    *_, truncations, _ = env.console.advance(100)
    assert all(truncations.values())
    assert env.agents == []
    assert env.metrics()["length"] == 7
    with pytest.raises(HMARLSOCError, match="over"):
        env.console.advance()
    with pytest.raises(HMARLSOCError, match="over"):
        env.console.soar.isolate(0)


def test_queued_calls_also_count_in_an_ordinary_step():
    env, twin = (soc_env.parallel_env("soc-v1") for _ in range(2))
    for each in (env, twin):
        each.reset(seed=1)
    scan = env.console.edr.deep_scan("dmz")
    env.step({HUNTER: np.ones(16), ORCHESTRATOR: np.ones(12)})
    assert scan.outcome == "done"
    assert [call["tool"] for call in env.simulator.calls()] == ["deep_scan"]
    twin.console.edr.deep_scan("dmz")
    twin.console.advance()
    assert env.simulator.observations[HUNTER].tobytes() == twin.simulator.observations[HUNTER].tobytes()
    env.step({HUNTER: np.ones(16)})  # the next one decodes again
    assert len(env.simulator.calls()) > 1


def test_calls_that_were_handed_over_are_played_by_advance():
    env = soc_env.parallel_env("soc-v1", seed=0)
    env.reset(seed=2)
    for soc in (console(0, seed=2), env.console):
        handed, more = soc.soar.isolate(3), None
        soc.submit()
        more = soc.edr.hunt(0)  # for the same minute
        with pytest.raises(ConfigError, match="is being hunted in this minute already"):
            soc.edr.hunt(0)
        soc.advance(2)
        assert (handed.outcome, more.outcome) == ("started", "done")
        assert [call["tool"] for call in soc.simulator.calls(0)] == []  # none is left for the minute after
    soc, room = console(), len(console().simulator.records(0).env["calls"])
    for _ in range(room):
        soc.edr.intel_sweep()
        soc.submit()
    with pytest.raises(ConfigError, match=f"{room} calls are queued for this minute already"):
        soc.edr.intel_sweep()


def test_a_minute_without_calls_does_nothing():
    env = soc_env.parallel_env("soc-v1")
    env.reset(seed=1)
    env.console.advance(40)
    assert env.metrics()["analyst_minutes"] == 0
    assert env.metrics()["actions"] == 0


# ---------------------------------------------------------------------- tools
def test_every_tool_is_a_method_of_its_platform_and_nothing_else_is():
    soc = console(0)
    for name, platform in (("SIEM", soc.siem), ("EDR", soc.edr), ("SOAR", soc.soar)):
        methods = {method for method in dir(platform) if not method.startswith("_")}
        assert methods - set(READERS) == {tool.name for tool in TOOLS if tool.platform == name}
        for tool in TOOLS:
            if tool.platform == name:
                assert tool.precondition in getattr(platform, tool.name).__doc__
                assert tool.effect[1:] in getattr(platform, tool.name).__doc__


def test_every_tool_can_be_called_and_has_an_outcome():
    env = soc_env.parallel_env("soc-v1", analysts=100.0)
    env.reset(seed=3)
    soc = env.console
    soc.advance(40)
    suspect = soc.siem.hosts()[0]
    case, *_, other = soc.siem.cases()
    calls = [
        soc.siem.enrich(case), soc.siem.query(case["id"]), soc.siem.correlate(case), soc.siem.suppress(case),
        soc.siem.escalate(other),
        soc.edr.hunt(0), soc.edr.deep_scan(1, 0.5), soc.edr.deploy_decoy(suspect["zone"]), soc.edr.intel_sweep(),
        soc.edr.collect_forensics(suspect), soc.soar.isolate(suspect), soc.soar.release(suspect),
        soc.soar.kill_process(suspect), soc.soar.reimage(suspect["host"]), soc.soar.block_perimeter(),
        soc.soar.unblock_perimeter(), soc.soar.reset_credentials(),
    ]  # fmt: skip
    assert {call.tool for call in calls} == set(TOOL_NAMES)
    assert all(call.outcome is None for call in calls)
    soc.advance()
    assert all(call.outcome in OUTCOMES for call in calls)
    assert all(call.minute == 41 for call in calls)
    by_name = {call.tool: call.outcome for call in calls}
    assert [by_name[name] for name in ("enrich", "query", "suppress", "escalate")] == ["done"] * 4
    assert by_name["release"] == "busy"
    assert by_name["block_perimeter"] == "started"


def test_response_takes_its_time():
    env = soc_env.parallel_env("soc-v1", approval_rate=1.0)
    env.reset(seed=0)
    soc = env.console
    call = soc.soar.reimage(0)
    soc.advance()
    assert call.outcome == "started"
    (host,) = soc.siem.hosts()
    assert (host["host"], host["is_offline"]) == (0, True)
    job = soc.status()["zones"][0]["job"]
    assert (job["tool"], job["host"]) == ("reimage", 0)
    soc.advance(job["minutes_left"])
    assert soc.status()["zones"][0]["job"] is None
    assert soc.siem.hosts("dmz") == []


# ---------------------------------------------------------------------- what the SOC knows
def test_console_shows_no_truth():
    sim = simulator(5, 60)
    soc = Console(sim)
    silent = sim.records(0).hosts[0]  # on record for no other reason than that an intruder has it
    assert not silent["is_isolated"]
    assert not silent["is_offline"]
    silent["level"], silent["risk"] = 2, 0.0
    assert silent["host"] not in [host["host"] for host in soc.siem.hosts()]
    before = copy.deepcopy((soc.siem.cases(), soc.siem.hosts(), soc.status()))
    assert before[0]
    assert before[1]
    records, env = sim.records(0).hosts, sim.records(0).env
    assert sim.campaigns()
    for name in HOST_TRUTH:
        records[name] = 1 - np.minimum(records[name], 1)
    for name in CASE_TRUTH:
        env["cases"][name] = 1 - np.minimum(env["cases"][name], 1)
    env["campaigns"]["num_live"] += 1
    env["campaigns"]["plan"] = 0
    assert (soc.siem.cases(), soc.siem.hosts(), soc.status()) == before
    names = {key for rows in before[:2] for row in rows for key in row}
    assert not names & {"is_true", "campaign", *HOST_TRUTH}


def test_reading_changes_nothing():
    sim = simulator(5, 30)
    soc, before = Console(sim), [array.copy() for array in sim.records()]
    soc.siem.cases(), soc.siem.hosts(), soc.siem.hosts(2), soc.status()
    assert all(np.array_equal(a, b) for a, b in zip(sim.records(), before, strict=True))


def test_cases_are_those_of_the_queue():
    soc = console(60)
    cases, rows = soc.siem.cases(), soc.simulator.cases()
    assert [case["id"] for case in cases] == rows["id"].tolist()
    assert [case["rank"] for case in cases] == sorted(rows["rank"].tolist(), reverse=True)
    case = next(case for case in cases if case["enriched"] == 0)
    assert case["reading"] is None
    soc.siem.enrich(case)
    soc.advance()
    (again,) = [row for row in soc.siem.cases() if row["id"] == case["id"]]
    assert 0.0 <= again["reading"] <= 1.0
    assert again["enriched"] == 1
    assert again["second_reading"] is None


def test_hosts_of_a_zone():
    soc = console(60)
    hosts = soc.siem.hosts()
    assert [host["risk"] for host in hosts] == sorted((host["risk"] for host in hosts), reverse=True)
    for z, name in enumerate(soc.simulator.network_of().zone_names):
        assert soc.siem.hosts(z) == soc.siem.hosts(name.lower()) == [host for host in hosts if host["zone"] == name]


# ---------------------------------------------------------------------- the directive
def test_directive_counts_from_the_next_decision():
    env = soc_env.parallel_env("soc-v1")
    env.reset(seed=0)
    soc = env.console
    soc.advance(3)
    said = soc.directive({"dmz": 1.0, 2: -0.5}, triage_posture=0.25)
    assert said["minute"] == 6
    assert said["priority"]["dmz"] == 1.0
    assert said["triage_posture"] == 0.25
    soc.advance(2)
    assert not soc.simulator.records().env["directive"][0].any()
    soc.advance()
    assert soc.simulator.records().env["directive"][0][:8].tolist() == [1.0, 0.0, -0.5, 0.0, 0.0, 0.0, 0.25, 0.0]
    assert soc.directive(hunt_posture=1)["priority"]["dmz"] == 1.0  # the rest stays
    assert soc.status()["directive"]["triage_posture"] == 0.25
    env.reset()
    assert soc.directive()["priority"]["dmz"] == 0.0  # not in the next episode


# ---------------------------------------------------------------------- errors
@pytest.mark.parametrize(
    ("do", "message"),
    [
        (lambda soc: soc.edr.hunt("DMX"), "zone 'dmx' does not exist; did you mean 'dmz'"),
        (lambda soc: soc.edr.hunt(5), "zone 5 does not exist; allowed: 0 to 4"),
        (lambda soc: soc.edr.hunt(-1), "allowed: 0 to 4"),
        (lambda soc: soc.edr.hunt(True), "zone True"),
        (lambda soc: soc.edr.hunt(0, intensity=1.5), "intensity=1.5; allowed: 0 to 1"),
        (lambda soc: soc.edr.hunt(0, intensity=float("nan")), "intensity=nan"),
        (lambda soc: soc.edr.hunt(0, intensity="much"), "intensity='much'"),
        (lambda soc: soc.edr.hunt(0, depth=0.7), "deep_scan"),
        (lambda soc: soc.edr.deep_scan(0, depth=0.5), "above 0.5"),
        (lambda soc: (soc.edr.hunt(0), soc.edr.deep_scan("dmz")), "hunted in this minute already"),
        (lambda soc: soc.soar.isolate(200), "isolate: host 200 does not exist; allowed: 0 to 199"),
        (lambda soc: soc.soar.isolate("web01"), "host 'web01' does not exist"),
        (lambda soc: soc.siem.escalate(10_000), "case 10000 is not open; open: "),
        (lambda soc: soc.siem.escalate(None), "case None is not open"),
        (lambda soc: soc.directive({"dmz": 2}), "priority=2; allowed: -1 to 1"),
        (lambda soc: soc.directive(hunt_postur=0), "did you mean 'hunt_posture'"),
        (lambda soc: soc.advance(0), "minutes=0"),
        (lambda soc: [soc.soar.isolate(0) for _ in range(97)], "at most 96"),
    ],
)
def test_errors_say_what_is_allowed(do, message):
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        do(console(30))


def test_a_closed_case_cannot_be_worked():
    soc = console(40)
    case = soc.siem.cases()[0]
    soc.siem.suppress(case)
    soc.advance()
    with pytest.raises(ConfigError, match=f"case {case['id']} is not open"):
        soc.siem.escalate(case)


def test_an_unknown_tool_has_a_hint():
    with pytest.raises(AttributeError, match="did you mean 'isolate'"):
        _ = console(0).soar.isolat


def test_console_needs_a_simulator_it_can_play():
    with pytest.raises(ConfigError, match="soc-v1 family"):
        Console(soc_env.Simulator("paper-v0"))
    with pytest.raises(ConfigError, match="soc-v1 family"):
        _ = soc_env.parallel_env("paper-v0").console
    with pytest.raises(ConfigError, match="allowed: 0 to 1"):
        Console(soc_env.Simulator("soc-v1", num_envs=2), 2)
    with pytest.raises(HMARLSOCError, match="reset"):
        Console(soc_env.Simulator("soc-v1")).advance()
    batch = soc_env.Simulator("soc-v1", num_envs=2, seed=0)
    batch.reset()
    with pytest.raises(ConfigError, match="submit"):
        Console(batch, 1).advance()
    single = soc_env.Simulator("soc-v1", seed=0)
    single.reset()
    with pytest.raises(ConfigError, match="autoreset"):
        Console(single).advance()


def test_consoles_of_a_batch():
    batch = soc_env.Simulator("soc-v1", num_envs=2, seed=[8, 9], autoreset=False)
    batch.reset()
    single = Console(simulator(9))
    consoles = [Console(batch, index) for index in range(2)]
    call = consoles[1].edr.deploy_decoy("dmz")
    single.edr.deploy_decoy("dmz")
    for each in consoles:
        each.submit()
    batch.step()
    for each in consoles:
        each.collect()
    single.advance()
    assert call.outcome == "started"
    seen = single.simulator.observations
    assert all(np.array_equal(batch.observations[agent][1], seen[agent][0]) for agent in AGENTS)


def test_what_was_queued_before_a_reset_is_gone():
    env = soc_env.parallel_env("soc-v1")
    env.reset(seed=0)
    call = env.console.soar.isolate(0)
    env.reset(seed=0)
    env.console.advance()
    assert call.outcome is None
    assert env.simulator.calls() == []


def test_copies_of_an_environment_have_their_own_console():
    env = soc_env.parallel_env("soc-v1")
    env.reset(seed=0)
    env.console.advance(5)
    twin = copy.deepcopy(env)
    twin.console.advance()
    assert (env.console.minute, twin.console.minute) == (5, 6)
