"""Parses a certificate document into the types of its schema; checks no arithmetic."""

import json
import re
from collections.abc import Mapping
from dataclasses import is_dataclass
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.facts import SCHEMA
from certrad.models.certificates.schema import Statement
from certrad.models.errors import Rejected

MAX_BYTES: Final = 8 << 20
"""No document is longer: a million labels, each a run of its own, take four to seven bytes apiece."""

_MAY_BE_ABSENT: Final = ("routing", "target_reached")
_FLOAT: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})\.[0-9]{1,400}")
_INT: Final = re.compile(r"0|[1-9][0-9]{0,15}")


def parse(content: bytes) -> dict[str, Any]:
    """Returns the JSON object of a certificate document.

    Args:
        content: The bytes of the document.

    Raises:
        Rejected: `not_a_certificate`, the bytes are too long, not JSON, or of another schema.
    """
    if len(content) > MAX_BYTES:
        raise Rejected("not_a_certificate", f"a document must have at most {MAX_BYTES} bytes, got {len(content)}")
    try:
        document = json.loads(content)
        canonical(document)
    except (ValueError, RecursionError):  # also nested too deeply, or text that is no Unicode
        raise Rejected("not_a_certificate", "the bytes are not the JSON of a document") from None
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise Rejected("not_a_certificate", f"a document must be an object of the schema {SCHEMA}")
    return document


def read(document: Mapping[str, Any]) -> Statement:
    """Returns the statement of a document.

    Args:
        document: The JSON object.

    Raises:
        ValueError: A field is missing, unknown, malformed or out of range.
    """
    statement: Statement = _decode(document, Statement, "document")
    return statement


def _decode(value: object, kind: Any, at: str) -> Any:  # noqa: ANN401  # `kind` is any type hint, the result one of it
    """Returns a value of canonical JSON as a value of that type; `at` names its place in the message.

    Raises:
        ValueError: The value is not of that type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _decode_fields(value, kind, at)
    if origin in (Union, UnionType):
        return _decode_union(value, arguments, at)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        if len(kinds) != len(value):
            raise ValueError(f"{at} must have {len(kinds)} items, got {len(value)}")
        return tuple(_decode(item, kind, f"{at}[{i}]") for i, (item, kind) in enumerate(zip(value, kinds, strict=True)))
    if origin is Mapping and isinstance(value, dict):
        return {key: _decode(item, arguments[1], f"{at}.{key}") for key, item in value.items()}
    return _decode_plain(value, kind, at)


def _decode_fields(value: object, kind: type[Any], at: str) -> object:
    if not isinstance(value, dict):
        raise ValueError(f"{at} must be an object, got {value!r:.40}")
    hints = get_type_hints(kind)
    absent = {name for name in _MAY_BE_ABSENT if value.get(name) is None}
    if strange := value.keys() ^ (hints.keys() - absent):
        raise ValueError(f"{at} has missing or unknown fields: {', '.join(sorted(strange))}")
    return kind(**{name: _decode(item, hints[name], f"{at}.{name}") for name, item in value.items()})


def _decode_union(value: object, kinds: tuple[Any, ...], at: str) -> object:
    refusals = []
    for kind in kinds:
        try:
            return _decode(value, kind, at)
        except ValueError as refusal:
            refusals.append(str(refusal))
    raise ValueError("; or ".join(refusals))


def _decode_plain(value: object, kind: Any, at: str) -> object:  # noqa: ANN401  # as above
    if (kind in (str, bool) and isinstance(value, kind)) or (kind is NoneType and value is None):
        return value
    choices = {str(choice): choice for choice in get_args(kind)}
    if isinstance(value, str) and value in choices:
        return choices[value]
    if kind is int and isinstance(value, str) and _INT.fullmatch(value):
        return int(value)
    if (
        kind is float
        and isinstance(value, str)
        and _FLOAT.fullmatch(value)
        and canonical(float(value)) == canonical(value)
    ):
        return float(value)
    raise ValueError(f"{at} must be {' or '.join(choices) or getattr(kind, '__name__', kind)}, got {value!r:.40}")
