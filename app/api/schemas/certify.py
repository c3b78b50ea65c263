"""The fields of POST /certify, each checked by itself; `certrad.app.api.defaults` checks them together."""

from collections.abc import Iterable
from typing import Annotated, Any, Final, Literal, TypeVar

from pydantic import (
    BaseModel,
    Discriminator,
    Field,
    Json,
    StringConstraints,
    Tag,
    ValidationError,
    field_validator,
)
from pydantic_core.core_schema import ValidationInfo

from certrad.app.api.problems import InvalidRequest, refusal
from certrad.app.api.schemas.parameters import NoiseOnWindow
from certrad.app.api.schemas.submission import SubmissionForm
from certrad.models.types import Bound, FixedSigma, Region, SamplingParams
from certrad.models.types.calibration import BETA_RANGE
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.smoothing import ALPHA_RANGE, N0_MIN, N_MAX, SIGMA_RANGE, TARGET_DECIMALS, TARGET_MAX
from certrad.models.types.variants import VariantsBase
from certrad.models.types.window import read_window
from certrad.workers.contract.variant_fields import VariantsField

Identifier = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Words = Annotated[str, StringConstraints(min_length=1, max_length=256)]

Sigma = Annotated[
    Annotated[float, Field(ge=SIGMA_RANGE[0], le=SIGMA_RANGE[1]), Tag("number")]
    | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(lambda value: "auto" if value == "auto" else "number"),
]

Form = TypeVar("Form", bound=BaseModel)

_PARAMS: Final = SamplingParams()
_REGION: Final = r"^\d{1,6},\d{1,6},\d{1,6},\d{1,6}$"


class CertifyForm(SubmissionForm):
    """The fields of one request, beside the image."""

    task: Identifier | None = Field(
        None, description="id of GET /tasks; default: the prompt's own, else the installation's", examples=["mednist"]
    )
    classes: Json[list[Words]] | None = Field(
        None,
        description="class names in order, as a JSON list, instead of `task`; needs `template` or a learned prompt",
        examples=['["chest X-ray", "head CT"]'],
    )
    template: Words | None = Field(
        None,
        description="text with one `{}` for the class name; only with `classes`, not with a learned prompt",
        examples=["a photo of {}."],
    )
    backbone: Identifier | None = Field(
        None, description="id of GET /backbones; default: the prompt's or task's own", examples=["demo"]
    )
    prompt: Identifier | None = Field(
        None,
        description="id of GET /prompts, or `template` for the hand-written one; default: the task's",
        examples=["template"],
    )
    adapter: Identifier | None = Field(
        None,
        description="id of GET /adapters: the image encoder adapted to noise; `none` for the frozen one; default: the "
        "prompt's own, else the task's, else `none`",
        examples=["none"],
    )
    adaptation: Literal["none", "zero_shot", "gated"] | None = Field(
        None,
        description="`zero_shot` tunes the prompt on this image: the certificate then covers that frozen prompt only; "
        "`gated` weighs a bank of prompts on each noisy sample, inside what is certified; default: `gated` with a "
        "bank, else the installation's, else `none`",
    )
    adapt_steps: int | None = Field(None, ge=1, le=100, description="optimizer steps; only with `zero_shot`; default 1")
    adapt_samples: int | None = Field(
        None, ge=2, le=1000, description="noisy copies averaged; only with `zero_shot`; default 100"
    )
    adapt_lr: float | None = Field(
        None, ge=1e-6, le=1.0, description="learning rate; only with `zero_shot`; default 0.005"
    )
    context: Literal["words", "tokens"] | None = Field(
        None,
        description="learnable part of a hand-written prompt: as the published code counts, or all of it; only with "
        "`zero_shot`, not with a learned prompt; default `tokens`",
    )
    sigma: Sigma = Field(
        FixedSigma().sigma,
        description="noise standard deviation, pixels in [0, 1]; `auto` chooses one for this image by certified "
        "selection: only for a task with a selector, not together with `target_radius` or `zero_shot`",
    )
    alpha: float = Field(
        _PARAMS.alpha, ge=ALPHA_RANGE[0], le=ALPHA_RANGE[1], description="failure probability of the certificate"
    )
    n0: int = Field(_PARAMS.n0, ge=N0_MIN, le=N_MAX, description="number of samples that choose the class; at most `n`")
    n: int = Field(
        _PARAMS.n,
        ge=N0_MIN,
        le=N_MAX,
        validate_default=True,
        description="number of samples that bound its probability",
    )
    bound: Bound = Field(_PARAMS.bound, description="`two_class` bounds the runner-up too; `cohen` uses 1 - p_A")
    target_radius: float | None = Field(
        None,
        gt=0,
        description="stop as soon as this radius is proved, or cannot be proved with `n` samples; at most 6 sigma and "
        "4 decimals",
        examples=[0.25],
    )
    frame: int | None = Field(
        None, ge=1, description="frame of a multi-frame image, from 1; required if the image has several"
    )
    region: Annotated[str, StringConstraints(pattern=_REGION)] | None = Field(
        None, description="`x,y,w,h` in pixels: the part of the image to classify", examples=["0,0,512,512"]
    )
    window: Annotated[str, StringConstraints(min_length=1, max_length=64)] = Field(
        "file",
        description="window of a grey image: `file` for its own, else the task's preset for its modality; "
        "`CENTRE,WIDTH` in HU, or in other values after the rescale; the name of a preset of the task; or "
        "`percentile` for the 1st to the 99th percentile of its values, without `radius_in_image_units`",
        examples=["40,400"],
    )
    noise_space: NoiseSpace = Field(
        DEFAULT_NOISE_SPACE,
        description="what noise is added to, and the radius is about: `model_input`, after the resize, or `image`, the "
        "rendered image before it: `sigma` and `target_radius` are then in its own pixels of [0, 1], and "
        "`radius_in_image_units` loses nothing to the resize",
    )
    variants: Json[VariantsField] | None = Field(
        None,
        description="other renderings of the same file that are to have the class too, as a JSON list of objects with "
        "a `kind`: `windows` (`windows`: `header`, or a list of `[centre, width]` and presets), `window_box` (`centre` "
        "and `width`: how far the centre may move and the factor of the width, or two pairs of numbers), `shift` "
        "(`pixels`), `jpeg` (`quality`), `bits` (`bits`), `frames` (`frames`) or `region` (`pixels`, `step`); not with "
        "`sigma=auto`, `target_radius`, `zero_shot` or `noise_space=image`",
        examples=['[{"kind": "windows", "windows": "header"}]'],
    )
    variants_base: VariantsBase = Field(
        "smoothed",
        description="what is asked at every variant: `smoothed`, the classifier of the radius, or `unsmoothed`, the "
        "base classifier without noise, one answer each: without radius or probability, and another classifier",
    )
    variant_radius: float | None = Field(
        None,
        ge=0,
        description="L2 radius that is asked for at every variant, at most 3 sigma and 4 decimals; default 0: the "
        "class only",
        examples=[0.125],
    )
    variant_n: int | None = Field(
        None,
        ge=N0_MIN,
        le=N_MAX,
        description="samples of each variant; default: the fewest that can show `variant_radius`",
    )
    parameter_sigma: Json[NoiseOnWindow] | None = Field(
        None,
        description="noise on the window under which the class is to hold too, as a JSON object with the standard "
        "deviations `window_centre` (0.01 to 16,384, in units of the image after the rescale: HU) and "
        "`ln_window_width` (0.001 to 1): fixed numbers, never taken from the header of the image; not with "
        "`sigma=auto`, `target_radius`, `zero_shot`, `noise_space=image` or `variants`",
        examples=['{"window_centre": 50, "ln_window_width": 0.2}'],
    )
    prediction_set: Identifier | None = Field(
        None,
        description="id of GET /calibrations: the certificate then states a list of classes that misses the correct "
        "one at most as often as `beta` says, on images like those of the calibration; not with `sigma=auto`, "
        "`target_radius`, `zero_shot` or `noise_space=image`, nor with `region` or another `window` than the task's",
    )
    beta: float | None = Field(
        None,
        ge=BETA_RANGE[0],
        le=BETA_RANGE[1],
        description="share of images whose list may miss the correct class; at most 4 decimals; default: the "
        "calibration's own",
        examples=[0.05],
    )
    prediction_radius: float | None = Field(
        None,
        ge=0,
        description="L2 norm of the changes of the model input that the list allows for, at most 4 sigma and 4 "
        "decimals; required with `prediction_set`",
        examples=[0.25],
    )
    priority: Literal["normal", "urgent"] = Field("normal", description="`urgent` goes before every normal job")

    deadline: float | None = Field(
        None,
        ge=1,
        le=604_800,
        description="seconds from now after which nobody needs the result: refused at once if the estimate is longer, "
        "and the job fails with `deadline_exceeded` if it has none by then; in no certificate",
        examples=[120],
    )

    @field_validator("n")
    @classmethod
    def _at_least_n0(cls, n: int, info: ValidationInfo) -> int:
        if n < info.data.get("n0", N0_MIN):
            raise ValueError(f"must be at least n0, {info.data['n0']}")
        return n

    @field_validator("target_radius")
    @classmethod
    def _within_reach(cls, target: float | None, info: ValidationInfo) -> float | None:
        if target is None:
            return None
        if round(target, TARGET_DECIMALS) != target:
            raise ValueError(f"must have at most {TARGET_DECIMALS} decimals")
        if (sigma := info.data.get("sigma")) == "auto":
            raise ValueError("is not allowed with `sigma=auto`, which needs a fixed `n`")
        if sigma and target > TARGET_MAX * sigma:
            raise ValueError(f"must be at most {TARGET_MAX:g} sigma, {TARGET_MAX * sigma:g}")
        return target

    @field_validator("region")
    @classmethod
    def _has_pixels(cls, region: str | None) -> str | None:
        if region is not None:
            _rectangle(region)
        return region

    @field_validator("window")
    @classmethod
    def _is_a_window(cls, window: str) -> str:
        read_window(window)
        return window

    @property
    def rectangle(self) -> Region | None:
        """Returns the region as numbers, or None."""
        return None if self.region is None else _rectangle(self.region)

    @property
    def adaptation_options(self) -> dict[str, Any]:
        """Returns the options of zero-shot adaptation that the client sent, by their names in `ZeroShotAdaptation`."""
        given = {"steps": self.adapt_steps, "samples": self.adapt_samples, "lr": self.adapt_lr, "context": self.context}
        return {name: value for name, value in given.items() if value is not None}


def parse(fields: Iterable[tuple[str, str]]) -> CertifyForm:
    """Returns the form with these fields.

    Raises:
        InvalidRequest: A field is wrong.
        Rejected: unknown_field.
    """
    return validate_form(CertifyForm, fields)


def validate_form(form: type[Form], fields: Iterable[tuple[str, str]]) -> Form:
    """Returns a form with these fields, each of which may come once.

    Args:
        form: The class of the form.
        fields: Names and values.

    Raises:
        InvalidRequest: A field is wrong, or comes more than once.
        Rejected: unknown_field.
    """
    given: dict[str, str] = {}
    for name, value in fields:
        if name in given:
            raise InvalidRequest({name: "was sent more than once"})
        given[name] = value
    try:
        return form.model_validate(given)
    except ValidationError as error:
        raise refusal(error.errors(include_url=False, include_input=False)) from None


def _rectangle(region: str) -> Region:
    x, y, w, h = (int(part) for part in region.split(","))
    return Region(x=x, y=y, w=w, h=h)
