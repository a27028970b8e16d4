"""Networks as they act, recorded once: the same operations without the Python between them.

A batch of 64 observations takes a network by zones half a millisecond, nearly half of which is Python. The recording
has the network's own weights, which are changed in place, so it need not be made anew when they are; and what it
computes is the same bit for bit, which is looked at when it is made.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

PATIENCE = 400  # calls before a network is recorded, which takes as long as about 200 calls save


class Traces:
    """Recordings of the networks of one runner, whose modules stay the same objects.

    Args:
        num_rows: rows of a call that may be recorded, the environments of the runner; others go by the networks.
    """

    def __init__(self, num_rows: int):
        self.num_rows = num_rows
        self._calls: dict[Any, int] = {}
        self._recorded: dict[Any, Any] = {}  # module -> its recording; None where it does the same no faster

    def inputs(self, module: Any, seen: torch.Tensor) -> torch.Tensor | None:
        """What `module.inputs` gives for the observations, or None if that is to be asked itself."""
        if len(seen) != self.num_rows:
            return None
        if module not in self._recorded:
            self._calls[module] = self._calls.get(module, 0) + 1
            if self._calls[module] <= PATIENCE:
                return None
            self._recorded[module] = recorded(module, seen)
        recording = self._recorded[module]
        return None if recording is None else recording(seen)


class _Inputs(nn.Module):
    def __init__(self, network: Any):
        super().__init__()
        self.network = network

    def forward(self, seen: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.network.inputs(seen)
        return found


def recorded(network: Any, seen: torch.Tensor) -> Any:
    """A recording of `network.inputs`, or None where it cannot be made, or gives other bits."""
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        try:
            trace = torch.jit.trace(_Inputs(network), seen, check_trace=False)
            others = [seen, seen.flip(0), torch.zeros_like(seen)]  # it is optimised in its first calls
            is_same = [torch.equal(trace(other), network.inputs(other)) for other in others]
        except RuntimeError:
            return None
    return trace if all(is_same) else None
