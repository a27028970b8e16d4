"""The SIEM, EDR and SOAR as a Python API, for scripts and for people.

>>> import soc_env
>>> env = soc_env.parallel_env("soc-v1", seed=0)
>>> _ = env.reset(seed=0)
>>> soc = env.console
>>> scan = soc.edr.deep_scan("dmz", intensity=0.8)  # queued for the coming minute
>>> scan.outcome is None
True
>>> _ = soc.advance()  # plays that minute
>>> scan.outcome
'done'

Every row of `soc_env.soc.tables.TOOLS` is a method of its platform: `soc.siem.escalate(case)`,
`soc.edr.hunt(zone, intensity, depth)`, `soc.soar.isolate(host)`, `soc.soar.block_perimeter()`. Cases are ids or rows of
`soc.siem.cases()`, hosts numbers or rows of `soc.siem.hosts()`, zones names or numbers. A minute with queued calls
carries out exactly these instead of decoding the action vectors of triage, hunter and orchestrator; the directive still
comes from the coordinator. All that can be read here is what the SOC knows, never the truth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from soc_env.engine.tables import COORDINATOR
from soc_env.errors import ConfigError, HMARLSOCError, shown, unknown_name
from soc_env.soc.knowledge import POSTURES, read_cases, read_hosts, read_status
from soc_env.soc.simulator import SOCSimulator
from soc_env.soc.tables import EDR, SIEM, SOAR, TOOLS, Tool

MAX_HUNT_DEPTH = 0.5  # scan depth from which a hunt is a deep scan


class ToolCall:
    """One call of a tool.

    Attributes:
        tool: Name in `TOOLS`.
        target: Case id, zone, host, or 0 for the whole network.
        level: Effort of a hunt, 0 to 1.
        depth: Scan depth of a hunt, 0 to 1.
        minute: The minute it is for.
        outcome: None until that minute was played, then one of `tables.OUTCOMES`.
        price: What it cost, in units of the mission loss, see `SOCSimulator.calls`; None until then.
    """

    __slots__ = ("depth", "level", "minute", "outcome", "price", "target", "tool")

    def __init__(self, tool: str, target: int, level: float, depth: float, minute: int) -> None:
        self.tool, self.target, self.level, self.depth, self.minute = tool, target, level, depth, minute
        self.outcome: str | None = None
        self.price: float | None = None

    @property
    def row(self) -> tuple[str, int, float, float]:
        """As `SOCSimulator.set_calls` takes it."""
        return self.tool, self.target, self.level, self.depth

    def __repr__(self) -> str:
        return f"<{self.tool} of {self.target} in minute {self.minute}: {self.outcome or 'queued'}>"


class Platform:
    """The tools of one platform as methods, made from the rows of `TOOLS`."""

    def __init__(self, console: Console) -> None:
        self._console = console

    if TYPE_CHECKING:

        def __getattr__(self, name: str) -> Callable[..., Any]: ...

    else:

        def __getattr__(self, name: str) -> Any:
            names = [tool for tool in dir(type(self)) if not tool.startswith("_")]
            raise AttributeError(unknown_name(f"{type(self).__name__} tool", name, names))


def _method(tool: Tool) -> Callable[..., ToolCall]:
    """The method that queues calls of a tool."""
    if tool.target == "case":

        def call(self: Platform, case: Any) -> ToolCall:
            return self._console.queue(tool, self._console.case_id(case))

    elif tool.name in ("hunt", "deep_scan"):
        default = 0.25 if tool.name == "hunt" else 0.75

        def call(self: Platform, zone: Any, intensity: float = 1.0, depth: float = default) -> ToolCall:  # type: ignore[misc]
            return self._console.queue_hunt(tool, zone, intensity, depth)

    elif tool.target == "zone":

        def call(self: Platform, zone: Any) -> ToolCall:  # type: ignore[misc]
            return self._console.queue(tool, self._console.zone_number(zone))

    elif tool.target == "host":

        def call(self: Platform, host: Any) -> ToolCall:  # type: ignore[misc]
            return self._console.queue(tool, self._console.host_number(tool, host))

    else:

        def call(self: Platform) -> ToolCall:  # type: ignore[misc]
            return self._console.queue(tool, 0)

    call.__name__, call.__qualname__ = tool.name, f"{tool.platform}.{tool.name}"
    takes = f"{tool.minutes} min" if tool.minutes else "at once"
    call.__doc__ = f"{tool.effect[0].upper()}{tool.effect[1:]} ({takes}).\n\nRefused unless: {tool.precondition}."
    return call


def _read_cases(self: Platform) -> list[dict[str, Any]]:
    """The open cases, best rank first, in plain values.

    Of each: id, zone (name), host, source (None if it names none), technique, technique_name, tactic, channel, alerts,
    opened and age (minutes), severity, confidence, rank, enriched (0, 1 enriched, 2 queried too), reading and
    second_reading (None until bought), is_overdue.
    """
    return read_cases(self._console.simulator, self._console.index)


def _read_hosts(self: Platform, zone: Any = None) -> list[dict[str, Any]]:
    """The hosts that something speaks against or was done to, highest risk first; `zone`: only of that one.

    Of each: host, zone and segment (names), role, value, risk, finding and verdict (weights), is_isolated, is_offline,
    last_alert and last_hunt (minutes; None if never). Where findings have levels also level (None, "user" or "admin":
    the finding's) and has_process (whether `kill_process` has something to end).
    """
    wanted = None if zone is None else self._console.zone_number(zone)
    return read_hosts(self._console.simulator, self._console.index, wanted)


READERS = {"cases": _read_cases, "hosts": _read_hosts}  # methods of the SIEM that call no tool


def _platform(name: str) -> type[Platform]:
    methods = {tool.name: _method(tool) for tool in TOOLS if tool.platform == name}
    readers = READERS if name == SIEM else {}
    return type(name, (Platform,), {"__doc__": f"The {name}'s tools.", **methods, **readers})


PLATFORMS = {name: _platform(name) for name in (SIEM, EDR, SOAR)}


class Console:
    """The tools of one env, and the clock.

    Attributes:
        simulator: Whose env it is.
        index: Which env.
        siem, edr, soar: The platforms.
        queued: Calls for the coming minute.
    """

    def __init__(
        self,
        simulator: SOCSimulator,
        index: int = 0,
        play: Callable[[dict[str, Any]], Any] | None = None,
    ) -> None:
        """Sits down at env `index` of a simulator; `SOCEnv.console` is the one of an environment.

        Args:
            simulator: Of the `soc-v1` family.
            index: Which env.
            play: Plays a minute from an action dict, as `SOCEnv.step`; by default `simulator.step` does.

        Raises:
            ConfigError: A simulator of another family, or an env that does not exist.
        """
        if not simulator.tool_table:
            raise ConfigError("Console needs a scenario of the soc-v1 family; paper-v0 has no tools to call")
        if isinstance(index, bool) or not isinstance(index, (int, np.integer)) or not 0 <= index < simulator.num_envs:
            raise ConfigError(f"index={index!r}: no such env; allowed: 0 to {simulator.num_envs - 1}")
        self.simulator, self.index = simulator, int(index)
        self.siem = PLATFORMS[SIEM](self)
        self.edr = PLATFORMS[EDR](self)
        self.soar = PLATFORMS[SOAR](self)
        self.queued: list[ToolCall] = []
        self._play = play
        self._moment: tuple[int, ...] = ()  # for which `queued` was queued
        self._sent: list[ToolCall] | None = None
        self._directive: np.ndarray | None = None

    # ------------------------------------------------------------------ the clock
    @property
    def minute(self) -> int:
        """Minutes played in this episode."""
        return int(self._env["step"])

    def advance(self, minutes: int = 1) -> Any:
        """Plays minutes: the queued calls in the first, none in the others. Stops at the end of the episode.

        Returns:
            For an environment what `SOCEnv.step` returned for the last minute; for a simulator None.

        Raises:
            ConfigError: Less than one minute; a simulator with several envs, or one that resets by itself.
            HMARLSOCError: No episode is running.
        """
        if isinstance(minutes, bool) or not isinstance(minutes, (int, np.integer)) or minutes < 1:
            raise ConfigError(f"minutes={minutes!r} must be an integer of at least 1")
        sim = self.simulator
        if sim.num_envs > 1:
            raise ConfigError(
                f"advance() would play all {sim.num_envs} envs: call submit() on every console, then simulator.step(), "
                "then collect()"
            )
        self._check_running()
        if self._play is None and sim.autoreset:
            raise ConfigError(
                "advance() needs a simulator with autoreset=False, or the last minute's outcomes are lost"
            )
        result = None
        for _ in range(minutes):
            self.submit()
            if self._play is not None:
                result = self._play({} if self._directive is None else {COORDINATOR: self._directive.copy()})
            else:
                sim.step()
            self.collect()
            if self._env["is_over"]:
                break
        return result

    def submit(self) -> None:
        """Hands the queued calls (none is a minute without any) and the directive to the simulator's next step, beside
        those that were handed over for the same minute before."""
        self._check_running()
        self._forget_past()
        self._sent, self.queued = self._of_minute, []
        self.simulator.set_calls([call.row for call in self._sent], self.index)
        if self._directive is not None and self._play is None:
            self.simulator.actions[COORDINATOR][self.index] = self._directive

    def collect(self) -> list[tuple[str, int, float, float]] | None:
        """Fills in the outcomes of what the last step carried out. Returns these calls, None if it decoded actions."""
        sent, self._sent = self._sent, None
        if sent is None:
            return None
        for call, done in zip(sent, self.simulator.calls(self.index), strict=True):
            call.outcome, call.price = done["outcome"], done["price"]
        return [call.row for call in sent]

    def forget(self) -> None:
        """Drops what is queued, and the directive: another episode begins."""
        self.queued, self._sent, self._directive, self._moment = [], None, None, ()

    def take_over(self, other: Console) -> None:
        """Queues, as calls of its own, what is queued at the console of an env that this one's is a copy of."""
        self.queued = [copy.copy(call) for call in other.queued]
        self._sent = None if other._sent is None else [copy.copy(call) for call in other._sent]
        self._directive, self._moment = copy.copy(other._directive), other._moment

    def before_step(self) -> None:
        """Called by an environment before every step: hands over what is queued, also where `advance` is not used."""
        self._forget_past()
        if self.queued:
            self.submit()

    # ------------------------------------------------------------------ the directive
    def directive(self, priority: Mapping[Any, float] | None = None, **postures: float) -> dict[str, Any]:
        """Sets the coordinator's directive; what is not named stays as it was.

        Args:
            priority: zone -> -1 to 1.
            **postures: hunt_posture, triage_posture, response_posture, each -1 to 1.

        Returns:
            The directive as plain data, and `minute`: the one from which it is in force.

        Raises:
            ConfigError: An unknown zone or posture, or a value out of range.
        """
        self._check_running()
        self._forget_past()
        zones = self.simulator.scenario.num_zones
        wanted = self._env["directive"][: zones + 3].copy() if self._directive is None else self._directive.copy()
        for zone, value in (priority or {}).items():
            wanted[self.zone_number(zone)] = _checked("priority", value, -1.0)
        for name, value in postures.items():
            if name not in POSTURES:
                raise ConfigError(unknown_name("posture", name, POSTURES))
            wanted[zones + POSTURES.index(name)] = _checked(name, value, -1.0)
        self._directive = wanted.astype(np.float32)
        named = dict(zip(self._network.zone_names, self._directive[:zones].tolist(), strict=True))
        values = dict(zip(POSTURES, self._directive[zones:].tolist(), strict=True))
        wait = -self.minute % self.simulator.scenario.coordinator_period
        return {"minute": self.minute + 1 + wait, "priority": named, **values}

    # ------------------------------------------------------------------ what the SOC knows
    def status(self) -> dict[str, Any]:
        """The shift at a glance, in plain values.

        minute, analyst_minutes (in hand), perimeter, reset_left, sweep_wait, known_intruders, service_loss, directive;
        and zones, of each: name, value, factor (on it, of the mission phase), suspects, isolated, offline, top_risk,
        cases, decoys, outage, job (tool, host and minutes_left of the executor, or None).
        """
        return read_status(self.simulator, self.index)

    # ------------------------------------------------------------------ plumbing
    @property
    def _env(self) -> np.void:
        return self.simulator.records(self.index).env

    @property
    def _network(self) -> Any:
        return self.simulator.network_of(self.index)

    @property
    def _of_minute(self) -> list[ToolCall]:
        """The calls for the coming minute: handed over, then queued."""
        return [*(self._sent or ()), *self.queued]

    def _check_running(self) -> None:
        if not self.simulator.is_started:
            raise HMARLSOCError("no episode yet: call reset() first")
        if self._env["is_over"]:
            raise HMARLSOCError("the episode is over: call reset() first")

    def _forget_past(self) -> None:
        """Drops what was queued for a minute that has been played otherwise, and the directive of another episode."""
        env = self._env
        moment = (int(env["seed_key"]), int(env["episode"]), int(env["step"]))
        if moment != self._moment:
            self.queued, self._sent = [], None
            if moment[:2] != self._moment[:2]:
                self._directive = None
            self._moment = moment

    def queue(self, tool: Tool, target: int, level: float = 0.0, depth: float = 0.0) -> ToolCall:
        """Queues a call for the coming minute; what the methods of the platforms do once their arguments are checked.

        Raises:
            ConfigError: The minute has no room for another call.
            HMARLSOCError: No episode is running.
        """
        self._check_running()
        self._forget_past()
        room = len(self._env["calls"])
        if len(self._of_minute) >= room:
            raise ConfigError(f"{tool.name}: {room} calls are queued for this minute already; allowed: at most {room}")
        call = ToolCall(tool.name, target, level, depth, self.minute + 1)
        self.queued.append(call)
        return call

    def queue_hunt(self, tool: Tool, zone: Any, intensity: float, depth: float) -> ToolCall:
        """As `queue`, for a hunt or a deep scan; ConfigError too where the zone is hunted in this minute already."""
        self._check_running()
        self._forget_past()
        z, level, deep = self.zone_number(zone), _checked("intensity", intensity), _checked("depth", depth)
        if (deep > MAX_HUNT_DEPTH) != (tool.name == "deep_scan"):
            is_deep = tool.name == "deep_scan"
            allowed = "above 0.5, hunt() is for less" if is_deep else "0 to 0.5, deep_scan() is for more"
            raise ConfigError(f"{tool.name}: depth={depth!r}; allowed: {allowed}")
        if any(call.tool in ("hunt", "deep_scan") and call.target == z for call in self._of_minute):
            name = self._network.zone_names[z]
            raise ConfigError(f"{tool.name}: zone {name!r} is being hunted in this minute already")
        return self.queue(tool, z, level, deep)

    def zone_number(self, zone: Any) -> int:
        """The number of a zone from its name or number; ConfigError if there is none."""
        names = self._network.zone_names
        if isinstance(zone, str):
            matches = [z for z, name in enumerate(names) if name.casefold() == zone.casefold()]
            if not matches:
                raise ConfigError(unknown_name("zone", zone.casefold(), names))
            return matches[0]
        return _number("zone", zone, len(names))

    def host_number(self, tool: Tool, host: Any) -> int:
        """The number of a host from itself or from a row of `hosts()`; ConfigError if there is none."""
        given = host.get("host") if isinstance(host, Mapping) else host
        return _number(f"{tool.name}: host", given, self._network.num_hosts)

    def case_id(self, case: Any) -> int:
        """The id of an open case from itself or from a row of `cases()`; ConfigError if it is not open."""
        given = case.get("id") if isinstance(case, Mapping) else case
        is_open = sorted(self._env["cases"]["id"][: self._env["num_cases"]].tolist())
        if isinstance(given, bool) or not isinstance(given, (int, np.integer)) or given not in is_open:
            known = ", ".join(map(str, is_open)) or "none"
            raise ConfigError(f"case {shown(given)} is not open; open: {known}")
        return int(given)


def _number(label: str, value: Any, size: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or not 0 <= value < size:
        raise ConfigError(f"{label} {shown(value)} does not exist; allowed: 0 to {size - 1}")
    return int(value)


def _checked(label: str, value: Any, low: float = 0.0) -> float:
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        number = float("nan")
    if not low <= number <= 1.0:
        raise ConfigError(f"{label}={shown(value)}; allowed: {low:g} to 1")
    return number
