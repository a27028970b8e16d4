"""Intruders of `soc-v1`: families of campaigns, each a plan of ATT&CK techniques.

A campaign walks through the plan of its family. A step has one tactic and a few techniques to draw from; an attempt
takes minutes, may fail (then another technique is drawn) and may be detected. The last step of a plan is its goal: no
other step exfiltrates or destroys. `family_tables` is what the kernels read.

Families are assumptions: orders of techniques typical of such groups, with times set so that an undisturbed campaign
reaches its goal after some 40 minutes (ransomware) to 90 minutes (espionage); in life that takes hours to weeks.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from soc_env.errors import ConfigError, unknown_name
from soc_env.soc.attack import GOALS, REACTIONS, ROLES, TACTICS, TECHNIQUE_INDEX, technique

GOAL_TACTICS = {"encrypt": "impact", "exfiltrate": "exfiltration", "abuse": "impact"}
PREFERENCES = ("spread", "value")  # lateral moves to any segment, or to valuable ones
SPLITS = ("train", "test")
MAX_PLAN = 16  # steps
MAX_CHOICES = 8  # techniques of a step


@dataclass(frozen=True)
class Step:
    """One step of a plan: a tactic and the techniques to draw from."""

    tactic: str
    choices: tuple[tuple[str, float], ...]  # technique id, relative weight > 0; at most MAX_CHOICES


@dataclass(frozen=True)
class IntruderFamily:
    """How campaigns of one kind behave.

    Raises:
        ConfigError: If a name is unknown, the plan does not begin with initial-access and end with its goal, a
            technique is used for another tactic than its own, or a number is out of range.
    """

    name: str
    description: str
    split: str  # of SPLITS; "test" is held out
    plan: tuple[Step, ...]  # at most MAX_PLAN; the last step is the goal and is repeated minute by minute
    loop: tuple[int, int, int, int]  # first step, last step, fewest and most passes (1: walked once, not repeated)
    goal: str  # of GOALS
    entry_roles: tuple[str, ...]  # of ROLES, each once; host roles it enters through, equally likely
    preference: str  # of PREFERENCES; where lateral moves go
    dwell: float  # [min] mean waiting time between two steps, passes of the loop included
    stealth: float  # share of detections avoided
    reentry: float  # probability per minute to come back after losing all hosts, with persistence or credentials
    reaction: str  # of REACTIONS; when it notices that one of its hosts was contained

    def __post_init__(self) -> None:
        if fault := _name_fault(self) or _plan_fault(self) or _number_fault(self):
            raise ConfigError(f"family {self.name!r}: {fault}")


def _name_fault(family: IntruderFamily) -> str:
    named = [("split", family.split, SPLITS), ("goal", family.goal, GOALS), ("reaction", family.reaction, REACTIONS)]
    named += [("preference", family.preference, PREFERENCES)]
    named += [("entry role", role, ROLES) for role in family.entry_roles]
    named += [("tactic", step.tactic, TACTICS) for step in family.plan]
    return next((unknown_name(kind, value, allowed) for kind, value, allowed in named if value not in allowed), "")


def _plan_fault(family: IntruderFamily) -> str:
    tactics = [step.tactic for step in family.plan]
    if not 2 <= len(tactics) <= MAX_PLAN:
        return f"a plan of {len(tactics)} steps; allowed: 2 to {MAX_PLAN}"
    if tactics[0] != "initial-access" or "initial-access" in tactics[1:]:
        return "the plan must start with initial-access, and have no other"
    if tactics[-1] != GOAL_TACTICS[family.goal] or {"exfiltration", "impact"} & set(tactics[:-1]):
        return f"the plan must end with {GOAL_TACTICS[family.goal]}, and have no exfiltration or impact before"
    for index, step in enumerate(family.plan):
        if not 1 <= len(step.choices) <= MAX_CHOICES or len(dict(step.choices)) < len(step.choices):
            return f"step {index} must have 1 to {MAX_CHOICES} different techniques"
        for id, weight in step.choices:
            if id not in TECHNIQUE_INDEX:
                return f"step {index} has a technique without dynamics, {id!r}"
            if technique(id).tactic != step.tactic:
                return f"step {index} is {step.tactic}, {id} is used for {technique(id).tactic}"
            if not 0.0 < weight < np.inf:
                return f"step {index} gives {id} the weight {weight}; allowed: above 0"
    return ""


def _number_fault(family: IntruderFamily) -> str:
    first, last, fewest, most = family.loop
    if not 1 <= first <= last < len(family.plan) - 1 or not 1 <= fewest <= most:
        return f"loop {family.loop} must lie between the first and the last step, with passes of at least 1"
    if not 1 <= len(set(family.entry_roles)) == len(family.entry_roles):
        return f"entry_roles={family.entry_roles}; allowed: at least one, each once"
    for name in ("stealth", "reentry"):
        if not 0.0 <= getattr(family, name) <= 1.0:
            return f"{name}={getattr(family, name)}; allowed: 0 to 1"
    return "" if 0.0 <= family.dwell < np.inf else f"dwell={family.dwell}; allowed: 0 or more"


def _step(tactic: str, weights: Mapping[str, float]) -> Step:
    return Step(tactic, tuple(weights.items()))


INTRUDER_FAMILIES = (
    IntruderFamily(
        name="ransomware",
        description="Phishing or a stolen VPN account; takes what it can reach in half an hour and encrypts it.",
        split="train",
        plan=(
            _step("initial-access", {"T1566.001": 4, "T1566.002": 3, "T1133": 2, "T1078.002": 1}),
            _step("execution", {"T1059.001": 4, "T1204.002": 3, "T1204.004": 2, "T1059.003": 2, "T1047": 1}),
            _step("command-and-control", {"T1071.001": 4, "T1105": 3, "T1219.002": 2}),
            _step("persistence", {"T1053.005": 3, "T1547.001": 3, "T1543.003": 2}),
            _step("privilege-escalation", {"T1548.002": 3, "T1134.001": 2, "T1068": 1}),
            _step("defense-evasion", {"T1562.001": 4, "T1055.001": 2, "T1218.011": 2, "T1218.005": 1, "T1027.010": 1}),
            _step("credential-access", {"T1003.001": 4, "T1555.003": 2, "T1558.003": 1}),
            _step("discovery", {"T1046": 3, "T1018": 3, "T1135": 2, "T1087.002": 2, "T1482": 1}),
            _step("lateral-movement", {"T1021.002": 4, "T1021.001": 3, "T1570": 2, "T1021.006": 1, "T1072": 1}),
            _step("impact", {"T1486": 8, "T1490": 1, "T1489": 1}),
        ),
        loop=(7, 8, 2, 4),
        goal="encrypt",
        entry_roles=("workstation",),
        preference="spread",
        dwell=0.5,
        stealth=0.1,
        reentry=0.05,
        reaction="rush",
    ),
    IntruderFamily(
        name="espionage",
        description="A patient group that hides in administration traffic and looks for the valuable segments.",
        split="train",
        plan=(
            _step("initial-access", {"T1566.002": 4, "T1566.003": 2, "T1189": 2, "T1199": 2}),
            _step("execution", {"T1059.001": 3, "T1059.005": 2, "T1204.002": 2, "T1203": 1}),
            _step("defense-evasion", {"T1055.001": 3, "T1036.005": 3, "T1027.010": 2, "T1218.011": 2, "T1140": 1}),
            _step("command-and-control", {"T1573.002": 3, "T1071.001": 3, "T1102.002": 2, "T1071.004": 1}),
            _step("persistence", {"T1053.005": 3, "T1574.001": 2, "T1546.003": 2, "T1547.001": 1}),
            _step("privilege-escalation", {"T1134.001": 3, "T1548.002": 2, "T1068": 1}),
            _step("credential-access", {"T1003.001": 3, "T1555.003": 2, "T1558.003": 2, "T1056.001": 1}),
            _step("discovery", {"T1018": 3, "T1087.002": 3, "T1069.002": 2, "T1083": 2, "T1482": 1, "T1049": 1}),
            _step("lateral-movement", {"T1021.001": 4, "T1021.006": 3, "T1550.002": 2, "T1021.004": 2, "T1550.003": 1}),
            _step("collection", {"T1039": 3, "T1005": 3, "T1114.002": 2}),
            _step("collection", {"T1560.001": 3, "T1074.001": 2}),
            _step("exfiltration", {"T1041": 4, "T1030": 3, "T1567.002": 2, "T1048.002": 1}),
        ),
        loop=(7, 8, 2, 4),
        goal="exfiltrate",
        entry_roles=("workstation",),
        preference="value",
        dwell=2.5,
        stealth=0.45,
        reentry=0.03,
        reaction="hide",
    ),
    IntruderFamily(
        name="web_shell",
        description="Exploits a public server, leaves a web shell and drains the databases behind it.",
        split="train",
        plan=(
            _step("initial-access", {"T1190": 1}),
            _step("persistence", {"T1505.003": 1}),
            _step("execution", {"T1059.004": 3, "T1059.003": 3, "T1059.001": 2, "T1059.006": 1}),
            _step("discovery", {"T1082": 2, "T1016": 2, "T1049": 1}),
            _step("privilege-escalation", {"T1548.003": 2, "T1134.001": 2, "T1068": 2}),
            _step("command-and-control", {"T1105": 4, "T1572": 2, "T1090.001": 2}),
            _step("credential-access", {"T1552.001": 3, "T1003.001": 2, "T1552.004": 2}),
            _step("discovery", {"T1046": 4, "T1018": 3, "T1135": 1}),
            _step("lateral-movement", {"T1021.004": 3, "T1021.002": 3, "T1210": 2, "T1570": 1}),
            _step("collection", {"T1213.006": 3, "T1005": 2, "T1074.001": 2}),
            _step("exfiltration", {"T1041": 4, "T1048.003": 3, "T1567.002": 2}),
        ),
        loop=(7, 8, 2, 4),
        goal="exfiltrate",
        entry_roles=("server",),
        preference="value",
        dwell=0.8,
        stealth=0.15,
        reentry=0.06,
        reaction="spread",
    ),
    IntruderFamily(
        name="insider",
        description="An employee with a valid account who takes files out; leaves little that is not everyday work.",
        split="train",
        plan=(
            _step("initial-access", {"T1078.002": 1}),
            _step("execution", {"T1059.003": 3, "T1059.001": 1}),
            _step("discovery", {"T1083": 4, "T1087.002": 2, "T1069.002": 1}),
            _step("credential-access", {"T1552.001": 4, "T1555.003": 1}),
            _step("discovery", {"T1135": 2, "T1018": 2, "T1083": 2, "T1049": 1}),
            _step("lateral-movement", {"T1021.001": 4, "T1021.004": 2, "T1021.002": 1}),
            _step("collection", {"T1039": 3, "T1213.002": 3, "T1005": 2, "T1114.002": 1}),
            _step("collection", {"T1074.001": 3, "T1560.001": 1}),
            _step("exfiltration", {"T1567.002": 3, "T1052.001": 3, "T1030": 2}),
        ),
        loop=(4, 5, 1, 3),
        goal="exfiltrate",
        entry_roles=("workstation", "server"),
        preference="value",
        dwell=2.5,
        stealth=0.3,
        reentry=0.02,
        reaction="hide",
    ),
    IntruderFamily(
        name="credential_abuse",
        description="Sprays passwords at the cloud, gathers accounts and tokens, and turns them into money.",
        split="train",
        plan=(
            _step("initial-access", {"T1078.004": 4, "T1566.004": 1}),
            _step("execution", {"T1059.009": 3, "T1651": 1}),
            _step("discovery", {"T1087.004": 3, "T1526": 2, "T1580": 1}),
            _step("credential-access", {"T1110.003": 4, "T1621": 2, "T1528": 2, "T1110.004": 1}),
            _step("persistence", {"T1098.005": 3, "T1098.001": 3, "T1136.003": 1}),
            _step("defense-evasion", {"T1564.008": 3, "T1562.008": 1}),
            _step("privilege-escalation", {"T1548.005": 1}),
            _step("discovery", {"T1580": 2, "T1619": 2, "T1526": 1}),
            _step("lateral-movement", {"T1021.007": 4, "T1550.001": 3, "T1021.001": 1}),
            _step("collection", {"T1114.002": 3, "T1530": 2, "T1213.002": 2}),
            _step("impact", {"T1657": 3, "T1565.001": 2, "T1531": 1}),
        ),
        loop=(7, 8, 1, 3),
        goal="abuse",
        entry_roles=("cloud",),
        preference="spread",
        dwell=1.0,
        stealth=0.2,
        reentry=0.08,
        reaction="rush",
    ),
    # ---- held out
    IntruderFamily(
        name="supply_chain",
        description="A trojanised update or library: no entry to see, then slow theft from development to production.",
        split="test",
        plan=(
            _step("initial-access", {"T1195.002": 3, "T1195.001": 2}),
            _step("execution", {"T1204.005": 3, "T1059.006": 2, "T1059.007": 2}),
            _step("defense-evasion", {"T1036.005": 3, "T1070.006": 2, "T1055.012": 1}),
            _step("command-and-control", {"T1568.002": 3, "T1573.002": 2, "T1071.004": 2}),
            _step("persistence", {"T1554": 3, "T1574.001": 2, "T1543.003": 1}),
            _step("privilege-escalation", {"T1068": 1, "T1134.001": 1}),
            _step("credential-access", {"T1552.004": 3, "T1558.003": 2, "T1528": 1}),
            _step("discovery", {"T1018": 3, "T1482": 2, "T1069.002": 2}),
            _step("lateral-movement", {"T1550.003": 3, "T1021.006": 2, "T1021.004": 2, "T1550.001": 1}),
            _step("collection", {"T1213.006": 2, "T1005": 2, "T1114.002": 1}),
            _step("exfiltration", {"T1048.002": 3, "T1041": 2, "T1537": 1}),
        ),
        loop=(7, 8, 2, 4),
        goal="exfiltrate",
        entry_roles=("server", "workstation"),
        preference="value",
        dwell=2.0,
        stealth=0.4,
        reentry=0.04,
        reaction="hide",
    ),
    IntruderFamily(
        name="cryptojacking",
        description="A noisy worm through exposed services and cloud keys that mines on all it can get.",
        split="test",
        plan=(
            _step("initial-access", {"T1190": 3, "T1078.001": 2, "T1133": 1}),
            _step("execution", {"T1059.004": 4, "T1059.006": 2, "T1610": 2}),
            _step("command-and-control", {"T1105": 3, "T1071.001": 1}),
            _step("defense-evasion", {"T1562.001": 3, "T1070.004": 2}),
            _step("persistence", {"T1053.003": 4, "T1543.002": 2}),
            _step("privilege-escalation", {"T1548.003": 2, "T1611": 1}),
            _step("credential-access", {"T1552.005": 2, "T1552.004": 2, "T1552.001": 1}),
            _step("discovery", {"T1046": 4, "T1580": 1}),
            _step("lateral-movement", {"T1021.004": 4, "T1210": 2}),
            _step("impact", {"T1496.001": 4, "T1496.004": 1}),
        ),
        loop=(7, 8, 2, 5),
        goal="abuse",
        entry_roles=("server", "cloud"),
        preference="spread",
        dwell=0.3,
        stealth=0.05,
        reentry=0.1,
        reaction="spread",
    ),
    IntruderFamily(
        name="wiper",
        description="Sabotage: takes over the directory with stolen accounts, then destroys as many hosts as it can.",
        split="test",
        plan=(
            _step("initial-access", {"T1133": 3, "T1078.002": 2, "T1199": 2}),
            _step("execution", {"T1059.001": 2, "T1059.003": 2, "T1569.002": 2}),
            _step("command-and-control", {"T1572": 2, "T1090.001": 2, "T1105": 2}),
            _step("persistence", {"T1543.003": 2, "T1053.005": 2}),
            _step("credential-access", {"T1003.003": 2, "T1003.006": 2, "T1003.001": 2}),
            _step("privilege-escalation", {"T1484.001": 3, "T1078.003": 1}),
            _step("defense-evasion", {"T1562.001": 2, "T1070.001": 2, "T1218.010": 1}),
            _step("discovery", {"T1018": 3, "T1087.002": 2, "T1482": 1}),
            _step("lateral-movement", {"T1021.002": 3, "T1570": 2, "T1072": 2, "T1550.002": 1}),
            _step("impact", {"T1485": 4, "T1561.002": 3, "T1490": 1}),
        ),
        loop=(7, 8, 3, 5),
        goal="encrypt",
        entry_roles=("workstation", "server"),
        preference="value",
        dwell=0.8,
        stealth=0.2,
        reentry=0.04,
        reaction="rush",
    ),
)


def families(split: str) -> tuple[IntruderFamily, ...]:
    """The families of a split: "train" to learn against, "test" held out (without those of "train").

    Raises:
        ConfigError: If there is no such split.
    """
    if split not in SPLITS:
        raise ConfigError(unknown_name("split", split, SPLITS))
    return tuple(family for family in INTRUDER_FAMILIES if family.split == split)


def minutes_to_goal(family: IntruderFamily) -> float:
    """Mean minutes from the first attempt until an undisturbed campaign begins its goal step, on average hosts."""
    total = 0.0
    first, last, fewest, most = family.loop
    for index, step in enumerate(family.plan[:-1]):
        weighted = [(weight, technique(id)) for id, weight in step.choices]
        # attempts are independent draws, so their mean number is 1 / mean success
        attempts = sum(w * t.minutes for w, t in weighted) / sum(w * t.success for w, t in weighted)
        passes = (fewest + most) / 2 if first <= index <= last else 1.0
        total += passes * (attempts + family.dwell)
    return total


# ---------------------------------------------------------------------- tables for the kernels
def family_tables(families: Iterable[IntruderFamily]) -> dict[str, np.ndarray]:
    """The families by column; F families, S = MAX_PLAN steps, C = MAX_CHOICES techniques. Fresh arrays.

    Returns:
        plan_length (F,), tactic (F, S), num_choices (F, S), choice (F, S, C), loop (F, 4), goal (F,), reaction (F,) as
        int64, indices into TACTICS, TECHNIQUES, GOALS and REACTIONS; cumulative (F, S, C) probabilities, entry_roles
        (F, len(ROLES)) that sum to 1, prefers_value (F,) 0 or 1, dwell, stealth and reentry (F,) as float64.
        The choice for u in [0, 1) is the first with u < cumulative. Behind the last choice, cumulative is 1 and choice
        repeats the last; behind the last step, tactic and choice are -1, num_choices 0 and cumulative 1.

    Raises:
        ConfigError: If there is no family.
    """
    rows = tuple(families)
    if not rows:
        raise ConfigError("families=() must name at least one attacker family")
    shape = (len(rows), MAX_PLAN)
    tables = {
        "plan_length": np.array([len(row.plan) for row in rows], np.int64),
        "tactic": np.full(shape, -1, np.int64),
        "num_choices": np.zeros(shape, np.int64),
        "choice": np.full((*shape, MAX_CHOICES), -1, np.int64),
        "cumulative": np.ones((*shape, MAX_CHOICES), np.float64),
        "loop": np.array([row.loop for row in rows], np.int64),
        "goal": np.array([GOALS.index(row.goal) for row in rows], np.int64),
        "reaction": np.array([REACTIONS.index(row.reaction) for row in rows], np.int64),
        "entry_roles": np.array([[row.entry_roles.count(role) for role in ROLES] for row in rows], np.float64),
        "prefers_value": np.array([row.preference == "value" for row in rows], np.float64),
    }
    tables["entry_roles"] = tables["entry_roles"] / tables["entry_roles"].sum(axis=1, keepdims=True)
    for name in ("dwell", "stealth", "reentry"):
        tables[name] = np.array([getattr(row, name) for row in rows], np.float64)
    for f, row in enumerate(rows):
        for s, step in enumerate(row.plan):
            _fill_step(tables, (f, s), step)
    return tables


def _fill_step(tables: dict[str, np.ndarray], at: tuple[int, int], step: Step) -> None:
    count = len(step.choices)
    indices = [TECHNIQUE_INDEX[id] for id, _ in step.choices]
    weights = np.array([weight for _, weight in step.choices], np.float64)
    tables["tactic"][at] = TACTICS.index(step.tactic)
    tables["num_choices"][at] = count
    tables["choice"][at] = indices + indices[-1:] * (MAX_CHOICES - count)
    # the last is exactly 1, whatever rounding says
    tables["cumulative"][at][: count - 1] = (np.cumsum(weights) / weights.sum())[:-1]
