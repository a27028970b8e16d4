"""README and site say what the code says: sizes, tables, links, targets; a page asks nothing of the network."""

import importlib.util
import os
import pydoc
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType

import pytest
import yaml

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def load(name: str) -> ModuleType:
    """A module of docs/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return load("generate")


# ---- README
def test_the_readme_fits_on_a_door():
    assert len(README.splitlines()) <= 120
    assert len(README.encode()) <= 7_000


def test_the_readme_begins_with_the_two_commands_and_names_only_existing_ones():
    first_block = re.findall(r"^```\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)[0]
    assert re.findall(r"^make \w+", first_block, re.MULTILINE) == ["make train", "make test"]


def test_pages_name_only_targets_of_the_makefile(generate):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in [*generate.pages(), ROOT / "CONTRIBUTING.md"]:
        named = set(re.findall(r"^make ([a-z-]+)|`make ([a-z-]+)", page.read_text(encoding="utf-8"), re.MULTILINE))
        assert {left or right for left, right in named} <= targets, page.name


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_to_files_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#]+)", (ROOT / page).read_text(encoding="utf-8"))
    assert [link for link in links if not link.startswith("http") and not (ROOT / link).exists()] == []


def test_the_citation_names_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version"} <= set(citation)
    assert f"version = {citation['version']}\n" in (ROOT / "setup.cfg").read_text()
    assert f"author = {citation['authors'][0]['name']}\n" in (ROOT / "setup.cfg").read_text()


def written_pages(generate: ModuleType) -> list[Path]:
    return [*generate.pages(), ROOT / "CONTRIBUTING.md"]


def test_names_that_pages_write_exist(generate):
    names = re.compile(r"`((?:soc_env|policies|experiments|cyborg_bridge)(?:\.\w+)+)")
    for page in written_pages(generate):
        for name in set(names.findall(page.read_text(encoding="utf-8"))):
            assert pydoc.locate(name) is not None, f"{page.name}: {name}"


def test_paths_that_pages_write_exist(generate):
    tops = "soc_env|policies|experiments|cyborg_bridge|docs|examples|tests|results"
    paths = re.compile(rf"`(?:python )?((?:{tops})/[\w./*-]*)`")
    for page in written_pages(generate):
        for path in set(paths.findall(page.read_text(encoding="utf-8"))):
            assert list(ROOT.glob(path.rstrip("/"))), f"{page.name}: {path}"


# ---- generated tables
def test_generated_tables_are_what_the_code_says_now(generate):
    for page in generate.pages():
        text = page.read_text(encoding="utf-8")
        assert generate.rendered(text) == text, f"{page.relative_to(ROOT)} is stale: make docs-tables"


def test_every_table_that_can_be_generated_is_shown_somewhere(generate):
    text = "".join(page.read_text(encoding="utf-8") for page in generate.pages())
    assert {match[2] for match in generate.BLOCK.finditer(text)} == set(generate.TABLES)


def test_no_page_asks_for_a_table_in_vain(generate):
    for page in generate.pages():
        text = page.read_text(encoding="utf-8")
        assert text.count("<!-- generated:") == len(generate.BLOCK.findall(text)), page.name


def test_a_stale_table_is_found(generate):
    fresh = generate.rendered("<!-- generated: tools -->\n<!-- end -->\n")
    assert "`reimage`" in fresh
    assert generate.rendered(fresh.replace("`reimage`", "`rebuild`")) == fresh


# ---- the site
class Loaded(HTMLParser):
    """What a browser fetches by itself when it shows a page."""

    def __init__(self, page: str):
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.found += [values[name] for name in ("src", "srcset", "data", "poster") if name in values]
        if tag == "link" and values.get("rel") != "canonical":
            self.found.append(values.get("href", ""))


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr  # nothing but INFO: --strict fails on more, unless --quiet is given too
    return folder


def test_a_page_of_the_site_asks_nothing_of_the_network(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        text = page.read_text(encoding="utf-8")
        outside = [url for url in Loaded(text).found if re.match(r"(https?:)?//", url)]
        assert outside == [], page
        assert 'class="mermaid"' not in text, "diagrams would be drawn by a script from elsewhere"
    for sheet in site.rglob("*.css"):
        assert not re.search(r"(url\(|@import )[\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet


def test_the_site_holds_no_source_and_every_kept_picture(site):
    assert list(site.rglob("*.py")) == []
    kept = {path.name for path in (ROOT / "results").glob("*.png")}
    assert kept
    assert kept <= {path.name for path in (site / "results").glob("*.png")}
    shown = "".join(page.read_text(encoding="utf-8") for page in site.rglob("*.html"))
    assert {name for name in kept if f"results/{name}" not in shown} == set()


def test_no_quotation_in_a_page_is_a_doctest(site):
    assert [page for page in site.rglob("*.html") if "<blockquote>" in page.read_text(encoding="utf-8")] == []
