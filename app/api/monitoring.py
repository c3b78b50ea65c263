"""Prometheus metrics, read from Redis at scrape time, so that every API process shows the whole installation."""

from collections.abc import Iterator
from typing import cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis

from certrad.workers.contract.names import ACTIVE, JOBS
from certrad.workers.contract.queues import QUEUES, alive_workers


class InstallationCollector(Collector):
    """Jobs, queues and workers. Only lengths are read: RQ's own counters clean up, and so change, what they count."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def collect(self) -> Iterator[Metric]:
        """One gauge each, at this moment."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcard(ACTIVE)
            pipe.zcard(JOBS)
            for queue in QUEUES:
                pipe.llen(f"rq:queue:{queue}")
                pipe.zcard(f"rq:wip:{queue}")
                pipe.zcard(f"rq:failed:{queue}")
            active, known, *lengths = cast("list[int]", pipe.execute())
        yield GaugeMetricFamily("certrad_jobs_active", "Jobs queued or running", value=active)
        yield GaugeMetricFamily("certrad_jobs_listed", "Jobs in the list, ended ones included", value=known)
        for offset, (name, words) in enumerate(
            {
                "waiting": "Stages of jobs waiting for a worker",
                "running": "Stages of jobs a worker has",
                "failed": "Stages of jobs whose worker gave up",
            }.items()
        ):
            family = GaugeMetricFamily(f"certrad_stages_{name}", words, labels=["queue"])
            for index, queue in enumerate(QUEUES):
                family.add_metric([queue], lengths[3 * index + offset])
            yield family
        workers = GaugeMetricFamily("certrad_workers", "Workers with a heartbeat", labels=["queue"])
        for queue in QUEUES:
            workers.add_metric([queue], len(alive_workers(self._redis, queue)))
        yield workers

    def describe(self) -> list[Metric]:
        """Nothing in advance: registering must not need Redis."""
        return []


def registry(redis: Redis) -> CollectorRegistry:
    """The metrics of this installation."""
    made = CollectorRegistry()
    made.register(InstallationCollector(redis))
    return made
