"""The noise key of a certificate, derived from a secret and the digests of what is certified. Standard library only."""

import hashlib
import hmac
from dataclasses import asdict
from typing import Any, Final

from certrad.models.certificates.canonical import canonical
from certrad.models.types import AutoSigma, CertifyRequest, FixedSigma, NoiseLaw, ZeroShotAdaptation
from certrad.models.types.cards import BackboneCard
from certrad.models.types.identity import ClassifierIdentity, ClassifierParts

DIGEST_BYTES: Final = 32
SECRET_MIN_BYTES: Final = 16


def noise_key(secret: bytes, *digests: str) -> bytes:
    """Returns HMAC-SHA256(secret, digest || digest || ...), 32 bytes: the same digests have the same noise.

    A certificate's digests are those of what noise is added to (the model input, or the rendered image), of the
    classifier and of the sampling settings: all that the claim depends on, and no spelling of it. A crop, a window or a
    template acts only through them.

    Args:
        secret: The installation's epoch secret, at least 16 bytes.
        digests: SHA-256 digests of 64 hexadecimal digits, hashed as their 32 bytes, so that no two lists share a
            message.

    Raises:
        ValueError: The secret is too short, or a digest is not of 32 bytes.
    """
    if len(secret) < SECRET_MIN_BYTES:
        raise ValueError(f"the secret must have at least {SECRET_MIN_BYTES} bytes, got {len(secret)}")
    parts = [bytes.fromhex(digest) for digest in digests]
    if any(len(part) != DIGEST_BYTES for part in parts):
        raise ValueError(f"SHA-256 digests must have {DIGEST_BYTES} bytes, got {[len(part) for part in parts]}")
    return hmac.new(secret, b"".join(parts), hashlib.sha256).digest()


def card_digest(card: BackboneCard) -> str:
    """Returns the SHA-256 of what a backbone's card says about computing with its weights.

    Args:
        card: The card of the backbone.
    """
    computing = ("format", "image_size", "mean", "std", "activation")
    return _digest({name: getattr(card, name) for name in computing})


def classifier_digest(parts: ClassifierParts) -> str:
    """Returns the SHA-256 of a base classifier with its noise law: a part of the noise key.

    A later version that adds a part must leave it out of the digest where it is absent, so that earlier digests
    stay the same.

    Args:
        parts: What the classifier computes with.
    """
    facts = asdict(parts)
    for later in ("adapter_sha256", "image_map", "rejection_sha256"):
        if facts[later] is None:
            del facts[later]
    return _digest(facts)


def classifier_parts(classifier: ClassifierIdentity, law: NoiseLaw) -> ClassifierParts:
    """Returns the parts of a classifier that a document of schema 3 names.

    Args:
        classifier: The classifier, by digest.
        law: The named law of the noise.

    Raises:
        ValueError: The identity is of an earlier schema, which did not state all parts.
    """
    if classifier.card_sha256 is None or classifier.text_sha256 is None:
        raise ValueError("the classifier must be named with its card and the digest of its text")
    return ClassifierParts(
        backbone_sha256=classifier.backbone_sha256,
        card_sha256=classifier.card_sha256,
        dtype=classifier.dtype,
        text_sha256=classifier.text_sha256,
        gate_sha256=classifier.gate_sha256,
        zero_shot=classifier.adaptation if isinstance(classifier.adaptation, ZeroShotAdaptation) else None,
        law=law,
        adapter_sha256=classifier.adapter_sha256,
        image_map=None if classifier.noisy_image is None else classifier.noisy_image.map,
        rejection_sha256=classifier.rejection_sha256,
    )


def sampling_digest(request: CertifyRequest) -> str:
    """Returns the SHA-256 of sigma and the sampling parameters, in one spelling: a part of the noise key.

    With two classes both ways to bound the runner-up are one, and have one digest. Without variants, noise on the
    window or a prediction set the digest is that of releases that knew none.

    Args:
        request: The request.
    """
    params = request.params
    match request.sigma:
        case FixedSigma(sigma):
            noise: object = float(sigma)
        case AutoSigma(routing):
            noise = asdict(routing)
    further: dict[str, Any] = {}
    if request.variants is not None:
        further["variants"] = asdict(request.variants)
        if request.variants.base == "smoothed":
            del further["variants"]["base"]  # as releases before spell it
    if request.parameter_sigma is not None:
        further["parameter_sigma"] = asdict(request.parameter_sigma)
    return _digest(
        {
            "sigma": noise,
            "alpha": float(params.alpha),
            "n0": params.n0,
            "n": params.n,
            "bound": None if len(request.classifier.class_names) == 2 else params.bound,
            "target_radius": None if params.target_radius is None else float(params.target_radius),
            **further,
            **({} if request.prediction_set is None else {"prediction_set": asdict(request.prediction_set)}),
        }
    )


def _digest(facts: dict[str, Any]) -> str:
    return hashlib.sha256(canonical(facts)).hexdigest()
