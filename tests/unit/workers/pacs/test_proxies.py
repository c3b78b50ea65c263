"""The clients of the connector go straight to their side, whatever proxy the machine names."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack

import httpx
import pytest

from certrad.app.cli.client import Client
from certrad.workers.contract.rules import Destination, Rules
from certrad.workers.pacs.connections import Connections
from certrad.workers.pacs.failures import ExchangeError
from certrad.workers.settings import ConnectorSettings

NOBODY = "http://127.0.0.1:1"


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A proxy in the environment; whoever connects to it waits until his time limit."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{listening.getsockname()[1]}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        listening.setblocking(False)
        yield listening


def asked(proxy: socket.socket) -> bool:
    try:
        proxy.accept()[0].close()
    except BlockingIOError:
        return False
    return True


@pytest.mark.parametrize("side", ["pacs", "other"])
def test_proxy_of_the_machine_gets_no_image_and_no_report(proxy: socket.socket, side: str) -> None:
    with ExitStack() as closing:
        connections = Connections(ConnectorSettings(pacs_url=NOBODY, pacs_timeout=1), closing)
        rules = Rules(rules=(), destinations={"other": Destination(url=NOBODY)})
        clients = connections.destinations(rules, connections.pacs())
        with pytest.raises(ExchangeError):
            clients[side].ask()
    assert not asked(proxy)


@pytest.mark.parametrize("side", ["orthanc", "service"])
def test_proxy_of_the_machine_gets_no_request_to_orthanc_or_the_service(proxy: socket.socket, side: str) -> None:
    with ExitStack() as closing:
        connections = Connections(ConnectorSettings(orthanc_url=NOBODY), closing)
        with pytest.raises(httpx.HTTPError):
            getattr(connections, side)().get(NOBODY, timeout=1)
    assert not asked(proxy)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_commands_reach_the_service_of_this_machine_without_the_proxy(proxy: socket.socket, host: str) -> None:
    with Client(f"http://{host}:1") as client, pytest.raises(Exception):  # noqa: B017, PT011  # whatever it says
        client._http.get("/", timeout=1)
    assert not asked(proxy)
