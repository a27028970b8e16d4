"""Every fenced Python example of README and site runs, and the command line takes every command that they show.

Blocks of a page run in order and share their names, as a reader would type them. Budgets are cut, nothing else.
"""

import contextlib
import io
import os
import re
import shlex
from pathlib import Path

import pytest
import typer
import typer.main
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser

from experiments.cli.app import app
from experiments.cli.config_file import read_config
from policies import HMARLConfig

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BUDGETS = {
    "range(10)": "range(1)",
    "range(100)": "range(6)",
    "range(400)": "range(40)",
    "learn(200_000)": "learn(2_048)",
}
COMMAND = re.compile(r"^hmarl-soc [^-].*$|`(hmarl-soc \w+ [^`]+)`", re.MULTILINE)
ROLES = ("prey", "driver", "flanker", "closer")  # tiers of the example with an environment of others


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def with_python() -> list[Path]:
    return [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


def run_examples(page: Path) -> tuple[dict, str]:
    """Runs the blocks of a page; the names that they leave and what they printed."""
    text = page.read_text(encoding="utf-8")
    for there, here in BUDGETS.items():
        text = text.replace(there, here)
    document = Document(text, str(page))
    printed = io.StringIO()
    examples = 0
    for region in PythonCodeBlockParser()(document):
        document.add(region)
    with contextlib.redirect_stdout(printed):
        for example in document.examples():
            example.evaluate()
            examples += 1
    assert examples == text.count("```python"), "a block of Python was not read"
    return document.namespace, printed.getvalue()


@pytest.mark.parametrize("page", with_python(), ids=name_of)
def test_the_examples_of_a_page_run_and_print(page, request, tmp_path, monkeypatch):
    text = page.read_text(encoding="utf-8")
    if "cyborg_bridge" in text and "```python\nfrom cyborg_bridge" in text and not os.environ.get("CYBORG_HOME"):
        pytest.skip("CYBORG_HOME is not set: the example of CAGE Challenge 4 is NOT tested")
    if "import stable_baselines3" in text or "from stable_baselines3" in text:
        pytest.importorskip("stable_baselines3", reason="stable_baselines3 is not installed: its example is NOT tested")
    if "mpe2" in text:
        pytest.importorskip("mpe2")
    if "import HMARL" in text:
        request.getfixturevalue("quiet_ray")
    monkeypatch.chdir(tmp_path)
    names, printed = run_examples(page)
    assert printed.strip() or page.stem == "tune", "the examples print nothing"
    if page.stem == "your-environment":
        (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert len(example.strip().splitlines()) <= 25
        algo = names["algo"]
        algorithms = {tier["algorithm"] for name, tier in algo.config.tier_settings.items() if name in ROLES}
        assert algorithms == {"PPO", "SAC", "DQN", "MADDPG"}
        assert set(ROLES) <= set(names["result"]["learners"])


def commands() -> list[str]:
    found: list[str] = []
    for page in PAGES:
        text = re.sub(r"\s+#.*", "", page.read_text(encoding="utf-8"))
        found += [match.group(1) or match.group() for match in COMMAND.finditer(text)]
    return sorted(set(found))


def test_there_are_commands_to_check():
    assert len(commands()) >= 25


@pytest.mark.parametrize("command", commands())
def test_the_command_line_takes_what_pages_show(command):
    program, name, *words = shlex.split(command)
    group = typer.main.get_command(app)
    chosen = group.get_command(typer.Context(group), name)
    assert program == "hmarl-soc"
    chosen.make_context(name, words)


def test_a_command_line_that_does_not_exist_is_found():
    chosen = typer.main.get_command(app).get_command(None, "train")
    with pytest.raises(typer.BadParameter.__mro__[1], match="--minute"):
        chosen.make_context("train", ["--minute", "3"])


def test_documented_settings_in_toml_are_settings(tmp_path):
    (block,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs/experiments/commands.md").read_text(), re.M | re.S)
    (tmp_path / "settings.toml").write_text(block)
    config = HMARLConfig().update_from_dict(read_config(tmp_path / "settings.toml"))
    assert config.replay == "uniform"
    assert config.tier("threat_hunter").encoder == "attention"
    assert config.tier("threat_hunter").exploration.hold_steps == 3.0
