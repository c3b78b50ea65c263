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
        """Returns the public commitment to the secret."""
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
        """Returns the secret of new jobs, which its first use creates; engines that start at once agree on one.

        Raises:
            OSError: The disk refuses.
            ValueError: The file is too short.
        """
        if not self._current.exists():
            create_file(self._current, os.urandom(SECRET_BYTES))
        return Epoch(self._current.read_bytes())

    def in_use(self) -> Epoch | None:
        """Returns the secret of new jobs; None if no engine has ever created one."""
        return self.current() if self._current.exists() else None

    def named(self, sha256: str) -> Epoch | None:
        """Returns the secret with this SHA-256, in use or not; None if it is not here."""
        if not _SHA256.fullmatch(sha256):
            return None
        for path in (self._current, self._kept / sha256, self._revealed / sha256):
            with suppress(FileNotFoundError):
                if (epoch := Epoch(path.read_bytes())).sha256 == sha256:
                    return epoch
        return None

    def rotate(self) -> Epoch:
        """Retires the secret in use.

        Returns:
            The new secret.

        Raises:
            FileNotFoundError: No secret was ever used here.
            OSError: The disk refuses.
        """
        former, new = Epoch(self._current.read_bytes()), Epoch(os.urandom(SECRET_BYTES))
        for epoch in (former, new):  # the new one too: it must outlive another rotation at the same time
            create_file(self._kept / epoch.sha256, epoch.secret)
        replace_file(self._current, new.secret)
        return new

    def reveal(self, sha256: str) -> Epoch:
        """Makes a retired secret one that anyone may know; a second call is harmless.

        Args:
            sha256: The SHA-256 of the secret, in hexadecimal.

        Returns:
            The secret.

        Raises:
            ValueError: The secret is in use, so that anyone could foresee the noise, or it is not here.
        """
        epoch = self.named(sha256)
        if epoch is None or epoch == self.in_use():
            raise ValueError(f"the SHA-256 must be that of a retired epoch secret; got {sha256!r}")
        create_file(self._revealed / sha256, epoch.secret)
        (self._kept / sha256).unlink(missing_ok=True)
        return epoch

    def retired(self) -> list[Epoch]:
        """Returns the secrets that are no longer in use and not revealed."""
        return [epoch for epoch in _all_in(self._kept) if epoch != self.in_use()]

    def revealed(self) -> list[Epoch]:
        """Returns the secrets that anyone may know."""
        return _all_in(self._revealed)

    def publish(self, keyring: Keyring, *, clock: Callable[[], float]) -> None:
        """Publishes the commitment to every secret that is here, the current one last, and the revealed secrets."""
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
