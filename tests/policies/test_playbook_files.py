"""Playbook files: the two that ship act as they do in Python, and every mistake is one line with its line number."""

from __future__ import annotations

import pickle
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from soc_playbooks import BY_HAND

from policies.scripted import PlaybookFile
from policies.scripted.playbook import shipped_file
from policies.scripted.playbook.reader import MAX_BYTES
from policies.scripted.playbook.terms import GROUPS, OF_LEVELS, OUTPUTS
from soc_env import Simulator
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ConfigError
from soc_env.soc.tables import (
    CASE_FEATURES,
    CLOCK_FEATURES,
    CORRELATE,
    ENRICH,
    ESCALATE,
    LEVEL_FEATURES,
    ZONE_FEATURES,
    features,
    layout,
)

NUM_ZONES = 5
SIMULATOR = Simulator("soc-v1", num_envs=1, seed=0)
COLUMNS = {name: k for k, name in enumerate(SIMULATOR.features(TRIAGE))}


def assert_alike(one, other, observations, decides):
    ours, theirs = one(observations, decides), other(observations, decides)
    assert list(ours) == list(theirs)
    for agent in ours:
        assert (ours[agent].dtype, ours[agent].shape) == (theirs[agent].dtype, theirs[agent].shape)
        np.testing.assert_array_equal(ours[agent], theirs[agent])
    return ours


# ---------------------------------------------------------------------- the playbooks that ship
@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("scenario", ["soc-v1", "soc-cage4-v0"])
def test_a_file_that_ships_acts_as_by_hand_while_it_plays(name, scenario):
    """6,400 situations of its own making, to the bit."""
    sim = Simulator(scenario, num_envs=64, seed=3, max_steps=80)
    sim.reset()
    file, by_hand = shipped_file(name)(sim.action_spaces), BY_HAND[name](sim.action_spaces)
    for _ in range(100):
        for agent, action in assert_alike(file, by_hand, sim.observations, sim.decides).items():
            sim.actions[agent][...] = action
        sim.step()


@pytest.mark.parametrize("name", BY_HAND)
@pytest.mark.parametrize("num_zones", [1, 5, 16])
@pytest.mark.parametrize("step", [0.0, 0.05])
def test_a_file_that_ships_acts_as_by_hand_on_random_observations(name, num_zones, step):
    """4,000 situations that need not be possible; rounded ones have ties and values right on thresholds."""
    sim = Simulator("soc-v1", num_envs=1, seed=0, num_zones=num_zones, num_hosts=64, num_networks=1)
    generator = np.random.default_rng(7)
    observations = {}
    for agent in AGENTS:
        rows = features(agent, num_zones)
        low, high = np.array([row.low for row in rows]), np.array([row.high for row in rows])
        drawn = low + (high - low) * generator.random((4_000, len(rows)))
        observations[agent] = (np.round(drawn / step) * step if step else drawn).astype(np.float32)
    one, other = shipped_file(name)(sim.action_spaces), BY_HAND[name](sim.action_spaces)
    assert_alike(one, other, observations, np.ones(4_000, bool))


def test_numbers_can_be_changed_for_a_search():
    expert = shipped_file("expert")
    changed = expert.with_numbers(hunt_base=0.5, isolate_risk=0.6)
    assert changed.numbers == {**expert.numbers, "hunt_base": 0.5, "isolate_risk": 0.6}
    seen = {agent: space_of(agent) for agent in AGENTS}
    by_hand = BY_HAND["expert"](SIMULATOR.action_spaces, hunt_base=0.5, isolate=0.6)
    assert_alike(changed(SIMULATOR.action_spaces), by_hand, seen, np.ones(50, bool))
    with pytest.raises(ConfigError, match="number 'isolate' does not exist; did you mean 'isolate_risk'"):
        expert.with_numbers(isolate=0.6)
    with pytest.raises(ConfigError, match="number hunt_base is nan"):
        expert.with_numbers(hunt_base=float("nan"))
    for again in (PlaybookFile.of_plain(changed.to_plain()), pickle.loads(pickle.dumps(changed))):
        assert again.numbers == changed.numbers
        assert again.sha256 == expert.sha256


def space_of(agent):
    generator = np.random.default_rng(1)
    return generator.random((50, len(SIMULATOR.features(agent)))).astype(np.float32)


# ---------------------------------------------------------------------- what rules mean
def play(text, num_envs=1, **values):
    """Actions on observations of zeros but for `values`: "zone1_top_risk" -> a number or one for each environment."""
    seen = {agent: np.zeros((num_envs, len(SIMULATOR.features(agent))), np.float32) for agent in AGENTS}
    for name, value in values.items():
        seen[TRIAGE][:, COLUMNS[name]] = value
    return PlaybookFile(text, "mine.toml")(SIMULATOR.action_spaces)(seen, np.ones(num_envs, bool))


def levels(action):
    return (np.asarray(action, float) + 1) / 2


def hunting(expression, **values):
    """The efforts in the zones that an expression gives; 1/100 of it, so that results up to 100 can be told."""
    text = f'[threat_hunter]\nhunt = "({expression}) / 100"\n'
    return (100 * levels(play(text, **values)[HUNTER][0, :NUM_ZONES])).round(3).tolist()


def test_what_no_rule_says_is_at_rest():
    actions = play('[threat_hunter]\ndepth = "zone.value"\n')
    assert actions[TRIAGE].tolist() == [ENRICH]
    assert levels(actions[ORCHESTRATOR][0]).tolist() == [0.5] * 5 + [0.0] * 7
    assert not levels(actions[HUNTER]).any()
    assert not actions[COORDINATOR].any()


def test_the_first_rule_that_holds_counts():
    text = """
[alert_triage]
choice = ["case.severity > 0.5 -> escalate", "case.confidence > 0.5 -> correlate"]
[response_orchestrator]
contain = ["zone.top_risk > 0.8 -> isolate", "zone.top_risk > 0.2 -> release", "zone.value > 0.5 -> 0.6"]
"""
    actions = play(
        text,
        4,
        case0_severity=[0.6, 0.6, 0, 0],
        case0_confidence=[0, 0.9, 0.9, 0],
        zone0_top_risk=[0.9, 0.5, 0.1, 0.1],
        zone0_value=[1.0, 1.0, 1.0, 0.0],
        zone3_top_risk=0.9,
    )
    assert actions[TRIAGE].tolist() == [ESCALATE, ESCALATE, CORRELATE, ENRICH]
    assert levels(actions[ORCHESTRATOR][:, 0]) == pytest.approx([0.85, 0.1, 0.6, 0.5])
    assert levels(actions[ORCHESTRATOR][:, 3]) == pytest.approx([0.85] * 4)
    assert levels(actions[ORCHESTRATOR][:, 1]) == pytest.approx([0.5] * 4)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("zone.value", [0, 0.2, 0.4, 0.6, 0.8]),
        ("2 * zone.value + 1 - -zone.value", [1, 1.6, 2.2, 2.8, 3.4]),
        ("1 / zone.value", [0, 5, 2.5, 1.667, 1.25]),  # 0 where the divisor is 0
        ("1 / (zone.value - 0.2)", [0, 0, 5, 2.5, 1.667]),  # what is below 0 is cut off at the range's end
        ("zone.value if 0.2 <= zone.value < 0.7 else 9", [9, 0.2, 0.4, 0.6, 9]),
        ("1 if zone.value > 0.3 and not zone.value > 0.7 or zone.value == 0 else 0", [1, 0, 1, 1, 0]),
        ("max(zone.value)", [0.8] * 5),
        ("min(zone.value) + 1", [1] * 5),
        ("max(zone.value, 0.5, clock.queue)", [0.5, 0.5, 0.5, 0.6, 0.8]),
        ("min(zone.value, clock.queue)", [0, 0.2, 0.3, 0.3, 0.3]),
        ("sum(zone.value)", [2.0] * 5),
        ("mean(zone.value)", [0.4] * 5),
        ("count(zone.value > 0.3)", [3] * 5),
        ("count(cases.severity > 0.3)", [2] * 5),
        ("max(cases.severity) - case.severity", [0.5] * 5),
        ("10 if any(zone.value > 0.7) else 20", [10] * 5),
        ("10 if all(zone.value > 0.7) else 20", [20] * 5),
        ("rank(zone.value)", [4, 3, 2, 1, 0]),
        ("rank(-zone.value)", [0, 1, 2, 3, 4]),
        ("rank(zone.size)", [0, 1, 2, 3, 4]),  # of equal ones the first comes first
        ("1 if rank(zone.value) < 2 else 0", [0, 0, 0, 1, 1]),
        ("clip(zone.value, 0.3, 0.5)", [0.3, 0.3, 0.4, 0.5, 0.5]),
        ("abs(zone.value - 0.4)", [0.4, 0.2, 0, 0.2, 0.4]),
        ("logistic(0) + logistic(99) + logistic(-99)", [1.5] * 5),
        ("directive.hunt_posture + directive.priority", [0.25, 0.75, 0.25, 0.25, 0.25]),
    ],
)
def test_an_expression_is_calculated(expression, expected):
    values = {f"zone{z}_value": z / 5 for z in range(NUM_ZONES)}
    values |= {"clock": 0.5, "queue": 0.3, "case0_severity": 0.4, "case5_severity": 0.9}
    values |= {"directive_hunt_posture": 0.25, "directive_priority_1": 0.5}
    assert hunting(expression, **values) == pytest.approx(expected, abs=2e-3)


def test_a_quotient_is_cut_off():
    for value, expected in ((1e-30, 50), (-1e-30, 0), (0, 0), (0.5, 1e-4)):
        assert hunting("1 / zone.size / 20000", zone2_size=value)[2] == pytest.approx(expected, abs=1e-3)


def test_values_are_named_once_and_switches_take_conditions():
    text = """
[numbers]
few = 2
[values]
is_bad = "zone.top_risk > 0.5"
spread = "count(is_bad)"
[threat_hunter]
decoy = "is_bad"
intel_sweep = ["spread > few -> on", "clock.indicators > 0 -> on"]
[strategic_coordinator]
priority = "spread / 4 - 1"
response_posture = -0.5
"""
    actions = play(text, 2, zone0_top_risk=[0.9, 0.9], zone2_top_risk=[0.0, 0.9], zone4_top_risk=[0.0, 0.9])
    assert levels(actions[HUNTER][:, 10:]).tolist() == [[1, 0, 0, 0, 0, 0], [1, 0, 1, 0, 1, 1]]
    assert actions[COORDINATOR].tolist() == [[-0.75] * 5 + [0, 0, -0.5], [-0.25] * 5 + [0, 0, -0.5]]


def test_features_of_levels_are_read_where_there_are_levels_and_named_where_not():
    text = """
[numbers]
root = 0.9
[values]
is_held = "zone.top_level > root"
[response_orchestrator]
remediate = ["is_held -> reimage", "zone.kill_risk > 0.6 -> kill_process"]
"""
    file = PlaybookFile(text, "mine.toml")
    assert file.levels_at == "mine.toml:5: values.is_held: zone.top_level"
    names = [feature.name for feature in features(TRIAGE, NUM_ZONES, True)]
    seen = np.zeros((1, len(names)), np.float32)
    seen[0, names.index("zone3_top_level")] = 1.0
    seen[0, names.index("zone1_kill_risk")] = 0.7
    actions = file(SIMULATOR.action_spaces)({TRIAGE: seen}, np.ones(1, bool))
    assert levels(actions[ORCHESTRATOR][0, NUM_ZONES : 2 * NUM_ZONES]).round(2).tolist() == [0, 0.65, 0, 0.95, 0]
    old = np.zeros((1, layout(TRIAGE, NUM_ZONES).size), np.float32)
    with pytest.raises(ConfigError, match=r"^mine.toml:5: values.is_held: zone.top_level needs a scenario whose .*v2"):
        file(SIMULATOR.action_spaces)({TRIAGE: old}, np.ones(1, bool))
    assert PlaybookFile('[threat_hunter]\nhunt = "zone.value"\n', "mine.toml").levels_at == ""


def test_every_name_of_the_tables_can_be_used():
    """Features of all groups, and all entries of actions, from the tables of the family."""
    every = [f"{group}.{name}" for group, members in GROUPS.items() for name in members]
    terms = [term for term in every if term not in OF_LEVELS]
    assert len(every) == len(terms) + 2 * len(LEVEL_FEATURES)
    assert len(terms) == 2 * len(ZONE_FEATURES) + 2 * len(CASE_FEATURES) + len(CLOCK_FEATURES) + 4
    for term in terms:
        wrapped = f"max({term})" if term.startswith("cases.") else term
        group, _, feature = term.partition(".")
        name = {"zone": "zone2_", "case_zone": "zone2_", "case": "case0_", "cases": "case3_", "clock": ""}.get(group)
        column = f"directive_{feature}" if name is None else f"{name}{feature}"
        column = column.replace("directive_priority", "directive_priority_2")
        about = {"case0_zone": 2 / 16} if group == "case_zone" else {}  # the case is one of the third zone
        assert hunting(wrapped, **{column: 0.75, **about})[2] == 0.75, term
    entries = {key for keys in OUTPUTS.values() for key in keys}
    assert len(entries) == 1 + 4 + 4 + 4
    for table, keys in OUTPUTS.items():
        for key, output in keys.items():
            for word in output.words:
                play(f'[{table}]\n{key} = ["clock.queue > 0.5 -> {word}"]\n')


# ---------------------------------------------------------------------- mistakes
RULES = "[threat_hunter]\nhunt = 0.5\n"
MISTAKES = {
    "no TOML": ("hunt = \n", 1, "is not TOML (Invalid value)"),
    "no end": ('about = "x"\n[numbers]\na = "', 3, "is not TOML"),
    "a key twice": ("[numbers]\na = 1\na = 2\n", 3, "is not TOML (Cannot overwrite a value)"),
    "empty": ("", 1, "has no rule; allowed: some in alert_triage, threat_hunter"),
    "misspelt table": ("\n[threat_hunters]\nhunt = 1\n", 2, "did you mean 'threat_hunter'"),
    "unknown table": ("\n[numbers]\n[x.y]\n", 3, "table 'x' does not exist; allowed: about, alert_triage"),
    "no table": ("threat_hunter = 3\n", 1, "threat_hunter: is int 3, allowed: a table"),
    "an array of tables": ("[[threat_hunter]]\nhunt = 1\n", 1, "threat_hunter: is a list, allowed: a table"),
    "about: is a number": (f"about = 1\n{RULES}", 1, "about: is int 1, allowed: text"),
    "misspelt action": ("[response_orchestrator]\n\ncontian = 0.5\n", 3, "did you mean 'contain'"),
    "action of another agent": ("[threat_hunter]\ncontain = 0.5\n", 2, "allowed: decoy, depth, hunt, intel_sweep"),
    "text as a number": ('[numbers]\na = "1"\n' + RULES, 2, "numbers.a: is text '1', allowed: a number"),
    "a flag as a number": ("[numbers]\na = true\n" + RULES, 2, "numbers.a: is bool True, allowed: a number"),
    "a date as a number": ("[numbers]\na = 2020-01-01\n" + RULES, 2, "numbers.a: is date"),
    "infinity": ("[numbers]\na = inf\n" + RULES, 2, "numbers.a: is inf, allowed: up to 1000000, and finite"),
    "no number": ("[numbers]\na = 1\nb = nan\n" + RULES, 3, "numbers.b: is nan"),
    "a large number": ("[numbers]\na = 1e7\n" + RULES, 2, "numbers.a: is 10000000.0"),
    "a huge number": (f"[numbers]\na = {'9' * 900}\n" + RULES, 2, "numbers.a: is 999"),
    "a name with a dash": ("[numbers]\na-b = 1\n" + RULES, 2, "numbers.a-b: is no name"),
    "a keyword": ("[numbers]\nif = 1\n" + RULES, 2, "numbers.if: is no name"),
    "an empty name": ('[numbers]\n"" = 1\n' + RULES, 2, "numbers.'': is no name"),
    "a tool's name": ("[numbers]\nisolate = 1\n" + RULES, 2, "numbers.isolate: has the name of a tool"),
    "a function's name": ('[values]\nmax = "1"\n' + RULES, 2, "values.max: has the name of"),
    "a number's name": ('[numbers]\na = 1\n[values]\na = "1"\n' + RULES, 4, "values.a: has the name of a number"),
    "an unused number": ("[numbers]\na = 1\n" + RULES, 2, "numbers.a: is used nowhere"),
    "an unused value": ('[values]\na = "1"\n' + RULES, 2, "values.a: is used nowhere"),
    "a value that is none": ("[values]\na = 1\n" + RULES, 2, "values.a: is int 1, allowed: the text of an expression"),
    "a value of a later one": (
        '[values]\na = "b + 1"\nb = "2"\n[threat_hunter]\nhunt = "a"\n', 2, "values.a: name 'b' does not exist"),
    "rules that are none": ("[threat_hunter]\nhunt = true\n", 2, "threat_hunter.hunt: is bool True, allowed: rules"),
    "an infinite level": ("[threat_hunter]\nhunt = inf\n", 2, "threat_hunter.hunt: is float inf"),
    "no rules": ("[threat_hunter]\nhunt = []\n", 2, "threat_hunter.hunt: has 0 rules, allowed: 1 to 300"),
    "a rule that is none": (
        '[threat_hunter]\nhunt = [\n  "clock.queue > 1 -> 0.5",\n  3,\n]\n', 4, "threat_hunter.hunt[1]: is int 3"),
    "a rule in a list": ('[threat_hunter]\nhunt = [["1"]]\n', 2, "threat_hunter.hunt[0]: is a list"),
    "a rule below one without condition": (
        '[threat_hunter]\nhunt = [\n "0.5",\n "clock.queue > 1 -> 0.1",\n]\n', 3, "hunt[0]: has no condition"),
    "two arrows": ('[threat_hunter]\nhunt = "1 > 2 -> 3 -> 4"\n', 2, "has 2 arrows, allowed: condition -> level"),
    "a number as a condition": ('[threat_hunter]\nhunt = "zone.value -> 1"\n', 2, "has a number before ->"),
    "a condition as a level": ('[threat_hunter]\nhunt = "zone.value > 0"\n', 2, "is a condition, allowed: a level"),
    "a level out of range": ("[threat_hunter]\nhunt = 1.5\n", 2, "is the level 1.5, allowed: 0 to 1"),
    "a posture out of range": (
        "[strategic_coordinator]\nhunt_posture = -2\n", 2, "is the level -2, allowed: -1 to 1"),
    "a misspelt choice": (
        '[alert_triage]\nchoice = [\n "clock.queue > 0 -> escalte",\n]\n', 3, "did you mean 'escalate'"),
    "a number as a choice": ("[alert_triage]\nchoice = 1\n", 2, "choice '1' does not exist; allowed: correlate"),
    "a word of another action": ('[threat_hunter]\nhunt = "isolate"\n', 2, "name 'isolate' does not exist"),
    "a misspelt feature": (
        '[threat_hunter]\nhunt = [\n "zone.value > 0 -> 0.1",\n "zone.top_rsk > 0 -> 1",\n]\n', 4,
        "threat_hunter.hunt[1]: feature of zone 'top_rsk' does not exist; did you mean 'top_risk'? allowed: admin"),
    "a bare feature": ('[threat_hunter]\nhunt = "top_risk"\n', 2, "'top_risk' is a feature; write zone.top_risk"),
    "a misspelt group": ('[threat_hunter]\nhunt = "zones.value"\n', 2, "did you mean 'zone'"),
    "a misspelt name": ('[numbers]\nlow = 1\n[threat_hunter]\nhunt = "lo"\n', 4, "did you mean 'low'"),
    "a misspelt function": ('[threat_hunter]\nhunt = "maxx(zone.value)"\n', 2, "did you mean 'max'"),
    "a function without call": ('[threat_hunter]\nhunt = "max"\n', 2, "'max' is a function; write max(x, y, ...)"),
    "too few arguments": ('[threat_hunter]\nhunt = "clip(zone.value)"\n', 2, "allowed: clip(x, low, high)"),
    "named arguments": ('[threat_hunter]\nhunt = "abs(x=1)"\n', 2, "allowed: abs(x)"),
    "an aggregate of one": ('[threat_hunter]\nhunt = "max(clock.queue)"\n', 2, "max(x) is of one number"),
    "a number to count": ('[threat_hunter]\nhunt = "count(zone.value)"\n', 2, "count(c) needs a condition"),
    "a condition to add": ('[threat_hunter]\nhunt = "1 + (zone.value > 0)"\n', 2, "+ needs a number"),
    "a number for and": (
        '[threat_hunter]\nhunt = "zone.value and zone.size > 0 -> 1"\n', 2, "'and' needs a condition, 'zone.value'"),
    "branches of two kinds": ('[threat_hunter]\nhunt = "1 if 1 > 0 else 1 > 0"\n', 2, "'if' gives a number, 'else' a"),
    "zones and cases": ('[threat_hunter]\nhunt = "zone.value + cases.age"\n', 2, "mixes zone.x and cases.x"),
    "zones for one": (
        '[threat_hunter]\nintel_sweep = "zone.value > 0"\n', 2, "zone.x in min, max, sum, mean, count, any, all"),
    "cases for zones": ('[threat_hunter]\nhunt = "cases.age"\n', 2, "allowed: cases.x in min, max"),
    "zones for a choice": ('[alert_triage]\nchoice = "zone.value > 0 -> escalate"\n', 2, "a number for each zone"),
    "division by 0": ('[threat_hunter]\nhunt = "zone.value / 0"\n', 2, "divides by 0"),
    "division by a number 0": (
        '[numbers]\na = 0\n[threat_hunter]\nhunt = "zone.value / (a * 2)"\n', 4, "divides by 0"),
    "overflow": ('[threat_hunter]\nhunt = "1e6 * 1e6 * 1e6 * 1e6 * 1e6 * 1e6"\n', 2, "1e+36, allowed"),
    "what can overflow": (
        '[threat_hunter]\nhunt = "zone.value * 1e6 * 1e6 * 1e6 * 1e6 * 1e6 * 1e6"\n', 2, "can be as large as 1e+36"),
    "a number out of range": ('[threat_hunter]\nhunt = "zone.value * 1e999"\n', 2, "has a number out of range"),
    "a power": ('[threat_hunter]\nhunt = "2 ** 2"\n', 2, "allowed: numbers, names, group.feature, + - * /"),
    "another language's and": (
        '[threat_hunter]\nhunt = "zone.value > 0 & zone.size > 0 -> 1"\n', 2, "'&' is not allowed; allowed: numbers"),
    "an identity": ('[threat_hunter]\nhunt = "zone.value is 0 -> 1"\n', 2, "'is' is not allowed"),
    "a complement": ('[threat_hunter]\nhunt = "~zone.value"\n', 2, "'~' is not allowed"),
    "a group": ('[threat_hunter]\nhunt = "zone"\n', 2, "'zone' is a group of features; write one of them"),
    "a call of a method": ('[threat_hunter]\nhunt = "zone.value.sum()"\n', 2, "function 'zone.value.sum' does"),
    "an attribute": ('[threat_hunter]\nhunt = "zone.value.T"\n', 2, "'zone.value.T' is not allowed"),
    "a dunder": ('[threat_hunter]\nhunt = "zone.__class__"\n', 2, "feature of zone '__class__' does not exist"),
    "a lambda": ('[threat_hunter]\nhunt = "(lambda: 1)()"\n', 2, "does not exist"),
    "a comprehension": ('[threat_hunter]\nhunt = "[1 for x in zone]"\n', 2, "is not allowed; allowed: numbers"),
    "an index": ('[threat_hunter]\nhunt = "zone[0]"\n', 2, "'zone[0]' is not allowed"),
    "a walrus": ('[threat_hunter]\nhunt = "(a := 1)"\n', 2, "is not allowed"),
    "text": ("""[threat_hunter]\nhunt = "__import__('os')"\n""", 2, "has the character"),
    "a comment": ('[threat_hunter]\nhunt = "1 # x"\n', 2, "has the character '#'"),
    "another alphabet": ('[threat_hunter]\nhunt = "zоne.value"\n', 2, "has the character 'о'"),
    "an empty expression": ('[threat_hunter]\nhunt = "-> 1"\n', 2, "is empty; allowed: an expression"),
    "no expression": ('[threat_hunter]\nhunt = "1 +"\n', 2, "cannot be read at its end"),
    "a closed parenthesis": ('[threat_hunter]\nhunt = "1) + (2"\n', 2, "cannot be read at ') + (2'"),
    "a wrong line of a long text": (
        '[values]\nodds = """\n  1\n  + 2\n  + case.sverity\n"""\n' + RULES, 5, "did you mean 'severity'"),
    "a wrong line of an unreadable text": ('[values]\nodds = """\n  1\n  + 2\n  + + * 3\n"""\n' + RULES, 5, "'* 3'"),
    "too long": (f'[threat_hunter]\nhunt = """\n{"1 + " * 240}\n{"1 + " * 20} 1"""\n', 3, "characters, allowed: 1000"),
    "too deep": (f'[threat_hunter]\nhunt = "{"-" * 80}1"\n', 2, "nested more than 50 levels deep"),
    "far too deep": (f'[threat_hunter]\nhunt = "{"-" * 950}1"\n', 2, "deep"),
    "too deep in what is not allowed": (f'[threat_hunter]\nhunt = "[{"-" * 900}1]"\n', 2, "levels deep"),
    "parentheses too deep": (f'[threat_hunter]\nhunt = "{"(" * 300}1{")" * 300}"\n', 2, "cannot be read"),
    "a long line": (f"# {'x' * 1000}\n", 1, "has 1002 characters, allowed: 1000"),
    "nested lists": ("x = [\n" + "[\n" * 5_000, None, "is nested too deeply"),
    "many numbers": ("[numbers]\n" + "".join(f"a{k} = 1\n" for k in range(301)), 1, "has 301 entries, allowed: 300"),
    "many rules": ("[threat_hunter]\nhunt = [\n" + '"1",\n' * 301 + "]\n", 2, "has 301 rules"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_with_its_line_number(name):
    text, line, says = MISTAKES[name]
    with pytest.raises(ConfigError) as caught:
        PlaybookFile(text, "mine.toml")
    message = str(caught.value)
    assert "\n" not in message
    place = re.match(r"mine\.toml:(\d+): ", message)
    assert place, message
    assert line in (None, int(place[1])), message
    assert says in message
    assert len(message) < 800


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"# " + b"x" * MAX_BYTES, "is too large; allowed: 65536 bytes"),
        (b"[numbers]\na = 1\nb = '\xff'\n", "mine.toml:3: is not UTF-8 text"),
        (None, "cannot be read (No such file or directory)"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path, content, says):
    path = tmp_path / "mine.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=re.escape(says)):
        PlaybookFile.of_path(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(ConfigError, match=r"cannot be read \(it is a folder or a device\)"):
        PlaybookFile.of_path(tmp_path)


def test_lines_end_as_they_may(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_bytes(b'[values]\r\nx = """\r\n1\r\n+ zone.valu"""\r\n')
    with pytest.raises(ConfigError, match=r"mine\.toml:4: values\.x: .*did you mean 'value'"):
        PlaybookFile.of_path(path)


def test_data_that_is_no_playbook():
    plain = shipped_file("expert").to_plain()
    assert PlaybookFile.of_plain(plain).to_plain() == plain
    for change, says in (
        ({"text": plain["text"].replace("0.83", "0.84")}, "is not the one that its sha256 is of"),
        ({"text": "x" * (MAX_BYTES + 1)}, "is too large"),
        ({"numbers": 3}, "allowed: file, sha256, text, numbers"),
        ({"numbers": {"isolate_risk": "1"}}, "number isolate_risk is '1'"),
        ({"file": 1}, "allowed: file, sha256, text, numbers"),
        ({"more": 1}, "allowed: file, sha256, text, numbers"),
    ):
        with pytest.raises(ConfigError, match=says):
            PlaybookFile.of_plain({**plain, **change})


def test_other_agents_are_refused():
    file = shipped_file("expert")
    for spaces in ({}, {**SIMULATOR.action_spaces, HUNTER: None}):
        with pytest.raises(ConfigError, match="plays the agents of soc-v1's family"):
            file(spaces)
    other = Simulator("paper-v0")  # spaces of the same shapes, other observations
    other.reset()
    with pytest.raises(ConfigError, match="observes 64 numbers, allowed"):
        file(other.action_spaces)(other.observations, other.decides)


# ---------------------------------------------------------------------- anything else
PIECES = [
    "[numbers]", "[values]", "[threat_hunter]", "[alert_triage]", "[[x]]", "hunt", "choice", "depth", "a", "b", " = ",
    "=", "\n", "\n", "\n", '"', "'", '"""', "'''", "[", "]", "{", "}", ",", ".", "->", "zone.value", "case.age",
    "cases.age", "clock.queue", "a", "1", "0.5", "-1", "1e9", "nan", "inf", "true", "1979-05-27T07:32:00Z", "max(",
    "rank(", ")", "(", " + ", " / ", " > ", " and ", " if ", " else ", "not ", "escalate", "isolate", "#", "\\", "\t",
    "é", "\x00", "\r\n", "  ", "_", "0x", "lambda", "**", "__class__",
]  # fmt: skip


def assert_read_or_refused(text):
    """Either it plays, with finite actions, or it is refused in one line of ours."""
    file, message = None, ""
    try:
        file = PlaybookFile(text, "mine.toml")
    except ConfigError as error:
        message = str(error)
    if file is None:
        assert re.match(r"mine\.toml:[1-9]\d*: [^\n]*$", message), message
        assert int(message.split(":")[1]) <= text.count("\n") + 1, message
        return
    drawn = np.random.default_rng(0).choice([-1.0, 0.0, 0.3, 1.0], (3, len(COLUMNS))).astype(np.float32)
    seen = {agent: drawn[:, : len(SIMULATOR.features(agent))] for agent in AGENTS}
    for agent, action in file(SIMULATOR.action_spaces)(seen, np.ones(3, bool)).items():
        assert np.isfinite(action).all()
        assert (action >= (0 if agent == TRIAGE else -1)).all()
        assert (action <= (3 if agent == TRIAGE else 1)).all()


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(PIECES), max_size=40).map("".join))
def test_no_text_ends_in_another_error(text):
    assert_read_or_refused(text)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(["rule-soar", "expert"]), st.integers(0, 10**6), st.integers(0, 30), st.sampled_from(PIECES))
def test_no_change_of_a_file_that_ships_ends_in_another_error(name, at, cut, piece):
    text = shipped_file(name).text
    at %= len(text)
    assert_read_or_refused(text[:at] + piece + text[at + cut :])


@settings(max_examples=300, deadline=None)
@given(st.recursive(
    st.sampled_from(["zone.value", "zone.top_risk", "clock.queue", "case.age", "cases.age", "1", "0", "1e6", "0.001"]),
    lambda inner: st.tuples(st.sampled_from(
        ["({} + {})", "({} - {})", "({} * {})", "({} / {})", "max({}, {})", "({} if {} > 0 else 1)", "rank({}) + {}",
         "count({} > {})", "clip({}, 0, {})", "-abs({}) * {}", "logistic({}) / {}"]), inner, inner,
    ).map(lambda part: part[0].format(part[1], part[2])),
    max_leaves=25,
))  # fmt: skip
def test_what_is_calculated_is_always_finite(expression):
    assert_read_or_refused(f'[threat_hunter]\nhunt = "{expression}"\n')
