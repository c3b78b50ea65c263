"""The objects a route can depend on: settings, jobs, cards, keys and the two Redis clients of this process."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Self, cast

from anyio import CapacityLimiter
from fastapi import Depends, Request
from prometheus_client import CollectorRegistry
from redis import Redis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio import Redis as AsyncRedis
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from certrad.app.api.estimates import Estimates
from certrad.app.api.events import Source
from certrad.app.api.jobs import Jobs
from certrad.app.api.monitoring import registry
from certrad.app.api.news import News
from certrad.app.api.rates import Rates
from certrad.app.api.request_metrics import RequestMetrics
from certrad.app.api.schemas.job import JobView, job_view
from certrad.app.api.sessions import Sessions
from certrad.app.settings import ApiSettings
from certrad.workers.contract.access_keys import AccessKeys
from certrad.workers.contract.assessments import Assessments
from certrad.workers.contract.audit import open_trail
from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.certificate_owners import CertificateOwners
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.redis_access import redis_options

_RETRIES = 2  # a restart of Redis in between is bridged, an outage is answered with 503 soon
_BACKOFF_SECONDS = 0.05
_CONNECTIONS = 16  # of the asynchronous client: one for the news, the others for commands that answer at once


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """The objects that one API process holds as long as it lives."""

    settings: ApiSettings
    redis: Redis
    events: Source
    jobs: Jobs
    estimates: Estimates
    catalogue: Catalogue
    keyring: Keyring
    audit: AuditTrail
    assessments: Assessments
    verifying: CapacityLimiter
    access_keys: AccessKeys
    sessions: Sessions
    rates: Rates
    owners: CertificateOwners
    clock: Callable[[], float] = time.time
    requests: RequestMetrics
    metrics: CollectorRegistry

    @classmethod
    def build(cls, settings: ApiSettings) -> Self:
        """Returns the services with clients that connect at their first use."""
        backoff = ConstantBackoff(_BACKOFF_SECONDS)
        redis = Redis.from_url(
            **redis_options(settings),
            socket_timeout=settings.redis_timeout,
            retry=Retry(backoff, _RETRIES),
            protocol=2,
        )
        pool = BlockingConnectionPool.from_url(  # a request that finds all its connections in use waits for one
            **redis_options(settings),
            max_connections=_CONNECTIONS,
            timeout=None,
            socket_timeout=settings.redis_timeout,
            socket_connect_timeout=settings.redis_timeout,
            retry=AsyncRetry(backoff, _RETRIES),
            protocol=2,
        )
        async_redis = AsyncRedis.from_pool(pool)
        audit, assessments, requests = (
            open_trail(settings, redis),
            Assessments(settings.assessments_dir),
            RequestMetrics(),
        )
        access_keys = AccessKeys(settings.access_dir)
        return cls(
            settings=settings,
            redis=redis,
            events=Source(redis=async_redis, news=News(async_redis)),
            jobs=Jobs(redis, settings),
            estimates=Estimates(
                redis,
                tuning_slice_seconds=settings.tuning_slice_seconds,
                share_seconds=settings.share_seconds,
            ),
            catalogue=Catalogue(redis),
            keyring=Keyring(redis),
            audit=audit,
            assessments=assessments,
            verifying=CapacityLimiter(1),
            requests=requests,
            metrics=registry(redis, audit, assessments, requests),
            access_keys=access_keys,
            sessions=Sessions(redis=async_redis, keys=access_keys, seconds=settings.session_seconds),
            rates=Rates(async_redis, settings),
            owners=CertificateOwners(settings.owners_dir),
        )

    def job_view(self, record: JobRecord) -> JobView:
        """Returns a job as a client receives it, with its estimate.

        Args:
            record: The record of the job.
        """
        return job_view(record, self.estimates.of(record))

    async def close(self) -> None:
        """Closes both clients."""
        self.redis.close()
        await self.events.news.close()
        await self.events.redis.aclose()


def services(request: Request) -> Services:
    """Returns the services of the app that received the request."""
    return cast("Services", request.app.state.services)


ServicesDep = Annotated[Services, Depends(services)]
