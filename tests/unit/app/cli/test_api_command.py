"""`certrad api`: which addresses it listens on while there is no access control."""

from typing import Any

import pytest
import uvicorn

from certrad.app.cli.main import dispatch
from certrad.workers.contract import waiting


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The addresses that the server was started on."""
    hosts: list[str] = []

    def serve(_: str, **options: Any) -> None:
        hosts.append(options["host"])

    monkeypatch.setattr(uvicorn, "run", serve)
    monkeypatch.setattr(waiting, "tell_if_redis_is_away", lambda _: None)
    return hosts


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "0"])
def test_an_address_that_others_reach_is_refused(
    host: str, served: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(["api", "--host", host]) == 2
    told = capsys.readouterr().err
    assert f"--host must be a loopback address until there is access control, got {host!r}" in told
    assert "--inside-container" in told
    assert served == []


def test_no_address_is_refused(served: list[str]) -> None:
    assert dispatch(["api", "--host", ""]) == 2
    assert served == []


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "localhost"])
def test_loopback_is_served(host: str, served: list[str]) -> None:
    assert dispatch(["api", "--host", host]) == 0
    assert served == [host]


def test_inside_a_container_every_address_is_served(served: list[str]) -> None:
    assert dispatch(["api", "--inside-container", "--host", "0.0.0.0"]) == 0
    assert served == ["0.0.0.0"]
