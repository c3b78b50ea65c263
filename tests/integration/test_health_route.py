"""Health probes and metrics over HTTP."""

from fastapi.testclient import TestClient
from redis import Redis

from certrad.workers.contract.names import ARCHIVE_QUEUE, ENGINE_QUEUE, INTAKE_QUEUE
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
