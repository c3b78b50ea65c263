"""The identities in a certificate: image, base classifier and noise, by digest."""

from dataclasses import dataclass
from typing import Final, Literal

from certrad.models.types.applied_window import AppliedWindow
from certrad.models.types.noise_space import ImageMap, NoisyImage
from certrad.models.types.rejection import check_unlike
from certrad.models.types.request import Adaptation, ZeroShotAdaptation
from certrad.models.types.smoothing import NoiseLaw

TuningImagesRecord = Literal["recorded", "not_recorded"]
THREADS_MAX: Final = 4096
BLOCK_MAX: Final = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The image a certificate is about, by digest, and the window that was applied.

    Attributes:
        pixels_sha256: SHA-256 of the decoded pixels, before resizing.
        input_sha256: SHA-256 of the float32 model input.
        input_shape: (channels, height, width) of the model input.
        window: The window that was applied to the image; None where it is not known.
    """

    pixels_sha256: str
    input_sha256: str
    input_shape: tuple[int, int, int]
    window: AppliedWindow | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierParts:
    """What the base classifier computes with, before it is adapted to an image: the classifier's part of the noise key.

    Two spellings of one classifier, as templates that differ in a capital letter, have the same parts.

    Attributes:
        backbone_sha256: SHA-256 of the weights.
        card_sha256: SHA-256 of what the backbone's card says about computing with them.
        dtype: Precision of the image encoder.
        text_sha256: SHA-256 of the token ids of all classes and of the context vectors, see `text_digest`.
        gate_sha256: Of a bank, SHA-256 of its gate.
        zero_shot: How the prompt will be adapted to the image; None for not at all.
        law: Named law of the noise.
        adapter_sha256: SHA-256 of the adapter of the image tower; None for the frozen tower.
        image_map: The map from the noisy image to the model input; None where noise is added to the model input.
        rejection_sha256: Of a bank with an extra class, SHA-256 of the tensors of that class; None where it has none.
    """

    backbone_sha256: str
    card_sha256: str
    dtype: str
    text_sha256: str
    gate_sha256: str | None
    zero_shot: ZeroShotAdaptation | None
    law: NoiseLaw
    adapter_sha256: str | None = None
    image_map: ImageMap | None = None
    rejection_sha256: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierIdentity:
    """The identity of the base classifier: everything that its logits depend on.

    Attributes:
        backbone: Id of the backbone's card.
        backbone_sha256: SHA-256 of its weights.
        prompt: Id of the prompt checkpoint, or `template`.
        prompt_sha256: SHA-256 of the prompt checkpoint; None for a hand-written template.
        context_sha256: SHA-256 of the context vectors in force, adapted ones included, or of the whole bank; None for a
            hand-written template.
        text_features_sha256: SHA-256 of the text features of all class names; of a bank, of every member's in turn.
        class_names: The names of the classes, in order.
        template: The hand-written template, `{}` with a learned prompt.
        adaptation: How the prompt was adapted, None for not at all.
        logit_scale: Factor of the cosine similarities.
        dtype: Precision of the image encoder.
        device: Kind of device it ran on.
        threads: Threads of the arithmetic, in [1, 4096].
        block_size: Samples of one batch, in [1, 4096].
        members: Of a bank, SHA-256 of each member's context vectors as a checkpoint of its own.
        gate_sha256: Of a bank, SHA-256 of its gate.
        card_sha256: SHA-256 of what the backbone's card says about computing with the weights; None in documents of
            schema 2.
        text_sha256: SHA-256 of the token ids of all classes and of the context vectors before the prompt was adapted to
            the image; None in documents of schema 2.
        processor: Name of the processor, or of its instruction set; None in documents of schema 2.
        tuning_images: Of a learned prompt or bank, whether the images that it was tuned on are recorded, so that none
            of them is certified under it; None for a template, and in documents of schema 2.
        adapter: Id of the adapter that is merged into the image tower; None for the frozen tower.
        adapter_sha256: SHA-256 of the adapter's file; None for the frozen tower.
        adapter_images: Of an adapter, whether the images that it was trained on are recorded, so that none of them is
            certified with it; None for the frozen tower.
        noisy_image: The rendered image that noise is added to, whose map to the model input is a part of the
            classifier; None where noise is added to the model input.
        rejection_sha256: Of a bank with an extra class, SHA-256 of the tensors of that class; None where it has none.
    """

    backbone: str
    backbone_sha256: str
    prompt: str
    prompt_sha256: str | None
    context_sha256: str | None
    text_features_sha256: str
    class_names: tuple[str, ...]
    template: str
    adaptation: Adaptation | None
    logit_scale: float
    dtype: str
    device: str
    threads: int
    block_size: int
    members: tuple[str, ...] = ()
    gate_sha256: str | None = None
    card_sha256: str | None = None
    text_sha256: str | None = None
    processor: str | None = None
    tuning_images: TuningImagesRecord | None = None
    adapter: str | None = None
    adapter_sha256: str | None = None
    adapter_images: TuningImagesRecord | None = None
    noisy_image: NoisyImage | None = None
    rejection_sha256: str | None = None

    def __post_init__(self) -> None:
        check_unlike(self.class_names, self.rejection_sha256 is not None)
        if self.rejection_sha256 is not None and self.gate_sha256 is None:
            raise ValueError("only a bank can have an extra class")
        of_adapter = (self.adapter, self.adapter_sha256, self.adapter_images)
        if len({each is None for each in of_adapter}) > 1:
            raise ValueError(f"an adapter must be named with its digest and its images, got {of_adapter!r}")
        for name, value, most in (("threads", self.threads, THREADS_MAX), ("block_size", self.block_size, BLOCK_MAX)):
            if not 1 <= value <= most:  # a replay takes as many
                raise ValueError(f"{name} must be in 1..{most}, got {value!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class NoiseIdentity:
    """The identity of the noise: everything that is needed to draw it again.

    Attributes:
        law: Its named law.
        key: The revealed noise key, 32 bytes in hexadecimal.
        epoch_sha256: SHA-256 of the secret behind the key.
        settings_sha256: Digest of the settings that the key is derived from.
        classifier_sha256: Digest of the classifier that the key is derived from; None in documents of schema 2.
    """

    law: NoiseLaw
    key: str
    epoch_sha256: str
    settings_sha256: str
    classifier_sha256: str | None = None
