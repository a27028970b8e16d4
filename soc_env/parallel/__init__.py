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

* `soc-v1`, `soc-cage4-v0`: first version. (0.1.0)
* `paper-v0`: the published simulator, statistically equivalent; `reset(seed)` reproduces everything. (0.1.0)
"""

from soc_env.parallel.environment import RENDER_MODES, ResetNeeded, SOCEnv, env, parallel_env

__all__ = ["RENDER_MODES", "ResetNeeded", "SOCEnv", "env", "parallel_env"]
