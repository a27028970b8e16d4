"""Scripted policies: the baselines every learned policy is put beside. NumPy only: no torch, no ray.

A policy is a callable ``policy(observations, decides) -> actions`` over a batch of N environments:
``observations`` maps an agent to ``(N, dim) float32``, ``decides`` is ``(N,) bool`` (whether the coordinator's action
counts this step; none of these policies needs it) and ``actions`` maps an agent to ``(N, dim) float32`` for Box spaces
or ``(N,) int32`` for Discrete ones. ``policy.reset(seed)`` starts afresh: memory cleared, own generator re-seeded. A
policy with ``needs_state = True`` plays on the truth: ``policy.state = simulator.state()`` is set before each call.

Of `paper-v0`:

| name | what it does |
|---|---|
| `random` | uniform over every action space, fresh at every step |
| `null` | nothing is hunted and nothing is contained (every Box entry at its lower bound, triage "enrich") |
| `zeros` | every Box entry 0, triage "enrich": the constant an untrained network with small outputs resembles |
| `best-constant` | the best constant action known |
| `rule-soar` | a threshold playbook that reads only what an analyst would see |

Of `soc-v1` and its kin:

| name | what it does |
|---|---|
| `null` | nothing at all: triage only enriches what nobody acts on |
| `random` | uniform over every action space |
| `isolate-all` | isolates everything in reach as fast as executors allow |
| `escalate-all` | escalates every case and acts on every incident |
| `suppress-all` | closes every case as benign |
| `best-constant` | the best constant action found by search, for 5 zones |
| `rule-soar` | thresholds, as a SOC writes them into its SOAR platform |
| `expert` | reads all the evidence: weighs cases, hunts where risk is, looks before it cuts off, tracks campaigns |
| `oracle-observation` | the expert's tools with the truth of `state()`: not a fair player |

`oracle-control`, which scores 100, sends calls in place of actions and is therefore a policy of evaluation alone, see
`policies.scripted.oracle.ControlOracle`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from policies.scripted import paper, soc
from policies.scripted.base import Actions, Builder, ConstantPolicy, Observations, Policy, RandomPolicy, Spaces
from policies.scripted.oracle import ControlOracle, ObservationOracle
from soc_env.errors import ConfigError, unknown_name
from soc_env.registry import SCENARIOS, family_of

__all__ = [
    "ORACLE_CONTROL",
    "SCRIPTED",
    "Actions",
    "Builder",
    "ConstantPolicy",
    "ControlOracle",
    "Observations",
    "Policy",
    "RandomPolicy",
    "Spaces",
    "find",
    "playable",
    "scripted",
]

SCRIPTED: dict[str, dict[str, Builder]] = {
    "paper": {
        "random": RandomPolicy,
        "null": paper.null_policy,
        "zeros": paper.zeros_policy,
        "best-constant": paper.best_constant_policy,
        "rule-soar": paper.RuleSoarPolicy,
    },
    "soc": {
        "null": soc.null,
        "random": RandomPolicy,
        "isolate-all": soc.isolate_all,
        "escalate-all": soc.escalate_all,
        "suppress-all": soc.suppress_all,
        "best-constant": soc.best_constant,
        "rule-soar": soc.RuleSoarPlaybook,
        "expert": soc.ExpertPlaybook,
        "oracle-observation": ObservationOracle,
    },
}
"""Family -> name -> builder ``(action_spaces, seed) -> policy``."""

ORACLE_CONTROL = "oracle-control"  # how a table calls `ControlOracle`
RENAMED = {"informed": "oracle-observation", "clairvoyant": ORACLE_CONTROL}


def scripted(scenario: Any) -> dict[str, Builder]:
    """The scripted policies of a scenario's family: name -> builder ``(action_spaces, seed) -> policy``.

    Args:
        scenario: The name of one, or one.

    Raises:
        ScenarioError: There is no scenario of that name.
    """
    return SCRIPTED[family_of(scenario).name]


def playable(env: Any) -> dict[str, Builder]:
    """The scripted policies that can play `env`: those of its family where it is the name of a scenario of ours, else
    "random" alone."""
    return scripted(env) if isinstance(env, str) and env in SCENARIOS else {"random": RandomPolicy}


def find(kind: str, name: str, known: Mapping[str, Builder]) -> Builder:
    """The builder of that name.

    Args:
        kind: What to call it in a message, such as "policy of soc-v1".
        name: What was asked for.
        known: The names that there are, such as those of `scripted`.

    Raises:
        ConfigError: There is none of that name.
    """
    if name in RENAMED:
        raise ConfigError(f"{kind} {name!r} does not exist any more; it is called {RENAMED[name]!r}")
    if name not in known:
        raise ConfigError(unknown_name(kind, name, known))
    return known[name]
