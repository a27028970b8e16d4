"""Actions, ends and the order of calls of the PettingZoo environment; its figures and documentation."""

import doctest
import time

import gymnasium
import numpy as np
import pytest
from engine_cases import both_families
from frames import calm, play, same, sample, seeded
from gymnasium.spaces import Discrete

import soc_env
import soc_env.parallel
from soc_env import AGENTS, ActionError, ConfigError, HMARLSOCError, ScenarioError
from soc_env.paper.presets import PRESETS
from soc_env.parallel import ResetNeeded
from soc_env.registry import idle_actions, presets_of
from soc_env.soc.presets import presets as soc_presets

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = AGENTS


# ---------------------------------------------------------------------- actions


@both_families
def test_coordinator_is_held_between_decisions(scenario):
    """Between decisions nothing the coordinator sends, however bad, changes a byte; on decision steps it does."""
    generator = np.random.default_rng(0)

    def episode(between, on):
        env = seeded(soc_env.parallel_env(scenario), 1)
        frames, infos = [], env.reset(seed=2)[1]
        decided = 0
        for _ in range(30):
            if not env.agents:
                break
            actions = sample(env)
            decides = infos[COORDINATOR]["decides"]
            decided += decides
            actions[COORDINATOR] = on() if decides else between()
            frames.append(env.step(actions))
            infos = frames[-1][-1]
        assert decided >= 2
        return frames

    def low():
        return -np.ones(8, np.float32)

    expected = episode(low, low)
    for between in (lambda: generator.uniform(-1, 1, 8), lambda: np.full(8, np.nan), lambda: "nonsense", lambda: None):
        assert same(expected, episode(between, low))
    assert not same(expected, episode(low, lambda: np.ones(8)))


@both_families
def test_a_missing_action_holds(scenario):
    def episode(policy):
        env = soc_env.parallel_env(scenario)
        env.reset(seed=4)
        return [env.step(policy(step)) for step in range(6)]

    idle = {TRIAGE: 3, **idle_actions(soc_env.make_scenario(scenario))}
    if scenario == "paper-v0":
        assert not any(idle[agent].any() for agent in (HUNTER, ORCHESTRATOR, COORDINATOR))
    assert same(episode(lambda step: {}), episode(lambda step: idle))  # after reset
    hunt = np.linspace(-1, 1, 16, dtype=np.float32)
    respond = np.linspace(1, -1, 12, dtype=np.float32)
    full = {HUNTER: hunt, ORCHESTRATOR: respond, COORDINATOR: np.full(8, 0.5), TRIAGE: 3}
    once = episode(lambda step: full if step == 0 else {HUNTER: None})
    assert same(once, episode(lambda step: full))
    assert not same(once, episode(lambda step: idle))
    forgotten = soc_env.parallel_env(scenario)
    forgotten.reset(seed=9)
    forgotten.step(full)
    forgotten.reset(seed=4)
    assert same(forgotten.step({}), episode(lambda step: idle)[0])


@both_families
def test_equal_actions_in_other_forms(scenario):
    def step(hunter=0.5, choice=1, **more):
        env = soc_env.parallel_env(scenario)
        env.reset(seed=4)
        for _ in range(4):
            env.step(calm(env))
        vector = np.full(16, hunter, np.float32) if isinstance(hunter, float) else hunter
        return env.step({**calm(env), HUNTER: vector, TRIAGE: choice, **more})

    expected = step()
    for choice in (np.int64(1), np.int32(1), np.uint8(1), np.array(1), np.array([1]), True, [1]):
        assert same(expected, step(choice=choice)), repr(choice)
    strided = np.full(32, 0.5, np.float32)[::2]
    for vector in ([0.5] * 16, (0.5,) * 16, np.full(16, 0.5), np.full(16, 0.5, np.float16), strided):
        assert same(expected, step(hunter=vector))
    big_endian = np.full(16, 0.5, ">f4")
    assert same(expected, step(hunter=big_endian))
    assert same(step(hunter=[1] * 16), step(hunter=[7] * 16))  # clipped
    assert same(step(hunter=np.full(16, np.inf)), step(hunter=np.full(16, 1e300)))
    assert not same(expected, step(hunter=-1.0))
    assert same(expected, step(nobody_0=np.nan, Alert_triage_0=9))  # keys that are no agent's


BAD_ACTIONS = [
    (TRIAGE, 4, "alert_triage_0: action 4 is out of range; allowed: 0 to 3"),
    (TRIAGE, -1, "alert_triage_0: action -1 is out of range"),
    (TRIAGE, np.int64(2**40), "is out of range"),
    (TRIAGE, 1.0, "alert_triage_0: action 1.0 is not one integer"),
    (TRIAGE, np.array([1, 2]), "not one integer"),
    (TRIAGE, "escalate", "not one integer"),
    (HUNTER, np.zeros(15), r"threat_hunter_0: action has shape \(15,\); allowed: \(16,\)"),
    (HUNTER, np.zeros((1, 16), np.float32), r"shape \(1, 16\)"),
    (HUNTER, np.zeros((16, 1), np.float32), r"shape \(16, 1\)"),
    (HUNTER, 0.0, r"shape \(\)"),
    (HUNTER, [0.0] * 15 + [float("nan")], r"threat_hunter_0: action\[15\] is NaN"),
    (HUNTER, np.full(16, np.nan, np.float32), "threat_hunter_0: the action has NaN"),
    (HUNTER, np.array(["0"] * 16), "is not numeric"),
    (HUNTER, [[0.0] * 8, [0.0] * 7], "is not numeric"),
    (HUNTER, np.zeros(16, complex), "is not numeric"),
    (HUNTER, object(), "is not numeric"),
    (ORCHESTRATOR, np.zeros(16, np.float32), r"response_orchestrator_0: action has shape \(16,\); allowed: \(12,\)"),
    (COORDINATOR, np.full(8, np.nan), r"strategic_coordinator_0: action\[0\] is NaN"),
]


@both_families
@pytest.mark.parametrize(("agent", "action", "message"), BAD_ACTIONS, ids=[f"{a}-{m[:30]}" for a, _, m in BAD_ACTIONS])
def test_a_bad_action_changes_nothing(scenario, agent, action, message):
    env, twin = (seeded(soc_env.parallel_env(scenario), 1) for _ in range(2))
    for each in (env, twin):
        each.reset(seed=5)
        for _ in range(5):  # the next step is a decision
            each.step(calm(each))
    with pytest.raises(ActionError, match=message) as caught:
        env.step({**{a: np.ones(s) for a, s in ((HUNTER, 16), (ORCHESTRATOR, 12), (COORDINATOR, 8))}, agent: action})
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, HMARLSOCError)
    assert same([env.step({}), env.step({})], [twin.step({}), twin.step({})])
    assert same(env.state(), twin.state())


@both_families
def test_a_preset_is_its_vector(scenario):
    discrete, mixed = soc_env.parallel_env(scenario, actions="discrete"), soc_env.parallel_env(scenario)
    for agent, presets in presets_of(mixed.scenario).items():
        assert discrete.action_space(agent) == Discrete(len(presets))
        for choice, (name, vector) in enumerate(presets.items()):
            assert mixed.action_space(agent).contains(vector), name
            discrete.reset(seed=6)
            mixed.reset(seed=6)
            for _ in range(5):
                pair = discrete.step({agent: choice}), mixed.step({agent: vector})
                assert same(*pair), name
    count = len(presets_of(mixed.scenario)[HUNTER])
    with pytest.raises(
        ActionError, match=f"threat_hunter_0: action {count} is out of range; allowed: 0 to {count - 1}"
    ):
        discrete.step({HUNTER: count})


@both_families
def test_continuous_triage_takes_the_largest(scenario):
    continuous, mixed = soc_env.parallel_env(scenario, actions="continuous"), soc_env.parallel_env(scenario)
    for choice in range(4):
        continuous.reset(seed=6)
        mixed.reset(seed=6)
        values = np.full(4, -0.5, np.float32)
        values[choice] = 0.1
        for _ in range(12):
            assert same(continuous.step({TRIAGE: values}), mixed.step({TRIAGE: choice}))
    with pytest.raises(ActionError, match="alert_triage_0: action has shape"):
        continuous.step({TRIAGE: 1})
    with pytest.raises(ActionError, match=r"alert_triage_0: action\[0\] is NaN"):
        continuous.step({TRIAGE: np.full(4, np.nan, np.float32)})


# ---------------------------------------------------------------------- ends and order of calls


def test_time_limit_truncates_and_containment_terminates():
    env = soc_env.parallel_env("paper-v0", max_steps=7)
    frames = play(env, 0, calm)
    assert len(frames) == 8
    assert frames[-1][2] == dict.fromkeys(AGENTS, False)
    assert frames[-1][3] == dict.fromkeys(AGENTS, True)
    env = soc_env.parallel_env("paper-v0")
    outcomes = set()
    for seed in range(30):
        frames = play(env, seed, lambda env: {})
        figures = env.metrics()
        outcomes.add((figures["csr"], figures["exfiltrated"], *frames[-1][2].values(), *frames[-1][3].values()))
        assert frames[-1][2][TRIAGE] == bool(figures["csr"] or figures["exfiltrated"])
        assert figures["length"] == len(frames) - 1
        assert set(frames[-1][0]) == set(AGENTS)  # a full last frame
        assert env.state_space.contains(env.state())
    assert (1.0, 0, *[True] * 4, *[False] * 4) in outcomes


@both_families
def test_calls_out_of_order(scenario):
    env = soc_env.parallel_env(scenario, render_mode="ansi")
    assert env.agents == []
    for call in (env.state, env.metrics, env.render, lambda: env.step({})):
        with pytest.raises(ResetNeeded, match=r"call reset\(\) first") as caught:
            call()
        assert isinstance(caught.value, (HMARLSOCError, gymnasium.error.ResetNeeded))
    play(env, 0, lambda env: {})
    before = env.metrics()
    with pytest.raises(ResetNeeded):
        env.step({})
    assert env.metrics() == before
    env.close()
    env.close()
    env.reset(seed=0)
    assert env.agents == list(AGENTS)


@both_families
def test_max_cycles_can_be_assigned(scenario):
    env = seeded(soc_env.parallel_env(scenario, seed=3), 1)
    assert env.max_cycles == 200
    env.max_cycles = 4
    assert len(play(env, policy=calm)) == 5
    env.reset()
    env.max_cycles = 9
    for _ in range(4):
        env.step(calm(env))
    assert not env.agents  # counts from the next reset
    assert len(play(env, policy=calm)) == 10
    direct = soc_env.parallel_env(scenario, seed=3, max_steps=9)
    for _ in range(5):
        expected = play(direct, policy=calm)
    env.max_cycles = 4
    env.reset(seed=3)
    env.reset()
    env.reset()
    env.max_cycles = 9
    env.reset()
    assert same(play(env, policy=calm), expected)  # fifth episode of the stream: the stream is not started anew
    env.max_cycles = 0
    with pytest.raises(ScenarioError, match="max_steps=0 must be"):
        env.reset()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"scenario": "paper-v1"}, ScenarioError, "scenario 'paper-v1' does not exist; did you mean 'paper-v0'"),
        ({"num_host": 3}, ScenarioError, "'num_host' does not exist; did you mean 'num_hosts'"),
        ({"num_hosts": 0}, ScenarioError, "num_hosts=0"),
        ({"max_steps": 1.5}, ScenarioError, "max_steps=1.5"),
        (
            {"render_mode": "rgb_arrays"},
            ConfigError,
            "render_mode 'rgb_arrays' does not exist; did you mean 'rgb_array'",
        ),
        ({"actions": "discreet"}, ConfigError, "actions 'discreet' does not exist; did you mean 'discrete'"),
        ({"masks": True}, ConfigError, "masks True does not exist"),
        ({"coordinator": "gone"}, ConfigError, "coordinator 'gone'"),
        ({"homogenize": 1}, ConfigError, "homogenize=1 must be True or False"),
        ({"homogenize": True}, ConfigError, "homogenize=True needs actions of one kind"),
        ({"masks": "obs", "actions": "continuous"}, ConfigError, "masks='obs' needs a Discrete agent"),
        ({"seed": -1}, ConfigError, "seed=-1"),
    ],
)
def test_bad_arguments(arguments, error, message):
    for build in (soc_env.parallel_env, soc_env.env):
        with pytest.raises(error, match=message) as caught:
            build(**arguments)
        assert "\n" not in str(caught.value)


@both_families
def test_bad_seeds_leave_the_episode_alone(scenario):
    env = soc_env.parallel_env(scenario)
    env.reset(seed=1)
    env.step({})
    for seed in (-1, 1.5, "one", True):
        with pytest.raises(ConfigError, match="seed="):
            env.reset(seed=seed)
    assert env.metrics()["length"] == 1
    with pytest.raises(ConfigError, match="coordinator='absent' is for parallel_env"):
        soc_env.env(scenario, coordinator="absent")


# ---------------------------------------------------------------------- the absent coordinator


@both_families
def test_absent_coordinator_plays_the_same_episode(scenario):
    present, absent = (
        seeded(soc_env.parallel_env(scenario), 1),
        seeded(soc_env.parallel_env(scenario, coordinator="absent"), 1),
    )
    for seed in range(6):
        frame, twin = present.reset(seed), absent.reset(seed)
        assert same(frame, twin)
        owed, step = 0.0, 0
        while present.agents:
            actions = sample(present)
            step += 1
            given = {agent: actions[agent] for agent in absent.agents}
            assert (COORDINATOR in given) == ((step - 1) % 5 == 0)
            frame, twin = present.step(actions), absent.step(given)
            owed += frame[1][COORDINATOR]
            is_back = step % 5 == 0 or not present.agents
            assert all(set(part) == set(AGENTS if is_back else AGENTS[:-1]) for part in twin)
            for agent in AGENTS[:-1]:
                assert all(same(part[agent], other[agent]) for part, other in zip(frame, twin, strict=True))
            if is_back:
                assert twin[1][COORDINATOR] == pytest.approx(owed)
                assert same(frame[0][COORDINATOR], twin[0][COORDINATOR])
                owed = 0.0
        assert absent.agents == []


# ---------------------------------------------------------------------- figures, documentation, speed


def test_metrics_agree_with_what_happened():
    env = seeded(soc_env.parallel_env("paper-v0"), 2)
    for seed in range(20):
        total, steps = 0.0, 0
        env.reset(seed)
        assert env.metrics()["length"] == 0
        while env.agents:
            total += env.step(sample(env))[1][TRIAGE]
            steps += 1
            figures = env.metrics()
            assert figures["reward"] == pytest.approx(total)
            assert figures["length"] == steps
            hosts = env.simulator.hosts()
            assert figures["compromised"] == hosts["is_compromised"].sum()
            assert list(figures) == [metric.name for metric in soc_env.paper.tables.METRICS]
            assert all(type(value) in (int, float) for value in figures.values())
        row = env.simulator.episode_metrics[0]
        assert figures == {metric.name: row[metric.name] for metric in soc_env.paper.tables.METRICS}
        assert figures["csr"] in (0.0, 1.0)


def test_documentation_example_runs():
    assert doctest.testmod(soc_env.parallel).attempted >= 8
    assert doctest.testmod(soc_env.parallel).failed == 0


def test_documentation_names_every_agent_option_and_preset_count():
    page = " ".join(soc_env.parallel.__doc__.split())
    for word in (*AGENTS, "actions", "masks", "homogenize", "coordinator", "render_mode", "seed", "max_cycles"):
        assert f"`{word}" in page, word
    counts = [len(PRESETS[agent]) for agent in (HUNTER, ORCHESTRATOR, COORDINATOR)]
    assert "{}, {} and {} of them in `paper-v0`".format(*counts) in page
    for num_zones in (1, 5, 16):
        counts = [len(presets) - num_zones for presets in soc_presets(num_zones).values()]
        assert "{} + Z, {} + Z and {} + Z of them in `soc-v1`".format(*counts) in page


@pytest.mark.parametrize(("scenario", "floor"), [("paper-v0", 40_000), ("soc-v1", 20_000)])
def test_single_environment_is_fast(scenario, floor):
    """Steps per CPU-second; the bench, on a quiet machine, asks for 100,000 and 50,000."""
    env = seeded(soc_env.parallel_env(scenario), 0)
    actions = [{agent: env.action_space(agent).sample() for agent in AGENTS} for _ in range(32)]

    def rate(steps):
        start = time.process_time()
        for step in range(steps):
            if not env.agents:
                env.reset()
            env.step(actions[step % len(actions)])
        return steps / (time.process_time() - start)

    rate(1000)
    assert max(rate(5000) for _ in range(5)) > floor
