"""Counterfactual credit: differences with a known answer, their variance, what is drawn from them, what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("ray")

from toy_branch import Lucky
from toy_hmarl import built
from toy_team import FAST, SMALL, toy_config

from policies.hmarl.differences import Differences
from policies.learners import counterfactual as learned
from soc_env.errors import ConfigError

pytestmark = pytest.mark.usefixtures("quiet")
TIERS = {"alert_triage": "DQN", "threat_hunter": "SAC", "response_orchestrator": "MADDPG"}
TIERS["strategic_coordinator"] = "PPO"
GAMMA, AGENTS = SMALL["gamma"], len(TIERS)


def lucky_config(credit=None, tiers=None, **env):
    """All four algorithms on `Lucky`; `credit` are settings of counterfactual credit, of every tier."""
    config = toy_config({
        tier: {"algorithm": name, "counterfactual": credit or {}, **FAST[name], **(tiers or {}).get(tier, {})}
        for tier, name in TIERS.items()
    })  # fmt: skip
    return config.environment(Lucky, env_config={"length": 1000, **env})


def earned(algo, tier, columns, actions):
    """What an action earns at once, by `Lucky`'s rules, where its agent sees this."""
    toy = Lucky(num_envs=len(actions))
    toy.reset()
    agent = algo.plan.members[tier][0]
    toy.observations[agent][:], toy.actions[agent][:] = columns[learned.OBSERVED], np.clip(actions, -1, None)
    if actions.ndim > 1:
        toy.actions[agent][:] = np.clip(actions, -1, 1)
    return toy.score(agent)


def errors(algo, tier, worth):
    """(rows,) measured minus known differences; `worth` is that of a unit earned."""
    columns = algo.credit.credits[tier].differences.columns
    more = earned(algo, tier, columns, columns[learned.ALTERNATIVE]) - earned(
        algo, tier, columns, columns[learned.CHOICE]
    )
    assert len(more) > 100
    assert np.abs(more).max() > 0.1
    return columns[learned.DIFFERENCE] - worth * more / AGENTS


def trained(config, iterations=3):
    algo = config.build_algo()
    for _ in range(iterations):
        algo.train()
    return algo


CREDIT = {"weight": 1.0, "share": 2.0, "horizon": 3, "states": 96, "bootstrap": False}


@pytest.fixture(scope="module")
def algos(quiet):
    """draws -> an algorithm that has compared alternatives with them."""
    made = {draws: trained(lucky_config({**CREDIT, "draws": draws}, luck=2.0), 6) for draws in ("same", "fresh")}
    yield made
    for algo in made.values():
        algo.stop()


@pytest.mark.parametrize("tier", TIERS)
def test_with_the_same_draws_the_difference_is_the_known_one_in_every_state(algos, tier):
    assert np.abs(errors(algos["same"], tier, GAMMA)).max() < 1e-5


@pytest.mark.parametrize("tier", TIERS)
def test_with_fresh_draws_it_is_right_on_average_and_noisier(algos, tier):
    found = errors(algos["fresh"], tier, GAMMA)
    luck = 2.0 * np.sqrt(2 * (1 + GAMMA**2 + GAMMA**4))  # of both sides over three steps, beside what others earn
    assert abs(found.mean()) < 4 * found.std() / np.sqrt(len(found))
    assert 0.8 * luck < found.std() < 1.3 * luck


@pytest.mark.parametrize("explore", [False, True])
def test_a_slow_tier_holds_the_alternative_until_its_next_decision(explore):
    tier = "strategic_coordinator"
    credit = {**CREDIT, "horizon": 5, "explore": explore}
    config = lucky_config(None, {tier: {"counterfactual": credit}}, luck=2.0, slow=(f"{tier}_0",), period=2)
    found = built(config, lambda algo: [algo.train() for _ in range(6)] and errors(algo, tier, GAMMA + GAMMA**2))
    assert np.abs(found).max() < 1e-5  # and others explore with the same noise on both sides


@pytest.mark.parametrize(
    ("tier", "slow"), [("threat_hunter", ()), ("alert_triage", ()), ("response_orchestrator", (2,))]
)
def test_an_alternative_is_held_for_so_many_decisions_and_counts_by_what_they_are_worth(tier, slow, monkeypatch):
    """A tier that decides every second step holds for four steps; others go on with their policy after two."""
    agent, credit = f"{tier}_0", {**CREDIT, "horizon": 6, "hold": 2, "states": 48}
    options = {"slow": (agent,), "period": slow[0]} if slow else {}
    config = lucky_config(None, {tier: {"counterfactual": credit}}, luck=2.0, **options)
    seen = []

    def rounds(algo):
        one, env = algo.credit.credits[tier], algo.credit.credits[tier].futures.env
        step = env.step

        def recorded():
            acted = env.actions[agent].copy()
            step()
            seen.append((acted, env.rewards.copy()))

        monkeypatch.setattr(env, "step", recorded)
        while not len(one.differences):
            algo.train()
        return one.count, one.newest

    count, newest = built(config, rounds)
    sides = [(acted[:count], acted[48 : 48 + count]) for acted, _ in seen]
    differs = sides[0][0] != sides[0][1]
    steps = 2 * slow[0] if slow else 2
    for k, (_, alternative) in enumerate(sides):
        assert (alternative[differs] == sides[0][1][differs]).all() == (k < steps), k
    more = sum(GAMMA**k * (reward[48 : 48 + count] - reward[:count]) for k, (_, reward) in enumerate(seen))
    kept = differs if differs.ndim == 1 else differs.any(1)
    assert newest == pytest.approx(more[kept], abs=1e-5)


def test_what_follows_counts_by_the_tiers_values_unless_the_episode_ended(monkeypatch):
    tier = "threat_hunter"
    values = lambda module, columns: np.arange(len(columns["obs"]), dtype=float)  # noqa: E731
    monkeypatch.setattr(learned, "values", values)
    credit = {
        **CREDIT,
        "horizon": 1,
        "share": 0.125,
        "states": 16,
        "bootstrap": True,
    }  # rewards of the first step are still the same

    def differences(algo):
        algo.train()
        algo.train()
        return algo.credit.credits[tier].newest

    going_on = built(lucky_config(None, {tier: {"counterfactual": credit}}), differences)
    assert going_on == pytest.approx(GAMMA * 16)  # rows of the alternatives are 16 behind those of the choices
    over = built(lucky_config(None, {tier: {"counterfactual": credit}}, length=1, terminates=True), differences)
    assert over == pytest.approx(0.0)


def test_each_algorithm_learns_from_differences_what_luck_hides_from_rewards():
    """At the same number of steps and updates; luck is 30 times what a choice can win."""

    def scores(algo):
        for _ in range(15):
            algo.train()
        toy = Lucky(num_envs=512, seed=99)
        toy.reset()
        for agent in toy.agents:
            module = algo.env_runner.module[algo.plan.tier_of[agent]]
            seen = torch.from_numpy(toy.observations[agent])
            toy.actions[agent][:] = module.draw(seen, explore=False).actions.detach().numpy().clip(-1, None)
        return {algo.plan.tier_of[agent]: toy.score(agent).mean() for agent in toy.agents}

    steps = {"updates_per_iteration": 4, "learning_starts": 256}
    with_credit = built(lucky_config({**CREDIT, "bootstrap": True}, luck=5.0).training(**steps), scores)
    without = built(lucky_config(luck=5.0).training(**steps), scores)
    for tier in TIERS:
        assert with_credit[tier] > without[tier] + 0.05, (tier, with_credit, without)


# ---- alternatives


@pytest.mark.parametrize("tier", ["threat_hunter", "response_orchestrator"])
def test_an_alternative_of_a_box_differs_in_one_entry(algos, tier):
    columns = algos["same"].credit.credits[tier].differences.columns
    differs = columns[learned.ALTERNATIVE] != columns[learned.CHOICE]
    assert (differs.sum(1) == 1).all()
    assert 0.3 < differs[:, 0].mean() < 0.7
    levels = columns[learned.ALTERNATIVE][differs]
    assert levels.min() < -0.9
    assert levels.max() > 0.9


def test_as_many_entries_as_asked_are_other():
    credit = {"threat_hunter": {"counterfactual": {**CREDIT, "entries": 2}}}

    def differing(algo):
        for _ in range(4):
            algo.train()
        columns = algo.credit.credits["threat_hunter"].differences.columns
        return (columns[learned.ALTERNATIVE] != columns[learned.CHOICE]).sum(1)

    assert (built(lucky_config(None, credit), differing) == 2).all()


def test_alternatives_of_a_choice_are_all_the_others():
    tier = "alert_triage"
    credit = {**CREDIT, "num_alternatives": 3}

    def columns(algo):
        for _ in range(4):
            algo.train()
        return algo.credit.credits[tier].differences.columns

    found = built(lucky_config(None, {tier: {"counterfactual": credit}}), columns)
    taken = np.concatenate([found[learned.CHOICE][:96], found[learned.ALTERNATIVE]]).reshape(4, 96)
    assert (np.sort(taken, 0) == np.arange(4)[:, None]).all()
    assert (found[learned.OBSERVED].reshape(3, 96, -1) == found[learned.OBSERVED][:96]).all()


def test_alternatives_can_be_draws_of_the_exploring_policy_in_turn_with_others():
    tier = "response_orchestrator"
    credit = {**CREDIT, "num_alternatives": 2, "alternatives": ["other", "draw"]}

    def differing(algo):
        for _ in range(3):
            algo.train()
        columns = algo.credit.credits[tier].differences.columns
        return (columns[learned.ALTERNATIVE] != columns[learned.CHOICE]).sum(1)

    found = built(lucky_config(None, {tier: {"counterfactual": credit}}), differing)
    assert (found[:96] == 1).all()
    assert (found[96:] == 2).mean() > 0.9  # entries at the end of their range may stay


# ---- what is learned from


def test_critics_learn_the_difference_in_its_own_unit(algos):
    algo, tier = algos["same"], "threat_hunter"
    module = algo.learner_group[tier]._learner.module[tier].unwrapped()
    batch = {name: torch.as_tensor(column) for name, column in algo.credit.columns(algo, tier, 1, 128).items()}
    losses = learned.counterfactual(module, batch)
    assert all(len(column) == 128 and not column[32:].any() for column in batch.values())
    batch = {name: column[:32] for name, column in batch.items()}
    assert set(losses) == {"qf", "qf_twin"}
    for critic, loss in losses.items():
        encoder, head, one = getattr(module, f"{critic}_encoder"), getattr(module, critic), {"obs": batch["cf_obs"]}
        low, high = (
            head(encoder({**one, "actions": batch[name]})["encoder_out"])[:, 0]
            for name in ("cf_base_actions", "cf_actions")
        )
        error = (high - low) / batch["cf_unit"] - batch["cf_difference"]
        huber = torch.where(error.abs() < 10, error**2 / 2, 10 * (error.abs() - 5))
        assert float(loss.detach()) == pytest.approx(float((batch["cf_unit"] * huber).mean().detach()), rel=1e-4)
    stored = algo.credit.credits[tier].differences.columns["cf_difference"]
    unit = np.sqrt((stored.astype(float) ** 2).mean())
    assert batch["cf_unit"].numpy() == pytest.approx(unit / algo.statistics.scale(tier), rel=1e-5)
    assert np.abs(batch["cf_difference"].numpy()[:, None] * unit - stored).min(1).max() < 1e-5


def test_a_policy_is_pushed_from_its_choice_to_a_better_alternative_within_the_clip(algos):
    algo, tier = algos["same"], "strategic_coordinator"
    module = algo.learner_group[tier]._learner.module[tier].unwrapped()
    batch = {name: torch.as_tensor(column) for name, column in algo.credit.columns(algo, tier, 1, 64).items()}
    batch["cf_difference"] = torch.ones(64)
    for name in ("cf_base", "cf"):  # as if just drawn
        now = module.draw(batch["cf_obs"], explore=False).distribution
        batch[f"{name}_logp"] = now.log_prob(batch[f"{name}_actions"]).sum(-1).detach()
    parameters = list(module.pi.parameters())
    gradient = torch.autograd.grad(learned.counterfactual(module, batch)["policy"], parameters)
    now = module.draw(batch["cf_obs"], explore=False).distribution
    more = (now.log_prob(batch["cf_actions"]) - now.log_prob(batch["cf_base_actions"])).sum(-1).mean() / 2
    for one, other in zip(gradient, torch.autograd.grad(more, parameters), strict=True):
        assert torch.allclose(one, -other, atol=1e-5)
    batch["cf_logp"], batch["cf_base_logp"] = batch["cf_logp"] - 1.0, batch["cf_base_logp"] + 1.0  # long past the clip
    gradient = torch.autograd.grad(learned.counterfactual(module, batch)["policy"], parameters)
    assert all(not one.any() for one in gradient)


def test_rollouts_take_their_share_and_results_say_so():
    credit = {**CREDIT, "share": 0.5, "states": 32}

    def results(algo):
        return [algo.train() for _ in range(6)][-1]["counterfactual"]

    of_tiers = built(lucky_config(credit), results)
    assert set(of_tiers) == set(TIERS)
    for found in of_tiers.values():
        assert found["share"] == 3 * 192 / (5 * 256)
        assert found["comparisons"] == found["rows"] == 3 * 32
        assert 0 < found["mean_abs_difference"] < found["sd_difference"] + 0.1


@pytest.mark.parametrize("weight", [0.0, [[0, 0.0], [1_000_000, 0.0]]])
def test_without_weight_nothing_is_copied_or_added(weight):
    def look(algo):
        result = algo.train()
        return algo.credit.credits, "counterfactual" in result, algo.credit.columns(algo, "threat_hunter", 1, 8)

    assert built(lucky_config({"weight": weight}), look) == ({}, False, {})


def test_a_weight_of_a_later_time_rolls_nothing_out_before():
    def results(algo):
        return [algo.train() for _ in range(2)][-1]["counterfactual"]

    for found in built(
        lucky_config({**CREDIT, "weight": [[0, 0.0], [100_000, 0.0], [200_000, 1.0]]}), results
    ).values():
        assert found == {"share": 0.0, "comparisons": 0.0, "rows": 0.0}


# ---- the store


def rows_of(numbers):
    return {"cf_difference": np.asarray(numbers, np.float32)}


def test_the_newest_differences_are_kept_and_old_ones_are_not_drawn():
    store = Differences(capacity=5, max_age=100)
    store.add(rows_of([0, 1, 2]), now=0)
    store.add(rows_of([3, 4, 5]), now=60)
    assert store.columns["cf_difference"].tolist() == [1, 2, 3, 4, 5]
    for now, expected in ((100, {1, 2, 3, 4, 5}), (101, {3, 4, 5}), (161, set())):
        index, counts = store.draw(np.random.default_rng(0), 2, 5, now)
        assert set(store.columns["cf_difference"][index[counts]]) == expected
        assert counts.sum() == 2 * len(expected)
    store.add(rows_of([6]), now=150)
    assert store.columns["cf_difference"].tolist() == [3, 4, 5, 6]


def test_no_row_is_twice_in_a_gradient_step():
    store = Differences(capacity=50, max_age=100)
    store.add(rows_of(np.arange(40)), now=0)
    index, counts = store.draw(np.random.default_rng(0), 7, 32, 0)
    assert counts.all()
    assert all(len(set(step)) == 32 for step in index.reshape(7, 32))
    assert len(set(index)) == 40


# ---- what is refused


@pytest.mark.parametrize(
    ("tier", "settings", "message"),
    [
        ("threat_hunter", {"horizon": 0}, "horizon=0 must be an integer from 1"),
        ("threat_hunter", {"hold": 9, "horizon": 8}, "hold=9 is longer than a rollout; allowed: at most horizon=8"),
        ("threat_hunter", {"entries": 3}, "counterfactual.entries=3; allowed: at most 2, an action has no more"),
        ("threat_hunter", {"draws": "other"}, "counterfactual.draws 'other' does not exist; allowed: fresh, same"),
        ("threat_hunter", {"alternatives": ["best"]}, "alternatives .*allowed: draw, other, teacher"),
        ("alert_triage", {"alternatives": ["draw"]}, "alternatives .*allowed: other, teacher"),
        (
            "strategic_coordinator",
            {"alternatives": ["draw"]},
            "setting of counterfactual 'alternatives' does not exist",
        ),
        ("alert_triage", {"num_alternatives": 4}, "num_alternatives=4; allowed: at most 3, there are 4 choices"),
        ("threat_hunter", {"share": 4.0, "horizon": 3}, "states=64 are too few for share=4 of .*=256: .* at least 171"),
        ("threat_hunter", {"capacity": 10**12}, "counterfactual.capacity=1000000000000 would take .* GiB"),
    ],
)
def test_settings_that_cannot_be_are_refused(tier, settings, message):
    with pytest.raises(ConfigError, match=message) as refused:
        lucky_config(None, {tier: {"counterfactual": {"weight": 1.0, **settings}}}).build_algo()
    assert "\n" not in str(refused.value)
    assert repr(tier) in str(refused.value)


def test_where_it_cannot_work_it_is_refused():
    one = {"threat_hunter": {"algorithm": "SAC", "counterfactual": {"weight": 0.5}}}
    with pytest.raises(ConfigError, match="that can be copied, with a method 'branch'; toy:Matching has none"):
        toy_config(one, agents=("threat_hunter_0",)).build_algo()
    frozen = lucky_config(None, {"threat_hunter": {"trainable": False, "counterfactual": {"weight": 0.5}}})
    with pytest.raises(ConfigError, match="'threat_hunter': counterfactual.weight=0.5 has no effect: .* not learn"):
        frozen.build_algo()
    with pytest.raises(ConfigError, match="environments of this process, but num_env_runners=1; allowed: 0"):
        lucky_config(CREDIT).env_runners(num_env_runners=1).build_algo()
    pair = {"hunters": {"algorithm": "SAC", "agents": ["threat_hunter_0", "response_orchestrator_0"]}}
    pair["hunters"]["counterfactual"] = {"weight": 0.5}
    config = toy_config(pair, agents=("threat_hunter_0", "response_orchestrator_0")).environment(Lucky)
    with pytest.raises(ConfigError, match="is of 2 agents: threat_hunter_0, .*; allowed: tiers of one agent"):
        config.environment(Lucky, env_config={"agents": ("threat_hunter_0", "response_orchestrator_0")}).build_algo()
