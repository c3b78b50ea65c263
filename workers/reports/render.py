"""Renders the reports about a certificate from the upload, in the sandbox: the upload is untrusted still.

Two children do it: the first reads which instance the upload is, so that the parent can look up earlier reports; the
second renders. Neither can open what the service keeps. An exception of a report's code never leaves its child in
words, because its message may quote the header: a code, the type of the error and a line of code do.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import structlog

from certrad.models.errors import Rejected
from certrad.workers.contract.formats import sniff
from certrad.workers.contract.outputs import OUTPUTS, OutputKind
from certrad.workers.reports.predecessors import ReportUids
from certrad.workers.reports.renderers import Picture, identity, prepare, render_all
from certrad.workers.reports.report import Report
from certrad.workers.sandbox.child import SandboxError, run_limited
from certrad.workers.settings import WorkerSettings

_MAX_OUTPUT: Final = 64 << 20  # bytes of all reports of a job
_UID: Final = re.compile(r"[0-9.]{1,64}")
_FAILURE: Final = re.compile(r"[A-Za-z0-9_.:]{1,160}")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The reports about one certificate.

    Attributes:
        content: The bytes of those that were made, by kind.
        refused: Codes of those that were not, by kind.
        uids: The structured report; None without one.
    """

    content: Mapping[OutputKind, bytes]
    refused: Mapping[OutputKind, str]
    uids: ReportUids | None


def instance_of(data: bytes, settings: WorkerSettings) -> str | None:
    """Returns the SOP instance UID of an upload; None for one that no report can refer to.

    Args:
        data: The upload.
        settings: Limits of the sandbox.
    """
    if sniff(data) != "dicom":
        return None
    try:
        answer = _run(lambda: (identity(data), b""), settings, max_payload=0)
    except (Rejected, SandboxError) as error:
        _log.warning("header cannot be referenced", reason=_reason(error))
        return None
    uid = answer.header.get("instance")
    return uid if isinstance(uid, str) and _UID.fullmatch(uid) else None


def render_outputs(
    data: bytes, report: Report, former: ReportUids | None, picture: Picture, settings: WorkerSettings
) -> Outputs:
    """Returns the reports about a certificate; it never raises because of the upload.

    Args:
        data: The upload.
        report: The certificate, with what reports need besides, but its predecessor.
        former: The structured report before it.
        picture: What the page shows.
        settings: Limits of the sandbox, and the operator's choices.
    """
    prepare()
    try:
        answer = _run(partial(render_all, data, report, former, picture, settings.max_pixels), settings, _MAX_OUTPUT)
        return _read(answer.header, answer.payload)
    except (Rejected, SandboxError, ValueError, KeyError, TypeError) as error:
        _log.warning("reports not rendered", certificate=report.certificate_sha256, reason=_reason(error))
        return Outputs(content={}, refused=dict.fromkeys(OUTPUTS, "output_failed"), uids=None)


def _run(function: Callable[[], tuple[dict[str, Any], bytes]], settings: WorkerSettings, max_payload: int) -> Any:  # noqa: ANN401
    return run_limited(
        function,
        memory_bytes=settings.intake_memory_bytes,
        cpu_seconds=settings.intake_cpu_seconds,
        max_payload=max_payload,
        hidden=settings.data_dir,
    )


def _reason(error: Exception) -> str:
    """Returns why rendering failed, without a word of the upload."""
    match error:
        case Rejected():
            return error.code
        case SandboxError():
            return str(error)
        case _:
            return "malformed answer"


def _read(header: Mapping[str, Any], payload: bytes) -> Outputs:
    """Returns the answer of the child after all checks that are possible.

    Raises:
        ValueError: The answer is malformed.
    """
    sizes, refused, uids = header["sizes"], header["refused"], header["uids"]
    if {*sizes} | {*refused} != {*OUTPUTS} or sum(sizes.values()) != len(payload) or min(sizes.values(), default=0) < 0:
        raise ValueError("each kind of output must be made or refused")
    for kind, where in header["failures"].items():
        if kind in OUTPUTS and _FAILURE.fullmatch(where):
            _log.warning("report not rendered", kind=kind, in_sandbox=where)
    content: dict[OutputKind, bytes] = {}
    start = 0
    for kind in OUTPUTS:
        if (size := sizes.get(kind)) is not None:
            content[kind] = payload[start : start + size]
            start += size
    if uids is not None and not all(_UID.fullmatch(uid) for uid in uids):
        raise ValueError("a UID must be 1 to 64 digits and dots")
    made = None if uids is None else ReportUids(sop_class=uids[0], instance=uids[1], series=uids[2])
    return Outputs(
        content=content, refused={kind: str(refused[kind]) for kind in OUTPUTS if kind in refused}, uids=made
    )
