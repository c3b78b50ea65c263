"""A prompt tuned over HTTP by the whole service works in POST /certify at once; a tuning is followed and cancelled."""

from collections.abc import Iterator

import httpx
import pytest

from certrad.app.cli.client import parse_events
from certrad.workers.contract.names import document_key, input_key, ledger_key, record_key
from tests.support.archives import classes, textured, zipped
from tests.support.processes import Processes, wait_for
from tests.support.stack import RunningStack, start_stack

pytestmark = pytest.mark.integration

NAMES = ["ant", "bee", "cow"]
ARCHIVE = zipped(classes(NAMES, 16))
QUICK = {"epochs": 2, "n_ctx": 2}
TIMEOUT = 60


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    with Processes(tmp_path_factory.mktemp("processes")) as processes:
        yield start_stack(processes, tmp_path_factory.mktemp("stack") / "data", threads=1)


@pytest.fixture(scope="module")
def tuned(stack: RunningStack) -> dict[str, object]:
    """The ended job of a tuning."""
    return stack.ended(stack.tune(ARCHIVE, name="mine", **QUICK))


def names_of_files_in_logs(stack: RunningStack) -> list[str]:
    lines = [line for log in (stack.data_dir / "logs").iterdir() for line in log.read_text().splitlines()]
    return [line for line in lines if ".png" in line]


def test_a_prompt_tuned_over_http_works_in_certify_without_a_restart(
    stack: RunningStack, tuned: dict[str, object]
) -> None:
    engine = wait_for(lambda: stack.child("certrad.workers.engine.process"), what="the engine")
    assert tuned["status"] == "succeeded", tuned["error"]
    result = tuned["result"]
    assert isinstance(result, dict)
    card = httpx.get(f"{stack.url}/prompts/{result['prompt']}", timeout=TIMEOUT).json()["card"]
    assert card == result["card"]
    assert (card["class_names"], card["method"], card["tuning"]["training_images"]) == (NAMES, "few_shot", 48)
    document = stack.document(stack.submit(textured(0, 100), prompt=result["prompt"], n=200))
    assert document["classifier"]["parts"][1]["prompt"] == result["prompt"]
    assert document["classifier"]["class_names"] == NAMES
    assert document["classifier"]["parts"][1]["prompt_sha256"] == card["sha256"]
    assert not stack.another_child(engine, "certrad.workers.engine.process")


def test_an_image_that_was_tuned_on_is_not_certified_under_the_prompt(
    stack: RunningStack, tuned: dict[str, object]
) -> None:
    result = tuned["result"]
    assert isinstance(result, dict)
    job = stack.ended(stack.submit(textured(0, 0), prompt=result["prompt"], n=200))
    assert (job["status"], job["error"]["code"]) == ("failed", "image_was_tuned_on")


def test_the_events_of_a_tuning_are_followed_to_its_end(stack: RunningStack, tuned: dict[str, object]) -> None:
    with httpx.stream("GET", f"{stack.url}/jobs/{tuned['id']}/events", timeout=TIMEOUT) as response:
        events = list(parse_events(response))
    assert [event.data["phase"] for event in events if event.name == "phase"][:2] == ["unpacking", "waiting"]
    epochs = [event.data for event in events if "epochs_done" in event.data]
    assert [(data["epochs_done"], data["epochs_total"]) for data in epochs] == [(1, 2), (2, 2)]
    assert all(data["loss"] > 0 for data in epochs)
    assert (events[-1].name, events[-1].data) == ("end", {"status": "succeeded"})


def test_a_tuning_leaves_no_image_and_no_name_of_a_file(stack: RunningStack, tuned: dict[str, object]) -> None:
    job_id = str(tuned["id"])
    wait_for(lambda: not list((stack.data_dir / "blobs").iterdir()), what="the end of the upload")
    with stack.redis() as redis:
        assert not redis.exists(input_key(job_id), ledger_key(job_id), document_key(job_id))
        assert b".png" not in b"".join(value for value in redis.hvals(record_key(job_id)))
    assert names_of_files_in_logs(stack) == []


def test_a_bad_image_is_named_to_its_sender_and_to_nobody_else(stack: RunningStack) -> None:
    archive = zipped({**classes(NAMES, 2), "bee/001.png": b"no image"})
    job = stack.ended(stack.tune(archive, shots=2))
    assert (job["status"], job["error"]["code"]) == ("failed", "unsupported_format")
    assert "`bee/001.png`" in job["error"]["detail"]
    assert names_of_files_in_logs(stack) == []


def test_a_tuning_cancelled_within_an_epoch_ends_and_the_engine_works_on(stack: RunningStack) -> None:
    job_id = stack.tune(ARCHIVE, epochs=1000, batch_size=48)
    wait_for(lambda: stack.job(job_id)["progress"]["epochs_done"] > 0, what="the first epoch")
    answer = httpx.delete(f"{stack.url}/jobs/{job_id}", timeout=TIMEOUT)
    assert answer.json()["status"] == "cancelled"
    again = stack.ended(stack.tune(ARCHIVE, name="mine", **QUICK))
    assert again["status"] == "succeeded"
    with stack.redis() as redis:
        assert not redis.exists(input_key(job_id), ledger_key(job_id))
