"""An Ed25519 public key in the forms that other tools read: JSON Web Key, thumbprint and PEM."""

import hashlib
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Sequence
from typing import Final

ALGORITHM: Final = "Ed25519"
"""The algorithm in JWS and JWK (RFC 9864)."""

_SPKI_PREFIX: Final = bytes.fromhex("302a300506032b6570032100")
"""The DER bytes before the 32 bytes of an Ed25519 key in a SubjectPublicKeyInfo (RFC 8410, section 10.1)."""


def jwk(public_key: str) -> dict[str, str]:
    """Returns the JSON Web Key of a public key with its required members only (RFC 8037).

    Args:
        public_key: The 32 bytes in hexadecimal.
    """
    return {"crv": ALGORITHM, "kty": "OKP", "x": base64url(bytes.fromhex(public_key))}


def thumbprint(public_key: str) -> str:
    """Returns the SHA-256 thumbprint of the JSON Web Key (RFC 7638): the key id in JWS and DSSE.

    Args:
        public_key: The 32 bytes in hexadecimal.
    """
    spelled = json.dumps(jwk(public_key), sort_keys=True, separators=(",", ":"))
    return base64url(hashlib.sha256(spelled.encode()).digest())


def jwk_set(public_keys: Sequence[str]) -> dict[str, list[dict[str, str]]]:
    """Returns a JSON Web Key Set (RFC 7517) of the keys; the id of each is its thumbprint.

    Args:
        public_keys: The keys, each 32 bytes in hexadecimal.
    """
    more = ({"alg": ALGORITHM, "use": "sig", "kid": thumbprint(each)} for each in public_keys)
    return {"keys": [{**jwk(each), **members} for each, members in zip(public_keys, more, strict=True)]}


def pem(public_key: str) -> str:
    """Returns the key as PEM of its SubjectPublicKeyInfo, as openssl reads it.

    Args:
        public_key: The 32 bytes in hexadecimal.
    """
    body = b64encode(_SPKI_PREFIX + bytes.fromhex(public_key)).decode()
    return f"-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n"


def base64url(content: bytes) -> str:
    """Returns base64url without padding (RFC 7515, section 2).

    Args:
        content: The bytes to encode.
    """
    return urlsafe_b64encode(content).rstrip(b"=").decode()
