"""The grid on which pixels of 8 bits lie."""

from typing import Final

WHITE: Final = 255
"""The largest value of a pixel: an image in [0, 1] has the values k / 255."""
