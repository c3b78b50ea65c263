"""The modes of the service that an audit asks: prompts and adaptations on one backbone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from certrad.models.backbones.base import Backbone
from certrad.models.classifier import TextHead, VisionLanguageClassifier, prompt_in_force
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.context import ContextVectors
from certrad.models.smoothing import Stream
from certrad.models.smoothing.encoded import EncodedSampler, Head
from certrad.models.types import (
    TEMPLATE_PROMPT,
    AutoSigma,
    ClassifierSpec,
    FixedSigma,
    GatedAdaptation,
    PromptCard,
    SamplingParams,
    SigmaChoice,
    TaskCard,
    ZeroShotAdaptation,
)
from certrad.models.types.smoothing import TARGET_DECIMALS


@dataclass(frozen=True, slots=True, kw_only=True)
class ModeSpec:
    """One way to ask the service, by name.

    Attributes:
        name: Of the mode.
        classifier: The base classifier, by name.
        sigma: The noise level, or what it is chosen from.
        params: Numbers of samples, error probability, and the target radius if there is one.
        planted: Whether it is unsound on purpose, to show that an audit would have noticed.
    """

    name: str
    classifier: ClassifierSpec
    sigma: SigmaChoice
    params: SamplingParams
    planted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mode:
    """A mode that can be asked: how its base classifier comes about.

    unadapted: the classifier before it sees the image, for each sigma of `spec`; attacks climb its gradient, for
        adaptation is mostly sharpening and hides it. Modes that share this object share attacked images.
    adapt: the classifier for one image, from its noisy copies; None if it is the unadapted one for every image.
    """

    spec: ModeSpec
    unadapted: Mapping[float, Head]
    adapt: Callable[[EncodedSampler], Head] | None = None

    @property
    def params(self) -> SamplingParams:
        """Returns the parameters of every certificate."""
        return self.spec.params


TO_CERTAINTY: Final = ZeroShotAdaptation(steps=20, lr=0.02)
"""Zero-shot adaptation until hardly a noisy copy disagrees, whatever the image shows: the planted mode."""

Learned = Mapping[str, ContextVectors | Bank]
"""Prompt id -> what its checkpoint holds."""


def mode_specs(
    task: TaskCard, backbone: str, prompts: Sequence[PromptCard], sigma: FixedSigma, params: SamplingParams
) -> list[ModeSpec]:
    """Every mode there is with the template and these prompts, called by their methods; the planted one last.

    `target` stops early, at a target radius of sigma; a bank is `gated`; `auto` chooses sigma itself, among those of
    the task, whatever `sigma`.
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
    sequential = replace(params, target_radius=round(sigma.sigma, TARGET_DECIMALS))
    tuned = {name: replace(spec, adaptation=ZeroShotAdaptation()) for name, spec in fixed.items()}
    return [
        *(ModeSpec(name=f"{name}/none", classifier=spec, sigma=sigma, params=params) for name, spec in fixed.items()),
        ModeSpec(name=f"{last}/target", classifier=fixed[last], sigma=sigma, params=sequential),
        *(ModeSpec(name="gated", classifier=spec, sigma=sigma, params=params) for spec in banks),
        *_automatic(task, {"gated": banks[0]} if banks else {last: fixed[last]}, params),
        *(
            ModeSpec(name=f"{name}/zero_shot", classifier=spec, sigma=sigma, params=params)
            for name, spec in tuned.items()
        ),
        ModeSpec(
            name="planted",
            classifier=replace(template, adaptation=TO_CERTAINTY),
            sigma=sigma,
            params=params,
            planted=True,
        ),
    ]


def chosen_modes(specs: Iterable[ModeSpec], names: str | None) -> list[ModeSpec]:
    """The modes with these names, separated by commas, in the order of the specs and each once; all for None.

    Raises ValueError for a name that none has.
    """
    distinct = list(dict.fromkeys(specs))
    known = {spec.name for spec in distinct}
    wanted = known if names is None else set(names.split(","))
    if strange := wanted - known:
        raise ValueError(f"--modes is expected of {', '.join(sorted(known))}, got {', '.join(sorted(strange))!r}")
    return [spec for spec in distinct if spec.name in wanted]


def modes(specs: Sequence[ModeSpec], backbone: Backbone, learned: Learned) -> list[Mode]:
    """The modes, ready to be asked; those that differ only in zero-shot adaptation share the classifier before it.

    Raises Rejected for a template that cannot be adapted.
    """
    heads: dict[str, TextHead] = {}
    classifiers: dict[tuple[str, float], VisionLanguageClassifier] = {}

    def unadapted(spec: ModeSpec, sigma: float) -> VisionLanguageClassifier:
        prompt = spec.classifier.prompt
        if prompt not in heads:
            heads[prompt] = TextHead.of_spec(backbone, spec.classifier, _checkpoint(spec, learned))
        if (prompt, sigma) not in classifiers:
            classifiers[prompt, sigma] = heads[prompt].classifier(backbone, sigma)
        return classifiers[prompt, sigma]

    return [
        Mode(
            spec=spec,
            unadapted={sigma: unadapted(spec, sigma) for sigma in spec.sigma.sigmas},
            adapt=_adaptation(spec, backbone, learned),
        )
        for spec in specs
    ]


def _automatic(task: TaskCard, by_name: Mapping[str, ClassifierSpec], params: SamplingParams) -> Iterable[ModeSpec]:
    """`sigma=auto`, where the task has what it chooses from."""
    if (routing := task.sigma_routing) is None:
        return
    for name, classifier in by_name.items():
        yield ModeSpec(name=f"{name}/auto", classifier=classifier, sigma=AutoSigma(routing), params=params)


def _checkpoint(spec: ModeSpec, learned: Learned) -> ContextVectors | Bank | None:
    return None if spec.classifier.prompt == TEMPLATE_PROMPT else learned[spec.classifier.prompt]


def _adaptation(
    spec: ModeSpec, backbone: Backbone, learned: Learned
) -> Callable[[EncodedSampler], VisionLanguageClassifier] | None:
    """What the engine does with an image before it selects a class; None if nothing."""
    asked = spec.classifier
    if not isinstance(asked.adaptation, ZeroShotAdaptation):
        return None

    def adapted(sampler: EncodedSampler) -> VisionLanguageClassifier:
        prompt = prompt_in_force(backbone, asked, _checkpoint(spec, learned), lambda n: sampler.first(Stream.ADAPT, n))
        return TextHead.of_spec(backbone, asked, prompt).classifier(backbone, spec.sigma.first)

    return adapted
