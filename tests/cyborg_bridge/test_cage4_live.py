"""The bridge on the real CybORG CAGE Challenge 4; skipped where `CYBORG_HOME` names no checkout."""

import functools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cage4_trace import Replay, load, needs_cyborg, record
from frames import digest, same
from pettingzoo.test import parallel_api_test, parallel_seed_test

from cyborg_bridge import Cage4Env, cage4_parallel_env, find_cyborg
from cyborg_bridge.controls import CONTROLS, make_control
from cyborg_bridge.score import rest_of
from soc_env.errors import ActionError, ConfigError
from soc_env.parallel import ResetNeeded

ROOT = Path(__file__).parents[2]
pytestmark = needs_cyborg
AGENTS = [f"blue_agent_{number}" for number in range(5)]


@pytest.fixture(scope="module")
def env() -> Cage4Env:
    """One to be reset by every test that uses it."""
    return cage4_parallel_env(steps=40, observation="raw", patch=True)


def random_valid(seed: int) -> Any:
    generator = np.random.default_rng(seed)
    return lambda infos: {a: int(generator.choice(np.flatnonzero(i["action_mask"]))) for a, i in infos.items()}


def play(env: Cage4Env, seed: int | None, raw: bool = False) -> list[Any]:
    """All frames of an episode of random valid actions, raw observations included if asked."""
    choose, frames = random_valid(0), []
    observations, infos = env.reset(seed=seed)
    frames.append((observations, infos, env.state()))
    while env.agents:
        step = env.step(choose(infos))
        infos = step[-1]
        frames.append((*step, env.state(), [repr(env.raw_observation(agent)) for agent in AGENTS] if raw else None))
    return frames


def index(env: Cage4Env, infos: Any, agent: str, verb: str) -> int:
    """The first valid action of a kind."""
    orders, mask = env.zone(agent).orders, infos[agent]["action_mask"]
    return next(place for place, order in enumerate(orders) if order.verb == verb and mask[place])


# --- contract


def test_every_frame_keeps_the_contract(env: Cage4Env) -> None:
    assert env.possible_agents == AGENTS
    for seed in range(3):
        choose = random_valid(seed)
        observations, infos = env.reset(seed=seed)
        masks = {agent: infos[agent]["action_mask"].tolist() for agent in AGENTS}
        rewards, terminations, truncations = dict.fromkeys(AGENTS, 0.0), {}, {}
        steps = 0
        while True:
            is_over = steps == 39
            assert env.agents == ([] if is_over else AGENTS)
            for part in (observations, infos, rewards) + ((terminations, truncations) if steps else ()):
                assert list(part) == AGENTS
            assert len(set(rewards.values())) == 1
            for agent in AGENTS:
                assert env.observation_space(agent).contains(observations[agent])
                assert observations[agent].dtype == np.int64
                assert infos[agent].keys() == {"action_mask", "score", "rest", "charges", "busy"}
                assert infos[agent]["action_mask"].dtype == np.int8
                assert infos[agent]["action_mask"].tolist() == masks[agent]
                assert infos[agent]["score"] == (0.0 if is_over else rewards[agent])
                assert sum(charge.points for charge in infos[agent]["charges"]) == infos[agent]["score"]
                assert infos[agent]["rest"] == rest_of(infos[agent]["charges"])
                assert 0 <= infos[agent]["busy"] < 5
            assert env.state_space.contains(env.state())
            assert env.state().tolist() == [entry for agent in AGENTS for entry in observations[agent].tolist()]
            assert set(terminations.values()) <= {False}
            assert set(truncations.values()) <= {is_over}
            if is_over:
                break
            observations, rewards, terminations, truncations, infos = env.step(choose(infos))
            steps += 1


def test_pettingzoo_accepts_it(env: Cage4Env) -> None:
    parallel_api_test(env, num_cycles=90)
    parallel_seed_test(lambda: cage4_parallel_env(steps=10, patch=True), num_cycles=10)


def test_what_is_returned_is_not_the_environments_own(env: Cage4Env) -> None:
    observations, infos = env.reset(seed=1)
    before = digest((env.state(), env.action_labels(AGENTS[0]), env.hosts(AGENTS[0]), env.subnets(AGENTS[0])))
    for agent in AGENTS:
        observations[agent][:] = 1
        infos[agent]["action_mask"][:] = 0
    env.state()[:] = 1
    for returned in (env.action_labels(AGENTS[0]), env.hosts(AGENTS[0]), env.subnets(AGENTS[0])):
        returned.clear()
    after = digest((env.state(), env.action_labels(AGENTS[0]), env.hosts(AGENTS[0]), env.subnets(AGENTS[0])))
    assert after == before
    assert env.step({})[-1][AGENTS[0]]["action_mask"].any()


def test_spaces_are_those_of_the_challenge(env: Cage4Env) -> None:
    sizes = {agent: (env.observation_space(agent).shape[0], int(env.action_space(agent).n)) for agent in AGENTS}
    assert sizes == {**dict.fromkeys(AGENTS, (92, 82)), AGENTS[4]: (210, 242)}
    for agent in AGENTS:
        cyborgs = env.wrapper.observation_space(agent)
        assert sorted(cyborgs.nvec.tolist()) == sorted(env.observation_space(agent).nvec.tolist())
        assert env.action_space(agent) == env.wrapper.action_space(agent)
        assert env.observation_space(agent) is env.observation_space(agent)
        assert env.action_space(agent) is env.action_space(agent)
    assert env.state_space.shape == (578,)


# --- what actions and entries mean


def test_zones_are_what_cyborgs_own_wrapper_says(env: Cage4Env) -> None:
    """Every index against the action object behind it, over two episodes with different hosts."""
    for seed in (1, 2):
        _, infos = env.reset(seed=seed)
        cidr_names = {cidr: name for name, cidr in env.wrapper.env.get_cidr_map().items()}
        for agent in AGENTS:
            zone = env.zone(agent)
            assert env.subnets(agent) == list(zone.subnets) == env.wrapper.subnets(agent)
            own_hosts = sorted(host for host in env.wrapper.hosts(agent) if "router" not in host)
            assert [host for slots in env.hosts(agent).values() for host in slots] == own_hosts
            assert list(zone.all_subnets) == sorted(str(name.value) for name in cidr_names.values())
            for order, action, is_valid in zip(
                zone.orders, env.wrapper.actions(agent), infos[agent]["action_mask"], strict=True
            ):
                assert type(action).__name__ == (order.verb if is_valid else "Sleep")
                if is_valid:
                    assert getattr(action, "hostname", None) == order.host
                    assert getattr(action, "from_subnet", None) == order.source
                    assert getattr(action, "to_subnet", order.subnet) == order.subnet


def test_the_recorded_trace_is_still_what_cyborg_does() -> None:
    assert json.loads(json.dumps(record())) == load()


def test_replay_reads_like_the_environment(env: Cage4Env) -> None:
    replay = Replay(load())
    for agent in AGENTS:
        assert replay.zone(agent) == env.zone(agent)
        assert replay.hosts(agent) == env.hosts(agent)
        assert replay.subnets(agent) == env.subnets(agent)


def test_raw_observation_is_the_one_the_vector_was_made_from(env: Cage4Env) -> None:
    _, infos = env.reset(seed=3)
    choose = random_valid(3)
    seen = 0
    for _ in range(20):
        *_, infos = env.step(choose(infos))
        for agent in AGENTS:
            raw = env.raw_observation(agent)
            assert raw is env.wrapper.env.environment_controller.observation[agent].observations[0].data
            assert raw["success"].name in ("TRUE", "FALSE", "UNKNOWN", "IN_PROGRESS")
            assert (raw["success"].name == "IN_PROGRESS") == (infos[agent]["busy"] > 0)
            seen += any("Processes" in entry for entry in raw.values() if isinstance(entry, dict))
    assert seen > 5


def test_flat_environment_has_no_raw_observations() -> None:
    env = cage4_parallel_env(steps=5)
    env.reset(seed=0)
    with pytest.raises(ConfigError, match="needs observation='raw'"):
        env.raw_observation(AGENTS[0])


# --- time and cost


def test_what_is_sent_while_busy_costs_and_changes_nothing(env: Cage4Env) -> None:
    """CybORG would charge every Restore that is sent during a Restore."""

    def episode(insists: bool) -> list[Any]:
        _, infos = env.reset(seed=5)
        restores = {agent: index(env, infos, agent, "Restore") for agent in AGENTS}
        frames = []
        for _ in range(12):
            free = {agent: restores[agent] for agent in AGENTS if not infos[agent]["busy"]}
            frames.append(env.step(restores if insists else free))
            infos = frames[-1][-1]
        return frames

    patient = episode(insists=False)
    assert [frame[-1][AGENTS[0]]["busy"] for frame in patient] == [4, 3, 2, 1, 0, 4, 3, 2, 1, 0, 4, 3]
    assert same(patient, episode(insists=True))
    rewards = [frame[1][AGENTS[0]] for frame in patient]
    assert rewards[0] <= -5  # five agents begin one
    assert max(rewards) > -5


def test_busy_is_the_rest_of_the_duration(env: Cage4Env) -> None:
    for verb, duration in (("Analyse", 2), ("DeployDecoy", 2), ("Remove", 3), ("Restore", 5), ("BlockTrafficZone", 1)):
        _, infos = env.reset(seed=6)
        *_, infos = env.step({AGENTS[0]: index(env, infos, AGENTS[0], verb)})
        assert infos[AGENTS[0]]["busy"] == duration - 1
        assert infos[AGENTS[1]]["busy"] == 0


def test_a_missing_action_is_sleep(env: Cage4Env) -> None:
    _, infos = env.reset(seed=7)
    silent = [env.step({}) for _ in range(10)]
    env.reset(seed=7)
    sleeping = [env.step({agent: env.zone(agent).sleep for agent in AGENTS}) for _ in range(10)]
    env.reset(seed=7)
    nothing = [env.step({**dict.fromkeys(AGENTS), "nobody": 3}) for _ in range(10)]
    assert same(silent, sleeping)
    assert same(silent, nothing)


# --- seeds


def test_same_seed_same_bytes_whatever_came_before(env: Cage4Env) -> None:
    first = play(env, 11, raw=True)
    other = play(env, 12, raw=True)
    assert not same(first, other)
    assert same(first, play(env, 11, raw=True))
    assert same(first, play(cage4_parallel_env(steps=40, observation="raw", patch=True, seed=99), 11, raw=True))


def test_episodes_without_a_seed_go_on_with_the_stream() -> None:
    streams = [cage4_parallel_env(steps=12, seed=21) for _ in range(2)]
    first, second = ([play(env, None), play(env, None)] for env in streams)
    assert same(first, second)
    assert not same(first[0], first[1])
    again = [play(streams[0], 5), play(streams[0], None)]
    assert same(again, [play(streams[1], 5), play(streams[1], None)])
    assert not same(play(cage4_parallel_env(steps=12), None), play(cage4_parallel_env(steps=12), None))


ONE_EPISODE = """
import sys
sys.path[:0] = ["tests/helpers", "tests/cyborg_bridge"]
from test_cage4_live import cage4_parallel_env, digest, play
print(digest(play(cage4_parallel_env(steps=40, observation="raw"), 11, raw=True)))
"""


def test_another_process_gives_the_same_bytes(env: Cage4Env) -> None:
    """With other string hashes, on which the order of sets depends; and it prints nothing of its own."""
    environ = {**os.environ, "PYTHONHASHSEED": "12345"}
    done = subprocess.run(
        [sys.executable, "-c", ONE_EPISODE], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=300
    )
    assert done.stderr == ""
    assert done.stdout == digest(play(env, 11, raw=True)) + "\n"


# --- shortcuts


def test_shortcuts_change_nothing(env: Cage4Env) -> None:
    plain_env = cage4_parallel_env(steps=40, observation="raw")
    for seed in (31, 32):
        assert same(play(env, seed, raw=True), play(plain_env, seed, raw=True))


@pytest.mark.parametrize("agent", [None, "blue_agent_0", "green_agent_3"])
def test_shortcut_filters_what_cyborg_filters(agent: str | None, env: Cage4Env) -> None:
    """On an observation of hosts and networks that are not there, or not the agent's; episodes have few of them."""
    from CybORG.Shared import Observation

    env.reset(seed=2)
    controller = env.wrapper.env.environment_controller
    own, other = (controller.subnet_cidr_map[env.subnets(name)[0]] for name in AGENTS[:2])
    found = []
    for filter_obs in (controller._filter_obs, functools.partial(type(controller)._filter_obs, controller)):
        observation = Observation()
        observation.add_process(hostid="stranger", pid=4, local_address="1.2.3.4")
        observation.add_process(hostid="stranger", pid=6, local_address="127.0.0.1")
        observation.add_process(hostid="known", pid=5, local_address=next(iter(controller.hostname_ip_map.values())))
        for name, subnet in (("own", own), ("other", other), ("nowhere", "9.9.9.0/24")):
            observation.add_interface_info(hostid=name, subnet=subnet)
        found.append(filter_obs(observation, agent).data)
    assert found[0] == found[1]
    assert "Processes" not in found[0].get("stranger", {})
    assert "Processes" in found[0]["known"]
    assert "nowhere" not in found[0]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [41, 42, 43])
def test_shortcuts_change_nothing_over_full_episodes(seed: int) -> None:
    patched, unpatched = (cage4_parallel_env(patch=patch, observation="raw") for patch in (True, False))
    assert same(play(patched, seed, raw=True), play(unpatched, seed, raw=True))
    rule = [episode_score(env, "raw-rule", seed) for env in (patched, unpatched)]
    assert rule[0] == rule[1]


def test_shortcuts_are_of_one_object_and_go_when_it_is_closed() -> None:
    def is_patched(env: Cage4Env) -> bool:
        controller = env.wrapper.env.environment_controller
        return "_filter_obs" in vars(controller) or any(
            "calculate_simulation_reward" in vars(calculator)
            for team in controller.team_reward_calculators.values()
            for calculator in team.values()
        )

    patched, other = cage4_parallel_env(steps=20, patch=True), cage4_parallel_env(steps=20)
    assert is_patched(patched)
    assert not is_patched(other)
    frames = play(patched, 1)
    assert is_patched(patched)
    patched.close()
    patched.close()
    assert not is_patched(patched)
    assert same(frames, play(patched, 1))


# --- errors and text


@pytest.mark.parametrize("action", [-1, 82, 1.5, "Sleep", True, [1, 2]])
def test_a_bad_action_is_refused_before_anything_changes(action: Any, env: Cage4Env) -> None:
    env.reset(seed=8)
    with pytest.raises(ActionError, match=r"blue_agent_2: action=.*allowed: whole numbers from 0 to 81"):
        env.step({"blue_agent_0": 0, "blue_agent_2": action})
    after_error = env.step({})
    env.reset(seed=8)
    assert same(after_error, env.step({}))


def test_no_step_and_no_reading_without_an_episode() -> None:
    env = cage4_parallel_env(steps=3, observation="raw", render_mode="ansi")
    for method in (lambda: env.step({}), env.state, env.render, lambda: env.raw_observation(AGENTS[0])):
        with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
            method()
    env.reset(seed=0)
    env.step({})
    env.step({})
    assert env.agents == []
    with pytest.raises(ResetNeeded):
        env.step({})
    assert env.state().shape == (578,)


def test_text_says_who_does_what(capsys: pytest.CaptureFixture[str]) -> None:
    env = cage4_parallel_env(steps=9, render_mode="ansi")
    _, infos = env.reset(seed=0)
    restore = index(env, infos, AGENTS[0], "Restore")
    env.step({AGENTS[0]: restore})
    lines = (env.render() or "").splitlines()
    assert lines[0] == "step 1, mission phase 0, score -1"
    assert lines[1].startswith(f"  blue_agent_0: Restore {env.zone(AGENTS[0]).orders[restore].host} (4 more); alerts:")
    assert lines[2].startswith("  blue_agent_1: free; alerts:")
    assert capsys.readouterr().out == ""
    human = cage4_parallel_env(steps=9, render_mode="human")
    human.reset(seed=0)
    human.step({})
    assert capsys.readouterr().out.count("mission phase 0") == 2


def test_the_documented_example_runs() -> None:
    page = (ROOT / "docs/cage4/bridge.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert re.fullmatch(r"-\d+\.0 \('admin_network_subnet', .*\)\n", done.stdout), done.stderr


# --- the official evaluation

SUBMISSION = '''
import json, pathlib
from CybORG.Agents import BaseAgent
from CybORG.Agents.Wrappers import BlueFlatWrapper

ACTIONS = json.loads(pathlib.Path(__file__).with_name("actions.json").read_text())


class Recorded(BaseAgent):
    """Plays what was submitted before, episode after episode."""

    def __init__(self, name):
        super().__init__(name)
        self.actions = iter(ACTIONS[name])

    def get_action(self, observation, action_space):
        return next(self.actions)

    def train(self):
        pass

    def end_episode(self):
        pass

    def set_initial_values(self, action_space, observation):
        pass


class Submission:
    NAME, TEAM, TECHNIQUE = "recorded", "hmarl-soc", "test"
    AGENTS = {name: Recorded(name) for name in ACTIONS}

    def wrap(env):
        return BlueFlatWrapper(env=env)
'''


def episode_score(
    env: Cage4Env, control: str, seed: int | None, submitted: dict[str, list[int]] | None = None
) -> float:
    """The official score of an episode of a control; what CybORG was sent is added to `submitted`."""
    policy = make_control(control, seed=1)
    observations, infos = env.reset(seed=seed)
    score = 0.0
    while env.agents:
        actions = policy.act(observations, infos, env)
        for agent in submitted or ():
            submitted[agent].append(actions[agent])  # type: ignore[index]
        observations, _, _, _, infos = env.step(actions)
        score += infos[AGENTS[0]]["score"]
    return score


@pytest.mark.slow
@pytest.mark.parametrize("control", ["random-valid", "flat-rule"])
def test_the_official_evaluation_gives_the_same_scores(control: str, tmp_path: Path) -> None:
    """Two episodes of `evaluation.py --seed 17` with the actions that the bridge sent in its own two."""
    env = cage4_parallel_env(seed=17, patch=True)
    submitted: dict[str, list[int]] = {agent: [] for agent in AGENTS}
    scores = [episode_score(env, control, None, submitted) for _ in range(2)]
    assert len(submitted[AGENTS[0]]) == 2 * 499
    folder = tmp_path / "submission"
    folder.mkdir()
    (folder / "submission.py").write_text(SUBMISSION)
    (folder / "actions.json").write_text(json.dumps(submitted))
    environ = {**os.environ, "PYTHONPATH": str(find_cyborg())}
    command = [sys.executable, "-m", "CybORG.Evaluation.evaluation", str(folder), str(tmp_path / "out")]
    subprocess.run(
        [*command, "--seed", "17", "--max-eps", "2"],
        cwd=tmp_path,
        env=environ,
        check=True,
        capture_output=True,
        timeout=600,
    )
    official = json.loads((tmp_path / "out/summary.json").read_text())["reward"]
    assert official["mean"] == pytest.approx(np.mean(scores), abs=1e-9)
    assert official["stdev"] == pytest.approx(np.std(scores, ddof=1), abs=1e-9)


@pytest.mark.slow
def test_controls_score_in_their_order() -> None:
    """Means of three episodes; the gaps are many standard deviations of an episode, see the README's table."""
    full = cage4_parallel_env(patch=True, observation="raw")
    means = {
        name: np.mean([episode_score(full, name, seed) for seed in range(3)])
        for name in CONTROLS
        if name not in ("random-valid", "round-robin")
    }
    assert means["sleep"] < -3000 < -1000 < means["random-restore"] < means["flat-rule"] < means["raw-rule"]
    assert means["flat-rule"] < means["belief-rule"]
    assert min(means["raw-rule"], means["frugal-rule"]) > -250


def test_hmarl_trains_on_it_with_a_remote_runner() -> None:
    ray = pytest.importorskip("ray")
    from policies import HMARLConfig

    tiers = {
        "one_zone": {"algorithm": "PPO", "agents": AGENTS[:4], "train_batch_size": 256},
        "three_zones": {"algorithm": "PPO", "agents": AGENTS[4:], "train_batch_size": 64},
    }
    config = HMARLConfig().environment("cyborg_bridge:cage4_parallel_env", env_config={"patch": True, "steps": 40})
    config = config.tiers(tiers, replace=True).env_runners(num_env_runners=1, num_envs_per_env_runner=2)
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    algo = config.training(train_batch_size=100).debugging(seed=0, log_level="ERROR").build_algo()
    results = [algo.train() for _ in range(2)]
    algo.stop()
    ray.shutdown()
    assert all(results[-1]["learners"][tier]["num_module_steps_trained"] > 0 for tier in tiers)
    assert results[-1]["env_runners"]["episode_metrics"]["reward/blue_agent_4"] < 0
