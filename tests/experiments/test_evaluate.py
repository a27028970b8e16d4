"""Evaluation: which episodes count, intervals against hand-computed numbers, repeatability, and no training."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import policies
import soc_env
from experiments.evaluate import (
    EvaluationResult,
    compare,
    episode_seeds,
    evaluate,
    evaluate_checkpoint,
    paired_gain,
    run_episodes,
)
from experiments.intervals import mean_interval
from policies.checkpoint import checkpoint_folder
from policies.scripted import SCRIPTED, make_policy
from soc_env.engine.tables import TRIAGE
from soc_env.errors import ConfigError, ScenarioError
from soc_env.registry import FAMILIES

ROOT = Path(__file__).parents[2]
COLUMNS = FAMILIES["paper"].columns

# --- which episodes count


class ShortOrLong:
    """Episodes of even seeds take 1 step and earn 1, those of odd seeds take 30 and earn 0; auto-reset repeats them."""

    def __init__(self, num_envs: int, seeds: list[int]) -> None:
        self.num_envs = num_envs
        self._length = np.where(np.array(seeds) % 2 == 0, 1, 30)
        self.observations = {"agent": np.zeros((num_envs, 1), np.float32)}
        self.actions = {"agent": np.zeros((num_envs, 1), np.float32)}
        self.decides = np.ones(num_envs, bool)
        self.truncated = np.zeros(num_envs, bool)
        self.episode_metrics = np.zeros(num_envs, [("reward", "f8"), ("length", "f8"), ("count", "f8")])

    def reset(self) -> None:
        self._clock = np.zeros(self.num_envs, int)

    def step(self) -> None:
        self._clock += 1
        self.terminated = self._clock == self._length
        done = self.terminated
        self.episode_metrics["reward"][done] = self._length[done] == 1
        self.episode_metrics["length"][done] = self._length[done]
        self.episode_metrics["count"][done] += 1  # which episode of its slot
        self._clock[done] = 0


class Still:
    """A policy that does nothing and notes its resets."""

    def __init__(self) -> None:
        self.resets: list[int] = []

    def reset(self, seed: int) -> None:
        self.resets.append(seed)

    def __call__(self, observations: Any, decides: np.ndarray) -> dict[str, np.ndarray]:
        return {"agent": np.zeros((len(decides), 1), np.float32)}


@pytest.mark.parametrize("num_envs", [1, 16, 1000])
def test_short_episodes_are_not_favoured(num_envs: int) -> None:
    """Taking the first to finish would give nearly all short ones; here each counts once, whatever its length."""
    rows = run_episodes(Still(), ShortOrLong, 101, seed=5, num_envs=num_envs)
    is_short = episode_seeds(5, 101) % 2 == 0
    assert 30 < is_short.sum() < 70
    np.testing.assert_array_equal(rows["reward"], is_short)  # in order of the seeds too
    np.testing.assert_array_equal(rows["length"], np.where(is_short, 1, 30))
    np.testing.assert_array_equal(rows["count"], 1)  # a slot's first episode, not one that followed it


def test_policies_start_afresh_in_every_batch() -> None:
    policy, finished = Still(), []
    run_episodes(policy, ShortOrLong, 10, seed=5, num_envs=4, progress=finished.append)
    assert len(set(policy.resets)) == 3
    assert finished == [4, 8, 10]


def test_episode_seeds() -> None:
    seeds = episode_seeds(0, 5000)
    assert len(set(seeds.tolist())) == 5000
    assert (seeds >= 0).all()
    assert seeds.max() < 2**53
    np.testing.assert_array_equal(episode_seeds(0, 100), seeds[:100])  # a longer evaluation starts with the same
    assert not set(seeds.tolist()) & set(episode_seeds(1, 5000).tolist())  # neighbouring seeds share none


# --- columns


def test_proportions_are_the_shares_of_episodes() -> None:
    assert {name for name, column in COLUMNS.items() if column.is_proportion} == {"csr", "exfiltrated"}


def test_every_metric_of_the_simulator_has_a_column() -> None:
    assert set(COLUMNS) == {metric.name for metric in soc_env.paper.tables.METRICS}


# --- evaluate


def test_same_seed_same_bytes() -> None:
    first = evaluate("random", "paper-v0", num_episodes=40, seed=3).to_json()
    assert first == evaluate("random", "paper-v0", num_episodes=40, seed=3).to_json()
    assert first != evaluate("random", "paper-v0", num_episodes=40, seed=4).to_json()


def test_same_bytes_in_another_process() -> None:
    call = "evaluate('rule-soar', 'paper-v0', num_episodes=30, seed=3)"
    code = f"from experiments.evaluate import evaluate; print({call}.to_json())"
    there = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    here = evaluate("rule-soar", "paper-v0", num_episodes=30, seed=3).to_json()
    assert json.loads(there)["episodes"] == json.loads(here)["episodes"]
    assert json.loads(there)["summary"] == json.loads(here)["summary"]


def test_num_envs_changes_no_episode_of_a_policy_that_does_not_draw() -> None:
    results = [evaluate("rule-soar", "paper-v0", num_episodes=30, seed=3, num_envs=n) for n in (1, 7, 512)]
    for name in COLUMNS:
        for other in results[1:]:
            np.testing.assert_array_equal(other.episodes[name], results[0].episodes[name])


def test_episodes_are_those_of_the_simulator() -> None:
    """Episode 2, played by hand, step by step."""
    result = evaluate("zeros", "paper-v0", num_episodes=3, seed=8)
    simulator = soc_env.Simulator("paper-v0", num_envs=1, seed=[int(result.episodes["seed"][2])], autoreset=False)
    simulator.reset()
    simulator.actions["alert_triage_0"][:] = 3
    total, length = 0.0, 0
    while not (simulator.terminated[0] or simulator.truncated[0]):
        simulator.step()
        total, length = total + simulator.rewards[0], length + 1
    assert result.episodes["length"][2] == length
    assert result.episodes["reward"][2] == pytest.approx(total, abs=1e-9)


def test_episodes_of_soc_v1_are_those_of_the_simulator() -> None:
    """Episode 1, played by hand; the oracle is shown the state before each call."""
    result = evaluate("oracle-observation", "soc-v1", num_episodes=2, seed=8, split="test", max_steps=25)
    seed = [int(result.episodes["seed"][1])]
    simulator = soc_env.Simulator("soc-v1", num_envs=1, seed=seed, autoreset=False, split="test", max_steps=25)
    policy = SCRIPTED["soc"]["oracle-observation"](simulator.action_spaces, 8)
    simulator.reset()
    while not simulator.truncated[0]:
        policy.state = simulator.state()
        for agent, action in policy(simulator.observations, simulator.decides).items():
            simulator.actions[agent] = action
        simulator.step()
    for name in FAMILIES["soc"].columns:
        assert result.episodes[name][1] == simulator.episode_metrics[name][0], name
    assert result.settings["overrides"] == {"split": "test", "max_steps": 25}


def test_overrides_reach_the_simulator_and_the_record() -> None:
    result = evaluate("null", "paper-v0", num_episodes=5, max_steps=17)
    assert (result.episodes["length"] <= 17).all()
    assert result.settings["overrides"] == {"max_steps": 17}
    assert result.settings["scenario_hash"] == soc_env.make_scenario("paper-v0", max_steps=17).hash()
    assert result.settings["scenario_hash"] != evaluate("null", "paper-v0", num_episodes=1).settings["scenario_hash"]


def test_a_result_survives_json() -> None:
    result = evaluate("zeros", "paper-v0", num_episodes=6, seed=2)
    again = EvaluationResult.from_dict(json.loads(result.to_json()))
    assert again.to_json() == result.to_json()
    assert again.mean("reward") == result.mean("reward") == pytest.approx(result.episodes["reward"].mean())


def test_a_result_with_the_old_names_of_false_discovery_is_refused() -> None:
    data = evaluate("null", "soc-v1", num_episodes=2, max_steps=5).to_dict()
    for name in ("summary", "episodes"):
        data[name]["fpr"], data[name]["action_fpr"] = data[name].pop("fdr"), data[name].pop("action_fdr")
    with pytest.raises(ConfigError, match="older hmarl-soc: its 'fpr' and 'action_fpr' are 'fdr' and 'action_fdr'"):
        EvaluationResult.from_dict(data)


def test_the_record_says_what_was_run() -> None:
    settings = evaluate("null", "paper-v0", num_episodes=4, seed=9, num_envs=2).settings
    assert (settings["scenario"], settings["seed"], settings["num_episodes"], settings["num_envs"]) == (
        "paper-v0",
        9,
        4,
        2,
    )
    assert settings["versions"]["numpy"] == np.__version__
    assert set(settings) >= {"git_hash", "scenario_hash", "overrides"}


@pytest.mark.parametrize("bad", [{"num_episodes": 0}, {"seed": -1}, {"num_envs": 0}])
def test_numbers_out_of_range(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match=f"{next(iter(bad))}="):
        evaluate("null", "paper-v0", **bad)


def test_unknown_names_come_with_a_hint() -> None:
    with pytest.raises(ConfigError, match="'rule-soar'"):
        evaluate("rule-sour", "paper-v0")
    with pytest.raises(ScenarioError, match="'paper-v0'"):
        evaluate("null", "paper-v9")
    with pytest.raises(ScenarioError, match="'num_hosts'"):
        evaluate("null", "paper-v0", num_host=3)


@pytest.mark.parametrize(("old", "new"), [("informed", "oracle-observation"), ("clairvoyant", "oracle-control")])
def test_an_old_name_of_a_policy_is_refused_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=f"policy of soc-v1 '{old}' does not exist any more; it is called '{new}'"):
        evaluate(old, "soc-v1", num_episodes=1)


# --- trained policies


class Hunting:
    """Stands for a loaded checkpoint."""

    manifest: ClassVar = {"scenario": "paper-v0", "overrides": {"max_steps": 30, "num_hosts": 50}}

    def reset(self, seed: int) -> None:
        pass

    def __call__(self, observations: Any, decides: np.ndarray) -> dict[str, np.ndarray]:
        return {"threat_hunter_0": np.full((len(decides), 16), 0.3, np.float32)}


@pytest.mark.parametrize("deterministic", [True, False])
def test_evaluation_does_not_train(deterministic: bool) -> None:
    """Weights, and the running statistics of observations, are the same bytes before and after."""
    pytest.importorskip("torch")
    pytest.importorskip("ray")
    from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

    from policies import HMARLConfig
    from policies.tiers import tier_of
    from policies.trained import TrainedPolicy

    simulator = soc_env.Simulator("paper-v0")
    spaces = {tier_of(a): (simulator.observation_spaces[a], simulator.action_spaces[a]) for a in simulator.agents}
    spaces[INPUT_ENV_SINGLE_SPACES] = (simulator.observation_spaces, simulator.action_spaces)
    modules = HMARLConfig().get_multi_rl_module_spec(spaces=spaces).build()
    policy = TrainedPolicy(dict(modules.items()), ("strategic_coordinator_0",), deterministic=deterministic)

    def weights() -> dict[str, bytes]:
        return {f"{t}/{k}": v.numpy().tobytes() for t, m in modules.items() for k, v in m.state_dict().items()}

    before = weights()
    result = evaluate(policy, "paper-v0", num_episodes=8, seed=1, max_steps=40)
    assert result.mean("length") > 1
    assert weights() == before
    assert len(before) > 20
    assert (
        evaluate(policy, "paper-v0", num_episodes=8, seed=1, max_steps=40).to_json() == result.to_json()
    )  # sampled ones too


def test_evaluating_a_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = []

    def load_policy(folder: Path, **options: Any) -> Hunting:
        calls.append((checkpoint_folder(folder), options))
        return Hunting()

    monkeypatch.setitem(vars(policies), "load_policy", load_policy)  # setattr would import the real one first
    result = evaluate_checkpoint(tmp_path / "c", "paper-v0", deterministic=False, num_episodes=4, num_hosts=60)
    assert calls == [(tmp_path / "c", {"deterministic": False, "scenario": "paper-v0"})]
    assert result.settings["overrides"] == {"max_steps": 30, "num_hosts": 60}  # the training's, and ours on top
    (tmp_path / "run" / "checkpoints" / "last").mkdir(parents=True)
    evaluate_checkpoint(tmp_path / "run", num_episodes=1)
    (tmp_path / "run" / "checkpoints" / "best").mkdir()
    evaluate_checkpoint(tmp_path / "run", num_episodes=1)
    assert [folder.name for folder, _ in calls[1:]] == ["last", "best"]


def test_a_trained_policy_sees_no_state() -> None:
    """Only policies that ask for the truth get it."""
    simulator = soc_env.Simulator("soc-v1")
    for name in SCRIPTED["soc"]:
        policy = make_policy(name, "soc-v1", simulator.action_spaces)
        assert getattr(policy, "needs_state", False) == (name == "oracle-observation")
    assert TRIAGE in simulator.action_spaces


# --- comparison


def test_a_comparison_meets_the_same_episodes() -> None:
    results = compare({"doing nothing": "null", "zeros": "zeros"}, "paper-v0", num_episodes=50, seed=6)
    assert list(results) == ["doing nothing", "zeros"]
    np.testing.assert_array_equal(results["zeros"].episodes["seed"], results["doing nothing"].episodes["seed"])
    gain = paired_gain(results["zeros"], results["doing nothing"])
    differences = results["zeros"].episodes["reward"] - results["doing nothing"].episodes["reward"]
    assert gain.mean == pytest.approx(differences.mean())
    assert (gain.low, gain.high) == mean_interval(differences)


def test_a_paired_gain_needs_the_same_episodes() -> None:
    first = evaluate("null", "paper-v0", num_episodes=5, seed=1)
    with pytest.raises(ValueError, match="same episodes"):
        paired_gain(first, evaluate("null", "paper-v0", num_episodes=5, seed=2))
    with pytest.raises(ValueError, match="same episodes"):
        paired_gain(first, evaluate("null", "paper-v0", num_episodes=5, seed=1, max_steps=50))


def test_a_policy_acts_in_one_thread_and_the_number_is_given_back() -> None:
    torch = pytest.importorskip("torch")
    seen = []

    def policy(observations: Any, decides: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(torch.get_num_threads())
        return {}

    policy.reset = lambda seed: None  # type: ignore[attr-defined]
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        run_episodes(policy, lambda n, seeds: soc_env.Simulator("paper-v0", num_envs=n, seed=seeds, max_steps=5), 2, 0)
        assert set(seen) == {1}
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_networks_do_not_act_where_the_episode_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from policies.trained import TrainedPolicy

    forward, rows = TrainedPolicy._forward, [0, 0]

    def counted(self: Any, module: Any, seen: np.ndarray) -> np.ndarray:
        rows[self.takes_rows] += len(seen)
        return forward(self, module, seen)

    monkeypatch.setattr(TrainedPolicy, "_forward", counted)
    team, found = policies.load_policy("paper-v0"), []
    for takes_rows in (True, False):
        monkeypatch.setattr(TrainedPolicy, "takes_rows", takes_rows)
        found.append(evaluate(team, "paper-v0", 32))
    assert rows[True] < rows[False]
    for name, column in found[0].episodes.items():
        np.testing.assert_allclose(column, found[1].episodes[name], rtol=1e-6, err_msg=name)
