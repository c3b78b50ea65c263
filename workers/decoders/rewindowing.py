"""Shows a grey image in other windows: what comes before the window is computed once for all of them."""

from collections.abc import Sequence
from functools import cache

import numpy as np
from numpy.typing import NDArray

from certrad.models.images.decoded_image import Rewindow
from certrad.models.types.window_lattice import WindowFunction
from certrad.workers.decoders.grayscale import Floats, Integers, Invert, Step, Window, render


def rewindowed(stored: Integers, before: Sequence[Step], after: Sequence[Invert]) -> Rewindow:
    """Returns a function that shows an image in a window of the lattice.

    Args:
        stored: The stored values, (height, width).
        before: The steps before the window.
        after: The steps after it.
    """

    @cache
    def values() -> Floats:
        return np.asarray(render(before, stored[..., None]), dtype=np.float64)

    def show(function: WindowFunction, centre: float, width: float) -> NDArray[np.float64]:
        return render((Window(function, centre, width), *after), values())

    return show
