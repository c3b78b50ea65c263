"""The keys certificates can be checked with."""

from datetime import UTC, datetime

from fastapi import APIRouter
from pydantic import BaseModel, Field

from app.dependencies import ServicesDep
from app.problems import problem_responses

router = APIRouter(tags=["keys"])


class Epoch(BaseModel):
    """A noise secret this installation has committed to, by its hash."""

    sha256: str = Field(description="SHA-256 of the epoch secret")
    first_used: datetime


class Keys(BaseModel):
    """Public signing keys, none so far, and the commitments to the noise secrets."""

    keys: list[str]
    epochs: list[Epoch]


@router.get(
    "/.well-known/certrad-keys",
    operation_id="keys",
    summary="Keys and epoch commitments",
    responses=problem_responses(),
)
def keys(services: ServicesDep) -> Keys:
    """What was committed to before the noise was drawn."""
    epochs = services.catalogue.epochs()
    return Keys(
        keys=[], epochs=[Epoch(sha256=digest, first_used=datetime.fromtimestamp(at, UTC)) for digest, at in epochs]
    )
