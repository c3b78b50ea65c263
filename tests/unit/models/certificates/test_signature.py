"""The signature: it holds for the document it was made for, and for nothing else."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import document
from certrad.models.certificates.signature import is_signed, public_key, sign
from tests.support.document_facts import facts

# RFC 8032, section 7.1, TEST 1.
KEY = Ed25519PrivateKey.from_private_bytes(
    bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
)
PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"


@pytest.fixture(scope="module")
def genuine() -> dict[str, Any]:
    """A signed document, as read from its file."""
    made: dict[str, Any] = json.loads(canonical(sign(document(facts(target_radius=0.25)), KEY)))
    return made


def changed(value: Any) -> Iterator[Any]:
    """A JSON value with one thing changed, in every place where one can be."""
    match value:
        case dict():
            for name, item in value.items():
                yield {other: kept for other, kept in value.items() if other != name}
                yield from ({**value, name: other} for other in changed(item))
            yield {**value, "more": "0"}
        case list():
            for index, item in enumerate(value):
                yield value[:index] + value[index + 1 :]
                yield from ([*value[:index], other, *value[index + 1 :]] for other in changed(item))
            yield [*value, "0"]
        case str():
            with suppress(ValueError):
                yield json.loads(value)  # the number that the string spells
            yield value + "0"
            yield value[1:]
            if value.upper() != value:
                yield value.upper()
        case bool():
            yield not value
        case None:
            yield "0"


def test_a_document_is_signed_with_the_key_it_names(genuine: dict[str, Any]) -> None:
    assert is_signed(genuine)
    assert genuine["signature"]["public_key"] == public_key(KEY) == PUBLIC


def test_the_signature_is_over_the_document_with_null_in_its_place(genuine: dict[str, Any]) -> None:
    unsigned = json.dumps({**genuine, "signature": None}, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    KEY.public_key().verify(bytes.fromhex(genuine["signature"]["value"]), unsigned.encode())


def test_every_single_change_of_a_document_is_found(genuine: dict[str, Any]) -> None:
    others = list(changed(genuine))
    assert len(others) > 200
    assert [other for other in others if is_signed(other)] == []


def test_a_signature_of_another_key_does_not_hold(genuine: dict[str, Any]) -> None:
    foreign = sign(genuine, Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
    assert is_signed(foreign)
    assert foreign["signature"]["public_key"] != PUBLIC
    for name in ("public_key", "value"):
        mixed = {**genuine["signature"], name: foreign["signature"][name]}
        assert not is_signed({**genuine, "signature": mixed})


@pytest.mark.parametrize(
    "signature",
    [None, "", [], {}, {"algorithm": "none"}, {"algorithm": "Ed25519", "public_key": "", "value": ""}, {"value": 1}],
)
def test_what_is_no_signature_holds_for_nothing(genuine: dict[str, Any], signature: object) -> None:
    assert not is_signed({**genuine, "signature": signature})


@pytest.mark.parametrize("text", ['"\\ud800"', "NaN", "1e999", "[" * 900 + "]" * 900])
def test_what_json_can_spell_and_no_document_says_is_refused(genuine: dict[str, Any], text: str) -> None:
    assert not is_signed({**genuine, "scope": json.loads(text)})


def test_a_document_without_the_field_is_not_signed() -> None:
    assert not is_signed({})


def test_signing_again_gives_the_same_bytes(genuine: dict[str, Any]) -> None:
    assert canonical(sign(genuine, KEY)) == canonical(genuine)
