#!/usr/bin/env bash
# lifelines: where the survival curve passes 1/2 exactly, the median is now and then the event after.
#
# One would guess: with n events at 1, 2, ..., n (n even, none censored) the curve is 1/2 at n / 2, the median.
# What happens: for some n it is n / 2 + 1, for others n / 2: the curve is a product of rounded factors and is compared
#     with 0.5 exactly. Six incidents contained after 1 to 6 hours have a median time of 4 hours, ten of 5. scipy's
#     ecdf of the same times gives n / 2 for all of them.
# What helps: the first time at which survival is at most 0.5 + 1e-9, from `survival_function_` or from scipy.stats.ecdf.
# Version: lifelines 0.30.3, scipy 1.17.1. Date: 2026-11-30. Source: own measurement.
set -euo pipefail
source "$(dirname "$0")/environment.sh" lifelines==0.30.3 scipy==1.17.1 "pandas<3"
"$python" - <<'PYTHON'
import sys

import lifelines
import numpy as np
import scipy
from scipy import stats

print("lifelines", lifelines.__version__, "scipy", scipy.__version__)
late = []
for n in range(2, 21, 2):
    times = np.arange(1, n + 1)
    median = lifelines.KaplanMeierFitter().fit(times).median_survival_time_
    curve = stats.ecdf(times).sf
    exact = curve.quantiles[curve.probabilities <= 0.5][0]
    assert exact == n / 2, (n, exact)
    late += [n] if median == n / 2 + 1 else []
    assert median in (n / 2, n / 2 + 1), (n, median)
    print(f"{n:2} events: scipy {exact:g}, lifelines {median:g}")
print("one event late for n =", late)
sys.exit(0 if late == [6, 8, 14, 18, 20] else "the behaviour has changed")
PYTHON
