"""Certificates and results are answered over HTTP as they were stored, or with a problem."""

import hashlib

import pytest
from fastapi.testclient import TestClient

from certrad.app.settings import ApiSettings
from certrad.workers.contract.records import Records
from tests.support.api import submit
from tests.support.problems import assert_problem
from tests.support.results import abstained, as_json


def test_certificate_is_served_byte_for_byte(api: TestClient, records: Records, api_settings: ApiSettings) -> None:
    job_id = submit(api)
    assert_problem(api.get(f"/jobs/{job_id}/certificate"), "job_not_finished")
    document = b'{"schema":"certrad.certificate/1"}'
    digest = hashlib.sha256(document).hexdigest()
    api_settings.certificates_dir.mkdir(parents=True)
    (api_settings.certificates_dir / f"{digest}.json").write_bytes(document)
    records.succeed(job_id, abstained(), certificate=digest)
    link = api.get(f"/jobs/{job_id}").json()["links"]["certificate"]
    for path in (link, f"/jobs/{job_id}/certificate"):
        answer = api.get(path)
        assert answer.content == document
        assert answer.headers["etag"] == f'"{digest}"'
        assert api.get(path, headers={"if-none-match": f'"{digest}"'}).status_code == 304
    api.delete(f"/jobs/{job_id}")
    assert api.get(link).content == document


def test_job_without_certificate_says_so(api: TestClient) -> None:
    job_id = submit(api)
    api.delete(f"/jobs/{job_id}")
    answer = api.get(f"/jobs/{job_id}/certificate")
    assert_problem(answer, "job_has_no_certificate")
    assert answer.json()["detail"] == "the job was cancelled"


@pytest.mark.parametrize("name", ["0" * 64, "0" * 63, "..%2F..%2Fetc%2Fpasswd", "A" * 64])
def test_unknown_certificate_is_a_problem(api: TestClient, name: str) -> None:
    answer = api.get(f"/certificates/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("certificate_not_found", "not_found")


def test_changed_certificate_is_not_served(api: TestClient, api_settings: ApiSettings) -> None:
    api_settings.certificates_dir.mkdir(parents=True)
    (api_settings.certificates_dir / f"{'0' * 64}.json").write_bytes(b"{}")
    assert_problem(api.get(f"/certificates/{'0' * 64}"), "digest_mismatch")


def test_result_is_shown_as_it_was_stored(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.succeed(job_id, abstained(), certificate="0" * 64)
    assert api.get(f"/jobs/{job_id}").json()["result"] == as_json(abstained())
