"""What a `soc-v1` simulator remembers.

Per env one `EPISODE` and a list of `HOST` records; shared by all envs one `WORLD`, a `NETWORK` per generated network
and an `ASSET` per host of it. Only hosts that something happened to have a record (`slots` says where), so work and
memory grow with them and not with the network. Integers are i8 (i4 in HOST) and reals f8, so that compiled and
interpreted arithmetic are the same to the bit.

Fields are grouped by who may know them: nothing under "truth" may be read by `observe.py`'s observations or by `decode`
(tests/soc_env/soc/test_soc_truth.py flips all of them).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from soc_env.engine.draws import TABLE_SIZE
from soc_env.soc.attack import TECHNIQUES
from soc_env.soc.intruders import INTRUDER_FAMILIES, MAX_CHOICES, MAX_PLAN
from soc_env.soc.risk_model import INPUTS, MAX_UNITS
from soc_env.soc.tables import (
    CASE_SLOTS,
    MAX_CAMPAIGNS,
    MAX_DECOYS,
    MAX_PHASES,
    METRICS,
    TOOLS,
)

MAX_ZONES, MAX_SEGMENTS, MAX_SERVICES, MAX_ROLES = 16, 32, 16, 4
PENDING_SLOTS = 48  # alerts on their way
CALL_SLOTS = 96  # tool calls of one minute
RULE_DRAWS = 4096  # resolution of the draw of a benign rule
MAX_TRACKED = 4096  # benign alerts keep about a thousand hosts on record at 100,000 hosts
NEVER = -1
USER, ADMIN = 1, 2  # levels of a compromised host

HOST = np.dtype(  # the one record that steps go through in bulk, hence its short integers
    [
        ("process", "f8"),
        ("target", "f8"),
        ("source", "f8"),
        ("finding", "f8"),
        ("verdict", "f8"),
        ("risk", "f8"),
        # kept for a learned risk model alone, see rating.py
        ("alerts", "f8"),
        ("precision", "f8"),
        ("sharpness", "f8"),
        ("stage", "f8"),
        ("peer", "f8"),
        ("reading", "f8"),
        ("looked", "f8"),
        ("cleared", "f8"),
        ("rules_seen", "i8"),  # bit (rule % 62)
        ("host", "i4"),
        ("zone", "i4"),
        ("segment", "i4"),
        # truth
        ("level", "i4"),  # 0 clean, 1 user, 2 admin
        ("campaign", "i4"),  # whose it is, or whose persistence lies there; -1 nobody's
        ("is_persistent", "i4"),
        ("is_encrypted", "i4"),
        ("since", "i4"),  # minute of compromise
        ("is_detected", "i4"),  # this compromise was escalated or found
        ("is_credited", "i4"),  # its containment was paid
        ("is_exposed", "i4"),  # a process of this compromise raised an alert: kill_process ends it (finding_levels)
        # known to the SOC, as are the weights above
        ("is_isolated", "i4"),
        ("is_offline", "i4"),
        ("last_alert", "i4"),
        ("last_hunt", "i4"),
        ("is_collected", "i4"),
        ("has_process", "i4"),  # an alert about a process of it stands: since then nothing was killed there
        ("known_level", "i4"),  # what EDR last said of it, as `level` (finding_levels)
    ],
    align=True,
)
HOST_TRUTH = ("level", "campaign", "is_persistent", "is_encrypted", "since", "is_detected", "is_credited", "is_exposed")

CASE = np.dtype(
    [
        ("id", "i8"),
        ("host", "i8"),
        ("source", "i8"),  # -1 if none
        ("zone", "i8"),
        ("rule", "i8"),
        ("num_alerts", "i8"),
        ("opened", "i8"),
        ("severity", "f8"),
        ("confidence", "f8"),
        ("enriched", "i8"),  # 0, 1 enriched, 2 queried too
        ("reading", "f8"),
        ("second_reading", "f8"),
        ("is_overdue", "i8"),
        ("rank", "f8"),
        # truth
        ("is_true", "i8"),
        ("campaign", "i8"),
    ],
    align=True,
)
CASE_TRUTH = ("is_true", "campaign")

PENDING = np.dtype(
    [("due", "i8"), ("rule", "i8"), ("host", "i8"), ("source", "i8"), ("severity", "f8"), ("confidence", "f8"),
     ("campaign", "i8")],
    align=True,
)  # fmt: skip

CAMPAIGN = np.dtype(
    [
        ("state", "i8"),  # 0 none, 1 active, 2 over
        ("family", "i8"),
        ("plan", "i8"),
        ("loops_left", "i8"),
        ("timer", "i8"),
        ("technique", "i8"),  # being attempted, -1 while it waits
        ("via", "i8"),  # host it acts from
        ("target", "i8"),  # host it acts on
        ("has_credentials", "i8"),
        ("stealth", "f8"),
        ("has_hosts_lost", "i8"),  # since its last move: it reacts
        ("is_known", "i8"),  # its indicators are (the one thing here that the SOC knows, as a number of intruders)
        ("num_live", "i8"),
        ("num_defended", "i8"),  # of them, in zones that the SOC defends
        ("num_owned", "i8"),
        ("num_latent", "i8"),
        ("goal_minutes", "i8"),
        ("start", "i8"),
        ("detected", "i8"),
        ("acknowledged", "i8"),
        ("contained", "i8"),
        ("eradicated", "i8"),
        ("is_contained", "i8"),
    ],
    align=True,
)

CALL = np.dtype(
    [("tool", "i8"), ("target", "i8"), ("level", "f8"), ("depth", "f8"), ("outcome", "i8")], align=True
)  # fmt: skip

# Kinds of log entries and what a, b, c, d, x, y of each mean, "" where nothing.
LOG_FIELDS: dict[str, tuple[str, str, str, str, str, str]] = {
    "call": ("tool", "target", "outcome", "", "level", "depth"),
    "completed": ("tool", "target", "outcome", "zone", "", ""),
    "alert": ("technique", "host", "source", "campaign", "severity", "confidence"),
    "case": ("case", "technique", "host", "is_true", "severity", "confidence"),
    "case_closed": ("case", "how", "is_true", "", "", ""),  # case -1: an alert that never became one
    "campaign": ("campaign", "change", "detail", "", "", ""),  # detail: family, plan step or reaction
    "compromise": ("host", "campaign", "level", "", "", ""),
    "cleaned": ("host", "campaign", "is_complete", "", "", ""),
    "damage": ("campaign", "host", "goal", "minutes", "loss", ""),
    "finding": ("host", "is_true", "", "", "weight", ""),
    "clearing": ("host", "", "", "", "depth", ""),
    "detection": ("host", "campaign", "", "", "", ""),  # of a compromised host, by verdict or finding
    "work": ("case", "tool", "is_true", "campaign", "", ""),  # triage works on a case
    "action": ("tool", "host", "is_gated", "is_clean", "", ""),  # a response action begins
}
LOG_KINDS = tuple(LOG_FIELDS)
LOG = np.dtype(
    [("step", "i8"), ("kind", "i8"), ("a", "i8"), ("b", "i8"), ("c", "i8"), ("d", "i8"), ("x", "f8"), ("y", "f8")],
    align=True,
)

PER_ZONE, PER_SEGMENT = (MAX_ZONES,), (MAX_SEGMENTS,)
# Places in `counts` and in a row of metrics, in the order of METRICS.
(
    N_REWARD, N_SCORE, N_LOSS, N_DAMAGE, N_DISRUPTION, N_EFFORT, N_LENGTH, N_MTTD, N_MTTA, N_MTTC, N_MTTR, N_FDR, N_FPR,
    N_ACTION_FDR, N_EVIDENCE_GATED, N_CSR, N_CAMPAIGNS, N_DETECTED, N_CONTAINED, N_ERADICATED, N_BLAST_RADIUS,
    N_COMPROMISED, N_EXFILTRATED, N_ENCRYPTED, N_DISRUPTION_MINUTES, N_TOTAL_ALERTS, N_TRUE_ALERTS, N_CASES,
    N_DROPPED_CASES, N_AUTO_CLOSED, N_EXPIRED_CASES, N_SLA_BREACHES, N_TRUE_POSITIVES, N_FALSE_POSITIVES,
    N_TRUE_NEGATIVES, N_MISSED_CASES, N_FINDINGS, N_FALSE_FINDINGS, N_ACTIONS, N_ANALYST_MINUTES, N_RAW_EVENTS,
) = range(len(METRICS))  # fmt: skip

EPISODE = np.dtype(
    [
        ("seed_key", "u8"),
        ("network_key", "u8"),
        ("episode", "i8"),
        ("step", "i8"),
        ("is_over", "i8"),
        ("network", "i8"),  # which of the scenario's
        ("has_calls", "i8"),  # the next step takes `calls` as they are instead of decoding actions
        ("num_calls", "i8"),
        ("num_log", "i8"),
        ("num_tracked", "i8"),
        # truth
        ("campaigns", CAMPAIGN, (MAX_CAMPAIGNS,)),
        ("num_campaigns", "i8"),  # ever started, also in slots used again
        ("past_campaigns", "f8", (9,)),  # sums over campaigns whose slot was used again, see outcomes.py
        ("num_pending", "i8"),
        ("pending", PENDING, (PENDING_SLOTS,)),
        ("attack_events", "f8", PER_ZONE),
        # directive, queue, analysts
        ("directive", "f8", (MAX_ZONES + 3,)),
        ("num_cases", "i8"),
        ("next_case", "i8"),
        ("cases", CASE, (CASE_SLOTS,)),
        ("order", "i8", (CASE_SLOTS,)),  # places of the best-ranked cases
        ("analyst_time", "f8"),
        ("recent_drops", "f8"),
        ("recent_closures", "f8"),
        ("recent_encryptions", "f8"),
        # tools at work
        ("job_tool", "i8", PER_ZONE),  # -1 none
        ("job_host", "i8", PER_ZONE),
        ("job_end", "i8", PER_ZONE),
        ("decoy_ready", "i8", (MAX_ZONES, MAX_DECOYS)),  # minute from which it stands; NEVER if there is none
        ("blind_next", "i8", PER_ZONE),  # next host that blind isolation takes
        ("last_hunt", "i8", PER_ZONE),
        ("perimeter", "i8"),  # 0 open, 1 waiting, 2 blocked
        ("perimeter_ready", "i8"),
        ("reset_end", "i8"),
        ("reset_allowed", "i8"),
        ("intel_allowed", "i8"),
        ("num_known", "i8"),  # intruders with known indicators
        # what the SOC sees of each zone: kept by siem.summarise
        ("events", "f8", PER_ZONE),  # [5 standard deviations]
        ("top_risk", "f8", PER_ZONE),
        ("second_risk", "f8", PER_ZONE),
        ("top_host", "i8", PER_ZONE),
        ("isolated_host", "i8", PER_ZONE),  # most suspect isolated one
        ("isolated_risk", "f8", PER_ZONE),
        ("least_host", "i8", PER_ZONE),  # least suspect isolated one
        ("least_risk", "f8", PER_ZONE),
        ("suspects", "i8", PER_ZONE),
        ("evidence", "f8", PER_ZONE),
        ("sources", "f8", PER_ZONE),
        ("incidents", "i8", PER_ZONE),
        ("findings_standing", "i8", PER_ZONE),
        ("isolated", "i8", PER_ZONE),
        ("offline", "i8", PER_ZONE),
        ("zone_cases", "i8", PER_ZONE),
        ("oldest_case", "i8", PER_ZONE),
        ("admin_findings", "i8", PER_ZONE),  # this and what follows where findings have levels
        ("top_level", "i8", PER_ZONE),
        ("killable", "i8", PER_ZONE),
        ("kill_host", "i8", PER_ZONE),  # most suspect killable one
        ("kill_risk", "f8", PER_ZONE),
        # what a learned risk model reads beside a host's own record: kept by rating.look_around
        ("segment_evidence", "f8", PER_SEGMENT),
        ("segment_top", "f8", PER_SEGMENT),  # by the formula, as are the next two
        ("segment_second", "f8", PER_SEGMENT),
        ("segment_host", "i8", PER_SEGMENT),
        ("segment_reach", "f8", PER_SEGMENT),  # evidence in the segments from which it can be reached
        ("all_evidence", "f8"),
        ("risk_inputs", "f8", (len(INPUTS),)),  # of the host that was rated last
        # this minute's hunts
        ("looks", "f8", PER_ZONE),  # hosts to examine
        ("depth", "f8", PER_ZONE),
        ("hunt_total", "f8", PER_ZONE),  # weight that the looks are shared by
        # services
        ("service_down", "i8", (MAX_SERVICES,)),  # hosts cut off, offline or encrypted
        ("works", "f8", (MAX_SERVICES,)),  # share of a service that works, when last looked at
        ("outage", "f8", PER_ZONE),
        ("service_loss", "f8"),
        ("users_cut", "f8"),
        ("num_cut", "i8"),
        # this minute
        ("term_detection", "f8"),
        ("term_response", "f8"),
        ("term_false", "f8"),
        ("damage_now", "f8"),
        ("disruption_now", "f8"),
        ("effort_now", "f8"),
        # this episode
        ("reward", "f8"),
        ("counts", "f8", (len(METRICS),)),  # the metrics that are counted as they happen
        ("gated_actions", "f8"),
        ("clean_actions", "f8"),
        ("calls", CALL, (CALL_SLOTS,)),
    ],
    align=True,
)
EPISODE_TRUTH = ("campaigns", "num_campaigns", "past_campaigns", "num_pending", "pending", "attack_events")

METRIC = np.dtype([(metric.name, "f8") for metric in METRICS])

ASSET = np.dtype(
    [("value", "f8"), ("vulnerability", "f8"), ("users", "f8"), ("segment", "i2"), ("role", "i1"), ("service", "i1")],
    align=True,
)

NETWORK = np.dtype(
    [
        ("num_hosts", "i8"),
        ("num_segments", "i8"),
        ("num_services", "i8"),
        ("start", "i8", (MAX_SEGMENTS + 1,)),
        ("segment_zone", "i8", (MAX_SEGMENTS,)),
        ("is_reachable", "i8", (MAX_SEGMENTS, MAX_SEGMENTS)),
        ("is_entry", "i8", (MAX_SEGMENTS,)),
        ("zone_start", "i8", (MAX_ZONES + 1,)),
        ("zone_value", "f8", PER_ZONE),
        ("zone_size", "f8", PER_ZONE),  # log10(hosts) / 5
        ("event_mean", "f8", PER_ZONE),
        ("event_scale", "f8", PER_ZONE),  # 5 standard deviations
        ("service_value", "f8", (MAX_SERVICES,)),
        ("service_zone", "i8", (MAX_SERVICES,)),
        ("per_service_host", "f8", (MAX_SERVICES,)),
        ("depends", "i8", (MAX_SERVICES, MAX_SERVICES)),
        ("zone_service_value", "f8", PER_ZONE),
        ("num_noisy", "i8"),
        ("benign_rate", "f8"),  # alerts a minute
        ("benign_limit", "f8"),  # exp(-benign_rate)
        ("hunt_capacity", "f8"),  # hosts a minute
        ("value_unit", "f8"),  # 1 / highest zone value of all phases
    ],
    align=True,
)

RULE = np.dtype(
    [
        ("channel", "i8"), ("tactic", "i8"), ("minutes", "i8"), ("success", "f8"), ("detection", "f8"),
        ("delay", "f8"), ("severity", "f8"), ("confidence", "f8"), ("events", "f8"), ("precision", "f8"),
        ("shows_process", "i8"),  # its alerts name a process that can be killed
    ],
    align=True,
)  # fmt: skip

FAMILY = np.dtype(
    [
        ("plan_length", "i8"), ("tactic", "i8", (MAX_PLAN,)), ("num_choices", "i8", (MAX_PLAN,)),
        ("choice", "i8", (MAX_PLAN, MAX_CHOICES)), ("cumulative", "f8", (MAX_PLAN, MAX_CHOICES)),
        ("loop", "i8", (4,)), ("goal", "i8"), ("entry_roles", "f8", (MAX_ROLES,)), ("prefers_value", "f8"),
        ("dwell", "f8"), ("stealth", "f8"), ("reentry", "f8"), ("reaction", "i8"),
    ],
    align=True,
)  # fmt: skip

TOOL = np.dtype(
    [("minutes", "i8"), ("analyst_minutes", "f8"), ("disruption", "f8"), ("failure", "f8"), ("is_high", "i8")],
    align=True,
)

# The SIEM's formula; the formula, and what a model reads is kept too, for training; a learned model.
FORMULA, WATCHED, LEARNED = range(3)
RISK_MODEL = np.dtype(
    [
        ("kind", "i8"), ("num_units", "i8"), ("hidden", "f8", (MAX_UNITS, len(INPUTS))),
        ("hidden_bias", "f8", (MAX_UNITS,)), ("output", "f8", (MAX_UNITS,)), ("output_bias", "f8"),
    ],
    align=True,
)  # fmt: skip

# Settings that kernels read under their own name.
SETTINGS_INT = (
    "num_zones", "max_steps", "coordinator_period", "num_networks", "queue_capacity", "sla_minutes", "case_expiry",
    "decoy_minutes", "approval_minutes", "max_campaigns", "first_campaign",
)  # fmt: skip
SETTINGS_REAL = (
    "alert_drop", "alert_delay", "noisy_share", "lookalike_share", "sensor_coverage", "analysts", "auto_close",
    "false_finding", "approval_risk", "approval_rate", "stealth_factor", "user_damage", "admin_damage",
    "exfiltration_damage", "encryption_damage", "abuse_damage", "service_loss", "host_outage", "perimeter_loss",
    "reset_loss", "analyst_loss", "false_verdict_loss", "null_loss",
)  # fmt: skip

WORLD = np.dtype(
    [
        *((name, "i8") for name in SETTINGS_INT),
        *((name, "f8") for name in SETTINGS_REAL),
        ("attacker_first", "i8"),
        ("is_sparse", "i8"),
        ("is_instant", "i8"),
        ("has_persistence", "i8"),
        ("has_levels", "i8"),
        ("zone_size", "i8"),  # features of a zone's token
        ("weights", "f8", (4,)),
        ("arrival", "f8"),  # probability a minute
        ("per_step", "f8"),
        ("score_scale", "f8"),  # points per unit of loss
        ("alert_decay", "f8"),
        ("finding_decay", "f8"),
        ("num_phases", "i8"),
        ("phase_factor", "f8", (MAX_PHASES, MAX_ZONES)),
        ("is_defended", "i8", PER_ZONE),
        ("tools", TOOL, (len(TOOLS),)),
        ("num_families", "i8"),
        ("families", FAMILY, (len(INTRUDER_FAMILIES),)),
        ("rules", RULE, (len(TECHNIQUES),)),
        ("benign_rule", "i8", (RULE_DRAWS,)),
        ("normal", "f8", (TABLE_SIZE,)),
        ("risk_model", RISK_MODEL),
    ],
    align=True,
)


class Records(NamedTuple):
    """All of a simulator, or what concerns one env of it, as `Simulator.records` gives it: views, to read and write.

    | field | of the batch | of an env |
    |---|---|---|
    | world | (1,) WORLD | its only record |
    | network | (K,) NETWORK, of all networks | that of its present one |
    | assets | (K, hosts of the largest network) ASSET | (num_hosts,) |
    | env | (num_envs,) EPISODE | a record |
    | hosts | (num_envs, capacity) HOST | (capacity,), the first `num_tracked` are in use |
    | slots | (num_envs, hosts of the largest) int16, place of a host's record + 1, 0 for none | (num_hosts,) |
    | log | (num_envs, entries) LOG | (entries,), the first `num_log` are in use |
    """

    world: Any
    network: Any
    assets: np.ndarray
    env: Any
    hosts: np.ndarray
    slots: np.ndarray
    log: np.ndarray

    def of(self, index: int) -> Records:
        """Those of one env."""
        env = self.env[index]
        network = self.network[env["network"]]
        num_hosts = network["num_hosts"]
        return Records(
            self.world[0], network, self.assets[env["network"], :num_hosts], env, self.hosts[index],
            self.slots[index, :num_hosts], self.log[index],
        )  # fmt: skip
