"""The bridge to CybORG's CAGE Challenge 4 (CC4), the real and unmodified simulator.

CybORG is not on the package index and none of its code is here: the user has a checkout, `find_cyborg` finds it, and
`cage4_parallel_env` presents it as a PettingZoo ParallelEnv of its five blue agents. Everything else in HMARL-SOC works
without one, and importing this package imports nothing of it.

    checkout    find the user's checkout and import it
    zones       what an agent's actions and observations mean, read from its action labels
    cage4       the environment
    copying     a running environment as bytes, and back
    score       what the score of a step is made of
    shortcuts   run-time speed-ups that change nothing of what comes out
    controls    scripted policies to compare with; the longer ones are frugal and belief, what they remember is memory
    soc_view    the four roles of soc-v1 on it, through soc_alerts and soc_siem
    soc_parallel, soc_batch    the same in PettingZoo, and as a batch to train on
"""

from cyborg_bridge.cage4 import Cage4Env, cage4_parallel_env
from cyborg_bridge.checkout import (
    CyborgCheckoutError,
    CyborgDependencyError,
    CyborgNotFoundError,
    find_cyborg,
    import_cyborg,
)

__all__ = [
    "Cage4Env",
    "CyborgCheckoutError",
    "CyborgDependencyError",
    "CyborgNotFoundError",
    "cage4_parallel_env",
    "find_cyborg",
    "import_cyborg",
]
