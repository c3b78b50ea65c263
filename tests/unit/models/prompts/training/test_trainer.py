"""The trainer of prompts uses PromptSmooth's noise and CoOp's schedule, and one seed gives the same vectors."""

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from certrad.models.backbones.base import Backbone
from certrad.models.errors import Rejected
from certrad.models.prompts.context import text_features
from certrad.models.prompts.training.acquisition import AcquisitionRanges, change_acquisition
from certrad.models.prompts.training.augmentation import crop_and_flip
from certrad.models.prompts.training.trainer import (
    FewShotParams,
    image_features,
    random_context,
    sample_shots,
    train,
    train_epochs,
)
from certrad.models.prompts.training.trainer_state import TrainerState
from certrad.models.randomness import seeded
from tests.support import tiny_clip

NAMES = ["adipose tissue", "mucus"]
PARAMS = FewShotParams(shots=8, epochs=4, batch_size=8, n_ctx=3)
LABELS = torch.arange(40) % 2


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def images() -> Tensor:
    noise = torch.rand(40, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 0.3
    return noise + 0.6 * LABELS.view(-1, 1, 1, 1)


@pytest.fixture
def encoded(backbone: Backbone, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Tensor]]:
    """Every batch of pixels that reaches the image tower."""
    seen: list[Tensor] = []
    encode = backbone.encode_image

    def watch(pixels: Tensor) -> Tensor:
        seen.append(pixels)
        return encode(pixels)

    monkeypatch.setattr(backbone, "encode_image", watch)
    return iter([seen])


def test_learning_rates_are_those_of_the_released_schedule() -> None:
    params = FewShotParams()
    rates = [params.learning_rate(epoch) for epoch in range(50)]
    assert rates[0] == 1e-5
    assert rates[1] == pytest.approx(0.002)
    assert rates[26] == pytest.approx(0.001)
    assert [f"{rate:.2e}" for rate in rates[-2:]] == ["1.77e-05", "7.89e-06"]


def test_defaults_are_those_of_the_paper() -> None:
    params = FewShotParams()
    assert (params.shots, params.epochs, params.lr, params.batch_size, params.n_ctx) == (16, 50, 0.002, 16, 5)
    assert params.sigmas == (0.25, 0.5, 0.75, 1.0)
    assert (params.momentum, params.weight_decay, params.class_specific, params.position) == (0.9, 5e-4, False, "end")


def test_one_seed_gives_identical_vectors(backbone: Backbone, images: Tensor) -> None:
    first, again = (train(backbone, images, LABELS, NAMES, PARAMS).vectors for _ in range(2))
    assert torch.equal(first, again)


def test_another_seed_gives_other_vectors(backbone: Backbone, images: Tensor) -> None:
    first, other = (train(backbone, images, LABELS, NAMES, replace(PARAMS, seed=seed)).vectors for seed in (0, 1))
    assert not torch.equal(first, other)


def test_training_lowers_the_loss_on_noisy_images(backbone: Backbone, images: Tensor) -> None:
    losses: list[float] = []
    params = replace(PARAMS, epochs=12, lr=0.02)
    train(backbone, images, LABELS, NAMES, params, on_epoch=lambda _, loss: losses.append(loss))
    assert losses[-1] < 0.9 * losses[0]


def test_progress_is_told_after_every_epoch(backbone: Backbone, images: Tensor) -> None:
    epochs: list[int] = []
    train(backbone, images, LABELS, NAMES, PARAMS, on_epoch=lambda epoch, _: epochs.append(epoch))
    assert epochs == [1, 2, 3, 4]


def test_only_context_vectors_are_trained(backbone: Backbone, images: Tensor) -> None:
    before = [parameter.clone() for parameter in backbone._model.parameters()]
    train(backbone, images, LABELS, NAMES, PARAMS)
    assert all(torch.equal(old, new) for old, new in zip(before, backbone._model.parameters(), strict=True))


@pytest.mark.parametrize("done", [1, 3])
def test_resumed_training_gives_the_vectors_of_an_uninterrupted_one(
    backbone: Backbone, images: Tensor, done: int
) -> None:
    source = image_features(backbone, images, PARAMS)
    states = list(train_epochs(backbone, source, LABELS, NAMES, PARAMS))
    saved = TrainerState.from_bytes(states[done - 1].to_bytes())
    *_, last = train_epochs(backbone, source, LABELS, NAMES, PARAMS, resume=saved)
    assert last.epoch == 4
    assert torch.equal(last.vectors, states[-1].vectors)
    assert torch.equal(last.momentum, states[-1].momentum)


def test_a_finished_training_is_resumed_without_another_step(backbone: Backbone, images: Tensor) -> None:
    *_, last = train_epochs(backbone, image_features(backbone, images, PARAMS), LABELS, NAMES, PARAMS)
    resumed = train(backbone, images, LABELS, NAMES, PARAMS, resume=last)
    assert torch.equal(resumed.vectors, last.vectors)


def test_foreign_bytes_are_no_trainer_state() -> None:
    with pytest.raises(Rejected) as caught:
        TrainerState.from_bytes(b"not safetensors")
    assert caught.value.code == "invalid_checkpoint"


def test_two_steps_are_those_of_sgd_with_momentum_written_out(backbone: Backbone) -> None:
    params = FewShotParams(epochs=2, n_ctx=3, warmup_lr=0.01, lr=0.5, batch_size=4)
    features, labels = torch.randn(4, backbone.embed_dim, generator=torch.Generator().manual_seed(0)), LABELS[:4]
    context = random_context(backbone, 2, params)
    vectors, buffer = context.vectors, torch.zeros(())
    for rate in (0.01, 0.5):
        leaf = vectors.clone().requires_grad_(True)
        texts = text_features(backbone, NAMES, replace(context, vectors=leaf))
        loss = F.cross_entropy(backbone.logit_scale * F.normalize(features, dim=-1) @ texts.T, labels)
        (gradient,) = torch.autograd.grad(loss, leaf)
        buffer = 0.9 * buffer + gradient + 5e-4 * vectors
        vectors = vectors - rate * buffer
    *_, state = train_epochs(backbone, lambda indices, _: features[indices], labels, NAMES, params)
    torch.testing.assert_close(state.vectors, vectors, atol=1e-5, rtol=1e-4)


def test_noise_has_one_of_the_sigmas_per_image_and_is_not_clipped(
    backbone: Backbone, encoded: Iterator[list[Tensor]]
) -> None:
    params = replace(PARAMS, sigmas=(0.1, 0.4, 1.0))
    source = image_features(backbone, torch.full((64, 3, 32, 32), 0.5), params)
    source(torch.arange(64), torch.Generator().manual_seed(0))
    (seen,) = encoded
    # Each estimate rests on 3,072 draws: 10% is 7.8 standard errors; a sigma missing among 64 images: 3 · (2/3)^64.
    estimates = (seen[0] - 0.5).pow(2).mean(dim=(1, 2, 3)).sqrt()
    nearest = {min(params.sigmas, key=lambda sigma: abs(math.log(sigma / e))) for e in estimates.tolist()}
    assert nearest == set(params.sigmas)
    assert all(min(abs(e / sigma - 1) for sigma in params.sigmas) < 0.1 for e in estimates.tolist())
    assert float(seen[0].min()) < 0
    assert float(seen[0].max()) > 1


def test_every_epoch_shows_each_image_under_another_acquisition(
    backbone: Backbone, images: Tensor, encoded: Iterator[list[Tensor]]
) -> None:
    (seen,) = encoded
    params = replace(PARAMS, sigmas=(), acquisition=AcquisitionRanges(changed=1.0))
    source = image_features(backbone, images, params)
    for epoch in range(2):
        source(torch.arange(8), seeded(0, "epoch", epoch))
    first, second = seen
    assert not (first == second).flatten(1).all(dim=1).any()
    assert not (first == images[:8]).flatten(1).all(dim=1).any()


def test_noise_is_added_to_the_changed_image(
    backbone: Backbone, images: Tensor, encoded: Iterator[list[Tensor]]
) -> None:
    (seen,) = encoded
    params = replace(PARAMS, sigmas=(0.5,), acquisition=AcquisitionRanges())
    image_features(backbone, images, params)(torch.arange(8), seeded(0, "epoch", 0))
    generator = seeded(0, "epoch", 0)
    changed = change_acquisition(images[:8], AcquisitionRanges(), generator)
    # The draw of the level comes before the noise.
    torch.randint(1, (8, 1, 1, 1), generator=generator)
    assert torch.equal(seen[0], changed + 0.5 * torch.randn(changed.shape, generator=generator))


def test_without_sigmas_clean_images_are_encoded_once(
    backbone: Backbone, images: Tensor, encoded: Iterator[list[Tensor]]
) -> None:
    params = replace(PARAMS, sigmas=())
    train(backbone, images, LABELS, NAMES, params)
    (seen,) = encoded
    assert torch.equal(torch.cat(seen), images[sample_shots(LABELS, 2, params.shots, params.seed)])


@pytest.mark.parametrize(("n_items", "n_batches"), [(40, 2), (16, 1), (10, 1)])
def test_a_last_batch_is_dropped_unless_it_is_the_only_one(backbone: Backbone, n_items: int, n_batches: int) -> None:
    sizes: list[int] = []

    def source(indices: Tensor, _: torch.Generator) -> Tensor:
        sizes.append(len(indices))
        return torch.ones(len(indices), backbone.embed_dim)

    params = replace(PARAMS, epochs=1, batch_size=16)
    list(train_epochs(backbone, source, LABELS[:n_items], NAMES, params))
    assert sizes == [min(16, n_items)] * n_batches


def test_shots_are_drawn_per_class_and_all_of_a_small_class() -> None:
    labels = torch.tensor([0] * 3 + [1] * 50 + [2] * 50)
    chosen = sample_shots(labels, 3, 16, 0)
    assert torch.bincount(labels[chosen]).tolist() == [3, 16, 16]
    assert len(set(chosen.tolist())) == 35
    assert not torch.equal(chosen, sample_shots(labels, 3, 16, 1))


@pytest.mark.parametrize("labels", [[0, 0], [0, 1, 2], [0, 2]])
def test_labels_that_are_not_those_of_the_classes_are_refused(labels: list[int]) -> None:
    with pytest.raises(ValueError, match="each of 2 classes"):
        sample_shots(torch.tensor(labels), 2, 16, 0)


def test_images_of_another_size_than_the_backbone_takes_are_refused(backbone: Backbone) -> None:
    with pytest.raises(ValueError, match=r"\(N, 3, 32, 32\)"):
        train(backbone, torch.zeros(2, 3, 64, 64), torch.tensor([0, 1]), NAMES, PARAMS)


@pytest.mark.parametrize("changes", [{"shots": 0}, {"lr": math.nan}, {"sigmas": (0.0,)}, {"epochs": 0}])
def test_parameters_out_of_range_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="must be"):
        FewShotParams(**changes)


def test_class_specific_training_gives_every_class_its_own_vectors(backbone: Backbone, images: Tensor) -> None:
    params = replace(PARAMS, class_specific=True, position="middle", epochs=2)
    context = train(backbone, images, LABELS, NAMES, params)
    assert context.vectors.shape == (2, 3, backbone.text_width)
    assert context.position == "middle"


def test_augmentation_follows_its_generator_and_keeps_range_and_shape(images: Tensor) -> None:
    first, again, other = (crop_and_flip(images, seeded(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == images.shape
    assert 0 <= float(first.min()) <= float(first.max()) <= 1


def test_augmentation_mirrors_about_half_of_the_images() -> None:
    ramp = torch.linspace(0, 1, 32).expand(200, 3, 32, 32)
    cropped = crop_and_flip(ramp, seeded(0))
    mirrored = int((cropped[..., -1].mean(dim=(1, 2)) < cropped[..., 0].mean(dim=(1, 2))).sum())
    assert 65 <= mirrored <= 135  # binomial(200, 1/2): outside with probability 5e-7


def test_augmented_training_meets_cropped_images(
    backbone: Backbone, images: Tensor, encoded: Iterator[list[Tensor]]
) -> None:
    train(backbone, images, LABELS, NAMES, replace(PARAMS, sigmas=(), augment=True, epochs=1))
    (seen,) = encoded
    assert not any(bool((batch == image).all()) for batch in torch.cat(seen) for image in images)
