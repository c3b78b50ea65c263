"""The extra class of a bank is one more fixed function of the single noisy sample, and a part of its checkpoint."""

from dataclasses import replace
from pathlib import Path
from statistics import NormalDist

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from certrad.models.backbones.base import Backbone, load_backbone, weights_directory
from certrad.models.classifier import TextHead
from certrad.models.errors import Rejected
from certrad.models.prompts.bank import Bank, answers, bank_from_bytes, bank_to_bytes
from certrad.models.prompts.checkpoint import load_prompt_or_bank, save_prompt, write_card
from certrad.models.prompts.rejection import Rejection
from certrad.models.shipped import SHIPPED_PROMPTS, shipped_backbones, shipped_prompts, shipped_tasks
from certrad.models.smoothing import decide, labels
from certrad.models.smoothing.bounds import radius
from certrad.models.types import Certificate, ClassifierSpec, GatedAdaptation, LabelCounts, SmoothingParams
from certrad.models.types.rejection import UNLIKE, RejectionCard, with_unlike
from tests.support import tiny_clip
from tests.unit.models.prompts.test_gate import NAMES, noisy, random_bank, random_gate

ANSWERS = with_unlike(NAMES)
CARD = RejectionCard(
    sha256="", false_rejections=0.01, outliers_sha256="0" * 64, outliers=10, sigma_range=(0.1, 1.0), measured=()
)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


def extra_class(embed_dim: int, biases: tuple[float, float, float] = (0.5, 0.25, -1.0)) -> Rejection:
    features = torch.randn(3, embed_dim, generator=torch.Generator().manual_seed(7))
    unit = torch.nn.functional.normalize(features, dim=-1)
    return Rejection(features=unit, gate=random_gate(3, embed_dim, 8), sigmas=(0.1, 0.5, 1.0), biases=biases)


def with_extra_class(backbone: Backbone, biases: tuple[float, float, float] = (0.5, 0.25, -1.0)) -> Bank:
    bank = random_bank(backbone.text_width, backbone.embed_dim)
    return replace(bank, rejection=extra_class(backbone.embed_dim, biases))


def logits_of(backbone: Backbone, bank: Bank, pixels: Tensor, sigma: float = 0.25) -> Tensor:
    head = TextHead.of_prompt(backbone, answers(bank, NAMES), bank)
    with torch.inference_mode():
        return head.classifier(backbone, sigma).logits(pixels)


# -- one noisy sample alone -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_sample_has_the_same_logits_beside_any_companions(dtype: torch.dtype) -> None:
    card = shipped_backbones()["demo"]
    demo = load_backbone(card, weights_directory(card, Path()), dtype=dtype)
    bank, sample = with_extra_class(demo), noisy(1, demo.image_size, 0)
    random, extreme = noisy(64, demo.image_size, 1), 1e6 * noisy(64, demo.image_size, 2)
    extreme[1], extreme[2] = float("nan"), float("inf")
    found = []
    for companions, place in ((torch.zeros_like(random), 0), (random, 0), (random, 37), (extreme, 0), (extreme, 63)):
        batch = companions.clone()
        batch[place] = sample[0]
        found.append(logits_of(demo, bank, batch)[place])
    assert found[0].shape == (len(ANSWERS),)
    assert all(torch.equal(logits, found[0]) for logits in found)


def test_logits_of_the_classes_are_those_of_the_bank_without_it_bit_for_bit(backbone: Backbone) -> None:
    bank, pixels = with_extra_class(backbone), noisy(50, 32, 3)
    plain = logits_of(backbone, replace(bank, rejection=None), pixels)
    assert torch.equal(logits_of(backbone, bank, pixels)[:, :-1], plain)


def test_with_a_bias_of_minus_infinity_the_labels_are_those_without_it(backbone: Backbone) -> None:
    lowest = float(torch.finfo(torch.float32).min)
    never, pixels = with_extra_class(backbone, (lowest,) * 3), noisy(50, 32, 4)
    plain = labels(logits_of(backbone, replace(never, rejection=None), pixels))
    assert np.array_equal(labels(logits_of(backbone, never, pixels)), plain)
    always = with_extra_class(backbone, (1e6,) * 3)
    assert set(labels(logits_of(backbone, always, pixels)).tolist()) == {len(NAMES)}


def test_the_bias_is_linear_in_the_logarithm_of_sigma(backbone: Backbone) -> None:
    extra = extra_class(backbone.embed_dim, (0.0, 1.0, 3.0))
    assert [extra.at(sigma).bias for sigma in (0.1, 0.5, 1.0)] == pytest.approx([0.0, 1.0, 3.0])
    assert extra.at((0.5 * 1.0) ** 0.5).bias == pytest.approx(2.0)


@pytest.mark.parametrize("sigma", [0.09, 1.01])
def test_a_sigma_beyond_those_of_the_threshold_is_refused(backbone: Backbone, sigma: float) -> None:
    with pytest.raises(Rejected) as caught:
        logits_of(backbone, with_extra_class(backbone), noisy(1, 32, 0), sigma)
    assert caught.value.code == "sigma_not_tuned"
    with pytest.raises(Rejected) as caught:
        CARD.require(sigma)
    assert caught.value.code == "sigma_not_tuned"


def test_a_sample_without_a_finite_feature_stays_invalid(backbone: Backbone) -> None:
    pixels = noisy(2, 32, 5)
    pixels[1] = float("nan")
    assert labels(logits_of(backbone, with_extra_class(backbone), pixels))[1] == len(ANSWERS)


# -- names -----------------------------------------------------------------------------------------------------------


def test_names_and_bank_must_agree_on_the_extra_class(backbone: Backbone) -> None:
    bank = with_extra_class(backbone)
    for prompt, names in ((bank, NAMES), (replace(bank, rejection=None), ANSWERS)):
        with pytest.raises(Rejected) as caught:
            TextHead.of_prompt(backbone, names, prompt)
        assert caught.value.code == "prompt_mismatch"


def test_no_class_of_a_sender_may_have_the_name_of_the_extra_class() -> None:
    for names, adaptation in (((UNLIKE, "b", "c"), GatedAdaptation()), (("a", "b", UNLIKE), None)):
        with pytest.raises(ValueError, match="extra class"):
            ClassifierSpec(backbone="demo", prompt="p", class_names=names, template="{}", adaptation=adaptation)


# -- checkpoint ------------------------------------------------------------------------------------------------------


def test_a_saved_bank_has_its_extra_class_again_bit_for_bit(backbone: Backbone, tmp_path: Path) -> None:
    bank = with_extra_class(backbone)
    assert bank.rejection is not None
    card = save_prompt(
        tmp_path,
        bank,
        name="bank",
        method="bank",
        backbone=backbone,
        class_names=NAMES,
        rejection=replace(CARD, sha256=bank.rejection.sha256),
    )
    again = load_prompt_or_bank(tmp_path, card)
    assert isinstance(again, Bank)
    assert bank_to_bytes(again) == bank_to_bytes(bank)
    assert again.rejection is not None
    assert again.rejection.sha256 == bank.rejection.sha256
    assert card.answers == ANSWERS


def test_a_card_and_a_file_with_different_extra_classes_are_refused(backbone: Backbone, tmp_path: Path) -> None:
    bank = with_extra_class(backbone)
    with pytest.raises(Rejected, match="extra class"):
        save_prompt(tmp_path, bank, name="bank", method="bank", backbone=backbone, class_names=NAMES)
    plain = replace(bank, rejection=None)
    card = save_prompt(tmp_path, plain, name="bank", method="bank", backbone=backbone, class_names=NAMES)
    claimed = replace(card, rejection=replace(CARD, sha256="0" * 64))
    write_card(tmp_path, claimed)
    with pytest.raises(Rejected) as caught:
        load_prompt_or_bank(tmp_path, claimed)
    assert caught.value.code == "invalid_checkpoint"


def test_the_shipped_bank_without_an_extra_class_keeps_its_bytes() -> None:
    card = shipped_prompts()[shipped_tasks()["mednist"].default_bank or ""]
    content = (SHIPPED_PROMPTS / f"{card.id}.safetensors").read_bytes()
    bank = bank_from_bytes(content)
    assert (bank.rejection is None) == (card.rejection is None)
    assert torch.equal(bank.members[0].vectors, bank_from_bytes(content).members[0].vectors)


def test_the_digest_covers_every_tensor_and_every_bias(backbone: Backbone) -> None:
    extra = extra_class(backbone.embed_dim)
    changed = (
        extra,
        replace(extra, features=-extra.features),
        replace(extra, biases=(0.5, 0.25, -1.5)),
        replace(extra, sigmas=(0.1, 0.5, 1.5)),
        replace(extra, gate=random_gate(3, backbone.embed_dim, 9)),
    )
    assert len({each.sha256 for each in changed}) == len(changed)


def test_a_bias_that_is_not_finite_is_refused(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match="finite"):
        extra_class(backbone.embed_dim, (0.0, float("-inf"), 0.0))


# -- the bounds: golden values of three labels with the probabilities .60, .05 and, for the extra class, .35 ----------


def z(p: float) -> float:
    return NormalDist().inv_cdf(p)


def test_the_radius_counts_the_extra_class_as_a_rival() -> None:
    assert radius(0.60, 0.35, 1.0) == pytest.approx(0.3193, abs=1e-4)
    assert (z(0.60 / 0.65) - z(0.05 / 0.65)) / 2 == pytest.approx(1.4261, abs=1e-4)  # rejected samples left out of n
    assert (z(0.60) - z(0.05)) / 2 == pytest.approx(0.9491, abs=1e-4)  # the extra class is no rival


@pytest.mark.parametrize(
    ("e", "most"), [(0.05, 1.6449), (0.01, 2.3263), (0.005, 2.5758), (0.002, 2.8782), (0.001, 3.0902)]
)
def test_no_radius_of_a_known_image_exceeds_what_false_rejections_leave(e: float, most: float) -> None:
    assert radius(1 - e, e, 1.0) == pytest.approx(most, abs=1.1e-4)
    assert radius(1 - e, e, 1.0) <= z(1 - e) + 1e-12


def test_the_decision_is_too_large_as_rarely_as_alpha_says_and_the_wrong_ones_nearly_always() -> None:
    """A base classifier on a line: the extra class where |y| > 2, else class 0 below 1.2, else class 1; sigma is 1.

    At x = -1.2 class 0 has the probability .78, class 1 hardly any and the extra class .21; it is 0 up to -1.99.
    """
    normal, x, alpha, n, runs = NormalDist(), -1.2, 0.05, 2000, 2000

    def shares(at: float) -> list[float]:
        zero = normal.cdf(1.2 - at) - normal.cdf(-2 - at)
        one = normal.cdf(2 - at) - normal.cdf(1.2 - at)
        return [zero, one, 1 - zero - one]

    moved = np.arange(0, 3, 0.0005)
    kept = [all(int(np.argmax(shares(x + step))) == 0 for step in (d, -d)) for d in moved]
    true_radius = float(moved[kept.index(False)])
    drawn = np.random.default_rng(0).multinomial(n, shares(x), runs)
    selection = LabelCounts(per_class=(100, 0, 0))

    def too_large(counts: NDArray[np.int64]) -> float:
        params = [SmoothingParams(sigma=1.0, n0=100, n=int(row.sum()), alpha=alpha) for row in counts]
        found = [
            decide(selection, LabelCounts(per_class=tuple(row.tolist())), each)
            for row, each in zip(counts, params, strict=True)
        ]
        return float(np.mean([isinstance(each, Certificate) and each.radius > true_radius for each in found]))

    # P(Bin(2000, .05) > 150) is below 1e-6.
    assert too_large(drawn) <= 150 / runs
    renormalised = drawn.copy()
    renormalised[:, 2] = 0
    assert too_large(renormalised[:200]) > 0.99


def test_a_threshold_on_the_share_of_votes_has_no_radius() -> None:
    """Two inputs 2e-6 apart get the extra class and class 0 where "the top share is below .8" rejects."""
    normal = NormalDist()

    def top(x: float) -> float:
        return normal.cdf(1.2 - x) - normal.cdf(-2 - x)

    low, high = -1.2, 0.2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if top(middle) < 0.8 else (low, middle)
    assert top(low - 1e-6) < 0.8 <= top(high + 1e-6)
