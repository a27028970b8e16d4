"""Loss terms by columns of the batch: their size, whose gradient they are, and that nothing happens without them."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

pytest.importorskip("ray")
from ray.rllib.core.columns import Columns
from ray.rllib.policy.sample_batch import MultiAgentBatch, SampleBatch
from toy_team import toy_config

from policies.learners.terms import MOST, TEACHER_ACTIONS, TEACHER_WEIGHT, imitation_errors

pytestmark = pytest.mark.usefixtures("quiet")
TIERS = ("alert_triage", "threat_hunter", "response_orchestrator", "strategic_coordinator")
ROWS = 32


def columns_of(algo, tier):
    """A batch of the tier, as its learner gets it: column -> array."""
    if tier in algo.on_policy:
        [rollout] = algo.env_runner.sample(num_timesteps=1024)
        return {name: np.asarray(column[:ROWS]) for name, column in rollout.on_policy[tier].items()}
    index, weights = algo.batches.replay_of(tier).sample(tier, ROWS)
    batch = algo.batches.batch(tier, index, weights)[tier]
    return {name: np.asarray(column) for name, column in batch.items()}


def taught(module, rng):
    """Actions of a teacher, beyond the ends that a squashed mean gets to, and weights."""
    if module.is_discrete:
        actions = rng.integers(0, int(module.action_space.n), ROWS)
    else:
        actions = rng.choice([-1.0, 0.3, 1.0], (ROWS, *module.action_space.shape)).astype(np.float32)
    return {TEACHER_ACTIONS: actions, TEACHER_WEIGHT: rng.choice([0.0, 0.5, 2.0], ROWS).astype(np.float32)}


def gradients(learner, tier, columns, seed=3):
    """(total loss, parameter -> gradient) of one batch; what modules draw in it is drawn alike each time."""
    learner.generator.manual_seed(seed)
    batch = MultiAgentBatch({tier: SampleBatch(dict(columns))}, env_steps=ROWS)
    state = copy.deepcopy(learner.get_state())
    total = learner.update(batch=batch)[tier]["total_loss"].peek()
    found = {name: None if p.grad is None else p.grad.clone() for name, p in learner.module[tier].named_parameters()}
    learner.set_state(state)
    return torch.as_tensor(total), found


@pytest.fixture(scope="module")
def algo():
    config = toy_config()
    config.tiers({"strategic_coordinator": {"rllib": {"grad_clip": 1e9}}})  # its gradients are looked at
    built = config.build_algo()
    for _ in range(2):
        built.train()
    yield built
    built.stop()


def by_hand(module, obs, actions, weight):
    """The imitation term, row by row in plain NumPy."""
    with torch.no_grad():
        outputs = module.outputs(torch.as_tensor(obs)).numpy().astype(np.float64)
    if module.is_discrete:
        shares = np.exp(outputs - outputs.max(1, keepdims=True))
        errors = -np.log((shares / shares.sum(1, keepdims=True))[np.arange(len(obs)), actions])
    else:
        errors = ((outputs - np.clip(actions, -MOST, MOST)) ** 2).mean(1)
    return float((weight * errors).mean())


@pytest.mark.parametrize("tier", TIERS)
def test_imitation_is_added_to_the_policys_loss_alone(algo, tier):
    learner = algo.learner_group[tier]._learner
    module = learner.module[tier].unwrapped()
    plain = columns_of(algo, tier)
    more = taught(module, np.random.default_rng(5))
    before, without = gradients(learner, tier, plain)
    after, with_term = gradients(learner, tier, {**plain, **more})
    expected = by_hand(module, plain[Columns.OBS], more[TEACHER_ACTIONS], more[TEACHER_WEIGHT])
    assert float(after - before) == pytest.approx(expected, rel=1e-4)
    # of the gradient it is what autograd says of the term, and critics keep theirs
    module.zero_grad()
    errors = imitation_errors(module, torch.as_tensor(plain[Columns.OBS]), torch.as_tensor(more[TEACHER_ACTIONS]))
    (torch.as_tensor(more[TEACHER_WEIGHT]) * errors).mean().backward()
    own = {name: p.grad for name, p in learner.module[tier].named_parameters()}
    moved = 0
    for name, gradient in with_term.items():
        if gradient is None:
            continue
        added = own.get(name)
        moved += added is not None
        wanted = without[name] if added is None else without[name] + added
        torch.testing.assert_close(gradient, wanted, rtol=1e-4, atol=1e-6)
    assert moved


@pytest.mark.parametrize("tier", TIERS)
def test_rows_of_weight_zero_change_nothing(algo, tier):
    learner = algo.learner_group[tier]._learner
    plain = columns_of(algo, tier)
    none = {**taught(learner.module[tier].unwrapped(), np.random.default_rng(5)), TEACHER_WEIGHT: np.zeros(ROWS, "f4")}
    before, without = gradients(learner, tier, plain)
    after, with_term = gradients(learner, tier, {**plain, **none})
    assert torch.equal(before, after)
    for name, gradient in with_term.items():
        assert gradient is None or torch.equal(gradient, without[name]), name


@pytest.mark.parametrize("tier", TIERS)
def test_updates_with_the_term_come_nearer_to_the_teacher(algo, tier):
    module, columns = algo.learner_group[tier]._learner.module[tier].unwrapped(), columns_of(algo, tier)
    columns[TEACHER_ACTIONS] = np.full_like(taught(module, np.random.default_rng(5))[TEACHER_ACTIONS], 1)
    columns[TEACHER_WEIGHT] = np.full(ROWS, 100.0, np.float32)
    batch = MultiAgentBatch({tier: SampleBatch(columns)}, env_steps=ROWS)
    arguments = torch.as_tensor(columns[Columns.OBS]), torch.as_tensor(columns[TEACHER_ACTIONS])

    def error():
        with torch.no_grad():
            return float(imitation_errors(module, *arguments).mean())

    before = error()
    for _ in range(30):
        algo.learner_group.update_tier(tier, batch=batch, timesteps={"num_env_steps_sampled_lifetime": 512})
    assert error() < 0.9 * before


def test_an_impossible_choice_is_not_imitated():
    class Masked:
        is_discrete = True

        def outputs(self, observation):
            return torch.tensor([[1.0, 0.0, -torch.inf], [1.0, 0.0, -torch.inf]]) + 0 * observation.sum()

    obs = torch.ones(2, 1, requires_grad=True)
    errors = imitation_errors(Masked(), obs, torch.tensor([2, 1]))
    assert errors[0] == 0
    assert errors[1].item() == pytest.approx(np.log(1 + np.e))
    errors.sum().backward()
    assert torch.isfinite(obs.grad).all()
