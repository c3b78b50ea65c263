"""Abstentions and radii of the tenant's certificates over time."""

import time
from typing import Annotated, Final

from fastapi import APIRouter, Query

from certrad.app.api.caller import CallerDep
from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.schemas.drift import Drift, drift_view
from certrad.workers.contract.drift import day_of, read_days

router = APIRouter(tags=["drift"])
_DAYS_MAX: Final = 3_660

Days = Annotated[int, Query(ge=1, le=_DAYS_MAX, description="days to return, today included, in UTC")]


@router.get(
    "/drift",
    operation_id="drift",
    summary="Abstentions and radii over time",
    responses=problem_responses("invalid_request"),
)
def drift(services: ServicesDep, caller: CallerDep, days: Days = 30) -> Drift:
    """Returns the caller's own certificates by day, task, modality and scanner model, oldest day first.

    A day or a kind of image without certificates is left out. Modality and scanner model are kept only where
    `CERTRAD_DRIFT_LABELS` allows them. A change says that images, requests or classifiers changed, not which of them,
    and not that a class is right or wrong.
    """
    kept = services.settings.drift_days
    tallies = read_days(services.redis, caller.tenant, last=day_of(time.time()), days=min(days, kept))
    return drift_view(kept, tallies)
