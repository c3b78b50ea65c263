"""Canonical JSON: equal facts have equal bytes everywhere."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal


def canonical(value: object) -> bytes:
    """Returns UTF-8 JSON, keys sorted, no spaces, every number a decimal string: equal facts have equal bytes.

    Args:
        value: Numbers, strings, booleans and None, in mappings and sequences.

    Raises:
        TypeError: It holds a value of another type.
    """
    return compact(_stringified(value))


def compact(value: object) -> bytes:
    """Returns UTF-8 JSON, keys sorted, no spaces, values as they are: the bytes of a document that was read from JSON.

    Args:
        value: What was read from JSON.
    """
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
            return {str(key): _stringified(item) for key, item in value.items()}
        case Sequence():
            return [_stringified(item) for item in value]
        case _:
            raise TypeError(f"a document holds JSON values only, got {type(value).__name__}")
