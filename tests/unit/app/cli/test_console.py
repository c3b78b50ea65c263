"""What the command line says in words."""

from dataclasses import asdict
from typing import Any

from certrad.app.cli.console import image_units
from certrad.models.images.units import radius_in_image_units
from certrad.models.types.image import ImageScale

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
