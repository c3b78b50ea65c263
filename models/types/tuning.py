"""A tuning: its method and hyper-parameters, the classes that the images are sorted into, and its result."""

import re
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from certrad.models.types.cards import ContextPosition, PromptCard, check_classes
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.request import ABSENT_IF_NONE
from certrad.models.types.result import STRICT
from certrad.models.types.smoothing import SIGMA_RANGE
from certrad.models.types.window import FileWindow

TuningMethod = Literal["few_shot", "coop", "advpt"]
Acquisition = Literal["none", "radiology"]

SHOTS_MAX: Final = 10_000
EPOCHS_MAX: Final = 1_000
BATCH_MAX: Final = 1_024
N_CTX_MAX: Final = 64
PROMPT_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
"""The name of a prompt begins its id, which is a file's name and a part of an address."""


def check_prompt_name(name: str) -> None:
    """Checks the name of a prompt.

    Args:
        name: 1 to 64 of a-z, 0-9, dot, underscore and dash, not beginning with a sign.

    Raises:
        ValueError: It is not such a name.
    """
    if not PROMPT_NAME.fullmatch(name):
        raise ValueError(f"a prompt name must match {PROMPT_NAME.pattern}, got {name!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningParams:
    """The method and hyper-parameters of a tuning; `TuningParams.published(method)` has those of the papers.

    Attributes:
        method: `few_shot` learns on noisy images (PromptSmooth, eq. 1), `coop` on clean ones, `advpt` on a bank of
            adversarial embeddings (AdvPT, 4.1 and 4.2).
        shots: Labelled images of each class that are used, in [1, 10,000]; None uses all there are.
        epochs: Passes over the images, in [1, 1,000].
        lr: Learning rate, in (0, 1].
        batch_size: Images of one step, in [1, 1,024].
        n_ctx: Context vectors of the prompt, in [1, 64].
        sigmas: Noise standard deviations of `few_shot`, in pixels of [0, 1]; empty for the other methods.
        class_specific: Whether each class has context vectors of its own.
        position: Where the class name stands among the context vectors.
        seed: Random seed of the choice of images, of the first context vectors, of all changes and all noise.
        acquisition: The changes of acquisition that `few_shot` draws for every image before the noise; `none`, and
            absent in JSON, for the images as they are.
    """

    method: TuningMethod
    shots: int | None
    epochs: int
    lr: float
    batch_size: int
    n_ctx: int
    sigmas: tuple[float, ...]
    class_specific: bool = False
    position: ContextPosition = "end"
    seed: int = 0
    acquisition: Acquisition = field(default="none", metadata={"exclude_if": lambda name: name == "none"})

    def __post_init__(self) -> None:
        _in_range("shots", self.shots, 1, SHOTS_MAX)
        _in_range("epochs", self.epochs, 1, EPOCHS_MAX)
        _in_range("batch_size", self.batch_size, 1, BATCH_MAX)
        _in_range("n_ctx", self.n_ctx, 1, N_CTX_MAX)
        if not 0 < self.lr <= 1:  # also refuses NaN
            raise ValueError(f"lr must be in (0, 1], got {self.lr!r}")
        low, high = SIGMA_RANGE
        if not all(low <= sigma <= high for sigma in self.sigmas):
            raise ValueError(f"sigmas must be in [{low}, {high}], got {self.sigmas!r}")
        if (self.method == "few_shot") != bool(self.sigmas):
            raise ValueError(f"sigmas go with few_shot and with nothing else, got {self.method} and {self.sigmas!r}")
        if self.method != "few_shot" and self.acquisition != "none":
            raise ValueError(f"acquisition goes with few_shot only, got {self.method} and {self.acquisition!r}")

    @staticmethod
    def published(method: TuningMethod) -> "TuningParams":
        """Returns the hyper-parameters of the papers: PromptSmooth's, and AdvPT's for a ViT-B/16.

        Args:
            method: The method of tuning.
        """
        return _PUBLISHED[method]


def _in_range(name: str, value: int | None, low: int, high: int) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} must be in {low}..{high}, got {value!r}")


_FEW_SHOT: Final = TuningParams(
    method="few_shot", shots=16, epochs=50, lr=0.002, batch_size=16, n_ctx=5, sigmas=(0.25, 0.5, 0.75, 1.0)
)
_PUBLISHED: Final[dict[TuningMethod, TuningParams]] = {
    "few_shot": _FEW_SHOT,
    "coop": replace(_FEW_SHOT, method="coop", sigmas=()),
    "advpt": TuningParams(method="advpt", shots=None, epochs=100, lr=0.005, batch_size=32, n_ctx=32, sigmas=()),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningRequest:
    """One prompt to be tuned, with every default filled in.

    Attributes:
        name: Its name.
        backbone: Id of the backbone's card.
        class_names: The names of the folders that hold their images where these are the same names, else in the sorted
            order of the folders; None until the folders, whose names they then are, have been seen.
        task: Id of the task whose classes these are; None for the sender's own.
        params: How it is tuned.
        window: The windows of the files, with the presets of the task; absent in JSON without any.
        adapter: Id of the adapter whose image tower it is tuned on; None, and absent in JSON, for the frozen tower.
        noise_space: What the noise of `few_shot` is added to; absent in JSON for the model input.
        kind: Tells requests apart in JSON.
    """

    name: str
    backbone: str
    class_names: tuple[str, ...] | None
    task: str | None
    params: TuningParams
    window: FileWindow = field(
        default_factory=FileWindow, metadata={"exclude_if": lambda window: window == FileWindow()}
    )
    adapter: str | None = field(default=None, metadata=ABSENT_IF_NONE)
    noise_space: NoiseSpace = field(
        default=DEFAULT_NOISE_SPACE, metadata={"exclude_if": lambda space: space == DEFAULT_NOISE_SPACE}
    )
    kind: Literal["tune"] = "tune"

    def __post_init__(self) -> None:
        check_prompt_name(self.name)
        if self.noise_space != DEFAULT_NOISE_SPACE and self.params.method != "few_shot":
            raise ValueError(f"noise_space goes with few_shot and with nothing else, got {self.params.method}")
        if self.class_names is not None:
            check_classes(self.class_names, "{}")

    @property
    def urgent(self) -> bool:
        """Returns False: a tuning takes minutes that others' images would wait."""
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class TuningResult:
    """The result of a tuning: a prompt that POST /certify takes at once.

    Attributes:
        prompt: Id of the prompt.
        card: Its card.
    """

    __pydantic_config__ = STRICT

    prompt: str = field(metadata={"description": "its id", "examples": ["mednist-few-shot-cde9e519d33425eb"]})
    card: PromptCard
