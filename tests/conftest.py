"""What tests share: a real Redis, settings that recover in seconds, and processes that do not outlive their test."""

import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis import Redis

from certrad.workers.local.redis_server import EmbeddedRedis
from certrad.workers.settings import WorkerSettings
from tests.support.openvino import leave_out
from tests.support.processes import Processes

# One thread, before any test module imports torch: threads that wait for each other cost ten times the arithmetic of
# tiny models itself, and a sum over several may differ in its last bit. Processes that tests start inherit it.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# The servers of tests are on this machine, and no proxy leads back to it.
_without_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or "localhost"
os.environ["no_proxy"] = os.environ["NO_PROXY"] = f"{_without_proxy},127.0.0.1"

# The same examples every time, and no judgement by the clock.
hypothesis_settings.register_profile(
    "repeatable", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("repeatable")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves out what this machine cannot run."""
    leave_out(config, items)


# The log of a service that runs within a test is no output of the command that the test looks at.
structlog.configure(
    processors=[structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=repr)],
    logger_factory=structlog.stdlib.LoggerFactory(),
    wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
)


@pytest.fixture(scope="session", autouse=True)
def one_copy_of_each_package() -> Iterator[None]:
    """Fails the session if a test imported a folder by its bare name: its classes are others than those of certrad."""
    yield
    assert {"app", "bench", "models", "workers"} & sys.modules.keys() == set()


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Takes back how a test, or a command within it, set up logging: its stream is closed after the test."""
    root, hook, configuration = logging.getLogger(), sys.excepthook, structlog.get_config()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = [handler for handler in root.handlers if handler in handlers]
    root.setLevel(level)
    sys.excepthook = hook
    structlog.configure(**configuration)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """One embedded Redis for the whole session; tests that kill or fill it start their own."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis"), maxmemory="256mb") as server:
        yield server


@pytest.fixture
def redis(redis_server: EmbeddedRedis) -> Iterator[Redis]:
    """A client of the session's Redis, which is empty when the test begins."""
    with Redis.from_url(redis_server.url) as client:
        client.execute_command("FLUSHALL", "SYNC")  # else a thread frees the memory, while the test may measure it
        yield client


@pytest.fixture
def settings(redis_server: EmbeddedRedis, tmp_path: Path) -> WorkerSettings:
    """Settings of workers on the session's Redis, with intervals of a second and a data directory of their own."""
    return worker_settings(redis_server.url, tmp_path / "data")


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """Starts real processes; those that still run when the test ends are killed."""
    directory = tmp_path / "processes"
    directory.mkdir()
    with Processes(directory) as running:
        yield running


def worker_settings(redis_url: str, data_dir: Path) -> WorkerSettings:
    """Worker settings under which a lost job is found within seconds."""
    return WorkerSettings(
        redis_url=redis_url,
        data_dir=data_dir,
        threads=1,
        heartbeat_seconds=1,
        maintenance_seconds=1,
        cancel_grace_seconds=0.5,
    )


@pytest.fixture(scope="session")
def soak_seconds() -> float:
    """Seconds of trouble: `CERTRAD_SOAK_SECONDS`, a quarter of an hour where it is unset."""
    return float(os.environ.get("CERTRAD_SOAK_SECONDS", "900"))
