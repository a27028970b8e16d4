"""Streams of the counter-based draws of `soc-v1`, one a mechanic; see `soc_env.engine.draws`."""

from __future__ import annotations

import numpy as np

(
    NETWORK_CHOICE, ARRIVAL, FAMILY_CHOICE, ATTEMPT, TARGETS, OUTCOME, SIGHT, ALERT_SHAPE, DELIVERY, DWELL, REENTRY,
    BENIGN, EVENTS, ENRICHMENT, EXAMINE, FINDING, STRAY, INTEL, DECOY, APPROVAL, JOB, FORENSICS,
) = (np.uint64(stream << 40) for stream in range(32, 54))  # fmt: skip
NOISY = np.uint64(0x5EED0000)
