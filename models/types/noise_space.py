"""The image that noise is added to: the model input, or the rendered image that it is made of."""

import re
from dataclasses import asdict, dataclass
from typing import Final, Literal

from certrad.models.types.cards import Fit

NoiseSpace = Literal["model_input", "image"]
DEFAULT_NOISE_SPACE: Final[NoiseSpace] = "model_input"

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageMap:
    """The map from a rendered image to the model input, which every noisy sample goes through.

    Attributes:
        rows: Rows of the part of the image that the model input is made of: what noise is added to.
        columns: Columns of that part.
        channels: Its channels, 1 or 3; one is shown as three.
        of_rows: Rows of the whole rendered image, after `region`; the part is its middle.
        of_columns: Columns of the whole rendered image.
        fit: Whether the image is cropped to a square or padded to one; see `BackboneCard`.
    """

    rows: int
    columns: int
    channels: Literal[1, 3]
    of_rows: int
    of_columns: int
    fit: Fit

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= self.of_rows and 1 <= self.columns <= self.of_columns) or self.channels not in (1, 3):
            raise ValueError(
                "the part must be 1 or 3 channels of a part of the image, got "
                f"{self.rows} x {self.columns} x {self.channels} of {self.of_rows} x {self.of_columns}"
            )
        if self.fit not in ("crop", "pad"):
            raise ValueError(f"fit must be 'crop' or 'pad', got {self.fit!r}")

    @property
    def values(self) -> int:
        """Returns the number d of values that get noise: pixels times channels."""
        return self.rows * self.columns * self.channels

    @property
    def shape(self) -> tuple[int, int, int]:
        """Returns (channels, rows, columns)."""
        return self.channels, self.rows, self.columns


@dataclass(frozen=True, slots=True, kw_only=True)
class NoisyImage(ImageMap):
    """The part of a rendered image that noise is added to: all pixels that the model input is made of, in [0, 1].

    Attributes:
        sha256: SHA-256 of its float64 values, (channels, rows, columns), little-endian.
    """

    sha256: str

    def __post_init__(self) -> None:
        ImageMap.__post_init__(self)
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"a digest must be 64 hexadecimal digits, got {self.sha256!r:.80}")

    @property
    def map(self) -> ImageMap:
        """Returns the map to the model input, which depends on the shape of the image and not on its values."""
        facts = asdict(self)
        del facts["sha256"]
        return ImageMap(**facts)
