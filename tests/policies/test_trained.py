"""Trained policies without RLlib: the same actions as with it, what they take and refuse, what they leave alone."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
import torch
from acting_networks import CASES, network_for, observations_of, spaces_of, write_policy

import soc_env
from experiments.cli import main
from policies import checkpoint
from policies.loading import load_policy
from policies.trained import TrainedPolicy
from soc_env.errors import CheckpointError, ConfigError
from soc_env.soc.tables import layout

STEPS = 7_000  # inside every schedule below
SEVERAL = {"alert_triage": "DQN", "threat_hunter": "SAC", "response_orchestrator": "MADDPG"}
SEVERAL["strategic_coordinator"] = "PPO"


def teams(scenario, **settings):
    """The four tiers of a scenario with the algorithms of `SEVERAL`."""
    return {tier: network_for(scenario, tier, algorithm, **settings) for tier, algorithm in SEVERAL.items()}


# ---- the same as with RLlib
def rllib_module(network):
    """RLlib's module of the same tier, with the same weights where both have them."""
    pytest.importorskip("ray")
    from policies.learners import build_config

    spaces = network.observation_space, network.action_space
    sizes = {"joint_obs_dim": spaces[0].shape[0], "other_action_dim": 0}
    config = build_config(network.role, network.settings, spaces, 0, **sizes)
    acts_only = network.settings.algorithm != "PPO"  # as in runners, where PPO has its values
    spec = config.get_multi_rl_module_spec(spaces={network.role: spaces}, inference_only=acts_only)
    module = spec.build()[network.role]
    missing, unexpected = module.load_state_dict(network.state_dict(), strict=False)
    assert not unexpected
    assert all("vf" in name or "critic" in name for name in missing)  # PPO's values
    return module


def by_rllib(module, seen, *, explore, t):
    """The actions that RLlib's interfaces give; SAC's greedy one is squashed, as those are that it draws."""
    with torch.no_grad():
        batch = {"obs": torch.from_numpy(seen)}
        out = module.forward_exploration(batch, t=t) if explore else module.forward_inference(batch)
        if "actions" not in out:
            made = module.get_exploration_action_dist_cls().from_logits(out["action_dist_inputs"])
            out["actions"] = (made if explore else made.to_deterministic()).sample()
            if not explore and module.settings.algorithm == "SAC" and not module.is_discrete:
                out["actions"] = torch.tanh(out["actions"])
    actions = out["actions"].numpy()
    return actions if actions.ndim == 1 else actions.clip(-1.0, 1.0)


@pytest.mark.parametrize("encoder", ["mlp", "zones", "attention"])
@pytest.mark.parametrize(("scenario", "tier", "algorithm", "settings"), CASES)
def test_actions_are_those_of_rllibs_modules(scenario, tier, algorithm, settings, encoder):
    network = network_for(scenario, tier, algorithm, encoder=encoder, **settings)
    module, agent = rllib_module(network), f"{tier}_0"
    seen = observations_of(scenario, 32)[agent]
    own = [name for name in module.state_dict() if name in network.state_dict()]
    assert own == list(network.state_dict())  # the same names, in the same order
    policies = {
        deterministic: TrainedPolicy({tier: network}, deterministic=deterministic, num_env_steps=STEPS, seed=3)
        for deterministic in (True, False)
    }
    for deterministic, policy in policies.items():
        torch.manual_seed(3)
        for _ in range(3):
            expected = by_rllib(module, seen, explore=not deterministic, t=STEPS)
            outside = torch.get_rng_state()
            found = policy({agent: seen})[agent]
            assert torch.equal(torch.get_rng_state(), outside)
            assert np.array_equal(found, expected)
            assert found.dtype == expected.dtype
    greedy, drawn = (policy({agent: seen})[agent] for policy in policies.values())
    assert not np.array_equal(greedy, drawn)


@pytest.mark.parametrize("algorithm", ["SAC", "MADDPG", "PPO"])
def test_greedy_actions_are_what_is_imitated(algorithm):
    network = network_for("soc-v1", "threat_hunter", algorithm, encoder="zones")
    seen = torch.from_numpy(observations_of("soc-v1", 32)["threat_hunter_0"])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) / 2)
        greedy, outputs = network.draw(seen, explore=False).actions, network.outputs(seen)
    torch.testing.assert_close(greedy, outputs)
    assert greedy.abs().max() > 0.5


def test_maddpg_explores_by_gaussian_noise_of_its_schedule():
    network = network_for("paper-v0", "response_orchestrator", "MADDPG", exploration={"std": [[0, 0.9], [14_000, 0.1]]})
    seen = torch.from_numpy(observations_of("paper-v0", 32)["response_orchestrator_0"])
    torch.manual_seed(0)
    drawn = network.draw(seen, explore=True, t=STEPS).actions
    torch.manual_seed(0)
    expected = (network.draw(seen, explore=False).actions + 0.5 * torch.randn(drawn.shape)).clamp(-1, 1)
    torch.testing.assert_close(drawn, expected)


# ---- what it takes
@pytest.mark.parametrize("scenario", ["soc-v1", "paper-v0"])
def test_one_situation_gives_one_action_each(scenario):
    policy, seen = TrainedPolicy(teams(scenario)), observations_of(scenario, 3)
    batch = policy(seen, np.ones(3, bool))
    for decides in (None, True, np.array([True])):
        one = policy({agent: rows[1] for agent, rows in seen.items()}, decides)
        assert isinstance(one["alert_triage_0"], int)
        assert one["alert_triage_0"] == batch["alert_triage_0"][1]
        for agent in set(seen) - {"alert_triage_0"}:
            assert one[agent].shape == batch[agent].shape[1:]
            np.testing.assert_allclose(one[agent], batch[agent][1], atol=1e-6)
    env = soc_env.parallel_env(scenario)
    observations, _ = env.reset(seed=0)
    env.step(policy(observations))  # which refuses what is no action


def test_one_situation_holds_the_action_of_a_slow_agent():
    policy = TrainedPolicy(teams("soc-v1"), ("strategic_coordinator_0",))
    seen = observations_of("soc-v1", 2)
    first, second = ({agent: rows[k] for agent, rows in seen.items()} for k in (0, 1))
    begun = policy(first)["strategic_coordinator_0"]
    held, decided = (policy(second, decides)["strategic_coordinator_0"] for decides in (False, True))
    assert np.array_equal(held, begun)
    assert not np.array_equal(decided, begun)
    policy.reset()
    assert np.array_equal(policy(second, False)["strategic_coordinator_0"], decided)  # there is none to hold
    assert policy(seen, np.zeros(2, bool))["strategic_coordinator_0"].shape == (2, 8)  # nor for a batch


@pytest.mark.parametrize(
    ("observations", "message"),
    [
        ({"threat_hunter_1": "x"}, r"observation is 'x', allowed: numbers"),
        ({"threat_hunter_0": np.zeros((1, 1, 194))}, r"shape \(1, 1, 194\), allowed: \(size,\), or \(N, size\)"),
        ({"threat_hunter_0": np.zeros(193)}, r"threat_hunter_0: the policy reads observations of size 194, got 193"),
        ({"hunter_0": np.zeros(194)}, r"agent 'hunter_0' does not exist; did you mean 'threat_hunter_0'\? allowed: al"),
        ({"threat_hunter_9": np.zeros(194)}, r"agent 'threat_hunter_9' does not exist; .*allowed: alert_triage_0, "),
        (
            {"threat_hunter_0": np.zeros(194), "response_orchestrator_0": np.zeros((2, 9))},
            r"observations of threat_hunter_0 are a batch \(\), those of response_orchestrator_0 \(2,\)",
        ),
    ],
)
def test_wrong_observations_are_refused_in_one_line(observations, message):
    policy = TrainedPolicy(teams("soc-v1"), members={tier: [f"{tier}_0"] for tier in SEVERAL})
    with pytest.raises(ConfigError, match=message) as error:
        policy(observations)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("scenario", ["soc-v1", "paper-v0", None])
def test_an_entry_that_is_not_finite_is_named(scenario, value):
    made = scenario or "paper-v0"
    policy = TrainedPolicy(teams(made), manifest={"scenario": scenario})
    seen = observations_of(made, 4)
    seen["threat_hunter_0"][2, 5] = value
    name = {"soc-v1": r"'zone0_\w+' \(entry 5\)", "paper-v0": r"'segment1_\w+' \(entry 5\)", None: "entry 5"}[scenario]
    with pytest.raises(ConfigError, match=rf"^threat_hunter_0: observation {name} of row 2 is {value}, allowed: fini"):
        policy(seen)
    with pytest.raises(ConfigError, match=rf"^threat_hunter_0: observation {name} is {value}, allowed: finite numbers"):
        policy({"threat_hunter_0": seen["threat_hunter_0"][2]})


def test_decides_has_a_row_for_each_observation():
    policy = TrainedPolicy(teams("paper-v0"))
    with pytest.raises(ConfigError, match=r"decides has shape \(3,\), allowed: \(2,\)"):
        policy(observations_of("paper-v0", 2), np.ones(3, bool))


# ---- loading
def test_a_loaded_policy_acts_as_what_was_written(tmp_path):
    modules = teams("soc-v1", encoder="attention")
    write_policy(tmp_path, "soc-v1", modules, slow_agents=["strategic_coordinator_0"], num_env_steps=STEPS)
    seen = observations_of("soc-v1", 8)
    for deterministic in (True, False):
        written = TrainedPolicy(modules, deterministic=deterministic, num_env_steps=STEPS, seed=4)
        loaded = load_policy(tmp_path, deterministic=deterministic, seed=4)
        found, expected = loaded(seen), written(seen)
        assert all(np.array_equal(found[agent], expected[agent]) for agent in seen)
        assert loaded.slow_agents == ("strategic_coordinator_0",)
    other = load_policy(tmp_path, deterministic=False, seed=5)(seen)
    assert not any(np.array_equal(action, other[agent]) for agent, action in loaded(seen).items())


def test_nothing_changes_the_callers_random_states(tmp_path):
    write_policy(tmp_path, "paper-v0", teams("paper-v0"))
    torch.manual_seed(1), np.random.seed(1), random.seed(1)  # noqa: NPY002
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()  # noqa: NPY002
    for deterministic in (True, False):
        policy = load_policy(tmp_path, deterministic=deterministic)
        policy(observations_of("paper-v0", 4))
        policy.reset(3)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002
    assert random.getstate() == before[2]


def test_a_run_folder_stands_for_its_best_checkpoint(tmp_path):
    for name, steps in (("last", 2), ("best", 1)):
        folder = tmp_path / "run" / "checkpoints" / name
        folder.mkdir(parents=True)
        write_policy(folder, "paper-v0", teams("paper-v0"), num_env_steps=steps)
        assert load_policy(tmp_path / "run").num_env_steps == steps
    with pytest.raises(CheckpointError, match="does not exist"):
        load_policy(tmp_path / "walk")


def test_a_shipped_team_is_found_by_its_name_unless_a_folder_has_it(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "TEAMS", tmp_path / "teams")
    monkeypatch.chdir(tmp_path)
    for name, steps in (("teams/paper-v0", 1), ("teams/soc-v1", 2), ("soc-v1", 3)):
        (tmp_path / name).mkdir(parents=True)
        scenario = Path(name).name
        write_policy(tmp_path / name, scenario, teams(scenario), num_env_steps=steps)
    (tmp_path / "teams" / "notes").mkdir()
    assert list(checkpoint.shipped_teams()) == ["paper-v0", "soc-v1"]
    assert [load_policy(name).num_env_steps for name in ("paper-v0", "soc-v1")] == [1, 3]
    with pytest.raises(CheckpointError, match=r"soc-v2' does not exist; shipped teams: paper-v0, soc-v1$"):
        load_policy("soc-v2")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hiddens": [65_536, 65_536]}, r"hiddens=\[65536, 65536\] need 4294967296 weights and more, there are"),
        ({"hiddens": [16, 8]}, r"weight '\S+' has shape \(16, 16\), wanted: \(8, 16\)"),
        ({"encoder": "zones"}, r"weight '\S+' is missing"),
        ({"algorithm": "DQN"}, "DQN has no setting 'lambda_', PPO has"),
        ({"hiddens": ["a"]}, "hiddens='a' must be an integer"),
        ({"nothing": 1}, "setting of PPO 'nothing' does not exist; allowed: "),
    ],
)
def test_settings_that_do_not_fit_the_weights_are_refused(tmp_path, change, message):
    modules = {"strategic_coordinator": network_for("paper-v0", "strategic_coordinator", "PPO")}
    write_policy(tmp_path, "paper-v0", modules, tiers={"strategic_coordinator": change})
    with pytest.raises(CheckpointError, match=f"tier 'strategic_coordinator' cannot be made .*{message}") as error:
        load_policy(tmp_path)
    assert "\n" not in str(error.value)


# ---- scripted tiers
def scripted_team(folder, policy, scenario="paper-v0"):
    modules = {"threat_hunter": network_for("paper-v0", "threat_hunter", "SAC")}
    return write_policy(folder, scenario, modules, scripted={"alert_triage": policy})


def test_scripted_tiers_act_beside_networks(tmp_path):
    scripted_team(tmp_path, "random")
    policy, seen = load_policy(tmp_path, seed=2), observations_of("paper-v0", 64)
    seen = {agent: seen[agent] for agent in ("threat_hunter_0", "alert_triage_0")}
    played = policy(seen)
    assert played["threat_hunter_0"].shape == (64, 16)
    assert set(played["alert_triage_0"].tolist()) == {0, 1, 2, 3}
    policy.reset(2)
    assert np.array_equal(policy(seen)["alert_triage_0"], played["alert_triage_0"])
    assert isinstance(policy({agent: rows[0] for agent, rows in seen.items()})["alert_triage_0"], int)
    with pytest.raises(ConfigError, match="observation of alert_triage_0 is missing; scripted tiers read those of all"):
        policy({"threat_hunter_0": seen["threat_hunter_0"]})
    with pytest.raises(ConfigError, match="tier 'alert_triage' is scripted"):
        policy.for_zones(3)


@pytest.mark.parametrize("networks", [("threat_hunter", "strategic_coordinator"), ()])
def test_a_team_with_scripted_tiers_is_measured_on_its_own_number_of_zones(tmp_path, networks, capsys):
    """Also one without any network: its scripted tiers are made for the spaces that the checkpoint has."""
    modules = {tier: network for tier, network in teams("soc-v1").items() if tier in networks}
    scripted = {tier: "rule-soar" for tier in SEVERAL if tier not in networks}
    write_policy(tmp_path, "soc-v1", modules, scripted=scripted)
    policy = load_policy(tmp_path)
    assert policy.for_zones(5) is policy
    named = f"tier {next(iter(scripted))!r} is scripted, for its own scenario's zones only"
    with pytest.raises(ConfigError, match=named):
        policy.for_zones(3)
    short = ["--checkpoint", str(tmp_path), "--episodes", "1", "--override", "max_steps=2"]
    few = ["--policies", "random", "--network-seeds", "1", "--quick", "--no-ablations"]
    for command in (["evaluate", *short], ["compare", *short, *few]) if networks else (["evaluate", *short],):
        assert main(command) == 0, capsys.readouterr().err
    assert main(["evaluate", *short, "--override", "num_zones=3"]) == 2
    assert named in capsys.readouterr().err


def test_a_tier_of_another_name_acts_for_the_zones_of_its_agents(tmp_path):
    network = network_for("soc-v1", "threat_hunter", "SAC", encoder="zones")
    policy = TrainedPolicy({"second": network}, members={"second": ["threat_hunter_0"]}).for_zones(3)
    assert policy.modules["second"].observation_space.shape == (layout("threat_hunter_0", 3).size,)


class Always:
    """A scripted policy of the user's."""

    def __init__(self, action_spaces, seed):
        self.agents = list(action_spaces)

    def reset(self, seed):
        pass

    def __call__(self, observations, decides):
        return {agent: np.full(len(decides), 3) for agent in self.agents}


def test_a_scripted_policy_that_is_none_of_ours_is_passed_and_never_imported(tmp_path):
    scripted_team(tmp_path, "a_module_of_nobody:Always")
    with pytest.raises(CheckpointError, match=r"'alert_triage' is scripted by 'a_module_of_nobody:Always', which is"):
        load_policy(tmp_path)
    policy = load_policy(tmp_path, scripted={"alert_triage": Always})
    seen = observations_of("paper-v0", 2)
    seen = {agent: seen[agent] for agent in ("threat_hunter_0", "alert_triage_0")}
    assert policy(seen)["alert_triage_0"].tolist() == [3, 3]
    with pytest.raises(ConfigError, match="scripted: tier 'threat_hunter' is not scripted in the checkpoint"):
        load_policy(tmp_path, scripted={"alert_triage": Always, "threat_hunter": Always})


def test_an_environment_of_others_is_compared_with_the_checkpoint(tmp_path):
    modules = {"threat_hunter": network_for("paper-v0", "threat_hunter", "SAC")}
    write_policy(tmp_path, None, modules)
    fits, differs = (soc_env.Simulator(scenario, num_envs=1) for scenario in ("paper-v0", "soc-v1"))
    assert load_policy(tmp_path, env=fits).manifest["scenario"] is None
    with pytest.raises(CheckpointError, match=r"observes and acts in \(128, 16\) entries, in the environment in \(194"):
        load_policy(tmp_path, env=differs)
    lacks = type("Lacks", (), {"observation_spaces": {}, "action_spaces": {}})()
    with pytest.raises(CheckpointError, match="acts for 'threat_hunter_0', which the environment lacks"):
        load_policy(tmp_path, env=lacks)


def test_all_algorithms_are_among_the_cases():
    assert {(algorithm, spaces_of(scenario, tier)[1].__class__.__name__) for scenario, tier, algorithm, _ in CASES} == {
        *itertools.product(("PPO", "SAC"), ("Box", "Discrete")),
        ("DQN", "Discrete"),
        ("MADDPG", "Box"),
    }


SHIPPED = {  # team -> the script that it is above, in what, on which episodes; by its card by how much
    "soc-v1": ("expert", "score", {"split": "test"}),  # 3.11 [2.61, 3.60]
    "paper-v0": ("best-constant", "reward", {}),  # .59 [.45, .72]
}


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_teams_are_better_than_a_script(name):
    pytest.importorskip("scipy")
    from experiments.evaluate import evaluate, paired_gain

    policy, (reference, metric, held_out) = load_policy(name), SHIPPED[name]
    num_episodes = {"soc-v1": 256, "paper-v0": 2048}[name]
    overrides = {**policy.manifest["overrides"], **held_out}
    team, script = (evaluate(one, name, num_episodes, 77, **overrides) for one in (policy, reference))
    assert paired_gain(team, script, metric).low > 0
    assert (checkpoint.shipped_teams()[name] / "README.md").read_text().startswith(f"# HMARL-SOC team for {name}\n")


def test_teams_that_ship_are_tested():
    assert set(checkpoint.shipped_teams()) == set(SHIPPED)


def test_where_it_is_not_to_act_actions_are_held_or_nothing():
    slow = "strategic_coordinator_0"
    policy, whole = (TrainedPolicy(teams("soc-v1"), (slow,)) for _ in range(2))
    seen, acts = observations_of("soc-v1", 8), np.arange(8) % 3 > 0
    later = {agent: rows[::-1].copy() for agent, rows in seen.items()}
    before, _ = policy(seen), whole(seen)
    found, wanted = policy(later, acts=acts), whole(later)
    for agent, action in found.items():
        np.testing.assert_allclose(action[acts], wanted[agent][acts], atol=1e-6, err_msg=agent)
        assert np.array_equal(action[~acts], before[agent][~acts] if agent == slow else 0 * action[~acts]), agent
    assert not np.array_equal(before[slow], wanted[slow])
    with pytest.raises(ConfigError, match=r"^acts has shape \(3,\), allowed: \(8,\)$"):
        policy(seen, acts=np.ones(3, bool))
