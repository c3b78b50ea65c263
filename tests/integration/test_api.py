"""The API over a real Redis: what it takes, what it refuses, and that a refusal leaves nothing behind."""

import asyncio
import hashlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from redis import Redis
from redis.asyncio import Redis as AsyncRedis
from redis.exceptions import TimeoutError as RedisTimeoutError

from certrad.app.api import events
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.errors import PROBLEMS
from certrad.models.shipped import shipped_tasks
from certrad.models.types import PromptCard
from certrad.workers.contract.catalogue import Catalogue, WorkerCard
from certrad.workers.contract.job import Created
from certrad.workers.contract.keyring import Keyring, PublicKey, Revocation
from certrad.workers.contract.names import ACTIVE, GPU_QUEUE, INTAKE_QUEUE, JOBS, record_key
from certrad.workers.contract.queues import queue, vehicle
from certrad.workers.contract.records import Records
from certrad.workers.local.redis_server import EmbeddedRedis

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
OTHER_PNG = PNG + b"other"
RFC_8037_KEY = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"  # its JWK is in appendix A
TASK = shipped_tasks()["mednist"]
SHIPPED = TASK.default_prompt
MEDNIST = ("abdomen CT", "breast MRI", "chest X-ray", "chest CT", "hand X-ray", "head CT")


@pytest.fixture
def settings(redis_server: EmbeddedRedis, tmp_path: Path) -> ApiSettings:
    return ApiSettings(
        redis_url=redis_server.url,
        data_dir=tmp_path,
        max_body_bytes=100_000,
        keep_alive=0.05,
        allowed_hosts="localhost, testserver",
    )


@pytest.fixture
def api(redis: Redis, settings: ApiSettings) -> Iterator[TestClient]:
    with TestClient(create_app(settings)) as client:
        yield client


@pytest.fixture
def records(redis: Redis, settings: ApiSettings) -> Records:
    return Records(redis, ttl=settings.job_ttl)


def assert_problem(response: object, code: str) -> dict[str, object]:
    """Checks that a response is the RFC 9457 problem of a code and gives its body."""
    body: dict[str, object] = response.json()  # type: ignore[attr-defined]
    assert body["code"] == code, body
    assert response.status_code == body["status"] == PROBLEMS[code].status  # type: ignore[attr-defined]
    assert response.headers["content-type"] == "application/problem+json"  # type: ignore[attr-defined]
    assert body["title"] == PROBLEMS[code].title
    assert body["type"] == f"urn:certrad:problem:{code}"
    return body


def refused_fields(response: object) -> list[object]:
    """The fields an `invalid_request` names."""
    errors = assert_problem(response, "invalid_request")["errors"]
    assert isinstance(errors, list)
    return [error["field"] for error in errors]


def assert_nothing_left(redis: Redis, settings: ApiSettings) -> None:
    """Checks that no job, no vehicle and no upload is there."""
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


# -- submission -----------------------------------------------------------------------------------------------------


def test_form_submission_is_accepted_with_every_default_resolved(api: TestClient, settings: ApiSettings) -> None:
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
    assert (settings.blobs_dir / job["id"]).read_bytes() == PNG


def test_raw_submission_takes_its_fields_from_the_query(api: TestClient, settings: ApiSettings) -> None:
    response = api.post("/certify", content=PNG, params={"n": "500"}, headers={"content-type": "image/jpeg"})
    assert response.status_code == 202
    assert response.json()["request"]["params"]["n"] == 500
    assert (settings.blobs_dir / response.json()["id"]).read_bytes() == PNG


def test_upload_is_readable_by_its_owner_only(api: TestClient, settings: ApiSettings) -> None:
    job_id = submit(api)
    assert (settings.blobs_dir / job_id).stat().st_mode & 0o777 == 0o600
    assert settings.blobs_dir.stat().st_mode & 0o777 == 0o700


def test_file_name_is_kept_nowhere(api: TestClient, redis: Redis, settings: ApiSettings) -> None:
    response = api.post("/certify", files={"image": ("DOE_JANE_1970.png", PNG, "image/DOE_JANE_1970")})
    assert "DOE_JANE" not in response.text
    dump = b"".join(redis.dump(key) or b"" for key in redis.scan_iter("*"))
    assert b"DOE_JANE" not in dump
    assert not [path for path in settings.data_dir.rglob("*") if "DOE_JANE" in path.name]


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


# -- idempotency ----------------------------------------------------------------------------------------------------


def test_same_key_and_request_find_the_same_job_once(api: TestClient, redis: Redis, settings: ApiSettings) -> None:
    answers = [api.post("/certify", content=PNG, headers={"idempotency-key": "k1"}).json()["id"] for _ in range(3)]
    assert len(set(answers)) == 1
    assert [path.name for path in settings.blobs_dir.iterdir()] == [answers[0]]
    assert queue(redis, INTAKE_QUEUE).job_ids == [f"{answers[0]}-decode"]


@pytest.mark.parametrize(("body", "fields"), [(OTHER_PNG, {}), (PNG, {"sigma": "0.5"})])
def test_same_key_for_another_request_is_refused(
    api: TestClient, settings: ApiSettings, body: bytes, fields: dict[str, str]
) -> None:
    first = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"}).json()["id"]
    answer = api.post("/certify", content=body, params=fields, headers={"idempotency-key": "k1"})
    assert_problem(answer, "idempotency_conflict")
    assert [path.name for path in settings.blobs_dir.iterdir()] == [first]


def test_key_of_an_erased_job_is_free_again(api: TestClient) -> None:
    first = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"}).json()["id"]
    api.delete(f"/jobs/{first}")
    assert api.delete(f"/jobs/{first}").status_code == 204
    second = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"})
    assert second.status_code == 202
    assert second.json()["id"] != first


# -- refusals -------------------------------------------------------------------------------------------------------

REFUSED_FIELDS = [
    ("unknown_field", {"sigmaa": "0.25"}, None),
    ("unknown_field", {"target": "1"}, None),
    ("invalid_request", {"sigma": "0.25", "target_radius": "1.6"}, "target_radius"),
    ("invalid_request", {"target_radius": "0.00001"}, "target_radius"),
    ("unknown_task", {"task": "dermatology"}, None),
    ("unknown_backbone", {"backbone": "gpt"}, None),
    ("unknown_prompt", {"prompt": "nobody"}, None),
    ("invalid_request", {"sigma": "nan"}, "sigma"),
    ("invalid_request", {"sigma": "inf"}, "sigma"),
    ("invalid_request", {"sigma": "auto", "adaptation": "zero_shot"}, "sigma"),
    ("invalid_request", {"sigma": "0.01"}, "sigma"),
    ("invalid_request", {"sigma": "2.5"}, "sigma"),
    ("invalid_request", {"alpha": "0.06"}, "alpha"),
    ("invalid_request", {"alpha": "0"}, "alpha"),
    ("invalid_request", {"alpha": "-inf"}, "alpha"),
    ("invalid_request", {"n0": "9"}, "n0"),
    ("invalid_request", {"n": "1000001"}, "n"),
    ("invalid_request", {"n": "50"}, "n"),
    ("invalid_request", {"n": "1e4"}, "n"),
    ("invalid_request", {"n0": "3000", "n": "2000"}, "n"),
    ("invalid_request", {"bound": "hoeffding"}, "bound"),
    ("invalid_request", {"adaptation": "none", "adapt_steps": "2"}, "adapt_steps"),
    ("invalid_request", {"adaptation": "none", "context": "words"}, "context"),
    ("invalid_request", {"adaptation": "zero_shot", "adapt_lr": "nan"}, "adapt_lr"),
    ("invalid_request", {"adaptation": "zero_shot", "adapt_samples": "1"}, "adapt_samples"),
    ("invalid_request", {"classes": '["a", "b"]'}, "template"),
    ("invalid_request", {"classes": "a,b", "template": "a {}."}, "classes"),
    ("invalid_request", {"classes": '["a", "a"]', "template": "a {}."}, "classes"),
    ("invalid_request", {"classes": '["a"]', "template": "a {}."}, "classes"),
    ("invalid_request", {"classes": '["a", "b\\u001b[2J"]', "template": "a {}."}, "classes"),
    ("invalid_request", {"classes": '["a", "b"]', "template": "no braces"}, "template"),
    ("invalid_request", {"classes": '["a", "b"]', "template": "a {}.", "task": "mednist"}, "classes"),
    ("invalid_request", {"template": "a {}."}, "template"),
    ("invalid_request", {"frame": "0"}, "frame"),
    ("invalid_request", {"region": "1,2,3"}, "region"),
    ("invalid_request", {"region": "0,0,0,5"}, "region"),
    ("invalid_request", {"region": "-1,0,5,5"}, "region"),
    ("invalid_request", {"priority": "first"}, "priority"),
    ("invalid_request", {"task": ""}, "task"),
]


@pytest.mark.parametrize(("code", "fields", "named"), REFUSED_FIELDS)
def test_refused_field_is_named_and_leaves_nothing_behind(
    api: TestClient, redis: Redis, settings: ApiSettings, code: str, fields: dict[str, str], named: str | None
) -> None:
    for answer in (
        api.post("/certify", files={"image": ("x", PNG)}, data=fields, headers={"idempotency-key": "k1"}),
        api.post("/certify", content=PNG, params=fields),
    ):
        assert_problem(answer, code)
        if named is not None:
            assert refused_fields(answer) == [named]
    assert_nothing_left(redis, settings)


def test_refused_template_is_not_repeated(api: TestClient) -> None:
    fields = {"classes": '["a", "b"]', "template": "DOE^JANE"}
    assert "DOE" not in api.post("/certify", content=PNG, params=fields).text


REFUSED_IMAGES = [
    ("empty_image", b""),
    ("unsupported_format", b"Patient: Jane Doe\n" * 20),
    ("unsupported_format", b"GIF89a" + bytes(200)),
    ("unsupported_format", b"\x89"),
    ("body_too_large", PNG + bytes(200_000)),
]


@pytest.mark.parametrize(("code", "image"), REFUSED_IMAGES, ids=lambda value: str(value)[:24])
def test_refused_image_leaves_nothing_behind(
    api: TestClient, redis: Redis, settings: ApiSettings, code: str, image: bytes
) -> None:
    assert_problem(api.post("/certify", files={"image": ("x", image)}), code)
    assert_problem(api.post("/certify", content=image), code)
    assert_problem(api.post("/certify", content=(image[i : i + 5000] for i in range(0, len(image), 5000))), code)
    assert_nothing_left(redis, settings)


REFUSED_FORMS = [
    {"data": {"sigma": "0.25"}, "files": {"picture": ("x", PNG)}},
    {"files": [("image", ("x", PNG)), ("image", ("y", PNG))]},
    {"files": {"image": (None, PNG.hex())}},
    {"data": {"sigma": ["0.25", "0.5"]}, "files": {"image": ("x", PNG)}},
    {"data": {"task": "x" * 300_000}, "files": {"image": ("x", PNG)}},
    {"content": b"--x\r\nnonsense", "headers": {"content-type": "multipart/form-data; boundary=x"}},
    {"content": b"nonsense", "headers": {"content-type": "multipart/form-data"}},
]


@pytest.mark.parametrize("form", REFUSED_FORMS, ids=range(len(REFUSED_FORMS)))
def test_malformed_form_is_refused_and_leaves_nothing_behind(
    api: TestClient, redis: Redis, settings: ApiSettings, form: dict[str, object]
) -> None:
    answer = api.post("/certify", **form)  # type: ignore[arg-type]
    assert answer.status_code in (413, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert_nothing_left(redis, settings)


def test_field_given_in_query_and_form_is_refused(api: TestClient) -> None:
    answer = api.post("/certify", params={"n": "200"}, files={"image": ("x", PNG)}, data={"n": "300"})
    assert_problem(answer, "invalid_request")


def test_full_queue_refuses_and_leaves_nothing_more(redis: Redis, settings: ApiSettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"max_queued": 2}))) as api:
        kept = {submit(api), submit(api)}
        answer = api.post("/certify", content=PNG, headers={"idempotency-key": "k"})
        assert_problem(answer, "queue_full")
        assert answer.headers["retry-after"]
    assert {path.name for path in settings.blobs_dir.iterdir()} == kept
    assert not list(redis.scan_iter("certrad:idem:*"))


def test_job_whose_creation_was_not_answered_can_run(
    api: TestClient, records: Records, settings: ApiSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    create = Records.create

    def unanswered(*arguments: Any, **options: Any) -> Created:
        create(*arguments, **options)
        raise RedisTimeoutError

    with monkeypatch.context() as patch:
        patch.setattr(Records, "create", unanswered)
        answer = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"})
    assert_problem(answer, "redis_unavailable")
    assert [path.name for path in settings.blobs_dir.iterdir()] == records.active()
    again = api.post("/certify", content=PNG, headers={"idempotency-key": "k1"})
    assert [again.json()["id"]] == records.active()
    assert [path.name for path in settings.blobs_dir.iterdir()] == records.active()


def test_disk_that_takes_no_upload_is_reported(redis: Redis, settings: ApiSettings) -> None:
    (settings.data_dir / "blobs").write_bytes(b"not a directory")
    with TestClient(create_app(settings)) as api:
        assert_problem(api.post("/certify", content=PNG), "storage_unavailable")
    assert redis.zcard(ACTIVE) == 0


# -- prompts and defaults -------------------------------------------------------------------------------------------


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


def test_tasks_default_prompt_is_used_without_adaptation(api: TestClient, redis: Redis) -> None:
    catalogue = Catalogue(redis)
    catalogue.publish_prompt(card())
    catalogue.choose_default("mednist", card().id)
    assert resolved(api)["prompt"] == card().id
    assert resolved(api)["adaptation"] is None
    template = resolved(api, prompt="template")
    assert (template["prompt"], template["adaptation"]) == ("template", None)


def test_a_task_with_a_bank_is_gated_and_without_it_uses_its_few_shot_prompt(api: TestClient) -> None:
    by_default, without = resolved(api), resolved(api, adaptation="none")
    assert (by_default["prompt"], by_default["adaptation"]) == (TASK.default_bank, {"gate": "per_sample"})
    assert (without["prompt"], without["adaptation"]) == (TASK.default_prompt, None)
    assert resolved(api, adaptation="zero_shot")["prompt"] == TASK.default_prompt


def test_without_a_learned_prompt_the_default_is_zero_shot(api: TestClient) -> None:
    classifier = resolved(api, classes='["cat", "dog"]', template="a photo of a {}.")
    assert classifier["prompt"] == "template"
    assert classifier["adaptation"] == {"steps": 1, "samples": 100, "lr": 0.005, "context": "tokens"}


def test_installation_may_choose_the_default_adaptation(redis: Redis, settings: ApiSettings) -> None:
    with TestClient(create_app(settings.model_copy(update={"default_adaptation": "none"}))) as api:
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
    }


@pytest.mark.parametrize("adaptation", ["none", "zero_shot"])
def test_template_beside_a_learned_prompt_is_refused(
    api: TestClient, redis: Redis, settings: ApiSettings, adaptation: str
) -> None:
    fields = {"prompt": SHIPPED, "classes": json.dumps(MEDNIST), "template": "draw {}.", "adaptation": adaptation}
    answer = api.post("/certify", content=PNG, params=fields)
    assert refused_fields(answer) == ["template"]
    assert_nothing_left(redis, settings)


@pytest.mark.parametrize("fields", [{}, {"prompt": SHIPPED}], ids=["default", "named"])
@pytest.mark.parametrize("context", ["words", "tokens"])
def test_context_beside_a_learned_prompt_is_refused(api: TestClient, fields: dict[str, str], context: str) -> None:
    fields = {**fields, "adaptation": "zero_shot", "context": context}
    assert refused_fields(api.post("/certify", content=PNG, params=fields)) == ["context"]


def test_hand_written_prompt_keeps_the_template_of_its_task(api: TestClient, redis: Redis) -> None:
    classifier = resolved(api, prompt="template")
    assert classifier["template"] == Catalogue(redis).tasks["mednist"].template != "{}"


@pytest.mark.parametrize(
    "fields",
    [{"task": "mednist"}, {"classes": '["dog", "cat"]'}, {"classes": '["cat", "bird"]'}],
)
def test_prompt_of_other_classes_is_refused(
    api: TestClient, redis: Redis, settings: ApiSettings, fields: dict[str, str]
) -> None:
    Catalogue(redis).publish_prompt(card(id="own-1", class_names=("cat", "dog"), task=None))
    assert_problem(api.post("/certify", content=PNG, params={"prompt": "own-1", **fields}), "prompt_mismatch")
    assert_nothing_left(redis, settings)


def test_prompt_of_another_backbone_is_refused(api: TestClient, redis: Redis, settings: ApiSettings) -> None:
    catalogue = Catalogue(redis)
    catalogue.publish_prompt(card())
    other = next(name for name in catalogue.backbones if name != "demo")
    answer = api.post("/certify", content=PNG, params={"prompt": card().id, "backbone": other})
    assert_problem(answer, "prompt_mismatch")
    assert_nothing_left(redis, settings)


def test_withdrawn_prompt_is_unknown(api: TestClient, redis: Redis) -> None:
    Catalogue(redis).publish_prompt(card())
    assert api.get(f"/prompts/{card().id}").json()["card"]["n_ctx"] == 4
    assert api.delete(f"/prompts/{card().id}").status_code == 204
    assert_problem(api.get(f"/prompts/{card().id}"), "prompt_not_found")
    assert_problem(api.post("/certify", content=PNG, params={"prompt": card().id}), "unknown_prompt")


def test_withdrawn_prompt_is_restored_as_no_tasks_choice(api: TestClient, redis: Redis) -> None:
    Catalogue(redis).publish_prompt(card())
    assert api.patch(f"/prompts/{card().id}", json={"default_for": "mednist"}).status_code == 200
    assert api.patch(f"/prompts/{card().id}", json={"withdrawn": True}).status_code == 200
    assert_problem(api.get(f"/prompts/{card().id}"), "prompt_not_found")
    assert_problem(api.patch(f"/prompts/{card().id}", json={"default_for": "mednist"}), "prompt_not_found")
    restored = api.patch(f"/prompts/{card().id}", json={"withdrawn": False})
    assert (restored.status_code, restored.json()["default_for"]) == (200, [])
    assert api.get(f"/prompts/{card().id}").json()["card"]["id"] == card().id
    assert_problem(api.patch("/prompts/nobody", json={"withdrawn": False}), "prompt_not_found")
    for change in ({}, {"withdrawn": False, "default_for": "mednist"}, {"withdrawn": None}):
        assert_problem(api.patch(f"/prompts/{card().id}", json=change), "invalid_request")


def test_prompt_becomes_the_default_of_a_task_with_its_classes(api: TestClient, redis: Redis) -> None:
    catalogue = Catalogue(redis)
    catalogue.publish_prompt(card())
    catalogue.publish_prompt(card(id="own-1", class_names=("cat", "dog"), task=None))
    changed = api.patch(f"/prompts/{card().id}", json={"default_for": "mednist"})
    assert changed.json()["default_for"] == ["mednist"]
    assert resolved(api)["prompt"] == card().id
    assert_problem(api.patch("/prompts/own-1", json={"default_for": "mednist"}), "prompt_mismatch")
    assert_problem(api.patch(f"/prompts/{card().id}", json={"default_for": "skin"}), "unknown_task")
    assert_problem(api.patch(f"/prompts/{card().id}", json={"default": "mednist"}), "unknown_field")
    assert_problem(api.patch(f"/prompts/{card().id}", content=b"{"), "invalid_request")
    assert_problem(api.patch(f"/prompts/{card().id}", content=bytes(200_000)), "body_too_large")
    assert_problem(api.patch("/prompts/nobody", json={"default_for": "mednist"}), "prompt_not_found")


def test_tasks_show_the_defaults_in_use(api: TestClient, redis: Redis) -> None:
    Catalogue(redis).publish_prompt(card())
    shipped = Catalogue(redis).tasks["mednist"]

    def defaults() -> tuple[str | None, str | None]:
        (task,) = [task for task in api.get("/tasks").json()["tasks"] if task["id"] == "mednist"]
        return task["default_prompt"], task["default_bank"]

    assert defaults() == (shipped.default_prompt, shipped.default_bank)
    api.patch(f"/prompts/{card().id}", json={"default_for": "mednist"})
    api.delete(f"/prompts/{shipped.default_bank}")
    assert defaults() == (card().id, None)
    api.delete(f"/prompts/{card().id}")
    assert defaults() == (shipped.default_prompt, None)


def test_catalogue_lists_tasks_and_says_which_backbones_an_engine_holds(api: TestClient, redis: Redis) -> None:
    assert "mednist" in [task["id"] for task in api.get("/tasks").json()["tasks"]]
    engine = WorkerCard(name="w1", device="cpu", dtype="float32", backbones=("demo",), seen_at=1.7e9)
    Catalogue(redis).publish_worker(engine)

    def available() -> dict[str, bool]:
        return {view["card"]["id"]: view["available"] for view in api.get("/backbones").json()["backbones"]}

    assert not any(available().values())
    redis.sadd("rq:workers:gpu", "rq:worker:w1")
    redis.hset("rq:worker:w1", "birth", "2026-01-01T00:00:00Z")
    assert available()["demo"]
    assert sum(available().values()) == 1


# -- jobs -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/jobs/nobody", "/jobs/x:events", "/jobs/nobody/events", "/jobs/nobody/certificate"])
def test_unknown_job_is_a_problem(api: TestClient, path: str) -> None:
    assert_problem(api.get(path), "job_not_found")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("GET", "/events"), ("GET", "/certificate")])
def test_job_whose_record_cannot_be_read_says_so(api: TestClient, redis: Redis, method: str, path: str) -> None:
    job_id = submit(api)
    redis.hset(record_key(job_id), "request", "{")
    assert_problem(api.request(method, f"/jobs/{job_id}{path}"), "job_unreadable")


def test_unknown_job_cannot_be_deleted(api: TestClient) -> None:
    assert_problem(api.delete("/jobs/nobody"), "job_not_found")


def test_failed_job_carries_its_problem(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.fail(job_id, "unreadable_image", "the file is truncated")
    job = api.get(f"/jobs/{job_id}").json()
    assert job["status"] == "failed"
    assert job["error"] == {
        "type": "urn:certrad:problem:unreadable_image",
        "title": PROBLEMS["unreadable_image"].title,
        "status": 422,
        "code": "unreadable_image",
        "detail": "the file is truncated",
        "instance": f"/jobs/{job_id}",
    }


def test_cancelled_job_leaves_no_vehicle_and_no_upload(
    api: TestClient, redis: Redis, records: Records, settings: ApiSettings
) -> None:
    job_id = submit(api)
    answer = api.delete(f"/jobs/{job_id}")
    assert answer.status_code == 200
    assert answer.json()["status"] == "cancelled"
    assert vehicle(redis, "decode", job_id) is None
    assert queue(redis, INTAKE_QUEUE).job_ids == []
    assert not list(settings.blobs_dir.iterdir())
    assert records.active() == []


def test_ended_job_is_erased_with_everything(api: TestClient, redis: Redis, settings: ApiSettings) -> None:
    job_id = submit(api)
    api.delete(f"/jobs/{job_id}")
    assert api.delete(f"/jobs/{job_id}").status_code == 204
    assert_problem(api.get(f"/jobs/{job_id}"), "job_not_found")
    assert_nothing_left(redis, settings)


def listed(api: TestClient) -> list[str]:
    """The ids of every page of the list, two jobs a page."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        page = api.get("/jobs", params={"limit": 2, **({"cursor": cursor} if cursor else {})}).json()
        found += [job["id"] for job in page["jobs"]]
        cursor = page["next"]
        if cursor is None:
            return found


def test_list_pages_newest_first_and_misses_none(api: TestClient) -> None:
    submitted = [submit(api) for _ in range(5)]
    assert listed(api) == submitted[::-1]


def test_list_goes_on_past_jobs_that_expired(api: TestClient, redis: Redis) -> None:
    submitted = [submit(api) for _ in range(7)]
    redis.delete(*(record_key(job_id) for job_id in submitted[2:5]))
    assert listed(api) == [submitted[index] for index in (6, 5, 1, 0)]


@pytest.mark.parametrize("query", [{"limit": "0"}, {"limit": "x"}, {"cursor": "nan"}])
def test_list_refuses_a_bad_page(api: TestClient, query: dict[str, str]) -> None:
    assert_problem(api.get("/jobs", params=query), "invalid_request")


def test_list_refuses_unknown_fields(api: TestClient) -> None:
    assert_problem(api.get("/jobs", params={"size": "3"}), "unknown_field")


# -- events ---------------------------------------------------------------------------------------------------------


def stream(api: TestClient, job_id: str, **headers: str) -> list[dict[str, str]]:
    """Every event of a job until the stream ends."""
    found: list[dict[str, str]] = []
    with api.stream("GET", f"/jobs/{job_id}/events", headers=headers) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        text = "".join(response.iter_text())
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "event" in fields:
            found.append(fields)
    return found


def test_events_come_in_order_until_the_end(api: TestClient, records: Records) -> None:
    job_id = submit(api)

    def work() -> None:
        records.enter(job_id, "decoding")
        records.progress(job_id, samples_done=64, counts=(64, 0), invalid=0)
        records.fail(job_id, "internal_error", "")

    thread = threading.Thread(target=work)
    thread.start()
    seen = stream(api, job_id)
    thread.join()
    assert [event["event"] for event in seen] == ["phase", "progress", "end"]
    assert seen[-1]["data"] == '{"status": "failed"}'


def test_a_job_with_a_target_shows_its_running_radius(api: TestClient, records: Records) -> None:
    answer = api.post("/certify", files={"image": PNG}, data={"sigma": "0.25", "target_radius": "0.1"})
    job_id = answer.json()["id"]
    assert answer.json()["request"]["params"]["target_radius"] == 0.1
    assert "running_radius" not in answer.json()["progress"]
    records.enter(job_id, "estimating")
    records.progress(job_id, samples_done=164, counts=(64, 0), invalid=0, running_radius=0.0612)
    records.cancel(job_id)
    assert api.get(f"/jobs/{job_id}").json()["progress"]["running_radius"] == 0.0612
    told = [json.loads(event["data"]) for event in stream(api, job_id) if event["event"] == "progress"]
    assert [data["running_radius"] for data in told] == [0.0612]


def test_events_go_on_after_the_last_one_seen(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.enter(job_id, "decoding")
    records.enter(job_id, "waiting")
    records.cancel(job_id)
    seen = stream(api, job_id)
    rest = stream(api, job_id, **{"last-event-id": seen[0]["id"]})
    assert rest == seen[1:]
    assert stream(api, job_id, **{"last-event-id": seen[-1]["id"]}) == []


def test_event_that_was_read_is_not_read_again(api: TestClient, records: Records, redis_server: EmbeddedRedis) -> None:
    job_id = submit(api)
    records.enter(job_id, "decoding")

    async def read() -> list[str]:
        names: list[str] = []
        async with AsyncRedis.from_url(redis_server.url, protocol=2) as client:
            async for event in events.follow(client, job_id, beat=1.0):
                assert event is not None
                names.append(event.name)
                records.fail(job_id, "internal_error", "")
        return names

    assert asyncio.run(read()) == ["phase", "end"]


@pytest.mark.parametrize("event_id", ["$", "0", "1-", "-1-0", f"{2**64}-0", f"0-{2**64}"])
def test_last_event_id_that_is_none_is_refused(api: TestClient, records: Records, event_id: str) -> None:
    job_id = submit(api)
    records.cancel(job_id)
    assert_problem(api.get(f"/jobs/{job_id}/events", headers={"last-event-id": event_id}), "invalid_request")


def test_greatest_event_id_is_one(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.cancel(job_id)
    assert stream(api, job_id, **{"last-event-id": f"{2**64 - 1}-{2**64 - 1}"}) == []


# -- certificates ---------------------------------------------------------------------------------------------------


def test_certificate_is_served_byte_for_byte(api: TestClient, records: Records, settings: ApiSettings) -> None:
    job_id = submit(api)
    assert_problem(api.get(f"/jobs/{job_id}/certificate"), "job_not_finished")
    document = b'{"schema":"certrad.certificate/1"}'
    digest = hashlib.sha256(document).hexdigest()
    settings.certificates_dir.mkdir(parents=True)
    (settings.certificates_dir / f"{digest}.json").write_bytes(document)
    records.succeed(job_id, RESULT, certificate=digest)
    link = api.get(f"/jobs/{job_id}").json()["links"]["certificate"]
    for path in (link, f"/jobs/{job_id}/certificate"):
        answer = api.get(path)
        assert answer.content == document
        assert answer.headers["etag"] == f'"{digest}"'
        assert api.get(path, headers={"if-none-match": f'"{digest}"'}).status_code == 304
    api.delete(f"/jobs/{job_id}")
    assert api.get(link).content == document


def test_job_without_certificate_says_so(api: TestClient) -> None:
    job_id = submit(api)
    api.delete(f"/jobs/{job_id}")
    assert_problem(api.get(f"/jobs/{job_id}/certificate"), "job_has_no_certificate")


@pytest.mark.parametrize("name", ["0" * 64, "0" * 63, "..%2F..%2Fetc%2Fpasswd", "A" * 64])
def test_unknown_certificate_is_a_problem(api: TestClient, name: str) -> None:
    answer = api.get(f"/certificates/{name}")
    assert answer.status_code == 404
    assert answer.json()["code"] in ("certificate_not_found", "not_found")


def test_changed_certificate_is_not_served(api: TestClient, settings: ApiSettings) -> None:
    settings.certificates_dir.mkdir(parents=True)
    (settings.certificates_dir / f"{'0' * 64}.json").write_bytes(b"{}")
    assert_problem(api.get(f"/certificates/{'0' * 64}"), "digest_mismatch")


RESULT = {
    "outcome": "abstained",
    "reason": "no_majority",
    "scope": "input_independent",
    "scope_text": "covers the named classifier",
    "sigma": 0.25,
    "alpha": 0.001,
    "n0": 100,
    "n": 10_000,
    "bound": "two_class",
    "samples_used": 10_100,
    "p_a_lower": 0.4,
    "p_b_upper": 0.5,
    "counts": [1, 2],
    "invalid": 0,
    "class_names": ["a", "b"],
    "prompt": "template",
    "adaptation": "none",
    "backbone": "demo",
    "pixels_sha256": "0" * 64,
    "input_sha256": "0" * 64,
    "radius_in_image_units": {"value": None, "reason": "an abstention has no radius"},
    "target_radius": None,
    "decision": {"rule": "clopper_pearson", "look_every": None},
    "warnings": [],
    "provenance": {},
    "timing": {"total": 1.0},
}


def test_result_is_shown_as_it_was_stored(api: TestClient, records: Records) -> None:
    job_id = submit(api)
    records.succeed(job_id, RESULT, certificate="0" * 64)
    assert api.get(f"/jobs/{job_id}").json()["result"] == RESULT


# -- health ---------------------------------------------------------------------------------------------------------


def test_probes_tell_process_store_and_workers_apart(api: TestClient, redis: Redis) -> None:
    assert api.get("/health/live").json() == {"status": "ok"}
    assert api.get("/health/ready").json() == {"status": "ok"}
    assert_problem(api.get("/health/workers"), "no_worker")
    for name in (INTAKE_QUEUE, GPU_QUEUE):
        redis.sadd(f"rq:workers:{name}", f"rq:worker:{name}-1", f"rq:worker:{name}-dead")
        redis.hset(f"rq:worker:{name}-1", mapping={"birth": "2026-01-01T00:00:00Z", "state": "idle"})
    body = api.get("/health/workers").json()
    assert [worker["name"] for worker in body["queues"]["gpu"]] == ["gpu-1"]


def test_metrics_count_jobs_and_change_nothing(api: TestClient, redis: Redis) -> None:
    submit(api)
    before = sorted(redis.scan_iter("*"))
    text = api.get("/metrics").text
    assert "certrad_jobs_active 1.0" in text
    assert 'certrad_stages_waiting{queue="intake"} 1.0' in text
    assert 'certrad_workers{queue="gpu"} 0.0' in text
    assert sorted(redis.scan_iter("*")) == before


def test_no_key_and_no_commitment_is_an_answer_too(api: TestClient) -> None:
    assert api.get("/.well-known/certrad-keys").json() == {"keys": [], "revoked": [], "epochs": []}


def test_every_public_key_is_published_and_the_newest_is_the_current_one(api: TestClient, redis: Redis) -> None:
    keyring = Keyring(redis)
    keyring.publish_key(PublicKey(public_key="00" * 32, first_used=1.8e9))
    keyring.publish_key(PublicKey(public_key=RFC_8037_KEY, first_used=1.7e9))
    keyring.publish_key(PublicKey(public_key=RFC_8037_KEY, first_used=1.9e9))
    old, new = api.get("/.well-known/certrad-keys").json()["keys"]
    key_id = hashlib.sha256(bytes.fromhex(RFC_8037_KEY)).hexdigest()[:16]
    assert old == {
        "key_id": key_id,
        "algorithm": "Ed25519",
        "public_key": RFC_8037_KEY,
        "jwk": {
            "kty": "OKP",
            "crv": "Ed25519",
            "alg": "EdDSA",
            "use": "sig",
            "kid": key_id,
            "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
        },
        "status": "retired",
        "first_used": "2023-11-14T22:13:20Z",
    }
    assert (new["public_key"], new["status"]) == ("00" * 32, "current")


def test_a_revoked_key_is_published_by_its_digest_only(api: TestClient, redis: Redis) -> None:
    keyring, digest = Keyring(redis), hashlib.sha256(bytes.fromhex(RFC_8037_KEY)).hexdigest()
    keyring.publish_key(PublicKey(public_key=RFC_8037_KEY, first_used=1.7e9))
    keyring.publish_key(PublicKey(public_key="00" * 32, first_used=1.8e9))
    for reason in ("it leaked", "it did not"):
        keyring.publish_revocation(Revocation(sha256=digest, revoked_at=1.8e9, reason=reason))
    answer = api.get("/.well-known/certrad-keys")
    assert answer.json()["revoked"] == [
        {"key_id": digest[:16], "sha256": digest, "revoked_at": "2027-01-15T08:00:00Z", "reason": "it leaked"}
    ]
    assert [(key["public_key"], key["status"]) for key in answer.json()["keys"]] == [("00" * 32, "current")]
    assert RFC_8037_KEY not in answer.text


def test_every_epoch_commitment_is_published_with_what_was_revealed(api: TestClient, redis: Redis) -> None:
    keyring = Keyring(redis)
    keyring.publish_epoch("b" * 64, first_used=1.8e9)
    keyring.publish_epoch("a" * 64, first_used=1.7e9)
    keyring.publish_epoch("a" * 64, first_used=1.9e9)
    keyring.reveal_epoch("a" * 64, b"s" * 32)
    assert api.get("/.well-known/certrad-keys").json()["epochs"] == [
        {"sha256": "a" * 64, "status": "retired", "first_used": "2023-11-14T22:13:20Z", "secret": "73" * 32},
        {"sha256": "b" * 64, "status": "current", "first_used": "2027-01-15T08:00:00Z", "secret": None},
    ]


# -- every answer ---------------------------------------------------------------------------------------------------


def test_unknown_address_and_method_are_problems(api: TestClient) -> None:
    assert_problem(api.get("/nowhere"), "not_found")
    answer = api.put("/certify")
    assert_problem(answer, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    "host", ["localhost", "LocalHost:8000", "127.0.0.1", "127.0.1.1:80", "[::1]", "[::1]:8000", "testserver:"]
)
def test_loopback_and_allowed_hosts_are_answered(api: TestClient, host: str) -> None:
    assert api.get("/health/live", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8000", "localhost.evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil.example",
     "10.0.0.1", "[::2]:80", "[::1].evil.example", "::1", "", "localhost:80:80", "localhost,evil.example"],
)  # fmt: skip
def test_other_hosts_are_refused_and_leave_nothing_behind(
    api: TestClient, redis: Redis, settings: ApiSettings, host: str
) -> None:
    assert_problem(api.get("/health/live", headers={"host": host}), "host_not_allowed")
    assert_problem(api.post("/certify", content=PNG, headers={"host": host}), "host_not_allowed")
    assert_nothing_left(redis, settings)


def test_host_given_twice_is_refused(api: TestClient) -> None:
    answer = api.get("/health/live", headers=[("host", "localhost"), ("host", "evil.example")])
    assert_problem(answer, "host_not_allowed")


def test_answers_are_not_cached_and_not_sniffed(api: TestClient) -> None:
    for answer in (api.get(f"/jobs/{submit(api)}"), api.get("/nowhere"), api.post("/certify", content=bytes(200_000))):
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"


def test_defect_is_reported_without_what_was_sent(
    redis: Redis, settings: ApiSettings, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings)

    def broken() -> None:
        raise ValueError("Jane Doe")

    app.add_api_route("/broken", broken)
    with TestClient(app) as api:
        answer = api.get("/broken")
    assert_problem(answer, "internal_error")
    output = caplog.text
    assert "ValueError" in output
    assert "broken" in output
    assert "Jane Doe" not in answer.text + output
