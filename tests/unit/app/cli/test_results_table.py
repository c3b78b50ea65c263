"""The table of results shows beside each class what the image is, where that is known."""

import io
from typing import Any

import pytest
from rich.console import Console

from certrad.app.cli.client import Job
from certrad.app.cli.console import DIFFERS, Row, print_ids, print_jobs, print_results
from certrad.app.cli.demo import SPECIMENS, report
from certrad.models.shipped import shipped_tasks

RESULT: dict[str, Any] = {
    "outcome": "certified",
    "label": "head CT",
    "radius": 0.5,
    "scope": "input_independent",
    "scope_text": "words",
    "sigma": 0.25,
    "n": 100,
    "radius_in_image_units": {"value": None, "reason": "of the test"},
    "warnings": [],
    "provenance": {"input_shape": [3, 64, 64], "classifier": {}},
    "timing": {"estimate_s": 1.0},
}
ABSTENTION = {**{name: value for name, value in RESULT.items() if name not in ("label", "radius")}} | {
    "outcome": "abstained",
    "reason": "no_majority",
}


def warned(*codes: str) -> dict[str, Any]:
    return RESULT | {"warnings": [{"code": code, "message": f"About {code}."} for code in codes]}


def row(
    truth: str | None, result: dict[str, Any] | None = RESULT, status: str = "succeeded", image: str = "scan"
) -> Row:
    body = {
        "id": "j1",
        "status": status,
        "progress": {"phase": "done"},
        "created_at": "now",
        "request": {"params": {"sigma": 0.25, "n": 100}},
        "result": result,
        "error": None,
        "links": {"certificate": "/certificates/abc" if result else None},
    }
    return Row(image=image, job=Job.from_json(body), truth=truth)


def printed(*rows: Row) -> str:
    console = Console(file=io.StringIO(), width=200)
    print_results(console, rows)
    print_ids(console, rows)
    return console.file.getvalue()  # type: ignore[attr-defined, no-any-return]


@pytest.mark.parametrize(
    ("shown", "differs"),
    [
        (row("head CT"), False),
        (row("ultrasound"), True),
        (row("ultrasound", ABSTENTION), False),
        (row("ultrasound", None, "failed"), False),
        (row(None), False),
    ],
    ids=["right", "wrong", "abstained", "failed", "unknown"],
)
def test_a_certified_class_that_the_image_is_not_of_is_marked(shown: Row, differs: bool) -> None:
    assert shown.differs == differs
    assert (DIFFERS in printed(shown)) == differs


def test_what_an_image_is_has_a_column_where_it_is_known() -> None:
    table = printed(row("ultrasound"))
    assert "what it is" in table
    (line,) = [line for line in table.splitlines() if line.startswith("│")]
    assert [cell.strip() for cell in line.split("│")[1:4]] == ["scan", "ultrasound", f"head CT {DIFFERS}"]
    assert f"{DIFFERS}: the certified class is not what the image is" in table
    assert "what it is" not in printed(row(None))


def test_warnings_stand_above_the_radius_with_the_images_they_are_about() -> None:
    rows = [
        row(None, warned("backbone_note"), image="a"),
        row(None, warned("low_contrast", "no_window", "backbone_note"), image="b"),
        row(None, warned("no_window", "backbone_note"), image="c"),
        row(None, None, "failed", image="d"),
    ]
    before, _, after = printed(*rows).partition("0.5000")
    lines = [line for line in before.splitlines() if line.startswith("warning")]
    assert lines == [
        "warning low_contrast (b): About low_contrast.",
        "warning no_window (b, c): About no_window.",
        "warning backbone_note (a, b, c): About backbone_note.",
    ]
    assert "About" not in after


def test_a_warning_of_many_images_names_some() -> None:
    rows = [row(None, warned("no_window"), image=f"scan{number}") for number in range(7)]
    assert "warning no_window (scan0, scan1, scan2, scan3, scan4, 2 more): " in printed(*rows)


def test_warnings_stand_before_the_radius_in_a_list_of_jobs() -> None:
    console = Console(file=io.StringIO(), width=200)
    print_jobs(console, [row(None, warned("low_contrast", "backbone_note")).job])
    (line,) = [line for line in console.file.getvalue().splitlines() if "j1" in line]  # type: ignore[attr-defined]
    assert line.index("low_contrast") < line.index("head CT") < line.index("0.5000")
    assert "backbone_note" not in line


def test_job_and_certificate_are_told_below_the_table() -> None:
    assert "scan: job j1, certificate abc\n" in printed(row(None))
    assert "scan: job j1\n" in printed(row(None, None, "failed"))


def test_json_of_the_demonstration_says_it_too() -> None:
    (told,) = report([row("ultrasound")], [], [])["results"]
    assert (told["what_it_is"], told["differs"]) == ("ultrasound", True)


def test_images_of_the_demonstration_are_of_classes_of_the_task_but_for_one() -> None:
    classes = shipped_tasks()["mednist"].class_names
    assert [specimen.truth in classes for specimen in SPECIMENS] == [True, True, True, False]


def test_a_list_of_jobs_tells_what_is_left_and_what_nobody_knows() -> None:
    def line(estimate: dict[str, float | None] | None) -> str:
        console, job = Console(file=io.StringIO(), width=200), row(None).job
        job.raw["estimate"] = estimate
        print_jobs(console, [job])
        written: str = console.file.getvalue()  # type: ignore[attr-defined]
        return next(line for line in written.splitlines() if "j1" in line)

    assert "13+31 s" in line({"wait_seconds": 12.6, "run_seconds": 31.0})
    assert "0+? s" in line({"wait_seconds": 0.0, "run_seconds": None})
    assert " s " not in line(None)
