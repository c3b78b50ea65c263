"""The modes of the service that an audit asks: prompts and adaptations on one backbone."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from models.audit import Mode, ModeSpec
from models.backbones.base import Backbone
from models.classifier import TextHead, VisionLanguageClassifier
from models.prompts.bank import Bank
from models.prompts.context import ContextVectors
from models.prompts.zero_shot import adapt, initial_context
from models.smoothing import Stream
from models.smoothing.encoded import EncodedSampler
from models.types import (
    TEMPLATE_PROMPT,
    ClassifierSpec,
    GatedAdaptation,
    PromptCard,
    SmoothingParams,
    TaskCard,
    ZeroShotAdaptation,
)
from models.types.smoothing import TARGET_DECIMALS

TO_CERTAINTY: Final = ZeroShotAdaptation(steps=20, lr=0.02)
"""Zero-shot adaptation until hardly a noisy copy disagrees, whatever the image shows: the planted mode."""

Learned = Mapping[str, ContextVectors | Bank]
"""Prompt id -> what its checkpoint holds."""


def mode_specs(task: TaskCard, backbone: str, prompts: Sequence[PromptCard], params: SmoothingParams) -> list[ModeSpec]:
    """Every mode there is with the template and these prompts, called by their methods; the planted one last.

    `target` stops early, at a target radius of sigma; a bank is `gated`.
    """
    template = ClassifierSpec(
        backbone=backbone, prompt=TEMPLATE_PROMPT, class_names=task.class_names, template=task.template
    )
    fixed, banks = {"template": template}, []
    for card in prompts:
        learned = replace(template, prompt=card.id, template="{}")
        if card.method == "bank":
            banks.append(replace(learned, adaptation=GatedAdaptation()))
        else:
            fixed[card.method.replace("_", "-")] = learned
    last = list(fixed)[-1]
    sequential = replace(params, target_radius=round(params.sigma, TARGET_DECIMALS))
    tuned = {name: replace(spec, adaptation=ZeroShotAdaptation()) for name, spec in fixed.items()}
    return [
        *(ModeSpec(name=f"{name}/none", classifier=spec, params=params) for name, spec in fixed.items()),
        ModeSpec(name=f"{last}/target", classifier=fixed[last], params=sequential),
        *(ModeSpec(name="gated", classifier=spec, params=params) for spec in banks),
        *(ModeSpec(name=f"{name}/zero_shot", classifier=spec, params=params) for name, spec in tuned.items()),
        ModeSpec(name="planted", classifier=replace(template, adaptation=TO_CERTAINTY), params=params, planted=True),
    ]


def modes(specs: Sequence[ModeSpec], backbone: Backbone, learned: Learned) -> list[Mode]:
    """The modes, ready to be asked; those that differ only in zero-shot adaptation share the classifier before it.

    Raises Rejected for a template that cannot be adapted.
    """
    unadapted: dict[tuple[str, float], VisionLanguageClassifier] = {}
    for spec in specs:
        before = spec.classifier.prompt, spec.params.sigma
        if before not in unadapted:
            unadapted[before] = _before_adaptation(spec, backbone, learned)
    return [
        Mode(
            spec=spec,
            unadapted=unadapted[spec.classifier.prompt, spec.params.sigma],
            adapt=_adaptation(spec, backbone, learned),
        )
        for spec in specs
    ]


def _before_adaptation(spec: ModeSpec, backbone: Backbone, learned: Learned) -> VisionLanguageClassifier:
    """The classifier that is the same for every image; a gate belongs to it."""
    asked = spec.classifier
    if asked.prompt == TEMPLATE_PROMPT:
        head = TextHead.of_template(backbone, asked.class_names, asked.template)
    else:
        head = TextHead.of_prompt(backbone, asked.class_names, learned[asked.prompt])
    return head.classifier(backbone, spec.params.sigma)


def _adaptation(
    spec: ModeSpec, backbone: Backbone, learned: Learned
) -> Callable[[EncodedSampler], VisionLanguageClassifier] | None:
    """What the engine does with an image before it selects a class; None if nothing."""
    asked, adaptation = spec.classifier, spec.classifier.adaptation
    if not isinstance(adaptation, ZeroShotAdaptation):
        return None
    start = learned.get(asked.prompt) or initial_context(backbone, asked.template, adaptation.context)
    if isinstance(start, Bank):
        raise TypeError("a bank has no context vectors that could be tuned on an image")

    def adapted(sampler: EncodedSampler) -> VisionLanguageClassifier:
        features = sampler.first(Stream.ADAPT, adaptation.samples)
        context = adapt(backbone, features, asked.class_names, start, adaptation)
        return TextHead.of_prompt(backbone, asked.class_names, context).classifier(backbone, spec.params.sigma)

    return adapted
