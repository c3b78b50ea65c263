"""The keys this installation signs certificates with: one private key in use, and every public key it ever had."""

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

from models.signing import public_key
from workers.contract.keys import Keyring, PublicKey
from workers.storage import create_file, replace_file

_TICK: Final = 0.001  # seconds; keys are told apart by their order in time


@dataclass(frozen=True, slots=True)
class SigningKeys:
    """The folder of the keys, which only the API host has.

    `private.pem` is the private key in use (PKCS #8); rotation replaces it, and no private key is kept after its use.
    `public/` holds one record per public key, of retired ones too: what they signed can be checked for ever.
    """

    directory: Path
    clock: Callable[[], float] = time.time

    def current(self) -> Ed25519PrivateKey:
        """The key to sign with, made at first use; processes that start at once agree on one.

        Its public key is on record before anything can be signed. Raises OSError when the disk refuses, ValueError when
        the file holds no Ed25519 key.
        """
        if not self._private.exists():
            create_file(self._private, _new_key())
        key = load_pem_private_key(self._private.read_bytes(), password=None)
        if not isinstance(key, Ed25519PrivateKey):
            raise ValueError(f"{self._private.name} must hold an Ed25519 key, got {type(key).__name__}")
        self._record(public_key(key))
        return key

    def rotate(self) -> Ed25519PrivateKey:
        """Puts a new key in the place of the one in use and returns it. Raises OSError when the disk refuses."""
        replace_file(self._private, _new_key())
        return self.current()

    def public_keys(self) -> list[PublicKey]:
        """Every public key that was ever used, oldest first: the last one is in use."""
        records = [PublicKey(**json.loads(path.read_bytes())) for path in self._public.glob("*.json")]
        return sorted(records, key=lambda record: record.first_used)

    def publish(self, keyring: Keyring) -> None:
        """Makes every public key known; none where no key was ever used."""
        for key in self.public_keys():
            keyring.publish_key(key)

    @property
    def _private(self) -> Path:
        return self.directory / "private.pem"

    @property
    def _public(self) -> Path:
        return self.directory / "public"

    def _record(self, public: str) -> None:
        known = self.public_keys()
        if any(key.public_key == public for key in known):
            return
        after_the_others = max((key.first_used + _TICK for key in known), default=0.0)
        key = PublicKey(public_key=public, first_used=max(self.clock(), after_the_others))
        create_file(self._public / f"{key.id}.json", json.dumps(asdict(key)).encode())


def _new_key() -> bytes:
    return Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
