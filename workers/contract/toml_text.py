"""Reads TOML that anybody may send: `tomllib` takes quadratic time for a key of many parts, and has no limits."""

import re
import tomllib
from typing import Any, Final

MAX_BYTES: Final = 64 << 10
_MAX_DOTS: Final = 16
_PLACE: Final = re.compile(r"\(at line (\d+), column \d+\)|\(at end of document\)")
_QUOTED: Final = re.compile(
    r'"""(?:\\.|[^\\])*?(?:"{3,5}|\Z)' + r"|'''.*?(?:'{3,5}|\Z)" + r'|"(?:\\.|[^"\\\n])*"?' + r"|'[^'\n]*'?|#[^\n]*",
    re.DOTALL,
)


def read_toml(text: str) -> dict[str, Any]:
    """Returns the content of a TOML text.

    Args:
        text: The text.

    Raises:
        ValueError: It is too long, has a key of too many parts, or is no TOML; the message is a sentence.
    """
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise ValueError(f"the text has more than {MAX_BYTES} bytes")
    unquoted = _QUOTED.sub(lambda found: "\n" * found[0].count("\n"), text)
    for number, line in enumerate(unquoted.split("\n"), 1):
        if line.count(".") > _MAX_DOTS:
            raise ValueError(f"line {number}: at most {_MAX_DOTS} dots may be outside quotes")
    try:
        return tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = _PLACE.search(str(error))
        where = f"line {place[1]}" if place is not None and place[1] else "the end of the file"
        raise ValueError(f"{where}: this is not TOML") from None
    except ValueError:  # more digits than Python converts
        raise ValueError("this is not TOML that can be read: a number is too long") from None
