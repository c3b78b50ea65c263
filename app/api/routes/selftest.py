"""POST /selftest and the reports of ordered self-tests."""

from datetime import datetime
from typing import Final, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from certrad.app.api.accepted import POLL_SECONDS
from certrad.app.api.audit import note
from certrad.app.api.dependencies import ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.app.api.schemas.job import moment
from certrad.models.errors import Rejected
from certrad.models.types.selftest import SelfTestCheck, SelfTestReport, SkippedCheck
from certrad.workers.contract.names import SELFTEST_TASKS, SelfTestPart
from certrad.workers.contract.queues import alive_workers
from certrad.workers.contract.selftest import OrderedSelfTest, SelfTests

PATH: Final = "/selftest"

router = APIRouter(prefix=PATH, tags=["health"])


class PartView(BaseModel):
    """The report of one part of the installation."""

    passed: bool
    made_at: datetime
    checks: list[SelfTestCheck]
    skipped: list[SkippedCheck]
    facts: dict[str, str] = Field(description="versions, device, driver, digests")


class SelfTestView(BaseModel):
    """An ordered self-test: a failed one is a result, and not an error of the call."""

    id: str = Field(examples=["0f8fad5bd9cb469fa16570867728950e"])
    status: Literal["running", "passed", "failed"] = Field(
        description="`running` until an engine and intake have reported; `failed` as soon as a check of either failed"
    )
    ordered_at: datetime
    engine: PartView | None = Field(description="the report of the engine that took the test")
    intake: PartView | None = Field(description="the report of intake")


@router.post(
    "",
    operation_id="order_selftest",
    summary="Test an engine and intake",
    status_code=202,
    responses=problem_responses("no_worker", "foreign_origin"),
)
def order_selftest(request: Request, response: Response, services: ServicesDep) -> SelfTestView:
    """Orders a self-test: an engine makes it between two jobs, before all that wait, and intake beside it.

    It takes an engine a second or two on a CPU. An engine that fails takes no more work. Every engine also tests
    itself when it starts; GET /health/workers has the outcome.
    """
    missing = [name for name, _ in SELFTEST_TASKS.values() if not alive_workers(services.redis, name)]
    if missing:
        raise Rejected("no_worker", f"no worker on: {', '.join(missing)}")
    test = SelfTests(services.redis).order()
    note(request, selftest=test.id)
    response.headers["Location"] = f"{PATH}/{test.id}"
    response.headers["Retry-After"] = str(POLL_SECONDS)
    return _view(test)


@router.get(
    "/{test_id}",
    operation_id="get_selftest",
    summary="Read a self-test",
    responses=problem_responses("selftest_not_found", "invalid_request"),
)
def get_selftest(test_id: str, response: Response, services: ServicesDep) -> SelfTestView:
    """Returns the reports that have come in; they are kept for a day."""
    test = SelfTests(services.redis).read(test_id)
    if test is None:
        raise Rejected("selftest_not_found", "no self-test has this id, or it has expired")
    view = _view(test)
    if view.status == "running":
        response.headers["Retry-After"] = str(POLL_SECONDS)
    return view


def _view(test: OrderedSelfTest) -> SelfTestView:
    running: Literal["running", "passed"] = "passed" if test.complete else "running"
    return SelfTestView(
        id=test.id,
        status=running if test.passed else "failed",
        ordered_at=moment(test.ordered_at),
        engine=_part(test, "engine"),
        intake=_part(test, "intake"),
    )


def _part(test: OrderedSelfTest, part: SelfTestPart) -> PartView | None:
    report: SelfTestReport | None = test.reports.get(part)
    if report is None:
        return None
    return PartView(
        passed=report.passed,
        made_at=moment(report.made_at),
        checks=list(report.checks),
        skipped=list(report.skipped),
        facts=report.facts,
    )
