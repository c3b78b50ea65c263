"""Envelopes and time stamps are answered as intake stored them or with a problem, and POST /verify checks them."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.settings import ApiSettings
from certrad.models.certificates.signature import public_key
from certrad.models.types.public_key import jwk_set, pem
from certrad.workers.certificate_store import store_certificate, store_time_stamp
from certrad.workers.cli.main import main
from certrad.workers.contract.certificate_files import CERTIFICATE_FILES, CertificateFile, path
from certrad.workers.contract.keyring import Keyring, PublicKey
from certrad.workers.contract.records import Records
from certrad.workers.issue import seal
from tests.support.api import submit
from tests.support.certificates import CASES, ISSUER, genuine
from tests.support.problems import assert_problem
from tests.support.results import abstained

pytestmark = pytest.mark.integration

DOCUMENT = genuine(CASES[6])
FORGER = Ed25519PrivateKey.from_private_bytes(bytes(32))
SHA256 = hashlib.sha256(DOCUMENT).hexdigest()
ENVELOPES = seal(DOCUMENT, ISSUER)
STAMP = b"a time stamp, which the service does not read here"
FILES: dict[CertificateFile, bytes] = {"document": DOCUMENT, **ENVELOPES, "time_stamp": STAMP}


def accept(kind: CertificateFile) -> dict[str, str]:
    return {"accept": CERTIFICATE_FILES[kind].media_type}


@pytest.fixture
def stored(api_settings: ApiSettings) -> Path:
    """The store with a certificate, its envelopes and its time stamp."""
    assert store_certificate(api_settings.certificates_dir, DOCUMENT, ENVELOPES) == SHA256
    store_time_stamp(api_settings.certificates_dir, SHA256, STAMP)
    return api_settings.certificates_dir


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.usefixtures("stored")
def test_every_file_is_served_byte_for_byte_by_job_and_by_digest(
    kind: CertificateFile, api: TestClient, records: Records
) -> None:
    job_id = submit(api)
    records.succeed(job_id, abstained(), certificate=SHA256)
    for address in (f"/jobs/{job_id}/certificate", f"/certificates/{SHA256}"):
        answer = api.get(address, headers=accept(kind))
        assert (answer.status_code, answer.content) == (200, FILES[kind])
        assert answer.headers["content-type"].partition(";")[0] == CERTIFICATE_FILES[kind].media_type
        assert answer.headers["vary"] == "Accept"
        assert api.get(address, headers={**accept(kind), "if-none-match": answer.headers["etag"]}).status_code == 304


@pytest.mark.usefixtures("stored")
def test_each_file_has_its_own_etag(api: TestClient) -> None:
    tags = {api.get(f"/certificates/{SHA256}", headers=accept(kind)).headers["etag"] for kind in FILES}
    assert len(tags) == len(FILES)
    document = api.get(f"/certificates/{SHA256}").headers["etag"]
    answer = api.get(f"/certificates/{SHA256}", headers={**accept("dsse"), "if-none-match": document})
    assert answer.status_code == 200


@pytest.mark.usefixtures("stored")
def test_what_a_client_prefers_decides_and_the_document_is_the_default(api: TestClient) -> None:
    def kind(header: str) -> str:
        return api.get(f"/certificates/{SHA256}", headers={"accept": header}).headers["content-type"].partition(";")[0]

    assert kind("*/*") == "application/json"
    assert kind("text/html, */*;q=0.1") == "application/json"
    assert kind("application/json;q=0.5, application/jose") == "application/jose"
    assert_problem(api.get(f"/certificates/{SHA256}", headers={"accept": "text/html"}), "not_acceptable")


@pytest.mark.parametrize(
    ("kind", "code"),
    [("dsse", "envelope_not_found"), ("jws", "envelope_not_found"), ("time_stamp", "time_stamp_not_found")],
)
def test_certificate_of_an_earlier_release_has_no_envelope_and_says_so(
    kind: CertificateFile, code: str, api: TestClient, api_settings: ApiSettings
) -> None:
    store_certificate(api_settings.certificates_dir, DOCUMENT)
    assert_problem(api.get(f"/certificates/{SHA256}", headers=accept(kind)), code)
    assert api.get(f"/certificates/{SHA256}").content == DOCUMENT


@pytest.mark.parametrize("kind", ["dsse", "jws"])
def test_envelope_around_another_document_is_not_served(kind: CertificateFile, api: TestClient, stored: Path) -> None:
    other = seal(genuine(CASES[7]), ISSUER)
    for content in (other[kind], b"", b"{}", b"a.b.c"):
        path(stored, SHA256, kind).write_bytes(content)
        assert_problem(api.get(f"/certificates/{SHA256}", headers=accept(kind)), "digest_mismatch")


def test_envelope_without_its_document_is_not_served(api: TestClient, stored: Path) -> None:
    path(stored, SHA256, "document").unlink()
    assert_problem(api.get(f"/certificates/{SHA256}", headers=accept("jws")), "certificate_not_found")


# -- verification ---------------------------------------------------------------------------------------------------

REFORMATTED = json.dumps(json.loads(DOCUMENT), indent=2).encode()
FORMS = [
    (DOCUMENT, "document", False),
    (REFORMATTED, "document", True),
    (ENVELOPES["dsse"], "dsse", False),
    (ENVELOPES["jws"], "jws", False),
]


@pytest.mark.parametrize(("content", "form", "reformatted"), FORMS)
def test_post_verify_takes_every_form_and_says_which(
    content: bytes, form: str, reformatted: bool, api: TestClient, redis: Redis
) -> None:
    Keyring(redis).publish_key(PublicKey(public_key=public_key(ISSUER), first_used=1.0))
    body = api.post("/verify", content=content).json()
    # The noise is of a secret that this installation has not committed to.
    assert [check["name"] for check in body["checks"] if not check["ok"]] == ["noise_key"]
    assert (body["form"], body["reformatted"], body["certificate"]) == (form, reformatted, SHA256)
    assert body["issuer"] == "known"


Verify = Callable[[bytes], tuple[int, str]]


@pytest.fixture
def command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Verify:
    """`certrad verify`: the exit code, and what it prints as text."""
    file, keys = tmp_path / "certificate", tmp_path / "keys"
    keys.write_text(public_key(ISSUER))

    def run(content: bytes) -> tuple[int, str]:
        file.write_bytes(content)
        return main(["verify", str(file), "--key", str(keys)]), capsys.readouterr().out

    return run


@pytest.mark.parametrize(("content", "form", "reformatted"), FORMS)
def test_command_takes_every_form_and_says_which(content: bytes, form: str, reformatted: bool, command: Verify) -> None:
    code, text = command(content)
    assert (code, text.splitlines()[-1]) == (0, "valid")
    assert ("ok       envelope" in text) is (form != "document")
    assert ("reformatted: " in text) is reformatted
    assert "radius" in text.rpartition("\n\n")[2]


@pytest.mark.parametrize(
    "text", [pem(public_key(ISSUER)), json.dumps(jwk_set([public_key(ISSUER)])), public_key(ISSUER)]
)
def test_command_takes_the_keys_in_every_published_form(text: str, command: Verify, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(text)
    code, shown = command(DOCUMENT)
    assert (code, "ok       issuer" in shown) == (0, True)


@pytest.mark.parametrize(
    "text",
    [
        pem(public_key(FORGER)),
        json.dumps(jwk_set([public_key(FORGER)])),
        pem(public_key(ISSUER)).replace("MCowBQYDK2VwAyEA", "MCowBQYDK2VuAyEA"),
        "-----BEGIN PUBLIC KEY-----\n-----END PUBLIC KEY-----\n",
        '{"keys":[{"kty":"EC","crv":"P-256","x":"AA"}]}',
        '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}',
    ],
)
def test_other_and_malformed_keys_do_not_make_a_certificate_valid(text: str, command: Verify, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(text)
    assert command(DOCUMENT)[0] != 0


def test_command_refuses_a_changed_document_in_any_spelling(command: Verify) -> None:
    assert b'"certrad":"0.1.0"' in DOCUMENT
    changed = json.loads(DOCUMENT.replace(b'"certrad":"0.1.0"', b'"certrad":"9.9.9"'))
    code, text = command(json.dumps(changed, indent=2).encode())
    assert (code, text.splitlines()[-1]) == (1, "NOT VALID")
    assert "REFUSED  signature" in text
