"""What episodes of CC4 say: means, differences on the same episodes, the tables and the picture."""

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("matplotlib")
from experiments.transfer import plot
from experiments.transfer.comparison import Mean, points_of, reference_of, rows_of
from experiments.transfer.tables import PUBLISHED, print_decomposition, print_table

CONTROLS = ("random-restore", "sleep", "raw-rule")
KEPT = json.loads((Path(__file__).parents[3] / "results/cage4.json").read_text())


def results(**entries: dict[str, Any]) -> dict[str, Any]:
    """What a file of results holds of entries by name: lists of scores, and of rests, from episode 0 on."""
    made = {}
    for name, entry in entries.items():
        scores, rests = ({str(k): v for k, v in enumerate(entry.get(part, ()))} for part in ("scores", "rests"))
        made[name.replace("_", "-")] = {"observation": entry.get("sees", "raw"), "scores": scores, "rests": rests}
    return {"protocol": {"seed": 0, "cyborg": {"version": "4.0"}}, "entries": made}


def text_of(show: Callable[..., None], *given: Any) -> str:
    file = io.StringIO()
    show(*given, file=file)
    return file.getvalue()


def test_a_mean_says_no_more_than_its_episodes() -> None:
    assert Mean.of([]).text() == ""
    assert Mean.of([-117.04]).text() == "-117.0 (one episode)"
    assert (Mean.of([-117.0]).low, Mean.of([-117.0]).std) == (None, None)
    two = Mean.of([-90.0, -110.0], (-np.inf, 0.0))
    assert (two.mean, two.high) == (-100.0, 0.0)
    assert two.low == pytest.approx(-100.0 - 12.7062 * 10.0)  # t of one degree, standard error 10
    assert two.text("+") == "-100.0 [-227.1, +0.0]"


@pytest.mark.parametrize(
    ("rests", "differs"),
    [
        ([-40.0, -42.0, -39.0, -41.0, -40.0, -43.0], "better"),
        ([-60.0, -62.0, -59.0, -61.0, -60.0, -63.0], "worse"),
        ([-40.0, -62.0, -39.0, -61.0, -40.0, -63.0], "no"),
        ([-50.0, -50.0, -50.0, -50.0, -50.0, -50.0], "no"),
        ([-40.0, -42.0, -39.0, -41.0, -40.0], "too few"),
        ([-40.0], "too few"),
    ],
)
def test_an_entry_differs_where_the_paired_interval_leaves_out_0(rests: list[float], differs: str) -> None:
    data = results(
        raw_rule={"scores": [-100.0] * 8, "rests": [-50.0] * 8},
        team={"scores": [-100.0] * len(rests), "rests": rests},
    )
    rows = {row.name: row for row in rows_of(data, "raw-rule")}
    assert rows["team"].differs == differs
    assert rows["team"].rest_gain.n == len(rests)
    assert rows["team"].rest_gain.mean == pytest.approx(np.mean(rests) + 50.0)
    assert rows["raw-rule"].differs == "reference"
    assert rows["raw-rule"].rest_gain.n == 0


def test_pairs_are_of_the_episodes_that_both_have_played() -> None:
    data = results(raw_rule={"scores": [-10.0, -20.0, -30.0]}, team={"scores": [-11.0, -22.0, -33.0, -500.0]})
    del data["entries"]["team"]["scores"]["1"]
    (row,) = (row for row in rows_of(data, "raw-rule") if row.name == "team")
    assert (row.score.n, row.score_gain.n, row.score_gain.mean) == (3, 2, -2.0)


def test_levels_stand_apart_the_worst_first() -> None:
    data = results(
        b={"scores": [-5.0, -6.0]}, a={"scores": [-3.0]}, d={"scores": [-9.0], "sees": "flat"}, none={"scores": []}
    )
    assert [row.name for row in rows_of(data, None)] == ["d", "b", "a"]
    assert reference_of(data) is None
    assert reference_of(data, "a") == "a"


def test_the_kept_results_can_be_compared() -> None:
    """Whatever they hold: they are made anew from time to time."""
    reference = reference_of(KEPT)
    assert reference is not None
    for row in rows_of(KEPT, reference):
        assert row.differs in (("reference",) if row.name == reference else ("better", "worse", "no", "too few"))
        assert row.score.low is not None
        assert row.score.low < row.score.mean < 0.0


def test_table_has_everything_measured_and_what_is_published(run: Callable[..., dict[str, Any]]) -> None:
    data = run(*CONTROLS, episodes=8)
    run("sleep", episodes=9)
    data = run("sleep", episodes=1)
    text = text_of(print_table, data)
    lines = [line.split() for line in text.splitlines()]
    rows = {line[0]: line for line in lines if line and line[0] in CONTROLS}
    assert list(rows) == ["random-restore", "sleep", "raw-rule"]
    assert rows["raw-rule"][1:5] == ["raw", "8", "of", "9"]
    assert float(rows["raw-rule"][5]) == pytest.approx(data["entries"]["raw-rule"]["mean"], abs=0.06)
    assert rows["raw-rule"][-1] == "reference"
    assert rows["sleep"][1:3] == ["flat", "9"]
    assert "8" in rows["sleep"]  # pairs
    assert (rows["sleep"][-1], rows["random-restore"][-1]) == ("better", "worse")
    flowing = " ".join(text.split())
    assert all(f"{figure.name}, published {figure.score:g}" in flowing for figure in PUBLISHED)
    assert "quoted, not measured here" in flowing
    assert "older versions" not in flowing


def test_table_of_a_file_without_rests_goes_by_the_score() -> None:
    data = results(raw_rule={"scores": [-100.0, -90.0] * 3}, team={"scores": [-120.0, -130.0] * 3})
    text = " ".join(text_of(print_table, data).split())
    assert "rest - raw-rule" not in text
    assert "worse, by score" in text
    assert "episodes of older versions have no rest" in text


def test_decomposition_adds_up_to_the_scores(run: Callable[..., dict[str, Any]]) -> None:
    data = run("raw-rule", "sleep", episodes=3)
    for name in ("raw-rule", "sleep"):
        entry = data["entries"][name]
        found = list(points_of(entry))
        assert {(kind, zone) for kind, zone, _ in found} == {("action cost", "office"), ("RIA failed", "contractor")}
        assert sum(sum(phases) for _, _, phases in found) == pytest.approx(entry["mean"])
        assert f"{entry['mean']:,.2f}" in text_of(print_decomposition, data)
    assert text_of(print_decomposition, results()).count("\n") < 8


# --- the picture


def test_published_figures_have_a_source_and_a_place_in_the_picture() -> None:
    assert len({figure.name for figure in PUBLISHED}) == len(PUBLISHED)
    for figure in PUBLISHED:
        assert figure.source
        assert plot.AXIS[0] < -figure.score < 2 * plot.AXIS[-1]


def test_picture_has_groups_bars_intervals_and_published_marks(run: Callable[..., dict[str, Any]]) -> None:
    data = run("raw-rule", "sleep", "random-restore", episodes=4)
    data["entries"]["sleep"]["kind"] = "learned"
    scores, gains = plot.draw(data).axes
    labels = [label.get_text() for label in scores.get_yticklabels()]
    headings = ["level raw", "level flat", "published, as quoted"]
    own = ["level raw", "raw-rule", "level flat", "sleep", "random-restore", "published, as quoted"]
    assert labels == [*own, *(figure.name for figure in PUBLISHED)]
    assert [label.get_text() for label in scores.get_yticklabels() if label.get_fontweight() == "bold"] == headings
    bars = {labels[round(bar.get_y() + bar.get_height() / 2)]: bar for bar in scores.patches}
    assert {name: bar.get_width() for name, bar in bars.items()} == {
        name: pytest.approx(-data["entries"][name]["mean"]) for name in ("raw-rule", "sleep", "random-restore")
    }
    colors = [bars[name].get_facecolor() for name in ("sleep", "raw-rule", "random-restore")]
    assert colors[0] != colors[1] == colors[2]
    marks = {(round(float(x[0]), 1), int(y[0])) for x, y in (line.get_data() for line in scores.lines) if len(x) == 1}
    assert {(-figure.score, labels.index(figure.name)) for figure in PUBLISHED} <= marks
    dots = {int(y[0]): float(x[0]) for x, y in (line.get_data() for line in gains.lines) if len(x) == 1}
    rest = {name: data["entries"][name]["rest"]["mean"] for name in bars}
    assert dots == {labels.index(n): pytest.approx(rest[n] - rest["raw-rule"]) for n in ("sleep", "random-restore")}
    assert any(list(line.get_xdata()) == [0.0, 0.0] for line in gains.lines)  # the line of no difference


def test_picture_without_a_reference_has_one_panel_and_without_rests_goes_by_the_score() -> None:
    assert len(plot.draw(results(sleep={"scores": [-5000.0, -6000.0], "sees": "flat"})).axes) == 1
    data = results(raw_rule={"scores": [-100.0] * 3}, team={"scores": [-90.0, -80.0, -85.0]})
    scores, gains = plot.draw(data).axes
    assert "score minus raw-rule" in gains.get_title(loc="left")
    assert [text.get_text() for text in gains.texts] == ["+15.0"]


MEANS = (-50, -110, -113, -118, -124, -125, -130, -131, -154, -300, -655, -5000, -5500, -6503)
MANY = results(
    raw_rule={"scores": [-120.0, -130.0, -115.0] * 3},
    **{f"some_trained_team_{k}": {"scores": [m - 20.0, m, m + 20.0] * 3, "sees": "flat" if k % 3 else "raw"}
       for k, m in enumerate(MEANS)},
)  # fmt: skip


@pytest.mark.parametrize("width", [8.0, 13.0])
@pytest.mark.parametrize("data", [KEPT, MANY], ids=["kept", "many"])
def test_nothing_in_the_picture_stands_over_something_else(data: dict[str, Any], width: float) -> None:
    """Numbers and marks of both panels, by their boxes."""
    figure = plot.draw(data, width=width)
    figure.canvas.draw()
    boxes = [text.get_window_extent() for panel in figure.axes for text in panel.texts]
    assert len(boxes) > len(PUBLISHED)
    assert [(a, b) for k, a in enumerate(boxes) for b in boxes[:k] if a.overlaps(b)] == []
    left, right = (panel._left_title.get_window_extent() for panel in figure.axes)
    assert not left.overlaps(right)
