#!/usr/bin/env bash
# PyTorch: on the CPU, Adam(fused=True) gives entries of a parameter the steps of other entries, without a word, where
#     the gradient's strides are not the parameter's.
#
# One would guess: the same step as fused=False, up to rounding; or an error.
# What happens: gradients of torch.autograd.grad may be transposed in memory. Put into .grad as they are, the fused
#     kernel reads them in the parameter's order. backward() itself leaves gradients in the parameter's layout.
# What helps: gradient.contiguous() before it goes into .grad.
# Version: torch 2.13.0 (CPU). Date: 2026-11-30. Source: own measurement.
set -euo pipefail
source "$(dirname "$0")/environment.sh" torch==2.13.0 numpy==2.4.6
"$python" - <<'PYTHON'
import torch


def step(fused, contiguous):
    weight = torch.nn.Parameter(torch.zeros(2, 3))
    signs = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, -1.0]])
    (gradient,) = torch.autograd.grad((weight.t() * signs).sum(), weight)
    assert gradient.shape == weight.shape and not gradient.is_contiguous()
    weight.grad = gradient.contiguous() if contiguous else gradient
    torch.optim.Adam([weight], lr=0.1, fused=fused).step()
    return weight.detach()


right = step(fused=False, contiguous=False)
assert torch.allclose(step(fused=True, contiguous=True), right)
found = step(fused=True, contiguous=False)
wrong = int((found.sign() != right.sign()).sum())
print(f"torch {torch.__version__}: {wrong} of 6 entries of the fused step go the other way")
assert wrong > 0, "the behaviour has changed"
PYTHON
