"""The steps from stored values to [0, 1] that DICOM knows (PS3.3 C.11.1, C.11.2), in float64."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from certrad.models.errors import Rejected
from certrad.models.images.window_function import show
from certrad.models.types.image import Transform
from certrad.models.types.window_lattice import WindowFunction

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]
_WINDOWS: Final[dict[WindowFunction, Transform]] = {
    "LINEAR": "window_linear",
    "LINEAR_EXACT": "window_linear_exact",
    "SIGMOID": "window_sigmoid",
}


@dataclass(frozen=True, slots=True)
class Rescale:
    """Rescale Slope and Intercept: x -> slope x + intercept (PS3.3 C.11.1.1.2)."""

    slope: float
    intercept: float

    def __post_init__(self) -> None:
        if not (math.isfinite(self.slope) and math.isfinite(self.intercept) and self.slope != 0):
            raise Rejected("unsupported_pixels", "Rescale Slope and Intercept must be finite, and the slope not 0")


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A lookup table (PS3.3 C.11.1.1.1): x -> values[x - first], the first and last entry beyond both ends.

    Attributes:
        kind: The modality table, or the VOI table, whose range of bits is [0, 1].
        first: The value that the first entry is for.
        values: float64 entries of `bits` bits.
        bits: Bits of an entry.
    """

    kind: Literal["modality_lut", "voi_lut"]
    first: int
    values: Floats
    bits: int

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or not self.values.size or not 8 <= self.bits <= 16:
            raise Rejected("unsupported_pixels", f"lookup table entries must have 8 to 16 bits, got {self.bits} bits")

    @property
    def peak(self) -> int:
        """Returns the largest value the table can hold."""
        return (1 << self.bits) - 1


@dataclass(frozen=True, slots=True)
class Window:
    """Window Center and Width with their function (PS3.3 C.11.2.1.2 and C.11.2.1.3), onto [0, 1]."""

    function: WindowFunction
    centre: float
    width: float

    def __post_init__(self) -> None:
        narrowest = 1.0 if self.function == "LINEAR" else 0.0  # at which the window is a step
        if not (math.isfinite(self.centre) and math.isfinite(self.width) and self.width > narrowest):
            raise Rejected("unsupported_pixels", f"a window must be finite and wider than {narrowest}")


@dataclass(frozen=True, slots=True)
class ValueRange:
    """A range of values, onto [0, 1].

    Attributes:
        low: The value that becomes 0.
        high: The value that becomes 1.
        kind: The range of values that the bits can hold, or of most values of this image.
    """

    low: float
    high: float
    kind: Literal["full_range", "percentile"] = "full_range"


@dataclass(frozen=True, slots=True)
class Invert:
    """The inversion of MONOCHROME1, in which the lowest value is white."""


Step = Rescale | Table | Window | ValueRange | Invert


def apply(step: Step, x: Floats | Integers) -> Floats:
    """Returns the values after a step; those of Window, ValueRange, Invert and the VOI table are in [0, 1].

    Integers are taken as they are, because a float64 copy of a large colour image alone is gigabytes.

    Args:
        step: The step.
        x: The values before the step.
    """
    match step:
        case Rescale():
            return np.multiply(x, step.slope, dtype=np.float64) + step.intercept
        case Table():
            index = np.clip(np.rint(x, dtype=np.float64) - step.first, 0, step.values.size - 1).astype(np.intp)
            entries: Floats = step.values[index]
            return entries if step.kind == "modality_lut" else np.clip(entries / step.peak, 0.0, 1.0)
        case Window():
            return show(x, step.function, step.centre, step.width)
        case ValueRange():
            unit = np.subtract(x, step.low, dtype=np.float64)
            unit /= step.high - step.low
            return np.clip(unit, 0.0, 1.0, out=unit)
        case Invert():
            return np.subtract(1.0, x, dtype=np.float64)


def render(steps: Sequence[Step], stored: Integers | Floats) -> Floats:
    """Returns stored values after all steps: pixels in [0, 1] if the last but for Invert is Window, ValueRange or VOI.

    Args:
        steps: The steps, in order.
        stored: The stored values, or those after earlier steps.
    """
    x: Any = stored
    for step in steps:
        x = apply(step, x)
    return np.asarray(x)


def slope(steps: Sequence[Step], stored_type: np.dtype[np.integer[Any]]) -> float:
    """Returns the largest change of a pixel in [0, 1] when its stored value changes by 1.

    It is the Lipschitz constant of `render`.

    Whole values a < b are sent apart by at most the steps between neighbours that lie between them (triangle
    inequality), so the largest step of `render` over all values of the type is its exact constant on them, tables
    after a broken rescale and float64 rounding included. Where no table makes it jump, the slope of the formulas is
    taken if it is larger; then the constant also holds for values that are not whole.

    Args:
        steps: The steps, in order.
        stored_type: The type of the stored values, of 8 or 16 bits.

    Raises:
        Rejected: `unsupported_pixels`, the steps overflow on some value.
    """
    limits = np.iinfo(stored_type)
    with np.errstate(over="ignore", invalid="ignore"):
        steps_between = np.diff(render(steps, np.arange(limits.min, limits.max + 1)))
    largest = float(np.abs(steps_between).max())
    formulas = [_steepest(step) for step in steps if not isinstance(step, Table)]
    if len(formulas) == len(steps):
        largest = max(largest, math.prod(formulas, start=1.0))  # a NaN in first place stays
    if not math.isfinite(largest):
        raise Rejected("unsupported_pixels", "rescale and window are too extreme: some pixel values overflow")
    return largest


def _steepest(step: Rescale | Window | ValueRange | Invert) -> float:
    match step:
        case Rescale():
            return abs(step.slope)
        case Window(function="LINEAR"):
            return 1.0 / (step.width - 1.0)
        case Window():  # SIGMOID is as steep at its centre as LINEAR_EXACT everywhere
            return 1.0 / step.width
        case ValueRange():
            return 1.0 / (step.high - step.low)
        case Invert():
            return 1.0


def window_function(name: str) -> WindowFunction:
    """Returns the function of a window that a header names.

    Args:
        name: The value of VOI LUT Function.

    Raises:
        Rejected: `unsupported_pixels`, there is no such function.
    """
    for function in _WINDOWS:
        if function == name:
            return function
    raise Rejected("unsupported_pixels", f"the VOI LUT function must be one of {', '.join(_WINDOWS)}")


def transform_name(step: Step) -> Transform:
    """Returns the name of a step.

    Args:
        step: The step.
    """
    match step:
        case Rescale():
            return "rescale"
        case Table():
            return step.kind
        case Window():
            return _WINDOWS[step.function]
        case ValueRange():
            return step.kind
        case Invert():
            return "invert"


def parameters(step: Step) -> dict[str, Any]:
    """Returns all parameters of a step as JSON; equal parameters are equal maps.

    Args:
        step: The step.
    """
    match step:
        case Rescale():
            return {"rescale": [step.slope, step.intercept]}
        case Table():
            entries = hashlib.sha256(step.values.astype("<f8").tobytes()).hexdigest()
            return {step.kind: [step.first, step.bits, entries]}
        case Window():
            return {step.function: [step.centre, step.width]}
        case ValueRange():
            return {step.kind: [step.low, step.high]}
        case Invert():
            return {"invert": []}


def full_range(bits: int, *, signed: bool, modality: Rescale | Table | None) -> ValueRange:
    """Returns the range of the stored bits after the modality step.

    Args:
        bits: Bits stored for one value.
        signed: Whether stored values are signed.
        modality: The modality step; None where there is none.
    """
    if isinstance(modality, Table):
        return ValueRange(0.0, float(modality.peak))
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    if modality is None:
        return ValueRange(float(low), float(high))
    ends = (low * modality.slope + modality.intercept, high * modality.slope + modality.intercept)
    return ValueRange(min(ends), max(ends))
