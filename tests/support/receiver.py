"""A receiver of callbacks: a real HTTPS server with a certificate of the test's own authority."""

import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NAME: Final = "receiver.test"
SECRET: Final = "whsec_dGhlIHNlY3JldCBvZiBhIHRlc3Qgb2YgY2VydHJhZA=="
FORMER_SECRET: Final = "whsec_dGhlIGZvcm1lciBzZWNyZXQgb2YgdGhlIHNhbWUgdGVzdA=="


@dataclass(frozen=True, slots=True)
class Authority:
    """Files of an authority and of a server that it vouches for."""

    folder: Path

    @property
    def root(self) -> Path:
        """The certificate of the authority."""
        return self.folder / "root.pem"

    @property
    def server(self) -> Path:
        """The certificate and the key of the server."""
        return self.folder / "server.pem"

    @property
    def trust(self) -> ssl.SSLContext:
        """Returns a context that trusts this authority and no other."""
        return ssl.create_default_context(cafile=str(self.root))


def make_authority(folder: Path, *, name: str = NAME) -> Authority:
    """Makes an authority and a certificate for a server of some name."""
    folder.mkdir(parents=True)
    authority = Authority(folder)
    root_key, root_name = ec.generate_private_key(ec.SECP256R1()), _name("Authority of a test")
    root = _certificate(root_name, root_name, root_key.public_key(), is_authority=True).sign(root_key, hashes.SHA256())
    key = ec.generate_private_key(ec.SECP256R1())
    server = _certificate(_name("server"), root_name, key.public_key(), is_authority=False)
    server = server.add_extension(x509.SubjectAlternativeName([_subject(name)]), critical=False)
    authority.root.write_bytes(root.public_bytes(serialization.Encoding.PEM))
    authority.server.write_bytes(
        server.sign(root_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return authority


def _subject(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    return x509.DNSName(name)


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, *, is_authority: bool
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Received:
    """One request that came."""

    path: str
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True, kw_only=True)
class Receiver:
    """What a receiver has got, and what it answers; a test changes the latter."""

    port: int
    closing: Event
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    body: Callable[[BaseHTTPRequestHandler], None] | None = None
    received: list[Received] = field(default_factory=list)
    on_request: Callable[[], None] | None = None
    connections: int = 0

    @property
    def ids(self) -> list[str]:
        """The ids of the messages that came, in order."""
        return [request.headers["webhook-id"] for request in self.received]


@contextmanager
def receiver(authority: Authority | None) -> Iterator[Receiver]:
    """Yields a receiver on 127.0.0.1; without an authority it speaks plain HTTP."""
    closing = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            answers.received.append(Received(path=self.path, headers=headers, body=body))
            if answers.on_request is not None:
                answers.on_request()
            with suppress(OSError):
                self.send_response(answers.status)
                for name, value in answers.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if answers.body is not None:
                    answers.body(self)

        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    class Server(ThreadingHTTPServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            answers.connections += 1
            with suppress(OSError):  # a client that breaks off
                if authority is None:
                    super().finish_request(request, client_address)
                    return
                with tls.wrap_socket(request, server_side=True) as wrapped:
                    super().finish_request(wrapped, client_address)

    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if authority is not None:
        tls.load_cert_chain(authority.server)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        answers = Receiver(port=server.server_port, closing=closing)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield answers
        finally:
            closing.set()
            server.shutdown()
            thread.join()
