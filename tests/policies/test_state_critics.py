"""Critics that read the environment's state: what they are told, that they use it, and that nobody else is told."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from toy_state import WORTH, Hidden
from toy_team import FAST, SMALL, assert_same, learner_state, small_paper, toy_config

import soc_env
from policies import HMARL, HMARLConfig, load_policy, save_checkpoint
from policies.learners import counterfactual as learned
from policies.learners.columns import CRITIC_NEXT_OBS, CRITIC_OBS, JOINT_NEXT_OBS, JOINT_OBS, STATE
from policies.networks.build import BodySpec, make_body
from policies.networks.tokens import joint_tokens, own_tokens
from policies.runner import traces
from policies.runner.batched_env import make_batched_env
from policies.scripted import make_policy
from soc_env.engine.tables import AGENTS, COORDINATOR, HUNTER, ORCHESTRATOR, TRIAGE
from soc_env.errors import ConfigError, RunError
from soc_env.paper.tables import FEATURES
from soc_env.paper.tables import STATE as PAPER_STATE
from soc_env.soc.tables import layout, state_features

pytestmark = pytest.mark.usefixtures("quiet")
TIERS = {"threat_hunter": "SAC", "response_orchestrator": "MADDPG", "strategic_coordinator": "PPO"}
MEMBERS = (HUNTER, ORCHESTRATOR, COORDINATOR)
TOLD = {"reads_state": True}


def hidden_config(critic, *, more=None, env=None, agents=MEMBERS, **settings):
    """SAC, MADDPG and PPO on `Hidden`, with these settings of critics; `more` of every tier."""
    tiers = {
        tier: {"algorithm": name, **FAST[name], "critic": critic, **(more or {})}
        for tier, name in TIERS.items()
        if f"{tier}_0" in agents
    }
    return toy_config(tiers).environment(Hidden, env_config={"agents": agents, **(env or {})}).training(**settings)


def trained(build, config, iterations):
    algo = build(config)
    for _ in range(iterations):
        algo.train()
    return algo


def states_of(batch):
    """(rows, 3) each: the state of now and of the next moment, which stand behind what is observed."""
    columns = (JOINT_OBS, JOINT_NEXT_OBS) if JOINT_OBS in batch else (CRITIC_OBS, CRITIC_NEXT_OBS)
    return tuple(np.asarray(batch[name])[:, -3:] for name in columns)


def errors_of(algo):
    """Tier -> mean temporal difference of critics in rewards, on rows of the replay; of PPO the error of values."""
    found = {}
    for tier in algo.off_policy:
        index, weights = algo.replay.sample(tier, 512)
        batch = algo.batches.batch(tier, index, weights)[tier]
        tensors = {name: torch.as_tensor(np.asarray(column)) for name, column in batch.items()}
        learner = algo.learner_group[tier]._learner
        losses = learner.losses(learner.module[tier].unwrapped(), tensors)
        found[tier] = float(losses.td_error.mean()) * algo.statistics.scale(tier)
    [rollout] = algo.env_runner.sample(num_timesteps=640)
    rows = {name: torch.as_tensor(column) for name, column in rollout.on_policy["strategic_coordinator"].items()}
    module = algo.env_runner.module["strategic_coordinator"]
    with torch.no_grad():
        seen = rows[CRITIC_OBS] if CRITIC_OBS in rows else rows["obs"]
        error = (module.compute_values({"obs": seen}) - rows["value_targets"]).abs().mean()
    return {**found, "strategic_coordinator": float(error) * float(module.return_scale)}


def test_values_that_depend_on_what_is_hidden_are_learned_by_critics_that_read_it(build):
    fast = {"strategic_coordinator": {"lr": 5e-3}}
    configs = (hidden_config(critic, updates_per_iteration=8).tiers(fast) for critic in (TOLD, {}))
    told, untold = (errors_of(trained(build, config, 6)) for config in configs)
    assert set(told) == set(TIERS)
    for tier in TIERS:
        assert untold[tier] > 0.4 * WORTH  # nobody can know
        assert told[tier] < 0.6 * untold[tier], (tier, told, untold)


def test_policies_are_not_told(build):
    """The same networks and draws where the state is another one: the same play, other values."""
    algo, liar = (build(hidden_config(TOLD, env={"lies": lies}, random_steps=0)) for lies in (False, True))
    played = []
    for one in (algo, liar):
        torch.manual_seed(5)
        played += one.env_runner.sample(num_timesteps=640)
    honest, lied = played
    size = honest.seen.shape[1] - 3
    assert_same(honest.seen[:, :size], lied.seen[:, :size])
    assert_same(honest.seen[:, size:], -lied.seen[:, size:])
    same = [name for name in honest.joint if not name.endswith("obs")]
    assert {f"action/{agent}" for agent in MEMBERS} <= set(same)
    assert_same({name: honest.joint[name] for name in same}, {name: lied.joint[name] for name in same})
    ours, theirs = (rollout.on_policy["strategic_coordinator"] for rollout in played)
    assert_same(
        {n: ours[n] for n in ("obs", "actions", "action_logp")},
        {n: theirs[n] for n in ("obs", "actions", "action_logp")},
    )
    assert not np.allclose(ours["value_targets"], theirs["value_targets"])


@pytest.mark.parametrize("terminates", [False, True])
def test_rows_have_the_state_of_before_and_after_also_where_episodes_end(build, terminates):
    config = hidden_config(TOLD, env={"length": 7, "terminates": terminates}, n_step=3)
    algo = trained(build, config, 2)
    assert algo.replay.nbytes < algo.replay.capacity * 200  # the next state is no second column
    for tier in algo.off_policy:
        batch = algo.batches.batch(tier, np.arange(len(algo.replay)), np.ones(len(algo.replay), np.float32))[tier]
        (now, following), steps = states_of(batch), batch["n_step"]
        np.testing.assert_allclose(following[:, 1], np.minimum(now[:, 1] + steps / 7, 1), atol=1e-6)
        assert_same(now[:, 0], following[:, 0])  # within an episode the sign is one
        has_ended = following[:, 2] == 1
        assert 0 < has_ended.mean() < 1
        assert (has_ended == (following[:, 1] > 0.99)).all()
        assert (np.asarray(batch["terminateds"]) == (has_ended & terminates)).all()


def test_decisions_over_several_steps_have_the_state_of_when_they_began_and_ended(build):
    env = {"period": 3, "slow": (HUNTER, COORDINATOR), "length": 8}
    algo = trained(build, hidden_config(TOLD, env=env, agents=(HUNTER, COORDINATOR)), 2)
    replay = algo.batches.replays["threat_hunter"]
    batch = algo.batches.batch("threat_hunter", np.arange(len(replay)), np.ones(len(replay), np.float32))
    (now, following), steps = states_of(batch["threat_hunter"]), batch["threat_hunter"]["n_step"]
    assert set(np.round(now[:, 1] * 8).tolist()) == {0, 3, 6}
    np.testing.assert_allclose(following[:, 1], now[:, 1] + steps / 8, atol=1e-6)
    [rollout] = algo.env_runner.sample(num_timesteps=256)
    assert set(np.round(rollout.on_policy["strategic_coordinator"][CRITIC_OBS][:, -2] * 8).tolist()) == {0, 3, 6}


def test_a_value_function_reads_the_last_state_of_a_truncated_episode(build, monkeypatch):
    more = {"strategic_coordinator": {"lambda_": 0.0}}
    config = hidden_config(TOLD, env={"length": 5}, agents=(COORDINATOR,)).tiers(more)
    algo = build(config)
    module, gamma = algo.env_runner.module["strategic_coordinator"], SMALL["gamma"]
    monkeypatch.setattr(traces, "fits", lambda *_: False)  # kernels would go past it
    monkeypatch.setattr(module, "compute_values", lambda batch: batch["obs"][:, -1] + 10 * batch["obs"][:, -2])
    [rollout] = algo.env_runner.sample(num_timesteps=16 * 6)
    rows = rollout.on_policy["strategic_coordinator"]
    sign, over, _ = rows[CRITIC_OBS][:, -3:].T
    following = 10 * (over + 0.2) + (over > 0.75)
    assert (over > 0.75).any()
    reward = rows["value_targets"] - gamma * following
    assert (np.abs(reward - WORTH * sign) <= 1.001).all()  # what is earned beside lies in 0 to 1


def test_statistics_of_the_state_are_those_of_critics_alone(build):
    algo = trained(build, hidden_config(TOLD), 2)
    own = algo.team.slices[STATE]
    mean, variance = algo.statistics.moments.mean[own], algo.statistics.moments.variance[own]
    assert variance[0] == pytest.approx(1, abs=0.2)
    for tier in TIERS:
        module = algo.learner_group[tier]._learner.module[tier].unwrapped()
        norms = {is_joint: norm for norm, is_joint in module.input_norms()}
        np.testing.assert_allclose(norms[True].mean[-3:].numpy(), mean, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(norms[True].inv_std[-3:].numpy() ** -2, variance + 1e-6, rtol=1e-4)
        assert len(norms[False].mean) == 3  # what the agent observes


def test_critics_with_memory_read_the_state_before_their_past(build):
    memory = {"memory": {"minutes": 2, "size": 4}}
    algo = trained(build, hidden_config(TOLD, more=memory, env={"length": 5}), 3)
    row = 3 + 2 * 3 + 2  # now, two minutes before, and which of them there were
    for tier, observed in (("threat_hunter", 3), ("response_orchestrator", 9)):
        index = np.arange(len(algo.replay))
        batch = algo.batches.batch(tier, index, np.ones(len(index), np.float32))[tier]
        critic = np.asarray(batch[CRITIC_OBS if observed == 3 else JOINT_OBS])
        assert critic.shape[1] == observed + 3 + row
        assert_same(critic[:, observed + 3 :], batch["obs"])
        assert set(critic[:, observed].tolist()) == {-1, 1}
        learner = algo.learner_group[tier]._learner
        sizes = {len(n.mean) for n, is_joint in learner.module[tier].unwrapped().input_norms() if is_joint}
        assert sizes == {observed + 3}
    save = algo.env_runner.sample(num_timesteps=64)[0].on_policy["strategic_coordinator"]
    assert save[CRITIC_OBS].shape[1] == 3 + 3 + row


def test_a_tier_alone_may_be_told(build):
    config = hidden_config({}).tiers({"threat_hunter": {"critic": TOLD}})
    algo = trained(build, config, 2)
    index, weights = algo.replay.sample("threat_hunter", 8)
    told, untold = (algo.batches.batch(tier, index, weights)[tier] for tier in algo.off_policy)
    assert told[CRITIC_OBS].shape[1] == 3 + 3
    assert untold[JOINT_OBS].shape[1] == 3 * 3


def test_a_state_that_is_no_number_ends_training(build, monkeypatch):
    algo = build(hidden_config(TOLD))
    monkeypatch.setattr(algo.env_runner.env, "state", lambda: np.full((16, 3), np.nan, np.float32))
    with pytest.raises(RunError, match=r"^state\(\) has NaN or infinity at 256 environment steps: the environment's$"):
        algo.train()


# ---- counterfactual credit
def test_ends_of_rollouts_are_valued_by_the_states_of_the_copies(build, monkeypatch):
    credit = {"weight": 1.0, "share": 2.0, "horizon": 3, "states": 96}
    algo = build(hidden_config(TOLD, more={"counterfactual": credit}, env={"length": 10}))
    asked = []

    def values(module, columns):
        asked.append({name: np.array(column) for name, column in columns.items()})
        return np.zeros(len(columns["obs"]))

    monkeypatch.setattr(learned, "values", values)
    for _ in range(4):
        algo.train()
    assert len(asked) >= 3
    for columns in asked:
        sign, over, has_ended = columns[JOINT_OBS if JOINT_OBS in columns else CRITIC_OBS][:, -3:].T
        assert set(sign.tolist()) == {-1, 1}
        is_last = has_ended == 1
        assert 0 < is_last.mean() < 1
        assert (over[is_last] == 1).all()
        assert (over[~is_last] >= 0.3 - 1e-6).all()  # three steps later than a state that may be an episode's first
        assert (over[~is_last] < 1).all()
    for tier in algo.off_policy:
        columns = algo.credit.credits[tier].differences.columns
        told = columns[learned.JOINT if learned.JOINT in columns else learned.TOLD]
        assert set(told[:, -3].tolist()) == {-1, 1}
        assert (told[:, -1] == 0).all()


# ---- going on, and leaving
def paper_config():
    told = {tier: {"critic": TOLD} for tier in TIERS}
    return small_paper().tiers(told)


def test_a_resumed_run_is_the_same_run(build, tmp_path):
    algo = trained(build, paper_config(), 3)
    save_checkpoint(algo, tmp_path / "middle")
    algo.train()
    twin = HMARL.from_checkpoint(tmp_path / "middle")
    twin.train()
    assert_same(learner_state(algo), learner_state(twin))
    assert_same(algo.batches.get_state(), twin.batches.get_state())
    assert_same(algo.statistics.get_state(), twin.statistics.get_state())
    twin.stop()
    untold = paper_config().tiers({tier: {"critic": {"reads_state": False}} for tier in TIERS})
    with pytest.raises(soc_env.CheckpointError, match="does not fit"):
        HMARL.from_checkpoint(tmp_path / "middle", config=untold)


def soc_config(encoder):
    """All four tiers on soc-v1, small, with critics that read the state."""
    small = {"hiddens": [8, 8], "encoder": encoder}
    config = HMARLConfig().environment("soc-v1", env_config={"num_networks": 1}).debugging(seed=0, log_level="ERROR")
    config.env_runners(num_envs_per_env_runner=8)
    config.training(train_batch_size=64, learning_starts=64, replay_batch_size=16, replay_capacity=256, n_step=2)
    config.tiers({"alert_triage": small, **{tier: {**small, "critic": TOLD} for tier in TIERS}})
    return config.tiers({"strategic_coordinator": {"train_batch_size": 8, "minibatch_size": 8}})


@pytest.mark.parametrize("encoder", ["zones", "attention"])
def test_a_team_that_was_told_plays_without(build, tmp_path, encoder):
    algo = trained(build, soc_config(encoder), 3)
    policy = load_policy(save_checkpoint(algo, tmp_path / "c"))
    simulator = soc_env.Simulator("soc-v1", num_envs=3, seed=1, num_networks=1)
    simulator.state = None
    actions = policy(simulator.reset(), simulator.decides)
    assert {agent: len(action) for agent, action in actions.items()} == dict.fromkeys(AGENTS, 3)
    policy.for_zones(8)


def test_a_privileged_teacher_says_what_the_truth_tells_it(build):
    config = soc_config("zones").training(teacher="oracle-observation", teacher_rounds=1, teacher_steps=320)
    algo = build(config)
    [rollout] = algo.env_runner.sample(num_timesteps=320, lesson=0.3, explore=False)
    parts, env = algo.team.slices, algo.env_runner.env
    oracle = make_policy("oracle-observation", "soc-v1", env.action_spaces, 0, "policy")
    observed, everyone = {agent: rollout.seen[:, parts[agent]] for agent in AGENTS}, np.ones(320, bool)
    oracle.state = rollout.seen[:, parts[STATE]]
    said = oracle(observed, everyone)
    for agent in AGENTS:
        np.testing.assert_array_equal(rollout.taught[agent], said[agent])
    oracle.state = np.zeros_like(oracle.state)
    assert not np.array_equal(oracle(observed, everyone)[HUNTER], said[HUNTER])  # observations do not tell
    while algo.lessons.go_on:
        result = algo.train()
    assert all(np.isfinite(of_tier["imitation_error"]) for of_tier in result["learners"].values())


# ---- networks by tokens
@pytest.mark.parametrize("num_zones", [1, 5])
@pytest.mark.parametrize("agent", AGENTS)
def test_the_truth_about_a_zone_is_read_with_what_is_seen_of_it(agent, num_zones):
    observed, told = layout(agent, num_zones).size, state_features(num_zones)
    tokens, untold = own_tokens(agent, observed + len(told), True), own_tokens(agent, observed)
    names = np.array(["" if k < observed else told[k - observed].name for k in range(observed + len(told))])
    for zone, (row, before) in enumerate(zip(tokens.zones, untold.zones, strict=True)):
        assert row[: len(before)].tolist() == before.tolist()
        assert all(name.startswith(f"truth_zone{zone}_") for name in names[row[len(before) :]])
    truths = [k for k, name in enumerate(names) if name.startswith("truth_")]
    read = tokens.read.tolist()
    assert sorted(read) == sorted([*untold.read.tolist(), *truths])
    assert len(set(read)) == len(read)
    joint = sum(layout(one, num_zones).size for one in AGENTS)
    assert [k - joint for k in joint_tokens(joint + len(told), True).read if k >= joint] == [
        k - observed for k in truths
    ]


def test_of_paper_v0_each_fact_is_read_once():
    names = [feature.name for feature in PAPER_STATE]
    for agent in AGENTS:
        own = len(FEATURES[agent])
        tokens, untold = own_tokens(agent, own + len(names), True), own_tokens(agent, own)
        assert tokens.num_seen == untold.num_seen
        assert tokens.zones.shape == (5, untold.zones.shape[1] + sum(k >= own for k in tokens.zones[0]))
        seen = [feature.name for feature in FEATURES[agent]]
        varies = {feature.name for feature in PAPER_STATE if feature.low < feature.high}
        assert {names[k - own] for k in tokens.read if k >= own} == varies - set(seen)


@pytest.mark.parametrize(("scenario", "agent"), [("soc-v1", HUNTER), ("soc-v1", TRIAGE), ("paper-v0", TRIAGE)])
@pytest.mark.parametrize("encoder", ["zones", "attention"])
def test_networks_by_tokens_read_the_truth(scenario, agent, encoder):
    simulator = soc_env.Simulator(scenario, num_envs=4, seed=0)
    simulator.reset()
    seen = torch.from_numpy(np.concatenate([simulator.observations[agent], simulator.state()], 1))
    spec = BodySpec((8, 8), encoder, agent.removesuffix("_0"), reads_state=True)
    body = make_body(spec, seen.shape[1])
    told = seen.clone().requires_grad_()
    body(told).sum().backward()
    first, read = len(simulator.feature_tables[agent]), body.tokens.read
    assert told.grad[:, read[read >= first]].abs().sum(0).gt(0).float().mean() > 0.9
    if body.fits_kernels:
        plain = body(seen)
        body.uses_kernels = True
        torch.testing.assert_close(body(seen), plain)
    with pytest.raises(ConfigError, match="family with the state; there is none of size 7"):
        make_body(spec, 7)


# ---- environments of others, and what is refused
def test_copies_of_an_environment_tell_their_last_states():
    batch = make_batched_env(lambda: soc_env.parallel_env("paper-v0", max_steps=4), 2, 0, {})
    assert batch.state_space.shape == (len(PAPER_STATE),)
    batch.reset()
    for _ in range(3):
        batch.step()
    clock = [feature.name for feature in PAPER_STATE].index("clock")
    assert batch.state()[:, clock].tolist() == [0.75, 0.75]
    batch.step()
    assert batch.final_states[:, clock].tolist() == [1.0, 1.0]
    assert batch.state()[:, clock].tolist() == [0.0, 0.0]


class Untold(Hidden):
    def __init__(self, num_envs, **options):
        super().__init__(num_envs, **options)
        del self.state_space


def test_what_cannot_be_told_is_refused():
    config = hidden_config(TOLD).environment(Untold)
    with pytest.raises(
        ConfigError, match=r"'threat_hunter': critic.reads_state=True needs environments with state\(\)"
    ):
        config.build_algo()
    with pytest.raises(
        ConfigError, match="DQN has no setting 'critic': its values are its policy; PPO and SAC and MADD"
    ):
        HMARLConfig().tiers({"alert_triage": {"critic": TOLD}})
    with pytest.raises(ConfigError, match="critic.reads_state='yes' must be True or False"):
        HMARLConfig().tiers({"threat_hunter": {"critic": {"reads_state": "yes"}}})
    batch = make_batched_env(lambda: soc_env.parallel_env("paper-v0", max_steps=4), 1, 0, {})
    batch.envs[0].state = type("No", (), {"__call__": lambda self: (_ for _ in ()).throw(NotImplementedError)})()
    with pytest.raises(ConfigError, match=r"it has a state_space, but no state\(\) that critics could read"):
        batch.state()
