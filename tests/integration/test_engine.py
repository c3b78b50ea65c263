"""One attempt at a job gives the counts that anyone can recompute, on a real Redis and with the embedded backbone."""

import hashlib
import hmac
import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
import torch
from redis import Redis

from certrad.models.errors import Rejected
from certrad.models.prompts.context import template_features
from certrad.models.smoothing import NoisySampler, certify
from certrad.models.types import (
    Certificate,
    CertifyRequest,
    FixedSigma,
    LabelCounts,
    SamplingParams,
    ZeroShotAdaptation,
)
from certrad.models.types.applied_window import AppliedWindow, FullRange, HeaderWindow
from certrad.models.types.image import IMAGE_WARNINGS, ImageRecord
from certrad.models.types.routing import Selection
from certrad.workers.contract.job import JobRecord
from certrad.workers.contract.keyring import Keyring
from certrad.workers.contract.names import document_key, input_key, ledger_key
from certrad.workers.contract.records import Records
from certrad.workers.engine.ledger import EngineIdentity, JobEndedError, LedgerEntry, RedisLedger
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.settings import WorkerSettings
from tests.support.engine_jobs import (
    TASK,
    TEMPLATE,
    Image,
    StoppedError,
    Submit,
    events_of,
    stopping_after,
    submitter,
    template_classifier,
)
from tests.support.engine_jobs import attempt as run

N = 150
TARGET = 0.04
REQUEST = CertifyRequest(classifier=TEMPLATE, params=SamplingParams(n0=20, n=N))
QUICK = replace(REQUEST, params=replace(REQUEST.params, n=20))
ADAPTED = replace(REQUEST, classifier=replace(TEMPLATE, adaptation=ZeroShotAdaptation(samples=20)))


@pytest.fixture(scope="module")
def image() -> Image:
    """A ramp, which noise moves between classes: other noise has other counts."""
    ramp = np.linspace(0, 1, 64)
    return np.broadcast_to((ramp[:, None] + ramp[None, :]) / 2, (3, 64, 64)).astype(np.float32)


@pytest.fixture
def submit(redis: Redis, image: Image) -> Submit:
    return submitter(redis, image, REQUEST)


def test_counts_are_recomputed_offline_from_the_revealed_key(runtime: Runtime, submit: Submit, image: Image) -> None:
    document, result = run(runtime, submit("job"))
    classifier = template_classifier(runtime, document)
    offline = certify(image, classifier, REQUEST.params.at(0.25), key=bytes.fromhex(document["noise"]["key"]))
    assert tuple(result["counts"]) == offline.estimation.counts.per_class
    assert np.count_nonzero(result["counts"]) > 1  # else the counts of any other noise would agree
    assert document["selection"]["per_class"] == [str(count) for count in offline.selection.per_class]


@pytest.mark.parametrize(
    "window", [HeaderWindow(number=1, of=2, centre=40.0, width=400.0, function="SIGMOID"), FullRange()]
)
def test_a_result_tells_the_window_and_the_warnings_with_their_codes(
    runtime: Runtime, redis: Redis, submit: Submit, window: AppliedWindow
) -> None:
    record = submit("job", QUICK)
    assert isinstance(record.image, ImageRecord)
    facts = replace(record.image, warnings=("low_contrast", "several_windows"), window=window)
    _, result = run(runtime, replace(record, image=facts))
    notes = runtime.backbone_card(TEMPLATE.backbone).notes
    assert result["warnings"] == [
        {"code": "low_contrast", "message": IMAGE_WARNINGS["low_contrast"]},
        {"code": "several_windows", "message": IMAGE_WARNINGS["several_windows"]},
        {"code": "backbone_note", "message": notes},
    ]
    assert result["window"] == asdict(window)


@pytest.mark.usefixtures("known_secret")
def test_a_job_with_a_target_stops_early_with_what_the_library_certifies(
    runtime: Runtime, redis: Redis, submit: Submit, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("certrad.workers.engine.progress._PROGRESS_SECONDS", 0.0)
    params = replace(REQUEST.params, n=2000, target_radius=TARGET)
    document, result = run(runtime, submit("job", replace(REQUEST, params=params)))
    identity = document["classifier"]["arithmetic"]
    offline = certify(
        image,
        template_classifier(runtime, document),
        params.at(0.25),
        key=bytes.fromhex(document["noise"]["key"]),
        batch_size=int(identity["block_size"]),
    )
    assert result["samples_used"] == offline.samples_used < params.n0 + params.n
    assert redis.hlen(ledger_key("job")) == 1 + offline.estimation.counts.total // int(identity["block_size"])
    assert tuple(result["counts"]) == offline.estimation.counts.per_class
    assert result["decision"] == asdict(offline.decision)
    assert (result["target_radius"], result["p_a_lower"]) == (TARGET, offline.outcome.p_a_lower)
    assert isinstance(offline.outcome, Certificate)
    assert (result["radius"], result["target_reached"]) == (offline.outcome.radius, True)
    radii = [data["running_radius"] for _, data in events_of(redis, "job") if "running_radius" in data]
    assert 0 < max(radii) <= offline.outcome.radius


@pytest.mark.usefixtures("known_secret")
@pytest.mark.parametrize("blocks", [1, 2])
def test_a_job_with_a_target_is_resumed_to_the_same_stop(blocks: int, runtime: Runtime, submit: Submit) -> None:
    request = replace(REQUEST, params=replace(REQUEST.params, n=2000, target_radius=TARGET))
    undisturbed = run(runtime, submit("undisturbed", request))[0]
    record = submit("resumed", request)
    with stopping_after(blocks):
        run(runtime, record)
    assert run(build(runtime.settings, runtime.redis), record)[0] == undisturbed


@pytest.mark.parametrize("request_", [REQUEST, ADAPTED], ids=["template", "zero-shot"])
def test_the_block_size_does_not_change_the_counts(
    request_: CertifyRequest, settings: WorkerSettings, redis: Redis, submit: Submit
) -> None:
    counts = []
    for size in (1, 16, 64):
        sized = build(settings.model_copy(update={"commit_size": size}), redis)
        counts.append(run(sized, submit(f"job-{size}", request_))[1]["counts"])
    assert sum(counts[0]) == N
    assert counts[0] == counts[1] == counts[2]


@pytest.mark.parametrize("request_", [REQUEST, ADAPTED], ids=["template", "zero-shot"])
def test_one_engine_finishes_what_another_began_with_the_same_counts(
    request_: CertifyRequest, runtime: Runtime, redis: Redis, submit: Submit
) -> None:
    undisturbed = run(runtime, submit("undisturbed", request_))[1]["counts"]
    record = submit("resumed", request_)
    with stopping_after(1):
        run(runtime, record)
    assert redis.hlen(ledger_key("resumed")) == 2  # what is fixed, and one block
    second = build(runtime.settings, redis)
    assert run(second, record)[1]["counts"] == undisturbed


def begun(runtime: Runtime, record: JobRecord, monkeypatch: pytest.MonkeyPatch) -> LedgerEntry:
    """Returns what is fixed of a job whose engine stops after its first block."""

    def stop() -> None:
        raise StoppedError

    with monkeypatch.context() as patch:
        patch.setattr("certrad.workers.engine.progress._PROGRESS_SECONDS", 3600.0)
        patch.setattr("certrad.workers.engine.ledger.RedisLedger.commit", lambda *_: stop())
        with pytest.raises(StoppedError):
            run(runtime, record)
    fixed = RedisLedger(runtime.redis, record.id, ttl=600, raise_if_stopped=lambda: None).fixed()
    assert fixed is not None
    return fixed


def test_a_second_engine_samples_the_classifier_the_first_one_fixed(
    runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = replace(runtime, dtype="float32")  # as the entry below; `auto` is bfloat16 on some processors
    first = begun(runtime, submit("job"), monkeypatch)
    record = submit("another")
    backbone = runtime.backbone("demo", "float32")
    features = template_features(backbone, tuple(reversed(TASK.class_names)), TASK.template)
    fixed = LedgerEntry(
        text_features=features,
        context_sha256=None,
        selection=Selection(classes=LabelCounts(per_class=(20, 0, 0, 0, 0, 0))),
        engine=first.engine,
        dtype="float32",
        threads=1,
        batch_size=32,
        block_size=32,
        law="philox-ziggurat-f64",
        epoch_sha256=first.epoch_sha256,
    )
    RedisLedger(redis, "another", ttl=600, raise_if_stopped=lambda: None).fix(fixed)
    document, _ = run(runtime, record)
    assert document["classifier"]["arithmetic"]["block_size"] == "32"
    assert document["selection"]["per_class"][0] == "20"
    # Its classes are those of the template in the reverse order.
    fresh, _ = run(runtime, submit("fresh"))
    assert document["estimation"]["per_class"] == list(reversed(fresh["estimation"]["per_class"]))
    assert document["estimation"]["per_class"] != fresh["estimation"]["per_class"]


def test_the_first_fixed_entry_stands(redis: Redis, submit: Submit) -> None:
    submit("job")
    ledger = RedisLedger(redis, "job", ttl=600, raise_if_stopped=lambda: None)
    first = LedgerEntry(
        text_features=torch.zeros(6, 4),
        context_sha256="c" * 64,
        selection=Selection(classes=LabelCounts(per_class=(1, 2), invalid=3)),
        engine=EngineIdentity(
            backbone_sha256="b" * 64,
            prompt_sha256=None,
            key_sha256="k" * 64,
            device="cuda",
            processor="NVIDIA H200 sm_90",
            software={"torch": "2"},
        ),
        dtype="bfloat16",
        threads=2,
        batch_size=256,
        block_size=64,
        law="philox-boxmuller-f64",
        epoch_sha256="e" * 64,
    )
    ledger.fix(first)
    standing = ledger.fix(replace(first, text_features=torch.ones(6, 4), threads=1))
    assert torch.equal(standing.text_features, first.text_features)
    assert replace(standing, text_features=first.text_features) == first


def test_equal_requests_make_equal_documents(runtime: Runtime, submit: Submit) -> None:
    assert run(runtime, submit("first"))[0] == run(runtime, submit("second"))[0]


def test_another_setting_draws_other_noise(runtime: Runtime, submit: Submit) -> None:
    other = replace(REQUEST, sigma=FixedSigma(0.3))
    assert run(runtime, submit("a"))[0]["noise"]["key"] != run(runtime, submit("b", other))[0]["noise"]["key"]


def test_an_adapted_prompt_is_certified_as_the_frozen_one_and_says_so(runtime: Runtime, submit: Submit) -> None:
    document, result = run(runtime, submit("job", ADAPTED))
    assert result["scope"] == document["scope"] == "frozen_prompt"
    assert "frozen" in document["scope_text"]
    assert document["classifier"]["parts"][2]["context_sha256"] is not None


def test_a_cancelled_job_takes_no_more_blocks(
    runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = submit("job")
    records = Records(redis, ttl=600)
    with monkeypatch.context() as patch:
        patch.setattr("certrad.workers.queue.stopping.raise_if_stopped", lambda: records.cancel("job"))
        with pytest.raises(JobEndedError):
            run(runtime, record)
    assert not redis.exists(ledger_key("job"), input_key("job"), document_key("job"))


def test_an_input_that_changed_in_the_store_is_refused(runtime: Runtime, redis: Redis, submit: Submit) -> None:
    record = submit("job")
    redis.setrange(input_key("job"), 100, b"\x00\x00\x00\x00")
    with pytest.raises(Exception, match="digest_mismatch"):
        run(runtime, record)


def test_an_engine_without_the_secret_of_a_job_does_not_go_on_with_it(
    runtime: Runtime, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = submit("job", QUICK)
    begun(runtime, record, monkeypatch)
    (runtime.settings.secrets_dir / "epoch").write_bytes(b"s" * 32)
    with pytest.raises(Rejected, match=r"engine_mismatch.*epoch secret"):
        run(runtime, record)


def test_a_job_begun_before_a_rotation_ends_with_the_secret_it_began_with(
    runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    undisturbed = run(runtime, submit("undisturbed", QUICK))[0]
    record = submit("job", QUICK)
    begun(runtime, record, monkeypatch)
    runtime.epochs.rotate()
    runtime.epochs.rotate()
    assert run(build(runtime.settings, redis), record)[0] == undisturbed


def test_a_rotation_holds_for_the_next_job_of_a_running_engine(runtime: Runtime, submit: Submit) -> None:
    former = run(runtime, submit("former", QUICK))[0]["noise"]
    new = runtime.epochs.rotate()
    noise = run(runtime, submit("next", QUICK))[0]["noise"]
    assert noise["epoch_sha256"] == new.sha256 != former["epoch_sha256"]
    assert noise["key"] != former["key"]


def test_a_secret_is_committed_to_before_it_draws_noise(
    runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed: list[list[str]] = []
    draw = NoisySampler.batches

    def watched(sampler: NoisySampler, *args: Any) -> Any:
        committed.append([epoch.sha256 for epoch in Keyring(redis).epochs()])
        return draw(sampler, *args)

    monkeypatch.setattr(NoisySampler, "batches", watched)
    document, _ = run(runtime, submit("job", QUICK))
    assert committed
    assert all(epochs == [document["noise"]["epoch_sha256"]] for epochs in committed)


def test_an_engine_that_proposes_second_uses_the_first_ones_secret(
    runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, fix, other = submit("job", QUICK), RedisLedger.fix, build(runtime.settings, redis)

    def overtaken(ledger: RedisLedger, proposal: LedgerEntry) -> LedgerEntry:
        monkeypatch.setattr(RedisLedger, "fix", fix)
        other.epochs.rotate()
        begun(other, record, monkeypatch)
        return fix(ledger, proposal)

    monkeypatch.setattr(RedisLedger, "fix", overtaken)
    document, _ = run(runtime, record)
    assert document["noise"]["epoch_sha256"] == runtime.epochs.current().sha256
    assert document["noise"]["key"] == run(runtime, submit("alone", QUICK))[0]["noise"]["key"]


@pytest.mark.parametrize("request_", [QUICK, ADAPTED], ids=["template", "zero-shot"])
def test_noise_key_follows_from_a_revealed_secret_and_the_document_alone(
    request_: CertifyRequest, runtime: Runtime, submit: Submit
) -> None:
    document, _ = run(runtime, submit("job", request_))
    params, noise, (tower, text, *tuned) = document["params"], document["noise"], document["classifier"]["parts"]
    parts = {
        "backbone_sha256": tower["backbone_sha256"],
        "card_sha256": tower["card_sha256"],
        "dtype": tower["dtype"],
        "text_sha256": text["text_sha256"],
        "gate_sha256": None,
        "zero_shot": {name: tuned[0][name] for name in ("steps", "samples", "lr", "context")} if tuned else None,
        "law": noise["law"],
    }
    sampling = {name: params[name] for name in ("sigma", "alpha", "n0", "n", "target_radius")}
    sampling["bound"] = None if len(document["classifier"]["class_names"]) == 2 else params["bound"]

    def digest(facts: dict[str, Any]) -> str:
        text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return hashlib.sha256(text.encode()).hexdigest()

    assert (noise["classifier_sha256"], noise["settings_sha256"]) == (digest(parts), digest(sampling))
    secret = runtime.epochs.current().secret
    runtime.epochs.rotate()
    assert runtime.epochs.reveal(noise["epoch_sha256"]).secret == secret
    digests = document["subject"]["input_sha256"], noise["classifier_sha256"], noise["settings_sha256"]
    message = b"".join(map(bytes.fromhex, digests))
    assert noise["key"] == hmac.digest(secret, message, "sha256").hex()


def test_an_engine_with_other_software_does_not_go_on_with_a_job(
    runtime: Runtime, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = submit("job")
    begun(runtime, record, monkeypatch)
    upgraded = replace(runtime, software={**runtime.software, "torch": "0"})
    with pytest.raises(Rejected, match=r"engine_mismatch.*software"):
        run(upgraded, record)


ANOTHER_ENGINE = "from certrad.workers.engine import tasks; tasks.start('another'); tasks.certify('job')"


def test_an_engine_with_another_instruction_set_does_not_go_on_with_a_job(
    runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = submit("job")
    fixed = begun(runtime, record, monkeypatch)
    settings = runtime.settings
    own = {"CERTRAD_REDIS_URL": settings.redis_url, "CERTRAD_DATA_DIR": str(settings.data_dir), "CERTRAD_THREADS": "1"}
    other = {**os.environ, **own, "CERTRAD_DTYPE": fixed.dtype, "ATEN_CPU_CAPABILITY": "default"}
    subprocess.run([sys.executable, "-c", ANOTHER_ENGINE], env=other, check=True)
    ended = Records(redis, ttl=600).read("job")
    assert ended is not None
    assert ended.error is not None
    assert (ended.error.code, ended.error.detail) == ("engine_mismatch", "the job was begun with another processor")


def test_an_entry_of_a_release_that_did_not_name_the_processor_is_of_another_engine(
    runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = submit("job")
    payload = begun(runtime, record, monkeypatch).to_bytes()
    end = 4 + int.from_bytes(payload[:4], "little")
    header = json.loads(payload[4:end])
    del header["engine"]["processor"]
    former = json.dumps(header).encode()
    redis.hset(ledger_key("job"), "fixed", len(former).to_bytes(4, "little") + former + payload[end:])
    with pytest.raises(Rejected, match=r"engine_mismatch.*the job was begun with another processor"):
        run(runtime, record)


def test_selection_stops_when_the_process_is_asked_to(
    runtime: Runtime, redis: Redis, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop() -> None:
        raise StoppedError

    monkeypatch.setattr("certrad.workers.queue.stopping.raise_if_stopped", stop)
    with pytest.raises(StoppedError):
        run(runtime, submit("job"))
    assert not redis.exists(ledger_key("job"))
