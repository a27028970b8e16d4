"""Outcomes measured from a trace's events, without a simulator.

`measure` keeps its own books of hosts, campaigns and cases from what the event log says happened, so that a mistake in
the kernels' counting and one here do not cancel. Only three things are taken as the trace has them, minute by minute:
the reward, the losses (they need every host's value and users) and the number of raw events.
"""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from soc_env.soc.tables import HUNT_SHARE, HUNT_SHARE_SPAN, POSTURE_HUNT, PRIORITY_WEIGHT, TOOL_NAMES, TOOLS

RESPONSES = ("isolate", "kill_process", "reimage")
SPENT = ("done", "started", "failed")  # outcomes that took the analysts' time
ROWS = dict(zip(TOOL_NAMES, TOOLS, strict=True))


@dataclass
class Host:
    """What the log says of a host."""

    is_defended: bool
    level: int = 0  # 0 clean, 1 user, 2 admin
    campaign: Campaign | None = None
    is_isolated: bool = False
    is_offline: bool = False
    is_encrypted: bool = False

    @property
    def is_live(self) -> bool:
        """Whether an intruder can use it."""
        return self.level > 0 and not self.is_isolated and not self.is_offline

    @property
    def is_cut(self) -> bool:
        """Whether its service and users go without it."""
        return self.is_isolated or self.is_offline or self.is_encrypted


@dataclass(eq=False)
class Campaign:
    """What the log says of an intruder: minutes, None for what did not happen.

    Times count from the first host in a defended zone. Those that never came are censored at the end, or, where another
    intruder took the place of one that was gone, at that minute.
    """

    start: int | None = None
    detected: int | None = None
    acknowledged: int | None = None
    contained: int | None = None
    eradicated: int | None = None
    replaced: int | None = None
    num_live: int = 0


@dataclass
class Ledger:
    """The books of an episode."""

    scenario: Mapping[str, Any]
    zone_starts: Sequence[int]  # first host of each zone
    minute: int = 0
    hosts: dict[int, Host] = field(default_factory=dict)
    places: dict[int, Campaign] = field(default_factory=dict)  # present intruder by place
    campaigns: list[Campaign] = field(default_factory=list)
    opened: dict[int, int] = field(default_factory=dict)  # case -> minute
    counts: Counter[str] = field(default_factory=Counter)
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(
        ("reward", "damage", "disruption", "effort", "analyst_minutes"), 0.0))  # fmt: skip

    def add(self, minute: Mapping[str, Any]) -> None:
        """Enters a minute of the trace."""
        self.minute = minute["minute"]
        effort = 0.0
        zones = self.scenario["num_zones"]
        for event in minute["events"]:
            enter = getattr(self, "_" + event["event"], None)
            if enter is not None:
                enter(event)
            if event["event"] == "call":
                if event["tool"] in ("hunt", "deep_scan") and event["outcome"] == "done":
                    effort += event["level"] * (1.0 + PRIORITY_WEIGHT * minute["directive"][event["target"]])
                elif event["outcome"] in SPENT:
                    self.sums["analyst_minutes"] += ROWS[event["tool"]].analyst_minutes
        if effort > 0.0:
            share = HUNT_SHARE + HUNT_SHARE_SPAN * minute["directive"][zones + POSTURE_HUNT]
            self.sums["analyst_minutes"] += self.scenario["analysts"] * share * min(1.0, effort)
        self.sums["reward"] += minute["reward"]
        for name in ("damage", "disruption", "effort"):
            self.sums[name] += minute["losses"][name]
        self.counts["raw_events"] += minute["raw_events"]
        self._close_minute()

    def _close_minute(self) -> None:
        for campaign in self.campaigns:
            campaign.num_live = 0
        for host in self.hosts.values():
            if host.campaign is not None and host.is_live and host.is_defended:
                host.campaign.num_live += 1
            self.counts["disruption_minutes"] += host.is_cut
        for campaign in self.campaigns:
            if campaign.start is not None and campaign.contained is None and campaign.num_live == 0:
                campaign.contained = self.minute

    # ------------------------------------------------------------------ events
    def _host(self, number: int) -> Host:
        if number not in self.hosts:
            zone = bisect.bisect_right(self.zone_starts, number) - 1
            self.hosts[number] = Host(zone not in self.scenario["undefended_zones"])
        return self.hosts[number]

    def _call(self, event: Mapping[str, Any]) -> None:
        if event["tool"] == "reimage" and event["outcome"] == "started":
            self._host(event["target"]).is_offline = True

    def _completed(self, event: Mapping[str, Any]) -> None:
        tool, is_done = event["tool"], event["outcome"] == "done"
        if tool not in (*RESPONSES, "release"):
            return
        host = self._host(event["target"])
        if tool == "reimage":
            host.is_offline = False
            if is_done:
                host.is_isolated = host.is_encrypted = False
        elif is_done and tool != "kill_process":
            host.is_isolated = tool == "isolate"

    def _action(self, event: Mapping[str, Any]) -> None:
        self.counts["actions"] += 1
        self.counts["gated"] += event["is_gated"]
        self.counts["clean"] += event["is_clean"]

    def _alert(self, event: Mapping[str, Any]) -> None:
        self.counts["total_alerts"] += 1
        self.counts["true_alerts"] += event["campaign"] is not None

    def _case(self, event: Mapping[str, Any]) -> None:
        self.counts["cases"] += 1
        self.opened[event["case"]] = self.minute

    def _case_closed(self, event: Mapping[str, Any]) -> None:
        how, is_true = event["how"], event["is_true"]
        named = {"dropped": "dropped_cases", "expired": "expired_cases", "auto_closed": "auto_closed"}
        if how in named:
            self.counts[named[how]] += 1
        if how == "escalated":
            self.counts["true_positives" if is_true else "false_positives"] += 1
        elif how == "suppressed" and not is_true:
            self.counts["true_negatives"] += 1
        elif how != "merged":
            self.counts["missed_cases"] += is_true
        if event["case"] is not None:
            # the queue is looked through once a minute, after verdicts and drops, before cases expire
            last_look = self.minute - (how != "expired")
            self._check_service_level(self.opened.pop(event["case"]), last_look)

    def _check_service_level(self, opened: int, last_look: int) -> None:
        self.counts["sla_breaches"] += last_look - opened >= self.scenario["sla_minutes"]

    def _campaign(self, event: Mapping[str, Any]) -> None:
        place = event["campaign"]
        if event["change"] == "started":
            if place in self.places:
                self.places[place].replaced = self.minute
            self.places[place] = Campaign()
            self.campaigns.append(self.places[place])
        elif event["change"] == "gave_up":
            self.places[place].eradicated = self.minute

    def _compromise(self, event: Mapping[str, Any]) -> None:
        host, campaign = self._host(event["host"]), self.places[event["campaign"]]
        self.counts["blast_radius"] += host.level == 0
        host.level, host.campaign = event["level"], campaign
        if campaign.start is None and host.is_defended:
            campaign.start = self.minute

    def _cleaned(self, event: Mapping[str, Any]) -> None:
        host = self._host(event["host"])
        host.level, host.campaign = 0, None

    def _damage(self, event: Mapping[str, Any]) -> None:
        if event["goal"] == "encrypt":
            self.counts["encrypted"] += 1
            self._host(event["host"]).is_encrypted = True
        elif event["goal"] == "exfiltrate":
            self.counts["exfiltrated"] += event["minutes"]

    def _finding(self, event: Mapping[str, Any]) -> None:
        self.counts["findings" if event["is_true"] else "false_findings"] += 1

    def _detection(self, event: Mapping[str, Any]) -> None:
        campaign = self.places[event["campaign"]]
        if campaign.detected is None:
            campaign.detected = self.minute

    def _work(self, event: Mapping[str, Any]) -> None:
        if event["is_true"]:
            campaign = self.places[event["campaign"]]
            if campaign.start is not None and campaign.acknowledged is None:
                campaign.acknowledged = self.minute

    # ------------------------------------------------------------------ results
    def outcomes(self) -> dict[str, float]:
        """All of `tables.METRICS`."""
        counts = Counter(self.counts)
        for opened in self.opened.values():
            counts["sla_breaches"] += self.minute - opened >= self.scenario["sla_minutes"]
        begun = [campaign for campaign in self.campaigns if campaign.start is not None]
        loss = self.sums["damage"] + self.sums["disruption"] + self.sums["effort"]
        null, best = self.scenario["null_loss"], self.scenario["clairvoyant_loss"]
        contained = sum(campaign.num_live == 0 for campaign in begun)
        escalated = counts["true_positives"] + counts["false_positives"]
        judged_benign = counts["false_positives"] + counts["true_negatives"]
        out: dict[str, float] = dict(self.sums)
        out |= {
            "score": (null - loss) * (100.0 / (null - best)),
            "loss": loss,
            "length": self.minute,
            "mttd": self._mean_time(begun, "detected"),
            "mtta": self._mean_time(begun, "acknowledged"),
            "mttc": self._mean_time(begun, "contained"),
            "mttr": self._mean_time(begun, "eradicated"),
            "fdr": _ratio(counts["false_positives"], escalated),
            "fpr": _ratio(counts["false_positives"], judged_benign),
            "action_fdr": _ratio(counts["clean"], counts["actions"]),
            "evidence_gated": _ratio(counts["gated"], counts["actions"]),
            "csr": _ratio(contained, len(begun)),
            "campaigns": len(begun),
            "detected": sum(campaign.detected is not None for campaign in begun),
            "contained": contained,
            "eradicated": sum(campaign.eradicated is not None for campaign in begun),
            "compromised": sum(campaign.num_live for campaign in begun),
        }
        counted = (
            "blast_radius", "exfiltrated", "encrypted", "disruption_minutes", "total_alerts", "true_alerts", "cases",
            "dropped_cases", "auto_closed", "expired_cases", "sla_breaches", "true_positives", "false_positives",
            "true_negatives", "missed_cases", "findings", "false_findings", "actions", "raw_events",
        )  # fmt: skip
        return out | {name: counts[name] for name in counted}

    def _mean_time(self, begun: list[Campaign], what: str) -> float:
        """Mean minutes from the first host in a defended zone to `what`, censored."""
        total = 0
        for campaign in begun:
            end = getattr(campaign, what)
            if end is None:
                end = self.minute if campaign.replaced is None else campaign.replaced
            total += max(0, end - campaign.start)  # what came before counts as at once
        return _ratio(total, len(begun))


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def measure(header: Mapping[str, Any], minutes: Iterable[Mapping[str, Any]]) -> dict[str, float]:
    """Outcomes of an episode, name -> value, as `tables.METRICS`, from a trace's header and minutes."""
    ledger = Ledger(header["scenario"], header["network"]["zone_starts"])
    for minute in minutes:
        ledger.add(minute)
    return ledger.outcomes()
