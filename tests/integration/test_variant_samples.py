"""The samples of variants are counted wherever samples are: totals, progress, estimates, deadlines and scaling."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
from fastapi.testclient import TestClient
from pydicom.data import get_testdata_file
from redis import Redis

from certrad.app.api import estimates
from certrad.models.shipped import shipped_backbones
from certrad.models.types import CertifyRequest, FixedSigma, SamplingParams
from certrad.models.types.variant_lists import BitDepths, HeaderWindows, JpegQualities, Shifts
from certrad.models.types.variants import VariantsRequest
from certrad.workers.contract.catalogue import Catalogue, WorkerCard
from certrad.workers.contract.names import ENGINE_QUEUE, INTAKE_QUEUE, events_key
from certrad.workers.contract.outstanding_samples import count_outstanding_samples
from certrad.workers.contract.progress import SamplesDone
from certrad.workers.contract.records import Records
from certrad.workers.contract.speeds import Speeds, note_certification
from certrad.workers.engine.runtime import Runtime
from certrad.workers.intake.decode import decode_limited
from certrad.workers.intake.tasks import input_content
from certrad.workers.queue.worker import QueueWorker
from certrad.workers.settings import WorkerSettings
from tests.support.api import PNG
from tests.support.engine_jobs import TEMPLATE, attempt, waiting
from tests.support.problems import assert_problem

pytestmark = pytest.mark.integration

OPEN = VariantsRequest(lists=(HeaderWindows(), JpegQualities(quality=(30,))), n=20)
REQUEST = CertifyRequest(classifier=TEMPLATE, sigma=FixedSigma(0.1), params=SamplingParams(n0=20, n=200), variants=OPEN)
DEMO = shipped_backbones()["demo"]
OF_FILE = 20 + 200
HEADER = json.dumps([{"kind": "windows", "windows": "header"}])
MOVES = json.dumps([{"kind": "shift", "pixels": 2}])


def image() -> bytes:
    """A file whose header offers two windows."""
    path = get_testdata_file("MR-SIEMENS-DICOM-WithOverlays.dcm")
    assert path is not None
    return Path(path).read_bytes()


def progress_of(redis: Redis, job_id: str) -> SamplesDone:
    record = Records(redis, ttl=600).read(job_id)
    assert record is not None
    return cast("SamplesDone", record.progress)


@pytest.mark.parametrize(
    ("lists", "fewest"),
    [
        ((JpegQualities(quality=(30, 50)), BitDepths(bits=(6,))), 3),
        ((Shifts(pixels=2),), 24),
        ((HeaderWindows(), BitDepths(bits=(6,))), 2),
    ],
)
def test_request_counts_the_samples_of_its_lists_before_any_file_is_read(lists: Any, fewest: int) -> None:
    request = replace(REQUEST, variants=replace(OPEN, lists=lists))
    assert request.samples_max == OF_FILE + 20 * fewest
    assert replace(request, variants=None).samples_max == OF_FILE


@pytest.mark.usefixtures("known_secret")
def test_intake_counts_the_windows_of_the_header_and_the_engine_goes_through_all_of_them(
    runtime: Runtime, redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certrad.workers.engine.progress._PROGRESS_SECONDS", 0.0)
    pixels, facts = decode_limited(image(), REQUEST, DEMO, settings)
    payload = input_content(pixels, facts)
    record = waiting(redis, "job", REQUEST, payload, facts)
    total = OF_FILE + 3 * 20
    Records(redis, ttl=600).enter("job", "waiting", samples_total=REQUEST.samples_with(len(facts.variants)))
    assert progress_of(redis, "job").samples_total == total
    attempt(runtime, record)
    events = [json.loads(event[b"data"]) for _, event in cast("Any", redis.xrange(events_key("job")))]
    done = [(event["samples_done"], event["samples_total"]) for event in events if "samples_done" in event]
    assert done == sorted(done)
    assert done[-3:] == [(OF_FILE + 20 * variants, total) for variants in (1, 2, 3)]
    assert events[-2 if "samples_done" not in events[-1] else -1]["counts"]


def test_outstanding_samples_count_those_of_variants(redis: Redis) -> None:
    Records(redis, ttl=600).create("job", REQUEST, max_active=9, digest="job")
    assert count_outstanding_samples(redis) == OF_FILE + 2 * 20


@pytest.fixture
def measured(redis: Redis, settings: WorkerSettings) -> None:
    """One living engine and one intake worker, and an engine that takes 10 ms for a sample."""
    for name in (ENGINE_QUEUE, INTAKE_QUEUE):
        QueueWorker(name, name=f"worker-{name}", redis=redis, settings=settings).register_birth()  # type: ignore[no-untyped-call]  # rq is untyped here
    engine = WorkerCard(
        name=f"worker-{ENGINE_QUEUE}", device="cpu", dtype="float32", backbones=("demo",), seen_at=0.0, kind="measured"
    )
    Catalogue(redis).publish_worker(replace(engine, batch_size=64))
    note_certification(redis, REQUEST, device="cpu", seconds=2.2, estimation=2.0, labelling=2.0, samples=200)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize(
    ("variants", "samples", "reason"),
    [(MOVES, 24 * 20, None), (HEADER, 20, estimates.AT_LEAST)],
    ids=["moves", "header"],
)
def test_estimate_counts_variants_and_says_where_it_is_a_lower_bound(
    api: TestClient, variants: str, samples: int, reason: str | None
) -> None:
    fields = {"n0": "20", "n": "200", "prompt": "template", "adapter": "none", "adaptation": "none"}
    accepted = api.post("/certify", content=PNG, params={**fields, "variants": variants, "variant_n": "20"}).json()
    assert accepted["estimate"]["run_seconds"] == pytest.approx(0.01 * (OF_FILE + samples), abs=0.06)
    assert accepted["estimate"]["reason"] == reason
    assert accepted["progress"]["samples_total"] == OF_FILE + samples


@pytest.mark.usefixtures("measured")
def test_deadline_that_only_the_variants_miss_is_refused(api: TestClient) -> None:
    fields = {"n0": "20", "n": "200", "prompt": "template", "adapter": "none", "adaptation": "none", "deadline": "4"}
    assert api.post("/certify", content=PNG, params=fields).status_code == 202
    refused = api.post("/certify", content=PNG, params={**fields, "variants": MOVES, "variant_n": "20"})
    assert_problem(refused, "deadline_unattainable")


def test_samples_of_variants_are_not_those_that_engines_share() -> None:
    speeds = Speeds.of({b"sample:demo:cpu": b"0.01"})
    whole = speeds.estimation(REQUEST, REQUEST.samples_max, "cpu")
    assert whole == pytest.approx(0.01 * 200)
    assert speeds.estimation(REQUEST, 40, "cpu") == 0  # only variants are left
