"""Hunting (EDR) and response (SOAR), both boosted by the coordinator's directive."""

from __future__ import annotations

import math

import numpy as np

from soc_env.engine.draws import binomial, uniform
from soc_env.engine.jit import kernel
from soc_env.paper.kernels.draws import DETECT, FALSE_SCAN, ISOLATE, OVER_ISOLATE, REMEDIATE
from soc_env.paper.kernels.hosts import (
    cut_off,
    detect,
    is_candidate,
    is_marked,
    quarantine,
    remediate,
    segment_size,
    total,
)
from soc_env.paper.kernels.state import COMPROMISED, ISOLATED
from soc_env.paper.scenario import NUM_SEGMENTS
from soc_env.paper.tables import DIRECTIVE_SIZE, MAX_STAGE

HUNT_DIRECTIVE, SCOPE_DIRECTIVE, ISOLATION_DIRECTIVE = 0, 1, 4  # the others have no effect


@kernel
def clipped(action):
    """An action entry in [-1, 1] as float64."""
    return min(1.0, max(-1.0, np.float64(action)))


@kernel
def level(action):
    """An action entry as a level in [0, 1]."""
    return (clipped(action) + 1.0) * 0.5


@kernel
def boost(env, entry, size):
    """What a directive entry adds to a level."""
    return (env["directive"][entry] + 1.0) * 0.5 * size


@kernel
def hold_directive(world, env, action):
    """On decision steps the coordinator's action becomes the directive; otherwise the old one stays in force.

    Call after the step counter has moved on.
    """
    if (env["step"] - 1) % world["coordinator_period"] == 0:
        for k in range(DIRECTIVE_SIZE):
            env["directive"][k] = clipped(action[k])


@kernel
def hunt(world, env, footholds, marks, key, action):
    """Scans segments: finds compromised hosts, and raises false findings on clean ones when too eager."""
    intensity_boost = boost(env, HUNT_DIRECTIVE, world["hunt_boost"])
    scope_boost = boost(env, SCOPE_DIRECTIVE, world["scope_boost"])
    env["false_scans"] = 0
    is_hunting = False
    for s in range(NUM_SEGMENTS):
        intensity = min(1.0, level(action[s]) + intensity_boost)
        scope = min(1.0, level(action[NUM_SEGMENTS + s]) + scope_boost)
        env["detect_rate"][s] = 0.0
        if intensity > world["hunt_threshold"]:
            is_hunting = True
            env["detect_rate"][s] = intensity * scope * world["detectability"]
            env["total_scans"] += segment_size(world, s)
            if intensity > world["false_scan_threshold"]:
                clean = segment_size(world, s) - env["compromised"][s]
                env["false_scans"] += binomial(clean, world["false_scan_rate"], key, FALSE_SCAN, s << 32)
    env["false_positives"] += env["false_scans"]
    if is_hunting:
        find_intruders(env, footholds, marks, key)


@kernel
def find_intruders(env, footholds, marks, key):
    """Looks at every undetected compromised host of the scanned segments; later stages are easier to see."""
    for k in range(env["num_footholds"]):
        foothold = footholds[k]
        if foothold["is_detected"] != 0 or not is_marked(marks, COMPROMISED, foothold["host"]):
            continue
        chance = env["detect_rate"][foothold["segment"]] * foothold["stage"]
        if uniform(key, DETECT, foothold["host"]) < chance:
            detect(env, foothold)
            env["true_positives"] += 1
            if env["detection_step"] < 0:
                env["detection_step"] = env["step"]


@kernel
def respond(world, env, footholds, marks, key, action):
    """Isolates detected hosts, cleans isolated ones, and tests for containment.

    Segments do not interact, and within one every host is isolated before any is remediated; so clean hosts are dealt
    with first, then each foothold in turn.
    """
    isolation_boost = boost(env, ISOLATION_DIRECTIVE, world["isolation_boost"])
    env["isolations"] = 0
    env["cost"] = 0.0
    for s in range(NUM_SEGMENTS):
        env["isolation"][s] = min(1.0, level(action[s]) + isolation_boost)
        env["remediation"][s] = level(action[NUM_SEGMENTS + s])
        if env["isolation"][s] > world["over_isolation_threshold"]:
            mistakes = over_isolate(world, env, marks, key, s)
            env["cost"] += world["over_isolation_cost"] * world["value"][s] * mistakes
    for k in range(env["num_footholds"]):
        if is_marked(marks, COMPROMISED, footholds[k]["host"]):
            treat(world, env, marks, key, footholds[k])
    num_compromised = total(env["compromised"])
    if num_compromised > 0 and num_compromised == total(env["quarantined"]):
        env["is_contained"] = 1
        env["containment_step"] = env["step"]


@kernel
def treat(world, env, marks, key, foothold):
    """Isolation, then remediation, of one compromised host."""
    host, segment = foothold["host"], foothold["segment"]
    isolation, remediation = env["isolation"][segment], env["remediation"][segment]
    is_isolated = is_marked(marks, ISOLATED, host)
    is_case = foothold["is_detected"] != 0 and not is_isolated and isolation > world["isolation_threshold"]
    if is_case and uniform(key, ISOLATE, host) < isolation:
        quarantine(env, marks, foothold)
        is_isolated = True
        env["isolations"] += 1
        env["cost"] += world["isolation_cost"] * world["value"][segment]
    if is_isolated and remediation > world["remediation_threshold"] and uniform(key, REMEDIATE, host) < remediation:
        remediate(env, marks, foothold)


@kernel
def over_isolate(world, env, marks, key, segment):
    """Isolates each clean host with a small probability, isolated ones again. Returns how many were hit.

    Geometric gaps between hits instead of a draw per host.
    """
    if world["over_isolation_rate"] <= 0.0:
        return 0
    host, end = world["start"][segment] - 1, world["start"][segment + 1]
    index, mistakes = segment << 32, 0
    while True:
        gap = math.log(1.0 - uniform(key, OVER_ISOLATE, index)) * world["over_isolation_scale"]
        index += 1
        if gap >= end - host:
            return mistakes
        host += 1 + int(gap)
        if host >= end:
            return mistakes
        if is_candidate(marks, host):
            cut_off(env, marks, host, segment)
            mistakes += 1
        elif not is_marked(marks, COMPROMISED, host):
            mistakes += 1


@kernel
def detection_credit(env, footholds):
    """Sum of stage / 5 over the hosts detected in this step, with the stage that the response left them at."""
    credit = 0.0
    for k in range(env["num_footholds"]):
        foothold = footholds[k]
        if foothold["is_fresh"] != 0:
            foothold["is_fresh"] = 0
            credit += foothold["stage"] / (MAX_STAGE + 1.0)
    return credit
