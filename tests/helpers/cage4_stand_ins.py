"""What stands in for CybORG in tests of the transfer experiment."""

from typing import Any

from cage4_trace import Replay, load

from experiments.transfer.play import Played, Task


class Pretence:
    """Stands in for CybORG: a score, and a rest, that depend on the name and the seed alone."""

    def __init__(self) -> None:
        self.played: list[tuple[str, int]] = []
        self.stop_after = 1_000_000

    def play(self, task: Task) -> Played:
        if len(self.played) == self.stop_after:
            raise KeyboardInterrupt
        self.played.append((task.name, task.seed))
        score, rest = -100.0 * len(task.name) - task.seed % 7, -10.0 * len(task.name) - task.seed % 3
        unguarded = {"contractor": [score - rest, 0.0, 0.0]}
        return Played(score, rest, {"action cost": {"office": [0.0, rest, 0.0]}, "RIA failed": unguarded})


class Recorded(Replay):
    """The recorded episode as the environment of a batch; red holds one host of every zone that agent 4 guards."""

    steps = 60

    def __init__(self, level: str) -> None:
        super().__init__(load())
        self.observation = level

    def reset(self, seed: int | None = None) -> Any:
        return super().reset()

    def red_hosts(self) -> set[str]:
        return {slots[0] for slots in self.hosts(self.possible_agents[4]).values()}

    def close(self) -> None:
        pass
