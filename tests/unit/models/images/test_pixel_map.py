"""Noise on a rendered image: the map to the model input lies in the classifier, and the radius is one on the image."""

from dataclasses import replace
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from certrad.models.images.model_input import fitted
from certrad.models.images.pixel_map import PixelMap
from certrad.models.images.resize import AxisResize
from certrad.models.smoothing import Noise, NoisySampler, Stream, certify
from certrad.models.smoothing.device_noise import DeviceNoise
from certrad.models.types import Certificate, NoiseLaw, SmoothingParams
from certrad.models.types.cards import Fit
from certrad.models.types.noise_space import ImageMap
from certrad.models.types.total_variation import most_values, total_variation
from tests.support.host_copies import HostCopies

CPU = torch.device("cpu")
KEY = bytes(range(32))
SHAPES: list[tuple[int, int, int, Fit]] = [
    (20, 33, 1, "crop"),
    (70, 41, 3, "crop"),
    (32, 32, 1, "crop"),
    (60, 25, 3, "pad"),
    (12, 30, 1, "pad"),
]


def mapped(height: int, width: int, channels: int, fit: Fit, size: int = 32) -> tuple[PixelMap, NDArray[np.float64]]:
    """A map, and an image of the part that it reads."""
    vertical, horizontal = (
        AxisResize.to_centre(n, size * n // min(height, width), size)
        if fit == "crop"
        else AxisResize.padded(n, max(height, width, size), size)
        for n in (height, width)
    )
    rows, columns = len(vertical.samples), len(horizontal.samples)
    part = ImageMap(
        rows=rows, columns=columns, channels=1 if channels == 1 else 3, of_rows=height, of_columns=width, fit=fit
    )
    whole = np.random.default_rng(1).uniform(0.4, 0.62, (channels, height, width))
    read = whole[:, vertical.samples.start : vertical.samples.stop, horizontal.samples.start : horizontal.samples.stop]
    return PixelMap.of(part, size), np.ascontiguousarray(read)


class HalfSpaces:
    """Two classes on either side of a hyperplane through the grey image 1/2; the logits say how far."""

    def __init__(self, size: int) -> None:
        self.input_shape = (3, size, size)
        self.n_classes = 2
        self.device = CPU
        self.normal = torch.from_numpy(np.random.default_rng(0).standard_normal(self.input_shape)).float() + 1

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        distance = ((pixels - 0.5) * self.normal).flatten(1).sum(dim=1)
        return torch.stack([distance, -distance], dim=1)


@pytest.mark.parametrize(("height", "width", "channels", "fit"), SHAPES)
def test_image_within_the_clips_gets_its_own_model_input(height: int, width: int, channels: int, fit: Fit) -> None:
    whole = np.random.default_rng(1).uniform(0.4, 0.62, (channels, height, width))
    pixel_map, read = mapped(height, width, channels, fit)
    expected = fitted(whole.transpose(1, 2, 0), 32, fit).pixels
    np.testing.assert_allclose(np.clip(pixel_map.of_array(read.astype(np.float32)), 0, 1), expected, atol=1e-6)


@pytest.mark.parametrize(("height", "width", "channels", "fit"), SHAPES)
def test_array_and_tensor_have_the_same_bytes(height: int, width: int, channels: int, fit: Fit) -> None:
    pixel_map, read = mapped(height, width, channels, fit)
    noisy = read.astype(np.float32) + np.float32(3) * np.random.default_rng(2).standard_normal(read.shape, np.float32)
    batch = torch.from_numpy(np.stack([read.astype(np.float32), noisy]))
    assert pixel_map.of_tensor(batch)[1].numpy().tobytes() == pixel_map.of_array(noisy).tobytes()


def test_noise_is_not_clipped() -> None:
    pixel_map, read = mapped(20, 33, 1, "crop")
    assert pixel_map.of_array(np.full(read.shape, 7, np.float32)).max() == pytest.approx(7)


@pytest.mark.parametrize("law", get_args(NoiseLaw))
def test_sampler_maps_the_noisy_image_of_every_law(law: NoiseLaw) -> None:
    pixel_map, read = mapped(20, 33, 1, "crop")
    of_image = NoisySampler(image=read, sigma=0.3, noise=Noise(KEY, law), batch_size=4, device=CPU)
    of_input = replace(of_image, pixel_map=pixel_map)
    expected = [pixel_map.of_array(each.numpy()) for each in of_image.batch(Stream.ESTIMATE, 4)]
    assert of_input.input_shape == (3, 32, 32)
    assert np.array_equal(of_input.batch(Stream.ESTIMATE, 4).numpy(), np.stack(expected))
    assert np.array_equal(next(iter(of_input.batches(Stream.ESTIMATE, [4])))[1].numpy(), np.stack(expected))


def test_large_images_of_a_batch_are_drawn_on_a_device_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    pixel_map, read = mapped(20, 33, 1, "crop")
    noise = Noise(KEY, "philox-boxmuller-f64")
    sampler = NoisySampler(image=read, sigma=0.3, noise=noise, batch_size=5, device=CPU, pixel_map=pixel_map)
    at_once = sampler.batch(Stream.ESTIMATE, 0)
    monkeypatch.setattr("certrad.models.smoothing.sampling._VALUES_AT_ONCE", 2 * read.size)
    assert torch.equal(sampler.batch(Stream.ESTIMATE, 0), at_once)


@pytest.mark.parametrize(("height", "width", "channels", "fit"), [(16, 24, 1, "crop"), (60, 60, 3, "crop")])
def test_radius_is_one_on_the_image_itself(height: int, width: int, channels: int, fit: Fit) -> None:
    """The class changes at the distance of the hyperplane of f(T u), which the certificate comes near from below."""
    base = HalfSpaces(32)
    pixel_map, read = mapped(height, width, channels, fit)
    u = torch.from_numpy(read).float()[None].requires_grad_()
    margin = base.logits(pixel_map.of_tensor(u))[0, 0]
    (gradient,) = torch.autograd.grad(margin, u)
    distance = float(margin.detach().abs() / gradient.norm())
    params = SmoothingParams(sigma=min(2.0, distance), n=2000)
    outcome = certify(read, base, params, key=bytes(32), pixel_map=pixel_map).outcome
    assert isinstance(outcome, Certificate)
    assert outcome.class_index == int(margin.item() < 0)
    assert 0.8 * distance < outcome.radius < distance


def test_part_that_the_map_does_not_read_is_refused() -> None:
    part = ImageMap(rows=20, columns=20, channels=1, of_rows=20, of_columns=33, fit="crop")
    with pytest.raises(ValueError, match="made of 20 x 23 pixels, got 20 x 20"):
        PixelMap.of(part, 32)


def test_classifier_of_another_input_is_refused() -> None:
    pixel_map, read = mapped(20, 33, 1, "crop")
    with pytest.raises(ValueError, match=r"shape \(3, 16, 16\), got \(3, 32, 32\)"):
        certify(read, HalfSpaces(16), SmoothingParams(), pixel_map=pixel_map)


@pytest.mark.parametrize("sigma", [0.02, 0.25, 1.0, 2.0])
def test_most_values_are_those_that_eta_pays_for_under_every_law(sigma: float) -> None:
    most = most_values(sigma)
    assert all(total_variation(law, sigma, most) <= 1e-6 for law in get_args(NoiseLaw))
    assert any(total_variation(law, sigma, most + 1) > 1e-6 for law in get_args(NoiseLaw))


def test_mapping_a_second_batch_on_a_device_moves_nothing_there() -> None:
    pixel_map, read = mapped(20, 33, 1, "crop")
    image = torch.from_numpy(read).to("meta")
    noise = DeviceNoise(noise=Noise(KEY, "philox-boxmuller-f64"), image=image, sigma=0.3, fused=None)
    pixel_map.of_tensor(noise.pixels(Stream.ESTIMATE, range(4)))
    with HostCopies() as copies:
        mapped_batch = pixel_map.of_tensor(noise.pixels(Stream.ESTIMATE, range(4, 8)))
    assert mapped_batch.shape == (4, 3, 32, 32)
    assert copies.found == []


def test_what_the_map_reads_on_a_device_is_there_before_the_first_batch() -> None:
    pixel_map, read = mapped(20, 33, 1, "crop")
    pixel_map.tensors(torch.device("meta"))
    with HostCopies() as copies:
        pixel_map.of_tensor(torch.empty((4, *read.shape), device="meta"))
    assert copies.found == []
