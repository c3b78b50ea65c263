"""POST /verify."""

from dataclasses import asdict
from hashlib import sha256
from typing import Any, BinaryIO, Final, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from certrad.app.api.audit import note
from certrad.app.api.dependencies import Services, ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.raw_body import read_raw
from certrad.models.certificates.verify import MAX_BYTES, Issuer, Verification, verify
from certrad.models.errors import Rejected

PATH: Final = "/verify"

router = APIRouter(tags=["certificates"])

_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"type": "object", "description": "the document, byte for byte as it was answered"}
        }
    },
}


class CheckView(BaseModel):
    """One check, with its outcome or the reason for its refusal."""

    name: str = Field(examples=["radius"])
    ok: bool
    detail: str = Field(examples=["0.2457 follows from the bounds"])


class SkippedView(BaseModel):
    """One thing that was not checked, and what it would have taken."""

    name: str = Field(examples=["noise_key"])
    reason: str


class VerificationView(BaseModel):
    """The outcome of a verification; valid if every check that was made passes, and `skipped` names the others."""

    valid: bool
    issuer: Literal["known", "unknown", "revoked"] = Field(
        description="whether a key of this service signed it, retired or not; `revoked` for one that it has disowned"
    )
    checks: list[CheckView]
    skipped: list[SkippedView]


@router.post(
    PATH,
    operation_id="verify",
    summary="Verify a certificate",
    responses=problem_responses("not_a_certificate", "body_too_large", "foreign_origin"),
    openapi_extra={"requestBody": _BODY},
)
async def verify_certificate(request: Request, services: ServicesDep) -> VerificationView:
    """Checks the signature of a document, and computes from its labels everything that it claims.

    Whether the labels belong to the image needs the image and the model: `certrad verify --replay`.
    """
    async with read_raw(request) as body:
        # One at a time, beside the event loop and the threads of the other routes: a large document takes seconds.
        digest, verification = await run_sync(_verify, body, services, limiter=services.verifying)
    note(request, certificate=digest, valid=str(verification.valid).lower(), issuer=verification.issuer)
    return VerificationView.model_validate({**asdict(verification), "valid": verification.valid})


def _verify(body: BinaryIO, services: Services) -> tuple[str, Verification]:
    """Returns the SHA-256 and the verification of a body; it keeps no more of it in memory than a document can have.

    Raises:
        Rejected: not_a_certificate, if the body is longer than that.
    """
    content = body.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise Rejected("not_a_certificate", f"a certificate has at most {MAX_BYTES} bytes; the body has more")
    epochs = services.keyring.epochs()
    secrets = [bytes.fromhex(epoch.secret) for epoch in epochs if epoch.secret]
    issuer = Issuer(
        public_keys=frozenset(key.public_key for key in services.keyring.signing_keys()),
        revoked=frozenset(key.sha256 for key in services.keyring.revocations()),
        secrets={sha256(secret).hexdigest(): secret for secret in secrets},
        epochs=frozenset(epoch.sha256 for epoch in epochs),
    )
    return sha256(content).hexdigest(), verify(content, issuer)
