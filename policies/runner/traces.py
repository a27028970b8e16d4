"""Networks as they act in a runner, without the Python between their operations.

Plain networks have kernels (`policies.networks.acting`): what those compute is the same up to rounding.

Others are recorded once: the same operations. A batch of 64 observations takes a network by zones half a millisecond,
nearly half of which is Python. The recording has the network's own weights, which are changed in place, so it need not
be made anew when they are; and what it computes is the same bit for bit, which is looked at when it is made.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from policies.networks.acting import ActingMLP, fits

PATIENCE = 400  # calls before a network is recorded, which takes as long as about 200 calls save
Passes = Callable[[torch.Tensor], torch.Tensor]


class Traces:
    """The networks of one runner, whose modules stay the same objects.

    Args:
        num_rows: environments of the runner. Recordings are of so many rows alone; others go by the networks.
    """

    def __init__(self, num_rows: int):
        self.num_rows = num_rows
        self._calls: dict[Any, int] = {}
        self._recorded: dict[Any, Any] = {}  # module -> its recording; None where it does the same no faster
        self._kernels: dict[Any, ActingMLP] = {}
        self._passes: dict[Any, Passes | None] = {}  # (module, whether of values) -> by kernels, if there are such

    def refresh(self) -> None:
        """Weights may have changed."""
        for kernels in self._kernels.values():
            kernels.refresh()

    def inputs(self, module: Any, seen: torch.Tensor) -> torch.Tensor | None:
        """What `module.inputs` gives for the observations, or None if that is to be asked itself."""
        by_kernels = self._by_kernels(module, False)
        if by_kernels is not None:
            return by_kernels(seen)
        if len(seen) != self.num_rows:
            return None
        if module not in self._recorded:
            self._calls[module] = self._calls.get(module, 0) + 1
            if self._calls[module] <= PATIENCE:
                return None
            self._recorded[module] = recorded(module, seen)
        recording = self._recorded[module]
        return None if recording is None else recording(seen)

    def values(self, module: Any, seen: torch.Tensor) -> torch.Tensor | None:
        """What `module.state_values` gives (B,), or None if that is to be asked itself."""
        by_kernels = self._by_kernels(module, True)
        return None if by_kernels is None else by_kernels(seen).squeeze(1)

    def _by_kernels(self, module: Any, is_of_values: bool) -> Passes | None:
        key = (module, is_of_values)
        if key not in self._passes:
            self._passes[key] = self._made(module, is_of_values)
        return self._passes[key]

    def _made(self, module: Any, is_of_values: bool) -> Passes | None:
        body, layers, finish = module.value_parts() if is_of_values else module.parts()
        if not fits(body, layers):
            return None
        kernels = self._kernels[module, is_of_values] = ActingMLP(body, layers, self.num_rows)

        def passes(seen: torch.Tensor) -> torch.Tensor:
            return finish(torch.from_numpy(kernels(seen.numpy())), seen)

        return passes


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
