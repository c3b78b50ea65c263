"""`certrad plot` draws tables of `certrad evaluate` as one figure."""

import json
from pathlib import Path

import pytest
from PIL import Image

from certrad.models.evaluation.certified import ABSTAINED, COLUMNS, Row
from certrad.workers.cli import plot as plot_command
from certrad.workers.cli.main import main
from certrad.workers.offline.plot import Curve, curve_label

HEADER = "\t".join(COLUMNS)
SETTINGS = {"classifier": {"prompt": "p-1"}, "params": {"sigma": 0.5, "n": 100}, "scope": "input_independent"}


def row(index: int, predict: int, radius: float) -> Row:
    return Row(index=index, label=0, predict=predict, radius=radius, seconds=1.0)


ROWS = [row(0, 0, 0.5), row(1, 0, 0.25), row(2, 1, 0.75), row(3, ABSTAINED, 0.0)]


def table(path: Path, rows: list[Row] = ROWS) -> Path:
    path.write_text("\n".join([HEADER, *(each.to_line() for each in rows)]) + "\n")
    return path


def test_share_at_a_radius_is_that_of_correct_images_with_it_or_more() -> None:
    radii, shares = Curve(name="c", rows=ROWS).points()
    assert (radii, shares) == ([0.0, 0.25, 0.5, 0.5], [50.0, 50.0, 25.0, 0.0])


def test_without_a_correct_image_the_share_is_zero() -> None:
    assert Curve(name="c", rows=ROWS[2:]).points() == ([0.0], [0.0])


def test_a_scope_that_is_not_the_usual_one_is_told() -> None:
    assert curve_label("t", SETTINGS, 4) == "t: p-1, σ = 0.5, n = 100, 4 images"
    assert "frozen_prompt" in curve_label("t", {**SETTINGS, "scope": "frozen_prompt"}, 4)


def test_several_tables_make_one_picture(tmp_path: Path) -> None:
    first, second = table(tmp_path / "a.tsv"), table(tmp_path / "b.tsv", ROWS[:2])
    first.with_suffix(".json").write_text(json.dumps(SETTINGS))
    assert main(["plot", str(first), str(second), "--out", str(tmp_path / "p.png")]) == 0
    with Image.open(tmp_path / "p.png") as picture:
        assert picture.width > picture.height > 100
    assert main(["plot", str(first), "--out", str(tmp_path / "p.svg")]) == 0
    assert "<svg" in (tmp_path / "p.svg").read_text()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "with the columns"),
        ("a\tb\n", "with the columns"),
        (HEADER, "at least one row"),
        (f"{HEADER}\n1\t2", "no row"),
    ],
)
def test_a_file_that_is_no_table_is_bad_usage(
    content: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.tsv").write_text(content)
    assert main(["plot", str(tmp_path / "t.tsv"), "--out", str(tmp_path / "p.png")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "p.png").exists()


def test_a_format_that_is_not_drawn_and_missing_matplotlib_are_told_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["plot", str(table(tmp_path / "t.tsv")), "--out", str(tmp_path / "p.gif")]) == 2
    assert "`--out` must end in .pdf, .png, .svg" in capsys.readouterr().err
    monkeypatch.setattr(plot_command, "find_spec", lambda _: None)
    assert main(["plot", str(tmp_path / "t.tsv"), "--out", str(tmp_path / "p.png")]) == 2
    assert "`--out` needs matplotlib: run `make setup`" in capsys.readouterr().err
