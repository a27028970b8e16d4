"""The contract of the dict API, stricter than PettingZoo's own tests, which are run too."""

import copy
import pickle
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from engine_cases import both_families
from frames import calm, digest, play, same, sample, seeded
from gymnasium.spaces import Box, Dict, Discrete
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, render_test, seed_test

import soc_env
import soc_env.parallel
from soc_env import AGENTS
from soc_env.paper.presets import PRESETS

TRIAGE, HUNTER, ORCHESTRATOR, COORDINATOR = AGENTS
LAYOUTS = [
    {},
    {"masks": "obs"},
    {"actions": "discrete"},
    {"actions": "discrete", "masks": "info"},
    {"actions": "discrete", "masks": "obs", "homogenize": True},
    {"actions": "continuous"},
    {"actions": "continuous", "homogenize": True},
]

ids = [",".join(f"{name}={value}" for name, value in layout.items()) or "default" for layout in LAYOUTS]

every_layout = pytest.mark.parametrize("layout", LAYOUTS, ids=ids)

every_scenario = pytest.mark.parametrize("scenario", ["paper-v0", "soc-v1", "soc-cage4-v0"])


# ---------------------------------------------------------------------- PettingZoo's own tests


@every_scenario
@every_layout
def test_pettingzoo_parallel_api(scenario, layout):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parallel_api_test(soc_env.parallel_env(scenario, **layout), num_cycles=300)


@both_families
@every_layout
def test_pettingzoo_aec_api(scenario, layout):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it advises against masks, agents of different sizes and names with two words
        api_test(soc_env.env(scenario, **layout), num_cycles=300)


@both_families
@pytest.mark.parametrize("layout", [{}, {"actions": "discrete", "masks": "info"}], ids=["mixed", "discrete"])
def test_pettingzoo_seeds(scenario, layout):
    parallel_seed_test(lambda: soc_env.parallel_env(scenario, **layout))
    seed_test(lambda: soc_env.env(scenario, **layout))


def test_pettingzoo_render(capsys):
    pytest.importorskip("matplotlib")
    render_test(lambda **options: soc_env.env("paper-v0", **options))
    assert "SOC paper-v0" in capsys.readouterr().out  # what mode "human" printed


def test_aec_order_is_enforced():
    env = soc_env.env("paper-v0")
    with pytest.raises(AttributeError, match="before reset"):
        env.agents  # noqa: B018
    env.reset(seed=0)
    for agent in env.agent_iter(max_iter=8):
        assert agent == env.agent_selection
        env.step(env.action_space(agent).sample())
    assert str(env) == "soc_paper_v0"


@both_families
def test_aec_plays_the_parallel_episode(scenario):
    parallel, aec = seeded(soc_env.parallel_env(scenario), 1), seeded(soc_env.env(scenario), 1)
    frames = play(parallel, seed=5)
    aec.reset(seed=5)
    returns, last = 0.0, None
    for agent in aec.agent_iter():
        observation, reward, terminated, truncated, _ = aec.last()
        if agent == HUNTER:
            returns, last = returns + reward, observation
        aec.step(None if terminated or truncated else aec.action_space(agent).sample())
    assert returns == pytest.approx(sum(frame[1][HUNTER] for frame in frames[1:]))
    assert np.array_equal(last, frames[-1][0][HUNTER])


# ---------------------------------------------------------------------- frames


@every_scenario
@every_layout
def test_every_frame_keeps_the_contract(scenario, layout):
    env = seeded(soc_env.parallel_env(scenario, **layout), 3)
    lengths = []
    for seed in range({"paper-v0": 25, "soc-v1": 4, "soc-cage4-v0": 1}[scenario]):
        observations, infos = env.reset(seed=seed)
        assert env.agents == list(AGENTS) == list(observations) == list(infos)
        keys = {agent: set(info) for agent, info in infos.items()}
        for step in range(1, env.max_cycles + 1):
            observations, rewards, terminations, truncations, infos = env.step(sample(env))
            for agent in AGENTS:
                assert env.observation_space(agent).contains(observations[agent]), (agent, step)
                assert set(infos[agent]) == keys[agent]
                assert type(infos[agent]["decides"]) is int
                assert type(terminations[agent]) is bool
                assert type(truncations[agent]) is bool
                assert type(rewards[agent]) is float
                assert np.isfinite(rewards[agent])
            for values in (rewards, terminations, truncations):
                assert list(values) == list(AGENTS)
                assert len(set(values.values())) == 1
            assert env.state_space.contains(env.state())
            is_over = terminations[TRIAGE] or truncations[TRIAGE]
            assert is_over == (not env.agents)
            assert truncations[TRIAGE] == (step == env.max_cycles)
            assert infos[COORDINATOR]["decides"] == (not is_over and step % 5 == 0)
            assert {infos[agent]["decides"] for agent in (TRIAGE, HUNTER, ORCHESTRATOR)} == {int(not is_over)}
            if is_over:
                break
        lengths.append(step)
    assert len(set(lengths)) > 5 if scenario == "paper-v0" else set(lengths) == {env.scenario.max_steps}


def test_masks_follow_what_the_agent_sees():
    env = seeded(soc_env.parallel_env("paper-v0", actions="discrete", masks="obs"), 0)
    seen = set()
    for seed in range(5):
        frames = play(env, seed)
        for observations, *_, infos in frames:
            triage, hunter, coordinator = (observations[agent] for agent in (TRIAGE, HUNTER, COORDINATOR))
            has_alerts = triage["observation"][0] > 0
            assert triage["action_mask"].tolist() == ([1, 1, 1, 1] if has_alerts else [0, 0, 0, 1])
            assert hunter["action_mask"].all()
            decides = infos[COORDINATOR]["decides"]
            assert coordinator["action_mask"].tolist() == ([1] * 8 if decides else [1] + [0] * 7)
            seen.add((bool(has_alerts), decides))
    assert len(seen) == 4
    info_env = seeded(soc_env.parallel_env("paper-v0", actions="discrete", masks="info"), 0)
    other = play(info_env, 4)
    assert all(
        np.array_equal(a[0][agent]["action_mask"], b[-1][agent]["action_mask"])
        for a, b in zip(play(seeded(env, 0), 4), play(seeded(info_env, 0), 4), strict=True)
        for agent in AGENTS
    )
    assert other[0][1][TRIAGE]["action_mask"].dtype == np.int8


def test_homogenized_agents_share_one_space():
    env = seeded(soc_env.parallel_env("paper-v0", actions="discrete", masks="info", homogenize=True), 0)
    plain = soc_env.parallel_env("paper-v0", actions="discrete")
    assert len(set(map(str, env.observation_spaces.values()))) == 1
    assert len(set(map(str, env.action_spaces.values()))) == 1
    observations, infos = env.reset(seed=1)
    own, _ = plain.reset(seed=1)
    for index, agent in enumerate(AGENTS):
        size = own[agent].size
        assert np.array_equal(observations[agent][:size], own[agent])
        assert not observations[agent][size:128].any()
        assert observations[agent][128:].tolist() == [float(index == k) for k in range(4)]
        assert infos[agent]["action_mask"].sum() == (1 if agent == TRIAGE else plain.action_space(agent).n)
    padded = {TRIAGE: 10, HUNTER: 10, ORCHESTRATOR: 2, COORDINATOR: 9}  # all but one beyond the agent's own choices
    assert same(env.step(padded)[1], plain.step({TRIAGE: 0, HUNTER: 0, ORCHESTRATOR: 2, COORDINATOR: 0})[1])
    sent = env.simulator.actions
    assert sent[TRIAGE].tolist() == [0]
    assert sent[HUNTER][0].tolist() == PRESETS[HUNTER]["rest"].tolist()
    assert sent[COORDINATOR][0].tolist() == PRESETS[COORDINATOR]["directive_0"].tolist()


def test_spaces_are_fixed_objects():
    env = soc_env.parallel_env("paper-v0")
    for agent in AGENTS:
        assert env.observation_space(agent) is env.observation_space(agent) is env.observation_spaces[agent]
        assert env.action_space(agent) is env.action_space(agent) is env.action_spaces[agent]
        assert env.observation_space(agent).dtype == np.float32
    assert env.action_space(TRIAGE) == Discrete(4)
    assert [env.observation_space(agent).shape for agent in AGENTS] == [(64,), (128,), (96,), (64,)]
    assert env.possible_agents == list(AGENTS)
    masked = soc_env.parallel_env("paper-v0", masks="obs")
    assert isinstance(masked.observation_space(TRIAGE), Dict)
    assert masked.observation_space(TRIAGE)["action_mask"].dtype == np.int8
    assert isinstance(masked.observation_space(HUNTER), Box)


def test_metadata():
    env = soc_env.parallel_env("paper-v0")
    assert env.metadata["name"] == str(env) == "soc_paper_v0"
    assert env.metadata["render_modes"] == ["human", "ansi", "rgb_array"]
    assert env.metadata["is_parallelizable"] is True
    assert env.metadata["render_fps"] > 0
    assert env.unwrapped is env
    assert "paper-v0" in repr(env)
    assert env.render_mode is None


# ---------------------------------------------------------------------- determinism


@every_scenario
def test_same_seed_same_bytes(scenario):
    first = play(seeded(soc_env.parallel_env(scenario), 1), seed=11)
    assert same(first, play(seeded(soc_env.parallel_env(scenario), 1), seed=11))
    env = seeded(soc_env.parallel_env(scenario), 9)
    play(env, seed=3)
    assert same(first, play(seeded(env, 1), seed=11))  # whatever was played before
    env.reset(seed=11)
    assert same(first, play(seeded(env, 1), seed=11))  # twice in a row equals once


@both_families
def test_different_seeds_and_episodes_differ(scenario):
    env = soc_env.parallel_env(scenario)
    episodes = [play(seeded(env, 1), seed) for seed in (0, 1, 2**64, None, None)]
    assert len({digest(frames) for frames in episodes}) == len(episodes)
    unseeded = [play(seeded(soc_env.parallel_env(scenario), 1)) for _ in range(2)]
    assert not same(*unseeded)
    fixed = [play(seeded(soc_env.parallel_env(scenario, seed=4), 1)) for _ in range(2)]
    assert same(*fixed)
    assert same(fixed[0], play(seeded(soc_env.parallel_env(scenario), 1), seed=4))


@both_families
def test_reset_without_seed_goes_on_with_the_stream(scenario):
    first, second = (seeded(soc_env.parallel_env(scenario), 1) for _ in range(2))
    assert same([play(first, 6), play(first)], [play(second, 6), play(second)])


@every_scenario
def test_same_bytes_in_another_process(scenario):
    code = "import sys; sys.path.insert(0, sys.argv[1]); import frames as f, soc_env; "
    code += "print(f.digest(f.play(f.seeded(soc_env.parallel_env(sys.argv[2]), 1), seed=11)))"
    folder = str(__import__("pathlib").Path(__file__).parents[1] / "helpers")
    run = subprocess.run([sys.executable, "-c", code, folder, scenario], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-1] == digest(play(seeded(soc_env.parallel_env(scenario), 1), seed=11))


@both_families
def test_same_bytes_on_two_threads(scenario):
    alone = [digest(play(seeded(soc_env.parallel_env(scenario), 1), seed)) for seed in range(8)]
    with ThreadPoolExecutor(2) as pool:
        together = list(pool.map(lambda seed: digest(play(seeded(soc_env.parallel_env(scenario), 1), seed)), range(8)))
    assert alone == together


@every_scenario
@pytest.mark.parametrize(("num_envs", "num_threads"), [(1, 1), (2, 1), (7, 2), (64, 2)])
def test_env_of_any_batch_plays_the_same(scenario, num_envs, num_threads):
    """The simulator's env i, told the same seed and the same actions, gives the dicts of the single environment."""
    seeds = list(range(100, 100 + num_envs))
    sim = soc_env.Simulator(scenario, num_envs=num_envs, seed=seeds, autoreset=False, num_threads=num_threads)
    index = num_envs // 2
    frames, actions = [], []
    env = seeded(soc_env.parallel_env(scenario), 5)
    frames.append(env.reset(seed=seeds[index]))
    while env.agents:
        actions.append(sample(env))
        frames.append(env.step(actions[-1]))
    sim.reset()
    generator = np.random.default_rng(0)
    for step, frame in enumerate(frames):
        if step > 0:
            for agent in AGENTS:
                others = sim.actions[agent]
                others[...] = generator.integers(0, 4, others.shape) if agent == TRIAGE else 0.3
                others[index] = actions[step - 1][agent]
            sim.step()
            assert frame[1][TRIAGE] == sim.rewards[index]
            assert frame[2][TRIAGE] == sim.terminated[index]
            assert frame[3][TRIAGE] == sim.truncated[index]
        for agent in AGENTS:
            assert frame[0][agent].tobytes() == sim.observations[agent][index].tobytes()
    assert env.state().tobytes() == sim.state()[index].tobytes()
    row = sim.episode_metrics[index]
    assert env.metrics() == {metric.name: row[metric.name] for metric in sim.metric_table}


def test_network_is_kept_or_redrawn():
    def networks(**options):
        env = soc_env.parallel_env("paper-v0", seed=1, num_hosts=20, **options)
        drawn = []
        for _ in range(2):
            env.reset()
            drawn.append(env.simulator.hosts()["vulnerability"].tolist())
        return drawn

    assert networks()[0] != networks()[1]
    kept = networks(redraw_vulnerabilities=False)
    assert kept[0] == kept[1] == networks(redraw_vulnerabilities=False)[0]


# ---------------------------------------------------------------------- what is returned


@both_families
@every_layout
def test_returned_objects_are_never_overwritten(scenario, layout):
    env = seeded(soc_env.parallel_env(scenario, **layout), 2)
    kept, frozen = [], []
    for seed in (1, 2):
        kept.append(env.reset(seed))
        frozen.append(pickle.dumps(kept[-1]))
        while env.agents:
            frame = (*env.step(sample(env)), env.state(), env.metrics())
            kept.append(frame)
            frozen.append(pickle.dumps(frame))
    assert [digest(frame) for frame in kept] == [digest(pickle.loads(frame)) for frame in frozen]


@both_families
def test_caller_may_change_what_it_got_and_gave(scenario):
    env, other = soc_env.parallel_env(scenario), soc_env.parallel_env(scenario)
    for step, (frame, twin) in enumerate(zip(play(seeded(env, 1), 3), play(seeded(other, 1), 3), strict=True)):
        assert same(frame, twin), step
    observations, infos = env.reset(seed=3)
    for array in observations.values():
        array[:] = 7
    infos.clear()
    other.reset(seed=3)
    actions = calm(env)
    given = copy.deepcopy(actions)
    first = env.step(actions)
    assert same(actions, given)
    actions[HUNTER][:] = 1.0  # must not become the held action
    assert same(first, other.step(given))
    assert same(env.step({}), other.step({}))


@both_families
@pytest.mark.parametrize("clone", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
@every_layout
def test_copies_go_on_from_the_middle_of_an_episode(scenario, layout, clone):
    env = seeded(soc_env.parallel_env(scenario, **layout), 4)
    env.reset(seed=8)
    for _ in range(3):
        env.step(sample(env))
    twin = clone(env)
    assert twin.agents == env.agents
    held = [twin.step({}), env.step({})]  # held actions are copied too
    assert same(*held)
    rest = [[each.step(sample(each)) for _ in range(20) if each.agents] for each in (env, twin)]
    assert same(*rest)
    assert env.metrics() == twin.metrics()
    twin.reset(seed=1)
    assert env.agents != [] or env.metrics()["length"] > 3  # the original did not move
    assert not np.shares_memory(env.simulator.observations[HUNTER], twin.simulator.observations[HUNTER])
