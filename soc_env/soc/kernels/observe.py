"""What agents see, and what `state()` tells: pure functions of the state; offsets come from the feature tables.

Nothing in `observe` reads a field that `state.py` lists as truth.
"""

from __future__ import annotations

from soc_env.engine.jit import kernel
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.soc.attack import CHANNELS, TACTICS
from soc_env.soc.kernels.campaign import ACTIVE
from soc_env.soc.kernels.decode import num_decoys
from soc_env.soc.kernels.hosts import find, zone_factor
from soc_env.soc.kernels.triage import shares_host
from soc_env.soc.tables import (
    CAMPAIGN_TRUTH,
    CASE_FEATURES,
    CLOCK_FEATURES,
    INTEL_PERIOD,
    MAX_ANALYST_TIME,
    MAX_CAMPAIGNS,
    NUM_SHOWN_CASES,
    RESET_PERIOD,
    ZONE_FEATURES,
    ZONE_TRUTH,
)

CASE_SIZE, CLOCK_SIZE = len(CASE_FEATURES), len(CLOCK_FEATURES)
FIRST_OF_LEVELS = len(ZONE_FEATURES)
TRIAGE_CASES, HUNTER_CASES, RESPONSE_CASES, COORDINATOR_CASES = (
    NUM_SHOWN_CASES[agent] for agent in (TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR)
)
ZONE_TRUTH_SIZE, CAMPAIGN_TRUTH_SIZE = len(ZONE_TRUTH), len(CAMPAIGN_TRUTH)
PROCESS_CHANNEL, NETWORK_CHANNEL, IDENTITY_CHANNEL = (
    CHANNELS.index(name) for name in ("process", "network", "identity")
)
TACTIC_UNIT = 1.0 / len(TACTICS)


@kernel
def full(x):
    """A share that ends at 1."""
    return min(1.0, x)


@kernel
def soft(n, half):
    """n / (n + half): counts of any size in [0, 1)."""
    return n / (n + half)


@kernel
def observe(world, net, assets, env, hosts, slots, flat, i, num_envs):
    """Writes the four observations of env i into a flat buffer: triage, hunter, orchestrator, coordinator."""
    zones = world["num_zones"]
    zone_size = world["zone_size"]
    tokens = zones * zone_size
    tail = zones + 3 + CLOCK_SIZE
    size = tokens + TRIAGE_CASES * CASE_SIZE + tail
    start = i * size
    row = flat[start : start + size]
    for z in range(zones):
        see_zone(world, net, assets, env, hosts, slots, z, row[z * zone_size : (z + 1) * zone_size])
    shown = min(TRIAGE_CASES, env["num_cases"])
    for k in range(TRIAGE_CASES):
        first = tokens + k * CASE_SIZE
        token = row[first : first + CASE_SIZE]
        if k < shown:
            see_case(world, net, assets, env, hosts, slots, env["order"][k], token)
        else:
            for j in range(CASE_SIZE):
                token[j] = 0.0
    first = size - tail
    for k in range(zones + 3):
        row[first + k] = env["directive"][k]
    see_clock(world, env, row[size - CLOCK_SIZE : size])
    offset = num_envs * size
    for num_cases in (HUNTER_CASES, RESPONSE_CASES, COORDINATOR_CASES):
        head = tokens + num_cases * CASE_SIZE
        other = flat[offset + i * (head + tail) : offset + (i + 1) * (head + tail)]
        for k in range(head):
            other[k] = row[k]
        for k in range(tail):
            other[head + k] = row[size - tail + k]
        offset += num_envs * (head + tail)


@kernel
def see_zone(world, net, assets, env, hosts, slots, z, token):
    """token: (len(zone_features(...)),) float32, in the order of the table."""
    step = env["step"]
    token[0] = zone_factor(world, net, env, z) * net["value_unit"]
    token[1] = net["zone_size"][z]
    token[2] = env["events"][z]
    token[3] = full(env["zone_cases"][z] / 8.0)
    token[4] = full(env["oldest_case"][z] / 60.0)
    token[5] = env["top_risk"][z]
    token[6] = env["second_risk"][z]
    token[7] = full(env["suspects"][z] / 5.0)
    token[8] = soft(env["evidence"][z], 5.0)
    token[9] = soft(env["sources"][z], 1.0)
    token[10] = full(env["incidents"][z] / 5.0)
    token[11] = full(env["findings_standing"][z] / 5.0)
    token[12] = soft(env["isolated"][z], 4.0)
    token[13] = env["isolated_risk"][z]
    token[14] = env["least_risk"][z]
    token[15] = soft(env["offline"][z], 4.0)
    token[16] = full(max(0, env["job_end"][z] - step) / 15.0) if env["job_tool"][z] >= 0 else 0.0
    token[17] = env["outage"][z]
    token[18] = num_decoys(env, z) * 0.5
    token[19] = full((step - env["last_hunt"][z]) / 60.0) if env["last_hunt"][z] >= 0 else 1.0
    token[20] = 0.0
    token[21] = 0.0
    host = env["top_host"][z]
    if host >= 0:
        token[20] = assets[host]["value"]
        place = find(slots, host)
        if place >= 0 and hosts[place]["last_alert"] >= 0:
            token[21] = full((step - hosts[place]["last_alert"]) / 60.0)
    if world["has_levels"] != 0:
        see_levels(env, hosts, slots, z, token[FIRST_OF_LEVELS:])


@kernel
def see_levels(env, hosts, slots, z, token):
    """token: (len(LEVEL_FEATURES),) float32, in the order of the table."""
    token[0] = full(env["admin_findings"][z] / 5.0)
    token[1] = full((env["findings_standing"][z] - env["admin_findings"][z]) / 5.0)
    token[2] = 0.5 * env["top_level"][z]
    token[3] = 1.0
    host = env["top_host"][z]
    if host >= 0:
        place = find(slots, host)
        if place >= 0 and hosts[place]["last_hunt"] >= 0:
            token[3] = full((env["step"] - hosts[place]["last_hunt"]) / 60.0)
    token[4] = full(env["killable"][z] / 5.0)
    token[5] = env["kill_risk"][z]


@kernel
def risk_of(hosts, slots, host):
    """Risk score of a host, 0 without a record."""
    if host < 0:
        return 0.0
    place = find(slots, host)
    return hosts[place]["risk"] if place >= 0 else 0.0


@kernel
def see_case(world, net, assets, env, hosts, slots, place, token):
    """token: (len(CASE_FEATURES),) float32, in the order of the table."""
    case = env["cases"][place]
    rule = world["rules"][case["rule"]]
    related = 0
    for k in range(env["num_cases"]):
        if k != place and shares_host(case, env["cases"][k]):
            related += 1
    token[0] = 1.0
    token[1] = case["severity"]
    token[2] = case["confidence"]
    token[3] = soft(case["num_alerts"], 3.0)
    token[4] = full((env["step"] - case["opened"]) / 60.0)
    token[5] = case["is_overdue"]
    token[6] = case["zone"] / 16.0
    token[7] = zone_factor(world, net, env, case["zone"]) * net["value_unit"]
    token[8] = 1.0 if rule["channel"] == PROCESS_CHANNEL else 0.0
    token[9] = 1.0 if rule["channel"] == NETWORK_CHANNEL else 0.0
    token[10] = 1.0 if rule["channel"] == IDENTITY_CHANNEL else 0.0
    token[11] = rule["precision"]
    token[12] = rule["tactic"] * TACTIC_UNIT
    token[13] = risk_of(hosts, slots, case["host"])
    token[14] = risk_of(hosts, slots, case["source"])
    token[15] = assets[case["host"]]["value"]
    token[16] = full(related / 4.0)
    token[17] = 0.5 * case["enriched"]
    token[18] = case["reading"]
    token[19] = case["second_reading"]


@kernel
def see_clock(world, env, token):
    """token: (len(CLOCK_FEATURES),) float32, in the order of the table."""
    step, period = env["step"], world["coordinator_period"]
    phase = min(world["num_phases"] - 1, step * world["num_phases"] // world["max_steps"])
    token[0] = step * world["per_step"]
    for k in range(3):
        token[1 + k] = 1.0 if k == phase else 0.0
    token[4] = (-step % period) / period
    token[5] = env["num_cases"] / world["queue_capacity"]
    token[6] = soft(env["recent_drops"], 2.0)
    token[7] = soft(env["recent_closures"], 2.0)
    token[8] = max(-1.0, env["analyst_time"] / MAX_ANALYST_TIME)
    token[9] = 0.5 * env["perimeter"]
    token[10] = 1.0 if env["reset_end"] >= 0 else 0.0
    token[11] = full(max(0, env["reset_allowed"] - step) / RESET_PERIOD)
    token[12] = full(max(0, env["intel_allowed"] - step) / INTEL_PERIOD)
    token[13] = full(env["num_known"] / MAX_CAMPAIGNS)
    token[14] = full(env["service_loss"])
    token[15] = soft(env["recent_encryptions"], 2.0)


@kernel
def write_state(world, env, hosts, seen, row):
    """What triage sees (`seen`), then the truth: zones, shown cases, campaigns. row: (len(state_features),) float32."""
    num_seen = seen.shape[0]
    for k in range(num_seen):
        row[k] = seen[k]
    zones = world["num_zones"]
    first = num_seen
    for z in range(zones):
        tell_zone(env, hosts, z, row[first : first + ZONE_TRUTH_SIZE])
        first += ZONE_TRUTH_SIZE
    for k in range(TRIAGE_CASES):
        row[first] = env["cases"][env["order"][k]]["is_true"] if k < env["num_cases"] else 0.0
        first += 1
    for c in range(MAX_CAMPAIGNS):
        tell_campaign(world, env, c, row[first : first + CAMPAIGN_TRUTH_SIZE])
        first += CAMPAIGN_TRUTH_SIZE


@kernel
def tell_zone(env, hosts, z, token):
    """token: (len(ZONE_TRUTH),) float32, in the order of the table."""
    compromised, admin, contained, clean_isolated = 0.0, 0.0, 0.0, 0.0
    worst, clean, least = 0.0, 0.0, 1.0
    for place in range(env["num_tracked"]):
        record = hosts[place]
        if record["zone"] != z or record["is_offline"] != 0:
            continue
        is_bad = record["level"] > 0 or record["is_persistent"] != 0 or record["is_encrypted"] != 0
        if record["is_isolated"] != 0:
            if is_bad:
                contained += 1.0
                least = min(least, record["risk"])
            else:
                clean_isolated += 1.0
        elif is_bad:
            compromised += 1.0
            admin += 1.0 if record["level"] == 2 else 0.0
            worst = max(worst, record["risk"])
        else:
            clean = max(clean, record["risk"])
    token[0] = soft(compromised, 4.0)
    token[1] = soft(admin, 4.0)
    token[2] = soft(contained, 4.0)
    token[3] = soft(clean_isolated, 4.0)
    token[4] = worst
    token[5] = clean
    token[6] = least


@kernel
def tell_campaign(world, env, c, token):
    """token: (len(CAMPAIGN_TRUTH),) float32, in the order of the table."""
    campaign = env["campaigns"][c]
    for k in range(CAMPAIGN_TRUTH_SIZE):
        token[k] = 0.0
    if campaign["state"] != ACTIVE:
        return
    family = world["families"][campaign["family"]]
    token[0] = 1.0
    token[1] = campaign["plan"] / family["plan_length"]
    token[2] = soft(campaign["num_owned"], 4.0)
    token[3] = campaign["has_credentials"]
    token[4] = 1.0 if campaign["plan"] == family["plan_length"] - 1 else 0.0
    token[5] = campaign["stealth"]
    if campaign["start"] >= 0:
        token[6] = full((env["step"] - campaign["start"]) * world["per_step"])
