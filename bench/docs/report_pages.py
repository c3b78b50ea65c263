"""Draws the example pages of docs/reports.md: a certificate and an abstention about a phantom, which is no patient.

    python -m certrad.bench report-pages --folder docs/images

The image is a drawn CT phantom. The rest is genuine: the shipped model classifies it under noise, and the pages are
those that a hospital gets. The secret behind the noise is fixed, so that they are the same each time on one kind of
processor.
"""

import argparse
import hashlib
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Final

import numpy as np
import torch
from PIL import Image

from certrad.bench.common.classifier import default_choice, default_encoder
from certrad.bench.common.mednist import TASK
from certrad.bench.docs.phantom import SIDE, phantom
from certrad.models.backbones.base import load_backbone, weights_directory
from certrad.models.backbones.device import dtype_name
from certrad.models.backbones.processor import processor_name
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import document, state
from certrad.models.certificates.facts import Facts
from certrad.models.certificates.noise_key import classifier_digest, noise_key, sampling_digest
from certrad.models.certificates.statement import StatedCertificate
from certrad.models.classifier import TextHead, text_features_sha256
from certrad.models.images.decoded_image import DecodedImage
from certrad.models.images.model_input import image_scale, model_input
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import load_prompt_or_bank, member_digests, prompt_to_bytes
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_tasks
from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler
from certrad.models.smoothing.device import noise_law
from certrad.models.smoothing.plan import plan_samples
from certrad.models.types import TEMPLATE_PROMPT, CertifyRequest, ClassifierSpec, FixedSigma, SamplingParams
from certrad.models.types.identity import ClassifierIdentity, NoiseIdentity, Subject
from certrad.workers.decoders import dicom
from certrad.workers.engine.model import Model
from certrad.workers.reports.codes import finding
from certrad.workers.reports.page import page
from certrad.workers.reports.report import Report
from certrad.workers.reports.texts import LANGUAGES

SIGMAS: Final = {"certified": 0.15, "abstained": 1.0}
"""Outcome -> the noise under which the phantom has it; abstained from by the template on the frozen encoder."""
_CPU: Final = torch.device("cpu")
_SECRET: Final = bytes(32)
_ISSUED: Final = datetime(2026, 1, 1, 12, tzinfo=UTC)
_BATCH: Final = 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options of the command."""
    parser.add_argument("--folder", type=Path, default=Path("docs/images"), help="folder of the two PNG files")
    parser.add_argument("--n", type=int, default=1000, help="estimation samples of each certificate")
    parser.add_argument("--language", choices=LANGUAGES, default="en", help="language of the pages")
    parser.add_argument("--width", type=int, default=960, help="width of the files in pixels")


def run(arguments: argparse.Namespace) -> None:
    """Writes the two pages.

    Raises:
        ValueError: An outcome is not the one that its page is to show.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # so that the logits are the same on any number of cores
    try:
        _write(arguments)
    finally:
        torch.set_num_threads(threads)


def _write(arguments: argparse.Namespace) -> None:
    image = dicom.decode(phantom(), max_pixels=SIDE * SIDE)
    shown = np.rint(image.pixels * 255).astype(np.uint8).repeat(3, axis=2)
    for outcome, sigma in SIGMAS.items():
        report = _report(image, _facts(image, outcome, sigma, arguments.n), arguments.language)
        if (found := report.statement.claim.outcome) != outcome:
            raise ValueError(f"with sigma {sigma} the phantom must be {outcome}, got {found}")
        drawn = Image.fromarray(page(report, shown))
        size = (arguments.width, round(drawn.height * arguments.width / drawn.width))
        small = drawn.resize(size, Image.Resampling.LANCZOS)
        small.quantize(256, Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            arguments.folder / f"page_{outcome}.png", optimize=True
        )


def _report(image: DecodedImage, facts: Facts, language: str) -> Report:
    statement = state(facts)
    claim = statement.claim
    return Report(
        statement=statement,
        certificate_sha256=hashlib.sha256(canonical(document(facts))).hexdigest(),
        finding=finding(claim.label, {}) if isinstance(claim, StatedCertificate) else None,
        issued_at=_ISSUED,
        software_version=version("certrad"),
        warnings=image.facts.warnings,
        language=language,
    )


def _facts(image: DecodedImage, outcome: str, sigma: float, n: int) -> Facts:
    """Returns what the service would state about the image: the classifier of the outcome, fixed sigma, one thread."""
    spec, model = _default_model() if outcome == "certified" else _frozen_model()
    seen = model_input(image, model.backbone.image_size)
    request = CertifyRequest(classifier=spec, sigma=FixedSigma(sigma), params=SamplingParams(n=n))
    head = TextHead.of_spec(model.backbone, spec, model.prompt)
    parts = model.parts(spec, noise_law(_CPU))
    key = noise_key(_SECRET, seen.sha256, classifier_digest(parts), sampling_digest(request))
    sampler = NoisySampler(image=seen.pixels, sigma=sigma, noise=Noise(key, parts.law), batch_size=_BATCH, device=_CPU)
    plan = plan_samples(request.sigma, request.params)
    classifier_at = model.classifier_at(head)
    evidence = plan.estimate(sampler, classifier_at, plan.select(sampler, classifier_at), lambda _: MemoryBlocks())
    return Facts(
        request=request,
        evidence=evidence,
        subject=Subject(
            pixels_sha256=image.sha256,
            input_sha256=seen.sha256,
            input_shape=seen.pixels.shape,
            window=image.facts.window,
        ),
        scale=image_scale(image.facts, None, model.backbone.image_size),
        classifier=_identity(spec, model, head),
        noise=NoiseIdentity(
            law=parts.law,
            key=key.hex(),
            epoch_sha256=hashlib.sha256(_SECRET).hexdigest(),
            classifier_sha256=classifier_digest(parts),
            settings_sha256=sampling_digest(request),
        ),
        software={"certrad": version("certrad")},
    )


def _frozen_model() -> tuple[ClassifierSpec, Model]:
    """Returns the hand-written template on the frozen encoder, which no longer knows the phantom under much noise."""
    task = shipped_tasks()[TASK]
    card = shipped_backbones()[task.default_backbone]
    backbone = load_backbone(card, weights_directory(card, Path("backbones")), dtype=torch.float32)
    spec = ClassifierSpec(
        backbone=card.id, prompt=TEMPLATE_PROMPT, class_names=task.class_names, template=task.template
    )
    return spec, Model(backbone=backbone, card=None, prompt=None)


def _default_model() -> tuple[ClassifierSpec, Model]:
    """Returns the classifier that answers a request which names nothing."""
    task = shipped_tasks()[TASK]
    choice, backbone = default_choice(), default_encoder(torch.float32)
    prompt = None if choice.prompt is None else load_prompt_or_bank(SHIPPED_PROMPTS, choice.prompt)
    spec = ClassifierSpec(
        backbone=choice.backbone,
        prompt=choice.prompt_id,
        class_names=task.class_names,
        template="{}",
        adaptation=choice.adaptation,
        adapter=choice.adapter_id,
    )
    return spec, Model(backbone=backbone, card=choice.prompt, prompt=prompt, adapter=choice.adapter)


def _identity(spec: ClassifierSpec, model: Model, head: TextHead) -> ClassifierIdentity:
    prompt, parts = model.prompt, model.parts(spec, noise_law(_CPU))
    return ClassifierIdentity(
        backbone=spec.backbone,
        backbone_sha256=model.backbone.sha256,
        prompt=spec.prompt,
        prompt_sha256=model.prompt_sha256,
        context_sha256=None if prompt is None else hashlib.sha256(prompt_to_bytes(prompt)).hexdigest(),
        text_features_sha256=text_features_sha256(head.text_features),
        class_names=spec.class_names,
        template=spec.template,
        adaptation=spec.adaptation,
        logit_scale=model.backbone.logit_scale,
        dtype=dtype_name(model.backbone.dtype),
        device=_CPU.type,
        threads=1,
        block_size=_BATCH,
        members=member_digests(prompt) if isinstance(prompt, Bank) else (),
        gate_sha256=None if head.gate is None else head.gate.sha256,
        card_sha256=parts.card_sha256,
        text_sha256=parts.text_sha256,
        processor=processor_name(_CPU),
        tuning_images=model.tuning_images,
        adapter=spec.adapter,
        adapter_sha256=model.adapter_sha256,
        adapter_images=model.adapter_images,
    )
