"""Whoever can write to Redis still cannot make a worker run anything but the tasks of this project."""

import json
import os
import pickle
import signal
import socket
import zlib
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Callback, Queue
from rq.exceptions import DeserializationError
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.webhook import Webhook

from certrad.workers.contract.names import FORMER_TASKS, INTAKE_QUEUE, TASKS
from certrad.workers.contract.queues import AllowedJob
from certrad.workers.queue.worker import IntakeWorker
from certrad.workers.settings import WorkerSettings

pytestmark = pytest.mark.integration


class Bomb:
    """Makes a directory when it is unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (self.path,)


def write_job(redis: Redis, data: bytes, **fields: str) -> AllowedJob:
    """A job as an intruder writes it, past every check of RQ's own API."""
    name = "hand-made"
    record: dict[Any, Any] = {  # any key and value that a client of Redis takes
        "data": zlib.compress(data),
        "status": "queued",
        "origin": INTAKE_QUEUE,
        "timeout": "10",
        "created_at": "2026-01-01T00:00:00.000000Z",
        **fields,
    }
    redis.hset(Job.key_for(name), mapping=record)
    redis.rpush(f"rq:queue:{INTAKE_QUEUE}", name)
    return fetch(redis, name)


def fetch(redis: Redis, name: str) -> AllowedJob:
    job = AllowedJob.fetch(name, connection=redis, serializer=JSONSerializer)
    assert isinstance(job, AllowedJob)
    return job


def call(function: str, *args: object, instance: object = None) -> bytes:
    return json.dumps([function, instance, list(args), {}]).encode()


def work_off(settings: WorkerSettings) -> None:
    handlers = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    with Redis.from_url(settings.redis_url) as client:
        IntakeWorker(INTAKE_QUEUE, name="worker", redis=client, settings=settings).work(burst=True)
    for signum, handler in handlers.items():  # RQ takes them and keeps them
        signal.signal(signum, handler)


def test_tasks_of_this_project_are_allowed(redis: Redis) -> None:
    for _, path in TASKS.values():
        job = AllowedJob.create(path, args=("job",), connection=redis, serializer=JSONSerializer)
        assert job.func_name == path


@pytest.mark.parametrize("former", FORMER_TASKS)
def test_tasks_by_their_former_names_are_the_tasks_of_today(redis: Redis, former: str) -> None:
    job = AllowedJob.create(former, args=("job",), connection=redis, serializer=JSONSerializer)
    module, _, function = FORMER_TASKS[former].rpartition(".")
    assert (job.func.__module__, job.func.__name__) == (module, function)


def test_every_task_of_the_former_release_has_its_former_name() -> None:
    assert sorted(FORMER_TASKS.values()) == sorted(path for stage, (_, path) in TASKS.items() if stage != "assist")


def test_a_function_off_the_list_is_not_run(redis: Redis, settings: WorkerSettings, tmp_path: Path) -> None:
    target = tmp_path / "made"
    job = Queue(INTAKE_QUEUE, connection=redis, serializer=JSONSerializer).enqueue("os.mkdir", str(target))
    work_off(settings)
    assert job.get_status() == JobStatus.FAILED
    assert not target.exists()


@pytest.mark.parametrize("when", ["on_success", "on_failure", "on_stopped"])
def test_callbacks_are_refused(redis: Redis, when: str) -> None:
    callback: dict[str, Any] = {when: Callback("os.getcwd")}
    job = AllowedJob.create(
        "certrad.workers.intake.tasks.decode",
        args=("job",),
        connection=redis,
        serializer=JSONSerializer,
        **callback,
    )
    kind = {"on_success": "success_callback", "on_failure": "failure_callback", "on_stopped": "stopped_callback"}
    with pytest.raises(PermissionError, match="callbacks are not accepted"):
        getattr(job, kind[when])


def test_a_hand_made_callback_is_not_run(redis: Redis, settings: WorkerSettings, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    write_job(redis, call("os.mkdir", str(marker)), failure_callback_name="tests.integration.test_allow_list.mark")
    work_off(settings)
    assert fetch(redis, "hand-made").get_status() == JobStatus.FAILED
    assert not marker.exists()
    assert redis.get("marked") is None


def mark(job: Job, connection: Redis, *_: object) -> None:
    connection.set("marked", 1)


def test_a_hand_made_method_of_an_object_is_refused(redis: Redis) -> None:
    job = write_job(redis, call("upper", instance="text"))
    with pytest.raises(PermissionError, match="function must be one of"):
        job.func  # noqa: B018


def test_a_hand_made_pickle_is_not_loaded(redis: Redis, settings: WorkerSettings, tmp_path: Path) -> None:
    target = tmp_path / "made"
    job = write_job(redis, pickle.dumps(("certrad.workers.intake.tasks.decode", None, (Bomb(str(target)),), {})))
    with pytest.raises(DeserializationError):
        job.func  # noqa: B018
    work_off(settings)
    assert not target.exists()


def test_a_webhook_in_a_forged_job_calls_no_address(redis: Redis) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        job = AllowedJob.create("certrad.workers.intake.tasks.decode", connection=redis, serializer=JSONSerializer)
        job.webhooks = [Webhook(f"http://127.0.0.1:{listener.getsockname()[1]}", "finished", timeout=1)]
        job.send_webhooks(JobStatus.FINISHED)
        with pytest.raises(BlockingIOError):
            listener.accept()
