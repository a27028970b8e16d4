"""The command line: what it hands on, and that every mistake is one line and exit status 2."""

import json
import os
import shlex
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest
import typer.main

from experiments import cli
from experiments.cli.app import app, spread
from policies.checkpoint import write_manifest
from soc_env.errors import CheckpointError, RunError

ROOT = Path(__file__).parents[2]


def run(*arguments: str) -> int:
    """Exit status of a command, as the shell would see it."""
    try:
        return cli.main(arguments)
    except SystemExit as stop:  # typer's way out
        return int(stop.code or 0)


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)


# --- mistakes

MISTAKES = {
    "nothing": ([], "Missing command"),
    "unknown command": (["trian"], "Did you mean 'train'"),
    "old name of compare": (["table", "--quick"], "'table' is now called 'compare'"),
    "old name of aggregate": (["seeds", "runs/a"], "'seeds' is now called 'aggregate'"),
    "unknown option": (["train", "--mintues", "3"], "--mintues"),
    "an option without its value": (["evaluate", "--policy"], "--policy"),
    "a word too many": (["train", "runs/first"], "runs/first"),
    "a word too many after one value": (["evaluate", "--policy", "null", "expert"], "expert"),
    "no policy": (["evaluate"], "--policy"),
    "policy and checkpoint": (["evaluate", "--policy", "null", "--checkpoint", "x"], "not allowed with"),
    "unknown policy": (["evaluate", "--policy", "rule-sour"], "did you mean 'rule-soar'"),
    "unknown scenario": (["evaluate", "--policy", "null", "--scenario", "paper-v9"], "did you mean 'paper-v0'"),
    "misspelt override": (["evaluate", "--policy", "null", "--override", "num_host=9"], "did you mean 'num_hosts'"),
    "override out of range": (["evaluate", "--policy", "null", "--override", "num_hosts=0"], "num_hosts=0"),
    "override of a wrong type": (["evaluate", "--policy", "null", "--override", "num_hosts=many"], "'many'"),
    "override without a value": (["evaluate", "--policy", "null", "--override", "num_hosts"], "KEY=VALUE"),
    "override given twice": (
        ["evaluate", "--policy", "null", "--override", "num_hosts=9", "--override", "num_hosts=8"],
        "given twice",
    ),
    "no episodes": (["evaluate", "--policy", "null", "--episodes", "0"], "at least 1"),
    "episodes in words": (["evaluate", "--policy", "null", "--episodes", "many"], "'many'"),
    "negative seed": (["evaluate", "--policy", "null", "--seed", "-1"], "at least 0"),
    "sampled without a checkpoint": (["evaluate", "--policy", "null", "--sampled"], "--checkpoint only"),
    "abbreviated option": (["evaluate", "--pol", "null"], "--policy"),
    "no minutes": (["train", "--minutes", "0"], "above 0"),
    "minutes without end": (["train", "--minutes", "inf"], "above 0"),
    "minutes and steps": (["train", "--minutes", "1", "--steps", "5"], "not allowed with"),
    "no steps": (["train", "--steps", "0"], "at least 1"),
    "negative workers": (["train", "--workers", "-1"], "at least 0"),
    "steps in words": (["train", "--steps", "many"], "'many'"),
    "minutes in words": (["train", "--minutes", "ten"], "'ten'"),
    "no environments": (["train", "--num-envs", "0"], "at least 1"),
    "unknown scenario to train on": (["train", "--scenario", "soc-v9"], "did you mean 'soc-v"),
    "missing configuration": (["train", "--config", "no/such.json"], "no/such.json"),
    "configuration of an unknown kind": (["train", "--config", "settings.ini"], "allowed: .json, .toml, .yaml, .yml"),
    "calibrate and search": (["compare", "--calibrate", "--search", "5"], "not allowed with"),
    "compared policy": (["compare", "--policies", "rule-soar", "exprt"], "did you mean 'expert'"),
    "too few network seeds": (["compare", "--network-seeds", "2"], "2"),
    "no network seeds": (["compare", "--network-seeds", "0"], "at least 1"),
    "scenario of another family": (["compare", "--scenario", "paper-v0"], "paper-v0"),
    "no runs": (["aggregate"], "RUN"),
    "runs with and without names": (["aggregate", "a=runs/a", "runs/b"], "NAME=RUN"),
    "runs that are not there": (["aggregate", "runs/not-there-0", "runs/not-there-1"], "not-there-0"),
    "unknown part": (["bench", "--only", "batched", "hostss"], "did you mean 'hosts'"),
    "no checkout": (["bench", "--against", "nowhere"], "--against='nowhere' has no package 'soc_env'"),
    "pairs alone": (["bench", "--pairs", "2"], "--pairs=2 is not allowed without --against"),
    "plot of ratios": (["bench", "--against", ".", "--plot", "b.png"], "--plot is not allowed with --against='.'"),
    "unknown control": (["transfer", "--controls", "slep"], "did you mean 'sleep'"),
    "unknown level": (["transfer", "--playbooks", "expert", "--level", "row"], "did you mean 'raw'"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_status_2(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, expected = MISTAKES[name]
    assert run(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hmarl-soc: error: ")
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert expected in err


def test_a_file_that_cannot_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert run("evaluate", "--policy", "null", "--episodes", "2", "--json", str(tmp_path / "file" / "x.json")) == 2
    err = capsys.readouterr().err
    assert err.startswith("hmarl-soc: error: --json=")
    assert err.count("\n") == 1


def test_a_missing_checkpoint_needs_no_traceback(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ray")
    assert run("evaluate", "--checkpoint", str(tmp_path / "nothing")) == 2
    err = capsys.readouterr().err
    assert "does not exist" in err
    assert err.count("\n") == 1


# --- outcomes that are not mistakes


def pretend_train(monkeypatch: pytest.MonkeyPatch, outcome: Any = None) -> list[tuple[Any, dict[str, Any]]]:
    """Puts a training that only notes its arguments in place of ours."""
    calls: list[tuple[Any, dict[str, Any]]] = []

    def train(scenario: str, **arguments: Any) -> Path:
        calls.append((scenario, arguments))
        if outcome is not None:
            raise outcome
        return Path("run")

    module = types.ModuleType("experiments.train")
    module.train = train  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "experiments.train", module)
    return calls


def test_train_without_options(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = pretend_train(monkeypatch)
    assert run("train") == 0
    assert calls == [
        (
            None,
            {
                "seed": None,
                "minutes": None,
                "steps": None,
                "workers": None,
                "out": None,
                "resume": False,
                "overrides": {},
                "num_envs": None,
                "adverse_start": None,
                "config": {},
                "credit": False,
                "evaluation": True,
                "ray_address": None,
            },
        )
    ]


def test_train_hands_everything_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls = pretend_train(monkeypatch)
    (tmp_path / "c.json").write_text('{"replay_alpha": 0.5}')
    options = "train --scenario paper-v0 --seed 3 --minutes 0.5 --workers 2 --out runs/x --resume --num-envs 32"
    options += " --override num_hosts=500 --override redraw_vulnerabilities=False --override weight_cost=-0.5"
    options += f" --adverse-start --credit --no-evaluation --config {tmp_path}/c.json --ray-address 10.0.0.7:6379"
    assert run(*options.split()) == 0
    ((_, arguments),) = calls
    assert arguments == {
        "seed": 3,
        "minutes": 0.5,
        "steps": None,
        "workers": 2,
        "out": Path("runs/x"),
        "resume": True,
        "overrides": {"num_hosts": 500, "redraw_vulnerabilities": False, "weight_cost": -0.5},
        "num_envs": 32,
        "adverse_start": True,
        "config": {"replay_alpha": 0.5},
        "credit": True,
        "evaluation": False,
        "ray_address": "10.0.0.7:6379",
    }


@pytest.mark.parametrize(
    ("outcome", "status", "text"),
    [
        (KeyboardInterrupt(), 130, "hmarl-soc: interrupted"),
        (CheckpointError("out: a message\nof two lines"), 2, "hmarl-soc: error: out: a message of two lines"),
        (RunError("tier 'alert_triage': its learner died"), 1, "error: tier 'alert_triage': its learner died"),
        (ModuleNotFoundError("No module named 'ray'", name="ray"), 2, 'pip install "hmarl-soc[train]"'),
        (ModuleNotFoundError("No module named 'ray.x'", name="ray.x"), 2, "hmarl-soc: error: ray is not installed"),
    ],
)
def test_how_a_command_ends(
    outcome: BaseException, status: int, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pretend_train(monkeypatch, outcome)
    assert run("train") == status
    err = capsys.readouterr().err
    assert text in err
    assert len(err.strip().splitlines()) == 1


@pytest.mark.parametrize("fault", [ValueError("a fault of ours"), ModuleNotFoundError("x", name="policies.hmrl")])
def test_faults_of_ours_are_not_hidden(fault: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    pretend_train(monkeypatch, fault)
    with pytest.raises(type(fault)):
        run("train")


def test_evaluate_prints_a_table_or_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["evaluate", "--scenario", "paper-v0", "--policy", "zeros", "--episodes", "20", "--seed", "4"]
    assert run(*command) == 0
    table = capsys.readouterr().out
    assert "zeros" in table
    assert "20 episodes of paper-v0" in table
    assert run(*command, "--json") == 0
    printed = capsys.readouterr().out
    assert json.loads(printed)["num_episodes"] == 20
    assert run(*command, "--json", str(tmp_path / "x" / "zeros.json")) == 0
    assert (tmp_path / "x" / "zeros.json").read_text() == printed  # the same bytes
    assert "zeros.json" in capsys.readouterr().out


def test_bench_hands_everything_on(monkeypatch: pytest.MonkeyPatch) -> None:
    from experiments.bench import is_comparison

    calls = []
    module = types.ModuleType("experiments.bench")
    module.bench = lambda **arguments: calls.append(arguments)  # type: ignore[attr-defined]
    module.compare = lambda folder, **arguments: calls.append({"folder": folder, **arguments})  # type: ignore[attr-defined]
    module.is_comparison = is_comparison  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "experiments.bench", module)
    monkeypatch.setattr("experiments.bench", module)
    assert run("bench", "--quick", "--only", "batched", "hosts", "--json", "b.json", "--plot", "b.png") == 0
    assert run("bench", "--scenario", "soc-v1", "--scenario", "paper-v0") == 0
    nothing = {"only": None, "scenarios": None, "quick": False, "json_path": None, "plot_path": None}
    files = {"json_path": Path("b.json"), "plot_path": Path("b.png")}
    assert calls == [
        nothing | {"only": ["batched", "hosts"], "quick": True} | files,
        nothing | {"scenarios": ["soc-v1", "paper-v0"]},
    ]
    assert run("bench", "--against", "old", "--only", "memory", "--pairs", "3", "--json", "b.json") == 0
    common = {"only": ["memory"], "quick": False, "json_path": Path("b.json")}
    assert calls[2:] == [{"folder": Path("old"), "pairs": 3, **common}]


def test_bench_of_an_unknown_scenario_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", "--scenario", "soc-v2") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == (
        "hmarl-soc: error: scenario of the benchmark 'soc-v2' does not exist; "
        "did you mean 'soc-v1'? allowed: paper-v0, soc-v1\n"
    )


COMMANDS = ["train", "evaluate", "compare", "aggregate", "transfer", "bench"]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*command, "--help") == 0
    out = capsys.readouterr().out
    assert out.strip().startswith(f"Usage: {' '.join(['hmarl-soc', *command])}")
    assert all(len(line) <= 120 for line in out.splitlines())
    if command:
        assert "Examples:" in out
        assert f"\n   hmarl-soc {command[0]} " in out
    else:
        assert all(f"│ {name} " in out for name in COMMANDS)


def test_every_example_of_the_help_is_a_call_of_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    """Options of examples exist and their values are read; the commands themselves do nothing here."""
    num_examples = 0
    for command in typer.main.get_command(app).commands.values():  # type: ignore[attr-defined]
        monkeypatch.setattr(command, "callback", lambda **_: None)
        for line in command.epilog.splitlines():
            if (words := shlex.split(line))[:1] == ["hmarl-soc"]:
                assert words[1] == command.name
                with command.make_context("hmarl-soc", words[2:]):
                    num_examples += 1
    assert num_examples >= 20


def test_options_of_several_words_and_of_none() -> None:
    many, bare = {"--only", "--controls"}, {"--controls", "--json"}
    cases = {
        "--only a b --quick": "--only a --only b --quick",
        "--only a --only b": "--only a --only b",
        "--quick a --only b c": "--quick a --only b --only c",
        "--seed -1 --only a b": "--seed -1 --only a --only b",
        "--controls --seed 1": "--controls - --seed 1",
        "--seed 1 --json": "--seed 1 --json -",
        "--json x.json": "--json x.json",
        "--controls a b --json": "--controls a --controls b --json -",
        "--only": "--only",
        "": "",
    }
    for words, expected in cases.items():
        assert " ".join(spread(words.split(), many, bare)) == expected


def complete(*words: str) -> list[str]:
    """What bash is told for the last of some words."""
    code = "import sys; from experiments import cli; sys.exit(cli.main([]))"
    call = {"_HMARL_SOC_COMPLETE": "complete_bash", "COMP_WORDS": " ".join(words), "COMP_CWORD": str(len(words) - 1)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, **call}, capture_output=True, text=True, timeout=120
    )
    return done.stdout.split()


def test_shells_complete_commands_options_and_names() -> None:
    assert complete("hmarl-soc", "tr") == ["train", "transfer"]
    assert complete("hmarl-soc", "train", "--mi") == ["--minutes"]
    assert complete("hmarl-soc", "train", "--scenario", "soc-v") == ["soc-v1", "soc-v2"]
    assert "rule-soar" in complete("hmarl-soc", "evaluate", "--policy", "ru")


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("hmarl-soc ")


# --- what a command needs


def test_help_imports_nothing_heavy() -> None:
    code = """
import sys
from experiments import cli
try:
    cli.main(["train", "--help"])
except SystemExit:
    pass
heavy = {"numpy", "numba", "torch", "ray", "soc_env", "policies", "matplotlib", "scipy", "yaml"} & set(sys.modules)
sys.exit(f"imported {sorted(heavy)}" if heavy else 0)
"""
    done = python(code)
    assert done.returncode == 0, done.stderr


BLOCKED = """
import sys
class Blocked:  # None in sys.modules would be taken for a module by packages that look whether torch is there
    def find_spec(self, name, path=None, target=None):
        if name in {blocked!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Blocked())
from experiments import cli
sys.exit(cli.main({arguments!r}))
"""
TRAIN_ONLY = ("torch", "ray", "matplotlib", "tensorboardX")


def test_scripted_policies_need_no_torch_and_no_ray() -> None:
    arguments = ["evaluate", "--scenario", "paper-v0", "--policy", "rule-soar", "--episodes", "3"]
    done = python(BLOCKED.format(arguments=arguments, blocked=TRAIN_ONLY))
    assert done.returncode == 0, done.stderr
    assert "rule-soar" in done.stdout


def test_a_checkpoint_without_the_extra_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "policy.safetensors").write_bytes(b"")
    empty: dict[str, Any] = dict.fromkeys(("overrides", "tiers", "spaces", "members", "config", "versions"), {})
    names: dict[str, Any] = dict.fromkeys(("agents", "slow_agents"), [])
    write_manifest(tmp_path, {**empty, **names, "kind": "policy", "scenario": "paper-v0", "num_env_steps": 0})
    done = python(BLOCKED.format(arguments=["evaluate", "--checkpoint", str(tmp_path)], blocked=TRAIN_ONLY))
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert 'pip install "hmarl-soc[train]"' in done.stderr


@pytest.mark.parametrize("missing", ["typer", "scipy"])
def test_without_the_extra_of_evaluation_every_command_says_what_to_install(missing: str) -> None:
    arguments = ["evaluate", "--scenario", "paper-v0", "--policy", "rule-soar", "--episodes", "3"]
    done = python(BLOCKED.format(arguments=arguments, blocked=(missing,)))
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr == (
        f'hmarl-soc: error: {missing} is not installed; this command needs: pip install "hmarl-soc[eval]"\n'
    )


def test_a_reader_that_goes_away_is_no_fault() -> None:
    arguments = ["evaluate", "--scenario", "paper-v0", "--policy", "null", "--json"]
    code = f"import sys; from experiments import cli; sys.exit(cli.main({arguments}))"
    process = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.wait(timeout=120) == 1
    assert process.stderr.read() == b""
    process.stderr.close()
