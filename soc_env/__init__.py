"""paper-v0: a security operations centre against one intruder."""

from .errors import ActionError, CheckpointError, ConfigError, HMARLSOCError, ScenarioError
from .parallel import SOCEnv, env, parallel_env
from .scenario import SCENARIOS, Scenario, make_scenario
from .simulator import Simulator
from .tables import ACTIONS, AGENTS, FEATURES, METRICS, REWARD_TERMS, STATE, features

__all__ = [
    "ACTIONS", "AGENTS", "FEATURES", "METRICS", "REWARD_TERMS", "SCENARIOS", "STATE", "ActionError", "CheckpointError",
    "ConfigError", "HMARLSOCError", "SOCEnv", "Scenario", "ScenarioError", "Simulator", "env", "features",
    "make_scenario", "parallel_env",
]  # fmt: skip
