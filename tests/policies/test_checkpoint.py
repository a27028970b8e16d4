"""Checkpoints: nothing is lost between save and restore, and what is damaged is named."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from toy import ROLES, Matching

pytest.importorskip("ray")

from toy_team import assert_same, learner_state, toy_config

from policies import load_policy, save_checkpoint
from policies.runner.acting import act
from soc_env.errors import CheckpointError

pytestmark = pytest.mark.usefixtures("quiet")


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
            timesteps = {"num_env_steps_sampled_lifetime": steps + later}
            one.collected["strategic_coordinator"] = [rollout.on_policy["strategic_coordinator"]]
            updates = [one._update_on_policy("strategic_coordinator", timesteps)]
            one.side_by_side([*updates, *(one._update_off_policy(tier, timesteps) for tier in one.off_policy)])
        assert_same(learner_state(algo), learner_state(twin))
        assert_same(algo.replay.get_state(), twin.replay.get_state())
    moved = learner_state(algo)
    assert moved["alert_triage"]["algorithm_state"]["last_target_update"]["alert_triage"] == steps + 256
    for tier in STATEFUL:
        assert moved[tier]["algorithm_state"] != state[tier]["algorithm_state"] or tier == "response_orchestrator"


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
    state = folder / "state.safetensors"
    whole = state.read_bytes()
    state.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match=r"damaged: state\.safetensors: has \d+ bytes instead of"):
        load_policy(folder)
    state.unlink()
    with pytest.raises(CheckpointError, match=r"damaged: state\.safetensors: is missing"):
        load_policy(folder)
    (folder / "hmarl.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"damaged: hmarl\.json"):
        load_policy(folder)


def test_a_checkpoint_of_another_format_is_refused_with_the_version_that_wrote_it(tmp_path):
    manifest = {"format": 2, "files": {}, "versions": {"hmarl-soc": "0.1.0", "ray": "2.60.0"}}
    (tmp_path / "hmarl.json").write_text(json.dumps(manifest))
    with pytest.raises(
        CheckpointError, match=r"has format 2, written by hmarl-soc 0\.1\.0; this version reads format 4"
    ):
        load_policy(tmp_path)
    (tmp_path / "hmarl.json").write_text(json.dumps({"format": 1, "files": {}}))
    with pytest.raises(CheckpointError, match=r"has format 1, written by hmarl-soc \(version unknown\)"):
        load_policy(tmp_path)
