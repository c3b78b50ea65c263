"""What tests of engines share."""

import pytest
from redis import Redis

from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.settings import WorkerSettings


@pytest.fixture
def runtime(settings: WorkerSettings, redis: Redis) -> Runtime:
    """The state of an engine, in the process of the test."""
    return build(settings, redis)


@pytest.fixture
def known_secret(settings: WorkerSettings) -> None:
    """A secret that is the same in every run of the tests: so is the noise, and what depends on its chances."""
    settings.secrets_dir.mkdir(parents=True)
    settings.secrets_dir.joinpath("epoch").write_bytes(bytes(range(32)))
