"""What each operation of the interface needs: nothing, any key, or a key with one of some scopes."""

from collections.abc import Mapping
from typing import Final

from starlette.routing import BaseRoute

from certrad.workers.contract.access import SCOPES, Scope

PUBLIC: Final = frozenset(
    {
        "live",
        "ready",
        "workers",
        "keys",
        "jwks",
        "keys_pem",
        "start_session",  # it takes the key itself
        "/",  # the page and its files, which hold no data: the login form is there
        "/docs",
        "/page/{path:path}",
    }
)
"""The operations that need no key, those without an operation id by their path."""

_ANY: Final = frozenset(SCOPES)
_SUBMIT: Final = frozenset[Scope]({"submit"})
_READ: Final = frozenset[Scope]({"read"})
_TUNE: Final = frozenset[Scope]({"tune"})
_ADMIN: Final = frozenset[Scope]({"admin"})

NEEDED: Final[Mapping[str, frozenset[Scope]]] = {
    "certify": _SUBMIT,
    "tune_prompt": _TUNE,
    "list_jobs": _READ,
    "get_job": _READ | _SUBMIT | _TUNE,  # the sender of a job must be able to follow it
    "follow_job": _READ | _SUBMIT | _TUNE,
    "delete_job": _SUBMIT | _TUNE,  # `app.api.routes.jobs` looks at which kind of job it is
    "get_job_input": _READ,
    "get_job_example": _READ,
    "get_job_curve": _READ,
    "get_job_renderings": _READ,
    "drift": _READ,
    "get_job_certificate": _READ,
    "get_job_secondary_capture": _READ,
    "get_certificate": _READ,
    "list_assessments": _READ,
    "record_assessment": _SUBMIT,
    "verify": _READ,
    "list_tasks": _ANY,
    "list_backbones": _ANY,
    "list_adapters": _ANY,
    "get_adapter": _ANY,
    "change_adapter": _ADMIN,
    "list_calibrations": _ANY,
    "get_calibration": _READ,
    "list_prompts": _ANY,
    "get_prompt": _ANY,
    "change_prompt": _TUNE | _ADMIN,  # `app.api.routes.catalogue` looks at whose prompt it is
    "withdraw_prompt": _TUNE | _ADMIN,
    "trigger_orthanc": _SUBMIT,
    "trigger_study": _SUBMIT,
    "get_trigger": _SUBMIT | _READ,
    "store_instances": _SUBMIT,
    "store_instances_of_study": _SUBMIT,
    "test_rules": _SUBMIT | _ADMIN,
    "metrics": _ADMIN,
    "order_selftest": _ADMIN,
    "get_selftest": _ADMIN,
    "get_session": _ANY,
    "end_session": _ANY,
    "/openapi.json": _ANY,
}
"""Operation -> scopes, of which a key needs one. An operation that stands nowhere here is refused to every key."""

TO_SEND: Final[Mapping[str, Scope]] = {"certify": "submit", "tune": "tune"}
"""Kind of a job -> the scope that sends one, and that cancels or erases it."""

SUBMISSIONS: Final = frozenset(
    {"certify", "tune_prompt", "trigger_orthanc", "trigger_study", "store_instances", "store_instances_of_study"}
)
"""The operations that count as submissions in the limit on the rate of requests."""

BY_SECRET: Final = frozenset(
    {"trigger_orthanc", "trigger_study", "get_trigger", "store_instances", "store_instances_of_study"}
)
"""The operations that `CERTRAD_TRIGGER_SECRET` opens too."""


def name_of(route: BaseRoute) -> str:
    """Returns what a route is called in these tables: its operation id, or its path if it has none.

    Args:
        route: A route of the application.
    """
    return getattr(route, "operation_id", None) or str(getattr(route, "path", ""))
