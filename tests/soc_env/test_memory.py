"""What could never fit into memory is refused before it is allocated, in a line that says how much it takes."""

import pytest

import soc_env
from soc_env import memory
from soc_env.errors import ConfigError, ScenarioError


def test_this_machine_has_memory() -> None:
    assert 2**28 < memory.total_memory() < 2**50


def test_what_fits_is_allowed_and_what_does_not_says_how_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: 2.0**30)
    memory.check_memory("rows=5", 2.0**30)
    with pytest.raises(ConfigError, match=r"^rows=5 would take 2\.0 GiB of memory; this machine has 1\.0 GiB$"):
        memory.check_memory("rows=5", 2.0**31)


def test_a_container_has_less_than_its_machine(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    for text, expected in (("1048576\n", 2.0**20), ("max\n", None), ("0", None)):
        (tmp_path / "limit").write_text(text)
        monkeypatch.setattr(memory, "CONTAINER_LIMITS", (str(tmp_path / "limit"), str(tmp_path / "nothing")))
        memory.total_memory.cache_clear()
        found = memory.total_memory()
        assert found == expected if expected else found > 2**28
    monkeypatch.undo()
    memory.total_memory.cache_clear()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("soc-v1", {"num_envs": 10**9}, r"num_envs=1000000000 would take [\d,.]+ GiB"),
        ("paper-v0", {"num_envs": 10**9}, r"num_envs=1000000000 would take [\d,.]+ GiB"),
        ("soc-v1", {"num_envs": 10**400}, r"num_envs=1000+\.\.\. would take more than 1,125,899,906,842,624 GiB"),
        ("soc-v1", {"num_envs": 10**5000}, r"num_envs=.* would take more than [\d,]+ GiB"),
        ("soc-v1", {"log_capacity": 10**12}, "num_envs=1, log_capacity=1000000000000 would take"),
        ("paper-v0", {"num_hosts": 1_000_000, "num_envs": 10**6}, "would take"),
        ("soc-v1", {"num_hosts": 10**9}, "num_hosts=1000000000 must be an integer from 20 to 100000"),
        ("paper-v0", {"num_hosts": 10**9}, "num_hosts=1000000000 must be an integer from 1 to 1000000"),
        ("soc-v1", {"max_steps": 10**12}, "max_steps=1000000000000 must be an integer"),
        ("soc-v1", {"num_threads": 10**9}, "num_threads=1000000000 must be .* at most 1024"),
        ("soc-v1", {"num_networks": 10**9}, "num_networks=1000000000 must be"),
    ],
)
def test_sizes_beyond_all_bounds_are_refused_at_once(name: str, options: dict, message: str) -> None:
    with pytest.raises((ConfigError, ScenarioError), match=message):
        soc_env.Simulator(name, **options)


def test_networks_beyond_memory_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "total_memory", lambda: 2.0**30)
    with pytest.raises(ConfigError, match="num_networks=1000 of num_hosts=100000 would take"):
        soc_env.Simulator("soc-v1", num_networks=1000, num_hosts=100_000)


@pytest.mark.parametrize("name", ["soc-v1", "paper-v0"])
def test_a_hundred_thousand_hosts_work(name: str) -> None:
    simulator = soc_env.Simulator(
        name, num_hosts=100_000, num_envs=2, seed=0, **({"num_networks": 1} if "soc" in name else {})
    )
    simulator.reset()
    simulator.step()
