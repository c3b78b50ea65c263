"""The fonts of reports: Inter, reduced to the Latin, Greek and Cyrillic letters (its licence is in `fonts/OFL.txt`)."""

import io
import unicodedata
from functools import cache
from importlib.resources import files
from typing import Final, Literal

from PIL import ImageFont

Weight = Literal["Regular", "SemiBold"]
_MISSING: Final = "\uffff"
_LINE: Final = 1.36  # line height in font sizes


@cache
def font(weight: Weight, size: int) -> ImageFont.FreeTypeFont:
    """Returns a font.

    The basic layout is taken because the other one depends on a library of the host, and a page must have the same
    pixels everywhere.

    Args:
        weight: Its weight.
        size: Its size in pixels.
    """
    data = files("certrad.workers.reports").joinpath("fonts", f"Inter-{weight}.otf").read_bytes()
    return ImageFont.truetype(io.BytesIO(data), size, layout_engine=ImageFont.Layout.BASIC)


def line_height(size: int) -> int:
    """Returns the height of a line.

    Args:
        size: Font size in pixels.
    """
    return round(_LINE * size)


def text_width(text: str, weight: Weight, size: int) -> int:
    """Returns the width of a line of text in pixels, rounded up.

    Args:
        text: The line.
        weight: Weight of the font.
        size: Font size in pixels.
    """
    used = font(weight, size)
    return -int(-max(used.getlength(text), used.getbbox(text)[2]) // 1)


def can_draw(text: str) -> bool:
    """Returns whether the fonts have every character of a text.

    Args:
        text: The text.
    """
    return all(character.isspace() or _has(character) for character in normalised(text))


def normalised(text: str) -> str:
    """Returns a text with composed letters and without control characters, as the fonts need it.

    Args:
        text: The text.
    """
    composed = unicodedata.normalize("NFC", text)
    return "".join(" " if unicodedata.category(character) == "Cc" else character for character in composed)


def wrapped(text: str, weight: Weight, size: int, width: int) -> tuple[str, ...]:
    """Returns the lines of a text; a word that is wider than a line is broken.

    Args:
        text: The text.
        weight: Weight of the font.
        size: Font size in pixels.
        width: Width of a line in pixels.
    """
    lines: list[str] = []
    line = ""
    for word in normalised(text).split(" "):
        longer = f"{line} {word}" if line else word
        if text_width(longer, weight, size) <= width:
            line = longer
            continue
        if line:
            lines.append(line)
        *broken, line = _broken(word, weight, size, width)
        lines.extend(broken)
    return (*lines, line)


def _broken(word: str, weight: Weight, size: int, width: int) -> list[str]:
    """Returns the parts of a word, each as long as fits."""
    parts = [""]
    for character in word:
        if parts[-1] and text_width(parts[-1] + character, weight, size) > width:
            parts.append("")
        parts[-1] += character
    return parts


@cache
def _has(character: str) -> bool:
    used = font("Regular", 20)
    return bytes(used.getmask(character)) != bytes(used.getmask(_MISSING))
