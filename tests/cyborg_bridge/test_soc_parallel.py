"""The SOC view as a PettingZoo environment: on a recorded episode, and on the real CybORG (`CYBORG_HOME`)."""

import pytest
from cage4_stage import RESTRICTED, TRACE, Recorded, needs_cyborg
from pettingzoo.test import parallel_api_test

from cyborg_bridge import cage4_parallel_env
from cyborg_bridge.score import rest_of
from cyborg_bridge.soc_parallel import SOCTeamsEnv, soc_parallel_env
from cyborg_bridge.soc_view import SOCPolicy
from policies.scripted import SCRIPTED
from soc_env.engine.tables import AGENTS as ROLES
from soc_env.parallel import ResetNeeded


def test_twenty_agents_play_as_the_view_does() -> None:
    env = SOCTeamsEnv(Recorded(), "raw")  # type: ignore[arg-type]
    observations, infos = env.reset()
    assert len(env.possible_agents) == 20
    assert env.possible_agents[:4] == list(ROLES)
    rewards, charged = 0.0, 0.0
    for index, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(index)
    steps = 0
    while env.agents:
        assert infos["strategic_coordinator_3"]["decides"] == (steps % 5 == 0)
        assert infos["threat_hunter_4"]["decides"] == 1
        for agent in env.agents:
            assert env.observation_space(agent).contains(observations[agent])
        assert infos["alert_triage_2"]["action_mask"].shape == (4,)
        actions = {agent: env.action_space(agent).sample() for agent in env.agents if agent[-1] != "4"}
        observations, reward, terminations, truncations, infos = env.step(actions)
        assert len(set(reward.values())) == 1
        ((score, rest, charges),) = {(info["score"], info["rest"], info["charges"]) for info in infos.values()}
        assert score == sum(charge.points for charge in charges)
        assert rest == rest_of(charges)
        charged += score
        rewards += reward[ROLES[0]]
        steps += 1
    assert steps == TRACE["steps"] - 1
    assert not any(terminations.values())
    assert all(truncations.values())
    assert charged == sum(frame["score"] for frame in TRACE["frames"]) < 0
    assert rewards == pytest.approx(sum(frame["reward"] or 0.0 for frame in TRACE["frames"]))
    with pytest.raises(ResetNeeded):
        env.step({})


@needs_cyborg
def test_the_real_one_keeps_pettingzoos_contract() -> None:
    env = soc_parallel_env(steps=30, patch=True, level="raw")
    parallel_api_test(env, num_cycles=60)
    env.close()


def score_of(name: str, level: str, seed: int) -> float:
    env = cage4_parallel_env(patch=True, observation=level)
    policy = SOCPolicy(lambda siem: SCRIPTED["soc"][name](siem.action_spaces, seed), level)
    observations, infos = env.reset(seed)
    score = 0.0
    while env.agents:
        observations, _, _, _, infos = env.step(policy.act(observations, infos, env))
        score += infos[RESTRICTED]["score"]
    env.close()
    return score


@needs_cyborg
@pytest.mark.parametrize(("name", "level", "least"), [("expert", "raw", -300.0), ("rule-soar", "flat", -500.0)])
def test_playbooks_of_soc_v1_defend_the_real_one(name: str, level: str, least: float) -> None:
    """Measured over 6 to 8 episodes: -141 +- 35 and -253 +- 61; doing nothing loses about 6,800."""
    assert score_of(name, level, 1) > least


@needs_cyborg
def test_doing_nothing_loses_the_real_one() -> None:
    assert score_of("null", "flat", 1) < -2000.0
