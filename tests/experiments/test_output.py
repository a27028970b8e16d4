"""What results are written with: files that are whole or not there, and marks of where they come from."""

import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from experiments.output import output_errors, to_json, write_json, write_text
from experiments.provenance import command, git_hash, provenance
from soc_env.errors import ConfigError
from soc_env.versions import versions

# --- files


def test_files_are_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "new" / "result.json"
    assert write_text(path, "old") == path
    assert path.read_text() == "old"

    def broken(*_: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("soc_env.files.os.replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["result.json"]


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("")
    for wrong, named in (("folder", "folder"), ("file/result.json", "file")):
        with pytest.raises(OSError, match=r"directory|exists") as error:
            write_text(tmp_path / wrong, "new")
        assert str(error.value.filename) == str(tmp_path / named)


@pytest.mark.parametrize(("field", "says"), [("", "output '"), ("--json", "--json=")])
def test_a_file_that_cannot_be_written_is_one_line(field: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    refused = pytest.raises(ConfigError, match=rf"^{says}.*folder.* cannot be written \(.*directory\)$")
    with refused, output_errors(field):
        write_text(tmp_path / "folder", "new")


def test_json_has_an_entry_a_line_at_two_levels(tmp_path: Path) -> None:
    data = {"a": 1, "b": {"c": [1, 2], "d": {"e": None}}, "f": {}}
    text = to_json(data)
    assert text == '{\n "a": 1,\n "b": {\n  "c": [1, 2],\n  "d": {"e": null}\n },\n "f": {}\n}\n'
    assert write_json(tmp_path / "x.json", data).read_text() == text
    assert json.loads(text) == data


def test_results_hold_nothing_that_json_does_not_know_and_settings_hold_all_that_was_set() -> None:
    with pytest.raises(TypeError):
        to_json({"a": {"b": Path("x")}})
    undefined = json.loads(to_json({"a": {"b": [float("inf"), 1.0], "c": (float("nan"),)}, "d": np.float64("nan")}))
    assert undefined == {"a": {"b": [None, 1.0], "c": [None]}, "d": None}
    found = json.loads(to_json({"a": {"b": float("inf"), "c": Path("x")}}, is_strict=False))
    assert found == {"a": {"b": float("inf"), "c": "x"}}


# --- provenance


def test_provenance_says_versions_commit_and_command() -> None:
    found = provenance()
    assert found["versions"]["python"] == platform.python_version()
    assert found["versions"]["numpy"] == np.__version__
    assert found["git_hash"] == git_hash()
    assert len((found["git_hash"] or "-dirty").removesuffix("-dirty")) in (0, 40)
    assert command() == sys.argv
    assert "command" not in found  # the same seed gives the same bytes


def test_packages_that_are_not_installed_have_no_version() -> None:
    assert versions("numpy", "no-such-package") == {"numpy": np.__version__}
