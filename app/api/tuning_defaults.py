"""Fills in the defaults of a request to tune."""

from dataclasses import replace
from typing import Any, Final

from certrad.app.api.defaults import named_adapter
from certrad.app.api.problems import InvalidRequest
from certrad.app.api.schemas.tune import TuningForm
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected
from certrad.models.types import TaskCard
from certrad.models.types.cards import alike_classes, check_classes
from certrad.models.types.defaults import choose_classifier
from certrad.models.types.noise_space import DEFAULT_NOISE_SPACE, NoiseSpace
from certrad.models.types.tuning import (
    TuningParams,
    TuningRequest,
)
from certrad.models.types.window import FileWindow
from certrad.workers.contract.catalogue import Catalogue

_PARAMS: Final = (
    "shots",
    "epochs",
    "lr",
    "batch_size",
    "n_ctx",
    "class_specific",
    "position",
    "sigmas",
    "seed",
    "acquisition",
)


def resolve(form: TuningForm, catalogue: Catalogue, settings: ApiSettings) -> TuningRequest:
    """Returns the request with every default filled in.

    Args:
        form: The fields that the client sent.
        catalogue: The cards that a request may name.
        settings: The defaults of the installation.

    Raises:
        InvalidRequest: The fields do not go together.
        Rejected: unknown_task, unknown_backbone, adapter_not_found, adapter_mismatch.
    """
    task, adapters = _task(form, catalogue), catalogue.adapters
    if form.backbone is not None and form.backbone not in (backbones := catalogue.backbones()):
        raise Rejected("unknown_backbone", f"`backbone` must be one of {', '.join(sorted(backbones))}")
    choice = choose_classifier(
        class_names=None,
        candidates=(),
        default_backbone=(task or _known(settings.default_task, catalogue)).default_backbone,
        backbone=form.backbone,
        adapter=named_adapter(form.adapter, adapters),
        adapters=adapters,
        default_adapter=catalogue.default_adapter(task),
    )
    return TuningRequest(
        name=form.name or f"{task.id if task else 'prompt'}-{form.method.replace('_', '-')}",
        backbone=choice.backbone,
        adapter=choice.adapter_id,
        class_names=task.class_names if task else _own_classes(form),
        task=task.id if task else None,
        params=_params(form),
        noise_space=_noise_space(form),
        window=FileWindow.of_task(task.windows if task else ()),
    )


def _task(form: TuningForm, catalogue: Catalogue) -> TaskCard | None:
    if form.task is None:
        return None
    if form.classes is not None:
        raise InvalidRequest({"classes": "must not be sent together with `task`"})
    return _known(form.task, catalogue)


def _known(name: str, catalogue: Catalogue) -> TaskCard:
    tasks = catalogue.tasks()
    if name not in tasks:
        raise Rejected("unknown_task", f"`task` must be one of {', '.join(sorted(tasks))}")
    return tasks[name]


def _own_classes(form: TuningForm) -> tuple[str, ...] | None:
    if form.classes is None:
        return None
    try:
        check_classes(tuple(form.classes), "{}")
    except ValueError as error:
        raise InvalidRequest({"classes": str(error)}) from None
    if alike := alike_classes(tuple(form.classes)):
        raise InvalidRequest({"classes": f"names must differ in more than case, spaces and underscores, got {alike!r}"})
    return tuple(form.classes)


def _noise_space(form: TuningForm) -> NoiseSpace:
    if form.noise_space not in (None, DEFAULT_NOISE_SPACE) and form.method != "few_shot":
        raise InvalidRequest({"noise_space": "is allowed only with `method=few_shot`"})
    return form.noise_space or DEFAULT_NOISE_SPACE


def _params(form: TuningForm) -> TuningParams:
    given: dict[str, Any] = {name: value for name in _PARAMS if (value := getattr(form, name)) is not None}
    if form.sigmas is not None:
        if form.method != "few_shot":
            raise InvalidRequest({"sigmas": "is allowed only with `method=few_shot`"})
        given["sigmas"] = tuple(form.sigmas)
    if form.acquisition not in (None, "none") and form.method != "few_shot":
        raise InvalidRequest({"acquisition": "is allowed only with `method=few_shot`"})
    return replace(TuningParams.published(form.method), **given)
