"""The same weights on another number of zones, from play to learning to a checkpoint."""

import copy

import numpy as np
import pytest

pytest.importorskip("ray")
import torch
from network_scenes import ZONES, as_arrays, heads, policy_of, scenes, swap, swap_action, with_zones_renamed

from experiments.evaluate import evaluate_checkpoint
from policies import HMARLConfig, save_checkpoint
from policies.tiers import DEFAULT_TIERS
from soc_env.engine.tables import AGENTS, HUNTER, TRIAGE
from soc_env.errors import ConfigError
from soc_env.soc.tables import actions, layout


@pytest.mark.parametrize("network", ["zones", "attention"])
@pytest.mark.parametrize("num_zones", [5, 8, 3])
def test_the_same_weights_act_zone_by_zone_on_any_number_of_zones(network, num_zones):
    policy = policy_of(network).for_zones(num_zones)
    order = torch.randperm(num_zones, generator=torch.Generator().manual_seed(2))
    renamed = with_zones_renamed if network == "attention" else swap  # the mean reads a case's zone as a number
    here = scenes(num_zones)
    there = {agent: renamed(seen, order, layout(agent, num_zones)) for agent, seen in here.items()}
    decides = np.ones(6, bool)
    before, after = policy(as_arrays(here), decides), policy(as_arrays(there), decides)
    for agent in AGENTS:
        own = torch.as_tensor(before[agent])
        expected = own if agent == TRIAGE else swap_action(own, order, agent)
        np.testing.assert_allclose(after[agent], expected, atol=1e-5)
        assert before[agent].shape[1:] == (() if agent == TRIAGE else (len(actions(agent, num_zones)),))
        if agent != TRIAGE:
            assert np.abs(after[agent] - before[agent]).max() > 1e-2


@pytest.mark.parametrize("network", ["zones", "attention"])
def test_there_and_back_is_the_same_policy(network):
    policy = policy_of(network)
    observations = as_arrays(scenes(ZONES))
    expected = policy(observations, np.ones(6, bool))
    found = policy.for_zones(8).for_zones(1).for_zones(ZONES)(observations, np.ones(6, bool))
    for agent in AGENTS:
        np.testing.assert_array_equal(found[agent], expected[agent])


def test_mean_mixing_acts_on_twins_as_on_the_zones_they_double():
    """Ten zones that are five zones twice: means, and hence actions, are those of the five."""
    policy = policy_of("zones", algorithm="SAC")
    here = scenes(ZONES)[HUNTER]
    shape, double = layout(HUNTER, ZONES), layout(HUNTER, 2 * ZONES)
    zones, priorities = here[:, : shape.case_start], here[:, shape.directive_start : shape.clock_start - 3]
    rest = here[:, shape.case_start : shape.directive_start], here[:, shape.clock_start - 3 :]
    there = torch.cat([zones, zones, rest[0], priorities, priorities, rest[1]], 1)
    assert there.shape[1] == double.size
    one = policy({HUNTER: here.numpy()}, np.ones(6, bool))[HUNTER]
    two = policy.for_zones(2 * ZONES)({HUNTER: there.numpy()}, np.ones(6, bool))[HUNTER]
    for k in range(3):
        np.testing.assert_allclose(two[:, 10 * k : 10 * k + 5], one[:, 5 * k : 5 * k + 5], atol=1e-5)
    np.testing.assert_allclose(two[:, -1], one[:, -1], atol=1e-5)


def test_an_mlp_is_for_one_number_of_zones():
    policy = policy_of("mlp")
    assert policy.for_zones(ZONES).modules == policy.modules
    with pytest.raises(ConfigError, match="encoder 'mlp' is made for one number of zones, it cannot act on 8"):
        policy.for_zones(8)
    with pytest.raises(ConfigError, match="reads observations of size 294, got 363"):
        policy(as_arrays(scenes(8)), np.ones(6, bool))
    with pytest.raises(ConfigError, match="cannot act on 8; allowed there: 'zones' or 'attention' of the soc-v1"):
        policy_of("attention", "paper-v0").for_zones(8)


@pytest.mark.parametrize("num_zones", [0, 17, 2.5, True])
def test_a_number_of_zones_that_no_network_has_is_refused(num_zones):
    with pytest.raises(ConfigError, match=f"num_zones is {num_zones}, allowed: 1 to 16"):
        policy_of("zones").for_zones(num_zones)


@pytest.mark.parametrize("network", ["zones", "attention"])
@pytest.mark.parametrize(
    "algorithms",
    [{}, {"alert_triage": "PPO", "threat_hunter": "PPO", "response_orchestrator": "SAC"}],
    ids=["default", "others"],
)
def test_every_algorithm_learns_and_its_checkpoint_plays_on_other_numbers_of_zones(tmp_path, network, algorithms):
    small = {"encoder": network, "hiddens": [8, 8], **heads(network)}
    ppo = {"train_batch_size": 32, "minibatch_size": 16, "num_epochs": 1}
    masked = {"action_masking": network == "attention"}
    chosen = {tier: algorithms.get(tier, own["algorithm"]) for tier, own in DEFAULT_TIERS.items()}
    tiers = {t: {"algorithm": a, **small, **(ppo if a == "PPO" else {})} for t, a in chosen.items()}
    scenario = {"max_steps": 20, "num_networks": 1, "num_hosts": 40}
    config = HMARLConfig().environment("soc-v1", env_config=scenario).tiers(tiers).tiers({"alert_triage": masked})
    config.env_runners(num_envs_per_env_runner=8).debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size=160, learning_starts=100, random_steps=0, replay_batch_size=16)
    algo = config.training(updates_per_iteration=2).build_algo()
    before = copy.deepcopy(algo.averaged)
    results = [algo.train() for _ in range(3)]
    for tier in tiers:
        losses = [value for name, value in results[-1]["learners"][tier].items() if name.endswith("loss")]
        assert losses, tier
        assert np.isfinite([float(value) for value in losses]).all()
    for tier, state in algo.averaged_modules().items():
        body = [n for n, p in state.named_parameters() if ("mixing" in n or "deeper" in n) and "qf" not in n]
        changed = [not torch.equal(dict(state.named_parameters())[n], before[tier][n]) for n in body]
        assert body, tier
        assert any(changed), tier
    folder = save_checkpoint(algo, tmp_path / "c", replay=False)
    algo.stop()
    quick = {"num_episodes": 2, "num_envs": 2}
    for num_zones in (8, 3, 1):
        result = evaluate_checkpoint(folder, num_zones=num_zones, **quick)
        assert result.settings["overrides"] == {**scenario, "num_zones": num_zones}
        assert np.isfinite(result.mean("score"))
    elsewhere = evaluate_checkpoint(folder, "soc-cage4-v0", max_steps=10, **quick)
    assert elsewhere.settings["scenario"] == "soc-cage4-v0"
