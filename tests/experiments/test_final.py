"""The comparison that ends a run: kept policy by policy, stopped and gone on with, never made twice."""

import contextlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("filelock")
pytest.importorskip("matplotlib")
import soc_env
from experiments import attention, evaluate, final, report
from experiments.evaluate import TRAINED, UNTRAINED, EvaluationResult
from experiments.final import finish, is_finished
from experiments.output import write_json
from experiments.run_folder import read_results
from policies.scripted import SCRIPTED
from soc_env.errors import RunError

SETTINGS: dict[str, Any] = {"scenario": "paper-v0", "seed": 0, "overrides": {"num_hosts": 20, "max_steps": 20}}
HINT = "do that"


class Trained:
    """A policy with a manifest, as a checkpoint's has one."""

    def __init__(self, steps: int):
        self.manifest = {"num_env_steps": steps}
        self._plays = SCRIPTED["paper"]["zeros"](soc_env.Simulator("paper-v0", seed=0).action_spaces)

    def reset(self, seed: int | None = None) -> None:
        self._plays.reset(seed)

    def __call__(self, observations: Any, decides: Any) -> Any:
        return self._plays(observations, decides)


class Run:
    """A run folder whose best checkpoint can be chosen, and the policies that were played on it."""

    def __init__(self, out: Path, patch: pytest.MonkeyPatch):
        self.out, self.best, self.played = out, 1000, list[str]()
        self.interrupts: Any = lambda name: False
        patch.setattr(final, "EVALUATION_EPISODES", 6)
        patch.setattr(final, "_policies", lambda *_: self.policies())
        patch.setattr(final, "read_manifest", lambda folder: {"num_env_steps": self.best})
        patch.setattr(attention, "explained_moment", lambda *_: {})
        patch.setattr(final, "compare", self.compare)
        self.stop: Any = None
        patch.setattr(final, "stop_on_signal", self.stop_on_signal)
        patch.setattr(report, "page", lambda *_: "a page")

    def compare(self, policies: dict[str, Any], *arguments: Any, **settings: Any) -> Any:
        (name,) = policies
        self.played.append(name)
        if self.interrupts(name):
            self.stop()
        return evaluate.compare(policies, *arguments, num_envs=2, **settings)

    def policies(self) -> dict[str, Any]:
        return {"null": "null", "rule-soar": "rule-soar", UNTRAINED: Trained(0), TRAINED: Trained(self.best)}

    def stop_on_signal(self, stop: Any) -> Any:
        self.stop = stop
        return contextlib.nullcontext()

    def finish(self) -> list[str]:
        self.played.clear()
        finish(self.out, SETTINGS, HINT)
        return self.played


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    return Run(tmp_path, monkeypatch)


ALL = ["null", "rule-soar", UNTRAINED, TRAINED]


def test_what_is_there_is_not_made_again(run: Run) -> None:
    assert not is_finished(run.out)
    assert run.finish() == ALL
    assert sorted(os.listdir(run.out)) == ["evaluation.json", "report.html"]
    assert is_finished(run.out)
    first = (run.out / "evaluation.json").read_bytes()
    (run.out / "report.html").unlink()
    assert not is_finished(run.out)
    assert run.finish() == []
    assert (run.out / "evaluation.json").read_bytes() == first
    run.best = 2000  # training went on and found a better one
    assert not is_finished(run.out)
    assert run.finish() == [TRAINED]
    assert read_results(run.out / "evaluation.json")[TRAINED].settings["num_env_steps"] == 2000


def test_a_signal_keeps_what_is_computed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run.interrupts = lambda name: name == "rule-soar"
    with pytest.raises(KeyboardInterrupt):
        run.finish()
    assert "go on with: do that" in capsys.readouterr().out
    assert list(read_results(run.out / "evaluation.json.part")) == ["null"]
    assert not (run.out / "evaluation.json").exists()
    run.interrupts = lambda name: False
    assert run.finish() == ["rule-soar", UNTRAINED, TRAINED]
    assert list(read_results(run.out / "evaluation.json")) == ALL
    assert not (run.out / "evaluation.json.part").exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"null": {}}', '{"null": 5}', '{"null": {"summary": {}}}'])
def test_a_part_that_is_damaged_is_made_again(content: str, run: Run) -> None:
    (run.out / "evaluation.json.part").write_text(content)
    assert run.finish() == ALL


def test_results_of_other_episodes_or_code_are_made_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.finish()
    monkeypatch.setitem(SETTINGS, "overrides", {"num_hosts": 30, "max_steps": 20})
    assert run.finish() == ALL
    monkeypatch.setattr(final, "provenance", lambda: {"git_hash": "another"})
    assert run.finish() == ALL


def test_a_full_disk_is_one_line_and_nothing_is_lost(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Path, data: Any, **_: Any) -> Any:
        if path.name == "evaluation.json":
            raise OSError(28, "No space left on device", str(path))
        return write_json(path, data)

    with monkeypatch.context() as patch:
        patch.setattr(final, "write_json", full)
        with pytest.raises(RunError, match=r"evaluation.json' cannot be written \(No space left.*go on with: do that"):
            run.finish()
    assert run.finish() == []


def test_a_metric_that_is_undefined_is_null_and_comes_back(run: Run) -> None:
    run.finish()
    result = read_results(run.out / "evaluation.json")["null"]
    result.episodes["mttd"][1] = math.nan
    summary = {**result.summary, "mttd": evaluate.Estimate.of(result.episodes["mttd"])}
    undefined = EvaluationResult("null", result.settings, result.episodes, summary)
    text = undefined.to_json()
    assert "NaN" not in text
    assert json.loads(text)["summary"]["mttd"]["mean"] is None
    back = EvaluationResult.from_dict(json.loads(text))
    np.testing.assert_array_equal(back.episodes["mttd"], undefined.episodes["mttd"])
    assert math.isnan(back.mean("mttd"))
