"""The cache of compiled kernels: what its key covers, where it lies, and that it is used."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from soc_env.engine import jit

ROOT = Path(__file__).parents[3]
SOURCE = Path(jit.__file__)


def in_another_process(*arguments, **environment):
    """Runs Python at the root; returns its standard output."""
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


TINY = "import soc_env; s = soc_env.Simulator('paper-v0', seed=0); s.reset(); s.step(); "
COUNT = (
    "from soc_env.paper.kernels.step import run; "
    "print(sum(run.stats.cache_hits.values()), sum(run.stats.cache_misses.values()))"
)


@pytest.mark.skipif(not jit.IS_COMPILED, reason="nothing is compiled")
def test_later_processes_use_the_cache(tmp_path):
    folder = str(tmp_path / "cache")
    assert in_another_process("-c", TINY + COUNT, HMARL_SOC_CACHE_DIR=folder).split() == ["0", "1"]
    assert in_another_process("-c", TINY + COUNT, HMARL_SOC_CACHE_DIR=folder).split() == ["1", "0"]
    assert (tmp_path / "cache").stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(not jit.IS_COMPILED, reason="nothing is compiled")
def test_without_a_place_for_a_cache(tmp_path):
    nowhere = {"HOME": "/dev/null", "XDG_CACHE_HOME": "/dev/null", "HMARL_SOC_CACHE_DIR": "", "TMPDIR": str(tmp_path)}
    code = TINY + "import pathlib; from soc_env.engine import jit; "
    code += "print(jit.cache_folder(pathlib.Path(jit.__file__)), s.rewards[0])"
    assert in_another_process("-c", code, **nowhere).split()[0] == "None"


@pytest.fixture
def kernels(tmp_path, monkeypatch):
    """The kernels of `paper-v0` in a copy of the package."""
    shutil.copytree(ROOT / "soc_env", tmp_path / "soc_env", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(jit, "__file__", str(tmp_path / "soc_env" / "engine" / "jit.py"))
    return tmp_path / "soc_env" / "paper" / "kernels"


def test_the_cache_key_covers_every_kernel_source(kernels):
    sources = jit.sources_of(kernels / "step.py")
    keys = {jit.source_hash(kernels / "step.py")}
    for source in sources:
        source.write_text(source.read_text() + "\n# changed\n")
        keys.add(jit.source_hash(kernels / "step.py"))
    names = {str(source.relative_to(kernels.parent.parent)) for source in sources}
    assert {f"paper/kernels/{file.name}" for file in kernels.glob("*.py")} - names == {"paper/kernels/__init__.py"}
    assert {"engine/draws.py", "engine/jit.py", "engine/outputs.py", "paper/tables.py", "paper/scenario.py"} <= names
    assert len(keys) == len(sources) + 1


def test_a_kernel_that_gains_an_import_changes_the_cache_key(kernels):
    helper, package = kernels / "helper.py", kernels.parent.parent
    helper.write_text("from soc_env.soc import risk  # of another package\n")
    keys = {jit.source_hash(kernels / "step.py")}
    alerts = kernels / "alerts.py"
    alerts.write_text("from soc_env.paper.kernels import (\n    helper as it,  # new\n)\n" + alerts.read_text())
    keys.add(jit.source_hash(kernels / "step.py"))
    for file in (helper, package / "soc" / "risk.py"):
        file.write_text(file.read_text() + "\n# changed\n")
        keys.add(jit.source_hash(kernels / "step.py"))
    assert len(keys) == 4


def test_the_cache_key_covers_data_and_no_pictures(kernels):
    package = kernels.parent.parent
    step = package / "soc" / "kernels" / "step.py"
    key = jit.source_hash(step)
    for name in ("soc/picture.py", "soc/text.py", "parallel.py", "__init__.py", "paper/kernels/step.py"):
        (package / name).write_text("# changed")
    assert jit.source_hash(step) == key
    data = package / "soc" / "data" / "techniques.csv"
    data.write_text(data.read_text() + "# changed")
    assert jit.source_hash(step) != key


def test_no_import_hides_from_the_cache_key():
    # The root's own file gives out names of modules on demand: nothing inside the package may import from it.
    files = [file for file in (ROOT / "soc_env").rglob("*.py") if file.parent.name != "soc_env"]
    files += [file for file in (ROOT / "soc_env").glob("*.py") if file.name != "__init__.py"]
    from_root = re.compile(r"^\s*(from soc_env import|import soc_env$)", re.M)
    assert not [file.name for file in files if from_root.search(file.read_text())]
    hidden = re.compile(r"^\s*from \.|import_module|__import__|^\s*from .*\\$", re.M)
    assert not [file.name for file in files if hidden.search(file.read_text())]
    assert len(files) > 40


def test_kernels_import_nothing_that_the_cache_key_misses():
    for source in (ROOT / "soc_env" / "paper" / "kernels").glob("*.py"):
        for line in source.read_text().splitlines():
            if line.startswith("from soc_env"):
                assert line.split()[1].split(".")[1] in ("engine", "paper"), (source.name, line)


def test_the_cache_folder_is_private(tmp_path, monkeypatch):
    monkeypatch.setenv(jit.CACHE_VARIABLE, str(tmp_path / "new" / "cache"))
    folder = jit.cache_folder(SOURCE)
    assert folder.parent == tmp_path / "new" / "cache"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)  # somebody else could have put code there
    assert jit.cache_folder(SOURCE) is None
    folder.chmod(0o700)
    assert jit.cache_folder(SOURCE) == folder
    folder.parent.chmod(0o777)  # or could swap the folder
    assert jit.cache_folder(SOURCE) is None
    folder.parent.chmod(0o1777)
    assert jit.cache_folder(SOURCE) == folder


def test_the_cache_follows_the_user(tmp_path, monkeypatch):
    monkeypatch.delenv(jit.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert jit.cache_folder(SOURCE).parent == tmp_path / "xdg" / "hmarl-soc"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert jit.cache_folder(SOURCE).parent == tmp_path / "home" / ".cache" / "hmarl-soc"
