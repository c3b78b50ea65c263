"""An Ed25519 public key in the forms that other tools read: JSON Web Key, thumbprint and PEM."""

import hashlib
import json
import re
from base64 import b64decode, b64encode, urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from typing import Final

ALGORITHM: Final = "Ed25519"
"""The algorithm in JWS and JWK (RFC 9864)."""

_PEM: Final = re.compile("-----BEGIN PUBLIC KEY-----([^-]*)-----END PUBLIC KEY-----")
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


def from_pem(text: str) -> list[str]:
    """Returns the public keys of a PEM text, each 32 bytes in hexadecimal.

    Args:
        text: One PEM block or several.

    Raises:
        ValueError: It holds none, or a key that is not Ed25519.
    """
    keys = [b64decode("".join(block.split()), validate=True) for block in _PEM.findall(text)]
    if not keys or not all(key.startswith(_SPKI_PREFIX) and len(key) == len(_SPKI_PREFIX) + 32 for key in keys):
        raise ValueError("the PEM must hold Ed25519 public keys")
    return [key.removeprefix(_SPKI_PREFIX).hex() for key in keys]


def from_jwk(key: Mapping[str, object]) -> str:
    """Returns the public key of a JSON Web Key, 32 bytes in hexadecimal.

    Args:
        key: The JSON Web Key.

    Raises:
        ValueError: It is not an Ed25519 key.
    """
    match key:
        case {"kty": "OKP", "crv": "Ed25519", "x": str(x)}:
            return urlsafe_b64decode(x + "=" * (-len(x) % 4)).hex()
        case _:
            raise ValueError("the JSON Web Key must be one of Ed25519")


def base64url(content: bytes) -> str:
    """Returns base64url without padding (RFC 7515, section 2).

    Args:
        content: The bytes to encode.
    """
    return urlsafe_b64encode(content).rstrip(b"=").decode()
