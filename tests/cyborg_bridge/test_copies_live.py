"""A running CC4 environment is copied and pickled: both go on alike, and neither disturbs the other. Needs CybORG."""

import copy
import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cage4_trace import needs_cyborg
from frames import digest, same

from cyborg_bridge import Cage4Env, cage4_parallel_env
from cyborg_bridge.soc_batch import SOCBatch
from cyborg_bridge.soc_parallel import soc_parallel_env
from cyborg_bridge.soc_view import SOCPolicy, SOCView
from policies.scripted import SCRIPTED
from soc_env.engine.tables import TRIAGE
from soc_env.errors import ConfigError

ROOT = Path(__file__).parents[2]
pytestmark = needs_cyborg
STEPS, BEFORE = 24, 10
WAYS = {"deepcopy": copy.deepcopy, "pickle": lambda env: pickle.loads(pickle.dumps(env))}


def choices(infos: Any, generator: np.random.Generator) -> dict[str, int]:
    return {a: int(generator.choice(np.flatnonzero(i["action_mask"]))) for a, i in infos.items()}


def native_step(env: Cage4Env, generator: np.random.Generator) -> list[Any]:
    """A step of random valid actions, and everything that can be read after it."""
    masks = {agent: {"action_mask": np.array(env.wrapper.action_mask(agent))} for agent in env.possible_agents}
    step = env.step(choices(masks, generator))
    raw = [repr(env.raw_observation(agent)) for agent in env.possible_agents]
    labels = [env.action_labels(agent) for agent in env.possible_agents]
    draws = str(env.wrapper.env.np_random.bit_generator.state)
    return [*step, raw, labels, sorted(env.red_hosts()), env.state(), draws]


def native_rest(env: Cage4Env, seed: int) -> list[Any]:
    """The rest of the episode, and the beginning of the stream's next one."""
    generator, frames = np.random.default_rng(seed), []
    while env.agents:
        frames.append(native_step(env, generator))
    return [*frames, *env.reset(), native_step(env, generator)]


def begun(patch: bool, seed: int = 5) -> Cage4Env:
    env = cage4_parallel_env(steps=STEPS, patch=patch, observation="raw", seed=0)
    env.reset(seed=seed)
    generator = np.random.default_rng(0)
    for _ in range(BEFORE):
        native_step(env, generator)
    return env


@pytest.mark.parametrize("patch", [False, True])
@pytest.mark.parametrize("way", list(WAYS))
def test_a_copy_goes_on_as_the_original(way: str, patch: bool) -> None:
    env = begun(patch)
    twin, other = WAYS[way](env), WAYS[way](env)
    elsewhere = native_rest(other, 2)  # other actions: were anything shared, the two below would see it
    first, second = native_rest(twin, 1), native_rest(env, 1)
    assert len(first) == STEPS - 1 - BEFORE + 3
    assert same(first, second)
    assert not same(first, elsewhere)
    assert env.wrapper is not twin.wrapper
    assert env.action_space(env.possible_agents[0]) == twin.action_space(env.possible_agents[0])


def test_a_copy_of_a_copy_and_of_one_without_an_episode() -> None:
    fresh = cage4_parallel_env(steps=8, patch=True, observation="raw", seed=3)
    twin = copy.deepcopy(copy.deepcopy(fresh))
    assert same([twin.reset(), twin.step({})], [fresh.reset(), fresh.step({})])
    while fresh.agents:
        fresh.step({})
    over = copy.deepcopy(fresh)
    assert over.agents == []
    assert same(fresh.state(), over.state())


def test_closing_a_copy_leaves_the_original_its_shortcuts() -> None:
    env = begun(patch=True)
    twin = copy.deepcopy(env)
    twin.close()
    controllers = [one.wrapper.env.environment_controller for one in (env, twin)]
    assert ["execute_action" in vars(controller) for controller in controllers] == [True, False]
    assert same(native_rest(twin, 1), native_rest(env, 1))  # without them, and with


def random_roles(siem: Any, generator: np.random.Generator) -> dict[str, Any]:
    """Random actions of the roles for all rows of a SIEM or a batch."""
    return {
        role: generator.integers(0, 4, array.shape) if role == TRIAGE else generator.uniform(-1, 1, array.shape)
        for role, array in siem.actions.items()
    }


def view_rest(view: SOCView, seed: int) -> list[Any]:
    generator, frames = np.random.default_rng(seed), []
    while view.env.agents:
        for siem in view.siems.values():
            for role, action in random_roles(siem, generator).items():
                siem.actions[role] = action.astype(siem.actions[role].dtype)
        frames.append((view.step()[1:], view.observations()))
    return [*frames, view.reset()]


def teams_rest(env: Any, seed: int) -> list[Any]:
    generator, frames = np.random.default_rng(seed), []
    while env.agents:
        shapes = {agent: env.action_space(agent).shape for agent in env.agents}
        boxes = {agent: generator.uniform(-1, 1, shape).astype(np.float32) for agent, shape in shapes.items() if shape}
        frames.append(env.step({agent: boxes.get(agent, int(generator.integers(4))) for agent in env.agents}))
    return [*frames, env.reset()]


def batch_rest(batch: SOCBatch, seed: int) -> list[Any]:
    generator, frames = np.random.default_rng(seed), []
    for _ in range(STEPS):  # over the end of the episode
        for role, action in random_roles(batch, generator).items():
            batch.actions[role][...] = action
        batch.step()
        seen = {role: observations.copy() for role, observations in batch.observations.items()}
        metrics = [batch.running_metrics().tolist(), batch.episode_metrics.tolist()]
        frames.append((batch.rewards.copy(), batch.truncated.copy(), seen, metrics))
    return frames


def begun_view() -> SOCView:
    view = SOCView(cage4_parallel_env(steps=STEPS, patch=True, observation="raw"), "raw")
    view.reset(5)
    for _ in range(BEFORE):
        view.step()
    return view


def begun_teams() -> Any:
    env = soc_parallel_env(steps=STEPS, patch=True, level="raw")
    env.reset(seed=5)
    for _ in range(BEFORE):
        env.step({})
    return env


def begun_batch() -> SOCBatch:
    batch = SOCBatch(10, seed=5, steps=STEPS, patch=True)
    batch.reset()
    for _ in range(BEFORE):
        batch.step()
    return batch


@pytest.mark.parametrize("way", list(WAYS))
@pytest.mark.parametrize(
    ("begin", "rest"), [(begun_view, view_rest), (begun_teams, teams_rest), (begun_batch, batch_rest)]
)
def test_so_does_a_copy_of_what_stands_on_it(
    begin: Callable[[], Any], rest: Callable[[Any, int], list[Any]], way: str
) -> None:
    running = begin()
    twin, other = WAYS[way](running), WAYS[way](running)
    elsewhere = rest(other, 2)
    first, second = rest(twin, 1), rest(running, 1)
    assert same(first, second)
    assert not same(first, elsewhere)


def test_a_policy_is_copied_with_its_environment() -> None:
    env = begun(patch=True)
    observations, infos = env.reset(seed=3)
    policy = SOCPolicy(lambda siem: SCRIPTED["soc"]["expert"](siem.action_spaces, 0), "raw")
    for _ in range(BEFORE):
        observations, _, _, _, infos = env.step(policy.act(observations, infos, env))
    played = []
    for own, one in [copy.deepcopy((policy, env)), (policy, env)]:
        frame, seen = (observations, infos), []
        while one.agents:
            seen.append(own.act(*frame, one))
            step = one.step(seen[-1])
            frame = step[0], step[4]
        played.append(seen)
    assert played[0] == played[1]


READ = """
import sys
sys.path[:0] = ["tests/helpers", "tests/cyborg_bridge"]
import pickle
env = pickle.load(sys.stdin.buffer)
from test_copies_live import digest, native_rest
print(digest(native_rest(env, 1)))
"""


def test_another_process_goes_on_with_it() -> None:
    """Also where CYBORG_HOME is not set: the environment says from which checkout it is."""
    env = begun(patch=True)
    environ = {**os.environ, "PYTHONHASHSEED": "4242", "PYTHONPATH": str(ROOT)}
    environ.pop("CYBORG_HOME")
    done = subprocess.run(
        [sys.executable, "-c", READ], input=pickle.dumps(env), cwd=ROOT, env=environ, capture_output=True, timeout=120
    )
    assert done.stdout.decode() == digest(native_rest(env, 1)) + "\n", done.stderr.decode()


def test_what_cannot_be_copied_is_said_in_one_line() -> None:
    env = cage4_parallel_env(steps=5)
    env.note = lambda: None  # type: ignore[attr-defined]
    message = r"cannot be copied \(.*\): make a new one, reset it with the same seed"
    with pytest.raises(ConfigError, match=message) as caught:
        copy.deepcopy(env)
    assert "\n" not in str(caught.value)
    env.note = env  # type: ignore[attr-defined]
    assert copy.deepcopy(env).note.note.steps == 5  # type: ignore[attr-defined]
