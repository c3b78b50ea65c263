"""The executed procedure under noise on the window: how often its reach is too large, where the truth is known."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy import special, stats

from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, Stream
from certrad.models.smoothing.parameter_noise import DrawnWindow, WindowNoise
from certrad.models.smoothing.parameter_samples import ParameterRule, WindowSampler
from certrad.models.types import AlphaSplit
from certrad.models.types.parameters import ParameterSigma
from certrad.models.types.window_lattice import WindowCell

ALPHA: Final = 0.05
RUNS: Final = 200
N: Final = 64
BATCH: Final = 32
P_A: Final = 0.8
CENTRE: Final = 40.0
WIDTH: Final = 400.0
SIGMA: Final = ParameterSigma(window_centre=50.0, ln_window_width=0.2)
PIXEL_SIGMA: Final = 0.02
MOST: Final = int(stats.binom.isf(1e-6, RUNS, ALPHA))
"""More runs with too large a reach than this have probability below 10^-6 if each has at most ALPHA."""


def render(cell: WindowCell) -> NDArray[np.float32]:
    """An image whose first two values are centre and width of its window, in a twentieth of their noise."""
    centre = 0.5 + (cell.centre - CENTRE) / (20 * SIGMA.window_centre)
    width = 0.5 + math.log(cell.width / WIDTH) / (20 * SIGMA.ln_window_width)
    image: NDArray[np.float32] = np.clip(np.array([centre, width, 0.5]), 0, 1).astype(np.float32).reshape(3, 1, 1)
    return image


@dataclass(frozen=True, slots=True, kw_only=True)
class HalfSpace:
    """Class 0 on one side of a plane in window and pixels: its probability is P_A, and its true reach z(P_A)."""

    direction: tuple[float, float, float] = (0.6, -0.8, 3.0)
    input_shape: tuple[int, int, int] = (3, 1, 1)
    n_classes: int = 2
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """The signed distance from the plane, and its opposite."""
        a, b, c = self.direction
        spread = math.hypot(a, b, 20 * PIXEL_SIGMA * a, 20 * PIXEL_SIGMA * b, 20 * PIXEL_SIGMA * c)
        seen = 20 * (inputs.double().reshape(-1, 3) - 0.5)
        margin = special.ndtri(P_A) * spread - seen @ torch.tensor(self.direction, dtype=torch.float64)
        return torch.stack([margin, -margin], dim=1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OneWindowForABatch(WindowNoise):
    """The wrong implementation: all samples of a batch have the window of its first one."""

    def draw(self, stream: Stream, indices: range) -> Iterator[DrawnWindow]:
        """Yields one window again and again."""
        (first,) = WindowNoise.draw(self, stream, range(indices.start, indices.start + 1))
        for _ in indices:
            yield first


def reaches(noise_of: Callable[[Noise], WindowNoise]) -> list[float]:
    """The reach of every run, each with a key of its own."""
    rule = ParameterRule(class_index=0, n=N, split=AlphaSplit(p_a=ALPHA))
    pixels = NoisySampler(
        image=render(WindowCell(j=383, i=6)),
        sigma=PIXEL_SIGMA,
        noise=Noise(bytes(32)),
        batch_size=BATCH,
        device=torch.device("cpu"),
    )
    found = []
    for run in range(RUNS):
        noise = Noise(run.to_bytes(32, "little"))
        sampler = WindowSampler(pixels=replace(pixels, noise=noise), windows=noise_of(noise), render=render)
        found.append(rule.estimate(sampler, HalfSpace(), MemoryBlocks()).reach)
    return found


def test_reach_is_too_large_in_no_more_runs_than_alpha_allows() -> None:
    """More than `MOST` of 200 runs at alpha 0.05 have probability 10^-6; and some reaches are nearly exact."""
    truth = float(special.ndtri(P_A))
    found = reaches(lambda noise: WindowNoise(noise=noise, centre=CENTRE, width=WIDTH, sigma=SIGMA))
    assert sum(reach > truth for reach in found) <= MOST
    assert max(found) > 0.9 * truth


def test_one_window_for_a_batch_is_found() -> None:
    """The planted error: the labels of a batch are no longer independent, and the reach is too large far too often."""
    truth = float(special.ndtri(P_A))
    found = reaches(lambda noise: OneWindowForABatch(noise=noise, centre=CENTRE, width=WIDTH, sigma=SIGMA))
    assert sum(reach > truth for reach in found) > MOST


@pytest.mark.parametrize("part", [0.97, 1.03])
def test_attack_at_the_end_of_the_ellipsoid_finds_what_is_there(part: float) -> None:
    """Moving the window along the worst direction: the class leads just within its true reach, and not beyond."""
    truth, (a, b, _) = float(special.ndtri(P_A)), HalfSpace().direction
    spread = math.hypot(a, b, 20 * PIXEL_SIGMA * a, 20 * PIXEL_SIGMA * b, 20 * PIXEL_SIGMA * 3.0)
    # The window alone reaches the plane later than the worst change of window and pixels together.
    length = part * truth * spread / math.hypot(a, b)
    moved = WindowNoise(
        noise=Noise(bytes(range(32))),
        centre=CENTRE + SIGMA.window_centre * length * a / math.hypot(a, b),
        width=WIDTH * math.exp(SIGMA.ln_window_width * length * b / math.hypot(a, b)),
        sigma=SIGMA,
    )
    pixels = NoisySampler(
        image=render(WindowCell(j=383, i=6)),
        sigma=PIXEL_SIGMA,
        noise=moved.noise,
        batch_size=1_000,
        device=torch.device("cpu"),
    )
    sampler = WindowSampler(pixels=pixels, windows=moved, render=render)
    n = 20_000
    hits = sum(
        int((HalfSpace().logits(batch).argmax(dim=1) == 0).sum())
        for _, batch in sampler.batches(Stream.PREDICT, range(0, n, 1_000))
    )
    expected = float(special.ndtr(truth * (1 - part)))
    assert (expected > 0.5) == (part < 1)
    assert hits / n == pytest.approx(expected, abs=5 * 0.5 / math.sqrt(n))
