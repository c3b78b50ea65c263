"""POST /certify accepts form and raw bodies, keeps idempotency keys, and finds the classifier that a request means."""

import json
import threading
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from redis.exceptions import TimeoutError as RedisTimeoutError

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.shipped import shipped_tasks
from certrad.models.types import CertifyRequest
from certrad.models.types.window import (
    FileWindow,
    FixedWindow,
    PercentileWindow,
    PresetWindow,
    RequestedWindow,
    WindowPreset,
)
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.job import Created
from certrad.workers.contract.names import INTAKE_QUEUE, record_key
from certrad.workers.contract.queues import queue
from certrad.workers.contract.records import Records
from tests.support.api import MEDNIST, PNG, card, resolved, submit
from tests.support.problems import assert_problem

OTHER_PNG = PNG + b"other"
TASK = shipped_tasks()["mednist"]
SHIPPED = TASK.default_prompt


def test_form_submission_is_accepted_with_every_default_resolved(api: TestClient, api_settings: ApiSettings) -> None:
    response = api.post("/certify", files={"image": ("doe^jane.png", PNG)}, data={"sigma": "0.5", "n": "2000"})
    assert response.status_code == 202
    job = response.json()
    assert response.headers["location"] == response.headers["content-location"] == f"/jobs/{job['id']}"
    assert int(response.headers["retry-after"]) >= 1
    assert job["status"] == "queued"
    assert job["progress"] == {"phase": "queued", "samples_done": 0, "samples_total": 2100}
    assert job["request"]["params"] == {
        "sigma": 0.5,
        "alpha": 0.001,
        "n0": 100,
        "n": 2000,
        "bound": "two_class",
        "target_radius": None,
    }
    assert job["request"]["task"] == "mednist"
    assert tuple(job["request"]["classifier"]["class_names"]) == MEDNIST
    assert job["result"] is job["error"] is job["links"]["certificate"] is None
    assert (api_settings.blobs_dir / job["id"]).read_bytes() == PNG


def test_raw_submission_takes_its_fields_from_the_query(api: TestClient, api_settings: ApiSettings) -> None:
    response = api.post("/certify", content=PNG, params={"n": "500"}, headers={"content-type": "image/jpeg"})
    assert response.status_code == 202
    assert response.json()["request"]["params"]["n"] == 500
    assert (api_settings.blobs_dir / response.json()["id"]).read_bytes() == PNG


SOFT = WindowPreset(modality="CT", name="soft_tissue", centre=50.0, width=400.0)
LUNG = WindowPreset(modality="CT", name="lung", centre=-600.0, width=1500.0)


@pytest.mark.parametrize(
    ("fields", "window"),
    [
        ({}, FileWindow(presets=(SOFT,))),
        ({"window": "file"}, FileWindow(presets=(SOFT,))),
        ({"window": "file", "task": "rsna", "backbone": "demo"}, FileWindow()),
        ({"window": "-600,1500"}, FixedWindow(centre=-600.0, width=1500.0)),
        ({"window": "lung"}, PresetWindow(preset=LUNG)),
        ({"window": "percentile"}, PercentileWindow()),
    ],
)
def test_the_window_of_a_request_is_resolved_before_the_image_is_seen(
    api: TestClient, records: Records, fields: dict[str, str], window: RequestedWindow
) -> None:
    record = records.read(submit(api, **fields))
    assert record is not None
    assert isinstance(record.request, CertifyRequest)
    assert record.request.window == window


def test_upload_is_readable_by_its_owner_only(api: TestClient, api_settings: ApiSettings) -> None:
    job_id = submit(api)
    assert (api_settings.blobs_dir / job_id).stat().st_mode & 0o777 == 0o600
    assert api_settings.blobs_dir.stat().st_mode & 0o777 == 0o700


def test_file_name_is_kept_nowhere(api: TestClient, redis: Redis, api_settings: ApiSettings) -> None:
    response = api.post("/certify", files={"image": ("DOE_JANE_1970.png", PNG, "image/DOE_JANE_1970")})
    assert "DOE_JANE" not in response.text
    dump = b"".join(redis.dump(key) or b"" for key in redis.scan_iter("*"))
    assert b"DOE_JANE" not in dump
    assert not [path for path in api_settings.data_dir.rglob("*") if "DOE_JANE" in path.name]


def test_job_is_queued_for_decoding_and_urgent_goes_first(api: TestClient, redis: Redis) -> None:
    normal = submit(api)
    urgent = submit(api, priority="urgent")
    assert queue(redis, INTAKE_QUEUE).job_ids == [f"{urgent}-decode", f"{normal}-decode"]


def test_preferred_wait_answers_as_soon_as_the_job_ends(api: TestClient, redis: Redis, records: Records) -> None:
    def cancel_when_there() -> None:
        while not records.active():
            pass
        records.cancel(records.active()[0])

    thread = threading.Thread(target=cancel_when_there)
    thread.start()
    response = api.post("/certify", content=PNG, headers={"prefer": "respond-async, wait=20"})
    thread.join()
    assert response.status_code == 200
    assert response.headers["preference-applied"] == "wait=20"
    assert response.json()["status"] == "cancelled"
    assert response.elapsed.total_seconds() < 10


def test_preferred_wait_ends_with_202_when_the_job_takes_longer(api: TestClient) -> None:
    response = api.post("/certify", content=PNG, headers={"prefer": "wait=0"})
    assert response.status_code == 202


def test_same_key_and_request_find_the_same_job_once(api: TestClient, redis: Redis, api_settings: ApiSettings) -> None:
    answers = [api.post("/certify", content=PNG, headers={"idempotency-key": "k1"}).json()["id"] for _ in range(3)]
    assert len(set(answers)) == 1
    assert [path.name for path in api_settings.blobs_dir.iterdir()] == [answers[0]]
    assert queue(redis, INTAKE_QUEUE).job_ids == [f"{answers[0]}-decode"]


@pytest.mark.parametrize(("body", "fields"), [(OTHER_PNG, {}), (PNG, {"sigma": "0.5"})])
def test_same_key_for_another_request_is_refused(
    api: TestClient, api_settings: ApiSettings, body: bytes, fields: dict[str, str]
) -> None:
    first = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"}).json()["id"]
    answer = api.post("/certify", content=body, params=fields, headers={"idempotency-key": "k1"})
    assert_problem(answer, "idempotency_conflict")
    assert [path.name for path in api_settings.blobs_dir.iterdir()] == [first]


def test_key_of_an_erased_job_is_free_again(api: TestClient) -> None:
    first = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"}).json()["id"]
    api.delete(f"/jobs/{first}")
    assert api.delete(f"/jobs/{first}").status_code == 204
    second = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"})
    assert second.status_code == 202
    assert second.json()["id"] != first


@pytest.mark.parametrize(
    "written",
    [
        {"request": "{"},
        {"samples_done": "many"},
        {"phase": "dreaming"},
        {"status": "failed", "phase": "done", "error": '{"code": "of_tomorrow", "detail": ""}'},
    ],
    ids=lambda written: next(iter(written)),
)
def test_an_accepted_job_that_another_version_changed_is_answered_as_it_was_created(
    written: dict[str, str], api: TestClient, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Records.create

    def changed(records: Records, job_id: str, *arguments: Any, **options: Any) -> Created:
        created = create(records, job_id, *arguments, **options)
        redis.hset(record_key(job_id), items=[part for field in written.items() for part in field])
        return created

    monkeypatch.setattr(Records, "create", changed)
    answer = api.post("/certify", content=PNG)
    assert (answer.status_code, answer.json()["status"]) == (202, "queued")


def test_job_whose_creation_was_not_answered_can_run(
    api: TestClient, records: Records, api_settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Records.create

    def unanswered(*arguments: Any, **options: Any) -> Created:
        create(*arguments, **options)
        raise RedisTimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(Records, "create", unanswered)
        answer = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"})
    assert_problem(answer, "redis_unavailable")
    assert [path.name for path in api_settings.blobs_dir.iterdir()] == records.active()
    again = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"})
    assert [again.json()["id"]] == records.active()
    assert [path.name for path in api_settings.blobs_dir.iterdir()] == records.active()


def test_tasks_default_prompt_is_used_without_adaptation(api: TestClient, redis: Redis) -> None:
    catalogue = Catalogue(redis)
    catalogue.publish_prompt(card())
    catalogue.choose_default("mednist", card().id)
    assert resolved(api)["prompt"] == card().id
    assert resolved(api)["adaptation"] is None
    template = resolved(api, prompt="template")
    assert (template["prompt"], template["adaptation"]) == ("template", None)


def test_a_task_with_a_bank_is_gated_and_else_uses_its_prompt(api: TestClient) -> None:
    by_default, without = resolved(api), resolved(api, adaptation="none")
    assert (by_default["prompt"], by_default["adaptation"]) == (TASK.default_bank, {"gate": "per_sample"})
    assert (without["prompt"], without["adaptation"]) == (TASK.default_prompt, None)
    assert resolved(api, adaptation="zero_shot")["prompt"] == TASK.default_prompt


def test_without_a_learned_prompt_nothing_is_tuned_on_the_image_by_default(api: TestClient) -> None:
    classifier = resolved(api, classes='["cat", "dog"]', template="a photo of a {}.")
    assert classifier["prompt"] == "template"
    assert classifier["adaptation"] is None
    assert resolved(api, backbone="plip")["adaptation"] is None


def test_installation_may_choose_the_default_adaptation(redis: Redis, api_settings: ApiSettings) -> None:
    with TestClient(create_app(api_settings.model_copy(update={"default_adaptation": "none"}))) as api:
        assert resolved(api, classes='["cat", "dog"]', template="a photo of a {}.")["adaptation"] is None


def test_prompt_brings_its_classes_and_backbone(api: TestClient, redis: Redis) -> None:
    own = card(id="own-1", class_names=("cat", "dog"), task=None, backbone="demo")
    Catalogue(redis).publish_prompt(own)
    classifier = resolved(api, prompt="own-1")
    assert (classifier["backbone"], classifier["class_names"]) == ("demo", ["cat", "dog"])
    assert classifier["adaptation"] is None


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"prompt": SHIPPED},
        {"prompt": SHIPPED, "classes": json.dumps(MEDNIST)},
        {"prompt": SHIPPED, "task": "mednist"},
    ],
    ids=["default", "named", "with its classes", "with its task"],
)
@pytest.mark.parametrize("adaptation", ["none", "zero_shot"])
def test_one_learned_prompt_has_one_specification(api: TestClient, fields: dict[str, str], adaptation: str) -> None:
    classifier = resolved(api, **fields, adaptation=adaptation)
    zero_shot = {"steps": 1, "samples": 100, "lr": 0.005, "context": "tokens"}
    assert classifier == {
        "backbone": "demo",
        "prompt": SHIPPED,
        "class_names": list(MEDNIST),
        "template": "{}",
        "adaptation": zero_shot if adaptation == "zero_shot" else None,
        "adapter": TASK.default_adapter,
    }


def test_hand_written_prompt_keeps_the_template_of_its_task(api: TestClient, redis: Redis) -> None:
    classifier = resolved(api, prompt="template")
    assert classifier["template"] == Catalogue(redis).tasks()["mednist"].template != "{}"
