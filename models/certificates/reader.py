"""Decodes the JSON of a certificate document into the types of a schema; checks no arithmetic."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from types import NoneType, UnionType
from typing import Any, Final, Union, get_args, get_origin, get_type_hints

from certrad.models.certificates.canonical import canonical
from certrad.models.types.renderings import Offset

_FLOAT: Final = re.compile(r"-?(0|[1-9][0-9]{0,15})\.[0-9]{1,400}")
_INT: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_OFFSET: Final = re.compile(r"0|-?[1-9][0-9]{0,5}")


@dataclass(frozen=True, slots=True)
class Reader:
    """Decodes values of canonical JSON as the types of a schema.

    Attributes:
        may_be_absent: Names of fields that are left out where there is nothing to say; any other field must be there.
    """

    may_be_absent: frozenset[str] = frozenset()

    def decode(self, value: object, hint: Any, at: str) -> Any:  # noqa: ANN401  # any type hint
        """Returns a value of canonical JSON as a value of that type.

        Args:
            value: The value.
            hint: A type hint: a dataclass, a tuple, a mapping, a union, a literal, or a plain type.
            at: Its place, for the message.

        Raises:
            ValueError: A field is missing, unknown, malformed or out of range.
        """
        origin, arguments = get_origin(hint), get_args(hint)
        if isinstance(hint, type) and is_dataclass(hint):
            return self._fields(value, hint, at)
        if origin in (Union, UnionType):
            return self._union(value, arguments, at)
        if origin is tuple and isinstance(value, list):
            hints = arguments[:1] * len(value) if arguments[-1] is ... else arguments
            if len(hints) != len(value):
                raise ValueError(f"{at} must have {len(hints)} items, got {len(value)}")
            items = enumerate(zip(value, hints, strict=True))
            return tuple(self.decode(item, hint, f"{at}[{i}]") for i, (item, hint) in items)
        if origin is Mapping and isinstance(value, dict):
            return {key: self.decode(item, arguments[1], f"{at}.{key}") for key, item in value.items()}
        return _decode_plain(value, hint, at)

    def _fields(self, value: object, hint: type[Any], at: str) -> object:
        if not isinstance(value, dict):
            raise ValueError(f"{at} must be an object, got {value!r:.40}")
        hints = get_type_hints(hint)
        # An optional field is absent, never null: a null counts as unknown.
        absent = {name for name in self.may_be_absent if value.get(name) is None}
        if strange := value.keys() ^ (hints.keys() - absent):
            raise ValueError(f"{at} has missing or unknown fields: {', '.join(sorted(strange))}")
        return hint(**{name: self.decode(item, hints[name], f"{at}.{name}") for name, item in value.items()})

    def _union(self, value: object, hints: tuple[Any, ...], at: str) -> object:
        """Returns the value as the type that its `kind` names, or as the first type that it fits."""
        tagged = {tag: hint for hint in hints for tag in _tags(hint)}
        if len(tagged) == len(hints):
            tag = value.get("kind") if isinstance(value, dict) else None
            if not (isinstance(tag, str) and tag in tagged):
                raise ValueError(f"{at}.kind must be {' or '.join(tagged)}, got {tag!r:.40}")
            return self.decode(value, tagged[tag], at)
        refusals = []
        for hint in hints:
            try:
                return self.decode(value, hint, at)
            except ValueError as refusal:
                refusals.append(str(refusal))
        raise ValueError("; or ".join(refusals))


def _tags(hint: Any) -> tuple[str, ...]:  # noqa: ANN401  # any type hint
    """Returns the value of the field `kind` of a tagged dataclass; nothing for any other type."""
    if not (isinstance(hint, type) and is_dataclass(hint)):
        return ()
    return get_args(get_type_hints(hint).get("kind"))


def _decode_plain(value: object, hint: Any, at: str) -> object:  # noqa: ANN401  # as above
    if (hint in (str, bool) and isinstance(value, hint)) or (hint is NoneType and value is None):
        return value
    choices = {str(choice): choice for choice in get_args(hint)}
    if isinstance(value, str) and value in choices:
        return choices[value]
    if hint is int and isinstance(value, str) and _INT.fullmatch(value):
        return int(value)
    if hint is Offset and isinstance(value, str) and _OFFSET.fullmatch(value):
        return Offset(int(value))
    if (
        hint is float
        and isinstance(value, str)
        and _FLOAT.fullmatch(value)
        and canonical(float(value)) == canonical(value)
    ):
        return float(value)
    raise ValueError(f"{at} must be {' or '.join(choices) or getattr(hint, '__name__', hint)}, got {value!r:.40}")
