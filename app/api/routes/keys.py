"""The keys that certificates can be checked with."""

from base64 import urlsafe_b64encode
from datetime import datetime
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field

from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.schemas.job import moment
from certrad.workers.contract.keyring import PublicEpoch, PublicKey

router = APIRouter(tags=["keys"])

Status = Literal["current", "retired"]


class Jwk(BaseModel):
    """The key as a JSON Web Key (RFC 8037)."""

    kty: Literal["OKP"] = "OKP"
    crv: Literal["Ed25519"] = "Ed25519"
    alg: Literal["EdDSA"] = "EdDSA"
    use: Literal["sig"] = "sig"
    kid: str
    x: str


class SigningKey(BaseModel):
    """A public key of this installation: the current one, or one that signed until it was replaced."""

    key_id: str = Field(description="the first 16 hexadecimal digits of the SHA-256 of the key's 32 bytes")
    algorithm: Literal["Ed25519"] = "Ed25519"
    public_key: str = Field(description="32 bytes in hexadecimal, as certificates name it")
    jwk: Jwk
    status: Status
    first_used: datetime


class RevokedKey(BaseModel):
    """A key that this installation signed with and has revoked: verifiers refuse every document that it signed.

    It is named by its digest, so that a verifier that searches this response for public keys does not see it.
    """

    key_id: str = Field(description="as of a signing key")
    sha256: str = Field(description="SHA-256 of the 32 bytes of the public key")
    revoked_at: datetime
    reason: str = Field(description="the operator's words", examples=["the API host was broken into"])


class Epoch(BaseModel):
    """A noise secret that this installation has committed to by its hash."""

    sha256: str = Field(description="SHA-256 of the epoch secret")
    status: Status
    first_used: datetime
    secret: str | None = Field(
        description="the secret in hexadecimal, once a retired one was revealed: noise keys can be computed from it"
    )


class Keys(BaseModel):
    """Every public signing key and every commitment to a noise secret, oldest first.

    A revoked key is in `revoked` only.
    """

    keys: list[SigningKey]
    revoked: list[RevokedKey]
    epochs: list[Epoch]


@router.get(
    "/.well-known/certrad-keys",
    operation_id="keys",
    summary="Keys and epoch commitments",
    responses=problem_responses(),
)
def keys(services: ServicesDep) -> Keys:
    """Returns the installation's signing keys, and the commitments that it published before it drew noise."""
    revoked = services.keyring.revocations()  # before the keys, so that none that is revoked now is in both
    signing_keys, epochs = services.keyring.signing_keys(), services.keyring.epochs()
    return Keys(
        keys=[_signing_key(key, _status(key, signing_keys[-1])) for key in signing_keys],
        revoked=[
            RevokedKey(key_id=key.id, sha256=key.sha256, revoked_at=moment(key.revoked_at), reason=key.reason)
            for key in revoked
        ],
        epochs=[_epoch(epoch, _status(epoch, epochs[-1])) for epoch in epochs],
    )


def _status(entry: PublicKey | PublicEpoch, newest: PublicKey | PublicEpoch) -> Status:
    return "current" if entry == newest else "retired"


def _signing_key(key: PublicKey, status: Status) -> SigningKey:
    x = urlsafe_b64encode(bytes.fromhex(key.public_key)).rstrip(b"=").decode()
    return SigningKey(
        key_id=key.id,
        public_key=key.public_key,
        jwk=Jwk(kid=key.id, x=x),
        status=status,
        first_used=moment(key.first_used),
    )


def _epoch(epoch: PublicEpoch, status: Status) -> Epoch:
    return Epoch(sha256=epoch.sha256, status=status, first_used=moment(epoch.first_used), secret=epoch.secret)
