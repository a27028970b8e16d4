"""Traces and console calls with values that are none: refused by an error of ours of one line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from trees import places, put

import soc_env
from soc_env.errors import HMARLSOCError
from soc_env.soc.trace import Trace, TraceError

ODD = st.sampled_from(
    [
        None, True, False, 0, -1, 1, 0.5, 10**7, 2**63, 10**400, -(10**400), 1e308, "", "text", "\x00", "nan", [], {},
        [1], [[1]], {"a": 1}, [None], ["hunt", 0, 1.0, 0.2], [["hunt", 0, 1.0, 0.2]], "soc-v1", 2**31,
    ]
)  # fmt: skip
LENIENT = settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def trace() -> Trace:
    env = soc_env.parallel_env("soc-v1", seed=0, max_steps=4, num_networks=1, num_hosts=40)
    env.reset(seed=0)
    while env.agents:
        env.step({})
    return env.trace()


def check_line(error: Exception) -> None:
    assert "\n" not in str(error)
    assert len(str(error)) < 2_000


@LENIENT
@given(data=st.data())
def test_bytes_of_a_trace_that_are_lost_or_changed_are_seen(data: Any, trace: Trace, tmp_path: Path) -> None:
    content = "\n".join(trace.lines()).encode() + b"\n"
    where = data.draw(st.integers(0, len(content) - 2))
    changed = data.draw(
        st.sampled_from([content[:where], content[where + 1 :], content[:where] + content[where + 9 :]])
    )
    (tmp_path / "t.jsonl").write_bytes(changed)
    with pytest.raises(TraceError) as error:
        Trace.load(tmp_path / "t.jsonl")
    check_line(error.value)


@LENIENT
@given(data=st.data())
def test_other_values_in_a_trace_are_seen(data: Any, trace: Trace, tmp_path: Path) -> None:
    plain = json.loads(json.dumps([trace.header, trace.minutes, trace.footer]))
    kept = [at for at, _ in places(plain) if len(at) > 2 or (len(at) == 2 and at[0] != 1)]
    at = data.draw(st.sampled_from(kept))
    header, minutes, footer = put(plain, at, data.draw(ODD), deletes=data.draw(st.booleans()))
    Trace(header, minutes, footer).save(tmp_path / "t.jsonl")  # with a digest that fits
    try:
        Trace.load(tmp_path / "t.jsonl").replay()
    except HMARLSOCError as error:
        check_line(error)


ARGUMENTS = ODD | st.sampled_from(
    [math.nan, math.inf, np.int64(0), np.float64("nan"), b"a", object(), np.array([1, 2])]
)


@LENIENT
@given(data=st.data())
def test_console_calls_take_what_they_say(data: Any) -> None:
    env = soc_env.parallel_env("soc-v1", seed=0, max_steps=20, num_networks=1, num_hosts=40)
    env.reset(seed=0)
    console = env.console
    for _ in range(data.draw(st.integers(1, 3))):
        platform = getattr(console, data.draw(st.sampled_from(["siem", "edr", "soar"])))
        tools = [name for name in dir(type(platform)) if not name.startswith("_")]
        tool = getattr(platform, data.draw(st.sampled_from(tools)))
        values = data.draw(st.lists(ARGUMENTS, max_size=2))
        try:
            if tool.__code__.co_argcount - len(tool.__defaults__ or ()) <= 1 + len(values) <= tool.__code__.co_argcount:
                tool(*values)
            console.directive(
                {data.draw(ARGUMENTS.filter(_is_key)): data.draw(ARGUMENTS)}, hunt_posture=data.draw(ARGUMENTS)
            )
            console.advance(data.draw(ARGUMENTS))
        except HMARLSOCError as error:
            check_line(error)
    assert all(np.isfinite(seen).all() for seen in env.simulator.observations.values())


def _is_key(value: Any) -> bool:
    try:
        return hash(value) is not None
    except TypeError:
        return False
