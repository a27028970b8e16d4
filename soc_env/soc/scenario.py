"""Scenarios of the `soc-v1` family: every number with its unit, range and source.

Sources say "assumption" where there is none better; SOC practice is quoted as ranges (alert loads, false-positive
shares, times to reimage) that differ from one operator to the next, so all of it can be overridden.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, cast

from soc_env.engine.scenario import MAX_STEPS, Scenario
from soc_env.errors import ScenarioError, shown, unknown_name
from soc_env.settings import choice, flag, names, numbers, setting
from soc_env.soc.intruders import INTRUDER_FAMILIES
from soc_env.soc.networks import CAGE4_ZONES, MAX_ZONES
from soc_env.soc.networks.network import Network
from soc_env.soc.risk_model import RiskModel

ASSUMPTION = "assumption"
DESIGN = "design of the task"


def _setting(default: Any, low: float, high: float, unit: str, source: str = ASSUMPTION) -> Any:
    return setting(default, low, high, unit, source)


def _checked_below(default: Any, unit: str) -> Any:
    """A field with checks of its own in `__post_init__`."""
    return field(default=default, metadata={"unit": unit, "source": DESIGN})


@dataclass(frozen=True)
class SOCScenario(Scenario):
    """The network, the attackers, the sensors, the tools and the reward of `soc-v1`. One step is one minute.

    The horizon is a part of a shift: `max_steps` minutes, two to five times what an undisturbed campaign needs to its
    goal. Episodes are truncated there and never terminate, so what intruders still hold has a future that a learner
    bootstraps. The mission score has no discount; a learner's is per minute, and 0.99 gives what happens after an hour
    55 % of its weight: about as long as it takes from a first alert to a rebuilt host.
    """

    name: str = "soc-v1"
    # ---- size, clock, order
    num_hosts: int = _setting(200, 20, 100_000, "hosts (exactly those of the file or generator where one is named)")
    num_zones: int = _setting(5, 1, MAX_ZONES, "zones: what the agents see and act on", DESIGN)
    max_steps: int = _setting(200, 1, MAX_STEPS, "minutes", DESIGN)
    coordinator_period: int = _setting(5, 1, MAX_STEPS, "minutes between two decisions of the coordinator", "paper, K")
    order: str = choice(
        "attacker_first", ("attacker_first", "defenders_first"), "who moves first in a minute", ASSUMPTION
    )
    # ---- networks and attackers, and what of them is held out
    split: str = choice(
        "train", ("train", "test"), "networks; 'test' also adds the held-out attacker families", ASSUMPTION
    )
    topology: str = choice("enterprise", ("enterprise", "cage4"), "network generator", DESIGN)
    network: str = _checked_below("", "path of a GraphML file that takes the generator's place")
    network_seed: int = _setting(0, 0, 2**31 - 1, "first seed of the generator")
    num_networks: int = _setting(8, 1, 1024, "networks generated; each episode plays on one of them")
    families: tuple[str, ...] = names("attacker families by name; empty: those of the split", DESIGN)
    # ---- reward and score
    reward: str = choice("dense", ("dense", "sparse"), "four terms a minute, or mission score / 100 at the end", DESIGN)
    weight_detection: float = _setting(1.0, -1e6, 1e6, "alpha", "paper, reward definition")
    weight_response: float = _setting(1.5, -1e6, 1e6, "beta", "paper, reward definition")
    weight_cost: float = _setting(-0.3, -1e6, 1e6, "delta", "paper, reward definition")
    weight_false_positive: float = _setting(-2.0, -1e6, 1e6, "lambda", "paper, reward definition")
    null_loss: float = _setting(113.6, 0.0, 1e9, "mean loss of doing nothing on the test split: score 0", "measured")
    clairvoyant_loss: float = _setting(2.8, 0.0, 1e9, "mean loss of the clairvoyant defender: score 100", "measured")
    phase_values: tuple[float, ...] = _setting(
        (1.0, 2.0, 2.0), 0.0, 10.0, "factor on the value of the zone that a mission phase stresses, by phase"
    )
    phase_zones: tuple[int, ...] = _setting(
        (-1, 3, 4),
        -1,
        MAX_ZONES - 1,
        "zone that each mission phase stresses, -1 for none; phases share the episode equally",
    )
    undefended_zones: tuple[int, ...] = numbers(
        (), 0, MAX_ZONES - 1, "zones without sensors and out of the tools' reach", DESIGN, is_whole=True
    )
    # ---- telemetry and alerts
    events_per_host_hour: float = _setting(50.0, 0.0, 1e4, "raw events per host and hour: 10,000 at 200", DESIGN)
    benign_alerts_per_hour: float = _setting(48.0, 0.0, 1e5, "alerts that benign activity causes at 200 hosts")
    alert_scaling: float = _setting(0.5, 0.0, 1.0, "exponent of alerts with hosts: larger sites tune their rules more")
    noisy_hosts: float = _setting(0.04, 0.0, 1.0, "share of hosts with badly tuned rules")
    noisy_share: float = _setting(0.4, 0.0, 1.0, "share of benign alerts that come from them")
    lookalike_share: float = _setting(0.15, 0.0, 1.0, "share of benign alerts as confident as malicious ones", DESIGN)
    sensor_coverage: float = _setting(0.9, 0.0, 1.0, "share of attempts in the reach of a sensor", DESIGN)
    alert_drop: float = _setting(0.05, 0.0, 1.0, "share of alerts lost on the way", DESIGN)
    alert_delay: float = _setting(1.0, 0.0, 100.0, "factor on the rules' mean delays", DESIGN)
    risk_half_life: float = _setting(20.0, 1.0, 1e4, "minutes in which alerts lose half their weight in the risk score")
    finding_half_life: float = _setting(60.0, 1.0, 1e4, "the same for findings and verdicts")
    risk_model: str = _checked_below(
        "", "learned risk model in place of the SIEM's formula: 'learned', or a file of `hmarl-soc risk-model`"
    )
    # ---- queue and analysts
    queue_capacity: int = _setting(24, 1, 32, "open cases; the lowest-ranked is dropped beyond that")
    analysts: float = _setting(4.0, 0.0, 1e4, "analysts on shift, shared by triage and hunting as the directive says")
    sla_minutes: int = _setting(30, 1, 10_000, "minutes in which a case should get its verdict")
    case_expiry: int = _setting(60, 1, 10_000, "minutes after which an unworked case closes by itself")
    auto_close: float = _setting(0.2, 0.0, 1.0, "rank below which a new case closes by itself at a neutral posture")
    # ---- hunting
    hunt_hosts_per_minute: float = _setting(10.0, 0.0, 1e6, "hosts examined a minute at 200 hosts, full effort")
    hunt_scaling: float = _setting(0.5, 0.0, 1.0, "exponent of that with hosts")
    false_finding: float = _setting(0.006, 0.0, 1.0, "probability that examining a clean host finds something")
    decoy_minutes: int = _setting(60, 1, 10_000, "life of a decoy")
    # ---- response
    instant_actions: bool = flag(False, "ablation: no action takes time, fails or waits for approval", ASSUMPTION)
    approval_minutes: int = _setting(3, 0, 1_000, "wait for the approval of a high-risk action")
    approval_risk: float = _setting(0.6, 0.0, 1.0, "risk score from which approval is certain")
    approval_rate: float = _setting(0.4, 0.0, 1.0, "probability of approval below that")
    # ---- attackers
    campaigns_per_hour: float = _setting(1.0, 0.0, 60.0, "arrivals after the first campaign")
    max_campaigns: int = _setting(3, 1, 3, "campaigns at once")
    first_campaign: int = _setting(20, 1, 10_000, "the first campaign starts within these minutes")
    persistence: bool = flag(True, "False, an ablation: lost campaigns never come back", ASSUMPTION)
    stealth_factor: float = _setting(1.0, 0.0, 10.0, "factor on the families' stealth")
    # ---- sizes of losses, in units of a host of value 1 lost for a minute
    user_damage: float = _setting(0.1, 0.0, 1e3, "loss a minute of a compromised host at user level, times its value")
    admin_damage: float = _setting(0.3, 0.0, 1e3, "the same at admin level")
    exfiltration_damage: float = _setting(1.0, 0.0, 1e3, "loss of each successful minute of exfiltration, times value")
    encryption_damage: float = _setting(2.0, 0.0, 1e3, "loss of each host encrypted or destroyed, times value")
    abuse_damage: float = _setting(0.5, 0.0, 1e3, "loss of each successful minute of abuse, times value")
    service_loss: float = _setting(4.0, 0.0, 1e3, "loss a minute of all services together")
    host_outage: float = _setting(0.002, 0.0, 1e3, "loss a minute of a host cut off or offline, times its users")
    perimeter_loss: float = _setting(0.25, 0.0, 1e3, "loss a minute of a blocked perimeter")
    reset_loss: float = _setting(0.3, 0.0, 1e3, "loss a minute of a credential reset")
    analyst_loss: float = _setting(0.01, 0.0, 1e3, "loss of an analyst minute")
    false_verdict_loss: float = _setting(0.1, 0.0, 1e3, "loss of an incident opened on benign activity")
    interruption: float = _setting(1.0, 0.0, 1e3, "factor on the work that response actions interrupt (the tools' own)")
    # ---- privilege levels, since soc-v2
    finding_levels: bool = flag(
        False,
        "findings tell admin from user level; kill_process needs an alert about a process of the host, and ends what "
        "raised one",
        DESIGN,
    )
    kill_minutes: int = _setting(2, 0, 1_000, "minutes of kill_process")
    kill_disruption: float = _setting(0.2, 0.0, 1e3, "disruption of kill_process, as in the table of tools")
    kill_failure: float = _setting(0.35, 0.0, 1.0, "probability that kill_process does not work")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.network, str) or not (self.network.isprintable() or not self.network):
            raise ScenarioError(f"network={shown(self.network)} must be the path of a .graphml file, or ''")
        if not isinstance(self.risk_model, str) or not (self.risk_model.isprintable() or not self.risk_model):
            raise ScenarioError(
                f"risk_model={shown(self.risk_model)} must be 'learned', the path of a risk model's file, or ''"
            )
        known = [family.name for family in INTRUDER_FAMILIES]
        for name in self.families:
            if name not in known:
                raise ScenarioError(unknown_name("families", name, known))
        if self.topology == "cage4" and not self.network and self.num_zones != len(CAGE4_ZONES):
            raise ScenarioError(f"num_zones={self.num_zones} must be {len(CAGE4_ZONES)}, the zones of topology='cage4'")
        zones = self.undefended_zones
        if any(zone >= self.num_zones for zone in zones) or len(set(zones)) != len(zones):
            raise ScenarioError(
                f"undefended_zones={shown(zones)} must be zones from 0 to {self.num_zones - 1}, each once"
            )
        if self.clairvoyant_loss >= self.null_loss:
            raise ScenarioError(
                f"clairvoyant_loss={self.clairvoyant_loss} must be below null_loss={self.null_loss}: the mission score "
                "is 0 at the one and 100 at the other"
            )

    def replace(self, **overrides: Any) -> SOCScenario:
        """As `Scenario.replace`; ScenarioError too for an override without effect on the networks there are."""
        scenario = cast(SOCScenario, super().replace(**overrides))
        fixed: tuple[str, ...]
        if scenario.network:
            fixed, by = ("num_hosts", "topology", "network_seed", "num_networks"), f"network={shown(scenario.network)}"
        else:
            fixed, by = ("num_hosts",) * (scenario.topology == "cage4"), f"topology={scenario.topology!r}"
        for name in fixed:
            if name in overrides and (scenario.network or overrides[name] != getattr(self, name)):
                raise ScenarioError(f"{name}={shown(overrides[name])} has no effect beside {by}, which says it itself")
        return scenario

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """As `Scenario.weights`; the sparse reward is the mission score, whose parts weigh the same."""
        return (1.0, 1.0, 1.0, 1.0) if self.reward == "sparse" else super().weights

    def hash(self) -> str:
        """Short hex digest of all fields and of files that they name: equal digests mean the same task."""
        if self.risk_model:
            parts = self.replace(risk_model="").hash() + RiskModel.find(self.risk_model).hash()
            return hashlib.sha256(parts.encode()).hexdigest()[:12]
        if self.network:
            return self.replace(network="").hash()[:6] + Network.load(self.network).hash()[:6]
        fields = self.to_dict()
        for name, before in ADDED.items():
            if fields[name] == before:
                del fields[name]
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:12]


# Fields that came after the first digests, and what all scenarios did before: there they are not digested.
ADDED: dict[str, Any] = {
    "risk_model": "", "finding_levels": False, "kill_minutes": 2, "kill_disruption": 0.2, "kill_failure": 0.35,
}  # fmt: skip
# Privilege levels, and a kill that is quick and free. Source: CAGE Challenge 4's Analyse and Remove (3 ticks, no cost).
_LEVELS: dict[str, Any] = {
    "finding_levels": True, "kill_minutes": 3, "kill_disruption": 0.0, "kill_failure": 0.0,
}  # fmt: skip

_CAGE4: dict[str, Any] = {
    "topology": "cage4",
    "num_hosts": 89,
    "num_zones": len(CAGE4_ZONES),
    "max_steps": 500,
    "phase_values": (1.0, 10.0, 10.0),
    "phase_zones": (-1, 1, 3),  # operational A, operational B (CAGE Challenge 4's reward tables)
    "undefended_zones": (7,),  # contractor, where the intruders come from
}

SCENARIOS: dict[str, SOCScenario] = {
    "soc-v1": SOCScenario(),
    "soc-v2": SOCScenario(name="soc-v2", **_LEVELS),
    "soc-cage4-v0": SOCScenario(name="soc-cage4-v0", null_loss=189.5, clairvoyant_loss=23.5, **_CAGE4),
    "soc-cage4-v1": SOCScenario(name="soc-cage4-v1", null_loss=189.5, clairvoyant_loss=23.5, **_CAGE4, **_LEVELS),
}
