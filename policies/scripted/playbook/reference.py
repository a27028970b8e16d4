"""What a playbook file can name, as rows of tables: for the command that lists it and for the documentation."""

from __future__ import annotations

from policies.scripted.playbook.expressions import FUNCTIONS, ZONE
from policies.scripted.playbook.terms import OUTPUTS, SWITCH, Output
from soc_env.engine.tables import COORDINATOR
from soc_env.soc.tables import CASE_FEATURES, CLOCK_FEATURES, LEVEL_FEATURES, zone_features

FEATURE_COLUMNS = ("feature", "range", "what it is", "source")
ACTION_COLUMNS = ("agent", "action", "of", "levels", "what it does")
FUNCTION_COLUMNS = ("function", "what it gives")


def feature_rows() -> list[tuple[str, str, str, str]]:
    """Every feature: as it is written, its range, its meaning, its sensor."""
    rows, zone = [], zone_features(has_levels=True)
    for group, features in (("zone", zone), ("case", CASE_FEATURES), ("clock", CLOCK_FEATURES)):
        for row in features:
            second = {"zone": "case_zone", "case": "cases"}.get(group)
            name = f"{group}.{row.name}" + (f", {second}.{row.name}" if second else "")
            unit = f"{row.unit} (where findings have levels: soc-v2)" if row in LEVEL_FEATURES else row.unit
            rows.append((name, f"{row.low:g} to {row.high:g}", unit, row.source))
    for key, output in OUTPUTS[COORDINATOR.rpartition("_")[0]].items():
        rows.append((f"directive.{key}", "-1 to 1", f"in force: {output.effect}", "coordinator"))
    return rows


def action_rows() -> list[tuple[str, str, str, str, str]]:
    """Every action: its agent, its key, of what it is, its levels, its effect."""
    return [
        (table, key, _of(output), _levels(output), output.effect)
        for table, keys in OUTPUTS.items()
        for key, output in keys.items()
    ]


def _of(output: Output) -> str:
    return "the first case" if output.is_choice else "each zone" if output.scope == ZONE else "all"


def _levels(output: Output) -> str:
    if output.is_choice:
        rest = next(word for word, choice in output.words.items() if choice == output.rest)
        return f"{', '.join(output.words)}; without a rule {rest}"
    if output.words is SWITCH:
        return "a condition, or on, off; without a rule off"
    words = "".join(f", {word} ({level:g})" for word, level in output.words.items())
    return f"{output.low:g} to {output.high:g}{words}; without a rule {output.rest:g}"


def function_rows() -> list[tuple[str, str]]:
    """Every function: how it is called, and what it gives."""
    return [(function.shape, function.meaning) for shapes in FUNCTIONS.values() for function in shapes]
