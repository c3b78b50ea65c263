"""Canonical JSON: equal facts have equal bytes everywhere.

It is that of RFC 8785 for all that a document holds. Where the two could differ, in numbers and in the order of keys
outside ASCII, a document holds no such thing, and this module refuses it.
"""

import json
import re
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Final

DIGEST: Final = re.compile(r"[0-9a-f]{64}")
"""A SHA-256 or a key, as documents spell them."""


def canonical(value: object) -> bytes:
    """Returns UTF-8 JSON, keys sorted, no spaces, every number a decimal string: equal facts have equal bytes.

    Args:
        value: Numbers, strings, booleans and None, in mappings and sequences.

    Raises:
        TypeError: It holds a value of another type.
        ValueError: It holds a key outside ASCII, or half a surrogate pair.
    """
    return _bytes(_stringified(value))


def compact(value: object) -> bytes:
    """Returns UTF-8 JSON, keys sorted, no spaces, values as they are: the bytes of a document that was read from JSON.

    Args:
        value: Strings, booleans and None, in mappings and sequences.

    Raises:
        ValueError: It holds a number or a value of another type, a key outside ASCII, or half a surrogate pair.
        RecursionError: It is nested too deeply.
    """
    _refuse_ambiguous(value)
    return _bytes(value)


def _bytes(value: object) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def _stringified(value: object) -> object:
    match value:
        case bool() | str() | None:
            return value
        case int():
            return str(value)
        case float():
            return format(Decimal(repr(value)), "f")
        case Mapping():
            return {_key(str(key)): _stringified(item) for key, item in value.items()}
        case Sequence():
            return [_stringified(item) for item in value]
        case _:
            raise TypeError(f"a document holds JSON values only, got {type(value).__name__}")


def _refuse_ambiguous(value: object) -> None:
    match value:
        case bool() | str() | None:
            return
        case Mapping():
            for key, item in value.items():
                _key(key)
                _refuse_ambiguous(item)
        case list() | tuple():
            for item in value:
                _refuse_ambiguous(item)
        case _:
            raise ValueError(f"a document holds no JSON numbers, got {type(value).__name__}")


def _key(key: str) -> str:
    if not key.isascii():  # RFC 8785 sorts by UTF-16 units, json.dumps by code points
        raise ValueError("a key of a document must be ASCII")
    return key
