"""POST /verify."""

from dataclasses import asdict
from datetime import datetime
from functools import partial
from hashlib import sha256
from typing import Any, BinaryIO, Final, Literal

from anyio.to_thread import run_sync
from fastapi import APIRouter, Request
from pydantic import BaseModel, Field

from certrad.app.api.audit import note
from certrad.app.api.dependencies import Services, ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.raw_body import read_raw
from certrad.app.api.schemas.job import moment
from certrad.app.settings import ApiSettings
from certrad.models.certificates.verify import (
    MAX_ENVELOPE_BYTES,
    Issuer,
    TimeStampError,
    TimeStampTrust,
    Verification,
    latest_time,
    verify,
)
from certrad.models.errors import Rejected
from certrad.workers.contract.certificate_files import read_time_stamp

PATH: Final = "/verify"

router = APIRouter(tags=["certificates"])

_BODY: Final[dict[str, Any]] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"type": "object", "description": "the document"}},
        "application/vnd.in-toto+json": {"schema": {"type": "object", "description": "the DSSE envelope"}},
        "application/jose": {"schema": {"type": "string", "description": "the JWS"}},
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
    form: Literal["document", "dsse", "jws"] = Field(
        description="the form of the body, which the service recognises by its bytes"
    )
    reformatted: bool = Field(
        description="whether the body has other bytes than the service's, as after a tool that reformats JSON; the "
        "checks are of the same document all the same"
    )
    certificate: str = Field(description="SHA-256 of the document as the service stores it")
    issuer: Literal["known", "unknown", "revoked", "stamped_before_leak"] = Field(
        description="whether a key of this service signed it, retired or not; `revoked` for one that it has disowned, "
        "and `stamped_before_leak` if a time stamp proves that the signature was made before the key leaked"
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
    """Checks the signatures of a document and its envelope, and computes from its labels everything that it claims.

    The body is a document, also one that a tool has reformatted, a DSSE envelope or a JWS.

    Whether the labels belong to the image needs the image and the model: `certrad verify --replay`.
    """
    async with read_raw(request) as body:
        # One at a time, beside the event loop and the threads of the other routes: a large document takes seconds.
        verification = await run_sync(_verify, body, services, limiter=services.verifying)
    note(
        request,
        certificate=str(verification.certificate),
        valid=str(verification.valid).lower(),
        issuer=verification.issuer,
    )
    return VerificationView.model_validate({**asdict(verification), "valid": verification.valid})


def _verify(body: BinaryIO, services: Services) -> Verification:
    """Returns the verification of a body; it keeps no more of it in memory than an envelope can have.

    Raises:
        Rejected: not_a_certificate, if the body is longer than that.
    """
    content = body.read(MAX_ENVELOPE_BYTES + 1)
    if len(content) > MAX_ENVELOPE_BYTES:
        raise Rejected("not_a_certificate", f"a certificate has at most {MAX_ENVELOPE_BYTES} bytes; the body has more")
    epochs = services.keyring.epochs()
    secrets = [bytes.fromhex(epoch.secret) for epoch in epochs if epoch.secret]
    revocations = services.keyring.revocations()
    issuer = Issuer(
        public_keys=frozenset(key.public_key for key in services.keyring.signing_keys()),
        revoked=frozenset(key.sha256 for key in revocations),
        leaks={key.sha256: moment(key.leaked_at) for key in revocations if key.leaked_at is not None},
        secrets={sha256(secret).hexdigest(): secret for secret in secrets},
        epochs=frozenset(epoch.sha256 for epoch in epochs),
    )
    return verify(content, issuer, partial(_proven_time, services.settings))


def _proven_time(settings: ApiSettings, certificate: str, signature: bytes) -> datetime | None:
    """Returns what the stored time stamp of a certificate proves; None without one.

    Raises:
        TimeStampError: It proves nothing, or cannot be checked here.
    """
    try:
        stamp = read_time_stamp(settings.certificates_dir, certificate)
        if stamp is None:
            return None
        if settings.tsa_certificates is None:
            raise TimeStampError("this service trusts no time-stamping authority")
        trust = TimeStampTrust(certificates=settings.tsa_certificates.read_bytes(), policy=settings.tsa_policy)
    except OSError:
        raise TimeStampError("the time stamp or the certificates of the authorities cannot be read here") from None
    return latest_time(stamp, signature, trust)
