"""Writes every table of the documentation that code or kept results already hold.

    python docs/generate.py           rewrite the tables in README.md and docs/
    python docs/generate.py --check   change nothing; exit status 1 and a list if any of them is stale

A page asks for a table with a pair of comments, and what is between them is written here:

    <!-- generated: tools -->
    <!-- end -->

Words after the name are arguments: `<!-- generated: features soc-v1 alert_triage_0 -->`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

DOCS = Path(__file__).parent
ROOT = DOCS.parent
sys.path[:0] = [str(DOCS), str(ROOT)]

from tables import commands, environment, learning, results  # noqa: E402

BLOCK = re.compile(r"(<!-- generated: ([\w-]+)((?: [^ >]+)*) -->\n).*?(<!-- end -->)", re.DOTALL)
TABLES: dict[str, Callable[..., str]] = {
    **environment.TABLES,
    **learning.TABLES,
    **commands.TABLES,
    **results.TABLES,
}


def pages() -> list[Path]:
    """README.md and every page of the site."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def rendered(text: str) -> str:
    """The page with its tables as they are now.

    Raises:
        KeyError: The page asks for a table that does not exist.
    """

    def block(match: re.Match[str]) -> str:
        opening, name, arguments, closing = match.groups()
        return f"{opening}{TABLES[name](*arguments.split()).strip()}\n{closing}"

    return BLOCK.sub(block, text)


def main(arguments: Sequence[str]) -> int:
    """Rewrites or checks; the exit status."""
    if arguments not in ([], ["--check"]):
        print(f"generate.py: unknown arguments {' '.join(arguments)}; allowed: --check", file=sys.stderr)
        return 2
    stale = []
    for path in pages():
        before = path.read_text(encoding="utf-8")
        after = rendered(before)
        if after != before:
            stale.append(path.relative_to(ROOT))
            if not arguments:
                path.write_text(after, encoding="utf-8")
    for path in stale:
        print(f"{'stale' if arguments else 'wrote'} {path}")
    return 1 if stale and arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
