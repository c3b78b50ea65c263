"""Reports are answered by media type with tags of their own, refused with a code, and gone with their job."""

import hashlib
from typing import Final

import pytest
from fastapi.testclient import TestClient

from certrad.app.settings import ApiSettings
from certrad.workers.contract import outputs
from certrad.workers.contract.outputs import OUTPUTS, OutputKind
from certrad.workers.contract.records import Records
from tests.support.api import submit
from tests.support.problems import assert_problem
from tests.support.results import abstained

DOCUMENT: Final = b'{"schema":"certrad.certificate/1"}'
SHA256: Final = hashlib.sha256(DOCUMENT).hexdigest()
ADDRESSES: Final[dict[OutputKind, tuple[str, str]]] = {
    "structured_report": ("certificate", "application/dicom"),
    "secondary_capture": ("secondary-capture", "*/*"),
    "fhir": ("certificate", "application/fhir+json"),
}


@pytest.fixture
def job_id(api: TestClient, records: Records, api_settings: ApiSettings) -> str:
    """A job with a certificate and three reports."""
    api_settings.certificates_dir.mkdir(parents=True)
    (api_settings.certificates_dir / f"{SHA256}.json").write_bytes(DOCUMENT)
    job_id = submit(api)
    for kind in OUTPUTS:
        outputs.store(api_settings.outputs_dir, job_id, kind, kind.encode())
    records.succeed(job_id, abstained(), certificate=SHA256, outputs=dict.fromkeys(OUTPUTS))
    return job_id


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_report_is_served_by_its_media_type(kind: OutputKind, api: TestClient, job_id: str) -> None:
    place, accept = ADDRESSES[kind]
    answer = api.get(f"/jobs/{job_id}/{place}", headers={"accept": accept})
    assert (answer.status_code, answer.content) == (200, kind.encode())
    assert answer.headers["content-type"] == OUTPUTS[kind].media_type
    assert answer.headers["cache-control"] == "no-store"


@pytest.mark.parametrize("accept", [None, "*/*", "application/json", "application/json, application/dicom;q=0.9"])
def test_the_document_is_for_whoever_wants_no_report(accept: str | None, api: TestClient, job_id: str) -> None:
    answer = api.get(f"/jobs/{job_id}/certificate", headers={} if accept is None else {"accept": accept})
    assert answer.content == DOCUMENT
    assert answer.headers["content-type"] == "application/json"
    assert (answer.headers["etag"], answer.headers["vary"]) == (f'"{SHA256}"', "Accept")
    assert answer.headers["cache-control"] == "private, no-cache"


def test_every_representation_has_a_tag_of_its_own(api: TestClient, job_id: str) -> None:
    path = f"/jobs/{job_id}/certificate"
    tags = {}
    for accept in ("application/json", "application/dicom", "application/fhir+json"):
        answer = api.get(path, headers={"accept": accept})
        tags[accept] = answer.headers["etag"]
        again = api.get(path, headers={"accept": accept, "if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content, again.headers["vary"]) == (304, b"", "Accept")
    assert len(set(tags.values())) == len(tags)
    other = api.get(path, headers={"accept": "application/dicom", "if-none-match": tags["application/json"]})
    assert other.status_code == 200


def test_another_media_type_is_refused(api: TestClient, job_id: str) -> None:
    answer = api.get(f"/jobs/{job_id}/certificate", headers={"accept": "text/html"})
    assert "application/dicom" in assert_problem(answer, "not_acceptable")["detail"]


def test_the_job_links_to_its_reports(api: TestClient, job_id: str) -> None:
    links = api.get(f"/jobs/{job_id}").json()["links"]
    assert {kind: links[kind] for kind in OUTPUTS} == {
        kind: f"/jobs/{job_id}/{place}" for kind, (place, _) in ADDRESSES.items()
    }


def test_links_to_reports_are_null_without_them(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    assert {api.get(f"/jobs/{job_id}").json()["links"][kind] for kind in OUTPUTS} == {None}
    refused = {"structured_report": "no_structured_report", "secondary_capture": "output_failed", "fhir": None}
    records.succeed(job_id, abstained(), certificate=SHA256, outputs=refused)  # type: ignore[arg-type]
    links = api.get(f"/jobs/{job_id}").json()["links"]
    assert (links["structured_report"], links["secondary_capture"]) == (None, None)
    assert links["fhir"] == f"/jobs/{job_id}/certificate"


@pytest.mark.parametrize("code", ["no_structured_report", "hospital_extra_missing", "output_failed"])
@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_report_that_was_not_made_says_why(kind: OutputKind, code: str, api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.succeed(job_id, abstained(), certificate=SHA256, outputs=dict.fromkeys(OUTPUTS, code))
    place, accept = ADDRESSES[kind]
    assert_problem(api.get(f"/jobs/{job_id}/{place}", headers={"accept": accept}), code)


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_report_needs_a_certificate(kind: OutputKind, api: TestClient) -> None:
    job_id = submit(api)
    place, accept = ADDRESSES[kind]
    assert_problem(api.get(f"/jobs/{job_id}/{place}", headers={"accept": accept}), "job_not_finished")
    api.delete(f"/jobs/{job_id}")
    assert_problem(api.get(f"/jobs/{job_id}/{place}", headers={"accept": accept}), "job_has_no_certificate")


@pytest.mark.parametrize("kind", OUTPUTS)
def test_a_report_that_is_gone_has_expired(
    kind: OutputKind, api: TestClient, job_id: str, api_settings: ApiSettings
) -> None:
    outputs.delete(api_settings.outputs_dir, job_id)
    place, accept = ADDRESSES[kind]
    assert_problem(api.get(f"/jobs/{job_id}/{place}", headers={"accept": accept}), "output_expired")


def test_a_job_of_a_release_without_reports_says_that_they_expired(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.succeed(job_id, abstained(), certificate=SHA256)
    assert_problem(api.get(f"/jobs/{job_id}/secondary-capture"), "output_expired")


def test_delete_takes_the_reports_along(api: TestClient, job_id: str, api_settings: ApiSettings) -> None:
    assert len(list(api_settings.outputs_dir.iterdir())) == len(OUTPUTS)
    assert api.delete(f"/jobs/{job_id}").status_code == 204
    assert list(api_settings.outputs_dir.iterdir()) == []
