"""`certrad api` is open on loopback and asks for a key on every address that others reach."""

from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from certrad.app.api.dependencies import Services
from certrad.app.cli.main import dispatch
from certrad.workers.contract import waiting


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, bool]]:
    """The addresses that the server was started on, each with whether access is closed whoever connects."""
    seen: list[tuple[str, bool]] = []

    def serve(build: Any, **options: Any) -> None:
        app: FastAPI = build()
        services: Services = app.state.services
        seen.append((options["host"], services.settings.is_closed))

    monkeypatch.setattr(uvicorn, "run", serve)
    monkeypatch.setattr(waiting, "tell_if_redis_is_away", lambda _: None)
    return seen


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "0"])
def test_access_is_closed_on_an_address_that_others_reach(
    host: str, served: list[tuple[str, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(["api", "--host", host]) == 0
    assert served == [(host, True)]
    assert "closed: every request needs an API key" in capsys.readouterr().err


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.1.1", "localhost"])
def test_access_is_open_on_loopback(
    host: str, served: list[tuple[str, bool]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert dispatch(["api", "--host", host]) == 0
    assert served == [(host, False)]
    assert "open to this machine" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "value"), [("CERTRAD_ACCESS", "closed"), ("CERTRAD_TRUSTED_PROXIES", "127.0.0.1")])
def test_the_operator_closes_access_on_loopback(
    name: str, value: str, served: list[tuple[str, bool]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    assert dispatch(["api"]) == 0
    assert served == [("127.0.0.1", True)]


def test_no_address_is_refused(served: list[tuple[str, bool]]) -> None:
    assert dispatch(["api", "--host", ""]) == 2
    assert served == []
