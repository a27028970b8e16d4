"""Attention by kernels: values and gradients are those of the plain network."""

import pytest

pytest.importorskip("ray")
import torch
from network_scenes import ZONES, paper_scenes, scenes

from policies.networks.build import BodySpec, make_body
from policies.networks.stacked import Stacked
from policies.networks.tokens import own_tokens
from policies.networks.zones import ZoneFeatures
from soc_env.engine.jit import IS_COMPILED
from soc_env.engine.tables import AGENTS, HUNTER, TRIAGE

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="without compiled kernels there is the plain network alone")

# (scenario, agent; None for the joint observation, layers, heads, layer_norm, whether zones are kept)
CASES = {
    "cases and zones": ("soc-v1", TRIAGE, [16, 12], 2, False, False),
    "of every zone": ("soc-v1", HUNTER, [16, 12], 4, True, True),
    "three layers": ("soc-v1", HUNTER, [16, 12, 8], 1, True, True),
    "joint": ("soc-v1", None, [16, 12], 2, True, True),
    "no zones": ("paper-v0", TRIAGE, [16, 12], 2, True, False),
    "no cases, numbered": ("paper-v0", HUNTER, [16, 12], 2, False, True),
    "joint, numbered": ("paper-v0", None, [12, 16], 2, True, True),
}


def network(scenario, agent, hiddens, heads, layer_norm, keeps_zones):
    """A network all of whose weights matter, what it reads, and actions."""
    seen = {"soc-v1": scenes(ZONES), "paper-v0": paper_scenes()}[scenario]
    is_joint, agent = agent is None, agent or HUNTER
    observation = torch.cat([seen[a] for a in AGENTS], 1) if is_joint else seen[agent]
    entries = own_tokens(agent, seen[agent].shape[1]).entries
    sizes = {name: per_zone * ZONES + whole for name, (per_zone, whole) in entries.items()}
    own = sizes.pop(agent)
    sizes = ((sum(sizes.values()), own) if is_joint else (own,)) if keeps_zones else ()
    spec = BodySpec(hiddens, "attention", agent.removesuffix("_0"), heads, layer_norm, bins=3)
    body = make_body(spec, observation.shape[1], sizes, is_joint=is_joint, keeps_zones=keeps_zones)
    with torch.no_grad():
        for weight in body.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
        body.embedding.norm.mean.normal_()
    return body, observation, [2 * torch.rand(len(observation), size) - 1 for size in sizes]


def outputs(body, observation, acts):
    found = body(observation, *acts)
    return [found.zones, found.network] if isinstance(found, ZoneFeatures) else [found]


@pytest.mark.parametrize("is_twin", [False, True], ids=["one", "twins"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_and_gradients_are_those_of_the_plain_network(case, is_twin):
    torch.manual_seed(0)
    body, observation, acts = network(*case)
    if is_twin:
        twin, *_ = network(*case)
        twin.embedding.norm.mean.copy_(body.embedding.norm.mean)
        body = Stacked([body, twin]).network
    assert body.fits_kernels
    found = {}
    for body.uses_kernels in (False, True):
        values = outputs(body, observation, acts)
        torch.manual_seed(1)
        loss = sum((value * torch.randn(value.shape)).sum() for value in values)
        names, weights = zip(*body.named_parameters(), strict=True)
        gradients = torch.autograd.grad(loss, weights)
        found[body.uses_kernels] = values, dict(zip(names, gradients, strict=True))
    for plain, fast in zip(found[False][0], found[True][0], strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)
    for name, plain in found[False][1].items():
        scale = float(plain.abs().max())
        if name.endswith("belongs"):  # nearly all of it cancels; the context alone is linked with no case of a zone
            scale = max(scale, 1.0)
        assert scale > 0, name
        torch.testing.assert_close(found[True][1][name] / scale, plain / scale, rtol=1e-5, atol=1e-5, msg=name)
