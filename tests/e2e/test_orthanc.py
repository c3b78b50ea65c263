"""A real Orthanc and the real service: what a modality sends is certified, and the result lies in the same study."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from certrad.workers.pacs.synthetic_instance import STUDY
from tests.support.dicomweb_proxy import DicomWebProxy, dicomweb_proxy
from tests.support.images import dicom
from tests.support.orthanc import Orthanc, free_port
from tests.support.processes import ROOT, Processes, gone, kill_9, wait_for
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
adapter = "none"
adaptation = "none"
sigma = 0.75
alpha = 0.000001
n0 = 20
n = 100
instances = "first"

[[rule]]
name = "images of no modality of their own, as the pages of the service are"
match = { modality = "OT" }
task = "mednist"
backbone = "demo"
prompt = "template"
adaptation = "none"
sigma = 0.1
n0 = 20
n = 100
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Hospital:
    """A PACS, the service and its connector, which reaches the PACS through a proxy."""

    orthanc: Orthanc
    proxy: DicomWebProxy
    stack: RunningStack
    folder: Path

    def send(self, study: str, series: str, number: int, to: Orthanc | None = None, **elements: object) -> str:
        """Sends an image by C-STORE, to the PACS unless another Orthanc is given, and returns its UID."""
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
        (to or self.orthanc).send(path)
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
        """All attributes of a report, as JSON."""
        (found,) = httpx.post(f"{self.orthanc.url}/tools/lookup", content=uid, timeout=30).json()
        path = self.folder / "report.dcm"
        path.write_bytes(httpx.get(f"{self.orthanc.url}/instances/{found['ID']}/file", timeout=30).content)
        return str(dcmread(path).to_json())

    def rows(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Rows of the connector's database."""
        with closing(sqlite3.connect(self.stack.data_dir / "pacs" / "connector.sqlite3", timeout=30)) as database:
            return database.execute(statement, values).fetchall()

    def jobs_of(self, study: str) -> list[dict[str, Any]]:
        """The jobs that the connector submitted for a study."""
        return [self.stack.job(job) for (job,) in self.rows("SELECT job FROM instances WHERE study = ?", study)]

    def jobs(self) -> int:
        """Returns how many jobs the service has, of all senders."""
        jobs: list[object] = httpx.get(f"{self.stack.url}/jobs?limit=100", timeout=30).json()["jobs"]
        return len(jobs)

    def has_seen_everything(self) -> bool:
        """Returns whether the connector knows of every stable series, and has nothing left to do."""
        last = str(self.orthanc.get("/changes?last")["Last"])
        if self.rows("SELECT value FROM facts WHERE name = 'orthanc_position'") != [(last,)]:
            return False
        if list((self.stack.data_dir / "pacs" / "triggers").glob("*.json")):
            return False
        open_ones = "(SELECT COUNT(*) FROM pulls WHERE state = 'open')"
        running = "(SELECT COUNT(*) FROM instances WHERE state IN ('chosen', 'submitted'))"
        waiting = "(SELECT COUNT(*) FROM deliveries WHERE state = 'waiting')"
        return self.rows(f"SELECT {open_ones} + {running} + {waiting}") == [(0,)]

    def stable_series(self, study: str) -> int:
        """Returns how many series of a study Orthanc holds for complete."""
        (found,) = httpx.post(f"{self.orthanc.url}/tools/lookup", content=study, timeout=30).json()
        series = self.orthanc.get(f"/studies/{found['ID']}/series")
        return sum(1 for one in series if one["IsStable"])

    def await_quiet(self, study: str, series: int) -> None:
        """Returns when all series of a study are complete and the connector has dealt with them."""
        wait_for(lambda: self.stable_series(study) == series, timeout=SECONDS, what="series that are stable")
        wait_for(self.has_seen_everything, timeout=SECONDS, what="a connector that has nothing left to do")

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
    secret = folder / "trigger.secret"
    secret.write_text(SECRET)
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
                CERTRAD_TRIGGER_SECRET_FILE=str(secret),
                no_proxy="127.0.0.1",
            )
            yield Hospital(orthanc=orthanc, proxy=proxy, stack=stack, folder=folder)
    finally:
        orthanc.kill()
        shutil.rmtree(folder, ignore_errors=True)


def name_service(router: Orthanc, url: str, secret: str) -> None:
    """Tells an Orthanc where to push images, and with which secret."""
    server = {"Url": f"{url}/dicom-web/", "HttpHeaders": {"Authorization": f"Bearer {secret}"}}
    httpx.put(f"{router.url}/dicom-web/servers/certrad", json=server, timeout=30).raise_for_status()


def push(router: Orthanc, study: str) -> httpx.Response:
    """Lets an Orthanc push a study with its own STOW-RS client, and returns when its job has ended."""
    (found,) = httpx.post(f"{router.url}/tools/lookup", content=study, timeout=30).json()
    wanted = {"Resources": [found["ID"]], "Synchronous": True}
    return httpx.post(f"{router.url}/dicom-web/servers/certrad/stow", json=wanted, timeout=120)


@pytest.fixture(scope="module")
def router(hospital: Hospital) -> Iterator[Orthanc]:
    """An Orthanc beside the PACS that knows the service as a DICOMweb server, and triggers nothing."""
    orthanc = Orthanc(hospital.folder / "router", lua=False)
    orthanc.start(no_proxy="127.0.0.1")
    name_service(orthanc, hospital.stack.url, SECRET)
    yield orthanc
    orthanc.kill()


@pytest.fixture
def lost_webhooks(hospital: Hospital) -> Iterator[None]:
    """Triggers of Orthanc reach nobody while the test runs."""
    hospital.orthanc.kill()
    hospital.orthanc.start(CERTRAD_TRIGGER_URL=f"http://127.0.0.1:{free_port()}/triggers/orthanc")
    yield
    hospital.orthanc.kill()
    hospital.orthanc.start(CERTRAD_TRIGGER_URL=f"{hospital.stack.url}/triggers/orthanc")


def test_study_that_arrives_is_certified_and_its_results_lie_beside_it(hospital: Hospital) -> None:
    study = generate_uid()
    image = hospital.send(study, generate_uid(), 1)
    (report,) = hospital.await_reports(study, 1)
    (job,) = hospital.jobs_of(study)
    assert job["result"]["outcome"] == "certified"
    told = hospital.report(report)
    assert image in told
    assert "CANARYNAME" in told
    assert job["links"]["certificate"].rpartition("/")[2] in told


def test_abstention_is_stored_beside_the_image_too(hospital: Hospital) -> None:
    study = generate_uid()
    hospital.send(study, generate_uid(), 2, BodyPartExamined="CHEST")
    (report,) = hospital.await_reports(study, 1)
    (job,) = hospital.jobs_of(study)
    assert job["result"]["outcome"] == "abstained"
    assert "ABSTAINED" in hospital.report(report)


def test_script_of_orthanc_triggers_and_results_trigger_nothing(hospital: Hospital) -> None:
    study, series = generate_uid(), generate_uid()
    hospital.send(study, series, 3)
    hospital.await_reports(study, 1)
    hospital.await_quiet(study, series=3)
    assert len(hospital.jobs_of(study)) == 1
    assert len(hospital.reports(study)) == len(hospital.pages(study)) == 1
    pulls = hospital.rows("SELECT trigger_id, series, reason FROM pulls WHERE study = ?", study)
    of_the_page = {reason for _, of, reason in pulls if of != series}  # a rule would certify it
    assert of_the_page == {"it holds no image, or only results of this service"}
    assert any(not trigger.startswith("change-") for trigger, of, _ in pulls if of == series)


def test_late_image_is_certified_alone(hospital: Hospital) -> None:
    study, series = generate_uid(), generate_uid()
    hospital.send(study, series, 4)
    before = hospital.await_reports(study, 1)
    hospital.send(study, series, 5)
    after = hospital.await_reports(study, 2)
    assert set(before) < set(after)
    hospital.await_quiet(study, series=3)
    assert len(hospital.jobs_of(study)) == 2


def test_image_of_a_phantom_and_one_that_no_rule_matches_are_left_alone(hospital: Hospital) -> None:
    study, phantom, head = generate_uid(), generate_uid(), generate_uid()
    hospital.send(study, phantom, 6, SeriesDescription="Daily PHANTOM")
    hospital.send(study, head, 7, BodyPartExamined="HEAD")
    hospital.await_quiet(study, series=2)
    told = dict(hospital.rows("SELECT series, reason FROM pulls WHERE study = ? AND state = 'ignored'", study))
    assert told == {phantom: "a phantom is no patient", head: "no rule matches"}
    assert hospital.jobs_of(study) == []


@pytest.mark.usefixtures("lost_webhooks")
def test_trigger_that_was_lost_is_found_in_the_list_of_changes(hospital: Hospital) -> None:
    study = generate_uid()
    hospital.send(study, generate_uid(), 8)
    hospital.await_reports(study, 1)
    triggers = hospital.rows("SELECT trigger_id FROM pulls WHERE study = ?", study)
    assert all(trigger.startswith("change-") for (trigger,) in triggers)


def test_pacs_that_dies_in_the_middle_of_a_delivery_has_one_report_in_the_end(hospital: Hospital) -> None:
    died = threading.Event()

    def die() -> None:
        hospital.orthanc.kill()
        died.set()

    study = generate_uid()
    hospital.send(study, generate_uid(), 9)
    before, hospital.proxy.after_store = hospital.proxy.stores, die
    assert died.wait(SECONDS)
    hospital.orthanc.start()
    hospital.await_reports(study, 1)
    hospital.await_quiet(study, series=3)
    assert hospital.proxy.stores - before == 3  # the report, the same report again, and the page
    assert len(hospital.reports(study)) == len(hospital.pages(study)) == 1


def test_connector_that_is_killed_in_the_middle_of_a_delivery_has_stored_one_report_in_the_end(
    hospital: Hospital,
) -> None:
    connector = hospital.stack.child("pacs", "run")
    assert connector is not None
    study, before = generate_uid(), hospital.jobs()
    hospital.proxy.after_store = lambda: kill_9(connector.pid)
    hospital.send(study, generate_uid(), 10)
    hospital.await_reports(study, 1)
    hospital.await_quiet(study, series=3)
    assert gone(connector.pid)
    assert len(hospital.reports(study)) == len(hospital.pages(study)) == 1
    assert hospital.jobs() - before == 1


def test_person_asks_for_a_study_and_sees_what_became_of_it(hospital: Hospital) -> None:
    study = generate_uid()
    hospital.send(study, generate_uid(), 11)
    hospital.await_reports(study, 1)
    done = hospital.command("certify", "--study", study)
    assert done.returncode == 0, done.stderr
    (job,) = hospital.jobs_of(study)
    assert "done by the rule 'hands', 1 certified" in done.stdout
    assert "sr to pacs: delivered" in done.stdout
    assert job["id"] in done.stdout


def test_images_that_another_orthanc_pushes_are_certified_and_its_job_succeeds(
    hospital: Hospital, router: Orthanc
) -> None:
    study, series = generate_uid(), generate_uid()
    images = {hospital.send(study, series, number, to=router) for number in (13, 14)}
    told = push(router, study)
    assert told.status_code == 200, told.text
    reports = hospital.await_reports(study, 2)
    hospital.await_quiet(study, series=2)
    assert {image for image in images for report in reports if image in hospital.report(report)} == images
    assert len(hospital.jobs_of(study)) == 2
    assert list((hospital.stack.data_dir / "pacs" / "received").iterdir()) == []


def test_image_that_is_pushed_twice_is_certified_once(hospital: Hospital, router: Orthanc) -> None:
    study = generate_uid()
    hospital.send(study, generate_uid(), 15, to=router)
    assert push(router, study).status_code == push(router, study).status_code == 200
    hospital.await_reports(study, 1)
    hospital.await_quiet(study, series=2)
    wait_for(
        lambda: not list((hospital.stack.data_dir / "pacs" / "received").iterdir()),
        timeout=SECONDS,
        what="a connector that needs no received file",
    )
    assert len(hospital.jobs_of(study)) == len(hospital.reports(study)) == 1


def test_push_with_a_wrong_secret_fails_at_the_sender(hospital: Hospital, router: Orthanc) -> None:
    study = generate_uid()
    hospital.send(study, generate_uid(), 16, to=router)
    name_service(router, hospital.stack.url, "another secret than the right one")
    told = push(router, study)
    name_service(router, hospital.stack.url, SECRET)
    assert told.status_code >= 400
    assert hospital.rows("SELECT 1 FROM instances WHERE study = ?", study) == []


def test_check_passes_and_its_instance_is_never_certified(hospital: Hospital) -> None:
    done = hospital.command("pacs", "check")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("ok ") == 7
    hospital.await_quiet(STUDY, series=1)
    assert hospital.jobs_of(STUDY) == []


def test_names_and_identifiers_stay_out_of_logs_and_of_redis_and_leave_the_outbox(hospital: Hospital) -> None:
    study, series = generate_uid(), generate_uid()
    image = hospital.send(study, series, 12)
    hospital.await_reports(study, 1)
    hospital.await_quiet(study, series=3)
    names = [b"CANARY", study.encode(), series.encode(), image.encode()]
    data_dir = hospital.stack.data_dir
    for folder, secrets in (("logs", names), ("redis", names), ("pacs", names[:1])):
        files = [path for path in data_dir.joinpath(folder).rglob("*") if path.is_file()]
        assert files
        found = [path.name for path in files if any(secret in path.read_bytes() for secret in secrets)]
        assert found == [], folder
