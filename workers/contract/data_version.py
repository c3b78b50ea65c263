"""The version of what a release leaves in the data directory and in Redis, and the way from a former one to it.

Every process asks at its start. It goes on with data of its own version, migrates those of a former one, and refuses
any other before it has changed anything.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version as version_of
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, cast

from redis import Redis

from certrad.models.files import replace_file
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.exit_codes import OTHER_DATA, RefusalError
from certrad.workers.contract.names import ACTIVE, JOBS, VERSION, record_key

DATA_VERSION: Final = 2
"""The version that this release writes: 1 is what release 0.1 left, which wrote no version."""
FIRST_VERSION: Final = 1
FILE_NAME: Final = "version.json"
_LOCK_NAME: Final = ".version.lock"


class DataVersionError(RefusalError):
    """The data are of a version that this release does not know; nothing was changed."""

    def __init__(self, place: str, found: str, written_by: str) -> None:
        """Says what to do.

        Args:
            place: Where the data are.
            found: The version that was found.
            written_by: The release that wrote it, or an empty text.
        """
        release = f"release {written_by}" if written_by else "the release that wrote them"
        super().__init__(
            f"{place} is of data version {found}, and this release ({_release()}) knows versions up to {DATA_VERSION}: "
            f"install {release} or a later one, or restore a backup made before the upgrade; nothing was changed",
            OTHER_DATA,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """The step to a version from the one before. Done twice, as after a kill, it must leave what it leaves once.

    Attributes:
        meaning: What it does, for the documentation.
        directory: Changes the data directory; it runs under a lock.
        store: Lua that changes Redis, in one step with the mark of the version. It may use `ARGV[3]`, `ARGV[4]` and so
            on, which are `arguments`.
        arguments: See `store`.
    """

    meaning: str
    directory: Callable[[Path], None] = lambda _: None
    store: str = ""
    arguments: tuple[str, ...] = ()


_LISTS_OF_TENANTS: Final = """
for _, list in ipairs({ARGV[3], ARGV[4]}) do
  local members = redis.call('ZRANGE', list, 0, -1, 'WITHSCORES')
  for at = 1, #members, 2 do
    local record = ARGV[5] .. members[at]
    if redis.call('EXISTS', record) == 1 and redis.call('HEXISTS', record, 'tenant') == 0 then
      redis.call('ZADD', list .. ':of:' .. ARGV[6], members[at + 1], members[at])
    end
  end
end
"""

MIGRATIONS: Final[Mapping[int, Migration]] = MappingProxyType(
    {
        2: Migration(
            meaning="jobs of a release without tenants stand in the lists of the tenant `local`",
            store=_LISTS_OF_TENANTS,
            arguments=(JOBS, ACTIVE, record_key(""), LOCAL_TENANT),
        )
    }
)
"""The migration to each version from the one before."""

# KEYS version; ARGV the version to reach, this release, arguments of the migration. Redis runs nothing else meanwhile,
# and the mark comes last: a script that a full memory stopped runs again at the next start.
_MIGRATE: Final = """
if tonumber(redis.call('HGET', KEYS[1], 'version') or '1') >= tonumber(ARGV[1]) then return 0 end
{body}
redis.call('HSET', KEYS[1], 'version', ARGV[1], 'release', ARGV[2])
return 1
"""


def require_directory(data_dir: Path) -> None:
    """Refuses a data directory of a version that this release does not know; it changes nothing.

    Args:
        data_dir: The data directory, which need not exist.

    Raises:
        DataVersionError: Its version is unknown.
    """
    _directory_version(data_dir)


def open_directory(data_dir: Path) -> None:
    """Makes a data directory one of this version: a new one is marked, a former one is migrated.

    Args:
        data_dir: The data directory, which need not exist.

    Raises:
        DataVersionError: Its version is unknown; it is as it was.
        OSError: The disk refuses.
    """
    if _directory_version(data_dir) == DATA_VERSION:
        return
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with _locked(data_dir / _LOCK_NAME):
        for number in range(_directory_version(data_dir) + 1, DATA_VERSION + 1):
            MIGRATIONS[number].directory(data_dir)
            content = {"version": number, "release": _release()}
            replace_file(data_dir / FILE_NAME, json.dumps(content).encode() + b"\n")


def require_store(redis: Redis) -> None:
    """Refuses a job store of a version that this release does not know; it changes nothing.

    Args:
        redis: The job store.

    Raises:
        DataVersionError: Its version is unknown.
        RedisError: It does not answer.
    """
    _store_version(redis)


def open_store(redis: Redis) -> None:
    """Makes a job store one of this version: a new one is marked, a former one is migrated.

    Args:
        redis: The job store.

    Raises:
        DataVersionError: Its version is unknown; it is as it was.
        RedisError: It does not answer.
    """
    for number in range(_store_version(redis) + 1, DATA_VERSION + 1):
        migration = MIGRATIONS[number]
        script = _MIGRATE.replace("{body}", migration.store)
        redis.eval(script, 1, VERSION, str(number), _release(), *migration.arguments)


def _directory_version(data_dir: Path) -> int:
    try:
        stored: Any = json.loads((data_dir / FILE_NAME).read_bytes())
    except FileNotFoundError:
        return FIRST_VERSION
    except ValueError:
        stored = None
    known = stored if isinstance(stored, dict) else {}
    return _known(f"the data directory {data_dir}", known.get("version"), str(known.get("release", "")))


def _store_version(redis: Redis) -> int:
    found, release = cast("list[bytes | None]", redis.hmget(VERSION, "version", "release"))
    if found is None:
        return FIRST_VERSION
    text = found.decode(errors="replace")
    return _known("Redis", int(text) if text.isascii() and text.isdigit() else text, (release or b"").decode())


def _known(place: str, found: object, written_by: str) -> int:
    if isinstance(found, int) and FIRST_VERSION <= found <= DATA_VERSION:
        return found
    raise DataVersionError(place, str(found), written_by)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Keeps every other process out of the migration of a folder; a process that dies lets go."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _release() -> str:
    return version_of("certrad")
