"""What a blue agent sees of CC4 as the alerts of a SIEM: one table of kinds, and two readers, one per level.

Level "flat" is the official vector: two flags per host slot, process and connection alerts of the last step. Level
"raw" is the agent's own observation dict, where a connection has addresses and an exploit has a PID. Shares below were
counted over six episodes of 500 steps: three under a defender that reads raw observations, three under one that reads
the vector.

What was tuned on the real CC4: the weights of the flat kinds as findings, on episodes that nobody wrote down. Nothing
at level "raw" was. Searches since then keep to episodes that no evaluation plays, see docs/cage4/transfer.md.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import numpy as np

from cyborg_bridge.zones import Zone
from soc_env.soc import risk

LEVELS = ("flat", "raw")
SSH = 22  # an attack on it shows the port at the source


class AlertKind(NamedTuple):
    """What the SIEM makes of a kind of event. Severity and confidence are the alert's own, see `risk.alert_weight`."""

    technique: str
    """The rule: an ATT&CK technique with the channel that fits (process, or network with a source)."""
    severity: float
    confidence: float
    precision: float
    """Share of such alerts whose suspected host (the source where there is one) was in red's hands."""
    host_finding: float
    """Weight that it adds as a finding to the alerting host: where it says as much as EDR's word would."""
    source_finding: float
    """The same for the source, where that is a host of the agent's own."""
    meaning: str
    guesses_source: bool = False
    """Whether the SOC names the most likely source among the agent's own hosts, as the alert has none."""
    shows_process: bool = False
    """Whether Remove can have something to end on the alerting host; at level "flat" nothing tells whether it has."""


ALERTS: dict[str, AlertKind] = {
    # raw
    "exploit": AlertKind("T1203", 0.9, 0.95, 1.0, risk.CONFIRMATION, 0.0,
                         "a process with a PID: an exploit has worked (125 of 125 hosts were red's)",
                         shows_process=True),
    "probe": AlertKind("T1046", 0.6, 0.8, 0.97, 0.0, risk.CONFIRMATION,
                       "a scan or an exploit; it comes from a host of red's (512 of 512), whether it works or not"),
    "process": AlertKind("T1059.004", 0.35, 0.3, 0.25, 0.0, 0.0,
                         "a process without a PID: a false alert of green's, on whatever user's host (96 of 381)"),
    "access": AlertKind("T1021.004", 0.35, 0.3, 0.01, 0.0, 0.0,
                        "a connection without a local port: a false alert of green's, on a server (0 of 408)"),
    # flat, beside "exploit" (117 of 117). The flags are weak evidence, and a risk above 0.8 that comes from them is
    # right in about half of all cases. Their weights as findings were searched on the real CC4, so that a verdict or a
    # second alert is enough for response: a Restore costs 1 there, and a host left to red dozens.
    "odd_process": AlertKind("T1059.001", 0.5, 0.5, 0.27, risk.VERDICT, 0.0,
                             "a process alert on a user's host: green's, or a quiet exploit (104 of 389)",
                             shows_process=True),
    "unknown_probe": AlertKind("T1018", 0.8, 0.9, 0.36, 1.0, risk.SUSPICION,
                               "a connection alert on a user's host: a probe of it (121 of 286; the source that is "
                               "guessed: 384 of 1,060, under three other policies)", guesses_source=True),
    "server_probe": AlertKind("T1135", 0.35, 0.3, 0.01, 0.0, 0.0,
                              "a connection alert on a server: green's, or a probe that failed (0 of 548)"),
}  # fmt: skip
"""How many of the alerting hosts, or of the sources where the agent knows them, were in red's hands, in brackets."""


class Alert(NamedTuple):
    """One alert. The hosts are the agent's own, by name; no source: unknown, or out of its zones."""

    kind: str
    host: str
    source: str | None = None


def is_server(host: str) -> bool:
    """Whether a host slot is a server's; the others are users'."""
    return "_server_host_" in host


def flat_alerts(zone: Zone, hosts: Collection[str], vector: np.ndarray) -> list[Alert]:
    """From the official vector. Green's false process alerts are on users' hosts, its false connection alerts on
    servers; an exploit mostly raises both flags.

    Args:
        zone: what the agent guards.
        hosts: those that exist in this episode.
        vector: (entries,) its observation.
    """
    alerts = []
    for subnet in zone.subnets:
        fields = zone.fields[subnet]
        flags = zip(zone.hosts[subnet], vector[fields["processes"]], vector[fields["connections"]], strict=True)
        for host, has_process, has_connection in flags:
            if host not in hosts:
                continue
            if has_process and (has_connection or is_server(host)):
                alerts.append(Alert("exploit", host))
            elif has_process:
                alerts.append(Alert("odd_process", host))
            elif has_connection:
                alerts.append(Alert("server_probe" if is_server(host) else "unknown_probe", host))
    return alerts


def raw_alerts(raw: Mapping[str, Any], addresses: Mapping[str, str]) -> list[Alert]:
    """From the raw observation of a step (not of a reset), each alert once: a scan of many ports is one.

    Args:
        raw: host name -> what was seen there; other keys are passed over.
        addresses: address -> name of the agent's own hosts, see `own_addresses`.
    """
    hosts = set(addresses.values())
    alerts: dict[Alert, None] = {}
    for host, seen in raw.items():
        if not isinstance(seen, Mapping):
            continue
        for process in seen.get("Processes", ()):
            if "PID" in process and "PPID" not in process:  # with a parent it is a decoy that was just deployed
                alerts[Alert("exploit", host)] = None
            for connection in process.get("Connections", ()):
                alerts[_connection_alert(host, connection, addresses)] = None
    return [alert for alert in alerts if alert.host in hosts]


def _connection_alert(host: str, connection: Mapping[str, Any], addresses: Mapping[str, str]) -> Alert:
    if "remote_address" not in connection:
        return Alert("process", host)
    if "local_port" not in connection and connection.get("remote_port") != SSH:
        return Alert("access", host)
    source = addresses.get(str(connection["remote_address"]))
    # A router has no host slot: what it reports is about the source alone.
    return Alert("probe", source if source and host.endswith("_router") else host, source)


def own_addresses(raw: Mapping[str, Any], hosts: Collection[str]) -> dict[str, str]:
    """Address -> host, for the agent's own hosts, from the raw observation that an episode starts with."""
    return {
        str(interface["ip_address"]): host
        for host in hosts
        for interface in raw.get(host, {}).get("Interface", ())
        if "ip_address" in interface
    }
