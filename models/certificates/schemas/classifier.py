"""The base classifier in a certificate document: its parts, each tagged with its kind, and how it was computed.

A later version adds kinds; the meaning of one that is here must not change. A reader refuses a kind that it does not
know.
"""

from dataclasses import asdict, dataclass
from typing import Final, Literal

from certrad.models.certificates.schemas.adapter_part import ImageAdapter
from certrad.models.certificates.schemas.noisy_image import NoisyImagePart
from certrad.models.certificates.schemas.rejection_part import RejectionPart
from certrad.models.types import TEMPLATE_PROMPT, Adaptation, GatedAdaptation, ZeroShotAdaptation
from certrad.models.types.identity import ClassifierIdentity, TuningImagesRecord

_BARE: Final = "{}"
"""The template of a learned prompt: the class name alone follows the context vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageTower:
    """The image encoder.

    Attributes:
        kind: The kind of the part.
        backbone: Id of the backbone's card.
        backbone_sha256: SHA-256 of its weights.
        card_sha256: SHA-256 of what its card says about computing with them.
        dtype: Precision of the image encoder.
        logit_scale: Factor of the cosine similarities.
    """

    kind: Literal["image_tower/1"] = "image_tower/1"
    backbone: str
    backbone_sha256: str
    card_sha256: str
    dtype: str
    logit_scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateText:
    """Class names in a hand-written template.

    Attributes:
        kind: The kind of the part.
        template: The template.
        text_sha256: SHA-256 of the token ids of all classes and of the context vectors, see `text_digest`.
    """

    kind: Literal["template/1"] = "template/1"
    template: str
    text_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptText:
    """Class names behind a learned prompt.

    Attributes:
        kind: The kind of the part.
        prompt: Id of the prompt checkpoint.
        prompt_sha256: SHA-256 of the checkpoint.
        tuning_images: Whether the images that it was tuned on are recorded.
        text_sha256: SHA-256 of the token ids of all classes and of the context vectors, see `text_digest`.
    """

    kind: Literal["prompt/1"] = "prompt/1"
    prompt: str
    prompt_sha256: str
    tuning_images: TuningImagesRecord
    text_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BankText:
    """Class names behind a bank of prompts, which a gate weighs for each noisy sample.

    Attributes:
        kind: The kind of the part.
        prompt: Id of the checkpoint of the bank.
        prompt_sha256: SHA-256 of the checkpoint.
        tuning_images: Whether the images that it was tuned on are recorded.
        members: SHA-256 of each member's context vectors as a checkpoint of its own.
        gate: Always `per_sample`.
        gate_sha256: SHA-256 of the gate.
        text_sha256: SHA-256 of the token ids of all classes and of the whole bank, see `text_digest`.
    """

    kind: Literal["bank/1"] = "bank/1"
    prompt: str
    prompt_sha256: str
    tuning_images: TuningImagesRecord
    members: tuple[str, ...]
    gate: Literal["per_sample"]
    gate_sha256: str
    text_sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotText:
    """The prompt was tuned on this very image.

    Attributes:
        kind: The kind of the part.
        steps: See `ZeroShotAdaptation`.
        samples: See `ZeroShotAdaptation`.
        lr: See `ZeroShotAdaptation`.
        context: See `ZeroShotAdaptation`.
        context_sha256: SHA-256 of the tuned context vectors.
    """

    kind: Literal["zero_shot/1"] = "zero_shot/1"
    steps: int
    samples: int
    lr: float
    context: Literal["words", "tokens"]
    context_sha256: str


Part = NoisyImagePart | ImageTower | ImageAdapter | TemplateText | PromptText | BankText | RejectionPart | ZeroShotText


@dataclass(frozen=True, slots=True, kw_only=True)
class Arithmetic:
    """How the labels were computed; see `ClassifierIdentity`."""

    device: str
    processor: str
    threads: int
    block_size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Classifier:
    """The base classifier.

    Attributes:
        class_names: The names of the classes, in order; that of an extra class is the last.
        parts: What it computes with.
        text_features_sha256: SHA-256 of the text features in force, of a bank of every member's in turn, as they were
            rounded there.
        arithmetic: How the labels were computed.
    """

    class_names: tuple[str, ...]
    parts: tuple[Part, ...]
    text_features_sha256: str
    arithmetic: Arithmetic


def write_classifier(identity: ClassifierIdentity) -> Classifier:
    """Returns a classifier as a document states it.

    Args:
        identity: The classifier, by digest.

    Raises:
        ValueError: The identity lacks what schema 3 states.
    """
    card, text, processor = identity.card_sha256, identity.text_sha256, identity.processor
    if card is None or text is None or processor is None:
        raise ValueError("the card, the text and the processor must be known")
    tower = ImageTower(
        backbone=identity.backbone,
        backbone_sha256=identity.backbone_sha256,
        card_sha256=card,
        dtype=identity.dtype,
        logit_scale=identity.logit_scale,
    )
    tuned = (_tuned_text(identity, identity.adaptation),) if isinstance(identity.adaptation, ZeroShotAdaptation) else ()
    return Classifier(
        class_names=identity.class_names,
        parts=(
            *NoisyImagePart.of(identity),
            tower,
            *ImageAdapter.of(identity),
            _text(identity, text),
            *RejectionPart.of(identity),
            *tuned,
        ),
        text_features_sha256=identity.text_features_sha256,
        arithmetic=Arithmetic(
            device=identity.device, processor=processor, threads=identity.threads, block_size=identity.block_size
        ),
    )


def read_classifier(classifier: Classifier) -> ClassifierIdentity:
    """Returns the identity of a classifier.

    Args:
        classifier: The classifier as a document states it.

    Raises:
        ValueError: A part is missing, is there twice, or is not in its place.
    """
    match classifier.parts:
        case (ImageTower() as tower, *rest) | (NoisyImagePart(), ImageTower() as tower, *rest):
            adapter = rest[0] if rest and isinstance(rest[0], ImageAdapter) else None
        case _:
            raise _strange_order(classifier)
    match rest if adapter is None else rest[1:]:
        case [TemplateText() | PromptText() | BankText() as text]:
            tuned = rejection = None
        case [TemplateText() | PromptText() as text, ZeroShotText() as tuned]:
            rejection = None
        case [BankText() as text, RejectionPart() as rejection]:
            tuned = None
            rejection.check(classifier.class_names)
        case _:
            raise _strange_order(classifier)
    arithmetic, bank = classifier.arithmetic, text if isinstance(text, BankText) else None
    return ClassifierIdentity(
        backbone=tower.backbone,
        backbone_sha256=tower.backbone_sha256,
        card_sha256=tower.card_sha256,
        dtype=tower.dtype,
        logit_scale=tower.logit_scale,
        prompt=TEMPLATE_PROMPT if isinstance(text, TemplateText) else text.prompt,
        prompt_sha256=None if isinstance(text, TemplateText) else text.prompt_sha256,
        tuning_images=None if isinstance(text, TemplateText) else text.tuning_images,
        template=text.template if isinstance(text, TemplateText) else _BARE,
        text_sha256=text.text_sha256,
        text_features_sha256=classifier.text_features_sha256,
        context_sha256=None if tuned is None else tuned.context_sha256,
        adaptation=_adaptation(tuned, bank),
        members=() if bank is None else bank.members,
        gate_sha256=None if bank is None else bank.gate_sha256,
        class_names=classifier.class_names,
        device=arithmetic.device,
        processor=arithmetic.processor,
        threads=arithmetic.threads,
        block_size=arithmetic.block_size,
        adapter=None if adapter is None else adapter.adapter,
        adapter_sha256=None if adapter is None else adapter.adapter_sha256,
        adapter_images=None if adapter is None else adapter.training_images,
        rejection_sha256=None if rejection is None else rejection.rejection_sha256,
        noisy_image=next((part.named for part in classifier.parts if isinstance(part, NoisyImagePart)), None),
    )


def _strange_order(classifier: Classifier) -> ValueError:
    kinds = ", ".join(part.kind for part in classifier.parts)
    return ValueError(
        "parts must be the noisy image if any, the image tower, its adapter if any, the text, and its extra class or "
        "how it was tuned if any; "
        f"got {kinds or 'none'}"
    )


def _text(identity: ClassifierIdentity, text_sha256: str) -> TemplateText | PromptText | BankText:
    if identity.prompt_sha256 is None:
        return TemplateText(template=identity.template, text_sha256=text_sha256)
    if (images := identity.tuning_images) is None:
        raise ValueError("it must be known whether the images that a prompt was tuned on are recorded")
    if identity.gate_sha256 is None:
        return PromptText(
            prompt=identity.prompt,
            prompt_sha256=identity.prompt_sha256,
            tuning_images=images,
            text_sha256=text_sha256,
        )
    return BankText(
        prompt=identity.prompt,
        prompt_sha256=identity.prompt_sha256,
        tuning_images=images,
        members=identity.members,
        gate="per_sample",
        gate_sha256=identity.gate_sha256,
        text_sha256=text_sha256,
    )


def _tuned_text(identity: ClassifierIdentity, adaptation: ZeroShotAdaptation) -> ZeroShotText:
    if identity.context_sha256 is None:
        raise ValueError("a tuned prompt must be named by its context vectors")
    return ZeroShotText(**asdict(adaptation), context_sha256=identity.context_sha256)


def _adaptation(tuned: ZeroShotText | None, bank: BankText | None) -> Adaptation | None:
    if tuned is not None:
        return ZeroShotAdaptation(steps=tuned.steps, samples=tuned.samples, lr=tuned.lr, context=tuned.context)
    return None if bank is None else GatedAdaptation(gate=bank.gate)
