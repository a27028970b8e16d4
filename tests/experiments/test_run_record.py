"""Rows of a run on disk: resumed, damaged, and on a disk that is full."""

import errno
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.run_record import Curves, ProgressFile, read_rows
from soc_env.errors import CheckpointError

COLUMNS = ("iteration", "steps", "reward")


def rows(*steps: int) -> list[dict[str, Any]]:
    return [{"iteration": number, "steps": step} for number, step in enumerate(steps, 1)]


def write(path: Path, *steps: int) -> None:
    file = ProgressFile(path, COLUMNS, 0)
    for row in rows(*steps):
        file.append(row)
    file.close()


def test_rows_after_the_checkpoint_and_a_torn_line_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    write(path, 10, 20, 30)
    before = path.read_bytes()
    with path.open("ab") as file:
        file.write(b"4,4")  # of 4,40,: killed half way
    ProgressFile(path, COLUMNS, 30).close()
    assert path.read_bytes() == before
    ProgressFile(path, COLUMNS, 20).close()
    assert path.read_bytes() == before[: before.index(b"3,30")]
    assert [file.name for file in tmp_path.iterdir()] == ["progress.csv"]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"iteration,steps,score\r\n", r"other columns than this run \('(reward|score)'\)"),
        (b"steps,iteration,reward\r\n", r"other columns than this run \('their order'\)"),
        (b"", "other columns"),
        (b"iteration,steps,reward\r\n1,ten,\r\n", r"is damaged: line 2 \(steps='ten'\)"),
        (b"iteration,steps,reward\r\n1,10,\r\n2,9,\r\n", r"is damaged: line 3 \(steps='9'\)"),
        (b"iteration,steps,reward\r\n1,10\r\n", "is damaged: line 2"),
        (b"iteration,steps,reward\r\n1,10,1,1\r\n", "is damaged: line 2"),
        (b"iteration,steps,reward\r\n1,\xd9\xa1,1\r\n", "is damaged: line 2"),
        (b"iteration,steps,reward\r\n1,\xff,\r\n", "cannot be read"),
        (b'iteration,steps,reward\r\n1,"1"0,\r\n', "cannot be read"),
    ],
)
def test_a_file_that_is_damaged_or_of_another_run_is_one_line(content: bytes, says: str, tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=says) as error:
        ProgressFile(path, COLUMNS, 100)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == content


class FullDisk:
    """A file on a disk with room for some more bytes."""

    def __init__(self, file: Any, room: int):
        self.file, self.room = file, room

    def write(self, data: bytes) -> int:
        if self.room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        written = self.file.write(data[: self.room])
        self.room -= written
        return written

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)


@pytest.mark.parametrize("room", [0, 3, 6])
def test_rows_that_find_no_room_are_written_later(room: int, tmp_path: Path) -> None:
    path = tmp_path / "progress.csv"
    write(path, 10, 20, 30)
    expected = path.read_bytes()
    path.unlink()
    file = ProgressFile(path, COLUMNS, 0)
    disk = file._file = FullDisk(file._file, room)  # type: ignore[assignment]
    for row in rows(10, 20):
        with pytest.raises(OSError, match="No space left") as error:
            file.append(row)
        assert error.value.filename == str(path)
    with pytest.raises(OSError, match="No space left"):
        file.sync()
    disk.room = 1000
    file.append(rows(10, 20, 30)[2])
    file.sync()
    file.close()
    assert path.read_bytes() == expected
    assert [row["steps"] for row in read_rows(path, COLUMNS)] == ["10", "20", "30"]


LIMITED = """
import resource, signal, sys, pathlib
from experiments.run_record import Curves
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
curves, failed = Curves(pathlib.Path(sys.argv[1]), 0), 0
for step in range(200):
    if step == 100:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    try:
        curves.append({f"{name}": 1.0 for name in range(20)}, step)
    except OSError:
        failed += 1
curves.close()
print(failed)
"""


def test_curves_that_find_no_room_do_not_stop_the_run(tmp_path: Path) -> None:
    """A writer with a thread of its own would wait for ever once the thread has died."""

    def few_bytes() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, resource.RLIM_INFINITY))

    done = subprocess.run(
        [sys.executable, "-c", LIMITED, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        preexec_fn=few_bytes,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 3
    assert len(list(tmp_path.iterdir())) > 3  # a new file after each failure
    assert max(file.stat().st_size for file in tmp_path.iterdir()) > 50_000  # and the last of them goes on


def test_curves_of_a_resumed_run_hide_what_was_beyond(tmp_path: Path) -> None:
    first = Curves(tmp_path, 0)
    first.append({"a/x": 1.0, "a/nan": float("nan"), "a/text": "no"}, 5)
    first.close()
    second = Curves(tmp_path, 3)
    second.append({"a/x": 2.0}, 4)
    second.close()
    assert len(list(tmp_path.iterdir())) == 2  # though of the same second
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = accumulator.EventAccumulator(str(tmp_path))
    found.Reload()
    assert found.Tags()["scalars"] == ["a/x"]
    assert {event.step for event in found.Scalars("a/x")} >= {4}
