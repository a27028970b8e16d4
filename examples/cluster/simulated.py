"""A Ray cluster of three nodes on this machine, and what is said about clusters tried on it.

    python examples/cluster/simulated.py [where] [job] [runner] [learner]    # needs ray[default] for the job

A head and two nodes, a and b, each with a raylet of its own and one CPU, behind token authentication. Learners of two
tiers land on different nodes (where). A training is submitted (job). A node with a remote env runner is lost (runner),
and one with a learner (learner).
Ports, files and the token are private to this script; the cluster ends with it.
"""

import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

HERE = Path(__file__).resolve().parent
SHOP = Path(tempfile.mkdtemp(prefix="hs-", dir="/tmp"))  # short: names of sockets may have 107 characters
os.environ |= {"RAY_TMPDIR": str(SHOP), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(SHOP / "token")}
os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
(SHOP / "token").write_text(secrets.token_hex(32))

import ray  # noqa: E402  (it reads the variables)
from ray.cluster_utils import Cluster  # noqa: E402

from policies import HMARLConfig  # noqa: E402
from policies.hmarl import ray_start  # noqa: E402

TRAIN = (sys.executable, "-m", "experiments.cli", "train", "--no-evaluation", "--num-envs", "16")
SMALL = {"train_batch_size": 512, "learning_starts": 512, "replay_capacity": 20_000, "updates_per_iteration": 2}


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def last_lines(text: str, number: int = 4) -> str:
    lines = [line for line in text.replace(str(SHOP), "SHARED").splitlines() if line.strip()]
    return "\n".join(f"    {line[:400]}" for line in lines[-number:])


class Three:
    """The cluster: its head, and nodes by name with a resource of that name."""

    def __init__(self) -> None:
        ports = {"dashboard_port": free_port(), "dashboard_agent_listen_port": free_port()}
        head = {"num_cpus": 1, "include_dashboard": True, "resources": {"on_head": 1}, **ports}
        self.cluster = Cluster(initialize_head=True, head_node_args=head)
        self.nodes: dict[str, object] = {}

    def add(self, name: str) -> None:
        # a folder of its own: a node unpacks a job's working directory over what is there
        place = str(SHOP / name)
        self.nodes[name] = self.cluster.add_node(num_cpus=1, resources={f"on_{name}": 1}, temp_dir=place)

    def lose(self, name: str) -> None:
        self.cluster.remove_node(self.nodes.pop(name), allow_graceful=False)  # SIGKILL

    def name_of(self, node_id: str) -> str:
        names = {node.node_id: name for name, node in self.nodes.items()}
        return names.get(node_id, "head")


def where_learners_are(three: Three) -> None:
    """Two tiers' learners and a remote env runner, trained from here."""
    ray_start.quiet()
    ray.init(address=three.cluster.address, log_to_driver=False, logging_level="ERROR")
    tiers = tomllib.loads((HERE / "tiers.toml").read_text())["tiers"]
    config = HMARLConfig().environment("soc-v1").training(**SMALL, tiers=tiers).debugging(seed=0, log_level="ERROR")
    algo = config.env_runners(num_env_runners=1, num_envs_per_env_runner=16).build_algo()
    here = three.name_of(ray.get_runtime_context().get_node_id())
    say(f"driver and the learners of the other tiers: {here}")
    for tier in tiers:
        [found] = algo.learner_group[tier].foreach_learner(lambda _: ray.get_runtime_context().get_node_id())
        say(f"learner of {tier}: {three.name_of(found.get())}")
    [runner] = algo.env_runner_group.foreach_env_runner(
        lambda _: ray.get_runtime_context().get_node_id(), local_env_runner=False
    )
    say(f"env runner: {three.name_of(runner)}")
    for _ in range(3):
        result = algo.train()
    say(
        f"trained {result['num_env_steps_sampled_lifetime']:,} steps; learners: {', '.join(sorted(result['learners']))}"
    )
    algo.stop()
    ray.shutdown()


def submit_a_job(three: Three) -> None:
    """A training with learners on both nodes, by `ray job submit`."""
    out = SHOP / "runs" / "job"
    command = (
        Path(sys.executable).with_name("ray"), "job", "submit", "--address", f"http://{three.cluster.webui_url}",
        "--runtime-env", HERE / "job.yaml", "--working-dir", HERE.parent.parent, "--",
        *TRAIN, "--config", "examples/cluster/tiers.toml", "--steps", "4000", "--out", out, "--ray-address", "auto",
    )  # fmt: skip
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=400)
    say(f"ray job submit ended with {done.returncode}; checkpoint there: {(out / 'checkpoints' / 'last').is_dir()}")
    print(last_lines(done.stderr + done.stdout, 8))


def train_and_lose(three: Three, name: str, lost: str, *words: str) -> None:
    """Trains by the command; when it has trained for a while, node `lost` is killed."""
    out = SHOP / "runs" / name
    command = [*TRAIN, "--steps", "40000", "--out", str(out), "--ray-address", three.cluster.address, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        while process.poll() is None and num_rows(out) < 8:
            time.sleep(0.5)
        before = num_rows(out)
        three.lose(lost)
        say(f"{name}: node {lost} was killed after {before} iterations")
        text, _ = process.communicate(timeout=500)
    say(f"{name}: the command ended with {process.returncode} after {num_rows(out)} iterations")
    print(last_lines(text))


def num_rows(out: Path) -> int:
    file = out / "progress.csv"
    return len(file.read_text().splitlines()) - 1 if file.exists() else 0


def lose_a_runner(three: Three) -> None:
    train_and_lose(three, "runner", "b", "--workers", "3")  # one on each node
    three.add("b")


def lose_a_learner(three: Three) -> None:
    train_and_lose(three, "learner", "b", "--config", str(HERE / "tiers.toml"))
    three.add("b")
    command = [*TRAIN[:4], "--resume", "--no-evaluation", "--out", str(SHOP / "runs" / "learner")]
    command += ["--ray-address", three.cluster.address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    say(f"learner: resumed with a new node b, ended with {done.returncode}")
    print(last_lines(done.stdout + done.stderr))


PARTS = {"where": where_learners_are, "job": submit_a_job, "runner": lose_a_runner, "learner": lose_a_learner}


def main(names: list[str]) -> None:
    three = Three()
    try:
        for name in ("a", "b"):
            three.add(name)
        say(f"three nodes are up: Ray {ray.__version__}, Python {sys.version.split()[0]}")
        for name in names or PARTS:
            PARTS[name](three)
    finally:
        three.cluster.shutdown()
        say("the cluster is down")


if __name__ == "__main__":
    main(sys.argv[1:])
