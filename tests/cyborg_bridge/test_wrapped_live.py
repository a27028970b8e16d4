"""The wrappers of `soc_env` play the episodes of the real CC4 that the environments under them play."""

from typing import Any

import numpy as np
import pytest
from cage4_trace import needs_cyborg
from gymnasium.spaces import Box, Discrete, MultiDiscrete
from gymnasium.utils.env_checker import check_env
from pettingzoo.test import parallel_api_test

from cyborg_bridge import cage4_parallel_env
from cyborg_bridge.soc_parallel import soc_parallel_env
from soc_env.wrappers import CentralGym, Homogenize

pytestmark = needs_cyborg
STEPS = 25


def native() -> Any:
    return cage4_parallel_env(steps=STEPS, patch=True)


def random_valid(infos: Any, generator: np.random.Generator) -> dict[str, int]:
    return {agent: int(generator.choice(np.flatnonzero(info["action_mask"]))) for agent, info in infos.items()}


def test_one_agent_plays_the_five() -> None:
    central, plain, generator = CentralGym(native()), native(), np.random.default_rng(0)
    assert central.action_space == MultiDiscrete([82, 82, 82, 82, 242])
    assert central.observation_space.shape == (578,)
    row, _ = central.reset(seed=4)
    observations, infos = plain.reset(seed=4)
    is_over = False
    while not is_over:
        assert central.observation_space.contains(row)
        assert np.array_equal(row, plain.state())
        masks = np.concatenate([info["action_mask"] for info in infos.values()])
        assert np.array_equal(central.action_masks(), masks.astype(bool))
        actions = random_valid(infos, generator)
        row, reward, is_terminated, is_over, _ = central.step(np.array(list(actions.values())))
        _, rewards, _, _, infos = plain.step(actions)
        assert (reward, is_terminated) == (rewards["blue_agent_0"], False)
    assert plain.agents == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("observation", ["concat", "state"])
def test_gymnasiums_checker_takes_it(observation: str) -> None:
    check_env(CentralGym(native(), observation), skip_render_check=True)


def test_five_agents_of_one_shape() -> None:
    alike, plain, generator = Homogenize(native()), native(), np.random.default_rng(0)
    observations, _ = alike.reset(seed=4)
    seen, infos = plain.reset(seed=4)
    assert {repr(alike.action_space(agent)) for agent in alike.possible_agents} == {"Discrete(242)"}
    while plain.agents:
        for place, agent in enumerate(plain.possible_agents):
            own = len(seen[agent])
            assert alike.observation_space(agent).contains(observations[agent])
            values = observations[agent]["observation"]
            assert np.array_equal(values[:own], seen[agent])
            assert values[own:].tolist() == [0.0] * (210 - own) + np.eye(5)[place].tolist()
            mask = infos[agent]["action_mask"]
            assert observations[agent]["action_mask"].tolist() == [*mask, *[0] * (242 - len(mask))]
        actions = random_valid(infos, generator)
        observations, rewards, _, _, _ = alike.step(actions)
        seen, expected, _, _, infos = plain.step(actions)
        assert rewards == expected
    parallel_api_test(Homogenize(native()), 30)


def test_a_clone_of_what_is_wrapped_goes_on_alike() -> None:
    alike = Homogenize(native())
    alike.reset(seed=4)
    alike.step({"blue_agent_0": 20})
    twin = alike.clone()
    for _ in range(5):
        frames = [env.step(dict.fromkeys(env.agents, 20)) for env in (alike, twin)]
        assert frames[0][1] == frames[1][1]
        assert repr(frames[0][0]) == repr(frames[1][0])


def test_one_agent_plays_the_twenty_roles() -> None:
    central, plain = (soc_parallel_env(steps=STEPS, patch=True, level="raw") for _ in range(2))
    central = CentralGym(central)
    agents = plain.possible_agents
    assert isinstance(central.action_space, Box)
    row, _ = central.reset(seed=4)
    observations, _ = plain.reset(seed=4)
    central.action_space.seed(0)
    for _ in range(8):
        assert np.array_equal(row, np.concatenate([observations[agent] for agent in agents]))
        sent, action = {}, central.action_space.sample()
        rest = action
        for agent in agents:
            space = plain.action_space(agent)
            size = int(space.n) if isinstance(space, Discrete) else space.shape[0]
            part, rest = rest[:size], rest[size:]
            sent[agent] = int(part.argmax()) if isinstance(space, Discrete) else part
        row, reward, _, _, _ = central.step(action)
        observations, rewards, _, _, _ = plain.step(sent)
        assert reward == rewards[agents[0]]
