"""A reader's answer over HTTP: it is kept, counted and in the audit trail, and nothing about a patient gets in."""

import errno
import json
import os

import pytest
from fastapi.testclient import TestClient

from certrad.app.settings import ApiSettings
from certrad.workers.certificate_store import store_certificate
from certrad.workers.cli import main as cli
from certrad.workers.contract.assessments import REASONS
from certrad.workers.contract.records import Records
from tests.support.api import submit
from tests.support.audit import audited
from tests.support.certificates import CASES, genuine
from tests.support.problems import assert_problem
from tests.support.results import abstained

pytestmark = pytest.mark.integration

AGREES = {"verdict": "accept", "reason": "agrees"}
ABSTAINED = next(case for case in CASES if max(case.probabilities) < 0.2)


@pytest.fixture
def certificate(api_settings: ApiSettings) -> str:
    return store_certificate(api_settings.certificates_dir, genuine(CASES[6]))


@pytest.fixture
def abstention(api_settings: ApiSettings) -> str:
    return store_certificate(api_settings.certificates_dir, genuine(ABSTAINED))


def address(sha256: str) -> str:
    return f"/certificates/{sha256}/assessment"


def test_an_assessment_is_kept_and_read_again(api: TestClient, certificate: str) -> None:
    answer = api.post(address(certificate), json=AGREES)
    assert answer.status_code == 201
    kept = api.get(address(certificate)).json()
    assert kept["assessments"] == [answer.json()]
    assert (answer.json()["outcome"], answer.json()["verdict"]) == ("certified", "accept")
    assert {reason["code"] for reason in kept["reasons"]} == set(REASONS)


@pytest.mark.parametrize("method", ["get", "post"])
def test_an_unknown_certificate_is_a_problem(api: TestClient, method: str) -> None:
    body = {"json": AGREES} if method == "post" else {}
    assert_problem(getattr(api, method)(address("0" * 64), **body), "certificate_not_found")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"verdict": "accept"}, "invalid_request"),
        ({"verdict": "like", "reason": "agrees"}, "invalid_request"),
        ({"verdict": "accept", "reason": "because"}, "invalid_request"),
        ({"verdict": "reject", "reason": "agrees"}, "invalid_request"),
        ({**AGREES, "comment": "Jane Doe"}, "unknown_field"),
        ({**AGREES, "job": "nobody"}, "job_not_found"),
    ],
)
def test_a_wrong_assessment_is_refused_and_not_kept(
    api: TestClient, certificate: str, body: dict[str, str], code: str
) -> None:
    answer = api.post(address(certificate), json=body)
    assert_problem(answer, code)
    assert "Jane" not in answer.text
    assert api.get(address(certificate)).json()["assessments"] == []


def test_the_job_says_the_task(api: TestClient, records: Records, certificate: str) -> None:
    job = submit(api, task="mednist")
    records.succeed(job, abstained(), certificate=certificate)
    assert api.post(address(certificate), json={**AGREES, "job": job}).json()["task"] == "mednist"


def test_a_job_with_another_certificate_is_refused(api: TestClient, records: Records, certificate: str) -> None:
    job = submit(api)
    records.succeed(job, abstained(), certificate="0" * 64)
    assert_problem(api.post(address(certificate), json={**AGREES, "job": job}), "invalid_request")


def test_a_reason_of_the_other_outcome_is_refused(api: TestClient, certificate: str, abstention: str) -> None:
    for sha256, reason in ((certificate, "needless_abstention"), (abstention, "wrong_class")):
        refused = api.post(address(sha256), json={"verdict": "reject", "reason": reason})
        assert_problem(refused, "invalid_request")
        assert refused.json()["errors"][0]["field"] == "reason"
        assert api.get(address(sha256)).json()["assessments"] == []


def test_a_second_send_with_its_key_is_kept_once(api: TestClient, certificate: str) -> None:
    key = {"idempotency-key": "once"}
    first, second = (api.post(address(certificate), json=AGREES, headers=key) for _ in range(2))
    assert first.json() == second.json()
    assert len(api.get(address(certificate)).json()["assessments"]) == 1
    other = {"verdict": "reject", "reason": "wrong_class"}
    assert_problem(api.post(address(certificate), json=other, headers=key), "idempotency_conflict")


def test_metrics_count_every_assessment_and_the_ones_that_count(
    api: TestClient, certificate: str, abstention: str
) -> None:
    api.post(address(certificate), json={"verdict": "reject", "reason": "wrong_class"})
    api.post(address(certificate), json=AGREES)
    api.post(address(abstention), json={"verdict": "reject", "reason": "needless_abstention"})
    metrics = api.get("/metrics").text
    for line in (
        'certrad_assessments_total{outcome="certified",verdict="reject"} 1.0',
        'certrad_assessments_total{outcome="certified",verdict="accept"} 1.0',
        'certrad_assessed_certificates{outcome="certified",verdict="accept"} 1.0',
        'certrad_assessed_certificates{outcome="abstained",verdict="reject"} 1.0',
    ):
        assert line in metrics
    assert 'certrad_assessed_certificates{outcome="certified",verdict="reject"}' not in metrics


def test_an_assessment_is_in_the_audit_trail(api: TestClient, api_settings: ApiSettings, certificate: str) -> None:
    api.post(address(certificate), json=AGREES)
    event = audited(api_settings.audit_dir)[-1]
    assert (event["name"], event["certificate-sha256"]) == ("assessment_recorded", certificate)
    assert (event["verdict"], event["reason"]) == ("accept", "agrees")


def test_a_full_disk_keeps_nothing_and_says_so(
    api: TestClient, api_settings: ApiSettings, certificate: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if str(api_settings.assessments_dir) in os.readlink(f"/proc/self/fd/{descriptor}"):
            raise OSError(errno.ENOSPC, "No space left on device")
        fsync(descriptor)

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        assert_problem(api.post(address(certificate), json=AGREES), "storage_unavailable")
    assert api.get(address(certificate)).json()["assessments"] == []


def test_command_shows_the_agreement_of_each_outcome(
    api: TestClient,
    api_settings: ApiSettings,
    certificate: str,
    abstention: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    command = ["assessments", "--data-dir", str(api_settings.data_dir)]
    assert cli.main(command) == 0
    assert "No reader has assessed" in capsys.readouterr().out
    api.post(address(certificate), json=AGREES)
    api.post(address(abstention), json={"verdict": "reject", "reason": "needless_abstention"})
    assert cli.main([*command, "--json"]) == 0
    certified, abstained_row = json.loads(capsys.readouterr().out)
    assert (certified["outcome"], certified["accepted"], certified["agreement"]) == ("certified", 1, 1.0)
    # Clopper and Pearson for 1 of 1 at 95 %: the lower end is the 2.5 % quantile, 0.025.
    assert (certified["low"], certified["high"]) == (pytest.approx(0.025), 1.0)
    assert (abstained_row["rejected"], abstained_row["low"], abstained_row["high"]) == (1, 0.0, pytest.approx(0.975))
    assert cli.main(command) == 0
    assert "2.5% to 100.0%" in capsys.readouterr().out
