"""Where things stand in a TOML file: every key and entry is found, on the line that it is written on."""

from __future__ import annotations

import itertools
import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.scripted.playbook.toml_lines import line_of, lines_of

TEXT = '''# a comment = 1
about = "x = 1 # no comment"   # one
[numbers]
a = 1
'b c' = 2.5e-3
"d\\u0065" = 1979-05-27 07:32:00
f.g.h = true

[[rules]]
when = [
    "one", # ]
    """
two [
  lines""", { x = 'three]', y.z = [ "four",
    "five" ] },
]
[[rules]]
when = """a""b"""
[rules.inner]
x = \'\'\'
six'\'\'\'
[[rules.more]]
y = ''
'''


def test_all_kinds_of_things_are_found():
    assert lines_of(TEXT) == {
        ("about",): 2,
        ("numbers",): 3,
        ("numbers", "a"): 4,
        ("numbers", "b c"): 5,
        ("numbers", "de"): 6,
        ("numbers", "f"): 7,
        ("numbers", "f", "g"): 7,
        ("numbers", "f", "g", "h"): 7,
        ("rules",): 9,
        ("rules", 0): 9,
        ("rules", 0, "when"): 10,
        ("rules", 0, "when", 0): 11,
        ("rules", 0, "when", 1): 13,  # of a string of several lines: where its text begins
        ("rules", 0, "when", 2): 14,
        ("rules", 0, "when", 2, "x"): 14,
        ("rules", 0, "when", 2, "y"): 14,
        ("rules", 0, "when", 2, "y", "z"): 14,
        ("rules", 0, "when", 2, "y", "z", 0): 14,
        ("rules", 0, "when", 2, "y", "z", 1): 15,
        ("rules", 1): 17,
        ("rules", 1, "when"): 18,
        ("rules", 1, "inner"): 19,
        ("rules", 1, "inner", "x"): 21,
        ("rules", 1, "more"): 22,
        ("rules", 1, "more", 0): 22,
        ("rules", 1, "more", 0, "y"): 23,
    }
    assert set(paths(tomllib.loads(TEXT))) == set(lines_of(TEXT))


def test_the_nearest_thing_around_it_stands_for_what_is_not_found():
    lines = {("a",): 3, ("a", "b"): 4}
    assert [line_of(lines, path) for path in (("a", "b", 5), ("a", "c"), ("d",), ())] == [4, 3, 1, 1]


@pytest.mark.parametrize(
    "text", ["[", "[a", "a", "a =", "a = [", "a = {", '"', "a = '''", "[[a]", "a.=1", "=", "a = [1, ="]
)
def test_text_that_is_no_toml_does_no_harm(text):
    lines_of(text)


def paths(value, at=()):
    """All paths in data but the whole."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*at, key)
        yield from paths(inner, (*at, key))


SCALARS = st.sampled_from(
    ["1", "-2.5", "true", "'#'", '"]"', '"\\""', "'''{'''", '"""[""" ', "1979-05-27", "0xff", "inf"]
)
BREAKS = st.sampled_from(["", " ", "\n", " # [ ' \" = {\n\n  "])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(st.tuples(BREAKS, inner, BREAKS).map("".join), max_size=3).map(lambda items: f"[{','.join(items)}]"),
        st.lists(inner, max_size=3).map(
            lambda items: "{" + ", ".join(f"i{k} = {item}" for k, item in enumerate(items)) + "}"
        ),
    ),
    max_leaves=8,
)
HEADS = st.sampled_from(["k{}", "'k {}'", "k{}.x", '"k{}" . y'])
TABLES = st.sampled_from(["[t{}]", "[[t{}]]", "[ t{}.u ]", "[[t{}.'u']]", ""])


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(TABLES, st.lists(st.tuples(HEADS, VALUES), max_size=3)), max_size=4))
def test_every_key_and_entry_of_any_file_is_found(parts):
    number = itertools.count()
    lines = []
    for table, pairs in parts:
        lines += [table.format(next(number))] if table else []
        lines += [f"{head.format(next(number))} = {value}" for head, value in pairs]
    text = "\n".join(lines)
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:  # an inline table with a line break in it
        return
    found = lines_of(text)
    assert set(found) == set(paths(data))
    for path, line in found.items():
        if isinstance(path[-1], str) and path[-1][0] in "kt":
            assert path[-1] in text.split("\n")[line - 1]
