"""The signature of a certificate document: Ed25519 over its canonical JSON with `signature: null`."""

import re
from collections.abc import Mapping
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from certrad.models.certificates.canonical import canonical, compact

ALGORITHM: Final = "Ed25519"

_PUBLIC_KEY: Final = re.compile(r"[0-9a-f]{64}")
_SIGNATURE: Final = re.compile(r"[0-9a-f]{128}")


def sign(document: Mapping[str, Any], key: Ed25519PrivateKey) -> dict[str, Any]:
    """Returns the document with its signature; equal documents and keys give equal signatures (RFC 8032).

    Args:
        document: The document, whatever its `signature` is.
        key: The signing key.
    """
    return {
        **document,
        "signature": {
            "algorithm": ALGORITHM,
            "public_key": public_key(key),
            "value": key.sign(canonical({**document, "signature": None})).hex(),
        },
    }


def is_signed(document: Mapping[str, Any]) -> bool:
    """Returns whether the document is what the holder of the key that it names has signed; not whose key that is.

    Args:
        document: As read from JSON; False for one that is not signed, or in which anything was changed or is spelled in
            another way, a number instead of its decimal string, say.
    """
    match document.get("signature"):
        case {"algorithm": "Ed25519", "public_key": str(holder), "value": str(value), **rest} if not rest:
            pass
        case _:
            return False
    if not (_PUBLIC_KEY.fullmatch(holder) and _SIGNATURE.fullmatch(value)):  # one spelling of one signature
        return False
    try:
        message = compact({**document, "signature": None})
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(holder)).verify(bytes.fromhex(value), message)
    except (InvalidSignature, ValueError, RecursionError):  # the others come of strings and depths JSON can spell
        return False
    return True


def signer(document: Mapping[str, Any]) -> str | None:
    """Returns the public key that a document names, in hexadecimal; None where it names none.

    Args:
        document: As read from JSON.
    """
    match document.get("signature"):
        case {"public_key": str(holder)} if _PUBLIC_KEY.fullmatch(holder):
            return holder
        case _:
            return None


def public_key(key: Ed25519PrivateKey) -> str:
    """Returns the 32 bytes of the public key, in hexadecimal: who the signer is.

    Args:
        key: The signing key.
    """
    return key.public_key().public_bytes_raw().hex()
