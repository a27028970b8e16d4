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
| `waiting` | the same, but no hunting during initial access, which it reads off a leak |
| `patient` | waits in execution too, until every host taken has executed: the best policy known |
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
| `rule-soar` | thresholds, as a SOC writes them into its SOAR platform; a file, see `policies.scripted.playbook` |
| `expert` | reads all the evidence: weighs cases, hunts where risk is, looks before it cuts off, tracks campaigns |
| `expert-learned` | the expert's rules with numbers fitted to `risk_model="learned"`, which it is played with |
| `oracle-observation` | the expert's tools with the truth of `state()`: not a fair player |

A user's own playbook is a file like `rule-soar` and `expert` are, or a builder: `builder_of` knows all forms.

`oracle-control`, which scores 100, sends calls in place of actions and is therefore a policy of evaluation alone, see
`policies.scripted.oracle.ControlOracle`.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policies.scripted import paper, soc
from policies.scripted.base import (
    Actions,
    Builder,
    ConstantPolicy,
    Observations,
    Policy,
    RandomPolicy,
    Spaces,
    import_path,
    imported,
)
from policies.scripted.oracle import ControlOracle, ObservationOracle
from policies.scripted.playbook import SHIPPED, SUFFIX, PlaybookFile, shipped
from soc_env.errors import ConfigError, HMARLSOCError, shown, unknown_name
from soc_env.registry import SCENARIOS, family_of

__all__ = [
    "ORACLE_CONTROL",
    "SCRIPTED",
    "Actions",
    "Builder",
    "ConstantPolicy",
    "ControlOracle",
    "Observations",
    "PlaybookFile",
    "Policy",
    "RandomPolicy",
    "Spaces",
    "builder_of",
    "identity",
    "is_code",
    "is_file",
    "is_policy",
    "kept",
    "label",
    "make_policy",
    "own_overrides",
    "playbook_of",
    "scripted",
]

SCRIPTED: dict[str, dict[str, Builder]] = {
    "paper": {
        "random": RandomPolicy,
        "null": paper.null_policy,
        "zeros": paper.zeros_policy,
        "best-constant": paper.best_constant_policy,
        "waiting": paper.WaitingPolicy,
        "patient": paper.PatientPolicy,
        "rule-soar": paper.RuleSoarPolicy,
    },
    "soc": {
        "null": soc.null,
        "random": RandomPolicy,
        "isolate-all": soc.isolate_all,
        "escalate-all": soc.escalate_all,
        "suppress-all": soc.suppress_all,
        "best-constant": soc.best_constant,
        **{name: functools.partial(shipped, name) for name in SHIPPED},
        "oracle-observation": ObservationOracle,
    },
}
"""Family -> name -> builder ``(action_spaces, seed) -> policy``."""

RISK_MODELS = {"expert-learned": "learned"}  # scripted policy -> the `risk_model` that its numbers were fitted to
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


# ---- how a policy can be given, wherever one is asked for
def is_file(policy: Any) -> bool:
    """Whether it is the path of a playbook file."""
    return isinstance(policy, (str, Path)) and str(policy).lower().endswith(SUFFIX)


def is_code(policy: Any) -> bool:
    """Whether only code has it: a builder, or the "package.module:name" of one. Files may name none."""
    if isinstance(policy, str):
        return ":" in policy and not is_file(policy)
    return not isinstance(policy, (Mapping, Path, PlaybookFile))


def is_policy(policy: Any) -> bool:
    """Whether it acts already, and nothing has to be built."""
    return callable(policy) and hasattr(policy, "reset") and not isinstance(policy, type)


def playbook_of(policy: Any) -> PlaybookFile | None:
    """The playbook of a path, or of what `kept` made data of; None for every other policy.

    Raises:
        ConfigError: The file cannot be read, or is no playbook; one line with file and line.
    """
    if isinstance(policy, PlaybookFile):
        return policy
    if isinstance(policy, Mapping):
        return PlaybookFile.of_plain(policy)
    return PlaybookFile.of_path(policy) if is_file(policy) else None


def kept(policy: Any, kind: str = "policy") -> Any:
    """The policy as settings, run folders and checkpoints keep it: a playbook file as data with its text, so that the
    file may change or go; all else as it is.

    Raises:
        ConfigError: As `playbook_of`, after `kind`.
    """
    try:
        playbook = playbook_of(policy)
    except ConfigError as error:
        raise ConfigError(f"{kind}: {error}") from None
    return policy if playbook is None else playbook.to_plain()


def label(policy: Any) -> str:
    """What a policy is called in tables."""
    if isinstance(policy, PlaybookFile) or is_file(policy):
        return policy.name if isinstance(policy, PlaybookFile) else Path(policy).name
    if isinstance(policy, Mapping):
        return shown(policy.get("file"))[1:-1]
    return shown(import_path(policy)) if callable(policy) and not is_policy(policy) else _name_of(policy)


def identity(policy: Any) -> str:
    """What tells it from others: a name, or a playbook's with its digest."""
    return f"{label(policy)} {policy['sha256']}" if isinstance(policy, Mapping) else import_path(policy)


def _name_of(policy: Any) -> str:
    return policy if isinstance(policy, str) else type(policy).__name__


def own_overrides(policy: Any) -> dict[str, Any]:
    """Fields of the scenario that a policy is played with, unless somebody says otherwise: the risk model that it was
    fitted to or trained with."""
    manifest = getattr(policy, "manifest", None) or {}
    named = RISK_MODELS.get(policy) if isinstance(policy, str) else manifest.get("overrides", {}).get("risk_model")
    return {"risk_model": named} if named else {}


def builder_of(policy: Any, env: Any, kind: str = "policy") -> Builder:
    """The builder of a policy, in whatever form it is given; every command and setting that takes one asks here.

    | given | what it stands for |
    |---|---|
    | `"expert"` | the scripted policy of that name of the environment's family |
    | `"rules/mine.toml"` | the playbook in that file |
    | `{"file": ..., "text": ..., ...}` | the playbook that `kept` made data of |
    | `"package.module:name"` | what can be imported by that name |
    | a function or class | itself: `(action_spaces, seed) -> policy` |

    Args:
        policy: One of these.
        env: What the configuration says: for a scenario's name its family's names count, else "random" alone.
        kind: What to call it in a message, such as "policy of soc-v1".

    Raises:
        ConfigError: There is no such policy, file or name; one line that says what is allowed.
    """
    if isinstance(policy, str) and is_code(policy):
        policy = imported(policy)
    if playbook := playbook_of(policy):
        _check_family(playbook, env, kind)
        return playbook
    if not isinstance(policy, str):
        if not callable(policy):
            raise ConfigError(f"{kind}={shown(policy)} must be the name of one, a playbook file, or a builder")
        return policy
    known = scripted(env) if isinstance(env, str) and env in SCENARIOS else {"random": RandomPolicy}
    if policy in RENAMED:
        raise ConfigError(f"{kind} {policy!r} does not exist any more; it is called {RENAMED[policy]!r}")
    if policy not in known:
        raise ConfigError(unknown_name(kind, policy, known))
    return known[policy]


def _check_family(policy: Any, env: Any, kind: str) -> None:
    """ConfigError if the environment is a scenario of a family that playbook files do not play."""
    if isinstance(env, str) and env in SCENARIOS and family_of(env).name != "soc":
        allowed = ", ".join(name for name in SCENARIOS if family_of(name).name == "soc")
        raise ConfigError(
            f"{kind} {label(policy)!r} is a playbook file, which reads what {env} does not show; allowed: {allowed}"
        )


def make_policy(policy: Any, env: Any, action_spaces: Spaces, seed: int = 0, kind: str = "policy") -> Policy:
    """The policy for these spaces.

    Args:
        policy, env, kind: As `builder_of` takes them.
        action_spaces: Agent -> space, of all agents.
        seed: Of its draws.

    Raises:
        ConfigError: As `builder_of`; a policy of ours that does not fit the spaces; a builder that returns no policy.
    """
    builder = builder_of(policy, env, kind)
    try:
        made = builder(action_spaces, seed)
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        if isinstance(error, HMARLSOCError) or is_code(policy):
            raise
        name = label(policy)
        raise ConfigError(f"policy {name!r} does not fit the agents and their spaces ({shown(error)})") from None
    if not is_policy(made):
        raise ConfigError(
            f"{kind} {label(policy)!r} returns {shown(made)} for (action_spaces, seed), which is no policy; allowed: "
            "something with reset(seed) that is called with (observations, decides)"
        )
    return made
