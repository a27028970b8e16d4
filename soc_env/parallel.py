"""# SOC: four agents run a security operations centre

| | |
|---|---|
| Import | `import soc_env; soc_env.parallel_env("soc-v1")` |
| API | PettingZoo Parallel (AEC by `soc_env.env`), cooperative |
| Agents | 4: `alert_triage_0`, `threat_hunter_0`, `response_orchestrator_0`, `strategic_coordinator_0` |
| Scenarios | `soc-v1` (the default), `soc-cage4-v0`, `paper-v0` |
| Actions | mixed: Discrete(4), Box(3Z+1), Box(2Z+2), Box(Z+3) of Z = 5 zones; or all Discrete, or all Box |
| Observations | Box in [-1, 1], float32: 294, 194, 194, 194; `paper-v0` 64, 128, 96, 64 |
| State | Box in [-1, 1]: 358; `paper-v0` 50 |
| Reward | one team reward, the same number for every agent |
| Length | 200 steps (`max_cycles`), in `soc-cage4-v0` 500; `paper-v0` may end earlier |

Intruders enter the network of an organisation, spread, and do damage; benign users cause most of the alerts. The four
agents see different parts of the evidence, drive different tools (SIEM, EDR, SOAR) and share one reward. There are two
families of scenarios; `soc_env.soc` and `soc_env.paper` say what they simulate:

* `soc-v1`: the task worth solving. Several campaigns of ATT&CK techniques, risk-based alerting, analysts' time, tools
  that take time and fail. `soc-cage4-v0` is the same on networks shaped like CybORG's CAGE-4, with 8 zones.
* `paper-v0`: the published simulator, statistically equivalent, to compare with published results.

## Agents and what they send

| agent | job | action space | entries in `soc-v1`, by zone z |
|---|---|---|---|
| `alert_triage_0` | work the first case | Discrete(4) | 0 escalate, 1 suppress, 2 correlate, 3 enrich |
| `threat_hunter_0` | look for what raised no alert | Box(-1, 1, 3Z+1) | hunt_z, depth_z, decoy_z, intel_sweep |
| `response_orchestrator_0` | contain and clean | Box(-1, 1, 2Z+2) | contain_z, remediate_z, perimeter, credentials |
| `strategic_coordinator_0` | where to put the effort | Box(-1, 1, Z+3) | priority_z, postures: hunt, triage, response |

The tools read (x + 1) / 2, so -1 is "off", 0 is half and 1 is full; the directive is read as it is. In `paper-v0` Z = 5
too, the hunter has intensity_z and scope_z, the orchestrator isolate_z and remediate_z, and entries that are named
"unused" have no effect. `env.simulator.action_tables[agent]` says what each entry does.

Every agent is in every dict of every step. The coordinator decides every `coordinator_period` = 5 steps, the first step
included; in between its action is ignored, whatever it is, and its last directive stays in force. `infos[agent]` is
`{"decides": 0 or 1}`: whether the agent's NEXT action counts (always 1 for the other three, 0 for all once the episode
has ended).

`step` accepts int, NumPy integers and one-entry integer arrays for Discrete, and clips Box actions to [-1, 1]. Keys
that are no agent's are ignored. An action of the wrong shape, a NaN or a choice out of range raises
`soc_env.errors.ActionError` before anything has changed.

A missing action, or None, means hold. A Box agent repeats its last action. If it has sent none since `reset`, it does
nothing in `soc-v1` (no hunt, decoy or sweep; containment neutral, no remediation; the neutral directive), while in
`paper-v0` it sends zeros. Triage enriches: no choice leaves a case alone, and enriching is the one without a verdict.
In `soc-v1` that costs analyst time, until the first case is both enriched and queried; then it does nothing.

## What they observe

`soc_env.features(agent, scenario, **overrides)` or `env.features(agent)` name every entry,
`env.simulator.feature_tables[agent]` has range, unit and source of each. In `soc-v1` an observation is a row of tokens:

| part | entries | of whom |
|---|---|---|
| zones | 22 for each of the Z zones | all agents |
| cases | 20 for each of the first open cases by rank: 8 for triage, 3 for the others | all agents |
| directive | Z + 3, the directive in force | all agents |
| clock | 16: time, mission phase, queue, analyst time, perimeter, waits | all agents |

Nothing in it is the truth: what agents see has gone through a sensor. In `paper-v0`:

| agent | size | layout |
|---|---|---|
| all but triage | | 0-19: per zone share of hosts compromised, mean stage / 5, share detected, share isolated |
| `alert_triage_0` | 64 | 0 queue; 6 entries for each of the ten oldest alerts; rest 0 |
| `threat_hunter_0` | 128 | 20-69 network flows, 70-79 threat intelligence, 80-127 first 48 hosts' endpoints |
| `response_orchestrator_0` | 96 | 20 isolated share; 21-60 isolation plan, 8 entries a zone; rest 0 |
| `strategic_coordinator_0` | 64 | 20 clock, 21 queue, 22 compromised share, 23 detected share; 24-63 noise |

`paper-v0` keeps the published layouts, faults included: shares of compromised hosts and the labels of alerts are the
truth. No agent observes the directive there; the steps to the coordinator's next decision follow from its clock.
`env.state()` is the global state, the truth, for centralised critics (`env.simulator.state_table`).

## Reward

R = 1.0 detection + 1.5 response - 0.3 cost - 2.0 false_positive, see `env.simulator.reward_table`; the weights are
overrides (`weight_detection`, ...). Every agent's entry is the whole team reward, not a share of it: libraries that sum
over agents (RLlib, AgileRL) report four times the value. `env.metrics()` has the mission score of `soc-v1` and all
other figures of the episode so far.

## End of an episode

Truncated: `max_cycles` steps. Terminated: in `paper-v0` contained or exfiltrated; `soc-v1` never terminates. All agents
end together and get a full last frame (observation, reward, flags, info, and `state()`); then `env.agents` is empty
until `reset`.

## Options

| argument | default | meaning |
|---|---|---|
| `scenario` | "soc-v1" | a key of `soc_env.SCENARIOS`, or a scenario |
| `render_mode` | None | "ansi" text, "rgb_array" picture (needs matplotlib), "human" prints the text every step |
| `actions` | "mixed" | "discrete": presets for Box agents; "continuous": triage takes the argmax of 4 reals |
| `masks` | "none" | where Discrete agents find their int8 action mask: "obs" or "info" |
| `homogenize` | False | the same spaces for all agents |
| `coordinator` | "present" | "absent": see below |
| `seed` | None | the stream that a first `reset()` without a seed plays; the network of `paper-v0` if not redrawn |
| fields of the scenario | | `num_hosts`, `num_zones`, `max_steps`, `coordinator_period`, reward weights, ... |

`actions="discrete"`: the hunter, the orchestrator and the coordinator choose one of the named presets of
`soc_env.registry.presets_of(scenario)`: 7 + Z, 8 + Z and 7 + Z of them in `soc-v1`, of which choice 0 does nothing; 10,
11 and 8 of them in `paper-v0`. `masks="obs"`: Discrete agents observe `{"observation": ..., "action_mask": ...}`, the
others their array; `masks="info"`: `infos[agent]["action_mask"]`.

Masks are a function of what the agent sees: without a case (and in `soc-v1` without analyst time) triage may only
enrich, which then does nothing; in `soc-v1` a case that is enriched and queried may not be enriched again; between
decisions the coordinator may only choose 0 (which is ignored). Masked choices are accepted all the same.

`homogenize=True` needs actions of one kind. Observations are padded with 0 to the longest and end with a one-hot agent
id: 294 + 4 entries (`paper-v0` 128 + 4). Actions are padded to the largest: 13 choices (11), of which those beyond an
agent's own are masked and count as 0, or 16 entries, of which those beyond an agent's own are ignored.

`coordinator="absent"`: between decisions the coordinator is in no dict and not in `env.agents`; when it is back, and in
the last frame, its reward is the sum since its last decision (undiscounted). Only RLlib and AgileRL take such
environments: PettingZoo's `parallel_api_test` and most libraries do not.

`reset(seed=s)` starts the stream of episodes of seed s; `reset()` plays its next episode. The same seed gives the same
bytes in any process, and env i of a `soc_env.Simulator` with that seed gives them too. An environment that was never
seeded draws its seed from the operating system. `max_cycles` may be assigned and counts from the next `reset`.

## Example

>>> import soc_env
>>> env = soc_env.parallel_env("soc-v1", num_hosts=50)
>>> for index, agent in enumerate(env.possible_agents):
...     _ = env.action_space(agent).seed(index)
>>> observations, infos = env.reset(seed=7)
>>> while env.agents:
...     actions = {agent: env.action_space(agent).sample() for agent in env.agents}
...     observations, rewards, terminations, truncations, infos = env.step(actions)
>>> env.metrics()["length"], "score" in env.metrics()
(200, True)
>>> observations["threat_hunter_0"].shape
(194,)
>>> env.features("threat_hunter_0")[:3]
['zone0_value', 'zone0_size', 'zone0_events']
>>> env.close()

## Version history

* `soc-v1`, `soc-cage4-v0`: first version. (0.2.0)
* `paper-v0`: the published simulator, statistically equivalent; `reset(seed)` reproduces everything. (0.1.0)
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Space
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.conversions import parallel_to_aec

from soc_env.engine.scenario import Scenario
from soc_env.engine.tables import AGENTS, COORDINATOR, TRIAGE
from soc_env.errors import ActionError, ConfigError, HMARLSOCError, unknown_name
from soc_env.options import ApiOptions
from soc_env.registry import Simulator, family_of, idle_actions
from soc_env.soc.console import Console
from soc_env.soc.trace import Played, Trace

RENDER_MODES = ("human", "ansi", "rgb_array")
OTHERS = tuple(agent for agent in AGENTS if agent != COORDINATOR)
REAL_METRICS = frozenset({
    "reward", "score", "loss", "damage", "disruption", "effort", "mttd", "mtta", "mttc", "mttr", "fdr", "fpr",
    "action_fdr", "evidence_gated", "csr", "analyst_minutes",
})  # the others are counts  # fmt: skip

Infos = dict[str, dict[str, Any]]
StepReturn = tuple[dict[str, Any], dict[str, float], dict[str, bool], dict[str, bool], Infos]


class ResetNeeded(HMARLSOCError, gymnasium.error.ResetNeeded):
    """`step` without a running episode; `state`, `metrics` or `render` before the first `reset`."""


class SOCEnv(ParallelEnv[str, Any, Any]):
    """One SOC episode at a time as PettingZoo dicts; the module's docstring is its documentation.

    Attributes:
        scenario: The frozen `Scenario` that is played.
        simulator: The one-env `Simulator` underneath: to look at, not to step.
        layout: The options of the dict API.
        possible_agents: The four agents, triage first.
        agents: Those that act in the next step; empty before `reset` and after the end.
        observation_spaces: dict agent -> its space.
        action_spaces: dict agent -> its space.
        state_space: Box of `state()`.
        max_cycles: Steps after which an episode is truncated; may be assigned, counts from the next `reset`.
        render_mode: As given.
    """

    metadata: dict[str, Any] = {
        "name": "soc_v1",
        "render_modes": list(RENDER_MODES),
        "render_fps": 5,
        "is_parallelizable": True,
    }

    def __init__(
        self,
        scenario: str | Scenario = "soc-v1",
        render_mode: str | None = None,
        *,
        actions: str = "mixed",
        masks: str = "none",
        homogenize: bool = False,
        coordinator: str = "present",
        seed: int | None = None,
        **overrides: Any,
    ) -> None:
        """Arguments as in the module's docstring.

        Raises:
            ScenarioError: Unknown scenario, unknown override, or one that is out of range.
            ConfigError: An option, a render mode or a seed that does not exist, or options that contradict each other.
        """
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise ConfigError(unknown_name("render_mode", render_mode, RENDER_MODES))
        self.render_mode = render_mode
        self._first_seed = secrets.randbits(64) if seed is None else seed
        self.simulator = self._make_simulator(scenario, **overrides)
        self.scenario = self.simulator.scenario
        self.layout = ApiOptions.of(
            self.simulator, actions=actions, masks=masks, homogenize=homogenize, coordinator=coordinator
        )
        self.max_cycles = self.scenario.max_steps
        self.metadata = {**type(self).metadata, "name": _versioned_name(self.scenario.name)}
        self.possible_agents = list(AGENTS)
        self.agents: list[str] = []
        self.observation_spaces: dict[str, Space] = {agent: self.layout.observation_space(agent) for agent in AGENTS}
        self.action_spaces: dict[str, Space] = {agent: self.layout.action_space(agent) for agent in AGENTS}
        self.state_space = self.simulator.state_space
        self._owed = 0.0  # rewards of an absent coordinator since its last decision
        self._canvas: Any = None
        self._console: Console | None = None
        self._before: list[bytes] = []  # for each minute of the episode, the actions of the one before it
        self._called: dict[int, list[tuple[str, int, float, float]]] = {}  # minute -> calls of the console
        self._bind()

    def observation_space(self, agent: str) -> Space:
        """The agent's observation space, always the same object."""
        return self.observation_spaces[agent]

    def action_space(self, agent: str) -> Space:
        """The agent's action space, always the same object."""
        return self.action_spaces[agent]

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
            ScenarioError: A bad `max_cycles`.
        """
        if self.max_cycles != self.scenario.max_steps:
            self._change_horizon()
        self.simulator.reset(seed)
        for agent, held in self._held.items():
            held[:] = self._idle[agent]
        self._owed = 0.0
        self._before, self._called = [], {}
        if self._console is not None:
            self._console.forget()
        self.agents = list(AGENTS)  # the coordinator decides in the first step
        if self.render_mode == "human":
            self.render()
        return self._observations(AGENTS), self._infos(AGENTS, False)

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
        self._act(actions)
        reward, is_terminated, is_truncated = self._reward(0), self._terminated(0), self._truncated(0)
        is_over = is_terminated or is_truncated
        agents: tuple[str, ...] = AGENTS
        rewards = dict.fromkeys(AGENTS, reward)
        if self.layout.coordinator == "absent":
            agents = self._settle_absence(rewards, is_over)
        if is_over:
            self.agents = []
        if self.render_mode == "human":
            self.render()
        return (
            self._observations(agents),
            rewards,
            dict.fromkeys(agents, is_terminated),
            dict.fromkeys(agents, is_truncated),
            self._infos(agents, is_over),
        )

    def _act(self, actions: Mapping[str, Any]) -> None:
        """Steps the simulator, or raises ActionError with everything as it was."""
        held = self._remember()
        self._choice[0] = self._enrich
        try:
            for agent, read in self._readers if self._decides(0) else self._readers_between_decisions:
                action = actions.get(agent)
                if action is not None:
                    read(action)
            if self._console is not None:
                self._console.before_step()
            self.simulator.step()
        except ActionError:
            nans = [agent for agent, array in self._held.items() if np.isnan(array).any()]
            self.simulator.raw_actions[:] = np.frombuffer(held, np.float32)
            if nans:
                raise ActionError(f"{nans[0]}: the action has NaN; allowed: numbers, clipped to [-1, 1]") from None
            raise
        self._before.append(held)
        if self._console is not None:
            self._note_calls(self._console)

    def _note_calls(self, console: Console) -> None:
        calls = console.collect()
        if calls is not None:
            self._called[len(self._before)] = calls

    def _settle_absence(self, rewards: dict[str, float], is_over: bool) -> tuple[str, ...]:
        """Moves the coordinator's reward to the frame in which it is back. Returns the agents of this frame."""
        self._owed += rewards.pop(COORDINATOR)
        is_back = is_over or self._decides(0)
        if is_back:
            rewards[COORDINATOR], self._owed = self._owed, 0.0
        self.agents = list(AGENTS if is_back else OTHERS)
        return AGENTS if is_back else OTHERS

    def _observations(self, agents: Sequence[str]) -> dict[str, Any]:
        viewers = self._viewers
        return {agent: viewers[agent]() for agent in agents}

    def _infos(self, agents: Sequence[str], is_over: bool) -> Infos:
        is_running = 0 if is_over else 1
        infos: Infos = {agent: {"decides": is_running} for agent in agents}
        if is_running and not self._decides(0) and COORDINATOR in infos:
            infos[COORDINATOR]["decides"] = 0
        for agent, mask in self._info_masks:
            if agent in infos:
                infos[agent]["action_mask"] = mask()
        return infos

    # ------------------------------------------------------------------ by hand, and afterwards
    @property
    def console(self) -> Console:
        """The SIEM, EDR and SOAR as a Python API, see `soc_env.soc.console`.

        Raises:
            ConfigError: `paper-v0` has none.
        """
        if self._console is None:
            build = self._of_family("console")
            self._console = build(self.simulator, play=self.step)
        return self._console

    def trace(self) -> Trace:
        """The episode so far as plain data: actions, events, losses, outcomes; see `soc_env.soc.trace`.

        Raises:
            ResetNeeded: Before the first `reset`.
            ConfigError: `paper-v0` has none.
            TraceError: Something else than `step` and the console changed the episode.
        """
        self._check_started("trace")
        write, sim = self._of_family("trace_of"), self.simulator
        rows = [*self._before[1:], self._remember()][: len(self._before)]
        script = [
            Played(
                {agent: action[0] for agent, action in sim.split_actions(np.frombuffer(row, np.float32)).items()},
                self._called.get(minute),
            )
            for minute, row in enumerate(rows, 1)
        ]
        return write(sim, script, self.layout.options)

    def audit(self) -> list[dict[str, Any]]:
        """Every tool call of the episode so far with its outcome, see `Trace.audit`; raises as `trace`."""
        return self.trace().audit()

    def _of_family(self, what: str) -> Callable[..., Any]:
        """The family's `console` or `trace_of`; ConfigError if it has none."""
        found = getattr(family_of(self.scenario), what)
        if found is None:
            what = what.removesuffix("_of")
            raise ConfigError(f"{what} needs a scenario of the soc-v1 family; this is {self.scenario.name}")
        return found

    # ------------------------------------------------------------------ reading
    def features(self, agent: str) -> list[str]:
        """Names of the entries of the agent's own observation (before `homogenize`), by index."""
        return self.simulator.features(agent)

    def state(self) -> np.ndarray:
        """(entries of `state_space`,) float32: the truth, for centralised critics. A fresh array.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        self._check_started("state")
        return self.simulator.state()[0]

    def metrics(self) -> dict[str, float | int]:
        """The episode so far, as `simulator.metric_table`: rates, times and losses are float, counts int.

        Raises:
            ResetNeeded: Before the first `reset`.
        """
        self._check_started("metrics")
        row = self.simulator.running_metrics()[0]
        names = row.dtype.names or ()
        return {name: float(row[name]) if name in REAL_METRICS else int(row[name]) for name in names}

    def render(self, *_: Any) -> str | np.ndarray | None:
        """The current frame as `render_mode` asks; arguments are tolerated and ignored.

        Returns:
            "ansi": text. "rgb_array": (height, width, 3) uint8. "human": None, after printing the text.

        Raises:
            ResetNeeded: Before the first `reset`.
            ImportError: "rgb_array" without matplotlib.
        """
        self._check_started("render")
        if self.render_mode is None:
            gymnasium.logger.warn("render() does nothing without a render_mode; pass one to parallel_env()")
            return None
        if self.render_mode == "rgb_array":
            if self._canvas is None:
                self._canvas = family_of(self.scenario).canvas(self.simulator)
            return self._canvas.draw()
        text = family_of(self.scenario).as_text(self.simulator, 0)
        if self.render_mode == "ansi":
            return text
        print(text)
        return None

    def close(self) -> None:
        """Frees the drawing surface. May be called twice; `reset` and `step` still work afterwards."""
        self._canvas = None

    def _check_started(self, method: str) -> None:
        if not self.simulator.is_started:
            raise ResetNeeded(f"{method}() needs an episode: call reset() first")

    def __repr__(self) -> str:
        layout = ", ".join(f"{name}={value!r}" for name, value in self.layout.options.items())
        return f"SOCEnv({self.scenario.name!r}, num_hosts={self.scenario.num_hosts}, {layout})"

    def __str__(self) -> str:
        return self.metadata["name"]

    # ------------------------------------------------------------------ plumbing
    def _bind(self) -> None:
        """Points everything at the simulator's buffers; they are others in a copy."""
        sim, layout = self.simulator, self.layout
        self._reward, self._decides = sim.rewards.item, sim.decides.item
        self._terminated, self._truncated = sim.terminated.item, sim.truncated.item
        self._held = {agent: sim.actions[agent] if agent == TRIAGE else sim.actions[agent][0] for agent in AGENTS}
        self._choice = self._held[TRIAGE]
        self._enrich = [action.name for action in sim.action_tables[TRIAGE]].index("enrich")
        self._idle = {TRIAGE: self._enrich, **idle_actions(sim.scenario)}
        self._remember = sim.raw_actions.tobytes
        self._readers = [(agent, layout.reader(agent, self._held[agent])) for agent in AGENTS]
        self._readers_between_decisions = [pair for pair in self._readers if pair[0] != COORDINATOR]
        own_masks = {TRIAGE: sim.mask_reader(), COORDINATOR: self._coordinator_reader()}
        masks = {agent: layout.masker(agent, own_masks.get(agent)) for agent in AGENTS if layout.is_discrete(agent)}
        self._info_masks = list(masks.items()) if layout.masks == "info" else []
        self._viewers = {agent: layout.viewer(agent, sim.observations[agent][0], masks.get(agent)) for agent in AGENTS}
        self._canvas = self._console = None

    def _coordinator_reader(self) -> Callable[[], np.ndarray]:
        """A function that returns its mask: all choices when it decides, else only the first, which is ignored."""
        every = np.ones(self.layout.own_size(COORDINATOR), np.int8)
        first = (np.arange(every.size) == 0).astype(np.int8)
        decides = self._decides
        return lambda: every if decides(0) else first

    def _make_simulator(self, scenario: str | Scenario, **overrides: Any) -> Simulator:
        return Simulator(scenario, seed=self._first_seed, autoreset=False, **overrides)

    def _change_horizon(self) -> None:
        """A simulator of `max_cycles` steps that has played as many episodes of the same seed as this one."""
        old = self.simulator
        self.scenario = self.scenario.replace(max_steps=self.max_cycles)
        self.simulator = self._make_simulator(self.scenario)
        if old.is_started:
            self.simulator.reset(old.seed)
            for _ in range(int(old.episodes[0])):
                self.simulator.reset()
        self._bind()

    def __getstate__(self) -> dict[str, Any]:
        bound = {
            "_reward", "_decides", "_terminated", "_truncated", "_held", "_choice", "_enrich", "_idle", "_remember",
            "_readers", "_readers_between_decisions", "_info_masks", "_viewers", "_canvas", "_console",
        }  # fmt: skip
        return {name: value for name, value in self.__dict__.items() if name not in bound}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._bind()


def _versioned_name(scenario: str) -> str:
    """PettingZoo's form of a scenario's name: "paper-v0" -> "soc_paper_v0"."""
    name = scenario.replace("-", "_")
    return name if name.startswith("soc_") else f"soc_{name}"


def parallel_env(scenario: str | Scenario = "soc-v1", render_mode: str | None = None, **options: Any) -> SOCEnv:
    """The environment in PettingZoo's Parallel API.

    Args:
        scenario: A key of `SCENARIOS`, or a scenario.
        render_mode: None, "human", "ansi" or "rgb_array".
        **options: Those of `SOCEnv` and fields of the scenario.

    Raises:
        ScenarioError: Unknown scenario, unknown override, or one that is out of range.
        ConfigError: An option or a render mode that does not exist, or options that contradict each other.
    """
    return SOCEnv(scenario, render_mode, **options)


def env(scenario: str | Scenario = "soc-v1", render_mode: str | None = None, **options: Any) -> AECEnv:
    """The environment in PettingZoo's AEC API, with its order-enforcing wrapper. Arguments as in `parallel_env`.

    Raises:
        ConfigError: `coordinator="absent"`, which the AEC form cannot express.
    """
    if options.get("coordinator") == "absent":
        raise ConfigError("coordinator='absent' is for parallel_env; allowed in env: 'present'")
    return parallel_to_aec(parallel_env(scenario, render_mode, **options))
