"""CC4 seen and played by our four roles: the whole SOC once per blue agent, over the subnets it guards.

A `Desk` is the SOC of `soc-v1` with its own compiled SIEM (alerts, cases, risk scores, directive, jobs) but without
`soc-v1`'s intruders and users: what happens comes from CC4. So an observation entry means here what it means there, and
action vectors are decoded by the same code. `SOCView` turns what a blue agent sees into the desk's alerts and findings
(`ALERTS`), and the desk's tool calls into one CC4 action per blue agent and step (`VERBS`).

Blue agents 0-3 guard one subnet each and are four rows of one desk with one zone; agent 4 guards three subnets and is a
desk with three zones. One policy with weights shared over zones serves both. No agent is told what another one sees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cyborg_bridge.cage4 import AGENTS as BLUE_AGENTS
from cyborg_bridge.cage4 import Cage4Env
from cyborg_bridge.zones import Order, Zone
from soc_env import risk
from soc_env.jit import entry_point
from soc_env.scenario import make_scenario
from soc_env.soc.attack import ROLES, TECHNIQUE_INDEX
from soc_env.soc.kernels.hosts import track
from soc_env.soc.kernels.state import MAX_ZONES, NEVER, PENDING_SLOTS
from soc_env.soc.kernels.tools import STRAY_WEIGHT, find_something
from soc_env.soc.networks import CAGE4_ZONES, Cage4Zone, Network
from soc_env.soc.simulator import SOCSimulator
from soc_env.soc.tables import MAX_DECOYS, TOOL_NAMES
from soc_env.tables import AGENTS

SCENARIO = make_scenario("soc-cage4-v0")
SUBNETS = {
    "restricted_zone_a_subnet": "restricted_a",
    "operational_zone_a_subnet": "operational_a",
    "restricted_zone_b_subnet": "restricted_b",
    "operational_zone_b_subnet": "operational_b",
    "admin_network_subnet": "admin",
    "office_network_subnet": "office",
    "public_access_zone_subnet": "public",
}
ZONE_NAMES = [zone.name for zone in CAGE4_ZONES]
VALUE_UNIT = max(SCENARIO.phase_values) * max(zone.value for zone in CAGE4_ZONES)


class AlertKind(NamedTuple):
    """What the SIEM makes of one kind of CC4 event."""

    technique: str
    severity: float
    confidence: float
    precision: float
    host_finding: float
    source_finding: float


ALERTS = {
    "exploit": AlertKind("T1203", 0.9, 0.95, 1.0, risk.CONFIRMATION, 0.0),
    "probe": AlertKind("T1046", 0.6, 0.8, 0.95, 0.0, risk.CONFIRMATION),
    "process": AlertKind("T1059.004", 0.35, 0.3, 0.16, 0.0, 0.0),
    "access": AlertKind("T1021.004", 0.35, 0.3, 0.01, 0.0, 0.0),
    "flat_process": AlertKind("T1059.001", 0.5, 0.4, 0.38, 0.0, 0.0),
    "flat_probe": AlertKind("T1046", 0.6, 0.8, 0.9, 0.0, 0.0),
    "flat_access": AlertKind("T1021.004", 0.35, 0.3, 0.05, 0.0, 0.0),
}
MINUTES = {"kill_process": 2, "reimage": 4, "isolate": 0, "release": 0}


class Alert(NamedTuple):
    kind: str
    host: str
    source: str | None = None


@entry_point
def add_finding(networks, assets, envs, hosts, slots, logs, i, host, weight):
    """EDR found something on a host of env i."""
    env = envs[i]
    k = env["network"]
    place = track(networks[k], assets[k], env, hosts[i], slots[i], host)
    if place >= 0:
        find_something(env, logs[i], hosts[i][place], weight, 0)


def zone_network(zones: Sequence[Cage4Zone], hosts: Sequence[Sequence[str]]) -> Network:
    names = [zone.name for zone in zones]
    sizes = [len(group) for group in hosts]
    is_server = np.array(["_server_" in name for group in hosts for name in group])
    of_zone = np.repeat(np.arange(len(zones)), sizes)
    value = np.array([zone.value for zone in zones])
    role = np.where(is_server, ROLES.index("server"), ROLES.index("workstation"))
    share = np.array([zone.service_value for zone in zones])
    return Network(
        name="cc4",
        zone_names=tuple(names),
        zone_value=value,
        segment_names=tuple(names),
        segment_zone=np.arange(len(zones)),
        start=np.concatenate(([0], np.cumsum(sizes))),
        reach=np.ones((len(zones), len(zones)), bool),
        is_entry=np.ones(len(zones), bool),
        host_role=role,
        host_value=value[of_zone] * np.where(is_server, 1.0, 0.6),
        host_vulnerability=np.full(len(role), 0.5),
        host_service=np.where(is_server, of_zone, -1),
        host_users=np.where(is_server, 0.0, 1.0),
        service_names=tuple(zone.service for zone in zones),
        service_value=share / share.sum(),
        service_zone=np.arange(len(zones)),
        service_depends=np.zeros((len(zones), len(zones)), bool),
    )


class Desk(SOCSimulator):
    def __init__(self, networks: Sequence[Network], steps: int):
        self._given = tuple(networks)
        scenario = SCENARIO.replace(
            topology="enterprise",
            num_zones=networks[0].num_zones,
            max_steps=steps,
            phase_zones=(-1, -1, -1),
            undefended_zones=(),
            benign_alerts_per_hour=0.0,
            approval_minutes=0,
            approval_rate=1.0,
            decoy_minutes=10_000,
        )
        super().__init__(scenario, len(networks), seed=0, autoreset=False)

    def _choose_networks(self) -> tuple[Network, ...]:
        return self._given

    def _make_engine(self) -> tuple[np.ndarray, ...]:
        engine = super()._make_engine()
        world, networks = engine[0][0], engine[1]
        world["max_campaigns"] = 0
        world["normal"] = 0.0
        networks["event_mean"] = 0.0
        networks["value_unit"] = 1.0 / VALUE_UNIT
        world["tools"]["failure"] = 0.0
        for tool, minutes in MINUTES.items():
            world["tools"]["minutes"][TOOL_NAMES.index(tool)] = minutes
        for kind in ALERTS.values():
            world["rules"]["precision"][TECHNIQUE_INDEX[kind.technique]] = kind.precision
        return engine

    def reset(self, seed: Any = None) -> dict[str, np.ndarray]:
        super().reset(seed)
        self._envs["network"] = np.arange(self.num_envs)
        self._run_all(self.kernels.OBSERVE_ONLY, False)
        return self.observations

    # ---- what CC4 tells
    def env(self, i: int) -> np.void:
        return self._envs[i]

    def raise_alert(self, i: int, kind: AlertKind, host: int, source: int) -> None:
        env = self._envs[i]
        place = int(env["num_pending"])
        if place < PENDING_SLOTS:
            rule = TECHNIQUE_INDEX[kind.technique]
            env["pending"][place] = (0, rule, host, source, kind.severity, kind.confidence, -1)
            env["num_pending"] = place + 1
        if kind.host_finding:
            self.find(i, host, kind.host_finding)
        if kind.source_finding and source >= 0:
            self.find(i, source, kind.source_finding)

    def find(self, i: int, host: int, weight: float) -> None:
        add_finding(*self._engine[1:], i, host, weight)

    def set_values(self, i: int, values: Sequence[float]) -> None:
        self._engine[1]["zone_value"][i, : len(values)] = values

    def risks(self, i: int) -> np.ndarray:
        """(hosts of env i,) risk scores."""
        out = np.zeros(self.networks[i].num_hosts)
        records = self._engine[4][i, : self._envs["num_tracked"][i]]
        out[records["host"]] = records["risk"]
        return out


class Watch:
    """What a blue agent's SOC remembers beside the desk: hosts, decoys, looks, the CC4 action under way."""

    def __init__(self, agent: str, zone: Zone, mask: np.ndarray, level: str):
        self.agent, self.zone, self.level = agent, zone, level
        self.subnets = zone.subnets
        exists = {o.host for o, ok in zip(zone.orders, mask, strict=True) if ok and o.host}
        self.groups = [[h for h in zone.hosts[s] if h in exists] for s in self.subnets]
        self.names = [h for group in self.groups for h in group]
        self.number = {h: k for k, h in enumerate(self.names)}
        self.zone_of = np.repeat(np.arange(len(self.groups)), [len(g) for g in self.groups])
        self.zones = [CAGE4_ZONES[ZONE_NAMES.index(SUBNETS[s])] for s in self.subnets]
        self.network = zone_network(self.zones, self.groups)
        self.decoys = np.zeros(len(self.names), int)
        self.looked = np.full(len(self.names), -20.0)
        self.task: tuple[str, int, int] | None = None
        self.busy = 0
        self.step = 0
        self.addresses: dict[str, str] = {}
        self.blocked = self.policy = np.zeros((len(self.subnets), len(zone.all_subnets)), bool)
        self.phase = 0

    def values(self) -> list[float]:
        out = []
        for zone in self.zones:
            stressed = SCENARIO.phase_zones[self.phase]
            factor = SCENARIO.phase_values[self.phase] if stressed >= 0 and ZONE_NAMES[stressed] == zone.name else 1.0
            out.append(zone.value * factor)
        return out

    # ---- seeing
    def look(self, vector: np.ndarray) -> None:
        self.phase = int(vector[0])
        fields = [self.zone.fields[s] for s in self.subnets]
        self.blocked = np.array([vector[f["blocked"]] for f in fields]) > 0
        self.policy = np.array([vector[f["policy"]] for f in fields]) > 0

    def flat_alerts(self, vector: np.ndarray) -> list[Alert]:
        alerts = []
        for subnet in self.subnets:
            fields = self.zone.fields[subnet]
            for host, p, c in zip(self.zone.hosts[subnet], vector[fields["processes"]], vector[fields["connections"]], strict=True):
                if host not in self.number:
                    continue
                if p and c:
                    alerts.append(Alert("exploit", host))
                elif p:
                    alerts.append(Alert("flat_process", host))
                elif c:
                    alerts.append(Alert("flat_access" if "_server_" in host else "flat_probe", host))
        return alerts

    def raw_alerts(self, raw: Mapping[str, Any]) -> list[Alert]:
        alerts: dict[Alert, None] = {}
        for name, seen in raw.items():
            if not isinstance(seen, Mapping):
                continue
            for process in seen.get("Processes", ()):
                connections = process.get("Connections", ())
                if "PID" in process and "PPID" not in process and name in self.number:
                    alerts[Alert("exploit", name)] = None
                for connection in connections:
                    alert = self._connection(name, connection)
                    if alert is not None:
                        alerts[alert] = None
        return list(alerts)

    def _connection(self, name: str, connection: Mapping[str, Any]) -> Alert | None:
        remote = connection.get("remote_address")
        if remote is None:
            return Alert("process", name) if name in self.number else None
        source = self.addresses.get(str(remote))
        if "local_port" in connection or connection.get("remote_port") == 22:
            if name not in self.number:
                return Alert("probe", source, source) if source else None
            return Alert("probe", name, source)
        return Alert("access", name) if name in self.number else None

    def learn_addresses(self, raw: Mapping[str, Any]) -> None:
        for name, seen in raw.items():
            if name in self.number:
                for interface in seen.get("Interface", ()):
                    self.addresses[str(interface["ip_address"])] = name

    # ---- acting
    def firewall(self, z: int, is_wanted: bool) -> Order | None:
        """The next change of a subnet's firewall: never a block that the mission's policy does not ask for."""
        for k, source in enumerate(self.zone.all_subnets):
            wanted = bool(self.policy[z, k]) and is_wanted
            if wanted != bool(self.blocked[z, k]):
                verb = "BlockTrafficZone" if wanted else "AllowTrafficZone"
                order = Order(verb, subnet=self.subnets[z], source=source)
                if order in self.zone.index:
                    return order
        return None

    def order(self, verb: str, host: int) -> Order:
        name = self.names[host]
        return Order(verb, host=name, subnet=self.subnets[self.zone_of[host]])


KEPT = ("escalate", "suppress", "correlate", "intel_sweep", "collect_forensics", "block_perimeter", "unblock_perimeter")
RESPONSE = {"isolate": None, "release": None, "kill_process": "Remove", "reimage": "Restore"}
READING_LOW, READING_SPAN = 0.32, 0.36


class SOCView:
    def __init__(self, env: Cage4Env, level: str = "flat"):
        self.env, self.level = env, level

    def reset(self, seed: int | None = None) -> dict[str, dict[str, np.ndarray]]:
        found, infos = self.env.reset(seed=seed)
        steps = self.env.wrapper.env.scenario_generator.steps
        self.watches = {
            a: Watch(a, self.env.zone(a), infos[a]["action_mask"], self.level) for a in BLUE_AGENTS
        }
        groups: dict[int, list[Watch]] = {}
        for watch in self.watches.values():
            groups.setdefault(len(watch.subnets), []).append(watch)
        self.groups = groups
        self.desks = {z: Desk([w.network for w in ws], steps) for z, ws in groups.items()}
        for z, desk in self.desks.items():
            for i, watch in enumerate(groups[z]):
                watch.look(found[watch.agent])
                desk.set_values(i, watch.values())
                if self.level == "raw":
                    watch.learn_addresses(self.env.raw_observation(watch.agent))
            desk.reset()
        return self.observations()

    def observations(self) -> dict[str, dict[str, np.ndarray]]:
        return {
            watch.agent: {role: desk.observations[role][i].copy() for role in AGENTS}
            for z, desk in self.desks.items()
            for i, watch in enumerate(self.groups[z])
        }

    def actions(self) -> dict[str, int]:
        chosen = {}
        for z, desk in self.desks.items():
            desk.decode()
            for i, watch in enumerate(self.groups[z]):
                calls = desk.calls(i)
                order, kept = self._choose(desk, i, watch, calls)
                desk.set_calls([(c["tool"], c["target"], c["level"], c["depth"]) for c in kept], i)
                chosen[watch.agent] = watch.zone.index[order]
        return chosen

    def _choose(self, desk: Desk, i: int, watch: Watch, calls: list[dict[str, Any]]) -> tuple[Order, list[dict[str, Any]]]:
        kept = [c for c in calls if c["tool"] in KEPT]
        env = desk.env(i)
        sleep = Order("Sleep")
        asks = [c for c in calls if c["tool"] in ("enrich", "query")]
        if self.level == "flat":
            for c in asks:
                self._read(desk, i, c["target"], None)
            asks = []
        if watch.busy:
            return sleep, kept
        zones = range(len(watch.subnets))
        is_wanted = [bool(env["perimeter"] > 0 or env["isolated"][z] > 0) for z in zones]
        for z in zones:
            for k, source in enumerate(watch.zone.all_subnets):
                if watch.blocked[z, k] and not watch.policy[z, k]:
                    return Order("AllowTrafficZone", subnet=watch.subnets[z], source=source), kept
        risks, values = desk.risks(i), watch.values()
        response = [c for c in calls if c["tool"] in RESPONSE]
        if response:
            best = max(
                response,
                key=lambda c: (c["tool"] != "release", values[watch.zone_of[c["target"]]] * risks[c["target"]]),
            )
            verb = RESPONSE[best["tool"]]
            if verb is None:
                z = int(watch.zone_of[best["target"]])
                return watch.firewall(z, best["tool"] == "isolate" or is_wanted[z]) or sleep, [*kept, best]
            watch.task = (verb, best["target"], -1)
            return watch.order(verb, best["target"]), [*kept, best]
        for c in asks:
            case = self._case(env, c["target"])
            if case is not None:
                host = int(case["source"] if case["source"] >= 0 else case["host"])
                watch.task = ("Analyse", host, c["target"])
                return watch.order("Analyse", host), kept
        for c in sorted((c for c in calls if c["tool"] == "deploy_decoy"), key=lambda c: -values[c["target"]]):
            hosts = np.flatnonzero(watch.zone_of == c["target"])
            host = int(min(hosts, key=lambda h: (watch.decoys[h], "_server_" in watch.names[h], h)))
            if watch.decoys[host] < MAX_DECOYS:
                watch.task = ("DeployDecoy", host, -1)
                return watch.order("DeployDecoy", host), kept
        hunts = [c for c in calls if c["tool"] in ("hunt", "deep_scan")]
        if hunts and self.level == "raw":
            effort = np.zeros(len(watch.subnets))
            for c in hunts:
                effort[c["target"]] = c["level"] * (1.0 + 0.5 * env["directive"][c["target"]])
                env["last_hunt"][c["target"]] = env["step"] + 1
            worth = effort[watch.zone_of] * (risks + STRAY_WEIGHT) * (watch.step - watch.looked)
            host = int(worth.argmax())
            watch.task = ("Analyse", host, -1)
            return watch.order("Analyse", host), kept
        for z in zones:
            order = watch.firewall(z, is_wanted[z])
            if order is not None:
                return order, kept
        return sleep, kept

    @staticmethod
    def _case(env: np.void, case_id: int) -> np.void | None:
        for k in range(env["num_cases"]):
            if env["cases"][k]["id"] == case_id:
                return env["cases"][k]
        return None

    def _read(self, desk: Desk, i: int, case_id: int, is_found: bool | None) -> None:
        case = self._case(desk.env(i), case_id)
        if case is None or case["enriched"] > 1:
            return
        precision = 1.0 if is_found else float(desk._engine[0]["rules"]["precision"][0, case["rule"]])
        reading = READING_LOW + READING_SPAN * precision
        case["reading" if case["enriched"] == 0 else "second_reading"] = reading
        case["enriched"] += 1

    def observe(self, found: Mapping[str, np.ndarray], infos: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, np.ndarray]]:
        for z, desk in self.desks.items():
            for i, watch in enumerate(self.groups[z]):
                self._observe(desk, i, watch, found[watch.agent], infos[watch.agent]["busy"])
            desk.step()
            for i, watch in enumerate(self.groups[z]):
                self._patch(desk, i, watch)
        return self.observations()

    def _observe(self, desk: Desk, i: int, watch: Watch, vector: np.ndarray, busy: int) -> None:
        watch.step += 1
        watch.busy = int(busy)
        watch.look(vector)
        desk.set_values(i, watch.values())
        raw = self.env.raw_observation(watch.agent) if self.level == "raw" else None
        alerts = watch.flat_alerts(vector) if raw is None else watch.raw_alerts(raw)
        if watch.task is not None and not watch.busy:
            self._finish(desk, i, watch, raw)
        for alert in alerts:
            source = watch.number[alert.source] if alert.source else -1
            desk.raise_alert(i, ALERTS[alert.kind], watch.number[alert.host], source)
        env = desk.env(i)
        for z in range(len(watch.subnets)):
            least = watch.decoys[watch.zone_of == z].min()
            env["decoy_ready"][z] = [0 if least > k else NEVER for k in range(MAX_DECOYS)]

    def _finish(self, desk: Desk, i: int, watch: Watch, raw: Mapping[str, Any] | None) -> None:
        verb, host, case_id = watch.task
        watch.task = None
        if verb == "DeployDecoy":
            watch.decoys[host] += 1
        elif verb == "Restore":
            watch.decoys[host] = 0
        elif verb == "Analyse":
            watch.looked[host] = watch.step
            is_found = bool(raw.get(watch.names[host], {}).get("Files"))
            if is_found:
                desk.find(i, host, risk.CONFIRMATION)
            if case_id >= 0:
                self._read(desk, i, case_id, is_found)

    def _patch(self, desk: Desk, i: int, watch: Watch) -> None:
        pass
