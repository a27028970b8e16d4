"""Every fenced Python example of README and site runs.

Blocks of a page run in order and share their names, as a reader would type them. Budgets are cut, nothing else.
"""

import contextlib
import io
import os
import re
from pathlib import Path

import pytest
from sybil.document import Document
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BUDGETS = {"range(10)": "range(1)", "range(100)": "range(6)", "range(400)": "range(40)"}
ROLES = ("prey", "driver", "flanker", "closer")  # tiers of the example with an environment of others


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def with_python() -> list[Path]:
    return [page for page in PAGES if "```python" in page.read_text(encoding="utf-8")]


def run_examples(page: Path) -> tuple[dict, str]:
    """Runs the blocks of a page; the names that they leave and what they printed."""
    text = page.read_text(encoding="utf-8")
    for there, here in BUDGETS.items():
        text = text.replace(there, here)
    document = Document(text, str(page))
    printed = io.StringIO()
    examples = 0
    for region in PythonCodeBlockParser()(document):
        document.add(region)
    with contextlib.redirect_stdout(printed):
        for example in document.examples():
            example.evaluate()
            examples += 1
    assert examples == text.count("```python"), "a block of Python was not read"
    return document.namespace, printed.getvalue()


@pytest.mark.parametrize("page", with_python(), ids=name_of)
def test_the_examples_of_a_page_run_and_print(page, request, tmp_path, monkeypatch):
    text = page.read_text(encoding="utf-8")
    if "cyborg_bridge" in text and "```python\nfrom cyborg_bridge" in text and not os.environ.get("CYBORG_HOME"):
        pytest.skip("CYBORG_HOME is not set: the example of CAGE Challenge 4 is NOT tested")
    if "mpe2" in text:
        pytest.importorskip("mpe2")
    if "import HMARL" in text:
        request.getfixturevalue("quiet_ray")
    monkeypatch.chdir(tmp_path)
    names, printed = run_examples(page)
    assert printed.strip() or page.stem == "tune", "the examples print nothing"
    if page.stem == "your-environment":
        (example,) = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
        assert len(example.strip().splitlines()) <= 25
        algo = names["algo"]
        algorithms = {tier["algorithm"] for name, tier in algo.config.tier_settings.items() if name in ROLES}
        assert algorithms == {"PPO", "SAC", "DQN", "MADDPG"}
        assert set(ROLES) <= set(names["result"]["learners"])
