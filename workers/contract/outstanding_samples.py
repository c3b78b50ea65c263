"""The samples that are left to draw: an installation is scaled by them."""

from typing import cast

from redis import Redis

from certrad.workers.contract.names import ACTIVE, record_key


def count_outstanding_samples(redis: Redis) -> int:
    """Returns the samples of active certificates that are not drawn yet.

    A certificate counts with all samples that it may take: one with a target radius may stop early. A tuning has no
    samples.

    Args:
        redis: The job store.
    """
    active = cast("list[bytes]", redis.zrange(ACTIVE, 0, -1))
    with redis.pipeline(transaction=False) as pipe:
        for job_id in active:
            pipe.hmget(record_key(job_id.decode()), "samples_total", "samples_done")
        progress = cast("list[list[bytes | None]]", pipe.execute())
    return sum(max(0, int(total) - int(done or 0)) for total, done in progress if total is not None)
