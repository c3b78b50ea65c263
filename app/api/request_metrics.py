"""Counters of the requests that one API process has answered since it started."""

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics

_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class RequestMetrics:
    """Counts requests by route template and status, so that the number of series has a bound."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a second series for each, which nothing reads
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "certrad_http_requests",
            "Requests that this API process has answered",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "certrad_http_request_seconds",
            "Seconds until the answer to a request began",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )

        self._refusals = Counter(
            "certrad_http_upload_refusals",
            "Requests with images that this API process has answered with an error, so that there is no job",
            ["code"],
            registry=self.registry,
        )

    def observe(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Counts one request.

        Args:
            method: Its method, one of a known set.
            route: Template of its route.
            status: Status of the answer; 0 if the client left before there was one.
            seconds: Time until the answer began.
        """
        self._requests.labels(method=method, route=route, status=str(status)).inc()
        self._seconds.labels(method=method, route=route).observe(seconds)

    def refuse_upload(self, code: str) -> None:
        """Counts one upload that made no job.

        Args:
            code: The code of the problem, one of `certrad.models.errors.PROBLEMS`.
        """
        self._refusals.labels(code=code).inc()
