"""`parameter_sigma`: noise on the window, from the field of a request to a replayed certificate."""

import hashlib
import io
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
from PIL import Image
from pydicom.data import get_testdata_file
from redis import Redis

from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.verify import Issuer, check_image, verify
from certrad.models.errors import Rejected
from certrad.models.images.grey_rendering import GreyRenderer
from certrad.models.images.model_input import ModelInput
from certrad.models.replay.replay import check_labels, check_windows
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing import Stream
from certrad.models.types import CertifyRequest, FixedSigma, SamplingParams
from certrad.models.types.applied_window import HeaderWindow
from certrad.models.types.parameters import ParameterSigma
from certrad.models.types.window import FixedWindow
from certrad.models.types.window_lattice import cell
from certrad.workers.contract.names import input_key
from certrad.workers.contract.request import read_request, write_request
from certrad.workers.engine.runtime import Runtime
from certrad.workers.intake.decode import decode_limited
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import TASK, TEMPLATE, attempt, stopping_after, waiting
from tests.support.served_jobs import document_of, rebuilt_from, run_job

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("known_secret")]

ASKED = '{"window_centre": 20, "ln_window_width": 0.1}'
FIELDS = {
    "task": TASK.id,
    "n0": "10",
    "n": "150",
    "sigma": "0.1",
    "prompt": "template",
    "window": "40,400",
    "parameter_sigma": ASKED,
}
REQUEST = CertifyRequest(
    classifier=TEMPLATE,
    sigma=FixedSigma(0.1),
    params=SamplingParams(n0=20, n=200),
    window=FixedWindow(centre=40.0, width=400.0),
    parameter_sigma=ParameterSigma(window_centre=20.0, ln_window_width=0.1),
)
DEMO = shipped_backbones()["demo"]


def sample(name: str = "CT_small.dcm") -> bytes:
    path = get_testdata_file(name)
    assert path is not None
    return Path(path).read_bytes()


def grey_png() -> bytes:
    values = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(values).save(file, "PNG")
    return file.getvalue()


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


def test_windows_are_certified_and_every_label_is_replayed(
    api: TestClient, certify: Callable[..., dict[str, Any]], settings: WorkerSettings
) -> None:
    job = certify()
    content, result = document_of(api, job), job["result"]
    statement = read(parse(content))
    secret = bytes(range(32))  # that of `known_secret`
    keys = frozenset({json.loads(content)["signature"]["public_key"]})
    verification = verify(content, Issuer(public_keys=keys, secrets={hashlib.sha256(secret).hexdigest(): secret}))
    assert [check for check in verification.checks if not check.ok] == []
    assert {"noise_key", "parameters"} <= {check.name for check in verification.checks}
    claim = statement.parameters
    assert claim is not None
    assert result["parameters"]["text"] == claim.text
    assert result["parameters"]["samples"] == 150
    assert result["parameters"]["limits"][0]["centre"] == pytest.approx(20 * claim.reach, abs=3e-3)
    rebuilt = rebuilt_from(content, sample(), settings)
    found = check_windows(statement, rebuilt, 1_000, Random(0), tolerant=False)
    assert found.startswith("150 of 150 random samples of 150 have their label")
    check_labels(statement, rebuilt, 1_000, Random(0), tolerant=False)


def test_forged_label_is_found_by_the_replay(
    api: TestClient, certify: Callable[..., dict[str, Any]], settings: WorkerSettings
) -> None:
    content = document_of(api, certify())
    statement = read(parse(content))
    claim = statement.parameters
    assert claim is not None
    assert claim.estimation is not None
    forged = replace(claim.estimation, labels=f"{len(TASK.class_names) - 1}*150")
    lying = replace(statement, parameters=replace(claim, estimation=forged))
    with pytest.raises(ValueError, match="are wrong"):
        check_windows(lying, rebuilt_from(content, sample(), settings), 1_000, Random(0), tolerant=False)


def test_replay_draws_windows_again_and_not_the_window_of_the_file(
    api: TestClient, certify: Callable[..., dict[str, Any]], settings: WorkerSettings
) -> None:
    """The samples of the document in the file's own window have other pixels than those with noise on the window."""
    content = document_of(api, certify())
    windows = rebuilt_from(content, sample(), settings).windows
    assert windows is not None
    drawn = [window.cell for window in windows.windows.draw(Stream.ESTIMATE, range(150))]
    assert len(set(drawn)) > 50


def test_values_of_another_image_are_refused(
    api: TestClient, certify: Callable[..., dict[str, Any]], settings: WorkerSettings
) -> None:
    content = document_of(api, certify())
    statement = read(parse(content))
    claim = statement.parameters
    assert claim is not None
    other = replace(statement, parameters=replace(claim, values_sha256="0" * 64))
    _, facts = decode_limited(sample(), statement.request, DEMO, settings)
    with pytest.raises(ValueError, match="values before the window"):
        check_image(other, facts)


def test_window_of_the_header_is_that_which_noise_is_added_to(
    api: TestClient, certify: Callable[..., dict[str, Any]]
) -> None:
    image = sample("MR-SIEMENS-DICOM-WithOverlays.dcm")
    document = json.loads(document_of(api, certify(image, window="file")))
    claim, window = document["claims"][-1], document["subject"]["window"]
    assert claim["kind"] == "parameters/1"
    assert (window["kind"], claim["centre"], claim["width"]) == ("header/2", window["centre"], window["width"])


def test_abstention_draws_no_sample(certify: Callable[..., dict[str, Any]]) -> None:
    image = sample("MR-SIEMENS-DICOM-WithOverlays.dcm")
    result = certify(image, window="file", sigma="0.25", adapter="none", alpha="0.000001")["result"]
    assert result["outcome"] == "abstained"
    assert (result["parameters"]["samples"], result["parameters"]["limits"]) == (0, [])


@pytest.mark.parametrize(
    "fields",
    [
        {"sigma": "auto"},
        {"target_radius": "0.1"},
        {"adaptation": "zero_shot"},
        {"noise_space": "image"},
        {"variants": '[{"kind": "windows", "windows": "header"}]'},
        {"window": "percentile"},
        {"parameter_sigma": "50"},
        {"parameter_sigma": '{"window_centre": 50}'},
        {"parameter_sigma": '{"window_centre": "header", "ln_window_width": 0.2}'},
        {"parameter_sigma": '{"window_centre": 0.001, "ln_window_width": 0.2}'},
        {"parameter_sigma": '{"window_centre": 50, "ln_window_width": 2}'},
        {"parameter_sigma": '{"window_centre": 50, "ln_window_width": NaN}'},
    ],
)
def test_request_that_cannot_be_answered_is_refused(fields: dict[str, str], api: TestClient) -> None:
    answer: httpx.Response = api.post("/certify", files={"image": sample()}, data={**FIELDS, **fields})
    body = answer.json()
    assert (answer.status_code, body["code"]) == (422, "invalid_request")
    assert any("parameter_sigma" in json.dumps(error) for error in body["errors"])


@pytest.mark.parametrize("kind", ["colour", "full_range"])
def test_file_without_a_window_fails_with_its_code(kind: str, certify: Callable[..., dict[str, Any]]) -> None:
    job = certify(sample("SC_rgb.dcm") if kind == "colour" else grey_png(), window="file")
    assert job["error"]["code"] == "parameters_unavailable"


def test_parameter_that_is_not_known_is_refused(api: TestClient) -> None:
    asked = '{"window_centre": 50, "ln_window_width": 0.2, "gamma": 1}'
    answer = api.post("/certify", files={"image": sample()}, data={**FIELDS, "parameter_sigma": asked})
    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_field")


def test_grey_png_has_the_window_of_the_request(certify: Callable[..., dict[str, Any]]) -> None:
    result = certify(grey_png(), window="127.5,255", n="100")["result"]
    assert (result["parameters"]["centre"], result["parameters"]["width"]) == (127.5, 255.0)


def test_request_survives_its_json() -> None:
    assert read_request(write_request(REQUEST)) == REQUEST
    assert b"parameter_sigma" not in write_request(replace(REQUEST, parameter_sigma=None))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR-SIEMENS-DICOM-WithOverlays.dcm"])
def test_window_of_the_file_is_rendered_as_intake_does(name: str, settings: WorkerSettings) -> None:
    """Up to the rounding of the window to the lattice: the centre by half a step, the width by half a step."""
    _, facts = decode_limited(sample(name), replace(REQUEST, window=REQUEST.window), DEMO, settings)
    own = facts.window
    assert own is not None
    near = cell(40.0, 400.0)
    asked = replace(REQUEST, window=FixedWindow(centre=near.centre, width=near.width))
    decoded, _ = decode_limited(sample(name), asked, DEMO, settings)
    assert decoded.grey is not None
    rendered = GreyRenderer.of(decoded.grey, DEMO.image_size).model_input(near)
    assert np.abs(rendered - decoded.pixels).max() < 1e-6
    assert not isinstance(own, HeaderWindow)


def test_samples_with_noise_on_the_window_count_in_the_progress(certify: Callable[..., dict[str, Any]]) -> None:
    assert REQUEST.samples_max == 20 + 200 + 200
    assert replace(REQUEST, parameter_sigma=None).samples_max == 20 + 200
    job = certify(n="100")
    assert job["progress"]["samples_total"] == 10 + 100 + 100


# -- engines of one job --------------------------------------------------------------------------------------------


def job_of(redis: Redis, job_id: str, settings: WorkerSettings) -> Any:
    pixels, facts = decode_limited(sample(), REQUEST, DEMO, settings)
    assert pixels.grey is not None
    return waiting(redis, job_id, REQUEST, pixels.tobytes() + pixels.grey.tobytes(), facts)


def test_interrupted_job_resumes_with_the_labels_it_has(
    runtime: Runtime, redis: Redis, settings: WorkerSettings
) -> None:
    alone = attempt(runtime, job_of(redis, "alone", settings))[0]["claims"]
    record = job_of(redis, "resumed", settings)
    batches = -(-REQUEST.params.n // runtime.batch_size)
    with stopping_after(batches + 2):  # after the second batch with noise on the window
        attempt(runtime, record)
    assert attempt(runtime, record)[0]["claims"] == alone


def test_values_that_changed_in_the_job_store_are_refused(
    runtime: Runtime, redis: Redis, settings: WorkerSettings
) -> None:
    record = job_of(redis, "job", settings)
    payload = bytearray(redis.get(input_key("job")))  # type: ignore[arg-type]  # bytes
    payload[ModelInput.size_in_bytes(DEMO.image_size) + 16] ^= 1
    redis.set(input_key("job"), bytes(payload))
    with pytest.raises(Rejected) as refused:
        attempt(runtime, record)
    assert refused.value.code == "digest_mismatch"
