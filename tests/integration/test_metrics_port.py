"""Metrics on a port of their own: they are there, and nowhere else."""

import socket

import httpx
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from tests.support.problems import assert_problem

pytestmark = pytest.mark.integration


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        number: int = free.getsockname()[1]
    return number


def test_a_port_of_its_own_serves_metrics_and_the_interface_does_not(
    redis: Redis, api_settings: ApiSettings, port: int
) -> None:
    with TestClient(create_app(api_settings.model_copy(update={"metrics_port": port}))) as api:
        api.get("/tasks")
        text = httpx.get(f"http://127.0.0.1:{port}/metrics").text
        assert 'certrad_http_requests_total{method="GET",route="/tasks",status="200"} 1.0' in text
        assert "certrad_samples_outstanding 0.0" in text
        assert_problem(api.get("/metrics"), "not_found")
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/metrics")


def test_without_a_port_of_its_own_the_interface_serves_metrics(api: TestClient) -> None:
    assert "certrad_samples_outstanding 0.0" in api.get("/metrics").text
