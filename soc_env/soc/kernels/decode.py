"""Action vectors decoded into calls of the SIEM, EDR and SOAR tools.

`decode` reads only what the SOC knows. A call names its tool, its target (a case's id, a zone, a host, or 0 for the
network), for hunting its level and depth, and afterwards its outcome.
"""

from __future__ import annotations

import numpy as np

from soc_env.engine.jit import kernel
from soc_env.soc.kernels.hosts import find
from soc_env.soc.kernels.siem import stands
from soc_env.soc.kernels.state import CALL_SLOTS
from soc_env.soc.tables import (
    BLIND_ABOVE,
    BLOCK_PERIMETER,
    COLLECT_FORENSICS,
    DEEP_ABOVE,
    DEEP_SCAN,
    DEPLOY_DECOY,
    ENRICH,
    HUNT,
    INTEL_SWEEP,
    ISOLATE,
    ISOLATE_ABOVE,
    KILL,
    KILL_ABOVE,
    MAX_DECOYS,
    ON_ABOVE,
    QUERY,
    REFUSED,
    REIMAGE,
    REIMAGE_ABOVE,
    RELEASE,
    RELEASE_BELOW,
    RESET_CREDENTIALS,
    TRIAGE_TOOLS,
    UNBLOCK_PERIMETER,
)

NO_EFFORT = 0.05  # effort below this is no hunt
RISK_FLOOR = 0.1  # risk below which SOAR does nothing: no more than one weak alert
BLIND_TRIES = 64  # hosts that blind isolation looks at in a minute


@kernel
def decode(world, net, env, hosts, slots, i, num_envs, box_actions, choice):
    """Turns the action vectors of env i into the minute's calls, by what the SOC knew when it acted."""
    zones = world["num_zones"]
    env["num_calls"] = 0
    decode_triage(env, choice)
    size = 3 * zones + 1
    row = i * size
    decode_hunter(world, env, hosts, box_actions[row : row + size])
    first = size * num_envs
    size = 2 * zones + 2
    row = first + i * size
    decode_response(world, net, env, hosts, slots, box_actions[row : row + size])


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
    tool = TRIAGE_TOOLS[choice]
    if tool == ENRICH and case["enriched"] != 0:
        tool = QUERY
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
            add_call(env, DEEP_SCAN if depth > DEEP_ABOVE else HUNT, z, effort, depth)
            if depth > DEEP_ABOVE and env["findings_standing"][z] > 0:
                host = uncollected(env, hosts, z)
                if host >= 0:
                    add_call(env, COLLECT_FORENSICS, host, 0.0, 0.0)
        if level(action[2 * zones + z]) > ON_ABOVE and num_decoys(env, z) < MAX_DECOYS:
            add_call(env, DEPLOY_DECOY, z, 0.0, 0.0)
    if level(action[3 * zones]) > ON_ABOVE and env["step"] >= env["intel_allowed"]:
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
    against it. Whether that host is suspect enough is for the agent to read, so no constant action can do it.
    """
    zones = world["num_zones"]
    for z in range(zones):
        if env["job_tool"][z] >= 0 or world["is_defended"][z] == 0:
            continue
        contain, remediate = level(action[z]), level(action[zones + z])
        if contain > ISOLATE_ABOVE and call_isolation(net, env, hosts, slots, z, contain > BLIND_ABOVE):
            continue
        if remediate > KILL_ABOVE and call_remediation(world, env, z, remediate > REIMAGE_ABOVE):
            continue
        if contain < RELEASE_BELOW and env["least_host"][z] >= 0:
            add_call(env, RELEASE, env["least_host"][z], 0.0, 0.0)
    is_wanted = level(action[2 * zones]) > ON_ABOVE
    if is_wanted and env["perimeter"] == 0:
        add_call(env, BLOCK_PERIMETER, 0, 0.0, 0.0)
    elif not is_wanted and env["perimeter"] == 2:
        add_call(env, UNBLOCK_PERIMETER, 0, 0.0, 0.0)
    if level(action[2 * zones + 1]) > ON_ABOVE and env["step"] >= env["reset_allowed"]:
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
    for _ in range(min(size, BLIND_TRIES)):
        host = first + env["blind_next"][z] % size
        env["blind_next"][z] += 1
        place = find(slots, host)
        if place < 0 or (hosts[place]["is_isolated"] == 0 and hosts[place]["is_offline"] == 0):
            add_call(env, ISOLATE, host, 0.0, 0.0)
            return True
    return False


@kernel
def call_remediation(world, env, z, is_reimage):
    """Reimages or kills on the more suspect of the zone's most suspect isolated host and its most suspect other one;
    where findings have levels, kills on the most suspect host with something to kill."""
    if world["has_levels"] != 0 and not is_reimage:
        if env["kill_host"][z] < 0 or env["kill_risk"][z] < RISK_FLOOR:
            return False
        add_call(env, KILL, env["kill_host"][z], 0.0, 0.0)
        return True
    host, score = env["isolated_host"][z], env["isolated_risk"][z]
    if host < 0 or (env["top_host"][z] >= 0 and env["top_risk"][z] > score):
        host, score = env["top_host"][z], env["top_risk"][z]
    if host < 0 or score < RISK_FLOOR:
        return False
    add_call(env, REIMAGE if is_reimage else KILL, host, 0.0, 0.0)
    return True
