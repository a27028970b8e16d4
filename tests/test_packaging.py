"""What a user gets: the wheel in an empty environment, the pins, the Makefile and the README.

The environment of `base_bin` holds the wheel and its base dependencies, installed by pip, and nothing else: what works
there needs neither torch nor ray, nor anything of this checkout. `eval_bin` adds the extra [eval] to it.
"""

import configparser
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("soc_env", "policies", "experiments", "cyborg_bridge")
BIN = "Scripts" if os.name == "nt" else "bin"
NOT_SHIPPED = re.compile(r"__pycache__|\.py[co]$|\.nb[ci]$")


def run(*command: str | Path, cwd: Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """Run a command that sees nothing of this checkout: no PYTHONPATH, no outer make. Bytecode is kept: quicker."""
    hidden = ("PYTHONPATH", "PYTHONHOME", "PYTHONDONTWRITEBYTECODE", "VIRTUAL_ENV", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    env = {name: value for name, value in os.environ.items() if name not in hidden}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout
    )


def check(*command: str | Path, cwd: Path) -> str:
    """As `run`, for commands that have to succeed. Returns their standard output."""
    done = run(*command, cwd=cwd)
    assert done.returncode == 0, f"{command} ended with {done.returncode}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def setup_cfg() -> configparser.ConfigParser:
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    return config


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built from a copy so that the checkout stays clean."""
    copy, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    for package in PACKAGES:
        shutil.copytree(ROOT / package, copy / package, ignore=shutil.ignore_patterns("__pycache__"))
    check(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, copy, cwd=out)
    (built,) = out.glob("*.whl")
    return built


def install(wheel: Path, extras: str, folder: Path) -> None:
    """`pip install hmarl-soc` into the environment in `folder`, with the versions of constraints.txt."""
    python = folder / BIN / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "install", "-qq", "--no-compile")
    check(*pip, "-c", ROOT / "constraints.txt", f"{wheel}{extras}", cwd=folder)


@pytest.fixture(scope="module")
def base_bin(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bin folder of an environment with the wheel and its base dependencies."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, symlinks=os.name != "nt")
    install(wheel, "", folder)
    return folder / BIN


@pytest.fixture(scope="module")
def eval_bin(wheel: Path, base_bin: Path) -> Path:
    """The same environment, its compiled code included, once [eval] is added: tests of it are the last of this file."""
    install(wheel, "[eval]", base_bin.parent)
    return base_bin


def test_wheel_holds_every_file_of_the_packages(wheel: Path) -> None:
    tracked = [file for package in PACKAGES for file in (ROOT / package).rglob("*") if file.is_file()]
    expected = {name for file in tracked if not NOT_SHIPPED.search(name := file.relative_to(ROOT).as_posix())}
    shipped = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert shipped == expected
    assert {f"{package}/py.typed" for package in PACKAGES} <= shipped


def test_wheel_needs_five_packages_and_no_more(wheel: Path) -> None:
    (info,) = importlib.metadata.distributions(name="hmarl-soc", path=[str(wheel)])
    base = {re.split(r"[^\w-]", line)[0] for line in info.requires or () if "extra ==" not in line}
    assert base == {"numpy", "numba", "gymnasium", "pettingzoo", "networkx"}
    assert info.metadata["Requires-Python"] == ">=3.11"
    assert [(point.name, point.value) for point in info.entry_points] == [("hmarl-soc", "experiments.cli:main")]


def test_base_install_has_neither_torch_nor_ray(base_bin: Path, tmp_path: Path) -> None:
    script = """
import importlib.util, sys
import soc_env, cyborg_bridge
print(soc_env.__file__)
sys.exit([name for name in ("torch", "ray", "tensorboardX", "matplotlib") if importlib.util.find_spec(name)] or None)
"""
    location = Path(check(base_bin / "python", "-c", script, cwd=tmp_path).strip())
    assert location.is_relative_to(base_bin.parent)


def test_base_install_steps_the_simulator_and_the_parallel_env(base_bin: Path, tmp_path: Path) -> None:
    script = """
import soc_env
sim = soc_env.Simulator("paper-v0", num_envs=3, seed=0, max_steps=5)
sim.reset()
for _ in range(5):
    sim.step()
assert sim.truncated.all() and (sim.episode_metrics["length"] == 5).all(), (sim.truncated, sim.episode_metrics)
env = soc_env.parallel_env("paper-v0", max_steps=5)
env.reset(seed=0)
num_steps = 0
while env.agents:
    env.step({agent: env.action_space(agent).sample() for agent in env.agents})
    num_steps += 1
assert num_steps == 5, num_steps
"""
    check(base_bin / "python", "-c", script, cwd=tmp_path)


@pytest.mark.parametrize("command", [("evaluate", "--policy", "rule-soar"), ("train", "--minutes", "0.1")])
def test_a_base_install_says_which_extra_a_command_needs(
    command: tuple[str, ...], base_bin: Path, tmp_path: Path
) -> None:
    done = run(base_bin / "hmarl-soc", *command, cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"hmarl-soc: error: .*hmarl-soc\[eval\].*\n", done.stderr), done.stderr
    assert not list(tmp_path.iterdir())


def readme_blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", (ROOT / "README.md").read_text(), re.MULTILINE | re.DOTALL)


def test_readme_examples_run_on_the_base_install(base_bin: Path, tmp_path: Path) -> None:
    examples = [block for block in readme_blocks("python") if "import soc_env" in block]
    assert examples
    for example in examples:
        assert check(base_bin / "python", "-c", example, cwd=tmp_path).strip(), f"printed nothing:\n{example}"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed: the Makefile is NOT tested")
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("train", r"train --scenario soc-v1 --minutes 5 --seed 0 --teacher expert --out runs/soc-v1-\d{8}-\d{6}$"),
        ("test", r"ruff check .*mypy .*pytest .*-m \"not slow\""),
        ("test-slow", r"pytest .*-m slow"),
        ("lint", r"ruff check .*mypy soc_env policies experiments cyborg_bridge.*lint-imports.*mkdocs build --strict$"),
        ("bench", r"hmarl-soc bench$"),
        ("docs", r"mkdocs build --strict$"),
        ("docs-serve", r"mkdocs serve$"),
        ("docs-tables", r"python docs/generate.py$"),
    ],
)
def test_make_installs_when_needed_and_runs(target: str, expected: str, tmp_path: Path) -> None:
    for name in ("Makefile", "setup.cfg", "constraints.txt"):
        shutil.copy(ROOT / name, tmp_path)
    commands = check("make", "--no-print-directory", "-n", target, cwd=tmp_path)
    assert re.search(expected, commands.strip(), re.DOTALL), commands
    assert "-m venv .venv" in commands, "a missing .venv is made"
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/.installed").touch()
    assert "-m venv" not in check("make", "-n", target, cwd=tmp_path), "a finished .venv is used as it is"
    os.utime(tmp_path / "constraints.txt", (2**32, 2**32))
    assert "pip install" in check("make", "-n", target, cwd=tmp_path), "changed pins renew the .venv"


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed: the Makefile is NOT tested")
def test_make_help_lists_every_target(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    listed = set(re.findall(r"^  make ([a-z-]+) +\S", check("make", "help", cwd=tmp_path), re.MULTILINE))
    docs = {"docs", "docs-serve", "docs-tables"}
    assert listed == {"help", "train", "test", "test-slow", "lint", "bench", "clean"} | docs


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed: the Makefile is NOT tested")
def test_make_clean_leaves_runs_and_files_alone(tmp_path: Path) -> None:
    shutil.copy(ROOT / "Makefile", tmp_path)
    for name in ("runs/a", ".venv/bin", "soc_env/__pycache__", "tests/deep/__pycache__", "build", "x.egg-info"):
        (tmp_path / name).mkdir(parents=True)
    for package in PACKAGES:
        (tmp_path / package).mkdir(exist_ok=True)
    (tmp_path / "soc_env/kept.py").touch()
    check("make", "clean", cwd=tmp_path)
    left = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*")}
    assert left == {"Makefile", "runs", "runs/a", "tests", "tests/deep", "soc_env/kept.py", *PACKAGES}


def test_ci_runs_the_readme_test_command() -> None:
    script = ROOT / ".ci/run"
    assert os.access(script, os.X_OK)
    commands = [line for line in script.read_text().splitlines() if line and not line.startswith("#")]
    assert commands == ["set -eu", 'cd "$(dirname "$0")/.."', "exec make test"]


def direct_dependencies(config: configparser.ConfigParser) -> Iterator[str]:
    sections = [config["options"]["install_requires"], *config["options.extras_require"].values()]
    for line in "\n".join(sections).splitlines():
        if (match := re.match(r"[A-Za-z0-9_-]+", line)) and match.group() != "hmarl-soc":  # one extra takes in another
            yield match.group()


def test_constraints_pin_every_direct_dependency_and_nothing_else(setup_cfg: configparser.ConfigParser) -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    pins = dict(line.split("==") for line in lines)
    assert set(pins) == set(direct_dependencies(setup_cfg))
    assert pins["torch"] == "2.13.0"


# --- with [eval] added to the environment of `base_bin`; nothing that needs the base alone may come after


def test_commands_with_eval_alone(eval_bin: Path, tmp_path: Path) -> None:
    """Help and scripted policies work; what learns says in one line what to install, before it writes anything."""
    command = eval_bin / "hmarl-soc"
    assert "train" in check(command, "--help", cwd=tmp_path)
    assert "rule-soar" in check(command, "evaluate", "--policy", "rule-soar", "--episodes", "4", cwd=tmp_path)
    done = run(command, "train", "--minutes", "0.1", "--out", tmp_path / "run", cwd=tmp_path)
    assert done.returncode == 2
    assert re.fullmatch(r"hmarl-soc: error: .*hmarl-soc\[train\].*\n", done.stderr), done.stderr
    assert not (tmp_path / "run").exists()


def test_version_is_the_same_everywhere(setup_cfg: configparser.ConfigParser, wheel: Path, eval_bin: Path) -> None:
    version = setup_cfg["metadata"]["version"]
    assert wheel.name.startswith(f"hmarl_soc-{version}-")
    latest = re.search(r"^## \[(\d+\.\d+\.\d+)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert latest, "CHANGELOG.md has no version heading"
    assert latest.group(1) == version
    assert version in check(eval_bin / "hmarl-soc", "--version", cwd=eval_bin).split()
