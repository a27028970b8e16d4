"""Saving and restoring of `HMARL`, in memory and in folders of our own format, for users, runs and Tune alike.

Tune calls `save_checkpoint` and `load_checkpoint`, which come down to `save_to_path` and `restore_from_path`. What Tune
itself puts into a folder (`.metadata.json`, `.tune_metadata`) is never read here.
"""

from __future__ import annotations

import copy
import os
import tempfile
from pathlib import Path
from typing import Any

from pyarrow.fs import FileType
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core import COMPONENT_LEARNER_GROUP, COMPONENT_METRICS_LOGGER
from ray.tune import Checkpoint

from policies.checkpoint import read_manifest
from policies.hmarl.description import configure
from policies.hmarl.saving import is_ours, restore, save_checkpoint
from policies.hmarl.state import PARTS, REPLAY, check_learners, hand_weights, lasting, unpacked
from soc_env.errors import CheckpointError, ConfigError, shown

DICT_CHECKPOINT = "_dict_checkpoint.pkl"  # what Tune's Trainable unpickles where it finds it


class DurableAlgorithm(Algorithm):
    """What `HMARL` has instead of RLlib's checkpoints, which are pickles, leave much out and do not go backwards.

    Attributes:
        saves_replay: whether the next checkpoint holds the replay.
        on_policy: tiers whose value heads runners need.
    """

    saves_replay: bool
    on_policy: list[str]

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Plain data that shares no memory with what goes on learning."""
        state = copy.deepcopy(super().get_state(components, not_components=not_components, **kwargs))
        state[COMPONENT_METRICS_LOGGER] = lasting(state[COMPONENT_METRICS_LOGGER])
        wanted = [name for name in PARTS if self._check_component(name, components, not_components)]
        if not self.saves_replay and REPLAY in wanted:
            wanted.remove(REPLAY)
        return state | {name: PARTS[name][0](self) for name in wanted}

    def set_state(self, state: dict[str, Any]) -> None:
        """Goes on from `get_state`, also backwards: learners, runners, averaged networks, evaluation and replay.

        Raises:
            CheckpointError: it is the state of other tiers, networks or stores.
        """
        if COMPONENT_LEARNER_GROUP in state:
            check_learners(self, state[COMPONENT_LEARNER_GROUP])
        rest = {name: value for name, value in state.items() if name not in PARTS}
        if COMPONENT_METRICS_LOGGER in rest:  # first: runners are told the number of steps
            self.metrics.set_state(unpacked(rest.pop(COMPONENT_METRICS_LOGGER)))
        super().set_state(copy.deepcopy(rest))
        hand_weights(self)
        for name, (_, give_back) in PARTS.items():
            if name in state:
                give_back(self, state[name])

    def save_to_path(
        self, path: Any = None, *, state: Any = None, filesystem: Any = None, use_msgpack: bool = False
    ) -> str:
        """Writes a checkpoint of ours to a local folder: its name.

        Raises:
            ConfigError: `state`, `filesystem` or `use_msgpack`, which have no effect here.
            CheckpointError: the folder holds something else than a checkpoint.
        """
        for name, value in (("state", state), ("filesystem", filesystem), ("use_msgpack", use_msgpack)):
            if value:
                raise ConfigError(f"save_to_path: {name} is {shown(value)}, which has no effect here")
        return str(save_checkpoint(self, tempfile.mkdtemp() if path is None else path))

    def restore_from_path(self, path: Any, *args: Any, trust: bool = False, **kwargs: Any) -> None:
        """Goes on from a checkpoint; `trust` also from one that RLlib itself wrote, which runs code that is in it.

        Raises:
            CheckpointError: missing, damaged, of another kind, or not to be read without `trust`.
        """
        if is_ours(path, trust):
            restore(self, path)
        else:
            super().restore_from_path(path, *args, **kwargs)

    def restore(self, checkpoint_path: Any) -> None:
        """Tune's way to `load_checkpoint`, which would unpickle a file of a certain name.

        Raises:
            CheckpointError: the folder has such a file.
        """
        checkpoint = getattr(checkpoint_path, "checkpoint", checkpoint_path)
        place = Checkpoint.from_directory(checkpoint) if isinstance(checkpoint, (str, os.PathLike)) else checkpoint
        file = f"{place.path}/{DICT_CHECKPOINT}"
        if place.filesystem.get_file_info(file).type != FileType.NotFound:
            raise CheckpointError(f"{file!r} is a pickle, which is not read; a checkpoint of hmarl-soc has none")
        super().restore(checkpoint_path)

    @classmethod
    def from_checkpoint(cls, path: Any, *args: Any, config: Any = None, trust: bool = False, **kwargs: Any) -> Any:
        """The algorithm of a checkpoint, ready to go on.

        Args:
            path: its folder.
            args, kwargs: RLlib's, of a checkpoint that RLlib itself wrote.
            config: an `HMARLConfig` to build it with; None makes one of the settings in the checkpoint.
            trust: whether a checkpoint of RLlib's own may be read, which runs code that is in it.

        Raises:
            CheckpointError: missing, damaged, not to be read without `trust`, or in need of code that a file cannot
                hold; the message says what to pass.
        """
        path = path if isinstance(path, (str, os.PathLike)) else path.to_directory()
        if not is_ours(path, trust):
            return super().from_checkpoint(path, *args, **kwargs)
        if config is None:
            config = configure(cls.get_default_config(), Path(path), read_manifest(path))
        algo = config.build_algo()
        try:
            algo.restore_from_path(path)
        except BaseException:
            algo.stop()
            raise
        return algo
