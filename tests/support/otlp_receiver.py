"""A receiver of OTLP over HTTP: it keeps the spans that the service sends."""

import gzip
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span


@dataclass(slots=True)
class Received:
    """What has come so far."""

    url: str
    spans: list[tuple[str, Span]] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    headers: list[Mapping[str, str]] = field(default_factory=list)

    def named(self, name: str) -> list[Span]:
        """The spans of a name."""
        return [span for _, span in list(self.spans) if span.name == name]

    def of_trace(self, trace_id: bytes) -> list[tuple[str, Span]]:
        """The process and the spans of a trace."""
        return [(process, span) for process, span in list(self.spans) if span.trace_id == trace_id]


@contextmanager
def otlp_receiver() -> Iterator[Received]:
    """Receives spans on a free port of this machine within it."""
    received = Received(url="")

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            if self.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            request = ExportTraceServiceRequest.FromString(body)
            received.raw.append(body)
            received.headers.append({name.lower(): value for name, value in self.headers.items()})
            for resource in request.resource_spans:
                names = {each.key: each.value.string_value for each in resource.resource.attributes}
                received.spans += [
                    (names["service.name"], span) for scope in resource.scope_spans for span in scope.spans
                ]
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    received.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield received
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
