"""Words of the command line: mistakes are one line, overrides are read as the scenario needs them."""

import json
import re
from typing import Any

import pytest

from experiments import cli
from experiments.cli.options import parse_overrides
from policies.scripted import SCRIPTED
from soc_env.soc.tables import METRICS


def run(*arguments: str) -> int:
    try:
        return cli.main(arguments)
    except SystemExit as stop:
        return int(stop.code or 0)


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
    assert parse_overrides([text]) == {text.partition("=")[0]: value}


def test_evaluate_from_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    command = "evaluate --scenario soc-v1 --policy expert --episodes 3 --override split=test --override max_steps=25"
    assert run(*command.split(), "--override", "families=wiper,espionage", "--json") == 0
    data = json.loads(capsys.readouterr().out)
    assert data["overrides"] == {"split": "test", "max_steps": 25, "families": ["wiper", "espionage"]}
    assert set(data["summary"]) == {metric.name for metric in METRICS}
    assert data["episodes"]["length"] == [25.0] * 3


@pytest.mark.parametrize(("scenario", "family"), [("soc-v1", "soc"), ("paper-v0", "paper")])
def test_a_wrong_name_lists_every_scripted_policy(
    scenario: str, family: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("evaluate", "--scenario", scenario, "--policy", "nobody") == 2
    words = set(re.findall(r"[a-z-]+", capsys.readouterr().err))
    assert set(SCRIPTED[family]) <= words
