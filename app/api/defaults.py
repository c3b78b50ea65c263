"""Fills in the defaults of a request to certify."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from certrad.app.api.problems import InvalidRequest
from certrad.app.api.requested_parameters import requested_parameters
from certrad.app.api.requested_set import requested_set
from certrad.app.api.requested_variants import requested_variants
from certrad.app.api.schemas.certify import CertifyForm
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected
from certrad.models.types import (
    Adaptation,
    AdapterCard,
    AutoSigma,
    CertifyRequest,
    ClassifierSpec,
    FixedSigma,
    PromptCard,
    SamplingParams,
    SigmaChoice,
    TaskCard,
    ZeroShotAdaptation,
)
from certrad.models.types.cards import alike_classes, check_classes
from certrad.models.types.defaults import BARE_TEMPLATE, NamedAdapter, NamedPrompt, choose_classifier
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE
from certrad.models.types.request import NO_ADAPTER, TEMPLATE_PROMPT
from certrad.models.types.sample_size import fewest_samples
from certrad.models.types.window import FileWindow, PresetWindow, RequestedWindow, WindowPreset, read_window
from certrad.workers.contract.catalogue import Catalogue


@dataclass(frozen=True, slots=True, kw_only=True)
class _Labels:
    """The classes of a request: their names, the task they come from and its template."""

    class_names: tuple[str, ...]
    template: str
    task: TaskCard | None = None


def resolve(form: CertifyForm, catalogue: Catalogue, settings: ApiSettings) -> CertifyRequest:
    """Returns the request with every default filled in.

    A prompt brings its classes, its backbone and its context; `choose_classifier` chooses what no field names.

    Args:
        form: The fields that the client sent.
        catalogue: The cards that a request may name.
        settings: The defaults of the installation.

    Raises:
        Rejected: unknown_task, unknown_backbone, unknown_prompt, prompt_mismatch, adapter_not_found, adapter_mismatch,
            unknown_window, sigma_not_tuned, calibration_not_found, calibration_mismatch, invalid_request.
    """
    if form.backbone is not None and form.backbone not in (backbones := catalogue.backbones()):
        raise _unknown("backbone", backbones)
    named, adapters = _named_prompt(form, catalogue.prompts()), catalogue.adapters
    labels = _labels(form, named if isinstance(named, PromptCard) else None, catalogue, settings)
    choice = choose_classifier(
        class_names=labels.class_names,
        candidates=catalogue.default_prompts(labels.task.id) if labels.task else [],
        default_backbone=(labels.task or _task(settings.default_task, catalogue)).default_backbone,
        backbone=form.backbone,
        prompt=named,
        adaptation=form.adaptation,
        default_adaptation=settings.default_adaptation,
        adapter=named_adapter(form.adapter, adapters),
        adapters=adapters,
        default_adapter=catalogue.default_adapter(labels.task),
    )
    if choice.prompt is not None:
        _check_unworded(form)
    adaptation, extra = _with_options(choice.adaptation, form), choice.rejection
    if extra is not None and form.noise_space != DEFAULT_NOISE_SPACE:
        raise InvalidRequest({"noise_space": "must be `model_input` with a bank that has an extra class"})
    params = SamplingParams(alpha=form.alpha, n0=form.n0, n=form.n, bound=form.bound, target_radius=form.target_radius)
    presets = labels.task.windows if labels.task else ()
    request = CertifyRequest(
        classifier=ClassifierSpec(
            backbone=choice.backbone,
            prompt=choice.prompt_id,
            class_names=choice.answers(labels.class_names),
            template=choice.template(labels.template),
            adaptation=adaptation,
            adapter=choice.adapter_id,
        ),
        sigma=_sigma(form, labels.task, adaptation, catalogue),
        params=params,
        task=labels.task.id if labels.task else None,
        frame=form.frame,
        region=form.rectangle,
        urgent=form.priority == "urgent",
        window=_window(form.window, presets),
        noise_space=form.noise_space,
        variants=requested_variants(form, adaptation, presets, params, len(choice.answers(labels.class_names))),
        parameter_sigma=requested_parameters(form, adaptation),
    )
    _check_enough_samples(request)
    if extra is not None:
        for sigma in request.sigma.sigmas:
            extra.require(sigma)
    return replace(request, prediction_set=requested_set(form, request, catalogue))


def _check_enough_samples(request: CertifyRequest) -> None:
    """Refuses a number of samples that can show nothing, before any is drawn."""
    params, n_classes = request.params, len(request.classifier.class_names)
    needed = fewest_samples(params, n_classes, max(request.sigma.sigmas))
    if params.n < needed:
        reason = (
            f"at least {needed} samples are needed at alpha {params.alpha:g}: fewer certify nothing, even if all agree"
        )
        raise InvalidRequest({"n": f"{reason}; got {params.n}"})


def _named_prompt(form: CertifyForm, prompts: dict[str, PromptCard]) -> NamedPrompt | None:
    if form.prompt is None:
        return None
    if form.prompt == TEMPLATE_PROMPT:
        return "template"
    if form.prompt not in prompts:
        raise Rejected("unknown_prompt", f"`prompt` must be `{TEMPLATE_PROMPT}` or an id of GET /prompts")
    return prompts[form.prompt]


def named_adapter(name: str | None, adapters: Mapping[str, AdapterCard]) -> NamedAdapter | None:
    """Returns the adapter that a request names, or None if it names none.

    Args:
        name: What the request says.
        adapters: The adapters by id.

    Raises:
        Rejected: adapter_not_found.
    """
    if name is None:
        return None
    if name == NO_ADAPTER:
        return "none"
    if name not in adapters:
        raise Rejected("adapter_not_found", f"`adapter` must be `{NO_ADAPTER}` or an id of GET /adapters")
    return adapters[name]


def _labels(form: CertifyForm, prompt: PromptCard | None, catalogue: Catalogue, settings: ApiSettings) -> _Labels:
    if form.classes is not None:
        return _own_labels(form, form.classes, prompt)
    if form.template is not None:
        raise InvalidRequest({"template": "is allowed only with `classes`; a task has its own"})
    if form.task is not None or prompt is None:
        task = _task(form.task or settings.default_task, catalogue)
        return _Labels(class_names=task.class_names, template=task.template, task=task)
    tasks = [
        task for task in catalogue.tasks().values() if task.id == prompt.task and task.class_names == prompt.class_names
    ]
    if tasks:
        return _Labels(class_names=tasks[0].class_names, template=tasks[0].template, task=tasks[0])
    return _Labels(class_names=prompt.class_names, template=BARE_TEMPLATE)


def _own_labels(form: CertifyForm, classes: list[str], prompt: PromptCard | None) -> _Labels:
    if form.task is not None:
        raise InvalidRequest({"classes": "must not be sent together with `task`"})
    if form.template is None and prompt is None:
        raise InvalidRequest({"template": "must be sent with `classes`"})
    class_names = tuple(classes)
    template = form.template or BARE_TEMPLATE
    try:
        check_classes(class_names, BARE_TEMPLATE)
    except ValueError as error:
        raise InvalidRequest({"classes": str(error)}) from None
    if alike := alike_classes(class_names):
        raise InvalidRequest({"classes": f"names must differ in more than case, spaces and underscores, got {alike!r}"})
    try:
        check_classes(class_names, template)
    except ValueError:  # its message quotes the template
        raise InvalidRequest({"template": "must contain exactly one `{}` and no other brace"}) from None
    return _Labels(class_names=class_names, template=template)


def _check_unworded(form: CertifyForm) -> None:
    """Refuses fields that only shape a hand-written prompt, for a request with a learned prompt.

    The classifier would ignore them, yet they would be part of its settings: a client could get fresh noise at will.

    Raises:
        InvalidRequest: The form has such a field.
    """
    stray = [name for name in ("template", "context") if getattr(form, name) is not None]
    if stray:
        raise InvalidRequest(dict.fromkeys(stray, "is not allowed with a learned prompt, which brings its own context"))


def _with_options(adaptation: Adaptation | None, form: CertifyForm) -> Adaptation | None:
    """Returns the adaptation with the options that the client sent, which only `zero_shot` has.

    Raises:
        InvalidRequest: The form has options for another adaptation.
    """
    if isinstance(adaptation, ZeroShotAdaptation):
        return replace(adaptation, **form.adaptation_options)
    stray = [
        name for name in ("adapt_steps", "adapt_samples", "adapt_lr", "context") if getattr(form, name) is not None
    ]
    if stray:
        raise InvalidRequest(dict.fromkeys(stray, "is allowed only with `adaptation=zero_shot`"))
    return adaptation


def _sigma(
    form: CertifyForm, task: TaskCard | None, adaptation: Adaptation | None, catalogue: Catalogue
) -> SigmaChoice:
    """Returns the sigma that the form names, or what `auto` chooses from.

    Raises:
        InvalidRequest: `auto` does not go with the task or with the adaptation.
    """
    if form.sigma != "auto":
        return FixedSigma(form.sigma)
    if isinstance(adaptation, ZeroShotAdaptation):
        raise InvalidRequest(
            {"sigma": "must be a number with `adaptation=zero_shot`, which tunes the prompt on the image"}
        )
    if task is None or task.sigma_routing is None:
        known = ", ".join(sorted(name for name, card in catalogue.tasks().items() if card.sigma_routing))
        raise InvalidRequest({"sigma": f"`auto` needs a task that has a selector: {known}"})
    return AutoSigma(task.sigma_routing)


def _window(given: str, presets: tuple[WindowPreset, ...]) -> RequestedWindow:
    """Returns the window that the form names, with the presets of the task.

    Raises:
        Rejected: unknown_window.
    """
    match read_window(given):
        case FileWindow():
            return FileWindow.of_task(presets)
        case str(name):
            for preset in presets:
                if preset.name == name:
                    return PresetWindow(preset=preset)
            names = ", ".join(f"`{preset.name}`" for preset in presets) or "none"
            raise Rejected("unknown_window", f"`window` must be a preset of the task if it is a name; it has: {names}")
        case window:
            return window


def _task(name: str, catalogue: Catalogue) -> TaskCard:
    tasks = catalogue.tasks()
    if name not in tasks:
        raise _unknown("task", tasks)
    return tasks[name]


def _unknown(field: str, known: Iterable[str]) -> Rejected:
    return Rejected(f"unknown_{field}", f"`{field}` must be one of {', '.join(sorted(known))}")
