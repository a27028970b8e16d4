"""The comparison over network seeds and splits: its episodes, its intervals, its tables, and the command."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

import soc_env
from experiments import cli, compare
from experiments.compare import ABLATIONS, SPARSE, ClusterResult, Table, measure, network_seeds, play
from experiments.evaluate import evaluate
from experiments.intervals import Estimate, mean_interval
from policies.scripted import ControlOracle
from soc_env.errors import ConfigError
from soc_env.registry import FAMILIES

COLUMNS = FAMILIES["soc"].columns
SHORT = {"max_steps": 25}


def run(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


def test_network_seeds_share_no_network() -> None:
    seeds = network_seeds("soc-v1", 3, num_networks=2, network_seed=10)
    assert seeds == [10, 12, 14]
    names = [
        network.hash()
        for seed in seeds
        for network in soc_env.Simulator("soc-v1", num_networks=2, network_seed=seed).networks  # type: ignore[attr-defined]
    ]
    assert len(set(names)) == 6


def test_intervals_are_over_the_means_of_the_seeds() -> None:
    values = np.array([[1.0, 3.0], [2.0, 6.0], [4.0, 8.0]])  # means 2, 4, 6
    result = ClusterResult({"loss": values})
    estimate = result.estimate(COLUMNS["loss"])
    assert estimate.mean == 4.0
    assert (estimate.low, estimate.high) == mean_interval(np.array([2.0, 4.0, 6.0]))
    assert estimate.std == pytest.approx(values.std(ddof=1))


def test_play_puts_every_seed_on_its_networks() -> None:
    result = play("expert", "soc-v1", 2, 3, seed=4, num_networks=2, **SHORT)
    assert result.metrics["loss"].shape == (2, 3)
    seed = compare.cluster_seed(4, 1)
    again = evaluate("expert", "soc-v1", 3, seed, num_networks=2, network_seed=2, **SHORT)
    np.testing.assert_array_equal(result.metrics["loss"][1], again.episodes["loss"])


def test_the_sparse_column_is_what_the_sparse_reward_pays() -> None:
    settings = {"num_networks": 1, "max_steps": 60}
    dense = play("rule-soar", "soc-v1", 1, 4, **settings)
    paid = play("rule-soar", "soc-v1", 1, 4, reward="sparse", **settings)
    np.testing.assert_allclose(dense.metrics["sparse"], paid.metrics["reward"], atol=1e-9)
    np.testing.assert_array_equal(dense.metrics["loss"], paid.metrics["loss"])  # the score knows no reward
    assert SPARSE.name == "sparse"


def test_the_table_refuses_few_seeds_and_other_families() -> None:
    with pytest.raises(ConfigError, match="at least 5 network seeds"):
        measure("soc-v1", num_seeds=4, episodes=1)
    with pytest.raises(ConfigError, match="no mission score"):
        measure("paper-v0", episodes=1)


@pytest.fixture(scope="module")
def table() -> Table:
    policies = {name: name for name in ("null", "isolate-all", "rule-soar", "expert")}
    ablations = [a for a in ABLATIONS if a.name in ("no benign users", "perfect sensors")]
    return measure(
        "soc-v1",
        policies=policies,
        num_seeds=2,
        episodes=24,
        ablations=ablations,
        ablation_episodes=24,
        allow_few_seeds=True,
    )


def test_the_table_ranks_the_policies(table: Table) -> None:
    """Coarse on purpose: the full table is a command. Isolating all loses to the rules, these to the expert."""
    for split in ("test", "train"):
        loss = {name: row["loss"].mean for name, row in table.splits[split].items()}
        assert loss["expert"] < loss["rule-soar"] < min(loss["null"], loss["isolate-all"])
        score = {name: row["score"].mean for name, row in table.splits[split].items()}
        assert sorted(score, key=score.__getitem__) == sorted(loss, key=loss.__getitem__, reverse=True)


def test_ablations_show_their_effect(table: Table) -> None:
    before, without_users = table.splits["test"], table.ablations["no benign users"]
    assert before["isolate-all"]["loss"].mean > before["rule-soar"]["loss"].mean
    best = min(without_users, key=lambda name: without_users[name]["loss"].mean)
    assert best == "isolate-all"
    perfect = table.ablations["perfect sensors"]
    assert perfect["expert"]["mttd"].mean < before["expert"]["mttd"].mean


def test_the_markdown_has_every_row(table: Table) -> None:
    text = compare.markdown(table)
    columns = COLUMNS
    for rows in (*table.splits.values(), *table.ablations.values()):
        for row in rows.values():
            assert row["loss"].format(columns["loss"]) in text
    assert text.count("### ") == 4
    assert "96" not in table.settings["episodes"]
    assert f"{2 * 24} episodes on 2 network seeds" in text
    assert re.search(r"^\| policy \| Score \| Loss \| Reward \| Sparse reward \| MTTD \[min\] ", text, re.MULTILINE)
    data = json.loads(json.dumps(table.to_dict()))
    assert data["split test"]["expert"]["loss"]["mean"] == table.splits["test"]["expert"]["loss"].mean
    assert data["network_seeds"] == [0, 8]
    assert data["ablations"]["no benign users"]["benign_alerts_per_hour"] == 0.0


def test_every_ablation_is_a_setting_of_the_scenario() -> None:
    base = soc_env.make_scenario("soc-v1")
    hashes = [base.replace(**ablation.overrides).hash() for ablation in ABLATIONS]
    assert len({base.hash(), *hashes}) == len(ABLATIONS) + 1
    assert {ablation.line for ablation in ABLATIONS} >= {3, 4, 5, 7, 8}
    assert sum(ablation.name.startswith("only ") for ablation in ABLATIONS) >= 4


def test_the_table_s_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = [
        "compare",
        "--quick",
        "--network-seeds",
        "1",
        "--override",
        "max_steps=20",
        "--policies",
        "null",
        "oracle-control",
    ]
    files = ["--json", str(tmp_path / "t.json"), "--markdown", str(tmp_path / "t.md")]
    assert run(*base, "--episodes", "2", "--no-ablations", *files) == 0
    out = capsys.readouterr().out
    assert (tmp_path / "t.md").read_text() in out
    data = json.loads((tmp_path / "t.json").read_text())
    assert set(data["split train"]) == {"null", "oracle-control"}
    assert data["overrides"] == {"max_steps": 20}
    assert run("compare", "--policies", "nul") == 2
    assert "did you mean 'null'" in capsys.readouterr().err
    assert run("compare", "--network-seeds", "3") == 2
    assert "at least 5" in capsys.readouterr().err
    assert run("compare", "--calibrate", "--search", "3") == 2
    assert run("compare", "--help") == 0


def test_intervals_of_shares_stay_shares() -> None:
    columns, values = COLUMNS, np.array([[1.0, 1.0], [1.0, 0.9], [1.0, 0.2]])
    flat = {"csr": values.ravel(), "campaigns": np.ones(6)}
    free = Estimate.of(values.ravel())
    cut = Estimate.of_column(columns["csr"], flat)
    assert free.high > 1.0 == cut.high
    assert (cut.mean, cut.low) == (free.mean, free.low)
    assert ClusterResult({"csr": values, "campaigns": np.ones((3, 2))}).estimate(columns["csr"]).high == 1.0


def test_the_control_oracle_rebuilds_what_is_lost_and_nothing_else() -> None:
    simulator = soc_env.Simulator("soc-v1", num_envs=3, seed=2)
    policy = ControlOracle()
    policy.simulator = simulator
    simulator.reset()
    num_calls = 0
    for _ in range(120):
        truth = [simulator.hosts(i) for i in range(3)]
        assert policy(simulator.observations, simulator.decides) == {}
        simulator.step()
        for index, hosts in enumerate(truth):
            is_lost = (hosts["level"] > 0) | (hosts["is_persistent"] > 0) | (hosts["is_encrypted"] > 0)
            called = [call["target"] for call in simulator.calls(index)]  # type: ignore[attr-defined]
            zones = hosts["zone"][called]
            assert is_lost[called].all()
            assert len(set(zones.tolist())) == len(called)
            num_calls += len(called)
    assert num_calls > 3
