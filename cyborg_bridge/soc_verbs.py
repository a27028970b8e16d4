"""What `soc-v1`'s tools are in CC4: the verb of each, how long it takes and what it costs.

Durations and costs are those of CAGE Challenge 4's actions: Restore alone costs, one point of the score.
"""

from __future__ import annotations

from typing import NamedTuple


class Cost(NamedTuple):
    """Of a verb of CC4.

    Attributes:
        ticks: steps that it takes.
        price: points of the official score that it takes.
    """

    ticks: int
    price: float


COSTS: dict[str, Cost] = {
    "Analyse": Cost(2, 0.0),
    "Remove": Cost(3, 0.0),
    "Restore": Cost(5, 1.0),
    "DeployDecoy": Cost(2, 0.0),
    "BlockTrafficZone": Cost(1, 0.0),
    "AllowTrafficZone": Cost(1, 0.0),
    "": Cost(0, 0.0),  # nothing happens in CC4
}


class Verb(NamedTuple):
    """What a tool is in CC4.

    Attributes:
        verb: of CC4; "" where nothing happens there.
        how: on what, and when.
    """

    verb: str
    how: str

    @property
    def ticks(self) -> int:
        """Steps that it takes; the blue agent is busy for as long."""
        return COSTS[self.verb].ticks

    @property
    def price(self) -> float:
        """Points of the official score that a call takes."""
        return COSTS[self.verb].price


VERBS: dict[str, Verb] = {
    "escalate": Verb("", "SIEM only: the verdict adds to the suspected host's risk, the source's where there is one"),
    "suppress": Verb("", "SIEM only: the case is dropped, its hosts' alerts lose most of their weight"),
    "correlate": Verb("", "SIEM only: cases that share a host are merged, a source found in one counts for all"),
    "enrich": Verb("Analyse", "of the suspected host (raw)"),
    "query": Verb("", "SIEM only: CC4 has no second source"),
    "hunt": Verb("Analyse", "of the zone's host that is most worth it (raw)"),
    "deep_scan": Verb("Analyse", "as a hunt: Analyse has one depth"),
    "deploy_decoy": Verb("DeployDecoy", "on the host with fewest, users' first, until all have 2"),
    "intel_sweep": Verb("", "SIEM only, finds nothing: CC4 has no indicators"),
    "collect_forensics": Verb("", "SIEM only, finds nothing"),
    "isolate": Verb("BlockTrafficZone", "the host is marked, the next block that policy lists for its zone is set"),
    "release": Verb("AllowTrafficZone", "the mark is taken off, the zone's next block too if nobody asks for it"),
    "kill_process": Verb(
        "Remove", "with finding_levels only where an alert about a process stands and root is not known"
    ),
    "reimage": Verb("Restore", ""),
    "block_perimeter": Verb("BlockTrafficZone", "what policy lists, in all zones, when nothing else is to be done"),
    "unblock_perimeter": Verb("AllowTrafficZone", "the same, taken back"),
    "reset_credentials": Verb("", "refused: CC4 has none"),
}
"""Tool -> what it is in CC4."""
# Calls that the SIEM carries out whatever the agent does in CC4; those of `HOST_TOOLS` only if CC4 does them.
SIEM_TOOLS = {
    "escalate", "suppress", "correlate", "intel_sweep", "collect_forensics", "block_perimeter", "unblock_perimeter",
}  # fmt: skip
HOST_TOOLS = {"isolate", "release", "kill_process", "reimage"}
