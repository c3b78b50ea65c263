"""The command line says radii, abstentions and warnings in words."""

import io
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, cast

from rich.console import Console
from rich.progress import Progress

from certrad.app.cli.client import Client, Event, Job
from certrad.app.cli.console import add_bar, follow, image_units
from certrad.models.images.units import radius_in_image_units
from certrad.models.types.image import IMAGE_WARNINGS, ImageScale

CT = ImageScale(
    unit="HU", slope=1 / 399, rows=1024, columns=1024, channels=1, resize_vertical=0.4707, resize_horizontal=0.4707,
    rounding=2.3e-5, note="",
)  # fmt: skip


def result(radius: float | None, scale: ImageScale = CT) -> dict[str, Any]:
    """The part of a job's result that is shown; an abstention has no radius."""
    found = {"radius_in_image_units": asdict(radius_in_image_units(radius, scale))}
    return found if radius is None else {**found, "radius": radius}


def test_the_radius_is_told_in_the_images_own_units() -> None:
    assert image_units(result(0.5)) == (
        "no change below 519.845 HU (L2) alters the class: for example 0.5076 HU in every pixel, "
        "or 10 HU in 2702 pixels"
    )


def test_no_budget_of_no_pixels_is_told() -> None:
    words = image_units(result(0.005))
    assert words is not None
    assert words.endswith("HU in every pixel")


def test_why_there_is_none_is_told() -> None:
    words = image_units(result(0.0001, ImageScale(**{**asdict(CT), "rounding": 0.1})))
    assert words is not None
    assert words.startswith("no radius in the image's own units: ")


def test_of_an_abstention_nothing_is_told() -> None:
    assert image_units(result(None)) is None


class Player:
    """A service whose job has these events."""

    def __init__(self, *events: tuple[str, dict[str, Any]]) -> None:
        self._events = events

    def wait(self, job_id: str, on_event: Callable[[Event], None]) -> Job:
        for number, (name, data) in enumerate(self._events):
            on_event(Event(id=str(number), name=name, data=data))
        return job(job_id)


def job(job_id: str) -> Job:
    body = {"id": job_id, "status": "running", "progress": {"phase": "waiting"}, "created_at": "now", "request": {}}
    return Job.from_json({**body, "result": None, "error": None, "links": {"certificate": None}})


def followed(*events: tuple[str, dict[str, Any]]) -> str:
    """Returns what is printed above the bar of a job with these events, and after each one what the bar says."""
    console = Console(file=io.StringIO(), width=200)
    with Progress(console=console) as progress:
        bar = add_bar(progress, "scan", job("j1"))
        update = progress.update

        def noted(*arguments: Any, **changes: Any) -> None:
            if "phase" in changes:
                console.print(f"phase: {changes['phase']}")
            update(*arguments, **changes)

        progress.update = noted  # type: ignore[method-assign]
        follow(cast("Client", Player(*events)), job("j1"), progress, bar)
    return cast("io.StringIO", console.file).getvalue()


def test_a_proved_radius_is_shown_below_the_warnings_of_its_image() -> None:
    radius = {"samples_done": 64, "samples_total": 100, "running_radius": 0.5}
    events: list[tuple[str, dict[str, Any]]] = [
        ("phase", {"phase": "waiting", "warnings": ["low_contrast"]}),
        ("phase", {"phase": "estimating"}),
    ]
    shown = followed(*events, ("progress", radius), ("progress", radius))
    warning = f"warning low_contrast (scan): {IMAGE_WARNINGS['low_contrast']}"
    assert shown.count(warning) == 1
    assert shown.index(warning) < shown.index("radius 0.5000 proved")


def test_a_warning_of_a_newer_service_is_shown_by_its_code() -> None:
    radius = {"samples_done": 64, "samples_total": 100, "running_radius": 0.5}
    shown = followed(("phase", {"phase": "waiting", "warnings": ["of_tomorrow"]}), ("progress", radius))
    assert shown.index("warning of_tomorrow (scan)") < shown.index("radius 0.5000 proved")
