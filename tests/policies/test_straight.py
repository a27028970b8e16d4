"""Gradient steps in a straight line are those of the losses that other networks go by: gradients, losses, draws."""

from __future__ import annotations

import pytest

pytest.importorskip("ray")
import numpy as np
import torch
from learner_scenes import ADDITIVE, ROWS, SIZES, TIMES, learner_of
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

from policies.learners.terms import TEACHER_ACTIONS, TEACHER_WEIGHT
from policies.networks import reading
from policies.networks.build import BodySpec, make_body
from policies.networks.passes import Workspace, read_alike
from policies.presets import PRESETS
from soc_env.engine.tables import AGENTS, HUNTER
from soc_env.soc.tables import actions, layout

pytestmark = pytest.mark.usefixtures("quiet")

TOLD = {"critic": {**ADDITIVE["critic"], "reads_state": True}}
ZONES = {"encoder": "zones", **SIZES}
ADDITIVE_PLAIN = {"critic": {"kind": "additive", "bins": 4}}
SAC, MADDPG = "threat_hunter", "response_orchestrator"
PPO = "strategic_coordinator"
ALGORITHMS = {SAC: "SAC", MADDPG: "MADDPG", "alert_triage": "SAC", PPO: "PPO"}
CASES = {
    "sac": (SAC, ADDITIVE),
    "sac, bounded": (
        SAC,
        {
            **ADDITIVE,
            "actor": {"mean_bound": 1.5, "initial_log_std": -1.0, "log_std_range": [-1.6, -0.6]},
            "rest": {"weight": 0.3, "action": [0.2, -0.1, 0.0, 0.3]},
        },
    ),
    "sac, wide": (SAC, {**ADDITIVE, "actor": {"initial_log_std": 2.0}}),  # half of what is drawn is cut off
    "sac, no norms, one critic": (SAC, {"critic": {"kind": "additive", "bins": 4, "twin": False}, "hiddens": [8]}),
    "maddpg": (MADDPG, ADDITIVE),
    "maddpg, smoothed": (
        MADDPG,
        {**ADDITIVE, "actor": {"mean_bound": 1.5, "smoothing": [0.15, 1.0]}, "rest": {"weight": 0.2}},
    ),
    "maddpg, no norms, deep": (MADDPG, {**ADDITIVE_PLAIN, "hiddens": [12, 8, 8]}),
    "maddpg, one critic": (MADDPG, {"critic": {"kind": "additive", "bins": 5, "layer_norm": True, "twin": False}}),
    "maddpg, preset": (MADDPG, PRESETS["soc-v1"]["tiers"][MADDPG]),
    "sac, attention": (SAC, {**ADDITIVE, "encoder": "attention"}),
    "maddpg, attention": (MADDPG, {**ADDITIVE_PLAIN, "encoder": "attention", "hiddens": [12, 8, 8]}),
    "sac, state": (SAC, TOLD),
    "sac, state, attention": (SAC, {**TOLD, "encoder": "attention"}),
    "maddpg, state": (MADDPG, TOLD),
    "sac, preset": (SAC, PRESETS["soc-v1"]["tiers"][SAC]),
    "sac, mlp": (SAC, {**ADDITIVE, "encoder": "mlp"}),
    "sac, mlp, no norms, one critic": (
        SAC,
        {"critic": {"kind": "additive", "bins": 4, "twin": False}, "hiddens": [8], "encoder": "mlp"},
    ),
    "sac, mlp, state": (SAC, {**TOLD, "encoder": "mlp"}),
    "sac, mlp, preset": (SAC, {"encoder": "mlp", **PRESETS["paper-v0"]["tiers"][SAC]}),
    "maddpg, mlp": (MADDPG, {**ADDITIVE, "encoder": "mlp", "segment_sharing": 0.1}),
    "maddpg, mlp, no norms, deep": (MADDPG, {**ADDITIVE_PLAIN, "hiddens": [12, 8, 8], "encoder": "mlp"}),
    "maddpg, mlp, state, one critic": (
        MADDPG,
        {"critic": {**TOLD["critic"], "twin": False}, "encoder": "mlp"},
    ),
    "ppo, mlp": (PPO, {"encoder": "mlp", "entropy_coeff": 0.1}),
    "ppo, mlp, clipped": (
        PPO,
        {"encoder": "mlp", "hiddens": [8], "rllib": {"vf_clip_param": 1.0, "vf_loss_coeff": 0.3, "clip_param": 0.5}},
    ),
    "ppo, mlp, state": (PPO, {"encoder": "mlp", "critic": {"reads_state": True}}),
    "ppo, mlp, preset": (  # what it draws is far from these rows
        PPO,
        {"encoder": "mlp", **PRESETS["paper-v0"]["tiers"][PPO], "actor": {"initial_log_std": 0.0}},
    ),
    "maddpg, mlp, preset": (MADDPG, {"encoder": "mlp", **PRESETS["paper-v0"]["tiers"][MADDPG]}),
}


RATES = {"actor_lr": 0.0, "critic_lr": 0.0}  # weights stay, so that the second step's gradients compare too


def stepped(case, monkeypatch, is_straight, has_teacher=False):
    """What two gradient steps on different rows leave: {parameter: gradient}, what is measured, the learner."""
    tier, settings = CASES[case]
    rates = {"lr": 0.0} if tier == PPO else RATES | ({"alpha_lr": 0.0} if tier == SAC else {})
    learner, batch = learner_of(tier, {"algorithm": ALGORITHMS[tier], **ZONES, **settings, **rates})
    if has_teacher:
        batch |= {TEACHER_ACTIONS: -batch[Columns.ACTIONS], TEACHER_WEIGHT: np.full(ROWS, 0.5, np.float32)}
    if not is_straight:
        monkeypatch.setattr(type(learner), "straight", lambda *_: None)
    learner.generator.manual_seed(5)
    whole = MultiAgentBatch({tier: SampleBatch(batch)}, ROWS)
    results = learner.update(batch=whole, timesteps=TIMES, minibatch_size=ROWS // 2)[tier]
    parameters = dict(learner.module[tier].unwrapped().named_parameters())
    if tier == SAC:
        parameters["log_alpha"] = learner.curr_log_alpha[tier]
    gradients = {name: p.grad for name, p in parameters.items() if p.grad is not None}
    return (
        gradients,
        {name: torch.as_tensor(np.asarray(stats.peek())).float() for name, stats in results.items()},
        learner,
    )


@pytest.mark.parametrize("case", CASES)
def test_gradients_and_what_is_measured_are_those_of_the_losses(case, monkeypatch):
    found, measured, learner = stepped(case, monkeypatch, True)
    assert learner.steps is not None
    wanted, expected, other = stepped(case, monkeypatch, False)
    assert other.steps is None
    assert found.keys() == wanted.keys()
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda t, n=name: f"{n}: {t}")
        assert gradient.abs().max() > 1e-6 or name.endswith("belongs"), name  # few of these rows' cases have a zone
    assert measured.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(measured[name], value, atol=1e-5, rtol=1e-4, msg=lambda t, n=name: f"{n}: {t}")
    assert torch.equal(learner.generator.get_state(), other.generator.get_state())


@pytest.mark.parametrize("case", ["sac, bounded", "maddpg, smoothed", "sac, mlp, preset", "maddpg, mlp", "ppo, mlp"])
def test_other_terms_are_added_in_each_step(case, monkeypatch):
    """Imitation, by autograd; gradients of a step begin anew."""
    taught, _, _ = stepped(case, monkeypatch, True, has_teacher=True)
    without, _, _ = stepped(case, monkeypatch, True)
    wanted, _, _ = stepped(case, monkeypatch, False, has_teacher=True)
    for name, gradient in wanted.items():
        torch.testing.assert_close(taught[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda t, n=name: f"{n}: {t}")
    assert any(not torch.allclose(taught[name], gradient, atol=1e-3) for name, gradient in without.items())


@pytest.mark.parametrize(
    ("tier", "settings"),
    [
        (SAC, {"encoder": "mlp"}),
        (SAC, {"encoder": "mlp", **ADDITIVE, "memory": {"kind": "gru", "minutes": 2}}),
        (SAC, {"encoder": "zones"}),  # a critic that reads the action in its first layer
        (SAC, {"encoder": "zones", **ADDITIVE, "segment_sharing": 0.1}),
        (MADDPG, {"encoder": "zones", **ADDITIVE, "segment_sharing": 0.1}),
        (MADDPG, {"encoder": "mlp"}),
        ("alert_triage", {"encoder": "zones"}),
        (PPO, {"encoder": "zones"}),
        (PPO, {"encoder": "mlp", "rllib": {"use_kl_loss": True}}),
    ],
)
def test_other_networks_go_by_their_losses(tier, settings):
    learner, _ = learner_of(tier, {"algorithm": ALGORITHMS[tier], **settings})
    assert learner.straight(learner.module[tier].unwrapped()) is None


def test_steps_are_made_anew_where_weights_have_moved():
    learner, _ = learner_of(MADDPG, {"algorithm": "MADDPG", **ZONES, **ADDITIVE})
    module = learner.module[MADDPG].unwrapped()
    learner.straight(module)
    first = learner.steps.of(8)
    assert learner.steps.of(8) is first
    assert learner.steps.of(9) is not first
    module.actor.head.zone.weight.data = module.actor.head.zone.weight.data.clone()
    assert learner.steps.of(8) is not first


@pytest.mark.parametrize("num_zones", [1, 4])
@pytest.mark.parametrize("agents", [*((agent,) for agent in AGENTS), AGENTS], ids=lambda agents: "+".join(agents))
def test_kernels_prepare_what_networks_prepare(agents, num_zones):
    """Also with statistics that differ by entry, and far beyond the clip; the joint critic reads what others do."""
    torch.manual_seed(0)
    is_joint, role = len(agents) > 1, agents[-1].removesuffix("_0")
    sizes = [sum(layout(agent, num_zones).size for agent in agents)]
    sizes += [sum(len(actions(agent, num_zones)) for agent in AGENTS[:-1])] * is_joint
    own = [len(actions(agents[-1], num_zones))] * is_joint
    spec = BodySpec([8, 8], "zones", role, bins=5 * is_joint, is_additive=is_joint)
    body = make_body(spec, sizes[0], [*sizes[1:], *own], is_joint=is_joint)
    body = body.body if is_joint else body
    body.embedding.norm.set(np.linspace(-1, 1, sizes[0]), np.linspace(1e-3, 2, sizes[0]))
    columns = [3 * torch.randn(7, sizes[0]), *(torch.rand(7, size) * 2 - 1 for size in sizes[1:])]
    found, wanted = reading.prepare(body, *columns), body.prepare(*columns)
    for name in ("observation", "zones", "context", "cases", "seen_mean", "seen"):
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name), atol=1e-6, rtol=1e-5, msg=name)
    assert (found.num_seen, found.relations, found.past) == (wanted.num_seen, wanted.relations, wanted.past)
    assert wanted.zones.abs().max() == 10.0


def test_memory_that_was_overwritten_is_not_taken_for_gradients():
    torch.manual_seed(0)
    size = layout(HUNTER, 2).size
    body = make_body(BodySpec([8, 8], "zones", SAC), size)
    body.uses_kernels = True
    read = reading.prepare(body, torch.randn(5, size))
    read.workspace = Workspace()
    first, second = body(read).sum(), body(read).sum()
    with pytest.raises(RuntimeError, match="evaluated again before its gradients were taken"):
        torch.autograd.grad(first, body.deeper[0].weight)
    (gradient,) = torch.autograd.grad(second, body.deeper[0].weight)
    read.workspace = None
    torch.testing.assert_close(gradient, torch.autograd.grad(body(read).sum(), body.deeper[0].weight)[0])


def test_what_is_read_alike_is_prepared_once():
    learner, _ = learner_of(SAC, {"algorithm": "SAC", **ZONES, **ADDITIVE})
    module = learner.module[SAC].unwrapped()
    bodies = module.pi_encoder.body, module.qf_encoder.body.body
    assert read_alike(*bodies)
    bodies[0].embedding.norm.mean[0] += 1.0
    assert not read_alike(*bodies)
    critic = learner_of(MADDPG, {"algorithm": "MADDPG", **ZONES, **ADDITIVE})[0].module[MADDPG].unwrapped().critic
    assert not read_alike(critic.body.body, critic.body.body)  # what others do is another column
