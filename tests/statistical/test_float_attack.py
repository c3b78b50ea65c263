"""Low-order bits must not carry the image past the noise (Voracek & Hein 2023)."""

from dataclasses import dataclass, field
from typing import get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, Stream, estimate, select
from certrad.models.types import Certificate, NoiseLaw, Outcome, SmoothingParams

KEY = bytes(range(32))
LAWS: tuple[NoiseLaw, ...] = get_args(NoiseLaw)
CPU = torch.device("cpu")


class Float32Sampler(NoisySampler):
    """Noise added the way the papers' code does it: in float32, not rounded."""

    def batch(self, stream: Stream, start: int) -> torch.Tensor:
        rows = [
            self.image.astype(np.float32)
            + np.float32(self.sigma) * self.noise.standard_normal(stream, index, self.image.shape).astype(np.float32)
            for index in range(start, start + self.batch_size)
        ]
        return torch.from_numpy(np.stack(rows))


@dataclass(frozen=True, slots=True, kw_only=True)
class LowBitReader:
    """Class 1 if z - a + a gives z back in float32, as it always does for z = a + noise, whatever the noise."""

    a: float
    input_shape: tuple[int, int, int] = (1, 1, 1)
    n_classes: int = 2
    device: torch.device = field(default_factory=lambda: CPU)

    def logits(self, pixels: torch.Tensor) -> torch.Tensor:
        z, a = pixels[:, 0, 0, 0], torch.tensor(self.a, dtype=torch.float32)
        return torch.nn.functional.one_hot(((z - a) + a == z).long(), 2).float()


A, B, SIGMA = 210 / 255, 0.0, 0.5
DISTANCE = A - B


def outcome_at(x: float, kind: type[NoisySampler], law: NoiseLaw) -> Outcome:
    params, reader = SmoothingParams(sigma=SIGMA), LowBitReader(a=A)
    sampler = kind(image=np.full((1, 1, 1), x), sigma=SIGMA, noise=Noise(KEY, law), batch_size=500, device=CPU)
    return estimate(sampler, reader, params, select(sampler, reader, params), MemoryBlocks()).outcome


def test_float32_noise_gives_two_contradictory_certificates() -> None:
    at_a, at_b = outcome_at(A, Float32Sampler, LAWS[0]), outcome_at(B, Float32Sampler, LAWS[0])
    assert isinstance(at_a, Certificate)
    assert isinstance(at_b, Certificate)
    assert at_a.class_index != at_b.class_index
    assert at_a.radius > DISTANCE


@pytest.mark.parametrize("law", LAWS)
def test_rounding_after_adding_certifies_no_further_than_the_class_holds(law: NoiseLaw) -> None:
    at_a, at_b = outcome_at(A, NoisySampler, law), outcome_at(B, NoisySampler, law)
    assert isinstance(at_a, Certificate)
    assert at_a.radius < DISTANCE
    if isinstance(at_b, Certificate) and at_b.class_index != at_a.class_index:
        assert at_b.radius < DISTANCE


# -- the order of rounding and adding --------------------------------------------------------------------------------

SHAPE = (3, 64, 64)
JUST_BELOW, JUST_ABOVE = (np.full(SHAPE, (100.5 + side * 1e-6) / 255) for side in (-1, 1))


def share_above_threshold(z: NDArray[np.float32]) -> float:
    """P(mean of the pixels > 100.5 / 255): without noise, the class of JUST_ABOVE and not of JUST_BELOW."""
    return float((z.mean(axis=(1, 2, 3), dtype=np.float64) > 100.5 / 255).mean())


@pytest.mark.parametrize("law", LAWS)
def test_two_images_at_distance_1e_minus_6_look_alike_under_noise(law: NoiseLaw) -> None:
    below, above = (
        share_above_threshold(
            NoisySampler(image=image, sigma=0.05, noise=Noise(key, law), batch_size=200, device=CPU)
            .batch(Stream.ESTIMATE, 0)
            .numpy()
        )
        for image, key in ((JUST_BELOW, KEY), (JUST_ABOVE, KEY[::-1]))
    )
    # the difference of two shares of 200 has a standard deviation of at most 0.05; 5 of them: probability 6e-7
    assert abs(above - below) < 5 * 0.05


def test_rounding_before_adding_tells_the_two_images_apart() -> None:
    noise = Noise(KEY)
    shares = [
        share_above_threshold(
            np.stack(
                [
                    np.rint(image * 255) / 255 + 0.05 * noise.standard_normal(Stream.ESTIMATE, index, SHAPE)
                    for index in range(100)
                ]
            )
        )
        for image in (JUST_BELOW, JUST_ABOVE)
    ]
    assert shares == [0.0, 1.0]


# -- arithmetic ------------------------------------------------------------------------------------------------------

WIDE = (3, 224, 224)


def exact_grid(x: NDArray[np.float64], eps: NDArray[np.float64]) -> NDArray[np.longdouble]:
    rounded: NDArray[np.longdouble] = np.rint((x.astype(np.longdouble) + np.longdouble(0.25) * eps) * 255)
    return rounded


@pytest.mark.parametrize(("law", "rows"), list(zip(LAWS, (67, 7, 7), strict=True)))
def test_1e7_and_1e6_coordinates_equal_those_in_long_double(law: NoiseLaw, rows: int) -> None:
    x, noise = np.random.default_rng(1).random(WIDE), Noise(KEY, law)
    sampler = NoisySampler(image=x, sigma=0.25, noise=noise, batch_size=rows, device=CPU)
    batch = sampler.batch(Stream.ESTIMATE, 0).numpy()
    mismatches = sum(
        np.count_nonzero(
            np.rint(row.astype(np.float64) * 255) != exact_grid(x, noise.standard_normal(Stream.ESTIMATE, index, WIDE))
        )
        for index, row in enumerate(batch)
    )
    assert mismatches == 0


def test_a_float32_sum_rounds_elsewhere_than_long_double() -> None:
    x, noise = np.random.default_rng(1).random(WIDE), Noise(KEY)
    mismatches = 0
    for index in range(10):
        eps = noise.standard_normal(Stream.ESTIMATE, index, WIDE)
        in_float32 = np.rint((x.astype(np.float32) + np.float32(0.25) * eps.astype(np.float32)) * np.float32(255))
        mismatches += int(np.count_nonzero(in_float32 != exact_grid(x, eps)))
    assert mismatches > 3
