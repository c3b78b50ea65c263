"""The API keys of an installation, in a file of the data directory that holds their digests and no key.

Write access to Redis is not enough to make a key, and the file alone is not enough to use one.
"""

import fcntl
import hashlib
import hmac
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from certrad.models.files import replace_file
from certrad.workers.contract.access import SCOPES, TENANT_FORM, Caller, Scope, is_tenant

MOST_KEYS_IN_USE: Final = 2
"""Keys of a tenant with the same scopes that may be in use at once: the old one, and the one that replaces it."""

_PREFIX: Final = "certrad"
_ID_BYTES: Final = 6
_SECRET_BYTES: Final = 32
_VERSION: Final = 1
_NOBODY: Final = hashlib.sha256(secrets.token_bytes(_SECRET_BYTES)).hexdigest()

Fingerprint = tuple[int, int, int]


class KeyFileError(Exception):
    """The file of the keys cannot be read: nobody is let in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """What is kept of a key.

    Attributes:
        id: Public id of the key, which it begins with.
        tenant: The tenant that it speaks for.
        scopes: What it may do, sorted.
        sha256: SHA-256 of the key, in hexadecimal.
        created_at: Seconds since 1970.
        expires_at: Seconds since 1970 from which on it is refused; None for never.
        revoked_at: Seconds since 1970; None for a key that was not revoked.
    """

    id: str
    tenant: str
    scopes: tuple[Scope, ...]
    sha256: str
    created_at: float
    expires_at: float | None = None
    revoked_at: float | None = None

    def is_live(self, now: float) -> bool:
        """Returns whether the key is let in at a time.

        Args:
            now: Seconds since 1970.
        """
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)

    @property
    def caller(self) -> Caller:
        """Returns who calls with this key."""
        return Caller(tenant=self.tenant, scopes=frozenset(self.scopes), key_id=self.id)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewKey:
    """A key that was just made.

    Attributes:
        kept: What is kept of it.
        secret: The key itself, which nothing can show again.
    """

    kept: AccessKey
    secret: str


class AccessKeys:
    """The keys of one folder; several processes may read and change them."""

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        """Sets the folder, which the first key makes.

        Args:
            directory: The folder.
            clock: Seconds since 1970.
        """
        self._path = directory / "keys.json"
        self._lock_path = directory / "lock"
        self._clock = clock
        self._thread = threading.Lock()
        self._seen: Fingerprint | None = None
        self._by_id: dict[str, AccessKey] = {}

    def add(self, tenant: str, scopes: Sequence[Scope]) -> NewKey:
        """Makes a key, writes its digest to the disk and returns it.

        Args:
            tenant: The tenant that it speaks for.
            scopes: What it may do.

        Raises:
            ValueError: The tenant or the scopes are none, or two keys like it are in use.
            KeyFileError: The file cannot be read.
            OSError: The disk refuses.
        """
        if not is_tenant(tenant):
            raise ValueError(f"a tenant must be {TENANT_FORM}, got {tenant!r}")
        if not scopes or (unknown := sorted(set(scopes) - set(SCOPES))):
            raise ValueError(
                f"scopes must be one or more of {', '.join(SCOPES)}" + (f"; got {unknown}" if scopes else "")
            )
        with self._change() as keys:
            return self._new(keys, tenant, tuple(sorted(set(scopes))))

    def rotate(self, key_id: str, *, overlap: float | None = None) -> NewKey:
        """Makes a key for the same tenant and scopes and returns it; the old one stays in use beside it.

        Args:
            key_id: Id of the old key.
            overlap: Seconds after which the old key is refused; None: once it is revoked.

        Raises:
            ValueError: No key in use has this id, or two keys like it are in use.
            KeyFileError: The file cannot be read.
            OSError: The disk refuses.
        """
        with self._change() as keys:
            old = self._in_use(keys, key_id)
            made = self._new(keys, old.tenant, old.scopes)
            if overlap is not None:
                keys[old.id] = replace(old, expires_at=min(self._clock() + overlap, old.expires_at or float("inf")))
            return made

    def revoke(self, key_id: str) -> AccessKey:
        """Revokes a key and returns it.

        Args:
            key_id: Id of the key.

        Raises:
            ValueError: No key in use has this id.
            KeyFileError: The file cannot be read.
            OSError: The disk refuses.
        """
        with self._change() as keys:
            keys[key_id] = replace(self._in_use(keys, key_id), revoked_at=self._clock())
            return keys[key_id]

    def all(self) -> tuple[AccessKey, ...]:
        """Returns every key by its age, with those that are refused.

        Raises:
            KeyFileError: The file cannot be read.
        """
        self._refresh()
        return tuple(sorted(self._by_id.values(), key=lambda key: (key.created_at, key.id)))

    def of(self, secret: str) -> AccessKey | None:
        """Returns the key in use that a client presented, or None.

        The id finds the digest, and the digests are compared in constant time. An unknown id costs the same.

        Args:
            secret: What a client sent.

        Raises:
            KeyFileError: The file cannot be read.
        """
        presented = hashlib.sha256(secret.encode("utf-8", "surrogateescape")).hexdigest()
        known = self.live(secret.split("_", 2)[1] if secret.count("_") >= 2 else "")
        is_right = hmac.compare_digest(presented, _NOBODY if known is None else known.sha256)
        return known if is_right else None

    def live(self, key_id: str) -> AccessKey | None:
        """Returns the key in use that has this id.

        Args:
            key_id: The id.

        Raises:
            KeyFileError: The file cannot be read.
        """
        self._refresh()
        key = self._by_id.get(key_id)
        return key if key is not None and key.is_live(self._clock()) else None

    def _in_use(self, keys: dict[str, AccessKey], key_id: str) -> AccessKey:
        key = keys.get(key_id)
        if key is None or not key.is_live(self._clock()):
            raise ValueError(f"no key in use has the id {key_id!r}; `certrad access list` shows them")
        return key

    def _new(self, keys: dict[str, AccessKey], tenant: str, scopes: tuple[Scope, ...]) -> NewKey:
        now = self._clock()
        alike = [key.id for key in keys.values() if (key.tenant, key.scopes) == (tenant, scopes) and key.is_live(now)]
        if len(alike) >= MOST_KEYS_IN_USE:
            raise ValueError(
                f"{tenant} has {MOST_KEYS_IN_USE} keys in use with these scopes, {' and '.join(alike)}: "
                "revoke one first"
            )
        key_id = secrets.token_hex(_ID_BYTES)
        secret = f"{_PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        sha256 = hashlib.sha256(secret.encode()).hexdigest()
        kept = AccessKey(id=key_id, tenant=tenant, scopes=scopes, sha256=sha256, created_at=now)
        keys[key_id] = kept
        return NewKey(kept=kept, secret=secret)

    @contextmanager
    def _change(self) -> Iterator[dict[str, AccessKey]]:
        """Yields the keys for a change, which is written when the block ends; other processes wait meanwhile."""
        self._lock_path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._lock_path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            keys = self._read()
            yield keys
            content = {"version": _VERSION, "keys": [asdict(key) for key in keys.values()]}
            replace_file(self._path, json.dumps(content, indent=1).encode() + b"\n")
        finally:
            os.close(descriptor)

    def _refresh(self) -> None:
        """Reads the file again if it is another one than the last time."""
        with self._thread:
            now = self._fingerprint()
            if now != self._seen:
                self._by_id = self._read()
                self._seen = now

    def _fingerprint(self) -> Fingerprint | None:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise KeyFileError(f"{self._path}: {error.strerror}") from error
        return (found.st_ino, found.st_mtime_ns, found.st_size)

    def _read(self) -> dict[str, AccessKey]:
        try:
            return {key.id: key for key in map(_key, json.loads(self._path.read_bytes())["keys"])}
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise KeyFileError(f"{self._path}: {error.strerror}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise KeyFileError(f"{self._path} is no file of keys that this version reads") from error


def _key(stored: dict[str, Any]) -> AccessKey:
    key = AccessKey(**{**stored, "scopes": tuple(stored["scopes"])})
    if not is_tenant(key.tenant) or set(key.scopes) - set(SCOPES):
        raise ValueError(key.id)
    return key
