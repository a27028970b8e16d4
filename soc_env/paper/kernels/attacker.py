"""The attacker's campaign: five phases, each needing a success after at least `min_phase_steps` steps to end."""

from __future__ import annotations

import numpy as np

from soc_env.engine.draws import below, power, uniform
from soc_env.engine.jit import kernel
from soc_env.paper.kernels.draws import ACCESS, EXECUTE, EXFILTRATE, LATERAL_HIT, LATERAL_PICK
from soc_env.paper.kernels.hosts import (
    compromise,
    is_candidate,
    is_marked,
    num_candidates,
    segment_size,
    set_stage,
    vulnerability,
    vulnerability_rank,
)
from soc_env.paper.kernels.state import ISOLATED
from soc_env.paper.scenario import NUM_SEGMENTS
from soc_env.paper.tables import NUM_PHASES, NUM_TARGETS

RECONNAISSANCE, INITIAL_ACCESS, EXECUTION, LATERAL_MOVEMENT = range(4)
# Stages a host is taken to by the phase that did it.
ACCESSED, EXECUTED, MOVED, EXFILTRATING = (np.int64(stage) for stage in range(1, 5))
SCAN_BELOW = 8  # candidates; with fewer, a segment is searched in order instead of by trial


@kernel
def advance_campaign(world, env, footholds, marks, key):
    """One step of the attacker. Returns the phase it acted in."""
    phase = env["phase"]
    env["steps_in_phase"] += 1
    if phase == RECONNAISSANCE:
        is_success = reconnoitre(world, env, marks)
    elif phase == INITIAL_ACCESS:
        is_success = gain_access(world, env, footholds, marks, key)
    elif phase == EXECUTION:
        is_success = execute(world, env, footholds, marks, key)
    elif phase == LATERAL_MOVEMENT:
        is_success = move_laterally(world, env, footholds, marks, key)
    else:
        is_success = exfiltrate(world, env, footholds, marks, key)
    if is_success and env["steps_in_phase"] >= world["min_phase_steps"] and phase < NUM_PHASES - 1:
        env["phase"] = phase + 1
        env["steps_in_phase"] = 0
    return phase


@kernel
def reconnoitre(world, env, marks):
    """Picks the most vulnerable hosts of the entry segment that can be attacked; succeeds if there is one."""
    is_current = env["num_targets"] > 0
    for k in range(env["num_targets"]):
        if not is_candidate(marks, env["targets"][k]):
            is_current = False
    if not is_current:  # hosts only ever drop out in this phase, so the choice stands while none of it did
        choose_targets(world, env, marks)
    return env["num_targets"] > 0


@kernel
def choose_targets(world, env, marks):
    """Targets = the NUM_TARGETS most vulnerable entry hosts, neither compromised nor isolated, best first."""
    targets, ranks = env["targets"], env["target_ranks"]
    count = 0
    for host in range(segment_size(world, 0)):
        rank = vulnerability_rank(env["network_key"], host)
        if (count == NUM_TARGETS and rank <= ranks[NUM_TARGETS - 1]) or not is_candidate(marks, host):
            continue
        place = min(count, NUM_TARGETS - 1)
        while place > 0 and ranks[place - 1] < rank:
            targets[place] = targets[place - 1]
            ranks[place] = ranks[place - 1]
            place -= 1
        targets[place] = host
        ranks[place] = rank
        count = min(count + 1, NUM_TARGETS)
    env["num_targets"] = count


@kernel
def gain_access(world, env, footholds, marks, key):
    """Exploits every target that is not isolated, compromised ones again (their stage falls back)."""
    is_success = False
    for k in range(env["num_targets"]):
        host = env["targets"][k]
        if is_marked(marks, ISOLATED, host):
            continue
        chance = world["access_rate"] * vulnerability(world, env["network_key"], host)
        if uniform(key, ACCESS, host) < chance:
            compromise(world, env, footholds, marks, host, ACCESSED)
            is_success = True
    return is_success


@kernel
def execute(world, env, footholds, marks, key):
    """Runs code on every foothold below stage 2 that is not isolated. A foothold listed n times is tried n times.

    The published attacker does not ask whether the host is still compromised.
    """
    is_success = False
    for k in range(env["num_footholds"]):
        foothold = footholds[k]
        if foothold["stage"] >= EXECUTED or is_marked(marks, ISOLATED, foothold["host"]):
            continue
        chance = 1.0 - power(1.0 - world["execution_rate"], np.int64(foothold["copies"]))
        if uniform(key, EXECUTE, foothold["host"]) < chance:
            set_stage(env, foothold, EXECUTED)
            is_success = True
    return is_success


@kernel
def move_laterally(world, env, footholds, marks, key):
    """Tries one host across every edge out of a segment with a foothold that is not isolated.

    Sources are fixed at the start of the step, targets are not: several sources may hit the same segment.
    """
    sources = 0
    for k in range(env["num_footholds"]):
        if not is_marked(marks, ISOLATED, footholds[k]["host"]):
            sources |= 1 << np.int64(footholds[k]["segment"])
    is_success = False
    for source in range(NUM_SEGMENTS):
        if (sources >> source) & 1 == 0:
            continue
        for segment in range(NUM_SEGMENTS):
            if world["is_reachable"][source, segment] == 0 or num_candidates(world, env, segment) == 0:
                continue
            edge = NUM_SEGMENTS * source + segment
            host = pick_candidate(world, env, marks, key, edge, segment)
            chance = world["lateral_rate"] * vulnerability(world, env["network_key"], host)
            if uniform(key, LATERAL_HIT, edge) < chance:
                compromise(world, env, footholds, marks, host, MOVED)
                is_success = True
    return is_success


@kernel
def pick_candidate(world, env, marks, key, edge, segment):
    """A host of the segment, neither compromised nor isolated, each equally likely. There must be one."""
    first, size = world["start"][segment], segment_size(world, segment)
    index = edge << 32
    candidates = num_candidates(world, env, segment)
    if candidates >= SCAN_BELOW:
        while True:
            host = first + below(key, LATERAL_PICK, index, size)
            if is_candidate(marks, host):
                return host
            index += 1
    left = below(key, LATERAL_PICK, index, candidates)
    for host in range(first, first + size):
        if is_candidate(marks, host):
            if left == 0:
                return host
            left -= 1
    return first


@kernel
def exfiltrate(world, env, footholds, marks, key):
    """Stages data on footholds in valuable segments; with some of it staged, may get it out."""
    is_staged = False
    for k in range(env["num_footholds"]):
        foothold = footholds[k]
        is_valuable = world["value"][foothold["segment"]] >= world["exfiltration_value"]
        if is_valuable and foothold["stage"] >= MOVED and not is_marked(marks, ISOLATED, foothold["host"]):
            set_stage(env, foothold, EXFILTRATING)
            is_staged = True
    if is_staged and uniform(key, EXFILTRATE, 0) < world["exfiltration_rate"]:
        env["is_exfiltrated"] = 1
    return is_staged
