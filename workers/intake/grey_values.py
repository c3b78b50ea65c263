"""The values before the window, which an engine renders in many windows."""

from typing import Final

import numpy as np
from pydantic import TypeAdapter

from certrad.models.errors import Rejected
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.grey_values import GreyValues
from certrad.models.images.model_input import axis_resizes, image_map
from certrad.models.types import BackboneCard
from certrad.models.types.applied_window import HeaderWindow, SentWindow, TaskWindow
from certrad.models.types.grey_values import GreyImage
from certrad.models.types.parameters import CENTRE_MAX

GREY_IMAGE: Final = TypeAdapter(GreyImage)
GREY_VALUES_MAX: Final = 1 << 22
"""Values that an engine gets at most: 32 MiB in the job store, and some 60 ms for one rendering."""


def read_grey_values(image: DecodedImage, card: BackboneCard) -> GreyValues:
    """Returns the values before the window that the model input of an image is made of.

    Args:
        image: The decoded image.
        card: The backbone, which names the size of the model input.

    Raises:
        Rejected: `parameters_unavailable`, it has no window that noise can be added to, or too many pixels.
    """
    window, seen = image.facts.window, image.unwindowed
    if seen is None or not isinstance(window, HeaderWindow | SentWindow | TaskWindow):
        raise Rejected("parameters_unavailable", "`parameter_sigma` needs a grey image that is shown with a window")
    if not (abs(window.centre) <= CENTRE_MAX and 1 < window.width <= CENTRE_MAX):
        raise Rejected(
            "parameters_unavailable",
            f"`parameter_sigma` needs a window with a centre within {CENTRE_MAX:g} of 0 and a width from 1 to "
            f"{CENTRE_MAX:g}, got {window.centre:g} and {window.width:g}",
        )
    sides = image.pixels.shape[0], image.pixels.shape[1]
    rows, columns = (resize.samples for resize in axis_resizes(sides, card.image_size, card.fit))
    if len(rows) * len(columns) > GREY_VALUES_MAX:
        raise Rejected(
            "parameters_unavailable",
            f"`parameter_sigma` allows at most {GREY_VALUES_MAX} pixels; the model sees {len(rows)} x {len(columns)} "
            "of this image: send a `region`, or leave `parameter_sigma` out",
        )
    values = seen.values()[rows.start : rows.stop, columns.start : columns.stop]
    return GreyValues(
        values=np.ascontiguousarray(values, dtype=np.float64),
        map=image_map(sides, 1, card.image_size, card.fit),
        function=seen.function,
        inverted=seen.inverted,
    )
