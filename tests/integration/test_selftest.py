"""A worker takes work only when its self-test passes; an administrator can order one; both tell which check failed."""

import socket
import subprocess
import time
from collections.abc import Callable

import httpx
import pytest
from fastapi.testclient import TestClient
from redis import Redis

from certrad.models.types.selftest import SelfTestCheck, SelfTestReport
from certrad.workers.contract.exit_codes import DONE, SELFTEST_FAILED
from certrad.workers.contract.names import ARCHIVE_QUEUE, ENGINE_QUEUE, FAILED_SELFTESTS, INTAKE_QUEUE, JOBS
from certrad.workers.contract.queues import alive_workers, queue
from certrad.workers.contract.selftest import FailedSelfTest, SelfTests
from certrad.workers.engine import tasks
from certrad.workers.engine.runtime import Runtime
from certrad.workers.intake import selftest as of_intake
from certrad.workers.keys.signing import SigningKeys
from certrad.workers.settings import WorkerSettings
from tests.support.api import submit
from tests.support.problems import assert_problem
from tests.support.processes import Processes, environment, wait_for

pytestmark = pytest.mark.integration


def report(*, ok: bool) -> SelfTestReport:
    check = SelfTestCheck(name="features", ok=ok, detail="least cosine 0.5", seconds=0.1)
    return SelfTestReport(made_at=1.7e9, checks=(check,), facts={"device": "cpu"})


@pytest.fixture
def workers(redis: Redis) -> None:
    """A worker of both queues, as far as Redis knows."""
    for name in (INTAKE_QUEUE, ENGINE_QUEUE):
        redis.sadd(f"rq:workers:{name}", f"rq:worker:{name}-1")
        redis.hset(f"rq:worker:{name}-1", mapping={"birth": "2026-01-01T00:00:00Z", "state": "idle"})


def test_an_engine_whose_selftest_fails_takes_no_job_and_says_which_check(
    redis: Redis, api: TestClient, settings: WorkerSettings, processes: Processes
) -> None:
    rq_queue = queue(redis, ENGINE_QUEUE)
    rq_queue.enqueue_call(func="certrad.workers.engine.tasks.certify", args=("a-job",), job_id="a-job-certify")
    worker = processes.start(["-m", "tests.support.broken_worker"], name="worker", env=environment(settings))
    assert worker.wait(240) == SELFTEST_FAILED
    assert rq_queue.job_ids == ["a-job-certify"]
    assert '"check": "noise_words"' in processes.errors("worker").read_text()
    body = assert_problem(api.get("/health/workers"), "selftest_failed")
    assert [each["checks"] for each in body["failed_selftests"]] == [["noise_words"]]
    assert "noise_words" in body["detail"]


@pytest.mark.parametrize("name", [INTAKE_QUEUE, ARCHIVE_QUEUE])
def test_a_worker_whose_decoder_gives_other_pixels_takes_no_job_and_says_which_check(
    redis: Redis, api: TestClient, settings: WorkerSettings, processes: Processes, name: str
) -> None:
    queue(redis, name).enqueue_call(func="certrad.workers.intake.tasks.decode", args=("a-job",), job_id="a-job-decode")
    command = ["-m", "tests.support.broken_decoder", name]
    worker = processes.start(command, name="worker", env=environment(settings))
    assert worker.wait(240) == SELFTEST_FAILED
    assert queue(redis, name).job_ids == ["a-job-decode"]
    assert '"check": "decoder"' in processes.errors("worker").read_text()
    body = assert_problem(api.get("/health/workers"), "selftest_failed")
    assert [(each["device"], each["checks"]) for each in body["failed_selftests"]] == [(name, ["decoder"])]


def test_intake_whose_signing_key_cannot_be_read_takes_no_job(
    redis: Redis, settings: WorkerSettings, processes: Processes
) -> None:
    SigningKeys(settings.signing_dir).current()
    (settings.signing_dir / "private.pem").write_text("no key")
    decoding = queue(redis, INTAKE_QUEUE)
    decoding.enqueue_call(func="certrad.workers.intake.tasks.decode", args=("a-job",), job_id="a-job-decode")
    worker = start_worker(processes, settings, INTAKE_QUEUE)
    assert worker.wait(240) == SELFTEST_FAILED
    assert decoding.job_ids == ["a-job-decode"]
    assert [failed.checks for failed in SelfTests(redis).failures()] == [("signing",)]


@pytest.mark.parametrize("name", [INTAKE_QUEUE, ARCHIVE_QUEUE])
def test_a_worker_without_a_device_that_passes_clears_an_earlier_failure_and_takes_its_job(
    redis: Redis, settings: WorkerSettings, processes: Processes, name: str
) -> None:
    failed = FailedSelfTest(host=socket.gethostname(), device=name, failed_at=time.time(), checks=("decoder",))
    SelfTests(redis).publish_failure(failed)
    queue(redis, name).enqueue_call(func="certrad.workers.intake.tasks.decode", args=("a-job",), job_id="a-job-decode")
    start_worker(processes, settings, name)
    wait_for(lambda: queue(redis, name).job_ids == [], what="the job taken")
    assert SelfTests(redis).failures() == []
    assert "selftest passed" in processes.errors(name).read_text()


def test_a_worker_of_intake_that_fails_an_ordered_selftest_ends(
    redis: Redis, settings: WorkerSettings, processes: Processes
) -> None:
    SigningKeys(settings.signing_dir).current()
    worker = start_worker(processes, settings, INTAKE_QUEUE)
    wait_for(lambda: alive_workers(redis, INTAKE_QUEUE), what="a worker")
    (settings.signing_dir / "private.pem").write_text("no key")
    test = SelfTests(redis).order()
    assert worker.wait(240) == DONE
    found = SelfTests(redis).read(test.id)
    assert found is not None
    assert found.reports["intake"].failed_checks == ("signing",)


def test_an_engine_that_fails_an_ordered_selftest_keeps_its_report_and_ends(
    redis: Redis, runtime: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tasks, "_runtime", runtime)
    monkeypatch.setattr(tasks, "run_selftest", lambda *_, **__: report(ok=False))
    test = SelfTests(redis).order()
    with pytest.raises(SystemExit) as ended:
        tasks.selftest(test.id)
    assert ended.value.code == SELFTEST_FAILED
    found = SelfTests(redis).read(test.id)
    assert found is not None
    assert found.reports["engine"].failed_checks == ("features",)


def start_worker(processes: Processes, settings: WorkerSettings, name: str) -> "subprocess.Popen[bytes]":
    arguments = ["-m", "certrad.workers.cli.main", "worker", name]
    return processes.start(arguments, name=name, env=environment(settings))


def test_metrics_count_the_engines_whose_selftest_failed(redis: Redis, api: TestClient) -> None:
    for device in ("cpu", "cuda:0"):
        failed = FailedSelfTest(host="node", device=device, failed_at=time.time(), checks=("counts",))
        SelfTests(redis).publish_failure(failed)
    assert "certrad_selftests_failed 2.0" in api.get("/metrics").text
    SelfTests(redis).forget_failure("node", "cpu")
    assert "certrad_selftests_failed 1.0" in api.get("/metrics").text


def test_an_engine_that_passes_publishes_how_long_it_took_and_clears_an_earlier_failure(
    redis: Redis, api: TestClient, settings: WorkerSettings, processes: Processes
) -> None:
    failed = FailedSelfTest(host=socket.gethostname(), device="cpu", failed_at=time.time(), checks=("counts",))
    SelfTests(redis).publish_failure(failed)
    processes.start(["-m", "certrad.workers.cli.main", "worker", "engine"], name="worker", env=environment(settings))

    def engines() -> list[dict[str, object]]:
        found: list[dict[str, object]] = api.get("/health/workers").json().get("engines", [])
        return found

    for name in (INTAKE_QUEUE, "archive"):
        redis.sadd(f"rq:workers:{name}", f"rq:worker:{name}-1")
        redis.hset(f"rq:worker:{name}-1", mapping={"birth": "2026-01-01T00:00:00Z", "state": "idle"})
    (engine,) = wait_for(engines, what="an engine")
    assert isinstance(engine["selftest_seconds"], float)
    assert engine["selftest_seconds"] > 0
    assert not redis.exists(FAILED_SELFTESTS)


def test_a_real_engine_and_intake_report_on_an_ordered_selftest(
    redis: Redis, api: TestClient, settings: WorkerSettings, processes: Processes
) -> None:
    for name in (ENGINE_QUEUE, INTAKE_QUEUE):
        start_worker(processes, settings, name)
    answer = wait_for(lambda: ordered(api), what="workers")
    url = answer.headers["location"]

    def ended() -> dict[str, object] | None:
        view: dict[str, object] = api.get(url).json()
        return None if view["status"] == "running" else view

    view = wait_for(ended, what="both reports")
    assert view["status"] == "passed"
    names = {part: [check["name"] for check in view[part]["checks"]] for part in ("engine", "intake")}  # type: ignore[index]
    assert names == {
        "engine": ["noise_words", "normals", "weights", "features", "counts", "redis"],
        "intake": ["decoder", "signing", "redis"],
    }


def ordered(api: TestClient) -> httpx.Response | None:
    answer = api.post("/selftest")
    return answer if answer.status_code == 202 else None  # type: ignore[return-value]


def test_without_a_worker_there_is_no_selftest(api: TestClient) -> None:
    assert_problem(api.post("/selftest"), "no_worker")


@pytest.mark.usefixtures("workers")
def test_an_ordered_selftest_goes_before_every_job_that_waits(redis: Redis, api: TestClient) -> None:
    submit(api, priority="urgent")
    test_id = api.post("/selftest").json()["id"]
    submit(api, priority="urgent")
    assert queue(redis, INTAKE_QUEUE).job_ids[0] == f"{test_id}-selftest-intake"


@pytest.mark.usefixtures("workers")
@pytest.mark.parametrize(
    ("engine", "intake", "status"),
    [(None, None, "running"), (True, None, "running"), (True, True, "passed"), (None, False, "failed")],
)
def test_the_status_follows_from_the_reports(
    redis: Redis, api: TestClient, engine: bool | None, intake: bool | None, status: str
) -> None:
    test = SelfTests(redis).order()
    if engine is not None:
        SelfTests(redis).put(test.id, "engine", report(ok=engine))
    if intake is not None:
        SelfTests(redis).put(test.id, "intake", report(ok=intake))
    view = api.get(f"/selftest/{test.id}").json()
    assert view["status"] == status
    assert (view["engine"] is None, view["intake"] is None) == (engine is None, intake is None)


def test_a_selftest_that_was_never_ordered_or_has_expired_is_not_found(redis: Redis, api: TestClient) -> None:
    assert_problem(api.get("/selftest/0f8fad5bd9cb469fa16570867728950e"), "selftest_not_found")
    SelfTests(redis).put("0f8fad5bd9cb469fa16570867728950e", "engine", report(ok=True))
    assert_problem(api.get("/selftest/0f8fad5bd9cb469fa16570867728950e"), "selftest_not_found")


@pytest.mark.usefixtures("workers")
def test_reports_go_after_a_day_and_are_no_job(redis: Redis, api: TestClient) -> None:
    test_id = api.post("/selftest").json()["id"]
    assert 86_000 < redis.ttl(f"certrad:selftest:{test_id}") <= 86_400
    assert redis.zcard(JOBS) == 0


def test_a_failure_is_told_for_an_hour_or_until_the_device_passes(redis: Redis) -> None:
    now = [1000.0]
    tests = SelfTests(redis, clock=lambda: now[0])
    for device in ("cuda:0", "cuda:1"):
        tests.publish_failure(FailedSelfTest(host="a", device=device, failed_at=now[0], checks=("counts",)))
    tests.forget_failure("a", "cuda:0")
    assert [failed.device for failed in tests.failures()] == ["cuda:1"]
    now[0] += 3601
    assert tests.failures() == []


def test_a_failure_of_intake_is_in_its_report(
    redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    always: Callable[..., bool] = lambda _: True  # noqa: E731
    monkeypatch.setattr(of_intake, "is_signed", always)
    monkeypatch.setattr(of_intake, "WorkerSettings", lambda: settings)
    test = SelfTests(redis).order()
    of_intake.selftest(test.id)
    found = SelfTests(redis).read(test.id)
    assert found is not None
    assert found.reports["intake"].failed_checks == ("signing",)


def test_intake_makes_its_key_and_publishes_it_before_it_tests_the_key(
    redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_intake, "WorkerSettings", lambda: settings)
    test = SelfTests(redis).order()
    of_intake.selftest(test.id)
    found = SelfTests(redis).read(test.id)
    assert found is not None
    assert "signing" in {check.name for check in found.reports["intake"].checks if check.ok}


def test_a_key_that_intake_cannot_make_is_a_failure_of_signing(
    redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.signing_dir.parent.mkdir(parents=True, exist_ok=True)
    settings.signing_dir.touch()
    monkeypatch.setattr(of_intake, "WorkerSettings", lambda: settings)
    test = SelfTests(redis).order()
    of_intake.selftest(test.id)
    found = SelfTests(redis).read(test.id)
    assert found is not None
    assert found.reports["intake"].failed_checks == ("signing",)
