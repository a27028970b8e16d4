"""Which package may import what, and what no file may contain. Read from the syntax trees, so nothing is imported here.

    soc_env <- policies <- experiments      soc_env <- cyborg_bridge <- experiments/transfer*.py

Every import counts: at module level, inside functions, under TYPE_CHECKING, relative, and by a literal name given to
`importlib.import_module` or `__import__`.
"""

import ast
import configparser
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("soc_env", "policies", "experiments", "cyborg_bridge")
MAY_IMPORT = {
    "soc_env": {"soc_env"},
    "policies": {"soc_env", "policies"},
    "experiments": {"soc_env", "policies", "experiments"},  # and, in transfer*.py, the bridge
    "cyborg_bridge": {"soc_env", "cyborg_bridge"},
}
SOC_ENV_NEEDS = {"numpy", "numba", "gymnasium", "pettingzoo", "networkx"}
LAZY_IN_SOC_ENV = {"matplotlib"}  # extra [render]: only inside the function that draws
IMPORTING_CALLS = ("importlib.import_module", "import_module", "__import__")


class Import(NamedTuple):
    """One import of a top-level package."""

    name: str
    line: int
    is_lazy: bool  # inside a function


def imports_of(source: str, package: str) -> Iterator[Import]:
    """All imports in `source`, a file of `package`, by top-level name."""

    def visit(node: ast.AST, is_lazy: bool) -> Iterator[Import]:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [package if node.level else node.module or ""]
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in IMPORTING_CALLS and node.args:
            names = [argument.value for argument in node.args[:1] if isinstance(argument, ast.Constant)]
        for name in names:
            yield Import(name.split(".")[0] or package, getattr(node, "lineno", 0), is_lazy)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, is_lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))

    yield from visit(ast.parse(source), is_lazy=False)


def own_imports_allowed(package: str, file_name: str) -> set[str]:
    is_transfer = package == "experiments" and file_name.startswith("transfer")
    return MAY_IMPORT[package] | ({"cyborg_bridge"} if is_transfer else set())


def wrong_imports(source: str, package: str, file_name: str) -> list[str]:
    """What in `source` breaks the rules: imports of our own packages, and for soc_env of anybody else's."""
    allowed = own_imports_allowed(package, file_name)
    wrong = []
    for name, line, is_lazy in imports_of(source, package):
        if name in PACKAGES or name == "tests":
            is_right = name in allowed
        elif package == "soc_env":
            is_right = name in SOC_ENV_NEEDS | sys.stdlib_module_names or (is_lazy and name in LAZY_IN_SOC_ENV)
        else:
            is_right = True
        if not is_right:
            wrong.append(f"{package}/{file_name}:{line} imports {name}")
    return wrong


def python_files(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_one_way(package: str) -> None:
    files = python_files(package)
    assert files, f"{package} has no Python files"
    wrong = [line for file in files for line in wrong_imports(file.read_text(), package, file.name)]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("package", "file_name", "source"),
    [
        ("soc_env", "x.py", "import policies"),
        ("soc_env", "x.py", "from experiments.cli import main"),
        ("soc_env", "x.py", "def f():\n    import cyborg_bridge"),
        ("soc_env", "x.py", "import torch.nn as nn"),
        ("soc_env", "x.py", "def f():\n    import ray"),
        ("soc_env", "x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas"),
        ("soc_env", "x.py", "import matplotlib.pyplot as plt"),
        ("soc_env", "x.py", "import importlib\nimportlib.import_module('scipy.stats')"),
        ("soc_env", "x.py", "__import__('torch')"),
        ("policies", "x.py", "from experiments import cli"),
        ("policies", "x.py", "import cyborg_bridge"),
        ("cyborg_bridge", "x.py", "from policies.scripted import SCRIPTED"),
        ("cyborg_bridge", "x.py", "import experiments"),
        ("experiments", "evaluate.py", "from cyborg_bridge import find_cyborg"),
        ("experiments", "x.py", "from tests import test_packaging"),
    ],
)
def test_a_wrong_import_is_seen(package: str, file_name: str, source: str) -> None:
    assert len(wrong_imports(source, package, file_name)) == 1


@pytest.mark.parametrize(
    ("package", "file_name", "source"),
    [
        ("soc_env", "x.py", "import os, numpy as np\nfrom .scenario import Scenario\nfrom soc_env import errors"),
        ("soc_env", "x.py", "def render(self):\n    from matplotlib.figure import Figure"),
        ("policies", "x.py", "import torch, ray\nfrom soc_env import Simulator\nfrom . import scripted"),
        ("experiments", "transfer.py", "from cyborg_bridge import find_cyborg"),
        ("experiments", "transfer_report.py", "import cyborg_bridge"),
        ("cyborg_bridge", "x.py", "from soc_env.errors import HMARLSOCError"),
    ],
)
def test_a_right_import_is_let_through(package: str, file_name: str, source: str) -> None:
    assert wrong_imports(source, package, file_name) == []


IMPORT_ALL = """
import importlib, pkgutil, sys
import soc_env
for module in pkgutil.walk_packages(soc_env.__path__, "soc_env."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
unwanted = {"torch", "ray", "matplotlib", "pandas", "policies", "experiments", "cyborg_bridge"} & set(sys.modules)
sys.exit(f"importing soc_env brought in {sorted(unwanted)}" if unwanted else 0)
"""


def test_importing_all_of_soc_env_brings_in_no_learning_library() -> None:
    """What the syntax trees cannot show: what our dependencies bring in themselves."""
    run = subprocess.run([sys.executable, "-c", IMPORT_ALL], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


IMPORT_NAMES = {"PyYAML": "yaml"}  # where a package is imported by another name than it is installed by


def declared_dependencies() -> set[str]:
    """Import names of everything that an install with [train], which takes in [eval], brings in by name."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = config["options.extras_require"]
    lines = "\n".join((config["options"]["install_requires"], extras["eval"], extras["train"]))
    names = {match.group() for match in re.finditer(r"^[A-Za-z0-9_-]+", lines, re.MULTILINE)}
    return {IMPORT_NAMES.get(name, name) for name in names}


# Adapters to what their users bring along, imported on demand: libraries, and a checkout of CybORG.
ADAPTED = {"benchmarl_task.py": {"benchmarl", "tensordict", "torchrl"}, "cage4.py": {"CybORG"}}


@pytest.mark.parametrize("package", ["policies", "experiments", "cyborg_bridge"])
def test_what_is_imported_is_declared(package: str) -> None:
    """No import of something that is there only because a dependency of ours happens to need it."""
    known = declared_dependencies() | set(PACKAGES) | set(sys.stdlib_module_names)
    undeclared = {
        f"{file.relative_to(ROOT)}:{line} imports {name}"
        for file in python_files(package)
        for name, line, _ in imports_of(file.read_text(), package)
        if name not in known | ADAPTED.get(file.name, set())
    }
    assert not undeclared, "not in setup.cfg: " + "; ".join(sorted(undeclared))


# Folders of one developer's machine, and hosts that serve packages (where those are is the installer's setting).
MACHINE_PATH = re.compile(r"(?:file://|(?<![\w.~/)}-]))/(?:work|root|home|tmp|opt|mnt|Users)/\w")
REGISTRY_HOST = re.compile(r"\bpypi\.|pythonhosted|registry\.npm|download\.pytorch|\banaconda\.")


def repository_files() -> list[Path]:
    """What is or would be committed; without git (an unpacked source archive), everything."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listing = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    names = listing.stdout.split("\0") if listing.returncode == 0 else [str(f) for f in ROOT.rglob("*")]
    return [ROOT / name for name in names if name and (ROOT / name).is_file()]


def machine_traces(text: str) -> list[str]:
    return [match.group() for pattern in (MACHINE_PATH, REGISTRY_HOST) for match in pattern.finditer(text)]


def test_no_file_names_a_machine_path_or_a_registry() -> None:
    files = repository_files()
    assert ROOT / "setup.cfg" in files
    found = []
    for file in files:
        if file == Path(__file__):  # has to name them
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="ignore").splitlines(), 1):
            found += [f"{file.relative_to(ROOT)}:{number} names {trace}" for trace in machine_traces(line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    ("text", "is_trace"),
    [
        ('out = "/tmp/run"', True),
        ("see /work/main/runs", True),
        ("cd /root/x", True),
        ("file:///home/me/report.html", True),
        ("--index-url https://pypi.org/simple", True),
        ("https://download.pytorch.org/whl/cpu", True),
        ("#!/usr/bin/env python", False),
        ("runs/paper-v0/work/x", False),
        ("https://docs.example.org/home/index.html", False),
        ("$(VENV)/tmp/x", False),
    ],
)
def test_a_trace_of_a_machine_is_seen(text: str, is_trace: bool) -> None:
    assert bool(machine_traces(text)) == is_trace
