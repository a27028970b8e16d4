"""A learner's update against RLlib's own: gradients, losses, what is measured; and what goes on between calls."""

from __future__ import annotations

import copy
import functools

import numpy as np
import pytest

pytest.importorskip("ray")
import torch
from learner_scenes import ADDITIVE, ROWS, TIMES, learner_of
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.learner import Learner
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from torch.nn import functional as F

from policies.learners.columns import JOINT_NEXT_OBS, JOINT_OBS, OTHER_ACTIONS, OTHER_NEXT_ACTIONS
from policies.learners.update import Descent
from policies.networks import reading
from policies.networks.zones import ZoneMLP

pytestmark = pytest.mark.usefixtures("quiet")

# What a tier learns with -> its name and settings.
CASES = {
    "dqn": ("alert_triage", {"algorithm": "DQN"}),
    "dqn, masked, single, plain": (
        "alert_triage",
        {
            "algorithm": "DQN",
            "encoder": "zones",
            "action_masking": True,
            "double_q": False,
            "dueling": False,
            "rllib": {"td_error_loss_fn": "mse", "grad_clip": 0.01},
        },
    ),
    "sac": ("threat_hunter", {"algorithm": "SAC"}),
    "sac, zones": ("threat_hunter", {"algorithm": "SAC", "encoder": "zones", **ADDITIVE}),
    "sac, zones, by the action": ("threat_hunter", {"algorithm": "SAC", "encoder": "zones"}),
    "sac, attention": (
        "threat_hunter",
        {"algorithm": "SAC", "encoder": "attention", **ADDITIVE, "rllib": {"grad_clip": 0.01, "grad_clip_by": "norm"}},
    ),
    "sac, one critic": (
        "threat_hunter",
        {"algorithm": "SAC", "critic": {"twin": False}, "rllib": {"grad_clip": 1e-3, "grad_clip_by": "value"}},
    ),
    "sac, choices": ("alert_triage", {"algorithm": "SAC", "encoder": "zones"}),
    "ppo": (
        "strategic_coordinator",
        {"algorithm": "PPO", "encoder": "zones", "entropy_coeff": 0.01, "rllib": {"grad_clip": 0.01}},
    ),
    "ppo, choices": (
        "alert_triage",
        {"algorithm": "PPO", "action_masking": True, "rllib": {"use_kl_loss": True, "vf_clip_param": 0.5}},
    ),
    "maddpg": ("response_orchestrator", {"algorithm": "MADDPG"}),
    "maddpg, zones": (
        "response_orchestrator",
        {"algorithm": "MADDPG", "encoder": "zones", **ADDITIVE, "rllib": {"grad_clip": 0.01}},
    ),
    "maddpg, attention": ("response_orchestrator", {"algorithm": "MADDPG", "encoder": "attention", **ADDITIVE}),
    "maddpg, one critic": ("response_orchestrator", {"algorithm": "MADDPG", "critic": {"twin": False}}),
}


def updated(learner, batch, update):
    """What an update by that function says; its draws are the same for all."""
    tier = next(iter(learner.module.keys()))
    torch.manual_seed(5)
    learner.generator.manual_seed(5)
    return update(learner, batch=MultiAgentBatch({tier: SampleBatch(copy.deepcopy(batch))}, ROWS), timesteps=TIMES)


def by_hand(learner, batch):
    """MADDPG's gradients from its equations, critic by critic: {parameter: gradient}; and its total loss."""
    module = learner.module["response_orchestrator"].unwrapped()
    batch = {name: torch.as_tensor(column) for name, column in batch.items()}
    critics = [getattr(module, name) for name in module.critics()]
    with torch.no_grad():
        own = torch.tanh(module.target_actor(batch[Columns.NEXT_OBS]))
        joint = (batch[JOINT_NEXT_OBS], batch[OTHER_NEXT_ACTIONS], own)
        following = torch.stack([getattr(module, f"target_{name}")(*joint) for name in module.critics()]).amin(0)
        alive = 1.0 - batch[Columns.TERMINATEDS].float()
        target = batch[Columns.REWARDS] + learner.config.gamma ** batch["n_step"] * alive * following
    loss = torch.zeros(())
    for critic in critics:
        q = critic(batch[JOINT_OBS], batch[OTHER_ACTIONS], batch[Columns.ACTIONS])
        loss = loss + (batch["weights"] * F.huber_loss(q, target, reduction="none")).mean()
    weights = [p for critic in critics for p in critic.parameters()]
    found = dict(zip(weights, torch.autograd.grad(loss, weights), strict=True))
    pre = module.actor(batch[Columns.OBS])
    actor_loss = -critics[0](batch[JOINT_OBS], batch[OTHER_ACTIONS], torch.tanh(pre)).mean()
    actor_loss = actor_loss + module.settings.rest.weight * (pre - module.actor.initial).pow(2).mean()
    actor = list(module.actor.parameters())
    return {**found, **dict(zip(actor, torch.autograd.grad(actor_loss, actor), strict=True))}, loss + actor_loss


def clipped(learner, gradients):
    for _, optimizer in learner.get_optimizers_for_module("response_orchestrator"):
        parameters = optimizer.param_groups[0]["params"]
        norm = torch.stack([gradients[p].norm() for p in parameters]).norm()
        limit = learner.config.grad_clip
        for parameter in parameters if limit else ():
            gradients[parameter] *= min(1.0, limit / float(norm + 1e-6))
    return gradients


def number(value):
    return torch.as_tensor(value if torch.is_tensor(value) else np.asarray(value)).detach().float()


@pytest.mark.parametrize("case", CASES)
def test_gradients_and_losses_are_those_of_rllib(case):
    """Of MADDPG, which RLlib lacks, those of its equations."""
    tier, settings = CASES[case]
    ours, batch = learner_of(tier, settings)
    theirs, _ = learner_of(tier, settings)
    for part in theirs.module[tier].unwrapped().modules():
        part.uses_kernels = False  # by PyTorch's own operations
    found = dict(theirs.module[tier].unwrapped().named_parameters())
    if settings["algorithm"] == "MADDPG":
        gradients, loss = by_hand(theirs, batch)
        gradients, expected = clipped(theirs, gradients), {"total_loss": loss}
        wanted = {name: gradients.get(p) for name, p in found.items()}
    else:
        expected = {name: stats.peek() for name, stats in updated(theirs, batch, Learner.update)[tier].items()}
        wanted = {name: p.grad for name, p in found.items()}
    results = updated(ours, batch, type(ours).update)[tier]
    own = {name: p.grad for name, p in ours.module[tier].unwrapped().named_parameters()}
    assert all(name.startswith(("target_", "_target")) for name, gradient in own.items() if gradient is None)
    for name, gradient in wanted.items():
        if gradient is not None:
            torch.testing.assert_close(
                own[name], gradient, atol=1e-5, rtol=1e-4, msg=lambda text, name=name: f"{name}: {text}"
            )
    if settings["algorithm"] != "MADDPG":  # and the step is theirs too, where a gradient is more than rounding
        for name, parameter in ours.module[tier].unwrapped().named_parameters():
            if wanted[name] is not None and "target" not in name:
                moves = wanted[name].abs() > 1e-5
                torch.testing.assert_close(parameter[moves], found[name][moves], atol=1e-5, rtol=0)
    for name in {*expected, "total_loss"}:
        value = number(results[name].peek())
        torch.testing.assert_close(value, number(expected[name]), atol=1e-4, rtol=1e-4, msg=name)


@pytest.mark.parametrize("case", [name for name in CASES if "zones" in name or "attention" in name])
def test_what_networks_read_is_prepared_once_for_all_steps_and_changes_nothing(case, monkeypatch):
    """Two steps on halves of the rows, by rows that were prepared and by those as they came."""
    tier, settings = CASES[case]
    found = []
    for is_prepared in (True, False):
        learner, batch = learner_of(tier, settings)
        if not is_prepared:
            monkeypatch.setattr(type(learner), "readers", lambda *_: {})
            monkeypatch.setattr(type(learner), "straight", lambda *_: None)
        module, calls = learner.module[tier].unwrapped(), []

        def counted(*rows, prepare, calls=calls):
            calls.append(len(rows[-1]))
            return prepare(*rows)

        with monkeypatch.context() as patched:  # by kernels, where an update prepares, or as networks do
            patched.setattr(reading, "prepare", functools.partial(counted, prepare=reading.prepare))
            for part in module.modules():
                if isinstance(part, ZoneMLP):
                    patched.setattr(part, "prepare", functools.partial(counted, prepare=part.prepare))
            learner.generator.manual_seed(5)
            whole = MultiAgentBatch({tier: SampleBatch(batch)}, ROWS)
            learner.update(batch=whole, timesteps=TIMES, minibatch_size=ROWS // 2)
        found.append(module.state_dict())
        assert (ROWS if is_prepared else ROWS // 2) in calls
        assert (ROWS in calls) == is_prepared
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], atol=1e-5, rtol=1e-4, msg=name)


def trained(case, steps=3):
    """The learner after some updates of several steps."""
    learner, batch = learner_of(*CASES[case])
    tier = next(iter(learner.module.keys()))
    many = {name: np.concatenate([column] * 4) for name, column in batch.items()}
    for _ in range(steps):
        one = MultiAgentBatch({tier: SampleBatch(copy.deepcopy(many))}, 4 * ROWS)
        learner.update(batch=one, timesteps=TIMES, minibatch_size=ROWS, num_epochs=2, shuffle_batch_per_epoch=True)
    return learner


@pytest.mark.parametrize("case", ["sac, zones", "maddpg, zones", "dqn", "ppo"])
def test_a_learner_goes_on_from_its_state_as_if_it_had_never_stopped(case):
    """Also into one that has learned: the stacked critics' weights are the networks'."""
    straight, stopped = trained(case, steps=4), trained(case, steps=2)
    state = stopped.get_state()
    fresh = trained(case, steps=1)
    fresh.set_state(copy.deepcopy(state))
    tier = next(iter(fresh.module.keys()))
    _, batch = learner_of(*CASES[case])
    many = {name: np.concatenate([column] * 4) for name, column in batch.items()}
    for _ in range(2):
        one = MultiAgentBatch({tier: SampleBatch(copy.deepcopy(many))}, 4 * ROWS)
        fresh.update(batch=one, timesteps=TIMES, minibatch_size=ROWS, num_epochs=2, shuffle_batch_per_epoch=True)
    expected = straight.module[tier].unwrapped().state_dict()
    for name, value in fresh.module[tier].unwrapped().state_dict().items():
        assert torch.equal(value, expected[name]), name
    assert torch.equal(fresh.generator.get_state(), straight.generator.get_state())


def test_minibatches_go_through_all_rows_and_on_in_the_next_epoch():
    learner, _ = learner_of(*CASES["ppo"])
    parts = [rows.tolist() for rows in learner._minibatches(10, 4, 2, True)]
    assert [len(rows) for rows in parts] == [4] * 5
    rows = [row for part in parts for row in part]
    assert rows[:10] == list(range(10))  # the first epoch in the order of the batch, as RLlib's
    assert sorted(rows[10:]) == list(range(10))
    assert rows[10:] != list(range(10))
    assert list(learner._minibatches(8, 4, 1, False)) == [slice(0, 4), slice(4, 8)]
    odd = [rows.tolist() for rows in learner._minibatches(5, 4, 1, False)]
    assert odd == [[0, 1, 2, 3], [4, 0, 1, 2]]


def test_target_networks_follow_each_step_or_by_environment_steps():
    for frequency, tau in ((0, 0.01), (500, 0.01)):
        rllib = {"target_network_update_freq": frequency}
        learner, batch = learner_of("threat_hunter", {**CASES["sac, zones"][1], "rllib": rllib})
        module = learner.module["threat_hunter"].unwrapped()
        before = copy.deepcopy(module.state_dict())
        updated(learner, batch, type(learner).update)
        after = copy.deepcopy(module.state_dict())
        name = "qf_encoder.body.body.deeper.0.weight"
        wanted = torch.lerp(before[f"target_{name}"], after[name], tau)
        assert not torch.equal(after[name], before[name])
        torch.testing.assert_close(after[f"target_{name}"], wanted)  # 1,000 steps: the first update by steps is due
        updated(learner, batch, type(learner).update)
        again = module.state_dict()
        assert torch.equal(again[f"target_{name}"], after[f"target_{name}"]) == (frequency > 0)


def test_several_learners_step_by_their_mean_gradient_and_as_often(monkeypatch):
    """As if a second one had gradients of its own and fewer rows."""
    alone, batch = learner_of(*CASES["maddpg"])
    one, _ = learner_of(*CASES["maddpg"])
    tier = "response_orchestrator"
    updated(alone, batch, type(alone).update)
    monkeypatch.setattr(type(one), "distributed", True)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda: 2)

    def reduced(tensor, op=torch.distributed.ReduceOp.SUM):
        if op == torch.distributed.ReduceOp.MIN:
            tensor.fill_(1)
        else:
            tensor.add_(3 * tensor)  # the other's is three times as large: the mean is twice

    monkeypatch.setattr(torch.distributed, "all_reduce", reduced)
    many = {name: np.concatenate([column, column]) for name, column in batch.items()}
    one.generator.manual_seed(5)
    update = MultiAgentBatch({tier: SampleBatch(many)}, 2 * ROWS)
    results = one.update(batch=update, timesteps=TIMES, minibatch_size=ROWS)
    assert results[tier]["num_module_steps_trained"].peek() == ROWS  # one step of two
    expected = dict(alone.module[tier].unwrapped().named_parameters())
    ratios = [
        (p.grad.norm() / expected[name].grad.norm()).item()
        for name, p in one.module[tier].unwrapped().named_parameters()
        if p.grad is not None and expected[name].grad.norm() > 1e-4
    ]
    assert len(ratios) > 5
    assert ratios == pytest.approx([2.0] * len(ratios), rel=1e-3)


def test_steps_and_their_counts_are_those_of_adam():
    """Over two updates; one parameter gets gradients in the second alone, so that counts differ there."""
    torch.manual_seed(0)
    start = [torch.randn(3, 2), torch.randn(4), torch.randn(2)]
    ours, theirs = ([torch.nn.Parameter(value.clone()) for value in start] for _ in range(2))
    adams = [torch.optim.Adam(parameters, lr=0.1, eps=1e-6, fused=True) for parameters in (ours, theirs)]
    for update in range(2):
        descent = Descent(adams[0])
        for _ in range(3):
            for own, other in zip(ours, theirs, strict=True):
                has_none = own is ours[2] and update == 0
                own.grad = None if has_none else torch.randn_like(own)
                other.grad = None if has_none else own.grad.clone()
            descent.step()
            adams[1].step()
        descent.finish()
        for own, other in zip(ours, theirs, strict=True):
            assert torch.equal(own, other)
            found, wanted = adams[0].state[own], adams[1].state[other]
            assert found.keys() == wanted.keys()
            assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert [float(adams[0].state[p]["step"]) for p in ours] == [6.0, 6.0, 3.0]
