"""The setup of an engine for one job, as leader or helper: the model, the noise, and an engine of the same kind."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from numpy.typing import NDArray

from certrad.models.backbones.processor import processor_name
from certrad.models.certificates.noise_key import classifier_digest, noise_key, sampling_digest
from certrad.models.classifier import TextHead
from certrad.models.errors import Rejected
from certrad.models.images.grey_rendering import GreyRenderer
from certrad.models.images.pixel_map import PixelMap
from certrad.models.prompts.checkpoint import require_backbone
from certrad.models.smoothing import Noise, NoisySampler
from certrad.models.smoothing.parameter_noise import WindowNoise
from certrad.models.smoothing.parameter_samples import WindowSampler
from certrad.models.smoothing.routing import ClassifierAt
from certrad.models.types import TEMPLATE_PROMPT, AdapterCard, PromptCard
from certrad.models.types.applied_window import HeaderWindow, SentWindow, TaskWindow
from certrad.models.types.defaults import require_adapter
from certrad.models.types.identity import ClassifierParts
from certrad.models.types.parameters import ParameterSigma
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.ledger import EngineIdentity, LedgerEntry
from certrad.workers.engine.model import Model
from certrad.workers.engine.runtime import Runtime
from certrad.workers.engine.tuned_images import require_not_tuned_on
from certrad.workers.keys.epochs import Epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class LabellingSetup:
    """What an engine labels the samples of a job with.

    Attributes:
        entry: What is fixed of the job.
        model: Backbone and prompt.
        parts: The parts of the classifier, named in the document.
        sampler: Draws noisy copies of the image.
    """

    entry: LedgerEntry
    model: Model
    parts: ClassifierParts
    sampler: NoisySampler

    @property
    def head(self) -> TextHead:
        """Returns what follows the image encoder."""
        entry = self.entry
        return TextHead(text_features=entry.text_features, gate=entry.gate, rejection=entry.rejection)

    @property
    def classifier_at(self) -> ClassifierAt:
        """Returns the base classifier for noise of a sigma."""
        return self.model.classifier_at(self.head)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetupFactory:
    """Makes the setup with which one engine labels the samples of one job.

    Attributes:
        runtime: The state of the engine process.
        input: The request and its image.
    """

    runtime: Runtime
    input: CertificationInput

    def prepare(self, entry: LedgerEntry) -> LabellingSetup:
        """Returns what this engine labels the samples of the job with.

        Args:
            entry: What is fixed of the job.

        Raises:
            Rejected: engine_mismatch, if this is another kind of engine; or backbone, prompt or image is refused.
        """
        model = self.load(entry.dtype, entry.threads, channels_last=entry.channels_last)
        parts = model.parts(self.input.request.classifier, entry.law, self.input.image.noisy)
        sampler = self.make_sampler(model, self._named_epoch(entry), parts, entry.batch_size)
        if strange := self.identify_engine(model, sampler).differences(entry.engine):
            raise Rejected("engine_mismatch", f"the job was begun with another {', '.join(strange)}")
        return LabellingSetup(entry=entry, model=model, parts=parts, sampler=sampler)

    def could_prepare(self, entry: LedgerEntry) -> bool:
        """Returns whether device, processor and software are those of the job, which takes no model to see.

        Args:
            entry: What is fixed of the job.
        """
        runtime, engine = self.runtime, entry.engine
        return (engine.device, engine.processor, engine.software) == (
            runtime.device.type,
            processor_name(runtime.device),
            runtime.arithmetic,
        )

    def load(self, dtype: str, threads: int, *, channels_last: bool | None = None) -> Model:
        """Returns backbone, adapter and prompt, in the precision and on the number of threads of the job.

        Args:
            dtype: The precision of the image encoder.
            threads: Threads of the arithmetic.
            channels_last: Memory format of the image tower; None for the one that is faster here.

        Raises:
            Rejected: Backbone, adapter, prompt or image is refused.
        """
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        spec, seen = self.input.request.classifier, self.input.image.input_digests
        adapter = None if spec.adapter is None else self.runtime.adapter_card(spec.adapter)
        if adapter is not None:
            self._require_not_tuned_on(adapter, seen)
        backbone = self.runtime.backbone(spec.backbone, dtype, adapter, channels_last=channels_last)
        if spec.prompt == TEMPLATE_PROMPT:
            return Model(backbone=backbone, card=None, prompt=None, adapter=adapter)
        card, prompt = self.runtime.prompt(spec.prompt)
        require_backbone(card, backbone)
        require_adapter(card, None if adapter is None else adapter.sha256)
        self._require_not_tuned_on(card, seen)
        return Model(backbone=backbone, card=card, prompt=prompt, adapter=adapter)

    def _require_not_tuned_on(self, card: AdapterCard | PromptCard, seen: Sequence[str]) -> None:
        for input_sha256 in seen:
            require_not_tuned_on(card, input_sha256, self.runtime.epochs)

    def make_sampler(self, model: Model, epoch: Epoch, parts: ClassifierParts, batch_size: int) -> NoisySampler:
        """Returns what draws the noisy copies of the image.

        Args:
            model: Backbone and prompt.
            epoch: The epoch whose secret the noise key is made from.
            parts: The parts of the classifier.
            batch_size: Samples of one batch.
        """
        given, size = self.input, model.backbone.image_size
        return NoisySampler(
            image=given.read_pixels(self.runtime.redis, size),
            sigma=given.request.sigma.first,
            noise=Noise(self._key(epoch, parts, given.image.noise_sha256), parts.law),
            batch_size=batch_size,
            device=self.runtime.device,
            pixel_map=None if parts.image_map is None else PixelMap.of(parts.image_map, size),
        )

    def sampler_of_variant(self, setup: LabellingSetup, place: int) -> NoisySampler:
        """Returns what draws the noisy copies of a variant, under the noise key of its model input.

        Args:
            setup: What this engine labels the samples of the job with.
            place: The place of the variant, from 0.

        Raises:
            Rejected: engine_mismatch, worker_lost, digest_mismatch.
        """
        epoch, parts = self._named_epoch(setup.entry), setup.parts
        key = self._key(epoch, parts, self.input.image.variants[place].input_sha256)
        return replace(setup.sampler, image=self.variant(setup, place), noise=Noise(key, parts.law))

    def variant(self, setup: LabellingSetup, place: int) -> NDArray[Any]:
        """Returns the model input of a variant, (channels, rows, columns).

        Args:
            setup: What this engine labels the samples of the job with.
            place: The place of the variant, from 0.

        Raises:
            Rejected: worker_lost, digest_mismatch.
        """
        return self.input.read_variant(self.runtime.redis, setup.model.backbone.image_size, place)

    def sampler_of_windows(self, setup: LabellingSetup, sigma: ParameterSigma) -> WindowSampler:
        """Returns what draws noisy copies in drawn windows, under the noise key of the values before the window.

        Args:
            setup: What this engine labels the samples of the job with.
            sigma: Standard deviations of the noise on the window.

        Raises:
            Rejected: engine_mismatch, worker_lost, digest_mismatch.
            TypeError: The image has no window.
        """
        window, size = self.input.image.window, setup.model.backbone.image_size
        if not isinstance(window, HeaderWindow | SentWindow | TaskWindow):
            raise TypeError("noise on the window needs an image that is shown with one")
        values = self.input.read_grey(self.runtime.redis, size)
        key = self._key(self._named_epoch(setup.entry), setup.parts, values.named.sha256)
        noise = Noise(key, setup.parts.law)
        return WindowSampler(
            pixels=replace(setup.sampler, noise=noise).with_sigma(self.input.request.sigma.first),
            windows=WindowNoise(noise=noise, centre=window.centre, width=window.width, sigma=sigma),
            render=GreyRenderer.of(values, size).model_input,
        )

    def _key(self, epoch: Epoch, parts: ClassifierParts, noised: str) -> bytes:
        return noise_key(epoch.secret, noised, classifier_digest(parts), sampling_digest(self.input.request))

    def identify_engine(self, model: Model, sampler: NoisySampler) -> EngineIdentity:
        """Returns what other engines of the job must have in common with this one.

        Args:
            model: Backbone and prompt.
            sampler: Draws the noisy copies.
        """
        return EngineIdentity(
            backbone_sha256=model.backbone.sha256,
            prompt_sha256=model.prompt_sha256,
            adapter_sha256=model.adapter_sha256,
            key_sha256=hashlib.sha256(sampler.noise.key).hexdigest(),
            device=self.runtime.device.type,
            processor=processor_name(self.runtime.device),
            software=self.runtime.arithmetic,
        )

    def _named_epoch(self, entry: LedgerEntry) -> Epoch:
        """Returns the epoch in which the job began, current or retired.

        Raises:
            Rejected: engine_mismatch, if this engine does not have it.
        """
        if (epoch := self.runtime.epochs.named(entry.epoch_sha256)) is None:
            raise Rejected("engine_mismatch", "the job was begun with an epoch secret that this engine does not have")
        return epoch
