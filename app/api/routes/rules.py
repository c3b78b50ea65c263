"""POST /rules/test."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from certrad.app.api.caller import CallerDep
from certrad.app.api.dependencies import Services, ServicesDep
from certrad.app.api.problems import problem_responses
from certrad.models.errors import Rejected
from certrad.workers.contract.access import Caller
from certrad.workers.contract.rules import Certify, Decision, Header, decide
from certrad.workers.contract.rules_file import RulesError, parse_rules, read_rules

router = APIRouter(prefix="/rules", tags=["PACS"])

Attribute = Annotated[str, StringConstraints(max_length=1024)]


class Attributes(BaseModel):
    """The attributes of a series that rules look at; the service reads them here and nowhere else."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    modality: Attribute = Field("", examples=["DX"])
    body_part: Attribute = Field("", examples=["CHEST"])
    station: Attribute = ""
    series_description: Attribute = ""


class RulesTest(BaseModel):
    """A series to decide on, and perhaps other rules than those of the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    attributes: Attributes
    rules: str | None = Field(None, description="rules as TOML; default: the file of CERTRAD_RULES as it is now")


class CertifyDecision(BaseModel):
    """The series is certified."""

    decision: Literal["certify"] = "certify"
    rule: str
    fields: dict[str, str] = Field(description="the fields of POST /certify", examples=[{"task": "mednist"}])
    destination: str
    instances: Literal["all", "middle", "first"]
    max_instances: int
    outputs: list[Literal["sr", "sc"]]


class IgnoreDecision(BaseModel):
    """The series is left alone; `rule` is null if no rule matches."""

    decision: Literal["ignore"] = "ignore"
    rule: str | None
    reason: str


@router.post(
    "/test",
    operation_id="test_rules",
    summary="Test the rules",
    responses=problem_responses("invalid_rules", "invalid_request", "unknown_field", "foreign_origin"),
)
def test_rules(test: RulesTest, services: ServicesDep, caller: CallerDep) -> CertifyDecision | IgnoreDecision:
    """Returns what the rules would do with a series; nothing is retrieved, and nothing is kept.

    The file of rules is read at each call. The connector reads it when it starts, so restart it after a change. A
    tenant that the PACS does not belong to tests rules of its own only.
    """
    if test.rules is None:
        _require_pacs(services, caller)
    try:
        rules = read_rules(services.settings.rules) if test.rules is None else parse_rules(test.rules)
    except RulesError as error:
        raise Rejected("invalid_rules", str(error)) from None
    return _view(decide(Header(**test.attributes.model_dump()), rules))


def _require_pacs(services: Services, caller: Caller) -> None:
    """Lets a caller pass that may learn the rules of the PACS: its tenant, and the operator."""
    if caller.tenant != services.settings.trigger_tenant and "admin" not in caller.scopes:
        raise Rejected("scope_missing", "the PACS of this service belongs to another tenant: send `rules` of your own")


def _view(decision: Decision) -> CertifyDecision | IgnoreDecision:
    if not isinstance(decision, Certify):
        return IgnoreDecision(rule=decision.rule, reason=decision.reason)
    rule = decision.rule
    return CertifyDecision(
        rule=rule.name,
        fields=dict(rule.fields),
        destination=rule.destination,
        instances=rule.instances,
        max_instances=rule.max_instances,
        outputs=list(rule.outputs),
    )
