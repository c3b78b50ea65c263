"""The fields of POST /prompts, and the request they make with every default filled in."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Annotated, Any, Final

from pydantic import BaseModel, ConfigDict, Field, Json, StringConstraints

from app.api.problems import InvalidRequest
from app.api.schemas.certify import Identifier, Words, validated
from app.settings import ApiSettings
from models.errors import Rejected
from models.types import TaskCard
from models.types.cards import ContextPosition, check_classes
from models.types.smoothing import SIGMA_RANGE
from models.types.tuning import (
    BATCH_MAX,
    EPOCHS_MAX,
    N_CTX_MAX,
    PROMPT_NAME,
    SHOTS_MAX,
    TuningMethod,
    TuningParams,
    TuningRequest,
)
from workers.contract.catalogue import Catalogue

PromptName = Annotated[str, StringConstraints(pattern=f"^{PROMPT_NAME.pattern}$")]
Sigma = Annotated[float, Field(ge=SIGMA_RANGE[0], le=SIGMA_RANGE[1])]

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
)


class TuningForm(BaseModel):
    """The fields of one request, beside the images; those of the training default to what the papers publish."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: PromptName | None = Field(
        None,
        description="begins the id of the prompt; default: the task, or `prompt`, and the method",
        examples=["chest-2026"],
    )
    method: TuningMethod = Field(
        "few_shot",
        description="`few_shot` tunes on noisy images (PromptSmooth), `coop` on clean ones, `advpt` on adversarial "
        "embeddings (AdvPT)",
    )
    backbone: Identifier | None = Field(
        None, description="id of GET /backbones; default: the task's own", examples=["demo"]
    )
    task: Identifier | None = Field(
        None,
        description="id of GET /tasks whose classes the folders hold; they may be called as its published data set is",
    )
    classes: Json[list[Words]] | None = Field(
        None,
        description="class names as a JSON list, instead of `task`; with neither they are the names of the folders. "
        "Folders named like the classes, but for case, spaces and punctuation, are matched by name, others in sorted "
        "order, numbers by their value",
        examples=['["chest X-ray", "head CT"]'],
    )
    shots: int | None = Field(
        None, ge=1, le=SHOTS_MAX, description="images of each class to tune on; default 16, of `advpt` all"
    )
    epochs: int | None = Field(None, ge=1, le=EPOCHS_MAX, description="default 50, of `advpt` 100")
    lr: float | None = Field(None, gt=0, le=1, description="learning rate of SGD; default 0.002, of `advpt` 0.005")
    batch_size: int | None = Field(None, ge=1, le=BATCH_MAX, description="default 16, of `advpt` 32")
    n_ctx: int | None = Field(None, ge=1, le=N_CTX_MAX, description="context vectors; default 5, of `advpt` 32")
    class_specific: bool | None = Field(None, description="context vectors for each class; default false")
    position: ContextPosition | None = Field(None, description="of the class name in the prompt; default `end`")
    sigmas: Json[Annotated[list[Sigma], Field(min_length=1, max_length=16)]] | None = Field(
        None,
        description="noise levels as a JSON list; only with `few_shot`; default [0.25, 0.5, 0.75, 1.0]",
        examples=["[0.25, 0.5]"],
    )
    seed: int | None = Field(
        None, ge=0, lt=2**32, description="of the choice of images, the first context vectors, all noise; default 0"
    )


def parse(fields: Iterable[tuple[str, str]]) -> TuningForm:
    """The form these fields make; raises Rejected `unknown_field` or InvalidRequest."""
    return validated(TuningForm, fields)


def resolve(form: TuningForm, catalogue: Catalogue, settings: ApiSettings) -> TuningRequest:
    """The request with every default filled in. Raises Rejected: unknown_task, unknown_backbone, invalid_request."""
    task = _task(form, catalogue)
    backbone = form.backbone or (task or catalogue.tasks[settings.default_task]).default_backbone
    if backbone not in catalogue.backbones:
        raise Rejected("unknown_backbone", f"`backbone` must be one of {', '.join(sorted(catalogue.backbones))}")
    return TuningRequest(
        name=form.name or f"{task.id if task else 'prompt'}-{form.method.replace('_', '-')}",
        backbone=backbone,
        class_names=task.class_names if task else _own_classes(form),
        task=task.id if task else None,
        params=_params(form),
    )


def _task(form: TuningForm, catalogue: Catalogue) -> TaskCard | None:
    if form.task is None:
        return None
    if form.classes is not None:
        raise InvalidRequest({"classes": "either `task` or `classes`, not both"})
    if form.task not in catalogue.tasks:
        raise Rejected("unknown_task", f"`task` must be one of {', '.join(sorted(catalogue.tasks))}")
    return catalogue.tasks[form.task]


def _own_classes(form: TuningForm) -> tuple[str, ...] | None:
    if form.classes is None:
        return None
    try:
        check_classes(tuple(form.classes), "{}")
    except ValueError as error:
        raise InvalidRequest({"classes": str(error)}) from None
    return tuple(form.classes)


def _params(form: TuningForm) -> TuningParams:
    given: dict[str, Any] = {name: value for name in _PARAMS if (value := getattr(form, name)) is not None}
    if form.sigmas is not None:
        if form.method != "few_shot":
            raise InvalidRequest({"sigmas": "only with `method=few_shot`"})
        given["sigmas"] = tuple(form.sigmas)
    return replace(TuningParams.published(form.method), **given)
