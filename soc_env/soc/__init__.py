"""soc-v1: a security operations centre (SOC) against several intruders

The task worth solving, and the default: one step is one minute on shift. `soc_env.paper` is the page of the published
task, `paper-v0`. `soc_env.parallel` is the page of the PettingZoo environment, with its options; this one is about the
task and the batched simulator underneath.

>>> import soc_env
>>> sim = soc_env.Simulator("soc-v1", num_envs=4, seed=0)
>>> observations = sim.reset()
>>> sim.actions["threat_hunter_0"][:, :5] = 0.4  # hunt at level 0.7 in every zone; arrays are written in place
>>> sim.step()  # episodes that end start again by themselves
>>> sim.rewards.shape, observations["threat_hunter_0"].shape
((4,), (4, 194))
>>> sim.features("threat_hunter_0")[5]
'zone0_top_risk'

`soc_env.SCENARIOS` has the scenarios; every number of one is a field with unit, range and source
(`type(scenario).__dataclass_fields__`) and can be overridden: `soc_env.Simulator("soc-v1", num_hosts=1000)`.

| scenario | hosts | zones | minutes |
|---|---|---|---|
| soc-v1 | 200 | 5 | 200 |
| soc-v2 | 200 | 5 | 200 |
| soc-cage4-v0 | 89 | 8 | 500 |
| soc-cage4-v1 | 89 | 8 | 500 |

`soc-v2` is `soc-v1`, and `soc-cage4-v1` is `soc-cage4-v0`, with privilege levels: findings tell admin from user level,
`kill_process` is free and ends what raised an alert, and an observation has 6Z more entries (`finding_levels`).

## Network
Hosts are in segments, segments in zones; zones are what the agents see and act on, so spaces depend on their number
alone. Business services run on hosts and depend on each other. An episode plays on one of `num_networks` generated
networks; `split="test"` takes others that training never sees. `network="mine.graphml"` plays on a file, see
`soc_env.soc.networks`, and `sim.network(i)` is the network of env i as a graph.

Zones of the default: dmz, corporate, development, datacenter, cloud. How many hosts each has, and what they are
worth, differs from network to network.

The mission has phases, an equal share of the episode each; a phase doubles the value of one zone (`phase_zones`,
`phase_values`).

## Intruders
Campaigns arrive at random, up to `max_campaigns` at once. Each is a chain of ATT&CK techniques drawn from its family's
plan, takes hosts at user and then at admin level, moves along the network, and at its goal steals, encrypts or abuses.
It may leave persistence or keep credentials and come back, and may react when a host of its is cut off.

| family | split | goal |
|---|---|---|
| ransomware | train | encrypt |
| espionage | train | exfiltrate |
| web_shell | train | exfiltrate |
| insider | train | exfiltrate |
| credential_abuse | train | abuse |
| supply_chain | test | exfiltrate |
| cryptojacking | test | abuse |
| wiper | test | encrypt |

## Telemetry
Sensors cover part of the attempts and lose some alerts; phishing and privilege escalation raise none. Benign users
cause most alerts, some as confident as malicious ones. Alerts arrive late, name a target and, for network alerts, a
source, and gather in cases. The queue of cases is bounded, ranked, and ages.

Alerts, findings and verdicts add up to a risk score per host (`soc_env.soc.risk`) in [0, 1), which fades with time.
Agents never see hosts but by that score: the "most suspect host" of a zone is the one where it is highest.

## Agents
Z is the number of zones.

| agent | observation | action | drives |
|---|---|---|---|
| `alert_triage_0` | 23Z + 179 | Discrete(4) | SIEM |
| `threat_hunter_0` | 23Z + 79 | Box(-1, 1, 3Z+1) | EDR |
| `response_orchestrator_0` | 23Z + 79 | Box(-1, 1, 2Z+2) | SOAR |
| `strategic_coordinator_0` | 23Z + 79 | Box(-1, 1, Z+3) | directive |

An observation is a row of tokens: one a zone, one a shown case, then the directive in force and the clock;
`sim.feature_tables[agent]` names every entry with range, unit and source, `sim.action_tables[agent]` every entry of an
action. `state()` is what triage sees and then the truth. A level is (x + 1) / 2 of an entry x:

* `hunt_z`: effort in zone z; the zones share the hunters' capacity.
* `depth_z`: scan depth in zone z: fewer hosts, more certain.
* `decoy_z`: above 0.5: keeps decoys in zone z.
* `intel_sweep`: above 0.5: sweeps for known indicators as often as allowed.
* `contain_z`: level above 0.75: isolates the most suspect host of the zone that is not (above 0.98 any host where
  none is suspect); below 0.25: releases the least suspect isolated one.
* `remediate_z`: level above 0.75: reimages, above 0.5: kills processes of the most suspect host of the zone, with
  finding_levels of the most suspect that has one to kill.
* `block_perimeter`: above 0.5: blocks the perimeter; below: opens it.
* `reset_credentials`: above 0.5: resets credentials as often as allowed.
* `priority_z`: ranks cases and weighs hunting effort of zone z.
* `hunt_posture`: analysts' share for hunting: 0.5 + 0.25 x.
* `triage_posture`: rank below which new cases close by themselves: auto_close (1 + x).
* `response_posture`: risk score from which high-risk actions are approved at once: approval_risk (1 - 0.3 x).

Order of a minute: actions become tool calls by what the SOC knows, directive, intruders, jobs that finish, calls,
losses, raw events and alerts, queue, reward, observations. With `order="defenders_first"` intruders move after the
calls.

## Tools
The action vectors are decoded into calls of these tools, `sim.calls(i)` has those of the last minute with their
outcomes. SOAR tools occupy their zone's executor. High-risk ones need approval: at once where the risk score is high,
else after a wait, or not at all.

| tool | platform | target | minutes | analyst minutes | failure | risk |
|---|---|---|---|---|---|---|
| escalate | SIEM | case | 0 | 4 | 0 | low |
| suppress | SIEM | case | 0 | 1 | 0 | low |
| correlate | SIEM | case | 0 | 1.5 | 0 | low |
| enrich | SIEM | case | 0 | 2 | 0 | low |
| query | SIEM | case | 0 | 3 | 0 | low |
| hunt | EDR | zone | 0 | 0 | 0 | low |
| deep_scan | EDR | zone | 0 | 0 | 0 | low |
| deploy_decoy | EDR | zone | 5 | 1 | 0 | low |
| intel_sweep | EDR | network | 0 | 2 | 0 | low |
| collect_forensics | EDR | host | 0 | 2 | 0.1 | low |
| isolate | SOAR | host | 1 | 0 | 0.02 | high |
| release | SOAR | host | 1 | 0 | 0 | low |
| kill_process | SOAR | host | 2 | 0 | 0.35 | low |
| reimage | SOAR | host | 8 | 1 | 0.03 | high |
| block_perimeter | SOAR | network | 1 | 0.5 | 0 | high |
| unblock_perimeter | SOAR | network | 0 | 0 | 0 | low |
| reset_credentials | SOAR | network | 10 | 4 | 0 | high |

* `escalate`: opens an incident: the verdict adds to the suspected host's risk score, and response can act on it.
  Needs: the case is open and analysts have time.
* `suppress`: closes the case as benign; the alerts of its hosts lose most of their weight. Needs: the case is open
  and analysts have time.
* `correlate`: merges all open cases that share a host with this one. Needs: the case is open and analysts have time.
* `enrich`: buys context: a noisy reading of whether the case is malicious. Needs: the case is open, not enriched, and
  analysts have time.
* `query`: searches the raw logs: a second, sharper reading (triage's choice 'enrich' on an enriched case). Needs: the
  case is enriched, not queried, and analysts have time.
* `hunt`: examines hosts of the zone, those of high risk first; finds intruders, clears suspects.
* `deep_scan`: a hunt with scan depth above 0.5: fewer hosts, better detection, more false findings.
* `deploy_decoy`: a host that nobody has reason to touch; intruders that move into the zone may trip it. Needs: fewer
  than 2 decoys in the zone, none being deployed.
* `intel_sweep`: looks for known indicators everywhere; indicators become known through forensics. Needs: 15 minutes
  since the last one.
* `collect_forensics`: makes the intruder's indicators known, if there is one. Needs: a finding stands on the host,
  not yet collected.
* `isolate`: cuts the host off: nothing moves in or out, and its service and users are cut off too. Needs: the
  executor is free, the host is not isolated.
* `release`: puts the host back on the network. Needs: the executor is free, the host is isolated.
* `kill_process`: ends what runs at user level; does not remove persistence or admin-level intruders. Needs: the
  executor is free.
* `reimage`: rebuilds the host: removes everything and releases it; it is offline meanwhile. Needs: the executor is
  free.
* `block_perimeter`: stops nine in ten of entries from outside and of exfiltration; hurts users every minute. Needs:
  not blocked, no block under way.
* `unblock_perimeter`: opens the perimeter again. Needs: blocked.
* `reset_credentials`: takes stolen credentials from all intruders; hurts users. Needs: none under way, 30 minutes
  since the last one.

Analysts' time is shared by triage and hunting as the directive says; a call without time for it is not carried out.

## Reward
One number for the team: the weighted sum of four terms, `sim.reward_terms` has them one by one.

* detection (1.0): sum over intruder's hosts first escalated or found in this minute of 1 + host value.
* response (1.5): sum over compromised hosts isolated or cleaned in this minute of (1 + host value) / (1 + minutes
  since compromise / 30) - damage of this minute.
* cost (-0.3): disruption + analyst time of this minute, as in the mission score.
* false_positive (-2.0): 0.25 for each false verdict and each response action on a clean host.

`reward="sparse"` pays the mission score / 100 at the end instead. Episodes last `max_steps` minutes; none terminates
earlier.

## Score
The mission score measures outcomes, whatever the reward: 100 (null_loss - loss) / (null_loss - clairvoyant_loss), so
that doing nothing is 0 and a defender who knows the truth is 100; it may be negative. The loss adds up three things, in
units of a host of value 1 lost for a minute: damage by intruders, disruption by response, and effort of analysts.

## Metrics of an episode
| metric | unit | meaning |
|---|---|---|
| reward | reward | undiscounted return of the episode |
| score | points | mission score: 0 as doing nothing, 100 as the clairvoyant defender, see `loss` |
| loss | loss | damage + disruption + effort |
| damage | loss | compromised hosts by value and level, exfiltration, encryption, abuse |
| disruption | loss | services and users cut off by response and by encryption, false verdicts |
| effort | loss | analyst minutes times their price |
| length | minutes | length of the episode |
| mttd | minutes | first host to first escalation or finding, mean over campaigns, censored at the end |
| mtta | minutes | first host to the first work on a case of it, likewise |
| mttc | minutes | first host to the first moment with all its hosts cut off or clean, likewise |
| mttr | minutes | first host to eradication, likewise |
| fdr | share | escalated benign cases / escalated cases (false discovery rate) |
| fpr | share | escalated benign cases / benign cases with a verdict, escalated or suppressed |
| action_fdr | share | response actions on clean hosts / response actions on hosts |
| evidence_gated | share | response actions on hosts with a standing verdict or finding |
| csr | share | campaigns contained at the end |
| campaigns | count | campaigns that gained a host |
| detected | count | campaigns detected |
| contained | count | campaigns contained at the end |
| eradicated | count | campaigns eradicated at the end |
| blast_radius | hosts | hosts ever compromised |
| compromised | hosts | compromised and in reach at the end |
| exfiltrated | minutes | successful minutes of exfiltration |
| encrypted | hosts | hosts encrypted or destroyed |
| disruption_minutes | host minutes | minutes in which hosts were isolated or offline |
| total_alerts | count | alerts that reached the SIEM |
| true_alerts | count | of them caused by intruders |
| cases | count | cases opened |
| dropped_cases | count | cases lost to a full queue |
| auto_closed | count | cases closed by the rank limit |
| expired_cases | count | cases that closed unworked |
| sla_breaches | count | cases that got no verdict in time |
| true_positives | count | malicious cases escalated |
| false_positives | count | benign cases escalated |
| true_negatives | count | benign cases suppressed; dropped, closed and expired ones got no verdict |
| missed_cases | count | malicious cases suppressed, dropped, closed or expired |
| findings | count | intruder's hosts found by hunting |
| false_findings | count | clean hosts on which hunting found something |
| actions | count | response actions on hosts carried out |
| analyst_minutes | minutes | analyst time spent |
| raw_events | count | raw events of the SIEM |
"""
