"""Noisy batches are rounded and ordered as documented, and get one label for each sample."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from certrad.models.smoothing.noise import Noise, Stream
from certrad.models.smoothing.sampling import NoisySampler, count, labels
from certrad.models.types import LabelCounts, NoiseLaw

KEY = bytes(range(32))
LAWS: tuple[NoiseLaw, ...] = get_args(NoiseLaw)
IMAGE = np.random.default_rng(0).random((3, 9, 11))


def sampler(law: NoiseLaw = LAWS[0], *, image: NDArray[Any] = IMAGE, batch_size: int = 8) -> NoisySampler:
    noise = Noise(KEY, law)
    return NoisySampler(image=image, sigma=0.25, noise=noise, batch_size=batch_size, device=torch.device("cpu"))


def noise_threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("noise")]


# -- noisy pixels ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
def test_a_noisy_pixel_is_the_rounded_float64_sum_cast_last(law: NoiseLaw) -> None:
    batch = sampler(law).batch(Stream.ESTIMATE, 16)
    assert batch.shape == (8, 3, 9, 11)
    assert batch.dtype == torch.float32
    for row, index in zip(batch, range(16, 24), strict=True):
        eps = Noise(KEY, law).standard_normal(Stream.ESTIMATE, index, (3, 9, 11))
        assert np.array_equal(row.numpy(), (np.rint((IMAGE + 0.25 * eps) * 255) / 255).astype(np.float32))


def test_float32_division_is_the_float64_one_rounded_once_more() -> None:
    k = np.arange(-(2**20), 2**20)
    assert np.array_equal(k.astype(np.float32) / np.float32(255), (k / 255).astype(np.float32))
    on_torch = torch.from_numpy(k).to(torch.float32).div_(255)
    assert np.array_equal(on_torch.numpy(), (k / 255).astype(np.float32))


def test_noisy_pixels_are_not_clipped() -> None:
    batch = sampler().batch(Stream.ESTIMATE, 0)
    assert batch.min() < 0
    assert batch.max() > 1


@pytest.mark.parametrize("law", LAWS)
def test_the_layout_of_the_array_in_memory_is_irrelevant(law: NoiseLaw) -> None:
    turned = np.asfortranarray(IMAGE)[:, ::-1, :][:, ::-1, :]
    assert torch.equal(sampler(law, image=turned).batch(Stream.SELECT, 0), sampler(law).batch(Stream.SELECT, 0))


def test_a_read_only_float32_image_is_accepted_and_left_alone() -> None:
    image = IMAGE.astype(np.float32)
    image.flags.writeable = False
    batch = sampler(image=image).batch(Stream.SELECT, 0)
    exact = sampler(image=image.astype(np.float64)).batch(Stream.SELECT, 0)
    assert torch.equal(batch, exact)


# -- batches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", LAWS)
def test_batches_come_in_order_and_equal_the_single_ones(law: NoiseLaw) -> None:
    starts = [32, 0, 8, 16, 80]
    drawn = list(sampler(law).batches(Stream.SELECT, starts))
    assert [start for start, _ in drawn] == starts
    assert all(torch.equal(batch, sampler(law).batch(Stream.SELECT, start)) for start, batch in drawn)


def test_a_sample_is_the_same_in_batches_of_any_size() -> None:
    whole = sampler(batch_size=24).batch(Stream.SELECT, 0)
    parts = [batch for _, batch in sampler(batch_size=4).batches(Stream.SELECT, range(0, 24, 4))]
    assert torch.equal(torch.cat(parts), whole)


@pytest.mark.parametrize("start", [-8, 4, 9])
def test_an_unaligned_batch_is_refused(start: int) -> None:
    with pytest.raises(ValueError, match="multiple of the batch size"):
        sampler().batch(Stream.SELECT, start)


def test_no_batches_start_no_thread() -> None:
    assert list(sampler().batches(Stream.SELECT, [])) == []
    assert noise_threads() == []


def test_the_thread_is_gone_when_the_batches_are_exhausted() -> None:
    for _ in sampler().batches(Stream.SELECT, range(0, 80, 8)):
        assert noise_threads() != []
    assert noise_threads() == []


def test_stopping_early_leaves_no_thread() -> None:
    with closing(sampler().batches(Stream.SELECT, range(0, 8_000_000, 8))) as batches:
        next(batches)
        assert noise_threads() != []
    assert noise_threads() == []


def test_an_error_in_the_consumer_leaves_no_thread() -> None:
    def consume() -> None:
        with closing(sampler().batches(Stream.SELECT, range(0, 8_000_000, 8))) as batches:
            for _ in batches:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        consume()
    assert noise_threads() == []


def test_an_error_in_the_background_reaches_the_consumer() -> None:
    with pytest.raises(ValueError, match="multiple of the batch size"):
        list(sampler().batches(Stream.SELECT, [0, 8, 3]))
    assert noise_threads() == []


def test_only_a_bounded_number_of_batches_is_drawn_ahead() -> None:
    asked: list[int] = []

    def starts() -> Iterator[int]:
        for start in range(0, 800, 8):
            asked.append(start)
            yield start

    with closing(sampler().batches(Stream.SELECT, starts())) as batches:
        next(batches)
        next(batches)
    assert len(asked) == 4


# -- what a sampler refuses ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "image",
    [
        np.full((3, 2, 2), 1.0001),
        np.full((3, 2, 2), -0.0001),
        np.full((3, 2, 2), np.nan),
        np.full((3, 2, 2), np.inf),
        np.zeros((2, 2)),
        np.zeros((3, 2, 2), dtype=np.uint8),
        np.zeros((3, 2, 2), dtype=np.float16),
    ],
)
def test_an_image_that_is_not_float_pixels_in_the_unit_interval_is_refused(image: NDArray[Any]) -> None:
    with pytest.raises(ValueError, match="got"):
        sampler(image=image)


@pytest.mark.parametrize(("sigma", "batch_size"), [(0.0, 8), (-0.25, 8), (np.nan, 8), (np.inf, 8), (0.25, 0)])
def test_impossible_settings_are_refused(sigma: float, batch_size: int) -> None:
    with pytest.raises(ValueError, match=r"sigma|batch_size"):
        NoisySampler(image=IMAGE, sigma=sigma, noise=Noise(KEY), batch_size=batch_size, device=torch.device("cpu"))


def test_more_coordinates_than_eta_pays_for_are_refused() -> None:
    with pytest.raises(ValueError, match="away from Gaussian"):
        sampler("philox-boxmuller-f64", image=np.zeros((3, 1500, 1500)))


# -- labels ----------------------------------------------------------------------------------------------------------


def test_the_largest_logit_is_the_label() -> None:
    assert labels(torch.tensor([[0.0, 2.0, 1.0], [-1.0, -3.0, -2.0]])).tolist() == [1, 0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16])
def test_ties_go_to_the_lowest_index(dtype: torch.dtype) -> None:
    logits = torch.zeros((2, 7), dtype=dtype)
    logits[1, 3:] = 1
    assert labels(logits).tolist() == [0, 3]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("position", [0, 2])
def test_one_logit_that_is_not_finite_makes_the_sample_invalid(value: float, position: int) -> None:
    logits = torch.tensor([[0.0, 2.0, 1.0], [0.0, 2.0, 1.0]])
    logits[1, position] = value
    assert labels(logits).tolist() == [1, 3]


def test_labels_are_little_endian_16_bit() -> None:
    assert labels(torch.eye(1000)[[258]]).tobytes() == b"\x02\x01"


def test_count_puts_each_label_in_its_class() -> None:
    drawn = np.array([0, 2, 2, 3, 1, 2], dtype=np.uint16)
    assert count(drawn, 3) == LabelCounts(per_class=(1, 1, 3), invalid=1)


def test_classes_never_seen_are_counted_as_zero() -> None:
    assert count(np.zeros(0, dtype=np.uint16), 4) == LabelCounts(per_class=(0, 0, 0, 0))


def test_a_label_that_no_class_has_is_refused() -> None:
    with pytest.raises(ValueError, match=r"0\.\.3"):
        count(np.array([4], dtype=np.uint16), 3)
