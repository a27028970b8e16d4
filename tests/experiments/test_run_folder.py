"""Reading a run folder: progress with its gaps."""

from pathlib import Path

import numpy as np

from experiments.families import PROTOCOLS
from experiments.run_folder import read_progress


def test_progress_is_read_with_its_gaps(folder: Path) -> None:
    curve = read_progress(folder / "progress.csv", PROTOCOLS["paper"].curves)
    assert curve is not None
    np.testing.assert_array_equal(curve["steps"], 1024.0 * np.arange(1, 9))
    np.testing.assert_array_equal(curve["reward"], [np.nan, *range(2, 9)])
    np.testing.assert_array_equal(np.flatnonzero(np.isfinite(curve["validation_csr"])), [2, 5])
    assert read_progress(folder / "missing.csv", ()) is None
