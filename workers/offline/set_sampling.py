"""Counts the noisy samples of labelled images: for a calibration of prediction sets, and for a test of one."""

import hashlib
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.device import chosen_device, chosen_precision
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.noise_key import classifier_digest, noise_key
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.errors import Rejected
from certrad.models.installed import installed_cards
from certrad.models.prompts.checkpoint import require_backbone
from certrad.models.prompts.store import PromptStore
from certrad.models.smoothing import Noise, NoisySampler, Stream
from certrad.models.smoothing.device import default_batch_size, noise_law
from certrad.models.smoothing.labelling import label_batches
from certrad.models.types import (
    BackboneCard,
    CertifyRequest,
    ClassifierSpec,
    TaskCard,
    ZeroShotAdaptation,
)
from certrad.models.types.defaults import BARE_TEMPLATE, require_adapter
from certrad.models.types.identity import ClassifierParts
from certrad.models.types.window import FileWindow
from certrad.workers.engine.model import Model
from certrad.workers.engine.tuned_images import require_not_tuned_on
from certrad.workers.keys.epochs import Epoch, EpochSecrets
from certrad.workers.offline.classifiers import load_encoder, of_task
from certrad.workers.settings import WorkerSettings


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SetSampling:
    """What labels the noisy samples of images, as an engine of the service would.

    Attributes:
        task: The task.
        card: The card of the backbone.
        model: Backbone, adapter and prompt.
        spec: The base classifier, by name.
        parts: Its parts, with the noise law.
        classifier: The base classifier at this sigma.
        sigma: Noise standard deviation in pixels of [0, 1].
        n: Samples of each image.
        batch_size: Samples of one batch.
        epoch: The secret behind the noise keys.
        epochs: Every secret of this machine.
    """

    task: TaskCard
    card: BackboneCard
    model: Model
    spec: ClassifierSpec
    parts: ClassifierParts
    classifier: VisionLanguageClassifier
    sigma: float
    n: int
    batch_size: int
    epoch: Epoch
    epochs: EpochSecrets

    @property
    def classifier_sha256(self) -> str:
        """Returns the digest of the base classifier with its noise law, as certificates state it."""
        return classifier_digest(self.parts)

    @property
    def request(self) -> CertifyRequest:
        """Returns a request that shows files as one for this task does."""
        return CertifyRequest(classifier=self.spec, window=FileWindow.of_task(self.task.windows))

    def require_unseen(self, input_sha256: str) -> None:
        """Checks that neither the prompt nor the adapter was made from a model input.

        Args:
            input_sha256: SHA-256 of the model input.

        Raises:
            Rejected: image_was_tuned_on, engine_mismatch.
        """
        for card in (self.model.card, self.model.adapter):
            if card is not None:
                require_not_tuned_on(card, input_sha256, self.epochs)

    def labels(self, pixels: NDArray[np.float32], input_sha256: str) -> NDArray[np.uint16]:
        """Returns the label of each sample; `invalid` is label K.

        Args:
            pixels: The model input (3, S, S).
            input_sha256: Its SHA-256, which the noise depends on.
        """
        settings = hashlib.sha256(canonical({"calibration": {"sigma": self.sigma, "n": self.n}})).hexdigest()
        key = noise_key(self.epoch.secret, input_sha256, self.classifier_sha256, settings)
        sampler = NoisySampler(
            image=pixels,
            sigma=self.sigma,
            noise=Noise(key, self.parts.law),
            batch_size=self.batch_size,
            device=self.classifier.device,
        )
        starts = range(0, self.n, self.batch_size)
        with closing(label_batches(sampler, self.classifier, Stream.ESTIMATE, starts)) as batches:
            return np.concatenate([labels for _, labels in batches])[: self.n]


def load_sampling(
    settings: WorkerSettings,
    *,
    task: str,
    prompt: str | None,
    adapter: str | None,
    sigma: float,
    n: int,
) -> SetSampling:
    """Returns what labels samples, with the classifier of a task.

    Args:
        settings: Name the folders, the device and the precision.
        task: Id of the task.
        prompt: Id of the prompt, or `template`; None for the task's default.
        adapter: Id of the adapter, or `none`; None for the default.
        sigma: Noise standard deviation in pixels of [0, 1].
        n: Samples of each image.

    Raises:
        ValueError: A card of the operator cannot be used.
        Rejected: The classifier cannot be used here.
    """
    torch.set_num_threads(settings.threads)
    cards = installed_cards(settings.cards_dir, settings.prompts_dir, settings.adapters_dir)
    of = cards.tasks[task]
    stores = PromptStore(own=settings.prompts_dir), AdapterStore(own=settings.adapters_dir)
    choice = of_task(of, stores[0], cards.prompts, stores[1], prompt=prompt, adapter=adapter)
    if isinstance(choice.adaptation, ZeroShotAdaptation):
        raise Rejected("prompt_mismatch", "prediction sets need a prompt that does not depend on the image")
    if choice.prompt is not None and choice.prompt.rejection is not None:
        raise Rejected(
            "prompt_mismatch",
            f"prediction sets need a prompt without an extra class, got {choice.prompt_id}; choose another with "
            "--prompt",
        )
    spec = ClassifierSpec(
        backbone=choice.backbone,
        prompt=choice.prompt_id,
        class_names=of.class_names,
        template=choice.template(BARE_TEMPLATE if choice.prompt is not None else of.template),
        adaptation=choice.adaptation,
        adapter=choice.adapter_id,
    )
    device = chosen_device(settings.device)
    card = cards.backbones[choice.backbone]
    dtype = chosen_precision(settings.dtype, device)
    backbone = load_encoder(card, choice.adapter, settings, device=device, dtype=dtype)
    vectors = None
    if choice.prompt is not None:
        require_backbone(choice.prompt, backbone)
        require_adapter(choice.prompt, None if choice.adapter is None else choice.adapter.sha256)
        vectors = stores[0].load(choice.prompt)
    model = Model(backbone=backbone, card=choice.prompt, prompt=vectors, adapter=choice.adapter)
    epochs = EpochSecrets(settings.secrets_dir)
    return SetSampling(
        task=of,
        card=card,
        model=model,
        spec=spec,
        parts=model.parts(spec, noise_law(device)),
        classifier=TextHead.of_spec(backbone, spec, vectors).classifier(backbone, sigma),
        sigma=sigma,
        n=n,
        batch_size=min(n, settings.block_size or default_batch_size(device)),
        epoch=epochs.current(),
        epochs=epochs,
    )


def class_counts(labels: NDArray[np.uint16], n_classes: int) -> Sequence[int]:
    """Returns the samples of each class, without `invalid`.

    Args:
        labels: The labels of all samples.
        n_classes: The number K of classes.
    """
    counts: list[int] = np.bincount(labels, minlength=n_classes + 1)[:n_classes].tolist()
    return counts
