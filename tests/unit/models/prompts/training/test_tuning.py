"""Tuning in steps chooses images by its seed, ends alike after any interruption, and says so in its card."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from certrad.models.backbones.base import Backbone
from certrad.models.classifier import VisionLanguageClassifier
from certrad.models.errors import Rejected
from certrad.models.prompts.context import text_features
from certrad.models.prompts.training.acquisition import AcquisitionRanges
from certrad.models.prompts.training.embedding_bank import embedding_bank
from certrad.models.prompts.training.image_choice import VALIDATION_PER_CLASS, choose_images
from certrad.models.prompts.training.trainer_state import TrainerState
from certrad.models.prompts.training.tuning import (
    TunedPrompt,
    TuningSet,
    attack_params,
    bank_rows,
    bank_starts,
    finish,
    require_fit,
    trainer_params,
    tune_epochs,
)
from certrad.models.prompts.training.validation import MeasuredSoFar
from certrad.models.types.tuning import TuningMethod, TuningParams
from tests.support import tiny_clip

NAMES = ("adipose tissue", "mucus")
METHODS: tuple[TuningMethod, ...] = ("few_shot", "coop", "advpt")


def small(method: TuningMethod, **changes: object) -> TuningParams:
    options = {"shots": 4, "epochs": 3, "batch_size": 4, "n_ctx": 2, "lr": 0.05, **changes}
    return replace(TuningParams.published(method), **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return tiny_clip.tiny_backbone(tmp_path_factory.mktemp("tiny"))


def pictures(n_images: int, seed: int) -> tuple[Tensor, Tensor]:
    labels = torch.arange(n_images) % 2
    noise = torch.rand(n_images, 3, 32, 32, generator=torch.Generator().manual_seed(seed)) * 0.3
    return noise + 0.6 * labels.view(-1, 1, 1, 1), labels


@pytest.fixture(scope="module")
def data() -> TuningSet:
    (images, labels), (others, of_others) = pictures(8, seed=0), pictures(6, seed=1)
    return TuningSet(images=images, labels=labels, validation_images=others, validation_labels=of_others)


def bank_of(backbone: Backbone, data: TuningSet, params: TuningParams) -> Tensor | None:
    if params.method != "advpt":
        return None
    return torch.cat([bank_rows(backbone, data, params, start) for start in bank_starts(len(data.images))])


def states(
    backbone: Backbone, data: TuningSet, params: TuningParams, resume: TrainerState | None = None
) -> list[TrainerState]:
    bank = bank_of(backbone, data, params)
    return list(tune_epochs(backbone, data, NAMES, params, bank=bank, resume=resume))


def tuned(backbone: Backbone, data: TuningSet, params: TuningParams) -> TunedPrompt:
    every = states(backbone, data, params)
    return finish(backbone, data, NAMES, params, every[-1], [state.loss for state in every])


# -- which images ---------------------------------------------------------------------------------------------------


def test_the_shots_of_each_class_are_chosen_and_the_rest_of_it_validates() -> None:
    labels = [0] * 5 + [1] * 70
    chosen = choose_images(labels, NAMES, small("coop", shots=4))
    assert [labels[index] for index in chosen.training] == [0] * 4 + [1] * 4
    assert [labels[index] for index in chosen.validation] == [0] + [1] * VALIDATION_PER_CLASS
    assert len({*chosen.training, *chosen.validation}) == 8 + 1 + VALIDATION_PER_CLASS


def test_the_choice_depends_on_the_seed_and_not_on_the_other_classes() -> None:
    labels = [0] * 40 + [1] * 40
    params = small("coop")
    assert choose_images(labels, NAMES, params) == choose_images(labels, NAMES, params)
    assert choose_images(labels, NAMES, params) != choose_images(labels, NAMES, replace(params, seed=1))
    fewer = choose_images(labels[:-10], NAMES, params)
    assert fewer.training[:4] == choose_images(labels, NAMES, params).training[:4]


def test_every_place_is_chosen_about_equally_often() -> None:
    times = torch.zeros(10)
    for seed in range(400):
        times[list(choose_images([0] * 10 + [1], NAMES, small("coop", shots=1, seed=seed)).training[:1])] += 1
    # 400 draws of 1 in 10: below 5 or above 90 has a probability under 1e-9 at each of the ten places.
    assert times.min() >= 5
    assert times.max() <= 90


def test_without_a_number_of_shots_every_image_is_for_tuning() -> None:
    chosen = choose_images([0, 0, 1], NAMES, small("advpt", shots=None))
    assert (sorted(chosen.training), chosen.validation) == ([0, 1, 2], ())


@pytest.mark.parametrize(
    ("labels", "shots", "found"),
    [([0] * 4 + [1] * 3, 4, "'mucus' needs 4 images .*, got 3"), ([0], None, "'mucus' needs at least 1 image, got 0")],
)
def test_too_few_images_name_their_class(labels: Sequence[int], shots: int | None, found: str) -> None:
    with pytest.raises(Rejected, match=found) as refusal:
        choose_images(labels, NAMES, small("coop", shots=shots))
    assert refusal.value.code == "too_few_images"


# -- what a seed fixes ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_one_seed_gives_one_prompt_and_another_seed_another(
    backbone: Backbone, data: TuningSet, method: TuningMethod
) -> None:
    first, second, other = (tuned(backbone, data, small(method, seed=seed)) for seed in (0, 0, 1))
    assert torch.equal(first.context.vectors, second.context.vectors)
    assert (first.tuning, first.measured) == (second.tuning, second.measured)
    assert not torch.equal(first.context.vectors, other.context.vectors)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("done", [1, 2, 3])
def test_a_tuning_resumed_after_any_epoch_ends_the_same(
    backbone: Backbone, data: TuningSet, method: TuningMethod, done: int
) -> None:
    params = small(method)
    whole = states(backbone, data, params)
    stored = TrainerState.from_bytes(whole[done - 1].to_bytes())
    resumed = states(backbone, data, params, resume=stored)
    assert [state.epoch for state in resumed] == list(range(done, 4))
    assert [state.loss for state in resumed] == [state.loss for state in whole[done - 1 :]]
    assert torch.equal(resumed[-1].vectors, whole[-1].vectors)


class SlicedError(Exception):
    """The end of a slice, with the state that is kept."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self.content = content


def slice_after(batches: int) -> Callable[[Any], None]:
    """Returns a function that stops a tuning or a measurement before the batch that follows so many others."""
    left = iter(range(batches))

    def before_batch(state: Any) -> None:
        if next(left, None) is None:
            raise SlicedError((state if isinstance(state, MeasuredSoFar) else state()).to_bytes())

    return before_batch


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("batches", [1, 2, 3])
def test_a_tuning_cut_into_slices_of_some_batches_ends_the_same(
    backbone: Backbone, data: TuningSet, method: TuningMethod, batches: int
) -> None:
    params, bank = small(method), bank_of(backbone, data, small(method))
    whole = states(backbone, data, params)
    last, slices, losses = None, 0, dict[int, float]()
    while last is None or last.epoch < params.epochs:
        try:
            for state in tune_epochs(
                backbone, data, NAMES, params, bank=bank, resume=last, on_batch=slice_after(batches)
            ):
                last, losses[state.epoch] = state, state.loss
        except SlicedError as sliced:
            last, slices = TrainerState.from_bytes(sliced.content), slices + 1
    assert slices >= params.epochs * len(data.images) // params.batch_size // batches - 1
    assert torch.equal(last.vectors, whole[-1].vectors)
    assert [losses[state.epoch] for state in whole] == [state.loss for state in whole]


def test_changes_of_acquisition_cut_into_slices_end_the_same(backbone: Backbone, data: TuningSet) -> None:
    params = small("few_shot", acquisition="radiology")
    whole = states(backbone, data, params)
    last, slices = None, 0
    while last is None or last.epoch < params.epochs:
        try:
            for state in tune_epochs(backbone, data, NAMES, params, resume=last, on_batch=slice_after(1)):
                last = state
        except SlicedError as sliced:
            last, slices = TrainerState.from_bytes(sliced.content), slices + 1
    assert slices >= 4
    assert torch.equal(last.vectors, whole[-1].vectors)


def test_changes_of_acquisition_make_another_prompt_and_stand_on_its_card(backbone: Backbone, data: TuningSet) -> None:
    plain, varied = (tuned(backbone, data, small("few_shot", acquisition=name)) for name in ("none", "radiology"))
    assert not torch.equal(plain.context.vectors, varied.context.vectors)
    assert plain.tuning["acquisition"] is None
    assert varied.tuning["acquisition"] == asdict(AcquisitionRanges())


def test_a_measurement_cut_into_slices_finds_the_same(backbone: Backbone, data: TuningSet) -> None:
    images, truth = pictures(70, seed=3)
    others = replace(data, validation_images=images, validation_labels=truth)
    params = small("few_shot")
    every = states(backbone, others, params)
    losses = [state.loss for state in every]
    resume, slices, measured = None, 0, None
    while measured is None:
        try:
            measured = finish(
                backbone, others, NAMES, params, every[-1], losses, resume=resume, on_batch=slice_after(1)
            ).measured
        except SlicedError as sliced:
            resume, slices = MeasuredSoFar.from_bytes(sliced.content), slices + 1
    assert slices == 3 * (1 + len(params.sigmas)) - 1
    assert measured == finish(backbone, others, NAMES, params, every[-1], losses).measured


@pytest.mark.parametrize("content", [b"", b"x" * 100, TrainerState.to_bytes])
def test_what_is_no_measurement_is_refused(backbone: Backbone, data: TuningSet, content: Any) -> None:
    stored = content if isinstance(content, bytes) else content(states(backbone, data, small("coop"))[0])
    with pytest.raises(Rejected) as refusal:
        MeasuredSoFar.from_bytes(stored)
    assert refusal.value.code == "invalid_checkpoint"


def test_a_bank_made_in_pieces_is_the_bank(backbone: Backbone) -> None:
    images, labels = pictures(70, seed=2)
    data = TuningSet(images=images, labels=labels, validation_images=images[:0], validation_labels=labels[:0])
    params = small("advpt")
    pieces = {start: bank_rows(backbone, data, params, start) for start in reversed(bank_starts(70))}
    whole = embedding_bank(backbone, images, attack_params(params))
    assert torch.equal(torch.cat([pieces[start] for start in bank_starts(70)]), whole)


def test_what_is_raised_before_a_batch_stops_the_tuning(backbone: Backbone, data: TuningSet) -> None:
    calls = iter(range(100))

    def stop_in_the_second_epoch(_: object) -> None:
        if next(calls) == 3:
            raise InterruptedError

    epochs = tune_epochs(backbone, data, NAMES, small("few_shot"), on_batch=stop_in_the_second_epoch)
    assert next(epochs).epoch == 1
    with pytest.raises(InterruptedError):
        next(epochs)


# -- what is tuned on what ------------------------------------------------------------------------------------------


def test_only_coop_is_augmented_and_only_few_shot_is_noisy() -> None:
    of = {method: trainer_params(TuningParams.published(method)) for method in METHODS}
    assert [of[method].augment for method in METHODS] == [False, True, False]
    assert [bool(of[method].sigmas) for method in METHODS] == [True, False, False]


def test_the_trainer_gets_every_hyper_parameter() -> None:
    params = TuningParams(
        method="few_shot",
        shots=3,
        epochs=7,
        lr=0.3,
        batch_size=5,
        n_ctx=6,
        sigmas=(0.4,),
        class_specific=True,
        position="middle",
        seed=8,
    )
    trainer = trainer_params(params)
    names = ("epochs", "lr", "batch_size", "n_ctx", "sigmas", "class_specific", "position", "seed")
    assert [getattr(trainer, name) for name in names] == [getattr(params, name) for name in names]


@pytest.mark.parametrize("method", METHODS)
def test_a_bank_goes_with_advpt_and_with_nothing_else(
    backbone: Backbone, data: TuningSet, method: TuningMethod
) -> None:
    wrong = None if method == "advpt" else torch.zeros(8, 16)
    with pytest.raises(ValueError, match="a bank of all images"):
        next(tune_epochs(backbone, data, NAMES, small(method), bank=wrong))


def test_class_specific_vectors_keep_their_place_in_the_prompt(backbone: Backbone, data: TuningSet) -> None:
    context = tuned(backbone, data, small("coop", epochs=1, class_specific=True, position="front")).context
    assert (tuple(context.vectors.shape), context.position) == ((2, 2, tiny_clip.WIDTH), "front")


def test_a_prompt_that_cannot_be_laid_out_is_refused_before_encoding(backbone: Backbone) -> None:
    with pytest.raises(Rejected, match="prompt_too_long"):
        require_fit(backbone, ("one word " * 10, "mucus"), small("coop", n_ctx=64))
    require_fit(backbone, NAMES, small("coop", n_ctx=64))


# -- the card -------------------------------------------------------------------------------------------------------


def test_the_card_says_how_it_was_tuned(backbone: Backbone, data: TuningSet) -> None:
    facts = tuned(backbone, data, small("advpt")).tuning
    assert (facts["shots"], facts["training_images"], facts["dtype"]) == (4, 8, "float32")
    assert facts["data_sha256"] == data.sha256
    assert len(facts["losses"]) == facts["epochs"] == 3
    assert (facts["attack"]["epsilon"], facts["attack"]["steps"]) == (8 / 255, 10)


def test_accuracy_is_of_the_validation_images_without_and_with_noise(backbone: Backbone, data: TuningSet) -> None:
    params = small("few_shot", sigmas=(0.1, 2.0))
    of = tuned(backbone, data, params)
    validation = of.measured["validation"]
    assert (validation["images"], validation["seed"]) == (6, 0)
    assert [level["sigma"] for level in validation["noisy_accuracy"]] == [0.1, 2.0]
    texts = text_features(backbone, NAMES, of.context)
    predicted = VisionLanguageClassifier(backbone, texts).logits(data.validation_images).argmax(dim=-1)
    share = float((predicted == data.validation_labels).float().mean())
    assert validation["clean_accuracy"] == pytest.approx(share, abs=1e-4)


def test_noisy_accuracy_is_of_noise_of_its_level(backbone: Backbone, data: TuningSet) -> None:
    seen: list[Tensor] = []

    class Spy:
        def __getattr__(self, name: str) -> object:
            return getattr(backbone, name)

        def encode_image(self, pixels: Tensor) -> Tensor:
            seen.append(pixels)
            return backbone.encode_image(pixels)

    params = small("few_shot", sigmas=(0.1, 2.0))
    every = states(backbone, data, params)
    finish(Spy(), data, NAMES, params, every[-1], [state.loss for state in every])  # type: ignore[arg-type]
    assert torch.equal(seen[0], data.validation_images)
    # 18,432 values: the sample deviation is within 4% of sigma except with a probability below 1e-13.
    for sigma, noisy in zip((0.1, 2.0), seen[1:], strict=True):
        assert float((noisy - data.validation_images).std()) == pytest.approx(sigma, rel=0.04)


def test_nothing_is_measured_where_no_image_is_left(backbone: Backbone, data: TuningSet) -> None:
    rest = replace(data, validation_images=data.images[:0], validation_labels=data.labels[:0])
    assert tuned(backbone, rest, small("coop", epochs=1)).measured == {}


def test_the_digest_of_the_data_tells_pixels_labels_and_order_apart(data: TuningSet) -> None:
    darker = data.images.clone()
    darker[-1, -1, -1, -1] = 0
    variants = [
        data,
        replace(data, images=darker),
        replace(data, labels=1 - data.labels),
        replace(data, images=data.images.flip(0)),
    ]
    assert len({variant.sha256 for variant in variants}) == len(variants)


def test_an_unfinished_tuning_is_not_measured(backbone: Backbone, data: TuningSet) -> None:
    params = small("coop")
    first = states(backbone, data, params)[0]
    with pytest.raises(ValueError, match="must end after 3 epochs"):
        finish(backbone, data, NAMES, params, first, [first.loss])


@pytest.mark.parametrize(
    ("labels", "side"), [(torch.zeros(7, dtype=torch.int64), 32), (torch.zeros(8, dtype=torch.int64), 31)]
)
def test_data_of_other_shapes_is_refused(data: TuningSet, labels: Tensor, side: int) -> None:
    with pytest.raises(ValueError, match=r"images must have|there must be"):
        replace(data, labels=labels, validation_images=torch.zeros(6, 3, side, side))
