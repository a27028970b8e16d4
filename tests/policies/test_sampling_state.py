"""What samples says its state: a fresh runner, collector, batch or scripted policy goes on from it to the byte."""

from __future__ import annotations

import copy
import dataclasses
import functools
import time

import gymnasium as gym
import numpy as np
import pytest
import torch
from foreign_envs import Duel
from toy import Matching

pytest.importorskip("ray")

import soc_env
from policies import HMARLConfig
from policies.presets import preset_of
from policies.runner.env_runner import ColumnarEnvRunner
from policies.runner.generators import get_generators, set_generators
from policies.scripted import RandomPolicy, scripted
from policies.state_files import load_tree, save_tree
from soc_env.errors import CheckpointError

torch.set_num_threads(1)
SMALL = {"hiddens": [16]}
NOISY = {"exploration": {"hold_steps": 3.0, "scale_range": [0.3, 3.0]}}
TEAM = {
    "alert_triage": {"algorithm": "DQN", **SMALL, "reward_shaping": {"metrics": {"true_positives": 2.0}}},
    "threat_hunter": {"algorithm": "SAC", **SMALL},
    "response_orchestrator": {"algorithm": "MADDPG", **SMALL, **NOISY},
    "strategic_coordinator": {"algorithm": "PPO", **SMALL},
}


class CountingDuel(Duel):
    """`Duel` that says its state."""

    def get_state(self):
        return {
            "rng": self.rng.bit_generator.state,
            "points": dict(self.points),
            "steps": self.steps,
            "agents": list(self.agents),
        }

    def set_state(self, state):
        self.rng = np.random.default_rng()
        self.rng.bit_generator.state = state["rng"]
        self.points, self.steps, self.agents = dict(state["points"]), state["steps"], list(state["agents"])


def configured(env, tiers=TEAM, n_step=1, num_envs=2, **env_config):
    config = HMARLConfig().environment(env, env_config=env_config).debugging(seed=3, log_level="ERROR")
    config.env_runners(num_envs_per_env_runner=num_envs).training(n_step=n_step)
    return config.tiers(tiers, replace=bool(tiers))


def of_preset(scenario, **env_config):
    preset = preset_of(scenario)
    return configured(scenario, {}, preset.get("n_step", 1), **env_config).tiers(preset["tiers"])


def plain(rollouts):
    """Everything of some rollouts as nested plain values, arrays as bytes."""

    def of(value):
        if isinstance(value, dict):
            return {name: of(inner) for name, inner in value.items()}
        return (value.dtype.str, value.shape, value.tobytes()) if isinstance(value, np.ndarray) else value

    return [of(dataclasses.asdict(rollout)) for rollout in rollouts]


def sampled(runner, fragments=3, steps=11, **options):
    return [plain(runner.sample(num_timesteps=steps * runner.num_envs, **options)) for _ in range(fragments)]


def said(runner, folder):
    """The runner's weights, and all else that it goes on from, through files."""
    save_tree(folder, "state", {**runner.get_state(["sampling"]), "generators": get_generators()})
    return copy.deepcopy(runner.get_state()), load_tree(folder, "state")


def restored(runner, weights, state):
    runner.set_state(weights)
    runner.set_state({"sampling": state["sampling"]})
    set_generators(state["generators"])
    return runner


CASES = {
    "four tiers": lambda: configured("soc-v1", num_hosts=40, max_steps=30),
    "scripted tier": lambda: configured(
        "paper-v0", {**TEAM, "threat_hunter": {"algorithm": "scripted", "policy": "random"}}, max_steps=30
    ),
    "n-step returns": lambda: configured("paper-v0", n_step=3, max_steps=30),
    "preset of paper-v0": lambda: of_preset("paper-v0"),
    "preset of soc-v1": lambda: of_preset("soc-v1", max_steps=30),
    "foreign environment": lambda: configured(
        CountingDuel, {a: {"algorithm": "SAC", "agents": [a], **SMALL, **NOISY} for a in Duel.possible_agents}, 2
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_fresh_runner_goes_on_to_the_byte(case, tmp_path):
    config = CASES[case]()
    runner = ColumnarEnvRunner(config, worker_index=0)
    sampled(runner)
    weights, state = said(runner, tmp_path)
    finished = [dict(episode) for episode in runner._finished]
    expected, expected_random = sampled(runner), sampled(runner, 1, 3, random_actions=True)
    fresh = restored(ColumnarEnvRunner(config, worker_index=0), weights, state)
    assert fresh._finished == finished != []
    assert sampled(fresh) == expected
    assert sampled(fresh, 1, 3, random_actions=True) == expected_random
    assert fresh.num_env_steps_sampled_lifetime == runner.num_env_steps_sampled_lifetime
    assert sampled(restored(runner, weights, state)) == expected  # the runner itself goes back


def test_sampling_is_said_only_if_it_is_asked_for_by_name():
    runner = ColumnarEnvRunner(configured("paper-v0"), worker_index=0)
    assert "sampling" not in runner.get_state()
    assert set(runner.get_state(components=["sampling"])) == {"num_env_steps_sampled_lifetime", "sampling"}
    assert "generators" not in runner.get_state("sampling")["sampling"]
    remote = ColumnarEnvRunner(configured("paper-v0"), worker_index=1)
    assert "generators" in remote.get_state("sampling")["sampling"]


def test_a_remote_runner_brings_its_generators_back():
    runner = ColumnarEnvRunner(configured("paper-v0"), worker_index=1)
    sampled(runner)
    weights, state = copy.deepcopy(runner.get_state()), runner.get_state("sampling")
    expected = sampled(runner)
    torch.manual_seed(1)
    fresh = ColumnarEnvRunner(configured("paper-v0"), worker_index=1)
    fresh.set_state({**weights, **state})
    assert sampled(fresh) == expected


def test_a_runner_counts_the_steps_of_all_runners_before_the_driver_tells():
    for num_env_runners, factor in ((0, 1), (1, 1), (3, 3)):
        config = configured("paper-v0").env_runners(num_env_runners=num_env_runners)
        runner = ColumnarEnvRunner(config, worker_index=1)
        runner.sample(num_timesteps=10)
        assert runner.num_env_steps_sampled_lifetime == 10 * factor


def test_weights_go_back_with_the_sampling_state_and_never_without():
    runner = ColumnarEnvRunner(configured("paper-v0"), worker_index=0)
    weights = runner.module["alert_triage"].state_dict()
    old = copy.deepcopy(runner.get_state() | runner.get_state("sampling") | {"weights_seq_no": 4})
    runner.set_state(old)
    new = copy.deepcopy(old) | {"weights_seq_no": 9}
    for tensor in new["rl_module"]["alert_triage"].values():
        tensor += 1
    del new["sampling"]
    runner.set_state(new)
    newest = {name: value.clone() for name, value in runner.module["alert_triage"].state_dict().items()}
    runner.set_state({name: value for name, value in old.items() if name != "sampling"})
    after = runner.module["alert_triage"].state_dict()
    assert all(torch.equal(after[name], newest[name]) for name in newest)
    runner.set_state(old)
    after = runner.module["alert_triage"].state_dict()
    assert all(torch.equal(after[name], torch.as_tensor(old["rl_module"]["alert_triage"][name])) for name in weights)
    runner.set_state(new)  # of the next sync, whose number is higher than the old one's
    after = runner.module["alert_triage"].state_dict()
    assert all(torch.equal(after[name], newest[name]) for name in newest)


@pytest.mark.parametrize("env", [Duel, Matching])
def test_an_environment_without_a_state_starts_new_episodes_at_a_fresh_seed(env, tmp_path):
    agents = list(Duel.possible_agents if env is Duel else soc_env.AGENTS)
    tiers = {a: {"algorithm": "SAC", "agents": [a], **SMALL} for a in agents} if env is Duel else TEAM
    tiers = {tier: {k: v for k, v in own.items() if k != "reward_shaping"} for tier, own in tiers.items()}
    config = configured(env, tiers)
    runner = ColumnarEnvRunner(config, worker_index=0)
    first = sampled(runner)
    weights, state = said(runner, tmp_path)
    assert state["sampling"]["env"] is None
    runs = [sampled(restored(ColumnarEnvRunner(config, worker_index=0), weights, state)) for _ in range(2)]
    runs.append(sampled(restored(runner, weights, state)))
    assert runs[0] == runs[1] == runs[2]
    assert runs[0] != first


@pytest.mark.parametrize(
    "change",
    [
        {"num_envs": 3},
        {"n_step": 3},
        {"max_steps": 29},
        {"tiers": {**TEAM, "threat_hunter": {"algorithm": "scripted", "policy": "random"}}},
    ],
)
def test_the_state_of_other_sampling_starts_new_episodes(change, tmp_path):
    runner = ColumnarEnvRunner(configured("paper-v0", max_steps=30), worker_index=0)
    sampled(runner)
    _, state = said(runner, tmp_path)
    other = ColumnarEnvRunner(configured("paper-v0", **{"max_steps": 30, **change}), worker_index=0)
    other.set_state({"sampling": state["sampling"]})
    assert other._collector is None
    sampled(other, 1)


def changed(state, path, value):
    first, *rest = path
    inner = changed(state[first], rest, value) if rest else value
    if isinstance(state, list):
        return [*state[:first], inner, *state[first + 1 :]]
    return {**state, first: inner}


@pytest.mark.parametrize(
    "path",
    [
        ("collector", "held", "strategic_coordinator_0"),
        ("collector", "open", "strategic_coordinator_0", "reward"),
        ("collector", "open", "strategic_coordinator_0", "slots", "obs"),
        ("collector", "returns", "alert_triage_0"),
        ("collector", "noise", "response_orchestrator_0", "unit"),
        ("collector", "open"),
        ("collector", "latest"),
        ("env", "arrays", "env"),
        ("env",),
    ],
)
def test_a_damaged_state_is_refused_in_one_line(path):
    runner = ColumnarEnvRunner(configured("paper-v0", max_steps=30), worker_index=0)
    sampled(runner, 1)
    state = runner.get_state("sampling")["sampling"]
    for value in (None, 5, np.zeros((1, 1)), {}, "text"):
        if path == ("collector", "latest") and value == {}:
            continue
        with pytest.raises(CheckpointError) as error:
            runner.set_state({"sampling": changed(state, path, value)})
        assert "\n" not in str(error.value)
    with pytest.raises(CheckpointError):
        runner.set_state({"sampling": {}})


# ---- scripted policies

POLICIES = [(scenario, name) for scenario in ("paper-v0", "soc-v1") for name in scripted(scenario)]


@pytest.mark.parametrize(("scenario", "name"), POLICIES)
def test_a_fresh_scripted_policy_acts_on_as_the_first_would(scenario, name, tmp_path):
    sim = soc_env.Simulator(scenario, num_envs=3, seed=0, max_steps=40)
    policy = scripted(scenario)[name](sim.action_spaces, seed=5)
    sim.reset()

    def play(policy, sim):
        acted = []
        for _ in range(50):
            policy.state = sim.state()
            acted.append({a: action.copy() for a, action in policy(sim.observations, sim.decides.copy()).items()})
            for agent, action in acted[-1].items():
                sim.actions[agent] = action
            sim.step()
        return acted

    play(policy, sim)
    tree = policy.get_state() if hasattr(policy, "get_state") else None
    save_tree(tmp_path, "state", {"policy": tree, "sim": sim.get_state()})
    expected = play(policy, sim)
    state = load_tree(tmp_path, "state")
    fresh = scripted(scenario)[name](sim.action_spaces, seed=99)
    sim.set_state(state["sim"])
    if tree is not None:
        fresh.set_state(state["policy"])
    for ours, theirs in zip(play(fresh, sim), expected, strict=True):
        for agent, action in theirs.items():
            np.testing.assert_array_equal(ours[agent], action)


def test_damaged_states_of_scripted_policies_are_refused():
    spaces = soc_env.Simulator("paper-v0").action_spaces
    playbook = scripted("paper-v0")["rule-soar"](spaces)
    for bad in (None, {}, {**playbook.get_state(), "clock": np.zeros(2)}, {**playbook.get_state(), "clock": None}):
        with pytest.raises(CheckpointError):
            playbook.set_state(bad)
    dice = RandomPolicy({"a": gym.spaces.Discrete(3)})
    for bad in (None, {}, {**dice.get_state(), "bit_generator": "MT19937"}, {**dice.get_state(), "state": 3}):
        with pytest.raises(CheckpointError):
            dice.set_state(bad)


def test_damaged_states_of_generators_are_refused():
    before = get_generators()
    for bad in (None, {}, {**before, "torch": np.zeros(3)}, {**before, "numpy": 3}, {**before, "python": {}}):
        with pytest.raises(CheckpointError):
            set_generators(bad)
    set_generators(before)


# ---- remote runners


@pytest.mark.slow  # four remote runners
def test_two_runs_with_remote_runners_are_the_same_run_and_go_back_to_the_same_moment(quiet_ray, build):
    def slow(env_runner, metrics_logger, samples):
        """The first runner is the last to be done."""
        time.sleep(0.2 * (env_runner.worker_index == 1))

    config = configured("paper-v0", max_steps=30).env_runners(num_env_runners=2)
    config.training(train_batch_size=64, learning_starts=64, random_steps=0, updates_per_iteration=2)
    config.training(replay_batch_size=16, replay_capacity=1024).callbacks(on_sample_end=slow)

    def iterations(algo, number):
        """The averaged networks after some of them."""
        for _ in range(number):
            algo.train()
        return {tier: {n: v.numpy().tobytes() for n, v in own.items()} for tier, own in algo.averaged.items()}

    first = build(config.copy())
    expected = iterations(first, 3)
    second = build(config.copy())  # both learn with this process's generators: not at the same time
    assert iterations(second, 3) == expected
    states = first.env_runner_group.foreach_env_runner(lambda r: r.get_state("sampling"), local_env_runner=False)
    assert [set(state["sampling"]["generators"]) for state in states] == [{"python", "numpy", "torch"}] * 2

    def played(algo):
        return algo.env_runner_group.foreach_env_runner(
            lambda r: plain(r.sample(num_timesteps=16)), local_env_runner=False
        )

    expected = played(first)
    second.env_runner_group.foreach_env_runner(
        [functools.partial(lambda state, runner: runner.set_state(state), state) for state in states],
        remote_worker_ids=[1, 2],
        local_env_runner=False,
    )
    assert played(second) == expected
