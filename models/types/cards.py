"""Cards: the JSON descriptions of backbones, tasks and prompt checkpoints."""

from dataclasses import dataclass, field
from typing import Any, Literal

from certrad.models.types.routing import SigmaRouting

BackboneFormat = Literal["open_clip", "hf_clip", "medclip", "biomedclip"]
Fit = Literal["crop", "pad"]
Activation = Literal["config", "gelu", "quick_gelu"]
ContextPosition = Literal["end", "middle", "front"]
DatasetLayout = Literal[
    "folders",
    "split_folders",
    "class_folders",
    "flowers",
    "pets",
    "sun397",
    "ucf101",
    "imagenet",
    "imagenet_subset",
    "imagenet_ordinals",
    "pannuke",
    "sicapv2",
    "skincancer",
    "rsna",
]
PromptMethod = Literal["coop", "few_shot", "advpt", "imported", "calibrated", "bank"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneCard:
    """One vision-language model: where its files are, how pixels enter it, and its licence.

    format: on-disk format, one loader module each.
    image_size: side of the square model input in pixels.
    fit: how a picture becomes a square: its centre is cropped, or it is padded with black.
    mean, std: per-channel normalisation, applied inside the classifier.
    activation: that of the transformer blocks; `config` is what the files beside the weights say.
    weights: name of the weights file.
    sha256: digest of the weights file; None until `certrad fetch` pins it on the operator's side.
    hub: hub repository that `certrad fetch` reads, or address of an archive that the operator unpacks; None for
        embedded weights.
    """

    id: str
    title: str
    format: BackboneFormat
    image_size: int
    fit: Fit = "crop"
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    activation: Activation
    licence: str
    hub: str | None = None
    weights: str
    sha256: str | None = None
    default_task: str | None = None
    notes: str = ""

    def __post_init__(self) -> None:
        if self.image_size < 8:
            raise ValueError(f"image_size must be >= 8, got {self.image_size!r}")
        if min(self.std) <= 0:
            raise ValueError(f"std must be > 0, got {self.std!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskCard:
    """A classification task: class names in their fixed order and the hand-written template with one `{}`.

    default_bank: the bank of prompts that `adaptation=gated` uses when the request names none.
    sigma_routing: what `sigma=auto` chooses from; None where no selector was tuned for the task.
    """

    id: str
    title: str
    class_names: tuple[str, ...]
    template: str
    default_backbone: str
    default_prompt: str | None = None
    default_bank: str | None = None
    source: str = ""
    sigma_routing: SigmaRouting | None = None

    def __post_init__(self) -> None:
        check_classes(self.class_names, self.template)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCard:
    """A data set of labelled images: where its publisher says that it is, and how its files are laid out.

    layout: which loader of certrad.models.datasets reads it.
    folder: name of its folder, or of its zip, as it is published or usually unpacked.
    source: where it comes from, for the one who has to fetch it.
    task: the task with these classes; None where their names are read from the files of the data set.
    template, default_backbone: of a data set without a task; a task has its own.
    raw_labels: what the files call the classes, in the order of the classes; empty where the files say that too.
    paths: what the layout needs to know beside it: parts of the data set -> path under the folder.
    """

    id: str
    title: str
    layout: DatasetLayout
    folder: str
    source: str
    task: str | None = None
    template: str | None = None
    default_backbone: str | None = None
    raw_labels: tuple[str, ...] = ()
    paths: dict[str, str] = field(default_factory=dict)
    notes: str = ""

    def __post_init__(self) -> None:
        if self.task is not None and (self.template, self.default_backbone) != (None, None):
            raise ValueError(f"the task {self.task!r} has a template and a backbone of its own")
        if len(set(self.raw_labels)) != len(self.raw_labels):
            raise ValueError("raw labels must be distinct")


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptCard:
    """A learned prompt checkpoint: what it was tuned on, for which backbone and classes, and its digests.

    id: the name and the first 16 hex digits of the file's SHA-256, unique in a store.
    method: how it was tuned; `bank` is several prompts and their gate in one file, for `adaptation=gated` only.
    sha256: SHA-256 of the safetensors file.
    backbone_sha256: SHA-256 of the weights it was tuned with.
    tuning: how it was trained (shots, epochs, sigmas, seed, data digest), free of patient data.
    measured: figures measured on held-out images, each with the number of images.
    """

    id: str
    name: str
    method: PromptMethod
    backbone: str
    backbone_sha256: str
    class_names: tuple[str, ...]
    task: str | None
    n_ctx: int
    class_specific: bool
    position: ContextPosition
    sha256: str
    licence: str = ""
    tuning: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, Any] = field(default_factory=dict)


def alike_classes(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the class names that differ from another one in case, spaces or underscores only, in order.

    A text tower may read them as one text: what is then certified of one of them is as true of the other.
    """
    spelled = [" ".join(name.replace("_", " ").split()).casefold() for name in class_names]
    return tuple(name for name, plain in zip(class_names, spelled, strict=True) if spelled.count(plain) > 1)


def check_classes(class_names: tuple[str, ...], template: str) -> None:
    """Raises ValueError unless there are 2..1000 distinct, printable class names and one `{}` in the template.

    Printable, because a certificate that is signed puts them on the terminal of whoever verifies it.
    """
    if not 2 <= len(class_names) <= 1000:
        raise ValueError(f"2..1000 classes are required, got {len(class_names)}")
    if len(set(class_names)) != len(class_names) or not all(name.strip() for name in class_names):
        raise ValueError("class names must be distinct and not empty")
    if not all(name.isprintable() for name in class_names):
        raise ValueError("class names must be printable, without line ends and control characters")
    if template.count("{}") != 1 or template.replace("{}", "").count("{") or template.replace("{}", "").count("}"):
        raise ValueError(f"the template must contain exactly one {{}} and no other brace, got {template!r}")
