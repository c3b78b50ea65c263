"""Facts of a decoded image, and the meaning of a radius on it; no pixels."""

import re
from dataclasses import dataclass, field
from math import isfinite
from typing import Final, Literal, get_args

from certrad.models.types.applied_window import AppliedWindow, PercentileRange
from certrad.models.types.grey_values import GreyImage
from certrad.models.types.noise_space import NoisyImage
from certrad.models.types.variants import VariantRecord

Unit = Literal["grey level", "HU", "stored value"]
ImageFormat = Literal["png", "jpeg", "tiff", "dicom"]
Transform = Literal[
    "orientation",
    "palette",
    "modality_lut",
    "rescale",
    "voi_lut",
    "window_linear",
    "window_linear_exact",
    "window_sigmoid",
    "percentile",
    "full_range",
    "invert",
]

ImageWarning = Literal["low_contrast", "no_window", "several_windows", "voi_lut_reduced", "burned_in_annotation"]
IMAGE_WARNINGS: Final[dict[ImageWarning, str]] = {
    "low_contrast": (
        "The model saw nearly one grey: its input spans less than a tenth of the range from black to white. The class "
        "says little about what is on the image, however large the radius. Look at the model input, and send a window."
    ),
    "no_window": (
        "The file has no window, and the task no preset for its modality, so the whole range of the stored bits was "
        "shown. Look at the model input, and send a window if it is too dark, too bright or too flat."
    ),
    "several_windows": (
        "The file has several windows or lookup tables, and the first one was used. Another one would make another "
        "image: send its centre and width as the window if you mean that."
    ),
    "voi_lut_reduced": (
        "The VOI lookup table of the file uses fewer bits than it declares, so the image is at most half as bright "
        "as it could be. Compare the image with what a viewer shows."
    ),
    "burned_in_annotation": (
        "The pixels may show text, such as a name: the file says so, or it is an ultrasound image, a secondary capture "
        "or of modality OT. The model saw the text too, and no report removes it."
    ),
}
"""What each warning says to a user."""

_PLAIN: Final = re.compile(r"[A-Za-z0-9 .,:()_/-]{1,80}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageFacts:
    """The published facts of an image: never a value of its header that could name a patient, a place or a time.

    Attributes:
        format: Kind of file, by its bytes.
        rows: Rows of the whole decoded image or frame, before `region`.
        columns: Columns of the whole decoded image or frame.
        channels: Its channels, 1 or 3.
        bits: Bits stored for one sample.
        frames: Number of frames in the file.
        frame: The frame that was taken, from 1.
        transfer_syntax: Keyword of the DICOM transfer syntax.
        decoder: Name and version of what decoded the pixels.
        lossy: Whether the pixels went through lossy compression, as the encoding shows or the file says.
        transforms: What led from the stored values to [0, 1], in order.
        unit: Unit of the image's values.
        slope: Largest change of a value in [0, 1] per unit of the image.
        warnings: What a user should know before trusting a class; `IMAGE_WARNINGS` has the sentences.
        window: The window that was applied; None in a record of a release that did not keep it.
    """

    format: ImageFormat
    rows: int
    columns: int
    channels: Literal[1, 3]
    bits: int
    frames: int = 1
    frame: int = 1
    transfer_syntax: str | None = None
    decoder: str
    lossy: bool
    transforms: tuple[Transform, ...] = ()
    unit: Unit
    slope: float
    warnings: tuple[ImageWarning, ...] = ()
    window: AppliedWindow | None = None

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, self.bits) < 1 or not 1 <= self.frame <= self.frames:
            raise ValueError("rows, columns and bits must be >= 1 and frame in [1, frames]")
        if not (self.slope >= 0 and isfinite(self.slope)):  # also refuses NaN
            raise ValueError(f"slope must be finite and >= 0, got {self.slope!r}")
        for text in (self.decoder, self.transfer_syntax):
            if text is not None and not _PLAIN.fullmatch(text):
                raise ValueError("decoder and transfer_syntax must be plain short names")

    @property
    def depends_on_pixels(self) -> bool:
        """Returns whether the map from values to [0, 1] was chosen by the values themselves."""
        return isinstance(self.window, PercentileRange)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageScale:
    """How far a change of the image can move the model input.

    Attributes:
        unit: Unit of the image's values.
        slope: Largest change of a value in [0, 1] per unit of the image.
        rows: Rows of the part of the image that the model input is made of.
        columns: Columns of that part.
        channels: Channels of that part, 1 or 3.
        resize_vertical: Spectral norm of the resize of the vertical axis.
        resize_horizontal: Spectral norm of the resize of the horizontal axis.
        rounding: L2 distance that rounding alone can put between the model inputs of two images.
        note: What the image's values are, in words.
        depends_on_pixels: Whether the map from values to [0, 1] was chosen by the values themselves, so that no such
            bound holds for an image with other values.
        direct: Whether noise is added to the part itself, so that neither a resize nor a copy of channels moves it.
    """

    unit: Unit
    slope: float
    rows: int
    columns: int
    channels: Literal[1, 3]
    resize_vertical: float
    resize_horizontal: float
    rounding: float
    note: str
    depends_on_pixels: bool = False
    direct: bool = field(default=False, metadata={"exclude_if": lambda direct: not direct})  # as releases before

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise ValueError(f"unit must be one of {', '.join(get_args(Unit))}, got {self.unit!r}")
        if self.channels not in (1, 3) or min(self.rows, self.columns) < 1:
            raise ValueError(
                f"shape must be rows x columns x 1 or 3 channels, got {self.rows} x {self.columns} x {self.channels}"
            )
        if not (self.slope >= 0 and isfinite(self.slope)):  # also refuses NaN
            raise ValueError(f"slope must be finite and >= 0, got {self.slope!r}")
        for factor in (self.resize_vertical, self.resize_horizontal, self.rounding):
            if not (factor > 0 and isfinite(factor)):
                raise ValueError(f"norms and rounding must be finite and > 0, got {factor!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """The factors of L and the allowance for rounding, each raised to 10 digits after a relative margin of 1e-9.

    Attributes:
        resize_vertical: Spectral norm of the resize of the vertical axis.
        resize_horizontal: Spectral norm of the resize of the horizontal axis.
        channels: sqrt(3) where one channel is shown as three, else 1.
        slope: Largest change of a value in [0, 1] per unit of the image.
        rounding: L2 distance that rounding alone can put between two model inputs.
    """

    resize_vertical: float
    resize_horizontal: float
    channels: float
    slope: float
    rounding: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRegion:
    """The part of the image, or of the requested region, that the model input is made of; the rest is free.

    Attributes:
        rows: Its rows.
        columns: Its columns.
        channels: Its channels, 1 or 3.
    """

    rows: int
    columns: int
    channels: Literal[1, 3]


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelBudget:
    """Any `max_pixels` pixels may each change by `change` units at most, in every channel.

    Attributes:
        change: Units of the image.
        max_pixels: Number of pixels.
    """

    change: int
    max_pixels: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRadius:
    """The class does not change while the L2 norm of the change, over pixels and channels, is below `l2` units.

    Attributes:
        l2: Radius in units of the image, floored to 4 decimals.
        unit: Unit of the image's values.
        uniform_change: Largest change, in units, that every value may undergo at once.
        pixels: Fewer pixels may change by more.
        region: The part of the image that counts.
        factors: What the radius follows from.
        note: What the image's values are, in words.
    """

    l2: float
    unit: Unit
    uniform_change: float
    pixels: tuple[PixelBudget, ...]
    region: ImageRegion
    factors: Factors
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoImageRadius:
    """There is no radius in the image's units.

    Attributes:
        reason: Why there is none.
        value: Always None.
    """

    reason: str
    value: None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRecord(ImageFacts):
    """The facts of an image whose model input waits for an engine; free of patient data.

    Attributes:
        pixels_sha256: Identity of the decoded pixels, before resizing; 64 hexadecimal digits.
        input_sha256: SHA-256 of the float32 model input; 64 hexadecimal digits.
        shape: (channels, height, width) of the model input.
        scale: How far a change of the image can move what noise is added to.
        noisy: The rendered image that noise is added to; None, and absent in JSON, where it is the model input.
        variants: The renderings of the same file that were asked for; empty, and absent in JSON, where there are none.
        grey: The values before the window; None, and absent in JSON, where no noise on the window was asked for.
    """

    pixels_sha256: str
    input_sha256: str
    shape: tuple[int, int, int]
    scale: ImageScale
    noisy: NoisyImage | None = field(default=None, metadata={"exclude_if": lambda noisy: noisy is None})
    variants: tuple[VariantRecord, ...] = field(default=(), metadata={"exclude_if": lambda variants: not variants})
    grey: GreyImage | None = field(default=None, metadata={"exclude_if": lambda grey: grey is None})

    @property
    def noise_sha256(self) -> str:
        """Returns the SHA-256 of what noise is added to: a part of the noise key."""
        return self.input_sha256 if self.noisy is None else self.noisy.sha256

    @property
    def input_digests(self) -> tuple[str, ...]:
        """Returns the SHA-256 of the model input, and of that of each variant."""
        return self.input_sha256, *(variant.input_sha256 for variant in self.variants)

    def __post_init__(self) -> None:
        ImageFacts.__post_init__(self)
        for digest in (self.pixels_sha256, self.input_sha256):
            if not _SHA256.fullmatch(digest):
                raise ValueError(f"a digest must be 64 hexadecimal digits, got {digest!r:.80}")
