"""Hand-built states of `paper-v0`, for the tests of its engine.

The tests look at one mechanic at a time: hand-built states, one step, exact values. Probabilities are tested at 0 and
1, and as rates over many envs that start from the same state (fixed seeds, 4.5 standard errors). The sections that
tests name are those of the published simulator's description, see the page of `soc_env.paper`.
"""

from __future__ import annotations

import numpy as np

import soc_env
from soc_env.paper.kernels.state import COMPROMISED, ISOLATED

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = soc_env.AGENTS
ESCALATE, SUPPRESS, CORRELATE, ENRICH = range(4)
RECONNAISSANCE, ACCESS, EXECUTION, LATERAL, EXFILTRATION = range(5)

# Nothing happens unless a test asks for it.
QUIET = {
    "access_rate": 0.0, "execution_rate": 0.0, "lateral_rate": 0.0, "exfiltration_rate": 0.0, "true_alert_gain": 0.0,
    "false_alert_rate": 0.0, "coordinator_period": 1, "min_phase_steps": 100,
}  # fmt: skip
CERTAIN = {"vulnerability_low": 1.0, "vulnerability_high": 1.0}  # every host has vulnerability 1


def build(
    footholds=(), isolated=(), phase=RECONNAISSANCE, steps_in_phase=0, targets=None, alerts=(), step=0,
    detection_step=-1, num_envs=1, seed=0, **overrides,
):  # fmt: skip
    """A simulator whose envs all stand in the given state.

    Args:
        footholds: (host, stage) or (host, stage, flags) with flags of "c" not compromised (clean), "d" detected, "i"
            isolated, and a digit for the number of copies.
        isolated: Further hosts, isolated while clean.
        alerts: (segment, severity, is_true), oldest first; confidence 0.5, noise 0.1, raised at step 0.
    """
    sim = soc_env.Simulator("paper-v0", num_envs=num_envs, seed=seed, autoreset=False, **(QUIET | overrides))
    sim.reset()
    for i in range(num_envs):
        _, env, _, marks = sim.records(i)
        env["phase"], env["steps_in_phase"], env["step"], env["detection_step"] = (
            phase,
            steps_in_phase,
            step,
            detection_step,
        )
        if targets is not None:
            env["num_targets"] = len(targets)
            env["targets"][: len(targets)] = targets
        for host, stage, *rest in footholds:
            place_foothold(sim, i, host, stage, rest[0] if rest else "")
        for host in isolated:
            marks[ISOLATED, host >> 6] |= np.uint64(1) << np.uint64(host & 63)
            env["isolated"][segment_of(sim, host)] += 1
        for segment, severity, is_true in alerts:
            env["alerts"][env["queue_length"]] = (severity, 0.5, 0.1, 0, segment, is_true)
            env["queue_length"] += 1
    hold_still(sim)
    return sim


def place_foothold(sim, i, host, stage, flags):
    _, env, records, marks = sim.records(i)
    segment = segment_of(sim, host)
    copies = next((int(flag) for flag in flags if flag.isdigit()), 1)
    record = records[env["num_footholds"]]
    record["host"], record["segment"], record["stage"], record["copies"] = host, segment, stage, copies
    record["is_detected"], record["is_fresh"] = "d" in flags, 0
    env["num_footholds"] += 1
    env["stage_sum"][segment] += stage
    for mark, is_set in ((COMPROMISED, "c" not in flags), (ISOLATED, "i" in flags)):
        if is_set:
            marks[mark, host >> 6] |= np.uint64(1) << np.uint64(host & 63)
    env["compromised"][segment] += "c" not in flags
    env["isolated"][segment] += "i" in flags
    env["quarantined"][segment] += "i" in flags and "c" not in flags
    env["detected"][segment] += "d" in flags


def segment_of(sim, host):
    return int(np.searchsorted(sim.records(0).world["start"], host, side="right")) - 1


def hold_still(sim):
    """Actions that do nothing: no hunt, no response, no boost, enrich."""
    for agent in (HUNTER, ORCHESTRATOR, COORDINATOR):
        sim.actions[agent][...] = -1.0
    sim.actions[TRIAGE][...] = ENRICH


def order(sim, intensity=0.0, scope=0.0, isolate=0.0, remediate=0.0, triage=ENRICH):
    """Tool levels in [0, 1], for all segments or one per segment."""
    sim.actions[HUNTER][:, :5] = 2 * np.array(intensity) - 1
    sim.actions[HUNTER][:, 5:10] = 2 * np.array(scope) - 1
    sim.actions[ORCHESTRATOR][:, :5] = 2 * np.array(isolate) - 1
    sim.actions[ORCHESTRATOR][:, 5:10] = 2 * np.array(remediate) - 1
    sim.actions[TRIAGE][...] = triage


def assert_rate(hits, trials, chance):
    """Whether a count fits its probability."""
    assert abs(hits - trials * chance) < 4.5 * np.sqrt(trials * chance * (1 - chance)), (hits / trials, chance)


def assert_counters_fit(sim):
    """Whether the incremental counters equal a recount over all hosts."""
    for i in range(sim.num_envs):
        hosts, env = sim.hosts(i), sim.records(i).env
        for s in range(5):
            own = hosts[hosts["segment"] == s]
            assert env["compromised"][s] == own["is_compromised"].sum()
            assert env["isolated"][s] == own["is_isolated"].sum()
            assert env["detected"][s] == own["is_detected"].sum()
            assert env["quarantined"][s] == (own["is_compromised"] & own["is_isolated"]).sum()
            assert env["stage_sum"][s] == own["stage"].sum()
