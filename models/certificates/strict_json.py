"""Reads JSON, and refuses every text that two parsers could read differently."""

import json
from typing import Any, Final, NoReturn

_BYTE_ORDER_MARK: Final = "\ufeff"
_MAX_DEPTH: Final = 32
"""A certificate has six levels, an envelope one more."""


def load(content: bytes) -> Any:  # noqa: ANN401  # what JSON holds is what the caller checks
    """Returns the value of a JSON text whose canonical form is that of RFC 8785.

    Spaces, line ends, escapes and the order of keys are free. Everything else has one spelling: equal values come from
    equal texts only.

    Args:
        content: The text, UTF-8 without a byte order mark.

    Raises:
        ValueError: It is no JSON, or has a number, a key twice, a key outside ASCII, half a surrogate pair or text
            behind its end, or is nested too deeply. The message holds nothing of the text.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the bytes are not UTF-8") from None
    if text.startswith(_BYTE_ORDER_MARK):
        raise ValueError("the bytes begin with a byte order mark")
    try:
        value = json.loads(
            text,
            object_pairs_hook=_distinct,
            parse_float=_no_number,
            parse_int=_no_number,
            parse_constant=_no_number,
        )
        _check_depth(value)
        json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("the JSON is nested too deeply") from None
    except UnicodeEncodeError:
        raise ValueError("a string holds half a surrogate pair") from None
    except json.JSONDecodeError:
        raise ValueError("the bytes are not JSON") from None
    return value


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("an object has a key twice")
    if not all(key.isascii() for key in found):
        raise ValueError("an object has a key outside ASCII")
    return found


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(_MAX_DEPTH):
        containers = [each for each in level if isinstance(each, (dict, list))]
        if not containers:
            return
        level = [item for each in containers for item in (each.values() if isinstance(each, dict) else each)]
    raise ValueError("the JSON is nested too deeply")


def _no_number(_: str) -> NoReturn:
    raise ValueError("it has a JSON number; in a certificate every number is a string")
