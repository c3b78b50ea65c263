"""An authority that fails ends no job: the certificate is issued without a stamp, which the log and a metric say."""

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient
from redis import Redis
from structlog.testing import capture_logs

from certrad.models.certificates.time_stamp import MAX_RESPONSE_BYTES, Query
from certrad.workers.certificate_store import store_certificate
from certrad.workers.contract.certificate_files import path, read_time_stamp
from certrad.workers.contract.names import STAMPING, UNSTAMPED
from certrad.workers.keys.time_stamps import stamp, stamp_waiting, want_time_stamp
from certrad.workers.settings import WorkerSettings
from tests.support.certificates import CASES, genuine
from tests.support.time_stamping import Authority, Responses, served

pytestmark = pytest.mark.integration

DOCUMENT = genuine(CASES[6])
SHA256 = hashlib.sha256(DOCUMENT).hexdigest()
SECRET = "user:token"


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[tuple[str, Responses]]:
    """An authority that says what the test tells it."""
    with served(Authority(tmp_path)) as (url, responses):
        yield url.replace("http://", f"http://{SECRET}@"), responses


@pytest.fixture
def stamping(settings: WorkerSettings, authority: tuple[str, Responses], tmp_path: Path) -> WorkerSettings:
    """Settings with that authority, and a certificate in the store that waits for its stamp."""
    root = tmp_path / "root.pem"
    root.write_text("no certificate: nothing that this authority says is believed")
    store_certificate(settings.certificates_dir, DOCUMENT)
    return settings.model_copy(update={"tsa_url": authority[0], "tsa_certificates": root, "tsa_timeout": 0.5})


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ({"status": 500}, "HTTPStatusError"),
        ({"status": 302}, "HTTPStatusError"),
        ({"media_type": "text/html"}, "something else than a time stamp"),
        ({"content": bytes(MAX_RESPONSE_BYTES + 1)}, "too long"),
        ({"pause": 0.2}, "too slow"),
        ({"pause": 5.0}, "ReadTimeout"),
        ({}, "PEM with a root"),
    ],
)
def test_response_that_is_no_stamp_leaves_the_certificate_waiting(
    response: dict[str, Any],
    reason: str,
    stamping: WorkerSettings,
    authority: tuple[str, Responses],
    redis: Redis,
) -> None:
    for name, value in {"content": b"no stamp", **response}.items():
        setattr(authority[1], name, value)
    want_time_stamp(redis, stamping, SHA256)
    with capture_logs() as logs:
        assert not stamp(redis, stamping, SHA256)
    assert [(entry["event"], entry["log_level"]) for entry in logs] == [("certificate has no time stamp", "warning")]
    assert reason in logs[0]["reason"]
    assert SECRET not in str(logs)
    assert redis.smembers(UNSTAMPED) == {SHA256.encode()}
    assert read_time_stamp(stamping.certificates_dir, SHA256) is None


def test_authority_that_cannot_be_reached_leaves_the_certificate_waiting(
    stamping: WorkerSettings, redis: Redis
) -> None:
    nowhere = stamping.model_copy(update={"tsa_url": f"http://{SECRET}@127.0.0.1:9/"})
    want_time_stamp(redis, nowhere, SHA256)
    with capture_logs() as logs:
        assert not stamp(redis, nowhere, SHA256)
    assert "ConnectError" in logs[0]["reason"]
    assert SECRET not in str(logs)


def test_a_metric_counts_certificates_that_wait_for_a_stamp(
    stamping: WorkerSettings, redis: Redis, api: TestClient
) -> None:
    want_time_stamp(redis, stamping, SHA256)
    assert "certrad_certificates_without_time_stamp 1.0" in api.get("/metrics").text


def test_installation_without_an_authority_asks_for_nothing(settings: WorkerSettings, redis: Redis) -> None:
    want_time_stamp(redis, settings, SHA256)
    assert redis.smembers(UNSTAMPED) == set()
    assert stamp(redis, settings, SHA256, never)


def never(_: Query) -> bytes:
    raise AssertionError


def counting(answers: list[Exception]) -> tuple[list[int], Callable[[Query], bytes]]:
    """Returns the calls, and a function that notes each of them and fails as asked."""
    asked: list[int] = []

    def ask(_: Query) -> bytes:
        asked.append(1)
        raise answers[0]

    return asked, ask


def test_maintenance_asks_again_but_stops_at_the_first_failure_and_pauses(
    stamping: WorkerSettings, redis: Redis
) -> None:
    other = genuine(CASES[7])
    for digest in (SHA256, store_certificate(stamping.certificates_dir, other)):
        want_time_stamp(redis, stamping, digest)
    asked, ask = counting([httpx.ReadTimeout("no answer in time")])
    stamp_waiting(redis, stamping, ask)
    assert len(asked) == 1
    stamp_waiting(redis, stamping, ask)
    assert len(asked) == 1
    redis.delete(STAMPING)
    stamp_waiting(redis, stamping, ask)
    assert len(asked) == 2


def test_settings_with_an_authority_that_nobody_trusts_are_refused() -> None:
    with pytest.raises(ValueError, match="tsa_certificates"):
        WorkerSettings(tsa_url="http://authority.example/tsa")


def test_maintenance_passes_over_certificates_of_another_store(stamping: WorkerSettings, redis: Redis) -> None:
    redis.sadd(UNSTAMPED, "0" * 64)
    want_time_stamp(redis, stamping, SHA256)
    asked, ask = counting([httpx.ReadTimeout("no answer in time")])
    stamp_waiting(redis, stamping, ask)
    assert len(asked) == 1


@pytest.mark.parametrize(
    "damaged",
    [b"", b"[]", b"{", b"{}", b'{"signature": 5}', b'{"signature": {"value": 5}}', b'{"signature": {"value": "xy"}}'],
)
def test_a_damaged_document_counts_as_without_a_stamp_and_holds_up_no_other(
    damaged: bytes, stamping: WorkerSettings, redis: Redis
) -> None:
    broken = "0" * 64
    file = path(stamping.certificates_dir, broken, "document")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(damaged)
    redis.sadd(UNSTAMPED, broken)
    assert not stamp(redis, stamping, broken, never)
    assert redis.smembers(UNSTAMPED) == {broken.encode()}
    want_time_stamp(redis, stamping, SHA256)
    asked, ask = counting([httpx.ReadTimeout("no answer in time")])
    stamp_waiting(redis, stamping, ask)
    assert len(asked) == 1
