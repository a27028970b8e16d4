"""Networks inside the tiers' modules: zone by zone, additive critics, outputs in groups, where actors start."""

import numpy as np
import pytest

pytest.importorskip("ray")
import gymnasium as gym
import torch
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

import soc_env
from policies import HMARLConfig
from policies.modules import ActionValues, GroupedLinear, action_layer, initial_action, make_body, value_layer
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
    body = make_body(config, size, (28, 12), is_critic=True, is_joint=True)
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


# ---- critics that are additive in their own action


@pytest.mark.parametrize("network", ["zones", "mlp"])
def test_an_additive_critic_adds_a_piecewise_linear_value_of_every_entry(network):
    torch.manual_seed(0)
    size, bins = layout(HUNTER, ZONES).size, 5
    config = {"network": network, "hiddens": [16, 12], "critic": "additive", "action_bins": bins}
    body = make_body(config, size, (16,), is_critic=True)
    assert isinstance(body, ActionValues)
    torch.nn.init.normal_(list(body.values.parameters())[0])
    head = value_layer(body)
    scene, action = torch.rand(4, size), torch.rand(4, 16) * 2 - 1
    features = body(scene, action)
    assert features.shape == (4, body.out_dim)
    other = torch.rand(4, 16) * 2 - 1
    torch.testing.assert_close(body(scene, other)[:, :-1], features[:, :-1])  # the action only enters its own value

    def value(actions):
        return head(body(scene, actions)).squeeze(-1)

    def with_entry(k, level):
        changed = action.clone()
        changed[:, k] = level
        return changed

    both = with_entry(3, 0.3)
    both[:, 7] = -0.9
    gains = value(with_entry(3, 0.3)) - value(action), value(with_entry(7, -0.9)) - value(action)
    torch.testing.assert_close(value(both) - value(action), sum(gains))
    assert float(gains[0].detach().abs().min()) > 1e-3
    at = [value(with_entry(3, x)) for x in (0.0, 0.125, 0.25, 0.5)]  # 0 and 0.5 are points
    torch.testing.assert_close(at[1], 0.75 * at[0] + 0.25 * at[3])
    points = torch.linspace(-1, 1, bins)
    mean = torch.stack([body(scene, torch.full((4, 16), float(x)))[:, -1] for x in points]).mean(0)
    torch.testing.assert_close(mean, torch.zeros(4), atol=1e-5, rtol=0)


def test_an_additive_critic_of_the_joint_action_reads_the_others_in_its_features():
    size = sum(layout(agent, ZONES).size for agent in AGENTS)
    config = {"network": "zones", "hiddens": [16, 12], "critic": "additive", "action_bins": 5}
    body = make_body(config, size, (28, 12), is_critic=True, is_joint=True)
    scene, own, here, there = torch.rand(4, size), torch.rand(4, 12), torch.rand(4, 28), torch.rand(4, 28)
    assert not torch.allclose(body(scene, here, own)[:, :-1], body(scene, there, own)[:, :-1])


# ---- actors


def test_grouped_outputs_differ_by_their_deviation_alone():
    torch.manual_seed(0)
    features = torch.rand(6, 8)
    shared, own = (GroupedLinear(8, 5, 2, [3], deviation)(features).unflatten(1, (2, 5)) for deviation in (0.0, 0.1))
    for part in (0, 1):
        torch.testing.assert_close(shared[:, part, 1], shared[:, part, 0])
        torch.testing.assert_close(shared[:, part, 2], shared[:, part, 0])
        assert not torch.allclose(shared[:, part, 3], shared[:, part, 0])
    assert not torch.allclose(own[:, 0, 1], own[:, 0, 0])


@pytest.mark.parametrize("algorithm", ["SAC", "MADDPG"])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"initial_action": [0.5, -0.5, 0.1, 0.2]}, [0.5] * 5 + [-0.5] * 5 + [0.1, 0.2]),
        (
            {"network": "mlp", "action_groups": [5, 6], "initial_action": [0.5, -0.5, 0.2]},
            [0.5] * 5 + [-0.5] * 6 + [0.2],
        ),
        ({}, [0.0] * 12),
    ],
)
def test_actors_start_at_the_initial_action(algorithm, settings, expected):
    module = response_module({"algorithm": algorithm, "network": "zones", "hiddens": [8], **settings})
    out = module.forward_inference({"obs": torch.rand(3, module.observation_space.shape[0])})
    actions = out["actions"] if algorithm == "MADDPG" else torch.tanh(out["action_dist_inputs"][:, :12])
    torch.testing.assert_close(actions, torch.tensor([expected] * 3), atol=0.05, rtol=0)


def response_module(settings):
    simulator = soc_env.Simulator("soc-v1", num_envs=1, seed=0, num_networks=1)
    spaces = simulator.observation_spaces["response_orchestrator_0"], simulator.action_spaces["response_orchestrator_0"]
    config = HMARLConfig().tiers({"response_orchestrator": settings}, replace=True)
    joint = [gym.spaces.Dict(dict(own)) for own in (simulator.observation_spaces, simulator.action_spaces)]
    spec = config.get_multi_rl_module_spec(
        spaces={"response_orchestrator": spaces, INPUT_ENV_SINGLE_SPACES: tuple(joint)}
    )
    return spec.build()["response_orchestrator"]


@pytest.mark.parametrize("values", [[0.5], [0.5, 0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 1.0]])
def test_an_initial_action_of_another_size_or_at_the_bounds_is_refused(values):
    body = make_body({"network": "zones", "hiddens": [8]}, layout(ORCHESTRATOR, ZONES).size, keeps_zones=True)
    assert action_layer(body, 12, 1).out_features == 12
    with pytest.raises(ConfigError, match="initial_action .* 4 numbers"):
        initial_action(body, 12, {"initial_action": values})


@pytest.mark.parametrize("name", ["critic", "network"])
def test_an_unknown_kind_is_named(name):
    with pytest.raises(ConfigError, match=f"{name} 'zonal'"):
        HMARLConfig().tiers({"threat_hunter": {name: "zonal"}})


def test_an_additive_critic_needs_points():
    with pytest.raises(ConfigError, match="action_bins"):
        HMARLConfig().tiers({"threat_hunter": {"critic": "additive"}})
