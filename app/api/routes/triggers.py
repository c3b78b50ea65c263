"""The routes by which a PACS says that a series is complete, and by which a person asks for a study."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Response
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.secret import CODES, require_secret
from certrad.workers.contract.triggers import UID_LENGTH, UID_PATTERN, TriggerSpool

Uid = Annotated[str, StringConstraints(pattern=UID_PATTERN, max_length=UID_LENGTH)]

router = APIRouter(prefix="/triggers", tags=["PACS"], dependencies=[Depends(require_secret)])


class OrthancTrigger(BaseModel):
    """What Orthanc says of a series that has not changed for a while; it names no address."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    event: Literal["OnStableSeries"]
    orthanc_series: Annotated[str, StringConstraints(pattern=r"^[0-9a-f-]{44}$")] | None = None
    study_instance_uid: Uid
    series_instance_uid: Uid
    modality: Annotated[str, StringConstraints(max_length=16)] = ""


class StudyTrigger(BaseModel):
    """The study that a person asks for, or one series of it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    study_instance_uid: Uid
    series_instance_uid: Uid | None = None


class TriggerLinks(BaseModel):
    """The addresses of what belongs to the trigger."""

    self: str = Field(examples=["/triggers/01780000000000000000-0f8fad5bd9cb469f"])


class StoredTrigger(BaseModel):
    """A trigger that was stored for the connector."""

    id: str = Field(examples=["01780000000000000000-0f8fad5bd9cb469f"])


class AcceptedTrigger(StoredTrigger):
    """A trigger that was stored for the connector, and where to follow it."""

    links: TriggerLinks


class DeliveryView(BaseModel):
    """One result on its way to a PACS."""

    output: Literal["sr", "sc"]
    destination: str
    state: Literal["waiting", "delivered", "put_aside", "dropped"]
    reason: str | None = Field(description="the code of what went wrong last")


class InstanceView(BaseModel):
    """One instance that a rule chose."""

    state: Literal["chosen", "submitted", "ended", "failed", "dropped"]
    job: str | None = Field(description="the id of its job")
    rule: str
    reason: str | None = Field(description="the code of what went wrong last")
    deliveries: list[DeliveryView]


class SeriesView(BaseModel):
    """One series: `ignored` says why, `done` lists the instances that were chosen."""

    state: Literal["open", "done", "ignored", "failed", "dropped"]
    rule: str | None
    reason: str | None
    instances: list[InstanceView]


class TriggerOutcome(BaseModel):
    """What has become of a trigger so far. It names no UID."""

    status: Literal["waiting", "working", "done"] = Field(
        description="`waiting` until the connector takes it, `done` when nothing of it is left to do"
    )
    series: list[SeriesView]


@router.post(
    "/orthanc",
    operation_id="trigger_orthanc",
    summary="Tell that a series is complete",
    status_code=202,
    responses=problem_responses(
        *CODES, "invalid_request", "unknown_field", "foreign_origin", "queue_full", "storage_unavailable"
    ),
)
def trigger_orthanc(trigger: OrthancTrigger, services: ServicesDep) -> StoredTrigger:
    """Stores the trigger on the disk and answers at once; the connector looks at the series. It cannot be followed.

    The connector retrieves from the PACS that it was configured with, and from nowhere else.
    """
    spool = TriggerSpool(services.settings.pacs_dir)
    study, series = trigger.study_instance_uid, trigger.series_instance_uid
    return StoredTrigger(id=spool.put("orthanc", study, series, trigger.modality))


@router.post(
    "/study",
    operation_id="trigger_study",
    summary="Certify a study of the PACS",
    status_code=202,
    responses=problem_responses(
        *CODES, "invalid_request", "unknown_field", "foreign_origin", "queue_full", "storage_unavailable"
    ),
)
def trigger_study(trigger: StudyTrigger, services: ServicesDep, response: Response) -> AcceptedTrigger:
    """Asks for a study, or for one series of it; the rules decide what is certified."""
    spool = TriggerSpool(services.settings.pacs_dir)
    trigger_id = spool.put("study", trigger.study_instance_uid, trigger.series_instance_uid)
    path = f"/triggers/{trigger_id}"
    response.headers["Location"] = path
    return AcceptedTrigger(id=trigger_id, links=TriggerLinks(self=path))


@router.get(
    "/{trigger_id}",
    operation_id="get_trigger",
    summary="Follow a study that was asked for",
    responses=problem_responses(*CODES, "trigger_not_found", "invalid_request"),
)
def get_trigger(trigger_id: str, services: ServicesDep) -> TriggerOutcome:
    """Returns what has become of a study that somebody asked for."""
    outcome: dict[str, Any] = TriggerSpool(services.settings.pacs_dir).outcome(trigger_id)
    return TriggerOutcome.model_validate(outcome)
