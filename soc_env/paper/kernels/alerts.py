"""The alert queue (a ring of the newest alerts) and triage, which works its oldest alert."""

from __future__ import annotations

import numpy as np

from soc_env.engine.draws import below, uniform
from soc_env.engine.jit import kernel
from soc_env.paper.kernels.draws import FALSE_ALERT, TRUE_ALERT
from soc_env.paper.scenario import NUM_SEGMENTS
from soc_env.paper.tables import NUM_PHASES, QUEUE_CAPACITY

ESCALATE, SUPPRESS, CORRELATE = range(3)  # any other choice is enrich
ENTRY_SEGMENT = 0  # all true alerts carry it
ENRICHMENT = 0.2


@kernel
def slot(env, age):
    """Place of an alert in the ring; age 0 is the oldest."""
    place = env["queue_head"] + age
    return place - QUEUE_CAPACITY if place >= QUEUE_CAPACITY else place


@kernel
def raise_alerts(world, env, key, acted_phase):
    """What the attacker's last move and benign users cause. Noise is that of the phase after the transition."""
    if acted_phase >= 1:
        noise = world["visible_noise"][env["phase"]]
        if uniform(key, TRUE_ALERT, 0) < world["true_alert_gain"] * noise:
            push(env, acted_phase / (NUM_PHASES - 1.0), 0.5 + 0.5 * noise, ENTRY_SEGMENT, 1, noise)
    if uniform(key, FALSE_ALERT, 0) < world["false_alert_rate"]:
        severity = 0.5 * uniform(key, FALSE_ALERT, 1)
        confidence = 0.4 * uniform(key, FALSE_ALERT, 2)
        segment = below(key, FALSE_ALERT, 3, NUM_SEGMENTS)
        push(env, severity, confidence, segment, 0, 0.3 * uniform(key, FALSE_ALERT, 4))


@kernel
def push(env, severity, confidence, segment, is_true, noise):
    """Appends an alert; a full queue drops its oldest."""
    if env["queue_length"] == QUEUE_CAPACITY:
        drop_oldest(env)
    alert = env["alerts"][slot(env, env["queue_length"])]
    alert["severity"] = severity
    alert["confidence"] = confidence
    alert["segment"] = segment
    alert["is_true"] = is_true
    alert["noise"] = noise
    alert["step"] = env["step"]
    env["queue_length"] += 1
    env["total_alerts"] += 1


@kernel
def drop_oldest(env):
    """Removes the oldest alert."""
    env["queue_head"] = slot(env, 1)
    env["queue_length"] -= 1


@kernel
def triage(env, choice):
    """Works the oldest alert, if there is one."""
    env["suppressed"] = 0
    if env["queue_length"] == 0:
        return
    oldest = env["alerts"][env["queue_head"]]
    if choice == ESCALATE:
        if oldest["is_true"] == 1:
            env["true_positives"] += 1
        else:
            env["false_positives"] += 1
            env["false_escalations"] += 1
        drop_oldest(env)
    elif choice == SUPPRESS:
        env["suppressed"] = np.int64(oldest["is_true"])
        env["missed_alerts"] += env["suppressed"]
        drop_oldest(env)
    elif choice == CORRELATE:
        correlate(env)
    else:
        oldest["confidence"] = min(1.0, np.float64(oldest["confidence"]) + ENRICHMENT)


@kernel
def correlate(env):
    """Of all alerts in the oldest one's segment keeps only the first of highest severity; the order stays."""
    alerts, length = env["alerts"], env["queue_length"]
    segment = alerts[env["queue_head"]]["segment"]
    best = 0
    for age in range(1, length):
        alert = alerts[slot(env, age)]
        if alert["segment"] == segment and alert["severity"] > alerts[slot(env, best)]["severity"]:
            best = age
    kept = 0
    for age in range(length):
        if age == best or alerts[slot(env, age)]["segment"] != segment:
            copy_alert(alerts[slot(env, age)], alerts[slot(env, kept)])
            kept += 1
    env["queue_length"] = kept


@kernel
def copy_alert(source, target):
    """target = source."""
    target["severity"] = source["severity"]
    target["confidence"] = source["confidence"]
    target["noise"] = source["noise"]
    target["step"] = source["step"]
    target["segment"] = source["segment"]
    target["is_true"] = source["is_true"]
