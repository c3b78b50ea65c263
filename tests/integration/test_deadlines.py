"""A deadline that cannot be met is refused, a late job ends, and every view of a job gives an estimate."""

import time
from dataclasses import replace

import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.app.api import estimates
from certrad.app.settings import ApiSettings
from certrad.models.errors import Rejected
from certrad.models.types import CertifyRequest, ClassifierSpec, SamplingParams, ZeroShotAdaptation
from certrad.workers.contract.catalogue import Catalogue, WorkerCard
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import ENGINE_QUEUE, INTAKE_QUEUE, SPEEDS, Phase
from certrad.workers.contract.queues import enqueue
from certrad.workers.contract.records import Records
from certrad.workers.contract.request import write_request
from certrad.workers.contract.speeds import Speeds, note_certification, note_stage
from certrad.workers.contract.submission import Submission
from certrad.workers.engine import tasks as engine
from certrad.workers.engine.runtime import Runtime
from certrad.workers.intake import tasks as intake
from certrad.workers.queue import stopping
from certrad.workers.queue.maintenance import reap
from certrad.workers.queue.worker import QueueWorker
from certrad.workers.settings import WorkerSettings
from tests.support.api import PNG, assert_nothing_left
from tests.support.problems import assert_problem, refused_fields
from tests.support.processes import environment

pytestmark = pytest.mark.integration

REQUEST = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}"),
    params=SamplingParams(n0=100, n=1_000),
)
JOB = "job-1"
EACH, BESIDE = 0.01, 0.5
ENGINE = WorkerCard(
    name="", device="cpu", dtype="float32", backbones=("demo",), seen_at=0.0, kind="measured", batch_size=64
)


@pytest.fixture
def measured(redis: Redis, settings: WorkerSettings) -> None:
    """One living engine and one intake worker, and how long they take."""
    for name in (ENGINE_QUEUE, INTAKE_QUEUE):
        QueueWorker(name, name=f"worker-{name}", redis=redis, settings=settings).register_birth()  # type: ignore[no-untyped-call]  # rq is untyped here
    Catalogue(redis).publish_worker(replace(ENGINE, name=f"worker-{ENGINE_QUEUE}"))
    seconds = EACH * 1_000 + EACH * 100 + BESIDE
    note_certification(
        redis, REQUEST, device="cpu", seconds=seconds, estimation=EACH * 1_000, labelling=EACH * 1_000, samples=1_000
    )


def waiting(redis: Redis, settings: ApiSettings, job_id: str, *, tenant: str = "local") -> None:
    """Puts a decoded job before the engines."""
    records = Records(redis, ttl=settings.job_ttl)
    records.create(job_id, REQUEST, max_active=300, digest=job_id, submission=Submission(tenant=tenant))
    records.enter(job_id, "waiting")
    enqueue(redis, "certify", job_id, settings=settings, tenant=tenant)


@pytest.mark.usefixtures("measured")
def test_every_view_of_a_job_tells_when_it_will_end(api: TestClient, redis: Redis, api_settings: ApiSettings) -> None:
    for number in range(3):
        waiting(redis, api_settings, f"job-{number}")
    run = EACH * 1_100 + BESIDE
    for number in range(3):
        estimate = api.get(f"/jobs/job-{number}").json()["estimate"]
        assert estimate["wait_seconds"] == pytest.approx(number * run, abs=0.06)
        assert estimate["run_seconds"] == pytest.approx(run, abs=0.06)
        assert estimate["ends_at"] is not None
    accepted = api.post("/certify", content=PNG, params={"n": "1000", "prompt": "template", "adaptation": "none"})
    assert accepted.json()["estimate"]["wait_seconds"] == pytest.approx(3 * run, abs=0.06)
    listed = {job["id"]: job["estimate"] for job in api.get("/jobs").json()["jobs"]}
    assert listed["job-1"]["wait_seconds"] == pytest.approx(run, abs=0.06)


@pytest.mark.usefixtures("measured")
def test_a_job_that_has_ended_has_no_estimate(api: TestClient, redis: Redis, api_settings: ApiSettings) -> None:
    waiting(redis, api_settings, JOB)
    Records(redis, ttl=600).cancel(JOB)
    assert api.get(f"/jobs/{JOB}").json()["estimate"] is None


@pytest.mark.parametrize("has_engine", [True, False])
def test_an_estimate_that_nobody_can_make_says_why(
    api: TestClient,
    redis: Redis,
    api_settings: ApiSettings,
    request: pytest.FixtureRequest,
    has_engine: bool,
) -> None:
    if has_engine:
        request.getfixturevalue("measured")
        redis.delete(SPEEDS)
    waiting(redis, api_settings, JOB)
    estimate = api.get(f"/jobs/{JOB}").json()["estimate"]
    assert estimate["run_seconds"] is estimate["ends_at"] is None
    assert estimate["reason"] == (estimates.NOT_MEASURED if has_engine else estimates.NO_ENGINE)


@pytest.mark.usefixtures("measured")
def test_a_deadline_that_cannot_be_met_is_refused_with_the_estimate(
    api: TestClient, redis: Redis, api_settings: ApiSettings
) -> None:
    wanted = {"n": "1000", "prompt": "template", "adaptation": "none"}
    refused = api.post("/certify", content=PNG, params={**wanted, "deadline": "5"})
    assert_problem(refused, "deadline_unattainable")
    assert refused.status_code == 503
    assert refused.json()["detail"].startswith("the estimate is 0.0 s of waiting and 11.5 s of work")
    assert refused.headers["retry-after"] == "7"
    assert_nothing_left(redis, api_settings)
    assert api.post("/certify", content=PNG, params={**wanted, "deadline": "60"}).status_code == 202


def living_engine(redis: Redis, settings: WorkerSettings, name: str, **differences: object) -> None:
    """One more idle engine of the kind that was measured, or of another kind."""
    QueueWorker(ENGINE_QUEUE, name=name, redis=redis, settings=settings).register_birth()  # type: ignore[no-untyped-call]  # rq is untyped here
    Catalogue(redis).publish_worker(replace(ENGINE, name=name, **differences))  # type: ignore[arg-type]


@pytest.mark.usefixtures("measured")
def test_a_deadline_that_idle_engines_meet_together_is_accepted(
    api: TestClient, redis: Redis, settings: WorkerSettings
) -> None:
    living_engine(redis, settings, "idle")
    wanted = {"n": "1000", "prompt": "template", "adaptation": "none"}
    accepted = api.post("/certify", content=PNG, params={**wanted, "deadline": "8"})
    assert accepted.status_code == 202
    run = EACH * 100 + BESIDE + 1.0 + EACH * 1_000 / 2  # the second engine joins after a second
    assert accepted.json()["estimate"]["run_seconds"] == pytest.approx(run, abs=0.06)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("differences", [{"backbones": ()}, {"device": "cuda:0"}, {"kind": "other"}, {"kind": None}])
def test_an_idle_engine_that_could_not_take_part_is_not_counted(
    api: TestClient, redis: Redis, settings: WorkerSettings, differences: dict[str, object]
) -> None:
    living_engine(redis, settings, "strange", **differences)
    wanted = {"n": "1000", "prompt": "template", "adaptation": "none", "deadline": "8"}
    assert_problem(api.post("/certify", content=PNG, params=wanted), "deadline_unattainable")


@pytest.mark.usefixtures("measured")
def test_engines_that_other_jobs_need_are_not_counted(
    api: TestClient, redis: Redis, settings: WorkerSettings, api_settings: ApiSettings
) -> None:
    living_engine(redis, settings, "idle")
    for number in range(2):
        waiting(redis, api_settings, f"job-{number}")
    estimate = api.get("/jobs/job-0").json()["estimate"]
    assert estimate["run_seconds"] == pytest.approx(EACH * 1_100 + BESIDE, abs=0.06)


@pytest.mark.usefixtures("measured")
def test_a_run_that_may_stop_early_counts_on_no_idle_engine(
    api: TestClient, redis: Redis, settings: WorkerSettings
) -> None:
    living_engine(redis, settings, "idle")
    wanted = {"n": "1000", "prompt": "template", "adaptation": "none", "target_radius": "0.1", "deadline": "8"}
    assert_problem(api.post("/certify", content=PNG, params=wanted), "deadline_unattainable")


@pytest.mark.usefixtures("measured")
def test_a_flood_of_another_tenant_does_not_make_a_deadline_unattainable(
    api: TestClient, redis: Redis, api_settings: ApiSettings
) -> None:
    for number in range(50):
        waiting(redis, api_settings, f"flood-{number}", tenant="flood")
    wanted = {"n": "1000", "prompt": "template", "adaptation": "none", "deadline": "40"}
    assert api.post("/certify", content=PNG, params=wanted).status_code == 202


@pytest.mark.usefixtures("measured")
def test_a_replay_is_answered_whatever_its_deadline(api: TestClient) -> None:
    wanted = {"n": "1000", "prompt": "template", "adaptation": "none"}
    first = api.post("/certify", content=PNG, params={**wanted, "deadline": "60"}, headers={"idempotency-key": "k"})
    again = api.post("/certify", content=PNG, params={**wanted, "deadline": "1"}, headers={"idempotency-key": "k"})
    assert again.status_code == 202
    assert again.json()["id"] == first.json()["id"]


@pytest.mark.parametrize("deadline", ["0.5", "604801", "nan", "soon"])
def test_a_deadline_out_of_range_is_refused(api: TestClient, deadline: str) -> None:
    answer = api.post("/certify", content=PNG, params={"deadline": deadline})
    assert_problem(answer, "invalid_request")
    assert refused_fields(answer) == ["deadline"]


def test_a_deadline_is_no_part_of_the_request(api: TestClient, redis: Redis) -> None:
    before = time.time()
    job_id = api.post("/certify", content=PNG, params={"deadline": "60"}).json()["id"]
    record = Records(redis, ttl=600).read(job_id)
    assert record is not None
    assert record.submission.deadline_at == pytest.approx(before + 60, abs=5)
    assert b"deadline" not in write_request(record.request)


# -- its end ----------------------------------------------------------------------------------------------------------


def late(records: Records, phase: Phase, *, at: float) -> None:
    """A job with a deadline, in a phase."""
    records.create(JOB, REQUEST, max_active=9, digest="d", submission=Submission(deadline_at=at))
    if phase != "queued":
        records.enter(JOB, phase)


def ended(records: Records) -> JobRecord:
    record = records.read(JOB)
    assert record is not None
    assert record.error is not None
    assert (record.status, record.error.code) == ("failed", "deadline_exceeded")
    return record


def test_a_late_job_ends_before_its_image_is_decoded(
    redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    records = Records(redis, ttl=600)
    late(records, "queued", at=time.time() - 1)
    settings.blobs_dir.mkdir(parents=True)
    (settings.blobs_dir / JOB).write_bytes(PNG)
    intake.decode(JOB)
    assert ended(records).phase == "done"
    assert list(settings.blobs_dir.iterdir()) == []


def test_a_late_job_ends_before_an_engine_loads_its_model(
    runtime: Runtime, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = Records(redis, ttl=600)
    late(records, "waiting", at=time.time() - 1)
    monkeypatch.setattr(engine, "_runtime", runtime)
    engine.certify(JOB)
    assert ended(records).phase == "done"


def test_a_task_under_way_stops_at_its_deadline_and_no_other_does() -> None:
    with stopping.until(100.0 + time.time()):
        stopping.raise_if_stopped()
        with pytest.raises(Rejected) as refusal:
            stopping.raise_if_stopped(clock=lambda: time.time() + 101)
        assert refusal.value.code == "deadline_exceeded"
    stopping.raise_if_stopped(clock=lambda: time.time() + 101)


@pytest.mark.parametrize("phase", ["queued", "waiting", "estimating"])
def test_the_reaper_ends_a_late_job_wherever_it_is(redis: Redis, settings: WorkerSettings, phase: Phase) -> None:
    records = Records(redis, ttl=600)
    now = time.time()
    late(records, phase, at=now + 5)
    reap(redis, settings, clock=lambda: now)
    assert records.status(JOB) in ("queued", "running")
    reap(redis, settings, clock=lambda: now + 6)
    ended(records)


def test_the_reaper_leaves_a_late_job_whose_result_is_being_stored(redis: Redis, settings: WorkerSettings) -> None:
    records = Records(redis, ttl=600)
    late(records, "finishing", at=time.time() - 1)
    reap(redis, settings)
    assert records.status(JOB) == "running"


# -- speeds -----------------------------------------------------------------------------------------------------------


def test_the_newest_measurement_counts_most_and_the_first_alone(redis: Redis) -> None:
    note_stage(redis, "decode", 1.0)
    assert Speeds.read(redis).stage("decode") == 1.0
    note_stage(redis, "decode", 2.0)
    assert Speeds.read(redis).stage("decode") == pytest.approx(1.3)


def test_a_certification_takes_its_samples_and_what_its_adaptation_takes(redis: Redis) -> None:
    adapted = replace(
        REQUEST, classifier=replace(REQUEST.classifier, adaptation=ZeroShotAdaptation(steps=2, samples=50))
    )
    note_certification(redis, REQUEST, device="cpu", seconds=11.5, estimation=10.0, labelling=10.0, samples=1_000)
    note_certification(redis, adapted, device="cpu", seconds=16.0, estimation=10.0, labelling=10.0, samples=1_000)
    speeds = Speeds.read(redis)
    assert speeds.certification(REQUEST, 1_100, ["cpu"]) == pytest.approx(11.5)
    assert speeds.certification(adapted, 1_100, ["cpu"]) == pytest.approx(16.0)
    twice = replace(adapted, classifier=replace(adapted.classifier, adaptation=ZeroShotAdaptation(steps=4, samples=50)))
    assert speeds.certification(twice, 1_100, ["cpu"]) == pytest.approx(21.0)
    assert speeds.certification(adapted, 100, ["cpu"]) == pytest.approx(1.0)  # it has been adapted
    assert speeds.certification(REQUEST, 1_100, ["cuda"]) is None


def test_the_mean_is_the_speed_of_one_engine_however_many_share_the_certificate(redis: Redis) -> None:
    note_certification(redis, REQUEST, device="cpu", seconds=11.5, estimation=10.0, labelling=10.0, samples=1_000)
    alone = dict(Speeds.read(redis).means)
    # Four engines: this one labels 250 samples in 2.5 seconds, and waits for half a second.
    note_certification(redis, REQUEST, device="cpu", seconds=4.5, estimation=3.0, labelling=2.5, samples=250)
    assert Speeds.read(redis).means == pytest.approx(alone)


def test_adaptations_of_every_size_take_the_room_of_one(redis: Redis) -> None:
    for steps in range(1, 20):
        spec = replace(REQUEST.classifier, adaptation=ZeroShotAdaptation(steps=steps))
        request = replace(REQUEST, classifier=spec)
        note_certification(redis, request, device="cpu", seconds=11.5, estimation=10.0, labelling=10.0, samples=1_000)
    assert redis.hlen(SPEEDS) == 2
