"""The tables that carry the design of `paper-v0`: observation features, actions, state, reward terms, metrics.

Spaces, kernel offsets, documentation and tests are generated from these rows, so nothing is listed twice.
"""

from __future__ import annotations

from soc_env.engine.tables import (
    COORDINATOR,
    HUNTER,
    ORCHESTRATOR,
    TRIAGE,
    ActionEntry,
    Column,
    Feature,
    Metric,
    RewardTerm,
)
from soc_env.paper.scenario import NUM_SEGMENTS

QUEUE_CAPACITY = 50  # alerts; the newest are kept
NUM_SHOWN_ALERTS = 10  # oldest alerts that triage sees
NUM_SHOWN_HOSTS = 48  # first host ids whose endpoint reading the hunter sees
NUM_TARGETS = 5  # entry hosts a campaign aims at
NUM_PHASES = 5
PHASES = ("reconnaissance", "initial access", "execution", "lateral movement", "exfiltration")
MAX_STAGE = 4
NOISE_LIMIT = 3.7  # largest |draw| of the quantile table, in standard deviations (`engine.draws.noise_table`)
DIRECTIVE_SIZE = 8


def _noise(name: str, scale: float, count: int) -> list[Feature]:
    limit = NOISE_LIMIT * scale
    unit = f"standard deviation {scale}"
    return [Feature(f"{name}_{k}", -limit, limit, unit, "sensor noise, no signal") for k in range(count)]


def _unused(count: int) -> list[Feature]:
    return [Feature(f"unused_{k}", 0.0, 0.0, "none", "padding, always 0") for k in range(count)]


def _share(name: str, unit: str, source: str = "truth") -> Feature:
    return Feature(name, 0.0, 1.0, unit, source)


def _segment_features() -> list[Feature]:
    units = {
        "compromised": "share of the segment's hosts",
        "stage": f"mean stage / {MAX_STAGE + 1}",
        "detected": "share of the segment's hosts",
        "isolated": "share of the segment's hosts",
    }
    return [_share(f"segment{s}_{name}", unit) for s in range(NUM_SEGMENTS) for name, unit in units.items()]


def _triage_features() -> list[Feature]:
    rows = [_share("queue", f"alerts / {QUEUE_CAPACITY}", "SIEM")]
    for k in range(NUM_SHOWN_ALERTS):
        rows += [
            _share(f"alert{k}_severity", "severity, oldest alert first", "SIEM"),
            _share(f"alert{k}_confidence", "confidence", "SIEM"),
            _share(f"alert{k}_segment", f"segment / {NUM_SEGMENTS}", "SIEM"),
            _share(f"alert{k}_is_true", "1 if an attacker caused it", "truth"),
            _share(f"alert{k}_time", "step raised / max_steps", "SIEM"),
            _share(f"alert{k}_noise", "visible noise of its cause", "SIEM"),
        ]
    return rows + _unused(64 - len(rows))


def _hunter_features() -> list[Feature]:
    rows = _segment_features()
    for s in range(NUM_SEGMENTS):
        rows += [
            _share(f"flow{s}_compromised", "share of the segment's hosts"),
            _share(f"flow{s}_attacker_noise", "visible noise of the attacker's phase"),
            *_noise(f"flow{s}_noise", 0.2, 8),
        ]
    rows += _noise("intel", 0.1, 10)
    limit, signal = NOISE_LIMIT * 0.15, MAX_STAGE / (MAX_STAGE + 1)
    for host in range(NUM_SHOWN_HOSTS):
        source = "EDR: truth in noise; 0 where there is no such host"
        rows.append(Feature(f"endpoint_{host}", -limit, min(1.0, limit + signal), "visible stage / 5 + noise", source))
    return rows


def _orchestrator_features() -> list[Feature]:
    rows = [*_segment_features(), _share("isolated", "share of all hosts", "SOAR")]
    for s in range(NUM_SEGMENTS):
        rows += [
            _share(f"plan{s}_compromised", "share of the segment's hosts"),
            _share(f"plan{s}_isolated", "share of the segment's hosts", "SOAR"),
            _share(f"plan{s}_value", "business value", "asset register"),
            *_noise(f"plan{s}_noise", 0.1, 5),
        ]
    return rows + _unused(96 - len(rows))


def _coordinator_features() -> list[Feature]:
    return [
        *_segment_features(),
        _share("clock", "step / max_steps", "clock"),
        _share("queue", f"alerts / {QUEUE_CAPACITY}", "SIEM"),
        _share("compromised", "share of all hosts"),
        _share("detected", "detected / (compromised + 1)"),
        *_noise("noise", 0.1, 40),
    ]


FEATURES: dict[str, tuple[Feature, ...]] = {
    TRIAGE: tuple(_triage_features()),
    HUNTER: tuple(_hunter_features()),
    ORCHESTRATOR: tuple(_orchestrator_features()),
    COORDINATOR: tuple(_coordinator_features()),
}


def _state_features() -> list[Feature]:
    rows = _segment_features()
    rows += [_share(f"segment{s}_quarantined", "share compromised and isolated") for s in range(NUM_SEGMENTS)]
    rows += [_share(f"phase_{p}", f"1 in phase {PHASES[p]}") for p in range(NUM_PHASES)]
    rows += [
        _share("steps_in_phase", "steps / max_steps"),
        _share("attacker_noise", "visible noise of the phase"),
        _share("footholds", "hosts ever compromised / all hosts"),
        _share("true_alerts", f"true alerts in the queue / {QUEUE_CAPACITY}"),
        _share("false_alerts", f"false alerts in the queue / {QUEUE_CAPACITY}"),
        _share("oldest_is_true", "1 if the oldest alert is true"),
    ]
    rows += [Feature(f"directive_{k}", -1.0, 1.0, "directive in force", "truth") for k in range(DIRECTIVE_SIZE)]
    rows += [
        _share("clock", "step / max_steps"),
        _share("steps_to_decision", "steps until the coordinator decides / coordinator_period"),
        _share("has_detected", "1 once a host was detected"),
        _share("detection_time", "step of the first detection / max_steps, 1 if none"),
        _share("is_contained", "1 if contained"),
        _share("is_exfiltrated", "1 if exfiltrated"),
    ]
    return rows


STATE: tuple[Feature, ...] = tuple(_state_features())


def _by_segment(name: str, tool: str, effect: str) -> list[ActionEntry]:
    """An entry for each segment; `effect` has its number in the place of {}."""
    return [ActionEntry(f"{name}_{s}", tool, effect.format(s)) for s in range(NUM_SEGMENTS)]


def _ignored(name: str, tool: str, count: int) -> list[ActionEntry]:
    return [ActionEntry(f"{name}_{k}", tool, "none") for k in range(count)]


ACTIONS: dict[str, tuple[ActionEntry, ...]] = {
    TRIAGE: (
        ActionEntry("escalate", "SIEM", "removes the oldest alert; counts as a true or as a false positive"),
        ActionEntry("suppress", "SIEM", "removes the oldest alert; costs reward if it was true"),
        ActionEntry(
            "correlate", "SIEM", "of the alerts in the oldest one's segment keeps the first of highest severity"
        ),
        ActionEntry("enrich", "SIEM", "adds 0.2 to the oldest alert's confidence, at most 1"),
    ),
    HUNTER: (
        *_by_segment("intensity", "EDR", "hunt intensity in segment {}: (x + 1) / 2"),
        *_by_segment("scope", "EDR", "share of segment {} looked at: (x + 1) / 2"),
        *_ignored("unused", "EDR", 6),
    ),
    ORCHESTRATOR: (
        *_by_segment("isolate", "SOAR", "isolation level in segment {}: (x + 1) / 2"),
        *_by_segment("remediate", "SOAR", "cleaning level in segment {}: (x + 1) / 2"),
        *_ignored("unused", "SOAR", 2),
    ),
    COORDINATOR: (
        ActionEntry("hunt_priority", "directive", "adds up to hunt_boost to every hunt intensity"),
        ActionEntry("scope_priority", "directive", "adds up to scope_boost to every hunt scope"),
        *_ignored("unused_a", "directive", 2),
        ActionEntry("isolation_priority", "directive", "adds up to isolation_boost to every isolation level"),
        *_ignored("unused_b", "directive", 3),
    ),
}


REWARD_TERMS: tuple[RewardTerm, ...] = (
    RewardTerm(
        "detection",
        "sum of stage / 5 over hosts detected in this step (stage after the response) - 10 if exfiltrated",
        "weight_detection",
    ),
    RewardTerm(
        "response",
        "compromised hosts isolated in this step / max(1, steps since the first detection) + 5 if contained",
        "weight_response",
    ),
    RewardTerm(
        "cost",
        "sum of segment value * 0.1 per compromised and * 0.2 per clean host isolated in this step",
        "weight_cost",
    ),
    RewardTerm(
        "false_positive",
        "(false scans of this step + 1 if a true alert was suppressed) / 2",
        "weight_false_positive",
    ),
)


METRICS: tuple[Metric, ...] = (
    Metric("reward", "reward", "undiscounted return of the episode"),
    Metric("length", "steps", "length of the episode", is_count=True),
    Metric("mttd", "steps", "step of the first detection by the hunter; max_steps if none"),
    Metric("mttr", "steps", "step of containment, counted from the start; max_steps if none"),
    Metric("fpr", "share", "false_positives / max(1, total_scans - true_positives), at most 1"),
    Metric("csr", "0 or 1", "1 if contained"),
    Metric("compromised", "hosts", "compromised at the end", is_count=True),
    Metric("exfiltrated", "0 or 1", "1 if data left", is_count=True),
    Metric("total_alerts", "alerts", "true and false alerts raised", is_count=True),
    Metric("true_positives", "count", "hosts detected by hunting + true alerts escalated", is_count=True),
    Metric("false_positives", "count", "false scans + false alerts escalated", is_count=True),
    Metric("total_scans", "host-scans", "hosts in scanned segments, summed over steps", is_count=True),
    Metric("false_escalations", "alerts", "false alerts escalated; not published", is_count=True),
    Metric("missed_alerts", "alerts", "true alerts suppressed; not published", is_count=True),
)

COLUMNS: tuple[Column, ...] = (
    Column("reward", "Reward", decimals=2, better="higher", published=6.9),
    Column("mttd", "MTTD", "steps", decimals=1, better="lower", published=16.8),
    Column("mttr", "MTTR", "steps", decimals=1, better="lower", published=93.2),
    Column("fpr", "FPR", "%", scale=100, decimals=3, better="lower", published=0.17),
    Column("csr", "CSR", "%", scale=100, decimals=1, better="higher", is_proportion=True, published=71.0),
    Column("length", "Length", "steps", decimals=1),
    Column("compromised", "Compromised", "hosts", better="lower"),
    Column("exfiltrated", "Exfiltrated", "%", scale=100, decimals=1, better="lower", is_proportion=True),
    Column("total_alerts", "Alerts"),
    Column("true_positives", "True positives"),
    Column("false_positives", "False positives", better="lower"),
    Column("total_scans", "Host scans", decimals=0),
    Column("false_escalations", "False escalations", better="lower"),
    Column("missed_alerts", "Missed alerts", better="lower"),
)
"""How the metrics are shown; published values: the manuscript's Table II."""
