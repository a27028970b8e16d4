"""MkDocs hooks: kept results and the changelog stand outside of docs/ and are shown from where they are."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"  # shown as /results/: pictures, and the files with every number
PAGES = {
    "development/changelog.md": ROOT / "CHANGELOG.md",
    "experiments/soc-v1-table.md": RESULTS / "soc-v1-table.md",
}
HEADS = {"experiments/soc-v1-table.md": "# soc-v1: scripted policies and ablations\n\n"}


def on_files(files: Files, config: Any) -> Files:
    """Adds the files of kept results, and the pages that are written elsewhere."""
    for path in sorted(RESULTS.iterdir()):
        if path.suffix in (".png", ".json", ".csv"):
            files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    for page, path in PAGES.items():
        files.append(File.generated(config, page, content=HEADS.get(page, "") + path.read_text(encoding="utf-8")))
    return files
