"""The one display of how far a command is: a bar on a terminal, a line now and then elsewhere.

    with Progress(500, "episodes") as progress:          # 120 of 500 episodes, 0:12 left
        evaluate(..., progress=progress.update)          # update(number done so far, a note to show)

    with Progress(label="batched") as progress:          # batched  25 %, 0:08 left; the total is 1
        progress.update(0.25)

It writes to standard error, so that results on standard output stay clean, and takes itself away from a terminal when
it ends. Without a terminal a label is a line when its part begins, then there is a line every `LINE_SECONDS`, and one
at the end if there is a note to tell.
"""

from __future__ import annotations

import os
import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

if TYPE_CHECKING:
    import rich.progress

LINE_SECONDS = 10.0  # between lines where there is no terminal
REFRESH_SECONDS = 0.1  # between pictures of the bar; drawn by `update`, so that no thread takes time from what it shows


class Progress:
    """How much of a total is done, with the time left at the rate so far.

    Args:
        total: what is to be done.
        unit: what is counted ("episodes"); without it shares are shown.
        label: said before everything else ("batched").
        done: what was done before, and took time before.
        num_slow: how many at the beginning take longer than the others (something is compiled): the time left goes by
            the rate since they are done.
        file: where to show it; standard error by default.
    """

    def __init__(
        self,
        total: float = 1.0,
        unit: str = "",
        *,
        label: str = "",
        done: float = 0.0,
        num_slow: int = 0,
        file: TextIO | None = None,
    ) -> None:
        self.total, self.unit, self.label = total, unit, label
        self.done, self.note = done, ""
        self._before, self._file = done, file or sys.stderr
        self._began = self._shown = time.monotonic()
        self._has_lines, self._num_slow = False, num_slow
        self._bar: rich.progress.Progress | None = None

    def __enter__(self) -> Progress:
        if self._file.isatty() and os.environ.get("TERM") not in ("dumb", "unknown"):  # they cannot move the cursor
            self._bar = _bar(self._file)
            self._bar.start()
            self._bar.add_task("", total=self.total or 1.0)
            self._draw(self._bar)
        elif self.label:
            print(f"{self.label} ...", file=self._file, flush=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def update(self, done: float | None = None, note: str | None = None) -> None:
        """Shows the amount done so far, and a note; what is not given stays as it was."""
        self.done = self.done if done is None else done
        self.note = self.note if note is None else note
        if self._num_slow and self.done >= self._before + self._num_slow:
            self._before, self._began, self._num_slow = self.done, time.monotonic(), 0
        if self.done >= self.total:
            is_due = bool(self.note) or self._has_lines
        else:
            wait = LINE_SECONDS if self._bar is None else REFRESH_SECONDS
            is_due = time.monotonic() - self._shown >= wait
        if not is_due:
            return
        self._shown = time.monotonic()
        if self._bar is not None:
            self._draw(self._bar)
        else:
            self._has_lines = True
            print(self.text(), file=self._file, flush=True)

    def _draw(self, bar: rich.progress.Progress) -> None:
        bar.update(bar.task_ids[0], completed=self.done, description=self.text())
        bar.refresh()

    def text(self) -> str:
        """For example ``3 of 10 episodes, 0:07 left  sleep -502``."""
        if self.unit:
            amount = f"{self.done:,.0f} of {self.total:,.0f} {self.unit}"
        else:
            amount = f"{self.done / self.total:4.0%}" if self.total else "100%"
        left = self._seconds_left()
        time_left = "" if left is None else f", {int(left) // 60}:{int(left) % 60:02d} left"
        return "  ".join(part for part in (self.label, amount + time_left, self.note) if part)

    def _seconds_left(self) -> float | None:
        """None while the rate is not known."""
        won = self.done - self._before
        if won <= 0 or self._num_slow:
            return None
        return (time.monotonic() - self._began) * max(0.0, self.total - self.done) / won


def _bar(file: TextIO) -> rich.progress.Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    return Progress(
        BarColumn(20),
        TextColumn("{task.description}", markup=False),
        console=Console(file=file, force_terminal=True),
        auto_refresh=False,
        transient=True,
        redirect_stdout=sys.stdout.isatty(),  # elsewhere these are results
    )
