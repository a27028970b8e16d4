"""How kernels are compiled and where the result is kept.

Numba's own cache looks only at the file of the cached function, so a change in a helper would go unnoticed. Here the
cache folder's name is a hash of all kernel sources and of the versions of Python, Numba and NumPy. A cache is code
that will be run, so it lives in a folder that only its user can write: `$HMARL_SOC_CACHE_DIR` if set, else
`hmarl-soc` in `$XDG_CACHE_HOME` or `~/.cache`. Where none can be had (read-only home, no home) kernels are compiled in
memory, which takes about ten seconds a process.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pathlib
import stat
import sys
from collections.abc import Callable

import numba
import numpy as np
from numba.core import options as numba_options

CACHE_VARIABLE = "HMARL_SOC_CACHE_DIR"
IS_COMPILED = not numba.config.DISABLE_JIT

# error_model: division like NumPy's. The other options are private to Numba and only save time, so each is used only
# where this Numba knows it: _nrt=False drops reference counting (kernels allocate nothing), the wrappers are for calls
# from Python, which inner kernels never get.
_KNOWN = dir(numba_options.DefaultOptions)
_ENTRY_OPTIONS = {"error_model": "numpy", "nogil": True} | ({"_nrt": False} if "_nrt" in _KNOWN else {})
_INNER_OPTIONS = {"error_model": "numpy"} | {
    name: value
    for name, value in {"_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}.items()
    if name in _KNOWN
}


def kernel(function: Callable) -> Callable:
    """Compiles a function that only other kernels call. It must not allocate."""
    return numba.njit(**_INNER_OPTIONS)(function)


def entry_point(function: Callable) -> Callable:
    """Compiles a function that Python calls, releases the GIL in it, and keeps the result between runs if it can."""
    if not IS_COMPILED:
        # 64-bit draws wrap around on purpose
        return np.errstate(over="ignore")(function)
    folder = cache_folder()
    if folder is None:
        return numba.njit(**_ENTRY_OPTIONS)(function)
    previous = numba.config.CACHE_DIR
    numba.config.CACHE_DIR = str(folder)
    try:
        return numba.njit(cache=True, **_ENTRY_OPTIONS)(function)
    except (RuntimeError, OSError):
        return numba.njit(**_ENTRY_OPTIONS)(function)
    finally:
        numba.config.CACHE_DIR = previous


def cache_folder() -> pathlib.Path | None:
    """The folder of compiled kernels, made if missing; None if no private one can be had."""
    for base in _candidates():
        folder = base / source_hash()
        try:
            base.mkdir(mode=0o700, parents=True, exist_ok=True)
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_private(folder):
                return folder
        except OSError:
            continue
    return None


def source_hash() -> str:
    """Hex digest of everything that the compiled code depends on."""
    here = pathlib.Path(__file__).parents[1]
    sources = [*sorted(here.rglob("*/**/*.py")), *sorted((here / "soc" / "data").glob("*.csv"))]
    digest = hashlib.sha256(f"{sys.version} {numba.__version__} {np.__version__} {here}".encode())
    for source in sources:
        digest.update(source.name.encode() + source.read_bytes())
    return digest.hexdigest()[:16]


def _candidates() -> list[pathlib.Path]:
    """Where the cache may lie, best first."""
    override = os.environ.get(CACHE_VARIABLE)
    if override:
        return [pathlib.Path(override)]
    folders = []
    if os.environ.get("XDG_CACHE_HOME"):
        folders.append(pathlib.Path(os.environ["XDG_CACHE_HOME"]))
    with contextlib.suppress(RuntimeError):  # no home at all
        folders.append(pathlib.Path.home() / ".cache")
    return [folder / "hmarl-soc" for folder in folders]


def _is_private(folder: pathlib.Path) -> bool:
    """Whether the folder is ours, writable, writable by nobody else, and safe from being replaced."""
    if not os.access(folder, os.W_OK | os.X_OK):
        return False
    if not hasattr(os, "getuid"):  # Windows: profile folders are private
        return True
    ours, parent = folder.stat(), folder.parent.stat()
    is_replaceable = parent.st_mode & stat.S_IWOTH and not parent.st_mode & stat.S_ISVTX
    return ours.st_uid == os.getuid() and not ours.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not is_replaceable
