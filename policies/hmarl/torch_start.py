"""What torch imports to make an optimizer: its compiler, a second of CPU time.

`lean_torch` puts that off until the first gradient step, which imports it too: a run shows its first iterations sooner.
Where the compiler is loaded already it changes nothing.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

COMPILER = "torch._dynamo"
MARKED = ("add_param_group", "zero_grad", "state_dict", "load_state_dict")  # of optimizers, by torch


@contextmanager
def lean_torch() -> Iterator[None]:
    """While an algorithm of ours is set up: seeds and optimizers as always, without the compiler.

    torch keeps its compiler out of some methods of optimizers, and imports it to say so. They are told here that it has
    been said, for good: our networks are not compiled. RLlib asks for deterministic algorithms, and the function that
    it calls tells the compiler's back end too; another one of torch's own does the rest of it.
    """
    if COMPILER in sys.modules:
        yield
        return
    for name in MARKED:
        plain = getattr(getattr(torch.optim.Optimizer, name), "__wrapped__", None)  # as `torch._disable_dynamo` has it
        if plain is not None:
            plain.__dynamo_disable = plain
    before = torch.use_deterministic_algorithms
    torch.use_deterministic_algorithms = _deterministic
    try:
        yield
    finally:
        torch.use_deterministic_algorithms = before


def _deterministic(mode: bool, *, warn_only: bool = False) -> None:
    torch.set_deterministic_debug_mode(("warn" if warn_only else "error") if mode else "default")
