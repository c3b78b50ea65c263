"""What a certificate document states, as types, in whichever schema it is written."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from certrad.models.certificates.prediction_sets import StatedPredictionSet
from certrad.models.certificates.stated_parameters import StatedParameters
from certrad.models.certificates.stated_samples import StatedSamples, StatedVariants
from certrad.models.certificates.unsmoothed import StatedUnsmoothed
from certrad.models.types import (
    AbstentionReason,
    AlphaSplit,
    AutoSigma,
    Bound,
    CertifyRequest,
    ClassifierSpec,
    Decision,
    FixedSigma,
    LabelCounts,
    SamplingParams,
    Scope,
)
from certrad.models.types.applied_window import UnroundedWindow, requested_window
from certrad.models.types.identity import ClassifierIdentity, NoiseIdentity, Subject
from certrad.models.types.image import ImageRadius, NoImageRadius
from certrad.models.types.rejection import UNLIKE
from certrad.models.types.renderings import WindowVariant
from certrad.models.types.routing import SigmaRouting
from certrad.models.types.variants import VariantsRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedCertificate:
    """A class with its radius.

    Attributes:
        outcome: Always `certified`.
        class_index: The class, from 0.
        label: Its name.
        radius: L2 radius on what noise is added to, with pixels in [0, 1].
        p_a_lower: Lower bound of its probability.
        p_b_upper: Upper bound of every other class's probability.
        target_reached: Whether the radius is at least the target; None without a target.
    """

    outcome: Literal["certified"]
    class_index: int
    label: str
    radius: float
    p_a_lower: float
    p_b_upper: float
    target_reached: bool | None = None

    @property
    def unlike(self) -> bool:
        """Returns whether the class is the extra one of a bank, which names nothing that the image shows."""
        return self.label == UNLIKE


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedAbstention:
    """No class and no radius.

    Attributes:
        outcome: Always `abstained`.
        reason: Why there is no class.
        p_a_lower: Lower bound of the selected class's probability.
        p_b_upper: Upper bound of every other class's probability.
    """

    outcome: Literal["abstained"]
    reason: AbstentionReason
    p_a_lower: float
    p_b_upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedParams:
    """The parameters, and what follows from them.

    Attributes:
        sigma: Noise standard deviation; with routing that of the selected route.
        alpha: Failure probability.
        n0: Selection samples.
        n: Estimation samples at most.
        bound: How the runner-up is bounded.
        target_radius: The radius at which sampling stops.
        eta: Bound on the total variation of one noise draw.
        alpha_split: The shares of alpha for the class.
        formula: How the numbers follow from the labels, in words.
    """

    sigma: float
    alpha: float
    n0: int
    n: int
    bound: Bound
    target_radius: float | None
    eta: float
    alpha_split: AlphaSplit
    formula: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedOutcome:
    """One outcome of the selector of an automatic sigma.

    Attributes:
        sigma: Noise standard deviation of the route; None for `invalid`.
        p_a_lower: See `RouteBounds`.
        p_b_upper: See `RouteBounds`.
        radius: See `RouteBounds`.
        q_a_lower: See `RouteBounds`.
        q_b_upper: See `RouteBounds`.
        exclusion_radius: See `RouteBounds`.
        estimation: The samples of a route that was sampled and not selected, else None.
    """

    sigma: float | None
    p_a_lower: float
    p_b_upper: float
    radius: float
    q_a_lower: float
    q_b_upper: float
    exclusion_radius: float
    estimation: StatedSamples | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectorShares:
    """The shares of alpha that an automatic sigma spends on its selector.

    Attributes:
        p_a: On the lower bound of the selected route's probability.
        p_b: On the upper bound of one other outcome's.
    """

    p_a: float
    p_b: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedRouting:
    """An automatic choice of sigma.

    Attributes:
        settings: The noise levels and the selector.
        alpha_split: The shares of alpha for the selector.
        route: Index of the selected route.
        selection: The selection samples of the selector.
        estimation: The estimation samples of the selector.
        outcomes: One for every route, and last one for `invalid`.
    """

    settings: SigmaRouting
    alpha_split: SelectorShares
    route: int
    selection: LabelCounts
    estimation: StatedSamples
    outcomes: tuple[StatedOutcome, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedSignature:
    """The signer and the signature.

    Attributes:
        algorithm: Always `Ed25519`.
        public_key: 32 bytes in hexadecimal.
        value: 64 bytes in hexadecimal.
    """

    algorithm: Literal["Ed25519"]
    public_key: str
    value: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What a document states.

    Attributes:
        schema: Name of the schema that it is written in.
        claim: The outcome.
        scope: What the certificate covers.
        scope_text: The scope in words.
        limits: What a reader must not read into the claim.
        params: The parameters, and what follows from them.
        decision: The rule that decided.
        selection: The selection samples of the class.
        estimation: The estimation samples of the class.
        routing: An automatic choice of sigma; None for a sigma of the sender's.
        variants: Other renderings of the same file that have the class too; None where none were asked for.
        unsmoothed: The answers for them without noise; None where these were not asked for.
        parameters: The same class under noise on the window; None where none was asked for.
        prediction_set: A list of classes with a promised share of misses; None where none was asked for.
        samples_used: Selection and estimation samples together, without those of variants and of noise on the window.
        subject: The image, by digest.
        radius_in_image_units: The radius on the image that was sent.
        classifier: The base classifier, by digest.
        noise: What the noise can be drawn again from.
        software: Name -> version of what computed it.
        signature: The signature; None before it is signed.
    """

    schema: str
    claim: StatedCertificate | StatedAbstention
    scope: Scope
    scope_text: str
    limits: tuple[str, ...]
    params: StatedParams
    decision: Decision
    selection: LabelCounts
    estimation: StatedSamples
    routing: StatedRouting | None = None
    variants: StatedVariants | None = None
    unsmoothed: StatedUnsmoothed | None = None
    parameters: StatedParameters | None = None
    prediction_set: StatedPredictionSet | None = None
    samples_used: int
    subject: Subject
    radius_in_image_units: ImageRadius | NoImageRadius
    classifier: ClassifierIdentity
    noise: NoiseIdentity
    software: Mapping[str, str]
    signature: StatedSignature | None

    @property
    def request(self) -> CertifyRequest:
        """Returns the request as far as the document states it: without task, frame, region and priority.

        Its window is one that shows the same file in the same way.

        Raises:
            ValueError: Such a request cannot be made.
        """
        classifier, params, routing = self.classifier, self.params, self.routing
        return CertifyRequest(
            classifier=ClassifierSpec(
                backbone=classifier.backbone,
                prompt=classifier.prompt,
                class_names=classifier.class_names,
                template=classifier.template,
                adaptation=classifier.adaptation,
                adapter=classifier.adapter,
            ),
            sigma=FixedSigma(params.sigma) if routing is None else AutoSigma(routing.settings),
            params=SamplingParams(
                alpha=params.alpha, n0=params.n0, n=params.n, bound=params.bound, target_radius=params.target_radius
            ),
            window=requested_window(self.subject.window),
            noise_space="model_input" if classifier.noisy_image is None else "image",
            variants=self._asked_variants,
            parameter_sigma=None if self.parameters is None else self.parameters.sigma,
            prediction_set=None if self.prediction_set is None else self.prediction_set.request,
        )

    @property
    def _asked_variants(self) -> VariantsRequest | None:
        if (variants := self.variants) is not None:
            return VariantsRequest(lists=variants.lists, radius=variants.asked_radius, n=variants.n)
        if self.unsmoothed is not None:
            return VariantsRequest(lists=self.unsmoothed.lists, n=1, base="unsmoothed")
        return None

    @property
    def rounds_windows(self) -> bool:
        """Returns whether its windows were rounded to the lattice before they were rendered; once they were not."""
        rows = () if self.variants is None else self.variants.rows
        windows = [row.rendering.window for row in rows if isinstance(row.rendering, WindowVariant)]
        return not any(isinstance(window, UnroundedWindow) for window in (self.subject.window, *windows))

    @property
    def selections(self) -> tuple[LabelCounts, ...]:
        """Returns the counts of every run of selection samples: the selector's, if there is one, then the class's."""
        return (self.selection,) if self.routing is None else (self.routing.selection, self.selection)
