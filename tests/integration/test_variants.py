"""`variants`: other renderings of one file, from the field of a request to a replayed certificate."""

import base64
import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
from fastapi.testclient import TestClient
from PIL import Image
from pydicom.data import get_testdata_file
from redis import Redis

from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.verify import Issuer, check_image, verify
from certrad.models.errors import Rejected
from certrad.models.images.model_input import ModelInput
from certrad.models.replay.replay import check_labels, check_variants
from certrad.models.replay.unsmoothed import check_answers
from certrad.models.shipped import shipped_backbones
from certrad.models.types import CertifyRequest, FixedSigma, SamplingParams
from certrad.models.types.variant_lists import HeaderWindows, JpegQualities, Shifts
from certrad.models.types.variants import VariantsRequest
from certrad.workers.contract.names import input_key
from certrad.workers.contract.request import read_request, write_request
from certrad.workers.engine import figures
from certrad.workers.engine.added_figures import coarse_to_fine
from certrad.workers.engine.runtime import Runtime
from certrad.workers.intake.decode import decode_limited
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import TASK, TEMPLATE, attempt, stopping_after, waiting
from tests.support.served_jobs import document_of, rebuilt_from, run_job

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("known_secret")]

HEADER = '[{"kind": "windows", "windows": "header"}]'
FIELDS = {"task": TASK.id, "n0": "10", "n": "150", "sigma": "0.1", "prompt": "template", "variants": HEADER}
REQUEST = CertifyRequest(
    classifier=TEMPLATE,
    sigma=FixedSigma(0.1),
    params=SamplingParams(n0=20, n=200),
    variants=VariantsRequest(lists=(HeaderWindows(), JpegQualities(quality=(30,))), n=20, radius=0.01),
)
DEMO = shipped_backbones()["demo"]
DISPUTED = "MR-SIEMENS-DICOM-WithOverlays.dcm"
"""Its header has two windows, which the demonstration model does not always read alike."""


def sample(name: str = DISPUTED) -> bytes:
    path = get_testdata_file(name)
    assert path is not None
    return Path(path).read_bytes()


@pytest.fixture
def api(working_api: TestClient) -> TestClient:
    """A client of the API, whose tasks run in this process."""
    return working_api


@pytest.fixture
def certify(api: TestClient) -> Callable[..., dict[str, Any]]:
    """Submits an image, lets every stage work on it, and returns the job."""

    def certified(image: bytes | None = None, **fields: str) -> dict[str, Any]:
        return run_job(api, image or sample(), {**FIELDS, **fields})

    return certified


def test_windows_of_the_header_are_certified_and_every_label_is_replayed(
    api: TestClient, certify: Callable[..., dict[str, Any]], settings: WorkerSettings
) -> None:
    content = document_of(api, certify(variant_n="30"))
    statement = read(parse(content))
    secret = bytes(range(32))  # that of `known_secret`
    keys = frozenset({json.loads(content)["signature"]["public_key"]})
    verification = verify(content, Issuer(public_keys=keys, secrets={hashlib.sha256(secret).hexdigest(): secret}))
    assert [check for check in verification.checks if not check.ok] == []
    assert {"noise_key", "variant_lists", "variants"} <= {check.name for check in verification.checks}
    assert statement.variants is not None
    assert len(statement.variants.rows) == 2
    rebuilt = rebuilt_from(content, sample(), settings)
    found = check_variants(statement, rebuilt, 1_000, Random(0), tolerant=False)
    assert found == "of 2 variants, 60 of 60 random samples of 60 have their label"
    check_labels(statement, rebuilt, 1_000, Random(0), tolerant=False)


def test_box_of_windows_is_certified_and_every_label_is_replayed(
    api: TestClient, certify: Callable[..., dict[str, Any]], settings: WorkerSettings
) -> None:
    job = certify(variants='[{"kind": "window_box", "centre": 15, "width": 1.03}]', variant_n="20")
    content = document_of(api, job)
    statement = read(parse(content))
    assert [check for check in verify(content).checks if not check.ok] == []
    assert statement.variants is not None
    n_cells = len(statement.variants.rows)
    [box] = job["result"]["variants"]["boxes"]
    assert (box["centre"], box["cells"]) == ([435.0, 465.0], n_cells)
    assert n_cells > 9
    found = check_variants(statement, rebuilt_from(content, sample(), settings), 1_000, Random(0), tolerant=False)
    assert found.startswith(f"of {n_cells} variants, {20 * n_cells} of {20 * n_cells} random samples")


def test_answers_without_noise_are_listed_and_computed_again(
    api: TestClient, certify: Callable[..., dict[str, Any]], settings: WorkerSettings
) -> None:
    box = '[{"kind": "window_box", "centre": 15, "width": 1.03}, {"kind": "windows", "windows": [[100, 20]]}]'
    job = certify(variants=box, variants_base="unsmoothed")
    content = document_of(api, job)
    statement = read(parse(content))
    assert [check for check in verify(content).checks if not check.ok] == []
    claim = statement.unsmoothed
    assert claim is not None
    assert job["result"]["variants"]["base"] == "unsmoothed"
    decoded, facts = decode_limited(sample(), statement.request, DEMO, settings)
    check_image(statement, facts)
    rebuilt = rebuilt_from(content, sample(), settings)
    agreeing = f"{len(claim.rows)} of {len(claim.rows)} renderings have their answer without noise"
    assert check_answers(statement, rebuilt, decoded, tolerant=False) == agreeing
    first = replace(claim.rows[0], label=(claim.rows[0].label + 1) % len(TASK.class_names))
    lying = replace(statement, unsmoothed=replace(claim, rows=(first, *claim.rows[1:])))
    with pytest.raises(ValueError, match="have another answer here"):
        check_answers(lying, rebuilt, decoded, tolerant=False)


def test_box_in_two_spellings_is_one_list_of_cells(api: TestClient, certify: Callable[..., dict[str, Any]]) -> None:
    asked = [
        {"kind": "window_box", "centre": 5, "width": 1},
        {"kind": "window_box", "centre": [445, 455], "width": [790, 790]},
    ]
    rows = certify(variants=json.dumps(asked), variant_n="20")["result"]["variants"]["rows"]
    half = len(rows) // 2
    assert [row["rendering"] for row in rows[:half]] == [row["rendering"] for row in rows[half:]]
    assert rows[0]["rendering"]["kind"] == "window_cell/1"


def test_forged_label_of_a_variant_is_found_by_the_replay(
    api: TestClient, certify: Callable[..., dict[str, Any]], settings: WorkerSettings
) -> None:
    content = document_of(api, certify(variant_n="30"))
    statement = read(parse(content))
    variants = statement.variants
    assert variants is not None
    first = variants.rows[0]
    forged = replace(first, estimation=replace(first.estimation, labels=f"{len(TASK.class_names) - 1}*30"))
    lying = replace(statement, variants=replace(variants, rows=(forged, *variants.rows[1:])))
    with pytest.raises(ValueError, match="are wrong"):
        check_variants(lying, rebuilt_from(content, sample(), settings), 1_000, Random(0), tolerant=False)


def test_result_names_the_variant_that_shows_least(certify: Callable[..., dict[str, Any]]) -> None:
    """A window of 20 values shows an image of which next to nothing is left."""
    asked = '[{"kind": "windows", "windows": [[450, 790], [200, 443], [100, 20]]}]'
    result = certify(variants=asked, variant_radius="0.1")["result"]
    assert result["outcome"] == "certified"
    found = result["variants"]
    assert (found["tried"], found["held"], found["asked_radius"]) == (3, False, 0.1)
    least = min(found["rows"], key=lambda row: (row["radius"], row["agreeing"]))
    assert found["counterexample"] == least
    assert least["name"] in found["text"]


def test_variant_that_is_the_file_itself_has_its_noise(api: TestClient, certify: Callable[..., dict[str, Any]]) -> None:
    """The first window of the header is the file's own: one model input, one key, the same labels."""
    document = json.loads(document_of(api, certify(variant_n="150")))
    row = document["claims"][-1]["rows"][0]
    assert row["input_sha256"] == document["subject"]["input_sha256"]
    assert row["key"] == document["noise"]["key"]
    assert row["estimation"]["labels"] == document["estimation"]["labels"]


def test_abstention_samples_no_variant(certify: Callable[..., dict[str, Any]]) -> None:
    result = certify(sigma="0.25", adapter="none", alpha="0.000001", n="22", variant_n="40")["result"]
    assert result["outcome"] == "abstained"
    assert (result["variants"]["held"], result["variants"]["rows"]) == (None, [])


def test_what_the_model_saw_of_every_variant_is_kept_as_an_image(
    api: TestClient, certify: Callable[..., dict[str, Any]]
) -> None:
    """The first window of the header is the file's own: the same image as the model input of the file."""
    job = certify(variant_n="30")
    images = [base64.b64decode(png) for png in api.get(f"/jobs/{job['id']}/renderings").json()["images"]]
    assert images[0] == api.get(f"/jobs/{job['id']}/input").content
    own, other = (np.asarray(Image.open(io.BytesIO(png))) for png in images)
    assert own.shape == other.shape == (DEMO.image_size, DEMO.image_size, 3)
    assert np.abs(own.astype(int) - other.astype(int)).max() > 10


def test_abstention_has_no_images_of_variants(api: TestClient, certify: Callable[..., dict[str, Any]]) -> None:
    job = certify(sigma="0.25", adapter="none", alpha="0.000001", n="22", variant_n="40")
    answer = api.get(f"/jobs/{job['id']}/renderings")
    assert (answer.status_code, answer.json()["code"]) == (409, "job_has_no_renderings")


@pytest.mark.parametrize(("count", "counterexample"), [(1, None), (1, 0), (96, 3), (417, None), (2048, 2047)])
def test_images_that_have_room_are_that_of_the_counterexample_and_evenly_some_others(
    count: int, counterexample: int | None
) -> None:
    places = coarse_to_fine(count, counterexample)
    assert sorted(places) == [*range(count)]
    assert counterexample is None or places[0] == counterexample
    half = sorted({0, count, *places[: count // 2]})
    assert max(b - a for a, b in pairwise(half)) <= 4


def test_images_end_where_their_bytes_do(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.random.default_rng(0).random((3, 8, 8))
    whole = json.loads(figures.renderings(((place, image) for place in (3, 0, 1, 2)), 4, "job"))["images"]
    monkeypatch.setattr(figures, "_MOST_OF_RENDERINGS", 2 * len(whole[0]) + 1)
    kept = json.loads(figures.renderings(((place, image) for place in (3, 0, 1, 2)), 4, "job"))["images"]
    assert kept == [whole[0], None, None, whole[3]]


def test_samples_of_an_ended_job_are_all_that_were_drawn(certify: Callable[..., dict[str, Any]]) -> None:
    job = certify(variant_n="30")
    assert job["result"]["outcome"] == "certified"
    assert job["progress"]["samples_done"] == job["result"]["samples_used"] + 2 * 30
    assert job["progress"]["samples_total"] == job["progress"]["samples_done"]


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"sigma": "auto"}, "variants"),
        ({"target_radius": "0.1"}, "variants"),
        ({"adaptation": "zero_shot"}, "variants"),
        ({"noise_space": "image"}, "variants"),
        ({"variant_radius": "0.76"}, "variant_radius"),
        ({"variant_radius": "0.00001"}, "variant_radius"),
        ({"variant_radius": "0.25", "variant_n": "39"}, "variant_n"),
        ({"variants": '[{"kind": "flip"}]'}, "variants"),
        ({"variants": "[]"}, "variants"),
        ({"variants": '[{"kind": "shift", "pixels": 17}]'}, "variants"),
        ({"variants": '[{"kind": "shift"}]'}, "variants"),
        ({"variants": '[{"kind": "windows", "windows": [[40, 1]]}]'}, "variants"),
        ({"variants": '[{"kind": "region", "pixels": 2, "step": 3}]'}, "variants"),
        ({"variants": json.dumps([{"kind": "windows", "windows": "header"}] * 2)}, "variants"),
        ({"variants": '[{"kind": "window_box", "centre": -1, "width": 1.1}]'}, "variants"),
        ({"variants": '[{"kind": "window_box", "centre": 5, "width": 0.9}]'}, "variants"),
        ({"variants": '[{"kind": "window_box", "centre": 5, "width": [80, 90]}]'}, "variants"),
        ({"variants": '[{"kind": "window_box", "centre": [5, 4], "width": [80, 90]}]'}, "variants"),
        ({"variants": '[{"kind": "window_box", "centre": [4, 5], "width": [0, 90]}]'}, "variants"),
        ({"variants": '[{"kind": "window_box", "centre": 5}]'}, "variants"),
        ({"variants_base": "unsmoothed", "variant_n": "20"}, "variant_n"),
        ({"variants_base": "other"}, "variants_base"),
    ],
)
def test_request_that_cannot_be_answered_is_refused(fields: dict[str, str], field: str, api: TestClient) -> None:
    answer: httpx.Response = api.post("/certify", files={"image": sample()}, data={**FIELDS, **fields})
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "invalid_request")
    assert any(field in json.dumps(error) for error in body["errors"])


def test_radius_without_variants_is_refused(api: TestClient) -> None:
    fields = {name: value for name, value in FIELDS.items() if name != "variants"}
    answer = api.post("/certify", files={"image": sample()}, data={**fields, "variant_radius": "0.1"})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


def test_preset_that_the_task_does_not_have_is_refused(api: TestClient) -> None:
    asked = '[{"kind": "windows", "windows": ["no_such_preset"]}]'
    answer = api.post("/certify", files={"image": sample()}, data={**FIELDS, "variants": asked})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_window")


def test_job_whose_file_cannot_have_a_variant_fails_with_its_code(certify: Callable[..., dict[str, Any]]) -> None:
    job = certify(variants='[{"kind": "frames", "frames": 1}]')
    assert job["error"]["code"] == "variant_unavailable"


def test_too_many_variants_are_refused(certify: Callable[..., dict[str, Any]]) -> None:
    job = certify(variants='[{"kind": "shift", "pixels": 16}]')
    assert job["error"]["code"] == "too_many_variants"
    assert "at most 1024" in job["error"]["detail"]


def test_request_survives_its_json() -> None:
    request = replace(REQUEST, variants=VariantsRequest(lists=(HeaderWindows(), Shifts(pixels=2)), n=20, radius=0.25))
    assert read_request(write_request(request)) == request
    assert b"variants" not in write_request(replace(request, variants=None))


# -- engines of one job --------------------------------------------------------------------------------------------


def job_of(redis: Redis, job_id: str, settings: WorkerSettings) -> Any:
    pixels, facts = decode_limited(sample(), REQUEST, DEMO, settings)
    kept = [variant.pixels[: facts.channels].tobytes() for variant in pixels.variants]
    payload = b"".join([pixels.tobytes(), *kept])
    return waiting(redis, job_id, REQUEST, payload, facts)


def test_interrupted_job_resumes_with_the_labels_of_its_variants(
    runtime: Runtime, redis: Redis, settings: WorkerSettings
) -> None:
    alone = attempt(runtime, job_of(redis, "alone", settings))[0]["claims"]
    record = job_of(redis, "resumed", settings)
    batches = -(-REQUEST.params.n // runtime.batch_size)
    with stopping_after(batches + 2):  # after the second variant
        attempt(runtime, record)
    with stopping_after(1):  # only the third is left
        attempt(runtime, record)
    assert attempt(runtime, record)[0]["claims"] == alone


def test_variant_that_changed_in_the_job_store_is_refused(
    runtime: Runtime, redis: Redis, settings: WorkerSettings
) -> None:
    record = job_of(redis, "job", settings)
    payload = bytearray(redis.get(input_key("job")))  # type: ignore[arg-type]  # bytes
    payload[ModelInput.size_in_bytes(DEMO.image_size)] ^= 1
    redis.set(input_key("job"), bytes(payload))
    with pytest.raises(Rejected) as refused:
        attempt(runtime, record)
    assert refused.value.code == "digest_mismatch"
