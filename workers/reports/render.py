"""Renders the reports about a certificate from the upload, in the sandbox: the upload is untrusted still.

Two children do it: the first reads which instance the upload is, so that the parent can look up earlier reports; the
second renders. Neither can open what the service keeps. An exception of a report's code never leaves its child in
words, because its message may quote the header: a code, the type of the error and a line of code do.
"""

import io
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
import structlog
from numpy.typing import NDArray
from pydicom import dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from certrad.models.errors import Rejected
from certrad.models.types import Region
from certrad.models.types.window import RequestedWindow
from certrad.workers.contract.formats import sniff
from certrad.workers.contract.outputs import OUTPUTS, OutputKind
from certrad.workers.decoders import dicom
from certrad.workers.reports.burned_in import may_have_burned_in_annotation
from certrad.workers.reports.fhir import fhir_bundle
from certrad.workers.reports.predecessors import ReportUids
from certrad.workers.reports.report import Predecessor, Report
from certrad.workers.reports.source import SourceError, read_source
from certrad.workers.sandbox.child import SandboxError, run_limited
from certrad.workers.settings import WorkerSettings

_HOSPITAL_MODULES: Final = (
    "certrad.workers.reports.structured_report",
    "certrad.workers.reports.secondary_capture",
)
"""The modules that need the extra `hospital`."""

_MAX_OUTPUT: Final = 64 << 20  # bytes of all reports of a job
_UID: Final = re.compile(r"[0-9.]{1,64}")
_FAILURE: Final = re.compile(r"[A-Za-z0-9_.:]{1,160}")
_DICOM: Final[tuple[OutputKind, ...]] = ("structured_report", "secondary_capture")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """What is shown of an upload, as the request names it.

    Attributes:
        frame: Frame of a multi-frame image, from 1.
        region: Part of the image; None for all of it.
        window: Window of a grey image.
        may_show_text: Whether a page may show an image that may have text burned into its pixels.
    """

    frame: int | None
    region: Region | None
    window: RequestedWindow
    may_show_text: bool


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


def hospital_is_installed() -> bool:
    """Returns whether the extra `hospital`, which writes DICOM objects, is installed."""
    return find_spec("highdicom") is not None


@cache
def prepare() -> None:
    """Imports what writes DICOM objects, and has it read its tables, before the first fork: else each child would."""
    if not hospital_is_installed():
        return
    for module in _HOSPITAL_MODULES:
        import_module(module)
    SOPClass = import_module("highdicom.base").SOPClass  # noqa: N806  # a class
    SOPClass(
        study_instance_uid="2.25.1",
        series_instance_uid="2.25.2",
        series_number=1,
        sop_instance_uid="2.25.3",
        sop_class_uid=Comprehensive3DSRStorage,
        instance_number=1,
        modality="SR",
        manufacturer="none",
    )


def instance_of(data: bytes, settings: WorkerSettings) -> str | None:
    """Returns the SOP instance UID of an upload; None for one that no report can refer to.

    Args:
        data: The upload.
        settings: Limits of the sandbox.
    """
    if sniff(data) != "dicom":
        return None
    try:
        answer = _run(lambda: (_identity(data), b""), settings, max_payload=0)
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
        answer = _run(partial(_render, data, report, former, picture, settings.max_pixels), settings, _MAX_OUTPUT)
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


# -- in the child ------------------------------------------------------------------------------------------------------


def _identity(data: bytes) -> dict[str, Any]:
    try:
        return {"instance": str(read_source(data).SOPInstanceUID)}
    except SourceError:
        return {"instance": None}


def _render(
    data: bytes, report: Report, former: ReportUids | None, picture: Picture, max_pixels: int
) -> tuple[dict[str, Any], bytes]:
    source = None
    if sniff(data) == "dicom":
        try:
            source = read_source(data)
        except SourceError:
            source = None
    if source is not None and former is not None:
        report = replace(report, predecessor=_predecessor(former, source))
    made: dict[OutputKind, bytes] = {}
    failures: dict[OutputKind, str] = {}
    refused: dict[OutputKind, str] = {}
    uids: list[str] | None = None
    for kind, make in _renderers(data, report, source, picture, max_pixels).items():
        if isinstance(make, str):
            refused[kind] = make
            continue
        try:
            made[kind], of_report = make()
        except BaseException as error:  # a report that fails costs no other one; codecs raise panics
            refused[kind], failures[kind] = "output_failed", _where(error)
        else:
            uids = of_report if kind == "structured_report" else uids
    header = {
        "sizes": {kind: len(made[kind]) for kind in OUTPUTS if kind in made},
        "refused": refused,
        "failures": failures,
        "uids": uids,
    }
    return header, b"".join(made[kind] for kind in OUTPUTS if kind in made)


_Make = Callable[[], tuple[bytes, list[str] | None]]


def _renderers(
    data: bytes, report: Report, source: Dataset | None, picture: Picture, max_pixels: int
) -> Mapping[OutputKind, _Make | str]:
    """Returns how each report is made, or the code of why it cannot be."""
    of_dicom: dict[OutputKind, _Make | str]
    if source is None:
        of_dicom = dict.fromkeys(_DICOM, "no_structured_report")
    elif not hospital_is_installed():
        of_dicom = dict.fromkeys(_DICOM, "hospital_extra_missing")
    else:
        of_dicom = {
            "structured_report": partial(_structured_report, report, source),
            "secondary_capture": partial(_secondary_capture, data, report, source, picture, max_pixels),
        }
    return {**of_dicom, "fhir": partial(_fhir, report, source)}


def _structured_report(report: Report, source: Dataset) -> tuple[bytes, list[str] | None]:
    from certrad.workers.reports.structured_report import structured_report

    made = structured_report(report, source)
    return _file(made), [str(made.SOPClassUID), str(made.SOPInstanceUID), str(made.SeriesInstanceUID)]


def _secondary_capture(
    data: bytes, report: Report, source: Dataset, picture: Picture, max_pixels: int
) -> tuple[bytes, list[str] | None]:
    from certrad.workers.reports.secondary_capture import secondary_capture

    is_shown = picture.may_show_text or not may_have_burned_in_annotation(source)
    image = _shown(data, picture, max_pixels) if is_shown else None
    return _file(secondary_capture(report, source, image)), None


def _fhir(report: Report, source: Dataset | None) -> tuple[bytes, list[str] | None]:
    return json.dumps(fhir_bundle(report, source), ensure_ascii=False, separators=(",", ":")).encode(), None


def _shown(data: bytes, picture: Picture, max_pixels: int) -> NDArray[np.uint8]:
    """Returns the part of the image that was certified, as RGB of 8 bits."""
    image = dicom.decode(data, max_pixels=max_pixels, frame=picture.frame, region=picture.region, window=picture.window)
    grey_or_rgb = np.rint(image.pixels * 255).astype(np.uint8)
    return np.repeat(grey_or_rgb, 3, axis=2) if grey_or_rgb.shape[2] == 1 else grey_or_rgb


def _file(made: Dataset) -> bytes:
    file = io.BytesIO()
    dcmwrite(file, made, enforce_file_format=True)
    return file.getvalue()


def _predecessor(former: ReportUids, source: Dataset) -> Predecessor:
    """Returns the report before; it is in the same study, because it is about the same instance."""
    return Predecessor(
        sop_class_uid=former.sop_class,
        sop_instance_uid=former.instance,
        series_instance_uid=former.series,
        study_instance_uid=str(source.StudyInstanceUID),
    )


def _where(error: BaseException) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    file = "" if trace is None else f":{trace.tb_frame.f_code.co_filename.rpartition('/')[2]}:{trace.tb_lineno}"
    return f"{type(error).__name__}{file}"
