"""The result of a certification in a job; the API's schema and the JSON in Redis derive from it."""

from dataclasses import dataclass, field
from typing import Any, Final, Literal

from certrad.models.types.applied_window import AppliedWindow
from certrad.models.types.calibration import PredictionSetResult
from certrad.models.types.identity import ClassifierIdentity, NoiseIdentity
from certrad.models.types.image import ImageRadius, ImageWarning, NoImageRadius
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.parameter_result import ParametersResult
from certrad.models.types.renderings import Rendering
from certrad.models.types.routing_summary import RoutingSummary
from certrad.models.types.smoothing import AbstentionReason, Bound, Decision, Scope
from certrad.models.types.variants import VariantsBase
from certrad.models.types.window_boxes import BoxNumbers

AdaptationName = Literal["none", "zero_shot", "gated"]
WarningCode = ImageWarning | Literal["prompt_noise_space", "backbone_note"]

STRICT: Final = {"extra": "forbid"}
"""Pydantic configuration of results: unknown fields are errors."""


def _doc(description: str, *examples: object) -> dict[str, Any]:
    """Returns the metadata of a field, which the API's schema shows."""
    return {"description": description, **({"examples": list(examples)} if examples else {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultWarning:
    """What a reader must know before the radius.

    Attributes:
        code: What it is about; `backbone_note` is a remark of the backbone's card, `prompt_noise_space` says that the
            prompt was tuned under noise on something else.
        message: The same as sentences.
    """

    code: WarningCode = field(metadata=_doc("what it is about; `backbone_note` is a remark of the backbone's card"))
    message: str = field(metadata=_doc("the same as sentences; to be shown above the radius"))


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantResult:
    """What the samples of one variant show.

    Attributes:
        rendering: Which rendering of the file it is.
        name: The same in words.
        label: The most frequent answer of its samples; `no class` where that is none.
        samples: Its samples.
        agreeing: Those with the class of the certificate.
        p_a_lower: Lower bound of that class's probability.
        p_b_upper: Upper bound of every other class's probability.
        radius: The L2 radius that follows; 0 where the class is not shown.
        input_sha256: SHA-256 of its model input.
    """

    rendering: Rendering
    name: str
    label: str
    samples: int
    agreeing: int
    p_a_lower: float
    p_b_upper: float
    radius: float
    input_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantsResult:
    """What all variants show together.

    Attributes:
        held: Whether every variant has the class with the radius that was asked for; None where the result abstains.
        tried: How many variants were sampled.
        radius: The smallest radius of them. Radii of single variants are data, and no claims of their own.
        asked_radius: The radius that was asked for.
        counterexample: The variant that shows least; None where all held.
        rows: The variants, in the order of the request.
        text: The claim in words; to be shown wherever `held` is.
        base: Whether the smoothed classifier was asked, or the base classifier without noise, which has no radius and
            no bounds; absent in JSON for the first.
        boxes: The boxes of windows among what was asked for, in order; absent in JSON where there are none.
    """

    held: bool | None
    tried: int
    radius: float
    asked_radius: float
    counterexample: VariantResult | None
    rows: tuple[VariantResult, ...]
    text: str
    base: VariantsBase = field(default="smoothed", metadata={"exclude_if": lambda base: base == "smoothed"})
    boxes: tuple[BoxNumbers, ...] = field(default=(), metadata={"exclude_if": lambda boxes: not boxes})

    @property
    def samples(self) -> int:
        """Returns the samples of all variants together."""
        return sum(row.samples for row in self.rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The origin of a result: model input, classifier, noise and software.

    Attributes:
        input_shape: (channels, height, width) of the model input.
        classifier: The base classifier, by digest.
        noise: What the noise can be drawn again from.
        software: Name -> version, with the digest of the code.
    """

    input_shape: tuple[int, int, int]
    classifier: ClassifierIdentity
    noise: NoiseIdentity
    software: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ResultFacts:
    """The common fields of a certificate and an abstention; used by `CertifiedResult` and `AbstainedResult` only.

    Attributes:
        scope: What the certificate covers.
        scope_text: The scope in words.
        sigma: Noise standard deviation, pixels in [0, 1].
        alpha: Failure probability of the certificate.
        n0: Selection samples.
        n: Estimation samples at most.
        bound: How the runner-up is bounded.
        target_radius: The radius at which sampling stops.
        decision: The rule that decided.
        samples_used: Selection and estimation samples together.
        p_a_lower: Lower bound of the class's probability.
        p_b_upper: Upper bound of every other class's probability.
        counts: Estimation samples of each class.
        invalid: Estimation samples without finite logits.
        class_names: The names of the classes, in order.
        rejection_index: The place of the extra class of a bank among them; None where it has none.
        prompt: Id of the prompt, or `template`.
        adaptation: How the prompt was adapted.
        backbone: Id of the backbone.
        adapter: Id of the adapter of its image tower; None for the frozen tower.
        noise_space: What noise was added to: sigma and radius are those of that image.
        pixels_sha256: SHA-256 of the decoded pixels.
        input_sha256: SHA-256 of the model input.
        radius_in_image_units: The radius on the image that was sent.
        routing: The automatic choice of sigma, None for a sigma of the sender's.
        variants: What other renderings of the same file show; None where none were asked for.
        parameters: What noise on the window shows; None where none was asked for.
        prediction_set: A list of classes with a promised share of misses; None where none was asked for.
        warnings: What the reader must know before the radius.
        window: The window that was applied to the image; None where an earlier release decoded it.
        provenance: What computed it.
        timing: Name -> seconds of this run.
    """

    scope: Scope
    scope_text: str = field(metadata=_doc("the scope in words; to be shown wherever the radius is"))
    sigma: float = field(metadata=_doc("of the selected route where `auto` was asked for", 0.25))
    alpha: float = field(metadata=_doc("failure probability of the certificate", 0.001))
    n0: int = field(metadata=_doc("samples that chose the class", 100))
    n: int = field(metadata=_doc("samples, at most, that bound its probability", 10_000))
    bound: Bound
    target_radius: float | None = None
    decision: Decision = field(
        default_factory=Decision, metadata=_doc("the rule that decided, and when it could look at the samples")
    )
    samples_used: int = field(metadata=_doc("selection and estimation samples together", 10_100))
    p_a_lower: float = field(metadata=_doc("lower bound of the class's probability under noise", 0.986321))
    p_b_upper: float = field(metadata=_doc("upper bound of every other class's probability under noise", 0.011873))
    counts: tuple[int, ...] = field(metadata=_doc("estimation samples per class", [3, 0, 9901, 90, 0, 6]))
    invalid: int = field(metadata=_doc("samples without finite logits"))
    class_names: tuple[str, ...]
    prompt: str
    adaptation: AdaptationName
    backbone: str
    pixels_sha256: str
    input_sha256: str
    radius_in_image_units: ImageRadius | NoImageRadius = field(
        metadata=_doc("the radius on the image that was sent, in its own units; or `value` null and the `reason`")
    )
    routing: RoutingSummary | None = field(
        default=None,
        metadata=_doc("only with `sigma=auto`: the selected route, and what each outcome limits the radius to"),
    )
    warnings: tuple[ResultWarning, ...] = field(metadata=_doc("to be shown above the radius, wherever it is shown"))
    window: AppliedWindow | None = field(
        default=None,
        metadata=_doc("the window that was applied to the image; null where an earlier release decoded it"),
    )
    adapter: str | None = field(
        default=None, metadata=_doc("id of the adapter of the image encoder; null for the frozen encoder")
    )
    noise_space: NoiseSpace = field(
        default=DEFAULT_NOISE_SPACE,
        metadata=_doc(
            "what noise was added to, and `radius` is about: the model input, or the rendered image before the resize"
        ),
    )
    variants: VariantsResult | None = field(
        default=None,
        metadata=_doc("only with `variants`: whether other renderings of the same file have the class too"),
    )
    parameters: ParametersResult | None = field(
        default=None, metadata=_doc("only with `parameter_sigma`: what noise on the window shows of the class")
    )
    prediction_set: PredictionSetResult | None = field(
        default=None,
        metadata=_doc("only with `prediction_set`: the classes of a list that misses at most a promised share"),
    )
    rejection_index: int | None = field(
        default=None,
        metadata=_doc(
            "place among `class_names` of the extra class of a bank, `unlike the images this model was tuned on`; null "
            "where the classifier has none. A result of this class names nothing that the image shows"
        ),
    )
    provenance: Provenance
    timing: dict[str, float] = field(metadata=_doc("seconds of this run"))

    @property
    def samples_drawn(self) -> int:
        """Returns every sample that was drawn for the result, those of variants and of noise on the window included."""
        further = (self.variants, self.parameters)
        return self.samples_used + sum(each.samples for each in further if each is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedResult(ResultFacts):
    """A class with its certified radius. A certificate says nothing about whether the class is right.

    Attributes:
        outcome: Always `certified`.
        label: The name of the class.
        class_index: The class, from 0.
        radius: L2 radius on what noise was added to, with pixels in [0, 1].
        target_reached: Whether the radius is at least the target radius; None, and absent in JSON, without a target.
    """

    __pydantic_config__ = STRICT

    outcome: Literal["certified"] = "certified"
    label: str = field(metadata=_doc("the certified class", "chest X-ray"))
    class_index: int = field(metadata=_doc("its place among `class_names`, from 0", 2))
    radius: float = field(
        metadata=_doc(
            "no change of smaller L2 norm of what noise was added to (pixels in [0, 1]) changes the class", 0.5513
        )
    )
    target_reached: bool | None = field(
        default=None,
        metadata={
            **_doc("whether the radius is at least `target_radius`; only where one was asked for"),
            "exclude_if": lambda reached: reached is None,
        },
    )

    @property
    def unlike(self) -> bool:
        """Returns whether the class is the extra one of a bank, which names nothing that the image shows."""
        return self.class_index == self.rejection_index


@dataclass(frozen=True, slots=True, kw_only=True)
class AbstainedResult(ResultFacts):
    """No class and no radius: the samples do not show one.

    Attributes:
        outcome: Always `abstained`.
        label: Always None: nobody takes an abstention for a class by a default of their own.
        class_index: Always None.
        radius: Always None.
        reason: Why there is no class.
    """

    __pydantic_config__ = STRICT

    outcome: Literal["abstained"] = "abstained"
    label: None = field(default=None, metadata=_doc("null: no class is certified"))
    class_index: None = field(default=None, metadata=_doc("null: no class is certified"))
    radius: None = field(default=None, metadata=_doc("null: no radius is certified"))
    reason: AbstentionReason = field(metadata=_doc("why there is no class"))


CertificationResult = CertifiedResult | AbstainedResult
