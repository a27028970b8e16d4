"""Settings from files: TOML, YAML and JSON say the same, and what is wrong with one is said in one line."""

import json
from pathlib import Path
from typing import Any

import pytest

from experiments import cli
from experiments.cli.config_file import read_config
from soc_env.errors import ConfigError

SETTINGS: dict[str, Any] = {
    "n_step": 3,
    "replay": "uniform",
    "ema_tau": [[0, 0.05], [1_200_000, 0.01]],
    "tiers": {"alert_triage": {"hiddens": [64, 64], "lr": 3e-4, "checkpoint": "x"}, "threat_hunter": {"gamma": 0.9}},
}
TOML = """
n_step = 3
replay = "uniform"
ema_tau = [[0, 0.05], [1_200_000, 0.01]]
[tiers.alert_triage]
hiddens = [64, 64]
lr = 3e-4
checkpoint = "x"
[tiers.threat_hunter]
gamma = 0.9
"""
YAML = """
n_step: 3
replay: uniform
ema_tau: [[0, 0.05], [1200000, 0.01]]
tiers:
  alert_triage:
    hiddens: [64, 64]
    lr: 3e-4  # YAML 1.1 alone would call this text
    checkpoint: x
  threat_hunter: {gamma: 0.9}
"""


@pytest.mark.parametrize(
    ("name", "text"), [("c.json", json.dumps(SETTINGS)), ("c.toml", TOML), ("c.yaml", YAML), ("C.YML", YAML)]
)
def test_all_kinds_of_files_hold_the_same(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    assert read_config(tmp_path / name) == SETTINGS


@pytest.mark.parametrize("text", ["3e-4", "-1E3", "+2.5e+1", "1_0e2", "0.5", "1.e3"])
def test_numbers_of_yaml_are_numbers(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"lr: {text}")
    assert read_config(tmp_path / "c.yaml") == {"lr": float(text)}


@pytest.mark.parametrize("text", ["3e", "e3", "1e3x", "-", "v1"])
def test_words_of_yaml_stay_words(text: str, tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text(f"name: {text if text != '-' else 'a-'}")
    assert isinstance(read_config(tmp_path / "c.yaml")["name"], str)


MISTAKES = {
    "cut JSON": ("c.json", "{", r"is not JSON \(.*line 1 column 2"),
    "a list": ("c.json", "[1]", "holds a list, settings by name"),
    "an empty YAML file": ("c.yaml", "", "holds a NoneType"),
    "a word": ("c.yaml", "word", "holds a str"),
    "cut TOML": ("c.toml", "a = \n", r"is not TOML \(.*line 1"),
    "cut YAML": ("c.yaml", "a: [1,\nb: 2", r"is not YAML \(.*line 2"),
    "a tab in YAML": ("c.yaml", "a:\n\tb: 2", r"is not YAML \(.*line 2"),
    "twice in JSON": ("c.json", '{"a": 1, "a": 2}', "'a' is given twice"),
    "twice in TOML": ("c.toml", "a = 1\na = 2\nb = 3", r"is not TOML \(.*line 2"),
    "twice in YAML": ("c.yaml", "x: {a: 1, b: 2}\ny:\n  a: 1\n  a: 2", r"'a' is given twice.*line 4"),
    "a date in TOML": ("c.toml", "[tiers.x]\nlr = [1, 2020-01-01]", r"tiers\.x\.lr\[1\] is a date"),
    "a date in YAML": ("c.yaml", "a: 2020-01-01", "a is a date"),
    "a name that is a number": ("c.yaml", "tiers: {1: 2}", "tiers has the name 1"),
    "an object of Python": ("c.yaml", "a: !!python/object/apply:os.system [echo]", r"is not YAML \(.*line 1"),
    "not text": ("c.json", b"\xff\xfe", "is not UTF-8 text"),
    "another kind": ("c.ini", "a=1", r"kind of file '\.ini' does not exist.*allowed: \.json, \.toml, \.yaml, \.yml"),
    "no kind": ("c", "a=1", "kind of file '' does not exist"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_names_file_and_place(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, content, expected = MISTAKES[name]
    path = tmp_path / file
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=expected) as error:
        read_config(path)
    assert str(error.value).startswith(f"config={path}: ")
    assert cli.main(["train", "--config", str(path)]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("hmarl-soc: error: config=")
    assert err.count("\n") == 1


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "c.toml").mkdir()
    with pytest.raises(ConfigError, match=r"cannot be read \("):
        read_config(tmp_path / "c.toml")
