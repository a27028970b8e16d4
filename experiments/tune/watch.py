"""How Tune tells a search what happens to its trials, and hears when to stop."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from ray.tune import Callback, Stopper

from experiments.tune.trial import SETTINGS, SLOT

LOST = "its process ended, and did so again when it was started anew"


class Listener(Protocol):
    """Who hears it, with a trial by its number: `experiments.tune.search.Search`."""

    is_stopped: bool

    def started(self, number: int, values: dict[str, Any]) -> None: ...

    def told(self, number: int, values: dict[str, Any], result: dict[str, Any]) -> None: ...

    def ended(self, number: int, error: str | None = None) -> None: ...


class Watch(Callback):
    """Passes on what Tune says. A trial is known by its name: its configuration may be a copy of another one's."""

    def __init__(self, search: Listener):
        self.search = search
        self.num_running = 0

    def __getstate__(self) -> dict[str, Any]:
        return {}  # Tune writes it down, and nobody reads it

    def on_step_begin(self, iteration: int, trials: list[Any], **info: Any) -> None:
        self.num_running = sum(trial.status == "RUNNING" for trial in trials)

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.search.started(int(str(trial)), trial.config[SLOT][SETTINGS])

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: Any, **info: Any) -> None:
        self.search.told(int(str(trial)), trial.config[SLOT][SETTINGS], result)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        self.search.ended(int(str(trial)))

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        file = trial.error_file
        lines = Path(file).read_text(encoding="utf-8").split("\n") if file and Path(file).exists() else []
        said = [line.strip() for line in lines if line.strip()]
        self.search.ended(int(str(trial)), f"{LOST}: {said[-1][:200]}" if said else LOST)


class Stop(Stopper):
    """Ends the whole search when the user has said so and no trial runs any more."""

    def __init__(self, watch: Watch):
        self._watch = watch

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._watch.search.is_stopped and not self._watch.num_running
