"""What a state of the `soc-v1` family has to keep to before compiled kernels may read it, see `engine/state.py`."""

from __future__ import annotations

import hashlib

import numpy as np

from soc_env.engine.state import Limits, Tree
from soc_env.errors import CheckpointError
from soc_env.soc.attack import TECHNIQUES
from soc_env.soc.intruders import MAX_PLAN
from soc_env.soc.kernels.state import CALL_SLOTS, LOG_KINDS, MAX_SEGMENTS, PENDING_SLOTS, Records
from soc_env.soc.scenario import SOCScenario
from soc_env.soc.tables import CASE_SLOTS, MAX_CAMPAIGNS, OUTCOMES, TOOLS

FAR = 2**40  # no step, episode or count comes near it, and sums of such numbers stay integers


def network_digest(records: Records) -> str:
    """Hex digest of the networks that episodes play on."""
    assets, networks = records.assets, records.network
    arrays = (assets["segment"], assets["role"], assets["service"], networks["start"], networks["is_reachable"])
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()[:16]


def state_limits(scenario: SOCScenario, records: Records, num_families: int) -> Limits:
    """Path -> lowest and highest value of everything that kernels count up to, or find something by."""
    host, rule, campaign = (0, records.assets.shape[1] - 1), (0, len(TECHNIQUES) - 1), (-1, MAX_CAMPAIGNS - 1)
    zone, tool = (0, scenario.num_zones - 1), (0, len(TOOLS) - 1)
    host_or_none, rule_or_none, tool_or_none = (-1, host[1]), (-1, rule[1]), (-1, tool[1])
    env = {
        "episode": (-1, FAR), "step": (0, scenario.max_steps), "is_over": (0, 1), "has_calls": (0, 1),
        "network": (0, len(records.network) - 1), "num_calls": (0, CALL_SLOTS), "num_log": (0, records.log.shape[1]),
        "num_tracked": (0, records.hosts.shape[1]), "num_pending": (0, PENDING_SLOTS),
        "num_cases": (0, scenario.queue_capacity), "num_campaigns": (0, FAR), "next_case": (0, FAR),
        "campaigns/state": (0, 2), "campaigns/family": (0, num_families - 1), "campaigns/plan": (0, MAX_PLAN - 1),
        "campaigns/technique": rule_or_none, "campaigns/via": host_or_none, "campaigns/target": host_or_none,
        "campaigns/num_live": (0, FAR), "pending/rule": rule, "pending/host": host, "pending/source": host_or_none,
        "pending/campaign": campaign, "cases/host": host, "cases/source": host_or_none, "cases/zone": zone,
        "cases/rule": rule, "cases/campaign": campaign, "cases/enriched": (0, 2), "order": (0, CASE_SLOTS - 1),
        "job_tool": tool_or_none, "job_host": host, "blind_next": (0, FAR), "perimeter": (0, 2),
        "top_host": host_or_none, "isolated_host": host_or_none, "least_host": host_or_none,
        "kill_host": host_or_none,
        "calls/tool": tool, "calls/outcome": (0, len(OUTCOMES) - 1),
    }  # fmt: skip
    hosts = {
        "host": host, "zone": zone, "segment": (0, MAX_SEGMENTS - 1), "level": (0, 2), "campaign": campaign,
        "known_level": (0, 2),
    }  # fmt: skip
    tables = {"env": env, "hosts": hosts, "log": {"kind": (0, len(LOG_KINDS) - 1)}}
    return {f"{table}/{field}": limit for table, fields in tables.items() for field, limit in fields.items()}


def check_records(records: Records, arrays: Tree) -> None:
    """Raises CheckpointError where records contradict each other: places of hosts, plans, targets of calls."""
    env, hosts = arrays["env"], arrays["hosts"]
    in_use = np.arange(hosts["host"].shape[1]) < env["num_tracked"][:, None]
    slots = np.zeros_like(arrays["slots"])
    row, place = np.nonzero(in_use)
    slots[row, hosts["host"][row, place]] = place + 1
    if not np.array_equal(slots, arrays["slots"]) or (slots > 0).sum() != in_use.sum():
        raise CheckpointError("state: slots do not say where hosts have their records; allowed: a state as it was read")
    length = records.world["families"][0]["plan_length"][env["campaigns"]["family"]]
    if (env["campaigns"]["plan"] >= np.maximum(1, length)).any():
        raise CheckpointError("state: a campaign is behind the end of its plan; allowed: a state as it was read")
    limit = {"zone": records.world["num_zones"][0], "host": records.assets.shape[1], "case": FAR, "network": 1}
    limits = np.array([limit[tool.target] for tool in TOOLS])[env["calls"]["tool"]]
    target, is_called = env["calls"]["target"], np.arange(CALL_SLOTS) < env["num_calls"][:, None]
    if (is_called & ((target < 0) | (target >= limits))).any():
        raise CheckpointError("state: a call has a target that does not exist; allowed: a state as it was read")
