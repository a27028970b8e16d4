#!/usr/bin/env bash
# autorank: the first row of the table is the worst method, with the Bayesian approach the best.
#
# One would guess: rows of `rankdf` are ordered the same way whatever the test, best first.
# What happens: the frequentist approach sorts by falling mean rank, so that the first row is the worst; the Bayesian one
#     the other way round. `rankdf.index[0]` names another method in each, and "effect_size_above" of a row compares it
#     with a worse one or with a better one.
# What helps: the row of the largest "mean" (or "median"); the Bayesian table has no mean ranks.
# Version: autorank 1.3.0. Date: 2026-11-30. Source: own measurement.
set -euo pipefail
source "$(dirname "$0")/environment.sh" autorank==1.3.0 "pandas<3"
"$python" - <<'PYTHON'
import contextlib
import io
import sys
import warnings
from importlib.metadata import version

import numpy as np
import pandas as pd
from autorank import autorank

warnings.simplefilter("ignore")
draws = np.random.default_rng(0)
scores = pd.DataFrame({name: draws.normal(mean, 1.0, 10) for name, mean in {"low": 10, "middle": 12, "high": 20}.items()})
print("autorank", version("autorank"), "mean scores", scores.mean().round(1).to_dict())
first, best = {}, {}
for approach, settings in {"frequentist": {}, "bayesian": {"nsamples": 1000, "random_state": 0}}.items():
    with contextlib.redirect_stdout(io.StringIO()):  # it prints the table
        table = autorank(scores, alpha=0.05, approach=approach, **settings).rankdf
    first[approach], best[approach] = table.index[0], table["mean"].idxmax()
    print(f"{approach}: rows {table.index.tolist()}, means {table['mean'].round(1).tolist()}")
assert set(best.values()) == {"high"}, best
sys.exit(0 if first == {"frequentist": "low", "bayesian": "high"} else "the behaviour has changed")
PYTHON
