"""The noise key of a certificate, derived from a secret, the image and the settings."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import asdict

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.facts import SCHEMA
from certrad.models.types import (
    CertifyRequest,
)

DIGEST_BYTES = 32


SECRET_MIN_BYTES = 16


def noise_key(secret: bytes, pixels_sha256: str, settings_sha256: str) -> bytes:
    """HMAC-SHA256(secret, pixel digest || settings digest), 32 bytes: one image and settings, one noise.

    secret: the installation's epoch secret, at least 16 bytes.
    pixels_sha256, settings_sha256: hexadecimal; hashed as their 32 raw bytes, so no two pairs share a message.
    """
    if len(secret) < SECRET_MIN_BYTES:
        raise ValueError(f"the secret needs at least {SECRET_MIN_BYTES} bytes, got {len(secret)}")
    digests = [bytes.fromhex(digest) for digest in (pixels_sha256, settings_sha256)]
    if any(len(digest) != DIGEST_BYTES for digest in digests):
        raise ValueError(f"SHA-256 digests of {DIGEST_BYTES} bytes are required, got {[len(d) for d in digests]}")
    return hmac.new(secret, b"".join(digests), hashlib.sha256).digest()


def settings_digest(
    request: CertifyRequest, *, backbone_sha256: str, prompt_sha256: str | None, input_shape: Sequence[int]
) -> str:
    """SHA-256 of all that a caller can choose and that changes the claim: a part of the noise key.

    `frame` and `region` are in the pixel digest already; urgency and the task's name change nothing. Every part of it
    stands in the document, so that anyone can compute it again (docs/mathematics.md, A1).
    """
    chosen = {
        "schema": SCHEMA,
        "classifier": asdict(request.classifier),
        "params": asdict(request.params),
        "backbone_sha256": backbone_sha256,
        "prompt_sha256": prompt_sha256,
        "input_shape": list(input_shape),
        **({} if request.routing is None else {"routing": asdict(request.routing)}),
    }
    return hashlib.sha256(canonical(chosen)).hexdigest()
