"""A tuning goes from upload to prompt on a real Redis with the embedded backbone, and is resumed after a death."""

import os
import signal
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import Any, cast

import numpy as np
import pytest
import structlog
import torch
from redis import Redis
from redis.exceptions import OutOfMemoryError
from rq.timeouts import JobTimeoutException

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.images.model_input import model_input
from certrad.models.prompts.training.embedding_bank import embedding_bank_rows
from certrad.models.prompts.training.tuning import TunedPrompt, TuningSet, attack_params, finish
from certrad.models.shipped import shipped_tasks
from certrad.models.types import BackboneCard, PromptCard
from certrad.models.types.tuning import TuningMethod, TuningParams, TuningRequest, TuningResult
from certrad.workers import issue
from certrad.workers.contract.access import LOCAL_TENANT
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.names import Phase, document_key, input_key, ledger_key
from certrad.workers.contract.payloads import Payloads
from certrad.workers.contract.progress import EpochsDone
from certrad.workers.contract.queues import enqueue, rq_job
from certrad.workers.contract.records import Records
from certrad.workers.contract.tuning_images import TuningImages
from certrad.workers.decoders.raster import decode
from certrad.workers.engine import tasks as engine
from certrad.workers.engine.ledger import JobEndedError
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.engine.tuning import Tuning
from certrad.workers.intake import tasks as intake
from certrad.workers.queue import stopping
from certrad.workers.queue.shortage import ShortageError
from certrad.workers.queue.slices import SliceOverError
from certrad.workers.settings import WorkerSettings
from tests.support.archives import classes, textured, zipped
from tests.support.engine_jobs import events_of
from tests.support.images import encoded, noise, png_bomb
from tests.support.processes import environment

pytestmark = pytest.mark.integration

NAMES = ["ant", "bee", "cow"]
SHOTS, EPOCHS = 2, 2
CANARY = "Xylophonsky"
Submit = Callable[..., str]


def request(method: TuningMethod = "few_shot", **params: Any) -> TuningRequest:
    chosen = {"shots": SHOTS, "epochs": EPOCHS, "batch_size": 3, "n_ctx": 2, **params}
    published = replace(TuningParams.published(method), **chosen)
    return TuningRequest(name="mine", backbone="demo", class_names=None, task=None, params=published)


@pytest.fixture
def records(redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> Records:
    """Job records; the tasks build the same settings from the environment."""
    for name, value in environment(settings).items():
        monkeypatch.setenv(name, value)
    return Records(redis, ttl=settings.job_ttl)


@pytest.fixture(scope="module")
def resident() -> OrderedDict[tuple[BackboneCard, str, tuple[str, str] | None], Backbone]:
    """The backbones of every engine of these tests: they are loaded once."""
    return OrderedDict()


@pytest.fixture
def runtime(
    settings: WorkerSettings,
    redis: Redis,
    resident: OrderedDict[tuple[BackboneCard, str, tuple[str, str] | None], Backbone],
) -> Runtime:
    return replace(build(settings, redis), _resident=resident)


@pytest.fixture
def submit(records: Records, settings: WorkerSettings) -> Submit:
    """Stores an archive with its record, as the API does, and unpacks it."""

    def unpacked(archive: bytes | None = None, *, job_id: str = "job", wanted: TuningRequest | None = None) -> str:
        records.create(job_id, wanted or request(), max_active=50, digest="0" * 64)
        settings.blobs_dir.mkdir(parents=True, exist_ok=True)
        (settings.blobs_dir / job_id).write_bytes(archive or zipped(classes(NAMES, SHOTS + 1)))
        intake.unpack(job_id)
        return job_id

    return unpacked


def read(records: Records, job_id: str = "job") -> JobRecord:
    record = records.read(job_id)
    assert record is not None
    return record


def error_of(records: Records, job_id: str = "job") -> dict[str, Any]:
    error = read(records, job_id).error
    assert error is not None
    return asdict(error)


def tuned(runtime: Runtime, records: Records, job_id: str) -> PromptCard:
    """The prompt that one attempt publishes."""
    Tuning(runtime, records, read(records, job_id)).tune()
    issue.finish(job_id)
    record = read(records, job_id)
    assert isinstance(record.result, TuningResult), record.error
    card = Catalogue(runtime.redis).prompts()[record.result.prompt]
    assert record.result.card == card
    return card


# -- unpacking --------------------------------------------------------------------------------------------------------


def test_only_the_needed_images_are_left_in_the_order_that_is_told(
    submit: Submit, records: Records, redis: Redis, settings: WorkerSettings
) -> None:
    job_id = submit(zipped(classes(NAMES, 60)))
    record = read(records)
    assert record.phase == "waiting"
    assert isinstance(record.image, TuningImages)
    assert record.image.class_names == tuple(NAMES)
    assert record.image.training_labels == (0, 0, 1, 1, 2, 2)
    assert record.image.validation_labels == (0,) * 50 + (1,) * 50 + (2,) * 50
    assert redis.hlen(input_key(job_id)) == 156
    assert 0 < redis.ttl(input_key(job_id)) <= settings.input_ttl
    assert rq_job(redis, "tune", job_id) is not None


def test_folders_with_the_published_names_of_a_task_are_matched(submit: Submit, records: Records) -> None:
    task = shipped_tasks()["sicapv2"]  # sorted, its folder NC of the first class is the last
    sizes = {"NC": 5, "G3": 4, "G4": 3, "G5": 2}
    archive = {path: content for name, size in sizes.items() for path, content in classes([name], size).items()}
    submit(zipped(archive), wanted=replace(request(shots=None), class_names=task.class_names, task=task.id))
    image = read(records).image
    assert isinstance(image, TuningImages), error_of(records)
    assert [image.training_labels.count(label) for label in range(4)] == list(sizes.values())


def test_an_image_is_what_certification_would_see_under_its_own_label(
    submit: Submit, records: Records, redis: Redis
) -> None:
    wanted = replace(request(), class_names=("cow", "ant", "bee"))
    job_id = submit(zipped({**classes(NAMES, SHOTS), **classes(NAMES[:2], 6), **classes(NAMES[:1], 12)}), wanted=wanted)
    image = read(records).image
    assert isinstance(image, TuningImages)
    assert wanted.class_names is not None
    for label, name in enumerate(wanted.class_names):
        places = [place for place, found in enumerate(image.training_labels) if found == label]
        left = {redis.hget(input_key(job_id), str(place)) for place in places}
        pictures = (decode(textured(NAMES.index(name), number), "png", max_pixels=10**6) for number in range(12))
        assert len(left) == SHOTS
        assert left <= {model_input(picture, 64).tobytes() for picture in pictures}


def test_a_second_run_of_unpack_does_no_harm(submit: Submit, records: Records, redis: Redis) -> None:
    job_id = submit()
    before = read(records), redis.hgetall(input_key(job_id))
    intake.unpack(job_id)
    assert (read(records), redis.hgetall(input_key(job_id))) == before


@pytest.mark.parametrize(
    ("broken", "code"),
    [
        (encoded(noise(40, 50), "png")[:-900], "unreadable_image"),
        (b"", "empty_image"),
        (b"Dear Sir or Madam,\n" * 20, "unsupported_format"),
        (encoded(noise(4, 4), "png"), "image_too_small"),
    ],
)
def test_a_bad_image_fails_the_job_by_its_path_and_is_not_logged(
    broken: bytes, code: str, submit: Submit, records: Records, redis: Redis, settings: WorkerSettings
) -> None:
    with structlog.testing.capture_logs() as logged:
        submit(zipped({**classes(NAMES, SHOTS), f"bee/{CANARY}.png": broken}), wanted=request(shots=SHOTS))
    error = error_of(records)
    assert error["code"] == code
    assert error["detail"].startswith(f"`bee/{CANARY}.png`: ")
    assert CANARY not in str(logged)
    assert not redis.exists(input_key("job"))
    assert list(settings.blobs_dir.iterdir()) == []


def test_an_image_that_kills_its_decoder_is_named_among_many(
    submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = classes(NAMES, SHOTS)

    def deadly(data: bytes, *args: Any, **options: Any) -> Any:
        if data == images["bee/001.png"]:
            os.kill(os.getpid(), signal.SIGSEGV)
        return decode(data, *args, **options)

    monkeypatch.setattr("certrad.workers.decoders.raster.decode", deadly)
    submit(zipped(images))
    error = error_of(records)
    assert (error["code"], error["detail"][:14]) == ("unreadable_image", "`bee/001.png`:")


@pytest.mark.parametrize(
    ("archive", "wanted", "code", "named"),
    [
        (b"PK\x03\x04" + bytes(100), request(), "invalid_archive", ""),
        (zipped(classes(["ant"], SHOTS)), request(), "too_few_classes", ""),
        (zipped({**classes(NAMES, SHOTS), "eel/": b""}), request(), "empty_class", "eel"),
        (zipped(classes(NAMES, 1)), request(), "too_few_images", "ant"),
        (zipped(classes(NAMES, SHOTS)), replace(request(), class_names=("a", "b")), "class_mismatch", ""),
        (zipped({**classes(NAMES, SHOTS), "bee/000.PNG": b"x"}), request(), "duplicate_file", "bee/000.P"),
        (zipped({**classes(NAMES, SHOTS), "../x.png": b"x"}), request(), "unsafe_archive", "../x.png"),
        (zipped({**classes(NAMES, SHOTS), "bee/x.png": bytes(2 << 20)}), request(), "archive_too_large", "bee/x.png"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_bad_archive_fails_the_job_before_an_engine_hears_of_it(
    archive: bytes, wanted: TuningRequest, code: str, named: str, submit: Submit, records: Records, redis: Redis
) -> None:
    submit(archive, wanted=wanted)
    error = error_of(records)
    assert error["code"] == code
    assert named in error["detail"]
    assert rq_job(redis, "tune", "job") is None
    assert not redis.exists(input_key("job"))


def test_more_images_than_the_job_store_holds_are_refused_undecoded(
    submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = dict.fromkeys(classes(NAMES, 30), b"no image")  # 22 of 64 x 64 fit into the limit
    monkeypatch.setenv("CERTRAD_MAX_TUNING_BYTES", str(1 << 20))
    submit(zipped(images), wanted=request(shots=8))
    assert error_of(records)["code"] == "archive_too_large"


def test_images_of_too_many_pixels_together_are_refused_before_the_last_is_decoded(
    submit: Submit, records: Records, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CERTRAD_MAX_ARCHIVE_PIXELS", str(24 * 24 * 35))
    submit(zipped(classes(NAMES, 12)), wanted=request(shots=12))
    error = error_of(records)
    assert (error["code"], "20160 pixels" in error["detail"]) == ("archive_too_large", True)
    assert not redis.exists(input_key("job"))


def test_a_small_archive_of_many_blank_pictures_ends_after_one(
    submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    side = 1_000
    monkeypatch.setenv("CERTRAD_MAX_PIXELS", str(side * side))
    archive = zipped(dict.fromkeys(classes(NAMES, 20), png_bomb(side)))
    assert len(archive) < 20_000
    submit(archive, wanted=request(shots=20))
    error = error_of(records)
    assert (error["code"], f"an archive of {len(archive)} bytes" in error["detail"]) == ("archive_too_large", True)


def test_an_archive_whose_processor_seconds_are_spent_is_refused(
    submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*args: Any, **options: Any) -> Any:
        end = time.process_time() + 0.4
        while time.process_time() < end:
            pass
        return decode(*args, **options)

    monkeypatch.setenv("CERTRAD_INTAKE_CPU_SECONDS", "1")
    monkeypatch.setattr("certrad.workers.intake.archive_budget.cpu_allowance", lambda *_: 1)
    monkeypatch.setattr("certrad.workers.decoders.raster.decode", slow)
    submit()
    error = error_of(records)
    assert (error["code"], "processor seconds" in error["detail"]) == ("archive_too_large", True)


@pytest.fixture
def bound(redis: Redis) -> Iterator[Callable[[int], object]]:
    """Sets the most memory that Redis may use, during one test."""
    before = redis.config_get("maxmemory")["maxmemory"] or "0"
    yield partial(redis.config_set, "maxmemory")
    redis.config_set("maxmemory", before)


def test_images_that_leave_other_jobs_no_room_wait_undecoded(
    submit: Submit, records: Records, redis: Redis, bound: Callable[[int], object]
) -> None:
    images = dict.fromkeys(classes(NAMES, SHOTS + 1), b"no image")
    redis.setrange("ballast", 8 << 20, b"x")
    bound(redis.info("memory")["used_memory"] + 500_000)
    with pytest.raises(ShortageError):
        submit(zipped(images))
    assert records.status("job") != "failed"
    bound(0)
    intake.unpack("job")
    assert error_of(records)["code"] == "unsupported_format"  # it goes on where there is room


def test_images_that_the_job_store_could_never_hold_are_refused_undecoded(
    submit: Submit, records: Records, redis: Redis, bound: Callable[[int], object]
) -> None:
    images = dict.fromkeys(classes(NAMES, 200), b"no image")
    bound(redis.info("memory")["used_memory"] + (4 << 20))
    submit(zipped(images), wanted=request(shots=200))
    assert error_of(records)["code"] == "archive_too_large"


def test_a_full_job_store_fails_no_job(
    submit: Submit, records: Records, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> bool:
        raise OutOfMemoryError

    monkeypatch.setattr(Payloads, "put_image", full)
    with pytest.raises(OutOfMemoryError):
        submit()
    assert [records.status(job_id) for job_id in records.active()] == ["running"]


def test_unpacking_that_takes_too_long_is_not_begun_again(
    submit: Submit, records: Records, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def timed_out(*_: Any, **__: Any) -> bool:
        raise JobTimeoutException

    monkeypatch.setattr(Payloads, "put_image", timed_out)
    job_id = submit()
    assert error_of(records)["code"] == "job_timeout"
    assert not (settings.blobs_dir / job_id).exists()


def test_a_job_cancelled_while_unpacking_leaves_nothing(
    submit: Submit, records: Records, redis: Redis, settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Payloads.put_image

    def cancelled_meanwhile(self: Payloads, job_id: str, index: int, pixels: bytes) -> bool:
        if index == 1:
            records.cancel(job_id)
        return put(self, job_id, index, pixels)

    monkeypatch.setattr(Payloads, "put_image", cancelled_meanwhile)
    job_id = submit()
    assert not redis.exists(input_key(job_id))
    assert list(settings.blobs_dir.iterdir()) == []
    assert rq_job(redis, "tune", job_id) is None


# -- tuning -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", ["few_shot", "coop", "advpt"])
def test_every_method_makes_a_prompt_with_its_card(
    method: TuningMethod, runtime: Runtime, submit: Submit, records: Records, redis: Redis, settings: WorkerSettings
) -> None:
    job_id = submit(wanted=request(method))
    card = tuned(runtime, records, job_id)
    assert (card.method, card.class_names, card.n_ctx) == (method, tuple(NAMES), 2)
    assert len(card.tuning["losses"]) == EPOCHS
    assert card.measured["validation"]["images"] == len(NAMES)
    assert (settings.prompts_dir / f"{card.id}.safetensors").exists()
    record = read(records)
    assert isinstance(record.progress, EpochsDone)
    assert (record.status, record.progress.epochs_done) == ("succeeded", EPOCHS)
    assert not redis.exists(input_key(job_id), ledger_key(job_id), document_key(job_id))
    assert list(settings.blobs_dir.iterdir()) == []


def test_events_tell_every_phase_and_every_epoch(
    runtime: Runtime, submit: Submit, records: Records, redis: Redis
) -> None:
    job_id = submit(wanted=request("advpt"))
    tuned(runtime, records, job_id)
    events = events_of(redis, job_id)
    phases = [data["phase"] for name, data in events if name == "phase"]
    assert list(dict.fromkeys(phases)) == [
        "unpacking",
        "waiting",
        "loading",
        "attacking",
        "tuning",
        "evaluating",
        "finishing",
    ]
    assert [data["epochs_done"] for name, data in events if "epochs_done" in data] == [1, 2]
    assert {"images_done": 6, "images_total": 6} in [data for _, data in events]


def test_one_seed_makes_one_prompt_and_another_seed_another(runtime: Runtime, submit: Submit, records: Records) -> None:
    first, again, other = (
        tuned(runtime, records, submit(job_id=f"job{number}", wanted=request(seed=seed))).sha256
        for number, seed in enumerate((0, 0, 1))
    )
    assert first == again != other


class StoppedError(Exception):
    """The test's own interruption."""


def dying_after(kind: str, count: int) -> Callable[..., bool]:
    """`Payloads.put_step` of a process that dies right after the n-th step of a kind."""
    put, left = Payloads.put_step, iter(range(count - 1))

    def dying(self: Payloads, job_id: str, step: str, state: bytes) -> bool:
        answer = put(self, job_id, step, state)
        if kind in step and next(left, None) is None:
            raise StoppedError
        return answer

    return dying


@pytest.fixture
def small_bank_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def rows(backbone: Backbone, data: TuningSet, params: TuningParams, start: int) -> torch.Tensor:
        return embedding_bank_rows(backbone, data.images, attack_params(params), start, batch_size=4)

    monkeypatch.setattr("certrad.workers.engine.tuning.bank_starts", lambda n_images: range(0, n_images, 4))
    monkeypatch.setattr("certrad.workers.engine.tuning.bank_rows", rows)


@pytest.mark.usefixtures("small_bank_batches")
@pytest.mark.parametrize(("kind", "count"), [("state", 1), ("state", EPOCHS), ("bank", 1)])
def test_an_interrupted_tuning_goes_on_where_it_was_to_the_same_prompt(
    kind: str, count: int, runtime: Runtime, submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = request("advpt" if kind == "bank" else "few_shot")
    undisturbed = tuned(runtime, records, submit(job_id="undisturbed", wanted=wanted))
    job_id = submit(job_id="resumed", wanted=wanted)
    with monkeypatch.context() as patch:
        patch.setattr(Payloads, "put_step", dying_after(kind, count))
        with pytest.raises(StoppedError):
            Tuning(runtime, records, read(records, job_id)).tune()
    steps = steps_of(monkeypatch)
    assert tuned(runtime, records, job_id) == undisturbed
    assert sum(kind in step for step in steps) == (EPOCHS if kind == "state" else 2) - count


@pytest.mark.usefixtures("small_bank_batches")
@pytest.mark.parametrize("method", ["few_shot", "advpt"])
def test_a_tuning_makes_room_for_certificates_and_ends_with_the_same_prompt(
    method: TuningMethod, runtime: Runtime, submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = request(method)
    undisturbed = tuned(runtime, records, submit(job_id="undisturbed", wanted=wanted))
    job_id = submit(job_id="sliced", wanted=wanted)
    enqueue(runtime.redis, "certify", "waiting", settings=runtime.settings, tenant="local")
    short = replace(runtime, settings=runtime.settings.model_copy(update={"tuning_slice_seconds": 0.0}))
    monkeypatch.setattr("certrad.workers.queue.slices._LOOK_SECONDS", 0.0)
    slices = 0
    while read(records, job_id).phase != "finishing":
        try:
            Tuning(short, records, read(records, job_id)).tune()
        except SliceOverError:
            slices += 1
    issue.finish(job_id)
    batches = EPOCHS * SHOTS * len(NAMES) // 3
    assert slices > batches  # those of the training, and some of the bank and of the measurement
    assert Catalogue(runtime.redis).prompts()[undisturbed.id] == undisturbed
    result = read(records, job_id).result
    assert isinstance(result, TuningResult)
    assert result.card == undisturbed


def test_a_tuning_goes_on_while_nothing_waits_or_its_slice_lasts(
    runtime: Runtime, submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certrad.workers.queue.slices._LOOK_SECONDS", 0.0)
    short = replace(runtime, settings=runtime.settings.model_copy(update={"tuning_slice_seconds": 0.0}))
    enqueue(runtime.redis, "tune", "another", settings=runtime.settings, tenant="local")
    alone = tuned(short, records, submit(job_id="alone"))
    enqueue(runtime.redis, "certify", "waiting", settings=runtime.settings, tenant="local")
    long = replace(runtime, settings=runtime.settings.model_copy(update={"tuning_slice_seconds": 3600.0}))
    assert tuned(long, records, submit(job_id="long")) == alone


def steps_of(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The steps that are left from now on."""
    steps: list[str] = []
    put = Payloads.put_step

    def noted(self: Payloads, job_id: str, step: str, state: bytes) -> bool:
        steps.append(step)
        return put(self, job_id, step, state)

    monkeypatch.setattr(Payloads, "put_step", noted)
    return steps


def interrupted(runtime: Runtime, records: Records, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that dies after its first epoch."""
    with monkeypatch.context() as patch:
        patch.setattr(Payloads, "put_step", dying_after("state", 1))
        with pytest.raises(StoppedError):
            Tuning(runtime, records, read(records, job_id)).tune()


@pytest.mark.parametrize("damage", ["bit", "cut", "empty"])
def test_a_step_that_cannot_be_read_is_done_anew(
    damage: str, runtime: Runtime, submit: Submit, records: Records, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit()
    interrupted(runtime, records, job_id, monkeypatch)
    (step,) = redis.hkeys(ledger_key(job_id))
    content = bytearray(cast("bytes", redis.hget(ledger_key(job_id), step)))
    content[-1] ^= 1
    redis.hset(ledger_key(job_id), step, {"bit": bytes(content), "cut": bytes(content[:40]), "empty": b""}[damage])
    steps = steps_of(monkeypatch)
    tuned(runtime, records, job_id)
    assert len(steps) == EPOCHS


def test_an_engine_of_another_kind_begins_anew(
    runtime: Runtime, submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit()
    interrupted(runtime, records, job_id, monkeypatch)
    other = replace(runtime, software={**runtime.software, "torch": "0"})
    steps = steps_of(monkeypatch)
    tuned(other, records, job_id)
    assert len(steps) == EPOCHS


def test_a_job_cancelled_within_an_epoch_stops_there(
    runtime: Runtime, submit: Submit, records: Records, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit()
    monkeypatch.setattr("certrad.workers.engine.tuning._LOOK_SECONDS", 0.0)
    enter = Records.enter

    def cancelled_meanwhile(self: Records, job_id: str, phase: Phase, **fields: Any) -> bool:
        answer = enter(self, job_id, phase, **fields)
        if phase == "tuning":
            records.cancel(job_id)
        return answer

    monkeypatch.setattr(Records, "enter", cancelled_meanwhile)
    steps = steps_of(monkeypatch)
    with pytest.raises(JobEndedError):
        Tuning(runtime, records, read(records, job_id)).tune()
    assert steps == []
    assert not redis.exists(input_key(job_id), ledger_key(job_id))


def test_a_stop_request_hands_the_job_back_within_an_epoch(
    runtime: Runtime, submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit()
    steps = steps_of(monkeypatch)
    monkeypatch.setattr(stopping, "requested", lambda: True)
    with pytest.raises(stopping.StopRequested):
        Tuning(runtime, records, read(records, job_id)).tune()
    assert steps == []
    assert not read(records, job_id).ended


@pytest.mark.parametrize(("damage", "code"), [("changed", "digest_mismatch"), ("lost", "worker_lost")])
def test_images_that_are_not_those_of_intake_are_refused(
    damage: str, code: str, runtime: Runtime, submit: Submit, records: Records, redis: Redis
) -> None:
    job_id = submit()
    if damage == "lost":
        redis.hdel(input_key(job_id), "0")
    else:
        redis.hset(input_key(job_id), "0", np.zeros((3, 64, 64), "<f4").tobytes())
    with pytest.raises(Rejected) as caught:
        Tuning(runtime, records, read(records, job_id)).tune()
    assert caught.value.code == code


def test_prompts_too_long_are_refused_before_an_image_is_looked_at(
    runtime: Runtime, submit: Submit, records: Records, redis: Redis
) -> None:
    job_id = submit(zipped(classes(["ant", f"a {'very ' * 20}large ant"], SHOTS)), wanted=request("advpt", n_ctx=64))
    redis.delete(input_key(job_id))
    with pytest.raises(Rejected) as caught:
        Tuning(runtime, records, read(records, job_id)).tune()
    assert caught.value.code == "prompt_too_long"


def test_a_training_that_diverges_fails_the_job(
    runtime: Runtime, submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = submit()
    monkeypatch.setattr(
        torch.nn.functional, "cross_entropy", lambda logits, _: logits.sum() * torch.tensor(float("nan"))
    )
    with pytest.raises(Rejected) as caught:
        Tuning(runtime, records, read(records, job_id)).tune()
    assert caught.value.code == "invalid_request"
    assert "epoch 1" in caught.value.detail


@pytest.mark.parametrize("end", ["cancelled", "withdrawn"])
def test_a_job_that_ended_meanwhile_puts_no_prompt_into_use(
    end: str, runtime: Runtime, submit: Submit, records: Records, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalogue = Catalogue(runtime.redis)
    before = catalogue.prompts()
    job_id = submit()

    def ended_meanwhile(*arguments: Any, **options: Any) -> TunedPrompt:
        monkeypatch.setattr("certrad.workers.engine.tuning.finish", finish)
        answer = finish(*arguments, **options)
        if end == "cancelled":
            records.cancel(job_id)
        else:  # another engine, which RQ had sent the job to as well, was faster
            card = tuned(runtime, records, job_id)
            catalogue.withdraw_prompt(card.id)
        return answer

    attempt = Tuning(runtime, records, read(records, job_id))
    monkeypatch.setattr("certrad.workers.engine.tuning.finish", ended_meanwhile)
    with pytest.raises(JobEndedError):
        attempt.tune()
    assert catalogue.prompts() == before


def test_a_prompt_tuned_again_is_in_use_again(runtime: Runtime, submit: Submit, records: Records) -> None:
    card = tuned(runtime, records, submit(job_id="first"))
    catalogue = Catalogue(runtime.redis, tenant=LOCAL_TENANT)
    catalogue.withdraw_prompt(card.id)
    assert tuned(runtime, records, submit(job_id="second")) == catalogue.prompts()[card.id]


def test_a_default_that_was_withdrawn_is_none_when_it_is_tuned_again(
    runtime: Runtime, submit: Submit, records: Records
) -> None:
    card = tuned(runtime, records, submit(job_id="first"))
    catalogue = Catalogue(runtime.redis, tenant=LOCAL_TENANT)
    catalogue.choose_default("mednist", card.id)
    catalogue.withdraw_prompt(card.id)
    tuned(runtime, records, submit(job_id="second"))
    assert card.id not in [prompt.id for prompt in catalogue.default_prompts("mednist")]


def test_the_task_of_the_engine_ends_a_refused_job(
    runtime: Runtime, submit: Submit, records: Records, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_runtime", runtime)
    job_id = submit()
    redis.delete(input_key(job_id))
    engine.tune(job_id)
    assert error_of(records)["code"] == "worker_lost"
    assert rq_job(redis, "finish", job_id) is not None
