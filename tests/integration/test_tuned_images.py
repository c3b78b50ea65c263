"""An image that a prompt was tuned on is not certified under it: from the upload to the engine, on a real Redis."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from redis import Redis

from certrad.models.images.model_input import model_input
from certrad.models.types import (
    TEMPLATE_PROMPT,
    Adaptation,
    CertifyRequest,
    ClassifierSpec,
    PromptCard,
    SamplingParams,
    ZeroShotAdaptation,
)
from certrad.models.types.codec import encode_card
from certrad.models.types.result import CertificationResult
from certrad.models.types.tuned_on import TunedOn
from certrad.models.types.tuning import TuningMethod, TuningParams, TuningRequest, TuningResult
from certrad.workers import issue
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import PROMPTS, ledger_key
from certrad.workers.contract.records import Records
from certrad.workers.decoders.raster import decode
from certrad.workers.engine import tasks as engine
from certrad.workers.engine.certification import Certification
from certrad.workers.engine.runtime import Runtime
from certrad.workers.intake import tasks as intake
from certrad.workers.queue.stopping import StopRequested
from certrad.workers.settings import WorkerSettings
from tests.support.archives import classes, textured, zipped
from tests.support.engine_jobs import events_of
from tests.support.processes import environment

pytestmark = pytest.mark.integration

NAMES = ["ant", "bee", "cow"]
SHOTS = 2
TUNED_ON = textured(1, 0)
OTHER = textured(1, SHOTS)
PARAMS = SamplingParams(n0=10, n=150)

Tune = Callable[..., PromptCard]
Certify = Callable[..., JobRecord]


@pytest.fixture
def records(redis: Redis, settings: WorkerSettings, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> Records:
    """Job records; the tasks build the same settings from the environment, and the engine's has the runtime."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(engine, "_runtime", runtime)
    settings.blobs_dir.mkdir(parents=True)
    return Records(redis, ttl=settings.job_ttl)


@pytest.fixture
def tune(records: Records, settings: WorkerSettings) -> Tune:
    """Tunes a prompt on `SHOTS` images of each class, as the queues do, and gives its card."""

    def tuned(method: TuningMethod = "few_shot", archive: dict[str, bytes] | None = None) -> PromptCard:
        params = replace(TuningParams.published(method), shots=SHOTS, epochs=1, batch_size=3, n_ctx=2)
        request = TuningRequest(name="mine", backbone="demo", class_names=None, task=None, params=params)
        records.create("tuning", request, max_active=50, digest="0" * 64)
        (settings.blobs_dir / "tuning").write_bytes(zipped(archive or classes(NAMES, SHOTS)))
        intake.unpack("tuning")
        engine.tune("tuning")
        issue.finish("tuning")
        record = records.read("tuning")
        assert record is not None
        assert isinstance(record.result, TuningResult), record.error
        return record.result.card

    return tuned


@pytest.fixture
def certify(records: Records, settings: WorkerSettings) -> Certify:
    """Certifies a file under a prompt, as the queues do, and gives the record of the job."""
    count = iter(range(100))

    def certified(content: bytes, card: PromptCard | None, *, adaptation: Adaptation | None = None) -> JobRecord:
        job_id = f"job{next(count)}"
        spec = ClassifierSpec(
            backbone="demo",
            prompt=TEMPLATE_PROMPT if card is None else card.id,
            class_names=tuple(NAMES) if card is None else card.class_names,
            template="a picture of {}" if card is None else "{}",
            adaptation=adaptation,
        )
        records.create(job_id, CertifyRequest(classifier=spec, params=PARAMS), max_active=50, digest="0" * 64)
        (settings.blobs_dir / job_id).write_bytes(content)
        intake.decode(job_id)
        engine.certify(job_id)
        issue.finish(job_id)
        record = records.read(job_id)
        assert record is not None
        return record

    return certified


def stopped(*_: object) -> None:
    raise StopRequested


def code_of(record: JobRecord) -> str | None:
    return None if record.error is None else record.error.code


def digest_of(content: bytes) -> str:
    return model_input(decode(content, "png", max_pixels=10**6), 64).sha256


def scope_of(record: JobRecord) -> str:
    assert isinstance(record.result, CertificationResult), record.error
    return record.result.scope_text


def record_named_by(record: JobRecord) -> str | None:
    assert isinstance(record.result, CertificationResult), record.error
    return record.result.provenance.classifier.tuning_images


@pytest.mark.parametrize("method", ["few_shot", "coop", "advpt"])
def test_an_image_that_was_tuned_on_is_refused_and_another_is_certified(
    method: TuningMethod, tune: Tune, certify: Certify
) -> None:
    card = tune(method)
    assert code_of(certify(TUNED_ON, card)) == "image_was_tuned_on"
    other = certify(OTHER, card)
    assert record_named_by(other) == "recorded"
    assert "this model input is not one that it was tuned on" in scope_of(other)


@pytest.mark.parametrize("adaptation", [None, ZeroShotAdaptation()], ids=["none", "zero_shot"])
def test_it_is_refused_before_any_noise_is_drawn(
    adaptation: Adaptation | None, tune: Tune, certify: Certify, redis: Redis
) -> None:
    record = certify(TUNED_ON, tune(), adaptation=adaptation)
    assert code_of(record) == "image_was_tuned_on"
    phases = [data["phase"] for name, data in events_of(redis, record.id) if name == "phase"]
    assert phases[-1] == "loading"
    assert not redis.exists(ledger_key(record.id))


def test_it_is_certified_under_the_hand_written_template(tune: Tune, certify: Certify) -> None:
    tune()
    record = certify(TUNED_ON, None)
    assert record_named_by(record) is None


def test_the_card_shows_no_digest_of_an_image_and_counts_only_those_tuned_on(tune: Tune) -> None:
    images = classes(NAMES, SHOTS + 1)  # one of each class is left to measure on
    card = tune(archive=images)
    assert card.tuned_on is not None
    (recorded,) = card.tuned_on.keyed
    assert len(recorded.digests) == SHOTS * len(NAMES)
    text = encode_card(card)
    assert not [path for path, content in images.items() if digest_of(content) in text]


def test_it_is_refused_after_rotations_and_after_the_secret_was_revealed(
    runtime: Runtime, tune: Tune, certify: Certify
) -> None:
    card = tune()
    former = runtime.epochs.current().sha256
    runtime.epochs.rotate()
    runtime.epochs.rotate()
    assert code_of(certify(TUNED_ON, card)) == "image_was_tuned_on"
    assert certify(OTHER, card).status == "succeeded"
    runtime.epochs.reveal(former)
    assert code_of(certify(TUNED_ON, card)) == "image_was_tuned_on"


def test_an_engine_that_lacks_the_secret_of_the_record_certifies_nothing_under_the_prompt(
    runtime: Runtime, tune: Tune, certify: Certify
) -> None:
    card = tune()
    former = runtime.epochs.current().sha256
    (runtime.settings.secrets_dir / "epoch").write_bytes(b"s" * 32)
    record = certify(OTHER, card)
    assert code_of(record) == "engine_mismatch"
    assert record.error is not None
    assert former in record.error.detail


def put_card(runtime: Runtime, card: PromptCard) -> None:
    """Puts a card into the catalogue as it is, in place of the one that is there."""
    runtime.redis.hset(PROMPTS, card.id, encode_card(card))


def test_a_prompt_without_a_record_is_certified_under_and_the_document_says_so(
    runtime: Runtime, tune: Tune, certify: Certify
) -> None:
    card = replace(tune(), tuned_on=None)
    put_card(runtime, card)
    record = certify(TUNED_ON, card)
    assert record_named_by(record) == "not_recorded"
    assert "the images that it was tuned on are not recorded" in scope_of(record)


def test_a_prompt_that_began_from_one_without_a_record_is_compared_with_its_own_images(
    runtime: Runtime, tune: Tune, certify: Certify
) -> None:
    card = tune()
    assert card.tuned_on is not None
    card = replace(card, tuned_on=card.tuned_on.with_start(None))
    put_card(runtime, card)
    assert code_of(certify(TUNED_ON, card)) == "image_was_tuned_on"
    assert record_named_by(certify(OTHER, card)) == "not_recorded"


def test_an_image_of_a_public_record_is_refused_without_any_secret(
    runtime: Runtime, tune: Tune, certify: Certify
) -> None:
    card = replace(tune(), tuned_on=TunedOn(public=(digest_of(OTHER),)))
    put_card(runtime, card)
    assert code_of(certify(OTHER, card)) == "image_was_tuned_on"
    assert certify(TUNED_ON, card).status == "succeeded"


def test_an_image_of_either_record_is_refused(runtime: Runtime, tune: Tune, certify: Certify) -> None:
    card = tune()
    assert card.tuned_on is not None
    card = replace(card, tuned_on=replace(card.tuned_on, public=(digest_of(OTHER),)))
    put_card(runtime, card)
    assert code_of(certify(OTHER, card)) == "image_was_tuned_on"
    assert code_of(certify(TUNED_ON, card)) == "image_was_tuned_on"


def test_an_engine_that_resumes_a_job_compares_the_image_again(
    runtime: Runtime, records: Records, tune: Tune, certify: Certify, monkeypatch: pytest.MonkeyPatch
) -> None:
    card = tune()
    put_card(runtime, replace(card, tuned_on=None))
    with monkeypatch.context() as patch:
        patch.setattr(Certification, "_estimate", stopped)
        with pytest.raises(StopRequested):
            certify(TUNED_ON, card)
    put_card(runtime, card)
    engine.certify("job0")
    record = records.read("job0")
    assert record is not None
    assert code_of(record) == "image_was_tuned_on"
