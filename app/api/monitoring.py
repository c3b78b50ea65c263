"""Prometheus metrics, read from Redis at scrape time, so that every API process shows the whole installation."""

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from importlib.metadata import version
from platform import python_version
from typing import Final, cast

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis

from certrad.app.api.request_metrics import RequestMetrics
from certrad.app.api.totals_metrics import of_totals
from certrad.workers.contract.assessments import Assessments
from certrad.workers.contract.audit import count_lost
from certrad.workers.contract.audit_trail import AuditTrail
from certrad.workers.contract.engine_memory import read_memory_of_engines
from certrad.workers.contract.job_store import read_memory
from certrad.workers.contract.names import ACTIVE, CALLBACKS, ENGINE_QUEUE, JOBS, UNSTAMPED
from certrad.workers.contract.outstanding_samples import count_outstanding_samples
from certrad.workers.contract.queues import QUEUES, alive_workers, stage_counts
from certrad.workers.contract.selftest import SelfTests
from certrad.workers.contract.totals import Totals

_STAGES: Final = {
    "waiting": "Stages of jobs waiting for a worker",
    "running": "Stages of jobs a worker has",
    "failed": "Stages of jobs whose worker gave up",
}


_HELP_OF_MEMORY: Final = "Memory of an engine: `allocated` and `reserved` on its accelerator, else `resident`"


class InstallationCollector(Collector):
    """Collects the metrics of jobs, queues and workers."""

    def __init__(self, redis: Redis, trail: AuditTrail, assessments: Assessments) -> None:
        self._redis = redis
        self._trail = trail
        self._assessments = assessments

    def collect(self) -> Iterator[Metric]:
        """Yields the gauges with their values at this moment."""
        with self._redis.pipeline(transaction=False) as pipe:
            pipe.zcard(ACTIVE)
            pipe.zcard(JOBS)
            pipe.scard(UNSTAMPED)
            pipe.zcard(CALLBACKS)
            active, known, unstamped, unsent = cast("list[int]", pipe.execute())
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
        yield GaugeMetricFamily("certrad_callbacks_waiting", "Ended jobs whose callback is not sent yet", value=unsent)
        yield GaugeMetricFamily(
            "certrad_selftests_failed",
            "Workers that take no work because their self-test failed within the last hour",
            value=len(SelfTests(self._redis).failures()),
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
        yield GaugeMetricFamily(
            "certrad_samples_outstanding",
            "Samples of active certificates that are not drawn yet, at most",
            value=count_outstanding_samples(self._redis),
        )
        yield from self._engine_memory()
        yield from of_totals(Totals(self._redis))
        yield from self._audit()
        yield from self._agreement()
        yield _build_info()

    def _engine_memory(self) -> Iterator[Metric]:
        """Yields the memory of the engines that are alive."""
        family = GaugeMetricFamily("certrad_engine_memory_bytes", _HELP_OF_MEMORY, labels=["engine", "kind"])
        alive = {worker.name for worker in alive_workers(self._redis, ENGINE_QUEUE)}
        for engine, memory in read_memory_of_engines(self._redis).items():
            for kind, size in memory.items() if engine in alive else ():
                family.add_metric([engine, kind], size)
        yield family

    def _agreement(self) -> Iterator[Metric]:
        """Yields what readers said about results; there is nothing to say where the files cannot be read."""
        labels = ["outcome", "verdict"]
        recorded = CounterMetricFamily("certrad_assessments", "Assessments that readers recorded", labels=labels)
        counting = GaugeMetricFamily(
            "certrad_assessed_certificates", "Certificates by the latest assessment of each", labels=labels
        )
        with suppress(OSError):
            for pair, count in self._assessments.totals().items():
                recorded.add_metric(pair, count)
            latest = Counter((each.outcome, each.verdict) for each in self._assessments.latest())
            for pair, count in latest.items():
                counting.add_metric(pair, count)
        yield recorded
        yield counting

    def _audit(self) -> Iterator[Metric]:
        """Yields the length of the audit trail, so that a monitoring system notes it elsewhere."""
        with suppress(OSError):
            words = "Lines of the audit trail, ones that have expired included"
            yield GaugeMetricFamily("certrad_audit_lines", words, value=self._trail.head().number)
        words = "Events of the audit trail that could not be written"
        yield CounterMetricFamily("certrad_audit_events_lost", words, value=count_lost(self._redis))

    def describe(self) -> list[Metric]:
        """Returns no metric in advance, because registering must not need Redis."""
        return []


def _build_info() -> Metric:
    info = GaugeMetricFamily(
        "certrad_build_info", "The release of this process; always 1", labels=["version", "python"]
    )
    info.add_metric([version("certrad"), python_version()], 1)
    return info


class Metrics(Collector):
    """Collects all that the API exports: the installation, and the requests of this process."""

    def __init__(self, installation: InstallationCollector, requests: RequestMetrics) -> None:
        self._installation = installation
        self._requests = requests

    def collect(self) -> Iterator[Metric]:
        """Yields every metric with its values at this moment."""
        yield from self._installation.collect()
        yield from self._requests.registry.collect()

    def describe(self) -> list[Metric]:
        """Returns no metric in advance, because registering must not need Redis."""
        return []


def registry(redis: Redis, trail: AuditTrail, assessments: Assessments, requests: RequestMetrics) -> CollectorRegistry:
    """Returns the registry with the metrics of this installation, and of the requests of this process."""
    made = CollectorRegistry()
    made.register(Metrics(InstallationCollector(redis, trail, assessments), requests))
    return made
