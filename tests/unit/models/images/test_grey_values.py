"""Values before the window: rendered in any window as the file itself is, clipped only after it, named by a digest."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from certrad.models.images.grey_rendering import GreyRenderer
from certrad.models.images.grey_values import GreyValues
from certrad.models.images.model_input import fitted, image_map
from certrad.models.images.window_function import show
from certrad.models.types.window_lattice import cell

SIDE = 16
NEAR = cell(127.5, 255.0)


def grey(values: NDArray[np.float64], **changes: object) -> GreyValues:
    made = GreyValues(
        values=values,
        map=image_map((values.shape[0], values.shape[1]), 1, SIDE),
        function="LINEAR_EXACT",
        inverted=False,
    )
    return replace(made, **changes)  # type: ignore[arg-type]  # fields of the class


def some(rows: int = 24, columns: int = 24) -> NDArray[np.float64]:
    return np.random.default_rng(0).uniform(-50, 300, (rows, columns))


def test_value_beyond_the_window_of_the_file_is_seen_in_another_one() -> None:
    """300 with the centre moved by 51: 0.9764706. A value that was clipped to 255 first would be shown as 0.8."""
    assert float(show(np.array(300.0), "LINEAR_EXACT", 127.5 + 51, 255.0)) == pytest.approx(0.9764706, abs=1e-7)
    moved = cell(127.5 + 51, 255.0)
    seen = GreyRenderer.of(grey(np.full((24, 24), 300.0)), SIDE).model_input(moved)
    assert seen == pytest.approx((300 - moved.centre) / moved.width + 0.5, abs=1e-6)
    assert seen.min() > 0.95


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("inverted", [False, True])
def test_rendering_is_window_then_inversion_then_resize(function: str, inverted: bool) -> None:
    """The inversion of MONOCHROME1 comes after the window, as for the file itself."""
    values = some()
    shown = show(values, function, NEAR.centre, NEAR.width)  # type: ignore[arg-type]  # one of the three
    expected = fitted((1 - shown if inverted else shown)[..., None], SIDE)
    made = grey(values, function=function, inverted=inverted)
    assert np.abs(GreyRenderer.of(made, SIDE).model_input(NEAR) - expected.pixels).max() < 1e-6


def test_digest_names_values_shape_function_and_inversion() -> None:
    made = grey(some())
    others = (
        grey(some() + 1e-9),
        grey(some(), function="LINEAR"),
        grey(some(), inverted=True),
        replace(made, map=replace(made.map, of_rows=30)),
    )
    assert len({each.named.sha256 for each in (made, *others)}) == 5
    assert GreyValues.from_bytes(made.tobytes(), made.named).named == made.named


def test_bytes_of_other_values_are_refused() -> None:
    made = grey(some())
    with pytest.raises(ValueError, match="another digest"):
        GreyValues.from_bytes(grey(some() + 1).tobytes(), made.named)
    with pytest.raises(ValueError, match="cannot reshape"):
        GreyValues.from_bytes(made.tobytes()[8:], made.named)


@pytest.mark.parametrize(
    "values", [np.full((24, 24), np.nan), np.zeros((24, 23)), np.zeros((24, 24), dtype=np.float32)]
)
def test_other_arrays_are_refused(values: NDArray[np.float64]) -> None:
    made = grey(some())
    with pytest.raises(ValueError, match="grey values must be"):
        replace(made, values=values)


def test_colour_has_no_window() -> None:
    made = grey(some())
    with pytest.raises(ValueError, match="one channel"):
        replace(made.named, map=replace(made.map, channels=3))
