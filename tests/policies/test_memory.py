"""Memory: what networks read of the past is what there was, wherever they read it."""

from __future__ import annotations

import copy
import functools
from types import SimpleNamespace

import gymnasium as gym
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from toy import EPISODE

pytest.importorskip("ray")

from policies import HMARL, HMARLConfig, load_policy, policy_of, save_checkpoint
from policies.hmarl.replay import JointReplay
from policies.hmarl.teacher import PastOf, clone
from policies.networks.build import BodySpec, make_body
from policies.networks.stacked import Stacked
from policies.past import Past, names_with_past, row_size
from policies.runner import collector
from policies.runner.rows import AGE, STREAM, n_step_rows
from policies.tiers import complete, parse
from soc_env import Simulator
from soc_env.engine.tables import AGENTS
from soc_env.errors import CheckpointError, ConfigError
from soc_env.soc.tables import actions, layout

torch.set_num_threads(1)
KINDS, MINUTES = ("attention", "gru"), 5
SMALL = {"hiddens": [8, 8], "memory": {"minutes": MINUTES, "size": 4}}


# ---- settings
@pytest.mark.parametrize(
    ("memory", "error"),
    [
        ({"minutes": -1}, "memory.minutes=-1 must be an integer from 0 to 1024"),
        ({"minutes": 4, "kind": "lstm"}, "memory.kind 'lstm' does not exist; allowed: attention, gru"),
        ({"minutes": 4, "size": 6}, "memory.size=6 must be a multiple of 4 with kind='attention'"),
        ({"kind": "gru"}, "memory.kind='gru' has no effect, minutes is 0"),
        ({"size": 64}, "memory.size=64 has no effect, minutes is 0"),
        ({"hours": 1}, "setting of memory 'hours' does not exist; allowed: kind, minutes, size"),
        (3, "memory=3 must be settings by name: minutes, kind, size"),
    ],
)
def test_settings_without_effect_or_sense_are_refused(memory, error):
    with pytest.raises(ConfigError) as raised:
        parse("threat_hunter", {"algorithm": "SAC", "memory": memory})
    assert error in str(raised.value)
    assert "\n" not in str(raised.value)


def test_there_is_no_memory_unless_it_is_asked_for():
    for algorithm in ("PPO", "SAC", "DQN", "MADDPG"):
        assert complete("x", {"algorithm": algorithm})["memory"]["minutes"] == 0
    replay = JointReplay(8, {"obs/a": ((2,), np.float32), "next_obs/a": ((2,), np.float32)}, ["a"])
    assert "waiting" not in replay.get_state()


# ---- rows
def test_a_row_has_the_present_the_past_oldest_first_and_which_minutes_there_were():
    past = Past(2, 2, 3)
    for minute in range(5):
        if minute == 2:
            past.forget(np.array([False, True]))
        now = np.array([[minute, 10], [minute, 20]], np.float32)
        rows = past.beside(now)
        past.push(now)
    assert rows[0].tolist() == [4, 10, 1, 10, 2, 10, 3, 10, 1, 1, 1]
    assert rows[1].tolist() == [4, 20, 0, 0, 2, 20, 3, 20, 0, 1, 1]
    assert past.beside(now[1:], [1])[0, 2:8].tolist() == [2, 20, 3, 20, 4, 20]
    names = names_with_past(["a", "b"], 3)
    assert len(names) == row_size(2, 3)
    assert (names[2], names[-1]) == ("a, 3 before", "there is one 1 before")


# ---- networks
def body_of(kind, encoder, agent, is_joint):
    """A body of an actor, or with `is_joint` of a central critic, and the rows and actions that it reads."""
    size = layout(agent, 2).size
    joint = sum(layout(a, 2).size for a in AGENTS)
    spec = BodySpec((8, 8), encoder, agent[:-2], layer_norm=True, bins=3, is_additive=is_joint, memory=(kind, 4, 8))
    others = sum(len(actions(a, 2)) for a in AGENTS if a != agent)
    dims = (others, len(actions(agent, 2))) if is_joint else ()
    body = make_body(spec, joint if is_joint else size, dims, is_joint=is_joint, own_dim=size)
    for name, weight in body.named_parameters():
        if ".write." in name:
            torch.nn.init.normal_(weight)  # it begins at 0
    start = joint if is_joint else 0
    rows = torch.rand(6, start + row_size(size, 4))
    rows[:, -4:] = torch.tensor([0.0, 0.0, 1.0, 1.0])
    return body, rows, [torch.rand(6, dim) for dim in dims], start + size, size


@pytest.mark.parametrize("is_joint", [False, True])
@pytest.mark.parametrize("agent", ["alert_triage_0", "threat_hunter_0"])
@pytest.mark.parametrize("encoder", ["mlp", "zones", "attention"])
@pytest.mark.parametrize("kind", KINDS)
def test_networks_read_the_minutes_there_were_and_no_others(kind, encoder, agent, is_joint):
    torch.manual_seed(0)
    body, rows, acted, first, size = body_of(kind, encoder, agent, is_joint)

    def out(rows):
        found = body(rows, *acted)
        return found if isinstance(found, torch.Tensor) else found.of_network()

    without = rows.clone()
    without[:, first : first + 2 * size] = 7.0  # minutes that there were not
    assert torch.equal(out(without), out(rows))
    for minute in (2, 3):
        other = rows.clone()
        other[:, first + minute * size : first + (minute + 1) * size] += 0.5
        assert not torch.allclose(out(other), out(rows))
    rows[:, -4:] = 0.0
    assert torch.isfinite(out(rows)).all()
    with pytest.raises(ConfigError, match=r"memory.minutes=4 reads rows of \d+ entries"):
        body(rows[:, :-1], *acted)


@pytest.mark.parametrize("encoder", ["mlp", "zones"])
@pytest.mark.parametrize("kind", KINDS)
def test_twins_with_memory_are_what_each_of_them_is(kind, encoder):
    torch.manual_seed(0)
    (one, rows, acted, *_), (two, *_) = (body_of(kind, encoder, "threat_hunter_0", True) for _ in range(2))
    both = Stacked([one, two]).network(rows, *acted)
    for k, body in enumerate((one, two)):
        torch.testing.assert_close(both[k], body(rows, *acted))


# ---- replay
class Steps:
    """Environments whose observations are numbers that never come again, and what was observed before each of them."""

    def __init__(self, num_envs, first_stream, seed):
        self.rng, self.num_envs = np.random.default_rng(seed), num_envs
        self.stream, self.age = first_stream + np.arange(num_envs), np.zeros(num_envs, np.int64)
        self.past, self.latest = Past(num_envs, 2, MINUTES), []
        self.now = self.rng.random((num_envs, 2)).astype(np.float32)

    def rows(self, num_steps, n_step, ends):
        """Joint rows of so many more steps, and what is to be read in each of them and in its next observation."""
        for _ in range(num_steps):
            read, age = self.past.beside(self.now), self.age.copy()
            self.past.push(self.now)
            done = self.rng.random(self.num_envs) < ends
            after = self.rng.random((self.num_envs, 2)).astype(np.float32)
            step = {"obs": self.now, "next_obs": after, "terminated": done, "done": done, "read": read}
            self.latest.append({**step, "next_read": self.past.beside(after), STREAM: self.stream, AGE: age})
            self.past.forget(done)
            self.age = np.where(done, 0, self.age + 1)
            self.now = np.where(done[:, None], self.rng.random((self.num_envs, 2)), after).astype(np.float32)
        if len(self.latest) < n_step:
            return None
        steps = {name: np.stack([step[name] for step in self.latest]) for name in self.latest[0]}
        self.latest = self.latest[len(self.latest) - n_step + 1 :]
        rows = n_step_rows({n: s for n, s in steps.items() if "read" not in n}, n_step, {})
        length = len(steps["done"]) - n_step + 1
        last = np.arange(length)[:, None] + rows["n_step"].astype(int).reshape(length, -1) - 1
        rows["read"] = steps["read"][:length].reshape(len(rows["n_step"]), -1)
        rows["next_read"] = steps["next_read"][last, np.arange(self.num_envs)].reshape(len(rows["n_step"]), -1)
        return rows


def store(capacity):
    shapes = {"obs/a": ((2,), np.float32), "next_obs/a": ((2,), np.float32), "terminated": ((), np.bool_)}
    shapes |= {"n_step": ((), np.float32), STREAM: ((), np.int64), AGE: ((), np.int64)}
    shapes |= dict.fromkeys(("read", "next_read"), ((row_size(2, MINUTES),), np.float32))
    return JointReplay(capacity, shapes, ["tier"], 0.6, seed=1, minutes=MINUTES)


def add(replay, rows):
    columns = {"obs/a": rows["obs"], "next_obs/a": rows["next_obs"]}
    replay.add({name: columns.get(name, rows.get(name)) for name in replay.shapes})


def drawable(replay):
    tree = replay.trees["tier"]
    return np.nonzero(tree.sums[tree.num_leaves : tree.num_leaves + replay.capacity])[0]


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(20, 90),
    st.sampled_from([0.02, 0.2, 0.6]),
    st.lists(st.tuples(st.integers(0, 1), st.integers(1, 12)), min_size=2, max_size=12),
    st.integers(0, 9),
)
def test_what_is_drawn_is_what_the_runner_acted_on(n_step, capacity, ends, fragments, seed):
    replay, runners = store(capacity), [Steps(3, 0, seed), Steps(2, 3, seed + 100)]
    for number, (runner, num_steps) in enumerate(fragments):
        if (rows := runners[runner].rows(num_steps, n_step, ends)) is not None:
            add(replay, rows)
        if number == len(fragments) // 2:  # as a checkpoint does
            again = store(capacity)
            again.set_state(replay.get_state())
            assert np.array_equal(drawable(again), drawable(replay))
            replay = again
        index = drawable(replay)
        for name in ("read", "next_read"):
            read = replay.read("a", index, MINUTES, is_next=name == "next_read")
            assert np.array_equal(read, replay.columns[name][index])


@pytest.mark.parametrize("n_step", [1, 4])
def test_rows_are_held_back_only_while_something_is_missing(n_step):
    replay, steps = store(1000), Steps(3, 0, 0)
    for _ in range(6):
        add(replay, steps.rows(10, n_step, 0.0))
    assert len(drawable(replay)) == len(replay) - 3 * (n_step - 1)
    smaller = store(90)
    smaller.set_state(replay.get_state())
    assert len(drawable(smaller)) == 90 - 3 * (n_step - 1) - 3 * MINUTES
    replay.update_priorities("tier", drawable(replay), np.full(len(drawable(replay)), 2.0))
    add(replay, steps.rows(10, n_step, 0.0))
    assert len(drawable(replay)) == len(replay) - 3 * (n_step - 1)


# ---- a task that needs it
class Delayed:
    """One agent sees a sign, 0 or 1, drawn anew at each step, and is to do what the sign said two steps ago."""

    agents = ("a",)
    decision_periods = {"a": 1}
    scenario = SimpleNamespace(name="delayed")

    def __init__(self, num_envs=16, seed=0):
        self.num_envs, self.rng = num_envs, np.random.default_rng(seed)
        self.observation_spaces = {"a": gym.spaces.Box(0, 1, (2,), np.float32)}
        self.action_spaces = {"a": gym.spaces.Discrete(2)}
        self.actions = {"a": np.zeros(num_envs, np.int64)}
        self.observations, self.final_observations = ({"a": np.zeros((num_envs, 2), np.float32)} for _ in range(2))
        self.rewards, self.terminated, self.truncated = np.zeros(num_envs), *np.zeros((2, num_envs), bool)
        self.decides = np.ones(num_envs, bool)
        self.episode_metrics, self._running = np.zeros(num_envs, EPISODE), np.zeros(num_envs, EPISODE)

    def reset(self, seed=None):
        self.rng = self.rng if seed is None else np.random.default_rng(seed)
        self._running[:], self.signs = 0, np.zeros((self.num_envs, 3), np.int64)
        self._look()
        return self.observations

    def _look(self):
        self.signs = np.column_stack([self.signs[:, 1:], self.rng.integers(2, size=self.num_envs)])
        self.observations["a"][:] = np.eye(2)[self.signs[:, 2]]

    def step(self):
        counts = self._running["length"] >= 2
        self.rewards[:] = (self.actions["a"] == self.signs[:, 0]) & counts
        self._running["reward"] += self.rewards
        self._running["length"] += 1
        self._look()
        done = self._running["length"] == 12
        self.truncated[:] = done
        self.episode_metrics[done] = self._running[done]
        self.final_observations["a"][done] = self.observations["a"][done]
        self._running[done] = 0

    def running_metrics(self):
        return self._running.copy()


def delayed(algorithm, memory, **tier):
    config = HMARLConfig().environment(Delayed).env_runners(num_envs_per_env_runner=16)
    config.debugging(seed=0, log_level="ERROR")
    config.training(train_batch_size=256, learning_starts=256, random_steps=0, updates_per_iteration=8)
    config.training(replay_batch_size=128, replay_capacity=4096, n_step=2)
    settings_ = {"hiddens": [16], "gamma": 0.0, "agents": ["a"], "memory": memory, **tier}
    return config.tiers({"boss": {"algorithm": algorithm, **settings_}}, replace=True)


DQN = {"lr": 5e-3, "epsilon": 0.2}
PPO = {"train_batch_size": 256, "minibatch_size": 64, "num_epochs": 6, "lr": 5e-3, "entropy_coeff": 0.0}


def greedy_share(algo):
    """Of the steps that count, how many are right."""
    env = Delayed(64, 5)
    env.reset()
    policy, right, begins = policy_of(algo), 0.0, True
    for _ in range(12):
        env.actions["a"][:] = policy(env.observations, begins=begins)["a"]
        env.step()
        right, begins = right + env.rewards.mean(), env.truncated.copy()
    return right / 10


@pytest.mark.parametrize(
    ("algorithm", "kind", "tier", "rounds"),
    [("DQN", "attention", DQN, 14), ("DQN", "gru", DQN, 14), ("PPO", "attention", PPO, 8)],
)
def test_what_was_seen_two_steps_ago_is_learned_with_memory_and_never_without(build, algorithm, kind, tier, rounds):
    for memory, low, high in (({"minutes": 3, "size": 8, "kind": kind}, 0.95, 1.0), ({}, 0.4, 0.6)):
        algo = build(delayed(algorithm, memory, **tier))
        for _ in range(rounds):
            algo.train()
        assert low <= greedy_share(algo) <= high


# ---- a team on soc-v1
def team(counterfactual_of=None, **training):
    tiers = {
        "alert_triage": {"algorithm": "DQN", **SMALL, "encoder": "zones", "action_masking": True},
        "threat_hunter": {"algorithm": "SAC", **SMALL, "encoder": "zones"},
        "response_orchestrator": {"algorithm": "MADDPG", **SMALL, "encoder": "zones"},
        "strategic_coordinator": {"algorithm": "PPO", **SMALL, "train_batch_size": 16, "minibatch_size": 16},
    }
    tiers["response_orchestrator"]["critic"] = {"kind": "additive", "bins": 3}
    tiers["threat_hunter"]["memory"] = {"minutes": 3, "kind": "gru", "size": 4}
    if counterfactual_of:
        tiers["response_orchestrator"]["counterfactual"] = counterfactual_of
    config = HMARLConfig().environment("soc-v1", env_config={"max_steps": 40}).debugging(seed=3, log_level="ERROR")
    config.env_runners(num_envs_per_env_runner=4).tiers(tiers, replace=True)
    config.training(n_step=3, train_batch_size=48, learning_starts=48, random_steps=0, updates_per_iteration=2)
    return config.training(replay_batch_size=16, replay_capacity=300, **training)


@pytest.fixture(scope="module")
def trained():
    algo = team().build_algo()
    for _ in range(3):
        algo.train()
    yield algo
    algo.stop()


def test_rows_of_the_replay_are_those_that_networks_acted_on(build, monkeypatch):
    seen = {}

    def acting(module, observation, **kwargs):
        seen.setdefault(module.role, []).append(observation.copy())
        return collector_act(module, observation, **kwargs)

    collector_act = collector.act
    monkeypatch.setattr(collector, "act", acting)
    algo = build(team())
    for _ in range(5):
        algo.train()
    replay = algo.replay
    tree = replay.trees["alert_triage"]
    index = np.nonzero(tree.sums[tree.num_leaves : tree.num_leaves + replay.capacity])[0]
    assert len(index) > 150
    for agent in ("alert_triage_0", "threat_hunter_0", "response_orchestrator_0"):
        acted = np.concatenate(seen[agent[:-2]])  # 60 steps of 4 environments, in the order of rows
        minutes = algo.plan.minutes(agent)
        assert np.array_equal(replay.read(agent, index, minutes), acted[index])
        assert acted.shape[1] == row_size(algo.team.slices[agent].stop - algo.team.slices[agent].start, minutes)


def test_a_run_with_memory_goes_on_in_the_middle_of_episodes(build, tmp_path):
    algo = build(team())
    for _ in range(3):
        algo.train()
    save_checkpoint(algo, tmp_path / "middle")
    state = copy.deepcopy(algo.env_runner.get_state(components=["sampling"])["sampling"])
    assert all(past["past"].any() for past in state["collector"]["past"].values())
    for _ in range(2):
        algo.train()
    whole = repr(algo.learner_group.get_state())
    twin = HMARL.from_checkpoint(tmp_path / "middle")
    for _ in range(2):
        twin.train()
    resumed = repr(twin.learner_group.get_state())
    twin.stop()
    assert resumed == whole
    del state["collector"]["past"]["alert_triage_0"]
    with pytest.raises(CheckpointError, match="state of the collector is damaged"):
        algo.env_runner.set_state({"sampling": state})


def test_a_loaded_policy_acts_as_the_learner_does_through_episodes(trained, tmp_path):
    policy = load_policy(save_checkpoint(trained, tmp_path / "c"))
    own, simulator = policy_of(trained), Simulator("soc-v1", num_envs=3, seed=1, max_steps=40)
    modules = trained.averaged_modules()
    past = {agent: Past(3, simulator.observations[agent].shape[1], trained.plan.minutes(agent)) for agent in AGENTS}
    simulator.reset()
    for _ in range(90):  # two ends of episodes
        acted, again = policy(simulator.observations, simulator.decides), own(simulator.observations, simulator.decides)
        for agent in AGENTS:
            observed = simulator.observations[agent].copy()
            rows = past[agent].beside(observed)
            expected = collector.act(modules[agent[:-2]], rows, explore=False).executed
            decided = simulator.decides if agent in trained.slow_agents else np.ones(3, bool)
            assert np.array_equal(acted[agent][decided], expected[decided])
            assert np.array_equal(acted[agent], again[agent])
            simulator.actions[agent][:] = acted[agent]
            past[agent].push(observed)
        simulator.step()
        for own_past in past.values():
            own_past.forget(simulator.terminated | simulator.truncated)


def test_a_policy_goes_on_from_its_state_and_begins_where_it_is_told(trained):
    simulator = Simulator("soc-v1", num_envs=2, seed=1, max_steps=40)
    simulator.reset()
    one, two = policy_of(trained), policy_of(trained)
    for _ in range(6):
        acted = one(simulator.observations, simulator.decides)
        for agent in AGENTS:
            simulator.actions[agent][:] = acted[agent]
        simulator.step()
    two.set_state(one.get_state())
    expected = one(simulator.observations, simulator.decides)
    for agent, action in two(simulator.observations, simulator.decides).items():
        assert np.array_equal(action, expected[agent])
    fresh = policy_of(trained)(simulator.observations)
    told = one(simulator.observations, begins=True)
    assert all(np.array_equal(told[agent], fresh[agent]) for agent in AGENTS)
    with pytest.raises(ConfigError, match=r"begins has shape \(3,\), allowed: \(2,\)"):
        one(simulator.observations, begins=[True] * 3)
    state = one.get_state()
    state["past"]["alert_triage_0"] = state["past"]["alert_triage_0"][:, :-1]
    with pytest.raises(CheckpointError, match="past/alert_triage_0"):
        two.set_state(state)


def test_lessons_read_the_past_that_there_was():
    steps, part = [Steps(3, 0, 0), Steps(2, 3, 1)], []
    for runner in (0, 1, 0, 1, 0):
        part.append(steps[runner].rows(7, 1, 0.1))
    rows = {name: np.concatenate([of[name] for of in part]) for name in part[0]}
    is_lesson = np.arange(len(rows[AGE])) % 2 == 0
    past = PastOf(MINUTES, is_lesson, rows[STREAM], rows[AGE])
    assert past.lessons.tolist() == np.nonzero(is_lesson)[0].tolist()
    read = past.beside(torch.from_numpy(rows["obs"]), torch.from_numpy(past.lessons))
    assert np.array_equal(read.numpy(), rows["read"][past.lessons])
    late = PastOf(MINUTES, is_lesson[9:], rows[STREAM][9:], rows[AGE][9:])  # the first rows are missing
    assert len(late.lessons) < is_lesson[9:].sum()


def test_what_a_teacher_remembers_is_learned_with_memory_alone(build):
    rng, num_steps, num_envs = np.random.default_rng(0), 400, 4
    signs = rng.integers(2, size=(num_steps, num_envs))
    taught = np.concatenate([np.zeros((2, num_envs), np.int64), signs[:-2]]).ravel()
    age = np.repeat(np.arange(num_steps), num_envs)
    past = PastOf(3, age >= 2, np.tile(np.arange(num_envs), num_steps), age)
    observed, errors = np.eye(2, dtype=np.float32)[signs.ravel()], []
    for memory in ({"minutes": 3, "size": 8}, {}):
        learners = build(delayed("DQN", memory)).learner_group
        for k in range(80):
            taught_by = functools.partial(clone, observed, taught, [k], past=past if memory else None)
            error = learners.edit("boss", taught_by, keep=False)[0]
        errors.append(error)
    assert errors[0] < 0.1
    assert errors[1] > 0.6


def test_rollouts_go_on_with_the_past_of_where_they_begin(build):
    """The choice's own rollout, greedy and with the same draws, is what the team itself would go through."""
    own = {"weight": 1.0, "states": 3, "horizon": 4}
    config = team(counterfactual_of=own)
    algo = build(config)
    algo.train()
    (credit,) = algo.credit.credits.values()
    futures, runner = credit.futures, algo.env_runner
    collected, modules = runner._collector, runner.module
    for slot in range(3):
        futures.take(runner.env, collected.past, slot, slot)
    (rows,) = futures.fan_out(3, 1, True)

    def act_all(step):
        credit._act(modules, 0, [rows], [])

    act_all(0)
    ends = futures.play(rows, credit.agent, 4, act_all)
    rollout = runner.sample(num_timesteps=16, explore=False)
    assert rollout[0].num_env_steps == 16
    for agent in AGENTS:
        rows_ = collected._seen(agent, runner.env.observations[agent], np.arange(4))[:3]
        assert np.array_equal(ends.observed[agent], rows_), agent
