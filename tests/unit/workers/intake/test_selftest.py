"""Intake's checks of the self-test find wrong pixels and missing keys, and its report is signed."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis.exceptions import NoPermissionError

from certrad.models.certificates.signature import is_signed
from certrad.models.selftest.facts import PHANTOM, REFERENCES, read_facts
from certrad.models.types.selftest import SelfTestCheck, SkippedCheck
from certrad.workers.cli.main import main
from certrad.workers.contract.names import ARCHIVE_QUEUE
from certrad.workers.intake import selftest
from certrad.workers.intake.selftest import check_decoder, check_signing, passes_at_start
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.settings import WorkerSettings


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(data_dir=tmp_path / "data", threads=1)


def test_the_real_decoder_gives_the_stored_model_input(settings: WorkerSettings) -> None:
    check = check_decoder(settings)
    assert (check.name, check.ok) == ("decoder", True), check.detail


def test_another_file_is_refused(settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "phantom.dcm"
    other.write_bytes(PHANTOM.read_bytes()[:-1] + b"\x01")
    monkeypatch.setattr(selftest, "PHANTOM", other)
    check = check_decoder(settings)
    assert not check.ok
    assert "not the one the references name" in check.detail


@pytest.mark.parametrize("digest", ["pixels_sha256", "input_sha256"])
def test_a_decoder_that_gives_other_pixels_or_another_model_input_is_found(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, digest: str
) -> None:
    facts = read_facts(REFERENCES.read_bytes())
    stored = {"pixels_sha256": facts.pixels_sha256, "input_sha256": facts.input_sha256}
    other = SimpleNamespace(**{**stored, digest: "0" * 64})
    monkeypatch.setattr(selftest, "decode_limited", lambda *_: (None, other))
    check = check_decoder(settings)
    assert not check.ok
    assert check.detail.startswith(f"{digest} is 000000")


def test_the_limit_of_uploads_is_no_part_of_what_is_tested(settings: WorkerSettings) -> None:
    check = check_decoder(settings.model_copy(update={"max_pixels": 64}))
    assert check.ok, check.detail


class RefusingRedis:
    """A Redis whose user may do nothing."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        def refuse(*_: object, **__: object) -> None:
            raise NoPermissionError(f"this user has no permissions to run {name!r}")

        return refuse


def test_a_worker_without_rights_in_redis_does_not_pass_and_no_error_escapes(settings: WorkerSettings) -> None:
    assert not passes_at_start(ARCHIVE_QUEUE, settings, RefusingRedis())  # type: ignore[arg-type]


def test_without_a_key_nothing_is_signed_and_none_is_made(settings: WorkerSettings) -> None:
    assert isinstance(check_signing(settings, None), SkippedCheck)
    assert not settings.signing_dir.exists()


def test_a_probe_is_signed_with_the_key_of_the_installation(settings: WorkerSettings) -> None:
    key = SigningKeys(settings.signing_dir).current()
    check = check_signing(settings, None)
    assert isinstance(check, SelfTestCheck)
    assert check.ok
    assert key.public_key().public_bytes_raw().hex() in check.detail


@pytest.mark.parametrize(("answer", "told"), [(True, "a changed probe verifies"), (False, "does not verify")])
def test_a_verifier_that_always_says_the_same_is_found(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, answer: bool, told: str
) -> None:
    SigningKeys(settings.signing_dir).current()
    monkeypatch.setattr(selftest, "is_signed", lambda _: answer)
    check = check_signing(settings, None)
    assert isinstance(check, SelfTestCheck)
    assert not check.ok
    assert told in check.detail


def test_a_key_that_is_not_published_is_found(settings: WorkerSettings) -> None:
    class Empty:
        def signing_keys(self) -> list[Any]:
            return []

    SigningKeys(settings.signing_dir).current()
    check = check_signing(settings, Empty())  # type: ignore[arg-type]
    assert isinstance(check, SelfTestCheck)
    assert (check.ok, check.detail) == (False, "the public key in use is not published")


@pytest.fixture
def report(settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The report of this machine, written by the command."""
    monkeypatch.delenv("CERTRAD_REDIS_URL", raising=False)
    monkeypatch.setenv("CERTRAD_THREADS", "1")
    SigningKeys(settings.signing_dir).current()
    out = tmp_path / "report.json"
    assert main(["selftest", "--samples", "64", "--data-dir", str(settings.data_dir), "--out", str(out)]) == 0
    written: dict[str, Any] = json.loads(out.read_text())
    return written


def test_the_report_is_signed_and_holds_the_facts_of_the_machine(report: dict[str, Any]) -> None:
    assert report["passed"] is True
    assert [check["name"] for check in report["checks"]] == [
        *("noise_words", "normals", "weights", "features", "counts", "decoder", "signing"),
    ]
    assert [check["name"] for check in report["skipped"]] == ["redis"]
    assert {"device_name", "driver", "dtype", "processor", "torch", "code_sha256"} <= report["facts"].keys()
    assert is_signed(report)
    assert not is_signed({**report, "passed": False})


def test_a_machine_that_fails_ends_with_1_and_names_the_check(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from certrad.models.selftest import checks

    monkeypatch.setattr(checks, "LEAST_COSINE", 1.1)
    assert main(["selftest", "--samples", "1", "--data-dir", str(settings.data_dir), "--json"]) == 1
    written = json.loads(capsys.readouterr().out)
    assert [check["name"] for check in written["checks"] if not check["ok"]] == ["features"]
    assert written["signature"] is None


def test_an_unknown_device_is_bad_usage(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CERTRAD_DEVICE", "abacus")
    assert main(["selftest", "--data-dir", str(settings.data_dir)]) == 2
    assert "CERTRAD_DEVICE" in capsys.readouterr().err


def test_the_report_names_the_key_of_the_installation(report: dict[str, Any], settings: WorkerSettings) -> None:
    key = SigningKeys(settings.signing_dir).current()
    assert report["signature"]["public_key"] == key.public_key().public_bytes_raw().hex()
