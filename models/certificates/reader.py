"""Decodes the JSON of a certificate document into the types of a schema; checks no arithmetic."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from certrad.models.certificates.canonical import canonical

_FLOAT: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})\.[0-9]{1,400}")
_INT: Final = re.compile(r"0|[1-9][0-9]{0,15}")


@dataclass(frozen=True, slots=True)
class Reader:
    """Decodes values of canonical JSON as the types of a schema.

    Attributes:
        may_be_absent: Names of fields that are left out where there is nothing to say; any other field must be there.
    """

    may_be_absent: frozenset[str] = frozenset()

    def decode(self, value: object, kind: Any, at: str) -> Any:  # noqa: ANN401  # `kind` is any type hint
        """Returns a value of canonical JSON as a value of that type.

        Args:
            value: The value.
            kind: A type hint: a dataclass, a tuple, a mapping, a union, a literal, or a plain type.
            at: Its place, for the message.

        Raises:
            ValueError: A field is missing, unknown, malformed or out of range.
        """
        origin, arguments = get_origin(kind), get_args(kind)
        if isinstance(kind, type) and is_dataclass(kind):
            return self._fields(value, kind, at)
        if origin in (Union, UnionType):
            return self._union(value, arguments, at)
        if origin is tuple and isinstance(value, list):
            kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
            if len(kinds) != len(value):
                raise ValueError(f"{at} must have {len(kinds)} items, got {len(value)}")
            items = enumerate(zip(value, kinds, strict=True))
            return tuple(self.decode(item, kind, f"{at}[{i}]") for i, (item, kind) in items)
        if origin is Mapping and isinstance(value, dict):
            return {key: self.decode(item, arguments[1], f"{at}.{key}") for key, item in value.items()}
        return _decode_plain(value, kind, at)

    def _fields(self, value: object, kind: type[Any], at: str) -> object:
        if not isinstance(value, dict):
            raise ValueError(f"{at} must be an object, got {value!r:.40}")
        hints = get_type_hints(kind)
        # An optional field is absent, never null: a null counts as unknown.
        absent = {name for name in self.may_be_absent if value.get(name) is None}
        if strange := value.keys() ^ (hints.keys() - absent):
            raise ValueError(f"{at} has missing or unknown fields: {', '.join(sorted(strange))}")
        return kind(**{name: self.decode(item, hints[name], f"{at}.{name}") for name, item in value.items()})

    def _union(self, value: object, kinds: tuple[Any, ...], at: str) -> object:
        """Returns the value as the type that its `kind` names, or as the first type that it fits."""
        tagged = {tag: kind for kind in kinds for tag in _tags(kind)}
        if len(tagged) == len(kinds):
            tag = value.get("kind") if isinstance(value, dict) else None
            if not (isinstance(tag, str) and tag in tagged):
                raise ValueError(f"{at}.kind must be {' or '.join(tagged)}, got {tag!r:.40}")
            return self.decode(value, tagged[tag], at)
        refusals = []
        for kind in kinds:
            try:
                return self.decode(value, kind, at)
            except ValueError as refusal:
                refusals.append(str(refusal))
        raise ValueError("; or ".join(refusals))


def _tags(kind: Any) -> tuple[str, ...]:  # noqa: ANN401  # any type hint
    """Returns the value of the field `kind` of a tagged dataclass; nothing for any other type."""
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return ()
    return get_args(get_type_hints(kind).get("kind"))


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
