"""Requests to the API as its tests send them, and what a refusal may leave."""

from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.settings import ApiSettings
from certrad.models.types import PromptCard
from certrad.workers.contract.names import ACTIVE, INTAKE_QUEUE, JOBS
from certrad.workers.contract.queues import queue

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
MEDNIST = ("abdomen CT", "breast MRI", "chest X-ray", "chest CT", "hand X-ray", "head CT")


def assert_nothing_left(redis: Redis, settings: ApiSettings) -> None:
    """Checks that no job, no RQ job and no upload is there."""
    assert redis.zcard(ACTIVE) == redis.zcard(JOBS) == 0
    assert queue(redis, INTAKE_QUEUE).job_ids == []
    assert not list(redis.scan_iter("certrad:job:*"))
    assert not list(redis.scan_iter("certrad:idem:*"))
    assert not list(redis.scan_iter("rq:job:*"))
    assert not settings.blobs_dir.exists() or not list(settings.blobs_dir.iterdir())


def submit(api: TestClient, **fields: str) -> str:
    """Submits the PNG and gives the job's id."""
    response = api.post("/certify", content=PNG, params=fields)
    assert response.status_code == 202, response.text
    return str(response.json()["id"])


def card(**changes: object) -> PromptCard:
    """A prompt card for the demo backbone and the task mednist."""
    fields: dict[str, object] = {
        "id": "tuned-0123456789abcdef",
        "name": "tuned",
        "method": "few_shot",
        "backbone": "demo",
        "backbone_sha256": "0" * 64,
        "class_names": MEDNIST,
        "task": "mednist",
        "n_ctx": 4,
        "class_specific": False,
        "position": "end",
        "sha256": "1" * 64,
    }
    return PromptCard(**{**fields, **changes})  # type: ignore[arg-type]


def resolved(api: TestClient, **fields: str) -> dict[str, object]:
    """The classifier a request resolves to."""
    response = api.post("/certify", content=PNG, params=fields)
    assert response.status_code == 202, response.text
    classifier: dict[str, object] = response.json()["request"]["classifier"]
    return classifier
