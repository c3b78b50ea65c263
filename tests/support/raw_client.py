"""A client that can leave a request unfinished, and the API process that it talks to."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil

from tests.support.processes import Processes, wait_for

FILES = 1024
"""The open files of the API process, and no more however it asks: as many as a login shell allows."""
_LIMITED = f"""
import resource, runpy, sys
resource.setrlimit(resource.RLIMIT_NOFILE, ({FILES}, {FILES}))
sys.argv = ["certrad", *sys.argv[1:]]
runpy.run_module("certrad.app.cli.main", run_name="__main__")
"""
READ_SECONDS = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiProcess:
    """A running `certrad api`."""

    port: int
    pid: int
    log: Path

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    def connect(self, *parts: bytes) -> socket.socket:
        """A connection over which these bytes were sent."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=READ_SECONDS)
        for part in parts:
            connection.sendall(part)
        return connection

    def is_alive(self) -> bool:
        """Returns whether GET /health/live is answered with 200."""
        return self.answers("/health/live")

    def answers(self, path: str = "/openapi.json") -> bool:
        """Returns whether a GET is answered with 200."""
        try:
            return httpx.get(f"{self.url}{path}", timeout=5).status_code == 200
        except httpx.TransportError:
            return False

    def clients(self) -> int:
        """The connections of clients that it holds."""
        held = psutil.Process(self.pid).net_connections("tcp")
        return sum(connection.status == psutil.CONN_ESTABLISHED for connection in held)

    def unread(self) -> int:
        """The bytes that the kernel has received for it and that it has not read yet."""
        rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        return sum(int(row[4].partition(":")[2], 16) for row in rows if row[1].endswith(f":{self.port:04X}"))

    def memory(self) -> int:
        """The bytes of memory that are its own."""
        return int(psutil.Process(self.pid).memory_info().rss)


@contextmanager
def api_process(directory: Path, redis_url: str, **settings: object) -> Iterator[ApiProcess]:
    """Starts `certrad api`, with few open files and these settings, and waits until it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {"CERTRAD_REDIS_URL": redis_url, "CERTRAD_DATA_DIR": str(directory), "TMPDIR": str(directory)}
    env |= {f"CERTRAD_{name.upper()}": str(value) for name, value in settings.items()}
    with Processes(directory) as processes:
        process = processes.start(["-c", _LIMITED, "api", "--port", str(port)], name="api", env=env)
        api = ApiProcess(port=port, pid=process.pid, log=processes.errors("api"))
        wait_for(api.is_alive, what="the API")
        yield api


def head(path: str, *headers: str, method: str = "POST") -> bytes:
    """The head of a request, without the empty line that ends it."""
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", *headers]
    return "".join(f"{line}\r\n" for line in lines).encode()


def everything(connection: socket.socket) -> bytes:
    """Returns what the service sends until it closes the connection."""
    with connection:
        received = b""
        while chunk := connection.recv(65_536):
            received += chunk
    return received


def problem_of(response: bytes) -> tuple[int, dict[str, Any]]:
    """Status and body of a response that is all that came."""
    top, _, body = response.partition(b"\r\n\r\n")
    assert b"application/problem+json" in top, response
    assert b"connection: close" in top.lower(), response
    return int(top.split()[1]), json.loads(body)


@contextmanager
def closing(connections: list[socket.socket]) -> Iterator[list[socket.socket]]:
    """Closes the connections at the end."""
    with ExitStack() as stack:
        for connection in connections:
            stack.enter_context(connection)
        yield connections
