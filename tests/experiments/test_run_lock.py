"""One run, one folder: who holds the lock, what the others are told, and what a killed holder leaves."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("filelock")
from experiments.run_lock import HOLDER, LOCK, run_lock
from soc_env.errors import ConfigError

TRIES = 100
TAKES_THEM = """
import pathlib, sys
from experiments.run_lock import run_lock
print("ready", flush=True)
for folder in sys.stdin:  # a line is a folder to take, the next one says to let it go
    try:
        with run_lock(pathlib.Path(folder.strip())):
            print("holds it", flush=True)
            sys.stdin.readline()
    except Exception as error:
        print(error, flush=True)
"""


def start() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", TAKES_THEM],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )


def tell(child: subprocess.Popen[str], text: object) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{text}\n")
    child.stdin.flush()


def line(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline().strip()


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[str]]]:
    """Two other processes that take the locks they are told to."""
    started = [start(), start()]
    assert [line(child) for child in started] == ["ready", "ready"]
    yield started
    for child in started:
        child.kill()
        child.communicate()


@pytest.fixture
def holder(children: list[subprocess.Popen[str]], tmp_path: Path) -> subprocess.Popen[str]:
    """Another process that holds the lock of `tmp_path / "run"`."""
    tell(children[0], tmp_path / "run")
    assert line(children[0]) == "holds it"
    return children[0]


def test_while_a_process_holds_a_folder_others_are_told_who_it_is(
    holder: subprocess.Popen[str], tmp_path: Path
) -> None:
    refused = pytest.raises(
        ConfigError,
        match=rf"^out: '.*run' is in use by another run: process {holder.pid} on {socket.gethostname()} since 20.*: -c",
    )
    with refused as error, run_lock(tmp_path / "run"):
        pass
    assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path / "run")) == [LOCK, HOLDER]
    tell(holder, "let it go")
    tell(holder, tmp_path / "other")
    assert line(holder) == "holds it"
    assert not (tmp_path / "run").exists()  # it had made the folder, and has written nothing


def test_what_a_killed_holder_leaves_is_taken_over(holder: subprocess.Popen[str], tmp_path: Path) -> None:
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert json.loads((tmp_path / "run" / HOLDER).read_text())["pid"] == holder.pid
    with run_lock(tmp_path / "run"):
        assert json.loads((tmp_path / "run" / HOLDER).read_text())["pid"] == os.getpid()
    assert os.listdir(tmp_path / "run") == [LOCK]


@pytest.mark.parametrize(
    ("holder_says", "told"),
    [
        ({"host": "elsewhere"}, r"on elsewhere since then: a 'b c' \(another machine: .* delete run.lock"),
        ({"pid": 2**22 + 1}, r"it has ended, but a process that it started still holds the lock"),
        ({"command": ["a", "b\nc"]}, "a 'b c'$"),
        ({"command": None}, "it does not say which"),
        (None, "it does not say which"),
    ],
)
def test_a_holder_in_doubt_is_described(
    holder_says: dict[str, object] | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.run_lock.PATIENCE", 0.0)
    with run_lock(tmp_path):
        says = {"pid": os.getpid(), "host": socket.gethostname(), "since": "then", "command": ["a", "b c"]}
        text = "{" if holder_says is None else json.dumps({**says, **holder_says})
        (tmp_path / HOLDER).write_text(text)
        with pytest.raises(ConfigError, match=told), run_lock(tmp_path):
            pass


def test_of_two_at_once_one_runs_and_the_other_says_so(children: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    for number in range(TRIES):
        for child in children:
            tell(child, tmp_path / str(number))
        told = [line(child) for child in children]
        assert sorted(text == "holds it" for text in told) == [False, True], told
        winner = told.index("holds it")
        assert f"in use by another run: process {children[winner].pid} on" in told[1 - winner]
        tell(children[winner], "let it go")


@pytest.mark.parametrize("wrong", ["file", "below a file", "name too long", "lock is a folder", "no bytes"])
def test_a_folder_that_cannot_be_written_is_one_line(wrong: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "there" / LOCK).mkdir(parents=True)
    out = {
        "file": tmp_path / "file",
        "below a file": tmp_path / "file" / "run",
        "name too long": tmp_path / ("x" * 300),
        "lock is a folder": tmp_path / "there",
        "no bytes": tmp_path / "a\0b",
    }[wrong]
    refused = pytest.raises(ConfigError, match=r"^out: '.*' cannot be written \(.*\); allowed: a folder that can be")
    with refused as error, run_lock(out):
        pass
    assert "\n" not in str(error.value)
    assert sorted(os.listdir(tmp_path)) == ["file", "there"]


def test_a_folder_that_was_there_or_has_files_stays(tmp_path: Path) -> None:
    with run_lock(tmp_path / "new"):
        (tmp_path / "new" / "config.json").write_text("{}")
    assert sorted(os.listdir(tmp_path / "new")) == ["config.json", LOCK]
    (tmp_path / "empty").mkdir()
    with run_lock(tmp_path / "empty"):
        pass
    assert os.listdir(tmp_path / "empty") == [LOCK]
