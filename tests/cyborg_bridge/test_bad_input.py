"""What the bridge refuses, what it takes, and that a refusal changes nothing. The second half needs CybORG."""

import copy
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from cage4_stage import Recorded
from cage4_trace import Replay, load, needs_cyborg
from frames import same
from pettingzoo.test import api_test, parallel_api_test
from pettingzoo.utils.conversions import aec_to_parallel, parallel_to_aec

from cyborg_bridge import cage4_parallel_env
from cyborg_bridge.controls import CONTROLS, make_control
from cyborg_bridge.soc_batch import SOCBatch, check_num_envs
from cyborg_bridge.soc_parallel import SOCTeamsEnv, soc_parallel_env
from cyborg_bridge.soc_view import SOCPolicy
from policies.scripted import SCRIPTED
from soc_env.errors import ActionError, ConfigError, HMARLSOCError
from soc_env.parallel import ResetNeeded

BLUE = "blue_agent_0"


def expert(level: str = "raw") -> SOCPolicy:
    return SOCPolicy(lambda siem: SCRIPTED["soc"]["expert"](siem.action_spaces, 0), level)


# --- policies that remember


def replay() -> Replay:
    env = Replay(load())
    env.observation, env.steps = "raw", 60  # type: ignore[attr-defined]
    return env


@pytest.mark.parametrize("make", [expert, *(lambda name=name: make_control(name) for name in CONTROLS)])
def test_a_policy_that_remembers_refuses_another_episode_until_it_is_reset(make: Callable[[], Any]) -> None:
    policy, first, second = make(), replay(), replay()
    observations, infos = first.reset()
    for _ in range(3):
        observations, _, _, _, infos = first.step(policy.act(observations, infos, first))
    for other in (second, first):  # another environment, and a new episode of the same one
        begun = other.reset()
        with pytest.raises(ConfigError, match=r"another episode .* call reset\(\) before each"):
            policy.act(*begun, other)
    policy.reset()
    policy.act(*begun, first)


def test_a_policy_goes_on_with_a_copy_of_its_environment() -> None:
    policy, env = expert(), replay()
    observations, infos = env.reset()
    observations, _, _, _, infos = env.step(policy.act(observations, infos, env))
    twin = copy.deepcopy(env)
    env.step({})  # the copy is a step behind now: what is read has to be its own
    env.raw_observation = None  # type: ignore[assignment,method-assign]
    assert policy.act(observations, infos, twin).keys() == observations.keys()


# --- four roles


def test_a_refused_action_of_a_role_leaves_nothing_behind() -> None:
    env, twin = (SOCTeamsEnv(Recorded(), "raw") for _ in range(2))  # type: ignore[arg-type]
    for one in (env, twin):
        one.reset()
        one.step({"threat_hunter_0": np.ones(4, np.float32)})
    broken = np.full(4, np.nan, np.float32)
    with pytest.raises(ActionError, match="threat_hunter_0"):
        env.step({"threat_hunter_4": np.ones(env.action_space("threat_hunter_4").shape), "threat_hunter_0": broken})
    assert same(env.step({}), twin.step({}))


@pytest.mark.parametrize("actions", [None, 3, [1, 2], "sleep"])
def test_actions_are_a_mapping(actions: Any) -> None:
    env = SOCTeamsEnv(Recorded(), "raw")  # type: ignore[arg-type]
    env.reset()
    with pytest.raises(ActionError, match="allowed: a mapping from agent to action"):
        env.step(actions)


@pytest.mark.parametrize("num_envs", [0, 4, 7, 5.0, "5", None, True, -5])
def test_a_batch_has_whole_episodes(num_envs: Any) -> None:
    with pytest.raises(ConfigError, match=r"num_envs is .*, allowed: a multiple of 5"):
        check_num_envs(num_envs)


# --- the real one

BAD_SEEDS = [True, np.bool_(False), -1, 1.0, np.float64(2), "3", [1], float("nan"), np.array([1, 2])]
GOOD_SEEDS = [0, 3, 2**31, 2**64, 2**200, np.int64(3), np.uint64(2**63), np.array([3]), torch.tensor(3)]


@needs_cyborg
def test_seeds() -> None:
    env, batch = cage4_parallel_env(steps=3, patch=True), SOCBatch(5, steps=3)
    for seed in BAD_SEEDS:
        for take in (
            lambda seed=seed: env.reset(seed=seed),
            lambda seed=seed: cage4_parallel_env(steps=3, seed=seed),
            lambda seed=seed: batch.reset(seed),
            lambda seed=seed: SOCBatch(5, seed, steps=3),
        ):
            with pytest.raises(ConfigError, match=r"seed=.*: None or a whole number of at least 0 is allowed"):
                take()
    for seed in GOOD_SEEDS:
        masks = [env.reset(seed=given)[1][BLUE]["action_mask"] for given in (seed, int(np.reshape(seed, ())[()]))]
        assert same(*masks)
        batch.reset(seed)


@needs_cyborg
@pytest.mark.parametrize(
    "options",
    [{"steps": bad} for bad in (1, True, 5.0, "5", None, 0, np.array([3, 4]))]
    + [{"patch": bad} for bad in ("no", None, 1, [])]
    + [{"observation": bad} for bad in ("Raw", None, ["raw"], 1)]
    + [{"render_mode": bad} for bad in ("rgb_array", 3, "")]
    + [{"path": bad} for bad in (3, "", "/nowhere")],
)
def test_bad_options_are_refused_by_name(options: dict[str, Any]) -> None:
    (name,) = options
    with pytest.raises(HMARLSOCError, match=name) as caught:
        cage4_parallel_env(**{"steps": 5, **options})
    assert "\n" not in str(caught.value) or name == "path"  # which ends in how to get CybORG
    if name in ("steps", "patch", "path"):
        with pytest.raises(HMARLSOCError, match=name):
            soc_parallel_env(**{"steps": 5, **options})
    with pytest.raises(ConfigError, match="level 'Raw' does not exist; did you mean 'raw'"):
        soc_parallel_env(steps=5, level="Raw")


@needs_cyborg
def test_actions_of_any_integer_kind_are_the_same() -> None:
    env, frames = cage4_parallel_env(steps=9, patch=True), []
    for action in (20, np.int8(20), np.array(20), np.array([20]), torch.tensor(20), torch.tensor([20])):
        env.reset(seed=1)
        frames.append(env.step({BLUE: action}))
    assert all(same(frames[0], frame) for frame in frames)
    for bad in (
        torch.tensor(True),
        np.array(True),
        np.bool_(True),
        torch.tensor(2.0),
        10**5000,
        "x" * 500,
        np.ones(99),
    ):
        with pytest.raises(
            ActionError, match=r"blue_agent_0: action=.*; allowed: whole numbers from 0 to 81"
        ) as caught:
            env.step({BLUE: bad})
        assert len(str(caught.value)) < 150
        assert "\n" not in str(caught.value)


@needs_cyborg
def test_the_shortest_episode() -> None:
    for env in (cage4_parallel_env(steps=2, patch=True), soc_parallel_env(steps=np.int64(2), level="raw")):
        for _ in range(2):
            env.reset(seed=0)
            _, _, terminations, truncations, _ = env.step({})
            assert (set(terminations.values()), set(truncations.values()), env.agents) == ({False}, {True}, [])


@needs_cyborg
def test_nothing_is_read_of_the_episode_that_was_never_begun() -> None:
    """CybORG makes one when it is made; the first `reset` makes another."""
    env = cage4_parallel_env(steps=5)
    for read in (env.red_hosts, lambda: env.action_labels(BLUE)):
        with pytest.raises(ResetNeeded, match=r"call reset\(\) first"):
            read()
    env.reset(seed=0)
    assert len(env.red_hosts()) == 1
    for read in (env.zone, env.hosts, env.subnets, env.action_labels):
        with pytest.raises(ConfigError, match="agent 'blue_agent_5' does not exist; did you mean"):
            read("blue_agent_5")


@needs_cyborg
def test_environments_side_by_side_do_not_meet() -> None:
    """Patched and not, flat and raw, one reset in the middle, steps in turn: each plays what it plays alone."""

    def steps(env: Any, choose: random.Random) -> Any:
        env.reset(seed=7)
        for step in range(12):
            if step == 5:
                env.reset(seed=8)
            yield env.step({agent: choose.randrange(82) for agent in env.agents})

    ways = [{"patch": patch, "observation": seen} for patch in (True, False) for seen in ("flat", "raw")]
    alone = list(steps(cage4_parallel_env(steps=20), random.Random(1)))
    together = zip(*(steps(cage4_parallel_env(steps=20, **way), random.Random(1)) for way in ways), strict=True)
    for expected, frames in zip(alone, together, strict=True):
        assert all(same(expected, frame) for frame in frames)


@needs_cyborg
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("make", [cage4_parallel_env, soc_parallel_env])
def test_pettingzoos_conversions_keep_the_episode(make: Callable[..., Any]) -> None:
    api_test(parallel_to_aec(make(steps=9, patch=True)), 40)
    parallel_api_test(aec_to_parallel(parallel_to_aec(make(steps=9, patch=True))), 20)
    plain, there_and_back = make(steps=9, patch=True), aec_to_parallel(parallel_to_aec(make(steps=9, patch=True)))
    frames = [env.reset(seed=2)[0] for env in (plain, there_and_back)]
    while plain.agents:
        assert same(*frames)
        for agent in plain.agents:
            plain.action_space(agent).seed(1)
        actions = {agent: plain.action_space(agent).sample() for agent in plain.agents}
        frames = [env.step(actions)[:2] for env in (plain, there_and_back)]
    assert there_and_back.agents == []
