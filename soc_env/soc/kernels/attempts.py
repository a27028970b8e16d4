"""One technique of an intruder: from which host on which one, whether it works, who sees it, and what it does."""

from __future__ import annotations

import math

import numpy as np

from soc_env.engine.draws import below, uniform
from soc_env.engine.jit import kernel
from soc_env.soc.attack import CHANNELS, GOALS, TACTICS
from soc_env.soc.kernels.draws import ALERT_SHAPE, ATTEMPT, DECOY, DWELL, OUTCOME, REENTRY, SIGHT, TARGETS
from soc_env.soc.kernels.hosts import (
    LOG_CAMPAIGN,
    LOG_DAMAGE,
    compromise,
    find,
    is_live,
    is_quiet,
    log,
    set_encrypted,
    track,
    zone_factor,
    zone_of,
)
from soc_env.soc.kernels.siem import send, within
from soc_env.soc.kernels.state import ADMIN, N_ENCRYPTED, N_EXFILTRATED, USER
from soc_env.soc.tables import MAX_DECOYS

(
    INITIAL_ACCESS, EXECUTION, PERSISTENCE, ESCALATION, EVASION, CREDENTIALS, DISCOVERY, LATERAL, COLLECTION, CONTROL,
    EXFILTRATION, IMPACT,
) = (TACTICS.index(name) for name in (
    "initial-access", "execution", "persistence", "privilege-escalation", "defense-evasion", "credential-access",
    "discovery", "lateral-movement", "collection", "command-and-control", "exfiltration", "impact",
))  # fmt: skip
NETWORK_CHANNEL, SILENT = CHANNELS.index("network"), CHANNELS.index("silent")
STARTED, ADVANCED, RETURNED, GAVE_UP, REACTED = range(5)  # what happens to a campaign, in the log
ENCRYPT, EXFILTRATE, ABUSE = (GOALS.index(name) for name in ("encrypt", "exfiltrate", "abuse"))

GOAL_MINUTES = 60  # of exfiltration or abuse, then there is nothing left to gain
TRIES = 24  # draws of a host before the intruder looks elsewhere
PERIMETER_SHARE = 0.1  # of outside traffic passes a blocked perimeter
CREDENTIAL_HELP = 1.4  # lateral moves with stolen credentials
STEALTH_LIMIT = 0.9
DECOY_ATTRACTION = 6.0  # a move into a zone trips one of n decoys with n / (n + 6)
DECOY_SEVERITY, DECOY_CONFIDENCE = 0.9, 0.95
PICKS = 4096  # draws per campaign and minute


@kernel
def plan_attempt(world, net, assets, env, hosts, campaign, key, c):
    """Chooses a technique for the plan's step and the host to act from."""
    family = world["families"][campaign["family"]]
    step = campaign["plan"]
    if family["tactic"][step] != INITIAL_ACCESS:
        via = pick_own(env, hosts, key, c, campaign["num_live"])
        if via < 0:
            return
        campaign["via"] = via
    u = uniform(key, ATTEMPT, 8 * c)
    pick = 0
    while pick < family["num_choices"][step] - 1 and u >= family["cumulative"][step, pick]:
        pick += 1
    campaign["technique"] = family["choice"][step, pick]
    campaign["timer"] = max(1, world["rules"][campaign["technique"]]["minutes"])


@kernel
def pick_own(env, hosts, key, c, num_live):
    """A live host of the campaign, each equally likely; -1 if there is none."""
    if num_live <= 0:
        return -1
    left = below(key, ATTEMPT, 8 * c + 1, num_live)
    for place in range(env["num_tracked"]):
        record = hosts[place]
        if record["campaign"] == c and is_live(record):
            if left == 0:
                return record["host"]
            left -= 1
    return -1


@kernel
def finish_attempt(world, net, assets, env, hosts, slots, logs, campaign, key, c):
    """The technique works or not, is seen or not; after a success the plan goes on."""
    family = world["families"][campaign["family"]]
    rule = campaign["technique"]
    row = world["rules"][rule]
    tactic = family["tactic"][campaign["plan"]]
    campaign["technique"] = -1
    campaign["timer"] = 1
    via = campaign["via"]
    if tactic != INITIAL_ACCESS:
        place = find(slots, via)
        if place < 0 or hosts[place]["campaign"] != c or not is_live(hosts[place]):
            return
    target = via
    if tactic == INITIAL_ACCESS:
        target = -1
        if passes_perimeter(world, env, key, 8 * c + 1):
            target = entry_host(world, net, assets, env, hosts, slots, key, c, family)
        if target < 0:
            return
    elif tactic in (LATERAL, DISCOVERY):
        target = lateral_host(net, assets, env, hosts, slots, key, c, family, via)
        if target < 0:
            advance_plan(world, env, logs, family, campaign, key, c)
            return
    if tactic in (LATERAL, DISCOVERY) and trips_decoy(world, net, assets, env, key, c, rule, via, target):
        return
    zone = zone_of(net, assets, target)
    env["attack_events"][zone] += row["events"] * world["is_defended"][zone]
    is_success = uniform(key, OUTCOME, 8 * c) < chance_of(assets, campaign, row, tactic, target)
    source = via if row["channel"] == NETWORK_CHANNEL else -1
    be_seen(world, env, campaign, key, c, rule, row, zone, target, source)
    if is_success:
        take_effect(world, net, assets, env, hosts, slots, logs, family, campaign, key, c, row, tactic, target)


@kernel
def chance_of(assets, campaign, row, tactic, target):
    """Success of an attempt: the technique's own, for a new host times what its vulnerability makes of it."""
    chance = row["success"]
    if tactic in (INITIAL_ACCESS, LATERAL):
        chance *= 0.5 + np.float64(assets[target]["vulnerability"])
        if tactic == LATERAL and campaign["has_credentials"] != 0:
            chance *= CREDENTIAL_HELP
    return min(0.95, chance)


@kernel
def be_seen(world, env, campaign, key, c, rule, row, zone, target, source):
    """A sensor in reach may raise the rule's alert."""
    if row["channel"] == SILENT or world["is_defended"][zone] == 0:
        return
    chance = row["detection"] * world["sensor_coverage"] * (1.0 - campaign["stealth"])
    if uniform(key, SIGHT, c) >= chance:
        return
    severity = within(row["severity"] + 0.3 * (uniform(key, ALERT_SHAPE, 8 * c) - 0.5))
    confidence = within(row["confidence"] + 0.3 * (uniform(key, ALERT_SHAPE, 8 * c + 1) - 0.5))
    send(world, env, key, rule, target, source if source != target else -1, severity, confidence, c, 8 * c)


@kernel
def trips_decoy(world, net, assets, env, key, c, rule, via, target):
    """Whether the intruder ran into a decoy instead of its target: a certain alert that names where it came from."""
    zone = zone_of(net, assets, target)
    num_decoys = 0
    for k in range(MAX_DECOYS):
        ready = env["decoy_ready"][zone, k]
        if ready >= 0 and ready <= env["step"]:
            num_decoys += 1
    if num_decoys == 0 or uniform(key, DECOY, c) >= num_decoys / (num_decoys + DECOY_ATTRACTION):
        return False
    send(world, env, key, rule, target, via, DECOY_SEVERITY, DECOY_CONFIDENCE, c, 8 * c + 4)
    return True


@kernel
def passes_perimeter(world, env, key, index):
    """Whether traffic from or to the outside gets through."""
    return env["perimeter"] != 2 or uniform(key, REENTRY, index) < PERIMETER_SHARE


@kernel
def entry_host(world, net, assets, env, hosts, slots, key, c, family):
    """A host to start from: in an entry segment, of a role the family enters through where there is one."""
    fallback = -1
    for k in range(TRIES):
        host = below(key, TARGETS, PICKS * c + 2 * k, net["num_hosts"])
        asset = assets[host]
        if net["is_entry"][asset["segment"]] == 0 or not is_open(hosts, slots, host):
            continue
        fallback = host
        if uniform(key, TARGETS, PICKS * c + 2 * k + 1) < family["entry_roles"][asset["role"]]:
            return host
    return fallback


@kernel
def is_open(hosts, slots, host):
    """Whether a host can be attacked: nobody's, and on the network."""
    place = find(slots, host)
    if place < 0:
        return True
    record = hosts[place]
    return record["level"] == 0 and is_quiet(record)


@kernel
def lateral_host(net, assets, env, hosts, slots, key, c, family, via):
    """A host to move to, in a segment within reach: often the most valuable one; -1 if none is found."""
    here = assets[via]["segment"]
    base = PICKS * c + 256
    segment = -1
    if uniform(key, TARGETS, base) < 0.6 * family["prefers_value"]:
        best = -1.0
        for s in range(net["num_segments"]):
            value = net["zone_value"][net["segment_zone"][s]]
            if net["is_reachable"][here, s] != 0 and value > best:
                best = value
                segment = s
    if segment < 0:
        num_reachable = 0
        for s in range(net["num_segments"]):
            num_reachable += net["is_reachable"][here, s]
        left = below(key, TARGETS, base + 1, num_reachable)
        for s in range(net["num_segments"]):
            if net["is_reachable"][here, s] != 0:
                if left == 0:
                    segment = s
                    break
                left -= 1
    first, size = net["start"][segment], net["start"][segment + 1] - net["start"][segment]
    for k in range(TRIES):
        host = first + below(key, TARGETS, base + 2 + k, size)
        if is_open(hosts, slots, host):
            return host
    return -1


@kernel
def take_effect(world, net, assets, env, hosts, slots, logs, family, campaign, key, c, row, tactic, target):
    """What a successful technique does."""
    if tactic in (INITIAL_ACCESS, LATERAL):
        place = track(net, assets, env, hosts, slots, target)
        if place < 0:
            return
        take(world, env, logs, campaign, hosts[place], c)
    elif tactic == PERSISTENCE:
        hosts[find(slots, target)]["is_persistent"] = 1
    elif tactic == ESCALATION:
        compromise(env, logs, hosts[find(slots, target)], c, ADMIN)
    elif tactic == EVASION:
        campaign["stealth"] = min(STEALTH_LIMIT, campaign["stealth"] + 0.05 * world["stealth_factor"])
    elif tactic == CREDENTIALS:
        campaign["has_credentials"] = 1
    if campaign["plan"] == family["plan_length"] - 1:
        do_damage(world, net, assets, env, hosts, slots, logs, family, campaign, key, c, row, target)
    else:
        advance_plan(world, env, logs, family, campaign, key, c)


@kernel
def take(world, env, logs, campaign, record, c):
    """A host falls to an intruder, whose times count from the first host in a defended zone."""
    compromise(env, logs, record, c, USER)
    if campaign["start"] < 0 and world["is_defended"][record["zone"]] != 0:
        campaign["start"] = env["step"]


@kernel
def advance_plan(world, env, logs, family, campaign, key, c):
    """The plan's next step, or back to the beginning of the loop, after a pause."""
    step = campaign["plan"]
    if step == family["plan_length"] - 1:
        return
    if step == family["loop"][1] and campaign["loops_left"] > 0:
        campaign["loops_left"] -= 1
        campaign["plan"] = family["loop"][0]
    else:
        campaign["plan"] = step + 1
    campaign["timer"] = 1 + int(-family["dwell"] * math.log(1.0 - uniform(key, DWELL, c)))
    log(env, logs, LOG_CAMPAIGN, c, ADVANCED, campaign["plan"], 0, 0.0, 0.0)


@kernel
def do_damage(world, net, assets, env, hosts, slots, logs, family, campaign, key, c, row, target):
    """The last step of the plan, again and again: what the intruder came for."""
    value = np.float64(assets[target]["value"]) * zone_factor(world, net, env, zone_of(net, assets, target))
    if family["goal"] == ENCRYPT:
        record = hosts[find(slots, target)]
        if record["is_encrypted"] != 0:
            return
        set_encrypted(assets, env, record, 1)
        env["recent_encryptions"] += 1.0
        env["counts"][N_ENCRYPTED] += 1.0
        loss = world["encryption_damage"] * value
    else:
        if campaign["goal_minutes"] >= GOAL_MINUTES:
            return
        minutes = row["minutes"]
        if family["goal"] == EXFILTRATE:
            if not passes_perimeter(world, env, key, 8 * c + 2):
                return
            env["counts"][N_EXFILTRATED] += minutes
            loss = world["exfiltration_damage"] * value * minutes
        else:
            loss = world["abuse_damage"] * value * minutes
        campaign["goal_minutes"] += minutes
    env["damage_now"] += loss
    log(env, logs, LOG_DAMAGE, c, target, family["goal"], row["minutes"], loss, 0.0)
