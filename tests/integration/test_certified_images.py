"""`noise_space=image`: noise on the rendered image itself, from the field of a request to a replayed certificate."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.models.adapters.store import AdapterStore
from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.verify import Issuer, check_image, verify
from certrad.models.errors import Rejected
from certrad.models.prompts.store import PromptStore
from certrad.models.replay.rebuild import rebuild
from certrad.models.replay.replay import check_fresh_noise, check_labels, check_selection
from certrad.models.shipped import shipped_backbones
from certrad.models.types import AutoSigma, CertifyRequest, FixedSigma, Region, SamplingParams, ZeroShotAdaptation
from certrad.models.types.image import ImageRecord
from certrad.models.types.total_variation import most_values
from certrad.workers import issue
from certrad.workers.contract.names import input_key
from certrad.workers.engine import tasks as engine
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.helper import Helper
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.intake import tasks as intake
from certrad.workers.intake.decode import decode_limited
from certrad.workers.settings import WorkerSettings
from tests.support.archives import zipped
from tests.support.engine_jobs import TASK, TEMPLATE, attempt, stopping_after, waiting
from tests.support.images import encoded
from tests.support.served_jobs import document_of, run_job

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("known_secret")]

FIELDS = {"task": TASK.id, "n0": "10", "n": "150", "sigma": "0.1", "noise_space": "image"}
REQUEST = CertifyRequest(
    classifier=TEMPLATE, sigma=FixedSigma(0.1), params=SamplingParams(n0=20, n=300), noise_space="image"
)
DEMO = shipped_backbones()["demo"]

Certify = Callable[..., dict[str, Any]]


def picture(rows: int, columns: int, *channels: int) -> bytes:
    """A ramp with some texture, which a little noise moves between classes."""
    ramp = np.add.outer(np.linspace(0, 120, rows), np.linspace(0, 120, columns))
    grain = np.random.default_rng(3).uniform(0, 15, (rows, columns, *channels))
    return encoded((ramp.reshape(rows, columns, *(1 for _ in channels)) + grain).astype(np.uint8), "PNG")


GREY = picture(40, 60)


@pytest.fixture
def api(working_api: TestClient) -> TestClient:
    """A client of the API, whose tasks run in this process."""
    return working_api


@pytest.fixture
def certify(api: TestClient) -> Certify:
    """Submits an image, lets every stage work on it, and returns the job."""

    def certified(image: bytes = GREY, **fields: str) -> dict[str, Any]:
        data = {name: value for name, value in {**FIELDS, **fields}.items() if value}
        return run_job(api, image, data)

    return certified


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["code"])


def replayed(content: bytes, image: bytes, settings: WorkerSettings, **asked: Any) -> None:
    """Decodes the image again, compares it with the document, and draws every label and the selection again."""
    statement = read(parse(content))
    decoded, facts = decode_limited(image, replace(statement.request, **asked), DEMO, settings)
    check_image(statement, facts)
    stores = PromptStore(own=settings.prompts_dir), AdapterStore(own=settings.adapters_dir)
    rebuilt = rebuild(statement, decoded, shipped_backbones(), Path(), *stores)
    check_selection(statement, rebuilt, tolerant=False)
    n = sum(len(draws.stated.labels) for draws in rebuilt.draws(statement))
    check_labels(statement, rebuilt, n, Random(0), tolerant=False)
    check_fresh_noise(statement, rebuilt, bytes(32))


def test_document_names_the_image_and_its_radius_and_is_replayed(
    api: TestClient, certify: Certify, settings: WorkerSettings
) -> None:
    job = certify()
    content = document_of(api, job)
    document = json.loads(content)
    noisy, tower, *_ = document["classifier"]["parts"]
    assert (noisy["kind"], tower["kind"]) == ("noisy_image/1", "image_tower/1")
    assert {name: noisy[name] for name in ("rows", "columns", "channels", "of_rows", "of_columns", "fit")} == {
        "rows": "40",
        "columns": "44",  # the middle of 60, which the bicubic kernel of 64 columns reads
        "channels": "1",
        "of_rows": "40",
        "of_columns": "60",
        "fit": "crop",
    }
    assert (job["request"]["noise_space"], job["result"]["noise_space"]) == ("image", "image")
    assert "changes of the rendered image's own pixels" in job["result"]["scope_text"]
    assert "no change of the rendered image" in document["limits"][0]
    secret = bytes(range(32))  # that of `known_secret`
    keys = frozenset({document["signature"]["public_key"]})
    issuer = Issuer(public_keys=keys, secrets={hashlib.sha256(secret).hexdigest(): secret})
    verification = verify(content, issuer)
    assert [check for check in verification.checks if not check.ok] == []
    assert {"noise_key", "noise_space"} <= {check.name for check in verification.checks}
    replayed(content, GREY, settings)


def test_radius_in_grey_levels_is_255_times_the_radius(api: TestClient, certify: Certify) -> None:
    """Nothing of the resize is taken off: 255 R, floored, less a hundred-millionth for the arithmetic."""
    result = certify(task="mednist", sigma="0.05", n="400", prompt="template")["result"]
    assert result["outcome"] == "certified"
    levels = result["radius_in_image_units"]["l2"]
    assert 255 * result["radius"] - 2e-4 < levels <= 255 * result["radius"]


@pytest.mark.parametrize(
    ("image", "fields", "asked"),
    [
        (picture(40, 60, 3), {}, {}),
        (GREY, {"region": "8,4,30,20"}, {"region": Region(x=8, y=4, w=30, h=20)}),
        (GREY, {"sigma": "auto"}, {}),
        (GREY, {"target_radius": "0.05", "n": "640"}, {}),
        (GREY, {"adaptation": "zero_shot", "prompt": "template", "adapt_samples": "8"}, {}),
        (GREY, {"adaptation": "gated"}, {}),
    ],
    ids=["colour", "region", "sigma=auto", "target radius", "zero-shot", "gated"],
)
def test_every_mode_is_certified_and_replayed_on_the_image(
    image: bytes,
    fields: dict[str, str],
    asked: dict[str, Any],
    api: TestClient,
    certify: Certify,
    settings: WorkerSettings,
) -> None:
    content = document_of(api, certify(image, **fields))
    assert [check for check in verify(content).checks if not check.ok] == []
    replayed(content, image, settings, **asked)


def test_same_request_on_the_model_input_has_other_noise(api: TestClient, certify: Certify) -> None:
    of_image, of_input = (
        json.loads(document_of(api, certify(noise_space=space))) for space in ("image", "model_input")
    )
    assert of_image["noise"]["settings_sha256"] == of_input["noise"]["settings_sha256"]
    assert of_image["noise"]["classifier_sha256"] != of_input["noise"]["classifier_sha256"]
    assert of_image["noise"]["key"] != of_input["noise"]["key"]
    assert of_input["claims"][0]["kind"] in ("l2_radius/1", "abstention/1")


def test_other_pixels_with_the_same_model_input_are_another_image(settings: WorkerSettings) -> None:
    """A pixel of the corner that the crop does not read changes nothing, one that it reads changes the digest."""
    pixels = np.full((40, 60), 100, np.uint8)
    corner, middle = pixels.copy(), pixels.copy()
    corner[0, 0], middle[20, 30] = 200, 200
    one, of_corner, of_middle = (
        decode_limited(encoded(each, "PNG"), REQUEST, DEMO, settings)[1] for each in (pixels, corner, middle)
    )
    assert one.noise_sha256 == of_corner.noise_sha256 != of_middle.noise_sha256
    assert one.pixels_sha256 != of_corner.pixels_sha256


def test_image_with_more_values_than_eta_pays_for_is_refused(certify: Certify) -> None:
    side = int(most_values(2.0) ** 0.5)
    assert certify(picture(side, side), sigma="2", n="150")["error"] is None
    error = certify(picture(side + 1, side + 1), sigma="2")["error"]
    assert error["code"] == "image_too_large_for_noise"
    assert f"at most {most_values(2.0)} values" in error["detail"]


def test_limit_is_that_of_the_largest_sigma_that_auto_may_choose(certify: Certify) -> None:
    assert TASK.sigma_routing is not None
    side = int(most_values(AutoSigma(TASK.sigma_routing).largest) ** 0.5) + 1
    assert side * side < most_values(0.25)
    assert certify(picture(side, side), sigma="auto")["error"]["code"] == "image_too_large_for_noise"


@pytest.mark.parametrize("value", ["pixels", "", "IMAGE"])
def test_unknown_noise_space_is_refused(value: str, api: TestClient) -> None:
    answer = api.post("/certify", files={"image": GREY}, data={**FIELDS, "noise_space": value})
    assert (answer.status_code, code_of(answer)) == (422, "invalid_request")


# -- engines of one job --------------------------------------------------------------------------------------------


def job_of(redis: Redis, job_id: str, settings: WorkerSettings, request: CertifyRequest = REQUEST) -> Any:
    pixels, facts = decode_limited(GREY, request, DEMO, settings)
    payload = pixels.tobytes() if pixels.rendered is None else pixels.rendered.tobytes()
    return waiting(redis, job_id, request, payload, facts)


def test_interrupted_job_and_its_helper_end_in_the_same_labels(
    runtime: Runtime, redis: Redis, settings: WorkerSettings
) -> None:
    alone = attempt(runtime, job_of(redis, "alone", settings))[0]["estimation"]
    record = job_of(redis, "helped", settings)
    with stopping_after(1):
        attempt(runtime, record)
    helper = Helper(runtime=build(runtime.settings, redis, name="helper"), input=CertificationInput.of(record))
    helper.help()
    assert helper.committed >= 1
    assert attempt(runtime, record)[0]["estimation"] == alone


def test_labels_do_not_depend_on_who_shares_a_batch(runtime: Runtime, redis: Redis, settings: WorkerSettings) -> None:
    """Every image is mapped by itself: a block that is computed again has the same labels."""
    request = replace(REQUEST, classifier=replace(TEMPLATE, adaptation=ZeroShotAdaptation(samples=8)))
    first, again = (attempt(runtime, job_of(redis, name, settings, request))[0] for name in ("first", "again"))
    assert first["estimation"] == again["estimation"]


def test_image_that_changed_in_the_job_store_is_refused(
    runtime: Runtime, redis: Redis, settings: WorkerSettings
) -> None:
    record = job_of(redis, "job", settings)
    payload = bytearray(redis.get(input_key("job")))  # type: ignore[arg-type]  # bytes
    payload[0] ^= 1
    redis.set(input_key("job"), bytes(payload))
    with pytest.raises(Rejected) as refused:
        attempt(runtime, record)
    assert refused.value.code == "digest_mismatch"


def test_engine_refuses_a_job_whose_image_was_prepared_for_the_other_space(
    redis: Redis, settings: WorkerSettings
) -> None:
    pixels, facts = decode_limited(GREY, replace(REQUEST, noise_space="model_input"), DEMO, settings)
    record = waiting(redis, "job", REQUEST, pixels.tobytes(), facts)
    with pytest.raises(TypeError, match="noise_space=image"):
        CertificationInput.of(record)


def test_record_of_the_image_survives_its_json(redis: Redis, settings: WorkerSettings) -> None:
    record = job_of(redis, "job", settings)
    assert isinstance(record.image, ImageRecord)
    assert record.image.noisy is not None
    assert record.image.scale.direct


# -- prompts that are tuned under noise on the image -----------------------------------------------------------------


TUNING = {"shots": "2", "epochs": "1", "n_ctx": "2", "batch_size": "3", "sigmas": "[0.1, 0.2]", "name": "mine"}


def tuned(api: TestClient, images: bytes, **fields: str) -> dict[str, Any]:
    """The job of a tuning, after every stage worked on it."""
    answer = api.post("/prompts", files={"images": images}, data={**TUNING, **fields})
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    intake.unpack(job_id)
    engine.tune(job_id)
    issue.finish(job_id)
    job: dict[str, Any] = api.get(f"/jobs/{job_id}").json()
    return job


def test_prompt_is_tuned_under_noise_on_the_image_and_its_card_says_so(api: TestClient, certify: Certify) -> None:
    images = zipped({f"{name}/{i}.png": picture(20, 30) for name in ("ant", "bee") for i in range(3)})
    job = tuned(api, images, noise_space="image")
    assert job["status"] == "succeeded", job["error"]
    tuning = job["result"]["card"]["tuning"]
    assert tuning["noise_space"] == "image"
    assert {name: tuning["images"][name] for name in ("of_rows", "of_columns", "channels", "fit")} == {
        "of_rows": 20,
        "of_columns": 30,
        "channels": 1,
        "fit": "crop",
    }
    on_input = tuned(api, images, name="other")
    assert "noise_space" not in on_input["result"]["card"]["tuning"]
    assert on_input["result"]["prompt"].rpartition("-")[2] != job["result"]["prompt"].rpartition("-")[2]
    for space in ("image", "model_input"):
        named = {"prompt": job["result"]["prompt"], "task": "", "noise_space": space}
        certified = certify(picture(24, 24), **named)
        assert certified["status"] == "succeeded", certified["error"]
        warned = [each["code"] for each in certified["result"]["warnings"]]
        assert ("prompt_noise_space" in warned) is (space == "model_input")


def test_images_of_a_tuning_must_have_one_size_for_noise_on_them(api: TestClient) -> None:
    images = zipped({"ant/0.png": picture(20, 30), "bee/0.png": picture(20, 31)})
    error = tuned(api, images, noise_space="image", shots="1")["error"]
    assert error["code"] == "image_sizes_differ"
    assert "20 x 30 x 1" in error["detail"]
    assert "20 x 31 x 1" in error["detail"]
    assert tuned(api, images, shots="1")["status"] == "succeeded"


def test_methods_without_noise_refuse_a_noise_space(api: TestClient) -> None:
    images = zipped({"ant/0.png": picture(20, 30), "bee/0.png": picture(20, 30)})
    data = {"method": "coop", "noise_space": "image", "shots": "1"}
    answer = api.post("/prompts", files={"images": images}, data=data)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "noise_space")
