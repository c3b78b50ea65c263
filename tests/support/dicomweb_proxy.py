"""A proxy before a PACS that can break the connection at the worst moment: after the PACS has stored an instance."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx


class DicomWebProxy:
    """Passes everything on; `after_store` is called once, after the PACS answered a store and before that is told."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.after_store: Callable[[], None] | None = None
        self.stores = 0
        self.url = ""

    def passed_on(self, handler: BaseHTTPRequestHandler) -> None:
        """Passes one request on, and its answer back."""
        length = int(handler.headers.get("Content-Length", 0))
        body = handler.rfile.read(length)
        wanted = {name: handler.headers[name] for name in ("Accept", "Content-Type") if name in handler.headers}
        try:
            answer = httpx.request(
                handler.command, self.target + handler.path, content=body, headers=wanted, timeout=30
            )
        except httpx.HTTPError:
            handler.close_connection = True
            return
        if handler.command == "POST":
            self.stores += 1
            action, self.after_store = self.after_store, None
            if action is not None:
                action()
                handler.close_connection = True
                return
        with suppress(ConnectionError):  # the connector was killed
            self._answer(handler, answer)

    def _answer(self, handler: BaseHTTPRequestHandler, answer: httpx.Response) -> None:
        handler.send_response(answer.status_code)
        handler.send_header("Content-Type", answer.headers.get("Content-Type", "application/octet-stream"))
        handler.send_header("Content-Length", str(len(answer.content)))
        handler.end_headers()
        handler.wfile.write(answer.content)


@contextmanager
def dicomweb_proxy(target: str) -> Iterator[DicomWebProxy]:
    """Yields a proxy on loopback."""
    proxy = DicomWebProxy(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:  # the name is http.server's
            proxy.passed_on(self)

        def do_POST(self) -> None:
            proxy.passed_on(self)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    proxy.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield proxy
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
