"""An engine helps with a job that another one has: the same document, and never a worse end for the job."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
from redis import Redis
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from certrad.models.errors import Rejected
from certrad.models.shipped import shipped_adapters
from certrad.models.types import AutoSigma, CertifyRequest, SamplingParams, SigmaRouting
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import ENGINE_QUEUE, adapter_bytes_key, claims_key, ledger_key
from certrad.workers.contract.queues import queue
from certrad.workers.contract.records import Records
from certrad.workers.contract.tickets import is_ticket, offer, withdraw
from certrad.workers.engine import tasks
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.helper import Helper
from certrad.workers.engine.ledger import JobEndedError, RedisLedger
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.engine.shared_ledger import SharedLedger
from certrad.workers.engine.ticket_offers import TicketOffers
from certrad.workers.queue import stopping
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import TEMPLATE, Image, Submit, attempt, stopping_after, submitter

pytestmark = pytest.mark.usefixtures("known_secret")

REQUEST = CertifyRequest(classifier=TEMPLATE, params=SamplingParams(n0=20, n=300))
TARGETED = replace(REQUEST, params=replace(REQUEST.params, n=2000, target_radius=0.04))
ROUTED = replace(
    REQUEST,
    sigma=AutoSigma(
        SigmaRouting(
            sigmas=(0.1, 0.25),
            selector_sigma=0.5,
            grid=2,
            weights=((0.0,) * 4, (0.1,) * 4),
            biases=(0.0, -0.199),
        )
    ),
)


@pytest.fixture(scope="module")
def image() -> Image:
    ramp = np.linspace(0, 1, 64)
    return np.broadcast_to((ramp[:, None] + ramp[None, :]) / 2, (3, 64, 64)).astype(np.float32)


@pytest.fixture
def submit(redis: Redis, image: Image) -> Submit:
    return submitter(redis, image, REQUEST)


@pytest.fixture
def helper(runtime: Runtime) -> Runtime:
    """Another engine with the same secrets."""
    return build(runtime.settings, runtime.redis, name="helper")


@pytest.fixture
def started(helper: Runtime) -> Iterator[None]:
    """This process is the engine of the helper."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_runtime", helper)
        yield


def assisted(helper: Runtime, record: JobRecord) -> int:
    """The batches that a helper commits until there are none for it."""
    part = Helper(runtime=helper, input=CertificationInput.of(record))
    part.help()
    return part.committed


def begun(runtime: Runtime, record: JobRecord) -> JobRecord:
    """A job whose engine was stopped after its first block."""
    with stopping_after(1):
        attempt(runtime, record)
    return record


def by(redis: Redis, name: str) -> int:
    """The blocks that an engine has committed."""
    return int(redis.hget(claims_key("shared"), f"by:{name}") or 0)


@pytest.mark.parametrize("request_", [REQUEST, TARGETED, ROUTED], ids=["fixed n", "target radius", "automatic sigma"])
def test_a_document_does_not_tell_how_many_engines_made_it(
    runtime: Runtime, helper: Runtime, redis: Redis, submit: Submit, request_: CertifyRequest
) -> None:
    alone = attempt(runtime, submit("alone", request_))[0]
    record = begun(runtime, submit("shared", request_))
    batches = assisted(helper, record)
    assert batches == by(redis, "helper") >= 4  # of 64 samples each, of one run
    assert attempt(runtime, record)[0] == alone


def test_a_helper_leaves_nothing_of_a_run_to_compute(
    runtime: Runtime, helper: Runtime, redis: Redis, submit: Submit
) -> None:
    assisted(helper, begun(runtime, submit("shared")))
    assert redis.hlen(ledger_key("shared")) == 1 + 5  # what is fixed, and every block


def test_a_helper_runs_no_further_ahead_of_a_target_radius_than_the_limit(
    runtime: Runtime, helper: Runtime, redis: Redis, submit: Submit
) -> None:
    assisted(helper, begun(runtime, submit("shared", TARGETED)))
    assert redis.hlen(ledger_key("shared")) <= 1 + 8


def test_an_engine_of_another_kind_leaves_and_the_job_goes_on(
    runtime: Runtime, helper: Runtime, submit: Submit
) -> None:
    record = begun(runtime, submit("shared"))
    assert assisted(replace(helper, software={**helper.software, "torch": "0"}), record) == 0
    assert attempt(runtime, record)[1]["outcome"] in ("certified", "abstained")


@pytest.mark.parametrize("strange", ["backbone_sha256", "prompt_sha256", "key_sha256"])
def test_an_engine_with_other_weights_labels_nothing(
    runtime: Runtime, helper: Runtime, redis: Redis, submit: Submit, strange: str
) -> None:
    record = begun(runtime, submit("shared"))
    entry = RedisLedger(redis, "shared", ttl=600, raise_if_stopped=lambda: None).fixed()
    assert entry is not None
    other = replace(entry, engine=replace(entry.engine, **{strange: "0" * 64}))  # type: ignore[arg-type]
    redis.hset(ledger_key("shared"), "fixed", other.to_bytes())
    with pytest.raises(Rejected, match=f"engine_mismatch.*{strange}"):
        assisted(helper, record)
    assert by(redis, "helper") == 0


@pytest.mark.usefixtures("started")
def test_an_engine_without_the_secret_of_the_job_leaves_and_the_job_goes_on(
    runtime: Runtime, helper: Runtime, redis: Redis, submit: Submit, settings: WorkerSettings
) -> None:
    record = begun(runtime, submit("shared"))
    settings.secrets_dir.joinpath("epoch").write_bytes(bytes(32))
    with pytest.raises(Rejected, match="epoch secret"):
        assisted(build(settings, redis), record)
    tasks.assist(record.id)
    after = Records(redis, ttl=600).read(record.id)
    assert after is not None
    assert (after.status, after.phase, by(redis, "helper")) == ("running", "estimating", 0)


@pytest.mark.usefixtures("started")
def test_no_error_of_a_helper_ends_the_job(
    runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = begun(runtime, submit("shared"))

    def broken(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr("certrad.workers.engine.ledger.RedisLedger.commit", broken)
    tasks.assist(record.id)
    after = Records(redis, ttl=600).read(record.id)
    assert after is not None
    assert after.status == "running"


def test_a_job_that_waits_for_an_engine_comes_before_assistance(
    runtime: Runtime, helper: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = begun(runtime, submit("shared"))
    commit = "certrad.workers.engine.ledger.RedisLedger.commit"
    original = RedisLedger.commit

    def commit_and_get_company(ledger: RedisLedger, start: int, labels: bytes) -> bytes:
        redis.rpush(queue(redis, ENGINE_QUEUE).key, "another-certify")
        return original(ledger, start, labels)

    with monkeypatch.context() as patch:
        patch.setattr(commit, commit_and_get_company)
        assert assisted(helper, record) <= 2  # the batch at hand, and the one after it if that was claimed before
    assert assisted(helper, record) == 0


def test_a_helper_that_is_to_stop_gives_its_claims_back(
    runtime: Runtime, helper: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = begun(runtime, submit("shared"))

    def stop() -> None:
        raise stopping.StopRequested

    with monkeypatch.context() as patch:
        patch.setattr(stopping, "raise_if_stopped", stop)
        with pytest.raises(stopping.StopRequested):
            assisted(helper, record)
    assert by(redis, "helper") == 1
    assert assisted(helper, record) == 3  # the other batches, of which some were claimed before


def test_a_cancelled_job_ends_assistance_within_a_block(
    runtime: Runtime, helper: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = begun(runtime, submit("shared"))
    monkeypatch.setattr(stopping, "raise_if_stopped", lambda: Records(redis, ttl=600).cancel(record.id))
    with pytest.raises(JobEndedError):
        assisted(helper, record)
    assert not redis.exists(ledger_key(record.id), claims_key(record.id))


def test_the_engine_of_a_job_notes_the_samples_that_it_labelled_and_not_those_of_its_helper(
    runtime: Runtime, helper: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = replace(REQUEST, params=replace(REQUEST.params, n=5 * 64))
    record, noted, batches_of_helper = submit("shared", request), list[dict[str, float]](), list[int]()
    original = SharedLedger.commit

    def commit_and_get_help(ledger: SharedLedger, start: int, labels: bytes) -> bytes:
        standing = original(ledger, start, labels)
        if not batches_of_helper:
            batches_of_helper.append(assisted(helper, record))
        return standing

    monkeypatch.setattr(SharedLedger, "commit", commit_and_get_help)
    monkeypatch.setattr(tasks, "_runtime", runtime)
    monkeypatch.setattr(tasks, "note_certification", lambda *_, **figures: noted.append(figures))
    tasks.certify(record.id)
    (figures,) = noted
    assert batches_of_helper[0] >= 1
    assert figures["samples"] == 64 * (5 - batches_of_helper[0])
    assert figures["labelling"] <= figures["estimation"]


# -- offers ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def offers(runtime: Runtime) -> TicketOffers:
    """The offers of a job of 100,000 samples at a hundred a second."""
    times = iter(range(1000))
    return TicketOffers(
        runtime=runtime,
        job_id="shared",
        backbone="demo",
        samples=100_000,
        batch_size=64,
        may_stop_early=False,
        clock=lambda: float(next(times)),
    )


def make_idle(runtime: Runtime, name: str, state: str = "idle", **differences: object) -> None:
    """Registers an engine as RQ and the engine itself do."""
    runtime.redis.hset(f"rq:worker:{name}", mapping={"birth": "now", "state": state})
    runtime.redis.sadd(WORKERS_BY_QUEUE_KEY % ENGINE_QUEUE, f"rq:worker:{name}")
    runtime.catalogue.publish_worker(replace(runtime.card(name), **differences))  # type: ignore[arg-type]


def offered(runtime: Runtime) -> list[str]:
    return queue(runtime.redis, ENGINE_QUEUE).job_ids


def test_every_idle_engine_that_fits_is_offered_a_ticket(runtime: Runtime, offers: TicketOffers) -> None:
    make_idle(runtime, "first")
    make_idle(runtime, "second")
    make_idle(runtime, "busy", state="busy")
    make_idle(runtime, "other-processor-or-software", kind="other")
    make_idle(runtime, "earlier-release", kind=None)
    make_idle(runtime, "without-weights", backbones=())
    offers.consider(0)
    assert offered(runtime) == []
    offers.consider(100)
    assert len(offered(runtime)) == 2
    assert all(is_ticket(rq_id) for rq_id in offered(runtime))
    offers.consider(200)
    assert len(offered(runtime)) == 2  # nobody has taken them yet
    offers.end()
    assert offered(runtime) == []
    assert not list(runtime.redis.scan_iter("rq:job:*"))


def test_a_ticket_is_put_behind_what_waits_and_is_never_tried_again(runtime: Runtime) -> None:
    waiting = queue(runtime.redis, ENGINE_QUEUE)
    runtime.redis.rpush(waiting.key, "another-certify")
    tickets = offer(runtime.redis, "shared", 2, settings=runtime.settings)
    assert waiting.job_ids == ["another-certify", *tickets]
    for ticket in tickets:
        job = waiting.fetch_job(ticket)
        assert job is not None
        assert (job.retries_left, job.result_ttl, job.args) == (None, 0, ["shared"])
    taken, left = tickets
    runtime.redis.lrem(waiting.key, 0, taken)  # as an engine takes it
    withdraw(runtime.redis, tickets)
    assert waiting.fetch_job(taken) is not None
    assert waiting.fetch_job(left) is None


def test_adapter_that_is_too_large_for_redis_is_offered_to_engines_that_have_it(
    runtime: Runtime, offers: TicketOffers
) -> None:
    offers.adapter = adapter = next(iter(shipped_adapters().values()))
    make_idle(runtime, "with", adapters=(adapter.id,))
    make_idle(runtime, "without", adapters=())
    offers.consider(0)
    offers.consider(100)
    assert len(offered(runtime)) == 1


def test_adapter_in_redis_is_offered_to_every_idle_engine(runtime: Runtime, offers: TicketOffers) -> None:
    offers.adapter = adapter = next(iter(shipped_adapters().values()))
    runtime.redis.set(adapter_bytes_key(adapter.sha256), b"bytes")
    make_idle(runtime, "with", adapters=(adapter.id,))
    make_idle(runtime, "without", adapters=())
    offers.consider(0)
    offers.consider(100)
    assert len(offered(runtime)) == 2


def test_card_of_an_engine_names_the_adapters_on_its_disk(runtime: Runtime) -> None:
    assert set(runtime.card("engine").adapters) == set(shipped_adapters())


def test_nothing_is_offered_while_a_job_waits(runtime: Runtime, offers: TicketOffers) -> None:
    make_idle(runtime, "first")
    runtime.redis.rpush(queue(runtime.redis, ENGINE_QUEUE).key, "another-certify")
    offers.consider(0)
    offers.consider(100)
    assert offered(runtime) == ["another-certify"]


def test_nothing_is_offered_when_the_job_is_nearly_done(runtime: Runtime, offers: TicketOffers) -> None:
    make_idle(runtime, "first")
    offers.consider(99_800)
    offers.consider(99_900)
    assert offered(runtime) == []


def test_a_run_that_may_stop_early_counts_on_as_many_samples_as_it_took(runtime: Runtime, offers: TicketOffers) -> None:
    make_idle(runtime, "first")
    offers.may_stop_early = True
    offers.consider(0)
    offers.consider(100)
    assert offered(runtime) == []
    offers.consider(500)
    assert len(offered(runtime)) == 1
