"""A gated bank is one fixed function of the single noisy sample, and a checkpoint like any other prompt."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.classifier import TextHead, VisionLanguageClassifier
from certrad.models.errors import Rejected
from certrad.models.images.input_digests import pool_sha256
from certrad.models.prompts.bank import Bank, bank_from_bytes, bank_to_bytes
from certrad.models.prompts.checkpoint import (
    context_to_bytes,
    load_prompt,
    load_prompt_or_bank,
    save_prompt,
)
from certrad.models.prompts.context import ContextVectors
from certrad.models.prompts.gate import Gate, mixed_similarities
from certrad.models.prompts.training.acquisition import AcquisitionRanges, change_acquisition
from certrad.models.prompts.training.bank import BankParams, noisy_directions, tune_bank
from certrad.models.prompts.training.calibration import CalibrationParams, calibrate
from certrad.models.randomness import seeded
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing import labels
from certrad.models.types import GatedAdaptation, ZeroShotAdaptation
from certrad.models.types.defaults import require_use
from tests.support import tiny_clip

NAMES = ("adipose tissue", "mucus")
PARAMS = BankParams(
    template="a photo of {}.", shots=4, sigmas=(0.1, 0.5), member_sigmas=(0.1, 0.5), copies=4, epochs=2, steps=20
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


def random_gate(n_members: int, width: int, seed: int = 0) -> Gate:
    generator = torch.Generator().manual_seed(seed)
    shapes = {"hidden": (8, width), "of_sigma": (8,), "hidden_bias": (8,), "output": (n_members, 8)}
    tensors = {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}
    return Gate(**tensors, output_bias=torch.randn(n_members, generator=generator), sigma_range=(0.1, 1.0))


def random_bank(width: int, embed_dim: int, n_members: int = 3) -> Bank:
    generator = torch.Generator().manual_seed(1)
    members = tuple(ContextVectors.random(4, width, generator, n_classes=2) for _ in range(n_members))
    return Bank(members=members, gate=random_gate(n_members, embed_dim))


@pytest.fixture(scope="module")
def bank(backbone: Backbone) -> Bank:
    return random_bank(backbone.text_width, backbone.embed_dim)


def noisy(n: int, side: int, seed: int) -> Tensor:
    return torch.rand(n, 3, side, side, generator=torch.Generator().manual_seed(seed)) * 3 - 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sample_has_the_same_logits_beside_any_companions(dtype: torch.dtype) -> None:
    card = shipped_backbones()["demo"]
    demo = load_backbone(card, weights_directory(card, Path()), dtype=dtype)
    classifier = TextHead.of_prompt(demo, NAMES, random_bank(demo.text_width, demo.embed_dim)).classifier(demo, 0.25)
    sample, size = noisy(1, demo.image_size, 0), 64
    random, extreme = noisy(size, demo.image_size, 1), 1e6 * noisy(size, demo.image_size, 2)
    extreme[1], extreme[2] = float("nan"), float("inf")
    alone = torch.zeros_like(random)
    found = []
    with torch.inference_mode():
        for companions, place in ((alone, 0), (random, 0), (random, 37), (extreme, 0), (extreme, 63)):
            batch = companions.clone()
            batch[place] = sample[0]
            found.append(classifier.logits(batch)[place])
    assert all(torch.equal(logits, found[0]) for logits in found)
    assert bool(found[0].isfinite().all())


def test_logits_are_similarities_to_the_mixture_of_the_sample(backbone: Backbone, bank: Bank) -> None:
    head = TextHead.of_prompt(backbone, NAMES, bank)
    features = backbone.encode_image(noisy(5, 32, 0))
    directions = F.normalize(features, dim=-1)
    gate = bank.gate.at(0.25)
    inner = F.gelu(directions @ gate.hidden.T + bank.gate.hidden_bias + torch.tensor(0.25).log() * bank.gate.of_sigma)
    weights = inner @ gate.output.T + gate.output_bias
    mixtures = torch.einsum("nb,bkd->nkd", weights, head.text_features)
    expected = backbone.logit_scale * torch.einsum("nd,nkd->nk", directions, mixtures)
    logits = head.classifier(backbone, 0.25).logits_of_features(features)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_the_winner_is_that_of_the_weighted_log_probabilities() -> None:
    generator = torch.Generator().manual_seed(3)
    directions = F.normalize(torch.randn(50, 16, generator=generator), dim=-1)
    texts = F.normalize(torch.randn(3, 4, 16, generator=generator), dim=-1)
    weights = random_gate(3, 16).at(0.5).weights(directions)
    log_p = (30 * torch.einsum("nd,bkd->nbk", directions, texts)).log_softmax(dim=-1)
    product = (weights.unsqueeze(-1) * log_p).sum(dim=1)
    assert torch.equal(mixed_similarities(directions, texts, weights).argmax(1), product.argmax(1))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_non_finite_feature_is_labelled_invalid(backbone: Backbone, bank: Bank, value: float) -> None:
    features = torch.ones(1, backbone.embed_dim)
    features[0, 0] = value
    classifier = TextHead.of_prompt(backbone, NAMES, bank).classifier(backbone, 0.25)
    assert labels(classifier.logits_of_features(features)).tolist() == [len(NAMES)]


def test_beyond_its_tuned_sigmas_a_gate_is_that_of_the_nearer_end(bank: Bank) -> None:
    assert torch.equal(bank.gate.at(2.0).hidden_bias, bank.gate.at(1.0).hidden_bias)
    assert torch.equal(bank.gate.at(0.02).hidden_bias, bank.gate.at(0.1).hidden_bias)
    assert not torch.equal(bank.gate.at(0.25).hidden_bias, bank.gate.at(0.5).hidden_bias)


def test_text_features_of_another_number_of_prompts_are_refused(backbone: Backbone, bank: Bank) -> None:
    with pytest.raises(ValueError, match=r"shape \(3, K, 16\)"):
        VisionLanguageClassifier(backbone, torch.zeros(2, 2, 16), bank.gate.at(0.25))


def test_a_saved_bank_is_loaded_bit_for_bit(backbone: Backbone, bank: Bank, tmp_path: Path) -> None:
    card = save_prompt(tmp_path, bank, name="bank", method="bank", backbone=backbone, class_names=NAMES)
    again = load_prompt_or_bank(tmp_path, card)
    assert isinstance(again, Bank)
    assert bank_to_bytes(again) == bank_to_bytes(bank)
    assert again.gate.sha256 == bank.gate.sha256
    assert [context_to_bytes(m) for m in again.members] == [context_to_bytes(m) for m in bank.members]


def test_a_bank_is_no_single_prompt(backbone: Backbone, bank: Bank, tmp_path: Path) -> None:
    card = save_prompt(tmp_path, bank, name="bank", method="bank", backbone=backbone, class_names=NAMES)
    with pytest.raises(Rejected) as caught:
        load_prompt(tmp_path, card)
    assert caught.value.code == "prompt_mismatch"
    with pytest.raises(ValueError, match="method must be 'bank'"):
        save_prompt(tmp_path, bank, name="bank", method="few_shot", backbone=backbone, class_names=NAMES)


@pytest.mark.parametrize("adaptation", [None, ZeroShotAdaptation()])
def test_a_bank_needs_its_gate_and_a_gate_its_bank(
    backbone: Backbone, bank: Bank, tmp_path: Path, adaptation: ZeroShotAdaptation | None
) -> None:
    card = save_prompt(tmp_path, bank, name="bank", method="bank", backbone=backbone, class_names=NAMES)
    require_use(card, GatedAdaptation())
    for unfit, chosen in ((card, adaptation), (replace(card, method="few_shot"), GatedAdaptation())):
        with pytest.raises(Rejected) as caught:
            require_use(unfit, chosen)
        assert caught.value.code == "prompt_mismatch"


@pytest.mark.parametrize(
    "content", [b"", b"no safetensors", context_to_bytes(ContextVectors(vectors=torch.ones(2, 4)))]
)
def test_a_foreign_file_is_no_bank(content: bytes) -> None:
    with pytest.raises(Rejected) as caught:
        bank_from_bytes(content)
    assert caught.value.code == "invalid_checkpoint"


def test_a_gate_with_a_number_that_is_none_is_refused(bank: Bank) -> None:
    with pytest.raises(ValueError, match="must be finite"):
        replace(bank.gate, output_bias=torch.full((3,), float("nan")))


def test_the_digest_of_a_gate_covers_every_tensor_and_the_range_of_sigma(bank: Bank) -> None:
    changes: list[dict[str, Any]] = [{name: tensor + 1} for name, tensor in bank.gate.tensors.items()]
    changed = [replace(bank.gate, **change) for change in changes]
    digests = {gate.sha256 for gate in (bank.gate, *changed, replace(bank.gate, sigma_range=(0.1, 0.5)))}
    assert len(digests) == 7


def shots() -> tuple[Tensor, Tensor]:
    truth = torch.arange(16) % 2
    return noisy(16, 32, 5).clamp(0, 1) * 0.3 + 0.6 * truth.view(-1, 1, 1, 1), truth


def test_the_same_seed_tunes_the_same_bank(backbone: Backbone) -> None:
    first, second = (tune_bank(backbone, *shots(), NAMES, PARAMS) for _ in range(2))
    assert bank_to_bytes(first) == bank_to_bytes(second)
    assert len(first.members) == 4


def test_changes_of_acquisition_reach_every_copy_and_leave_the_noise_as_it_is(
    backbone: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Tensor] = []
    encode = backbone.encode_image

    def watch(pixels: Tensor) -> Tensor:
        seen.append(pixels)
        return encode(pixels)

    monkeypatch.setattr(backbone, "encode_image", watch)
    images, ranges = shots()[0][:1], AcquisitionRanges(changed=1.0)
    for params in (PARAMS, replace(PARAMS, acquisition=ranges)):
        noisy_directions(backbone, images, params)
    plain, varied = torch.cat(seen[:2]), torch.cat(seen[2:])  # 4 copies at each of 2 levels
    assert len(varied) == 8
    assert not (plain == varied).flatten(1).all(dim=1).any()
    changes = seeded(PARAMS.seed, "acquisition", repr(0.1))
    clean = change_acquisition(images.expand(4, -1, -1, -1), ranges, changes)
    assert torch.allclose(varied[:4] - clean, plain[:4] - images, atol=1e-6)


def test_a_bank_tuned_on_changed_acquisitions_is_the_same_for_one_seed(backbone: Backbone) -> None:
    params = replace(PARAMS, acquisition=AcquisitionRanges())
    first, second = (tune_bank(backbone, *shots(), NAMES, params) for _ in range(2))
    assert bank_to_bytes(first) == bank_to_bytes(second)
    assert bank_to_bytes(first) != bank_to_bytes(tune_bank(backbone, *shots(), NAMES, PARAMS))


def test_a_tuned_gate_tells_apart_what_the_shots_show(backbone: Backbone) -> None:
    images, truth = shots()
    head = TextHead.of_prompt(backbone, NAMES, tune_bank(backbone, images, truth, NAMES, replace(PARAMS, steps=300)))
    found = head.classifier(backbone, 0.1).logits(images).argmax(dim=1)
    assert torch.equal(found, truth)


def test_calibration_sees_its_pool_only_and_brings_noisy_copies_nearer(
    backbone: Backbone,
) -> None:
    pool, start = shots()[0], ContextVectors.random(4, backbone.text_width, torch.Generator().manual_seed(0))
    params = CalibrationParams(sigmas=(0.5,), copies=4, steps=40, batch_size=16, lr=1e-2)
    first, second = (calibrate(backbone, pool, NAMES, start, params) for _ in range(2))
    assert torch.equal(first.vectors, second.vectors)

    def disagreement(context: ContextVectors) -> float:
        clean = TextHead.of_prompt(backbone, NAMES, start).classifier(backbone, 0.5).logits(pool).softmax(1)
        copies = pool + 0.5 * torch.randn(pool.shape, generator=torch.Generator().manual_seed(9))
        logits = TextHead.of_prompt(backbone, NAMES, context).classifier(backbone, 0.5).logits(copies)
        return float(F.cross_entropy(logits, clean))

    assert disagreement(first) < disagreement(start)


def test_the_digest_of_a_pool_changes_with_any_pixel_and_with_the_order() -> None:
    pool = noisy(3, 8, 0)
    other = pool.clone()
    other[2, 0, 0, 0] += 1
    assert len({pool_sha256(p) for p in (pool, other, pool.flip(0))}) == 3
