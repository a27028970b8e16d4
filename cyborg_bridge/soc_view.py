"""CC4 seen and played by our four roles: the whole SOC once per blue agent, over the subnets it guards.

`SOCView` stands between CC4's native environment and policies that read and write the tables of the `soc-v1` family. It
turns what a blue agent sees into alerts (`soc_alerts`) for its SIEM (`soc_siem`), whose observations the policies read,
and the tool calls that their actions mean into ONE action of CC4 per blue agent and step (`VERBS`). Blue agents 0-3
guard one subnet each: they are the four rows of the SIEM with one zone. Agent 4 guards three: its SIEM has one row.

    view = SOCView(cage4_parallel_env(observation="raw"), level="raw")
    view.reset(seed=1)
    while view.env.agents:
        for siem in view.siems.values():
            for role, action in policy(siem.observations, siem.decides).items():
                siem.actions[role] = action
        view.step()

No agent is told what another one sees. Where several calls want the agent's one executor, the first of these wins:

1. a block that the mission's policy does not list is taken back;
2. response, in `soc-v1`'s order within a zone; of several zones the one with most value at risk: the host's zone in the
   present phase times the host's risk score; a release comes last;
3. Analyse for enrichment; 4. a decoy, in the most valuable zone first; 5. Analyse for a hunt: the host with the most
   (risk + `STRAY_WEIGHT`) x effort x steps since it was last looked at;
6. the firewall is brought to what is asked for, as far as policy lists it; 7. Sleep.

At level "flat" the result of Analyse is not seen, so nobody asks for it: enrichment says at once what is known of the
rule, and hunting does nothing. Level "raw" sees it. A score is only comparable together with its level.

`scenario` says whose tables the policies speak. With "soc-cage4-v0" any file that Analyse finds is one and the same
finding. With "soc-cage4-v1" findings have levels, as in CC4:

* `escalate.*` is an admin finding: red is root there, and Restore alone, which costs a point, ends it. Such hosts come
  first in everything, and hunts pass them over.
* `cmd.*` is a user finding: an exploit has worked. The file outlives the session that Remove ended, so it counts again
  only after another alert with a PID. An alert that accuses a host is a user finding too.
* Nothing: what spoke against the host loses most of its weight. Red may still be there: phishing leaves no file.
* A process alert (raw: with a PID) makes the host killable: Remove, which is free, ends the user-level sessions whose
  PIDs were in alerts. That it succeeds is no evidence.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np

from cyborg_bridge.controls import same_episode
from cyborg_bridge.soc_alerts import ALERTS, LEVELS, flat_alerts, is_server, own_addresses, raw_alerts
from cyborg_bridge.soc_siem import SCENARIO, ExternalSIEM, view_scenario, zone_network, zone_value
from cyborg_bridge.soc_verbs import HOST_TOOLS, SIEM_TOOLS, VERBS
from cyborg_bridge.zones import SLEEP, ZONE_OF_SUBNET, Order, Zone
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.errors import ActionError, ConfigError, unknown_name
from soc_env.parallel import ResetNeeded
from soc_env.soc import risk
from soc_env.soc.kernels.hunting import STRAY_WEIGHT
from soc_env.soc.kernels.state import ADMIN, USER
from soc_env.soc.tables import PRIORITY_WEIGHT

if TYPE_CHECKING:
    from cyborg_bridge.cage4 import Cage4Env, StepReturn

FILE_LEVELS = {"escalate": ADMIN, "cmd": USER}  # files that red leaves, by the beginning of their names
Call = dict[str, Any]  # tool, target, level, depth, see `SOCSimulator.calls`
RoleArrays = dict[str, np.ndarray]  # role -> observation or action


class Task(NamedTuple):
    """A CC4 action on a host that is under way."""

    verb: str
    host: int
    case_id: int | None = None


class Plan(NamedTuple):
    """What one blue agent does in a step."""

    order: Order
    task: Task | None = None
    call: Call | None = None
    """The call that the SIEM carries out with it."""


class Team:
    """One blue agent as a SOC team: its hosts, what it last saw of CC4, what it is doing.

    Attributes:
        agent: the blue agent.
        zone: what it guards.
        hosts: names of the hosts that exist, as the SIEM numbers them.
        host_zone: (hosts,) which of its zones each is in.
        row, siem: its row of which SIEM, once `SOCView` has given it one.
        phase: mission phase.
        busy: steps until it is free.
        serves: (hosts,) whether each is a server.
        decoys, looked, restored: (hosts,) decoys, steps of the last Analyse and of the last Restore (-1: none).
        alerted, removed: (hosts,) steps of the last alert about a process and of the last Remove since the last Restore
            (-1: none).
    """

    siem: ExternalSIEM
    row: int

    def __init__(self, agent: str, zone: Zone, mask: Sequence[int], vector: np.ndarray) -> None:
        self.agent, self.zone = agent, zone
        exists = {order.host for order, is_there in zip(zone.orders, mask, strict=True) if is_there}
        groups = [[host for host in zone.hosts[subnet] if host in exists] for subnet in zone.subnets]
        self.names = [ZONE_OF_SUBNET[subnet] for subnet in zone.subnets]
        self.network = zone_network(self.names, groups)
        self.hosts = [host for group in groups for host in group]
        self.number = {host: number for number, host in enumerate(self.hosts)}
        self.host_zone = np.repeat(np.arange(len(groups)), [len(group) for group in groups])
        self.serves = np.array([is_server(host) for host in self.hosts])
        self.decoys = np.zeros(len(self.hosts), np.int64)
        self.looked = np.full(len(self.hosts), -1)
        self.restored = np.full(len(self.hosts), -1)
        self.alerted, self.removed = np.full(len(self.hosts), -1), np.full(len(self.hosts), -1)
        self.addresses: dict[str, str] = {}
        self.task: Task | None = None
        self.step = 0
        self.see(vector, 0)

    # ------------------------------------------------------------------ seeing
    def see(self, vector: np.ndarray, busy: int) -> None:
        """Mission phase, firewall and policy from the vector."""
        fields = [self.zone.fields[subnet] for subnet in self.zone.subnets]
        self.phase, self.busy = int(vector[0]), int(busy)
        self.blocked = np.array([vector[field["blocked"]] for field in fields]) > 0  # (zones, subnets)
        is_own = np.array([vector[field["own"]] for field in fields]) > 0  # policy lists the subnet itself too
        self.policy = (np.array([vector[field["policy"]] for field in fields]) > 0) & ~is_own
        self.values = np.array([zone_value(name, self.phase) for name in self.names])

    def tell(self) -> None:
        """What the SIEM cannot know by itself."""
        fewest = [int(self.decoys[self.host_zone == z].min()) for z in range(len(self.names))]
        self.siem.tell(self.row, self.values.tolist(), fewest)

    def observe(self, vector: np.ndarray, busy: int, raw: Mapping[str, Any] | None) -> None:
        """The outcome of a CC4 step reaches the SIEM; raw: None at level "flat"."""
        self.step += 1
        self.see(vector, busy)
        if self.task is not None and not self.busy:
            self._finish(self.task, raw or {})
            self.task = None
        alerts = flat_alerts(self.zone, self.number, vector) if raw is None else raw_alerts(raw, self.addresses)
        for alert in alerts:
            kind, host = ALERTS[alert.kind], self.number[alert.host]
            source = -1 if alert.source is None else self.number[alert.source]
            if kind.guesses_source:
                source = self._likely_source(host)
            if kind.shows_process:
                self.alerted[host] = self.step
            self.siem.alert(self.row, kind, host, source)
        self.tell()

    def _likely_source(self, target: int) -> int:
        """A probe mostly comes from the same zone, and from a host that phishing took without an alert: of the zone's
        users' hosts but the probed one, that which was not restored for longest; -1 if there is none."""
        others = (self.host_zone == self.host_zone[target]) & ~self.serves
        others[target] = False
        hosts = np.flatnonzero(others)
        return int(hosts[self.restored[hosts].argmin()]) if hosts.size else -1

    def _finish(self, task: Task, raw: Mapping[str, Any]) -> None:
        if task.verb == "DeployDecoy":
            self.decoys[task.host] += 1
        elif task.verb == "Restore":
            self.decoys[task.host] = 0
            self.restored[task.host] = self.step
            self.alerted[task.host] = self.removed[task.host] = -1
        elif task.verb == "Remove":
            self.removed[task.host] = self.step
        elif task.verb == "Analyse":
            self.looked[task.host] = self.step
            files = raw.get(self.hosts[task.host], {}).get("Files") or ()
            if self.siem.has_levels:
                level = self._level_of(files, task.host)
                self.siem.look(self.row, task.host, level)
                is_found = level > 0
            else:
                is_found = bool(files)
                if is_found:
                    self.siem.find(self.row, task.host, risk.CONFIRMATION)
            if task.case_id is not None:
                self.siem.read(self.row, task.case_id, is_found)

    def _level_of(self, files: Sequence[Mapping[str, Any]], host: int) -> int:
        """Level of red's that the files on a host prove, 0 if none: a user's outlive the session that Remove ended."""
        names = [str(file.get("File Name", "")) for file in files]
        level = max((of for start, of in FILE_LEVELS.items() for name in names if name.startswith(start)), default=0)
        is_stale = self.removed[host] > self.alerted[host]
        return 0 if level == USER and is_stale else level

    # ------------------------------------------------------------------ acting
    def choose(self, calls: list[Call], sees_findings: bool) -> Plan:
        """The plan of the step; the module's docstring has the order."""
        if self.busy:
            return Plan(SLEEP)
        by_tool: dict[str, list[Call]] = {}
        for call in calls:
            by_tool.setdefault(call["tool"], []).append(call)
        plan = self._comply() or self._respond([call for call in calls if call["tool"] in HOST_TOOLS])
        if plan is None and sees_findings:
            plan = self._enrich(by_tool.get("enrich", []))
        plan = plan or self._deploy(by_tool.get("deploy_decoy", []))
        if plan is None and sees_findings:
            plan = self._hunt(by_tool.get("hunt", []) + by_tool.get("deep_scan", []))
        return plan or self._police() or Plan(SLEEP)

    def _comply(self) -> Plan | None:
        for z, source in np.argwhere(self.blocked & ~self.policy).tolist():
            return Plan(self._traffic("AllowTrafficZone", z, source))
        return None

    def _respond(self, calls: list[Call]) -> Plan | None:
        if not calls:
            return None
        risks, is_root = self.siem.risks(self.row), self.siem.admin_hosts(self.row)

        def urgency(call: Call) -> tuple[bool, bool, float]:
            host = call["target"]
            at_risk = float(self.values[self.host_zone[host]] * risks[host])
            return call["tool"] != "release", call["tool"] == "reimage" and bool(is_root[host]), at_risk

        call = max(calls, key=urgency)
        verb, host = VERBS[call["tool"]][0], call["target"]
        if verb in ("Remove", "Restore"):
            return Plan(self._on(host, verb), Task(verb, host), call)
        z = int(self.host_zone[host])
        plan = self._fit(z, call["tool"] == "isolate" or bool(self.siem.wants_blocks(self.row)[z])) or Plan(SLEEP)
        return plan._replace(call=call)

    def _enrich(self, calls: list[Call]) -> Plan | None:
        for call in calls:
            host = self.siem.suspect_of(self.row, call["target"])
            if host is not None:
                return Plan(self._on(host, "Analyse"), Task("Analyse", host, call["target"]))
        return None

    def _deploy(self, calls: list[Call]) -> Plan | None:
        for call in sorted(calls, key=lambda call: -self.values[call["target"]]):  # none for a zone that is full
            hosts = np.flatnonzero(self.host_zone == call["target"]).tolist()
            host = min(hosts, key=lambda host: (self.decoys[host], self.serves[host]))
            return Plan(self._on(host, "DeployDecoy"), Task("DeployDecoy", host))
        return None

    def _hunt(self, calls: list[Call]) -> Plan | None:
        if not calls:
            return None
        effort = np.zeros(len(self.names))
        for call in calls:
            effort[call["target"]] = call["level"]
        effort *= 1.0 + PRIORITY_WEIGHT * self.siem.priorities(self.row)  # as `hunting.hunt_weight`
        worth = effort[self.host_zone] * (self.siem.risks(self.row) + STRAY_WEIGHT) * (self.step - self.looked)
        worth[self.siem.admin_hosts(self.row)] = 0.0  # nothing more can be found there
        host = int(worth.argmax())
        self.siem.note_hunt(self.row, int(self.host_zone[host]))
        return Plan(self._on(host, "Analyse"), Task("Analyse", host))

    def _police(self) -> Plan | None:
        wanted = self.siem.wants_blocks(self.row)
        plans = (self._fit(z, bool(wanted[z])) for z in range(len(self.names)))
        return next((plan for plan in plans if plan is not None), None)

    def _fit(self, z: int, is_wanted: bool) -> Plan | None:
        """Brings a zone's firewall one step nearer to what policy lists, or to nothing if no block is wanted."""
        for source in np.flatnonzero((self.policy[z] & is_wanted) != self.blocked[z]).tolist():
            return Plan(self._traffic("AllowTrafficZone" if self.blocked[z, source] else "BlockTrafficZone", z, source))
        return None

    def _traffic(self, verb: str, z: int, source: int) -> Order:
        return Order(verb, subnet=self.zone.subnets[z], source=self.zone.all_subnets[source])

    def _on(self, host: int, verb: str) -> Order:
        return self.zone.on_host(verb, self.hosts[host])


def check_level(level: Any) -> str:
    """The level; ConfigError unless it is one of `LEVELS`."""
    if level not in LEVELS:
        raise ConfigError(unknown_name("level", level, LEVELS))
    return str(level)


class SOCView:
    """The module's docstring says what it does.

    Attributes:
        env: the native environment.
        level: "flat" or "raw".
        scenario: "soc-cage4-v0" or "soc-cage4-v1".
        siems: number of zones -> its `ExternalSIEM`; new ones at every `reset`.
        teams: blue agent -> its `Team`.
    """

    def __init__(self, env: Cage4Env, level: str = "flat", scenario: str = SCENARIO.name) -> None:
        """Args:
            env: as `cage4_parallel_env` makes it; level "raw" needs one with observation="raw".
            level: what the policies may see, see the module's docstring.
            scenario: whose tables they speak, see there.

        Raises:
            ConfigError: no such level or scenario, or the environment does not give the level.
        """
        check_level(level)
        if level == "raw" and env.observation != "raw":
            raise ConfigError(f"level='raw' needs an environment with observation='raw', not {env.observation!r}")
        self.env, self.level, self.scenario = env, level, view_scenario(scenario).name
        self.siems: dict[int, ExternalSIEM] = {}
        self.teams: dict[str, Team] = {}

    def reset(self, seed: int | None = None) -> dict[str, RoleArrays]:
        """Starts an episode of CC4 with everything forgotten.

        Args:
            seed: as `Cage4Env.reset`.

        Returns:
            `observations()`.
        """
        return self.begin(*self.env.reset(seed=seed))

    def begin(
        self, observations: Mapping[str, np.ndarray], infos: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, RoleArrays]:
        """As `reset`, where somebody else has reset the environment.

        Args:
            observations, infos: as `Cage4Env.reset` returned them.
        """
        self.teams = {
            agent: Team(agent, self.env.zone(agent), infos[agent]["action_mask"], observations[agent])
            for agent in self.env.possible_agents
        }
        rows: dict[int, list[Team]] = {}
        for team in self.teams.values():
            rows.setdefault(len(team.names), []).append(team)
        of_view = (self.env.steps, self.scenario, self.level)
        self.siems = {zones: ExternalSIEM([team.network for team in teams], *of_view) for zones, teams in rows.items()}
        for zones, teams in rows.items():
            for row, team in enumerate(teams):
                team.siem, team.row = self.siems[zones], row
                team.tell()
                if self.level == "raw":
                    team.addresses = own_addresses(self.env.raw_observation(team.agent), team.hosts)
            self.siems[zones].reset()
        return self._show()

    def step(self, role_actions: Mapping[str, Mapping[str, Any]] | None = None) -> StepReturn:
        """`actions`, a step of the native environment, `observe`. Returns what that step returned.

        Raises:
            ActionError, ResetNeeded: as `actions` and `Cage4Env.step`.
        """
        outcome = self.env.step(self.actions(role_actions))
        self.observe(outcome[0], outcome[4])
        return outcome

    def actions(self, role_actions: Mapping[str, Mapping[str, Any]] | None = None) -> dict[str, int]:
        """Decodes the actions in the SIEMs' buffers: blue agent -> index of its CC4 action.

        Args:
            role_actions: blue agent -> role -> action, written into the buffers first; what is missing stays as it is.

        Raises:
            ActionError: an unknown agent or role, a wrong shape, NaN, a choice out of range; nothing has changed then.
            ResetNeeded: before the first `reset`.
        """
        if not self.teams:
            raise ResetNeeded("actions() needs an episode: call reset() first")
        before = [(siem, {role: held.copy() for role, held in siem.actions.items()}) for siem in self.siems.values()]
        try:
            self._write(role_actions or {})
            for siem in self.siems.values():
                siem.decode()
        except ActionError:
            for siem, held in before:
                for role, actions in held.items():
                    siem.actions[role][...] = actions
            raise
        return {agent: self._act(team) for agent, team in self.teams.items()}

    def _write(self, role_actions: Mapping[str, Mapping[str, Any]]) -> None:
        for agent, actions in role_actions.items():
            if agent not in self.teams:
                raise ActionError(unknown_name("agent", agent, self.teams))
            team = self.teams[agent]
            for role, action in actions.items():
                team.siem.set_action(team.row, role, action)

    def _act(self, team: Team) -> int:
        calls = team.siem.calls(team.row)
        plan = team.choose(calls, self.level == "raw")
        for call in calls:
            if call["tool"] == "query" or (call["tool"] == "enrich" and self.level == "flat"):
                team.siem.read(team.row, call["target"])
        kept = [call for call in calls if call["tool"] in SIEM_TOOLS or call is plan.call]
        team.siem.set_calls([(call["tool"], call["target"], call["level"], call["depth"]) for call in kept], team.row)
        if plan.task is not None:
            team.task = plan.task
        return team.zone.index[plan.order]

    def observe(
        self, observations: Mapping[str, np.ndarray], infos: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, RoleArrays]:
        """Tells the SIEMs what a step of the native environment returned. Call it once after every step.

        Args:
            observations, infos: as `Cage4Env.step` returns them.

        Returns:
            `observations()`.
        """
        for agent, team in self.teams.items():
            raw = self.env.raw_observation(agent) if self.level == "raw" else None
            team.observe(observations[agent], infos[agent]["busy"], raw)
        for siem in self.siems.values():
            siem.step()
        return self._show()

    def _show(self) -> dict[str, RoleArrays]:
        for team in self.teams.values():
            team.siem.show(team.row, team.phase, team.busy)
        return self.observations()

    def observations(self) -> dict[str, RoleArrays]:
        """Blue agent -> role -> (size,) float32, as `soc_env.soc.tables.layout` of the scenario lays it out; copies."""
        return {
            agent: {role: team.siem.observations[role][team.row].copy() for role in ROLES}
            for agent, team in self.teams.items()
        }


class RolePolicy(Protocol):
    """A policy of the `soc-v1` family over a batch of rows, scripted or trained."""

    def __call__(self, observations: Mapping[str, np.ndarray], decides: np.ndarray) -> Mapping[str, np.ndarray]:
        """Role -> (rows, size) observations, and (rows,) whether the coordinator's action counts; role -> actions."""


class SOCPolicy:
    """Policies of the roles as one policy of the native environment, with the methods of `controls.ControlPolicy`."""

    def __init__(
        self, make: Callable[[ExternalSIEM], RolePolicy], level: str = "flat", scenario: str = SCENARIO.name
    ) -> None:
        """Args:
        make: SIEM -> a fresh policy for its rows; called for both SIEMs at the start of every episode.
        level, scenario: see `SOCView`.
        """
        self.make, self.level, self.scenario = make, level, scenario
        self.reset()

    def reset(self) -> None:
        """Forgets the episode; called before each one."""
        self._view: SOCView | None = None
        self._episode = ""
        self._policies: dict[int, RolePolicy] = {}

    def act(
        self, observations: Mapping[str, np.ndarray], infos: Mapping[str, Mapping[str, Any]], env: Cage4Env
    ) -> dict[str, int]:
        """Blue agent -> action index, from what `env.reset` or `env.step` returned last.

        Raises:
            ConfigError: as `SOCView`; or it is another episode than that of the last call, without `reset` between.
        """
        self._episode = same_episode(self._episode, env)
        if self._view is None:
            self._view = SOCView(env, self.level, self.scenario)
            self._view.begin(observations, infos)
            self._policies = {zones: self.make(siem) for zones, siem in self._view.siems.items()}
        else:
            self._view.env = env  # a copy plays the same episode
            self._view.observe(observations, infos)
        for zones, siem in self._view.siems.items():
            for role, action in self._policies[zones](siem.observations, siem.decides).items():
                siem.actions[role] = action
        return self._view.actions()
