"""The embedded Redis keeps its data and its directory, and ends with its owner."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from certrad.workers.local.redis_server import EmbeddedRedis, EmbeddedRedisError
from tests.support.processes import Processes, gone, kill_9, wait_for

pytestmark = pytest.mark.integration

OWNER = """
import sys, time
from pathlib import Path
from certrad.workers.local.redis_server import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
sys.stdout.write(f"{server.start().pid}\\n")
sys.stdout.flush()
time.sleep(600)
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[EmbeddedRedis]:
    with EmbeddedRedis(tmp_path / "redis") as running:
        yield running


def test_data_survives_kill_9_of_the_server(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / "redis")
    process = server.start()
    with Redis.from_url(server.url) as client:
        client.set("key", "value")
    kill_9(process.pid)
    process.wait()
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.get("key") == b"value"
    server.stop()


def test_data_survives_a_stop_and_a_start(tmp_path: Path) -> None:
    for _ in range(2):
        with EmbeddedRedis(tmp_path / "redis") as server, Redis.from_url(server.url) as client:
            count = client.incr("starts")
    assert count == 2


def test_a_second_owner_is_refused(server: EmbeddedRedis) -> None:
    with pytest.raises(EmbeddedRedisError, match="in use by another local stack"):
        EmbeddedRedis(server.directory).start()
    with Redis.from_url(server.url) as client:
        assert client.ping()


@pytest.mark.parametrize("signum", [signal.SIGKILL, signal.SIGTERM])
def test_server_ends_with_its_owner_and_its_data_is_found_again(
    processes: Processes, tmp_path: Path, signum: signal.Signals
) -> None:
    directory = tmp_path / "redis"
    owner = processes.start(["-c", OWNER, str(directory)])
    pid = int(wait_for(lambda: processes.output().read_text()))
    with Redis.from_url(EmbeddedRedis(directory).url) as client:
        client.set("key", "value")
    owner.send_signal(signum)
    owner.wait()
    with EmbeddedRedis(directory) as heir, Redis.from_url(heir.url) as client:
        assert client.get("key") == b"value"
    wait_for(lambda: gone(pid), what="the end of the orphaned server")


def test_a_data_directory_with_a_long_path_gets_a_short_socket(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 30) / "redis"
    with EmbeddedRedis(directory) as server:
        assert len(os.fsencode(server.socket_path)) <= 100
        with Redis.from_url(server.url) as client:
            assert client.ping()
    assert not server.socket_path.parent.exists()


def test_a_short_socket_whose_folder_was_cleaned_away_comes_back_with_the_server(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path / ("long" * 30) / "redis")
    process = server.start()
    server.socket_path.unlink()
    server.socket_path.parent.rmdir()
    process.terminate()
    process.wait()
    server.start()
    with Redis.from_url(server.url) as client:
        assert client.ping()
    server.stop()


def test_only_this_user_can_reach_the_server(server: EmbeddedRedis) -> None:
    assert server.socket_path.stat().st_mode & 0o077 == 0
    assert server.directory.stat().st_mode & 0o077 == 0


def test_a_full_server_refuses_writes_and_evicts_nothing(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path / "redis", maxmemory="4mb") as server, Redis.from_url(server.url) as client:
        client.set("first", b"x" * 1000)
        with pytest.raises(OutOfMemoryError):
            fill(client)
        assert client.exists("first")


def test_a_server_that_cannot_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(EmbeddedRedisError, match="ended at once"):
        EmbeddedRedis(tmp_path / "redis", maxmemory="no-such-size").start()


def fill(client: Redis) -> None:
    for index in range(100):
        client.set(f"filler:{index}", b"x" * 100_000)
