"""Host changes and the counters that follow them. Nothing else writes footholds, marks or per-segment counts."""

from __future__ import annotations

import numpy as np

from soc_env.engine.draws import GOLDEN, U1, U11, inverse_normal, mix
from soc_env.engine.jit import kernel
from soc_env.paper.kernels.state import COMPROMISED, ISOLATED
from soc_env.paper.scenario import NUM_SEGMENTS


@kernel
def segment_of(world, host):
    """Segment of a host."""
    start = world["start"]
    segment = 0
    for s in range(1, NUM_SEGMENTS):
        if host >= start[s]:
            segment = s
    return segment


@kernel
def segment_size(world, segment):
    """Number of hosts in a segment."""
    return world["start"][segment + 1] - world["start"][segment]


@kernel
def vulnerability_rank(network_key, host):
    """64 bits that order hosts of a segment by vulnerability: the draw that `vulnerability` turns into a number."""
    return mix(network_key + np.uint64(host) * GOLDEN)


@kernel
def vulnerability(world, network_key, host):
    """Probability that an exploit against the host works: a clipped normal, a pure function of network and host."""
    u = (np.float64(vulnerability_rank(network_key, host) >> U11) + 0.5) * (1.0 / 9007199254740992.0)
    drawn = world["mean_vulnerability"][segment_of(world, host)] + world["vulnerability_spread"] * inverse_normal(u)
    return min(world["vulnerability_high"], max(world["vulnerability_low"], drawn))


@kernel
def is_marked(marks, mark, host):
    """Whether a host is COMPROMISED or ISOLATED. marks: (2, words) uint64."""
    return marks[mark, host >> 6] & (U1 << np.uint64(host & 63)) != 0


@kernel
def set_mark(marks, mark, host):
    """Marks a host."""
    marks[mark, host >> 6] |= U1 << np.uint64(host & 63)


@kernel
def clear_mark(marks, mark, host):
    """Unmarks a host that is marked."""
    marks[mark, host >> 6] ^= U1 << np.uint64(host & 63)


@kernel
def is_candidate(marks, host):
    """Whether a host is neither compromised nor isolated."""
    return (marks[COMPROMISED, host >> 6] | marks[ISOLATED, host >> 6]) & (U1 << np.uint64(host & 63)) == 0


@kernel
def total(counts):
    """Sum over segments."""
    return counts[0] + counts[1] + counts[2] + counts[3] + counts[4]


@kernel
def num_candidates(world, env, segment):
    """Hosts of a segment that are neither compromised nor isolated."""
    taken = env["compromised"][segment] + env["isolated"][segment] - env["quarantined"][segment]
    return segment_size(world, segment) - taken


@kernel
def set_stage(env, foothold, stage):
    """Moves a foothold to an attack stage, compromised or not."""
    env["stage_sum"][foothold["segment"]] += stage - np.int64(foothold["stage"])
    foothold["stage"] = stage


@kernel
def compromise(world, env, footholds, marks, host, stage):
    """The attacker takes a host that is not isolated, perhaps again: another copy in its list, stage overwritten."""
    foothold = find_foothold(world, env, footholds, host)
    if not is_marked(marks, COMPROMISED, host):
        set_mark(marks, COMPROMISED, host)
        env["compromised"][foothold["segment"]] += 1
    if foothold["copies"] < 255:
        foothold["copies"] += 1
    set_stage(env, foothold, stage)


@kernel
def find_foothold(world, env, footholds, host):
    """The host's record, a new one without copies if it was never compromised."""
    for k in range(env["num_footholds"]):
        if footholds[k]["host"] == host:
            return footholds[k]
    foothold = footholds[env["num_footholds"]]
    env["num_footholds"] += 1
    foothold["host"] = host
    foothold["segment"] = segment_of(world, host)
    foothold["stage"] = 0
    foothold["copies"] = 0
    foothold["is_detected"] = 0
    foothold["is_fresh"] = 0
    return foothold


@kernel
def detect(env, foothold):
    """A hunt finds a compromised host."""
    foothold["is_detected"] = 1
    foothold["is_fresh"] = 1
    env["detected"][foothold["segment"]] += 1


@kernel
def quarantine(env, marks, foothold):
    """Isolates a compromised host."""
    set_mark(marks, ISOLATED, foothold["host"])
    env["isolated"][foothold["segment"]] += 1
    env["quarantined"][foothold["segment"]] += 1


@kernel
def cut_off(env, marks, host, segment):
    """Isolates a clean host; in the published simulator it stays so to the end of the episode."""
    set_mark(marks, ISOLATED, host)
    env["isolated"][segment] += 1


@kernel
def remediate(env, marks, foothold):
    """Cleans a compromised isolated host and puts it back on the network. The attacker's list keeps it."""
    segment = foothold["segment"]
    clear_mark(marks, COMPROMISED, foothold["host"])
    clear_mark(marks, ISOLATED, foothold["host"])
    env["compromised"][segment] -= 1
    env["isolated"][segment] -= 1
    env["quarantined"][segment] -= 1
    env["detected"][segment] -= np.int64(foothold["is_detected"])
    foothold["is_detected"] = 0
    set_stage(env, foothold, 0)


@kernel
def clean_all(env, marks):
    """Every host as at the start of an episode."""
    for word in range(marks.shape[1]):
        marks[COMPROMISED, word] = 0
        marks[ISOLATED, word] = 0
    env["num_footholds"] = 0
    for s in range(NUM_SEGMENTS):
        env["compromised"][s] = 0
        env["stage_sum"][s] = 0
        env["detected"][s] = 0
        env["isolated"][s] = 0
        env["quarantined"][s] = 0
