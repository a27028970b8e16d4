"""EDR tools: hunts, decoys, sweeps for indicators, forensics."""

from __future__ import annotations

from soc_env.engine.draws import below, uniform
from soc_env.engine.jit import kernel
from soc_env.soc import risk
from soc_env.soc.kernels.draws import EXAMINE, FINDING, FORENSICS, INTEL, STRAY
from soc_env.soc.kernels.hosts import LOG_CLEARING, LOG_FINDING, find, log, notice_detection, track
from soc_env.soc.kernels.outcomes import spend
from soc_env.soc.kernels.rating import note_look, rate
from soc_env.soc.kernels.siem import stands
from soc_env.soc.kernels.state import ADMIN, N_FALSE_FINDINGS, N_FINDINGS, USER
from soc_env.soc.tables import (
    COLLECT_FORENSICS,
    DEEP_ABOVE,
    DEEP_SCAN,
    DEPLOY_DECOY,
    DEPTH_COST,
    DONE,
    FAILED,
    HUNT,
    HUNT_SHARE,
    HUNT_SHARE_SPAN,
    INTEL_PERIOD,
    INTEL_SWEEP,
    MAX_DECOYS,
    POSTURE_HUNT,
    PRIORITY_WEIGHT,
    REFUSED,
    STARTED,
)

STRAY_WEIGHT = 0.02  # a host without a record draws as much of a hunt as a risk score of this size
LOOK_AGAIN = 5  # minutes before a host is examined again
KNOWN_FINDS, UNKNOWN_FINDS = 0.6, 0.03  # an intel sweep, per host of an intruder with and without known indicators

CONFIRMATION, SUSPICION = risk.CONFIRMATION, risk.SUSPICION
USER_FINDING, ADMIN_FINDING = risk.USER_FINDING, risk.ADMIN_FINDING


@kernel
def use_edr(world, assets, env, hosts, slots, logs, key, tool, target):
    """One call of an EDR tool. Returns the outcome; hunts are carried out together, see `hunt_as_called`."""
    if tool == DEPLOY_DECOY:
        return deploy_decoy(world, env, target)
    if tool == INTEL_SWEEP:
        return sweep(world, assets, env, hosts, logs, key)
    if tool == COLLECT_FORENSICS:
        return collect(world, env, hosts, slots, key, target)
    return DONE if world["is_defended"][target] != 0 else REFUSED


@kernel
def hunt_share(world, env):
    """Analysts' share for hunting."""
    return HUNT_SHARE + HUNT_SHARE_SPAN * env["directive"][world["num_zones"] + POSTURE_HUNT]


@kernel
def hunt_weight(env, z):
    """What the coordinator's priority makes of hunting effort in a zone."""
    return 1.0 + PRIORITY_WEIGHT * env["directive"][z]


@kernel
def is_hunt(call):
    """Whether a call is a hunt that takes place."""
    return (call["tool"] == HUNT or call["tool"] == DEEP_SCAN) and call["outcome"] == DONE


@kernel
def hunt_as_called(world, net, assets, env, hosts, slots, logs, key, share):
    """The minute's hunts share the hunters' capacity. share: of the analysts, see `hunt_share`."""
    effort = 0.0
    for k in range(env["num_calls"]):
        call = env["calls"][k]
        if is_hunt(call):
            effort += call["level"] * hunt_weight(env, call["target"])
    if effort <= 0.0:
        return
    for z in range(world["num_zones"]):
        env["looks"][z] = 0.0
    for k in range(env["num_calls"]):
        call = env["calls"][k]
        if is_hunt(call):
            z, depth = call["target"], call["depth"]
            portion = call["level"] * hunt_weight(env, z) / max(1.0, effort)
            env["looks"][z] = net["hunt_capacity"] * 2.0 * share * portion * (1.0 - DEPTH_COST * depth)
            env["depth"][z] = depth
    hunt(world, net, assets, env, hosts, slots, logs, key)
    spend(world, env, world["analysts"] * share * min(1.0, effort))


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
            examine(world, assets, env, logs, key, record, env["depth"][z], false_chance)
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
            find_something(world, assets, env, logs, hosts[place], SUSPICION, 0)


@kernel
def is_due(env, record):
    """Whether a hunt would look at the host: it is up, and nobody has just looked."""
    return record["is_offline"] == 0 and (record["last_hunt"] < 0 or env["step"] - record["last_hunt"] >= LOOK_AGAIN)


@kernel
def examine(world, assets, env, logs, key, record, depth, false_chance):
    """One look at one host: it finds the intruder, clears the host, or errs."""
    if record["level"] > 0:
        trace = 0.5 if record["level"] == 1 else 0.85
        stealth = env["campaigns"][record["campaign"]]["stealth"]
        if uniform(key, FINDING, record["host"]) < trace * (0.35 + 0.65 * depth) * (1.0 - 0.5 * stealth):
            find_something(world, assets, env, logs, record, CONFIRMATION if depth > DEEP_ABOVE else SUSPICION, 1)
            notice_detection(env, assets, logs, record)
            return
    elif uniform(key, FINDING, record["host"]) < false_chance:
        find_something(world, assets, env, logs, record, SUSPICION, 0)
        return
    if record["risk"] > 0.0:
        record["last_hunt"] = env["step"]
        kept = 1.0 - 0.2 - 0.4 * depth
        note_look(world, record, 1.0 - kept)
        weaken(world, record, kept)
        rate(world, assets, env, record)
        log(env, logs, LOG_CLEARING, record["host"], 0, 0, 0, depth, 0.0)


@kernel
def find_something(world, assets, env, logs, record, weight, is_true):
    """A finding weighs on the host. weight: where findings have levels its level says it, and false ones look like a
    user's."""
    record["last_hunt"] = env["step"]
    record["last_alert"] = env["step"]
    if world["has_levels"] != 0:
        weight = note_finding(record, ADMIN if is_true != 0 and record["level"] == ADMIN else USER)
    else:
        record["finding"] = min(CONFIRMATION, record["finding"] + weight)
    rate(world, assets, env, record)
    if is_true != 0:
        env["counts"][N_FINDINGS] += 1.0
    else:
        env["counts"][N_FALSE_FINDINGS] += 1.0
    log(env, logs, LOG_FINDING, record["host"], is_true, 0, 0, weight, 0.0)


@kernel
def note_finding(record, level):
    """EDR says that an intruder of a level has the host. Returns the finding's weight; user findings do not add up,
    and an admin finding stands against later user findings."""
    if level == ADMIN:
        record["finding"] = ADMIN_FINDING
        record["known_level"] = ADMIN
        return ADMIN_FINDING
    record["finding"] = max(record["finding"], USER_FINDING)
    record["known_level"] = max(record["known_level"], USER)
    return USER_FINDING


@kernel
def weaken(world, record, kept):
    """What speaks against a host, after a look that found nothing."""
    record["process"] *= kept
    record["target"] *= kept
    record["source"] *= kept
    record["verdict"] *= kept
    weaken_user_finding(world, record, kept)


@kernel
def weaken_user_finding(world, record, kept):
    """What speaks against a user finding takes weight from it, where findings have levels; not from an admin's."""
    if world["has_levels"] != 0 and record["known_level"] != ADMIN:
        record["finding"] *= kept
        if not stands(record["finding"]):
            record["known_level"] = 0


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
            find_something(world, assets, env, logs, record, CONFIRMATION, 1)
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
