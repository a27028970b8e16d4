"""Hosts with something on record: finding and forgetting them, and every change of what they are.

Nothing else writes `hosts` and `slots`, the counters of services and users, or the log.
"""

from __future__ import annotations

from soc_env.engine.jit import kernel
from soc_env.soc import risk
from soc_env.soc.kernels.state import LOG_KINDS, N_BLAST_RADIUS, NEVER

(
    LOG_CALL, LOG_COMPLETED, LOG_ALERT, LOG_CASE, LOG_CASE_CLOSED, LOG_CAMPAIGN, LOG_COMPROMISE, LOG_CLEANED,
    LOG_DAMAGE, LOG_FINDING, LOG_CLEARING, LOG_DETECTION, LOG_WORK, LOG_ACTION,
) = range(len(LOG_KINDS))  # fmt: skip

evidence = kernel(risk.evidence)
risk_score = kernel(risk.risk_score)


@kernel
def log(env, logs, kind, a, b, c, d, x, y):
    """Appends to the episode's log where one is kept; a full log keeps its beginning."""
    place = env["num_log"]
    if place < logs.shape[0]:
        entry = logs[place]
        entry["step"], entry["kind"] = env["step"], kind
        entry["a"], entry["b"], entry["c"], entry["d"], entry["x"], entry["y"] = a, b, c, d, x, y
        env["num_log"] = place + 1


@kernel
def zone_of(net, assets, host):
    """Zone of a host."""
    return net["segment_zone"][assets[host]["segment"]]


@kernel
def zone_factor(world, net, env, zone):
    """Business value of a zone in the present mission phase."""
    phase = min(world["num_phases"] - 1, env["step"] * world["num_phases"] // world["max_steps"])
    return net["zone_value"][zone] * world["phase_factor"][phase, zone]


@kernel
def find(slots, host):
    """Place of a host's record, -1 if it has none."""
    return slots[host] - 1


@kernel
def track(net, assets, env, hosts, slots, host):
    """Place of a host's record, made if missing; -1 if the table is full."""
    place = slots[host] - 1
    if place >= 0:
        return place
    place = env["num_tracked"]
    if place >= hosts.shape[0]:
        return -1
    env["num_tracked"] = place + 1
    slots[host] = place + 1
    record = hosts[place]
    record["host"] = host
    record["segment"] = assets[host]["segment"]
    record["zone"] = net["segment_zone"][assets[host]["segment"]]
    record["level"] = 0
    record["campaign"] = -1
    record["is_persistent"] = 0
    record["is_encrypted"] = 0
    record["since"] = NEVER
    record["is_detected"] = 0
    record["is_credited"] = 0
    record["is_exposed"] = 0
    record["is_isolated"] = 0
    record["is_offline"] = 0
    record["last_alert"] = NEVER
    record["last_hunt"] = NEVER
    clear_suspicion(record)
    return place


@kernel
def clear_suspicion(record):
    """Forgets all that speaks against a host."""
    record["risk"] = 0.0
    record["is_collected"] = 0
    clear_evidence(record)


@kernel
def clear_evidence(record):
    """Forgets the weights, and what is kept for a risk model, see rating.py."""
    record["process"] = 0.0
    record["target"] = 0.0
    record["source"] = 0.0
    record["finding"] = 0.0
    record["verdict"] = 0.0
    record["alerts"] = 0.0
    record["precision"] = 0.0
    record["sharpness"] = 0.0
    record["stage"] = 0.0
    record["peer"] = 0.0
    record["reading"] = 0.0
    record["looked"] = 0.0
    record["cleared"] = 0.0
    record["rules_seen"] = 0
    record["has_process"] = 0
    record["known_level"] = 0


@kernel
def forget(env, hosts, slots, place):
    """Drops a record; the last one takes its place."""
    last = env["num_tracked"] - 1
    slots[hosts[place]["host"]] = 0
    if place != last:
        hosts[place] = hosts[last]
        slots[hosts[place]["host"]] = place + 1
    env["num_tracked"] = last


@kernel
def forget_all(env, hosts, slots):
    """No host is on record."""
    for place in range(env["num_tracked"]):
        slots[hosts[place]["host"]] = 0
    env["num_tracked"] = 0


@kernel
def is_quiet(record):
    """Whether response leaves the host alone: it is up and on the network."""
    return record["is_isolated"] == 0 and record["is_offline"] == 0


@kernel
def is_live(record):
    """Whether an intruder can use the host now."""
    return record["level"] > 0 and is_quiet(record)


@kernel
def is_cut(record):
    """Whether the host's service and users go without it."""
    return record["is_isolated"] != 0 or record["is_offline"] != 0 or record["is_encrypted"] != 0


@kernel
def count_cut(assets, env, record, was_cut):
    """Adds the host to, or takes it from, what services and users miss, if that has changed."""
    is_now = is_cut(record)
    if is_now == was_cut:
        return
    change = 1 if is_now else -1
    asset = assets[record["host"]]
    env["users_cut"] += change * asset["users"]
    env["num_cut"] += change
    if asset["service"] >= 0:
        env["service_down"][asset["service"]] += change


@kernel
def set_isolated(assets, env, record, value):
    """Cuts a host off, or puts it back."""
    before = is_cut(record)
    record["is_isolated"] = value
    count_cut(assets, env, record, before)


@kernel
def set_offline(assets, env, record, value):
    """Takes a host down for rebuilding, or up again."""
    before = is_cut(record)
    record["is_offline"] = value
    count_cut(assets, env, record, before)


@kernel
def set_encrypted(assets, env, record, value):
    """An intruder destroys a host, or a rebuild repairs it."""
    before = is_cut(record)
    record["is_encrypted"] = value
    count_cut(assets, env, record, before)


@kernel
def compromise(env, logs, record, campaign, level):
    """An intruder takes a host."""
    if record["level"] == 0:
        record["since"] = env["step"]
        record["is_detected"] = 0
        record["is_credited"] = 0
        record["is_exposed"] = 0
        env["counts"][N_BLAST_RADIUS] += 1.0
    record["level"] = level
    record["campaign"] = campaign
    log(env, logs, LOG_COMPROMISE, record["host"], campaign, level, 0, 0.0, 0.0)


@kernel
def notice_detection(env, assets, logs, record):
    """First time that this compromise is escalated or found: the detection reward."""
    log(env, logs, LOG_DETECTION, record["host"], record["campaign"], 0, 0, 0.0, 0.0)
    if record["is_detected"] == 0:
        record["is_detected"] = 1
        env["term_detection"] += 1.0 + assets[record["host"]]["value"]
    campaign = env["campaigns"][record["campaign"]]
    if campaign["detected"] < 0:
        campaign["detected"] = env["step"]


@kernel
def credit_response(env, assets, record):
    """First time that this compromise is contained: the response reward. Its intruder notices."""
    if record["is_credited"] == 0:
        record["is_credited"] = 1
        age = env["step"] - record["since"]
        env["term_response"] += (1.0 + assets[record["host"]]["value"]) / (1.0 + age / 30.0)
    env["campaigns"][record["campaign"]]["has_hosts_lost"] = 1


@kernel
def clean(env, assets, logs, record, is_complete):
    """An intruder loses a host; without `is_complete` its persistence stays and may bring it back."""
    credit_response(env, assets, record)
    log(env, logs, LOG_CLEANED, record["host"], record["campaign"], is_complete, 0, 0.0, 0.0)
    record["level"] = 0
    if is_complete or record["is_persistent"] == 0:
        record["is_persistent"] = 0
        record["campaign"] = -1
