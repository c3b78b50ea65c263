"""The figures of a job are made by a real engine, kept by `finish`, and gone when outputs expire."""

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from redis import Redis

from certrad.app.api.figures import read_figure
from certrad.app.api.jobs import Jobs
from certrad.app.api.remedies import REMEDIES
from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.certificates.labels import parse_labels
from certrad.models.errors import Rejected
from certrad.models.smoothing.bounds import clopper_pearson_lower
from certrad.models.types import AutoSigma, CertifyRequest, SamplingParams, SigmaRouting
from certrad.models.types.figures import FIGURES
from certrad.workers import issue
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import document_key
from certrad.workers.contract.records import Records
from certrad.workers.engine import figures
from certrad.workers.engine.progress import SamplingProgress
from certrad.workers.engine.runtime import Runtime
from certrad.workers.queue import stopping
from certrad.workers.queue.maintenance import reap
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import TEMPLATE, Image, Submit, attempt, events_of, submitter, template_classifier

pytestmark = pytest.mark.usefixtures("known_secret")

N: Final = 400
REQUEST: Final = CertifyRequest(classifier=TEMPLATE, params=SamplingParams(n0=20, n=N, alpha=0.05))
ABSTAINING: Final = replace(REQUEST, params=replace(REQUEST.params, alpha=1e-6, n=20))
ROUTED: Final = CertifyRequest(
    classifier=TEMPLATE,
    sigma=AutoSigma(
        SigmaRouting(
            sigmas=(0.1, 0.25), selector_sigma=0.5, grid=2, weights=((0.0,) * 4, (0.1,) * 4), biases=(0.0, -0.1)
        )
    ),
    params=SamplingParams(n0=20, n=100, alpha=0.05),
)


Change = NDArray[np.float64]


class DiedError(BaseException):
    """The test's own end of a process."""


@pytest.fixture(scope="module")
def image() -> Image:
    """A ramp, which noise moves between classes."""
    ramp = np.linspace(0, 1, 64)
    return np.broadcast_to((ramp[:, None] + ramp[None, :]) / 2, (3, 64, 64)).astype(np.float32)


@pytest.fixture
def submit(redis: Redis, image: Image) -> Submit:
    return submitter(redis, image, REQUEST)


@pytest.fixture
def api(redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """The API on the data directory of `finish`, which builds the same settings from the environment."""
    monkeypatch.setenv("CERTRAD_REDIS_URL", settings.redis_url)
    monkeypatch.setenv("CERTRAD_DATA_DIR", str(settings.data_dir))
    shared = ApiSettings(redis_url=settings.redis_url, data_dir=settings.data_dir, allowed_hosts="testserver")
    with TestClient(create_app(shared)) as client:
        yield client


def finished(runtime: Runtime, record: JobRecord) -> dict[str, Any]:
    """The document that one attempt hands over, of a job that `finish` has ended."""
    document, _ = attempt(runtime, record)
    issue.finish(record.id)
    return document


def figure(api: TestClient, job_id: str, name: str) -> dict[str, Any]:
    answer = api.get(f"/jobs/{job_id}/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json"), answer.text
    assert answer.headers["cache-control"] == "no-store"
    body: dict[str, Any] = answer.json()
    return body


def code_of(api: TestClient, job_id: str, name: str) -> str:
    answer = api.get(f"/jobs/{job_id}/{name}")
    code = str(answer.json()["code"])
    assert answer.status_code == REMEDIES[code].status
    return code


def difference(example: dict[str, Any]) -> Change:
    """The change as (C, H, W), as a browser decodes it."""
    steps = np.frombuffer(base64.b64decode(example["difference"]), dtype="<i2").reshape(example["shape"])
    change: Change = steps.transpose(2, 0, 1).astype(np.float64) * example["unit"]
    return change


def test_example_is_a_change_of_the_radius_towards_the_runner_up(
    api: TestClient, runtime: Runtime, submit: Submit, image: Image
) -> None:
    document = finished(runtime, submit("job"))
    result = api.get("/jobs/job").json()["result"]
    example = figure(api, "job", "example")
    change = difference(example)
    assert example["radius"] == result["radius"]
    assert result["radius"] * (1 - 1e-3) <= np.linalg.norm(change) <= result["radius"] + 1e-12
    assert example["norm"] == pytest.approx(np.linalg.norm(change), abs=2e-8)
    assert example["max_abs"] == np.abs(change).max()
    assert ((image + change >= 0) & (image + change <= 1)).all()
    others = [count if index != result["class_index"] else -1 for index, count in enumerate(result["counts"])]
    names = result["class_names"]
    assert example["runner_up_index"] == others.index(max(others))
    assert (example["runner_up_by"], max(others) > 0) == ("estimation_counts", True)
    assert (example["label"], example["runner_up_label"]) == (result["label"], names[example["runner_up_index"]])
    assert "not the worst case" in example["note"]
    classifier = template_classifier(runtime, document)
    noise = 0.25 * torch.randn((128, *image.shape), generator=torch.Generator().manual_seed(1))

    def margin(pixels: NDArray[Any]) -> float:
        mean = classifier.logits(torch.from_numpy(pixels.astype(np.float32)) + noise).mean(dim=0)
        return float(mean[example["runner_up_index"]] - mean[result["class_index"]])

    assert margin(image + change) > margin(image) > margin(image - change)


def test_equal_jobs_have_equal_examples(api: TestClient, runtime: Runtime, submit: Submit) -> None:
    for job_id in ("one", "other"):
        finished(runtime, submit(job_id))
    assert api.get("/jobs/one/example").content == api.get("/jobs/other/example").content


def test_curve_follows_from_the_labels_of_the_document(api: TestClient, runtime: Runtime, submit: Submit) -> None:
    document = finished(runtime, submit("job"))
    result = api.get("/jobs/job").json()["result"]
    drawn = figure(api, "job", "curve")
    last = drawn["points"][-1]
    assert last == {"samples": N} | {name: result[name] for name in ("p_a_lower", "p_b_upper", "radius")}
    labels = np.array(parse_labels(document["estimation"]["labels"]))
    share = float(document["params"]["alpha_split"]["p_a"])
    for point in drawn["points"]:
        top = int((labels[: point["samples"]] == result["class_index"]).sum())
        expected = max(0.0, clopper_pearson_lower(top, point["samples"], share) - 1e-6)
        assert point["p_a_lower"] <= expected < point["p_a_lower"] + 1.1e-6
    assert (drawn["label"], drawn["valid"]) == (result["label"], "alone")


def test_with_a_target_the_curve_is_valid_at_every_point_together(
    api: TestClient, runtime: Runtime, submit: Submit
) -> None:
    params = replace(REQUEST.params, n=2000, target_radius=0.04)
    finished(runtime, submit("job", replace(REQUEST, params=params)))
    result = api.get("/jobs/job").json()["result"]
    drawn = figure(api, "job", "curve")
    assert drawn["valid"] == "together"
    assert drawn["points"][-1]["radius"] == result["radius"]
    assert drawn["points"][-1]["samples"] == sum(result["counts"]) + result["invalid"] < params.n


def test_an_abstention_has_a_curve_and_no_example(api: TestClient, runtime: Runtime, submit: Submit) -> None:
    finished(runtime, submit("job", ABSTAINING))
    assert api.get("/jobs/job").json()["result"]["outcome"] == "abstained"
    assert code_of(api, "job", "example") == "job_has_no_example"
    assert figure(api, "job", "curve")["points"][-1]["radius"] is None


def test_an_automatic_sigma_has_an_example_and_no_curve(api: TestClient, runtime: Runtime, submit: Submit) -> None:
    finished(runtime, submit("job", ROUTED))
    radius = api.get("/jobs/job").json()["result"]["radius"]
    example = figure(api, "job", "example")
    assert radius * (1 - 1e-3) <= example["norm"] <= radius == example["radius"]
    assert code_of(api, "job", "curve") == "job_has_no_curve"
    assert "sigma=auto" in api.get("/jobs/job/curve").json()["detail"]


def test_a_failure_in_the_example_changes_nothing_else(
    api: TestClient, runtime: Runtime, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = finished(runtime, submit("undisturbed"))

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(figures, "change_within", fail)
    assert finished(runtime, submit("job")) == undisturbed
    assert api.get("/jobs/job").json()["status"] == "succeeded"
    assert code_of(api, "job", "example") == "job_has_no_example"
    assert figure(api, "job", "curve") == figure(api, "undisturbed", "curve")


def test_a_process_that_dies_of_the_example_leaves_it_out_the_next_time(
    api: TestClient, runtime: Runtime, redis: Redis, submit: Submit
) -> None:
    undisturbed = finished(runtime, submit("undisturbed"))
    record, tried = submit("job"), 0

    def die(*_: object, **__: object) -> None:
        nonlocal tried
        tried += 1
        raise DiedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "change_within", die)
        with pytest.raises(DiedError):
            attempt(runtime, record)
        assert redis.hexists(document_key("job"), "document")
        assert finished(runtime, record) == undisturbed
    assert tried == 1
    assert code_of(api, "job", "example") == "job_has_no_example"


def test_a_request_to_stop_is_heard_in_the_example(
    runtime: Runtime, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, on_step: Any, **__: object) -> None:
        monkeypatch.setattr(stopping, "requested", lambda: True)
        on_step()

    monkeypatch.setattr(figures, "change_within", stop)
    with pytest.raises(stopping.StopRequested):
        attempt(runtime, submit("job"))


def test_a_job_that_has_not_ended_has_none_yet(api: TestClient, submit: Submit, redis: Redis) -> None:
    submit("job")
    assert code_of(api, "job", "curve") == code_of(api, "job", "example") == "job_not_finished"
    Records(redis, ttl=600).cancel("job")
    assert code_of(api, "job", "curve") == "job_has_no_curve"
    assert code_of(api, "nobody", "curve") == "job_not_found"


def test_figures_expire_with_the_other_outputs(
    api: TestClient, runtime: Runtime, redis: Redis, settings: WorkerSettings, submit: Submit
) -> None:
    finished(runtime, submit("job"))
    settings = settings.model_copy(update={"output_ttl": 60})
    late = time.time() + 61
    shared = ApiSettings(redis_url=settings.redis_url, data_dir=settings.data_dir, output_ttl=60)
    jobs = Jobs(redis, shared, clock=lambda: late)
    with pytest.raises(Rejected, match="output_expired"):
        read_figure(jobs, settings.outputs_dir, "job", LOCAL_TENANT, "example")
    reap(redis, settings)
    assert len(list(settings.outputs_dir.iterdir())) == len(FIGURES)
    reap(redis, settings, clock=lambda: late)
    assert list(settings.outputs_dir.iterdir()) == []
    assert code_of(api, "job", "curve") == "output_expired"


def test_erasing_a_job_takes_its_figures_along(
    api: TestClient, runtime: Runtime, settings: WorkerSettings, submit: Submit
) -> None:
    finished(runtime, submit("job"))
    assert api.delete("/jobs/job").status_code == 204
    assert list(settings.outputs_dir.iterdir()) == []


def test_a_disk_that_cannot_be_written_costs_the_figures_and_not_the_job(
    api: TestClient, runtime: Runtime, settings: WorkerSettings, submit: Submit
) -> None:
    record = submit("job")
    settings.outputs_dir.write_text("no folder")
    finished(runtime, record)
    assert api.get("/jobs/job").json()["status"] == "succeeded"


def test_a_run_tells_what_it_would_show_if_it_ended_now(
    api: TestClient, runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certrad.workers.engine.progress._PROGRESS_SECONDS", 0.0)
    told_in_progress = []
    publish = SamplingProgress.estimation

    def look(self: SamplingProgress, *args: Any) -> None:
        publish(self, *args)
        told_in_progress.append(api.get("/jobs/job").json()["progress"]["running_bound"])

    monkeypatch.setattr(SamplingProgress, "estimation", look)
    finished(runtime, submit("job"))
    told = [data["running_bound"] for name, data in events_of(redis, "job") if "running_bound" in data]
    assert told == told_in_progress
    assert [bound["samples"] for bound in told] == [64, 128, 192, 256, 320, 384, N]
    result = api.get("/jobs/job").json()
    assert told[-1] == {
        "samples": N,
        "p_a_lower_if_ended_now": result["result"]["p_a_lower"],
        "radius_if_ended_now": result["result"]["radius"],
    }
    assert "running_bound" not in result["progress"]


@pytest.mark.parametrize("kind", ["target", "auto"])
def test_there_is_no_such_bound_where_it_would_mislead(
    kind: str, runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certrad.workers.engine.progress._PROGRESS_SECONDS", 0.0)
    target = replace(REQUEST, params=replace(REQUEST.params, n=640, target_radius=0.04))
    attempt(runtime, submit("job", target if kind == "target" else ROUTED))
    progress = [data for name, data in events_of(redis, "job") if name == "progress"]
    assert progress
    assert [data for data in progress if "running_bound" in data] == []


def test_files_and_answers_hold_nothing_but_json(api: TestClient, runtime: Runtime, submit: Submit) -> None:
    finished(runtime, submit("job"))
    for name in ("example", "curve"):
        assert json.loads(api.get(f"/jobs/job/{name}").content, parse_constant=pytest.fail)
