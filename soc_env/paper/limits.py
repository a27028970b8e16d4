"""What a state of the `paper-v0` family has to keep to before compiled kernels may read it, see `engine/state.py`."""

from __future__ import annotations

import numpy as np

from soc_env.engine.state import Limits, Tree
from soc_env.errors import CheckpointError
from soc_env.paper.kernels.state import COMPROMISED, ISOLATED
from soc_env.paper.scenario import NUM_SEGMENTS, PaperScenario
from soc_env.paper.tables import NUM_PHASES, NUM_TARGETS, QUEUE_CAPACITY

FAR = 2**40  # no episode comes near it


def state_limits(scenario: PaperScenario) -> Limits:
    """Path -> lowest and highest value of everything that kernels count up to, or find something by."""
    host, segment = (0, scenario.num_hosts - 1), (0, NUM_SEGMENTS - 1)
    return {
        "env/episode": (-1, FAR),
        "env/step": (0, scenario.max_steps),
        "env/is_over": (0, 1),
        "env/phase": (0, NUM_PHASES - 1),
        "env/num_targets": (0, NUM_TARGETS),
        "env/targets": host,
        "env/num_footholds": (0, scenario.num_hosts),
        "env/queue_head": (0, QUEUE_CAPACITY - 1),
        "env/queue_length": (0, QUEUE_CAPACITY),
        "env/alerts/segment": segment,
        "footholds/host": host,
        "footholds/segment": segment,
    }


def check_records(starts: np.ndarray, arrays: Tree) -> None:
    """Raises CheckpointError where records contradict each other: hosts named twice, counts that marks do not bear out.

    Args:
        starts: (NUM_SEGMENTS + 1,) first host of each segment.
        arrays: Those of the state, within their limits.
    """
    env, footholds, num_hosts = arrays["env"], arrays["footholds"], int(starts[-1])
    for index, marks in enumerate(arrays["marks"]):
        in_use = slice(int(env["num_footholds"][index]))
        hosts = footholds["host"][index, in_use]
        segments = np.searchsorted(starts[1:], hosts, side="right")
        if len(np.unique(hosts)) != len(hosts) or not np.array_equal(segments, footholds["segment"][index, in_use]):
            raise CheckpointError(f"state: footholds of env {index} contradict each other; allowed: as they were read")
        bits = np.unpackbits(marks.astype("<u8").view(np.uint8), axis=1, bitorder="little").astype(bool)
        compromised, isolated = bits[COMPROMISED], bits[ISOLATED]
        counts = {"compromised": compromised, "isolated": isolated, "quarantined": compromised & isolated}
        for name, marked in counts.items():
            per_segment = np.diff(np.concatenate([[0], np.cumsum(marked[:num_hosts])])[starts])
            if marked[num_hosts:].any() or not np.array_equal(per_segment, env[name][index]):
                raise CheckpointError(f"state: {name} of env {index} is not what is marked; allowed: as it was read")
