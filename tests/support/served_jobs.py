"""Jobs that the API accepts and the tasks of every stage work on, in the process of the test."""

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from certrad.models.adapters.store import AdapterStore
from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.verify import check_image
from certrad.models.prompts.store import PromptStore
from certrad.models.replay.rebuild import Rebuilt, rebuild
from certrad.models.shipped import shipped_backbones
from certrad.workers import issue
from certrad.workers.engine import tasks as engine
from certrad.workers.intake import tasks as intake
from certrad.workers.intake.decode import decode_limited
from certrad.workers.settings import WorkerSettings


def run_job(api: TestClient, image: bytes, fields: dict[str, str]) -> dict[str, Any]:
    """Submits an image, lets every stage work on it, and returns the job."""
    answer = api.post("/certify", files={"image": image}, data=fields)
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    intake.decode(job_id)
    engine.certify(job_id)
    issue.finish(job_id)
    job: dict[str, Any] = api.get(f"/jobs/{job_id}").json()
    return job


def document_of(api: TestClient, job: dict[str, Any]) -> bytes:
    """Returns the certificate of a job."""
    assert job["status"] == "succeeded", job["error"]
    return api.get(job["links"]["certificate"]).content


def rebuilt_from(content: bytes, image: bytes, settings: WorkerSettings) -> Rebuilt:
    """Returns the classifier and noise of a certificate on the demonstration backbone, and the image decoded again."""
    statement = read(parse(content))
    cards = shipped_backbones()
    decoded, facts = decode_limited(image, statement.request, cards["demo"], settings)
    check_image(statement, facts)
    stores = PromptStore(own=settings.prompts_dir), AdapterStore(own=settings.adapters_dir)
    return rebuild(statement, decoded, cards, Path(), *stores)
