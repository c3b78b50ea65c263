"""The values of a grey image before its window, for renderings in other windows."""

from collections.abc import Sequence
from functools import partial

from certrad.models.images.decoded_image import Unwindowed
from certrad.workers.decoders.grayscale import Integers, Invert, Step, Window, render


def unwindowed(steps: Sequence[Step], stored: Integers) -> Unwindowed | None:
    """Returns the values before the window among some steps; None where there is none, but a table or a range.

    They are computed when they are asked for.

    Args:
        steps: The steps from stored values to [0, 1], in order.
        stored: The stored values, (height, width).
    """
    for place, step in enumerate(steps):
        if isinstance(step, Window):
            return Unwindowed(
                values=partial(render, steps[:place], stored),
                function=step.function,
                inverted=any(isinstance(later, Invert) for later in steps[place + 1 :]),
            )
    return None
