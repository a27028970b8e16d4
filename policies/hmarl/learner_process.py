"""A process that makes gradient steps for the tiers of another: no Ray, no pickles of arrays.

It is a program of its own rather than a fork, which is unsafe beside PyTorch's threads, and it does not run the user's
script again, as `multiprocessing` would. Arrays lie in anonymous memory that both have mapped (a container's /dev/shm
is small), one window a tier; what else is said goes through a socket. The process ends when that socket is closed, so
also when the process that began it was killed.

It knows nothing for long: an update begins with the learner's arrays and ends with them (`policies.learners.apart`).
When it dies nothing is lost, and the update is made where it was asked for.
"""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from ray import cloudpickle

from policies.hmarl import ray_start
from policies.learners.apart import Arrays, arrays_of, descend_as
from policies.learners.update import Measured
from soc_env.errors import shown

ALIGNED = 64  # [bytes]
SPARE = 1.25  # of a window: batches differ in size
PATIENCE = 300.0  # [s] for an answer: gradient steps of an update take a second
PROGRAM = "from policies.hmarl.learner_process import main; main()"
BATCH, STATE = "batch/", "state/"
Layout = list[tuple[str, str, tuple[int, ...], int]]  # name, dtype, shape, place in the window [bytes]


class ProcessLost(Exception):
    """The process has died, or does not answer."""


def layout_of(arrays: Mapping[str, np.ndarray]) -> tuple[Layout, int]:
    """Where arrays lie in a window, and its size [bytes]."""
    layout, end = [], 0
    for name, array in arrays.items():
        layout.append((name, array.dtype.str, array.shape, end))
        end += -(-array.nbytes // ALIGNED) * ALIGNED
    return layout, end


@dataclass
class Window:
    """A part of the shared memory, mapped; where in the file it begins, and its size [bytes]."""

    start: int
    size: int
    memory: mmap.mmap
    layout: Layout = field(default_factory=list)
    views: Arrays = field(default_factory=dict)

    @classmethod
    def of(cls, file: int, start: int, size: int) -> Window:
        return cls(start, size, mmap.mmap(file, size, offset=start))

    def arranged(self, layout: Layout) -> Arrays:
        """Its arrays, by such a layout."""
        if layout != self.layout:
            self.layout = layout
            self.views = {
                name: np.ndarray(shape, dtype, self.memory, place)  # type: ignore[arg-type]
                for name, dtype, shape, place in layout
            }
        return self.views


class LearnerProcess:
    """This side of it.

    Args:
        learners: tier -> the learner whose gradient steps it can make, and that can learn apart.

    Raises:
        ProcessLost: it cannot be started.
    """

    def __init__(self, learners: Mapping[str, Any]):
        if not hasattr(os, "memfd_create"):
            raise ProcessLost(f"there is no such memory on {sys.platform}")
        from multiprocessing.connection import Pipe

        self.learners, self.windows, self.end = learners, dict[str, Window](), 0
        self.is_ready = False
        self.seconds: dict[str, float] = {}  # tier -> of its last gradient steps
        plan = {tier: (type(one), one.config, one.spec) for tier, one in learners.items()}
        setup = cloudpickle.dumps((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled(), plan))
        self.file = os.memfd_create("hmarl-soc learners")
        self.socket, theirs = Pipe()
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path)}
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, str(theirs.fileno()), str(self.file)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(), self.file),
                env=environment,
                start_new_session=True,  # Ctrl-C is for the one that talks to the user
            )
            theirs.close()
            self.socket.send_bytes(setup)
        except OSError as error:
            theirs.close()
            self._let_go()
            raise ProcessLost(str(error)) from error

    def has_come(self) -> bool:
        """Whether it can be given something to do; does not wait.

        Raises:
            ProcessLost: it will never.
        """
        if not self.is_ready and self._hears(0.0):
            self._answer()
            self.is_ready = True
        if self.process.poll() is not None:
            raise ProcessLost(self._fate())
        return self.is_ready

    def begin(self, tier: str, clock: int | None, timesteps: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        """Hands it the gradient steps of a tier, and returns; several are made one after another.

        Raises:
            ProcessLost: it is not there.
        """
        columns = {BATCH + name: np.asarray(column) for name, column in asked["columns"].items()}
        arrays = {STATE + name: array for name, array in arrays_of(self.learners[tier]).items()} | columns
        layout, size = layout_of(arrays)
        window = self.windows.get(tier)
        is_new = window is None or window.size < size
        if window is None or window.size < size:
            window = self.windows[tier] = self._new_window(size)
        says_layout = is_new or layout != window.layout
        for name, view in window.arranged(layout).items():
            np.copyto(view, arrays[name])
        rest = {name: value for name, value in asked.items() if name != "columns"}
        message = (tier, window.start, window.size, layout if says_layout else None, clock, dict(timesteps), rest)
        try:
            self.socket.send(message)
        except OSError as error:
            raise ProcessLost(self._fate()) from error

    def end_of(self, tier: str) -> tuple[Arrays, Measured]:
        """What came of the tier's gradient steps, in the order in which they were begun: the learner's arrays, to be
        read at once, and what was measured.

        Raises:
            ProcessLost: it has died, does not answer, or could not make them.
        """
        if not self._hears(PATIENCE):
            self.process.kill()
            raise ProcessLost(f"no answer for {PATIENCE:.0f} s")
        changed, values, td_error, rows, steps, self.seconds[tier] = self._answer()
        arrays = changed
        if arrays is None:
            views = self.windows[tier].views
            arrays = {name.removeprefix(STATE): view for name, view in views.items() if name.startswith(STATE)}
        tensors = {name: torch.from_numpy(value) for name, value in values.items()}
        return arrays, Measured(tensors, td_error, rows, steps)

    def close(self) -> None:
        """Ends it."""
        self._let_go()
        try:
            self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _new_window(self, size: int) -> Window:
        start = self.end
        size = -(-int(SPARE * size) // mmap.ALLOCATIONGRANULARITY) * mmap.ALLOCATIONGRANULARITY
        self.end += size
        os.ftruncate(self.file, self.end)
        return Window.of(self.file, start, size)

    def _hears(self, seconds: float) -> bool:
        try:
            return self.socket.poll(seconds)
        except OSError as error:
            raise ProcessLost(self._fate()) from error

    def _answer(self) -> Any:
        try:
            is_well, answer = self.socket.recv()
        except (OSError, EOFError) as error:
            raise ProcessLost(self._fate()) from error
        if not is_well:
            raise ProcessLost(answer)
        return answer

    def _fate(self) -> str:
        """How it ended."""
        try:
            status = self.process.wait(1.0)
        except subprocess.TimeoutExpired:
            return "it has closed its end"
        return f"signal {-status}" if status < 0 else f"status {status}"

    def _let_go(self) -> None:
        self.socket.close()
        os.close(self.file)


# ---- the other side
def main() -> None:
    """The program: arguments are the numbers of the socket and of the shared memory."""
    from multiprocessing.connection import Connection

    socket, file = Connection(int(sys.argv[1])), int(sys.argv[2])
    ray_start.quiet()
    try:
        serve(socket, file)
    except (EOFError, ConnectionError, KeyboardInterrupt):  # nobody asks any more
        return


def serve(socket: Any, file: int) -> None:
    """Makes the gradient steps that it is asked for; raises EOFError when the other end is closed."""
    try:
        twins = _twins(*cloudpickle.loads(socket.recv_bytes()))
    except EOFError:
        raise
    except Exception as error:
        socket.send((False, shown(f"{type(error).__name__}: {error}")))
        return
    socket.send((True, None))
    windows: dict[str, Window] = {}
    while True:
        tier, start, size, layout, *rest = socket.recv()
        if tier not in windows or windows[tier].start != start:
            windows[tier] = Window.of(file, start, size)
        try:
            answer = _learned(twins[tier], windows[tier], layout, *rest)
        except Exception as error:
            socket.send((False, shown(f"{type(error).__name__}: {error}")))
        else:
            socket.send((True, answer))


def _twins(num_threads: int, is_deterministic: bool, plan: Mapping[str, Any]) -> dict[str, Any]:
    torch.set_num_threads(num_threads)
    torch.use_deterministic_algorithms(is_deterministic)
    twins = {}
    for tier, (kind, config, spec) in plan.items():
        twins[tier] = kind(config=config, module_spec=spec)
        twins[tier].build()
    return twins


def _learned(
    twin: Any,
    window: Window,
    layout: Layout | None,
    clock: int | None,
    timesteps: dict[str, Any],
    asked: dict[str, Any],
) -> tuple[Any, ...]:
    """Makes gradient steps on what is in the window, and writes the arrays back there; returns what else there is."""
    begun = time.thread_time()
    views = window.arranged(window.layout if layout is None else layout)
    asked["columns"] = {name.removeprefix(BATCH): view for name, view in views.items() if name.startswith(BATCH)}
    state = {name.removeprefix(STATE): view for name, view in views.items() if name.startswith(STATE)}
    measured = descend_as(twin, state, clock, timesteps, asked)
    found = arrays_of(twin)
    changed: Arrays | None = found
    if found.keys() == state.keys():  # else moments have come
        changed = None
        for name, array in found.items():
            np.copyto(state[name], array)
    values = {name: value.numpy() for name, value in measured.values.items()}
    return changed, values, measured.td_error, measured.rows, measured.steps, time.thread_time() - begun
