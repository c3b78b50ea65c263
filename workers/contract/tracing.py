"""Traces by OpenTelemetry, from a request to the blocks of its certificate.

Without `CERTRAD_TELEMETRY` nothing here imports OpenTelemetry, and a phase or a block costs one look at a variable.
A span holds ids, names of ours and numbers: `trace_export` lets no other attribute out of the process.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from opentelemetry.context import Context
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span, Tracer
    from pydantic import SecretStr

_SINGLE_BLOCKS: Final = 8
"""Spans of one block each; those after them hold twice as many blocks each time, so that there are few."""


class TelemetryMissingError(Exception):
    """Traces are wanted, and the packages for them are not installed."""


@dataclass(slots=True)
class _Blocks:
    """The blocks of one phase, which are reported in growing groups."""

    tracer: "Tracer"
    parent: "Context"
    began: int = field(default_factory=time.time_ns)
    first: int = 0
    samples: int = 0
    blocks: int = 0
    groups: int = 0

    def add(self, first: int, samples: int) -> None:
        if not self.blocks:
            self.first = first
        self.blocks += 1
        self.samples += samples
        if self.blocks >= 1 << max(0, self.groups - _SINGLE_BLOCKS + 1):
            self.report()

    def report(self) -> None:
        if not self.blocks:
            return
        facts = {"first_sample": self.first, "samples": self.samples, "blocks": self.blocks}
        span = self.tracer.start_span("blocks", context=self.parent, start_time=self.began, attributes=_named(facts))
        self.began = time.time_ns()
        span.end(self.began)
        self.groups, self.blocks, self.samples = self.groups + 1, 0, 0


@dataclass(slots=True)
class _Stage:
    """One stage of a job, with the phase that it is in."""

    tracer: "Tracer"
    context: "Context"
    phase: str = ""
    span: "Span | None" = None
    blocks: _Blocks | None = None

    def enter(self, phase: str) -> None:
        from opentelemetry.trace import set_span_in_context

        if phase == self.phase:
            return
        self.leave()
        self.phase = phase
        if phase != "waiting":
            self.span = self.tracer.start_span(phase, context=self.context, attributes=_named({"phase": phase}))
            self.blocks = _Blocks(self.tracer, set_span_in_context(self.span, self.context))

    def leave(self) -> None:
        if self.blocks is not None:
            self.blocks.report()
        if self.span is not None:
            self.span.end()
        self.span = self.blocks = None


_provider: "TracerProvider | None" = None
_flushes: bool = False
_stage: ContextVar[_Stage | None] = ContextVar("certrad_stage", default=None)


def configure(
    process: str, *, enabled: bool, in_background: bool, headers: "SecretStr | None" = None
) -> "TracerProvider | None":
    """Makes this process send its spans by OTLP/HTTP, to where `OTEL_EXPORTER_OTLP_ENDPOINT` says.

    Args:
        process: The name of the process, in every span.
        enabled: Whether traces are wanted.
        in_background: Whether a thread sends them; a process that forks sends at the end of each stage instead.
        headers: The headers that they are sent with, see `read_headers`; None for those of the environment.

    Returns:
        What makes the spans; None where no traces are wanted.

    Raises:
        TelemetryMissingError: The extra `telemetry` is not installed.
    """
    global _provider, _flushes  # spans are the process's, as its log is
    _provider, _flushes = None, not in_background
    if enabled:
        try:
            from certrad.workers.contract.trace_export import make_provider
        except ImportError as error:
            raise TelemetryMissingError("CERTRAD_TELEMETRY needs the extra `telemetry` of the package") from error
        _provider = make_provider(process, in_background=in_background, headers=headers)
    return _provider


def current_traceparent() -> str | None:
    """Returns the W3C trace context of the span that this thread is in; None where no traces are wanted."""
    if _provider is None:
        return None
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    return carrier.get("traceparent")


def name_request(request_id: str) -> None:
    """Adds its id to the span of the request that this thread answers, if traces are wanted."""
    if _provider is not None:
        from opentelemetry.trace import get_current_span

        get_current_span().set_attributes(_named({"request_id": request_id}))


@contextmanager
def stage(name: str, *, traceparent: str | None, **facts: str | None) -> Iterator[None]:
    """Makes a span of a stage of a job, within the trace of the request that sent the job.

    Args:
        name: Name of the stage.
        traceparent: The W3C trace context of the request; without one the stage begins a trace.
        facts: Ids such as `job_id` and `tenant`; one that is None is left out.
    """
    provider = _provider
    if provider is None:
        yield
        return
    from opentelemetry.trace import set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    sender = TraceContextTextMapPropagator().extract({} if traceparent is None else {"traceparent": traceparent})
    tracer = provider.get_tracer("certrad")
    span = tracer.start_span(name, context=sender, attributes=_named({"stage": name, **facts}))
    current = _Stage(tracer, set_span_in_context(span, sender))
    token = _stage.set(current)
    try:
        yield
    finally:
        _stage.reset(token)
        current.leave()
        span.end()
        if _flushes:
            provider.force_flush()


def enter_phase(phase: str) -> None:
    """Ends the span of the phase before, and begins that of another phase of the stage that this thread is in."""
    if (current := _stage.get()) is not None:
        current.enter(phase)


def committed(first: int, samples: int) -> None:
    """Reports a block of samples that was committed.

    Args:
        first: Index of its first sample.
        samples: The number of its samples.
    """
    if (current := _stage.get()) is not None and current.blocks is not None:
        current.blocks.add(first, samples)


def _named(facts: dict[str, Any]) -> dict[str, Any]:
    return {f"certrad.{name}": value for name, value in facts.items() if value is not None}
