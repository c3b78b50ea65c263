"""A certificate document as the predicate of an in-toto Statement, in a DSSE envelope.

in-toto Statement v1: https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md
DSSE v1: https://github.com/secure-systems-lab/dsse/blob/master/protocol.md
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from certrad.models.certificates.canonical import compact
from certrad.models.certificates.signature import public_key, signer
from certrad.models.types.public_key import thumbprint

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PREDICATE_TYPES: Final[Mapping[str, str]] = {
    "certrad.certificate/2": "https://github.com/certrad/certrad/certificate/v2",
    "certrad.certificate/3": "https://github.com/certrad/certrad/certificate/v3",
}
"""Schema of a document -> its predicate type. The URI is a name; nothing has to answer there."""

_FIELDS: Final = frozenset({"payload", "payloadType", "signatures"})
_MAX_SIGNATURES: Final = 16
_BASE64: Final = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")


def statement(document: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the in-toto Statement of a document; its subjects are the decoded pixels and the model input.

    Args:
        document: The signed document.

    Raises:
        ValueError: The document names no image, or has an unknown schema.
    """
    match document:
        case {"schema": str(schema), "subject": {"pixels_sha256": str(pixels), "input_sha256": str(model_input)}}:
            pass
        case _:
            raise ValueError("the document names no pixels and no model input")
    if schema not in PREDICATE_TYPES:
        raise ValueError("the schema of the document has no predicate type")
    return {
        "_type": STATEMENT_TYPE,
        "subject": [
            {"name": "pixels", "digest": {"sha256": pixels}},
            {"name": "model-input", "digest": {"sha256": model_input}},
        ],
        "predicateType": PREDICATE_TYPES[schema],
        "predicate": document,
    }


def seal(document: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """Returns the envelope of a document; equal documents and keys give equal envelopes.

    Args:
        document: The signed document, as read from JSON.
        key: The key that signed it.
    """
    return seal_statement(statement(document), key)


def seal_statement(stated: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """Returns the envelope of an in-toto Statement.

    Args:
        stated: The statement, as read from JSON.
        key: The signing key.
    """
    payload = compact(stated)
    signature = {"keyid": thumbprint(public_key(key)), "sig": b64encode(key.sign(_encoding(payload))).decode()}
    return compact({"payload": b64encode(payload).decode(), "payloadType": PAYLOAD_TYPE, "signatures": [signature]})


def is_envelope(value: object) -> bool:
    """Returns whether a JSON value has the fields of an envelope."""
    return isinstance(value, dict) and value.keys() >= _FIELDS


def payload_of(envelope: Mapping[str, Any]) -> bytes:
    """Returns the bytes that an envelope signs; nothing about it has been checked.

    Args:
        envelope: The envelope.

    Raises:
        ValueError: They are not in base64.
    """
    return _decoded(envelope["payload"])


def check(envelope: Mapping[str, Any], document: Mapping[str, Any]) -> str:
    """Checks that an envelope holds the statement of a document and that the same key signed both.

    More signatures may stand beside that one, for anyone may countersign an envelope.

    Args:
        envelope: The envelope.
        document: The predicate in it.

    Returns:
        The result of the check, as a sentence.

    Raises:
        ValueError: It is another statement, or that key did not sign it.
    """
    payload, signatures = payload_of(envelope), envelope["signatures"]
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise ValueError(f"the payload type of the envelope is not {PAYLOAD_TYPE}")
    if payload != compact(statement(document)):
        raise ValueError("the statement in the envelope does not follow from the document, or is no canonical JSON")
    holder = signer(document)
    if holder is None:
        raise ValueError("the document in the envelope names no key")
    if not (isinstance(signatures, list) and len(signatures) <= _MAX_SIGNATURES):
        raise ValueError(f"an envelope has at most {_MAX_SIGNATURES} signatures")
    if not any(_is_by(holder, signature, payload) for signature in signatures):
        raise ValueError("no signature of the envelope is one of the key that signed the document")
    return "an in-toto statement of this document, signed with the same key (DSSE)"


def is_signed_by(holder: str, envelope: Mapping[str, Any]) -> bool:
    """Returns whether an envelope has a signature of a key over its payload.

    Args:
        holder: The public key in hexadecimal.
        envelope: The envelope.

    Raises:
        ValueError: Its payload is not in base64.
    """
    payload, signatures = payload_of(envelope), envelope["signatures"]
    if envelope["payloadType"] != PAYLOAD_TYPE or not isinstance(signatures, list):
        return False
    return any(_is_by(holder, signature, payload) for signature in signatures[:_MAX_SIGNATURES])


def _is_by(holder: str, signature: object, payload: bytes) -> bool:
    match signature:
        case {"sig": str(spelled)}:
            pass
        case _:
            return False
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(holder)).verify(_decoded(spelled), _encoding(payload))
    except (InvalidSignature, ValueError):
        return False
    return True


def _encoding(payload: bytes) -> bytes:
    """Returns what a DSSE signature is over: the pre-authentication encoding of type and payload."""
    return b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)


def _decoded(spelled: object) -> bytes:
    """Returns the bytes of base64 in either alphabet, which DSSE leaves to the signer."""
    if not (isinstance(spelled, str) and _BASE64.fullmatch(spelled)):
        raise ValueError("the envelope is not in base64")
    return b64decode(spelled.replace("-", "+").replace("_", "/"), validate=True)
