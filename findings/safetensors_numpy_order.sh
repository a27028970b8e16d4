#!/usr/bin/env bash
# safetensors' NumPy functions write arrays that are not in C order wrongly, without a word.
#
# One would guess: what `save` takes, `load` gives back; the torch functions refuse a tensor that is not contiguous.
# What happens: a transposed or sliced array, or one in Fortran order, comes back with the same shape and other
#     numbers. Optimiser moments, replay columns and linear-algebra results are often such arrays.
# What helps: numpy.ascontiguousarray before saving.
# Version: safetensors 0.8.0, numpy 2.4.6. Date: 2026-11-30.
# Source: own measurement; https://github.com/safetensors/safetensors/issues/825
set -euo pipefail
source "$(dirname "$0")/environment.sh" safetensors==0.8.0 numpy==2.4.6
"$python" - <<'PYTHON'
import sys

import numpy as np
import safetensors
from safetensors.numpy import load, save

print("safetensors", safetensors.__version__, "numpy", np.__version__)
table = np.arange(6.0).reshape(2, 3)
cases = {
    "C order": table,
    "Fortran order": np.asfortranarray(table),
    "transposed": table.T,
    "every second row": np.arange(12.0).reshape(4, 3)[::2],
    "transposed, made contiguous": np.ascontiguousarray(table.T),
}
came_back = {}
for name, array in cases.items():
    loaded = load(save({"array": array}))["array"]
    came_back[name] = bool(np.array_equal(loaded, array))
    print(f"{name:28} saved {array.tolist()}, loaded {loaded.tolist()}: {'equal' if came_back[name] else 'DIFFERENT'}")
if list(came_back.values()) != [True, False, False, False, True]:
    sys.exit("the behaviour has changed")
PYTHON
