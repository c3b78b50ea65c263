"""Makes and stores the reports of one job, once its certificate is stored."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import version
from typing import Final, cast

import structlog

from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.statement import StatedCertificate
from certrad.models.types import CertifyRequest
from certrad.models.types.code import Code
from certrad.models.types.image import ImageRecord
from certrad.workers.contract import outputs, uploads
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.outputs import OUTPUTS, OutputKind, OutputOutcomes
from certrad.workers.reports.codes import finding
from certrad.workers.reports.predecessors import IssuedReport, ReportIndex
from certrad.workers.reports.render import Outputs, instance_of, render_outputs
from certrad.workers.reports.renderers import Picture
from certrad.workers.reports.report import Report
from certrad.workers.settings import WorkerSettings

_log = structlog.get_logger()
_FAILED: Final[Mapping[OutputKind, str]] = dict.fromkeys(OUTPUTS, "output_failed")


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredCertificate:
    """A certificate that is signed and stored.

    Attributes:
        document: The signed document.
        sha256: Its SHA-256, in hexadecimal.
        jws: The same document as compact JWS.
    """

    document: bytes
    sha256: str
    jws: bytes


def make_reports(
    record: JobRecord,
    certificate: StoredCertificate,
    class_codes: Mapping[str, Code],
    settings: WorkerSettings,
    *,
    clock: Callable[[], datetime] = lambda: datetime.now().astimezone(),
) -> OutputOutcomes:
    """Renders and stores the reports about a certificate; a second run stores the identical bytes.

    Args:
        record: The job.
        certificate: Its certificate.
        class_codes: Name of a class -> its concept, from the card of the task.
        settings: Folders, limits of the sandbox, and the operator's choices.
        clock: The time of a first report, with its time zone.

    Returns:
        For each kind of report None if it was made, else the code of why it was not.

    Raises:
        OSError: The disk refuses a report or the index.
    """
    try:
        data = uploads.read(settings.blobs_dir, record.id)
    except FileNotFoundError:
        _log.warning("reports not rendered", job_id=record.id, reason="the upload is gone")
        return dict(_FAILED)
    image, request = cast("ImageRecord", record.image), cast("CertifyRequest", record.request)
    instance = instance_of(data, settings)
    subject = (instance, str(image.frame)) if instance is not None else ("certificate", certificate.sha256)
    with ReportIndex(settings.reports_dir).history(*_of(record.submission.tenant), *subject) as history:
        known = history.of(certificate.sha256)
        report = _report(certificate, class_codes, image, known.issued_at if known else clock(), settings)
        report = replace(report, tenant=record.submission.tenant)
        picture = Picture(
            frame=request.frame,
            region=request.region,
            window=request.window,
            may_show_text=settings.copy_burned_in,
        )
        rendered = render_outputs(data, report, history.before(certificate.sha256), picture, settings)
        history.add(
            IssuedReport(
                certificate=certificate.sha256,
                issued_at=report.issued_at,
                uids=rendered.uids,
                tenant=record.submission.tenant,
            )
        )
    return _store(record.id, rendered, settings)


def _of(tenant: str) -> tuple[str, ...]:
    """Returns what sets the histories of a tenant apart: no report names another tenant's.

    Those of the local tenant are called as a release without tenants called them.
    """
    return () if tenant == LOCAL_TENANT else ("tenant", tenant)


def _report(
    certificate: StoredCertificate,
    class_codes: Mapping[str, Code],
    image: ImageRecord,
    issued_at: datetime,
    settings: WorkerSettings,
) -> Report:
    statement = read(parse(certificate.document))
    claim = statement.claim
    return Report(
        statement=statement,
        certificate_sha256=certificate.sha256,
        finding=finding(claim.label, class_codes) if isinstance(claim, StatedCertificate) else None,
        issued_at=issued_at,
        software_version=version("certrad"),
        frame=image.frame if image.frames > 1 else None,
        warnings=image.warnings,
        language=settings.report_language,
        jws=certificate.jws.decode("ascii"),
    )


def _store(job_id: str, rendered: Outputs, settings: WorkerSettings) -> OutputOutcomes:
    for kind, content in rendered.content.items():
        outputs.store(settings.outputs_dir, job_id, kind, content)
    return {kind: rendered.refused.get(kind) for kind in OUTPUTS}
