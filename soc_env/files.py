"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
import secrets
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def new_file(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """A binary file that takes the name `path` once it is complete: a reader sees the old content or the new, never a
    part. Makes missing folders.

    Raises:
        OSError: it cannot be written; names `path`.
    """
    path = pathlib.Path(path)
    partial = str(path.with_name(f".{path.name}.{secrets.token_hex(4)}"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(partial, "xb") as file:
            yield file
        os.replace(partial, path)
    except OSError as error:
        if error.filename == partial:
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # it has its name, or was never made
            os.unlink(partial)
