"""SOAR tools: jobs on hosts, which take their time and may fail, the perimeter, and everybody's credentials."""

from __future__ import annotations

from soc_env.engine.draws import uniform
from soc_env.engine.jit import kernel
from soc_env.soc.attack import ROLES
from soc_env.soc.kernels.draws import APPROVAL, JOB
from soc_env.soc.kernels.hosts import (
    LOG_ACTION,
    LOG_COMPLETED,
    clean,
    clear_suspicion,
    credit_response,
    find,
    log,
    risk_score,
    set_encrypted,
    set_isolated,
    set_offline,
    track,
    zone_of,
)
from soc_env.soc.kernels.hunting import weaken_user_finding
from soc_env.soc.kernels.outcomes import spend
from soc_env.soc.kernels.rating import rate, weigh
from soc_env.soc.kernels.siem import can_kill, stands
from soc_env.soc.kernels.state import N_ACTIONS, NEVER, USER
from soc_env.soc.risk import KILL_KEEPS
from soc_env.soc.tables import (
    APPROVAL_SPAN,
    BLOCK_PERIMETER,
    BUSY,
    CRITICAL_VALUE,
    DENIED,
    DEPLOY_DECOY,
    DISRUPTION_BASE,
    DONE,
    FAILED,
    FALSE_POSITIVE_TERM,
    ISOLATE,
    KILL,
    MAX_DECOYS,
    POSTURE_RESPONSE,
    REFUSED,
    REIMAGE,
    RELEASE,
    RESET_CREDENTIALS,
    RESET_PERIOD,
    STARTED,
    UNBLOCK_PERIMETER,
)

DOMAIN_CONTROLLER = ROLES.index("domain_controller")


@kernel
def start_job(world, net, assets, env, hosts, slots, logs, key, tool, host):
    """Puts the zone's executor to work on a host. Returns the outcome."""
    z = zone_of(net, assets, host)
    if world["is_defended"][z] == 0:
        return REFUSED
    if env["job_tool"][z] >= 0:
        return BUSY
    place = place_for(world, net, assets, env, hosts, slots, tool, host)
    if place < 0:
        return REFUSED
    record, asset, row = hosts[place], assets[host], world["tools"][tool]
    wait = row["minutes"]
    if row["is_high"] != 0 and is_critical(asset) and world["is_instant"] == 0:
        wait += world["approval_minutes"]
        if is_denied(world, env, key, record):
            return DENIED
    spend(world, env, row["analyst_minutes"])
    env["disruption_now"] += row["disruption"] * (DISRUPTION_BASE + asset["value"])
    if tool != RELEASE:
        count_action(world, env, logs, tool, record)
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
def place_for(world, net, assets, env, hosts, slots, tool, host):
    """Place of the record of the host that a job would change, -1 where the tool's precondition does not hold."""
    if tool == RELEASE:
        place = find(slots, host)
        return place if place >= 0 and hosts[place]["is_isolated"] != 0 else -1
    if tool == KILL and world["has_levels"] != 0:
        place = find(slots, host)
        return place if place >= 0 and can_kill(hosts[place]) else -1
    place = track(net, assets, env, hosts, slots, host)
    if place < 0 or hosts[place]["is_offline"] != 0 or (tool == ISOLATE and hosts[place]["is_isolated"] != 0):
        return -1
    return place


@kernel
def is_critical(asset):
    """Whether high-risk actions on the host need approval."""
    return asset["role"] == DOMAIN_CONTROLLER or asset["value"] >= CRITICAL_VALUE


@kernel
def is_denied(world, env, key, record):
    """Whether approval is denied: it is certain for suspects, a matter of chance for others.

    Suspects by the SIEM's formula, also where a risk model has its place: those who approve go by the evidence.
    """
    limit = world["approval_risk"] * (1.0 - APPROVAL_SPAN * env["directive"][world["num_zones"] + POSTURE_RESPONSE])
    return risk_score(weigh(record)) < limit and uniform(key, APPROVAL, record["zone"]) >= world["approval_rate"]


@kernel
def count_action(world, env, logs, tool, record):
    """A response action begins: on evidence or without, on a clean host or not. Where a kill is free, a vain one is."""
    is_gated = stands(record["verdict"]) or stands(record["finding"])
    is_clean = record["level"] == 0 and record["is_persistent"] == 0 and record["is_encrypted"] == 0
    env["counts"][N_ACTIONS] += 1.0
    if is_gated:
        env["gated_actions"] += 1.0
    if is_clean:
        env["clean_actions"] += 1.0
        if tool != KILL or world["has_levels"] == 0:
            env["term_false"] += FALSE_POSITIVE_TERM
    log(env, logs, LOG_ACTION, tool, record["host"], 1 if is_gated else 0, 1 if is_clean else 0, 0.0, 0.0)


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
        kill(world, env, assets, logs, record)
    else:
        if record["level"] > 0:
            clean(env, assets, logs, record, True)
        record["is_persistent"] = 0
        record["campaign"] = -1
        set_encrypted(assets, env, record, 0)
        set_isolated(assets, env, record, 0)
        clear_suspicion(record)


@kernel
def kill(world, env, assets, logs, record):
    """Ends what runs at user level, where findings have levels only what raised an alert; the rest stays."""
    has_levels = world["has_levels"] != 0
    if record["level"] == USER and (record["is_exposed"] != 0 or not has_levels):
        clean(env, assets, logs, record, False)
    if has_levels:
        record["has_process"] = 0
        record["process"] *= KILL_KEEPS
        weaken_user_finding(world, record, KILL_KEEPS)
    else:
        record["process"] *= 0.5
    rate(world, assets, env, record)


@kernel
def change_network(world, env, tool):
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
