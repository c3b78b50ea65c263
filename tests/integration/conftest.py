"""Provides what tests of engines share, and what tests of the API and of the command line share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.workers.contract.records import Records
from certrad.workers.engine import tasks
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.settings import WorkerSettings
from tests.support.api_server import api_server
from tests.support.processes import environment


@pytest.fixture
def api_url(redis: Redis, api_settings: ApiSettings) -> Iterator[str]:
    """The real API on a real socket."""
    with api_server(api_settings) as address:
        yield address


@pytest.fixture
def runtime(settings: WorkerSettings, redis: Redis) -> Runtime:
    """The state of an engine, in the process of the test."""
    return build(settings, redis)


@pytest.fixture
def known_secret(settings: WorkerSettings) -> None:
    """A secret that is the same in every run of the tests: so is the noise, and what depends on its chances."""
    settings.secrets_dir.mkdir(parents=True)
    settings.secrets_dir.joinpath("epoch").write_bytes(bytes(range(32)))


@pytest.fixture
def api_settings(redis_server: EmbeddedRedis, tmp_path: Path) -> ApiSettings:
    """Settings of the API on the session's Redis, with small bodies and a data directory of the test's own."""
    return ApiSettings(
        redis_url=redis_server.url,
        data_dir=tmp_path,
        max_body_bytes=100_000,
        keep_alive=0.05,
        allowed_hosts="localhost, testserver",
    )


@pytest.fixture
def api(redis: Redis, api_settings: ApiSettings) -> Iterator[TestClient]:
    """A client of the API, in the process of the test."""
    with TestClient(create_app(api_settings)) as client:
        yield client


@pytest.fixture
def working_api(
    redis: Redis, settings: WorkerSettings, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> Iterator[TestClient]:
    """A client of the API on the data directory of the workers, whose tasks run in this process."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(tasks, "_runtime", runtime)
    own = ApiSettings(redis_url=settings.redis_url, data_dir=settings.data_dir, allowed_hosts="localhost, testserver")
    with TestClient(create_app(own)) as client:
        yield client


@pytest.fixture
def records(redis: Redis, api_settings: ApiSettings) -> Records:
    """The records of the jobs, as the API keeps them."""
    return Records(redis, ttl=api_settings.job_ttl)
