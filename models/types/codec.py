"""JSON of cards: one strict reader and one writer for every kind."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Card = TypeVar("Card")


def encode_card(card: object) -> str:
    """Returns a card as sorted, indented JSON that ends in a newline, without the fields that JSON leaves out if unset.

    Args:
        card: The card.

    Raises:
        TypeError: The card is not a dataclass.
    """
    if not is_dataclass(card) or isinstance(card, type):
        raise TypeError(f"a card must be a dataclass, got {type(card).__name__}")
    spelled = asdict(card)
    for each in fields(card):
        if (left_out := each.metadata.get("exclude_if")) and left_out(spelled[each.name]):
            del spelled[each.name]
    return json.dumps(spelled, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def decode_card(kind: type[Card], text: str | bytes, *, allow_unknown: bool = False) -> Card:
    """Returns the card in a JSON text.

    Args:
        kind: The dataclass of the card.
        text: The JSON text.
        allow_unknown: Ignore fields that the card does not have, as one that a newer release wrote may have.

    Returns:
        The card; integers became floats where the field is one.

    Raises:
        ValueError: The text is not JSON, or a field is missing, unknown, of a wrong type or out of range.
    """
    value = json.loads(text)
    if allow_unknown and isinstance(value, dict):
        known = {field.name for field in fields(kind)}  # type: ignore[arg-type]  # every card is a dataclass
        value = {name: item for name, item in value.items() if name in known}
    card: Card = _decode(value, kind, kind.__name__)
    return card


def _decode(value: object, kind: Any, at: str) -> Any:  # noqa: ANN401  # `kind` is any type hint, the result one of it
    """Returns a JSON value as a value of that type; `at` names its place in the message.

    Raises:
        ValueError: The value is not of that type.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        return _decode_fields(value, kind, at)
    if origin in (Union, UnionType):  # of a type and None
        (inner,) = (argument for argument in arguments if argument is not NoneType)
        return None if value is None else _decode(value, inner, at)
    if origin is tuple and isinstance(value, list):
        kinds = arguments[:1] * len(value) if arguments[-1] is ... else arguments
        if len(kinds) != len(value):
            raise ValueError(f"{at} must have {len(kinds)} items, got {len(value)}")
        return tuple(_decode(item, each, f"{at}[{i}]") for i, (item, each) in enumerate(zip(value, kinds, strict=True)))
    if origin is dict and isinstance(value, dict):
        return {name: _decode(item, arguments[1], f"{at}.{name}") for name, item in value.items()}
    return _decode_plain(value, kind, at)


def _decode_fields(value: object, kind: type[Any], at: str) -> object:
    if not isinstance(value, Mapping):
        raise ValueError(f"{at} must be an object, got {value!r:.40}")
    hints = get_type_hints(kind)
    required = {each.name for each in fields(kind) if each.default is MISSING and each.default_factory is MISSING}
    if strange := (value.keys() - hints.keys()) | (required - value.keys()):
        raise ValueError(f"{at} has missing or unknown fields: {', '.join(sorted(strange))}")
    return kind(**{name: _decode(item, hints[name], f"{at}.{name}") for name, item in value.items()})


def _decode_plain(value: object, kind: Any, at: str) -> object:  # noqa: ANN401  # as above
    if kind is Any or (kind in (str, int, bool, float) and type(value) is kind):  # True is no int here
        return value
    if kind is float and type(value) is int:
        return float(value)
    if get_origin(kind) is Literal and value in get_args(kind):
        return value
    choices = " or ".join(map(str, get_args(kind))) if get_origin(kind) is Literal else getattr(kind, "__name__", kind)
    raise ValueError(f"{at} must be {choices}, got {value!r:.40}")
