"""paper-v0: a security operations centre (SOC) against one intruder

The published HMARL-SOC simulator, statistically equivalent to it and about 300 times as fast, so that results can be
compared on the same work. `soc_env.paper.tables` has its tables: `FEATURES`, `ACTIONS`, `STATE`, `REWARD_TERMS` and
`METRICS`.

>>> import soc_env
>>> sim = soc_env.Simulator("paper-v0", num_envs=4, seed=0, num_hosts=100)
>>> observations = sim.reset()
>>> sim.actions["threat_hunter_0"][:, :5] = 0.4  # hunt at level 0.7 in every segment; arrays are written in place
>>> sim.step()  # episodes that end start again by themselves
>>> sim.rewards.shape, observations["threat_hunter_0"].shape
((4,), (4, 128))

## Network
Five segments of `num_hosts` / 5 hosts each. An intruder enters through the first one.

| segment | value | mean vulnerability | reaches |
|---|---|---|---|
| DMZ | 0.6 | 0.4 | Corporate, Development |
| Corporate | 0.8 | 0.3 | DMZ, Development, DataCenter |
| Development | 0.7 | 0.35 | Corporate, DataCenter, Cloud |
| DataCenter | 1.0 | 0.2 | Corporate, Development, Cloud |
| Cloud | 0.9 | 0.25 | Development, DataCenter |

A host's vulnerability is normal around that mean with standard deviation 0.1, clipped to [0.05, 0.95].

## Intruder
Five phases. A phase ends with a success once it has lasted `min_phase_steps` = 3 steps.

| phase | each step | stage it leaves a host at |
|---|---|---|
| reconnaissance | targets = the 5 most vulnerable entry hosts that can be attacked | |
| initial access | each target falls with probability 0.5 * vulnerability | 1 |
| execution | each foothold below stage 2, with probability 0.6 | 2 |
| lateral movement | one host across each edge, with probability 0.4 * its vulnerability | 3 |
| exfiltration | from DataCenter or Cloud, with probability 0.3 | 4 |

From initial access on a step raises a true alert with probability 2 * 0.3 * phase noise, and any step a false one with
probability 0.3.

## Agents
| agent | observation | action | drives |
|---|---|---|---|
| `alert_triage_0` | 64 | Discrete(4) | SIEM |
| `threat_hunter_0` | 128 | Box(-1, 1, 16) | EDR |
| `response_orchestrator_0` | 96 | Box(-1, 1, 12) | SOAR |
| `strategic_coordinator_0` | 64 | Box(-1, 1, 8) | directive |

`FEATURES[agent]`, `ACTIONS[agent]` and `STATE` name every entry. Order of a step: intruder, alerts, directive, hunt,
triage, response, reward, observations. A step has no fixed length in minutes; an episode has at most 200 of them.

Hunting segment i at intensity I and scope C (0 to 1, action plus what the directive adds): above 0.3 every compromised
host is detected with probability 0.65 * I * C * stage / 5, above 0.7 every clean host is a false scan with probability
0.05. Isolation level A: above 0.5 every detected host is isolated with probability A, above 0.9 every clean host with
probability 0.02, for good. Remediation level M: above 0.5 every isolated compromised host is cleaned with probability
M. The attack is contained once every compromised host is isolated and there is at least one.

## Reward
One number for the team: the weighted sum of four terms, `Simulator.reward_terms` has them one by one.

| term | weight | formula |
|---|---|---|
| detection | 1.0 | sum of stage / 5 over hosts detected in this step (stage after the response) - 10 if exfiltrated |
| response | 1.5 | compromised hosts isolated in this step / max(1, steps since the first detection) + 5 if contained |
| cost | -0.3 | sum of segment value * 0.1 per compromised and * 0.2 per clean host isolated in this step |
| false_positive | -2.0 | (false scans of this step + 1 if a true alert was suppressed) / 2 |

Terminated: contained or exfiltrated (both can fall in one step). Truncated: `max_steps` steps (also when the episode
terminates in that very step, as published).

## Metrics of an episode
| metric | unit | meaning |
|---|---|---|
| reward | reward | undiscounted return of the episode |
| length | steps | length of the episode |
| mttd | steps | step of the first detection by the hunter; max_steps if none |
| mttr | steps | step of containment, counted from the start; max_steps if none |
| fpr | share | false_positives / max(1, total_scans - true_positives), at most 1 |
| csr | 0 or 1 | 1 if contained |
| compromised | hosts | compromised at the end |
| exfiltrated | 0 or 1 | 1 if data left |
| total_alerts | alerts | true and false alerts raised |
| true_positives | count | hosts detected by hunting + true alerts escalated |
| false_positives | count | false scans + false alerts escalated |
| total_scans | host-scans | hosts in scanned segments, summed over steps |
| false_escalations | alerts | false alerts escalated; not published |
| missed_alerts | alerts | true alerts suppressed; not published |

## Known faults of the published simulator
Kept, so that results stay comparable. Do not read more into this task than they allow.

- Observations show the truth: shares of compromised hosts, detected or not, the phase's noise, the labels of alerts.
- Triage cannot matter: only suppressing a true alert changes the reward, and no alert leads to anything.
- 67 % of undisturbed attacks hang in the execution phase for good, since it needs a foothold below stage 2.
- Doing almost nothing is nearly optimal: the all-zeros constant earns 10.7 (CSR 97.5 %, FPR 0.14 %), the best known
  constant 11.35, the practical ceiling is about 12.1.
- Cleaning every compromised host in one step is no containment, so full response never contains. Cleaned hosts stay in
  the intruder's list and count as successes for it.
- Isolated clean hosts are never released. All true alerts carry the entry segment.
- Of the directive only entries 0, 1 and 4 have an effect; of the hunter's actions 10-15 and of the orchestrator's 10-11
  have none. No agent observes the directive.
- FPR is per host-scan, and 1 if a false alert is escalated without any scan. MTTR counts from the start.

## What differs from it on purpose
- `reset(seed)` is reproducible, down to the vulnerabilities, which are redrawn each episode
  (`redraw_vulnerabilities=False` draws them once, at construction, as published).
- The coordinator decides every `coordinator_period` = 5 steps, as in the paper; `coordinator_period=1` is the published
  simulator's own interface.
- Sensor noise comes from 4,096 quantiles of the normal distribution, so that observations are bounded.
- `num_hosts` need not be a multiple of five: what is left over goes to the first segments.
"""
