"""The tables of the `soc-v1` family: tools, observation features, actions, state, reward terms, metrics.

Spaces, kernel offsets, masks, documentation and tests are generated from these rows. Zone features appear once per
zone, case features once per shown case, so the same rows serve any number of zones.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

from soc_env.engine.tables import (
    COORDINATOR,
    HUNTER,
    ORCHESTRATOR,
    TRIAGE,
    ActionEntry,
    Column,
    Feature,
    Metric,
    RewardTerm,
)
from soc_env.soc.networks.rules import MAX_ZONES

SIEM, EDR, SOAR = "SIEM", "EDR", "SOAR"
LOW, HIGH = "low", "high"  # risk class of a tool; high needs approval


@dataclass(frozen=True)
class Tool:
    """One call of a platform's API.

    Attributes:
        name: Method of the platform in `soc_env.Console`.
        platform: SIEM, EDR or SOAR.
        owner: The agent whose action vector drives it.
        target: "case", "zone", "host", or "network" for the whole of it.
        minutes: Minutes from the call to its effect; the zone's executor is busy for as long (SOAR).
        analyst_minutes: What it takes of the analysts' time.
        disruption: Loss to the business each time, times 0.5 + value of the host: work interrupted or lost.
        failure: Probability that it does not work.
        risk_class: "high" needs approval where the target is critical or is the whole network.
        precondition: When it is refused.
        effect: What it does.
    """

    name: str
    platform: str
    owner: str
    target: str
    minutes: int
    analyst_minutes: float
    disruption: float
    failure: float
    risk_class: str
    precondition: str
    effect: str

    def price(self, scenario: Any, value: float = 0.5) -> float:
        """What a call on a host of that business value takes, in units of the mission loss: the work that it
        interrupts and the analysts' time. What users miss while the host is cut off or offline comes on top, and so
        does the time of hunts, which share it."""
        disruption = scenario.interruption * self.disruption * (DISRUPTION_BASE + value)
        return (disruption if self.target == "host" else 0.0) + scenario.analyst_loss * self.analyst_minutes


# Minutes and failure rates: assumption, in the range that SOC and endpoint vendors report (kill: minutes, partial;
# reimage: long, complete).
TOOLS: tuple[Tool, ...] = (
    Tool("escalate", SIEM, TRIAGE, "case", 0, 4.0, 0.0, 0.0, LOW, "the case is open and analysts have time",
         "opens an incident: the verdict adds to the suspected host's risk score, and response can act on it"),
    Tool("suppress", SIEM, TRIAGE, "case", 0, 1.0, 0.0, 0.0, LOW, "the case is open and analysts have time",
         "closes the case as benign; the alerts of its hosts lose most of their weight"),
    Tool("correlate", SIEM, TRIAGE, "case", 0, 1.5, 0.0, 0.0, LOW, "the case is open and analysts have time",
         "merges all open cases that share a host with this one"),
    Tool("enrich", SIEM, TRIAGE, "case", 0, 2.0, 0.0, 0.0, LOW,
         "the case is open, not enriched, and analysts have time",
         "buys context: a noisy reading of whether the case is malicious"),
    Tool("query", SIEM, TRIAGE, "case", 0, 3.0, 0.0, 0.0, LOW,
         "the case is enriched, not queried, and analysts have time",
         "searches the raw logs: a second, sharper reading (triage's choice 'enrich' on an enriched case)"),
    Tool("hunt", EDR, HUNTER, "zone", 0, 0.0, 0.0, 0.0, LOW, "none",
         "examines hosts of the zone, those of high risk first; finds intruders, clears suspects"),
    Tool("deep_scan", EDR, HUNTER, "zone", 0, 0.0, 0.0, 0.0, LOW, "none",
         "a hunt with scan depth above 0.5: fewer hosts, better detection, more false findings"),
    Tool("deploy_decoy", EDR, HUNTER, "zone", 5, 1.0, 0.0, 0.0, LOW,
         "fewer than 2 decoys in the zone, none being deployed",
         "a host that nobody has reason to touch; intruders that move into the zone may trip it"),
    Tool("intel_sweep", EDR, HUNTER, "network", 0, 2.0, 0.0, 0.0, LOW, "15 minutes since the last one",
         "looks for known indicators everywhere; indicators become known through forensics"),
    Tool("collect_forensics", EDR, HUNTER, "host", 0, 2.0, 0.0, 0.1, LOW,
         "a finding stands on the host, not yet collected",
         "makes the intruder's indicators known, if there is one"),
    Tool("isolate", SOAR, ORCHESTRATOR, "host", 1, 0.0, 0.1, 0.02, HIGH,
         "the executor is free, the host is not isolated",
         "cuts the host off: nothing moves in or out, and its service and users are cut off too"),
    Tool("release", SOAR, ORCHESTRATOR, "host", 1, 0.0, 0.0, 0.0, LOW, "the executor is free, the host is isolated",
         "puts the host back on the network"),
    Tool("kill_process", SOAR, ORCHESTRATOR, "host", 2, 0.0, 0.2, 0.35, LOW, "the executor is free",
         "ends what runs at user level; does not remove persistence or admin-level intruders"),  # see `tools`
    Tool("reimage", SOAR, ORCHESTRATOR, "host", 8, 1.0, 0.5, 0.03, HIGH, "the executor is free",
         "rebuilds the host: removes everything and releases it; it is offline meanwhile"),
    Tool("block_perimeter", SOAR, ORCHESTRATOR, "network", 1, 0.5, 0.0, 0.0, HIGH, "not blocked, no block under way",
         "stops nine in ten of entries from outside and of exfiltration; hurts users every minute"),
    Tool("unblock_perimeter", SOAR, ORCHESTRATOR, "network", 0, 0.0, 0.0, 0.0, LOW, "blocked",
         "opens the perimeter again"),
    Tool("reset_credentials", SOAR, ORCHESTRATOR, "network", 10, 4.0, 0.0, 0.0, HIGH,
         "none under way, 30 minutes since the last one", "takes stolen credentials from all intruders; hurts users"),
)  # fmt: skip
TOOL_NAMES = tuple(tool.name for tool in TOOLS)
(
    ESCALATE, SUPPRESS, CORRELATE, ENRICH, QUERY, HUNT, DEEP_SCAN, DEPLOY_DECOY, INTEL_SWEEP, COLLECT_FORENSICS,
    ISOLATE, RELEASE, KILL, REIMAGE, BLOCK_PERIMETER, UNBLOCK_PERIMETER, RESET_CREDENTIALS,
) = range(len(TOOLS))  # fmt: skip
_KILL_BY_LEVELS: dict[str, Any] = {
    "precondition": "the executor is free, an alert about a process of the host stands, no admin finding does",
    "effect": "ends a user-level intruder whose process raised an alert; no other, and nothing at admin level",
}


def tools(scenario: Any) -> tuple[Tool, ...]:
    """`TOOLS` as a scenario has them."""
    changes: dict[str, Any] = {
        "minutes": scenario.kill_minutes, "disruption": scenario.kill_disruption, "failure": scenario.kill_failure,
    }  # fmt: skip
    kill = replace(TOOLS[KILL], **changes, **(_KILL_BY_LEVELS if scenario.finding_levels else {}))
    return (*TOOLS[:KILL], kill, *TOOLS[KILL + 1 :])


OUTCOMES = ("done", "started", "failed", "refused", "denied", "busy", "no_time")
DONE, STARTED, FAILED, REFUSED, DENIED, BUSY, NO_TIME = range(len(OUTCOMES))

TRIAGE_TOOLS = (ESCALATE, SUPPRESS, CORRELATE, ENRICH)
"""Triage's choices, in order: the tool of each. `ENRICH` on an enriched case is a query."""
ENRICH_CHOICE = TRIAGE_TOOLS.index(ENRICH)

# Levels, (x + 1) / 2 of an action's entry, from which it means something.
ON_ABOVE = 0.5  # switches: decoys, sweep, perimeter, credentials
DEEP_ABOVE = 0.5  # scan depth from which a hunt is a deep scan
RELEASE_BELOW, ISOLATE_ABOVE, BLIND_ABOVE = 0.25, 0.75, 0.98
KILL_ABOVE, REIMAGE_ABOVE = 0.5, 0.75
# What the directive does; x in [-1, 1] is the entry.
POSTURE_HUNT, POSTURE_TRIAGE, POSTURE_RESPONSE = range(3)  # entries after the priorities
HUNT_SHARE, HUNT_SHARE_SPAN = 0.5, 0.25  # analysts' share for hunting: 0.5 + 0.25 x
PRIORITY_WEIGHT = 0.5  # hunting effort in a zone counts 1 + 0.5 x
APPROVAL_SPAN = 0.3  # approval is certain from a risk score of approval_risk (1 - 0.3 x)

DEPTH_COST = 0.7  # a hunt at scan depth d examines 1 - 0.7 d as many hosts
DISRUPTION_BASE = 0.5  # a tool's disruption counts 0.5 + value of its host
CRITICAL_VALUE = 0.9  # hosts from this value on need approval for high-risk actions
FALSE_POSITIVE_TERM = 0.25  # of the reward, for each false verdict and each response action on a clean host
MAX_ANALYST_TIME = 8.0  # minutes that triage can have in hand
MAX_DECOYS = 2  # per zone
INTEL_PERIOD, RESET_PERIOD = 15, 30  # [min]
CASE_SLOTS = 32  # memory of the queue; `queue_capacity` is how many may be open
NUM_SHOWN_CASES = {TRIAGE: 8, HUNTER: 3, ORCHESTRATOR: 3, COORDINATOR: 3}
MAX_PHASES = 3


def _share(name: str, unit: str, source: str) -> Feature:
    return Feature(name, 0.0, 1.0, unit, source)


ZONE_FEATURES: tuple[Feature, ...] = (
    _share("value", "business value in the present mission phase / 10", "asset register"),
    _share("size", "log10(hosts) / 5", "asset register"),
    Feature("events", -1.0, 1.0, "raw events against their mean [5 standard deviations]", SIEM),
    _share("cases", "open cases / 8", SIEM),
    _share("oldest_case", "minutes open / 60", SIEM),
    _share("top_risk", "risk score of the most suspect host in reach", SIEM),
    _share("second_risk", "risk score of the next one", SIEM),
    _share("suspects", "hosts with a risk score above 0.5 / 5", SIEM),
    _share("evidence", "summed evidence e / (e + 5)", SIEM),
    _share("sources", "strongest source counter s / (s + 1)", SIEM),
    _share("incidents", "hosts with a standing verdict / 5", SIEM),
    _share("findings", "hosts with a standing finding / 5", EDR),
    _share("isolated", "isolated hosts n / (n + 4)", SOAR),
    _share("isolated_risk", "highest risk score of an isolated host", SIEM),
    _share("isolated_least", "lowest risk score of an isolated host (1 if none)", SIEM),
    _share("offline", "hosts being reimaged n / (n + 4)", SOAR),
    _share("executor", "minutes until the zone's executor is free / 15", SOAR),
    _share("outage", "lost share of the zone's services", "service desk"),
    _share("decoys", "decoys / 2", EDR),
    _share("last_hunt", "minutes since the zone was hunted / 60, 1 if not", EDR),
    _share("top_value", "value of the most suspect host", "asset register"),
    _share("top_age", "minutes since its last alert / 60", SIEM),
)

# Beside them, where findings have levels (`SOCScenario.finding_levels`): whom to rebuild, whom to kill, where to look.
LEVEL_FEATURES: tuple[Feature, ...] = (
    _share("admin_findings", "hosts with a standing admin finding / 5; the most suspect host is one of them", EDR),
    _share("user_findings", "hosts with a standing user finding, true or false / 5", EDR),
    _share("top_level", "what EDR last said of the most suspect host: 0 nothing, 0.5 user, 1 admin", EDR),
    _share("top_look", "minutes since EDR last looked at it / 60, 1 if it did not", EDR),
    _share("killable", "hosts with an alert about a process and without an admin finding / 5", SIEM),
    _share("kill_risk", "risk score of the most suspect of them, on which kill_process acts", SIEM),
)

CASE_FEATURES: tuple[Feature, ...] = (
    _share("present", "1 if there is such a case; the first is the one triage works on", SIEM),
    _share("severity", "highest of its alerts", SIEM),
    _share("confidence", "of its alerts together", SIEM),
    _share("alerts", "alerts n / (n + 3)", SIEM),
    _share("age", "minutes open / 60", SIEM),
    _share("overdue", "1 beyond the service level", SIEM),
    _share("zone", "zone / 16", SIEM),
    _share("zone_value", "business value of the zone in the present phase / 10", "asset register"),
    _share("is_process", "1 for alerts about a host", SIEM),
    _share("is_network", "1 for alerts about a connection", SIEM),
    _share("is_identity", "1 for alerts about an account", SIEM),
    _share("precision", "the rule's usual share of true alerts", SIEM),
    _share("tactic", "ATT&CK tactic of the rule / 12", SIEM),
    _share("host_risk", "risk score of the target", SIEM),
    _share("source_risk", "risk score of the source, 0 if there is none", SIEM),
    _share("host_value", "value of the target", "asset register"),
    _share("related", "other open cases that share a host / 4", SIEM),
    _share("enriched", "0, 0.5 after enrichment, 1 after a query too", SIEM),
    _share("reading", "what enrichment says, 0.5 without", SIEM),
    _share("second_reading", "what the query says, 0.5 without", SIEM),
)

CLOCK_FEATURES: tuple[Feature, ...] = (
    _share("clock", "minute / max_steps", "clock"),
    *(_share(f"phase_{k}", "1 in this mission phase", "clock") for k in range(MAX_PHASES)),
    _share("next_decision", "minutes until the coordinator decides / period", "clock"),
    _share("queue", "open cases / capacity", SIEM),
    _share("dropped", "cases lost to a full queue lately n / (n + 2)", SIEM),
    _share("auto_closed", "cases closed by the rank limit lately n / (n + 2)", SIEM),
    Feature("analyst_time", -1.0, 1.0, "minutes that triage has in hand / 8", SIEM),
    _share("perimeter", "1 if blocked, 0.5 while approval is awaited", SOAR),
    _share("reset", "1 while credentials are being reset", SOAR),
    _share("reset_wait", "minutes until the next reset is possible / 30", SOAR),
    _share("intel_wait", "minutes until the next sweep is possible / 15", EDR),
    _share("indicators", "intruders with known indicators / 3", EDR),
    _share("service_loss", "lost share of all services", "service desk"),
    _share("encrypted", "hosts that users report encrypted or dead n / (n + 2)", "service desk"),
)


@dataclass(frozen=True)
class TokenLayout:
    """Where the tokens of an agent's observation lie: zone tokens, case tokens, the directive, the clock.

    A token is a run of features of one kind; the flat observation is their concatenation in this order.
    """

    num_zones: int
    num_cases: int
    has_levels: bool = False

    @property
    def zone_size(self) -> int:
        return len(zone_features(self.has_levels))

    @property
    def case_start(self) -> int:
        return self.num_zones * self.zone_size

    @property
    def directive_start(self) -> int:
        return self.case_start + self.num_cases * len(CASE_FEATURES)

    @property
    def clock_start(self) -> int:
        return self.directive_start + self.num_zones + 3

    @property
    def size(self) -> int:
        return self.clock_start + len(CLOCK_FEATURES)


def zone_features(has_levels: bool = False) -> tuple[Feature, ...]:
    """Features of a zone's token; has_levels, here and below: as where the scenario has `finding_levels`."""
    return ZONE_FEATURES + LEVEL_FEATURES if has_levels else ZONE_FEATURES


def layout(agent: str, num_zones: int, has_levels: bool = False) -> TokenLayout:
    """The token layout of an agent's observation."""
    return TokenLayout(num_zones, NUM_SHOWN_CASES[agent], has_levels)


@functools.cache
def layout_of(agent: str, size: int) -> TokenLayout | None:
    """The layout of the agent's observation of that size, of which there is one; None if there is none."""
    every = (layout(agent, zones, has_levels) for zones in range(1, MAX_ZONES + 1) for has_levels in (False, True))
    return next((shape for shape in every if shape.size == size), None)


def _directive_names(num_zones: int) -> list[str]:
    return [f"priority_{z}" for z in range(num_zones)] + ["hunt_posture", "triage_posture", "response_posture"]


def _renamed(prefix: str, rows: tuple[Feature, ...]) -> list[Feature]:
    return [Feature(f"{prefix}_{f.name}", f.low, f.high, f.unit, f.source) for f in rows]


@functools.cache
def features(agent: str, num_zones: int, has_levels: bool = False) -> tuple[Feature, ...]:
    """The agent's observation, entry by entry."""
    rows: list[Feature] = []
    for z in range(num_zones):
        rows += _renamed(f"zone{z}", zone_features(has_levels))
    for k in range(NUM_SHOWN_CASES[agent]):
        rows += _renamed(f"case{k}", CASE_FEATURES)
    rows += [
        Feature(f"directive_{name}", -1.0, 1.0, "directive in force", "coordinator")
        for name in _directive_names(num_zones)
    ]
    return (*rows, *CLOCK_FEATURES)


CHOICES_READ = ("case0_present", "case0_enriched", "analyst_time")
"""The features of triage's observation that say which choices are possible."""


def possible_choices(present: Any, enriched: Any, minutes: Any) -> tuple[Any, Any]:
    """Whether triage may choose anything but "enrich", and whether "enrich", from its features `CHOICES_READ`.

    Without a case or without analyst time only "enrich" is left, which then does nothing; a case that is enriched and
    queried cannot be enriched again. Takes and gives arrays of any library that knows `&`, `|` and `~`.
    """
    can = (present > 0) & (minutes > 0)
    return can, ~can | (enriched < 1)


TRUTH = "truth"
ZONE_TRUTH: tuple[Feature, ...] = (
    _share("compromised", "compromised hosts in reach n / (n + 4)", TRUTH),
    _share("admin", "of them at admin level n / (n + 4)", TRUTH),
    _share("contained", "compromised hosts that are isolated n / (n + 4)", TRUTH),
    _share("clean_isolated", "isolated hosts that are clean n / (n + 4)", TRUTH),
    _share("worst_risk", "highest risk score of a compromised host in reach", TRUTH),
    _share("clean_risk", "highest risk score of a clean host in reach", TRUTH),
    _share("least_compromised_isolated_risk", "lowest risk score of a compromised isolated host (1 if none)", TRUTH),
)
CAMPAIGN_TRUTH: tuple[Feature, ...] = (
    _share("is_active", "1 while it owns a host or may come back", TRUTH),
    _share("progress", "plan step / plan length", TRUTH),
    _share("hosts", "hosts owned n / (n + 4)", TRUTH),
    _share("credentials", "1 with stolen credentials", TRUTH),
    _share("is_at_goal", "1 while it does its damage", TRUTH),
    _share("stealth", "share of detections avoided", TRUTH),
    _share("age", "minutes since its first host / max_steps", TRUTH),
)
MAX_CAMPAIGNS = 3


@functools.cache
def state_features(num_zones: int, has_levels: bool = False) -> tuple[Feature, ...]:
    """`state()`: what triage sees, and the truth behind it."""
    rows = list(features(TRIAGE, num_zones, has_levels))
    for z in range(num_zones):
        rows += _renamed(f"truth_zone{z}", ZONE_TRUTH)
    for k in range(NUM_SHOWN_CASES[TRIAGE]):
        rows.append(_share(f"truth_case{k}_is_true", "1 if an intruder caused it", TRUTH))
    for c in range(MAX_CAMPAIGNS):
        rows += _renamed(f"truth_campaign{c}", CAMPAIGN_TRUTH)
    return tuple(rows)


@functools.cache
def actions(agent: str, num_zones: int) -> tuple[ActionEntry, ...]:
    """The agent's action, entry by entry. Levels are (x + 1) / 2; 0 is off."""
    if agent == TRIAGE:
        return tuple(ActionEntry(TOOLS[tool].name, SIEM, TOOLS[tool].effect) for tool in TRIAGE_TOOLS)
    return {HUNTER: _hunting, ORCHESTRATOR: _response, COORDINATOR: _directive}[agent](range(num_zones))


def _hunting(zones: range) -> tuple[ActionEntry, ...]:
    names = [
        *((f"hunt_{z}", f"effort in zone {z}; the zones share the hunters' capacity") for z in zones),
        *((f"depth_{z}", f"scan depth in zone {z}: fewer hosts, more certain") for z in zones),
        *((f"decoy_{z}", f"above {ON_ABOVE}: keeps decoys in zone {z}") for z in zones),
        ("intel_sweep", f"above {ON_ABOVE}: sweeps for known indicators as often as allowed"),
    ]
    return tuple(ActionEntry(name, EDR, effect) for name, effect in names)


def _response(zones: range) -> tuple[ActionEntry, ...]:
    contain = (
        f"level above {ISOLATE_ABOVE}: isolates the most suspect host of the zone that is not (above {BLIND_ABOVE} any "
        f"host where none is suspect); below {RELEASE_BELOW}: releases the least suspect isolated one"
    )
    remediate = (
        f"level above {REIMAGE_ABOVE}: reimages, above {KILL_ABOVE}: kills processes of the most suspect host of the "
        "zone, with finding_levels of the most suspect that has one to kill"
    )
    names = [
        *((f"contain_{z}", contain) for z in zones),
        *((f"remediate_{z}", remediate) for z in zones),
        ("block_perimeter", f"above {ON_ABOVE}: blocks the perimeter; below: opens it"),
        ("reset_credentials", f"above {ON_ABOVE}: resets credentials as often as allowed"),
    ]
    return tuple(ActionEntry(name, SOAR, effect) for name, effect in names)


def _directive(zones: range) -> tuple[ActionEntry, ...]:
    names = [
        *((f"priority_{z}", f"ranks cases and weighs hunting effort of zone {z}") for z in zones),
        ("hunt_posture", f"analysts' share for hunting: {HUNT_SHARE} + {HUNT_SHARE_SPAN} x"),
        ("triage_posture", "rank below which new cases close by themselves: auto_close (1 + x)"),
        (
            "response_posture",
            f"risk score from which high-risk actions are approved at once: approval_risk (1 - {APPROVAL_SPAN} x)",
        ),
    ]
    return tuple(ActionEntry(name, "directive", effect) for name, effect in names)


REWARD_TERMS: tuple[RewardTerm, ...] = (
    RewardTerm("detection", "sum over intruder's hosts first escalated or found in this minute of 1 + host value",
               "weight_detection"),
    RewardTerm("response", "sum over compromised hosts isolated or cleaned in this minute of (1 + host value) / "
               "(1 + minutes since compromise / 30) - damage of this minute", "weight_response"),
    RewardTerm("cost", "disruption + analyst time of this minute, as in the mission score", "weight_cost"),
    RewardTerm("false_positive", f"{FALSE_POSITIVE_TERM} for each false verdict and each response action on a clean "
               "host", "weight_false_positive"),
)  # fmt: skip

METRICS: tuple[Metric, ...] = (
    Metric("reward", "reward", "undiscounted return of the episode"),
    Metric("score", "points", "mission score: 0 as doing nothing, 100 as the clairvoyant defender, see `loss`"),
    Metric("loss", "loss", "damage + disruption + effort"),
    Metric("damage", "loss", "compromised hosts by value and level, exfiltration, encryption, abuse"),
    Metric("disruption", "loss", "services and users cut off by response and by encryption, false verdicts"),
    Metric("effort", "loss", "analyst minutes times their price"),
    Metric("length", "minutes", "length of the episode", is_count=True),
    Metric("mttd", "minutes", "first host to first escalation or finding, mean over campaigns, censored at the end"),
    Metric("mtta", "minutes", "first host to the first work on a case of it, likewise"),
    Metric("mttc", "minutes", "first host to the first moment with all its hosts cut off or clean, likewise"),
    Metric("mttr", "minutes", "first host to eradication, likewise"),
    Metric("fdr", "share", "escalated benign cases / escalated cases (false discovery rate)"),
    Metric("fpr", "share", "escalated benign cases / benign cases with a verdict, escalated or suppressed"),
    Metric("action_fdr", "share", "response actions on clean hosts / response actions on hosts"),
    Metric("evidence_gated", "share", "response actions on hosts with a standing verdict or finding"),
    Metric("csr", "share", "campaigns contained at the end"),
    Metric("campaigns", "count", "campaigns that gained a host", is_count=True),
    Metric("detected", "count", "campaigns detected", is_count=True),
    Metric("contained", "count", "campaigns contained at the end", is_count=True),
    Metric("eradicated", "count", "campaigns eradicated at the end", is_count=True),
    Metric("blast_radius", "hosts", "hosts ever compromised", is_count=True),
    Metric("compromised", "hosts", "compromised and in reach at the end", is_count=True),
    Metric("exfiltrated", "minutes", "successful minutes of exfiltration", is_count=True),
    Metric("encrypted", "hosts", "hosts encrypted or destroyed", is_count=True),
    Metric("disruption_minutes", "host minutes", "minutes in which hosts were isolated or offline", is_count=True),
    Metric("total_alerts", "count", "alerts that reached the SIEM", is_count=True),
    Metric("true_alerts", "count", "of them caused by intruders", is_count=True),
    Metric("cases", "count", "cases opened", is_count=True),
    Metric("dropped_cases", "count", "cases lost to a full queue", is_count=True),
    Metric("auto_closed", "count", "cases closed by the rank limit", is_count=True),
    Metric("expired_cases", "count", "cases that closed unworked", is_count=True),
    Metric("sla_breaches", "count", "cases that got no verdict in time", is_count=True),
    Metric("true_positives", "count", "malicious cases escalated", is_count=True),
    Metric("false_positives", "count", "benign cases escalated", is_count=True),
    Metric(
        "true_negatives",
        "count",
        "benign cases suppressed; dropped, closed and expired ones got no verdict",
        is_count=True,
    ),
    Metric("missed_cases", "count", "malicious cases suppressed, dropped, closed or expired", is_count=True),
    Metric("findings", "count", "intruder's hosts found by hunting", is_count=True),
    Metric("false_findings", "count", "clean hosts on which hunting found something", is_count=True),
    Metric("actions", "count", "response actions on hosts carried out", is_count=True),
    Metric("analyst_minutes", "minutes", "analyst time spent"),
    Metric("raw_events", "count", "raw events of the SIEM", is_count=True),
)

_SHARE = (0.0, 1.0)
_SHOWN: tuple[Column, ...] = (
    Column("score", "Score", decimals=1, better="higher"),
    Column("loss", "Loss", decimals=1, better="lower"),
    Column("reward", "Reward", decimals=1, better="higher"),
    Column("mttd", "MTTD", "min", decimals=1, better="lower", given="campaigns"),
    Column("mtta", "MTTA", "min", decimals=1, better="lower", given="campaigns"),
    Column("mttc", "MTTC", "min", decimals=1, better="lower", given="campaigns"),
    Column("mttr", "MTTR", "min", decimals=1, better="lower", given="campaigns"),
    Column("fdr", "FDR", "%", scale=100, decimals=1, better="lower", bounds=_SHARE),
    Column("fpr", "FPR", "%", scale=100, decimals=1, better="lower", bounds=_SHARE),
    Column("action_fdr", "Action FDR", "%", scale=100, decimals=1, better="lower", bounds=_SHARE),
    Column("csr", "CSR", "%", scale=100, decimals=1, better="higher", given="campaigns", bounds=_SHARE),
)  # the metrics that need more than METRICS says to be shown well
COLUMNS: tuple[Column, ...] = tuple(
    {
        **{m.name: Column(m.name, m.name.replace("_", " ").capitalize(), m.unit) for m in METRICS},
        **{column.name: column for column in _SHOWN},
    }.values()
)
"""How the metrics are shown, in the order of METRICS."""
