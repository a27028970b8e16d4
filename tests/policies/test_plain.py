"""Kernels that read actions in the hat basis without making it: what the basis and a linear layer give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from policies.networks.blocks import MLP, ActionValues, GroupedLinear
from policies.networks.plain import HiddenMLP, Outputs, PlainCritics
from policies.networks.stacked import Stacked

POINTS = 5
# At points, between them, at the ends, and beyond: hats are 0 there.
ACTIONS = torch.tensor([-1.6, -1.3, -1.0, -0.99, -0.5, -0.2, 0.0, 0.3, 0.5, 0.75, 1.0, 1.2, 1.7]).unsqueeze(1)


def pair_of_critics():
    torch.manual_seed(0)
    body = [MLP(3, [8, 6], 2, True, POINTS) for _ in range(2)]
    critics = [nn.ModuleList([ActionValues(one, 1, POINTS), nn.Linear(7, 1)]) for one in body]
    for critic in critics:
        for parameter in critic.parameters():
            nn.init.normal_(parameter)
    network = Stacked(critics).network
    for body in network.modules():
        if isinstance(body, MLP):
            body.uses_kernels = body.fits_kernels
    return network


def test_critics_give_what_the_basis_and_their_layers_give_at_points_between_and_beyond():
    body, head = pair_of_critics()
    rows = len(ACTIONS)
    others = ACTIONS.flip(0).expand(-1, 2).contiguous()
    seen, own = torch.randn(rows, 3), ACTIONS.clone().requires_grad_()
    passes = PlainCritics(body, head, rows, is_trained=True)
    weights = torch.randn(2, rows)
    features = body(seen, others, own)
    wanted = (torch.baddbmm(head.bias.unsqueeze(1), features, head.weight.transpose(1, 2))).squeeze(-1)
    passes.forward(body.body.prepare(seen, others))
    passes.other.take(own.detach())
    torch.testing.assert_close(passes.rate(passes.other), wanted, atol=1e-5, rtol=1e-5)
    owned = [weight for weight, _ in passes.pairs()]
    slope, *gradients = torch.autograd.grad((weights * wanted).sum(), [own, *owned])
    torch.testing.assert_close(passes.slope(passes.other, weights), slope, atol=1e-5, rtol=1e-4)
    passes.backward(passes.other, weights)
    for (weight, found), gradient in zip(passes.pairs(), gradients, strict=True):
        torch.testing.assert_close(found, gradient, atol=2e-5, rtol=1e-4, msg=lambda t, w=weight: f"{w.shape}: {t}")
    assert {id(weight) for weight in owned} == {id(weight) for weight in (*body.parameters(), *head.parameters())}


@pytest.mark.parametrize("groups", [(), (2,), (2, 2), (3, 1)])
def test_outputs_that_share_are_one_product(groups):
    torch.manual_seed(0)
    layer = GroupedLinear(4, 5, 2, groups, 0.3)
    for tensor in (*layer.parameters(), layer.bias):
        nn.init.normal_(tensor)
    features, outputs = torch.randn(7, 4, requires_grad=True), Outputs(layer, 7, is_trained=True)
    wanted, weights = layer(features), torch.randn(7, 10)
    torch.testing.assert_close(outputs.forward(features.detach()), wanted.detach(), atol=1e-6, rtol=1e-6)
    g_features = torch.zeros(7, 4)
    outputs.g_raw.copy_(weights)
    outputs.backward(features.detach(), g_features)
    of_features, *gradients = torch.autograd.grad((weights * wanted).sum(), [features, *layer.parameters()])
    torch.testing.assert_close(g_features, of_features, atol=1e-5, rtol=1e-5)
    found = dict(zip(map(id, outputs.weights), outputs.gradients, strict=True))
    for parameter, gradient in zip(layer.parameters(), gradients, strict=True):
        torch.testing.assert_close(found[id(parameter)], gradient, atol=1e-5, rtol=1e-5)


def test_rows_of_what_was_prepared_are_what_is_prepared_of_rows():
    torch.manual_seed(0)
    body = MLP(3, [4], 2, False, POINTS)
    body.norm.set(np.array([1.0, 0.0, -1.0]), np.array([4.0, 1.0, 1e-9]))
    body.uses_kernels = True
    seen, acted, some = 5 * torch.randn(6, 3), torch.rand(6, 2), slice(2, 5)
    read = body.prepare(seen, acted)
    hidden = HiddenMLP(body, 3, is_trained=False)
    hidden.forward(read[some])
    torch.testing.assert_close(hidden.features[0], body(seen[some], acted[some]).detach(), atol=1e-6, rtol=1e-6)
    assert torch.equal(body(read[some]), body(seen[some], acted[some]))
    assert len(read[some]) == 3
    assert read.inputs.abs().max() == 10.0
