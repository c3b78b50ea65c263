"""Invented calibrations, and documents with prediction sets that follow from them."""

import hashlib
from dataclasses import replace
from typing import Final

from certrad.models.certificates.calibration_card import write_calibration
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import document
from certrad.models.certificates.facts import Facts
from certrad.models.certificates.signature import sign
from certrad.models.prediction_sets.evidence import find_prediction_set
from certrad.models.types import SmoothingParams
from certrad.models.types.calibration import CalibrationCard, InstalledCalibration, PredictionSetRequest
from certrad.models.types.tuned_on import EpochDigests
from tests.support.certificates import EPOCH_SECRET, ISSUER, Case, answered

COUNTS: Final = tuple((*range(60, 100), *[100] * 20) for _ in range(3))
"""Counts of 60 calibration images of each of three classes, of 100 samples each."""

STORED_SET: Final = Case(probabilities=(0.97, 0.02, 0.01), params=SmoothingParams(sigma=0.5, n0=20, n=120, alpha=0.01))
"""The case of the stored document with a prediction set."""


def card_of(case: Case, counts: tuple[tuple[int, ...], ...] = COUNTS) -> CalibrationCard:
    """Returns the card of a calibration of the classifier of a case."""
    made, spec = _made(case), case.request.classifier
    images = sum(map(len, counts))
    digests = [hashlib.sha256(f"calibration image {number}".encode()).hexdigest() for number in range(images)]
    assert made.noise.classifier_sha256 is not None
    return CalibrationCard(
        name="ward-3",
        site="scanner A",
        made="2026-05-01",
        task="mednist",
        class_names=spec.class_names,
        backbone=spec.backbone,
        prompt=spec.prompt,
        adapter=spec.adapter,
        classifier_sha256=made.noise.classifier_sha256,
        dtype=made.classifier.dtype,
        law=made.noise.law,
        sigma=case.params.sigma,
        n=100,
        per_class=True,
        slope=1.1,
        constant=0.0005,
        beta=0.05,
        poisoned_at_most=0,
        counts=counts,
        seen=EpochDigests.of(EPOCH_SECRET, digests),
        labels_sha256=hashlib.sha256(b"labels").hexdigest(),
    )


def installed(
    case: Case, counts: tuple[tuple[int, ...], ...] = COUNTS, *, pooled: bool = False, poisoned: int = 0
) -> InstalledCalibration:
    """Returns the signed calibration of the classifier of a case."""
    return write_calibration(replace(card_of(case, counts), per_class=not pooled, poisoned_at_most=poisoned), ISSUER)


def facts_with_set(
    case: Case,
    calibration: InstalledCalibration,
    *,
    beta: float = 0.1,
    radius: float = 0.25,
    counted: CalibrationCard | None = None,
) -> Facts:
    """Returns the facts of a case with a prediction set; `counted` is what its quantiles are taken from, if another."""
    asked = PredictionSetRequest(calibration=calibration.id, sha256=calibration.sha256, beta=beta, radius=radius)
    made = _made(case, asked)
    counts = made.evidence.estimation
    found = find_prediction_set(asked, counted or calibration.card, counts.per_class, counts.total)
    return replace(made, prediction_set=found)


def genuine_set(case: Case, calibration: InstalledCalibration, *, counted: CalibrationCard | None = None) -> bytes:
    """Returns the signed document of a case with a prediction set."""
    return canonical(sign(document(facts_with_set(case, calibration, counted=counted)), ISSUER))


def _made(case: Case, asked: PredictionSetRequest | None = None) -> Facts:
    pixels = hashlib.sha256(repr(case).encode()).hexdigest()
    return answered(replace(case.request, prediction_set=asked), case.probabilities, pixels_sha256=pixels)
