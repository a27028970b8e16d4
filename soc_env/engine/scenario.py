"""What every scenario is: a frozen dataclass whose fields know their unit, range and source.

A name that does not exist, a wrong type or a value out of range raises `ScenarioError` and says what is allowed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from soc_env.errors import ScenarioError, unknown_name
from soc_env.settings import check_fields, to_plain

MAX_HOSTS = 1_000_000
MAX_STEPS = 1_000_000  # an episode's step is 20 bits of a draw's counter, see engine/draws.py


@dataclass(frozen=True)
class Scenario:
    """One task. `Scenario.__dataclass_fields__[name].metadata` holds unit, range and source of each field.

    Attributes:
        name: Versioned name, a key of `SCENARIOS`.
        num_hosts: Hosts of the network.
        max_steps: Steps after which an episode is truncated.
        coordinator_period: Steps between two decisions of the coordinator.
        weight_detection, weight_response, weight_cost, weight_false_positive: Weights of the reward terms.
    """

    name: str
    num_hosts: int
    max_steps: int
    coordinator_period: int
    weight_detection: float
    weight_response: float
    weight_cost: float
    weight_false_positive: float

    def __post_init__(self) -> None:
        check_fields(self, ScenarioError)

    @property
    def weights(self) -> tuple[float, float, float, float]:
        """Weights of the reward terms, in the order of `tables.REWARD_TERMS`."""
        return (self.weight_detection, self.weight_response, self.weight_cost, self.weight_false_positive)

    def replace(self, **overrides: Any) -> Scenario:
        """A copy with some fields changed; raises ScenarioError as `make_scenario` does."""
        allowed = [spec.name for spec in dataclasses.fields(self) if spec.name != "name"]
        for key in overrides:
            if key not in allowed:
                raise ScenarioError(unknown_name(f"override of scenario {self.name!r}", key, allowed))
        return dataclasses.replace(self, **overrides)

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON data; `type(scenario)(**data)` is the scenario again."""
        return to_plain(self)

    def hash(self) -> str:
        """Short hex digest of all fields: equal digests mean the same task."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:12]
