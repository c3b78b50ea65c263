"""An operator's work with keys: list them, use new ones, revoke a leaked one, reveal an old secret."""

import json
import time
from dataclasses import asdict
from typing import Any, Literal

from redis import Redis

from certrad.models.certificates.signature import public_key
from certrad.models.types.public_key import jwk_set, pem
from certrad.workers.contract.keyring import Keyring, PublicKey
from certrad.workers.keys.epochs import EpochSecrets
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.settings import WorkerSettings


def list_keys(settings: WorkerSettings) -> dict[str, Any]:
    """Returns the public keys and the epochs of this data directory by their digests, without any secret."""
    signing, epochs = SigningKeys(settings.signing_dir), EpochSecrets(settings.secrets_dir)
    keys, revoked = signing.public_keys(), {revocation.sha256 for revocation in signing.revocations()}
    current = epochs.in_use()

    def status(key: PublicKey) -> str:
        return "revoked" if key.sha256 in revoked else "current" if key == keys[-1] else "retired"

    return {
        "keys": [{"key_id": key.id, "public_key": key.public_key, "status": status(key)} for key in keys],
        "epochs": [
            *({"sha256": epoch.sha256, "status": "revealed"} for epoch in epochs.revealed()),
            *({"sha256": epoch.sha256, "status": "retired"} for epoch in epochs.retired()),
            *([{"sha256": current.sha256, "status": "current"}] if current else []),
        ],
    }


def rotate_signing(settings: WorkerSettings) -> dict[str, Any]:
    """Makes a new signing key the current one.

    Returns:
        Its public key.

    Raises:
        ValueError: This data directory never had a signing key.
    """
    keys = SigningKeys(settings.signing_dir)
    if not keys.public_keys():
        raise ValueError(f"there is no signing key in {keys.directory}: intake makes it for the first certificate")
    return {"public_key": public_key(keys.rotate())}


def export_keys(settings: WorkerSettings, form: Literal["pem", "jwk"]) -> str:
    """Returns the public keys that are not revoked as other tools read them: PEM blocks, or a JSON Web Key Set.

    Args:
        settings: The data directory.
        form: The form of the keys.
    """
    signing = SigningKeys(settings.signing_dir)
    revoked = {revocation.sha256 for revocation in signing.revocations()}
    keys = [key.public_key for key in signing.public_keys() if key.sha256 not in revoked]
    return "".join(map(pem, keys)) if form == "pem" else f"{json.dumps(jwk_set(keys))}\n"


def revoke_signing(settings: WorkerSettings, name: str, reason: str, leaked_at: float | None = None) -> dict[str, Any]:
    """Revokes a retired signing key, so that nobody accepts its signatures but those stamped before the leak.

    Returns:
        The revocation.

    Raises:
        ValueError: The key is in use or not here, or the reason or the time is not valid.
    """
    return asdict(SigningKeys(settings.signing_dir).revoke(name, reason, leaked_at))


def rotate_epoch(settings: WorkerSettings) -> dict[str, Any]:
    """Makes a new noise secret the one of new jobs.

    Returns:
        Its digest.

    Raises:
        ValueError: This data directory never had a noise secret.
    """
    epochs = EpochSecrets(settings.secrets_dir)
    if epochs.in_use() is None:
        raise ValueError(f"there is no epoch secret in {epochs.directory}: an engine makes it when it first starts")
    return {"sha256": epochs.rotate().sha256}


def reveal_epoch(settings: WorkerSettings, sha256: str) -> dict[str, Any]:
    """Makes a retired secret public.

    Returns:
        The secret and its digest.

    Raises:
        ValueError: The secret is in use or not here.
    """
    epoch = EpochSecrets(settings.secrets_dir).reveal(sha256)
    return {"sha256": epoch.sha256, "secret": epoch.secret.hex()}


def publish(settings: WorkerSettings, redis: Redis) -> None:
    """Publishes every public key, commitment and revealed secret of this data directory."""
    SigningKeys(settings.signing_dir).publish(Keyring(redis))
    EpochSecrets(settings.secrets_dir).publish(Keyring(redis), clock=time.time)
