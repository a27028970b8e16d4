"""What a training process imports before its first iteration is over, and what it leaves as it was."""

import json
import subprocess
import sys

import pytest
import torch

from policies.hmarl.torch_start import lean_torch

PROGRAM = """
import json, sys
import torch
import experiments.run
from policies import HMARLConfig
small = {"train_batch_size": 16, "learning_starts": 32, "updates_per_iteration": 1, "replay_batch_size": 8}
config = HMARLConfig().environment("paper-v0").env_runners(num_envs_per_env_runner=8).debugging(seed=0)
algo = config.training(**small, replay_capacity=64).build_algo()
algo.train()
slow = ("torch._dynamo", "torch._inductor", "scipy.stats", "matplotlib", "onnx")
found = {"slow": [name for name in slow if name in sys.modules]}
found["is_deterministic"] = torch.are_deterministic_algorithms_enabled()
algo.train()
found["learned"] = sorted(algo.train()["learners"])
print(json.dumps(found))
"""


def test_nothing_slow_is_imported_before_something_is_learned() -> None:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", PROGRAM], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["slow"] == []
    assert found["is_deterministic"]
    assert {"alert_triage", "threat_hunter", "response_orchestrator"} < set(found["learned"])


def test_torch_is_as_it_was_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "torch._dynamo", raising=False)
    before = torch.use_deterministic_algorithms
    was = torch.are_deterministic_algorithms_enabled()
    try:
        with lean_torch():
            assert torch.use_deterministic_algorithms is not before
            torch.use_deterministic_algorithms(True)
            assert torch.are_deterministic_algorithms_enabled()
            torch.use_deterministic_algorithms(False)
            assert not torch.are_deterministic_algorithms_enabled()
    finally:
        torch.use_deterministic_algorithms(was)
    assert torch.use_deterministic_algorithms is before


def test_a_compiler_that_is_there_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch._dynamo", torch)
    before = torch.use_deterministic_algorithms
    with lean_torch():
        assert torch.use_deterministic_algorithms is before
