"""ATT&CK data and attacker families of soc-v1: what was released, what the numbers may be, what the kernels read."""

import dataclasses
import hashlib
import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from soc_env.errors import ConfigError
from soc_env.soc import attack
from soc_env.soc.attack import (
    CHANNELS,
    GOALS,
    REACTIONS,
    ROLES,
    TACTICS,
    TECHNIQUE_INDEX,
    TECHNIQUES,
    Technique,
    attack_techniques,
    technique,
    technique_tables,
)
from soc_env.soc.intruders import (
    INTRUDER_FAMILIES,
    MAX_CHOICES,
    MAX_PLAN,
    IntruderFamily,
    Step,
    families,
    family_tables,
    minutes_to_goal,
)

by_family = pytest.mark.parametrize("family", INTRUDER_FAMILIES, ids=lambda family: family.name)


def techniques_of(*of: IntruderFamily) -> set[str]:
    return {id for family in of for step in family.plan for id, _ in step.choices}


# ---------------------------------------------------------------------- ATT&CK
def test_all_691_live_techniques_are_named() -> None:
    known = attack_techniques()
    assert len(known) == 691
    assert sum("." in id for id in known) == 475, "sub-techniques"
    assert list(known) == sorted(known)
    assert all(re.fullmatch(r"T\d{4}(\.\d{3})?", id) and row.id == id and row.name for id, row in known.items())
    outside = {"reconnaissance", "resource-development"}
    assert {tactic for row in known.values() for tactic in row.tactics} == outside | set(TACTICS)
    assert known["T1486"].name == "Data Encrypted for Impact"
    assert known["T1055.013"].name == "Process Doppelgänging"
    assert known["T1078"].tactics == ("defense-evasion", "persistence", "privilege-escalation", "initial-access")


def test_techniques_with_dynamics_are_live_and_serve_one_of_their_tactics() -> None:
    assert len(TECHNIQUES) >= 64
    assert len({row.id for row in TECHNIQUES}) == len(TECHNIQUES)
    known = attack_techniques()
    assert [row.id for row in TECHNIQUES if row.id not in known or row.tactic not in known[row.id].tactics] == []
    assert {row.tactic for row in TECHNIQUES} == set(TACTICS)
    assert technique("T1003.001").name == "LSASS Memory"


def test_technique_by_id() -> None:
    assert all(technique(row.id) is row and TECHNIQUES[TECHNIQUE_INDEX[row.id]] is row for row in TECHNIQUES)
    with pytest.raises(ConfigError, match=r"technique 'T1003.002' has no dynamics; allowed: the \d+ ids of data"):
        technique("T1003.002")
    with pytest.raises(ConfigError, match=r"technique 'T1486.001' is no live technique of ATT&CK v18; allowed"):
        technique("T1486.001")


# ---------------------------------------------------------------------- numbers
def faults(row: Technique) -> list[str]:
    """Names of the fields whose value is not allowed."""
    unit = ("success", "detection", "severity", "confidence")
    wrong = [name for name in unit if not 0.0 <= getattr(row, name) <= 1.0]
    wrong += ["channel"] * (row.channel not in CHANNELS)
    wrong += ["minutes"] * (not 1 <= row.minutes <= 20)
    wrong += ["success"] * (row.success < 0.1)  # or campaigns get stuck
    wrong += ["delay"] * (not 0.0 <= row.delay <= 15.0)
    wrong += ["benign"] * (not 0.0 <= row.benign <= 20.0)
    wrong += ["events"] * (row.events < 1.0)
    alerting = (row.detection, row.delay, row.severity, row.confidence)
    return wrong + ["silent"] * (any(alerting) or row.benign > 0 if row.channel == "silent" else not all(alerting))


@pytest.mark.parametrize("row", TECHNIQUES, ids=lambda row: row.id)
def test_numbers_are_in_range(row: Technique) -> None:
    assert faults(row) == []


@pytest.mark.parametrize(
    ("id", "changes", "fault"),
    [
        ("T1486", {"detection": 1.1}, "detection"),
        ("T1486", {"severity": float("nan")}, "severity"),
        ("T1486", {"success": 0.0}, "success"),
        ("T1486", {"minutes": 0}, "minutes"),
        ("T1486", {"minutes": 21}, "minutes"),
        ("T1486", {"delay": 16.0}, "delay"),
        ("T1486", {"benign": -1.0}, "benign"),
        ("T1486", {"events": 0.0}, "events"),
        ("T1486", {"channel": "email"}, "channel"),
        ("T1486", {"detection": 0.0}, "silent"),
        ("T1068", {"detection": 0.1}, "silent"),
        ("T1068", {"benign": 1.0}, "silent"),
    ],
)
def test_a_wrong_number_is_seen(id: str, changes: dict, fault: str) -> None:
    assert fault in faults(dataclasses.replace(technique(id), **changes))


def test_silent_are_phishing_and_privilege_escalation() -> None:
    silent = {row.id for row in TECHNIQUES if row.channel == "silent"}
    expected = {r.id for r in TECHNIQUES if r.id.startswith("T1566.") or r.tactic == "privilege-escalation"}
    assert silent == expected


def test_lateral_movement_always_names_a_source_host() -> None:
    assert {row.channel for row in TECHNIQUES if row.tactic == "lateral-movement"} == {"network"}


@pytest.mark.parametrize(
    ("rows", "low", "high"),
    [
        ([t for t in TECHNIQUES if t.channel == "identity"], 0.1, 0.3),
        ([t for t in TECHNIQUES if t.channel == "network" and t.tactic == "discovery"], 0.25, 0.75),
        ([t for t in TECHNIQUES if t.tactic == "exfiltration"], 0.2, 0.5),
        ([t for t in TECHNIQUES if t.id.startswith("T1218.")], 0.2, 0.4),
        ([technique("T1190"), technique("T1210")], 0.5, 0.8),
        ([technique("T1486"), technique("T1485"), technique("T1561.002")], 0.8, 0.95),
    ],
    ids=["identity", "scans", "exfiltration", "signed binaries", "exploits", "destruction"],
)
def test_detection_agrees_with_its_stated_basis(rows: list[Technique], low: float, high: float) -> None:
    assert len(rows) >= 2
    assert [row.id for row in rows if not low <= row.detection <= high] == []


def malicious_weights(of: tuple[IntruderFamily, ...]) -> np.ndarray:
    """(T,) relative weight with which each rule fires on an undisturbed campaign before its goal."""
    weights = np.zeros(len(TECHNIQUES))
    for family in of:
        for index, step in enumerate(family.plan[:-1]):
            passes = sum(family.loop[2:]) / 2 if family.loop[0] <= index <= family.loop[1] else 1.0
            success = sum(weight * technique(id).success for id, weight in step.choices)
            for id, weight in step.choices:
                detection = technique(id).detection * (1.0 - family.stealth)
                weights[TECHNIQUE_INDEX[id]] += passes * weight / success * detection
    return weights


@pytest.mark.parametrize("column", ["severity", "confidence"])
def test_one_alert_is_weak_evidence(column: str) -> None:
    """The chance that a true alert looks worse than a false one: above a coin toss, far from certain."""
    value = technique_tables()[column]
    malicious, benign = malicious_weights(INTRUDER_FAMILIES), technique_tables()["benign"]
    worse = np.sign(value[:, None] - value[None, :]) / 2 + 0.5
    auc = malicious @ worse @ benign / malicious.sum() / benign.sum()
    assert 0.53 < auc < 0.7


def test_most_true_alerts_come_from_rules_that_benign_users_set_off_too() -> None:
    weights, benign = malicious_weights(INTRUDER_FAMILIES), technique_tables()["benign"]
    assert weights[benign >= 1.0].sum() / weights.sum() > 0.75
    noisy, clean = (technique_tables()["confidence"][where] for where in (benign >= 3.0, (benign > 0) & (benign < 1.0)))
    assert noisy.max() <= 0.5 < clean.mean()


# ---------------------------------------------------------------------- families
def test_families_that_were_asked_for() -> None:
    assert len({family.name for family in INTRUDER_FAMILIES}) == len(INTRUDER_FAMILIES)
    train, test = ({family.name: family for family in families(split)} for split in ("train", "test"))
    assert {"ransomware", "espionage", "web_shell", "insider", "credential_abuse"} <= set(train)
    assert len(test) >= 2
    assert {*train, *test} == {family.name for family in INTRUDER_FAMILIES}
    assert not set(train) & set(test)
    assert {name: train[name].reaction for name in ("ransomware", "espionage", "web_shell")} == {
        "ransomware": "rush",
        "espionage": "hide",
        "web_shell": "spread",
    }
    for field, names in (("goal", GOALS), ("reaction", REACTIONS)):
        assert {getattr(family, field) for family in train.values()} == set(names), f"every {field} can be learnt"
    with pytest.raises(ConfigError, match="split 'tset' does not exist; did you mean 'test'"):
        families("tset")


def test_held_out_families_bring_techniques_of_their_own() -> None:
    assert len(techniques_of(*families("test")) - techniques_of(*families("train"))) >= 10
    assert techniques_of(*INTRUDER_FAMILIES) == set(TECHNIQUE_INDEX), "every rule can be right about somebody"


@by_family
def test_plan_is_coherent(family: IntruderFamily) -> None:
    assert family.plan[0].tactic == "initial-access"
    assert family.plan[-1].tactic == {"encrypt": "impact", "exfiltrate": "exfiltration", "abuse": "impact"}[family.goal]
    for step in family.plan:
        assert {technique(id).tactic for id, _ in step.choices} == {step.tactic}
    tactics = [step.tactic for step in family.plan]
    assert {"execution", "credential-access", "discovery", "lateral-movement"} <= set(tactics)
    first, last = family.loop[:2]
    assert {"discovery", "lateral-movement"} == set(tactics[first : last + 1])


# How a family enters decides where it can: nobody phishes a server.
ENTRANCES = {
    "T1566.001": {"workstation"},
    "T1566.002": {"workstation"},
    "T1566.003": {"workstation"},
    "T1566.004": {"workstation", "cloud"},
    "T1189": {"workstation"},
    "T1190": {"server", "cloud"},
    "T1078.004": {"cloud"},
}


@by_family
def test_entry_fits_the_role(family: IntruderFamily) -> None:
    for id, _ in family.plan[0].choices:
        assert set(family.entry_roles) <= ENTRANCES.get(id, set(ROLES)), id


@by_family
def test_time_scale(family: IntruderFamily) -> None:
    expected = {"ransomware": (35, 50), "espionage": (80, 100)}
    low, high = expected.get(family.name, (40, 95))
    assert low <= minutes_to_goal(family) <= high


def test_minutes_to_goal_by_hand() -> None:
    plan = (
        Step("initial-access", (("T1190", 1.0),)),  # 4 min, 0.45
        Step("discovery", (("T1046", 3.0), ("T1082", 1.0))),  # 3 min, 0.9 and 1 min, 0.98
        Step("impact", (("T1486", 1.0),)),
    )
    family = dataclasses.replace(INTRUDER_FAMILIES[0], plan=plan, loop=(1, 1, 1, 4), dwell=2.0)
    assert minutes_to_goal(family) == pytest.approx(4 / 0.45 + 2 + 2.5 * (2.5 / (0.75 * 0.9 + 0.25 * 0.98) + 2))


PLAN = INTRUDER_FAMILIES[0].plan  # ransomware: ten steps, loop at 7 and 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"split": "tran"}, "split 'tran' does not exist; did you mean 'train'"),
        ({"goal": "fame"}, "goal 'fame' does not exist"),
        ({"reaction": "cry"}, "reaction 'cry' does not exist"),
        ({"preference": "none"}, "preference 'none' does not exist"),
        ({"entry_roles": ("sever",)}, "entry role 'sever' does not exist; did you mean 'server'"),
        ({"entry_roles": ()}, "at least one"),
        ({"entry_roles": ("cloud", "cloud")}, "each once"),
        ({"plan": PLAN[1:]}, "must start with initial-access"),
        ({"plan": PLAN[:1] * 2 + PLAN[1:]}, "must start with initial-access, and have no other"),
        ({"plan": PLAN[:-1]}, "must end with impact"),
        ({"plan": (*PLAN, PLAN[-1])}, "no exfiltration or impact before"),
        ({"goal": "exfiltrate"}, "must end with exfiltration"),
        ({"plan": PLAN[:1]}, "a plan of 1 steps; allowed: 2 to 16"),
        ({"plan": PLAN[:1] + PLAN[1:2] * 15 + PLAN[-1:]}, "a plan of 17 steps"),
        ({"plan": (PLAN[0], Step("executon", PLAN[1].choices), *PLAN[2:])}, "tactic 'executon' does not exist"),
        ({"plan": (PLAN[0], Step("execution", (("T9999", 1.0),)), *PLAN[2:])}, "a technique without dynamics, 'T9999'"),
        ({"plan": (PLAN[0], Step("execution", (("T1105", 1.0),)), *PLAN[2:])}, "T1105 is used for command-and-control"),
        ({"plan": (PLAN[0], Step("execution", (("T1047", 0.0),)), *PLAN[2:])}, "gives T1047 the weight 0.0"),
        ({"plan": (PLAN[0], Step("execution", (("T1047", float("nan")),)), *PLAN[2:])}, "weight nan"),
        ({"plan": (PLAN[0], Step("execution", (("T1047", 1.0),) * 2), *PLAN[2:])}, "1 to 8 different techniques"),
        ({"plan": (PLAN[0], Step("execution", ()), *PLAN[2:])}, "step 1 must have 1 to 8"),
        ({"loop": (0, 8, 1, 2)}, "between the first and the last step"),
        ({"loop": (7, 9, 1, 2)}, "between the first and the last step"),
        ({"loop": (8, 7, 1, 2)}, "between the first and the last step"),
        ({"loop": (7, 8, 0, 2)}, "passes of at least 1"),
        ({"loop": (7, 8, 3, 2)}, "passes of at least 1"),
        ({"stealth": 1.5}, "stealth=1.5; allowed: 0 to 1"),
        ({"reentry": float("nan")}, "reentry=nan; allowed: 0 to 1"),
        ({"dwell": -1.0}, "dwell=-1.0; allowed: 0 or more"),
    ],
)
def test_a_wrong_family_is_refused(changes: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)) as error:
        dataclasses.replace(INTRUDER_FAMILIES[0], **changes)
    assert str(error.value).startswith("family 'ransomware': ")
    assert "\n" not in str(error.value)


def test_families_are_values() -> None:
    assert pickle.loads(pickle.dumps(INTRUDER_FAMILIES)) == INTRUDER_FAMILIES
    assert len(set(INTRUDER_FAMILIES)) == len(INTRUDER_FAMILIES)
    with pytest.raises(dataclasses.FrozenInstanceError):
        INTRUDER_FAMILIES[0].stealth = 1.0  # type: ignore[misc]


# ---------------------------------------------------------------------- tables
def test_technique_tables_round_trip() -> None:
    tables = technique_tables()
    assert {name: values.dtype.str[1:] for name, values in tables.items()} == {
        "channel": "i8",
        "tactic": "i8",
        "minutes": "i8",
        **dict.fromkeys(("success", "detection", "delay", "severity", "confidence", "benign", "events"), "f8"),
    }
    rows = [
        Technique(
            id=TECHNIQUES[t].id,
            channel=CHANNELS[tables["channel"][t]],
            tactic=TACTICS[tables["tactic"][t]],
            **{name: tables[name][t].item() for name in tables if name not in ("channel", "tactic")},
        )
        for t in range(len(TECHNIQUES))
    ]
    assert tuple(rows) == TECHNIQUES


def test_family_tables_round_trip() -> None:
    tables = family_tables(INTRUDER_FAMILIES)
    for f, family in enumerate(INTRUDER_FAMILIES):
        assert tables["plan_length"][f] == len(family.plan)
        for s, step in enumerate(family.plan):
            count = tables["num_choices"][f, s]
            weights = np.diff(tables["cumulative"][f, s, :count], prepend=0.0)
            total = sum(weight for _, weight in step.choices)
            assert TACTICS[tables["tactic"][f, s]] == step.tactic
            assert [TECHNIQUES[t].id for t in tables["choice"][f, s, :count]] == [id for id, _ in step.choices]
            assert weights * total == pytest.approx([weight for _, weight in step.choices])
        assert tuple(tables["loop"][f]) == family.loop
        assert GOALS[tables["goal"][f]] == family.goal
        assert REACTIONS[tables["reaction"][f]] == family.reaction
        assert {role for role, weight in zip(ROLES, tables["entry_roles"][f], strict=True) if weight} == {
            *family.entry_roles
        }
        assert tables["prefers_value"][f] == (family.preference == "value")
        assert [tables[name][f] for name in ("dwell", "stealth", "reentry")] == [
            family.dwell,
            family.stealth,
            family.reentry,
        ]


def test_family_tables_are_safe_to_read() -> None:
    tables = family_tables(INTRUDER_FAMILIES)
    shapes = {name: (len(INTRUDER_FAMILIES), MAX_PLAN) for name in ("tactic", "num_choices")}
    shapes |= {name: (len(INTRUDER_FAMILIES), MAX_PLAN, MAX_CHOICES) for name in ("choice", "cumulative")}
    shapes |= {"loop": (len(INTRUDER_FAMILIES), 4), "entry_roles": (len(INTRUDER_FAMILIES), len(ROLES))}
    floats = {"cumulative", "entry_roles", "prefers_value", "dwell", "stealth", "reentry"}
    for name, values in tables.items():
        assert values.shape == shapes.get(name, (len(INTRUDER_FAMILIES),)), name
        assert values.dtype == (np.float64 if name in floats else np.int64), name
        assert values.flags.c_contiguous, name
    assert (MAX_PLAN, MAX_CHOICES) == (16, 8)
    assert np.all(np.diff(tables["cumulative"], axis=2) >= 0.0)
    assert np.all(tables["entry_roles"].sum(axis=1) == 1.0)
    step = np.arange(MAX_PLAN)[None, :]
    is_used = step < tables["plan_length"][:, None]
    last = np.take_along_axis(tables["cumulative"], np.maximum(tables["num_choices"] - 1, 0)[..., None], axis=2)
    assert np.all(last[..., 0] == 1.0), "exactly, or a draw of 0.999... falls out of the table"
    assert np.all(tables["choice"][is_used] >= 0)
    behind = np.arange(MAX_CHOICES) >= tables["num_choices"][..., None]
    last = np.take_along_axis(tables["choice"], np.maximum(tables["num_choices"] - 1, 0)[..., None], axis=2)
    assert np.all((tables["choice"] == last)[behind]), "behind the last choice it is repeated"
    for name, empty in (("tactic", -1), ("choice", -1), ("num_choices", 0), ("cumulative", 1.0)):
        assert np.all(tables[name][~is_used] == empty), name


def test_family_tables_are_fresh_and_follow_the_order_given() -> None:
    one, both = family_tables(INTRUDER_FAMILIES[1:2]), family_tables(iter((INTRUDER_FAMILIES[3], INTRUDER_FAMILIES[1])))
    for name, values in one.items():
        np.testing.assert_array_equal(values[0], both[name][1])
        values[...] = 0
    assert family_tables(INTRUDER_FAMILIES[1:2])["plan_length"] == [len(INTRUDER_FAMILIES[1].plan)]
    with pytest.raises(ConfigError, match="at least one"):
        family_tables(())


# ---------------------------------------------------------------------- files
def test_checksums_are_those_of_the_files_and_of_the_note() -> None:
    note = (attack.DATA / "README.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `([\w.]+)` \| `([0-9a-f]{64})`", note, re.MULTILINE))
    files = {file.name: hashlib.sha256(file.read_bytes().replace(b"\r\n", b"\n")) for file in attack.DATA.glob("*.csv")}
    assert attack.CHECKSUMS == listed == {name: digest.hexdigest() for name, digest in files.items()}
    needed = ["ATT&CK v18.1", "(c) 2026 Sherm Chu", "THE SOFTWARE IS PROVIDED", "ALL DOCUMENTS AND THE INFORMATION"]
    needed += ["© 2025 The MITRE Corporation. This work is reproduced and distributed with the permission of"]
    assert [words for words in needed if words not in note] == [], "licences have to accompany every copy"
    for count in (len(attack_techniques()), len(TECHNIQUES)):
        assert str(count) in note


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the data that the module reads instead of its own."""
    copy = Path(shutil.copytree(attack.DATA, tmp_path / "data"))
    monkeypatch.setattr(attack, "DATA", copy)
    return copy


READERS = {"techniques.csv": attack.read_techniques, "attack_v18.csv": attack_techniques.__wrapped__}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize("damage", ["one digit", "truncated", "no text", "missing"])
def test_a_damaged_file_is_refused(name: str, damage: str, data: Path) -> None:
    file, content = data / name, (data / name).read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        made = {"one digit": content.replace(b"1", b"2", 1), "truncated": content[:-200], "no text": b"\xff" + content}
        file.write_bytes(made[damage])
    problem = "cannot be read" if damage in ("no text", "missing") else "is damaged"
    with pytest.raises(ConfigError, match=f"data file {name} {problem}.*; reinstall hmarl-soc") as error:
        READERS[name]()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", READERS)
def test_line_ends_of_a_checkout_are_no_damage(name: str, data: Path) -> None:
    expected = READERS[name]()
    content = (data / name).read_bytes()
    (data / name).write_bytes(content.replace(b"\n", b"\r\n"))
    assert READERS[name]() == expected


def test_names_are_read_only_when_asked_for() -> None:
    script = "from soc_env.soc import attack, intruders; attack.technique_tables()"
    script += "; intruders.family_tables(intruders.INTRUDER_FAMILIES)"
    script += "; assert attack.attack_techniques.cache_info().misses == 0; attack.technique('T1486').name"
    script += "; assert attack.attack_techniques.cache_info().misses == 1"
    root = Path(__file__).parents[3]
    run = subprocess.run([sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr
