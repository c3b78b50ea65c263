"""The keys that certificates can be checked with."""

from datetime import datetime
from typing import Final, Literal

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.schemas.job import moment
from certrad.models.types.public_key import jwk, jwk_set, pem, thumbprint
from certrad.workers.contract.keyring import PublicEpoch, PublicKey

router = APIRouter(tags=["keys"])

_JWK_SET: Final = "application/jwk-set+json"
_PEM: Final = "application/x-pem-file"

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
    jwk: Jwk = Field(
        description="the key with the names of release 0.1; `/.well-known/jwks.json` has those of RFC 9864"
    )
    thumbprint: str = Field(description="SHA-256 thumbprint of the key (RFC 7638): `kid` of a JWS, `keyid` in DSSE")
    pem: str = Field(description="the key as PEM, for openssl")
    status: Status
    first_used: datetime


class RevokedKey(BaseModel):
    """A key that this installation signed with and has revoked: verifiers refuse every document that it signed.

    It is named by its digest, so that a verifier that searches this response for public keys does not see it.
    """

    key_id: str = Field(description="as of a signing key")
    sha256: str = Field(description="SHA-256 of the 32 bytes of the public key")
    revoked_at: datetime
    leaked_at: datetime | None = Field(
        None,
        description="the time before which only the issuer had the key: a document stays valid if its time stamp "
        "proves an earlier one; null: none does",
    )
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
            RevokedKey(
                key_id=key.id,
                sha256=key.sha256,
                revoked_at=moment(key.revoked_at),
                reason=key.reason,
                leaked_at=None if key.leaked_at is None else moment(key.leaked_at),
            )
            for key in revoked
        ],
        epochs=[_epoch(epoch, _status(epoch, epochs[-1])) for epoch in epochs],
    )


@router.get(
    "/.well-known/jwks.json",
    operation_id="jwks",
    summary="Keys as a JSON Web Key Set",
    response_class=Response,
    responses={
        200: {
            "description": "RFC 7517; the algorithm is `Ed25519` (RFC 9864), each `kid` a thumbprint (RFC 7638).",
            "content": {_JWK_SET: {"schema": {"type": "object"}}},
        },
        **problem_responses(),
    },
)
def jwks(services: ServicesDep) -> Response:
    """Returns the signing keys that are not revoked, retired ones included, for tools that check a JWS."""
    return JSONResponse(jwk_set([key.public_key for key in services.keyring.signing_keys()]), media_type=_JWK_SET)


@router.get(
    "/.well-known/certrad-keys.pem",
    operation_id="keys_pem",
    summary="Keys as PEM",
    response_class=Response,
    responses={
        200: {
            "description": "One PEM block (SubjectPublicKeyInfo) for each key, oldest first: the last one is in use.",
            "content": {_PEM: {"schema": {"type": "string"}}},
        },
        **problem_responses(),
    },
)
def keys_pem(services: ServicesDep) -> Response:
    """Returns the signing keys that are not revoked, retired ones included, for openssl."""
    blocks = "".join(pem(key.public_key) for key in services.keyring.signing_keys())
    return Response(blocks, media_type=_PEM)


def _status(entry: PublicKey | PublicEpoch, newest: PublicKey | PublicEpoch) -> Status:
    return "current" if entry == newest else "retired"


def _signing_key(key: PublicKey, status: Status) -> SigningKey:
    return SigningKey(
        key_id=key.id,
        public_key=key.public_key,
        jwk=Jwk(kid=key.id, x=jwk(key.public_key)["x"]),
        thumbprint=thumbprint(key.public_key),
        pem=pem(key.public_key),
        status=status,
        first_used=moment(key.first_used),
    )


def _epoch(epoch: PublicEpoch, status: Status) -> Epoch:
    return Epoch(sha256=epoch.sha256, status=status, first_used=moment(epoch.first_used), secret=epoch.secret)
