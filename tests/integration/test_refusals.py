"""POST /certify refuses each wrong request with the right problem, and a refusal leaves nothing behind."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.api.jobs import Jobs
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.shipped import shipped_tasks
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.names import ACTIVE
from certrad.workers.local.redis_server import EmbeddedRedis
from tests.support.api import MEDNIST, PNG, assert_nothing_left, card, submit
from tests.support.problems import assert_problem, refused_fields
from tests.support.shortages import SHORTAGES, Shortage

SHIPPED = shipped_tasks()["mednist"].default_prompt


REFUSED_FIELDS = [
    ("unknown_field", {"sigmaa": "0.25"}, None),
    ("unknown_field", {"target": "1"}, None),
    ("invalid_request", {"sigma": "0.25", "target_radius": "1.6"}, "target_radius"),
    ("invalid_request", {"target_radius": "0.00001"}, "target_radius"),
    ("unknown_task", {"task": "dermatology"}, None),
    ("unknown_backbone", {"backbone": "gpt"}, None),
    ("unknown_prompt", {"prompt": "nobody"}, None),
    ("invalid_request", {"sigma": "nan"}, "sigma"),
    ("invalid_request", {"n0": "10", "n": "10"}, "n"),
    ("invalid_request", {"classes": '["malignant", "malignant "]', "template": "a {}"}, "classes"),
    ("invalid_request", {"classes": '["malignant", "Malignant"]', "template": "a {}"}, "classes"),
    ("invalid_request", {"classes": '["malignant_tumour", "malignant tumour"]', "template": "a {}"}, "classes"),
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
    ("invalid_request", {"n0": "10001"}, "n"),
    ("invalid_request", {"n0": "1000000"}, "n"),
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
    ("invalid_request", {"window": "40;400"}, "window"),
    ("invalid_request", {"window": "40,1"}, "window"),
    ("invalid_request", {"window": "nan,400"}, "window"),
    ("unknown_window", {"window": "liver"}, None),
    ("unknown_window", {"window": "lung", "task": "rsna"}, None),
    ("unknown_window", {"window": "lung", "classes": '["a", "b"]', "template": "a {}."}, None),
    ("invalid_request", {"priority": "first"}, "priority"),
    ("invalid_request", {"task": ""}, "task"),
]


@pytest.mark.parametrize(("code", "fields", "named"), REFUSED_FIELDS)
def test_refused_field_is_named_and_leaves_nothing_behind(
    api: TestClient, redis: Redis, api_settings: ApiSettings, code: str, fields: dict[str, str], named: str | None
) -> None:
    for answer in (
        api.post("/certify", files={"image": ("x", PNG)}, data=fields, headers={"idempotency-key": "k1"}),
        api.post("/certify", content=PNG, params=fields),
    ):
        assert_problem(answer, code)
        if named is not None:
            assert refused_fields(answer) == [named]
    assert_nothing_left(redis, api_settings)


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
    api: TestClient, redis: Redis, api_settings: ApiSettings, code: str, image: bytes
) -> None:
    assert_problem(api.post("/certify", files={"image": ("x", image)}), code)
    assert_problem(api.post("/certify", content=image), code)
    assert_problem(api.post("/certify", content=(image[i : i + 5000] for i in range(0, len(image), 5000))), code)
    assert_nothing_left(redis, api_settings)


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
    api: TestClient, redis: Redis, api_settings: ApiSettings, form: dict[str, object]
) -> None:
    answer = api.post("/certify", **form)  # type: ignore[arg-type]
    assert answer.status_code in (413, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert_nothing_left(redis, api_settings)


def test_field_given_in_query_and_form_is_refused(api: TestClient) -> None:
    answer = api.post("/certify", params={"n": "200"}, files={"image": ("x", PNG)}, data={"n": "300"})
    assert_problem(answer, "invalid_request")


def test_full_queue_refuses_and_leaves_nothing_more(redis: Redis, api_settings: ApiSettings) -> None:
    with TestClient(create_app(api_settings.model_copy(update={"max_queued": 2}))) as api:
        kept = {submit(api), submit(api)}
        answer = api.post("/certify", content=PNG, headers={"idempotency-key": "k"})
        assert_problem(answer, "queue_full")
        assert answer.headers["retry-after"]
    assert {path.name for path in api_settings.blobs_dir.iterdir()} == kept
    assert not list(redis.scan_iter("certrad:idem:*"))


@pytest.mark.parametrize(
    ("path", "files"),
    [("/certify", {"image": PNG}), ("/prompts", {"images": ("images.zip", b"PK\x03\x04" + bytes(64))})],
    ids=["certify", "prompts"],
)
def test_job_store_above_its_share_takes_no_new_job(
    redis: Redis,
    api_settings: ApiSettings,
    request: pytest.FixtureRequest,
    path: str,
    files: dict[str, bytes | tuple[str, bytes]],
) -> None:
    request.addfinalizer(partial(redis.config_set, "maxmemory", redis.config_get("maxmemory")["maxmemory"] or "0"))
    with TestClient(create_app(api_settings)) as api:
        used = redis.info("memory")["used_memory"]
        redis.config_set("maxmemory", round(used / 0.85))
        answer = api.post(path, files=files, data={"task": "mednist"})
        assert_problem(answer, "job_store_full")
        assert answer.headers["retry-after"]
        assert_nothing_left(redis, api_settings)
        redis.config_set("maxmemory", round(used / 0.6))
        assert api.post(path, files=files, data={"task": "mednist"}).status_code == 202


@pytest.mark.parametrize("kind", SHORTAGES.values(), ids=SHORTAGES)
def test_upload_that_redis_refused_is_deleted_at_once(
    api_settings: ApiSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: Callable[[EmbeddedRedis], Shortage],
) -> None:
    monkeypatch.setattr(Jobs, "_require_memory", lambda _: None)  # the store filled up right after
    with EmbeddedRedis(tmp_path / "redis") as server:
        settings = api_settings.model_copy(update={"redis_url": server.url})
        with TestClient(create_app(settings)) as api:
            shortage = kind(server)
            shortage.begin()
            assert_problem(api.post("/certify", content=PNG), "redis_unavailable")
            assert list(settings.blobs_dir.iterdir()) == []
            shortage.end()
            assert api.post("/certify", content=PNG).status_code == 202


def test_upload_that_would_leave_too_little_of_the_disk_is_refused(redis: Redis, api_settings: ApiSettings) -> None:
    more_than_there_is = 1 << 60
    with TestClient(create_app(api_settings.model_copy(update={"min_free_bytes": more_than_there_is}))) as api:
        assert_problem(api.post("/certify", content=PNG), "storage_unavailable")
    assert_nothing_left(redis, api_settings)


def test_disk_that_takes_no_upload_is_reported(redis: Redis, api_settings: ApiSettings) -> None:
    (api_settings.data_dir / "blobs").write_bytes(b"not a directory")
    with TestClient(create_app(api_settings)) as api:
        assert_problem(api.post("/certify", content=PNG), "storage_unavailable")
    assert redis.zcard(ACTIVE) == 0


@pytest.mark.parametrize("adaptation", ["none", "zero_shot"])
def test_template_beside_a_learned_prompt_is_refused(
    api: TestClient, redis: Redis, api_settings: ApiSettings, adaptation: str
) -> None:
    fields = {"prompt": SHIPPED, "classes": json.dumps(MEDNIST), "template": "draw {}.", "adaptation": adaptation}
    answer = api.post("/certify", content=PNG, params=fields)
    assert refused_fields(answer) == ["template"]
    assert_nothing_left(redis, api_settings)


@pytest.mark.parametrize("fields", [{}, {"prompt": SHIPPED}], ids=["default", "named"])
@pytest.mark.parametrize("context", ["words", "tokens"])
def test_context_beside_a_learned_prompt_is_refused(api: TestClient, fields: dict[str, str], context: str) -> None:
    fields = {**fields, "adaptation": "zero_shot", "context": context}
    assert refused_fields(api.post("/certify", content=PNG, params=fields)) == ["context"]


@pytest.mark.parametrize(
    "fields",
    [{"task": "mednist"}, {"classes": '["dog", "cat"]'}, {"classes": '["cat", "bird"]'}],
)
def test_prompt_of_other_classes_is_refused(
    api: TestClient, redis: Redis, api_settings: ApiSettings, fields: dict[str, str]
) -> None:
    Catalogue(redis).publish_prompt(card(id="own-1", class_names=("cat", "dog"), task=None))
    assert_problem(api.post("/certify", content=PNG, params={"prompt": "own-1", **fields}), "prompt_mismatch")
    assert_nothing_left(redis, api_settings)


def test_prompt_of_another_backbone_is_refused(api: TestClient, redis: Redis, api_settings: ApiSettings) -> None:
    catalogue = Catalogue(redis)
    catalogue.publish_prompt(card())
    other = next(name for name in catalogue.backbones() if name != "demo")
    answer = api.post("/certify", content=PNG, params={"prompt": card().id, "backbone": other})
    assert_problem(answer, "prompt_mismatch")
    assert_nothing_left(redis, api_settings)
