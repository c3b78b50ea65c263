"""DicomSRValidator, of Debian's pixelmed-apps, checks a report against template TID 1500: 13 seconds for each."""

import os
import subprocess
from pathlib import Path

import pytest

from certrad.workers.reports.report import Report
from tests.support.sample_reports import abstained, certified, of_variants, written_report

pytestmark = pytest.mark.soak

REPORTS = {"certified": certified(), "abstained": abstained(), "variants": of_variants(held=False)}
XPATH_LIMITS = "-Djdk.xml.xpathExprOpLimit=0 -Djdk.xml.xpathExprGrpLimit=0 -Djdk.xml.xpathTotalOpLimit=0"


@pytest.mark.parametrize("report", REPORTS.values(), ids=REPORTS)
def test_the_report_follows_its_template(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.dcm"
    path.write_bytes(written_report(report))
    ended = subprocess.run(
        ["DicomSRValidator", str(path)],
        env={**os.environ, "JAVA_TOOL_OPTIONS": XPATH_LIMITS},  # Java 17 gives up on the template otherwise
        capture_output=True,
        encoding="utf-8",
        errors="replace",
        timeout=300,
        check=False,
    )
    said = (ended.stdout + ended.stderr).splitlines()
    assert "IOD validation complete" in "\n".join(said)
    assert [line for line in said if line.startswith("Error")] == []
