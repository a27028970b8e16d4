"""Streams of the counter-based draws of `paper-v0`, one a mechanic; see `soc_env.engine.draws`."""

from __future__ import annotations

import numpy as np

(
    NETWORK, ACCESS, EXECUTE, LATERAL_PICK, LATERAL_HIT, EXFILTRATE, TRUE_ALERT, FALSE_ALERT, DETECT, FALSE_SCAN,
    ISOLATE, OVER_ISOLATE, REMEDIATE, COORDINATOR_NOISE, HUNTER_NOISE, ORCHESTRATOR_NOISE,
) = (np.uint64(stream << 40) for stream in range(1, 17))  # fmt: skip
