"""What agents see, what a central critic may see, and what an episode amounted to: pure functions of the state.

The published observations show the truth, detected or not; see the package's documentation page. Offsets come from the
feature tables.
"""

from __future__ import annotations

import numpy as np

from soc_env.engine.draws import write_noise
from soc_env.engine.jit import kernel
from soc_env.engine.tables import COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE, index_of
from soc_env.paper.kernels.alerts import slot
from soc_env.paper.kernels.draws import COORDINATOR_NOISE, HUNTER_NOISE, ORCHESTRATOR_NOISE
from soc_env.paper.kernels.hosts import total
from soc_env.paper.scenario import NUM_SEGMENTS
from soc_env.paper.tables import (
    DIRECTIVE_SIZE,
    FEATURES,
    MAX_STAGE,
    NUM_PHASES,
    NUM_SHOWN_ALERTS,
    NUM_SHOWN_HOSTS,
    QUEUE_CAPACITY,
    STATE,
)

CLOCK = index_of(FEATURES[COORDINATOR], "clock")
COORDINATOR_RANDOM = index_of(FEATURES[COORDINATOR], "noise_0")
FLOW = index_of(FEATURES[HUNTER], "flow0_compromised")
FLOW_SIZE = index_of(FEATURES[HUNTER], "flow1_compromised") - FLOW
INTEL = index_of(FEATURES[HUNTER], "intel_0")
ENDPOINT = index_of(FEATURES[HUNTER], "endpoint_0")
FIRST_ALERT = index_of(FEATURES[TRIAGE], "alert0_severity")
ALERT_SIZE = index_of(FEATURES[TRIAGE], "alert1_severity") - FIRST_ALERT
ISOLATED = index_of(FEATURES[ORCHESTRATOR], "isolated")
PLAN = index_of(FEATURES[ORCHESTRATOR], "plan0_compromised")
PLAN_SIZE = index_of(FEATURES[ORCHESTRATOR], "plan1_compromised") - PLAN
PER_SEGMENT_FEATURES = 4
COORDINATOR_SCALE, FLOW_SCALE, INTEL_SCALE, ENDPOINT_SCALE, PLAN_SCALE = (
    np.float32(scale) for scale in (0.1, 0.2, 0.1, 0.15, 0.1)
)
STAGE_UNIT = 1.0 / (MAX_STAGE + 1.0)
SEGMENT_UNIT = 1.0 / NUM_SEGMENTS
QUEUE_UNIT = 1.0 / QUEUE_CAPACITY

S_QUARANTINED = index_of(STATE, "segment0_quarantined")
S_PHASE = index_of(STATE, "phase_0")
S_STEPS_IN_PHASE = index_of(STATE, "steps_in_phase")
S_DIRECTIVE = index_of(STATE, "directive_0")
S_CLOCK = index_of(STATE, "clock")


@kernel
def write_segments(world, env, row):
    """row[:20] = per segment the shares compromised, mean stage, detected, isolated."""
    for s in range(NUM_SEGMENTS):
        per_host = world["per_host"][s]
        first = PER_SEGMENT_FEATURES * s
        row[first] = env["compromised"][s] * per_host
        row[first + 1] = env["stage_sum"][s] * per_host * STAGE_UNIT
        row[first + 2] = env["detected"][s] * per_host
        row[first + 3] = env["isolated"][s] * per_host


@kernel
def observe_triage(world, env, row):
    """row: (64,) float32. The queue and its oldest alerts."""
    row[0] = env["queue_length"] * QUEUE_UNIT
    shown = min(env["queue_length"], NUM_SHOWN_ALERTS)
    for age in range(shown):
        alert = env["alerts"][slot(env, age)]
        first = FIRST_ALERT + ALERT_SIZE * age
        row[first] = alert["severity"]
        row[first + 1] = alert["confidence"]
        row[first + 2] = alert["segment"] * SEGMENT_UNIT
        row[first + 3] = alert["is_true"]
        row[first + 4] = alert["step"] * world["per_step"]
        row[first + 5] = alert["noise"]
    for k in range(FIRST_ALERT + ALERT_SIZE * shown, FIRST_ALERT + ALERT_SIZE * NUM_SHOWN_ALERTS):
        row[k] = 0.0


@kernel
def observe_hunter(world, env, footholds, key, row):
    """row: (128,) float32. Segments, flows, threat intelligence, endpoints."""
    write_segments(world, env, row)
    table = world["noise_table"]
    attacker_noise = world["visible_noise"][env["phase"]]
    for s in range(NUM_SEGMENTS):
        first = FLOW + FLOW_SIZE * s
        row[first] = row[PER_SEGMENT_FEATURES * s]
        row[first + 1] = attacker_noise
        write_noise(row[first + 2 : first + FLOW_SIZE], FLOW_SCALE, table, key, HUNTER_NOISE, 16 * s)
    write_noise(row[INTEL:ENDPOINT], INTEL_SCALE, table, key, HUNTER_NOISE, 16 * NUM_SEGMENTS)
    shown = min(NUM_SHOWN_HOSTS, world["num_hosts"])
    write_noise(row[ENDPOINT : ENDPOINT + shown], ENDPOINT_SCALE, table, key, HUNTER_NOISE, 16 * (NUM_SEGMENTS + 1))
    for k in range(env["num_footholds"]):  # only they have a stage
        foothold = footholds[k]
        if foothold["host"] < NUM_SHOWN_HOSTS:
            place = ENDPOINT + foothold["host"]
            signal = foothold["stage"] * STAGE_UNIT * world["visible_share"]
            row[place] = min(1.0, np.float64(row[place]) + signal)  # without stealth it could leave the space


@kernel
def observe_orchestrator(world, env, key, row):
    """row: (96,) float32. Segments, and what isolation has done to each."""
    write_segments(world, env, row)
    row[ISOLATED] = total(env["isolated"]) * world["per_network_host"]
    for s in range(NUM_SEGMENTS):
        first = PLAN + PLAN_SIZE * s
        row[first] = row[PER_SEGMENT_FEATURES * s]
        row[first + 1] = row[PER_SEGMENT_FEATURES * s + 3]
        row[first + 2] = world["value"][s]
        table = world["noise_table"]
        write_noise(row[first + 3 : first + PLAN_SIZE], PLAN_SCALE, table, key, ORCHESTRATOR_NOISE, 16 * s)


@kernel
def observe_coordinator(world, env, key, row):
    """row: (64,) float32. Segments, clock, totals."""
    write_segments(world, env, row)
    num_compromised = total(env["compromised"])
    row[CLOCK] = env["step"] * world["per_step"]
    row[CLOCK + 1] = env["queue_length"] * QUEUE_UNIT
    row[CLOCK + 2] = num_compromised * world["per_network_host"]
    row[CLOCK + 3] = total(env["detected"]) / (num_compromised + 1.0)
    write_noise(row[COORDINATOR_RANDOM:], COORDINATOR_SCALE, world["noise_table"], key, COORDINATOR_NOISE, 0)


@kernel
def write_state(world, env, row):
    """row: (len(STATE),) float32. The truth, for central critics; agents never receive it."""
    write_segments(world, env, row)
    for s in range(NUM_SEGMENTS):
        row[S_QUARANTINED + s] = env["quarantined"][s] * world["per_host"][s]
    for phase in range(NUM_PHASES):
        row[S_PHASE + phase] = 1.0 if phase == env["phase"] else 0.0
    true_alerts = 0
    for age in range(env["queue_length"]):
        true_alerts += np.int64(env["alerts"][slot(env, age)]["is_true"])
    row[S_STEPS_IN_PHASE] = env["steps_in_phase"] * world["per_step"]
    row[S_STEPS_IN_PHASE + 1] = world["visible_noise"][env["phase"]]
    row[S_STEPS_IN_PHASE + 2] = env["num_footholds"] * world["per_network_host"]
    row[S_STEPS_IN_PHASE + 3] = true_alerts * QUEUE_UNIT
    row[S_STEPS_IN_PHASE + 4] = (env["queue_length"] - true_alerts) * QUEUE_UNIT
    row[S_STEPS_IN_PHASE + 5] = 0.0
    if env["queue_length"] > 0:
        row[S_STEPS_IN_PHASE + 5] = env["alerts"][env["queue_head"]]["is_true"]
    for k in range(DIRECTIVE_SIZE):
        row[S_DIRECTIVE + k] = env["directive"][k]
    has_detected = env["detection_step"] >= 0
    to_decision = -env["step"] % world["coordinator_period"]
    row[S_CLOCK] = env["step"] * world["per_step"]
    row[S_CLOCK + 1] = to_decision / world["coordinator_period"]
    row[S_CLOCK + 2] = 1.0 if has_detected else 0.0
    row[S_CLOCK + 3] = env["detection_step"] * world["per_step"] if has_detected else 1.0
    row[S_CLOCK + 4] = env["is_contained"]
    row[S_CLOCK + 5] = env["is_exfiltrated"]


@kernel
def write_metrics(world, env, row):
    """row: one METRIC record. The episode so far, see `tables.METRICS`."""
    scans = max(1, env["total_scans"] - env["true_positives"])
    row["reward"] = env["reward"]
    row["length"] = env["step"]
    row["mttd"] = env["detection_step"] if env["detection_step"] >= 0 else world["max_steps"]
    row["mttr"] = env["containment_step"] if env["containment_step"] >= 0 else world["max_steps"]
    row["fpr"] = min(1.0, env["false_positives"] / scans)
    row["csr"] = env["is_contained"]
    row["compromised"] = total(env["compromised"])
    row["exfiltrated"] = env["is_exfiltrated"]
    row["total_alerts"] = env["total_alerts"]
    row["true_positives"] = env["true_positives"]
    row["false_positives"] = env["false_positives"]
    row["total_scans"] = env["total_scans"]
    row["false_escalations"] = env["false_escalations"]
    row["missed_alerts"] = env["missed_alerts"]
