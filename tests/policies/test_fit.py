"""Settings that are each allowed, but not together, or not on this scenario or machine: refused before Ray starts."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("ray")
import ray
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

from policies import HMARLConfig
from policies.hmarl.settings import HMARLSettings
from policies.presets import PRESETS, preset_of
from soc_env import memory
from soc_env.errors import ConfigError, ScenarioError
from soc_env.settings import field_names

WIDE = {"hiddens": [65_536] * 4}
MASKED = {"alert_triage": {"action_masking": True}}


def config_of(scenario="soc-v1", env_config=None, tiers=None, **settings):
    config = HMARLConfig().environment(scenario, env_config=env_config or {}).training(**settings)
    return config.tiers(tiers or {})


@pytest.mark.parametrize("scenario", PRESETS)
def test_presets_fit(scenario):
    HMARLConfig().environment(scenario).training(**preset_of(scenario)).validate()
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"env_config": {"num_host": 50}}, "'num_host' does not exist; did you mean 'num_hosts'"),
        ({"env_config": {"num_hosts": float("nan")}}, "num_hosts=nan must be an integer"),
        ({"env_config": {"autoreset": False}}, "autoreset=False is not allowed"),
        ({"env_config": {"network": "no/such.graphml"}}, "no/such.graphml"),
        ({"env_config": {"num_zones": 16, "num_hosts": 20}}, "num_hosts is 20; allowed: a whole number, 32"),
        ({"train_batch_size": 63}, "train_batch_size=63 must be at least 64: one step of every environment"),
        ({"replay_batch_size": 65, "replay_capacity": 64}, "replay_batch_size=65 must be at most replay_capacity=64"),
        ({"tiers": {"threat_hunter": {"algorithm": "DQN"}}}, "tier 'threat_hunter': DQN needs a Discrete action space"),
        ({"tiers": {"alert_triage": {"algorithm": "MADDPG"}}}, "tier 'alert_triage': MADDPG needs a Box action space"),
        (
            {"tiers": {"alert_triage": {"algorithm": "SAC", "rest": {"weight": 1.0}}}},
            "rest.* has no effect on Discrete",
        ),
        (
            {"tiers": {"threat_hunter": {"rest": {"action": [0.1]}}}},
            r"tier 'threat_hunter': rest.action=\[0.1\] must be",
        ),
        (
            {"tiers": {"threat_hunter": {"reward_shaping": {"metrics": {"los": 1.0}}}}},
            "tier 'threat_hunter': reward_shaping.metrics: metric 'los' does not exist; did you mean 'loss'",
        ),
        ({"scenario": "paper-v0", "tiers": MASKED}, "tier 'alert_triage': action_masking reads .* soc-v1 family"),
        (
            {"tiers": {"alert_triage": {"algorithm": "scripted", "policy": "experts"}}},
            "tier 'alert_triage': policy 'experts' does not exist; did you mean 'expert'",
        ),
        ({"tiers": {"alert_triage": {"algorithm": "scripted", "policy": 5}}}, "policy=5 must be the name of one"),
        (
            {"tiers": {"alert_triage": {"agents": ["threat_hunter_0"]}}},
            "agent 'alert_triage_0' belongs to tier|differ in",
        ),
        (
            {"tiers": {"alert_triage": {"agents": ["nobody"]}}},
            "tier 'alert_triage': the environment has no agent 'nobody'",
        ),
        ({"tiers": {"alert_triage": {"agents": ["threat_hunter_0", "alert_triage_0"]}}}, "differ in their spaces"),
        ({"tiers": {"second": {"algorithm": "SAC"}}}, "tier 'second': the environment has no agents of it"),
        ({"scenario": "soc-v3"}, "'soc-v3' does not exist; did you mean 'soc-v2'"),
        ({"replay_priority": "paper", "env_config": {"num_hosts": 5}}, "num_hosts=5 must be"),
        ({"tiers": {"threat_hunter": WIDE}}, r"tier 'threat_hunter': hiddens=\[65536, .*\] would take [\d,.]+ GiB"),
        ({"replay_capacity": 10**12}, "replay_capacity=1000000000000 would take"),
        ({"train_batch_size": 10**12}, "train_batch_size=1000000000000 would take"),
        ({"updates_per_iteration": 10**9}, "updates_per_iteration=1000000000 of replay_batch_size=256 would take"),
        (
            {"tiers": {"strategic_coordinator": {"train_batch_size": 10**9}}},
            "tier 'strategic_coordinator': train_batch_s",
        ),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(config, message):
    with pytest.raises((ConfigError, ScenarioError), match=message) as refused:
        config_of(**config).validate()
    assert "\n" not in str(refused.value)
    assert not ray.is_initialized()


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        (None, "tiers=None must be settings by name of tier"),
        ([1], r"tiers=\[1\] must be"),
        ({"alert_triage": None}, "tier 'alert_triage'=None must be settings by name"),
        ({"alert_triage": [["lr", 1]]}, "tier 'alert_triage'=.* must be settings by name"),
        ({5: {}}, "tiers: 5 is no name of a tier"),
        ({"": {}}, "tiers: '' is no name of a tier"),
        ({"a/b": {"algorithm": "SAC"}}, "tiers: 'a/b' is no name of a tier"),
        ({"..": {"algorithm": "SAC"}}, r"tiers: '\.\.' is no name of a tier"),
        ({"a\nb": {"algorithm": "SAC"}}, r"tiers: 'a\\nb' is no name of a tier"),
    ],
)
def test_tiers_are_settings_by_name(tiers, message):
    with pytest.raises(ConfigError, match=message) as refused:
        HMARLConfig().tiers(tiers)
    assert "\n" not in str(refused.value)


def test_memory_of_waiting_steps_counts(monkeypatch):
    config = config_of(n_step=10_000, replay_capacity=1_000, replay_batch_size=8, train_batch_size=64)
    config.validate()
    monkeypatch.setattr(memory, "total_memory", lambda: 2.0**30)
    with pytest.raises(ConfigError, match="n_step=10000 of 64 environments would take"):
        config.validate()


def test_numbers_of_numpy_become_plain_ones():
    config = config_of(
        train_batch_size=np.int64(128), replay_alpha=np.float64(0.5), ema_tau=np.array([[0, 1], [10, 1]]),
        tiers={"threat_hunter": {"gamma": np.float32(0.5), "hiddens": np.array([8, 8]), "trainable": np.bool_(True)}},
    )  # fmt: skip
    config.env_runners(num_env_runners=np.int64(0), num_envs_per_env_runner=np.int32(4)).debugging(seed=np.int64(7))
    config.validate()
    found = [getattr(config, name) for name in ("num_env_runners", "num_envs_per_env_runner", "seed")]
    assert [type(value) for value in found] == [int] * 3
    assert found == [0, 4, 7]
    types = {name: type(getattr(config, name)) for name in field_names(HMARLSettings)}
    assert set(types.values()) <= {int, float, str, tuple, type(None)}  # no teacher
    assert config.ema_tau == ((0, 1.0), (10, 1.0))
    settings = config.tier_settings["threat_hunter"]
    assert [settings[name] for name in ("gamma", "hiddens", "trainable")] == [0.5, [8, 8], True]
    assert type(settings["gamma"]) is float


def test_what_is_plain_already_stays_the_same_object():
    config = config_of()
    config.validate()
    before = {name: getattr(config, name) for name in field_names(HMARLSettings)}
    config.validate()
    assert all(getattr(config, name) is value for name, value in before.items())


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1])
def test_seeds_are_taken(seed):
    config_of().debugging(seed=seed).validate()


@pytest.mark.parametrize("seed", [-1, 2**32, True, 0.5, float("nan"), "0"])
def test_what_is_no_seed_is_refused(seed):
    with pytest.raises(ConfigError, match="seed is .*, allowed: None, or an integer from 0 to"):
        config_of().debugging(seed=seed).validate()


def test_what_rllib_refuses_is_one_line_too(monkeypatch):
    def refuse(config):
        raise ValueError("a setting\n  must be another")

    monkeypatch.setattr(AlgorithmConfig, "validate", refuse)
    with pytest.raises(ConfigError, match="^[^\n]*a setting must be another[^\n]*$"):
        config_of().validate()


def test_networks_are_made_once_for_the_same_settings_and_spaces(monkeypatch):
    made = []
    spec = HMARLConfig.get_multi_rl_module_spec
    monkeypatch.setattr(HMARLConfig, "get_multi_rl_module_spec", lambda *a, **k: made.append(0) or spec(*a, **k))
    for hiddens, expected in (([7], 1), ([7], 1), ([9], 2), ([7], 3)):
        config_of(tiers={"threat_hunter": {"hiddens": hiddens}}).validate()
        assert len(made) == expected, hiddens
    config_of(env_config={"num_zones": 4}, tiers={"threat_hunter": {"hiddens": [7]}}).validate()
    assert len(made) == 4
    for _ in range(2):  # what does not fit is refused each time
        with pytest.raises(ConfigError, match="threat_hunter"):
            config_of(tiers={"threat_hunter": WIDE}).validate()
