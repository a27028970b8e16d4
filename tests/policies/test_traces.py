"""Networks as they act, recorded: the same bits, also after their weights have changed."""

import numpy as np
import pytest
import torch
from toy_team import toy_config

import soc_env
from policies.algorithms import ALGORITHMS
from policies.runner import traces
from policies.runner.acting import act
from policies.runner.traces import Traces, recorded
from policies.tiers import parse

AGENTS = {"SAC": "threat_hunter", "DQN": "alert_triage", "MADDPG": "response_orchestrator"} | {
    "PPO": "strategic_coordinator"
}


def network(algorithm: str, encoder: str, scenario: str = "soc-v1", **more):
    tier = AGENTS[algorithm]
    simulator = soc_env.Simulator(scenario, num_envs=1, seed=0)
    settings = parse(tier, {"algorithm": algorithm, "encoder": encoder, "hiddens": [8, 8], **more})
    spaces = (part[f"{tier}_0"] for part in (simulator.observation_spaces, simulator.action_spaces))
    torch.manual_seed(0)
    return ALGORITHMS[algorithm].policy(settings, tier, *spaces)


def observations(module, n: int = 5) -> np.ndarray:
    return np.random.default_rng(n).random((n, *module.observation_space.shape), np.float32)


@pytest.mark.parametrize("encoder", ["mlp", "zones", "attention"])
@pytest.mark.parametrize("algorithm", list(AGENTS))
def test_a_recording_gives_the_same_bits_and_follows_weights(algorithm: str, encoder: str) -> None:
    module = network(algorithm, encoder)
    recording = recorded(module, torch.from_numpy(observations(module, 4)))
    assert recording is not None
    with torch.no_grad():
        for _ in range(3):
            seen = torch.from_numpy(observations(module, 4))
            before = recording(seen)
            assert torch.equal(before, module.inputs(seen))
            module.load_state_dict({name: value + 0.5 for name, value in module.state_dict().items()})
            assert torch.equal(recording(seen), module.inputs(seen))
            assert not torch.equal(recording(seen), before)


def test_a_recording_is_made_when_it_pays_and_of_whole_batches_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traces, "PATIENCE", 2)
    module, of = network("DQN", "zones"), Traces(5)
    seen = torch.from_numpy(observations(module))
    assert [of.inputs(module, seen) is None for _ in range(4)] == [True, True, False, False]
    assert torch.equal(of.inputs(module, seen), module.inputs(seen))
    assert of.inputs(module, seen[:3]) is None
    actions = [act(module, observations(module), explore=False, traces=t).executed for t in (None, of)]
    assert np.array_equal(*actions)


SETTINGS = {
    "SAC": {"segment_sharing": 0.1, "actor": {"log_std_range": [-2.0, 0.0]}, "rest": {"action": [0.1, 0.2, 0.3, 0.4]}},
    "MADDPG": {"segment_sharing": 0.3},
    "DQN": {"dueling": True, "action_masking": True},
}
PLAIN = [*((name, {}) for name in AGENTS), *SETTINGS.items(), ("DQN", {"dueling": False})]


@pytest.mark.parametrize(("algorithm", "settings"), [*PLAIN])
@pytest.mark.parametrize("sizes", [[8, 8], [7], [9, 6, 5]])
def test_plain_networks_have_kernels_for_any_number_of_rows(algorithm: str, settings: dict, sizes: list[int]) -> None:
    module, of = network(algorithm, "mlp", hiddens=sizes, **settings), Traces(9)
    dim = module.observation_space.shape[0]
    for norm, _ in module.input_norms():
        norm.set(np.linspace(-1, 1, dim), np.linspace(1e-4, 2, dim))
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for _ in range(2):
            for rows in (9, 1, 4, 7):
                seen = 4 * torch.from_numpy(observations(module, rows)) - 2
                torch.testing.assert_close(of.inputs(module, seen), module.inputs(seen), atol=1e-5, rtol=1e-5)
            before = of.inputs(module, seen)
            module.load_state_dict({name: value + 0.1 for name, value in module.state_dict().items()})
            of.refresh()
            assert not torch.equal(of.inputs(module, seen), before)


def test_networks_with_memory_have_no_kernels() -> None:
    module, of = network("MADDPG", "mlp", memory={"kind": "gru", "minutes": 2}), Traces(9)
    assert of.inputs(module, torch.zeros(9, 3 * module.observation_space.shape[0] + 2)) is None


class Odd(torch.nn.Module):
    """What it computes depends on more than a recording keeps."""

    def inputs(self, seen: torch.Tensor) -> torch.Tensor:
        return seen if seen[0, 0] > 0 else -seen


def test_what_a_recording_does_not_keep_goes_by_the_network() -> None:
    assert recorded(Odd(), torch.tensor([[1.0], [-1.0]])) is None


def test_training_is_the_same_with_recordings(build, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    make = traces.recorded
    monkeypatch.setattr(traces, "fits", lambda *_: False)  # plain networks would have kernels
    monkeypatch.setattr(traces, "recorded", lambda *args: made.append(make(*args)) or made[-1])
    finals = []
    for patience in (10**9, 3):
        monkeypatch.setattr(traces, "PATIENCE", patience)
        algo = build(toy_config())
        for _ in range(3):
            algo.train()
        finals.append([v.numpy().tobytes() for own in algo.averaged.values() for v in own.values()])
    assert made
    assert None not in made
    assert finals[0] == finals[1]
