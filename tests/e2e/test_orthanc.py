"""A real Orthanc and the real service: what a modality sends is certified, and the result lies in the same study."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.support.dicomweb_proxy import DicomWebProxy, dicomweb_proxy
from tests.support.images import dicom
from tests.support.orthanc import Orthanc
from tests.support.processes import ROOT, Processes, kill_9, wait_for
from tests.support.stack import RunningStack, start_stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

SECRET = "a secret that Orthanc and certrad share"
STRUCTURED_REPORT = "1.2.840.10008.5.1.4.1.1.88.34"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
DIGITAL_X_RAY = "1.2.840.10008.5.1.4.1.1.1.1"
SECONDS = 120.0
RULES = """
[[rule]]
name = "phantoms"
match = { series_description = "*phantom*" }
ignore = true
reason = "a phantom is no patient"

[[rule]]
name = "hands"
match = { modality = "DX", body_part = "HAND" }
task = "mednist"
backbone = "demo"
prompt = "template"
adaptation = "none"
sigma = 0.1
n0 = 20
n = 100
instances = "all"
max_instances = 5

[[rule]]
name = "nothing is certain in so much noise"
match = { modality = "DX", body_part = "CHEST" }
task = "mednist"
backbone = "demo"
prompt = "template"
adaptation = "none"
sigma = 1.0
alpha = 0.000001
n0 = 10
n = 10
instances = "first"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """A PACS, the service and its connector, which reaches the PACS through a proxy."""

    orthanc: Orthanc
    proxy: DicomWebProxy
    stack: RunningStack
    folder: Path

    def send(self, study: str, series: str, number: int, **elements: object) -> str:
        """Sends an image by C-STORE, and returns its UID."""
        uid = generate_uid()
        pixels = np.full((96, 96), 40, np.uint8)
        pixels[24:72, 30 + number : 60 + number] = 200
        content = dicom(
            pixels,
            **{
                "SOPClassUID": DIGITAL_X_RAY,
                "SOPInstanceUID": uid,
                "StudyInstanceUID": study,
                "SeriesInstanceUID": series,
                "InstanceNumber": number,
                "Modality": "DX",
                "BodyPartExamined": "HAND",
                "PatientName": "CANARYNAME^WREN",
                "PatientID": "CANARYID",
                "PatientBirthDate": "",
                "PatientSex": "O",
                "StudyID": "1",
                "StudyDate": "20260102",
                "StudyTime": "101500",
                "AccessionNumber": "CANARYACCESSION",
                "ReferringPhysicianName": "",
                **elements,
            },
        )
        path = self.folder / f"{uid}.dcm"
        path.write_bytes(content)
        self.orthanc.send(path)
        return uid

    def reports(self, study: str) -> list[str]:
        """The UIDs of the structured reports in a study."""
        return self.orthanc.of_class(study, STRUCTURED_REPORT)

    def pages(self, study: str) -> list[str]:
        """The UIDs of the secondary captures in a study."""
        return self.orthanc.of_class(study, SECONDARY_CAPTURE)

    def await_reports(self, study: str, count: int) -> list[str]:
        """The structured reports in a study, once there are so many, and as many pages."""

        def complete() -> list[str] | None:
            found = self.reports(study)
            return found if len(found) == len(self.pages(study)) == count else None

        return wait_for(complete, timeout=SECONDS, what=f"{count} reports in the study")

    def report(self, uid: str) -> str:
        """All texts and codes of a report."""
        (found,) = httpx.post(f"{self.orthanc.url}/tools/lookup", content=uid, timeout=30).json()
        path = self.folder / "report.dcm"
        path.write_bytes(httpx.get(f"{self.orthanc.url}/instances/{found['ID']}/file", timeout=30).content)
        return str(dcmread(path))

    def jobs(self) -> list[dict[str, Any]]:
        """All jobs of the service."""
        found: list[dict[str, Any]] = httpx.get(f"{self.stack.url}/jobs", timeout=30).json()["jobs"]
        return found

    def idle(self) -> bool:
        """Whether the connector has nothing left to do."""
        import sqlite3

        with sqlite3.connect(self.stack.data_dir / "pacs" / "connector.sqlite3") as database:
            (count,) = database.execute(
                "SELECT (SELECT COUNT(*) FROM pulls WHERE state = 'open') + "
                "(SELECT COUNT(*) FROM instances WHERE state IN ('chosen', 'submitted')) + "
                "(SELECT COUNT(*) FROM deliveries WHERE state = 'waiting')"
            ).fetchone()
        database.close()
        return not count and not list((self.stack.data_dir / "pacs" / "triggers").glob("*.json"))

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs a command of certrad as an operator of this installation."""
        return subprocess.run(
            [sys.executable, "-m", "certrad.app.cli.main", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "CERTRAD_URL": self.stack.url,
                "CERTRAD_DATA_DIR": str(self.stack.data_dir),
                "CERTRAD_PACS_URL": self.orthanc.root,
                "CERTRAD_ORTHANC_URL": self.orthanc.url,
                "CERTRAD_TRIGGER_SECRET": SECRET,
            },
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def hospital() -> Iterator[Hospital]:
    folder = Path(tempfile.mkdtemp(prefix="cr-"))  # short: the address of a Unix socket has 107 bytes
    orthanc = Orthanc(folder / "orthanc")
    rules = folder / "rules.toml"
    rules.write_text(RULES)
    output = folder / "processes"
    output.mkdir()
    try:
        with dicomweb_proxy(orthanc.url) as proxy, Processes(output) as processes:
            orthanc.start()
            stack = start_stack(
                processes,
                folder / "data",
                pacs_url=f"{proxy.url}/dicom-web",
                orthanc_url=orthanc.url,
                pacs_poll_seconds=0.5,
                pacs_retry_seconds=0.5,
                pacs_retry_max_seconds=2,
                trigger_secret=SECRET,
                rules=rules,
                threads=1,
            )
            orthanc.kill()
            orthanc.start(
                CERTRAD_TRIGGER_URL=f"{stack.url}/triggers/orthanc",
                CERTRAD_TRIGGER_SECRET=SECRET,
                no_proxy="127.0.0.1",
            )
            yield Hospital(orthanc=orthanc, proxy=proxy, stack=stack, folder=folder)
    finally:
        orthanc.kill()
        shutil.rmtree(folder, ignore_errors=True)


def test_study_that_arrives_is_certified_and_its_results_lie_beside_it(hospital: Hospital) -> None:
    study, series = generate_uid(), generate_uid()
    image = hospital.send(study, series, 1)
    (report,) = hospital.await_reports(study, 1)
    (job,) = hospital.jobs()
    assert job["result"]["outcome"] == "certified"
    told = hospital.report(report)
    assert image in told
    assert job["links"]["certificate"].rpartition("/")[2] in told
