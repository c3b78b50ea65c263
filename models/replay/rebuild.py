"""Rebuilds on this machine the classifier that a certificate names, and the sampler of its noise."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from certrad.models.adapters.adapter import adapted
from certrad.models.adapters.store import AdapterStore
from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.backbones.device import PRECISIONS, chosen_device, is_channels_last, loading_dtype
from certrad.models.backbones.openvino_tower import in_precision
from certrad.models.backbones.processor import processor_name
from certrad.models.certificates.noise_key import card_digest
from certrad.models.certificates.stated_samples import StatedSamples
from certrad.models.certificates.statement import Statement
from certrad.models.classifier import TextHead, prompt_in_force, text_features_sha256
from certrad.models.images.grey_rendering import GreyRenderer
from certrad.models.images.model_input import ModelInput
from certrad.models.images.pixel_map import PixelMap
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import (
    member_digests,
    prompt_to_bytes,
    require_backbone,
)
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.store import PromptStore
from certrad.models.prompts.text_digest import text_digest
from certrad.models.replay.near_ties import EXACT, NearTies
from certrad.models.smoothing import BaseClassifier, Noise, NoisySampler, Stream
from certrad.models.smoothing.encoded import EncodedSampler
from certrad.models.smoothing.parameter_noise import WindowNoise
from certrad.models.smoothing.parameter_samples import WindowSampler
from certrad.models.smoothing.selector import RouteSelector
from certrad.models.smoothing.variant_samples import of_variant
from certrad.models.types import TEMPLATE_PROMPT, BackboneCard
from certrad.models.types.defaults import require_adapter, require_use


@dataclass(frozen=True, slots=True, kw_only=True)
class Draws:
    """One set of estimation samples.

    Attributes:
        stated: The samples as the document states them.
        sampler: Draws them again.
        classifier: Classifies them.
        near_ties: The labels that another processor may give.
    """

    stated: StatedSamples
    sampler: NoisySampler | WindowSampler
    classifier: BaseClassifier
    near_ties: NearTies


@dataclass(frozen=True, slots=True, kw_only=True)
class Rebuilt:
    """The classifier of a document, for any sigma, and the noise of the document in batches of its block size.

    Attributes:
        backbone: The backbone that the document names.
        head: Text features and gate.
        sampler: The noise.
        same_text: Whether the text features have the stated digest to the last bit, as on the machine that certified.
        variants: The noise of each variant of the document, in order.
        windows: The noise on window and model input; None where the document has no such samples.
    """

    backbone: Backbone
    head: TextHead
    sampler: NoisySampler
    same_text: bool
    variants: tuple[NoisySampler, ...] = ()
    windows: WindowSampler | None = None

    def classifier(self, sigma: float) -> BaseClassifier:
        """Returns the base classifier for noise of one standard deviation.

        Args:
            sigma: Standard deviation of the noise.
        """
        return self.head.classifier(self.backbone, sigma)

    def draws(self, statement: Statement) -> list[Draws]:
        """Returns the estimation samples of the class and, with automatic sigma, of other routes and selector.

        Args:
            statement: The parsed document.
        """
        of_sigma = [(statement.params.sigma, statement.estimation)]
        if (routing := statement.routing) is None:
            return [self._draws(*each) for each in of_sigma]
        others = [(each.sigma, each.estimation) for each in routing.outcomes]
        of_sigma += [(sigma, stated) for sigma, stated in others if sigma is not None and stated is not None]
        selector = Draws(
            stated=routing.estimation,
            sampler=self.sampler.with_sigma(routing.settings.selector_sigma),
            classifier=RouteSelector.of(self.sampler, routing.settings),
            near_ties=EXACT,  # it computes in float64, where no tie is near
        )
        return [*(self._draws(*each) for each in of_sigma), selector]

    def draws_of_variants(self, statement: Statement) -> list[Draws]:
        """Returns the estimation samples of every variant.

        Args:
            statement: The parsed document.
        """
        sigma, rows = statement.params.sigma, () if statement.variants is None else statement.variants.rows
        drawn = [self._draws(sigma, row.estimation) for row in rows]
        return [replace(draws, sampler=of) for draws, of in zip(drawn, self.variants, strict=True)]

    def draws_of_windows(self, statement: Statement) -> list[Draws]:
        """Returns the estimation samples under noise on the window; none where there are none.

        Args:
            statement: The parsed document.
        """
        parameters = statement.parameters
        if parameters is None or parameters.estimation is None or self.windows is None:
            return []
        return [replace(self._draws(statement.params.sigma, parameters.estimation), sampler=self.windows)]

    def _draws(self, sigma: float, stated: StatedSamples) -> Draws:
        return Draws(
            stated=stated,
            sampler=self.sampler.with_sigma(sigma),
            classifier=self.classifier(sigma),
            near_ties=NearTies.of(self.backbone.dtype, self.backbone.logit_scale),
        )

    def may_differ(self, stated_processor: str | None) -> bool:
        """Returns whether labels may differ in near-ties: on the stated processor, with the stated text, none does.

        Two processors of which nothing is known may be two kinds.

        Args:
            stated_processor: See `certrad.models.backbones.processor.processor_name`; None where none is stated.
        """
        here = processor_name(self.backbone.device)
        return stated_processor != here or "unknown" in here or not self.same_text


def rebuild(
    statement: Statement,
    image: ModelInput,
    cards: Mapping[str, BackboneCard],
    backbones: Path,
    prompts: PromptStore,
    adapters: AdapterStore,
) -> Rebuilt:
    """Returns the classifier and the noise that a document names.

    A prompt that was adapted is adapted again, from the same noise.

    Args:
        statement: The parsed document.
        image: The model input that was certified, with the rendered image where noise was added to that.
        cards: The backbones by id.
        backbones: Folder of their files.
        prompts: The prompt checkpoints.
        adapters: The adapters of image towers.

    Raises:
        ValueError: A digest differs from the stated one.
        Rejected: The backbone, the adapter or the prompt is not on this machine, or it cannot compute in the precision.
    """
    stated, spec = statement.classifier, statement.request.classifier
    backbone = in_precision(_adapted(statement, _backbone(statement, cards, backbones), adapters), stated.dtype)
    if is_channels_last(statement.software):
        backbone = backbone.in_memory_format(channels_last=True)
    noisy = stated.noisy_image
    sampler = NoisySampler(
        image=image.noisy,
        sigma=statement.params.sigma,
        noise=Noise(bytes.fromhex(statement.noise.key), statement.noise.law),
        batch_size=stated.block_size,
        device=backbone.device,
        pixel_map=None if noisy is None else PixelMap.of(noisy.map, backbone.image_size),
    )
    variants, windows = _variants(statement, image, sampler), _windows(statement, image, sampler)
    encoded = EncodedSampler(pixels=sampler, encode=backbone.encode_image)
    checkpoint = _prompt(statement, backbone, prompts)
    if stated.text_sha256 is not None:  # the noise key follows from it: no processor rounds it
        _compare("text", text_digest(backbone, spec.class_names, spec.template, checkpoint), stated.text_sha256)
    prompt = prompt_in_force(backbone, spec, checkpoint, lambda n: encoded.first(Stream.ADAPT, n))
    head = TextHead.of_spec(backbone, spec, prompt)
    if stated.context_sha256 is not None:  # schema 3 names it only where nothing else does: after an adaptation
        _compare("context", None if prompt is None else _sha256(prompt_to_bytes(prompt)), stated.context_sha256)
    _compare("gate", None if head.gate is None else head.gate.sha256, stated.gate_sha256)
    _compare("extra class", None if head.rejection is None else head.rejection.sha256, stated.rejection_sha256)
    _compare("bank members", member_digests(prompt) if isinstance(prompt, Bank) else (), stated.members)
    same_text = text_features_sha256(head.text_features) == stated.text_features_sha256
    return Rebuilt(
        backbone=backbone, head=head, sampler=sampler, same_text=same_text, variants=variants, windows=windows
    )


def _variants(statement: Statement, image: ModelInput, sampler: NoisySampler) -> tuple[NoisySampler, ...]:
    """Returns the noise of every variant, under the key of its own model input."""
    if (stated := statement.variants) is None or not stated.rows:
        return ()
    return tuple(
        of_variant(
            replace(sampler, image=seen.pixels, noise=Noise(bytes.fromhex(row.key), statement.noise.law)), stated.n
        )
        for row, seen in zip(stated.rows, image.variants, strict=True)
    )


def _windows(statement: Statement, image: ModelInput, sampler: NoisySampler) -> WindowSampler | None:
    """Returns the noise on window and model input, under the key of the values before the window."""
    if (stated := statement.parameters) is None or stated.key is None or image.grey is None:
        return None
    noise = Noise(bytes.fromhex(stated.key), statement.noise.law)
    return WindowSampler(
        pixels=replace(sampler, noise=noise),
        windows=WindowNoise(noise=noise, centre=stated.centre, width=stated.width, sigma=stated.sigma),
        render=GreyRenderer.of(image.grey, image.pixels.shape[1]).model_input,
    )


def _backbone(statement: Statement, cards: Mapping[str, BackboneCard], directory: Path) -> Backbone:
    stated = statement.classifier
    if stated.dtype not in PRECISIONS or (card := cards.get(stated.backbone)) is None:
        raise ValueError(f"this machine does not know the backbone {stated.backbone!r} in {stated.dtype}")
    torch.set_num_threads(stated.threads)
    backbone = load_backbone(
        card,
        weights_directory(card, directory),
        device=chosen_device("auto" if stated.device == "cuda" else "cpu"),
        dtype=loading_dtype(stated.dtype),
    )
    _compare("weights", backbone.sha256, stated.backbone_sha256)
    if stated.card_sha256 is not None:
        _compare("card of the backbone", card_digest(card), stated.card_sha256)
    return backbone


def _adapted(statement: Statement, backbone: Backbone, adapters: AdapterStore) -> Backbone:
    """Returns the backbone with the adapter that the document names, or as it is."""
    stated = statement.classifier
    if stated.adapter is None:
        return backbone
    card = adapters.card(stated.adapter)
    _compare("adapter", card.sha256, stated.adapter_sha256)
    return adapted(backbone, adapters.load(card))


def _prompt(statement: Statement, backbone: Backbone, prompts: PromptStore) -> ContextVectors | Bank | None:
    """Returns the checkpoint that the document names, None for a template."""
    stated = statement.classifier
    if stated.prompt == TEMPLATE_PROMPT:
        return None
    card = prompts.card(stated.prompt)
    require_backbone(card, backbone)
    require_use(card, stated.adaptation)
    require_adapter(card, stated.adapter_sha256)
    _compare("prompt checkpoint", card.sha256, stated.prompt_sha256)
    return prompts.load(card)


def _compare(what: str, computed: object, stated: object) -> None:
    if computed != stated:
        raise ValueError(f"{what}: the document states {stated}, this machine has {computed}")


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
