"""One attempt at one job: adapt and select once, sample what the ledger misses, leave the document."""

import hashlib
import json
import time
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any, Final, cast

import numpy as np
import torch

from models.backbones.base import Backbone
from models.certificate import (
    ClassifierIdentity,
    Evidence,
    Facts,
    NoiseIdentity,
    Subject,
    canonical,
    document,
    result,
    settings_digest,
)
from models.classifier import VisionLanguageClassifier, text_features_sha256
from models.errors import Rejected
from models.prompts.checkpoint import context_to_bytes, require_backbone
from models.prompts.context import ContextVectors, template_features, text_features
from models.prompts.zero_shot import adapt, initial_context
from models.smoothing import Noise, NoisySampler, Stream, decide, estimate, noise_key, select
from models.types import TEMPLATE_PROMPT, CertifyRequest, LabelCounts, NoiseLaw, PromptCard, ZeroShotAdaptation
from workers import stopping
from workers.contract.names import Phase, input_key
from workers.contract.records import JobRecord, Records
from workers.ledger import EngineIdentity, Fixed, JobEndedError, RedisLedger
from workers.runtime import Runtime, dtype_name

_PROGRESS_SECONDS: Final = 0.25


@dataclass(slots=True)
class Run:
    """One attempt at one job."""

    runtime: Runtime
    records: Records
    record: JobRecord
    began: float = field(default_factory=time.monotonic)
    told: float = 0.0

    @property
    def request(self) -> CertifyRequest:
        """What is asked."""
        return self.record.request

    def certify(self) -> None:
        """Adapts and selects unless the ledger says it was done, samples what is missing, and leaves the document.

        Raises JobEndedError when the job was cancelled, Rejected, or what `stopping.check` raises.
        """
        self._enter("loading")
        ledger = self._ledger()
        fixed = ledger.fixed()
        backbone = self._backbone(fixed)
        card, context = self._prompt(backbone)
        sampler = self._sampler(backbone, card, fixed)
        engine = self._engine(backbone, card, sampler)
        if fixed is None:
            fixed = ledger.fix(self._propose(backbone, context, sampler, engine))
        if strange := engine.differences(fixed.engine):
            raise Rejected("engine_mismatch", f"the job was begun with another {', '.join(strange)}")
        selected = time.monotonic()
        estimation = self._estimate(ledger, fixed, backbone, sampler)
        facts = self._facts(fixed, estimation, backbone, card, sampler)
        timing = {"select_s": selected - self.began, "estimate_s": time.monotonic() - selected}
        self._leave(facts, timing)

    def _enter(self, phase: Phase) -> None:
        if not self.records.enter(self.record.id, phase):
            raise JobEndedError(self.record.id)

    def _ledger(self) -> RedisLedger:
        ttl = self.runtime.settings.input_ttl
        return RedisLedger(self.runtime.redis, self.record.id, ttl=ttl, may_go_on=stopping.check)

    def _backbone(self, fixed: Fixed | None) -> Backbone:
        """The backbone in the precision that was fixed, on the number of threads that was fixed."""
        threads = self.runtime.settings.threads if fixed is None else fixed.threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        dtype = self.runtime.dtype if fixed is None else getattr(torch, fixed.dtype)
        return self.runtime.backbone(self.request.classifier.backbone, dtype)

    def _prompt(self, backbone: Backbone) -> tuple[PromptCard | None, ContextVectors | None]:
        spec = self.request.classifier
        if spec.prompt == TEMPLATE_PROMPT:
            return None, None
        card, context = self.runtime.prompt(spec.prompt)
        require_backbone(card, backbone)
        return card, context

    def _sampler(self, backbone: Backbone, card: PromptCard | None, fixed: Fixed | None) -> NoisySampler:
        settings_sha256 = settings_digest(
            self.request,
            backbone_sha256=backbone.sha256,
            prompt_sha256=None if card is None else card.sha256,
            input_shape=input_shape(backbone),
        )
        key = noise_key(self.runtime.epoch_secret, self._image_facts()["pixels_sha256"], settings_sha256)
        own: NoiseLaw = "philox-ziggurat-f64" if self.runtime.device.type == "cpu" else "philox-boxmuller-f64"
        return NoisySampler(
            image=self._image(input_shape(backbone)),
            sigma=self.request.params.sigma,
            noise=Noise(key, own if fixed is None else fixed.law),
            batch_size=self.runtime.block_size if fixed is None else fixed.block_size,
            device=self.runtime.device,
        )

    def _image_facts(self) -> dict[str, Any]:
        if self.record.image is None:
            raise RuntimeError("an engine got a job that intake has not decoded")
        return self.record.image

    def _image(self, shape: tuple[int, int, int]) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
        payload = cast("bytes | None", self.runtime.redis.get(input_key(self.record.id)))
        if payload is None:
            raise Rejected("worker_lost", "the decoded image waited longer in the job store than it is kept")
        if hashlib.sha256(payload).hexdigest() != self._image_facts()["input_sha256"]:
            raise Rejected("digest_mismatch", "the decoded image changed in the job store")
        return np.frombuffer(payload, dtype="<f4").reshape(shape)

    def _engine(self, backbone: Backbone, card: PromptCard | None, sampler: NoisySampler) -> EngineIdentity:
        return EngineIdentity(
            backbone_sha256=backbone.sha256,
            prompt_sha256=None if card is None else card.sha256,
            key_sha256=hashlib.sha256(sampler.noise.key).hexdigest(),
            device=self.runtime.device.type,
            software=self.runtime.software,
        )

    def _propose(
        self, backbone: Backbone, context: ContextVectors | None, sampler: NoisySampler, engine: EngineIdentity
    ) -> Fixed:
        """Adapts the prompt if asked, encodes the text once, and selects the class."""
        spec = self.request.classifier
        if isinstance(spec.adaptation, ZeroShotAdaptation):
            self._enter("adapting")
            start_from = context or initial_context(backbone, spec.template, spec.adaptation.context)
            features = _noisy_features(backbone, sampler, spec.adaptation)
            context = adapt(backbone, features, spec.class_names, start_from, spec.adaptation)
        with torch.inference_mode():
            if context is None:
                features = template_features(backbone, spec.class_names, spec.template)
            else:
                features = text_features(backbone, spec.class_names, context)
        self._enter("selecting")
        settings = self.runtime.settings
        return Fixed(
            text_features=features.cpu(),
            context_sha256=None if context is None else hashlib.sha256(context_to_bytes(context)).hexdigest(),
            selection=select(
                sampler, VisionLanguageClassifier(backbone, features), self.request.params, self._tell_selection
            ),
            engine=engine,
            dtype=dtype_name(backbone.dtype),
            threads=settings.threads,
            block_size=sampler.batch_size,
            commit_size=settings.commit_size or sampler.batch_size,
            law=sampler.noise.law,
        )

    def _estimate(self, ledger: RedisLedger, fixed: Fixed, backbone: Backbone, sampler: NoisySampler) -> LabelCounts:
        self._enter("estimating")
        return estimate(
            sampler,
            VisionLanguageClassifier(backbone, fixed.text_features),
            self.request.params,
            ledger,
            commit_size=fixed.commit_size,
            on_progress=self._tell_estimation,
        )

    def _tell_selection(self, done: int) -> None:
        stopping.check()
        self._tell(done, (0,) * len(self.request.classifier.class_names), 0)

    def _tell_estimation(self, counts: LabelCounts) -> None:
        self._tell(self.request.params.n0 + counts.total, counts.per_class, counts.invalid)

    def _tell(self, done: int, counts: tuple[int, ...], invalid: int) -> None:
        """Publishes progress, a few times a second at most; raises JobEndedError once the job has ended."""
        now = time.monotonic()
        if now - self.told < _PROGRESS_SECONDS:
            return
        self.told = now
        if not self.records.progress(self.record.id, samples_done=done, counts=counts, invalid=invalid):
            raise JobEndedError(self.record.id)

    def _facts(
        self,
        fixed: Fixed,
        estimation: LabelCounts,
        backbone: Backbone,
        card: PromptCard | None,
        sampler: NoisySampler,
    ) -> Facts:
        spec, image = self.request.classifier, self._image_facts()
        return Facts(
            request=self.request,
            evidence=Evidence(
                selection=fixed.selection,
                estimation=estimation,
                outcome=decide(fixed.selection, estimation, self.request.params),
            ),
            subject=Subject(
                pixels_sha256=image["pixels_sha256"],
                input_sha256=image["input_sha256"],
                input_shape=input_shape(backbone),
            ),
            classifier=ClassifierIdentity(
                backbone=spec.backbone,
                backbone_sha256=backbone.sha256,
                prompt=spec.prompt,
                prompt_sha256=None if card is None else card.sha256,
                context_sha256=fixed.context_sha256,
                text_features_sha256=text_features_sha256(fixed.text_features),
                class_names=spec.class_names,
                template=spec.template,
                adaptation=spec.adaptation,
                logit_scale=backbone.logit_scale,
                dtype=fixed.dtype,
                device=fixed.engine.device,
                threads=fixed.threads,
                block_size=fixed.block_size,
            ),
            noise=NoiseIdentity(law=fixed.law, key=sampler.noise.key.hex(), epoch_sha256=self.runtime.epoch_sha256),
            software=self.runtime.software,
        )

    def _leave(self, facts: Facts, timing: dict[str, float]) -> None:
        """Leaves document and result for `finish`, which has the disks."""
        warnings = [card.notes] if (card := self.runtime.backbone_card(facts.classifier.backbone)).notes else []
        body = result(facts, warnings=warnings, timing={key: round(value, 3) for key, value in timing.items()})
        payload, ttl = canonical(document(facts)), self.runtime.settings.input_ttl
        if not self.records.leave_document(self.record.id, payload, json.dumps(body).encode(), ttl):
            raise JobEndedError(self.record.id)
        self._enter("finishing")


def input_shape(backbone: Backbone) -> tuple[int, int, int]:
    """(channels, height, width) of the pixels a backbone takes."""
    return 3, backbone.image_size, backbone.image_size


def _noisy_features(backbone: Backbone, sampler: NoisySampler, adaptation: ZeroShotAdaptation) -> torch.Tensor:
    """Image features (T, D) of the first T samples of the adaptation stream, each encoded once."""
    starts = range(0, adaptation.samples, sampler.batch_size)
    with torch.inference_mode(), closing(sampler.batches(Stream.ADAPT, starts)) as batches:
        features = [backbone.encode_image(pixels) for _, pixels in batches]
    return torch.cat(features)[: adaptation.samples]
