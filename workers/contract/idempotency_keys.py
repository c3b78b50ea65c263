"""The Idempotency-Key that created a job: its record names it, so that an erasure of the job forgets the key too."""

from collections.abc import Mapping
from typing import Final, cast

from redis import Redis

from certrad.workers.contract.names import idempotency_key, record_key

_FIELD: Final = "replay_key"

# KEYS the Idempotency-Key's; ARGV job. The key may have expired, and have created another job since.
_FORGET: Final = """
if redis.call('HGET', KEYS[1], 'job') == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
"""


def idempotency_field(key_sha256: str | None) -> Mapping[str, str]:
    """Returns the field of a job's record that names its Idempotency-Key; empty for a job without one.

    Args:
        key_sha256: SHA-256 of the Idempotency-Key.
    """
    return {} if key_sha256 is None else {_FIELD: key_sha256}


def forget_idempotency_key(redis: Redis, job_id: str) -> None:
    """Forgets the Idempotency-Key that created a job, with the digest of its upload; call it while the record is there.

    Args:
        redis: The job store.
        job_id: The job's id.

    Raises:
        RedisError: The job store does not answer.
    """
    key_sha256 = cast("bytes | None", redis.hget(record_key(job_id), _FIELD))
    if key_sha256 is not None:
        redis.eval(_FORGET, 1, idempotency_key(key_sha256.decode()), job_id)
