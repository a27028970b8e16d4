"""Numbers of the command line: what is none, or beyond all bounds, is one line and exit status 2, for every command.

The options are read off the commands, so that a new one is among them.
"""

import typing
from typing import Any

import pytest
import typer.main

from experiments import cli
from experiments.cli.app import app
from experiments.cli.commands import COMMANDS
from experiments.cli.options import parse_overrides
from soc_env.errors import ConfigError

NO_NUMBERS = (
    "nan", "inf", "-inf", "-1", "1e400", "1_000", "\u0661", "\uff11", "", " ", "1 ", " 1", "0x10", "1,5", "true", "one",
    "9" * 5_000, "-0.5", "--", "1e", ".", "1e99999999", "1" + "0" * 20,
)  # fmt: skip
commands: Any = typer.main.get_command(app).commands  # type: ignore[attr-defined]


def numeric_options() -> list[Any]:
    """(command, option, whether it takes whole numbers only, least) of every option for a number."""
    found = []
    for function in COMMANDS:
        command = function.__name__.replace("_", "-")
        options = {option.name: option for option in commands[command].params}
        for name, hint in typing.get_type_hints(function).items():
            kinds = {hint, *typing.get_args(hint)} & {int, float}
            if kinds:
                option = options[name]
                least = 0 if "(at least 0)" in option.help else 1
                case = (command, option.opts[0], kinds == {int}, least)
                found.append(pytest.param(*case, id=" ".join(case[:2])))
    return found


def test_the_options_are_found() -> None:
    found = {(case.values[0], case.values[1]) for case in numeric_options()}
    assert {("train", "--seed"), ("train", "--minutes"), ("evaluate", "--num-envs"), ("compare", "--search")} <= found
    assert {("transfer", "--workers"), ("transfer", "--train-steps"), ("compare", "--network-seeds")} <= found


@pytest.mark.parametrize(("command", "option", "is_whole", "least"), numeric_options())
def test_what_is_no_number_is_one_line(
    command: str, option: str, is_whole: bool, least: int, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = [*NO_NUMBERS, *(["1e3", "1.0", "0.5"] if is_whole else []), *(["0"] if least else [])]
    for text in texts:
        assert cli.main([command, option, text]) == 2, text
        out, err = capsys.readouterr()
        assert err.count("\n") == 1, text
        assert len(err) < 400, text
        assert err.startswith("hmarl-soc: error: "), text
        assert option in err, text
        assert out == ""


@pytest.mark.parametrize(
    "command",
    [
        "evaluate --policy expert --num-envs 1000000000 --episodes 1000000000",
        "evaluate --policy expert --episodes 1000000000000",
        "evaluate --policy zeros --scenario paper-v0 --num-envs 1000000000000 --episodes 1000000000",
        "evaluate --policy expert --override num_hosts=1000000000",
        "evaluate --policy expert --override max_steps=1000000000000",
        "compare --episodes 1000000000000 --quick --network-seeds 1",
        "train --num-envs 1000000000",
        "train --override num_networks=1000000000",
    ],
)
def test_what_no_machine_holds_is_refused_before_it_is_taken(
    command: str, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(command.split()) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "text",
    [
        "NaN", "nan", "Infinity", "-Infinity", "1e999", "-1e999", "\u0661", "1_000", "", "9" * 5_000, "[" * 50_000,
        "null", "{}", '{"a": 1}', "[]", "[[1]]", "true", "1" + "0" * 400, "0x10", "--", "\ud800", "1;2", "=", "=5",
        "[1, 2",
    ],
)  # fmt: skip
@pytest.mark.parametrize("field", ["num_hosts", "weight_cost", "phase_zones", "phase_noise", "families", "segments"])
def test_overrides_are_refused_or_right(field: str, text: str) -> None:
    import soc_env

    name = next(name for name, scenario in soc_env.SCENARIOS.items() if hasattr(scenario, field))
    try:
        soc_env.make_scenario(name, **parse_overrides([f"{field}={text}"]))
    except (ConfigError, soc_env.ScenarioError) as error:
        _check_line(error)
    else:
        assert field == "families"
        assert text in ("", "[]")


def _check_line(error: Exception) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 2_000


@pytest.mark.parametrize("pair", ["", "=", "=1", "num_hosts", "num hosts=1", "1=1", "a.b=1", "x" * 10_000])
def test_what_is_no_override_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match="KEY=VALUE is allowed") as error:
        parse_overrides([pair])
    _check_line(error.value)
