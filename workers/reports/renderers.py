"""Renders the reports about a certificate: what the sandbox runs on the untrusted bytes of an upload."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage

from certrad.models.types import Region
from certrad.models.types.window import RequestedWindow
from certrad.workers.contract.formats import sniff
from certrad.workers.contract.outputs import OUTPUTS, OutputKind
from certrad.workers.decoders import dicom
from certrad.workers.decoders.burned_in import may_have_burned_in_annotation
from certrad.workers.reports.fhir import fhir_bundle
from certrad.workers.reports.predecessors import ReportUids
from certrad.workers.reports.report import Predecessor, Report
from certrad.workers.reports.source import SourceError, read_source

_HOSPITAL_MODULES: Final = (
    "certrad.workers.reports.structured_report",
    "certrad.workers.reports.secondary_capture",
)
"""The modules that need the extra `hospital`."""

_DICOM: Final[tuple[OutputKind, ...]] = ("structured_report", "secondary_capture")


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


def identity(data: bytes) -> dict[str, Any]:
    """Returns the SOP instance UID of an upload, None for one that no report can refer to.

    Args:
        data: The upload, a DICOM file.
    """
    try:
        return {"instance": str(read_source(data).SOPInstanceUID)}
    except SourceError:
        return {"instance": None}


def render_all(
    data: bytes, report: Report, former: ReportUids | None, picture: Picture, max_pixels: int
) -> tuple[dict[str, Any], bytes]:
    """Returns the reports one after the other, and what the header says of them: sizes, refusals and failures.

    Args:
        data: The upload.
        report: The certificate, with what reports need besides, but its predecessor.
        former: The structured report before it.
        picture: What the page shows.
        max_pixels: Pixels that are decoded, at most.
    """
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
    from certrad.workers.reports.structured_report import dicom_file, structured_report

    made = structured_report(report, source)
    return dicom_file(made), [str(made.SOPClassUID), str(made.SOPInstanceUID), str(made.SeriesInstanceUID)]


def _secondary_capture(
    data: bytes, report: Report, source: Dataset, picture: Picture, max_pixels: int
) -> tuple[bytes, list[str] | None]:
    from certrad.workers.reports.secondary_capture import secondary_capture
    from certrad.workers.reports.structured_report import dicom_file

    is_shown = picture.may_show_text or not may_have_burned_in_annotation(source)
    image = _shown(data, picture, max_pixels) if is_shown else None
    return dicom_file(secondary_capture(report, source, image)), None


def _fhir(report: Report, source: Dataset | None) -> tuple[bytes, list[str] | None]:
    return json.dumps(
        fhir_bundle(report, source, jws=report.jws), ensure_ascii=False, separators=(",", ":")
    ).encode(), None


def _shown(data: bytes, picture: Picture, max_pixels: int) -> NDArray[np.uint8]:
    """Returns the part of the image that was certified, as RGB of 8 bits."""
    image = dicom.decode(data, max_pixels=max_pixels, frame=picture.frame, region=picture.region, window=picture.window)
    grey_or_rgb = np.rint(image.pixels * 255).astype(np.uint8)
    return np.repeat(grey_or_rgb, 3, axis=2) if grey_or_rgb.shape[2] == 1 else grey_or_rgb


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
