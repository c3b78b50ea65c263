"""`certrad erase`: everything about one patient's jobs goes, from every place, and nothing about another's does."""

import io
import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
from redis import Redis

from certrad.workers import issue
from certrad.workers.cli.main import main
from certrad.workers.contract import certificate_files
from certrad.workers.contract.assessments import Assessments, subject_of
from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.certificate_owners import CertificateOwners
from certrad.workers.contract.names import CALLBACKS, UNSTAMPED, idempotency_key, record_key
from certrad.workers.contract.queues import enqueue
from certrad.workers.contract.received import ReceivedSpool
from certrad.workers.contract.records import Records
from certrad.workers.contract.rules_file import parse_rules
from certrad.workers.contract.stages import is_held
from certrad.workers.contract.submission import Submission
from certrad.workers.contract.triggers import Trigger, TriggerSpool
from certrad.workers.offline.erasure import Erasure, HeldError, UnrecordedError, Wanted
from certrad.workers.pacs.database import Database
from certrad.workers.pacs.instances import Instance, Instances, Report
from certrad.workers.pacs.pulls import Pulls
from certrad.workers.settings import WorkerSettings
from tests.support.finished_jobs import REQUEST, JobEnder
from tests.support.images import dicom, noise
from tests.support.processes import environment

pytestmark = pytest.mark.integration

OURS, OTHERS = "reference of Xylophonsky", "reference of another"
STUDY: Final = "1.2.3"
JOBS: Final = ("ours1", "ours2")


@pytest.fixture
def ender(redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> JobEnder:
    """Ends jobs; the tasks and commands build the same settings from the environment."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    return JobEnder(records=Records(redis, ttl=settings.job_ttl), redis=redis, settings=settings)


@pytest.fixture
def hospital(ender: JobEnder) -> JobEnder:
    """Two ended jobs of one patient and one of another, each with reports, an assessment and a delivery."""
    for number, (job_id, reference) in enumerate([(JOBS[0], OURS), (JOBS[1], OURS), ("other", OTHERS)]):
        end_job(ender, job_id, reference, sop=f"1.2.{number}")
        deliver(ender, job_id, study=STUDY if reference == OURS else "1.2.4", sop=f"1.2.{number}")
    return ender


def end_job(ender: JobEnder, job_id: str, reference: str, *, sop: str, tenant: str = "local") -> None:
    submit(ender, job_id, reference, tenant=tenant)
    identity = {"SOPInstanceUID": sop, "StudyInstanceUID": STUDY, "SeriesInstanceUID": "1.2.3.9", "Modality": "DX"}
    upload = dicom(noise(40, 50, seed=int(sop.rpartition(".")[2])), PatientID="CANARY", **identity)
    (ender.settings.blobs_dir / job_id).write_bytes(upload)
    ender.certify(job_id)
    issue.finish(job_id)
    certificate = str(ender.read(job_id).certificate)
    document = certificate_files.path(ender.settings.certificates_dir, certificate, "document").read_bytes()
    Assessments(ender.settings.assessments_dir).record(
        certificate, subject_of(document), verdict="accept", reason="agrees", job=job_id, tenant=tenant
    )
    (ender.settings.blobs_dir / job_id).write_bytes(upload)  # as if the service had died before it deleted it


def submit(ender: JobEnder, job_id: str, reference: str, *, tenant: str = "local") -> None:
    submission = Submission(reference=reference, tenant=tenant, callback="https://ris.test/hook")
    ender.records.create(
        job_id, REQUEST, max_active=9, digest="0" * 64, submission=submission, idempotency_sha256=f"key of {job_id}"
    )
    ender.settings.blobs_dir.mkdir(parents=True, exist_ok=True)


def deliver(ender: JobEnder, job_id: str, *, study: str, sop: str) -> None:
    """Leaves what the connector keeps of a pushed instance that became a job."""
    with ReceivedSpool(ender.settings.pacs_dir).receive(study, min_free_bytes=0) as received:
        _, file = received.open()
        with file:
            received.write(file, b"pixels of CANARY")
    (file_name,) = [name for name in pushed(ender) if name not in needed_before(ender)]
    with closing(Database(ender.settings.pacs_dir)) as database:
        pulls, instances = Pulls(database), Instances(database)
        pulls.add(Trigger(id=f"trigger of {job_id}", event="orthanc", study=study, series=f"{sop}.9"))
        (pull,) = pulls.due(1.0)
        instances.choose(pull, parse_rules('[[rule]]\nname = "x"\n').rules[0], [sop], {sop: file_name})
        (instance,) = instances.due("chosen", 1.0)
        instances.submitted(instance, job_id, due=1.0)
        report = Report(output="sr", sop=f"{sop}.1", content=b"report about CANARY")
        instances.end(replace(instance, job=job_id), [report])


def pushed(ender: JobEnder) -> list[str]:
    spool = ReceivedSpool(ender.settings.pacs_dir)
    return [file for request in spool.waiting() for file in spool.files(request)]


def needed_before(ender: JobEnder) -> set[str]:
    with closing(Database(ender.settings.pacs_dir)) as database:
        return {row["received"] for row in database.rows("SELECT received FROM instances")}


def rows(ender: JobEnder) -> Mapping[str, list[str]]:
    """Returns what the connector's tables hold: the job of each instance, the bytes of each delivery, each study."""
    with closing(Database(ender.settings.pacs_dir)) as database:
        return {
            "jobs": [row["job"] for row in database.rows("SELECT job FROM instances")],
            "deliveries": [row["sop"] for row in database.rows("SELECT sop FROM deliveries")],
            "studies": [row["study"] for row in database.rows("SELECT study FROM pulls")],
        }


def erase(*options: str) -> int:
    return main(["erase", "--yes", *options])


def files_with(folder: Path, word: bytes) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and word in path.read_bytes()]


def test_every_place_is_emptied_of_the_patient(hospital: JobEnder, capsys: pytest.CaptureFixture[str]) -> None:
    assert erase("--reference", OURS, "--json") == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert counts == {
        "job records": 2,
        "uploads": 2,
        "outputs": counts["outputs"],
        "callbacks that wait": 2,
        "assessments": 2,
        "entries in the index of reports": 2,
        "instances of the connector": 2,
        "deliveries of the connector": 2,
        "series and studies of the connector": 2,
        "pushed files of the connector": 2,
    }
    assert counts["outputs"] >= 2 * 4  # three reports and the model input of each job, and figures


def test_another_patient_keeps_everything(hospital: JobEnder) -> None:
    erase("--reference", OURS)
    assert [record.id for record in active_or_ended(hospital)] == ["other"]
    assert rows(hospital) == {"jobs": ["other"], "deliveries": ["1.2.2.1"], "studies": ["1.2.4"]}
    assert [each.job for each in Assessments(hospital.settings.assessments_dir).latest()] == ["other"]
    assert [path.name for path in hospital.settings.blobs_dir.iterdir()] == ["other"]
    assert {path.name.partition(".")[0] for path in hospital.settings.outputs_dir.iterdir()} == {"other"}
    assert len(pushed(hospital)) == 1


def active_or_ended(ender: JobEnder) -> list[Any]:
    return [record for job_id in (*JOBS, "other") if (record := ender.records.read(job_id)) is not None]


def test_no_key_of_redis_names_an_erased_job(hospital: JobEnder, redis: Redis) -> None:
    erase("--reference", OURS)
    assert [key for key in redis.keys("*") if b"ours" in key] == []
    assert [member for member in redis.zrange(CALLBACKS, 0, -1) if b"ours" in member] == []
    assert not redis.exists(idempotency_key(f"key of {JOBS[0]}"))
    assert redis.exists(idempotency_key("key of other"))


def test_certificates_stay_unless_they_are_named(hospital: JobEnder, capsys: pytest.CaptureFixture[str]) -> None:
    before = set(hospital.settings.certificates_dir.glob("*.json"))
    erase("--reference", OURS)
    assert set(hospital.settings.certificates_dir.glob("*.json")) == before
    assert capsys.readouterr().out.count("which holds no patient data") == 2


def test_named_certificates_go_with_their_envelopes(hospital: JobEnder) -> None:
    kept = str(hospital.read("other").certificate)
    erase("--reference", OURS, "--certificates")
    assert {path.stem for path in hospital.settings.certificates_dir.iterdir() if path.is_file()} == {kept}
    assert [path.parent.name for path in hospital.settings.owners_dir.glob("*/*/*")] == [kept]


def test_certificate_that_is_gone_waits_for_no_time_stamp(hospital: JobEnder, redis: Redis) -> None:
    ours, kept = (str(hospital.read(job_id).certificate) for job_id in (JOBS[0], "other"))
    redis.sadd(UNSTAMPED, ours, kept)
    erase("--reference", OURS, "--certificates")
    assert redis.smembers(UNSTAMPED) == {kept.encode()}


def test_certificate_keeps_its_owner_until_it_is_gone(hospital: JobEnder) -> None:
    certificate = str(hospital.read(JOBS[0]).certificate)
    document = certificate_files.path(hospital.settings.certificates_dir, certificate, "document")
    document.unlink()
    document.mkdir()  # what cannot be deleted as a file is
    assert erase("--reference", OURS, "--certificates") != 0
    # A certificate without an owner were the local tenant's.
    assert [path.name for path in hospital.settings.owners_dir.glob(f"*/{certificate}/*")] == ["local"]


def test_certificate_of_another_tenant_stays_for_it(hospital: JobEnder) -> None:
    end_job(hospital, "theirs", OURS, sop="1.2.0", tenant="clinic-b")
    shared = str(hospital.read(JOBS[0]).certificate)
    hospital.records.erase("theirs")  # its record is past its time to live
    erase("--reference", OURS, "--certificates")
    assert certificate_files.path(hospital.settings.certificates_dir, shared, "document").exists()
    assert CertificateOwners(hospital.settings.owners_dir).has(shared, "clinic-b")


def test_report_of_another_tenant_about_the_same_certificate_stays(
    hospital: JobEnder, capsys: pytest.CaptureFixture[str]
) -> None:
    end_job(hospital, "theirs", OURS, sop="1.2.0", tenant="clinic-b")
    shared = str(hospital.read(JOBS[0]).certificate)
    assert hospital.read("theirs").certificate == shared
    erase("--reference", OURS, "--json")
    assert json.loads(capsys.readouterr().out)["counts"]["entries in the index of reports"] == len(JOBS)
    (line,) = lines_about(hospital, shared)
    assert line["tenant"] == "clinic-b"
    erase("--reference", OURS, "--tenant", "clinic-b")
    assert lines_about(hospital, shared) == []


def lines_about(ender: JobEnder, certificate: str) -> list[dict[str, Any]]:
    """What the index of reports holds about a certificate."""
    files = files_with(ender.settings.reports_dir, certificate.encode())
    lines = [json.loads(line) for path in files for line in path.read_text("utf-8").splitlines() if line.strip()]
    return [line for line in lines if line["certificate"] == certificate]


def test_certificate_that_another_job_has_too_stays(hospital: JobEnder) -> None:
    shared = str(hospital.read(JOBS[0]).certificate)
    end_job(hospital, "again", OTHERS, sop="1.2.0")
    assert hospital.read("again").certificate == shared
    erase("--reference", OURS, "--certificates")
    assert certificate_files.path(hospital.settings.certificates_dir, shared, "document").exists()


def test_rehearsal_says_the_same_and_changes_nothing(
    hospital: JobEnder, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (sorted(redis.keys("*")), rows(hospital), sorted(hospital.settings.data_dir.rglob("*")))
    assert main(["erase", "--dry-run", "--reference", OURS, "--json"]) == 0
    rehearsed = json.loads(capsys.readouterr().out)
    assert (sorted(redis.keys("*")), rows(hospital), sorted(hospital.settings.data_dir.rglob("*"))) == before
    erase("--reference", OURS, "--json")
    assert json.loads(capsys.readouterr().out)["counts"] == rehearsed["counts"]


def test_reference_of_another_tenant_is_another_reference(hospital: JobEnder) -> None:
    end_job(hospital, "theirs", OURS, sop="1.2.7", tenant="clinic-b")
    erase("--reference", OURS)
    assert hospital.records.read("theirs") is not None
    erase("--reference", OURS, "--tenant", "clinic-b")
    assert hospital.records.read("theirs") is None


def test_job_of_another_tenant_is_not_erased_by_its_id(hospital: JobEnder) -> None:
    end_job(hospital, "theirs", OURS, sop="1.2.7", tenant="clinic-b")
    assert erase("--jobs", "theirs") == 1
    assert hospital.records.read("theirs") is not None


def test_study_finds_its_jobs_through_the_connector_and_its_series_without_a_job(hospital: JobEnder) -> None:
    with closing(Database(hospital.settings.pacs_dir)) as database:
        Pulls(database).add(Trigger(id="trigger of no job", event="orthanc", study=STUDY, series="1.2.3.8"))
    assert erase("--study", STUDY) == 0
    assert [record.id for record in active_or_ended(hospital)] == ["other"]
    assert rows(hospital)["studies"] == ["1.2.4"]


def test_what_was_told_about_the_triggers_goes_too(hospital: JobEnder) -> None:
    spool = TriggerSpool(hospital.settings.pacs_dir)
    for job_id in (*JOBS, "other"):
        spool.tell(f"trigger of {job_id}", {"status": "done", "series": []})
    erase("--reference", OURS)
    outcomes = hospital.settings.pacs_dir / "outcomes"
    assert [path.stem for path in outcomes.iterdir()] == ["trigger of other"]


@pytest.fixture
def radiology(ender: JobEnder) -> JobEnder:
    """An ended job of a study of the PACS, which belongs to the tenant `radiology`."""
    end_job(ender, "theirs", OURS, sop="1.2.0", tenant="radiology")
    deliver(ender, "theirs", study=STUDY, sop="1.2.0")
    return ender


@pytest.mark.parametrize("has_record", [True, False])
def test_study_is_erased_whole_for_the_tenant_of_the_pacs(
    radiology: JobEnder, monkeypatch: pytest.MonkeyPatch, has_record: bool
) -> None:
    monkeypatch.setenv("CERTRAD_TRIGGER_TENANT", "radiology")
    certificate = str(radiology.read("theirs").certificate)
    if not has_record:
        radiology.records.erase("theirs")
    assert erase("--study", STUDY) == 0
    assert radiology.records.read("theirs") is None
    assert rows(radiology) == {"jobs": [], "deliveries": [], "studies": []}
    assert not Assessments(radiology.settings.assessments_dir).latest()
    assert lines_about(radiology, certificate) == []


def test_study_with_a_job_of_another_tenant_is_not_erased_by_half(
    radiology: JobEnder, capsys: pytest.CaptureFixture[str]
) -> None:
    before = rows(radiology)
    assert erase("--study", STUDY) == 2
    assert "theirs of radiology" in capsys.readouterr().err
    assert rows(radiology) == before
    assert radiology.records.read("theirs") is not None
    assert erase("--study", STUDY, "--tenant", "radiology") == 0
    assert rows(radiology)["jobs"] == []


def test_job_whose_record_is_gone_is_found_by_its_id(hospital: JobEnder) -> None:
    hospital.records.erase(JOBS[0])
    assert erase("--jobs", JOBS[0]) == 0
    assert rows(hospital)["jobs"] == [JOBS[1], "other"]
    assert [each.job for each in Assessments(hospital.settings.assessments_dir).latest()] == [JOBS[1], "other"]


def test_job_whose_record_is_gone_takes_what_its_certificate_names_along(
    hospital: JobEnder, capsys: pytest.CaptureFixture[str]
) -> None:
    certificate = str(hospital.read(JOBS[0]).certificate)
    hospital.records.erase(JOBS[0])
    assert erase("--jobs", JOBS[0], "--certificates", "--json") == 0
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert (counts["certificates"], counts["entries in the index of reports"]) == (1, 1)
    assert not certificate_files.path(hospital.settings.certificates_dir, certificate, "document").exists()


def test_certificate_of_another_tenants_job_without_a_record_stays(ender: JobEnder) -> None:
    end_job(ender, "theirs", OURS, sop="1.2.0", tenant="clinic-b")
    certificate = str(ender.read("theirs").certificate)
    ender.records.erase("theirs")
    erase("--jobs", "theirs", "--certificates")
    assert certificate_files.path(ender.settings.certificates_dir, certificate, "document").exists()


def test_job_whose_certificate_nothing_names_is_said(hospital: JobEnder, capsys: pytest.CaptureFixture[str]) -> None:
    hospital.records.erase(JOBS[0])
    for path in hospital.settings.audit_dir.glob("*.jsonl"):
        path.unlink()
    assert erase("--jobs", ",".join(JOBS)) == 0
    out = capsys.readouterr().out
    assert f"the certificate of job {JOBS[0]}, if it had one" in out
    assert f"the certificate of job {JOBS[1]}, if it had one" not in out


def test_redis_that_refuses_is_said_in_a_sentence(
    hospital: JobEnder, redis: Redis, capsys: pytest.CaptureFixture[str]
) -> None:
    redis.set(record_key("not-a-hash"), "")
    assert erase("--jobs", "not-a-hash") == 1
    assert "Redis does not answer or refuses (ResponseError)" in capsys.readouterr().err


def test_idempotency_key_of_a_later_job_stays(ender: JobEnder, redis: Redis) -> None:
    submit(ender, JOBS[0], OURS)
    key = idempotency_key(f"key of {JOBS[0]}")
    redis.hset(key, "job", "later")  # the key of the first job has expired, and another one used it again
    assert erase("--reference", OURS) == 0
    assert redis.hget(key, "job") == b"later"


def test_unknown_reference_is_an_error_that_says_how_long_one_is_known(
    hospital: JobEnder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert erase("--reference", "nobody") == 1
    assert "86400 s after the end of a job" in capsys.readouterr().err


def test_waiting_job_leaves_its_queue_before_anything_is_erased(ender: JobEnder, redis: Redis) -> None:
    for job_id in JOBS:
        submit(ender, job_id, OURS)
        enqueue(redis, "decode", job_id, settings=ender.settings, tenant="local")
    redis.hset(f"rq:job:{JOBS[1]}-decode", "status", "started")
    with closing(Erasure(redis, ender.settings, Wanted(reference=OURS))) as erasure, pytest.raises(HeldError):
        erasure.run(patience=0.0)
    assert f"{JOBS[0]}-decode".encode() not in redis.lrange("rq:queue:intake", 0, -1)
    assert ender.read(JOBS[0]).status == "cancelled"


def test_job_that_a_worker_holds_is_not_erased_under_it(ender: JobEnder, redis: Redis) -> None:
    submit(ender, JOBS[0], OURS)
    enqueue(redis, "decode", JOBS[0], settings=ender.settings, tenant="local")
    redis.hset(f"rq:job:{JOBS[0]}-decode", "status", "started")
    with closing(Erasure(redis, ender.settings, Wanted(reference=OURS))) as erasure, pytest.raises(HeldError):
        erasure.run(patience=0.0)
    assert is_held(redis, JOBS[0])
    assert ender.read(JOBS[0]).status == "cancelled"


def test_audit_trail_names_the_jobs_and_no_reference(hospital: JobEnder) -> None:
    erase("--reference", OURS)
    trail = b"".join(path.read_bytes() for path in sorted(hospital.settings.audit_dir.glob("*.jsonl")))
    assert trail.count(b"patient_erased") == 1
    assert [job_id for job_id in JOBS if b"job_erased" in trail and job_id.encode() in trail] == list(JOBS)
    assert OURS.encode() not in trail


def test_nothing_of_the_patient_is_left_in_any_file(hospital: JobEnder) -> None:
    erase("--reference", OURS)
    erase("--reference", OTHERS)
    assert files_with(hospital.settings.data_dir, b"CANARY") == []


def test_records_stay_while_the_trail_cannot_be_written(
    hospital: JobEnder, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AuditTrail, "record", lambda *_: False)
    with closing(Erasure(redis, hospital.settings, Wanted(reference=OURS))) as erasure, pytest.raises(UnrecordedError):
        erasure.run()
    assert hospital.records.read(JOBS[0]) is not None


def test_connector_delivers_nothing_of_an_instance_that_was_erased_under_it(hospital: JobEnder) -> None:
    with closing(Database(hospital.settings.pacs_dir)) as database:
        (row,) = database.rows("SELECT * FROM instances WHERE job = ?", JOBS[0])
        known = Instance.of(row)
        erase("--reference", OURS)
        Instances(database).end(known, [Report(output="sr", sop="1.2.0.77", content=b"late")])
    assert rows(hospital)["deliveries"] == ["1.2.2.1"]


def test_assessor_that_runs_on_forgets_too(hospital: JobEnder) -> None:
    running = Assessments(hospital.settings.assessments_dir)
    assert len(running.latest()) == 3
    erase("--reference", OURS)
    assert [each.job for each in running.latest()] == ["other"]


def test_reference_can_come_on_standard_input(hospital: JobEnder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{OURS}\n"))
    assert erase("--reference", "-") == 0
    assert hospital.records.read(JOBS[0]) is None


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (("--yes",), "one of `--reference`, `--study` and `--jobs` must be given"),
        (("--reference", OURS), "`--yes` must be given where nobody can be asked"),
        (("--reference", OURS, "--yes", "--dry-run"), "exclude each other"),
        (("--reference", OURS, "--yes", "--tenant", "A B"), "`--tenant` must be"),
        (("--jobs", "../up", "--yes"), "a job id must be"),
    ],
)
def test_wrong_use_changes_nothing(
    hospital: JobEnder,
    options: tuple[str, ...],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert main(["erase", *options]) == 2
    assert complaint in capsys.readouterr().err
    assert hospital.records.read(JOBS[0]) is not None


def test_no_service_is_said_and_is_a_failure(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CERTRAD_REDIS_URL", raising=False)
    assert erase("--reference", OURS, "--data-dir", str(settings.data_dir)) == 1
    assert "no service runs here" in capsys.readouterr().err


def test_database_that_cannot_be_used_is_a_failure(hospital: JobEnder, capsys: pytest.CaptureFixture[str]) -> None:
    with closing(sqlite3.connect(hospital.settings.pacs_dir / "connector.sqlite3")) as raw:
        raw.execute("DROP TABLE instances")
    (hospital.settings.pacs_dir / "connector.sqlite3").write_bytes(b"no database" * 100)
    assert erase("--reference", OURS) == 1
    assert "run this again" in capsys.readouterr().err
    assert hospital.records.read(JOBS[0]) is not None
