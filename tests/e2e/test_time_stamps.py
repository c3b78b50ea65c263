"""Time stamps pass from a local authority (`openssl ts`) through intake and the API to verification after a leak."""

import subprocess
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.certificates.canonical import canonical
from certrad.models.certificates.document import certification_result, document
from certrad.models.certificates.time_stamp import query
from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.models.types.applied_window import FullRange
from certrad.models.types.image import ImageRecord
from certrad.workers import issue
from certrad.workers.cli.main import main
from certrad.workers.contract import uploads
from certrad.workers.contract.certificate_files import CertificateFile, path
from certrad.workers.contract.job import RESULT
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.names import UNSTAMPED, document_key
from certrad.workers.contract.records import Records
from certrad.workers.intake import tasks as intake
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.keys.time_stamps import stamp_waiting
from certrad.workers.settings import WorkerSettings
from tests.support.certificates import EPOCH_SECRET, answered
from tests.support.images import encoded, noise
from tests.support.time_stamping import POLICY, Authority, Responses, make_authority, served

pytestmark = pytest.mark.system

REQUEST = CertifyRequest(
    classifier=ClassifierSpec(
        backbone="demo", prompt="template", class_names=("chest X-ray", "head CT"), template="a photo of a {}"
    )
)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that the operator trusts."""
    return make_authority(tmp_path_factory.mktemp("tsa") / "authority")


@pytest.fixture
def responses(authority: Authority) -> Iterator[tuple[str, Responses]]:
    """The authority over HTTP."""
    with served(authority) as running:
        yield running


@pytest.fixture
def stamping(
    settings: WorkerSettings, authority: Authority, responses: tuple[str, Responses], monkeypatch: pytest.MonkeyPatch
) -> WorkerSettings:
    """Settings of an installation with that authority, which the environment has, too."""
    environment = {
        "CERTRAD_REDIS_URL": settings.redis_url,
        "CERTRAD_DATA_DIR": str(settings.data_dir),
        "CERTRAD_TSA_URL": responses[0],
        "CERTRAD_TSA_CERTIFICATES": str(authority.root),
        "CERTRAD_TSA_POLICY": POLICY,
    }
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return WorkerSettings()


@pytest.fixture
def api(stamping: WorkerSettings) -> Iterator[TestClient]:
    """The API of that installation."""
    settings = ApiSettings(allowed_hosts="testserver")
    assert settings.data_dir == stamping.data_dir
    with TestClient(create_app(settings)) as client:
        yield client


def issued(settings: WorkerSettings, redis: Redis) -> str:
    """The SHA-256 of a certificate that intake has issued."""
    records = Records(redis, ttl=60)
    uploads.store(settings.blobs_dir, "job", BytesIO(encoded(noise(40, 50), "png")))
    records.create("job", REQUEST, max_active=10, digest="0" * 64)
    Keyring(redis).publish_epoch(sha256(EPOCH_SECRET).hexdigest(), first_used=1.0)
    intake.decode("job")
    record = records.read("job")
    assert record is not None
    assert isinstance(record.image, ImageRecord)
    image = record.image
    facts = answered(
        REQUEST,
        (0.9, 0.1),
        pixels_sha256=image.pixels_sha256,
        input_sha256=image.input_sha256,
        scale=image.scale,
        window=image.window or FullRange(),
    )
    told = RESULT.dump_json(certification_result(facts, warnings=[], timing={}))
    redis.hset(document_key("job"), mapping={"document": canonical(document(facts)), "result": told})
    issue.finish("job")
    ended = records.read("job")
    assert ended is not None
    assert (ended.status, ended.certificate is None) == ("succeeded", False)
    return str(ended.certificate)


def revoked(settings: WorkerSettings, redis: Redis, leaked_at: datetime | None) -> None:
    """Revokes the key that signed, much later, and publishes that."""
    keys = SigningKeys(settings.signing_dir, clock=lambda: 4e9)
    former = keys.public_keys()[-1].public_key
    keys.rotate()
    keys.revoke(former, "it leaked", None if leaked_at is None else leaked_at.timestamp())
    keys.publish(Keyring(redis))


def refused(body: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["detail"] for check in body["checks"] if not check["ok"]}


def test_issued_certificate_is_stamped_and_openssl_verifies_the_stamp(
    stamping: WorkerSettings, redis: Redis, api: TestClient, authority: Authority, tmp_path: Path
) -> None:
    certificate = issued(stamping, redis)
    answer = api.get(f"/certificates/{certificate}", headers={"accept": "application/timestamp-reply"})
    assert answer.status_code == 200
    value = api.get(f"/certificates/{certificate}").json()["signature"]["value"]
    stamp, signature = tmp_path / "stamp.tsr", tmp_path / "signature.bin"
    stamp.write_bytes(answer.content)
    signature.write_bytes(bytes.fromhex(value))
    files = ("-data", str(signature), "-in", str(stamp), "-CAfile", str(authority.root))
    verify = ["openssl", "ts", "-verify", *files]
    assert "Verification: OK" in subprocess.run(verify, check=True, capture_output=True, text=True).stdout
    assert redis.smembers(UNSTAMPED) == set()


def test_job_does_not_wait_for_a_silent_authority_as_long_as_maintenance(
    stamping: WorkerSettings, redis: Redis, responses: tuple[str, Responses], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTRAD_TSA_TIMEOUT", "60")
    responses[1].pause = 60
    began = time.monotonic()
    certificate = issued(stamping, redis)
    assert time.monotonic() - began < 40  # decoding and signing are in it, on a busy machine
    assert redis.smembers(UNSTAMPED) == {certificate.encode()}


@pytest.mark.parametrize("form", ["document", "dsse", "jws"])
def test_stamp_from_before_the_leak_spares_a_certificate_of_a_revoked_key(
    form: CertificateFile, stamping: WorkerSettings, redis: Redis, api: TestClient
) -> None:
    content = path(stamping.certificates_dir, issued(stamping, redis), form).read_bytes()
    before = api.post("/verify", content=content).json()
    assert (before["valid"], before["issuer"]) == (True, "known")
    revoked(stamping, redis, datetime.now(UTC) + timedelta(minutes=1))
    body = api.post("/verify", content=content).json()
    assert (body["valid"], body["issuer"]) == (True, "stamped_before_leak")


@pytest.mark.parametrize("leaked", [datetime.now(UTC) - timedelta(minutes=1), None])
def test_stamp_from_after_the_leak_or_without_its_time_spares_nothing(
    leaked: datetime | None, stamping: WorkerSettings, redis: Redis, api: TestClient
) -> None:
    content = path(stamping.certificates_dir, issued(stamping, redis), "document").read_bytes()
    revoked(stamping, redis, leaked)
    body = api.post("/verify", content=content).json()
    assert (body["valid"], body["issuer"]) == (False, "revoked")
    assert set(refused(body)) == ({"issuer"} if leaked is None else {"issuer", "time_stamp"})


def test_service_that_trusts_no_authority_spares_nothing(
    stamping: WorkerSettings, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = path(stamping.certificates_dir, issued(stamping, redis), "document").read_bytes()
    revoked(stamping, redis, datetime.now(UTC) + timedelta(minutes=1))
    monkeypatch.delenv("CERTRAD_TSA_CERTIFICATES")
    with TestClient(create_app(ApiSettings(allowed_hosts="testserver"))) as client:
        body = client.post("/verify", content=content).json()
    assert refused(body)["time_stamp"] == "this service trusts no time-stamping authority"


def test_command_spares_what_the_saved_keys_and_the_stamp_spare(
    stamping: WorkerSettings,
    redis: Redis,
    api: TestClient,
    authority: Authority,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    certificate = issued(stamping, redis)
    files = {kind: path(stamping.certificates_dir, certificate, kind) for kind in ("dsse", "time_stamp")}
    stranger = make_authority(tmp_path / "stranger")
    revoked(stamping, redis, datetime.now(UTC) + timedelta(minutes=1))
    keys = tmp_path / "keys.json"
    keys.write_bytes(api.get("/.well-known/certrad-keys").content)
    monkeypatch.delenv("CERTRAD_TSA_CERTIFICATES")
    monkeypatch.delenv("CERTRAD_TSA_URL")

    def verify(*more: object) -> tuple[int, str]:
        code = main(["verify", str(files["dsse"]), "--key", str(keys), *map(str, more)])
        return code, capsys.readouterr().out

    stamp = ("--time-stamp", files["time_stamp"])
    code, text = verify(*stamp, "--tsa-certificates", authority.root)
    assert (code, "ok       time_stamp" in text, text.splitlines()[-1]) == (0, True, "valid")
    for refusal in (verify(), verify(*stamp, "--tsa-certificates", stranger.root)):
        assert (refusal[0], "REFUSED  issuer" in refusal[1]) == (1, True)
    assert verify(*stamp)[0] == 2  # nobody is trusted to state the time


def test_certificate_is_issued_while_the_authority_fails_and_maintenance_stamps_it_later(
    stamping: WorkerSettings, redis: Redis, responses: tuple[str, Responses]
) -> None:
    responses[1].status = 503
    certificate = issued(stamping, redis)
    assert not path(stamping.certificates_dir, certificate, "time_stamp").exists()
    assert redis.smembers(UNSTAMPED) == {certificate.encode()}
    responses[1].status = 200
    stamp_waiting(redis, stamping)
    assert path(stamping.certificates_dir, certificate, "time_stamp").exists()
    assert redis.smembers(UNSTAMPED) == set()


def test_certificate_has_one_stamp_however_often_its_job_is_finished(
    stamping: WorkerSettings, redis: Redis, responses: tuple[str, Responses]
) -> None:
    certificate = issued(stamping, redis)
    first = path(stamping.certificates_dir, certificate, "time_stamp").read_bytes()
    redis.flushall()
    assert issued(stamping, redis) == certificate
    assert path(stamping.certificates_dir, certificate, "time_stamp").read_bytes() == first
    assert responses[1].queries == 1


def test_stamp_over_another_signature_is_not_stored(
    stamping: WorkerSettings, redis: Redis, responses: tuple[str, Responses]
) -> None:
    responses[1].content = responses[1].authority.stamp(query(bytes(64)).content)
    certificate = issued(stamping, redis)
    assert not path(stamping.certificates_dir, certificate, "time_stamp").exists()
