"""A security operations centre (SOC) as an environment for four agents that work together.

>>> import soc_env
>>> env = soc_env.parallel_env("soc-v1")  # one episode at a time, PettingZoo
>>> observations, infos = env.reset(seed=0)
>>> sim = soc_env.Simulator("soc-v1", num_envs=4, seed=0)  # many episodes, arrays in, arrays out
>>> sim.reset()["threat_hunter_0"].shape
(4, 194)

| page | about |
|---|---|
| `soc_env.parallel` | the PettingZoo environment: spaces, actions, options |
| `soc_env.soc` | the task `soc-v1`, the default |
| `soc_env.paper` | the published task `paper-v0` |
| `soc_env.engine.simulator` | the batched simulator |
| `soc_env.wrappers` | the environment in the shapes that other libraries want |
| `soc_env.registry` | scenarios by name, and what differs between their families |
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from soc_env.engine.scenario import Scenario
    from soc_env.engine.tables import AGENTS
    from soc_env.errors import ActionError, CheckpointError, ConfigError, HMARLSOCError, ScenarioError
    from soc_env.paper.scenario import PaperScenario
    from soc_env.parallel import SOCEnv, env, parallel_env
    from soc_env.registry import FAMILIES, SCENARIOS, Family, Simulator, family_of, features, make_scenario
    from soc_env.soc.console import Console
    from soc_env.soc.scenario import SOCScenario
    from soc_env.soc.trace import Trace, TraceError

# Imported when asked for: a trained policy reads tables and settings of this package, and needs no compiled simulator.
_WHERE = {
    "AGENTS": "soc_env.engine.tables",
    "ActionError": "soc_env.errors",
    "CheckpointError": "soc_env.errors",
    "ConfigError": "soc_env.errors",
    "Console": "soc_env.soc.console",
    "FAMILIES": "soc_env.registry",
    "Family": "soc_env.registry",
    "HMARLSOCError": "soc_env.errors",
    "PaperScenario": "soc_env.paper.scenario",
    "SCENARIOS": "soc_env.registry",
    "SOCEnv": "soc_env.parallel",
    "SOCScenario": "soc_env.soc.scenario",
    "Scenario": "soc_env.engine.scenario",
    "ScenarioError": "soc_env.errors",
    "Simulator": "soc_env.registry",
    "Trace": "soc_env.soc.trace",
    "TraceError": "soc_env.soc.trace",
    "env": "soc_env.parallel",
    "family_of": "soc_env.registry",
    "features": "soc_env.registry",
    "make_scenario": "soc_env.registry",
    "parallel_env": "soc_env.parallel",
}
_PACKAGES = ("engine", "paper", "parallel", "registry", "soc", "wrappers")
__all__ = [
    "AGENTS", "FAMILIES", "SCENARIOS", "ActionError", "CheckpointError", "ConfigError", "Console", "Family",
    "HMARLSOCError", "PaperScenario", "SOCEnv", "SOCScenario", "Scenario", "ScenarioError", "Simulator", "Trace",
    "TraceError", "env", "family_of", "features", "make_scenario", "parallel_env",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    import importlib

    if name in _PACKAGES:
        return importlib.import_module(f"soc_env.{name}")
    if name not in _WHERE:
        raise AttributeError(f"module 'soc_env' has no attribute {name!r}")
    found = globals()[name] = getattr(importlib.import_module(_WHERE[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_PACKAGES})
