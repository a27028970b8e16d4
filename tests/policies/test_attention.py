"""Attention: what it weighs, what it does not read, how it is drawn, that it learns."""

import numpy as np
import pytest

pytest.importorskip("ray")
import torch
from network_scenes import ZONES, as_arrays, paper_scenes, policy_of, scenes

import soc_env
from experiments.attention import explained_moment
from experiments.plots import draw_attention
from policies import HMARLConfig, load_policy, save_checkpoint
from policies.networks.build import BodySpec, make_body
from policies.networks.tokens import CASE_ZONE, PRESENT
from policies.tiers import DEFAULT_TIERS
from policies.trained import TrainedPolicy
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.soc.tables import layout

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
    of_segments = body(seen).zones
    torch.testing.assert_close(of_segments, of_segments[:, :1].expand(-1, ZONES, -1))
    with torch.no_grad():
        body.embedding.numbers.normal_()
    of_segments = body(seen).zones.detach()
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
