"""Stand-ins for CybORG, and run folders of untrained teams."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cage4_stand_ins import Pretence, Recorded

from cyborg_bridge import soc_batch
from experiments.transfer import play
from experiments.transfer import train as training
from experiments.transfer.entries import control_entries
from experiments.transfer.play import transfer


@pytest.fixture
def pretence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Pretence:
    stand_in = Pretence()
    monkeypatch.setattr(play, "play", stand_in.play)
    monkeypatch.setattr(play, "find_cyborg", lambda path: tmp_path)
    monkeypatch.setattr(play, "checkout_version", lambda root: {"version": "4.0", "commit": "abc"})
    return stand_in


@pytest.fixture
def run(pretence: Pretence, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def call(*names: str, **settings: Any) -> dict[str, Any]:
        return transfer(control_entries(names), out=tmp_path / "out", **settings)

    return call


@pytest.fixture(scope="package")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Run folders with untrained networks: of soc-v1 and soc-v2 by zones, with an mlp among them, and of paper-v0."""
    pytest.importorskip("ray")
    from policies import HMARLConfig, save_checkpoint
    from soc_env.engine.tables import AGENTS

    root = tmp_path_factory.mktemp("runs")
    tiers = [agent.rsplit("_", 1)[0] for agent in AGENTS]
    networks = {
        "zones": ("soc-v1", dict.fromkeys(tiers, "zones")),
        "levels": ("soc-v2", dict.fromkeys(tiers, "zones")),
        "mixed": ("soc-v1", dict.fromkeys(tiers[:3], "zones") | {tiers[3]: "mlp"}),
        "paper": ("paper-v0", dict.fromkeys(tiers, "mlp")),
    }
    for name, (scenario, network) in networks.items():
        config = HMARLConfig().environment(scenario).env_runners(num_envs_per_env_runner=2).debugging(seed=0)
        config = config.tiers({tier: {"encoder": network[tier], "hiddens": [8, 8]} for tier in tiers})
        algo = config.build_algo()
        for place in ("start", "last"):
            save_checkpoint(algo, root / name / "checkpoints" / place, replay=False)
        algo.stop()
    return {name: root / name for name in networks}


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The record stands in for CybORG."""

    def make(path: Any, steps: int, seed: Any, patch: bool, level: str) -> Recorded:
        return Recorded(level)

    monkeypatch.setattr(soc_batch, "cage4_parallel_env", make)
    monkeypatch.setattr(play, "cage4_parallel_env", lambda *_, observation, **__: Recorded(observation))
    play.environment.cache_clear()
    for module in (play, training):
        monkeypatch.setattr(module, "find_cyborg", lambda path: tmp_path)
        monkeypatch.setattr(module, "checkout_version", lambda root: {"version": "4.0", "commit": "abc"})
