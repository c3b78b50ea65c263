"""dsrdump, of Debian's dcmtk, reads every structured report without an error."""

from pathlib import Path

import pydicom
import pytest

from certrad.workers.reports.report import Report
from certrad.workers.reports.source import read_source
from certrad.workers.reports.structured_report import dicom_file, structured_report
from tests.support.dicom_validators import dsrdump
from tests.support.sample_reports import ALPHABETS, DIGEST, abstained, certified, of_variants, written_report

pytestmark = pytest.mark.system

REPORTS = {"certified": certified(), "abstained": abstained(), "variants": of_variants(held=False)}
CHARSET_FILES = sorted((Path(pydicom.__file__).parent / "data" / "charset_files").glob("chr[A-RX]*.dcm"))


def errors(content: bytes, directory: Path) -> list[str]:
    """Returns what dsrdump complains about; it knows no UTF-8, which it says as a warning."""
    said = dsrdump(content, directory)
    assert any("99CERTRAD" in line and DIGEST in line for line in said), "dsrdump prints the certificate's digest"
    return [line for line in said if line.startswith(("E:", "F:")) or "error" in line.lower() or "invalid" in line]


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize("path", CHARSET_FILES, ids=lambda path: path.name)
def test_dsrdump_finds_no_error_for_the_charset_files(path: Path, report: Report, tmp_path: Path) -> None:
    assert errors(dicom_file(structured_report(report, read_source(path.read_bytes()))), tmp_path) == []


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
@pytest.mark.parametrize("character_set", ALPHABETS)
def test_dsrdump_finds_no_error_in_ten_character_sets(character_set: str, report: Report, tmp_path: Path) -> None:
    content = written_report(report, SpecificCharacterSet=character_set, PatientName=ALPHABETS[character_set])
    assert errors(content, tmp_path) == []


def test_dsrdump_finds_an_error_where_the_image_is_none(tmp_path: Path) -> None:
    content = written_report(certified(), SOPClassUID="1.2.840.10008.5.1.4.1.1.7")
    damaged = content.replace(b"1.2.840.10008.5.1.4.1.1.7\0", b"1.2.840.10008.5.1.4.1.1.9\0")
    assert damaged != content
    said = dsrdump(damaged, tmp_path)
    assert [line for line in said if line.startswith(("E:", "F:")) or "invalid" in line.lower()] != []
