"""`certrad tune` tunes a prompt through the real API; the test plays the workers."""

import io
import json
import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from certrad.app.cli.client import Client
from certrad.app.cli.console import progress_bars
from certrad.app.settings import ApiSettings
from certrad.models.shipped import shipped_prompts, shipped_tasks
from certrad.models.types.tuning import TuningResult
from certrad.workers.contract import uploads
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.records import Records
from tests.integration.cli_service import Work, certrad, playing_workers

pytestmark = pytest.mark.integration

SHIPPED = next(card for card in shipped_prompts().values() if card.method == "few_shot")
BANK = shipped_tasks()["mednist"].default_bank
CARD = replace(
    SHIPPED,
    id="mednist-few-shot-0000000000000000",
    tuning={"training_images": 96, "epochs": 2, "losses": [1.5, 0.25]},
    measured={
        "validation": {
            "images": 30,
            "clean_accuracy": 0.9667,
            "noisy_accuracy": [{"sigma": 0.25, "accuracy": 0.9}],
            "seed": 0,
        }
    },
)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("abdomen", "breast"):
        (tmp_path / "images" / name).mkdir(parents=True)
        (tmp_path / "images" / name / "jane doe.png").write_bytes(name.encode())
    return tmp_path / "images"


def begun(records: Records, job_id: str) -> object:
    records.enter(job_id, "unpacking")
    records.images_progress(job_id, images_done=1, images_total=2)
    records.enter(job_id, "tuning")
    return records.epoch_progress(job_id, epochs_done=1, epochs_total=2, loss=1.5)


def playing(redis: Redis, settings: ApiSettings, work: Work) -> AbstractContextManager[None]:
    return playing_workers(redis, settings, work, before=begun)


def tuned(redis: Redis) -> Work:
    def work(records: Records, job_id: str) -> object:
        Catalogue(redis).publish_prompt(CARD)
        return records.succeed(job_id, TuningResult(prompt=CARD.id, card=CARD))

    return work


def failed(records: Records, job_id: str) -> object:
    return records.fail(job_id, "unreadable_image", "`breast/000001`: the file is truncated")


def test_the_prompt_is_shown_with_its_figures(
    redis: Redis, api_settings: ApiSettings, api_url: str, images: Path
) -> None:
    with playing(redis, api_settings, tuned(redis)):
        result = certrad("tune", str(images), "--url", api_url)
    assert result.exit_code == 0, result.stderr
    for words in (CARD.id, "96 images of 6 classes", "loss 0.2500", "30 other images: 96.7%", "90.0% at sigma 0.25"):
        assert words in result.stdout


def test_json_is_the_job(redis: Redis, api_settings: ApiSettings, api_url: str, images: Path) -> None:
    with playing(redis, api_settings, tuned(redis)):
        job = json.loads(certrad("tune", str(images), "--url", api_url, "--json").stdout)
    assert (job["status"], job["result"]["prompt"]) == ("succeeded", CARD.id)


def test_it_can_become_a_default_at_once(redis: Redis, api_settings: ApiSettings, api_url: str, images: Path) -> None:
    with playing(redis, api_settings, tuned(redis)):
        result = certrad("tune", str(images), "--url", api_url, "--default-for", "mednist")
    assert result.exit_code == 0, result.stderr
    assert Catalogue(redis).default_prompts("mednist")[0].id == CARD.id
    assert "it is the default prompt of mednist now" in result.stdout
    assert f"it replaces {BANK}; `certrad prompts default {BANK} --task mednist` goes back" in result.stdout


def test_a_default_prompt_is_tuned_on_the_classes_of_its_task(
    redis: Redis, api_settings: ApiSettings, api_url: str, images: Path
) -> None:
    with playing(redis, api_settings, tuned(redis)):
        result = certrad("tune", str(images), "--url", api_url, "--default-for", "mednist", "--json")
    job = json.loads(result.stdout)
    assert job["request"]["task"] == "mednist"
    assert (job["result"]["default_for"], job["result"]["replaced"]) == ("mednist", BANK)


@pytest.mark.parametrize("others", [("--task", "covid"), ("--classes", '["a", "b"]')], ids=lambda other: other[0])
def test_a_prompt_for_other_classes_is_no_default_before_anything_is_sent(
    others: tuple[str, str], redis: Redis, api_url: str, images: Path
) -> None:
    result = certrad("tune", str(images), "--url", api_url, "--default-for", "mednist", *others)
    assert result.exit_code == 2
    assert "cannot be --default-for mednist" in result.stderr
    assert redis.keys("certrad:job:*") == []


def test_an_unknown_task_is_refused_before_anything_is_sent(redis: Redis, api_url: str, images: Path) -> None:
    result = certrad("tune", str(images), "--url", api_url, "--default-for", "nonsense")
    assert result.exit_code == 2
    assert "--default-for must be one of" in result.stderr
    assert redis.keys("certrad:job:*") == []


def test_every_option_reaches_the_service(redis: Redis, api_settings: ApiSettings, api_url: str, images: Path) -> None:
    given = {
        "name": "mine",
        "method": "few_shot",
        "backbone": "demo",
        "classes": '["a", "b"]',
        "shots": "1",
        "epochs": "2",
        "lr": "0.01",
        "batch-size": "3",
        "n-ctx": "4",
        "position": "middle",
        "sigmas": "0.25,0.5",
        "seed": "7",
        "acquisition": "radiology",
    }
    options = [part for name, value in given.items() for part in (f"--{name}", value)]
    with playing(redis, api_settings, tuned(redis)):
        answer = certrad("tune", str(images), "--url", api_url, "--json", "--class-specific", *options)
    request = json.loads(answer.stdout)["request"]
    assert (request["name"], request["backbone"], request["class_names"]) == ("mine", "demo", ["a", "b"])
    assert request["params"] == {
        "method": "few_shot",
        "shots": 1,
        "epochs": 2,
        "lr": 0.01,
        "batch_size": 3,
        "n_ctx": 4,
        "class_specific": True,
        "position": "middle",
        "sigmas": [0.25, 0.5],
        "seed": 7,
        "acquisition": "radiology",
    }


def test_a_zip_is_sent_as_it_is_and_a_folder_without_file_names(
    redis: Redis, api_settings: ApiSettings, api_url: str, images: Path, tmp_path: Path
) -> None:
    sent: list[bytes] = []

    def look(records: Records, job_id: str) -> object:
        sent.append(uploads.read(api_settings.blobs_dir, job_id))
        return failed(records, job_id)

    own = tmp_path / "own.zip"
    with zipfile.ZipFile(own, "w") as archive:
        archive.writestr("a/named.png", b"1")
        archive.writestr("b/named.png", b"2")
    with playing(redis, api_settings, look):
        certrad("tune", str(own), "--url", api_url)
        certrad("tune", str(images), "--url", api_url)
    assert sent[0] == own.read_bytes()
    with zipfile.ZipFile(io.BytesIO(sent[1])) as archive:
        assert archive.namelist() == ["abdomen/000001", "breast/000001"]


def test_a_failure_names_the_file_as_the_user_does(
    redis: Redis, api_settings: ApiSettings, api_url: str, images: Path
) -> None:
    with playing(redis, api_settings, failed):
        result = certrad("tune", str(images), "--url", api_url)
    assert result.exit_code == 1
    assert f"`{images}/breast/jane doe.png`: the file is truncated (unreadable_image)" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("/nowhere",), "must be an existing file or folder"),
        (("{images}/breast",), "must have at least 2 classes; got 0"),
        (("{images}", "--method", "magic"), "`--method` must be one of few_shot, coop, advpt"),
        (("{images}", "--task", "nonsense"), "unknown_task"),
        (("{images}", "--sigmas", "many"), "`--sigmas` must be numbers"),
        (("{images}", "--method", "coop", "--acquisition", "radiology"), "goes with `--method few_shot` only"),
    ],
)
def test_bad_usage_ends_with_2(api_url: str, images: Path, arguments: tuple[str, ...], words: str) -> None:
    result = certrad("tune", *(part.replace("{images}", str(images)) for part in arguments), "--url", api_url)
    assert result.exit_code == 2
    assert words in result.stderr


def test_a_refusal_is_json_too(api_url: str, images: Path) -> None:
    result = certrad("tune", str(images), "--url", api_url, "--task", "nonsense", "--json")
    assert json.loads(result.stdout)["error"]["code"] == "unknown_task"


def test_a_service_that_is_not_there_is_a_failure(images: Path) -> None:
    assert certrad("tune", str(images), "--url", "http://127.0.0.1:9").exit_code == 1


def test_ctrl_c_cancels_the_tuning(
    redis: Redis, api_settings: ApiSettings, api_url: str, images: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    followed: list[Any] = []

    def interrupted(_: Client, job: Any, *__: object) -> None:
        followed.append(job)
        raise KeyboardInterrupt

    monkeypatch.setattr("certrad.app.cli.console.follow", interrupted)
    assert certrad("tune", str(images), "--url", api_url).exit_code != 0
    assert Records(redis, ttl=api_settings.job_ttl).status(followed[0].id) == "cancelled"


def test_the_bar_counts_images_and_then_epochs(
    redis: Redis, api_settings: ApiSettings, api_url: str, images: Path
) -> None:
    from certrad.app.cli import console

    states: list[tuple[object, float, float | None, str]] = []
    with (
        Client(api_url) as client,
        playing(redis, api_settings, tuned(redis)),
        zipped(images) as archive,
        progress_bars() as progress,
    ):
        job = client.tune(archive, {})
        bar = console.add_bar(progress, "images", job)
        update = progress.update

        def noted(*arguments: Any, **changes: Any) -> None:
            update(*arguments, **changes)
            task = progress.tasks[0]
            states.append((task.fields["unit"], task.completed, task.total, task.fields["phase"]))

        progress.update = noted  # type: ignore[method-assign]
        console.follow(client, job, progress, bar)
    assert ("images", 1, 2, "unpacking") in states
    assert ("epochs", 1, 2, "loss 1.5000") in states
    assert states[-1][3] == "succeeded"


@contextmanager
def zipped(folder: Path) -> Iterator[Any]:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(folder.rglob("*.png")):
            archive.write(path, path.relative_to(folder))
    buffer.seek(0)
    yield buffer


def test_the_list_of_jobs_names_the_prompt(redis: Redis, api_settings: ApiSettings, api_url: str, images: Path) -> None:
    with playing(redis, api_settings, tuned(redis)):
        certrad("tune", str(images), "--url", api_url)
    listed = certrad("jobs", "--url", api_url).stdout
    assert CARD.id in listed
    assert "1/2 epochs" in listed
