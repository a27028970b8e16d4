"""The SIEM, EDR and SOAR tools: action vectors decoded into calls, calls carried out, jobs that take their time.

`decode` reads only what the SOC knows. A call names its tool, its target (a case's id, a zone, a host, or 0 for the
network), for hunting its level and depth, and afterwards its outcome.
"""

from __future__ import annotations

import numpy as np

from soc_env.engine.draws import below, uniform
from soc_env.engine.jit import kernel
from soc_env.soc import risk
from soc_env.soc.attack import ROLES
from soc_env.soc.kernels.draws import APPROVAL, ENRICHMENT, EXAMINE, FINDING, FORENSICS, INTEL, JOB, STRAY
from soc_env.soc.kernels.hosts import (
    LOG_ACTION,
    LOG_CALL,
    LOG_CLEARING,
    LOG_COMPLETED,
    LOG_FINDING,
    LOG_WORK,
    clean,
    clear_suspicion,
    credit_response,
    find,
    log,
    notice_detection,
    set_encrypted,
    set_isolated,
    set_offline,
    track,
    zone_of,
)
from soc_env.soc.kernels.siem import ESCALATED, MERGED, SUPPRESSED, close_case, rate, stands
from soc_env.soc.kernels.state import (
    CALL_SLOTS,
    N_ACTIONS,
    N_ANALYST_MINUTES,
    N_FALSE_FINDINGS,
    N_FALSE_POSITIVES,
    N_FINDINGS,
    N_MISSED_CASES,
    N_TRUE_NEGATIVES,
    N_TRUE_POSITIVES,
    NEVER,
)
from soc_env.soc.tables import (
    BLOCK_PERIMETER,
    BUSY,
    COLLECT_FORENSICS,
    CORRELATE,
    DEEP_SCAN,
    DENIED,
    DEPLOY_DECOY,
    DONE,
    ENRICH,
    ESCALATE,
    FAILED,
    HUNT,
    INTEL_PERIOD,
    INTEL_SWEEP,
    ISOLATE,
    KILL,
    MAX_DECOYS,
    NO_TIME,
    QUERY,
    REFUSED,
    REIMAGE,
    RELEASE,
    RESET_CREDENTIALS,
    RESET_PERIOD,
    STARTED,
    SUPPRESS,
    UNBLOCK_PERIMETER,
)

DOMAIN_CONTROLLER = ROLES.index("domain_controller")
CRITICAL_VALUE = 0.9  # hosts from this value on need approval for high-risk actions
POSTURE_HUNT, POSTURE_TRIAGE, POSTURE_RESPONSE = range(3)  # after the priorities in the directive
NO_EFFORT = 0.05  # effort below this is no hunt
DEEP = 0.5  # scan depth from which a hunt is a deep scan
STRAY_WEIGHT = 0.02  # a host without a record draws as much of a hunt as a risk score of this size
LOOK_AGAIN = 5  # minutes before a host is examined again
# Levels of the response's entries.
RELEASE_BELOW, ISOLATE_ABOVE, BLIND_ABOVE = 0.25, 0.75, 0.98
KILL_ABOVE, REIMAGE_ABOVE = 0.5, 0.75
RISK_FLOOR = 0.1  # risk below which SOAR does nothing: no more than one weak alert
MAX_ANALYST_TIME = 8.0  # minutes that triage can have in hand
KNOWN_FINDS, UNKNOWN_FINDS = 0.6, 0.03  # an intel sweep, per host of an intruder with and without known indicators

SUSPICION, CONFIRMATION = risk.SUSPICION, risk.CONFIRMATION
VERDICT, SIDE_VERDICT = risk.VERDICT, risk.SIDE_VERDICT


# ---- actions -> calls
@kernel
def level(action):
    """An action entry as a level in [0, 1]."""
    return (min(1.0, max(-1.0, np.float64(action))) + 1.0) * 0.5


@kernel
def hold_directive(world, env, action):
    """On decision steps the coordinator's action becomes the directive; otherwise the old one stays in force."""
    if (env["step"] - 1) % world["coordinator_period"] == 0:
        for k in range(world["num_zones"] + 3):
            env["directive"][k] = min(1.0, max(-1.0, np.float64(action[k])))


@kernel
def add_call(env, tool, target, effort, depth):
    """Appends a call; there is room for all that actions can ask for."""
    place = env["num_calls"]
    if place >= CALL_SLOTS:
        return
    call = env["calls"][place]
    call["tool"], call["target"], call["level"], call["depth"], call["outcome"] = tool, target, effort, depth, REFUSED
    env["num_calls"] = place + 1


@kernel
def can_triage(env):
    """Whether triage's choice matters: there is a case and there is time."""
    return env["num_cases"] > 0 and env["analyst_time"] > 0.0


@kernel
def decode_triage(env, choice):
    """Triage works on the best-ranked case; 'enrich' on an enriched case is a query."""
    if not can_triage(env):
        return
    case = env["cases"][env["order"][0]]
    tool = ESCALATE
    if choice == 1:
        tool = SUPPRESS
    elif choice == 2:
        tool = CORRELATE
    elif choice == 3:
        tool = ENRICH if case["enriched"] == 0 else QUERY
    add_call(env, tool, case["id"], 0.0, 0.0)


@kernel
def decode_hunter(world, env, hosts, action):
    """Hunts, decoys, sweeps; forensics on a fresh finding in a zone that is scanned deeply."""
    zones = world["num_zones"]
    for z in range(zones):
        if world["is_defended"][z] == 0:
            continue
        effort, depth = level(action[z]), level(action[zones + z])
        if effort > NO_EFFORT:
            add_call(env, DEEP_SCAN if depth > DEEP else HUNT, z, effort, depth)
            if depth > DEEP and env["findings_standing"][z] > 0:
                host = uncollected(env, hosts, z)
                if host >= 0:
                    add_call(env, COLLECT_FORENSICS, host, 0.0, 0.0)
        if level(action[2 * zones + z]) > 0.5 and num_decoys(env, z) < MAX_DECOYS:
            add_call(env, DEPLOY_DECOY, z, 0.0, 0.0)
    if level(action[3 * zones]) > 0.5 and env["step"] >= env["intel_allowed"]:
        add_call(env, INTEL_SWEEP, 0, 0.0, 0.0)


@kernel
def uncollected(env, hosts, z):
    """Lowest-numbered host of the zone with a finding and no forensics yet; -1 if there is none."""
    best = -1
    for place in range(env["num_tracked"]):
        record = hosts[place]
        is_due = record["zone"] == z and stands(record["finding"]) and record["is_collected"] == 0
        if is_due and (best < 0 or record["host"] < best):
            best = record["host"]
    return best


@kernel
def num_decoys(env, z):
    """Decoys of a zone, standing or being deployed."""
    count = 0
    for k in range(MAX_DECOYS):
        count += 1 if env["decoy_ready"][z, k] >= 0 else 0
    return count


@kernel
def decode_response(world, net, env, hosts, slots, action):
    """Containment first, then remediation, one call a zone and minute; then the perimeter and credentials.

    A level says what to do, not to whom and not when: the tool takes the most suspect host, however little speaks
    against it. Whether that host is suspect enough is for the agent to
    read, so no constant action can do it.
    """
    zones = world["num_zones"]
    for z in range(zones):
        if env["job_tool"][z] >= 0 or world["is_defended"][z] == 0:
            continue
        contain, remediate = level(action[z]), level(action[zones + z])
        if contain > ISOLATE_ABOVE and call_isolation(net, env, hosts, slots, z, contain > BLIND_ABOVE):
            continue
        if remediate > KILL_ABOVE and call_remediation(env, z, remediate > REIMAGE_ABOVE):
            continue
        if contain < RELEASE_BELOW and env["least_host"][z] >= 0:
            add_call(env, RELEASE, env["least_host"][z], 0.0, 0.0)
    is_wanted = level(action[2 * zones]) > 0.5
    if is_wanted and env["perimeter"] == 0:
        add_call(env, BLOCK_PERIMETER, 0, 0.0, 0.0)
    elif not is_wanted and env["perimeter"] == 2:
        add_call(env, UNBLOCK_PERIMETER, 0, 0.0, 0.0)
    if level(action[2 * zones + 1]) > 0.5 and env["step"] >= env["reset_allowed"]:
        add_call(env, RESET_CREDENTIALS, 0, 0.0, 0.0)


@kernel
def call_isolation(net, env, hosts, slots, z, is_blind):
    """Isolates the zone's most suspect host; blindly, without any suspect, the next host that is on the network."""
    if env["top_host"][z] >= 0 and env["top_risk"][z] >= RISK_FLOOR:
        add_call(env, ISOLATE, env["top_host"][z], 0.0, 0.0)
        return True
    if not is_blind:
        return False
    first, size = net["zone_start"][z], net["zone_start"][z + 1] - net["zone_start"][z]
    for _ in range(min(size, 64)):
        host = first + env["blind_next"][z] % size
        env["blind_next"][z] += 1
        place = find(slots, host)
        if place < 0 or (hosts[place]["is_isolated"] == 0 and hosts[place]["is_offline"] == 0):
            add_call(env, ISOLATE, host, 0.0, 0.0)
            return True
    return False


@kernel
def call_remediation(env, z, is_reimage):
    """Reimages or kills on the more suspect of the zone's most suspect isolated host and its most suspect other one."""
    host, score = env["isolated_host"][z], env["isolated_risk"][z]
    if host < 0 or (env["top_host"][z] >= 0 and env["top_risk"][z] > score):
        host, score = env["top_host"][z], env["top_risk"][z]
    if host < 0 or score < RISK_FLOOR:
        return False
    add_call(env, REIMAGE if is_reimage else KILL, host, 0.0, 0.0)
    return True


# ---- calls -> effects
@kernel
def carry_out(world, net, assets, env, hosts, slots, logs, key):
    """All calls of this minute, in order; then the hunts share the hunters' capacity."""
    share = hunt_share(world, env)
    env["analyst_time"] = min(MAX_ANALYST_TIME, env["analyst_time"] + world["analysts"] * (1.0 - share))
    effort = 0.0
    for k in range(env["num_calls"]):
        call = env["calls"][k]
        tool = call["tool"]
        if tool <= QUERY:
            call["outcome"] = work_case(world, net, assets, env, hosts, slots, logs, key, tool, call["target"])
        elif (tool in (HUNT, DEEP_SCAN)) and world["is_defended"][call["target"]] == 0:
            call["outcome"] = REFUSED
        elif tool in (HUNT, DEEP_SCAN):
            effort += call["level"] * hunt_weight(env, call["target"])
            call["outcome"] = DONE
        elif tool == DEPLOY_DECOY:
            call["outcome"] = deploy_decoy(world, env, call["target"])
        elif tool == INTEL_SWEEP:
            call["outcome"] = sweep(world, assets, env, hosts, logs, key)
        elif tool == COLLECT_FORENSICS:
            call["outcome"] = collect(world, env, hosts, slots, key, call["target"])
        elif tool <= REIMAGE:
            call["outcome"] = start_job(world, net, assets, env, hosts, slots, logs, key, tool, call["target"])
        else:
            call["outcome"] = change_network(world, env, key, tool)
        log(env, logs, LOG_CALL, tool, call["target"], call["outcome"], 0, call["level"], call["depth"])
    if effort > 0.0:
        for z in range(world["num_zones"]):
            env["looks"][z] = 0.0
        for k in range(env["num_calls"]):
            call = env["calls"][k]
            if (call["tool"] == HUNT or call["tool"] == DEEP_SCAN) and call["outcome"] == DONE:
                z, depth = call["target"], call["depth"]
                portion = call["level"] * hunt_weight(env, z) / max(1.0, effort)
                env["looks"][z] = net["hunt_capacity"] * 2.0 * share * portion * (1.0 - 0.7 * depth)
                env["depth"][z] = depth
        hunt(world, net, assets, env, hosts, slots, logs, key)
        spend(world, env, world["analysts"] * share * min(1.0, effort))


@kernel
def hunt_share(world, env):
    """Analysts' share for hunting."""
    return 0.5 + 0.25 * env["directive"][world["num_zones"] + POSTURE_HUNT]


@kernel
def hunt_weight(env, z):
    """What the coordinator's priority makes of hunting effort in a zone."""
    return 1.0 + 0.5 * env["directive"][z]


@kernel
def spend(world, env, minutes):
    """Analysts' time costs."""
    env["counts"][N_ANALYST_MINUTES] += minutes
    env["effort_now"] += world["analyst_loss"] * minutes


@kernel
def place_of(env, case_id):
    """Place of an open case, -1 if it is closed."""
    for k in range(env["num_cases"]):
        if env["cases"][k]["id"] == case_id:
            return k
    return -1


@kernel
def work_case(world, net, assets, env, hosts, slots, logs, key, tool, case_id):
    """One triage decision."""
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
    if case["is_true"] != 0:
        campaign = env["campaigns"][case["campaign"]]
        if campaign["acknowledged"] < 0 and campaign["start"] >= 0:
            campaign["acknowledged"] = env["step"]
    if tool == ESCALATE:
        escalate(world, net, assets, env, hosts, slots, logs, case)
        close_case(env, logs, place, ESCALATED)
    elif tool == SUPPRESS:
        env["counts"][N_MISSED_CASES] += case["is_true"]
        env["counts"][N_TRUE_NEGATIVES] += 1 - case["is_true"]
        calm(hosts, slots, case["host"])
        calm(hosts, slots, case["source"])
        close_case(env, logs, place, SUPPRESSED)
    elif tool == CORRELATE:
        merge(world, env, logs, place)
    else:
        read_context(env, key, case, tool)
    return DONE


@kernel
def escalate(world, net, assets, env, hosts, slots, logs, case):
    """A verdict: the suspected host is the source where there is one, else the target."""
    env["counts"][N_TRUE_POSITIVES] += case["is_true"]
    if case["is_true"] == 0:
        env["counts"][N_FALSE_POSITIVES] += 1.0
        env["term_false"] += 0.25
        env["disruption_now"] += world["false_verdict_loss"]
    accuse(net, assets, env, hosts, slots, logs, case["host"], SIDE_VERDICT if case["source"] >= 0 else VERDICT)
    if case["source"] >= 0:
        accuse(net, assets, env, hosts, slots, logs, case["source"], VERDICT)


@kernel
def accuse(net, assets, env, hosts, slots, logs, host, weight):
    """A verdict weighs on a host."""
    place = track(net, assets, env, hosts, slots, host)
    if place < 0:
        return
    record = hosts[place]
    record["verdict"] = min(2.0 * VERDICT, record["verdict"] + weight)
    rate(record)
    if record["level"] > 0 and weight == VERDICT:
        notice_detection(env, assets, logs, record)


@kernel
def calm(hosts, slots, host):
    """A benign verdict takes most of the alerts' weight off a host."""
    if host < 0:
        return
    place = find(slots, host)
    if place >= 0:
        record = hosts[place]
        record["process"] *= 0.3
        record["target"] *= 0.3
        record["source"] *= 0.3
        rate(record)


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
    """A noisy reading of whether the case is malicious; the query's is sharper than the enrichment's."""
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


# ---- EDR
@kernel
def hunt(world, net, assets, env, hosts, slots, logs, key):
    """Examines `looks` hosts of each zone, each in proportion to its risk score; a deep scan fewer, but better."""
    for z in range(world["num_zones"]):
        if env["looks"][z] > 0.0:
            env["last_hunt"][z] = env["step"]
            env["hunt_total"][z] = STRAY_WEIGHT * (net["zone_start"][z + 1] - net["zone_start"][z])
    num_tracked = env["num_tracked"]
    for place in range(num_tracked):
        record = hosts[place]
        if env["looks"][record["zone"]] > 0.0 and is_due(env, record):
            env["hunt_total"][record["zone"]] += record["risk"]
    for place in range(num_tracked):
        record = hosts[place]
        z = record["zone"]
        if env["looks"][z] <= 0.0 or not is_due(env, record):
            continue
        if uniform(key, EXAMINE, record["host"]) * env["hunt_total"][z] < env["looks"][z] * (
            record["risk"] + STRAY_WEIGHT
        ):
            false_chance = world["false_finding"] * (1.0 + 2.0 * env["depth"][z])
            examine(assets, env, logs, key, record, env["depth"][z], false_chance)
    for z in range(world["num_zones"]):
        if env["looks"][z] > 0.0:
            find_by_mistake(world, net, assets, env, hosts, slots, logs, key, z)


@kernel
def find_by_mistake(world, net, assets, env, hosts, slots, logs, key, z):
    """Hosts without a record are all clean; one of them may look odd."""
    size = net["zone_start"][z + 1] - net["zone_start"][z]
    strays = env["looks"][z] * STRAY_WEIGHT * size / env["hunt_total"][z]
    if uniform(key, STRAY, 2 * z) >= min(0.5, strays * world["false_finding"] * (1.0 + 2.0 * env["depth"][z])):
        return
    host = net["zone_start"][z] + below(key, STRAY, 2 * z + 1, max(1, size))
    if find(slots, host) < 0:
        place = track(net, assets, env, hosts, slots, host)
        if place >= 0:
            find_something(env, logs, hosts[place], SUSPICION, 0)


@kernel
def is_due(env, record):
    """Whether a hunt would look at the host: it is up, and nobody has just looked."""
    return record["is_offline"] == 0 and (record["last_hunt"] < 0 or env["step"] - record["last_hunt"] >= LOOK_AGAIN)


@kernel
def examine(assets, env, logs, key, record, depth, false_chance):
    """One look at one host: it finds the intruder, clears the host, or errs."""
    if record["level"] > 0:
        trace = 0.5 if record["level"] == 1 else 0.85
        stealth = env["campaigns"][record["campaign"]]["stealth"]
        if uniform(key, FINDING, record["host"]) < trace * (0.35 + 0.65 * depth) * (1.0 - 0.5 * stealth):
            find_something(env, logs, record, CONFIRMATION if depth > DEEP else SUSPICION, 1)
            notice_detection(env, assets, logs, record)
            return
    elif uniform(key, FINDING, record["host"]) < false_chance:
        find_something(env, logs, record, SUSPICION, 0)
        return
    if record["risk"] > 0.0:
        record["last_hunt"] = env["step"]
        kept = 1.0 - 0.2 - 0.4 * depth
        record["process"] *= kept
        record["target"] *= kept
        record["source"] *= kept
        record["verdict"] *= kept
        rate(record)
        log(env, logs, LOG_CLEARING, record["host"], 0, 0, 0, depth, 0.0)


@kernel
def find_something(env, logs, record, weight, is_true):
    """A finding weighs on the host."""
    record["last_hunt"] = env["step"]
    record["last_alert"] = env["step"]
    record["finding"] = min(CONFIRMATION, record["finding"] + weight)
    rate(record)
    if is_true != 0:
        env["counts"][N_FINDINGS] += 1.0
    else:
        env["counts"][N_FALSE_FINDINGS] += 1.0
    log(env, logs, LOG_FINDING, record["host"], is_true, 0, 0, weight, 0.0)


@kernel
def deploy_decoy(world, env, z):
    """A decoy is set up; it stands after the tool's minutes."""
    if world["is_defended"][z] == 0:
        return REFUSED
    for k in range(MAX_DECOYS):
        if env["decoy_ready"][z, k] < 0:
            env["decoy_ready"][z, k] = env["step"] + world["tools"][DEPLOY_DECOY]["minutes"]
            spend(world, env, world["tools"][DEPLOY_DECOY]["analyst_minutes"])
            return STARTED
    return REFUSED


@kernel
def sweep(world, assets, env, hosts, logs, key):
    """Looks everywhere for indicators; finds hosts of intruders whose indicators are known."""
    if env["step"] < env["intel_allowed"]:
        return REFUSED
    env["intel_allowed"] = env["step"] + INTEL_PERIOD
    spend(world, env, world["tools"][INTEL_SWEEP]["analyst_minutes"])
    for place in range(env["num_tracked"]):
        record = hosts[place]
        if record["level"] == 0 or record["is_offline"] != 0 or stands(record["finding"]):
            continue
        chance = KNOWN_FINDS if env["campaigns"][record["campaign"]]["is_known"] != 0 else UNKNOWN_FINDS
        if uniform(key, INTEL, record["host"]) < chance:
            find_something(env, logs, record, CONFIRMATION, 1)
            notice_detection(env, assets, logs, record)
    return DONE


@kernel
def collect(world, env, hosts, slots, key, host):
    """Forensics on a host with a finding: makes its intruder's indicators known."""
    place = find(slots, host)
    if place < 0 or not stands(hosts[place]["finding"]) or hosts[place]["is_collected"] != 0:
        return REFUSED
    record = hosts[place]
    spend(world, env, world["tools"][COLLECT_FORENSICS]["analyst_minutes"])
    if uniform(key, FORENSICS, host) < world["tools"][COLLECT_FORENSICS]["failure"]:
        return FAILED
    record["is_collected"] = 1
    if record["level"] > 0 and env["campaigns"][record["campaign"]]["is_known"] == 0:
        env["campaigns"][record["campaign"]]["is_known"] = 1
        env["num_known"] += 1
    return DONE


# ---- SOAR
@kernel
def start_job(world, net, assets, env, hosts, slots, logs, key, tool, host):
    """Puts the zone's executor to work on a host."""
    z = zone_of(net, assets, host)
    if world["is_defended"][z] == 0:
        return REFUSED
    if env["job_tool"][z] >= 0:
        return BUSY
    place = find(slots, host)
    if tool == RELEASE:
        if place < 0 or hosts[place]["is_isolated"] == 0:
            return REFUSED
    else:
        place = track(net, assets, env, hosts, slots, host)
        if place < 0 or hosts[place]["is_offline"] != 0:
            return REFUSED
        if tool == ISOLATE and hosts[place]["is_isolated"] != 0:
            return REFUSED
    record = hosts[place]
    row = world["tools"][tool]
    wait = row["minutes"]
    asset = assets[host]
    is_critical = asset["role"] == DOMAIN_CONTROLLER or asset["value"] >= CRITICAL_VALUE
    if row["is_high"] != 0 and is_critical and world["is_instant"] == 0:
        wait += world["approval_minutes"]
        limit = world["approval_risk"] * (1.0 - 0.3 * env["directive"][world["num_zones"] + POSTURE_RESPONSE])
        if record["risk"] < limit and uniform(key, APPROVAL, z) >= world["approval_rate"]:
            return DENIED
    spend(world, env, row["analyst_minutes"])
    env["disruption_now"] += row["disruption"] * (0.5 + asset["value"])
    if tool != RELEASE:
        env["counts"][N_ACTIONS] += 1.0
        if stands(record["verdict"]) or stands(record["finding"]):
            env["gated_actions"] += 1.0
        is_clean = record["level"] == 0 and record["is_persistent"] == 0 and record["is_encrypted"] == 0
        if is_clean:
            env["clean_actions"] += 1.0
            env["term_false"] += 0.25
        is_gated = stands(record["verdict"]) or stands(record["finding"])
        log(env, logs, LOG_ACTION, tool, host, 1 if is_gated else 0, 1 if is_clean else 0, 0.0, 0.0)
    if tool == REIMAGE:
        if record["level"] > 0:
            credit_response(env, assets, record)
        set_offline(assets, env, record, 1)
    env["job_tool"][z], env["job_host"][z], env["job_end"][z] = tool, host, env["step"] + wait
    if wait == 0:
        finish_job(world, assets, env, hosts, slots, logs, key, z)
        return DONE
    return STARTED


@kernel
def finish_jobs(world, assets, env, hosts, slots, logs, key):
    """Jobs, decoys, the perimeter and the credential reset, as far as they are due."""
    for z in range(world["num_zones"]):
        if env["job_tool"][z] >= 0 and env["step"] >= env["job_end"][z]:
            finish_job(world, assets, env, hosts, slots, logs, key, z)
        for k in range(MAX_DECOYS):
            ready = env["decoy_ready"][z, k]
            if ready >= 0 and env["step"] >= ready + world["decoy_minutes"]:
                env["decoy_ready"][z, k] = NEVER
            elif ready >= 0 and ready == env["step"]:
                log(env, logs, LOG_COMPLETED, DEPLOY_DECOY, z, DONE, z, 0.0, 0.0)
    if env["perimeter"] == 1 and env["step"] >= env["perimeter_ready"]:
        env["perimeter"] = 2
        log(env, logs, LOG_COMPLETED, BLOCK_PERIMETER, 0, DONE, -1, 0.0, 0.0)
    if env["reset_end"] >= 0 and env["step"] >= env["reset_end"]:
        env["reset_end"] = NEVER
        log(env, logs, LOG_COMPLETED, RESET_CREDENTIALS, 0, DONE, -1, 0.0, 0.0)
        for c in range(env["campaigns"].shape[0]):
            env["campaigns"][c]["has_credentials"] = 0


@kernel
def finish_job(world, assets, env, hosts, slots, logs, key, z):
    """A SOAR job on a host takes effect, or fails."""
    tool, host = env["job_tool"][z], env["job_host"][z]
    env["job_tool"][z] = -1
    is_failed = uniform(key, JOB, z) < world["tools"][tool]["failure"]
    log(env, logs, LOG_COMPLETED, tool, host, FAILED if is_failed else DONE, z, 0.0, 0.0)
    place = find(slots, host)
    if place < 0:
        return
    record = hosts[place]
    if tool == REIMAGE:
        set_offline(assets, env, record, 0)
    if is_failed:
        return
    if tool == ISOLATE:
        set_isolated(assets, env, record, 1)
        if record["level"] > 0:
            credit_response(env, assets, record)
    elif tool == RELEASE:
        set_isolated(assets, env, record, 0)
    elif tool == KILL:
        if record["level"] == 1:
            clean(env, assets, logs, record, False)
        record["process"] *= 0.5
        rate(record)
    else:
        if record["level"] > 0:
            clean(env, assets, logs, record, True)
        record["is_persistent"] = 0
        record["campaign"] = -1
        set_encrypted(assets, env, record, 0)
        set_isolated(assets, env, record, 0)
        clear_suspicion(record)


@kernel
def change_network(world, env, key, tool):
    """The perimeter and everybody's credentials; both need approval."""
    row = world["tools"][tool]
    approval = 0 if world["is_instant"] != 0 else world["approval_minutes"]
    if tool == BLOCK_PERIMETER:
        if env["perimeter"] != 0:
            return REFUSED
        env["perimeter_ready"] = env["step"] + row["minutes"] + approval
        env["perimeter"] = 2 if env["perimeter_ready"] <= env["step"] else 1
        spend(world, env, row["analyst_minutes"])
        return STARTED
    if tool == UNBLOCK_PERIMETER:
        if env["perimeter"] == 0:
            return REFUSED
        env["perimeter"] = 0
        return DONE
    if env["step"] < env["reset_allowed"]:
        return REFUSED
    env["reset_end"] = env["step"] + row["minutes"] + approval
    env["reset_allowed"] = env["step"] + RESET_PERIOD
    spend(world, env, row["analyst_minutes"])
    return STARTED
