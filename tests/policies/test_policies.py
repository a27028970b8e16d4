"""Tiers on RLlib: who learns with what, that each learner learns, and that nothing is lost between save and restore."""

from __future__ import annotations

import copy
import json

import gymnasium as gym
import numpy as np
import pytest
import torch
from toy import BOX2, FOUR, ROLES, Matching

pytest.importorskip("ray")
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.algorithms.sac.torch.sac_torch_learner import SACTorchLearner
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch

import soc_env
from policies import load_policy, save_checkpoint
from policies.algorithms.maddpg import MADDPGTorchLearner
from policies.hmarl.algorithm import HMARLConfig
from policies.hmarl.moments import Moments
from policies.runner.acting import act
from policies.runner.exploration import HeldNoise
from policies.runner.rows import OpenDecisions, advantages, n_step_rows
from policies.tiers import tier_of
from soc_env.errors import CheckpointError, ConfigError

pytestmark = pytest.mark.usefixtures("quiet_ray")
SMALL = {"hiddens": [32, 32], "gamma": 0.5}
FAST = {"PPO": {"train_batch_size": 256, "minibatch_size": 64, "lr": 1e-3, "entropy_coeff": 0.0}}
FAST["SAC"] = {"actor_lr": 1e-3, "critic_lr": 3e-3, "alpha_lr": 1e-3, "target_entropy": -6.0, "tau": 0.05}
FAST["DQN"] = {"lr": 1e-3, "epsilon": [[0, 1.0], [4000, 0.05]]}
FAST["MADDPG"] = {"actor_lr": 1e-3, "critic_lr": 3e-3, "exploration": {"std": 0.3}, "tau": 0.05}


def toy_config(tiers=None, **env):
    """HMARL on `Matching`; `tiers` {tier: algorithm} or settings, all four roles by default."""
    config = HMARLConfig().environment(Matching, env_config=env).env_runners(num_envs_per_env_runner=16)
    config.debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size=256, learning_starts=256, random_steps=256, updates_per_iteration=2)
    config.training(replay_batch_size=64, replay_capacity=4096)
    defaults = {"alert_triage": "DQN", "threat_hunter": "SAC", "response_orchestrator": "MADDPG"}
    defaults["strategic_coordinator"] = "PPO"
    plain = {t: s if isinstance(s, dict) else {"algorithm": s} for t, s in (tiers or defaults).items()}
    return config.tiers({t: {**SMALL, **FAST[s["algorithm"]], **s} for t, s in plain.items()}, replace=True)


@pytest.fixture
def build():
    """Builds algorithms and stops them when the test ends."""
    built = []

    def make(config):
        built.append(config.build_algo())
        return built[-1]

    yield make
    for algo in built:
        algo.stop()


def learner_state(algo):
    return {tier: group._learner.get_state() for tier, group in algo.learner_group.groups.items()}


def weights(algo):
    return {
        tier: {name: np.array(value) for name, value in state["rl_module"][tier].items()}
        for tier, state in learner_state(algo).items()
    }


# ---- who learns with what


def test_every_tier_learns_with_its_own_algorithm(build):
    algo = build(toy_config(period=5, slow=("strategic_coordinator_0",)))
    expected = {
        "alert_triage": DQNTorchLearner,
        "threat_hunter": SACTorchLearner,
        "response_orchestrator": MADDPGTorchLearner,
        "strategic_coordinator": PPOTorchLearner,
    }
    for tier, learner_class in expected.items():
        learner = algo.learner_group[tier]._learner
        assert isinstance(learner, learner_class), tier
        # SAC's and MADDPG's learners are DQN learners too (target networks): none may be mistaken for another
        others = [c for c in expected.values() if c is not learner_class and issubclass(type(learner), c)]
        assert others in ([], [DQNTorchLearner]), tier
    before = weights(algo)
    for _ in range(8):
        algo.train()
    after = weights(algo)
    for tier in expected:
        trained = [n for n in before[tier] if n.endswith("weight") and "target" not in n]
        assert trained
        for name in trained:
            assert not np.array_equal(before[tier][name], after[tier][name]), f"{tier}: {name} did not change"


def test_runner_acts_with_the_learners_newest_weights(build):
    algo = build(toy_config())
    for _ in range(4):
        algo.train()
    for tier, state in weights(algo).items():
        acting = algo.env_runner.module[tier].state_dict()
        for name, value in acting.items():
            assert np.array_equal(value.numpy(), state[name]), f"{tier}: {name}"


# ---- each learner alone, on a task with a known optimum of 1 a step


@pytest.mark.parametrize(
    ("algorithm", "agent", "iterations", "at_least"),
    [
        ("PPO", "strategic_coordinator_0", 60, 0.8),
        ("PPO", "alert_triage_0", 60, 0.8),
        ("SAC", "threat_hunter_0", 60, 0.85),
        ("DQN", "alert_triage_0", 40, 0.9),
        ("MADDPG", "response_orchestrator_0", 60, 0.85),
    ],
)
def test_each_learner_solves_its_task_alone(build, algorithm, agent, iterations, at_least):
    algo = build(toy_config({tier_of(agent): algorithm}, agents=(agent,)).training(updates_per_iteration=8))
    assert greedy_scores(algo, (agent,))[agent] < 0.7  # nothing is solved before training
    for _ in range(iterations):
        algo.train()
    assert greedy_scores(algo, (agent,))[agent] > at_least


def greedy_scores(algo, agents, **env):
    """Mean reward a step that each agent's greedy policy in the runner earns on fresh points."""
    from policies.checkpoint import TrainedPolicy

    policy = TrainedPolicy({tier_of(a): algo.env_runner.module[tier_of(a)] for a in agents}, algo.slow_agents)
    toy = Matching(num_envs=256, seed=99, agents=agents, **env)
    toy.reset()
    for agent, action in policy(toy.observations, toy.decides).items():
        toy.actions[agent][...] = action
    return {a: float(toy.score(a).mean()) for a in agents}


def test_all_four_learn_together(build):
    config = toy_config(period=5, slow=("strategic_coordinator_0",)).training(updates_per_iteration=8)
    # a point says nothing about the next one: without bootstrapping there is less noise to learn through
    config.tiers({tier: {"gamma": 0.0} for tier in config.tier_settings})
    algo = build(config.tiers({"strategic_coordinator": {"train_batch_size": 128}}))
    before = greedy_scores(algo, tuple(ROLES))
    assert max(before.values()) < 0.6
    for _ in range(80):
        algo.train()
    after = greedy_scores(algo, tuple(ROLES))
    assert min(after.values()) > 0.75, after  # every tier, though each is a quarter of the reward it learns from


# ---- MADDPG


def maddpg_learner(build, **settings):
    tiers = {"threat_hunter": "SAC", "response_orchestrator": {"algorithm": "MADDPG", **settings}}
    algo = build(toy_config(tiers, agents=PAIR))
    for _ in range(2):
        algo.train()
    return algo, algo.learner_group["response_orchestrator"]._learner


PAIR = ("threat_hunter_0", "response_orchestrator_0")


def maddpg_batch(algo):
    index, importance = algo.replay.sample("response_orchestrator", 32)
    batch = algo.batches.batch("response_orchestrator", index, importance)["response_orchestrator"]
    return {name: torch.as_tensor(np.asarray(value)) for name, value in batch.items()}


def test_maddpg_actor_gradient_comes_through_the_central_critic(build):
    algo, learner = maddpg_learner(build)
    module = learner.module["response_orchestrator"].unwrapped()
    batch = maddpg_batch(algo)
    module.zero_grad()
    (-module._forward_train(batch)["actor_value"].mean()).backward()
    actor = [p.grad for p in module.actor.parameters()]
    assert all(g is not None for g in actor)
    assert sum(float(g.abs().sum()) for g in actor) > 0
    assert all(p.grad is None or not p.grad.any() for p in module.critic.parameters())  # the critic is not pushed
    # and it is the critic's slope: with a critic that ignores the own action nothing is left
    with torch.no_grad():
        module.critic.body.layers[0].weight[:, -2:] = 0.0
    module.zero_grad()
    (-module._forward_train(batch)["actor_value"].mean()).backward()
    assert sum(float(p.grad.abs().sum()) for p in module.actor.parameters()) == 0.0


def test_maddpg_losses_equal_a_hand_computation(build):
    algo, learner = maddpg_learner(build)
    module, config = learner.module["response_orchestrator"].unwrapped(), learner.config
    batch = maddpg_batch(algo)
    out = module._forward_train(batch)
    total = learner.compute_loss_for_module(module_id="response_orchestrator", config=config, batch=batch, fwd_out=out)
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
    assert module.smoothing == pytest.approx([0.01, 0.2952])  # two iterations of 256 steps
    for steps, highest in ((250, 0.4), (5000, 0.1)):
        learner.before_gradient_based_update(timesteps={"num_env_steps_sampled_lifetime": steps})
        assert module.smoothing == pytest.approx([0.01, highest])
    batch, drawn = maddpg_batch(algo), []
    for noise in ([], [1e-6, 1e-6], [2.0, 2.0]):
        module.smoothing = noise
        drawn.append(module._forward_train(batch)["actor_value"])
    assert torch.allclose(drawn[0], drawn[1], atol=1e-4)
    assert not torch.allclose(drawn[0], drawn[2], atol=1e-2)


def test_central_critic_sees_every_agent(build):
    algo, learner = maddpg_learner(build)
    module, batch = learner.module["response_orchestrator"].unwrapped(), maddpg_batch(algo)
    assert batch["joint_obs"].shape[1] == 6
    assert batch["other_actions"].shape[1] == 2
    q = module._forward_train(batch)["critic"]
    for name in ("joint_obs", "other_actions"):
        for column in range(batch[name].shape[1]):
            changed = {**batch, name: batch[name].clone()}
            changed[name][:, column] += 0.5
            assert not torch.allclose(module._forward_train(changed)["critic"], q), f"{name}[{column}] is ignored"


# ---- decisions every K steps


def test_smdp_rewards_and_advantages_by_hand():
    gamma, lambda_ = 0.9, 0.8
    open_ = OpenDecisions(1, gamma)
    env = np.array([0])
    open_.start(env, {"value": np.array([1.0])})
    for r in (1.0, 2.0, 4.0):
        open_.accumulate(np.array([r]))
    open_.close(env, False, next_value=np.array([3.0]))
    open_.start(env, {"value": np.array([3.0])})
    for r in (5.0, 7.0):
        open_.accumulate(np.array([r]))
    open_.close(env, True, next_value=np.array([10.0]))  # truncated: the last state's value counts
    rows = open_.take_rows()
    first, second = 1 + 0.9 * 2 + 0.81 * 4, 5 + 0.9 * 7
    assert [float(r["reward"][0]) for r in rows] == pytest.approx([first, second])
    delta2 = second + 0.81 * 10 - 3
    delta1 = first + 0.729 * 3 - 1
    advantage, target = advantages(rows, 1, gamma, lambda_)
    assert advantage == pytest.approx([delta1 + 0.729 * lambda_ * delta2, delta2])
    assert target == pytest.approx(advantage + np.array([1.0, 3.0]))


def test_last_decision_of_an_episode_does_not_leak_into_the_next():
    open_ = OpenDecisions(1, 1.0)
    env = np.array([0])
    for is_last, value in ((True, 0.0), (False, 100.0)):
        open_.start(env, {"value": np.array([0.0])})
        open_.accumulate(np.array([1.0]))
        open_.close(env, is_last, next_value=np.array([value]))
    advantage, _ = advantages(open_.take_rows(), 1, 1.0, 1.0)
    assert advantage.tolist() == [1.0, 101.0]


@pytest.mark.parametrize("terminates", [False, True])
def test_truncation_bootstraps_and_termination_does_not(build, terminates):
    algo = build(toy_config({"threat_hunter": "SAC"}, agents=("threat_hunter_0",), length=4, terminates=terminates))
    [rollout] = algo.env_runner.sample(num_timesteps=16 * 8)
    ends = np.arange(8 * 16).reshape(8, 16)[3::4].ravel()
    assert rollout.joint["terminated"][ends].all() == terminates
    assert rollout.joint["terminated"].sum() == (len(ends) if terminates else 0)


@pytest.mark.parametrize("algorithm", ["PPO", "SAC", "MADDPG"])
def test_slow_tier_acts_only_on_its_beat(build, algorithm):
    tiers = {"threat_hunter": "SAC", "strategic_coordinator": algorithm}
    agents = ("threat_hunter_0", "strategic_coordinator_0")
    algo = build(toy_config(tiers, agents=agents, period=5, slow=agents[1:], length=12))
    [rollout] = algo.env_runner.sample(num_timesteps=16 * 24)
    held = rollout.joint["action/strategic_coordinator_0"].reshape(24, 16, 2)
    for start, stop in ((0, 5), (5, 10), (10, 12), (12, 17)):  # the episode of 12 steps cuts the third short
        assert (held[start:stop] == held[start]).all()
        assert start == 0 or not np.array_equal(held[start], held[start - 1])
    if algorithm != "PPO":
        rows = rollout.decisions["strategic_coordinator_0"]
        assert sorted(set(rows["n_step"].tolist())) == [2, 5]
    for _ in range(6):
        algo.train()  # and it learns from them without complaint


def test_off_policy_rows_of_a_slow_tier_span_its_decision(build):
    tiers = {"strategic_coordinator": {"algorithm": "SAC", "gamma": 1.0}}
    agents = ("strategic_coordinator_0",)
    algo = build(toy_config(tiers, agents=agents, period=4, slow=agents, length=8))
    [rollout] = algo.env_runner.sample(num_timesteps=16 * 8)
    rows = rollout.decisions["strategic_coordinator_0"]
    earned = 1 - np.abs(rows["action/strategic_coordinator_0"] - rows["obs"][:, :2]).mean(1)
    assert rows["reward/strategic_coordinator_0"] == pytest.approx(
        4 * earned, rel=1e-5
    )  # the point stays for four steps


def test_decisions_of_slow_agents_in_one_tier_speak_for_their_own_agent(build):
    agents = ("strategic_coordinator_0", "strategic_coordinator_1")
    env = {"agents": agents, "spaces": dict.fromkeys(agents, BOX2), "period": 4, "slow": agents, "length": 8}
    algo = build(toy_config({"strategic_coordinator": "SAC"}, **env))
    algo.train()
    replay = algo.batches.replay_of("strategic_coordinator")
    assert len(replay) == 2 * 16 * 4  # agents, environments, decisions: the last ones closed by the episode's end
    of = {agent: replay.columns[f"alive/{agent}"][: len(replay)] for agent in agents}
    assert (of[agents[0]] ^ of[agents[1]]).all()
    index, weights = replay.sample("strategic_coordinator", 256)
    batch = algo.batches.batch("strategic_coordinator", index, weights)["strategic_coordinator"]
    for agent in agents:
        rows = of[agent][index]
        assert 100 < rows.sum() < 156
        for name, column in (("obs", "obs"), ("actions", "action"), ("new_obs", "next_obs")):
            assert np.array_equal(batch[name][rows], replay.columns[f"{column}/{agent}"][index[rows]]), name
    assert (batch["rewards"] != 0).all()


# ---- n-step returns and exploration


def test_n_step_rows_by_hand():
    # two environments, five steps; the second one's episode is truncated after its third step
    steps = {
        "obs": np.arange(10.0).reshape(5, 2, 1),
        "next_obs": np.arange(10.0).reshape(5, 2, 1) + 2,
        "action/a_0": np.arange(10).reshape(5, 2),
        "reward/a": np.array([[1.0, 10.0], [2.0, 20.0], [4.0, 40.0], [8.0, 80.0], [16.0, 160.0]]),
        "reward/b": np.ones((5, 2)),
        "terminated": np.zeros((5, 2), bool),
        "done": np.array([[0, 0], [0, 0], [0, 1], [0, 0], [0, 0]], bool),
    }
    steps["next_obs"][2, 1] = 99.0  # the last observation of the truncated episode
    rows = n_step_rows(steps, 3, {"a": 0.5, "b": 1.0})
    assert rows["obs"][:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows["action/a_0"].tolist() == [0, 1, 2, 3, 4, 5]
    assert rows["reward/a"].tolist() == [1 + 1 + 1, 10 + 10 + 10, 2 + 2 + 2, 20 + 20, 4 + 4 + 4, 40]
    assert rows["reward/b"].tolist() == [3, 3, 3, 2, 3, 1]
    assert rows["n_step"].tolist() == [3, 3, 3, 2, 3, 1]
    assert rows["next_obs"][:, 0].tolist() == [6, 99, 8, 99, 10, 99]
    assert not rows["terminated"].any()
    one = n_step_rows(steps, 1, {"a": 0.5, "b": 1.0})
    assert np.array_equal(one["reward/a"], steps["reward/a"].ravel())
    assert np.array_equal(one["next_obs"], steps["next_obs"].reshape(-1, 1))


def test_n_step_rows_do_not_depend_on_where_fragments_end(build):
    def rows(*fragments):
        config = toy_config({"threat_hunter": "SAC"}, agents=("threat_hunter_0",), length=7).training(n_step=3)
        algo = build(config)
        parts = [algo.env_runner.sample(num_timesteps=16 * n)[0].joint for n in fragments]
        return {name: np.concatenate([part[name] for part in parts if part]) for name in parts[-1]}

    whole, pieces = rows(20), rows(1, 1, 6, 12)
    assert len(whole["obs"]) == 16 * (20 - 2)
    assert_same(whole, pieces)


@pytest.mark.parametrize("algorithm", ["SAC", "MADDPG"])
@pytest.mark.parametrize("scale", [1.0, 4.0])
def test_held_noise_lasts_and_is_scaled(build, algorithm, scale):
    settings = {"algorithm": algorithm, "exploration": {"hold_steps": 4.0, "scale_range": [scale, scale]}}
    settings |= {"actor": {"initial_log_std": -3.0}} if algorithm == "SAC" else {}
    if algorithm == "MADDPG":
        settings["exploration"]["std"] = 0.05
    algo = build(toy_config({"threat_hunter": settings}, agents=("threat_hunter_0",)))
    runner = algo.env_runner
    [rollout] = runner.sample(num_timesteps=16 * 400)
    obs = rollout.joint["obs"]
    with torch.no_grad():
        greedy = act(runner.module["threat_hunter"], obs, explore=False).executed
    taken = rollout.joint["action/threat_hunter_0"]
    noise = (np.arctanh(taken) - np.arctanh(greedy) if algorithm == "SAC" else taken - greedy).reshape(400, 16, 2)
    is_same = np.isclose(noise[1:], noise[:-1], rtol=0.05, atol=1e-3).all(-1)  # the spread varies with the state
    assert is_same.mean() == pytest.approx(0.75, abs=0.03)  # all entries at once
    assert noise.std((0, 2)) / scale == pytest.approx(np.full(16, 0.05), rel=0.25)


def test_noise_with_a_range_of_scales_does_not_tell_how_noisy_the_next_steps_are():
    torch.manual_seed(0)
    shape, drawn = (16, 3), []
    noise = HeldNoise(shape, hold_steps=4.0, scale_range=[0.5, 8.0])
    for _ in range(4_000):
        noise.renew()
        drawn.append(noise.scaled().clone())
    values = torch.stack(drawn).numpy()  # (steps, envs, entries)
    is_same = values[1:] == values[:-1]
    assert is_same.mean() == pytest.approx(0.75, abs=0.01)
    assert is_same.all(-1).mean() == pytest.approx(0.75**3, abs=0.01)  # entries renew by themselves
    assert values.std((0, 2)) == pytest.approx(np.full(16, values.std()), rel=0.1)  # no environment is noisier
    later = [np.corrcoef(np.abs(values[:-lag]).ravel(), np.abs(values[lag:]).ravel())[0, 1] for lag in (4, 20)]
    assert later[0] == pytest.approx(0.75**4, abs=0.04)  # as long as it is held, no longer
    assert later[1] == pytest.approx(0.0, abs=0.02)


def test_penalties_are_scaled_for_the_tier_that_says_so(build):
    tiers = {
        "threat_hunter": {"algorithm": "SAC", "reward_shaping": {"penalty_scale": 0.1}},
        "response_orchestrator": "MADDPG",
    }
    algo = build(toy_config(tiers, agents=PAIR))
    runner = algo.env_runner
    [rollout] = runner.sample(num_timesteps=16 * 50)
    plain = rollout.joint["reward/response_orchestrator_0"]
    assert (plain < 0).any()
    assert (plain > 0).any()
    scaled = np.where(plain < 0, 0.1 * plain, plain)
    assert rollout.joint["reward/threat_hunter_0"] == pytest.approx(scaled)


# ---- averaged networks


def test_averaged_networks_follow_and_are_what_a_loaded_policy_acts_with(build, tmp_path):
    algo = build(toy_config().training(ema_tau=[[0, 0.5], [512, 0.25]]))
    expected = {tier: {n: v.numpy().copy() for n, v in state.items()} for tier, state in algo.averaged.items()}
    for rate in (0.375, 0.25, 0.25):  # after 256, 512 and 768 steps
        algo.train()
        for tier, values in expected.items():
            newest = algo.env_runner.module[tier].state_dict()
            for name in values:
                values[name] = values[name] + rate * (newest[name].numpy() - values[name])
    for tier, values in expected.items():
        for name, value in values.items():
            assert algo.averaged[tier][name].numpy() == pytest.approx(value, rel=1e-4, abs=1e-6), f"{tier}: {name}"
    policy = load_policy(save_checkpoint(algo, tmp_path / "c"))
    for tier, module in policy.modules.items():
        for name, value in module.state_dict().items():
            if name in algo.averaged[tier]:
                assert torch.equal(value, algo.averaged[tier][name]), f"{tier}: {name}"
    twin = build(toy_config().training(ema_tau=0.25).debugging(seed=5))
    twin.restore_from_path(tmp_path / "c")
    assert_same(algo.averaged, twin.averaged)


# ---- what the replay's settings change


def replay_config(**settings):
    """Two tiers on paper-v0, tiny: triage by DQN, response by MADDPG."""
    config = HMARLConfig().environment("paper-v0", env_config={"num_hosts": 20, "max_steps": 40})
    config.env_runners(num_envs_per_env_runner=8).debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size=256, learning_starts=256, random_steps=256, updates_per_iteration=2)
    config.training(replay_batch_size=64, replay_capacity=2048, **settings)
    hunter = {"algorithm": "scripted", "policy": "rule-soar"}
    return config.tiers({**{tier: {"hiddens": [16]} for tier in config.policies}, "threat_hunter": hunter})


def drawn(algo, tier, num_rows=4096):
    """Shares in which the tier draws the rows of its store."""
    replay = algo.batches.replay_of(tier)
    index, _ = replay.sample(tier, num_rows)
    return np.bincount(index, minlength=len(replay)) / num_rows


def test_replay_settings_decide_which_rows_are_drawn(build):
    triage, response = "alert_triage", "response_orchestrator"
    algos = {}
    for name, settings in {
        "shared": {},
        "uniform": {"replay": "uniform"},
        "separate": {"replay": "separate"},
        "paper": {"replay_priority": "paper", "replay_alpha": 1.0},
    }.items():
        algos[name] = build(replay_config(**settings))
        for _ in range(3):
            algos[name].train()
    shares = {name: {tier: drawn(algo, tier) for tier in (triage, response)} for name, algo in algos.items()}
    for tier in (triage, response):
        even = np.full(768, 1 / 768)
        assert shares["uniform"][tier] == pytest.approx(even, abs=2 / 4096)
        for name in ("shared", "separate", "paper"):
            assert np.abs(shares[name][tier] - even).sum() > 0.1, (name, tier)  # more than stratification leaves
    # by TD errors the tiers differ in what they draw, by the paper's priority they do not
    assert np.abs(shares["shared"][triage] - shares["shared"][response]).sum() > 0.1
    assert shares["paper"][triage] == pytest.approx(shares["paper"][response], abs=2 / 4096)
    replay = algos["paper"].replay
    names = soc_env.features("alert_triage_0", "paper-v0")
    seen = replay.columns["obs/alert_triage_0"][:768]
    confidence, severity = (
        seen[:, [k for k, name in enumerate(names) if name.endswith(end)]] for end in ("_confidence", "_severity")
    )
    expected = np.maximum((confidence * severity).max(1), 0.02)
    assert shares["paper"][triage] == pytest.approx(expected / expected.sum(), abs=2 / 4096)
    assert set(algos["separate"].batches.replays) == {triage, response}
    assert set(algos["shared"].batches.replays) == {"joint"}


def test_separate_stores_hold_nothing_of_other_tiers(build):
    algo, shared = (build(replay_config(replay=replay)) for replay in ("separate", "shared"))
    triage, response = (algo.batches.replays[tier].columns for tier in ("alert_triage", "response_orchestrator"))
    for columns, agent in ((triage, "alert_triage_0"), (response, "response_orchestrator_0")):
        own = {f"{name}/{agent}" for name in ("obs", "next_obs", "action", "reward")}
        assert set(columns) == own | {"terminated", "n_step"}
    for one in (algo, shared):
        one.train()
        one.train()
    sizes = {}
    for name, one in (("separate", algo), ("shared", shared)):
        replay = one.batches.replay_of("response_orchestrator")
        index, weights = replay.sample("response_orchestrator", 8)
        batch = one.batches.batch("response_orchestrator", index, weights)["response_orchestrator"]
        sizes[name] = (batch["joint_obs"].shape[1], batch["other_actions"].shape[1])
        if name == "separate":
            assert np.array_equal(batch["joint_obs"], batch["obs"])
    # the central critic then reads no more than its own agent
    assert sizes == {"separate": (96, 0), "shared": (64 + 128 + 64 + 96, 4 + 16 + 8)}
    rows = [one.batches.replay_of(t).sample(t, 64)[0] for one in (algo, shared) for t in one.off_policy]
    assert not np.array_equal(np.sort(rows[0]), np.sort(rows[1]))  # and nothing aligns what two tiers draw


@pytest.mark.parametrize("scenario", ["paper-v0", "soc-v1"])
@pytest.mark.parametrize("replay", ["separate", "uniform"])
def test_presets_train_with_every_replay(build, scenario, replay):
    from policies.presets import PRESETS

    overrides = {"num_hosts": 20, "max_steps": 40} if scenario == "paper-v0" else {"num_hosts": 20, "num_zones": 2}
    config = HMARLConfig().environment(scenario, env_config=overrides).debugging(seed=0, log_level="ERROR")
    config.env_runners(num_envs_per_env_runner=8).training(**copy.deepcopy(PRESETS[scenario]))
    config.training(
        replay=replay, train_batch_size=256, replay_batch_size=32, learning_starts=0, updates_per_iteration=2
    )
    config.tiers({"response_orchestrator": {"actor_lr": 1e-3}})
    algo = build(config)
    before = weights(algo)["response_orchestrator"]
    algo.train()
    after = weights(algo)["response_orchestrator"]
    for part in ("actor", "critic"):
        trained = [n for n in before if n.startswith(f"{part}.") and n.endswith("weight")]
        assert any(not np.array_equal(before[n], after[n]) for n in trained), part


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"replay": "seperate"},
            r"replay 'seperate' does not exist; did you mean 'separate'\? allowed: separate, shared, uni",
        ),
        ({"replay_priority": "td"}, "replay_priority 'td' does not exist.*allowed: paper, td_error"),
        (
            {"replay": "uniform", "replay_priority": "paper"},
            "replay_priority is 'paper', but a uniform replay has none",
        ),
    ],
)
def test_bad_replay_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        replay_config(**settings).validate()


# ---- statistics


def test_moments_equal_numpy():
    rng = np.random.default_rng(0)
    rows = rng.normal(3, 2, (1000, 4))
    moments = Moments(4)
    for part in np.split(rows, [1, 10, 400]):
        moments.add(part)
    assert moments.mean == pytest.approx(rows.mean(0))
    assert moments.variance == pytest.approx(rows.var(0))


def test_new_return_scale_keeps_what_values_mean(build):
    algo = build(toy_config())
    algo.train()
    obs = torch.rand(8, 3)
    for tier, group in algo.learner_group.groups.items():
        module = group._learner.module[tier].unwrapped()
        own = next(n for n, is_joint in module.input_norms() if not is_joint)
        statistics = (own.mean.numpy().copy(), 1.0 / own.inv_std.numpy() ** 2 - 1e-6)
        joints = [n for n, is_joint in module.input_norms() if is_joint]
        joint = (joints[0].mean.numpy().copy(), 1.0 / joints[0].inv_std.numpy() ** 2 - 1e-6) if joints else statistics
        heads = list(module.value_heads())
        assert heads, tier
        features = [torch.rand(8, head.in_features) for head in heads]
        before = [head(f) * module.return_scale for head, f in zip(heads, features, strict=True)]
        module.set_statistics(statistics, joint, 7.0 * float(module.return_scale))
        after = [head(f) * module.return_scale for head, f in zip(heads, features, strict=True)]
        for b, a in zip(before, after, strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-5), tier
    assert obs.shape == (8, 3)


def test_observation_statistics_reach_every_module(build):
    algo = build(toy_config())
    for _ in range(3):
        algo.train()
    for tier in algo.config.tier_settings:
        [agent] = [a for a in algo.agents if tier_of(a) == tier]
        for norm, is_joint in algo.learner_group[tier]._learner.module[tier].unwrapped().input_norms():
            part = slice(None) if is_joint else algo.team.slices[agent]
            assert norm.mean.numpy() == pytest.approx(algo.statistics.moments.mean[part], abs=1e-5), tier


def test_metric_rewards_go_to_their_tier_only(build):
    tiers = {
        "threat_hunter": "SAC",
        "response_orchestrator": {"algorithm": "MADDPG", "reward_shaping": {"metrics": {"length": 2.0}}},
    }
    algo = build(toy_config(tiers, agents=PAIR, length=4))
    [rollout] = algo.env_runner.sample(num_timesteps=16 * 9)
    extra = rollout.joint["reward/response_orchestrator_0"] - rollout.joint["reward/threat_hunter_0"]
    assert extra == pytest.approx(np.full(16 * 9, 2.0))  # the episode grows by one step a step, also where it ends


# ---- checkpoints


def test_checkpoint_restores_everything(build, tmp_path):
    config = toy_config(period=5, slow=("strategic_coordinator_0",))
    algo = build(config)
    for _ in range(6):
        algo.train()
    save_checkpoint(algo, tmp_path / "c")
    twin = build(config.copy(copy_frozen=False).debugging(seed=5))  # other initial weights
    twin.restore_from_path(tmp_path / "c")
    assert_same(learner_state(algo), learner_state(twin))
    assert twin.num_env_steps == algo.num_env_steps
    assert_same(vars(algo.statistics.moments), vars(twin.statistics.moments))
    assert twin.statistics.mean_absolute_return == algo.statistics.mean_absolute_return
    assert_same(algo.replay.get_state(), twin.replay.get_state())


STATEFUL = {  # everything that moves by itself: schedules, temperatures, coefficients, clocks of target networks
    "alert_triage": {
        "algorithm": "DQN",
        "lr": [[0, 1e-3], [4000, 1e-5]],
        "rllib": {"target_network_update_freq": 700},
        "tau": 1.0,
    },
    "threat_hunter": {"algorithm": "SAC", "alpha_lr": [[0, 1e-2], [4000, 1e-3]], "initial_alpha": 0.5},
    "response_orchestrator": {
        "algorithm": "MADDPG",
        "exploration": {"std": [[0, 0.9], [4000, 0.1]]},
        "rest": {"weight": [[0, 1.0], [4000, 0.0]]},
    },
    "strategic_coordinator": {
        "algorithm": "PPO",
        "rllib": {"use_kl_loss": True, "kl_target": 1e-4},
        "lr": [[0, 1e-2], [4000, 1e-4]],
    },
}


def test_a_restored_run_goes_on_as_the_uninterrupted_one(build, tmp_path):
    config = toy_config(STATEFUL, period=2, slow=("strategic_coordinator_0",))
    algo = build(config)
    for _ in range(6):
        algo.train()
    save_checkpoint(algo, tmp_path / "c")
    twin = build(config.copy(copy_frozen=False).debugging(seed=5))
    extras = learner_state(twin)
    twin.restore_from_path(tmp_path / "c")
    state = learner_state(algo)
    for tier, name in (("threat_hunter", "curr_log_alpha"), ("strategic_coordinator", "curr_kl_coeffs_per_module")):
        assert state[tier]["algorithm_state"][name] != extras[tier]["algorithm_state"][name]  # it had moved
    assert state["alert_triage"]["algorithm_state"]["last_target_update"]["alert_triage"] > 0
    # exploration: where the schedules of epsilon and noise are
    steps = algo.env_runner.num_env_steps_sampled_lifetime
    assert twin.env_runner.num_env_steps_sampled_lifetime == steps == 6 * 256
    observation = np.random.default_rng(0).uniform(-1, 1, (256, 3)).astype(np.float32)
    for tier in STATEFUL:
        drawn = []
        for one in (algo, twin):
            torch.manual_seed(3)
            with torch.no_grad():
                drawn.append(act(one.env_runner.module[tier], observation, explore=True, t=steps).executed)
        assert np.array_equal(*drawn), tier
    # learning: two more updates of every tier on the same data, over the next target update
    [rollout] = algo.env_runner.sample(num_timesteps=2048)
    for later in (256, 768):
        for one in (algo, twin):
            torch.manual_seed(later)
            np.random.seed(later)  # noqa: NPY002  (RLlib shuffles minibatches with it)
            timesteps = {"num_env_steps_sampled_lifetime": steps + later}
            one._collected["strategic_coordinator"] = [rollout.on_policy["strategic_coordinator"]]
            assert one._update_on_policy("strategic_coordinator", timesteps)
            for tier in one.off_policy:
                assert one._update_off_policy(tier, timesteps)
        assert_same(learner_state(algo), learner_state(twin))
        assert_same(algo.replay.get_state(), twin.replay.get_state())
    moved = learner_state(algo)
    assert moved["alert_triage"]["algorithm_state"]["last_target_update"]["alert_triage"] == steps + 768
    for tier in STATEFUL:
        assert moved[tier]["algorithm_state"] != state[tier]["algorithm_state"] or tier == "response_orchestrator"


def assert_same(a, b, path=""):
    if isinstance(a, dict):
        assert set(a) == set(b), path
        for key in a:
            assert_same(a[key], b[key], f"{path}/{key}")
    elif isinstance(a, (list, tuple)):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b, strict=True)):
            assert_same(x, y, f"{path}/{i}")
    else:
        assert np.array_equal(np.asarray(a), np.asarray(b)), path


def test_loaded_policy_acts_as_the_trained_one(build, tmp_path):
    algo = build(toy_config(period=5, slow=("strategic_coordinator_0",)))
    for _ in range(3):
        algo.train()
    policy = load_policy(save_checkpoint(algo, tmp_path / "c", replay=False))
    toy = Matching(num_envs=8, seed=1, period=5, slow=("strategic_coordinator_0",))
    toy.reset()
    actions = policy(toy.observations, toy.decides)
    for tier in algo.config.tier_settings:
        module, agent = algo.env_runner.module[tier], f"{tier}_0"
        out = module.forward_inference({"obs": torch.from_numpy(toy.observations[agent])})
        if "actions" not in out:
            inputs = out["action_dist_inputs"]
            out["actions"] = module.get_inference_action_dist_cls().from_logits(inputs).to_deterministic().sample()
        assert actions[agent] == pytest.approx(out["actions"].detach().numpy().clip(-1, 3), abs=1e-6)
    held = policy(toy.observations, np.zeros(8, bool))["strategic_coordinator_0"]
    assert np.array_equal(held, actions["strategic_coordinator_0"])


def test_sampled_policy_is_repeatable_and_not_greedy(build, tmp_path):
    algo = build(toy_config())
    algo.train()
    folder = save_checkpoint(algo, tmp_path / "c", replay=False)
    toy = Matching(num_envs=64, seed=1)
    toy.reset()
    drawn = [load_policy(folder, deterministic=False, seed=s)(toy.observations, toy.decides) for s in (1, 1, 2)]
    greedy = load_policy(folder)(toy.observations, toy.decides)
    for agent in ROLES:
        assert np.array_equal(drawn[0][agent], drawn[1][agent])
        assert not np.array_equal(drawn[0][agent], drawn[2][agent])
        assert not np.array_equal(drawn[0][agent], greedy[agent])


def test_damaged_checkpoints_are_named(build, tmp_path):
    algo = build(toy_config({"threat_hunter": "SAC"}, agents=("threat_hunter_0",)))
    folder = save_checkpoint(algo, tmp_path / "c")
    with pytest.raises(CheckpointError, match="does not exist"):
        load_policy(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match=r"not a checkpoint.*hmarl\.json"):
        load_policy(tmp_path / "empty")
    with pytest.raises(CheckpointError, match="trained on scenario"):
        load_policy(folder, scenario="paper-v0")
    state = next(folder.rglob("threat_hunter/module_state*"))
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"damaged.*bytes instead of"):
        load_policy(folder)
    state.unlink()
    with pytest.raises(CheckpointError, match=r"damaged.*is missing"):
        load_policy(folder)
    (folder / "hmarl.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_policy(folder)


# ---- configuration


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        ({"threat_hunter": {"algorithm": "SACC"}}, r"algorithm 'SACC' does not exist; did you mean 'SAC'\?"),
        (
            {"threat_hunter": {"algorithm": "SAC", "actor_lrr": 1}},
            r"setting of SAC 'actor_lrr' does not exist; did you mean 'actor_lr'\?",
        ),
        ({"threat_hunter": {"algorithm": "SAC", "gamma": 1.5}}, "gamma=1.5 must be a number from 0.0 to 1.0"),
        ({"threat_hunter": {"algorithm": "SAC", "hiddens": []}}, r"hiddens=\[\] must be"),
        ({"threat_hunter": {"algorithm": "SAC", "rest": {"weight": -1.0}}}, "rest.weight=-1.0 must be a number from 0"),
        (
            {"threat_hunter": {"algorithm": "SAC", "rest": {"weight": [[10, 1.0]]}}},
            r"rest.weight=\[\[10, 1.0\]\] must be .* or a schedule",
        ),
        (
            {"threat_hunter": {"algorithm": "SAC", "rest": {"weight": [[0, 1.0], [9, "a"]]}}},
            "rest.weight=.*'a'.* must be",
        ),
        (
            {"alert_triage": {"algorithm": "DQN", "epsilon": [[0, 1.0], [9, 1.5]]}},
            "epsilon=.*1.5.* must be a number",
        ),
        ({"response_orchestrator": {"algorithm": "MADDPG", "exploration": {"std": -0.1}}}, "std=-0.1 must be a number"),
        (
            {"response_orchestrator": {"algorithm": "MADDPG", "actor": {"smoothing": [0.1]}}},
            "smoothing=.* must be 0 or 2",
        ),
        (
            {"response_orchestrator": {"algorithm": "MADDPG", "actor": {"smoothing": [0.1, [[0, 0.5], [9, 0]]]}}},
            "actor.smoothing=.* must be a number from 1e-09",
        ),
        ({"new_tier": {"lr": 1.0}}, "tier 'new_tier': algorithm None does not exist"),
    ],
)
def test_bad_tiers_are_named(tiers, message):
    with pytest.raises(ConfigError, match=message):
        HMARLConfig().tiers(tiers)


@pytest.mark.parametrize(("algorithm", "space"), [("DQN", BOX2), ("MADDPG", FOUR)])
def test_algorithm_must_fit_the_action_space(build, algorithm, space):
    agent = "threat_hunter_0"
    with pytest.raises(ConfigError, match=f"{algorithm} needs a"):
        build(toy_config({"threat_hunter": algorithm}, agents=(agent,), spaces={agent: space}))


@pytest.mark.parametrize(("algorithm", "space"), [("SAC", FOUR), ("PPO", FOUR), ("PPO", BOX2), ("MADDPG", BOX2)])
def test_any_tier_takes_any_algorithm_that_fits(build, algorithm, space):
    agent = "alert_triage_0"
    algo = build(toy_config({"alert_triage": algorithm}, agents=(agent,), spaces={agent: space}))
    before = weights(algo)
    for _ in range(3):
        algo.train()
    assert any(not np.array_equal(before["alert_triage"][n], w) for n, w in weights(algo)["alert_triage"].items())


@pytest.mark.parametrize("algorithm", ["SAC", "MADDPG"])
def test_several_agents_share_a_tier(build, algorithm):
    agents = ("threat_hunter_0", "threat_hunter_1", "response_orchestrator_0")
    tiers = {"threat_hunter": algorithm, "response_orchestrator": "MADDPG"}
    algo = build(toy_config(tiers, agents=agents, spaces=dict.fromkeys(agents, BOX2)).training(updates_per_iteration=8))
    for _ in range(50):
        algo.train()
    scores = greedy_scores(algo, agents, spaces=dict.fromkeys(agents, BOX2))
    assert min(scores.values()) > 0.75, scores
    assert set(algo.learner_group.groups) == {"threat_hunter", "response_orchestrator"}


def test_tiers_are_plain_data_and_merge():
    config = HMARLConfig().tiers({"threat_hunter": {"actor_lr": 1e-5}})
    assert config.tier_settings["threat_hunter"]["algorithm"] == "SAC"
    config.tiers({"threat_hunter": {"algorithm": "PPO"}})
    assert "actor_lr" not in config.tier_settings["threat_hunter"]
    config.update_from_dict({"tiers": {"threat_hunter": {"lr": 0.5}}})
    assert config.tier_settings["threat_hunter"]["lr"] == 0.5
    assert json.loads(json.dumps(config.tier_settings)) == config.tier_settings


def test_tier_of_agents():
    assert [tier_of(a) for a in ("threat_hunter_0", "threat_hunter_12", "blue_agent", "agent_")] == [
        "threat_hunter",
        "threat_hunter",
        "blue_agent",
        "agent_",
    ]


# ---- one iteration of every shape of team, network and cluster


def assert_all_learn(algo):
    """One iteration moves the networks of every tier, and leaves all of them finite."""
    before = weights(algo)
    result = algo.train()
    after = weights(algo)
    assert set(before) == set(algo.plan.members) <= set(result["learners"])
    for tier, own in after.items():
        assert all(np.isfinite(value).all() for value in own.values()), tier
        trained = [n for n in own if n.endswith("weight") and "target" not in n]
        assert any(not np.array_equal(before[tier][n], own[n]) for n in trained), tier


@pytest.mark.parametrize("responders", [0, 1, 3])
@pytest.mark.parametrize("replay", ["shared", "separate"])
def test_trains_with_any_number_of_responders(build, responders, replay):
    agents = [agent for agent in ROLES if agent != "response_orchestrator_0"]
    agents += [f"response_orchestrator_{k}" for k in range(responders)]
    spaces = {agent: ROLES[f"{tier_of(agent)}_0"] for agent in agents}
    env = {"agents": agents, "spaces": spaces, "period": 2, "slow": ("strategic_coordinator_0",)}
    config = HMARLConfig().environment(Matching, env_config=env).debugging(seed=0, log_level="ERROR")
    config.tiers({tier: {**SMALL, **FAST[s["algorithm"]]} for tier, s in config.tier_settings.items()})
    config.tiers({"strategic_coordinator": {"train_batch_size": 64}}).env_runners(num_envs_per_env_runner=16)
    config.training(train_batch_size=256, learning_starts=0, random_steps=0, updates_per_iteration=2)
    algo = build(config.training(replay_batch_size=64, replay_capacity=1024, replay=replay))
    assert len(algo.plan.members.get("response_orchestrator", ())) == responders
    assert_all_learn(algo)


@pytest.mark.parametrize(("num_zones", "num_env_runners"), [(1, 0), (16, 0), (5, 2)])
def test_trains_with_any_number_of_zones_and_runners(build, num_zones, num_env_runners):
    from policies.presets import PRESETS

    config = HMARLConfig().environment("soc-v1", env_config={"num_zones": num_zones, "num_hosts": 64})
    config.env_runners(num_envs_per_env_runner=4, num_env_runners=num_env_runners).debugging(seed=0, log_level="ERROR")
    config.training(**copy.deepcopy(PRESETS["soc-v1"]))
    moving = {"threat_hunter": {"actor_lr": 1e-3}, "response_orchestrator": {"actor_lr": 1e-3}}
    config.tiers({**moving, "strategic_coordinator": {"train_batch_size": 16}})
    config.training(train_batch_size=240, learning_starts=0, replay_batch_size=32, updates_per_iteration=2)
    config.training(replay_capacity=1024)
    algo = build(config)
    assert algo.plan.members["strategic_coordinator"] == ("strategic_coordinator_0",)
    assert (
        algo.team.slices["threat_hunter_0"].stop - algo.team.slices["threat_hunter_0"].start == 23 * num_zones + 19 + 60
    )
    assert_all_learn(algo)
    assert algo.num_env_steps >= 240


# ---- remote


def test_remote_runners_and_learners(build):
    config = toy_config(period=5, slow=("strategic_coordinator_0",)).env_runners(num_env_runners=1)
    algo = build(config.tiers({"threat_hunter": {"num_learners": 1}}))
    assert algo.learner_group["threat_hunter"].is_remote
    remote = algo.env_runner_group.foreach_env_runner(
        lambda r: r.module["alert_triage"].get_state(), local_env_runner=False
    )
    for _ in range(4):
        result = algo.train()
    assert result["env_runners"]["num_env_steps_sampled_lifetime"] == algo.num_env_steps > 0
    now = algo.env_runner_group.foreach_env_runner(
        lambda r: r.module["alert_triage"].get_state(), local_env_runner=False
    )
    assert any(not np.array_equal(remote[0][n], now[0][n]) for n in now[0])


def test_one_ppo_update_equals_a_hand_computed_surrogate(build):
    algo = build(toy_config({"strategic_coordinator": "PPO"}, agents=("strategic_coordinator_0",)))
    [rollout] = algo.env_runner.sample(num_timesteps=64)
    columns = rollout.on_policy["strategic_coordinator"]
    learner = algo.learner_group["strategic_coordinator"]._learner
    batch = {n: torch.as_tensor(v) for n, v in columns.items()}
    out = learner.module["strategic_coordinator"]._forward_train(batch)
    config = learner.config
    loss = learner.compute_loss_for_module(module_id="strategic_coordinator", config=config, batch=batch, fwd_out=out)
    # before any update the ratio is 1: the surrogate is the mean advantage, the rest is the value loss
    module = learner.module["strategic_coordinator"].unwrapped()
    values = module.compute_values(batch)
    vf_loss = (values - batch["value_targets"]).pow(2).mean()
    expected = -batch["advantages"].mean() + config.vf_loss_coeff * vf_loss
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4, abs=1e-5)
    assert isinstance(MultiAgentBatch({"t": SampleBatch(columns)}, 1), MultiAgentBatch)
    assert isinstance(module.action_space, gym.spaces.Box)


def test_a_checkpoint_of_another_format_is_refused_with_the_version_that_wrote_it(tmp_path):
    manifest = {"format": 2, "files": {}, "versions": {"hmarl-soc": "0.1.0", "ray": "2.60.0"}}
    (tmp_path / "hmarl.json").write_text(json.dumps(manifest))
    with pytest.raises(
        CheckpointError, match=r"has format 2, written by hmarl-soc 0\.1\.0; this version reads format 3"
    ):
        load_policy(tmp_path)
    (tmp_path / "hmarl.json").write_text(json.dumps({"format": 1, "files": {}}))
    with pytest.raises(CheckpointError, match=r"has format 1, written by hmarl-soc \(version unknown\)"):
        load_policy(tmp_path)
