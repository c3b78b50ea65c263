"""The API publishes public keys, revocations and epoch commitments."""

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from fastapi.testclient import TestClient
from redis import Redis

from certrad.workers.contract.keyring import Keyring, PublicKey, Revocation

RFC_8037_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # its JWK is in appendix A

RFC_8037_THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
RFC_8037_PEM = (
    "-----BEGIN PUBLIC KEY-----\n"
    "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
    "-----END PUBLIC KEY-----\n"
)


def test_no_key_and_no_commitment_is_an_answer_too(api: TestClient) -> None:
    assert api.get("/.well-known/certrad-keys").json() == {"keys": [], "revoked": [], "epochs": []}


def test_every_public_key_is_published_and_the_newest_is_the_current_one(api: TestClient, redis: Redis) -> None:
    keyring = Keyring(redis)
    keyring.publish_key(PublicKey(public_key="00" * 32, first_used=1.8e9))
    keyring.publish_key(PublicKey(public_key=RFC_8037_KEY, first_used=1.7e9))
    keyring.publish_key(PublicKey(public_key=RFC_8037_KEY, first_used=1.9e9))
    old, new = api.get("/.well-known/certrad-keys").json()["keys"]
    key_id = hashlib.sha256(bytes.fromhex(RFC_8037_KEY)).hexdigest()[:16]
    assert old == {
        "key_id": key_id,
        "algorithm": "Ed25519",
        "public_key": RFC_8037_KEY,
        "jwk": {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": key_id,
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        },
        "thumbprint": RFC_8037_THUMBPRINT,
        "pem": RFC_8037_PEM,
        "status": "retired",
        "first_used": "2023-11-14T22:13:20Z",
    }
    assert (new["public_key"], new["status"]) == ("00" * 32, "current")


def test_a_revoked_key_is_published_by_its_digest_only(api: TestClient, redis: Redis) -> None:
    keyring, digest = Keyring(redis), hashlib.sha256(bytes.fromhex(RFC_8037_KEY)).hexdigest()
    keyring.publish_key(PublicKey(public_key=RFC_8037_KEY, first_used=1.7e9))
    keyring.publish_key(PublicKey(public_key="00" * 32, first_used=1.8e9))
    for reason in ("it leaked", "it did not"):
        keyring.publish_revocation(Revocation(sha256=digest, revoked_at=1.8e9, reason=reason))
    answer = api.get("/.well-known/certrad-keys")
    assert answer.json()["revoked"] == [
        {"key_id": digest[:16], "sha256": digest, "revoked_at": "2027-01-15T08:00:00Z", "reason": "it leaked"}
        | {"leaked_at": None}
    ]
    assert [(key["public_key"], key["status"]) for key in answer.json()["keys"]] == [("00" * 32, "current")]
    assert RFC_8037_KEY not in answer.text


def test_every_epoch_commitment_is_published_with_what_was_revealed(api: TestClient, redis: Redis) -> None:
    keyring = Keyring(redis)
    keyring.publish_epoch("b" * 64, first_used=1.8e9)
    keyring.publish_epoch("a" * 64, first_used=1.7e9)
    keyring.publish_epoch("a" * 64, first_used=1.9e9)
    keyring.reveal_epoch("a" * 64, b"s" * 32)
    assert api.get("/.well-known/certrad-keys").json()["epochs"] == [
        {"sha256": "a" * 64, "status": "retired", "first_used": "2023-11-14T22:13:20Z", "secret": "73" * 32},
        {"sha256": "b" * 64, "status": "current", "first_used": "2027-01-15T08:00:00Z", "secret": None},
    ]


def test_keys_are_published_as_a_key_set_with_the_names_of_rfc_9864(api: TestClient, redis: Redis) -> None:
    keyring = Keyring(redis)
    keyring.publish_key(PublicKey(public_key=RFC_8037_KEY, first_used=1.7e9))
    keyring.publish_key(PublicKey(public_key="00" * 32, first_used=1.8e9))
    keyring.publish_revocation(
        Revocation(sha256=hashlib.sha256(bytes(32)).hexdigest(), revoked_at=1.9e9, reason="it leaked")
    )
    answer = api.get("/.well-known/jwks.json")
    assert answer.headers["content-type"] == "application/jwk-set+json"
    assert answer.json() == {
        "keys": [
            {
                "kty": "OKP",
                "crv": "Ed25519",
                "alg": "Ed25519",
                "use": "sig",
                "kid": RFC_8037_THUMBPRINT,
                "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
            }
        ]
    }


def test_keys_are_published_as_pem_without_revoked_ones(api: TestClient, redis: Redis) -> None:
    keyring = Keyring(redis)
    keyring.publish_key(PublicKey(public_key=RFC_8037_KEY, first_used=1.7e9))
    keyring.publish_key(PublicKey(public_key="00" * 32, first_used=1.8e9))
    keyring.publish_revocation(
        Revocation(sha256=hashlib.sha256(bytes(32)).hexdigest(), revoked_at=1.9e9, reason="it leaked")
    )
    answer = api.get("/.well-known/certrad-keys.pem")
    assert answer.text == RFC_8037_PEM
    key = load_pem_public_key(answer.content)
    assert isinstance(key, Ed25519PublicKey)
    assert key.public_bytes_raw().hex() == RFC_8037_KEY


def test_time_of_the_leak_is_published_with_the_revocation(api: TestClient, redis: Redis) -> None:
    digest = hashlib.sha256(bytes(32)).hexdigest()
    revocation = Revocation(sha256=digest, revoked_at=1.8e9, reason="it leaked", leaked_at=1.7e9)
    Keyring(redis).publish_revocation(revocation)
    assert Keyring(redis).revocations() == [revocation]
    (revoked,) = api.get("/.well-known/certrad-keys").json()["revoked"]
    assert revoked["leaked_at"] == "2023-11-14T22:13:20Z"
