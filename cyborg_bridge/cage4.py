"""CAGE Challenge 4 as a PettingZoo ParallelEnv of its five blue agents: `cage4_parallel_env`.

| | |
|---|---|
| Agents | `blue_agent_0` ... `blue_agent_4`, always in that order; 0-3 guard one subnet each, 4 guards three |
| Actions | Discrete(82), agent 4: Discrete(242); `env.zone(agent).orders` says what each index does |
| Observations | MultiDiscrete, int64: 92 entries, agent 4: 210; `env.zone(agent).fields` says where what is |
| State | the five observations one after the other, 578 entries; the simulator's hidden truth is not in it |
| Reward | the team reward of the step, the same number for every agent |
| Length | `steps` - 1 (CybORG counts so): 499; truncated, never terminated |

`infos[agent]`:

* "action_mask", (actions,) int8: 1 where the action's host exists in this episode. It does not change within an
  episode: that an agent is busy is not in it. Masked actions do nothing.
* "busy": how many more steps the action that was begun takes, 0 when the agent can begin another one. While it is not 0
  CybORG ignores what is submitted, but charges its cost; so the environment submits Sleep then, whatever it was given.
* "score": what the official evaluation adds up. It is the reward, but 0.0 in the last step, which that evaluation does
  not count: the sum over an episode is the episode's official score.
* "rest": the part of "score" that blue can change, see `cyborg_bridge.score`.
* "charges": what "score" is made of, a tuple of `Charge(kind, zone, phase, points)`; none in the last step. That they
  add up to CybORG's reward is checked in every step, the last one included.

What the policies may see (`observation`):

* "flat": the vectors only, as they come out of CybORG's BlueFlatWrapper. Alerts are flags of the last step.
* "raw": the same, and `env.raw_observation(agent)`, the dict that the vector is made from, as submissions to the
  challenge got it. Only there are the addresses and PIDs of alerts, results of Analyse, and the success of actions.

Messages between agents are sent empty. `reset(seed=s)` starts a stream of episodes; `reset()` plays its next one. The
same seed and actions give the same episode, in any process. With `seed=s` in the constructor and no seed in `reset`,
the episodes are those of CybORG's `evaluation.py --seed s`.
"""

from __future__ import annotations

import operator
import os
import uuid
from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Discrete, MultiDiscrete
from pettingzoo import ParallelEnv

from cyborg_bridge import copying
from cyborg_bridge.checkout import import_cyborg
from cyborg_bridge.score import Charge, ScoreWatch, rest_of
from cyborg_bridge.shortcuts import Vectors, apply_shortcuts
from cyborg_bridge.zones import Zone
from soc_env.errors import ActionError, ConfigError, shown, unknown_name
from soc_env.parallel import ResetNeeded

AGENTS = tuple(f"blue_agent_{number}" for number in range(5))
OBSERVATIONS = ("flat", "raw")
RENDER_MODES = ("human", "ansi")
OFFICIAL_STEPS = 500

Observations = dict[str, np.ndarray]
Infos = dict[str, dict[str, Any]]
StepReturn = tuple[Observations, dict[str, float], dict[str, bool], dict[str, bool], Infos]


class Cage4Env(ParallelEnv[str, np.ndarray, int]):
    """CC4 with its own red and green agents, one episode at a time; the module's docstring is its documentation.

    Args:
        path: the CybORG checkout; None takes `CYBORG_HOME`, see `find_cyborg`.
        steps: as CybORG counts, the official protocol has 500: the episode ends after `steps` - 1 steps, and its three
            mission phases are thirds of it.
        seed: of the stream that a first `reset()` without a seed plays; None draws one from the operating system.
        patch: skip work of CybORG that nobody reads, at run time and for this object only: about four times as fast,
            with the same observations, masks and rewards (`cyborg_bridge.shortcuts`).
        observation: "flat" or "raw", see the module's docstring.
        render_mode: None, "ansi" or "human".

    Raises:
        CyborgNotFoundError, CyborgCheckoutError, CyborgDependencyError: see `import_cyborg`.
        ConfigError: an option that does not exist or is out of range.

    Attributes:
        wrapper: CybORG's BlueFlatWrapper underneath, `wrapper.env` the CybORG: to look at, not to step.
        possible_agents: the five blue agents.
        agents: those that act in the next step; empty before `reset` and after the end.
        episode: a name of the episode that `reset` began last, "" before; a copy of the environment has the same until
            it is reset itself.
        observation_spaces, action_spaces: agent -> its space.
        state_space: MultiDiscrete of `state()`.
        observation: "flat" or "raw".
        steps: as given.
        render_mode: as given.
    """

    metadata: dict[str, Any] = {
        "name": "cyborg_cage4_v0",
        "render_modes": list(RENDER_MODES),
        "is_parallelizable": True,
    }

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        steps: int = OFFICIAL_STEPS,
        seed: int | None = None,
        patch: bool = False,
        observation: str = "flat",
        render_mode: str | None = None,
    ) -> None:
        """Arguments and errors as the class says."""
        if observation not in OBSERVATIONS:
            raise ConfigError(unknown_name("observation", observation, OBSERVATIONS))
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ConfigError(unknown_name("render_mode", render_mode, RENDER_MODES))
        if _whole(steps) is None or steps < 2:
            raise ConfigError(f"steps={shown(steps)}: a whole number of at least 2 is allowed")
        if not isinstance(patch, bool | np.bool_):
            raise ConfigError(f"patch={shown(patch)}: True or False is allowed")
        self.render_mode = render_mode
        self.observation = observation
        self.steps = int(steps)
        seed = checked_seed(seed)
        self._root = import_cyborg(path)
        self.wrapper = _make_wrapper(self.steps, seed)
        self._raw: dict[str, dict[str, Any]] = {}
        self._keeper = self.wrapper.observation_change = _KeepRaw(self.wrapper, self._raw)
        self._controller = self.wrapper.env.environment_controller
        self._undo_patch = apply_shortcuts(self._controller) if patch else None
        self._watch = ScoreWatch(self._controller)
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self._zones = {agent: Zone.of(self.wrapper.action_labels(agent)) for agent in AGENTS}
        if patch:
            self._keeper.convert = Vectors(self.wrapper, self._zones)
        self.action_spaces: dict[str, Discrete] = {
            agent: Discrete(len(zone.orders)) for agent, zone in self._zones.items()
        }
        self.observation_spaces = {agent: MultiDiscrete(zone.sizes) for agent, zone in self._zones.items()}
        self.state_space = MultiDiscrete(np.concatenate([space.nvec for space in self.observation_spaces.values()]))
        self._seen: Observations = {}
        self.episode = ""
        self._step = 0
        self._total = 0.0

    # ------------------------------------------------------------------ episodes
    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observations, Infos]:
        """Starts an episode.

        Args:
            seed: starts that seed's stream of episodes; None plays the next episode of the current one.
            options: ignored; none are defined.

        Raises:
            ConfigError: a bad seed.
        """
        found, _ = self.wrapper.reset(seed=checked_seed(seed))
        self.episode = uuid.uuid4().hex
        self.agents = list(AGENTS)
        self._step, self._total = 0, 0.0
        return self._note(found), self._infos(0.0, ())

    def step(self, actions: Mapping[str, int]) -> StepReturn:
        """One step of the team.

        Args:
            actions: agent -> action index. A missing agent, or None, sleeps; keys that are no agent's are ignored.

        Raises:
            ActionError: no mapping, not a whole number, or out of range; nothing has changed then.
            ResetNeeded: before `reset`, or after the end of the episode.
            ScoreError: CybORG's reward is not what its charges add up to.
        """
        if not self.agents:
            raise ResetNeeded("step() needs a running episode: call reset() first")
        check_mapping(actions)
        chosen = {agent: self._checked_action(agent, actions.get(agent)) for agent in AGENTS}
        submitted = {agent: self._zones[agent].sleep if self._busy(agent) else chosen[agent] for agent in AGENTS}
        found, rewards, _, _, _ = self.wrapper.step(submitted)
        is_over = bool(self._controller.done)
        reward = sum(float(rewards[agent]) for agent in AGENTS) / len(AGENTS)
        charges = self._watch.charges([self._sent(agent, index) for agent, index in submitted.items()], reward)
        score, charges = (0.0, ()) if is_over else (reward, charges)
        self._step += 1
        self._total += score
        if is_over:
            self.agents = []
        return (
            self._note(found),
            dict.fromkeys(AGENTS, reward),
            dict.fromkeys(AGENTS, False),
            dict.fromkeys(AGENTS, is_over),
            self._infos(score, charges),
        )

    def _sent(self, agent: str, index: int) -> tuple[Any, str | None]:
        """CybORG's action of an index in this episode, and the subnet it is about."""
        return self.wrapper.actions(agent)[index], self._zones[agent].orders[index].subnet

    def _checked_action(self, agent: str, action: Any) -> int:
        if action is None:
            return self._zones[agent].sleep
        index, size = _whole(action), len(self._zones[agent].orders)
        if index is None or not 0 <= index < size:
            raise ActionError(f"{agent}: action={shown(action)}; allowed: whole numbers from 0 to {size - 1}")
        return index

    def _busy(self, agent: str) -> int:
        running = self._controller.actions_in_progress.get(agent)
        return 0 if running is None else int(running["remaining_ticks"])

    def _infos(self, score: float, charges: tuple[Charge, ...]) -> Infos:
        rest = rest_of(charges)
        return {
            agent: {
                "action_mask": np.array(self.wrapper.action_mask(agent), np.int8),
                "score": score,
                "rest": rest,
                "charges": charges,
                "busy": self._busy(agent),
            }
            for agent in AGENTS
        }

    def _note(self, found: Observations) -> Observations:
        self._seen = {agent: found[agent] for agent in AGENTS}
        if self.render_mode == "human":
            print(self._text())
        return {agent: vector.copy() for agent, vector in self._seen.items()}

    # ------------------------------------------------------------------ reading
    def red_hosts(self) -> set[str]:
        """Names of the hosts on which red has a session now: the true state, which no agent sees.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._check_started("red_hosts")
        sessions = self._controller.state.sessions
        held = (own.values() for agent, own in sessions.items() if agent.startswith("red_agent"))
        return {str(session.hostname) for own in held for session in own}

    def observation_space(self, agent: str) -> MultiDiscrete:
        """The agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Discrete:
        """The agent's action space, always the same object."""
        return self.action_spaces[agent]

    def state(self) -> np.ndarray:
        """(entries of `state_space`,) int64: what all agents together see, for centralised critics. A fresh array.

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._check_started("state")
        return np.concatenate([self._seen[agent] for agent in AGENTS])

    def raw_observation(self, agent: str) -> dict[str, Any]:
        """CybORG's own observation of the step, the one its vector is made from; not to be changed.

        Keys are host names, "success", "message" and (after the first step) "action".

        Raises:
            ConfigError: the environment was made with observation="flat", or there is no such agent.
            ResetNeeded: before the first `reset`.
        """
        if self.observation != "raw":
            raise ConfigError("raw_observation() needs observation='raw'; this environment has 'flat'")
        self.zone(agent)
        self._check_started("raw_observation")
        return self._raw[agent]

    def action_labels(self, agent: str) -> list[str]:
        """CybORG's labels of the agent's actions in this episode, by index: host actions start with "[Invalid] " where
        the host does not exist, traffic actions hold the episode's addresses. What stays the same is in `zone`.

        Raises:
            ConfigError: there is no such agent.
            ResetNeeded: before the first `reset`.
        """
        self.zone(agent)
        self._check_started("action_labels")
        return list(self.wrapper.action_labels(agent))

    def zone(self, agent: str) -> Zone:
        """What the agent guards, what its actions do, where what is in its observation; the same in every episode.

        Raises:
            ConfigError: there is no such agent.
        """
        if agent not in self._zones:
            raise ConfigError(unknown_name("agent", agent, AGENTS))
        return self._zones[agent]

    def subnets(self, agent: str) -> list[str]:
        """The subnets that the agent guards, in the order of its observation."""
        return list(self.zone(agent).subnets)

    def hosts(self, agent: str) -> dict[str, list[str]]:
        """Subnet -> its 16 host slots in the order of the observation's flags; the mask says which of them exist."""
        return {subnet: list(slots) for subnet, slots in self.zone(agent).hosts.items()}

    def _check_started(self, method: str) -> None:
        if not self._seen:
            raise ResetNeeded(f"{method}() needs an episode: call reset() first")

    # ------------------------------------------------------------------ the rest
    def render(self) -> str | None:
        """The current step as text: "ansi" returns it, "human" prints it (and every step by itself).

        Raises:
            ResetNeeded: before the first `reset`.
        """
        self._check_started("render")
        if self.render_mode is None:
            gymnasium.logger.warn("render() does nothing without a render_mode; pass one to cage4_parallel_env()")
            return None
        if self.render_mode == "ansi":
            return self._text()
        print(self._text())
        return None

    def _text(self) -> str:
        phase = int(self._seen[AGENTS[0]][0])
        lines = [f"step {self._step}, mission phase {phase}, score {self._total:.0f}"]
        for agent in AGENTS:
            running = self._controller.actions_in_progress.get(agent)
            doing = f"{running['action']} ({self._busy(agent)} more)" if running else "free"
            alerts = [
                f"{host} {kind}"
                for kind in ("processes", "connections")
                for host in self._zones[agent].flagged(kind, self._seen[agent])
            ]
            lines.append(f"  {agent}: {doing}; alerts: {', '.join(alerts) or 'none'}")
        return "\n".join(lines)

    def close(self) -> None:
        """Takes back the run-time changes of `patch`. May be called twice; `reset` and `step` still work afterwards."""
        if self._undo_patch is not None:
            self._undo_patch()
            self._undo_patch = self._keeper.convert = None

    def __reduce__(self) -> tuple[Any, ...]:
        """`copy.deepcopy` and `pickle` give an environment that goes on exactly as this one would, apart from it.

        Raises:
            ConfigError: an attribute that was put here from outside cannot be pickled.
        """
        return copying.load, (copying.dump(self), self._root)

    def __repr__(self) -> str:
        return f"Cage4Env(steps={self.steps}, observation={self.observation!r})"

    def __str__(self) -> str:
        return self.metadata["name"]


cage4_parallel_env = Cage4Env
"""The environment by the name that PettingZoo's convention gives to a way to make one."""


def _make_wrapper(steps: int, seed: int | None) -> Any:
    """CybORG's BlueFlatWrapper on the official scenario."""
    from CybORG import CybORG
    from CybORG.Agents import EnterpriseGreenAgent, FiniteStateRedAgent, SleepAgent
    from CybORG.Agents.Wrappers import BlueFlatWrapper
    from CybORG.Simulator.Scenarios import EnterpriseScenarioGenerator

    scenario = EnterpriseScenarioGenerator(
        blue_agent_class=SleepAgent,
        green_agent_class=EnterpriseGreenAgent,
        red_agent_class=FiniteStateRedAgent,
        steps=steps,
    )
    return BlueFlatWrapper(CybORG(scenario, seed=seed))


class _KeepRaw:
    """One wrapper's `observation_change`, keeping what each vector is made from."""

    def __init__(self, wrapper: Any, kept: dict[str, dict[str, Any]]) -> None:
        self.wrapper, self.kept = wrapper, kept
        self.convert: Vectors | None = None  # what makes the vector, if not CybORG

    def __call__(self, agent: str, observation: dict[str, Any]) -> np.ndarray:
        self.kept[agent] = observation
        if self.convert is not None:
            return self.convert(agent, observation)
        return type(self.wrapper).observation_change(self.wrapper, agent, observation)


def check_mapping(actions: Any) -> None:
    """ActionError unless actions are given by agent."""
    if not isinstance(actions, Mapping):
        raise ActionError(f"actions={shown(actions)}; allowed: a mapping from agent to action")


def checked_seed(seed: Any) -> int | None:
    """A seed as an int; None stays None.

    Raises:
        ConfigError: not a whole number, or below 0.
    """
    found = None if seed is None else _whole(seed)
    if seed is not None and (found is None or found < 0):
        raise ConfigError(f"seed={shown(seed)}: None or a whole number of at least 0 is allowed")
    return found


def _whole(value: Any) -> int | None:
    """The value as an int if it is a whole number (or a one-entry integer array), else None."""
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.reshape(())[()]
    if isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool"):
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None
