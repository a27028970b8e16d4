"""The worth of actions by kernels: values and gradients are those of PyTorch's own operations."""

import pytest
import torch

from policies.networks.blocks import MLP, ActionValues
from policies.networks.build import BodySpec, make_body
from policies.networks.stacked import Stacked
from policies.networks.tokens import own_tokens
from soc_env.engine.jit import IS_COMPILED
from soc_env.engine.tables import HUNTER
from soc_env.soc.tables import layout

pytestmark = pytest.mark.skipif(not IS_COMPILED, reason="without compiled kernels there are PyTorch's operations alone")
ROWS, BINS, ZONES = 7, 5, 2


def flat():
    return ActionValues(MLP(6, [8], layer_norm=True), 4, BINS), 6, 4


def of_zones():
    size = layout(HUNTER, ZONES).size
    per_zone, whole = own_tokens(HUNTER, size).entries[HUNTER]
    dim = per_zone * ZONES + whole
    spec = BodySpec([8, 8], "attention", "threat_hunter", 2, True, BINS, is_additive=True)
    return make_body(spec, size, (dim,)), size, dim


@pytest.mark.parametrize("is_twin", [False, True], ids=["one", "twins"])
@pytest.mark.parametrize("make", [flat, of_zones])
def test_values_and_gradients_are_those_of_pytorchs_operations(make, is_twin):
    torch.manual_seed(0)
    body, size, dim = make()
    with torch.no_grad():
        for weight in body.parameters():
            weight.add_(0.3 * torch.randn(weight.shape))
    if is_twin:
        body = Stacked([body, body]).network
    observation = torch.randn(ROWS, size)
    actions = (2 * torch.rand(ROWS, dim) - 1).requires_grad_()
    with torch.no_grad():  # on a point, on the next one, at the ends, beyond them
        actions[0] = 0.0
        actions[1], actions[2], actions[3], actions[4] = 0.5, 1.0, -1.0, 1.2
    found = {}
    for body.basis.uses_kernels in (False, True):
        value = body(observation, actions)
        torch.manual_seed(1)
        wanted = [actions, *body.parameters()]
        gradients = torch.autograd.grad((value * torch.randn(value.shape)).sum(), wanted)
        found[body.basis.uses_kernels] = [value, *gradients]
    assert all(gradient.abs().max() > 1e-3 for gradient in found[False][:2])
    for fast, plain in zip(found[True], found[False], strict=True):
        torch.testing.assert_close(fast, plain, rtol=1e-5, atol=1e-5)
