"""A certification request with every default resolved; the API writes it and the workers read it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

from certrad.models.types.calibration import SET_RATIO_MAX, PredictionSetRequest
from certrad.models.types.cards import check_classes
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.parameters import ParameterSigma
from certrad.models.types.rejection import UNLIKE, known_classes, rejection_index
from certrad.models.types.sigma_choice import AutoSigma, FixedSigma, SigmaChoice
from certrad.models.types.smoothing import SamplingParams, Scope
from certrad.models.types.variants import VariantsRequest
from certrad.models.types.window import FileWindow, RequestedWindow

TEMPLATE_PROMPT: Final = "template"
NO_ADAPTER: Final = "none"
ABSENT_IF_NONE: Final[Mapping[str, Any]] = {"exclude_if": lambda value: value is None}
"""Metadata of a field that JSON leaves out where it is None, as releases before the field spell the same value."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotAdaptation:
    """Zero-Shot PromptSmooth on the submitted image (PromptSmooth, eq. 2); its scope is `frozen_prompt`.

    Attributes:
        steps: AdamW steps, in [1, 100].
        samples: Noisy copies of the image that are averaged, in [2, 1000].
        lr: Learning rate, in [1e-6, 1].
        context: `words` counts learnable context by words as the released code does; `tokens` makes every token
            learnable.
    """

    steps: int = 1
    samples: int = 100
    lr: float = 5e-3
    context: Literal["words", "tokens"] = "tokens"

    def __post_init__(self) -> None:
        if not 1 <= self.steps <= 100:
            raise ValueError(f"adapt_steps must be in [1, 100], got {self.steps!r}")
        if not 2 <= self.samples <= 1000:
            raise ValueError(f"adapt_samples must be in [2, 1000], got {self.samples!r}")
        if not 1e-6 <= self.lr <= 1.0:
            raise ValueError(f"adapt_lr must be in [1e-6, 1], got {self.lr!r}")
        if self.context not in ("words", "tokens"):
            raise ValueError(f"context must be 'words' or 'tokens', got {self.context!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GatedAdaptation:
    """A bank of prompts weighed on each noisy sample by itself, inside the base classifier (docs/mathematics.md, 3.4).

    Attributes:
        gate: Always `per_sample`; the field tells the two adaptations apart in JSON.
    """

    gate: Literal["per_sample"] = "per_sample"


Adaptation = ZeroShotAdaptation | GatedAdaptation


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierSpec:
    """The base classifier by name: backbone, adapter, prompt, classes and adaptation.

    Attributes:
        backbone: Id of a backbone card.
        prompt: `template`, or the id of a prompt checkpoint.
        class_names: The names of the 2 to 1000 classes, in order; with the extra class of a bank, `UNLIKE` behind them.
        template: Hand-written template with one `{}`; also the initial context of zero-shot adaptation. Always the bare
            `{}` with a learned prompt, so that one classifier has one description, and with it one noise key.
        adaptation: How the prompt is adapted, None for not at all.
        adapter: Id of the adapter of the image tower; None, and absent in JSON, for the frozen tower.
    """

    backbone: str
    prompt: str
    class_names: tuple[str, ...]
    template: str
    adaptation: Adaptation | None = None
    adapter: str | None = field(default=None, metadata=ABSENT_IF_NONE)

    def __post_init__(self) -> None:
        check_classes(known_classes(self.class_names), self.template)
        if self.rejection_index is not None and not isinstance(self.adaptation, GatedAdaptation):
            raise ValueError(f"only a bank has the extra class {UNLIKE!r}, got adaptation {self.adaptation!r}")

    @property
    def scope(self) -> Scope:
        """Returns the scope of the certificate: it covers a prompt tuned on the image itself only as frozen."""
        return "frozen_prompt" if isinstance(self.adaptation, ZeroShotAdaptation) else "input_independent"

    @property
    def rejection_index(self) -> int | None:
        """Returns the place of the extra class among the names; None where the classifier has none."""
        return rejection_index(self.class_names)


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A rectangle of the image.

    Attributes:
        x: Left edge in pixels, from 0.
        y: Top edge in pixels, from 0.
        w: Width in pixels, at least 1.
        h: Height in pixels, at least 1.
    """

    x: int
    y: int
    w: int
    h: int

    def __post_init__(self) -> None:
        if self.x < 0 or self.y < 0 or self.w < 1 or self.h < 1:
            raise ValueError(f"region needs x, y >= 0 and w, h >= 1, got {self.x},{self.y},{self.w},{self.h}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyRequest:
    """A request to certify one image with one classifier.

    Attributes:
        classifier: The base classifier, by name.
        sigma: The noise level, or what it is chosen from.
        params: Numbers of samples, error probability, and the target radius if there is one.
        task: Id of the task card; None for the sender's own classes.
        frame: Frame of a multi-frame image, from 1 as in DICOM.
        region: The part of the image to classify; None for all of it.
        urgent: Whether the job goes before every normal one.
        window: The window of a grey image.
        noise_space: Whether noise is added to the model input, or to the rendered image that it is made of. Sigma and
            all radii are those of that image, with pixels in [0, 1].
        variants: Renderings of the same file that the certificate is to cover too; None for none.
        parameter_sigma: Noise on the window, under which the class is to hold too; None for none.
        prediction_set: The prediction set that the certificate is to state; None for none.
        kind: Tells requests apart in JSON.
    """

    classifier: ClassifierSpec
    sigma: SigmaChoice = field(default_factory=FixedSigma)
    params: SamplingParams = field(default_factory=SamplingParams)
    task: str | None = None
    frame: int | None = None
    region: Region | None = None
    urgent: bool = False
    window: RequestedWindow = field(default_factory=FileWindow)
    noise_space: NoiseSpace = DEFAULT_NOISE_SPACE
    variants: VariantsRequest | None = None
    parameter_sigma: ParameterSigma | None = None
    prediction_set: PredictionSetRequest | None = None
    kind: Literal["certify"] = "certify"

    def __post_init__(self) -> None:
        if self.frame is not None and self.frame < 1:
            raise ValueError(f"frame must be >= 1, got {self.frame!r}")
        if self.noise_space not in get_args(NoiseSpace):
            raise ValueError(f"noise_space must be one of {', '.join(get_args(NoiseSpace))}, got {self.noise_space!r}")
        match self.sigma:
            case FixedSigma(sigma):
                self.params.at(sigma)  # a target radius must be within reach of sigma
            case AutoSigma():
                self._check_auto()
        if self.variants is not None:
            self._check_plain("variants")
        if self.parameter_sigma is not None:
            self._check_plain("noise on the window")
            if self.variants is not None:
                raise ValueError("noise on the window must not be asked for together with variants")
        if self.prediction_set is not None:
            self._check_plain("a prediction set")
            self._check_set(self.prediction_set)
        if self.noise_space != "model_input" and self.classifier.rejection_index is not None:
            raise ValueError("the threshold of an extra class is set for noise on the model input only")

    @property
    def samples_max(self) -> int:
        """Returns the number of noisy samples that the job may take; with windows of a header at least so many."""
        return self.samples_with(None if self.variants is None else self.variants.fewest)

    def samples_with(self, variants: int | None) -> int:
        """Returns the number of noisy samples that the job may take with so many variants.

        Args:
            variants: How many variants intake has rendered; None for a request without any.
        """
        of_variants = 0 if self.variants is None else (variants or 0) * self.variants.n
        on_window = 0 if self.parameter_sigma is None else self.params.n
        return self.selection_samples + self.estimation_samples + of_variants + on_window

    @property
    def estimation_samples(self) -> int:
        """Returns the number of estimation samples of the file itself, of all runs, that the job may take."""
        return self.sigma.estimation_runs * self.params.n

    @property
    def selection_samples(self) -> int:
        """Returns the number of selection samples."""
        return self.sigma.selection_runs * self.params.n0

    def _check_plain(self, what: str) -> None:
        """Refuses what a further claim does not cover: its class and its sigma must be fixed before the samples."""
        if isinstance(self.classifier.adaptation, ZeroShotAdaptation):
            raise ValueError(f"{what} needs a prompt that does not depend on the image, got zero-shot adaptation")
        if isinstance(self.sigma, AutoSigma):
            raise ValueError(f"{what} needs a fixed sigma, got auto")
        if self.params.target_radius is not None:
            raise ValueError(f"{what} needs a fixed n, got target_radius")
        if self.noise_space != "model_input":
            raise ValueError(f"{what} needs noise on the model input, got noise_space=image")

    def _check_set(self, asked: PredictionSetRequest) -> None:
        """Refuses a radius that is too large for any threshold, and a class that no calibration image has."""
        if self.classifier.rejection_index is not None:
            raise ValueError("a prediction set needs a prompt without an extra class, of which no image is known")
        if asked.radius > SET_RATIO_MAX * self.sigma.largest:
            raise ValueError(f"prediction_radius must be at most {SET_RATIO_MAX:g} sigma, got {asked.radius!r}")

    def _check_auto(self) -> None:
        if isinstance(self.classifier.adaptation, ZeroShotAdaptation):
            raise ValueError("sigma=auto needs a prompt that does not depend on the image, got zero-shot adaptation")
        if self.params.target_radius is not None:
            raise ValueError(f"sigma=auto needs a fixed n, got target_radius={self.params.target_radius!r}")
