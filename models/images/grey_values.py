"""The values of a grey image before its window, to be rendered in any window."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from certrad.models.images.pixel_map import PixelMap
from certrad.models.images.window_function import show
from certrad.models.types.applied_window import WindowFunction
from certrad.models.types.grey_values import GreyImage
from certrad.models.types.noise_space import ImageMap
from certrad.models.types.window_lattice import WindowCell

_LAW: Final = "certrad-grey-values-1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GreyValues:
    """All values that a model input is made of, after the modality step and before the window.

    Attributes:
        values: float64 (rows, columns), read-only; anything else raises ValueError.
        map: Their shape, and how they become a model input.
        function: How a window maps them to [0, 1].
        inverted: Whether the lowest value is white.
    """

    values: NDArray[np.float64]
    map: ImageMap
    function: WindowFunction
    inverted: bool

    def __post_init__(self) -> None:
        if self.values.dtype != np.float64 or self.values.shape != (self.map.rows, self.map.columns):
            raise ValueError(
                f"grey values must be float64 ({self.map.rows}, {self.map.columns}), got {self.values.dtype} "
                f"{self.values.shape}"
            )
        if not np.isfinite(self.values).all():
            raise ValueError("grey values must be finite")
        self.values.setflags(write=False)

    @staticmethod
    def size_in_bytes(values: int) -> int:
        """Returns the length of `tobytes` for a number of values."""
        return values * np.dtype(np.float64).itemsize

    @classmethod
    def from_bytes(cls, data: bytes, image: GreyImage) -> "GreyValues":
        """Returns the values whose `tobytes` are these.

        Args:
            data: The bytes.
            image: What the values are.

        Raises:
            ValueError: The bytes are not those of this image.
        """
        values = np.frombuffer(data, dtype="<f8").reshape(image.map.rows, image.map.columns)
        found = cls(values=values, map=image.map, function=image.function, inverted=image.inverted)
        if found.named != image:
            raise ValueError("the grey values have another digest")
        return found

    def tobytes(self) -> bytes:
        """Returns the values in C order, little-endian."""
        return self.values.astype("<f8").tobytes()

    @property
    def named(self) -> GreyImage:
        """Returns the image by digest: equal digests imply equal model inputs in every window."""
        facts = {"law": _LAW, "map": asdict(self.map), "function": self.function, "inverted": self.inverted}
        digest = hashlib.sha256(json.dumps(facts, sort_keys=True, separators=(",", ":")).encode() + b"\n")
        digest.update(self.tobytes())
        return GreyImage(map=self.map, function=self.function, inverted=self.inverted, sha256=digest.hexdigest())

    def renderer(self, image_size: int) -> "GreyRenderer":
        """Returns what renders the values in any window.

        Args:
            image_size: Side of the model input in pixels.
        """
        return GreyRenderer(values=self, resize=PixelMap.of(self.map, image_size))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GreyRenderer:
    """Renders grey values as model inputs: window, inversion, resize, clip, as intake does for the file itself.

    Attributes:
        values: The values.
        resize: The resize to the model input.
    """

    values: GreyValues
    resize: PixelMap

    def model_input(self, cell: WindowCell) -> NDArray[np.float32]:
        """Returns the model input of a window of the lattice, float32 (3, S, S) in [0, 1].

        Args:
            cell: The window; with LINEAR one that is wider than 1.
        """
        shown = show(self.values.values, self.values.function, cell.centre, cell.width)
        pixels = 1.0 - shown if self.values.inverted else shown
        square = np.clip(self.resize.in_float64(pixels[None]), 0.0, 1.0).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(square, self.resize.shape))
