"""Tables of `soc_env`: tools, features, actions, state, reward terms, metrics, scenario fields, attacker families."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import soc_env
from cyborg_bridge.soc_verbs import VERBS
from soc_env.soc.attack import TECHNIQUES, technique
from soc_env.soc.intruders import INTRUDER_FAMILIES
from soc_env.soc.tables import LEVEL_FEATURES, TOOLS, Tool
from soc_env.soc.tables import tools as tools_of
from tables.markdown import NUMBER, allowed, code, folded, table


@functools.cache
def _simulator(scenario: str) -> soc_env.Simulator:
    return soc_env.Simulator(scenario, num_envs=1, seed=0)


def tools() -> str:
    """The tools of soc-v1: what a call takes."""
    columns = (
        "tool", "platform", "agent", "target", "minutes", "analyst minutes", "disruption", "failure", "price", "risk",
    )  # fmt: skip
    return table(columns, [_tool_row(tool, "soc-v1") for tool in TOOLS], "llllrrrrrl")


def _tool_row(t: Tool, scenario: str) -> tuple[Any, ...]:
    price = f"{t.price(soc_env.SCENARIOS[scenario]):g}"
    return (code_of(t.name), t.platform, role(t.owner), t.target, t.minutes, f"{t.analyst_minutes:g}",
            f"{t.disruption:g}", f"{t.failure:g}", price, t.risk_class)  # fmt: skip


def tool_changes(scenario: str, base: str) -> str:
    """The tools that one scenario has otherwise than another."""
    rows = []
    for one, other in zip(*(tools_of(soc_env.SCENARIOS[name]) for name in (scenario, base)), strict=True):
        if one != other:
            for name, tool in ((base, other), (scenario, one)):
                row = _tool_row(tool, name)
                rows.append((row[0], name, row[4], *row[6:9], tool.precondition, tool.effect))
    columns = ("tool", "scenario", "minutes", "disruption", "failure", "price", "needs", "effect")
    return table(columns, rows, "llrrrrll")


def level_features() -> str:
    """What zones have beside the others where findings have levels."""
    return table(
        ("entry of a zone", "what it is", "source"), [(code_of(f.name), f.unit, f.source) for f in LEVEL_FEATURES]
    )


def cage4_verbs() -> str:
    """What the tools are in CAGE Challenge 4."""
    rows = [
        (code_of(name), code_of(verb.verb) if verb.verb else "", verb.how, verb.ticks, f"{verb.price:g}")
        for name, verb in VERBS.items()
    ]
    return table(("tool", "CC4", "how", "steps", "points"), rows, "lllrr")


def tool_effects() -> str:
    """The tools of soc-v1: what a call does."""
    rows = [(code_of(t.name), _sentence(t.effect), _sentence(t.precondition)) for t in TOOLS]
    return table(("tool", "effect", "needs"), rows)


def agents(scenario: str) -> str:
    """Sizes of observations and actions."""
    sim = _simulator(scenario)
    rows = []
    for agent, actions in sim.action_tables.items():
        is_choice = agent == "alert_triage_0"
        sent = f"Discrete({len(actions)})" if is_choice else f"Box(-1, 1, ({len(actions)},))"
        rows.append((code_of(agent), len(sim.feature_tables[agent]), sent, actions[0].tool))
    return table(("agent", "entries observed", "action", "drives"), rows, "lrll")


def features(scenario: str, agent: str) -> str:
    """An agent's observation."""
    return _feature_table(_simulator(scenario).feature_tables[agent])


def state(scenario: str) -> str:
    """`state()`; what it repeats of triage's observation is one line."""
    sim = _simulator(scenario)
    rows, seen = sim.state_table, sim.feature_tables["alert_triage_0"]
    if tuple(rows[: len(seen)]) != tuple(seen):
        return _feature_table(rows)
    text = _feature_table(rows[len(seen) :], start=len(seen))
    return f"Entries 0 to {len(seen) - 1} are the observation of `alert_triage_0`. Then comes the truth.\n\n{text}"


def _feature_table(rows: Sequence[Any], start: int = 0) -> str:
    lines = []
    for pattern, places in folded([row.name for row in rows]):
        group = [rows[place] for place in places]
        first = group[0]
        span = f"{first.low:g} to {first.high:g}"
        lines.append((_names(pattern, group), _places(places, start), span, _common(group, "unit"), first.source))
    return table(("entry", "index", "range", "what it is", "source"), lines)


def _names(pattern: str, group: Sequence[Any]) -> str:
    first, last = group[0].name, group[-1].name
    return code_of(first) if first == last else f"{code_of(first)} ... {code_of(last)}"


def _places(places: Sequence[int], start: int) -> str:
    """0; 0 to 4 where they follow each other; 5, 27, ... 93 where they do not."""
    at = [start + place for place in places]
    if len(at) == 1:
        return str(at[0])
    if at == list(range(at[0], at[-1] + 1)):
        return f"{at[0]} to {at[-1]}"
    return f"{at[0]}, {at[1]}, ... {at[-1]}" if len(at) > 2 else f"{at[0]}, {at[1]}"


def _common(group: Sequence[Any], attribute: str) -> str:
    """The text that all rows of a group share; a number in which they differ becomes z."""
    texts = list(dict.fromkeys(getattr(row, attribute) for row in group))
    if len({NUMBER.sub("", text) for text in texts}) > 1:
        return f"{texts[0]}; ...; {texts[-1]}"
    columns = zip(*(NUMBER.findall(text) for text in texts), strict=True)
    numbers = iter([column[0] if len(set(column)) == 1 else "z" for column in columns])
    return NUMBER.sub(lambda _: next(numbers), texts[0])


def actions(scenario: str, agent: str) -> str:
    """An agent's action."""
    rows = _simulator(scenario).action_tables[agent]
    lines = []
    for pattern, places in folded([row.name for row in rows]):
        group = [rows[place] for place in places]
        lines.append((_names(pattern, group), _places(places, 0), group[0].tool, _sentence(_common(group, "effect"))))
    return table(("choice" if agent == "alert_triage_0" else "entry", "index", "drives", "effect"), lines)


def reward(scenario: str) -> str:
    """The terms of the reward."""
    sim = _simulator(scenario)
    rows = [
        (code_of(term.name), f"{getattr(sim.scenario, term.weight):g}", code_of(term.weight), term.formula)
        for term in sim.reward_table
    ]
    return table(("term", "weight", "field", "value of a step"), rows, "lrll")


def metrics(scenario: str) -> str:
    """What is measured of an episode."""
    rows = [(code_of(row.name), row.unit, row.meaning) for row in _simulator(scenario).metric_table]
    return table(("metric", "unit", "meaning"), rows)


def scenario(name: str) -> str:
    """Every field of a scenario."""
    rows = []
    for spec in dataclasses.fields(soc_env.SCENARIOS[name]):
        if spec.name != "name":
            unit, source = spec.metadata.get("unit", ""), spec.metadata.get("source", "")
            rows.append((code_of(spec.name), _default(spec.default), allowed(spec.metadata), unit, source))
    return table(("field", "default", "allowed", "unit, meaning", "source"), rows)


def _default(value: Any) -> str:
    named = isinstance(value, tuple) and value and hasattr(value[0], "name")
    return ", ".join(item.name for item in value) if named else code(value)


def scenario_differences(name: str, base: str) -> str:
    """The fields in which one scenario differs from another."""
    one, other = soc_env.SCENARIOS[name], soc_env.SCENARIOS[base]
    rows = [
        (code_of(spec.name), code(getattr(other, spec.name)), code(getattr(one, spec.name)))
        for spec in dataclasses.fields(one)
        if spec.name != "name" and getattr(one, spec.name) != getattr(other, spec.name)
    ]
    return table(("field", base, name), rows)


def families() -> str:
    """The attacker families."""
    columns = ("family", "split", "goal", "enters through", "mean wait [min]", "stealth", "comes back", "reaction")
    rows = [
        (code_of(f.name), f.split, f.goal, ", ".join(f.entry_roles), f"{f.dwell:g}", f"{f.stealth:g}", f"{f.reentry:g}",
         f.reaction)
        for f in INTRUDER_FAMILIES
    ]  # fmt: skip
    return table(columns, rows, "llllrrrl")


def family_plans() -> str:
    """What each family does, step by step."""
    parts = []
    for family in INTRUDER_FAMILIES:
        first, last, fewest, most = family.loop
        rows = [
            (index, step.tactic, ", ".join(f"{id} {technique(id).name} ({weight:g})" for id, weight in step.choices))
            for index, step in enumerate(family.plan)
        ]
        passes = f"Steps {first} to {last} are walked {fewest} to {most} times." if most > 1 else ""
        text = table(("step", "tactic", "techniques (relative weight)"), rows, "rll")
        parts.append(f"#### {family.name}\n\n{family.description} {passes}\n\n{text}")
    return "\n\n".join(parts)


def techniques() -> str:
    """How many techniques are simulated, by tactic."""
    tactics: dict[str, int] = {}
    for row in TECHNIQUES:
        tactics[row.tactic] = tactics.get(row.tactic, 0) + 1
    return table(("tactic", "techniques with dynamics"), [*tactics.items(), ("all", len(TECHNIQUES))], "lr")


def scenarios() -> str:
    """The named scenarios."""
    rows = [
        (code_of(name), spec.num_hosts, getattr(spec, "num_zones", 5), spec.max_steps, spec.coordinator_period)
        for name, spec in soc_env.SCENARIOS.items()
    ]
    return table(("scenario", "hosts", "zones", "steps", "steps between directives"), rows, "lrrrr")


def code_of(name: str) -> str:
    """A name in code font."""
    return f"`{name}`"


def role(agent: str) -> str:
    """`threat_hunter_0` -> threat hunter."""
    return agent.rsplit("_", 1)[0].replace("_", " ")


def _sentence(text: str) -> str:
    return "" if text == "none" else text


TABLES = {
    "tools": tools,
    "tool-effects": tool_effects,
    "tool-changes": tool_changes,
    "level-features": level_features,
    "cage4-verbs": cage4_verbs,
    "agents": agents,
    "features": features,
    "state": state,
    "actions": actions,
    "reward": reward,
    "metrics": metrics,
    "scenario": scenario,
    "scenario-differences": scenario_differences,
    "families": families,
    "family-plans": family_plans,
    "techniques": techniques,
    "scenarios": scenarios,
}
