"""The adapters of image encoders that a request may name."""

from dataclasses import fields
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import BaseModel, ConfigDict, Field

from certrad.app.api.audit import note
from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.models.errors import Rejected
from certrad.models.types import AdapterCard
from certrad.models.types.identity import TuningImagesRecord
from certrad.workers.contract.catalogue import Catalogue

router = APIRouter(tags=["catalogue"])

AdapterId = Annotated[str, Path(max_length=128)]


class AdapterFacts(BaseModel):
    """The card of an adapter, without the digests of the images that it was trained on: there may be thousands."""

    id: str = Field(description="its name and the first 16 hexadecimal digits of its SHA-256")
    name: str
    backbone: str = Field(description="id of the backbone")
    backbone_sha256: str = Field(description="SHA-256 of the weights that it was trained with")
    rank: int = Field(description="rank of the changes to the matrices")
    sigma_range: tuple[float, float] = Field(description="lowest and highest sigma that it was trained for")
    sha256: str = Field(description="SHA-256 of its file")
    licence: str
    training: dict[str, Any] = Field(description="how it was trained")
    measured: dict[str, Any] = Field(description="figures measured on images that were held out")
    training_images: TuningImagesRecord = Field(
        description="whether the images that it was trained on are recorded, so that they are refused with it"
    )


class AdapterView(BaseModel):
    """An adapter of an image encoder, and the tasks whose default it is."""

    card: AdapterFacts
    default_for: list[str]


class Adapters(BaseModel):
    """Every adapter that is not withdrawn."""

    adapters: list[AdapterView]


class AdapterChange(BaseModel):
    """A change of an adapter."""

    model_config = ConfigDict(extra="forbid")

    withdrawn: bool = Field(description="true takes the adapter out of use, false puts it into use again")


@router.get("/adapters", operation_id="list_adapters", summary="List adapters", responses=problem_responses())
def list_adapters(services: ServicesDep) -> Adapters:
    """Returns the adapters in use: those of the package, and those that engines or an operator have published."""
    catalogue = services.catalogue
    return Adapters(adapters=[_view(catalogue, card) for card in catalogue.adapters.read_all().values()])


@router.get(
    "/adapters/{adapter_id}",
    operation_id="get_adapter",
    summary="Read an adapter",
    responses=problem_responses("adapter_not_found", "invalid_request"),
)
def get_adapter(adapter_id: AdapterId, services: ServicesDep) -> AdapterView:
    """Returns the card of an adapter: how it was trained, and what was measured."""
    card = services.catalogue.adapters.get(adapter_id)
    if card is None:
        raise Rejected("adapter_not_found", "the id is unknown, or the adapter was withdrawn")
    return _view(services.catalogue, card)


@router.patch(
    "/adapters/{adapter_id}",
    operation_id="change_adapter",
    summary="Withdraw or restore an adapter",
    responses=problem_responses("adapter_not_found", "invalid_request", "unknown_field", "foreign_origin"),
)
def change_adapter(
    adapter_id: AdapterId, change: AdapterChange, services: ServicesDep, request: Request
) -> AdapterView:
    """Takes an adapter out of use, or puts it into use again.

    No new job may name a withdrawn adapter, or a prompt that was tuned with it, and a task whose default it is uses the
    frozen encoder. Jobs that were accepted before still use it, and certificates stay.
    """
    note(request, change="withdrawn" if change.withdrawn else "restored")
    adapters = services.catalogue.adapters
    card = adapters.with_withdrawn(adapter_id)
    if card is None:
        raise Rejected("adapter_not_found", "the id is unknown")
    if change.withdrawn:
        adapters.withdraw(card.id)
    else:
        adapters.reinstate(card.id)
    return _view(services.catalogue, card)


def _view(catalogue: Catalogue, card: AdapterCard) -> AdapterView:
    tasks = [task.id for task in catalogue.tasks().values() if catalogue.default_adapter(task) == card.id]
    facts = {each.name: getattr(card, each.name) for each in fields(card) if each.name != "trained_on"}
    images: TuningImagesRecord = "recorded" if card.trained_on and card.trained_on.complete else "not_recorded"
    return AdapterView(card=AdapterFacts(**facts, training_images=images), default_for=tasks)
