"""How suspect a host is: the SIEM's formula, or a learned risk model on what the SOC has seen of the host.

A risk model (`soc_env.soc.risk_model`) is a small network on the inputs of `read_inputs`. It is asked for hosts with
evidence only, so a host that nothing speaks against has risk 0 either way, whatever it is in truth. What it reads
beside the SIEM's counters (`HISTORY`, sums over segments) is kept only where there is a model: without one, nothing of
it is computed.
"""

from __future__ import annotations

import math

from soc_env.engine.jit import entry_point, kernel
from soc_env.soc import risk
from soc_env.soc.attack import TACTICS
from soc_env.soc.kernels.hosts import evidence, find, risk_score
from soc_env.soc.kernels.state import FORMULA, MAX_SEGMENTS, NEVER, WATCHED

LAST_TACTIC = float(len(TACTICS) - 1)
NUM_BITS = 62  # rules share the bits of `rules_seen`, an integer that must stay positive
LONG_AGO = 60  # [min] of the last alert and the last look, as an input
AGE_UNIT = 20.0  # [min]
DISTINCT_RULES = 3.0


@kernel
def weigh(record):
    """A host's weight of evidence."""
    return evidence(record["process"], record["target"], record["source"], record["finding"], record["verdict"])


@kernel
def rate(world, assets, env, record):
    """Brings the risk score up to date."""
    record["risk"] = risk_of_evidence(world, assets, env, record, weigh(record))


@kernel
def risk_of_evidence(world, assets, env, record, weight):
    """Risk score of a host with that much evidence: the formula's, or the model's."""
    model = world["risk_model"]
    if model["kind"] <= WATCHED:
        return risk_score(weight)
    if weight < risk.NEGLIGIBLE:
        return 0.0
    read_inputs(world, assets, env, record, weight, env["risk_inputs"])
    return ask(model, env["risk_inputs"])


@kernel
def ask(model, inputs):
    """The model's answer: the root of the probability that an intruder has the host."""
    odds = model["output_bias"]
    for unit in range(model["num_units"]):
        value = model["hidden_bias"][unit]
        for k in range(inputs.shape[0]):
            value += model["hidden"][unit, k] * inputs[k]
        if value > 0.0:
            odds += model["output"][unit] * value
    return math.sqrt(1.0 / (1.0 + math.exp(-min(30.0, max(-30.0, odds)))))


@kernel
def soften(x, unit):
    """x >= 0 -> [0, 1), a half at `unit`."""
    return x / (x + unit)


@kernel
def age(env, minute):
    """Minutes since `minute`, as an input."""
    return (LONG_AGO if minute < 0 else min(LONG_AGO, env["step"] - minute)) / AGE_UNIT


@kernel
def count_bits(bits):
    """How many bits are set."""
    count = 0
    while bits != 0:
        count += bits & 1
        bits >>= 1
    return count


@kernel
def read_inputs(world, assets, env, record, weight, row):
    """What a risk model reads of a host with evidence. row: (len(INPUTS),) float64, in the order of that table."""
    asset, segment = assets[record["host"]], record["segment"]
    alerts = record["alerts"]
    row[0] = record["process"]
    row[1] = record["target"]
    row[2] = record["source"]
    row[3] = record["finding"]
    row[4] = record["verdict"]
    row[5] = risk_score(weight)
    row[6] = math.log(weight + 0.05)
    row[7] = record["is_isolated"]
    row[8] = age(env, record["last_alert"])
    row[9] = age(env, record["last_hunt"])
    row[10] = alerts
    row[11] = record["precision"]
    row[12] = record["sharpness"]
    row[13] = record["precision"] / (alerts + 0.1)
    row[14] = record["sharpness"] / (alerts + 0.1)
    row[15] = count_bits(record["rules_seen"]) / DISTINCT_RULES
    row[16] = record["stage"]
    row[17] = record["peer"]
    row[18] = record["reading"]
    row[19] = record["looked"]
    row[20] = record["cleared"]
    row[21] = asset["value"]
    row[22] = asset["vulnerability"]
    row[23] = 1.0 if asset["role"] == 0 else 0.0
    row[24] = 1.0 if asset["role"] == 1 else 0.0
    row[25] = 1.0 if asset["role"] == 2 else 0.0
    row[26] = soften(max(0.0, env["segment_evidence"][segment] - weight), 2.0)
    is_top = env["segment_host"][segment] == record["host"]
    row[27] = env["segment_second"][segment] if is_top else env["segment_top"][segment]
    row[28] = soften(env["segment_reach"][segment], 5.0)
    row[29] = soften(max(0.0, env["all_evidence"] - weight), 10.0)
    row[30] = env["events"][record["zone"]]
    row[31] = env["num_known"] / 3.0
    row[32] = env["step"] * world["per_step"]


# ---------------------------------------------------------------------- what is kept for a model alone
@kernel
def note_alert(world, hosts, slots, record, rule, confidence, other):
    """An alert about the host: how good the rule is, how far along the kill chain, who is on the other side (or -1)."""
    if world["risk_model"]["kind"] == FORMULA:
        return
    row = world["rules"][rule]
    record["alerts"] += 1.0
    record["precision"] += row["precision"]
    record["sharpness"] += confidence / row["confidence"]
    record["stage"] = max(record["stage"], row["tactic"] / LAST_TACTIC)
    record["rules_seen"] = record["rules_seen"] | (1 << (rule % NUM_BITS))
    place = find(slots, other) if other >= 0 else -1
    if place >= 0:
        record["peer"] = max(record["peer"], risk_score(weigh(hosts[place])))


@kernel
def note_reading(world, assets, env, hosts, slots, case, reading):
    """Context was read for a case: it speaks for or against the suspected host, the source where there is one."""
    if world["risk_model"]["kind"] == FORMULA:
        return
    place = find(slots, case["source"] if case["source"] >= 0 else case["host"])
    if place >= 0:
        hosts[place]["reading"] += reading - 0.5
        rate(world, assets, env, hosts[place])


@kernel
def note_verdict(world, record):
    """A case of the host was closed as benign."""
    if world["risk_model"]["kind"] != FORMULA:
        record["cleared"] += 1.0


@kernel
def note_look(world, record, share):
    """A hunt found nothing on the host; share: of the alerts' weight that it took away."""
    if world["risk_model"]["kind"] != FORMULA:
        record["looked"] += share


@kernel
def fade(world, record):
    """A minute passes over what is kept of a host."""
    record["alerts"] *= world["alert_decay"]
    record["precision"] *= world["alert_decay"]
    record["sharpness"] *= world["alert_decay"]
    for_long = world["finding_decay"]
    record["stage"] *= for_long
    record["peer"] *= for_long
    record["reading"] *= for_long
    record["looked"] *= for_long
    record["cleared"] *= for_long


@kernel
def look_around(net, env, hosts):
    """Sums the formula's evidence over segments, and over the segments from which each can be reached."""
    for s in range(MAX_SEGMENTS):
        env["segment_evidence"][s] = 0.0
        env["segment_top"][s] = 0.0
        env["segment_second"][s] = 0.0
        env["segment_host"][s] = NEVER
    env["all_evidence"] = 0.0
    for place in range(env["num_tracked"]):
        weight = weigh(hosts[place])
        if weight > 0.0:
            add_evidence(env, hosts[place], weight)
    for s in range(net["num_segments"]):
        reach = 0.0
        for other in range(net["num_segments"]):
            if other != s and net["is_reachable"][other, s] != 0:
                reach += env["segment_evidence"][other]
        env["segment_reach"][s] = reach


@kernel
def add_evidence(env, record, weight):
    """Adds one host to its segment; of equals the lower number is first, so the order of records does not matter."""
    s, score, host = record["segment"], risk_score(weight), record["host"]
    env["segment_evidence"][s] += weight
    env["all_evidence"] += weight
    best, top = env["segment_host"][s], env["segment_top"][s]
    if best < 0 or score > top or (score == top and host < best):
        env["segment_second"][s] = top
        env["segment_top"][s] = score
        env["segment_host"][s] = host
    elif score > env["segment_second"][s]:
        env["segment_second"][s] = score


@entry_point
def read_all(worlds, all_assets, envs, all_hosts, rows):
    """Inputs of all hosts with evidence, for training. rows: (num_envs, capacity, len(INPUTS)) float64.

    Returns:
        True.
    """
    for i in range(envs.shape[0]):
        env, hosts = envs[i], all_hosts[i]
        assets = all_assets[env["network"]]
        for place in range(env["num_tracked"]):
            weight = weigh(hosts[place])
            if weight >= risk.NEGLIGIBLE:
                read_inputs(worlds[0], assets, env, hosts[place], weight, rows[i, place])
    return True
