"""Top-level keys of `HMARL.train()`'s result that are always there and always numbers.

RLlib puts the return of training episodes under "env_runners", leaves it out until the first episode ends, and says NaN
for an iteration in which none does. Tune fails the whole fit over a missing metric, and keeps the wrong checkpoints
when it scores by a nested one. These keys can be a scheduler's metric, a checkpoint's score and a condition to stop:

    episode_return_mean              mean return of training episodes, in every environment
    score, loss, mttd, csr, ...      the scenario's metrics with a better end, for our own scenarios

An iteration in which no episode ends repeats the newest value. Before the first episode has ended the value is the
worst that there is: -inf where more is better, +inf where less is. It is never NaN.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, EPISODE_RETURN_MEAN

from soc_env.registry import SCENARIOS, family_of

WORST = {"higher": -math.inf, "lower": math.inf}  # by what is better


class Headlines:
    """The newest value of every headline.

    Attributes:
        latest: Key of the result -> newest value.
    """

    def __init__(self, env: Any):
        self._worst = {EPISODE_RETURN_MEAN: WORST["higher"]}
        if isinstance(env, str) and env in SCENARIOS:
            columns = family_of(env).columns.values()
            self._worst |= {c.name: WORST[c.better] for c in columns if c.better and c.name != "reward"}
        self.latest = dict(self._worst)

    def get_state(self) -> dict[str, float]:
        """What has been measured."""
        return {name: value for name, value in self.latest.items() if math.isfinite(value)}

    def set_state(self, state: Mapping[str, float]) -> None:
        self.latest = self._worst | {name: value for name, value in state.items() if name in self._worst}

    def added(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """RLlib's result of an iteration, and the headlines with what it says of training episodes."""
        runners = result.get(ENV_RUNNER_RESULTS, {})
        found = {EPISODE_RETURN_MEAN: runners.get(EPISODE_RETURN_MEAN), **runners.get("episode_metrics", {})}
        for name, value in found.items():
            if name in self.latest and value is not None and not math.isnan(value):
                self.latest[name] = float(value)
        return {**result, **self.latest}
