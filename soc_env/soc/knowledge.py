"""What the SOC knows, in plain values: for the console and for pictures. Nothing here reads the truth."""

from __future__ import annotations

from typing import Any

import numpy as np

from soc_env.soc.attack import TECHNIQUES
from soc_env.soc.networks import ROLES
from soc_env.soc.simulator import SOCSimulator
from soc_env.soc.tables import TOOL_NAMES

POSTURES = ("hunt_posture", "triage_posture", "response_posture")
PERIMETER = ("open", "block awaited", "blocked")


def read_status(sim: SOCSimulator, index: int) -> dict[str, Any]:
    """The shift at a glance, see `Console.status`."""
    env, zones, net = sim.records(index).env, sim.scenario.num_zones, sim.network_of(index)
    now = int(env["step"])
    held = env["directive"][: zones + 3].tolist()
    return {
        "minute": now,
        "analyst_minutes": float(env["analyst_time"]),
        "perimeter": PERIMETER[env["perimeter"]],
        "reset_left": max(0, int(env["reset_end"]) - now),
        "sweep_wait": max(0, int(env["intel_allowed"]) - now),
        "known_intruders": int(env["num_known"]),
        "service_loss": float(env["service_loss"]),
        "directive": {
            "priority": dict(zip(net.zone_names, held, strict=False)),
            **dict(zip(POSTURES, held[zones:], strict=True)),
        },
        "zones": [_read_zone(sim, index, z) for z in range(zones)],
    }


def _read_zone(sim: SOCSimulator, index: int, z: int) -> dict[str, Any]:
    env, net = sim.records(index).env, sim.network_of(index)
    phases = len(sim.scenario.phase_values)
    phase = min(phases - 1, int(env["step"]) * phases // sim.scenario.max_steps)
    job = None
    if env["job_tool"][z] >= 0:
        left = max(0, int(env["job_end"][z]) - int(env["step"]))
        job = {"tool": TOOL_NAMES[env["job_tool"][z]], "host": int(env["job_host"][z]), "minutes_left": left}
    return {
        "name": net.zone_names[z],
        "value": float(net.zone_value[z]),
        "factor": float(sim.records(index).world["phase_factor"][phase, z]),
        "suspects": int(env["suspects"][z]),
        "isolated": int(env["isolated"][z]),
        "offline": int(env["offline"][z]),
        "top_risk": float(env["top_risk"][z]),
        "cases": int(env["zone_cases"][z]),
        "decoys": int((env["decoy_ready"][z] >= 0).sum()),
        "outage": float(env["outage"][z]),
        "job": job,
    }


def read_cases(sim: SOCSimulator, index: int) -> list[dict[str, Any]]:
    """The open cases, best rank first, see `Console.siem.cases`."""
    net, now = sim.network_of(index), int(sim.records(index).env["step"])
    rows = []
    for case in sim.cases(index):
        rule, enriched = TECHNIQUES[case["rule"]], int(case["enriched"])
        rows.append(
            {
                "id": int(case["id"]),
                "zone": net.zone_names[case["zone"]],
                "host": int(case["host"]),
                "source": int(case["source"]) if case["source"] >= 0 else None,
                "technique": rule.id,
                "technique_name": rule.name,
                "tactic": rule.tactic,
                "channel": rule.channel,
                "alerts": int(case["num_alerts"]),
                "opened": int(case["opened"]),
                "age": now - int(case["opened"]),
                "severity": float(case["severity"]),
                "confidence": float(case["confidence"]),
                "rank": float(case["rank"]),
                "enriched": enriched,
                "reading": float(case["reading"]) if enriched > 0 else None,
                "second_reading": float(case["second_reading"]) if enriched > 1 else None,
                "is_overdue": bool(case["is_overdue"]),
            }
        )
    return rows


def _read_level(host: np.void) -> dict[str, Any]:
    return {"level": (None, "user", "admin")[host["known_level"]], "has_process": bool(host["has_process"])}


def read_hosts(sim: SOCSimulator, index: int, zone: int | None) -> list[dict[str, Any]]:
    """The hosts that something speaks against or was done to, see `Console.siem.hosts`."""
    net, every = sim.network_of(index), sim.hosts(index)
    # Hosts without evidence look alike, whether something is on record about them or not: only the truth is.
    is_known = (every["risk"] > 0) | (every["is_isolated"] != 0) | (every["is_offline"] != 0)
    if zone is not None:
        is_known &= every["zone"] == zone
    found = every[is_known]
    has_levels = sim.scenario.finding_levels
    return [
        {
            "host": int(host["host"]),
            "zone": net.zone_names[host["zone"]],
            "segment": net.segment_names[host["segment"]],
            "role": ROLES[host["role"]],
            "value": float(host["value"]),
            "risk": float(host["risk"]),
            "finding": float(host["finding"]),
            "verdict": float(host["verdict"]),
            "is_isolated": bool(host["is_isolated"]),
            "is_offline": bool(host["is_offline"]),
            "last_alert": int(host["last_alert"]) if host["last_alert"] >= 0 else None,
            "last_hunt": int(host["last_hunt"]) if host["last_hunt"] >= 0 else None,
        }
        | (_read_level(host) if has_levels else {})
        for host in found[np.lexsort((found["host"], -found["risk"]))]
    ]
