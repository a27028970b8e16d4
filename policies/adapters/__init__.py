"""The environment for other training libraries; each is imported only when its class is asked for.

| name | library | what it is |
|---|---|---|
| `SOCMultiAgentEnv` | RLlib | a MultiAgentEnv in which the coordinator is omitted between its decisions |
| `SOCTask` | BenchMARL | a TaskClass with a seed of its own for every sampling environment |
| `SOCVecEnv` | Stable-Baselines3 | a VecEnv straight over the batched simulator, one policy for the whole team |

    from policies.adapters import SOCMultiAgentEnv      # needs ray[rllib]
    from policies.adapters import SOCTask               # needs benchmarl
    from policies.adapters import SOCVecEnv             # needs stable_baselines3

PyMARL, gymnasium's vector API and the like need no more than `soc_env.wrappers`; TorchRL, skrl,
AgileRL, Tianshou and xuance take `soc_env.parallel_env` or `soc_env.env` as they are.
"""

from __future__ import annotations

import importlib
from typing import Any

# name -> (module that defines it, package it needs, how to get that)
ADAPTERS = {
    "SOCMultiAgentEnv": (".rllib_env", "ray", 'pip install "hmarl-soc[train]"'),
    "SOCTask": (
        ".benchmarl_task",
        "benchmarl",
        'pip install benchmarl "torchrl>=0.10,<0.12", best into an environment of its own',
    ),
    "SOCVecEnv": (".sb3_env", "stable_baselines3", 'pip install "hmarl-soc[sb3]"'),
}


def __getattr__(name: str) -> Any:
    """Imports an adapter on first use.

    Raises:
        ImportError: Its library is missing; the message says how to install it.
    """
    if name not in ADAPTERS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}; adapters: {', '.join(ADAPTERS)}")
    module, package, advice = ADAPTERS[name]
    try:
        adapter = getattr(importlib.import_module(module, __package__), name)
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] != package:
            raise
        raise ImportError(f"{name} needs {package}: {advice}") from error
    globals()[name] = adapter
    return adapter


def __dir__() -> list[str]:
    return [*globals(), *ADAPTERS]
