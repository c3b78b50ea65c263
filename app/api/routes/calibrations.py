"""The calibrations of prediction sets that a request may name."""

import json
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import BaseModel, Field

from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.models.errors import Rejected
from certrad.models.types.calibration import InstalledCalibration

router = APIRouter(tags=["catalogue"])


class CalibrationFacts(BaseModel):
    """What a request must have in common with a calibration, without counts and digests of its images."""

    id: str = Field(description="its name and the first 16 hexadecimal digits of its SHA-256")
    sha256: str = Field(description="SHA-256 of its file")
    name: str
    site: str = Field(description="site, scanner and protocol of its images, in the operator's words")
    made: str = Field(description="the day on which it was made", examples=["2026-05-01"])
    task: str
    class_names: list[str]
    images: list[int] = Field(description="calibration images of each class")
    per_class: bool = Field(description="whether each class has its own threshold")
    backbone: str
    prompt: str
    adapter: str | None
    dtype: str = Field(description="precision of the image encoder")
    sigma: float
    n: int = Field(description="samples of each calibration image; a request may have another number")
    beta: float = Field(description="the share of misses of a request that names none")


class CalibrationList(BaseModel):
    """Every calibration that is published."""

    calibrations: list[CalibrationFacts]


@router.get(
    "/calibrations", operation_id="list_calibrations", summary="List calibrations", responses=problem_responses()
)
def list_calibrations(services: ServicesDep) -> CalibrationList:
    """Returns the calibrations of prediction sets that engines or an operator have published."""
    found = services.catalogue.calibrations.read_all()
    return CalibrationList(calibrations=[_view(each) for each in found])


@router.get(
    "/calibrations/{calibration_id}",
    operation_id="get_calibration",
    summary="Read a calibration",
    responses=problem_responses("calibration_not_found", "invalid_request"),
)
def get_calibration(calibration_id: Annotated[str, Path(max_length=128)], services: ServicesDep) -> dict[str, Any]:
    """Returns the signed file of a calibration, which verifiers read beside a certificate.

    Its images are named by keyed digests only. Its canonical bytes have the SHA-256 that certificates state.
    """
    if (installed := services.catalogue.calibrations.get(calibration_id)) is None:
        raise Rejected("calibration_not_found", "the id is unknown")
    content: dict[str, Any] = json.loads(installed.document)
    return content


def _view(installed: InstalledCalibration) -> CalibrationFacts:
    card = installed.card
    return CalibrationFacts(
        id=installed.id,
        sha256=installed.sha256,
        name=card.name,
        site=card.site,
        made=card.made,
        task=card.task,
        class_names=list(card.class_names),
        images=list(map(len, card.counts)),
        per_class=card.per_class,
        backbone=card.backbone,
        prompt=card.prompt,
        adapter=card.adapter,
        dtype=card.dtype,
        sigma=card.sigma,
        n=card.n,
        beta=card.beta,
    )
