"""The modes of the service that an audit covers: prompts and adaptations on one backbone."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from certrad.models.audit.window_boxes import BOX_MODES
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
    """One way to use the service, by name.

    Attributes:
        name: prompt and adaptation, for example `few-shot/none`.
        classifier: the parts of the classifier.
        sigma: the noise level, or what it is chosen from.
        params: numbers of samples, error probability, and the target radius if there is one.
        planted: unsound on purpose, to show that an audit would have noticed.
    """

    name: str
    classifier: ClassifierSpec
    sigma: SigmaChoice
    params: SamplingParams
    planted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Mode:
    """A mode with its loaded classifiers.

    Attributes:
        spec: the description of the mode.
        unadapted: the classifier before it sees the image, for each sigma of `spec`; attacks climb its gradient,
            because adaptation is mostly sharpening and hides it. Modes that share this object share attacked images.
        adapt: returns the classifier for one image, from its noisy copies; None if it is the unadapted one for every
            image.
    """

    spec: ModeSpec
    unadapted: Mapping[float, Head]
    adapt: Callable[[EncodedSampler], Head] | None = None

    @property
    def params(self) -> SamplingParams:
        """Returns the parameters of every certificate."""
        return self.spec.params


TO_CERTAINTY: Final = ZeroShotAdaptation(steps=20, lr=0.02)
"""Zero-shot adaptation until hardly any noisy copy disagrees, whatever the image: the planted mode."""

Learned = Mapping[str, ContextVectors | Bank]
"""Prompt id -> the prompt in its checkpoint."""


def mode_specs(
    task: TaskCard,
    backbone: str,
    prompts: Sequence[PromptCard],
    sigma: FixedSigma,
    params: SamplingParams,
    adapter: str | None = None,
) -> list[ModeSpec]:
    """Returns every mode possible with the template and these prompts, named after their methods; the planted one last.

    `target` stops early, at a target radius of sigma; a bank is `gated`; `auto` chooses sigma among those of the task,
    whatever `sigma`.

    Args:
        task: the classes, the template and the settings of `auto`.
        backbone: id of the backbone.
        prompts: cards of the learned prompts.
        sigma: the noise level of every mode but `auto`.
        params: parameters of every certificate.
        adapter: id of the adapter of the image encoder in every mode; None for the frozen one.
    """
    template = ClassifierSpec(
        backbone=backbone,
        prompt=TEMPLATE_PROMPT,
        class_names=task.class_names,
        template=task.template,
        adapter=adapter,
    )
    fixed, banks = {"template": template}, []
    for card in prompts:
        learned = replace(template, prompt=card.id, template="{}")
        if card.method == "bank":
            banks.append(replace(learned, class_names=card.answers, adaptation=GatedAdaptation()))
        else:
            fixed[card.method.replace("_", "-")] = learned
    last = list(fixed)[-1]
    sequential = replace(params, target_radius=round(sigma.sigma, TARGET_DECIMALS))
    tuned = {name: replace(spec, adaptation=ZeroShotAdaptation()) for name, spec in fixed.items()}
    return [
        *(ModeSpec(name=f"{name}/none", classifier=spec, sigma=sigma, params=params) for name, spec in fixed.items()),
        ModeSpec(name=f"{last}/target", classifier=fixed[last], sigma=sigma, params=sequential),
        *(ModeSpec(name="gated", classifier=spec, sigma=sigma, params=params) for spec in banks),
        *_automatic_modes(task, {"gated": banks[0]} if banks else {last: fixed[last]}, params),
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
    """Returns the modes with these names, in the order of the specs and each once.

    Args:
        specs: all modes.
        names: names separated by commas; None for all.

    Raises:
        ValueError: for a name that no mode has.
    """
    distinct = list(dict.fromkeys(specs))
    known = {spec.name for spec in distinct}
    wanted = known if names is None else set(names.split(","))
    if strange := wanted - known:
        raise ValueError(f"--modes must be names of {', '.join(sorted(known))}; got {', '.join(sorted(strange))!r}")
    return [spec for spec in distinct if spec.name in wanted]


def split_modes(names: str | None) -> tuple[str | None, list[str]]:
    """Returns the names of modes of a radius, and those of boxes of windows.

    Args:
        names: names separated by commas; None for all of a radius, and none of boxes.

    Returns:
        None for all modes of a radius, the empty text for none of them, else their names; then modes of boxes.
    """
    if names is None:
        return None, []
    wanted = names.split(",")
    return ",".join(name for name in wanted if name not in BOX_MODES), [name for name in BOX_MODES if name in wanted]


def box_spec(specs: Sequence[ModeSpec]) -> ModeSpec:
    """Returns the mode whose base classifier boxes of windows are tried with: the bank, else the last prompt.

    Args:
        specs: all modes of a radius.
    """
    plain = [spec for spec in specs if spec.name == "gated"] or [spec for spec in specs if spec.name.endswith("/none")]
    return plain[-1]


def build_modes(specs: Sequence[ModeSpec], backbone: Backbone, learned: Learned) -> list[Mode]:
    """Returns the modes with their classifiers; modes that differ only in zero-shot adaptation share the unadapted one.

    Raises:
        Rejected: for a template that cannot be adapted.
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


def _automatic_modes(
    task: TaskCard, by_name: Mapping[str, ClassifierSpec], params: SamplingParams
) -> Iterable[ModeSpec]:
    """Yields the modes of `sigma=auto`, if the task states sigmas to choose from."""
    if (routing := task.sigma_routing) is None:
        return
    for name, classifier in by_name.items():
        yield ModeSpec(name=f"{name}/auto", classifier=classifier, sigma=AutoSigma(routing), params=params)


def _checkpoint(spec: ModeSpec, learned: Learned) -> ContextVectors | Bank | None:
    return None if spec.classifier.prompt == TEMPLATE_PROMPT else learned[spec.classifier.prompt]


def _adaptation(
    spec: ModeSpec, backbone: Backbone, learned: Learned
) -> Callable[[EncodedSampler], VisionLanguageClassifier] | None:
    """Returns the adaptation that the engine applies to an image before it selects a class; None if there is none."""
    classifier_spec = spec.classifier
    if not isinstance(classifier_spec.adaptation, ZeroShotAdaptation):
        return None

    def adapt(sampler: EncodedSampler) -> VisionLanguageClassifier:
        prompt = prompt_in_force(
            backbone, classifier_spec, _checkpoint(spec, learned), lambda n: sampler.first(Stream.ADAPT, n)
        )
        return TextHead.of_spec(backbone, classifier_spec, prompt).classifier(backbone, spec.sigma.first)

    return adapt
