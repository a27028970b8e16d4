"""The commands on the soc-v1 family: columns, policies, the table of claims, calibration and the constant search."""

import csv
import dataclasses
import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import soc_env
from experiments import cli, report, soc_table
from experiments.evaluate import (
    TRAINED,
    UNTRAINED,
    EvaluationResult,
    columns_of,
    compare,
    evaluate,
    goal_of,
    scripted_policy,
)
from experiments.families import PROTOCOLS, protocol_of
from experiments.intervals import Estimate, mean_interval
from experiments.soc_table import (
    ABLATIONS,
    LEVELS,
    POSTURES,
    SPARSE,
    ClusterResult,
    Search,
    as_playbook,
    calibrate,
    constant_losses,
    draw_constants,
    measure,
    network_seeds,
    play,
    search_constants,
    write_constants,
)
from experiments.tables import print_table
from policies.scripted import SCRIPTED, ConstantPolicy, ControlOracle, scripted
from policies.scripted import soc as playbooks
from soc_env.engine.tables import TRIAGE
from soc_env.errors import ConfigError, ScenarioError
from soc_env.soc.tables import METRICS

SHORT = {"max_steps": 25}


def run(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


# --- evaluate


def test_each_family_has_its_columns_policies_and_goal() -> None:
    assert set(columns_of("soc-v1")) == {metric.name for metric in METRICS}
    assert set(columns_of("paper-v0")) == {metric.name for metric in soc_env.paper.tables.METRICS}
    assert set(protocol_of("soc-v1").shown) == {"score", "loss", "reward", "mttd", "mttc", "fdr", "action_fdr", "csr"}
    assert protocol_of("soc-cage4-v0") is protocol_of("soc-v1")
    assert (goal_of("soc-v1"), goal_of("paper-v0")) == ("score", "reward")
    assert scripted("soc-v1") is scripted("soc-cage4-v0") is SCRIPTED["soc"]
    assert scripted("paper-v0") is SCRIPTED["paper"]
    assert scripted(soc_env.make_scenario("soc-v1", split="test")) is SCRIPTED["soc"]
    with pytest.raises(ScenarioError, match="'soc-v1'"):
        columns_of("soc-v2")


def test_episodes_are_those_of_the_simulator() -> None:
    """Episode 1, played by hand; the oracle is shown the state before each call."""
    result = evaluate("oracle-observation", "soc-v1", num_episodes=2, seed=8, split="test", **SHORT)
    seed = [int(result.episodes["seed"][1])]
    simulator = soc_env.Simulator("soc-v1", num_envs=1, seed=seed, autoreset=False, split="test", **SHORT)
    policy = SCRIPTED["soc"]["oracle-observation"](simulator.action_spaces, 8)
    simulator.reset()
    while not simulator.truncated[0]:
        policy.state = simulator.state()
        for agent, action in policy(simulator.observations, simulator.decides).items():
            simulator.actions[agent] = action
        simulator.step()
    for name in columns_of("soc-v1"):
        assert result.episodes[name][1] == simulator.episode_metrics[name][0], name
    assert result.settings["overrides"] == {"split": "test", **SHORT}


def test_a_metric_without_its_count_is_left_out() -> None:
    """Two of three episodes have no campaign: the third alone says what the time to detect is."""
    column = columns_of("soc-v1")["mttd"]
    episodes = {"mttd": np.array([0.0, 30.0, 0.0]), "campaigns": np.array([0.0, 2.0, 0.0])}
    assert Estimate.of_column(column, episodes).mean == 30.0
    assert Estimate.of_column(columns_of("soc-v1")["fdr"], {"fdr": np.array([0.0, 0.3])}).mean == pytest.approx(0.15)
    assert Estimate.of_column(column, {name: 0 * values for name, values in episodes.items()}).mean == 0.0


def test_intervals_of_shares_stay_shares() -> None:
    columns, values = columns_of("soc-v1"), np.array([[1.0, 1.0], [1.0, 0.9], [1.0, 0.2]])
    flat = {"csr": values.ravel(), "campaigns": np.ones(6)}
    free = Estimate.of(values.ravel())
    cut = Estimate.of_column(columns["csr"], flat)
    assert free.high > 1.0 == cut.high
    assert (cut.mean, cut.low) == (free.mean, free.low)
    assert ClusterResult({"csr": values, "campaigns": np.ones((3, 2))}).estimate(columns["csr"]).high == 1.0


def test_the_printed_table_has_the_family_s_metrics() -> None:
    results = compare({"null": "null", "rule-soar": "rule-soar"}, "soc-v1", 4, split="test", **SHORT)
    file = io.StringIO()
    print_table(results, file)
    text = file.getvalue()
    for label in ("Score", "Loss", "MTTC [min]", "Action FDR [%]", "CSR [%]", "4 episodes of soc-v1", "split=test"):
        assert label in text
    assert "published" not in text
    estimate, column = results["rule-soar"].summary["loss"], columns_of("soc-v1")["loss"]
    assert estimate.format(column) in text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--policy", "zeros", "--scenario", "soc-v1"], "policy of soc-v1 'zeros'"),
        (["--policy", "expert", "--scenario", "paper-v0"], "policy of paper-v0 'expert'"),
        (["--policy", "experts", "--scenario", "soc-v1"], "did you mean 'expert'"),
        (["--policy", "null", "--scenario", "soc-v1", "--override", "families=wipers"], "did you mean 'wiper'"),
        (["--policy", "null", "--scenario", "soc-v1", "--override", "split=tests"], "did you mean 'test'"),
        (["--policy", "null", "--scenario", "soc-v1", "--override", "phase_values=1,2"], "must be 3 numbers"),
        (["--policy", "null", "--scenario", "soc-v1", "--override", "network=no/such.graphml"], "no/such.graphml"),
    ],
)
def test_mistakes_are_one_line(arguments: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", *arguments, "--episodes", "1") == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert expected in err


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("split=test", "test"),
        ("families=wiper", ["wiper"]),
        ("families=espionage, wiper", ["espionage", "wiper"]),
        ('families=["espionage"]', ["espionage"]),
        ("families=", []),
        ("phase_values=1,10,10", [1, 10, 10]),
        ("phase_zones=[-1,3,4]", [-1, 3, 4]),
        ("network=a,b.graphml", "a,b.graphml"),
        ("instant_actions=True", True),
        ("analysts=2.5", 2.5),
    ],
)
def test_overrides_are_read_as_the_scenario_needs_them(text: str, value: Any) -> None:
    assert cli._parse_overrides([text]) == {text.partition("=")[0]: value}


def test_evaluate_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = "evaluate --scenario soc-v1 --policy expert --episodes 3 --override split=test --override max_steps=25"
    assert run(*command.split(), "--override", "families=wiper,espionage", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["overrides"] == {"split": "test", "max_steps": 25, "families": ["wiper", "espionage"]}
    assert set(data["summary"]) == {metric.name for metric in METRICS}
    assert data["episodes"]["length"] == [25.0] * 3


def test_help_names_every_scripted_policy(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("evaluate", "--help") == 0
    words = set(re.findall(r"[a-z-]+", capsys.readouterr().out.replace("\n", " ")))
    assert set(SCRIPTED["soc"]) | set(SCRIPTED["paper"]) <= words


@pytest.mark.parametrize(("old", "new"), [("informed", "oracle-observation"), ("clairvoyant", "oracle-control")])
def test_an_old_name_of_a_policy_is_refused_with_the_new_one(old: str, new: str) -> None:
    with pytest.raises(ConfigError, match=f"policy of soc-v1 '{old}' does not exist any more; it is called '{new}'"):
        evaluate(old, "soc-v1", num_episodes=1)


# --- the table


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
    estimate = result.estimate(columns_of("soc-v1")["loss"])
    assert estimate.mean == 4.0
    assert (estimate.low, estimate.high) == mean_interval(np.array([2.0, 4.0, 6.0]))
    assert estimate.std == pytest.approx(values.std(ddof=1))


def test_play_puts_every_seed_on_its_networks() -> None:
    result = play("expert", "soc-v1", 2, 3, seed=4, num_networks=2, **SHORT)
    assert result.metrics["loss"].shape == (2, 3)
    seed = soc_table._cluster_seed(4, 1)
    again = evaluate("expert", "soc-v1", 3, seed, num_networks=2, network_seed=2, **SHORT)
    np.testing.assert_array_equal(result.metrics["loss"][1], again.episodes["loss"])


def test_the_sparse_column_is_what_the_sparse_reward_pays() -> None:
    settings = {"num_networks": 1, "max_steps": 60}
    dense = play("rule-soar", "soc-v1", 1, 4, **settings)
    paid = play("rule-soar", "soc-v1", 1, 4, reward="sparse", **settings)
    np.testing.assert_allclose(dense.metrics["sparse"], paid.metrics["reward"], atol=1e-9)
    np.testing.assert_array_equal(dense.metrics["loss"], paid.metrics["loss"])  # the score knows no reward
    assert SPARSE.name == "sparse"


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


def test_the_control_oracle_is_far_below_doing_nothing() -> None:
    losses = calibrate("soc-v1", num_episodes=20)
    assert list(losses) == ["null_loss", "clairvoyant_loss"]
    assert losses["clairvoyant_loss"].mean < 0.2 * losses["null_loss"].mean
    assert losses["null_loss"].mean > 30
    fields = {name: loss.mean for name, loss in losses.items()}
    assert soc_env.make_scenario("soc-v1", **fields).hash()  # they are fields of the scenario, in its order


def test_the_table_refuses_few_seeds_and_other_families() -> None:
    with pytest.raises(ConfigError, match="at least 5 network seeds"):
        measure("soc-v1", num_seeds=4, episodes=1)
    with pytest.raises(ConfigError, match="no mission score"):
        measure("paper-v0", episodes=1)


@pytest.fixture(scope="module")
def table() -> soc_table.Table:
    policies = {name: name for name in ("null", "isolate-all", "rule-soar", "expert")}
    ablations = [a for a in ABLATIONS if a.name in ("no benign users", "perfect sensors")]
    return measure(
        "soc-v1", policies=policies, num_seeds=2, episodes=24, ablations=ablations, ablation_episodes=24, insists=True
    )


def test_the_table_ranks_the_policies(table: soc_table.Table) -> None:
    """Coarse on purpose: the full table is a command. Isolating all loses to the rules, these to the expert."""
    for split in ("test", "train"):
        loss = {name: row["loss"].mean for name, row in table.splits[split].items()}
        assert loss["expert"] < loss["rule-soar"] < min(loss["null"], loss["isolate-all"])
        score = {name: row["score"].mean for name, row in table.splits[split].items()}
        assert sorted(score, key=score.__getitem__) == sorted(loss, key=loss.__getitem__, reverse=True)


def test_ablations_show_their_effect(table: soc_table.Table) -> None:
    before, without_users = table.splits["test"], table.ablations["no benign users"]
    assert before["isolate-all"]["loss"].mean > before["rule-soar"]["loss"].mean
    best = min(without_users, key=lambda name: without_users[name]["loss"].mean)
    assert best == "isolate-all"
    perfect = table.ablations["perfect sensors"]
    assert perfect["expert"]["mttd"].mean < before["expert"]["mttd"].mean


def test_the_markdown_has_every_row(table: soc_table.Table) -> None:
    text = soc_table.markdown(table)
    columns = columns_of("soc-v1")
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
        "table",
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
    assert run("table", "--policies", "nul") == 2
    assert "did you mean 'null'" in capsys.readouterr().err
    assert run("table", "--network-seeds", "3") == 2
    assert "at least 5" in capsys.readouterr().err
    assert run("table", "--calibrate", "--search", "3") == 2
    assert run("table", "--help") == 0


def test_calibrate_s_command_prints_the_two_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("table", "--calibrate", "--episodes", "5", "--override", "max_steps=40") == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition("=")[0] for line in lines] == ["null_loss", "clairvoyant_loss"]
    assert all(float(line.partition("=")[2].split()[0]) >= 0 for line in lines)


# --- the constant search


def test_a_drawn_constant_does_what_its_playbook_does() -> None:
    """The fast batch of the search and `playbooks.constant` send the same actions."""
    simulator = soc_env.Simulator("soc-v1", num_envs=2, seed=0)
    rows = draw_constants(np.random.default_rng(3), 2)
    write_constants(simulator, rows)
    for index, row in enumerate(rows):
        named = dict(zip(("triage", *LEVELS, *POSTURES), row.tolist(), strict=True))
        triage = int(named.pop("triage"))
        policy = playbooks.constant(triage, **named)(simulator.action_spaces)
        for agent, action in policy({}, np.ones(1, bool)).items():
            np.testing.assert_allclose(simulator.actions[agent][index], action[0], atol=1e-6)


def test_losses_of_constants_are_those_of_their_episodes() -> None:
    rows = draw_constants(np.random.default_rng(3), 3)
    losses = constant_losses(rows, "soc-v1", [5, 9], **SHORT)
    assert losses.shape == (3, 2)
    alone = constant_losses(rows[2:], "soc-v1", [9], **SHORT)
    assert losses[2, 1] == alone[0, 0]


def test_the_search_finds_a_better_constant_than_it_drew() -> None:
    settings: dict[str, Any] = {"draws": 2, "refined": 6, "validation": 48, **SHORT}
    drawn = search_constants("soc-v1", 30, rounds=0, **settings)
    refined = search_constants("soc-v1", 30, rounds=3, **settings)
    assert drawn.num_tried == 30
    assert refined.num_tried == 30 + 3 * soc_table.PARENTS * soc_table.CHILDREN
    assert refined.loss.mean < drawn.loss.mean
    entry = as_playbook(refined)
    assert entry.startswith('"best-constant": constant(triage=')
    builder = eval("{" + entry + "}", {"constant": playbooks.constant})["best-constant"]
    assert isinstance(builder(soc_env.Simulator("soc-v1").action_spaces), ConstantPolicy)


def test_the_search_s_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    found = Search({"triage": 1, "hunt": 0.5}, Estimate(70.0, 1.0, 69.0, 71.0), 2200)
    monkeypatch.setattr(soc_table, "search_constants", lambda *_, **__: found)
    assert run("table", "--search", "2000") == 0
    out = capsys.readouterr().out
    assert "best of 2,200 constants: loss 70.00 [69.00, 71.00]" in out
    assert '"best-constant": constant(triage=1, hunt=0.5),' in out


# --- training


def test_a_run_on_soc_v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What a run leaves behind: its progress, a best checkpoint by mission score, both splits, and the report."""
    pytest.importorskip("ray")
    from experiments import train as training
    from policies.checkpoint import read_manifest
    from policies.networks.tokens import own_tokens
    from policies.tiers import DEFAULT_TIERS
    from soc_env.soc.tables import layout

    protocol = dataclasses.replace(PROTOCOLS["soc"], validation_episodes=4)
    monkeypatch.setitem(PROTOCOLS, "soc", protocol)
    monkeypatch.setattr(training, "EVALUATION_EPISODES", 4)
    tiny = {"train_batch_size": 160, "random_steps": 160, "learning_starts": 160, "updates_per_iteration": 1}
    tiers = {tier: {"hiddens": [8, 8], "encoder": "attention"} for tier in DEFAULT_TIERS}
    tiny |= {"tiers": tiers, "replay_capacity": 2000}
    out = training.train(
        "soc-v1",
        steps=800,
        num_envs=8,
        out=tmp_path / "run",
        overrides={"max_steps": 20, "num_networks": 2},
        config=tiny,
    )
    with (out / "progress.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {"score", "loss", "mttc", "action_fdr", "validation_score", "validation_csr"} <= set(rows[0])
    assert float(rows[-1]["loss"]) >= 0
    manifest = read_manifest(out / "checkpoints" / "best")
    assert manifest["best_validation_score"] == pytest.approx(float(rows[-1]["validation_score"]))
    tested = json.loads((out / "evaluation.json").read_text())
    trained_on = json.loads((out / "evaluation-train.json").read_text())
    assert list(tested) == [*protocol.compared, UNTRAINED, TRAINED]
    assert {"rule-soar", "expert", TRAINED} <= set(trained_on)
    assert tested[TRAINED]["overrides"]["split"] == "test"
    assert "split" not in trained_on[TRAINED]["overrides"]
    assert "Held-out networks and attackers" in (out / "report.html").read_text()
    assert "What the trained team looks at" in (out / "report.html").read_text()
    attended = json.loads((out / "attention.json").read_text())
    assert 0 <= attended["minute"] < 20
    for agent, own in attended["agents"].items():
        assert own["tokens"] == own_tokens(agent, layout(agent, 5).size).names
        assert np.sum(own["shares"], 1) == pytest.approx(np.ones(len(own["tokens"])), abs=1e-2)
    assert "greedy score" in capsys.readouterr().err


def test_soc_v1_has_a_preset_and_cage4_uses_it() -> None:
    pytest.importorskip("ray")
    from experiments.train import with_preset
    from policies.presets import PRESETS

    assert with_preset("soc-cage4-v0", {}) == with_preset("soc-v1", {}) == PRESETS["soc-v1"]


# --- the report


@pytest.fixture(scope="module")
def compared() -> dict[str, dict[str, EvaluationResult]]:
    policies = {"null": "null", "rule-soar": "rule-soar", "expert": "expert", UNTRAINED: "null", TRAINED: "expert"}
    return {split: compare(policies, "soc-v1", 12, seed=3, split=split) for split in ("test", "train")}


def test_the_report_of_soc_v1(compared: dict[str, dict[str, EvaluationResult]], tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    for name, split in (("evaluation.json", "test"), ("evaluation-train.json", "train")):
        (tmp_path / name).write_text(json.dumps({k: r.to_dict() for k, r in compared[split].items()}))
    names = ("score", "loss", "reward", "mttc", "csr")
    header = ["iteration", "steps", *names, *(f"validation_{name}" for name in names)]
    rows = [",".join([str(k), str(1000 * k), *["1.5"] * 5, *["2.5" if k % 2 else ""] * 5]) for k in range(1, 6)]
    (tmp_path / "progress.csv").write_text("\n".join([",".join(header), *rows]))
    page = report.write_report(tmp_path).read_text()
    columns, tested = columns_of("soc-v1"), compared["test"]
    for key in protocol_of("soc-v1").shown:
        estimate = tested["rule-soar"].summary[key]
        assert f"<td>{columns[key].format(estimate.mean)}<small>[{columns[key].format(estimate.low)}, " in page
    assert page.count("<img ") == 2
    assert "looks at" not in page
    assert "mission score of <b>" in page
    assert "above rule-soar" in page
    assert "split: test" in page.lower()
    gap = tested["rule-soar"].mean("loss") - compared["train"]["rule-soar"].mean("loss")
    assert f"<td>{columns['loss'].format(gap)}<small>" in page
    assert "published HMARL-SOC" not in page


def test_the_gap_table_by_hand(compared: dict[str, dict[str, EvaluationResult]]) -> None:
    header, rows = report.gap_rows(compared["test"], compared["train"])
    assert header == ["policy", *(f"{name}{end}" for name in ("Score",) for end in (", train",)), "test", "gap"] + [
        "Loss, train", "test", "gap", "Reward, train", "test", "gap"
    ]  # fmt: skip
    (row,) = [row for row in rows if row[0] == "rule-soar"]
    before, after = (compared[split]["rule-soar"].summary["score"] for split in ("train", "test"))
    half = np.hypot(before.high - before.mean, after.high - after.mean)
    change = after.mean - before.mean
    assert row[3] == Estimate(change, 0, change - half, change + half).format(columns_of("soc-v1")["score"])


def test_a_trained_policy_sees_no_state() -> None:
    """Only policies that ask for the truth get it."""
    simulator = soc_env.Simulator("soc-v1")
    for name in SCRIPTED["soc"]:
        policy = scripted_policy(name, simulator.action_spaces, 0, "soc-v1")
        assert getattr(policy, "needs_state", False) == (name == "oracle-observation")
    assert TRIAGE in simulator.action_spaces
