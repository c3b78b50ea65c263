"""The health probes tell process, store and workers apart, and metrics count jobs and change nothing."""

from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.workers.contract.names import ARCHIVE_QUEUE, ENGINE_QUEUE, INTAKE_QUEUE
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.api import submit
from tests.support.problems import assert_problem


def test_probes_tell_process_store_and_workers_apart(api: TestClient, redis: Redis) -> None:
    assert api.get("/health/live").json() == {"status": "ok"}
    assert api.get("/health/ready").json() == {"status": "ok"}
    assert_problem(api.get("/health/workers"), "no_worker")
    for name in (INTAKE_QUEUE, ENGINE_QUEUE, ARCHIVE_QUEUE):
        assert name in api.get("/health/workers").json()["detail"]
        redis.sadd(f"rq:workers:{name}", f"rq:worker:{name}-1", f"rq:worker:{name}-dead")
        redis.hset(f"rq:worker:{name}-1", mapping={"birth": "2026-01-01T00:00:00Z", "state": "idle"})
    body = api.get("/health/workers").json()
    assert [worker["name"] for worker in body["queues"]["engine"]] == ["engine-1"]


def test_metrics_tell_the_memory_of_the_job_store(
    api: TestClient, redis: Redis, redis_server: EmbeddedRedis, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(partial(redis.config_set, "maxmemory", redis.config_get("maxmemory")["maxmemory"] or "0"))
    redis.config_set("maxmemory", 123 << 20)
    shown = dict(line.split() for line in api.get("/metrics").text.splitlines() if line.startswith("certrad_job_store"))
    assert float(shown["certrad_job_store_max_bytes"]) == 123 << 20
    assert 0 < float(shown["certrad_job_store_used_bytes"]) <= redis.info("memory")["used_memory_peak"]
    redis.config_set("maxmemory", 0)
    assert "certrad_job_store_max_bytes 0.0" in api.get("/metrics").text


def test_metrics_count_jobs_and_change_nothing(api: TestClient, redis: Redis) -> None:
    submit(api)
    before = sorted(redis.scan_iter("*"))
    text = api.get("/metrics").text
    assert "certrad_jobs_active 1.0" in text
    assert 'certrad_stages_waiting{queue="intake"} 1.0' in text
    assert 'certrad_workers{queue="engine"} 0.0' in text
    assert 'certrad_workers{queue="archive"} 0.0' in text
    assert "gpu" not in text
    assert sorted(redis.scan_iter("*")) == before


def test_readiness_sees_that_no_new_connection_can_be_made(tmp_path: Path) -> None:
    with (
        EmbeddedRedis(tmp_path / "redis") as server,
        TestClient(
            create_app(ApiSettings(redis_url=server.url, data_dir=tmp_path)), base_url="http://localhost"
        ) as api,
    ):
        assert api.get("/jobs").status_code == 200  # this connection stays
        assert api.get("/health/ready").json() == {"status": "ok"}
        server.socket_path.unlink()
        assert_problem(api.get("/health/ready"), "redis_unavailable")
