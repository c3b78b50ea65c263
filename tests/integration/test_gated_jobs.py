"""A request with `adaptation=gated` ends in a document that names gate and members."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from redis import Redis

from certrad.app.api.defaults import resolve
from certrad.app.api.schemas.certify import parse
from certrad.app.settings import ApiSettings
from certrad.models.backbones.base import Backbone
from certrad.models.classifier import TextHead
from certrad.models.errors import Rejected
from certrad.models.installed import Cards
from certrad.models.prompts.bank import Bank
from certrad.models.prompts.checkpoint import member_digests, save_prompt
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.gate import Gate
from certrad.models.prompts.rejection import Rejection
from certrad.models.smoothing import certify
from certrad.models.types import (
    CertifyRequest,
    ClassifierSpec,
    GatedAdaptation,
    PromptCard,
    SamplingParams,
)
from certrad.models.types.rejection import UNLIKE, RejectionCard
from certrad.workers.contract.catalogue import Catalogue
from certrad.workers.contract.job import JobRecord
from certrad.workers.engine.prompt_store import publish
from certrad.workers.engine.runtime import Runtime, build
from tests.support.engine_jobs import TASK, Image, Submit, decoded, stopping_after
from tests.support.engine_jobs import attempt as run

PARAMS = SamplingParams(n0=20, n=150)


def random_bank(backbone: Backbone) -> Bank:
    generator = torch.Generator().manual_seed(0)
    members = tuple(ContextVectors.random(4, backbone.text_width, generator) for _ in range(3))
    shapes = {"hidden": (8, backbone.embed_dim), "of_sigma": (8,), "hidden_bias": (8,), "output": (3, 8)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    gate = Gate(**tensors, output_bias=torch.full((3,), 1 / 3), sigma_range=(0.1, 1.0))
    return Bank(members=members, gate=gate)


@pytest.fixture
def bank(runtime: Runtime) -> Bank:
    return random_bank(runtime.backbone("demo", "float32"))


@pytest.fixture
def card(runtime: Runtime, bank: Bank, redis: Redis, tmp_path: Path) -> PromptCard:
    """A bank published by another node: this one has it through Redis only."""
    backbone = runtime.backbone("demo", "float32")
    saved = save_prompt(
        tmp_path / "elsewhere",
        bank,
        name="site-bank",
        method="bank",
        backbone=backbone,
        class_names=TASK.class_names,
        task=TASK.id,
    )
    publish(redis, tmp_path / "elsewhere", saved)
    return saved


@pytest.fixture
def image() -> Image:
    return np.random.default_rng(7).random((3, 64, 64)).astype(np.float32)


@pytest.fixture
def submit(redis: Redis, image: Image, card: PromptCard) -> Submit:
    """Leaves a gated job as intake does and returns its record."""
    spec = ClassifierSpec(
        backbone="demo", prompt=card.id, class_names=TASK.class_names, template="{}", adaptation=GatedAdaptation()
    )

    def leave(job_id: str, **changes: Any) -> JobRecord:
        return decoded(redis, job_id, CertifyRequest(classifier=replace(spec, **changes), params=PARAMS), image)

    return leave


def test_a_gated_job_counts_what_its_bank_gives_and_names_its_members(
    runtime: Runtime,
    submit: Submit,
    bank: Bank,
    card: PromptCard,
    image: Image,
) -> None:
    document, result = run(runtime, submit("job"))
    tower, stated = document["classifier"]["parts"]
    backbone = runtime.backbone("demo", tower["dtype"])
    classifier = TextHead.of_prompt(backbone, TASK.class_names, bank).classifier(backbone, 0.25)
    offline = certify(image, classifier, PARAMS.at(0.25), key=bytes.fromhex(document["noise"]["key"]))
    assert tuple(result["counts"]) == offline.estimation.counts.per_class
    assert (document["scope"], result["adaptation"]) == ("input_independent", "gated")
    assert stated["members"] == list(member_digests(bank))
    assert stated["gate_sha256"] == bank.gate.sha256
    assert stated["prompt_sha256"] == card.sha256


def test_another_engine_finishes_a_gated_job_with_the_same_counts(
    runtime: Runtime, redis: Redis, submit: Submit
) -> None:
    undisturbed = run(runtime, submit("undisturbed"))[1]["counts"]
    record = submit("resumed")
    with stopping_after(1):
        run(runtime, record)
    assert run(build(runtime.settings, redis), record)[1]["counts"] == undisturbed


def test_an_engine_refuses_a_bank_without_its_gate(runtime: Runtime, submit: Submit) -> None:
    with pytest.raises(Rejected) as caught:
        run(runtime, submit("job", adaptation=None))
    assert caught.value.code == "prompt_mismatch"


def asked(redis: Redis, **fields: str) -> ClassifierSpec:
    return resolve(parse(fields.items()), Catalogue(redis), ApiSettings()).classifier


def test_a_bank_without_an_adaptation_is_gated(redis: Redis, card: PromptCard) -> None:
    assert asked(redis, prompt=card.id).adaptation == GatedAdaptation()
    assert asked(redis, prompt=card.id, adaptation="gated").prompt == card.id


@pytest.mark.parametrize("adaptation", ["none", "zero_shot"])
def test_a_bank_with_another_adaptation_is_refused(redis: Redis, card: PromptCard, adaptation: str) -> None:
    with pytest.raises(Rejected) as caught:
        asked(redis, prompt=card.id, adaptation=adaptation)
    assert caught.value.code == "prompt_mismatch"


@pytest.mark.parametrize("prompt", ["template", TASK.default_prompt])
def test_gated_without_a_bank_is_refused(redis: Redis, prompt: str) -> None:
    with pytest.raises(Rejected) as caught:
        asked(redis, prompt=prompt, adaptation="gated")
    assert caught.value.code == "prompt_mismatch"


def test_gated_without_a_prompt_uses_the_bank_of_the_task(redis: Redis, card: PromptCard) -> None:
    catalogue = Catalogue(redis)
    form = parse({"adaptation": "gated", "task": "own"}.items())
    catalogue.publish_own(Cards(tasks={"own": replace(TASK, id="own", default_bank=card.id)}))
    spec = resolve(form, catalogue, ApiSettings()).classifier
    assert (spec.prompt, spec.adaptation, spec.scope) == (card.id, GatedAdaptation(), "input_independent")
    catalogue.publish_own(Cards(tasks={"own": replace(TASK, id="own", default_bank=None)}))
    with pytest.raises(Rejected):
        resolve(form, catalogue, ApiSettings())


# -- a bank with an extra class --------------------------------------------------------------------------------------


@pytest.fixture
def extra(runtime: Runtime, bank: Bank, redis: Redis, tmp_path: Path) -> PromptCard:
    """A published bank whose extra class is as frequent as another."""
    backbone = runtime.backbone("demo", "float32")
    features = torch.nn.functional.normalize(torch.randn(3, backbone.embed_dim), dim=-1)
    rejection = Rejection(features=features, gate=bank.gate, sigmas=(0.1, 1.0), biases=(1.0, 1.0))
    stated = RejectionCard(
        sha256=rejection.sha256,
        false_rejections=0.01,
        outliers_sha256="0" * 64,
        outliers=10,
        sigma_range=(0.1, 1.0),
    )
    saved = save_prompt(
        tmp_path / "elsewhere",
        replace(bank, rejection=rejection),
        name="site-unlike",
        method="bank",
        backbone=backbone,
        class_names=TASK.class_names,
        task=TASK.id,
        rejection=stated,
    )
    publish(redis, tmp_path / "elsewhere", saved)
    return saved


def test_a_job_with_an_extra_class_counts_it_and_names_it(
    runtime: Runtime, redis: Redis, image: Image, extra: PromptCard
) -> None:
    spec = asked(redis, prompt=extra.id)
    assert spec.class_names == (*TASK.class_names, UNLIKE)
    record = decoded(redis, "job", CertifyRequest(classifier=spec, params=PARAMS), image)
    document, result = run(runtime, record)
    *_, stated = document["classifier"]["parts"]
    assert extra.rejection is not None
    assert stated == {
        "kind": "rejection/1",
        "rejection_index": str(len(TASK.class_names)),
        "rejection_sha256": extra.rejection.sha256,
    }
    assert len(result["counts"]) == len(TASK.class_names) + 1
    assert result["rejection_index"] == len(TASK.class_names)
    resumed = decoded(redis, "resumed", CertifyRequest(classifier=spec, params=PARAMS), image)
    with stopping_after(1):
        run(runtime, resumed)
    assert run(build(runtime.settings, redis), resumed)[1]["counts"] == result["counts"]


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"sigma": "0.05"}, "sigma_not_tuned"),
        ({"sigma": "1.5"}, "sigma_not_tuned"),
        ({"noise_space": "image"}, "invalid_request"),
        ({"adaptation": "zero_shot"}, "prompt_mismatch"),
    ],
)
def test_a_request_that_its_threshold_was_not_set_for_is_refused(
    redis: Redis, extra: PromptCard, fields: dict[str, str], code: str
) -> None:
    with pytest.raises(Rejected) as caught:
        asked(redis, prompt=extra.id, **fields)
    assert caught.value.code == code


@pytest.mark.parametrize("names", [["a", UNLIKE], [UNLIKE, "b"]])
def test_a_sender_may_not_name_a_class_like_the_extra_one(redis: Redis, names: list[str]) -> None:
    fields = [("classes", name) for name in names]
    with pytest.raises(Rejected) as caught:
        resolve(parse([*fields, ("template", "a {}")]), Catalogue(redis), ApiSettings())
    assert caught.value.code == "invalid_request"
