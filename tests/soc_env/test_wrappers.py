"""The wrappers of `soc_env` and the adapters of `policies` play the same episodes as the environment they wrap."""

import itertools
import pickle
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiDiscrete
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test

import soc_env
from soc_env import AGENTS, ActionError, ConfigError
from soc_env.paper.presets import PRESETS
from soc_env.wrappers import CentralGym, Discretize, Homogenize, PyMARLEnv, SOCVectorEnv

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = AGENTS
SIZES = {TRIAGE: 4, HUNTER: 16, ORCHESTRATOR: 12, COORDINATOR: 8}
CHOICES = {"paper-v0": [4, 10, 11, 8], "soc-v1": [4, 12, 13, 12]}
both_families = pytest.mark.parametrize("scenario", list(CHOICES))


def joint_choices(scenario, count, seed=0):
    """Random joint choices of presets."""
    return np.random.default_rng(seed).integers(0, CHOICES[scenario], (count, 4))


# ---------------------------------------------------------------------- Discretize, Homogenize
@both_families
@pytest.mark.parametrize("masks", ["none", "obs", "info"])
def test_wrapped_equals_built_in(scenario, masks):
    """Homogenize(Discretize(env)) gives the frames of the constructor options, masks of the environment aside."""
    wrapped = Homogenize(Discretize(soc_env.parallel_env(scenario)), masks=masks)
    built_in = soc_env.parallel_env(scenario, actions="discrete", homogenize=True, masks=masks)
    assert list(map(str, wrapped.observation_spaces.values())) == list(map(str, built_in.observation_spaces.values()))
    assert list(map(str, wrapped.action_spaces.values())) == list(map(str, built_in.action_spaces.values()))
    generator = np.random.default_rng(0)
    for seed in range(3):
        frames = [wrapped.reset(seed=seed)], [built_in.reset(seed=seed)]
        while built_in.agents:
            actions = {agent: int(generator.integers(max(CHOICES[scenario]))) for agent in AGENTS}
            frames[0].append(wrapped.step(actions))
            frames[1].append(built_in.step(actions))
        for frame, other in zip(*frames, strict=True):
            assert frame[1:-1] == other[1:-1]
            for agent in AGENTS:
                assert wrapped.observation_space(agent).contains(frame[0][agent])
                values, expected = (
                    o[agent]["observation"] if masks == "obs" else o[agent] for o in (frame[0], other[0])
                )
                assert np.array_equal(values, expected)
        assert wrapped.agents == []


@both_families
def test_masks_of_the_environment_pass_through(scenario):
    for masks in ("obs", "info"):
        wrapped = Homogenize(soc_env.parallel_env(scenario, actions="discrete", masks=masks), masks="obs")
        built_in = soc_env.parallel_env(scenario, actions="discrete", homogenize=True, masks="obs")
        frames = wrapped.reset(seed=1)[0], built_in.reset(seed=1)[0]
        for _ in range(8):
            for agent in AGENTS:
                assert np.array_equal(frames[0][agent]["action_mask"], frames[1][agent]["action_mask"])
            frames = wrapped.step({TRIAGE: 3})[0], built_in.step({TRIAGE: 3})[0]


@both_families
def test_wrapped_environments_pass_pettingzoo(scenario):
    for env in (
        Discretize(soc_env.parallel_env(scenario)),
        Homogenize(Discretize(soc_env.parallel_env(scenario))),
        Homogenize(soc_env.parallel_env(scenario, actions="continuous")),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            parallel_api_test(env, num_cycles=200)
        assert env.observation_space(HUNTER) is env.observation_space(HUNTER)


@both_families
def test_homogenized_boxes_are_cut(scenario):
    wrapped = Homogenize(soc_env.parallel_env(scenario, actions="continuous"))
    plain = soc_env.parallel_env(scenario, actions="continuous")
    assert wrapped.action_space(TRIAGE).shape == (16,)
    wrapped.reset(seed=2)
    plain.reset(seed=2)
    generator = np.random.default_rng(1)
    for _ in range(10):
        actions = {agent: generator.uniform(-1, 1, 16).astype(np.float32) for agent in AGENTS}
        rewards = wrapped.step(actions)[1], plain.step({agent: actions[agent][: SIZES[agent]] for agent in AGENTS})[1]
        assert rewards[0] == rewards[1]
        if not plain.agents:
            break


@both_families
def test_discretize_takes_tables(scenario):
    table = np.linspace(-1, 1, 48).reshape(3, 16)
    tables = {HUNTER: table, ORCHESTRATOR: np.zeros((1, 12)), COORDINATOR: np.ones((2, 8))}
    env = Discretize(soc_env.parallel_env(scenario), tables)
    assert [int(env.action_space(agent).n) for agent in AGENTS] == [4, 3, 1, 2]
    env.reset(seed=0)
    env.step({HUNTER: 2, ORCHESTRATOR: 0, COORDINATOR: 1, TRIAGE: 0})
    sent = env.unwrapped.simulator.actions
    np.testing.assert_allclose(sent[HUNTER][0], table[2], atol=1e-6)
    assert sent[COORDINATOR][0].tolist() == [1.0] * 8
    with pytest.raises(ActionError, match="threat_hunter_0: action 3 is out of range"):
        env.step({HUNTER: 3})
    with pytest.raises(ConfigError, match=r"table of threat_hunter_0 has shape \(3, 15\)"):
        Discretize(soc_env.parallel_env(scenario), {**tables, HUNTER: table[:, :15]})
    with pytest.raises(ConfigError, match="table of response_orchestrator_0 has shape"):
        Discretize(soc_env.parallel_env(scenario), {HUNTER: table, COORDINATOR: np.ones((2, 8))})
    with pytest.raises(ConfigError, match="needs an environment without masks"):
        Discretize(soc_env.parallel_env(scenario, masks="obs"))


@both_families
def test_homogenize_rejects_what_it_cannot_do(scenario):
    with pytest.raises(ConfigError, match="actions of one kind"):
        Homogenize(soc_env.parallel_env(scenario))
    with pytest.raises(ConfigError, match="masks 'ob' does not exist"):
        Homogenize(soc_env.parallel_env(scenario, actions="discrete"), masks="ob")


# ---------------------------------------------------------------------- CentralGym
@both_families
@pytest.mark.parametrize("observation", ["concat", "state"])
@pytest.mark.parametrize("options", [{}, {"actions": "continuous"}, {"actions": "discrete", "masks": "obs"}], ids=str)
def test_central_passes_gymnasiums_checker(scenario, observation, options):
    env = CentralGym(soc_env.parallel_env(scenario, **options), observation)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*(render|not within the observation space|normalized).*")
        check_env(env, skip_render_check=True)


@both_families
def test_central_box_plays_the_team_episode(scenario):
    central, team = CentralGym(soc_env.parallel_env(scenario)), soc_env.parallel_env(scenario)
    assert central.action_space == Box(-1, 1, (40,), np.float32)
    assert central.observation_space.shape == ({"paper-v0": 352, "soc-v1": 876}[scenario],)
    observation, info = central.reset(seed=3)
    observations, _ = team.reset(seed=3)
    generator = np.random.default_rng(0)
    while team.agents:
        assert info == {}
        assert np.array_equal(observation, np.concatenate([observations[agent] for agent in AGENTS]))
        flat = generator.uniform(-1, 1, 40)
        parts = dict(zip(AGENTS, np.split(flat, [4, 20, 32]), strict=True))
        observation, reward, terminated, truncated, info = central.step(flat)
        observations, rewards, terminations, truncations, _ = team.step({**parts, TRIAGE: int(parts[TRIAGE].argmax())})
        assert (reward, terminated, truncated) == (rewards[HUNTER], terminations[HUNTER], truncations[HUNTER])
    assert info == {"metrics": team.metrics()}
    with pytest.raises(ActionError, match=r"central: action has shape \(39,\); allowed: \(40,\)"):
        central.step(np.zeros(39))
    with pytest.raises(ConfigError, match="needs Discrete agents only"):
        central.action_masks()
    with pytest.raises(ConfigError, match="observation 'states' does not exist; did you mean 'state'"):
        CentralGym(team, "states")


@both_families
def test_central_masks_are_the_agents(scenario):
    central = CentralGym(soc_env.parallel_env(scenario, actions="discrete", masks="obs"))
    team = soc_env.parallel_env(scenario, actions="discrete", masks="obs")
    unmasked = CentralGym(soc_env.parallel_env(scenario, actions="discrete"))
    assert central.action_space == MultiDiscrete(CHOICES[scenario])
    observation, _ = central.reset(seed=3)
    observations, _ = team.reset(seed=3)
    unmasked.reset(seed=3)
    masks = set()
    for choices in joint_choices(scenario, 40):
        expected = np.concatenate([observations[agent]["action_mask"] for agent in AGENTS]).astype(bool)
        mask = central.action_masks()
        assert mask.dtype == bool
        assert np.array_equal(mask, expected)
        assert unmasked.action_masks().all()
        assert np.array_equal(observation, np.concatenate([observations[agent]["observation"] for agent in AGENTS]))
        masks.add(mask.tobytes())
        observation, *_ = central.step(choices)
        observations, *_ = team.step(dict(zip(AGENTS, choices, strict=True)))
        if not team.agents:
            break
    assert len(masks) >= 3
    with pytest.raises(ActionError, match="central action has shape"):
        central.step([0, 0, 0])


def test_central_state_and_render():
    central = CentralGym(soc_env.parallel_env("paper-v0", render_mode="ansi"), "state")
    observation, _ = central.reset(seed=0)
    assert np.array_equal(observation, central.env.state())
    assert "step 0/200" in central.render()
    central.close()


# ---------------------------------------------------------------------- SOCVectorEnv
@both_families
@pytest.mark.parametrize("actions", ["continuous", "discrete"])
def test_vector_env_plays_single_episodes(scenario, actions):
    """Env i of the batch is CentralGym with the same seed, over several episodes."""
    seeds = [5, 6, 7]
    vector = SOCVectorEnv(scenario, num_envs=3, actions=actions)
    team = "mixed" if actions == "continuous" else "discrete"
    singles = [CentralGym(soc_env.parallel_env(scenario, actions=team)) for _ in seeds]
    observations, infos = vector.reset(seed=seeds)
    assert infos == {}
    for i, (single, seed) in enumerate(zip(singles, seeds, strict=True)):
        assert np.array_equal(single.reset(seed=seed)[0], observations[i])
    vector.action_space.seed(0)
    assert vector.action_space.shape == (3, 40) if actions == "continuous" else (3, 4)
    endings, kept = 0, []
    for _ in range(400):
        batch = vector.action_space.sample()
        observations, rewards, terminations, truncations, infos = vector.step(batch)
        kept.append((observations, rewards, terminations, truncations))
        assert vector.observation_space.contains(observations)
        for i, single in enumerate(singles):
            expected, reward, terminated, truncated, info = single.step(batch[i])
            assert (reward, terminated, truncated) == (rewards[i], terminations[i], truncations[i])
            if terminated or truncated:
                endings += 1
                assert infos["_final_obs"][i]
                assert infos["_final_info"][i]
                assert np.array_equal(infos["final_obs"][i], expected)
                assert {name: values[i] for name, values in infos["final_info"].items()} == info["metrics"]
                expected, _ = single.reset()
            elif infos:
                assert not infos["_final_obs"][i]
                assert infos["final_obs"][i] is None
            assert np.array_equal(expected, observations[i])
    assert endings > 3
    arrays = [array for frame in kept[:3] for array in frame]
    assert not any(np.shares_memory(a, b) for a, b in itertools.combinations(arrays, 2))


@both_families
def test_vector_env_rejects_bad_input(scenario):
    vector = SOCVectorEnv(scenario, num_envs=2, seed=0)
    vector.reset()
    first = vector.simulator.state()
    cases = [(np.zeros((2, 39)), r"shape \(2, 39\)"), (np.full((2, 40), np.nan), "env 0 have NaN"), ("x", "shape")]
    for actions, message in cases:
        with pytest.raises(ActionError, match=message):
            vector.step(actions)
    assert np.array_equal(first, vector.simulator.state())
    discrete = SOCVectorEnv(scenario, num_envs=2, seed=0, actions="discrete")
    discrete.reset()
    allowed = re.escape(str([count - 1 for count in CHOICES[scenario]]))
    with pytest.raises(ActionError, match=f"out of range; allowed: 0 to {allowed}"):
        discrete.step(np.array([[0, 0, 0, 0], [0, CHOICES[scenario][1], 0, 0]]))
    with pytest.raises(ActionError, match="integers"):
        discrete.step(np.zeros((2, 4)))
    with pytest.raises(ConfigError, match="actions 'mixed' does not exist"):
        SOCVectorEnv(scenario, actions="mixed")


# ---------------------------------------------------------------------- PyMARL
def test_pymarl_interface():
    env = PyMARLEnv("paper-v0", num_hosts=50, seed=3)
    twin = soc_env.parallel_env("paper-v0", num_hosts=50, seed=3, actions="discrete", masks="obs", homogenize=True)
    sizes = env.get_env_info()
    assert sizes == {"state_shape": 50, "obs_shape": 132, "n_actions": 11, "n_agents": 4, "episode_limit": 200}
    observations, state = env.reset()
    expected, _ = twin.reset()
    is_over = False
    for choices in joint_choices("paper-v0", 200, seed=4):
        assert np.array_equal(state, twin.state())
        for index, agent in enumerate(AGENTS):
            assert np.array_equal(observations[index], expected[agent]["observation"])
            assert env.get_avail_actions()[index] == expected[agent]["action_mask"].tolist()
        reward, is_over, info = env.step(list(choices))
        expected, rewards, *_ = twin.step(dict(zip(AGENTS, choices, strict=True)))
        observations, state = env.get_obs(), env.get_state()
        assert reward == rewards[TRIAGE]
        if is_over:
            break
        assert info == {"episode_limit": False}
    assert is_over
    assert info["length"] == twin.metrics()["length"]
    with pytest.raises(ActionError, match="actions have 3 entries; allowed: 4"):
        env.step([0, 0, 0])


def test_pymarl_plays_soc_v1():
    env = PyMARLEnv(num_zones=3, num_hosts=50, max_steps=20, seed=3)
    assert env.env.scenario.name == "soc-v1"
    sizes = env.get_env_info()
    state = env.env.state_space.shape[0]
    assert sizes == {"state_shape": state, "obs_shape": 252, "n_actions": 11, "n_agents": 4, "episode_limit": 20}
    env.reset()
    generator = np.random.default_rng(0)
    is_over = False
    while not is_over:
        masks = env.get_avail_actions()
        choices = [int(generator.choice(np.flatnonzero(mask))) for mask in masks]
        reward, is_over, info = env.step(choices)
        assert type(reward) is float
    assert info["length"] == 20
    assert info["episode_limit"] is True
    assert info.keys() >= {"score", "loss", "mttd"}


@both_families
def test_pymarl_says_when_the_limit_cut_an_episode_off(scenario):
    env = PyMARLEnv(scenario, max_steps=4)
    env.seed(1)
    first = env.reset()
    results = [env.step([3, 0, 0, 0]) for _ in range(4)]
    assert [is_over for _, is_over, _ in results] == [False, False, False, True]
    assert results[-1][2]["episode_limit"] is True
    env.seed(1)
    assert np.array_equal(env.reset()[1], first[1])
    assert np.array_equal(env.get_obs()[1], first[0][1])
    assert not np.array_equal(env.reset()[0][1], first[0][1])


# ---------------------------------------------------------------------- adapters of policies
def test_missing_libraries_are_named():
    code = """
import sys
sys.modules["ray"] = sys.modules["benchmarl"] = sys.modules["stable_baselines3"] = None
import policies.adapters as adapters
for name in ("SOCMultiAgentEnv", "SOCTask", "SOCVecEnv"):
    try:
        getattr(adapters, name)
    except ImportError as error:
        print(error)
try:
    adapters.Nothing
except AttributeError as error:
    print(error)
"""
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    lines = run.stdout.splitlines()
    assert lines[0] == 'SOCMultiAgentEnv needs ray: pip install "hmarl-soc[train]"'
    assert lines[1].startswith("SOCTask needs benchmarl: pip install benchmarl")
    assert lines[2] == 'SOCVecEnv needs stable_baselines3: pip install "hmarl-soc[sb3]"'
    assert lines[3].endswith("adapters: SOCMultiAgentEnv, SOCTask, SOCVecEnv")


def test_importing_the_adapters_imports_no_library():
    names = "('ray', 'torch', 'benchmarl', 'stable_baselines3')"
    code = f"import sys, policies.adapters; print(any(name in sys.modules for name in {names}))"
    root = Path(__file__).parents[2]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root)
    assert run.stdout.strip() == "False"


@pytest.fixture
def rllib_env():
    """The class; skipped without RLlib."""
    pytest.importorskip("ray.rllib")
    from policies.adapters import SOCMultiAgentEnv

    return SOCMultiAgentEnv


def test_rllib_omits_the_coordinator_between_decisions(rllib_env):
    env, twin = rllib_env({"scenario": "paper-v0", "num_hosts": 50}), soc_env.parallel_env("paper-v0", num_hosts=50)
    assert env.possible_agents == list(AGENTS)
    assert env.observation_spaces[HUNTER].shape == (128,)
    for seed in range(4):
        observations, _ = env.reset(seed=seed)
        twin.reset(seed=seed)
        assert set(observations) == set(AGENTS)
        step, total, expected = 0, dict.fromkeys(AGENTS, 0.0), 0.0
        while twin.agents:
            actions = {agent: env.action_spaces[agent].sample() for agent in AGENTS}
            held = actions if step % 5 == 0 else {agent: actions[agent] for agent in AGENTS[:3]}
            assert set(observations) == set(held)
            observations, rewards, terminateds, truncateds, infos = env.step(held)
            frame = twin.step(actions)
            step += 1
            expected += frame[1][TRIAGE]
            assert set(rewards) == set(infos) == set(observations)
            for agent, reward in rewards.items():
                total[agent] += reward
                assert np.array_equal(observations[agent], frame[0][agent])
            assert terminateds == {"__all__": frame[2][TRIAGE]}
            assert truncateds == {"__all__": frame[3][TRIAGE] and not frame[2][TRIAGE]}
        assert set(observations) == set(AGENTS)
        assert total == pytest.approx(dict.fromkeys(AGENTS, expected))
        assert env.metrics() == twin.metrics()


@both_families
def test_rllib_records_truncation_as_truncation(scenario, rllib_env):
    """In RLlib's own episode, every agent is cut off, none is done, and the coordinator has one step per decision."""
    from ray.rllib.env.multi_agent_episode import MultiAgentEpisode

    env = rllib_env({"scenario": scenario, "max_steps": 12})
    episode = MultiAgentEpisode(observation_space=env.observation_spaces, action_space=env.action_spaces)
    observations, infos = env.reset(seed=0)
    episode.add_env_reset(observations=observations, infos=infos)
    for _ in range(12):
        actions = {agent: 3 if agent == TRIAGE else -np.ones(SIZES[agent], np.float32) for agent in observations}
        observations, rewards, terminateds, truncateds, infos = env.step(actions)
        episode.add_env_step(observations, actions, rewards, infos, terminateds=terminateds, truncateds=truncateds)
    assert episode.is_truncated
    assert not episode.is_terminated
    for agent in AGENTS:
        single = episode.agent_episodes[agent]
        assert single.is_truncated
        assert not single.is_terminated
        assert len(single) == (3 if agent == COORDINATOR else 12)


def test_rllib_runners_get_seeds_of_their_own(rllib_env):
    from ray.rllib.env.env_context import EnvContext

    def first(worker, vector):
        context = EnvContext(
            {"scenario": "paper-v0", "seed": 1}, worker_index=worker, num_workers=2, vector_index=vector
        )
        return rllib_env(context).reset()[0][HUNTER].tobytes()

    places = [(1, 0), (1, 1), (2, 0)]
    assert len({first(*place) for place in places}) == 3
    assert first(1, 1) == first(1, 1)
    with pytest.raises(ConfigError, match="coordinator is fixed"):
        rllib_env({"coordinator": "present"})
    with pytest.raises(soc_env.ScenarioError, match="num_host"):
        rllib_env({"num_host": 3})


def test_benchmarl_task_gives_every_env_its_own_seed():
    pytest.importorskip("benchmarl")
    from policies.adapters import SOCTask

    task = SOCTask.of("paper-v0", num_hosts=50)
    assert pickle.loads(pickle.dumps(task)) == task
    first, second = (task.get_env_fun(3, True, seed=0, device="cpu")() for _ in range(2))
    again = SOCTask.of("paper-v0", num_hosts=50).get_env_fun(3, True, seed=0, device="cpu")()
    starts = [env.reset()["threat_hunter"]["observation"].numpy() for env in (first, second, again)]
    rows = [row.tobytes() for batch in starts[:2] for row in batch]
    assert len(set(rows)) == 6
    assert np.array_equal(starts[0], starts[2])
    assert task.max_steps(first) == 200
    assert set(task.group_map(first)) == {
        "alert_triage",
        "threat_hunter",
        "response_orchestrator",
        "strategic_coordinator",
    }
    assert task.action_mask_spec(first) is None
    assert SOCTask.of("soc-cage4-v0").max_steps(first) == 500
    assert SOCTask.of(max_steps=30, num_zones=3).max_steps(first) == 30
    with pytest.raises(ConfigError, match="seed is not an option of SOCTask"):
        SOCTask.of("paper-v0", seed=1)


def test_presets_hold_the_best_known_constant():
    """`directive_0`, `thorough`, `isolate` score what the best constant action does (about 11.35 in the audit)."""
    sim = soc_env.Simulator("paper-v0", num_envs=256, seed=0)
    sim.reset()
    sim.actions[TRIAGE][...] = 3
    for agent, name in ((HUNTER, "thorough"), (ORCHESTRATOR, "isolate"), (COORDINATOR, "directive_0")):
        sim.actions[agent][...] = PRESETS[agent][name]
    returns = []
    for _ in range(400):
        sim.step()
        over = sim.terminated | sim.truncated
        returns += sim.episode_metrics["reward"][over].tolist()
    assert len(returns) > 1500
    assert np.mean(returns) > 11.1
    assert isinstance(soc_env.parallel_env("paper-v0", actions="discrete").action_space(HUNTER), Discrete)
    assert isinstance(soc_env.parallel_env("paper-v0", masks="obs").observation_space(TRIAGE), Dict)
