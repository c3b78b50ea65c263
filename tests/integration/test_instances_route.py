"""The STOW-RS receiver: what is answered with success is on the disk, and everything else leaves nothing."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.workers.contract.names import VERSION
from certrad.workers.contract.received import ReceivedSpool
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.audit import audited
from tests.support.processes import wait_for
from tests.support.raw_client import ApiProcess, api_process, everything, head, problem_of
from tests.support.stow import BOUNDARY, CONTENT_TYPE, DIGITAL_X_RAY, body, chunked, instance, pieces

pytestmark = pytest.mark.integration

SECRET = "sixteen characters at least"
PATH = "/dicom-web/studies"
HEADERS = {"Authorization": f"Bearer {SECRET}", "Content-Type": CONTENT_TYPE, "Accept": "application/dicom+json"}
FIRST, SECOND = "1.2.840.99.1", "1.2.840.99.2"
LIMIT = 300_000


@pytest.fixture
def settings(api_settings: ApiSettings) -> ApiSettings:
    return api_settings.model_copy(update={"trigger_secret": SecretStr(SECRET), "max_received_bytes": LIMIT})


@pytest.fixture
def receiver(redis: Redis, settings: ApiSettings) -> Iterator[TestClient]:
    """An API with a secret."""
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture(scope="module")
def process(tmp_path_factory: pytest.TempPathFactory, redis_server: EmbeddedRedis) -> Iterator[ApiProcess]:
    """An API process with a secret."""
    folder = tmp_path_factory.mktemp("receiver")
    with api_process(folder, redis_server.url, trigger_secret=SECRET, max_received_bytes=LIMIT) as api:
        yield api


def received(settings: ApiSettings) -> list[bytes]:
    """The files that wait for the connector."""
    spool = ReceivedSpool(settings.pacs_dir)
    return [spool.read(file) for request in spool.waiting() for file in spool.files(request)]


def left(folder: Path) -> list[str]:
    """Everything in the folder of received instances, finished or not."""
    return [path.name for path in folder.joinpath("pacs", "received").glob("**/*")]


def uids(answer: dict[str, Any], sequence: str) -> list[str]:
    """The instances in a sequence of an answer."""
    return [item["00081155"]["Value"][0] for item in answer.get(sequence, {}).get("Value", [])]


def reasons(answer: dict[str, Any], sequence: str) -> list[int]:
    """The failure reasons in a sequence of an answer."""
    return [item["00081197"]["Value"][0] for item in answer.get(sequence, {}).get("Value", [])]


def raw(*headers: str) -> bytes:
    """The head of a chunked request."""
    lines = (f"Authorization: Bearer {SECRET}", f"Content-Type: {CONTENT_TYPE}", "Transfer-Encoding: chunked", *headers)
    return head(PATH, *lines) + b"\r\n"


def test_every_instance_is_on_the_disk_and_listed_in_the_answer(receiver: TestClient, settings: ApiSettings) -> None:
    files = [instance(FIRST, b"\0\1\r\n--not a boundary\r\n" * 100), instance(SECOND)]
    answer = receiver.post(PATH, content=body(*files), headers=HEADERS)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/dicom+json"
    assert uids(answer.json(), "00081199") == [FIRST, SECOND]
    assert [item["00081150"]["Value"] for item in answer.json()["00081199"]["Value"]] == [[DIGITAL_X_RAY]] * 2
    assert "00081198" not in answer.json()
    assert received(settings) == files


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_body_without_a_length_is_the_same_in_pieces_of_any_size(
    receiver: TestClient, settings: ApiSettings, size: int
) -> None:
    content = instance(FIRST, bytes(range(256)) * 8)
    answer = receiver.post(PATH, content=pieces(body(content), size), headers=HEADERS)
    assert answer.status_code == 200
    assert received(settings) == [content]


def test_chunked_body_over_a_real_connection_is_taken(process: ApiProcess) -> None:
    content = instance(FIRST, b"\0" * 50_000)
    answer = everything(process.connect(raw("Connection: close"), chunked(body(content))))
    assert answer.startswith(b"HTTP/1.1 200")
    assert uids(json.loads(answer.partition(b"\r\n\r\n")[2]), "00081199") == [FIRST]


def test_file_without_a_multipart_body_around_it_is_taken(receiver: TestClient, settings: ApiSettings) -> None:
    answer = receiver.post(PATH, content=instance(FIRST), headers={**HEADERS, "Content-Type": "application/dicom"})
    assert (answer.status_code, uids(answer.json(), "00081199")) == (200, [FIRST])
    assert received(settings) == [instance(FIRST)]


def test_study_of_the_address_is_kept_for_the_connector(receiver: TestClient, settings: ApiSettings) -> None:
    assert receiver.post(f"{PATH}/1.2.840.98", content=body(instance(FIRST)), headers=HEADERS).status_code == 200
    spool = ReceivedSpool(settings.pacs_dir)
    assert [spool.study(request) for request in spool.waiting()] == ["1.2.840.98"]


def test_study_of_the_address_must_be_a_uid(receiver: TestClient, settings: ApiSettings) -> None:
    assert receiver.post(f"{PATH}/a", content=body(instance(FIRST)), headers=HEADERS).status_code == 422
    assert left(settings.data_dir) == []


def test_part_that_is_no_dicom_file_fails_alone(receiver: TestClient, settings: ApiSettings) -> None:
    answer = receiver.post(PATH, content=body(b"no DICOM file", instance(SECOND)), headers=HEADERS)
    assert answer.status_code == 202
    assert uids(answer.json(), "00081199") == [SECOND]
    assert reasons(answer.json(), "0008119A") == [0xC000]
    assert received(settings) == [instance(SECOND)]


def test_instance_over_the_limit_of_an_image_fails_alone(receiver: TestClient, settings: ApiSettings) -> None:
    large = instance(FIRST, bytes(settings.max_body_bytes))
    answer = receiver.post(PATH, content=body(large, instance(SECOND)), headers=HEADERS)
    assert (answer.status_code, uids(answer.json(), "00081198")) == (202, [FIRST])
    assert reasons(answer.json(), "00081198") == [0xA700]
    assert received(settings) == [instance(SECOND)]


def test_request_of_which_nothing_is_stored_is_answered_with_409(receiver: TestClient, settings: ApiSettings) -> None:
    answer = receiver.post(PATH, content=body(b"no DICOM file"), headers=HEADERS)
    assert (answer.status_code, "00081199" in answer.json()) == (409, False)
    assert left(settings.data_dir) == []


@pytest.mark.parametrize(
    ("content", "content_type", "code"),
    [
        (b"", CONTENT_TYPE, (400, "invalid_multipart")),
        (body(), CONTENT_TYPE, (400, "invalid_multipart")),
        (body(b""), CONTENT_TYPE, (400, "invalid_multipart")),
        (body(instance(FIRST), end=False), CONTENT_TYPE, (400, "invalid_multipart")),
        (body(instance(FIRST))[:-40], CONTENT_TYPE, (400, "invalid_multipart")),
        (b"no boundary at all", CONTENT_TYPE, (400, "invalid_multipart")),
        (body(instance(FIRST)), "multipart/related", (400, "invalid_multipart")),
        (body(*[b""] * 1001), CONTENT_TYPE, (400, "invalid_multipart")),
        (f"--{BOUNDARY}\r\nX: {'x' * 9000}\r\n".encode(), CONTENT_TYPE, (400, "invalid_multipart")),
        (body(b"<a/>"), CONTENT_TYPE.replace("dicom", "dicom+xml"), (415, "unsupported_media_type")),
        (body(b"[]"), CONTENT_TYPE.replace("dicom", "dicom+json"), (415, "unsupported_media_type")),
        (b"[]", "application/json", (415, "unsupported_media_type")),
        (body(instance(FIRST, bytes(LIMIT))), CONTENT_TYPE, (413, "body_too_large")),
    ],
)
def test_body_that_cannot_be_taken_is_refused_with_a_code_and_leaves_nothing(
    receiver: TestClient, settings: ApiSettings, content: bytes, content_type: str, code: tuple[int, str]
) -> None:
    answer = receiver.post(PATH, content=pieces(content, 50_000), headers={**HEADERS, "Content-Type": content_type})
    assert (answer.status_code, answer.json()["code"]) == code
    assert left(settings.data_dir) == []


@pytest.mark.parametrize("accept", ["application/dicom+xml", "text/html"])
def test_answer_in_another_form_than_json_is_refused(receiver: TestClient, settings: ApiSettings, accept: str) -> None:
    answer = receiver.post(PATH, content=body(instance(FIRST)), headers={**HEADERS, "Accept": accept})
    assert (answer.status_code, answer.json()["code"]) == (406, "not_acceptable")
    assert left(settings.data_dir) == []


@pytest.mark.parametrize(
    "headers", [{}, {"Authorization": "Bearer wrong"}, {"Authorization": SECRET}, {"Authorization": f"Basic {SECRET}"}]
)
def test_sender_without_the_secret_is_refused_and_audited(
    receiver: TestClient, settings: ApiSettings, headers: dict[str, str]
) -> None:
    answer = receiver.post(PATH, content=body(instance(FIRST)), headers={"Content-Type": CONTENT_TYPE, **headers})
    assert (answer.status_code, answer.json()["code"]) == (403, "wrong_trigger_secret")
    assert left(settings.data_dir) == []
    assert audited(settings.audit_dir)[-1]["name"] == "authentication_failed"


def test_secret_may_come_in_the_header_of_triggers(receiver: TestClient) -> None:
    headers = {"Content-Type": CONTENT_TYPE, "Certrad-Trigger-Secret": SECRET}
    assert receiver.post(PATH, content=body(instance(FIRST)), headers=headers).status_code == 200


def test_reception_is_audited_without_a_uid_and_not_in_redis(
    receiver: TestClient, settings: ApiSettings, redis: Redis
) -> None:
    receiver.post(PATH, content=body(instance(FIRST), b"no DICOM file"), headers=HEADERS)
    event = audited(settings.audit_dir)[-1]
    assert (event["name"], event["stored"], event["failed"]) == ("input_received", "1", "1")
    assert FIRST not in json.dumps(event)
    assert redis.keys("*") == [VERSION.encode()]


def test_connection_that_breaks_off_leaves_nothing(process: ApiProcess) -> None:
    folder = process.log.parent
    before = left(folder)
    connection = process.connect(raw(), chunked(body(instance(FIRST, bytes(200_000)), end=False))[:150_000])
    wait_for(lambda: len(left(folder)) > len(before), what="a request that is being received")
    connection.shutdown(socket.SHUT_RDWR)
    connection.close()
    wait_for(lambda: left(folder) == before, what="a folder without the request that broke off")
    assert process.is_alive()


def test_chunked_body_over_the_limit_is_refused_over_a_real_connection(process: ApiProcess) -> None:
    folder = process.log.parent
    before = left(folder)
    status, problem = problem_of(
        everything(process.connect(raw("Connection: close"), chunked(body(instance(FIRST, bytes(LIMIT))), 60_000)))
    )
    assert (status, problem["code"]) == (413, "body_too_large")
    assert left(folder) == before
