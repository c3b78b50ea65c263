"""A certificate document as compact JWS (RFC 7515), signed with Ed25519 (RFC 9864)."""

import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from certrad.models.certificates.canonical import compact
from certrad.models.certificates.signature import public_key, signer
from certrad.models.types.public_key import ALGORITHM, base64url, thumbprint

_COMPACT: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")


def seal(document: Mapping[str, Any], key: Ed25519PrivateKey) -> bytes:
    """Returns the JWS of a document; equal documents and keys give equal bytes.

    Args:
        document: The signed document, as read from JSON.
        key: The key that signed it.
    """
    message = f"{base64url(_header(public_key(key)))}.{base64url(compact(document))}"
    return f"{message}.{base64url(key.sign(message.encode()))}".encode()


def is_compact(content: bytes) -> bool:
    """Returns whether the bytes have the three parts of a compact JWS."""
    return _COMPACT.fullmatch(content) is not None


def payload_of(content: bytes) -> bytes:
    """Returns the bytes that a JWS signs; nothing about it has been checked.

    Args:
        content: The JWS, of which `is_compact` is true.

    Raises:
        ValueError: They are not in base64url.
    """
    return _decoded(content.split(b".")[1])


def check(content: bytes, document: Mapping[str, Any]) -> str:
    """Checks that a JWS is that of a document and that the same key signed both.

    Its header has one spelling. So it cannot name another algorithm, an extension or a key of its own.

    Args:
        content: The JWS.
        document: The payload in it.

    Returns:
        The result of the check, as a sentence.

    Raises:
        ValueError: Header or payload are others, or that key did not sign it.
    """
    header, payload, signature = content.split(b".")
    holder = signer(document)
    if holder is None:
        raise ValueError("the document in the JWS names no key")
    if _decoded(header) != _header(holder):
        raise ValueError(f"the header of the JWS must name {ALGORITHM} and the thumbprint of the document's key only")
    if _decoded(payload) != compact(document):
        raise ValueError("the payload of the JWS is not the canonical JSON of the document")
    try:
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(holder))
        key.verify(_decoded(signature), header + b"." + payload)
    except (InvalidSignature, ValueError):
        raise ValueError("the signature of the JWS is not one of the key that signed the document") from None
    return "a JWS of this document, signed with the same key"


def _header(holder: str) -> bytes:
    return compact({"alg": ALGORITHM, "cty": "json", "kid": thumbprint(holder)})


def _decoded(part: bytes) -> bytes:
    content = urlsafe_b64decode(part + b"=" * (-len(part) % 4))
    if base64url(content).encode() != part:  # the last character may spell bits that are in no byte
        raise ValueError("a part of the JWS is not in base64url, or spelled in another way")
    return content
