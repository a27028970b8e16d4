"""Networks and policies on observations in which findings have levels: the size says which layout it is."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("ray")
from network_scenes import policy_of

from policies.networks.tokens import entry_names, joint_tokens, own_tokens
from policies.presets import preset_of
from policies.scripted import ObservationOracle, make_policy
from soc_env import Simulator
from soc_env.engine.tables import AGENTS, HUNTER, TRIAGE
from soc_env.soc.tables import LEVEL_FEATURES, ZONE_FEATURES, features, layout, state_features


@pytest.mark.parametrize("has_state", [False, True])
def test_no_two_layouts_have_one_size(has_state):
    """So that a network can be told by the size of its input, alone and for a joint critic."""
    sizes = {}
    for zones in range(1, 17):
        for levels in (False, True):
            state = len(state_features(zones, levels)) * has_state
            for name, agents in ((HUNTER, [HUNTER]), ("all", AGENTS), (TRIAGE, [TRIAGE])):
                size = sum(layout(agent, zones, levels).size for agent in agents) + state
                assert sizes.setdefault((name, size), (zones, levels)) == (zones, levels)


@pytest.mark.parametrize("has_state", [False, True])
@pytest.mark.parametrize("is_joint", [False, True])
def test_tokens_of_zones_have_the_features_of_levels(is_joint, has_state):
    state = len(state_features(3, True)) * has_state
    agents = AGENTS if is_joint else (HUNTER,)
    size = sum(layout(agent, 3, True).size for agent in agents) + state
    tokens = joint_tokens(size, has_state) if is_joint else own_tokens(HUNTER, size, has_state)
    names = [row.name for agent in agents for row in features(agent, 3, True)]
    names += [row.name for row in state_features(3, True)][: state or None] if has_state else []
    wanted = [row.name for row in ZONE_FEATURES + LEVEL_FEATURES]
    assert tokens.num_seen == len(wanted)
    for z, places in enumerate(tokens.zones):
        assert [names[k] for k in places[: len(wanted)]] == [f"zone{z}_{name}" for name in wanted]
        assert names[places[len(wanted)]] == f"directive_priority_{z}"
        assert all(name.startswith(f"truth_zone{z}_") for name in (names[k] for k in places[len(wanted) + 1 :]))
    assert len(np.unique(tokens.read)) == len(tokens.read)


def test_a_team_keeps_its_layout_on_other_zones():
    old = policy_of("zones")
    assert not old.has_levels
    assert not old.for_zones(3).has_levels
    new = policy_of("zones", scenario="soc-v2")
    assert new.has_levels
    assert new.for_zones(3).has_levels
    seen = {agent: np.zeros((2, layout(agent, 3, True).size), np.float32) for agent in AGENTS}
    acts = new.for_zones(3)(seen, np.ones(2, bool))
    assert acts[HUNTER].shape == (2, 10)
    assert entry_names(HUNTER, layout(HUNTER, 3, True).size)[22] == "zone0_admin_findings"


def test_the_truth_is_read_behind_either_layout():
    for name in ("soc-v1", "soc-v2"):
        sim = Simulator(name, num_envs=2, seed=0)
        sim.reset()
        oracle = ObservationOracle(sim.action_spaces)
        for _ in range(30):
            sim.step()
        oracle.state = sim.state()
        column = [row.name for row in sim.state_table].index("truth_zone2_compromised")
        oracle.state[:, column] = [0.0, 0.5]
        acts = oracle(sim.observations, np.ones(2, bool))
        assert acts[HUNTER][0, 2] == -1.0
        assert acts[HUNTER][1, 2] > -1.0
    assert preset_of("soc-v2") == preset_of("soc-v1") == preset_of("soc-cage4-v1")


def test_the_example_by_levels_is_better_than_the_expert():
    scores = []
    for policy in ("expert", Path(__file__).parents[2] / "examples" / "soc_v2_playbook.toml"):
        sim = Simulator("soc-v2", num_envs=128, seed=77, autoreset=False, split="test")
        sim.reset()
        play = make_policy(policy, "soc-v2", sim.action_spaces)
        while not sim.truncated.all():
            for agent, action in play(sim.observations, sim.decides).items():
                sim.actions[agent] = action
            sim.step()
        scores.append(sim.episode_metrics["score"])
    gain = scores[1] - scores[0]
    assert gain.mean() > 2.0 * gain.std() / len(gain) ** 0.5
    assert scores[1].mean() > 70.0
