"""Networks inside the tiers' modules: what they read, the order of zones, masks, which settings are refused."""

import numpy as np
import pytest

pytest.importorskip("ray")
import gymnasium as gym
import torch
from network_scenes import WIDTH, ZONES, joined, module_of, swap, swap_action
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES

import soc_env
from policies import HMARLConfig
from policies.networks.build import BodySpec, make_body, masked
from policies.networks.tokens import ENTRIES, PAPER_ENTRIES, joint_tokens, own_tokens
from policies.networks.zones import ZoneMLP
from policies.runner.acting import act
from policies.tiers import DEFAULT_TIERS, tier_of
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ConfigError
from soc_env.paper.tables import ACTIONS, FEATURES
from soc_env.soc.tables import actions, layout


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
    out = joined(body(scene, *(torch.zeros(len(scene), dim) for dim in dims)))
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


@pytest.mark.parametrize("network", ["zones", "attention"])
@pytest.mark.parametrize("sizes", [(352, 28, 12), (64,), (layout(HUNTER, 3).size,)], ids=str)
def test_what_is_prepared_stands_for_the_rows_that_it_was_made_of(network, sizes):
    """Some of them, by a slice and by numbers; gradients are those of the rows too."""
    torch.manual_seed(0)
    role = {352: "response_orchestrator", 64: "alert_triage"}.get(sizes[0], "threat_hunter")
    body = make_body(BodySpec([8, 8], network, role, bins=5), sizes[0], sizes[1:], is_joint=len(sizes) > 1)
    rows = [torch.rand(20, size) * 2 - 1 for size in sizes]
    prepared = body.prepare(*rows)
    assert len(prepared) == 20
    for chosen in (slice(3, 9), torch.tensor([7, 0, 7])):
        found, wanted = body(prepared[chosen]), body(*(column[chosen] for column in rows))
        torch.testing.assert_close(found, wanted, atol=1e-6, rtol=1e-6)
        gradients = [torch.autograd.grad(out.sum(), body.embedding.context.weight)[0] for out in (found, wanted)]
        torch.testing.assert_close(*gradients, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(body(prepared[:1]), body(prepared[1:2]))


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
