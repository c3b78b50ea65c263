"""Debian's nginx with the configuration of docker/proxy, in front of a service of the test."""

import ssl
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import psutil

from tests.support.orthanc import free_port
from tests.support.processes import ROOT, wait_for

NGINX = "/usr/sbin/nginx"
PROXY = ROOT / "docker" / "proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReverseProxy:
    """A proxy that runs.

    Attributes:
        url: Its address.
        folder: Its files: `ca.pem`, which signed its certificate, and `client.pem`, one that it signed for a client.
    """

    url: str
    folder: Path

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return int(self.url.rpartition(":")[2])

    def trust(self) -> ssl.SSLContext:
        """Returns what a client believes: the authority of the proxy's certificate."""
        return ssl.create_default_context(cafile=str(self.folder / "ca.pem"))

    def client(self, *, address: str = "127.0.0.1", certificate: bool = False) -> httpx.Client:
        """Returns a client that trusts the proxy, at an address of this machine, with a certificate or without."""
        context = self.trust()
        if certificate:
            context.load_cert_chain(self.folder / "client.pem", self.folder / "client-key.pem")
        transport = httpx.HTTPTransport(verify=context, local_address=address)
        return httpx.Client(base_url=self.url, transport=transport, timeout=30)


@contextmanager
def reverse_proxy(
    folder: Path, service: str, *parts: str, changes: Mapping[str, str] | None = None
) -> Iterator[ReverseProxy]:
    """Runs nginx in front of a service; only paths, ports and what `changes` names differ from the files of docker."""
    certificates(folder)
    for name in ("http", "server", "temporary"):
        (folder / name).mkdir()
    replaced = {
        "worker_processes auto": "worker_processes 1",
        "/etc/nginx/certrad/": f"{folder}/",
        "/run/nginx-certrad.pid": f"{folder}/nginx.pid",
        "/var/log/nginx/": f"{folder}/",
        "/var/cache/nginx-certrad/": f"{folder}/temporary/",
        "server 127.0.0.1:8000": f"server {service.removeprefix('http://')}",
        "listen 443 ssl": f"listen 127.0.0.1:{free_port()} ssl",
        **(changes or {}),
    }
    for name in ("nginx.conf", *parts):
        text = (PROXY / name).read_text("utf-8")
        for before, after in replaced.items():
            text = text.replace(before, after)
        (folder / name).write_text(text, "utf-8")
    process = subprocess.Popen([NGINX, "-c", str(folder / "nginx.conf"), "-e", "stderr", "-g", "daemon off;"])
    try:
        port = wait_for(lambda: _port(process), what="nginx")
        yield ReverseProxy(url=f"https://127.0.0.1:{port}", folder=folder)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _port(process: "subprocess.Popen[bytes]") -> int | None:
    assert process.poll() is None
    listening = psutil.Process(process.pid).net_connections(kind="tcp")
    return next((int(each.laddr.port) for each in listening if each.status == psutil.CONN_LISTEN), None)


def certificates(folder: Path) -> None:
    """Makes an authority, and certificates of it for the server and for a client."""
    _openssl(folder, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj /CN=authority "
             "-keyout ca-key.pem -out ca.pem")  # fmt: skip
    (folder / "client-authority.pem").write_bytes((folder / "ca.pem").read_bytes())
    for key, certificate, subject in (
        ("key.pem", "certificate.pem", "server"),
        ("client-key.pem", "client.pem", "ris"),
    ):
        _openssl(folder, "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -CA ca.pem -CAkey "
                 f"ca-key.pem -subj /CN={subject} -addext subjectAltName=IP:127.0.0.1,DNS:localhost "
                 f"-addext basicConstraints=CA:FALSE -keyout {key} -out {certificate}")  # fmt: skip


def _openssl(folder: Path, arguments: str) -> None:
    subprocess.run(["openssl", *arguments.split()], cwd=folder, check=True, capture_output=True)
