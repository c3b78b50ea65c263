"""Fills in what a request says about noise on the window."""

from certrad.app.api.problems import InvalidRequest
from certrad.app.api.schemas.certify import CertifyForm
from certrad.models.types import ZeroShotAdaptation
from certrad.models.types.parameters import ParameterSigma
from certrad.models.types.request import Adaptation


def requested_parameters(form: CertifyForm, adaptation: Adaptation | None) -> ParameterSigma | None:
    """Returns the noise on the window that a form asks for; None for none.

    Args:
        form: The fields that the client sent.
        adaptation: The adaptation of the prompt.

    Raises:
        InvalidRequest: Another field excludes it.
    """
    asked = form.parameter_sigma
    if asked is None:
        return None
    reasons = {
        "`sigma=auto`": form.sigma == "auto",
        "`target_radius`": form.target_radius is not None,
        "`adaptation=zero_shot`": isinstance(adaptation, ZeroShotAdaptation),
        "`noise_space=image`": form.noise_space == "image",
        "`variants`": form.variants is not None,
        "`window=percentile`": form.window == "percentile",
    }
    for name, holds in reasons.items():
        if holds:
            raise InvalidRequest({"parameter_sigma": f"must not be sent together with {name}"})
    return ParameterSigma(window_centre=asked.window_centre, ln_window_width=asked.ln_window_width)
