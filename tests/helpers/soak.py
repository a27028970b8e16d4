"""Plays or trains for long and says whether memory and handles stay flat; run by hand, never by the tests.

python tests/helpers/soak.py play --scenario soc-v1 --steps 10000000 --csv play.csv
python tests/helpers/soak.py play --scenario soc-v1 --steps 1000000 --api pettingzoo --csv play.csv
python tests/helpers/soak.py train --scenario soc-v1 --minutes 60 --out runs/soak --csv train.csv
python tests/helpers/soak.py judge train.csv --after 300000
python tests/helpers/soak.py plot play.csv train.csv --plot soak.png

`play` steps an environment with random actions in this process, `train` is `hmarl-soc train --no-evaluation` in this
process, with its checkpoints. A thread looks at the process every few seconds and writes a row to the CSV file:

    seconds          since the start
    steps            environment steps so far; of `train` those of its progress.csv
    rss              memory of this process that is in RAM [bytes]
    handles          open files, sockets and pipes
    threads          threads
    objects          blocks of memory that Python objects take
    children         processes that this one started, and theirs
    children_rss     their memory [bytes]

At the end the growth over the second half is printed: the slope over ten blocks' means times the duration, with a
95 % interval. `judge` does so again, and may leave out what comes before a number of steps: a replay takes memory until
it is full. A quantity is flat if that interval begins at or below zero, or if the growth is below its `TOLERANCE`.
Exit status 1 if one is not flat, or the work's own if that failed.
"""

import argparse
import csv
import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
from scipy import stats

COLUMNS = ("seconds", "steps", "rss", "handles", "threads", "objects", "children", "children_rss")
# Growth over the second half that is not worth a word: a share of the mean, and an amount.
TOLERANCE = {
    "rss": (0.01, 4 * 2**20),  # [bytes]
    "handles": (0.0, 0.5),
    "threads": (0.0, 0.5),
    "objects": (0.01, 200.0),
    "children": (0.0, 0.5),
    "children_rss": (0.01, 4 * 2**20),  # [bytes]
}
SHOWN = {"rss": ("memory [MiB]", 2**20), "handles": ("open files", 1), "objects": ("objects [1000]", 1000)}  # by plot
NUM_BLOCKS = 10  # of the second half; means over blocks depend less on each other than samples do


class Sampler:
    """Writes a row every `interval` seconds until it is stopped; usable as a context manager.

    Args:
        path: the CSV file.
        interval: [s]
        steps: the environment steps so far.
    """

    def __init__(self, path: Path, interval: float, steps: Callable[[], int]):
        self._path, self._interval, self._steps = path, interval, steps
        self._stopped, self._begin, self._me = threading.Event(), time.monotonic(), psutil.Process()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Sampler":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        self._thread.join()

    def _run(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            while not self._stopped.wait(self._interval):
                writer.writerow(self._row())  # not kept here: what watches may not grow
                file.flush()

    def _row(self) -> dict[str, float]:
        sizes = [size for child in self._me.children(recursive=True) if (size := _rss(child)) is not None]
        return {
            "seconds": round(time.monotonic() - self._begin, 2),
            "steps": self._steps(),
            "rss": self._me.memory_info().rss,
            "handles": self._me.num_fds(),
            "threads": self._me.num_threads(),
            # gc.get_objects() shows tuples that another thread is still making, which then fails (SystemError).
            "objects": sys.getallocatedblocks(),
            "children": len(sizes),
            "children_rss": sum(sizes),
        }


def _rss(process: psutil.Process) -> int | None:
    """None for a process that has ended meanwhile."""
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return None


def growth(seconds: Sequence[float], values: Sequence[float]) -> tuple[float, float, float]:
    """(growth over the whole time, lower and upper end of its 95 % interval) of a straight line through block means."""
    blocks = np.array_split(np.arange(len(values)), NUM_BLOCKS)
    x = np.array([np.mean(np.asarray(seconds)[block]) for block in blocks])
    y = np.array([np.mean(np.asarray(values)[block]) for block in blocks])
    if np.ptp(y) == 0:
        return 0.0, 0.0, 0.0
    line, duration = stats.linregress(x, y), seconds[-1] - seconds[0]
    half_width = stats.t.ppf(0.975, NUM_BLOCKS - 2) * line.stderr
    low, high = line.slope - half_width, line.slope + half_width
    return float(line.slope * duration), float(low * duration), float(high * duration)


def judge(rows: Sequence[dict[str, float]]) -> bool:
    """Prints how each quantity grew over the second half of the rows with work in them; whether all are flat."""
    rows = [row for row in rows if 0 < row["steps"] < rows[-1]["steps"]]  # neither start nor shutdown
    half = rows[len(rows) // 2 :]
    if len(half) < 2 * NUM_BLOCKS:
        print(f"{len(rows)} rows are too few to judge; at least {4 * NUM_BLOCKS}")
        return False
    seconds, are_flat = [row["seconds"] for row in half], True
    steps = half[-1]["steps"] - half[0]["steps"]
    print(f"second half: {len(half)} rows, {seconds[-1] - seconds[0]:,.0f} s, {steps:,.0f} steps")
    for name, (share, amount) in TOLERANCE.items():
        values = [row[name] for row in half]
        value, low, high = growth(seconds, values)
        is_flat = low <= 0 or value <= max(share * float(np.mean(values)), amount)
        are_flat &= is_flat
        unit, scale = (" MiB", 2**20) if name.endswith("rss") else ("", 1)
        mean, *ends = (f"{number / scale:,.2f}" for number in (float(np.mean(values)), value, low, high))
        verdict = "flat" if is_flat else "GROWS"
        print("  {:<13} mean {}{unit}, growth {} [{}, {}]{unit}: {}".format(name, mean, *ends, verdict, unit=unit))
    return are_flat


def rows_of(path: Path) -> list[dict[str, float]]:
    """The rows that a `Sampler` wrote."""
    with path.open(newline="") as file:
        return [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]


def plot(options: argparse.Namespace) -> int:
    """A row of panels for each CSV file: memory, handles, objects over time."""
    from experiments.plots import STRONG, panels, write_picture

    figure, axes = panels(len(options.files), len(SHOWN), width=4.0 * len(SHOWN), height=2.4 * len(options.files))
    for row, path in zip(axes, options.files, strict=True):
        rows = rows_of(path)
        minutes = [one["seconds"] / 60 for one in rows]
        for panel, (name, (label, scale)) in zip(row, SHOWN.items(), strict=True):
            panel.plot(minutes, [one[name] / scale for one in rows], color=STRONG, linewidth=1.4)
            panel.set_title(
                f"{path.stem}, {rows[-1]['steps']:,.0f} steps" if name == "rss" else "", fontsize=9, loc="left"
            )
            panel.set_xlabel("minutes", fontsize=8)
            panel.set_ylabel(label, fontsize=8)
            panel.set_ylim(0, 1.1 * max(one[name] for one in rows) / scale)
    print(f"wrote {write_picture(options.plot, figure)}")
    return 0


class Player:
    """Random actions in one environment or a batch, for a number of environment steps."""

    def __init__(self, scenario: str, num_envs: int, api: str):
        import soc_env

        self.steps, self._rng = 0, np.random.default_rng(0)
        if api == "pettingzoo":
            self._env = soc_env.parallel_env(scenario)
            self._env.reset(seed=0)
            self._play: Callable[[], int] = self._play_one
        else:
            self._simulator = soc_env.Simulator(scenario, num_envs=num_envs, seed=0)
            self._simulator.reset()
            self._play = self._play_batch

    def play(self, steps: int) -> None:
        while self.steps < steps:
            self.steps += self._play()

    def _play_batch(self) -> int:
        for agent, buffer in self._simulator.actions.items():
            space = self._simulator.action_spaces[agent]
            if buffer.ndim == 1:
                buffer[:] = self._rng.integers(0, space.n, buffer.shape)
            else:
                buffer[:] = self._rng.uniform(-1.0, 1.0, buffer.shape)
        self._simulator.step()
        return self._simulator.num_envs

    def _play_one(self) -> int:
        self._env.step({agent: self._env.action_space(agent).sample() for agent in self._env.agents})
        if not self._env.agents:
            self._env.reset()
        return 1


def steps_of(progress: Path) -> int:
    """The steps in the last row of a run's progress.csv; 0 before there is one."""
    try:
        with progress.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return int(rows[-1]["steps"])
    except (OSError, IndexError, KeyError, ValueError, TypeError):
        return 0


def train(options: argparse.Namespace) -> int:
    """`hmarl-soc train` in this process; its exit status."""
    from experiments.cli import main

    arguments = ["train", "--scenario", options.scenario, "--minutes", str(options.minutes), "--out", str(options.out)]
    return main([*arguments, "--seed", "0", "--workers", str(options.workers), "--no-evaluation"])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    playing, training = commands.add_parser("play"), commands.add_parser("train")
    for command in (playing, training):
        command.add_argument("--scenario", default="soc-v1")
        command.add_argument("--csv", type=Path, required=True)
        command.add_argument("--nice", type=int, default=10, help="niceness added to this process (10)")
    playing.add_argument("--steps", type=int, default=10_000_000)
    playing.add_argument("--num-envs", type=int, default=256)
    playing.add_argument("--api", choices=("batched", "pettingzoo"), default="batched")
    playing.add_argument("--interval", type=float, default=0.25, help="seconds between two rows (0.25)")
    training.add_argument("--minutes", type=float, default=60.0)
    training.add_argument("--workers", type=int, default=0)
    training.add_argument("--out", type=Path, required=True)
    training.add_argument("--interval", type=float, default=5.0, help="seconds between two rows (5)")
    judging, plotting = commands.add_parser("judge"), commands.add_parser("plot")
    judging.add_argument("file", type=Path)
    judging.add_argument("--after", type=int, default=0, metavar="STEPS", help="judge what comes after so many steps")
    plotting.add_argument("files", nargs="+", type=Path)
    plotting.add_argument("--plot", type=Path, required=True)
    return parser.parse_args()


def soak(options: argparse.Namespace) -> int:
    """Plays or trains while a `Sampler` looks on; the exit status."""
    os.nice(options.nice)
    if options.command == "play":
        player = Player(options.scenario, options.num_envs, options.api)
        with Sampler(options.csv, options.interval, lambda: player.steps):
            player.play(options.steps)
        status = 0
    else:
        progress = options.out / "progress.csv"
        with Sampler(options.csv, options.interval, lambda: steps_of(progress)):
            status = train(options)
    is_flat = judge(rows_of(options.csv))
    return status or (0 if is_flat else 1)


if __name__ == "__main__":
    given = arguments()
    if given.command == "judge":
        sys.exit(0 if judge([row for row in rows_of(given.file) if row["steps"] >= given.after]) else 1)
    sys.exit(plot(given) if given.command == "plot" else soak(given))
