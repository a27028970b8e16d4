"""Each script of examples/ runs, with a tiny budget, and says something."""

import os
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
SMALL = {"train_batch_size": 64, "replay_capacity": 1_000, "learning_starts": 64, "updates_per_iteration": 1}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scripts write into the current folder."""
    monkeypatch.chdir(tmp_path)


def main_of(name: str) -> Callable[..., Any]:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))["main"]


def test_one_environment(capsys):
    main_of("one_environment")(max_steps=10)
    assert "mission score" in capsys.readouterr().out


def test_batch(capsys):
    main_of("batch")(max_steps=10)
    assert capsys.readouterr().out.count("loss") == 8


def test_console(capsys):
    main_of("console")(minutes=30)
    assert "calls, the last: {" in capsys.readouterr().out


def test_sb3_ppo(capsys):
    pytest.importorskip("stable_baselines3", reason="stable_baselines3 is not installed: its example is NOT tested")
    main_of("sb3_ppo")(steps=4096, episodes=3, max_steps=20)
    assert capsys.readouterr().out.count("mission score") == 2


def test_own_network(capsys):
    main_of("own_network")(max_steps=10)
    assert Path("office.graphml").exists()
    assert "60 hosts in dmz" in capsys.readouterr().out


def test_own_playbook(capsys):
    main_of("own_playbook")(num_episodes=2)
    out = capsys.readouterr().out
    assert all(name in out for name in ("own_playbook.toml", "in Python", "rule-soar", "expert"))


def test_picture(capsys):
    pytest.importorskip("matplotlib")
    main_of("picture")()
    kept = EXAMPLES.parent / "docs/assets/soc-v1.png"
    assert Path("picture.png").stat().st_size > 0.5 * kept.stat().st_size
    assert "score 95.5" in capsys.readouterr().out, "docs/assets/soc-v1.png shows another episode than the script draws"


def test_train(quiet_ray, capsys):
    main_of("train")(iterations=2, **SMALL)
    assert "mission score on the test split" in capsys.readouterr().out


TUNED = {**SMALL, "num_envs_per_env_runner": 4, "env_config": {"max_steps": 10}}


def test_tune_asha_and_its_resumption(quiet_ray, capsys):
    rows = main_of("tune_asha")(iterations=2, trials=2, **TUNED)
    assert [row[3] for row in rows] == [2, 2]
    assert sorted(main_of("tune_asha")(resume=True)) == sorted(rows), "nothing was left to train"
    assert capsys.readouterr().out.count("response_orchestrator.actor_lr") == 2


def test_tune_pbt(quiet_ray, capsys):
    rows = main_of("tune_pbt")(iterations=2, trials=2, interval=1, **TUNED)
    assert [row[1] for row in rows] == [2, 2]
    assert "response_orchestrator.actor_lr, one after the other" in capsys.readouterr().out


def test_own_environment(quiet_ray, capsys):
    pytest.importorskip("mpe2")
    main_of("own_environment")(iterations=1)
    assert "reward/agent_0" in capsys.readouterr().out


def test_cage4(capsys):
    if not os.environ.get("CYBORG_HOME"):
        pytest.skip("CYBORG_HOME is not set: the example of CAGE Challenge 4 is NOT tested")
    main_of("cage4")(steps=20)
    assert "official score -" in capsys.readouterr().out


def test_every_example_has_a_test_here_and_is_short():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    scripts = {path.stem for path in EXAMPLES.glob("*.py")} - {"navigation"}  # has tests of its own
    longer = {"tune_asha": 80, "tune_pbt": 80}
    for name in scripts:
        assert any(test.startswith(name) for test in tests), name
        lines = (EXAMPLES / f"{name}.py").read_text(encoding="utf-8").splitlines()
        assert len(lines) < longer.get(name, 40), name
