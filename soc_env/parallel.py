"""# SOC: four agents run a security operations centre

| | |
|---|---|
| Import | `import soc_env; soc_env.parallel_env("paper-v0")` |
| API | PettingZoo Parallel (AEC by `soc_env.env`), cooperative |
| Agents | 4: `alert_triage_0`, `threat_hunter_0`, `response_orchestrator_0`, `strategic_coordinator_0` |
| Actions | mixed: Discrete(4), Box(16), Box(12), Box(8); or all Discrete, or all Box |
| Observations | Box in [-1, 1]: 64, 128, 96, 64 float32 |
| State | Box in [0, 1] and [-1, 1], see `soc_env.tables.STATE` |
| Reward | one team reward, the same number for every agent |
| Length | 200 steps at most (`max_cycles`) |

An intruder enters a network of five zones (DMZ, Corporate, Development, DataCenter, Cloud; 200 hosts by default) and goes
through reconnaissance, initial access, execution, lateral movement and exfiltration. The four agents see different
sensors, drive different tools and share one reward. They win when every compromised host is isolated (containment),
and lose when data leaves (exfiltration).

## Agents and what they send

| agent | job | action space | entries |
|---|---|---|---|
| `alert_triage_0` | the oldest alert of the queue | Discrete(4) | 0 escalate, 1 suppress, 2 correlate, 3 enrich |
| `threat_hunter_0` | look for what raised no alert | Box(-1, 1, (16,)) | 0-4 intensity and 5-9 scope by zone; 10-15 unused |
| `response_orchestrator_0` | contain and clean | Box(-1, 1, (12,)) | 0-4 isolation and 5-9 remediation by zone; 10-11 unused |
| `strategic_coordinator_0` | where to put the effort | Box(-1, 1, (8,)) | 0 hunt, 1 scope, 4 isolation boost; others unused |

The tools read (x + 1) / 2, so -1 is "off", 0 is half and 1 is full. `soc_env.tables.ACTIONS` lists every entry.

Every agent is in every dict of every step. The coordinator decides every `coordinator_period` = 5 steps, the first step
included; in between its action is ignored, whatever it is, and its last directive stays in force. `infos[agent]` is
`{"decides": 0 or 1}`: whether the agent's NEXT action counts (always 1 for the other three, 0 for all once the episode
has ended).

`step` accepts int, NumPy integers and one-entry integer arrays for Discrete, and clips Box actions to [-1, 1]. Keys that
are no agent's are ignored. A missing action, or None, means hold: a Box agent repeats its last action (zeros after
`reset`), triage enriches, which removes no alert. An action of the wrong shape, a NaN or a choice out of range raises
`soc_env.errors.ActionError` before anything has changed.

## What they observe

`soc_env.tables.FEATURES[agent]` names every entry with its range, unit and source.

| agent | size | layout |
|---|---|---|
| all but triage | | 0-19: per zone share of hosts compromised, mean stage / 5, share detected, share isolated |
| `alert_triage_0` | 64 | 0 queue; 6 entries for each of the ten oldest alerts; rest 0 |
| `threat_hunter_0` | 128 | 20-69 network flows, 70-79 threat intelligence, 80-127 endpoint readings of the first 48 hosts |
| `response_orchestrator_0` | 96 | 20 isolated share; 21-60 isolation plan, 8 entries a zone; rest 0 |
| `strategic_coordinator_0` | 64 | 20 clock, 21 queue, 22 compromised share, 23 detected share; 24-63 noise |

`paper-v0` keeps the published layouts, faults included: shares of compromised hosts and the labels of alerts are the
truth. No agent observes the directive; the steps to the coordinator's next decision follow from its clock.
`env.state()` is the global state for centralised critics (`soc_env.tables.STATE`).

## Reward

R = 1.0 detection + 1.5 response - 0.3 cost - 2.0 false_positive, see `soc_env.tables.REWARD_TERMS`; the weights are
overrides (`weight_detection`, ...). Every agent's entry is the whole team reward, not a share of it: libraries that sum
over agents (RLlib, AgileRL) report four times the value.

## End of an episode

Terminated: contained or exfiltrated. Truncated: `max_cycles` steps. All agents end together and get a full last
frame (observation, reward, flags, info, and `state()`); then `env.agents` is empty until `reset`.

## Options

| argument | default | meaning |
|---|---|---|
| `scenario` | "paper-v0" | a key of `soc_env.SCENARIOS` |
| `render_mode` | None | "ansi" (text), "rgb_array" (picture; needs matplotlib), "human" (prints the text at every step) |
| `actions` | "mixed" | "discrete": Box agents choose from `soc_env.actions.PRESETS`; "continuous": triage takes the argmax of 4 reals |
| `masks` | "none" | "obs": Discrete agents observe `{"observation", "action_mask"}`; "info": `infos[agent]["action_mask"]`; int8 |
| `homogenize` | False | all agents get the same spaces: observations padded with 0 to 128 and a one-hot agent id, actions padded too |
| `coordinator` | "present" | "absent": see below |
| `seed` | None | the stream that a first `reset()` without a seed plays, and the network if it is not redrawn |
| any field of `soc_env.Scenario` | | `num_hosts`, `max_steps`, `coordinator_period`, `redraw_vulnerabilities`, reward weights, ... |

Masks are a function of what the agent sees. With an empty queue triage may only "enrich" (nothing happens); between
decisions the coordinator may only choose 0 (ignored anyway). Masked choices are accepted. With `homogenize`, choices
beyond an agent's own are masked, and count as 0 if taken; extra Box entries and observations are ignored and zero.
`homogenize` needs actions of one kind ("discrete" or "continuous").

`coordinator="absent"`: between decisions the coordinator is in no dict and not in `env.agents`; when it is back, and in
the last frame, its reward is the sum since its last decision (undiscounted). Only RLlib and AgileRL take such
environments: PettingZoo's `parallel_api_test` and most libraries do not.

`reset(seed=s)` starts the stream of episodes of seed s; `reset()` plays its next episode. The same seed gives the same
bytes in any process, and env i of a `soc_env.Simulator` with that seed gives them too. An environment that was never
seeded draws its seed from the operating system. `max_cycles` may be assigned and counts from the next `reset`.

## Example

>>> import soc_env
>>> env = soc_env.parallel_env("paper-v0", num_hosts=50)
>>> for index, agent in enumerate(env.possible_agents):
...     _ = env.action_space(agent).seed(index)
>>> observations, infos = env.reset(seed=7)
>>> while env.agents:
...     actions = {agent: env.action_space(agent).sample() for agent in env.agents}
...     observations, rewards, terminations, truncations, infos = env.step(actions)
>>> sorted(env.metrics())[:4]
['compromised', 'csr', 'exfiltrated', 'false_positives']
>>> observations["threat_hunter_0"].shape
(128,)
>>> env.close()

## Version history

* `paper-v0`: the published simulator, statistically equivalent; `reset(seed)` reproduces everything. (0.1.0)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec

from .actions import box_action, discrete_action, preset_table
from .errors import ActionError, ConfigError, HMARLSOCError, unknown_name
from .scenario import MAX_STEPS
from .simulator import Simulator
from .tables import ACTIONS, AGENTS, COORDINATOR, METRICS, TRIAGE

FLOAT32 = np.dtype(np.float32)
ENRICH = [action.name for action in ACTIONS[TRIAGE]].index("enrich")
COUNTS = frozenset(metric.name for metric in METRICS if metric.name not in ("reward", "fpr"))
OPTIONS: dict[str, tuple[Any, ...]] = {
    "render_mode": (None, "human", "ansi", "rgb_array"),
    "actions": ("mixed", "discrete", "continuous"),
    "masks": ("none", "obs", "info"),
    "homogenize": (False, True),
    "coordinator": ("present", "absent"),
}

Infos = dict[str, dict[str, Any]]
StepReturn = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], Infos]


class ResetNeeded(HMARLSOCError, gymnasium.error.ResetNeeded):
    """`step`, `state`, `metrics` or `render` before the first `reset`, or `step` after the end of an episode."""


class SOCEnv(ParallelEnv[str, Any, Any]):
    """One SOC episode at a time as PettingZoo dicts; the module's docstring is its documentation.

    Attributes:
        scenario: The frozen `Scenario` that is played.
        simulator: The one-env `Simulator` underneath: to look at, not to step.
        possible_agents: The four agents, triage first.
        agents: Those that act in the next step; empty before `reset` and after the end.
        observation_spaces: dict agent -> its space.
        action_spaces: dict agent -> its space.
        state_space: Box of `state()`.
        render_mode: As given.
    """

    metadata: dict[str, Any] = {
        "name": "soc_v0",
        "render_modes": [mode for mode in OPTIONS["render_mode"] if mode],
        "render_fps": 5,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        scenario: str = "paper-v0",
        render_mode: str | None = None,
        *,
        actions: str = "mixed",
        masks: str = "none",
        homogenize: bool = False,
        coordinator: str = "present",
        seed: int | None = None,
        **overrides: Any,
    ) -> None:
        """Options as in the module's docstring.

        Raises:
            ScenarioError: Unknown scenario, unknown override, or one that is out of range.
            ConfigError: An option or a render mode that does not exist, or a combination that makes no sense.
        """
        given = {"actions": actions, "masks": masks, "homogenize": homogenize, "coordinator": coordinator}
        _check_options(render_mode=render_mode, **given)
        self._options = given
        self._overrides = overrides
        self._first_seed = secrets.randbits(64) if seed is None else seed
        self.render_mode = render_mode
        self.simulator = Simulator(scenario, seed=self._first_seed, autoreset=False, **overrides)
        self.scenario = self.simulator.scenario
        self.metadata = {**type(self).metadata, "name": _versioned_name(self.scenario.name)}
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self._build_spaces()
        self._max_cycles = self.scenario.max_steps
        self._owed = 0.0  # rewards of an absent coordinator since its last decision
        self._canvas: Any = None
        self._bind()

    # ------------------------------------------------------------------ spaces
    def observation_space(self, agent: str) -> Space:
        """The agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
        """The agent's action space, always the same object."""
        return self.action_spaces[agent]

    def _build_spaces(self) -> None:
        own = {agent: self._own_action_space(agent) for agent in AGENTS}
        self.state_space = self.simulator.state_space
        self._is_discrete = {agent: isinstance(space, Discrete) for agent, space in own.items()}
        self._action_sizes = {agent: int(s.n) if isinstance(s, Discrete) else s.shape[0] for agent, s in own.items()}
        self._mask_sizes = dict(self._action_sizes)
        self._observation_sizes = {agent: self.simulator.observation_spaces[agent].shape[0] for agent in AGENTS}
        self.action_spaces: dict[str, Space] = own
        if self._options["homogenize"]:
            widest = max(self._action_sizes.values())
            self._mask_sizes = dict.fromkeys(AGENTS, widest)
            self._observation_sizes = dict.fromkeys(AGENTS, max(self._observation_sizes.values()) + len(AGENTS))
            is_discrete = self._options["actions"] == "discrete"
            self.action_spaces = {agent: Discrete(widest) if is_discrete else _unit_box(widest) for agent in AGENTS}
        self.observation_spaces: dict[str, Space] = {agent: self._make_observation_space(agent) for agent in AGENTS}

    def _own_action_space(self, agent: str) -> Space:
        """The agent's action space before padding."""
        kind, space = self._options["actions"], self.simulator.action_spaces[agent]
        if kind == "discrete" and isinstance(space, Box):
            return Discrete(len(preset_table(agent)))
        if kind == "continuous" and isinstance(space, Discrete):
            return _unit_box(int(space.n))
        return space

    def _make_observation_space(self, agent: str) -> Space:
        box = _unit_box(self._observation_sizes[agent])
        if self._options["masks"] != "obs" or not self._is_discrete[agent]:
            return box
        return Dict({"observation": box, "action_mask": Box(0, 1, (self._mask_sizes[agent],), np.int8)})

    # ------------------------------------------------------------------ episodes
    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[dict[str, Any], Infos]:
        """Starts an episode.

        Args:
            seed: Integer of at least 0 to start that seed's stream of episodes; None plays the stream's next episode.
            options: Ignored; none are defined.

        Returns:
            Observations and infos by agent.

        Raises:
            ConfigError: A bad seed.
        """
        if self._max_cycles != self.scenario.max_steps:
            self._rebuild()
        self.simulator.reset(seed)
        self._staged[:] = 0.0
        self._rows[:] = 0.0
        self._owed = 0.0
        self.agents = list(AGENTS)  # the first step is a decision
        if self.render_mode == "human":
            self.render()
        return self._observe(AGENTS), self._infos(AGENTS)

    def step(self, actions: Mapping[str, Any]) -> StepReturn:
        """One step of the team.

        Args:
            actions: agent -> action. A missing agent, or None, holds; other keys are ignored.

        Returns:
            Observations, rewards, terminations, truncations and infos by agent, all of them fresh objects.

        Raises:
            ActionError: A wrong shape or type, NaN, or a choice out of range; nothing has changed then.
            ResetNeeded: Before `reset`, or after the end of the episode.
        """
        if not self.agents:
            raise ResetNeeded("step() needs a running episode: call reset() first")
        self._take(actions)
        self.simulator.step()
        reward, terminated, truncated = self._reward(0), self._terminated(0), self._truncated(0)
        is_over = terminated or truncated
        if self._is_absent:
            return self._step_return_without_coordinator(reward, terminated, truncated)
        if is_over:
            self.agents = []
        if self.render_mode == "human":
            self.render()
        return (
            self._observe(AGENTS),
            dict.fromkeys(AGENTS, reward),
            dict.fromkeys(AGENTS, terminated),
            dict.fromkeys(AGENTS, truncated),
            self._infos(AGENTS),
        )
