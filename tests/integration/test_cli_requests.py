"""The command line and the client send every field to the real API and show its answer; the test plays the workers."""

import json
import threading
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from certrad.app.cli.client import Client, Event, ProblemError
from certrad.app.settings import ApiSettings
from certrad.workers.contract.job import RESULT
from certrad.workers.contract.records import Records
from tests.integration.cli_service import Work, certrad, playing_workers
from tests.support.api_server import api_server
from tests.support.results import provenance

PNG = b"\x89PNG\r\n\x1a\n" + bytes(64)
FROZEN = (
    "Holds for the classifier with this tuned prompt frozen. "
    "It does not cover a service that would tune again on the altered image."
)
COMMON: dict[str, Any] = {
    "scope": "frozen_prompt",
    "scope_text": FROZEN,
    "sigma": 0.25,
    "alpha": 0.001,
    "n0": 100,
    "n": 10_000,
    "bound": "two_class",
    "samples_used": 10_100,
    "p_a_lower": 0.99,
    "p_b_upper": 0.01,
    "counts": [9_990, 10],
    "invalid": 0,
    "class_names": ["a", "b"],
    "prompt": "template",
    "adaptation": "zero_shot",
    "backbone": "demo",
    "pixels_sha256": "0" * 64,
    "input_sha256": "0" * 64,
    "radius_in_image_units": {"value": None, "reason": "of the test"},
    "warnings": [],
    "provenance": provenance(),
    "timing": {"select_s": 0.5, "estimate_s": 2.0},
}
CERTIFIED = {"outcome": "certified", "label": "a", "class_index": 0, "radius": 0.5816, **COMMON}
ABSTAINED = {"outcome": "abstained", "reason": "no_majority", **COMMON}


def sampled(records: Records, job_id: str) -> object:
    records.enter(job_id, "estimating")
    return records.progress(job_id, samples_done=4_196, samples_total=10_100, counts=(4_000, 96), invalid=0)


def playing(redis: Redis, settings: ApiSettings, *works: Work) -> AbstractContextManager[None]:
    return playing_workers(redis, settings, *works, before=sampled)


@pytest.fixture
def image(tmp_path: Path) -> str:
    path = tmp_path / "image.png"
    path.write_bytes(PNG)
    return str(path)


def certified(records: Records, job_id: str) -> object:
    return records.succeed(job_id, RESULT.validate_python(CERTIFIED), certificate="0" * 64)


def abstained(records: Records, job_id: str) -> object:
    return records.succeed(job_id, RESULT.validate_python(ABSTAINED), certificate="0" * 64)


def failed(records: Records, job_id: str) -> object:
    return records.fail(job_id, "unreadable_image", "the file is truncated")


@pytest.mark.parametrize(
    ("works", "code"),
    [
        ((certified,), 0),
        ((abstained,), 3),
        ((failed,), 1),
        ((certified, abstained), 3),
        ((failed, abstained), 1),
        ((certified, certified), 0),
    ],
    ids=["certified", "abstained", "failed", "certified-abstained", "failed-abstained", "certified-certified"],
)
def test_exit_code_is_that_of_the_worst_file(
    redis: Redis, api_settings: ApiSettings, api_url: str, image: str, works: tuple[Work, ...], code: int
) -> None:
    with playing(redis, api_settings, *works):
        assert certrad("certify", *[image] * len(works), "--url", api_url).exit_code == code


def test_radius_is_shown_with_grey_levels_and_its_scope_in_words(
    redis: Redis, api_settings: ApiSettings, api_url: str, image: str
) -> None:
    with playing(redis, api_settings, certified):
        output = certrad("certify", image, "--url", api_url).stdout
    for words in ("0.5816", "1.34", "frozen_prompt", FROZEN, "says nothing about whether the class is right"):
        assert words in output  # 1.34 = 255 * 0.5816 / sqrt(3 * 64 * 64)


def test_abstention_is_shown_with_its_reason_and_no_radius(
    redis: Redis, api_settings: ApiSettings, api_url: str, image: str
) -> None:
    with playing(redis, api_settings, abstained):
        output = certrad("certify", image, "--url", api_url).stdout
    assert "ABSTAINED (no_majority)" in output
    assert "0.5816" not in output


def test_json_is_one_object_a_file(redis: Redis, api_settings: ApiSettings, api_url: str, image: str) -> None:
    with playing(redis, api_settings, certified, failed):
        lines = certrad("certify", image, image, "--url", api_url, "--json").stdout.splitlines()
    first, second = (json.loads(line) for line in lines)
    assert (first["file"], first["result"]["radius"], first["result"]["scope"]) == (image, 0.5816, "frozen_prompt")
    assert second["error"]["code"] == "unreadable_image"


def test_every_field_reaches_the_service(redis: Redis, api_settings: ApiSettings, api_url: str, image: str) -> None:
    options = {
        "classes": '["a", "b"]',
        "template": "a {}.",
        "backbone": "demo",
        "prompt": "template",
        "adaptation": "zero_shot",
        "adapt-steps": "2",
        "adapt-samples": "50",
        "adapt-lr": "0.01",
        "context": "words",
        "sigma": "0.5",
        "alpha": "0.01",
        "n0": "50",
        "n": "500",
        "bound": "cohen",
        "target-radius": "0.75",
        "frame": "3",
        "region": "1,2,30,40",
        "priority": "urgent",
    }
    flags = [part for name, value in options.items() for part in (f"--{name}", value)]
    with playing(redis, api_settings, certified):
        job = json.loads(certrad("certify", image, "--url", api_url, "--json", *flags).stdout)
    assert job["request"] == {
        "classifier": {
            "backbone": "demo",
            "prompt": "template",
            "class_names": ["a", "b"],
            "template": "a {}.",
            "adaptation": {"steps": 2, "samples": 50, "lr": 0.01, "context": "words"},
        },
        "params": {"sigma": 0.5, "alpha": 0.01, "n0": 50, "n": 500, "bound": "cohen", "target_radius": 0.75},
        "task": None,
        "frame": 3,
        "region": {"x": 1, "y": 2, "w": 30, "h": 40},
        "urgent": True,
        "routing": None,
        "kind": "certify",
    }


def test_refused_field_is_bad_usage(api_url: str, image: str) -> None:
    result = certrad("certify", image, "--url", api_url, "--sigma", "nan")
    assert result.exit_code == 2
    assert "sigma" in result.stderr


def test_service_that_is_not_there_is_a_failure(image: str) -> None:
    result = certrad("certify", image, "--url", "http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "certrad up" in result.stderr


def test_jobs_are_listed_with_radius_and_scope(
    redis: Redis, api_settings: ApiSettings, api_url: str, image: str
) -> None:
    with playing(redis, api_settings, certified):
        certrad("certify", image, "--url", api_url)
    output = certrad("jobs", "--url", api_url).stdout
    assert "0.5816" in output
    assert "frozen_prompt" in output
    assert len(json.loads(certrad("jobs", "--url", api_url, "--json").stdout)) == 1


def test_client_sees_each_event_once_in_order(redis: Redis, api_settings: ApiSettings, api_url: str) -> None:
    seen: list[Event] = []
    with Client(api_url) as client, playing(redis, api_settings, certified):
        job = client.wait(client.submit(PNG).id, seen.append)
    assert [event.name for event in seen] == ["phase", "progress", "end"]
    assert seen[1].data == {"samples_done": 4_196, "samples_total": 10_100, "counts": [4_000, 96], "invalid": 0}
    assert job.result is not None
    assert job.result["radius"] == 0.5816


def test_client_goes_on_over_a_restart_of_the_service(redis: Redis, api_settings: ApiSettings) -> None:
    seen: list[str] = []
    with api_server(api_settings) as first, Client(first) as client:
        job = client.submit(PNG)
        port = int(first.rpartition(":")[2])
    refused, restarted = threading.Event(), threading.Event()

    def pause(_: float) -> None:
        refused.set()
        restarted.wait()

    waiting = Client(first, sleep=pause)
    thread = threading.Thread(target=lambda: waiting.wait(job.id, lambda event: seen.append(event.name)))
    thread.start()
    refused.wait()
    with api_server(api_settings, port=port), playing(redis, api_settings, certified):
        restarted.set()
        thread.join()
    waiting.close()
    assert seen[-1] == "end"


def test_client_cancels_and_reads_what_it_is_told(api_url: str) -> None:
    with Client(api_url) as client:
        job = client.submit(PNG, idempotency_key="k")
        assert client.submit(PNG, idempotency_key="k").id == job.id
        client.cancel(job.id)
        assert client.job(job.id).status == "cancelled"
        assert [found.id for found in client.jobs()] == [job.id]
        with pytest.raises(ProblemError, match="job_has_no_certificate"):
            client.certificate(job.id)
        with pytest.raises(ProblemError, match="job_not_found"):
            list(client.events("nobody"))
