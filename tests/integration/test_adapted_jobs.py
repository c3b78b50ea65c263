"""`adapter`: from the field of a request to a certificate that names it, verifies and can be replayed."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import httpx2 as httpx
import numpy as np
import pytest
import torch
from fastapi.testclient import TestClient
from redis import Redis

from certrad.models.adapters.checkpoint import adapter_path, save_adapter
from certrad.models.adapters.store import AdapterStore
from certrad.models.adapters.training.params import AdapterParams
from certrad.models.adapters.training.trainer import train_adapter
from certrad.models.certificates.schemas.schema import parse, read
from certrad.models.certificates.verify import verify
from certrad.models.errors import Rejected
from certrad.models.images.model_input import model_input
from certrad.models.prompts.checkpoint import save_prompt
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.store import PromptStore
from certrad.models.replay.rebuild import rebuild
from certrad.models.replay.replay import check_labels, check_selection
from certrad.models.shipped import shipped_adapters, shipped_backbones
from certrad.models.types import AdapterCard, CertifyRequest, ClassifierSpec, PromptCard, SamplingParams
from certrad.models.types.codec import encode_card
from certrad.models.types.tuned_on import EpochDigests, TunedOn
from certrad.workers import issue
from certrad.workers.contract.adapter_cards import AdapterCards
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.names import ADAPTERS, adapter_bytes_key
from certrad.workers.decoders.raster import decode
from certrad.workers.engine import adapter_store, prompt_store
from certrad.workers.engine import tasks as engine
from certrad.workers.engine.certification_input import CertificationInput
from certrad.workers.engine.helper import Helper
from certrad.workers.engine.job_setup import SetupFactory
from certrad.workers.engine.runtime import Runtime, build
from certrad.workers.intake import tasks as intake
from certrad.workers.settings import WorkerSettings
from tests.support.archives import classes, textured, zipped
from tests.support.engine_jobs import TASK, TEMPLATE, attempt, decoded, stopping_after
from tests.support.served_jobs import document_of, run_job

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("known_secret")]

PICTURE, TRAINED_ON = textured(3, 1), textured(3, 2)
FIELDS = {"task": TASK.id, "n0": "10", "n": "150"}

Certify = Callable[..., dict[str, Any]]


def digest_of(content: bytes) -> str:
    return model_input(decode(content, "png", max_pixels=10**6), 64).sha256


@pytest.fixture
def card(runtime: Runtime, redis: Redis, tmp_path: Path) -> AdapterCard:
    """An adapter of three training steps, published by another node: this one has it through Redis only."""
    backbone = runtime.backbone("demo", "float32")
    pixels = torch.rand((8, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    *_, state = train_adapter(backbone, pixels, AdapterParams(steps=3, batch_size=4, rank=2))
    secret = runtime.epochs.current().secret
    saved = save_adapter(
        tmp_path / "elsewhere",
        state.low_rank(),
        state.replaced(),
        name="noise",
        backbone=backbone,
        sigma_range=(0.1, 1.0),
        trained_on=TunedOn(keyed=(EpochDigests.of(secret, [digest_of(TRAINED_ON)]),)),
    )
    adapter_store.publish(redis, tmp_path / "elsewhere", saved)
    return saved


@pytest.fixture
def api(working_api: TestClient) -> TestClient:
    """A client of the API, whose tasks run in this process."""
    return working_api


@pytest.fixture
def certify(api: TestClient) -> Certify:
    """Submits an image, lets every stage work on it, and returns the job."""

    def certified(image: bytes = PICTURE, **fields: str) -> dict[str, Any]:
        return run_job(api, image, {**FIELDS, **fields})

    return certified


def code_of(answer: httpx.Response) -> str:
    return str(answer.json()["code"])


def test_certificate_names_the_adapter_verifies_and_is_replayed(
    api: TestClient, certify: Certify, card: AdapterCard, settings: WorkerSettings
) -> None:
    job = certify(adapter=card.id)
    content = document_of(api, job)
    tower, adapter, _ = json.loads(content)["classifier"]["parts"]
    assert adapter == {
        "kind": "image_adapter/1",
        "adapter": card.id,
        "adapter_sha256": card.sha256,
        "training_images": "recorded",
    }
    assert tower["backbone_sha256"] == card.backbone_sha256
    assert (job["request"]["classifier"]["adapter"], job["result"]["adapter"]) == (card.id, card.id)
    assert "has an adapter that was fixed before the image was sent" in job["result"]["scope_text"]
    assert [check for check in verify(content).checks if not check.ok] == []
    statement, image = read(parse(content)), model_input(decode(PICTURE, "png", max_pixels=10**6), 64)
    stores = PromptStore(own=settings.prompts_dir), AdapterStore(own=settings.adapters_dir)
    rebuilt = rebuild(statement, image, shipped_backbones(), Path(), *stores)
    check_selection(statement, rebuilt, tolerant=False)
    assert check_labels(statement, rebuilt, 150, Random(0), tolerant=False).startswith("150 of 150")


def test_replay_without_the_adapter_says_that_it_is_missing(
    api: TestClient, certify: Certify, card: AdapterCard, settings: WorkerSettings, tmp_path: Path
) -> None:
    statement = read(parse(document_of(api, certify(adapter=card.id))))
    image = model_input(decode(PICTURE, "png", max_pixels=10**6), 64)
    stores = PromptStore(own=settings.prompts_dir), AdapterStore(own=tmp_path / "empty")
    with pytest.raises(Rejected, match=card.id) as refused:
        rebuild(statement, image, shipped_backbones(), Path(), *stores)
    assert refused.value.code == "adapter_not_found"


def test_adapter_draws_other_noise_and_none_is_the_frozen_encoder(
    api: TestClient, certify: Certify, card: AdapterCard
) -> None:
    frozen, adapted = (json.loads(document_of(api, certify(adapter=name))) for name in ("none", card.id))
    assert "image_adapter/1" not in [part["kind"] for part in frozen["classifier"]["parts"]]
    assert frozen["noise"]["key"] != adapted["noise"]["key"]


def test_adapter_that_is_left_out_is_the_default_of_the_task(api: TestClient, certify: Certify) -> None:
    assert TASK.default_adapter is not None
    left_out, named = (
        json.loads(document_of(api, certify(**fields))) for fields in ({}, {"adapter": TASK.default_adapter})
    )
    assert left_out["noise"] == named["noise"]
    assert left_out["classifier"]["parts"] == named["classifier"]["parts"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"adapter": "noise-0123456789abcdef"}, "adapter_not_found"),
        ({"adapter": "../secret"}, "adapter_not_found"),
        ({"backbone": "plip"}, "adapter_mismatch"),
    ],
)
def test_adapter_that_cannot_be_used_is_refused_before_a_job_is_made(
    api: TestClient, card: AdapterCard, fields: dict[str, str], code: str
) -> None:
    data = {**FIELDS, "adapter": card.id, **fields}
    assert code_of(api.post("/certify", files={"image": PICTURE}, data=data)) == code


def test_adapter_of_other_weights_is_refused_by_the_engine(certify: Certify, card: AdapterCard, redis: Redis) -> None:
    redis.hset(ADAPTERS, card.id, encode_card(replace(card, backbone_sha256="0" * 64)))
    assert certify(adapter=card.id)["error"]["code"] in ("adapter_mismatch", "invalid_adapter")


def test_changed_byte_on_the_disk_is_refused(
    certify: Certify, card: AdapterCard, settings: WorkerSettings, redis: Redis
) -> None:
    path = adapter_path(settings.adapters_dir, card.id)
    path.parent.mkdir(parents=True)
    content = bytearray(redis.get(adapter_bytes_key(card.sha256)))  # type: ignore[arg-type]  # bytes
    content[-1] ^= 1
    path.write_bytes(content)
    assert certify(adapter=card.id)["error"]["code"] == "digest_mismatch"


def test_image_that_the_adapter_was_trained_on_is_refused_with_it_and_certified_without(
    certify: Certify, card: AdapterCard
) -> None:
    job = certify(TRAINED_ON, adapter=card.id)
    assert job["error"]["code"] == "image_was_tuned_on"
    assert f"adapter '{card.id}'" in job["error"]["detail"]
    assert certify(TRAINED_ON)["status"] == "succeeded"


def test_card_without_the_images_does_not_remove_those_that_are_recorded(
    certify: Certify, card: AdapterCard, redis: Redis
) -> None:
    AdapterCards(redis).publish(replace(card, trained_on=None))
    assert certify(TRAINED_ON, adapter=card.id)["error"]["code"] == "image_was_tuned_on"


def test_adapter_whose_images_are_not_recorded_is_used_and_the_document_says_so(
    api: TestClient, certify: Certify, runtime: Runtime, redis: Redis, tmp_path: Path
) -> None:
    backbone = runtime.backbone("demo", "float32")
    *_, state = train_adapter(backbone, torch.rand(4, 3, 64, 64), AdapterParams(steps=1, batch_size=4, rank=1))
    changes = state.low_rank(), state.replaced()
    saved = save_adapter(tmp_path / "other", *changes, name="bare", backbone=backbone, sigma_range=(0.1, 1.0))
    adapter_store.publish(redis, tmp_path / "other", saved)
    document = json.loads(document_of(api, certify(adapter=saved.id)))
    assert document["classifier"]["parts"][1]["training_images"] == "not_recorded"
    assert "the images that the adapter was trained on are not recorded" in document["scope_text"]


@pytest.mark.parametrize("field", ["sha256", "backbone", "backbone_sha256", "rank"])
def test_card_of_a_known_adapter_with_other_facts_is_not_published(redis: Redis, card: AdapterCard, field: str) -> None:
    other: dict[str, Any] = {"rank": 3, "backbone": "plip", "sha256": card.sha256[:16] + "0" * 48}
    with pytest.raises(Rejected, match=field) as refused:
        AdapterCards(redis).publish(replace(card, **{field: other.get(field, "0" * 64)}))
    assert refused.value.code == "adapter_mismatch"
    assert AdapterCards(redis)[card.id] == card


def test_images_of_the_shipped_card_stay_recorded_beside_a_published_one(redis: Redis) -> None:
    shipped = next(iter(shipped_adapters().values()))
    assert shipped.trained_on is not None
    own = EpochDigests.of(bytes(32), ["ab" * 32])
    AdapterCards(redis).publish(replace(shipped, trained_on=TunedOn(keyed=(own,))))
    redis.hset(ADAPTERS, shipped.id, encode_card(replace(shipped, trained_on=TunedOn(keyed=(own,)))))
    recorded = AdapterCards(redis)[shipped.id].trained_on
    assert recorded == replace(shipped.trained_on, keyed=(own,))


def test_published_card_of_another_id_is_not_read(redis: Redis, card: AdapterCard) -> None:
    redis.hset(ADAPTERS, "noise-" + "0" * 16, encode_card(card))
    redis.hset(ADAPTERS, "noise-" + "1" * 16, "{}")
    assert set(AdapterCards(redis)) == {card.id, *shipped_adapters()}
    assert AdapterCards(redis).get("noise-" + "0" * 16) is None


def test_file_of_a_card_is_named_after_it(redis: Redis, card: AdapterCard, tmp_path: Path) -> None:
    redis.delete(ADAPTERS)
    path = tmp_path / "elsewhere" / f"{card.id}.json"
    path.rename(path.with_name(f"other-{card.id[-16:]}.json"))
    adapter_store.publish_all(redis, path.parent)
    assert card.id not in AdapterCards(redis)


def test_request_reads_the_cards_that_it_names_and_no_others(
    api: TestClient, card: AdapterCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AdapterCards, "read_all", lambda _: pytest.fail("every card was read"))
    for fields in ({}, {"adapter": card.id}):
        assert api.post("/certify", files={"image": PICTURE}, data={**FIELDS, **fields}).status_code == 202


def test_withdrawn_adapter_is_refused_for_new_jobs_and_accepted_ones_use_it(
    api: TestClient, certify: Certify, card: AdapterCard, prompt: PromptCard
) -> None:
    queued = api.post("/certify", files={"image": PICTURE}, data={**FIELDS, "adapter": card.id}).json()["id"]
    assert api.patch(f"/adapters/{card.id}", json={"withdrawn": True}).status_code == 200
    for fields in ({"adapter": card.id}, {"prompt": prompt.id}):
        refused = api.post("/certify", files={"image": PICTURE}, data={**FIELDS, **fields})
        assert code_of(refused) == "adapter_not_found"
    assert card.id not in {each["card"]["id"] for each in api.get("/adapters").json()["adapters"]}
    assert code_of(api.get(f"/adapters/{card.id}")) == "adapter_not_found"
    intake.decode(queued)
    engine.certify(queued)
    issue.finish(queued)
    assert api.get(f"/jobs/{queued}").json()["status"] == "succeeded"
    assert api.patch(f"/adapters/{card.id}", json={"withdrawn": False}).status_code == 200
    assert certify(adapter=card.id)["status"] == "succeeded"


def test_withdrawn_adapter_stays_withdrawn_when_it_is_published_again(redis: Redis, card: AdapterCard) -> None:
    AdapterCards(redis).withdraw(card.id)
    AdapterCards(redis).publish(card)
    assert card.id not in AdapterCards(redis)


def test_unknown_adapter_cannot_be_withdrawn(api: TestClient) -> None:
    assert code_of(api.patch("/adapters/noise-0123456789abcdef", json={"withdrawn": True})) == "adapter_not_found"


def test_withdrawn_adapter_is_no_default_and_neither_is_a_prompt_of_it(
    redis: Redis, card: AdapterCard, prompt: PromptCard
) -> None:
    catalogue, task = Catalogue(redis), replace(TASK, default_adapter=card.id)
    catalogue.choose_default(TASK.id, prompt.id)
    assert catalogue.default_adapter(task) == card.id
    assert catalogue.default_prompts(TASK.id)[0] == prompt
    catalogue.adapters.withdraw(card.id)
    assert catalogue.default_adapter(task) is None
    assert prompt not in catalogue.default_prompts(TASK.id)


def test_prompt_of_an_adapter_that_is_not_published_becomes_no_default(
    api: TestClient, redis: Redis, card: AdapterCard, prompt: PromptCard
) -> None:
    redis.hdel(ADAPTERS, card.id)
    refused = api.patch(f"/prompts/{prompt.id}", json={"default_for": TASK.id})
    assert (refused.status_code, code_of(refused)) == (404, "adapter_not_found")
    AdapterCards(redis).publish(card)
    assert api.patch(f"/prompts/{prompt.id}", json={"default_for": TASK.id}).status_code == 200


def test_no_tenant_sees_the_digests_of_the_images(api: TestClient, card: AdapterCard) -> None:
    for answer in (api.get("/adapters"), api.get(f"/adapters/{card.id}")):
        assert "trained_on" not in answer.text
    assert api.get(f"/adapters/{card.id}").json()["card"]["training_images"] == "recorded"


def test_bytes_that_lost_their_card_get_it_again(
    certify: Certify, card: AdapterCard, settings: WorkerSettings, redis: Redis
) -> None:
    path = adapter_path(settings.adapters_dir, card.id)
    path.parent.mkdir(parents=True)
    path.write_bytes(redis.get(adapter_bytes_key(card.sha256)))  # type: ignore[arg-type]  # bytes
    assert certify(adapter=card.id)["status"] == "succeeded"
    assert AdapterStore(own=settings.adapters_dir).card(card.id) == card


def test_card_of_a_job_is_read_once(
    runtime: Runtime, redis: Redis, card: AdapterCard, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, cards = AdapterCards.with_withdrawn, []

    def counted(self: AdapterCards, adapter_id: str) -> AdapterCard | None:
        cards.append(adapter_id)
        return read(self, adapter_id)

    monkeypatch.setattr(AdapterCards, "with_withdrawn", counted)
    factory = SetupFactory(runtime=runtime, input=CertificationInput.of(job_of(redis, "job", card)))
    factory.load("float32", torch.get_num_threads())
    assert cards == [card.id]


def test_adapters_are_listed_and_read_one_by_one(api: TestClient, card: AdapterCard) -> None:
    listed = {each["card"]["id"]: each for each in api.get("/adapters").json()["adapters"]}
    assert listed[card.id] == api.get(f"/adapters/{card.id}").json()
    assert listed[card.id]["default_for"] == []
    assert listed[card.id]["card"]["rank"] == 2
    unknown = api.get("/adapters/noise-0123456789abcdef")
    assert (unknown.status_code, code_of(unknown)) == (404, "adapter_not_found")


def test_engine_publishes_the_adapters_of_its_folder_and_passes_over_a_damaged_one(
    runtime: Runtime, redis: Redis, card: AdapterCard, tmp_path: Path
) -> None:
    redis.flushall()
    folder = tmp_path / "elsewhere"
    (folder / "broken-0123456789abcdef.json").write_text("{}")
    adapter_store.publish_all(redis, folder)
    assert set(runtime.catalogue.adapters) == {card.id, *shipped_adapters()}
    assert runtime.catalogue.adapters[card.id] == card


def test_bytes_of_a_large_adapter_stay_out_of_redis(
    runtime: Runtime, redis: Redis, card: AdapterCard, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    redis.flushall()
    monkeypatch.setattr(adapter_store, "BYTES_MAX", 100)
    adapter_store.publish_all(redis, tmp_path / "elsewhere")
    with pytest.raises(Rejected, match="copy its two files") as refused:
        runtime.backbone("demo", "float32", card)
    assert refused.value.code == "adapter_not_found"


# -- engines of one job --------------------------------------------------------------------------------------------


def job_of(redis: Redis, job_id: str, card: AdapterCard) -> Any:
    image = np.random.default_rng(7).random((3, 64, 64)).astype(np.float32)
    request = CertifyRequest(classifier=replace(TEMPLATE, adapter=card.id), params=SamplingParams(n0=20, n=300))
    return decoded(redis, job_id, request, image)


def test_helper_labels_with_the_adapter_and_the_counts_are_the_same(
    runtime: Runtime, redis: Redis, card: AdapterCard
) -> None:
    alone = attempt(runtime, job_of(redis, "alone", card))[0]["estimation"]
    record = job_of(redis, "helped", card)
    with stopping_after(1):
        attempt(runtime, record)
    helper = Helper(runtime=build(runtime.settings, redis, name="helper"), input=CertificationInput.of(record))
    helper.help()
    assert helper.committed >= 1
    assert attempt(runtime, record)[0]["estimation"] == alone


def test_adapted_and_frozen_backbone_are_resident_side_by_side(runtime: Runtime, card: AdapterCard) -> None:
    frozen, adapted = (runtime.backbone("demo", "float32", name) for name in (None, card))
    assert (frozen.adapter, adapted.adapter) == (None, card)
    pixels = torch.rand((2, 3, 64, 64), generator=torch.Generator().manual_seed(1))
    assert not torch.equal(frozen.encode_image(pixels), adapted.encode_image(pixels))
    assert runtime.backbone("demo", "float32") is frozen
    assert runtime.backbone("demo", "float32", card) is adapted


# -- prompts on an adapted encoder -----------------------------------------------------------------------------------


@pytest.fixture
def prompt(runtime: Runtime, redis: Redis, card: AdapterCard, settings: WorkerSettings) -> PromptCard:
    """A prompt that was tuned on the adapted encoder."""
    backbone = runtime.backbone("demo", "float32", card)
    context = ContextVectors.random(3, backbone.text_width, torch.Generator().manual_seed(0))
    saved = save_prompt(
        settings.prompts_dir,
        context,
        name="on-noise",
        method="few_shot",
        backbone=backbone,
        class_names=TASK.class_names,
        task=TASK.id,
    )
    prompt_store.publish(redis, settings.prompts_dir, saved)
    return saved


def test_prompt_brings_the_adapter_that_it_was_tuned_with(
    api: TestClient, certify: Certify, card: AdapterCard, prompt: PromptCard
) -> None:
    assert (prompt.adapter, prompt.adapter_sha256) == (card.id, card.sha256)
    kinds = [part["kind"] for part in json.loads(document_of(api, certify(prompt=prompt.id)))["classifier"]["parts"]]
    assert kinds == ["image_tower/1", "image_adapter/1", "prompt/1"]
    data = {**FIELDS, "prompt": prompt.id, "adapter": "none"}
    assert code_of(api.post("/certify", files={"image": PICTURE}, data=data)) == "prompt_mismatch"


def test_prompt_is_tuned_on_the_adapted_encoder_and_its_card_names_the_adapter(
    api: TestClient, certify: Certify, card: AdapterCard
) -> None:
    images = zipped(classes(["ant", "bee", "cow"], 2))
    fields = {"adapter": card.id, "shots": "2", "epochs": "1", "n_ctx": "2", "batch_size": "3", "name": "mine"}
    answer = api.post("/prompts", files={"images": images}, data=fields)
    assert answer.status_code == 202, answer.text
    job_id = answer.json()["id"]
    assert answer.json()["request"]["adapter"] == card.id
    intake.unpack(job_id)
    engine.tune(job_id)
    issue.finish(job_id)
    job = api.get(f"/jobs/{job_id}").json()
    assert job["status"] == "succeeded", job["error"]
    assert (job["result"]["card"]["adapter"], job["result"]["card"]["adapter_sha256"]) == (card.id, card.sha256)


def test_engine_uses_no_prompt_with_another_adapter_than_its_own(
    runtime: Runtime, redis: Redis, prompt: PromptCard
) -> None:
    spec = ClassifierSpec(backbone="demo", prompt=prompt.id, class_names=TASK.class_names, template="{}")
    image = np.random.default_rng(7).random((3, 64, 64)).astype(np.float32)
    record = decoded(redis, "job", CertifyRequest(classifier=spec, params=SamplingParams(n0=20, n=150)), image)
    with pytest.raises(Rejected) as refused:
        attempt(runtime, record)
    assert refused.value.code == "prompt_mismatch"
