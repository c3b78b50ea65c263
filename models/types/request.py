"""A certification request with every default resolved: what the API writes and the workers read."""

from dataclasses import dataclass, field
from typing import Literal

from certrad.models.types.cards import check_classes
from certrad.models.types.routing import SigmaRouting
from certrad.models.types.smoothing import Scope, SmoothingParams

TEMPLATE_PROMPT = "template"


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotAdaptation:
    """Zero-Shot PromptSmooth on the submitted image (PromptSmooth eq. 2); its scope is `frozen_prompt`.

    steps, samples, lr: AdamW steps, noisy copies averaged, learning rate.
    context: `words` counts learnable context by words as the released code does; `tokens` makes every token learnable.
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

    gate: the one there is; the field tells the two adaptations apart in JSON.
    """

    gate: Literal["per_sample"] = "per_sample"


Adaptation = ZeroShotAdaptation | GatedAdaptation


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierSpec:
    """The base classifier by name: backbone, prompt, classes and adaptation.

    prompt: `template`, or the id of a prompt checkpoint.
    template: hand-written template with one `{}`; also the initial context of zero-shot adaptation. Always the bare
        `{}` with a learned prompt, so that one classifier has one description, and with it one noise key.
    """

    backbone: str
    prompt: str
    class_names: tuple[str, ...]
    template: str
    adaptation: Adaptation | None = None

    def __post_init__(self) -> None:
        check_classes(self.class_names, self.template)

    @property
    def scope(self) -> Scope:
        """What the certificate covers: a prompt tuned on the image itself is covered only as the frozen one."""
        return "frozen_prompt" if isinstance(self.adaptation, ZeroShotAdaptation) else "input_independent"


@dataclass(frozen=True, slots=True, kw_only=True)
class Region:
    """A rectangle of the image in pixels: left, top, width, height."""

    x: int
    y: int
    w: int
    h: int

    def __post_init__(self) -> None:
        if self.x < 0 or self.y < 0 or self.w < 1 or self.h < 1:
            raise ValueError(f"region needs x, y >= 0 and w, h >= 1, got {self.x},{self.y},{self.w},{self.h}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifyRequest:
    """Certify one image with one classifier; `frame` is counted from 1 as in DICOM.

    routing: choose sigma by certified selection; `params.sigma` is then that of the selector.
    kind: tells requests apart in JSON.
    """

    classifier: ClassifierSpec
    params: SmoothingParams = field(default_factory=SmoothingParams)
    routing: SigmaRouting | None = None
    task: str | None = None
    frame: int | None = None
    region: Region | None = None
    urgent: bool = False
    kind: Literal["certify"] = "certify"

    def __post_init__(self) -> None:
        if self.frame is not None and self.frame < 1:
            raise ValueError(f"frame must be >= 1, got {self.frame!r}")
        self._check_routing()

    @property
    def samples_max(self) -> int:
        """The number of noisy samples that it may take: with routing those of the selector and of every route."""
        if self.routing is None:
            return self.params.n0 + self.params.n
        return 2 * self.params.n0 + (1 + len(self.routing.sigmas)) * self.params.n

    def _check_routing(self) -> None:
        if self.routing is None:
            return
        if isinstance(self.classifier.adaptation, ZeroShotAdaptation):
            raise ValueError("routing needs a prompt that does not depend on the image, got zero-shot adaptation")
        if self.params.target_radius is not None:
            raise ValueError(f"routing needs a fixed n, got target_radius={self.params.target_radius!r}")
        if self.params.sigma != self.routing.selector_sigma:
            raise ValueError(
                f"with routing sigma is the selector's, {self.routing.selector_sigma!r}, got {self.params.sigma!r}"
            )
