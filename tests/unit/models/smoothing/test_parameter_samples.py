"""Samples with noise on the window: each in a window of its own, under every law, and the same after a resumption."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, get_args

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from certrad.models.smoothing import MemoryBlocks, Noise, NoisySampler, Stream
from certrad.models.smoothing.parameter_noise import WindowNoise
from certrad.models.smoothing.parameter_samples import ParameterRule, WindowSampler
from certrad.models.types import AlphaSplit, NoiseLaw
from certrad.models.types.parameters import CENTRE_MAX, PUBLISHED_SHARES, ParameterSigma
from certrad.models.types.window_lattice import WindowCell

LAWS: Final[tuple[NoiseLaw, ...]] = get_args(NoiseLaw)
SIGMA: Final = ParameterSigma(window_centre=50.0, ln_window_width=0.2)
BATCH: Final = 8
RULE: Final = ParameterRule(class_index=0, n=60, split=AlphaSplit(p_a=0.01))


def render(cell: WindowCell) -> NDArray[np.float32]:
    """An image that tells every window from every other."""
    values = [0.5 + cell.centre / 4000, 0.5 + math.log(cell.width / 400) / 10, 0.25]
    return np.clip(values, 0, 1).astype(np.float32).reshape(3, 1, 1)


def sampler(law: NoiseLaw = "philox-ziggurat-f64", key: bytes = bytes(32)) -> WindowSampler:
    noise = Noise(key, law)
    pixels = NoisySampler(
        image=np.zeros((3, 1, 1), dtype=np.float32),
        sigma=0.1,
        noise=noise,
        batch_size=BATCH,
        device=torch.device("cpu"),
    )
    return WindowSampler(
        pixels=pixels, windows=WindowNoise(noise=noise, centre=40.0, width=400.0, sigma=SIGMA), render=render
    )


@dataclass(frozen=True, slots=True)
class Bright:
    """Class 0 for a sample whose first value is above a threshold."""

    threshold: float = 0.3
    input_shape: tuple[int, int, int] = (3, 1, 1)
    n_classes: int = 2
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def logits(self, inputs: torch.Tensor) -> torch.Tensor:
        """How far the first value is above the threshold, and the opposite."""
        margin = inputs[:, 0, 0, 0] - self.threshold
        return torch.stack([margin, -margin], dim=1)


@dataclass(slots=True)
class Interrupted:
    """Blocks that stop a run after a number of commits, and keep what was committed."""

    kept: MemoryBlocks
    left: int

    def committed(self) -> Mapping[int, bytes]:
        """Returns what is kept."""
        return self.kept.committed()

    def commit(self, start: int, labels: bytes) -> bytes:
        """Keeps a block, or stops."""
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        return self.kept.commit(start, labels)


@pytest.mark.parametrize("law", LAWS)
def test_each_row_is_its_own_window_with_its_own_pixel_noise(law: NoiseLaw) -> None:
    made = sampler(law)
    batches = dict(made.batches(Stream.ESTIMATE, [0, 2 * BATCH]))
    indices = [*range(BATCH), *range(2 * BATCH, 3 * BATCH)]
    rows = torch.cat([batches[0], batches[2 * BATCH]])
    windows = [next(made.windows.draw(Stream.ESTIMATE, range(index, index + 1))) for index in indices]
    assert len({window.cell for window in windows}) > BATCH
    for row, index, window in zip(rows, indices, windows, strict=True):
        alone = replace(made.pixels, image=render(window.cell), batch_size=1).batch(Stream.ESTIMATE, index)
        assert torch.equal(row, alone[0])
        assert torch.equal(row, made.sample(Stream.ESTIMATE, index)[0])


def test_streams_and_keys_have_other_samples() -> None:
    drawn = [
        made.sample(stream, 0)
        for made in (sampler(), sampler(key=bytes([1]) * 32))
        for stream in (Stream.SELECT, Stream.ESTIMATE, Stream.PREDICT)
    ]
    assert len({tuple(row.flatten().tolist()) for row in drawn}) == 6


def test_window_is_rendered_again_only_where_it_was_not_drawn_before() -> None:
    seen: list[WindowCell] = []

    def counted(cell: WindowCell) -> NDArray[np.float32]:
        seen.append(cell)
        return render(cell)

    narrow = ParameterSigma(window_centre=0.5, ln_window_width=0.001)
    made = sampler()
    made = replace(made, render=counted, windows=replace(made.windows, sigma=narrow))
    for _ in made.batches(Stream.ESTIMATE, range(0, 10 * BATCH, BATCH)):
        pass
    assert len(seen) == len(set(seen)) < 10


def test_resumed_run_has_the_samples_of_an_undisturbed_one() -> None:
    done: list[int] = []
    alone = RULE.estimate(sampler(), Bright(), MemoryBlocks(), done.append)
    assert done == [8, 16, 24, 32, 40, 48, 56, 60]
    blocks = MemoryBlocks()
    with pytest.raises(KeyboardInterrupt):
        RULE.estimate(sampler(), Bright(), Interrupted(blocks, 3))
    assert len(blocks.committed()) == 3
    assert RULE.estimate(sampler(), Bright(), blocks) == alone
    assert alone.counts.total == 60
    assert (alone.reach > 0, len(alone.limits)) == (True, len(PUBLISHED_SHARES))


def test_class_that_is_not_shown_has_no_reach_and_no_limits() -> None:
    found = RULE.estimate(sampler(), Bright(threshold=0.9), MemoryBlocks())
    assert (found.reach, found.limits) == (0.0, ())


def test_samplers_that_do_not_go_together_are_refused() -> None:
    made = sampler()
    with pytest.raises(ValueError, match="same key and law"):
        replace(made, windows=replace(made.windows, noise=Noise(bytes([1]) * 32)))
    with pytest.raises(ValueError, match="multiple of the batch size"):
        list(made.batches(Stream.ESTIMATE, [3]))
    huge = np.zeros((3, 900, 900), dtype=np.float32)
    far = replace(made.windows, centre=CENTRE_MAX, sigma=replace(SIGMA, window_centre=16_384.0))
    with pytest.raises(ValueError, match="away from Gaussian"):
        replace(made, windows=far, pixels=replace(made.pixels, image=huge, sigma=0.5))
