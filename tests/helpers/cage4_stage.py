"""CC4 by hand and from the record, for tests of the SOC view and of controls: `Stage`, `Play`, `Scene`, `Recorded`."""

import os
from typing import Any

import numpy as np
import pytest
from cage4_trace import Replay, load

from cyborg_bridge.controls import make_control
from cyborg_bridge.soc_siem import SCENARIO
from cyborg_bridge.soc_view import SOCView
from cyborg_bridge.zones import Order, Zone
from policies.scripted import SCRIPTED
from soc_env.engine.tables import TRIAGE
from soc_env.soc import risk
from soc_env.soc.tables import CASE_FEATURES, CLOCK_FEATURES, LEVEL_FEATURES, ZONE_FEATURES, TokenLayout, layout

needs_cyborg = pytest.mark.skipif(
    not os.environ.get("CYBORG_HOME"), reason="CYBORG_HOME names no CybORG checkout: NOT tested against the real one"
)
TRACE = load()
BLUE = [f"blue_agent_{k}" for k in range(5)]
ZONES = {agent: Zone.of(TRACE["labels"][agent]) for agent in BLUE}
HOSTS = {
    agent: [
        o.host for o, m in zip(ZONES[agent].orders, TRACE["masks"][agent], strict=True) if m and o.verb == "Restore"
    ]
    for agent in BLUE
}
RESTRICTED, OPERATIONAL, HEADQUARTERS = BLUE[0], BLUE[1], BLUE[4]
SERVER, USER, OTHER = (
    "restricted_zone_a_subnet_server_host_0",
    "restricted_zone_a_subnet_user_host_0",
    "restricted_zone_a_subnet_user_host_1",
)
ZONE, LEVELS, CASE, CLOCK = (
    {feature.name: k for k, feature in enumerate(rows)}
    for rows in (ZONE_FEATURES, LEVEL_FEATURES, CASE_FEATURES, CLOCK_FEATURES)
)
ESCALATE, SUPPRESS, CORRELATE, ENRICH = range(4)
ALERT_DECAY, FINDING_DECAY = (risk.decay(t) for t in (SCENARIO.risk_half_life, SCENARIO.finding_half_life))


class Stage:
    """A native environment whose steps are written by hand: set `vectors`, `raw` and `busy`."""

    def __init__(self, observation: str = "raw", steps: int = 500):
        self.observation, self.steps = observation, steps
        self.possible_agents = BLUE
        self.orders: list[dict[str, Any]] = []

    def reset(self, seed: int | None = None) -> Any:
        self.agents = list(BLUE)
        self.vectors = {a: np.array(v) for a, v in TRACE["frames"][0]["observations"].items()}
        for agent, vector in self.vectors.items():
            vector[0] = 0
            for subnet in ZONES[agent].subnets:
                for name in ("blocked", "policy", "processes", "connections"):
                    self.field(agent, subnet, name)[:] = 0
        self.raw: dict[str, dict[str, Any]] = {a: TRACE["frames"][0]["raw"][a] for a in BLUE}
        self.busy = dict.fromkeys(BLUE, 0)
        return self.vectors, self.infos()

    def infos(self) -> dict[str, dict[str, Any]]:
        scored = {"score": 0.0, "rest": 0.0, "charges": ()}
        return {a: {"action_mask": np.array(TRACE["masks"][a]), "busy": self.busy[a], **scored} for a in BLUE}

    def zone(self, agent: str) -> Zone:
        return ZONES[agent]

    def raw_observation(self, agent: str) -> dict[str, Any]:
        return self.raw[agent]

    def field(self, agent: str, subnet: str, name: str) -> np.ndarray:
        return self.vectors[agent][ZONES[agent].fields[subnet][name]]

    def step(self, actions: dict[str, int]) -> Any:
        self.orders.append({agent: ZONES[agent].orders[index] for agent, index in actions.items()})
        none = dict.fromkeys(BLUE, False)
        return self.vectors, dict.fromkeys(BLUE, 0.0), none, none, self.infos()


class Play:
    """A view on a `Stage`, driven by levels of the roles' actions."""

    def __init__(self, level: str = "raw", agent: str = RESTRICTED, scenario: str = SCENARIO.name):
        self.stage = Stage()
        self.view = SOCView(self.stage, level, scenario)  # type: ignore[arg-type]
        self.view.reset()
        self.stage.raw = {a: {} for a in BLUE}
        self.agent, self.team = agent, self.view.teams[agent]

    def ask(self, role: str, **levels: float) -> None:
        """Levels in [0, 1] of entries of the role's action; the rest stays."""
        siem, row = self.team.siem, self.team.row
        names = [action.name for action in siem.action_tables[role]]
        for name, value in levels.items():
            siem.actions[role][row, names.index(name)] = 2.0 * value - 1.0

    def triage(self, choice: int) -> None:
        self.team.siem.actions[TRIAGE][self.team.row] = choice

    def step(self, raw: dict[str, Any] | None = None, busy: int = 0) -> str:
        """A step after which the agent sees `raw`; returns what it did, as "Verb host" or "Verb source"."""
        self.stage.raw[self.agent] = raw or {}
        self.stage.busy[self.agent] = busy
        self.view.step()
        order = self.stage.orders[-1][self.agent]
        return " ".join(part for part in (order.verb, order.host or order.source) if part)

    def risk(self, host: str) -> float:
        return float(self.team.siem.risks(self.team.row)[self.team.number[host]])

    def zone(self, name: str, z: int = 0) -> float:
        place = ZONE[name] if name in ZONE else len(ZONE) + LEVELS[name]
        return self.view.observations()[self.agent][TRIAGE][self._shape.zone_size * z + place]

    @property
    def _shape(self) -> TokenLayout:
        return layout(TRIAGE, len(self.team.names), self.team.siem.has_levels)

    def case(self, name: str) -> float:
        return self.view.observations()[self.agent][TRIAGE][self._shape.case_start + CASE[name]]

    def clock(self, name: str) -> float:
        return self.view.observations()[self.agent][TRIAGE][self._shape.clock_start + CLOCK[name]]


def address(agent: str, host: str) -> str:
    return TRACE["frames"][0]["raw"][agent][host]["Interface"][0]["ip_address"]


def connection(host: str, source: str | None, **fields: Any) -> dict[str, Any]:
    """A host's raw entry: a connection from a host of blue_agent_0's, or from an address of nobody's."""
    remote = "10.9.9.9" if source is None else address(RESTRICTED, source)
    return {host: {"Processes": [{"Connections": [{"local_address": "x", "remote_address": remote, **fields}]}]}}


def exploit(host: str) -> dict[str, Any]:
    return {host: {"Processes": [{"PID": 4711}]}}


class Scene:
    """One agent of the trace with alerts of our own making, to see one rule at a time."""

    def __init__(self, control: str, agent: str = "blue_agent_4") -> None:
        self.agent, self.policy, self.env = agent, make_control(control), Replay(TRACE)
        self.observations, self.infos = self.env.reset()
        self.zone = self.env.zone(agent)
        mask = self.infos[agent]["action_mask"]
        self.hosts = [host for host in self.zone.subnet_of if mask[self.zone.index[self.zone.on_host("Restore", host)]]]
        self.inventory = {host: f"10.0.0.{number}" for number, host in enumerate(self.hosts)}
        self.busy = 0
        self.raw = {host: {"Interface": [{"ip_address": address}]} for host, address in self.inventory.items()}
        self.env.raw_observation = lambda _: self.raw

    def act(
        self,
        processes: tuple[str, ...] = (),
        connections: tuple[str, ...] = (),
        raw: dict | None = None,
        phase: int = 0,
    ) -> Order:
        """The order that is given after a step with these flags; `raw` is what the next step shows."""
        row = np.zeros_like(self.observations[self.agent])
        row[0] = phase
        for field, hosts in (("processes", processes), ("connections", connections)):
            for host in hosts:
                subnet = self.zone.subnet_of[host]
                row[self.zone.fields[subnet][field].start + self.zone.hosts[subnet].index(host)] = 1
        info = {**self.infos[self.agent], "busy": self.busy}
        index = self.policy.act({self.agent: row}, {self.agent: info}, self.env)[self.agent]
        self.raw = raw or {}
        return self.zone.orders[index]


class Recorded(Replay):
    """The trace as an environment of the view."""

    observation = "raw"

    def __init__(self) -> None:
        super().__init__(TRACE)
        self.steps = TRACE["steps"]

    def reset(self, seed: int | None = None) -> Any:
        return super().reset()


def record(level: str, seed: int, scenario: str = SCENARIO.name) -> tuple[list[dict[str, int]], list[Any]]:
    """Random roles on the recorded episode."""
    env = Recorded()
    view = SOCView(env, level, scenario)  # type: ignore[arg-type]
    seen, chosen = [view.reset()], []
    policies = {zones: SCRIPTED["soc"]["random"](siem.action_spaces, seed) for zones, siem in view.siems.items()}
    while env.agents:
        for zones, siem in view.siems.items():
            for role, action in policies[zones](siem.observations, siem.decides).items():
                siem.actions[role] = action
        rows = {agent: team.busy for agent, team in view.teams.items()}
        chosen.append(view.actions())
        for agent, index in chosen[-1].items():
            zone, team = env.zone(agent), view.teams[agent]
            order = zone.orders[index]
            assert TRACE["masks"][agent][index]
            assert rows[agent] == 0 or order.verb == "Sleep"
            assert level == "raw" or order.verb != "Analyse"
            if order.verb in ("BlockTrafficZone", "AllowTrafficZone"):
                z, source = zone.subnets.index(order.subnet), zone.all_subnets.index(order.source)
                assert team.blocked[z, source] == (order.verb == "AllowTrafficZone")
                assert order.verb == "AllowTrafficZone" or team.policy[z, source]
        observations, _, _, _, infos = env.step(chosen[-1])
        seen.append(view.observe(observations, infos))
    return chosen, seen
