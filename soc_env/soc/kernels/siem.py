"""The SIEM: raw events, alerts on their way, the queue of cases and its ranking, and the picture of each zone.

Everything below `ingest` sees alerts and findings only.
"""

from __future__ import annotations

import math

import numpy as np

from soc_env.engine.draws import TABLE_BITS, U20, below, bits, mix, uniform
from soc_env.engine.jit import kernel
from soc_env.soc import risk
from soc_env.soc.attack import CHANNELS
from soc_env.soc.kernels.draws import BENIGN, DELIVERY, EVENTS, NOISY
from soc_env.soc.kernels.hosts import (
    LOG_ALERT,
    LOG_CASE,
    LOG_CASE_CLOSED,
    clear_evidence,
    find,
    forget,
    log,
    risk_score,
    track,
    zone_of,
)
from soc_env.soc.kernels.rating import fade, look_around, note_alert, rate, risk_of_evidence, weigh
from soc_env.soc.kernels.state import (
    ADMIN,
    FORMULA,
    N_AUTO_CLOSED,
    N_CASES,
    N_DROPPED_CASES,
    N_EXPIRED_CASES,
    N_MISSED_CASES,
    N_RAW_EVENTS,
    N_SLA_BREACHES,
    N_TOTAL_ALERTS,
    N_TRUE_ALERTS,
    NEVER,
    PENDING_SLOTS,
    RULE_DRAWS,
)
from soc_env.soc.tables import POSTURE_TRIAGE

NETWORK_CHANNEL, IDENTITY_CHANNEL = CHANNELS.index("network"), CHANNELS.index("identity")
IDENTITY_SHARE = 0.6  # an account alert says less about the host it names
FIRST_PLACES = 8  # cases whose order is kept
SLOW_LIMIT = 12.0  # above this mean a Poisson draw is a rounded normal
ATTACH_MINUTES = 30  # an alert joins an open case of its host that is no older
# How a case ended, in the log.
ESCALATED, SUPPRESSED, MERGED, EXPIRED, DROPPED, AUTO_CLOSED = range(6)

alert_weight = kernel(risk.alert_weight)
SUSPICION_KEPT = risk.NEGLIGIBLE


@kernel
def poisson(mean, limit, key, stream, normal):
    """A Poisson draw; a rounded normal for large means. limit: exp(-mean)."""
    if mean > SLOW_LIMIT:
        z = normal[bits(key, stream, 0) & TABLE_BITS]
        return max(0, int(math.floor(mean + math.sqrt(mean) * z + 0.5)))
    product, count = 1.0, 0
    while True:
        product *= uniform(key, stream, count)
        if product <= limit:
            return count
        count += 1


@kernel
def count_events(world, net, env, key):
    """Raw events of the minute, and how unusual they are in each zone."""
    for z in range(world["num_zones"]):
        if world["is_defended"][z] == 0:
            continue
        mean = net["event_mean"][z]
        noise = 0.2 * net["event_scale"][z] * world["normal"][bits(key, EVENTS, z) & TABLE_BITS]
        count = max(0.0, math.floor(mean + noise + env["attack_events"][z] + 0.5))
        env["attack_events"][z] = 0.0
        env["counts"][N_RAW_EVENTS] += count
        env["events"][z] = min(1.0, max(-1.0, (count - mean) / net["event_scale"][z]))


@kernel
def noisy_host(net, env, k):
    """Host k of those with badly tuned rules: a function of the network alone."""
    return np.int64((mix(env["network_key"] + NOISY + np.uint64(k)) >> U20) % np.uint64(net["num_hosts"]))


@kernel
def raise_benign_alerts(world, net, assets, env, hosts, slots, logs, key):
    """What users, administrators and badly tuned rules cause in a minute."""
    count = poisson(net["benign_rate"], net["benign_limit"], key, BENIGN, world["normal"])
    for k in range(count):
        first = 16 * (k + 64)
        rule = world["benign_rule"][below(key, BENIGN, first, RULE_DRAWS)]
        if uniform(key, BENIGN, first + 1) < world["noisy_share"]:
            host = noisy_host(net, env, below(key, BENIGN, first + 2, net["num_noisy"]))
        else:
            host = below(key, BENIGN, first + 3, net["num_hosts"])
        if world["is_defended"][zone_of(net, assets, host)] == 0:
            continue
        source = -1
        row = world["rules"][rule]
        if row["channel"] == NETWORK_CHANNEL:
            source = below(key, BENIGN, first + 4, net["num_hosts"])
            if source == host:
                source = -1
        confidence = row["confidence"]
        if uniform(key, BENIGN, first + 5) >= world["lookalike_share"]:
            confidence *= 0.65
        severity = within(row["severity"] + 0.3 * (uniform(key, BENIGN, first + 6) - 0.5))
        confidence = within(confidence + 0.3 * (uniform(key, BENIGN, first + 7) - 0.5))
        ingest(world, net, assets, env, hosts, slots, logs, rule, host, source, severity, confidence, -1)


@kernel
def within(x):
    """x, kept in [0.02, 1]."""
    return min(1.0, max(0.02, x))


@kernel
def send(world, env, key, rule, host, source, severity, confidence, campaign, index):
    """An intruder's alert starts on its way to the SIEM: it may be lost, and it takes time."""
    if uniform(key, DELIVERY, index) < world["alert_drop"]:
        return
    place = env["num_pending"]
    if place >= PENDING_SLOTS:
        return
    env["num_pending"] = place + 1
    alert = env["pending"][place]
    mean = world["rules"][rule]["delay"] * world["alert_delay"]
    alert["due"] = env["step"] + int(-mean * math.log(1.0 - uniform(key, DELIVERY, index + 1)))
    alert["rule"], alert["host"], alert["source"], alert["campaign"] = rule, host, source, campaign
    alert["severity"], alert["confidence"] = severity, confidence


@kernel
def deliver(world, net, assets, env, hosts, slots, logs):
    """Alerts that are due reach the SIEM, in the order they were raised."""
    kept = 0
    for k in range(env["num_pending"]):
        alert = env["pending"][k]
        if alert["due"] <= env["step"]:
            ingest(
                world, net, assets, env, hosts, slots, logs, alert["rule"], alert["host"], alert["source"],
                alert["severity"], alert["confidence"], alert["campaign"],
            )  # fmt: skip
        else:
            if kept != k:
                env["pending"][kept] = alert
            kept += 1
    env["num_pending"] = kept


@kernel
def ingest(world, net, assets, env, hosts, slots, logs, rule, host, source, severity, confidence, campaign):
    """An alert reaches the SIEM: it weighs on its hosts and joins or opens a case. campaign: whose it is (truth)."""
    env["counts"][N_TOTAL_ALERTS] += 1.0
    env["counts"][N_TRUE_ALERTS] += 1.0 if campaign >= 0 else 0.0
    log(env, logs, LOG_ALERT, rule, host, source, campaign, severity, confidence)
    channel = world["rules"][rule]["channel"]
    weight = alert_weight(severity, confidence)
    place = track(net, assets, env, hosts, slots, host)
    if place >= 0:
        record = hosts[place]
        if channel == NETWORK_CHANNEL:
            record["target"] += weight
        else:
            record["process"] += weight * (IDENTITY_SHARE if channel == IDENTITY_CHANNEL else 1.0)
            if world["rules"][rule]["shows_process"] != 0:
                show_process(record, campaign)
        record["last_alert"] = env["step"]
        note_alert(world, hosts, slots, record, rule, confidence, source)
        rate(world, assets, env, record)
    if source >= 0:
        place = track(net, assets, env, hosts, slots, source)
        if place >= 0:
            record = hosts[place]
            record["source"] += weight
            record["last_alert"] = env["step"]
            note_alert(world, hosts, slots, record, rule, confidence, host)
            rate(world, assets, env, record)
    case_for(world, net, assets, env, hosts, slots, logs, rule, host, source, severity, confidence, campaign)


@kernel
def show_process(record, campaign):
    """An alert names a process of the host; campaign: whose alert it is (truth)."""
    record["has_process"] = 1
    if record["level"] > 0 and campaign >= 0 and record["campaign"] == campaign:
        record["is_exposed"] = 1


@kernel
def case_for(world, net, assets, env, hosts, slots, logs, rule, host, source, severity, confidence, campaign):
    """Joins an open case of the same host and kind, or opens one; a full queue drops its lowest-ranked."""
    place = place_to_join(world, env, rule, host, source)
    if place >= 0:
        attach(env["cases"][place], rule, source, severity, confidence, campaign)
        return
    zone = zone_of(net, assets, host)
    rank = case_rank(world, env, hosts, slots, host, source, zone, severity, confidence, 0)
    if rank < world["auto_close"] * (1.0 + env["directive"][world["num_zones"] + POSTURE_TRIAGE]):
        env["counts"][N_AUTO_CLOSED] += 1.0
        env["recent_closures"] += 1.0
        turn_away(env, logs, AUTO_CLOSED, campaign)
        return
    if env["num_cases"] >= world["queue_capacity"]:
        env["counts"][N_DROPPED_CASES] += 1.0
        env["recent_drops"] += 1.0
        worst = lowest_ranked(env)
        if env["cases"][worst]["rank"] >= rank:
            turn_away(env, logs, DROPPED, campaign)
            return
        env["counts"][N_MISSED_CASES] += env["cases"][worst]["is_true"]
        close_case(env, logs, worst, DROPPED)
    open_case(env, logs, rule, host, source, zone, severity, confidence, rank, campaign)


@kernel
def place_to_join(world, env, rule, host, source):
    """Place of the first open case that an alert belongs to, -1 if there is none."""
    is_network = world["rules"][rule]["channel"] == NETWORK_CHANNEL
    for k in range(env["num_cases"]):
        case = env["cases"][k]
        is_same_kind = (world["rules"][case["rule"]]["channel"] == NETWORK_CHANNEL) == is_network
        is_same_source = case["source"] < 0 or source < 0 or case["source"] == source
        is_recent = env["step"] - case["opened"] <= ATTACH_MINUTES
        if case["host"] == host and is_same_kind and is_same_source and is_recent:
            return k
    return -1


@kernel
def turn_away(env, logs, how, campaign):
    """An alert never becomes a case."""
    env["counts"][N_MISSED_CASES] += 1.0 if campaign >= 0 else 0.0
    log(env, logs, LOG_CASE_CLOSED, -1, how, 1 if campaign >= 0 else 0, 0, 0.0, 0.0)


@kernel
def lowest_ranked(env):
    """Place of the open case with the lowest rank, the oldest among equals."""
    worst = 0
    for k in range(1, env["num_cases"]):
        if env["cases"][k]["rank"] < env["cases"][worst]["rank"]:
            worst = k
    return worst


@kernel
def open_case(env, logs, rule, host, source, zone, severity, confidence, rank, campaign):
    """A new case at the end of the queue."""
    case = env["cases"][env["num_cases"]]
    env["num_cases"] += 1
    case["id"] = env["next_case"]
    env["next_case"] += 1
    case["host"], case["source"], case["zone"], case["rule"] = host, source, zone, rule
    case["num_alerts"], case["opened"] = 1, env["step"]
    case["severity"], case["confidence"], case["rank"] = severity, confidence, rank
    case["enriched"], case["is_overdue"] = 0, 0
    case["reading"], case["second_reading"] = 0.5, 0.5
    case["is_true"] = 1 if campaign >= 0 else 0
    case["campaign"] = campaign
    env["counts"][N_CASES] += 1.0
    log(env, logs, LOG_CASE, case["id"], rule, host, case["is_true"], severity, confidence)


@kernel
def attach(case, rule, source, severity, confidence, campaign):
    """An alert joins an open case."""
    case["num_alerts"] += 1
    if severity > case["severity"]:
        case["severity"] = severity
        case["rule"] = rule
    case["confidence"] = 1.0 - (1.0 - case["confidence"]) * (1.0 - 0.5 * confidence)
    if case["source"] < 0:
        case["source"] = source
    if campaign >= 0:
        case["is_true"] = 1
        case["campaign"] = campaign


@kernel
def close_case(env, logs, place, how):
    """Takes a case out of the queue; the others keep their order."""
    log(env, logs, LOG_CASE_CLOSED, env["cases"][place]["id"], how, env["cases"][place]["is_true"], 0, 0.0, 0.0)
    for k in range(place, env["num_cases"] - 1):
        env["cases"][k] = env["cases"][k + 1]
    env["num_cases"] -= 1


@kernel
def case_rank(world, env, hosts, slots, host, source, zone, severity, confidence, age):
    """SIEM rank of a case in [0, 1.2]: severity, confidence, risk of its hosts, the coordinator's priority, age."""
    worst = 0.0
    place = find(slots, host)
    if place >= 0:
        worst = hosts[place]["risk"]
    if source >= 0:
        place = find(slots, source)
        if place >= 0:
            worst = max(worst, hosts[place]["risk"])
    priority = 0.5 * (1.0 + env["directive"][zone])
    return 0.3 * severity + 0.3 * confidence + 0.25 * worst + 0.15 * priority + 0.2 * min(1.0, age / 60.0)


@kernel
def work_queue(world, env, hosts, slots, logs):
    """A minute passes in the queue: cases age, breach the service level, expire; the rest are ranked anew."""
    k = 0
    while k < env["num_cases"]:
        case = env["cases"][k]
        age = env["step"] - case["opened"]
        if age >= world["sla_minutes"] and case["is_overdue"] == 0:
            case["is_overdue"] = 1
            env["counts"][N_SLA_BREACHES] += 1.0
        if age >= world["case_expiry"]:
            env["counts"][N_EXPIRED_CASES] += 1.0
            env["counts"][N_MISSED_CASES] += case["is_true"]
            close_case(env, logs, k, EXPIRED)
            continue
        case["rank"] = case_rank(
            world, env, hosts, slots, case["host"], case["source"], case["zone"], case["severity"],
            case["confidence"], age,
        )  # fmt: skip
        insert(env, k, case["rank"])
        k += 1
    env["recent_drops"] *= 0.9
    env["recent_closures"] *= 0.9
    env["recent_encryptions"] *= 0.9


@kernel
def insert(env, k, rank):
    """Puts case k, the last looked at, into order[:FIRST_PLACES], best rank first, older ones first among equals."""
    order, place = env["order"], min(k, FIRST_PLACES)
    while place > 0 and env["cases"][order[place - 1]]["rank"] < rank:
        if place < FIRST_PLACES:
            order[place] = order[place - 1]
        place -= 1
    if place < FIRST_PLACES:
        order[place] = k


@kernel
def summarise(world, net, assets, env, hosts, slots):
    """Decays suspicion, forgets hosts without any, and draws the picture of each zone that agents and tools use."""
    clear_pictures(world, env)
    alert_decay, finding_decay = world["alert_decay"], world["finding_decay"]
    has_model = world["risk_model"]["kind"] != FORMULA
    place = 0
    while place < env["num_tracked"]:
        record = hosts[place]
        record["process"] *= alert_decay
        record["target"] *= alert_decay
        record["source"] *= alert_decay
        record["finding"] *= finding_decay
        record["verdict"] *= finding_decay
        if record["known_level"] != 0 and not stands(record["finding"]):
            record["known_level"] = 0
        weight = weigh(record)
        if weight < SUSPICION_KEPT:
            is_quiet = record["is_isolated"] == 0 and record["is_offline"] == 0 and not is_worked_on(env, record)
            is_clean = record["level"] == 0 and record["campaign"] < 0 and record["is_encrypted"] == 0
            if is_clean and is_quiet:
                forget(env, hosts, slots, place)
                continue
            clear_record(record, is_quiet)
            weight = 0.0
        place += 1
        if has_model:
            fade(world, record)
        else:
            record["risk"] = risk_score(weight)
            picture(world, env, record, weight)
    if has_model:
        look_around(net, env, hosts)
        for place in range(env["num_tracked"]):
            record = hosts[place]
            weight = weigh(record)
            record["risk"] = risk_of_evidence(world, assets, env, record, weight)
            picture(world, env, record, weight)
    for k in range(env["num_cases"]):
        case = env["cases"][k]
        env["zone_cases"][case["zone"]] += 1
        env["oldest_case"][case["zone"]] = max(env["oldest_case"][case["zone"]], env["step"] - case["opened"])


@kernel
def clear_pictures(world, env):
    """Nothing is seen of any zone."""
    for z in range(world["num_zones"]):
        env["top_risk"][z] = 0.0
        env["second_risk"][z] = 0.0
        env["top_host"][z] = -1
        env["isolated_host"][z] = -1
        env["isolated_risk"][z] = 0.0
        env["least_host"][z] = -1
        env["least_risk"][z] = 1.0
        env["suspects"][z] = 0
        env["evidence"][z] = 0.0
        env["sources"][z] = 0.0
        env["incidents"][z] = 0
        env["findings_standing"][z] = 0
        env["isolated"][z] = 0
        env["offline"][z] = 0
        env["zone_cases"][z] = 0
        env["oldest_case"][z] = 0
        env["admin_findings"][z] = 0
        env["top_level"][z] = 0
        env["killable"][z] = 0
        env["kill_host"][z] = -1
        env["kill_risk"][z] = 0.0


@kernel
def clear_record(record, is_quiet):
    """A host that is kept on record for another reason must look like one without a record: no evidence."""
    clear_evidence(record)
    if is_quiet:
        record["last_alert"] = NEVER
        record["last_hunt"] = NEVER
        record["is_collected"] = 0


@kernel
def is_worked_on(env, record):
    """Whether a SOAR job on the host is under way: it needs the record to take effect."""
    return env["job_tool"][record["zone"]] >= 0 and env["job_host"][record["zone"]] == record["host"]


@kernel
def stands(weight):
    """Whether a finding or a verdict still stands."""
    return weight >= 0.5


@kernel
def is_better(risk_a, host_a, risk_b, host_b):
    """Order of suspects: by risk, the lower host number among equals, so that the order of records does not matter."""
    return risk_a > risk_b or (risk_a == risk_b and host_a < host_b)


@kernel
def can_kill(record):
    """Whether kill_process would be admitted where findings have levels."""
    return record["has_process"] != 0 and record["known_level"] != ADMIN and record["is_offline"] == 0


@kernel
def picture_levels(env, record, z, host, score):
    """Adds what EDR says of a host's level, and whether it has a process to kill."""
    env["admin_findings"][z] += 1 if record["known_level"] == ADMIN else 0
    if can_kill(record):
        env["killable"][z] += 1
        if env["kill_host"][z] < 0 or is_better(score, host, env["kill_risk"][z], env["kill_host"][z]):
            env["kill_host"][z] = host
            env["kill_risk"][z] = score


@kernel
def picture(world, env, record, weight):
    """Adds one host to the picture of its zone. One with a standing admin finding is more suspect than all without."""
    z, host, score = record["zone"], record["host"], record["risk"]
    if weight > 0.0:
        env["evidence"][z] += weight
        env["sources"][z] = max(env["sources"][z], record["source"])
        env["suspects"][z] += 1 if score > 0.5 else 0
        env["incidents"][z] += 1 if stands(record["verdict"]) else 0
        env["findings_standing"][z] += 1 if stands(record["finding"]) else 0
        if world["has_levels"] != 0:
            picture_levels(env, record, z, host, score)
    if record["is_offline"] != 0:
        env["offline"][z] += 1
    elif record["is_isolated"] != 0:
        env["isolated"][z] += 1
        if env["isolated_host"][z] < 0 or is_better(score, host, env["isolated_risk"][z], env["isolated_host"][z]):
            env["isolated_host"][z] = host
            env["isolated_risk"][z] = score
        if env["least_host"][z] < 0 or is_better(env["least_risk"][z], env["least_host"][z], score, host):
            env["least_host"][z] = host
            env["least_risk"][z] = score
    elif weight > 0.0:
        rank = score + (1.0 if record["known_level"] == ADMIN else 0.0)
        top = env["top_risk"][z] + (1.0 if env["top_level"][z] == ADMIN else 0.0)
        if env["top_host"][z] < 0 or is_better(rank, host, top, env["top_host"][z]):
            env["second_risk"][z] = max(env["top_risk"][z], env["second_risk"][z])
            env["top_risk"][z] = score
            env["top_host"][z] = host
            env["top_level"][z] = record["known_level"]
        elif score > env["second_risk"][z]:
            env["second_risk"][z] = score
