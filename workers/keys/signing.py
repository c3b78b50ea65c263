"""The keys with which this installation signs certificates: one private key, and every public key it ever had."""

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from certrad.models.certificates.signature import public_key
from certrad.models.files import create_file, replace_file
from certrad.workers.contract.keyring import Keyring, PublicKey, Revocation

_TICK: Final = 0.001  # seconds; keys are ordered by their time
_REASON_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The folder of the keys, which only intake has.

    `private.pem` is the private key in use (PKCS #8); rotation replaces it, and no private key is kept after its use.
    `public/` holds one record per public key, retired ones included: their signatures can be checked for ever.
    `revoked/` holds one record per revoked key, whose signatures are worth nothing.
    """

    directory: Path
    clock: Callable[[], float] = time.time

    def current(self) -> Ed25519PrivateKey:
        """Returns the key to sign with, which its first use creates; processes that start at once agree on one.

        Its public key is on record before anything can be signed. A revoked key never signs: a new one replaces it.

        Raises:
            OSError: The disk refuses.
            ValueError: The file holds no Ed25519 key.
        """
        if not self._private.exists():
            create_file(self._private, _new_key())
        key = load_pem_private_key(self._private.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{self._private.name} must hold an Ed25519 key, got {type(key).__name__}")
        digest = hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()
        if any(revocation.sha256 == digest for revocation in self.revocations()):  # it came back from a backup
            return self.rotate()
        self._record(public_key(key))
        return key

    def rotate(self) -> Ed25519PrivateKey:
        """Replaces the key in use by a new one.

        Returns:
            The new key.

        Raises:
            OSError: The disk refuses.
        """
        replace_file(self._private, _new_key())
        return self.current()

    def public_keys(self) -> list[PublicKey]:
        """Returns every public key that was ever used, oldest first: the last one is in use."""
        records = [PublicKey(**json.loads(path.read_bytes())) for path in self._public.glob("*.json")]
        return sorted(records, key=lambda record: record.first_used)

    def trusted(self) -> frozenset[str]:
        """Returns every public key that was ever used and is not revoked, in hexadecimal."""
        revoked = {revocation.sha256 for revocation in self.revocations()}
        return frozenset(key.public_key for key in self.public_keys() if key.sha256 not in revoked)

    def revoke(self, name: str, reason: str, leaked_at: float | None = None) -> Revocation:
        """Declares all signatures of a key worthless; a key that is revoked already keeps its times and reason.

        Args:
            name: The public key in hexadecimal, its SHA-256, or its id.
            reason: The reason, which everyone can read.
            leaked_at: The time before which only this installation had the key, in seconds since 1970: signatures whose
                time stamp proves an earlier time stay valid. None if it is not known: then none does.

        Returns:
            The revocation.

        Raises:
            OSError: The disk refuses.
            ValueError: The key is in use or not here, or the reason or the time is not valid.
        """
        known = self.public_keys()
        key = next((key for key in known if name in (key.public_key, key.sha256, key.id)), None)
        if key is None:
            raise ValueError(f"the key must be one of those in {self._public}; got {name!r}")
        if key == known[-1]:
            raise ValueError("the key must be retired; this one is in use: run rotate-signing first")
        if not (reason.strip() and reason.isprintable() and len(reason) <= _REASON_MAX):
            raise ValueError(f"the reason must be 1 to {_REASON_MAX} printable characters; got {reason!r}")
        if any(key.public_key in reason for key in known):
            # A verifier that looks for public keys in what is published must not find a revoked one.
            raise ValueError("the reason must not spell a public key: name keys by their digest")
        revoked_at = self.clock()
        if leaked_at is not None and leaked_at > revoked_at:
            raise ValueError("the time of the leak must not be in the future")
        revocation = Revocation(sha256=key.sha256, revoked_at=revoked_at, reason=reason, leaked_at=leaked_at)
        create_file(self._revoked / f"{key.id}.json", json.dumps(asdict(revocation)).encode())
        return next(revocation for revocation in self.revocations() if revocation.sha256 == key.sha256)

    def revocations(self) -> list[Revocation]:
        """Returns every revoked key, oldest revocation first."""
        records = [Revocation(**json.loads(path.read_bytes())) for path in self._revoked.glob("*.json")]
        return sorted(records, key=lambda record: (record.revoked_at, record.sha256))

    def publish(self, keyring: Keyring) -> None:
        """Publishes every public key and every revocation; nothing if no key was ever used."""
        for revocation in self.revocations():  # first, so that none of them is known in between
            keyring.publish_revocation(revocation)
        for key in self.public_keys():
            keyring.publish_key(key)

    @property
    def _private(self) -> Path:
        return self.directory / "private.pem"

    @property
    def _public(self) -> Path:
        return self.directory / "public"

    @property
    def _revoked(self) -> Path:
        return self.directory / "revoked"

    def _record(self, public: str) -> None:
        known = self.public_keys()
        if any(key.public_key == public for key in known):
            return
        after_the_others = max((key.first_used + _TICK for key in known), default=0.0)
        key = PublicKey(public_key=public, first_used=max(self.clock(), after_the_others))
        create_file(self._public / f"{key.id}.json", json.dumps(asdict(key)).encode())


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
