"""MkDocs hooks: the kept results and the changelog stand outside of docs/ and are shown from where they are."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "results"  # shown as /results/: pictures, and the files with every number


def on_files(files: Files, config: Any) -> Files:
    """Adds the kept results, and CHANGELOG.md as a page."""
    for path in sorted(RESULTS.iterdir()):
        if path.suffix in (".png", ".json", ".csv"):
            files.append(File.generated(config, f"results/{path.name}", abs_src_path=str(path)))
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "development/changelog.md", content=changelog))
    return files
