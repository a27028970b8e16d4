"""The SIEM's risk score of a host, from alerts and findings alone (risk-based alerting).

One module for everybody: the kernels of `soc-v1` compile these functions, the CAGE-4 bridge calls them on arrays, so a
score means the same on both sides. All functions take floats or NumPy arrays.

A host collects three decaying counters of alert weight, by the part it plays in an alert (`process` for alerts about
the host itself, `target` and `source` for network alerts), a weight for findings (EDR) and one for verdicts (triage).
The source of a malicious connection is the host that is compromised, hence the weights, which are assumptions.
"""

from __future__ import annotations

from typing import Any

PROCESS_WEIGHT, TARGET_WEIGHT, SOURCE_WEIGHT = 0.9, 0.3, 0.9
SUSPICION, CONFIRMATION = 1.5, 6.0  # weight of a finding: looks odd, is malicious
# Where findings have levels (`finding_levels`): a risk score of 0.71 for what may be a user's or nothing, 0.86 for an
# intruder at admin level, who alone is worth a rebuild.
USER_FINDING, ADMIN_FINDING = 2.5, CONFIRMATION
KILL_KEEPS = 0.25  # of the weight of process alerts and of a user finding, after what raised them was killed
VERDICT, SIDE_VERDICT = 2.0, 0.5  # weight of an escalated case for the suspected and for the other host of it
NEGLIGIBLE = 0.02  # evidence below which a host is forgotten


def alert_weight(severity: Any, confidence: Any) -> Any:
    """What one alert adds to a counter: severity and confidence in [0, 1] -> [0, 1]."""
    return confidence * (0.4 + 0.6 * severity)


def decay(half_life: Any) -> float:
    """Factor a minute of a counter that halves in `half_life` minutes."""
    return 0.5 ** (1.0 / half_life)


def evidence(process: Any, target: Any, source: Any, finding: Any, verdict: Any) -> Any:
    """Weight of evidence, at least 0."""
    return PROCESS_WEIGHT * process + TARGET_WEIGHT * target + SOURCE_WEIGHT * source + finding + verdict


def risk_score(weight: Any) -> Any:
    """Evidence -> risk in [0, 1): 0.5 at a weight of 1, 0.86 at a confirmed finding."""
    return weight / (weight + 1.0)
