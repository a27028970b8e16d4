"""In how many forms a policy can be given: one place knows them, and every refusal is one line."""

from __future__ import annotations

import numpy as np
import pytest

from policies.scripted import (
    SCRIPTED,
    PlaybookFile,
    builder_of,
    identity,
    is_code,
    is_file,
    is_policy,
    kept,
    label,
    make_policy,
)
from policies.scripted.playbook import shipped_file
from policies.scripted.soc import Playbook
from soc_env import Simulator
from soc_env.engine.tables import HUNTER, TRIAGE
from soc_env.errors import ConfigError

SIMULATOR = Simulator("soc-v1", num_envs=4, seed=0)
SIMULATOR.reset()
MINE = """
[alert_triage]
choice = "suppress"
"""


class Suppress(Playbook):
    """A playbook in Python."""

    def __call__(self, observations, decides):
        actions = SCRIPTED["soc"]["null"](SIMULATOR.action_spaces)(observations, decides)
        return {**actions, TRIAGE: np.full(len(decides), 1, np.int32)}


@pytest.fixture
def mine(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text(MINE)
    return path


def acted(policy, env="soc-v1"):
    made = make_policy(policy, env, SIMULATOR.action_spaces, 3)
    made.reset(3)
    return made(SIMULATOR.observations, SIMULATOR.decides)


def test_every_form_makes_the_same_policy(mine):
    forms = [mine, str(mine), kept(mine), PlaybookFile.of_path(mine), Suppress, "suppress-all"]
    for form in forms:
        actions = acted(form)
        for agent, action in acted("suppress-all").items():
            np.testing.assert_array_equal(action, actions[agent])
    imported = acted("policies.scripted.soc:suppress_all")
    assert imported[TRIAGE].tolist() == [1] * 4


def test_a_file_is_kept_with_its_text(mine):
    plain = kept(str(mine))
    assert plain == {"file": "mine.toml", "sha256": plain["sha256"], "text": MINE, "numbers": {}}
    assert kept(plain) == plain
    mine.unlink()
    assert acted(plain)[TRIAGE].tolist() == [1] * 4
    for other in ("expert", "a:b", Suppress, None, 3):
        assert kept(other) is other
    with pytest.raises(ConfigError, match="^tier 'x': playbook .*mine.toml' cannot be read"):
        kept(mine, "tier 'x'")


def test_what_a_form_is(mine):
    assert is_file(mine)
    assert is_file("x.TOML")
    assert not any(is_file(form) for form in ("expert", "a:b", Suppress, kept(mine)))
    assert [is_code(form) for form in ("a:b", Suppress, 3)] == [True] * 3
    assert not any(is_code(form) for form in ("expert", mine, "c:/x.toml", kept(mine), PlaybookFile.of_path(mine)))
    assert is_policy(Suppress(SIMULATOR.action_spaces))
    assert not any(is_policy(form) for form in (Suppress, "expert", mine, kept(mine), shipped_file("expert")))
    assert label(mine) == label(kept(mine)) == label(PlaybookFile.of_path(mine)) == "mine.toml"
    assert label("expert") == "expert"
    assert label(Suppress(SIMULATOR.action_spaces)) == "Suppress"
    assert identity(kept(mine)) == f"mine.toml {kept(mine)['sha256']}"
    assert identity("expert") == "expert"


@pytest.mark.parametrize(
    ("policy", "env", "says"),
    [
        ("exprt", "soc-v1", "^policy 'exprt' does not exist; did you mean 'expert'"),
        ("informed", "soc-v1", "it is called 'oracle-observation'"),
        ("expert", "paper-v0", "^policy 'expert' does not exist; allowed: best-constant, null, patient, random"),
        ("expert", object(), "^policy 'expert' does not exist; allowed: random"),
        ("no_such_module:x", "soc-v1", "'no_such_module:x' cannot be imported .*; allowed: package.module:name"),
        ("no/such.toml", "soc-v1", "^playbook 'no/such.toml' cannot be read"),
        ({"file": "x"}, "soc-v1", "allowed: file, sha256, text, numbers"),
        (3, "soc-v1", "^policy=3 must be the name of one, a playbook file, or a builder"),
        (None, "soc-v1", "^policy=None must be"),
        ("numpy:pi", "soc-v1", "^policy=3.14.* must be the name of one"),
        ("best-constant", "soc-v1", "^policy 'best-constant' does not fit the agents and their spaces"),
    ],
)
def test_what_is_no_policy_is_refused_in_one_line(policy, env, says):
    spaces = SIMULATOR.action_spaces if policy != "best-constant" else {TRIAGE: SIMULATOR.action_spaces[TRIAGE]}
    with pytest.raises(ConfigError, match=says) as caught:
        make_policy(policy, env, spaces)
    assert "\n" not in str(caught.value)


def test_a_file_plays_its_own_family_only(mine):
    with pytest.raises(ConfigError, match=r"'mine\.toml' is a playbook file, which reads what paper-v0 does not show"):
        builder_of(mine, "paper-v0")
    assert acted(mine, env=lambda: None)[TRIAGE].tolist() == [1] * 4  # an environment of one's own with such agents


def test_a_function_that_makes_no_policy_is_told():
    with pytest.raises(ConfigError, match=r"returns \{\} for \(action_spaces, seed\), which is no policy"):
        make_policy(lambda action_spaces, seed: {}, "soc-v1", SIMULATOR.action_spaces)


def test_what_a_users_own_builder_raises_is_not_hidden():
    def builder(action_spaces, seed):
        return action_spaces["nobody"]

    with pytest.raises(KeyError, match="nobody"):
        make_policy(builder, "soc-v1", SIMULATOR.action_spaces)
    assert HUNTER in SIMULATOR.action_spaces
