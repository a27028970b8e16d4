"""Every setting of every algorithm does something, and every name that would do nothing is refused.

The walk is made from the declarations: each setting of each dataclass, those of parts too, is changed in a tiny run,
and something of that run has to change: networks, learners, actions, metrics. A new setting without effect fails here.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json

import numpy as np
import pytest

pytest.importorskip("ray")

from policies import HMARLConfig, save_checkpoint
from policies.algorithms import ALGORITHMS
from policies.algorithms.names import RENAMED, parts_of
from policies.algorithms.settings import ANY, default_of
from policies.hmarl.settings import HMARLSettings
from policies.learners import names_in_rllib
from policies.tiers import DEFAULT_TIERS, complete, parse
from soc_env.errors import ConfigError
from soc_env.settings import field_names, merged, setting, to_plain

TIERS = {"Box": "threat_hunter", "Discrete": "alert_triage"}
KINDS = [(name, space.__name__) for name, entry in ALGORITHMS.items() for space in entry.action_spaces]
FIRST = {name: entry.action_spaces[0].__name__ for name, entry in ALGORITHMS.items()}
SCENARIO = {"num_hosts": 20, "num_networks": 1, "max_steps": 10, "first_campaign": 1}
TINY = {"hiddens": [8, 8]}
PPO_TINY = {"train_batch_size": 16, "minibatch_size": 8, "num_epochs": 1}
OF_ALL = field_names(HMARLSettings)
CONTEXT = {  # what a changed value needs beside it
    "critic.kind": {"critic": {"bins": 3}},
    "memory.kind": {"memory": {"minutes": 2}},
    "memory.size": {"memory": {"minutes": 2}},
    "double_q": {"lr": 0.1},  # the newest network and its target soon differ
}
CREDIT = {"weight": 1.0, "share": 1.0, "horizon": 2, "states": 6}  # one round an iteration
CONTEXT["counterfactual.hold"] = {"counterfactual": {**CREDIT, "horizon": 8, "share": 4.0}}  # must show
VALUES = {  # where a value cannot be made from the declaration
    "rest.action": [[0.3] * 16],
    "reward_shaping.metrics": [{"length": 1.0}],
    "counterfactual.alternatives": [["teacher"]],
    "counterfactual.hold": [4, 8],
}


pytestmark = pytest.mark.usefixtures("quiet")


# ---- what a tiny run shows
def config_of(algorithm, space, settings):
    """HMARL on soc-v1 with one tier that learns; another acts at random, the others not at all."""
    tier = TIERS[space]
    own = merged({"algorithm": algorithm, **TINY, **(PPO_TINY if algorithm == "PPO" else {})}, settings)
    others = {t: {"algorithm": "scripted", "policy": "random"} for t in DEFAULT_TIERS if t != tier}
    config = HMARLConfig().environment("soc-v1", env_config=SCENARIO).debugging(seed=0, log_level="ERROR")
    config.env_runners(num_envs_per_env_runner=4)
    config.training(train_batch_size=24, learning_starts=0, random_steps=0, updates_per_iteration=2)
    config.training(replay_batch_size=16, replay_capacity=256)
    if "teacher" in settings.get("counterfactual", {}).get("alternatives", ()):
        config.training(teacher="expert", teacher_rounds=0, teacher_rest_steps=0, imitation=0.0)
    return config.tiers({tier: own, **others}, replace=True)


def digest(data):
    """A short text that is the same for the same data: arrays and numbers bit by bit."""
    found = hashlib.sha256()

    def add(value):
        if isinstance(value, dict):
            for name in sorted(value, key=str):
                found.update(str(name).encode())
                add(value[name])
        elif isinstance(value, (list, tuple)):
            for item in value:
                add(item)
        else:
            found.update(
                np.asarray(value).tobytes() if isinstance(value, (np.ndarray, np.number)) else str(value).encode()
            )

    add(data)
    return found.hexdigest()


@functools.cache
def observed(algorithm, space, settings):
    """What a run of some iterations with these settings (JSON) leaves: learner, actions, names of metrics."""
    config = config_of(algorithm, space, json.loads(settings))
    tier = TIERS[space]
    algo = config.build_algo()
    # What one iteration compares is learned from in the next; its age tells in the one after.
    results = [algo.train() for _ in range(3 if "counterfactual" in settings else 2)]
    learner = algo.learner_group[tier]._learner.get_state()
    [rollout] = algo.env_runner.sample(num_timesteps=8)
    algo.env_runner.stop()
    members = config.members(algo.agents)
    metrics = sorted(results[-1].get("learners", {}).get(tier, ()))
    return digest([learner, rollout.seen, metrics, members, algo.averaged])


def has_effect(algorithm, space, path, context, candidates):
    """Whether one of the values changes what a run shows."""
    before = observed(algorithm, space, json.dumps(context))
    for value in candidates:
        changed = merged(context, nested(path, value))
        if observed(algorithm, space, json.dumps(changed)) != before:
            return True
    return False


def nested(path, value):
    part, _, name = path.rpartition(".")
    return {part: {name: value}} if part else {name: value}


# ---- the declarations
def walk(settings):
    """(path, declaration, declaration of its part or None) of every setting of a dataclass, but for "algorithm"."""
    for spec in dataclasses.fields(settings):
        if "part" in spec.metadata:
            yield from (
                (f"{spec.name}.{inner.name}", inner, spec) for inner in dataclasses.fields(spec.metadata["part"])
            )
        elif spec.name != "algorithm":
            yield spec.name, spec, None


def needed_space(spec, part):
    return (spec.metadata.get("space") if spec else None) or (part.metadata.get("space") if part else None)


def context_of(settings, path, spec):
    """Settings with which the one at `path` has an effect, by its declaration."""
    context = dict(CONTEXT.get(path, {"counterfactual": CREDIT} if path.startswith("counterfactual.") else {}))
    other, wanted = spec.metadata.get("only", (None, None))
    if other is None:
        return context
    part = path.rpartition(".")[0]
    wanted = 1e-3 if wanted == ANY else wanted
    return merged(context, nested(f"{part}.{other}" if part else other, wanted))


def candidates_of(path, spec):
    """Values other than the default, by the declaration."""
    if path in VALUES:
        return VALUES[path]
    kind, default, meta = spec.metadata["kind"], default_of(spec), spec.metadata
    low, high = meta.get("low"), meta.get("high")
    if kind == "flag":
        return [not default]
    if kind == "choice":
        return [value for value in meta["allowed"] if value != default]
    if kind == "list":
        size = max(meta.get("sizes", (len(default or (1,)),)))
        middle = [max(low, min(high, x)) for x in (4, 6)] if meta.get("is_whole") else [low, (low + high) / 2]
        return [middle[:size]]
    number = default if isinstance(default, (int, float)) else None
    tried = [low, high] if number is None else [number / 2, number * 2, low, high]
    tried = [int(x) if isinstance(default, int) else x for x in (*tried, low + 1, 1e-3, 0.5) if low <= x <= high]
    return [x for x in dict.fromkeys(tried) if x != default][:5]


# see their own tests: below, and of GPUs in test_ray_start.py
ALONE = {"agents", "checkpoint", "num_learners", "custom_resources_per_learner", "num_gpus_per_learner"}
CASES = [
    pytest.param(
        *(algorithm, space, path, spec),
        id=f"{algorithm}-{space}-{path}",
        # whatever has an effect in the algorithm's first space nearly always has one in the other
        marks=[pytest.mark.slow] if space != needed_space(spec, part) and space != FIRST[algorithm] else [],
    )
    for algorithm, space in KINDS
    for path, spec, part in walk(ALGORITHMS[algorithm].settings)
    if path not in ALONE and needed_space(spec, part) in (None, space)
]


@pytest.mark.parametrize(("algorithm", "space", "path", "spec"), CASES)
def test_every_setting_has_an_effect(algorithm, space, path, spec):
    context = context_of(ALGORITHMS[algorithm].settings, path, spec)
    values = candidates_of(path, spec)
    assert values
    groups = [[value] for value in values] if spec.metadata["kind"] == "choice" else [values]
    for group in groups:  # every choice, or one of some values
        assert has_effect(algorithm, space, path, context, group), f"{path} has no effect on {algorithm}: {group}"


@pytest.mark.parametrize(("algorithm", "space"), KINDS)
def test_the_same_settings_show_the_same(algorithm, space):
    assert observed.__wrapped__(algorithm, space, "{}") == observed(algorithm, space, "{}")


def test_a_setting_without_effect_is_found(monkeypatch):
    @dataclasses.dataclass(frozen=True)
    class Idle(ALGORITHMS["DQN"].settings):
        idle: float = setting(1.0, 0.0, 2.0, "nothing", "this test")

    monkeypatch.setitem(ALGORITHMS, "DQN", dataclasses.replace(ALGORITHMS["DQN"], settings=Idle))
    [(path, spec, _)] = [row for row in walk(Idle) if row[0] == "idle"]
    observed.cache_clear()
    assert not has_effect("DQN", "Discrete", path, {}, candidates_of(path, spec))
    assert has_effect("DQN", "Discrete", "tau", {}, [0.5])
    observed.cache_clear()


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_tier_starts_from_its_checkpoint(name, tmp_path):
    space = FIRST[name]
    algo = config_of(name, space, {}).debugging(seed=7).build_algo()
    folder = str(save_checkpoint(algo, tmp_path / "c", replay=False))
    assert has_effect(name, space, "checkpoint", {}, [folder])


@pytest.mark.parametrize("name", ALGORITHMS)
def test_learners_are_asked_for(name):
    space = FIRST[name]
    few, many = (config_of(name, space, {"num_learners": number}) for number in (0, 2))
    placed = config_of(name, space, {"num_learners": 2, "custom_resources_per_learner": {"rack_a": 0.5}})
    asked = [config.algo_class.default_resource_request(config).bundles for config in (few, many, placed)]
    assert asked[1] == asked[0] + 2 * [{"CPU": 1}]
    assert asked[2] == asked[0] + 2 * [{"CPU": 1, "rack_a": 0.5}]


@pytest.mark.parametrize("name", ALGORITHMS)
def test_a_tier_acts_for_the_agents_that_it_names(name):
    space = FIRST[name]
    tier, agents = TIERS[space], [f"{role}_0" for role in DEFAULT_TIERS]
    config = config_of(name, space, {"agents": [f"{tier}_0", "strategic_coordinator_0"]})
    assert config.members(agents)[tier] == (f"{tier}_0", "strategic_coordinator_0")
    assert config_of(name, space, {}).members(agents)[tier] == (f"{tier}_0",)


# ---- what is refused
@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"custom_resources_per_learner": {"rack_a": 1}}, "has no effect with num_learners=0"),
        ({"num_learners": 1, "custom_resources_per_learner": {"rack_a": 0}}, "rack_a=0 must be a share of 1, or a"),
        ({"num_learners": 1, "custom_resources_per_learner": {"rack_a": 1.5}}, "rack_a=1.5 must be a share of 1, or a"),
    ],
)
def test_resources_that_no_learner_could_take_are_refused(settings, said):
    with pytest.raises(ConfigError, match=said):
        parse("threat_hunter", {"algorithm": "SAC", **settings})


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_names_of_rllib_and_of_other_algorithms_are_refused(algorithm):
    own = ALGORITHMS[algorithm].settings
    foreign = {name for name in names_in_rllib(algorithm) if not name.startswith("_")}
    foreign |= {name for entry in ALGORITHMS.values() for name in field_names(entry.settings)}
    foreign |= {*OF_ALL, "env", "num_env_runners", "evaluation_interval", "tiers"}
    foreign |= {name for kind in parts_of(own).values() for name in field_names(kind)}
    foreign -= set(field_names(own))
    assert len(foreign) > 150
    for name in foreign:
        with pytest.raises(ConfigError, match=rf"^tier 'threat_hunter': .*{name}") as error:
            complete("threat_hunter", {"algorithm": algorithm, name: 1}, of_all=OF_ALL)
        assert "\n" not in str(error.value)
    taken = field_names(parts_of(own)["rllib"])
    for name in names_in_rllib(algorithm) - set(taken):
        with pytest.raises(ConfigError, match=f"setting of rllib '{name}' does not exist"):
            parse("threat_hunter", {"algorithm": algorithm, "rllib": {name: 1}})


@pytest.mark.parametrize(("algorithm", "old"), list(itertools.product(ALGORITHMS, RENAMED)))
def test_old_names_say_the_new_one(algorithm, old):
    with pytest.raises(ConfigError, match=f"'{old}' of older versions is now") as error:
        HMARLConfig().tiers({"alert_triage": {"algorithm": algorithm, old: 1}})
    new = RENAMED[old].replace("gone: where ", "").split("'")[1]
    assert new in str(error.value)
    assert new in {*field_names(ALGORITHMS["SAC"].settings), "action_masking", "ema_tau"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"algorithm": "SAC", "n_step": 7}, r"it holds for all tiers, HMARLConfig.training\(n_step=...\)"),
        ({"algorithm": "SAC", "replay_batch_size": 7}, "it holds for all tiers"),
        ({"algorithm": "SAC", "lambda_": 7}, "SAC has no setting 'lambda_', PPO has"),
        ({"algorithm": "SAC", "train_batch_size": 7}, "it holds for all tiers"),
        ({"algorithm": "SAC", "bins": 7}, "it is one of 'critic': {'critic': {'bins': ...}}"),
        ({"algorithm": "PPO", "clip_param": 0.1}, "it is one of 'rllib'"),
        ({"algorithm": "SAC", "num_env_runners": 7}, "RLlib's would have no effect on a tier; of RLlib's, 'rllib' tak"),
        ({"algorithm": "SAC", "actor_lrr": 1}, r"setting of SAC 'actor_lrr' does not exist; did you mean 'actor_lr'\?"),
        ({"algorithm": "SAC", "critic": {"bns": 1}}, r"setting of critic 'bns' .* did you mean 'bins'\?"),
        (
            {"algorithm": "SAC", "critic": "additive"},
            "critic='additive' must be settings by name: reads_state, kind, bins",
        ),
        ({"algorithm": "SAC", "critic": {"bins": 1}}, "critic.bins=1 must be 2 or more"),
        ({"algorithm": "SAC", "gamma": float("nan")}, "gamma=nan must be a number from 0.0 to 1.0"),
        ({"algorithm": "SAC", "actor_lr": float("inf")}, "actor_lr=inf must be a number"),
        ({"algorithm": "SAC", "gamma": True}, "gamma=True must be a number"),
        ({"algorithm": "SAC", "gamma": "0.9"}, "gamma='0.9' must be a number"),
        ({"algorithm": "SAC", "hiddens": [8.0]}, "hiddens=8.0 must be an integer"),
        ({"algorithm": "SAC", "trainable": 1}, "trainable=1 must be True or False"),
        ({"algorithm": "SAC", "agents": "threat_hunter_0"}, "agents='threat_hunter_0' must be a list of names"),
        ({"algorithm": "SAC", "checkpoint": 3}, "checkpoint=3 must be a string, or None"),
        ({"algorithm": "SAC", "target_entropy": "low"}, "target_entropy='low' must be a number .*, or 'auto'"),
        ({"algorithm": "SAC", "exploration": {"scale_range": [2, 1]}}, r"scale_range=\[2, 1\] must be \[lowest, high"),
        ({"algorithm": "SAC", "actor_lr": [[0, 1e-3]]}, r"actor_lr=\[\[0, 0.001\]\] must be .* or a schedule over"),
        ({"algorithm": "SAC", "actor_lr": [[0, 1e-3], [0, 1e-4]]}, "actor_lr=.* must be .* or a schedule over"),
        ({"algorithm": "SAC", "actor_lr": [[0, 1e-3], [5, float("nan")]]}, "actor_lr=.* must be"),
        ({"algorithm": "SAC", "reward_shaping": {"metrics": {"length": "x"}}}, "metrics=.* must be numbers by name"),
        ({"algorithm": "scripted", "policy": "null", "gamma": 0.9}, "setting 'gamma' does not exist; allowed: agents"),
    ],
)
def test_what_is_not_allowed_is_named(settings, message):
    with pytest.raises(ConfigError, match=message) as error:
        HMARLConfig().tiers({"threat_hunter": settings})
    assert "\n" not in str(error.value)


CONDITIONAL = [
    pytest.param(algorithm, path, spec, id=f"{algorithm}-{path}")
    for algorithm, entry in ALGORITHMS.items()
    for path, spec, _ in walk(entry.settings)
    if "only" in spec.metadata
]


@pytest.mark.parametrize(("algorithm", "path", "spec"), CONDITIONAL)
def test_a_setting_without_what_it_needs_is_refused(algorithm, path, spec):
    part, _, name = path.rpartition(".")
    other, wanted = spec.metadata["only"]
    without = {f"{part}.{other}" if part else other: None} if wanted == ANY else {}
    value = candidates_of(path, spec)[0]
    settings = nested(path, value)
    for at, nothing in without.items():
        settings = merged(settings, nested(at, nothing))
    with pytest.raises(ConfigError, match=f"{name}=.* has no effect, {other} is "):
        parse("threat_hunter", {"algorithm": algorithm, **settings})


SPACED = [
    pytest.param(algorithm, space, path, spec, id=f"{algorithm}-{space}-{path}")
    for algorithm, space in KINDS
    for path, spec, part in walk(ALGORITHMS[algorithm].settings)
    if needed_space(spec, part) not in (None, space)
]


@pytest.mark.parametrize(("algorithm", "space", "path", "spec"), SPACED)
def test_a_setting_of_other_action_spaces_is_refused(algorithm, space, path, spec):
    context = context_of(ALGORITHMS[algorithm].settings, path, spec)
    tier = "alert_triage"  # which may be masked
    settings = parse(tier, merged({"algorithm": algorithm, **context}, nested(path, candidates_of(path, spec)[0])))
    with pytest.raises(ConfigError, match=f"has no effect on {space} actions; it has one on"):
        settings.check_space(space)
    parse(tier, {"algorithm": algorithm}).check_space(space)


# ---- plain data
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_completed_settings_are_plain_and_stay_what_they_are(algorithm):
    plain = complete("alert_triage", {"algorithm": algorithm})
    assert json.loads(json.dumps(plain)) == plain
    assert complete("alert_triage", plain) == plain
    assert to_plain(parse("alert_triage", plain)) == plain
    assert parse("alert_triage", plain) == ALGORITHMS[algorithm].settings()


def test_settings_of_a_part_merge_one_by_one():
    config = HMARLConfig().tiers({"threat_hunter": {"critic": {"kind": "additive", "bins": 21}}})
    config.tiers({"threat_hunter": {"critic": {"layer_norm": True}, "reward_shaping": {"metrics": {"a": 1.0}}}})
    config.update_from_dict({"tiers": {"threat_hunter": {"reward_shaping": {"metrics": {"b": np.float64(2.0)}}}}})
    found = config.tier_settings["threat_hunter"]
    changed = {"kind": "additive", "bins": 21, "layer_norm": True}
    assert found["critic"] == {"reads_state": False, **changed, "twin": True}
    assert found["reward_shaping"] == {"penalty_scale": 1.0, "metrics": {"b": 2.0}}
    assert config.tier("threat_hunter").critic.bins == 21
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.tier("threat_hunter").gamma = 0.5
