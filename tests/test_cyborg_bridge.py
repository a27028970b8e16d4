"""`cyborg_bridge.find_cyborg` on made-up folders, and on the real CybORG where `CYBORG_HOME` names one."""

import os
import sys
from pathlib import Path

import pytest

from cyborg_bridge import CyborgCheckoutError, CyborgNotFoundError, checkout, find_cyborg
from soc_env.errors import HMARLSOCError


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No CybORG can be found by accident, even on a machine that has one."""
    monkeypatch.delenv("CYBORG_HOME", raising=False)
    monkeypatch.delitem(sys.modules, "CybORG", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path / "nothing on sys.path")])


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


REAL_CYBORG = os.environ.get("CYBORG_HOME")


@pytest.mark.skipif(not REAL_CYBORG, reason="CYBORG_HOME names no CybORG checkout: NOT tested against the real one")
def test_the_real_cyborg_is_accepted() -> None:
    root = find_cyborg(REAL_CYBORG)
    assert (root / "CybORG/Evaluation/evaluation.py").is_file()
