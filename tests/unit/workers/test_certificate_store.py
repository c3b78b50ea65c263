"""The certificate store keeps certificates and uploads for their owner alone, each whole or not at all."""

import hashlib
import os
from pathlib import Path

import pytest

from certrad.workers.certificate_store import store_certificate
from certrad.workers.contract import uploads


def test_certificate_lies_under_its_digest(tmp_path: Path) -> None:
    digest = store_certificate(tmp_path / "certificates", b'{"a":1}')
    assert digest == hashlib.sha256(b'{"a":1}').hexdigest()
    assert (tmp_path / "certificates" / f"{digest}.json").read_bytes() == b'{"a":1}'


def test_certificate_is_stored_once(tmp_path: Path) -> None:
    digest = store_certificate(tmp_path, b"document")
    before = (tmp_path / f"{digest}.json").stat()
    assert store_certificate(tmp_path, b"document") == digest
    after = (tmp_path / f"{digest}.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_failed_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        store_certificate(tmp_path, b"document")
    assert list(tmp_path.iterdir()) == []


def test_certificate_is_its_owners_only(tmp_path: Path) -> None:
    digest = store_certificate(tmp_path / "certificates", b"document")
    assert (tmp_path / "certificates").stat().st_mode & 0o077 == 0
    assert (tmp_path / "certificates" / f"{digest}.json").stat().st_mode & 0o077 == 0


def test_blob_is_read_and_deleted(tmp_path: Path) -> None:
    (tmp_path / "job-1").write_bytes(b"image")
    assert uploads.read(tmp_path, "job-1") == b"image"
    uploads.delete(tmp_path, "job-1")
    uploads.delete(tmp_path, "job-1")
    assert not (tmp_path / "job-1").exists()


@pytest.mark.parametrize("name", ["../secret", "", ".hidden", "a/b", "a\0b", "x" * 101, "-rf"])
def test_a_name_is_never_a_path(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="letters, digits and dashes"):
        uploads.read(tmp_path, name)
