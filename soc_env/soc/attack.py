"""ATT&CK v18: its techniques, with dynamics for those that intruders of `soc-v1` use.

The numbers of techniques and their basis are in data/techniques.csv, origins and licences in data/README.md.
`technique_tables` is what the kernels read.
"""

from __future__ import annotations

import csv
import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from soc_env.errors import ConfigError

DATA = Path(__file__).parent / "data"
CHECKSUMS = {  # SHA-256 with line ends as \n
    "attack_v18.csv": "5856f439030765c3dc3b3613ca6d55f952e2df112dd5cbc57cf75d975bd8aaa1",
    "techniques.csv": "9c0599046bc51a474c400f26e070008ee92b8c3c94392ab5e471cff008c7def8",
}
# ATT&CK v18 in kill-chain order, without what happens outside the network (reconnaissance, resource-development).
TACTICS = (
    "initial-access",
    "execution",
    "persistence",
    "privilege-escalation",
    "defense-evasion",
    "credential-access",
    "discovery",
    "lateral-movement",
    "collection",
    "command-and-control",
    "exfiltration",
    "impact",
)
CHANNELS = ("process", "network", "identity", "silent")  # network alerts name a source host, silent ones do not exist
GOALS = ("encrypt", "exfiltrate", "abuse")  # "encrypt" stands for all destruction
REACTIONS = ("hide", "rush", "spread")  # to containment: stealthier and slower; straight to the goal; on to other hosts
ROLES = ("workstation", "server", "domain_controller", "cloud")


# ---------------------------------------------------------------------- ATT&CK
@dataclass(frozen=True)
class AttackTechnique:
    """A live (neither revoked nor deprecated) Enterprise technique or sub-technique of ATT&CK v18."""

    id: str
    name: str
    tactics: tuple[str, ...]  # shortnames, also reconnaissance and resource-development


@dataclass(frozen=True)
class Technique:
    """A technique that attackers use and the SOC has one rule for. Numbers: data/techniques.csv."""

    id: str
    tactic: str  # the one of TACTICS it is used for
    channel: str  # of CHANNELS
    minutes: int  # [min] of one attempt
    success: float  # chance that an attempt works
    detection: float  # chance that a default sensor sees an attempt
    delay: float  # [min] mean until the alert is in the queue
    severity: float  # 0-1
    confidence: float  # 0-1, mean of the rule's confidence when it is right
    benign: float  # relative weight with which benign activity sets the rule off
    events: float  # raw log events of one attempt

    @property
    def name(self) -> str:
        """ATT&CK's name."""
        return attack_techniques()[self.id].name


def read_data(name: str) -> list[dict[str, str]]:
    """Rows of a data file, comment lines left out.

    Raises:
        ConfigError: If the file is missing or is not the one that was released.
    """
    try:
        text = (DATA / name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"data file {name} cannot be read ({error}); reinstall hmarl-soc") from error
    found = hashlib.sha256(text.encode()).hexdigest()
    if found != CHECKSUMS[name]:
        wrong = f"its SHA-256 is {found[:12]}..., not {CHECKSUMS[name][:12]}..."
        raise ConfigError(f"data file {name} is damaged: {wrong}; reinstall hmarl-soc")
    return list(csv.DictReader(line for line in text.splitlines() if not line.startswith("#")))


@functools.cache
def attack_techniques() -> dict[str, AttackTechnique]:
    """All live techniques by id, in order of id. Read at the first call: only names need them."""
    return {
        row["id"]: AttackTechnique(row["id"], row["name"], tuple(row["tactics"].split(";")))
        for row in read_data("attack_v18.csv")
    }


def read_techniques() -> tuple[Technique, ...]:
    """The techniques with dynamics, in file order."""
    numbers = ("success", "detection", "delay", "severity", "confidence", "benign", "events")
    return tuple(
        Technique(
            id=row["id"],
            tactic=row["tactic"],
            channel=row["channel"],
            minutes=int(row["minutes"]),
            **{name: float(row[name]) for name in numbers},
        )
        for row in read_data("techniques.csv")
    )


TECHNIQUES = read_techniques()
TECHNIQUE_INDEX = {row.id: index for index, row in enumerate(TECHNIQUES)}


def technique(id: str) -> Technique:
    """The technique with that ATT&CK id.

    Raises:
        ConfigError: If it has no dynamics.
    """
    if id not in TECHNIQUE_INDEX:
        problem = "has no dynamics" if id in attack_techniques() else "is no live technique of ATT&CK v18"
        raise ConfigError(f"technique {id!r} {problem}; allowed: the {len(TECHNIQUES)} ids of data/techniques.csv")
    return TECHNIQUES[TECHNIQUE_INDEX[id]]


# ---------------------------------------------------------------------- tables for the kernels
def technique_tables() -> dict[str, np.ndarray]:
    """TECHNIQUES by column, (T,) each.

    Returns:
        channel (index into CHANNELS), tactic (index into TACTICS) and minutes as int64; success, detection, delay,
        severity, confidence, benign and events as float64. Fresh arrays.
    """
    tables = {
        "channel": np.array([CHANNELS.index(row.channel) for row in TECHNIQUES], np.int64),
        "tactic": np.array([TACTICS.index(row.tactic) for row in TECHNIQUES], np.int64),
        "minutes": np.array([row.minutes for row in TECHNIQUES], np.int64),
    }
    for name in ("success", "detection", "delay", "severity", "confidence", "benign", "events"):
        tables[name] = np.array([getattr(row, name) for row in TECHNIQUES], np.float64)
    return tables
