"""The prediction set of one job: the calibration that it names, checked before sampling, and the set that follows."""

import hashlib

from certrad.models.certificates.calibration_card import read_calibration
from certrad.models.certificates.noise_key import classifier_digest
from certrad.models.errors import Rejected
from certrad.models.prediction_sets.evidence import find_prediction_set
from certrad.models.types import CertifyRequest, TaskCard
from certrad.models.types.calibration import CalibrationCard, PredictionSetEvidence
from certrad.models.types.evidence import Evidence
from certrad.models.types.window import FileWindow
from certrad.workers.contract.calibrations import Calibrations
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.job_setup import LabellingSetup
from certrad.workers.engine.runtime import Runtime


def job_calibration(given: CertificationInput, setup: LabellingSetup, runtime: Runtime) -> CalibrationCard | None:
    """Returns the calibration that a job names; None where it names none.

    Args:
        given: The request and its image.
        setup: What this engine labels the samples of the job with.
        runtime: The state of the engine process.

    Raises:
        Rejected: calibration_not_found; calibration_mismatch, where it is of another classifier or other noise;
            image_was_calibrated_on; engine_mismatch, where this engine lacks the secret that names its images.
    """
    if (asked := given.request.prediction_set) is None:
        return None
    installed = Calibrations(runtime.redis).get(asked.calibration)
    if installed is None or hashlib.sha256(installed.document.encode()).hexdigest() != asked.sha256:
        raise Rejected("calibration_not_found", f"the calibration {asked.calibration!r} is not published any more")
    card = read_calibration(installed.document.encode()).card
    _require_same(card, given.request, setup, runtime.catalogue.tasks().get(card.task))
    _require_unseen(card, given.image.input_sha256, runtime)
    return card


def prediction_set_of(
    request: CertifyRequest, evidence: Evidence, card: CalibrationCard | None
) -> PredictionSetEvidence | None:
    """Returns the prediction set of an image, from the estimation samples of its certificate; None for none.

    The samples that chose the class have no part in it: theirs is another number n.

    Args:
        request: Names the share of misses and the radius.
        evidence: The samples.
        card: The calibration.
    """
    if request.prediction_set is None or card is None:
        return None
    counts = evidence.estimation
    return find_prediction_set(request.prediction_set, card, counts.per_class, counts.total)


def _require_same(card: CalibrationCard, request: CertifyRequest, setup: LabellingSetup, task: TaskCard | None) -> None:
    facts = {
        "sigma": (card.sigma, request.sigma.first),
        "classes": (card.class_names, request.classifier.class_names),
        "precision": (card.dtype, setup.parts.dtype),
        "noise law": (card.law, setup.parts.law),
        "classifier": (card.classifier_sha256, classifier_digest(setup.parts)),
        "window": (None if task is None else FileWindow.of_task(task.windows), request.window),
        "region": (None, request.region),
    }
    if others := [name for name, (made, given) in facts.items() if made != given]:
        raise Rejected("calibration_mismatch", f"the calibration was made with another {', '.join(others)}")


def _require_unseen(card: CalibrationCard, input_sha256: str, runtime: Runtime) -> None:
    if (epoch := runtime.epochs.named(card.seen.epoch_sha256)) is None:
        raise Rejected(
            "engine_mismatch",
            f"the images of the calibration are recorded under epoch secret {card.seen.epoch_sha256}, which this "
            "engine does not have: copy the secrets of the machine that made it",
        )
    if card.seen.includes(epoch.secret, input_sha256):
        raise Rejected("image_was_calibrated_on", "the model input is one that the calibration was made from")
