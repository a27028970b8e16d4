"""What the simulator remembers: per env an `EPISODE`, a list of `FOOTHOLD`s and two bits a host; one shared `WORLD`.

Only hosts that were ever compromised have a record, so work and memory traffic grow with them and not with the network.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from soc_env.engine.draws import TABLE_SIZE, noise_table
from soc_env.paper.scenario import NUM_SEGMENTS, PaperScenario
from soc_env.paper.tables import DIRECTIVE_SIZE, METRICS, NUM_PHASES, NUM_TARGETS, QUEUE_CAPACITY

PER_SEGMENT = (NUM_SEGMENTS,)
NEVER = -1  # a step that has not come

FOOTHOLD = np.dtype(
    [
        ("host", "i8"),
        ("segment", "u1"),
        ("stage", "u1"),  # 0 clean .. 4 exfiltrating; the published attacker also "executes" on remediated hosts
        ("copies", "u1"),  # entries in the attacker's list, at most 255
        ("is_detected", "u1"),
        ("is_fresh", "u1"),  # detected in this very step
    ],
    align=True,
)

# Rows of an env's marks: a bit per host, 64 hosts to a word. (Constants handed to kernels are typed: Numba would
# compile a kernel anew for every Python literal.)
COMPROMISED, ISOLATED = np.int64(0), np.int64(1)
NUM_MARKS = 2

ALERT = np.dtype(
    [
        ("severity", "f4"),  # [0, 1]
        ("confidence", "f4"),  # [0, 1]
        ("noise", "f4"),  # visible noise of the cause
        ("step", "i4"),  # when it was raised
        ("segment", "i4"),
        ("is_true", "i4"),  # 1 if an attacker caused it
    ],
    align=True,
)

EPISODE = np.dtype(
    [
        ("seed_key", "u8"),
        ("network_key", "u8"),  # vulnerabilities are a function of it and the host
        ("episode", "i8"),  # number of the episode under this seed; -1 before the first
        ("step", "i8"),
        ("is_over", "i8"),
        # attacker
        ("phase", "i8"),
        ("steps_in_phase", "i8"),
        ("num_targets", "i8"),
        ("targets", "i8", (NUM_TARGETS,)),
        ("target_ranks", "u8", (NUM_TARGETS,)),  # more bits set high = more vulnerable, see networks.py
        ("num_footholds", "i8"),  # hosts ever compromised in this episode
        ("is_exfiltrated", "i8"),
        # defenders
        ("directive", "f8", (DIRECTIVE_SIZE,)),
        ("detection_step", "i8"),
        ("containment_step", "i8"),
        ("is_contained", "i8"),
        # per segment, all kept up to date by kernels/hosts.py
        ("compromised", "i8", PER_SEGMENT),
        ("stage_sum", "i8", PER_SEGMENT),
        ("detected", "i8", PER_SEGMENT),
        ("isolated", "i8", PER_SEGMENT),
        ("quarantined", "i8", PER_SEGMENT),  # compromised and isolated
        # this step's effort per segment
        ("detect_rate", "f8", PER_SEGMENT),  # detection probability per stage
        ("isolation", "f8", PER_SEGMENT),
        ("remediation", "f8", PER_SEGMENT),
        # this step's reward events
        ("false_scans", "i8"),
        ("suppressed", "i8"),
        ("isolations", "i8"),  # compromised hosts isolated
        ("cost", "f8"),
        # counts of the episode
        ("reward", "f8"),
        ("true_positives", "i8"),
        ("false_positives", "i8"),
        ("false_escalations", "i8"),
        ("missed_alerts", "i8"),
        ("total_scans", "i8"),
        ("total_alerts", "i8"),
        # alert queue: a ring, oldest at queue_head
        ("queue_head", "i8"),
        ("queue_length", "i8"),
        ("alerts", ALERT, (QUEUE_CAPACITY,)),
    ],
    align=True,
)

METRIC = np.dtype([(metric.name, "f8") for metric in METRICS])

WORLD = np.dtype(
    [
        ("num_hosts", "i8"),
        ("max_steps", "i8"),
        ("coordinator_period", "i8"),
        ("redraw_vulnerabilities", "i8"),
        ("min_phase_steps", "i8"),
        ("start", "i8", (NUM_SEGMENTS + 1,)),  # first host of each segment
        ("value", "f8", PER_SEGMENT),
        ("mean_vulnerability", "f8", PER_SEGMENT),
        ("is_reachable", "i8", (NUM_SEGMENTS, NUM_SEGMENTS)),
        ("vulnerability_spread", "f8"),
        ("vulnerability_low", "f8"),
        ("vulnerability_high", "f8"),
        ("visible_noise", "f8", (NUM_PHASES,)),
        ("visible_share", "f8"),
        ("per_host", "f8", PER_SEGMENT),  # 1 / hosts of the segment, 0 if it has none
        ("per_network_host", "f8"),
        ("per_step", "f8"),
        ("detectability", "f8"),  # detection probability per stage at full intensity and scope
        ("over_isolation_scale", "f8"),  # 1 / log(1 - over_isolation_rate)
        ("weights", "f8", (4,)),
        *(
            (name, "f8")
            for name in (
                "access_rate", "execution_rate", "lateral_rate", "exfiltration_rate", "exfiltration_value",
                "true_alert_gain", "false_alert_rate", "hunt_threshold", "false_scan_threshold", "false_scan_rate",
                "hunt_boost", "scope_boost", "isolation_boost", "isolation_threshold", "over_isolation_threshold",
                "over_isolation_rate", "remediation_threshold", "isolation_cost", "over_isolation_cost",
                "containment_bonus", "exfiltration_penalty",
            )
        ),
        ("noise_table", "f4", (TABLE_SIZE,)),
    ],
    align=True,
)  # fmt: skip

_DERIVED = {
    "start", "value", "mean_vulnerability", "is_reachable", "visible_noise", "visible_share", "detectability",
    "over_isolation_scale", "weights", "noise_table", "per_host", "per_network_host", "per_step",
}  # fmt: skip


class Records(NamedTuple):
    """All of a simulator, or what concerns one env of it, as `Simulator.records` gives it: views, to read and write.

    | field | of the batch | of an env |
    |---|---|---|
    | world | (1,) WORLD | its only record |
    | env | (num_envs,) EPISODE | a record |
    | footholds | (num_envs, num_hosts) FOOTHOLD | (num_hosts,), the first `num_footholds` are in use |
    | marks | (num_envs, NUM_MARKS, words) uint64, a bit per host | (NUM_MARKS, words): COMPROMISED, ISOLATED |
    """

    world: Any
    env: Any
    footholds: np.ndarray
    marks: np.ndarray

    def of(self, index: int) -> Records:
        """Those of one env."""
        return Records(self.world[0], self.env[index], self.footholds[index], self.marks[index])


def make_world(scenario: PaperScenario, start: np.ndarray) -> np.ndarray:
    """The scenario as one `WORLD` record.

    Args:
        scenario: What to simulate.
        start: (NUM_SEGMENTS + 1,) first host of each segment, see `networks.segment_starts`.

    Returns:
        (1,) array of WORLD.
    """
    world = np.zeros(1, WORLD)
    for name in set(WORLD.fields or ()) - _DERIVED:
        world[name] = getattr(scenario, name)
    world["start"] = start
    world["value"] = [segment.value for segment in scenario.segments]
    world["mean_vulnerability"] = [segment.vulnerability for segment in scenario.segments]
    for s, segment in enumerate(scenario.segments):
        world["is_reachable"][0, s, list(segment.reachable)] = 1
    sizes = np.diff(start)
    world["per_host"] = np.where(sizes > 0, 1.0 / np.maximum(sizes, 1), 0.0)
    world["per_network_host"] = 1.0 / scenario.num_hosts
    world["per_step"] = 1.0 / scenario.max_steps
    world["visible_share"] = 1.0 - scenario.stealth
    world["visible_noise"] = np.array(scenario.phase_noise) * (1.0 - scenario.stealth)
    world["detectability"] = (1.0 - scenario.stealth * scenario.stealth_against_hunt) / 5.0
    if 0.0 < scenario.over_isolation_rate < 1.0:
        world["over_isolation_scale"] = 1.0 / np.log1p(-scenario.over_isolation_rate)
    world["weights"] = scenario.weights
    world["noise_table"] = noise_table()
    return world
