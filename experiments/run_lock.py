"""One run, one folder: who writes into a run folder holds its lock.

    <out>/run.lock        locked by the operating system for as long as its holder lives, empty
    <out>/run.lock.json   who holds it: process, host, since when, command

A process that ends, in whatever way, holds no lock: what a killed run has left is taken over without a question.
"""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import pathlib
import shlex
import socket
import time
import warnings
from collections.abc import Iterator
from typing import Any

from filelock import FileLock, Timeout

from experiments.output import write_json
from experiments.provenance import command
from soc_env.errors import ConfigError, shown

LOCK, HOLDER = "run.lock", "run.lock.json"
PATIENCE = 1.0  # [s] for a holder that has the lock to say who it is
MAX_HOLDER_BYTES = 1 << 16


@contextlib.contextmanager
def run_lock(out: pathlib.Path) -> Iterator[None]:
    """Makes the folder and holds its lock within; a folder that it has made and that stays empty is removed.

    Raises:
        ConfigError: another process holds it (the message says who), or the folder cannot be made or written.
    """
    is_new = not os.path.lexists(out)
    lock = FileLock(out / LOCK, blocking=False)
    try:
        out.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # where there are no locks it makes its own, which do as well
            lock.acquire()
        write_json(out / HOLDER, _own_name())
    except Timeout:
        raise ConfigError(f"out: {shown_path(out)!r} is in use by another run: {_holder(out)}") from None
    except (OSError, ValueError) as error:
        lock.release()
        raise ConfigError(cannot_write(out, error)) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            (out / HOLDER).unlink()
        if is_new and os.listdir(out) == [LOCK]:  # the command was refused before it wrote anything
            with contextlib.suppress(OSError):
                (out / LOCK).unlink()
                out.rmdir()
        lock.release()


def cannot_write(out: pathlib.Path, error: Exception) -> str:
    """One line about a folder that cannot be written."""
    reason = getattr(error, "strerror", None) or error
    return f"out: {shown_path(out)!r} cannot be written ({reason}); allowed: a folder that can be made and written"


def shown_path(path: pathlib.Path) -> str:
    """`path` as the user would type it from here."""
    try:
        return os.path.relpath(path)
    except (OSError, ValueError):  # the current folder is gone; another drive
        return str(path)


def _own_name() -> dict[str, Any]:
    since = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since, "command": command()}


def _holder(out: pathlib.Path) -> str:
    """Who holds the lock, in words. One that has just got it is given a moment to write it down."""
    end = time.monotonic() + PATIENCE
    while (found := _read(out / HOLDER)) is None:
        if time.monotonic() >= end:
            return "it does not say which"
        time.sleep(0.02)
    pid, host = found["pid"], found["host"]
    text = f"process {pid} on {host} since {found['since']}: {shlex.join(found['command'])}"
    if host != socket.gethostname():
        return f"{text} (another machine: if it no longer runs there, delete {LOCK} and {HOLDER})"
    return text if _is_alive(pid) else f"{text} (it has ended, but a process that it started still holds the lock)"


def _read(path: pathlib.Path) -> dict[str, Any] | None:
    """What a holder has written, or None while it is not there or is not what a holder writes."""
    try:
        if path.stat().st_size > MAX_HOLDER_BYTES:
            return None
        found = json.loads(path.read_text(encoding="utf-8"))
        words = [shown(word) if not isinstance(word, str) else " ".join(word.split()) for word in found["command"]]
        host, since = (" ".join(str(found[name]).split()) for name in ("host", "since"))
        return {"pid": int(found["pid"]), "host": host, "since": since, "command": words}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's
        return True
    return True
