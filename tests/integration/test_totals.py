"""Every job is counted once, in the step that ends it, and what is counted has a bound."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import date, timedelta
from functools import partial
from typing import Any, Final

import pytest
from fastapi.responses import StreamingResponse
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families
from redis import Redis

from certrad.app.main import create_app
from certrad.app.settings import ApiSettings
from certrad.models.certificates.document import certification_result
from certrad.models.types import CertifyRequest, ClassifierSpec
from certrad.models.types.result import AbstainedResult, CertifiedResult
from certrad.models.types.tuning import TuningParams, TuningRequest
from certrad.workers.contract.access_keys import AccessKeys
from certrad.workers.contract.drift import MOST_SERIES, Series, read_days
from certrad.workers.contract.engine_memory import publish_memory
from certrad.workers.contract.names import DRIFT_OF_ALL, ENGINE_QUEUE, TOTALS, drift_key
from certrad.workers.contract.records import Records
from certrad.workers.contract.submission import Submission
from certrad.workers.contract.totals import MOST_FIELDS, RADII, Observations
from certrad.workers.engine.ledger import RedisLedger
from tests.support.certificates import CASES, facts
from tests.support.image_facts import image_facts
from tests.support.keys import bearing
from tests.support.results import abstained, unlike
from tests.support.shortages import fill

pytestmark = pytest.mark.integration

REQUEST: Final = CertifyRequest(
    classifier=ClassifierSpec(backbone="demo", prompt="template", class_names=("a", "b"), template="a photo of {}"),
    task="mednist",
)
TUNING: Final = TuningRequest(
    name="mine",
    backbone="demo",
    class_names=None,
    task=None,
    params=TuningParams.published("few_shot"),
)
NOON: Final = 1_796_040_000.0
TODAY: Final = date(2026, 11, 30)


class Clock:
    """A time that moves when told."""

    now = NOON

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def records(redis: Redis, clock: Clock) -> Records:
    return Records(redis, ttl=600, clock=clock)


def certified(radius: float | None = None, *, backbone: str = "demo") -> CertifiedResult:
    case = next(case for case in CASES if max(case.probabilities) > 0.9)
    made = certification_result(facts(case), warnings=[], timing={"select_s": 0.5, "estimate_s": 3.5})
    assert isinstance(made, CertifiedResult)
    return replace(made, radius=made.radius if radius is None else radius, backbone=backbone, samples_used=8_000)


def create(records: Records, job_id: str, request: CertifyRequest = REQUEST, tenant: str = "local") -> None:
    records.create(job_id, request, max_active=9_999, digest="0" * 64, submission=Submission(tenant=tenant))


def succeed(records: Records, job_id: str, result: CertifiedResult | AbstainedResult, **labels: str) -> None:
    create(records, job_id)
    records.enter(job_id, "waiting", image=image_facts(), labels=labels)  # type: ignore[arg-type]  # from the test
    assert records.succeed(job_id, result)


def sample(text: str, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    """The value of a sample with exactly these labels."""
    found = [
        each.value
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if each.name == name and each.labels == (labels or {})
    ]
    return found[0] if found else None


@pytest.fixture
def scraped(api: TestClient) -> Callable[..., float | None]:
    """The value of a sample in a scrape of now."""
    return lambda name, **labels: sample(api.get("/metrics").text, name, labels)


Scraped = Callable[..., float | None]


def test_a_job_is_counted_by_kind_outcome_and_code(records: Records, scraped: Scraped) -> None:
    for number in range(3):
        create(records, f"failed-{number}")
        records.fail(f"failed-{number}", "unreadable_image", "it is none")
    create(records, "cancelled")
    records.cancel("cancelled")
    succeed(records, "succeeded", certified())
    records.create("tuning", TUNING, max_active=9_999, digest="0" * 64)
    records.cancel("tuning")
    count = partial(scraped, "certrad_jobs_total", kind="certify")
    assert count(outcome="failed", code="unreadable_image") == 3
    assert count(outcome="cancelled", code="") == 1
    assert count(outcome="succeeded", code="") == 1
    assert scraped("certrad_jobs_total", kind="tune", outcome="cancelled", code="") == 1
    assert scraped("certrad_job_seconds_count", kind="certify", outcome="failed") == 3


def test_a_code_that_is_none_of_ours_is_counted_as_other(records: Records, scraped: Scraped) -> None:
    create(records, "job")
    records.fail("job", "DOE^JANE", "a code that somebody made up")
    assert scraped("certrad_jobs_total", kind="certify", outcome="failed", code="other") == 1


def test_a_job_that_has_ended_is_not_counted_again(records: Records, scraped: Scraped) -> None:
    succeed(records, "job", certified())
    assert not records.succeed("job", certified())
    assert not records.cancel("job")
    assert not records.fail("job", "internal_error", "too late")
    assert scraped("certrad_jobs_total", kind="certify", outcome="succeeded", code="") == 1
    assert scraped("certrad_jobs_total", kind="certify", outcome="cancelled", code="") is None
    assert scraped("certrad_certificates_total", outcome="certified", scope="input_independent") == 1


def test_ends_at_the_same_time_are_counted_once(redis: Redis, records: Records, scraped: Scraped) -> None:
    create(records, "job")
    barrier, ended = threading.Barrier(8), []

    def end() -> None:
        with Redis(connection_pool=redis.connection_pool) as client:
            mine = Records(client, ttl=600)
            barrier.wait()
            ended.append(mine.fail("job", "worker_lost", "its task died"))

    threads = [threading.Thread(target=end) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(ended) == [False] * 7 + [True]
    assert scraped("certrad_jobs_total", kind="certify", outcome="failed", code="worker_lost") == 1


def test_a_process_that_dies_once_redis_has_ended_its_job_has_counted_it(
    redis: Redis, records: Records, scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(records, "first")
    assert records.succeed("first", certified())  # Redis knows the script now
    create(records, "job")
    execute = Redis.execute_command

    def execute_and_die(client: Redis, *command: Any, **options: Any) -> Any:
        answer = execute(client, *command, **options)  # type: ignore[no-untyped-call]
        if command[0] == "EVALSHA":
            raise SystemExit
        return answer

    with monkeypatch.context() as patch:
        patch.setattr(Redis, "execute_command", execute_and_die)
        with pytest.raises(SystemExit):
            records.succeed("job", certified(0.3))
    assert records.status("job") == "succeeded"
    assert scraped("certrad_jobs_total", kind="certify", outcome="succeeded", code="") == 2
    assert scraped("certrad_certificates_total", outcome="certified", scope="input_independent") == 2
    assert sum(tally.certificates for tally in read_days(redis, "local", last=TODAY, days=1)[TODAY].values()) == 2


def test_a_record_that_cannot_be_read_ends_and_is_counted(redis: Redis, records: Records, scraped: Scraped) -> None:
    create(records, "job")
    redis.hset("certrad:job:job", "request", "no JSON")
    assert records.fail("job", "internal_error", "the record cannot be read")
    assert scraped("certrad_jobs_total", kind="other", outcome="failed", code="internal_error") == 1


def test_a_hash_of_counters_that_is_none_keeps_no_job_from_its_end(redis: Redis, records: Records) -> None:
    redis.set(TOTALS, "no hash")
    create(records, "job")
    assert records.cancel("job")
    assert records.status("job") == "cancelled"


def test_a_full_redis_counts_too(redis: Redis, records: Records, scraped: Scraped, request: Any) -> None:
    create(records, "job")
    redis.set("certrad:job:job:input", b"x" * 600_000)
    before = str(redis.config_get("maxmemory")["maxmemory"])
    request.addfinalizer(lambda: redis.config_set("maxmemory", before))
    redis.config_set("maxmemory", redis.info("memory")["used_memory"] + 1_000_000)
    fill(redis)
    assert records.fail("job", "worker_lost", "its task died")
    redis.config_set("maxmemory", before)
    assert scraped("certrad_jobs_total", kind="certify", outcome="failed", code="worker_lost") == 1


def test_an_intake_refusal_is_a_failure_before_an_engine_could_have_the_job(records: Records, scraped: Scraped) -> None:
    create(records, "refused")
    records.enter("refused", "decoding")
    records.fail("refused", "unsupported_format", "no image")
    create(records, "engine")
    records.enter("engine", "waiting", image=image_facts())
    records.fail("engine", "engine_mismatch", "another engine")
    create(records, "cancelled")
    records.cancel("cancelled")
    assert scraped("certrad_intake_refusals_total", code="unsupported_format") == 1
    assert scraped("certrad_intake_refusals_total", code="engine_mismatch") is None
    assert scraped("certrad_intake_refusals_total", code="") is None


def test_a_wait_is_the_time_until_the_first_worker_of_a_queue(records: Records, clock: Clock, scraped: Scraped) -> None:
    create(records, "job")
    for seconds, phase in ((5.0, "decoding"), (1.0, "waiting"), (30.0, "loading"), (500.0, "loading")):
        clock.now += seconds
        records.enter("job", phase)  # type: ignore[arg-type]  # a phase
        records.enter("job", "estimating")
    records.cancel("job")
    assert scraped("certrad_queue_wait_seconds_sum", queue="intake") == 5
    assert scraped("certrad_queue_wait_seconds_bucket", queue="intake", le="1.0") == 0
    assert scraped("certrad_queue_wait_seconds_bucket", queue="intake", le="5.0") == 1
    assert scraped("certrad_queue_wait_seconds_sum", queue="engine") == 30
    assert scraped("certrad_queue_wait_seconds_bucket", queue="engine", le="15.0") == 0
    assert scraped("certrad_queue_wait_seconds_bucket", queue="engine", le="60.0") == 1
    assert scraped("certrad_queue_wait_seconds_bucket", queue="engine", le="+Inf") == 1
    assert scraped("certrad_queue_wait_seconds_count", queue="archive") is None
    assert scraped("certrad_job_seconds_sum", kind="certify", outcome="cancelled") == 536


def test_a_tuning_waits_for_the_queue_of_archives(records: Records, clock: Clock, scraped: Scraped) -> None:
    records.create("tuning", TUNING, max_active=9_999, digest="0" * 64)
    clock.now += 20
    records.enter("tuning", "unpacking")
    clock.now += 3
    records.fail("tuning", "invalid_archive", "it is none")
    assert scraped("certrad_queue_wait_seconds_sum", queue="archive") == 20
    assert scraped("certrad_queue_wait_seconds_count", queue="intake") is None


def test_a_clock_that_goes_back_is_no_negative_wait(records: Records, clock: Clock, scraped: Scraped) -> None:
    create(records, "job")
    clock.now -= 100
    records.enter("job", "decoding")
    records.cancel("job")
    assert scraped("certrad_queue_wait_seconds_sum", queue="intake") == 0
    assert scraped("certrad_job_seconds_sum", kind="certify", outcome="cancelled") == 0


def test_a_certificate_is_counted_with_its_scope_samples_and_times(records: Records, scraped: Scraped) -> None:
    succeed(records, "one", certified())
    succeed(records, "two", certified())
    succeed(records, "none", abstained())
    assert scraped("certrad_certificates_total", outcome="certified", scope="input_independent") == 2
    assert scraped("certrad_certificates_total", outcome="abstained", scope=abstained().scope) == 1
    assert scraped("certrad_samples_total", backbone="demo") == 16_000 + abstained().samples_used
    assert scraped("certrad_select_seconds_sum", backbone="demo") == 1
    assert scraped("certrad_estimate_seconds_sum", backbone="demo") == 7
    assert scraped("certrad_samples_per_second_sum", backbone="demo") == 4_000
    assert scraped("certrad_samples_per_second_bucket", backbone="demo", le="3000.0") == 2


def test_the_extra_class_of_a_bank_is_counted_as_rejected(redis: Redis, records: Records, scraped: Scraped) -> None:
    succeed(records, "one", unlike(), modality="CT")
    succeed(records, "two", certified(), modality="CT")
    scope = unlike().scope
    assert scraped("certrad_certificates_total", outcome="rejected", scope=scope) == 1
    assert scraped("certrad_certificates_total", outcome="certified", scope=scope) == 1
    (tally,) = read_days(redis, "local", last=TODAY, days=1)[TODAY].values()
    assert (tally.certificates, tally.rejections, tally.abstentions, tally.radii.count) == (2, 1, 0, 1)


def test_a_block_that_another_engine_committed_first_is_counted_as_redone(
    redis: Redis, records: Records, scraped: Scraped
) -> None:
    assert scraped("certrad_blocks_redone_total") == 0
    create(records, "job")
    one, other = (RedisLedger(redis, "job", ttl=60, raise_if_stopped=lambda: None) for _ in range(2))
    one.commit(0, b"\0\0")
    assert other.commit(0, b"\0\1") == b"\0\0"
    other.commit(1, b"\0\0")
    assert scraped("certrad_blocks_committed_total") == 2
    assert scraped("certrad_blocks_redone_total") == 1


def test_outstanding_samples_are_those_of_active_certificates_that_are_not_drawn(
    records: Records, scraped: Scraped
) -> None:
    assert scraped("certrad_samples_outstanding") == 0
    for job_id in ("waiting", "running", "ended"):
        create(records, job_id)
    records.progress("running", samples_done=4_000, samples_total=10_100, counts=(0, 0), invalid=0)
    records.cancel("ended")
    assert scraped("certrad_samples_outstanding") == REQUEST.samples_max + 10_100 - 4_000


def test_the_number_of_counters_has_a_bound(redis: Redis, records: Records, scraped: Scraped) -> None:
    redis.hset(TOTALS, mapping={f'["samples","backbone-{number}"]': 1 for number in range(MOST_FIELDS - 1)})
    for job_id in ("one", "two"):
        create(records, job_id)
        records.cancel(job_id)
    assert redis.hlen(TOTALS) == MOST_FIELDS + 1
    assert scraped("certrad_jobs_total", kind="certify", outcome="cancelled", code="") == 2
    dropped = scraped("certrad_dropped_increments_total")
    assert dropped is not None
    assert dropped >= 2


def test_drift_is_counted_by_day_task_modality_and_scanner_model(redis: Redis, records: Records) -> None:
    succeed(records, "one", certified(0.3), modality="CT", scanner_model="Model A")
    succeed(records, "two", certified(0.5), modality="CT", scanner_model="Model A")
    succeed(records, "three", abstained(), modality="CT", scanner_model="Model A")
    succeed(records, "four", abstained())
    days = read_days(redis, "local", last=TODAY, days=2)
    assert list(days) == [TODAY]
    tallies = days[TODAY]
    assert set(tallies) == {
        Series(task="mednist", modality="CT", scanner_model="Model A"),
        Series(task="mednist", modality="none", scanner_model="none"),
    }
    tally = tallies[Series(task="mednist", modality="CT", scanner_model="Model A")]
    assert (tally.certificates, tally.abstentions, tally.radii.count) == (3, 1, 2)
    assert tally.radii.total == pytest.approx(0.8)


def test_days_begin_at_midnight_in_utc_and_the_oldest_comes_first(
    redis: Redis, records: Records, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "Pacific/Kiritimati")  # 14 hours ahead
    time.tzset()
    try:
        succeed(records, "today", certified(0.3))
        clock.now += 86_400
        succeed(records, "tomorrow", certified(0.3))
    finally:
        monkeypatch.undo()
        time.tzset()
    tomorrow = TODAY + timedelta(days=1)
    assert list(read_days(redis, "local", last=tomorrow, days=3)) == [TODAY, tomorrow]
    assert list(read_days(redis, "local", last=tomorrow, days=1)) == [tomorrow]


def test_a_job_without_a_certificate_is_no_drift(redis: Redis, records: Records) -> None:
    create(records, "failed")
    records.fail("failed", "internal_error", "a defect")
    create(records, "cancelled")
    records.cancel("cancelled")
    assert read_days(redis, "local", last=TODAY, days=1) == {}


def test_a_day_is_kept_for_the_days_of_the_setting(redis: Redis, clock: Clock) -> None:
    succeed(Records(redis, ttl=600, drift_days=3, clock=clock), "job", certified())
    assert 3 * 86_400 - 60 < redis.ttl(drift_key("local", TODAY.isoformat())) <= 3 * 86_400


def test_the_number_of_series_of_a_day_has_a_bound(redis: Redis, records: Records) -> None:
    for number in range(MOST_SERIES + 3):
        succeed(records, f"job-{number}", abstained(), modality="CT", scanner_model=f"Model {number}")
    succeed(records, "known", abstained(), modality="CT", scanner_model="Model 0")
    tallies = read_days(redis, "local", last=TODAY, days=1)[TODAY]
    assert len(tallies) == MOST_SERIES + 1
    assert tallies[Series(task="other", modality="other", scanner_model="other")].certificates == 3
    assert tallies[Series(task="mednist", modality="CT", scanner_model="Model 0")].certificates == 2


def test_drift_over_all_days_begins_anew_once_its_hash_is_deleted(
    redis: Redis, records: Records, scraped: Scraped
) -> None:
    redis.hset(DRIFT_OF_ALL, "series", MOST_SERIES)  # as after years with labels that are gone
    labels = {"outcome": "certified", "task": "mednist", "modality": "none", "scanner_model": "none"}
    for job_id, counted in (("before", None), ("after", 1)):
        succeed(records, job_id, certified())
        assert scraped("certrad_drift_certificates_total", **labels) == counted
        redis.delete(DRIFT_OF_ALL)
    (of_the_day,) = read_days(redis, "local", last=TODAY, days=1).values()
    assert sum(tally.certificates for tally in of_the_day.values()) == 2


def test_metrics_of_drift_are_over_all_tenants(records: Records, scraped: Scraped) -> None:
    for tenant in ("radiology", "pathology"):
        create(records, tenant, tenant=tenant)
        records.succeed(tenant, certified(0.3))
    labels = {"task": "mednist", "modality": "none", "scanner_model": "none"}
    assert scraped("certrad_drift_certificates_total", outcome="certified", **labels) == 2
    assert scraped("certrad_certified_radius_sum", **labels) == pytest.approx(0.6)
    assert scraped("certrad_certified_radius_bucket", le="0.25", **labels) == 0
    assert scraped("certrad_certified_radius_bucket", le="0.3", **labels) == 2


def test_a_tenant_sees_the_drift_of_its_own_certificates_only(redis: Redis, api_settings: ApiSettings) -> None:
    records = Records(redis, ttl=600)
    create(records, "theirs", tenant="pathology")
    records.succeed("theirs", certified(0.3))
    create(records, "mine", tenant="radiology")
    records.succeed("mine", abstained())
    key = bearing(AccessKeys(api_settings.access_dir).add("radiology", ["read"]).secret)
    with TestClient(create_app(api_settings.model_copy(update={"access": "closed"}))) as client:
        (row,) = client.get("/drift", headers=key).json()["rows"]
    assert (row["certificates"], row["abstentions"], row["radius"]) == (1, 1, None)


def test_drift_over_the_interface_has_quantiles_of_the_radii(redis: Redis, api: TestClient) -> None:
    records = Records(redis, ttl=600)
    for number, radius in enumerate([0.22] * 8 + [0.55] * 2):
        succeed(records, f"job-{number}", certified(radius), modality="MR")
    body = api.get("/drift", params={"days": 1}).json()
    assert body["kept_days"] == 400
    (row,) = body["rows"]
    assert (row["task"], row["modality"], row["scanner_model"]) == ("mednist", "MR", "none")
    assert row["radius"]["mean"] == pytest.approx(0.286)
    assert 0.2 <= row["radius"]["p10"] <= row["radius"]["p50"] <= 0.25
    assert 0.5 < row["radius"]["p90"] <= 0.6


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [
        ((), 0.5, None),
        ((0.05,), 1.0, 0.05),
        ((0.3, 0.3, 0.3, 0.3), 0.5, 0.275),
        ((9.0,), 0.5, RADII[-1]),
        ((0.01, 9.0), 0.25, 0.025),
    ],
)
def test_a_quantile_comes_from_the_bucket_that_holds_it(
    values: tuple[float, ...], share: float, expected: float | None
) -> None:
    bounds = (*RADII, float("inf"))
    lower = (float("-inf"), *RADII)
    buckets = tuple(sum(low < each <= high for each in values) for low, high in zip(lower, bounds, strict=True))
    quantile = Observations(buckets=buckets, total=sum(values)).quantile(share, RADII)
    assert quantile == (None if expected is None else pytest.approx(expected))


def test_memory_is_that_of_engines_which_are_alive(redis: Redis, scraped: Scraped) -> None:
    publish_memory(redis, "alive", {"allocated": 5, "reserved": 7})
    publish_memory(redis, "dead", {"allocated": 9})
    redis.sadd(f"rq:workers:{ENGINE_QUEUE}", "rq:worker:alive", "rq:worker:dead")
    redis.hset("rq:worker:alive", mapping={"birth": "2026-01-01T00:00:00Z", "state": "busy"})
    assert scraped("certrad_engine_memory_bytes", engine="alive", kind="reserved") == 7
    assert scraped("certrad_engine_memory_bytes", engine="dead", kind="allocated") is None


def test_requests_are_counted_by_template_and_status(api: TestClient, scraped: Scraped) -> None:
    for path in ("/jobs/DOE", "/jobs/JANE", "/tasks"):
        api.get(path)
    text = api.get("/metrics").text
    assert "DOE" not in text
    counted = partial(sample, text, "certrad_http_requests_total")
    assert counted({"method": "GET", "route": "/jobs/{job_id}", "status": "404"}) == 2
    assert counted({"method": "GET", "route": "/tasks", "status": "200"}) == 1
    assert sample(text, "certrad_http_request_seconds_count", {"method": "GET", "route": "/tasks"}) == 1


@pytest.mark.usefixtures("redis")
def test_an_upload_that_the_api_refuses_is_counted_by_its_code_and_no_other_request_is(
    api_settings: ApiSettings,
) -> None:
    with TestClient(create_app(api_settings.model_copy(update={"max_body_bytes": 2_048}))) as client:
        for body, params in ((b"", {}), (b"no image", {}), (b"no image", {}), (bytes(3_000), {}), (b"GIF", {"n": "x"})):
            client.post("/certify", content=body, params=params)
        client.post("/dicom-web/studies/1.2.3", content=b"", headers={"content-type": "text/plain"})
        client.get("/jobs/none")
        client.post("/verify", content=b"no document")
        text = client.get("/metrics").text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    counted = {each.labels["code"]: each.value for each in families["certrad_http_upload_refusals"].samples}
    assert counted == {
        "empty_image": 1,
        "unsupported_format": 2,
        "body_too_large": 1,
        "invalid_request": 1,
        "triggers_disabled": 1,
    }


def test_a_request_is_counted_whether_it_is_logged_or_not(redis: Redis, api_settings: ApiSettings) -> None:
    with TestClient(create_app(api_settings.model_copy(update={"access_log": False}))) as client:
        client.get("/tasks")
        client.get("/health/live")
        text = client.get("/metrics").text
    for route in ("/tasks", "/health/live"):
        assert sample(text, "certrad_http_requests_total", {"method": "GET", "route": route, "status": "200"}) == 1


def test_the_time_of_a_request_is_that_until_its_answer_begins(api: TestClient, scraped: Scraped) -> None:
    def slow() -> StreamingResponse:
        def chunks() -> Iterator[bytes]:
            yield b"first"
            time.sleep(0.3)
            yield b"last"

        return StreamingResponse(chunks())

    api.app.add_api_route("/slow", slow)  # type: ignore[attr-defined]  # it is a FastAPI
    began = time.monotonic()
    assert api.get("/slow").content == b"firstlast"
    took = time.monotonic() - began
    until_answer = scraped("certrad_http_request_seconds_sum", method="GET", route="/slow")
    assert until_answer is not None
    assert until_answer <= took - 0.3


def test_the_release_is_told(api: TestClient) -> None:
    text = api.get("/metrics").text
    assert f'version="{api.get("/openapi.json").json()["info"]["version"]}"' in text
