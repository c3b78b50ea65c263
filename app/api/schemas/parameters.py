"""The field `parameter_sigma` of POST /certify, as a client spells it."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from certrad.models.types.parameters import LN_WINDOW_WIDTH_SIGMA_RANGE, WINDOW_CENTRE_SIGMA_RANGE

_Centre = Annotated[float, Field(ge=WINDOW_CENTRE_SIGMA_RANGE[0], le=WINDOW_CENTRE_SIGMA_RANGE[1])]
_LnWidth = Annotated[float, Field(ge=LN_WINDOW_WIDTH_SIGMA_RANGE[0], le=LN_WINDOW_WIDTH_SIGMA_RANGE[1])]


class WindowSigma(BaseModel):
    """Standard deviations of the noise on the window: two numbers, and nothing that could follow from a header."""

    model_config = ConfigDict(extra="forbid", strict=True)

    window_centre: _Centre
    ln_window_width: _LnWidth


NoiseOnWindow = Annotated[
    WindowSigma,
    WithJsonSchema(
        {
            "type": "object",
            "properties": {"window_centre": {"type": "number"}, "ln_window_width": {"type": "number"}},
            "required": ["window_centre", "ln_window_width"],
        }
    ),
]
