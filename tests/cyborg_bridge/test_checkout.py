"""`find_cyborg` and `import_cyborg` on made-up folders, and on the real CybORG where `CYBORG_HOME` names one."""

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cage4_trace import needs_cyborg

from cyborg_bridge import (
    CyborgCheckoutError,
    CyborgDependencyError,
    CyborgNotFoundError,
    cage4_parallel_env,
    checkout,
    find_cyborg,
    import_cyborg,
)
from soc_env.errors import ConfigError, HMARLSOCError


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No CybORG can be found by accident, even on a machine that has one."""
    monkeypatch.delenv("CYBORG_HOME", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nothing on sys.path")])


@pytest.fixture(autouse=True)
def not_imported() -> Iterator[None]:
    """No CybORG has been imported yet, and none of ours stays imported for other tests."""

    def imported() -> dict[str, Any]:
        return {name: module for name, module in sys.modules.items() if name.split(".")[0] == "CybORG"}

    before = imported()
    for name in before:
        del sys.modules[name]
    yield
    for name in imported():
        del sys.modules[name]
    sys.modules.update(before)


def make_checkout(folder: Path, version: str = "4.0\n") -> Path:
    """A folder that has what the bridge looks for; importing the package in it raises."""
    for part in checkout.PARTS_NEEDED:
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        (folder / part).write_text("raise AssertionError('find_cyborg must not import CybORG')\n")
    (folder / "CybORG/version.txt").write_text(version)
    return folder


def test_explicit_checkout_or_package_folder_gives_the_checkout(tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "cage-challenge-4")
    assert find_cyborg(checkout) == checkout
    assert find_cyborg(str(checkout)) == checkout
    assert find_cyborg(checkout / "CybORG") == checkout


def test_relative_path_and_home_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkout = make_checkout(tmp_path / "cage")
    monkeypatch.chdir(tmp_path)
    assert find_cyborg("cage") == checkout
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_cyborg("~/cage") == checkout


def test_path_wins_over_variable_wins_over_importable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    importable, variable, explicit = (make_checkout(tmp_path / name) for name in ("importable", "variable", "explicit"))
    monkeypatch.setattr(sys, "path", [str(importable)])
    assert find_cyborg() == importable
    monkeypatch.setenv("CYBORG_HOME", str(variable))
    assert find_cyborg() == variable
    assert find_cyborg(explicit) == explicit
    assert "CybORG" not in sys.modules


def test_nothing_found_says_in_three_lines_how_to_get_it() -> None:
    with pytest.raises(CyborgNotFoundError) as caught:
        find_cyborg()
    headline, *lines = str(caught.value).splitlines()
    assert "CybORG" in headline
    assert len(lines) == 3
    assert f"git clone {checkout.REPOSITORY}" in lines[0]
    assert "CYBORG_HOME" in lines[1]
    assert isinstance(caught.value, HMARLSOCError)


def test_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYBORG_HOME", "")
    with pytest.raises(CyborgNotFoundError, match="was not found"):
        find_cyborg()


@pytest.mark.parametrize("place", ["missing", "a file", "an empty folder"])
def test_named_place_without_cyborg_is_an_error_that_names_it(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a file").write_text("")
    (tmp_path / "an empty folder").mkdir()
    monkeypatch.setattr(sys, "path", [str(make_checkout(tmp_path / "importable"))])  # is not fallen back to
    with pytest.raises(CyborgNotFoundError, match=place) as caught:
        find_cyborg(tmp_path / place)
    assert len(str(caught.value).splitlines()) == 4
    monkeypatch.setenv("CYBORG_HOME", str(tmp_path / place))
    with pytest.raises(CyborgNotFoundError, match=f"CYBORG_HOME=.*{place}"):
        find_cyborg()


@pytest.mark.parametrize("version", ["3.1\n", "2.1", "40.0", "garbage of a\nhalf-merged file"])
def test_other_version_is_refused_by_name(version: str, tmp_path: Path) -> None:
    with pytest.raises(CyborgCheckoutError, match=f"is CybORG {version.split()[0]}, but .* 4.x") as caught:
        find_cyborg(make_checkout(tmp_path / "cage", version))
    assert len(str(caught.value).splitlines()) == 1


def test_earlier_challenge_is_not_a_checkout_of_this_one(tmp_path: Path) -> None:
    """CAGE 1 and 2 keep their package one level down, in CybORG/CybORG."""
    inner = tmp_path / "cage-2/CybORG/CybORG"
    inner.mkdir(parents=True)
    (inner / "version.txt").write_text("2.1")
    with pytest.raises(CyborgCheckoutError, match="not a whole CAGE Challenge 4 checkout"):
        find_cyborg(tmp_path / "cage-2")
    with pytest.raises(CyborgCheckoutError, match="is CybORG 2.1"):
        find_cyborg(tmp_path / "cage-2/CybORG")


@pytest.mark.parametrize("part", checkout.PARTS_NEEDED)
def test_broken_checkout_names_what_is_missing(part: str, tmp_path: Path) -> None:
    checkout = make_checkout(tmp_path / "cage")
    (checkout / part).unlink()
    with pytest.raises(CyborgCheckoutError, match=part) as caught:
        find_cyborg(checkout)
    assert len(str(caught.value).splitlines()) == 1


def test_empty_version_file_is_a_broken_checkout(tmp_path: Path) -> None:
    with pytest.raises(CyborgCheckoutError, match="version.txt is empty"):
        find_cyborg(make_checkout(tmp_path / "cage", version="\n"))


# --- importing it


@pytest.fixture
def gym(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The version of gym that is installed, as far as the bridge can see; empty: none."""
    versions = ["0.26.2"]

    def version(name: str) -> str:
        if name != "gym" or not versions:
            raise importlib.metadata.PackageNotFoundError(name)
        return versions[0]

    monkeypatch.setattr(importlib.metadata, "version", version)
    return versions


def make_importable(folder: Path, code: str = "") -> Path:
    """A checkout whose package does nothing but run `code` when it is imported."""
    make_checkout(folder)
    for module in checkout.MODULES_USED:
        init = folder / module.replace(".", "/") / "__init__.py"
        init.parent.mkdir(parents=True, exist_ok=True)
        init.write_text("")
    (folder / "CybORG/Agents/__init__.py").write_text(code)
    return folder


def test_import_takes_the_checkout_and_only_once(tmp_path: Path, gym: list[str]) -> None:
    root = make_importable(tmp_path / "cage")
    assert import_cyborg(root) == import_cyborg(root / "CybORG") == root
    assert sys.path.count(str(root)) == 1
    assert sys.modules["CybORG.Agents"].__file__ == str(root / "CybORG/Agents/__init__.py")


def test_import_prints_and_warns_nothing(
    tmp_path: Path, gym: list[str], capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    noise = "import os, sys, warnings\nprint('out')\nprint('err', file=sys.stderr)\nwarnings.warn('old')\n"
    import_cyborg(make_importable(tmp_path / "cage", noise))
    assert capfd.readouterr() == ("", "")
    assert len(recwarn) == 0
    print("still here")
    assert capfd.readouterr().out == "still here\n"


BROKEN = {
    "a dependency": ("import no_such_package.deeper", CyborgDependencyError, r"'no_such_package'.*hmarl-soc\[cyborg\]"),
    "a part of itself": ("import CybORG.Nothing", CyborgCheckoutError, "missing: CybORG.Nothing"),
    "a syntax error": ("def broken(:", CyborgCheckoutError, "cannot be imported .SyntaxError"),
    "an error": ("raise ValueError('two\\nlines')", CyborgCheckoutError, "ValueError: two lines"),
    "a name": ("from os import no_such_name", CyborgCheckoutError, "ImportError: cannot import name"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_missing_is_named_in_one_line_and_leaves_nothing_behind(
    what: str, tmp_path: Path, gym: list[str]
) -> None:
    code, error, message = BROKEN[what]
    root = make_importable(tmp_path / "cage", code)
    path = list(sys.path)
    with pytest.raises(error, match=message) as caught:
        import_cyborg(root)
    assert len(str(caught.value).splitlines()) == 1
    assert isinstance(caught.value, HMARLSOCError)
    assert sys.path == path
    assert not [name for name in sys.modules if name.split(".")[0] == "CybORG"]
    (root / "CybORG/Agents/__init__.py").write_text("")
    assert import_cyborg(root) == root  # repaired, it works in the same process


@pytest.mark.parametrize("version", [None, "0.21.0", "0.260.1", "1.0"])
def test_gym_has_to_be_the_one_that_cyborg_works_with(version: str | None, tmp_path: Path, gym: list[str]) -> None:
    gym[:] = [version] if version else []
    root = make_importable(tmp_path / "cage")
    expected = f"gym {version} is installed, CybORG needs 0.26.x" if version else "'gym', which is not installed"
    with pytest.raises(CyborgDependencyError, match=expected):
        import_cyborg(root)
    assert "CybORG" not in sys.modules


def test_two_checkouts_in_one_process_are_refused(tmp_path: Path, gym: list[str]) -> None:
    first, second = (make_importable(tmp_path / name) for name in ("first", "second"))
    import_cyborg(first)
    with pytest.raises(CyborgCheckoutError, match="second.*imported already from .*first"):
        import_cyborg(second)
    assert import_cyborg(first) == first


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"observation": "rav"}, "observation 'rav' does not exist; did you mean 'raw'"),
        ({"render_mode": "rgb_array"}, "render_mode 'rgb_array' does not exist; .*allowed: ansi, human"),
        ({"steps": 1}, "steps=1: a whole number of at least 2"),
        ({"steps": 2.5}, "steps=2.5"),
        ({"steps": True}, "steps=True"),
        ({"seed": -1}, "seed=-1: None or a whole number of at least 0"),
        ({"seed": "7"}, "seed='7'"),
    ],
)
def test_a_bad_option_is_refused_before_cyborg_is_looked_for(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        cage4_parallel_env(**options)


def test_without_cyborg_the_environment_says_how_to_get_it() -> None:
    with pytest.raises(CyborgNotFoundError, match="git clone"):
        cage4_parallel_env()


@pytest.mark.parametrize("answer", ["a commit", "no repository", "no git"])
def test_results_say_which_cyborg(answer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        assert command == ["git", "-C", str(root), "rev-parse", "HEAD"]
        if answer == "no git":
            raise FileNotFoundError
        if answer == "no repository":
            raise subprocess.CalledProcessError(128, command)
        return subprocess.CompletedProcess(command, 0, stdout="8c3c50c\n")

    root = make_checkout(tmp_path / "cage")
    monkeypatch.setattr(subprocess, "run", run)
    expected = "8c3c50c" if answer == "a commit" else None
    assert checkout.checkout_version(root) == {"version": "4.0", "commit": expected}


REAL_CYBORG = os.environ.get("CYBORG_HOME")  # before any test takes it away
REAL_PATH = list(sys.path)


@needs_cyborg
def test_the_real_cyborg_is_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", REAL_PATH)
    root = find_cyborg(REAL_CYBORG)
    assert (root / "CybORG/Evaluation/evaluation.py").is_file()
