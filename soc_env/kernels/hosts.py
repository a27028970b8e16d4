"""Host changes and the counters that follow them. Nothing else writes hosts or per-segment counts."""

from __future__ import annotations

import numpy as np

from ..jit import inlined, kernel
from ..scenario import NUM_SEGMENTS
from .draws import GOLDEN, U11, inverse_normal, mix


@inlined
def segment_of(world, host):
    """Segment of a host."""
    start = world["start"]
    segment = 0
    for s in range(1, NUM_SEGMENTS):
        if host >= start[s]:
            segment = s
    return segment


@inlined
def segment_size(world, segment):
    """Number of hosts in a segment."""
    return world["start"][segment + 1] - world["start"][segment]


@inlined
def vulnerability_rank(network_key, host):
    """64 bits that order hosts of equal mean by vulnerability: the same draw that `vulnerability` turns into a number."""
    return mix(network_key + np.uint64(host) * GOLDEN)


@kernel
def vulnerability(world, network_key, host):
    """Probability that an exploit against the host works: a clipped normal, a pure function of network and host."""
    u = (np.float64(vulnerability_rank(network_key, host) >> U11) + 0.5) * (1.0 / 9007199254740992.0)
    drawn = world["mean_vulnerability"][segment_of(world, host)] + world["vulnerability_spread"] * inverse_normal(u)
    return min(world["vulnerability_high"], max(world["vulnerability_low"], drawn))


@inlined
def total(counts):
    """Sum over segments."""
    return counts[0] + counts[1] + counts[2] + counts[3] + counts[4]


@inlined
def num_candidates(world, env, segment):
    """Hosts of a segment that are neither compromised nor isolated."""
    taken = env["compromised"][segment] + env["isolated"][segment] - env["quarantined"][segment]
    return segment_size(world, segment) - taken


@kernel
def set_stage(world, env, hosts, host, stage):
    """Moves a host to an attack stage, compromised or not."""
    record = hosts[host]
    env["stage_sum"][segment_of(world, host)] += stage - np.int64(record["stage"])
    record["stage"] = stage


@kernel
def compromise(world, env, hosts, touched, host, stage):
    """The attacker takes a host that is not isolated, perhaps again: another copy in its list, stage overwritten."""
    record = hosts[host]
    if record["is_compromised"] == 0:
        record["is_compromised"] = 1
        env["compromised"][segment_of(world, host)] += 1
    if record["copies"] == 0:
        touched[env["num_footholds"]] = host
        env["num_footholds"] += 1
    if record["copies"] < 255:
        record["copies"] += 1
    set_stage(world, env, hosts, host, stage)


@kernel
def detect(world, env, hosts, host):
    """A hunt finds a compromised host."""
    record = hosts[host]
    record["is_detected"] = 1
    record["is_fresh"] = 1
    env["detected"][segment_of(world, host)] += 1


@kernel
def quarantine(world, env, hosts, host):
    """Isolates a compromised host."""
    hosts[host]["is_isolated"] = 1
    segment = segment_of(world, host)
    env["isolated"][segment] += 1
    env["quarantined"][segment] += 1


@kernel
def cut_off(world, env, hosts, touched, host):
    """Isolates a clean host; in the published simulator it stays so to the end of the episode."""
    record = hosts[host]
    record["is_isolated"] = 1
    env["isolated"][segment_of(world, host)] += 1
    if record["copies"] == 0:
        env["num_cut_off"] += 1
        touched[touched.shape[0] - env["num_cut_off"]] = host


@kernel
def remediate(world, env, hosts, host):
    """Cleans a compromised isolated host and puts it back on the network. The attacker's list keeps it."""
    record = hosts[host]
    segment = segment_of(world, host)
    env["compromised"][segment] -= 1
    env["isolated"][segment] -= 1
    env["quarantined"][segment] -= 1
    env["detected"][segment] -= np.int64(record["is_detected"])
    record["is_compromised"] = 0
    record["is_isolated"] = 0
    record["is_detected"] = 0
    set_stage(world, env, hosts, host, 0)


@kernel
def clean_all(env, hosts, touched):
    """Undoes an episode: only hosts that it touched are visited."""
    for k in range(env["num_footholds"]):
        _clean(hosts[touched[k]])
    for k in range(touched.shape[0] - env["num_cut_off"], touched.shape[0]):
        _clean(hosts[touched[k]])
    env["num_footholds"] = 0
    env["num_cut_off"] = 0


@inlined
def _clean(record):
    record["is_compromised"] = 0
    record["stage"] = 0
    record["is_detected"] = 0
    record["is_isolated"] = 0
    record["is_fresh"] = 0
    record["copies"] = 0
