"""The claims of a certificate document, each tagged with its kind.

A later version adds kinds; the meaning of one that is here must not change, because documents are stored and are
verified for years. A reader refuses a kind that it does not know.
"""

from dataclasses import dataclass, fields
from typing import Any, Literal, TypeVar

from certrad.models.certificates.prediction_sets import StatedPredictionSet
from certrad.models.certificates.stated_parameters import StatedParameters
from certrad.models.certificates.stated_samples import StatedSamples, StatedVariant, StatedVariants
from certrad.models.certificates.statement import (
    SelectorShares,
    StatedAbstention,
    StatedCertificate,
    StatedOutcome,
    StatedRouting,
)
from certrad.models.certificates.unsmoothed import StatedAnswer, StatedUnsmoothed
from certrad.models.types import AbstentionReason, LabelCounts
from certrad.models.types.image import Factors, ImageRadius, ImageRegion, NoImageRadius, PixelBudget, Unit
from certrad.models.types.parameters import ParameterLimits, ParameterSigma
from certrad.models.types.routing import SigmaRouting
from certrad.models.types.variant_lists import VariantList


@dataclass(frozen=True, slots=True, kw_only=True)
class RadiusClaim:
    """A class with its L2 radius on the model input; see `StatedCertificate`."""

    kind: Literal["l2_radius/1"] = "l2_radius/1"
    class_index: int
    label: str
    radius: float
    p_a_lower: float
    p_b_upper: float
    target_reached: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RenderedRadiusClaim:
    """A class with its L2 radius on the rendered image, before it is resized; see `StatedCertificate`."""

    kind: Literal["l2_rendered_radius/1"] = "l2_rendered_radius/1"
    class_index: int
    label: str
    radius: float
    p_a_lower: float
    p_b_upper: float
    target_reached: bool | None


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstentionClaim:
    """No class and no radius; see `StatedAbstention`."""

    kind: Literal["abstention/1"] = "abstention/1"
    reason: AbstentionReason
    p_a_lower: float
    p_b_upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class SigmaClaim:
    """The radius covers an automatic choice of sigma; see `StatedRouting`."""

    kind: Literal["selected_sigma/1"] = "selected_sigma/1"
    settings: SigmaRouting
    alpha_split: SelectorShares
    route: int
    selection: LabelCounts
    estimation: StatedSamples
    outcomes: tuple[StatedOutcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageRadiusClaim:
    """The radius on the image that was sent; see `ImageRadius`."""

    kind: Literal["image_radius/1"] = "image_radius/1"
    l2: float
    unit: Unit
    uniform_change: float
    pixels: tuple[PixelBudget, ...]
    region: ImageRegion
    factors: Factors
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoImageRadiusClaim:
    """There is no radius on the image that was sent, for this reason."""

    kind: Literal["no_image_radius/1"] = "no_image_radius/1"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsClaim:
    """One class for every listed rendering of the file; see `StatedVariants`."""

    kind: Literal["variants/1"] = "variants/1"
    rule: Literal["minimum"]
    lists: tuple[VariantList, ...]
    asked_radius: float
    n: int
    class_index: int | None
    held: bool | None
    radius: float
    counterexample: int | None
    rows: tuple[StatedVariant, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnsmoothedClaim:
    """The answers of the base classifier, without noise, for every listed rendering; see `StatedUnsmoothed`."""

    kind: Literal["unsmoothed_variants/1"] = "unsmoothed_variants/1"
    lists: tuple[VariantList, ...]
    class_index: int | None
    held: bool | None
    counterexample: int | None
    per_class: tuple[int, ...]
    invalid: int
    rows: tuple[StatedAnswer, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParametersClaim:
    """One class for every window near that of the file, under noise on the window; see `StatedParameters`."""

    kind: Literal["parameters/1"] = "parameters/1"
    sigma: ParameterSigma
    lattice: Literal["1/64"]
    centre: float
    width: float
    values_sha256: str
    key: str | None
    class_index: int | None
    estimation: StatedSamples | None
    p_a_lower: float
    p_b_upper: float
    reach: float
    limits: tuple[ParameterLimits, ...]
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionSetClaim(StatedPredictionSet):
    """A list of classes that misses the correct one at most as often as promised; see `StatedPredictionSet`."""

    kind: Literal["prediction_set/1"] = "prediction_set/1"


Outcome = RadiusClaim | RenderedRadiusClaim | AbstentionClaim
Further = VariantsClaim | UnsmoothedClaim | ParametersClaim | PredictionSetClaim
_FurtherT = TypeVar("_FurtherT", bound=Further)
Claim = Outcome | SigmaClaim | ImageRadiusClaim | NoImageRadiusClaim | Further


@dataclass(frozen=True, slots=True, kw_only=True)
class Claims:
    """The claims of a document by what they say: one of each kind at most, in this order.

    Attributes:
        outcome: The class with its radius, or the abstention.
        routing: The automatic choice of sigma; None for a sigma of the sender's.
        image_radius: The radius on the image that was sent, or why there is none.
        rendered: Whether the radius of the outcome is one on the rendered image. An abstention has none.
        variants: Other renderings of the file that have the class too; None where none were asked for.
        unsmoothed: The answers for them without noise; None where these were not asked for.
        parameters: The same class under noise on the window; None where none was asked for.
        prediction_set: A list of classes with a promised share of misses; None where none was asked for.
    """

    outcome: StatedCertificate | StatedAbstention
    routing: StatedRouting | None
    image_radius: ImageRadius | NoImageRadius
    rendered: bool = False
    variants: StatedVariants | None = None
    unsmoothed: StatedUnsmoothed | None = None
    parameters: StatedParameters | None = None
    prediction_set: StatedPredictionSet | None = None


def write_claims(claims: Claims) -> tuple[Claim, ...]:
    """Returns claims as a document lists them.

    Args:
        claims: The claims.
    """
    match claims.outcome:
        case StatedCertificate() as certificate:
            stated = _without(certificate, "outcome")
            outcome: Claim = RenderedRadiusClaim(**stated) if claims.rendered else RadiusClaim(**stated)
        case StatedAbstention() as abstention:
            outcome = AbstentionClaim(**_without(abstention, "outcome"))
    match claims.image_radius:
        case ImageRadius() as radius:
            on_image: Claim = ImageRadiusClaim(**_without(radius))
        case NoImageRadius(reason=reason):
            on_image = NoImageRadiusClaim(reason=reason)
    routing = () if claims.routing is None else (SigmaClaim(**_without(claims.routing)),)
    variants = () if claims.variants is None else (VariantsClaim(**_without(claims.variants)),)
    unsmoothed = () if claims.unsmoothed is None else (UnsmoothedClaim(**_without(claims.unsmoothed)),)
    parameters = () if claims.parameters is None else (ParametersClaim(**_without(claims.parameters)),)
    of_set = () if claims.prediction_set is None else (PredictionSetClaim(**_without(claims.prediction_set)),)
    return (outcome, *routing, on_image, *variants, *unsmoothed, *parameters, *of_set)


def read_claims(listed: tuple[Claim, ...]) -> Claims:
    """Returns claims by what they say.

    Args:
        listed: The claims as a document lists them.

    Raises:
        ValueError: A claim is missing, is there twice, or is not in its place.
    """
    left, of_set = _split(listed, PredictionSetClaim)
    left, parameters = _split(left, ParametersClaim)
    left, unsmoothed = _split(left, UnsmoothedClaim)
    others, variants = _split(left, VariantsClaim)
    match others:
        case (
            RadiusClaim() | RenderedRadiusClaim() | AbstentionClaim() as outcome,
            ImageRadiusClaim() | NoImageRadiusClaim() as on_image,
        ):
            routing = None
        case (
            RadiusClaim() | RenderedRadiusClaim() | AbstentionClaim() as outcome,
            SigmaClaim() as selected,
            ImageRadiusClaim() | NoImageRadiusClaim() as on_image,
        ):
            routing = StatedRouting(**_without(selected, "kind"))
        case _:
            kinds = ", ".join(claim.kind for claim in listed)
            raise ValueError(
                "claims must be the outcome, the choice of sigma if any, the image radius, variants if any, parameters "
                f"if any, a prediction set if any; got {kinds}"
            )
    return Claims(
        outcome=_outcome(outcome),
        routing=routing,
        image_radius=_image_radius(on_image),
        rendered=isinstance(outcome, RenderedRadiusClaim),
        variants=None if variants is None else StatedVariants(**_without(variants, "kind")),
        unsmoothed=None if unsmoothed is None else StatedUnsmoothed(**_without(unsmoothed, "kind")),
        parameters=None if parameters is None else StatedParameters(**_without(parameters, "kind")),
        prediction_set=None if of_set is None else StatedPredictionSet(**_without(of_set, "kind")),
    )


def _split(listed: tuple[Claim, ...], kind: type[_FurtherT]) -> tuple[tuple[Claim, ...], _FurtherT | None]:
    """Returns the claims before the last one, and the last one, if it is of a kind; else all of them, and None."""
    if listed and isinstance(listed[-1], kind):
        return listed[:-1], listed[-1]
    return listed, None


def _outcome(claim: Outcome) -> StatedCertificate | StatedAbstention:
    if isinstance(claim, AbstentionClaim):
        return StatedAbstention(outcome="abstained", **_without(claim, "kind"))
    return StatedCertificate(outcome="certified", **_without(claim, "kind"))


def _image_radius(claim: ImageRadiusClaim | NoImageRadiusClaim) -> ImageRadius | NoImageRadius:
    if isinstance(claim, ImageRadiusClaim):
        return ImageRadius(**_without(claim, "kind"))
    return NoImageRadius(reason=claim.reason)


def _without(
    stated: Claim
    | StatedCertificate
    | StatedAbstention
    | StatedRouting
    | ImageRadius
    | StatedVariants
    | StatedUnsmoothed
    | StatedParameters
    | StatedPredictionSet,
    *names: str,
) -> dict[str, Any]:
    """Returns the other fields by name, their values as they are."""
    return {field.name: getattr(stated, field.name) for field in fields(stated) if field.name not in names}
