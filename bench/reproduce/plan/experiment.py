"""An experiment: one table or figure of a paper as data, nothing of how it is computed."""

from dataclasses import dataclass, field
from typing import Final, Literal

from certrad.models.adapters.training.params import AdapterParams
from certrad.models.attacks.autoattack.suite import AutoAttackParams
from certrad.models.types import Scope, ZeroShotAdaptation
from certrad.models.types.tuning import TuningParams

Paper = Literal["promptsmooth", "advpt"]
Denoiser = Literal["dncnn", "diffusion"]
Threat = Literal["clean", "pgd40", "autoattack", "rap"]
Defence = Literal["none", "rescale", "super_resolution", "diffpure"]

EPSILON: Final = 16 / 255
"""The L-infinity budget of AdvPT's evaluation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Experiment:
    """The common fields of all kinds of experiments.

    source: the table or figure of the paper. backbones, datasets: ids; every pair is measured.
    images: test images of a pair, as many of each class as there are; None takes all.
    published: the file of printed values in `published/`, None where the paper prints none.
    rows: what tells the rows apart; where it is not `method`, it is a number, and the x axis of the plot.
    """

    id: str
    paper: Paper
    source: str
    title: str
    backbones: tuple[str, ...]
    datasets: tuple[str, ...]
    images: int | None
    published: str | None = None
    rows: str = "method"
    seed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SmoothedMethod:
    """One row of certified accuracy.

    name: as the published values have it. tuning: how its prompt is learned; None is a template.
    start: template from which the context is adapted, and which an unlearned prompt is; None is the data set's.
    adaptation: Zero-Shot PromptSmooth on the image itself, before it is certified.
    denoiser: what removes the noise before the image encoder. adapter: how the image encoder is adapted to noise, on
        unlabelled training images. Methods with the same two, or without them, share a pass of noisy images.
    images: fewer images than the experiment has, where the paper used fewer.
    """

    name: str
    tuning: TuningParams | None = None
    start: str | None = None
    adaptation: ZeroShotAdaptation | None = None
    denoiser: Denoiser | None = None
    adapter: AdapterParams | None = None
    images: int | None = None

    @property
    def scope(self) -> Scope:
        """Returns the scope of a certificate of this method: a prompt tuned on the image itself is frozen in it."""
        return "input_independent" if self.adaptation is None else "frozen_prompt"


@dataclass(frozen=True, slots=True, kw_only=True)
class CertifiedAccuracy(Experiment):
    """Certified accuracy at some radii, at the best sigma of each (PromptSmooth), and at every sigma."""

    methods: tuple[SmoothedMethod, ...]
    radii: tuple[float, ...]
    sigmas: tuple[float, ...] = (0.1, 0.25, 0.5, 1.0)
    n0: int = 100
    n: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificationTime(Experiment):
    """Seconds of training once, and of one certificate, adaptation included."""

    methods: tuple[SmoothedMethod, ...]
    sigma: float
    n0: int = 100
    n: int = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackedMethod:
    """One row of attacked accuracy: a prompt, or a linear probe of the image features.

    tuning: how the prompt is learned; None is the data set's template.
    """

    name: str
    tuning: TuningParams | None = None
    probe: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackedAccuracy(Experiment):
    """Accuracy on clean and adversarial images; every attack also as its adaptive version.

    defences: what is done to the images before the backbone, each with every method.
    trained_on: data set on which the prompts are learned; None: on the training images of the one that is tested.
    training_images: of a linear probe; None takes all.
    """

    methods: tuple[AttackedMethod, ...]
    threats: tuple[Threat, ...]
    defences: tuple[Defence, ...] = ("none",)
    trained_on: str | None = None
    training_images: int | None = None
    epsilon: float = EPSILON
    steps: int = 40
    auto_attack: AutoAttackParams = field(default_factory=AutoAttackParams)
    batch_size: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingEfficiency(Experiment):
    """Accuracy against seconds of training: AdvPT, PGD adversarial training and Fast AT.

    epochs: lengths of trainings, each of its own, with its own schedule; of AdvPT and of the encoder.
    training_images: of the encoder; None takes all.
    """

    tuning: TuningParams
    prompt_epochs: tuple[int, ...]
    encoder_epochs: tuple[int, ...]
    training_images: int | None = None
    epsilon: float = EPSILON
    steps: int = 40
    batch_size: int = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class NearestWords(Experiment):
    """The words nearest to the learned context vectors, and to random ones of the same law as before training."""

    tuning: TuningParams
    words: int = 5


AnyExperiment = CertifiedAccuracy | CertificationTime | AttackedAccuracy | TrainingEfficiency | NearestWords
