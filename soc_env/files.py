"""Files that are written whole or not at all, and are on the disk when they have their name."""

import contextlib
import errno
import os
import pathlib
import secrets
from collections.abc import Iterable, Iterator
from typing import IO

UNSYNCED = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EBADF)  # where folders cannot be synced, the file is
MAX_NAME = 200  # of a name's characters in its partial file's: file systems allow 255 bytes


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` once it is complete and on the disk: a reader, also one after a power
    cut, sees the old content or the new, never a part. Makes missing folders.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    path = pathlib.Path(path)
    partial = str(path.with_name(f".{path.name[:MAX_NAME]}.{secrets.token_hex(4)}.partial"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)
        sync_folder(path.parent)
    except OSError as error:
        if error.errno is not None and error.filename in (partial, None):  # None: the disk is full, or fails
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # it has its name, or was never made
            os.unlink(partial)


def sync_folder(folder: str | os.PathLike[str]) -> None:
    """Puts the names in a folder on the disk: after it a new or renamed file survives a power cut by its name.

    Raises:
        OSError: the device fails. Where folders cannot be synced, it does nothing.
    """
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # a folder that may be written but not read, and every folder on Windows
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in UNSYNCED:
            raise
    finally:
        os.close(descriptor)


def remove_partials(folder: str | os.PathLike[str], names: Iterable[str]) -> None:
    """Removes what killed processes have left of `new_file` for files of these names, which nobody may be writing."""
    for name in names:
        for partial in pathlib.Path(folder).glob(f".{name[:MAX_NAME]}.{'[0-9a-f]' * 8}.partial"):
            with contextlib.suppress(OSError):
                partial.unlink()
