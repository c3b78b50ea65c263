"""An operator's own backbone and task are read once, known to every process, certified and verified."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.backbones.weights import file_sha256
from certrad.models.installed import Cards
from certrad.models.types.codec import encode_card
from certrad.workers.cli.main import main
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.names import OWN_BACKBONES, OWN_TASKS
from certrad.workers.engine.worker import EngineWorker
from certrad.workers.settings import WorkerSettings
from tests.support.api import PNG, assert_nothing_left, card, resolved
from tests.support.commands import arguments
from tests.support.images import encoded
from tests.support.own_cards import BACKBONE, TASK, own_backbone, own_task, write_card, write_own_cards
from tests.support.problems import assert_problem
from tests.support.processes import ROOT, Processes, environment, wait_for
from tests.support.stack import RunningStack, start_stack

pytestmark = pytest.mark.integration

LATE = "late-clip"
"""A backbone whose weights come after the start of the service."""
OWN = Cards(backbones={BACKBONE: own_backbone()}, tasks={TASK: own_task()})


# -- what the API knows ------------------------------------------------------------------------------------------------


def test_published_cards_are_listed_with_the_shipped_ones(api: TestClient, redis: Redis) -> None:
    shipped = {task["id"] for task in api.get("/tasks").json()["tasks"]}
    Catalogue(redis).publish_own(OWN)
    assert {task["id"] for task in api.get("/tasks").json()["tasks"]} == {*shipped, TASK}
    assert BACKBONE in {view["card"]["id"] for view in api.get("/backbones").json()["backbones"]}


def test_a_request_names_an_own_task_as_soon_as_it_is_published(
    api: TestClient, redis: Redis, api_settings: ApiSettings
) -> None:
    assert_problem(api.post("/certify", content=PNG, params={"task": TASK}), "unknown_task")
    assert_problem(api.post("/certify", content=PNG, params={"backbone": BACKBONE}), "unknown_backbone")
    assert_nothing_left(redis, api_settings)
    Catalogue(redis).publish_own(OWN)
    classifier = resolved(api, task=TASK)
    assert classifier["backbone"] == BACKBONE
    assert classifier["class_names"] == list(own_task().class_names)
    assert resolved(api, task="mednist", backbone=BACKBONE)["backbone"] == BACKBONE


def test_a_prompt_becomes_the_default_of_an_own_task(api: TestClient, redis: Redis) -> None:
    prompt = card(id="own-1", backbone=BACKBONE, class_names=own_task().class_names, task=TASK)
    Catalogue(redis).publish_own(OWN)
    Catalogue(redis).publish_prompt(prompt)
    assert api.patch("/prompts/own-1", json={"default_for": TASK}).json()["default_for"] == [TASK]
    assert resolved(api, task=TASK)["prompt"] == "own-1"


def test_an_own_task_is_the_default_of_the_service_once_it_is_known(redis: Redis, api_settings: ApiSettings) -> None:
    archive = {"images": ("a.zip", b"PK\x03\x04")}
    with TestClient(create_app(api_settings.model_copy(update={"default_task": TASK}))) as api:
        assert_problem(api.post("/certify", content=PNG), "unknown_task")
        assert_problem(api.post("/prompts", files=archive), "unknown_task")
        Catalogue(redis).publish_own(OWN)
        assert resolved(api)["backbone"] == BACKBONE
        tuning = api.post("/prompts", files=archive)
        assert tuning.json()["request"]["backbone"] == BACKBONE


def test_a_card_of_a_newer_release_is_read(redis: Redis) -> None:
    newer = {**json.loads(encode_card(own_task())), "field_of_tomorrow": 1}
    redis.hset(OWN_TASKS, TASK, json.dumps(newer))
    assert Catalogue(redis).tasks()[TASK] == own_task()


# -- who publishes -----------------------------------------------------------------------------------------------------


class IdleEngineWorker(EngineWorker):
    """A worker that does its maintenance, and starts no engine."""

    def _await_engine(self) -> None:
        pass


def worker(redis: Redis, settings: WorkerSettings, name: str = "w1") -> EngineWorker:
    return IdleEngineWorker("engine", name=name, redis=redis, settings=settings)


def test_the_worker_that_starts_last_says_which_cards_there_are(redis: Redis, settings: WorkerSettings) -> None:
    write_own_cards(settings.data_dir, weights=False)
    worker(redis, settings).run_maintenance_tasks()
    assert Catalogue(redis).backbones()[BACKBONE] == own_backbone()
    (settings.cards_dir / "tasks" / f"{TASK}.json").unlink()
    worker(redis, settings, "w2").run_maintenance_tasks()
    assert (BACKBONE in Catalogue(redis).backbones(), TASK in Catalogue(redis).tasks()) == (True, False)


def test_cards_that_redis_lost_are_published_again(redis: Redis, settings: WorkerSettings) -> None:
    write_own_cards(settings.data_dir, weights=False)
    running = worker(redis, settings)
    running.run_maintenance_tasks()
    redis.delete(OWN_BACKBONES, OWN_TASKS)
    running.run_maintenance_tasks()
    assert Catalogue(redis).backbones()[BACKBONE] == own_backbone()
    assert Catalogue(redis).tasks()[TASK] == own_task()


def test_a_worker_leaves_the_cards_of_one_that_started_after_it(redis: Redis, settings: WorkerSettings) -> None:
    write_own_cards(settings.data_dir, weights=False)
    first = worker(redis, settings)
    first.run_maintenance_tasks()
    write_card(settings.data_dir, own_task(title="Our scans, renamed"))
    worker(redis, settings, "w2").run_maintenance_tasks()
    first.run_maintenance_tasks()
    assert Catalogue(redis).tasks()[TASK].title == "Our scans, renamed"


@pytest.mark.parametrize("command", [["worker", "engine"], ["up", "--port=0"]], ids=" ".join)
def test_a_faulty_card_ends_the_process_with_its_file_and_no_traceback(
    command: list[str], redis: Redis, settings: WorkerSettings
) -> None:
    path = write_card(settings.data_dir, own_task(default_backbone="nothing"))
    done = subprocess.run(
        [sys.executable, "-m", "certrad.workers.cli.main", *command],
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 2, done.stderr
    assert f"certrad: the card {path} cannot be used: `default_backbone` must be one of" in done.stderr
    assert "Traceback" not in done.stderr
    assert redis.hgetall(OWN_TASKS) == {}


@pytest.mark.parametrize(
    "command",
    [
        ["fetch", "demo"],
        ["evaluate", "--task=mednist", "--data=."],
        ["evaluate", f"--task={TASK}", "--data=."],
        ["attack", "."],
        ["attack", ".", f"--task={TASK}"],
        ["audit", "--images=."],
        ["prompts", "calibrate", "--images=.", "--name=mine"],
        ["prompts", "bank", "--images=.", "--name=mine"],
        ["prompts", "import", "README.md", "--backbone=demo", "--task=mednist", "--name=mine"],
    ],
    ids=" ".join,
)
def test_a_faulty_card_ends_the_command_with_its_file(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_card(tmp_path, own_task(default_backbone="nothing"))
    assert main([*command, f"--data-dir={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert f"certrad: the card {path} cannot be used: `default_backbone` must be one of" in said


def test_unknown_cards_are_refused_with_those_that_there_are(
    settings: WorkerSettings, capsys: pytest.CaptureFixture[str]
) -> None:
    write_own_cards(settings.data_dir, weights=False)
    code = main(arguments("fetch", "nothing", data_dir=settings.data_dir))
    assert code == 2
    assert f", {BACKBONE}; got 'nothing'" in capsys.readouterr().err


# -- end to end --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A service with the operator's cards, and the weights of the backbone."""
    data_dir = tmp_path_factory.mktemp("own") / "data"
    write_own_cards(data_dir)
    write_card(data_dir, own_backbone(id=LATE))
    with Processes(tmp_path_factory.mktemp("processes")) as processes:
        yield start_stack(processes, data_dir)


def picture() -> bytes:
    ramp = np.linspace(0, 255, 96)
    return encoded((np.add.outer(ramp, ramp) / 2).astype(np.uint8), "PNG")


@pytest.mark.timeout(900)
def test_own_backbone_and_task_give_a_signed_certificate_that_is_verified_with_its_image(
    stack: RunningStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job_id = stack.submit(picture(), backbone=BACKBONE, task=TASK, n=200, alpha=1e-6)
    document = stack.document(job_id)
    assert document["classifier"]["parts"][0]["backbone"] == BACKBONE
    assert document["classifier"]["class_names"] == list(own_task().class_names)
    content = httpx.get(f"{stack.url}/jobs/{job_id}/certificate", timeout=30).content
    answer = httpx.post(f"{stack.url}/verify", content=content, timeout=60).json()
    assert (answer["valid"], answer["issuer"]) == (True, "known")
    (tmp_path / "document.json").write_bytes(content)
    (tmp_path / "image.png").write_bytes(picture())
    given = {"image": tmp_path / "image.png", "replay": 50}
    code = main(arguments("verify", tmp_path / "document.json", data_dir=stack.data_dir, **given))
    said = capsys.readouterr().out
    assert code == 0, said
    assert {"image", "classifier", "replay"} <= set(said.split())
    code = main(arguments("verify", tmp_path / "document.json", data_dir=tmp_path / "empty", **given))
    assert (code, "REFUSED  image" in capsys.readouterr().out) == (1, True)


def test_weights_that_come_later_are_available_without_a_restart(stack: RunningStack) -> None:
    def available() -> set[str]:
        views = httpx.get(f"{stack.url}/backbones", timeout=30).json()["backbones"]
        return {view["card"]["id"] for view in views if view["available"]}

    assert available() == {"demo", BACKBONE}
    shutil.copytree(stack.data_dir / "backbones" / BACKBONE, stack.data_dir / "backbones" / LATE)
    wait_for(lambda: available() == {"demo", BACKBONE, LATE}, what="the new weights")


def test_own_weights_are_pinned_by_fetch(stack: RunningStack, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments("fetch", BACKBONE, data_dir=stack.data_dir)) == 0
    folder = stack.data_dir / "backbones" / BACKBONE
    sha256 = file_sha256(folder / own_backbone().weights)
    assert json.loads(capsys.readouterr().out)["sha256"] == sha256
    assert json.loads((folder / "pin.json").read_text())["sha256"] == sha256


def test_certified_accuracy_is_measured_on_the_folders_of_an_own_task(
    stack: RunningStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CERTRAD_BLOCK_SIZE", "10")
    for level, name in enumerate(("head_CT", "hand X-ray")):
        (tmp_path / name).mkdir()
        Image.fromarray(np.full((64, 64), 60 + 100 * level, np.uint8)).save(tmp_path / name / "0.png")
    options = {"task": TASK, "data": tmp_path, "images": 2, "n0": 10, "n": 20, "json": True}
    assert main(arguments("evaluate", data_dir=stack.data_dir, **options)) == 0
    settings = json.loads(capsys.readouterr().out)["settings"]
    assert settings["data"] == TASK
    assert settings["classifier"]["backbone"] == BACKBONE
    assert settings["classifier"]["class_names"] == list(own_task().class_names)
    assert settings["classifier"]["template"] == own_task().template
