"""paper-v0: a security operations centre against one intruder."""

from .errors import ActionError, CheckpointError, ConfigError, HMARLSOCError, ScenarioError
from .scenario import SCENARIOS, Scenario, make_scenario
from .simulator import Simulator
from .tables import ACTIONS, AGENTS, FEATURES, METRICS, REWARD_TERMS, STATE, features

__all__ = [
    "ACTIONS", "AGENTS", "FEATURES", "METRICS", "REWARD_TERMS", "SCENARIOS", "STATE", "ActionError", "CheckpointError",
    "ConfigError", "HMARLSOCError", "Scenario", "ScenarioError", "Simulator", "features", "make_scenario",
]  # fmt: skip
