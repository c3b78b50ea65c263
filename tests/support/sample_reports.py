"""Reports about invented certificates, and source images to report on."""

import io
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from typing import Any, Final, cast

import numpy as np
from highdicom.sr import srread
from pydicom.dataset import Dataset

from certrad.models.certificates.document import state
from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.statement import StatedAbstention, StatedCertificate, Statement
from certrad.models.types import Abstention, AbstentionReason, SmoothingParams
from certrad.workers.reports.codes import SCHEME, finding
from certrad.workers.reports.report import Report
from certrad.workers.reports.source import read_source
from certrad.workers.reports.structured_report import dicom_file, structured_report
from tests.support.certificates import VARIANTS, Case, genuine
from tests.support.document_facts import facts
from tests.support.images import dicom

ISSUED_AT: Final = datetime(2026, 11, 30, 14, 5, 6, tzinfo=timezone(timedelta(hours=1)))
DIGEST: Final = "0123456789abcdef" * 4
UIDS: Final = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.7",
    "SOPInstanceUID": "1.2.3.4",
    "StudyInstanceUID": "1.2.3.5",
    "SeriesInstanceUID": "1.2.3.6",
}
ALPHABETS: Final = {
    "ISO_IR 100": "Äneas^Rüdiger",
    "ISO_IR 101": "Wałęsa^Łukasz",
    "ISO_IR 109": "Ħamrun^Ġorġ",
    "ISO_IR 110": "Šķēle^Jānis",
    "ISO_IR 144": "Люкceмбypг",
    "ISO_IR 127": "قباني^لنزار",
    "ISO_IR 126": "Διονυσιος",
    "ISO_IR 138": "שרון^דבורה",
    "ISO_IR 192": "Wang^XiaoDong=王^小東",
    "GB18030": "Wang^XiaoDong=王^小东",
}
"""Specific character set -> a name that it can write."""


def source_file(**elements: Any) -> bytes:
    """A secondary capture with its UIDs; elements by keyword, None leaves one out."""
    return dicom(np.zeros((8, 8), "u1"), **{**UIDS, "PatientName": "Doe^Jane", "PatientID": "4711", **elements})


def source(**elements: Any) -> Dataset:
    """The header of such a file as reports read it."""
    return read_source(source_file(**elements))


def certified(statement: Statement | None = None, **changes: Any) -> Report:
    """A report of class `a` with a radius of 0.3181."""
    stated = state(facts()) if statement is None else statement
    assert isinstance(stated.claim, StatedCertificate)
    return _report(stated, finding=finding(stated.claim.label, {}), **changes)


def abstained(reason: str = "no_majority", **changes: Any) -> Report:
    """A report of an abstention; of reasons that no release has yet, too."""
    outcome = Abstention(reason="no_majority", p_a_lower=0.4567, p_b_upper=0.5433)
    stated = state(facts(outcome=outcome))
    assert isinstance(stated.claim, StatedAbstention)
    claim = replace(stated.claim, reason=cast(AbstentionReason, reason))
    return _report(replace(stated, claim=claim), finding=None, **changes)


def of_variants(*, held: bool) -> Report:
    """A report of a class that was shown for every one of 27 renderings, or for all but one of them."""
    params = SmoothingParams(sigma=0.5, n0=20, n=200, alpha=0.01)
    case = Case(probabilities=(0.99, 0.01), params=params, variants=VARIANTS, failing=None if held else 3)
    return certified(read(parse(genuine(case))))


def _report(statement: Statement, **fields: Any) -> Report:
    return Report(
        **{
            "statement": statement,
            "certificate_sha256": DIGEST,
            "issued_at": ISSUED_AT,
            "software_version": "0.1.0",
            **fields,
        }
    )


def written_report(report: Report, **elements: Any) -> bytes:
    """The file of a structured report about a source with these elements."""
    return dicom_file(structured_report(report, source(**elements)))


def group_of(content: bytes) -> Any:
    """The one measurement group of a structured report, as highdicom reads it."""
    document: Any = srread(io.BytesIO(content))
    (group,) = document.content.get_image_measurement_groups()
    return group


def private_items(content: bytes) -> dict[str, list[Any]]:
    """Code of the scheme 99CERTRAD -> the values of its items: numbers, texts, or the values of codes."""
    found: dict[str, list[Any]] = {}
    for item in group_of(content)[0].ContentSequence:
        if item.name.scheme_designator == SCHEME:
            value = item.value.value if item.ValueType == "CODE" else item.value
            found.setdefault(item.name.value, []).append(value)
    return found
