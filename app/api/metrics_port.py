"""Metrics on a port of their own, which an installation can open to its monitoring system and to nobody else."""

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, start_http_server

from certrad.app.settings import ApiSettings


@contextmanager
def metrics_on_own_port(settings: ApiSettings, metrics: CollectorRegistry) -> Iterator[None]:
    """Serves the metrics on `CERTRAD_METRICS_PORT` within it, if that is set.

    Args:
        settings: Name the address.
        metrics: The metrics, which are collected anew for each scrape.

    Raises:
        OSError: Nobody can listen on the address.
    """
    if settings.metrics_port is None:
        yield
        return
    server, thread = start_http_server(settings.metrics_port, settings.metrics_host, metrics)
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
