"""The reports of a job are made from its upload when it ends, and never make it fail."""

import base64
import errno
import io
import json
import logging
import os
import signal
import stat
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pydicom
import pytest
import structlog
from pydicom.dataset import Dataset
from redis import Redis
from redis.exceptions import ConnectionError

from certrad.models.shipped import shipped_tasks
from certrad.models.types.code import Code
from certrad.models.types.figures import FIGURES
from certrad.models.types.image import ImageRecord
from certrad.workers import issue
from certrad.workers.contract import outputs
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.certificate_files import path
from certrad.workers.contract.certificate_owners import CertificateOwners
from certrad.workers.contract.outputs import OUTPUTS, OutputKind
from certrad.workers.contract.records import Records
from certrad.workers.queue.maintenance import reap
from certrad.workers.queue.shortage import ShortageError
from certrad.workers.reports import job_reports, renderers, secondary_capture, structured_report
from certrad.workers.reports.texts import catalogue
from certrad.workers.settings import WorkerSettings
from tests.support.canaries import canary, content_of
from tests.support.finished_jobs import ABSTAINED, CERTIFIED, REQUEST, JobEnder
from tests.support.images import dicom, encoded, noise, sample
from tests.support.processes import environment

pytestmark = pytest.mark.integration

GREY: Final = noise(40, 50)
CT: Final[dict[str, Any]] = {
    "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2",
    "SOPInstanceUID": "1.2.3.4",
    "StudyInstanceUID": "1.2.3",
    "SeriesInstanceUID": "1.2.3.9",
    "Modality": "CT",
    "PatientName": "Xylophonsky^Ada",
    "PatientID": "CANARY-1",
}
ALL_MADE: Final = dict.fromkeys(OUTPUTS)
NO_DICOM: Final = {"structured_report": "no_structured_report", "secondary_capture": "no_structured_report"}
FAILED: Final = dict.fromkeys(OUTPUTS, "output_failed")


@pytest.fixture
def ender(redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> JobEnder:
    """Ends jobs; the tasks build the same settings from the environment."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    return JobEnder(records=Records(redis, ttl=settings.job_ttl), redis=redis, settings=settings)


def ct(**elements: Any) -> bytes:
    return dicom(GREY, **{**CT, **elements})


def content(ender: JobEnder, kind: OutputKind, job_id: str = "job1") -> bytes:
    return outputs.read(ender.settings.outputs_dir, job_id, kind)


def report(ender: JobEnder, job_id: str = "job1") -> Dataset:
    return pydicom.dcmread(io.BytesIO(content(ender, "structured_report", job_id)))


def capture(ender: JobEnder, job_id: str = "job1") -> Dataset:
    return pydicom.dcmread(io.BytesIO(content(ender, "secondary_capture", job_id)))


def former(ender: JobEnder, job_id: str) -> list[str]:
    """The reports that a report follows."""
    studies = report(ender, job_id).get("PredecessorDocumentsSequence") or []
    return [
        str(instance.ReferencedSOPInstanceUID)
        for study in studies
        for series in study.ReferencedSeriesSequence
        for instance in series.ReferencedSOPSequence
    ]


def in_child(change: Callable[[], Any]) -> Callable[..., Any]:
    """A renderer that does something else."""
    return lambda *_: change()


def test_reports_are_in_the_language_of_the_setting(ender: JobEnder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CERTRAD_REPORT_LANGUAGE", "de")
    ender.end(ct())
    german = catalogue("de")
    assert report(ender).SeriesDescription == german["series.structured_report"]
    assert capture(ender).SeriesDescription == german["series.secondary_capture"]
    assert german["conclusion.unverified"] in content(ender, "fhir").decode()


def test_the_signature_in_the_fhir_bundle_is_the_stored_jws(ender: JobEnder) -> None:
    record = ender.end(encoded(GREY, "png"))
    assert record.certificate is not None
    bundle = json.loads(content(ender, "fhir"))
    (provenance,) = [
        entry["resource"] for entry in bundle["entry"] if entry["resource"]["resourceType"] == "Provenance"
    ]
    stored = path(ender.settings.certificates_dir, record.certificate, "jws").read_bytes()
    assert base64.b64decode(provenance["signature"][0]["data"]) == stored


@pytest.mark.parametrize("probabilities", [CERTIFIED, ABSTAINED], ids=["certified", "abstained"])
def test_a_dicom_image_ends_in_three_reports_about_its_certificate(
    ender: JobEnder, probabilities: tuple[float, float]
) -> None:
    record = ender.end(ct(), probabilities)
    assert (record.status, record.outputs) == ("succeeded", ALL_MADE)
    assert record.certificate is not None
    assert record.certificate.encode() in content(ender, "structured_report")
    assert record.certificate.encode() in content(ender, "fhir")
    (named,) = capture(ender).ReferencedInstanceSequence
    assert named.ReferencedSOPInstanceUID == report(ender).SOPInstanceUID


def test_nobody_else_can_read_the_reports(ender: JobEnder) -> None:
    ender.end(ct())
    for kind in OUTPUTS:
        path = outputs.path(ender.settings.outputs_dir, "job1", kind)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_image_that_is_no_dicom_file_has_a_bundle_only(ender: JobEnder) -> None:
    record = ender.end(encoded(GREY, "png"))
    assert (record.status, record.outputs) == ("succeeded", {**NO_DICOM, "fhir": None})
    assert json.loads(content(ender, "fhir"))["resourceType"] == "Bundle"


def test_a_header_without_a_study_cannot_be_referenced(ender: JobEnder) -> None:
    record = ender.end(ct(StudyInstanceUID=None))
    assert (record.status, record.outputs) == ("succeeded", {**NO_DICOM, "fhir": None})


def test_a_second_run_stores_identical_bytes(ender: JobEnder, monkeypatch: pytest.MonkeyPatch) -> None:
    def down(*_: Any, **__: Any) -> bool:
        raise ConnectionError

    ender.certify(ender.submit(ct()))
    with monkeypatch.context() as patch:
        patch.setattr(Records, "succeed", down)
        with pytest.raises(ConnectionError):
            issue.finish("job1")
    first = {kind: content(ender, kind) for kind in OUTPUTS}
    for kind in OUTPUTS:
        outputs.store(ender.settings.outputs_dir, "job1", kind, b"of the first run")
    issue.finish("job1")
    assert {kind: content(ender, kind) for kind in OUTPUTS} == first
    assert ender.read("job1").status == "succeeded"


def test_a_repeated_certificate_has_the_identical_reports(ender: JobEnder) -> None:
    first, second = ender.end(ct()), ender.end(ct(), job_id="job2")
    assert first.certificate == second.certificate
    for kind in OUTPUTS:
        assert content(ender, kind) == content(ender, kind, "job2")


def test_a_later_certificate_of_the_image_names_the_one_before(ender: JobEnder) -> None:
    params = [replace(REQUEST.params, n=n) for n in (1000, 1100, 1200)]
    for number, each in enumerate(params):
        ender.end(ct(), job_id=f"job{number}", params=each)
    assert former(ender, "job0") == []
    assert former(ender, "job1") == [report(ender, "job0").SOPInstanceUID]
    assert former(ender, "job2") == [report(ender, "job1").SOPInstanceUID]
    ender.end(ct(SOPInstanceUID="1.2.3.5"), job_id="other", params=params[0])
    assert former(ender, "other") == []


def test_a_report_names_none_of_another_tenant(ender: JobEnder) -> None:
    params = [replace(REQUEST.params, n=n) for n in (1000, 1100)]
    ender.end(ct(), job_id="job0", params=params[0])
    ender.end(ct(), job_id="job1", tenant="one", params=params[1])
    ender.end(ct(), job_id="job2", tenant="two", params=params[0])
    ender.end(ct(), job_id="job3", tenant="one", params=params[0])
    assert former(ender, "job1") == former(ender, "job2") == []
    assert former(ender, "job3") == [report(ender, "job1").SOPInstanceUID]
    same = {report(ender, job).SOPInstanceUID for job in ("job0", "job2", "job3")}
    assert len(same) == 3  # instances of one UID must be equal, and these were made at different times


def test_a_certificate_is_noted_as_its_tenants(ender: JobEnder) -> None:
    record = ender.end(ct(), tenant="one")
    owners = CertificateOwners(ender.settings.owners_dir)
    assert owners.has(str(record.certificate), "one")
    assert not owners.has(str(record.certificate), "two")
    assert not owners.has(str(record.certificate), "local")


def test_frames_of_one_instance_have_histories_of_their_own(ender: JobEnder) -> None:
    enhanced = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7.2", "Modality": "CT"}
    data = dicom(noise(2, 40, 50), **{**CT, **enhanced})
    for frame in (1, 2):
        ender.end(data, job_id=f"frame{frame}", frame=frame)
    assert former(ender, "frame2") == []


def test_a_renderer_that_fails_costs_its_own_report_only(
    ender: JobEnder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: Any) -> Any:
        raise ValueError(CT["PatientName"])

    monkeypatch.setattr(renderers, "_secondary_capture", broken)
    record = ender.end(ct())
    assert (record.status, record.outputs) == ("succeeded", {**ALL_MADE, "secondary_capture": "output_failed"})
    assert CT["PatientName"] not in caplog.text


def test_a_renderer_that_fails_with_the_header_in_its_words_tells_nobody(
    ender: JobEnder, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def broken(_: Any, source: Dataset) -> Any:
        warnings.warn(str(source), stacklevel=1)
        logging.getLogger("pydicom").error("%s", source)
        sys.stderr.write(str(source))
        raise ValueError(str(source))

    monkeypatch.setattr(structured_report, "structured_report", broken)
    file = canary()
    with structlog.testing.capture_logs() as logged:
        record = ender.end(file.data)
    assert record.outputs == {**ALL_MADE, "structured_report": "output_failed"}
    assert [entry["kind"] for entry in logged if "in_sandbox" in entry] == ["structured_report"]
    seen = [str(logged), *capfd.readouterr(), str(record)]
    kept = [key + content_of(ender.redis, key) for key in ender.redis.scan_iter()]
    kept += [path.read_bytes() for path in ender.settings.reports_dir.rglob("*") if path.is_file()]
    assert file.found_in("".join(seen).encode() + b"".join(kept)) == set()


@pytest.mark.parametrize(
    "crash",
    [lambda: os.kill(os.getpid(), signal.SIGKILL), lambda: os._exit(0), lambda: bytearray(1 << 40)],
    ids=["killed", "ended", "memory"],
)
def test_a_child_that_dies_costs_the_reports_and_not_the_job(
    crash: Callable[[], object], ender: JobEnder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(renderers, "_fhir", in_child(crash))
    record = ender.end(ct())
    assert (record.status, record.outputs["fhir"]) == ("succeeded", "output_failed")
    assert record.certificate is not None


def test_without_the_extra_there_is_a_bundle_and_a_code(ender: JobEnder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(renderers, "hospital_is_installed", lambda: False)
    record = ender.end(ct())
    missing = dict.fromkeys(("structured_report", "secondary_capture"), "hospital_extra_missing")
    assert (record.status, record.outputs) == ("succeeded", {**missing, "fhir": None})


def test_a_disk_that_cannot_be_written_costs_the_reports_and_not_the_job(
    ender: JobEnder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_only(*_: Any) -> None:
        raise OSError(errno.EROFS, "read only")

    monkeypatch.setattr(outputs, "store", read_only)
    record = ender.end(ct())
    assert (record.status, record.outputs) == ("succeeded", FAILED)


def test_a_full_disk_delays_the_end_of_the_job(ender: JobEnder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "full")

    ender.certify(ender.submit(ct()))
    with monkeypatch.context() as patch:
        patch.setattr(outputs, "store", full)
        with pytest.raises(ShortageError):
            issue.finish("job1")
    assert ender.read("job1").status == "running"
    issue.finish("job1")
    assert ender.read("job1").outputs == ALL_MADE


def test_a_damaged_index_costs_the_reports_and_not_the_job(ender: JobEnder) -> None:
    ender.end(ct())
    (history,) = (path for path in ender.settings.reports_dir.rglob("*") if len(path.name) == 64)
    history.write_text("no line of ours\n")
    record = ender.end(ct(), job_id="job2")
    assert (record.status, record.outputs) == ("succeeded", FAILED)


def test_a_job_that_is_cancelled_meanwhile_leaves_no_report(ender: JobEnder, monkeypatch: pytest.MonkeyPatch) -> None:
    make = job_reports.make_reports

    def cancelled(*arguments: Any) -> Any:
        made = make(*arguments)
        ender.records.cancel("job1")
        return made

    monkeypatch.setattr(issue, "make_reports", cancelled)
    ender.end(ct())
    assert list(ender.settings.outputs_dir.iterdir()) == []


def test_reports_expire_with_the_model_input(ender: JobEnder) -> None:
    ender.end(ct())
    kept = 1 + len(OUTPUTS) + len(FIGURES)
    assert len(list(ender.settings.outputs_dir.iterdir())) == kept
    reap(ender.redis, ender.settings)
    assert len(list(ender.settings.outputs_dir.iterdir())) == kept
    late = time.time() + ender.settings.output_ttl + 1
    reap(ender.redis, ender.settings, clock=lambda: late)
    assert list(ender.settings.outputs_dir.iterdir()) == []


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("elements", "is_warned"),
    [
        ({}, False),
        ({"BurnedInAnnotation": "NO"}, False),
        ({"BurnedInAnnotation": "no"}, False),
        ({"BurnedInAnnotation": "YES"}, True),
        ({"BurnedInAnnotation": "yes"}, True),
        ({"BurnedInAnnotation": "Y"}, True),
        ({"Modality": "US"}, True),
        ({"Modality": "us"}, True),
        ({"Modality": "SC"}, True),
        ({"Modality": "OT"}, True),
        ({"Modality": "OT", "BurnedInAnnotation": "NO"}, True),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7"}, True),
    ],
)
def test_burned_in_text_is_warned_of(elements: dict[str, str], is_warned: bool, ender: JobEnder) -> None:
    job_id = ender.submit(ct(**elements))
    ender.certify(job_id)
    image = ender.read(job_id).image
    assert isinstance(image, ImageRecord)
    assert ("burned_in_annotation" in image.warnings) == is_warned


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
@pytest.mark.parametrize(
    ("annotation", "allowed", "is_shown"),
    [("NO", "false", True), ("Yes", "false", False), ("YES", "false", False), ("YES", "true", True)],
)
def test_burned_in_text_is_copied_only_if_the_operator_says_so(
    annotation: str, allowed: str, is_shown: bool, ender: JobEnder, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = secondary_capture.secondary_capture

    def with_image_only(report: Any, source: Any, image: Any) -> Dataset:
        assert image is not None
        return draw(report, source, image)

    monkeypatch.setattr(secondary_capture, "secondary_capture", with_image_only)
    monkeypatch.setenv("CERTRAD_COPY_BURNED_IN", allowed)
    record = ender.end(ct(BurnedInAnnotation=annotation))
    assert record.outputs["secondary_capture"] == (None if is_shown else "output_failed")


def test_a_warning_changes_nothing_in_the_certificate(ender: JobEnder) -> None:
    plain = ender.end(ct())
    warned = ender.end(ct(BurnedInAnnotation="YES"), job_id="job2")
    assert plain.certificate == warned.certificate


def test_a_class_of_a_task_has_the_code_of_its_card(ender: JobEnder, monkeypatch: pytest.MonkeyPatch) -> None:
    card = shipped_tasks()["mednist"]
    codes = tuple(
        Code(value=f"4242424242{number}", scheme="SCT", meaning=name) for number, name in enumerate(card.class_names)
    )
    monkeypatch.setattr(Catalogue, "tasks", lambda _: {"mednist": replace(card, class_codes=codes)})
    ender.end(ct(), task="mednist")
    assert b"42424242422" in content(ender, "structured_report")


def test_an_unforeseen_error_costs_the_reports_and_not_the_job(
    ender: JobEnder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> Any:
        raise AttributeError

    monkeypatch.setattr(job_reports, "_report", broken)
    record = ender.end(ct())
    assert (record.status, record.outputs) == ("succeeded", FAILED)


def test_a_real_file_ends_in_three_reports(ender: JobEnder) -> None:
    assert ender.end(sample("CT_small.dcm")).outputs == ALL_MADE


def test_the_index_holds_nothing_of_the_patient_in_clear(ender: JobEnder) -> None:
    ender.end(ct())
    files = [path for path in ender.settings.reports_dir.rglob("*") if path.is_file()]
    kept = b"".join(str(path).encode() + path.read_bytes() for path in files)
    assert len(files) == 2
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "PatientName", "PatientID"):
        assert b'"' + str(CT[keyword]).encode() + b'"' not in kept
        assert str(CT[keyword]).encode() not in b"".join(Path(path).name.encode() for path in files)
