#!/usr/bin/env bash
# mitreattack-python: Navigator layers with scores between 0 and 1 are read as zeros, and a layer with a field of the
# format that the package does not know is not read at all; neither raises.
#
# One would guess: a score is a number, as the layer format says, and what cannot be read raises an error.
# What happens: scores are cut to integers towards zero without a word: 0.87 -> 0, -0.9 -> 0. `customDataURL`, a field of
#     layer format 4.4 and later, or a gradient that ends at 1.0 instead of 1: a trace is printed, from_dict() returns
#     as usual, and `.layer` is a text that says that nothing is loaded.
# What helps: write scores and limits of gradients as integers from 0 to 100; after from_dict() or from_file() check
#     that `.layer` is no text.
# Version: mitreattack-python 6.3.1. Date: 2026-11-30. Source: own measurement; format: LAYERFORMATv4_5.md of
#     mitre-attack/attack-navigator.
set -euo pipefail
source "$(dirname "$0")/environment.sh" mitreattack-python==6.3.1
"$python" - <<'PYTHON'
import contextlib
import io
import sys
from importlib.metadata import version

from mitreattack.navlayers import Layer

scores = {"T1059": 0.87, "T1021": -0.9, "T1003": 42}
layer = {
    "name": "detections",
    "domain": "enterprise-attack",
    "versions": {"attack": "18", "navigator": "5.1.0", "layer": "4.5"},
    "techniques": [{"techniqueID": name, "score": score} for name, score in scores.items()],
}


def read(layer):
    reader = Layer()
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.redirect_stderr(said):
        reader.from_dict(layer)
    return reader.layer, len(said.getvalue().splitlines())


print("mitreattack-python", version("mitreattack-python"))
whole, lines = read(layer)
kept = {technique.techniqueID: technique.score for technique in whole.techniques}
print(f"scores {scores} are read as {kept}; {lines} lines printed")
changed = kept != {"T1059": 0, "T1021": 0, "T1003": 42} or lines
for more in (
    {"customDataURL": "https://example.org/bundle.json"},
    {"gradient": {"colors": ["#ffffff", "#ff0000"], "minValue": 0, "maxValue": 1.0}},
):
    found, lines = read({**layer, **more})
    print(f"with {more}: no error, {lines} lines printed, .layer is {found!r}")
    changed |= not isinstance(found, str)
sys.exit("the behaviour has changed" if changed else 0)
PYTHON
