"""The SOC of one or more blue agents: `soc-v1`'s own SIEM, fed from outside.

An `ExternalSIEM` is a `SOCSimulator` in which nobody attacks and no user raises an alert. Alerts and findings come from
CC4, and everything that agents see or set in motion goes through `soc-v1`'s compiled code: risk scores, cases, ranking,
directive, analysts' time, jobs, observations, the decoding of actions. `FEATURES` says what that makes of each entry.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete, Space

from cyborg_bridge.soc_alerts import ALERTS, AlertKind, is_server
from cyborg_bridge.soc_verbs import HOST_TOOLS, VERBS
from soc_env.engine.jit import entry_point
from soc_env.engine.tables import AGENTS, TRIAGE
from soc_env.errors import ActionError, ConfigError, unknown_name
from soc_env.registry import idle_actions
from soc_env.soc import risk
from soc_env.soc.attack import ROLES, TECHNIQUE_INDEX
from soc_env.soc.kernels.hosts import track
from soc_env.soc.kernels.hunting import CONFIRMATION, find_something, note_finding, weaken
from soc_env.soc.kernels.rating import rate
from soc_env.soc.kernels.state import ADMIN, NEVER, PENDING_SLOTS, USER, Records
from soc_env.soc.networks import CAGE4_ZONES, Cage4Zone, Network
from soc_env.soc.networks.cage4 import CAGE4_USER_SHARE
from soc_env.soc.scenario import SCENARIOS, SOCScenario
from soc_env.soc.simulator import SOCSimulator
from soc_env.soc.tables import (
    CLOCK_FEATURES,
    ENRICH_CHOICE,
    MAX_DECOYS,
    MAX_PHASES,
    TOOL_NAMES,
    ZONE_FEATURES,
    actions,
    features,
    layout,
)

SCENARIO: SOCScenario = SCENARIOS["soc-cage4-v0"]
VIEWS = ("soc-cage4-v0", "soc-cage4-v1")  # scenarios whose tables CC4 can be shown by
ZONES = {zone.name: zone for zone in CAGE4_ZONES}
STRESSED = [CAGE4_ZONES[z].name if z >= 0 else None for z in SCENARIO.phase_zones]  # by mission phase
HIGHEST_VALUE = max(SCENARIO.phase_values) * max(CAGE4_ZONES[z].value for z in SCENARIO.phase_zones if z >= 0)
LOOK_KEEPS = 0.4  # of what speaks against a host, where Analyse finds nothing: as the deepest scan of soc-v1
EXECUTOR_UNIT = 15.0  # [min] as in `observe.see_zone`
# What enrichment says of a case that is malicious with probability p, on average, in `soc-v1`: 0.32 + 0.36 p.
READING_BENIGN, READING_SPAN = 0.32, 0.36

_KEPT = "kept by the SIEM from alerts and findings, as in soc-v1"
_ON_CASE = "of the case that the alerts made, as in soc-v1; severity and confidence from the table of kinds"
FEATURES: dict[str, str] = {
    "value": "the zone's in soc-cage4-v0, times 10 for an operational one in the mission phase that stresses it",
    "size": "servers and users that exist in the episode (action mask)",
    "events": "0: CC4 has no feed of raw events",
    **dict.fromkeys(
        ("cases", "oldest_case", "top_risk", "second_risk", "suspects", "evidence", "sources", "incidents", "findings"),
        _KEPT,
    ),
    "isolated": "hosts marked by 'isolate'; CC4 cannot cut off a host, the mark asks for the blocks that policy lists",
    "isolated_risk": "of the marked hosts",
    "isolated_least": "of the marked hosts",
    "offline": "hosts that Restore is working on",
    "executor": "steps until the blue agent is free; the same in all its zones, it has one executor",
    "outage": "share of the zone's servers that are marked or being restored: CC4 does not show what users miss",
    "decoys": "decoys of the host that has fewest in the zone",
    "last_hunt": "steps since the zone's last Analyse that a hunt asked for",
    "top_value": "0.6 of the zone's value in phase 0 for a user's host, all of it for a server, as in soc-cage4-v0",
    "top_age": _KEPT,
    **dict.fromkeys(
        ("admin_findings", "user_findings", "top_level"),
        "raw: what Analyse found, escalate.* is admin, cmd.* user; alerts that accuse a host are user findings",
    ),
    "top_look": "steps since its last Analyse",
    **dict.fromkeys(("killable", "kill_risk"), "of hosts with a process alert (raw: a PID) since their last Remove"),
    **dict.fromkeys(
        ("present", "severity", "confidence", "alerts", "age", "overdue", "zone_value", "is_process", "is_network",
         "tactic", "host_risk", "source_risk", "host_value", "related"),
        _ON_CASE,
    ),
    "zone": "the zone's place among the agent's own",
    "is_identity": "0: CC4 has no alerts about accounts",
    "precision": "measured in CC4, see the table of kinds",
    "enriched": "flat: at once; raw: when the Analyse that was asked for is done",
    "reading": "0.32 + 0.36 p, p the precision of the rule; 0.68 if Analyse found files of red's",
    "second_reading": "the first one again: CC4 has no second source",
    "clock": "step / steps of the episode",
    **dict.fromkeys((f"phase_{k}" for k in range(MAX_PHASES)), "the vector's mission phase"),
    **dict.fromkeys(("next_decision", "queue", "dropped", "auto_closed", "analyst_time"), _KEPT),
    "perimeter": "1 while the blocks that policy lists are asked for",
    **dict.fromkeys(("reset", "reset_wait"), "0: CC4 has no credentials to reset"),
    "intel_wait": _KEPT,
    "indicators": "0: CC4 has no indicators",
    "service_loss": "as `outage`, all zones of the agent",
    "encrypted": "0: CC4 does not show what red's Impact and Degrade did",
}  # fmt: skip
"""Feature of an observation -> what it is made of here, or its neutral value and why."""

_EXECUTOR = [feature.name for feature in ZONE_FEATURES].index("executor")
_PHASE = [feature.name for feature in CLOCK_FEATURES].index("phase_0")


def view_scenario(name: str) -> SOCScenario:
    """The scenario of that name; ConfigError if CC4 cannot be shown by its tables."""
    if name not in VIEWS:
        raise ConfigError(unknown_name("scenario of a SOC view", name, VIEWS))
    return SCENARIOS[name]


def spaces_of(role: str, zones: int, scenario: str = SCENARIO.name) -> tuple[Box, Space]:
    """Observation and action space of a role that guards so many zones, as in `scenario`."""
    entries = len(actions(role, zones))
    acts = Discrete(entries) if role == TRIAGE else Box(-1.0, 1.0, (entries,), np.float32)
    size = len(features(role, zones, view_scenario(scenario).finding_levels))
    return Box(-1.0, 1.0, (size,), np.float32), acts


@entry_point
def add_finding(worlds, networks, assets, envs, hosts, slots, logs, i, host, weight):
    """A finding weighs on a host of env i."""
    env = envs[i]
    k = env["network"]
    place = track(networks[k], assets[k], env, hosts[i], slots[i], host)
    if place >= 0:
        find_something(worlds[0], assets[k], env, logs[i], hosts[i][place], weight, 0)


@entry_point
def add_level(worlds, networks, assets, envs, hosts, slots, logs, i, host, weight, level, is_look):
    """Something speaks against a host of env i, or for it, where findings have levels.

    Args:
        host: of the row's network.
        weight: added to the host's findings; 0: that of the level.
        level: of red's that it proves, as in HOST; 0: none.
        is_look: whether Analyse says it, whose word for nothing counts too; else an alert.
    """
    env, world = envs[i], worlds[0]
    k = env["network"]
    place = track(networks[k], assets[k], env, hosts[i], slots[i], host)
    if place < 0:
        return
    record = hosts[i][place]
    if is_look:
        record["last_hunt"] = env["step"]
    if weight > 0.0:
        record["finding"] = min(CONFIRMATION, record["finding"] + weight)
        record["known_level"] = max(record["known_level"], level)
    elif level > 0:
        note_finding(record, level)
    elif is_look:
        weaken(world, record, LOOK_KEEPS)
    rate(world, assets[k], env, record)


def zone_value(name: str, phase: int) -> float:
    """Business value of a zone of `CAGE4_ZONES` in a mission phase, as in `soc-cage4-v0`."""
    return ZONES[name].value * (SCENARIO.phase_values[phase] if STRESSED[phase] == name else 1.0)


def zone_network(names: Sequence[str], hosts: Sequence[Sequence[str]]) -> Network:
    """The part of the network that one blue agent guards.

    Args:
        names: zones of `CAGE4_ZONES`, in the order of the agent's observation.
        hosts: for each zone the hosts that exist; they are numbered in this order.
    """
    zones: list[Cage4Zone] = [ZONES[name] for name in names]
    every = np.arange(len(zones))
    of_zone = np.repeat(every, [len(group) for group in hosts])
    serves = np.array([is_server(host) for group in hosts for host in group])
    value = np.array([zone.value for zone in zones])
    share = np.array([zone.service_value for zone in zones])
    return Network(
        name=" + ".join(names),
        zone_names=tuple(names),
        zone_value=value,
        segment_names=tuple(names),
        segment_zone=every,
        start=np.concatenate(([0], np.cumsum(np.bincount(of_zone, minlength=len(zones))))),
        reach=np.ones((len(zones), len(zones)), np.bool_),
        is_entry=np.ones(len(zones), np.bool_),
        host_role=np.where(serves, ROLES.index("server"), ROLES.index("workstation")),
        host_value=value[of_zone] * np.where(serves, 1.0, CAGE4_USER_SHARE),
        host_vulnerability=np.full(len(of_zone), 0.5),  # not read: nobody attacks
        host_service=np.where(serves, of_zone, -1),
        host_users=np.where(serves, 0.0, 1.0),
        service_names=tuple(zone.service for zone in zones),
        service_value=share / share.sum(),
        service_zone=every,
        service_depends=np.zeros((len(zones), len(zones)), np.bool_),
    )


class ExternalSIEM(SOCSimulator):
    """As `SOCSimulator`, with one row (env) per blue agent; all of them guard the same number of zones.

    Use: write `actions`, `decode()`, pick from `calls(row)`, `set_calls`, play CC4's step, tell what came of it
    (`alert`, `find`, `read`, `tell`), `step()`, read `observations`.
    """

    def __init__(
        self, networks: Sequence[Network], max_steps: int, scenario: str = SCENARIO.name, level: str = "raw"
    ) -> None:
        """Args:
        networks: one per row.
        max_steps: steps of the CC4 episode.
        scenario: one of `VIEWS`; where its findings have levels, `look` and `admin_hosts` say and read them.
        level: what its alerts are read from, see `soc_alerts`.

        Raises:
            ConfigError: no such scenario.
        """
        self._given, self._level = tuple(networks), level
        base = view_scenario(scenario)
        self.has_levels = base.finding_levels
        own = base.replace(
            topology="enterprise",  # not generated: `_choose_networks`
            num_zones=networks[0].num_zones,
            max_steps=max_steps,
            phase_zones=(-1,) * len(base.phase_zones),  # values by phase are told, see `tell`
            undefended_zones=(),
            benign_alerts_per_hour=0.0,
            approval_minutes=0,  # blue acts without asking
            decoy_minutes=10_000,  # CC4's stand until the host is restored
        )
        super().__init__(own, len(networks), seed=0, autoreset=False)

    def _choose_networks(self) -> tuple[Network, ...]:
        return self._given

    def _make_engine(self) -> Records:
        engine = super()._make_engine()
        world, networks = engine.world[0], engine.network
        world["max_campaigns"] = 0  # nobody attacks
        world["normal"] = 0.0  # raw events are as many as expected
        networks["event_mean"] = 0.0
        networks["value_unit"] = 1.0 / HIGHEST_VALUE
        world["tools"]["failure"] = 0.0
        for tool in HOST_TOOLS:  # the step of the call is the first one
            world["tools"]["minutes"][TOOL_NAMES.index(tool)] = VERBS[tool].ticks - 1
        for kind in ALERTS.values():
            rule = TECHNIQUE_INDEX[kind.technique]
            world["rules"]["precision"][rule] = kind.precision
            world["rules"]["shows_process"][rule] = kind.shows_process
        return engine

    def reset(self, seed: Any = None) -> dict[str, np.ndarray]:
        """As `SOCSimulator.reset`; row i plays on network i. `actions` ask for nothing, triage enriches."""
        super().reset(seed)
        for role, action in idle_actions(self.scenario).items():
            self.actions[role][...] = action
        self.actions[TRIAGE][...] = ENRICH_CHOICE
        self.records().env["network"] = np.arange(self.num_envs)
        self.observe()
        return self.observations

    # ------------------------------------------------------------------ what the agents do
    def set_action(self, row: int, role: str, action: Any) -> None:
        """Writes one row of `actions`.

        Raises:
            ActionError: no such role, a wrong shape or type, or a choice out of range.
        """
        if role not in self.actions:
            raise ActionError(unknown_name("role", role, self.actions))
        rows = list(self.actions[role])
        if np.shape(action) != np.shape(rows[row]):
            raise ActionError(f"action of {role} has shape {np.shape(action)}; allowed: {np.shape(rows[row])}")
        rows[row] = np.asarray(action)
        self.actions[role] = np.stack(rows)

    def decode(self) -> None:
        """As `SOCSimulator.decode`, after checking the actions.

        Raises:
            ActionError: as `SOCSimulator.step`.
        """
        if not self.kernels.run(*self._arguments, 0, 0, self.kernels.DECODE_ONLY, True):
            self._raise_bad_action()
        super().decode()

    # ------------------------------------------------------------------ what CC4 tells
    def alert(self, row: int, kind: AlertKind, host: int, source: int) -> None:
        """The next `step` ingests an alert about a host (number in the row's network); source: -1 if unknown. Beyond
        `PENDING_SLOTS` in a step they are lost."""
        env = self.records(row).env
        place = int(env["num_pending"])
        if place < PENDING_SLOTS:
            rule = TECHNIQUE_INDEX[kind.technique]
            env["pending"][place] = (0, rule, host, source, kind.severity, kind.confidence, NEVER)
            env["num_pending"] = place + 1
        for accused, weight in ((host, kind.host_finding), (source, kind.source_finding)):
            if weight and accused >= 0:
                self._accuse(row, accused, weight)

    def _accuse(self, row: int, host: int, weight: float) -> None:
        """An alert weighs as a finding of that weight does. Where findings have levels, what Analyse can tell apart
        weighs as a user's; at level "flat", where nobody asks Analyse, all weighs as it always did."""
        if not self.has_levels:
            self.find(row, host, weight)
            return
        level = USER if weight >= risk.CONFIRMATION else 0
        add_level(*self.records(), row, host, 0.0 if self._level == "raw" else weight, level, False)

    def find(self, row: int, host: int, weight: float) -> None:
        """A finding on a host, of a weight of `soc_env.soc.risk`, where findings have no levels."""
        add_finding(*self.records(), row, host, weight)

    def look(self, row: int, host: int, level: int) -> None:
        """What Analyse says of a host, where findings have levels: 0 nothing, `USER` or `ADMIN` of kernels.state."""
        add_level(*self.records(), row, host, 0.0, level, True)

    def read(self, row: int, case_id: int, is_found: bool = False) -> None:
        """Enriches a case, or queries it if it is enriched; nothing if it is closed or has both.

        Args:
            is_found: whether Analyse found files of red's on its suspected host.
        """
        place = self.place_of(row, case_id)
        if place is None:
            return
        env = self.records(row).env
        case, world = env["cases"][place], self.records().world[0]
        tool = ("enrich", "query", None)[case["enriched"]]
        if tool is None:
            return
        probability = 1.0 if is_found else float(world["rules"]["precision"][case["rule"]])
        if tool == "enrich":
            case["reading"] = READING_BENIGN + READING_SPAN * probability
        else:
            case["second_reading"] = case["reading"]
        case["enriched"] += 1
        env["analyst_time"] -= world["tools"]["analyst_minutes"][TOOL_NAMES.index(tool)]

    def tell(self, row: int, values: Sequence[float], decoys: Sequence[int]) -> None:
        """Business value of each zone in the present mission phase, and decoys of its least covered host."""
        self.records().network["zone_value"][row, : len(values)] = values
        for z, count in enumerate(decoys):
            self.records().env["decoy_ready"][row, z] = [0 if count > k else NEVER for k in range(MAX_DECOYS)]

    def show(self, row: int, phase: int, busy: int) -> None:
        """Puts what soc-v1's clock cannot know into the row's observations: call it after `reset` and `step`.

        Args:
            phase: mission phase.
            busy: steps until the blue agent is free.
        """
        zones = self.scenario.num_zones
        for agent in AGENTS:
            shape, entries = layout(agent, zones, self.has_levels), self.observations[agent][row]
            entries[_EXECUTOR : shape.case_start : shape.zone_size] = min(1.0, busy / EXECUTOR_UNIT)
            first = shape.clock_start + _PHASE
            entries[first : first + MAX_PHASES] = np.arange(MAX_PHASES) == phase

    def note_hunt(self, row: int, zone: int) -> None:
        """The zone is hunted in the coming minute."""
        self.records().env["last_hunt"][row, zone] = self.records().env["step"][row] + 1

    # ------------------------------------------------------------------ what the SIEM knows
    def place_of(self, row: int, case_id: int) -> int | None:
        """Place of an open case in the row's queue."""
        env = self.records(row).env
        found = np.flatnonzero(env["cases"]["id"][: env["num_cases"]] == case_id)
        return int(found[0]) if found.size else None

    def suspect_of(self, row: int, case_id: int) -> int | None:
        """The host that an open case speaks against: its source, or without one the alerting host."""
        place = self.place_of(row, case_id)
        if place is None:
            return None
        case = self.records().env["cases"][row, place]
        return int(case["source"] if case["source"] >= 0 else case["host"])

    def risks(self, row: int) -> np.ndarray:
        """(hosts,) risk scores."""
        scores = np.zeros(self.networks[row].num_hosts)
        records = self.records().hosts[row, : self.records().env["num_tracked"][row]]
        scores[records["host"]] = records["risk"]
        return scores

    def admin_hosts(self, row: int) -> np.ndarray:
        """(hosts,) bool: an admin finding stands; none where findings have no levels."""
        is_admins = np.zeros(self.networks[row].num_hosts, bool)
        records = self.records().hosts[row, : self.records().env["num_tracked"][row]]
        is_admins[records["host"]] = records["known_level"] == ADMIN
        return is_admins

    def _prices(self, index: int, calls: np.ndarray) -> list[float]:
        """Points of CC4's score that each call takes if the view carries it out, see `VERBS`."""
        return [VERBS[TOOL_NAMES[tool]].price for tool in calls["tool"]]

    def priorities(self, row: int) -> np.ndarray:
        """(zones,) the directive's priority of each zone, -1 to 1."""
        return self.records().env["directive"][row, : self.scenario.num_zones].copy()

    def wants_blocks(self, row: int) -> np.ndarray:
        """(zones,) bool: the perimeter is to be blocked, or a host of the zone is set apart."""
        env = self.records(row).env
        return (env["isolated"][: self.scenario.num_zones] > 0) | (env["perimeter"] > 0)
