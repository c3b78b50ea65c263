"""The window functions of DICOM (PS3.3 C.11.2.1.2 and C.11.2.1.3), onto [0, 1], in float64."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from certrad.models.types.window_lattice import WindowFunction


def show(
    values: NDArray[np.float64] | NDArray[np.integer[Any]], function: WindowFunction, centre: float, width: float
) -> NDArray[np.float64]:
    """Returns values as a window shows them.

    Args:
        values: The values after the modality step.
        function: The function of the window.
        centre: Centre of the window.
        width: Its width, above 0; with LINEAR above 1.
    """
    match function:
        case "LINEAR":
            return np.clip((values - (centre - 0.5)) / (width - 1.0) + 0.5, 0.0, 1.0)
        case "LINEAR_EXACT":
            return np.clip((values - centre) / width + 0.5, 0.0, 1.0)
        case "SIGMOID":  # 1 / (1 + exp(-4 (x - c) / w)), written so that it does not overflow
            return 0.5 * (1.0 + np.tanh(2.0 * np.subtract(values, centre, dtype=np.float64) / width))
