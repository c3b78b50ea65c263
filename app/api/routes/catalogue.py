"""The catalogue: the tasks, backbones and prompts that a request may name."""

from dataclasses import replace
from typing import Annotated, Self

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from certrad.app.api.audit import note
from certrad.app.api.caller import CallerDep
from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.models.errors import Rejected
from certrad.models.types import BackboneCard, PromptCard, TaskCard
from certrad.models.types.defaults import choose_adapter
from certrad.workers.contract.access import Caller
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.queues import alive_engines

router = APIRouter(tags=["catalogue"])

PromptId = Annotated[str, Path(max_length=128)]


class Tasks(BaseModel):
    """Every task."""

    tasks: list[TaskCard]


class BackboneView(BaseModel):
    """A backbone, and whether a running engine holds its weights."""

    card: BackboneCard
    available: bool


class Backbones(BaseModel):
    """Every backbone."""

    backbones: list[BackboneView]


class PromptView(BaseModel):
    """A learned prompt, and the tasks whose default it is."""

    card: PromptCard
    default_for: list[str]


class ChangedPrompt(PromptView):
    """A prompt as it is after a change, and what it took the place of."""

    replaced: str | None = Field(
        None,
        description="with `default_for`: id of the prompt that was the task's default until now; null where there was "
        "none, or it was this one",
    )


class Prompts(BaseModel):
    """Every prompt that is not withdrawn."""

    prompts: list[PromptView]


class PromptChange(BaseModel):
    """One change of a prompt."""

    model_config = ConfigDict(extra="forbid")

    default_for: str | None = Field(
        None, min_length=1, max_length=128, description="task whose default it becomes", examples=["mednist"]
    )
    withdrawn: bool | None = Field(
        None,
        description="false puts a withdrawn prompt into use again, as the default of no task but the one it was "
        "shipped for; true withdraws it",
    )

    @model_validator(mode="after")
    def _one_change(self) -> Self:
        if (self.default_for is None) == (self.withdrawn is None):
            raise ValueError("the body must have exactly one of `default_for` and `withdrawn`")
        return self


@router.get("/tasks", operation_id="list_tasks", summary="List tasks", responses=problem_responses())
def list_tasks(services: ServicesDep, caller: CallerDep) -> Tasks:
    """Returns the tasks: class names in their order, the hand-written template, and the default prompts."""
    catalogue = services.catalogue.seen_by(caller.tenant)
    return Tasks(tasks=[_in_use(catalogue, task) for task in catalogue.tasks().values()])


@router.get("/backbones", operation_id="list_backbones", summary="List backbones", responses=problem_responses())
def list_backbones(services: ServicesDep) -> Backbones:
    """Returns the backbones; `certrad fetch` on a worker downloads the weights of one that is not available."""
    present = {name for engine in alive_engines(services.redis, services.catalogue) for name in engine.backbones}
    cards = services.catalogue.backbones().values()
    return Backbones(backbones=[BackboneView(card=card, available=card.id in present) for card in cards])


@router.get("/prompts", operation_id="list_prompts", summary="List prompts", responses=problem_responses())
def list_prompts(services: ServicesDep, caller: CallerDep) -> Prompts:
    """Returns the learned prompts in use: those of everyone, and the tenant's own."""
    catalogue = services.catalogue.seen_by(caller.tenant)
    return Prompts(prompts=[_view(catalogue, card) for card in catalogue.prompts().values()])


@router.get(
    "/prompts/{prompt_id}",
    operation_id="get_prompt",
    summary="Read a prompt",
    responses=problem_responses("prompt_not_found", "invalid_request"),
)
def get_prompt(prompt_id: PromptId, services: ServicesDep, caller: CallerDep) -> PromptView:
    """Returns the card of a learned prompt: how it was tuned, and what was measured."""
    catalogue = services.catalogue.seen_by(caller.tenant)
    return _view(catalogue, _card(catalogue, prompt_id))


@router.patch(
    "/prompts/{prompt_id}",
    operation_id="change_prompt",
    summary="Make a prompt a task's default, withdraw or restore it",
    responses=problem_responses(
        "prompt_not_found",
        "unknown_task",
        "prompt_mismatch",
        "adapter_not_found",
        "invalid_request",
        "unknown_field",
        "foreign_origin",
    ),
)
def change_prompt(
    prompt_id: PromptId, change: PromptChange, services: ServicesDep, caller: CallerDep, request: Request
) -> ChangedPrompt:
    """Makes a prompt the default of a task with the same classes, withdraws it, or puts it into use again.

    `replaced` names the prompt that was the task's default until now. A bank among them is no longer used where a
    request names neither prompt nor adaptation.
    """
    note(request, change=_change_of(change))
    catalogue = services.catalogue.seen_by(caller.tenant)
    if change.withdrawn is not None:
        return _withdraw_or_restore(catalogue, caller, prompt_id, withdrawn=change.withdrawn)
    card = _card(catalogue, prompt_id)
    _require_admin(caller)
    tasks = catalogue.tasks()
    task = tasks.get(change.default_for or "")
    if task is None:
        raise Rejected("unknown_task", f"`default_for` must be one of {', '.join(sorted(tasks))}")
    if task.class_names != card.class_names:
        raise Rejected("prompt_mismatch", "the prompt was tuned for other classes than the task has")
    if card.adapter is not None:  # else every request that names nothing would be refused
        choose_adapter(card, None, catalogue.adapters, None, card.backbone)
    before = [each.id for each in catalogue.default_prompts(task.id)[:1] if each.id != card.id]
    catalogue.choose_default(task.id, card.id)
    return _changed(_view(catalogue, card), replaced=before[0] if before else None)


@router.delete(
    "/prompts/{prompt_id}",
    operation_id="withdraw_prompt",
    summary="Withdraw a prompt",
    status_code=204,
    responses=problem_responses("prompt_not_found", "invalid_request", "foreign_origin"),
)
def withdraw_prompt(prompt_id: PromptId, services: ServicesDep, caller: CallerDep, request: Request) -> Response:
    """Withdraws a prompt; certificates made with it stay.

    PATCH with `{"withdrawn": false}` puts it into use again. A shipped one is then the default of its task again.
    """
    note(request, change="withdrawn")
    catalogue = services.catalogue.seen_by(caller.tenant)
    card = _card(catalogue, prompt_id)
    _require_right(catalogue, caller, card)
    catalogue.withdraw_prompt(card.id)
    return Response(status_code=204)


def _change_of(change: PromptChange) -> str:
    if change.withdrawn is None:
        return f"default of {change.default_for}"
    return "withdrawn" if change.withdrawn else "restored"


def _require_right(catalogue: Catalogue, caller: Caller, card: PromptCard) -> None:
    """Lets a caller pass that may withdraw or restore a prompt: the tenant's own, or anyone's with `admin`."""
    if not (catalogue.tenants_of(card.id) and "tune" in caller.scopes):
        _require_admin(caller)


def _require_admin(caller: Caller) -> None:
    if "admin" not in caller.scopes:
        raise Rejected("scope_missing", "what is everyone's, as a default is, needs a key with the scope `admin`")


def _withdraw_or_restore(catalogue: Catalogue, caller: Caller, prompt_id: str, *, withdrawn: bool) -> ChangedPrompt:
    card = catalogue.prompt(prompt_id)
    if card is None:
        raise Rejected("prompt_not_found", "the id is unknown")
    _require_right(catalogue, caller, card)
    if withdrawn:
        catalogue.withdraw_prompt(card.id)
    else:
        catalogue.reinstate_prompt(card.id)
    return _changed(_view(catalogue, card))


def _changed(view: PromptView, *, replaced: str | None = None) -> ChangedPrompt:
    return ChangedPrompt(card=view.card, default_for=view.default_for, replaced=replaced)


def _in_use(catalogue: Catalogue, task: TaskCard) -> TaskCard:
    """Returns the task with its defaults of today, not those it was shipped with."""
    first = {card.method == "bank": card.id for card in reversed(catalogue.default_prompts(task.id))}
    adapter = catalogue.default_adapter(task)
    return replace(task, default_prompt=first.get(False), default_bank=first.get(True), default_adapter=adapter)


def _card(catalogue: Catalogue, prompt_id: str) -> PromptCard:
    card = catalogue.prompts().get(prompt_id)
    if card is None:
        raise Rejected("prompt_not_found", "the id is unknown, or the prompt was withdrawn")
    return card


def _view(catalogue: Catalogue, card: PromptCard) -> PromptView:
    tasks = [task for task in catalogue.tasks() if card in catalogue.default_prompts(task)[:1]]
    return PromptView(card=card, default_for=tasks)
