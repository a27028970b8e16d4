"""A harmless marker: whoever imports or calls it has executed what a file named."""

import os
from pathlib import Path


def mark(*args, **kwargs):
    """Leaves a mark."""
    Path(os.environ["MARK"]).mkdir(exist_ok=True)


if "MARK" in os.environ:
    mark()
