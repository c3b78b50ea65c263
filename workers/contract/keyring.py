"""The keys that certificates can be checked with: public signing keys and commitments to the noise secrets."""

import hashlib
import json
from dataclasses import dataclass
from typing import Final, cast

from redis import Redis

from certrad.workers.contract.names import EPOCHS, REVEALED, REVOKED_KEYS, SIGNING_KEYS

_KEY_ID_DIGITS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicKey:
    """An Ed25519 public key, 32 bytes in hexadecimal, and when it was first used, in seconds since 1970."""

    public_key: str
    first_used: float

    @property
    def sha256(self) -> str:
        """Returns the SHA-256 of the 32 bytes, in hexadecimal."""
        return hashlib.sha256(bytes.fromhex(self.public_key)).hexdigest()

    @property
    def id(self) -> str:
        """Returns the key's short name: the first 16 hexadecimal digits of the SHA-256."""
        return self.sha256[:_KEY_ID_DIGITS]


@dataclass(frozen=True, slots=True, kw_only=True)
class Revocation:
    """A revoked signing key, by the SHA-256 of its public key, with the time and the reason.

    Attributes:
        sha256: SHA-256 of the 32 bytes of the public key, in hexadecimal.
        revoked_at: Seconds since 1970.
        reason: The operator's words.
        leaked_at: The time before which only the issuer had the key, in seconds since 1970; None if it is not known.
    """

    sha256: str
    revoked_at: float
    reason: str
    leaked_at: float | None = None

    @property
    def id(self) -> str:
        """Returns the key's short name."""
        return self.sha256[:_KEY_ID_DIGITS]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicEpoch:
    """The commitment to a noise secret: its SHA-256 and, once it is revealed, the secret itself, in hexadecimal."""

    sha256: str
    first_used: float
    secret: str | None


class Keyring:
    """Publishes in Redis the keys that intake and engines have on their disks, and reads them for the API."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def publish_key(self, key: PublicKey) -> None:
        """Makes a public key known; a key that is known already keeps the time of its first use."""
        self._redis.zadd(SIGNING_KEYS, {key.public_key: key.first_used}, nx=True)

    def publish_revocation(self, revocation: Revocation) -> None:
        """Removes a public key from the known ones for ever; a revoked key keeps its time and reason."""
        details: dict[str, object] = {"revoked_at": revocation.revoked_at, "reason": revocation.reason}
        if revocation.leaked_at is not None:
            details["leaked_at"] = revocation.leaked_at
        self._redis.hsetnx(REVOKED_KEYS, revocation.sha256, json.dumps(details))

    def publish_epoch(self, sha256: str, *, first_used: float) -> None:
        """Commits to a noise secret; a commitment that is known already keeps the time of its first use."""
        self._redis.zadd(EPOCHS, {sha256: first_used}, nx=True)

    def reveal_epoch(self, sha256: str, secret: bytes) -> None:
        """Publishes a noise secret that is no longer in use."""
        self._redis.hset(REVEALED, sha256, secret.hex())

    def signing_keys(self) -> list[PublicKey]:
        """Returns every public key that ever signed and was not revoked, oldest first: the last one is in use."""
        keys = [PublicKey(public_key=key, first_used=at) for key, at in self._by_time(SIGNING_KEYS)]
        revoked = {revocation.sha256 for revocation in self.revocations()}  # after the keys, for it is published before
        return [key for key in keys if key.sha256 not in revoked]

    def revocations(self) -> list[Revocation]:
        """Returns every revoked signing key, oldest revocation first."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(REVOKED_KEYS))
        revoked = (Revocation(sha256=sha256.decode(), **json.loads(details)) for sha256, details in stored.items())
        return sorted(revoked, key=lambda revocation: (revocation.revoked_at, revocation.sha256))

    def epochs(self) -> list[PublicEpoch]:
        """Returns every noise secret that the installation committed to, oldest first: the last one is in use."""
        stored = cast("dict[bytes, bytes]", self._redis.hgetall(REVEALED))
        secrets = {sha256.decode(): secret.decode() for sha256, secret in stored.items()}
        return [
            PublicEpoch(sha256=sha256, first_used=at, secret=secrets.get(sha256))
            for sha256, at in self._by_time(EPOCHS)
        ]

    def _by_time(self, name: str) -> list[tuple[str, float]]:
        stored = cast("list[tuple[bytes, float]]", self._redis.zrange(name, 0, -1, withscores=True))
        return [(member.decode(), score) for member, score in stored]
