"""Calls of the interface, work of operators and starts of processes are in the audit trail, without patient data."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI, Response
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.api.audit import AUDITED, NOT_AUDITED, AuditMiddleware
from certrad.app.api.remedies import REMEDIES
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.errors import PROBLEMS, Rejected
from certrad.workers.certificate_store import store_certificate
from certrad.workers.cli import main as cli
from certrad.workers.contract.audit_chain import check_chain
from certrad.workers.contract.audit_events import AuditEvent
from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.records import Records
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.queue.maintenance import reap
from certrad.workers.settings import WorkerSettings
from tests.support.api import PNG, card, submit
from tests.support.audit import audited, audited_names
from tests.support.certificates import CASES, genuine
from tests.support.results import abstained

pytestmark = pytest.mark.integration

MONTH_32_DAYS = 32 * 86_400


@pytest.fixture
def trail(api_settings: ApiSettings) -> Path:
    return api_settings.audit_dir


def test_every_operation_is_audited_or_is_said_not_to_be(api_settings: ApiSettings) -> None:
    paths = create_app(api_settings).openapi()["paths"].values()
    operations = {operation["operationId"] for methods in paths for operation in methods.values()}
    assert operations - set(AUDITED) - NOT_AUDITED == set()
    assert set(AUDITED) & NOT_AUDITED == set()


def test_api_tells_its_start_and_its_end(redis: Redis, api_settings: ApiSettings, trail: Path) -> None:
    with TestClient(create_app(api_settings)):
        assert audited_names(trail) == ["application_start"]
    assert audited_names(trail) == ["application_start", "application_stop"]


def test_a_submission_names_its_job_and_the_client(api: TestClient, trail: Path) -> None:
    job = submit(api)
    event = audited(trail)[-1]
    assert (event["name"], event["job"], event["operation"]) == ("input_received", job, "certify")
    assert event["network"] == "testclient"


def test_a_refused_submission_is_no_event(api: TestClient, trail: Path) -> None:
    before = audited(trail)
    assert api.post("/certify", content=b"no image").status_code == 415
    assert audited(trail) == before


def test_reading_a_certificate_names_it(
    api: TestClient, records: Records, api_settings: ApiSettings, trail: Path
) -> None:
    digest = store_certificate(api_settings.certificates_dir, genuine(CASES[6]))
    job = submit(api)
    records.succeed(job, abstained(), certificate=digest)
    assert api.get(f"/jobs/{job}/certificate").status_code == 200
    assert api.get(f"/certificates/{digest}").status_code == 200
    assert api.get(f"/certificates/{digest}", headers={"if-none-match": f'"{digest}"'}).status_code == 304
    events = audited(trail)[-3:]
    assert [event["name"] for event in events] == ["certificate_read"] * 3
    assert [event["certificate-sha256"] for event in events] == [digest] * 3
    assert events[0]["job"] == job


def test_a_certificate_that_is_not_there_is_no_event(api: TestClient, trail: Path) -> None:
    before = audited(trail)
    assert api.get(f"/certificates/{'0' * 64}").status_code == 404
    assert audited(trail) == before


def test_a_verification_names_the_document_and_its_outcome(
    api: TestClient, api_settings: ApiSettings, trail: Path
) -> None:
    document = genuine(CASES[6])
    digest = store_certificate(api_settings.certificates_dir, document)
    answer = api.post("/verify", content=document).json()
    event = audited(trail)[-1]
    assert (event["name"], event["certificate-sha256"]) == ("certificate_verified", digest)
    assert (event["valid"], event["issuer"]) == (str(answer["valid"]).lower(), answer["issuer"])


def test_a_cancelled_and_an_erased_job_are_told_apart(api: TestClient, trail: Path) -> None:
    job = submit(api)
    api.delete(f"/jobs/{job}")
    api.delete(f"/jobs/{job}")
    assert [(event["name"], event["job"]) for event in audited(trail)[-2:]] == [
        ("job_cancelled", job),
        ("job_erased", job),
    ]


def test_changes_of_a_prompt_are_told(api: TestClient, redis: Redis, trail: Path) -> None:
    prompt = card()
    api.app.state.services.catalogue.publish_prompt(prompt)  # type: ignore[attr-defined]
    api.patch(f"/prompts/{prompt.id}", json={"default_for": "mednist"})
    api.delete(f"/prompts/{prompt.id}")
    api.patch(f"/prompts/{prompt.id}", json={"withdrawn": False})
    events = audited(trail)[-3:]
    assert [(event["name"], event["prompt"]) for event in events] == [("prompt_changed", prompt.id)] * 3
    assert [event["change"] for event in events] == ["default of mednist", "withdrawn", "restored"]


def test_polling_is_no_event(api: TestClient, trail: Path) -> None:
    job = submit(api)
    before = audited(trail)
    for path in (f"/jobs/{job}", "/jobs", "/tasks", "/metrics", "/health/live", "/.well-known/certrad-keys"):
        assert api.get(path).status_code == 200
    assert audited(trail) == before


def test_a_wrong_secret_is_an_event_that_failed(
    redis: Redis, api_settings: ApiSettings, trail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "wrong_trigger_secret"
    monkeypatch.setitem(PROBLEMS, code, PROBLEMS["not_found"])
    monkeypatch.setitem(REMEDIES, code, REMEDIES["foreign_origin"])
    app = create_app(api_settings)

    @app.post("/guarded", operation_id="guarded")
    def guarded() -> Response:
        return Response(status_code=401)

    @app.post("/triggered", operation_id="triggered")
    def triggered() -> None:
        raise Rejected(code, "")

    with TestClient(app) as client:
        for path, problem in (("/guarded", ""), ("/triggered", code)):
            client.post(path)
            event = audited(trail)[-1]
            assert (event["name"], event["outcome"]) == ("authentication_failed", "4")
            assert (event["operation"], event["problem"]) == (path.removeprefix("/"), problem)


@pytest.mark.parametrize(
    ("media_type", "name"),
    [
        ("application/json", "certificate_read"),
        ("application/jose", "certificate_read"),
        ("application/dicom", "output_read"),
        ("application/fhir+json", "output_read"),
    ],
)
def test_reading_a_report_that_names_the_patient_is_an_event_of_its_own(
    tmp_path: Path, media_type: str, name: str
) -> None:
    app = FastAPI()
    app.add_middleware(AuditMiddleware, trail=AuditTrail(tmp_path))

    @app.get("/jobs/{job_id}/certificate", operation_id="get_job_certificate")
    def read(job_id: str) -> Response:
        return Response(b"", media_type=media_type)

    TestClient(app).get("/jobs/job-1/certificate")
    event = audited(tmp_path)[-1]
    assert (event["name"], event["job"]) == (name, "job-1")


def test_the_call_goes_on_where_its_event_cannot_be_written(
    api: TestClient, trail: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = submit(api)
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if str(trail) in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert api.delete(f"/jobs/{job}").status_code == 200
    assert "certrad_audit_events_lost_total 1.0" in api.get("/metrics").text
    assert audited_names(trail)[-1] == "input_received"
    api.delete(f"/jobs/{job}")
    assert audited_names(trail)[-2:] == ["events_lost", "job_erased"]
    assert check_chain(trail).fault is None


def test_metrics_tell_the_length_of_the_trail(api: TestClient, trail: Path) -> None:
    submit(api)
    assert f"certrad_audit_lines {len(audited(trail))}.0" in api.get("/metrics").text
    assert len(audited(trail)) == 2


def test_no_header_name_file_name_or_key_of_a_client_is_in_the_trail(api: TestClient, trail: Path) -> None:
    canary = "zq7canary"
    headers = {"idempotency-key": canary, "user-agent": canary, "x-patient": canary}
    files = {"image": (f"{canary}.png", PNG, "image/png")}
    job = api.post("/certify", files=files, headers=headers).json()["id"]
    api.delete(f"/jobs/{job}?{canary}={canary}", headers=headers)
    written = b"".join(path.read_bytes() for path in trail.iterdir())
    assert written.count(job.encode()) == 2
    assert canary.encode() not in written


def test_key_work_of_an_operator_is_told(settings: WorkerSettings, capsys: pytest.CaptureFixture[str]) -> None:
    SigningKeys(settings.signing_dir).current()
    assert cli.main(["keys", "--data-dir", str(settings.data_dir), "rotate-signing"]) == 0
    made = json.loads(capsys.readouterr().out)["public_key"]
    event = audited(settings.audit_dir)[-1]
    assert (event["name"], event["action"], event["key"]) == ("keys_changed", "rotate-signing", made)


def test_maintenance_deletes_what_is_past_its_retention(redis: Redis, settings: WorkerSettings) -> None:
    for month in range(2):
        trail = AuditTrail(settings.audit_dir, clock=lambda month=month: month * MONTH_32_DAYS)  # type: ignore[misc]
        trail.record(AuditEvent(name="job_erased", process="api", job=f"job-{month}"))
    reap(redis, settings, clock=lambda: settings.audit_retention_days * 86_400 + MONTH_32_DAYS)
    assert audited_names(settings.audit_dir) == ["job_erased", "file_expired"]
    assert check_chain(settings.audit_dir).fault is None


@pytest.mark.parametrize(("tampered", "code"), [(False, 0), (True, 1)])
def test_verify_command_says_whether_the_trail_is_in_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tampered: bool, code: int
) -> None:
    trail = AuditTrail(tmp_path / "audit-trail")
    for number in range(3):
        trail.record(AuditEvent(name="job_erased", process="api", job=f"job-{number}"))
    if tampered:
        path = next(trail_files(tmp_path))
        path.write_bytes(path.read_bytes().replace(b"job-1", b"job-9"))
    assert cli.main(["audit-trail", "verify", "--data-dir", str(tmp_path)]) == code
    printed = capsys.readouterr().out
    assert (f"Head, to note elsewhere: {trail.head()}" in printed) is not tampered
    assert ("line 3: line 3 does not name the line before it" in printed) is tampered


def trail_files(data_dir: Path) -> Iterator[Path]:
    return (data_dir / "audit-trail").glob("*.jsonl")


def test_verify_command_misses_lines_that_a_noted_head_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    AuditTrail(tmp_path / "audit-trail").record(AuditEvent(name="job_erased", process="api"))
    noted = f"2:{'0' * 64}"
    assert cli.main(["audit-trail", "verify", "--data-dir", str(tmp_path), "--head", noted, "--json"]) == 1
    printed = json.loads(capsys.readouterr().out)
    assert (printed["intact"], printed["fault"]["reason"]) == (
        False,
        "the trail ends at line 1, and line 2 was noted",
    )


def test_verify_command_without_a_trail_is_bad_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["audit-trail", "verify", "--data-dir", str(tmp_path)]) == 2
    assert "there is no audit trail" in capsys.readouterr().err
