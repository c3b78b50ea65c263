"""Cards: the JSON descriptions of backbones, tasks and prompt checkpoints."""

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from certrad.models.types.code import Code
from certrad.models.types.rejection import UNLIKE, RejectionCard, with_unlike
from certrad.models.types.routing import SigmaRouting
from certrad.models.types.tuned_on import TunedOn, joined
from certrad.models.types.window import WindowPreset, check_presets

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

    Attributes:
        id: Id of the backbone.
        title: Name for people.
        format: On-disk format; each has its own loader module.
        image_size: Side of the square model input in pixels.
        fit: How an image becomes a square: its centre is cropped, or it is padded with black.
        mean: Mean of each channel, for the normalisation inside the classifier.
        std: Standard deviation of each channel, for the normalisation inside the classifier.
        activation: Activation of the transformer blocks; `config` takes it from the files beside the weights.
        licence: Licence of the weights.
        hub: Hub repository that `certrad fetch` reads, or address of an archive that the operator unpacks; None where
            there is nothing to download: for the embedded weights, and for files that the operator has.
        weights: Name of the weights file.
        sha256: SHA-256 of the weights file; None until `certrad fetch` pins it on the operator's side.
        default_task: Id of the task for requests that name none.
        notes: Remarks for people.
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

    Attributes:
        id: Id of the task.
        title: Name for people.
        class_names: Names of the 2 to 1000 classes, in order.
        template: Hand-written template with one `{}`.
        default_backbone: Id of the backbone for requests that name none.
        default_prompt: Id of the learned prompt for requests that name none.
        default_bank: Id of the bank of prompts that `adaptation=gated` uses when the request names none.
        default_adapter: Id of the adapter for requests that name none.
        source: Where the classes come from.
        sigma_routing: Noise levels and selector of `sigma=auto`; None where no selector was tuned for the task.
        windows: Window presets. The first one for a modality is used for its files without a window.
        class_codes: The coded concept of each class, in the order of the names, for reports to other systems; empty
            where the classes have none.
    """

    id: str
    title: str
    class_names: tuple[str, ...]
    template: str
    default_backbone: str
    default_prompt: str | None = None
    default_bank: str | None = None
    default_adapter: str | None = None
    source: str = ""
    sigma_routing: SigmaRouting | None = None
    windows: tuple[WindowPreset, ...] = ()
    class_codes: tuple[Code, ...] = ()

    def __post_init__(self) -> None:
        check_classes(self.class_names, self.template)
        check_presets(self.windows)
        if self.class_codes and len(self.class_codes) != len(self.class_names):
            raise ValueError(
                f"class_codes must have one code for each of the {len(self.class_names)} classes, "
                f"got {len(self.class_codes)}"
            )

    @property
    def codes_by_class(self) -> dict[str, Code]:
        """Returns the coded concept of each class by its name; empty where the classes have none."""
        return dict(zip(self.class_names, self.class_codes, strict=False))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetCard:
    """A data set of labelled images: its source, and the layout of its files.

    Attributes:
        id: Id of the data set.
        title: Name for people.
        layout: Loader of certrad.models.datasets that reads it.
        folder: Name of its folder, or of its zip, as it is published or usually unpacked.
        source: Where an operator can fetch it.
        task: Id of the task with these classes; None where their names are read from the files of the data set.
        template: Template of a data set without a task.
        default_backbone: Id of the backbone of a data set without a task.
        raw_labels: Names of the classes in the files, in the order of the classes; empty where the files say that too.
        paths: Part of the data set -> path under the folder, as the layout needs it.
        notes: Remarks for people.
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
    """A learned prompt checkpoint: its tuning, its backbone and classes, and its digests.

    Attributes:
        id: The name and the first 16 hexadecimal digits of the file's SHA-256, unique in a store.
        name: Name of the prompt.
        method: Method of tuning; `bank` is several prompts and their gate in one file, for `adaptation=gated` only.
        backbone: Id of the backbone.
        backbone_sha256: SHA-256 of the weights it was tuned with.
        class_names: Names of the classes, in order.
        task: Id of the task with these classes; None for the sender's own.
        n_ctx: Number of context vectors.
        class_specific: Whether each class has its own context vectors.
        position: Where the class name stands among the context vectors.
        sha256: SHA-256 of the safetensors file.
        licence: Licence of the prompt.
        tuning: Record of the training (shots, epochs, sigmas, seed, data digest), free of patient data.
        measured: Figures measured on held-out images, each with the number of images.
        tuned_on: The images it was tuned on, by keyed digests; None if they are not recorded.
        adapter: Id of the adapter whose image tower it was tuned on, and with which alone it is used; None if it was
            tuned on the frozen tower.
        adapter_sha256: SHA-256 of that adapter.
        rejection: Of a bank, its extra class, which `class_names` does not list; None where it has none.
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
    tuned_on: TunedOn | None = None
    adapter: str | None = None
    adapter_sha256: str | None = None
    rejection: RejectionCard | None = field(default=None, metadata={"exclude_if": lambda extra: extra is None})

    def __post_init__(self) -> None:
        if self.rejection is not None and self.method != "bank":
            raise ValueError(f"only a bank has an extra class, got {self.method!r}")
        if (self.adapter is None) != (self.adapter_sha256 is None):
            raise ValueError(f"an adapter must be named with its digest, got {self.adapter!r}, {self.adapter_sha256!r}")

    @property
    def answers(self) -> tuple[str, ...]:
        """Returns the names of all answers in order: the classes, and the extra class of a bank that has one."""
        return self.class_names if self.rejection is None else with_unlike(self.class_names)

    def with_images_of(self, earlier: "PromptCard | None") -> "PromptCard":
        """Returns this card with the images that an earlier card of the same prompt records, beside its own.

        Args:
            earlier: The earlier card; None if there is none.
        """
        return self if earlier is None else replace(self, tuned_on=joined(self.tuned_on, earlier.tuned_on))


def alike_classes(class_names: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the class names that differ from another one in case, spaces or underscores only, in order.

    A text tower may read them as one text: what is then certified of one of them is as true of the other.
    """
    spelled = [" ".join(name.replace("_", " ").split()).casefold() for name in class_names]
    return tuple(name for name, plain in zip(class_names, spelled, strict=True) if spelled.count(plain) > 1)


def check_classes(class_names: tuple[str, ...], template: str) -> None:
    """Checks that there are 2 to 1000 distinct, printable class names and one `{}` in the template.

    Names must be printable because the verification of a certificate shows them on a terminal.

    Args:
        class_names: Names of the classes.
        template: The template.

    Raises:
        ValueError: A name or the template breaks a rule.
    """
    if not 2 <= len(class_names) <= 1000:
        raise ValueError(f"there must be 2 to 1000 classes, got {len(class_names)}")
    if len(set(class_names)) != len(class_names) or not all(name.strip() for name in class_names):
        raise ValueError("class names must be distinct and not empty")
    if UNLIKE in class_names:
        raise ValueError(f"no class may be named {UNLIKE!r}: it is the extra class of banks")
    if not all(name.isprintable() for name in class_names):
        raise ValueError("class names must be printable, without line ends and control characters")
    if template.count("{}") != 1 or template.replace("{}", "").count("{") or template.replace("{}", "").count("}"):
        raise ValueError(f"the template must contain exactly one {{}} and no other brace, got {template!r}")
