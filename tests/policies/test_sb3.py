"""The batched environment in Stable-Baselines3's terms. Classes of SB3 itself are tested where it is installed."""

import numpy as np
import pytest

import soc_env
from policies.adapters.sb3_steps import vec_step
from soc_env.errors import ActionError, ConfigError
from soc_env.wrappers import CentralGym, SOCVectorEnv

both_families = pytest.mark.parametrize("scenario", ["paper-v0", "soc-v1"])
ENDS = {
    "paper-v0": {"num_hosts": 20, "exfiltration_rate": 1.0, "min_phase_steps": 1, "max_steps": 40},
    "soc-v1": {"max_steps": 7},
}


def sb3():
    return pytest.importorskip(
        "stable_baselines3", reason="stable_baselines3 is not installed: SOCVecEnv is NOT tested"
    )


def vec_env(*args, **options):
    sb3()
    from policies.adapters import SOCVecEnv

    return SOCVecEnv(*args, **options)


# ---------------------------------------------------------------------- without stable_baselines3
@both_families
def test_infos_of_ended_episodes_say_how_they_ended(scenario):
    env = SOCVectorEnv(scenario, 8, seed=1, **ENDS[scenario])
    env.reset()
    env.action_space.seed(0)
    returns, lengths, ends = np.zeros(8), np.zeros(8), set()
    for _ in range(60):
        step = env.step(env.action_space.sample())
        observations, rewards, dones, infos = vec_step(step, 1.5)
        assert observations is step[0]
        assert rewards.dtype == np.float32
        assert (dones == (step[2] | step[3])).all()
        returns += step[1]
        lengths += 1
        for i, info in enumerate(infos):
            assert bool(info) == dones[i]
            if not info:
                continue
            ends.add((info["TimeLimit.truncated"], bool(step[2][i])))
            assert np.array_equal(info["terminal_observation"], step[4]["final_obs"][i])
            assert info["episode"] == {"r": pytest.approx(returns[i]), "l": lengths[i], "t": 1.5}
            assert info["length"] == lengths[i]
            assert ("score" in info) == (scenario == "soc-v1")
            returns[i] = lengths[i] = 0
    assert ends == {(True, False)} | ({(False, True)} if scenario == "paper-v0" else set())


def test_an_episode_that_is_over_at_the_time_limit_is_not_cut_off():
    finals = {"final_obs": [np.zeros(2)], "final_info": {"reward": np.array([3.0]), "length": np.array([4.0])}}
    both = np.ones(1, bool)
    (info,) = vec_step((np.zeros((1, 2)), np.zeros(1), both, both, finals), 0.0)[3]
    assert info["TimeLimit.truncated"] is False
    assert info["episode"] == {"r": 3.0, "l": 4, "t": 0.0}


@both_families
def test_masks_of_the_batch_are_those_of_the_environments(scenario):
    env = SOCVectorEnv(scenario, 3, actions="discrete")
    env.reset(seed=[5, 6, 7])
    singles = [CentralGym(soc_env.parallel_env(scenario, actions="discrete", masks="info")) for _ in range(3)]
    for single, seed in zip(singles, (5, 6, 7), strict=True):
        single.reset(seed=seed)
    env.action_space.seed(0)
    masks = set()
    for _ in range(40):
        choices = env.action_space.sample()
        expected = np.array([single.action_masks() for single in singles])
        assert np.array_equal(env.action_masks(), expected)
        masks |= {row.tobytes() for row in expected}
        env.step(choices)
        for single, own in zip(singles, choices, strict=True):
            *_, is_terminated, is_truncated, _ = single.step(own)
            if is_terminated or is_truncated:
                single.reset()
    assert len(masks) >= 3
    with pytest.raises(ConfigError, match="action_masks\\(\\) needs choices; allowed: actions='discrete'"):
        SOCVectorEnv(scenario).action_masks()


# ---------------------------------------------------------------------- with it
@both_families
@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_the_vec_env_plays_the_same_as_the_vector_env(scenario, actions):
    env, twin = (
        vec_env(scenario, 3, actions=actions, seed=4, max_steps=5),
        SOCVectorEnv(scenario, 3, actions=actions, max_steps=5),
    )
    for seed in (4, 9, None):
        if seed == 9:
            assert env.seed(9) == [9, 9, 9]
        assert np.array_equal(env.reset(), twin.reset(seed=seed)[0])
        twin.action_space.seed(0)
        for _ in range(12):
            chosen = twin.action_space.sample()
            got, expected = env.step(chosen), vec_step(twin.step(chosen), 0.0)
            for array, other in zip(got[:3], expected[:3], strict=True):
                assert np.array_equal(array, other)
            for info, other in zip(got[3], expected[3], strict=True):
                assert info.keys() == other.keys()


def test_a_seed_of_none_is_another_one_each_time():
    env = vec_env("paper-v0", 2)
    seeds = [env.seed()[0] for _ in range(5)]
    assert len(set(seeds)) == 5
    first = env.reset()
    env.seed(seeds[-1])
    assert np.array_equal(env.reset(), first)
    assert not np.array_equal(env.reset(), first)
    with pytest.raises(ConfigError, match="seed=-1"):
        env.seed(-1), env.reset()


def test_what_sb3_asks_environments():
    env = vec_env("paper-v0", 3, actions="discrete")
    env.reset()
    assert env.get_attr("render_mode") == [None] * 3
    assert env.get_attr("num_envs", [1]) == [3]
    assert env.env_is_wrapped(object, 1) == [False]
    assert env.has_attr("action_masks")
    assert not env.has_attr("nothing")
    assert not vec_env("paper-v0").has_attr("action_masks")
    masks = env.env_method("action_masks", indices=[2, 0])
    assert [mask.tolist() for mask in masks] == env.env.action_masks()[[2, 0]].tolist()
    env.close()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda env: env.set_attr("num_envs", 4), "num_envs cannot be set"),
        (lambda env: env.env_method("render"), "method of an environment 'render' does not exist"),
        (lambda env: env.env_method("action_masks"), "needs choices"),
        (lambda env: env.set_options({"a": 1}), "a reset has no options"),
        (lambda env: env.step(np.zeros((1, 2))), "shape"),
    ],
)
def test_what_would_do_nothing_is_refused(call, message):
    env = vec_env("paper-v0")
    env.reset()
    env.set_options()
    with pytest.raises((ConfigError, ActionError), match=message):
        call(env)


@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_ppo_learns_on_it_and_a_monitor_writes_the_score(actions, tmp_path):
    from_sb3 = sb3()
    from stable_baselines3.common.evaluation import evaluate_policy
    from stable_baselines3.common.vec_env import VecMonitor

    bare = vec_env("soc-v1", 4, actions=actions, max_steps=8, num_hosts=30)
    env = VecMonitor(bare, str(tmp_path / "log"), info_keywords=("score",))
    ppo = from_sb3.PPO("MlpPolicy", env, n_steps=16, batch_size=32, n_epochs=1, seed=0, device="cpu")
    ppo.learn(128)
    header, *rows = (tmp_path / "log.monitor.csv").read_text().splitlines()[1:]
    assert header == "r,l,t,score"
    assert len(rows) == 16
    assert {row.split(",")[1] for row in rows} == {"8"}
    mean, _ = evaluate_policy(ppo, env, n_eval_episodes=4, warn=False)
    assert np.isfinite(mean)
    again = from_sb3.PPO(
        "MlpPolicy",
        vec_env("soc-v1", 4, actions=actions, max_steps=8, num_hosts=30),
        n_steps=16,
        batch_size=32,
        n_epochs=1,
        seed=0,
        device="cpu",
    )
    again.learn(128)
    for mine, its in zip(ppo.policy.parameters(), again.policy.parameters(), strict=True):
        assert np.array_equal(mine.detach().numpy(), its.detach().numpy())


def test_ppo_values_what_a_time_limit_cut_off():
    """Gamma 1, reward-free critic of 100: the last step of a truncated episode is worth 100 more than it earned."""
    from_sb3 = sb3()
    env = vec_env("soc-v1", 2, max_steps=4, num_hosts=30)
    ppo = from_sb3.PPO("MlpPolicy", env, n_steps=4, batch_size=8, n_epochs=1, gamma=1.0, seed=0, device="cpu")
    for parameter in ppo.policy.value_net.parameters():
        parameter.data[...] = 0.0
    ppo.policy.value_net.bias.data[...] = 100.0
    earned = []
    step = env.step_wait

    def recorded():
        result = step()
        earned.append(result[1].copy())
        return result

    env.step_wait = recorded
    _, callback = ppo._setup_learn(8, None)
    ppo.collect_rollouts(ppo.env, callback, ppo.rollout_buffer, 4)
    assert ppo.rollout_buffer.rewards - np.array(earned) == pytest.approx(
        np.array([[0.0], [0], [0], [100]]).repeat(2, 1), abs=1e-4
    )
