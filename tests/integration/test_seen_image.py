"""GET /jobs/{id}/input shows what the model saw of an image, from intake until it expires."""

import io
import stat
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from redis import Redis

from certrad.app.api.jobs import Jobs
from certrad.app.api.remedies import REMEDIES
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected
from certrad.models.images.model_input import ModelInput
from certrad.workers.contract import uploads
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.names import input_key
from certrad.workers.contract.records import Records
from certrad.workers.intake import tasks as intake
from certrad.workers.queue.maintenance import reap
from certrad.workers.settings import WorkerSettings
from tests.support.archives import zipped
from tests.support.images import encoded, noise

PICTURE = encoded(noise(70, 64, seed=1), "PNG")
FIELDS = {"prompt": "template", "adaptation": "none", "task": "mednist"}


@pytest.fixture
def api(redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The API on the data directory of intake, whose tasks build the same settings from the environment."""
    monkeypatch.setenv("CERTRAD_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("CERTRAD_DATA_DIR", str(settings.data_dir))
    shared = ApiSettings(redis_url=settings.redis_url, data_dir=settings.data_dir, allowed_hosts="testserver")
    with TestClient(create_app(shared)) as client:
        yield client


def submit(api: TestClient) -> str:
    answer = api.post("/certify", content=PICTURE, params=FIELDS)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def code_of(api: TestClient, job_id: str) -> str:
    answer = api.get(f"/jobs/{job_id}/input")
    code = str(answer.json()["code"])
    assert answer.status_code == REMEDIES[code].status
    return code


def stored(settings: WorkerSettings) -> list[Path]:
    return sorted(settings.outputs_dir.iterdir())


def test_picture_is_the_model_input_in_8_bits_and_nobody_elses_to_read(
    api: TestClient, redis: Redis, settings: WorkerSettings
) -> None:
    job_id = submit(api)
    assert code_of(api, job_id) == "job_has_no_input"
    intake.decode(job_id)
    pixels = ModelInput.from_bytes(redis.get(input_key(job_id)), 64).pixels  # type: ignore[arg-type]
    answer = api.get(f"/jobs/{job_id}/input")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/png")
    assert answer.headers["cache-control"] == "no-store"
    shown = np.asarray(Image.open(io.BytesIO(answer.content)))
    assert (shown == np.rint(pixels.transpose(1, 2, 0) * 255)).all()
    (file,) = stored(settings)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.outputs_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize("ended", [False, True], ids=["cancelled", "erased"])
def test_delete_takes_the_picture_along(ended: bool, api: TestClient, redis: Redis, settings: WorkerSettings) -> None:
    job_id = submit(api)
    intake.decode(job_id)
    if ended:
        Records(redis, ttl=settings.job_ttl).fail(job_id, "internal_error", "of the test")
    assert api.delete(f"/jobs/{job_id}").status_code == (204 if ended else 200)
    assert stored(settings) == []
    assert code_of(api, job_id) == ("job_not_found" if ended else "output_expired")


def test_picture_expires_some_time_after_the_end_of_the_job(
    api: TestClient, redis: Redis, settings: WorkerSettings
) -> None:
    job_id = submit(api)
    intake.decode(job_id)
    records = Records(redis, ttl=settings.job_ttl)
    late = time.time() + settings.output_ttl + 1
    jobs = Jobs(redis, ApiSettings(redis_url=settings.redis_url, data_dir=settings.data_dir), clock=lambda: late)
    assert jobs.model_input(job_id, LOCAL_TENANT)  # the job has not ended: it may have waited
    reap(redis, settings, clock=lambda: late)
    assert len(stored(settings)) == 1
    records.fail(job_id, "internal_error", "of the test")
    with pytest.raises(Rejected, match="output_expired"):
        jobs.model_input(job_id, LOCAL_TENANT)
    reap(redis, settings)
    assert len(stored(settings)) == 1
    reap(redis, settings, clock=lambda: late)
    assert stored(settings) == []
    assert code_of(api, job_id) == "output_expired"


def test_picture_without_a_job_is_deleted_after_an_hour(redis: Redis, settings: WorkerSettings) -> None:
    uploads.store(settings.outputs_dir, "nobodys", io.BytesIO(b"png"))
    reap(redis, settings)
    assert len(stored(settings)) == 1
    reap(redis, settings, clock=lambda: time.time() + 3_601)
    assert stored(settings) == []


def test_a_disk_that_cannot_be_written_costs_the_picture_and_not_the_job(
    api: TestClient, redis: Redis, settings: WorkerSettings
) -> None:
    job_id = submit(api)
    settings.outputs_dir.write_text("no folder")
    intake.decode(job_id)
    record = Records(redis, ttl=settings.job_ttl).read(job_id)
    assert record is not None
    assert (record.status, record.phase) == ("running", "waiting")


def test_an_image_that_cannot_be_decoded_has_no_picture(api: TestClient) -> None:
    answer = api.post("/certify", content=PICTURE[:200], params=FIELDS)
    intake.decode(answer.json()["id"])
    assert code_of(api, answer.json()["id"]) == "job_has_no_input"


def test_a_tuning_and_an_unknown_job_have_none(api: TestClient) -> None:
    archive = zipped({"a/1.png": PICTURE, "b/1.png": PICTURE})
    tuning = api.post("/prompts", files={"images": archive}, data={"method": "coop"}).json()["id"]
    assert code_of(api, tuning) == "job_has_no_input"
    assert code_of(api, "nobody") == "job_not_found"
