"""Networks that read zone by zone: sizes, the same weights for every zone, and what they refuse."""

import numpy as np
import pytest

pytest.importorskip("ray")
import gymnasium as gym
import torch
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

import soc_env
from policies import HMARLConfig
from policies.modules import make_body
from policies.tiers import DEFAULT_TIERS, tier_of
from policies.zones import ZoneMLP, groups_of, joint_layout, own_layout
from soc_env.errors import ConfigError
from soc_env.soc.tables import ZONE_FEATURES, actions, layout
from soc_env.tables import AGENTS, HUNTER, ORCHESTRATOR, TRIAGE

ZONES = 5
WIDTH = len(ZONE_FEATURES)


def swap(observation, order, shape):
    """The same scene with its zones in another order."""
    out = observation.clone()
    zones = observation[:, : shape.case_start].unflatten(1, (shape.num_zones, WIDTH))
    out[:, : shape.case_start] = zones[:, order].flatten(1)
    priorities = slice(shape.directive_start, shape.directive_start + shape.num_zones)
    out[:, priorities] = observation[:, priorities][:, order]
    return out


def swap_action(action, order, agent):
    per_zone, _ = groups_of(len(actions(agent, ZONES)), ZONES)
    out = action.clone()
    for k in range(per_zone):
        group = slice(k * ZONES, (k + 1) * ZONES)
        out[..., group] = action[..., group][..., order]
    return out


def test_sizes_say_what_is_what():
    for zones in range(2, 17):
        for agent in AGENTS:
            assert own_layout(layout(agent, zones).size) == layout(agent, zones)
        assert [groups_of(len(actions(agent, zones)), zones) for agent in AGENTS] == [(0, 4), (3, 1), (2, 2), (1, 3)]
        assert joint_layout(sum(layout(agent, zones).size for agent in AGENTS)) == layout(TRIAGE, zones)
    for size in (64, 128, 96):  # those of paper-v0
        with pytest.raises(ConfigError, match="soc-v1"):
            own_layout(size)
    with pytest.raises(ConfigError, match="soc-v1"):
        joint_layout(352)


def test_zones_in_another_order_give_actions_in_that_order():
    torch.manual_seed(0)
    shape, order = layout(HUNTER, ZONES), torch.tensor([2, 0, 4, 1, 3])
    body = ZoneMLP(shape, [16, 12], keeps_zones=True)
    head = body.action_layer(2, 16)
    with torch.no_grad():
        head.zone.weight.mul_(100)
        head.whole.weight.mul_(100)
    scene = torch.rand(6, shape.size)
    here, there = (head(body(x)).unflatten(1, (2, 16)) for x in (scene, swap(scene, order, shape)))
    torch.testing.assert_close(swap_action(here, order, HUNTER), there)
    assert not torch.allclose(here, there, atol=1e-3)
    assert head.out_features == 32


@pytest.mark.parametrize("bins", [0, 5])
def test_a_critic_does_not_care_about_the_order_of_zones_but_about_what_is_done_where(bins):
    torch.manual_seed(0)
    shape, order = layout(TRIAGE, ZONES), torch.tensor([2, 0, 4, 1, 3])
    size = sum(layout(agent, ZONES).size for agent in AGENTS)
    config = {"network": "zones", "hiddens": [16, 12], "critic_layer_norm": True, "action_bins": bins}
    body = make_body(config, size, (size, 12), is_critic=True, is_joint=True)
    seen, own = torch.rand(6, size), torch.rand(6, 12)
    others = [torch.rand(6, len(actions(agent, ZONES))) for agent in AGENTS if agent != ORCHESTRATOR]
    names = [agent for agent in AGENTS if agent != ORCHESTRATOR]
    value = body(seen, torch.cat(others, 1), own)
    swapped_seen = torch.cat([swap(seen[:, : shape.size], order, shape), seen[:, shape.size :]], 1)
    swapped_others = torch.cat([swap_action(a, order, name) for a, name in zip(others, names, strict=True)], 1)
    swapped_own = swap_action(own, order, ORCHESTRATOR)
    torch.testing.assert_close(body(swapped_seen, swapped_others, swapped_own), value)
    assert not torch.allclose(body(swapped_seen, swapped_others, own), value, atol=1e-4)


def test_statistics_are_shared_between_zones():
    shape = layout(TRIAGE, ZONES)
    body = ZoneMLP(shape, [8])
    rows = np.random.default_rng(0).random((500, shape.size)) * np.linspace(1, 2, shape.size)
    body.norm.set(rows.mean(0), rows.var(0))
    zones = rows[:, : shape.case_start].reshape(-1, WIDTH)
    mean = body.norm.mean[: shape.case_start].reshape(ZONES, WIDTH)
    spread = 1 / body.norm.inv_std[: shape.case_start].reshape(ZONES, WIDTH)
    np.testing.assert_allclose(mean, np.tile(zones.mean(0), (ZONES, 1)), rtol=1e-5)
    np.testing.assert_allclose(spread, np.tile(zones.std(0), (ZONES, 1)), rtol=1e-4)


@pytest.mark.parametrize("network", ["zones", "mlp"])
def test_every_tier_takes_the_network(network):
    simulator = soc_env.Simulator("soc-v1", num_envs=3, seed=0, num_networks=1)
    config = HMARLConfig().tiers({tier: {"network": network, "hiddens": [8, 8]} for tier in DEFAULT_TIERS})
    spaces = {tier_of(a): (simulator.observation_spaces[a], simulator.action_spaces[a]) for a in simulator.agents}
    joint = [gym.spaces.Dict(dict(own)) for own in (simulator.observation_spaces, simulator.action_spaces)]
    modules = config.get_multi_rl_module_spec(spaces={**spaces, INPUT_ENV_SINGLE_SPACES: tuple(joint)}).build()
    for agent, observation in simulator.reset().items():
        batch = {"obs": torch.from_numpy(observation)}
        out = modules[tier_of(agent)].forward_inference(batch)
        assert all(torch.isfinite(value).all() for value in out.values())
        kinds = {type(module).__name__ for module in modules[tier_of(agent)].modules()}
        assert bool(kinds & {"ZoneMLP", "ZoneEncoder"}) == (network == "zones")


def test_an_unknown_network_is_named():
    with pytest.raises(ConfigError, match="'zones'"):
        HMARLConfig().tiers({"threat_hunter": {"network": "zone"}})
