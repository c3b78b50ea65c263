"""Renders the values of a grey image in any window."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certrad.models.images.grey_values import GreyValues
from certrad.models.images.pixel_map import PixelMap
from certrad.models.images.window_function import show
from certrad.models.types.window_lattice import WindowCell


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class GreyRenderer:
    """Renders grey values as model inputs: window, inversion, resize, clip, as intake does for the file itself.

    Attributes:
        values: The values.
        resize: The resize to the model input.
    """

    values: GreyValues
    resize: PixelMap

    @staticmethod
    def of(values: GreyValues, image_size: int) -> "GreyRenderer":
        """Returns what renders some values.

        Args:
            values: The values.
            image_size: Side of the model input in pixels.
        """
        return GreyRenderer(values=values, resize=PixelMap.of(values.map, image_size))

    def model_input(self, cell: WindowCell) -> NDArray[np.float32]:
        """Returns the model input of a window of the lattice, float32 (3, S, S) in [0, 1].

        Args:
            cell: The window; with LINEAR one that is wider than 1.
        """
        shown = show(self.values.values, self.values.function, cell.centre, cell.width)
        pixels = 1.0 - shown if self.values.inverted else shown
        square = np.clip(self.resize.in_float64(pixels[None]), 0.0, 1.0).astype(np.float32)
        return np.ascontiguousarray(np.broadcast_to(square, self.resize.shape))
