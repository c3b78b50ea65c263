"""Prometheus metrics, read from Redis at scrape time, so that every API process shows the whole installation."""

from collections.abc import Iterator
from typing import Final, cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis

from certrad.workers.contract.job_store import read_memory
from certrad.workers.contract.names import ACTIVE, JOBS, UNSTAMPED
from certrad.workers.contract.queues import QUEUES, alive_workers, stage_counts

_STAGES: Final = {
    "waiting": "Stages of jobs waiting for a worker",
    "running": "Stages of jobs a worker has",
    "failed": "Stages of jobs whose worker gave up",
}


class InstallationCollector(Collector):
    """Collects the metrics of jobs, queues and workers."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def collect(self) -> Iterator[Metric]:
        """Yields the gauges with their values at this moment."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcard(ACTIVE)
            pipe.zcard(JOBS)
            pipe.scard(UNSTAMPED)
            active, known, unstamped = cast("list[int]", pipe.execute())
        counts, memory = stage_counts(self._redis), read_memory(self._redis)
        yield GaugeMetricFamily("certrad_job_store_used_bytes", "Memory that the job store uses", value=memory.used)
        yield GaugeMetricFamily(
            "certrad_job_store_max_bytes", "Memory that the job store may use; 0: no bound", value=memory.bound or 0
        )
        yield GaugeMetricFamily("certrad_jobs_active", "Jobs queued or running", value=active)
        yield GaugeMetricFamily("certrad_jobs_listed", "Jobs in the list, ended ones included", value=known)
        yield GaugeMetricFamily(
            "certrad_certificates_without_time_stamp",
            "Certificates whose time stamp the authority has not given yet",
            value=unstamped,
        )
        for name, words in _STAGES.items():
            family = GaugeMetricFamily(f"certrad_stages_{name}", words, labels=["queue"])
            for queue, of_queue in counts.items():
                family.add_metric([queue], getattr(of_queue, name))
            yield family
        workers = GaugeMetricFamily("certrad_workers", "Workers with a heartbeat", labels=["queue"])
        for queue in QUEUES:
            workers.add_metric([queue], len(alive_workers(self._redis, queue)))
        yield workers

    def describe(self) -> list[Metric]:
        """Returns no metric in advance, because registering must not need Redis."""
        return []


def registry(redis: Redis) -> CollectorRegistry:
    """Returns the registry with the metrics of this installation."""
    made = CollectorRegistry()
    made.register(InstallationCollector(redis))
    return made
