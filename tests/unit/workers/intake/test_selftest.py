"""Intake's checks of the self-test, and the report of `certrad selftest`."""

import json
from pathlib import Path
from typing import Any

import pytest

from certrad.models.certificates.signature import is_signed
from certrad.models.selftest.facts import PHANTOM
from certrad.models.types.selftest import SelfTestCheck, SkippedCheck
from certrad.workers.cli.main import main
from certrad.workers.intake import selftest
from certrad.workers.intake.selftest import decoder, signing
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.settings import WorkerSettings


@pytest.fixture
def settings(tmp_path: Path) -> WorkerSettings:
    return WorkerSettings(data_dir=tmp_path / "data", threads=1)


def test_the_real_decoder_gives_the_stored_model_input(settings: WorkerSettings) -> None:
    check = decoder(settings)
    assert (check.name, check.ok) == ("decoder", True), check.detail


def test_another_file_is_refused(settings: WorkerSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "phantom.dcm"
    other.write_bytes(PHANTOM.read_bytes()[:-1] + b"\x01")
    monkeypatch.setattr(selftest, "PHANTOM", other)
    check = decoder(settings)
    assert not check.ok
    assert "not the one the references name" in check.detail


def test_a_decoder_that_gives_other_pixels_is_found(settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        pixels_sha256 = input_sha256 = "0" * 64

    monkeypatch.setattr(selftest, "decode_limited", lambda *_: (None, Other()))
    check = decoder(settings)
    assert not check.ok
    assert check.detail.startswith("pixels_sha256 is 000000")


def test_without_a_key_nothing_is_signed_and_none_is_made(settings: WorkerSettings) -> None:
    assert isinstance(signing(settings, None), SkippedCheck)
    assert not settings.signing_dir.exists()


def test_a_probe_is_signed_with_the_key_of_the_installation(settings: WorkerSettings) -> None:
    key = SigningKeys(settings.signing_dir).current()
    check = signing(settings, None)
    assert isinstance(check, SelfTestCheck)
    assert check.ok
    assert key.public_key().public_bytes_raw().hex() in check.detail


@pytest.mark.parametrize(("answer", "told"), [(True, "a changed probe verifies"), (False, "does not verify")])
def test_a_verifier_that_always_says_the_same_is_found(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, answer: bool, told: str
) -> None:
    SigningKeys(settings.signing_dir).current()
    monkeypatch.setattr(selftest, "is_signed", lambda _: answer)
    check = signing(settings, None)
    assert isinstance(check, SelfTestCheck)
    assert not check.ok
    assert told in check.detail


def test_a_key_that_is_not_published_is_found(settings: WorkerSettings) -> None:
    class Empty:
        def signing_keys(self) -> list[Any]:
            return []

    SigningKeys(settings.signing_dir).current()
    check = signing(settings, Empty())  # type: ignore[arg-type]
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
