"""What a person sees of a `soc-v1` episode: a `SOCFrame` read off the simulator, and its text form.

Both and the picture (`picture.py`) put what the SOC knows beside what is true. The truth is for people; agents and the
console never see it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from soc_env.soc.knowledge import read_cases, read_status
from soc_env.soc.networks.network import Network
from soc_env.soc.scenario import SOCScenario
from soc_env.soc.simulator import SOCSimulator
from soc_env.soc.tables import METRICS, REWARD_TERMS, TOOL_NAMES, TOOLS

SHOWN_CASES, SHOWN_CALLS = 9, 8
STANDING = 0.5  # weight from which a finding or verdict stands
TARGETS = {tool.name: tool.target for tool in TOOLS}
PLATFORMS = {tool.name: tool.platform for tool in TOOLS}
HUNTS = ("hunt", "deep_scan")


@dataclass(frozen=True)
class SOCFrame:
    """One moment of one env.

    Attributes:
        scenario: What is played.
        network: The episode's.
        minute: Minutes played.
        is_over: Whether the episode has ended.
        phase: Mission phase, from 1.
        hosts: As `SOCSimulator.hosts`.
        cases: As `Console.siem.cases`, best first, each with the truth `is_true`.
        campaigns: As `SOCSimulator.campaigns`, each with `plan_length`.
        calls: Tool calls of the last minute, alike ones together: text, outcome, platform.
        status: As `Console.status`.
        metrics: The episode so far, name -> value.
        reward: Of the last minute.
        terms: Weighted reward terms of the last minute, name -> value.
        losses: damage, disruption and effort of the last minute.
    """

    scenario: SOCScenario
    network: Network
    minute: int
    is_over: bool
    phase: int
    hosts: np.ndarray
    cases: list[dict[str, Any]]
    campaigns: list[dict[str, Any]]
    calls: list[tuple[str, str, str]]
    status: dict[str, Any]
    metrics: dict[str, float]
    reward: float
    terms: dict[str, float]
    losses: dict[str, float]

    @classmethod
    def read(cls, sim: SOCSimulator, index: int = 0) -> SOCFrame:
        """The present moment of env `index`."""
        scenario, network, env = sim.scenario, sim.network_of(index), sim.records(index).env
        row, minute = sim.running_metrics()[index], int(env["step"])
        phases = len(scenario.phase_values)
        labels = sim.cases(index)["is_true"].tolist()
        families = {family.name: family for family in sim.families}
        return cls(
            scenario=scenario,
            network=network,
            minute=minute,
            is_over=bool(env["is_over"]),
            phase=min(phases - 1, minute * phases // scenario.max_steps) + 1,
            hosts=sim.hosts(index),
            cases=[
                {**case, "is_true": bool(label)} for case, label in zip(read_cases(sim, index), labels, strict=True)
            ],
            campaigns=[{**chain, "plan_length": len(families[chain["family"]].plan)} for chain in sim.campaigns(index)],
            calls=_together(sim.calls(index), network.zone_names) if not env["has_calls"] else [],
            status=read_status(sim, index),
            metrics={metric.name: float(row[metric.name]) for metric in METRICS},
            reward=float(sim.rewards[index]),
            terms={
                term.name: float(value * weight) + 0.0  # no -0.0
                for term, value, weight in zip(REWARD_TERMS, sim.reward_terms[index], scenario.weights, strict=True)
            },
            losses={name: float(env[f"{name}_now"]) for name in ("damage", "disruption", "effort")},
        )

    def zone_counts(self, z: int) -> dict[str, int]:
        """Hosts of a zone by what the SOC knows, and by what is true (user, admin, cut_off, latent, encrypted)."""
        hosts = self.hosts[self.hosts["zone"] == z]
        is_cut = (hosts["is_isolated"] != 0) | (hosts["is_offline"] != 0)
        is_owned = hosts["level"] > 0
        flags = {
            "hosts": np.ones(len(hosts), bool),
            "suspects": hosts["risk"] > 0.5,
            "isolated": (hosts["is_isolated"] != 0) & (hosts["is_offline"] == 0),
            "offline": hosts["is_offline"] != 0,
            "findings": hosts["finding"] >= STANDING,
            "verdicts": hosts["verdict"] >= STANDING,
            "user": is_owned & (hosts["level"] == 1) & ~is_cut,
            "admin": is_owned & (hosts["level"] == 2) & ~is_cut,
            "cut_off": is_owned & is_cut,
            "latent": ~is_owned & (hosts["campaign"] >= 0),
            "encrypted": hosts["is_encrypted"] != 0,
        }
        return {name: int(np.count_nonzero(flag)) for name, flag in flags.items()}


def _together(calls: list[dict[str, Any]], zones: tuple[str, ...]) -> list[tuple[str, str, str]]:
    """Calls as text; hunts, scans and decoys of several zones in one."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for call in calls:
        kind, target = TARGETS[call["tool"]], call["target"]
        name = zones[target] if kind == "zone" else "" if kind == "network" else f"{kind} {target}"
        level = f" at {call['level']:.0%}" if call["tool"] in HUNTS else ""
        found.setdefault((call["tool"], call["outcome"], level), []).append(name)
    order = sorted(found, key=lambda key: (key[0] in HUNTS, TOOL_NAMES.index(key[0])))
    return [
        (f"{tool} {_list(found[tool, how, level], zones)}{level}".rstrip(), how, PLATFORMS[tool])
        for tool, how, level in order
    ]


def _list(names: list[str], zones: tuple[str, ...]) -> str:
    return "everywhere" if len(zones) > 1 and names == list(zones) else ", ".join(names)


def times_of(chain: dict[str, Any]) -> str:
    """A campaign's history in words."""
    if chain["start"] < 0:
        return "no host yet"
    words = [f"since {chain['start']}"]
    words += [f"{name} {chain[name]}" for name in ("detected", "contained", "eradicated") if chain[name] >= 0]
    return ", ".join(words if chain["detected"] >= 0 else [*words, "not detected"])


def where_of(chain: dict[str, Any]) -> str:
    """How far a campaign is, in words."""
    if chain["state"] == "over":
        return "over"
    if not chain["num_owned"] and chain["start"] >= 0:
        return "thrown out, may return"
    if chain["start"] >= 0 and not chain["num_live"]:
        return "contained"
    doing = chain["technique"] or "waits"
    return f"{chain['tactic']} {doing}, step {min(chain['plan'] + 1, chain['plan_length'])}/{chain['plan_length']}"


# ---------------------------------------------------------------------- text
WIDTH = 110  # columns


def as_text(sim: SOCSimulator, index: int = 0) -> str:
    """The frame of env `index` as a page of text, at most 110 columns wide, without a newline at the end."""
    frame = SOCFrame.read(sim, index)
    parts = (_head(frame), _zones(frame), _cases(frame), _calls(frame), _campaigns(frame))
    return "\n".join(line[:WIDTH].rstrip() for part in parts for line in (*part, ""))[:-1]


def _head(frame: SOCFrame) -> list[str]:
    figures, status = frame.metrics, frame.status
    terms = "  ".join(f"{name} {value:+.2f}" for name, value in frame.terms.items())
    losses = "  ".join(f"{name} {figures[name]:.1f}" for name in ("damage", "disruption", "effort"))
    reset = f", credential reset {status['reset_left']} min" if status["reset_left"] else ""
    return [
        f"SOC {frame.scenario.name} | minute {frame.minute}/{frame.scenario.max_steps} | "
        f"{'OVER' if frame.is_over else 'RUNNING'} | phase {frame.phase}/{len(frame.scenario.phase_values)} | "
        f"{frame.network.num_hosts:,} hosts | loss {figures['loss']:.1f}, score {figures['score']:+.1f}",
        f"loss so far: {losses} | services lost {status['service_loss']:.0%} | perimeter {status['perimeter']}{reset}",
        f"reward {frame.reward:+.2f}: {terms} | episode {figures['reward']:+.2f}",
    ]


def _zones(frame: SOCFrame) -> list[str]:
    lines = [
        f"{'':<14}{' what the SOC knows ':-^69} {' the truth ':-^26}",
        f"{'zone':<13} value hosts cases risk susp find verd iso off outage {'executor':<17} user admin cut left encr",
    ]
    for z, row in enumerate(frame.status["zones"]):
        n, job = frame.zone_counts(z), row["job"]
        mark = "" if z not in frame.scenario.undefended_zones else "*"
        work = f"{job['tool'].partition('_')[0]} {job['host']}, {job['minutes_left']} min" if job else "free"
        value = row["value"] * row["factor"]
        lines.append(
            f"{(mark + row['name'])[:13]:<13} {value:>5.2f} {n['hosts']:>5} {row['cases']:>5} "
            f"{row['top_risk']:>4.2f} {n['suspects']:>4} {n['findings']:>4} {n['verdicts']:>4} {n['isolated']:>3} "
            f"{n['offline']:>3} {row['outage']:>6.0%} {work[:17]:<17} {n['user']:>4} {n['admin']:>5} {n['cut_off']:>3} "
            f"{n['latent']:>4} {n['encrypted']:>4}"
        )
    return [*lines, "* not defended"] if frame.scenario.undefended_zones else lines


def _cases(frame: SOCFrame) -> list[str]:
    lines = [
        f"cases {len(frame.cases)}/{frame.scenario.queue_capacity}, "
        f"{frame.status['analyst_minutes']:.1f} analyst minutes in hand",
        f"  {'rank':>4} {'case':>5} {'zone':<15} {'host':>6} {'source':>6}  {'technique':<10} alerts age  sev conf "
        "reading  truth",
    ]
    for case in frame.cases[:SHOWN_CASES]:
        readings = [f"{case[name]:.2f}" for name in ("reading", "second_reading") if case[name] is not None]
        source = "" if case["source"] is None else case["source"]
        lines.append(
            f"  {case['rank']:>4.2f} {case['id']:>5} {case['zone'][:15]:<15} {case['host']:>6} {source:>6}  "
            f"{case['technique']:<10} {case['alerts']:>6} {case['age']:>3}{'!' if case['is_overdue'] else ' '} "
            f"{case['severity']:.1f}  {case['confidence']:.1f} {' '.join(readings):<9} "
            f"{'ATTACK' if case['is_true'] else 'benign'}"
        )
    if len(frame.cases) > SHOWN_CASES:
        lines.append(f"  ... and {len(frame.cases) - SHOWN_CASES} lower ones")
    return lines


def _calls(frame: SOCFrame) -> list[str]:
    held = frame.status["directive"]
    priority = "  ".join(f"{name} {value:+.1f}" for name, value in held["priority"].items() if value)
    postures = "  ".join(f"{name.partition('_')[0]} {held[name]:+.1f}" for name in held if name != "priority")
    lines = [f"directive: {postures} | priority: {priority or 'all alike'}", "tools in the last minute"]
    lines += [f"  {platform:<5} {text} -> {outcome}" for text, outcome, platform in frame.calls[:SHOWN_CALLS]]
    if len(frame.calls) > SHOWN_CALLS:
        lines.append(f"  ... and {len(frame.calls) - SHOWN_CALLS} more")
    return lines if frame.calls else [*lines, "  none"]


def _campaigns(frame: SOCFrame) -> list[str]:
    states = Counter(chain["state"] for chain in frame.campaigns)
    ever = f"{frame.metrics['blast_radius']:.0f} hosts ever compromised"
    lines = [f"intruders (truth): {states['active']} active, {ever}"]
    lines += [
        f"  {chain['family'][:18]:<18} {chain['num_live']:>3} of {chain['num_owned']:>3} hosts in reach  "
        f"{where_of(chain)[:42]}; {times_of(chain)}"
        for chain in frame.campaigns
    ]
    return lines
