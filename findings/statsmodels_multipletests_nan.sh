#!/usr/bin/env bash
# statsmodels: one p-value that is NaN makes multipletests declare it significant, or hide what is.
#
# One would guess: a comparison without a p-value (two arms that are equal in every seed, say) is left out, or all is NaN
#     and nothing is rejected.
# What happens, four p-values of .001 to .02 and one NaN, alpha .05: holm and holm-sidak reject all five, the NaN among
#     them, and correct the others as if there were five. fdr_bh and simes-hochberg reject the four, their corrected
#     values are all NaN. hommel rejects none; without the NaN it rejects the four. fdr_by rejects three of four.
# What helps: correct the finite ones alone and put NaN back; never read `reject` without a finite corrected value.
# Version: statsmodels 0.15.0. Date: 2026-11-30. Source: own measurement; that corrected values turn NaN is issue 2899 of
#     statsmodels (open since 2016), what becomes of `reject` is not in it.
set -euo pipefail
source "$(dirname "$0")/environment.sh" statsmodels==0.15.0
"$python" - <<'PYTHON'
import sys

import numpy as np
import statsmodels
from statsmodels.stats.multitest import multipletests

values = [0.001, 0.008, 0.012, 0.02]
expected = {  # method: rejected with the NaN in fifth place, and how many corrected values are finite
    "holm": ([True] * 5, 4),
    "holm-sidak": ([True] * 5, 4),
    "fdr_bh": ([True] * 4 + [False], 0),
    "simes-hochberg": ([True] * 4 + [False], 0),
    "hommel": ([False] * 5, 0),
    "fdr_by": ([True] * 3 + [False] * 2, 0),
}
print("statsmodels", statsmodels.__version__)
found = {}
for method in expected:
    alone = multipletests(values, method=method)[0]
    reject, corrected = multipletests([*values, np.nan], method=method)[:2]
    print(f"{method:15} four alone {alone.tolist()}, with NaN {reject.tolist()}, corrected {corrected.round(4).tolist()}")
    found[method] = reject.tolist(), int(np.isfinite(corrected).sum())
    assert alone.all(), method
sys.exit("the behaviour has changed" if found != expected else 0)
PYTHON
