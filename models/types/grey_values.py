"""The values of a grey image before its window, as job records and documents name them."""

import re
from dataclasses import dataclass
from typing import Final

from certrad.models.types.noise_space import ImageMap
from certrad.models.types.window_lattice import WindowFunction

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GreyImage:
    """The values that any window of the image would show, by digest.

    Attributes:
        map: The part of them that the model input is made of, and how it becomes a square.
        function: How a window maps them to [0, 1].
        inverted: Whether the lowest value is white.
        sha256: SHA-256 of all of this and of the values; 64 hexadecimal digits.
    """

    map: ImageMap
    function: WindowFunction
    inverted: bool
    sha256: str

    def __post_init__(self) -> None:
        if self.map.channels != 1:
            raise ValueError(f"only an image of one channel has a window, got {self.map.channels}")
        if not _SHA256.fullmatch(self.sha256):
            raise ValueError(f"a digest must be 64 hexadecimal digits, got {self.sha256!r:.80}")
