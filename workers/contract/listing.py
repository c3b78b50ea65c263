"""The lists of jobs: those of each tenant, and those of all."""

from collections.abc import Callable
from typing import cast

from redis import Redis

from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.job import JobRecord, Page
from certrad.workers.contract.names import ACTIVE, JOBS, TENANTS, active_of, jobs_of, record_key, urgent_key


class Listing:
    """Reads the lists of jobs, and keeps them free of records that are gone."""

    def __init__(
        self, redis: Redis, *, ttl: int, read: Callable[[str], JobRecord | None], clock: Callable[[], float]
    ) -> None:
        """Sets the job store.

        Args:
            redis: The job store.
            ttl: Seconds that a record is kept after its job has ended.
            read: Returns the record of a job, or None if there is none that this version reads.
            clock: Seconds since 1970.
        """
        self._redis = redis
        self._ttl = ttl
        self._read = read
        self._clock = clock

    def active(self) -> list[str]:
        """Returns the ids of the jobs of all tenants that have not ended, oldest first."""
        return [member.decode() for member in cast("list[bytes]", self._redis.zrange(ACTIVE, 0, -1))]

    def page(self, *, tenant: str, before: float, limit: int) -> Page:
        """Returns the newest records of a tenant created before a time, without expired and unreadable ones.

        Args:
            tenant: The tenant.
            before: Seconds since 1970, exclusive.
            limit: The number of jobs to read at most.
        """
        listed = cast(
            "list[tuple[bytes, float]]",
            self._redis.zrevrangebyscore(jobs_of(tenant), f"({before!r}", "-inf", start=0, num=limit, withscores=True),
        )
        records = (self._read(job_id.decode()) for job_id, _ in listed)
        return Page(
            records=tuple(record for record in records if record is not None),
            following=listed[-1][1] if len(listed) == limit else None,
        )

    def remove(self, job_id: str) -> None:
        """Removes a job from every list; its record may be gone, so that nothing says whose it was."""
        for key in (
            JOBS,
            ACTIVE,
            *(of(tenant) for tenant in self._tenants() for of in (jobs_of, active_of, urgent_key)),
        ):
            self._redis.zrem(key, job_id)

    def forget_expired(self) -> None:
        """Removes the jobs whose record has expired."""
        before = self._clock() - self._ttl
        for key in (JOBS, *map(jobs_of, self._tenants())):
            old = cast("list[bytes]", self._redis.zrangebyscore(key, "-inf", before))
            if gone := [job_id for job_id in old if not self._redis.exists(record_key(job_id.decode()))]:
                self._redis.zrem(key, *gone)

    def _tenants(self) -> list[str]:
        known = {member.decode() for member in cast("set[bytes]", self._redis.smembers(TENANTS))}
        return sorted(known | {LOCAL_TENANT})
