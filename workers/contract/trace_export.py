"""How spans leave a process: by OTLP/HTTP, with attributes of a known list only.

It imports OpenTelemetry, so only `tracing.configure` imports it.
"""

import os
from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import SpanContext, Status
from pydantic import SecretStr

from certrad.workers.contract.collector_headers import read_headers

ALLOWED: Final = frozenset(
    {
        "http.request.method",
        "http.response.status_code",
        "http.route",
        "url.scheme",
        "error.type",
        "network.protocol.name",
        "network.protocol.version",
        "certrad.blocks",
        "certrad.first_sample",
        "certrad.job_id",
        "certrad.phase",
        "certrad.request_id",
        "certrad.samples",
        "certrad.stage",
        "certrad.tenant",
    }
)
"""Attributes that leave the process. FastAPI's spans also have the path and the query, which may name a patient."""

_TIMEOUT_SECONDS: Final = 2.0
_TIMEOUTS: Final = ("OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT")


class AllowedAttributes(SpanExporter):
    """Hands on spans without events, texts of errors, trace states of clients, and attributes that are not allowed."""

    def __init__(self, inner: SpanExporter) -> None:
        self._inner = inner

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Sends some spans."""
        return self._inner.export([_reduced(span) for span in spans])

    def shutdown(self) -> None:
        """Ends the connection."""
        self._inner.shutdown()

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Sends what waits."""
        return self._inner.force_flush(timeout_millis)


class EndOfStageProcessor(SpanProcessor):
    """Keeps spans until they are asked for, without a thread: a process that forks must have none."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._ended: list[ReadableSpan] = []

    def on_end(self, span: ReadableSpan) -> None:
        """Keeps a span, if it is to be sent at all."""
        if span.context is not None and span.context.trace_flags.sampled:
            self._ended.append(span)

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Sends the spans; those that cannot be sent are lost."""
        ended, self._ended = self._ended, []
        return not ended or self._exporter.export(ended) is SpanExportResult.SUCCESS


def make_provider(process: str, *, in_background: bool, headers: SecretStr | None = None) -> TracerProvider:
    """Returns what makes the spans of a process.

    Args:
        process: The name of the process.
        in_background: See `certrad.workers.contract.tracing.configure`.
        headers: See there.
    """
    resource = Resource.create({"service.name": f"certrad-{process}", "service.version": version("certrad")})
    chosen = any(os.environ.get(name) for name in _TIMEOUTS)
    own = None if headers is None else read_headers(headers.get_secret_value())
    exporter = AllowedAttributes(OTLPSpanExporter(headers=own, timeout=None if chosen else _TIMEOUT_SECONDS))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter) if in_background else EndOfStageProcessor(exporter))
    return provider


def _reduced(span: ReadableSpan) -> ReadableSpan:
    return ReadableSpan(
        name=span.name,
        context=None if span.context is None else _without_state(span.context),
        parent=None if span.parent is None else _without_state(span.parent),
        resource=span.resource,
        attributes={name: value for name, value in (span.attributes or {}).items() if name in ALLOWED},
        kind=span.kind,
        status=Status(span.status.status_code),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def _without_state(context: SpanContext) -> SpanContext:
    return SpanContext(context.trace_id, context.span_id, context.is_remote, context.trace_flags)
