"""The ends of networks: critics that are additive in their own action, actors in groups, where actors start."""

import pytest

pytest.importorskip("ray")
import torch
from network_scenes import ZONES, response_module

from policies import HMARLConfig
from policies.algorithms.maddpg import MADDPGRest
from policies.algorithms.ppo import GaussianHead
from policies.networks.blocks import (
    ActionValues,
    GroupedLinear,
    resting_action,
    value_layer,
)
from policies.networks.build import BodySpec, make_body
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR
from soc_env.errors import ConfigError
from soc_env.paper.tables import FEATURES
from soc_env.soc.tables import layout

# ---- critics that are additive in their own action


@pytest.mark.parametrize("network", ["zones", "attention", "mlp"])
def test_an_additive_critic_adds_a_piecewise_linear_value_of_every_entry(network):
    torch.manual_seed(0)
    size, bins = layout(HUNTER, ZONES).size, 5
    spec = BodySpec([16, 12], network, "threat_hunter", attention_heads=2, bins=bins, is_additive=True)
    body = make_body(spec, size, (16,))
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


@pytest.mark.parametrize("network", ["zones", "attention"])
def test_an_additive_critic_of_the_joint_action_reads_the_others_in_its_features(network):
    size = sum(layout(agent, ZONES).size for agent in AGENTS)
    spec = BodySpec([16, 12], network, "response_orchestrator", attention_heads=2, bins=5, is_additive=True)
    body = make_body(spec, size, (28, 12), is_joint=True)
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


@pytest.mark.parametrize("network", ["zones", "attention"])
def test_grouped_zones_differ_from_their_mean_by_their_deviation_alone(network):
    outputs = []
    for sharing in (None, 0.25):
        torch.manual_seed(0)
        spec = BodySpec([8, 8], network, "threat_hunter", has_groups=sharing is not None)
        body = make_body(spec, len(FEATURES[HUNTER]), keeps_zones=True)
        head = body.action_layer(16, 2, sharing)
        with torch.no_grad():
            head.zone.weight.normal_()
            head.whole.weight.normal_()
        outputs.append(head(body(torch.rand(6, len(FEATURES[HUNTER])))).unflatten(1, (2, 16)))
    free, grouped = outputs
    torch.testing.assert_close(grouped[..., 10:], free[..., 10:])
    free, grouped = (x[..., :10].unflatten(-1, (2, 5)) for x in outputs)
    mean = free.mean(-1, keepdim=True)
    torch.testing.assert_close(grouped, mean + 0.25 * (free - mean))
    assert (free - mean).abs().amax() > 0.1


@pytest.mark.parametrize("algorithm", ["SAC", "MADDPG"])
@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"rest": {"action": [0.5, -0.5, 0.1, 0.2]}}, [0.5] * 5 + [-0.5] * 5 + [0.1, 0.2]),
        (
            {"encoder": "mlp", "segment_sharing": 0.1, "rest": {"action": [0.5, -0.5, 0.1, 0.2]}},
            [0.5] * 5 + [-0.5] * 5 + [0.1, 0.2],
        ),
        ({"encoder": "mlp", "rest": {"action": [0.5, -0.5, *[0.1] * 10]}}, [0.5, -0.5] + [0.1] * 10),
        ({}, [0.0] * 12),
    ],
)
def test_actors_start_at_the_action_that_they_rest_at(algorithm, settings, expected):
    module = response_module({"algorithm": algorithm, "encoder": "zones", "hiddens": [8], **settings})
    actions = module.forward_inference({"obs": torch.rand(3, module.observation_space.shape[0])})["actions"]
    torch.testing.assert_close(actions, torch.tensor([expected] * 3), atol=0.05, rtol=0)


def test_zones_share_their_standard_deviation():
    body = make_body(BodySpec([8], "zones", "strategic_coordinator"), 194, keeps_zones=True)
    head = GaussianHead(body, 8, -1.0)
    with torch.no_grad():
        head.log_std.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    out = head(body(torch.rand(1, 194)))[0]
    assert out[8:].tolist() == [1.0] * 5 + [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("values", "allowed"),
    [([0.5], "4 numbers"), ([0.5] * 5, "4 numbers"), ([0.5, 0.5, 0.5, 1.0], "a number from -0.999 to 0.999")],
)
def test_a_resting_action_of_another_size_or_at_the_bounds_is_refused(values, allowed):
    body = make_body(
        BodySpec([8], "zones", "response_orchestrator"), layout(ORCHESTRATOR, ZONES).size, keeps_zones=True
    )
    assert body.action_layer(12, 1)(body(torch.zeros(1, layout(ORCHESTRATOR, ZONES).size))).shape == (1, 12)
    with pytest.raises(ConfigError, match=f"action=.* must be {allowed}"):
        resting_action(body, 12, MADDPGRest(action=values).action)


def test_outputs_are_shared_where_actions_are_by_zone_alone():
    spaces = {"strategic_coordinator": {"algorithm": "SAC", "segment_sharing": 0.1}}
    with pytest.raises(ConfigError, match="tier 'strategic_coordinator': segment_sharing has no effect, none of its"):
        make_body(BodySpec([8], "mlp", "strategic_coordinator", has_groups=True), len(FEATURES[COORDINATOR]))
    assert HMARLConfig().tiers(spaces).tier("strategic_coordinator").segment_sharing == 0.1  # it has zones in soc-v1


def test_an_additive_critic_needs_points():
    with pytest.raises(ConfigError, match="critic.bins=0 must be 2 or more for an additive critic"):
        HMARLConfig().tiers({"threat_hunter": {"critic": {"kind": "additive"}}})


def test_the_greedy_action_of_sac_is_in_the_middle_of_its_draws():
    module = response_module({"algorithm": "SAC", "encoder": "zones", "hiddens": [8]})
    with torch.no_grad():
        module.pi.linear.bias.chunk(2)[0].fill_(1.0)  # 0.76 after the tanh
    seen = torch.rand(1, module.observation_space.shape[0])
    greedy = module.draw(seen, explore=False).actions
    drawn = torch.cat([module.draw(seen, explore=True).actions for _ in range(400)])
    torch.testing.assert_close(drawn.median(0).values, greedy[0], atol=0.02, rtol=0)
    torch.testing.assert_close(module.forward_inference({"obs": seen})["actions"], greedy)
