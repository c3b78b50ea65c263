"""Every DICOM file of pydicom and pydicom-data that decodes has its reports, or is refused with a code."""

import io
import json
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pydicom
import pytest

from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.statement import StatedCertificate
from certrad.models.errors import PROBLEMS
from certrad.models.types.window import FileWindow
from certrad.workers.contract.outputs import OUTPUTS
from certrad.workers.reports.codes import finding
from certrad.workers.reports.renderers import Picture, render_all
from certrad.workers.reports.report import Report
from tests.support.certificates import CASES, genuine
from tests.support.dicom_samples import OUTCOMES, samples

MADE: Final = "made"
EXPECTED: Final[dict[str, str]] = json.loads(
    (Path(__file__).parents[3] / "data" / "dicom_sample_reports.json").read_text()
)
"""File -> `made` for all three reports, else the kinds that were refused, each with its code."""


def reports(data: bytes, *, of_frame: bool) -> str:
    """Returns what becomes of the reports about a file; of several frames the first is taken."""
    statement = read(parse(genuine(CASES[6])))
    claim = statement.claim
    report = Report(
        statement=statement,
        certificate_sha256="0" * 64,
        finding=finding(claim.label, {}) if isinstance(claim, StatedCertificate) else None,
        issued_at=datetime(2026, 5, 4, 12, tzinfo=UTC),
        software_version="0",
        frame=1 if of_frame else None,
    )
    picture = Picture(frame=1, region=None, window=FileWindow(), may_show_text=True)
    header, _ = render_all(data, report, None, picture, 64_000_000)
    refused = [f"{kind} {header['refused'][kind]}" for kind in OUTPUTS if kind in header["refused"]]
    return "; ".join(refused) or MADE


def has_frames(data: bytes) -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
        return int(header.get("NumberOfFrames") or 1) > 1


@pytest.mark.parametrize("name", EXPECTED)
def test_a_sample_has_its_reports_or_a_code(name: str) -> None:
    data = samples()[name].read_bytes()
    assert reports(data, of_frame=has_frames(data)) == EXPECTED[name]


def test_the_reports_of_every_sample_that_decodes_are_known() -> None:
    assert set(EXPECTED) == {name for name, found in OUTCOMES.items() if found.split()[0] == "ok"}
    codes = {refused.split()[1] for found in EXPECTED.values() if found != MADE for refused in found.split("; ")}
    assert codes <= set(PROBLEMS)
