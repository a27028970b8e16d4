"""Tiers as plain data: what is refused, how settings merge, who is in which tier."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("ray")

from policies.hmarl.algorithm import HMARLConfig
from policies.tiers import tier_of
from soc_env.errors import ConfigError

# ---- configuration


@pytest.mark.parametrize(
    ("tiers", "message"),
    [
        ({"threat_hunter": {"algorithm": "SACC"}}, r"algorithm 'SACC' does not exist; did you mean 'SAC'\?"),
        (
            {"threat_hunter": {"algorithm": "SAC", "actor_lrr": 1}},
            r"setting of SAC 'actor_lrr' does not exist; did you mean 'actor_lr'\?",
        ),
        ({"threat_hunter": {"algorithm": "SAC", "gamma": 1.5}}, "gamma=1.5 must be a number from 0.0 to 1.0"),
        ({"threat_hunter": {"algorithm": "SAC", "hiddens": []}}, r"hiddens=\[\] must be"),
        ({"threat_hunter": {"algorithm": "SAC", "rest": {"weight": -1.0}}}, "rest.weight=-1.0 must be a number from 0"),
        (
            {"threat_hunter": {"algorithm": "SAC", "rest": {"weight": [[10, 1.0]]}}},
            r"rest.weight=\[\[10, 1.0\]\] must be .* or a schedule",
        ),
        (
            {"threat_hunter": {"algorithm": "SAC", "rest": {"weight": [[0, 1.0], [9, "a"]]}}},
            "rest.weight=.*'a'.* must be",
        ),
        (
            {"alert_triage": {"algorithm": "DQN", "epsilon": [[0, 1.0], [9, 1.5]]}},
            "epsilon=.*1.5.* must be a number",
        ),
        ({"response_orchestrator": {"algorithm": "MADDPG", "exploration": {"std": -0.1}}}, "std=-0.1 must be a number"),
        (
            {"response_orchestrator": {"algorithm": "MADDPG", "actor": {"smoothing": [0.1]}}},
            "smoothing=.* must be 0 or 2",
        ),
        (
            {"response_orchestrator": {"algorithm": "MADDPG", "actor": {"smoothing": [0.1, [[0, 0.5], [9, 0]]]}}},
            "actor.smoothing=.* must be a number from 1e-09",
        ),
        ({"new_tier": {"lr": 1.0}}, "tier 'new_tier': algorithm None does not exist"),
    ],
)
def test_bad_tiers_are_named(tiers, message):
    with pytest.raises(ConfigError, match=message):
        HMARLConfig().tiers(tiers)


def test_tiers_are_plain_data_and_merge():
    config = HMARLConfig().tiers({"threat_hunter": {"actor_lr": 1e-5}})
    assert config.tier_settings["threat_hunter"]["algorithm"] == "SAC"
    config.tiers({"threat_hunter": {"algorithm": "PPO"}})
    assert "actor_lr" not in config.tier_settings["threat_hunter"]
    config.update_from_dict({"tiers": {"threat_hunter": {"lr": 0.5}}})
    assert config.tier_settings["threat_hunter"]["lr"] == 0.5
    assert json.loads(json.dumps(config.tier_settings)) == config.tier_settings


def test_tier_of_agents():
    assert [tier_of(a) for a in ("threat_hunter_0", "threat_hunter_12", "blue_agent", "agent_")] == [
        "threat_hunter",
        "threat_hunter",
        "blue_agent",
        "agent_",
    ]
