"""A time-stamping authority of the test's own: `openssl ts` behind HTTP (RFC 3161, section 3.4)."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Final

POLICY: Final = "1.2.3.4.1"
_CONFIG: Final = """
[tsa]
default_tsa = authority
[authority]
serial = {folder}/serial
crypto_device = builtin
signer_cert = {folder}/authority.pem
signer_key = {folder}/authority.key
signer_digest = sha256
default_policy = {policy}
digests = sha256
accuracy = secs:1
ess_cert_id_alg = sha256
"""
_EXTENSIONS: Final = (
    "basicConstraints=CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,timeStamping\n"
)


@dataclass(frozen=True, slots=True)
class Authority:
    """The folder of an authority: `root.pem`, and what `openssl ts` needs."""

    folder: Path

    @property
    def root(self) -> Path:
        """Returns the file of the root certificate."""
        return self.folder / "root.pem"

    def stamp(self, query: bytes) -> bytes:
        """Returns the response to a query."""
        asked, response = self.folder / "query", self.folder / "response"
        asked.write_bytes(query)
        _openssl("ts", "-reply", "-config", self.folder / "config", "-queryfile", asked, "-out", response)
        return response.read_bytes()


def make_authority(folder: Path) -> Authority:
    """Makes an authority with a root of its own."""
    folder.mkdir(parents=True)
    (folder / "config").write_text(_CONFIG.format(folder=folder, policy=POLICY))
    (folder / "extensions").write_text(_EXTENSIONS)
    (folder / "serial").write_text("01")
    for name in ("root", "authority"):
        _openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", folder / f"{name}.key")
    _openssl(
        *("req", "-x509", "-new", "-key", folder / "root.key", "-out", folder / "root.pem", "-subj", "/CN=Root"),
        *("-days", "2", "-addext", "keyUsage=critical,keyCertSign"),
    )
    request = folder / "authority.csr"
    _openssl("req", "-new", "-key", folder / "authority.key", "-out", request, "-subj", "/CN=Authority")
    _openssl(
        *("x509", "-req", "-in", request, "-CA", folder / "root.pem", "-CAkey", folder / "root.key", "-CAcreateserial"),
        *("-days", "2", "-extfile", folder / "extensions", "-out", folder / "authority.pem"),
    )
    return Authority(folder)


@dataclass(slots=True)
class Responses:
    """What the served authority does; a test changes it."""

    authority: Authority
    status: int = 200
    media_type: str = "application/timestamp-reply"
    content: bytes | None = None
    pause: float = 0.0
    queries: int = 0

    def answer(self, query: bytes) -> bytes:
        """Returns the body of a response."""
        self.queries += 1
        return self.authority.stamp(query) if self.content is None else self.content


@contextmanager
def served(authority: Authority) -> Iterator[tuple[str, Responses]]:
    """Yields the address of an authority that is served over HTTP, and what it does."""
    responses, closing = Responses(authority), Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            query = self.rfile.read(int(self.headers["Content-Length"]))
            body = responses.answer(query)
            self.send_response(responses.status)
            self.send_header("Content-Type", responses.media_type)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            with suppress(BrokenPipeError, ConnectionResetError):
                for byte in body if responses.pause else ():
                    self.wfile.write(bytes([byte]))
                    closing.wait(responses.pause)
                self.wfile.write(b"" if responses.pause else body)

        def log_message(self, format: str, *args: object) -> None:
            """Logs nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/tsa", responses
    finally:
        closing.set()
        server.shutdown()
        server.server_close()


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True)
