"""The JSON of a request in job records and in the API's responses, as every release since the first spells it.

This release reads records of the release before. An Idempotency-Key sent before an upgrade still matches its job after
it, because the digest of a request is that of this JSON.
"""

from dataclasses import asdict, dataclass, field
from typing import Final, Literal

from pydantic import TypeAdapter

from certrad.models.types import (
    AutoSigma,
    CertifyRequest,
    ClassifierSpec,
    FixedSigma,
    Region,
    SamplingParams,
    SigmaRouting,
)
from certrad.models.types.calibration import PredictionSetRequest
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.parameters import ParameterSigma
from certrad.models.types.smoothing import Bound
from certrad.models.types.tuning import TuningRequest
from certrad.models.types.variants import VariantsRequest
from certrad.models.types.window import FileWindow, RequestedWindow

Request = CertifyRequest | TuningRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class SpelledParams:
    """The parameters of a request with its sigma.

    Attributes:
        sigma: Noise standard deviation, pixels in [0, 1]; with `routing` the selector's.
        alpha: See `SamplingParams`.
        n0: See `SamplingParams`.
        n: See `SamplingParams`.
        bound: See `SamplingParams`.
        target_radius: See `SamplingParams`.
    """

    sigma: float = FixedSigma().sigma
    alpha: float = SamplingParams().alpha
    n0: int = SamplingParams().n0
    n: int = SamplingParams().n
    bound: Bound = SamplingParams().bound
    target_radius: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SpelledCertifyRequest:
    """A `CertifyRequest` as JSON has it.

    Attributes:
        classifier: The base classifier, by name.
        params: The parameters, sigma included.
        routing: The selector's levels of sigma; null if the sender fixed sigma.
        task: Id of the task card.
        frame: Frame of a multi-frame image, from 1.
        region: The part of the image to classify.
        urgent: Whether the job goes before every normal one.
        window: The window of a grey image; absent for that of the file where no preset takes its place.
        noise_space: Whether noise is added to the model input or to the rendered image; absent for the model input.
        variants: Renderings of the same file that the certificate is to cover too; absent where there are none.
        parameter_sigma: Noise on the window, under which the class is to hold too; absent where there is none.
        prediction_set: The prediction set that the certificate is to state; absent where there is none.
        kind: Tells requests apart.
    """

    classifier: ClassifierSpec
    params: SpelledParams = SpelledParams()
    routing: SigmaRouting | None = None
    task: str | None = None
    frame: int | None = None
    region: Region | None = None
    urgent: bool = False
    window: RequestedWindow = field(
        default_factory=FileWindow,
        metadata={
            "description": "the window of a grey image; absent for that of the file where no preset takes its place",
            "exclude_if": lambda window: window == FileWindow(),  # as releases before spell it
        },
    )
    noise_space: NoiseSpace = field(
        default=DEFAULT_NOISE_SPACE,
        metadata={
            "description": "what noise is added to: the rendered image, or, where it is absent, the model input",
            "exclude_if": lambda space: space == DEFAULT_NOISE_SPACE,  # as releases before spell it
        },
    )
    variants: VariantsRequest | None = field(
        default=None,
        metadata={
            "description": "renderings of the same file that the certificate is to cover too; absent for none",
            "exclude_if": lambda variants: variants is None,  # as releases before spell it
        },
    )
    parameter_sigma: ParameterSigma | None = field(
        default=None,
        metadata={
            "description": "noise on the window, under which the class is to hold too; absent for none",
            "exclude_if": lambda sigma: sigma is None,  # as releases before spell it
        },
    )
    prediction_set: PredictionSetRequest | None = field(
        default=None,
        metadata={
            "description": "the prediction set that the certificate is to state; absent for none",
            "exclude_if": lambda asked: asked is None,  # as releases before spell it
        },
    )
    kind: Literal["certify"] = "certify"


SpelledRequest = SpelledCertifyRequest | TuningRequest

# Told apart by what they hold, for a record of a version that knew one kind of job names none.
_SPELLED: Final[TypeAdapter[SpelledRequest]] = TypeAdapter(SpelledRequest)


def spell(request: Request) -> SpelledRequest:
    """Returns a request as JSON has it.

    Args:
        request: The request.
    """
    if isinstance(request, TuningRequest):
        return request
    return SpelledCertifyRequest(
        classifier=request.classifier,
        params=SpelledParams(sigma=request.sigma.first, **asdict(request.params)),
        routing=request.sigma.routing if isinstance(request.sigma, AutoSigma) else None,
        task=request.task,
        frame=request.frame,
        region=request.region,
        urgent=request.urgent,
        window=request.window,
        noise_space=request.noise_space,
        variants=request.variants,
        parameter_sigma=request.parameter_sigma,
        prediction_set=request.prediction_set,
    )


def write_request(request: Request) -> bytes:
    """Returns the JSON of a request.

    Args:
        request: The request.
    """
    return _SPELLED.dump_json(spell(request))


def read_request(content: bytes) -> Request:
    """Returns the request that `write_request` wrote, in this release or an earlier one.

    Args:
        content: JSON.

    Raises:
        ValueError: It is not the JSON of a request, or a value is out of range.
    """
    spelled = _SPELLED.validate_json(content)
    if isinstance(spelled, TuningRequest):
        return spelled
    params = spelled.params
    sigma = FixedSigma(params.sigma) if spelled.routing is None else AutoSigma(spelled.routing)
    if sigma.first != params.sigma:
        raise ValueError(f"with routing sigma must be the selector's, {sigma.first!r}, got {params.sigma!r}")
    return CertifyRequest(
        classifier=spelled.classifier,
        sigma=sigma,
        params=SamplingParams(
            alpha=params.alpha, n0=params.n0, n=params.n, bound=params.bound, target_radius=params.target_radius
        ),
        task=spelled.task,
        frame=spelled.frame,
        region=spelled.region,
        urgent=spelled.urgent,
        window=spelled.window,
        noise_space=spelled.noise_space,
        variants=spelled.variants,
        parameter_sigma=spelled.parameter_sigma,
        prediction_set=spelled.prediction_set,
    )
