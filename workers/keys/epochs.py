"""The secrets behind the noise keys: one in use, retired ones for jobs that began with them, and revealed ones."""

import hashlib
import os
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from certrad.models.files import create_file, replace_file
from certrad.workers.contract.keyring import Keyring

SECRET_BYTES: Final = 32

_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Epoch:
    """One secret. Its SHA-256 is public before it draws any noise, and the secret itself never while it is in use."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) < SECRET_BYTES:
            raise ValueError(f"an epoch secret must have at least {SECRET_BYTES} bytes, got {len(self.secret)}")

    @property
    def sha256(self) -> str:
        """The public commitment to the secret."""
        return hashlib.sha256(self.secret).hexdigest()


@dataclass(frozen=True, slots=True)
class EpochSecrets:
    """The folder of the secrets, which only engines have.

    `epoch` is the secret in use, read again for every job, so that a new one needs no restart. `kept/` has every secret
    since the first rotation, named by its SHA-256: a job that began with one ends with it. `revealed/` has those that
    anyone may know.
    """

    directory: Path

    def current(self) -> Epoch:
        """The secret that new jobs draw with, made at first use; engines that start at once agree on one.

        Raises OSError when the disk refuses, ValueError when the file is too short.
        """
        if not self._current.exists():
            create_file(self._current, os.urandom(SECRET_BYTES))
        return Epoch(self._current.read_bytes())

    def in_use(self) -> Epoch | None:
        """The secret that new jobs draw with, if an engine has ever made or been given one."""
        return self.current() if self._current.exists() else None

    def named(self, sha256: str) -> Epoch | None:
        """The secret with this SHA-256, in use or not; None if it is not here."""
        if not _SHA256.fullmatch(sha256):
            return None
        for path in (self._current, self._kept / sha256, self._revealed / sha256):
            with suppress(FileNotFoundError):
                if (epoch := Epoch(path.read_bytes())).sha256 == sha256:
                    return epoch
        return None

    def rotate(self) -> Epoch:
        """Retires the secret in use and returns the new one.

        Raises FileNotFoundError when no secret was ever used here, OSError when the disk refuses.
        """
        former, new = Epoch(self._current.read_bytes()), Epoch(os.urandom(SECRET_BYTES))
        for epoch in (former, new):  # the new one too: it must outlive another rotation at the same time
            create_file(self._kept / epoch.sha256, epoch.secret)
        replace_file(self._current, new.secret)
        return new

    def reveal(self, sha256: str) -> Epoch:
        """Makes a retired secret one that anyone may know; doing so twice is harmless.

        Raises ValueError for the one in use, which would let anyone foresee the noise, and for one that is not here.
        """
        epoch = self.named(sha256)
        if epoch is None or epoch == self.in_use():
            raise ValueError(f"the SHA-256 of a retired epoch secret is expected, got {sha256!r}")
        create_file(self._revealed / sha256, epoch.secret)
        (self._kept / sha256).unlink(missing_ok=True)
        return epoch

    def retired(self) -> list[Epoch]:
        """The secrets no longer in use that are not revealed."""
        return [epoch for epoch in _all_in(self._kept) if epoch != self.in_use()]

    def revealed(self) -> list[Epoch]:
        """The secrets anyone may know."""
        return _all_in(self._revealed)

    def publish(self, keyring: Keyring, *, clock: Callable[[], float]) -> None:
        """Commits to every secret that is here, to the one in use last, and tells the revealed ones."""
        in_use = self.in_use()
        for epoch in (*self.revealed(), *self.retired(), *([in_use] if in_use else [])):
            keyring.publish_epoch(epoch.sha256, first_used=clock())
        for epoch in self.revealed():
            keyring.reveal_epoch(epoch.sha256, epoch.secret)

    @property
    def _current(self) -> Path:
        return self.directory / "epoch"

    @property
    def _kept(self) -> Path:
        return self.directory / "kept"

    @property
    def _revealed(self) -> Path:
        return self.directory / "revealed"


def _all_in(folder: Path) -> list[Epoch]:
    return [Epoch(path.read_bytes()) for path in sorted(folder.glob("[0-9a-f]*"))]
