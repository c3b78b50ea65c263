"""The whole service works over TLS with a Redis user for each process; the API's password runs no other function."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rq.job import Job

from certrad.workers.contract.names import ENDED, EPOCHS, INTAKE_QUEUE, SIGNING_KEYS, idempotency_key, record_key
from tests.support.archives import classes, zipped
from tests.support.guarded_redis import GuardedRedis, guarded_redis
from tests.support.images import encoded, noise
from tests.support.processes import ROOT, Processes, kill_9, wait_for

pytestmark = pytest.mark.system

WORKERS = ("intake", "archive", "engine")
RARELY = 3600
"""Seconds between two rounds of maintenance, in which intake publishes keys too: here only the command may do it."""


class Service:
    """The processes of a cluster, on one data directory."""

    def __init__(self, redis: GuardedRedis, data_dir: Path, processes: Processes) -> None:
        self.redis, self._data_dir, self._processes = redis, data_dir, processes
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.url = f"http://127.0.0.1:{probe.getsockname()[1]}"
        self._pids: dict[str, int] = {}
        for name in ("api", *WORKERS):
            self.start(name)

    def environment(self, user: str) -> dict[str, str]:
        chosen = {"CERTRAD_DATA_DIR": str(self._data_dir), "CERTRAD_THREADS": "1", "CERTRAD_HEARTBEAT_SECONDS": "1"}
        return {**chosen, "CERTRAD_MAINTENANCE_SECONDS": str(RARELY), **self.redis.environment(user)}

    def start(self, name: str) -> None:
        words = ["api", "--port", self.url.rpartition(":")[2]] if name == "api" else ["worker", name]
        command = ["-m", "certrad.app.cli.main", *words]
        self._pids[name] = self._processes.start(command, name=name, env=self.environment(name)).pid

    def kill(self, name: str) -> None:
        kill_9(self._pids[name])

    def health(self, queue: str) -> subprocess.CompletedProcess[str]:
        """The probe of a worker's container."""
        return self.command(queue, "worker-health", queue)

    def command(self, user: str, *words: str) -> subprocess.CompletedProcess[str]:
        """Returns what a command says as a user of Redis."""
        return subprocess.run(
            [sys.executable, "-m", "certrad.app.cli.main", *words],
            cwd=ROOT,
            env={**os.environ, **self.environment(user)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def ended(self, job_id: str) -> dict[str, Any]:
        def job() -> dict[str, Any] | None:
            body: dict[str, Any] = httpx.get(f"{self.url}/jobs/{job_id}", timeout=30).json()
            return body if body["status"] in ENDED else None

        return wait_for(job, timeout=480.0, what="the end of the job")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that is ready."""
    directory = tmp_path_factory.mktemp("service")
    with guarded_redis(directory) as redis, Processes(directory) as processes:
        service = Service(redis, directory / "data", processes)

        def ready() -> bool:
            try:
                return httpx.get(f"{service.url}/health/workers", timeout=30).status_code == 200
            except httpx.TransportError:
                return False

        wait_for(ready, timeout=240.0, what="a worker for every queue")
        yield service


def certify(service: Service, headers: dict[str, str] | None = None, **fields: str) -> httpx.Response:
    files = {"image": encoded(noise(64, 64), "png")}
    data = {"n": "1000", **fields}
    return httpx.post(f"{service.url}/certify", files=files, data=data, headers=headers, timeout=30)


def test_a_certificate_is_made_and_verifies_where_each_process_has_its_own_user(service: Service) -> None:
    accepted = certify(service)
    assert accepted.status_code == 202, accepted.text
    job = service.ended(accepted.json()["id"])
    assert job["status"] == "succeeded", job["error"]
    document = httpx.get(f"{service.url}/jobs/{job['id']}/certificate", timeout=30).content
    assert httpx.post(f"{service.url}/verify", content=document, timeout=30).json()["valid"] is True
    metrics = httpx.get(f"{service.url}/metrics", timeout=30).text
    assert 'certrad_workers{queue="engine"} 1.0' in metrics


def test_a_job_is_cancelled_and_erased_by_a_user_that_cannot_read_its_input(service: Service) -> None:
    accepted = certify(service, n="1000000")
    path = f"{service.url}/jobs/{accepted.json()['id']}"
    wait_for(
        lambda: httpx.get(path, timeout=30).json()["progress"]["phase"] == "estimating",
        timeout=240.0,
        what="the first block",
    )
    assert httpx.delete(path, timeout=30).status_code < 300
    assert service.ended(accepted.json()["id"])["status"] == "cancelled"
    with service.redis.client("engine") as engine:
        assert not engine.exists(f"certrad:job:{accepted.json()['id']}:input")


def test_a_patient_is_erased_by_the_user_of_the_api_with_the_key_that_names_the_upload(service: Service) -> None:
    job_id = certify(service, {"Idempotency-Key": "of a patient"}, reference="a patient").json()["id"]
    replay = idempotency_key(hashlib.sha256(b"of a patient").hexdigest())
    with service.redis.client("api") as api:
        assert api.hget(replay, "job") == job_id.encode()
        erased = service.command("api", "erase", "--reference", "a patient", "--yes", "--json")
        assert (erased.returncode, erased.stderr) == (0, "")
        assert json.loads(erased.stdout)["jobs"] == [job_id]
        assert not api.exists(replay)
        assert not api.exists(record_key(job_id))


def test_a_user_that_may_not_erase_is_told_so_in_a_sentence(service: Service) -> None:
    refused = service.command("metrics", "erase", "--jobs", "0" * 32, "--yes")
    assert refused.returncode == 1
    assert refused.stderr.startswith("certrad: Redis does not answer or refuses (NoPermissionError)")


@pytest.mark.parametrize(("action", "published"), [("rotate-signing", SIGNING_KEYS), ("rotate-epoch", EPOCHS)])
def test_keys_are_rotated_and_published_by_a_user_of_their_own(service: Service, action: str, published: str) -> None:
    service.ended(certify(service).json()["id"])  # intake has its first key now
    with service.redis.client("api") as api:
        before = api.zrange(published, 0, -1)
        rotated = service.command("keys", "keys", action)
        assert (rotated.returncode, rotated.stderr) == (0, "")
        assert len(api.zrange(published, 0, -1)) > len(before)


def test_a_change_of_keys_that_redis_refuses_to_publish_is_a_failure(service: Service) -> None:
    service.ended(certify(service).json()["id"])
    refused = service.command("metrics", "keys", "rotate-signing")
    assert refused.returncode == 1
    assert "the change is made; Redis refuses to publish it (NoPermissionError)" in refused.stderr


def test_a_prompt_is_tuned_where_each_process_has_its_own_user(service: Service) -> None:
    archive = zipped(classes(["ant", "bee", "cow"], 18))
    accepted = httpx.post(
        f"{service.url}/prompts",
        files={"images": archive},
        data={"name": "mine", "epochs": "1"},
        timeout=30,
    )
    assert accepted.status_code == 202, accepted.text
    job = service.ended(accepted.json()["id"])
    assert job["status"] == "succeeded", job["error"]


def test_whoever_has_the_apis_password_cannot_make_a_worker_run_a_function_off_the_list(
    service: Service, tmp_path: Path
) -> None:
    target = tmp_path / "made"
    with service.redis.client("api") as stolen:
        stolen.hset(
            Job.key_for("forged"),
            mapping={
                "data": zlib.compress(json.dumps(["os.mkdir", None, [str(target)], {}]).encode()),
                "status": "queued",
                "origin": INTAKE_QUEUE,
                "timeout": "10",
                "created_at": "2026-01-01T00:00:00.000000Z",
            },
        )
        stolen.rpush(f"rq:queue:{INTAKE_QUEUE}", "forged")
        wait_for(lambda: stolen.hget(Job.key_for("forged"), "status") == b"failed", what="the refusal of the worker")
    assert not target.exists()


def test_probe_of_a_worker_passes_while_it_has_a_heartbeat_and_fails_when_it_is_gone(service: Service) -> None:
    assert service.health("archive").returncode == 0
    service.kill("archive")
    try:
        failed = wait_for(
            lambda: answer if (answer := service.health("archive")).returncode else None, what="a failure"
        )
        assert failed.returncode == 1
        assert "archive" in failed.stderr
    finally:
        service.start("archive")  # other tests of this module need it, in whatever order they come
        wait_for(lambda: service.health("archive").returncode == 0, what="the heartbeat of a new worker")
