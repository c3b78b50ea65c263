"""The API, a process behind a real socket, takes big bodies, outlives a Redis that goes, and logs cleanly."""

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.processes import Processes, wait_for

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
LIMIT = 1_000_000


@pytest.fixture(scope="module")
def own_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedRedis]:
    """A Redis these tests may stop."""
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of the API process."""
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """The processes of this module."""
    with Processes(tmp_path_factory.mktemp("processes")) as processes:
        yield processes


@pytest.fixture(scope="module")
def url(own_redis: EmbeddedRedis, running: Processes, data_dir: Path) -> str:
    """The address of a running API process."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    env = {
        "CERTRAD_REDIS_URL": own_redis.url,
        "CERTRAD_DATA_DIR": str(data_dir),
        "CERTRAD_MAX_BODY_BYTES": str(LIMIT),
    }
    running.start(["-m", "certrad.app.cli.main", "api", "--port", str(port)], name="api", env=env)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        try:
            return httpx.get(f"{address}/health/live").status_code == 200
        except httpx.TransportError:
            return False

    wait_for(answers, what="the API")
    return address


def chunks(size: int) -> Iterator[bytes]:
    """A body that does not say its length."""
    yield PNG
    for _ in range(size // 10_000):
        yield bytes(10_000)


def test_body_over_the_limit_is_answered_whether_declared_or_chunked(url: str, data_dir: Path) -> None:
    before = set(data_dir.rglob("*"))
    for content in (PNG + bytes(LIMIT), chunks(LIMIT + 50_000)):
        answer = httpx.post(f"{url}/certify", content=content, timeout=30)
        assert answer.status_code == 413
        assert answer.json()["code"] == "body_too_large"
    assert set(data_dir.rglob("*")) == before


def test_redis_that_goes_costs_503_and_nothing_else(url: str, own_redis: EmbeddedRedis, data_dir: Path) -> None:
    with httpx.Client(base_url=url, timeout=30) as client:
        kept = client.post("/certify", content=PNG).json()["id"]
        uploads = set((data_dir / "blobs").iterdir())
        own_redis.stop()
        for path in (
            "/jobs",
            f"/jobs/{kept}",
            f"/jobs/{kept}/events",
            "/prompts",
            "/backbones",
            "/health/ready",
            "/metrics",
        ):
            answer = client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "redis_unavailable")
            assert answer.headers["retry-after"]
        refused = client.post("/certify", content=PNG, headers={"idempotency-key": "k"})
        assert (refused.status_code, refused.json()["code"]) == (503, "redis_unavailable")
        assert client.get("/health/live").status_code == 200
        assert set((data_dir / "blobs").iterdir()) == uploads
        own_redis.start()
        assert client.post("/certify", content=PNG, headers={"idempotency-key": "k"}).status_code == 202
        assert client.get(f"/jobs/{kept}").json()["status"] == "queued"


def test_log_holds_nothing_of_a_request(url: str, running: Processes) -> None:
    client = httpx.Client(base_url=url, timeout=30)
    client.post("/certify", files={"image": ("DOE_JANE.png", PNG)}, data={"template": "DOE_JANE {}"})
    client.post("/certify", content=b"DOE_JANE" * 40, params={"task": "DOE_JANE"})
    client.get("/jobs/DOE_JANE", params={"name": "DOE_JANE"})
    client.close()
    assert "DOE_JANE" not in running.output("api").read_text() + running.errors("api").read_text()
