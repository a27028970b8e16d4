"""A running CC4 environment as bytes, and back: what `copy.deepcopy` and `pickle` of a `Cage4Env` go through.

CybORG keeps the signature of every agent's actions, and those (`mappingproxy`) neither pickle nor copy; everything else
of it does. The bytes hold objects of CybORG's classes: whoever reads them needs a checkout of the same CybORG.
"""

from __future__ import annotations

import copyreg
import io
import pickle
from collections import ChainMap
from pathlib import Path
from types import MappingProxyType
from typing import Any

from cyborg_bridge.checkout import import_cyborg
from soc_env.errors import ConfigError


def dump(env: Any) -> bytes:
    """The environment with all that its attributes refer to.

    Raises:
        ConfigError: something that a user put there cannot be pickled.
    """
    file = io.BytesIO()
    pickler = pickle.Pickler(file, pickle.HIGHEST_PROTOCOL)
    here = {type(env): _attributes, MappingProxyType: _signature}
    pickler.dispatch_table = ChainMap(here, copyreg.dispatch_table)  # type: ignore[arg-type]
    try:
        pickler.dump(env)
    except (pickle.PicklingError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"this CC4 environment cannot be copied ({error}): make a new one, reset it with the same seed and play "
            "the same actions again, which leads to the same state"
        ) from error
    return file.getvalue()


def load(content: bytes, root: Path) -> Any:
    """What `dump` was given, as new objects.

    Args:
        content: from `dump`.
        root: the CybORG checkout then; where it is no more, the one that `find_cyborg` finds.

    Raises:
        CyborgNotFoundError, CyborgCheckoutError, CyborgDependencyError: see `import_cyborg`.
    """
    import_cyborg(root if root.is_dir() else None)
    return pickle.loads(content)


def _attributes(env: Any) -> tuple[Any, ...]:
    return object.__new__, (type(env),), vars(env)


def _signature(proxy: Any) -> tuple[Any, ...]:
    return make_signature, (proxy.copy(),)


def make_signature(parameters: dict[str, Any]) -> MappingProxyType[str, Any]:
    """A read-only view; its own class has no name that pickle could write down."""
    return MappingProxyType(parameters)
