"""Configuration files with one thing wrong: accepted, or refused in one line before anything starts; never a traceback.

A part of what `python tests/helpers/config_fuzz.py --seed N` plays through.
"""

import collections
from pathlib import Path

import config_fuzz
import pytest

pytest.importorskip("ray")

from experiments import cli
from policies import HMARLConfig
from soc_env.errors import ConfigError

NUMBER = 250


def test_mutated_files_are_accepted_or_refused_in_one_line(tmp_path: Path) -> None:
    outcomes = list(config_fuzz.outcomes(7, NUMBER, config_fuzz.checked_at_the_door, tmp_path))
    failed = [f"{o.case.scenario} {o.case.name} {o.case.what}: {o.error!r}" for o in outcomes if o.kind == "failed"]
    assert not failed, "\n".join(failed)
    counts = collections.Counter(outcome.kind for outcome in outcomes)
    assert counts["accepted"] > NUMBER / 20  # what is right goes through
    assert counts["refused"] > NUMBER / 2


def test_the_same_seed_gives_the_same_files() -> None:
    first, second, other = (list(config_fuzz.cases(seed, 40)) for seed in (1, 1, 2))
    assert first == second != other


def test_sources_are_right(tmp_path: Path) -> None:
    for number, (scenario, settings) in enumerate(config_fuzz.sources()):
        path = tmp_path / f"{number}.json"
        path.write_text(config_fuzz.written(settings, ".json"))
        assert isinstance(config_fuzz.checked_at_the_door(path, scenario), HMARLConfig)


def _raise(error: BaseException) -> None:
    raise error


def _unchecked() -> HMARLConfig:
    config = HMARLConfig()
    config.replay_alpha = float("nan")
    return config


@pytest.mark.parametrize(
    "check",
    [
        lambda path, scenario: _raise(KeyError("a")),
        lambda path, scenario: _raise(ConfigError("two\nlines")),
        lambda path, scenario: _unchecked(),
    ],
)
def test_what_should_not_be_is_seen(check: object, tmp_path: Path) -> None:
    assert [o.kind for o in config_fuzz.outcomes(0, 3, check, tmp_path)] == ["failed"] * 3  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "-1", "1e400", '"text"', "true", "[]"])
def test_a_number_that_is_none_is_refused_before_anything_is_written(
    value: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, out = tmp_path / "c.toml", tmp_path / "run"
    path.write_text(f"n_step = 2\n[tiers.threat_hunter]\ngamma = {value}\n")
    assert cli.main(["train", "--config", str(path), "--out", str(out), "--steps", "1"]) == 2
    assert not (out / "config.json").exists()
    err = capsys.readouterr().err
    assert err.startswith("hmarl-soc: error: ")
    assert "tier 'threat_hunter': gamma=" in err
    assert err.count("\n") == 1
