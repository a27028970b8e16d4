"""A search over trials: what is refused before Ray starts, what a search leaves, that it goes on where it stopped."""

from __future__ import annotations

import csv
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("ray")

from experiments.evaluate import evaluate_checkpoint
from experiments.tune import search
from experiments.tune.records import FAILED, FINISHED, RUNNING, STOPPED, Records, Trial
from experiments.tune.trial import SCORE, copy_trial
from policies.tiers import DEFAULT_TIERS
from soc_env.errors import CheckpointError, ConfigError, HMARLSOCError

ROOT = Path(__file__).parents[3]
OVERRIDES = {"num_hosts": 20, "max_steps": 50}
TINY = {
    "train_batch_size": 256,
    "learning_starts": 512,
    "random_steps": 256,
    "updates_per_iteration": 1,
    "replay_batch_size": 32,
    "replay_capacity": 2000,
}
SMALL_NETWORKS = {tier: {"hiddens": [16, 16]} for tier in DEFAULT_TIERS}


def space(**hunter):
    return {**TINY, "tiers": {**SMALL_NETWORKS, "threat_hunter": {"hiddens": [16, 16], **hunter}}}


RATES = space(actor_lr={"loguniform": [1e-5, 1e-3]})


def small(**settings):
    return {"scenario": "paper-v0", "overrides": OVERRIDES, "num_envs": 8, **settings}


# ---- before Ray starts
@pytest.mark.parametrize(
    ("plain", "settings", "said"),
    [
        (
            space(actor_lr={"choice": [1e-4, -1.0]}),
            {},
            r"space: tiers.threat_hunter.actor_lr=-1.0: .*actor_lr=-1.0 must",
        ),
        (space(gamma={"uniform": [0.9, 1.5]}), {}, r"space: tiers.threat_hunter.gamma=1.5: .*gamma=1.5 must"),
        (space(gama={"uniform": [0.9, 1.0]}), {}, r"space: tiers.threat_hunter.gama=0.9: tier 'threat_hunter': .*gama"),
        ({**TINY, "n_steps": {"choice": [1, 2]}}, {}, r"n_steps=1: config: setting 'n_steps' does not exist; did you"),
        ({**RATES, "replay_alpha": 7}, {}, r"replay_alpha=7 must be"),
        (space(target_entropy={"grid": ["x"]}), {}, r"target_entropy='x'"),
        (RATES, {"scheduler": "hyperband"}, r"scheduler 'hyperband' does not exist"),
        (RATES, {"scheduler": "pbt", "samples": 1}, r"samples: pbt needs two trials"),
        (
            space(hiddens={"choice": [[16, 16], [32, 32]]}),
            {"scheduler": "pbt"},
            r"hiddens=\[32, 32\] gives networks of o",
        ),
        (RATES, {"scenario": "soc-v9"}, r"scenario 'soc-v9' does not exist"),
        (RATES, {"overrides": {"num_hostz": 3}}, r"num_hostz"),
    ],
)
def test_a_search_that_cannot_work_is_refused_before_anything_is_written(plain, settings, said, tmp_path, monkeypatch):
    monkeypatch.setattr(search, "Search", None)  # nothing is started
    with pytest.raises(HMARLSOCError, match=said):
        search.tune(plain, out=tmp_path / "new", **small(**settings))
    assert not (tmp_path / "new").exists()


def test_folders_are_named_where_they_are_wrong(tmp_path):
    with pytest.raises(CheckpointError, match=r"holds no search to resume \(it has no tune.json\)"):
        search.tune(resume=True, out=tmp_path)
    (tmp_path / "tune.json").write_text("{}")
    with pytest.raises(ConfigError, match="holds a search already; allowed: a new folder, or --resume"):
        search.tune(RATES, out=tmp_path, **small())


# ---- what a search leaves
@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder and records of a search by ASHA: two trials."""
    out = tmp_path_factory.mktemp("searches") / "asha"
    return out, search.tune(RATES, samples=2, steps=768, out=out, **small())


def test_a_search_leaves_a_table_and_a_checkpoint_to_evaluate(finished, tmp_path):
    out, records = finished
    assert sorted(path.name for path in out.iterdir() if path.suffix != ".lock") == [
        "trials", "trials.csv", "trials.json", "trials.md", "tune.json"
    ]  # fmt: skip
    assert {trial.status for trial in records.trials} <= {FINISHED, STOPPED}
    assert FINISHED in {trial.status for trial in records.trials}
    best = records.best()
    assert best.score == max(trial.score for trial in records.trials)
    rows = list(csv.DictReader((out / "trials.csv").open()))
    assert rows[0]["trial"] == best.name
    assert float(rows[0]["reward"]) == pytest.approx(best.score, abs=0.01)
    assert rows[0]["threat_hunter.actor_lr"] == f"{best.values['tiers.threat_hunter.actor_lr']:.4g}"
    assert (
        (out / "trials.md")
        .read_text()
        .startswith("| trial | threat_hunter.actor_lr | reward | steps | minutes | status")
    )
    config = json.loads((out / "trials" / best.name / "config.json").read_text())["config"]
    assert config["tiers"]["threat_hunter"]["actor_lr"] == best.values["tiers.threat_hunter.actor_lr"]
    assert config["tiers"]["alert_triage"]["gamma"] == 0.3, "the preset's"
    result = evaluate_checkpoint(out / "trials" / best.name, num_episodes=8, num_envs=8)
    assert math.isfinite(result.mean("reward"))
    assert Records.read(out, "reward") == records


def test_a_finished_search_is_shown_again_without_ray(finished, capsys, monkeypatch):
    out, _ = finished
    monkeypatch.setattr(search.Search, "run", None)
    search.tune(resume=True, out=out)
    assert "best: hmarl-soc evaluate --checkpoint" in capsys.readouterr().out


def test_a_trial_copies_another_one_that_goes_on(finished, tmp_path):
    from policies.checkpoint import read_manifest

    out, _ = finished
    for name in ("000", "001"):
        shutil.copytree(out / "trials" / name, tmp_path / name)
    donor, folder = tmp_path / "000", tmp_path / "001"
    copy_trial(donor, folder, {"x": 1}, {"config": {"n_step": 7}})
    manifest = read_manifest(folder / "checkpoints" / "last")
    assert manifest == read_manifest(donor / "checkpoints" / "last")
    assert json.loads((folder / "config.json").read_text())["config"] == {"n_step": 7}
    changed = json.loads((folder / "trial.json").read_text())
    assert changed["values"] == {"x": 1}
    assert [(copy["from"], copy["steps"]) for copy in changed["copies"]] == [("000", manifest["num_env_steps"])]
    assert sorted(path.name for path in (folder / "checkpoints").iterdir()) == ["best", "last", "start"]


def test_a_trial_that_needs_more_than_there_is_does_not_wait_for_ever(finished, tmp_path, monkeypatch):
    import ray

    asked = {**json.loads((finished[0] / "tune.json").read_text()), "workers": 3}
    values = {"tiers.threat_hunter.actor_lr": 1e-4}
    waiting = search.Search(tmp_path, asked, Records(tmp_path, "reward", [Trial(0, values, 0)]), None)
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 3.0})
    with pytest.raises(ConfigError, match="trial 000 needs 4 CPU, but Ray has 3: fewer workers or learners are allow"):
        waiting.run()
    assert list(tmp_path.iterdir()) == []


def test_a_trial_reserves_its_process_its_runners_and_its_learners():
    remote = {"num_learners": {"choice": [1, 2]}, "custom_resources_per_learner": {"rack_a": 0.5}}
    asked = {**small(), "space": space(**remote), "workers": 2, "budget": {"steps": 256}}
    wanted = search.request(asked, {"slot": {"values": {"tiers.threat_hunter.num_learners": 2}}})
    learner = {"CPU": 1.0, "rack_a": 0.5}
    assert [{k: v for k, v in bundle.items() if v} for bundle in wanted.bundles] == 3 * [{"CPU": 1.0}] + 2 * [learner]


@pytest.mark.slow
def test_trials_with_remote_runners_and_learners_wait_for_each_other(tmp_path, monkeypatch):
    import ray

    running = []
    told = search.Search.told

    def counted(self, *words):
        running.append(sum(trial.status == RUNNING for trial in self.records.trials))
        told(self, *words)

    monkeypatch.setattr(search.Search, "told", counted)
    ray.init(num_cpus=3, include_dashboard=False, log_to_driver=False)  # one trial at a time
    try:
        remote = space(num_learners=1, actor_lr={"grid": [1e-4, 1e-3]})
        records = search.tune(remote, samples=1, steps=512, out=tmp_path / "o", workers=1, scheduler="none", **small())
    finally:
        ray.shutdown()
    assert [trial.status for trial in records.trials] == [FINISHED, FINISHED]
    assert set(running) == {1}


# ---- going on
def test_asha_knows_again_what_trials_told_before():
    from experiments.tune.schedule import SCHEDULERS
    from experiments.tune.trial import NUMBER, SLOT

    told = [[{"steps": steps, "seconds": 1.0, SCORE: score}] for steps, score in ((100, 1.0), (100, 2.0), (110, 3.0))]
    trials = [Trial(n, {}, 0, status=status, told=told[n]) for n, status in enumerate((FINISHED, STOPPED, RUNNING))]
    records = Records(Path(), "score", [*trials, Trial(3, {}, 0)])
    decided = {}
    for known in (records, Records(Path(), "score", [Trial(3, {}, 0)])):
        scheduler = SCHEDULERS["asha"](known, {}, "steps", 900)
        waiting = [SimpleNamespace(trial_id=f"t{n}", config={SLOT: {NUMBER: n}}) for n in (2, 3)]
        for trial in waiting:
            scheduler.on_trial_add(None, trial)
        result = {"steps": 100, SCORE: 1.5}
        decided[len(known.trials)] = scheduler.on_trial_result(None, waiting[1], result)
    assert decided == {4: "STOP", 1: "CONTINUE"}


def start(out: Path, *words: str) -> subprocess.Popen:
    """The command in a process group of its own, as a shell starts it."""
    command = [sys.executable, "-m", "experiments.cli", "tune", "--out", str(out), *words]
    return subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def wait_for_a_validation(out: Path, process: subprocess.Popen) -> None:
    """Until a trial that is not over has been validated."""
    end = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < end:
        if (out / "trials.json").exists():
            trials = json.loads((out / "trials.json").read_text())["trials"]
            if any(trial["status"] == RUNNING and trial["score"] is not None for trial in trials):
                return
        time.sleep(0.1)
    pytest.fail(process.communicate()[0] if process.poll() is not None else "no validation in 240 s")


WORDS = ("--scenario", "paper-v0", "--override", "num_hosts=20", "--override", "max_steps=50", "--num-envs", "8")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sent", "scheduler"), [(signal.SIGINT, "asha"), (signal.SIGKILL, "asha"), (signal.SIGKILL, "pbt")]
)
def test_a_search_that_was_stopped_goes_on(sent, scheduler, tmp_path):
    out, file = tmp_path / "search", tmp_path / "space.json"
    file.write_text(json.dumps(RATES))
    words = ("--space", str(file), "--samples", "2", "--steps", "40000", "--scheduler", scheduler, *WORDS)
    process = start(out, *words)
    wait_for_a_validation(out, process)
    if sent == signal.SIGINT:
        os.killpg(process.pid, sent)  # as a terminal's Ctrl-C
    else:
        process.kill()
    text, _ = process.communicate(timeout=120)
    before = Records.read(out, "reward")
    if sent == signal.SIGINT:
        assert process.returncode == 130
        assert "go on with: hmarl-soc tune --resume --out" in text
        assert not (out / "ray").exists()
    process = start(out, "--resume")
    text, _ = process.communicate(timeout=400)
    assert process.returncode == 0, text
    records = Records.read(out, "reward")
    assert {trial.status for trial in records.trials} <= {FINISHED, STOPPED}
    assert FAILED not in {trial.status for trial in records.trials}
    for old, new in zip(before.trials, records.trials, strict=True):
        assert new.told[: len(old.told)] == old.told, "what was computed is kept"
        steps = [told["steps"] for told in new.told]
        assert scheduler == "pbt" or steps == sorted(steps), "and not computed again"
    assert not (out / "ray").exists()
