"""What a run writes down iteration by iteration: progress.csv, and the same numbers for TensorBoard.

Both keep a run going when the disk is full: what could not be written is tried again with the next row.
"""

from __future__ import annotations

import contextlib
import csv
import io
import math
import os
import pathlib
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

from soc_env.errors import CheckpointError, shown
from soc_env.files import new_file

MAX_BYTES = 1 << 28  # of a progress file: a million iterations have less
FLUSH_SECONDS = 30.0  # between two writes of TensorBoard's events


class ProgressFile:
    """progress.csv: a row is in the file before the next iteration; rows after a restored checkpoint are dropped.

    Args:
        path: the file. One that is there is gone on with.
        columns: of the rows, "steps" among them.
        steps: of the restored checkpoint: rows beyond are dropped.

    Raises:
        CheckpointError: the file that is there is damaged, or another run's; names line or column.
        OSError: it cannot be written.
    """

    def __init__(self, path: pathlib.Path, columns: tuple[str, ...], steps: int):
        self._path, self._columns = path, columns
        rows = read_rows(path, columns) if path.exists() else []
        with new_file(path) as file:
            file.write(self._text([dict(zip(columns, columns, strict=True))]))
            file.write(self._text(row for row in rows if int(row["steps"]) <= steps))
        self._file = path.open("ab", buffering=0)
        self._waiting = b""

    def _text(self, rows: Iterable[Mapping[str, Any]]) -> bytes:
        text = io.StringIO()
        csv.DictWriter(text, self._columns).writerows(rows)
        return text.getvalue().encode()

    def append(self, row: Mapping[str, Any]) -> None:
        """Adds a row. It is kept in memory, whole or its rest, where the file cannot be written.

        Raises:
            OSError: the file cannot be written; the row is in it once this or `sync` succeeds.
        """
        self._waiting += self._text([{name: row.get(name, "") for name in self._columns}])
        self._write()

    def _write(self) -> None:
        try:
            while self._waiting:
                self._waiting = self._waiting[self._file.write(self._waiting) :]
        except OSError as error:
            error.filename = str(self._path)
            raise

    def sync(self) -> None:
        """Puts all rows on the disk; OSError as in `append`."""
        self._write()
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self._file.close()


def read_rows(path: pathlib.Path, columns: tuple[str, ...]) -> list[dict[str, str]]:
    """The rows of a progress file, as text. A last line that a kill has cut off is left out.

    Raises:
        CheckpointError: too large, no text, other columns than `columns`, or steps that are no number or go back.
    """
    subject = f"progress {str(path)!r}"
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CheckpointError(f"{subject} has {path.stat().st_size} bytes, allowed: {MAX_BYTES}")
        text = path.read_bytes().decode()
        reader = csv.DictReader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True)
        found = tuple(reader.fieldnames or ())
        if found != columns:
            other = next(iter([*(set(found) ^ set(columns))]), "their order")
            raise CheckpointError(
                f"{subject} has other columns than this run ({shown(other)}): another version or scenario"
            )
        rows, before = list(reader), -1
        for number, row in enumerate(rows, 2):
            steps = row["steps"]
            is_whole = None not in row and None not in row.values() and steps.isascii() and steps.isdigit()
            if not is_whole or len(steps) > 18 or int(steps) < before:
                raise CheckpointError(f"{subject} is damaged: line {number} (steps={shown(steps)})")
            before = int(steps)
        return rows
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise CheckpointError(f"{subject} cannot be read ({' '.join(str(error).split())})") from error


class Curves:
    """The numbers of a run as a file of TensorBoard's.

    It is written in this thread: a writer of its own that dies of a full disk would stop the run without a word.

    Args:
        folder: where the file goes; every beginning and resumption of a run adds one.
        steps: where the run is; what earlier files have beyond is no longer shown.
    """

    def __init__(self, folder: pathlib.Path, steps: int):
        self._folder, self._steps = folder, steps
        self._writer: Any = None
        self._flushed = time.monotonic()

    def append(self, scalars: Mapping[str, Any], steps: int) -> None:
        """Adds numbers by name; what is no finite number is left out. After an error it goes on in a new file.

        Raises:
            OSError: the file cannot be written.
        """
        from tensorboardX.summary import scalar

        try:
            writer = self._writer or self._open()
            for name, value in scalars.items():
                if isinstance(value, (int, float)) or getattr(value, "ndim", None) == 0:
                    number = float(value)  # type: ignore[arg-type]
                    if math.isfinite(number):  # else no episode has ended yet: nothing to draw
                        self._event(step=steps, summary=scalar(name, number))
            if time.monotonic() - self._flushed >= FLUSH_SECONDS:
                writer.flush()
                self._flushed = time.monotonic()
        except OSError:
            self._steps = steps
            self.close()
            raise

    def _open(self) -> Any:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto.event_pb2 import SessionLog

        self._folder.mkdir(parents=True, exist_ok=True)
        suffix = f".{secrets.token_hex(4)}"  # its names are by the second: two in one would be one file
        self._writer, self._flushed = EventsWriter(str(self._folder / "events"), suffix), time.monotonic()
        if self._steps:
            self._event(step=self._steps, session_log=SessionLog(status=SessionLog.START))
        return self._writer

    def _event(self, **parts: Any) -> None:
        from tensorboardX.proto.event_pb2 import Event

        self._writer.write_event(Event(wall_time=time.time(), **parts))

    def close(self) -> None:
        """Writes what is left, if that can be, and closes the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(OSError):
                writer.close()
