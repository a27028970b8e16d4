"""Playbook files: a SOC's own rules in TOML, as a policy of the `soc-v1` family.

    [numbers]
    isolate_risk = 0.75

    [response_orchestrator]
    contain = ["zone.top_risk >= isolate_risk -> isolate", "zone.isolated_least <= 0.3 -> release", "nothing"]

`docs/learning/playbooks.md` has the grammar; the playbooks that ship are files of this package.

A file is data. It is read with bounds on its size, its expressions are those of `expressions`, which
can do nothing but calculate, and each mistake is one line that names the file, the line, and what is allowed.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from policies.scripted.base import Spaces
from policies.scripted.playbook.policy import PlaybookPolicy
from policies.scripted.playbook.reader import MAX_BYTES, Reader, content
from policies.scripted.playbook.terms import ARROW
from policies.scripted.soc import num_zones_of
from soc_env.engine.tables import AGENTS, COORDINATOR, TRIAGE
from soc_env.errors import ConfigError, shown
from soc_env.soc.tables import actions

SUFFIX = ".toml"
SHIPPED = ("rule-soar", "expert", "expert-learned")


class PlaybookFile:
    """A playbook of a file, checked: a builder `(action_spaces, seed) -> policy`.

    Args:
        text: of the file.
        name: of the file, for messages.
        numbers: other values of some of its [numbers].

    Attributes:
        about: what the file says of itself.
        numbers: name -> value.
        values: name -> text of the named expressions.
        rules: table -> key -> rules, the first that holds counts.
        levels_at: where it first reads what is only seen where findings have levels; "" if nowhere.

    Raises:
        ConfigError: one line with the file, the line, what is wrong and what is allowed.
    """

    def __init__(self, text: str, name: str, numbers: Mapping[str, float] | None = None):
        self.text, self.name = text, name
        self._changed = dict(numbers or {})
        reader = Reader(text, name, self._changed)
        self.about, self.numbers, self.values, self.rules = reader.read()
        self.levels_at = reader.levels_at

    @classmethod
    def of_path(cls, path: str | Path) -> PlaybookFile:
        """The playbook in a file; ConfigError if it cannot be read."""
        return cls(content(Path(path)), Path(path).name)

    @classmethod
    def of_plain(cls, plain: Any) -> PlaybookFile:
        """The playbook that `to_plain` made data of; ConfigError if it is none, or was changed since."""
        kinds = {"file": str, "sha256": str, "text": str, "numbers": Mapping}
        if (
            not isinstance(plain, Mapping)
            or set(plain) != set(kinds)
            or not all(isinstance(plain[name], kind) for name, kind in kinds.items())
        ):
            raise ConfigError(f"playbook {shown(plain)} is none; allowed: {', '.join(kinds)}, as a run records them")
        name = shown(plain["file"])[1:-1]
        if len(plain["text"].encode("utf-8", "replace")) > MAX_BYTES:
            raise ConfigError(f"playbook {name!r}: its text is too large; allowed: {MAX_BYTES} bytes")
        found = cls(plain["text"], name, plain["numbers"])
        if found.sha256 != plain["sha256"]:
            raise ConfigError(f"playbook {name!r}: its text is not the one that its sha256 is of")
        return found

    @property
    def sha256(self) -> str:
        """Of the text, in hexadecimal."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    def to_plain(self) -> dict[str, Any]:
        """The file as data, which settings, run folders and checkpoints keep: it need not be there any more."""
        return {"file": self.name, "sha256": self.sha256, "text": self.text, "numbers": dict(self._changed)}

    def __reduce__(self) -> Any:
        return PlaybookFile, (self.text, self.name, self._changed)

    def with_numbers(self, **numbers: float) -> PlaybookFile:
        """The same with other values of some of its [numbers]; ConfigError if it has none of that name."""
        return PlaybookFile(self.text, self.name, {**self._changed, **numbers})

    def __call__(self, action_spaces: Spaces, seed: int = 0) -> PlaybookPolicy:
        """The policy for a number of zones; ConfigError if these are not the agents of the family."""
        shapes = {agent: getattr(action_spaces.get(agent), "shape", None) for agent in AGENTS}
        num_zones = num_zones_of(action_spaces) if len(shapes[COORDINATOR] or ()) == 1 else 0
        own = {agent: () if agent == TRIAGE else (len(actions(agent, max(num_zones, 1))),) for agent in AGENTS}
        if shapes != own:
            raise ConfigError(f"playbook {self.name}: plays the agents of soc-v1's family, these spaces are of others")
        return PlaybookPolicy(self.rules, num_zones, self.levels_at)

    def rows(self) -> list[tuple[str, str, str]]:
        """(agent, action, rule) of all rules in their order, as they are understood."""
        found = []
        for table, keys in self.rules.items():
            for key, rules in keys.items():
                for k, rule in enumerate(rules):
                    text = " ".join(rule.text.split())
                    else_ = "otherwise " if rule.condition is None and k else ""
                    found.append((table, key, text if rule.condition else f"{else_}{ARROW} {text}"))
        return found


@functools.cache
def shipped_file(name: str) -> PlaybookFile:
    """A playbook that ships, one of `SHIPPED`."""
    return PlaybookFile.of_path(Path(__file__).with_name(f"{name}{SUFFIX}"))


def shipped(name: str, action_spaces: Spaces, seed: int = 0) -> PlaybookPolicy:
    """Builder of a playbook that ships."""
    return shipped_file(name)(action_spaces, seed)
