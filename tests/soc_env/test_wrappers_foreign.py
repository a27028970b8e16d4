"""Wrappers over environments that are not ours: whole numbers, Dicts, choices that begin with 2."""

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space
from gymnasium.utils.env_checker import check_env
from pettingzoo import ParallelEnv
from pettingzoo.test import parallel_api_test

from soc_env import ActionError, ConfigError
from soc_env.wrappers import CentralGym, Homogenize

SEEN = {"near": MultiDiscrete([3, 2]), "far": MultiDiscrete([4, 2, 2], start=[5, 0, 0])}
CHOICES = {"near": Discrete(3), "far": Discrete(5, start=2)}
ROWS = {"near": MultiDiscrete([3, 2]), "far": MultiDiscrete([2, 4, 2], start=[0, 1, 7])}
BOXED = {"near": Box(-1, 1, (2,), np.float32), "far": MultiDiscrete([2, 4, 2], start=[0, 1, 7])}


class Echo(ParallelEnv):
    """Observations are drawn; `sent` has what the agents did; the reward is the sum of it."""

    metadata = {"name": "echo_v0"}
    render_mode = None

    def __init__(self, observed: dict[str, Space], acts: dict[str, Space]) -> None:
        self.observation_spaces, self.action_spaces = observed, acts
        self.possible_agents = list(acts)
        self.sent: dict[str, Any] = {}

    def observation_space(self, agent: str) -> Space:
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
        return self.action_spaces[agent]

    def _see(self) -> dict[str, Any]:
        return {agent: self.observation_spaces[agent].sample() for agent in self.possible_agents}

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        if seed is not None:
            for place, space in enumerate(self.observation_spaces.values()):
                space.seed(seed + place)
        self.agents, self.steps, self.seen = list(self.possible_agents), 0, self._see()
        return self.seen, {agent: {} for agent in self.agents}

    def step(self, actions: dict[str, Any]) -> Any:
        assert all(self.action_spaces[agent].contains(action) for agent, action in actions.items()), actions
        self.sent, self.steps, self.seen = actions, self.steps + 1, self._see()
        agents, is_over = self.agents, self.steps == 6
        self.agents = [] if is_over else agents
        reward = float(sum(np.sum(action) for action in actions.values()))
        parts = dict.fromkeys(agents, reward), dict.fromkeys(agents, False), dict.fromkeys(agents, is_over)
        return self.seen, *parts, {agent: {} for agent in agents}


@pytest.mark.parametrize("acts", [CHOICES, ROWS, BOXED])
def test_one_agent_over_whole_numbers_passes_gymnasiums_checker(acts: dict[str, Space]) -> None:
    env = CentralGym(Echo(SEEN, acts))
    assert env.observation_space == Box(
        np.array([0, 0, 5, 0, 0], np.float32), np.array([2, 1, 8, 1, 1], np.float32), dtype=np.float32
    )
    check_env(env, skip_render_check=True)
    observation, _ = env.reset(seed=3)
    assert observation.tolist() == [*env.env.seen["near"], *env.env.seen["far"]]
    assert observation.dtype == np.float32


def test_one_agents_choices_are_counted_from_0_and_sent_as_the_agents_own() -> None:
    env = CentralGym(Echo(SEEN, CHOICES))
    env.reset(seed=0)
    assert env.action_space == MultiDiscrete([3, 5])
    env.step([2, 4])
    assert env.env.sent == {"near": 2, "far": 6}
    with pytest.raises(ActionError, match="far: action 5 is out of range; allowed: 0 to 4"):
        env.step([2, 5])
    rows = CentralGym(Echo(SEEN, ROWS))
    rows.reset(seed=0)
    assert rows.action_space == MultiDiscrete([3, 2, 2, 4, 2])
    rows.step([2, 1, 1, 3, 0])
    assert {agent: action.tolist() for agent, action in rows.env.sent.items()} == {"near": [2, 1], "far": [1, 4, 7]}
    assert rows.action_masks().tolist() == [True] * 13
    with pytest.raises(ActionError, match=r"far: action \[1, 4, 0\] is out of range; allowed: 0 to \[1, 3, 1\]"):
        rows.step([2, 1, 1, 4, 0])
    with pytest.raises(ActionError, match=r"near: action .*; allowed: 2 integers"):
        rows.step([0.5, 1, 1, 1, 0])


def test_one_agents_box_takes_the_largest_in_every_place() -> None:
    env = CentralGym(Echo(SEEN, BOXED))
    assert env.action_space.shape == (2 + 2 + 4 + 2,)
    env.reset(seed=0)
    env.step(np.array([0.5, -0.5, -1, 1, 0.1, 0.2, 0.9, 0.3, 1, -1], np.float32))
    assert env.env.sent["near"].tolist() == [0.5, -0.5]
    assert env.env.sent["far"].tolist() == [1, 3, 7]


@pytest.mark.parametrize("acts", [CHOICES, ROWS])
def test_whole_numbers_are_padded(acts: dict[str, Space]) -> None:
    parallel_api_test(Homogenize(Echo(SEEN, acts)), 30)
    env = Homogenize(Echo(SEEN, acts), masks="none")
    observations, _ = env.reset(seed=1)
    seen = env.env.seen
    assert observations["near"].tolist() == [*seen["near"], 0, 1, 0]
    assert observations["far"].tolist() == [*seen["far"], 0, 1]
    assert env.observation_space("near") == env.observation_space("far") == Box(0.0, 8.0, (5,), np.float32)
    assert env.action_space("near") == env.action_space("far")


def test_padded_choices_count_as_0_and_are_masked() -> None:
    env = Homogenize(Echo(SEEN, CHOICES))
    observations, _ = env.reset(seed=1)
    assert env.action_space("near") == Discrete(5)
    assert observations["near"]["action_mask"].tolist() == [1, 1, 1, 0, 0]
    env.step({"near": 4, "far": 4})
    assert env.env.sent == {"near": 0, "far": 6}
    rows = Homogenize(Echo(SEEN, ROWS))
    rows.reset(seed=1)
    assert rows.action_space("near") == MultiDiscrete([3, 4, 2])
    rows.step({"near": [2, 3, 1], "far": [2, 3, 1]})
    assert {agent: action.tolist() for agent, action in rows.env.sent.items()} == {"near": [2, 0], "far": [0, 4, 8]}
    with pytest.raises(ActionError, match=r"near: action \[3, 0, 0\] is out of range; allowed: 0 to \[2, 3, 1\]"):
        rows.step({"near": [3, 0, 0]})


def test_a_dict_is_its_entries_in_the_spaces_order() -> None:
    own = {"b": MultiDiscrete([3, 3]), "a": Box(0.0, 9.0, (1,), np.float32), "action_mask": Box(0, 1, (3,), np.int8)}
    env = Echo({"near": Dict(own), "far": Dict(own)}, {"near": Discrete(3), "far": Discrete(3)})
    central, padded = CentralGym(env), Homogenize(env)
    for seed in range(3):
        row, _ = central.reset(seed=seed)
        expected = {agent: [float(v) for key in ("a", "b") for v in env.seen[agent][key]] for agent in ("near", "far")}
        assert row.tolist() == expected["near"] + expected["far"]
        masks = [env.seen[agent]["action_mask"] for agent in ("near", "far")]
        assert central.action_masks().tolist() == np.concatenate(masks).astype(bool).tolist()
        found = padded.reset(seed=seed)[0]["far"]
        assert found["observation"].tolist() == [*expected["far"], 0, 1]
        assert found["action_mask"].tolist() == env.seen["far"]["action_mask"].tolist()


@pytest.mark.parametrize("space", [Discrete(3), Box(0, 1, (2, 2)), MultiDiscrete([[2, 2]]), MultiBinary(3), Dict({})])
def test_other_observations_are_refused(space: Space) -> None:
    for wrap in (CentralGym, Homogenize):
        with pytest.raises(
            ConfigError, match="observation space .* is not supported; allowed: a flat Box or MultiDiscrete"
        ):
            wrap(Echo({"near": space, "far": space}, CHOICES))


def test_other_actions_are_refused() -> None:
    for acts in ({"near": MultiBinary(3), "far": MultiBinary(3)}, {"near": Box(0, 1, (2, 2)), "far": Discrete(2)}):
        with pytest.raises(ConfigError, match="is not supported"):
            CentralGym(Echo(SEEN, acts))
    for acts in ({"near": MultiBinary(3), "far": MultiBinary(3)}, {"near": MultiDiscrete([2]), "far": Discrete(2)}):
        with pytest.raises(ConfigError, match="Homogenize needs actions of one kind"):
            Homogenize(Echo(SEEN, acts))
    with pytest.raises(ConfigError, match="observation='state' needs an environment with a state_space"):
        CentralGym(Echo(SEEN, CHOICES), "state")
