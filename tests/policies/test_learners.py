"""Updates of single learners against hand computations; what moves with a schedule."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

pytest.importorskip("ray")
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from toy_team import PAIR, toy_config

pytestmark = pytest.mark.usefixtures("quiet")


# ---- MADDPG


def maddpg_learner(build, **settings):
    tiers = {"threat_hunter": "SAC", "response_orchestrator": {"algorithm": "MADDPG", **settings}}
    algo = build(toy_config(tiers, agents=PAIR))
    for _ in range(2):
        algo.train()
    return algo, algo.learner_group["response_orchestrator"]._learner


def maddpg_batch(algo):
    index, importance = algo.replay.sample("response_orchestrator", 32)
    batch = algo.batches.batch("response_orchestrator", index, importance)["response_orchestrator"]
    return {name: torch.as_tensor(np.asarray(value)) for name, value in batch.items()}


def actor_value(learner, batch):
    """The critic's word on what the actor does, where it is improved."""
    module = learner.module["response_orchestrator"].unwrapped()
    critics = module.side_by_side()
    critics.stacked.link()
    read = critics.read(batch["joint_obs"], batch["other_actions"])
    return critics.first_at(read, module.improved_at(module.actor(batch[Columns.OBS]), learner.generator))


def test_maddpg_actor_gradient_comes_through_the_central_critic(build):
    algo, learner = maddpg_learner(build)
    module = learner.module["response_orchestrator"].unwrapped()
    batch = maddpg_batch(algo)
    module.zero_grad()
    (-actor_value(learner, batch).mean()).backward()
    actor = [p.grad for p in module.actor.parameters()]
    assert all(g is not None for g in actor)
    assert sum(float(g.abs().sum()) for g in actor) > 0
    assert all(p.grad is None or not p.grad.any() for p in module.critic.parameters())  # the critic is not pushed
    # and it is the critic's slope: with a critic that ignores the own action nothing is left
    with torch.no_grad():
        module.critic.body.layers[0].weight[:, -2:] = 0.0
    module.zero_grad()
    (-actor_value(learner, batch).mean()).backward()
    assert sum(float(p.grad.abs().sum()) for p in module.actor.parameters()) == 0.0


def test_maddpg_losses_equal_a_hand_computation(build):
    algo, learner = maddpg_learner(build)
    module, config = learner.module["response_orchestrator"].unwrapped(), learner.config
    batch = maddpg_batch(algo)
    learner.stacked(module)
    total = learner.losses(module, batch).total
    with torch.no_grad():
        own = torch.tanh(module.target_actor(batch[Columns.NEXT_OBS]))
        joint = (batch["joint_next_obs"], batch["other_next_actions"], own)
        next_q = torch.min(module.target_critic(*joint), module.target_twin_critic(*joint))
        alive = 1.0 - batch[Columns.TERMINATEDS].float()
        target = batch[Columns.REWARDS] + config.gamma ** batch["n_step"] * alive * next_q
        expected = 0.0
        for critic in (module.critic, module.twin_critic):
            error = critic(batch["joint_obs"], batch["other_actions"], batch[Columns.ACTIONS]) - target
            huber = torch.where(error.abs() < 1, 0.5 * error**2, error.abs() - 0.5)
            expected = expected + (batch["weights"] * huber).mean()
        pre = module.actor(batch[Columns.OBS])
        q = module.critic(batch["joint_obs"], batch["other_actions"], torch.tanh(pre))
        expected = expected - q.mean() + module.settings.rest.weight * (pre**2).mean()
    assert float(total) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("tier", ["threat_hunter", "response_orchestrator"])
def test_the_pull_of_an_actor_follows_its_schedule(build, tier):
    learner = maddpg_learner(build)[0].learner_group[tier]._learner
    output, initial = torch.full((4, 2), 3.0), torch.ones(4, 2)
    pulls = []
    for steps in (0, 250, 5000):
        learner.before_gradient_based_update(timesteps={"num_env_steps_sampled_lifetime": steps})
        pulls.append(float(learner.pull([[0, 2.0], [1000, 0.0]], output, initial)))
    assert pulls == [8.0, 6.0, 0.0]
    assert float(learner.pull(0.5, output, initial)) == 2.0


def test_exploration_noise_follows_its_schedule(build):
    algo, learner = maddpg_learner(build, exploration={"std": [[0, 0.2], [1000, 0.1]]})
    module = learner.module["response_orchestrator"].unwrapped()
    batch = {Columns.OBS: maddpg_batch(algo)[Columns.OBS][:8]}
    module.actor.head.weight.data.zero_()  # far from the ends of the range
    greedy = module.forward_inference(batch)[Columns.ACTIONS]
    for steps, std in ((0, 0.2), (500, 0.15), (5000, 0.1)):
        noisy = module.forward_exploration(batch, t=steps, noise=torch.ones_like(greedy))[Columns.ACTIONS]
        assert torch.allclose(noisy - greedy, torch.full_like(greedy, std))


def test_the_noise_that_an_actor_is_improved_at_follows_its_schedule(build):
    algo, learner = maddpg_learner(build, actor={"smoothing": [0.01, [[0, 0.5], [1000, 0.1]]]})
    module = learner.module["response_orchestrator"].unwrapped()
    assert module.smoothing == pytest.approx([0.01, 0.3976])  # 256 steps had been made when the newest batch was drawn
    for steps, highest in ((250, 0.4), (5000, 0.1)):
        learner.before_gradient_based_update(timesteps={"num_env_steps_sampled_lifetime": steps})
        assert module.smoothing == pytest.approx([0.01, highest])
    batch, drawn = maddpg_batch(algo), []
    for noise in ([], [1e-6, 1e-6], [2.0, 2.0]):
        module.smoothing = noise
        drawn.append(actor_value(learner, batch))
    assert torch.allclose(drawn[0], drawn[1], atol=1e-4)
    assert not torch.allclose(drawn[0], drawn[2], atol=1e-2)


def test_central_critic_sees_every_agent(build):
    algo, learner = maddpg_learner(build)
    module, batch = learner.module["response_orchestrator"].unwrapped(), maddpg_batch(algo)
    assert batch["joint_obs"].shape[1] == 6
    assert batch["other_actions"].shape[1] == 2

    def value(batch):
        critics = module.side_by_side()
        return critics.at(critics.read(batch["joint_obs"], batch["other_actions"]), batch[Columns.ACTIONS])[0]

    q = value(batch)
    for name in ("joint_obs", "other_actions"):
        for column in range(batch[name].shape[1]):
            changed = {**batch, name: batch[name].clone()}
            changed[name][:, column] += 0.5
            assert not torch.allclose(value(changed), q), f"{name}[{column}] is ignored"


def test_one_ppo_update_equals_a_hand_computed_surrogate(build):
    algo = build(toy_config({"strategic_coordinator": "PPO"}, agents=("strategic_coordinator_0",)))
    [rollout] = algo.env_runner.sample(num_timesteps=64)
    columns = rollout.on_policy["strategic_coordinator"]
    learner = algo.learner_group["strategic_coordinator"]._learner
    batch = {n: torch.as_tensor(v) for n, v in columns.items()}
    config = learner.config
    loss = learner.losses(learner.module["strategic_coordinator"].unwrapped(), batch).total
    # before any update the ratio is 1: the surrogate is the mean advantage, the rest is the value loss
    module = learner.module["strategic_coordinator"].unwrapped()
    values = module.compute_values(batch)
    vf_loss = (values - batch["value_targets"]).pow(2).mean()
    expected = -batch["advantages"].mean() + config.vf_loss_coeff * vf_loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
    assert isinstance(MultiAgentBatch({"t": SampleBatch(columns)}, 1), MultiAgentBatch)
    assert isinstance(module.action_space, gym.spaces.Box)
