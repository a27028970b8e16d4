"""A whole episode as plain data: what everybody did, what happened, what it cost.

>>> import soc_env
>>> env = soc_env.parallel_env("soc-v1", seed=0, max_steps=20)
>>> _ = env.reset(seed=0)
>>> while env.agents:
...     _ = env.step({})
>>> trace = env.trace()
>>> trace.outcomes()["loss"] == env.metrics()["loss"]  # measured anew, from the events
True
>>> trace.replay() == trace  # byte for byte
True

A trace is a header (scenario, seed, episode, versions), one record a minute (actions, directive, events, reward terms,
losses, digests of what was seen) and a footer (metrics). `save` and `load` keep it as JSON lines. It shows the truth.

An environment only remembers the actions of its episode. `SOCEnv.trace` plays them again with the event log on, which
gives the same episode since that is a function of seed and actions, and checks that it did.
"""

from __future__ import annotations

import hashlib
import json
import os
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from soc_env.engine.tables import AGENTS, TRIAGE
from soc_env.errors import HMARLSOCError, shown
from soc_env.files import new_file
from soc_env.soc.attack import GOALS, REACTIONS, TECHNIQUES
from soc_env.soc.kernels.state import LOG_FIELDS, N_RAW_EVENTS
from soc_env.soc.measures import measure
from soc_env.soc.networks import host_zone
from soc_env.soc.scenario import SOCScenario
from soc_env.soc.simulator import SOCSimulator
from soc_env.soc.tables import METRICS, OUTCOMES, REWARD_TERMS, TOOL_NAMES, TOOLS
from soc_env.versions import versions

FORMAT, VERSION = "hmarl-soc trace", 2
LOG_CAPACITY = 16_384  # entries of one minute: calls, alerts, and a few for every host on record
TOOL_ROWS = dict(zip(TOOL_NAMES, TOOLS, strict=True))
# Names behind the numbers of the log.
CASE_ENDS = ("escalated", "suppressed", "merged", "expired", "dropped", "auto_closed")
CAMPAIGN_CHANGES = ("started", "advanced", "returned", "gave_up", "reacted")
NAMES: dict[str, Sequence[str]] = {
    "tool": TOOL_NAMES, "outcome": OUTCOMES, "technique": [row.id for row in TECHNIQUES], "how": CASE_ENDS,
    "change": CAMPAIGN_CHANGES, "goal": GOALS,
}  # fmt: skip
OPTIONAL = ("source", "campaign", "case", "zone")  # -1 is none

Call = tuple[str, int, float, float]


class TraceError(HMARLSOCError, ValueError):
    """A trace that cannot be recorded, read or played again; the message says why."""


class RecordedStep(NamedTuple):
    """What an episode is made of, minute by minute.

    Attributes:
        actions: agent -> action, as in `Simulator.actions[agent][index]`.
        calls: Tool calls that took the place of the action vectors, None where these were decoded.
    """

    actions: dict[str, Any]
    calls: list[Call] | None


class AuditTrail:
    """The audit trail as it grows.

    Attributes:
        rows: See `Trace.audit`.
    """

    def __init__(self, zones: Sequence[str], is_instant: bool) -> None:
        self.rows: list[dict[str, Any]] = []
        self._zones, self._is_instant = zones, is_instant
        self._running: dict[tuple[str, int], list[dict[str, Any]]] = {}  # jobs by tool and target, oldest first

    def add(self, minute: dict[str, Any]) -> None:
        """Enters a minute of a trace."""
        by = "agent" if minute["calls"] is None else "console"
        finished: dict[tuple[str, int], str] = {}  # a job without waiting is completed before its call is entered
        for event in minute["events"]:
            if event["event"] == "completed":
                waiting = self._running.get((event["tool"], event["target"]))
                if waiting:
                    waiting.pop(0).update(completed=minute["minute"], result=event["outcome"])
                else:
                    finished[event["tool"], event["target"]] = event["outcome"]
            elif event["event"] == "call":
                self._enter(event, minute["minute"], by, finished)

    def _enter(self, call: dict[str, Any], minute: int, by: str, finished: dict[tuple[str, int], str]) -> None:
        tool, key = TOOL_ROWS[call["tool"]], (call["tool"], call["target"])
        targets = {"zone": self._zones[call["target"]] if tool.target == "zone" else None, "network": None}
        row = {
            "minute": minute,
            "tool": tool.name,
            "platform": tool.platform,
            "agent": tool.owner,
            "by": by,
            "target_kind": tool.target,
            "target": targets.get(tool.target, call["target"]),
            "level": call["level"],
            "depth": call["depth"],
            "outcome": call["outcome"],
            "completed": None,
            "result": None,
        }
        self.rows.append(row)
        if call["outcome"] == "started":
            if self._is_instant and tool.name in ("deploy_decoy", "block_perimeter"):
                row.update(completed=minute, result="done")
            else:
                self._running.setdefault(key, []).append(row)
        elif key in finished and call["outcome"] == "done":
            row.update(completed=minute, result=finished.pop(key))
        elif tool.name == "unblock_perimeter" and call["outcome"] == "done":
            self._running.pop(("block_perimeter", 0), None)  # called off while it waited


@dataclass(frozen=True)
class Trace:
    """One episode, up to some minute, as plain data.

    Attributes:
        header: format, version, software, scenario (all fields), scenario_hash, network, seed, episode, options, and
            the digests of the first observations and state.
        minutes: Of each: minute, actions, calls, directive, reward, terms, losses, raw_events, events, observations and
            state (digests).
        footer: minutes, is_over, metrics.
    """

    header: dict[str, Any]
    minutes: list[dict[str, Any]]
    footer: dict[str, Any]

    def events(self, kind: str | None = None) -> Iterator[dict[str, Any]]:
        """All events with their minute, or those of one kind of `LOG_FIELDS`, in the order in which they happened."""
        for minute in self.minutes:
            for event in minute["events"]:
                if kind in (None, event["event"]):
                    yield {"minute": minute["minute"], **event}

    def outcomes(self) -> dict[str, float]:
        """All of `tables.METRICS`, measured from the events."""
        return measure(self.header, self.minutes)

    def audit(self) -> list[dict[str, Any]]:
        """Every tool call with its outcome.

        Of each: minute, tool, platform, agent (whose tool it is), by ("agent": decoded from its action vector, or
        "console"), target_kind, target (case id, zone name, host number, None for the whole network), level and depth
        (of hunts), outcome, and for jobs completed (minute) and result; None while they run, and if they never did.
        """
        trail = AuditTrail(self.header["network"]["zones"], self.header["scenario"]["instant_actions"])
        for minute in self.minutes:
            trail.add(minute)
        return trail.rows

    # ------------------------------------------------------------------ files
    def lines(self) -> Iterator[str]:
        """The lines of the file, the last one with a digest of all others."""
        digest = hashlib.sha256()
        for record in ({"record": "header", **self.header}, *({"record": "minute", **m} for m in self.minutes)):
            line = json.dumps(record, allow_nan=False, separators=(",", ":"))
            digest.update(line.encode() + b"\n")
            yield line
        digest.update(json.dumps(self.footer, allow_nan=False).encode())
        yield json.dumps({"record": "footer", **self.footer, "sha256": digest.hexdigest()}, separators=(",", ":"))

    def save(self, path: str | os.PathLike[str]) -> pathlib.Path:
        """Writes JSON lines. The file appears under its name only once it is complete. Returns the path."""
        path = pathlib.Path(path)
        with new_file(path) as file:
            file.writelines(f"{line}\n".encode() for line in self.lines())
        return path

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Trace:
        """Reads what `save` wrote.

        Raises:
            TraceError: No such file, not a trace, of another version, cut off, or changed since it was written.
        """
        path = pathlib.Path(path)
        try:
            text = path.read_text(encoding="utf-8")
        except OSError as error:
            raise TraceError(f"{path}: cannot be read ({error.strerror})") from error
        except UnicodeDecodeError:
            raise TraceError(f"{path}: not a trace: not text") from None
        records = _records(path, text)
        header, minutes, footer = records[0], records[1:-1], records[-1]
        given = footer.pop("sha256", None)
        for row in records:
            del row["record"]
        trace = cls(header, minutes, footer)
        if json.loads(list(trace.lines())[-1])["sha256"] != given:
            raise TraceError(f"{path}: damaged: its content does not fit its digest")
        return trace

    # ------------------------------------------------------------------ replay
    def replay(self, num_envs: int = 1, index: int = 0) -> Trace:
        """Plays the episode again, as env `index` of a batch, and compares every minute.

        Returns:
            What the new play recorded, equal to this trace.

        Raises:
            TraceError: The scenario is not what it was (a network file has changed, another version of the software),
                or a minute came out otherwise; the message says which and in what.
        """
        try:
            return self._replay(num_envs, index)
        except (LookupError, TypeError, ValueError, AttributeError, OverflowError) as error:
            if isinstance(error, HMARLSOCError):
                raise
            what = "the trace is damaged, or its scenario is not one of this version"
            raise TraceError(f"{what} ({shown(error)})") from error

    def _replay(self, num_envs: int, index: int) -> Trace:
        header = self.header
        fields: dict[str, Any] = header["scenario"]
        scenario = SOCScenario(**fields)
        script = [RecordedStep(m["actions"], m["calls"]) for m in self.minutes]
        new = record(scenario, header["seed"], header["episode"], script, header["options"], num_envs, index)
        for name in ("scenario_hash", "network", "observations", "state"):
            if new.header[name] != header[name]:
                raise TraceError(f"replay: {name} is {new.header[name]}, the trace has {header[name]}")
        for mine, its in zip(self.minutes, new.minutes, strict=True):
            for name, value in mine.items():
                if its[name] != value:
                    raise TraceError(f"replay: minute {mine['minute']}: {name} differs from the trace")
        if new.footer != self.footer:
            raise TraceError("replay: the metrics differ from the trace")
        return Trace({**new.header, "software": header["software"]}, new.minutes, new.footer)


def _records(path: pathlib.Path, text: str) -> list[dict[str, Any]]:
    """The records of a file: a header, minutes 1, 2, ..., a footer."""
    records: list[dict[str, Any]] = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            row = json.loads(line)
            kind = row["record"]
        except (ValueError, TypeError, KeyError, RecursionError):
            if number == 1:
                raise TraceError(f"{path}: not a trace: its first line has no header") from None
            if number == text.count("\n") + 1:
                raise TraceError(f"{path}: cut off in line {number}") from None
            raise TraceError(f"{path}: damaged: line {number} is no record") from None
        if number == 1:
            if kind != "header" or row.get("format") != FORMAT:
                raise TraceError(f"{path}: not a trace: its first line has no header")
            if row.get("version") != VERSION:
                raise TraceError(f"{path}: version {row.get('version')!r}; this software reads version {VERSION}")
        elif records[-1]["record"] == "footer" or kind not in ("minute", "footer"):
            raise TraceError(f"{path}: damaged: line {number} does not belong there")
        records.append(row)
    if not records:
        raise TraceError(f"{path}: not a trace: it is empty")
    if records[-1]["record"] != "footer":
        raise TraceError(f"{path}: cut off after minute {len(records) - 1}: it has no footer")
    if records[-1].get("minutes") != len(records) - 2:
        raise TraceError(f"{path}: damaged: {len(records) - 2} minutes, its footer says {records[-1].get('minutes')!r}")
    return records


# ---------------------------------------------------------------------- recording
def record(
    scenario: SOCScenario,
    seed: int,
    episode: int,
    script: Iterable[RecordedStep],
    options: dict[str, Any] | None = None,
    num_envs: int = 1,
    index: int = 0,
) -> Trace:
    """Plays an episode with the log on and writes down all of it.

    Args:
        scenario: What is played.
        seed: Of the stream of episodes.
        episode: Which of them, from 0.
        script: What was done.
        options: For the header.
        num_envs: Envs of the batch it is played in; the others play other seeds and do nothing.
        index: Which of them.
    """
    seeds = [seed + abs(k - index) for k in range(num_envs)]
    sim = SOCSimulator(scenario, num_envs=num_envs, seed=seeds, autoreset=False, log_capacity=LOG_CAPACITY)
    sim.records().env["episode"] = episode - 1
    sim.reset()
    header = _header(sim, index) | {"seed": seed, "episode": episode, "options": dict(options or {})}
    header |= _digests(sim, index)
    minutes = [_play(sim, index, played) for played in script]
    env = sim.records(index).env
    row = sim.running_metrics()[index]
    metrics = {metric.name: float(row[metric.name]) for metric in METRICS}
    return Trace(header, minutes, {"minutes": len(minutes), "is_over": bool(env["is_over"]), "metrics": metrics})


def _header(sim: SOCSimulator, index: int) -> dict[str, Any]:
    """What is played on."""
    net = sim.network_of(index)
    return {
        "format": FORMAT,
        "version": VERSION,
        "software": {"hmarl-soc": "unknown", **versions("hmarl-soc", "numpy")},
        "scenario": sim.scenario.to_dict(),
        "scenario_hash": sim.scenario.hash(),
        "network": {
            "name": net.name,
            "hash": net.hash(),
            "hosts": net.num_hosts,
            "zones": list(net.zone_names),
            "zone_starts": np.searchsorted(host_zone(net), np.arange(net.num_zones)).tolist(),
        },
    }


def _play(sim: SOCSimulator, index: int, played: RecordedStep) -> dict[str, Any]:
    """One minute, as plain data."""
    env = sim.records(index).env
    if env["is_over"]:
        raise TraceError(f"minute {int(env['step']) + 1} is beyond the end of the episode")
    for agent in AGENTS:
        sim.actions[agent][index] = played.actions[agent]
    if played.calls is not None:
        sim.set_calls([(str(tool), int(target), level, depth) for tool, target, level, depth in played.calls], index)
    raw_events, env["num_log"] = float(env["counts"][N_RAW_EVENTS]), 0
    sim.step()
    if env["num_log"] >= LOG_CAPACITY:
        raise TraceError(f"minute {int(env['step'])}: more than {LOG_CAPACITY - 1} events; the trace would lose some")
    zones = sim.scenario.num_zones
    return {
        "minute": int(env["step"]),
        "actions": {agent: _plain_action(agent, sim.actions[agent][index]) for agent in AGENTS},
        "calls": None if played.calls is None else [list(call) for call in played.calls],
        "directive": env["directive"][: zones + 3].tolist(),
        "reward": sim.rewards[index].item(),
        "terms": dict(zip((term.name for term in REWARD_TERMS), sim.reward_terms[index].tolist(), strict=True)),
        "losses": {name: env[f"{name}_now"].item() for name in ("damage", "disruption", "effort")},
        "raw_events": float(env["counts"][N_RAW_EVENTS]) - raw_events,
        "events": [_event(sim, entry) for entry in sim.log(index)],
        **_digests(sim, index),
    }


def _plain_action(agent: str, action: np.ndarray) -> int | list[float]:
    """An action that JSON can hold: a step clips to [-1, 1], so infinity is 1."""
    return int(action) if agent == TRIAGE else np.nan_to_num(action, posinf=1.0, neginf=-1.0).tolist()


def _digests(sim: SOCSimulator, index: int) -> dict[str, str]:
    """Of the four observations and of the state, as bytes."""
    seen = hashlib.blake2b(digest_size=8)
    for agent in AGENTS:
        seen.update(sim.observations[agent][index].astype("<f4").tobytes())
    state = hashlib.blake2b(sim.state()[index].astype("<f4").tobytes(), digest_size=8)
    return {"observations": seen.hexdigest(), "state": state.hexdigest()}


def _event(sim: SOCSimulator, entry: dict[str, Any]) -> dict[str, Any]:
    """A log entry by names."""
    kind = entry["kind"]
    event: dict[str, Any] = {"event": kind}
    for place, name in zip("abcdxy", LOG_FIELDS[kind], strict=True):
        value = entry[place]
        if not name:
            continue
        if name in NAMES:
            value = NAMES[name][value]
        elif name.startswith("is_"):
            value = bool(value)
        elif name in OPTIONAL and value < 0:
            value = None
        event[name] = value
    if kind == "campaign":
        named = {"started": [family.name for family in sim.families], "reacted": REACTIONS}
        if event["change"] in named:
            event["detail"] = named[event["change"]][event["detail"]]
    return event


def trace_of(sim: SOCSimulator, script: Iterable[RecordedStep], options: dict[str, Any] | None = None) -> Trace:
    """The trace of the episode that a simulator of one env is playing, from what was done in it.

    Raises:
        TraceError: Something else than steps has changed the episode, so that playing it again does not lead there.
    """
    seed = int(np.ravel(np.asarray(sim.seed, object))[0])
    trace = record(sim.scenario, seed, int(sim.episodes[0]), script, options)
    row = sim.running_metrics()[0]
    last = trace.minutes[-1] if trace.minutes else trace.header
    is_same = all(float(row[name]) == value for name, value in trace.footer["metrics"].items())
    if not is_same or _digests(sim, 0) != {name: last[name] for name in ("observations", "state")}:
        raise TraceError("the episode was changed by something else than step(), so it cannot be traced")
    return trace
