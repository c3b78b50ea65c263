"""The defaults of a request: from the fields that were sent to a request with nothing left open."""

from collections.abc import Iterable
from dataclasses import dataclass

from certrad.app.api.problems import InvalidRequest
from certrad.app.api.schemas.certify import CertifyForm
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected
from certrad.models.types import (
    Adaptation,
    AutoSigma,
    CertifyRequest,
    ClassifierSpec,
    FixedSigma,
    GatedAdaptation,
    PromptCard,
    SamplingParams,
    SigmaChoice,
    TaskCard,
    ZeroShotAdaptation,
)
from certrad.models.types.cards import check_classes
from certrad.models.types.request import TEMPLATE_PROMPT
from certrad.workers.contract.catalogue import Catalogue

_BARE_TEMPLATE = "{}"  # of every learned prompt: words that are never encoded must not change the noise key


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labels:
    """What is told apart: the class names, with the task they come from and its template."""

    class_names: tuple[str, ...]
    template: str
    task: TaskCard | None = None


def resolve(form: CertifyForm, catalogue: Catalogue, settings: ApiSettings) -> CertifyRequest:
    """The request with every default filled in.

    A prompt brings its classes, its backbone and its context; else the task brings a prompt and a backbone. The
    adaptation that is not named is `gated` with a bank, else `none` where a learned prompt serves the task, else
    `zero_shot`.
    Raises Rejected: unknown_task, unknown_backbone, unknown_prompt, prompt_mismatch, invalid_request.
    """
    if form.backbone is not None and form.backbone not in catalogue.backbones:
        raise _unknown("backbone", catalogue.backbones)
    prompts = catalogue.prompts()
    prompt = _named_prompt(form, prompts)
    labels = _labels(form, prompt, catalogue, settings)
    tasks_own = _tasks_own_prompt(form, labels, catalogue, settings)
    if form.prompt is None:
        prompt = tasks_own
    if prompt is not None:
        _check_fit(form, prompt, labels)
        _check_unworded(form)
    fallback = labels.task or _task(settings.default_task, catalogue)
    learned = prompt is not None or tasks_own is not None
    adaptation = _adaptation(form, settings, prompt, default="none" if learned else "zero_shot")
    return CertifyRequest(
        classifier=ClassifierSpec(
            backbone=form.backbone or (prompt.backbone if prompt else fallback.default_backbone),
            prompt=prompt.id if prompt else TEMPLATE_PROMPT,
            class_names=labels.class_names,
            template=_BARE_TEMPLATE if prompt else labels.template,
            adaptation=adaptation,
        ),
        sigma=_sigma(form, labels.task, adaptation, catalogue),
        params=SamplingParams(
            alpha=form.alpha, n0=form.n0, n=form.n, bound=form.bound, target_radius=form.target_radius
        ),
        task=labels.task.id if labels.task else None,
        frame=form.frame,
        region=form.rectangle,
        urgent=form.priority == "urgent",
    )


def _named_prompt(form: CertifyForm, prompts: dict[str, PromptCard]) -> PromptCard | None:
    if form.prompt is None or form.prompt == TEMPLATE_PROMPT:
        return None
    if form.prompt not in prompts:
        raise Rejected("unknown_prompt", f"`prompt` must be `{TEMPLATE_PROMPT}` or an id of GET /prompts")
    return prompts[form.prompt]


def _labels(form: CertifyForm, prompt: PromptCard | None, catalogue: Catalogue, settings: ApiSettings) -> _Labels:
    if form.classes is not None:
        return _own_labels(form, form.classes, prompt)
    if form.template is not None:
        raise InvalidRequest({"template": "only with `classes`; a task has its own"})
    if form.task is not None or prompt is None:
        task = _task(form.task or settings.default_task, catalogue)
        return _Labels(class_names=task.class_names, template=task.template, task=task)
    tasks = [
        task for task in catalogue.tasks.values() if task.id == prompt.task and task.class_names == prompt.class_names
    ]
    if tasks:
        return _Labels(class_names=tasks[0].class_names, template=tasks[0].template, task=tasks[0])
    return _Labels(class_names=prompt.class_names, template=_BARE_TEMPLATE)


def _own_labels(form: CertifyForm, classes: list[str], prompt: PromptCard | None) -> _Labels:
    if form.task is not None:
        raise InvalidRequest({"classes": "either `task` or `classes`, not both"})
    if form.template is None and prompt is None:
        raise InvalidRequest({"template": "required with `classes`"})
    class_names = tuple(classes)
    template = form.template or _BARE_TEMPLATE
    try:
        check_classes(class_names, _BARE_TEMPLATE)
    except ValueError as error:
        raise InvalidRequest({"classes": str(error)}) from None
    try:
        check_classes(class_names, template)
    except ValueError:  # its message quotes the template
        raise InvalidRequest({"template": "must contain exactly one `{}` and no other brace"}) from None
    return _Labels(class_names=class_names, template=template)


def _tasks_own_prompt(
    form: CertifyForm, labels: _Labels, catalogue: Catalogue, settings: ApiSettings
) -> PromptCard | None:
    """The prompt the task would use by itself: the first that fits backbone and adaptation, if there is one."""
    if labels.task is None:
        return None
    adaptation = form.adaptation or settings.default_adaptation
    for card in catalogue.default_prompts(labels.task.id):
        fits = card.class_names == labels.class_names and form.backbone in (None, card.backbone)
        if fits and (adaptation is None or (adaptation == "gated") == (card.method == "bank")):
            return card
    return None


def _check_fit(form: CertifyForm, prompt: PromptCard, labels: _Labels) -> None:
    if form.backbone not in (None, prompt.backbone):
        raise Rejected("prompt_mismatch", "`prompt` was tuned for another `backbone`")
    if labels.class_names != prompt.class_names:
        raise Rejected("prompt_mismatch", "`prompt` was tuned for other classes, or for these in another order")


def _check_unworded(form: CertifyForm) -> None:
    """Nothing that only shapes a hand-written prompt may come with a learned one.

    It would be ignored by the classifier and yet be part of its settings: one could draw the noise again at will.
    """
    stray = [name for name in ("template", "context") if getattr(form, name) is not None]
    if stray:
        raise InvalidRequest(dict.fromkeys(stray, "not with a learned prompt, which brings its own context"))


def _adaptation(
    form: CertifyForm, settings: ApiSettings, prompt: PromptCard | None, *, default: str
) -> Adaptation | None:
    is_bank = prompt is not None and prompt.method == "bank"
    chosen = form.adaptation or ("gated" if is_bank else settings.default_adaptation or default)
    if is_bank and chosen != "gated":
        raise Rejected("prompt_mismatch", "`prompt` is a bank, which goes with `adaptation=gated` only")
    if chosen == "gated" and not is_bank:
        raise Rejected("prompt_mismatch", "`adaptation=gated` needs a bank of prompts, not a single `prompt`")
    if chosen == "zero_shot":
        return ZeroShotAdaptation(**form.adaptation_options)
    stray = [
        name for name in ("adapt_steps", "adapt_samples", "adapt_lr", "context") if getattr(form, name) is not None
    ]
    if stray:
        raise InvalidRequest(dict.fromkeys(stray, "only with `adaptation=zero_shot`"))
    return GatedAdaptation() if chosen == "gated" else None


def _sigma(
    form: CertifyForm, task: TaskCard | None, adaptation: Adaptation | None, catalogue: Catalogue
) -> SigmaChoice:
    """Returns the sigma that was asked for, or what `auto` chooses from."""
    if form.sigma != "auto":
        return FixedSigma(form.sigma)
    if isinstance(adaptation, ZeroShotAdaptation):
        raise InvalidRequest({"sigma": "`auto` not with `adaptation=zero_shot`, which tunes the prompt on the image"})
    if task is None or task.sigma_routing is None:
        known = ", ".join(sorted(name for name, card in catalogue.tasks.items() if card.sigma_routing))
        raise InvalidRequest({"sigma": f"`auto` needs a task that has a selector: {known}"})
    return AutoSigma(task.sigma_routing)


def _task(name: str, catalogue: Catalogue) -> TaskCard:
    if name not in catalogue.tasks:
        raise _unknown("task", catalogue.tasks)
    return catalogue.tasks[name]


def _unknown(field: str, known: Iterable[str]) -> Rejected:
    return Rejected(f"unknown_{field}", f"`{field}` must be one of {', '.join(sorted(known))}")
