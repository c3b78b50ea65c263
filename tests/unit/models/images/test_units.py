"""The radius on the image has the right arithmetic, and no change below it leaves the radius at the model input."""

import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import fitted, image_scale, model_input
from certrad.models.images.resize import AxisResize
from certrad.models.images.units import radius_in_image_units
from certrad.models.types import Region
from certrad.models.types.image import ImageRadius, ImageScale, NoImageRadius
from certrad.models.types.window_lattice import WindowFunction, cell
from certrad.workers.decoders import raster
from certrad.workers.decoders.dicom import decode as decode_dicom
from certrad.workers.decoders.grayscale import Invert, Rescale, Step, Table, ValueRange, Window, render
from tests.support.images import dicom, encoded, item, noise, png_16, tiff_16

LIMIT = 2_000_000
Floats = NDArray[np.float64]

PLAIN = ImageScale(
    unit="grey level",
    slope=1 / 255,
    rows=224,
    columns=224,
    channels=3,
    resize_vertical=1.0,
    resize_horizontal=1.0,
    rounding=1e-12,
    note="",
)
"""An 8-bit RGB picture of the size of the model input, with next to no rounding."""


def shown(radius: float, scale: ImageScale) -> ImageRadius:
    found = radius_in_image_units(radius, scale)
    assert isinstance(found, ImageRadius)
    return found


def exact(number: float) -> Fraction:
    return Fraction(Decimal(repr(number)))


# -- arithmetic --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("radius", "pixels"),
    [
        (0.25, [1354, 54, 13, 0]),
        (0.5, [5418, 216, 54, 2]),
        (1.0, [21674, 866, 216, 8]),  # not 21675 and 867: 255^2 / 3 and 51^2 / 3 are whole, and the radius is strict
        (1.5, [48768, 1950, 487, 19]),
    ],
)
def test_pixels_that_may_change_by_1_5_10_and_50_grey_levels(radius: float, pixels: list[int]) -> None:
    budgets = shown(radius, PLAIN).pixels
    assert [budget.change for budget in budgets] == [1, 5, 10, 50]
    assert [budget.max_pixels for budget in budgets] == pixels


@pytest.mark.parametrize(("function", "l2"), [("LINEAR", 516.26), ("LINEAR_EXACT", 517.56)])
def test_half_a_unit_on_a_ct_slice_in_hounsfield_units(function: str, l2: float) -> None:
    """docs/mathematics.md, 5.2: 1.3031 x 396.2 under LINEAR, whose slope is 1 / (WW - 1); 400 is rounded to 397.2."""
    data = dicom(
        np.zeros((1024, 1024), np.int16),
        Modality="CT",
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=40,
        WindowWidth=400,
        VOILUTFunction=function,
    )
    found = shown(0.5, image_scale(decode_dicom(data, max_pixels=LIMIT).facts, None, 224))
    assert found.unit == "HU"
    assert l2 - 0.1 < found.l2 < l2
    assert found.uniform_change == pytest.approx(l2 / 1024, abs=2e-4)


def test_every_published_number_follows_from_published_numbers() -> None:
    """By the three lines that a verifier needs; strict, and no larger number is."""
    rng = np.random.default_rng(0)
    for _ in range(200):
        scale = replace(
            PLAIN,
            slope=float(10 ** rng.uniform(-5, 0)),
            rows=int(rng.integers(8, 3000)),
            columns=int(rng.integers(8, 3000)),
            channels=(1, 3)[rng.integers(2)],
            resize_vertical=float(rng.uniform(0.1, 3)),
            resize_horizontal=float(rng.uniform(0.1, 3)),
            rounding=2.3e-5,
        )
        radius = float(rng.integers(1000, 40000)) / 10_000
        found = shown(radius, scale)
        factors = found.factors
        lipschitz = exact(factors.resize_vertical) * exact(factors.resize_horizontal) * exact(factors.slope)
        lipschitz *= exact(factors.channels)
        largest = (exact(radius) - exact(factors.rounding)) / lipschitz
        assert exact(found.l2) <= largest < exact(found.l2) + Fraction(1, 10_000)
        values, uniform = scale.rows * scale.columns * scale.channels, exact(found.uniform_change)
        assert values * uniform**2 < exact(found.l2) ** 2 <= values * (uniform + Fraction(1, 10_000)) ** 2
        for budget in found.pixels:
            spent = scale.channels * budget.change**2
            assert budget.max_pixels * spent < exact(found.l2) ** 2
            everywhere = budget.max_pixels == scale.rows * scale.columns
            assert everywhere or (budget.max_pixels + 1) * spent >= exact(found.l2) ** 2


def test_a_change_that_equals_the_radius_is_too_large() -> None:
    found = shown(1.0, replace(PLAIN, channels=1, rows=30, columns=30, slope=1 / (3**0.5 * 30.00005)))
    assert found.l2 == 30
    assert found.uniform_change == 0.9999
    assert [budget.max_pixels for budget in found.pixels] == [899, 35, 8, 0]


def test_factors_are_raised_by_at_least_1e_9() -> None:
    factors = shown(1.0, replace(PLAIN, channels=1, slope=1 / 3, resize_vertical=0.66439357)).factors
    for raised, true in ((factors.slope, 1 / 3), (factors.resize_vertical, 0.66439357), (factors.channels, 3**0.5)):
        assert true * (1 + 1e-9) <= raised < true * (1 + 3e-9)


def test_published_numbers_have_four_decimals() -> None:
    found = shown(0.5513, PLAIN)
    assert found.l2 == round(found.l2, 4)
    assert found.uniform_change == round(found.uniform_change, 4)


@pytest.mark.parametrize(
    ("radius", "changed", "reason"),
    [
        (None, {}, "abstention"),
        (0.0001, {"rounding": 0.0001}, "rounding"),
        (0.0001, {"rounding": 2e-5, "slope": 1.0, "resize_vertical": 3.0}, "rounding"),
        (0.5, {"slope": 0.0}, "rendered alike"),
    ],
)
def test_without_a_radius_there_is_a_reason(radius: float | None, changed: dict[str, Any], reason: str) -> None:
    found = radius_in_image_units(radius, replace(PLAIN, **changed))
    assert isinstance(found, NoImageRadius)
    assert found.value is None
    assert reason in found.reason


@pytest.mark.parametrize(
    "wrong",
    [{"slope": float("nan")}, {"slope": -1.0}, {"unit": "furlong"}, {"resize_vertical": 0.0}, {"channels": 2},
     {"rows": 0}, {"rounding": float("inf")}],
)  # fmt: skip
def test_a_wrong_scale_cannot_be_built(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must be"):
        replace(PLAIN, **wrong)


# -- perturbations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A kind of picture: stored values in the middle of their range, their file, and how they are rendered."""

    stored: NDArray[Any]
    file: Callable[[NDArray[Any]], bytes]
    steps: Sequence[Step]
    image_size: int = 64
    region: Region | None = None

    def picture(self, stored: NDArray[Any]) -> DecodedImage:
        """Through the real decoder."""
        data = self.file(stored)
        if data[128:132] == b"DICM":
            return decode_dicom(data, max_pixels=LIMIT, region=self.region)
        kind: raster.RasterFormat = "png" if data[1:4] == b"PNG" else "tiff"
        return raster.decode(data, kind, max_pixels=LIMIT, region=self.region)

    def input(self, stored: NDArray[Any]) -> Floats:
        """The model input of values that no file could hold; they are rendered and resized as those of a file are.

        stored: (rows, columns), or with three channels; those of three grey pictures give one channel each.
        """
        values = stored if stored.ndim == 3 else stored[..., None]
        if (region := self.region) is not None:
            values = values[region.y : region.y + region.h, region.x : region.x + region.w]
        return fitted(render(self.steps, values), self.image_size).pixels.astype(np.float64)


def table(values: Sequence[int], bits: int) -> Any:
    entries = item(LUTDescriptor=[len(values), 0, bits], LUTData=list(values))
    entries["LUTDescriptor"].VR = entries["LUTData"].VR = "US"
    return entries


def middle(*shape: int, dtype: str, low: int, high: int) -> NDArray[Any]:
    return np.random.default_rng(7).integers(low, high, shape, dtype=dtype)


def rounded(function: WindowFunction, centre: float, width: float) -> Window:
    """The step of the window that a window is rounded to."""
    found = cell(centre, width)
    return Window(function, found.centre, found.width)


CURVE = [round(255 * (i / 511) ** 2) for i in range(512)]  # steps of 0 and 1
KINKED = [2 * i if i < 100 else 200 + (i - 100) // 4 for i in range(320)]

CASES = {
    "grey, 8 bits": Case(
        middle(96, 131, dtype="u1", low=110, high=145), lambda x: encoded(x, "png"), [ValueRange(0, 255)]
    ),
    "grey, 16 bits": Case(
        middle(70, 64, dtype="u2", low=30_000, high=35_000), lambda x: encoded(x, "png"), [ValueRange(0, 65535)]
    ),
    "RGB, 8 bits, enlarged": Case(
        middle(40, 33, 3, dtype="u1", low=110, high=145), lambda x: encoded(x, "png"), [ValueRange(0, 255)]
    ),
    "RGB, 16 bits": Case(
        middle(65, 90, 3, dtype="u2", low=30_000, high=35_000), png_16, [ValueRange(0, 65535)]
    ),
    "TIFF, a region": Case(
        middle(120, 110, dtype="u2", low=30_000, high=35_000), tiff_16, [ValueRange(0, 65535)],
        region=Region(x=3, y=10, w=100, h=80),
    ),
    "LINEAR window in HU": Case(
        middle(90, 101, dtype="i2", low=1040, high=1080),
        lambda x: dicom(x, Modality="CT", RescaleSlope=1, RescaleIntercept=-1024, WindowCenter=40, WindowWidth=400),
        [Rescale(1, -1024), rounded("LINEAR", 40, 400)],
    ),
    "LINEAR_EXACT window in HU of half a stored value": Case(
        middle(80, 80, dtype="u2", low=2100, high=2200),
        lambda x: dicom(x, RescaleType="HU", RescaleSlope=0.5, RescaleIntercept=-1024, WindowCenter=50,
                        WindowWidth=300, VOILUTFunction="LINEAR_EXACT"),
        [Rescale(0.5, -1024), rounded("LINEAR_EXACT", 50, 300)],
    ),
    "SIGMOID window": Case(
        middle(100, 75, dtype="u2", low=990, high=1011),
        lambda x: dicom(x, WindowCenter=1000, WindowWidth=2000, VOILUTFunction="SIGMOID"),
        [rounded("SIGMOID", 1000, 2000)],
    ),
    "MONOCHROME1": Case(
        middle(71, 66, dtype="u2", low=1900, high=2200),
        lambda x: dicom(x, BitsStored=12, PhotometricInterpretation="MONOCHROME1"),
        [ValueRange(0, 4095), Invert()],
    ),
    "grey, 8 bits, to 224": Case(
        middle(250, 230, dtype="u1", low=110, high=145), lambda x: encoded(x, "png"), [ValueRange(0, 255)],
        image_size=224,
    ),
    "modality table": Case(
        middle(88, 88, dtype="u2", low=20, high=80),
        lambda x: dicom(x, BitsStored=12, ModalityLUTSequence=[table(KINKED, 8)]),
        [Table("modality_lut", 0, np.array(KINKED, dtype=np.float64), 8), ValueRange(0, 255)],
    ),
    "VOI table after half a rescale": Case(
        middle(88, 88, dtype="u2", low=620, high=700),
        lambda x: dicom(x, BitsStored=12, RescaleSlope=0.5, RescaleIntercept=0, VOILUTSequence=[table(CURVE, 8)]),
        [Rescale(0.5, 0), Table("voi_lut", 0, np.array(CURVE, dtype=np.float64), 8)],
    ),
}  # fmt: skip
HAS_TABLE = ("modality table", "VOI table after half a rescale")


def per_stored_value(case: Case) -> float:
    """Units of one stored value."""
    rescale = case.steps[0]
    in_hu = case.picture(case.stored).facts.unit == "HU"
    return rescale.slope if in_hu and isinstance(rescale, Rescale) else 1.0


def iterates(case: Case, count: int, rng: np.random.Generator) -> Iterator[Floats]:
    """Power iteration on the resize: directions, of L2 norm 1, that it enlarges more and more."""
    region = case.region
    sides = case.stored.shape[:2] if region is None else (region.h, region.w)
    whole = case.stored.shape
    window = np.s_[:, :] if region is None else np.s_[region.y : region.y + region.h, region.x : region.x + region.w]
    operators = []
    for side in sides:
        axis = AxisResize.to_centre(side, case.image_size * side // min(sides), case.image_size)
        matrix = np.zeros((case.image_size, side))
        matrix[:, axis.samples.start : axis.samples.stop] = axis.matrix()
        operators.append(matrix.T @ matrix)
    inside = rng.standard_normal((*sides, *whole[2:]))
    for _ in range(count):
        inside = np.einsum("ij,jk...,kl->il...", operators[0], inside, operators[1], optimize=True)
        inside /= np.linalg.norm(inside)
        direction = np.zeros(whole)
        direction[window] = inside
        yield direction


def to_whole(change: Floats) -> NDArray[np.int64]:
    """Rounded towards zero, so that the norm does not grow."""
    return np.trunc(change).astype(np.int64)


@pytest.mark.parametrize("name", CASES)
def test_no_change_of_the_radius_leaves_it_at_the_model_input(name: str) -> None:
    """1,000 random and 20 power-iteration changes of norm `l2`; the last of these comes near the radius."""
    case, rng, radius = CASES[name], np.random.default_rng(1), 0.5
    base = case.picture(case.stored)
    size = case.image_size
    found = shown(radius, image_scale(base.facts, case.region, size))
    stored_radius = found.l2 / per_stored_value(case)
    x = model_input(base, size).pixels.astype(np.float64)
    if name not in HAS_TABLE:
        assert np.array_equal(case.input(case.stored), x)

    def changed(direction: Floats) -> Floats:
        change: Floats = direction * (stored_radius / np.linalg.norm(direction))
        # A table knows whole values only.
        moved: Floats = case.stored + (to_whole(change) if name in HAS_TABLE else change)
        return moved

    def reached(directions: Iterator[Floats]) -> list[float]:
        """Returns how far the model input moves; that of a grey picture has its channel three times, so 3 fit in."""
        pictures = map(changed, directions)
        if case.stored.ndim == 3:
            return [float(np.linalg.norm(case.input(picture) - x)) for picture in pictures]
        moved = []
        while three := list(islice(pictures, 3)):
            apart = case.input(np.stack((three * 3)[:3], axis=-1)) - x
            moved += [3**0.5 * float(np.linalg.norm(channel)) for channel in apart[: len(three)]]
        return moved

    drawn = 100 if size == 224 else 1000  # what is sent to 224 pixels is of a kind that has its 1,000 at 64
    random = reached(rng.standard_normal(case.stored.shape) for _ in range(drawn))
    powers = reached(iterates(case, 20, rng))
    assert (len(random), len(powers)) == (drawn, 20)
    assert max(*random, *powers) <= radius
    if name not in HAS_TABLE:
        assert powers[-1] > 0.97 * radius


@pytest.mark.parametrize("name", CASES)
def test_no_change_that_a_file_can_hold_leaves_the_radius(name: str) -> None:
    case, rng, radius = CASES[name], np.random.default_rng(2), 2.0
    base = case.picture(case.stored)
    stored_radius = shown(radius, image_scale(base.facts, case.region, case.image_size)).l2 / per_stored_value(case)
    x = model_input(base, case.image_size).pixels.astype(np.float64)
    *_, worst = iterates(case, 20, rng)
    sparse = np.where(rng.random(case.stored.shape) < 0.02, rng.choice([-1.0, 1.0], case.stored.shape), 0.0)
    for direction in (worst, sparse, rng.standard_normal(case.stored.shape)):
        change = to_whole(direction * (stored_radius / np.linalg.norm(direction)))
        limits = np.iinfo(case.stored.dtype)
        changed = np.clip(case.stored + change, limits.min, limits.max).astype(case.stored.dtype)
        moved = model_input(case.picture(changed), case.image_size).pixels.astype(np.float64) - x
        assert 0 < np.linalg.norm(moved) <= radius


@pytest.mark.parametrize(("shape", "kept"), [((64, 200), np.s_[:, 68:132]), ((200, 64), np.s_[68:132])])
def test_what_is_cropped_away_is_free_and_not_counted(shape: tuple[int, int], kept: Any) -> None:
    stored = middle(*shape, dtype="u1", low=100, high=150)
    facts = raster.decode(encoded(stored, "png"), "png", max_pixels=LIMIT).facts
    scale = image_scale(facts, None, 64)
    assert (scale.rows, scale.columns) == (64, 64)
    other = noise(*shape)
    other[kept] = stored[kept]
    inputs = [model_input(raster.decode(encoded(x, "png"), "png", max_pixels=LIMIT), 64) for x in (stored, other)]
    assert inputs[0].sha256 == inputs[1].sha256


def test_a_uniform_change_of_every_value_is_within_the_radius() -> None:
    case = CASES["LINEAR window in HU"]
    found = shown(0.5, image_scale(case.picture(case.stored).facts, None, 64))
    x = case.input(case.stored)
    for signs in (np.ones(case.stored.shape), np.random.default_rng(3).choice([-1.0, 1.0], case.stored.shape)):
        assert np.linalg.norm(case.input(case.stored + found.uniform_change * signs) - x) < 0.5


def test_the_rounding_to_float32_is_within_its_allowance() -> None:
    rng = np.random.default_rng(4)
    pixels = rng.random((150, 130, 3))
    facts = raster.decode(encoded(noise(150, 130, 3), "png"), "png", max_pixels=LIMIT).facts
    picture = DecodedImage(pixels=pixels, sha256="0" * 64, facts=facts)
    vertical, horizontal = (AxisResize.to_centre(side, 64 * side // 130, 64) for side in (150, 130))
    exactly = np.clip(horizontal.apply(vertical.apply(pixels, 0), 1), 0, 1)
    allowed = image_scale(facts, None, 64).rounding
    off = np.linalg.norm(model_input(picture, 64).pixels.transpose(1, 2, 0) - exactly)
    assert allowed / 20 < off < allowed / 2  # two pictures are rounded, and each by less than the worst


@pytest.mark.parametrize(("rows", "columns"), [(8, 8_000_000), (8_000, 8_000)])
def test_the_scale_of_a_large_picture_costs_little_memory(rows: int, columns: int) -> None:
    facts = raster.decode(encoded(noise(8, 8), "png"), "png", max_pixels=LIMIT).facts
    tracemalloc.start()
    try:
        image_scale(replace(facts, rows=rows, columns=columns), None, 224)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 80 << 20
