"""Scripted policies: what they send, what they may see, and the numbers they are known for."""

import math

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

import soc_env
from experiments.evaluate import EvaluationResult, evaluate, paired_gain
from policies.scripted import SCRIPTED, ConstantPolicy, RandomPolicy
from policies.scripted.paper import (
    CORRELATE,
    ENRICH,
    ESCALATE,
    REACHABLE,
    RULE_SOAR_READS,
    SUPPRESS,
    RuleSoarPolicy,
)
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE, index_of
from soc_env.errors import ConfigError
from soc_env.paper.tables import FEATURES

SPACES = soc_env.Simulator("paper-v0").action_spaces
NUM_EPISODES = 2000

Observations = dict[str, np.ndarray]


def play(policy_name: str, num_envs: int, num_steps: int) -> tuple[list[Observations], list[Observations]]:
    """Observations and actions of a run with auto-reset, step by step."""
    simulator = soc_env.Simulator("paper-v0", num_envs=num_envs, seed=3)
    policy = SCRIPTED["paper"][policy_name](SPACES, 0)
    simulator.reset()
    seen, sent = [], []
    for _ in range(num_steps):
        seen.append({agent: observation.copy() for agent, observation in simulator.observations.items()})
        sent.append(policy(simulator.observations, simulator.decides))
        for agent, action in sent[-1].items():
            simulator.actions[agent] = action
        simulator.step()
    return seen, sent


# --- every policy


@pytest.mark.parametrize("name", SCRIPTED["paper"])
@pytest.mark.parametrize("num_envs", [1, 7])
def test_actions_lie_in_their_spaces(name: str, num_envs: int) -> None:
    _, sent = play(name, num_envs, 30)
    for actions in sent:
        assert set(actions) == set(SPACES)
        for agent, space in SPACES.items():
            assert actions[agent].shape == (num_envs, *space.shape)
            assert actions[agent].dtype == (np.int32 if isinstance(space, Discrete) else np.float32)
            assert all(action in space for action in actions[agent])


@pytest.mark.parametrize("name", SCRIPTED["paper"])
def test_reset_makes_a_policy_repeat_itself(name: str) -> None:
    seen, _ = play("random", 4, 40)
    policy = SCRIPTED["paper"][name](SPACES, 0)
    runs = []
    for _ in range(2):
        policy.reset(5)
        runs.append([policy(observations, np.ones(4, bool)) for observations in seen])
    for first, second in zip(*runs, strict=True):
        for agent in SPACES:
            np.testing.assert_array_equal(first[agent], second[agent])


# --- random and the constants


def test_random_is_uniform_and_has_a_generator_of_its_own() -> None:
    spaces = {"box": Box(np.float32([-1, 2]), np.float32([1, 6])), "choice": Discrete(4)}
    state = np.random.get_state()[1].copy()  # noqa: NPY002
    actions = RandomPolicy(spaces, 1)({}, np.ones(20_000, bool))
    np.testing.assert_array_equal(state, np.random.get_state()[1])  # noqa: NPY002
    low, high = actions["box"].min(axis=0), actions["box"].max(axis=0)
    np.testing.assert_allclose(low, [-1, 2], atol=0.01)
    np.testing.assert_allclose(high, [1, 6], atol=0.01)
    np.testing.assert_allclose(actions["box"].mean(axis=0), [0, 4], atol=4 * 2 / math.sqrt(3 * 20_000))
    np.testing.assert_allclose(np.bincount(actions["choice"]) / 20_000, 0.25, atol=0.0125)
    assert not np.array_equal(actions["box"], RandomPolicy(spaces, 2)({}, np.ones(20_000, bool))["box"])


def test_random_draws_anew_each_step() -> None:
    policy = RandomPolicy(SPACES, 1)
    first, second = (policy({}, np.ones(3, bool)) for _ in range(2))
    assert not np.array_equal(first[HUNTER], second[HUNTER])


def test_random_refuses_an_unbounded_space() -> None:
    with pytest.raises(ConfigError, match="bounded"):
        RandomPolicy({"agent": Box(-np.inf, np.inf, (2,))})


def test_a_constant_of_the_wrong_shape_is_refused() -> None:
    with pytest.raises(ConfigError, match="shape"):
        ConstantPolicy({"agent": Box(-1, 1, (2,))}, {"agent": np.zeros(3)})


def test_null_hunts_and_contains_nothing() -> None:
    result = evaluate("null", "paper-v0", num_episodes=200, seed=1)
    assert (result.episodes["total_scans"] == 0).all()
    assert (result.episodes["mttd"] == 200).all()
    assert (result.episodes["csr"] == 0).all()
    assert (result.episodes["false_positives"] == 0).all()
    assert result.mean("compromised") > 2  # the attacker was there


@pytest.fixture(scope="module")
def results() -> dict[str, EvaluationResult]:
    return {name: evaluate(name, "paper-v0", num_episodes=NUM_EPISODES, seed=11) for name in SCRIPTED["paper"]}


def assert_mean(result: EvaluationResult, metric: str, reference: float, reference_error: float = 0.0) -> None:
    """The mean lies within four standard errors of a reference mean, the reference's own error included."""
    error = math.hypot(result.summary[metric].std / math.sqrt(NUM_EPISODES), reference_error)
    assert abs(result.mean(metric) - reference) < 4 * error, (metric, result.mean(metric), reference, error)


# Source: paper_simulator.md, section 10, and reference_stats.json (mean, standard error) unless said otherwise.


def test_zeros_scores_as_in_the_published_simulator(results: dict[str, EvaluationResult]) -> None:
    result = results["zeros"]
    assert_mean(result, "reward", 10.677, 0.0683)
    assert_mean(result, "length", 24.807, 0.285)
    assert_mean(result, "mttd", 8.969, 0.180)
    assert_mean(result, "mttr", 29.40, 0.723)
    assert_mean(result, "csr", 0.975, 0.0035)
    assert (result.episodes["fpr"] == 0).all()  # triage "enrich"; with "escalate" it is 0.14 %


def test_escalating_everything_is_what_costs_the_constant_false_positives() -> None:
    zeros = SCRIPTED["paper"]["zeros"](SPACES)
    assert isinstance(zeros, ConstantPolicy)
    escalating = ConstantPolicy(SPACES, {**zeros.constants, TRIAGE: ESCALATE})
    result = evaluate(escalating, "paper-v0", num_episodes=NUM_EPISODES, seed=12)
    assert_mean(result, "reward", 10.677, 0.0683)
    assert_mean(result, "fpr", 0.0014374, 0.0000126)


def test_random_scores_as_in_the_published_simulator(results: dict[str, EvaluationResult]) -> None:
    result = results["random"]
    assert_mean(result, "reward", -300.5, 7.45)
    assert_mean(result, "mttd", 9.24, 0.139)
    assert_mean(result, "mttr", 84.42, 1.782)
    assert_mean(result, "fpr", 0.027111, 0.0000743)
    assert_mean(result, "csr", 0.6695, 0.0102)


def test_best_constant_scores_as_in_the_audit(results: dict[str, EvaluationResult]) -> None:
    """The references were measured on the published simulator; assumption: their errors are as large as ours."""
    result = results["best-constant"]
    for metric, reference in (("reward", 11.35), ("mttd", 7.1), ("mttr", 16.7), ("csr", 0.9925)):
        assert_mean(result, metric, reference, result.summary[metric].std / math.sqrt(NUM_EPISODES))
    assert (result.episodes["fpr"] == 0).all()


def test_waiting_is_better_than_every_constant(results: dict[str, EvaluationResult]) -> None:
    """On common episodes: 11.81 instead of 11.38, a difference of .43 with a standard error of .01 on 8,192 of them."""
    gain = paired_gain(results["waiting"], results["best-constant"])
    assert 0.3 < gain.low < gain.high < 0.6
    assert_mean(results["waiting"], "reward", 11.81, 0.025)


def test_patience_is_better_than_waiting(results: dict[str, EvaluationResult]) -> None:
    """On 8,192 common episodes 12.00 instead of 11.85."""
    gain = paired_gain(results["patient"], results["waiting"])
    assert 0.05 < gain.low < gain.high < 0.3
    assert_mean(results["patient"], "reward", 12.0, 0.03)


def test_the_patient_one_hunts_when_all_have_executed() -> None:
    seen = {agent: np.zeros((6, len(FEATURES[agent])), np.float32) for agent in FEATURES}
    names = [feature.name for feature in FEATURES[HUNTER]]
    noise, compromised, stage = (
        names.index(name) for name in ("flow0_attacker_noise", "segment0_compromised", "segment0_stage")
    )
    seen[HUNTER][:, noise] = [0.03, 0.09, 0.15, 0.15, 0.12, 0.18]  # reconnaissance, ..., exfiltration
    seen[HUNTER][:, compromised] = 4 / 40
    seen[HUNTER][:, stage] = np.array([0, 4, 7, 8, 7, 7]) / 5 / 40  # of four hosts
    policy = SCRIPTED["paper"]["patient"](SPACES, 0)
    hunts = (policy(seen, np.ones(6, bool))[HUNTER][:, :5] + 1) / 2
    assert hunts == pytest.approx(np.array([[0.68], [0], [0], [0.68], [0.68], [0.68]]).repeat(5, 1), abs=1e-6)


def test_rule_soar_is_a_fair_yardstick(results: dict[str, EvaluationResult]) -> None:
    """Not crippled: it contains nearly every attack without disturbing anyone; and it leaves room above it."""
    result = results["rule-soar"]
    assert 10.7 < result.mean("reward") < results["best-constant"].mean("reward")
    assert result.mean("csr") > 0.96
    assert result.mean("fpr") < 1e-4
    assert result.mean("true_positives") > results["zeros"].mean("true_positives")  # its triage escalates true alerts


# --- rule-soar: what it may see

LEAKS = ("compromised", "stage", "is_true", "noise", "endpoint", "attacker", "intel", "flow")


def test_rule_soar_reads_nothing_that_leaks_the_truth() -> None:
    assert set(RULE_SOAR_READS) == {TRIAGE, COORDINATOR}
    for agent, names in RULE_SOAR_READS.items():
        assert set(names) <= {feature.name for feature in FEATURES[agent]}
        assert not [name for name in names for leak in LEAKS if leak in name]
    assert "detected" not in RULE_SOAR_READS[COORDINATOR]  # detected / (compromised + 1)


def scramble(seen: list[Observations], scrambles: np.ndarray | None) -> list[Observations]:
    """The observations with noise in place of what rule-soar does not read, or (given columns) of some that it does."""
    generator = np.random.default_rng(0)
    scrambled = []
    for observations in seen:
        copies = {agent: generator.uniform(-1, 1, array.shape).astype("f4") for agent, array in observations.items()}
        for agent, names in RULE_SOAR_READS.items():
            columns = [index_of(FEATURES[agent], name) for name in names]
            copies[agent][:, columns] = observations[agent][:, columns]
        if scrambles is not None:
            copies[COORDINATOR][:, scrambles] = generator.uniform(0, 1, (len(copies[COORDINATOR]), len(scrambles)))
        scrambled.append(copies)
    return scrambled


def differs(seen: list[Observations], sent: list[Observations]) -> bool:
    """Whether a fresh rule-soar answers these observations with other actions."""
    policy = RuleSoarPolicy(SPACES)
    answers = [policy(observations, np.ones(len(observations[TRIAGE]), bool)) for observations in seen]
    pairs = [(a[agent], b[agent]) for a, b in zip(answers, sent, strict=True) for agent in SPACES]
    return any(not np.array_equal(a, b) for a, b in pairs)


def test_rule_soar_does_not_depend_on_what_it_may_not_see() -> None:
    seen, sent = play("rule-soar", 16, 150)
    assert not differs(scramble(seen, None), sent)
    visible = np.array([index_of(FEATURES[COORDINATOR], "segment0_detected")])
    assert differs(scramble(seen, visible), sent)  # the comparison does notice what it may see


def test_rule_soar_keeps_environments_apart() -> None:
    seen, sent = play("rule-soar", 5, 120)
    for env in range(5):
        alone = [{agent: array[env : env + 1] for agent, array in observations.items()} for observations in seen]
        assert not differs(alone, [{a: actions[a][env : env + 1] for a in SPACES} for actions in sent])


# --- rule-soar: the playbook, rule by rule


def observe(clock: float = 0.1, alerts: tuple[tuple[float, float, int], ...] = (), **shares: float) -> Observations:
    """One environment's observations: alerts (severity, confidence, segment), shares such as segment2_detected=0.1."""
    observations = {agent: np.zeros((1, len(rows)), np.float32) for agent, rows in FEATURES.items()}

    def put(agent: str, name: str, value: float) -> None:
        observations[agent][0, index_of(FEATURES[agent], name)] = value

    put(COORDINATOR, "clock", clock)
    put(TRIAGE, "queue", len(alerts) / 50)
    for k, (severity, confidence, segment) in enumerate(alerts):
        for field, value in (("severity", severity), ("confidence", confidence), ("segment", segment / 5)):
            put(TRIAGE, f"alert{k}_{field}", value)
    for name, value in shares.items():
        put(COORDINATOR, name, value)
    return observations


def act(policy: RuleSoarPolicy, observations: Observations) -> Observations:
    return {agent: action[0] for agent, action in policy(observations, np.ones(1, bool)).items()}


def levels(action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The two settings of each segment, in [0, 1]: intensity and scope, or isolation and remediation."""
    return (action[:5] + 1) / 2, (action[5:10] + 1) / 2


@pytest.mark.parametrize(
    ("alerts", "expected"),
    [
        ((), CORRELATE),
        (((0.25, 0.55, 0),), ESCALATE),  # credible
        (((0.75, 0.0, 0),), ESCALATE),  # severe enough to be looked at whatever the confidence
        (((0.3, 0.2, 3),), SUPPRESS),
        (((0.3, 0.45, 3),), ENRICH),
        (((0.6, 0.2, 3),), ENRICH),
        (((0.3, 0.2, 3), (1.0, 0.6, 0)), SUPPRESS),  # only the oldest can be acted on
    ],
)
def test_rule_soar_triage(alerts: tuple[tuple[float, float, int], ...], expected: int) -> None:
    assert act(RuleSoarPolicy(SPACES), observe(alerts=alerts))[TRIAGE] == expected


def test_rule_soar_hunts_harder_where_there_is_a_case() -> None:
    policy = RuleSoarPolicy(SPACES)
    quiet, _ = levels(act(policy, observe(clock=0.1))[HUNTER])
    np.testing.assert_allclose(quiet, 0.4, rtol=1e-6)
    intensity, scope = levels(act(policy, observe(clock=0.105, alerts=((0.5, 0.55, 4),)))[HUNTER])
    np.testing.assert_array_equal(intensity > 0.5, REACHABLE[4])
    np.testing.assert_array_equal(scope > 0.75, REACHABLE[4])
    assert (intensity <= 0.7).all()  # above 0.7 clean hosts are disturbed
    after = [levels(act(policy, observe(clock=0.11 + 0.005 * k))[HUNTER])[0][4] for k in range(31)]
    assert min(after[:29]) > 0.5  # the case outlives its alert
    assert after[-1] < 0.5  # and is closed in the end


def test_rule_soar_case_of_a_noise_alert_is_not_opened() -> None:
    intensity, _ = levels(act(RuleSoarPolicy(SPACES), observe(alerts=((0.3, 0.3, 4),)))[HUNTER])
    assert (intensity < 0.5).all()


def test_rule_soar_isolates_where_detections_stand() -> None:
    isolation, _ = levels(
        act(RuleSoarPolicy(SPACES), observe(segment2_detected=0.05, segment3_detected=0.1, segment3_isolated=0.1))[
            ORCHESTRATOR
        ]
    )
    np.testing.assert_array_equal(isolation > 0.5, [False, False, True, False, False])
    assert isolation.max() <= 0.9  # above 0.9 clean hosts are isolated


def test_rule_soar_remediates_what_has_long_been_isolated() -> None:
    policy = RuleSoarPolicy(SPACES)
    remediation = [
        levels(act(policy, observe(0.1 + 0.005 * k, segment1_detected=0.1, segment1_isolated=0.1))[ORCHESTRATOR])[1]
        for k in range(RuleSoarPolicy.ERADICATION_STEPS + 1)
    ]
    assert max(r.max() for r in remediation[:-2]) <= 0.5
    np.testing.assert_array_equal(remediation[-1] > 0.5, [False, True, False, False, False])


def test_rule_soar_forgets_when_an_episode_begins() -> None:
    policy = RuleSoarPolicy(SPACES)
    act(policy, observe(clock=0.5, alerts=((0.5, 0.6, 0),)))
    intensity, _ = levels(act(policy, observe(clock=0.0))[HUNTER])
    assert (intensity < 0.5).all()


def test_rule_soar_refuses_spaces_it_was_not_written_for() -> None:
    with pytest.raises(ConfigError, match="rule-soar"):
        RuleSoarPolicy({**SPACES, HUNTER: Box(-1, 1, (4,))})
