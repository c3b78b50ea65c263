"""The values of a grey image before its window, to be rendered in any window."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from certrad.models.types.grey_values import GreyImage
from certrad.models.types.noise_space import ImageMap
from certrad.models.types.window_lattice import WindowFunction

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
