"""The extra class learns from generated outliers; its threshold is set on images that are no shots, and measured."""

from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor

from certrad.models.backbones.base import EMBEDDED, Backbone, load_backbone
from certrad.models.classifier import TextHead
from certrad.models.errors import Rejected
from certrad.models.prompts.bank import Bank, answers, bank_to_bytes
from certrad.models.prompts.training.bank import BankParams, bank_accuracy, tune_bank
from certrad.models.prompts.training.rejection import OTHERS_MIN, RejectionParams, tune_rejection
from certrad.models.randomness import seeded
from certrad.models.shipped import shipped_backbones
from certrad.models.smoothing.bounds import clopper_pearson_lower, clopper_pearson_upper
from certrad.models.types.rejection import RejectionCard

NAMES = ("bright disc", "dark disc")
SIGMAS = (0.1, 0.25)
BANK = BankParams(
    template="a {}.", shots=6, sigmas=SIGMAS, member_sigmas=(0.1,), copies=6, epochs=2, steps=60, gate_batch=64
)
PARAMS = RejectionParams(false_rejections=0.05, of_each=3, copies=8, threshold_copies=2, hidden=16, steps=200, batch=64)


def discs(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Images (n, 3, 64, 64) of a disc that is brighter or darker than the ground, and which of the two."""
    generator, truth = seeded(seed, "discs"), torch.arange(n) % 2
    line = (torch.arange(64) + 0.5) / 64 - 0.5
    down, right = torch.meshgrid(line, line, indexing="ij")
    size = 0.25 + 0.1 * torch.rand(n, 1, 1, generator=generator)
    inside = (torch.hypot(down, right) < size).float()
    sign = torch.where(truth == 0, 0.35, -0.35).view(-1, 1, 1)
    return (0.5 + sign * inside).unsqueeze(1).expand(n, 3, 64, 64).contiguous(), truth


@cache
def encoder() -> Backbone:
    return load_backbone(shipped_backbones()["demo"], EMBEDDED)


@cache
def plain_bank() -> Bank:
    return tune_bank(encoder(), *discs(12, 0), NAMES, BANK)


def tuned(params: RejectionParams = PARAMS, others: int = OTHERS_MIN) -> tuple[Bank, RejectionCard]:
    backbone, bank = encoder(), plain_bank()
    return tune_rejection(
        backbone,
        bank,
        bank.text_features(backbone, NAMES),
        discs(12, 0),
        (discs(others, 1)[0], discs(others, 2)[0]),
        params,
        BANK,
    )


@pytest.fixture(scope="module")
def result() -> tuple[Bank, RejectionCard]:
    return tuned()


def rejected(bank: Bank, images: Tensor, sigma: float, seed: int) -> float:
    """The share of one noisy copy of each image that gets the extra class."""
    classifier = TextHead.of_prompt(encoder(), answers(bank, NAMES), bank).classifier(encoder(), sigma)
    noise = torch.randn(images.shape, generator=seeded(seed, "noise", repr(sigma)))
    with torch.inference_mode():
        return float((classifier.logits(images + sigma * noise).argmax(dim=1) == len(NAMES)).float().mean())


def test_prompts_and_gate_stay_as_they_are(result: tuple[Bank, RejectionCard]) -> None:
    bank, card = result
    assert bank_to_bytes(replace(bank, rejection=None)) == bank_to_bytes(plain_bank())
    assert bank.rejection is not None
    assert card.sha256 == bank.rejection.sha256
    assert card.sigma_range == (0.1, 0.25)


def test_noise_is_rejected_and_a_shot_is_not(result: tuple[Bank, RejectionCard]) -> None:
    bank, _ = result
    noise = torch.rand(40, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    assert rejected(bank, noise, 0.1, 5) > 0.5
    assert rejected(bank, discs(12, 0)[0], 0.1, 6) < 0.5


@pytest.mark.parametrize("sigma", SIGMAS)
def test_the_card_holds_the_share_of_false_rejections_on_images_of_neither_kind(
    result: tuple[Bank, RejectionCard], sigma: float
) -> None:
    bank, card = result
    (row,) = [row for row in card.measured if row["sigma"] == sigma]
    hits, n = row["rejected"], row["images"]
    assert n == OTHERS_MIN
    assert row["low"] == round(clopper_pearson_lower(hits, n, 0.005), 6)
    assert row["high"] == round(clopper_pearson_upper(hits, n, 0.005), 6)
    # Fresh images and fresh noise: both intervals miss the same share with a probability of at most 2%.
    fresh = discs(400, 9)[0]
    again = round(rejected(bank, fresh, sigma, 10) * len(fresh))
    assert clopper_pearson_lower(again, len(fresh), 0.005) <= row["high"]
    assert clopper_pearson_upper(again, len(fresh), 0.005) >= row["low"]


def test_a_smaller_share_of_false_rejections_has_a_lower_bias() -> None:
    loose, strict = (tuned(replace(PARAMS, steps=20, false_rejections=e))[0].rejection for e in (0.05, 0.01))
    assert loose is not None
    assert strict is not None
    assert all(a >= b for a, b in zip(loose.biases, strict.biases, strict=True))
    assert torch.equal(loose.features, strict.features)


def test_the_same_seed_tunes_the_same_class() -> None:
    params = replace(PARAMS, steps=5)
    assert bank_to_bytes(tuned(params)[0]) == bank_to_bytes(tuned(params)[0])
    assert tuned(params)[1] != tuned(replace(params, seed=1))[1]


def test_too_few_images_beside_the_shots_are_refused() -> None:
    with pytest.raises(Rejected) as caught:
        tuned(others=OTHERS_MIN - 1)
    assert caught.value.code == "too_few_images"


def test_a_copy_with_the_extra_class_is_no_correct_one(result: tuple[Bank, RejectionCard]) -> None:
    bank, _ = result
    assert bank.rejection is not None
    always = replace(bank, rejection=replace(bank.rejection, biases=(1e6, 1e6)))
    images, truth = discs(10, 3)
    assert bank_accuracy(encoder(), always, images, truth, NAMES, 0.1, 0) == 0.0
