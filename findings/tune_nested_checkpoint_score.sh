#!/usr/bin/env bash
# Ray Tune: checkpoint_score_attribute with a path keeps the last checkpoints and deletes the best.
#
# One would guess: "env_runners/episode_return_mean", the name that TuneConfig(metric=...) takes, scores checkpoints
#     too.
# What happens: while checkpoints are kept or deleted, scores are looked up by the whole path as one key. It is not
#     found, every checkpoint has no score, and the newest num_to_keep stay. A metric at the top level works.
# What helps: reporting the score at the top level.
# Version: ray 2.60.0. Date: 2026-11-30.
# Source: own measurement; https://github.com/ray-project/ray/pull/59130 (open)
set -euo pipefail
source "$(dirname "$0")/environment.sh" "ray[tune]==2.60.0"
"$python" - <<'PYTHON'
import contextlib
import io
import logging
import os
import sys
import tempfile
from pathlib import Path

import ray
from ray import tune

logging.disable(logging.WARNING)
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR", log_to_driver=False)
SCORES = [1.0, 9.0, 2.0, 3.0]


def trainable(config):
    for score in SCORES:
        with tempfile.TemporaryDirectory() as folder:
            Path(folder, "score").write_text(str(score))
            report = {"env_runners": {"episode_return_mean": score}, "score": score}
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))


print("ray", ray.__version__)
print("scores of the checkpoints, in order:", SCORES, "- one is kept")
found = {}
for attribute in ("env_runners/episode_return_mean", "score"):
    keep = tune.CheckpointConfig(num_to_keep=1, checkpoint_score_attribute=attribute)
    name = attribute.replace("/", "-")
    run = tune.RunConfig(name=name, storage_path=os.path.abspath("results"), checkpoint_config=keep, verbose=0)
    scoring = tune.TuneConfig(metric="env_runners/episode_return_mean", mode="max")
    with contextlib.redirect_stdout(io.StringIO()):  # tables of progress
        tune.Tuner(trainable, run_config=run, tune_config=scoring).fit()
    kept = [float(file.read_text()) for file in Path("results", name).glob("*/checkpoint_*/score")]
    found[attribute] = max(kept)
    print(f"checkpoint_score_attribute={attribute!r}: the best that is left has {found[attribute]}")
if list(found.values()) != [3.0, 9.0]:
    sys.exit("the behaviour has changed")
PYTHON
