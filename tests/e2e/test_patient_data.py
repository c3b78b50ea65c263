"""Nothing of a patient leaves the reports for the patient's own study: a token in every text of a file shows it."""

import io
import json
from collections.abc import Iterator
from typing import Final

import httpx
import pydicom
import pytest

from certrad.workers.contract.outputs import OUTPUTS, OutputKind
from tests.support.canaries import canary, content_of
from tests.support.processes import Processes
from tests.support.stack import RunningStack, start_stack

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

CERTIFIED: Final = canary()
REFUSED: Final = canary(BitsAllocated=32)
UNREFERENCED: Final = canary(StudyInstanceUID=None)
OF_THE_PATIENT: Final = {
    "AccessionNumber",
    "DeidentificationMethod",
    "IssuerOfPatientID",
    "PatientAge",
    "PatientBirthDate",
    "PatientID",
    "PatientName",
    "ReferringPhysicianName",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyDate",
    "StudyDescription",
    "StudyID",
    "StudyInstanceUID",
}
"""The elements of the image that a report may repeat: patient, study and reference to the image."""


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with Processes(tmp_path_factory.mktemp("processes")) as processes:
        yield start_stack(processes, tmp_path_factory.mktemp("stack") / "data")


@pytest.fixture(scope="module")
def jobs(stack: RunningStack) -> dict[str, str]:
    """The jobs of the files, each sent under a name that is a token too, and ended."""
    sent = {}
    for name, file in {"certified": CERTIFIED, "refused": REFUSED, "unreferenced": UNREFERENCED}.items():
        upload = {"image": (f"{next(iter(file.tokens)).decode()}.dcm", file.data)}
        answer = httpx.post(f"{stack.url}/certify", files=upload, data={"n": "100", "n0": "20"}, timeout=30)
        assert answer.status_code == 202, answer.text
        sent[name] = answer.json()["id"]
    for job_id in sent.values():
        stack.ended(job_id)
    return sent


def test_the_files_end_as_they_are_meant_to(stack: RunningStack, jobs: dict[str, str]) -> None:
    assert len(CERTIFIED.tokens) > 500
    ended = {name: stack.job(job_id) for name, job_id in jobs.items()}
    assert [ended[name]["status"] for name in ("certified", "refused", "unreferenced")] == [
        "succeeded",
        "failed",
        "succeeded",
    ]
    assert ended["refused"]["error"]["code"] == "unsupported_pixels"
    links = {name: ended[name]["links"]["structured_report"] for name in ("certified", "unreferenced")}
    assert links["certified"] is not None
    assert links["unreferenced"] is None


@pytest.mark.parametrize("name", ["certified", "refused", "unreferenced"])
@pytest.mark.parametrize("place", ["", "/events", "/certificate", "/input"])
def test_what_the_api_says_of_a_job_holds_no_token(
    place: str, name: str, stack: RunningStack, jobs: dict[str, str]
) -> None:
    said = httpx.get(f"{stack.url}/jobs/{jobs[name]}{place}", timeout=30)
    assert said.content
    assert CERTIFIED.found_in(said.content + str(said.headers).encode()) == set()


@pytest.mark.parametrize("path", ["/jobs", "/metrics", "/health/workers", "/.well-known/certrad-keys"])
def test_what_the_api_says_of_itself_holds_no_token(path: str, stack: RunningStack, jobs: dict[str, str]) -> None:
    said = httpx.get(f"{stack.url}{path}", timeout=30)
    assert said.status_code == 200
    assert CERTIFIED.found_in(said.content) == set()


def test_bodies_of_errors_hold_no_token(stack: RunningStack, jobs: dict[str, str]) -> None:
    bodies = [
        httpx.get(f"{stack.url}/jobs/{jobs['unreferenced']}/secondary-capture", timeout=30),
        httpx.get(f"{stack.url}/jobs/{jobs['refused']}/secondary-capture", timeout=30),
        httpx.post(f"{stack.url}/certify", content=CERTIFIED.data, params={"frame": "2"}, timeout=30),
        httpx.post(f"{stack.url}/certify", files={"image": CERTIFIED.data}, data={"n": "x"}, timeout=30),
        httpx.post(f"{stack.url}/verify", content=CERTIFIED.data, timeout=30),
    ]
    assert [body.status_code >= 400 for body in bodies] == [True, True, False, True, True]
    for body in bodies:
        assert CERTIFIED.found_in(body.content) == set()


def test_redis_holds_no_token(stack: RunningStack, jobs: dict[str, str]) -> None:
    with stack.redis() as redis:
        keys = list(redis.scan_iter())
        assert len(keys) > len(jobs)
        for key in keys:
            assert CERTIFIED.found_in(key + content_of(redis, key)) == set()


def test_files_of_the_service_hold_no_token(stack: RunningStack, jobs: dict[str, str]) -> None:
    """Logs, the files of Redis, certificates and the index of reports: all files but the reports themselves."""
    reports = {f"{job_id}{output.suffix}" for job_id in jobs.values() for output in OUTPUTS.values()}
    files = [path for path in stack.data_dir.rglob("*") if path.is_file() and path.name not in reports]
    kinds = {path.relative_to(stack.data_dir).parts[0] for path in files}
    assert {"audit-trail", "certificates", "logs", "outputs", "redis", "reports"} <= kinds
    for path in files:
        assert CERTIFIED.found_in(path.name.encode() + path.read_bytes()) == set(), path


def test_the_output_of_the_service_holds_no_token(stack: RunningStack, jobs: dict[str, str]) -> None:
    assert CERTIFIED.found_in(stack.output.read_bytes()) == set()
    assert CERTIFIED.found_in(stack.output.with_suffix(".err").read_bytes()) == set()


@pytest.mark.parametrize("kind", ["structured_report", "secondary_capture"])
def test_a_dicom_report_holds_a_token_only_where_the_patient_belongs(
    kind: OutputKind, stack: RunningStack, jobs: dict[str, str]
) -> None:
    dataset = pydicom.dcmread(io.BytesIO(report(stack, jobs["certified"], kind)))
    found = set(CERTIFIED.elements_of(dataset))
    assert {name for _, name in found} <= OF_THE_PATIENT
    assert {"PatientName", "PatientID", "StudyInstanceUID", "SOPInstanceUID"} <= {name for _, name in found}
    references = {"ReferencedSOPInstanceUID": "SOPInstanceUID", "SeriesInstanceUID": "SeriesInstanceUID"}
    for element, name in found:
        assert element == name or references.get(element) == name, (element, name)


def test_a_bundle_holds_only_tokens_of_the_patient(stack: RunningStack, jobs: dict[str, str]) -> None:
    content = report(stack, jobs["certified"], "fhir")
    assert json.loads(content)["resourceType"] == "Bundle"
    assert CERTIFIED.found_in(content) <= OF_THE_PATIENT


def test_a_bundle_about_an_image_that_cannot_be_referenced_holds_no_token(
    stack: RunningStack, jobs: dict[str, str]
) -> None:
    assert UNREFERENCED.found_in(report(stack, jobs["unreferenced"], "fhir")) == set()


def report(stack: RunningStack, job_id: str, kind: OutputKind) -> bytes:
    place = "secondary-capture" if kind == "secondary_capture" else "certificate"
    answer = httpx.get(f"{stack.url}/jobs/{job_id}/{place}", headers={"accept": OUTPUTS[kind].media_type}, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.content
