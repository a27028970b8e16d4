"""Charts: what they show, and that their files are whole."""

from pathlib import Path

import pytest

pytest.importorskip("matplotlib")

from experiments import plots
from soc_env.engine.tables import HUNTER, TRIAGE


def test_bars_keep_the_policies_worth_comparing_readable() -> None:
    low, high = plots.bar_limits([10.0, 11.0, 6.9], [10.0, 11.0, -300.0])
    assert -10 < low < -3  # room for an arrow and a number, not for -300
    assert 11 < high < 20
    assert plots.bar_limits([0.0], [0.0]) == (0.0, 0.42)
    assert plots.bar_limits([2.0, -1.0], [2.0, -1.0])[0] < -1  # what is in focus is never cut


def test_pictures_are_written_whole_and_as_their_name_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figure, _ = plots.panels(1, 1, 2.0, 1.0)
    for name, start in (("a.png", b"\x89PNG"), ("a.SVG", b"<?xml"), ("a.pdf", b"%PDF"), ("a", b"\x89PNG")):
        assert plots.write_picture(tmp_path / name, figure).read_bytes().startswith(start)
    monkeypatch.setattr(figure, "savefig", lambda file, **_: file.write(b"half") and 1 / 0)
    with pytest.raises(ZeroDivisionError):
        plots.write_picture(tmp_path / "a.png", figure)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert len(list(tmp_path.iterdir())) == 4


def test_the_picture_of_attention() -> None:
    names = ["zone 0", "zone 1", "context", "case 0"]
    shares = [[0.1, 0.2, 0.3, 0.4], [0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.15, 0.35], [1.0, 0.0, 0.0, 0.0]]
    decisions = {TRIAGE: names[2:3], HUNTER: names[:3]}
    agents = {agent: {"tokens": names, "decisions": own, "shares": shares} for agent, own in decisions.items()}
    triage, hunter, *others = plots.draw_attention(agents).axes
    assert not any(panel.get_visible() for panel in others)
    assert [label.get_text() for label in triage.get_yticklabels()] == ["context"]
    assert [label.get_text() for label in hunter.get_yticklabels()] == ["zone 0", "zone 1", "context"]
    assert [text.get_text() for text in triage.texts] == ["0.25", "0.25", "0.15", "0.35"]
    assert [text.get_text() for text in hunter.texts][3:6] == ["0.40", "0.50", "0.50"]  # nothing is written on a 0
