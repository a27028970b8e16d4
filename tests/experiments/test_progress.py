"""The display of progress: a bar on a terminal, lines now and then elsewhere, nothing on standard output."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from experiments import progress as module
from experiments.progress import Progress

ROOT = Path(__file__).parents[2]


class Clock:
    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr(module.time, "monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_elsewhere_than_on_a_terminal_there_is_a_line_every_ten_seconds(clock: Clock) -> None:
    file = io.StringIO()
    with Progress(20, "episodes", file=file) as progress:
        for done in range(1, 20):
            clock.now += 3.0
            progress.update(done)
    lines = file.getvalue().splitlines()
    assert lines[0] == "4 of 20 episodes, 0:48 left"
    assert lines[1] == "8 of 20 episodes, 0:36 left"
    assert len(lines) == 4


def test_the_last_line_is_said_when_there_is_something_to_tell(clock: Clock) -> None:
    file = io.StringIO()
    with Progress(2, "episodes", file=file) as progress:
        progress.update(1)
        clock.now += 60.0
        progress.update(2)
    assert file.getvalue() == ""
    with Progress(2, "episodes", file=file) as progress:
        clock.now += 5.0
        progress.update(1, "sleep -500")
        progress.update(2, "sleep -502")
    assert file.getvalue() == "2 of 2 episodes, 0:00 left  sleep -502\n"


def test_what_is_slow_at_the_beginning_says_nothing_of_the_time_left(clock: Clock) -> None:
    file = io.StringIO()
    with Progress(10, "episodes", num_slow=2, file=file) as progress:
        for seconds in (60.0, 60.0, 10.0, 10.0):
            clock.now += seconds
            progress.update(progress.done + 1)
    assert file.getvalue().splitlines() == [
        "1 of 10 episodes", "2 of 10 episodes", "3 of 10 episodes, 1:10 left", "4 of 10 episodes, 1:00 left",
    ]  # fmt: skip


def test_a_part_is_named_when_it_begins_and_shows_its_share(clock: Clock) -> None:
    file = io.StringIO()
    with Progress(label="batched", file=file) as progress:
        assert file.getvalue() == "batched ...\n"
        clock.now += 30.0
        progress.update(0.25)
    assert file.getvalue().splitlines()[1] == "batched   25%, 1:30 left"


def test_time_left_is_at_the_rate_of_what_was_done_here(clock: Clock) -> None:
    progress = Progress(100, done=80)
    assert "left" not in progress.text()  # no rate yet
    clock.now += 10.0
    progress.done = 90
    assert progress.text() == " 90%, 0:10 left"
    assert Progress(0).text() == "100%"  # nothing to do


def test_a_note_stays_until_there_is_another(clock: Clock) -> None:
    progress = Progress(10, "steps", file=io.StringIO())
    progress.update(1, "first")
    progress.update(2)
    assert progress.text().endswith("2 of 10 steps, 0:00 left  first")
    progress.update(note="second")
    assert progress.text().endswith("2 of 10 steps, 0:00 left  second")


def test_on_a_terminal_a_bar_comes_and_goes(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    file = Terminal()
    with Progress(4, "episodes", label="[red]", file=file) as progress:
        clock.now += 1.0
        progress.update(1, "sleep")
    text = file.getvalue()
    assert "[red]  1 of 4 episodes, 0:03 left  sleep" in text
    assert "━" in text
    assert text.endswith("\x1b[2K")  # the line is wiped


def test_a_dumb_terminal_gets_lines(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    file = Terminal()
    with Progress(1, "episode", file=file) as progress:
        progress.update(1, "x")
    assert "\x1b" not in file.getvalue()
    assert "1 of 1 episode" in file.getvalue()


def test_results_on_standard_output_stay_clean() -> None:
    """On a terminal, with standard output going to a file."""
    code = """
from experiments.progress import Progress
with Progress(1, "episode") as progress:
    print("a result")
    progress.update(1, "note")
"""
    main, side = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=side,
            timeout=120,
            check=True,
            env={**os.environ, "TERM": "xterm"},
        )
        assert done.stdout == b"a result\n"
        assert b"1 of 1 episode" in os.read(main, 65536)
    finally:
        os.close(main)
        os.close(side)
