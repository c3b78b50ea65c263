"""Tasks, prompts and backbones are listed over HTTP, and a default is chosen and withdrawn."""

from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.settings import ApiSettings
from certrad.workers.contract.catalogue import Catalogue, WorkerCard
from tests.support.api import PNG, assert_nothing_left, card, resolved
from tests.support.problems import assert_problem


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
    assert changed.json()["replaced"] == catalogue.tasks()["mednist"].default_bank
    assert api.patch(f"/prompts/{card().id}", json={"default_for": "mednist"}).json()["replaced"] is None
    assert resolved(api)["prompt"] == card().id
    assert_problem(api.patch("/prompts/own-1", json={"default_for": "mednist"}), "prompt_mismatch")
    assert_problem(api.patch(f"/prompts/{card().id}", json={"default_for": "skin"}), "unknown_task")
    assert_problem(api.patch(f"/prompts/{card().id}", json={"default": "mednist"}), "unknown_field")
    assert_problem(api.patch(f"/prompts/{card().id}", content=b"{"), "invalid_request")
    assert_problem(api.patch(f"/prompts/{card().id}", content=bytes(200_000)), "body_too_large")
    assert_problem(api.patch("/prompts/nobody", json={"default_for": "mednist"}), "prompt_not_found")


def test_tasks_show_the_defaults_in_use(api: TestClient, redis: Redis) -> None:
    Catalogue(redis).publish_prompt(card())
    shipped = Catalogue(redis).tasks()["mednist"]

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
    redis.sadd("rq:workers:engine", "rq:worker:w1")
    redis.hset("rq:worker:w1", "birth", "2026-01-01T00:00:00Z")
    assert available()["demo"]
    assert sum(available().values()) == 1


def test_a_backbone_whose_weights_no_engine_has_is_unavailable(
    api: TestClient, redis: Redis, api_settings: ApiSettings
) -> None:
    Catalogue(redis).publish_worker(
        WorkerCard(name="w1", device="cpu", dtype="float32", backbones=("demo",), seen_at=1.7e9)
    )
    redis.sadd("rq:workers:engine", "rq:worker:w1")
    redis.hset("rq:worker:w1", "birth", "2026-01-01T00:00:00Z")
    refused = api.post("/certify", content=PNG, params={"backbone": "plip"})
    assert_problem(refused, "backbone_unavailable")
    assert "plip" in refused.json()["detail"]
    tuning = api.post("/prompts", files={"images": ("a.zip", b"PK\x03\x04")}, data={"backbone": "plip"})
    assert_problem(tuning, "backbone_unavailable")
    assert_nothing_left(redis, api_settings)
    assert api.post("/certify", content=PNG).status_code == 202


def test_without_an_engine_a_job_waits_for_one(api: TestClient, redis: Redis) -> None:
    Catalogue(redis).publish_worker(
        WorkerCard(name="dead", device="cpu", dtype="float32", backbones=("demo",), seen_at=1.7e9)
    )
    assert api.post("/certify", content=PNG, params={"backbone": "plip"}).status_code == 202


def test_a_shipped_default_that_was_deleted_comes_back(api: TestClient, redis: Redis) -> None:
    bank = Catalogue(redis).tasks()["mednist"].default_bank
    assert api.delete(f"/prompts/{bank}").status_code == 204
    assert resolved(api)["prompt"] != bank
    restored = api.patch(f"/prompts/{bank}", json={"withdrawn": False})
    assert (restored.json()["default_for"], restored.json()["replaced"]) == (["mednist"], None)
    assert resolved(api)["prompt"] == bank
