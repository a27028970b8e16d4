"""Networks inside the tiers' modules: zone by zone, additive critics, outputs in groups, where actors start."""

import copy
import logging

import numpy as np
import pytest

pytest.importorskip("ray")
import gymnasium as gym
import ray
import torch
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

import soc_env
from experiments.attention import explained_moment
from experiments.evaluate import evaluate_checkpoint
from experiments.plots import draw_attention
from policies import HMARLConfig, load_policy, save_checkpoint
from policies.algorithms.maddpg import MADDPGRest
from policies.algorithms.ppo import GaussianHead
from policies.checkpoint import TrainedPolicy
from policies.networks.blocks import (
    ActionValues,
    GroupedLinear,
    resting_action,
    value_layer,
)
from policies.networks.build import BodySpec, make_body, masked
from policies.networks.tokens import CASE_ZONE, ENTRIES, PAPER_ENTRIES, PRESENT, joint_tokens, own_tokens
from policies.networks.zones import ZoneMLP
from policies.runner.acting import act
from policies.tiers import DEFAULT_TIERS, tier_of
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ConfigError
from soc_env.paper.tables import ACTIONS, FEATURES
from soc_env.soc.tables import ZONE_FEATURES, actions, layout

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
    per_zone, _ = ENTRIES[agent]
    out = action.clone()
    for k in range(per_zone):
        group = slice(k * len(order), (k + 1) * len(order))
        out[..., group] = action[..., group][..., order]
    return out


def test_sizes_say_what_is_what():
    for zones in range(1, 17):
        for agent in AGENTS:
            own = own_tokens(agent, layout(agent, zones).size)
            assert (len(own.zones), len(own.cases)) == (zones, layout(agent, zones).num_cases)
            assert own.read.tolist() == list(range(layout(agent, zones).size))
            per_zone, whole = ENTRIES[agent]
            assert len(actions(agent, zones)) == per_zone * zones + whole
        joint = joint_tokens(sum(layout(agent, zones).size for agent in AGENTS))
        assert joint is own_tokens(TRIAGE, layout(TRIAGE, zones).size)
    for agent, shape in {TRIAGE: (0, 0), HUNTER: (5, 14), ORCHESTRATOR: (5, 12), COORDINATOR: (5, 4)}.items():
        assert own_tokens(agent, len(FEATURES[agent])).zones.shape == shape
        assert len(ACTIONS[agent]) == PAPER_ENTRIES[agent][0] * ZONES + PAPER_ENTRIES[agent][1]
    assert joint_tokens(352).zones.shape == (5, 4 + 10 + 8)
    assert PAPER_ENTRIES == {TRIAGE: (0, 4), HUNTER: (2, 6), ORCHESTRATOR: (2, 2), COORDINATOR: (0, 8)}
    for tokens in (own_tokens(TRIAGE, 64), joint_tokens(352)):
        oldest = tokens.cases[0]
        assert FEATURES[TRIAGE][oldest[tokens.present]].name == "alert0_severity"
        assert FEATURES[TRIAGE][oldest[tokens.case_zone]].name == "alert0_segment"
    for read in (lambda: own_tokens(HUNTER, 64), lambda: joint_tokens(353)):
        with pytest.raises(ConfigError, match=r"paper-v0 or of the soc-v1 family; there is none of size (64|353)"):
            read()
    with pytest.raises(ConfigError, match="tier 'prey': .* paper-v0 or of the soc-v1 family; allowed tiers: alert_tri"):
        make_body(BodySpec([8, 8], "attention", "prey"), 64)


@pytest.mark.parametrize("network", ["zones", "attention"])
@pytest.mark.parametrize("agents", [*((agent,) for agent in AGENTS), AGENTS], ids=lambda agents: "+".join(agents))
def test_every_fact_of_paper_v0_is_read_once(agents, network):
    """In a joint observation what agents share is read where it comes first; padding is not read."""
    torch.manual_seed(0)
    rows = [row for agent in agents for row in FEATURES[agent]]
    names = [row.name for row in rows]
    expected = [k for k, row in enumerate(rows) if row.low < row.high and row.name not in names[:k]]
    is_joint = len(agents) > 1
    dims = (28, 12) if is_joint else ()
    role = "response_orchestrator" if is_joint else agents[0].removesuffix("_0")
    body = make_body(BodySpec([32, 32], network, role), len(rows), dims, is_joint=is_joint, keeps_zones=not is_joint)
    tokens = body.tokens
    assert sorted([*tokens.zones.flat, *tokens.cases.flat, *tokens.context]) == expected
    scene = torch.rand(1, len(rows)).expand(len(rows) + 1, -1).clone()
    scene[range(len(rows)), range(len(rows))] += 0.5  # row k differs in entry k from the last row
    out = body(scene, *(torch.zeros(len(scene), dim) for dim in dims))
    moved = (out[:-1] - out[-1]).abs().amax(1)
    assert (moved > 1e-5).nonzero().flatten().tolist() == expected
    assert moved.count_nonzero() == len(expected)


def test_a_joint_critic_reads_an_action_where_it_acts():
    others = [agent for agent in AGENTS if agent != ORCHESTRATOR]
    names = [row.name for agent in (*others, ORCHESTRATOR) for row in ACTIONS[agent]]
    spec = BodySpec([8, 8], "attention", "response_orchestrator")
    body, zone, context = make_body(spec, 352, (28, 12), is_joint=True), [], []
    body.embedding.add_actions(torch.arange(float(len(names))).unsqueeze(0), zone, context)
    found = [[names[k] for k in row] for row in torch.cat(zone, -1)[0].int().tolist()]
    assert found == [[f"{tool}_{s}" for tool in ("intensity", "scope", "isolate", "remediate")] for s in range(ZONES)]
    read = [names[k] for k in torch.cat(context, -1)[0].int().tolist()]
    assert sorted(sum(found, read)) == sorted(names)


def test_zones_in_another_order_give_actions_in_that_order():
    torch.manual_seed(0)
    shape, order = layout(HUNTER, ZONES), torch.tensor([2, 0, 4, 1, 3])
    body = ZoneMLP(HUNTER, own_tokens(HUNTER, shape.size), [16, 12], keeps_zones=True)
    head = body.action_layer(16, 2)
    with torch.no_grad():
        head.zone.weight.mul_(100)
        head.whole.weight.mul_(100)
    scene = torch.rand(6, shape.size)
    here, there = (head(body(x)).unflatten(1, (2, 16)) for x in (scene, swap(scene, order, shape)))
    torch.testing.assert_close(swap_action(here, order, HUNTER), there)
    assert not torch.allclose(here, there, atol=1e-3)


@pytest.mark.parametrize("bins", [0, 5])
@pytest.mark.parametrize("network", ["zones", "attention"])
def test_a_critic_does_not_care_about_the_order_of_zones_but_about_what_is_done_where(network, bins):
    torch.manual_seed(0)
    shape, order = layout(TRIAGE, ZONES), torch.tensor([2, 0, 4, 1, 3])
    size = sum(layout(agent, ZONES).size for agent in AGENTS)
    spec = BodySpec([16, 12], network, "response_orchestrator", attention_heads=2, layer_norm=True, bins=bins)
    body = make_body(spec, size, (28, 12), is_joint=True)
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
    body = ZoneMLP(TRIAGE, own_tokens(TRIAGE, shape.size), [8])
    rows = np.random.default_rng(0).random((500, shape.size)) * np.linspace(1, 2, shape.size)
    norm = body.embedding.norm
    norm.set(rows.mean(0), rows.var(0))
    zones = rows[:, : shape.case_start].reshape(-1, WIDTH)
    np.testing.assert_allclose(norm.mean[:WIDTH], zones.mean(0), rtol=1e-5)
    np.testing.assert_allclose(1 / norm.inv_std[:WIDTH], zones.std(0), rtol=1e-4)
    clock = (rows[:, shape.clock_start :] - rows.mean(0)[shape.clock_start :]) / rows.std(0)[shape.clock_start :]
    normal = norm(torch.from_numpy(rows).float())
    np.testing.assert_allclose(normal[:, shape.clock_start :], clock, atol=1e-3)
    np.testing.assert_allclose(normal[:, :WIDTH], (rows[:, :WIDTH] - zones.mean(0)) / zones.std(0), atol=1e-3)


@pytest.mark.parametrize("scenario", ["soc-v1", "paper-v0"])
@pytest.mark.parametrize("network", ["zones", "attention", "mlp"])
def test_every_tier_takes_the_network(network, scenario):
    simulator = soc_env.Simulator(scenario, num_envs=3, seed=0)
    config = HMARLConfig().tiers({tier: {"encoder": network, "hiddens": [8, 8]} for tier in DEFAULT_TIERS})
    spaces = {tier_of(a): (simulator.observation_spaces[a], simulator.action_spaces[a]) for a in simulator.agents}
    joint = [gym.spaces.Dict(dict(own)) for own in (simulator.observation_spaces, simulator.action_spaces)]
    modules = config.get_multi_rl_module_spec(spaces={**spaces, INPUT_ENV_SINGLE_SPACES: tuple(joint)}).build()
    for agent, observation in simulator.reset().items():
        batch = {"obs": torch.from_numpy(observation)}
        out = modules[tier_of(agent)].forward_inference(batch)
        assert all(torch.isfinite(value).all() for value in out.values())
        kinds = {type(module).__name__ for module in modules[tier_of(agent)].modules()}
        assert ("ZoneMLP" in kinds) == (network != "mlp")


# ---- another number of zones


def heads(network):
    return {"attention_heads": 2} if network == "attention" else {}


def policy_of(network, scenario="soc-v1", **settings):
    """Untrained tiers with weights large enough to tell actions apart, and statistics as if they had seen something."""
    torch.manual_seed(0)
    simulator = soc_env.Simulator(scenario, num_envs=1, seed=0)
    settings = {"encoder": network, "hiddens": [16, 12], **heads(network), **settings}
    config = HMARLConfig().tiers(dict.fromkeys(DEFAULT_TIERS, settings))
    spaces = {tier_of(a): (simulator.observation_spaces[a], simulator.action_spaces[a]) for a in simulator.agents}
    joint = [gym.spaces.Dict(dict(own)) for own in (simulator.observation_spaces, simulator.action_spaces)]
    spec = config.get_multi_rl_module_spec(spaces={**spaces, INPUT_ENV_SINGLE_SPACES: tuple(joint)})
    modules = spec.build()
    with torch.no_grad():
        for module in modules._rl_modules.values():
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
            for norm, _ in module.input_norms():
                norm.mean.copy_(torch.rand(norm.mean.shape) / 4)
                norm.inv_std.copy_(1 + torch.rand(norm.mean.shape))
            for head, num_parts in module.action_heads():
                head.bias.chunk(num_parts)[0].add_(torch.rand(head.bias.chunk(num_parts)[0].shape) / 4)
    return TrainedPolicy(dict(modules._rl_modules))


def scenes(num_zones, num_scenes=6):
    """{agent: (N, size)} in which every feature is in use; half of the cases exist."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for agent in AGENTS:
        shape = layout(agent, num_zones)
        seen = torch.rand(num_scenes, shape.size, generator=generator)
        cases = seen[:, shape.case_start : shape.directive_start].view(num_scenes, shape.num_cases, -1)
        cases[..., PRESENT] = (cases[..., PRESENT] > 0.5).float()
        cases[..., CASE_ZONE] = (cases[..., CASE_ZONE] * num_zones).floor() / 16
        found[agent] = seen
    return found


def paper_scenes(num_scenes=6):
    """{agent: (N, size)} of paper-v0 in which every entry is in use; half of the alerts exist."""
    generator = torch.Generator().manual_seed(1)
    found = {agent: torch.rand(num_scenes, len(rows), generator=generator) for agent, rows in FEATURES.items()}
    alerts = found[TRIAGE][:, own_tokens(TRIAGE, 64).cases]
    alerts[..., 2] = (alerts[..., 2] * ZONES).floor() / ZONES
    alerts *= (alerts[..., :1] > 0.5).float()
    found[TRIAGE][:, own_tokens(TRIAGE, 64).cases] = alerts
    return found


def with_zones_renamed(seen, order, shape):
    """`swap`, and cases name their zones by the new order."""
    out = swap(seen, order, shape)
    cases = out[:, shape.case_start : shape.directive_start].view(len(out), shape.num_cases, -1)
    old = (cases[..., CASE_ZONE] * 16).round().long()
    cases[..., CASE_ZONE] = torch.argsort(order)[old] / 16
    return out


def as_arrays(observations):
    return {agent: seen.numpy() for agent, seen in observations.items()}


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


# ---- triage's impossible choices


@pytest.mark.parametrize("network", ["attention", "mlp"])
@pytest.mark.parametrize("algorithm", ["DQN", "PPO"])
def test_a_masked_triage_takes_possible_choices_alone(algorithm, network):
    simulator = soc_env.Simulator("soc-v1", num_envs=32, seed=0, num_networks=1)
    found = {}
    for action_masking in (True, False):
        torch.manual_seed(0)
        own = {"algorithm": algorithm, "encoder": network, "hiddens": [8, 8], "action_masking": action_masking}
        module, wrong = module_of("alert_triage", own), 0
        observations = simulator.reset()
        for _ in range(30):
            choice = act(module, observations[TRIAGE], explore=True).executed
            wrong += int((simulator.action_masks()[TRIAGE][np.arange(32), choice] == 0).sum())
            simulator.actions[TRIAGE][...] = choice
            simulator.step()
        found[action_masking] = wrong
        mask = torch.from_numpy(simulator.action_masks()[TRIAGE]) == 0
        batch = {"obs": torch.from_numpy(observations[TRIAGE])}
        values = module.compute_q_values(batch)["qf_preds"] if algorithm == "DQN" else module.forward_train(batch)
        values = values if algorithm == "DQN" else values["action_dist_inputs"]
        assert mask.any()
        assert bool((values[mask] < -1e30).all()) == action_masking
        assert (values[~mask].abs() < 1e3).all()
    assert found[True] == 0
    assert found[False] > 20


def test_there_is_no_mask_in_paper_v0():
    with pytest.raises(ConfigError, match="action_masking reads triage's observation in the soc-v1 family"):
        masked(True, torch.zeros(1, 4), torch.zeros(1, 64), 0.0)


@pytest.mark.parametrize(("tier", "value"), [("alert_triage", 3), ("threat_hunter", True)])
def test_only_triage_has_a_mask(tier, value):
    with pytest.raises(ConfigError, match=f"tier '{tier}': action_masking={value} "):
        HMARLConfig().tiers({tier: {"algorithm": "PPO", "action_masking": value}})


# ---- attention


@pytest.mark.parametrize("scenario", ["soc-v1", "paper-v0"])
def test_attention_is_a_share_of_what_is_there(scenario):
    policy, observations = policy_of("attention", scenario), paper_scenes()
    if scenario == "soc-v1":
        policy, observations = policy.for_zones(3), scenes(3)
    found = policy.attention(as_arrays(observations))
    assert set(found) == set(AGENTS)
    for agent, shares in found.items():
        tokens = policy.tokens(agent)
        zones, names = len(tokens.zones), tokens.names
        assert shares.shape == (6, 2, len(names), len(names))
        np.testing.assert_allclose(shares.sum(-1), 1, atol=1e-5)
        assert np.ptp(shares[..., : zones + 1]) > 0.05
        kinds = ("zone", "case") if scenario == "soc-v1" else ("segment", "alert")
        numbered = [f"{kinds[0]} {z}" for z in range(zones)], [f"{kinds[1]} {k}" for k in range(len(tokens.cases))]
        assert names == [*numbered[0], "context", *numbered[1]]
        if len(tokens.cases):
            is_absent = (observations[agent][:, tokens.cases[:, tokens.present]] <= 0).numpy()
            assert is_absent.any()
            assert (shares[..., zones + 1 :].transpose(0, 3, 1, 2)[is_absent] == 0).all()
    assert [len(policy.tokens(agent).zones) for agent in AGENTS] == ([3] * 4 if scenario == "soc-v1" else [0, 5, 5, 5])
    assert policy_of("zones", scenario).attention(as_arrays(observations)) == {}
    assert policy_of("zones", scenario).tokens(HUNTER) is None


@pytest.mark.parametrize("scenario", ["soc-v1", "paper-v0"])
@pytest.mark.parametrize("is_joint", [False, True])
def test_an_absent_case_changes_nothing(scenario, is_joint):
    """But for the first, whose entries the context reads as they are."""
    torch.manual_seed(0)
    seen = {"soc-v1": scenes(ZONES), "paper-v0": paper_scenes()}[scenario]
    scene = torch.cat([seen[agent] for agent in AGENTS], 1) if is_joint else seen[TRIAGE]
    spec = BodySpec([16, 16, 12], "attention", "alert_triage")
    acts = [*(torch.rand(6, dim) for dim in ((36, 4) if is_joint else ()))]
    body = make_body(spec, scene.shape[1], (36, 4) if is_joint else (), is_joint=is_joint)
    tokens, other = body.tokens, scene.clone()
    cases = other[:, tokens.cases]
    there = cases[..., tokens.present] > 0
    filled = torch.rand_like(cases)
    filled[..., tokens.present] = 0.0
    filled[there] = cases[there]
    filled[:, 0] = cases[:, 0]
    other[:, tokens.cases] = filled
    assert not torch.equal(other, scene)
    torch.testing.assert_close(body(other, *acts), body(scene, *acts))


def test_a_case_and_its_zone_hear_more_of_each_other():
    policy, seen = policy_of("attention"), scenes(ZONES, 1)
    shape = layout(TRIAGE, ZONES)
    cases = seen[TRIAGE][:, shape.case_start : shape.directive_start].view(1, shape.num_cases, -1)
    cases[..., PRESENT] = 1.0
    shares = []
    for zone in (1, 4):
        cases[0, 2, CASE_ZONE] = zone / 16
        shares.append(policy.attention({TRIAGE: seen[TRIAGE].numpy()})[TRIAGE][0])
    place = policy.tokens(TRIAGE).names.index("case 2")
    assert (shares[0][:, 1, place] > shares[1][:, 1, place]).all()
    assert (shares[0][:, place, 4] < shares[1][:, place, 4]).all()


@pytest.mark.parametrize("is_joint", [False, True])
def test_alerts_of_a_segment_hear_more_of_each_other_or_of_the_segment(is_joint):
    """Where segments are shown the link is to the segment, else among its alerts and the context if it is of these."""
    torch.manual_seed(0)
    seen = torch.rand(1, 352)[:, : 352 if is_joint else 64]
    spec = BodySpec([8, 8], "attention", "alert_triage")
    body = make_body(spec, seen.shape[1], (36, 4)[: 2 * is_joint], is_joint=is_joint)
    names, alerts = body.tokens.names, body.tokens.cases
    seen[:, alerts[:, 2]] = torch.arange(10.0) % 5 / 5  # alerts k and k + 5 are in segment k
    links, is_absent = body.relations(seen)
    linked = {(names[a], names[b]) for a, b in links[0].nonzero().tolist()}
    there = [(f"alert {k}", f"segment {k % 5}") for k in range(10)]
    if not is_joint:
        there = [(f"alert {k}", f"alert {j}") for k in range(10) for j in (k % 5, k % 5 + 5)]
        there += [("context", name) for name in ("context", "alert 0", "alert 5")]
    assert linked == {*there, *((b, a) for a, b in there)}
    assert not is_absent.any()


@pytest.mark.parametrize("network", ["zones", "attention"])
def test_a_number_tells_segments_apart(network):
    """Segments of paper-v0 that look the same are treated the same until their numbers mean something."""
    torch.manual_seed(0)
    spec = BodySpec([16, 12], network, "threat_hunter")
    body, seen = make_body(spec, 128, keeps_zones=True), paper_scenes()[HUNTER]
    seen[:, body.tokens.zones] = seen[:, body.tokens.zones[:1]].expand(-1, ZONES, -1)
    of_segments = body(seen).unflatten(1, (ZONES + 1, -1))[:, :ZONES]
    torch.testing.assert_close(of_segments, of_segments[:, :1].expand(-1, ZONES, -1))
    with torch.no_grad():
        body.embedding.numbers.normal_()
    of_segments = body(seen).unflatten(1, (ZONES + 1, -1))[:, :ZONES].detach()
    assert all((of_segments[:, s] - of_segments[:, t]).abs().max() > 1e-2 for s in range(ZONES) for t in range(s))
    assert make_body(spec, layout(HUNTER, ZONES).size).embedding.numbers is None


def test_the_heat_map_of_paper_v0():
    moment = explained_moment(policy_of("attention", "paper-v0"), soc_env.make_scenario("paper-v0"), 2_000_003)
    segments = [f"segment {s}" for s in range(ZONES)]
    assert {agent: own["decisions"] for agent, own in moment["agents"].items()} == {
        TRIAGE: ["context"],
        HUNTER: [*segments, "context"],
        ORCHESTRATOR: [*segments, "context"],
        COORDINATOR: ["context"],
    }
    assert moment["agents"][TRIAGE]["tokens"] == ["context", *(f"alert {k}" for k in range(10))]
    shares = np.array(moment["agents"][TRIAGE]["shares"])
    assert (shares[0, 1:4] > 0).all()  # the moment is one with alerts
    panels = draw_attention(moment["agents"]).axes
    assert [len(panel.get_yticklabels()) for panel in panels] == [1, 6, 6, 1]
    mixed = {"alert_triage": policy_of("mlp", "paper-v0").modules["alert_triage"]}
    assert explained_moment(TrainedPolicy(mixed), soc_env.make_scenario("paper-v0"), 2_000_003) == {}


@pytest.fixture
def local_ray():
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    yield
    ray.shutdown()


@pytest.mark.usefixtures("local_ray")
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


@pytest.mark.usefixtures("local_ray")
def test_attention_learns_paper_v0_and_its_checkpoint_acts_the_same(tmp_path):
    own = {"encoder": "attention", "hiddens": [8, 8], "attention_heads": 2}
    ppo = {"train_batch_size": 32, "minibatch_size": 16, "num_epochs": 1}
    critic = {"critic": {"kind": "additive", "bins": 3}, "actor_lr": 1e-3}
    config = HMARLConfig().environment("paper-v0", env_config={"max_steps": 20}).debugging(seed=0, log_level="ERROR")
    config.tiers(dict.fromkeys(DEFAULT_TIERS, own)).tiers({"strategic_coordinator": ppo})
    config.tiers({"threat_hunter": critic, "response_orchestrator": critic})
    config.env_runners(num_envs_per_env_runner=8)
    config.training(train_batch_size=160, learning_starts=0, random_steps=0, replay_batch_size=16)
    algo = config.training(updates_per_iteration=2).build_algo()

    def learned():
        modules = {tier: group._learner.module[tier].unwrapped() for tier, group in algo.learner_group.groups.items()}
        return {f"{tier} {n}": p.detach().clone() for tier, m in modules.items() for n, p in m.named_parameters()}

    before = learned()
    for _ in range(2):
        algo.train()
    after = learned()
    still = [name for name in before if torch.equal(before[name], after[name])]
    assert [name for name in still if "target" not in name and "log_std" not in name] == []
    folder = save_checkpoint(algo, tmp_path / "c", replay=False)
    modules = algo.averaged_modules()
    algo.stop()
    policies, seen = (load_policy(folder), TrainedPolicy(modules)), as_arrays(paper_scenes())
    found = [policy(seen, np.ones(6, bool)) for policy in policies]
    shares = [policy.attention(seen) for policy in policies]
    for agent in AGENTS:
        np.testing.assert_array_equal(found[0][agent], found[1][agent])
        np.testing.assert_array_equal(shares[0][agent], shares[1][agent])


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
    out = module.forward_inference({"obs": torch.rand(3, module.observation_space.shape[0])})
    actions = out["actions"] if algorithm == "MADDPG" else torch.tanh(out["action_dist_inputs"][:, :12])
    torch.testing.assert_close(actions, torch.tensor([expected] * 3), atol=0.05, rtol=0)


def response_module(settings):
    return module_of("response_orchestrator", settings)


def module_of(tier, settings):
    """The untrained module of a tier of soc-v1, with its settings replaced."""
    simulator = soc_env.Simulator("soc-v1", num_envs=1, seed=0, num_networks=1)
    joint = simulator.observation_spaces, simulator.action_spaces
    spaces = {tier_of(agent): (joint[0][agent], joint[1][agent]) for agent in simulator.agents}
    config = HMARLConfig().tiers({tier: settings})
    return config.get_multi_rl_module_spec(spaces={**spaces, INPUT_ENV_SINGLE_SPACES: joint}).build()[tier]


def test_zones_share_their_standard_deviation():
    body = make_body(BodySpec([8], "zones", "strategic_coordinator"), 194, keeps_zones=True)
    head = GaussianHead(body, 8, -1.0)
    with torch.no_grad():
        head.log_std.copy_(torch.tensor([1.0, 2.0, 3.0, 4.0]))
    out = head(torch.rand(1, body.width * (ZONES + 1)))[0]
    assert out[8:].tolist() == [1.0] * 5 + [2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("values", "allowed"),
    [([0.5], "4 numbers"), ([0.5] * 5, "4 numbers"), ([0.5, 0.5, 0.5, 1.0], "a number from -0.999 to 0.999")],
)
def test_a_resting_action_of_another_size_or_at_the_bounds_is_refused(values, allowed):
    body = make_body(
        BodySpec([8], "zones", "response_orchestrator"), layout(ORCHESTRATOR, ZONES).size, keeps_zones=True
    )
    assert body.action_layer(12, 1)(torch.zeros(1, body.width * (ZONES + 1))).shape == (1, 12)
    with pytest.raises(ConfigError, match=f"action=.* must be {allowed}"):
        resting_action(body, 12, MADDPGRest(action=values).action)


def test_outputs_are_shared_where_actions_are_by_zone_alone():
    spaces = {"strategic_coordinator": {"algorithm": "SAC", "segment_sharing": 0.1}}
    with pytest.raises(ConfigError, match="tier 'strategic_coordinator': segment_sharing has no effect, none of its"):
        make_body(BodySpec([8], "mlp", "strategic_coordinator", has_groups=True), len(FEATURES[COORDINATOR]))
    assert HMARLConfig().tiers(spaces).tier("strategic_coordinator").segment_sharing == 0.1  # it has zones in soc-v1


@pytest.mark.parametrize(("name", "settings"), [("critic.kind", {"critic": {"kind": "zonal"}}), ("encoder", "zonal")])
def test_an_unknown_kind_is_named(name, settings):
    with pytest.raises(ConfigError, match=f"{name} 'zonal'"):
        HMARLConfig().tiers({"threat_hunter": settings if isinstance(settings, dict) else {name: settings}})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "attention", "attention_heads": 0}, "attention_heads=0 must be an integer from 1"),
        ({"encoder": "attention", "attention_heads": 2.5}, "attention_heads=2.5 must be an integer"),
        ({"encoder": "attention", "hiddens": [64]}, r"hiddens=\[64\] must be 2 layers or more with attention"),
    ],
)
def test_settings_of_attention_are_checked(settings, message):
    with pytest.raises(ConfigError, match=message):
        HMARLConfig().tiers({"threat_hunter": settings})


def test_an_additive_critic_needs_points():
    with pytest.raises(ConfigError, match="critic.bins=0 must be 2 or more for an additive critic"):
        HMARLConfig().tiers({"threat_hunter": {"critic": {"kind": "additive"}}})
