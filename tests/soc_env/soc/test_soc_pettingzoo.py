"""What the dict API adds for `soc-v1`: sizes for any number of zones, masks, presets, holding, metrics.

What holds for both families is in `test_pettingzoo.py`, which plays `soc-v1` and `soc-cage4-v0` too.
"""

import numpy as np
import pytest
from frames import digest, play, same, sample, seeded
from gymnasium.spaces import Box, Discrete

import soc_env
from soc_env import AGENTS, ConfigError, ScenarioError
from soc_env.registry import preset_tables, presets_of
from soc_env.soc import tables
from soc_env.soc.presets import presets as soc_presets

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = AGENTS
REAL = {
    "reward", "score", "loss", "damage", "disruption", "effort", "mttd", "mtta", "mttc", "mttr", "fdr", "fpr",
    "action_fdr", "evidence_gated", "csr", "analyst_minutes",
}  # the other metrics are counts  # fmt: skip
ENRICH = 3
SETTINGS = [
    {"num_zones": 1},
    {"num_zones": 8},
    {"num_zones": 16, "num_hosts": 400},
    {"num_hosts": 20},
    {"num_hosts": 100_000, "num_networks": 1, "max_steps": 30},
    {"scenario": "soc-cage4-v0", "max_steps": 60},
    {"max_steps": 1},
    {"coordinator_period": 1, "order": "defenders_first", "instant_actions": True},
    {"benign_alerts_per_hour": 3000.0, "queue_capacity": 32, "analysts": 100.0},
    {"benign_alerts_per_hour": 0.0, "analysts": 0.0, "events_per_host_hour": 0.0},
    {"campaigns_per_hour": 60.0, "first_campaign": 1, "stealth_factor": 0.0, "sensor_coverage": 1.0},
    {"split": "test", "families": ("wiper",), "persistence": False, "reward": "sparse"},
    {"undefended_zones": (0, 3)},
    {"phase_values": (0.0, 10.0, 10.0), "service_loss": 1000.0, "weight_cost": -1e6},
]


def constant(level, choice):
    """Every entry of every Box at one level, triage at one choice."""
    return lambda env: {
        agent: choice if agent == TRIAGE else np.full(env.action_space(agent).shape, level, np.float32)
        for agent in env.agents
    }


# ---------------------------------------------------------------------- sizes and spaces
@pytest.mark.parametrize("num_zones", [1, 5, 8, 16])
def test_sizes_follow_the_zones(num_zones):
    env = soc_env.parallel_env(num_zones=num_zones, num_hosts=max(20, 10 * num_zones))
    z = num_zones
    boxes = {HUNTER: 3 * z + 1, ORCHESTRATOR: 2 * z + 2, COORDINATOR: z + 3}
    assert env.action_spaces == {
        TRIAGE: Discrete(4),
        **{agent: Box(-1, 1, (size,), np.float32) for agent, size in boxes.items()},
    }
    seen = {agent: 23 * z + 19 + 20 * (8 if agent == TRIAGE else 3) for agent in AGENTS}
    assert {agent: space.shape[0] for agent, space in env.observation_spaces.items()} == seen
    for agent in AGENTS:
        assert env.features(agent) == soc_env.features(agent, "soc-v1", num_zones=z)
        assert len(set(env.features(agent))) == seen[agent]
    assert env.state_space.shape == (seen[TRIAGE] + 7 * z + 8 + 3 * 7,)


def test_the_default_is_soc_v1():
    env = soc_env.parallel_env()
    assert env.scenario == soc_env.make_scenario() == soc_env.Simulator().scenario == soc_env.SCENARIOS["soc-v1"]
    assert env.metadata["name"] == str(env) == str(soc_env.env()) == "soc_v1"
    assert str(soc_env.parallel_env("soc-cage4-v0")) == "soc_cage4_v0"
    assert soc_env.features(HUNTER) == env.features(HUNTER)
    assert soc_env.features(HUNTER, env.scenario, num_zones=2) == soc_env.features(HUNTER, num_zones=2)
    assert soc_env.features(HUNTER, "paper-v0") == soc_env.parallel_env("paper-v0").features(HUNTER)
    assert repr(env).startswith("SOCEnv('soc-v1', num_hosts=200, actions='mixed'")


def test_homogenized_sizes_are_those_of_the_page():
    choices = soc_env.parallel_env(actions="discrete", homogenize=True)
    boxes = soc_env.parallel_env(actions="continuous", homogenize=True)
    page = " ".join(soc_env.parallel.__doc__.split())
    assert "294 + 4 entries" in page
    assert "13 choices (11)" in page
    for agent in AGENTS:
        assert choices.observation_space(agent).shape == boxes.observation_space(agent).shape == (298,)
        assert choices.action_space(agent) == Discrete(13)
        assert boxes.action_space(agent).shape == (16,)


# ---------------------------------------------------------------------- spaces and rows hold whatever is played
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_unusual_settings_keep_the_contract(settings):
    """Every observation in its space and in the range of its row, rewards finite, the full episode repeatable."""
    policies = [sample, constant(1.0, 0), constant(-1.0, 1), constant(0.0, ENRICH)]
    env = seeded(soc_env.parallel_env(**settings), 3)
    lows, highs = ({a: np.array([getattr(f, s) for f in env.simulator.feature_tables[a]]) for a in AGENTS}
                   for s in ("low", "high"))  # fmt: skip
    for seed, policy in enumerate(policies):
        observations, infos = env.reset(seed=seed)
        steps = 0
        while env.agents:
            observations, rewards, terminations, truncations, infos = env.step(policy(env))
            steps += 1
            for agent in AGENTS:
                assert env.observation_space(agent).contains(observations[agent]), (agent, steps)
                assert (observations[agent] >= lows[agent] - 1e-6).all(), (agent, steps)
                assert (observations[agent] <= highs[agent] + 1e-6).all(), (agent, steps)
                assert np.isfinite(rewards[agent])
                assert terminations[agent] is False
            assert env.state_space.contains(env.state())
        assert steps == env.scenario.max_steps
        assert set(truncations.values()) == {True}
    frames = play(seeded(env, 1), 5)
    assert same(frames, play(seeded(soc_env.parallel_env(**settings), 1), 5))


def test_first_frames_differ_by_network_and_episodes_by_seed():
    env = soc_env.parallel_env()
    assert len({digest(play(seeded(env, 1), seed)) for seed in range(10)}) == 10


# ---------------------------------------------------------------------- masks
@pytest.mark.parametrize("scenario", ["soc-v1", "soc-cage4-v0"])
def test_masks_are_the_simulators(scenario):
    env = soc_env.parallel_env(scenario, actions="discrete", masks="obs", benign_alerts_per_hour=120.0)
    informed = soc_env.parallel_env(scenario, actions="discrete", masks="info", benign_alerts_per_hour=120.0)
    names = env.features(TRIAGE)
    present, minutes, reads = (names.index(name) for name in ("case0_present", "analyst_time", "case0_enriched"))
    generator, seen = np.random.default_rng(0), set()
    for seed in range(4):
        observations, infos = env.reset(seed=seed)
        twin = informed.reset(seed=seed)[1]
        while env.agents:
            masks = {agent: observations[agent]["action_mask"] for agent in AGENTS}
            row = observations[TRIAGE]["observation"]
            can = row[present] > 0 and row[minutes] > 0
            expected = [int(can)] * 3 + [int(not can or row[reads] < 1)]
            assert masks[TRIAGE].tolist() == expected == env.simulator.action_masks()[TRIAGE][0].tolist()
            assert masks[COORDINATOR].sum() == (masks[COORDINATOR].size if infos[COORDINATOR]["decides"] else 1)
            assert masks[COORDINATOR][0] == 1
            assert masks[HUNTER].all()
            assert masks[ORCHESTRATOR].all()
            assert all(np.array_equal(twin[agent]["action_mask"], masks[agent]) for agent in AGENTS)
            seen.add(tuple(expected))
            actions = {agent: int(generator.choice(np.flatnonzero(mask))) for agent, mask in masks.items()}
            actions[TRIAGE] = int(ENRICH) if masks[TRIAGE][ENRICH] and generator.random() < 0.9 else actions[TRIAGE]
            observations, *_, infos = env.step(actions)
            twin = informed.step(actions)[-1]
    assert seen == {(1, 1, 1, 1), (0, 0, 0, 1), (1, 1, 1, 0)}


def test_masks_tell_what_the_tools_refuse():
    """Truth behind the mask: a masked-out choice does nothing, an open one is a call that is not refused."""
    env = soc_env.parallel_env(masks="info", benign_alerts_per_hour=120.0)
    generator, refused = np.random.default_rng(1), 0
    for seed in range(3):
        infos = env.reset(seed=seed)[1]
        while env.agents:
            mask = infos[TRIAGE]["action_mask"]
            choice = int(generator.choice([0, 1, 2, 3, 3, 3, 3]))
            *_, infos = env.step({TRIAGE: choice})
            outcomes = [c["outcome"] for c in env.simulator.calls() if c["platform"] == "SIEM"]
            if mask.sum() == 1:
                assert outcomes == []
            else:
                assert outcomes == (["done"] if mask[choice] else ["refused"])
            refused += outcomes == ["refused"]
    assert refused > 5


# ---------------------------------------------------------------------- presets and holding
@pytest.mark.parametrize("num_zones", [1, 5, 16])
def test_presets_are_actions_and_differ(num_zones):
    presets = soc_presets(num_zones)
    assert [len(presets[agent]) for agent in (HUNTER, ORCHESTRATOR, COORDINATOR)] == [
        7 + num_zones, 8 + num_zones, 7 + num_zones
    ]  # fmt: skip
    for agent, rows in presets.items():
        size = len(tables.actions(agent, num_zones))
        table = np.array(list(rows.values()))
        assert table.shape == (len(rows), size)
        assert table.dtype == np.float32
        assert np.abs(table).max() <= 1
        is_apart = len(np.unique(table, axis=0)) == len(rows)
        assert is_apart or num_zones == 1  # with one zone "everywhere" and "only here" may be the same


def test_presets_do_what_their_names_say():
    """Tools that each preset calls over an episode on a network that is under attack."""
    zones = 5
    wanted = {
        (HUNTER, "rest"): set(),
        (HUNTER, "routine"): {"deep_scan", "collect_forensics"},
        (HUNTER, "wide"): {"hunt"},
        (HUNTER, "deep"): {"deep_scan", "collect_forensics"},
        (HUNTER, "routine_with_decoys"): {"deep_scan", "collect_forensics", "deploy_decoy"},
        (HUNTER, "routine_with_intel"): {"deep_scan", "collect_forensics", "intel_sweep"},
        (HUNTER, "all_out"): {"deep_scan", "collect_forensics", "deploy_decoy", "intel_sweep"},
        (HUNTER, "only_zone_2"): {"deep_scan", "collect_forensics"},
        (ORCHESTRATOR, "rest"): set(),
        (ORCHESTRATOR, "release"): set(),  # there is nothing to release
        (ORCHESTRATOR, "isolate"): {"isolate"},
        (ORCHESTRATOR, "kill"): {"kill_process"},
        (ORCHESTRATOR, "reimage"): {"reimage"},
        (ORCHESTRATOR, "isolate_and_reimage"): {"isolate", "reimage"},
        (ORCHESTRATOR, "block_perimeter"): {"block_perimeter"},
        (ORCHESTRATOR, "reset_credentials"): {"reset_credentials"},
        (ORCHESTRATOR, "only_zone_2"): {"isolate", "reimage"},
    }
    env = soc_env.parallel_env(actions="discrete", campaigns_per_hour=10.0)
    names = {agent: list(rows) for agent, rows in soc_presets(zones).items()}
    for (agent, name), tools in wanted.items():
        env.reset(seed=1)
        called, hunted = set(), set()
        while env.agents:
            env.step({agent: names[agent].index(name)})
            calls = [c for c in env.simulator.calls() if c["platform"] != "SIEM"]
            called |= {c["tool"] for c in calls}
            hunted |= {c["target"] for c in calls if c["tool"] in ("hunt", "deep_scan")}
        assert called == tools, name
        if agent == HUNTER and tools:
            assert hunted == ({2} if name == "only_zone_2" else set(range(zones)))


def test_an_isolated_host_is_released_by_the_preset():
    env = soc_env.parallel_env(actions="discrete", campaigns_per_hour=10.0)
    names = list(soc_presets(5)[ORCHESTRATOR])
    env.reset(seed=1)
    for _ in range(100):
        env.step({ORCHESTRATOR: names.index("isolate")})
    assert env.simulator.hosts()["is_isolated"].any()
    called = set()
    for _ in range(20):
        env.step({ORCHESTRATOR: names.index("release")})
        called |= {c["tool"] for c in env.simulator.calls() if c["platform"] == "SOAR"}
    assert called == {"release"}


def test_directive_presets_are_in_force_until_the_next_decision():
    env = soc_env.parallel_env(actions="discrete")
    first = env.features(HUNTER).index("directive_priority_0")
    for choice, (name, vector) in enumerate(soc_presets(5)[COORDINATOR].items()):
        env.reset(seed=0)
        for step in range(5):
            observations, *_ = env.step({COORDINATOR: choice if step == 0 else 1})
            assert observations[HUNTER][first : first + 8].tolist() == vector.tolist(), (name, step)


def test_an_agent_that_never_acts_does_nothing():
    """Nobody hunts, responds or directs; triage only enriches; as the null playbook, to the byte."""
    env, twin = soc_env.parallel_env(), soc_env.parallel_env(actions="discrete")
    env.reset(seed=2)
    twin.reset(seed=2)
    tools = set()
    while env.agents:
        frame = env.step({})
        tools |= {call["tool"] for call in env.simulator.calls()}
        assert same(frame, twin.step({TRIAGE: ENRICH, HUNTER: 0, ORCHESTRATOR: 0, COORDINATOR: 0}))
    assert tools == {"enrich", "query"}
    idle = {agent: table[0] for agent, table in preset_tables(env.scenario).items()}
    assert idle[HUNTER].tolist() == [-1.0] * 16
    assert idle[ORCHESTRATOR].tolist() == [0.0] * 5 + [-1.0] * 7
    assert idle[COORDINATOR].tolist() == [0.0] * 8


def test_presets_handed_out_are_copies():
    table = preset_tables(soc_env.make_scenario())[HUNTER]
    table[:] = 7
    assert max(map(np.max, presets_of(soc_env.make_scenario())[HUNTER].values())) == 1


# ---------------------------------------------------------------------- metrics, horizon, bad input
def test_metrics_are_counts_or_real():
    env = seeded(soc_env.parallel_env(), 5)
    names = [metric.name for metric in tables.METRICS]
    assert set(names) >= REAL
    for seed in range(4):
        env.reset(seed)
        total = 0.0
        while env.agents:
            total += env.step(sample(env))[1][HUNTER]
        figures, row = env.metrics(), env.simulator.episode_metrics[0]
        assert list(figures) == names
        for name, value in figures.items():
            assert type(value) is (float if name in REAL else int), name
            assert value == row[name], name  # a count is a whole number
        assert figures["reward"] == pytest.approx(total)
        assert figures["loss"] == pytest.approx(figures["damage"] + figures["disruption"] + figures["effort"])
        assert figures["length"] == 200


def test_a_new_horizon_keeps_the_stream():
    env = seeded(soc_env.parallel_env(seed=3, num_hosts=60), 1)
    env.reset(seed=9)
    env.reset()
    env.max_cycles = 25
    env.reset()
    assert env.simulator.episodes.tolist() == [2]
    assert env.scenario.max_steps == 25
    direct = seeded(soc_env.parallel_env(num_hosts=60, max_steps=25), 1)
    direct.reset(seed=9)
    direct.reset()
    direct.reset()
    assert same([env.step(sample(env)) for _ in range(25)], [direct.step(sample(direct)) for _ in range(25)])
    assert env.agents == []
    assert env.metrics() == direct.metrics()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scenario": "soc-v3"}, ScenarioError, "scenario 'soc-v3' does not exist; did you mean 'soc-v"),
        ({"num_zone": 3}, ScenarioError, "'num_zone' does not exist; did you mean 'num_zones'"),
        ({"redraw_vulnerabilities": False}, ScenarioError, "'redraw_vulnerabilities' does not exist"),
        ({"num_zones": 17}, ScenarioError, "num_zones=17 must be an integer from 1 to 16"),
        ({"num_hosts": 19}, ScenarioError, "num_hosts=19 must be"),
        ({"order": "attackers_first"}, ScenarioError, "order 'attackers_first' does not exist"),
        ({"alert_drop": float("nan")}, ScenarioError, "alert_drop=nan must be"),
        ({"actions": "discreet"}, ConfigError, "did you mean 'discrete'"),
        ({"seed": -1}, ConfigError, "seed=-1"),
    ],
)
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message) as caught:
        soc_env.parallel_env(**arguments)
    assert "\n" not in str(caught.value)
    if isinstance(caught.value, ScenarioError):
        with pytest.raises(ScenarioError, match=message):
            soc_env.features(HUNTER, **arguments)


def test_features_of_nobody():
    with pytest.raises(ConfigError, match="agent 'threat_hunter' does not exist; did you mean 'threat_hunter_0'"):
        soc_env.features("threat_hunter")
