"""Genuine certificate documents, made by the service's own code with a base classifier that costs nothing."""

import hashlib
from collections import defaultdict
from dataclasses import asdict, dataclass, field, replace
from itertools import product
from typing import Final

import numpy as np
import torch
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from scipy import special

from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import document
from certrad.models.certificates.facts import Facts
from certrad.models.certificates.noise_key import classifier_digest, classifier_parts, noise_key, sampling_digest
from certrad.models.certificates.signature import sign
from certrad.models.images.model_input import direct_scale
from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler
from certrad.models.smoothing.parameter_noise import WindowNoise
from certrad.models.smoothing.parameter_samples import ParameterRule, WindowSampler
from certrad.models.smoothing.plan import plan_samples
from certrad.models.smoothing.variant_samples import VariantRule, of_variant
from certrad.models.types import (
    Adaptation,
    AutoSigma,
    Bound,
    Certificate,
    CertifyRequest,
    ClassifierSpec,
    FixedSigma,
    GatedAdaptation,
    SamplingParams,
    SmoothingParams,
    ZeroShotAdaptation,
)
from certrad.models.types.applied_window import (
    AppliedWindow,
    FullRange,
    HeaderTable,
    HeaderWindow,
    PercentileRange,
    SentWindow,
    TaskWindow,
    UnroundedHeaderWindow,
    UnroundedSentWindow,
    UnroundedTaskWindow,
    UnroundedWindow,
)
from certrad.models.types.evidence import Evidence
from certrad.models.types.grey_values import GreyImage
from certrad.models.types.identity import ClassifierIdentity, NoiseIdentity, Subject
from certrad.models.types.image import ImageScale
from certrad.models.types.noise_space import ImageMap, NoiseSpace, NoisyImage
from certrad.models.types.parameters import ParametersEvidence, ParameterSigma
from certrad.models.types.rejection import with_unlike
from certrad.models.types.renderings import CellVariant, Rendering, WindowVariant
from certrad.models.types.routing import SigmaRouting
from certrad.models.types.variant_lists import (
    BitDepths,
    HeaderWindows,
    JpegQualities,
    NamedWindows,
    NeighbourFrames,
    RegionShifts,
    Shifts,
    static_renderings,
)
from certrad.models.types.variants import UnsmoothedEvidence, VariantRecord, VariantsEvidence, VariantsRequest
from certrad.models.types.window import FixedWindow, PresetWindow, WindowPreset
from certrad.models.types.window_boxes import WindowBounds, WindowBox, box_cells, window_in_force

ISSUER = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
EPOCH_SECRET = bytes(range(32, 64))
IMAGE = np.full((3, 1, 1), 0.5)
SCALE = ImageScale(
    unit="HU",
    slope=1 / 399,
    rows=512,
    columns=512,
    channels=1,
    resize_vertical=0.6644,
    resize_horizontal=0.6644,
    rounding=2.3e-05,
    note="Hounsfield units, as the file says",
)
EIGHT_BITS: Final = replace(SCALE, unit="grey level", slope=1 / 255, note="grey levels 0 to 255")
"""An image of 8 bits, which alone may have a box of windows without having a window."""

WINDOWS: Final[tuple[AppliedWindow, ...]] = (
    HeaderWindow(number=1, of=2, centre=40.0, width=400.0, function="SIGMOID"),
    HeaderTable(number=1, of=1),
    SentWindow(centre=-600.5, width=1500.0),
    TaskWindow(modality="CT", name="brain", centre=40.0, width=80.0),
    PercentileRange(low=-1024.0, high=731.25),
    FullRange(),
)
"""A window of each kind."""


HEADER_OF_THREE: Final = (
    HeaderTable(number=1, of=1),
    WINDOWS[0],
    HeaderWindow(number=2, of=2, centre=-600.0, width=1500.0, function="LINEAR"),
)
"""What the header of every invented file offers."""
VARIANTS: Final = VariantsRequest(
    lists=(
        HeaderWindows(),
        NamedWindows(
            windows=(
                FixedWindow(centre=300.5, width=1500.0),
                PresetWindow(preset=WindowPreset(modality="CT", name="brain", centre=40.0, width=80.0)),
            )
        ),
        Shifts(pixels=1),
        JpegQualities(quality=(50, 90)),
        BitDepths(bits=(8, 6)),
        NeighbourFrames(frames=1),
        RegionShifts(pixels=4, step=4),
    ),
    n=40,
    radius=0.125,
)
"""A list of each kind."""


BOXED: Final = VariantsRequest(
    lists=(WindowBox(centre=7.0, width=1.02), WindowBounds(centre=(39.0, 41.0), width=(80.0, 81.0))), n=20, radius=0.05
)
"""A box of windows of each kind."""


def unrounded(window: AppliedWindow) -> AppliedWindow:
    """The window as documents from before the lattice state it."""
    match window:
        case HeaderWindow():
            return UnroundedHeaderWindow(
                number=window.number, of=window.of, centre=window.centre, width=window.width, function=window.function
            )
        case SentWindow():
            return UnroundedSentWindow(centre=window.centre, width=window.width)
        case TaskWindow():
            return UnroundedTaskWindow(**asdict(window.preset))
        case _:
            return window


def scale_of(window: AppliedWindow) -> ImageScale:
    """Returns how far a change of an image with this window can move its model input."""
    return replace(SCALE, depends_on_pixels=isinstance(window, PercentileRange))


def _digest(what: str) -> str:
    return hashlib.sha256(what.encode()).hexdigest()


ADAPTER_SHA256: Final = _digest("adapter")
ADAPTER: Final = f"noise-{ADAPTER_SHA256[:16]}"
"""The id of the invented adapter."""
NOISY_IMAGE: Final = NoisyImage(
    rows=512, columns=512, channels=1, of_rows=600, of_columns=512, fit="crop", sha256=_digest("rendered image")
)
"""The rendered image of every case with noise on it."""


PARAMETER_SIGMA: Final = ParameterSigma(window_centre=50.0, ln_window_width=0.25)
GREY_IMAGE: Final = GreyImage(
    map=ImageMap(rows=512, columns=512, channels=1, of_rows=600, of_columns=512, fit="crop"),
    function="SIGMOID",
    inverted=False,
    sha256=_digest("grey values"),
)
"""The values before the window of every case with noise on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dice:
    """Class i with about probability `probabilities[i]` under noise, the rest `invalid`: the first pixel is the die."""

    probabilities: tuple[float, ...]
    sigma: float
    input_shape: tuple[int, int, int] = (3, 1, 1)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    @property
    def n_classes(self) -> int:
        """K."""
        return len(self.probabilities)

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        """One-hot, or not a number behind the last class."""
        edges = torch.tensor(0.5 + self.sigma * special.ndtri(np.cumsum(self.probabilities).clip(0, 1)))
        label = (pixels[:, 0, 0, 0].double()[:, None] >= edges).sum(dim=1)
        onehot = torch.nn.functional.one_hot(label, self.n_classes + 1).float()
        return onehot[:, :-1].masked_fill(onehot[:, -1:] > 0, float("nan"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """The facts of one document."""

    probabilities: tuple[float, ...]
    params: SmoothingParams
    adaptation: Adaptation | None = None
    routing: SigmaRouting | None = None
    adapter: str | None = field(default=None, repr=False)  # the image of a case does not depend on it
    noise_space: NoiseSpace = field(default="model_input", repr=False)
    variants: VariantsRequest | None = field(default=None, repr=False)
    window: AppliedWindow = field(default=WINDOWS[0], repr=False)
    unlike: bool = field(default=False, repr=False)  # whether the last class is the extra one of a bank
    failing: int | None = field(default=None, repr=False)  # the place of a variant that shows another class
    parameter_sigma: ParameterSigma | None = field(default=None, repr=False)
    window_probabilities: tuple[float, ...] | None = field(default=None, repr=False)  # under noise on the window

    @property
    def request(self) -> CertifyRequest:
        """The request it answers."""
        names = tuple(f"class {i}" for i in range(len(self.probabilities)))
        if self.unlike:
            names = with_unlike(names[:-1])
        learned = not isinstance(self.adaptation, ZeroShotAdaptation)
        spec = ClassifierSpec(
            backbone="demo",
            prompt="few-shot-0123456789abcdef" if learned else "template",
            class_names=names,
            template="{}" if learned else "a medical image of {}.",
            adaptation=self.adaptation,
            adapter=self.adapter,
        )
        fixed = self.params
        return CertifyRequest(
            classifier=spec,
            sigma=FixedSigma(fixed.sigma) if self.routing is None else AutoSigma(self.routing),
            params=SamplingParams(
                alpha=fixed.alpha, n0=fixed.n0, n=fixed.n, bound=fixed.bound, target_radius=fixed.target_radius
            ),
            noise_space=self.noise_space,
            variants=self.variants,
            parameter_sigma=self.parameter_sigma,
        )


def facts(case: Case, *, batch_size: int = 64) -> Facts:
    """Everything the document of a case states; the same each time."""
    pixels = hashlib.sha256(repr(case).encode()).hexdigest()
    return answered(
        case.request,
        case.probabilities,
        pixels_sha256=pixels,
        input_sha256=_digest(f"input of {case!r}"),
        scale=EIGHT_BITS if isinstance(case.window, FullRange) else SCALE,
        window=case.window,
        batch_size=batch_size,
        failing=case.failing,
        window_probabilities=case.window_probabilities,
    )


def answered(
    request: CertifyRequest,
    probabilities: tuple[float, ...],
    *,
    pixels_sha256: str,
    input_sha256: str = _digest("input"),
    scale: ImageScale = SCALE,
    window: AppliedWindow = WINDOWS[0],
    batch_size: int = 64,
    failing: int | None = None,
    window_probabilities: tuple[float, ...] | None = None,
) -> Facts:
    """Returns the facts that an engine would state about an image with these class probabilities under noise."""
    noisy = NOISY_IMAGE if request.noise_space == "image" else None
    classifier = identity(request.classifier, block_size=batch_size, noisy=noisy)
    key = noise_key(
        EPOCH_SECRET,
        input_sha256 if noisy is None else noisy.sha256,
        classifier_digest(classifier_parts(classifier, "philox-ziggurat-f64")),
        sampling_digest(request),
    )
    sampler = NoisySampler(
        image=IMAGE,
        sigma=request.sigma.first,
        noise=Noise(key),
        batch_size=batch_size,
        device=torch.device("cpu"),
    )
    evidence = _evidence(request, probabilities, sampler)
    made = stated(
        request,
        evidence,
        subject=Subject(pixels_sha256=pixels_sha256, input_sha256=input_sha256, input_shape=(3, 1, 1), window=window),
        scale=scale,
        noise_key=key,
        block_size=batch_size,
    )
    variants = _variants(request, probabilities, sampler, evidence, made, failing)
    shown = window_probabilities or probabilities
    parameters = window_noise_of(request, shown, sampler, evidence, made)
    grey = None if request.parameter_sigma is None else GREY_IMAGE
    return replace(made, variants=variants, parameters=parameters, grey=grey)


def _variants(
    request: CertifyRequest,
    probabilities: tuple[float, ...],
    sampler: NoisySampler,
    evidence: Evidence,
    made: Facts,
    failing: int | None,
) -> VariantsEvidence | UnsmoothedEvidence | None:
    """The samples of invented variants, or answers without noise; one of them may show another class."""
    asked = request.variants
    if asked is None:
        return None
    if asked.base == "unsmoothed":
        return _answers(request, evidence, made, failing)
    if not isinstance(evidence.outcome, Certificate):
        return VariantsEvidence()
    rule = VariantRule(
        class_index=evidence.outcome.class_index,
        n=asked.n,
        split=evidence.alpha_split,
        sigma=evidence.sigma,
        radius=asked.radius,
    )
    rows = []
    for place, record in enumerate(_records(asked, made.subject)):
        digests = made.noise.classifier_sha256 or "", made.noise.settings_sha256
        of_row = replace(sampler, noise=Noise(noise_key(EPOCH_SECRET, record.input_sha256, *digests)))
        shown = probabilities[::-1] if place == failing else probabilities
        dice = Dice(probabilities=shown, sigma=evidence.sigma)
        rows.append(rule.estimate(record, of_variant(of_row, asked.n), dice, MemoryBlocks()))
    return rule.decide(tuple(rows))


def _answers(request: CertifyRequest, evidence: Evidence, made: Facts, failing: int | None) -> UnsmoothedEvidence:
    """The answers of an invented classifier without noise; one of them may be the last class."""
    if request.variants is None or not isinstance(evidence.outcome, Certificate):
        return UnsmoothedEvidence()
    records, index = _records(request.variants, made.subject), evidence.outcome.class_index
    other = len(request.classifier.class_names) - 1
    labels = tuple(other if place == failing else index for place in range(len(records)))
    return UnsmoothedEvidence(class_index=index, variants=tuple(records), labels=labels)


def window_noise_of(
    request: CertifyRequest, probabilities: tuple[float, ...], sampler: NoisySampler, evidence: Evidence, made: Facts
) -> ParametersEvidence | None:
    """The samples of an invented image under noise on its window."""
    sigma, window = request.parameter_sigma, made.subject.window
    if sigma is None:
        return None
    if not isinstance(evidence.outcome, Certificate):
        return ParametersEvidence()
    assert isinstance(window, HeaderWindow | SentWindow | TaskWindow)
    digests = made.noise.classifier_sha256 or "", made.noise.settings_sha256
    noise = Noise(noise_key(EPOCH_SECRET, GREY_IMAGE.sha256, *digests))
    rule = ParameterRule(class_index=evidence.outcome.class_index, n=request.params.n, split=evidence.alpha_split)
    windows = WindowSampler(
        pixels=replace(sampler, noise=noise, sigma=evidence.sigma),
        windows=WindowNoise(noise=noise, centre=window.centre, width=window.width, sigma=sigma),
        render=lambda _: IMAGE.astype(np.float32),
    )
    drawn = rule.estimate(windows, Dice(probabilities=probabilities, sigma=evidence.sigma), MemoryBlocks())
    return ParametersEvidence(samples=drawn)


def renderings(asked: VariantsRequest, own: AppliedWindow | None) -> list[Rendering]:
    """The renderings of lists, with a header of a table and two windows; of an old document where `own` is of one."""
    of_version = unrounded if isinstance(own, UnroundedWindow) else lambda window: window
    found: list[Rendering] = []
    for listed in asked.lists:
        match listed:
            case HeaderWindows():
                found += [WindowVariant(window=of_version(window)) for window in HEADER_OF_THREE]
            case WindowBox() | WindowBounds():
                base = window_in_force(own)
                assert base is not None
                found += box_cells(listed, base, 2048)
            case NamedWindows(windows=windows):
                found += [WindowVariant(window=of_version(_applied(window))) for window in windows]
            case _:
                found += static_renderings(listed, "pillow 1, libjpeg 1")
    return found


def _records(asked: VariantsRequest, own: Subject) -> list[VariantRecord]:
    """The renderings of lists with an invented model input for each, one for one rendering whatever names it."""
    inputs: dict[object, str] = {_shown(own.window): own.input_sha256}
    return [
        VariantRecord(
            rendering=rendering,
            input_sha256=inputs.setdefault(
                _shown(rendering.window if isinstance(rendering, WindowVariant) else rendering),
                _digest(f"variant {place}"),
            ),
        )
        for place, rendering in enumerate(renderings(asked, own.window))
    ]


def _shown(what: AppliedWindow | Rendering | None) -> object:
    match what:
        case HeaderWindow() | SentWindow() | TaskWindow():
            return what.function, what.rendered_centre, what.rendered_width
        case CellVariant():
            return what.function, what.centre, what.width
        case _:
            return what


def _applied(window: FixedWindow | PresetWindow) -> AppliedWindow:
    if isinstance(window, FixedWindow):
        return SentWindow(centre=window.centre, width=window.width)
    return TaskWindow(**asdict(window.preset))


def stated(
    request: CertifyRequest,
    evidence: Evidence,
    *,
    subject: Subject,
    scale: ImageScale = SCALE,
    noise_key: bytes = bytes(32),
    block_size: int = 64,
) -> Facts:
    """The facts of some evidence, whose model, secret and code are invented."""
    noisy = NOISY_IMAGE if request.noise_space == "image" else None
    classifier = identity(request.classifier, block_size=block_size, noisy=noisy)
    return Facts(
        request=request,
        evidence=evidence,
        subject=subject,
        scale=scale if noisy is None else direct_scale(scale),
        classifier=classifier,
        noise=NoiseIdentity(
            law="philox-ziggurat-f64",
            key=noise_key.hex(),
            epoch_sha256=hashlib.sha256(EPOCH_SECRET).hexdigest(),
            classifier_sha256=classifier_digest(classifier_parts(classifier, "philox-ziggurat-f64")),
            settings_sha256=sampling_digest(request),
        ),
        software={"certrad": "0.1.0", "code_sha256": _digest("code")},
    )


def identity(spec: ClassifierSpec, *, block_size: int, noisy: NoisyImage | None = None) -> ClassifierIdentity:
    """Returns the identity of a classifier whose digests are invented."""
    from_hand, bank = spec.prompt == "template", isinstance(spec.adaptation, GatedAdaptation)
    tuned = isinstance(spec.adaptation, ZeroShotAdaptation)
    return ClassifierIdentity(
        backbone=spec.backbone,
        backbone_sha256=_digest("backbone"),
        card_sha256=_digest("card"),
        prompt=spec.prompt,
        prompt_sha256=None if from_hand else _digest("prompt"),
        tuning_images=None if from_hand else "recorded",
        context_sha256=_digest("context") if tuned else None,
        text_sha256=_digest("text"),
        text_features_sha256=_digest("tuned text features" if tuned else "text features"),
        class_names=spec.class_names,
        template=spec.template,
        adaptation=spec.adaptation,
        logit_scale=14.285714285714286,
        dtype="float32",
        device="cpu",
        processor="avx2",
        threads=1,
        block_size=block_size,
        members=(_digest("member 0"), _digest("member 1")) if bank else (),
        gate_sha256=_digest("gate") if bank else None,
        adapter=spec.adapter,
        adapter_sha256=None if spec.adapter is None else ADAPTER_SHA256,
        adapter_images=None if spec.adapter is None else "recorded",
        noisy_image=noisy,
        rejection_sha256=None if spec.rejection_index is None else _digest("extra class"),
    )


def genuine(case: Case) -> bytes:
    """The signed document of a case, as it is stored."""
    return canonical(sign(document(facts(case)), ISSUER))


def _evidence(request: CertifyRequest, probabilities: tuple[float, ...], sampler: NoisySampler) -> Evidence:
    """Returns the evidence of the service's own algorithms."""
    blocks: defaultdict[str, MemoryBlocks] = defaultdict(MemoryBlocks)
    plan = plan_samples(request.sigma, request.params)

    def dice(sigma: float) -> Dice:
        return Dice(probabilities=probabilities, sigma=sigma)

    return plan.estimate(sampler, dice, plan.select(sampler, dice), blocks.__getitem__)


def _spread(n_classes: int, top: float) -> tuple[float, ...]:
    """The first class with probability `top`, the others alike."""
    return (top, *((1 - top) / (n_classes - 1),) * (n_classes - 1))


def _routing(*biases: float) -> SigmaRouting:
    """Routes to 0.25 or 0.5 by the first pixels' brightness."""
    return SigmaRouting(sigmas=(0.25, 0.5), selector_sigma=0.5, grid=1, weights=((0.0,), (1.0,)), biases=biases)


ROUTING: Final = _routing(0.0, -0.2)
_PARAMS: Final = (
    SmoothingParams(sigma=0.25, n0=20, n=200),
    SmoothingParams(sigma=0.5, n0=20, n=200, alpha=0.01, bound="cohen"),
    SmoothingParams(sigma=0.5, n0=50, n=640, alpha=0.05, target_radius=0.15),
    SmoothingParams(sigma=1.0, n0=50, n=320, alpha=0.05, target_radius=1.2345, bound="cohen"),
)
_TARGETS: Final[tuple[tuple[float, float, Bound], ...]] = (
    (0.6, 0.4, "two_class"),
    (0.7, 0.45, "two_class"),
    (0.45, 0.1, "two_class"),
    (0.75, 0.3, "cohen"),
    (0.78, 0.35, "cohen"),
    (0.4, 0.05, "two_class"),
)
_ADAPTATIONS: Final = (None, ZeroShotAdaptation(), GatedAdaptation())
CASES: Final = (
    *(
        Case(probabilities=_spread(n_classes, top), params=params, adaptation=_ADAPTATIONS[n_classes % 3])
        for n_classes, top, params in product(range(2, 10), (0.55, 0.8, 1.0), _PARAMS[:3])
    ),
    *(Case(probabilities=_spread(3, top), params=_PARAMS[3]) for top in (0.3, 0.85, 0.9, 0.92, 0.95)),
    *(Case(probabilities=(0.1, 0.15, 0.05), params=params) for params in _PARAMS),
    *(Case(probabilities=(0.6, 0.1, 0.05), params=params) for params in _PARAMS[:3]),
    *(
        Case(probabilities=_spread(4, top), params=replace(_PARAMS[2], target_radius=target, bound=bound))
        for top, target, bound in _TARGETS
    ),
    *(
        Case(probabilities=probabilities, params=replace(_PARAMS[0], sigma=0.5, alpha=0.01), routing=_routing(*biases))
        for probabilities, biases in (
            ((0.9, 0.05, 0.05), (0.0, -0.2)),
            ((0.9, 0.05, 0.05), (0.0, -0.5)),
            ((0.99, 0.01), (0.0, -0.5)),
            ((0.4, 0.3, 0.3), (0.0, -1.2)),
            ((0.1, 0.1, 0.05), (0.0, -0.2)),
        )
    ),
    Case(probabilities=_spread(300, 0.9), params=_PARAMS[0]),
    Case(probabilities=_spread(4, 0.7), params=SmoothingParams(sigma=0.25, n0=10, n=10_000)),
    Case(probabilities=_spread(2, 0.9), params=replace(_PARAMS[0], alpha=1e-6)),
    Case(probabilities=_spread(2, 0.97), params=SmoothingParams(n0=10, n=10, alpha=0.05)),
    Case(probabilities=_spread(5, 0.999), params=SmoothingParams(sigma=0.02, n0=10, n=1000, target_radius=0.04)),
)
"""A hundred cases: every rule, outcome, adaptation and bound, two to three hundred classes, `invalid` on top."""
