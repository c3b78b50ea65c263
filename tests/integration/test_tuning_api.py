"""POST /prompts takes an archive of images or refuses it at once, and its job is shown and cancelled as any other."""

import errno
import json
import os
from dataclasses import asdict
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.api.remedies import REMEDIES
from certrad.app.settings import ApiSettings
from certrad.models.shipped import shipped_prompts
from certrad.models.types.codec import encode_card
from certrad.models.types.tuning import TuningParams, TuningResult
from certrad.workers.contract.names import ACTIVE, ARCHIVE_QUEUE
from certrad.workers.contract.queues import queue, rq_job
from certrad.workers.contract.records import Records
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.archives import classes, zipped
from tests.support.problems import Response

pytestmark = pytest.mark.integration

ARCHIVE = zipped(classes(["cat", "dog"], 2))
MAX_BODY, MAX_ARCHIVE = 20_000, 60_000


@pytest.fixture
def api_settings(redis_server: EmbeddedRedis, tmp_path: Path) -> ApiSettings:
    return ApiSettings(
        redis_url=redis_server.url,
        data_dir=tmp_path,
        max_body_bytes=MAX_BODY,
        max_archive_bytes=MAX_ARCHIVE,
        max_queued=3,
        allowed_hosts="testserver",
    )


def tune(api: TestClient, archive: bytes = ARCHIVE, headers: dict[str, str] | None = None, **data: str) -> Response:
    return api.post("/prompts", files={"images": ("jane^doe.zip", archive)}, data=data, headers=headers or {})


def accepted(response: Response) -> dict[str, Any]:
    assert response.status_code == 202, response.text
    body: dict[str, Any] = response.json()
    return body


def code_of(response: Response) -> str:
    body = response.json()
    assert response.status_code == body["status"] == REMEDIES[body["code"]].status
    return str(body["code"])


def test_an_archive_is_accepted_with_every_default_filled_in(
    api: TestClient, redis: Redis, api_settings: ApiSettings
) -> None:
    response = tune(api, epochs="3", sigmas="[0.25]")
    job = accepted(response)
    assert response.headers["location"] == f"/jobs/{job['id']}"
    assert job["status"] == "queued"
    assert job["progress"] == {"phase": "queued", "epochs_done": 0, "epochs_total": 3, "loss": None}
    expected = asdict(TuningParams.published("few_shot")) | {"epochs": 3, "sigmas": [0.25]}
    del expected["acquisition"]  # JSON leaves it out where it is `none`
    assert job["request"] == {
        "kind": "tune",
        "name": "prompt-few-shot",
        "backbone": "demo",
        "class_names": None,
        "task": None,
        "params": expected,
    }
    assert (api_settings.blobs_dir / job["id"]).read_bytes() == ARCHIVE
    assert queue(redis, ARCHIVE_QUEUE).job_ids == [f"{job['id']}-unpack"]


def test_the_name_of_the_file_is_kept_nowhere(api: TestClient, redis: Redis) -> None:
    job = accepted(tune(api))
    assert "jane" not in api.get(f"/jobs/{job['id']}").text
    assert all(b"jane" not in (redis.dump(key) or b"") for key in redis.keys("*"))


@pytest.mark.parametrize(
    ("archive", "fields", "code"),
    [
        (b"\x89PNG\r\n\x1a\n" + bytes(64), {}, "invalid_archive"),
        (b"", {}, "invalid_archive"),
        (ARCHIVE, {"task": "nowhere"}, "unknown_task"),
        (ARCHIVE, {"backbone": "nowhere"}, "unknown_backbone"),
        (ARCHIVE, {"shots": "0"}, "invalid_request"),
        (ARCHIVE, {"sigma": "0.25"}, "unknown_field"),
        (bytes(MAX_ARCHIVE), {}, "body_too_large"),
    ],
)
def test_a_refusal_leaves_nothing(
    archive: bytes, fields: dict[str, Any], code: str, api: TestClient, redis: Redis, api_settings: ApiSettings
) -> None:
    assert code_of(tune(api, archive, **fields)) == code
    assert redis.zcard(ACTIVE) == 0
    assert not api_settings.blobs_dir.exists() or not list(api_settings.blobs_dir.iterdir())


def test_a_body_that_is_no_form_is_refused(api: TestClient) -> None:
    assert code_of(api.post("/prompts", content=ARCHIVE)) == "invalid_request"


def test_an_archive_may_be_larger_than_an_image(api: TestClient) -> None:
    larger = zipped(classes(["cat", "dog"], 30))
    assert MAX_BODY < len(larger) < MAX_ARCHIVE
    accepted(tune(api, larger))
    assert code_of(api.post("/certify", content=larger)) == "body_too_large"


def test_an_archive_is_never_in_the_memory_of_the_api_as_a_whole(
    api: TestClient, api_settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    read = SpooledTemporaryFile.read

    def watched(self: SpooledTemporaryFile[bytes], size: int = -1) -> bytes:
        asked.append(size)
        return read(self, size)

    monkeypatch.setattr(SpooledTemporaryFile, "read", watched)
    job_id = accepted(tune(api))["id"]
    assert (api_settings.blobs_dir / job_id).read_bytes() == ARCHIVE
    assert asked
    assert all(0 < size <= 1 << 20 for size in asked)


def test_a_disk_that_cannot_take_the_upload_is_reported(
    api: TestClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SpooledTemporaryFile[bytes], data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(SpooledTemporaryFile, "write", full)
    response = tune(api)
    assert code_of(response) == "storage_unavailable"
    assert "No space left" in response.json()["detail"]
    assert redis.zcard(ACTIVE) == 0


def test_the_same_key_and_request_find_the_same_job(api: TestClient) -> None:
    key = {"Idempotency-Key": "k"}
    job = accepted(tune(api, headers=key))
    assert accepted(tune(api, headers=key))["id"] == job["id"]
    assert code_of(tune(api, headers=key, seed="1")) == "idempotency_conflict"
    assert code_of(tune(api, zipped(classes(["a", "b"], 2)), headers=key)) == "idempotency_conflict"


def test_no_more_jobs_than_allowed_are_taken(api: TestClient) -> None:
    for _ in range(3):
        accepted(tune(api))
    assert code_of(tune(api)) == "queue_full"


def test_the_progress_of_every_phase_is_shown(api: TestClient, records: Records) -> None:
    job_id = accepted(tune(api, method="advpt", epochs="2"))["id"]

    def progress() -> object:
        return api.get(f"/jobs/{job_id}").json()["progress"]

    records.enter(job_id, "attacking")
    records.images_progress(job_id, images_done=32, images_total=40)
    waiting = {"epochs_done": 0, "epochs_total": 2, "loss": None}
    assert progress() == {"phase": "attacking", **waiting, "images_done": 32, "images_total": 40}
    records.enter(job_id, "tuning")
    records.epoch_progress(job_id, epochs_done=1, epochs_total=2, loss=0.5)
    assert progress() == {"phase": "tuning", "epochs_done": 1, "epochs_total": 2, "loss": 0.5}


def test_the_result_names_the_prompt_with_its_card(api: TestClient, records: Records) -> None:
    job_id = accepted(tune(api))["id"]
    card = next(iter(shipped_prompts().values()))
    records.enter(job_id, "finishing")
    records.succeed(job_id, TuningResult(prompt=card.id, card=card))
    job = api.get(f"/jobs/{job_id}").json()
    assert job["status"] == "succeeded"
    assert job["result"] == {"prompt": card.id, "card": json.loads(encode_card(card))}
    assert job["links"]["certificate"] is None


def test_the_certificate_of_a_tuning_is_said_not_to_be(api: TestClient, records: Records) -> None:
    job_id = accepted(tune(api))["id"]
    assert code_of(api.get(f"/jobs/{job_id}/certificate")) == "job_not_finished"
    records.succeed(job_id, TuningResult(prompt="p", card=next(iter(shipped_prompts().values()))))
    assert code_of(api.get(f"/jobs/{job_id}/certificate")) == "job_has_no_certificate"


def test_both_kinds_of_job_are_listed(api: TestClient) -> None:
    tuning = accepted(tune(api))["id"]
    certifying = accepted(api.post("/certify", content=b"\x89PNG\r\n\x1a\n" + bytes(64)))["id"]
    listed = api.get("/jobs").json()["jobs"]
    assert [(job["id"], job["request"]["kind"]) for job in listed] == [(certifying, "certify"), (tuning, "tune")]


def test_a_cancelled_tuning_leaves_no_upload_and_no_task(
    api: TestClient, redis: Redis, api_settings: ApiSettings
) -> None:
    job_id = accepted(tune(api))["id"]
    assert api.delete(f"/jobs/{job_id}").json()["status"] == "cancelled"
    assert rq_job(redis, "unpack", job_id) is None
    assert not list(api_settings.blobs_dir.iterdir())
