"""One attempt at one job: adapt and select once, sample what the ledger misses, leave the document."""

import hashlib
import json
import time
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np
import torch

from certrad.models.backbones.base import Backbone
from certrad.models.backbones.device import dtype_name
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import document, result
from certrad.models.certificates.facts import (
    ClassifierIdentity,
    Evidence,
    Facts,
    NoiseIdentity,
    Subject,
    routed_evidence,
)
from certrad.models.certificates.noise_key import noise_key, settings_digest
from certrad.models.classifier import TextHead, prompt_in_force, text_features_sha256
from certrad.models.errors import Rejected
from certrad.models.images.units import ImageScale
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import member_digests, prompt_to_bytes, require_backbone
from certrad.models.prompts.context import ContextVectors
from certrad.models.smoothing import Noise, NoisySampler, Stream, estimate, select
from certrad.models.smoothing.device import noise_law
from certrad.models.smoothing.encoded import EncodedSampler
from certrad.models.smoothing.routing import estimate_routes, select_route
from certrad.models.types import TEMPLATE_PROMPT, CertifyRequest, LabelCounts, PromptCard
from certrad.models.types.defaults import require_use
from certrad.models.types.routing import RouteSelection
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.names import Phase, input_key
from certrad.workers.contract.records import Records
from certrad.workers.engine.ledger import EngineIdentity, Fixed, JobEndedError, RedisLedger
from certrad.workers.engine.progress import SamplingProgress
from certrad.workers.engine.runtime import Runtime
from certrad.workers.keys.epochs import Epoch
from certrad.workers.queue import stop as stopping


@dataclass(slots=True)
class Run:
    """One attempt at one job."""

    runtime: Runtime
    records: Records
    record: JobRecord
    began: float = field(default_factory=time.monotonic)
    progress: SamplingProgress = field(init=False)

    def __post_init__(self) -> None:
        self.progress = SamplingProgress(self.records, self.record.id, self.request)

    @property
    def request(self) -> CertifyRequest:
        """What is asked; raises TypeError for a record of another kind of job."""
        if not isinstance(self.record.request, CertifyRequest):
            raise TypeError(f"a request to certify is expected, got one to {self.record.request.kind}")
        return self.record.request

    def certify(self) -> None:
        """Adapts and selects unless the ledger says it was done, samples what is missing, and leaves the document.

        Raises JobEndedError when the job was cancelled, Rejected, or what `stopping.check` raises.
        """
        self._enter("loading")
        ledger = self._ledger()
        fixed = ledger.fixed() or ledger.fix(self._propose())
        backbone = self._backbone(fixed)
        card, _ = self._prompt(backbone)
        sampler = self._sampler(backbone, card, self._epoch(fixed), fixed)
        engine = self._engine(backbone, card, sampler)
        if strange := engine.differences(fixed.engine):
            raise Rejected("engine_mismatch", f"the job was begun with another {', '.join(strange)}")
        selected = time.monotonic()
        evidence = self._estimate(ledger, fixed, backbone, sampler)
        facts = self._facts(fixed, evidence, backbone, card, sampler)
        timing = {"select_s": selected - self.began, "estimate_s": time.monotonic() - selected}
        self._leave(facts, timing)

    def _enter(self, phase: Phase) -> None:
        if not self.records.enter(self.record.id, phase):
            raise JobEndedError(self.record.id)

    def _ledger(self, part: str = "") -> RedisLedger:
        ttl = self.runtime.settings.input_ttl
        return RedisLedger(self.runtime.redis, self.record.id, ttl=ttl, may_go_on=stopping.check, part=part)

    def _backbone(self, fixed: Fixed | None) -> Backbone:
        """The backbone in the precision that was fixed, on the number of threads that was fixed."""
        threads = self.runtime.settings.threads if fixed is None else fixed.threads
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)
        dtype = self.runtime.dtype if fixed is None else getattr(torch, fixed.dtype)
        return self.runtime.backbone(self.request.classifier.backbone, dtype)

    def _prompt(self, backbone: Backbone) -> tuple[PromptCard | None, ContextVectors | Bank | None]:
        spec = self.request.classifier
        if spec.prompt == TEMPLATE_PROMPT:
            return None, None
        card, prompt = self.runtime.prompt(spec.prompt)
        require_backbone(card, backbone)
        return card, prompt

    def _epoch(self, fixed: Fixed) -> Epoch:
        """The epoch a job began in, in use or retired."""
        if (epoch := self.runtime.epochs.named(fixed.epoch_sha256)) is None:
            raise Rejected("engine_mismatch", "the job was begun with an epoch secret that this engine does not have")
        return epoch

    def _new_epoch(self) -> Epoch:
        """The epoch in use, committed to in public before it draws any noise, as are those that did."""
        epoch = self.runtime.epochs.current()
        self.runtime.epochs.publish(Keyring(self.runtime.redis), clock=time.time)
        return epoch

    def _settings_sha256(self, backbone: Backbone, card: PromptCard | None) -> str:
        return settings_digest(
            self.request,
            backbone_sha256=backbone.sha256,
            prompt_sha256=None if card is None else card.sha256,
            input_shape=input_shape(backbone),
        )

    def _sampler(
        self, backbone: Backbone, card: PromptCard | None, epoch: Epoch, fixed: Fixed | None = None
    ) -> NoisySampler:
        settings_sha256 = self._settings_sha256(backbone, card)
        key = noise_key(epoch.secret, self._image_facts()["pixels_sha256"], settings_sha256)
        return NoisySampler(
            image=self._image(input_shape(backbone)),
            sigma=self.request.params.sigma,
            noise=Noise(key, noise_law(self.runtime.device) if fixed is None else fixed.law),
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

    def _propose(self) -> Fixed:
        """Adapts the prompt if asked, encodes the text once, and selects the class, all in this engine's own way."""
        epoch, backbone = self._new_epoch(), self._backbone(None)
        card, prompt = self._prompt(backbone)
        require_use(card, self.request.classifier.adaptation)
        sampler = self._sampler(backbone, card, epoch)
        spec = self.request.classifier

        def noisy_features(n: int) -> torch.Tensor:
            self._enter("adapting")
            return EncodedSampler.of(sampler, backbone.encode_image).first(Stream.ADAPT, n)

        prompt = prompt_in_force(backbone, spec, prompt, noisy_features)
        head = TextHead.of_spec(backbone, spec, prompt)
        self._enter("selecting")
        settings = self.runtime.settings
        selection, selector = self._select(sampler, backbone, head)
        return Fixed(
            text_features=head.text_features.cpu(),
            gate=head.gate,
            members=member_digests(prompt) if isinstance(prompt, Bank) else (),
            context_sha256=None if prompt is None else hashlib.sha256(prompt_to_bytes(prompt)).hexdigest(),
            selection=selection,
            selector=selector,
            engine=self._engine(backbone, card, sampler),
            dtype=dtype_name(backbone.dtype),
            threads=settings.threads,
            block_size=sampler.batch_size,
            commit_size=settings.commit_size or sampler.batch_size,
            law=sampler.noise.law,
            epoch_sha256=epoch.sha256,
        )

    def _select(
        self, sampler: NoisySampler, backbone: Backbone, head: TextHead
    ) -> tuple[LabelCounts, LabelCounts | None]:
        """The selection samples of the class and, where sigma is chosen automatically, those of the selector."""
        params, routing = self.request.params, self.request.routing
        if routing is None:
            return select(sampler, head.classifier(backbone, params.sigma), params, self.progress.selection), None
        found = select_route(sampler, head.by_route(backbone, routing), params, routing, self.progress.selection)
        return found.classes, found.selector

    def _estimate(self, ledger: RedisLedger, fixed: Fixed, backbone: Backbone, sampler: NoisySampler) -> Evidence:
        self._enter("estimating")
        params, routing = self.request.params, self.request.routing
        head = TextHead(text_features=fixed.text_features, gate=fixed.gate)
        if routing is not None and fixed.selector is not None:
            selection = RouteSelection(selector=fixed.selector, classes=fixed.selection)
            routed = estimate_routes(
                sampler,
                head.by_route(backbone, routing),
                params,
                routing,
                selection,
                lambda route: self._ledger("selector:" if route is None else f"route-{route}:"),
                fixed.commit_size,
                self.progress.routes,
            )
            return routed_evidence(routed)
        classifier = head.classifier(backbone, params.sigma)
        found = estimate(
            sampler, classifier, params, fixed.selection, ledger, fixed.commit_size, self.progress.estimation
        )
        return Evidence(
            selection=fixed.selection,
            estimation=found.counts,
            labels=found.labels,
            outcome=found.outcome,
            decision=found.decision,
        )

    def _facts(
        self,
        fixed: Fixed,
        evidence: Evidence,
        backbone: Backbone,
        card: PromptCard | None,
        sampler: NoisySampler,
    ) -> Facts:
        spec, image = self.request.classifier, self._image_facts()
        return Facts(
            request=self.request,
            evidence=evidence,
            subject=Subject(
                pixels_sha256=image["pixels_sha256"],
                input_sha256=image["input_sha256"],
                input_shape=input_shape(backbone),
            ),
            scale=ImageScale(**image["scale"]),
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
                members=fixed.members,
                gate_sha256=None if fixed.gate is None else fixed.gate.sha256,
            ),
            noise=NoiseIdentity(
                law=fixed.law,
                key=sampler.noise.key.hex(),
                epoch_sha256=fixed.epoch_sha256,
                settings_sha256=self._settings_sha256(backbone, card),
            ),
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
