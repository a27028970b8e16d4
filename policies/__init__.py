"""How each tier learns, and the policies it is measured against.

`policies.scripted` needs NumPy alone. Everything else needs torch and ray (`pip install "hmarl-soc[train]"`) and is
imported on first use, so that scripted policies work, and commands start, without them.
"""

from __future__ import annotations

from typing import Any

_WHERE = {
    "HMARL": "policies.hmarl.algorithm",
    "HMARLConfig": "policies.hmarl.algorithm",
    "load_policy": "policies.loading",
    "policy_of": "policies.hmarl.saving",
    "save_checkpoint": "policies.hmarl.saving",
}
__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'policies' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_WHERE[name]), name)
