"""The events of the audit trail, each as an AuditEvent of FHIR R4 with the codes of DICOM (PS3.15 A.5).

An event names jobs, certificates and prompts by their ids, and instances by an HMAC of their UIDs. Nothing in it is
about a patient.
"""

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

Action = Literal["C", "R", "U", "D", "E"]
EventName = Literal[
    "application_start",
    "application_stop",
    "input_received",
    "trigger_received",
    "archive_queried",
    "input_ignored",
    "input_pulled",
    "certificate_issued",
    "certificate_read",
    "certificate_verified",
    "output_read",
    "output_stored",
    "delivery_changed",
    "authentication_failed",
    "adapter_changed",
    "prompt_changed",
    "prompt_tuned",
    "keys_changed",
    "access_changed",
    "session_started",
    "session_ended",
    "job_cancelled",
    "job_erased",
    "patient_erased",
    "assessment_recorded",
    "callback_sent",
    "callback_given_up",
    "callback_changed",
    "selftest_ordered",
    "events_lost",
    "line_repaired",
    "file_expired",
]

EVENT_SYSTEM: Final = "urn:certrad:audit-event"
_DCM: Final = "http://dicom.nema.org/resources/ontology/DCM"
_OBJECT_TYPE: Final = "http://terminology.hl7.org/CodeSystem/audit-entity-type"
_OBJECT_ROLE: Final = "http://terminology.hl7.org/CodeSystem/object-role"
_SOURCE_TYPE: Final = "http://terminology.hl7.org/CodeSystem/security-source-type"
_MAX_TEXT: Final = 200

ACTIVITY: Final = ("110100", "Application Activity")
_START: Final = ("110120", "Application Start")
_STOP: Final = ("110121", "Application Stop")
_ACCESSED: Final = ("110103", "DICOM Instances Accessed")
_TRANSFERRED: Final = ("110104", "DICOM Instances Transferred")
_EXPORT: Final = ("110106", "Export")
_IMPORT: Final = ("110107", "Import")
_QUERY: Final = ("110112", "Query")
_ALERT: Final = ("110113", "Security Alert")
_AUTHENTICATION: Final = ("110114", "User Authentication")
_SECURITY_CONFIGURATION: Final = ("110129", "Security Configuration")
_SOFTWARE_CONFIGURATION: Final = ("110131", "Software Configuration")
_LOGIN: Final = ("110122", "Login")
_LOGOUT: Final = ("110123", "Logout")
_RECORDING_STARTED: Final = ("110134", "Audit Recording Started")

Code = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class EventKind:
    """What every event of one name says.

    Attributes:
        type: Code of DICOM, with its meaning.
        action: FHIR's action: create, read, update, delete or execute.
        meaning: What has happened, in words.
        subtype: A narrower code of DICOM.
    """

    type: Code
    action: Action
    meaning: str
    subtype: Code | None = None


KINDS: Final[Mapping[EventName, EventKind]] = {
    "application_start": EventKind(type=ACTIVITY, subtype=_START, action="E", meaning="A process of the service began"),
    "application_stop": EventKind(type=ACTIVITY, subtype=_STOP, action="E", meaning="A process of the service ended"),
    "input_received": EventKind(
        type=_IMPORT,
        action="C",
        meaning="An image, or the images of a tuning, were received, or the connector took one over",
    ),
    "trigger_received": EventKind(
        type=_QUERY, action="E", meaning="The archive announced a series, or a person asked for a study"
    ),
    "archive_queried": EventKind(
        type=_QUERY,
        action="E",
        meaning="The archive was asked for the series of a study, or for the headers of a series",
    ),
    "input_ignored": EventKind(
        type=ACTIVITY, action="E", meaning="A series was left alone, by a rule or for want of one"
    ),
    "input_pulled": EventKind(
        type=_TRANSFERRED, action="R", meaning="An instance was retrieved from the archive by WADO-RS"
    ),
    "certificate_issued": EventKind(type=_ACCESSED, action="C", meaning="A certificate was signed and stored"),
    "certificate_read": EventKind(type=_EXPORT, action="R", meaning="A certificate was read"),
    "certificate_verified": EventKind(type=_QUERY, action="E", meaning="A document was verified"),
    "output_read": EventKind(
        type=_EXPORT, action="R", meaning="A report or an image made of the upload was read; reports name the patient"
    ),
    "output_stored": EventKind(type=_TRANSFERRED, action="C", meaning="A report was stored in the archive by STOW-RS"),
    "delivery_changed": EventKind(
        type=_EXPORT, action="U", meaning="An operator gave results for the archive up, or had them tried again"
    ),
    "authentication_failed": EventKind(
        type=_AUTHENTICATION, action="E", meaning="A request was refused because its key or secret is wrong or missing"
    ),
    "adapter_changed": EventKind(
        type=_ALERT,
        subtype=_SOFTWARE_CONFIGURATION,
        action="U",
        meaning="An adapter was withdrawn or was restored",
    ),
    "prompt_changed": EventKind(
        type=_ALERT,
        subtype=_SOFTWARE_CONFIGURATION,
        action="U",
        meaning="A prompt became a default, was withdrawn or was restored",
    ),
    "prompt_tuned": EventKind(
        type=_ALERT, subtype=_SOFTWARE_CONFIGURATION, action="C", meaning="A tuned prompt was put into use"
    ),
    "keys_changed": EventKind(
        type=_ALERT,
        subtype=_SECURITY_CONFIGURATION,
        action="U",
        meaning="A signing key or an epoch secret was rotated, revoked or revealed",
    ),
    "access_changed": EventKind(
        type=_ALERT,
        subtype=_SECURITY_CONFIGURATION,
        action="U",
        meaning="An API key was made, replaced or revoked",
    ),
    "session_started": EventKind(
        type=_AUTHENTICATION, subtype=_LOGIN, action="E", meaning="A session of the page began, with an API key"
    ),
    "session_ended": EventKind(
        type=_AUTHENTICATION, subtype=_LOGOUT, action="E", meaning="A session of the page was ended"
    ),
    "job_cancelled": EventKind(type=_ACCESSED, action="E", meaning="A job was cancelled, and its upload deleted"),
    "job_erased": EventKind(type=_ACCESSED, action="D", meaning="An ended job was erased; its certificate stays"),
    "patient_erased": EventKind(
        type=_ACCESSED, action="D", meaning="Everything about one patient's jobs was erased; their events follow"
    ),
    "assessment_recorded": EventKind(type=_IMPORT, action="C", meaning="A reader assessed a certificate"),
    "callback_sent": EventKind(
        type=_EXPORT, action="E", meaning="A receiver was told the id and the status of a job that has ended"
    ),
    "callback_given_up": EventKind(
        type=_EXPORT, action="E", meaning="A receiver could not be told that a job has ended"
    ),
    "callback_changed": EventKind(
        type=_EXPORT, action="U", meaning="An operator had callbacks sent again, or gave them up"
    ),
    "selftest_ordered": EventKind(type=ACTIVITY, action="E", meaning="A self-test of an engine and intake was ordered"),
    "events_lost": EventKind(
        type=_ALERT,
        subtype=_RECORDING_STARTED,
        action="E",
        meaning="Events could not be written before this one, as on a full disk",
    ),
    "line_repaired": EventKind(
        type=_ALERT,
        subtype=_RECORDING_STARTED,
        action="E",
        meaning="The unfinished line of a process that died was removed",
    ),
    "file_expired": EventKind(
        type=_ALERT, subtype=_SECURITY_CONFIGURATION, action="D", meaning="A file of the trail is past its retention"
    ),
}
"""Every event that can be recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEvent:
    """One event.

    Attributes:
        name: What has happened.
        process: The process that records it: `api`, `intake` and so on.
        job: Id of a job.
        certificate: SHA-256 of a certificate, 64 hexadecimal digits.
        prompt: Id of a prompt.
        instances: Pseudonyms of instances, of `AuditTrail.pseudonym`.
        network: IP address of the client.
        details: More facts, by name: codes and counts, never a free text.
        failed: Whether what it is about failed.
    """

    name: EventName
    process: str
    job: str | None = None
    certificate: str | None = None
    prompt: str | None = None
    instances: tuple[str, ...] = ()
    network: str | None = None
    details: Mapping[str, str] = field(default_factory=dict)
    failed: bool = False

    def resource(self, *, at: float) -> dict[str, Any]:
        """Returns the event as an AuditEvent of FHIR R4.

        Args:
            at: Seconds since 1970.
        """
        kind = KINDS[self.name]
        subtype = [_coding(_DCM, *kind.subtype)] if kind.subtype else []
        entities = list(self._entities())
        return {
            "resourceType": "AuditEvent",
            "type": _coding(_DCM, *kind.type),
            "subtype": [*subtype, _coding(EVENT_SYSTEM, self.name, kind.meaning)],
            "action": kind.action,
            "recorded": datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds"),
            "outcome": "4" if self.failed else "0",
            "agent": list(self._agents()),
            "source": {
                "site": platform.node()[:_MAX_TEXT] or "unknown",
                "observer": {"display": f"certrad {self.process}"},
                "type": [_coding(_SOURCE_TYPE, "4", "Application Server")],
            },
            **({"entity": entities} if entities else {}),
        }

    def _agents(self) -> list[dict[str, Any]]:
        application = {
            "type": {"coding": [_coding(_DCM, "110150", "Application")]},
            "who": {"display": f"certrad {self.process}"},
            "requestor": self.network is None,
        }
        if self.network is None:
            return [application]
        client = {
            "type": {"coding": [_coding(_DCM, "110153", "Source Role ID")]},
            "requestor": True,
            "network": {"address": self.network[:_MAX_TEXT], "type": "2"},
        }
        return [client, application]

    def _entities(self) -> list[dict[str, Any]]:
        named = [
            ("urn:certrad:job", self.job, ("20", "Job")),
            ("urn:certrad:certificate-sha256", self.certificate, ("3", "Report")),
            ("urn:certrad:prompt", self.prompt, ("4", "Domain Resource")),
            *(("urn:certrad:instance-hmac-sha256", each, ("3", "Report")) for each in self.instances),
        ]
        entities = [
            {
                "what": {"identifier": {"system": system, "value": value[:_MAX_TEXT]}},
                "type": _coding(_OBJECT_TYPE, "2", "System Object"),
                "role": _coding(_OBJECT_ROLE, *role),
            }
            for system, value, role in named
            if value
        ]
        if self.details:
            details = [{"type": name, "valueString": text[:_MAX_TEXT]} for name, text in sorted(self.details.items())]
            entities.append({"type": _coding(_OBJECT_TYPE, "4", "Other"), "detail": details})
        return entities


def _coding(system: str, code: str, display: str) -> dict[str, str]:
    return {"system": system, "code": code, "display": display}
