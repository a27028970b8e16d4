"""What no file may import or contain, where import-linter (`.importlinter`, in `make lint`) has no word for it.

The four packages' own layers and circles are import-linter's. Here: no package imports what `setup.cfg` does not
declare for it, importing the environment or the scripted policies brings in no learning library, and no file names a
folder of somebody's machine.
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
# package -> extras that it may need beside the base
PACKAGES: dict[str, tuple[str, ...]] = {
    "soc_env": (),
    "policies": ("eval", "policy", "train", "onnx", "export"),
    "experiments": ("eval", "policy", "train", "onnx", "export"),
    "cyborg_bridge": (),
}
LAZY = {"soc_env": {"matplotlib"}}  # extra [render]: only inside the function that draws
# Adapters to what their users bring along, imported on demand: libraries, and a checkout of CybORG.
ADAPTED = {
    "benchmarl_task.py": {"benchmarl", "tensordict", "torchrl"},
    "cage4.py": {"CybORG"},
    "contestants.py": {"stable_baselines3"},
    "sb3_env.py": {"stable_baselines3"},
}
IMPORT_NAMES = {"PyYAML": "yaml"}  # where a package is imported by another name than it is installed by
IMPORTING_CALLS = ("importlib.import_module", "import_module", "__import__")


class Import(NamedTuple):
    """One import of a top-level package."""

    name: str
    line: int
    is_lazy: bool  # inside a function


def imports_of(source: str, package: str) -> Iterator[Import]:
    """All imports in `source`, a file of `package`, by top-level name: at module level, inside functions, under
    TYPE_CHECKING, relative, and by a literal name given to one of `IMPORTING_CALLS`.
    """

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


def declared_for(package: str) -> set[str]:
    """Import names of everything that an install with the package's extras brings in by name."""
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    extras = [config["options.extras_require"][extra] for extra in PACKAGES[package]]
    lines = "\n".join((config["options"]["install_requires"], *extras))
    names = {match.group() for match in re.finditer(r"^[A-Za-z0-9_-]+", lines, re.MULTILINE)}
    return {IMPORT_NAMES.get(name, name) for name in names}


def undeclared_imports(source: str, package: str, file_name: str) -> list[str]:
    """Imports in a file of `package` of something that is there only because a dependency happens to need it."""
    known = declared_for(package) | set(PACKAGES) | set(sys.stdlib_module_names) | ADAPTED.get(file_name, set())
    return [
        f"{package}/{file_name}:{line} imports {name}"
        for name, line, is_lazy in imports_of(source, package)
        if name not in known and not (is_lazy and name in LAZY.get(package, set()))
    ]


@pytest.mark.parametrize("package", PACKAGES)
def test_what_is_imported_is_declared(package: str) -> None:
    files = sorted((ROOT / package).rglob("*.py"))
    assert files, f"{package} has no Python files"
    undeclared = [line for file in files for line in undeclared_imports(file.read_text(), package, file.name)]
    assert not undeclared, "not in setup.cfg: " + "; ".join(undeclared)


@pytest.mark.parametrize(
    ("package", "file_name", "source"),
    [
        ("soc_env", "x.py", "import torch.nn as nn"),
        ("soc_env", "x.py", "def f():\n    import ray"),
        ("soc_env", "x.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import pandas"),
        ("soc_env", "x.py", "import matplotlib.pyplot as plt"),
        ("soc_env", "x.py", "import importlib\nimportlib.import_module('scipy.stats')"),
        ("soc_env", "x.py", "__import__('torch')"),
        ("policies", "x.py", "import pandas"),
        ("policies", "x.py", "import torchrl"),
        ("cyborg_bridge", "x.py", "import torch"),
        ("cyborg_bridge", "zones.py", "from CybORG import CybORG"),
        ("experiments", "x.py", "from tests import test_packaging"),
    ],
)
def test_a_wrong_import_is_seen(package: str, file_name: str, source: str) -> None:
    assert len(undeclared_imports(source, package, file_name)) == 1


@pytest.mark.parametrize(
    ("package", "file_name", "source"),
    [
        ("soc_env", "x.py", "import os, numpy as np\nfrom .scenario import Scenario\nfrom soc_env import errors"),
        ("soc_env", "x.py", "def render(self):\n    from matplotlib.figure import Figure"),
        ("policies", "x.py", "import torch, ray\nfrom soc_env import Simulator\nfrom . import scripted"),
        ("policies", "benchmarl_task.py", "import benchmarl"),
        ("experiments", "x.py", "import yaml, scipy.stats, typer"),
        ("cyborg_bridge", "cage4.py", "def make():\n    from CybORG import CybORG"),
    ],
)
def test_a_right_import_is_let_through(package: str, file_name: str, source: str) -> None:
    assert undeclared_imports(source, package, file_name) == []


def imports_of_the_root(source: str, package: str, submodules: set[str]) -> list[int]:
    """Lines on which a file of `package` takes a name from the package's own `__init__`."""
    lines = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            is_root = any(alias.name == package for alias in node.names)
        else:
            is_root = (
                isinstance(node, ast.ImportFrom)
                and node.module == package
                and not {alias.name for alias in node.names} <= submodules
            )
        lines += [node.lineno] if is_root else []  # type: ignore[attr-defined]
    return lines


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_from_the_root_of_its_own_package(package: str) -> None:
    """The root imports the modules, so that would be a circle, and one that import-linter does not see."""
    submodules = {path.stem for path in (ROOT / package).iterdir()}
    files = [file for file in sorted((ROOT / package).rglob("*.py")) if file.name != "__main__.py"]
    wrong = [
        f"{file.relative_to(ROOT)}:{line}"
        for file in files
        for line in imports_of_the_root(file.read_text(), package, submodules)
    ]
    assert not wrong, "imports from the package's own root: " + ", ".join(wrong)


@pytest.mark.parametrize(
    ("source", "is_wrong"),
    [
        ("import soc_env", True),
        ("def f():\n    from soc_env import Simulator", True),
        ("from soc_env import errors", False),
        ("from soc_env.engine.simulator import Simulator\nimport soc_env.errors", False),
    ],
)
def test_an_import_from_the_root_is_seen(source: str, is_wrong: bool) -> None:
    assert bool(imports_of_the_root(source, "soc_env", {"errors"})) == is_wrong


IMPORT_ALL = """
import importlib, pkgutil, sys
package = importlib.import_module(sys.argv[1])
for module in pkgutil.walk_packages(package.__path__, sys.argv[1] + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
unwanted = set(sys.argv[2:]) & set(sys.modules)
sys.exit(f"importing {sys.argv[1]} brought in {sorted(unwanted)}" if unwanted else 0)
"""
# No SciPy here: Numba imports it where it is installed.
LEARNING = ("torch", "ray", "pandas", "matplotlib", "experiments", "cyborg_bridge")


@pytest.mark.parametrize(
    ("package", "unwanted"), [("soc_env", (*LEARNING, "policies")), ("policies.scripted", LEARNING)]
)
def test_importing_all_of_it_brings_in_no_learning_library(package: str, unwanted: tuple[str, ...]) -> None:
    """What the syntax trees cannot show: what our dependencies bring in themselves."""
    command = [sys.executable, "-c", IMPORT_ALL, package, *unwanted]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


ACT = """
import sys
import numpy as np
from policies import load_policy
policy = load_policy(sys.argv[1])
policy({"threat_hunter_0": np.zeros(128)})
unwanted = {"ray", "pandas", "matplotlib", "experiments"} & set(sys.modules)
sys.exit(f"a trained policy brought in {sorted(unwanted)}" if unwanted else 0)
"""


def test_a_trained_policy_loads_and_acts_without_rllib_and_ray(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from acting_networks import network_for, write_policy

    folder = write_policy(tmp_path, "paper-v0", {"threat_hunter": network_for("paper-v0", "threat_hunter", "SAC")})
    run = subprocess.run([sys.executable, "-c", ACT, folder], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr


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
