"""The noise key of a certificate, derived from a secret, the image and the settings. Standard library only."""

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Final

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.facts import SCHEMA
from certrad.models.types import AutoSigma, CertifyRequest, FixedSigma

DIGEST_BYTES: Final = 32
SECRET_MIN_BYTES: Final = 16


def noise_key(secret: bytes, pixels_sha256: str, settings_sha256: str) -> bytes:
    """Returns HMAC-SHA256(secret, pixel digest || settings digest), 32 bytes: one image and settings, one noise.

    Args:
        secret: The installation's epoch secret, at least 16 bytes.
        pixels_sha256: 64 hexadecimal digits, hashed as their 32 bytes, so that no two pairs share a message.
        settings_sha256: 64 hexadecimal digits, see `settings_digest`.

    Raises:
        ValueError: The secret is too short, or a digest is not of 32 bytes.
    """
    if len(secret) < SECRET_MIN_BYTES:
        raise ValueError(f"the secret must have at least {SECRET_MIN_BYTES} bytes, got {len(secret)}")
    digests = [bytes.fromhex(digest) for digest in (pixels_sha256, settings_sha256)]
    if any(len(digest) != DIGEST_BYTES for digest in digests):
        raise ValueError(f"SHA-256 digests must have {DIGEST_BYTES} bytes, got {[len(d) for d in digests]}")
    return hmac.new(secret, b"".join(digests), hashlib.sha256).digest()


def settings_digest(
    request: CertifyRequest, *, backbone_sha256: str, prompt_sha256: str | None, input_shape: Sequence[int]
) -> str:
    """Returns the SHA-256 of all that a caller can choose and that changes the claim: a part of the noise key.

    `frame` and `region` are in the pixel digest already; urgency and the task's name change nothing. Every part of it
    stands in the document, so that anyone can compute it again (docs/mathematics.md, A1).

    Args:
        request: The request.
        backbone_sha256: SHA-256 of the backbone's weights.
        prompt_sha256: SHA-256 of the prompt checkpoint; None for a hand-written template.
        input_shape: (channels, height, width) of the model input.
    """
    chosen = {
        "schema": SCHEMA,
        "classifier": asdict(request.classifier),
        **_spell_sampling(request),
        "backbone_sha256": backbone_sha256,
        "prompt_sha256": prompt_sha256,
        "input_shape": list(input_shape),
    }
    return hashlib.sha256(canonical(chosen)).hexdigest()


def _spell_sampling(request: CertifyRequest) -> dict[str, Any]:
    """Returns sigma and parameters as schema 2 spells them: with sigma=auto `params.sigma` is the selector's.

    The spelling is a part of every noise key ever drawn from, so that it outlives the types.
    """
    match request.sigma:
        case FixedSigma(sigma):
            return {"params": {**asdict(request.params), "sigma": sigma}}
        case AutoSigma(routing):
            params = {**asdict(request.params), "sigma": routing.selector_sigma}
            return {"params": params, "routing": asdict(routing)}
