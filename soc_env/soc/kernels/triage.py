"""SIEM tools: what the analysts do with a case."""

from __future__ import annotations

from soc_env.engine.draws import uniform
from soc_env.engine.jit import kernel
from soc_env.soc import risk
from soc_env.soc.kernels.draws import ENRICHMENT
from soc_env.soc.kernels.hosts import LOG_WORK, find, log, notice_detection, track
from soc_env.soc.kernels.outcomes import spend
from soc_env.soc.kernels.rating import note_reading, note_verdict, rate
from soc_env.soc.kernels.siem import ESCALATED, MERGED, SUPPRESSED, close_case
from soc_env.soc.kernels.state import N_FALSE_POSITIVES, N_MISSED_CASES, N_TRUE_NEGATIVES, N_TRUE_POSITIVES
from soc_env.soc.tables import (
    CORRELATE,
    DONE,
    ENRICH,
    ESCALATE,
    FALSE_POSITIVE_TERM,
    NO_TIME,
    QUERY,
    REFUSED,
    SUPPRESS,
)

SIDE_VERDICT, VERDICT = risk.SIDE_VERDICT, risk.VERDICT


@kernel
def work_case(world, net, assets, env, hosts, slots, logs, key, tool, case_id):
    """One triage decision. Returns the outcome."""
    place = place_of(env, case_id)
    if place < 0:
        return REFUSED
    case = env["cases"][place]
    if (tool == ENRICH and case["enriched"] != 0) or (tool == QUERY and case["enriched"] != 1):
        return REFUSED
    if env["analyst_time"] <= 0.0:
        return NO_TIME
    minutes = world["tools"][tool]["analyst_minutes"]
    env["analyst_time"] -= minutes
    spend(world, env, minutes)
    log(env, logs, LOG_WORK, case_id, tool, case["is_true"], case["campaign"], 0.0, 0.0)
    acknowledge(env, case)
    if tool == ESCALATE:
        escalate(world, net, assets, env, hosts, slots, logs, case)
        close_case(env, logs, place, ESCALATED)
    elif tool == SUPPRESS:
        suppress(world, assets, env, hosts, slots, case)
        close_case(env, logs, place, SUPPRESSED)
    elif tool == CORRELATE:
        merge(world, env, logs, place)
    else:
        note_reading(world, assets, env, hosts, slots, case, read_context(env, key, case, tool))
    return DONE


@kernel
def place_of(env, case_id):
    """Place of an open case, -1 if it is closed."""
    for k in range(env["num_cases"]):
        if env["cases"][k]["id"] == case_id:
            return k
    return -1


@kernel
def acknowledge(env, case):
    """The first work on a case of an intruder that has begun."""
    if case["is_true"] != 0:
        campaign = env["campaigns"][case["campaign"]]
        if campaign["acknowledged"] < 0 and campaign["start"] >= 0:
            campaign["acknowledged"] = env["step"]


@kernel
def escalate(world, net, assets, env, hosts, slots, logs, case):
    """A verdict: the suspected host is the source where there is one, else the target."""
    env["counts"][N_TRUE_POSITIVES] += case["is_true"]
    if case["is_true"] == 0:
        env["counts"][N_FALSE_POSITIVES] += 1.0
        env["term_false"] += FALSE_POSITIVE_TERM
        env["disruption_now"] += world["false_verdict_loss"]
    accuse(world, net, assets, env, hosts, slots, logs, case["host"], SIDE_VERDICT if case["source"] >= 0 else VERDICT)
    if case["source"] >= 0:
        accuse(world, net, assets, env, hosts, slots, logs, case["source"], VERDICT)


@kernel
def accuse(world, net, assets, env, hosts, slots, logs, host, weight):
    """A verdict weighs on a host."""
    place = track(net, assets, env, hosts, slots, host)
    if place < 0:
        return
    record = hosts[place]
    record["verdict"] = min(2.0 * VERDICT, record["verdict"] + weight)
    rate(world, assets, env, record)
    if record["level"] > 0 and weight == VERDICT:
        notice_detection(env, assets, logs, record)


@kernel
def suppress(world, assets, env, hosts, slots, case):
    """A benign verdict: it takes most of the alerts' weight off the case's hosts."""
    env["counts"][N_MISSED_CASES] += case["is_true"]
    env["counts"][N_TRUE_NEGATIVES] += 1 - case["is_true"]
    calm(world, assets, env, hosts, slots, case["host"])
    calm(world, assets, env, hosts, slots, case["source"])


@kernel
def calm(world, assets, env, hosts, slots, host):
    """A benign verdict takes most of the alerts' weight off a host."""
    if host < 0:
        return
    place = find(slots, host)
    if place >= 0:
        record = hosts[place]
        record["process"] *= 0.3
        record["target"] *= 0.3
        record["source"] *= 0.3
        note_verdict(world, record)
        rate(world, assets, env, record)


@kernel
def shares_host(a, b):
    """Whether two cases name a common host."""
    if a["host"] == b["host"] or a["host"] == b["source"]:
        return True
    return a["source"] >= 0 and (a["source"] == b["source"] or a["source"] == b["host"])


@kernel
def merge(world, env, logs, place):
    """Merges the other cases that share a host with the case at `place` into it."""
    k = env["num_cases"] - 1
    while k >= 0:
        if k != place and shares_host(env["cases"][place], env["cases"][k]):
            kept, other = env["cases"][place], env["cases"][k]
            if other["severity"] > kept["severity"]:
                kept["severity"] = other["severity"]
                kept["rule"] = other["rule"]
            kept["confidence"] = 1.0 - (1.0 - kept["confidence"]) * (1.0 - 0.7 * other["confidence"])
            kept["num_alerts"] += other["num_alerts"]
            if kept["source"] < 0 and other["source"] >= 0 and other["source"] != kept["host"]:
                kept["source"] = other["source"]
            if other["is_true"] != 0:
                kept["is_true"] = 1
                kept["campaign"] = other["campaign"]
            close_case(env, logs, k, MERGED)
            if k < place:
                place -= 1
        k -= 1


@kernel
def read_context(env, key, case, tool):
    """A noisy reading of whether the case is malicious, returned; the query's is sharper than the enrichment's."""
    spread = 0.5 if tool == ENRICH else 0.35
    centre = 0.68 if case["is_true"] != 0 else 0.32
    noise = uniform(key, ENRICHMENT, 2 * tool) + uniform(key, ENRICHMENT, 2 * tool + 1) - 1.0  # triangular
    reading = min(1.0, max(0.0, centre + spread * noise))
    if tool == ENRICH:
        case["enriched"] = 1
        case["reading"] = reading
    else:
        case["enriched"] = 2
        case["second_reading"] = reading
    return reading
