"""One attempt at one certification: fixes what all engines share, draws the missing samples, hands the result over."""

import hashlib
import time
from dataclasses import dataclass, field, replace

import torch

from certrad.models.backbones.device import layout_in_software
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result, document
from certrad.models.certificates.facts import Facts, build_facts
from certrad.models.certificates.noise_key import classifier_digest, sampling_digest
from certrad.models.classifier import TextHead, prompt_in_force, text_features_sha256
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import member_digests, prompt_to_bytes
from certrad.models.smoothing import Stream
from certrad.models.smoothing.device import noise_law
from certrad.models.smoothing.encoded import EncodedSampler
from certrad.models.types import LabelCounts, PromptCard
from certrad.models.types.defaults import require_use
from certrad.models.types.evidence import Evidence
from certrad.models.types.identity import ClassifierIdentity, NoiseIdentity
from certrad.models.types.variants import VariantsFound
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.names import Phase
from certrad.workers.contract.payloads import HandOver, Payloads
from certrad.workers.contract.records import Records
from certrad.workers.engine import figures
from certrad.workers.engine.added_figures import AddedFigures
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.disagreement import report_redone
from certrad.workers.engine.job_setup import LabellingSetup, SetupFactory
from certrad.workers.engine.ledger import JobEndedError, LedgerEntry, RedisLedger
from certrad.workers.engine.parameters import estimate_parameters
from certrad.workers.engine.prediction_sets import job_calibration, prediction_set_of
from certrad.workers.engine.progress import SamplingProgress
from certrad.workers.engine.result_warnings import result_warnings
from certrad.workers.engine.runtime import Runtime
from certrad.workers.engine.shared_ledger import OwnShare, SharedLedger
from certrad.workers.engine.ticket_offers import TicketOffers
from certrad.workers.engine.variants import VariantSampling
from certrad.workers.keys.epochs import Epoch
from certrad.workers.queue import stopping


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelling:
    """The part of one engine in the estimation samples of a certificate, in one attempt.

    Attributes:
        estimation: Seconds from the first estimation sample to the last one, whichever engine labelled them.
        seconds: Part of it in which this engine did not wait for others.
        samples: Samples that this engine labelled in these seconds.
    """

    estimation: float
    seconds: float
    samples: int


@dataclass(slots=True)
class Certification:
    """One attempt at one job.

    Attributes:
        runtime: The state of the engine process.
        records: The job records.
        input: The request and its image.
        began: Monotonic seconds when the attempt began.
        share: What this engine labels of the estimation samples.
        progress: Publishes the samples that are done.
        may_add_figures: Whether no earlier attempt has come as far as the figures that follow the hand-over.
    """

    runtime: Runtime
    records: Records
    input: CertificationInput
    began: float = field(default_factory=time.monotonic)
    share: OwnShare = field(default_factory=OwnShare, init=False)
    progress: SamplingProgress = field(init=False)
    may_add_figures: bool = field(default=False, init=False)

    def __post_init__(self) -> None:
        self.progress = SamplingProgress(
            self.records, self.input.job_id, self.input.request, len(self.input.image.variants)
        )

    def certify(self) -> Labelling:
        """Certifies the image of the job, hands the result over, and returns the part of this engine in it.

        It adapts and selects unless the ledger says that this is done, and draws the samples that the ledger lacks.

        Raises:
            JobEndedError: The job was cancelled.
            Rejected: The job cannot be done, or not by this engine.
            StopRequested: The process is to stop.
        """
        self._enter("loading")
        ledger = self._ledger("")
        # What all engines of this job share is fixed once, before the first estimation sample: the first proposal
        # stands, and an engine that resumes the job reads it.
        entry = ledger.fixed() or ledger.fix(self._propose())
        setup = self._setup_factory.prepare(entry)
        selected_at = time.monotonic()
        calibration = job_calibration(self.input, setup, self.runtime)
        evidence = self._estimate(setup)
        variants = self._sample_variants(evidence, setup)
        # Noise on the window is a claim beside the others: this engine draws its samples alone.
        own = self._own_ledger("parameters:")
        parameters = estimate_parameters(self._setup_factory, setup, evidence, own, self.progress.in_windows)
        timing = {"select_s": selected_at - self.began, "estimate_s": time.monotonic() - selected_at}
        facts = replace(self._facts(evidence, setup, variants), parameters=parameters)
        facts = replace(facts, prediction_set=prediction_set_of(facts.request, evidence, calibration))
        self._hand_over(facts, setup.model.card, timing)
        self._add_figures(evidence, setup, variants)
        self._enter("finishing")
        further = (0 if variants is None else variants.samples) + (0 if parameters is None else parameters.drawn)
        estimation, samples = timing["estimate_s"], self.share.samples + further
        return Labelling(estimation=estimation, seconds=estimation - self.share.waited, samples=samples)

    def _enter(self, phase: Phase) -> None:
        if not self.records.enter(self.input.job_id, phase):
            raise JobEndedError(self.input.job_id)

    @property
    def _setup_factory(self) -> SetupFactory:
        return SetupFactory(runtime=self.runtime, input=self.input)

    def _ledger(self, part: str) -> SharedLedger:
        return SharedLedger(
            self.runtime.redis,
            self.input.job_id,
            ttl=self.runtime.settings.input_ttl,
            raise_if_stopped=stopping.raise_if_stopped,
            part=part,
            engine=self.runtime.name,
            on_redone=report_redone(self.input.job_id),
            share=self.share,
        )

    def _publish_current_epoch(self) -> Epoch:
        """Returns the epoch in use; its commitment, and those of earlier epochs, are public before it draws noise."""
        epoch = self.runtime.epochs.current()
        self.runtime.epochs.publish(Keyring(self.runtime.redis), clock=time.time)
        return epoch

    def _propose(self) -> LedgerEntry:
        """Returns this engine's proposal: the prompt, adapted if requested, its text features, the selected class."""
        runtime, spec, epoch = self.runtime, self.input.request.classifier, self._publish_current_epoch()
        model = self._setup_factory.load(runtime.dtype, runtime.settings.threads)
        require_use(model.card, spec.adaptation)
        law = noise_law(runtime.device)
        parts = model.parts(spec, law, self.input.image.noisy)
        sampler = self._setup_factory.make_sampler(model, epoch, parts, runtime.batch_size_of(model.backbone))

        def noisy_features(n: int) -> torch.Tensor:
            self._enter("adapting")
            return EncodedSampler(pixels=sampler, encode=model.backbone.encode_image).first(Stream.ADAPT, n)

        prompt = prompt_in_force(model.backbone, spec, model.prompt, noisy_features)
        head = TextHead.of_spec(model.backbone, spec, prompt)
        self._enter("selecting")
        return LedgerEntry(
            text_features=head.text_features.cpu(),
            gate=head.gate,
            rejection=head.rejection,
            members=member_digests(prompt) if isinstance(prompt, Bank) else (),
            context_sha256=None if prompt is None else hashlib.sha256(prompt_to_bytes(prompt)).hexdigest(),
            selection=self.input.plan.select(sampler, model.classifier_at(head), self.progress.selection),
            engine=self._setup_factory.identify_engine(model, sampler),
            dtype=model.backbone.precision,
            threads=runtime.settings.threads,
            batch_size=sampler.batch_size,
            block_size=runtime.block_size_of(sampler.batch_size),
            channels_last=model.backbone.channels_last,
            law=law,
            epoch_sha256=epoch.sha256,
        )

    def _estimate(self, setup: LabellingSetup) -> Evidence:
        self._enter("estimating")
        entry, request = setup.entry, self.input.request
        self.progress.class_index = entry.selection.class_index
        offers = TicketOffers(
            runtime=self.runtime,
            job_id=self.input.job_id,
            backbone=request.classifier.backbone,
            adapter=setup.model.adapter,
            samples=request.params.n,
            batch_size=entry.batch_size,
            may_stop_early=request.params.target_radius is not None,
        )

        def note(done: int, counts: LabelCounts | None, running_radius: float | None) -> None:
            self.progress.estimation(done, counts, running_radius)
            offers.consider(done)

        try:
            return self.input.plan.estimate(
                setup.sampler, setup.classifier_at, entry.selection, self._ledger, entry.block_size, note
            )
        finally:
            offers.end()

    def _sample_variants(self, evidence: Evidence, setup: LabellingSetup) -> VariantsFound | None:
        """Returns what the variants of the file show; this engine draws their few samples alone."""
        ledger = self._own_ledger("")

        def note() -> None:
            ledger.check()
            self.progress.variant()

        sampling = VariantSampling(
            factory=self._setup_factory, setup=setup, ledger_of=self._own_ledger, on_variant=note
        )
        return sampling.estimate(evidence) or sampling.label(evidence)

    def _own_ledger(self, part: str) -> RedisLedger:
        return RedisLedger(
            self.runtime.redis,
            self.input.job_id,
            ttl=self.runtime.settings.input_ttl,
            raise_if_stopped=stopping.raise_if_stopped,
            engine=self.runtime.name,
            part=part,
        )

    def _facts(self, evidence: Evidence, setup: LabellingSetup, variants: VariantsFound | None) -> Facts:
        entry, model, parts, sampler = setup.entry, setup.model, setup.parts, setup.sampler
        request = self.input.request
        spec = request.classifier
        classifier = ClassifierIdentity(
            backbone=spec.backbone,
            backbone_sha256=model.backbone.sha256,
            prompt=spec.prompt,
            prompt_sha256=model.prompt_sha256,
            context_sha256=entry.context_sha256,
            text_features_sha256=text_features_sha256(entry.text_features),
            class_names=spec.class_names,
            template=spec.template,
            adaptation=spec.adaptation,
            logit_scale=model.backbone.logit_scale,
            dtype=entry.dtype,
            device=entry.engine.device,
            threads=entry.threads,
            block_size=entry.batch_size,
            members=entry.members,
            gate_sha256=None if entry.gate is None else entry.gate.sha256,
            rejection_sha256=None if entry.rejection is None else entry.rejection.sha256,
            card_sha256=parts.card_sha256,
            text_sha256=parts.text_sha256,
            processor=entry.engine.processor,
            tuning_images=model.tuning_images,
            adapter=spec.adapter,
            adapter_sha256=model.adapter_sha256,
            adapter_images=model.adapter_images,
            noisy_image=self.input.image.noisy,
        )
        noise = NoiseIdentity(
            law=entry.law,
            key=sampler.noise.key.hex(),
            epoch_sha256=entry.epoch_sha256,
            classifier_sha256=classifier_digest(parts),
            settings_sha256=sampling_digest(request),
        )
        software = self.runtime.software | layout_in_software(channels_last=entry.channels_last)
        return build_facts(request, evidence, self.input.image, classifier, noise, software, variants)

    def _hand_over(self, facts: Facts, prompt: PromptCard | None, timing: dict[str, float]) -> None:
        """Puts document and result into Redis for `finish`, which has the disks.

        Raises:
            JobEndedError: The job has ended.
        """
        card = self.runtime.backbone_card(facts.classifier.backbone)
        result = certification_result(
            facts,
            warnings=result_warnings(self.input.image, card, prompt, facts.request.noise_space),
            timing={name: round(seconds, 3) for name, seconds in timing.items()},
        )
        curve = figures.curve(facts.request, facts.evidence, self.input.job_id)
        hand_over = HandOver(result=result, document=canonical(document(facts)), figures={"curve": curve})
        # These figures are made only once: a process that dies of one must not take the job along.
        self.may_add_figures = not self._payloads.has_hand_over(self.input.job_id)
        if not self._payloads.put_hand_over(self.input.job_id, hand_over):
            raise JobEndedError(self.input.job_id)

    def _add_figures(self, evidence: Evidence, setup: LabellingSetup, variants: VariantsFound | None) -> None:
        if self.may_add_figures:
            added = AddedFigures(runtime=self.runtime, input=self.input)
            added.add_renderings(setup, variants)
            added.add_example(setup, evidence)

    @property
    def _payloads(self) -> Payloads:
        return Payloads(self.runtime.redis, ttl=self.runtime.settings.input_ttl)
