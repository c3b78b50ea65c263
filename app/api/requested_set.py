"""Fills in what a request says about a prediction set."""

from certrad.app.api.problems import InvalidRequest
from certrad.app.api.schemas.certify import CertifyForm
from certrad.models.errors import Rejected
from certrad.models.types import CertifyRequest, TaskCard
from certrad.models.types.calibration import (
    SET_DECIMALS,
    SET_RATIO_MAX,
    CalibrationCard,
    PredictionSetRequest,
    check_beta,
)
from certrad.models.types.window import FileWindow
from certrad.workers.contract.catalogue import Catalogue


def requested_set(form: CertifyForm, request: CertifyRequest, catalogue: Catalogue) -> PredictionSetRequest | None:
    """Returns the prediction set that a form asks for; None for none.

    What only an engine knows, the precision and the noise law, is compared before sampling.

    Args:
        form: The fields that the client sent.
        request: The request without a prediction set.
        catalogue: The calibrations that a request may name, and their tasks.

    Raises:
        InvalidRequest: The fields do not go together.
        Rejected: calibration_not_found, calibration_mismatch.
    """
    if form.prediction_set is None:
        stray = [name for name in ("beta", "prediction_radius") if getattr(form, name) is not None]
        if stray:
            raise InvalidRequest(dict.fromkeys(stray, "is allowed only with `prediction_set`"))
        return None
    if form.prediction_radius is None:
        raise InvalidRequest({"prediction_radius": "must be sent with `prediction_set`; 0 for images as they are"})
    sigma = _fixed_sigma(form)
    installed = catalogue.calibrations.get(form.prediction_set)
    if installed is None:
        raise Rejected("calibration_not_found", "`prediction_set` must be an id of GET /calibrations")
    _require_same(installed.card, request, sigma, catalogue.tasks().get(installed.card.task))
    beta = installed.card.beta if form.beta is None else form.beta
    try:
        check_beta(beta)
    except ValueError as error:
        raise InvalidRequest({"beta": str(error)}) from None
    radius = form.prediction_radius
    if radius > SET_RATIO_MAX * sigma or round(radius, SET_DECIMALS) != radius:
        most = f"{SET_RATIO_MAX:g} sigma, {SET_RATIO_MAX * sigma:g}"
        raise InvalidRequest({"prediction_radius": f"must be at most {most}, with at most {SET_DECIMALS} decimals"})
    return PredictionSetRequest(
        calibration=installed.id,
        sha256=installed.sha256,
        beta=beta,
        radius=radius + 0.0,  # makes 0.0 of -0.0
    )


def _fixed_sigma(form: CertifyForm) -> float:
    """Returns the sigma of a request with a prediction set.

    Raises:
        InvalidRequest: Another field excludes prediction sets.
    """
    reasons = {
        "`sigma=auto`": form.sigma == "auto",
        "`target_radius`": form.target_radius is not None,
        "`adaptation=zero_shot`": form.adaptation == "zero_shot",
        "`noise_space=image`": form.noise_space == "image",
    }
    if form.sigma == "auto" or any(reasons.values()):
        excluded = next(name for name, holds in reasons.items() if holds)
        raise InvalidRequest({"prediction_set": f"must not be sent together with {excluded}"})
    return form.sigma


def _require_same(card: CalibrationCard, request: CertifyRequest, sigma: float, task: TaskCard | None) -> None:
    spec = request.classifier
    facts = {
        "sigma": (card.sigma, sigma),
        "backbone": (card.backbone, spec.backbone),
        "adapter": (card.adapter, spec.adapter),
        "prompt": (card.prompt, spec.prompt),
        "classes": (card.class_names, spec.class_names),
        "window": (None if task is None else FileWindow.of_task(task.windows), request.window),
        "region": (None, request.region),
    }
    if others := [name for name, (made, given) in facts.items() if made != given]:
        raise Rejected("calibration_mismatch", f"the calibration was made with another {', '.join(others)}")
