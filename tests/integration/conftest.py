"""What tests of engines and of the command line share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from certrad.app.settings import ApiSettings
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.settings import WorkerSettings
from tests.support.api_server import api_server


@pytest.fixture
def api_settings(redis_server: EmbeddedRedis, tmp_path: Path) -> ApiSettings:
    """Those of an API that speaks to the Redis of the tests."""
    return ApiSettings(redis_url=redis_server.url, data_dir=tmp_path / "data", keep_alive=0.05)


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
