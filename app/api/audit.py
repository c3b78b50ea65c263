"""The calls that the audit trail records, and the middleware that records them."""

import re
from collections.abc import Mapping
from typing import Any, Final

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from certrad.workers.contract.audit_events import AuditEvent, EventName
from certrad.workers.contract.audit_trail import AuditTrail

PROCESS: Final = "api"
AUDITED: Final[Mapping[str, EventName]] = {
    "certify": "input_received",
    "tune_prompt": "input_received",
    "store_instances": "input_received",
    "store_instances_of_study": "input_received",
    "trigger_orthanc": "trigger_received",
    "trigger_study": "trigger_received",
    "get_job_input": "output_read",
    "get_job_secondary_capture": "output_read",
    "get_job_certificate": "certificate_read",
    "get_certificate": "certificate_read",
    "verify": "certificate_verified",
    "delete_job": "job_cancelled",
    "get_job_example": "output_read",
    "get_job_renderings": "output_read",
    "record_assessment": "assessment_recorded",
    "change_adapter": "adapter_changed",
    "change_prompt": "prompt_changed",
    "withdraw_prompt": "prompt_changed",
    "order_selftest": "selftest_ordered",
    "start_session": "session_started",
    "end_session": "session_ended",
}
"""Operation of the interface -> the event that a call of it is."""

NOT_AUDITED: Final = frozenset(
    {
        "list_tasks",
        "list_backbones",
        "list_adapters",
        "get_adapter",
        "list_calibrations",
        "get_calibration",
        "list_prompts",
        "get_prompt",
        "list_jobs",  # jobs, their results and the lists of them hold no patient data, and clients poll them
        "get_job",
        "follow_job",
        "get_job_curve",
        "list_assessments",
        "get_trigger",
        "get_selftest",
        "get_session",
        "test_rules",  # it decides on attributes that the client sends, and keeps none
        "live",
        "ready",
        "workers",
        "metrics",
        "drift",  # counts
        "keys",
        "jwks",
        "keys_pem",
    }
)
"""The operations whose calls are no event. A call of any other operation is one, or has no name here by mistake."""

_NOTES: Final = "audit_notes"
_PROBLEM: Final = "problem"
_UNAUTHENTICATED: Final = 401
_REFUSED_CALLERS: Final = frozenset({"wrong_trigger_secret", "scope_missing"})
_NO_CONTENT: Final = 204
_JOB: Final = re.compile(r"/jobs/([A-Za-z0-9_-]{1,64})")
_SHA256: Final = re.compile(r'"([0-9a-f]{64})"')
_REPORTS: Final = frozenset({"application/dicom", "application/fhir+json"})


class AuditMiddleware:
    """Records the calls that succeed, and those whose caller is refused, before they are answered.

    It wraps the whole interface, so that no route records by itself; a route can add a fact with `note`.
    """

    def __init__(self, app: ASGIApp, *, trail: AuditTrail) -> None:
        self._app = app
        self._trail = trail

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one ASGI connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_recorded(message: Message) -> None:
            if message["type"] == "http.response.start" and (event := _event(scope, message)) is not None:
                await run_in_threadpool(self._trail.record, event)
            await send(message)

        await self._app(scope, receive, send_recorded)


def note(request: Request, **facts: str) -> None:
    """Adds facts to the event of a request: `job`, `certificate`, `prompt`, or a detail of another name.

    Args:
        request: The request.
        facts: Ids, codes and counts; nothing that a client wrote freely.
    """
    _notes_of(request.scope).update(facts)


def note_refusal(request: Request, code: str) -> None:
    """Notes the error code with which a request is refused."""
    note(request, **{_PROBLEM: code})


def _notes_of(scope: Scope) -> dict[str, str]:
    """Returns the facts that routes noted about a request."""
    notes: dict[str, str] = scope.setdefault("state", {}).setdefault(_NOTES, {})
    return notes


def _event(scope: Scope, start: Message) -> AuditEvent | None:
    """Returns the event that a response is, or None."""
    operation = getattr(scope.get("route"), "operation_id", None) or ""
    status = start["status"]
    client = scope.get("client")
    common: dict[str, Any] = {"process": PROCESS, "network": client[0] if client else None}
    notes = {**_names(scope), **_notes_of(scope)}
    problem = notes.pop(_PROBLEM, "")
    if status == _UNAUTHENTICATED or problem in _REFUSED_CALLERS:
        details = {"operation": operation, "problem": problem, **_names(scope)}
        return AuditEvent(name="authentication_failed", details=details, failed=True, **common)
    name = AUDITED.get(operation)
    if name is None or status >= 400:
        return None
    headers = Headers(raw=start["headers"])
    path = {key: str(value) for key, value in scope.get("path_params", {}).items()}
    facts: dict[str, Any] = {
        "job": path.get("job_id") or _first(_JOB, headers.get("location")),
        "certificate": path.get("sha256") or _first(_SHA256, headers.get("etag")),
        "prompt": path.get("prompt_id"),
    }
    details = {"operation": operation}
    for key, value in notes.items():
        (facts if key in facts else details)[key] = value
    media = headers.get("content-type", "").partition(";")[0]
    if name == "certificate_read" and media in _REPORTS:
        name, details = "output_read", {**details, "media_type": media}
    if name == "job_cancelled" and status == _NO_CONTENT:
        name = "job_erased"
    return AuditEvent(name=name, details=details, **facts, **common)


def _names(scope: Scope) -> dict[str, str]:
    """Returns the tenant and the key of the caller, where the service asks for one."""
    caller = scope.get("state", {}).get("caller")
    return {} if caller is None or caller.key_id is None else {"tenant": caller.tenant, "key": caller.key_id}


def _first(pattern: re.Pattern[str], text: str | None) -> str | None:
    match = pattern.search(text or "")
    return None if match is None else match[1]
