"""Everything is in the trace: outcomes are measured from it, and it plays again to the same bytes."""

import copy
import doctest
import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from soc_states import snapshot

import soc_env
from policies.scripted import SCRIPTED
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ConfigError
from soc_env.soc.attack import TECHNIQUE_INDEX
from soc_env.soc.kernels import attempts as attempt_kernels
from soc_env.soc.kernels import siem as siem_kernels
from soc_env.soc.kernels.state import LOG_FIELDS, LOG_KINDS, N_DAMAGE
from soc_env.soc.measures import measure
from soc_env.soc.tables import METRICS, OUTCOMES, TOOL_NAMES, TOOLS
from soc_env.soc.trace import CAMPAIGN_CHANGES, CASE_ENDS, RecordedStep, Trace, TraceError, record


def played(policy_name, seed=0, minutes=10_000, scenario="soc-v1", env=None, **options):
    """An environment after an episode (or some minutes of it) of a scripted policy."""
    env = env or soc_env.parallel_env(scenario, **options)
    observations, infos = env.reset(seed=seed)
    policy = SCRIPTED["soc"][policy_name](env.action_spaces, seed)
    while env.agents and minutes:
        if policy_name == "oracle-observation":
            policy.state = env.state()[None]
        seen = {agent: observations[agent][None] for agent in AGENTS}
        actions = policy(seen, np.array([infos[COORDINATOR]["decides"] > 0]))
        observations, _, _, _, infos = env.step({agent: np.asarray(actions[agent])[0] for agent in AGENTS})
        minutes -= 1
    return env


@pytest.fixture(scope="module")
def busy():
    """An environment after 150 minutes with several campaigns, and with calls by hand among the policy's."""
    env = played("rule-soar", 1, 100, campaigns_per_hour=10.0)
    soc = env.console
    for name in ("dmz", 1, 2):
        soc.edr.deploy_decoy(name)
        soc.advance()
    soc.soar.block_perimeter()
    soc.soar.reset_credentials()
    soc.directive({"dmz": 0.1}, hunt_posture=0.3)
    soc.advance(20)
    soc.soar.unblock_perimeter()
    for _ in range(27):
        if soc.siem.cases():
            soc.siem.escalate(soc.siem.cases()[0])
        env.step({HUNTER: np.full(16, 0.1), ORCHESTRATOR: np.full(12, np.inf)})
    return env


def test_the_example_works():
    from soc_env.soc import trace as module

    results = doctest.testmod(module)
    assert results.attempted >= 7
    assert results.failed == 0


# ---------------------------------------------------------------------- outcomes
@pytest.mark.parametrize("policy", list(SCRIPTED["soc"]))
def test_every_outcome_follows_from_the_events(policy):
    env = played(policy, seed=3)
    assert env.trace().outcomes() == pytest.approx(env.metrics(), abs=1e-9)
    assert set(env.trace().outcomes()) == {metric.name for metric in METRICS}


@pytest.mark.parametrize(
    "options",
    [
        {"order": "defenders_first", "campaigns_per_hour": 20.0, "max_steps": 500},
        {"instant_actions": True, "campaigns_per_hour": 20.0},
        {"persistence": False, "campaigns_per_hour": 60.0, "max_steps": 400},
        {"queue_capacity": 4, "sla_minutes": 5, "case_expiry": 7, "benign_alerts_per_hour": 300.0},
        {"sla_minutes": 20, "case_expiry": 10, "auto_close": 0.6, "reward": "sparse"},
        {"num_hosts": 1000, "num_zones": 9, "split": "test", "families": ()},
        {"scenario": "soc-cage4-v0"},
    ],
)
@pytest.mark.parametrize("policy", ["random", "rule-soar"])
def test_outcomes_of_other_scenarios(options, policy):
    env = played(policy, seed=5, **options)
    assert env.trace().outcomes() == pytest.approx(env.metrics(), abs=1e-9)


def test_outcomes_by_hand(busy):
    assert busy.trace().outcomes() == pytest.approx(busy.metrics(), abs=1e-9)


def test_false_positives_are_shares_of_verdicts():
    ends = [("escalated", False)] * 2 + [("suppressed", False)] * 3 + [("escalated", True)] + [("suppressed", True)] * 2
    ends += [("dropped", False), ("auto_closed", False), ("expired", False), ("merged", False), ("dropped", True)]
    events = [{"event": "case_closed", "case": None, "how": how, "is_true": is_true} for how, is_true in ends]
    minute = {"minute": 1, "events": events, "directive": [0.0] * 8, "reward": 0.0, "raw_events": 0.0,
              "losses": {"damage": 0.0, "disruption": 0.0, "effort": 0.0}}  # fmt: skip
    header = {"scenario": soc_env.make_scenario("soc-v1").to_dict(), "network": {"zone_starts": [0]}}
    outcomes = measure(header, [minute])
    assert (outcomes["false_positives"], outcomes["true_negatives"], outcomes["missed_cases"]) == (2, 3, 3)
    assert outcomes["fdr"] == pytest.approx(2 / 3)
    assert outcomes["fpr"] == pytest.approx(2 / 5)


def test_outcomes_at_any_minute():
    env = played("rule-soar", 2, 0)
    assert env.trace().outcomes() == pytest.approx(env.metrics(), abs=1e-9)  # before the first
    for minutes in (1, 50, 120):
        env = played("rule-soar", 2, minutes)
        assert env.trace().outcomes() == pytest.approx(env.metrics(), abs=1e-9)


@pytest.mark.parametrize(
    "kind", ["alert", "case_closed", "compromise", "cleaned", "completed", "work", "detection", "action"]
)
def test_outcomes_come_from_the_events(busy, kind):
    """Without a kind of event they are others: nothing is copied from the metrics."""
    trace = busy.trace()
    for minute in trace.minutes:
        minute["events"] = [event for event in minute["events"] if event["event"] != kind]
    assert trace.outcomes() != pytest.approx(busy.metrics(), abs=1e-9)


def test_score_does_not_come_from_rewards():
    """Other weights, and a wrapper that changes rewards, leave all outcomes but the reward as they are."""

    class Greedy(soc_env.SOCEnv):
        def step(self, actions):
            observations, rewards, *rest = super().step(actions)
            return (observations, dict.fromkeys(rewards, 1000.0), *rest)

    env = played("rule-soar", 4)
    other = played("rule-soar", 4, weight_detection=7.0, weight_response=-3.0, weight_cost=0.0)
    wrapped = played("rule-soar", 4, env=Greedy("soc-v1"))
    sparse = played("rule-soar", 4, reward="sparse")
    assert other.metrics()["reward"] != env.metrics()["reward"]
    assert sparse.metrics()["reward"] != env.metrics()["reward"]
    for each in (other, wrapped, sparse):
        outcomes = each.trace().outcomes()
        assert {**outcomes, "reward": 0} == {**env.trace().outcomes(), "reward": 0}


def test_losses_and_terms_add_up(busy):
    trace, scenario = busy.trace(), busy.scenario
    for minute in trace.minutes:
        terms = zip(minute["terms"].values(), scenario.weights, strict=True)
        assert minute["reward"] == pytest.approx(sum(value * weight for value, weight in terms), abs=1e-9)
    outcomes = trace.outcomes()
    assert outcomes["effort"] == pytest.approx(scenario.analyst_loss * outcomes["analyst_minutes"], abs=1e-9)
    parts = [outcomes[name] for name in ("damage", "disruption", "effort")]
    assert outcomes["loss"] == pytest.approx(sum(parts), abs=1e-9)
    assert outcomes["reward"] == pytest.approx(sum(minute["reward"] for minute in trace.minutes), abs=1e-9)


# ---------------------------------------------------------------------- audit trail
def test_audit_trail_has_every_call(busy):
    env = soc_env.parallel_env("soc-v1", campaigns_per_hour=10.0)
    env.reset(seed=1)
    trace, kept = busy.trace(), []
    zones = env.simulator.network_of().zone_names
    for minute in trace.minutes:
        env.simulator.actions[TRIAGE][0] = minute["actions"][TRIAGE]
        for agent in AGENTS[1:]:
            env.simulator.actions[agent][0] = minute["actions"][agent]
        if minute["calls"] is not None:
            env.simulator.set_calls([tuple(call) for call in minute["calls"]])
        env.simulator.step()
        for call in env.simulator.calls():
            kind = TOOLS[TOOL_NAMES.index(call["tool"])].target
            target = zones[call["target"]] if kind == "zone" else None if kind == "network" else call["target"]
            kept.append((minute["minute"], call["tool"], call["platform"], target, call["level"], call["outcome"]))
    audit = busy.audit()
    names = ("minute", "tool", "platform", "target", "level", "outcome")
    assert [tuple(row[name] for name in names) for row in audit] == kept
    assert {row["by"] for row in audit if row["minute"] <= 100} == {"agent"}
    assert {row["by"] for row in audit if 100 < row["minute"] <= 123} == {"console"}
    assert {(row["tool"], row["agent"]) for row in audit} <= {(tool.name, tool.owner) for tool in TOOLS}


def test_audit_trail_says_how_jobs_ended(busy):
    audit, row_of = busy.audit(), dict(zip(TOOL_NAMES, TOOLS, strict=True))
    ended = [row for row in audit if row["completed"] is not None]
    approval = busy.scenario.approval_minutes
    for row in ended:
        wait = row["completed"] - row["minute"] - row_of[row["tool"]].minutes
        assert wait == 0 or (wait == approval and row_of[row["tool"]].risk_class == "high")
        assert row["result"] in ("done", "failed")
    assert {row["tool"] for row in ended} >= {"isolate", "deploy_decoy", "block_perimeter", "reset_credentials"}
    started = [row for row in audit if row["outcome"] == "started" and row["minute"] < 130]
    assert all(row["completed"] is not None for row in started)
    assert all(row["completed"] is None for row in audit if row["outcome"] in ("refused", "denied", "busy", "no_time"))


def test_audit_trail_of_instant_actions():
    env = soc_env.parallel_env("soc-v1", instant_actions=True)
    env.reset(seed=0)
    soc = env.console
    soc.soar.reimage(0), soc.soar.block_perimeter(), soc.edr.deploy_decoy(0)
    soc.advance()
    assert [(row["tool"], row["completed"], row["result"]) for row in env.audit()] == [
        ("reimage", 1, "done"), ("block_perimeter", 1, "done"), ("deploy_decoy", 1, "done"),
    ]  # fmt: skip


def test_events_are_named_by_one_table(busy):
    trace = busy.trace()
    kinds = {event["event"] for event in trace.events()}
    assert kinds == set(LOG_FIELDS) == set(LOG_KINDS)
    for event in trace.events():
        assert set(event) == {"minute", "event", *LOG_FIELDS[event["event"]]} - {""}
    assert {event["outcome"] for event in trace.events("call")} <= set(OUTCOMES)
    assert {event["technique"] for event in trace.events("alert")} <= set(TECHNIQUE_INDEX)
    assert {event["detail"] for event in trace.events("campaign") if event["change"] == "started"} <= {
        family.name for family in busy.simulator.families
    }
    for k, name in enumerate(CASE_ENDS):
        assert getattr(siem_kernels, name.upper()) == k
    for k, name in enumerate(CAMPAIGN_CHANGES):
        assert getattr(attempt_kernels, name.upper()) == k


# ---------------------------------------------------------------------- files
def test_save_and_load(busy, tmp_path):
    trace = busy.trace()
    path = trace.save(tmp_path / "new" / "episode.jsonl")
    assert Trace.load(path) == trace
    assert [file.name for file in path.parent.iterdir()] == ["episode.jsonl"]
    lines = path.read_text().splitlines()
    assert [json.loads(line)["record"] for line in lines] == ["header", *["minute"] * 150, "footer"]
    assert trace.header["scenario_hash"] == busy.scenario.hash()
    for minute, loaded in zip(trace.minutes, Trace.load(path).minutes, strict=True):
        for agent in AGENTS[1:]:
            exact = np.array(loaded["actions"][agent], np.float32)
            assert exact.tolist() == minute["actions"][agent]  # float32 survives


def test_a_save_that_fails_leaves_the_old_file(busy, tmp_path):
    path = busy.trace().save(tmp_path / "episode.jsonl")
    before = path.read_bytes()
    broken = busy.trace()
    broken.minutes[3]["reward"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        broken.save(path)
    assert path.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: "", "empty"),
        (lambda text: "hello\n", "not a trace"),
        (lambda text: '{"a": 1}\n', "not a trace"),
        (lambda text: "[1]\n", "not a trace"),
        (lambda text: '{"record": "header", "format": "other"}\n', "not a trace"),
        (lambda text: text.replace('"version":2', '"version":1', 1), "version 1; this software reads version 2"),
        (lambda text: text[: len(text) // 2], "cut off in line"),
        (lambda text: "\n".join(text.splitlines()[:40]) + "\n", "cut off after minute 39"),
        (lambda text: "\n".join(text.splitlines()[:40] + text.splitlines()[41:]) + "\n", "its footer says 150"),
        (lambda text: text.replace('"raw_events":', '"raw_events":1', 5), "digest"),
        (lambda text: text.replace('"score":', '"score":1'), "digest"),
        (lambda text: text.replace('"seed":1', '"seed":2'), "digest"),
        (lambda text: text + text.splitlines()[-1] + "\n", "does not belong"),
        (lambda text: text.replace("{", "", 30), "not a trace|damaged"),
        (lambda text: text.replace('\n{"record":"minute"', '\n"record":"minute"', 2), "line 2 is no record"),
    ],
)
def test_damaged_files_are_refused(busy, tmp_path, damage, message):
    path = busy.trace().save(tmp_path / "episode.jsonl")
    path.write_text(damage(path.read_text()))
    with pytest.raises(TraceError, match=message):
        Trace.load(path)


def test_no_file_and_no_text(tmp_path):
    with pytest.raises(TraceError, match="cannot be read"):
        Trace.load(tmp_path / "none.jsonl")
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(TraceError, match="not text"):
        Trace.load(tmp_path / "x")


# ---------------------------------------------------------------------- replay
def test_replay_gives_the_same_bytes(busy):
    trace = busy.trace()
    assert trace.replay() == trace
    assert trace.replay(num_envs=3, index=1) == trace
    assert list(trace.replay(num_envs=2, index=1).lines()) == list(trace.lines())


def test_digests_are_those_of_the_played_episode():
    """What the trace says was seen is what the agents saw: the trace is not just equal to itself."""
    env = soc_env.parallel_env("soc-v1", max_steps=30)
    env.reset(seed=3)
    env.reset()
    rng, seen, rewards, states = np.random.default_rng(0), [], [], []
    while env.agents:
        action = {agent: env.action_space(agent).sample() for agent in AGENTS}
        action[HUNTER] = rng.uniform(-2, 2, 16)
        observations, reward, *_ = env.step(action)
        seen.append([observations[agent].tobytes() for agent in AGENTS])
        rewards.append(reward[TRIAGE])
        states.append(env.state().tobytes())
    trace = env.trace()
    assert trace.header["episode"] == 1
    assert [minute["reward"] for minute in trace.minutes] == rewards
    for minute, arrays, state in zip(trace.minutes, seen, states, strict=True):
        assert minute["observations"] == hashlib.blake2b(b"".join(arrays), digest_size=8).hexdigest()
        assert minute["state"] == hashlib.blake2b(state, digest_size=8).hexdigest()


def test_replay_in_another_process(busy, tmp_path):
    path = busy.trace().save(tmp_path / "episode.jsonl")
    code = (
        "import sys; from soc_env.soc.trace import Trace; trace = Trace.load(sys.argv[1]); "
        "again = trace.replay(2, 1); again.save(sys.argv[2]); print(again.outcomes()['score'])"
    )
    copy_path = tmp_path / "again.jsonl"
    run = subprocess.run([sys.executable, "-c", code, path, copy_path], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    assert copy_path.read_bytes() == path.read_bytes()
    assert float(run.stdout) == busy.trace().outcomes()["score"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda trace: trace.header.update(seed=2), "observations|network"),
        (lambda trace: trace.header.update(scenario_hash="0"), "scenario_hash"),
        (lambda trace: trace.header["scenario"].update(analysts=5.0), "scenario_hash"),
        (lambda trace: trace.header["scenario"].update(colour=5.0), "scenario is not one of this version"),
        (lambda trace: trace.minutes[7].update(reward=0.123), "minute 8: reward"),
        (lambda trace: trace.minutes[3]["actions"][HUNTER].__setitem__(slice(0, 16), [1.0] * 16), "minute 4"),
        (lambda trace: trace.footer["metrics"].update(score=100.0), "metrics"),
    ],
)
def test_replay_notices_a_difference(busy, change, message):
    trace = copy.deepcopy(busy.trace())
    change(trace)
    with pytest.raises(TraceError, match=message):
        trace.replay()


def test_a_script_beyond_the_end_is_refused():
    env = played("null", max_steps=5)
    row = {agent: env.trace().minutes[0]["actions"][agent] for agent in AGENTS}
    with pytest.raises(TraceError, match="minute 6"):
        record(env.scenario, 0, 0, [RecordedStep(row, None)] * 6)


# ---------------------------------------------------------------------- the environment's side
def test_a_meddled_episode_is_refused():
    env = played("null", 0, 20)
    env.simulator.records(0).env["counts"][N_DAMAGE] += 1.0
    with pytest.raises(TraceError, match="changed by something else"):
        env.trace()


def test_rejected_actions_are_not_in_the_trace():
    env = played("random", 0, 10)
    with pytest.raises(soc_env.ActionError):
        env.step({HUNTER: np.full(16, np.nan)})
    env.step({TRIAGE: 1})
    trace = env.trace()
    assert len(trace.minutes) == 11
    assert trace.replay() == trace


def test_tracing_changes_nothing():
    env, twin = played("rule-soar", 2, 40), played("rule-soar", 2, 40)
    before = snapshot(env.simulator)
    env.trace(), env.audit()
    assert all(np.array_equal(a, b) for a, b in zip(before, snapshot(env.simulator), strict=True))
    assert env.step({})[1] == twin.step({})[1]
    assert env.simulator.records().log.size == 0  # no log is kept while playing


@pytest.mark.parametrize(
    "options", [{"actions": "discrete"}, {"coordinator": "absent"}, {"homogenize": True, "actions": "continuous"}]
)
def test_traces_of_all_forms_of_the_api(options):
    env = soc_env.parallel_env("soc-v1", max_steps=23, **options)
    env.reset(seed=0)
    while env.agents:
        env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    trace = env.trace()
    assert trace.replay() == trace
    assert trace.header["options"] == env.layout.options
    assert trace.footer["is_over"]


def test_traces_of_copies_and_of_other_horizons():
    env = played("rule-soar", 2, 20)
    twin = copy.deepcopy(env)
    env.step({})
    twin.step({})
    assert twin.trace() == env.trace()
    env.max_cycles = 8
    env.reset()
    while env.agents:
        env.step({})
    assert len(env.trace().minutes) == 8
    assert env.trace().outcomes() == pytest.approx(env.metrics(), abs=1e-9)


def test_paper_has_no_trace_and_no_episode_none():
    env = soc_env.parallel_env("paper-v0")
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="soc-v1 family; this is paper-v0"):
        env.trace()
    with pytest.raises(soc_env.HMARLSOCError, match="reset"):
        soc_env.parallel_env("soc-v1").trace()
    assert ORCHESTRATOR in env.agents


def test_a_full_log_is_an_error_and_no_loss(monkeypatch):
    env = played("rule-soar", 1, 60)
    monkeypatch.setattr("soc_env.soc.trace.LOG_CAPACITY", 8)
    with pytest.raises(TraceError, match="more than 7 events"):
        env.trace()
