"""A tree of plain values and arrays as two files: JSON for the structure, safetensors for the arrays. No pickle.

Reading executes nothing: what comes back is made of dict, list, tuple, str, int, float, bool, None, NumPy arrays and
scalars, and torch tensors, exactly as they were written, bit for bit.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from soc_env.errors import CheckpointError

TAG = "$"  # a JSON object with this key stands for something that JSON does not have
MAX_STRUCTURE_BYTES = 256 * 2**20  # [bytes] the largest JSON that is read
PARTS = (".json", ".safetensors")


def save_tree(folder: str | os.PathLike[str], name: str, tree: Any) -> None:
    """Writes `tree` to `<name>.json` and `<name>.safetensors` in an existing folder.

    Raises:
        TypeError: something that is none of the types above; names its place.
        OSError: a file cannot be written.
    """
    arrays: dict[str, np.ndarray] = {}
    structure = json.dumps(_packed(tree, (), arrays), allow_nan=False)
    (Path(folder) / f"{name}.json").write_text(structure, encoding="utf-8")
    write_arrays(save_file, arrays, Path(folder) / f"{name}.safetensors")


def write_arrays(save: Callable[..., None], arrays: Mapping[str, Any], path: Path) -> None:
    """Calls `save(arrays, path)`, one of safetensors' functions.

    Raises:
        OSError: the file cannot be written; safetensors has an error of its own for that.
    """
    try:
        save(arrays, path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def load_tree(folder: str | os.PathLike[str], name: str) -> Any:
    """The tree that `save_tree` wrote.

    Raises:
        CheckpointError: a file is missing, too large or damaged; names it.
    """
    structure, data = (Path(folder) / f"{name}{suffix}" for suffix in PARTS)
    try:
        if structure.stat().st_size > MAX_STRUCTURE_BYTES:
            raise CheckpointError(
                f"{str(structure)!r} has {structure.stat().st_size} bytes, allowed: {MAX_STRUCTURE_BYTES}"
            )
        packed = json.loads(structure.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{str(structure)!r} cannot be read ({error})") from error
    try:
        arrays = load_file(data)
    except Exception as error:  # safetensors raises its own error, which derives from Exception alone
        raise CheckpointError(f"{str(data)!r} cannot be read ({error})") from error
    try:
        return _unpacked(packed, arrays)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{str(structure)!r} is damaged ({type(error).__name__}: {error})") from error


def _packed(value: Any, path: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Any:
    if value is None or isinstance(value, (bool, str)) or type(value) is int:
        return value
    if type(value) is float:
        return value if math.isfinite(value) else {TAG: "float", "value": repr(value)}
    if isinstance(value, Mapping):
        return _packed_mapping(value, path, arrays)
    if type(value) in (list, tuple):
        items = [_packed(item, (*path, str(i)), arrays) for i, item in enumerate(value)]
        return items if type(value) is list else {TAG: "tuple", "items": items}
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return {TAG: "scalar", "dtype": value.dtype.str, "value": _packed(value.item(), path, arrays)}
    if isinstance(value, (np.ndarray, torch.Tensor)):
        return _packed_array(value, path, arrays)
    raise TypeError(f"state {'/'.join(path) or '(root)'}: {type(value).__name__} is no plain data")


def _packed_mapping(value: Mapping[Any, Any], path: tuple[str, ...], arrays: dict[str, np.ndarray]) -> Any:
    if all(isinstance(key, str) for key in value) and TAG not in value:
        return {key: _packed(item, (*path, key), arrays) for key, item in value.items()}
    items = [[_packed(k, path, arrays), _packed(v, (*path, str(k)), arrays)] for k, v in value.items()]
    return {TAG: "dict", "items": items}


def _packed_array(value: Any, path: tuple[str, ...], arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    is_tensor = isinstance(value, torch.Tensor)
    array = value.detach().cpu().numpy() if is_tensor else value
    array = array.copy(order="C")
    found: dict[str, Any] = {TAG: "tensor" if is_tensor else "array", "name": f"{len(arrays)}:{'/'.join(path)}"}
    if array.dtype.names is not None:  # safetensors has no structured types
        found["fields"] = [[name, array.dtype.fields[name][0].str] for name in array.dtype.names]
        if np.dtype([tuple(pair) for pair in found["fields"]]) != array.dtype:
            raise TypeError(f"state {'/'.join(path)}: arrays of {array.dtype} are no plain data")
        found["shape"], array = list(array.shape), array.reshape(-1).view(np.uint8)
    elif array.dtype.kind not in "biuf":
        raise TypeError(f"state {'/'.join(path)}: arrays of {array.dtype} are no plain data")
    arrays[found["name"]] = array
    return found


def _unpacked(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    if isinstance(value, list):
        return [_unpacked(item, arrays) for item in value]
    if not isinstance(value, dict):
        return value
    if TAG not in value:
        return {key: _unpacked(item, arrays) for key, item in value.items()}
    kind = value[TAG]
    if kind == "float":
        return float(value["value"])
    if kind == "tuple":
        return tuple(_unpacked(item, arrays) for item in value["items"])
    if kind == "dict":
        return {_unpacked(k, arrays): _unpacked(v, arrays) for k, v in value["items"]}
    if kind == "scalar":
        return np.dtype(value["dtype"]).type(_unpacked(value["value"], arrays))
    if kind not in ("array", "tensor"):
        raise ValueError(f"unknown tag {kind!r}")
    array = arrays[value["name"]]
    if "fields" in value:
        array = array.view(np.dtype([tuple(pair) for pair in value["fields"]])).reshape(value["shape"])
    return torch.from_numpy(array) if kind == "tensor" else array
